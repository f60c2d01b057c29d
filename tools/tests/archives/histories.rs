//! Both real histories, each version by its checksum: as it was when it was the newest, and after compaction, in an
//! archive, after recovery to two hundred random versions and times, in a copy, beside restores and their undoing, and
//! after retention that keeps it.

use crate::processes::Chance;
use asof_archive::backup::{BackupOptions, backup};
use asof_archive::recover::Source;
use asof_archive::{Archiver, open_database};
use asof_engine::compact::Parameters;
use asof_engine::restore::Undone;
use asof_engine::retention::plan::Fate;
use asof_engine::retention::{Policy, RetentionRequest};
use asof_engine::{
    AsOf, CommitOptions, CommitTime, Database, DatabaseChecksum, ErrorKind, Options, Tag, Transaction,
    Version,
};
use asof_tools::bundled;
use std::path::Path;

const TARGETS: u64 = 200;
const RESTORES: u64 = 20;

/// What a database has at a version.
fn content(database: &Database, version: u64) -> DatabaseChecksum {
    database.snapshot(Version(version)).unwrap().checksum_all().unwrap()
}

/// Every version is what it was, by version from 0 on.
fn check(database: &Database, expected: &[DatabaseChecksum], what: &str) {
    for (version, expected) in (0..).zip(expected) {
        assert!(content(database, version) == *expected, "version {version} {what}");
    }
}

fn undamaged(database: &Database) {
    let findings = database.verify().unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
}

fn read_only(path: &Path) -> Database {
    Database::open_read_only(path, Options::default()).unwrap()
}

/// Recovers random targets one after the other, versions and times in turns, into one directory.
fn recover_targets(source: &Source, database: &Database, expected: &[DatabaseChecksum], to: &Path) {
    let mut chance = Chance(0x5EED_0A12);
    let newest = expected.len() as u64 - 1;
    for number in 0..=TARGETS {
        let named = if number == TARGETS { newest } else { chance.below(newest + 1) };
        let target = match number % 2 {
            0 => Version(named),
            _ => {
                // A time from its commit up to the next one.
                let time = database.commit_time(Version(named)).unwrap();
                let after = match named < newest {
                    true => database.commit_time(Version(named + 1)).unwrap(),
                    false => CommitTime(time.0 + 1),
                };
                let within = after.0.saturating_sub(time.0.max(0)).max(1) as u64;
                let time = CommitTime(time.0.max(0) + chance.below(within) as i64);
                source.resolve(&AsOf::Time(time)).unwrap()
            }
        };
        assert_eq!(target.0, named);
        source.recover(&source.plan(target).unwrap(), to, &|_, _| true).unwrap();
        let recovered = read_only(to);
        assert_eq!(recovered.latest().unwrap(), target);
        for version in [target.0, chance.below(target.0 + 1)] {
            assert!(content(&recovered, version) == expected[version as usize], "{version} of {target}");
        }
    }
    let recovered = read_only(to);
    check(&recovered, expected, "of the newest, recovered");
    undamaged(&recovered);
}

fn commit(database: &Database, change: impl FnOnce(&mut Transaction)) -> Option<Version> {
    let mut transaction = database.begin().unwrap();
    change(&mut transaction);
    let committed = transaction.commit(CommitOptions::default()).unwrap();
    (!committed.unchanged).then_some(committed.version)
}

/// Restores random versions, and takes each restore back.
fn restore_and_undo(database: &Database, expected: &[DatabaseChecksum]) {
    let mut chance = Chance(0x5EED_0A13);
    let newest = expected.len() as u64 - 1;
    for number in 0..RESTORES {
        let target = if number == 0 { 0 } else { chance.below(newest) };
        let restored = commit(database, |transaction| {
            transaction.restore(Version(target), &[], 0).unwrap();
        });
        let Some(restored) = restored else {
            assert!(expected[target as usize] == expected[newest as usize], "{target} was not restored");
            continue;
        };
        assert!(content(database, restored.0) == expected[target as usize], "{target} restored");
        let undone = commit(database, |transaction| {
            let undone = transaction.undo(restored, 0).unwrap();
            assert!(matches!(undone, Undone::Changed(_)), "{undone:?}");
        });
        let undone = undone.expect("there was something to take back").0;
        assert!(content(database, undone) == expected[newest as usize], "the restore of {target} undone");
        if number % 8 == 3 {
            database.checkpoint().unwrap();
        }
    }
    database.compact(None, &Parameters::BY_HAND).unwrap();
    check(database, expected, "beside restores");
}

