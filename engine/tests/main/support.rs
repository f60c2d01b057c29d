//! What tests share: a simulated disk and clock, tables of a few columns, content hashes.

use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use asof_engine::clock::Clock;
use asof_engine::{Column, ColumnType, CommitTime, Database, Options, ScanOptions, Version};
use asof_wal::sim::SimDisk;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A clock that goes one second a call, and counts for randomness.
#[derive(Debug, Default)]
pub struct TestClock {
    now: AtomicI64,
    random: AtomicU64,
}

impl Clock for TestClock {
    fn now(&self) -> CommitTime {
        CommitTime(1_700_000_000_000_000 + self.now.fetch_add(1_000_000, Ordering::Relaxed))
    }

    fn random(&self) -> [u8; 16] {
        let count = self.random.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&count.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        bytes[8..].copy_from_slice(&count.to_le_bytes());
        bytes
    }
}

pub fn options(disk: &SimDisk) -> Options {
    Options {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(TestClock::default()),
        checkpoint_log_bytes: 0,
        // Tables of a few rows too.
        copies_rows_min: 0,
        // Disk operations come in one order.
        read_threads: 1,
        ..Options::default()
    }
}

pub const DB: &str = "/db";

pub fn open(disk: &SimDisk, clock: &Arc<TestClock>) -> Database {
    let options = Options { clock: clock.clone(), ..options(disk) };
    Database::open_or_create(Path::new(DB), options).expect("the database opens")
}

pub fn customers() -> Vec<Column> {
    vec![Column::new("id", ColumnType::Int64), Column::new("name", ColumnType::Text)]
}

pub fn rows(pairs: &[(i64, Option<&str>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|(id, _)| *id)));
    let names: ArrayRef = Arc::new(StringArray::from_iter(pairs.iter().map(|(_, name)| *name)));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("name", names, true)])
        .expect("columns are of one length")
}

pub fn keys(ids: &[i64]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("id", ids)]).expect("one column")
}

/// The table as CSV.
pub fn csv(database: &Database, version: Version, table: &str) -> String {
    let snapshot = database.snapshot(version).expect("the version is readable");
    let schema = snapshot.schema(table).expect("the table is there");
    let mut out = Vec::new();
    asof_engine::text::write_csv_header(&schema, &mut out);
    for batch in snapshot.scan(table, ScanOptions::default()).expect("the table can be scanned") {
        asof_engine::text::write_csv_rows(&schema, &batch.expect("a batch can be read"), &mut out);
    }
    String::from_utf8(out).expect("CSV is UTF-8")
}

/// Random numbers from a seed (xorshift64*).
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit as u64) as usize
    }
}
