//! The log of one open database: where it lies, how far it may be read, who may write.
//!
//! What writing threads share is in [`State`], under one mutex that is never held during a write or sync. Files
//! being written are in [`Writer`], touched by one thread at a time: the one that takes the lock of all processes
//! (nothing is queued then), or the one that drains the queue.

use crate::ahead::Ahead;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::group::Chunk;
use crate::head::{Entry, Head};
use crate::lock::Turnstile;
use crate::position::Position;
use crate::reader::{KnownEnd, Records, Source};
use crate::segment::{self, OpenSegment, SegmentHeader, UnfinishedSegment};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::watch::Watch;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How a log is written. The format does not depend on it.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The size a segment begins with.
    pub first_segment_bytes: u64,
    /// The size up to which a segment doubles; then the next one begins.
    pub max_segment_bytes: u64,
    /// How long callers that have no better figure may wait for their turn; the log takes the time as an argument.
    pub turn_wait: Duration,
    /// How long a process may keep the lock while another one waits.
    pub burst_max: Duration,
}

impl LogOptions {
    /// Default of `first_segment_bytes`.
    pub const FIRST_SEGMENT_BYTES: u64 = 64 << 10;
    /// Default of `max_segment_bytes`.
    pub const MAX_SEGMENT_BYTES: u64 = 16 << 20;
    /// Default of `turn_wait`.
    pub const TURN_WAIT: Duration = Duration::from_secs(5);
    /// Default of `burst_max`.
    pub const BURST_MAX: Duration = Duration::from_millis(20);
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            first_segment_bytes: Self::FIRST_SEGMENT_BYTES,
            max_segment_bytes: Self::MAX_SEGMENT_BYTES,
            turn_wait: Self::TURN_WAIT,
            burst_max: Self::BURST_MAX,
        }
    }
}

/// What a log is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and following; no lock is taken and nothing is written.
    ReadOnly,
    /// Taking turns too.
    ReadWrite,
}

/// A segment, for those who report on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// The file's length.
    pub allocated_bytes: u64,
    /// Bytes in use; for all but the last segment the whole file counts.
    pub used_bytes: u64,
}

/// The log of one open database.
#[derive(Debug)]
pub struct Log {
    pub(crate) source: Source,
    pub(crate) options: LogOptions,
    pub(crate) access: Access,
    watch: Arc<Watch>,
    known_end: Mutex<Option<KnownEnd>>,
    pub(crate) state: Mutex<State>,
    /// A turn, or the lock of all processes, has become free.
    pub(crate) turn_free: Condvar,
    /// A batch has been synced, or has failed.
    pub(crate) synced: Condvar,
    pub(crate) writer: Mutex<Option<Writer>>,
    /// The next segment, made before it is needed.
    pub(crate) ahead: Ahead,
    /// The writer's head, for those who may not wait for the writer.
    pub(crate) writer_head: OnceLock<Arc<Head>>,
}

impl Drop for Log {
    /// Leaves cleanly: what was queued and never waited for is dropped, it has not been on disk.
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.exclusive = false;
        state.queue.clear();
        self.release_if_idle(&mut state);
        drop(state);
        self.discard_ahead();
    }
}

/// What writing threads share.
#[derive(Debug)]
pub(crate) struct State {
    /// A thread of this process has its turn.
    pub turn_held: bool,
    /// A thread of this process is taking the lock of all processes.
    pub acquiring: bool,
    /// This process holds that lock.
    pub lock_held: bool,
    /// The lock is kept while idle, too.
    pub exclusive: bool,
    pub burst_began: Instant,
    /// End of everything appended.
    pub end: Position,
    /// End of everything synced.
    pub durable: Position,
    pub queue: Vec<Chunk>,
    /// An empty buffer for the next chunk.
    pub spare_bytes: Vec<u8>,
    /// A thread is writing and syncing what it took from the queue.
    pub syncing: bool,
    /// The text of the error after which this handle refuses to work.
    pub poison: Option<Arc<str>>,
    /// That error was for want of room.
    pub poisoned_by_full_disk: bool,
    pub generation: u64,
}

/// What is needed to write; made at the first turn.
#[derive(Debug)]
pub(crate) struct Writer {
    pub turnstile: Turnstile,
    pub head: Arc<Head>,
    pub head_file: Arc<dyn DiskFile>,
    /// Open while the head shows that nobody else wrote since.
    pub segment: Option<OpenSegment>,
    /// The generation of the head when this handle gave the lock back.
    pub left_at: Option<u64>,
    pub nonce: u64,
}

impl Log {
    /// The position of the first record of a new log.
    pub fn start() -> Position {
        Position::START
    }

