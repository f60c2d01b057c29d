//! Making a database of an archive, at one version.
//!
//! Invariants. It is made in a directory beside the one asked for, which gets that name when all is whole, durable and
//! checked: who is killed leaves no database, or the one asked for. What is there already with the right digest is not
//! fetched again, whether an interrupted run left it or a recovery to another target. The lineage is a new one.

use crate::archive::Archive;
use crate::cache::Pieces;
use crate::copy::{fail, finish, make_directories, names_in, open_or_make, sync_dir, write_file};
use crate::disk::ArchiveDisk;
use crate::hex::Id;
use crate::index::Index;
use crate::open::open_with;
use crate::pieces::Piece;
use crate::plan::{Plan, PlannedFile};
use crate::sealed::{seal, unseal};
use crate::ship::Progress;
use crate::workers::for_each;
use asof_engine::codec::records::{CommitPayload, kind};
use asof_engine::hold::{directories, segment_path};
use asof_engine::manifest::Manifest;
use asof_engine::{AsOf, CommitTime, Database, Error, ErrorKind, Options, Result, Upkeep, Version};
use asof_wal::{Access, Disk, DiskFile, LockKind, Log, LogOptions, OpenMode, Position, RealDisk};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells where a database came from.
const MARKER: &str = "recovery.json";
const MARKER_KIND: &str = "asof-recovery";
/// Behind the name of a directory until it is whole.
const UNFINISHED: &str = ".recovering";
const TEMPORARY_SUFFIX: &str = ".tmp";
/// A commit has its time before it is durable: what an archiver saw at a moment is all that was committed up to so many
/// microseconds before it.
const IN_FLIGHT: i64 = 10_000_000;

/// An archive to recover from.
#[derive(Debug)]
pub struct Source {
    pieces: Arc<Pieces>,
    index: Index,
    database: Database,
}

/// Where a recovered database came from, and how it was then.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    archive: String,
    database: Id,
    lineage: Id,
    target: u64,
    /// Where its log ended; none while it is in the making.
    sequence: Option<u64>,
}

/// What was recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The newest version.
    pub version: Version,
    /// Its commit time, microseconds.
    pub time: i64,
    /// Bytes of files that were fetched.
    pub fetched: u64,
    /// Bytes of files that were there.
    pub kept: u64,
}

impl Source {
    /// Opens an archive.
    pub fn open(place: &Path, options: Options) -> Result<Source> {
        let archive = Archive::open(place)?;
        let index = archive.load()?;
        if index.end().is_none() {
            let name = archive.name();
            let message = format!("{name} has no shipment yet; 'asof archive DB {name}' makes one");
            return Err(Error::not_found(message));
        }
        let pieces = Arc::new(Pieces::new(archive));
        let database = open_with(ArchiveDisk::with(pieces.clone(), index.clone()), options)?;
        Ok(Source { pieces, index, database })
    }

    /// What the archive holds.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The place, as it was typed.
    pub fn name(&self) -> &str {
        self.pieces.archive().name()
    }

    /// The archive as a database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Which version an expression names. A time after the last shipment, or a moment before it and after the newest
    /// version shipped, names none: what was committed by then is not known here.
    pub fn resolve(&self, expression: &AsOf) -> Result<Version> {
        self.check_known(expression)?;
        let version = self.database.resolve(expression)?.version;
        // The database read here may have followed newer shipments than were planned with.
        Ok(version.min(Version(self.index.version())))
    }

    /// The last time of which the archive tells what was committed by then.
    pub fn known_until(&self) -> CommitTime {
        let newest = self.index.end().expect("checked when it was opened");
        // Times ascend: what came after the newest that was shipped has a later one.
        CommitTime(self.index.taken.saturating_sub(IN_FLIGHT).max(newest.time))
    }

    fn check_known(&self, expression: &AsOf) -> Result<()> {
        let time = match expression {
            AsOf::Time(time) => *time,
            AsOf::Before(time) => CommitTime(time.0.saturating_sub(1)),
            AsOf::Relative(relative) => relative.instant(self.database.options().clock.now()),
            AsOf::Previous(inner) => return self.check_known(inner),
            _ => return Ok(()),
        };
        if time <= self.known_until() {
            return Ok(());
        }
        let newest = self.index.end().expect("checked when it was opened");
        let text = |time: i64| asof_engine::asof::format_time(CommitTime(time));
        Err(Error::not_found(format!(
            "{} is after what is known for sure from the last shipment to {}, of {}: the newest version there is {}, of {}; 'latest' names it",
            text(time.0),
            self.name(),
            text(self.index.taken),
            newest.version,
            text(newest.time)
        ))
        .with_nearest(vec![newest.version.to_string()]))
    }

