//! Bit rot: every byte of every file of a small database flipped, every file cut and removed. Nothing may panic, no
//! version may show wrong rows, and `verify` names the damaged file wherever the damage matters.

use crate::support::*;
use asof_engine::manifest::Manifest;
use asof_engine::view::Format;
use asof_engine::{Alteration, Column, ColumnType, CommitOptions, Database, DiffKind, ErrorKind, Version};
use asof_engine::{Error, Options, Tag};
use asof_wal::sim::SimDisk;
use asof_wal::{Disk, OpenMode};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TABLES: [&str; 2] = ["customers", "eu.events"];
/// Every version, of which the last three are in the log alone.
const VERSIONS: u64 = 9;
/// Bytes of a larger file between two that are flipped, where its bytes are under one checksum with their neighbours.
const STRIDE: usize = 11;

/// What is read of a database: tables by version, and changes by table.
type Seen = BTreeMap<String, Result<String, Error>>;

struct World {
    disk: SimDisk,
    expected: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Two tables with a history of three checkpoints (live, history and ends files) and a tail in the log.
fn history(database: &Database) {
    let commit = |id: Option<&str>, change: &dyn Fn(&mut asof_engine::Transaction)| {
        let mut txn = database.begin().unwrap();
        change(&mut txn);
        let options = CommitOptions { client_id: id.map(str::to_string), ..CommitOptions::default() };
        assert!(!txn.commit(options).unwrap().unchanged);
    };
    commit(Some("first"), &|txn| {
        txn.create_table("customers", customers(), &["id".to_string()]).unwrap();
        txn.insert("customers", &rows(&[(1, Some("one")), (2, None), (3, Some("three"))])).unwrap();
        let none: [String; 0] = [];
        txn.create_table("eu.events", customers(), &none).unwrap();
        txn.insert("eu.events", &rows(&[(7, Some("start")), (7, Some("start"))])).unwrap();
    });
    commit(None, &|txn| txn.upsert("customers", &rows(&[(2, Some("two")), (4, Some(""))])).unwrap());
    assert!(database.checkpoint().unwrap().done);
    commit(Some("third"), &|txn| {
        txn.update("customers", &rows(&[(2, Some("deux")), (4, Some("quatre"))])).unwrap()
    });
    commit(None, &|txn| {
        txn.update("customers", &rows(&[(2, Some("zwei"))])).unwrap();
        txn.insert("eu.events", &rows(&[(8, Some("next"))])).unwrap();
    });
    assert!(database.checkpoint().unwrap().done);
    commit(None, &|txn| {
        let mut column = Column::new("note", ColumnType::Text);
        column.default = Some(Arc::new(asof_engine::arrow::array::StringArray::from(vec!["-"])));
        txn.alter_table("customers", Alteration::AddColumn(column)).unwrap();
    });
    commit(Some("sixth"), &|txn| txn.delete("customers", &keys(&[1])).unwrap());
    let tag = Tag {
        name: "audit".to_string(),
        version: Version(3),
        message: Some("kept".to_string()),
        created: asof_engine::CommitTime(1),
        expires: None,
    };
    database.tag(tag, false).unwrap();
    assert!(database.checkpoint().unwrap().done);
    commit(None, &|txn| txn.upsert("customers", &rows(&[(3, Some("trois")), (5, None)])).unwrap());
    commit(None, &|txn| txn.truncate("eu.events").unwrap());
    commit(Some("ninth"), &|txn| txn.delete("customers", &keys(&[2, 5])).unwrap());
}

fn try_csv(database: &Database, version: Version, table: &str) -> Result<String, Error> {
    let snapshot = database.snapshot(version)?;
    let schema = snapshot.schema(table)?;
    let mut out = Vec::new();
    asof_engine::text::write_csv_header(&schema, &mut out);
    for batch in snapshot.scan(table, asof_engine::ScanOptions::default())? {
        asof_engine::text::write_csv_rows(&schema, &batch?, &mut out);
    }
    let size = snapshot.view_size(table, asof_engine::view::Format::Csv)?;
    assert_eq!(size, out.len() as u64, "size of {table} at version {version}");
    Ok(String::from_utf8(out).expect("CSV is UTF-8"))
}

fn try_diff(database: &Database, table: &str) -> Result<String, Error> {
    let batches = database.diff(Version(1), Version(VERSIONS), table, DiffKind::Feed)?;
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    Ok(batches.iter().map(|batch| format!("{:?}", batch.columns())).collect())
}

/// The newest version alone.
fn blink(database: &Database) -> Seen {
    Seen::from([("latest".into(), database.refresh().map(|version| version.to_string()))])
}

/// One version from Parquet alone, one from the log.
fn glance(database: &Database) -> Seen {
    let mut seen = blink(database);
    for (version, table) in [(4, TABLES[0]), (VERSIONS, TABLES[0]), (2, TABLES[1])] {
        seen.insert(format!("{table} at {version}"), try_csv(database, Version(version), table));
    }
    seen
}

/// Everything the API shows.
fn look(database: &Database) -> Seen {
    let mut seen = glance(database);
    for version in 1..=VERSIONS {
        for table in TABLES {
            seen.insert(format!("{table} at {version}"), try_csv(database, Version(version), table));
        }
        let info = database.commit_info(Version(version)).map(|info| format!("{info:?}"));
        seen.insert(format!("commit {version}"), info);
        let time = database.commit_time(Version(version));
        seen.insert(format!("time {version}"), time.map(|time| time.0.to_string()));
    }
    for table in TABLES {
        seen.insert(format!("changes of {table}"), try_diff(database, table));
    }
    for id in ["first", "third", "sixth", "ninth", "never"] {
        let found = database.commit_with_client_id(id);
        seen.insert(format!("id {id}"), found.map(|info| format!("{:?}", info.map(|info| info.version))));
    }
    seen.insert("tags".into(), database.tags().map(|tags| format!("{tags:?}")));
    let key = database.history("customers", &keys(&[2]));
    seen.insert("history of 2".into(), key.map(|rows| format!("{rows:?}")));
    seen
}

fn files(disk: &SimDisk, dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in disk.list(dir).unwrap() {
        let path = dir.join(entry.name);
        match entry.is_dir {
            true => files(disk, &path, found),
            false => drop(found.insert(path.clone(), disk.read(&path).unwrap())),
        }
    }
}

fn reading(disk: &SimDisk) -> Options {
    options(&disk.process())
}

impl World {
    fn new() -> World {
        let disk = SimDisk::new(5);
        let database = open(&disk.process(), &Arc::new(TestClock::default()));
        history(&database);
        assert_eq!(database.verify().unwrap().findings, vec![]);
        drop(database);
        let database = Database::open_read_only(Path::new(DB), reading(&disk)).unwrap();
        let expected = look(&database).into_iter().map(|(what, text)| (what, text.unwrap())).collect();
        let mut found = BTreeMap::new();
        files(&disk, Path::new(DB), &mut found);
        World { disk, expected, files: found }
    }

