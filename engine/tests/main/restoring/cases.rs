//! One case after the other: what comes back, what stays, what is a conflict.

use super::*;
use asof_engine::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int8Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use asof_engine::arrow::datatypes::Int64Type;
use asof_engine::{Alteration, ChangeType, Column, ColumnType, ErrorKind, Options, TransactionOptions};
use asof_wal::sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

fn empty() -> Database {
    open(&SimDisk::new(7), &Arc::new(TestClock::default()))
}

fn key() -> Vec<String> {
    vec!["id".to_string()]
}

/// A database whose table `t` has Ada, Bob and Cy as 1 to 3 at version 1.
fn people() -> Database {
    let database = empty();
    change(&database, |txn| {
        txn.create_table("t", customers(), &key()).unwrap();
        txn.insert("t", &rows(&[(1, Some("Ada")), (2, Some("Bob")), (3, Some("Cy"))])).unwrap();
    });
    database
}

fn upsert(database: &Database, pairs: &[(i64, &str)]) -> Version {
    let pairs: Vec<_> = pairs.iter().map(|(id, name)| (*id, Some(*name))).collect();
    change(database, |txn| txn.upsert("t", &rows(&pairs)).unwrap())
}

fn alter(database: &Database, alteration: Alteration) -> Version {
    change(database, |txn| txn.alter_table("t", alteration).unwrap())
}

fn now(database: &Database, table: &str) -> String {
    csv(database, database.latest().unwrap(), table)
}

fn add(name: &str, of: &str) -> Alteration {
    Alteration::AddColumn(Column::new(name, ColumnType::parse(of).unwrap()))
}

fn drop_column(name: &str) -> Alteration {
    Alteration::DropColumn(name.to_string())
}

fn widen(name: &str, to: ColumnType) -> Alteration {
    Alteration::WidenColumn { name: name.to_string(), to }
}

fn conflicts(database: &Database, version: Version) -> Vec<String> {
    let before = database.latest().unwrap();
    let found = undo(database, version).expect_err("there is a conflict");
    assert_eq!(database.latest().unwrap(), before, "nothing was changed");
    found.first.iter().map(ToString::to_string).collect()
}

#[test]
fn only_rows_that_differ_are_written() {
    let database = people();
    upsert(&database, &[(2, "Bo"), (4, "Dan")]);
    change(&database, |txn| txn.delete("t", &keys(&[1])).unwrap());
    let (told, committed) = restore(&database, Version(1), &[]);
    let counts = committed.unwrap().tables["t"];
    assert_eq!((counts.inserted, counts.updated, counts.deleted), (1, 1, 1));
    let samples: Vec<_> = told[0].samples.iter().map(|sample| sample.change).collect();
    assert_eq!(
        samples,
        [ChangeType::Insert, ChangeType::UpdatePreimage, ChangeType::UpdatePostimage, ChangeType::Delete]
    );
    assert_same(&database, Version(1), Version(4), "restored");
    assert!(restore(&database, Version(4), &[]).1.is_none());
    assert!(restore(&database, Version(1), &["t"]).1.is_none());
}

