//! Time to version and back, for the versions since a base.

use crate::version::{CommitTime, Version};

/// The commit times of the versions after a base, strictly increasing.
#[derive(Clone, Debug)]
pub struct Timeline {
    base: Version,
    times: Vec<CommitTime>,
}

impl Timeline {
    /// Knows nothing after `base` yet.
    pub fn new(base: Version) -> Timeline {
        Timeline { base, times: Vec::new() }
    }

    /// Adds the next version.
    pub fn push(&mut self, time: CommitTime) {
        assert!(self.times.last().is_none_or(|last| *last < time), "commit times increase strictly");
        self.times.push(time);
    }

    /// The newest version.
    pub fn last(&self) -> Version {
        Version(self.base.0 + self.times.len() as u64)
    }

    /// The commit time of a version after the base.
    pub fn time(&self, version: Version) -> Option<CommitTime> {
        let index = version.0.checked_sub(self.base.0 + 1)?;
        self.times.get(index as usize).copied()
    }

    /// The last version at or before `time`; the base where none is.
    pub fn version_at(&self, time: CommitTime) -> Version {
        Version(self.base.0 + self.times.partition_point(|other| *other <= time) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_of_a_time_is_the_last_commit_at_or_before_it() {
        let mut timeline = Timeline::new(Version(7));
        assert_eq!(timeline.version_at(CommitTime(99)), Version(7));
        timeline.push(CommitTime(10));
        timeline.push(CommitTime(20));
        for (time, version) in [(9, 7), (10, 8), (19, 8), (20, 9), (i64::MAX, 9)] {
            assert_eq!(timeline.version_at(CommitTime(time)), Version(version), "at {time}");
        }
        assert_eq!(timeline.time(Version(9)), Some(CommitTime(20)));
        assert_eq!((timeline.time(Version(7)), timeline.time(Version(10))), (None, None));
    }
}