    /// The files on another disk, as a copy of the directory has them.
    fn copy(&self) -> SimDisk {
        let disk = SimDisk::new(6);
        let mut dirs: BTreeSet<&Path> = BTreeSet::new();
        self.files.keys().for_each(|path| dirs.extend(path.ancestors().skip(1)));
        for dir in dirs.into_iter().filter(|dir| *dir != Path::new("/")) {
            disk.create_dir(dir).unwrap();
        }
        for (path, bytes) in &self.files {
            disk.open(path, OpenMode::CreateNew).unwrap();
            disk.overwrite(path, bytes).unwrap();
        }
        disk
    }

    /// Whatever is shown is right; what is not shown is an error of a kind that says so.
    fn compare(&self, seen: Seen, damage: &str) -> bool {
        let mut whole = true;
        for (what, found) in seen {
            match found {
                Ok(found) => assert_eq!(found, self.expected[&what], "{damage}: {what}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {what}: {error}");
                    whole = false;
                }
            }
        }
        whole
    }

    /// Looks at the damaged database; tells whether anything names the file.
    fn is_named(&self, path: &Path, damage: &str, look: fn(&Database) -> Seen) -> bool {
        let name = path.strip_prefix(DB).unwrap().display().to_string();
        let examined = catch_unwind(AssertUnwindSafe(|| {
            let database = match Database::open_read_only(Path::new(DB), reading(&self.disk)) {
                Ok(database) => database,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {error}");
                    return error.to_string().contains(&name);
                }
            };
            self.compare(look(&database), damage);
            let findings = database.verify().expect("verification runs").findings;
            findings.iter().any(|finding| finding.file == name)
        }));
        examined.unwrap_or_else(|_| panic!("{damage} made it panic"))
    }
}

