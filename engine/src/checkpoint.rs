//! Checkpoints: what happened since the last one becomes Parquet, and the log behind it can go.
//!
//! Steps, and what a crash after each leaves. (1) Data and ends files of what changed, under new
//! numbers: unknown to every manifest, removed by a later checkpoint. (2) Commit log and changes files
//! grow behind what the manifest settles: overwritten by the next try. (3) The directories are synced.
//! (4) The new manifest takes its name: from here on the checkpoint is. (5) A record in the log tells
//! other processes. (6) What only older manifests name goes, two manifests stay. At no point is
//! anything missing that a manifest names.

use crate::adapt::{adapt, loose_schema};
use crate::api::CheckpointReport;
use crate::codec::records::{TableRecord, TagRecord};
use crate::compact::cells::{Cells, Lifetime};
use crate::compact::policy::{Parameters, VersionsMeasure, VisibleRows, live_runs};
use crate::copies;
use crate::cut::leave_old_lineage;
use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::garbage::collect_garbage;
use crate::history::ids::hash_id;
use crate::layout::CHECKPOINT_LOCK;
use crate::manifest::{self, DataFileRecord, FileMeasures, Manifest, SumsRecord, VariableRecord};
use crate::state::State;
use crate::store::data_writer::FileKind;
use crate::store::ends::Ends;
use crate::store::output::{Output, OutputRow};
use crate::sums::{ColumnSums, settled};
use arrow::array::RecordBatch;
use asof_mvcc::{Column, FileId, Memtable, Selection, Table, Version};
use asof_wal::planted::{Bug, planted};
use asof_wal::{Disk, DiskFile, LockKind, OpenMode};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Database {
    /// Turns the log into Parquet.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        let made = try_checkpoint(self, self.inner.options.wait)?;
        made.ok_or_else(|| Error::new(ErrorKind::Locked, "another process is making a checkpoint"))
    }
}

/// Makes a checkpoint; `None` where another process makes one for longer than `wait`.
pub(crate) fn try_checkpoint(database: &Database, wait: Duration) -> Result<Option<CheckpointReport>> {
    while_locked(database, wait, |inner| {
        if inner.state().published() > inner.state().generation.version() {
            // A turn repairs what a killed writer left: a manifest must not name a place in a segment whose own name a
            // power cut may still take away.
            drop(inner.log()?.take_turn(inner.options.wait)?);
            inner.follow()?;
        }
        let state = inner.state();
        let version = state.published();
        let mut report = CheckpointReport { version, ..CheckpointReport::default() };
        if version > state.generation.version() {
            report.done = true;
            let written = write_files(inner, &state, version, &mut report);
            let manifest = written.inspect_err(|_| remove_leavings(inner))?;
            drop(state);
            install(inner, &manifest).inspect_err(|_| remove_leavings(inner))?;
        }
        Ok(report)
    })
}

/// Does what installs a manifest, alone among all processes, from the newest manifest on; then removes what no manifest
/// names. `None` where another process does so for longer than `wait`.
pub(crate) fn while_locked<T>(
    database: &Database,
    wait: Duration,
    work: impl FnOnce(&Arc<Inner>) -> Result<T>,
) -> Result<Option<T>> {
    let inner = &database.inner;
    let Some(lock) = lock(inner, wait)? else { return Ok(None) };
    inner.follow()?;
    finish_installation(inner)?;
    leave_old_lineage(inner)?;
    let done = work(inner)?;
    collect_garbage(inner)?;
    unlock(inner, &*lock)?;
    Ok(Some(done))
}

