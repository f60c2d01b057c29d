//! A table as a Parquet file that nobody wrote: column chunks of row groups that a version shows whole are the data
//! files' own bytes, and only the footer is new. Of row groups that it shows in part each column has a slot, as long
//! as its values are at most, which is filled when it is first read; what it does not need is padding, a hole.
//!
//! Size and footer need metadata alone, and how many rows of a row group are shown. Invariants: bytes never change
//! while a stitched file is open, and two of one layout have the same bytes; a slot is filled once; a table that cannot
//! be stitched (a row group shown in part has a nested column, of which a slot's length is not known before) is not.
//! Times in seconds, which Parquet does not have, are milliseconds in slots.

use super::cache::ViewCache;
use super::parquet_file::{file_type, in_milliseconds};
use crate::adapt::{cast_exact, default_array};
use crate::error::{Error, Result};
use crate::scan::{memory_rows, visible_groups};
use crate::state::State;
use crate::store::data_file::DataFile;
use crate::store::data_writer::parquet_error;
use crate::store::details::PageZone;
use crate::store::group_scan::{Chosen, DeadRows, GroupTask};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use asof_mvcc::{Column, Table, TableSchema, Version};
use bytes::Bytes;
use parking_lot::Mutex;
use parquet::arrow::{
    ArrowSchemaConverter, ArrowWriter, PARQUET_FIELD_ID_META_KEY, add_encoded_arrow_schema_to_metadata,
};
use parquet::basic::{Compression, Encoding, Type};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr, SchemaDescriptor};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

const MAGIC: &[u8; 4] = b"PAR1";
/// Batches of a row group of rows that are in no data file yet.
const GROUP_BATCHES: usize = 12;
/// Bytes of a page's header, at most, where it has no statistics.
const HEADER_BYTES_MAX: u64 = 64;
/// Bytes of the shortest padding: a page without content.
const PADDING_BYTES_MIN: u64 = 9;
/// Rows decoded at once for a slot.
const BATCH_ROWS: usize = 8_192;

/// A stitched file.
pub(super) struct Stitched {
    size: u64,
    layout: u64,
    /// What lies where, in order and without gaps.
    parts: Vec<Part>,
    slots: Vec<Slot>,
    columns: Vec<(Column, Field)>,
    /// Slots for which there is no memory lie here at their own offsets.
    scratch: OnceLock<File>,
    /// Bytes of the cache's memory that slots take.
    held: AtomicU64,
    cache: Arc<ViewCache>,
    /// Keeps the data files.
    _state: Arc<State>,
}

struct Part {
    start: u64,
    source: Source,
}

enum Source {
    Bytes(Bytes),
    /// Bytes of a data file from an offset on.
    File(Arc<DataFile>, u64),
    Slot(usize),
}

/// Where a column of a row group of which not all rows are shown comes to lie.
struct Slot {
    start: u64,
    bytes: u64,
    /// Which of the columns.
    column: usize,
    group: Arc<Group>,
    content: OnceLock<Content>,
    /// Held by whoever fills it.
    filling: Mutex<()>,
}

/// What a slot was filled with.
enum Content {
    /// A page of values, then padding.
    Memory { values: Bytes, padding: Padding },
    /// It lies in the scratch file, at its own offset.
    Scratch,
}

/// Headers of pages of padding, and where they lie behind the values.
type Padding = Vec<(Vec<u8>, u64)>;

/// A row group, and which of its rows are shown.
struct Group {
    task: GroupTask,
    chosen: Chosen,
}

/// A column chunk as a file of its own had it.
struct Encoded {
    bytes: Bytes,
    chunk: ColumnChunkMetaData,
}

