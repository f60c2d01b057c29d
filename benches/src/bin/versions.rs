//! What many versions cost: `versions run [--dir DIR] [--versions 1000000] [--threads 8] [--rows 1000]`.
//!
//! Commits one-row upserts to a table of `--rows` rows, and at 1 %, 10 % and all of the versions prints the rate of the
//! commits just made, and, of the database opened anew: how long it takes to open it, to resolve a time, to read the ten
//! newest and the ten oldest commits, and the bytes that this read.

use asof_benches::arguments::Arguments;
use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use asof_engine::{Column, ColumnType, CommitOptions, Database, ErrorKind, Options, Version};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: versions run [--dir DIR] [--versions 1000000] [--threads 8] [--rows 1000]";
const TABLE: &str = "t";
/// The last so many commits before each stop are timed.
const TIMED: i64 = 5_000;

fn row(key: i64, value: i64) -> Result<RecordBatch, Failure> {
    let columns: [(&str, ArrayRef); 2] =
        [("k", Arc::new(Int64Array::from(vec![key]))), ("v", Arc::new(Int64Array::from(vec![value])))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn create(path: &Path) -> Result<Database, Failure> {
    let database = Database::create(path, Options::default())?;
    let mut transaction = database.begin()?;
    let columns = vec![Column::new("k", ColumnType::Int64), Column::new("v", ColumnType::Int64)];
    transaction.create_table(TABLE, columns, &["k".to_string()])?;
    transaction.commit(CommitOptions::default())?;
    Ok(database)
}

/// Commits versions from one number up to another; seconds that took.
fn commit(database: &Database, from: i64, to: i64, threads: usize, rows: i64) -> Result<f64, Failure> {
    let began = Instant::now();
    let next = AtomicI64::new(from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= to {
                            return Ok(());
                        }
                        loop {
                            let batch = row(number % rows, number).map_err(|error| error.to_string())?;
                            let mut transaction = database.begin().map_err(|error| error.to_string())?;
                            transaction.upsert(TABLE, &batch).map_err(|error| error.to_string())?;
                            match transaction.commit(CommitOptions::default()) {
                                Err(error) if error.kind() == ErrorKind::Conflict => {}
                                Err(error) => return Err(error.to_string()),
                                Ok(_) => break,
                            }
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a thread panicked".to_string())?)
    })?;
    Ok(began.elapsed().as_secs_f64())
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// Opens the database anew and prints what that takes.
fn look(path: &Path, rate: f64) -> Result<(), Failure> {
    let began = Instant::now();
    let database = Database::open_read_only(path, Options::default())?;
    let latest = database.latest()?;
    let opened = milliseconds(began);
    let began = Instant::now();
    let middle = database.commit_info(Version(latest.0 / 2))?;
    let found = database.version_at(middle.time)?;
    if found != middle.version {
        return Err(format!("version {} has the time of version {found}", middle.version).into());
    }
    let resolved = milliseconds(began);
    let began = Instant::now();
    for version in (1..=10).chain(latest.0 - 9..=latest.0) {
        database.commit_info(Version(version))?;
    }
    let listed = milliseconds(began);
    let bytes: u64 = database.counters().files.values().map(|file| file.bytes_read).sum();
    println!("| {latest} | {rate:.0} | {opened:.2} | {resolved:.2} | {listed:.2} | {bytes} |");
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(USAGE);
    if arguments.command != "run" {
        arguments.refuse("there is one command, run");
    }
    let versions: i64 = arguments.get_or("versions", 1_000_000);
    let threads: usize = arguments.get_or("threads", 8);
    let rows: i64 = arguments.get_or("rows", 1_000);
    let dir = tempfile::tempdir_in(arguments.get_or("dir", PathBuf::from(".")))?;
    let path = dir.path().join("database");
    println!(
        "| versions | commits/s | open ms | resolve a time ms | 20 commits ms | bytes read |\n|---|---|---|---|---|---|"
    );
    let database = create(&path)?;
    let mut made = 1;
    for stop in [TIMED.min(versions), versions / 100, versions / 10, versions] {
        if stop <= made {
            continue;
        }
        let timed_from = (stop - TIMED).max(made);
        commit(&database, made, timed_from, threads, rows)?;
        let seconds = commit(&database, timed_from, stop, threads, rows)?;
        look(&path, (stop - timed_from) as f64 / seconds)?;
        made = stop;
    }
    Ok(())
}
