//! Database, Transaction, Snapshot: all a user needs.

use crate::asof::AsOf;
use crate::error::Result;
use crate::options::Options;
use crate::view::{Format, View};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use asof_mvcc::{Column, ColumnType, CommitTime, TableSchema, Version};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// An open database. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Database {}

/// What an as-of expression became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The version it names.
    pub version: Version,
    /// That version's commit time; [`CommitTime::MIN`] for version 0.
    pub time: CommitTime,
    /// Whether the same expression may name another version later (`latest`, relative times, tags, times after the
    /// last commit).
    pub moving: bool,
}

/// Rows that a commit inserted, updated and deleted in one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows whose key was not there before.
    pub inserted: u64,
    /// Rows whose key was there before.
    pub updated: u64,
    /// Rows that are gone.
    pub deleted: u64,
}

/// Everything known about a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitInfo {
    /// The version it made.
    pub version: Version,
    /// Its commit time, strictly increasing.
    pub time: CommitTime,
    /// What the clock said; differs where the commit time was given.
    pub wall_time: CommitTime,
    /// Its id (UUIDv7).
    pub id: uuid::Uuid,
    /// The id the caller gave to make the commit idempotent.
    pub client_id: Option<String>,
    /// Who.
    pub author: Option<String>,
    /// The operating system's user.
    pub os_user: String,
    /// The machine.
    pub host: String,
    /// Why.
    pub message: Option<String>,
    /// What: `import`, `apply`, `create-table`, `add-column`, ...
    pub operation: String,
    /// The operation's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Free key/values.
    pub meta: BTreeMap<String, String>,
    /// The version the transaction read.
    pub read_version: Version,
    /// `snapshot` or `serializable`.
    pub isolation: &'static str,
    /// Whether it only added rows without having read any.
    pub blind_append: bool,
    /// Rows changed per table (full name), tables whose schema alone changed included with zeros.
    pub tables: BTreeMap<String, Counts>,
    /// Schema changes: (table, what), such as `("sp500", "drop column Name")`.
    pub schema_changes: Vec<(String, String)>,
    /// Digest of the content (BLAKE3).
    pub content_digest: [u8; 32],
    /// Digest of the content and the chain over all commits before it.
    pub chain_digest: [u8; 32],
}

/// A committed transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The version it made; the version it had read where nothing changed and so nothing was committed.
    pub version: Version,
    /// The commit time of that version.
    pub time: CommitTime,
    /// The commit's id; nil where nothing was committed.
    pub id: uuid::Uuid,
    /// Rows changed per table.
    pub tables: BTreeMap<String, Counts>,
    /// Whether the idempotency id was known, and this is the first answer again.
    pub repeated: bool,
    /// Whether nothing changed, so that no version was made.
    pub unchanged: bool,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The version it names.
    pub version: Version,
    /// Why it was made.
    pub message: Option<String>,
    /// When it was made.
    pub created: CommitTime,
    /// When it ends, if ever.
    pub expires: Option<CommitTime>,
}

/// A table at a version.
#[derive(Clone, Debug, PartialEq)]
pub struct TableInfo {
    /// Full name: `customers` or `gold.customers`.
    pub name: String,
    /// Number of the table, never used again; another one after a drop and create, or a new key.
    pub id: u32,
    /// Its schema at the version.
    pub schema: Arc<TableSchema>,
    /// Its rows at the version.
    pub rows: u64,
    /// The version, at or before this one, that last changed its rows or schema.
    pub changed: Version,
    /// That version's commit time.
    pub changed_time: CommitTime,
}

/// A change to a table's schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Alteration {
    /// A new last column (its id is given by the table).
    AddColumn(Column),
    /// Removes a column; earlier versions keep it.
    DropColumn(String),
    /// Another name for the same column.
    RenameColumn {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// A wider type.
    WidenColumn {
        /// The column.
        name: String,
        /// Its new type.
        to: ColumnType,
    },
}

/// What to say about a commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitOptions {
    /// What: `import`, `apply`, ... (default `write`).
    pub operation: Option<String>,
    /// The operation's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Why.
    pub message: Option<String>,
    /// Who.
    pub author: Option<String>,
    /// Free key/values.
    pub meta: BTreeMap<String, String>,
    /// Makes the commit idempotent: the same id with the same content again gives the first answer and commits
    /// nothing; with other content it is an error.
    pub client_id: Option<String>,
    /// The commit time to use: later than the last commit's, not in the future.
    pub time: Option<CommitTime>,
    /// Make a version even if nothing changed.
    pub allow_empty: bool,
}

