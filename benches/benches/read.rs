//! The read paths: scans of old and new versions beside a plain Parquet reader, lookups, diffs, and what checksums cost.

use asof_benches::{TABLE, loaded, rows, upsert};
use asof_engine::arrow::array::{AsArray, RecordBatch};
use asof_engine::arrow::datatypes::Float64Type;
use asof_engine::parquet::arrow::ProjectionMask;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use asof_engine::{Comparison, Database, DiffKind, Filter, Options, ScanOptions, Version};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROWS: i64 = 1_000_000;
/// Rows that each commit updates, and commits between checkpoints.
const CHANGED: i64 = 5_000;
const COMMITS: i64 = 20;
const CHECKPOINT_EVERY: i64 = 5;
/// Bytes under one checksum in a data file.
const BLOCK_BYTES: usize = 16 << 10;

/// Where databases are made: `ASOF_BENCH_DIR`, else the temporary directory.
fn scratch() -> tempfile::TempDir {
    let parent = std::env::var_os("ASOF_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).expect("a directory to write in")
}

/// A million rows, twenty commits of five thousand updates all over them, all checkpointed.
fn history(path: &Path) -> Database {
    let database = loaded(path, ROWS).expect("a database");
    for nth in 0..COMMITS {
        let ids = (0..CHANGED).map(|row| ((nth * CHANGED + row) * 7_919).rem_euclid(ROWS));
        upsert(&database, &rows(ids, nth + 1)).expect("a commit");
        if nth % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1 {
            database.checkpoint().expect("a checkpoint");
        }
    }
    database
}

fn open(path: &Path) -> Database {
    Database::open(path, Options::default()).expect("the database opens")
}

fn key(id: i64) -> RecordBatch {
    rows([id], 0).project(&[3]).expect("the key is the last column")
}

fn sum(batch: &RecordBatch) -> f64 {
    asof_engine::arrow::compute::sum(batch.column(0).as_primitive::<Float64Type>()).unwrap_or(0.0)
}

/// The largest data file: the load's.
fn data_file(path: &Path) -> PathBuf {
    let files = std::fs::read_dir(path.join("data")).expect("the data files");
    let files = files.map(|entry| entry.expect("a file").path());
    files.max_by_key(|file| file.metadata().expect("a length").len()).expect("there is one")
}

fn scans(criterion: &mut Criterion) {
    let dir = scratch();
    let path = dir.path().join("db");
    let database = history(&path);
    let newest = database.latest().expect("a version");
    let versions = [("first", Version(1)), ("middle", Version(newest.0 / 2)), ("newest", newest)];
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(20).throughput(Throughput::Elements(ROWS as u64));
    for (name, version) in versions {
        let snapshot = database.snapshot(version).expect("a version");
        let scan = |options: ScanOptions| snapshot.scan(TABLE, options).expect("a scan");
        let price = || Some(vec!["price".to_string()]);
        group.bench_function(format!("sum of one column, {name} version"), |bencher| {
            bencher.iter(|| {
                let options = ScanOptions { columns: price(), ordered: false, ..ScanOptions::default() };
                scan(options).map(|batch| sum(&batch.expect("a batch"))).sum::<f64>()
            });
        });
        group.bench_function(format!("all columns as they lie, {name} version"), |bencher| {
            bencher.iter(|| {
                let options = ScanOptions { ordered: false, ..ScanOptions::default() };
                scan(options).map(|batch| batch.expect("a batch").num_rows()).sum::<usize>()
            });
        });
        group.bench_function(format!("all columns in order, {name} version"), |bencher| {
            bencher.iter(|| {
                let batches = scan(ScanOptions::default());
                batches.map(|batch| batch.expect("a batch").num_rows()).sum::<usize>()
            });
        });
        group.bench_function(format!("a filter that a thousandth passes, {name} version"), |bencher| {
            let value = key(ROWS / 1_000).column(0).clone();
            let filter = Filter::Compare { column: "id".to_string(), comparison: Comparison::Less, value };
            bencher.iter(|| {
                let filter = Some(filter.clone());
                let options = ScanOptions { filter, ordered: false, ..ScanOptions::default() };
                scan(options).map(|batch| batch.expect("a batch").num_rows()).sum::<usize>()
            });
        });
    }
    group.bench_function("sum of one column, plain Parquet reader, one thread", |bencher| {
        let file = data_file(&path);
        bencher.iter(|| {
            let file = File::open(&file).expect("the file opens");
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
            let mask = ProjectionMask::columns(builder.parquet_schema(), ["price"]);
            let reader = builder.with_projection(mask).build().expect("a reader");
            reader.map(|batch| sum(&batch.expect("a batch"))).sum::<f64>()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("lookup");
    let snapshot = database.snapshot(Version(newest.0 / 2)).expect("a version");
    let mut next = 0;
    group.bench_function("one row, files open", |bencher| {
        bencher.iter(|| {
            next = (next + 7_919) % ROWS;
            snapshot.get(TABLE, black_box(&key(next))).expect("a lookup")
        });
    });
    group.bench_function("one row, database opened for it", |bencher| {
        bencher.iter(|| {
            next = (next + 7_919) % ROWS;
            let snapshot = open(&path).snapshot(newest).expect("a version");
            snapshot.get(TABLE, black_box(&key(next))).expect("a lookup")
        });
    });
    group.bench_function("the versions of one row", |bencher| {
        bencher.iter(|| {
            next = (next + 7_919) % ROWS;
            database.history(TABLE, black_box(&key(next))).expect("a history")
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("diff");
    group.sample_size(20);
    for (name, from, to) in [("neighbours, old", 2, 3), ("neighbours, new", newest.0 - 1, newest.0)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let diff = database.diff(Version(from), Version(to), TABLE, DiffKind::Net);
                diff.expect("a diff").map(|batch| batch.expect("a batch").num_rows()).sum::<usize>()
            });
        });
    }
    group.throughput(Throughput::Elements((CHANGED * COMMITS) as u64));
    group.bench_function("first to newest", |bencher| {
        bencher.iter(|| {
            let diff = database.diff(Version(1), newest, TABLE, DiffKind::Net);
            diff.expect("a diff").map(|batch| batch.expect("a batch").num_rows()).sum::<usize>()
        });
    });
    group.finish();
}

/// A data file's bytes read block by block, with and without checking each block: the price of knowing that they are
/// those that were written. Beside it, what decoding the same file takes.
fn checksums(criterion: &mut Criterion) {
    let dir = scratch();
    let path = dir.path().join("db");
    drop(loaded(&path, ROWS).expect("a database"));
    let file = data_file(&path);
    let bytes = std::fs::read(&file).expect("the file is read");
    let expected: Arc<[u32]> = bytes.chunks(BLOCK_BYTES).map(crc32fast::hash).collect();
    let mut group = criterion.benchmark_group("checksum");
    group.sample_size(20).throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("off: read", |bencher| {
        bencher.iter(|| black_box(std::fs::read(&file).expect("the file is read")).len());
    });
    group.bench_function("on: read, and check every block", |bencher| {
        bencher.iter(|| {
            let bytes = std::fs::read(&file).expect("the file is read");
            let found = bytes.chunks(BLOCK_BYTES).map(crc32fast::hash);
            assert!(found.eq(expected.iter().copied()));
        });
    });
    group.bench_function("decode the same, unchecked", |bencher| {
        bencher.iter(|| {
            let file = File::open(&file).expect("the file opens");
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
            let reader = builder.build().expect("a reader");
            reader.map(|batch| batch.expect("a batch").num_rows()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, scans, checksums);
criterion_main!(benches);
