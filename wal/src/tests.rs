//! Tests of the whole log, by behaviour. What a test needs of the insides is in its own module.

mod crash;
mod damage;
mod faults;
mod golden;
mod group;
mod head;
#[cfg(feature = "model")]
mod model;
mod processes;
mod salvage;
mod tail;
mod turns;

use crate::sim::SimDisk;
use crate::{Access, Disk, Error, Log, LogOptions, Position, Record};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ID: [u8; 16] = *b"database-of-test";
pub(crate) const WAIT: Duration = Duration::from_secs(20);
pub(crate) const DIR: &str = "/wal";

pub(crate) fn small() -> LogOptions {
    LogOptions { first_segment_bytes: 8 << 10, max_segment_bytes: 16 << 10, ..LogOptions::default() }
}

pub(crate) fn segment_path(number: u64) -> PathBuf {
    Path::new(DIR).join(crate::segment::file_name(number))
}

/// A new log on a new simulated disk, closed again.
pub(crate) fn new_disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    drop(Log::create(Arc::new(disk.clone()), Path::new(DIR), ID, small()).unwrap());
    disk
}

pub(crate) fn open(disk: &SimDisk, access: Access) -> Log {
    open_at(Arc::new(disk.clone()), Path::new(DIR), Log::start(), access)
}

pub(crate) fn open_at(disk: Arc<dyn Disk>, dir: &Path, from: Position, access: Access) -> Log {
    Log::open(disk, dir, ID, from, small(), access).unwrap()
}

pub(crate) fn append(log: &Log, payload: &[u8]) -> Result<Position, Error> {
    let mut turn = log.take_turn(WAIT)?;
    let ticket = turn.append(1, payload)?;
    drop(turn);
    log.wait(ticket)?;
    Ok(ticket.position())
}

/// Appends all of them in one turn, which makes one batch.
pub(crate) fn append_batch(log: &Log, payloads: &[&[u8]]) -> Result<(), Error> {
    let mut turn = log.take_turn(WAIT)?;
    let tickets: Vec<_> = payloads.iter().map(|payload| turn.append(1, payload)).collect::<Result<_, _>>()?;
    drop(turn);
    tickets.into_iter().try_for_each(|ticket| log.wait(ticket))
}

/// Everything in the log, with the error that ended it.
pub(crate) fn read_all(log: &Log) -> (Vec<Record>, Option<Error>) {
    read_on(log, Log::start())
}

pub(crate) fn read_on(log: &Log, from: Position) -> (Vec<Record>, Option<Error>) {
    let mut records = Vec::new();
    let mut failure = None;
    for record in log.read_from(from).unwrap() {
        match record {
            Ok(record) => records.push(record),
            Err(error) => failure = Some(error),
        }
    }
    for (record, sequence) in records.iter().zip(from.sequence..) {
        assert_eq!(record.position.sequence, sequence, "sequences have no holes");
    }
    (records, failure)
}

pub(crate) fn payloads(log: &Log) -> Vec<Vec<u8>> {
    let (records, failure) = read_all(log);
    assert!(failure.is_none(), "{failure:?}");
    records.into_iter().map(|record| record.payload).collect()
}

/// Chance from a seed.
pub(crate) struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}