/// Which bytes to flip: all of what is small or has a structure of its own. Of the log, its segment's header and what
/// lies behind the place where the older manifest begins: nobody reads what is before it, nor the zeros ahead.
fn places(world: &World, path: &Path) -> Vec<usize> {
    let bytes = &world.files[path];
    let name = path.display().to_string();
    if name.contains("/wal/") {
        let manifest = world.files.iter().find(|(path, _)| path.extension().is_some_and(|e| e == "manifest"));
        let (manifest, content) = manifest.expect("there is one");
        let manifest = Manifest::from_bytes(content, &manifest.display().to_string()).unwrap();
        let start = asof_wal::Position::from(manifest.log_start);
        assert!(name.ends_with(&format!("{:016x}.wal", start.segment)), "there is one segment");
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        return (0..56).chain(4092..4096).chain((start.offset as usize..used).step_by(5)).collect();
    }
    let step = if name.ends_with(".parquet") || name.ends_with(".log") { STRIDE } else { 1 };
    (0..bytes.len()).step_by(step).collect()
}

/// Files without content of their own: locks, and the durable head, which is not told from its map here.
fn is_hint(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    ["create.lock", "checkpoint.lock", "numbers.lock", "LOCK", "NEXT", "head"].contains(&name)
}

#[test]
fn every_flipped_byte_is_named_by_verify_and_no_version_shows_wrong_rows() {
    let world = World::new();
    let mut flips = 0;
    for (path, bytes) in world.files.iter().filter(|(path, _)| !is_hint(path)) {
        for at in places(&world, path) {
            let look = match flips % 16 {
                0 => look,
                4 | 8 | 12 => glance,
                _ => blink,
            };
            let damage = format!("{} flipped at {at}", path.display());
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            world.disk.overwrite(path, &damaged).unwrap();
            assert!(world.is_named(path, &damage, look), "{damage} was not found");
            flips += 1;
        }
        world.disk.overwrite(path, bytes).unwrap();
    }
    assert!(flips > 3000, "only {flips} bytes were flipped");
}