/// A comparison in a [`Filter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Which rows a scan gives. Comparisons with null are false.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Column compared with an array of one value of the column's type.
    Compare {
        /// The column's name.
        column: String,
        /// How.
        comparison: Comparison,
        /// One value.
        value: arrow::array::ArrayRef,
    },
    /// The column is null.
    IsNull(String),
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// Either.
    Or(Box<Filter>, Box<Filter>),
    /// Not.
    Not(Box<Filter>),
}

/// What a scan gives.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// Column names in the order wanted; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Which rows.
    pub filter: Option<Filter>,
    /// At most this many rows.
    pub limit: Option<u64>,
}

/// Rows of a table at a version, in key order (order of insertion where there is no key), as a stream of batches.
pub struct Scan {}

impl Scan {
    /// The schema of the batches: the projected columns.
    pub fn schema(&self) -> SchemaRef {
        todo!()
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;
    fn next(&mut self) -> Option<Result<RecordBatch>> {
        todo!()
    }
}

/// What happened to a row in a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeType {
    /// The key was not there before.
    Insert,
    /// The row before an update.
    UpdatePreimage,
    /// The row after an update.
    UpdatePostimage,
    /// The row that is gone.
    Delete,
}

impl ChangeType {
    /// `insert`, `update_preimage`, `update_postimage`, `delete`.
    pub fn name(self) -> &'static str {
        match self {
            ChangeType::Insert => "insert",
            ChangeType::UpdatePreimage => "update_preimage",
            ChangeType::UpdatePostimage => "update_postimage",
            ChangeType::Delete => "delete",
        }
    }
}

/// Which changes [`Database::diff`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffKind {
    /// Net: each key once, as it differs between the two versions, in key order.
    Net,
    /// Every commit's changes, in order of versions, then keys.
    Feed,
}

/// The changes of one table between two versions. Batches have the columns `_change_type` (text), `_commit_version`
/// (uint64), `_commit_timestamp` (timestamp us UTC), then the table's: for a net diff those of the later version (of
/// the earlier one where the table is gone), matched by name; for a feed all that the table had, dropped ones included.
/// In a net diff, version and time are those of the commit that made or ended the row last.
pub struct Diff {}

impl Diff {
    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        todo!()
    }
}

impl Iterator for Diff {
    type Item = Result<RecordBatch>;
    fn next(&mut self) -> Option<Result<RecordBatch>> {
        todo!()
    }
}

/// One row version of a key: its life and the row.
#[derive(Clone, Debug)]
pub struct RowVersion {
    /// The version that made it.
    pub begin: Version,
    /// The version that ended it, if any.
    pub end: Option<Version>,
    /// The schema it was made under.
    pub schema: Arc<TableSchema>,
    /// One row.
    pub row: RecordBatch,
}

/// Bytes and operations since the database was opened, per class of file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// class (`log`, `data`, `ends`, `manifest`, `commit_log`, `changes`, `other`) -> (reads, bytes read, writes,
    /// bytes written, syncs)
    pub files: BTreeMap<&'static str, FileCounters>,
    /// Rows decoded from data files.
    pub rows_decoded: u64,
    /// Parquet pages decoded from data files.
    pub pages_decoded: u64,
}

/// Operations on one class of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounters {
    /// Read calls.
    pub reads: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Write calls.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
}

/// What a checkpoint did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    /// The version up to which everything reads from Parquet alone.
    pub version: Version,
    /// Whether there was anything to do.
    pub done: bool,
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Row versions written.
    pub rows: u64,
}

/// Something that `verify` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the database.
    pub file: String,
    /// Where in it.
    pub offset: Option<u64>,
    /// What is wrong, with what was expected and found.
    pub message: String,
}

/// What `verify` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Row versions checked.
    pub rows: u64,
    /// Log records checked.
    pub records: u64,
    /// Versions from first to last.
    pub versions: u64,
    /// The damage; empty is good.
    pub findings: Vec<Finding>,
}

/// A lease held by a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The manifest it keeps.
    pub manifest: u64,
    /// The process that holds it, where the kernel tells.
    pub pid: Option<u32>,
}

/// Sizes and settings.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// The database's id, as hex.
    pub database_id: String,
    /// The newest version.
    pub version: Version,
    /// Up to where checkpoints reach.
    pub checkpoint_version: Version,
    /// Number of the newest manifest.
    pub manifest: u64,
    /// Tables at the newest version.
    pub tables: u64,
    /// class of file -> (files, bytes). Classes: `log`, `data`, `ends`, `manifest`, `commit_log`, `changes`, `other`.
    pub files: BTreeMap<&'static str, (u64, u64)>,
    /// Bytes of the log that hold records.
    pub log_used_bytes: u64,
    /// Bytes of the log on disk.
    pub log_allocated_bytes: u64,
    /// Row versions in data files.
    pub row_versions: u64,
    /// Tags.
    pub tags: u64,
    /// Who keeps files alive.
    pub leases: Vec<LeaseInfo>,
}

