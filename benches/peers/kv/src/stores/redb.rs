//! redb, with its default durability; `quick`: with quick repair, which needs no repair after a crash.

use crate::store::{Row, Store};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");

pub struct Redb {
    database: Database,
    quick: bool,
}

impl Redb {
    pub fn open(dir: &Path, quick: bool) -> Redb {
        Redb { database: Database::create(dir.join("t.redb")).expect("a database"), quick }
    }
}

impl Store for Redb {
    fn commit(&self, rows: &[Row]) {
        let mut transaction = self.database.begin_write().expect("a turn");
        transaction.set_quick_repair(self.quick);
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for (key, value) in rows {
                table.insert(*key, value.as_slice()).expect("an insert");
            }
        }
        transaction.commit().expect("a commit");
    }

    fn last_key(&self) -> u64 {
        let table = self.database.begin_read().expect("a snapshot").open_table(TABLE).expect("a table");
        let (key, value) = table.last().expect("a read").expect("a row");
        assert!(!value.value().is_empty());
        key.value()
    }
}
