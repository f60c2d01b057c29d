//! Bulk loads: many rows inserted at once go straight to data files, encoded and written once, and the
//! commit's record in the log names the files.
//!
//! Invariants. Files are finished and synced before anything names them. Until the commit is applied
//! their maker holds locks on them, so that no checkpoint takes them for garbage; a killed maker's
//! locks are gone, and its files with the next checkpoint. Keys ascend from file to file and none comes
//! twice. Rows that come out of order are sorted: in memory what the budget allows, more in runs on
//! disk, which are merged. Memory is that of the budget, whatever the number of rows.

mod existing;
pub(crate) mod held;
mod output;
mod sorter;
pub(crate) mod spill;

use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::layout::DATA_DIR;
use crate::manifest::DataFileRecord;
use crate::numbers;
use crate::scan::wanted;
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks, merge};
use crate::store::data_file::DataFile;
use crate::store::data_writer::{DataWriter, FileKind};
use crate::text::format_key;
use arrow::array::RecordBatch;
use asof_mvcc::{FileId, Keys, Table, TableId, TableSchema, Version};
use asof_wal::planted::{Bug, planted};
use asof_wal::{Disk, DiskFile};
use existing::Existing;
use output::{Output, Part};
use sorter::Sorter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows looked at, checked and handed on at a time.
const STEP_ROWS: usize = 65_536;

/// Finished files of a load that is not committed. Dropped, they go, unless a record may name them.
#[derive(Debug)]
pub(crate) struct LoadedFiles {
    inner: Arc<Inner>,
    /// Without their version, which is the commit's.
    records: Vec<DataFileRecord>,
    /// Runs that are to be merged.
    runs: Vec<DataFileRecord>,
    /// Keep the files from being taken for garbage.
    locks: BTreeMap<FileId, Arc<dyn DiskFile>>,
    /// Tables without key: the hidden row id of the first row.
    pub(crate) first_row_id: Option<u64>,
    named: bool,
}

impl LoadedFiles {
    /// None yet.
    pub(crate) fn none(inner: Arc<Inner>) -> LoadedFiles {
        LoadedFiles {
            inner,
            records: Vec::new(),
            runs: Vec::new(),
            locks: BTreeMap::new(),
            first_row_id: None,
            named: false,
        }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.records.iter().map(|record| record.rows).sum()
    }

    /// The files as a commit's record names them, under the table's number at last.
    pub(crate) fn records_of(&mut self, table: TableId) -> Result<Vec<DataFileRecord>> {
        let disk = &self.inner.disk;
        let mut moved = false;
        for record in self.records.iter_mut().filter(|record| record.table != table) {
            let (from, to) = (record.table, table);
            let (from, to) = (self.inner.layout.data(from, record.id), self.inner.layout.data(to, record.id));
            disk.rename(&from, &to).map_err(|error| io_error("rename", &from, error))?;
            record.table = table;
            moved = true;
        }
        if moved {
            sync_data_dir(&self.inner)?;
        }
        Ok(self.records.clone())
    }

    /// Keeps the files from now on: a record that may be durable names them.
    pub(crate) fn keep(&mut self) {
        self.named = true;
    }

    fn remove(&mut self, record: &DataFileRecord) {
        let path = self.inner.layout.data(record.table, record.id);
        // Best effort: what stays is removed by a checkpoint.
        let _ = self.inner.disk.remove_file(&path);
        self.locks.remove(&record.id);
    }
}

impl Drop for LoadedFiles {
    fn drop(&mut self) {
        if !self.named {
            for record in std::mem::take(&mut self.records).iter().chain(&std::mem::take(&mut self.runs)) {
                self.remove(record);
            }
        }
    }
}

fn sync_data_dir(inner: &Inner) -> Result<()> {
    let dir = inner.layout.join(DATA_DIR);
    inner.disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))
}

/// Takes rows of a table and writes them to files.
pub(crate) struct Loader {
    inner: Arc<Inner>,
    state: Arc<State>,
    /// The table, under the number that it will most likely have.
    table: Table,
    schema: Arc<TableSchema>,
    version: Version,
    files: LoadedFiles,
    output: Output,
    last_key: Vec<u8>,
    /// The keys that are there, where any may be met.
    existing: Option<Existing>,
    /// Whether the table has rows at the version that is read.
    is_empty: bool,
    sorter: Option<Sorter>,
    next_row_id: u64,
}

