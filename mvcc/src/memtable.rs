//! The row versions of one table that no data file holds yet, and the deaths of rows that data files
//! hold.
//!
//! Rows lie in committed batches, in the order of their commits; a row's *slot* is its number in that
//! order and stays when small batches are merged into larger ones. A hash index finds the slots of a
//! key without keeping rows ordered. It is built when looking keys up without it has cost as much:
//! replaying a log costs neither an ordered insert nor a hashed one, and neither does reading a few rows. A row version is visible at `v` where `begin <= v < end`;
//! rows of commits that are not published yet have a `begin` above every version that readers ask for.
//!
//! Begins ascend with the slots, and deaths are noted in order of versions as well: what some versions
//! touched is found by bisection, whatever else is there. Versions are kept as 32 bits, counted from the
//! first one that changed the table.

mod file_ends;
mod key_index;

use crate::key::Keys;
use crate::version::Version;
use arrow::array::{Array, RecordBatch};
use arrow::compute::{concat_batches, take_record_batch};
use file_ends::FileEnds;
use key_index::KeyIndex;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Number of a row in a memtable, in order of commits.
pub type Slot = u32;

/// Number of a data file, never given twice within a database.
pub type FileId = u64;

const NO_SLOT: Slot = Slot::MAX;
/// The end of a row that is alive, as kept here.
const ALIVE: u32 = u32::MAX;
/// This many batches of about one size become one.
const MERGE_COUNT: usize = 16;
/// So many rows are indexed as soon as a key is looked up.
const INDEX_AT_ONCE: usize = 4_096;
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
    /// Whether the keys ascend, once that was looked at.
    ascending: OnceLock<bool>,
}

impl MemBatch {
    /// Adds the slots that have a key, newest first; gives how many keys were looked at, about.
    fn find(&self, key: &[u8], slots: &mut Vec<Slot>) -> usize {
        let rows = self.keys.len();
        if self.ascending.get() == Some(&true) {
            if self.keys.get(0) > key || self.keys.last() < Some(key) {
                return 1;
            }
            let (mut low, mut high) = (0, rows);
            while low < high {
                let middle = low + (high - low) / 2;
                if self.keys.get(middle) < key { low = middle + 1 } else { high = middle }
            }
            if low < rows && self.keys.get(low) == key {
                slots.push(self.first + low as Slot);
            }
            return rows.ilog2() as usize + 1;
        }
        let mut ascending = true;
        for row in (0..rows).rev() {
            let here = self.keys.get(row);
            if here == key {
                slots.push(self.first + row as Slot);
            }
            ascending = ascending && (row + 1 == rows || here < self.keys.get(row + 1));
        }
        let _ = self.ascending.set(ascending);
        rows
    }

    fn memory_bytes(&self) -> usize {
        size_of::<MemBatch>() + self.rows.get_array_memory_size() + self.keys.memory_bytes()
    }
}

/// The rows of one table since the last checkpoint.
#[derive(Debug, Default)]
pub struct Memtable {
    batches: Vec<Arc<MemBatch>>,
    batch_bytes: usize,
    /// The version that 0 stands for in what follows.
    base: Option<Version>,
    /// By slot, ascending.
    begins: Vec<u32>,
    /// By slot.
    ends: Vec<u32>,
    /// (end, slot) of rows that died here, ascending by end.
    deaths: Vec<(u32, Slot)>,
    index: RwLock<KeyIndex>,
    /// Keys looked at since the index was complete, because it was not.
    unindexed_cost: AtomicUsize,
    hasher: RandomState,
    file_ends: HashMap<FileId, FileEnds>,
    file_end_bytes: usize,
    /// (end, file, row) of rows of data files that died here, ascending by end.
    file_deaths: Vec<(u32, u32, FileId)>,
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