impl Stitched {
    /// The file of a table at a version; none where it cannot be stitched. `rows` is how many it has.
    pub(super) fn new(
        state: &Arc<State>,
        table: &Table,
        schema: &TableSchema,
        version: Version,
        rows: u64,
        cache: Arc<ViewCache>,
    ) -> Result<Option<Stitched>> {
        let arrow_schema = file_schema(&schema.columns);
        let fields = arrow_schema.fields().iter();
        let columns = schema.columns.iter().cloned().zip(fields.map(|field| field.as_ref().clone()));
        let columns: Vec<(Column, Field)> = columns.collect();
        let descriptor = ArrowSchemaConverter::new().convert(&arrow_schema).map_err(parquet_error)?;
        let mut builder = Builder {
            leaves: leaves_of(&descriptor, columns.len()),
            descriptor: Arc::new(descriptor),
            columns: &columns,
            end: 0,
            parts: Vec::new(),
            slots: Vec::new(),
            groups: Vec::new(),
            rows: 0,
            defaults: HashMap::new(),
            layout: blake3::Hasher::new(),
        };
        builder.push(MAGIC.len() as u64, Source::Bytes(Bytes::from_static(MAGIC)));
        for task in visible_groups(state, table, version)? {
            if !builder.add_group(task, version)? {
                return Ok(None);
            }
        }
        for batches in memory_rows(state, table, &schema.columns, version)?.chunks(GROUP_BATCHES) {
            builder.add_rows(batches)?;
        }
        if builder.rows != rows {
            return Err(Error::corrupt(format!(
                "table '{}' has {} rows at version {version} where {rows} were expected; run 'asof verify'",
                table.name, builder.rows
            )));
        }
        let layout = builder.layout_number(schema);
        let (size, parts, slots) = builder.finish(&arrow_schema)?;
        let (scratch, held, _state) = (OnceLock::new(), AtomicU64::new(0), state.clone());
        Ok(Some(Stitched { size, layout, parts, slots, columns, scratch, held, cache, _state }))
    }

    /// Its exact size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What its bytes depend on beside the rows: never 0.
    pub(super) fn layout(&self) -> u64 {
        self.layout
    }

    /// The parts that a range touches.
    fn parts_within(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.parts.partition_point(|part| part.start <= range.start).saturating_sub(1);
        first..self.parts.partition_point(|part| part.start < range.end).max(first)
    }

    /// Which part a byte lies in.
    pub(super) fn part_at(&self, offset: u64) -> usize {
        self.parts.partition_point(|part| part.start <= offset).saturating_sub(1)
    }

    /// Whether a range can be read without filling a slot.
    pub(super) fn is_ready(&self, range: Range<u64>) -> bool {
        self.parts[self.parts_within(&range)].iter().all(|part| match part.source {
            Source::Slot(slot) => self.slots[slot].content.get().is_some(),
            _ => true,
        })
    }

    /// Reads bytes that lie within the file.
    pub(super) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = offset..offset + buf.len() as u64;
        let within = self.parts_within(&range);
        let mut buf = buf;
        let mut at = offset;
        for index in within {
            let part = &self.parts[index];
            let end = self.parts.get(index + 1).map_or(self.size, |next| next.start);
            let count = (end.min(range.end) - at) as usize;
            let (these, rest) = buf.split_at_mut(count);
            let skip = at - part.start;
            match &part.source {
                Source::Bytes(bytes) => these.copy_from_slice(&bytes[skip as usize..skip as usize + count]),
                Source::File(file, start) => {
                    these.copy_from_slice(&file.bytes(start + skip, count)?);
                }
                Source::Slot(slot) => match self.filled(&self.slots[*slot])? {
                    Content::Scratch => self.scratch()?.read_exact_at(these, at)?,
                    Content::Memory { values, padding } => {
                        these.fill(0);
                        copy_within(values, 0, these, skip);
                        for (header, behind) in padding {
                            copy_within(header, values.len() as u64 + behind, these, skip);
                        }
                    }
                },
            }
            at += count as u64;
            buf = rest;
        }
        Ok(())
    }

    fn scratch(&self) -> Result<&File> {
        if let Some(file) = self.scratch.get() {
            return Ok(file);
        }
        let file = self.cache.scratch(self.size)?;
        Ok(self.scratch.get_or_init(|| file))
    }

    /// What a slot holds; fills it, once. Others who want it wait.
    fn filled<'a>(&self, slot: &'a Slot) -> Result<&'a Content> {
        if let Some(content) = slot.content.get() {
            return Ok(content);
        }
        let _filling = slot.filling.lock();
        if let Some(content) = slot.content.get() {
            return Ok(content);
        }
        let (column, field) = &self.columns[slot.column];
        let values = slot.group.column(column, field.data_type())?;
        let Encoded { bytes: values, .. } = encode(field, &values, false)?;
        let left = slot.bytes.checked_sub(values.len() as u64);
        let padding = left.and_then(padding).ok_or_else(|| {
            Error::corrupt(format!(
                "column '{}' takes {} bytes where there is room for {}; this is a bug in asof",
                column.name,
                values.len(),
                slot.bytes
            ))
        })?;
        let content = if self.cache.hold(values.len() as u64) {
            self.held.fetch_add(values.len() as u64, Ordering::Relaxed);
            Content::Memory { values, padding }
        } else {
            let file = self.scratch()?;
            file.write_all_at(&values, slot.start)?;
            for (header, behind) in padding {
                file.write_all_at(&header, slot.start + values.len() as u64 + behind)?;
            }
            Content::Scratch
        };
        Ok(slot.content.get_or_init(|| content))
    }
}