#[test]
fn named_tables_alone_come_back() {
    let database = people();
    change(&database, |txn| {
        txn.create_table("other", customers(), &key()).unwrap();
        txn.upsert("t", &rows(&[(1, None)])).unwrap();
    });
    restore(&database, Version(1), &["t"]);
    assert_eq!(now(&database, "t"), csv(&database, Version(1), "t"));
    assert_eq!(now(&database, "other"), "id,name\n");
    let mut txn = database.begin().unwrap();
    let error = txn.restore(Version(1), &["other".to_string()], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("version 1 has no table 'other'"), "{error}");
    let error = txn.restore(Version(99), &[], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn tables_made_since_go_and_dropped_ones_come_back() {
    let database = people();
    change(&database, |txn| {
        txn.drop_table("t").unwrap();
        txn.create_table("new", customers(), &[]).unwrap();
    });
    let (told, committed) = restore(&database, Version(1), &[]);
    let told: Vec<_> =
        told.iter().map(|table| (table.name.as_str(), table.schema_changes.join(","))).collect();
    assert_eq!(told, [("new", "drop table".to_string()), ("t", "undrop table".to_string())]);
    assert_eq!(committed.unwrap().tables["t"].inserted, 3);
    assert_same(&database, Version(1), Version(3), "restored");
    let snapshot = database.snapshot(Version(3)).unwrap();
    assert_eq!(
        snapshot.table("t").unwrap().id,
        database.snapshot(Version(1)).unwrap().table("t").unwrap().id
    );
    assert_eq!(database.snapshot(Version(2)).unwrap().table_names().unwrap(), ["new"]);
}

#[test]
fn a_dropped_table_comes_back_with_rows_of_log_and_files_and_another_one_may_have_had_its_name() {
    let disk = SimDisk::new(3);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    change(&database, |txn| {
        txn.create_table("t", customers(), &key()).unwrap();
        txn.insert("t", &rows(&[(1, Some("Ada")), (2, None)])).unwrap();
    });
    database.checkpoint().unwrap();
    upsert(&database, &[(2, "Bob")]);
    let dropped = change(&database, |txn| txn.drop_table("t").unwrap());
    database.checkpoint().unwrap();
    let mut txn = database.begin().unwrap();
    let told = txn.undrop("t", 1).unwrap();
    assert_eq!((told.samples.len(), txn.counts().unwrap()["t"].inserted), (1, 2));
    assert_eq!(txn.undrop("t", 0).unwrap_err().kind(), ErrorKind::Exists);
    let back = commit(txn).version;
    assert_same(&database, back, dropped.previous().unwrap(), "undropped");
    upsert(&database, &[(3, "Cy")]);
    assert_eq!(database.snapshot(database.latest().unwrap()).unwrap().table("t").unwrap().rows, 3);
    // In every process, and after a checkpoint.
    let other = open(&disk.process(), &clock);
    assert_same(&other, back, Version(2), "undropped, elsewhere");
    other.checkpoint().unwrap();
    assert_eq!(now(&other, "t"), "id,name\n1,Ada\n2,Bob\n3,Cy\n");
    assert_eq!(other.verify().unwrap().findings, vec![]);
    change(&other, |txn| txn.drop_table("t").unwrap());
    change(&other, |txn| txn.create_table("t", customers(), &[]).unwrap());
    restore(&other, back, &["t"]);
    assert_same(&other, other.latest().unwrap(), back, "over another one");
    assert_eq!(other.verify().unwrap().findings, vec![]);
    let error = other.begin().unwrap().undrop("nobody", 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn what_happened_to_rows_of_a_table_that_came_back_is_told_by_its_lives() {
    let database = people();
    change(&database, |txn| txn.drop_table("t").unwrap());
    change(&database, |txn| drop(txn.undrop("t", 0).unwrap()));
    change(&database, |txn| txn.delete("t", &keys(&[1])).unwrap());
    let lives = |id: i64| -> Vec<(u64, Option<u64>)> {
        let history = database.history("t", &keys(&[id])).unwrap();
        history.iter().map(|version| (version.begin.0, version.end.map(|end| end.0))).collect()
    };
    assert_eq!(lives(1), [(1, Some(2)), (3, Some(4))]);
    assert_eq!(lives(2), [(1, Some(2)), (3, None)]);
    let count = |from: u64, to: u64, kind| -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for batch in database.diff(Version(from), Version(to), "t", kind).unwrap() {
            let batch = batch.unwrap();
            for change in batch.column(0).as_string::<i32>().iter().flatten() {
                *counts.entry(change.to_string()).or_default() += 1;
            }
        }
        counts
    };
    use asof_engine::DiffKind::{Feed, Net};
    let of =
        |pairs: &[(&str, usize)]| pairs.iter().map(|(a, b)| (a.to_string(), *b)).collect::<BTreeMap<_, _>>();
    assert_eq!(count(1, 2, Net), of(&[("delete", 3)]));
    assert_eq!(count(2, 3, Net), of(&[("insert", 3)]));
    assert_eq!(count(1, 3, Net), of(&[]));
    assert_eq!(count(1, 4, Net), of(&[("delete", 1)]));
    assert_eq!(count(2, 4, Net), of(&[("insert", 2)]));
    assert_eq!(count(0, 4, Net), of(&[("insert", 2)]));
    assert_eq!(count(0, 4, Feed), of(&[("insert", 6), ("delete", 4)]));
    assert_eq!(count(2, 4, Feed), of(&[("insert", 3), ("delete", 1)]));
    let snapshot = database.snapshot(Version(4)).unwrap();
    let told: usize =
        snapshot.row_lives("t", Version(0), Version(4)).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(told, 6);
    let told: usize = snapshot
        .row_lives("t", Version(2), Version(2))
        .map_or(0, |lives| lives.map(|b| b.unwrap().num_rows()).sum());
    assert_eq!(told, 0);
}

#[test]
fn some_rows_come_back_and_columns_added_since_keep_their_values() {
    let database = people();
    alter(&database, add("city", "text"));
    let with_city = |id: i64, name: &str, city: &str| {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        let texts = [name, city].map(|text| Arc::new(StringArray::from(vec![text])) as ArrayRef);
        RecordBatch::try_from_iter([("id", ids), ("name", texts[0].clone()), ("city", texts[1].clone())])
            .unwrap()
    };
    change(&database, |txn| {
        txn.upsert("t", &with_city(1, "x", "Rome")).unwrap();
        txn.upsert("t", &with_city(2, "y", "Oslo")).unwrap();
        txn.upsert("t", &with_city(9, "z", "Bern")).unwrap();
        txn.delete("t", &keys(&[3])).unwrap();
    });
    let odd = |rows: &RecordBatch| {
        let ids = rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().clone();
        Ok(ids.iter().map(|id| Some(id.unwrap() % 2 == 1)).collect::<BooleanArray>())
    };
    let mut txn = database.begin().unwrap();
    let told = txn.restore_rows(Version(1), "t", &odd, 10).unwrap().unwrap();
    assert_eq!(told.samples.len(), 4);
    commit(txn);
    assert_eq!(now(&database, "t"), "id,name,city\n1,Ada,Rome\n2,y,Oslo\n3,Cy,\n");
    let mut txn = database.begin().unwrap();
    assert!(txn.restore_rows(Version(1), "t", &odd, 10).unwrap().is_none());
    assert!(commit(txn).unchanged);
    // A row that the condition holds for as it was or as it is.
    let named = |name: &'static str| {
        move |rows: &RecordBatch| {
            let names = rows.column_by_name("name").unwrap().as_string::<i32>().clone();
            Ok(names.iter().map(|other| Some(other == Some(name))).collect::<BooleanArray>())
        }
    };
    for name in ["Bob", "y"] {
        let mut txn = database.begin().unwrap();
        assert!(txn.restore_rows(Version(1), "t", &named(name), 0).unwrap().is_some(), "{name}");
    }
    change(&database, |txn| txn.rekey_table("t", customers(), &["name".to_string()]).unwrap());
    let error = database.begin().unwrap().restore_rows(Version(1), "t", &odd, 0).unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
}

#[test]
fn rows_without_key_come_back_as_often_as_they_were_and_none_is_written_twice() {
    let database = empty();
    change(&database, |txn| {
        txn.create_table("t", customers(), &[]).unwrap();
        txn.insert("t", &rows(&[(1, Some("a")), (1, Some("a")), (2, None), (3, None)])).unwrap();
    });
    // The same rows again, under other numbers, one of them once more.
    change(&database, |txn| {
        txn.truncate("t").unwrap();
        txn.insert("t", &rows(&[(3, None), (1, Some("a")), (4, None)])).unwrap();
    });
    let (told, committed) = restore(&database, Version(1), &[]);
    let counts = committed.unwrap().tables["t"];
    assert_eq!((counts.inserted, counts.updated, counts.deleted), (2, 0, 1));
    let kinds: Vec<_> = told[0].samples.iter().map(|sample| sample.change).collect();
    assert_eq!(kinds, [ChangeType::Insert, ChangeType::Insert, ChangeType::Delete]);
    assert_same(&database, Version(1), Version(3), "restored");
}

#[test]
fn a_restored_schema_has_the_values_that_its_columns_had() {
    let database = people();
    alter(&database, add("n", "int8"));
    let number = |id: i64, n: i8| {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        let n: ArrayRef = Arc::new(Int8Array::from(vec![n]));
        RecordBatch::try_from_iter([("id", ids), ("n", n)]).unwrap()
    };
    let full = change(&database, |txn| {
        txn.update("t", &number(1, 11)).unwrap();
        txn.update("t", &number(2, 22)).unwrap();
    });
    alter(&database, drop_column("n"));
    upsert(&database, &[(2, "Bo"), (5, "Eve")]);
    database.checkpoint().unwrap();
    let (told, committed) = restore(&database, full, &[]);
    assert_eq!(told[0].schema_changes, ["add column n"]);
    let counts = committed.unwrap().tables["t"];
    assert_eq!((counts.inserted, counts.updated, counts.deleted), (0, 1, 1), "row 1 was never written");
    assert_same(&database, full, database.latest().unwrap(), "restored");
    // A widened column comes back narrow, and the wide values since are still to be read.
    alter(&database, widen("n", ColumnType::Int32));
    let wide: ArrayRef = Arc::new(Int32Array::from(vec![70_000]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![3]));
    let wide = RecordBatch::try_from_iter([("id", ids), ("n", wide)]).unwrap();
    let widened = change(&database, |txn| txn.update("t", &wide).unwrap());
    let (told, _) = restore(&database, full, &[]);
    assert_eq!(told[0].schema_changes, ["narrow column n from int32 to int8"]);
    let back = database.latest().unwrap();
    assert_same(&database, full, back, "narrow");
    assert!(restore(&database, full, &[]).1.is_none(), "it is narrow already");
    for _ in 0..2 {
        assert!(csv(&database, widened, "t").contains("70000"));
        let feed = database.diff(Version(0), back, "t", asof_engine::DiffKind::Feed).unwrap();
        assert!(feed.map(|batch| batch.unwrap().num_rows()).sum::<usize>() > 0);
        database.checkpoint().unwrap();
        database.compact(None, &asof_engine::compact::Parameters::BY_HAND).unwrap();
    }
    restore(&database, widened, &[]);
    assert_same(&database, widened, database.latest().unwrap(), "wide again");
    // A key that was widened takes another table.
    let made = change(&database, |txn| {
        txn.create_table(
            "k",
            vec![Column::new("id", ColumnType::Int8), Column::new("x", ColumnType::Text)],
            &key(),
        )
        .unwrap();
        let ids: ArrayRef = Arc::new(Int8Array::from(vec![1, 2]));
        txn.insert("k", &RecordBatch::try_from_iter([("id", ids)]).unwrap()).unwrap();
    });
    change(&database, |txn| txn.alter_table("k", widen("id", ColumnType::Int64)).unwrap());
    let (told, _) = restore(&database, made, &["k"]);
    assert_eq!(told[0].schema_changes, ["drop table", "create table"]);
    assert_same(&database, made, database.latest().unwrap(), "a narrow key");
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn an_undo_keeps_the_work_since_and_conflicts_name_rows_versions_and_people() {
    let database = people();
    let bad = change(&database, |txn| {
        txn.upsert("t", &rows(&[(1, Some("?")), (2, Some("?")), (7, Some("?"))])).unwrap();
        txn.delete("t", &keys(&[3])).unwrap();
    });
    upsert(&database, &[(8, "Hal")]);
    undo(&database, bad).unwrap();
    assert_eq!(now(&database, "t"), "id,name\n1,Ada\n2,Bob\n3,Cy\n8,Hal\n");
    let undone = database.latest().unwrap();
    undo(&database, undone).unwrap();
    assert_eq!(now(&database, "t"), "id,name\n1,?\n2,?\n7,?\n8,Hal\n");
    undo(&database, database.latest().unwrap()).unwrap();
    assert_same(&database, undone, database.latest().unwrap(), "undone twice");
    // The same commit once more: what it did is not there any more.
    let found = conflicts(&database, bad);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("table t, row 1: changed since by version 4 ("), "{}", found[0]);
    assert!(found[2].starts_with("table t, row 3: made again since by version 4 ("), "{}", found[2]);
    assert!(found[3].starts_with("table t, row 7: deleted since by version 4 ("), "{}", found[3]);
}

#[test]
fn a_row_that_was_written_again_as_it_was_is_in_nobodys_way() {
    let database = people();
    let bad = upsert(&database, &[(1, "?"), (2, "?")]);
    upsert(&database, &[(1, "?")]);
    upsert(&database, &[(2, "else")]);
    upsert(&database, &[(2, "?")]);
    undo(&database, bad).unwrap();
    assert_same(&database, Version(1), database.latest().unwrap(), "undone");
}

#[test]
fn many_conflicts_are_counted_and_the_first_told() {
    let database = empty();
    let many: Vec<_> = (0..500).map(|id| (id, Some("a"))).collect();
    change(&database, |txn| {
        txn.create_table("t", customers(), &key()).unwrap();
    });
    let bad = change(&database, |txn| txn.insert("t", &rows(&many)).unwrap());
    let changed: Vec<_> = (0..500).map(|id| (id, Some("b"))).collect();
    let mut txn = database.begin().unwrap();
    txn.upsert("t", &rows(&changed)).unwrap();
    txn.commit(CommitOptions { author: Some("Dora".into()), ..Default::default() }).unwrap();
    let found = undo(&database, bad).unwrap_err();
    assert_eq!((found.count, found.first.len()), (500, asof_engine::restore::CONFLICTS_TOLD_MAX));
    assert_eq!(found.first[0].since, [(Version(3), "Dora".to_string())]);
    assert_eq!(found.first[99].key.as_deref(), Some("99"));
}

#[test]
fn schema_changes_are_undone_where_nobody_built_on_them() {
    let database = people();
    let added = alter(&database, add("extra", "text"));
    let renamed = alter(&database, Alteration::RenameColumn { from: "name".into(), to: "who".into() });
    let dropped = alter(&database, drop_column("who"));
    let made = change(&database, |txn| txn.create_table("u", customers(), &[]).unwrap());
    assert_eq!(now(&database, "t"), "id,extra\n1,\n2,\n3,\n");
    undo(&database, dropped).unwrap();
    assert_eq!(now(&database, "t"), "id,who,extra\n1,Ada,\n2,Bob,\n3,Cy,\n");
    undo(&database, added).unwrap();
    assert_eq!(now(&database, "t"), "id,who\n1,Ada\n2,Bob\n3,Cy\n");
    undo(&database, renamed).unwrap();
    assert_eq!(now(&database, "t"), csv(&database, Version(1), "t"));
    undo(&database, made).unwrap();
    assert_same(&database, Version(1), database.latest().unwrap(), "all undone");
    let gone = change(&database, |txn| txn.drop_table("t").unwrap());
    undo(&database, gone).unwrap();
    assert_same(&database, Version(1), database.latest().unwrap(), "dropped and back");
    assert!(undo(&database, gone).unwrap().unchanged, "it is there");
    let widened = change(&database, |txn| txn.alter_table("t", add("n", "int8")).unwrap()).next();
    alter(&database, widen("n", ColumnType::Int64));
    upsert(&database, &[(5, "Eve")]);
    undo(&database, widened).unwrap();
    let snapshot = database.snapshot(database.latest().unwrap()).unwrap();
    assert_eq!(
        snapshot.schema("t").unwrap().to_string(),
        "id int64 not null, name text, n int8, primary key (id)"
    );
    assert_eq!(now(&database, "t"), "id,name,n\n1,Ada,\n2,Bob,\n3,Cy,\n5,Eve,\n");
}

#[test]
fn a_column_that_comes_back_has_its_values_for_rows_that_changed_since_too() {
    let database = people();
    let dropped = alter(&database, drop_column("name"));
    alter(&database, add("n", "int64"));
    let number = |id: i64| {
        let arrays = [id, 5].map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
        RecordBatch::try_from_iter([("id", arrays[0].clone()), ("n", arrays[1].clone())]).unwrap()
    };
    change(&database, |txn| {
        txn.upsert("t", &number(2)).unwrap();
        txn.upsert("t", &number(9)).unwrap();
    });
    let done = undo(&database, dropped).unwrap();
    assert_eq!(now(&database, "t"), "id,name,n\n1,Ada,\n2,Bob,5\n3,Cy,\n9,,5\n");
    assert_eq!(done.tables["t"].updated, 1);
}

#[test]
fn schema_changes_that_others_built_on_are_conflicts() {
    let database = people();
    let added = alter(&database, add("city", "text"));
    let renamed = alter(&database, Alteration::RenameColumn { from: "name".into(), to: "who".into() });
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let cities: ArrayRef = Arc::new(StringArray::from(vec!["Rome"]));
    let filled = RecordBatch::try_from_iter([("id", ids), ("city", cities)]).unwrap();
    change(&database, |txn| txn.update("t", &filled).unwrap());
    let found = conflicts(&database, added);
    assert!(
        found[0].contains("column city, which the commit added, was filled since by version 4"),
        "{found:?}"
    );
    alter(&database, Alteration::RenameColumn { from: "who".into(), to: "person".into() });
    assert!(conflicts(&database, renamed)[0].contains("was renamed again, to person"));
    let dropped = alter(&database, drop_column("city"));
    alter(&database, add("city", "int64"));
    assert!(conflicts(&database, dropped)[0].contains("another column has the name city"));
    let made = change(&database, |txn| txn.create_table("u", customers(), &[]).unwrap());
    change(&database, |txn| txn.insert("u", &rows(&[(1, None)])).unwrap());
    assert!(conflicts(&database, made)[0].contains("which the commit made, was changed since"));
    let gone = change(&database, |txn| txn.drop_table("u").unwrap());
    change(&database, |txn| txn.create_table("u", customers(), &[]).unwrap());
    assert!(conflicts(&database, gone)[0].contains("was made or brought back since"));
    let bad = change(&database, |txn| txn.insert("u", &rows(&[(1, None)])).unwrap());
    change(&database, |txn| txn.drop_table("u").unwrap());
    assert!(conflicts(&database, bad)[0].contains("was dropped since"));
    let widened_key = change(&database, |txn| {
        txn.create_table("k", vec![Column::new("id", ColumnType::Int8)], &key()).unwrap();
    })
    .next();
    change(&database, |txn| txn.alter_table("k", widen("id", ColumnType::Int64)).unwrap());
    assert!(conflicts(&database, widened_key)[0].contains("column id of the key was widened"));
}

#[test]
fn a_value_that_does_not_fit_any_more_is_a_conflict_of_its_row() {
    let database = empty();
    change(&database, |txn| {
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("n", ColumnType::Int8)];
        txn.create_table("t", columns, &key()).unwrap();
    });
    let widened = alter(&database, widen("n", ColumnType::Int64));
    let row = |id: i64, n: i64| {
        let arrays = [id, n].map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
        RecordBatch::try_from_iter([("id", arrays[0].clone()), ("n", arrays[1].clone())]).unwrap()
    };
    change(&database, |txn| txn.upsert("t", &row(1, 5)).unwrap());
    change(&database, |txn| txn.upsert("t", &row(2, 500)).unwrap());
    let found = conflicts(&database, widened);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("table t, row 2: column n cannot hold"), "{found:?}");
    assert!(found[0].contains("version 4"), "{found:?}");
    change(&database, |txn| txn.delete("t", &keys(&[2])).unwrap());
    undo(&database, widened).unwrap();
    assert_eq!(now(&database, "t"), "id,n\n1,5\n");
}

