//! The rows of a version by ranges of keys: where a table can be cut so that each range is read by itself, and the rows
//! of one range.
//!
//! A cut is the first key of a row group or of one of its pages, so that reading a range decodes few rows outside of it.
//! Invariant: ranges that follow one another have together the rows of an ordered scan, in its order, wherever they are
//! cut. Everything is read in the caller's thread: who wants more of them reads several ranges at a time.

use super::{Life, memory_selections, memtable_for, merged, runs_of, wanted};
use crate::adapt::{adapt, batch_of};
use crate::error::Result;
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks};
use crate::store::data_file::{Wanted, partition_point};
use crate::store::group_scan::{BATCH_ROWS, Detail, GroupTask};
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::memtable::MemBatch;
use asof_mvcc::{Column, KeyBytes, KeyRange, Keys, Table, Version};
use std::ops::Range;
use std::sync::Arc;

/// A table at a version, to be read by ranges.
pub(crate) struct RangedRows {
    runs: Vec<Vec<GroupTask>>,
    memory: MemoryRows,
    wanted: Wanted,
    /// Keeps the files.
    _state: Arc<State>,
}

/// The rows that are in no data file.
#[derive(Default)]
struct MemoryRows {
    /// Each batch, and its rows under the columns that are wanted.
    batches: Vec<(Arc<MemBatch>, RecordBatch)>,
    /// Batch and row, in order of keys.
    order: Vec<(u32, u32)>,
}

impl RangedRows {
    /// The rows of a table at a version.
    pub(crate) fn new(
        state: &Arc<State>,
        table: &Table,
        columns: &[Column],
        version: Version,
    ) -> Result<RangedRows> {
        let (wanted, life) = (wanted(table, columns), Life::VisibleAt(version));
        let memtable = memtable_for(state, table, life);
        let runs = runs_of(state, table, memtable.as_deref(), life, true)?;
        let mut memory = MemoryRows::default();
        if let Some(memtable) = &memtable {
            // Locked no longer than this: commits go on while the rows are put in order.
            let selections = memory_selections(&memtable.read(), life);
            for (index, selection) in selections.into_iter().enumerate() {
                let (_, schema) = &table.schemas[selection.batch.schema];
                let rows = adapt(&selection.batch.rows, &schema.columns, &wanted.columns, &wanted.schema)?;
                memory.order.extend(selection.rows.iter().map(|row| (index as u32, *row)));
                memory.batches.push((selection.batch, rows));
            }
            let MemoryRows { batches, order } = &mut memory;
            let key = |place: &(u32, u32)| batches[place.0 as usize].0.keys.get(place.1 as usize);
            order.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        }
        Ok(RangedRows { runs, memory, wanted, _state: state.clone() })
    }

    /// Keys at which ranges of about so many rows begin, ascending; the first is below all others.
    pub(crate) fn cuts(&self, rows: u64) -> Vec<KeyBytes> {
        let rows = rows.max(1);
        let mut pieces: Vec<(KeyBytes, u64)> = Vec::new();
        for task in self.runs.iter().flatten() {
            let extent = &task.file.groups[task.group];
            // Of a damaged row group it is not known where its pages begin; reading it tells of that.
            let details = match u64::from(extent.rows) > 2 * rows {
                true => task.file.details(task.group).ok().filter(|details| !details.fences.is_empty()),
                false => None,
            };
            match details {
                None => pieces.push((extent.min_key.as_slice().into(), u64::from(extent.rows))),
                Some(details) => {
                    let page_rows = u64::from(extent.page_rows);
                    let step = rows.div_ceil(page_rows) as usize;
                    let pages = (0..details.fences.len()).step_by(step);
                    pieces
                        .extend(pages.map(|page| (details.fences.get(page).into(), step as u64 * page_rows)));
                }
            }
        }
        let step = usize::try_from(rows).unwrap_or(usize::MAX);
        let in_memory = self.memory.order.chunks(step);
        pieces.extend(in_memory.map(|places| (self.memory.key(places[0]).into(), places.len() as u64)));
        pieces.sort_by(|a, b| a.0.cmp(&b.0));
        let mut cuts: Vec<KeyBytes> = vec![KeyBytes::default()];
        let mut gathered = 0u64;
        for (key, count) in pieces {
            if gathered > 0 && gathered + count / 2 > rows && cuts.last().is_some_and(|last| *last < key) {
                cuts.push(key);
                gathered = 0;
            }
            gathered += count;
        }
        cuts
    }

