//! A database that is cut ends at an earlier version: what precedes answers as before, what follows is forgotten, and a
//! crash in between leaves one of the two.

use crate::support::{Chance, DB, TestClock, csv, customers, keys, open, rows};
use asof_engine::arrow::array::{ArrayRef, StringArray};
use asof_engine::manifest::Manifest;
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, CommitTime, Database, DiffKind, ErrorKind, ScanOptions,
    Tag, Transaction, Version,
};
use asof_wal::Disk;
use asof_wal::sim::{Cut, Fault, SimDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn commit(database: &Database, message: &str, change: impl FnOnce(&mut Transaction)) -> Version {
    let mut txn = database.begin().unwrap();
    change(&mut txn);
    let options = CommitOptions {
        message: Some(message.to_string()),
        client_id: Some(message.to_string()),
        ..CommitOptions::default()
    };
    txn.commit(options).unwrap().version
}

fn tag(database: &Database, name: &str, version: Version) {
    let created = CommitTime(1_700_000_000_000_000);
    let tag = Tag { name: name.to_string(), version, message: None, created, expires: None };
    database.tag(tag, true).unwrap();
}

/// Tables that come, change and go, in a history by chance: with keys and without, in files and in the log.
fn grow(database: &Database, chance: &mut Chance, prefix: &str, commits: usize) {
    let mut columns = 0;
    for number in 0..commits {
        let newest = database.latest().unwrap();
        let names = database.snapshot(newest).unwrap().table_names().unwrap();
        let name = format!("t{}", chance.below(3));
        let there = names.contains(&name);
        let keyless = name == "t2";
        let ids: Vec<i64> = (0..1 + chance.below(12)).map(|_| chance.below(30) as i64).collect();
        let distinct: std::collections::BTreeSet<i64> = ids.into_iter().collect();
        let text = format!("value {number}");
        let some: Vec<(i64, Option<&str>)> =
            distinct.iter().map(|id| (*id, (id % 5 > 0).then_some(&*text))).collect();
        let message = format!("{prefix} {number}");
        let what = chance.below(12);
        if !there {
            let key = if keyless { vec![] } else { vec!["id".to_string()] };
            commit(database, &message, |txn| {
                txn.create_table(&name, customers(), &key).unwrap();
                txn.insert(&name, &rows(&some)).unwrap();
            });
        } else if what == 0 {
            commit(database, &message, |txn| txn.drop_table(&name).unwrap());
        } else if what == 1 {
            let mut column = Column::new(format!("{prefix}_{columns}"), ColumnType::Text);
            column.default = Some(Arc::new(StringArray::from(vec!["?"])) as ArrayRef);
            columns += 1;
            commit(database, &message, |txn| {
                txn.alter_table(&name, Alteration::AddColumn(column)).unwrap();
            });
        } else if what == 2 {
            commit(database, &message, |txn| txn.truncate(&name).unwrap());
        } else if keyless {
            commit(database, &message, |txn| txn.insert(&name, &rows(&some)).unwrap());
        } else if what < 6 {
            let there = csv(database, newest, &name);
            let ids = there.lines().skip(1).filter_map(|line| line.split(',').next()?.parse().ok());
            let ids: Vec<i64> = ids.filter(|_| chance.below(3) == 0).collect();
            if !ids.is_empty() {
                commit(database, &message, |txn| txn.delete(&name, &keys(&ids)).unwrap());
            }
        } else {
            commit(database, &message, |txn| txn.upsert(&name, &rows(&some)).unwrap());
        }
        if chance.below(6) == 0 {
            database.checkpoint().unwrap();
        }
        if chance.below(8) == 0 {
            database.compact(None, &crate::compaction::tiny(true)).unwrap();
        }
        if chance.below(5) == 0 {
            let newest = database.latest().unwrap().0;
            tag(database, &format!("{prefix}-{number}"), Version(1 + chance.below(newest as usize) as u64));
        }
    }
}

/// All that a database answers about versions up to one.
fn told(database: &Database, last: Version) -> Vec<String> {
    let mut told = Vec::new();
    let mut ever = std::collections::BTreeSet::new();
    for version in (0..=last.0).map(Version) {
        let snapshot = database.snapshot(version).unwrap();
        told.push(format!("version {version} of {:?}", snapshot.time()));
        if version > Version::ZERO {
            told.push(format!("{:?}", database.commit_info(version).unwrap()));
        }
        for name in snapshot.table_names().unwrap() {
            let info = snapshot.table(&name).unwrap();
            let (columns, key) = (&info.schema.columns, &info.schema.key);
            told.push(format!("{name}: {columns:?} {key:?} {} rows, changed {}", info.rows, info.changed));
            told.push(csv(database, version, &name));
            told.push(snapshot.view_size(&name, asof_engine::view::Format::Csv).unwrap().to_string());
            ever.insert(name);
        }
    }
    for name in &ever {
        for kind in [DiffKind::Feed, DiffKind::Net] {
            for from in [0, last.0 / 2] {
                if let Ok(diff) = database.diff(Version(from), last, name, kind) {
                    diff.for_each(|batch| told.push(format!("{:?}", batch.unwrap())));
                }
            }
        }
        told.push(format!("{:?}", database.table_versions(name, Version::ZERO, last).unwrap()));
    }
    let tags = database.tags().unwrap();
    let of_last = tags.iter().filter(|tag| tag.version <= last && !tag.name.starts_with("later"));
    told.extend(of_last.map(|tag| format!("{tag:?}")));
    for number in 0..last.0 {
        let info = database.commit_with_client_id(&format!("commit {number}")).unwrap();
        told.push(format!("{:?}", info.map(|info| info.version).filter(|version| *version <= last)));
    }
    told
}

/// A copy of a disk, to be cut.
fn copy(disk: &SimDisk) -> SimDisk {
    SimDisk::from_image(&disk.image(), Cut::KeepAll)
}

#[test]
fn a_cut_database_answers_as_before_up_to_its_end_and_goes_on_from_there() {
    for seed in 1..=6 {
        let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ seed);
        let disk = SimDisk::new(seed);
        let clock = Arc::new(TestClock::default());
        let database = open(&disk, &clock);
        grow(&database, &mut chance, "commit", 45);
        let newest = database.latest().unwrap();
        let lineage = manifests(&disk)[0].1.lineage_id;
        for last in [0, 1, newest.0 / 3, newest.0 * 3 / 4, newest.0 - 1, newest.0].map(Version) {
            let expected = told(&database, last);
            let copy = copy(&disk);
            let cut = open(&copy, &clock).cut_after(last).unwrap();
            assert_eq!(cut.latest().unwrap(), last, "seed {seed}");
            assert_eq!(told(&cut, last), expected, "seed {seed}, cut after {last}");
            let missing = cut.snapshot(last.next()).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            assert!(cut.tags().unwrap().iter().all(|tag| tag.version <= last));
            assert_eq!(cut.verify().unwrap().findings, vec![], "seed {seed}, cut after {last}");
            let lineages: Vec<[u8; 16]> =
                manifests(&copy).iter().map(|(_, manifest)| manifest.lineage_id).collect();
            assert_eq!(lineages, [lineages[0]; 2]);
            assert_ne!(lineages[0], lineage);
            if last < newest {
                // The id of a commit that is forgotten can be used again.
                let forgotten = database.commit_info(last.next()).unwrap().client_id.unwrap();
                let made =
                    commit(&cut, &forgotten, |txn| txn.create_table("again", customers(), &[]).unwrap());
                assert_eq!(made, last.next());
            }
            // It goes on.
            grow(&cut, &mut chance, "later", 12);
            let grown = cut.latest().unwrap();
            assert!(grown > last);
            assert_eq!(told(&cut, last), expected, "seed {seed}, cut after {last}, gone on");
            let all = told(&cut, grown);
            drop(cut);
            let again = open(&copy, &clock);
            again.checkpoint().unwrap();
            again.compact(None, &crate::compaction::tiny(true)).unwrap();
            assert_eq!(told(&again, grown), all, "seed {seed}, cut after {last}, opened again");
            assert_eq!(again.verify().unwrap().findings, vec![]);
        }
    }
}