/// Takes the lock of what installs manifests and collects garbage; `None` where another process has it for longer than
/// `wait`. It ends with the file, or by [`unlock`].
pub(crate) fn lock(inner: &Inner, wait: Duration) -> Result<Option<Arc<dyn DiskFile>>> {
    let path = inner.layout.join(CHECKPOINT_LOCK);
    let fail = |error| io_error("lock", &path, error);
    let lock = inner.disk.open(&path, OpenMode::Create).map_err(fail)?;
    let deadline = Instant::now() + wait;
    while !lock.try_lock(LockKind::Exclusive).map_err(fail)? {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(Some(lock))
}

/// Gives that lock back, and says where that fails.
pub(crate) fn unlock(inner: &Inner, lock: &dyn DiskFile) -> Result<()> {
    lock.unlock().map_err(|error| io_error("unlock", &inner.layout.join(CHECKPOINT_LOCK), error))
}

/// Makes one more manifest that names what the newest one names: what only the one before it names can go. Without that,
/// what compaction has rewritten last would stay until the next checkpoint.
pub(crate) fn release_files(database: &Database) -> Result<()> {
    while_locked(database, Duration::ZERO, |inner| {
        let state = inner.state();
        let newest = manifest::list(&*inner.disk, &inner.layout)?.first().copied().unwrap_or(0);
        let manifest = state.generation.manifest();
        let manifest = Manifest { number: newest.max(manifest.number) + 1, ..manifest.clone() };
        drop(state);
        install(inner, &manifest)
    })
    .map(|_| ())
}

/// Removes what a checkpoint or a step of compaction that failed has written, unless a manifest names it: a disk that is
/// full must not get fuller with every try. It only removes, and so works on a disk without any room.
pub(crate) fn remove_leavings(inner: &Inner) {
    if let Err(error) = collect_garbage(inner) {
        log::warn!("what was left of a failed checkpoint is removed by the next one: {error}");
    }
}

fn write_files(
    inner: &Arc<Inner>,
    state: &State,
    version: Version,
    report: &mut CheckpointReport,
) -> Result<Manifest> {
    let old = state.generation.manifest();
    let mut output = Output::new(inner, old)?;
    let catalog = state.catalog();
    let (mut sums, mut variable) = (Vec::new(), Vec::new());
    let mut deaths: HashMap<FileId, u64> = HashMap::new();
    let mut loaded: Vec<DataFileRecord> = Vec::new();
    for table in catalog.all().filter(|table| table.schemas[0].0 <= version) {
        if !planted(Bug::LoadedFilesForgotten) {
            loaded.extend(state.loaded_files(table.id, version).iter().map(|file| (**file).clone()));
        }
        let mut settled_before = state.generation.sums(table.id);
        let mut bits = state.generation.variable_bits(table.id);
        let memtable = state.memtable(table.id);
        let touched =
            memtable.as_ref().is_some_and(|memtable| memtable.read().last_change(version).is_some());
        if let Some(memtable) = memtable.filter(|_| touched) {
            let part = Part::of(&memtable.read(), version);
            deaths.extend(part.ends.iter().map(|(file, dead)| (*file, dead.len() as u64)));
            let tail = settled(state, table, version)?;
            let visible = tail.entries.iter().map(|entry| (entry.version.0, entry.rows));
            let touched = part.touched();
            write_table(&mut output, table, part, &VisibleRows::of(visible))?;
            if let Some(known) = table_up_to(table, version) {
                match copies::write(inner, state, &mut output, &known, &touched, version) {
                    // Only diff reads them, and it has the files.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        log::error!("rows that changed in table {} are not copied: {error}", table.name);
                    }
                    written => written?,
                }
            }
            let changes = state.generation.changes(table.id).append(&tail.entries)?;
            bits = tail.columns.iter().map(|column| (column.id, column.cells.variable_bits)).collect();
            let bytes = |column: &ColumnSums| (column.id, column.cells.csv_bytes, column.cells.json_bytes);
            settled_before = SumsRecord {
                table: table.id,
                changes,
                rows: tail.rows,
                columns: tail.columns.iter().map(bytes).collect(),
                next_row_id: state.memory.read().next_row_ids.get(&table.id).copied().unwrap_or(0),
            };
        }
        sums.push(settled_before);
        if !bits.is_empty() {
            variable.push(VariableRecord { table: table.id, columns: bits });
        }
    }
    let commits: Vec<_> = {
        let memory = state.memory.read();
        memory.commits.iter().filter(|commit| commit.header.version <= version.0).cloned().collect()
    };
    let last = commits.last().expect("a checkpoint has commits");
    let commit_log_bytes = state.generation.commits.append(commits.iter().map(|commit| &*commit.header))?;
    let new_ids = commits.iter().filter_map(|commit| {
        let id = commit.header.client_id.as_deref()?;
        Some((hash_id(id), Version(commit.header.version)))
    });
    let ids_files = output.ids(&old.ids_files, new_ids.collect())?;
    output.sync_dirs()?;
    report.files = (output.data_files.len() + output.ends_files.len() + output.copies.len()) as u64;
    report.rows = output.data_files.iter().map(|file| file.rows).sum();
    report.bytes = output.bytes();
    let measures = old.measures.iter().map(|measures| FileMeasures {
        dead: measures.dead + deaths.get(&measures.file).copied().unwrap_or(0),
        ..*measures
    });
    let of_loaded: Vec<FileMeasures> = loaded
        .iter()
        .map(|file| FileMeasures { file: file.id, runs: 1, dead: deaths.get(&file.id).copied().unwrap_or(0) })
        .collect();
    let (tags, settings) = {
        let memory = state.memory.read();
        (memory.tags.values().map(TagRecord::of).collect(), memory.settings.clone().into_iter().collect())
    };
    Ok(Manifest {
        number: output.manifest_number,
        version: version.0,
        time: last.header.time,
        chain_digest: last.header.chain_digest,
        log_start: last.next.into(),
        next_file_id: output.next_file_id,
        commit_log_bytes,
        // Changes of the catalog after this version are in the log.
        tables: catalog
            .all()
            .filter_map(|table| table_up_to(table, version))
            .map(|t| TableRecord::of(&t))
            .collect(),
        sums,
        measures: measures.chain(of_loaded).chain(output.measures).collect(),
        data_files: old.data_files.iter().cloned().chain(loaded).chain(output.data_files).collect(),
        ends_files: old.ends_files.iter().cloned().chain(output.ends_files).collect(),
        copies: copies::kept(old, output.copies),
        ids_files,
        gone: if planted(Bug::GoneForgotten) { Vec::new() } else { old.gone.clone() },
        tags,
        settings,
        variable,
        ..old.clone()
    })
}

