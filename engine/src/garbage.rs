//! Removes what no manifest names any more, and leases on manifests that keep it from going.

use crate::codec::records::{CommitPayload, kind};
use crate::database::Inner;
use crate::error::{ErrorKind, Result};
use crate::files::io_error;
use crate::layout::{DATA_DIR, ENDS_DIR, IDS_DIR, MANIFEST_DIR, TEMPORARY_SUFFIX, ids_file, table_and_file};
use crate::manifest::{self, Manifest};
use asof_mvcc::FileId;
use asof_wal::planted::{Bug, planted};
use asof_wal::{Disk, DiskFile, LockKind, OpenMode, Position};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Manifests that are always kept.
const MANIFESTS_KEPT: usize = 2;

/// Removes old manifests that nobody leases, then files that no manifest left names, then log segments before the
/// oldest manifest left. The caller holds the checkpoint lock.
pub(crate) fn collect_garbage(inner: &Inner) -> Result<()> {
    let disk: &dyn Disk = &*inner.disk;
    let layout = &inner.layout;
    let numbers = manifest::list(disk, layout)?;
    let mut kept: Vec<Manifest> = Vec::new();
    let mut removed = false;
    for (index, number) in numbers.iter().enumerate() {
        let path = layout.manifest(*number);
        let fail = |error| io_error("remove", &path, error);
        if index >= MANIFESTS_KEPT {
            let file = disk.open(&path, OpenMode::Read).map_err(fail)?;
            if file.try_lock(LockKind::Exclusive).map_err(fail)? || planted(Bug::LeaseIgnored) {
                // Whoever opened it before this and locks it after finds it without a name, and looks again.
                disk.remove_file(&path).map_err(fail)?;
                removed = true;
                continue;
            }
        }
        match Manifest::read(disk, layout, *number) {
            Ok(manifest) => kept.push(manifest),
            // What a damaged manifest names is unknown: nothing may go.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                log::error!("{error}; no file is removed");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    if removed {
        let dir = layout.join(MANIFEST_DIR);
        disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))?;
    }
    remove_unnamed_by(inner, &kept)?;
    let oldest =
        kept.iter().map(|manifest| Position::from(manifest.log_start)).min_by_key(|start| start.sequence);
    let newest = kept.first().map(|manifest| Position::from(manifest.log_start));
    if let Some(oldest) = if planted(Bug::LogRetiredTooEarly) { newest } else { oldest } {
        inner.log()?.retire(oldest)?;
    }
    Ok(())
}

/// Removes data, ends and ids files that none of these manifests names, and unfinished files.
pub(crate) fn remove_unnamed_by(inner: &Inner, kept: &[Manifest]) -> Result<()> {
    let ends: HashSet<FileId> = kept.iter().flat_map(|m| m.ends_files.iter().map(|file| file.id)).collect();
    let ids: HashSet<FileId> = kept.iter().flat_map(|m| m.ids_files.iter().map(|file| file.id)).collect();
    remove_data_files(inner, &data_files_named_by(kept))?;
    remove_unnamed(inner, ENDS_DIR, &ends, &|name| table_and_file(name, ".ends").map(|(_, file)| file))?;
    remove_unnamed(inner, IDS_DIR, &ids, &ids_file)?;
    remove_unnamed(inner, MANIFEST_DIR, &HashSet::new(), &|_| None)
}

/// The data files that any of these manifests names.
pub(crate) fn data_files_named_by(manifests: &[Manifest]) -> HashSet<FileId> {
    let files = manifests.iter().flat_map(|manifest| manifest.data_files.iter().map(|file| file.id));
    let copies = manifests.iter().flat_map(|manifest| manifest.copies.iter().map(|copies| copies.file.id));
    files.chain(copies.filter(|_| !planted(Bug::CopiesNotKept))).collect()
}