    /// Bytes of memory held: rows and keys, lives, the index, and deaths of rows in data files.
    pub fn memory_bytes(&self) -> usize {
        self.batch_bytes
            + self.batches.capacity() * size_of::<Arc<MemBatch>>()
            + (self.begins.capacity() + self.ends.capacity()) * size_of::<u32>()
            + self.deaths.capacity() * size_of::<(u32, Slot)>()
            + self.index.read().memory_bytes()
            + self.file_end_bytes
            + self.file_ends.capacity() * size_of::<(FileId, FileEnds)>()
            + self.file_deaths.capacity() * size_of::<(u32, u32, FileId)>()
            + self.changes.capacity() * size_of::<Version>()
            + self.net_rows.capacity() * size_of::<i64>()
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

    /// A version as kept here; versions come in ascending order.
    fn shorten(&mut self, version: Version) -> u32 {
        let base = *self.base.get_or_insert(version);
        let short = version.0.checked_sub(base.0).and_then(|short| u32::try_from(short).ok());
        short.filter(|short| *short < ALIVE).expect("a log's tail has fewer than 2^32 versions, ascending")
    }

    fn version(&self, short: u32) -> Version {
        match self.base {
            Some(base) if short != ALIVE => Version(base.0 + u64::from(short)),
            _ => Version::FOREVER,
        }
    }

    /// How many of an ascending list of versions, as kept here, are at or before one.
    fn count_up_to<T>(&self, list: &[T], version: Version, short: impl Fn(&T) -> u32) -> usize {
        match self.base {
            Some(base) if version >= base => {
                list.partition_point(|item| u64::from(short(item)) <= version.0 - base.0)
            }
            _ => 0,
        }
    }

    fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    fn batch_number(&self, slot: Slot) -> usize {
        self.batches.partition_point(|batch| batch.first <= slot) - 1
    }

    fn batch_of(&self, slot: Slot) -> &Arc<MemBatch> {
        &self.batches[self.batch_number(slot)]
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
        let begin = self.shorten(version);
        debug_assert!(self.begins.last().is_none_or(|last| *last <= begin));
        let first = self.begins.len() as Slot;
        let count = self.begins.len() + rows.num_rows();
        assert!(count < NO_SLOT as usize, "a memtable holds fewer than 2^32 rows");
        self.begins.resize(count, begin);
        self.ends.resize(count, ALIVE);
        let batch = MemBatch { first, schema, rows: owned(rows), keys, ascending: OnceLock::new() };
        self.batch_bytes += batch.memory_bytes();
        self.batches.push(Arc::new(batch));
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
            let (first, schema) = (tail[0].first, tail[0].schema);
            let merged = MemBatch { first, schema, rows, keys, ascending: OnceLock::new() };
            self.batch_bytes -= tail.iter().map(|batch| batch.memory_bytes()).sum::<usize>();
            self.batch_bytes += merged.memory_bytes();
            self.batches.truncate(self.batches.len() - MERGE_COUNT);
            self.batches.push(Arc::new(merged));
        }
    }

