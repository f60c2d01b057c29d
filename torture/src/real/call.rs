//! A disk wrapper that tells of every call that changes something, before and after it is done.
//!
//! What is done about it is the [`Watcher`]'s: one kills the process, one records. Reads pass by; so does what else
//! leaves no trace on a disk.

use asof_wal::{DirEntry, Disk, DiskFile, FileId, LockKind, Metadata, OpenMode, SharedWords};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A call that changes something.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// A file is made.
    Create(&'a Path),
    /// A file that is there is opened for writing.
    Open(&'a Path),
    /// Bytes are written.
    Write(u64, &'a [u8]),
    /// A file is cut or extended.
    SetLen(u64),
    /// A file is synced, metadata too or not.
    Sync,
    /// A lock is taken.
    Lock,
    /// A lock is given back.
    Unlock,
    /// A directory is made.
    CreateDir(&'a Path),
    /// A file gets another name.
    Rename(&'a Path, &'a Path),
    /// A file loses its name.
    Remove(&'a Path),
    /// A directory loses its name.
    RemoveDir(&'a Path),
    /// A directory is synced.
    SyncDir(&'a Path),
    /// A word of a shared map is changed.
    Store,
}

/// What is told of calls. `file` is the number that [`Watcher::opened`] gave, 0 where the call is about a path.
pub trait Watcher: Send + Sync + std::fmt::Debug + 'static {
    /// Does a call through `perform`, which does it on the disk below; for writes, so much of it from the start as is
    /// asked for.
    fn call(
        &self,
        file: u64,
        call: Call<'_>,
        perform: &mut dyn FnMut(Option<usize>) -> io::Result<usize>,
    ) -> io::Result<usize>;
    /// The number of a file that was opened for writing.
    fn opened(&self, path: &Path) -> u64;
}

/// The wrapper.
#[derive(Debug)]
pub struct WatchedDisk<W> {
    below: Arc<dyn Disk>,
    watcher: Arc<W>,
}

impl<W: Watcher> WatchedDisk<W> {
    /// Watches what is done on a disk.
    pub fn new(below: Arc<dyn Disk>, watcher: Arc<W>) -> WatchedDisk<W> {
        WatchedDisk { below, watcher }
    }

    fn path_call(&self, call: Call<'_>, perform: impl Fn() -> io::Result<()>) -> io::Result<()> {
        self.watcher.call(0, call, &mut |_| perform().map(|()| 0)).map(drop)
    }
}

impl<W: Watcher> Disk for WatchedDisk<W> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::Read {
            return self.below.open(path, mode);
        }
        let makes = mode != OpenMode::ReadWrite && !self.below.exists(path)?;
        let call = if makes { Call::Create(path) } else { Call::Open(path) };
        let mut opened = None;
        self.watcher.call(0, call, &mut |_| {
            opened = Some(self.below.open(path, mode)?);
            Ok(0)
        })?;
        let below = opened.expect("the watcher performs what it does not fail");
        let number = self.watcher.opened(path);
        Ok(Arc::new(WatchedFile { below, number, watcher: Arc::clone(&self.watcher) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.path_call(Call::CreateDir(path), || self.below.create_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.below.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.path_call(Call::Rename(from, to), || self.below.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.path_call(Call::Remove(path), || self.below.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.path_call(Call::RemoveDir(path), || self.below.remove_dir(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.path_call(Call::SyncDir(dir), || self.below.sync_dir(dir))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.below.metadata(path)
    }

    fn shared_map(&self, path: &Path, len: usize, write: bool) -> io::Result<Arc<dyn SharedWords>> {
        let below = self.below.shared_map(path, len, write)?;
        Ok(Arc::new(WatchedWords { below, watcher: Arc::clone(&self.watcher) }))
    }

    fn boot_id(&self) -> [u8; 16] {
        self.below.boot_id()
    }

    fn process_id(&self) -> u32 {
        self.below.process_id()
    }
}

#[derive(Debug)]
struct WatchedFile<W> {
    below: Arc<dyn DiskFile>,
    number: u64,
    watcher: Arc<W>,
}

impl<W: Watcher> WatchedFile<W> {
    fn call(&self, call: Call<'_>, perform: impl Fn() -> io::Result<()>) -> io::Result<()> {
        self.watcher.call(self.number, call, &mut |_| perform().map(|()| 0)).map(drop)
    }
}

impl<W: Watcher> DiskFile for WatchedFile<W> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.below.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.watcher.call(self.number, Call::Write(offset, buf), &mut |part| {
            self.below.write_at(&buf[..part.unwrap_or(buf.len())], offset)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(Call::SetLen(len), || self.below.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(Call::Sync, || self.below.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.call(Call::Sync, || self.below.sync_all())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        let mut taken = false;
        self.watcher.call(self.number, Call::Lock, &mut |_| {
            taken = self.below.try_lock(kind)?;
            Ok(0)
        })?;
        Ok(taken)
    }

    fn unlock(&self) -> io::Result<()> {
        self.call(Call::Unlock, || self.below.unlock())
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.below.is_linked()
    }
}

#[derive(Debug)]
struct WatchedWords<W> {
    below: Arc<dyn SharedWords>,
    watcher: Arc<W>,
}

impl<W: Watcher> SharedWords for WatchedWords<W> {
    fn load(&self, index: usize) -> u64 {
        self.below.load(index)
    }

    fn store(&self, index: usize, value: u64) {
        let stored = self.watcher.call(0, Call::Store, &mut |_| {
            self.below.store(index, value);
            Ok(0)
        });
        stored.expect("stores do not fail");
    }

    fn identity(&self) -> FileId {
        self.below.identity()
    }
}

/// The directories on the way to a path, without symbolic links and dots: what a recorded path is compared by.
pub fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}