/// Removes data files that are not named, and unfinished ones. Those of loads are locked until their commit is applied:
/// what could be locked here, and is not named by any record written up to then, no commit will name. Records behind the
/// durable head count: what a dead writer left there, the next one may keep.
fn remove_data_files(inner: &Inner, named: &HashSet<FileId>) -> Result<()> {
    let unlocked = unlocked_data_files_but(inner, named)?;
    if unlocked.is_empty() {
        return Ok(());
    }
    let Some(loaded) = loaded_files(inner)? else { return Ok(()) };
    for (path, file, _handle) in unlocked {
        if !file.is_some_and(|file| loaded.contains(&file)) {
            inner.disk.remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
        }
    }
    Ok(())
}

/// A data file, with its number where it is finished; locked as long as the handle lives.
type LockedFile = (PathBuf, Option<FileId>, Arc<dyn DiskFile>);

/// Data files that are not among these, and unfinished ones, that nobody has locked; locked now.
pub(crate) fn unlocked_data_files_but(inner: &Inner, named: &HashSet<FileId>) -> Result<Vec<LockedFile>> {
    let dir = inner.layout.join(DATA_DIR);
    let mut locked = Vec::new();
    for entry in inner.disk.list(&dir).map_err(|error| io_error("list", &dir, error))? {
        let file = table_and_file(&entry.name, ".parquet").map(|(_, file)| file);
        let unnamed = match file {
            Some(file) => !named.contains(&file),
            None => entry.name.ends_with(TEMPORARY_SUFFIX),
        };
        if !unnamed {
            continue;
        }
        let path = dir.join(&entry.name);
        let handle = match inner.disk.open(&path, OpenMode::Read) {
            Ok(handle) => handle,
            // Finished, or given up, by its maker.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("open", &path, error)),
        };
        let free = handle.try_lock(LockKind::Exclusive).map_err(|error| io_error("lock", &path, error))?;
        if (free || planted(Bug::LoadLockIgnored))
            && handle.is_linked().map_err(|error| io_error("look at", &path, error))?
        {
            locked.push((path, file, handle));
        }
    }
    Ok(locked)
}

/// The files that loads of the log's tail name, with those of records behind the durable head. `None` where that cannot be
/// told now: files stay then until a later checkpoint.
fn loaded_files(inner: &Inner) -> Result<Option<HashSet<FileId>>> {
    let durable = inner.log()?.durable()?;
    let mut loaded = HashSet::new();
    if !planted(Bug::TailIgnoredByGarbage) {
        match named_behind(inner, durable) {
            Ok(files) => loaded.extend(files),
            // What a damaged record names is unknown. It may also be one that is being written now.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                log::info!("data files that no manifest names stay until the next checkpoint: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    // Last, for a repair may have moved records meanwhile, and made them durable.
    inner.follow()?;
    let state = inner.state();
    let memory = state.memory.read();
    loaded.extend(memory.loaded.values().flatten().map(|file| file.record.id));
    Ok(Some(loaded))
}

/// The data files named by records that are written behind a position. No turn is taken and nothing is repaired for that:
/// it is asked on a full disk and by a handle whose log failed, too, so that what they have written in vain can go.
fn named_behind(inner: &Inner, from: Position) -> Result<Vec<FileId>> {
    let mut files = Vec::new();
    for record in inner.log()?.read_written(from) {
        let record = record?;
        if record.kind == kind::COMMIT {
            files.extend(CommitPayload::decode_unproven(record.payload)?.files()?);
        }
    }
    Ok(files)
}

/// Removes files of a directory that have a number which is not named, and what was left under temporary names.
fn remove_unnamed(
    inner: &Inner,
    dir: &str,
    named: &HashSet<FileId>,
    number: &dyn Fn(&str) -> Option<FileId>,
) -> Result<()> {
    let dir = inner.layout.join(dir);
    for entry in inner.disk.list(&dir).map_err(|error| io_error("list", &dir, error))? {
        let unnamed = match number(&entry.name) {
            Some(file) => !named.contains(&file),
            None => entry.name.ends_with(TEMPORARY_SUFFIX),
        };
        if unnamed {
            let path = dir.join(&entry.name);
            inner.disk.remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
        }
    }
    Ok(())
}
