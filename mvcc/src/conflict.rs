//! May this transaction commit? First committer wins; a serializable one must find unchanged what it read, too.
//!
//! The log of recent writes remembers the keys that each recent commit wrote, and by a hash of it the version that
//! wrote each last. Two keys of one hash make at worst a conflict that was none, never a missed one. Its size is
//! bounded; a transaction that began before what is remembered is too old.

use crate::catalog::TableId;
use crate::key::Keys;
use crate::read_set::{KeyRange, ReadSet};
use crate::version::Version;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// How many bytes of recent writes are remembered by default.
pub const REMEMBERED_BYTES_DEFAULT: usize = 64 << 20;

/// What a key costs in the table of hashes, its share of empty places included.
const HASH_ENTRY_BYTES: usize = 32;

/// Why a transaction may not commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A commit after the transaction began wrote the same rows.
    Conflict(Version),
    /// The transaction began before what is remembered.
    TooOld(Version),
}

/// The keys that a commit wrote in a table.
#[derive(Debug)]
struct Written {
    version: Version,
    table: TableId,
    keys: Keys,
    is_sorted: bool,
}

impl Written {
    fn bytes(&self) -> usize {
        size_of::<Written>() + self.keys.memory_bytes() + self.keys.len() * HASH_ENTRY_BYTES
    }

    fn touches(&self, range: &KeyRange) -> bool {
        if !self.is_sorted {
            return self.keys.iter().any(|key| range.contains(key));
        }
        let (mut low, mut high) = (0, self.keys.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if *self.keys.get(middle) < *range.low {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low < self.keys.len() && range.contains(self.keys.get(low))
    }
}

/// What recent commits wrote.
#[derive(Debug)]
pub struct RecentWrites {
    hasher: RandomState,
    keys: HashMap<u64, Version>,
    /// In order of versions.
    order: VecDeque<Written>,
    /// The last version that wrote any row of a table, by table.
    any_row: HashMap<TableId, Version>,
    /// The last version that wrote a table as a whole: its schema, a truncation, more keys than are remembered.
    whole: HashMap<TableId, Version>,
    remembered_bytes: usize,
    remembered_bytes_max: usize,
    /// Transactions that read an older version than this are too old.
    horizon: Version,
}

impl RecentWrites {
    /// Remembers nothing before `horizon`.
    pub fn new(horizon: Version, remembered_bytes_max: usize) -> RecentWrites {
        RecentWrites {
            hasher: RandomState::new(),
            keys: HashMap::new(),
            order: VecDeque::new(),
            any_row: HashMap::new(),
            whole: HashMap::new(),
            remembered_bytes: 0,
            remembered_bytes_max,
            horizon,
        }
    }

    fn hash(&self, table: TableId, key: &[u8]) -> u64 {
        self.hasher.hash_one((table, key))
    }

    /// Notes that `version` wrote these keys of a table. Versions come in order.
    pub fn wrote_keys<'a>(
        &mut self,
        version: Version,
        table: TableId,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        if keys.len() == 0 {
            return;
        }
        self.any_row.insert(table, version);
        if self.remembered_bytes_max == 0 {
            self.whole.insert(table, version);
            return;
        }
        let mut copied = Keys::with_capacity(keys.len());
        let mut is_sorted = true;
        for key in keys {
            is_sorted = is_sorted && copied.last().is_none_or(|last| last <= key);
            copied.push(key);
            // Dear ones are not copied to their end.
            if copied.memory_bytes() + copied.len() * HASH_ENTRY_BYTES > self.remembered_bytes_max / 4 {
                self.whole.insert(table, version);
                return;
            }
        }
        for key in copied.iter() {
            self.keys.insert(self.hasher.hash_one((table, key)), version);
        }
        let written = Written { version, table, keys: copied, is_sorted };
        self.remembered_bytes += written.bytes();
        self.order.push_back(written);
        while self.remembered_bytes > self.remembered_bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.remembered_bytes -= oldest.bytes();
            for key in oldest.keys.iter() {
                let hash = self.hasher.hash_one((oldest.table, key));
                if self.keys.get(&hash) == Some(&oldest.version) {
                    self.keys.remove(&hash);
                }
            }
            self.horizon = self.horizon.max(oldest.version);
        }
    }