/// A table as it was known at a version.
pub(crate) fn table_up_to(table: &Table, version: Version) -> Option<Table> {
    let mut table = table.clone();
    table.schemas.retain(|(from, _)| *from <= version);
    table.lives.retain(|(from, _)| *from <= version);
    for (_, to) in &mut table.lives {
        *to = to.filter(|to| *to <= version);
    }
    (!table.schemas.is_empty()).then_some(table)
}

/// Makes the manifest the newest one, tells other processes, and goes on from it. The caller holds the checkpoint lock.
pub(crate) fn install(inner: &Inner, manifest: &Manifest) -> Result<()> {
    if planted(Bug::GarbageBeforeManifest) {
        crate::garbage::remove_unnamed_by(inner, std::slice::from_ref(manifest))?;
    }
    manifest.write(&*inner.disk, &inner.layout)?;
    let leased = manifest::lease(&*inner.disk, &inner.layout, manifest.number)?;
    inner.take_up(leased.ok_or_else(|| Error::corrupt("the manifest just made is gone; run 'asof verify'"))?)
}

/// Goes on from a manifest that was made but not taken up, where its maker failed or was killed in between.
fn finish_installation(inner: &Inner) -> Result<()> {
    let newest = manifest::list(&*inner.disk, &inner.layout)?.first().copied();
    match newest.filter(|newest| *newest > inner.state().generation.manifest().number) {
        None => Ok(()),
        Some(number) => match manifest::lease(&*inner.disk, &inner.layout, number) {
            Ok(Some(leased)) => inner.take_up(leased),
            // A damaged one is passed over as it is when a database is opened.
            Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
            _ => Ok(()),
        },
    }
}

/// What a checkpoint writes of a table.
struct Part {
    /// Rows alive at its version.
    survivors: Vec<Selection>,
    /// Rows born and dead since the checkpoint before.
    dead: Vec<Selection>,
    /// Deaths of rows in data files.
    ends: Ends,
}

impl Part {
    /// Takes note of the rows: the memtable is not needed any longer, and commits go on.
    fn of(memtable: &Memtable, version: Version) -> Part {
        let files: Vec<FileId> = memtable.files_with_ends().collect();
        let last = if planted(Bug::CheckpointSettlesTooMuch) { Version(version.0 - 1) } else { version };
        Part {
            survivors: memtable.select(|begin, end| begin <= last && end > version),
            dead: memtable.select(|begin, end| begin <= version && end <= version),
            ends: files
                .into_iter()
                .map(|file| (file, memtable.file_ends(file, version)))
                .filter(|(_, dead)| !dead.is_empty())
                .collect(),
        }
    }