impl Drop for Stitched {
    fn drop(&mut self) {
        self.cache.let_go(self.held.load(Ordering::Relaxed));
    }
}

/// Copies what of some bytes, which lie at an offset, lies within a part of the same space.
fn copy_within(bytes: &[u8], at: u64, part: &mut [u8], part_at: u64) {
    let first = at.max(part_at);
    let end = (at + bytes.len() as u64).min(part_at + part.len() as u64);
    if first < end {
        let of = |start: u64| (first - start) as usize..(end - start) as usize;
        part[of(part_at)].copy_from_slice(&bytes[of(at)]);
    }
}

impl Group {
    /// The values of a column in the rows that are shown.
    fn column(&self, column: &Column, wanted: &DataType) -> Result<Vec<ArrayRef>> {
        let (file, group) = (&self.task.file, self.task.group);
        let Chosen { mask, count, counted, .. } = &self.chosen;
        let mut reader = file.read_group(&[column.id], group, mask.as_ref(), *counted, BATCH_ROWS)?;
        let (mut arrays, mut rows) = (Vec::new(), 0);
        while let Some(batch) = reader.next_batch(file)? {
            rows += batch.num_rows();
            if let Some(array) = batch.columns().first() {
                let values = cast_exact(array, &column.column_type.to_arrow())?;
                arrays.push(in_milliseconds(&values, wanted)?);
            }
        }
        if rows != *count {
            return Err(Error::corrupt(format!(
                "{}: a row group lacks rows; run 'asof verify'",
                file.name()
            )));
        }
        Ok(arrays)
    }
}

/// What a stitched file is made of, while it is gathered.
struct Builder<'a> {
    descriptor: SchemaDescPtr,
    columns: &'a [(Column, Field)],
    /// The leaves of each column.
    leaves: Vec<Range<usize>>,
    end: u64,
    parts: Vec<Part>,
    slots: Vec<Slot>,
    groups: Vec<RowGroupMetaData>,
    rows: u64,
    /// Chunks of a default, by column and rows.
    defaults: HashMap<(usize, usize), Arc<Vec<Encoded>>>,
    layout: blake3::Hasher,
}

