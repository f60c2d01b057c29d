//! Planning and doing compaction on a database, one bounded step at a time.
//!
//! Invariants. A step installs a manifest of the version that the one before it has, by the way a
//! checkpoint takes: new files synced, then the manifest, then its record. It holds no lock that a commit
//! needs while it reads and writes rows. What a crash leaves is unknown to every manifest. Records of the
//! log that name rows of files that are gone find them by key.

use super::keep::Keep;
use super::policy::{FileFacts, Parameters, Reason, Step, VisibleRows, plan};
use super::rewrite::{Pace, Rewrite};
use crate::checkpoint::{install, release_files, remove_leavings, while_locked};
use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::generation::Generation;
use crate::manifest::{FileMeasures, Manifest};
use crate::state::State;
use crate::store::ends::{self, Ends};
use crate::store::output::Output;
use asof_mvcc::{FileId, Table, TableId};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Ends files of a table from which on they are merged.
const ENDS_FILES_MAX: usize = 8;
/// Deaths of rows in files that are gone, from which on ends files are written anew without them.
const ENDS_GONE_MIN: u64 = 16_384;

/// Files of a table that are to be rewritten together.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactionStep {
    /// The table's id.
    pub table_id: TableId,
    /// Its full name.
    pub table: String,
    /// Which files, and why.
    pub step: Step,
    /// What it was weighed by.
    pub parameters: Parameters,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Files read.
    pub files_read: u64,
    /// Files written.
    pub files_written: u64,
    /// Row versions rewritten.
    pub rows: u64,
    /// Bytes of the files read.
    pub bytes_read: u64,
    /// Bytes of the files written.
    pub bytes_written: u64,
}

impl Database {
    /// What compaction would do to a table (by full name; all that ever had it), or to all tables: most useful first.
    /// Reads the manifest, and of a table's running sums as much as is needed. [`Parameters::AUTOMATIC`] gives what pays
    /// by itself, [`Parameters::BY_HAND`] whatever makes files better.
    pub fn compact_plan(&self, table: Option<&str>, parameters: &Parameters) -> Result<Vec<CompactionStep>> {
        self.readable()?;
        plan_of(&self.inner.state(), table, parameters)
    }

