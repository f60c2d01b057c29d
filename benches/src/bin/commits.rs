//! Durable commits of one 200-byte row, beside the limit.
//!
//! The limit (`raw`) is group commit of raw bytes into a file whose blocks are already written. `log` is the log alone,
//! `insert` and `upsert` the whole engine: new keys, and random keys of a checkpointed table of `--rows` rows. Rounds
//! are interleaved, so that a busy machine hits all alike; medians and ratios to the limit are printed.
//!
//! `busy`: upserts alone, while another thread makes one checkpoint after the other, and while it compacts what they
//! leave; how long commits take at most, and how much work was done beside them.

use asof_benches::arguments::Arguments;
use asof_engine::arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch};
use asof_engine::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use asof_engine::compact::policy::Parameters;
use asof_engine::{Column, ColumnType, CommitOptions, Database, Options};
use asof_wal::{Log, LogOptions, RealDisk};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: commits run [--dir DIR] [--seconds S] [--rounds N] [--threads 1,8,64] [--rows N] [--only raw,log,insert,upsert]
       commits busy [--dir DIR] [--seconds S] [--rounds N] [--threads 1,8,64] [--rows N]";

const ROW_BYTES: usize = 200;
const RAW_FILE_BYTES: u64 = 64 << 20;

/// What commits one row and returns when it is durable.
trait Committer: Sync {
    fn commit(&self, number: u64) -> Result<(), asof_engine::Error>;
}

/// The row of a number: half of it random, half text.
fn row(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(ROW_BYTES);
    while bytes.len() < ROW_BYTES / 2 {
        state = random(state);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(ROW_BYTES / 2);
    let text = b"the quick brown fox jumps over the lazy dog ".iter().cycle();
    bytes.extend(text.take(ROW_BYTES / 2));
    bytes
}

fn random(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

/// Group commit without a log: one waits for all, and bytes go round in one file.
struct Raw {
    state: Mutex<RawState>,
    synced: Condvar,
    file: Mutex<(File, u64)>,
}

#[derive(Default)]
struct RawState {
    bytes: Vec<u8>,
    queued: u64,
    durable: u64,
    leading: bool,
}

impl Raw {
    fn create(path: &Path) -> Result<Raw, std::io::Error> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for start in (0..RAW_FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, start)?;
        }
        file.sync_all()?;
        Ok(Raw { state: Mutex::default(), synced: Condvar::new(), file: Mutex::new((file, 0)) })
    }
}

impl Committer for Raw {
    fn commit(&self, number: u64) -> Result<(), asof_engine::Error> {
        let row = row(number);
        let mut state = self.state.lock().expect("no thread panicked");
        state.bytes.extend_from_slice(&number.to_le_bytes());
        state.bytes.extend_from_slice(&row);
        state.queued += 1;
        let own = state.queued;
        while state.durable < own {
            if state.leading {
                state = self.synced.wait(state).expect("no thread panicked");
                continue;
            }
            state.leading = true;
            let bytes = std::mem::take(&mut state.bytes);
            let up_to = state.queued;
            drop(state);
            let mut file = self.file.lock().expect("no thread panicked");
            if file.1 + bytes.len() as u64 > RAW_FILE_BYTES {
                file.1 = 0;
            }
            file.0.write_all_at(&bytes, file.1)?;
            file.1 += bytes.len() as u64;
            file.0.sync_data()?;
            drop(file);
            state = self.state.lock().expect("no thread panicked");
            state.durable = up_to;
            state.leading = false;
            self.synced.notify_all();
        }
        Ok(())
    }
}

struct OnlyLog(Log);

impl Committer for OnlyLog {
    fn commit(&self, number: u64) -> Result<(), asof_engine::Error> {
        let mut payload = number.to_le_bytes().to_vec();
        payload.extend_from_slice(&row(number));
        let ticket = self.0.take_turn(LogOptions::TURN_WAIT)?.append(1, &payload)?;
        Ok(self.0.wait(ticket)?)
    }
}

/// The whole engine. `next` gives new keys, or without it `rows` bounds random ones.
struct Engine {
    database: Database,
    next: Option<AtomicI64>,
    rows: i64,
}

const TABLE: &str = "t";

