//! Parquet files that are stitched of data files: what they hold, against a model; what is decoded for them.

use crate::scans::{Rows, TABLE, batch, flat, history, row};
use crate::support::{DB, TestClock, options};
use asof_engine::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray,
};
use asof_engine::arrow::compute::concat_batches;
use asof_engine::arrow::datatypes::{DataType, Int64Type};
use asof_engine::compact::policy::Parameters;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use asof_engine::parquet::file::reader::{FileReader, SerializedFileReader};
use asof_engine::view::{Format, View};
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, Database, Options, ScanOptions, Snapshot, Version,
};
use asof_wal::sim::SimDisk;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

fn open(disk: &SimDisk, cache: &Path) -> Database {
    let clock = Arc::new(TestClock::default());
    let view_cache_dir = Some(cache.to_path_buf());
    // Little memory: of larger files a part goes to disk.
    let options = Options { clock, view_cache_dir, memory_bytes: 16 << 20, ..options(disk) };
    Database::open_or_create(Path::new(DB), options).expect("the database opens")
}

fn bytes(view: &View) -> Bytes {
    let mut out = Vec::new();
    view.copy_to(&mut out).expect("the file is read");
    assert_eq!(out.len() as u64, view.size());
    out.into()
}

fn read(bytes: Bytes) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("a Parquet file");
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> =
        reader.build().expect("a reader").collect::<Result<_, _>>().expect("rows are read");
    concat_batches(&schema, &batches).expect("one schema")
}

fn stock(view: &View) -> Vec<(i64, i64, Option<String>)> {
    let rows = read(bytes(view));
    let numbers = |index: usize| rows.column(index).as_primitive::<Int64Type>().clone();
    let (ids, amounts, notes) = (numbers(0), numbers(1), rows.column(2).as_string::<i32>());
    let mut rows: Vec<_> = (0..rows.num_rows())
        .map(|row| {
            let note = notes.is_valid(row).then(|| notes.value(row).to_string());
            (ids.value(row), amounts.value(row), note)
        })
        .collect();
    rows.sort();
    rows
}

fn view(snapshot: &Snapshot) -> Arc<View> {
    let view = snapshot.view(TABLE, Format::Parquet).expect("a view");
    assert_ne!(view.layout(), 0, "it is stitched");
    view
}

#[test]
fn a_stitched_file_of_any_version_has_its_rows_wherever_these_lie() {
    for (loaded, commits) in [(300, 11), (120_000, 13)] {
        let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
        let versions = history(&disk, loaded, commits);
        let database = open(&disk, cache.path());
        let check = |what: &str| {
            for (version, rows) in versions.iter().enumerate().skip(1) {
                let snapshot = database.snapshot(Version(version as u64)).expect("a version");
                assert!(stock(&view(&snapshot)) == flat(rows), "{what}, version {version}");
            }
        };
        check("with a tail of the log");
        database.checkpoint().expect("a checkpoint");
        check("after a checkpoint");
        let eager = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };
        database.compact(None, &eager).expect("a compaction");
        check("after a compaction");
    }
}

#[test]
fn parts_of_a_stitched_file_are_those_of_the_whole_in_any_order_and_an_open_one_outlives_its_layout() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    history(&disk, 20_000, 9);
    let database = open(&disk, cache.path());
    let snapshot = database.snapshot(Version(7)).expect("a version");
    let whole = bytes(&view(&snapshot));
    let other = view(&snapshot);
    assert_eq!(other.layout(), view(&snapshot).layout());
    let mut at = 1u64;
    for _ in 0..2_000 {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (offset, length) = ((at >> 20) % whole.len() as u64, (at >> 7) % 5_000 + 1);
        let mut part = vec![0; length as usize];
        let count = other.read_at(&mut part, offset).expect("it is read");
        assert_eq!(count as u64, length.min(whole.len() as u64 - offset));
        assert!(part[..count] == whole[offset as usize..][..count], "{length} bytes at {offset}");
    }
    let half_read = view(&snapshot);
    half_read.read_at(&mut [0; 100], 0).expect("it is read");
    drop(snapshot);
    let eager = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };
    database.compact(None, &eager).expect("a compaction");
    for _ in 0..3 {
        database.checkpoint().expect("a checkpoint");
    }
    assert!(bytes(&half_read) == whole);
}