impl Database {
    /// Makes a database in a directory that is missing or empty.
    pub fn create(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        let _ = (path.as_ref(), options);
        todo!()
    }

    /// Opens a database for reading and writing.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        let _ = (path.as_ref(), options);
        todo!()
    }

    /// Opens a database for reading; works on read-only media.
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        let _ = (path.as_ref(), options);
        todo!()
    }

    /// Opens the database, or makes it where the directory is missing or empty.
    pub fn open_or_create(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        let _ = (path.as_ref(), options);
        todo!()
    }

    /// Whether a directory holds a database.
    pub fn exists(path: impl AsRef<Path>, options: &Options) -> Result<bool> {
        let _ = (path.as_ref(), options);
        todo!()
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// The database's id.
    pub fn id(&self) -> [u8; 16] {
        todo!()
    }

    /// Options it was opened with.
    pub fn options(&self) -> &Options {
        todo!()
    }

    /// Takes note of what other processes committed; gives the newest version.
    pub fn refresh(&self) -> Result<Version> {
        todo!()
    }

    /// The newest version known to this handle (see [`Database::refresh`]).
    pub fn latest(&self) -> Result<Version> {
        todo!()
    }

    /// Begins a transaction that reads the newest version.
    pub fn begin(&self) -> Result<Transaction> {
        todo!()
    }

    /// Which version an as-of expression names.
    pub fn resolve(&self, asof: &AsOf) -> Result<Resolved> {
        let _ = asof;
        todo!()
    }

    /// A snapshot at an as-of expression as people type it: `42`, `latest`, `tag:q3`, `2025-08-26T10:00`, `1h-ago`.
    pub fn at(&self, expression: &str) -> Result<Snapshot> {
        self.snapshot(self.resolve(&AsOf::parse(expression, &self.options().time_zone)?)?.version)
    }

    /// A snapshot of a version.
    pub fn snapshot(&self, version: Version) -> Result<Snapshot> {
        let _ = version;
        todo!()
    }

    /// What a commit was; version 0 has none.
    pub fn commit_info(&self, version: Version) -> Result<CommitInfo> {
        let _ = version;
        todo!()
    }

    /// The commit time of a version; [`CommitTime::MIN`] for version 0.
    pub fn commit_time(&self, version: Version) -> Result<CommitTime> {
        let _ = version;
        todo!()
    }

    /// The last version whose commit time is at or before `time`.
    pub fn version_at(&self, time: CommitTime) -> Result<Version> {
        let _ = time;
        todo!()
    }

    /// Changes of one table in (from, to].
    pub fn diff(&self, from: Version, to: Version, table: &str, kind: DiffKind) -> Result<Diff> {
        let _ = (from, to, table, kind);
        todo!()
    }

    /// Every version of one row, oldest first. `key` is a batch of one row with the table's key columns.
    pub fn history(&self, table: &str, key: &RecordBatch) -> Result<Vec<RowVersion>> {
        let _ = (table, key);
        todo!()
    }

    /// The versions at which rows or schema of a table (by full name) changed, ascending, within (after, up_to].
    pub fn table_versions(&self, table: &str, after: Version, up_to: Version) -> Result<Vec<Version>> {
        let _ = (table, after, up_to);
        todo!()
    }

    /// Names a version.
    pub fn tag(&self, tag: Tag, force: bool) -> Result<()> {
        let _ = (tag, force);
        todo!()
    }

    /// Removes a tag.
    pub fn remove_tag(&self, name: &str) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// All tags by name, expired ones left out.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        todo!()
    }

    /// Turns the log into Parquet.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        todo!()
    }

    /// Checks every checksum and invariant.
    pub fn verify(&self) -> Result<VerifyReport> {
        todo!()
    }

    /// Sizes, settings, leases.
    pub fn info(&self) -> Result<Info> {
        todo!()
    }

    /// Bytes and operations so far.
    pub fn counters(&self) -> Counters {
        todo!()
    }

    /// The commit log as a file: columns version, time, wall_time, id, operation, author, host, message, tables, ...
    /// at the newest version, one row a commit, oldest first.
    pub fn log_view(&self, format: Format) -> Result<Arc<View>> {
        let _ = format;
        todo!()
    }
}

/// Changes to several tables that become one version, or nothing.
pub struct Transaction {}

impl Transaction {
    /// The version it reads.
    pub fn read_version(&self) -> Version {
        todo!()
    }

