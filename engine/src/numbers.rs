//! Numbers of data, ends and ids files: none is given twice, though a checkpoint and loads of several
//! processes draw them at the same time.
//!
//! Invariant: numbers are drawn under the lock `numbers.lock`, above every number that a name in the
//! database's directories has, and what was drawn has such a name before the lock is given back. A
//! checkpoint, which draws many, reserves a range by an empty file that has the last of them; it is
//! removed as any temporary file.

use crate::counting::CountingDisk;
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{io_error, temporary_path};
use crate::layout::{DATA_DIR, ENDS_DIR, IDS_DIR, Layout, NUMBERS_LOCK, TEMPORARY_SUFFIX, file_id};
use asof_mvcc::{FileId, TableId};
use asof_wal::{Disk, DiskFile, LockKind, OpenMode};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Numbers that a checkpoint, or a step of compaction, has to draw from.
pub(crate) const RANGE: u64 = 1 << 16;
/// No table has this number.
const NO_TABLE: TableId = 0;

/// Reserves [`RANGE`] numbers, at least `at_least`; gives the first.
pub(crate) fn reserve(inner: &Inner, at_least: FileId) -> Result<FileId> {
    let disk: &CountingDisk = &inner.disk;
    let _lock = lock(inner)?;
    let first = next_number(disk, &inner.layout)?.max(at_least);
    let placeholder = temporary_path(&inner.layout.data(NO_TABLE, first + RANGE - 1));
    disk.open(&placeholder, OpenMode::Create).map_err(|error| io_error("create", &placeholder, error))?;
    Ok(first)
}

/// Draws the number of a data file that a load writes. The file is there, under its temporary name, and locked: it is not
/// garbage as long as the lock is held.
pub(crate) fn draw_for_load(inner: &Inner, table: TableId) -> Result<(FileId, Arc<dyn DiskFile>)> {
    let disk: &CountingDisk = &inner.disk;
    let _lock = lock(inner)?;
    let state = inner.state();
    let mut number = next_number(disk, &inner.layout)?.max(state.generation.manifest().next_file_id);
    loop {
        let path = temporary_path(&inner.layout.data(table, number));
        let fail = |error| io_error("create", &path, error);
        let file = disk.open(&path, OpenMode::CreateNew).map_err(fail)?;
        if hold(&*file, &path)? {
            return Ok((number, file));
        }
        // Garbage collection was quicker than the lock.
        number += 1;
    }
}

/// Keeps a data file from being taken for garbage as long as the file stays open; `false` where it is gone.
pub(crate) fn hold(file: &dyn DiskFile, path: &Path) -> Result<bool> {
    match file.try_lock(LockKind::Shared) {
        Ok(true) => file.is_linked().map_err(|error| io_error("look at", path, error)),
        Ok(false) => Ok(false),
        Err(error) => {
            log::warn!("{} cannot be locked ({error}): it is not kept alive", path.display());
            Ok(true)
        }
    }
}

fn lock(inner: &Inner) -> Result<Arc<dyn DiskFile>> {
    let path = inner.layout.join(NUMBERS_LOCK);
    let fail = |error| io_error("lock", &path, error);
    let file = inner.disk.open(&path, OpenMode::Create).map_err(fail)?;
    let deadline = Instant::now() + inner.options.wait;
    while !file.try_lock(LockKind::Exclusive).map_err(fail)? {
        if Instant::now() > deadline {
            let message = format!("{} is held by another process for too long", path.display());
            return Err(Error::new(ErrorKind::Locked, message));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(file)
}

/// One more than the highest number of a file, finished or not.
fn next_number(disk: &CountingDisk, layout: &Layout) -> Result<FileId> {
    let mut last = 0;
    for dir in [DATA_DIR, ENDS_DIR, IDS_DIR] {
        let dir = layout.join(dir);
        for entry in disk.list(&dir).map_err(|error| io_error("list", &dir, error))? {
            let name = entry.name.strip_suffix(TEMPORARY_SUFFIX).unwrap_or(&entry.name);
            last = last.max(file_id(name).unwrap_or(0));
        }
    }
    Ok(last + 1)
}
