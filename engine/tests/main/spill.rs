//! Transactions larger than memory: their rows go to temporary files and come back as data files of one commit, and
//! nobody can tell.

use crate::support::*;
use asof_engine::arrow::array::{ArrayRef, RecordBatch, StringArray};
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, Committed, Database, Error, ErrorKind, Options, Result,
    Transaction, Version,
};
use asof_wal::Disk;
use asof_wal::sim::{Fault, SimDisk};
use std::path::Path;
use std::sync::Arc;

/// A handle whose transactions hold no rows in memory.
fn open_without_room(disk: &SimDisk, clock: &Arc<TestClock>) -> Database {
    let options = Options { clock: clock.clone(), transaction_bytes: Some(0), ..options(disk) };
    Database::open_or_create(Path::new(DB), options).unwrap()
}

fn files(disk: &SimDisk) -> usize {
    disk.list(&Path::new(DB).join("data")).unwrap().len()
}

/// A table `t` with 1 to 9, of which the last three lie in a data file, at version 2.
fn make(disk: &SimDisk, clock: &Arc<TestClock>) -> Database {
    let database = open_without_room(disk, clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &named(&[7, 8, 9], "old")).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    database.checkpoint().unwrap();
    // Few rows of another handle stay in the log.
    let other = open(&disk.process(), clock);
    let mut txn = other.begin().unwrap();
    txn.insert("t", &named(&[1, 2, 3, 4, 5, 6], "old")).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    database
}

fn named(ids: &[i64], name: &str) -> RecordBatch {
    rows(&ids.iter().map(|id| (*id, Some(name))).collect::<Vec<_>>())
}

fn text(pairs: &[(i64, &str)]) -> String {
    pairs.iter().fold("id,name\n".to_string(), |text, (id, name)| text + &format!("{id},{name}\n"))
}

fn commit(txn: Transaction) -> Committed {
    txn.commit(CommitOptions::default()).unwrap()
}

/// Changes of all kinds, several of one key.
fn change(txn: &mut Transaction) -> Result<()> {
    txn.upsert("t", &named(&[8, 1, 20], "first"))?;
    txn.delete("t", &keys(&[2, 7]))?;
    txn.insert("t", &named(&[2, 21], "second"))?;
    txn.update("t", &named(&[20, 3], "third"))?;
    txn.delete("t", &keys(&[21, 4]))
}

const CHANGED: [(i64, &str); 8] = [
    (1, "first"),
    (2, "second"),
    (3, "third"),
    (5, "old"),
    (6, "old"),
    (8, "first"),
    (9, "old"),
    (20, "third"),
];

#[test]
fn changes_of_all_kinds_are_as_if_memory_had_held_them() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(TestClock::default()));
    let database = make(&disk, &clock);
    let before = files(&disk);
    let mut txn = database.begin().unwrap();
    change(&mut txn).unwrap();
    assert!(files(&disk) > before, "runs are on disk");
    let name =
        |txn: &Transaction, id: i64| txn.get("t", &keys(&[id])).unwrap().map(|row| row.column(1).clone());
    let is = |name: &str| -> Option<ArrayRef> { Some(Arc::new(StringArray::from(vec![name]))) };
    assert_eq!((name(&txn, 8), name(&txn, 2), name(&txn, 20)), (is("first"), is("second"), is("third")));
    assert_eq!((name(&txn, 9), name(&txn, 21), name(&txn, 4)), (is("old"), None, None));
    let counts = txn.counts().unwrap()["t"];
    let committed = commit(txn);
    assert_eq!(committed.tables["t"], counts);
    assert_eq!((counts.inserted, counts.updated, counts.deleted), (1, 4, 2));
    let old: Vec<(i64, &str)> = (1..10).map(|id| (id, "old")).collect();
    for _ in 0..2 {
        assert_eq!(csv(&database, Version(2), "t"), text(&old));
        assert_eq!(csv(&database, Version(3), "t"), text(&CHANGED));
        let other = open(&disk.process(), &clock);
        assert_eq!(csv(&other, Version(3), "t"), text(&CHANGED));
        assert_eq!(other.verify().unwrap().findings, vec![]);
        database.checkpoint().unwrap();
        database.checkpoint().unwrap();
    }
    let history = database.history("t", &keys(&[2])).unwrap();
    assert_eq!(history.iter().map(|row| row.begin.0).collect::<Vec<_>>(), [2, 3]);
    assert!(files(&disk) <= 4, "runs are gone: {}", files(&disk));
}

