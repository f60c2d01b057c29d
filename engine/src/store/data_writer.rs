//! Writes a data file: Parquet with the user's columns, `_begin`, in history files `_end`, in tables
//! without key the hidden row id; an index block; the footer. Streams: memory is that of a row group.

use super::index_block::{BLOCK_BYTES, GroupExtent, IndexBlock, block_crc};
use crate::adapt::{batch_of, loose_schema};
use crate::error::{Error, Result};
use crate::files::{io_error, temporary_path};
use crate::layout::Layout;
use crate::manifest::DataFileRecord;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use asof_mvcc::{Column, FileId, Keys, TableId, Version};
use asof_wal::{Disk, DiskFile, OpenMode};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Rows of a row group, the unit of pruning.
pub const GROUP_ROWS: usize = 100_000;
/// Field id of the version that made a row.
pub const BEGIN_FIELD_ID: u32 = 2_000_000_001;
/// Field id of the version that ended a row.
pub const END_FIELD_ID: u32 = 2_000_000_002;
/// Field id of the hidden row id.
pub const ROW_ID_FIELD_ID: u32 = 2_000_000_003;
/// Key of the footer's metadata that says where the index block lies.
pub const INDEX_OFFSET_KEY: &str = "asof.index_offset";

/// Takes the bytes of a file, and their digest and block checksums on the way.
struct Sink {
    file: Arc<dyn DiskFile>,
    id: FileId,
    written: u64,
    pending: Vec<u8>,
    blocks: Vec<u32>,
    hasher: blake3::Hasher,
    /// Set once the index block begins: from here one checksum covers all.
    tail: Option<(u64, crc32fast::Hasher)>,
}

impl Sink {
    fn write_blocks(&mut self, all: bool) -> io::Result<()> {
        let whole = if all { self.pending.len() } else { self.pending.len() / BLOCK_BYTES * BLOCK_BYTES };
        if whole == 0 {
            return Ok(());
        }
        let bytes = &self.pending[..whole];
        self.file.write_all_at(bytes, self.written)?;
        self.hasher.update(bytes);
        match &mut self.tail {
            Some((_, crc)) => crc.update(bytes),
            None => {
                for block in bytes.chunks(BLOCK_BYTES) {
                    self.blocks.push(block_crc(self.id, self.blocks.len() as u64, block));
                }
            }
        }
        self.written += whole as u64;
        self.pending.drain(..whole);
        Ok(())
    }

    fn begin_tail(&mut self) -> io::Result<u64> {
        self.write_blocks(true)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.id.to_le_bytes());
        crc.update(&u64::MAX.to_le_bytes());
        self.tail = Some((self.written, crc));
        Ok(self.written)
    }
}

const FLUSH_BYTES: usize = 1 << 20;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= FLUSH_BYTES {
            self.write_blocks(false)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_blocks(false)
    }
}

/// A data file being written. Rows come in key order, and of one key in order of begin.
pub struct DataWriter {
    writer: ArrowWriter<Sink>,
    schema: SchemaRef,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    record: DataFileRecord,
    has_row_ids: bool,
    groups: Vec<GroupExtent>,
    open_group: Option<GroupExtent>,
}

