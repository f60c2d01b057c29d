//! Row versions that were alive at some version of a range: each is read once, however many versions show it. Those that
//! only versions show which are gone are left out.
//!
//! Row groups that can have none, by the begins and ends they hold or by the statistics of the columns that a filter
//! reads, are not read.

use super::{Life, memory_chunks, memtable_for, merged, pruned, runs_of, unordered, wanted};
use crate::api::Filter;
use crate::compact::keep::Seen;
use crate::error::Result;
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks};
use crate::store::group_scan::Detail;
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use asof_mvcc::{Column, Keys, Table, Version};

/// What is asked of a table's row versions.
pub(crate) struct WithinQuestion<'a> {
    /// The first and the last version.
    pub(crate) range: (Version, Version),
    /// Columns by id, under names of which none is given twice.
    pub(crate) columns: &'a [Column],
    /// Which rows, by those names.
    pub(crate) filter: Option<Filter>,
    /// Whether rows come in order of key, then begin, with their keys; as they lie otherwise, and without.
    pub(crate) ordered: bool,
}

/// The row versions that pass. Ends after the last version are not told.
pub(crate) fn row_versions_within(
    state: &State,
    table: &Table,
    question: WithinQuestion<'_>,
) -> Result<Chunks> {
    let WithinQuestion { range: (first, last), columns, filter, ordered } = question;
    if let Some(filter) = &filter {
        filter.check(columns)?;
    }
    let (wanted, life) = (wanted(table, columns), Life::Within { first, last });
    let memtable = memtable_for(state, table, life);
    let runs = runs_of(state, table, memtable.as_deref(), life, true)?;
    let runs = pruned(runs, filter.as_ref(), columns)?;
    let memory = match &memtable {
        Some(memtable) => memory_chunks(memtable, table, &wanted, life)?,
        None => Vec::new(),
    };
    let threads = state.generation.open_files().threads;
    let chunks = match ordered {
        true => merged(runs, memory, &wanted, Detail { keys: true, lives: true }, threads),
        false => unordered(runs, memory, wanted, threads),
    };
    let chunks: Chunks = match Seen::of(&state.generation, table) {
        None => chunks,
        Some(seen) => Box::new(chunks.map(move |chunk| {
            let chunk = chunk?;
            let lives = chunk.begins.iter().zip(&chunk.ends);
            let shown = lives.map(|(begin, end)| Some(!seen.hides(*begin, *end))).collect();
            passing(chunk, &shown)
        })),
    };
    Ok(match filter {
        None => chunks,
        Some(filter) => Box::new(chunks.map(move |chunk| {
            let chunk = chunk?;
            let passes = filter.evaluate(&chunk.rows)?;
            passing(chunk, &passes)
        })),
    })
}

/// The rows of a chunk that pass.
pub(crate) fn passing(chunk: Chunk, passes: &BooleanArray) -> Result<Chunk> {
    if passes.true_count() == chunk.len() {
        return Ok(chunk);
    }
    let kept = || passes.values().set_indices();
    let mut keys = Keys::default();
    if !chunk.keys.is_empty() {
        kept().for_each(|row| keys.push(chunk.keys.get(row)));
    }
    Ok(Chunk {
        keys,
        begins: kept().map(|row| chunk.begins[row]).collect(),
        ends: kept().map(|row| chunk.ends[row]).collect(),
        rows: filter_record_batch(&chunk.rows, passes)?,
    })
}