#[test]
fn a_truncation_takes_what_is_on_disk_along() {
    let (disk, clock) = (SimDisk::new(2), Arc::new(TestClock::default()));
    let database = make(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.upsert("t", &named(&[1, 30], "before")).unwrap();
    txn.truncate("t").unwrap();
    assert!(txn.get("t", &keys(&[30])).unwrap().is_none() && txn.get("t", &keys(&[5])).unwrap().is_none());
    assert_eq!(txn.update("t", &named(&[5], "x")).unwrap_err().kind(), ErrorKind::NotFound);
    txn.insert("t", &named(&[5, 31], "after")).unwrap();
    txn.upsert("t", &named(&[31], "again")).unwrap();
    assert_eq!(txn.counts().unwrap()["t"].deleted, 9);
    let committed = commit(txn);
    assert_eq!((committed.tables["t"].inserted, committed.tables["t"].deleted), (2, 9));
    assert_eq!(csv(&database, committed.version, "t"), text(&[(5, "after"), (31, "again")]));
    // What was inserted before the truncation must not have been there.
    let mut txn = database.begin().unwrap();
    txn.insert("t", &named(&[5], "there already")).unwrap();
    txn.truncate("t").unwrap();
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Exists);
    let mut txn = database.begin().unwrap();
    txn.insert("t", &named(&[5], "there already")).unwrap();
    txn.drop_table("t").unwrap();
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Exists);
    let mut txn = database.begin().unwrap();
    txn.insert("t", &named(&[6], "new")).unwrap();
    txn.drop_table("t").unwrap();
    commit(txn);
    database.checkpoint().unwrap();
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_left() {
    let (disk, clock) = (SimDisk::new(3), Arc::new(TestClock::default()));
    let database = make(&disk, &clock);
    let before = files(&disk);
    type Step = fn(&mut Transaction) -> Result<()>;
    let cases: [(Step, ErrorKind, &str); 6] = [
        (|txn| txn.insert("t", &named(&[9], "x")), ErrorKind::Exists, "the key 9 already"),
        (
            |txn| {
                txn.insert("t", &named(&[40, 41], "x"))?;
                txn.insert("t", &named(&[41], "y"))
            },
            ErrorKind::Exists,
            "the key 41 is given twice",
        ),
        (
            |txn| {
                txn.delete("t", &keys(&[1]))?;
                txn.upsert("t", &named(&[50], "x"))?;
                txn.delete("t", &keys(&[1]))
            },
            ErrorKind::NotFound,
            "gone already",
        ),
        (
            |txn| {
                txn.upsert("t", &named(&[50], "x"))?;
                txn.delete("t", &keys(&[60]))
            },
            ErrorKind::NotFound,
            "to be deleted",
        ),
        (
            |txn| {
                txn.upsert("t", &named(&[50], "x"))?;
                txn.delete("t", &keys(&[50]))?;
                txn.update("t", &named(&[50], "y"))
            },
            ErrorKind::NotFound,
            "no row with the key 50",
        ),
        (
            |txn| {
                txn.upsert("t", &named(&[50], "x"))?;
                txn.load("t", [Ok(named(&[51], "x"))]).map(|_| ())
            },
            ErrorKind::Invalid,
            "has changes already",
        ),
    ];
    for (step, kind, message) in cases {
        let mut txn = database.begin().unwrap();
        let refused: Error =
            step(&mut txn).and_then(|()| txn.commit(CommitOptions::default()).map(|_| ())).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains(message), "{refused}");
    }
    // Somebody else's commit to the table is a conflict, whatever its keys.
    let mut txn = database.begin().unwrap();
    txn.upsert("t", &named(&[50], "x")).unwrap();
    let mut other = database.begin().unwrap();
    other.upsert("t", &named(&[60], "x")).unwrap();
    commit(other);
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(files(&disk), before + 1, "only what was committed is there");
}