    /// Notes that `version` wrote a table as a whole.
    pub fn wrote_whole(&mut self, version: Version, table: TableId) {
        self.whole.insert(table, version);
        self.any_row.insert(table, version);
    }

    /// Whether a transaction that read `read` may write these keys of a table.
    pub fn check_keys<'a>(
        &self,
        read: Version,
        table: TableId,
        mut keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Refusal> {
        if !self.may_be_changed(read, table)? {
            return Ok(());
        }
        keys.find_map(|key| self.keys.get(&self.hash(table, key)).filter(|&&version| version > read))
            .map_or(Ok(()), |&version| Err(Refusal::Conflict(version)))
    }

    /// Whether a transaction that read `read` may write a table as a whole.
    pub fn check_whole(&self, read: Version, table: TableId) -> Result<(), Refusal> {
        self.check_age(read, table)?;
        match self.any_row.get(&table).max(self.whole.get(&table)) {
            Some(&version) if version > read => Err(Refusal::Conflict(version)),
            _ => Ok(()),
        }
    }

    /// Whether what a transaction read at `read` is still so; otherwise which table is not.
    pub fn check_reads(&self, read: Version, reads: &ReadSet) -> Result<(), (TableId, Refusal)> {
        for (table, reads) in reads.tables() {
            let checked = if reads.whole {
                self.check_whole(read, table)
            } else {
                self.check_keys(read, table, reads.keys.iter().map(|key| &key[..]))
                    .and_then(|()| self.check_ranges(read, table, &reads.ranges))
            };
            checked.map_err(|refusal| (table, refusal))?;
        }
        Ok(())
    }

    fn check_ranges(&self, read: Version, table: TableId, ranges: &[KeyRange]) -> Result<(), Refusal> {
        if ranges.is_empty() || !self.may_be_changed(read, table)? {
            return Ok(());
        }
        let since = self.order.iter().rev().take_while(|written| written.version > read);
        let mut since = since.filter(|written| written.table == table);
        since
            .find(|written| ranges.iter().any(|range| written.touches(range)))
            .map_or(Ok(()), |written| Err(Refusal::Conflict(written.version)))
    }

    /// Whether some rows of a table may have been written since `read`; fails where all of them may.
    fn may_be_changed(&self, read: Version, table: TableId) -> Result<bool, Refusal> {
        self.check_age(read, table)?;
        match self.whole.get(&table) {
            Some(&version) if version > read => Err(Refusal::Conflict(version)),
            _ => Ok(self.any_row.get(&table).is_some_and(|&version| version > read)),
        }
    }