#[test]
fn a_state_of_whole_row_groups_is_neither_decoded_nor_written() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    history(&disk, 250_000, 0);
    let database = open(&disk, cache.path());
    let snapshot = database.snapshot(Version(1)).expect("a version");
    let view = view(&snapshot);
    assert!(view.is_ready(0, view.size()));
    let file = bytes(&view);
    let counters = database.counters();
    assert_eq!((counters.rows_decoded, counters.pages_decoded), (0, 0));
    let reader = SerializedFileReader::new(file).expect("a Parquet file");
    for group in reader.metadata().row_groups() {
        let statistics = group.column(0).statistics().expect("those of the data file");
        assert!(statistics.min_is_exact() && statistics.max_is_exact());
    }
}

#[test]
fn reading_one_column_fills_no_slot_of_another() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let versions = history(&disk, 50_000, 7);
    let database = open(&disk, cache.path());
    database.checkpoint().expect("a checkpoint");
    let snapshot = database.snapshot(Version(versions.len() as u64 - 1)).expect("a version");
    let view = view(&snapshot);
    let reader = SerializedFileReader::new(bytes(&view)).expect("a Parquet file");
    let again = self::view(&snapshot);
    let group = reader.metadata().row_group(0);
    let [id, amount] = [0, 1].map(|column| group.column(column).byte_range());
    assert!(!again.is_ready(id.0, id.1) && !again.is_ready(amount.0, amount.1));
    assert_ne!(again.part_at(id.0), again.part_at(amount.0));
    again.read_at(&mut [0; 64], amount.0).expect("it is read");
    assert!(!again.is_ready(id.0, id.1) && again.is_ready(amount.0, amount.1));
    // A slot has no statistics: they would be those of rows that are not shown.
    assert!(group.column(1).statistics().is_none());
}

#[test]
fn pages_that_are_shown_whole_are_copied_and_those_alone_that_are_not_are_decoded() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let mut versions = history(&disk, 50_000, 0);
    let database = open(&disk, cache.path());
    let mut rows = versions.pop().expect("a version");
    let mut txn = database.begin().expect("a transaction");
    let changed: Rows = [(7, row(7, 1)), (30_000, row(30_000, 1))].into();
    txn.upsert(TABLE, &batch(&changed)).expect("rows are taken");
    rows.extend(changed);
    txn.commit(CommitOptions::default()).expect("a commit");
    for checkpointed in [false, true] {
        if checkpointed {
            database.checkpoint().expect("a checkpoint");
        }
        let view = view(&database.at("latest").expect("a version"));
        let before = database.counters().rows_decoded;
        assert!(stock(&view) == flat(&rows));
        let made_of = view.composition().expect("it is stitched");
        let (copied, slots) = (made_of.filled_copied, made_of.filled - made_of.padding);
        assert!(copied * 3 > slots * 2, "{copied} of {slots} bytes");
        // Two pages of three columns, and the two new rows.
        let decoded = database.counters().rows_decoded - before;
        assert!(decoded <= 2 * 3 * 1_024 + 2 * 3, "{decoded} rows");
    }
}