impl Loader {
    /// Begins a load into a table that has `rows` rows at the version that the state is read at.
    pub(crate) fn new(
        inner: Arc<Inner>,
        state: Arc<State>,
        version: Version,
        table: Table,
        rows: u64,
    ) -> Loader {
        let schema = table.newest_schema().clone();
        let next_row_id = state.memory.read().next_row_ids.get(&table.id).copied().unwrap_or(0);
        let mut files = LoadedFiles::none(inner.clone());
        files.first_row_id = (!schema.has_key()).then_some(next_row_id);
        let output = Output::new(inner.clone(), table.clone(), schema.clone());
        Loader {
            inner,
            state,
            table,
            schema,
            version,
            files,
            output,
            last_key: Vec::new(),
            existing: None,
            is_empty: rows == 0,
            sorter: None,
            next_row_id,
        }
    }

    /// How many rows were taken into a table without key.
    pub(crate) fn rows_appended(&self) -> u64 {
        self.next_row_id - self.files.first_row_id.unwrap_or(self.next_row_id)
    }

    /// Goes on with rows of another schema of a table without key.
    pub(crate) fn set_schema(&mut self, schema: Arc<TableSchema>) -> Result<()> {
        if self.schema == schema {
            return Ok(());
        }
        self.end_files()?;
        self.output = Output::new(self.inner.clone(), self.table.clone(), schema.clone());
        self.schema = schema;
        Ok(())
    }

