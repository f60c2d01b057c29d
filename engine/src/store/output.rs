//! New files of a checkpoint or of compaction: their numbers, their rows as runs, their records.
//!
//! What is written here is unknown to every manifest until one that names it is installed; what a crash
//! leaves is removed by a later checkpoint.

use super::data_writer::{DataWriter, FileKind};
use super::ends::{self, Ends};
use crate::compact::policy::FILE_ROWS_MAX;
use crate::database::Inner;
use crate::error::{ErrorKind, Result};
use crate::files::{io_error, write_file};
use crate::history::ids::{IdEntry, encode_run, read_run};
use crate::layout::{DATA_DIR, ENDS_DIR, HISTORY_DIR, IDS_DIR};
use crate::manifest::{
    self, CopiesRecord, DataFileRecord, EndsFileRecord, FileMeasures, IdsFileRecord, Manifest,
};
use crate::numbers;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::{Column, FileId, Keys, Table, TableId, Version, decode_row_id};
use asof_wal::Disk;
use asof_wal::planted::{Bug, planted};
use std::sync::Arc;

/// Rows handed to the Parquet writer at a time.
const WRITE_ROWS: usize = 8_192;

/// The files written so far.
pub(crate) struct Output<'a> {
    inner: &'a Inner,
    /// The number of the manifest to come.
    pub manifest_number: u64,
    /// The next file's number.
    pub next_file_id: FileId,
    /// Data files.
    pub data_files: Vec<DataFileRecord>,
    /// Their measures.
    pub measures: Vec<FileMeasures>,
    /// Ends files.
    pub ends_files: Vec<EndsFileRecord>,
    /// Copies files.
    pub copies: Vec<CopiesRecord>,
}

/// A row on its way to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OutputRow<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// When it begins.
    pub begin: Version,
    /// When it ends; [`Version::FOREVER`] while alive.
    pub end: Version,
    /// Which of the batches it is in.
    pub batch: usize,
    /// Where in it.
    pub row: usize,
}

impl<'a> Output<'a> {
    /// Goes on from a manifest. Numbers are never given twice: a manifest that is damaged has given some that the one
    /// before it does not know.
    pub fn new(inner: &'a Inner, old: &Manifest) -> Result<Output<'a>> {
        let disk: &dyn Disk = &*inner.disk;
        let last_manifest = manifest::list(disk, &inner.layout)?.first().copied().unwrap_or(0);
        Ok(Output {
            inner,
            manifest_number: last_manifest.max(old.number) + 1,
            next_file_id: numbers::reserve(inner, old.next_file_id)?,
            data_files: Vec::new(),
            measures: Vec::new(),
            ends_files: Vec::new(),
            copies: Vec::new(),
        })
    }

    fn next_id(&mut self) -> FileId {
        self.next_file_id += 1;
        self.next_file_id - 1
    }

    /// Begins a file, or as many as its rows need.
    pub fn rows<'o>(
        &'o mut self,
        table: &'o Table,
        columns: &'o [Column],
        kind: FileKind,
    ) -> RowsOutput<'o, 'a> {
        RowsOutput { output: self, table, columns, kind, open: None, new_run: true }
    }

    /// Writes an ends file, where there is any death.
    pub fn ends(&mut self, table: TableId, mut ends: Ends) -> Result<()> {
        if planted(Bug::EndsEntryForgotten)
            && let Some(dead) = ends.values_mut().next_back()
        {
            dead.pop();
        }
        if !ends.is_empty() {
            let (record, bytes) = ends::encode(table, self.next_id(), ends);
            write_file(&*self.inner.disk, &self.inner.layout.ends(table, record.id), &bytes, false)?;
            if !planted(Bug::EndsFileForgotten) {
                self.ends_files.push(record);
            }
        }
        Ok(())
    }

