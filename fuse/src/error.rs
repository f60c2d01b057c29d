//! What can go wrong: [`Error`] for those who mount and unmount, [`Refusal`] for those who ask the file system.

use std::path::PathBuf;

/// The result of mounting and unmounting.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a database could not be mounted or a mount not be ended: one line that says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory cannot be a mount point.
    #[error("cannot mount at {}: {reason}", path.display())]
    MountPoint {
        /// The directory.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The process that served the mount is gone.
    #[error("{} is a dead mount: the process that served it is gone; end it with: asof umount {}", path.display(), path.display())]
    Dead {
        /// The mount point.
        path: PathBuf,
    },
    /// Nothing can be unmounted there.
    #[error("cannot unmount {}: {reason}", path.display())]
    Unreachable {
        /// The directory.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// Not a mount of asof.
    #[error("{} is not a mount of asof{found}", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What is there instead, from ": ".
        found: String,
    },
    /// The mount is in use.
    #[error("{} is in use: close what is open there (see: fuser -vm {}), or detach it with: umount -l {}", path.display(), path.display(), path.display())]
    Busy {
        /// The mount point.
        path: PathBuf,
    },
    /// This machine, or this user, cannot mount.
    #[error("cannot mount: {0}")]
    NotPossible(String),
    /// The operating system failed a call.
    #[error("{what}: {source}")]
    System {
        /// What was tried, and on what.
        what: String,
        /// How it failed.
        source: std::io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Engine(#[from] asof_engine::Error),
}

impl Error {
    /// A failed call of the operating system.
    pub fn system(what: impl Into<String>, source: impl Into<std::io::Error>) -> Error {
        Error::System { what: what.into(), source: source.into() }
    }
}

/// Why the file system does not do what it is asked. [`crate::errno`] has the number of each.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing of this name is there.
    #[error("no such file or directory")]
    Missing,
    /// The past cannot be changed.
    #[error("the past cannot be changed")]
    ReadOnly,
    /// A file where a directory is needed.
    #[error("not a directory")]
    NotDirectory,
    /// A directory where a file is needed.
    #[error("is a directory")]
    IsDirectory,
    /// Not a symbolic link.
    #[error("not a symbolic link")]
    NotLink,
    /// A name longer than 255 bytes.
    #[error("file name too long")]
    NameTooLong,
    /// No data, or no hole, from there on.
    #[error("nothing there")]
    NoData,
    /// A way to seek that is none of those the kernel leaves to a file system.
    #[error("unknown way to seek")]
    BadSeek,
    /// A number of an open file that is not open.
    #[error("not open")]
    NotOpen,
    /// The kernel asks for an inode it was not told, or that is now another file: it has to look up the name again.
    #[error("stale")]
    Stale,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] asof_engine::Error),
}
