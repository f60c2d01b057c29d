//! Group commit: committers queue, one of them writes and syncs for all.
//!
//! Whoever waits and finds nobody syncing takes the whole queue: one write and one sync per segment touched, the
//! durable head is published, everybody covered wakes. While the sync runs the next batch gathers. A failed write
//! or sync poisons the log: what it left behind is for the next one who opens it.

use crate::error::Error;
use crate::log::{Log, LogOptions, State, Writer};
use crate::planted::{self, Bug, planted};
use crate::position::Position;
use crate::record;
use crate::segment::{self, SegmentHeader, UnfinishedSegment};
use crate::turn::refuse_if_poisoned;

/// Names a queued record; [`Log::wait`] returns when it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record is durable only when its ticket was waited for"]
pub struct Ticket {
    position: Position,
    next: Position,
}

impl Ticket {
    /// Where the record will lie.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where the record after it will lie.
    pub fn next(&self) -> Position {
        self.next
    }
}

/// A batch's buffer of at most this size is used again.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Queued records that lie side by side in one segment.
#[derive(Debug)]
pub(crate) struct Chunk {
    start: Position,
    end: Position,
    bytes: Vec<u8>,
}

/// Gives a record its place and queues its bytes.
pub(crate) fn enqueue(
    state: &mut State,
    database_id: &[u8; 16],
    max_segment_bytes: u64,
    kind: u8,
    payload: &[u8],
) -> Ticket {
    let mut position = state.end;
    let bytes = record::encoded_bytes(payload.len() as u64);
    if position.offset + bytes > max_segment_bytes && position.offset > segment::HEADER_BYTES {
        position.segment += 1;
        position.offset = segment::HEADER_BYTES;
    }
    let next = position.after(bytes);
    let synced_through = state.durable.sequence - 1;
    match state.queue.last_mut() {
        Some(chunk) if chunk.end == position => {}
        _ => {
            let bytes = std::mem::take(&mut state.spare_bytes);
            state.queue.push(Chunk { start: position, end: position, bytes });
        }
    }
    let chunk = state.queue.last_mut().expect("pushed where it was missing");
    record::encode(&mut chunk.bytes, database_id, position, synced_through, kind, payload);
    chunk.end = next;
    state.end = next;
    Ticket { position, next }
}

impl Log {
    /// Whether a batch is being written and synced now.
    pub fn is_syncing(&self) -> bool {
        self.state.lock().syncing
    }

    /// Waits until a record is durable. Every ticket must be waited for: the first waiter writes for all.
    pub fn wait(&self, ticket: Ticket) -> Result<(), Error> {
        if planted(Bug::EarlyAcknowledgement) {
            return Ok(());
        }
        let mut state = self.state.lock();
        loop {
            if ticket.next.sequence <= state.durable.sequence {
                return Ok(());
            }
            refuse_if_poisoned(&state)?;
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            assert!(!state.queue.is_empty(), "the ticket is of this log");
            let mut batch = std::mem::take(&mut state.queue);
            state.syncing = true;
            drop(state);
            let leading = Leading { log: self };
            let written = batch.iter().try_for_each(|chunk| self.write_chunk(chunk));
            state = self.state.lock();
            std::mem::forget(leading);
            state.syncing = false;
            if let Err(error) = written {
                self.poison(&mut state, &error);
            }
            if let Some(mut bytes) = batch.pop().map(|chunk| chunk.bytes)
                && bytes.capacity() <= SPARE_BYTES_MAX
            {
                bytes.clear();
                state.spare_bytes = bytes;
            }
            self.synced.notify_all();
            self.release_if_idle(&mut state);
        }
    }

    /// Writes and syncs one chunk, and publishes its end.
    fn write_chunk(&self, chunk: &Chunk) -> Result<(), Error> {
        let mut slot = self.writer.lock();
        let writer = slot.as_mut().expect("records are queued by a holder of the lock");
        self.place(writer, chunk)?;
        let segment = writer.segment.as_ref().expect("placed");
        let (file, path) = (&segment.file, &segment.path);
        file.write_all_at(&chunk.bytes, chunk.start.offset).map_err(Error::io("write", path))?;
        if planted(Bug::PublishedBeforeSync) {
            let last = writer.head.read().map_or(0, |entry| entry.generation);
            writer.publish(last + 1, chunk.end, false);
        }
        planted::sync_batch(&**file, &*writer.head_file).map_err(Error::io("sync", path))?;
        drop(slot);
        let mut state = self.state.lock();
        state.durable = chunk.end;
        state.generation += 1;
        let (generation, durable) = (state.generation, state.durable);
        let slot = self.writer.lock();
        slot.as_ref().expect("as before").publish(generation, durable, false);
        Ok(())
    }

    /// Makes room for a chunk: grows its segment, or begins it. Everything before it is synced already.
    fn place(&self, writer: &mut Writer, chunk: &Chunk) -> Result<(), Error> {
        let LogOptions { first_segment_bytes: first, max_segment_bytes: most, .. } = self.options;
        let end = chunk.start.offset + chunk.bytes.len() as u64;
        let current = writer.segment.as_mut().expect("the lock is taken together with a segment");
        if current.number == chunk.start.segment {
            return current.grow_to(end, first, most);
        }
        let header = SegmentHeader {
            database_id: self.source.database_id,
            number: chunk.start.segment,
            first_sequence: chunk.start.sequence,
            epoch: chunk.start.epoch,
        };
        let disk = &*self.source.disk;
        let unfinished = match self.ahead.take(header.number) {
            Some(ready) => ready.begin(&header)?,
            None => UnfinishedSegment::create(disk, self.path(), &header)?,
        };
        writer.segment = Some(unfinished.finish(disk, self.path(), end, first, most)?);
        Ok(())
    }
}

/// Poisons the log if the one who writes for all panics.
struct Leading<'a> {
    log: &'a Log,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        state.syncing = false;
        let error = std::io::Error::other("the thread that wrote panicked");
        self.log.poison(&mut state, &Error::io("write", self.log.path())(error));
        self.log.release_if_idle(&mut state);
    }
}