    /// Runs of ids with the new ones; runs that are not much longer than the new one are merged into it.
    pub fn ids(&mut self, old: &[IdsFileRecord], mut new: Vec<IdEntry>) -> Result<Vec<IdsFileRecord>> {
        let mut runs = old.to_vec();
        if new.is_empty() || planted(Bug::IdsForgotten) {
            return Ok(runs);
        }
        while let Some(last) = runs.last().filter(|last| last.count <= new.len() as u64 * 2) {
            match read_run(&*self.inner.disk, &self.inner.layout, last) {
                Ok(entries) => new.extend(entries),
                // It stays as it is: who asks for an id that it may hold is told.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    log::error!("{error}");
                    break;
                }
                Err(error) => return Err(error),
            }
            runs.pop();
        }
        let (record, bytes) = encode_run(self.next_id(), new);
        write_file(&*self.inner.disk, &self.inner.layout.ids(record.id), &bytes, false)?;
        runs.push(record);
        Ok(runs)
    }

    /// Makes the names of all files durable.
    pub fn sync_dirs(&self) -> Result<()> {
        if planted(Bug::DirectoryNotSynced) {
            return Ok(());
        }
        for dir in [DATA_DIR, ENDS_DIR, HISTORY_DIR, IDS_DIR] {
            let dir = self.inner.layout.join(dir);
            self.inner.disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))?;
        }
        Ok(())
    }

    /// Bytes of data and ends files.
    pub fn bytes(&self) -> u64 {
        self.data_files.iter().map(|file| file.bytes).sum::<u64>()
            + self.ends_files.iter().map(|file| file.bytes).sum::<u64>()
            + self.copies.iter().map(|copies| copies.file.bytes).sum::<u64>()
    }
}

/// Rows on their way to files of one kind.
pub(crate) struct RowsOutput<'o, 'a> {
    output: &'o mut Output<'a>,
    table: &'o Table,
    columns: &'o [Column],
    kind: FileKind,
    open: Option<(DataWriter, u32)>,
    new_run: bool,
}

impl RowsOutput<'_, '_> {
    /// The rows that follow begin anew in the order of keys.
    pub fn begin_run(&mut self) {
        self.new_run = true;
    }

    /// Appends rows, which are in order.
    pub fn write(&mut self, batches: &[&RecordBatch], rows: &[OutputRow<'_>]) -> Result<()> {
        let has_row_ids = !self.table.newest_schema().has_key();
        for part in rows.chunks(WRITE_ROWS) {
            if self.open.as_ref().is_some_and(|(writer, _)| writer.rows() >= FILE_ROWS_MAX) {
                self.finish()?;
            }
            let new_run = std::mem::take(&mut self.new_run);
            let (writer, runs) = match &mut self.open {
                Some(open) => {
                    if new_run {
                        open.0.begin_run()?;
                        open.1 += 1;
                    }
                    open
                }
                None => {
                    let (id, inner) = (self.output.next_id(), self.output.inner);
                    let key = &self.table.newest_schema().key;
                    let disk: Arc<dyn Disk> = inner.disk.clone();
                    let writer = DataWriter::create(
                        disk,
                        &inner.layout,
                        self.table.id,
                        id,
                        self.columns,
                        self.kind,
                        key,
                    )?;
                    self.open.insert((writer, 1))
                }
            };
            debug_assert!(*runs > 0);
            let picks: Vec<(usize, usize)> = part.iter().map(|row| (row.batch, row.row)).collect();
            let mut keys = Keys::with_capacity(part.len());
            part.iter().for_each(|row| keys.push(row.key));
            let row_ids: Vec<u64> = if has_row_ids {
                let decode = |key| decode_row_id(key).expect("rows without key are keyed by row id");
                part.iter().map(|row| decode(row.key)).collect()
            } else {
                Vec::new()
            };
            let begins: Vec<Version> = part.iter().map(|row| row.begin).collect();
            let ends: Vec<Version> = part.iter().map(|row| row.end).collect();
            let batch = interleave_record_batch(batches, &picks)?;
            writer.write(&batch, &keys, has_row_ids.then_some(&row_ids[..]), &begins, &ends)?;
        }
        Ok(())
    }

    /// Ends the open file, if any row came.
    pub fn finish(&mut self) -> Result<()> {
        if let Some((writer, runs)) = self.open.take() {
            let record = writer.finish()?;
            self.output.measures.push(FileMeasures { file: record.id, runs, dead: 0 });
            self.output.data_files.push(record);
        }
        Ok(())
    }

    /// Ends the file as a copies file of versions after `after`. The caller has written no more than one file takes, and
    /// as many runs as these.
    pub fn finish_copies(&mut self, after: u64, runs: Vec<u64>) -> Result<()> {
        if let Some((writer, _)) = self.open.take() {
            self.output.copies.push(CopiesRecord { after, runs, file: writer.finish()? });
        }
        Ok(())
    }
}
