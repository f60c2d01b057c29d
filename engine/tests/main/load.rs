//! Bulk loads: rows in and out of order, keys that are there, other handles that collect garbage meanwhile, kills at
//! every operation.

use crate::support::*;
use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use asof_engine::view::Format;
use asof_engine::{
    Column, ColumnType, CommitOptions, Committed, Database, ErrorKind, Options, Result, ScanOptions, Upkeep,
    Version,
};
use asof_wal::Disk;
use asof_wal::sim::{Fault, SimDisk};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn batch(ids: &[i64], text: impl Fn(i64) -> String) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(ids.iter().map(|id| text(*id))));
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

fn named(id: i64) -> String {
    format!("row {id}")
}

fn make(disk: &SimDisk, clock: &Arc<TestClock>) -> Database {
    let database = open(disk, clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    database
}

fn load(database: &Database, parts: Vec<Vec<i64>>) -> Result<Committed> {
    let mut txn = database.begin()?;
    txn.load("t", parts.iter().map(|ids| Ok(batch(ids, named))))?;
    txn.commit(CommitOptions::default())
}

fn expected(ids: impl IntoIterator<Item = i64>) -> String {
    let rows: BTreeMap<i64, String> = ids.into_iter().map(|id| (id, named(id))).collect();
    rows.iter().fold("id,name\n".to_string(), |text, (id, name)| text + &format!("{id},{name}\n"))
}

/// Every version as it should be, its sizes and counts too.
fn check(database: &Database, versions: &[String]) {
    for (version, text) in versions.iter().enumerate().skip(1) {
        let version = Version(version as u64);
        assert_eq!(&csv(database, version, "t"), text, "version {version}");
        let snapshot = database.snapshot(version).unwrap();
        assert_eq!(snapshot.view_size("t", Format::Csv).unwrap(), text.len() as u64, "version {version}");
        let rows = snapshot.table("t").unwrap().rows;
        assert_eq!(rows as usize, text.lines().count() - 1, "version {version}");
    }
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn loaded_rows_are_rows_like_any_other_at_every_version() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(TestClock::default()));
    let mut database = make(&disk, &clock);
    let mut versions = vec![String::new(), expected([])];
    // In order, out of order, between what is there and before it.
    for parts in [
        vec![vec![10, 20], vec![30]],
        vec![vec![70, 50], vec![60, 40]],
        vec![vec![15, 5, 80]],
        vec![vec![90]],
    ] {
        let known: Vec<i64> = parts.concat();
        let committed = load(&database, parts).unwrap();
        assert_eq!(committed.tables["t"].inserted as usize, known.len());
        let before: Vec<i64> = versions
            .last()
            .unwrap()
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap().parse().unwrap())
            .collect();
        versions.push(expected(before.into_iter().chain(known)));
        check(&database, &versions);
    }
    // Updates, deletes and lookups of rows that lie in loaded files, before and behind a checkpoint and a reopen.
    for round in 0..3 {
        let mut txn = database.begin().unwrap();
        assert_eq!(txn.get("t", &keys(&[40])).unwrap().unwrap().num_rows(), 1);
        let victim = [10, 15, 20][round];
        txn.delete("t", &keys(&[victim])).unwrap();
        assert_eq!(
            txn.insert("t", &batch(&[60], named))
                .and_then(|()| txn.commit(CommitOptions::default()))
                .unwrap_err()
                .kind(),
            ErrorKind::Exists
        );
        let mut txn = database.begin().unwrap();
        txn.delete("t", &keys(&[victim])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        let text = versions.last().unwrap().replace(&format!("{victim},{}\n", named(victim)), "");
        versions.push(text);
        check(&database, &versions);
        if round == 1 {
            database.checkpoint().unwrap();
            check(&database, &versions);
        }
        drop(database);
        database = open(&disk, &clock);
        check(&database, &versions);
    }
    let history = database.history("t", &keys(&[15])).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].begin, Version(4));
    let mut txn = database.begin().unwrap();
    txn.truncate("t").unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    versions.push(expected([]));
    check(&database, &versions);
    database.checkpoint().unwrap();
    check(&database, &versions);
}

