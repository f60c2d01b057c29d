//! Gathers what a stitched file is made of, from metadata alone.

use super::super::parquet_file::{file_type, in_milliseconds};
use super::encode::{Encoded, encode_default};
use super::footer::{FileChunk, FileGroup, Footer, Rows, Values};
use super::group::{Group, Shown};
use super::page::{is_known, plain_bytes_max};
use super::room::{Count, LeafSums, Room, text_bytes_max};
use super::{ChunkPages, Filling, Part, Slot, Source};
use crate::error::{Error, Result};
use crate::once::Once;
use crate::scan::{memory_rows, visible_groups};
use crate::state::State;
use crate::store::data_writer::parquet_error;
use crate::store::details::GroupDetails;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use asof_mvcc::{Column, Table, TableSchema, Version};
use bytes::Bytes;
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr, SchemaDescriptor};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"PAR1";
/// Batches of a row group of rows that are in no data file yet.
const GROUP_BATCHES: usize = 12;
/// Pages are copied where at least one in this many that may be shown is shown whole.
const PAGES_COPIED_MIN: usize = 4;

/// What a file is made of.
pub(super) struct Gathered {
    pub(super) size: u64,
    pub(super) layout: u64,
    pub(super) parts: Vec<Part>,
    pub(super) slots: Vec<Slot>,
    pub(super) columns: Vec<(Column, Field)>,
    pub(super) footer: Footer,
}

/// The file of a table at a version, which has so many rows; none where it cannot be stitched.
pub(super) fn gather(
    state: &Arc<State>,
    table: &Table,
    schema: &TableSchema,
    version: Version,
    rows: u64,
) -> Result<Option<Gathered>> {
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
        defaults: HashMap::new(),
        layout: blake3::Hasher::new(),
    };
    builder.push(MAGIC.len() as u64, Source::Bytes(Bytes::from_static(MAGIC)));
    for task in visible_groups(state, table, version)? {
        if let Some(group) = Group::new(task, version)?
            && !builder.add_group(Arc::new(group))?
        {
            return Ok(None);
        }
    }
    for batches in memory_rows(state, table, &schema.columns, version)?.chunks(GROUP_BATCHES) {
        builder.add_rows(batches)?;
    }
    builder.leave_out_statistics()?;
    let layout = builder.layout_number(schema);
    let footer = Footer {
        groups: std::mem::take(&mut builder.groups),
        descriptor: builder.descriptor.clone(),
        schema: arrow_schema,
        rows,
        what: format!("table '{}' at version {version}", table.name),
    };
    builder.push(footer.length()? as u64, Source::Footer);
    let Builder { end: size, parts, slots, .. } = builder;
    Ok(Some(Gathered { size, layout, parts, slots, columns, footer }))
}

