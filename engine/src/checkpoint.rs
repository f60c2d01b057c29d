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
use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{io_error, write_file};
use crate::garbage::{collect_garbage, remove_unnamed_by};
use crate::history::ids::{IdEntry, encode_run, hash_id, read_run};
use crate::layout::{CHECKPOINT_LOCK, DATA_DIR, ENDS_DIR, HISTORY_DIR, IDS_DIR, Layout, file_id};
use crate::manifest::{self, DataFileRecord, EndsFileRecord, IdsFileRecord, Manifest, SumsRecord};
use crate::state::State;
use crate::store::data_writer::{DataWriter, FileKind};
use crate::store::ends::{self, Ends};
use crate::sums::settled;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::{Column, FileId, Keys, Memtable, Selection, Table, Version, decode_row_id};
use asof_wal::planted::{Bug, planted};
use asof_wal::{Disk, LockKind, OpenMode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows handed to the Parquet writer at a time.
const WRITE_ROWS: usize = 8_192;

impl Database {
    /// Turns the log into Parquet.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        let made = try_checkpoint(self, self.inner.options.wait)?;
        made.ok_or_else(|| Error::new(ErrorKind::Locked, "another process is making a checkpoint"))
    }
}

/// Makes a checkpoint; `None` where another process makes one for longer than `wait`.
pub(crate) fn try_checkpoint(database: &Database, wait: Duration) -> Result<Option<CheckpointReport>> {
    let inner = &database.inner;
    let lock_path = inner.layout.join(CHECKPOINT_LOCK);
    let fail = |error| io_error("lock", &lock_path, error);
    let lock = inner.disk.open(&lock_path, OpenMode::Create).map_err(fail)?;
    let deadline = Instant::now() + wait;
    while !lock.try_lock(LockKind::Exclusive).map_err(fail)? {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    inner.follow()?;
    finish_installation(inner)?;
    let state = inner.state();
    let version = state.published();
    let mut report = CheckpointReport { version, ..CheckpointReport::default() };
    if version > state.generation.version() {
        report.done = true;
        let written = write_files(inner, &state, version, &mut report);
        let manifest = written.inspect_err(|_| remove_leavings(inner))?;
        drop(state);
        install(inner, &manifest)?;
    }
    collect_garbage(inner)?;
    lock.unlock().map_err(fail)?;
    Ok(Some(report))
}

/// Removes what a checkpoint that failed has written: a disk that is full must not get fuller with every try.
fn remove_leavings(inner: &Inner) {
    if let Err(error) = collect_garbage(inner) {
        log::warn!("what a failed checkpoint left is removed by the next one: {error}");
    }
}

fn write_files(
    inner: &Arc<Inner>,
    state: &State,
    version: Version,
    report: &mut CheckpointReport,
) -> Result<Manifest> {
    let disk: Arc<dyn Disk> = inner.disk.clone();
    let layout = &inner.layout;
    let old = state.generation.manifest();
    // Numbers are never given twice: a manifest that is damaged has given some that the one before it does not know.
    let last_number = manifest::list(&*disk, layout)?.first().copied().unwrap_or(0).max(old.number);
    let next_file_id = old.next_file_id.max(1 + last_file_id(&*disk, layout)?);
    let mut writer = Writer { inner, next_file_id, data_files: Vec::new(), ends_files: Vec::new() };
    let catalog = state.catalog();
    let mut sums = Vec::new();
    for table in catalog.all().filter(|table| table.schemas[0].0 <= version) {
        let mut settled_before = state.generation.sums(table.id);
        let memtable = state.memtable(table.id);
        let touched =
            memtable.as_ref().is_some_and(|memtable| memtable.read().last_change(version).is_some());
        if let Some(memtable) = memtable.filter(|_| touched) {
            let part = Part::of(&memtable.read(), version);
            writer.write_table(table, part, version)?;
            let tail = settled(state, table, version)?;
            let changes = state.generation.changes(table.id).append(&tail.entries)?;
            settled_before = SumsRecord {
                table: table.id,
                changes,
                rows: tail.rows,
                columns: tail.columns,
                next_row_id: state.memory.read().next_row_ids.get(&table.id).copied().unwrap_or(0),
            };
        }
        sums.push(settled_before);
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
    let ids_files = writer.write_ids(&old.ids_files, new_ids.collect())?;
    for dir in [DATA_DIR, ENDS_DIR, HISTORY_DIR, IDS_DIR] {
        let dir = layout.join(dir);
        if planted(Bug::DirectoryNotSynced) {
            break;
        }
        disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))?;
    }
    report.files = (writer.data_files.len() + writer.ends_files.len()) as u64;
    report.rows = writer.data_files.iter().map(|file| file.rows).sum();
    report.bytes = writer.data_files.iter().map(|file| file.bytes).sum::<u64>()
        + writer.ends_files.iter().map(|file| file.bytes).sum::<u64>();
    let tags = state.memory.read().tags.values().map(TagRecord::of).collect();
    Ok(Manifest {
        number: last_number + 1,
        version: version.0,
        time: last.header.time,
        chain_digest: last.header.chain_digest,
        log_start: last.next.into(),
        next_file_id: writer.next_file_id,
        commit_log_bytes,
        // Changes of the catalog after this version are in the log.
        tables: catalog
            .all()
            .filter_map(|table| table_up_to(table, version))
            .map(|t| TableRecord::of(&t))
            .collect(),
        sums,
        data_files: old.data_files.iter().cloned().chain(writer.data_files).collect(),
        ends_files: old.ends_files.iter().cloned().chain(writer.ends_files).collect(),
        ids_files,
        tags,
        ..old.clone()
    })
}

