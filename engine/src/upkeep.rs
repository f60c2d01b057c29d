//! Upkeep: what need not be done within a commit (checkpoints, compaction, retention where a policy is set), by
//! one thread of the open database.
//!
//! Invariants. The thread starts with the first commit and ends with the last handle; a checkpoint that
//! is due by then is made first, so that processes that live for one commit settle what they write. So
//! is one of a tail that would take long to read when the database is opened next; what is shorter
//! stays, and costs neither side much. The same tail is settled when nobody commits any more.
//! Commits wait for it only where the changes in memory have used up their budget. What fails is tried
//! again after growing pauses, and [`crate::Info`] says so; the log has everything meanwhile. Another
//! process that does the same is let do it.

use crate::api::CheckpointReport;
use crate::checkpoint;
use crate::compact::policy::Parameters;
use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{CHECKPOINT_LOG_BYTES_MIN, Upkeep};
use crate::retention::{self, Applied};
use crate::state::State;
use asof_mvcc::{TableId, Version};
use asof_wal::{LogOptions, Position};
use parking_lot::{Condvar, Mutex};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The pause after a first failure; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The longest rest of compaction at a time.
const REST_MAX: Duration = Duration::from_millis(50);
/// The pause between two runs of retention: it looks at all of history.
const RETENTION_PAUSE: Duration = Duration::from_secs(3600);
/// The pause after a run of retention that failed, or that another process kept from.
const RETENTION_RETRY: Duration = Duration::from_secs(5);
/// The pause between two pieces of the log's next segment.
const AHEAD_PAUSE: Duration = Duration::from_millis(1);
/// The stack of the thread.
const STACK_BYTES: usize = 4 << 20;

/// What commits and the thread of upkeep tell each other.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    asked: Mutex<Asked>,
    /// Something was asked of the thread.
    wake: Condvar,
    /// Something was done by it, or failed.
    done: Condvar,
    /// Whether the thread knows that there is something to settle: most commits tell it nothing new.
    told: AtomicBool,
    /// Held by whoever makes a checkpoint for upkeep's sake.
    only_one: Mutex<()>,
}

#[derive(Debug, Default)]
struct Asked {
    thread: Option<JoinHandle<()>>,
    /// Makes the log's next segment.
    ahead: Option<JoinHandle<()>>,
    stop: bool,
    /// A checkpoint is due whatever the age of what it settles.
    due: bool,
    /// Since when there is something to settle.
    since: Option<Instant>,
    /// The thread sleeps until it is told of a commit: the tail is short, and nobody commits.
    asleep: bool,
    /// At the end one try is enough.
    tried_at_end: bool,
    /// The tries that failed in a row.
    failures: u32,
    /// When to try again.
    retry: Option<Instant>,
    /// When to try again to let versions go.
    retain_again: Option<Instant>,
    error: Option<String>,
}

impl Signals {
    /// Why the last try failed; `None` where it did not.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.asked.lock().error.clone()
    }
}

/// Ends the thread with the last handle of the database.
#[derive(Debug)]
pub(crate) struct Guard {
    signals: Arc<Signals>,
}

impl Guard {
    pub(crate) fn new(signals: Arc<Signals>) -> Guard {
        Guard { signals }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let threads = {
            let mut asked = self.signals.asked.lock();
            asked.stop = true;
            self.signals.wake.notify_all();
            [asked.thread.take(), asked.ahead.take()]
        };
        for thread in threads.into_iter().flatten() {
            if thread.join().is_err() {
                log::error!("a thread of upkeep panicked");
            }
        }
    }
}

impl Database {
    /// Does what upkeep would do now, if anything is due, in the calling thread; `false` where nothing was.
    pub fn upkeep_step(&self) -> Result<bool> {
        if !is_due(&self.inner) {
            return Ok(false);
        }
        Ok(checkpoint::try_checkpoint(self, Duration::ZERO)?.is_some_and(|report| report.done))
    }
}

/// Whether the log or the changes in memory have grown enough for a checkpoint.
fn is_due(inner: &Inner) -> bool {
    let most = inner.options.checkpoint_log_bytes;
    if most == 0 {
        return false;
    }
    let state = inner.state();
    let Some(tail) = tail_bytes(&state) else { return false };
    let limit = (state.generation.data_bytes() / 8).max(CHECKPOINT_LOG_BYTES_MIN).min(most);
    tail >= limit || state.unsettled_bytes() >= inner.options.memtable_bytes() / 2
}

