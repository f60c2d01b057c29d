//! What a rewrite keeps of a table's row versions.
//!
//! A rule of lives alone: it is asked of each row version with its begin and end, and tells whether it stays, and with
//! which end. The begin of a row version never changes.

use crate::generation::Generation;
use crate::gone::Gone;
use asof_mvcc::{Table, Version};
use asof_wal::planted::{Bug, planted};
use std::sync::Arc;

/// What a rewrite keeps.
#[derive(Clone, Debug)]
pub(crate) enum Keep {
    /// Every row version as it is: compaction.
    All,
    /// What any version shows that is not gone.
    Seen(Seen),
    /// What began up to a version; what ended after it lives on. The table ends there.
    UpTo(Version),
}

/// What can be seen of a table of which versions are gone.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The versions that are gone.
    pub gone: Arc<Gone>,
    /// When the table ended: all its rows did.
    pub dropped: Option<Version>,
}

impl Seen {
    /// What can be seen of a table; `None` where all can be.
    pub fn of(generation: &Generation, table: &Table) -> Option<Seen> {
        Some(Seen { gone: generation.gone(table.id)?.clone(), dropped: end_of(table) })
    }

    /// Whether no version that can be read shows a row version.
    pub fn hides(&self, begin: Version, end: Version) -> bool {
        let end = self.dropped.map_or(end, |dropped| dropped.min(end));
        if planted(Bug::KeptRowsGo) && end != Version::FOREVER {
            return self.gone.hides(begin.0, end.0 - 1);
        }
        self.gone.hides(begin.0, end.0)
    }
}

/// When a table ended for good, where it did.
pub(crate) fn end_of(table: &Table) -> Option<Version> {
    table.lives.last().and_then(|(_, to)| *to)
}

impl Keep {
    /// What compaction keeps of a table: all that anybody can see.
    pub fn of(generation: &Generation, table: &Table) -> Keep {
        Seen::of(generation, table).map_or(Keep::All, Keep::Seen)
    }

    /// The life of a row version from now on; `None` where it goes.
    pub fn life(&self, begin: Version, end: Version) -> Option<(Version, Version)> {
        match self {
            Keep::All => Some((begin, end)),
            Keep::Seen(seen) => (!seen.hides(begin, end)).then_some((begin, end)),
            Keep::UpTo(last) => {
                let end = if end > *last { Version::FOREVER } else { end };
                (begin <= *last).then_some((begin, end))
            }
        }
    }

    /// The lowest end of a row version that is alive from now on.
    pub fn alive_from(&self) -> u64 {
        match self {
            Keep::All | Keep::Seen(_) => u64::MAX,
            Keep::UpTo(last) => last.0.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_after_the_last_version_lives_on_and_what_begins_after_it_goes() {
        let keep = Keep::UpTo(Version(7));
        let life = |begin, end| keep.life(Version(begin), Version(end)).map(|(begin, end)| (begin.0, end.0));
        assert_eq!(life(3, 7), Some((3, 7)));
        assert_eq!(life(3, 8), Some((3, u64::MAX)));
        assert_eq!(life(7, u64::MAX), Some((7, u64::MAX)));
        assert_eq!(life(8, 9), None);
        assert_eq!(keep.alive_from(), 8);
    }
}
