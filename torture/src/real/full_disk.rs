//! A disk that fills up: a small tmpfs on which commits and checkpoints run out of room at any point.
//!
//! What fails says that the disk is full, what was acknowledged is there and can be read all the while, failed
//! attempts leave nothing behind that fills the disk further, and once there is room it works again. Needs root.

use super::child::WAIT;
use super::workload::{self, History, Own, Step, Write};
use super::{Failure, Outcome, chance_of, failed};
use asof_engine::{Database, ErrorKind, Options, Version};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Size of the file system.
const BYTES: u64 = 4 << 20;
/// The one writer.
const WRITER: u64 = 1;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FullDisks {
    /// Times the disk was filled up.
    pub filled: u64,
    /// Commits that failed for want of room.
    pub commits_failed: u64,
    /// Checkpoints that failed for want of room.
    pub checkpoints_failed: u64,
    /// Versions compared with the oracle while the disk was full.
    pub compared: u64,
}

/// A small file system in memory; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many bytes.
    pub fn mount(at: &Path, bytes: u64) -> std::io::Result<SmallDisk> {
        std::fs::create_dir_all(at)?;
        let options = std::ffi::CString::new(format!("size={bytes}")).expect("a number holds no zero byte");
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
        rustix::mount::mount("asof-torture", at, "tmpfs", flags, options.as_c_str())?;
        Ok(SmallDisk(at.to_path_buf()))
    }

    /// Bytes that are free.
    pub fn free(&self) -> std::io::Result<u64> {
        let found = rustix::fs::statvfs(&self.0)?;
        Ok(found.f_bavail * found.f_frsize)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Fills disks mounted below `dir` up, until `more` says enough.
pub fn run(dir: &Path, seed: u64, mut more: impl FnMut(&FullDisks) -> bool) -> Outcome<FullDisks> {
    let mut report = FullDisks::default();
    let mut disks = 0;
    while more(&report) {
        disks += 1;
        let place = dir.join("full");
        let disk = SmallDisk::mount(&place, BYTES).map_err(|error| {
            failed(&place, seed, format!("a tmpfs cannot be mounted (root is needed): {error}"))
        })?;
        let mut full = Full::create(&disk, seed.wrapping_add(disks))?;
        // A history of its own grows: a small disk holds a few rounds.
        while more(&report) && disk.free().is_ok_and(|free| free > BYTES / 2) {
            full.round(&mut report)?;
        }
    }
    Ok(report)
}

/// A database on a small disk.
struct Full<'a> {
    disk: &'a SmallDisk,
    path: PathBuf,
    seed: u64,
    round: u64,
    history: History,
    own: Own,
    next: u64,
}

