//! Turns: the right to append, of one thread in one process at a time.
//!
//! The turn of a thread ends when it is dropped; the lock of all processes is given back when, besides, nothing is
//! queued or in flight. A process that another one waits for lets no further thread in once its burst is over.

use crate::error::Error;
use crate::group::{self, Ticket};
use crate::head::{self, Entry, Head};
use crate::lock::{self, Turnstile};
use crate::log::{Access, Log, State, Writer};
use crate::planted::{Bug, planted};
use crate::position::Position;
use crate::record;
use crate::recovery;
use crate::segment::{self, OpenSegment};
use crate::sync::MutexGuard;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The right to append. Whoever takes it reads the log from its own position up to [`Turn::durable_end`] first:
/// other processes may have written.
#[derive(Debug)]
pub struct Turn<'a> {
    log: &'a Log,
}

impl Log {
    /// Takes the turn, waiting at most `wait` for other threads and processes. A tail that a killed holder left is
    /// repaired first.
    pub fn take_turn(&self, wait: Duration) -> Result<Turn<'_>, Error> {
        self.take(wait, |writer| self.adopt(writer))
    }

    /// Takes the turn; `adopt` takes the log over where the lock of all processes was not held yet.
    pub(crate) fn take(
        &self,
        wait: Duration,
        adopt: impl FnOnce(&mut Writer) -> Result<Adopted, Error>,
    ) -> Result<Turn<'_>, Error> {
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        let deadline = Instant::now() + wait;
        let mut state = self.state.lock();
        loop {
            refuse_if_poisoned(&state)?;
            if !state.turn_held && !state.acquiring {
                if !state.lock_held {
                    break;
                }
                if !self.must_yield(&state) {
                    state.turn_held = true;
                    return Ok(Turn { log: self });
                }
                self.release_if_idle(&mut state);
                if !state.lock_held {
                    break;
                }
            }
            if self.turn_free.wait_until(&mut state, deadline).timed_out() {
                // Another thread stands in line for this process already: then somebody else holds the lock.
                let own = (!state.acquiring).then(|| self.source.disk.process_id());
                return Err(Error::Locked {
                    pid: own.or_else(|| lock::holder(&*self.source.disk, self.path())),
                });
            }
        }
        state.acquiring = true;
        drop(state);
        let acquiring = Acquiring { log: self };
        let adopted = self.acquire(deadline, adopt);
        let mut state = self.state.lock();
        std::mem::forget(acquiring);
        state.acquiring = false;
        match adopted {
            Ok(adopted) => {
                state.lock_held = true;
                state.burst_began = Instant::now();
                state.end = adopted.durable;
                state.durable = adopted.durable;
                state.generation = adopted.generation;
                state.turn_held = true;
                Ok(Turn { log: self })
            }
            Err(error) => {
                self.turn_free.notify_one();
                Err(error)
            }
        }
    }

    /// Keeps other processes from writing until [`Log::release_exclusively`] or until the log is dropped.
    pub fn hold_exclusively(&self, wait: Duration) -> Result<(), Error> {
        let turn = self.take_turn(wait)?;
        self.state.lock().exclusive = true;
        drop(turn);
        Ok(())
    }

    /// Takes turns with other processes again.
    pub fn release_exclusively(&self) {
        let mut state = self.state.lock();
        state.exclusive = false;
        self.release_if_idle(&mut state);
    }

    /// Whether another process waits and this one's burst is over.
    fn must_yield(&self, state: &State) -> bool {
        let waited_for = || self.writer_head.get().is_some_and(|head| head.someone_waits());
        !state.exclusive && state.burst_began.elapsed() > self.options.burst_max && waited_for()
    }

    /// Gives the lock of all processes back if nothing of this one needs it.
    pub(crate) fn release_if_idle(&self, state: &mut MutexGuard<'_, State>) {
        let busy = state.turn_held || state.syncing || !state.queue.is_empty();
        let kept = state.exclusive && state.poison.is_none();
        if !state.lock_held || busy || kept {
            return;
        }
        state.lock_held = false;
        let mut writer = self.writer.lock();
        let writer = writer.as_mut().expect("the lock is taken through the writer");
        writer.left_at = None;
        if state.poison.is_none() {
            state.generation += 1;
            writer.publish(state.generation, state.durable, true);
            writer.left_at = Some(state.generation);
        }
        if let Err(error) = writer.turnstile.release() {
            self.poison(state, &error);
        }
        self.turn_free.notify_all();
    }

    /// Takes the lock of all processes, and the log over from whoever wrote last.
    fn acquire(
        &self,
        deadline: Instant,
        adopt: impl FnOnce(&mut Writer) -> Result<Adopted, Error>,
    ) -> Result<Adopted, Error> {
        let mut slot = self.writer.lock();
        if slot.is_none() {
            let writer = Writer::open(self)?;
            let _ = self.writer_head.set(Arc::clone(&writer.head));
            *slot = Some(writer);
        }
        let writer = slot.as_mut().expect("just made");
        writer.turnstile.acquire(&writer.head, deadline)?;
        let adopted = writer.check_linked(self.path()).and_then(|()| adopt(writer));
        if adopted.is_err() {
            writer.left_at = None;
            writer.turnstile.release()?;
        }
        adopted
    }

    /// Makes the log fit to be written by the new holder of the lock, and says so in the head.
    pub(crate) fn adopt(&self, writer: &mut Writer) -> Result<Adopted, Error> {
        let entry = self.believed(&writer.head);
        if let Some(entry) = entry
            && entry.clean
            && entry.intact
        {
            let unchanged = writer.left_at == Some(entry.generation) && entry.nonce == writer.nonce;
            if unchanged || self.take_over(writer, &entry)? {
                let generation = entry.generation + 1;
                writer.publish(generation, entry.durable, false);
                return Ok(Adopted { durable: entry.durable, generation });
            }
        }
        writer.turnstile.write_pid()?;
        let rewritten = recovery::repair(self, entry.map(|entry| entry.durable))?;
        Ok(writer.begin_anew(rewritten))
    }

    /// Goes on where another process left cleanly; false where the file does not agree with the head.
    fn take_over(&self, writer: &mut Writer, entry: &Entry) -> Result<bool, Error> {
        let Position { segment: number, offset, .. } = entry.durable;
        let disk = &*self.source.disk;
        let segment = OpenSegment::open(disk, self.path(), number)?;
        let mut ahead = [0; record::HEADER_BYTES];
        let count =
            segment.file.read_up_to_at(&mut ahead, offset).map_err(Error::io("read", &segment.path))?;
        let next = segment::path_of(self.path(), number + 1);
        let successor = disk.exists(&next).map_err(Error::io("look for", &next))?;
        if offset > segment.allocated || ahead[..count].iter().any(|byte| *byte != 0) || successor {
            return Ok(false);
        }
        writer.turnstile.write_pid()?;
        writer.segment = Some(segment);
        Ok(true)
    }
}

