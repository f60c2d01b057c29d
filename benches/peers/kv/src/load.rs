//! Durable commits of one row, from several threads, for some seconds.

use crate::arguments::Arguments;
use crate::rows::{Random, value};
use crate::store::{self, Row};
use crate::syncs;
use std::time::{Duration, Instant};

const PRELOAD_BATCH: u64 = 10_000;

pub fn commits(arguments: &Arguments) {
    let store = store::open(&arguments.engine, &arguments.dir, false);
    let row = |key, edition| -> Row { (key, value(key, edition, arguments.value_bytes)) };
    for first in (0..arguments.preload).step_by(PRELOAD_BATCH as usize) {
        let last = (first + PRELOAD_BATCH).min(arguments.preload);
        store.commit(&(first..last).map(|key| row(key, 0)).collect::<Vec<_>>());
    }
    store.commit(&[row(0, 0)]);
    let syncs_before = syncs::count();
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(arguments.seconds);
    let mut latencies: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let mut random = Random::new(thread + 1);
                    let mut latencies = Vec::new();
                    let mut nth = 0;
                    while Instant::now() < end {
                        nth += 1;
                        let key = if arguments.upsert {
                            random.next() % arguments.preload
                        } else {
                            arguments.preload + nth * arguments.threads + thread
                        };
                        let rows = [row(key, nth)];
                        let before = Instant::now();
                        store.commit(&rows);
                        latencies.push(before.elapsed().as_micros() as u32);
                    }
                    store.thread_ends();
                    latencies
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let syncs = syncs::count() - syncs_before;
    latencies.sort_unstable();
    let quantile = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    println!(
        "{{\"workload\":\"commits\",\"system\":\"{}\",\"mode\":\"{}\",\"threads\":{},\"commits\":{},\"seconds\":{:.3},\
         \"commits_per_second\":{:.1},\"commits_per_sync\":{:.2},\"p50_us\":{},\"p99_us\":{}}}",
        arguments.engine,
        if arguments.upsert { "upsert" } else { "insert" },
        arguments.threads,
        latencies.len(),
        seconds,
        latencies.len() as f64 / seconds,
        latencies.len() as f64 / syncs.max(1) as f64,
        quantile(0.5),
        quantile(0.99),
    );
    exit();
}

/// Ends without closing: a clean close is no part of what is measured.
pub fn exit() -> ! {
    use std::io::Write;
    std::io::stdout().flush().expect("standard output is open");
    unsafe { libc::_exit(0) }
}
