//! Checkpoints that nobody asks for: by log bytes and age, at the end of a handle, past failures and other processes,
//! and what commits do where memory for changes is used up.

use crate::support::*;
use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use asof_engine::{CommitOptions, Database, ErrorKind, Options, Upkeep, Version};
use asof_wal::{Disk, LockKind, OpenMode, RealDisk};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TEXT_BYTES: usize = 1_000;

/// Rows of about a kilobyte each, which no compression makes small.
fn wide(first: i64, count: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + count));
    let mut state = first as u64 | 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (state >> 33) as u8 % 94)
    };
    let texts: Vec<String> = (0..count).map(|_| (0..TEXT_BYTES).map(|_| letter()).collect()).collect();
    let names: ArrayRef = Arc::new(StringArray::from(texts));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

fn make(path: &Path, options: &Options) -> Database {
    let database = Database::create(path, options.clone()).unwrap();
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    database
}

fn put(database: &Database, first: i64, count: i64) -> Result<Version, asof_engine::Error> {
    let mut txn = database.begin()?;
    txn.upsert("t", &wide(first, count))?;
    Ok(txn.commit(CommitOptions::default())?.version)
}

fn settled(database: &Database) -> Version {
    database.info().unwrap().checkpoint_version
}

/// Waits for upkeep; a test that waits in vain is ended by this.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: waited in vain");
}

#[test]
fn the_last_handle_settles_what_is_due_before_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = Options { checkpoint_log_bytes: 100_000, ..Options::default() };
    let database = make(&path, &options);
    let version = put(&database, 0, 200).unwrap();
    drop(database.clone());
    drop(database);
    let off = Options { upkeep: Upkeep::Off, ..options };
    let reopened = Database::open(&path, off).unwrap();
    assert_eq!(settled(&reopened), version);
    // What is not due stays in the log.
    let later = put(&reopened, 0, 1).unwrap();
    drop(reopened);
    let reopened =
        Database::open(&path, Options { checkpoint_log_bytes: 100_000, ..Options::default() }).unwrap();
    assert_eq!(settled(&reopened), version);
    assert_eq!(reopened.latest().unwrap(), later);
}

#[test]
fn commits_are_settled_by_age_too() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { checkpoint_age: Duration::from_millis(1), ..Options::default() };
    let database = make(&directory.path().join("db"), &options);
    for round in 0..3 {
        let version = put(&database, round, 1).unwrap();
        wait_until("a checkpoint by age", || settled(&database) >= version);
    }
}

#[test]
fn nothing_is_settled_unasked_where_upkeep_is_off_and_steps_do_it() {
    let disk = asof_wal::sim::SimDisk::new(1);
    let base = Options { checkpoint_log_bytes: 50_000, upkeep: Upkeep::Off, ..options(&disk) };
    let database = make(Path::new(DB), &base);
    assert!(!database.upkeep_step().unwrap(), "nothing is due");
    let version = put(&database, 0, 100).unwrap();
    assert_eq!(settled(&database), Version::ZERO);
    assert!(database.upkeep_step().unwrap());
    assert_eq!(settled(&database), version);
    assert!(!database.upkeep_step().unwrap(), "nothing is left");
}

#[test]
fn a_failed_checkpoint_is_told_of_and_tried_again_while_commits_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = Options { checkpoint_log_bytes: 50_000, ..Options::default() };
    let database = make(&path, &options);
    std::fs::create_dir(path.join("checkpoint.lock")).unwrap();
    put(&database, 0, 100).unwrap();
    wait_until("the failure", || database.info().unwrap().upkeep_error.is_some());
    assert!(database.info().unwrap().upkeep_error.unwrap().contains("checkpoint.lock"));
    let version = put(&database, 0, 100).unwrap();
    std::fs::remove_dir(path.join("checkpoint.lock")).unwrap();
    wait_until("another try", || settled(&database) >= version);
    // It is settled a moment before the try is over.
    wait_until("its outcome", || database.info().unwrap().upkeep_error.is_none());
}

#[test]
fn another_process_that_makes_a_checkpoint_is_let_do_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = Options { checkpoint_log_bytes: 50_000, ..Options::default() };
    let database = make(&path, &options);
    let lock = RealDisk.open(&path.join("checkpoint.lock"), OpenMode::Create).unwrap();
    assert!(lock.try_lock(LockKind::Exclusive).unwrap());
    let version = put(&database, 0, 100).unwrap();
    for round in 1..5 {
        put(&database, round, 1).unwrap();
    }
    assert_eq!(settled(&database), Version::ZERO);
    assert_eq!(database.info().unwrap().upkeep_error, None);
    lock.unlock().unwrap();
    wait_until("a checkpoint", || settled(&database) >= version);
}

