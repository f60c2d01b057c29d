//! What one serializable transaction has read: keys, ranges of keys, whole tables.
//!
//! It is checked at commit against what was committed since (see [`crate::conflict`]). It may say more than was read,
//! never less: where it would grow beyond its budget, the keys read of a table become the whole table.

use crate::catalog::TableId;
use crate::key::KeyBytes;
use std::collections::{BTreeMap, HashSet};

/// How many bytes of keys a transaction's read set holds by default.
pub const READ_SET_BYTES_DEFAULT: usize = 16 << 20;

/// What a key costs beside its bytes.
const KEY_OVERHEAD_BYTES: usize = 32;

/// The keys at or above `low` and below `high`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The lowest key that may be in it.
    pub low: KeyBytes,
    /// The lowest key above that is not in it; `None` where there is no end.
    pub high: Option<KeyBytes>,
}

impl KeyRange {
    /// Every key that begins with `prefix`.
    pub fn of_prefix(prefix: &[u8]) -> KeyRange {
        KeyRange { low: prefix.into(), high: after_prefix(prefix) }
    }

    /// Whether a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.low[..] && self.high.as_ref().is_none_or(|high| key < &high[..])
    }
}

/// The lowest key above all those that begin with `prefix`; `None` where there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<KeyBytes> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after.into())
}

/// What was read of one table. One that is there and empty: its schema alone.
#[derive(Clone, Debug, Default)]
pub struct TableReads {
    /// Whether anything may have been read.
    pub whole: bool,
    /// Keys that were looked up, found or not.
    pub keys: HashSet<KeyBytes>,
    /// Ranges that were scanned.
    pub ranges: Vec<KeyRange>,
}

/// What a transaction has read, by table.
#[derive(Clone, Debug)]
pub struct ReadSet {
    tables: BTreeMap<TableId, TableReads>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for ReadSet {
    fn default() -> ReadSet {
        ReadSet::new(READ_SET_BYTES_DEFAULT)
    }
}

impl ReadSet {
    /// Nothing, with room for so many bytes of keys.
    pub fn new(bytes_max: usize) -> ReadSet {
        ReadSet { tables: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// Notes that a table's schema was read.
    pub fn schema(&mut self, table: TableId) {
        self.tables.entry(table).or_default();
    }

    /// Notes that a key was looked up.
    pub fn key(&mut self, table: TableId, key: &[u8]) {
        let reads = self.tables.entry(table).or_default();
        if !reads.whole && !reads.keys.contains(key) {
            reads.keys.insert(key.into());
            self.grow(table, key.len());
        }
    }

    /// Notes that a range of keys was scanned.
    pub fn range(&mut self, table: TableId, range: KeyRange) {
        let reads = self.tables.entry(table).or_default();
        if !reads.whole && !reads.ranges.contains(&range) {
            let bytes = range.low.len() + range.high.as_ref().map_or(0, |high| high.len());
            reads.ranges.push(range);
            self.grow(table, bytes);
        }
    }

    /// Notes that anything of a table may have been read.
    pub fn whole(&mut self, table: TableId) {
        *self.tables.entry(table).or_default() = TableReads { whole: true, ..TableReads::default() };
    }

    fn grow(&mut self, table: TableId, bytes: usize) {
        self.bytes += bytes + KEY_OVERHEAD_BYTES;
        if self.bytes > self.bytes_max {
            self.whole(table);
            self.bytes = self.tables.values().map(TableReads::bytes).sum();
        }
    }

    /// What was read, by table.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &TableReads)> {
        self.tables.iter().map(|(table, reads)| (*table, reads))
    }
}

impl TableReads {
    fn bytes(&self) -> usize {
        let ranges = self
            .ranges
            .iter()
            .map(|range| range.low.len() + range.high.as_ref().map_or(0, |high| high.len()));
        self.keys.iter().map(|key| key.len()).chain(ranges).map(|bytes| bytes + KEY_OVERHEAD_BYTES).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_range_of_what_begins_with_it() {
        let range = KeyRange::of_prefix(b"a\xff");
        assert_eq!(range.high.as_deref(), Some(&b"b"[..]));
        for (key, is_in) in [(&b"a"[..], false), (b"a\xff", true), (b"a\xff\xff", true), (b"b", false)] {
            assert_eq!(range.contains(key), is_in, "{key:?}");
        }
        assert_eq!(KeyRange::of_prefix(b"\xff\xff").high, None);
        assert!(KeyRange::of_prefix(b"").contains(b"\xff\xff\xff"));
    }

    #[test]
    fn what_grows_too_large_becomes_the_whole_table() {
        let mut reads = ReadSet::new(4 * (KEY_OVERHEAD_BYTES + 8));
        reads.key(1, b"elsewhere");
        for key in 0..20u64 {
            reads.key(2, &key.to_be_bytes());
        }
        reads.key(1, b"later");
        let tables: Vec<_> =
            reads.tables().map(|(table, reads)| (table, reads.whole, reads.keys.len())).collect();
        assert_eq!(tables, [(1, false, 2), (2, true, 0)]);
    }
}
