//! A file of the cache that is being written.
//!
//! Invariant: it goes with who writes it, and with their process, unless it got its name. Where the file system knows
//! files without names it has none before; elsewhere it has one that begins with [`TEMPORARY_PREFIX`], and a lock as long
//! as it is written, so that others can tell what was left by the dead.

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What names begin with of files that are being written.
pub(super) const TEMPORARY_PREFIX: &str = "tmp-";

/// Removes a temporary file unless the process that writes it lives: that one holds its lock.
pub(super) fn remove_if_abandoned(path: &Path) {
    let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) else { return };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = std::fs::remove_file(path);
    }
}

/// A name for a file being written that no other one has.
fn temporary_path(directory: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let (process, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    directory.join(format!("{TEMPORARY_PREFIX}asof-{process}-{count}"))
}

/// A file being written, that goes when it is dropped without having got a name: at once where it has none meanwhile,
/// which not every file system knows.
pub(super) struct Temporary {
    pub(super) file: File,
    /// Its name until then, if it has one.
    path: Option<PathBuf>,
}

impl Temporary {
    pub(super) fn create(directory: &Path) -> io::Result<Temporary> {
        if let Ok(temporary) = Temporary::unnamed(directory) {
            return Ok(temporary);
        }
        loop {
            let path = temporary_path(directory);
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o400).open(&path) {
                Ok(file) => {
                    let temporary = Temporary { file, path: Some(path) };
                    rustix::fs::flock(&temporary.file, FlockOperation::NonBlockingLockExclusive)?;
                    return Ok(temporary);
                }
                // A process of the same number died here earlier.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A file without a name in a directory.
    fn unnamed(directory: &Path) -> io::Result<Temporary> {
        let (flags, mode) = (OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR);
        let temporary = Temporary { file: rustix::fs::open(directory, flags, mode)?.into(), path: None };
        // What is not found there can neither be read nor get a name.
        temporary.reader()?;
        Ok(temporary)
    }

    /// A file that is nowhere but in memory.
    pub(super) fn in_memory() -> io::Result<Temporary> {
        let file = rustix::fs::memfd_create("asof-view", rustix::fs::MemfdFlags::CLOEXEC)?;
        Ok(Temporary { file: file.into(), path: None })
    }

    /// Another descriptor of the file, for reading alone.
    pub(super) fn reader(&self) -> io::Result<File> {
        let Some(path) = &self.path else {
            return File::open(self.descriptor());
        };
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let same = |a: Metadata, b: Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        match same(reader.metadata()?, self.file.metadata()?) {
            true => Ok(reader),
            false => Err(io::Error::other("a temporary file was replaced by another")),
        }
    }

    fn descriptor(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// Gives it its name, in the directory it was made in, in place of who has that.
    pub(super) fn rename(&mut self, to: &Path) -> io::Result<()> {
        if self.path.is_none() {
            let link =
                |to: &Path| rustix::fs::linkat(CWD, self.descriptor(), CWD, to, AtFlags::SYMLINK_FOLLOW);
            match link(to) {
                Err(Errno::EXIST) => {
                    // Only a name takes the place of another. Nobody takes it away meanwhile.
                    rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive)?;
                    let path = temporary_path(to.parent().unwrap_or(Path::new(".")));
                    link(&path)?;
                    self.path = Some(path);
                }
                linked => return Ok(linked?),
            }
        }
        if let Some(path) = &self.path {
            std::fs::rename(path, to)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