#[test]
fn every_cut_or_missing_file_is_named_by_verify_and_no_version_shows_wrong_rows() {
    let world = World::new();
    for (path, bytes) in world.files.iter().filter(|(path, _)| !is_hint(path)) {
        let aside = path.with_extension("aside");
        world.disk.rename(path, &aside).unwrap();
        let damage = format!("{} removed", path.display());
        assert!(world.is_named(path, &damage, look), "{damage}, and that was not found");
        world.disk.rename(&aside, path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for length in [0, 1, used / 4, used / 2, used - 9, used - 1] {
            let damage = format!("{} cut to {length} bytes", path.display());
            world.disk.overwrite(path, &bytes[..length]).unwrap();
            assert!(world.is_named(path, &damage, look), "{damage} was not found");
        }
        world.disk.overwrite(path, bytes).unwrap();
    }
}

#[test]
fn a_damaged_newest_manifest_leaves_every_version_readable_and_writable() {
    let world = World::new();
    let newest = world.files.keys().rfind(|path| path.extension().is_some_and(|e| e == "manifest")).unwrap();
    let disk = world.copy();
    let mut damaged = world.files[newest].clone();
    damaged[100] ^= 4;
    disk.overwrite(newest, &damaged).unwrap();
    let database = Database::open(Path::new(DB), reading(&disk)).unwrap();
    assert!(world.compare(look(&database), "the newest manifest damaged"), "all is readable");
    let mut txn = database.begin().unwrap();
    txn.upsert("customers", &rows(&[(9, Some("nine"))])).unwrap();
    assert_eq!(txn.commit(CommitOptions::default()).unwrap().version, Version(VERSIONS + 1));
    let text = try_csv(&database, Version(VERSIONS + 1), "customers").unwrap();
    for _ in 0..3 {
        database.checkpoint().unwrap();
        let mut txn = database.begin().unwrap();
        txn.insert("eu.events", &rows(&[(1, None)])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
    }
    drop(database);
    let database = Database::open_read_only(Path::new(DB), reading(&disk)).unwrap();
    assert_eq!(try_csv(&database, Version(VERSIONS + 1), "customers").unwrap(), text);
    for version in 1..=VERSIONS {
        for table in TABLES {
            let found = try_csv(&database, Version(version), table).unwrap();
            assert_eq!(found, world.expected[&format!("{table} at {version}")]);
        }
    }
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn writing_to_a_damaged_database_keeps_every_version_right_or_refuses() {
    let world = World::new();
    for (path, bytes) in world.files.iter().filter(|(path, _)| !is_hint(path)) {
        for at in places(&world, path).into_iter().step_by(29) {
            let damage = format!("{} flipped at {at}, then written", path.display());
            let disk = world.copy();
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            disk.overwrite(path, &damaged).unwrap();
            let written = catch_unwind(AssertUnwindSafe(|| write_and_read(&world, &disk, &damage)));
            assert!(written.is_ok(), "{damage} made it panic");
        }
    }
}

/// Commits and makes a checkpoint, and reads every old version. The log of a copy may have lost its last records: bit rot in
/// them is not told from a torn write, and versions are counted on from what is left.
fn write_and_read(world: &World, disk: &SimDisk, damage: &str) {
    let corrupt = |error: Error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {error}");
    let database = match Database::open(Path::new(DB), reading(disk)) {
        Ok(database) => database,
        Err(error) => return corrupt(error),
    };
    let written = database.begin().and_then(|mut txn| {
        txn.upsert("customers", &rows(&[(2, Some("again")), (11, None)]))?;
        txn.commit(CommitOptions::default())
    });
    let up_to = match &written {
        Ok(committed) => committed.version.0 - 1,
        Err(_) => VERSIONS,
    };
    written.map(|_| ()).unwrap_or_else(corrupt);
    database.checkpoint().map(|_| ()).unwrap_or_else(corrupt);
    for version in 1..=up_to {
        for table in TABLES {
            match try_csv(&database, Version(version), table) {
                Ok(found) => assert_eq!(found, world.expected[&format!("{table} at {version}")], "{damage}"),
                Err(error) if error.kind() == ErrorKind::NotFound => assert!(up_to == VERSIONS, "{damage}"),
                Err(error) => corrupt(error),
            }
        }
    }
}

/// Sizes of files come from sums over the rows, and those that end are taken off: where they lie in a damaged file they
/// cannot be.
#[test]
fn rows_that_end_in_a_damaged_file_keep_nobody_from_settling() {
    let (disk, clock) = (SimDisk::new(5), Arc::new(TestClock::default()));
    let database = open(&disk.process(), &clock);
    let mut txn = database.begin().unwrap();
    for table in ["bad", "good"] {
        txn.create_table(table, customers(), &["id".to_string()]).unwrap();
        txn.insert(table, &rows(&[(1, Some("one")), (2, None), (3, Some("three"))])).unwrap();
    }
    txn.commit(CommitOptions::default()).unwrap();
    assert!(database.checkpoint().unwrap().done);
    drop(database);
    let is_of_bad = |path: &&PathBuf| path.to_string_lossy().contains("/data/00000001-");
    let path = disk.files().iter().find(is_of_bad).unwrap().clone();
    let mut bytes = disk.read(&path).unwrap();
    bytes[20] ^= 4;
    disk.overwrite(&path, &bytes).unwrap();

    let mut database = open(&disk.process(), &clock);
    let mut expected = Vec::new();
    for (round, id) in [(0, 7), (1, 8), (2, 9)] {
        let mut txn = database.begin().unwrap();
        if round == 0 {
            txn.truncate("bad").unwrap();
        }
        txn.insert("bad", &rows(&[(id, Some("new"))])).unwrap();
        txn.insert("good", &rows(&[(id, Some("new"))])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        assert!(database.checkpoint().unwrap().done, "round {round}");
        if round == 1 {
            database = open(&disk.process(), &clock);
        }
        expected.push((7..=id).fold("id,name\n".to_string(), |text, id| text + &format!("{id},new\n")));
        for (nth, text) in expected.iter().enumerate() {
            let version = Version(nth as u64 + 2);
            assert_eq!(&csv(&database, version, "bad"), text, "round {round}");
            let snapshot = database.snapshot(version).unwrap();
            assert_eq!(snapshot.view_size("bad", Format::Csv).unwrap() as usize, text.len());
            assert_eq!(snapshot.table("bad").unwrap().rows as usize, nth + 1);
            assert_eq!(csv(&database, version, "good").lines().count(), nth + 5);
        }
    }
    let error = try_csv(&database, Version(1), "bad").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let findings = database.verify().unwrap().findings;
    assert!(!findings.is_empty());
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(findings.iter().all(|finding| finding.file.contains(name)), "{findings:?}");

    // Damaged sums: what needs none of them goes on.
    let sums = Path::new(DB).join("history/00000001.changes");
    let mut bytes = disk.read(&sums).unwrap();
    bytes.fill(7);
    disk.overwrite(&sums, &bytes).unwrap();
    let database = open(&disk.process(), &clock);
    assert_eq!(&csv(&database, Version(3), "bad"), &expected[1]);
    let size = database.snapshot(Version(3)).unwrap().view_size("bad", Format::Csv).unwrap();
    assert_eq!(size as usize, expected[1].len(), "rows are counted instead");
    assert!(
        database.verify().unwrap().findings.iter().any(|finding| finding.file.contains("00000001.changes"))
    );
}

/// Tables `bad` and `good`, three commits with ids and a checkpoint behind each.
fn two_tables(disk: &SimDisk, clock: &Arc<TestClock>) {
    let database = open(&disk.process(), clock);
    for (nth, id) in [1, 2, 3].into_iter().enumerate() {
        put_in_both(&database, id, &format!("first {nth}")).unwrap();
        assert!(database.checkpoint().unwrap().done);
    }
}

/// A row more in each of the tables, in one commit.
fn put_in_both(database: &Database, id: i64, client_id: &str) -> Result<Version, Error> {
    let mut txn = database.begin()?;
    for table in ["bad", "good"] {
        if !txn.has_table(table) {
            txn.create_table(table, customers(), &["id".to_string()])?;
        }
        txn.upsert(table, &rows(&[(id, Some("row"))]))?;
    }
    let options = CommitOptions { client_id: Some(client_id.to_string()), ..CommitOptions::default() };
    Ok(txn.commit(options)?.version)
}

fn rows_up_to(id: i64) -> String {
    (1..=id).fold("id,name\n".to_string(), |text, id| text + &format!("{id},row\n"))
}

/// History files are appended to, and ids merged, by every checkpoint: what one of them has lost is lost, and the rest
/// goes on.
#[test]
fn damaged_history_and_ids_keep_no_checkpoint_from_settling_more() {
    let path = |name: &str| Path::new(DB).join(name);
    for damaged in ["history/00000001.changes", "history/commits.idx", "history/commits.log", "ids"] {
        for way in ["cut", "removed", "flipped"] {
            let (disk, clock) = (SimDisk::new(9), Arc::new(TestClock::default()));
            two_tables(&disk, &clock);
            let file = match damaged {
                "ids" => disk.files().into_iter().rfind(|file| file.starts_with(path("ids"))).unwrap(),
                file => path(file),
            };
            let mut bytes = disk.read(&file).unwrap();
            match way {
                "cut" => {
                    let handle = disk.open(&file, OpenMode::ReadWrite).unwrap();
                    handle.set_len(bytes.len() as u64 / 2).unwrap();
                    handle.sync_all().unwrap();
                }
                "removed" => disk.remove_file(&file).unwrap(),
                _ => {
                    let at = bytes.len() - 20;
                    bytes[at] ^= 1;
                    disk.overwrite(&file, &bytes).unwrap();
                }
            }
            let place = format!("{damaged} {way}");
            let mut txn_refused = 0;
            for id in 4..8 {
                let database = open(&disk.process(), &clock);
                // An id that may be in what is damaged cannot be told from a new one.
                let mut txn = database.begin().unwrap();
                txn.upsert("good", &rows(&[(id, Some("row"))])).unwrap();
                txn.upsert("bad", &rows(&[(id, Some("row"))])).unwrap();
                txn.commit(CommitOptions::default()).unwrap();
                txn_refused += u64::from(put_in_both(&database, id, &format!("more {id}")).is_err());
                assert!(database.checkpoint().unwrap().done, "{place}");
                let newest = database.latest().unwrap();
                for table in ["good", "bad"] {
                    assert_eq!(csv(&database, newest, table), rows_up_to(id), "{place}");
                    let info = database.snapshot(newest).unwrap().table(table).unwrap();
                    assert_eq!(info.rows as i64, id, "{place}");
                }
                assert_eq!(csv(&database, Version(2), "good"), rows_up_to(2), "{place}");
                assert_eq!(csv(&database, Version(2), "bad"), rows_up_to(2), "{place}");
            }
            assert!(damaged == "ids" || txn_refused == 0, "{place}");
            let database = open(&disk.process(), &clock);
            assert!(!database.verify().unwrap().findings.is_empty(), "{place}");
        }
    }
}

/// Listings need rows and the version that last changed a table: where their entry is damaged, rows are counted.
#[test]
fn tables_whose_sums_are_damaged_are_listed_with_their_rows() {
    let (disk, clock) = (SimDisk::new(9), Arc::new(TestClock::default()));
    two_tables(&disk, &clock);
    let file = Path::new(DB).join("history/00000001.changes");
    let mut bytes = disk.read(&file).unwrap();
    bytes.fill(0xA5);
    disk.overwrite(&file, &bytes).unwrap();
    let database = open(&disk.process(), &clock);
    for version in 1..=3 {
        let snapshot = database.snapshot(Version(version)).unwrap();
        for name in snapshot.table_names().unwrap() {
            assert_eq!(snapshot.table(&name).unwrap().rows, version);
            let text = rows_up_to(version as i64);
            assert_eq!(snapshot.view_size(&name, Format::Csv).unwrap() as usize, text.len());
        }
    }
}

/// A file that is lost, cut or damaged concerns nobody once all its rows have ended.
#[test]
fn a_table_whose_damaged_file_was_truncated_is_read_and_written() {
    for (lost, settled) in [(true, true), (true, false), (false, true), (false, false)] {
        let (disk, clock) = (SimDisk::new(9), Arc::new(TestClock::default()));
        two_tables(&disk, &clock);
        for file in disk.files().iter().filter(|file| file.to_string_lossy().contains("/data/00000001-")) {
            let mut bytes = disk.read(file).unwrap();
            bytes[10] ^= 1;
            disk.overwrite(file, &bytes).unwrap();
            if lost {
                disk.remove_file(file).unwrap();
            }
        }
        let mut database = open(&disk.process(), &clock);
        let mut txn = database.begin().unwrap();
        txn.truncate("bad").unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        if settled {
            database.checkpoint().unwrap();
            database = open(&disk.process(), &clock);
        }
        let newest = database.latest().unwrap();
        assert_eq!(csv(&database, newest, "bad"), "id,name\n", "lost {lost} settled {settled}");
        let mut txn = database.begin().unwrap();
        txn.insert("bad", &rows(&[(2, Some("again"))])).unwrap();
        let newest = txn.commit(CommitOptions::default()).unwrap().version;
        for _ in 0..2 {
            assert_eq!(csv(&database, newest, "bad"), "id,name\n2,again\n", "lost {lost} settled {settled}");
            assert_eq!(csv(&database, newest, "good"), rows_up_to(3));
            database.checkpoint().unwrap();
        }
    }
}

/// A copy has no durable head that may be believed, and its log is searched for its end.
#[test]
fn what_precedes_damage_of_the_log_can_be_read_in_a_copy_as_well() {
    for is_copy in [false, true] {
        let (disk, clock) = (SimDisk::new(9), Arc::new(TestClock::default()));
        let database = open(&disk.process(), &clock);
        for id in 1..6 {
            put_in_both(&database, id, &format!("{id}")).unwrap();
        }
        drop(database);
        let log = Path::new(DB).join("wal/0000000000000001.wal");
        let mut bytes = disk.read(&log).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        // Within the third commit, about.
        let at = 4096 + (used - 4096) / 2;
        bytes[at] ^= 1;
        disk.overwrite(&log, &bytes).unwrap();
        if is_copy {
            disk.remove_file(&Path::new(DB).join("wal/head")).unwrap();
        }
        let database = Database::open(Path::new(DB), options(&disk.process())).unwrap();
        assert_eq!(database.latest().unwrap_err().kind(), ErrorKind::Corrupt);
        for version in 1..=2 {
            assert_eq!(
                csv(&database, Version(version), "good"),
                rows_up_to(version as i64),
                "copy {is_copy}"
            );
        }
        assert_eq!(database.snapshot(Version(5)).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(database.latest().unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// Verification goes on behind the first commit that is damaged.
#[test]
fn verification_tells_of_every_damaged_commit() {
    let (disk, clock) = (SimDisk::new(9), Arc::new(TestClock::default()));
    two_tables(&disk, &clock);
    let path = |name: &str| Path::new(DB).join("history").join(name);
    for (name, at) in [("commits.idx", 33), ("commits.log", 3)] {
        let mut bytes = disk.read(&path(name)).unwrap();
        bytes[at] ^= 1;
        disk.overwrite(&path(name), &bytes).unwrap();
    }
    let report = open(&disk.process(), &clock).verify().unwrap();
    assert_eq!(report.versions, 1, "the third is whole");
    for name in ["commits.idx", "commits.log"] {
        assert!(report.findings.iter().any(|found| found.file.ends_with(name)), "{:?}", report.findings);
    }
}
