//! The files of a load: one is written while the one before it is synced and rows for the next are made.
//!
//! Invariant: files come in the order of their rows. Where scans have one thread, this has no other: then
//! everything happens in one order, the same in every run.

use super::begin_file;
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::manifest::DataFileRecord;
use crate::store::data_writer::{DataWriter, FileKind, GROUP_ROWS};
use crate::store::encode::array_bytes;
use arrow::array::RecordBatch;
use asof_mvcc::{FileId, Keys, Table, TableSchema};
use asof_wal::{Disk, DiskFile};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Rows of one file: what compaction rewrites at once, and a whole number of row groups.
const FILE_ROWS: usize = 12 * GROUP_ROWS;
/// Bytes in memory of one file's rows, where they are long.
const FILE_BYTES: usize = 512 << 20;
/// Files that may be unfinished at once, the one being filled included.
const FILES_OPEN: usize = 2;
/// Parts that may wait for a file's thread.
const PARTS_WAITING: usize = 2;

/// Rows on their way to a file, with their keys and hidden row ids.
pub(super) struct Part {
    pub(super) rows: RecordBatch,
    pub(super) keys: Keys,
    pub(super) row_ids: Option<Vec<u64>>,
}

impl Part {
    fn slice(&self, first: usize, count: usize) -> Part {
        let mut keys = Keys::with_capacity(count);
        (first..first + count).for_each(|row| keys.push(self.keys.get(row)));
        let row_ids = self.row_ids.as_ref().map(|ids| ids[first..first + count].to_vec());
        Part { rows: self.rows.slice(first, count), keys, row_ids }
    }

    fn write_to(&self, writer: &mut DataWriter) -> Result<()> {
        writer.write(&self.rows, &self.keys, self.row_ids.as_deref(), &[], &[])
    }
}

/// A file being written.
enum Open {
    Here(Box<DataWriter>),
    There(SyncSender<Part>, JoinHandle<Result<DataFileRecord>>),
}

/// Writes rows to as many files as they need.
pub(super) struct Output {
    inner: Arc<Inner>,
    table: Table,
    schema: Arc<TableSchema>,
    open: Option<Open>,
    rows: usize,
    bytes: usize,
    finishing: VecDeque<JoinHandle<Result<DataFileRecord>>>,
    records: Vec<DataFileRecord>,
}

impl Output {
    pub(super) fn new(inner: Arc<Inner>, table: Table, schema: Arc<TableSchema>) -> Output {
        Output {
            inner,
            table,
            schema,
            open: None,
            rows: 0,
            bytes: 0,
            finishing: VecDeque::new(),
            records: Vec::new(),
        }
    }

    /// Takes rows that come behind all taken before. Files that are begun are held by `locks`.
    pub(super) fn write(
        &mut self,
        mut part: Part,
        locks: &mut BTreeMap<FileId, Arc<dyn DiskFile>>,
    ) -> Result<()> {
        while !part.keys.is_empty() {
            let count = part.keys.len().min(FILE_ROWS - self.rows);
            let rest = (count < part.keys.len()).then(|| part.slice(count, part.keys.len() - count));
            if rest.is_some() {
                part = part.slice(0, count);
            }
            self.rows += count;
            self.bytes += part.rows.columns().iter().map(array_bytes).sum::<usize>();
            if self.open.is_none() {
                self.open = Some(self.begin(locks)?);
            }
            match self.open.as_mut().expect("it was just begun") {
                Open::Here(writer) => part.write_to(writer)?,
                Open::There(sender, _) => {
                    if sender.send(part).is_err() {
                        // The thread has ended: its error is what there is to say.
                        self.end_file()?;
                        self.finish_all()?;
                        return Err(Error::new(ErrorKind::Io, "the thread that writes a load has ended"));
                    }
                }
            }
            if self.rows >= FILE_ROWS || self.bytes >= FILE_BYTES {
                self.end_file()?;
            }
            match rest {
                Some(rest) => part = rest,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn begin(&mut self, locks: &mut BTreeMap<FileId, Arc<dyn DiskFile>>) -> Result<Open> {
        let mut writer = begin_file(&self.inner, &self.table, &self.schema, FileKind::Loaded, locks)?;
        if self.inner.options.read_threads < 2 {
            return Ok(Open::Here(Box::new(writer)));
        }
        while self.finishing.len() >= FILES_OPEN {
            self.finish_one()?;
        }
        let (sender, receiver) = sync_channel::<Part>(PARTS_WAITING);
        let work = move || {
            for part in receiver {
                part.write_to(&mut writer)?;
            }
            writer.finish()
        };
        let thread = std::thread::Builder::new().name("asof-load".to_string()).spawn(work);
        let thread =
            thread.map_err(|error| io_error("start a thread to write", Path::new("a load"), error))?;
        Ok(Open::There(sender, thread))
    }

    fn end_file(&mut self) -> Result<()> {
        (self.rows, self.bytes) = (0, 0);
        match self.open.take() {
            None => Ok(()),
            Some(Open::Here(writer)) => {
                self.records.push(writer.finish()?);
                Ok(())
            }
            Some(Open::There(sender, thread)) => {
                drop(sender);
                self.finishing.push_back(thread);
                Ok(())
            }
        }
    }

    fn finish_one(&mut self) -> Result<()> {
        if let Some(thread) = self.finishing.pop_front() {
            let record = thread.join();
            let record =
                record.map_err(|_| Error::new(ErrorKind::Io, "the thread that writes a load panicked"))?;
            self.records.push(record?);
        }
        Ok(())
    }

    fn finish_all(&mut self) -> Result<()> {
        while !self.finishing.is_empty() {
            self.finish_one()?;
        }
        Ok(())
    }

    /// Ends the file that is being written, and gives all that were since this was called last.
    pub(super) fn finish(&mut self) -> Result<Vec<DataFileRecord>> {
        self.end_file()?;
        self.finish_all()?;
        Ok(std::mem::take(&mut self.records))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Of a load that is given up: no thread writes on, and no file stays.
        let _ = self.end_file();
        while !self.finishing.is_empty() {
            let _ = self.finish_one();
        }
        for record in &self.records {
            let path = self.inner.layout.data(record.table, record.id);
            let _ = self.inner.disk.remove_file(&path);
        }
    }
}