    /// The rows of a range, in order.
    pub(crate) fn chunks(&self, range: &KeyRange) -> Result<Chunks> {
        let (mut runs, mut keys) = (Vec::new(), false);
        for run in &self.runs {
            let mut tasks = Vec::new();
            for (task, is_within) in tasks_within(run, range)? {
                keys |= !is_within;
                tasks.push(task);
            }
            if !tasks.is_empty() {
                runs.push(tasks);
            }
        }
        let memory = self.memory.chunks(self.memory.within(range), &self.wanted)?;
        keys |= runs.len() + usize::from(!memory.is_empty()) > 1;
        let chunks = merged(runs, memory, &self.wanted, Detail { keys, lives: false }, 1);
        if !keys {
            return Ok(chunks);
        }
        let range = range.clone();
        Ok(Box::new(chunks.map(move |chunk| Ok(cut_to(chunk?, &range)))))
    }

    /// Calls with the rows of a range as they lie.
    pub(crate) fn each(&self, range: &KeyRange, mut each: impl FnMut(&RecordBatch)) -> Result<()> {
        for run in &self.runs {
            for (task, is_within) in tasks_within(run, range)? {
                for chunk in task.chunks(self.wanted.clone(), Detail { keys: !is_within, lives: false }) {
                    match is_within {
                        true => each(&chunk?.rows),
                        false => each(&cut_to(chunk?, range).rows),
                    }
                }
            }
        }
        let memory = self.memory.chunks(self.memory.within(range), &self.wanted)?;
        memory.iter().for_each(|chunk| each(&chunk.rows));
        Ok(())
    }
}

/// The row groups of a run that may have rows of a range, of each the pages that may; and whether all its rows are in it.
fn tasks_within(run: &[GroupTask], range: &KeyRange) -> Result<Vec<(GroupTask, bool)>> {
    let first = run.partition_point(|task| task.file.groups[task.group].max_key[..] < range.low[..]);
    let is_before_end = |key: &[u8]| range.high.as_ref().is_none_or(|high| *key < high[..]);
    let tasks = run[first..].iter().take_while(|task| is_before_end(&task.file.groups[task.group].min_key));
    tasks
        .map(|task| {
            let extent = &task.file.groups[task.group];
            let is_within = extent.min_key[..] >= range.low[..] && is_before_end(&extent.max_key);
            let mut task = task.clone();
            if !is_within {
                let fences = &task.file.details(task.group)?.fences;
                if !fences.is_empty() {
                    // Rows of the lowest key may begin within the page before the first fence that is that key.
                    let first = partition_point(fences, |fence| *fence < range.low[..]).saturating_sub(1);
                    let end = partition_point(fences, is_before_end) as u32;
                    let end = end.saturating_mul(extent.page_rows).min(extent.rows);
                    let start = (first as u32).saturating_mul(extent.page_rows).min(end);
                    if start > 0 || end < extent.rows {
                        task.rows = Some((start..end).collect());
                    }
                }
            }
            Ok((task, is_within))
        })
        .collect()
}

/// The rows of a chunk that are in a range.
fn cut_to(mut chunk: Chunk, range: &KeyRange) -> Chunk {
    let first = partition_point(&chunk.keys, |key| *key < range.low[..]);
    let end = match &range.high {
        Some(high) => partition_point(&chunk.keys, |key| *key < high[..]).max(first),
        None => chunk.len(),
    };
    if first > 0 || end < chunk.len() {
        chunk.rows = chunk.rows.slice(first, end - first);
        // Nobody behind this looks at keys.
        chunk.keys = Keys::default();
    }
    chunk
}

impl MemoryRows {
    fn key(&self, (batch, row): (u32, u32)) -> &[u8] {
        self.batches[batch as usize].0.keys.get(row as usize)
    }

    /// Which of the ordered rows are in a range.
    fn within(&self, range: &KeyRange) -> Range<usize> {
        let first = self.order.partition_point(|place| *self.key(*place) < range.low[..]);
        let end = match &range.high {
            Some(high) => self.order.partition_point(|place| *self.key(*place) < high[..]),
            None => self.order.len(),
        };
        first..end.max(first)
    }

    fn chunks(&self, places: Range<usize>, wanted: &Wanted) -> Result<Vec<Chunk>> {
        let chunks = self.order[places].chunks(BATCH_ROWS).map(|places| {
            let mut keys = Keys::with_capacity(places.len());
            places.iter().for_each(|place| keys.push(self.key(*place)));
            // Of the batches that these rows are in alone.
            let mut slots: Vec<Option<usize>> = vec![None; self.batches.len()];
            let mut used: Vec<&RecordBatch> = Vec::new();
            let mut picks = Vec::with_capacity(places.len());
            for (batch, row) in places {
                let slot = *slots[*batch as usize].get_or_insert_with(|| {
                    used.push(&self.batches[*batch as usize].1);
                    used.len() - 1
                });
                picks.push((slot, *row as usize));
            }
            let rows = match wanted.columns.is_empty() {
                true => batch_of(wanted.schema.clone(), Vec::new(), places.len())?,
                false => interleave_record_batch(&used, &picks)?,
            };
            Ok(Chunk { rows, keys, begins: Vec::new(), ends: Vec::new() })
        });
        chunks.collect()
    }
}
