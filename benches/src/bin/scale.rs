//! Large tables, and commits beside upkeep. Each line has the most memory that was resident; `--memory` sets the budget.
//!
//!     scale load     --store DIR --rows N            a table of so many measurements, loaded or (--bulk false) inserted in one
//!                                                    transaction, then commits that change 1,000 each
//!     scale scan     --store DIR                     one column of the newest and of the first version
//!     scale diff     --store DIR                     the newest commit, and all of them
//!     scale latency  --store DIR [--rows N] [--seconds S] [--rounds N]
//!                    one thread commits one row at a time to a table of so many, alone and beside a checkpoint

use asof_benches::arguments::Arguments;
use asof_benches::data::{Failure, columns, sum};
use asof_benches::report::{Stopwatch, directory_bytes, print, quantile, work};
use asof_engine::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use asof_engine::options::Upkeep;
use asof_engine::{CommitOptions, Database, DiffKind, Options, ScanOptions, Version};
use serde_json::{Map, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TABLE: &str = "measurements";
const BATCH_ROWS: i64 = 100_000;
const CHANGED_ROWS: i64 = 1_000;
const COMMITS: u64 = 20;
/// What a checkpoint of the latency benchmark has to do.
const BACKLOG_COMMITS: i64 = 20;
const BACKLOG_ROWS: i64 = 10_000;
const USAGE: &str = "usage: scale load|scan|diff|latency --store DIR [--rows N] [--bulk true|false] [--memory BYTES] [--seconds S] [--rounds N]";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(USAGE);
    match arguments.command.as_str() {
        "load" => load(&arguments),
        "scan" => scan(&arguments),
        "diff" => diff(&arguments),
        "latency" => latency(&arguments),
        other => arguments.refuse(&format!("unknown command {other}")),
    }
}

/// How the database is opened: with the budget given.
fn options(arguments: &Arguments) -> Options {
    let default = Options::default();
    Options { memory_bytes: arguments.get_or("memory", default.memory_bytes), ..default }
}

/// Spreads numbers over the whole range of 64 bits: what does not compress.
fn mixed(number: i64) -> i64 {
    let mixed = (number as u64).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 29)) as i64
}

/// Measurements with these numbers; the edition tells updates apart.
fn rows(numbers: impl Iterator<Item = i64> + Clone, edition: i64) -> RecordBatch {
    let value = |id: i64| (mixed(id.wrapping_add(edition << 40)) & 0xFFFF) as f64 / 100.0;
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from_iter_values(numbers.clone()))),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                numbers.clone().map(|id| 1_700_000_000_000_000 + id * 1_000 + (mixed(id) & 511)),
            )),
        ),
        (
            "sensor",
            Arc::new(Int32Array::from_iter_values(numbers.clone().map(|id| (mixed(id) >> 7 & 1023) as i32))),
        ),
        ("value", Arc::new(Float64Array::from_iter_values(numbers.map(value)))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns are of one length")
}

/// One commit: a bulk load, or inserts of one transaction.
fn load_table(database: &Database, count: i64, bulk: bool) -> Result<(), Failure> {
    let mut transaction = database.begin()?;
    transaction.create_table(TABLE, columns(&rows(0..1, 0))?, &["id".to_string()])?;
    let starts = (0..count).step_by(BATCH_ROWS as usize);
    let mut batches = starts.map(|start| rows(start..(start + BATCH_ROWS).min(count), 0));
    if bulk {
        transaction.load(TABLE, batches.map(Ok))?;
    } else {
        batches.try_for_each(|batch| transaction.insert(TABLE, &batch))?;
    }
    transaction.commit(CommitOptions::default())?;
    Ok(())
}

fn load(arguments: &Arguments) -> Result<(), Failure> {
    let (store, count) = (arguments.path("store"), arguments.need::<i64>("rows"));
    let watch = Stopwatch::start();
    let database = Database::create(&store, options(arguments))?;
    load_table(&database, count, arguments.get_or("bulk", true))?;
    let seconds = watch.seconds();
    let mut times = Vec::new();
    for nth in 1..=COMMITS as i64 {
        let step = count / CHANGED_ROWS;
        let batch = rows((0..CHANGED_ROWS).map(|row| row * step + nth * 7 % step), nth);
        let watch = Stopwatch::start();
        upsert(&database, &batch)?;
        times.push(watch.ms());
    }
    let checkpoint = Stopwatch::start();
    database.checkpoint()?;
    let line = json!({
        "workload": "scale", "command": "load", "rows": count, "seconds": seconds,
        "rows_per_second": count as f64 / seconds, "commit_ms_median": quantile(&times, 0.5),
        "checkpoint_seconds": checkpoint.seconds(), "bytes": directory_bytes(&store),
    });
    print(line, Map::new());
    Ok(())
}