    /// Takes rows that have the schema's columns.
    pub(crate) fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        for first in (0..rows.num_rows()).step_by(STEP_ROWS) {
            let part = rows.slice(first, STEP_ROWS.min(rows.num_rows() - first));
            if !self.schema.has_key() {
                let ids: Vec<u64> = (self.next_row_id..).take(part.num_rows()).collect();
                self.next_row_id += ids.len() as u64;
                let keys = Keys::of_row_ids(ids.iter().copied());
                self.write(Part { rows: part, keys, row_ids: Some(ids) })?;
                continue;
            }
            let keys = Keys::of_batch(&self.schema, &part)
                .map_err(|error| Error::from(error).at(format!("table {}", self.table.name)))?;
            if self.sorter.is_none() && !self.ascends(&part, &keys)? {
                // What was written so far is the first run.
                self.end_files()?;
                self.sorter = Some(Sorter::new(self.inner.options.load_bytes() / 2));
            }
            match self.sorter.take() {
                None => self.write(Part { rows: part, keys, row_ids: None })?,
                Some(mut sorter) => {
                    let full = sorter.push(part, keys);
                    self.sorter = Some(sorter);
                    if full {
                        self.spill()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether keys ascend behind the last one; a key that comes twice is an error.
    fn ascends(&self, rows: &RecordBatch, keys: &Keys) -> Result<bool> {
        let mut last: &[u8] = &self.last_key;
        for (row, key) in keys.iter().enumerate() {
            match key.cmp(last) {
                std::cmp::Ordering::Greater => last = key,
                std::cmp::Ordering::Equal => return Err(self.twice(rows, row)),
                std::cmp::Ordering::Less => return Ok(false),
            }
        }
        Ok(true)
    }

    fn twice(&self, rows: &RecordBatch, row: usize) -> Error {
        let key = format_key(&self.schema, rows, row);
        let message = format!("table {}: the key {key} is given twice in this load", self.table.name);
        Error::new(ErrorKind::Exists, message)
    }

    /// Writes rows that come behind all written before, to as many files as they need.
    fn write(&mut self, part: Part) -> Result<()> {
        if self.schema.has_key() {
            self.check_existing(&part.rows, &part.keys)?;
            if let Some(last) = part.keys.len().checked_sub(1) {
                self.last_key.clear();
                self.last_key.extend_from_slice(part.keys.get(last));
            }
        }
        self.output.write(part, &mut self.files.locks)
    }

    /// Refuses a key that the table has.
    fn check_existing(&mut self, rows: &RecordBatch, keys: &Keys) -> Result<()> {
        if self.is_empty || keys.is_empty() || planted(Bug::LoadedKeysNotChecked) {
            return Ok(());
        }
        let existing = match &mut self.existing {
            Some(existing) => existing,
            none => none.insert(Existing::open(&self.state, &self.table, self.version, keys.get(0))?),
        };
        match existing.find(keys)? {
            None => Ok(()),
            Some(row) => {
                let key = format_key(&self.schema, rows, row);
                let message = format!("table {} has the key {key} already", self.table.name);
                Err(Error::new(ErrorKind::Exists, message))
            }
        }
    }

    fn end_files(&mut self) -> Result<()> {
        self.files.records.extend(self.output.finish()?);
        Ok(())
    }

    /// Writes what the sorter has gathered as a run of its own.
    fn spill(&mut self) -> Result<()> {
        let Some(sorter) = &mut self.sorter else { return Ok(()) };
        let kind = FileKind::Loaded;
        let mut writer = begin_file(&self.inner, &self.table, &self.schema, kind, &mut self.files.locks)?;
        for chunk in sorter.take_sorted() {
            let chunk = chunk?;
            writer.write(&chunk.rows, &chunk.keys, None, &[], &[])?;
        }
        self.files.runs.push(writer.finish()?);
        Ok(())
    }

    /// Merges runs into the load's files.
    fn merge_runs(&mut self, mut sorter: Sorter) -> Result<()> {
        let (first, runs) = (std::mem::take(&mut self.files.records), self.files.runs.clone());
        self.files.runs.extend(first.iter().cloned());
        let mut sources: Vec<Chunks> = Vec::with_capacity(runs.len() + 2);
        sources.push(Box::new(chunks_of(&self.inner, &self.table, &self.schema, first.clone())));
        for run in &runs {
            sources.push(Box::new(chunks_of(&self.inner, &self.table, &self.schema, vec![run.clone()])));
        }
        sources.push(sorter.take_sorted());
        self.last_key.clear();
        self.existing = None;
        for chunk in merge(sources) {
            let chunk = chunk?;
            if !self.ascends(&chunk.rows, &chunk.keys)? {
                return Err(Error::corrupt("runs of a load are out of order"));
            }
            self.write(Part { rows: chunk.rows, keys: chunk.keys, row_ids: None })?;
        }
        for record in std::mem::take(&mut self.files.runs) {
            self.files.remove(&record);
        }
        Ok(())
    }

    /// Ends the load: every file is durable, under its name.
    pub(crate) fn finish(mut self) -> Result<LoadedFiles> {
        if let Some(sorter) = self.sorter.take() {
            self.merge_runs(sorter)?;
        }
        self.end_files()?;
        if !self.files.records.is_empty() && !planted(Bug::LoadDirectoryNotSynced) {
            sync_data_dir(&self.inner)?;
        }
        Ok(self.files)
    }
}

fn begin_file(
    inner: &Arc<Inner>,
    table: &Table,
    schema: &TableSchema,
    kind: FileKind,
    locks: &mut BTreeMap<FileId, Arc<dyn DiskFile>>,
) -> Result<DataWriter> {
    let (id, lock) = numbers::draw_for_load(inner, table.id)?;
    locks.insert(id, lock);
    let disk: Arc<dyn Disk> = inner.disk.clone();
    DataWriter::create(disk, &inner.layout, table.id, id, &schema.columns, kind, &schema.key)
}

/// All rows of files whose keys ascend from one to the next.
fn chunks_of(
    inner: &Arc<Inner>,
    table: &Table,
    schema: &TableSchema,
    records: Vec<DataFileRecord>,
) -> impl Iterator<Item = Result<Chunk>> + Send + use<> {
    let wanted = wanted(table, &schema.columns);
    let inner = inner.clone();
    records.into_iter().flat_map(move |mut record| -> Chunks {
        // Any version does: none is looked at.
        (record.loaded_at, record.min_begin, record.max_begin) = (Some(1), 1, 1);
        let counts = inner.disk.counts().clone();
        match DataFile::open(&*inner.disk, &inner.layout, &record, counts) {
            Ok(file) => {
                let groups = (0..file.groups.len()).map(|group| (group, None)).collect();
                Arc::new(file).scan(wanted.clone(), groups, Arc::default(), Arc::new(|_, _| true))
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    })
}