    /// How many rows began or ended at each version.
    fn touched(&self) -> BTreeMap<u64, u64> {
        let begins = self.survivors.iter().chain(&self.dead).flat_map(|selection| &selection.begins);
        let ends = self.dead.iter().flat_map(|selection| &selection.ends);
        let in_files = self.ends.values().flatten().map(|(_, end)| end);
        let mut touched = BTreeMap::new();
        begins.chain(ends).chain(in_files).for_each(|version| *touched.entry(version.0).or_insert(0) += 1);
        touched
    }
}

/// Survivors to a live file, in runs by when they began; rows born and dead since to a history file of cells; deaths of
/// rows in files to an ends file.
fn write_table(output: &mut Output<'_>, table: &Table, part: Part, visible: &VisibleRows) -> Result<()> {
    let parameters = Parameters::AUTOMATIC;
    let mut births: BTreeMap<u64, u64> = BTreeMap::new();
    let begins = part.survivors.iter().flat_map(|selection| &selection.begins);
    begins.for_each(|begin| *births.entry(begin.0).or_insert(0) += 1);
    let runs = live_runs(&births.into_iter().collect::<Vec<_>>(), visible, &parameters);
    let run_of = |begin: Version, _| runs.partition_point(|first| *first <= begin.0);
    write_rows(output, table, &part.survivors, FileKind::Live, &run_of)?;
    let lives = part.dead.iter().flat_map(|selection| selection.begins.iter().zip(&selection.ends));
    let mut lives: Vec<Lifetime> =
        lives.map(|(begin, end)| Lifetime { begin: begin.0, end: end.0 }).collect();
    let cells = Cells::partition(&mut lives, 1, &VersionsMeasure::new(visible, &parameters));
    let cell_of = |begin: Version, end: Version| cells.cell_of(Lifetime { begin: begin.0, end: end.0 });
    write_rows(output, table, &part.dead, FileKind::History, &cell_of)?;
    output.ends(table.id, part.ends)
}

/// Rows of the memtable to a file. `run_of` tells which run a row with this begin and end is of.
fn write_rows(
    output: &mut Output<'_>,
    table: &Table,
    rows: &[Selection],
    kind: FileKind,
    run_of: &dyn Fn(Version, Version) -> usize,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = union_columns(table, rows);
    let schema = loose_schema(&columns);
    let mut batches = Vec::with_capacity(rows.len());
    let mut order: Vec<(usize, OutputRow<'_>)> = Vec::new();
    for (batch, selection) in rows.iter().enumerate() {
        let (_, from) = &table.schemas[selection.batch.schema];
        batches.push(adapt(&selection.batch.rows, &from.columns, &columns, &schema)?);
        for (nth, row) in selection.rows.iter().enumerate() {
            let (begin, end, row) = (selection.begins[nth], selection.ends[nth], *row as usize);
            let key = selection.batch.keys.get(row);
            order.push((run_of(begin, end), OutputRow { key, begin, end, batch, row }));
        }
    }
    order.sort_unstable();
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let mut writing = output.rows(table, &columns, kind);
    for run in order.chunk_by(|a, b| a.0 == b.0) {
        writing.begin_run();
        let rows: Vec<OutputRow<'_>> = run.iter().map(|(_, row)| *row).collect();
        writing.write(&batches, &rows)?;
    }
    writing.finish()
}

/// Every column that rows of these batches have, by id, each under its newest name and type: narrower values fit, and
/// rows from before a column was added get its default.
fn union_columns(table: &Table, rows: &[Selection]) -> Vec<Column> {
    let mut schemas: Vec<usize> = rows.iter().map(|selection| selection.batch.schema).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let mut columns: Vec<Column> = Vec::new();
    for schema in schemas.into_iter().rev() {
        for column in &table.schemas[schema].1.columns {
            if !columns.iter().any(|known| known.id == column.id) {
                columns.push(column.clone());
            }
        }
    }
    part_names(&mut columns);
    columns
}

/// Gives columns of one name others: a column was dropped and one of its name added later. Only ids count, but names
/// must differ in a file.
pub(crate) fn part_names(columns: &mut [Column]) {
    for index in 1..columns.len() {
        while columns[..index].iter().any(|other| other.name == columns[index].name) {
            columns[index].name.push('_');
        }
    }
}