impl Engine {
    fn create(path: &Path, rows: i64, insert: bool) -> Result<Engine, Failure> {
        let database = Database::create(path, Options { checkpoint_log_bytes: 0, ..Options::default() })?;
        let mut transaction = database.begin()?;
        let columns = vec![Column::new("k", ColumnType::Int64), Column::new("v", ColumnType::Binary)];
        transaction.create_table(TABLE, columns, &["k".to_string()])?;
        for first in (0..rows).step_by(100_000) {
            transaction
                .insert(TABLE, &batch((first..rows.min(first + 100_000)).map(|key| (key, key as u64))))?;
        }
        transaction.commit(CommitOptions::default())?;
        database.checkpoint()?;
        Ok(Engine { database, next: insert.then(|| AtomicI64::new(rows)), rows })
    }
}

fn batch(rows: impl Iterator<Item = (i64, u64)>) -> RecordBatch {
    static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let fields = [("k", DataType::Int64), ("v", DataType::Binary)];
        Arc::new(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, false)).to_vec()))
    });
    let (keys, values): (Vec<i64>, Vec<Vec<u8>>) = rows.map(|(key, number)| (key, row(number))).unzip();
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(values));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys)), values];
    RecordBatch::try_new(schema.clone(), columns).expect("columns are of one length, and of these types")
}

impl Committer for Engine {
    fn commit(&self, number: u64) -> Result<(), asof_engine::Error> {
        loop {
            let mut transaction = self.database.begin()?;
            match &self.next {
                Some(next) => {
                    let key = next.fetch_add(1, Ordering::Relaxed);
                    transaction.insert(TABLE, &batch([(key, number)].into_iter()))?;
                }
                None => {
                    let key = random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1) % self.rows as u64;
                    transaction.upsert(TABLE, &batch([(key as i64, number)].into_iter()))?;
                }
            }
            match transaction.commit(CommitOptions::default()) {
                // Two threads met on one key: as any writer would, begin again.
                Err(error) if error.kind() == asof_engine::ErrorKind::Conflict => {}
                committed => return committed.map(drop),
            }
        }
    }
}

/// Commits per second, and the latencies in microseconds, ascending.
fn measure(committer: &dyn Committer, threads: u64, time: Duration) -> Result<(f64, Vec<u32>), Failure> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut latencies = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        committer.commit(NUMBERS.fetch_add(1, Ordering::Relaxed))?;
                        latencies.push(start.elapsed().as_micros() as u32);
                    }
                    Ok::<_, asof_engine::Error>(latencies)
                })
            })
            .collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().expect("workers do not panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let elapsed = began.elapsed().as_secs_f64();
    let mut latencies: Vec<u32> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    Ok((latencies.len() as f64 / elapsed, latencies))
}

/// What goes on beside the commits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Checkpoints,
    Compaction,
}

/// Rows that are added before each checkpoint.
const ROWS_BESIDE: i64 = 20_000;

/// Rewrites what any checkpoint has left, so that there is always something to do.
const EAGER: Parameters = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };

