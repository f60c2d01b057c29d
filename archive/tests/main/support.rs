//! A database with a random history, and what every version of it held: noted when it was committed, before anything was
//! settled, rewritten or shipped.

use asof_archive::{Archiver, Shipped};
use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use asof_engine::compact::Parameters;
use asof_engine::retention::{Policy, RetentionRequest};
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, CommitTime, Database, ErrorKind, Options, ScanOptions,
    Tag, Upkeep, Version, text,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Every table as CSV, by name.
pub type Content = BTreeMap<String, String>;

/// What a version holds.
pub fn content(database: &Database, version: u64) -> Content {
    let snapshot = database.snapshot(Version(version)).unwrap();
    let csv = |name: String| {
        let schema = snapshot.schema(&name).unwrap();
        let mut out = Vec::new();
        text::write_csv_header(&schema, &mut out);
        for batch in snapshot.scan(&name, ScanOptions::default()).unwrap() {
            text::write_csv_rows(&schema, &batch.unwrap(), &mut out);
        }
        (name, String::from_utf8(out).unwrap())
    };
    snapshot.table_names().unwrap().into_iter().map(csv).collect()
}

pub fn options() -> Options {
    Options { upkeep: Upkeep::Off, copies_rows_min: 0, read_threads: 1, ..Options::default() }
}

/// Nobody looks, and nobody asks to end.
pub fn go_on(_: u64, _: u64) -> bool {
    true
}

/// A database, its archive, and what they should hold.
pub struct World {
    pub dir: tempfile::TempDir,
    pub chance: Chance,
    /// By version.
    pub contents: Vec<Content>,
    pub times: Vec<CommitTime>,
    /// Whether versions are let go at times.
    pub retains: bool,
    database: Option<Database>,
    columns: u64,
}

const KEYED: &str = "orders";
const UNKEYED: &str = "log.events";

