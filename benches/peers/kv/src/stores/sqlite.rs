//! SQLite: write-ahead log, `synchronous=FULL`. One connection per thread, or one for all behind a mutex (`shared`).

use crate::store::{Row, Store};
use rusqlite::{Connection, TransactionBehavior, params};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

thread_local! {
    static CONNECTION: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

pub struct Sqlite {
    path: PathBuf,
    connection: Mutex<Connection>,
    shared: bool,
    log_only: bool,
}

fn connect(path: &Path, log_only: bool) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection.busy_timeout(Duration::from_secs(60)).expect("a setting");
    connection.pragma_update(None, "journal_mode", "WAL").expect("a setting");
    connection.pragma_update(None, "synchronous", "FULL").expect("a setting");
    if log_only {
        connection.pragma_update(None, "wal_autocheckpoint", 0).expect("a setting");
    }
    connection
}

fn commit(connection: &mut Connection, rows: &[Row]) {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).expect("a turn");
    {
        let mut insert = transaction
            .prepare_cached("INSERT OR REPLACE INTO t(k, v) VALUES (?1, ?2)")
            .expect("a statement");
        for (key, value) in rows {
            insert.execute(params![*key as i64, value]).expect("an insert");
        }
    }
    transaction.commit().expect("a commit");
}

impl Sqlite {
    pub fn open(dir: &Path, shared: bool, log_only: bool) -> Sqlite {
        let path = dir.join("t.sqlite");
        let connection = connect(&path, log_only);
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS t(k INTEGER PRIMARY KEY, v BLOB)")
            .expect("a table");
        Sqlite { path, connection: Mutex::new(connection), shared, log_only }
    }
}

impl Store for Sqlite {
    fn commit(&self, rows: &[Row]) {
        if self.shared || self.log_only {
            return commit(&mut self.connection.lock().expect("no panic"), rows);
        }
        CONNECTION.with_borrow_mut(|own| commit(own.get_or_insert_with(|| connect(&self.path, false)), rows));
    }

    fn last_key(&self) -> u64 {
        let connection = self.connection.lock().expect("no panic");
        let (key, value): (i64, Vec<u8>) = connection
            .query_row("SELECT k, v FROM t ORDER BY k DESC LIMIT 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("a row");
        assert!(!value.is_empty());
        key as u64
    }

    fn thread_ends(&self) {
        CONNECTION.take();
    }
}