#[test]
fn a_row_group_of_which_nothing_is_shown_is_read_like_any_other_bytes() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let database = open(&disk, cache.path());
    let columns =
        || vec![Column::new("id", ColumnType::Int64), Column::new("price", ColumnType::Decimal(9, 2))];
    let rows = |ids: &[i64]| {
        let prices = Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(*id)));
        let prices = prices.with_precision_and_scale(9, 2).expect("they fit");
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        RecordBatch::try_from_iter([("id", ids), ("price", Arc::new(prices) as ArrayRef)]).expect("a batch")
    };
    let commit = |upserts: &[i64], deletes: &[i64]| {
        let mut txn = database.begin().expect("a transaction");
        if database.latest().expect("a version") == Version::ZERO {
            txn.create_table(TABLE, columns(), &["id".to_string()]).expect("the table is made");
        }
        if !upserts.is_empty() {
            txn.upsert(TABLE, &rows(upserts)).expect("rows are taken");
        }
        if !deletes.is_empty() {
            let keys = rows(deletes).project(&[0]).expect("the key");
            txn.delete(TABLE, &keys).expect("keys are taken");
        }
        txn.commit(CommitOptions::default()).expect("a commit");
    };
    commit(&[100], &[]);
    commit(&[1, 2], &[]);
    commit(&[], &[1, 2]);
    commit(&[2, 3], &[]);
    commit(&[], &[2, 3]);
    for checkpointed in [false, true] {
        if checkpointed {
            database.checkpoint().expect("a checkpoint");
        }
        for (version, rows) in [1, 3, 1, 3, 1].into_iter().enumerate() {
            let snapshot = database.snapshot(Version(version as u64 + 1)).expect("a version");
            assert_eq!(read(bytes(&view(&snapshot))).num_rows(), rows, "version {}", version + 1);
        }
    }
}

#[test]
fn a_column_has_statistics_in_every_row_group_or_in_none() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let versions = history(&disk, 150_000, 5);
    let database = open(&disk, cache.path());
    for checkpointed in [false, true] {
        if checkpointed {
            database.checkpoint().expect("a checkpoint");
        }
        for version in 1..versions.len() as u64 {
            let snapshot = database.snapshot(Version(version)).expect("a version");
            let reader = SerializedFileReader::new(bytes(&view(&snapshot))).expect("a Parquet file");
            for column in 0..3 {
                let groups = reader.metadata().row_groups().iter();
                let with = groups.filter(|group| group.column(column).statistics().is_some()).count();
                let all = reader.metadata().num_row_groups();
                assert!(with == 0 || with == all, "{with} of {all} at version {version}");
            }
        }
    }
}

#[test]
fn columns_come_and_go_and_widen_without_rewriting_files() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let database = open(&disk, cache.path());
    let mut txn = database.begin().expect("a transaction");
    let columns = vec![
        Column::new("id", ColumnType::Int64),
        Column::new("small", ColumnType::Int32),
        Column::new("gone", ColumnType::Text),
        Column::new("note", ColumnType::Text),
    ];
    txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
    let text = |what: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..1_000).map(|id| format!("{what} {id}"))))
    };
    let first: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..1_000))),
        ("small", Arc::new(asof_engine::arrow::array::Int32Array::from_iter_values(0..1_000))),
        ("gone", text("gone")),
        ("note", text("note")),
    ];
    txn.insert(TABLE, &RecordBatch::try_from_iter(first).expect("a batch")).expect("rows are taken");
    txn.commit(CommitOptions::default()).expect("a commit");
    database.checkpoint().expect("a checkpoint");
    let mut txn = database.begin().expect("a transaction");
    let default: ArrayRef = Arc::new(StringArray::from(vec!["new"]));
    let added = Column { default: Some(default), ..Column::new("added", ColumnType::Text) };
    for change in [
        Alteration::DropColumn("gone".into()),
        Alteration::RenameColumn { from: "note".into(), to: "remark".into() },
        Alteration::WidenColumn { name: "small".into(), to: ColumnType::Int64 },
        Alteration::AddColumn(added),
        Alteration::AddColumn(Column::new("empty", ColumnType::Int64)),
    ] {
        txn.alter_table(TABLE, change).expect("the table is altered");
    }
    txn.commit(CommitOptions::default()).expect("a commit");
    for checkpointed in [false, true] {
        if checkpointed {
            database.checkpoint().expect("a checkpoint");
        }
        for version in [1, 2] {
            let snapshot = database.snapshot(Version(version)).expect("a version");
            let rows = read(bytes(&view(&snapshot)));
            let scanned: Vec<RecordBatch> = snapshot
                .scan(TABLE, ScanOptions::default())
                .expect("a scan")
                .collect::<Result<_, _>>()
                .expect("rows");
            let scanned = concat_batches(&scanned[0].schema(), &scanned).expect("one schema");
            let names = |batch: &RecordBatch| -> Vec<String> {
                batch.schema().fields().iter().map(|field| field.name().clone()).collect()
            };
            assert_eq!(names(&rows), names(&scanned));
            assert_eq!(rows.columns(), scanned.columns(), "version {version}");
        }
        let widened = read(bytes(&view(&database.snapshot(Version(2)).expect("a version"))));
        assert_eq!(widened.column_by_name("small").expect("a column").data_type(), &DataType::Int64);
    }
}

