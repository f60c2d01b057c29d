//! Work that takes long, ended by SIGINT at moments by chance: it is done or it is not, nothing is harmed, and nothing is
//! left lying about. How long a run takes is measured to find moments within it, and nothing else depends on it.

use super::support::*;
use crate::processes::Chance;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

const ROWS: u64 = 50_000;
/// Each but the first changes a third of all rows.
const VERSIONS: u64 = 5;
/// How often each command is interrupted.
const MOMENTS: u64 = 3;

/// How a run ended.
#[derive(Debug, PartialEq)]
enum Ended {
    Done,
    /// It said that it was interrupted.
    Told(String),
    /// By the signal.
    Killed,
}

struct History {
    scratch: Scratch,
    checksums: Vec<Value>,
    /// What lies in the directory beside databases and outputs.
    names: BTreeSet<String>,
    chance: Chance,
}

fn names(scratch: &Scratch) -> BTreeSet<String> {
    let entries = std::fs::read_dir(scratch.path("")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

impl History {
    fn new(seed: u64) -> History {
        let scratch = Scratch::new();
        for version in 0..VERSIONS {
            let wanted = |id: &u64| version == 0 || id % 3 == version % 3;
            let rows = (0..ROWS).filter(wanted).map(|id| format!("{id},value {id} of {version}\n"));
            scratch.write("t.csv", format!("id,name\n{}", rows.collect::<String>()));
            scratch.ok(&["import", "db", "t", "t.csv", "--key", "id"]);
        }
        scratch.ok(&["checkpoint", "db"]);
        let mut history =
            History { scratch, checksums: vec![], names: BTreeSet::new(), chance: Chance(seed) };
        history.checksums = (1..=VERSIONS).map(|version| history.checksum("db", version)).collect();
        history.names = names(&history.scratch);
        history
    }

    fn checksum(&self, database: &str, version: u64) -> Value {
        let words = ["checksum", database, "t", "--as-of", &version.to_string()];
        self.scratch.json(&words)["checksum"].clone()
    }

    /// A copy of the database, to be changed.
    fn copy(&self) {
        let _ = std::fs::remove_dir_all(self.scratch.path("copy"));
        // With directories that have nothing in them.
        let mut command = std::process::Command::new("cp");
        let copied = command.arg("-r").arg(self.scratch.path("db")).arg(self.scratch.path("copy")).status();
        assert!(copied.unwrap().success());
    }

    fn spawn(&self, words: &[&str]) -> Guard {
        let mut command = self.scratch.command(words);
        Guard(Some(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// How long a run takes that nobody interrupts.
    fn length(&self, words: &[&str]) -> Duration {
        let start = Instant::now();
        self.scratch.ok(words);
        start.elapsed()
    }

    /// Runs, and interrupts at some moment.
    fn interrupted(&mut self, words: &[&str], length: Duration) -> Ended {
        let mut child = self.spawn(words);
        std::thread::sleep(Duration::from_micros(self.chance.below(length.as_micros() as u64)));
        interrupt(child.get());
        let output = child.0.take().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Ended::Done,
            (Some(1), _) => Ended::Told(stderr),
            (_, Some(libc::SIGINT)) => Ended::Killed,
            other => panic!("{words:?}: {other:?}: {stderr}"),
        }
    }

    /// Nothing lies about, but for these.
    fn check_names(&self, others: &[&str]) {
        let mut found = names(&self.scratch);
        found.retain(|name| !others.contains(&name.as_str()));
        assert_eq!(found, self.names);
    }

    /// A database is whole, and these versions are as they were.
    fn check(&self, database: &str, versions: impl Iterator<Item = u64>) {
        assert_eq!(self.scratch.json(&["verify", database])["findings"], json!([]));
        for version in versions {
            assert_eq!(self.checksum(database, version), self.checksums[version as usize - 1], "{version}");
        }
    }
}

#[test]
fn what_only_reads_leaves_nothing_wherever_it_is_interrupted() {
    let mut history = History::new(0x5EED_0B01);
    for words in [
        &["checksum", "db"][..],
        &["verify", "db"],
        &["du", "db"],
        &["trace", "db", "value 7 of 1"],
        &["diff", "db", "1", "5", "--stat"],
        &["retain", "db", "--keep-last", "1"],
        #[cfg(feature = "sql")]
        &["find", "db", "t", "--where", "name = 'value 7 of 1'"],
    ] {
        let length = history.length(words);
        for _ in 0..MOMENTS {
            let ended = history.interrupted(words, length);
            assert!(matches!(ended, Ended::Done | Ended::Killed), "{words:?}: {ended:?}");
        }
        history.check_names(&[]);
    }
    history.check("db", 1..=VERSIONS);
}

#[test]
fn a_file_that_is_written_is_whole_or_what_it_was_and_nothing_lies_beside_it() {
    let mut history = History::new(0x5EED_0B02);
    for words in [
        &["diff", "db", "1", "5", "t", "-o", "out.csv"][..],
        &["cat", "db", "t", "-o", "out.csv"],
        &["cat", "db", "t", "-o", "out.parquet"],
    ] {
        let name = words[words.len() - 1];
        let length = history.length(words);
        let whole = std::fs::read(history.scratch.path(name)).unwrap();
        for _ in 0..MOMENTS {
            history.scratch.write(name, "before");
            let ended = history.interrupted(words, length);
            let found = std::fs::read(history.scratch.path(name)).unwrap();
            match ended {
                Ended::Done => assert_eq!(found, whole, "{words:?}"),
                // It may have got its name a moment before.
                Ended::Killed => assert!(found == b"before" || found == whole, "{words:?}"),
                Ended::Told(told) => panic!("{words:?}: {told}"),
            }
            history.check_names(&[name]);
        }
        std::fs::remove_file(history.scratch.path(name)).unwrap();
    }
}

#[test]
fn an_export_is_there_as_a_whole_or_not_at_all() {
    let mut history = History::new(0x5EED_0B03);
    let remove = |history: &History| std::fs::remove_dir_all(history.scratch.path("out"));
    let words = ["export", "db", "out", "--format", "csv"];
    let length = history.length(&words);
    for _ in 0..2 * MOMENTS {
        let _ = remove(&history);
        match history.interrupted(&words, length) {
            Ended::Done => assert!(history.scratch.path("out/MANIFEST.json").exists()),
            Ended::Told(told) => {
                assert!(told.contains("interrupted; nothing was exported"), "{told}");
                assert!(!history.scratch.path("out").exists());
            }
            // Before it had begun.
            Ended::Killed => assert!(!history.scratch.path("out").exists()),
        }
        history.check_names(&["out"]);
    }
    let _ = remove(&history);
}

#[test]
fn what_is_brought_back_is_committed_or_nothing_has_changed() {
    let mut history = History::new(0x5EED_0B04);
    for words in [
        &["restore", "copy", "1"][..],
        // What takes more memory than its share goes through files.
        &["restore", "copy", "1", "--memory", "16MiB"],
        &["undo", "copy", "5"],
    ] {
        history.copy();
        let length = history.length(words);
        for _ in 0..MOMENTS {
            history.copy();
            history.interrupted(words, length);
            let newest = history.scratch.json(&["resolve", "copy", "latest"])["version"].as_u64().unwrap();
            history.check("copy", 1..=VERSIONS);
            if newest > VERSIONS {
                let back = if words[0] == "restore" { 1 } else { 4 };
                assert_eq!(history.checksum("copy", newest), history.checksums[back - 1]);
            }
            // Files that no commit names go with the next checkpoints.
            for number in 0..3 {
                history.scratch.write("one.csv", format!("id,name\n1,last {number}\n"));
                history.scratch.ok(&["import", "copy", "t", "one.csv"]);
                history.scratch.ok(&["checkpoint", "copy"]);
            }
            std::fs::remove_file(history.scratch.path("one.csv")).unwrap();
            let waiting = history.scratch.json(&["du", "copy"])["waiting_bytes"].as_u64().unwrap();
            assert!(waiting < 50_000, "{words:?}: {waiting} bytes are left");
            history.check_names(&["copy"]);
        }
    }
}

#[test]
fn versions_that_stay_are_as_they_were_where_letting_go_is_interrupted_and_the_next_run_does_the_rest() {
    let mut history = History::new(0x5EED_0B05);
    let words = ["retain", "copy", "--keep-last", "2", "--execute"];
    history.copy();
    let length = history.length(&words);
    let left = |history: &History| history.scratch.json(&["du", "copy"])["tables"][0]["row_versions"].clone();
    let expected = left(&history);
    for _ in 0..2 * MOMENTS {
        history.copy();
        if let Ended::Told(told) = history.interrupted(&words, length) {
            assert!(told.contains("stopped; what is left is done by the next run"), "{told}");
        }
        history.check("copy", VERSIONS - 1..=VERSIONS);
        history.scratch.ok(&words);
        history.check("copy", VERSIONS - 1..=VERSIONS);
        assert_eq!(left(&history), expected);
        history.scratch.fails(3, &["cat", "copy", "t", "--as-of", "2", "--limit", "1"]);
    }
    history.check_names(&["copy"]);
}

#[test]
fn every_version_is_as_it_was_where_compaction_is_interrupted() {
    let mut history = History::new(0x5EED_0B06);
    let words = ["compact", "copy", "--execute"];
    history.copy();
    let length = history.length(&words);
    for _ in 0..MOMENTS {
        history.copy();
        if let Ended::Told(told) = history.interrupted(&words, length) {
            assert!(told.contains("stopped; what is left is done by the next run"), "{told}");
        }
        history.check("copy", 1..=VERSIONS);
        history.scratch.ok(&words);
    }
    history.check("copy", 1..=VERSIONS);
    history.check_names(&["copy"]);
}