/// The log as the new holder of the lock found or made it.
pub(crate) struct Adopted {
    durable: Position,
    generation: u64,
}

impl Writer {
    fn open(log: &Log) -> Result<Writer, Error> {
        static HANDLES: AtomicU64 = AtomicU64::new(1);
        let source = &log.source;
        let (head, head_file) = Head::map_or_create(&*source.disk, &source.dir, &source.database_id)?;
        Ok(Writer {
            turnstile: Turnstile::open(&*source.disk, &source.dir)?,
            head: Arc::new(head),
            head_file,
            segment: None,
            left_at: None,
            nonce: HANDLES.fetch_add(1, Ordering::Relaxed) << 32 | u64::from(source.disk.process_id()),
        })
    }

    /// Refuses to work behind the back of a process that found the lock or the head removed and made another.
    fn check_linked(&self, dir: &Path) -> Result<(), Error> {
        for (name, file) in
            [(lock::LOCK_NAME, self.turnstile.lock_file()), (head::FILE_NAME, &*self.head_file)]
        {
            let path = dir.join(name);
            if !file.is_linked().map_err(Error::io("look at", &path))? {
                let reason = "it was removed while the log was open; reopen the log";
                return Err(Error::io("use", &path)(io::Error::new(io::ErrorKind::NotFound, reason)));
            }
        }
        Ok(())
    }

    /// Goes on in a segment made by a repair. Both slots of the head are written, for either may be bad.
    pub(crate) fn begin_anew(&mut self, (segment, durable): (OpenSegment, Position)) -> Adopted {
        self.segment = Some(segment);
        let last = self.head.read().map_or(0, |entry| entry.generation);
        for generation in [last + 1, last + 2] {
            self.publish(generation, durable, false);
        }
        Adopted { durable, generation: last + 2 }
    }

    pub(crate) fn publish(&self, generation: u64, durable: Position, clean: bool) {
        let pid = self.nonce as u32;
        self.head.publish(&Entry { generation, durable, pid, nonce: self.nonce, clean, intact: true });
    }
}

impl Turn<'_> {
    /// The end of everything appended so far, durable or queued.
    pub fn end(&self) -> Position {
        self.log.state.lock().end
    }

    /// The end of everything durable: what other processes wrote is before it.
    pub fn durable_end(&self) -> Position {
        self.log.state.lock().durable
    }

    /// Queues a record and gives it its sequence. Nothing is on disk before [`Log::wait`] returns; the record
    /// cannot be taken back. `kind` is the caller's, and not 0.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<Ticket, Error> {
        assert!(kind != 0, "kind 0 is reserved");
        let bytes = payload.len() as u64;
        if bytes > record::PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge { bytes, most: record::PAYLOAD_BYTES_MAX });
        }
        let mut state = self.log.state.lock();
        refuse_if_poisoned(&state)?;
        let options = &self.log.options;
        let database_id = &self.log.source.database_id;
        let most = options.max_segment_bytes;
        let ticket = group::enqueue(&mut state, database_id, most, kind, payload);
        let end = ticket.next();
        if end.offset > most / 2 {
            self.log.ahead.ask(end.segment);
        }
        Ok(ticket)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        state.turn_held = false;
        self.log.release_if_idle(&mut state);
        self.log.turn_free.notify_one();
    }
}

/// Lets the next thread try if taking the lock panics.
struct Acquiring<'a> {
    log: &'a Log,
}

impl Drop for Acquiring<'_> {
    fn drop(&mut self) {
        self.log.state.lock().acquiring = false;
        self.log.turn_free.notify_all();
    }
}

pub(crate) fn refuse_if_poisoned(state: &State) -> Result<(), Error> {
    match &state.poison {
        Some(_) if planted(Bug::PoisonIgnored) => Ok(()),
        Some(reason) => {
            Err(Error::Poisoned { reason: reason.to_string(), full: state.poisoned_by_full_disk })
        }
        None => Ok(()),
    }
}
