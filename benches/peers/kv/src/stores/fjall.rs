//! fjall: one insert, then `persist(SyncAll)`.

use crate::store::{Row, Store};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

impl Fjall {
    pub fn open(dir: &Path, log_only: bool) -> Fjall {
        let mut builder = Database::builder(dir.join("fjall"));
        let mut options = KeyspaceCreateOptions::default();
        if log_only {
            builder = builder.max_journaling_size(8 << 30);
            options = options.max_memtable_size(4 << 30);
        }
        let database = builder.open().expect("a database");
        let keyspace = database.keyspace("t", || options).expect("a keyspace");
        Fjall { database, keyspace }
    }
}

impl Store for Fjall {
    fn commit(&self, rows: &[Row]) {
        if let [(key, value)] = rows {
            self.keyspace.insert(key.to_be_bytes(), value.as_slice()).expect("an insert");
        } else {
            let mut batch = self.database.batch();
            for (key, value) in rows {
                batch.insert(&self.keyspace, key.to_be_bytes(), value.as_slice());
            }
            batch.commit().expect("a commit");
        }
        self.database.persist(PersistMode::SyncAll).expect("a sync");
    }

    fn last_key(&self) -> u64 {
        let (key, value) = self.keyspace.last_key_value().expect("a row").into_inner().expect("a read");
        assert!(!value.is_empty());
        u64::from_be_bytes(key.as_ref().try_into().expect("eight bytes"))
    }
}
