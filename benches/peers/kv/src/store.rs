//! What a store must be able to do to be measured, and the list of stores.

use crate::limit::Limit;
use crate::stores;
use std::path::Path;

/// A key and its value.
pub type Row = (u64, Vec<u8>);

/// A store with one table from number to bytes.
pub trait Store: Send + Sync {
    /// Writes the rows as one transaction, and returns when they are on disk.
    fn commit(&self, rows: &[Row]);
    /// The greatest key, read with its value: the proof that the store is open.
    fn last_key(&self) -> u64;
    /// A thread will commit no more.
    fn thread_ends(&self) {}
}

pub const NAMES: &[&str] = &[
    "limit",
    "limit-growing",
    "sqlite",
    "sqlite-shared",
    "redb",
    "redb-quick",
    "fjall",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
];

/// Opens or makes a store. `log_only` asks for settings under which everything stays in the log, for recovery tests.
pub fn open(engine: &str, dir: &Path, log_only: bool) -> Box<dyn Store> {
    match engine {
        "limit" => Box::new(Limit::open(dir, true)),
        "limit-growing" => Box::new(Limit::open(dir, false)),
        "sqlite" => Box::new(stores::sqlite::Sqlite::open(dir, false, log_only)),
        "sqlite-shared" => Box::new(stores::sqlite::Sqlite::open(dir, true, log_only)),
        "redb" => Box::new(stores::redb::Redb::open(dir, false)),
        "redb-quick" => Box::new(stores::redb::Redb::open(dir, true)),
        "fjall" => Box::new(stores::fjall::Fjall::open(dir, log_only)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Box::new(stores::rocksdb::RocksDb::open(dir, log_only)),
        other => crate::arguments::usage(&format!("unknown engine {other}")),
    }
}
