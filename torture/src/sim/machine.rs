//! A simulated machine: a disk, a clock that also goes backwards, and processes that open the database on it.

use crate::crew::Crew;
use asof_engine::clock::Clock;
use asof_engine::options::Upkeep;
use asof_engine::{CommitTime, Options};
use asof_wal::LogOptions;
use asof_wal::sim::SimDisk;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;

/// Where the database lies.
pub const DB: &str = "/db";

/// Bytes of log after which a commit makes a checkpoint, on machines where commits do.
const INLINE_LOG_BYTES: u64 = 3 << 10;

/// A clock that goes on by random amounts, stands still, and is set back now and then.
#[derive(Debug)]
pub struct SimClock(Mutex<(Chance, i64)>);

impl SimClock {
    /// From a seed.
    pub fn new(seed: u64) -> SimClock {
        SimClock(Mutex::new((Chance::new(seed), 1_700_000_000_000_000)))
    }
}

impl Clock for SimClock {
    fn now(&self) -> CommitTime {
        let mut inner = self.0.lock();
        let (chance, now) = &mut *inner;
        match chance.below(20) {
            0 => *now -= chance.below(3_600_000_000) as i64,
            1 => {}
            _ => *now += chance.below(2_000_000) as i64,
        }
        CommitTime(*now)
    }

    fn random(&self) -> [u8; 16] {
        let (chance, _) = &mut *self.0.lock();
        let halves = [chance.number(), chance.number()].map(u64::to_le_bytes);
        halves.concat().try_into().expect("twice eight bytes")
    }
}

/// A disk and a clock.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The disk; processes have views of their own.
    pub disk: SimDisk,
    /// The clock of all processes.
    pub clock: Arc<SimClock>,
    /// Whether commits make checkpoints that are due.
    pub inline: bool,
}

impl Machine {
    /// A machine with an empty disk.
    pub fn new(seed: u64) -> Machine {
        Machine::with_disk(SimDisk::new(seed), seed)
    }

    /// A machine with a disk.
    pub fn with_disk(disk: SimDisk, seed: u64) -> Machine {
        Machine { disk, clock: Arc::new(SimClock::new(seed)), inline: seed % 2 == 1 }
    }

    /// How a process opens the database. Nothing is done by the clock or in the background: on every other machine the
    /// commits that make a checkpoint due make it, after few bytes of log; on the others only who asks for one does.
    pub fn options(&self, process: &SimDisk) -> Options {
        Options {
            disk: Arc::new(process.clone()),
            clock: self.clock.clone(),
            upkeep: if self.inline { Upkeep::Inline } else { Upkeep::Off },
            checkpoint_log_bytes: if self.inline { INLINE_LOG_BYTES } else { 0 },
            read_threads: 1,
            // Tables of a few rows too.
            copies_rows_min: 0,
            wait: Duration::from_millis(200),
            // Small ones grow and follow one another soon.
            log: LogOptions {
                first_segment_bytes: 8 << 10,
                max_segment_bytes: 32 << 10,
                ..LogOptions::default()
            },
            ..Options::default()
        }
    }

    /// Processes on this machine, each of which is another one whenever it opens the database.
    pub fn crew(&self, processes: usize) -> Crew {
        let machine = self.clone();
        Crew::new(Path::new(DB), processes, move |_| machine.options(&machine.disk.process()))
    }
}