/// Whether the tail is so long that it is settled when nobody commits any more.
fn is_worth_settling(inner: &Inner) -> bool {
    let least = inner.options.settle_log_bytes;
    let never = least == 0 || inner.options.checkpoint_log_bytes == 0;
    let state = inner.state();
    // Whoever asks for the sizes of a table that was loaded reads all of it, unless they are settled.
    let loaded = || state.memory.read().loaded.values().flatten().map(|file| file.record.bytes).sum::<u64>();
    !never && tail_bytes(&state).is_some_and(|bytes| bytes >= least || loaded() >= least)
}

/// Bytes of log that no manifest settles; `None` where there is no commit in them.
fn tail_bytes(state: &State) -> Option<u64> {
    let start: Position = state.generation.manifest().log_start.into();
    Some(log_bytes_between(start, state.tail_end()?))
}

/// Bytes of log from one place to another, as far as the places tell: segments between count as full.
fn log_bytes_between(start: Position, end: Position) -> u64 {
    match end.segment.saturating_sub(start.segment) {
        0 => end.offset.saturating_sub(start.offset),
        segments => end.offset + (segments - 1) * LogOptions::MAX_SEGMENT_BYTES,
    }
}

/// Takes note of a commit: sees to it that it is settled in time. The commit stands whatever happens here.
pub(crate) fn after_commit(database: &Database) {
    let inner = &database.inner;
    make_log_ahead(inner);
    match inner.options.upkeep {
        Upkeep::Off => {}
        Upkeep::Inline => {
            if is_due(inner)
                && let Some(_only) = inner.signals.only_one.try_lock()
                && let Err(error) = checkpoint::try_checkpoint(database, Duration::ZERO)
            {
                log::warn!("a checkpoint was put off: {error}");
            }
        }
        Upkeep::Background => {
            let due = is_due(inner);
            if due || !inner.signals.told.load(Ordering::SeqCst) {
                tell(inner, due);
            }
        }
    }
}

/// Sees to it that the log's next segment is made before it is needed.
fn make_log_ahead(inner: &Arc<Inner>) {
    let Ok(log) = inner.log() else { return };
    if !log.wants_next_segment() {
        return;
    }
    let put_off = |error| log::warn!("the log's next segment is made when it is needed: {error}");
    match inner.options.upkeep {
        Upkeep::Off => {}
        Upkeep::Inline => log.make_next_segment(|| true).unwrap_or_else(put_off),
        Upkeep::Background => {
            let mut asked = inner.signals.asked.lock();
            if asked.stop || asked.ahead.as_ref().is_some_and(|thread| !thread.is_finished()) {
                return;
            }
            let (inner, signals) = (inner.clone(), inner.signals.clone());
            let pace = move || {
                std::thread::sleep(AHEAD_PAUSE);
                !signals.asked.lock().stop
            };
            let work = move || {
                if let Ok(log) = inner.log() {
                    log.make_next_segment(pace).unwrap_or_else(put_off);
                }
            };
            let started = std::thread::Builder::new().name("asof-log-ahead".to_string()).spawn(work);
            match started {
                Ok(thread) => asked.ahead = Some(thread),
                Err(error) => log::warn!("no thread for the log's next segment could be started: {error}"),
            }
        }
    }
}

/// Wakes the thread, or starts it.
fn tell(inner: &Arc<Inner>, due: bool) {
    if inner.options.checkpoint_log_bytes == 0 {
        return;
    }
    let signals = &inner.signals;
    let mut asked = signals.asked.lock();
    if asked.stop {
        return;
    }
    signals.told.store(true, Ordering::SeqCst);
    let news = asked.since.is_none() || asked.asleep || (due && !asked.due);
    asked.asleep = false;
    asked.since.get_or_insert_with(Instant::now);
    asked.due |= due;
    if asked.thread.is_none() {
        let inner = inner.clone();
        let started = std::thread::Builder::new()
            .name("asof-upkeep".to_string())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&inner));
        match started {
            Ok(thread) => asked.thread = Some(thread),
            Err(error) => return log::warn!("no thread for checkpoints could be started: {error}"),
        }
    }
    if news {
        signals.wake.notify_all();
    }
}