impl DataWriter {
    /// Begins a file for rows with `columns`. `history`: all rows are dead and carry their end. `has_row_ids`: the
    /// table has no key.
    pub fn create(
        disk: Arc<dyn Disk>,
        layout: &Layout,
        table: TableId,
        id: FileId,
        columns: &[Column],
        history: bool,
        has_row_ids: bool,
    ) -> Result<DataWriter> {
        let path = layout.data(table, id);
        let temporary = temporary_path(&path);
        let file =
            disk.open(&temporary, OpenMode::Create).map_err(|error| io_error("create", &temporary, error))?;
        file.set_len(0).map_err(|error| io_error("create", &temporary, error))?;
        let with_id = |field: Field, id: u32| {
            field.with_metadata([(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())].into())
        };
        let mut fields: Vec<Field> = loose_schema(columns)
            .fields()
            .iter()
            .zip(columns)
            .map(|(field, column)| with_id(field.as_ref().clone(), column.id))
            .collect();
        let mut internal = |name: &str, id: u32| {
            // Known by its field id; the name only has to differ from the user's.
            let mut name = name.to_string();
            while columns.iter().any(|column| column.name == name) {
                name.insert(0, '_');
            }
            fields.push(with_id(Field::new(name, DataType::UInt64, false), id));
        };
        if has_row_ids {
            internal("_row_id", ROW_ID_FIELD_ID);
        }
        internal("_begin", BEGIN_FIELD_ID);
        if history {
            internal("_end", END_FIELD_ID);
        }
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_created_by("asof".to_string())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level of zstd")))
            .set_max_row_group_row_count(None)
            .set_data_page_row_count_limit(8_192)
            .set_write_batch_size(4_096)
            .set_statistics_enabled(EnabledStatistics::Page)
            .build();
        let sink = Sink {
            file,
            id,
            written: 0,
            pending: Vec::new(),
            blocks: Vec::new(),
            hasher: blake3::Hasher::new(),
            tail: None,
        };
        let writer = ArrowWriter::try_new(sink, schema.clone(), Some(properties)).map_err(parquet_error)?;
        let record = DataFileRecord {
            id,
            table,
            valid_from: 0,
            valid_to: u64::MAX,
            history,
            loaded_at: None,
            rows: 0,
            bytes: 0,
            tail_offset: 0,
            tail_crc: 0,
            digest: [0; 32],
            min_begin: u64::MAX,
            max_begin: 0,
            min_end: u64::MAX,
            max_end: if history { 0 } else { u64::MAX },
            min_key: Vec::new(),
            max_key: Vec::new(),
        };
        Ok(DataWriter {
            writer,
            schema,
            disk,
            path,
            record,
            has_row_ids,
            groups: Vec::new(),
            open_group: None,
        })
    }

