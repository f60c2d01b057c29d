//! A damaged log: what is read is a prefix of what was written, or a prefix and an error; a log that opens for writing
//! can be written on, and then reads as that prefix and what came after.

#![no_main]

use asof_wal::sim::SimDisk;
use asof_wal::{Access, Disk, Log, LogOptions};
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const ID: [u8; 16] = *b"database-of-fuzz";
const DIR: &str = "/wal";
const WAIT: Duration = Duration::from_secs(5);

// Lengths of the records, a length to cut the segment to, and bytes to change in it.
fuzz_target!(|input: (Vec<u8>, Option<u16>, Vec<(u16, u8)>)| {
    let (lengths, cut, changes) = input;
    let disk = SimDisk::new(1);
    let written: Vec<Vec<u8>> =
        lengths.iter().take(12).map(|&length| vec![length; usize::from(length)]).collect();
    let log = Log::create(Arc::new(disk.clone()), Path::new(DIR), ID, options()).expect("the disk is good");
    written.iter().for_each(|payload| append(&log, payload).expect("the disk is good"));
    drop(log);
    // Without the durable head, as after a restart of the machine.
    disk.crash();
    let disk = disk.process();
    let path = segment(&disk);
    let mut bytes = disk.read(&path).expect("the segment is there");
    for (offset, byte) in &changes {
        if let Some(place) = bytes.get_mut(usize::from(*offset)) {
            *place ^= byte;
        }
    }
    bytes.truncate(cut.map_or(bytes.len(), usize::from));
    disk.overwrite(&path, &bytes).expect("the disk is good");

    let read = payloads(&disk, Access::ReadOnly);
    assert!(read.len() <= written.len() && read == written[..read.len()], "a prefix");
    let Ok(log) = open(&disk, Access::ReadWrite) else { return };
    if append(&log, b"after").is_err() {
        return;
    }
    drop(log);
    let mut expected = read;
    expected.push(b"after".to_vec());
    assert_eq!(payloads(&disk, Access::ReadOnly), expected);
});

fn options() -> LogOptions {
    LogOptions { first_segment_bytes: 8 << 10, max_segment_bytes: 16 << 10, ..LogOptions::default() }
}

fn open(disk: &SimDisk, access: Access) -> Result<Log, asof_wal::Error> {
    Log::open(Arc::new(disk.clone()), Path::new(DIR), ID, Log::start(), options(), access)
}

fn append(log: &Log, payload: &[u8]) -> Result<(), asof_wal::Error> {
    let mut turn = log.take_turn(WAIT)?;
    let ticket = turn.append(1, payload)?;
    drop(turn);
    log.wait(ticket)
}

fn payloads(disk: &SimDisk, access: Access) -> Vec<Vec<u8>> {
    let Ok(log) = open(disk, access) else { return Vec::new() };
    let Ok(records) = log.read_from(Log::start()) else { return Vec::new() };
    records.map_while(Result::ok).map(|record| record.payload).collect()
}

/// The log's first segment.
fn segment(disk: &SimDisk) -> PathBuf {
    let entries = disk.list(Path::new(DIR)).expect("the directory is there");
    let mut names: Vec<_> =
        entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".wal")).collect();
    names.sort();
    Path::new(DIR).join(names.first().expect("there is a segment"))
}
