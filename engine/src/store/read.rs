//! Reads columns of a data file's row groups, whole or in part: the bytes of what is asked for are read
//! and verified at once, then decoded by pages.

use super::data_file::DataFile;
use super::data_writer::{ROW_ID_FIELD_ID, columns_of, has_null, parquet_error, reader_error};
use super::pages::GroupPages;
use super::verified::{Fetched, VerifiedFile};
use crate::adapt::{adapt, batch_of};
use crate::error::{Error, Result};
use crate::guard::guarded;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef, UInt64Type};
use asof_mvcc::{Column, Keys};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection, RowSelector,
};
use parquet::arrow::parquet_to_arrow_field_levels;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use std::ops::Range;
use std::sync::Arc;

/// Bytes between two things wanted that are read as well, so that both are read at once.
const GAP_BYTES: u64 = 8 << 10;
/// Where more than one row in this many is wanted, all are decoded and the others dropped.
const SPARSE: usize = 3;
/// Of more stretches of rows a mask is as good.
const STRETCHES_MAX: usize = 64;

/// A data file's Parquet metadata, read when a column is first needed.
#[derive(Debug)]
pub struct Footer {
    pub(super) metadata: Arc<ParquetMetaData>,
    /// The columns as Arrow has them.
    schema: SchemaRef,
    /// The file's columns by field id, internal ones included.
    columns: Vec<Column>,
}

impl Footer {
    /// Parses what lies in the tail, which is verified already.
    pub(super) fn read(reader: &VerifiedFile, rows: &[u32], chunks_end: u64) -> Result<Footer> {
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required);
        let load = || ArrowReaderMetadata::load(reader, options).map_err(parquet_error);
        let metadata = guarded(load, undecodable)?;
        let columns = columns_of(metadata.schema())?;
        let (schema, metadata) = (metadata.schema().clone(), metadata.metadata().clone());
        let found = metadata.row_groups().iter().map(|group| group.num_rows());
        if !found.eq(rows.iter().map(|rows| *rows as i64)) {
            return Err(Error::corrupt("index block and footer differ in their row groups"));
        }
        check_places(&metadata, chunks_end)?;
        Ok(Footer { metadata, schema, columns })
    }

    /// Of metadata that were parsed already, of a file with these columns.
    pub(super) fn of_columns(
        metadata: ParquetMetaData,
        columns: &[Column],
        chunks_end: u64,
    ) -> Result<Footer> {
        check_places(&metadata, chunks_end)?;
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.column_type.to_arrow(), column.nullable))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Footer { metadata: Arc::new(metadata), schema, columns: columns.to_vec() })
    }

    /// The metadata of a row group.
    pub fn row_group(&self, place: usize) -> &RowGroupMetaData {
        self.metadata.row_group(place)
    }

    /// How many columns the file has, internal ones included.
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// The column with an id, if the file has it, and its place among the file's columns.
    pub fn column(&self, id: u32) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.id == id)
    }
}

/// The error where the Parquet library panics: checksums were right, and what they cover is not.
pub(super) fn undecodable() -> Error {
    Error::corrupt("the Parquet library cannot decode it; run 'asof verify'")
}

/// Refuses metadata of chunks and pages that do not lie before `chunks_end`: the library takes them for granted.
pub(super) fn check_places(metadata: &ParquetMetaData, chunks_end: u64) -> Result<()> {
    let fits = |offset: i64, bytes: i64| {
        let end =
            u64::try_from(offset).ok().zip(u64::try_from(bytes).ok()).map(|(start, bytes)| start + bytes);
        end.is_some_and(|end| end <= chunks_end)
    };
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let chunk_fits = |chunk: &ColumnChunkMetaData| {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        chunk.data_page_offset() >= 0 && fits(start, chunk.compressed_size())
    };
    let pages = metadata.offset_index().into_iter().flatten().flatten();
    let mut pages = pages.flat_map(|chunk| chunk.page_locations());
    if chunks.clone().all(chunk_fits)
        && pages.all(|page| fits(page.offset, i64::from(page.compressed_page_size)))
    {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "its Parquet metadata have chunks or pages outside of its {chunks_end} bytes of data"
    )))
}

/// Columns of rows of one row group, as the file has them, batch by batch.
pub struct GroupReader {
    reader: Option<ParquetRecordBatchReader>,
    /// The columns read, in the file's order.
    columns: Vec<Column>,
    /// Where all rows are decoded though not all are wanted: which are.
    filter: Option<BooleanBuffer>,
    done: usize,
    /// Rows that are left to give where no column is read.
    left: usize,
    batch_rows: usize,
    /// Rows to come that were counted already.
    counted: usize,
}

