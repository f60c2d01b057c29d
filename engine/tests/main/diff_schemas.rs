//! Diffs over tables whose columns change, and that are dropped and made again.

use crate::support::{DB, TestClock, options};
use asof_engine::arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, Database, DiffKind, Options, Transaction, Version, text,
};
use asof_wal::sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

fn open() -> Database {
    let options = Options { clock: Arc::new(TestClock::default()), ..options(&SimDisk::new(1)) };
    Database::open_or_create(Path::new(DB), options).unwrap()
}

fn commit(database: &Database, change: impl FnOnce(&mut Transaction)) {
    let mut txn = database.begin().unwrap();
    change(&mut txn);
    txn.commit(CommitOptions::default()).unwrap();
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn narrow(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn wide(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn words(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// The lines of a diff of table `t` as CSV, without times; the names of its columns first.
fn lines(database: &Database, from: u64, to: u64, kind: DiffKind) -> Vec<String> {
    let diff = database.diff(Version(from), Version(to), "t", kind).unwrap();
    let without_time = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        [&cells[..2], &cells[3..]].concat().join(",")
    };
    let schema = text::schema_of_arrow(&diff.schema()).unwrap();
    let mut out = Vec::new();
    text::write_csv_header(&schema, &mut out);
    for batch in diff {
        text::write_csv_rows(&schema, &batch.unwrap(), &mut out);
    }
    String::from_utf8(out).unwrap().lines().map(without_time).collect()
}

/// The same at each state of the disk: as committed, after a checkpoint, compacted.
fn check(database: &Database, expected: &[(u64, u64, DiffKind, &[&str])]) {
    for when in ["as committed", "after a checkpoint", "compacted"] {
        for (from, to, kind, lines_expected) in expected {
            assert_eq!(lines(database, *from, *to, *kind), *lines_expected, "{from}..{to} {kind:?} {when}");
        }
        database.checkpoint().unwrap();
        if when == "after a checkpoint" {
            database.compact(None, &crate::compaction::tiny(true)).unwrap();
        }
    }
}

#[test]
fn the_way_back_over_a_widening_shows_both_sides_as_they_were() {
    let database = open();
    commit(&database, |txn| {
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("n", ColumnType::Int32)];
        txn.create_table("t", columns, &["id".to_string()]).unwrap();
        txn.insert("t", &batch(vec![("id", wide(&[1, 2, 3])), ("n", narrow(&[1, 2, 7]))])).unwrap();
    });
    commit(&database, |txn| {
        let widening = Alteration::WidenColumn { name: "n".to_string(), to: ColumnType::Int64 };
        txn.alter_table("t", widening).unwrap();
        txn.upsert("t", &batch(vec![("id", wide(&[1, 2])), ("n", wide(&[5_000_000_000, 3]))])).unwrap();
    });
    let there: &[&str] = &[
        "_change_type,_commit_version,id,n",
        "update_preimage,2,1,1",
        "update_postimage,2,1,5000000000",
        "update_preimage,2,2,2",
        "update_postimage,2,2,3",
    ];
    let back: &[&str] = &[
        "_change_type,_commit_version,id,n",
        "update_preimage,2,1,5000000000",
        "update_postimage,2,1,1",
        "update_preimage,2,2,3",
        "update_postimage,2,2,2",
    ];
    check(&database, &[(1, 2, DiffKind::Net, there), (2, 1, DiffKind::Net, back)]);
}

#[test]
fn a_value_that_a_namesake_cannot_hold_is_null_and_hides_no_other() {
    let database = open();
    commit(&database, |txn| {
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("n", ColumnType::Float64)];
        txn.create_table("t", columns, &["id".to_string()]).unwrap();
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.5, 3.0]));
        txn.insert("t", &batch(vec![("id", wide(&[1, 2, 3])), ("n", values)])).unwrap();
    });
    commit(&database, |txn| {
        txn.drop_table("t").unwrap();
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("n", ColumnType::Int32)];
        txn.create_table("t", columns, &["id".to_string()]).unwrap();
        txn.insert("t", &batch(vec![("id", wide(&[1, 2, 3])), ("n", narrow(&[1, 2, 4]))])).unwrap();
    });
    let net: &[&str] = &[
        "_change_type,_commit_version,id,n",
        "update_preimage,2,2,",
        "update_postimage,2,2,2",
        "update_preimage,2,3,3",
        "update_postimage,2,3,4",
    ];
    check(&database, &[(1, 2, DiffKind::Net, net)]);
}

