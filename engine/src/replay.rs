//! Reading the log's tail into a state.
//!
//! Records are read, decoded and applied in order. A long tail goes through three threads, each a few hundred KiB
//! ahead of the next: one reads and checks checksums, one decodes, the caller applies; a short one stays in the
//! caller's. Decoding needs the schemas that earlier records made, so the decoder follows the catalog on its own.
//! Invariant: what comes before an error is applied and published, in either way.

use crate::codec::records::{CommitContent, CommitHeader, CommitPayload, kind};
use crate::database::Follower;
use crate::error::{Error, Result};
use crate::files::io_error;
use crate::state::State;
use asof_mvcc::{Catalog, FileId, RecentWrites, Version};
use asof_wal::{Log, Position, Record, Records};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Tails of at least this many bytes are worth two threads.
const THREADS_FROM_BYTES: u64 = 4 << 20;
/// Records are handed from thread to thread in parts of about this size.
const PART_BYTES: usize = 256 << 10;
/// So many parts may wait between two threads.
const PARTS_MAX: usize = 4;

/// Whether the log's tail was read, or a newer manifest must be taken up first.
#[derive(Debug)]
pub(crate) enum Tail {
    /// Up to its end.
    Read,
    /// A record tells of a newer manifest.
    NewManifest,
    /// The segment was retired behind a newer manifest, or is lost.
    Missing(Error),
    /// The file of a load was removed behind a newer manifest, or is lost.
    MissingFile(FileId, Error),
}

/// A record, ready to be applied.
enum Decoded {
    Commit { header: Arc<CommitHeader>, content: CommitContent, next: Position },
    Other(Record),
}

/// Applies what is durable and not applied yet to a state. A follower that begins need not note what was written
/// before: nobody has begun a transaction with it.
pub(crate) fn replay(log: &Log, state: &State, follower: &mut Follower) -> Result<Tail> {
    let beginning = !follower.started;
    if beginning {
        follower.recent = RecentWrites::new(state.applied(), 0);
    }
    let tail = read(log, state, follower);
    if beginning {
        follower.forget_writes(state.applied());
    }
    tail
}

fn read(log: &Log, state: &State, follower: &mut Follower) -> Result<Tail> {
    // Where the end is not known, for damage lies before it, what precedes that is read all the same.
    let from = follower.applied;
    let to = log.durable().unwrap_or(from);
    let short = to.segment == from.segment && to.offset.saturating_sub(from.offset) < THREADS_FROM_BYTES;
    let mut records = log.read_from(from)?;
    let mut catalog = state.catalog();
    if short {
        return apply_all(state, follower, records.map(|record| decode(record, &mut catalog)));
    }
    std::thread::scope(|scope| {
        let (records_out, records_in) = sync_channel(PARTS_MAX);
        let (decoded_out, decoded_in) = sync_channel(PARTS_MAX);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_string()).spawn_scoped(scope, work);
            thread.map(drop).map_err(|error| io_error("start a thread to read", Path::new("the log"), error))
        };
        spawn("asof-read", Box::new(move || read_parts(&mut records, &records_out)))?;
        spawn("asof-decode", Box::new(move || decode_parts(&records_in, &decoded_out, &mut catalog)))?;
        apply_all(state, follower, decoded_in.into_iter().flatten())
    })
}

fn read_parts(records: &mut Records, out: &SyncSender<Vec<std::result::Result<Record, asof_wal::Error>>>) {
    loop {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while bytes < PART_BYTES
            && let Some(record) = records.next()
        {
            bytes += record.as_ref().map_or(0, |record| record.payload.len());
            part.push(record);
        }
        // Who applies has stopped where nobody takes it.
        if part.is_empty() || out.send(part).is_err() {
            return;
        }
    }
}

fn decode_parts(
    parts: &Receiver<Vec<std::result::Result<Record, asof_wal::Error>>>,
    out: &SyncSender<Vec<std::result::Result<Decoded, Failed>>>,
    catalog: &mut Arc<Catalog>,
) {
    for part in parts {
        let decoded = part.into_iter().map(|record| decode(record, catalog)).collect();
        if out.send(decoded).is_err() {
            return;
        }
    }
}

/// Why there is no record: the log's own error is kept as it is, for a missing segment is none to everybody.
enum Failed {
    Read(asof_wal::Error),
    Decode(Error),
}

/// Decodes a record and follows the catalog.
fn decode(
    record: std::result::Result<Record, asof_wal::Error>,
    catalog: &mut Arc<Catalog>,
) -> std::result::Result<Decoded, Failed> {
    let record = record.map_err(Failed::Read)?;
    if record.kind != kind::COMMIT {
        return Ok(Decoded::Other(record));
    }
    decode_commit(record, catalog).map_err(Failed::Decode)
}

fn decode_commit(record: Record, catalog: &mut Arc<Catalog>) -> Result<Decoded> {
    let payload = CommitPayload::decode_unproven(record.payload)?;
    State::change_catalog(catalog, Version(payload.header.version), payload.catalog())?;
    let changes = payload.changes(|table, schema| {
        let schemas = &catalog.table(table)?.schemas;
        schemas.get(schema).map(|(_, schema)| schema.clone())
    })?;
    let content = CommitContent { catalog: payload.catalog().to_vec(), changes };
    Ok(Decoded::Commit { header: Arc::new(payload.header), content, next: record.next })
}

/// Applies records one after the other and lets readers of the state see each.
fn apply_all(
    state: &State,
    follower: &mut Follower,
    records: impl Iterator<Item = std::result::Result<Decoded, Failed>>,
) -> Result<Tail> {
    for decoded in records {
        match decoded {
            Err(Failed::Read(error @ asof_wal::Error::Missing { .. })) => {
                return Ok(Tail::Missing(error.into()));
            }
            Err(Failed::Read(error)) => return Err(error.into()),
            Err(Failed::Decode(error)) => return Err(error),
            Ok(Decoded::Commit { header, content, next }) => {
                let version = Version(header.version);
                if let Some((file, error)) = state.misses_file_of(&content.changes)? {
                    return Ok(Tail::MissingFile(file, error));
                }
                state.apply(header, content, next, &mut follower.recent)?;
                state.publish(version);
                follower.applied = next;
            }
            Ok(Decoded::Other(record)) => {
                if is_new_manifest(state, &record, follower)? {
                    return Ok(Tail::NewManifest);
                }
                if record.kind != kind::CHECKPOINT {
                    state.apply_control(record.kind, &record.payload)?;
                }
                follower.applied = record.next;
            }
        }
    }
    Ok(Tail::Read)
}

/// Whether a record tells of a newer manifest. Each is told of once: if it cannot be had, the log still has all.
fn is_new_manifest(state: &State, record: &Record, follower: &mut Follower) -> Result<bool> {
    if record.kind != kind::CHECKPOINT {
        return Ok(false);
    }
    let number = record.payload.as_slice().try_into().map(u64::from_le_bytes);
    let number = number.map_err(|_| Error::corrupt("a checkpoint's record is damaged; run 'asof verify'"))?;
    let newer = number > follower.manifest_seen && number > state.generation.manifest().number;
    follower.manifest_seen = follower.manifest_seen.max(number);
    Ok(newer)
}
