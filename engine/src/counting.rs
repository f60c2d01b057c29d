//! A disk that counts: operations and bytes per class of file, so that what a call reads and writes
//! can be shown and tested.

use crate::api::{Counters, FileCounters};
use crate::layout::{CLASSES, class_of};
use asof_wal::{DirEntry, Disk, DiskFile, LockKind, Metadata, OpenMode, SharedWords};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
struct ClassCounters {
    reads: AtomicU64,
    bytes_read: AtomicU64,
    writes: AtomicU64,
    bytes_written: AtomicU64,
    syncs: AtomicU64,
}

/// The counts, shared by the disk and its files.
#[derive(Debug, Default)]
pub struct Counts {
    classes: [ClassCounters; CLASSES.len()],
    rows_decoded: AtomicU64,
    pages_decoded: AtomicU64,
}

impl Counts {
    /// Notes rows decoded from data files.
    pub fn add_rows_decoded(&self, rows: u64) {
        self.rows_decoded.fetch_add(rows, Relaxed);
    }

    /// Notes pages read from data files.
    pub fn add_pages_decoded(&self, pages: u64) {
        self.pages_decoded.fetch_add(pages, Relaxed);
    }

    /// The counts so far.
    pub fn snapshot(&self) -> Counters {
        let files = CLASSES.iter().zip(&self.classes).map(|(name, class)| {
            let counters = FileCounters {
                reads: class.reads.load(Relaxed),
                bytes_read: class.bytes_read.load(Relaxed),
                writes: class.writes.load(Relaxed),
                bytes_written: class.bytes_written.load(Relaxed),
                syncs: class.syncs.load(Relaxed),
            };
            (*name, counters)
        });
        Counters {
            files: files.collect(),
            rows_decoded: self.rows_decoded.load(Relaxed),
            pages_decoded: self.pages_decoded.load(Relaxed),
        }
    }
}

/// Counts what passes to another disk.
#[derive(Debug)]
pub struct CountingDisk {
    inner: Arc<dyn Disk>,
    counts: Arc<Counts>,
}

impl CountingDisk {
    /// Counts what passes to `inner`.
    pub fn new(inner: Arc<dyn Disk>) -> CountingDisk {
        CountingDisk { inner, counts: Arc::default() }
    }

    /// The counts.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl Disk for CountingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(CountingFile { inner, counts: self.counts.clone(), class: class_of(path) }))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.counts.classes[class_of(dir)].syncs.fetch_add(1, Relaxed);
        self.inner.sync_dir(dir)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }
    fn shared_map(&self, path: &Path, len: usize, write: bool) -> io::Result<Arc<dyn SharedWords>> {
        self.inner.shared_map(path, len, write)
    }
    fn boot_id(&self) -> [u8; 16] {
        self.inner.boot_id()
    }
    fn process_id(&self) -> u32 {
        self.inner.process_id()
    }
    fn is_selection(&self) -> bool {
        self.inner.is_selection()
    }
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn DiskFile>,
    counts: Arc<Counts>,
    class: usize,
}

impl CountingFile {
    fn class(&self) -> &ClassCounters {
        &self.counts.classes[self.class]
    }
}

impl DiskFile for CountingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.inner.read_at(buf, offset)?;
        self.class().reads.fetch_add(1, Relaxed);
        self.class().bytes_read.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let count = self.inner.write_at(buf, offset)?;
        self.class().writes.fetch_add(1, Relaxed);
        self.class().bytes_written.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.class().syncs.fetch_add(1, Relaxed);
        self.inner.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.class().syncs.fetch_add(1, Relaxed);
        self.inner.sync_all()
    }
    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        self.inner.try_lock(kind)
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
    fn is_linked(&self) -> io::Result<bool> {
        self.inner.is_linked()
    }
}