/// The manifests there are, newest first.
fn manifests(disk: &SimDisk) -> Vec<(PathBuf, Manifest)> {
    let dir = Path::new(DB).join("manifest");
    let names = disk.list(&dir).unwrap().into_iter().map(|entry| entry.name);
    let mut paths: Vec<PathBuf> =
        names.filter(|name| name.ends_with(".manifest")).map(|name| dir.join(name)).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let manifest = Manifest::from_bytes(&disk.read(&path).unwrap(), "a manifest").unwrap();
        (path, manifest)
    };
    paths.into_iter().rev().map(read).collect()
}

#[test]
fn bytes_of_what_was_cut_off_are_gone() {
    let disk = SimDisk::new(9);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    commit(&database, "first", |txn| {
        txn.create_table("t", customers(), &["id".to_string()]).unwrap();
        txn.insert("t", &rows(&[(1, Some("one"))])).unwrap();
    });
    commit(&database, "a message that is forgotten", |txn| {
        txn.create_table("u", customers(), &["id".to_string()]).unwrap();
        txn.upsert("u", &rows(&[(1, Some("two"))])).unwrap();
    });
    database.checkpoint().unwrap();
    let headers = || disk.read(Path::new("/db/history/commits.log")).unwrap();
    let forgotten = b"a message that is forgotten";
    assert!(headers().windows(forgotten.len()).any(|bytes| bytes == forgotten));
    let database = database.cut_after(Version(1)).unwrap();
    assert!(!headers().windows(forgotten.len()).any(|bytes| bytes == forgotten));
    assert_eq!(disk.read(Path::new("/db/history/00000002.changes")).unwrap(), b"");
    assert_eq!(database.info().unwrap().files["data"].0, 1);
}