    /// Makes a log in `dir`, which is made too where it is missing: the first segment and the head, all durable.
    /// Fails with `AlreadyExists` where there are segments.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        database_id: [u8; 16],
        options: LogOptions,
    ) -> Result<Log, Error> {
        match disk.create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", dir)(error));
            }
            _ => {}
        }
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(Error::io("sync", parent))?;
        }
        if !segment::list(&*disk, dir)?.is_empty() {
            return Err(Error::io("create", dir)(io::ErrorKind::AlreadyExists.into()));
        }
        let start = Position::START;
        let header = SegmentHeader {
            database_id,
            number: start.segment,
            first_sequence: start.sequence,
            epoch: start.epoch,
        };
        Turnstile::open(&*disk, dir)?;
        let (head, _) = Head::map_or_create(&*disk, dir, &database_id)?;
        let unfinished = UnfinishedSegment::create(&*disk, dir, &header)?;
        unfinished.finish(&*disk, dir, 0, options.first_segment_bytes, options.max_segment_bytes)?;
        for generation in [1, 2] {
            let pid = disk.process_id();
            head.publish(&Entry { generation, durable: start, pid, nonce: 0, clean: true, intact: true });
        }
        Log::open(disk, dir, database_id, start, options, Access::ReadWrite)
    }

    /// Opens a log that exists. `from` is the position of the first record still wanted. Reads nothing but the
    /// durable head.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        database_id: [u8; 16],
        from: Position,
        options: LogOptions,
        access: Access,
    ) -> Result<Log, Error> {
        let source = Source { disk, dir: dir.to_path_buf(), database_id };
        let state = State {
            turn_held: false,
            acquiring: false,
            lock_held: false,
            exclusive: false,
            burst_began: Instant::now(),
            end: from,
            durable: from,
            queue: Vec::new(),
            spare_bytes: Vec::new(),
            syncing: false,
            poison: None,
            poisoned_by_full_disk: false,
            generation: 0,
        };
        let log = Log {
            watch: Arc::new(Watch::new(source.clone(), from)),
            source,
            options,
            access,
            known_end: Mutex::new(None),
            state: Mutex::new(state),
            turn_free: Condvar::new(),
            synced: Condvar::new(),
            writer: Mutex::new(None),
            ahead: Ahead::default(),
            writer_head: OnceLock::new(),
        };
        log.head_entry();
        Ok(log)
    }

    /// How far the log may be read now. Costs no system call while the durable head is valid; otherwise the log is
    /// searched for its end, and damage is an error here.
    pub fn durable(&self) -> Result<Position, Error> {
        if let Some(entry) = self.head_entry() {
            return Ok(entry.durable);
        }
        let known_end = *self.known_end.lock();
        let from = known_end.map_or_else(|| self.floor(), |known| known.position);
        let watch = Some(Arc::clone(&self.watch));
        let mut records = Records::new(self.source.clone(), from, None, known_end, watch);
        for record in &mut records {
            record?;
        }
        *self.known_end.lock() = records.end();
        Ok(records.position())
    }

    /// The records from a position on, up to [`Log::durable`]. Damage is met where it lies: everything before it
    /// comes first.
    pub fn read_from(&self, from: Position) -> Result<Records, Error> {
        let limit = self.head_entry().map(|entry| entry.durable);
        let known_end = *self.known_end.lock();
        let watch = Some(Arc::clone(&self.watch));
        Ok(Records::new(self.source.clone(), from, limit, known_end, watch))
    }

    /// The records from a position on to the end of all that is written, behind [`Log::durable`] too. Nothing there was
    /// acknowledged, but the next writer may make it part of the log: for who must not miss what that may be.
    pub fn read_written(&self, from: Position) -> Records {
        Records::new(self.source.clone(), from, None, None, None)
    }

    /// The segments there are, oldest first. What cannot be listed is left out.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let listed = segment::list(&*self.source.disk, &self.source.dir).unwrap_or_default();
        let end = self.durable().ok();
        let info = |(number, allocated_bytes): (u64, u64)| SegmentInfo {
            number,
            path: segment::path_of(&self.source.dir, number),
            allocated_bytes,
            used_bytes: match end {
                Some(end) if end.segment == number => end.offset,
                _ => allocated_bytes,
            },
        };
        listed.into_iter().map(info).collect()
    }

    /// Says that nothing before `from`, which is durable, will be wanted again: another process may retire it.
    pub fn advance(&self, from: Position) {
        self.watch.advance(from);
    }

    /// Removes the segments that hold nothing from `before` on, oldest first, and returns their numbers. The last
    /// segment always stays.
    pub fn retire(&self, before: Position) -> Result<Vec<u64>, Error> {
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        self.advance(before);
        let Source { disk, dir, .. } = &self.source;
        let mut removed = Vec::new();
        for (number, _) in segment::list(&**disk, dir)? {
            if number >= before.segment {
                break;
            }
            let path = segment::path_of(dir, number);
            disk.remove_file(&path).map_err(Error::io("remove", &path))?;
            removed.push(number);
        }
        if !removed.is_empty() {
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        Ok(removed)
    }

    /// Whether a write or sync has failed: this handle does no more work.
    pub fn is_poisoned(&self) -> bool {
        self.state.lock().poison.is_some()
    }

    /// The head's newest entry, if there is one that may be believed.
    pub(crate) fn head_entry(&self) -> Option<Entry> {
        self.watch.entry()
    }

    /// The newest valid entry of the head that writers map, if it may be believed.
    pub(crate) fn believed(&self, head: &Head) -> Option<Entry> {
        self.watch.believed(head)
    }

    pub(crate) fn floor(&self) -> Position {
        self.watch.floor()
    }

    /// Stops all work for good; everything queued fails.
    pub(crate) fn poison(&self, state: &mut MutexGuard<'_, State>, error: &Error) {
        if state.poison.is_none() {
            let hint = if error.is_full() { "; reopening works once space exists" } else { "" };
            state.poison = Some(format!("{error}{hint}").into());
            state.poisoned_by_full_disk = error.is_full();
        }
        state.queue.clear();
        self.synced.notify_all();
        self.turn_free.notify_all();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.source.dir
    }
}