    /// How a version is reached.
    pub fn plan(&self, target: Version) -> Result<Plan> {
        Plan::of(&self.pieces, &self.index, target.0)
    }

    /// Every version that can be reached.
    pub fn ranges(&self) -> Result<Vec<crate::plan::Range>> {
        crate::plan::ranges(&self.pieces, &self.index)
    }

    /// Makes a database of a plan in a directory that is missing, empty, or was made in this way before. A run that was
    /// interrupted is gone on with.
    pub fn recover(&self, plan: &Plan, to: &Path, progress: Progress<'_>) -> Result<Recovered> {
        let to = std::path::absolute(to)?;
        let (work, locks) = self.take_directory(&to)?;
        self.mark(&work, plan, None)?;
        prepare(&work, plan)?;
        // It has no manifest any more: nobody opens it.
        drop(locks);
        let (fetched, kept) = self.fetch(plan, &work, progress)?;
        let (log_start, id) = (plan.base.manifest.log.0, self.index.database.0);
        if !plan.base.cuts {
            end_log_after(&work, id, log_start, plan.target, self.name())?;
        }
        let mut manifest = plan.manifest.clone();
        manifest.lineage_id = self.database.options().clock.random();
        manifest.number = plan.number;
        finish(&work, &manifest)?;
        if plan.base.cuts {
            cut(&work, Version(plan.target), self.database.options())?;
        }
        let (time, sequence) = self.check(&work, plan)?;
        self.mark(&work, plan, Some(sequence))?;
        fs::rename(&work, &to).map_err(fail("name", &to))?;
        sync_dir(to.parent().unwrap_or(Path::new("/")))?;
        Ok(Recovered { version: Version(plan.target), time, fetched, kept })
    }

    /// The directory to work in: beside the one asked for, with what that has where a recovery made it. Then its manifests
    /// are locked.
    fn take_directory(&self, to: &Path) -> Result<(PathBuf, ManifestLocks)> {
        check_can_be_replaced(to)?;
        let mut name = to.as_os_str().to_os_string();
        name.push(UNFINISHED);
        let work = PathBuf::from(name);
        let names = names_in(to)?;
        if work.exists() {
            if !names.is_empty() {
                let (to, work) = (to.display(), work.display());
                let message = format!("{to} and an unfinished {work} are there; remove one of them");
                return Err(Error::invalid(message));
            }
            if !names_in(&work)?.is_empty() {
                self.marker_of(&work)?;
            }
            return Ok((work, Vec::new()));
        }
        if names.is_empty() {
            fs::create_dir_all(&work).map_err(fail("make", &work))?;
            sync_dir(work.parent().unwrap_or(Path::new("/")))?;
            return Ok((work, Vec::new()));
        }
        let marker = self.marker_of(to)?;
        let locks = lock_unused(to, &marker)?;
        fs::rename(to, &work).map_err(fail("rename", to))?;
        sync_dir(work.parent().unwrap_or(Path::new("/")))?;
        Ok((work, locks))
    }

