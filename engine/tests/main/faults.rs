//! A single failed call while commits are taken up from the log, or while one is made, at every call in turn: what was
//! there is there once, whatever is tried again.

use crate::support::*;
use asof_engine::{Alteration, Column, ColumnType, CommitOptions, Database, ErrorKind, Result, Version};
use asof_wal::sim::{Fault, SimDisk};
use std::io;
use std::sync::Arc;

const FAILURE: Fault = Fault::Error(io::ErrorKind::Other);

/// Tables `a` and `b` with rows in data files.
fn make(disk: &SimDisk, clock: &Arc<TestClock>) -> Database {
    let database = open(&disk.process(), clock);
    let mut txn = database.begin().unwrap();
    for table in ["a", "b"] {
        txn.create_table(table, customers(), &["id".to_string()]).unwrap();
        txn.insert(table, &rows(&[(1, None), (2, None), (3, None), (4, None)])).unwrap();
    }
    txn.commit(CommitOptions::default()).unwrap();
    database.checkpoint().unwrap();
    database
}

/// A commit that makes a table, adds a column, loads, and ends rows of both tables, some of which must be looked for.
fn commit(database: &Database) -> Result<Version> {
    let mut txn = database.begin()?;
    txn.create_table("c", customers(), &["id".to_string()])?;
    txn.alter_table("a", Alteration::AddColumn(Column::new("more", ColumnType::Int64)))?;
    txn.delete("a", &keys(&[1, 3]))?;
    txn.upsert("b", &rows(&[(2, Some("two")), (5, Some("five"))]))?;
    txn.load("c", [Ok(rows(&[(7, Some("seven"))]))])?;
    Ok(txn.commit(CommitOptions::default())?.version)
}

const AFTER: [(&str, &str); 3] = [
    ("a", "id,name,more\n2,,\n4,,\n"),
    ("b", "id,name\n1,\n2,two\n3,\n4,\n5,five\n"),
    ("c", "id,name\n7,seven\n"),
];

fn check(database: &Database, version: Version) {
    for (table, text) in AFTER {
        assert_eq!(csv(database, version, table), text, "table {table}");
        assert_eq!(
            database.snapshot(version).unwrap().table(table).unwrap().rows as usize,
            text.lines().count() - 1
        );
    }
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn a_commit_whose_taking_up_failed_anywhere_is_taken_up_once() {
    for call in 0.. {
        let (disk, clock) = (SimDisk::new(call), Arc::new(TestClock::default()));
        let writer = make(&disk, &clock);
        // Settled rows elsewhere than the log says: they are looked up by their keys.
        let reader = open(&disk.process(), &clock);
        let mut txn = writer.begin().unwrap();
        txn.upsert("b", &rows(&[(2, Some("changed"))])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        let version = commit(&writer).unwrap();
        let start = disk.calls();
        disk.plan_call(start + call, FAILURE);
        let failed = reader.refresh().is_err();
        let done = disk.calls() <= start + call;
        disk.heal();
        assert!(!done || !failed, "call {call}");
        reader.refresh().unwrap();
        check(&reader, version);
        reader.checkpoint().unwrap();
        check(&reader, version);
        if done {
            assert!(call > 5, "there were only {call} calls");
            break;
        }
    }
}

#[test]
fn a_commit_that_fails_anywhere_is_there_whole_or_not_at_all_and_others_follow() {
    let (mut refused, mut found) = (0, 0);
    for call in 0.. {
        let (disk, clock) = (SimDisk::new(1_000 + call), Arc::new(TestClock::default()));
        let mut database = make(&disk, &clock);
        let start = disk.calls();
        disk.plan_call(start + call, FAILURE);
        let mut outcome = commit(&database);
        let done = disk.calls() <= start + call;
        disk.heal();
        if outcome.is_err() {
            refused += 1;
        }
        for _ in 0..4 {
            match outcome {
                Ok(_) => break,
                // It was in the log: whoever took the turn next made it durable.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Exists) => {
                    found += 1;
                    outcome = database.refresh();
                }
                // Where that is not known, the handle writes no more.
                Err(error) if error.kind() == ErrorKind::Poisoned => {
                    database = open(&disk.process(), &clock);
                    outcome = commit(&database);
                }
                Err(_) => outcome = commit(&database),
            }
        }
        let newest = outcome.unwrap();
        assert_eq!(newest, Version(2), "call {call}");
        check(&database, newest);
        check(&open(&disk.process(), &clock), newest);
        if done {
            break;
        }
    }
    assert!(refused > 10 && found > 0, "{refused} were refused, {found} found later");
}
