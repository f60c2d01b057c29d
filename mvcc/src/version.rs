//! The two ways to name a point in history: the version number and the commit time.

use std::fmt;

/// A version of the whole database. Version 0 is the empty database; each commit makes the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The empty database, valid everywhere.
    pub const ZERO: Version = Version(0);
    /// The end of a row version that is still alive.
    pub const FOREVER: Version = Version(u64::MAX);

    /// The version that the next commit makes.
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }

    /// The version before this one; version 0 has none.
    pub fn previous(self) -> Option<Version> {
        self.0.checked_sub(1).map(Version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A commit time: microseconds since 1970-01-01T00:00:00Z, strictly increasing from commit to
/// commit whatever the clock does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitTime(pub i64);

impl CommitTime {
    /// Before every commit: the time of version 0.
    pub const MIN: CommitTime = CommitTime(i64::MIN);

    /// The time that the next commit gets at wall-clock time `now`: `now`, or one microsecond
    /// after `self` where the clock stands still or went back.
    pub fn after(self, now: CommitTime) -> CommitTime {
        CommitTime(now.0.max(self.0.saturating_add(1)))
    }
}