/// The highest number of a file there is.
fn last_file_id(disk: &dyn Disk, layout: &Layout) -> Result<FileId> {
    let mut last = 0;
    for dir in [DATA_DIR, ENDS_DIR, IDS_DIR] {
        let dir = layout.join(dir);
        for entry in disk.list(&dir).map_err(|error| io_error("list", &dir, error))? {
            last = last.max(file_id(&entry.name).unwrap_or(0));
        }
    }
    Ok(last)
}

/// A table as it was known at a version.
fn table_up_to(table: &Table, version: Version) -> Option<Table> {
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
        remove_unnamed_by(inner, std::slice::from_ref(manifest))?;
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
}

struct Writer<'a> {
    inner: &'a Inner,
    next_file_id: FileId,
    data_files: Vec<DataFileRecord>,
    ends_files: Vec<EndsFileRecord>,
}

impl Writer<'_> {
    fn next_id(&mut self) -> FileId {
        self.next_file_id += 1;
        self.next_file_id - 1
    }

    /// Survivors to a live file, rows born and dead since to a history file, deaths of rows in files to an ends file.
    fn write_table(&mut self, table: &Table, part: Part, version: Version) -> Result<()> {
        self.write_rows(table, part.survivors, version, false)?;
        self.write_rows(table, part.dead, version, true)?;
        let ends = part.ends;
        if !ends.is_empty() {
            let (record, bytes) = ends::encode(table.id, self.next_id(), ends);
            write_file(&*self.inner.disk, &self.inner.layout.ends(table.id, record.id), &bytes, false)?;
            if !planted(Bug::EndsFileForgotten) {
                self.ends_files.push(record);
            }
        }
        Ok(())
    }

    fn write_rows(
        &mut self,
        table: &Table,
        rows: Vec<Selection>,
        version: Version,
        history: bool,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = union_columns(table, &rows);
        let schema = loose_schema(&columns);
        let mut batches = Vec::with_capacity(rows.len());
        let mut order: Vec<(&[u8], Version, usize, usize)> = Vec::new();
        for (index, selection) in rows.iter().enumerate() {
            let (_, from) = &table.schemas[selection.batch.schema];
            batches.push(adapt(&selection.batch.rows, &from.columns, &columns, &schema)?);
            for (nth, row) in selection.rows.iter().enumerate() {
                order.push((selection.batch.keys.get(*row as usize), selection.begins[nth], index, nth));
            }
        }
        order.sort_unstable();
        let has_row_ids = !table.newest_schema().has_key();
        let id = self.next_id();
        let disk: Arc<dyn Disk> = self.inner.disk.clone();
        let kind = if history { FileKind::History } else { FileKind::Live };
        let key = &table.newest_schema().key;
        let mut writer = DataWriter::create(disk, &self.inner.layout, table.id, id, &columns, kind, key)?;
        let sources: Vec<&RecordBatch> = batches.iter().collect();
        for part in order.chunks(WRITE_ROWS) {
            let picks: Vec<(usize, usize)> =
                part.iter().map(|(_, _, index, nth)| (*index, rows[*index].rows[*nth] as usize)).collect();
            let mut keys = Keys::with_capacity(part.len());
            part.iter().for_each(|(key, ..)| keys.push(key));
            let row_ids: Vec<u64> = if has_row_ids {
                let decode = |key| decode_row_id(key).expect("rows without key are keyed by row id");
                part.iter().map(|(key, ..)| decode(key)).collect()
            } else {
                Vec::new()
            };
            let begins: Vec<Version> = part.iter().map(|(_, begin, ..)| *begin).collect();
            let ends: Vec<Version> = part.iter().map(|(_, _, index, nth)| rows[*index].ends[*nth]).collect();
            debug_assert!(!history || ends.iter().all(|end| *end <= version));
            let batch = interleave_record_batch(&sources, &picks)?;
            writer.write(&batch, &keys, has_row_ids.then_some(&row_ids[..]), &begins, &ends)?;
        }
        self.data_files.push(writer.finish()?);
        Ok(())
    }

    /// Runs of ids with the new ones; runs that are not much longer than the new one are merged into it.
    fn write_ids(&mut self, old: &[IdsFileRecord], mut new: Vec<IdEntry>) -> Result<Vec<IdsFileRecord>> {
        let mut runs = old.to_vec();
        if new.is_empty() || planted(Bug::IdsForgotten) {
            return Ok(runs);
        }
        while let Some(last) = runs.last().filter(|last| last.count <= new.len() as u64 * 2) {
            new.extend(read_run(&*self.inner.disk, &self.inner.layout, last)?);
            runs.pop();
        }
        let (record, bytes) = encode_run(self.next_id(), new);
        write_file(&*self.inner.disk, &self.inner.layout.ids(record.id), &bytes, false)?;
        runs.push(record);
        Ok(runs)
    }
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
    // Two ids may share a name: a column dropped and one added later. Only ids count; names must differ in the file.
    for index in 1..columns.len() {
        while columns[..index].iter().any(|other| other.name == columns[index].name) {
            columns[index].name.push('_');
        }
    }
    columns
}
