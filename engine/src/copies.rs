//! Copies files: what the newest versions of a checkpoint changed, once more, clustered by version, so that
//! a diff of recent versions reads what changed rather than every page that it changed something of.
//!
//! Invariant. A copies file has every row version that began or ended in the versions it tells of, and a
//! diff within these reads nothing else. No other question reads one, so that none depends on them.

use crate::checkpoint::part_names;
use crate::compact::policy::FILE_ROWS_MAX;
use crate::database::Inner;
use crate::error::{Error, Result};
use crate::manifest::{CopiesRecord, Manifest};
use crate::scan::{Life, merged, row_versions, wanted};
use crate::snapshot::all_columns;
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks};
use crate::store::data_writer::FileKind;
use crate::store::group_scan::{Choice, DeadRows, Detail, GroupTask};
use crate::store::output::{Output, OutputRow};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use asof_mvcc::{Column, Keys, Table, TableId, Version};
use asof_wal::planted::{Bug, planted};
use std::collections::{BTreeMap, HashMap};

/// Rows of a run, where one version does not have more.
const RUN_ROWS: u64 = 8_192;
/// Copies are at most this share of a table's rows, and of its bytes: one in so many.
const SHARE: u64 = 4;
/// Bytes of copies that a table may have in any case.
const BYTES_MIN: u64 = 256 << 10;
/// Copies files that a table has, at most.
const FILES_MAX: usize = 16;
/// Rows of which more are read on several threads.
const THREADS_ROWS_MIN: usize = 65_536;
/// What a row takes in memory beside its values.
const ROW_BYTES: u64 = 64;
/// Bytes of values for each byte of a file, about.
const EXPANSION: u64 = 8;

/// Versions side by side, cut into runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    /// The version before the first.
    after: u64,
    /// The last version of each run.
    runs: Vec<u64>,
}