impl Builder<'_> {
    fn push(&mut self, bytes: u64, source: Source) -> u64 {
        let start = self.end;
        self.parts.push(Part { start, source });
        self.end += bytes;
        start
    }

    /// Adds a row group of a data file, as far as it is shown; `false` where that cannot be stitched.
    fn add_group(&mut self, task: GroupTask, version: Version) -> Result<bool> {
        let (file, group) = (task.file.clone(), task.group);
        let extent = &file.groups[group];
        let none_died = matches!(&task.dead, DeadRows::Known(dead) if dead.is_empty());
        let chosen = match none_died && PageZone::of_group(extent).shown_at(version) == Some(true) {
            true => Chosen::all(extent.rows as usize),
            false => task.choose(false)?,
        };
        let rows = chosen.count;
        if rows == 0 {
            return Ok(true);
        }
        let whole = chosen.mask.is_none();
        for number in [file.record.id, group as u64, rows as u64] {
            self.layout.update(&number.to_le_bytes());
        }
        let (footer, place) = file.footer_of(group)?;
        let metadata = footer.row_group(place);
        let of_file = leaves_of(metadata.schema_descr(), footer.column_count());
        let shared = Arc::new(Group { task, chosen });
        let mut chunks = Vec::with_capacity(self.descriptor.num_columns());
        for index in 0..self.columns.len() {
            let leaves = self.leaves[index].clone();
            let Some((root, _)) = footer.column(self.columns[index].0.id) else {
                self.add_default(index, rows, &mut chunks)?;
                continue;
            };
            let theirs = of_file.get(root).cloned().unwrap_or(0..0);
            let alike = leaves.len() == theirs.len()
                && leaves.clone().zip(theirs.clone()).all(|(leaf, their)| {
                    is_alike(&self.descriptor.column(leaf), &metadata.column(their).column_descr_ptr())
                });
            if whole && alike {
                for (leaf, their) in leaves.zip(theirs) {
                    let chunk = metadata.column(their);
                    let (offset, bytes) = chunk.byte_range();
                    let start = self.push(bytes, Source::File(file.clone(), offset));
                    chunks.push(moved(chunk, self.descriptor.column(leaf), offset, start, true)?);
                }
                continue;
            }
            let is_flat = leaves.len() == 1 && !self.columns[index].1.data_type().is_nested();
            let their = theirs.start;
            let leaf = self.descriptor.column(leaves.start);
            let bound = (is_flat && theirs.len() == 1)
                .then(|| slot_bytes(&leaf, metadata.column(their), rows as u64))
                .flatten();
            let Some(bytes) = bound else { return Ok(false) };
            let start = self.push(bytes, Source::Slot(self.slots.len()));
            let group = shared.clone();
            let (content, filling) = (OnceLock::new(), Mutex::new(()));
            self.slots.push(Slot { start, bytes, column: index, group, content, filling });
            let chunk = ColumnChunkMetaData::builder(leaf)
                .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
                .set_compression(Compression::UNCOMPRESSED)
                .set_num_values(rows as i64)
                .set_total_compressed_size(bytes as i64)
                .set_total_uncompressed_size(bytes as i64)
                .set_data_page_offset(start as i64);
            chunks.push(chunk.build().map_err(parquet_error)?);
        }
        self.add_metadata(chunks, rows)?;
        Ok(true)
    }

    /// Adds a chunk of a column that a file does not have: its default in every row.
    fn add_default(
        &mut self,
        index: usize,
        rows: usize,
        chunks: &mut Vec<ColumnChunkMetaData>,
    ) -> Result<()> {
        let encoded = match self.defaults.get(&(index, rows)) {
            Some(encoded) => encoded.clone(),
            None => {
                let (column, field) = &self.columns[index];
                let values = in_milliseconds(&default_array(column, rows)?, field.data_type())?;
                let encoded = Arc::new(encode_leaves(field, &[values], true)?);
                self.defaults.insert((index, rows), encoded.clone());
                encoded
            }
        };
        self.add_encoded(index, &encoded, chunks)
    }

    fn add_encoded(
        &mut self,
        index: usize,
        encoded: &[Encoded],
        chunks: &mut Vec<ColumnChunkMetaData>,
    ) -> Result<()> {
        for (leaf, Encoded { bytes, chunk }) in self.leaves[index].clone().zip(encoded) {
            let (offset, _) = chunk.byte_range();
            let start = self.push(bytes.len() as u64, Source::Bytes(bytes.clone()));
            chunks.push(moved(chunk, self.descriptor.column(leaf), offset, start, false)?);
        }
        Ok(())
    }

    /// Adds rows that are in no data file.
    fn add_rows(&mut self, batches: &[RecordBatch]) -> Result<()> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        self.layout.update(&u64::MAX.to_le_bytes());
        self.layout.update(&(rows as u64).to_le_bytes());
        let mut chunks = Vec::with_capacity(self.descriptor.num_columns());
        for (index, (_, field)) in self.columns.iter().enumerate() {
            let values = batches.iter().map(|batch| in_milliseconds(batch.column(index), field.data_type()));
            let values = values.collect::<Result<Vec<ArrayRef>>>()?;
            let encoded = encode_leaves(field, &values, false)?;
            self.add_encoded(index, &encoded, &mut chunks)?;
        }
        self.add_metadata(chunks, rows)
    }

    fn add_metadata(&mut self, chunks: Vec<ColumnChunkMetaData>, rows: usize) -> Result<()> {
        let bytes = chunks.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
        let first = chunks.first().map(|chunk| chunk.byte_range().0 as i64);
        let mut group = RowGroupMetaData::builder(self.descriptor.clone())
            .set_num_rows(rows as i64)
            .set_total_byte_size(bytes)
            .set_column_metadata(chunks);
        if let Some(first) = first {
            group = group.set_file_offset(first);
        }
        if let Ok(ordinal) = i16::try_from(self.groups.len()) {
            group = group.set_ordinal(ordinal);
        }
        self.groups.push(group.build().map_err(parquet_error)?);
        self.rows += rows as u64;
        Ok(())
    }

    fn layout_number(&mut self, schema: &TableSchema) -> u64 {
        self.layout.update(&super::schema_digest(schema));
        let digest = self.layout.finalize();
        u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes")).max(1)
    }

    fn finish(mut self, schema: &SchemaRef) -> Result<(u64, Vec<Part>, Vec<Slot>)> {
        let mut properties = WriterProperties::builder().build();
        add_encoded_arrow_schema_to_metadata(schema, &mut properties);
        let file = FileMetaData::new(
            1,
            self.rows as i64,
            Some("asof".to_string()),
            properties.key_value_metadata().cloned(),
            self.descriptor.clone(),
            None,
        );
        let metadata = ParquetMetaData::new(file, std::mem::take(&mut self.groups));
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &metadata).finish().map_err(parquet_error)?;
        self.push(footer.len() as u64, Source::Bytes(footer.into()));
        Ok((self.end, self.parts, self.slots))
    }
}

