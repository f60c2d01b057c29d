//! What a user does first.

use crate::support::*;
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, Database, DiffKind, ErrorKind, Options, Version,
};
use asof_wal::sim::{Cut, Fault, SimDisk};
use std::sync::Arc;

#[test]
fn every_version_stays_readable_before_and_after_a_checkpoint_and_a_reopen() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(2, Some("two")), (1, None)])).unwrap();
    let first = txn.commit(CommitOptions::default()).unwrap();
    assert_eq!(first.version, Version(1));
    assert_eq!(first.tables["t"].inserted, 2);

    let mut txn = database.begin().unwrap();
    txn.upsert("t", &rows(&[(1, Some("")), (3, Some("a,b"))])).unwrap();
    txn.delete("t", &keys(&[2])).unwrap();
    let second = txn.commit(CommitOptions::default()).unwrap();
    let counts = second.tables["t"];
    assert_eq!((counts.inserted, counts.updated, counts.deleted), (1, 1, 1));

    let expected = ["id,name\n1,\n2,two\n", "id,name\n1,\"\"\n3,\"a,b\"\n", "id,name\n1,\"\"\n3,c\n"];
    let check = |database: &asof_engine::Database, up_to: u64| {
        for version in 1..=up_to {
            assert_eq!(
                csv(database, Version(version), "t"),
                expected[version as usize - 1],
                "version {version}"
            );
        }
        assert!(database.verify().unwrap().findings.is_empty());
    };
    check(&database, 2);
    assert!(database.checkpoint().unwrap().done);
    check(&database, 2);
    let mut txn = database.begin().unwrap();
    txn.update("t", &rows(&[(3, Some("c"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    check(&database, 3);
    drop(database);
    let database = open(&disk, &clock);
    check(&database, 3);
    assert!(database.checkpoint().unwrap().done);
    check(&database, 3);
    assert!(!database.checkpoint().unwrap().done);
}

#[test]
fn a_file_is_no_database() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Database::open_read_only(file.path(), Options::default()).expect_err("it is none");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("is not a database"), "{error}");
}

#[test]
fn a_schema_change_touches_no_row_and_each_version_keeps_its_schema() {
    let disk = SimDisk::new(2);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table(
        "t",
        vec![Column::new("id", ColumnType::Int32), Column::new("d", ColumnType::Date)],
        &["id".into()],
    )
    .unwrap();
    let ids: asof_engine::arrow::array::ArrayRef =
        Arc::new(asof_engine::arrow::array::Int32Array::from(vec![1, 2]));
    let days: asof_engine::arrow::array::ArrayRef =
        Arc::new(asof_engine::arrow::array::Date32Array::from(vec![Some(0), None]));
    let batch = asof_engine::arrow::array::RecordBatch::try_from_iter([("id", ids), ("d", days)]).unwrap();
    txn.insert("t", &batch).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    let alter = |alterations: Vec<Alteration>| {
        let mut txn = database.begin().unwrap();
        for alteration in alterations {
            txn.alter_table("t", alteration).unwrap();
        }
        let committed = txn.commit(CommitOptions::default()).unwrap();
        assert_eq!(committed.tables["t"], asof_engine::Counts::default());
    };
    let mut added = Column::new("n", ColumnType::Text);
    added.default = Some(asof_engine::text::parse_scalar(&ColumnType::Text, "x").unwrap());
    alter(vec![Alteration::AddColumn(added)]);
    alter(vec![Alteration::WidenColumn {
        name: "d".into(),
        to: ColumnType::parse("timestamp(ms)").unwrap(),
    }]);
    alter(vec![
        Alteration::WidenColumn { name: "id".into(), to: ColumnType::Int64 },
        Alteration::RenameColumn { from: "n".into(), to: "m".into() },
    ]);
    alter(vec![Alteration::DropColumn("d".into())]);
    alter(vec![Alteration::AddColumn(Column::new("d", ColumnType::Int8))]);
    alter(vec![Alteration::DropColumn("d".into()), Alteration::DropColumn("m".into())]);
    let expected = [
        "id,d\n1,1970-01-01\n2,\n",
        "id,d,n\n1,1970-01-01,x\n2,,x\n",
        "id,d,n\n1,1970-01-01T00:00:00.000,x\n2,,x\n",
        "id,d,m\n1,1970-01-01T00:00:00.000,x\n2,,x\n",
        "id,m\n1,x\n2,x\n",
        "id,m,d\n1,x,\n2,x,\n",
        "id\n1\n2\n",
    ];
    for round in 0..3 {
        for (version, expected) in (1..).zip(expected) {
            assert_eq!(csv(&database, Version(version), "t"), expected, "version {version} in round {round}");
            let snapshot = database.snapshot(Version(version)).unwrap();
            let size = snapshot.view_size("t", asof_engine::view::Format::Csv).unwrap();
            assert_eq!(size, expected.len() as u64, "size of version {version} in round {round}");
        }
        assert_eq!(database.verify().unwrap().findings, vec![]);
        database.checkpoint().unwrap();
    }
}

#[test]
fn the_first_committer_wins_and_inserts_of_existing_keys_are_refused() {
    let disk = SimDisk::new(3);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(1, Some("a"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    database.checkpoint().unwrap();

    let (mut one, mut two) = (database.begin().unwrap(), database.begin().unwrap());
    one.upsert("t", &rows(&[(1, Some("one"))])).unwrap();
    two.upsert("t", &rows(&[(1, Some("two"))])).unwrap();
    one.commit(CommitOptions::default()).unwrap();
    assert_eq!(two.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Conflict);

    let mut txn = database.begin().unwrap();
    txn.insert("t", &rows(&[(1, Some("again"))])).unwrap();
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Exists);
    let mut txn = database.begin().unwrap();
    txn.delete("t", &keys(&[7])).unwrap();
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(database.refresh().unwrap(), Version(2));
    assert_eq!(csv(&database, Version(2), "t"), "id,name\n1,one\n");
}

#[test]
fn an_idempotency_id_gives_the_first_answer_again() {
    let disk = SimDisk::new(4);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let commit = |name: &str| {
        let mut txn = database.begin().unwrap();
        if !txn.has_table("t") {
            txn.create_table("t", customers(), &["id".to_string()]).unwrap();
            txn.commit(CommitOptions::default()).unwrap();
            txn = database.begin().unwrap();
        }
        txn.upsert("t", &rows(&[(1, Some(name))])).unwrap();
        txn.commit(CommitOptions { client_id: Some("x".into()), ..CommitOptions::default() })
    };
    let first = commit("a").unwrap();
    for _ in 0..2 {
        let again = commit("a").unwrap();
        assert!(again.repeated && again.version == first.version && again.id == first.id);
        assert_eq!(commit("b").unwrap_err().kind(), ErrorKind::Exists);
        database.checkpoint().unwrap();
    }
}

#[test]
fn a_diff_is_net_or_a_feed() {
    let disk = SimDisk::new(5);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(1, Some("a")), (2, Some("b")), (3, Some("c"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    for (put, delete) in [(vec![(1, Some("x")), (4, Some("d"))], vec![2]), (vec![(1, Some("a"))], vec![4])] {
        let mut txn = database.begin().unwrap();
        txn.upsert("t", &rows(&put)).unwrap();
        txn.delete("t", &keys(&delete)).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
    }
    let lines = |kind| {
        let mut out = Vec::new();
        for batch in database.diff(Version(1), Version(3), "t", kind).unwrap() {
            let batch = batch.unwrap();
            let schema = asof_engine::text::schema_of_arrow(&batch.schema()).unwrap();
            let mut text = Vec::new();
            asof_engine::text::write_csv_rows(&schema, &batch, &mut text);
            out.extend(String::from_utf8(text).unwrap().lines().map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                format!("{} {} {} {}", cells[0], cells[1], cells[3], cells[4])
            }));
        }
        out
    };
    for _ in 0..2 {
        assert_eq!(lines(DiffKind::Net), ["delete 2 2 b"]);
        assert_eq!(
            lines(DiffKind::Feed),
            [
                "update_preimage 2 1 a",
                "update_postimage 2 1 x",
                "delete 2 2 b",
                "insert 2 4 d",
                "update_preimage 3 1 x",
                "update_postimage 3 1 a",
                "delete 3 4 d",
            ]
        );
        database.checkpoint().unwrap();
    }
}

#[test]
fn what_lies_before_damage_in_the_log_can_be_read_and_nothing_can_be_written() {
    let disk = SimDisk::new(6);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    for id in 0..20 {
        let mut txn = database.begin().unwrap();
        txn.insert("t", &rows(&[(id, Some("a name that is easily found"))])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
    }
    drop(database);
    let segment = std::path::Path::new("/db/wal/0000000000000001.wal");
    let mut bytes = disk.read(segment).unwrap();
    let middle = bytes.windows(6).enumerate().filter(|(_, window)| window == b"easily").nth(10).unwrap().0;
    bytes[middle] ^= 0x40;
    disk.overwrite(segment, &bytes).unwrap();

    let database = open(&disk, &clock);
    let error = database.refresh().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("0000000000000001.wal"), "{error}");
    assert_eq!(csv(&database, Version(9), "t").lines().count(), 9);
    let time = database.commit_time(Version(9)).unwrap();
    assert_eq!(database.version_at(time).unwrap(), Version(9));
    assert_eq!(database.snapshot(Version(20)).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(database.begin().err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_not_null_column_without_a_default_cannot_be_added() {
    let disk = SimDisk::new(7);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(1, Some("a"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    let mut txn = database.begin().unwrap();
    let mut column = Column::new("n", ColumnType::Text);
    column.nullable = false;
    let error = txn.alter_table("t", Alteration::AddColumn(column.clone())).unwrap_err();
    assert!(error.to_string().contains("default"), "{error}");
    column.default = Some(asof_engine::text::parse_scalar(&ColumnType::Text, "x").unwrap());
    txn.alter_table("t", Alteration::AddColumn(column)).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    assert_eq!(csv(&database, Version(2), "t"), "id,name,n\n1,a,x\n");
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn a_feed_of_past_versions_stays_the_same_when_the_schema_changes_later() {
    let disk = SimDisk::new(8);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(1, Some("a"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    let mut txn = database.begin().unwrap();
    txn.upsert("t", &rows(&[(1, Some("b"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    let feed = |from: u64, to: u64| {
        let mut diff = database.diff(Version(from), Version(to), "t", DiffKind::Feed).unwrap();
        let names: Vec<String> =
            diff.schema().fields().iter().skip(3).map(|field| field.name().clone()).collect();
        (names, diff.next().map(|batch| batch.unwrap()))
    };
    let before = feed(1, 2);
    let mut txn = database.begin().unwrap();
    txn.alter_table("t", Alteration::RenameColumn { from: "name".into(), to: "title".into() }).unwrap();
    txn.alter_table("t", Alteration::AddColumn(Column::new("extra", ColumnType::Int8))).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    assert_eq!(feed(1, 2), before);
    assert_eq!(before.0, ["id", "name"]);
    // A range over the change has every column there was in it, each once.
    assert_eq!(feed(0, 3).0, ["id", "title", "extra"]);
    let mut txn = database.begin().unwrap();
    txn.alter_table("t", Alteration::DropColumn("title".into())).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    assert_eq!(feed(3, 4).0, ["id", "extra", "title"]);
}

/// A handle that lags takes up the newest manifest at once and never reads the log before it: what was committed there
/// must not be taken for unchanged. (An update was lost so; the model has one writing handle at a time.)
#[test]
fn a_transaction_conflicts_with_commits_that_its_handle_never_read() {
    let disk = SimDisk::new(9);
    let clock = Arc::new(TestClock::default());
    let one = open(&disk, &clock);
    let mut txn = one.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(1, Some("a")), (2, Some("b"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();

    let mut late = one.begin().unwrap();
    assert!(late.get("t", &keys(&[1])).unwrap().is_some());
    late.upsert("t", &rows(&[(1, Some("late"))])).unwrap();

    let two = open(&disk.process(), &clock);
    for (id, name) in [(2, "c"), (1, "d")] {
        let mut txn = two.begin().unwrap();
        txn.upsert("t", &rows(&[(id, Some(name))])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        two.checkpoint().unwrap();
    }
    let error = late.commit(CommitOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Conflict | ErrorKind::TooOld), "{error}");
    assert_eq!(csv(&one, Version(3), "t"), "id,name\n1,d\n2,c\n");
    let mut txn = one.begin().unwrap();
    txn.upsert("t", &rows(&[(1, Some("e"))])).unwrap();
    assert_eq!(txn.commit(CommitOptions::default()).unwrap().version, Version(4));
}

#[test]
fn a_version_before_a_widening_is_read_beside_rows_that_only_the_wider_type_holds() {
    let disk = SimDisk::new(10);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let put = |id: i64, number: i64, column_type: &str| {
        let column_type = ColumnType::parse(column_type).unwrap();
        let ids = asof_engine::text::parse_scalar(&ColumnType::Int64, &id.to_string()).unwrap();
        let numbers = asof_engine::text::parse_scalar(&column_type, &number.to_string()).unwrap();
        let rows =
            asof_engine::arrow::array::RecordBatch::try_from_iter([("id", ids), ("n", numbers)]).unwrap();
        let mut txn = database.begin().unwrap();
        txn.upsert("t", &rows).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
    };
    let mut txn = database.begin().unwrap();
    let columns = vec![Column::new("id", ColumnType::Int64), Column::new("n", ColumnType::Int8)];
    txn.create_table("t", columns, &["id".to_string()]).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    put(1, 1, "int8");
    put(3, 3, "int8");
    let mut txn = database.begin().unwrap();
    txn.alter_table("t", Alteration::WidenColumn { name: "n".into(), to: ColumnType::Int64 }).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    put(2, 1000, "int64");
    put(1, 2000, "int64");
    for _ in 0..2 {
        assert_eq!(csv(&database, Version(2), "t"), "id,n\n1,1\n");
        assert_eq!(csv(&database, Version(3), "t"), "id,n\n1,1\n3,3\n");
        assert_eq!(csv(&database, Version(6), "t"), "id,n\n1,2000\n2,1000\n3,3\n");
        for kind in [DiffKind::Net, DiffKind::Feed] {
            assert!(database.diff(Version(1), Version(6), "t", kind).unwrap().all(|batch| batch.is_ok()));
            assert!(database.diff(Version(1), Version(3), "t", kind).unwrap().all(|batch| batch.is_ok()));
        }
        assert_eq!(database.history("t", &keys(&[1])).unwrap().len(), 2);
        assert_eq!(database.verify().unwrap().findings, vec![]);
        database.checkpoint().unwrap();
    }
}

#[test]
fn writes_that_cancel_out_make_no_version_but_must_have_been_possible() {
    let disk = SimDisk::new(11);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(1, Some("a"))])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    for id in [5, 1] {
        let mut txn = database.begin().unwrap();
        txn.insert("t", &rows(&[(id, Some("x"))])).unwrap();
        txn.delete("t", &keys(&[id])).unwrap();
        match txn.commit(CommitOptions::default()) {
            Ok(committed) => assert!(committed.unchanged && id == 5),
            Err(error) => assert!(error.kind() == ErrorKind::Exists && id == 1, "{error}"),
        }
    }
    let mut txn = database.begin().unwrap();
    txn.upsert("t", &rows(&[(7, Some("x"))])).unwrap();
    txn.delete("t", &keys(&[7])).unwrap();
    assert!(txn.commit(CommitOptions::default()).unwrap().unchanged);
    assert_eq!(database.refresh().unwrap(), Version(1));
}

/// A checkpoint killed between its manifest and its record in the log leaves files that another handle has not heard of:
/// that one's own checkpoint must not give their numbers again.
#[test]
fn a_checkpoint_after_one_that_was_killed_anywhere_leaves_every_version_readable() {
    for at in 0.. {
        let disk = SimDisk::new(100 + at);
        let clock = Arc::new(TestClock::default());
        let one = open(&disk.process(), &clock);
        let mut expected = Vec::new();
        let commit = |database: &asof_engine::Database, id: i64, expected: &mut Vec<String>| {
            let mut txn = database.begin().unwrap();
            if !txn.has_table("t") {
                txn.create_table("t", customers(), &["id".to_string()]).unwrap();
            }
            txn.upsert("t", &rows(&[(id, Some("a")), (0, Some(&id.to_string()))])).unwrap();
            let committed = txn.commit(CommitOptions::default()).unwrap();
            expected.push(csv(database, committed.version, "t"));
        };
        (1..4).for_each(|id| commit(&one, id, &mut expected));
        let killed = disk.process();
        let two = open(&killed, &clock);
        two.refresh().unwrap();
        disk.plan(disk.operations() + at, asof_wal::sim::Fault::Kill);
        let done = two.checkpoint();
        disk.heal();
        if done.is_ok() && !killed.is_dead() {
            assert!(at > 10, "a checkpoint has more than {at} operations");
            return;
        }
        let check = |database: &asof_engine::Database, expected: &[String]| {
            for (version, text) in (1..).zip(expected) {
                assert_eq!(
                    &csv(database, Version(version), "t"),
                    text,
                    "version {version}, killed at operation {at}"
                );
            }
        };
        // Reads from whatever manifest is newest now, and goes on reading from it.
        let reader = open(&disk.process(), &clock);
        check(&reader, &expected);
        for id in 4..6 {
            commit(&one, id, &mut expected);
            one.checkpoint().unwrap();
            check(&one, &expected);
            check(&reader, &expected[..3]);
        }
        let fresh = open(&disk.process(), &clock);
        check(&fresh, &expected);
        assert_eq!(fresh.verify().unwrap().findings, vec![], "killed at operation {at}");
    }
}

/// A creation, commits and a checkpoint, killed at each operation; somebody else goes on, is told that a commit is
/// durable, and then the power goes, with all that was not synced: names that the killed process had made, too.
#[test]
fn what_is_acknowledged_after_a_kill_stays_when_the_power_goes() {
    for operation in 0.. {
        let disk = SimDisk::new(operation);
        let clock = Arc::new(TestClock::default());
        let process = disk.process();
        process.plan(operation, Fault::Kill);
        let work = |disk: &SimDisk| -> asof_engine::Result<()> {
            let options = asof_engine::Options { clock: clock.clone(), ..options(disk) };
            let database = asof_engine::Database::open_or_create(std::path::Path::new(DB), options)?;
            for id in 0..2 {
                let mut txn = database.begin()?;
                if !txn.has_table("t") {
                    txn.create_table("t", customers(), &["id".to_string()])?;
                }
                txn.upsert("t", &rows(&[(id, None)]))?;
                txn.commit(CommitOptions::default())?;
                database.checkpoint()?;
            }
            Ok(())
        };
        let done = work(&process).is_ok() && !process.is_dead();
        drop(process);
        disk.heal();
        let database = open(&disk.process(), &clock);
        // What the killed process had in flight is taken up, or not, by the first who writes.
        drop(database.begin().unwrap().commit(CommitOptions::default()).unwrap());
        let mut txn = database.begin().unwrap();
        if !txn.has_table("t") {
            txn.create_table("t", customers(), &["id".to_string()]).unwrap();
        }
        txn.upsert("t", &rows(&[(7, Some("seven"))])).unwrap();
        let version = txn.commit(CommitOptions::default()).unwrap().version;
        let expected = csv(&database, version, "t");
        assert!(expected.contains("7,seven"));
        let left = SimDisk::from_image(&disk.image(), Cut::LoseAll);
        let database = open(&left, &clock);
        assert_eq!(database.refresh().unwrap(), version, "operation {operation}");
        assert_eq!(csv(&database, version, "t"), expected, "operation {operation}");
        if done {
            assert!(operation > 60, "there were only {operation} operations");
            return;
        }
    }
}