    /// What a recovery from this archive has left in a directory.
    fn marker_of(&self, dir: &Path) -> Result<Marker> {
        let path = dir.join(MARKER);
        let refused = |why: &str| {
            let (dir, archive) = (dir.display(), self.name());
            Error::invalid(format!("{dir} {why}; recover {archive} into a directory that is not there"))
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refused("is not empty, and no recovery made it"));
            }
            Err(error) => return Err(fail("read", &path)(error)),
        };
        let (marker, _) = unseal::<Marker>(MARKER_KIND, &bytes, &path.display().to_string())?;
        match (marker.database, marker.lineage) == (self.index.database, self.index.lineage) {
            true => Ok(marker),
            false => Err(refused("was recovered from another archive")),
        }
    }

    fn mark(&self, dir: &Path, plan: &Plan, sequence: Option<u64>) -> Result<()> {
        let marker = Marker {
            archive: self.name().to_string(),
            database: self.index.database,
            lineage: self.index.lineage,
            target: plan.target,
            sequence,
        };
        write_file(&dir.join(MARKER), &seal(MARKER_KIND, &marker)?.0)
    }

    /// Fetches what is not there: small files several at a time, of large ones several pieces at a time. Gives the bytes
    /// fetched and kept.
    fn fetch(&self, plan: &Plan, dir: &Path, progress: Progress<'_>) -> Result<(u64, u64)> {
        let (done, fetched) = (AtomicU64::new(0), AtomicU64::new(0));
        let total = plan.bytes();
        let step = |piece: &Piece, is_fetched: bool| {
            if is_fetched {
                fetched.fetch_add(piece.len(), Ordering::Relaxed);
            }
            let done = done.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
            match progress(done.min(total), total) {
                true => Ok(()),
                false => Err(Error::new(ErrorKind::Io, "interrupted; the same command goes on")),
            }
        };
        let (small, large): (Vec<&PlannedFile>, Vec<&PlannedFile>) =
            plan.files.iter().partition(|file| file.pieces.len() < 2);
        for_each(&small, |file| self.fetch_file(file, dir, &step))?;
        large.iter().try_for_each(|file| self.fetch_file(file, dir, &step))?;
        let fetched = fetched.into_inner();
        Ok((fetched, done.into_inner() - fetched))
    }

    fn fetch_file(
        &self,
        planned: &PlannedFile,
        dir: &Path,
        step: &(dyn Fn(&Piece, bool) -> Result<()> + Sync),
    ) -> Result<()> {
        let path = dir.join(&planned.path);
        let unfinished = temporary(&path);
        // Until it was compared it may be anything.
        if path.exists() {
            fs::rename(&path, &unfinished).map_err(fail("rename", &path))?;
        }
        let file = open_or_make(&unfinished)?;
        for_each(&planned.pieces, |piece| {
            let is_there = holds(&file, piece);
            if !is_there {
                let bytes = self.pieces.fetch(piece)?;
                file.write_all_at(&bytes, piece.from).map_err(fail("write", &unfinished))?;
            }
            step(piece, !is_there)
        })?;
        file.set_len(planned.bytes).and_then(|()| file.sync_all()).map_err(fail("write", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(fail("name", &path))
    }

    /// What was made must be the target, by the chain over all commits. Gives the target's time and where the log ends.
    fn check(&self, dir: &Path, plan: &Plan) -> Result<(i64, u64)> {
        let options = Options { disk: Arc::new(RealDisk), ..self.database.options().clone() };
        let made = Database::open_read_only(dir, options)?;
        let found = made.refresh()?;
        let target = Version(plan.target);
        let wrong =
            |what: String| Error::corrupt(format!("{}: recovered {what}, in {}", self.name(), dir.display()));
        if found != target {
            return Err(wrong(format!("version {found} in place of {target}")));
        }
        if target > Version::ZERO {
            let [expected, found] = [&self.database, &made]
                .map(|database| Ok::<_, Error>(database.commit_info(target)?.chain_digest));
            if expected? != found? {
                return Err(wrong(format!("another history than that of version {target}")));
            }
        }
        Ok((made.commit_time(target)?.0, made.hold()?.end().sequence))
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

/// Whether a file has the bytes of a piece.
fn holds(file: &File, piece: &Piece) -> bool {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length < piece.to {
        return false;
    }
    let mut bytes = vec![0; piece.len() as usize];
    file.read_exact_at(&mut bytes, piece.from).is_ok() && *blake3::hash(&bytes).as_bytes() == piece.digest.0
}

/// Every manifest of a database, locked against everyone: nobody has it open, and nobody can open it.
type ManifestLocks = Vec<Arc<dyn DiskFile>>;

/// Locks a database that was recovered. One that was written since, or that somebody has open, stays as it is.
fn lock_unused(dir: &Path, marker: &Marker) -> Result<ManifestLocks> {
    let Some(sequence) = marker.sequence else { return Ok(Vec::new()) };
    let in_use = || {
        let message = format!("{} is in use; end what reads it, or name another directory", dir.display());
        Error::new(ErrorKind::Locked, message)
    };
    let sorted = || -> Result<Vec<String>> {
        let mut names = names_in(&dir.join("manifest"))?;
        names.sort_unstable();
        Ok(names)
    };
    let names = sorted()?;
    let mut locks: ManifestLocks = Vec::new();
    for name in &names {
        let path = dir.join("manifest").join(name);
        let file = RealDisk.open(&path, OpenMode::Read).map_err(fail("open", &path))?;
        if !file.try_lock(LockKind::Exclusive).map_err(fail("lock", &path))? {
            return Err(in_use());
        }
        locks.push(file);
    }
    // Who opened it before all were locked may have made one more.
    if sorted()? != names {
        return Err(in_use());
    }
    if end_of_log(dir, names.last())?.sequence != sequence {
        return Err(Error::invalid(format!(
            "{} was written since it was recovered, at version {}: that would be lost; name another directory",
            dir.display(),
            marker.target
        )));
    }
    Ok(locks)
}

/// Where the log of a database ends whose newest manifest has a name.
fn end_of_log(dir: &Path, manifest: Option<&String>) -> Result<Position> {
    let missing = || Error::corrupt(format!("{} has no manifest; name another directory", dir.display()));
    let path = dir.join("manifest").join(manifest.ok_or_else(missing)?);
    let bytes = fs::read(&path).map_err(fail("read", &path))?;
    let manifest = Manifest::from_bytes(&bytes, &path.display().to_string())?;
    let (disk, from): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), manifest.log_start.into());
    let options = LogOptions::default();
    let log = Log::open(disk, &dir.join("wal"), manifest.database_id, from, options, Access::ReadOnly)?;
    Ok(log.durable()?)
}

/// Refuses at once what the directory that is made beside it could not take the place of in the end.
fn check_can_be_replaced(to: &Path) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(to) else { return Ok(()) };
    let refused = |what: &str| Err(Error::invalid(format!("{} is {what}", to.display())));
    if found.file_type().is_symlink() {
        return refused("a symbolic link, which would be replaced; name the directory that it leads to");
    }
    let parent = to.parent().and_then(|parent| fs::metadata(parent).ok());
    match parent.is_none_or(|parent| parent.dev() != found.dev()) {
        true => refused("a mount point, which cannot be replaced; name a directory inside it"),
        false => Ok(()),
    }
}