#[test]
fn a_table_without_rows_is_a_file_without_row_groups() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let database = open(&disk, cache.path());
    let mut txn = database.begin().expect("a transaction");
    let columns = [("id", ColumnType::Int64), ("amount", ColumnType::Int64), ("note", ColumnType::Text)];
    let columns = columns.into_iter().map(|(name, column_type)| Column::new(name, column_type)).collect();
    txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
    txn.commit(CommitOptions::default()).expect("a commit");
    assert!(stock(&view(&database.snapshot(Version(1)).expect("a version"))).is_empty());
    let mut txn = database.begin().expect("a transaction");
    let rows: Rows = [(1, row(1, 0))].into();
    txn.insert(TABLE, &batch(&rows)).expect("a row is taken");
    txn.commit(CommitOptions::default()).expect("a commit");
    assert_eq!(stock(&view(&database.snapshot(Version(2)).expect("a version"))), flat(&rows));
}

#[test]
fn sizes_of_files_that_were_opened_ahead_are_told_without_reading() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let versions = history(&disk, 120_000, 13);
    open(&disk, cache.path()).checkpoint().expect("a checkpoint");
    let reads_of_data = |ahead: usize| {
        let database = open(&disk, cache.path());
        database.open_ahead(ahead).expect("files are opened");
        let reads = || {
            let files = database.counters().files;
            ["data", "ends"].iter().filter_map(|class| files.get(class)).map(|file| file.reads).sum::<u64>()
        };
        let before = reads();
        view(&database.snapshot(Version(versions.len() as u64 / 2)).expect("a version"));
        reads() - before
    };
    let without = reads_of_data(0);
    assert!(without > 2, "{without} reads");
    // When rows died that may be shown is looked up for each version.
    assert!(reads_of_data(256) <= 1, "{} reads instead of {without}", reads_of_data(256));
}

#[test]
fn holes_are_zeros_as_many_as_metadata_promise_and_only_grow() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let versions = history(&disk, 120_000, 13);
    let database = open(&disk, cache.path());
    database.checkpoint().expect("a checkpoint");
    let holes = |view: &View| {
        let next = |offset: &u64| view.hole_behind(*offset).map(|hole| hole.end);
        let ends = std::iter::successors(view.hole_behind(0).map(|hole| hole.end), next);
        ends.map(|end| view.hole_behind(end - 1).expect("the hole itself")).collect::<Vec<_>>()
    };
    let length = |holes: &[std::ops::Range<u64>]| holes.iter().map(|hole| hole.end - hole.start).sum::<u64>();
    let (mut promised, mut known, mut found) = (0, 0, 0);
    for version in 1..versions.len() as u64 {
        let view = view(&database.snapshot(Version(version)).expect("a version"));
        let least = view.hole_bytes_min();
        view.prepare().expect("a footer");
        let before = holes(&view);
        let whole = bytes(&view);
        let after = holes(&view);
        for hole in before.iter().chain(&after) {
            assert!(whole[hole.start as usize..hole.end as usize].iter().all(|byte| *byte == 0));
        }
        for hole in &before {
            assert!(after.iter().any(|later| later.start <= hole.start && hole.end <= later.end));
        }
        assert!(least <= length(&after), "version {version}: {least} of {}", length(&after));
        assert_eq!(view.hole_bytes_min(), least);
        (promised, known, found) = (promised + least, known + length(&before), found + length(&after));
    }
    assert!(0 < promised && 0 < known && known < found, "{promised}, {known}, {found}");
}