#[test]
fn a_database_that_somebody_has_open_is_not_cut() {
    let disk = SimDisk::new(3);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    grow(&database, &mut Chance(77), "commit", 12);
    let expected = told(&database, database.latest().unwrap());
    let refused = |cut: asof_engine::Result<Database>| {
        let error = cut.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        assert!(error.to_string().contains("open elsewhere"), "{error}");
    };
    // Another process that reads, another handle, a snapshot, a scan.
    let reader = Database::open_read_only(DB, crate::support::options(&disk.process())).unwrap();
    refused(open(&disk, &clock).cut_after(Version(3)));
    drop(reader);
    refused(database.clone().cut_after(Version(3)));
    let snapshot = database.snapshot(Version(2)).unwrap();
    refused(database.cut_after(Version(3)));
    drop(snapshot);
    let database = open(&disk, &clock);
    let name = database.at("latest").unwrap().table_names().unwrap().remove(0);
    let scan = database.at("latest").unwrap().scan(&name, ScanOptions::default()).unwrap();
    refused(database.cut_after(Version(3)));
    drop(scan);
    let database = open(&disk, &clock);
    assert_eq!(told(&database, database.latest().unwrap()), expected);
    assert_eq!(database.cut_after(Version(3)).unwrap().latest().unwrap(), Version(3));
}

#[test]
fn a_version_that_is_not_there_is_no_end() {
    let disk = SimDisk::new(4);
    let database = open(&disk, &Arc::new(TestClock::default()));
    grow(&database, &mut Chance(5), "commit", 4);
    let error = database.cut_after(Version(99)).unwrap_err();
    assert_eq!((error.kind(), error.nearest()), (ErrorKind::NotFound, &["4".to_string()][..]));
}

#[test]
fn a_cut_killed_at_every_operation_leaves_the_old_database_or_the_new() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    grow(&database, &mut Chance(4711), "commit", 30);
    let (newest, last) = (database.latest().unwrap(), Version(17));
    let (old, new) = (told(&database, newest), told(&database, last));
    drop(database);
    let mut seen = [0, 0];
    for at in 0.. {
        let copy = copy(&disk);
        let process = copy.process();
        let database = open(&process, &clock);
        copy.plan(copy.operations() + at, Fault::Kill);
        let done = database.cut_after(last);
        let finished = !process.is_dead();
        assert!(finished || done.is_err() || done.is_ok());
        drop(done);
        copy.heal();
        // The page cache survives a kill; a cut of the power takes what was not synced, or some of it.
        let after = match at % 3 {
            0 => copy,
            1 => SimDisk::from_image(&copy.image(), Cut::LoseAll),
            _ => SimDisk::from_image(&copy.image(), Cut::Random(at)),
        };
        let database = open(&after.process(), &clock);
        let found = database.latest().unwrap();
        assert!(found == newest || found == last, "killed at {at}: version {found}");
        seen[usize::from(found == last)] += 1;
        assert_eq!(told(&database, found), if found == last { &new[..] } else { &old[..] }, "killed at {at}");
        // It goes on from there, or is cut again; a newest manifest that is damaged is no way back either.
        if found == newest {
            drop(database);
            let again = open(&after.process(), &clock).cut_after(last).unwrap();
            assert_eq!(told(&again, last), new, "killed at {at}, cut again");
        } else {
            commit(&database, "after", |txn| txn.create_table("after", customers(), &[]).unwrap());
            database.checkpoint().unwrap();
            assert_eq!(told(&database, last), new, "killed at {at}, gone on");
            assert_eq!(database.verify().unwrap().findings, vec![]);
            drop(database);
            after.overwrite(&manifests(&after)[0].0, b"damaged").unwrap();
            let before = open(&after.process(), &clock);
            assert!(before.latest().unwrap() >= last);
            assert_eq!(told(&before, last), new, "killed at {at}, the newest manifest damaged");
        }
        if finished {
            assert!(seen[0] > 10 && seen[1] > 4, "{seen:?}");
            return;
        }
    }
}
