//! The row versions of one table that no data file holds yet, and the deaths of rows that data files
//! hold.
//!
//! Rows lie in committed batches, in the order of their commits; a row's *slot* is its number in that
//! order and stays when small batches are merged into larger ones. A hash index finds the slots of a
//! key without keeping rows ordered: replaying a log costs no ordered insert. A row version is visible
//! at `v` where `begin <= v < end`; rows of commits that are not published yet have a `begin` above
//! every version that readers ask for.

use crate::key::Keys;
use crate::version::Version;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Number of a row in a memtable, in order of commits.
pub type Slot = u32;

/// Number of a data file, never given twice within a database.
pub type FileId = u64;

const NO_SLOT: Slot = Slot::MAX;
/// This many batches of about one size become one.
const MERGE_COUNT: usize = 16;
/// Batches of this many rows are merged no further.
const MERGE_ROWS_MAX: usize = 16_384;

/// Committed rows of one schema.
#[derive(Debug)]
pub struct MemBatch {
    /// The slot of the first row.
    pub first: Slot,
    /// Which of the table's schemas the rows have.
    pub schema: usize,
    /// The rows: the schema's columns.
    pub rows: RecordBatch,
    /// Their keys.
    pub keys: Keys,
}

/// The rows of one table since the last checkpoint.
#[derive(Debug, Default)]
pub struct Memtable {
    batches: Vec<Arc<MemBatch>>,
    begins: Vec<Version>,
    ends: Vec<Version>,
    /// The slot before this one whose key has the same hash.
    previous: Vec<Slot>,
    newest: HashMap<u64, Slot>,
    hasher: RandomState,
    file_ends: BTreeMap<FileId, BTreeMap<u32, Version>>,
    changes: Vec<Version>,
    /// Rows added less rows removed by all of `changes` up to each.
    net_rows: Vec<i64>,
}

/// Some rows of a batch.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The batch.
    pub batch: Arc<MemBatch>,
    /// Positions in it, ascending.
    pub rows: Vec<u32>,
    /// When each begins.
    pub begins: Vec<Version>,
    /// When each ends; [`Version::FOREVER`] while alive.
    pub ends: Vec<Version>,
}

impl Memtable {
    /// Whether nothing happened to the table.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The versions that changed the table, ascending.
    pub fn changes(&self) -> &[Version] {
        &self.changes
    }

    /// Rows held, dead ones included.
    pub fn row_count(&self) -> usize {
        self.begins.len()
    }

    /// Notes that a version changed the table (its rows or its schema), and by how many rows it grew.
    pub fn note_change(&mut self, version: Version, net_rows: i64) {
        debug_assert!(self.changes.last().is_none_or(|last| *last < version));
        self.changes.push(version);
        self.net_rows.push(self.net_rows.last().unwrap_or(&0) + net_rows);
    }

    /// The last change at or before a version, and by how many rows the table had grown then.
    pub fn last_change(&self, version: Version) -> Option<(Version, i64)> {
        let count = self.changes.partition_point(|change| *change <= version);
        (count > 0).then(|| (self.changes[count - 1], self.net_rows[count - 1]))
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn batch_of(&self, slot: Slot) -> &Arc<MemBatch> {
        let index = self.batches.partition_point(|batch| batch.first <= slot) - 1;
        &self.batches[index]
    }

    fn key_of(&self, slot: Slot) -> &[u8] {
        let batch = self.batch_of(slot);
        batch.keys.get((slot - batch.first) as usize)
    }

    /// Adds rows born at `version`.
    pub fn insert(&mut self, version: Version, schema: usize, rows: RecordBatch, keys: Keys) {
        assert_eq!(rows.num_rows(), keys.len(), "every row has a key");
        if rows.num_rows() == 0 {
            return;
        }
        let first = self.begins.len() as Slot;
        for key in keys.iter() {
            let slot = self.begins.len() as Slot;
            let hash = self.hasher.hash_one(key);
            let previous = self.newest.insert(hash, slot).unwrap_or(NO_SLOT);
            self.previous.push(previous);
            self.begins.push(version);
            self.ends.push(Version::FOREVER);
        }
        self.batches.push(Arc::new(MemBatch { first, schema, rows, keys }));
        self.merge_tail();
    }

    /// Merges the last batches where enough of about one size have gathered: each row is copied about
    /// log16(rows) times, and small commits do not leave a batch each.
    fn merge_tail(&mut self) {
        let class = |batch: &MemBatch| (batch.rows.num_rows().ilog2() / 4, batch.schema);
        while self.batches.len() >= MERGE_COUNT {
            let tail = &self.batches[self.batches.len() - MERGE_COUNT..];
            let wanted = class(&tail[0]);
            if tail.iter().any(|batch| class(batch) != wanted || batch.rows.num_rows() >= MERGE_ROWS_MAX) {
                return;
            }
            let schema = tail[0].rows.schema();
            let Ok(rows) = concat_batches(&schema, tail.iter().map(|batch| &batch.rows)) else { return };
            let mut keys = Keys::with_capacity(rows.num_rows());
            for batch in tail {
                batch.keys.iter().for_each(|key| keys.push(key));
            }
            let merged = MemBatch { first: tail[0].first, schema: tail[0].schema, rows, keys };
            self.batches.truncate(self.batches.len() - MERGE_COUNT);
            self.batches.push(Arc::new(merged));
        }
    }

    /// The slot of a key's row that is alive, commits not published yet included.
    pub fn alive(&self, key: &[u8]) -> Option<Slot> {
        self.slots_of(key).next().filter(|&slot| self.ends[slot as usize] == Version::FOREVER)
    }

    /// The slots of a key, newest first.
    pub fn slots_of<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = Slot> + 'a {
        let mut slot = self.newest.get(&self.hash(key)).copied().unwrap_or(NO_SLOT);
        std::iter::from_fn(move || {
            while slot != NO_SLOT {
                let found = slot;
                slot = self.previous[slot as usize];
                if self.key_of(found) == key {
                    return Some(found);
                }
            }
            None
        })
    }