    /// The index: of all rows, unless it is cheaper to look at those that it lacks.
    fn index(&self) -> RwLockReadGuard<'_, KeyIndex> {
        let index = self.index.read();
        let missing = self.begins.len() - index.indexed();
        let few = missing <= INDEX_AT_ONCE;
        if missing == 0 || (!few && self.unindexed_cost.load(Ordering::Relaxed) < missing) {
            return index;
        }
        drop(index);
        self.unindexed_cost.store(0, Ordering::Relaxed);
        let mut index = self.index.write();
        let missing = self.begins.len() - index.indexed();
        index.reserve(missing);
        while index.indexed() < self.begins.len() {
            let batch = self.batch_of(index.indexed() as Slot);
            for row in index.indexed() - batch.first as usize..batch.keys.len() {
                index.push(self.hash(batch.keys.get(row)));
            }
        }
        RwLockWriteGuard::downgrade(index)
    }

    /// The slot of a key's row that is alive, commits not published yet included.
    pub fn alive(&self, key: &[u8]) -> Option<Slot> {
        self.slots_of(key).next().filter(|&slot| self.is_alive(slot))
    }

    /// The slots of a key that the index lacks, newest first.
    fn unindexed_slots_of(&self, key: &[u8], indexed: usize) -> Vec<Slot> {
        let mut slots = Vec::new();
        if indexed < self.begins.len() {
            let first = self.batch_number(indexed as Slot);
            let looked_at = self.batches[first..].iter().rev().map(|batch| batch.find(key, &mut slots));
            let cost = looked_at.sum();
            self.unindexed_cost.fetch_add(cost, Ordering::Relaxed);
            slots.retain(|slot| *slot as usize >= indexed);
        }
        slots
    }

    /// The slots of a key, newest first.
    pub fn slots_of<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = Slot> + 'a {
        let index = self.index();
        let mut slot = index.newest(self.hash(key));
        let newer = self.unindexed_slots_of(key, index.indexed()).into_iter();
        newer.chain(std::iter::from_fn(move || {
            while slot != NO_SLOT {
                let found = slot;
                slot = index.before(slot);
                if self.key_of(found) == key {
                    return Some(found);
                }
            }
            None
        }))
    }

    /// The slot of the nth row that a version made.
    pub fn slot_at(&self, version: Version, nth: u32) -> Option<Slot> {
        let before =
            version.previous().map_or(0, |before| self.count_up_to(&self.begins, before, |short| *short));
        let slot = before.checked_add(nth as usize)?;
        (self.version(*self.begins.get(slot)?) == version).then_some(slot as Slot)
    }

    /// The version that made a row, and which of that version's rows it is: what [`Memtable::slot_at`] takes.
    pub fn birth(&self, slot: Slot) -> (Version, u32) {
        let begin = self.begins[slot as usize];
        let first = self.begins.partition_point(|other| *other < begin);
        (self.version(begin), slot - first as u32)
    }

    /// Whether a row has not died.
    pub fn is_alive(&self, slot: Slot) -> bool {
        self.ends[slot as usize] == ALIVE
    }

    /// When a slot's row begins and ends.
    pub fn life(&self, slot: Slot) -> (Version, Version) {
        (self.version(self.begins[slot as usize]), self.version(self.ends[slot as usize]))
    }

    /// The batch of a slot, and the row in it.
    pub fn row(&self, slot: Slot) -> (Arc<MemBatch>, usize) {
        let batch = self.batch_of(slot);
        (batch.clone(), (slot - batch.first) as usize)
    }

    /// Ends a row of this memtable; `false` where it is dead already.
    #[must_use]
    pub fn end_slot(&mut self, slot: Slot, version: Version) -> bool {
        let short = self.shorten(version);
        let end = &mut self.ends[slot as usize];
        if *end != ALIVE {
            return false;
        }
        *end = short;
        debug_assert!(self.deaths.last().is_none_or(|(last, _)| *last <= short));
        self.deaths.push((short, slot));
        true
    }

    /// Ends a row of a data file.
    pub fn end_in_file(&mut self, file: FileId, row: u32, version: Version) {
        let end = self.shorten(version);
        let ends = self.file_ends.entry(file).or_default();
        self.file_end_bytes -= ends.memory_bytes();
        ends.insert(row, end);
        self.file_end_bytes += ends.memory_bytes();
        self.file_deaths.push((end, row, file));
    }

    /// The rows of a data file that ended at or before `version`, as (row, end), ascending.
    pub fn file_ends(&self, file: FileId, version: Version) -> Vec<(u32, Version)> {
        let Some(ends) = self.file_ends.get(&file) else { return Vec::new() };
        let ends = ends.sorted().into_iter().map(|(row, end)| (row, self.version(end)));
        ends.filter(|(_, end)| *end <= version).collect()
    }

    /// The rows of data files that ended in (after, up_to], as (file, row, end), ascending. Looks at no others.
    pub fn file_ends_within(&self, after: Version, up_to: Version) -> Vec<(FileId, u32, Version)> {
        let count = |version| self.count_up_to(&self.file_deaths, version, |(end, ..)| *end);
        let within = self.file_deaths.get(count(after)..count(up_to)).unwrap_or_default();
        let mut ends: Vec<_> =
            within.iter().map(|&(end, row, file)| (file, row, self.version(end))).collect();
        ends.sort_unstable();
        ends.dedup_by_key(|(file, row, _)| (*file, *row));
        ends
    }

    /// When a row of a data file ended here, if it did.
    pub fn file_end(&self, file: FileId, row: u32) -> Option<Version> {
        self.file_ends.get(&file)?.end_of(row).map(|end| self.version(end))
    }

    /// Whether a row of a data file ended here.
    pub fn has_file_end(&self, file: FileId, row: u32) -> bool {
        self.file_ends.get(&file).is_some_and(|ends| ends.end_of(row).is_some())
    }

    /// The data files of which rows ended here, ascending.
    pub fn files_with_ends(&self) -> impl Iterator<Item = FileId> + '_ {
        let mut files: Vec<FileId> = self.file_ends.keys().copied().collect();
        files.sort_unstable();
        files.into_iter()
    }

    /// The rows that `wanted(begin, end)` selects, batch by batch. Looks at every row: see [`Memtable::visible_at`]
    /// and [`Memtable::touched`].
    pub fn select(&self, wanted: impl Fn(Version, Version) -> bool) -> Vec<Selection> {
        self.select_slots((0..self.begins.len() as Slot).filter(|&slot| {
            let (begin, end) = self.life(slot);
            wanted(begin, end)
        }))
    }

    /// Slots in ascending order, batch by batch.
    fn select_slots(&self, slots: impl Iterator<Item = Slot>) -> Vec<Selection> {
        let mut selections: Vec<Selection> = Vec::new();
        for slot in slots {
            let beyond = |batch: &MemBatch| slot - batch.first >= batch.rows.num_rows() as u32;
            if selections.last().is_none_or(|selection| beyond(&selection.batch)) {
                let batch = self.batch_of(slot).clone();
                selections.push(Selection { batch, rows: Vec::new(), begins: Vec::new(), ends: Vec::new() });
            }
            let selection = selections.last_mut().expect("pushed where it was missing");
            let (begin, end) = self.life(slot);
            selection.rows.push(slot - selection.batch.first);
            selection.begins.push(begin);
            selection.ends.push(end);
        }
        selections
    }

    /// The rows visible at a version.
    pub fn visible_at(&self, version: Version) -> Vec<Selection> {
        let born = self.count_up_to(&self.begins, version, |short| *short) as Slot;
        self.select_slots((0..born).filter(|&slot| version < self.version(self.ends[slot as usize])))
    }

    /// The rows that were born or died in (after, up_to]. Looks at no others.
    pub fn touched(&self, after: Version, up_to: Version) -> Vec<Selection> {
        let born = |version| self.count_up_to(&self.begins, version, |short| *short) as Slot;
        let dead = |version| self.count_up_to(&self.deaths, version, |(end, _)| *end);
        let first = born(after);
        let dead = self.deaths.get(dead(after)..dead(up_to)).unwrap_or_default();
        let mut older: Vec<Slot> = dead.iter().map(|(_, slot)| *slot).filter(|slot| *slot < first).collect();
        older.sort_unstable();
        self.select_slots(older.into_iter().chain(first..born(up_to)))
    }
}