    /// Does one step; `None` where its files have changed since it was planned, or another process makes a checkpoint.
    /// `pace` is told of rows as they are read, and may sleep; where it gives `false`, nothing changes.
    pub fn compact_step(
        &self,
        step: &CompactionStep,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<CompactionReport>> {
        let done = while_locked(self, Duration::ZERO, |inner| {
            let made = rewrite(inner, step, pace).inspect_err(|_| remove_leavings(inner))?;
            let Some((manifest, report)) = made else { return Ok(None) };
            install(inner, &manifest).inspect_err(|_| remove_leavings(inner))?;
            Ok(Some(report))
        })?;
        Ok(done.flatten())
    }

    /// Lets the files go that the last step has rewritten: the manifest before the newest is kept, with all it names.
    pub fn release_files(&self) -> Result<()> {
        release_files(self)
    }

    /// Does all that is planned, again and again until nothing is left.
    pub fn compact(&self, table: Option<&str>, parameters: &Parameters) -> Result<CompactionReport> {
        let mut sum = CompactionReport::default();
        loop {
            let mut progress = false;
            for step in self.compact_plan(table, parameters)? {
                if let Some(report) = self.compact_step(&step, &mut |_| true)? {
                    progress = true;
                    sum.files_read += report.files_read;
                    sum.files_written += report.files_written;
                    sum.rows += report.rows;
                    sum.bytes_read += report.bytes_read;
                    sum.bytes_written += report.bytes_written;
                }
            }
            if !progress {
                if sum != CompactionReport::default() {
                    self.release_files()?;
                }
                return Ok(sum);
            }
        }
    }
}

/// Bytes that compaction would read by itself: what `info` shows as debt.
pub(crate) fn debt_bytes(state: &State) -> Result<u64> {
    let steps = plan_of(state, None, &Parameters::AUTOMATIC)?;
    Ok(steps.iter().map(|step| step.step.bytes).sum())
}

/// What compaction would do to a table, or to all.
fn plan_of(state: &State, table: Option<&str>, parameters: &Parameters) -> Result<Vec<CompactionStep>> {
    let mut steps = Vec::new();
    let mut known = table.is_none();
    for one in state.catalog().all().filter(|one| table.is_none_or(|name| one.name == name)) {
        known = true;
        let steps_of_table = match plan_table(&state.generation, one.id, parameters) {
            // The others are compacted all the same.
            Err(error) if table.is_none() && error.kind() == ErrorKind::Corrupt => {
                log::error!("table {} is not compacted: {error}", one.name);
                continue;
            }
            planned => planned?,
        };
        steps.extend(steps_of_table.into_iter().map(|step| CompactionStep {
            table_id: one.id,
            table: one.name.clone(),
            step,
            parameters: *parameters,
        }));
    }
    match known {
        true => Ok(steps),
        false => Err(Error::not_found(format!("there is no table {}", table.unwrap_or_default()))),
    }
}

fn plan_table(generation: &Generation, table: TableId, parameters: &Parameters) -> Result<Vec<Step>> {
    let facts = facts(generation, table)?;
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    let mut steps = plan(&facts, &visible_rows(generation, table)?, parameters);
    if steps.is_empty() && !ends_to_merge(generation.manifest(), table).is_empty() {
        let files = generation.manifest().ends_files.iter().filter(|file| file.table == table);
        let bytes = files.map(|file| file.bytes).sum();
        steps.push(Step { inputs: Vec::new(), reason: Reason::MergeEnds, rows: 0, dead: 0, bytes });
    }
    Ok(steps)
}

fn facts(generation: &Generation, table: TableId) -> Result<Vec<FileFacts>> {
    let manifest = generation.manifest();
    let measures: HashMap<FileId, &FileMeasures> =
        manifest.measures.iter().map(|measures| (measures.file, measures)).collect();
    let files = manifest.data_files.iter().filter(|file| file.table == table);
    let facts = files.map(|file| {
        let measures = match measures.get(&file.id) {
            Some(measures) => **measures,
            // Written by a release that did not measure.
            None => measure(generation, table, file.id)?,
        };
        Ok(FileFacts {
            id: file.id,
            history: file.history,
            rows: file.rows,
            bytes: file.bytes,
            runs: u64::from(measures.runs),
            dead: measures.dead,
            begins: (file.min_begin, file.max_begin),
            ends: (file.min_end, file.max_end),
        })
    });
    facts.collect()
}

/// The measures of a file of which the manifest has none.
pub(crate) fn measure(generation: &Generation, table: TableId, file: FileId) -> Result<FileMeasures> {
    Ok(FileMeasures { file, runs: 1, dead: generation.dead_count(table, file)? })
}

/// How many rows a table showed at its settled versions.
pub(crate) fn visible_rows(generation: &Generation, table: TableId) -> Result<VisibleRows> {
    let samples = generation.changes(table).sample(super::policy::VISIBLE_SAMPLES_MAX as u64)?;
    Ok(VisibleRows::new(samples.iter().map(|entry| (entry.version.0, entry.rows)).collect()))
}

/// Writes the files of a step; gives the manifest that names them. Nothing is installed yet.
fn rewrite(
    inner: &Inner,
    step: &CompactionStep,
    pace: &mut Pace<'_>,
) -> Result<Option<(Manifest, CompactionReport)>> {
    let state = inner.state();
    let generation = &state.generation;
    let old = generation.manifest();
    let inputs: HashSet<FileId> = step.step.inputs.iter().copied().collect();
    let records: Vec<_> = old.data_files.iter().filter(|file| inputs.contains(&file.id)).collect();
    let table = generation.catalog.table(step.table_id);
    let Some(table) = table.filter(|_| records.len() == inputs.len()) else { return Ok(None) };
    let mut output = Output::new(inner, old)?;
    let measured: HashSet<FileId> = old.measures.iter().map(|measures| measures.file).collect();
    let mut measures: Vec<FileMeasures> = old.measures.clone();
    for file in old.data_files.iter().filter(|file| !measured.contains(&file.id)) {
        measures.push(measure(generation, file.table, file.id)?);
    }
    if !records.is_empty() {
        let visible = visible_rows(generation, table.id)?;
        let rewrite = Rewrite {
            generation,
            table,
            records: records.clone(),
            keep: Keep::of(generation, table),
            parameters: &step.parameters,
            visible: &visible,
            memory_bytes: inner.options.compaction_bytes(),
        };
        let kept = rewrite.write(&mut output, pace)?;
        let written: u64 = output.data_files.iter().map(|file| file.rows).sum();
        let read: u64 = records.iter().map(|file| file.rows).sum();
        let lost = matches!(rewrite.keep, Keep::All) && kept != read;
        if kept != written || lost {
            return Err(Error::corrupt(format!(
                "compaction of table {} read {read} row versions, was to keep {kept} and wrote {written}; nothing has changed; run 'asof verify'",
                table.name
            )));
        }
    }
    let merged = match step.step.reason {
        Reason::Gone if inputs.is_empty() => ends_of(old, table.id),
        _ => ends_to_merge(old, table.id),
    };
    let ends_merged: HashSet<FileId> = merged.into_iter().collect();
    merge_ends(inner, generation, table, &inputs, &ends_merged, &mut output)?;
    if records.is_empty() && ends_merged.is_empty() {
        return Ok(None);
    }
    output.sync_dirs()?;
    let report = CompactionReport {
        files_read: (records.len() + ends_merged.len()) as u64,
        files_written: (output.data_files.len() + output.ends_files.len()) as u64,
        rows: records.iter().map(|file| file.rows).sum(),
        bytes_read: records.iter().map(|file| file.bytes).sum(),
        bytes_written: output.bytes(),
    };
    let data_files = old.data_files.iter().filter(|file| !inputs.contains(&file.id)).cloned();
    measures.retain(|measures| !inputs.contains(&measures.file));
    measures.extend(output.measures);
    let ends_files = old.ends_files.iter().filter(|file| !ends_merged.contains(&file.id)).cloned();
    let manifest = Manifest {
        number: output.manifest_number,
        next_file_id: output.next_file_id,
        measures,
        data_files: data_files.chain(output.data_files).collect(),
        ends_files: ends_files.chain(output.ends_files).collect(),
        ..old.clone()
    };
    Ok(Some((manifest, report)))
}

/// All ends files of a table.
fn ends_of(manifest: &Manifest, table: TableId) -> Vec<FileId> {
    manifest.ends_files.iter().filter(|file| file.table == table).map(|file| file.id).collect()
}

/// Deaths that the ends files of a table tell of, and those of them that are of files which are there.
pub(crate) fn deaths_told(manifest: &Manifest, table: TableId) -> (u64, u64) {
    let files = manifest.ends_files.iter().filter(|file| file.table == table);
    let live: HashSet<FileId> = manifest
        .data_files
        .iter()
        .filter(|file| file.table == table && !file.history)
        .map(|file| file.id)
        .collect();
    let of_live = manifest.measures.iter().filter(|measures| live.contains(&measures.file));
    (files.map(|file| file.rows).sum(), of_live.map(|measures| measures.dead).sum())
}

/// The ends files of a table that are worth being written anew as one: all where most deaths in them are of rows in
/// files that are gone, else the newest ones of about one size.
fn ends_to_merge(manifest: &Manifest, table: TableId) -> Vec<FileId> {
    let files: Vec<_> = manifest.ends_files.iter().filter(|file| file.table == table).collect();
    let (told, needed) = deaths_told(manifest, table);
    if told - needed.min(told) > needed.max(ENDS_GONE_MIN) {
        return files.iter().map(|file| file.id).collect();
    }
    if files.len() < ENDS_FILES_MAX {
        return Vec::new();
    }
    let (mut count, mut rows) = (0, 0);
    for file in files.iter().rev() {
        if count >= ENDS_FILES_MAX / 2 && file.rows > rows * 2 {
            break;
        }
        (count, rows) = (count + 1, rows + file.rows);
    }
    files[files.len() - count..].iter().map(|file| file.id).collect()
}

/// Writes the ends files that are to be merged as one, without deaths of rows in files that are gone or go now.
fn merge_ends(
    inner: &Inner,
    generation: &Generation,
    table: &Table,
    going: &HashSet<FileId>,
    merged: &HashSet<FileId>,
    output: &mut Output<'_>,
) -> Result<()> {
    let manifest = generation.manifest();
    let mut ends = Ends::new();
    for record in manifest.ends_files.iter().filter(|record| merged.contains(&record.id)) {
        for (file, dead) in ends::read(&*inner.disk, &inner.layout, record)? {
            if generation.has_file(file) && !going.contains(&file) {
                ends.entry(file).or_default().extend(dead);
            }
        }
    }
    output.ends(table.id, ends)
}