struct Builder<'a> {
    descriptor: SchemaDescPtr,
    columns: &'a [(Column, Field)],
    /// The leaves of each column.
    leaves: Vec<Range<usize>>,
    end: u64,
    parts: Vec<Part>,
    slots: Vec<Slot>,
    groups: Vec<FileGroup>,
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

    /// Adds a slot of a column's pages: its place, and what it says of itself in the footer.
    fn push_slot(
        &mut self,
        column: usize,
        rooms: Vec<Room>,
        filling: Filling,
        source: Option<&ColumnChunkMetaData>,
    ) -> Result<Vec<FileChunk>> {
        for room in &rooms {
            self.layout.update(&room.bytes.to_le_bytes());
        }
        if let Filling::Pages(group, _) = &filling {
            let copied = group.pages.iter().map(|shown| u8::from(*shown == Shown::All));
            self.layout.update(&copied.collect::<Vec<u8>>());
        }
        let lengths: Vec<u64> = rooms.iter().map(|room| room.bytes).collect();
        let slot = self.slots.len();
        let start = self.push(lengths.iter().sum(), Source::Slot(slot));
        let (mut chunks, mut at) = (Vec::with_capacity(rooms.len()), start);
        for (leaf, room) in rooms.into_iter().enumerate() {
            let (values, told) = match room.values {
                Count::PerRow(values) => (Values::PerRow(values), 0),
                Count::AtMost(values) => (Values::Filled { slot, leaf }, values),
            };
            let mut chunk = ColumnChunkMetaData::builder(room.leaf)
                .set_num_values(told as i64)
                .set_total_compressed_size(room.bytes as i64)
                .set_total_uncompressed_size(room.bytes as i64);
            chunk = match (&filling, source) {
                (Filling::Pages(_, pages), Some(source)) => {
                    let dictionary = pages.dictionary.end - pages.dictionary.start;
                    chunk
                        .set_encodings(source.encodings().chain([Encoding::PLAIN, Encoding::RLE]).collect())
                        .set_compression(source.compression())
                        .set_dictionary_page_offset((dictionary > 0).then_some(at as i64))
                        .set_data_page_offset((at + dictionary) as i64)
                }
                _ => chunk
                    .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
                    .set_compression(Compression::UNCOMPRESSED)
                    .set_data_page_offset(at as i64),
            };
            chunks.push(FileChunk { metadata: chunk.build().map_err(parquet_error)?, values });
            at += room.bytes;
        }
        self.slots.push(Slot { start, rooms: lengths, column, filling, content: Once::default() });
        Ok(chunks)
    }

    /// Adds a row group of a data file, as far as it is shown; `false` where that cannot be stitched.
    fn add_group(&mut self, group: Arc<Group>) -> Result<bool> {
        let file = group.task.file.clone();
        let whole = group.is_whole();
        for number in [file.record.id, group.task.group as u64, u64::from(whole)] {
            self.layout.update(&number.to_le_bytes());
        }
        let (footer, place) = file.footer_of(group.task.group)?;
        let metadata = footer.row_group(place);
        let of_file = leaves_of(metadata.schema_descr(), footer.column_count());
        let mut chunks = Vec::with_capacity(self.descriptor.num_columns());
        for index in 0..self.columns.len() {
            let leaves = self.leaves[index].clone();
            let Some((root, _)) = footer.column(self.columns[index].0.id) else {
                self.add_default(index, &group, &mut chunks)?;
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
                    let metadata = moved(chunk, self.descriptor.column(leaf), offset, start, true)?;
                    chunks.push(FileChunk { metadata, values: Values::Told });
                }
                continue;
            }
            if leaves.len() != theirs.len() {
                return Ok(false);
            }
            let sources = leaves.map(|leaf| self.descriptor.column(leaf)).zip(theirs.clone());
            let sources = sources.map(|(leaf, their)| (leaf, metadata.column(their)));
            let data_type = self.columns[index].1.data_type();
            let slot = if data_type.is_nested() {
                let rooms = sources.map(|(leaf, source)| Room::of_lists(leaf, source, &group));
                rooms.collect::<Option<Vec<Room>>>().map(|rooms| (rooms, Filling::Values(group.clone())))
            } else {
                let mut sources = sources;
                let Some((leaf, source)) = sources.next() else { return Ok(false) };
                let details = file.details(group.task.group)?;
                let copied = (alike && is_known(data_type))
                    .then(|| pages_copied(&group, details, theirs.start, source, &leaf))
                    .flatten();
                let (bytes, filling) = match copied {
                    Some((bytes, pages)) => (Some(bytes), Filling::Pages(group.clone(), pages)),
                    None => {
                        let bytes = text_bytes_max(&leaf, source)
                            .zip(plain_bytes_max(&leaf, group.rows_max as u64))
                            .and_then(|(text, plain)| text.checked_add(plain));
                        (bytes, Filling::Values(group.clone()))
                    }
                };
                bytes.map(|bytes| (vec![Room::new(leaf, bytes, Count::PerRow(1))], filling))
            };
            let Some((rooms, filling)) = slot else { return Ok(false) };
            let source = metadata.columns().get(theirs.start);
            chunks.extend(self.push_slot(index, rooms, filling, source)?);
        }
        let rows = if whole { Rows::Known(group.rows_max) } else { Rows::Of(group) };
        self.groups.push(FileGroup { rows, chunks });
        Ok(true)
    }

    /// Adds chunks of a column that a file does not have: its default in every row.
    fn add_default(&mut self, index: usize, group: &Arc<Group>, chunks: &mut Vec<FileChunk>) -> Result<()> {
        if group.is_whole() {
            let encoded = self.default_of(index, group.rows_max)?;
            return self.add_encoded(index, &encoded, chunks);
        }
        // The values of one row, and runs of how many rows have them.
        let encoded = self.default_of(index, 1)?;
        let all_null = self.columns[index].0.default.is_none();
        let descriptor = self.descriptor.clone();
        let leaves = self.leaves[index].clone().map(|leaf| descriptor.column(leaf));
        let rooms = leaves.clone().zip(encoded.iter());
        let rooms = rooms.map(|(leaf, one)| Room::of_default(leaf, one, group.rows_max as u64, all_null));
        let slots = self.push_slot(index, rooms.collect(), Filling::Default(group.clone()), None)?;
        for ((leaf, one), slot) in leaves.zip(encoded.iter()).zip(slots) {
            let from = one.chunk.byte_range().0;
            let start = slot.metadata.data_page_offset() as u64;
            let metadata = moved(&one.chunk, leaf, from, start, false)?
                .into_builder()
                .set_num_values(slot.metadata.num_values())
                .set_total_compressed_size(slot.metadata.compressed_size())
                .set_total_uncompressed_size(slot.metadata.uncompressed_size());
            let metadata = metadata.build().map_err(parquet_error)?;
            chunks.push(FileChunk { metadata, values: slot.values });
        }
        Ok(())
    }

    /// A column's default in so many rows, as chunks.
    fn default_of(&mut self, index: usize, rows: usize) -> Result<Arc<Vec<Encoded>>> {
        if let Some(encoded) = self.defaults.get(&(index, rows)) {
            return Ok(encoded.clone());
        }
        let (column, field) = &self.columns[index];
        let encoded = Arc::new(encode_default(column, field, rows)?);
        self.defaults.insert((index, rows), encoded.clone());
        Ok(encoded)
    }

    fn add_encoded(&mut self, index: usize, encoded: &[Encoded], chunks: &mut Vec<FileChunk>) -> Result<()> {
        for (leaf, Encoded { bytes, chunk }) in self.leaves[index].clone().zip(encoded) {
            let (offset, _) = chunk.byte_range();
            let start = self.push(bytes.len() as u64, Source::Bytes(bytes.clone()));
            let metadata = moved(chunk, self.descriptor.column(leaf), offset, start, false)?;
            chunks.push(FileChunk { metadata, values: Values::Told });
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
            let leaves = self.leaves[index].clone().map(|leaf| self.descriptor.column(leaf));
            let sums = LeafSums::of(&values, leaves.len());
            let rooms = leaves.zip(sums).map(|(leaf, sums)| Room::of_values(leaf, sums, field.data_type()));
            let rooms = rooms.collect::<Option<Vec<Room>>>().ok_or_else(|| {
                Error::invalid(format!("column '{}' is too long for a Parquet file", field.name()))
            })?;
            chunks.extend(self.push_slot(index, rooms, Filling::Rows(values), None)?);
        }
        self.groups.push(FileGroup { rows: Rows::Known(rows), chunks });
        Ok(())
    }

    /// Leaves out the statistics of columns of which a row group has none: there are readers (DataFusion 55) that take those
    /// of some row groups for those of all.
    fn leave_out_statistics(&mut self) -> Result<()> {
        for leaf in 0..self.descriptor.num_columns() {
            let chunks = || self.groups.iter().filter_map(|group| group.chunks.get(leaf));
            if chunks().all(|chunk| chunk.metadata.statistics().is_some()) {
                continue;
            }
            for group in &mut self.groups {
                if let Some(FileChunk { metadata, .. }) = group.chunks.get_mut(leaf) {
                    let without = metadata.clone().into_builder().clear_statistics();
                    *metadata = without.build().map_err(parquet_error)?;
                }
            }
        }
        Ok(())
    }

    fn layout_number(&mut self, schema: &TableSchema) -> u64 {
        self.layout.update(&super::super::schema_digest(schema));
        let digest = self.layout.finalize();
        u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes")).max(1)
    }
}

