//! How a database is opened; every default is a named constant.

use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use arrow::record_batch::RecordBatch;
use asof_mvcc::TableSchema;
use asof_wal::{Disk, LogOptions, RealDisk};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a writer waits for another process's turn to end.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(5);
/// Bytes of log after which a checkpoint is made; small databases make one sooner.
pub const CHECKPOINT_LOG_BYTES_DEFAULT: u64 = 64 << 20;
/// Bytes of log below which no checkpoint is made for their sake.
pub const CHECKPOINT_LOG_BYTES_MIN: u64 = 4 << 20;
/// How long a commit may wait for a checkpoint to settle it.
pub const CHECKPOINT_AGE_DEFAULT: Duration = Duration::from_secs(60);
/// Bytes of log that are settled before the usual time, when nobody commits any more: who opens the database next would
/// have to read them.
pub const SETTLE_LOG_BYTES_DEFAULT: u64 = 256 << 10;
/// How long nobody commits before that.
pub const SETTLE_IDLE_DEFAULT: Duration = Duration::from_secs(1);
/// How long a commit waits for room in memory.
pub const ROOM_WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// Bytes of memory that a database may take.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 << 20;
/// The least that makes sense: below it, this is used.
pub const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// Rows of a table below which a diff reads the table as fast as a copy of what changed.
pub const COPIES_ROWS_MIN_DEFAULT: u64 = 32_768;
/// Bytes of rendered files kept in the cache directory.
pub const VIEW_CACHE_BYTES_DEFAULT: u64 = 2 << 30;
/// Bytes of CSV and JSON Lines files that are rendered at a time, about.
pub const TEXT_SECTION_BYTES_DEFAULT: u64 = 4 << 20;

/// Who makes checkpoints, and whatever else need not be done at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// A thread of the open database, started when first needed.
    #[default]
    Background,
    /// The commit that makes it due, before it returns: what happens when is the same in every run.
    Inline,
    /// Nobody: [`crate::Database::checkpoint`] and [`crate::Database::upkeep_step`] are there to be called.
    Off,
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to wait for another process's turn.
    pub wait: Duration,
    /// Whether a database opened for writing keeps other processes from writing until it is closed. Otherwise writers
    /// take turns.
    pub exclusive: bool,
    /// Who makes checkpoints.
    pub upkeep: Upkeep,
    /// Bytes of log after which a checkpoint is made; 0 never. A database whose data files are less than eight times as
    /// long makes one sooner: after an eighth of their length, but not below [`CHECKPOINT_LOG_BYTES_MIN`].
    pub checkpoint_log_bytes: u64,
    /// Rows of a table from which on a checkpoint writes what the newest versions changed once more, so that diffs of
    /// them read little else; with `u64::MAX` none are written, nor read where there are any.
    pub copies_rows_min: u64,
    /// How many threads a scan decodes on; with 1 everything is read in the caller's, in order.
    pub read_threads: usize,
    /// How long after a commit a checkpoint is made at the latest, by a thread of upkeep.
    pub checkpoint_age: Duration,
    /// Bytes of log that a thread of upkeep settles when the last handle is closed, or when nobody has committed for
    /// `settle_idle`, so that whoever opens the database next need not read them; 0 never. A shorter tail stays, so that
    /// a process that lives for one small commit pays for no checkpoint.
    pub settle_log_bytes: u64,
    /// How long nobody commits before such a tail is settled.
    pub settle_idle: Duration,
    /// How long a commit waits where the changes in memory have no room left.
    pub room_wait: Duration,
    /// Bytes of memory that the database may take, divided among changes not settled yet, keys kept for existence
    /// checks, scans, sorts and compaction.
    pub memory_bytes: u64,
    /// Bytes of rows that open transactions hold, all together, before rows go to temporary files; `None`: an eighth of
    /// the budget. With 0 no transaction holds any.
    pub transaction_bytes: Option<u64>,
    /// Bytes of rendered files kept in the cache directory.
    pub view_cache_bytes: u64,
    /// Where rendered files are kept; `None`: `$XDG_CACHE_HOME/asof` or `~/.cache/asof`.
    pub view_cache_dir: Option<PathBuf>,
    /// Bytes of CSV and JSON Lines files that are rendered at a time, about: who reads a byte waits for no more.
    pub text_section_bytes: u64,
    /// The zone of times written without an offset.
    pub time_zone: jiff::tz::TimeZone,
    /// Sizes of the log's segments, and how long a process keeps its turn; `wait` overrules what it says of waiting.
    pub log: LogOptions,
    /// Who evaluates checks; without it, tables that have some are not written.
    pub checks: Option<Arc<dyn CheckRows>>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Evaluates the checks of tables: whoever knows their language.
pub trait CheckRows: std::fmt::Debug + Send + Sync {
    /// An error where a check of a schema cannot be evaluated on rows of it.
    fn validate(&self, schema: &TableSchema) -> Result<()>;

    /// An error that names the check and a row where a row does not fulfil one. The batch has the columns of the schema.
    fn check(&self, schema: &Arc<TableSchema>, rows: &RecordBatch) -> Result<()>;
}

impl Default for Options {
    fn default() -> Options {
        Options {
            wait: WAIT_DEFAULT,
            exclusive: false,
            upkeep: Upkeep::default(),
            checkpoint_log_bytes: CHECKPOINT_LOG_BYTES_DEFAULT,
            copies_rows_min: COPIES_ROWS_MIN_DEFAULT,
            read_threads: crate::pool::default_width(),
            checkpoint_age: CHECKPOINT_AGE_DEFAULT,
            settle_log_bytes: SETTLE_LOG_BYTES_DEFAULT,
            settle_idle: SETTLE_IDLE_DEFAULT,
            room_wait: ROOM_WAIT_DEFAULT,
            memory_bytes: MEMORY_BYTES_DEFAULT,
            transaction_bytes: None,
            view_cache_bytes: VIEW_CACHE_BYTES_DEFAULT,
            view_cache_dir: None,
            text_section_bytes: TEXT_SECTION_BYTES_DEFAULT,
            time_zone: jiff::tz::TimeZone::UTC,
            log: LogOptions::default(),
            checks: None,
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
        }
    }
}

/// The parts of the budget. They add up to it.
impl Options {
    fn memory(&self) -> u64 {
        self.memory_bytes.max(MEMORY_BYTES_MIN)
    }

    /// Changes that no data file holds yet: at half of it a checkpoint is made, at all of it commits wait.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        self.memory() * 3 / 8
    }

    /// Rows that compaction holds at a time.
    pub(crate) fn compaction_bytes(&self) -> u64 {
        self.memory() / 8
    }

    /// What was read of files of past states, in memory, and what is rendered ahead of readers: a process that has many of
    /// them open loads little.
    pub(crate) fn view_bytes(&self) -> u64 {
        self.memory() / 8
    }

    /// Decoded keys kept for existence checks.
    pub(crate) fn key_cache_bytes(&self) -> u64 {
        self.memory() / 4
    }

    /// What a load takes: half of it rows that are sorted, half of it rows that are encoded.
    pub(crate) fn load_bytes(&self) -> u64 {
        self.memory() / 4
    }

    /// Rows that open transactions hold, all together: what is beyond it goes to temporary files, and takes the half of
    /// a load's memory that is for sorting.
    pub(crate) fn transaction_bytes(&self) -> u64 {
        self.transaction_bytes.unwrap_or(self.load_bytes() / 2)
    }
}
