//! Who holds the write lock, and what becomes of it: exclusive holders, holders that are killed or stopped, numbers of
//! processes that mean somebody else by now, and copies of a directory that is in use.

use super::{csv, open};
use crate::cli::support::{Guard, Scratch, files_below, signal};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};

/// An `apply` whose lines are given one by one.
struct Feeding {
    child: Guard,
    stdin: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Feeding {
    fn new(scratch: &Scratch, words: &[&str]) -> Feeding {
        let mut child = scratch.spawn_piped(words);
        let stdin = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Feeding { child: Guard(Some(child)), stdin, answers }
    }

    fn pid(&mut self) -> u32 {
        self.child.get().id()
    }

    fn give(&mut self, id: i64) {
        writeln!(self.stdin.as_mut().unwrap(), "{}", line(id)).unwrap();
    }

    fn answer(&mut self) -> Value {
        let mut text = String::new();
        self.answers.read_line(&mut text).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    /// Commits a row, and gives its version.
    fn commit(&mut self, id: i64) -> u64 {
        self.give(id);
        let answer = self.answer();
        answer["version"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// The end of its input.
    fn end(mut self) -> i32 {
        drop(self.stdin.take());
        let mut rest = String::new();
        while self.answers.read_line(&mut rest).unwrap() > 0 {}
        self.child.finish().status
    }
}

fn line(id: i64) -> Value {
    json!({"ops": [{"op": "upsert", "table": "t", "rows": [{"id": id, "note": format!("note {id}")}]}]})
}

fn rows(ids: impl IntoIterator<Item = i64>) -> String {
    let rows = ids.into_iter().map(|id| format!("{id},note {id}\n"));
    "id,note\n".to_string() + &rows.collect::<String>()
}

fn new_database() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    scratch
}

/// Another writer is refused within its wait, and told by whom.
fn refused_by(scratch: &Scratch, pid: u32) {
    let refused = scratch.fails(5, &["create-table", "db", "other", "id int64", "--wait", "150ms"]);
    assert!(refused.contains(&format!("by process {pid}:")), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
    let ran = scratch.run(&["create-table", "db", "other", "id int64", "--wait", "10ms", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.status, &error["error"]["code"]), (5, &Value::from("locked")), "{error}");
}

#[test]
fn an_exclusive_holder_keeps_writers_out_and_readers_in() {
    let scratch = new_database();
    let mut holder = Feeding::new(&scratch, &["apply", "db", "--exclusive"]);
    assert_eq!(holder.commit(1), 2);
    refused_by(&scratch, holder.pid());
    assert_eq!(scratch.ok(&["cat", "db", "t"]), rows([1]));
    assert_eq!(holder.commit(2), 3);
    // Another one that wants it for itself is refused too, when it opens.
    let second = scratch.run_with_input(&["apply", "db", "--exclusive", "--wait", "50ms"], "");
    assert_eq!(second.status, 5, "{}", second.stderr);
    assert_eq!(holder.end(), 0);
    scratch.ok(&["create-table", "db", "other", "id int64"]);
    assert_eq!(scratch.ok(&["cat", "db", "t"]), rows([1, 2]));
}

#[test]
fn writers_that_are_not_exclusive_let_others_in_while_their_input_is_idle() {
    let scratch = new_database();
    let mut first = Feeding::new(&scratch, &["apply", "db"]);
    let mut second = Feeding::new(&scratch, &["apply", "db"]);
    for id in 0..20 {
        let feeding = if id % 2 == 0 { &mut first } else { &mut second };
        assert_eq!(feeding.commit(id), id as u64 + 2);
    }
    assert_eq!((first.end(), second.end()), (0, 0));
    assert_eq!(scratch.ok(&["cat", "db", "t"]), rows(0..20));
}

#[test]
fn what_a_killed_exclusive_holder_acknowledged_is_there_and_its_lock_is_not() {
    let scratch = new_database();
    for round in 0..4 {
        let mut holder = Feeding::new(&scratch, &["apply", "db", "--exclusive"]);
        let version = holder.commit(round);
        assert_eq!(version, 2 * round as u64 + 2, "nothing that was not asked for was made");
        signal(holder.pid(), libc::SIGKILL);
        let mut next = Feeding::new(&scratch, &["apply", "db", "--exclusive", "--wait", "10s"]);
        assert_eq!(next.commit(100 + round), version + 1);
        assert_eq!(next.end(), 0);
    }
    assert_eq!(scratch.ok(&["cat", "db", "t"]), rows((0..4).chain(100..104)));
    scratch.ok(&["verify", "db"]);
}

#[test]
fn a_stopped_holder_is_named_and_goes_on_where_it_was() {
    let scratch = new_database();
    let mut holder = Feeding::new(&scratch, &["apply", "db", "--exclusive"]);
    holder.commit(1);
    signal(holder.pid(), libc::SIGSTOP);
    holder.give(2);
    refused_by(&scratch, holder.pid());
    assert_eq!(scratch.ok(&["cat", "db", "t"]), rows([1]), "readers do not wait for it");
    signal(holder.pid(), libc::SIGCONT);
    assert_eq!(holder.answer()["version"], 3);
    assert_eq!(holder.end(), 0);
    assert_eq!(scratch.ok(&["cat", "db", "t"]), rows([1, 2]));
}

#[test]
fn a_writer_stopped_at_any_moment_loses_nothing_and_gains_nothing() {
    let scratch = new_database();
    let mut other = 1_000;
    for round in 0..6 {
        let mut stopped = Feeding::new(&scratch, &["apply", "db", "--wait", "60s"]);
        let ids = round * 40..round * 40 + 40;
        ids.clone().for_each(|id| stopped.give(id));
        for _ in 0..round * 5 {
            stopped.answer();
        }
        signal(stopped.pid(), libc::SIGSTOP);
        // Others get their turn, or are told who has it.
        let words = ["apply", "db", "--wait", "100ms"];
        let ran = scratch.run_with_input(&words, &format!("{}\n", line(other)));
        match ran.status {
            0 => other += 1,
            _ => assert!(ran.text().contains(&format!("by process {}:", stopped.pid())), "{}", ran.text()),
        }
        signal(stopped.pid(), libc::SIGCONT);
        assert_eq!(stopped.end(), 0);
        let expected = rows((0..ids.end).chain(1_000..other));
        assert_eq!(scratch.ok(&["cat", "db", "t"]), expected, "round {round}");
    }
    scratch.ok(&["verify", "db"]);
}

#[test]
fn the_number_of_a_process_that_is_somebody_else_by_now_keeps_nobody_out() {
    let scratch = new_database();
    let lock = scratch.path("db").join("wal/LOCK");
    // A process that lives and has nothing to do with it: this one.
    std::fs::write(&lock, format!("{:<10}\n", std::process::id())).unwrap();
    assert_eq!(Feeding::new(&scratch, &["apply", "db", "--wait", "100ms"]).commit(1), 2);
    for garbage in ["", "x", "99999999999999999999\n", "-1\n", "\0\0\0\0"] {
        std::fs::write(&lock, garbage).unwrap();
        scratch.ok(&["tag", "db", &format!("after-{}", garbage.len()), "--force"]);
    }
    // Taken by somebody who left no number: there is nobody to name.
    let file = std::fs::File::open(&lock).unwrap();
    file.lock().unwrap();
    std::fs::write(&lock, "").unwrap();
    let refused = scratch.fails(5, &["tag", "db", "x", "-q", "--wait", "50ms"]);
    assert!(refused.contains("locked") && !refused.contains("by process"), "{refused}");
}

#[test]
fn a_copy_works_while_the_original_is_open_and_held() {
    let scratch = new_database();
    let mut holder = Feeding::new(&scratch, &["apply", "db", "--exclusive"]);
    for id in 0..10 {
        holder.commit(id);
    }
    copy(&scratch.path("db"), &scratch.path("copy"));
    // The copy's lock is free, its head is not believed, and it goes its own way.
    let mut copied = Feeding::new(&scratch, &["apply", "copy", "--exclusive", "--wait", "5s"]);
    assert_eq!(copied.commit(100), 12);
    assert_eq!(holder.commit(200), 12);
    assert_eq!((copied.end(), holder.end()), (0, 0));
    scratch.ok(&["checkpoint", "copy"]);
    assert_eq!(scratch.ok(&["cat", "copy", "t"]), rows((0..10).chain([100])));
    assert_eq!(scratch.ok(&["cat", "db", "t"]), rows((0..10).chain([200])));
    for name in ["db", "copy"] {
        scratch.ok(&["verify", name]);
        assert_eq!(csv(&open(&scratch.path(name)), 11, "t"), rows(0..10), "{name}");
    }
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
    // Directories that hold nothing yet.
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            std::fs::create_dir_all(to.join(entry.file_name().unwrap())).unwrap();
        }
    }
}
