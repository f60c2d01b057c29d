//! Writes a data file: Parquet with the user's columns, `_begin`, in history files `_end`, in tables
//! without key the hidden row id; after each row group the filter of its keys; an index block; the
//! footer. Row groups form runs, in each of which keys ascend. Streams: memory is that of a row group.

use super::bloom;
use super::details::{self, PageZone};
use super::directory;
use super::encode::{Effort, array_bytes, encode_group, file_properties};
use super::index_block::GroupExtent;
use super::sink::Sink;
use crate::adapt::{batch_of, loose_schema};
use crate::error::{Error, Result};
use crate::files::{io_error, temporary_path};
use crate::layout::Layout;
use crate::manifest::DataFileRecord;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use asof_mvcc::{Column, ColumnType, FileId, Keys, TableId, Version};
use asof_wal::planted::{Bug, planted};
use asof_wal::{Disk, OpenMode};
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY, add_encoded_arrow_schema_to_metadata};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows of a row group, the unit of pruning: a whole number of pages.
pub const GROUP_ROWS: usize = 98_304;
/// Bytes of a row group in memory, where rows are long.
const GROUP_BYTES: usize = 64 << 20;
/// Row groups with fewer rows have no filter: their keys are read as fast.
const FILTER_ROWS_MIN: usize = 256;
/// Field id of the version that made a row.
pub const BEGIN_FIELD_ID: u32 = 2_000_000_001;
/// Field id of the version that ended a row.
pub const END_FIELD_ID: u32 = 2_000_000_002;
/// Field id of the hidden row id.
pub const ROW_ID_FIELD_ID: u32 = 2_000_000_003;
/// Key of the footer's metadata that says where the index block lies.
pub const INDEX_OFFSET_KEY: &str = "asof.index_offset";

/// What rows a data file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Rows that were alive when it was written; each has its begin.
    Live,
    /// Rows that are all dead; each has its begin and its end.
    History,
    /// Rows of one commit, that of the record naming the file: none has a begin.
    Loaded,
    /// Rows of a transaction that has not committed; in place of a begin each has what the transaction notes of it.
    Spilled,
}

/// A data file being written. Within a run rows come in key order, and of one key in order of begin.
pub struct DataWriter {
    writer: SerializedFileWriter<Sink>,
    schema: SchemaRef,
    temporary: Temporary,
    path: PathBuf,
    record: DataFileRecord,
    kind: FileKind,
    has_row_ids: bool,
    /// The column whose values ascend within a run, if keys tell.
    sorted: Option<usize>,
    groups: Vec<GroupExtent>,
    /// The details of each row group.
    details: Vec<Vec<u8>>,
    open_group: Option<OpenGroup>,
    starts_run: bool,
    /// For each row group the first keys of pages, where the second version of an index block is to be written.
    #[cfg(test)]
    second_version: Option<Vec<Keys>>,
}

/// The file while it is written. What is given up is removed: a disk may be full of it.
struct Temporary {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    finished: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.finished {
            // Where that fails, garbage collection does it later.
            let _ = self.disk.remove_file(&self.path);
        }
    }
}

/// Rows of the row group that is being gathered.
struct OpenGroup {
    extent: GroupExtent,
    batches: Vec<RecordBatch>,
    bytes: usize,
    keys: Keys,
    /// Begin and end of each row.
    lives: Vec<(u64, u64)>,
}