    fn check_age(&self, read: Version, table: TableId) -> Result<(), Refusal> {
        // A table that nobody wrote since has nothing to conflict with, however old the transaction.
        let untouched = self.any_row.get(&table).is_some_and(|&version| version <= read);
        if read < self.horizon && !untouched { Err(Refusal::TooOld(self.horizon)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<'a>(keys: &'a [&'a str]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        keys.iter().map(|key| key.as_bytes())
    }

    fn range(low: &str, high: &str) -> KeyRange {
        KeyRange { low: low.as_bytes().into(), high: Some(high.as_bytes().into()) }
    }

    #[test]
    fn the_first_committer_wins() {
        let mut recent = RecentWrites::new(Version(5), 10_000);
        recent.wrote_keys(Version(6), 1, keys(&["a", "b"]));
        assert_eq!(recent.check_keys(Version(5), 1, keys(&["b"])), Err(Refusal::Conflict(Version(6))));
        assert_eq!(recent.check_keys(Version(5), 1, keys(&["c"])), Ok(()));
        assert_eq!(recent.check_keys(Version(6), 1, keys(&["b"])), Ok(()));
        assert_eq!(recent.check_keys(Version(5), 2, keys(&["b"])), Ok(()));
    }

    #[test]
    fn a_write_of_the_whole_table_conflicts_with_every_key_and_the_other_way_round() {
        let mut recent = RecentWrites::new(Version(0), 10_000);
        recent.wrote_whole(Version(3), 1);
        assert_eq!(recent.check_keys(Version(2), 1, keys(&["z"])), Err(Refusal::Conflict(Version(3))));
        recent.wrote_keys(Version(4), 1, keys(&["a"]));
        assert_eq!(recent.check_whole(Version(3), 1), Err(Refusal::Conflict(Version(4))));
        assert_eq!(recent.check_whole(Version(4), 1), Ok(()));
    }

    #[test]
    fn what_is_forgotten_makes_older_transactions_too_old() {
        let mut recent = RecentWrites::new(Version(0), 1_000);
        for version in 1..=20 {
            recent.wrote_keys(Version(version), 1, keys(&["a", "b"]));
        }
        assert!(matches!(recent.check_keys(Version(2), 1, keys(&["z"])), Err(Refusal::TooOld(_))));
        assert_eq!(recent.check_keys(Version(19), 1, keys(&["z"])), Ok(()));
        assert_eq!(recent.check_keys(Version(19), 1, keys(&["b"])), Err(Refusal::Conflict(Version(20))));
        assert!(recent.remembered_bytes <= 1_000, "{}", recent.remembered_bytes);
    }

    #[test]
    fn a_commit_too_large_to_remember_conflicts_with_the_whole_table() {
        let mut recent = RecentWrites::new(Version(0), 1_000);
        let many: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
        recent.wrote_keys(Version(1), 1, many.iter().map(|key| key.as_bytes()));
        assert_eq!(recent.check_keys(Version(0), 1, keys(&["z"])), Err(Refusal::Conflict(Version(1))));
        assert_eq!(recent.check_keys(Version(1), 1, keys(&["z"])), Ok(()));
        assert_eq!(recent.remembered_bytes, 0);
    }

    #[test]
    fn reads_are_checked_by_key_by_range_and_by_table() {
        let mut recent = RecentWrites::new(Version(0), 10_000);
        recent.wrote_keys(Version(1), 1, keys(&["b", "d", "f"]));
        recent.wrote_keys(Version(2), 1, keys(&["m", "k"]));
        recent.wrote_keys(Version(3), 2, keys(&["x"]));
        let conflict = |table, version| Err((table, Refusal::Conflict(Version(version))));
        let check = |read, note: &dyn Fn(&mut ReadSet)| {
            let mut reads = ReadSet::default();
            note(&mut reads);
            recent.check_reads(Version(read), &reads)
        };
        assert_eq!(check(0, &|reads| reads.schema(1)), Ok(()));
        assert_eq!(check(0, &|reads| reads.key(1, b"d")), conflict(1, 1));
        assert_eq!(check(1, &|reads| reads.key(1, b"d")), Ok(()));
        assert_eq!(check(0, &|reads| reads.key(1, b"e")), Ok(()));
        assert_eq!(check(0, &|reads| reads.range(1, range("c", "e"))), conflict(1, 1));
        assert_eq!(check(0, &|reads| reads.range(1, range("g", "k"))), Ok(()), "the end is not in it");
        assert_eq!(check(0, &|reads| reads.range(1, range("g", "l"))), conflict(1, 2), "keys in any order");
        assert_eq!(check(2, &|reads| reads.range(1, range("", "z"))), Ok(()));
        assert_eq!(check(2, &|reads| reads.whole(1)), Ok(()));
        assert_eq!(check(2, &|reads| reads.whole(2)), conflict(2, 3));
        assert_eq!(check(0, &|reads| reads.range(1, KeyRange::of_prefix(b"f"))), conflict(1, 1));
    }

    #[test]
    fn a_schema_that_was_read_conflicts_with_a_change_of_it() {
        let mut recent = RecentWrites::new(Version(0), 10_000);
        recent.wrote_whole(Version(1), 1);
        let mut reads = ReadSet::default();
        reads.schema(1);
        assert_eq!(recent.check_reads(Version(0), &reads), Err((1, Refusal::Conflict(Version(1)))));
        assert_eq!(recent.check_reads(Version(1), &reads), Ok(()));
    }
}