/// Rows that keep no more memory than they need: a slice of a large batch would keep all of it.
fn owned(rows: RecordBatch) -> RecordBatch {
    let held = rows.get_array_memory_size();
    if held <= OWNED_SLACK_BYTES {
        return rows;
    }
    let slices = rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().ok());
    let Some(needed) = slices.sum::<Option<usize>>() else { return rows };
    if held <= needed * 2 {
        return rows;
    }
    let all = arrow::array::UInt32Array::from_iter_values(0..rows.num_rows() as u32);
    take_record_batch(&rows, &all).unwrap_or(rows)
}

/// Less is not worth looking at, and small arrays hold more than their values anyway.
const OWNED_SLACK_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

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

    fn flat(selections: Vec<Selection>) -> Vec<(Slot, Version, Version)> {
        let rows = selections.into_iter().flat_map(|some| {
            let lives = some.begins.into_iter().zip(some.ends);
            let slots = some.rows.into_iter().map(move |row| some.batch.first + row);
            slots.zip(lives).map(|(slot, (begin, end))| (slot, begin, end)).collect::<Vec<_>>()
        });
        rows.collect()
    }

    const COMMITS_MAX: usize = if cfg!(miri) { 12 } else { 120 };

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 3 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn every_version_shows_what_a_map_of_versions_shows(
            ops in prop::collection::vec(
                prop::collection::vec((0i64..20, any::<bool>()), 1..4),
                1..COMMITS_MAX
            ),
            look_up_from in 0usize..COMMITS_MAX,
        ) {
            let mut table = Memtable::default();
            let mut model: Vec<BTreeSet<i64>> = vec![Default::default()];
            // Where the alive row of each key is, as who replays a log by positions would know.
            let mut places: std::collections::HashMap<i64, (Version, u32)> = Default::default();
            let mut file_ends: Vec<(FileId, u32, Version)> = Vec::new();
            for (index, commit) in ops.iter().enumerate() {
                // Versions that change other tables lie between.
                let version = Version(index as u64 * 3 + 7);
                let mut state = model.last().unwrap().clone();
                let mut seen = BTreeSet::new();
                let mut added = Vec::new();
                for &(id, delete) in commit {
                    if !seen.insert(id) { continue; }
                    if let Some((begin, nth)) = places.remove(&id) {
                        let slot = table.slot_at(begin, nth).unwrap();
                        if index >= look_up_from {
                            prop_assert_eq!(table.alive(rows(&[id]).1.get(0)), Some(slot));
                        }
                        prop_assert_eq!(table.birth(slot), (begin, nth));
                        assert!(table.end_slot(slot, version));
                        state.remove(&id);
                    } else if delete {
                        table.end_in_file(id as u64 % 3, index as u32 * 100 + id as u32, version);
                        file_ends.push((id as u64 % 3, index as u32 * 100 + id as u32, version));
                    }
                    if !delete {
                        places.insert(id, (version, added.len() as u32));
                        added.push(id);
                        state.insert(id);
                    }
                }
                let (batch, keys) = rows(&added);
                table.insert(version, 0, batch, keys);
                table.note_change(version, 0);
                prop_assert_eq!(table.slot_at(version, added.len() as u32), None);
                model.push(state);
            }
            file_ends.sort();
            let last = 7 + 3 * ops.len() as u64;
            for version in 0..=last {
                let state = &model[if version < 7 { 0 } else { ((version - 7) / 3 + 1).min(ops.len() as u64) as usize }];
                prop_assert_eq!(visible(&table, version), state.iter().copied().collect::<Vec<_>>());
                let (after, up_to) = (Version(version), Version(version + version % 11));
                let within = |at: Version| after < at && at <= up_to;
                let touched = table.select(|begin, end| within(begin) || within(end));
                prop_assert_eq!(flat(table.touched(after, up_to)), flat(touched));
                let ended = file_ends.iter().filter(|(.., end)| within(*end)).copied();
                prop_assert_eq!(table.file_ends_within(after, up_to), ended.collect::<Vec<_>>());
                for file in 0..3 {
                    let of_file = file_ends.iter().filter(|(of, _, end)| *of == file && *end <= up_to);
                    let of_file: Vec<_> = of_file.map(|(_, row, end)| (*row, *end)).collect();
                    prop_assert_eq!(table.file_ends(file, up_to), of_file);
                }
            }
            for id in 0..20 {
                let (_, keys) = rows(&[id]);
                let begins: Vec<_> = table.slots_of(keys.get(0)).map(|slot| table.life(slot).0).collect();
                prop_assert!(begins.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
                prop_assert_eq!(table.alive(keys.get(0)).is_some(), model.last().unwrap().contains(&id));
            }
        }
    }

    #[test]
    fn a_few_keys_are_found_without_an_index_and_many_with_one() {
        let batch_rows: i64 = if cfg!(miri) { 600 } else { 3_000 };
        let batches = if cfg!(miri) { 8 } else { 5 };
        let mut table = Memtable::default();
        let mut newest = std::collections::BTreeMap::new();
        for version in 1..=batches {
            // Every other batch descends; half of the keys come again.
            let mut ids: Vec<i64> = (0..batch_rows).map(|id| id + version * batch_rows / 2).collect();
            if version % 2 == 0 {
                ids.reverse();
            }
            let (batch, keys) = rows(&ids);
            for (row, id) in ids.iter().enumerate() {
                let slot = (version - 1) * batch_rows + row as i64;
                newest.entry(*id).or_insert_with(Vec::new).insert(0, slot as Slot);
            }
            table.insert(Version(version as u64), 0, batch, keys);
        }
        let total = (batches * batch_rows) as usize;
        assert!(total > INDEX_AT_ONCE);
        let check = |table: &Memtable, id: i64| {
            let (_, keys) = rows(&[id]);
            let found: Vec<Slot> = table.slots_of(keys.get(0)).collect();
            assert_eq!(found, newest.get(&id).cloned().unwrap_or_default(), "id {id}");
        };
        check(&table, batch_rows);
        assert_eq!(table.index.read().indexed(), 0, "one key is found without");
        let mut ids = newest.keys().copied().chain([-1, batch_rows * 99]).cycle().step_by(7);
        while table.index.read().indexed() == 0 {
            check(&table, ids.next().unwrap());
        }
        assert_eq!(table.index.read().indexed(), total);
        let step = if cfg!(miri) { 97 } else { 1 };
        newest.keys().step_by(step).for_each(|id| check(&table, *id));
        // What comes after the index was built and is not in it yet is found first.
        let (batch, keys) = rows(&(0..batch_rows * 3).collect::<Vec<_>>());
        table.insert(Version(99), 0, batch, keys);
        let (_, key) = rows(&[batch_rows]);
        let found: Vec<Slot> = table.slots_of(key.get(0)).collect();
        assert_eq!(found[0] as usize, total + batch_rows as usize);
        assert_eq!(found[1..], newest[&batch_rows][..]);
    }

    #[test]
    fn memory_is_counted_and_small_rows_take_little() {
        let count: i64 = if cfg!(miri) { 400 } else { 50_000 };
        let mut table = Memtable::default();
        let mut last = table.memory_bytes();
        for version in 1..=count {
            let (batch, keys) = rows(&[version % (count / 2)]);
            if let Some(slot) = table.alive(keys.get(0)) {
                assert!(table.end_slot(slot, Version(version as u64)));
            }
            table.insert(Version(version as u64), 0, batch, keys);
            table.note_change(Version(version as u64), 0);
            if version == count / 2 {
                last = table.memory_bytes();
            }
        }
        assert!(table.memory_bytes() > last, "rows that replace others take memory too");
        let bytes = table.memory_bytes() as i64;
        // A key of 3 bytes and an id of 8, and all that is known of it, in buffers that doubled.
        assert!(bytes > count * 40 && (cfg!(miri) || bytes < count * 160), "{bytes} bytes of {count} rows");
        let merged = table.select(|_, _| true);
        let batches: usize = merged.iter().map(|selection| selection.batch.memory_bytes()).sum();
        assert_eq!(batches, table.batch_bytes);
    }

    #[test]
    fn a_slice_does_not_keep_the_batch_it_was_cut_from() {
        let ids: Vec<i64> = (0..100_000).collect();
        let (batch, _) = rows(&ids);
        let mut table = Memtable::default();
        let (_, keys) = rows(&ids[7..9]);
        table.insert(Version(1), 0, batch.slice(7, 2), keys);
        assert!(table.memory_bytes() < 10_000, "{}", table.memory_bytes());
        let kept = table.visible_at(Version(1)).remove(0).batch;
        assert_eq!(kept.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values(), &[7, 8]);
    }
}
