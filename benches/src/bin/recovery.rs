//! Opening after kill -9 with a long log.
//!
//! `run` fills a log of `--megabytes` of rows (8 + 200 bytes each, 1,000 a commit, no checkpoint) in a process that kills
//! itself, then opens the database in fresh processes, `--rounds` times, and prints how long it takes until the newest
//! row is read, beside reading the log's bytes once. `fill` and `open` are the two halves.

use asof_benches::arguments::Arguments;
use asof_engine::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use asof_engine::{Column, ColumnType, CommitOptions, Database, Options};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: recovery run [--dir DIR] [--megabytes 500] [--rows-per-commit 1000] [--rounds 5]
       recovery fill --dir DIR [--megabytes 500] [--rows-per-commit 1000]
       recovery open --dir DIR
       recovery read --dir DIR";

const ROW_BYTES: usize = 200;
const TABLE: &str = "t";

fn row(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(ROW_BYTES + 8);
    while bytes.len() < ROW_BYTES / 2 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(ROW_BYTES / 2);
    bytes.extend(b"the quick brown fox jumps over the lazy dog ".iter().cycle().take(ROW_BYTES / 2));
    bytes
}

fn batch(keys: std::ops::Range<i64>) -> Result<RecordBatch, Failure> {
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(keys.clone().map(|key| row(key as u64))));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
    Ok(RecordBatch::try_from_iter([("k", keys), ("v", values)])?)
}

fn fill(dir: &Path, megabytes: i64, rows_per_commit: i64) -> Result<(), Failure> {
    let options = Options { checkpoint_log_bytes: 0, memory_bytes: 16 << 30, ..Options::default() };
    let database = Database::create(dir, options)?;
    let mut transaction = database.begin()?;
    let columns = vec![Column::new("k", ColumnType::Int64), Column::new("v", ColumnType::Binary)];
    transaction.create_table(TABLE, columns, &["k".to_string()])?;
    transaction.commit(CommitOptions::default())?;
    let rows = (megabytes << 20) / (8 + ROW_BYTES as i64);
    for first in (0..rows).step_by(rows_per_commit as usize) {
        let mut transaction = database.begin()?;
        transaction.insert(TABLE, &batch(first..rows.min(first + rows_per_commit))?)?;
        transaction.commit(CommitOptions::default())?;
    }
    // Nothing is closed: the log is as a crash leaves it.
    let own = std::process::id().to_string();
    Command::new("kill").args(["-9", &own]).status()?;
    Err("kill -9 left this process alive".into())
}

/// Opens the database and reads the row of the highest key: seconds until each.
fn open(dir: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let options = Options { memory_bytes: 16 << 30, ..Options::default() };
    let database = Database::open(dir, options)?;
    let latest = database.latest()?;
    let opened = began.elapsed().as_secs_f64();
    let snapshot = database.snapshot(latest)?;
    let last = snapshot.table(TABLE)?.rows as i64 - 1;
    let key: ArrayRef = Arc::new(Int64Array::from(vec![last]));
    let found = snapshot.get(TABLE, &RecordBatch::try_from_iter([("k", key)])?)?;
    let readable = began.elapsed().as_secs_f64();
    let found = found.ok_or("the newest row is not there")?;
    if found.column(1).as_binary::<i32>().value(0) != row(last as u64) || found.column(0).is_empty() {
        return Err("the newest row is another".into());
    }
    println!("{opened:.3} {readable:.3} {latest}");
    // What a clean end costs is not asked.
    std::process::exit(0)
}

/// Reads the log's bytes once: seconds, and how many.
fn read(dir: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir.join("wal"))? {
        bytes += std::fs::read(entry?.path())?.len();
    }
    println!("{:.3} {bytes}", began.elapsed().as_secs_f64());
    Ok(())
}

/// The first number that another process of this program prints, and all that it prints.
fn ask(command: &str, dir: &Path) -> Result<(f64, String), Failure> {
    let output = Command::new(std::env::current_exe()?).arg(command).arg("--dir").arg(dir).output()?;
    let text = String::from_utf8(output.stdout)?.trim().to_string();
    if !output.status.success() {
        return Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let number = text.split(' ').nth((command == "open") as usize).unwrap_or_default().parse()?;
    Ok((number, text))
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(USAGE);
    let megabytes: i64 = arguments.get_or("megabytes", 500);
    let rows_per_commit: i64 = arguments.get_or("rows-per-commit", 1_000);
    match arguments.command.as_str() {
        "fill" => fill(&arguments.path("dir"), megabytes, rows_per_commit),
        "open" => open(&arguments.path("dir")),
        "read" => read(&arguments.path("dir")),
        "run" => {
            let parent = tempfile::tempdir_in(arguments.get_or("dir", PathBuf::from(".")))?;
            let dir = parent.path().join("database");
            let numbers = [megabytes, rows_per_commit].map(|number| number.to_string());
            Command::new(std::env::current_exe()?)
                .args(["fill", "--megabytes", &numbers[0], "--rows-per-commit", &numbers[1], "--dir"])
                .arg(&dir)
                .status()?;
            let rounds: usize = arguments.get_or("rounds", 5);
            let (mut opens, mut reads) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let (readable, open) = ask("open", &dir)?;
                let (once, read) = ask("read", &dir)?;
                println!("open, readable (s), version: {open}   read once (s), bytes: {read}");
                opens.push(readable);
                reads.push(once);
            }
            [&mut opens, &mut reads].into_iter().for_each(|list| list.sort_by(f64::total_cmp));
            println!(
                "median: readable after {:.3} s, reading the log once {:.3} s",
                opens[rounds / 2],
                reads[rounds / 2]
            );
            Ok(())
        }
        other => arguments.refuse(&format!("{other}: no such command")),
    }
}