    /// Appends rows. `row_ids` for tables without key, `ends` for history files.
    pub fn write(
        &mut self,
        rows: &RecordBatch,
        keys: &Keys,
        row_ids: Option<&[u64]>,
        begins: &[Version],
        ends: &[Version],
    ) -> Result<()> {
        let mut done = 0;
        while done < rows.num_rows() {
            let in_group = self.open_group.as_ref().map_or(0, |group| group.rows as usize);
            let count = (GROUP_ROWS - in_group).min(rows.num_rows() - done);
            let range = done..done + count;
            let mut columns: Vec<ArrayRef> = rows.slice(done, count).columns().to_vec();
            let number = |versions: &[Version]| -> ArrayRef {
                Arc::new(UInt64Array::from_iter_values(
                    versions[range.clone()].iter().map(|version| version.0),
                ))
            };
            if let Some(row_ids) = row_ids.filter(|_| self.has_row_ids) {
                columns.push(Arc::new(UInt64Array::from(row_ids[range.clone()].to_vec())));
            }
            columns.push(number(begins));
            if self.record.history {
                columns.push(number(ends));
            }
            self.writer.write(&batch_of(self.schema.clone(), columns, count)?).map_err(parquet_error)?;
            let group = self.open_group.get_or_insert_with(|| GroupExtent {
                rows: 0,
                min_begin: u64::MAX,
                max_begin: 0,
                min_end: u64::MAX,
                max_end: if self.record.history { 0 } else { u64::MAX },
                min_key: keys.get(done).to_vec(),
                max_key: Vec::new(),
            });
            group.rows += count as u32;
            group.max_key = keys.get(done + count - 1).to_vec();
            for row in range {
                group.min_begin = group.min_begin.min(begins[row].0);
                group.max_begin = group.max_begin.max(begins[row].0);
                if self.record.history {
                    group.min_end = group.min_end.min(ends[row].0);
                    group.max_end = group.max_end.max(ends[row].0);
                }
            }
            if group.rows as usize == GROUP_ROWS {
                self.end_group()?;
            }
            done += count;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<()> {
        if let Some(group) = self.open_group.take() {
            self.writer.flush().map_err(parquet_error)?;
            self.groups.push(group);
        }
        Ok(())
    }

    /// Ends the file: index block, footer, sync, its name. The directory is left for the caller to sync.
    pub fn finish(mut self) -> Result<DataFileRecord> {
        self.end_group()?;
        let (disk, path) = (self.disk.clone(), self.path.clone());
        let fail = |error| io_error("write", &path, error);
        self.writer.sync().map_err(fail)?;
        let tail_offset = self.writer.inner_mut().begin_tail().map_err(fail)?;
        let blocks = std::mem::take(&mut self.writer.inner_mut().blocks);
        let index = IndexBlock { blocks, groups: self.groups };
        self.writer.write_all(&index.encode()).map_err(fail)?;
        self.writer
            .append_key_value_metadata(KeyValue::new(INDEX_OFFSET_KEY.to_string(), tail_offset.to_string()));
        let mut sink = self.writer.into_inner().map_err(parquet_error)?;
        sink.write_blocks(true).map_err(fail)?;
        sink.file.sync_all().map_err(fail)?;
        disk.rename(&temporary_path(&path), &path).map_err(fail)?;
        let mut record = self.record;
        let (_, tail_crc) = sink.tail.take().expect("the tail began above");
        record.tail_offset = tail_offset;
        record.tail_crc = tail_crc.finalize();
        record.bytes = sink.written;
        record.digest = *sink.hasher.finalize().as_bytes();
        record.rows = index.groups.iter().map(|group| group.rows as u64).sum();
        record.min_begin = index.groups.iter().map(|group| group.min_begin).min().unwrap_or(u64::MAX);
        record.max_begin = index.groups.iter().map(|group| group.max_begin).max().unwrap_or(0);
        record.min_end = index.groups.iter().map(|group| group.min_end).min().unwrap_or(u64::MAX);
        record.max_end = index.groups.iter().map(|group| group.max_end).max().unwrap_or(u64::MAX);
        record.min_key = index.groups.first().map(|group| group.min_key.clone()).unwrap_or_default();
        record.max_key = index.groups.last().map(|group| group.max_key.clone()).unwrap_or_default();
        Ok(record)
    }
}

/// A Parquet error as ours: an operating system's error or damage inside keeps its kind.
pub fn parquet_error(error: parquet::errors::ParquetError) -> Error {
    match error {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) if error.kind() == io::ErrorKind::InvalidData => Error::corrupt(error.to_string()),
            Ok(error) if error.kind() == io::ErrorKind::UnexpectedEof => Error::corrupt(error.to_string()),
            Ok(error) => Error::from(*error),
            Err(other) => Error::corrupt(other.to_string()),
        },
        other => Error::corrupt(format!("Parquet: {other}")),
    }
}

/// An Arrow error from the Parquet reader as ours.
pub fn reader_error(error: arrow::error::ArrowError) -> Error {
    match error {
        arrow::error::ArrowError::ParquetError(message) => Error::corrupt(message),
        arrow::error::ArrowError::ExternalError(inner) => match inner.downcast::<io::Error>() {
            Ok(error) if error.kind() == io::ErrorKind::InvalidData => Error::corrupt(error.to_string()),
            Ok(error) => Error::from(*error),
            Err(other) => match other.downcast::<parquet::errors::ParquetError>() {
                Ok(error) => parquet_error(*error),
                Err(other) => Error::corrupt(other.to_string()),
            },
        },
        other => Error::from(other),
    }
}

/// Whether an array has any null: for checks of internal columns.
pub fn has_null(array: &ArrayRef) -> bool {
    array.null_count() > 0
}
