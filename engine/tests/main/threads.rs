//! Writers, readers and checkpoints at once, in threads and through two handles as two processes have.

use crate::support::*;
use asof_engine::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use asof_engine::arrow::datatypes::Int64Type;
use asof_engine::{Column, ColumnType, CommitOptions, Database, ErrorKind, Options, ScanOptions, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ACCOUNTS: i64 = 20;
const TOTAL: i64 = ACCOUNTS * 100;

fn account(id: i64, balance: i64) -> RecordBatch {
    let (ids, balances): (ArrayRef, ArrayRef) =
        (Arc::new(Int64Array::from(vec![id])), Arc::new(Int64Array::from(vec![balance])));
    RecordBatch::try_from_iter([("id", ids), ("balance", balances)]).unwrap()
}

fn balance(rows: &RecordBatch) -> i64 {
    rows.column(1).as_primitive::<Int64Type>().value(0)
}

/// Moves one from an account to another; `false` where another transaction came first.
fn transfer(database: &Database, from: i64, to: i64) -> bool {
    let mut txn = database.begin().unwrap();
    let read = |id| balance(&txn.get("accounts", &keys(&[id])).unwrap().unwrap());
    let (a, b) = (read(from), read(to));
    txn.upsert("accounts", &account(from, a - 1)).unwrap();
    txn.upsert("accounts", &account(to, b + 1)).unwrap();
    match txn.commit(CommitOptions::default()) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::TooOld) => false,
        Err(error) => panic!("{error}"),
    }
}

fn total(database: &Database, version: Version) -> i64 {
    let snapshot = database.snapshot(version).unwrap();
    let mut total = 0;
    let mut rows = 0;
    for batch in snapshot.scan("accounts", ScanOptions::default()).unwrap() {
        let batch = batch.unwrap();
        rows += batch.num_rows();
        total += batch.column(1).as_primitive::<Int64Type>().values().iter().sum::<i64>();
    }
    assert_eq!(rows as i64, ACCOUNTS, "rows at version {version}");
    total
}

#[test]
fn every_version_that_any_reader_sees_is_whole_while_two_handles_write_and_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = Options { checkpoint_log_bytes: 0, ..Options::default() };
    let one = Database::create(&path, options.clone()).unwrap();
    let mut txn = one.begin().unwrap();
    let columns = vec![Column::new("id", ColumnType::Int64), Column::new("balance", ColumnType::Int64)];
    txn.create_table("accounts", columns, &["id".to_string()]).unwrap();
    for id in 0..ACCOUNTS {
        txn.insert("accounts", &account(id, 100)).unwrap();
    }
    txn.commit(CommitOptions::default()).unwrap();
    let two = Database::open(&path, options.clone()).unwrap();
    let reader = Database::open_read_only(&path, options).unwrap();
    let done = AtomicBool::new(false);
    let committed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let database = if writer % 2 == 0 { one.clone() } else { two.clone() };
                let committed = &committed;
                scope.spawn(move || {
                    for step in 0..60i64 {
                        let (from, to) =
                            ((writer * 7 + step * 3) % ACCOUNTS, (writer * 5 + step * 11 + 1) % ACCOUNTS);
                        if from != to && transfer(&database, from, to) {
                            committed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for database in [&one, &reader] {
            let done = &done;
            scope.spawn(move || {
                let mut last = Version::ZERO;
                let mut step = 0u64;
                while !done.load(Ordering::Relaxed) {
                    let newest = database.refresh().unwrap();
                    assert!(newest >= last, "versions never go back");
                    last = newest;
                    step += 1;
                    for version in [newest.0, 1 + step * 31 % newest.0] {
                        assert_eq!(total(database, Version(version)), TOTAL, "version {version}");
                    }
                }
            });
        }
        let checkpointer = {
            let (two, done) = (two.clone(), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    two.checkpoint().unwrap();
                    std::thread::yield_now();
                }
            })
        };
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        checkpointer.join().unwrap();
    });
    let newest = one.refresh().unwrap();
    assert_eq!(newest.0, 1 + committed.load(Ordering::Relaxed), "one version a commit, without holes");
    assert_eq!(two.refresh().unwrap(), newest);
    for version in 1..=newest.0 {
        assert_eq!(total(&reader, Version(version)), TOTAL, "version {version}");
    }
    assert_eq!(one.verify().unwrap().findings, vec![]);
}

/// A checkpoint exchanges what a handle knows while its other threads commit: none of them may see the new state
/// before it has caught up. (It was once published too early, and a transaction read rows of the past.)
#[test]
fn commits_of_a_handle_stay_visible_while_it_makes_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { checkpoint_log_bytes: 0, ..Options::default() };
    let database = Database::create(directory.path().join("db"), options).unwrap();
    let mut txn = database.begin().unwrap();
    let columns = vec![Column::new("id", ColumnType::Int64), Column::new("balance", ColumnType::Int64)];
    txn.create_table("accounts", columns, &["id".to_string()]).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6i64)
            .map(|id| {
                let database = database.clone();
                scope.spawn(move || {
                    for count in 0..80 {
                        let mut txn = database.begin().unwrap();
                        let known = txn.get("accounts", &keys(&[id])).unwrap();
                        assert_eq!(known.map(|row| balance(&row)), (count > 0).then_some(count - 1));
                        txn.upsert("accounts", &account(id, count)).unwrap();
                        let committed = txn.commit(CommitOptions::default()).unwrap();
                        assert!(database.latest().unwrap() >= committed.version);
                        let snapshot = database.snapshot(committed.version).unwrap();
                        let row = snapshot.get("accounts", &keys(&[id])).unwrap().unwrap();
                        assert_eq!(balance(&row), count);
                    }
                })
            })
            .collect();
        let checkpointer = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                database.checkpoint().unwrap();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        checkpointer.join().unwrap();
    });
}