impl DataFile {
    /// Reads columns, those that the file has of `ids`, of a row group's rows: all, or those of a mask. As many rows as
    /// `counted` says were read, and counted, for other columns before.
    pub fn read_group(
        &self,
        ids: &[u32],
        group: usize,
        rows: Option<&BooleanBuffer>,
        counted: usize,
        batch_rows: usize,
    ) -> Result<GroupReader> {
        if ids.is_empty() {
            let count = rows.map_or(self.groups[group].rows as usize, BooleanBuffer::count_set_bits);
            return Ok(GroupReader::of_nothing(Vec::new(), count, batch_rows));
        }
        let (footer, place) = self.footer_of(group)?;
        let (roots, columns): (Vec<usize>, Vec<Column>) = footer
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| ids.contains(&column.id))
            .map(|(index, column)| (index, column.clone()))
            .unzip();
        let of_group = self.groups[group].rows as usize;
        let wanted = rows.map_or(of_group, |rows| rows.count_set_bits());
        if roots.is_empty() || wanted == 0 {
            return Ok(GroupReader::of_nothing(columns, wanted, batch_rows));
        }
        let metadata = &*footer.metadata;
        let mask = ProjectionMask::roots(metadata.file_metadata().schema_descr(), roots);
        let selection = rows.filter(|_| wanted * SPARSE < of_group).map(selection_of);
        let filter = rows.filter(|_| selection.is_none() && wanted < of_group).cloned();
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let offsets = metadata.offset_index().and_then(|index| index.get(place));
        for (leaf, chunk) in metadata.row_group(place).columns().iter().enumerate() {
            if !mask.leaf_included(leaf) {
                continue;
            }
            let (start, length) = chunk.byte_range();
            let pages = offsets.and_then(|offsets| offsets.get(leaf)).map(|offsets| offsets.page_locations());
            match (&selection, pages) {
                (Some(selection), Some(pages)) => {
                    let first = pages.first().map_or(start, |page| page.offset.max(0) as u64);
                    if first > start {
                        // The dictionary.
                        ranges.push(start..first);
                    }
                    ranges.extend(selection.scan_ranges(pages));
                }
                _ => ranges.push(start..start + length),
            }
        }
        let source = self.fetch(ranges)?;
        let pages = GroupPages { metadata: footer.metadata.clone(), group: place, source: Arc::new(source) };
        let batch = batch_rows.min(if selection.is_some() { wanted } else { of_group }).max(1);
        let fields = footer.schema.fields();
        let descriptor = metadata.file_metadata().schema_descr();
        let begin = || {
            let levels = parquet_to_arrow_field_levels(descriptor, mask, Some(fields));
            let reader = levels.and_then(|levels| {
                ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, batch, selection)
            });
            reader.map_err(parquet_error)
        };
        let reader = guarded(begin, undecodable).map_err(|error| error.at(self.name()))?;
        Ok(GroupReader { reader: Some(reader), columns, filter, done: 0, left: 0, batch_rows, counted })
    }

    /// Reads ranges of the file, verified, those that lie close together at once.
    fn fetch(&self, mut ranges: Vec<Range<u64>>) -> Result<Fetched> {
        ranges.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                    last.end = last.end.max(range.end);
                }
                _ => merged.push(range),
            }
        }
        Fetched::read(self.reader(), merged)
    }

    /// All of a reader's rows in one batch.
    pub fn read_whole(
        &self,
        ids: &[u32],
        group: usize,
        rows: Option<&BooleanBuffer>,
        counted: usize,
    ) -> Result<(RecordBatch, Vec<Column>)> {
        let mut reader = self.read_group(ids, group, rows, counted, usize::MAX)?;
        let mut batches = Vec::new();
        while let Some(batch) = reader.next_batch(self)? {
            batches.push(batch);
        }
        let batch = match &batches[..] {
            [one] => one.clone(),
            [] => {
                // Nothing selected: an empty batch of the columns' types.
                let (footer, _) = self.footer_of(group)?;
                let fields: Vec<_> = reader
                    .columns
                    .iter()
                    .filter_map(|column| footer.column(column.id))
                    .map(|(index, _)| footer.schema.field(index).clone())
                    .collect();
                RecordBatch::new_empty(Arc::new(Schema::new(fields)))
            }
            more => arrow::compute::concat_batches(&more[0].schema(), more)?,
        };
        Ok((batch, reader.columns))
    }

    fn numbers_of(&self, array: &ArrayRef, id: u32) -> Result<Vec<u64>> {
        match array.as_primitive_opt::<UInt64Type>() {
            Some(numbers) if !has_null(array) => Ok(numbers.values().to_vec()),
            _ => Err(Error::corrupt(format!("{}: the column with id {id} is not numbers", self.name()))),
        }
    }

    /// The lowest and highest value of a column in a row group, or bounds of them, where statistics tell.
    pub fn bounds(&self, group: usize, column: &Column) -> Result<Option<(ArrayRef, ArrayRef)>> {
        let footer = self.footer()?;
        let Some((index, known)) = footer.column(column.id) else { return Ok(None) };
        if known.column_type != column.column_type {
            return Ok(None);
        }
        let schema = &*footer.schema;
        let parquet = footer.metadata.file_metadata().schema_descr();
        let name = schema.field(index).name();
        let Ok(converter) = StatisticsConverter::try_new(name, schema, parquet) else { return Ok(None) };
        let of_group = || std::iter::once(footer.metadata.row_group(group));
        let bounds = converter.row_group_mins(of_group()).and_then(|lowest| {
            let highest = converter.row_group_maxes(of_group())?;
            Ok((lowest, highest))
        });
        let wanted = column.column_type.to_arrow();
        let fits = |bounds: &(ArrayRef, ArrayRef)| {
            [&bounds.0, &bounds.1].iter().all(|bound| bound.data_type() == &wanted && bound.is_valid(0))
        };
        Ok(bounds.ok().filter(fits))
    }

    /// The keys of rows read with their key columns.
    pub fn keys_of(&self, batch: &RecordBatch, columns: &[Column], key: &[Column]) -> Result<Keys> {
        let column_of = |id: u32| {
            let index = columns.iter().position(|column| column.id == id);
            let column = index.and_then(|index| batch.columns().get(index));
            column.ok_or_else(|| Error::corrupt(format!("{} has no column with id {id}", self.name())))
        };
        if key.is_empty() {
            let ids = self.numbers_of(column_of(ROW_ID_FIELD_ID)?, ROW_ID_FIELD_ID)?;
            return Ok(Keys::of_row_ids(ids.into_iter()));
        }
        let arrays = key.iter().map(|column| Ok((column.name.as_str(), column_of(column.id)?)));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Keys::of_columns(&arrays, batch.num_rows())
            .map_err(|error| Error::corrupt(format!("{}: {error}", self.name())))
    }

    /// The keys of some consecutive rows of a row group.
    pub fn keys_within(&self, group: usize, rows: Range<u32>, key: &[Column]) -> Result<Keys> {
        let mask = self.mask_of(group, rows.clone());
        let (batch, columns) = self.read_whole(&key_ids(key), group, mask.as_ref(), 0)?;
        if batch.num_rows() != rows.len() {
            return Err(Error::corrupt(format!("{}: a row group lacks rows", self.name())));
        }
        self.keys_of(&batch, &columns, key)
    }

    /// A mask of some consecutive rows of a row group; none where it is all of them.
    pub fn mask_of(&self, group: usize, rows: Range<u32>) -> Option<BooleanBuffer> {
        let of_group = self.groups[group].rows;
        (rows != (0..of_group)).then(|| {
            let mut mask = arrow::array::BooleanBufferBuilder::new(of_group as usize);
            mask.append_n(rows.start as usize, false);
            mask.append_n(rows.len(), true);
            mask.append_n((of_group - rows.end) as usize, false);
            mask.finish()
        })
    }
}

