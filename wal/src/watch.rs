//! The durable head as readers see it: mapped at first need, for it may be missing when the log is opened and made
//! by a writer later.

use crate::head::{Entry, Head};
use crate::planted::{Bug, planted};
use crate::position::Position;
use crate::reader::Source;
use crate::sync::Mutex;
use std::sync::OnceLock;

/// Follows the durable head of a log.
#[derive(Debug)]
pub(crate) struct Watch {
    source: Source,
    /// The first record still wanted; a head before it is not believed.
    floor: Mutex<Position>,
    head: OnceLock<Head>,
}

impl Watch {
    pub fn new(source: Source, floor: Position) -> Watch {
        Watch { source, floor: Mutex::new(floor), head: OnceLock::new() }
    }

    /// The head's newest entry, if there is one that may be believed.
    pub fn entry(&self) -> Option<Entry> {
        if planted(Bug::EndOfLogTooLate) {
            return None;
        }
        let head = match self.head.get() {
            Some(head) => head,
            None => {
                let Source { disk, dir, database_id } = &self.source;
                let head = Head::map(&**disk, dir, database_id, false).ok()?;
                self.head.get_or_init(|| head)
            }
        };
        self.believed(head)
    }

    /// The newest valid entry of a head, unless it is older than what is known to be durable.
    pub fn believed(&self, head: &Head) -> Option<Entry> {
        head.read().filter(|entry| entry.durable.sequence >= self.floor().sequence)
    }

    pub fn floor(&self) -> Position {
        *self.floor.lock()
    }

    pub fn advance(&self, from: Position) {
        let mut floor = self.floor.lock();
        if from.sequence > floor.sequence {
            *floor = from;
        }
    }
}
