//! Real processes on real files: killed at any moment, several at once, and watched by the kernel's eyes.

mod holders;
mod kills;
mod readers;
mod trace;
mod turns;

use asof_engine::{Database, Options, ScanOptions, Version, text};
use std::path::Path;

/// Random numbers from a seed (xorshift64*).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
}

/// The database as a reader in this process sees it.
pub fn open(path: &Path) -> Database {
    Database::open_read_only(path, Options::default()).unwrap()
}

/// A table at a version as CSV, from its rows.
pub fn csv(database: &Database, version: u64, table: &str) -> String {
    let snapshot = database.snapshot(Version(version)).unwrap();
    let schema = snapshot.schema(table).unwrap();
    let mut out = Vec::new();
    text::write_csv_header(&schema, &mut out);
    for batch in snapshot.scan(table, ScanOptions::default()).unwrap() {
        text::write_csv_rows(&schema, &batch.unwrap(), &mut out);
    }
    String::from_utf8(out).unwrap()
}
