//! A disk without room: what fails leaves nothing behind, and what need not stay is removed without any room.

use crate::support::*;
use asof_engine::{CommitOptions, Database, ErrorKind, Version};
use asof_wal::Disk;
use asof_wal::sim::{Fault, SimDisk};
use std::path::Path;
use std::sync::Arc;

/// Files that checkpoints, compaction and loads make.
fn files(disk: &SimDisk) -> Vec<String> {
    let list = |dir: &&str| disk.list(&Path::new(DB).join(dir)).unwrap();
    let mut names: Vec<String> =
        ["data", "ends", "ids", "manifest"].iter().flat_map(list).map(|entry| entry.name).collect();
    names.sort();
    names
}

/// Puts every row of a table of ten anew.
fn put(database: &Database, name: &str) -> Version {
    let mut txn = database.begin().unwrap();
    if !txn.has_table("t") {
        txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    }
    txn.upsert("t", &rows(&(0..10).map(|id| (id, Some(name))).collect::<Vec<_>>())).unwrap();
    txn.commit(CommitOptions::default()).unwrap().version
}

#[test]
fn what_only_a_reader_that_has_gone_kept_is_removed_from_a_full_disk() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(TestClock::default()));
    let database = open(&disk, &clock);
    let first = put(&database, "first");
    database.checkpoint().unwrap();
    let reader = open(&disk.process(), &clock);
    let snapshot = reader.snapshot(first).unwrap();
    for name in ["second", "third"] {
        put(&database, name);
        database.checkpoint().unwrap();
    }
    database.compact(None, &crate::compaction::tiny(true)).unwrap();
    database.checkpoint().unwrap();
    let mut killed = disk.process();
    let loading = open(&killed, &clock);
    let mut txn = loading.begin().unwrap();
    txn.load("t", [Ok(rows(&[(100, None)]))]).unwrap();
    killed.kill();
    killed = disk.process();
    drop((txn, loading, killed));
    let before = files(&disk);
    drop((snapshot, reader));
    disk.plan_calls_from(disk.calls(), Fault::Full);
    database.checkpoint().unwrap();
    let after = files(&disk);
    assert!(after.len() + 2 <= before.len(), "{before:?} {after:?}");
    assert_eq!(after.iter().filter(|name| name.ends_with(".manifest")).count(), 2);
    // With something to settle it fails, and removes all the same.
    disk.heal();
    put(&database, "fourth");
    disk.plan_calls_from(disk.calls(), Fault::Full);
    assert_eq!(database.checkpoint().unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(files(&disk), after);
    disk.heal();
    database.checkpoint().unwrap();
    assert_eq!(csv(&database, first, "t"), csv(&open(&disk.process(), &clock), first, "t"));
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn a_checkpoint_or_compaction_that_finds_no_room_at_any_call_leaves_nothing_behind() {
    let (mut call, mut failed) = (0, [0, 0]);
    for (nth, compacts) in [false, true].into_iter().enumerate() {
        loop {
            let (disk, clock) = (SimDisk::new(call), Arc::new(TestClock::default()));
            let database = open(&disk, &clock);
            for name in ["first", "second"] {
                put(&database, name);
                database.checkpoint().unwrap();
            }
            let newest = put(&database, "third");
            if compacts {
                database.checkpoint().unwrap();
            }
            let work = || match compacts {
                true => database.compact(None, &crate::compaction::tiny(true)).map(|_| ()),
                false => database.checkpoint().map(|_| ()),
            };
            let before = files(&disk);
            let named = |manifests: bool| {
                let mut names = files(&disk);
                names.retain(|name| manifests == name.ends_with(".manifest"));
                names
            };
            let manifests = named(true);
            disk.plan_calls_from(disk.calls() + call, Fault::Full);
            let done = work();
            disk.heal();
            let Err(error) = done else { break };
            failed[nth] += 1;
            assert!(matches!(error.kind(), ErrorKind::Full | ErrorKind::Poisoned), "call {call}: {error}");
            // Where the manifest was there already, so is what it names.
            if named(true) == manifests {
                assert_eq!(files(&disk), before, "call {call}");
            }
            drop(database);
            let database = open(&disk.process(), &clock);
            database.checkpoint().unwrap();
            assert_eq!(database.latest().unwrap(), newest, "call {call}");
            assert_eq!(database.verify().unwrap().findings, vec![], "call {call}");
            call += 1;
        }
        call = 0;
    }
    assert!(failed[0] > 10 && failed[1] > 10, "{failed:?}");
}

#[test]
fn a_load_that_finds_no_room_at_any_call_names_the_file_and_leaves_nothing_behind() {
    for call in 0.. {
        let (disk, clock) = (SimDisk::new(call), Arc::new(TestClock::default()));
        let database = open(&disk, &clock);
        put(&database, "first");
        let before = files(&disk);
        disk.plan_calls_from(disk.calls() + call, Fault::Full);
        let load = || {
            let mut txn = database.begin()?;
            // Out of order: it is sorted through files of its own.
            let parts = [300..600, 100..200].map(|ids| ids.map(|id| (id, None)).collect::<Vec<_>>());
            txn.load("t", parts.map(|part| Ok(rows(&part))))?;
            txn.commit(CommitOptions::default())
        };
        let done = load();
        disk.heal();
        let Err(error) = done else {
            assert!(call > 5, "{call} failed");
            break;
        };
        assert_eq!(error.kind(), ErrorKind::Full, "call {call}: {error}");
        assert!(error.to_string().contains(DB), "call {call}: {error}");
        let left = files(&disk);
        let temporary = |name: &&String| name.ends_with(".tmp");
        assert_eq!(left.iter().find(temporary), None, "call {call}");
        if database.refresh().is_ok_and(|newest| newest == Version(1)) {
            drop(database);
            let database = open(&disk.process(), &clock);
            database.checkpoint().unwrap();
            assert!(database.snapshot(Version(1)).unwrap().table("t").unwrap().rows == 10, "call {call}");
        }
        assert!(left.len() >= before.len());
    }
}
