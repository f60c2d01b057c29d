//! Commits in the log that nobody wrote so, under digests and checksums that are right: the database applies them or
//! says what is wrong, and answers whatever it is asked afterwards.

#![no_main]

use asof_fuzz::{Base, DB, Edit, edited, exercise};
use asof_wal::sim::SimDisk;
use asof_wal::{Access, Log, LogOptions, Position};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The kind of a commit's record.
const COMMIT: u8 = 1;

// Which commit of the log it is made from, how its header and its content change, where its content is cut off; the kind
// of another record behind it.
fuzz_target!(|input: (u8, Vec<Edit>, Vec<Edit>, Option<u16>, Option<(u8, Vec<u8>)>)| {
    let (which, header_edits, content_edits, cut, another) = input;
    let commits = commits();
    let Some(from) = commits.get(usize::from(which) % commits.len().max(1)) else { return };
    let last = commits.last().expect("there is one");
    let disk = Base::get().disk();
    let content = edited(from.content.clone(), &content_edits, cut);
    let mut header = edited(from.header.clone(), &header_edits, None);
    follow(&mut header, &content, &last.header);
    let mut payload = vec![1, 0, 0, 0];
    payload.extend_from_slice(&(header.len() as u32).to_le_bytes());
    payload.extend_from_slice(&(content.len() as u64).to_le_bytes());
    payload.extend_from_slice(&header);
    payload.extend_from_slice(&content);
    append(&disk, COMMIT, &payload);
    if let Some((kind, payload)) = another {
        append(&disk, kind.max(1), &payload);
    }
    exercise(&disk);
});

struct Commit {
    header: Vec<u8>,
    content: Vec<u8>,
}

/// The next version at a later time, its content digest, and the chain.
fn follow(header: &mut [u8], content: &[u8], last: &[u8]) {
    let number = |at: usize| u64::from_le_bytes(last[at..at + 8].try_into().expect("eight bytes"));
    header[..8].copy_from_slice(&(number(0) + 1).to_le_bytes());
    header[8..16].copy_from_slice(&(number(8) + 1).to_le_bytes());
    let digests = header.len() - 64;
    header[digests..digests + 32].copy_from_slice(blake3::hash(content).as_bytes());
    header[digests + 32..].fill(0);
    let mut chain = blake3::Hasher::new();
    chain
        .update(b"asof commit chain 1")
        .update(&last[last.len() - 32..])
        .update(blake3::hash(content).as_bytes());
    chain.update(blake3::hash(header).as_bytes());
    header[digests + 32..].copy_from_slice(chain.finalize().as_bytes());
}

fn open(disk: &SimDisk, access: Access) -> Log {
    let base = Base::get();
    let options = LogOptions { turn_wait: Duration::from_secs(5), ..LogOptions::default() };
    let dir = Path::new(DB).join("wal");
    Log::open(Arc::new(disk.process()), &dir, base.manifest.database_id, start(), options, access)
        .expect("the log is good")
}

fn start() -> Position {
    Base::get().manifest.log_start.into()
}

/// The commits in the log's tail.
fn commits() -> &'static Vec<Commit> {
    static COMMITS: OnceLock<Vec<Commit>> = OnceLock::new();
    COMMITS.get_or_init(|| {
        let log = open(&Base::get().disk(), Access::ReadOnly);
        let records =
            log.read_from(start()).expect("the log is good").map(|record| record.expect("it is good"));
        let payloads = records.filter(|record| record.kind == COMMIT).map(|record| record.payload);
        payloads
            .map(|payload| {
                let length = u32::from_le_bytes(payload[4..8].try_into().expect("four bytes")) as usize;
                let (header, content) = payload[16..].split_at(length);
                let content = match payload[1] {
                    0 => content.to_vec(),
                    _ => zstd::bulk::decompress(content, 1 << 20).expect("it is good"),
                };
                Commit { header: header.to_vec(), content }
            })
            .collect()
    })
}

fn append(disk: &SimDisk, kind: u8, payload: &[u8]) {
    let log = open(disk, Access::ReadWrite);
    let mut turn = log.take_turn(Duration::from_secs(5)).expect("nobody else writes");
    let ticket = turn.append(kind, payload).expect("the disk is good");
    drop(turn);
    log.wait(ticket).expect("the disk is good");
}