fn scan(arguments: &Arguments) -> Result<(), Failure> {
    let store = arguments.path("store");
    let newest = Database::open_read_only(&store, options(arguments))?.latest()?;
    for version in [newest, Version(1)] {
        let watch = Stopwatch::start();
        let database = Database::open_read_only(&store, options(arguments))?;
        let options = ScanOptions {
            columns: Some(vec!["value".to_string()]),
            ordered: false,
            ..ScanOptions::default()
        };
        let snapshot = database.snapshot(version)?;
        let (mut count, mut values) = (0, 0.0);
        for batch in snapshot.scan(TABLE, options)? {
            let batch = batch?;
            count += batch.num_rows() as u64;
            values += sum(&batch, "value");
        }
        let line = json!({
            "workload": "scale", "command": "scan", "version": version.0, "rows": count, "sum": values,
            "ms": watch.ms(), "cpu_ms": watch.cpu_ms(), "ok": count == snapshot.table(TABLE)?.rows,
        });
        print(line, work(&database));
    }
    Ok(())
}

fn diff(arguments: &Arguments) -> Result<(), Failure> {
    let store = arguments.path("store");
    let newest = Database::open_read_only(&store, options(arguments))?.latest()?;
    for from in [newest.0 - 1, 1] {
        let watch = Stopwatch::start();
        let database = Database::open_read_only(&store, options(arguments))?;
        let mut count = 0;
        for batch in database.diff(Version(from), newest, TABLE, DiffKind::Net)? {
            count += batch?.num_rows() as i64;
        }
        let line = json!({
            "workload": "scale", "command": "diff", "from": from, "to": newest.0, "rows": count, "ms": watch.ms(),
            "cpu_ms": watch.cpu_ms(), "ok": count == 2 * CHANGED_ROWS * (newest.0 - from) as i64,
        });
        print(line, work(&database));
    }
    Ok(())
}

/// Rounds of: many changes put in memory; commits of one row with nothing else going on; the same while a thread
/// turns those changes into Parquet. Only commits begun and ended in one of the two count.
fn latency(arguments: &Arguments) -> Result<(), Failure> {
    let (store, count) = (arguments.path("store"), arguments.get_or("rows", 1_000_000));
    let rounds = arguments.get_or("rounds", 5);
    let pause = Duration::from_secs_f64(arguments.get_or("seconds", 2.0));
    let options = Options { upkeep: Upkeep::Off, ..Options::default() };
    let database = Database::create(&store, options)?;
    load_table(&database, count, false)?;
    database.checkpoint()?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut number, mut checkpoints) = (0, Vec::new());
    let one = |number: &mut i64| -> Result<f64, Failure> {
        *number += 1;
        let batch = rows(std::iter::once(mixed(*number).rem_euclid(count)), *number);
        let watch = Instant::now();
        upsert(&database, &batch)?;
        Ok(watch.elapsed().as_secs_f64() * 1e6)
    };
    for _ in 0..rounds {
        for part in 0..BACKLOG_COMMITS {
            let step = count / BACKLOG_ROWS;
            number += 1;
            upsert(&database, &rows((0..BACKLOG_ROWS).map(|row| row * step + part % step), number))?;
        }
        let end = Instant::now() + pause;
        while Instant::now() < end {
            alone.push(one(&mut number)?);
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<(), Failure> {
            let upkeep = scope.spawn(|| {
                let watch = Stopwatch::start();
                let result = database.checkpoint();
                done.store(true, Ordering::Release);
                result.map(|_| watch.seconds())
            });
            while !done.load(Ordering::Acquire) {
                let time = one(&mut number)?;
                if !done.load(Ordering::Acquire) {
                    beside.push(time);
                }
            }
            checkpoints.push(upkeep.join().expect("no panic")?);
            Ok(())
        })?;
    }
    let (p99, p99_beside) = (quantile(&alone, 0.99), quantile(&beside, 0.99));
    let line = json!({
        "workload": "scale", "command": "latency", "commits_alone": alone.len(), "commits_beside": beside.len(),
        "checkpoint_seconds": quantile(&checkpoints, 0.5), "p50_us_alone": quantile(&alone, 0.5),
        "p50_us_beside": quantile(&beside, 0.5), "p99_us_alone": p99, "p99_us_beside": p99_beside,
        "p99_ratio": p99_beside / p99, "most_us_alone": quantile(&alone, 1.0),
        "most_us_beside": quantile(&beside, 1.0),
    });
    print(line, Map::new());
    Ok(())
}

fn upsert(database: &Database, batch: &RecordBatch) -> Result<(), Failure> {
    let mut transaction = database.begin()?;
    transaction.upsert(TABLE, batch)?;
    transaction.commit(CommitOptions::default())?;
    Ok(())
}