    /// When a slot's row begins and ends.
    pub fn life(&self, slot: Slot) -> (Version, Version) {
        (self.begins[slot as usize], self.ends[slot as usize])
    }

    /// The batch of a slot, and the row in it.
    pub fn row(&self, slot: Slot) -> (Arc<MemBatch>, usize) {
        let batch = self.batch_of(slot);
        (batch.clone(), (slot - batch.first) as usize)
    }

    /// Ends a row of this memtable.
    pub fn end_slot(&mut self, slot: Slot, version: Version) {
        let end = &mut self.ends[slot as usize];
        debug_assert_eq!(*end, Version::FOREVER, "a row dies once");
        *end = version;
    }

    /// Ends a row of a data file.
    pub fn end_in_file(&mut self, file: FileId, row: u32, version: Version) {
        let before = self.file_ends.entry(file).or_default().insert(row, version);
        debug_assert_eq!(before, None, "a row dies once");
    }

    /// The rows of a data file that ended at or before `version`, as (row, end), ascending.
    pub fn file_ends(&self, file: FileId, version: Version) -> Vec<(u32, Version)> {
        let ends = self.file_ends.get(&file).into_iter().flatten();
        ends.filter(|(_, end)| **end <= version).map(|(row, end)| (*row, *end)).collect()
    }

    /// Whether a row of a data file ended here.
    pub fn has_file_end(&self, file: FileId, row: u32) -> bool {
        self.file_ends.get(&file).is_some_and(|ends| ends.contains_key(&row))
    }

    /// The data files of which rows ended here.
    pub fn files_with_ends(&self) -> impl Iterator<Item = FileId> + '_ {
        self.file_ends.keys().copied()
    }

    /// The rows that `wanted(begin, end)` selects, batch by batch.
    pub fn select(&self, wanted: impl Fn(Version, Version) -> bool) -> Vec<Selection> {
        let mut selections = Vec::new();
        for batch in &self.batches {
            let first = batch.first as usize;
            let mut selection =
                Selection { batch: batch.clone(), rows: Vec::new(), begins: Vec::new(), ends: Vec::new() };
            for row in 0..batch.rows.num_rows() {
                let (begin, end) = (self.begins[first + row], self.ends[first + row]);
                if wanted(begin, end) {
                    selection.rows.push(row as u32);
                    selection.begins.push(begin);
                    selection.ends.push(end);
                }
            }
            if !selection.rows.is_empty() {
                selections.push(selection);
            }
        }
        selections
    }

    /// The rows visible at a version.
    pub fn visible_at(&self, version: Version) -> Vec<Selection> {
        self.select(|begin, end| begin <= version && version < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use proptest::prelude::*;

    fn rows(ids: &[i64]) -> (RecordBatch, Keys) {
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        let keys = Keys::of_columns(&[("id", &ids)], ids.len()).unwrap();
        (RecordBatch::try_from_iter([("id", ids)]).unwrap(), keys)
    }

    fn visible(table: &Memtable, version: u64) -> Vec<i64> {
        let mut ids = Vec::new();
        for selection in table.visible_at(Version(version)) {
            let column =
                selection.batch.rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
            ids.extend(selection.rows.iter().map(|&row| column.value(row as usize)));
        }
        ids.sort();
        ids
    }

    proptest! {
        #[test]
        fn every_version_shows_what_a_map_of_versions_shows(
            ops in prop::collection::vec(prop::collection::vec((0i64..20, any::<bool>()), 1..4), 1..120)
        ) {
            let mut table = Memtable::default();
            let mut model: Vec<std::collections::BTreeSet<i64>> = vec![Default::default()];
            for (index, commit) in ops.iter().enumerate() {
                let version = Version(index as u64 + 1);
                let mut state = model.last().unwrap().clone();
                let mut seen = std::collections::BTreeSet::new();
                for &(id, delete) in commit {
                    if !seen.insert(id) { continue; }
                    let (batch, keys) = rows(&[id]);
                    if let Some(slot) = table.alive(keys.get(0)) {
                        table.end_slot(slot, version);
                        state.remove(&id);
                    }
                    if !delete {
                        table.insert(version, 0, batch, keys);
                        state.insert(id);
                    }
                }
                table.note_change(version, 0);
                model.push(state);
            }
            for (version, state) in model.iter().enumerate() {
                prop_assert_eq!(visible(&table, version as u64), state.iter().copied().collect::<Vec<_>>());
            }
            for id in 0..20 {
                let (_, keys) = rows(&[id]);
                let begins: Vec<_> = table.slots_of(keys.get(0)).map(|slot| table.life(slot).0).collect();
                prop_assert!(begins.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
            }
        }
    }
}
