//! Commits of unusual shapes read back after a reopen: what is acknowledged is never too odd for its reader.

use crate::support::*;
use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use asof_engine::{Column, ColumnType, CommitOptions, Database, Transaction, Version};
use asof_wal::sim::SimDisk;
use std::sync::Arc;

/// Commits, and opens the database again, so that the log is what is read.
fn commit_and_reopen(commits: &[&dyn Fn(&mut Transaction)]) -> Database {
    let disk = SimDisk::new(3);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    for change in commits {
        let mut txn = database.begin().expect("a transaction begins");
        change(&mut txn);
        assert!(!txn.commit(CommitOptions::default()).expect("it commits").unchanged);
    }
    drop(database);
    let database = open(&disk, &clock);
    assert_eq!(database.refresh().expect("the log can be read"), Version(commits.len() as u64));
    assert_eq!(database.verify().expect("verification runs").findings, vec![]);
    database
}

#[test]
fn a_text_that_compresses_to_almost_nothing_reads_back() {
    let long = "a".repeat(3 << 20);
    let database = commit_and_reopen(&[&|txn| {
        txn.create_table("t", customers(), &["id".to_string()]).unwrap();
        txn.insert("t", &rows(&[(1, Some(&long))])).unwrap();
    }]);
    assert_eq!(csv(&database, Version(1), "t"), format!("id,name\n1,{long}\n"));
}

#[test]
fn a_commit_that_drops_many_tables_reads_back() {
    // A kilobyte of the shortest changes there are: in memory each takes ten times as much.
    let names: Vec<String> = (0..120).map(|number| format!("t{number}")).collect();
    let database = commit_and_reopen(&[
        &|txn| {
            for name in &names {
                txn.create_table(name, customers(), &["id".to_string()]).unwrap();
            }
        },
        &|txn| names.iter().for_each(|name| txn.drop_table(name).unwrap()),
    ]);
    assert_eq!(database.snapshot(Version(1)).unwrap().table_names().unwrap().len(), 120);
    assert!(database.snapshot(Version(2)).unwrap().table_names().unwrap().is_empty());
}

#[test]
fn rows_of_nothing_but_null_read_back_however_many() {
    let count = 200_000;
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None; count]));
    let batch = RecordBatch::try_from_iter_with_nullable([("a", nulls, true)]).unwrap();
    let none: [String; 0] = [];
    let database = commit_and_reopen(&[&|txn| {
        txn.create_table("t", vec![Column::new("a", ColumnType::Int64)], &none).unwrap();
        txn.insert("t", &batch).unwrap();
    }]);
    assert_eq!(database.snapshot(Version(1)).unwrap().table("t").unwrap().rows, count as u64);
    database.checkpoint().unwrap();
    assert_eq!(csv(&database, Version(1), "t"), format!("a\n{}", "NULL\n".repeat(count)));
}