impl Beside {
    /// Works until told to stop: how often a checkpoint or a rewriting of files was done. Each has some rows to work on.
    fn work(self, database: &Database, stop: &AtomicBool) -> Result<usize, asof_engine::Error> {
        static KEYS: AtomicI64 = AtomicI64::new(1 << 40);
        let mut count = 0;
        while self != Beside::Nothing && !stop.load(Ordering::Relaxed) {
            let first = KEYS.fetch_add(ROWS_BESIDE, Ordering::Relaxed);
            let mut transaction = database.begin()?;
            transaction.insert(TABLE, &batch((first..first + ROWS_BESIDE).map(|key| (key, key as u64))))?;
            transaction.commit(CommitOptions::default())?;
            match self {
                Beside::Nothing => return Ok(0),
                Beside::Checkpoints => count += database.checkpoint()?.done as usize,
                Beside::Compaction => {
                    database.checkpoint()?;
                    for step in database.compact_plan(None, &EAGER)? {
                        let go_on = &mut |_| !stop.load(Ordering::Relaxed);
                        match database.compact_step(&step, go_on) {
                            Ok(done) => count += done.is_some() as usize,
                            Err(error) if error.kind() == asof_engine::ErrorKind::Busy => break,
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
        }
        Ok(count)
    }
}

/// Measures commits while something else goes on, and prints the tables' rows.
fn busy(dir: &Path, rows: i64, threads: &[u64], rounds: usize, time: Duration) -> Result<(), Failure> {
    let engine = Engine::create(&dir.join("busy"), rows, false)?;
    println!("| threads | beside | done | commits/s | p50 us | p99 us | p99.9 us | p99 of alone |");
    println!("|---|---|---|---|---|---|---|---|");
    let all = [
        ("nothing", Beside::Nothing),
        ("checkpoints", Beside::Checkpoints),
        ("compaction", Beside::Compaction),
    ];
    for &threads in threads {
        let mut figures = vec![(0, [const { Vec::new() }; 4]); all.len()];
        for _ in 0..rounds {
            for ((_, beside), (count, figures)) in all.iter().zip(&mut figures) {
                let stop = AtomicBool::new(false);
                let (measured, done) = std::thread::scope(|scope| {
                    let worker = scope.spawn(|| beside.work(&engine.database, &stop));
                    let measured = measure(&engine, threads, time);
                    stop.store(true, Ordering::Relaxed);
                    (measured, worker.join().expect("the worker does not panic"))
                });
                let (rate, latencies) = measured?;
                let at = |permille: usize| f64::from(latencies[(latencies.len() - 1) * permille / 1000]);
                *count += done?;
                for (list, figure) in figures.iter_mut().zip([rate, at(500), at(990), at(999)]) {
                    list.push(figure);
                }
            }
        }
        let mut alone = f64::NAN;
        for ((name, beside), (count, figures)) in all.iter().zip(figures) {
            let [rate, p50, p99, last] = figures.map(median);
            if *beside == Beside::Nothing {
                alone = p99;
            }
            let ratio = p99 / alone;
            println!(
                "| {threads} | {name} | {count} | {rate:.0} | {p50:.0} | {p99:.0} | {last:.0} | {ratio:.1} |"
            );
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(USAGE);
    if !["run", "busy"].contains(&&*arguments.command) {
        arguments.refuse("there are two commands, run and busy");
    }
    let time = Duration::from_secs_f64(arguments.get_or("seconds", 2.0));
    let rounds: usize = arguments.get_or("rounds", 5);
    let rows: i64 = arguments.get_or("rows", 1_000_000);
    let threads: String = arguments.get_or("threads", "1,8,64".to_string());
    let threads = threads.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let only: String = arguments.get_or("only", "raw,log,insert,upsert".to_string());
    // In the working directory, not the system's for temporary files, which is no disk everywhere.
    let dir = tempfile::tempdir_in(arguments.get_or("dir", PathBuf::from(".")))?;
    if arguments.command == "busy" {
        return busy(dir.path(), rows, &threads, rounds, time);
    }
    let path = |name: &str| dir.path().join(name);
    let mut committers: Vec<(&str, Box<dyn Committer>)> = Vec::new();
    for name in only.split(',') {
        committers.push(match name {
            "raw" => ("raw", Box::new(Raw::create(&path("raw"))?)),
            "log" => {
                let log = Log::create(
                    Arc::new(RealDisk),
                    &path("log"),
                    *b"database-of-test",
                    LogOptions::default(),
                )?;
                ("log", Box::new(OnlyLog(log)))
            }
            "insert" => ("insert", Box::new(Engine::create(&path("insert"), 0, true)?)),
            "upsert" => ("upsert", Box::new(Engine::create(&path("upsert"), rows, false)?)),
            other => return Err(format!("{other} is none of raw, log, insert, upsert").into()),
        });
    }
    println!("| threads | | commits/s | of the limit | p50 us | p99 us |\n|---|---|---|---|---|---|");
    for threads in threads {
        let mut figures = vec![(Vec::new(), Vec::new(), Vec::new()); committers.len()];
        for _ in 0..rounds {
            for ((_, committer), (rates, medians, tails)) in committers.iter().zip(&mut figures) {
                let (rate, latencies) = measure(&**committer, threads, time)?;
                let percentile = |percent: usize| f64::from(latencies[(latencies.len() - 1) * percent / 100]);
                rates.push(rate);
                medians.push(percentile(50));
                tails.push(percentile(99));
            }
        }
        let limit = median(figures[0].0.clone());
        for ((name, _), (rates, medians, tails)) in committers.iter().zip(figures) {
            let (rate, p50, p99) = (median(rates), median(medians), median(tails));
            println!("| {threads} | {name} | {rate:.0} | {:.2} | {p50:.0} | {p99:.0} |", rate / limit);
        }
    }
    Ok(())
}
