//! Power cuts below a real file system: writers work on a real ext4 or XFS, on a loop device, on a file that is served
//! by this process, which records every write and flush. Any point of the record can be made an image as a power cut
//! could have left it, mounted (the file system recovers by its own journal), opened and checked.
//!
//! Needs root, `/dev/fuse`, loop devices, and the file system's `mkfs`. Everything made is taken away again, mounts
//! first, whatever happens.

mod journal;
mod server;

use super::child::WAIT;
use super::told::Told;
use super::{Failure, Outcome, States, chance_of, failed};
use asof_engine::Options;
use asof_wal::{Disk, RealDisk};
use journal::{Blocks, Journal};
use server::Served;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Steps of each writer.
const STEPS: u64 = 20;

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 with its defaults (`data=ordered`).
    Ext4,
    /// XFS with its defaults.
    Xfs,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockCuts {
    /// Runs of two writers.
    pub runs: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Images that differ, of those that the cuts left.
    pub states: States,
    /// Versions compared with the oracle.
    pub compared: u64,
    /// Writes to the device and flushes of it that were recorded.
    pub recorded: u64,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    /// Megabytes of the device: XFS makes none below 300.
    fn megabytes(self) -> u64 {
        match self {
            FileSystem::Ext4 => 64,
            FileSystem::Xfs => 320,
        }
    }

    fn make(self, image: &Path) -> Result<(), String> {
        let file = std::fs::File::create(image).map_err(|error| error.to_string())?;
        file.set_len(self.megabytes() << 20).map_err(|error| error.to_string())?;
        let arguments: &[&str] = match self {
            FileSystem::Ext4 => &["-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
            FileSystem::Xfs => &["-q", "-f", "-K"],
        };
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        command.args(arguments).arg(image);
        finish(command).map_err(|error| format!("{error}; install {}", self.package()))
    }

    fn package(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "e2fsprogs",
            FileSystem::Xfs => "xfsprogs",
        }
    }

    fn mount(self, image: &Path, at: &Path) -> Result<Mounted, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let options = match self {
            FileSystem::Ext4 => "loop,noatime",
            // Many images of one run bear the same id.
            FileSystem::Xfs => "loop,noatime,nouuid",
        };
        let mut command = Command::new("mount");
        command.args(["-t", self.name(), "-o", options]).arg(image).arg(at);
        finish(command)?;
        Ok(Mounted(at.to_path_buf()))
    }
}

/// Runs a command; what it says is the error's.
fn finish(mut command: Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// A mounted image; unmounted when dropped, its loop device with it.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg(&self.0);
        if let Err(error) = finish(command) {
            log::error!("{error}");
            let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Cuts the power of runs on a file system, `per_run` times each, until `more` says enough. Images lie below `dir`: best
/// in memory.
pub fn run(
    file_system: FileSystem,
    dir: &Path,
    seed: u64,
    per_run: u64,
    more: impl FnMut(&BlockCuts) -> bool,
) -> Outcome<BlockCuts> {
    run_on(file_system, dir, seed, per_run, Arc::new(RealDisk), more)
}

/// As [`run`], the writers going through another disk: one that lies, say.
pub fn run_on(
    file_system: FileSystem,
    dir: &Path,
    seed: u64,
    per_run: u64,
    disk: Arc<dyn Disk>,
    mut more: impl FnMut(&BlockCuts) -> bool,
) -> Outcome<BlockCuts> {
    let mut cuts = BlockCuts::default();
    while more(&cuts) {
        let seed = seed.wrapping_add(cuts.runs);
        let place = dir.join(format!("{}-{}", file_system.name(), cuts.runs));
        std::fs::create_dir_all(&place).map_err(|error| failed(&place, seed, error))?;
        one_run(file_system, &place, seed, per_run, &disk, &mut cuts, &mut more)?;
        std::fs::remove_dir_all(&place).map_err(|error| failed(&place, seed, error))?;
    }
    Ok(cuts)
}

fn one_run(
    file_system: FileSystem,
    place: &Path,
    seed: u64,
    per_run: u64,
    disk: &Arc<dyn Disk>,
    cuts: &mut BlockCuts,
    more: &mut impl FnMut(&BlockCuts) -> bool,
) -> Outcome<()> {
    let fail = |what: String| -> Failure { failed(place, seed, what) };
    let io = |error: std::io::Error| failed(place, seed, error);
    let image = place.join("image");
    file_system.make(&image).map_err(fail)?;
    let (base, bytes) = Blocks::read_file(&image).map_err(io)?;
    let journal = Arc::new(Journal::new(base, bytes));
    let mountpoint = place.join("mounted");
    let (told, recorded) = {
        let served = Served::new(&place.join("device"), Arc::clone(&journal)).map_err(|error| {
            fail(format!("a file cannot be served through /dev/fuse (root is needed): {error}"))
        })?;
        let mounted = file_system.mount(&place.join("device"), &mountpoint).map_err(fail)?;
        let options = || crate::real::busy_options(disk.clone());
        let told =
            Told::run(&mountpoint.join("db"), options, seed, STEPS, |number| journal.acknowledge(number));
        let recorded = journal.entries();
        drop(mounted);
        drop(served);
        (told?, recorded)
    };
    cuts.runs += 1;
    cuts.recorded += recorded as u64;
    let mut chance = chance_of(&[seed]);
    let mut entries: Vec<usize> = (0..per_run).map(|_| chance.below(recorded as u64 + 1) as usize).collect();
    entries.sort_unstable();
    let mut replay = journal.replay();
    for (number, entry) in entries.into_iter().enumerate() {
        if !more(cuts) {
            break;
        }
        replay.advance(entry);
        let left = replay.cut(&mut chance);
        cuts.states.insert(left.digest());
        left.write_file(&image, bytes).map_err(io)?;
        let mounted = file_system.mount(&image, &mountpoint).map_err(fail)?;
        let path = mountpoint.join("db");
        let options = Options { wait: WAIT, ..Options::default() };
        let checked = told.check(&path, &replay.acknowledged, options, number as u64);
        let checked =
            checked.map_err(|error| fail(format!("cut {number} at entry {entry}: {}", error.what)))?;
        drop(mounted);
        cuts.compared += checked.compared;
        cuts.cuts += 1;
    }
    Ok(())
}
