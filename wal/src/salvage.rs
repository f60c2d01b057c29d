//! Salvage: what a person may ask for where a log is damaged in its middle.
//!
//! Everything before the damage is kept, the rest is put aside under names that are never read. Never done unasked:
//! it gives up records that were acknowledged.

use crate::error::Error;
use crate::log::Log;
use crate::position::Position;
use crate::recovery;
use std::time::Duration;

/// What a salvage did.
#[derive(Debug)]
pub struct Salvaged {
    /// Where the log ends now: the first sequence given up.
    pub end: Position,
    /// What was damaged there.
    pub damage: Error,
}

impl Log {
    /// Cuts a damaged log before its first damage, so that it can be written again; none where it is whole. The segment
    /// with the damage and those behind it stay beside the log as `.cut` files.
    pub fn salvage(&self, wait: Duration) -> Result<Option<Salvaged>, Error> {
        self.salvage_after(wait, || Ok(()))
    }

    /// The same, doing something before a damaged log is cut, while nobody can write: where that fails, or where a crash
    /// comes behind it, the log is as damaged as before.
    pub fn salvage_after(
        &self,
        wait: Duration,
        before: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Option<Salvaged>, Error> {
        let mut salvaged = None;
        let turn = self.take(wait, |writer| {
            let limit = self.believed(&writer.head).map(|entry| entry.durable);
            let Some((end, damage)) = recovery::find_damage(self, limit)? else {
                return self.adopt(writer);
            };
            before()?;
            writer.turnstile.write_pid()?;
            let adopted = writer.begin_anew(recovery::cut(self, end)?);
            salvaged = Some(Salvaged { end, damage });
            Ok(adopted)
        })?;
        drop(turn);
        Ok(salvaged)
    }
}