impl GroupReader {
    fn of_nothing(columns: Vec<Column>, rows: usize, batch_rows: usize) -> GroupReader {
        GroupReader { reader: None, columns, filter: None, done: 0, left: rows, batch_rows, counted: 0 }
    }

    /// The columns read, in the batches' order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next rows that are wanted; batches may be empty.
    pub fn next_batch(&mut self, file: &DataFile) -> Result<Option<RecordBatch>> {
        let Some(reader) = &mut self.reader else {
            let rows = self.left.min(self.batch_rows);
            self.left -= rows;
            let none = Arc::new(arrow::datatypes::Schema::empty());
            return (rows > 0).then(|| batch_of(none, Vec::new(), rows)).transpose();
        };
        let batch = match guarded(|| reader.next().transpose().map_err(reader_error), undecodable) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(None),
            Err(error) => {
                // A library that panicked is not asked again.
                self.reader = None;
                return Err(error.at(file.name()));
            }
        };
        let rows = batch.num_rows();
        let new = rows.saturating_sub(self.counted);
        self.counted -= rows - new;
        file.counts().add_rows_decoded(new as u64);
        let first = self.done;
        self.done += rows;
        match &self.filter {
            None => Ok(Some(batch)),
            Some(filter) if first + rows <= filter.len() => {
                let chosen = BooleanArray::new(filter.slice(first, rows), None);
                Ok(Some(filter_record_batch(&batch, &chosen)?))
            }
            Some(_) => {
                Err(Error::corrupt(format!("{}: a row group has more rows than it says", file.name())))
            }
        }
    }
}

/// The rows of a mask as the Parquet reader wants them: where few stretches are wanted, those.
fn selection_of(rows: &BooleanBuffer) -> RowSelection {
    let mut selectors = Vec::new();
    let mut done = 0;
    for (first, end) in rows.set_slices() {
        if selectors.len() >= STRETCHES_MAX {
            return RowSelection::from_boolean_buffer(rows.clone());
        }
        if first > done {
            selectors.push(RowSelector::skip(first - done));
        }
        selectors.push(RowSelector::select(end - first));
        done = end;
    }
    RowSelection::from(selectors)
}

/// The field ids of the columns that make up keys.
pub fn key_ids(key: &[Column]) -> Vec<u32> {
    match key.is_empty() {
        true => vec![ROW_ID_FIELD_ID],
        false => key.iter().map(|column| column.id).collect(),
    }
}

/// Rows read from a file, as rows of the columns wanted.
pub fn as_wanted(
    file: &DataFile,
    batch: &RecordBatch,
    from: &[Column],
    to: &[Column],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    adapt(batch, from, to, schema).map_err(|error| error.at(file.name()))
}