    /// The schema of a table as this transaction sees it, its own changes included.
    pub fn schema(&self, table: &str) -> Result<Arc<TableSchema>> {
        let _ = table;
        todo!()
    }

    /// Whether this transaction sees a table.
    pub fn has_table(&self, table: &str) -> bool {
        let _ = table;
        todo!()
    }

    /// Makes a table. `key` names the key columns, empty for a table without a key.
    pub fn create_table(&mut self, table: &str, columns: Vec<Column>, key: &[String]) -> Result<()> {
        let _ = (table, columns, key);
        todo!()
    }

    /// Drops a table; earlier versions keep it.
    pub fn drop_table(&mut self, table: &str) -> Result<()> {
        let _ = table;
        todo!()
    }

    /// Changes a table's schema.
    pub fn alter_table(&mut self, table: &str, alteration: Alteration) -> Result<()> {
        let _ = (table, alteration);
        todo!()
    }

    /// Gives the table another key and replaces all its rows with `rows`: every old row counts as deleted, every new
    /// one as inserted.
    pub fn rekey_table(&mut self, table: &str, columns: Vec<Column>, key: &[String]) -> Result<()> {
        let _ = (table, columns, key);
        todo!()
    }

    /// Adds rows; a key that exists is an error ([`crate::ErrorKind::Exists`]). Batches have columns by name, in any
    /// order; columns that are missing get their default or null; a column the table does not have is an error. Column
    /// types must be the table's or narrower.
    pub fn insert(&mut self, table: &str, rows: &RecordBatch) -> Result<()> {
        let _ = (table, rows);
        todo!()
    }

    /// Adds rows, replacing those whose key exists.
    pub fn upsert(&mut self, table: &str, rows: &RecordBatch) -> Result<()> {
        let _ = (table, rows);
        todo!()
    }

    /// Changes the given columns of rows whose keys exist; a key that does not is an error. `rows` has the key columns
    /// and those to change.
    pub fn update(&mut self, table: &str, rows: &RecordBatch) -> Result<()> {
        let _ = (table, rows);
        todo!()
    }

    /// Deletes rows by key; a key that does not exist is an error. `keys` has the key columns by name.
    pub fn delete(&mut self, table: &str, keys: &RecordBatch) -> Result<()> {
        let _ = (table, keys);
        todo!()
    }

    /// Deletes all rows.
    pub fn truncate(&mut self, table: &str) -> Result<()> {
        let _ = table;
        todo!()
    }

    /// Makes `rows` the whole table: what differs by key (as a multiset, where there is no key) is inserted, updated
    /// and deleted; what is equal is left alone. Gives the counts.
    pub fn replace(&mut self, table: &str, rows: &[RecordBatch]) -> Result<Counts> {
        let _ = (table, rows);
        todo!()
    }

    /// One row as this transaction sees it, its own changes included. `key` has the key columns and one row.
    pub fn get(&self, table: &str, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        let _ = (table, key);
        todo!()
    }

    /// Rows that would be inserted, updated and deleted, per table: what `commit` would answer now.
    pub fn counts(&self) -> Result<BTreeMap<String, Counts>> {
        todo!()
    }

    /// Makes the changes durable as the next version. On return they are on disk.
    pub fn commit(self, options: CommitOptions) -> Result<Committed> {
        let _ = options;
        todo!()
    }
}

/// One version, pinned: its files stay as long as this lives.
#[derive(Clone)]
pub struct Snapshot {}

impl Snapshot {
    /// The version.
    pub fn version(&self) -> Version {
        todo!()
    }

    /// Its commit time; [`CommitTime::MIN`] for version 0.
    pub fn time(&self) -> CommitTime {
        todo!()
    }

    /// All tables, by name, without counting rows or reading sums.
    pub fn table_names(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// One table. An unknown one is [`crate::ErrorKind::NotFound`] with the nearest names.
    pub fn table(&self, table: &str) -> Result<TableInfo> {
        let _ = table;
        todo!()
    }

    /// Reads rows in key order.
    pub fn scan(&self, table: &str, options: ScanOptions) -> Result<Scan> {
        let _ = (table, options);
        todo!()
    }

    /// One row by key. `key` has the key columns by name and one row.
    pub fn get(&self, table: &str, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        let _ = (table, key);
        todo!()
    }

    /// The exact size of a table as a file. From metadata alone for CSV and JSON Lines.
    pub fn view_size(&self, table: &str, format: Format) -> Result<u64> {
        let _ = (table, format);
        todo!()
    }

    /// A table as a file.
    pub fn view(&self, table: &str, format: Format) -> Result<Arc<View>> {
        let _ = (table, format);
        todo!()
    }
}