#[test]
fn what_pays_to_be_compacted_is_compacted_unasked() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { checkpoint_age: Duration::from_millis(1), ..Options::default() };
    let database = make(&directory.path().join("db"), &options);
    let mut version = Version::ZERO;
    for _ in 0..4 {
        version = put(&database, 0, 3_000).unwrap();
        wait_until("a checkpoint", || settled(&database) >= version);
    }
    let nothing_pays = || {
        database.compact_plan(None, &asof_engine::compact::policy::Parameters::AUTOMATIC).unwrap().is_empty()
    };
    wait_until("compaction", nothing_pays);
    assert_eq!(database.info().unwrap().row_versions, 12_000, "every row version is stored once");
    for version in 2..=version.0 {
        assert_eq!(database.snapshot(Version(version)).unwrap().table("t").unwrap().rows, 3_000);
    }
    assert_eq!(database.verify().unwrap().findings, vec![]);
    wait_until("files that were rewritten to go", || {
        let files = std::fs::read_dir(directory.path().join("db/data")).unwrap().count();
        let bytes = database.info().unwrap().files["data"];
        files as u64 == bytes.0 && database.info().unwrap().manifest > 5 && files < 8
    });
}

#[test]
fn a_table_with_damage_keeps_no_other_from_being_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = Options { checkpoint_age: Duration::from_millis(1), ..Options::default() };
    let database = make(&path, &options);
    let mut txn = database.begin().unwrap();
    txn.create_table("a", customers(), &["id".to_string()]).unwrap();
    txn.insert("a", &wide(0, 3_000)).unwrap();
    let version = txn.commit(CommitOptions::default()).unwrap().version;
    wait_until("a checkpoint", || settled(&database) >= version);
    let table = database.snapshot(version).unwrap().table("a").unwrap().id;
    for entry in std::fs::read_dir(path.join("data")).unwrap() {
        let file = entry.unwrap().path();
        if file.file_name().unwrap().to_str().unwrap().starts_with(&format!("{table:08x}-")) {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[100] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    for round in 0..4 {
        let mut txn = database.begin().unwrap();
        txn.truncate("a").unwrap();
        txn.insert("a", &wide(10_000 * (round + 1), 3_000)).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        let version = put(&database, 0, 3_000).unwrap();
        wait_until("a checkpoint", || settled(&database) >= version);
    }
    let pays = |table: &str| {
        let steps = database.compact_plan(Some(table), &asof_engine::compact::policy::Parameters::AUTOMATIC);
        !steps.unwrap().is_empty()
    };
    wait_until("compaction of the other table", || !pays("t"));
    assert!(pays("a"), "its damaged file cannot be rewritten");
    assert_eq!(database.info().unwrap().upkeep_error, None);
}

#[test]
fn a_long_tail_is_settled_when_the_last_handle_goes_and_a_short_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let version_and_settled = || {
        let database = Database::open_read_only(&path, Options::default()).unwrap();
        (database.latest().unwrap(), settled(&database))
    };
    let options = Options { settle_idle: Duration::MAX, ..Options::default() };
    let mut database = make(&path, &options);
    put(&database, 0, 10).unwrap();
    drop(database);
    assert_eq!(version_and_settled(), (Version(2), Version::ZERO), "ten kilobytes are soon read");
    database = Database::open(&path, Options { settle_log_bytes: 0, ..options.clone() }).unwrap();
    put(&database, 0, 400).unwrap();
    drop(database);
    assert_eq!(version_and_settled(), (Version(3), Version::ZERO), "it was switched off");
    database = Database::open(&path, options.clone()).unwrap();
    drop(database);
    assert_eq!(version_and_settled(), (Version(3), Version::ZERO), "who only reads settles nothing");
    database = Database::open(&path, options).unwrap();
    put(&database, 0, 1).unwrap();
    let other = database.clone();
    drop(database);
    assert_eq!(settled(&other), Version::ZERO, "there is a handle left");
    drop(other);
    assert_eq!(version_and_settled(), (Version(4), Version(4)));
}

#[test]
fn a_tail_that_grew_beside_a_checkpoint_is_settled_when_the_last_handle_goes() {
    let options = Options { checkpoint_log_bytes: 1 << 20, settle_log_bytes: 100_000, ..Options::default() };
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let database = make(&path, &options);
        put(&database, 0, 3_000).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        // The checkpoint of the rows above is mostly under way by now, and when the handle goes.
        let last = put(&database, 10_000, 300).unwrap();
        drop(database);
        let reopened = Database::open(&path, Options { upkeep: Upkeep::Off, ..options.clone() }).unwrap();
        assert_eq!(settled(&reopened), last);
    }
}