#[test]
fn rows_without_a_key_of_a_table_made_again_are_other_rows() {
    let database = open();
    let column = || vec![Column::new("word", ColumnType::Text)];
    commit(&database, |txn| {
        txn.create_table("t", column(), &[]).unwrap();
        txn.insert("t", &batch(vec![("word", words(&["a", "b"]))])).unwrap();
    });
    commit(&database, |txn| {
        txn.drop_table("t").unwrap();
        txn.create_table("t", column(), &[]).unwrap();
        txn.insert("t", &batch(vec![("word", words(&["b", "c"]))])).unwrap();
    });
    let changes: &[&str] =
        &["_change_type,_commit_version,word", "delete,2,a", "delete,2,b", "insert,2,b", "insert,2,c"];
    check(&database, &[(1, 2, DiffKind::Feed, changes), (1, 2, DiffKind::Net, changes)]);
}

#[test]
fn a_past_feed_stays_what_it_is_when_a_key_column_changes_later() {
    let database = open();
    let column = || vec![Column::new("id", ColumnType::Int32), Column::new("word", ColumnType::Text)];
    commit(&database, |txn| {
        txn.create_table("t", column(), &["id".to_string()]).unwrap();
        txn.insert("t", &batch(vec![("id", narrow(&[1, 2])), ("word", words(&["a", "b"]))])).unwrap();
    });
    commit(&database, |txn| {
        txn.drop_table("t").unwrap();
        txn.create_table("t", column(), &["id".to_string()]).unwrap();
        txn.insert("t", &batch(vec![("id", narrow(&[2, 3])), ("word", words(&["x", "c"]))])).unwrap();
    });
    let feed: &[&str] = &[
        "_change_type,_commit_version,id,word",
        "delete,2,1,a",
        "update_preimage,2,2,b",
        "update_postimage,2,2,x",
        "insert,2,3,c",
    ];
    assert_eq!(lines(&database, 1, 2, DiffKind::Feed), feed);
    commit(&database, |txn| {
        let widening = Alteration::WidenColumn { name: "id".to_string(), to: ColumnType::Int64 };
        txn.alter_table("t", widening).unwrap();
        let renaming = Alteration::RenameColumn { from: "id".to_string(), to: "number".to_string() };
        txn.alter_table("t", renaming).unwrap();
    });
    check(&database, &[(1, 2, DiffKind::Feed, feed)]);
}

#[test]
fn a_large_table_dropped_and_made_again_with_another_key_is_told_whole() {
    const ROWS: i64 = 20_000;
    let database = open();
    let columns = || ["id", "other"].map(|name| Column::new(name, ColumnType::Int64)).to_vec();
    let ids: Vec<i64> = (0..ROWS).collect();
    let rows = batch(vec![("id", wide(&ids)), ("other", wide(&ids))]);
    for key in ["id", "id", "other"] {
        commit(&database, |txn| {
            if txn.has_table("t") {
                txn.drop_table("t").unwrap();
            }
            txn.create_table("t", columns(), &[key.to_string()]).unwrap();
            txn.insert("t", &rows).unwrap();
        });
    }
    let count = |from, to, kind| {
        let lines = lines(&database, from, to, kind);
        let of = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count() as i64;
        (of("insert"), of("update_preimage"), of("update_postimage"), of("delete"))
    };
    for when in ["as committed", "after a checkpoint"] {
        assert_eq!(count(1, 2, DiffKind::Feed), (0, ROWS, ROWS, 0), "{when}");
        assert_eq!(count(1, 2, DiffKind::Net), (0, 0, 0, 0), "{when}");
        assert_eq!(count(2, 3, DiffKind::Feed), (ROWS, 0, 0, ROWS), "{when}");
        assert_eq!(count(0, 3, DiffKind::Feed), (2 * ROWS, ROWS, ROWS, ROWS), "{when}");
        database.checkpoint().unwrap();
    }
}
