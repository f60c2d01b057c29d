//! Both real histories, shipped while they were loaded, and recovered to two hundred random versions and times.

use crate::processes::{Chance, csv};
use asof_archive::recover::Source;
use asof_archive::{Archiver, open_database};
use asof_engine::{AsOf, CommitTime, Database, Options, Version};
use asof_tools::bundled;

const TARGETS: u64 = 200;

/// What a database has at a version.
fn content(database: &Database, version: u64) -> Vec<(String, blake3::Hash)> {
    let tables = database.snapshot(Version(version)).unwrap().table_names().unwrap();
    let digest = |table: String| {
        let digest = blake3::hash(csv(database, version, &table).as_bytes());
        (table, digest)
    };
    tables.into_iter().map(digest).collect()
}

#[test]
fn every_version_of_both_histories_is_archived_and_recovered_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut chance = Chance(0x5EED_0A11);
    let database = Database::create(path("db"), Options::default()).unwrap();
    let reader = || Database::open_read_only(path("db"), Options::default()).unwrap();
    let go_on = |_: u64, _: u64| true;
    let mut archiver = Archiver::open(&path("archive"), reader()).unwrap().0;
    bundled::load(&database, &mut |_, _| {
        match chance.below(12) {
            0 => drop(archiver.ship(&go_on).unwrap()),
            1 => drop(database.checkpoint().unwrap()),
            // Another one, that begins anew.
            2 => archiver = Archiver::open(&path("archive"), reader()).unwrap().0,
            _ => {}
        };
    })
    .unwrap();
    database.compact(None, &asof_engine::compact::Parameters::BY_HAND).unwrap();
    archiver.ship(&go_on).unwrap();
    let source = Source::open(&path("archive"), Options::default()).unwrap();
    let archived = open_database(&path("archive"), Options::default()).unwrap();
    let newest = database.latest().unwrap().0;
    assert_eq!((newest, archived.latest().unwrap().0), (415, 415));
    for version in 1..=newest {
        let at = |database: &Database| database.commit_info(Version(version)).unwrap();
        assert_eq!(at(&archived), at(&database));
    }
    let mut expected = std::collections::HashMap::new();
    let mut expect =
        |version: u64| expected.entry(version).or_insert_with(|| content(&database, version)).clone();
    for number in 0..TARGETS {
        // A version, or a time between two.
        let named = chance.below(newest + 1);
        let target = match number % 2 {
            0 => Version(named),
            _ => {
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
        source.recover(&source.plan(target).unwrap(), &path("recovered"), &go_on).unwrap();
        let recovered = Database::open_read_only(path("recovered"), Options::default()).unwrap();
        assert_eq!(recovered.latest().unwrap(), target);
        for version in [target.0, chance.below(target.0 + 1)] {
            assert!(content(&recovered, version) == expect(version), "{version} of {target}");
        }
        if number % 10 == 0 {
            assert!(content(&archived, target.0) == expect(target.0), "{target} in place");
        }
    }
    let report = Database::open_read_only(path("recovered"), Options::default()).unwrap().verify().unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}