#[test]
fn a_key_that_is_there_or_comes_twice_is_refused_and_nothing_is_left() {
    let (disk, clock) = (SimDisk::new(2), Arc::new(TestClock::default()));
    let database = make(&disk, &clock);
    load(&database, vec![vec![1, 2, 3]]).unwrap();
    let mut txn = database.begin().unwrap();
    txn.insert("t", &batch(&[7], named)).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    database.checkpoint().unwrap();
    let files = || disk.list(&Path::new(DB).join("data")).unwrap().len();
    let before = files();
    for (parts, message) in [
        (vec![vec![4, 5, 5]], "the key 5 is given twice"),
        (vec![vec![4, 5], vec![6, 4]], "the key 4 is given twice"),
        (vec![vec![6, 5, 4], vec![5]], "the key 5 is given twice"),
        (vec![vec![0, 2]], "has the key 2 already"),
        (vec![vec![9, 8, 7]], "has the key 7 already"),
    ] {
        let error = load(&database, parts.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{parts:?}");
        assert!(error.to_string().contains(message), "{error}");
        database.checkpoint().unwrap();
        assert_eq!(files(), before, "{parts:?}");
    }
    assert_eq!(csv(&database, database.latest().unwrap(), "t"), expected([1, 2, 3, 7]));
}

#[test]
fn a_table_made_by_the_load_and_one_without_key_keep_their_rows_and_order() {
    let (disk, clock) = (SimDisk::new(3), Arc::new(TestClock::default()));
    let database = make(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("new", customers(), &["id".to_string()]).unwrap();
    txn.create_table("events", vec![Column::new("name", ColumnType::Text)], &[]).unwrap();
    // Another transaction makes a table first: the numbers are others than they seemed.
    let mut first = database.begin().unwrap();
    first.create_table("first", customers(), &["id".to_string()]).unwrap();
    first.commit(CommitOptions::default()).unwrap();
    let names = |names: &[&str]| {
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        RecordBatch::try_from_iter([("name", names)]).unwrap()
    };
    assert_eq!(txn.load("new", [Ok(batch(&[3, 1, 2], named))]).unwrap(), 3);
    assert_eq!(txn.load("events", [Ok(names(&["b", "a"])), Ok(names(&["c"]))]).unwrap(), 3);
    assert!(txn.load("new", [Ok(batch(&[4], named))]).is_err(), "once is all there is");
    assert!(txn.insert("new", &batch(&[4], named)).is_err());
    assert_eq!(txn.counts().unwrap()["new"].inserted, 3);
    txn.commit(CommitOptions::default()).unwrap();
    let mut txn = database.begin().unwrap();
    txn.insert("events", &names(&["d"])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    for _ in 0..2 {
        let newest = database.latest().unwrap();
        assert_eq!(csv(&database, newest, "new"), expected([1, 2, 3]));
        assert_eq!(csv(&database, newest, "events"), "name\nb\na\nc\nd\n");
        assert_eq!(database.verify().unwrap().findings, vec![]);
        database.checkpoint().unwrap();
    }
    let mut txn = database.begin().unwrap();
    txn.load("events", [Ok(names(&["e"]))]).unwrap();
    let mut other = database.begin().unwrap();
    other.insert("events", &names(&["x"])).unwrap();
    other.commit(CommitOptions::default()).unwrap();
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn more_rows_than_memory_holds_are_sorted_on_disk() {
    let (disk, clock) = (SimDisk::new(4), Arc::new(TestClock::default()));
    let options = Options { memory_bytes: 0, upkeep: Upkeep::Off, clock: clock.clone(), ..options(&disk) };
    let database = Database::create(Path::new(DB), options).unwrap();
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    // An order that comes back to every part of the range: no two neighbours, none twice.
    const ROWS: i64 = 150_000;
    let id = |nth: i64| nth * 7_919 % ROWS;
    let rows = (0..ROWS).step_by(5_000).map(|first| {
        let ids: Vec<i64> = (first..first + 5_000).map(id).collect();
        Ok(batch(&ids, |id| format!("{id:060}")))
    });
    assert_eq!(txn.load("t", rows).unwrap(), ROWS as u64);
    txn.commit(CommitOptions::default()).unwrap();
    let snapshot = database.snapshot(database.latest().unwrap()).unwrap();
    let mut next = 0;
    for rows in snapshot.scan("t", ScanOptions::default()).unwrap() {
        let rows = rows.unwrap();
        let ids = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        for id in ids.values() {
            assert_eq!(*id, next);
            next += 1;
        }
    }
    assert_eq!(next, ROWS);
    database.checkpoint().unwrap();
    assert_eq!(disk.list(&Path::new(DB).join("data")).unwrap().len(), 1, "runs are gone");
}

#[test]
fn garbage_collection_of_another_handle_spares_what_a_load_has_written() {
    let (disk, clock) = (SimDisk::new(5), Arc::new(TestClock::default()));
    let one = make(&disk, &clock);
    let two = open(&disk.process(), &clock);
    let collect = |round: i64| {
        let mut txn = two.begin().unwrap();
        let name = format!("other{round}");
        txn.create_table(&name, customers(), &["id".to_string()]).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        two.checkpoint().unwrap();
    };
    let mut txn = one.begin().unwrap();
    let rows = (0..4).map(|part: i64| {
        collect(part);
        // Out of order, so that runs are written as well.
        Ok(batch(&[part * 2 + 1, part * 2], named))
    });
    txn.load("t", rows).unwrap();
    collect(10);
    let version = txn.commit(CommitOptions::default()).unwrap().version;
    for round in 11..14 {
        collect(round);
        assert_eq!(csv(&two, version, "t"), expected(0..8));
        assert_eq!(csv(&one, version, "t"), expected(0..8));
    }
    // A transaction that is given up leaves nothing behind; neither does a process that is killed.
    let mut txn = one.begin().unwrap();
    txn.load("t", [Ok(batch(&[100], named))]).unwrap();
    drop(txn);
    let process = disk.process();
    let killed = open(&process, &clock);
    let mut txn = killed.begin().unwrap();
    txn.load("t", [Ok(batch(&[101], named))]).unwrap();
    let files = || disk.list(&Path::new(DB).join("data")).unwrap().len();
    assert_eq!(files(), 2);
    process.kill();
    drop((txn, killed));
    collect(20);
    assert_eq!(files(), 1);
    assert_eq!(csv(&one, version, "t"), expected(0..8));
}

#[test]
fn a_lost_file_of_a_load_takes_the_rows_of_its_table_and_nothing_else() {
    let (disk, clock) = (SimDisk::new(6), Arc::new(TestClock::default()));
    let database = make(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("other", customers(), &["id".to_string()]).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    load(&database, vec![vec![1, 2, 3]]).unwrap();
    let put = |database: &Database, id: i64| {
        let mut txn = database.begin().unwrap();
        txn.upsert("other", &batch(&[id], named)).unwrap();
        txn.commit(CommitOptions::default()).unwrap().version
    };
    put(&database, 1);
    drop(database);
    let data = Path::new(DB).join("data");
    let file = disk.list(&data).unwrap().pop().unwrap().name;
    disk.remove_file(&data.join(&file)).unwrap();
    let database = open(&disk.process(), &clock);
    assert_eq!(csv(&database, database.refresh().unwrap(), "other"), expected([1]));
    let newest = put(&database, 2);
    assert_eq!(csv(&database, newest, "other"), expected([1, 2]));
    assert_eq!(csv(&database, Version(2), "t"), expected([]), "from before the load");
    let rows = database.snapshot(newest).unwrap().scan("t", ScanOptions::default());
    let error = rows.and_then(|rows| rows.collect::<Result<Vec<_>>>()).unwrap_err();
    assert!(error.to_string().contains(&file), "{error}");
    assert!(database.verify().unwrap().findings.iter().any(|finding| finding.file.contains(&file)));
    // Another handle, which has never known it.
    let other = open(&disk.process(), &clock);
    assert_eq!(csv(&other, newest, "other"), expected([1, 2]));
}

/// The record of a load that was killed, or that failed, may be made durable by whoever writes next: garbage collection
/// by a checkpoint before that, which itself has nothing to settle, must spare the files.
#[test]
fn a_checkpoint_behind_a_load_that_was_killed_or_failed_spares_what_may_still_be_named() {
    let failure = Fault::Error(std::io::ErrorKind::Other);
    let mut made_durable_later = 0;
    for (fault, lives_on) in [(Fault::Kill, false), (failure, false), (failure, true)] {
        for operation in 0.. {
            let (disk, clock) = (SimDisk::new(2_000 + operation), Arc::new(TestClock::default()));
            drop(make(&disk, &clock));
            let process = disk.process();
            let database = open(&process, &clock);
            let start = disk.operations();
            disk.plan(start + operation, fault);
            let loaded = load(&database, vec![vec![1, 3], vec![2, 4]]);
            if loaded.is_ok() && disk.operations() <= start + operation {
                assert!(operation > 10, "there were only {operation} operations");
                break;
            }
            let acknowledged = loaded.is_ok() && !process.is_dead();
            let failed = lives_on.then_some(database);
            disk.heal();
            open(&disk.process(), &clock).checkpoint().unwrap();
            let database = open(&disk.process(), &clock);
            let mut txn = database.begin().unwrap();
            txn.create_table("other", customers(), &["id".to_string()]).unwrap();
            let newest = txn.commit(CommitOptions::default()).unwrap().version.0 - 1;
            assert!(newest == 2 || (newest == 1 && !acknowledged), "operation {operation} after {fault:?}");
            made_durable_later += u64::from(newest == 2 && !acknowledged);
            let mut versions = [String::new(), expected([]), expected(1..5)][..=newest as usize].to_vec();
            versions.push(versions[newest as usize].clone());
            check(&database, &versions);
            drop(failed);
            database.checkpoint().unwrap();
            check(&database, &versions);
        }
    }
    assert!(made_durable_later > 0, "no record was left behind what was known to be durable");
}

/// A load, a checkpoint that settles it, and another load, killed or cut off at each operation in turn.
#[test]
fn a_load_killed_at_any_operation_is_there_whole_or_not_at_all() {
    let mut operation = 0;
    loop {
        for power_cut in [false, true] {
            let (disk, clock) = (SimDisk::new(1_000 + operation), Arc::new(TestClock::default()));
            drop(make(&disk, &clock));
            let process = disk.process();
            let database = open(&process, &clock);
            let start = disk.operations();
            disk.plan(start + operation, Fault::Kill);
            let mut acknowledged = 1;
            let work = || -> Result<()> {
                load(&database, vec![vec![1, 3], vec![2, 4]]).map(|made| {
                    acknowledged = if process.is_dead() { acknowledged } else { made.version.0 }
                })?;
                database.checkpoint()?;
                load(&database, vec![vec![5, 6]]).map(|made| {
                    acknowledged = if process.is_dead() { acknowledged } else { made.version.0 }
                })?;
                Ok(())
            };
            let done = { work }();
            if !process.is_dead() {
                done.unwrap();
                assert!(operation > 50, "there were only {operation} operations");
                return;
            }
            drop(database);
            if power_cut {
                disk.crash();
            }
            disk.heal();
            let process = disk.process();
            let database = open(&process, &clock);
            drop(database.begin().unwrap().commit(CommitOptions::default()).unwrap());
            let newest = database.refresh().unwrap().0;
            assert!(newest == acknowledged || newest == acknowledged + 1, "operation {operation}");
            let versions =
                [String::new(), expected([]), expected(1..5), expected(1..7)][..=newest as usize].to_vec();
            check(&database, &versions);
            // Twice: a power cut in a rename may leave both names of a file, of which one goes at a time.
            database.checkpoint().unwrap();
            database.checkpoint().unwrap();
            check(&database, &versions);
            let named: usize = [0, 0, 1, 2][newest as usize];
            let files = process.list(&Path::new(DB).join("data")).unwrap();
            assert_eq!(files.len(), named, "operation {operation}: {files:?}");
            load(&database, vec![vec![9, 8]]).unwrap();
        }
        operation += 1;
    }
}
