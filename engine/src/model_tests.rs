//! Commits and publication under many schedules: `cargo test -p asof-engine --features model model_tests::`, with
//! `ASOF_MODEL_SCHEDULES` for more than the default.
//!
//! The real engine on a simulated disk; threads change places at the locks that are held while the log is written.

use crate::{Column, ColumnType, CommitOptions, Database, ErrorKind, Options, Upkeep, Version};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use asof_wal::sim::{Cut, Fault, SimDisk};
use shuttle::thread;
use std::sync::Arc;

const THREADS: i64 = 3;

fn schedules() -> usize {
    let wanted = std::env::var("ASOF_MODEL_SCHEDULES").ok();
    wanted.map_or(300, |text| text.parse().expect("ASOF_MODEL_SCHEDULES is a number"))
}

fn options(disk: &SimDisk) -> Options {
    Options { disk: Arc::new(disk.clone()), upkeep: Upkeep::Off, ..Options::default() }
}

fn row(id: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

/// A database with an empty table at version 1.
fn database(disk: &SimDisk) -> Database {
    let database = Database::create("/db", options(disk)).unwrap();
    let mut transaction = database.begin().unwrap();
    transaction.create_table("t", vec![Column::new("id", ColumnType::Int64)], &["id".into()]).unwrap();
    transaction.commit(CommitOptions::default()).unwrap();
    database
}

fn insert(database: &Database, id: i64) -> crate::Result<Version> {
    let mut transaction = database.begin()?;
    transaction.insert("t", &row(id))?;
    Ok(transaction.commit(CommitOptions::default())?.version)
}

/// The newest version after a power cut now that loses all that was not synced.
fn survivor(disk: &SimDisk) -> Version {
    let after = SimDisk::from_image(&disk.image(), Cut::LoseAll);
    Database::open_read_only("/db", options(&after)).unwrap().latest().unwrap()
}

#[test]
fn nothing_is_seen_or_acknowledged_before_it_is_on_disk_whatever_the_schedule() {
    let run = || {
        let disk = SimDisk::new(1);
        let database = database(&disk);
        let committers = (0..THREADS).map(|id| {
            let (database, disk) = (database.clone(), disk.clone());
            thread::spawn(move || {
                let version = insert(&database, id).unwrap();
                assert!(survivor(&disk) >= version, "acknowledged, and lost by a power cut");
                version
            })
        });
        let committers: Vec<_> = committers.collect();
        let reader = {
            let (database, disk) = (database.clone(), disk.clone());
            thread::spawn(move || {
                let mut seen = Version(1);
                for _ in 0..4 {
                    let version = database.refresh().unwrap();
                    assert!(version >= seen, "versions do not go back");
                    assert!(survivor(&disk) >= version, "published, and lost by a power cut");
                    let rows = database.snapshot(version).unwrap().table("t").unwrap().rows;
                    assert_eq!(rows, version.0 - 1, "each commit added one row");
                    seen = version;
                    thread::yield_now();
                }
            })
        };
        let mut versions: Vec<_> = committers.into_iter().map(|thread| thread.join().unwrap()).collect();
        reader.join().unwrap();
        versions.sort_unstable();
        assert_eq!(versions, (2..2 + THREADS as u64).map(Version).collect::<Vec<_>>());
    };
    shuttle::check_random(run, schedules());
    shuttle::check_pct(run, schedules() / 4, 3);
}

#[test]
fn what_one_handle_has_seen_every_handle_sees_whatever_the_schedule() {
    let run = || {
        let disk = SimDisk::new(1);
        let one = database(&disk);
        let two = Database::open("/db", options(&disk.process())).unwrap();
        let committers = (0..THREADS).map(|id| {
            let database = one.clone();
            thread::spawn(move || insert(&database, id).unwrap())
        });
        let committers: Vec<_> = committers.collect();
        for _ in 0..4 {
            let seen = two.refresh().unwrap();
            assert!(one.refresh().unwrap() >= seen, "the handle that committed it does not see it");
            thread::yield_now();
        }
        for thread in committers {
            thread.join().unwrap();
        }
    };
    shuttle::check_random(run, 4 * schedules());
}

#[test]
fn of_commits_that_insert_one_key_one_wins_whatever_the_schedule() {
    let run = || {
        let disk = SimDisk::new(1);
        let database = database(&disk);
        let committers = (0..THREADS).map(|_| {
            let database = database.clone();
            thread::spawn(move || insert(&database, 7).map_err(|error| error.kind()))
        });
        let committers: Vec<_> = committers.collect();
        let outcomes: Vec<_> = committers.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let refused = |outcome: &Result<Version, ErrorKind>| {
            matches!(outcome, Ok(_) | Err(ErrorKind::Exists | ErrorKind::Conflict))
        };
        assert!(outcomes.iter().all(refused), "{outcomes:?}");
    };
    shuttle::check_random(run, schedules());
}

#[test]
fn a_failed_sync_fails_all_that_wait_and_loses_nobody_whatever_the_schedule() {
    let run = || {
        let disk = SimDisk::new(1);
        let database = database(&disk);
        insert(&database, 100).unwrap();
        disk.plan_calls_from(disk.calls() + 2, Fault::Error(std::io::ErrorKind::Other));
        let committers = (0..THREADS).map(|id| {
            let database = database.clone();
            thread::spawn(move || insert(&database, id).ok())
        });
        let committers: Vec<_> = committers.collect();
        let acknowledged: Vec<_> =
            committers.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        disk.heal();
        let last = survivor(&disk);
        assert!(acknowledged.iter().all(|version| *version <= last), "acknowledged, and lost");
    };
    shuttle::check_random(run, schedules());
}