impl<'a> Full<'a> {
    fn create(disk: &'a SmallDisk, seed: u64) -> Outcome<Full<'a>> {
        let path = disk.0.join("db");
        let fail = |error: asof_engine::Error| failed(&path, seed, error);
        let database = Database::create(&path, Options::default()).map_err(fail)?;
        workload::create_tables(&database).map_err(fail)?;
        drop(database);
        Ok(Full { disk, path, seed, round: 0, history: History::default(), own: Own::default(), next: 0 })
    }

    fn fail(&self, what: impl std::fmt::Display) -> Failure {
        failed(&self.path, self.seed, format!("round {}: {what}", self.round))
    }

    fn open(&self) -> Outcome<Database> {
        let options = Options { wait: WAIT, ..Options::default() };
        Database::open(&self.path, options).map_err(|error| self.fail(error))
    }

    fn ballast(&self) -> PathBuf {
        self.disk.0.join("ballast")
    }

    /// Fills the disk until so many bytes are left.
    fn fill(&self, left: u64) -> std::io::Result<()> {
        let mut ballast = std::fs::File::create(self.ballast())?;
        while self.disk.free()? > left {
            match ballast.write(&[1; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next write of the writer.
    fn next_write(&mut self) -> (u64, Write) {
        loop {
            self.next += 1;
            if let Step::Write(write) = workload::step(self.seed, WRITER, self.next, &self.own) {
                return (self.next, write);
            }
        }
    }

    fn acknowledged(&mut self, version: Version, write: &Write) -> Outcome<()> {
        self.history.apply(WRITER, write);
        self.own.apply(write);
        if self.history.newest() != version {
            return Err(self.fail(format!("version {version} follows {}", self.history.newest().0 - 1)));
        }
        Ok(())
    }

    /// Some commits with room; then the disk is full but for a little, and work goes on until something fails; then
    /// there is room again.
    fn round(&mut self, report: &mut FullDisks) -> Outcome<()> {
        self.round += 1;
        let mut chance = chance_of(&[self.seed, self.round]);
        let database = self.open()?;
        for _ in 0..chance.below(6) {
            self.commit(&database)?;
        }
        let left = [0, 4 << 10, 16 << 10, chance.below(256 << 10)][chance.below(4) as usize];
        self.fill(left).map_err(|error| self.fail(error))?;
        report.filled += 1;
        let refused = if chance.one_in(2) {
            self.checkpoints_until_full(&database, report)?
        } else {
            self.commits_until_full(&database, report)?
        };
        self.read_while_full(&database, report)?;
        // A process that comes now can read too.
        let reader =
            Database::open_read_only(&self.path, Options::default()).map_err(|error| self.fail(error))?;
        self.read_while_full(&reader, report)?;
        drop(reader);
        std::fs::remove_file(self.ballast()).map_err(|error| self.fail(error))?;
        let database = if refused {
            drop(database);
            self.open()?
        } else {
            database
        };
        let newest = database.begin().and_then(|transaction| {
            transaction.commit(Default::default())?;
            database.refresh()
        });
        let newest = newest.map_err(|error| self.fail(format!("there is room, but: {error}")))?;
        if newest.0 < self.history.newest().0 {
            return Err(self.fail(format!("lost: version {} is not there", self.history.newest())));
        }
        if newest != self.history.newest() {
            return Err(self.fail(format!("version {newest} was refused, and is there")));
        }
        self.commit(&database)?;
        let compacted = workload::compact(&database);
        compacted.map_err(|error| self.fail(format!("there is room, but no compaction: {error}")))?;
        self.read_while_full(&database, report)?;
        super::verified(&database, &self.path, self.seed)
    }

    fn commit(&mut self, database: &Database) -> Outcome<()> {
        let (number, write) = self.next_write();
        let version = workload::commit(database, WRITER, number, &write).map_err(|error| self.fail(error))?;
        self.acknowledged(version, &write)
    }

    /// Commits until one is refused. Gives whether one was refused.
    fn commits_until_full(&mut self, database: &Database, report: &mut FullDisks) -> Outcome<bool> {
        for nth in 1..4_000 {
            // A checkpoint may have made room by what it let go.
            if nth % 200 == 0 {
                self.fill(0).map_err(|error| self.fail(error))?;
            }
            let (number, write) = self.next_write();
            match workload::commit(database, WRITER, number, &write) {
                Ok(version) => self.acknowledged(version, &write)?,
                Err(error) if error.kind() == ErrorKind::Full => {
                    report.commits_failed += 1;
                    // The handle writes no more, and says so; but for a load, which failed before the log was touched
                    // and gave back the room that it had taken.
                    let (number, write) = self.next_write();
                    match workload::commit(database, WRITER, number, &write) {
                        Ok(version) => self.acknowledged(version, &write)?,
                        Err(error) if matches!(error.kind(), ErrorKind::Poisoned | ErrorKind::Full) => {
                            return Ok(true);
                        }
                        Err(error) => {
                            return Err(self.fail(format!("after a commit that was refused: {error}")));
                        }
                    }
                }
                Err(error) => return Err(self.fail(format!("not told that the disk is full, but: {error}"))),
            }
        }
        Err(self.fail("the disk never got full".to_string()))
    }

    /// Checkpoints that fail again and again leave the disk no fuller than the first one did, and commits go on while
    /// the log has room.
    fn checkpoints_until_full(&mut self, database: &Database, report: &mut FullDisks) -> Outcome<bool> {
        let mut left_by_first = None;
        for _ in 0..4 {
            match workload::compact(database) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Full | ErrorKind::Poisoned) => {
                    report.checkpoints_failed += 1;
                    let free = self.disk.free().map_err(|error| self.fail(error))?;
                    let first = *left_by_first.get_or_insert(free);
                    if free < first {
                        let left = format!("{first} bytes were free after the first, {free} now");
                        return Err(self.fail(format!("checkpoints that fail leave files behind: {left}")));
                    }
                }
                Err(error) => return Err(self.fail(format!("not told that the disk is full, but: {error}"))),
            }
        }
        self.commits_until_full(database, report)
    }

    fn read_while_full(&self, database: &Database, report: &mut FullDisks) -> Outcome<()> {
        let newest = self.history.newest().0;
        for version in [newest, newest / 2, newest / 5, 1] {
            let found = workload::Shown::read(database, Version(version));
            let found =
                found.map_err(|error| self.fail(format!("version {version} cannot be read: {error}")))?;
            if !self.history.allows(Version(version), &found) {
                return Err(self.fail(format!("wrong: version {version} does not hold what was committed")));
            }
            report.compared += 1;
        }
        Ok(())
    }
}