/// Where the pages of a chunk lie, and how long a slot is at most that has those as they are which are shown whole; none
/// where too few are.
fn pages_copied(
    group: &Group,
    details: &GroupDetails,
    leaf: usize,
    chunk: &ColumnChunkMetaData,
    descriptor: &ColumnDescPtr,
) -> Option<(u64, ChunkPages)> {
    let lengths = details.page_bytes_of(leaf).filter(|pages| pages.len() == group.pages.len())?;
    let possible = group.pages.iter().filter(|shown| **shown != Shown::Nothing).count();
    let whole = group.pages.iter().filter(|shown| **shown == Shown::All).count();
    if whole * PAGES_COPIED_MIN < possible {
        return None;
    }
    let (start, length) = chunk.byte_range();
    let first = u64::try_from(chunk.data_page_offset()).ok()?;
    let mut pages = Vec::with_capacity(lengths.len());
    let mut end = first;
    for length in lengths {
        pages.push(end..end + u64::from(*length));
        end += u64::from(*length);
    }
    if first < start || end > start + length {
        return None;
    }
    let mut bytes = first - start + text_bytes_max(descriptor, chunk)?;
    let mut run = 0;
    for (shown, page) in group.pages.iter().zip(&pages) {
        if let Shown::Some(rows) = shown {
            run += u64::from(*rows);
            continue;
        }
        if run > 0 {
            bytes += plain_bytes_max(descriptor, run)?;
        }
        run = 0;
        bytes += if *shown == Shown::All { page.end - page.start } else { 0 };
    }
    if run > 0 {
        bytes += plain_bytes_max(descriptor, run)?;
    }
    Some((bytes, ChunkPages { dictionary: start..first, pages }))
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

/// The columns as the file has them: all may be null, as data files have them.
fn file_schema(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|column| {
        let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), column.id.to_string())];
        Field::new(&column.name, file_type(&column.column_type.to_arrow()), true).with_metadata(id.into())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