impl World {
    pub fn new(seed: u64) -> World {
        let mut world = World {
            dir: tempfile::tempdir().unwrap(),
            chance: Chance(seed),
            contents: vec![Content::new()],
            times: vec![CommitTime::MIN],
            retains: false,
            database: None,
            columns: 0,
        };
        world.open(false);
        world.create();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    pub fn newest(&self) -> u64 {
        self.contents.len() as u64 - 1
    }

    /// Opens the database anew; `loads`: so that every transaction writes data files, and logs their names.
    pub fn open(&mut self, loads: bool) {
        self.database = None;
        let options = Options { transaction_bytes: loads.then_some(0), ..options() };
        self.database = Some(Database::open_or_create(self.path("db"), options).unwrap());
    }

    pub fn close(&mut self) {
        self.database = None;
    }

    fn create(&mut self) {
        let mut transaction = self.database().begin().unwrap();
        let columns = || vec![Column::new("id", ColumnType::Int64), Column::new("note", ColumnType::Text)];
        transaction.create_table(KEYED, columns(), &["id".to_string()]).unwrap();
        transaction.create_table(UNKEYED, columns(), &[]).unwrap();
        let committed = transaction.commit(CommitOptions::default()).unwrap();
        self.note(committed.version);
    }

    fn note(&mut self, version: Version) {
        assert_eq!(version.0, self.contents.len() as u64);
        self.contents.push(content(self.database(), version.0));
        self.times.push(self.database().commit_time(version).unwrap());
    }

    fn rows(&mut self, table: &str) -> RecordBatch {
        let count = 1 + self.chance.below(8) * self.chance.below(8);
        let mut ids: Vec<i64> = (0..count).map(|_| self.chance.below(300) as i64).collect();
        ids.sort_unstable();
        ids.dedup();
        let notes: Vec<String> = ids.iter().map(|_| "n".repeat(self.chance.below(60) as usize)).collect();
        let snapshot = self.database().snapshot(Version(self.newest())).unwrap();
        let schema = snapshot.schema(table).unwrap();
        let mut arrays: Vec<(String, ArrayRef, bool)> = Vec::new();
        for (place, column) in schema.columns.iter().enumerate() {
            let array: ArrayRef = match place {
                0 => Arc::new(Int64Array::from(ids.clone())),
                _ => Arc::new(StringArray::from(
                    notes.iter().map(|note| format!("{note}{place}")).collect::<Vec<_>>(),
                )),
            };
            arrays.push((column.name.clone(), array, place > 0));
        }
        RecordBatch::try_from_iter_with_nullable(arrays).unwrap()
    }

    /// One commit of a random kind.
    pub fn commit(&mut self) {
        let table = if self.chance.below(3) == 0 { UNKEYED } else { KEYED };
        let rows = self.rows(table);
        let mut transaction = self.database().begin().unwrap();
        match self.chance.below(20) {
            0 => {
                self.columns += 1;
                let column = Column::new(format!("more{}", self.columns), ColumnType::Text);
                transaction.alter_table(table, Alteration::AddColumn(column)).unwrap();
            }
            1 => {
                let name = format!("other{}", self.newest());
                transaction
                    .create_table(&name, vec![Column::new("x", ColumnType::Int64)], &["x".to_string()])
                    .unwrap();
            }
            2 => transaction.truncate(table).unwrap(),
            3 | 4 if table == KEYED => {
                let keys = rows.project(&[0]).unwrap();
                transaction.upsert(KEYED, &rows).unwrap();
                transaction.delete(KEYED, &keys.slice(0, 1)).unwrap();
            }
            _ if table == KEYED => transaction.upsert(KEYED, &rows).unwrap(),
            _ => transaction.insert(UNKEYED, &rows).unwrap(),
        }
        let before = Version(self.newest());
        let committed = transaction.commit(CommitOptions::default()).unwrap();
        if committed.version > before {
            self.note(committed.version);
        }
    }

    pub fn checkpoint(&self) {
        self.database().checkpoint().unwrap();
    }

    pub fn compact(&self) {
        self.database().compact(None, &Parameters::BY_HAND).unwrap();
        self.database().release_files().unwrap();
    }

    pub fn tag(&mut self, name: &str) {
        let version = Version(self.chance.below(self.newest() + 1));
        let tag =
            Tag { name: name.to_string(), version, message: None, created: self.times[1], expires: None };
        if let Err(error) = self.database().tag(tag, true) {
            assert!(self.retains && error.kind() == ErrorKind::NotFound, "{error}");
        }
    }

    /// Lets versions go.
    pub fn retain(&mut self) {
        let policy = ["last 3", "last 9", "last 20", "tagged"][self.chance.below(4) as usize];
        let policy = Some(Policy::parse(policy).unwrap());
        let request = RetentionRequest { policy, ..RetentionRequest::default() };
        self.database().retain(&request, &mut |_| true).unwrap();
    }

    /// Something random.
    pub fn step(&mut self) {
        match self.chance.below(16) {
            0 => self.checkpoint(),
            1 => self.compact(),
            2 => {
                let loads = self.chance.below(2) == 0;
                self.open(loads);
            }
            3 => self.tag("moving"),
            4 if self.retains => self.retain(),
            _ => self.commit(),
        }
    }

    pub fn reader(&self) -> Database {
        Database::open_read_only(self.path("db"), options()).unwrap()
    }

    pub fn archiver(&self) -> Archiver {
        Archiver::open(&self.path("archive"), self.reader()).unwrap().0
    }

    /// Ships what is new, by an archiver that begins anew.
    pub fn ship(&self) -> Option<Shipped> {
        self.archiver().ship(&go_on).unwrap()
    }

    /// Every version of a database that should end at one: all of them, or what retention has left; the last one whole.
    pub fn check(&self, database: &Database, newest: u64) {
        assert_eq!(database.refresh().unwrap().0, newest);
        for version in 0..=newest {
            let gone = database.snapshot(Version(version)).unwrap().gone_tables();
            assert!(gone.is_empty() || (self.retains && version < newest), "{gone:?} of {version}");
            let mut expected = self.contents[version as usize].clone();
            gone.iter().for_each(|name| assert!(expected.remove(name).is_some(), "{name} at {version}"));
            assert!(content(database, version) == expected, "version {version} of {newest}");
            assert_eq!(database.commit_time(Version(version)).unwrap(), self.times[version as usize]);
        }
    }
}

/// Opens a database that was made somewhere, and verifies every checksum and invariant of it.
pub fn open_verified(path: &Path) -> Database {
    let database = Database::open_read_only(path, options()).unwrap();
    let report = database.verify().unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    database
}

/// Waits until something is so; fails with what was waited for.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 60, "waited in vain until {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
