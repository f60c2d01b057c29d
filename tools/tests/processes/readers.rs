//! Readers in other processes: what keeps the files they read alive, when that ends, and what they see while a writer
//! works, dies, and is followed by another one.

use super::{csv, open};
use crate::cli::support::{Guard, Scratch, wait_until};
use asof_engine::Version;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

fn upsert(ids: std::ops::Range<i64>, note: &str) -> String {
    let rows: Vec<Value> = ids.map(|id| json!({"id": id, "note": note})).collect();
    json!({"ops": [{"op": "upsert", "table": "t", "rows": rows}]}).to_string() + "\n"
}

fn new_database() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    scratch
}

/// A commit and a checkpoint, so many times: what only old manifests name could go.
fn churn(scratch: &Scratch, from: i64, times: i64) {
    for number in from..from + times {
        scratch.apply(&upsert(0..5, &format!("churn {number}")));
        scratch.ok(&["checkpoint", "db"]);
    }
}

fn manifests(scratch: &Scratch) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(scratch.path("db/manifest")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The leases that a process holds, as `info` tells.
fn leases_of(scratch: &Scratch, pid: u32) -> Vec<Value> {
    let info = scratch.json(&["info", "db"]);
    let leases = info["leases"].as_array().unwrap().iter();
    leases.filter(|lease| lease["pid"] == pid).cloned().collect()
}

#[test]
fn a_reader_keeps_its_files_through_checkpoints_and_info_names_it() {
    let scratch = new_database();
    churn(&scratch, 0, 2);
    let reader = open(&scratch.path("db"));
    let snapshot = reader.snapshot(Version(3)).unwrap();
    let before = csv(&reader, 3, "t");
    let oldest = manifests(&scratch).pop().unwrap();
    churn(&scratch, 2, 4);
    assert!(oldest.exists(), "{} went although it is read", oldest.display());
    assert!(manifests(&scratch).len() > 2);
    let leases = leases_of(&scratch, std::process::id());
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert!(leases[0]["age_seconds"].is_u64(), "{leases:?}");
    let text = scratch.ok(&["info", "db"]);
    assert!(text.contains(&format!("process {}, running for ", std::process::id())), "{text}");
    assert_eq!(csv(&reader, 3, "t"), before);
    drop((snapshot, reader));
    assert_eq!(leases_of(&scratch, std::process::id()), Vec::<Value>::new());
    churn(&scratch, 6, 1);
    assert!(!oldest.exists() && manifests(&scratch).len() == 2, "{:?}", manifests(&scratch));
    assert_eq!(csv(&open(&scratch.path("db")), 3, "t"), before, "what was read is history still");
}

/// A `cat` that has begun to print a table longer than a pipe holds, and waits for somebody to read on.
fn half_read(scratch: &Scratch) -> Child {
    let mut command = scratch.command(&["cat", "db", "t", "-q"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"id,note\n0");
    child
}

fn long_table() -> (Scratch, String) {
    let scratch = new_database();
    for part in 0..8 {
        scratch.apply(&upsert(part * 2_500..part * 2_500 + 2_500, &"long ".repeat(12)));
    }
    scratch.ok(&["checkpoint", "db"]);
    churn(&scratch, 0, 1);
    let whole = scratch.ok(&["cat", "db", "t", "-q"]);
    (scratch, whole)
}

#[test]
fn a_reader_in_another_process_reads_on_what_it_began_though_all_is_rewritten_meanwhile() {
    let (scratch, whole) = long_table();
    let mut child = Guard(Some(half_read(&scratch)));
    assert_eq!(leases_of(&scratch, child.get().id()).len(), 1);
    scratch.apply("{\"ops\":[{\"op\":\"truncate\",\"table\":\"t\"}]}\n");
    churn(&scratch, 1, 3);
    let mut rest = String::new();
    child.get().stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(child.finish().status, 0);
    assert!("id,note\n0".to_string() + &rest == whole, "the rest of what was read differs");
}

#[test]
fn a_killed_readers_lease_does_not_live_on() {
    let (scratch, _) = long_table();
    let mut child = Guard(Some(half_read(&scratch)));
    let pid = child.get().id();
    assert_eq!(leases_of(&scratch, pid).len(), 1);
    churn(&scratch, 1, 2);
    assert_eq!(manifests(&scratch).len(), 3);
    child.get().kill().unwrap();
    child.get().wait().unwrap();
    assert_eq!(leases_of(&scratch, pid), Vec::<Value>::new());
    churn(&scratch, 3, 1);
    assert_eq!(manifests(&scratch).len(), 2);
}

#[test]
fn followers_see_whole_commits_only_and_outlive_writers_that_are_killed() {
    const ROWS: i64 = 40;
    let scratch = new_database();
    let reader = open(&scratch.path("db"));
    let mut seen = reader.refresh().unwrap();
    let mut line = 0;
    for round in 0..6_u64 {
        let mut writer = Guard(Some(scratch.spawn_piped(&["apply", "db"])));
        let mut stdin = writer.get().stdin.take().unwrap();
        let lines: String = (0..400).map(|nth| upsert(0..ROWS, &format!("line {}", line + nth))).collect();
        line += 400;
        // The pipe breaks when the process is killed.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(lines.as_bytes())));
        let stop = seen.0 + 15 + round * 3;
        let mut last_seen = seen;
        wait_until("the writer has written some more", || {
            let newest = reader.refresh().unwrap();
            assert!(newest >= last_seen, "version {last_seen} is gone again");
            for version in last_seen.0 + 1..=newest.0 {
                let text = csv(&reader, version, "t");
                let notes: std::collections::BTreeSet<&str> = text
                    .lines()
                    .skip(1)
                    .filter_map(|row| row.split_once(','))
                    .map(|(_, note)| note)
                    .collect();
                let rows = text.lines().count() as i64 - 1;
                assert_eq!((rows, notes.len()), (ROWS, 1), "version {version} is half a commit: {notes:?}");
            }
            last_seen = newest;
            newest.0 >= stop
        });
        let before = csv(&reader, last_seen.0, "t");
        writer.get().kill().unwrap();
        writer.get().wait().unwrap();
        feeder.join().unwrap();
        // Nobody writes; what was seen stays, and the rest of what it acknowledged comes too.
        std::thread::sleep(Duration::from_millis(2));
        seen = reader.refresh().unwrap();
        assert!(seen >= last_seen);
        assert_eq!(csv(&reader, last_seen.0, "t"), before, "after the writer was killed");
        if round % 2 == 1 {
            scratch.ok(&["checkpoint", "db"]);
            assert_eq!(csv(&reader, last_seen.0, "t"), before, "after a checkpoint");
        }
    }
    scratch.ok(&["verify", "db"]);
}
