//! The engine's hot paths: a durable commit, an update of checkpointed rows, a scan of an old version, a checkpoint.

use asof_benches::{TABLE, loaded, rows, upsert};
use asof_engine::view::Format;
use asof_engine::{ScanOptions, Version};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::PathBuf;

const ROWS: i64 = 100_000;
/// Rows of a commit that changes more than one.
const CHANGED: i64 = 100;
const COMMITS: i64 = 20;

/// Where databases are made: `ASOF_BENCH_DIR`, else the temporary directory; on a memory file system the figures of
/// commits mean nothing.
fn scratch() -> tempfile::TempDir {
    let parent = std::env::var_os("ASOF_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).expect("a directory to write in")
}

/// Spreads over the table: a prime that does not divide it.
fn spread(nth: i64) -> i64 {
    (nth * 7_919).rem_euclid(ROWS)
}

fn commits(criterion: &mut Criterion) {
    let dir = scratch();
    let mut group = criterion.benchmark_group("commit");

    let empty = loaded(&dir.path().join("new"), 0).expect("a database");
    let mut next = 0;
    group.bench_function("insert one new row", |bencher| {
        bencher.iter(|| {
            next += 1;
            upsert(&empty, &rows([next], 1)).expect("the commit is durable")
        });
    });

    let known = loaded(&dir.path().join("known"), ROWS).expect("a database");
    let mut next = 0;
    group.bench_function("update one checkpointed row", |bencher| {
        bencher.iter(|| {
            next += 1;
            upsert(&known, &rows([spread(next)], next)).expect("the commit is durable")
        });
    });
    group.throughput(Throughput::Elements(CHANGED as u64));
    group.bench_function("update a hundred checkpointed rows", |bencher| {
        bencher.iter(|| {
            next += CHANGED;
            let batch = rows((next..next + CHANGED).map(spread), next);
            upsert(&known, &batch).expect("the commit is durable")
        });
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let dir = scratch();
    let database = loaded(&dir.path().join("db"), ROWS).expect("a database");
    for nth in 0..COMMITS {
        let first = nth * CHANGED;
        upsert(&database, &rows((first..first + CHANGED).map(spread), nth)).expect("a commit");
        if nth % 5 == 4 {
            database.checkpoint().expect("a checkpoint");
        }
    }
    let newest = database.latest().expect("a version");
    let mut group = criterion.benchmark_group("read");
    group.sample_size(20).throughput(Throughput::Elements(ROWS as u64));
    for (name, version) in [("first", Version(1)), ("middle", Version(newest.0 / 2)), ("newest", newest)] {
        group.bench_function(format!("scan the {name} version"), |bencher| {
            bencher.iter(|| {
                let snapshot = database.snapshot(version).expect("a version");
                let scan = snapshot.scan(TABLE, ScanOptions::default()).expect("a scan");
                scan.map(|batch| batch.expect("a batch").num_rows()).sum::<usize>()
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    let key = rows([ROWS / 2], 0).project(&[3]).expect("the key is the last column");
    group.bench_function("get one row of the middle version", |bencher| {
        let snapshot = database.snapshot(Version(newest.0 / 2)).expect("a version");
        bencher.iter(|| snapshot.get(TABLE, black_box(&key)).expect("a row"));
    });
    group.bench_function("size of a CSV", |bencher| {
        let snapshot = database.snapshot(Version(newest.0 / 2)).expect("a version");
        bencher.iter(|| snapshot.view_size(TABLE, Format::Csv).expect("a size"));
    });
    group.finish();
}

fn checkpoints(criterion: &mut Criterion) {
    let dir = scratch();
    let database = loaded(&dir.path().join("db"), ROWS).expect("a database");
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(10).throughput(Throughput::Elements((COMMITS * CHANGED) as u64));
    let mut next = 0;
    group.bench_function("twenty commits of a hundred updates", |bencher| {
        bencher.iter_batched(
            || {
                for _ in 0..COMMITS {
                    next += CHANGED;
                    upsert(&database, &rows((next..next + CHANGED).map(spread), next)).expect("a commit");
                }
            },
            |()| database.checkpoint().expect("a checkpoint"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, commits, reads, checkpoints);
criterion_main!(benches);
