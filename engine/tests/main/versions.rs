//! What is done with a database does not cost more where it has more versions: bytes are counted at two sizes.

use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use asof_engine::{Column, ColumnType, CommitOptions, Counters, Database, Options, Upkeep, Version};
use asof_wal::sim::SimDisk;
use std::sync::Arc;

/// Commits after the last checkpoint.
const TAIL: u64 = 5;

fn options(disk: &SimDisk) -> Options {
    Options { disk: Arc::new(disk.clone()), upkeep: Upkeep::Off, ..Options::default() }
}

fn upsert(database: &Database, number: i64) -> Version {
    let columns: [(&str, ArrayRef); 2] = [
        ("k", Arc::new(Int64Array::from(vec![number % 10]))),
        ("v", Arc::new(Int64Array::from(vec![number]))),
    ];
    let mut transaction = database.begin().unwrap();
    transaction.upsert("t", &RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    transaction.commit(CommitOptions::default()).unwrap().version
}

/// A disk with a database of so many versions, settled in ten checkpoints, and a few in the log.
fn disk_with(versions: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let database = Database::create("/db", options(&disk)).unwrap();
    let mut transaction = database.begin().unwrap();
    let columns = vec![Column::new("k", ColumnType::Int64), Column::new("v", ColumnType::Int64)];
    transaction.create_table("t", columns, &["k".to_string()]).unwrap();
    transaction.commit(CommitOptions::default()).unwrap();
    for number in 2..=versions {
        upsert(&database, number as i64);
        if number % (versions / 10) == 0 {
            database.checkpoint().unwrap();
        }
    }
    for number in 0..TAIL {
        upsert(&database, number as i64);
    }
    disk
}

fn read(counters: &Counters) -> u64 {
    counters.files.values().map(|file| file.bytes_read).sum()
}

fn written(counters: &Counters) -> u64 {
    counters.files.values().map(|file| file.bytes_written).sum()
}

/// Bytes to open and see the newest version, to resolve a time and list the newest commits; bytes written by a commit.
fn costs(versions: u64) -> [u64; 3] {
    let disk = disk_with(versions);
    let database = Database::open("/db", options(&disk)).unwrap();
    assert_eq!(database.latest().unwrap(), Version(versions + TAIL));
    let opened = read(&database.counters());
    let middle = database.commit_time(Version(versions / 2)).unwrap();
    assert_eq!(database.version_at(middle).unwrap(), Version(versions / 2));
    for version in versions - 5..=versions + TAIL {
        assert_eq!(database.commit_info(Version(version)).unwrap().version, Version(version));
    }
    let listed = read(&database.counters()) - opened;
    upsert(&database, 7);
    let before = written(&database.counters());
    upsert(&database, 8);
    [opened, listed, written(&database.counters()) - before]
}

#[test]
fn opening_listing_and_committing_do_not_cost_more_with_more_versions() {
    let [few, many] = [costs(100), costs(2_000)];
    // The manifest, the log's tail: numbers in them are no longer than a few digits more.
    assert!(many[0] <= few[0] + few[0] / 4, "opening reads {few:?}, then {many:?}");
    // A few more steps of a bisection.
    assert!(many[1] <= few[1] + 10 * 32 + few[1] / 4, "listing reads {few:?}, then {many:?}");
    assert!(many[2] <= few[2] + 64, "a commit writes {few:?}, then {many:?}");
}