impl Window {
    /// As many of the newest versions as have no more than `rows_max` rows together; none where the newest has more.
    /// `touched` are the rows that began or ended at each version in (after, up_to].
    fn of(touched: &BTreeMap<u64, u64>, (after, up_to): (u64, u64), rows_max: u64) -> Option<Window> {
        let mut left = rows_max;
        let too_many = touched.iter().rev().find(|(_, rows)| match left.checked_sub(**rows) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let after = too_many.map_or(after, |(version, _)| *version);
        let mut runs: Vec<u64> = Vec::new();
        let mut of_run = 0;
        for (version, rows) in touched.range(after + 1..) {
            match runs.last_mut() {
                Some(last) if of_run + rows <= RUN_ROWS => {
                    *last = *version;
                    of_run += rows;
                }
                _ => {
                    runs.push(*version);
                    of_run = *rows;
                }
            }
        }
        // Versions after the last that changed anything changed nothing.
        *runs.last_mut()? = up_to;
        Some(Window { after, runs })
    }

    /// The run of a version, if it is one of these.
    fn run_of(&self, version: Version) -> Option<usize> {
        let run = self.runs.partition_point(|last| *last < version.0);
        (version.0 > self.after && run < self.runs.len()).then_some(run)
    }
}

/// Writes what the newest versions up to `version` changed of a table, where that pays. `touched` are the rows that began
/// or ended at each version since the manifest's; the table is as it was known at `version`.
pub(crate) fn write(
    inner: &Inner,
    state: &State,
    output: &mut Output<'_>,
    table: &Table,
    touched: &BTreeMap<u64, u64>,
    version: Version,
) -> Result<()> {
    let old = state.generation.manifest();
    let loaded = state.loaded_files(table.id, version);
    let records = old.data_files.iter().chain(loaded.iter().map(|file| &**file)).chain(&output.data_files);
    let records = records.filter(|file| file.table == table.id);
    // What a commit says of files that it loads is not believed yet.
    let (rows, bytes) = records.fold((0, 0), |(rows, bytes): (u64, u64), file| {
        (rows.saturating_add(file.rows), bytes.saturating_add(file.bytes))
    });
    if rows < inner.options.copies_rows_min {
        return Ok(());
    }
    let row_bytes = (bytes.saturating_mul(EXPANSION) / rows.max(1)).saturating_add(ROW_BYTES);
    let rows_max =
        (rows / SHARE).max(RUN_ROWS).min(inner.options.compaction_bytes() / row_bytes).min(FILE_ROWS_MAX);
    // What was loaded lies together already, and no diff needs a copy of it.
    let loaded_last = loaded.iter().filter_map(|file| file.loaded_at).max().unwrap_or(0);
    let settled = state.generation.version().0.max(loaded_last);
    let Some(window) = Window::of(
        &touched.range(settled + 1..).map(|(v, rows)| (*v, *rows)).collect(),
        (settled, version.0),
        rows_max,
    ) else {
        return Ok(());
    };
    let mut columns = all_columns(table);
    part_names(&mut columns);
    let life = Life::Touched { after: Version(window.after), up_to: version };
    let chunks = row_versions(state, table, &columns, life)?.collect::<Result<Vec<Chunk>>>()?;
    let mut of_run: Vec<Vec<OutputRow<'_>>> = vec![Vec::new(); window.runs.len()];
    for (batch, chunk) in chunks.iter().enumerate() {
        for row in 0..chunk.len() {
            let (begin, end) = (chunk.begins[row], chunk.ends[row]);
            // Commits go on, and end rows later.
            let end = if end <= version { end } else { Version::FOREVER };
            let copy = OutputRow { key: chunk.keys.get(row), begin, end, batch, row };
            let (first, last) = (window.run_of(begin), window.run_of(end));
            first.into_iter().for_each(|run| of_run[run].push(copy));
            last.into_iter().filter(|_| last != first).for_each(|run| of_run[run].push(copy));
        }
    }
    let batches: Vec<&RecordBatch> = chunks.iter().map(|chunk| &chunk.rows).collect();
    let mut writing = output.rows(table, &columns, FileKind::History);
    let mut runs = Vec::with_capacity(of_run.len());
    for (rows, last) in of_run.iter().zip(window.runs).filter(|(rows, _)| !rows.is_empty()) {
        writing.begin_run();
        writing.write(&batches, rows)?;
        runs.push(last);
    }
    if let Some(last) = runs.last_mut() {
        *last = version.0;
    }
    let after = if planted(Bug::CopiesClaimTooMuch) { window.after.max(1) - 1 } else { window.after };
    writing.finish_copies(after, runs)
}

/// The copies that a manifest names after new ones were written: the newest of each table, as many as it may have.
pub(crate) fn kept(old: &Manifest, new: Vec<CopiesRecord>) -> Vec<CopiesRecord> {
    let mut bytes_of: HashMap<TableId, u64> = HashMap::new();
    old.data_files.iter().for_each(|file| *bytes_of.entry(file.table).or_insert(0) += file.bytes);
    let mut used: HashMap<TableId, (usize, u64)> = HashMap::new();
    let mut kept: Vec<CopiesRecord> = Vec::new();
    let newest_first = old.copies.iter().cloned().chain(new).rev();
    for copies in newest_first {
        let may = bytes_of.get(&copies.file.table).map_or(0, |bytes| bytes / SHARE).max(BYTES_MIN);
        let (files, bytes) = used.entry(copies.file.table).or_insert((0, 0));
        (*files, *bytes) = (*files + 1, *bytes + copies.file.bytes);
        // The newest always stays: how much was written was decided before.
        if *files == 1 || (*files <= FILES_MAX && *bytes <= may) {
            kept.push(copies);
        }
    }
    kept.reverse();
    kept
}

/// Row versions of a table that `life` wants of those touched in (after, up_to], in order of key, then begin, from copies
/// where there are any. When one ended after that is not told.
pub(crate) fn touched_row_versions(
    state: &State,
    table: &Table,
    columns: &[Column],
    life: Life,
) -> Result<Chunks> {
    let copies = life
        .touched()
        .and_then(|(after, up_to)| Some((state.generation.copies(table.id, after, up_to)?, after, up_to)));
    let Some((record, after, up_to)) = copies else {
        return row_versions(state, table, columns, life);
    };
    let file = state.generation.open(&record.file)?;
    let runs: Vec<_> = file.runs().collect();
    if runs.len() != record.runs.len() {
        let (found, expected) = (runs.len(), record.runs.len());
        return Err(Error::corrupt(format!(
            "{} has {found} runs, expected {expected}; run 'asof verify'",
            file.name()
        )));
    }
    let mut sources: Vec<Vec<GroupTask>> = Vec::new();
    let firsts = std::iter::once(record.after).chain(record.runs.iter().copied());
    for ((run, first), last) in runs.into_iter().zip(firsts).zip(&record.runs) {
        if first < up_to.0 && *last > after.0 {
            let task = |group| GroupTask {
                file: file.clone(),
                group,
                rows: None,
                dead: DeadRows::Known(Vec::new()),
                choice: Choice::Life(life),
            };
            sources.push(run.map(task).collect());
        }
    }
    let rows: usize = sources.iter().flatten().map(GroupTask::rows_expected).sum();
    // Few rows are decoded sooner than they are handed to another thread.
    let threads = if rows <= THREADS_ROWS_MIN { 1 } else { state.generation.open_files().threads };
    let detail = Detail { keys: true, lives: true };
    let chunks = merged(sources, Vec::new(), &wanted(table, columns), detail, threads);
    let mut last: Option<(Vec<u8>, Version)> = None;
    Ok(Box::new(chunks.map(move |chunk| once_each(chunk?, &mut last))))
}

/// The rows of a chunk without those that came before: a row that began in one run and ended in another is in both.
fn once_each(chunk: Chunk, last: &mut Option<(Vec<u8>, Version)>) -> Result<Chunk> {
    let place = |row: usize| (chunk.keys.get(row), chunk.begins[row]);
    let before_first = last.as_ref().map(|(key, begin)| (&key[..], *begin));
    let keep: Vec<bool> = (0..chunk.len())
        .map(|row| match row.checked_sub(1) {
            Some(before) => place(before) != place(row),
            None => before_first != Some(place(row)),
        })
        .collect();
    let Some(end) = chunk.len().checked_sub(1) else { return Ok(chunk) };
    *last = Some((chunk.keys.get(end).to_vec(), chunk.begins[end]));
    if !keep.contains(&false) {
        return Ok(chunk);
    }
    let kept = || keep.iter().enumerate().filter(|(_, keep)| **keep).map(|(row, _)| row);
    let mut keys = Keys::default();
    kept().for_each(|row| keys.push(chunk.keys.get(row)));
    Ok(Chunk {
        keys,
        begins: kept().map(|row| chunk.begins[row]).collect(),
        ends: kept().map(|row| chunk.ends[row]).collect(),
        rows: filter_record_batch(&chunk.rows, &BooleanArray::from(keep.clone()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(touched: &[(u64, u64)], range: (u64, u64), rows_max: u64) -> Option<(u64, Vec<u64>)> {
        let touched = touched.iter().copied().collect();
        Window::of(&touched, range, rows_max).map(|window| (window.after, window.runs))
    }

    #[test]
    fn the_newest_versions_that_fit_are_cut_into_runs() {
        let touched = [(11, 5_000), (12, 3_000), (13, 4_000), (17, 4_000), (18, 9_000)];
        assert_eq!(window(&touched, (10, 20), 25_000), Some((10, vec![12, 17, 20])));
        assert_eq!(window(&touched, (10, 20), 24_999), Some((11, vec![13, 17, 20])));
        assert_eq!(window(&touched, (10, 20), 9_000), Some((17, vec![20])));
        assert_eq!(window(&touched, (10, 20), 8_999), None);
        assert_eq!(window(&[], (10, 20), 100), None);
    }

    #[test]
    fn every_version_of_a_window_is_in_one_run() {
        let touched = [(11, 5_000), (12, 3_000), (13, 4_000), (17, 4_000), (18, 9_000)].into_iter().collect();
        let window = Window::of(&touched, (10, 20), 24_999).unwrap();
        let runs: Vec<_> = (10..=21).map(|version| window.run_of(Version(version))).collect();
        let expected =
            [None, None, Some(0), Some(0), Some(1), Some(1), Some(1), Some(1), Some(2), Some(2), Some(2)];
        assert_eq!(runs[..11], expected);
        assert_eq!((runs[11], window.run_of(Version::FOREVER)), (None, None));
    }
}