#[test]
fn rows_without_key_keep_their_order_and_get_columns_that_come_later() {
    let (disk, clock) = (SimDisk::new(4), Arc::new(TestClock::default()));
    let database = open_without_room(&disk, &clock);
    let names = |names: &[&str]| {
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        RecordBatch::try_from_iter([("name", names)]).unwrap()
    };
    let mut txn = database.begin().unwrap();
    txn.create_table("events", vec![Column::new("name", ColumnType::Text)], &[]).unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("events", &names(&["c", "b"])).unwrap();
    txn.insert("t", &named(&[2], "x")).unwrap();
    for table in ["events", "t"] {
        let mut column = Column::new("more", ColumnType::Text);
        column.default = Some(Arc::new(StringArray::from(vec!["m"])));
        txn.alter_table(table, Alteration::AddColumn(column)).unwrap();
    }
    txn.insert("events", &names(&["a"])).unwrap();
    txn.insert("t", &named(&[1], "y")).unwrap();
    assert_eq!(txn.get("t", &keys(&[2])).unwrap().unwrap().num_columns(), 3);
    let counts = txn.counts().unwrap();
    assert_eq!((counts["events"].inserted, counts["t"].inserted), (3, 2));
    commit(txn);
    let mut txn = database.begin().unwrap();
    txn.insert("events", &names(&["d"])).unwrap();
    commit(txn);
    for _ in 0..2 {
        assert_eq!(csv(&database, Version(2), "events"), "name,more\nc,m\nb,m\na,m\nd,m\n");
        assert_eq!(csv(&database, Version(1), "t"), "id,name,more\n1,y,m\n2,x,m\n");
        assert_eq!(database.verify().unwrap().findings, vec![]);
        database.checkpoint().unwrap();
    }
    // A table that is replaced, or truncated after rows were added, has just the new ones.
    let mut txn = database.begin().unwrap();
    txn.insert("events", &names(&["x"])).unwrap();
    txn.truncate("events").unwrap();
    txn.insert("events", &names(&["y"])).unwrap();
    commit(txn);
    let mut txn = database.begin().unwrap();
    txn.replace("events", &[names(&["z", "y"])]).unwrap();
    commit(txn);
    assert_eq!(csv(&database, Version(3), "events"), "name,more\ny,m\n");
    assert_eq!(csv(&database, Version(4), "events"), "name,more\ny,m\nz,m\n");
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn the_same_request_again_is_known_by_its_rows() {
    let (disk, clock) = (SimDisk::new(5), Arc::new(TestClock::default()));
    let database = make(&disk, &clock);
    let request = |name: &str| {
        let mut txn = database.begin()?;
        txn.upsert("t", &named(&[70, 1], name))?;
        txn.insert("t", &named(&[71], name))?;
        txn.delete("t", &keys(&[2, 3]))?;
        txn.commit(CommitOptions { client_id: Some("one".to_string()), ..CommitOptions::default() })
    };
    let first = request("x").unwrap();
    assert_eq!((first.version, first.repeated), (Version(3), false));
    let again = request("x").unwrap();
    assert_eq!((again.version, again.repeated), (Version(3), true));
    assert_eq!(request("y").unwrap_err().kind(), ErrorKind::Exists);
    let mut txn = database.begin().unwrap();
    txn.truncate("t").unwrap();
    txn.insert("t", &named(&[1], "x")).unwrap();
    let options = CommitOptions { client_id: Some("one".to_string()), ..CommitOptions::default() };
    assert_eq!(txn.commit(options).unwrap_err().kind(), ErrorKind::Exists);
}

/// A transaction on disk, a checkpoint that settles it, and a transaction after it, killed or cut off at one operation
/// after the other: at each with `ASOF_KILL_STRIDE=1`.
#[test]
fn a_transaction_killed_at_any_operation_is_there_whole_or_not_at_all() {
    let given = std::env::var("ASOF_KILL_STRIDE").ok();
    let stride = given.map_or(5, |text| text.parse().expect("ASOF_KILL_STRIDE is a number"));
    let mut operation = 0;
    loop {
        for power_cut in [false, true] {
            let (disk, clock) = (SimDisk::new(2_000 + operation), Arc::new(TestClock::default()));
            drop(make(&disk, &clock));
            let process = disk.process();
            let database = open_without_room(&process, &clock);
            disk.plan(disk.operations() + operation, Fault::Kill);
            let mut acknowledged = 2;
            let mut work = || -> Result<()> {
                let mut txn = database.begin()?;
                change(&mut txn)?;
                txn.commit(CommitOptions::default())?;
                acknowledged += u64::from(!process.is_dead());
                database.checkpoint()?;
                let mut txn = database.begin()?;
                txn.truncate("t")?;
                txn.upsert("t", &named(&[1], "last"))?;
                txn.commit(CommitOptions::default())?;
                acknowledged += u64::from(!process.is_dead());
                Ok(())
            };
            let done = work();
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
            let database = open_without_room(&process, &clock);
            drop(commit(database.begin().unwrap()));
            let newest = database.refresh().unwrap().0;
            assert!(newest == acknowledged || newest == acknowledged + 1, "operation {operation}");
            let old: Vec<(i64, &str)> = (1..10).map(|id| (id, "old")).collect();
            let versions = [text(&old), text(&CHANGED), text(&[(1, "last")])];
            for _ in 0..2 {
                for version in 2..=newest {
                    let found = csv(&database, Version(version), "t");
                    assert_eq!(found, versions[version as usize - 2], "operation {operation}");
                }
                assert_eq!(database.verify().unwrap().findings, vec![], "operation {operation}");
                database.checkpoint().unwrap();
            }
            let mut txn = database.begin().unwrap();
            change(&mut txn).ok();
            drop(txn);
        }
        operation += stride;
    }
}