#[test]
fn a_long_tail_is_settled_when_nobody_commits_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { settle_idle: Duration::from_millis(20), ..Options::default() };
    let database = make(&directory.path().join("db"), &options);
    for round in 0..3 {
        // Long enough for the thread to fall asleep over a short tail.
        put(&database, 0, 10).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let version = put(&database, 0, 400).unwrap();
        wait_until("the tail to be settled", || settled(&database) >= version);
        assert_eq!(database.info().unwrap().upkeep_error, None, "round {round}");
    }
}

/// The least budget there is leaves 6 MiB for changes.
const SMALL: u64 = 16 << 20;
const ROOM: u64 = SMALL * 3 / 8;

#[test]
fn commits_fail_where_memory_is_used_up_and_nobody_settles_what_takes_it() {
    let disk = asof_wal::sim::SimDisk::new(2);
    let base = Options { memory_bytes: SMALL, upkeep: Upkeep::Off, ..options(&disk) };
    let database = make(Path::new(DB), &base);
    let error = (0..40).find_map(|round| put(&database, round * 500, 500).err()).expect("memory is bounded");
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("memory_bytes"), "{error}");
    let before = database.latest().unwrap();
    assert!(put(&database, 0, 1).is_err());
    assert_eq!(database.latest().unwrap(), before, "what was refused is not there");
    database.checkpoint().unwrap();
    put(&database, 0, 1).unwrap();
}

#[test]
fn commits_wait_for_room_and_memory_stays_within_its_budget() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { memory_bytes: SMALL, ..Options::default() };
    let database = make(&directory.path().join("db"), &options);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2i64)
            .map(|writer| {
                let database = database.clone();
                scope.spawn(move || {
                    for round in 0..30 {
                        put(&database, (writer * 100 + round) * 1_000, 500).unwrap();
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(database.info().unwrap().memory_bytes);
                std::thread::yield_now();
            }
            most
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        // Two commits may have found room at the same time.
        let most = watcher.join().unwrap();
        assert!(most < ROOM + 4 * 500 * TEXT_BYTES as u64, "{most} bytes");
    });
    assert!(settled(&database) > Version::ZERO);
    assert_eq!(database.snapshot(database.latest().unwrap()).unwrap().table("t").unwrap().rows, 30_000);
}

/// A table of so many commits, settled every now and then, and what it was at each version.
fn history(path: &Path, policy: Option<&str>) -> Vec<String> {
    let options = Options { upkeep: Upkeep::Off, ..Options::default() };
    let database = make(path, &options);
    let mut told = vec![csv(&database, Version(1), "t")];
    for number in 2..=30 {
        let mut txn = database.begin().unwrap();
        txn.upsert("t", &rows(&[(1, Some(&format!("value {number}"))), (number, None)])).unwrap();
        let version = txn.commit(CommitOptions::default()).unwrap().version;
        told.push(csv(&database, version, "t"));
        if number % 7 == 0 {
            database.checkpoint().unwrap();
        }
    }
    if let Some(policy) = policy {
        database.set_setting("retention.database", Some(policy)).unwrap();
    }
    told
}

/// The versions of the table that can be read.
fn readable(database: &Database) -> Vec<u64> {
    let is_readable = |version: &u64| database.snapshot(Version(*version)).unwrap().gone_tables().is_empty();
    (1..=database.latest().unwrap().0).filter(is_readable).collect()
}

#[test]
fn a_policy_that_is_set_is_applied_by_whoever_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut before = history(&path, Some("last 3"));
    let options = Options { checkpoint_age: Duration::from_millis(1), ..Options::default() };
    let database = Database::open(&path, options).unwrap();
    let version = put(&database, 100, 1).unwrap();
    before.push(csv(&database, version, "t"));
    wait_until("upkeep lets versions go", || readable(&database).len() < before.len());
    // What was decided then: the newest three, and what was not settled.
    let left = readable(&database);
    assert_eq!(left, [29, 30, 31]);
    for version in left {
        assert_eq!(csv(&database, Version(version), "t"), before[version as usize - 1]);
    }
    wait_until("the rows that only they showed go too", || database.row_versions(None) < 45);
    drop(database);
    let database = Database::open_read_only(&path, Options::default()).unwrap();
    assert_eq!(readable(&database), [29, 30, 31]);
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn without_a_policy_nothing_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let before = history(&path, None);
    let options = Options { checkpoint_age: Duration::from_millis(1), ..Options::default() };
    let database = Database::open(&path, options).unwrap();
    // Whoever makes the second checkpoint is through with what follows the first.
    for round in 0..3 {
        let version = put(&database, 100 + round, 1).unwrap();
        wait_until("a checkpoint", || settled(&database) >= version);
    }
    assert_eq!(readable(&database), (1..=33).collect::<Vec<_>>());
    for (index, expected) in before.iter().enumerate() {
        assert_eq!(&csv(&database, Version(index as u64 + 1), "t"), expected);
    }
}
