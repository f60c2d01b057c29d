//! Faults on real disks: real processes killed at any call, power cuts rebuilt from recorded calls or from a recorded
//! block device, full disks.
//!
//! [`workload`] is what writers do and what must be there then. [`child`] plays writers and readers in processes of
//! their own; [`kills`] kills them while they take turns, [`sweep`] at every call of a scenario. [`recorder`] records
//! calls, [`cuts`] opens what a power cut could leave of them; [`block`] does so with a recorded device below a real file
//! system. [`full_disk`] and [`flips`] are what they say.

pub mod block;
pub mod call;
pub mod child;
pub mod cuts;
pub mod flips;
pub mod forgetful;
pub mod full_disk;
pub mod killer;
pub mod kills;
pub mod recorder;
pub mod suite;
pub mod sweep;
pub mod told;
pub mod workload;
pub mod writer;

use crate::Chance;
use asof_engine::{Database, Options, Upkeep};
use asof_wal::Disk;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a part gives: what it did, or the first thing that went wrong.
pub type Outcome<T> = Result<T, Failure>;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where what was found lies; it is kept.
    pub path: PathBuf,
    /// The seed of the run.
    pub seed: u64,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (seed {})", self.path.display(), self.what, self.seed)
    }
}

impl std::error::Error for Failure {}

/// Bytes of log after which writers make a checkpoint, and how long after a commit they do at the latest.
const BUSY: (u64, Duration) = (24 << 10, Duration::from_millis(100));

/// How writers open a database: with a thread of upkeep that is busy, so that faults meet it at work.
pub(crate) fn busy_options(disk: Arc<dyn Disk>) -> Options {
    Options {
        wait: child::WAIT,
        disk,
        upkeep: Upkeep::Background,
        checkpoint_log_bytes: BUSY.0,
        checkpoint_age: BUSY.1,
        ..Options::default()
    }
}

pub(crate) fn failed(path: &Path, seed: u64, what: impl fmt::Display) -> Failure {
    Failure { path: path.to_path_buf(), seed, what: what.to_string() }
}

/// The numbers of several seeds.
pub(crate) fn chance_of(seeds: &[u64]) -> Chance {
    let mix = |state: u64, seed: &u64| (state ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    Chance::new(seeds.iter().fold(0x5EED, mix))
}

/// Every checksum and invariant of a database.
pub(crate) fn verified(database: &Database, path: &Path, seed: u64) -> Outcome<()> {
    let report = database.verify().map_err(|error| failed(path, seed, error))?;
    match report.findings.first() {
        None => Ok(()),
        Some(finding) => Err(failed(path, seed, format!("verify found: {}", finding.message))),
    }
}

/// Which of the states that faults left differ.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct States(BTreeSet<[u8; 32]>);

impl States {
    pub(crate) fn insert(&mut self, digest: [u8; 32]) {
        self.0.insert(digest);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count())
    }
}