/// A chunk's metadata where it lies elsewhere; its statistics only where they are told to stay.
fn moved(
    chunk: &ColumnChunkMetaData,
    leaf: ColumnDescPtr,
    from: u64,
    to: u64,
    statistics: bool,
) -> Result<ColumnChunkMetaData> {
    let place = |offset: i64| offset - from as i64 + to as i64;
    let mut moved = ColumnChunkMetaData::builder(leaf)
        .set_encodings_mask(*chunk.encodings_mask())
        .set_compression(chunk.compression())
        .set_num_values(chunk.num_values())
        .set_total_compressed_size(chunk.compressed_size())
        .set_total_uncompressed_size(chunk.uncompressed_size())
        .set_data_page_offset(place(chunk.data_page_offset()))
        .set_dictionary_page_offset(chunk.dictionary_page_offset().map(place));
    if let Some(statistics) = chunk.statistics().filter(|_| statistics) {
        moved = moved.set_statistics(statistics.clone());
    }
    moved.build().map_err(parquet_error)
}

/// The leaves of each of a schema's columns.
fn leaves_of(descriptor: &SchemaDescriptor, columns: usize) -> Vec<Range<usize>> {
    let mut leaves = vec![0..0; columns];
    for leaf in 0..descriptor.num_columns() {
        if let Some(range) = leaves.get_mut(descriptor.get_column_root_idx(leaf)) {
            let first = if range.end == 0 { leaf } else { range.start };
            *range = first..leaf + 1;
        }
    }
    leaves
}

/// Whether chunks of one leaf are chunks of the other.
fn is_alike(one: &ColumnDescPtr, other: &ColumnDescPtr) -> bool {
    one.physical_type() == other.physical_type()
        && one.type_length() == other.type_length()
        && one.logical_type_ref() == other.logical_type_ref()
        && one.converted_type() == other.converted_type()
        && one.max_def_level() == other.max_def_level()
        && one.max_rep_level() == other.max_rep_level()
        && one.type_precision() == other.type_precision()
        && one.type_scale() == other.type_scale()
}

/// How many bytes the plain values of some rows of a chunk take at most, as one page with its padding; none where that
/// is not known.
fn slot_bytes(leaf: &ColumnDescPtr, chunk: &ColumnChunkMetaData, rows: u64) -> Option<u64> {
    let values = match leaf.physical_type() {
        Type::BOOLEAN => rows.div_ceil(8),
        Type::INT32 | Type::FLOAT => rows * 4,
        Type::INT64 | Type::DOUBLE => rows * 8,
        Type::INT96 => rows * 12,
        Type::FIXED_LEN_BYTE_ARRAY => rows * u64::try_from(leaf.type_length()).ok()?,
        Type::BYTE_ARRAY if chunk.column_type() == Type::BYTE_ARRAY => {
            u64::try_from(chunk.unencoded_byte_array_data_bytes()?).ok()? + rows * 4
        }
        Type::BYTE_ARRAY => return None,
    };
    // Levels are one bit each, in runs: at most a byte of header for each byte of them.
    Some(values + rows / 2 + 2 * HEADER_BYTES_MAX + 2 * PADDING_BYTES_MIN)
}

