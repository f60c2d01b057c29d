//! What the programs count beside the time, and the JSON line they print.

use asof_engine::Database;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// A clock for elapsed and processor time.
pub struct Stopwatch {
    start: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch { start: Instant::now(), cpu: cpu_time() }
    }

    /// Milliseconds so far.
    pub fn ms(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e3
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Milliseconds of processor time of all threads so far.
    pub fn cpu_ms(&self) -> f64 {
        (cpu_time() - self.cpu).as_secs_f64() * 1e3
    }
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The most memory this process had resident, in megabytes.
pub fn peak_resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN);
    kib * 1024.0 / 1e6
}

/// Bytes of the files under a directory.
pub fn directory_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// A quantile of values in any order.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get((sorted.len().saturating_sub(1) as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Mean of values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Rows and pages decoded, and bytes read since the database was opened.
pub fn work(database: &Database) -> Map<String, Value> {
    let counters = database.counters();
    let mut work = Map::new();
    work.insert("rows_decoded".into(), counters.rows_decoded.into());
    work.insert("pages_decoded".into(), counters.pages_decoded.into());
    let bytes: u64 = counters.files.values().map(|class| class.bytes_read).sum();
    let reads: u64 = counters.files.values().map(|class| class.reads).sum();
    work.insert("bytes_read".into(), bytes.into());
    work.insert("reads".into(), reads.into());
    for (class, counts) in counters.files.iter().filter(|(_, counts)| counts.bytes_read > 0) {
        work.insert(format!("bytes_read_{class}"), counts.bytes_read.into());
    }
    work
}

/// Files and bytes of a database per class.
pub fn sizes(database: &Database) -> Result<Value, asof_engine::Error> {
    let info = database.info()?;
    let files: Map<String, Value> =
        info.files.iter().map(|(class, sizes)| (class.to_string(), json!([sizes.0, sizes.1]))).collect();
    Ok(json!({
        "files": files,
        "log_used_bytes": info.log_used_bytes,
        "log_allocated_bytes": info.log_allocated_bytes,
        "row_versions": info.row_versions,
        "checkpoint_version": info.checkpoint_version.0,
    }))
}

/// Prints one line.
pub fn print(mut line: Value, more: Map<String, Value>) {
    if let Some(line) = line.as_object_mut() {
        line.extend(more);
        line.insert("peak_resident_mb".into(), json!((peak_resident_mb() * 10.0).round() / 10.0));
    }
    println!("{line}");
}
