//! May this transaction commit? First committer wins.
//!
//! The log of recent writes remembers, for each key that a recent commit wrote, the version that
//! wrote it last. It holds hashes: two keys of one hash make at worst a conflict that was none, never
//! a missed one. Its size is bounded; a transaction that began before what is remembered is too old.

use crate::catalog::TableId;
use crate::version::Version;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// How many key writes are remembered by default.
pub const REMEMBERED_KEYS_DEFAULT: usize = 1 << 20;

/// Why a transaction may not commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A commit after the transaction began wrote the same rows.
    Conflict(Version),
    /// The transaction began before what is remembered.
    TooOld(Version),
}

/// What recent commits wrote.
#[derive(Debug)]
pub struct RecentWrites {
    hasher: RandomState,
    keys: HashMap<u64, Version>,
    order: VecDeque<(Version, Vec<u64>)>,
    /// The last version that wrote any row of a table, by table.
    any_row: HashMap<TableId, Version>,
    /// The last version that wrote a table as a whole: its schema, a truncation, more keys than are remembered.
    whole: HashMap<TableId, Version>,
    remembered: usize,
    remembered_max: usize,
    /// Transactions that read an older version than this are too old.
    horizon: Version,
}

impl RecentWrites {
    /// Remembers nothing before `horizon`.
    pub fn new(horizon: Version, remembered_max: usize) -> RecentWrites {
        RecentWrites {
            hasher: RandomState::new(),
            keys: HashMap::new(),
            order: VecDeque::new(),
            any_row: HashMap::new(),
            whole: HashMap::new(),
            remembered: 0,
            remembered_max,
            horizon,
        }
    }

    fn hash(&self, table: TableId, key: &[u8]) -> u64 {
        self.hasher.hash_one((table, key))
    }

    /// Notes that `version` wrote these keys of a table.
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
        if keys.len() > self.remembered_max / 4 {
            self.whole.insert(table, version);
            return;
        }
        let hashes: Vec<u64> = keys.map(|key| self.hasher.hash_one((table, key))).collect();
        self.remembered += hashes.len();
        for &hash in &hashes {
            self.keys.insert(hash, version);
        }
        self.order.push_back((version, hashes));
        while self.remembered > self.remembered_max
            && let Some((oldest, hashes)) = self.order.pop_front()
        {
            self.remembered -= hashes.len();
            for hash in hashes {
                if self.keys.get(&hash) == Some(&oldest) {
                    self.keys.remove(&hash);
                }
            }
            self.horizon = self.horizon.max(oldest);
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
        self.check_age(read, table)?;
        if let Some(&version) = self.whole.get(&table).filter(|&&version| version > read) {
            return Err(Refusal::Conflict(version));
        }
        if self.any_row.get(&table).is_none_or(|&version| version <= read) {
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

    #[test]
    fn the_first_committer_wins() {
        let mut recent = RecentWrites::new(Version(5), 100);
        recent.wrote_keys(Version(6), 1, keys(&["a", "b"]));
        assert_eq!(recent.check_keys(Version(5), 1, keys(&["b"])), Err(Refusal::Conflict(Version(6))));
        assert_eq!(recent.check_keys(Version(5), 1, keys(&["c"])), Ok(()));
        assert_eq!(recent.check_keys(Version(6), 1, keys(&["b"])), Ok(()));
        assert_eq!(recent.check_keys(Version(5), 2, keys(&["b"])), Ok(()));
    }

    #[test]
    fn a_write_of_the_whole_table_conflicts_with_every_key_and_the_other_way_round() {
        let mut recent = RecentWrites::new(Version(0), 100);
        recent.wrote_whole(Version(3), 1);
        assert_eq!(recent.check_keys(Version(2), 1, keys(&["z"])), Err(Refusal::Conflict(Version(3))));
        recent.wrote_keys(Version(4), 1, keys(&["a"]));
        assert_eq!(recent.check_whole(Version(3), 1), Err(Refusal::Conflict(Version(4))));
        assert_eq!(recent.check_whole(Version(4), 1), Ok(()));
    }

    #[test]
    fn what_is_forgotten_makes_older_transactions_too_old() {
        let mut recent = RecentWrites::new(Version(0), 8);
        for version in 1..=20 {
            recent.wrote_keys(Version(version), 1, keys(&["a", "b"]));
        }
        assert_eq!(recent.check_keys(Version(2), 1, keys(&["z"])), Err(Refusal::TooOld(Version(16))));
        assert_eq!(recent.check_keys(Version(17), 1, keys(&["z"])), Ok(()));
    }
}
