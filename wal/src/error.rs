//! What can go wrong in the log. Each kind tells the caller what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a file operation. Nothing was acknowledged by the call that returned this.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Bytes that were once synced are not what they were. What precedes them stays readable.
    #[error("{} is damaged at offset {offset}: {detail} (expected {expected}, found {found})", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage was met.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
        /// How it is known to be damage and not the end of the log.
        detail: String,
    },
    /// A segment that should hold a record is not there: lost, or retired since the caller learned of the position.
    #[error("{} is missing: it should hold the record of sequence {sequence}", file.display())]
    Missing {
        /// The segment's file.
        file: PathBuf,
        /// The record looked for.
        sequence: u64,
    },
    /// A newer release wrote this file.
    #[error("{} has format version {found}; this release reads up to {supported}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest one this release reads.
        supported: u32,
    },
    /// Another process or thread kept the turn for longer than the caller would wait.
    #[error("the log is locked{}", match pid { Some(pid) => format!(" by process {pid}"), None => String::new() })]
    Locked {
        /// The holder, where it is known.
        pid: Option<u32>,
    },
    /// A write or sync failed earlier: this handle does no more work. Reopen the log.
    #[error("the log refuses further work until it is reopened, because a write failed: {reason}")]
    Poisoned {
        /// The text of the first error.
        reason: String,
        /// Whether the disk (or a quota) was full.
        full: bool,
    },
    /// The log was opened for reading only.
    #[error("the log is open for reading only")]
    ReadOnly,
    /// A payload longer than a record can hold.
    #[error("a record of {bytes} bytes is too large: the most is {most}")]
    TooLarge {
        /// The payload's length.
        bytes: u64,
        /// The longest payload.
        most: u64,
    },
}

impl Error {
    /// Turns the system's reason into an error that names the operation and the file.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { operation, path: path.to_path_buf(), source }
    }

    /// Whether the disk (or a quota) is full, so that the same work may succeed once space exists.
    pub fn is_full(&self) -> bool {
        match self {
            Error::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Error::Poisoned { full, .. } => *full,
            _ => false,
        }
    }
}
