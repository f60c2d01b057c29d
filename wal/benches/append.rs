//! Commits per second of 200-byte payloads on a real file, each durable when it counts.
//!
//! The directory is `ASOF_BENCH_DIR`, else the temporary one; on a memory file system the figures mean nothing.

use asof_wal::{Access, Log, LogOptions, RealDisk};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAYLOAD: [u8; 200] = [7; 200];
const WAIT: Duration = Duration::from_secs(5);

fn new_log() -> (tempfile::TempDir, Log) {
    let parent = std::env::var_os("ASOF_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let temp = tempfile::tempdir_in(parent).expect("a directory to write in");
    let log = Log::create(Arc::new(RealDisk), &temp.path().join("wal"), [1; 16], LogOptions::default());
    (temp, log.expect("a new log"))
}

fn commit(log: &Log) {
    let mut turn = log.take_turn(WAIT).expect("nobody else writes");
    let ticket = turn.append(1, &PAYLOAD).expect("the log is healthy");
    drop(turn);
    log.wait(ticket).expect("the disk works");
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for threads in [1_u64, 8] {
        let (_temp, log) = new_log();
        group.bench_function(format!("threads={threads}"), |bencher| {
            bencher.iter_custom(|count| {
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (log, share) = (&log, count / threads + u64::from(thread < count % threads));
                        scope.spawn(move || (0..share).for_each(|_| commit(log)));
                    }
                });
                began.elapsed()
            });
        });
    }
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let (temp, log) = new_log();
    const RECORDS: u64 = 20_000;
    let mut turn = log.take_turn(WAIT).expect("nobody else writes");
    let tickets: Vec<_> =
        (0..RECORDS).map(|_| turn.append(1, &PAYLOAD).expect("the log is healthy")).collect();
    drop(turn);
    log.wait(*tickets.last().expect("some")).expect("the disk works");
    let dir = temp.path().join("wal");
    let reader =
        Log::open(Arc::new(RealDisk), &dir, [1; 16], Log::start(), LogOptions::default(), Access::ReadOnly)
            .expect("a log");
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("records", |bencher| {
        bencher.iter(|| reader.read_from(Log::start()).expect("a log").filter(Result::is_ok).count());
    });
    group.bench_function("durable", |bencher| bencher.iter(|| reader.durable().expect("a head")));
    group.finish();
}

criterion_group!(benches, commits, reading);
criterion_main!(benches);
