//! How a database is opened; every default is a named constant.

use crate::clock::{Clock, SystemClock};
use asof_wal::{Disk, LogOptions, RealDisk};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a writer waits for another process's turn to end.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(5);
/// Bytes of log after which a commit starts a checkpoint.
pub const CHECKPOINT_LOG_BYTES_DEFAULT: u64 = 64 << 20;
/// Bytes of decoded keys kept for existence checks.
pub const KEY_CACHE_BYTES_DEFAULT: u64 = 256 << 20;
/// Bytes of rendered files kept in the cache directory.
pub const VIEW_CACHE_BYTES_DEFAULT: u64 = 2 << 30;

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to wait for another process's turn.
    pub wait: Duration,
    /// Bytes of log after which a commit makes a checkpoint; 0 never.
    pub checkpoint_log_bytes: u64,
    /// Bytes of decoded keys kept for existence checks.
    pub key_cache_bytes: u64,
    /// Bytes of rendered files kept in the cache directory.
    pub view_cache_bytes: u64,
    /// Where rendered files are kept; `None`: `$XDG_CACHE_HOME/asof` or `~/.cache/asof`.
    pub view_cache_dir: Option<PathBuf>,
    /// The zone of times written without an offset.
    pub time_zone: jiff::tz::TimeZone,
    /// Sizes of the log's segments, and how long a process keeps its turn; `wait` overrules what it says of waiting.
    pub log: LogOptions,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            wait: WAIT_DEFAULT,
            checkpoint_log_bytes: CHECKPOINT_LOG_BYTES_DEFAULT,
            key_cache_bytes: KEY_CACHE_BYTES_DEFAULT,
            view_cache_bytes: VIEW_CACHE_BYTES_DEFAULT,
            view_cache_dir: None,
            time_zone: jiff::tz::TimeZone::UTC,
            log: LogOptions::default(),
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
        }
    }
}