/// The thread of upkeep: waits until something is due, and does it.
fn run(inner: &Arc<Inner>) {
    let signals = inner.signals.clone();
    let database = Database::without_upkeep(inner.clone());
    let mut retain_from = Instant::now();
    while wait_for_work(inner, &signals) {
        let made = {
            let _only = signals.only_one.lock();
            checkpoint::try_checkpoint(&database, Duration::ZERO)
        };
        let settled = matches!(made, Ok(Some(_)));
        note_outcome(inner, &signals, made);
        if settled {
            compact(&database, &signals);
            if retain_from <= Instant::now() {
                retain_from = Instant::now() + retain(&database, &signals);
            }
        }
    }
    signals.done.notify_all();
}

/// Tells a rewrite to go on, at the pace of upkeep: two thirds of the time, and not where the thread is to end or commits
/// run out of room.
fn pace<'a>(database: &'a Database, signals: &'a Signals) -> impl FnMut(u64) -> bool + 'a {
    let room = database.inner.options.memtable_bytes() / 4 * 3;
    let mut last = Instant::now();
    move |_rows: u64| {
        std::thread::sleep((last.elapsed() / 2).min(REST_MAX));
        last = Instant::now();
        !signals.asked.lock().stop && database.inner.state().unsettled_bytes() < room
    }
}

/// Lets go what the stored policies let go; tells how long to wait before the next time.
fn retain(database: &Database, signals: &Signals) -> Duration {
    if signals.asked.lock().stop {
        return Duration::ZERO;
    }
    match retention::apply_stored(database, &mut pace(database, signals)) {
        Ok(Applied::Done) => return RETENTION_PAUSE,
        // There may be one by the next checkpoint.
        Ok(Applied::NoPolicy) => return Duration::ZERO,
        Ok(Applied::Locked) => {}
        Err(error) => log::warn!("retention was put off: {error}"),
    }
    signals.asked.lock().retain_again = Some(Instant::now() + RETENTION_RETRY);
    RETENTION_RETRY
}

/// Compacts one step after the other while that pays and nothing else is due. It works two thirds of the time, and stops
/// in the middle of a step where the thread is to end or commits run out of room: the step is done again later.
fn compact(database: &Database, signals: &Signals) {
    let mut pace = pace(database, signals);
    let mut rewrote = false;
    let mut damaged: HashSet<TableId> = HashSet::new();
    loop {
        {
            let asked = signals.asked.lock();
            if asked.stop || asked.due {
                return;
            }
        }
        let step = database
            .compact_plan(None, &Parameters::AUTOMATIC)
            .map(|steps| steps.into_iter().find(|step| !damaged.contains(&step.table_id)));
        let done = match step {
            Ok(Some(step)) => match database.compact_step(&step, &mut pace) {
                // The others are compacted all the same.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    log::error!("table {} is not compacted: {error}", step.table);
                    damaged.insert(step.table_id);
                    continue;
                }
                done => done,
            },
            Ok(None) if !rewrote => return,
            Ok(None) => {
                return database.release_files().unwrap_or_else(|error| {
                    log::warn!("files that compaction has rewritten stay until the next checkpoint: {error}");
                });
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(Some(_)) => rewrote = true,
            // Stopped, or another process is at it.
            Ok(None) => return,
            Err(error) => return log::warn!("compaction was put off: {error}"),
        }
    }
}

