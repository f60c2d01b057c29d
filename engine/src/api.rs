//! Database, Transaction, Snapshot: all a user needs.

use arrow::record_batch::RecordBatch;
use asof_mvcc::{Column, ColumnType, CommitTime, TableSchema, Version};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::checksum::{DatabaseChecksum, TableChecksum};
pub use crate::database::Database;
pub use crate::diff::Diff;
pub use crate::lives::RowLives;
pub use crate::past::{PastColumn, PastQuestion, PastRows, PastTable, VersionRange};
pub use crate::row_history::{Blame, Blamed, BlamedColumn};
pub use crate::scan::Scan;
pub use crate::scan::parts::Part;
pub use crate::snapshot::Snapshot;
pub use crate::transaction::Transaction;
pub use crate::transaction::overlay::{ROW_COLUMN, TransactionTable};

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

impl Counts {
    /// How many images of rows a feed has of them.
    pub fn images(self) -> u64 {
        self.inserted.saturating_add(self.deleted).saturating_add(self.updated.saturating_mul(2))
    }

    /// Those of a table that comes back with so many rows, which these then change: before, it had none.
    pub(crate) fn of_revived(self, rows: u64) -> Counts {
        let inserted = rows.saturating_add(self.inserted).saturating_sub(self.deleted);
        Counts { inserted, updated: 0, deleted: 0 }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.inserted = self.inserted.saturating_add(other.inserted);
        self.updated = self.updated.saturating_add(other.updated);
        self.deleted = self.deleted.saturating_add(other.deleted);
    }
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

impl CommitInfo {
    /// Who: the author, or the operating system's user where none was given.
    pub fn who(&self) -> &str {
        self.author.as_ref().unwrap_or(&self.os_user)
    }

    /// Why, in one line: the first of the message, or what it was where there is none.
    pub fn why(&self) -> &str {
        let message = self.message.as_deref().and_then(|message| message.lines().next());
        message.unwrap_or(&self.operation)
    }
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
    /// A condition that every row fulfils from now on, those that are there included.
    AddCheck(asof_mvcc::Check),
    /// Removes a check.
    DropCheck(String),
    /// A wider type.
    WidenColumn {
        /// The column.
        name: String,
        /// Its new type.
        to: ColumnType,
    },
}

/// What a transaction may see of others that commit while it is open; `docs/isolation.md` has it in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// It reads one version, and commits if nobody wrote the same rows since. Write skew is possible.
    #[default]
    Snapshot,
    /// It reads one version, and commits if nobody changed what it read or wrote since: as if transactions ran one
    /// after the other, in the order of their versions.
    Serializable,
}

impl Isolation {
    /// `snapshot` or `serializable`.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Snapshot => "snapshot",
            Isolation::Serializable => "serializable",
        }
    }
}

impl std::str::FromStr for Isolation {
    type Err = crate::Error;

    fn from_str(name: &str) -> crate::Result<Isolation> {
        match name {
            "snapshot" => Ok(Isolation::Snapshot),
            "serializable" => Ok(Isolation::Serializable),
            _ => Err(crate::Error::invalid(format!(
                "'{name}' is no isolation level; give snapshot or serializable"
            ))),
        }
    }
}

/// How a transaction is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionOptions {
    /// What it may see of others.
    pub isolation: Isolation,
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
    /// nothing; with other content it is an error. A version is made even if nothing changed, since it is by its
    /// version that an id is remembered.
    pub client_id: Option<String>,
    /// The commit time to use: later than the last commit's, not in the future.
    pub time: Option<CommitTime>,
    /// With `client_id`: a digest of what is asked for, where the changes alone do not tell (they are what differs from
    /// the table as it is, say). Without it the changes are digested.
    pub request_digest: Option<[u8; 32]>,
    /// Make a version even if nothing changed. With `client_id` one is made in any case.
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
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// Column names in the order wanted; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Which rows.
    pub filter: Option<Filter>,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// Whether rows come in key order (order of insertion where there is no key). Without it a scan is faster, and reads
    /// no key that it does not give.
    pub ordered: bool,
}

impl Default for ScanOptions {
    fn default() -> ScanOptions {
        ScanOptions { columns: None, filter: None, limit: None, ordered: true }
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

/// One row version of a key: its life and the row.
#[derive(Clone, Debug)]
pub struct RowVersion {
    /// Number of the table: another one where it was dropped and made again.
    pub table: u32,
    /// The version that made it.
    pub begin: Version,
    /// The version that ended it, if any.
    pub end: Option<Version>,
    /// The schema it was made under.
    pub schema: Arc<TableSchema>,
    /// One row.
    pub row: RecordBatch,
    /// The schema it was last seen under: that of the version before its end.
    pub last_schema: Arc<TableSchema>,
    /// The same row under that schema.
    pub last_row: RecordBatch,
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
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// How many percent of the row groups were looked at; none for all.
    pub sampled_percent: Option<f64>,
    /// What a salvage cut off the log and put aside: files, relative to the database, and their lengths.
    pub aside: Vec<(String, u64)>,
}

/// What a salvage of the log did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// The newest version now.
    pub version: Version,
    /// The damage, behind which nothing could be kept.
    pub damage: String,
}

/// A lease held by a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The manifest it keeps.
    pub manifest: u64,
    /// The process that holds it, where the kernel tells.
    pub pid: Option<u32>,
    /// Seconds since that process was started, where the kernel tells: the lease is no older.
    pub age_seconds: Option<u64>,
}

/// A data file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFileInfo {
    /// Its path, relative to the database.
    pub path: String,
    /// The table whose row versions it holds.
    pub table: String,
    /// Row versions in it.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// Whether all of its row versions have ended, and it says when.
    pub is_history: bool,
    /// The first version that reads it.
    pub valid_from: Version,
    /// The first version after that which does not.
    pub valid_to: Option<Version>,
    /// The lowest version that began one of its rows.
    pub first_begin: Version,
    /// The highest.
    pub last_begin: Version,
    /// The lowest version that ended one of its rows, of files that say so.
    pub first_end: Option<Version>,
    /// The highest.
    pub last_end: Option<Version>,
}

/// Sizes and settings.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// The database's id, as hex.
    pub database_id: String,
    /// The newest version; where there is damage of the log, the newest that can be read.
    pub version: Version,
    /// Damage of the log: what lies behind it cannot be read, and nothing is written.
    pub damage: Option<String>,
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
    /// Bytes of data files that compaction would rewrite by itself.
    pub compaction_debt_bytes: u64,
    /// Tags.
    pub tags: u64,
    /// Bytes of memory that changes take which no checkpoint has settled, in this process.
    pub memory_bytes: u64,
    /// Why the last checkpoint of this process's upkeep failed, if it did; it is tried again.
    pub upkeep_error: Option<String>,
    /// Who keeps files alive.
    pub leases: Vec<LeaseInfo>,
}