/// Pages that readers skip, so many bytes together: their headers, and where these lie. What follows a header are zeros.
/// None where there is no room for one.
fn padding(bytes: u64) -> Option<Padding> {
    if let Some(header) = padding_page(bytes) {
        return Some(vec![(header, 0)]);
    }
    // There are lengths at which a longer number takes the room that it tells of.
    let rest = padding_page(bytes.checked_sub(PADDING_BYTES_MIN)?)?;
    Some(vec![(padding_page(PADDING_BYTES_MIN)?, 0), (rest, PADDING_BYTES_MIN)])
}

/// The header of a page of padding of so many bytes with it, if there is one: an index page, which has no meaning in
/// Parquet, in Thrift's compact protocol.
fn padding_page(bytes: u64) -> Option<Vec<u8>> {
    const FIXED_BYTES: u64 = 7;
    (1..=5).find_map(|digits| {
        let content = bytes.checked_sub(FIXED_BYTES + 2 * digits)?;
        let length = varint(2 * content);
        (length.len() as u64 == digits && i32::try_from(content).is_ok()).then(|| {
            // Type (index page), uncompressed and compressed length, an empty index page header.
            [&[0x15, 0x02, 0x15][..], &length, &[0x15], &length, &[0x3c, 0x00, 0x00]].concat()
        })
    })
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Values of a flat column as one chunk.
fn encode(field: &Field, values: &[ArrayRef], dictionary: bool) -> Result<Encoded> {
    let mut leaves = encode_leaves(field, values, dictionary)?;
    leaves.pop().filter(|_| leaves.is_empty()).ok_or_else(|| Error::invalid("a flat column has one leaf"))
}

/// Values of a column as chunks of one page each, a chunk for each leaf.
fn encode_leaves(field: &Field, values: &[ArrayRef], dictionary: bool) -> Result<Vec<Encoded>> {
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(dictionary)
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
        .set_write_batch_size(1 << 30)
        .set_data_page_size_limit(usize::MAX)
        .set_dictionary_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX)
        .build();
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let mut out = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut out, schema.clone(), Some(properties)).map_err(parquet_error)?;
    for array in values {
        let batch = RecordBatch::try_new(schema.clone(), vec![array.clone()])?;
        writer.write(&batch).map_err(parquet_error)?;
    }
    let metadata = writer.close().map_err(parquet_error)?;
    let out = Bytes::from(out);
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let encoded = chunks.map(|chunk| {
        let (start, length) = chunk.byte_range();
        Encoded { bytes: out.slice(start as usize..(start + length) as usize), chunk: chunk.clone() }
    });
    Ok(encoded.collect())
}

/// The columns as the file has them: all may be null, as data files have them.
fn file_schema(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|column| {
        let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), column.id.to_string())];
        Field::new(&column.name, file_type(&column.column_type.to_arrow()), true).with_metadata(id.into())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_has_every_length_from_the_shortest_on() {
        let near = |power: u32| (1u64 << power) - 50..(1 << power) + 50;
        for bytes in (PADDING_BYTES_MIN..20_000).chain(near(20)).chain(near(21)).chain(near(27)) {
            let pages = padding(bytes).unwrap_or_else(|| panic!("{bytes}"));
            let mut end = 0;
            for (header, at) in pages {
                assert_eq!(at, end, "{bytes}");
                let digits = header[3..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
                let length =
                    (0..digits).map(|digit| u64::from(header[3 + digit] & 0x7f) << (7 * digit)).sum::<u64>();
                end = at + header.len() as u64 + length / 2;
            }
            assert_eq!(end, bytes);
        }
        assert!(padding(PADDING_BYTES_MIN - 1).is_none());
    }
}