/// Waits until a checkpoint is due; `false` where the thread is to end.
fn wait_for_work(inner: &Inner, signals: &Signals) -> bool {
    let mut asked = signals.asked.lock();
    // The last commit that was there when somebody looked, and when that was.
    let mut newest: Option<(Version, Instant)> = None;
    loop {
        let by_age = asked.since.and_then(|since| since.checked_add(inner.options.checkpoint_age));
        let now = Instant::now();
        let paused = asked.retry.filter(|retry| *retry > now);
        if asked.stop {
            let wanted = asked.due || is_worth_settling(inner);
            // A checkpoint that was under way when the end was asked for did not settle what came meanwhile.
            let first = !std::mem::replace(&mut asked.tried_at_end, true);
            return wanted && asked.failures == 0 && first;
        }
        let is_over = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if paused.is_none() && (asked.due || is_over(by_age) || is_over(asked.retain_again)) {
            asked.retain_again = None;
            return true;
        }
        let mut until = paused.or_else(|| by_age.into_iter().chain(asked.retain_again).min());
        if paused.is_none() && asked.since.is_some() && !asked.asleep {
            let applied = inner.state().applied();
            let (_, quiet_since) = match newest {
                Some(seen) if seen.0 == applied => seen,
                _ => *newest.insert((applied, now)),
            };
            let idle = quiet_since.checked_add(inner.options.settle_idle);
            if idle.is_some_and(|idle| idle <= now) {
                if is_worth_settling(inner) {
                    return true;
                }
                // The next commit wakes the thread; until then there is nothing to look at.
                signals.told.store(false, Ordering::SeqCst);
                asked.asleep = inner.state().applied() == applied;
                signals.told.store(!asked.asleep, Ordering::SeqCst);
                newest = None;
                continue;
            }
            until = until.into_iter().chain(idle).min();
        }
        match until {
            Some(until) => drop(signals.wake.wait_until(&mut asked, until)),
            None => signals.wake.wait(&mut asked),
        }
    }
}

fn note_outcome(inner: &Inner, signals: &Signals, made: Result<Option<CheckpointReport>>) {
    let mut asked = signals.asked.lock();
    match made {
        Ok(Some(_)) => {
            *asked = Asked {
                thread: asked.thread.take(),
                ahead: asked.ahead.take(),
                stop: asked.stop,
                tried_at_end: asked.tried_at_end,
                ..Asked::default()
            };
            // What is committed from now on tells again; what was committed meanwhile has told already.
            signals.told.store(false, Ordering::SeqCst);
            if inner.state().tail_end().is_some() {
                signals.told.store(true, Ordering::SeqCst);
                asked.since = Some(Instant::now());
            }
        }
        // Another process makes one right now; it settles what this one has.
        Ok(None) => asked.retry = Some(Instant::now() + PAUSE_MIN),
        Err(error) => {
            let pause = PAUSE_MIN.saturating_mul(1 << asked.failures.min(16)).min(PAUSE_MAX);
            log::warn!("a checkpoint failed and is tried again in {pause:?}: {error}");
            asked.failures += 1;
            asked.retry = Some(Instant::now() + pause);
            asked.error = Some(error.to_string());
        }
    }
    signals.done.notify_all();
}

/// Waits until the changes in memory are within their budget: for a checkpoint that settles them.
pub(crate) fn wait_for_room(database: &Database) -> Result<()> {
    let inner = &database.inner;
    let most = inner.options.memtable_bytes();
    if inner.state().unsettled_bytes() < most {
        return Ok(());
    }
    let held = || format!("changes that no checkpoint has settled take more than {most} bytes of memory");
    let way_out = "memory_bytes (--memory) sets how much they may take";
    if inner.options.checkpoint_log_bytes == 0 || inner.options.upkeep == Upkeep::Off {
        let message = format!("{}; make a checkpoint, or give more: {way_out}", held());
        return Err(Error::new(ErrorKind::Busy, message));
    }
    if inner.options.upkeep == Upkeep::Inline {
        let _only = inner.signals.only_one.lock();
        if inner.state().unsettled_bytes() >= most {
            checkpoint::try_checkpoint(database, inner.options.room_wait)
                .map_err(|error| error.at(format!("{}, and the checkpoint failed", held())))?;
        }
        return Ok(());
    }
    let deadline = Instant::now() + inner.options.room_wait;
    loop {
        tell(inner, true);
        let mut asked = inner.signals.asked.lock();
        if inner.state().unsettled_bytes() < most {
            return Ok(());
        }
        if inner.signals.done.wait_until(&mut asked, deadline).timed_out() {
            let why = asked.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
            let waited = inner.options.room_wait;
            return Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "{}, and no checkpoint did so within {waited:?}{why}; try again, or give more: {way_out}",
                    held()
                ),
            ));
        }
    }
}

impl State {
    /// Where the log goes on after the last commit applied; `None` where there is none since the manifest.
    fn tail_end(&self) -> Option<Position> {
        self.memory.read().commits.last().map(|last| last.next)
    }
}
