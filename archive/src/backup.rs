//! A copy of a live database in another directory, while writers, checkpoints and compactions go on.
//!
//! The copy is a database of its own: it can be written, its id is the same, its lineage is new, so that an archive of one
//! never takes shipments of the other. Until it is whole it has no manifest, and a file that says so.

use crate::copy::{fail, finish, make_directories, names_in, open_or_make, sync_dir};
use crate::hex::Hex;
use crate::ship::{HOLDS_MAX, Progress, is_missing};
use crate::workers::for_each;
use asof_engine::hold::{Held, HeldFile, Lasting};
use asof_engine::{Database, Error, ErrorKind, Result, Version};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says that a directory is a copy in the making.
const UNFINISHED: &str = "backup.unfinished";
/// Bytes copied between two looks at whether to go on.
const STEP_BYTES: u64 = 64 << 20;

/// How a copy is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Whether files that never change get another name instead of a copy, where that is possible.
    pub links: bool,
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The newest version of the copy.
    pub version: Version,
    /// Its commit time, microseconds.
    pub time: i64,
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many of these share their place on disk with the original.
    pub shared: u64,
}

/// Copies a database, which was opened for reading only, into a directory that is missing or empty.
pub fn backup(
    database: &Database,
    to: &Path,
    options: BackupOptions,
    progress: Progress<'_>,
) -> Result<Backup> {
    prepare(to)?;
    let mut holds = 0;
    loop {
        let held = database.hold()?;
        holds += 1;
        match copy(database, &held, to, options, progress) {
            // A checkpoint or a compaction went by: there is a newer state.
            Err(error) if holds < HOLDS_MAX && is_missing(&error) => {
                log::info!("{error}; looking again");
                clear(to)?;
            }
            copied => return copied,
        }
    }
}

/// Takes a directory that is missing, empty, or a copy in the making.
fn prepare(to: &Path) -> Result<()> {
    let names = names_in(to)?;
    let is_unfinished = names.iter().any(|name| name == UNFINISHED);
    if !names.is_empty() && !is_unfinished {
        let (to, name) = (to.display(), &names[0]);
        return Err(Error::invalid(format!(
            "{to} is not empty: it has {name}; name a directory that is not there"
        )));
    }
    if is_unfinished {
        clear(to)?;
    }
    fs::create_dir_all(to).map_err(fail("make", to))?;
    let marker = to.join(UNFINISHED);
    open_or_make(&marker)?.sync_all().map_err(fail("sync", &marker))?;
    sync_dir(to)?;
    make_directories(to)
}

/// Removes the files of a copy in the making.
fn clear(to: &Path) -> Result<()> {
    for dir in asof_engine::hold::directories() {
        let dir = to.join(dir);
        for name in names_in(&dir)? {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(fail("remove", &path))?;
        }
    }
    Ok(())
}

fn copy(
    database: &Database,
    held: &Held,
    to: &Path,
    options: BackupOptions,
    progress: Progress<'_>,
) -> Result<Backup> {
    let mut files = held.files();
    files.extend(held.segments(u64::MAX)?);
    let total = files.iter().map(|file| file.bytes).sum();
    let done = AtomicU64::new(0);
    let step = |bytes: u64| match progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Io, format!("interrupted; {} is no database yet", to.display()))),
    };
    let shared = for_each(&files, |file| copy_file(database.path(), file, to, options, &step))?;
    let mut manifest = held.manifest().clone();
    manifest.lineage_id = database.options().clock.random();
    manifest.number += 1;
    finish(to, &manifest)?;
    let marker = to.join(UNFINISHED);
    fs::remove_file(&marker).map_err(fail("remove", &marker))?;
    sync_dir(to)?;
    Ok(Backup {
        version: held.version(),
        time: held.time().0,
        files: files.len() as u64 + 1,
        bytes: total,
        shared: shared.into_iter().sum(),
    })
}

/// Copies a file's bytes that belong to the database, and tells how many of them share their place with the original.
fn copy_file(
    from: &Path,
    file: &HeldFile,
    to: &Path,
    options: BackupOptions,
    step: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<u64> {
    let (from, to) = (from.join(&file.path), to.join(&file.path));
    let whole = matches!(file.lasting, Lasting::Whole(_) | Lasting::FinishedSegment);
    // Segments are never linked: who repairs one opens it for writing.
    if options.links && matches!(file.lasting, Lasting::Whole(_)) && fs::hard_link(&from, &to).is_ok() {
        check_digest(&from, &to, file)?;
        step(file.bytes)?;
        return Ok(file.bytes);
    }
    let source = File::open(&from).map_err(fail("open", &from))?;
    let target = open_or_make(&to)?;
    let cloned = whole && rustix::fs::ioctl_ficlone(&target, &source).is_ok();
    if cloned {
        step(file.bytes)?;
    } else {
        target.set_len(0).map_err(fail("write", &to))?;
        copy_bytes(&source, &target, file.bytes, step).map_err(|error| error.at(to.display()))?;
    }
    let length = target.metadata().map_err(fail("look at", &to))?.len();
    if length != file.bytes {
        let (from, expected) = (from.display(), file.bytes);
        return Err(Error::corrupt(format!(
            "{from} is damaged: expected {expected} bytes, found {length}; run 'asof verify'"
        )));
    }
    target.sync_all().map_err(fail("sync", &to))?;
    check_digest(&from, &to, file)?;
    Ok(if cloned { file.bytes } else { 0 })
}

/// Reads a copy of a file whose digest is known, however it was made, and checks it.
fn check_digest(from: &Path, to: &Path, file: &HeldFile) -> Result<()> {
    let Lasting::Whole(expected) = file.lasting else { return Ok(()) };
    let mut hasher = blake3::Hasher::new();
    File::open(to).and_then(|copy| hasher.update_reader(copy).map(|_| ())).map_err(fail("read", to))?;
    let found = *hasher.finalize().as_bytes();
    match found == expected {
        true => Ok(()),
        false => Err(Error::corrupt(format!(
            "{} is damaged: expected digest {}, found {}; run 'asof verify'",
            from.display(),
            Hex(expected),
            Hex(found)
        ))),
    }
}

/// Copies the first bytes of a file, by the kernel where it can.
fn copy_bytes(
    source: &File,
    target: &File,
    bytes: u64,
    step: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<()> {
    let (mut done, mut by_kernel) = (0, true);
    let mut buffer = Vec::new();
    while done < bytes {
        let wanted = (bytes - done).min(STEP_BYTES);
        let copied = match by_kernel {
            true => {
                let (mut at, mut to) = (done, done);
                match rustix::fs::copy_file_range(
                    source,
                    Some(&mut at),
                    target,
                    Some(&mut to),
                    wanted as usize,
                ) {
                    Ok(copied) => copied as u64,
                    Err(rustix::io::Errno::NOSPC) => {
                        return Err(io::Error::from(rustix::io::Errno::NOSPC).into());
                    }
                    Err(_) => {
                        by_kernel = false;
                        continue;
                    }
                }
            }
            false => {
                buffer.resize(wanted.min(1 << 20) as usize, 0);
                let count = source.read_at(&mut buffer, done)?;
                target.write_all_at(&buffer[..count], done)?;
                count as u64
            }
        };
        if copied == 0 {
            // Some file systems copy nothing by themselves, and say that it went well.
            match std::mem::take(&mut by_kernel) {
                true => continue,
                false => break,
            }
        }
        done += copied;
        step(copied)?;
    }
    Ok(())
}