#[test]
fn rows_without_key_are_undone_one_by_one() {
    let database = empty();
    change(&database, |txn| {
        txn.create_table("t", customers(), &[]).unwrap();
        txn.insert("t", &rows(&[(1, None), (2, None)])).unwrap();
    });
    let bad = change(&database, |txn| {
        txn.replace("t", &[rows(&[(1, None), (7, None), (7, None)])]).unwrap();
    });
    change(&database, |txn| txn.insert("t", &rows(&[(3, None), (7, None)])).unwrap());
    undo(&database, bad).unwrap();
    assert_eq!(now(&database, "t"), "id,name\n1,\n3,\n7,\n2,\n");
    let undone = database.latest().unwrap();
    let found = conflicts(&database, bad);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("table t, row 7,: deleted since by version 4 ("), "{}", found[0]);
    undo(&database, undone).unwrap();
    assert_eq!(now(&database, "t"), "id,name\n1,\n3,\n7,\n7,\n7,\n");
}

#[test]
fn others_who_change_the_same_meanwhile_are_a_conflict_of_the_commit() {
    let database = people();
    upsert(&database, &[(1, "x")]);
    let mut txn = database.begin().unwrap();
    txn.restore(Version(1), &[], 0).unwrap();
    upsert(&database, &[(1, "y")]);
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Conflict);
    change(&database, |txn| txn.drop_table("t").unwrap());
    let mut first = database.begin().unwrap();
    let mut second = database.begin().unwrap();
    let mut third = database.begin().unwrap();
    first.undrop("t", 0).unwrap();
    second.undrop("t", 0).unwrap();
    third.create_table("t", customers(), &[]).unwrap();
    commit(first);
    assert_eq!(second.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(third.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Conflict);
    // What was changed in a transaction is not brought back in it.
    let mut txn = database.begin().unwrap();
    txn.upsert("t", &rows(&[(1, None)])).unwrap();
    let error = txn.restore(Version(1), &[], 0).unwrap_err();
    assert!(error.to_string().contains("must come first"), "{error}");
    let serializable = TransactionOptions { isolation: asof_engine::Isolation::Serializable };
    let mut txn = database.begin_with(serializable).unwrap();
    txn.restore(Version(1), &[], 0).unwrap();
    upsert(&database, &[(9, "z")]);
    assert_eq!(txn.commit(CommitOptions::default()).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn a_table_that_comes_back_and_goes_in_one_transaction_stays_gone() {
    let database = people();
    change(&database, |txn| txn.drop_table("t").unwrap());
    let mut txn = database.begin().unwrap();
    txn.undrop("t", 0).unwrap();
    txn.upsert("t", &rows(&[(1, None)])).unwrap();
    txn.drop_table("t").unwrap();
    assert!(!txn.has_table("t"));
    assert_eq!(txn.counts().unwrap().get("t"), None);
    assert!(commit(txn).unchanged);
}

#[test]
fn a_table_that_goes_and_comes_back_in_one_transaction_is_as_it_was_when_that_began() {
    let database = people();
    let bad = upsert(&database, &[(1, "x"), (9, "y")]);
    database.checkpoint().unwrap();
    let dropped = |of: &Database| {
        let mut txn = of.begin().unwrap();
        txn.upsert("t", &rows(&[(1, None), (5, None)])).unwrap();
        txn.alter_table("t", add("n", "int64")).unwrap();
        txn.drop_table("t").unwrap();
        txn
    };
    let mut txn = dropped(&database);
    assert_eq!(txn.undrop("t", 2).unwrap().samples.len(), 2);
    assert_eq!(txn.undrop("t", 0).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(txn.counts().unwrap().get("t"), None);
    assert!(commit(txn).unchanged);
    let mut txn = dropped(&database);
    txn.undrop("t", 0).unwrap();
    txn.upsert("t", &rows(&[(7, Some("Gus"))])).unwrap();
    let counts = commit(txn).tables["t"];
    assert_eq!((counts.inserted, counts.updated, counts.deleted), (1, 0, 0));
    assert_eq!(now(&database, "t"), "id,name\n1,x\n2,Bob\n3,Cy\n7,Gus\n9,y\n");
    let mut txn = dropped(&database);
    txn.restore(Version(1), &["t".to_string()], 0).unwrap();
    commit(txn);
    assert_same(&database, Version(1), database.latest().unwrap(), "restored");
    // Dropped, made anew, dropped again: it is the one that was there that comes back.
    let mut txn = dropped(&database);
    txn.create_table("t", customers(), &[]).unwrap();
    txn.drop_table("t").unwrap();
    txn.restore(bad, &["t".to_string()], 0).unwrap();
    commit(txn);
    assert_same(&database, bad, database.latest().unwrap(), "restored");
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn rows_without_key_go_to_disk_under_the_schema_they_were_written_under() {
    let (disk, clock) = (SimDisk::new(5), Arc::new(TestClock::default()));
    let options = Options { clock, transaction_bytes: Some(4 << 10), ..options(&disk) };
    let database = Database::open_or_create(Path::new(DB), options).unwrap();
    let number = |array: ArrayRef| RecordBatch::try_from_iter([("n", array)]).unwrap();
    change(&database, |txn| {
        txn.create_table("t", vec![Column::new("n", ColumnType::Int32)], &[]).unwrap();
    });
    change(&database, |txn| {
        txn.insert("t", &number(Arc::new(Int32Array::from(vec![1, 2])))).unwrap();
        txn.alter_table("t", widen("n", ColumnType::Int64)).unwrap();
        txn.insert("t", &number(Arc::new(Int64Array::from_iter_values(3..=2_000)))).unwrap();
    });
    let rows: String = (1..=2_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(now(&database, "t"), format!("n\n{rows}"));
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn nothing_is_undone_twice_until_the_undo_is_undone() {
    let database = empty();
    change(&database, |txn| {
        txn.create_table("t", customers(), &[]).unwrap();
        txn.insert("t", &rows(&[(1, None), (2, None)])).unwrap();
    });
    let whole = database.latest().unwrap();
    let bad = change(&database, |txn| {
        txn.replace("t", &[rows(&[(1, None)])]).unwrap();
    });
    let say = |operation: &str, version: Version, mut txn: Transaction, undo: bool| {
        match undo {
            true => assert!(matches!(txn.undo(version, 0).unwrap(), Undone::Changed(_))),
            false => drop(txn.restore(version, &[], 0).unwrap()),
        }
        let parameters = BTreeMap::from([("version".to_string(), version.to_string())]);
        let options =
            CommitOptions { operation: Some(operation.to_string()), parameters, ..CommitOptions::default() };
        txn.commit(options).unwrap().version
    };
    let undo = |version: Version| say("undo", version, database.begin().unwrap(), true);
    let refused = |version: Version| database.begin().unwrap().undo(version, 0).unwrap_err().to_string();
    let first = undo(bad);
    assert_same(&database, whole, first, "undone");
    assert_eq!(
        refused(bad),
        "version 2 is undone already, by version 3; to have its changes again, undo version 3"
    );
    change(&database, |txn| txn.create_table("other", customers(), &[]).unwrap());
    assert!(refused(bad).contains("by version 3"));
    let back = undo(first);
    assert_eq!(now(&database, "t"), "id,name\n1,\n");
    assert!(refused(first).contains(&format!("by version {back}")));
    let again = undo(bad);
    assert!(refused(bad).contains(&format!("by version {again}")));
    // A state in which it was not undone is back.
    say("restore", bad, database.begin().unwrap(), false);
    undo(bad);
    assert_eq!(now(&database, "t"), "id,name\n1,\n2,\n");
}

#[test]
fn a_row_has_the_history_of_the_table_that_is_back_whatever_numbers_others_had() {
    let database = people();
    let gone = change(&database, |txn| txn.delete("t", &keys(&[1])).unwrap());
    let rekeyed = change(&database, |txn| {
        txn.rekey_table("t", customers(), &["id".to_string(), "name".to_string()]).unwrap();
    });
    undo(&database, rekeyed).unwrap();
    let lives = |id: i64| -> Vec<(u64, Option<u64>)> {
        let history = database.history("t", &keys(&[id])).unwrap();
        history.iter().map(|version| (version.begin.0, version.end.map(|end| end.0))).collect()
    };
    assert_eq!((lives(1), lives(2)), (vec![(1, Some(2))], vec![(1, Some(3)), (4, None)]));
    let latest = database.latest().unwrap();
    let snapshot = database.snapshot(latest).unwrap();
    assert_eq!(snapshot.last_schema("t").unwrap(), snapshot.schema("t").unwrap());
    let blame = |at: Version, id: i64| database.blame("t", &keys(&[id]), at).unwrap();
    assert!(matches!(blame(latest, 1), asof_engine::Blamed::Gone(version) if version == gone));
    // Made anew under the same key: what was there before goes on with the name.
    change(&database, |txn| txn.drop_table("t").unwrap());
    assert_eq!(snapshot.last_schema("t").unwrap(), snapshot.schema("t").unwrap());
    let made = change(&database, |txn| txn.create_table("t", customers(), &key()).unwrap());
    assert!(matches!(blame(made, 1), asof_engine::Blamed::Gone(version) if version == gone));
    assert!(matches!(blame(made, 2), asof_engine::Blamed::Gone(version) if version.0 == 5));
    assert!(matches!(blame(made, 8), asof_engine::Blamed::Never));
}

#[test]
fn tables_and_rows_that_others_make_while_everything_is_restored_are_conflicts() {
    let database = people();
    upsert(&database, &[(1, "x")]);
    let serializable = || {
        let isolation = asof_engine::Isolation::Serializable;
        database.begin_with(TransactionOptions { isolation }).unwrap()
    };
    let refused = |txn: Transaction| txn.commit(CommitOptions::default()).unwrap_err().kind();
    let mut txn = serializable();
    txn.restore(Version(1), &[], 0).unwrap();
    let made = change(&database, |txn| txn.create_table("late", customers(), &[]).unwrap());
    assert_eq!(refused(txn), ErrorKind::Conflict);
    let mut txn = serializable();
    txn.undo(Version(2), 0).unwrap();
    upsert(&database, &[(8, "late")]);
    assert_eq!(refused(txn), ErrorKind::Conflict);
    let dropped = change(&database, |txn| txn.drop_table("late").unwrap());
    let mut txn = serializable();
    txn.undo(dropped, 0).unwrap();
    change(&database, |txn| drop(txn.undrop("late", 0).unwrap()));
    assert_eq!(refused(txn), ErrorKind::Conflict);
    let mut txn = serializable();
    txn.restore(made, &["late".to_string(), "t".to_string()], 0).unwrap();
    change(&database, |txn| txn.create_table("unasked", customers(), &[]).unwrap());
    commit(txn);
}

#[test]
fn more_rows_than_memory_come_back_and_are_undone() {
    let (disk, clock) = (SimDisk::new(5), Arc::new(TestClock::default()));
    let options = Options { clock, transaction_bytes: Some(100 << 10), ..options(&disk) };
    let database = Database::open_or_create(Path::new(DB), options).unwrap();
    let many = |name: &str| -> Vec<(i64, Option<String>)> {
        (0..20_000).map(|id| (id, Some(format!("{name} {id}")))).collect()
    };
    let batch = |pairs: &[(i64, Option<String>)]| {
        rows(&pairs.iter().map(|(id, name)| (*id, name.as_deref())).collect::<Vec<_>>())
    };
    for (table, key) in [("t", key()), ("u", vec![])] {
        change(&database, |txn| {
            txn.create_table(table, customers(), &key).unwrap();
            txn.insert(table, &batch(&many("old"))).unwrap();
        });
    }
    let whole = database.latest().unwrap();
    database.checkpoint().unwrap();
    let bad = change(&database, |txn| {
        txn.upsert("t", &batch(&many("new")[5_000..])).unwrap();
        txn.truncate("u").unwrap();
        txn.insert("u", &batch(&many("new")[..7_000])).unwrap();
    });
    let (_, committed) = restore(&database, whole, &[]);
    assert_eq!(committed.unwrap().tables["t"].updated, 15_000);
    assert_same(&database, whole, database.latest().unwrap(), "restored");
    undo(&database, database.latest().unwrap()).unwrap();
    assert_same(&database, bad, database.latest().unwrap(), "the restore undone");
    assert_eq!(database.verify().unwrap().findings, vec![]);
}