impl DataWriter {
    /// Begins a file for rows with `columns`. `key` are the ids of the key columns; none in a table without key, whose
    /// rows have hidden ids.
    pub fn create(
        disk: Arc<dyn Disk>,
        layout: &Layout,
        table: TableId,
        id: FileId,
        columns: &[Column],
        kind: FileKind,
        key: &[u32],
    ) -> Result<DataWriter> {
        let path = layout.data(table, id);
        let temporary = Temporary { path: temporary_path(&path), disk, finished: false };
        let fail = |error| io_error("create", &temporary.path, error);
        let file = temporary.disk.open(&temporary.path, OpenMode::Create).map_err(fail)?;
        file.set_len(0).map_err(fail)?;
        let has_row_ids = key.is_empty();
        let schema = file_schema(columns, kind, has_row_ids);
        let sorted = match key.first() {
            Some(first) => columns.iter().position(|column| column.id == *first),
            None => Some(columns.len()),
        };
        let mut properties = file_properties(effort_of(kind)).build();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let parquet_schema = ArrowSchemaConverter::new().convert(&schema).map_err(parquet_error)?;
        let writer = SerializedFileWriter::new(
            Sink::new(file, temporary.path.clone(), id, directory::BLOCK_BYTES),
            parquet_schema.root_schema_ptr(),
            Arc::new(properties),
        )
        .map_err(parquet_error)?;
        let history = kind == FileKind::History;
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
            temporary,
            path,
            record,
            kind,
            has_row_ids,
            sorted,
            groups: Vec::new(),
            details: Vec::new(),
            open_group: None,
            starts_run: true,
            #[cfg(test)]
            second_version: None,
        })
    }

    /// Ends the open row group: the rows that follow begin anew in the order of keys.
    pub fn begin_run(&mut self) -> Result<()> {
        self.end_group()?;
        self.starts_run = true;
        Ok(())
    }

    #[allow(dead_code, reason = "for compaction")]
    /// Rows written so far, those of the open row group included.
    pub fn rows(&self) -> u64 {
        let open = self.open_group.as_ref().map_or(0, |group| group.extent.rows as u64);
        self.groups.iter().map(|group| group.rows as u64).sum::<u64>() + open
    }

    #[allow(dead_code, reason = "for compaction")]
    /// Bytes in the file so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Appends rows. `row_ids` for tables without key, `begins` but for loaded files, `ends` for history files.
    pub fn write(
        &mut self,
        rows: &RecordBatch,
        keys: &Keys,
        row_ids: Option<&[u64]>,
        begins: &[Version],
        ends: &[Version],
    ) -> Result<()> {
        let history = self.kind == FileKind::History;
        let mut done = 0;
        while done < rows.num_rows() {
            let in_group = self.open_group.as_ref().map_or(0, |group| group.extent.rows as usize);
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
            if self.kind != FileKind::Loaded {
                columns.push(number(begins));
            }
            if history {
                columns.push(number(ends));
            }
            let batch = batch_of(self.schema.clone(), columns, count)?;
            let bytes = batch.columns().iter().map(array_bytes).sum::<usize>();
            let starts_run = &mut self.starts_run;
            let group = self.open_group.get_or_insert_with(|| OpenGroup {
                extent: GroupExtent {
                    rows: 0,
                    min_begin: u64::MAX,
                    max_begin: 0,
                    min_end: u64::MAX,
                    max_end: if history { 0 } else { u64::MAX },
                    min_key: keys.get(done).to_vec(),
                    max_key: Vec::new(),
                    starts_run: std::mem::take(starts_run),
                    page_rows: 0,
                    filter_offset: 0,
                    filter_bytes: 0,
                },
                batches: Vec::new(),
                bytes: 0,
                keys: Keys::default(),
                lives: Vec::new(),
            });
            group.batches.push(batch);
            group.bytes += bytes;
            range.clone().for_each(|row| group.keys.push(keys.get(row)));
            let extent = &mut group.extent;
            extent.rows += count as u32;
            extent.max_key = keys.get(done + count - 1).to_vec();
            for row in range {
                let begin = if self.kind == FileKind::Loaded { 0 } else { begins[row].0 };
                let end = if history { ends[row].0 } else { u64::MAX };
                if self.kind != FileKind::Loaded {
                    extent.min_begin = extent.min_begin.min(begin);
                    extent.max_begin = extent.max_begin.max(begin);
                }
                if history {
                    extent.min_end = extent.min_end.min(end);
                    extent.max_end = extent.max_end.max(end);
                }
                group.lives.push((begin, end));
            }
            if extent.rows as usize == GROUP_ROWS || group.bytes >= GROUP_BYTES {
                self.end_group()?;
            }
            done += count;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<()> {
        let Some(open) = self.open_group.take() else { return Ok(()) };
        let OpenGroup { mut extent, batches, keys, lives, .. } = open;
        let fail = |error| io_error("write", &self.path, error);
        let columns: Vec<Vec<ArrayRef>> = (0..self.schema.fields().len())
            .map(|index| batches.iter().map(|batch| batch.column(index).clone()).collect())
            .collect();
        drop(batches);
        let root = self.writer.schema_descr().root_schema_ptr();
        let rows = extent.rows as usize;
        let encoded = encode_group(&self.schema, &root, &columns, rows, self.sorted, effort_of(self.kind))?;
        let mut group = self.writer.next_row_group().map_err(parquet_error)?;
        let pages = details::page_bytes(&encoded.chunks);
        for chunk in encoded.chunks {
            chunk.append_to_row_group(&mut group).map_err(parquet_error)?;
        }
        let written = group.close().map_err(parquet_error)?;
        extent.page_rows = encoded.page_rows;
        let mut fences = Keys::default();
        (0..rows).step_by(extent.page_rows as usize).for_each(|row| fences.push(keys.get(row)));
        let zone = |zone: PageZone, (begin, end): &(u64, u64)| zone.with(*begin, *end);
        let zones = lives.chunks(extent.page_rows as usize);
        let zones: Vec<PageZone> = zones.map(|lives| lives.iter().fold(PageZone::NONE, zone)).collect();
        #[cfg(test)]
        if let Some(of_groups) = &mut self.second_version {
            of_groups.push(fences.clone());
        }
        self.details.push(details::encode(&zones, &fences, &pages, &written).map_err(parquet_error)?);
        if rows >= FILTER_ROWS_MIN {
            let filter = bloom::build(&keys.iter().map(bloom::hash).collect::<Vec<_>>());
            let at = self.writer.bytes_written();
            let offset = at.next_multiple_of(bloom::BLOCK_BYTES);
            self.writer.write_all(&[0; bloom::BLOCK_BYTES][..offset - at]).map_err(fail)?;
            self.writer.write_all(&filter).map_err(fail)?;
            (extent.filter_offset, extent.filter_bytes) = (offset as u64, filter.len() as u32);
        }
        self.groups.push(extent);
        Ok(())
    }

    /// Has the file get an index block of the second version.
    #[cfg(test)]
    pub fn as_second_version(&mut self) {
        self.writer.inner_mut().block_bytes = super::index_block::FIRST_BLOCK_BYTES;
        self.second_version = Some(Vec::new());
    }

    /// The index block of the second version, over which the footer's checksum goes too.
    #[cfg(test)]
    fn older_index(&mut self, blocks: Vec<u32>) -> Option<Vec<u8>> {
        let fences = self.second_version.take()?;
        self.writer.inner_mut().begin_footer().expect("nothing is left to be written");
        let index = super::index_block::IndexBlock { blocks, groups: self.groups.clone(), fences };
        Some(index.encode())
    }

    /// Ends the file: index block, footer, sync, its name. The directory is left for the caller to sync. The record of
    /// a loaded file lacks its version: `loaded_at` and begins are the caller's to set.
    pub fn finish(mut self) -> Result<DataFileRecord> {
        self.end_group()?;
        self.writer.flush()?;
        let (tail_offset, blocks) = self.writer.inner_mut().begin_tail()?;
        let columns = columns_of(&self.schema)?;
        let index = directory::encode(self.record.id, &blocks, &columns, &self.groups, &self.details);
        #[cfg(test)]
        let index = self.older_index(blocks).unwrap_or(index);
        self.writer.write_all(&index)?;
        self.writer.flush()?;
        self.writer.inner_mut().begin_footer()?;
        self.writer
            .append_key_value_metadata(KeyValue::new(INDEX_OFFSET_KEY.to_string(), tail_offset.to_string()));
        let sink = self.writer.into_inner().map_err(parquet_error)?;
        let sync = self.kind != FileKind::Loaded || !planted(Bug::LoadNotSynced);
        let written = sink.finish(sync)?;
        let Temporary { disk, path: temporary, finished } = &mut self.temporary;
        disk.rename(temporary, &self.path).map_err(|error| io_error("rename", temporary, error))?;
        *finished = true;
        let mut record = self.record;
        record.tail_offset = written.tail_offset;
        record.tail_crc = written.tail_crc;
        record.bytes = written.bytes;
        record.digest = written.digest;
        let groups = &self.groups;
        record.rows = groups.iter().map(|group| group.rows as u64).sum();
        record.min_begin = groups.iter().map(|group| group.min_begin).min().unwrap_or(u64::MAX);
        record.max_begin = groups.iter().map(|group| group.max_begin).max().unwrap_or(0);
        record.min_end = groups.iter().map(|group| group.min_end).min().unwrap_or(u64::MAX);
        record.max_end = groups.iter().map(|group| group.max_end).max().unwrap_or(u64::MAX);
        record.min_key = groups.iter().map(|group| &group.min_key).min().cloned().unwrap_or_default();
        record.max_key = groups.iter().map(|group| &group.max_key).max().cloned().unwrap_or_default();
        Ok(record)
    }
}

fn effort_of(kind: FileKind) -> Effort {
    match kind {
        FileKind::Loaded | FileKind::Spilled => Effort::Quick,
        FileKind::Live | FileKind::History => Effort::Thorough,
    }
}

/// The Arrow schema of a data file: the table's columns, then internal ones, all with their field ids.
fn file_schema(columns: &[Column], kind: FileKind, has_row_ids: bool) -> SchemaRef {
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
    if kind != FileKind::Loaded {
        internal("_begin", BEGIN_FIELD_ID);
    }
    if kind == FileKind::History {
        internal("_end", END_FIELD_ID);
    }
    Arc::new(Schema::new(fields))
}

/// The columns of a file by field id, internal ones included.
pub fn columns_of(schema: &Schema) -> Result<Vec<Column>> {
    let columns = schema.fields().iter().map(|field| {
        let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY).and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| Error::corrupt(format!("column {} has no id", field.name())))?;
        let column_type = ColumnType::from_arrow(field.data_type())?;
        Ok(Column { id, nullable: field.is_nullable(), ..Column::new(field.name().clone(), column_type) })
    });
    columns.collect()
}

/// A Parquet error as ours: one of ours inside is given as it is, one of the operating system keeps its kind.
pub fn parquet_error(error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => inner_error(inner),
        other => Error::corrupt(format!("Parquet: {other}")),
    }
}

/// An Arrow error from the Parquet reader as ours.
pub fn reader_error(error: ArrowError) -> Error {
    match error {
        ArrowError::ParquetError(message) => Error::corrupt(message),
        ArrowError::ExternalError(inner) => inner_error(inner),
        other => Error::from(other),
    }
}

/// What a library's error was made from.
fn inner_error(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    let error = match error.downcast::<ParquetError>() {
        Ok(error) => return parquet_error(*error),
        Err(error) => error,
    };
    match error.downcast::<io::Error>() {
        Ok(error) if error.kind() == io::ErrorKind::UnexpectedEof => Error::corrupt(error.to_string()),
        Ok(error) => Error::from(*error),
        Err(error) => Error::corrupt(error.to_string()),
    }
}

/// Whether an array has any null: for checks of internal columns.
pub fn has_null(array: &ArrayRef) -> bool {
    array.null_count() > 0
}
