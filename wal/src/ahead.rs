//! The next segment, zeroed before it is needed: beginning it then costs a header and a name, and commits wait for no
//! zeros.
//!
//! It is made by a thread that no commit waits for, under the name of an unfinished segment, which nobody reads and
//! the next repair removes. Invariants. The name is taken by a holder of the lock of all processes, and only where
//! nothing has it. What was made is used by a holder again, and only where the name still leads to it: whoever else
//! began that segment meanwhile has removed it. Whatever fails here fails nothing else.

use crate::error::Error;
use crate::log::{Access, Log};
use crate::segment::UnfinishedSegment;
use crate::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long the making of a segment waits for its turn.
const WAIT: Duration = Duration::from_millis(100);

/// What is known of the next segment.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    slot: Mutex<Slot>,
    wanted: AtomicBool,
    /// The segment whose successor was asked for last.
    asked_in: AtomicU64,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// A thread writes zeros to the segment of this number.
    Making(u64),
    Ready(UnfinishedSegment),
}

impl Ahead {
    /// Asks for the successor of a segment, once.
    pub fn ask(&self, segment: u64) {
        if self.asked_in.load(Ordering::Relaxed) < segment {
            self.asked_in.store(segment, Ordering::Relaxed);
            self.wanted.store(true, Ordering::Release);
        }
    }

    /// The segment of a number, if it is ready. What is still being made is not waited for.
    pub fn take(&self, number: u64) -> Option<UnfinishedSegment> {
        match std::mem::take(&mut *self.slot.lock()) {
            Slot::Ready(ready) if ready.number() == number && ready.is_linked() => Some(ready),
            _ => None,
        }
    }
}

impl Log {
    /// Whether [`Log::make_next_segment`] has something to do: the current segment is more than half full. Costs next
    /// to nothing.
    pub fn wants_next_segment(&self) -> bool {
        self.ahead.wanted.load(Ordering::Acquire)
    }

    /// Makes the segment after the current one ahead, where it is wanted: writes and syncs its zeros in small pieces,
    /// and calls `pace` between them, which may sleep, and ends it by `false`. An error has harmed nothing: the
    /// segment is then made when it is needed.
    pub fn make_next_segment(&self, mut pace: impl FnMut() -> bool) -> Result<(), Error> {
        if self.access == Access::ReadOnly || !self.ahead.wanted.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let disk = &*self.source.disk;
        let turn = self.take_turn(WAIT)?;
        let number = turn.end().segment + 1;
        let Some(mut made) = UnfinishedSegment::create_ahead(disk, self.path(), number)? else {
            return Ok(());
        };
        *self.ahead.slot.lock() = Slot::Making(number);
        drop(turn);
        let zeroed = made.zero_ahead(self.options.max_segment_bytes, &mut pace);
        let mut slot = self.ahead.slot.lock();
        if !matches!(*slot, Slot::Making(making) if making == number) {
            // It was needed before it was ready, and another was made in its place.
            return zeroed.map(drop);
        }
        *slot = Slot::Empty;
        if matches!(zeroed, Ok(true)) {
            *slot = Slot::Ready(made);
            return Ok(());
        }
        drop(slot);
        self.discard(&made);
        zeroed.map(drop)
    }

    /// Removes what was made ahead and never needed.
    pub(crate) fn discard_ahead(&self) {
        let slot = std::mem::take(&mut *self.ahead.slot.lock());
        if let Slot::Ready(made) = slot {
            self.discard(&made);
        }
    }

    /// Removes an unfinished segment if that can be done at once; otherwise whoever needs its name does.
    fn discard(&self, made: &UnfinishedSegment) {
        if let Ok(_turn) = self.take_turn(Duration::ZERO)
            && made.is_linked()
        {
            made.remove(&*self.source.disk);
        }
    }
}