/// Lets versions go: those that the plan keeps are what they were, the others are refused with the nearest ones.
fn retain(database: &Database, expected: &[DatabaseChecksum]) {
    for version in [7, 200, 333] {
        let (name, version, created) = (format!("audit_{version}"), Version(version), CommitTime(0));
        database.tag(Tag { name, version, message: None, created, expires: None }, false).unwrap();
    }
    let everything = RetentionRequest::default();
    assert_eq!(database.retain(&everything, &mut |_| true).unwrap().states, 0);
    check(database, expected, "where nothing may go");
    let policy = Some(Policy::parse("last 30, daily 90d, monthly forever, tagged").unwrap());
    let request = RetentionRequest { policy, ..RetentionRequest::default() };
    let plan = database.retention_plan(&request).unwrap();
    assert!(database.retain(&request, &mut |_| true).unwrap().states > 100);
    for step in ["after retention", "compacted after retention"] {
        for table in &plan.tables {
            let ranges = table.stretches.iter().map(|stretch| (stretch.from.0, stretch.last.0, stretch.fate));
            let within = |(from, last, fate)| (from..=last).map(move |version: u64| (version, fate));
            for (version, fate) in ranges.flat_map(within) {
                let Some(expected) = expected.get(version as usize) else { continue };
                let found =
                    database.snapshot(Version(version)).and_then(|snapshot| snapshot.checksum(&table.table));
                let what = format!("{} at version {version} {step}", table.table);
                match fate {
                    Fate::Kept => assert_eq!(found.unwrap(), expected.tables[&table.table], "{what}"),
                    Fate::Goes | Fate::Gone => {
                        let error = found.expect_err(&what);
                        assert_eq!((error.kind(), error.nearest().is_empty()), (ErrorKind::NotFound, false));
                    }
                }
            }
        }
        database.compact(None, &Parameters::BY_HAND).unwrap();
    }
}

#[test]
fn every_version_of_both_histories_stays_what_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut chance = Chance(0x5EED_0A11);
    let database = Database::create(path("db"), Options::default()).unwrap();
    let go_on = |_: u64, _: u64| true;
    let archiver = || Archiver::open(&path("archive"), read_only(&path("db"))).unwrap().0;
    let mut ships = archiver();
    let mut expected = Vec::new();
    bundled::load(&database, &mut |_, _| {
        expected.push(content(&database, expected.len() as u64));
        match chance.below(12) {
            0 => drop(ships.ship(&go_on).unwrap()),
            1 => drop(database.checkpoint().unwrap()),
            // Another one, that begins anew.
            2 => ships = archiver(),
            _ => {}
        };
    })
    .unwrap();
    assert_eq!((expected.len() as u64, database.latest().unwrap().0), (416, 415));
    check(&database, &expected, "as loaded");
    database.compact(None, &Parameters::BY_HAND).unwrap();
    check(&database, &expected, "compacted");
    ships.ship(&go_on).unwrap();
    let archived = open_database(&path("archive"), Options::default()).unwrap();
    check(&archived, &expected, "in the archive");
    for version in 1..=415 {
        let at = |database: &Database| database.commit_info(Version(version)).unwrap();
        assert_eq!(at(&archived), at(&database));
    }
    let source = Source::open(&path("archive"), Options::default()).unwrap();
    recover_targets(&source, &database, &expected, &path("recovered"));
    backup(&read_only(&path("db")), &path("copy"), BackupOptions::default(), &go_on).unwrap();
    let copy = Database::open(path("copy"), Options::default()).unwrap();
    check(&copy, &expected, "of the copy");
    restore_and_undo(&copy, &expected);
    retain(&copy, &expected);
    undamaged(&copy);
    undamaged(&database);
}