/// Leaves in a directory what the plan has, and nothing else of a database.
fn prepare(dir: &Path, plan: &Plan) -> Result<()> {
    make_directories(dir)?;
    let planned: BTreeSet<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
    for directory in directories() {
        let inside = dir.join(directory);
        for name in names_in(&inside)? {
            let path = format!("{directory}/{}", name.strip_suffix(TEMPORARY_SUFFIX).unwrap_or(&name));
            if !planned.contains(path.as_str()) {
                let path = inside.join(&name);
                fs::remove_file(&path).map_err(fail("remove", &path))?;
            }
        }
        sync_dir(&inside)?;
    }
    Ok(())
}

/// Ends the log of a directory that is no database yet behind the last record before the commit after the target.
fn end_log_after(dir: &Path, id: [u8; 16], from: Position, target: u64, archive: &str) -> Result<()> {
    let log_dir = dir.join("wal");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let log = Log::open(disk, &log_dir, id, from, LogOptions::default(), Access::ReadOnly)?;
    let mut end = from;
    for record in log.read_written(from) {
        let record = record?;
        if record.kind == kind::COMMIT
            && CommitPayload::decode_unproven(record.payload)?.header.version > target
        {
            break;
        }
        end = record.next;
    }
    drop(log);
    let last = dir.join(segment_path(end.segment));
    let file = open_or_make(&last)?;
    let length = file.metadata().map_err(fail("look at", &last))?.len();
    if length < end.offset {
        return Err(Error::corrupt(format!("{archive}: {} has a gap", segment_path(end.segment))));
    }
    file.set_len(end.offset).and_then(|()| file.sync_all()).map_err(fail("cut", &last))?;
    for name in names_in(&log_dir)? {
        if format!("wal/{name}") > segment_path(end.segment) {
            let path = log_dir.join(name);
            fs::remove_file(&path).map_err(fail("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes a database end at an earlier version.
fn cut(dir: &Path, target: Version, options: &Options) -> Result<()> {
    let options = Options { disk: Arc::new(RealDisk), upkeep: Upkeep::Off, ..options.clone() };
    Database::open(dir, options)?.cut_after(target).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_a_rename_cannot_replace_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("there")).unwrap();
        std::os::unix::fs::symlink(path("there"), path("link")).unwrap();
        assert!(
            check_can_be_replaced(&path("missing")).is_ok() && check_can_be_replaced(&path("there")).is_ok()
        );
        let told = |to: &Path| check_can_be_replaced(to).unwrap_err().to_string();
        assert!(told(&path("link")).contains("is a symbolic link"));
        assert!(told(Path::new("/proc")).contains("/proc is a mount point"));
    }
}
