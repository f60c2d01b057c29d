//! Reads a data file: its extents, its row versions, the keys of a row group.

use super::bloom;
use super::chunk::{Chunk, Chunks};
use super::data_writer::{
    BEGIN_FIELD_ID, END_FIELD_ID, ROW_ID_FIELD_ID, has_null, parquet_error, reader_error,
};
use super::index_block::{GroupExtent, IndexBlock};
use super::verified::VerifiedFile;
use crate::adapt::{adapt, batch_of};
use crate::counting::Counts;
use crate::error::{Error, Result};
use crate::files::{hex, io_error, open_named};
use crate::layout::Layout;
use crate::manifest::DataFileRecord;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, UInt64Type};
use asof_mvcc::{Column, ColumnType, Keys, Version};
use asof_wal::Disk;
use bytes::Bytes;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use std::ops::Range;
use std::sync::Arc;

/// The longest tail that is read: 1 GiB.
const TAIL_BYTES_MAX: u64 = 1 << 30;
const BATCH_ROWS: usize = 8_192;
/// Bytes that verification reads at a time, a multiple of the block size.
const VERIFY_BYTES: u64 = 1 << 20;

/// An open data file.
#[derive(Debug)]
pub struct DataFile {
    /// What the manifest says of it.
    pub record: DataFileRecord,
    /// Its row groups.
    pub groups: Vec<GroupExtent>,
    /// The position of each row group's first row.
    group_starts: Vec<u32>,
    reader: VerifiedFile,
    metadata: ArrowReaderMetadata,
    /// The file's columns by field id, internal ones included.
    columns: Vec<Column>,
    name: String,
    counts: Arc<Counts>,
}

/// What to read of the rows.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The columns to give, in order.
    pub columns: Arc<[Column]>,
    /// Their Arrow schema.
    pub schema: SchemaRef,
    /// The key columns in key order; empty for a table without key.
    pub key: Arc<[Column]>,
}

/// Which rows of a row group to read: positions within it, or all.
pub type GroupRows = (usize, Option<Vec<u32>>);

/// Tells whether a row version with this begin and end is wanted.
pub type LifeFilter = Arc<dyn Fn(Version, Version) -> bool + Send + Sync>;

impl DataFile {
    /// Opens a file and verifies its tail: index block, page index and footer.
    pub fn open(
        disk: &dyn Disk,
        layout: &Layout,
        record: &DataFileRecord,
        counts: Arc<Counts>,
    ) -> Result<DataFile> {
        let path = layout.data(record.table, record.id);
        let name = path.display().to_string();
        let fail = |error| io_error("read", &path, error);
        let file = open_named(disk, &path)?;
        let found = file.len().map_err(fail)?;
        if found != record.bytes || record.tail_offset > found || found - record.tail_offset > TAIL_BYTES_MAX
        {
            return Err(Error::corrupt(format!(
                "{name} is damaged: expected {} bytes, found {found}; run 'asof verify'",
                record.bytes
            )));
        }
        let mut tail = vec![0; (found - record.tail_offset) as usize];
        file.read_exact_at(&mut tail, record.tail_offset).map_err(fail)?;
        let crc = super::index_block::block_crc(record.id, u64::MAX, &tail);
        if crc != record.tail_crc {
            return Err(Error::corrupt(format!(
                "{name} is damaged at offset {}: expected checksum {:08x}, found {crc:08x}; run 'asof verify'",
                record.tail_offset, record.tail_crc
            )));
        }
        let mut index = IndexBlock::decode(&tail, &name)?;
        if let Some(version) = record.loaded_at {
            // Written before its version was known.
            index.groups.iter_mut().for_each(|group| {
                (group.min_begin, group.max_begin) = (version, version);
            });
        }
        let mut next = 0u32;
        let mut group_starts = Vec::with_capacity(index.groups.len());
        for group in &index.groups {
            let filter_end = group.filter_offset.checked_add(group.filter_bytes as u64);
            if filter_end.is_none_or(|end| end > record.tail_offset) {
                return Err(Error::corrupt(format!("{name} claims a filter that lies outside of it")));
            }
            group_starts.push(next);
            next = next
                .checked_add(group.rows)
                .ok_or_else(|| Error::corrupt(format!("{name} claims more than {} rows", u32::MAX)))?;
        }
        let tail = Bytes::from(tail);
        let reader = VerifiedFile::new(
            file,
            record.id,
            name.clone(),
            index.blocks,
            tail,
            record.tail_offset,
            counts.clone(),
        );
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata =
            ArrowReaderMetadata::load(&reader, options).map_err(|error| parquet_error(error).at(&name))?;
        let columns = metadata
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY).and_then(|id| id.parse().ok());
                let id =
                    id.ok_or_else(|| Error::corrupt(format!("{name}: column {} has no id", field.name())))?;
                Ok(Column {
                    id,
                    ..Column::new(field.name().clone(), ColumnType::from_arrow(field.data_type())?)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = metadata.metadata().row_groups().iter().map(|group| group.num_rows());
        if !rows.eq(index.groups.iter().map(|group| group.rows as i64)) {
            return Err(Error::corrupt(format!("{name}: index block and footer differ in their row groups")));
        }
        Ok(DataFile {
            record: record.clone(),
            groups: index.groups,
            group_starts,
            reader,
            metadata,
            columns,
            name,
            counts,
        })
    }

    /// The position of a row group's first row.
    pub fn group_start(&self, group: usize) -> u32 {
        self.group_starts[group]
    }

    /// The runs: row groups in which keys ascend from one to the next.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let starts = (0..self.groups.len()).filter(|group| *group == 0 || self.groups[*group].starts_run);
        let mut starts = starts.peekable();
        std::iter::from_fn(move || {
            let start = starts.next()?;
            Some(start..starts.peek().copied().unwrap_or(self.groups.len()))
        })
    }

    /// Whether the filter of a row group allows that it holds a key; reads one block of the file.
    pub fn filter_allows(&self, group: usize, key: &[u8]) -> Result<bool> {
        let extent = &self.groups[group];
        if extent.filter_bytes == 0 {
            return Ok(true);
        }
        let hash = bloom::hash(key);
        let offset = bloom::offset_of(hash, extent.filter_bytes as usize).ok_or_else(|| {
            Error::corrupt(format!("{} has a filter of {} bytes", self.name, extent.filter_bytes))
        })?;
        let block = self.reader.read(extent.filter_offset + offset as u64, bloom::BLOCK_BYTES);
        let block = block.map_err(|error| parquet_error(ParquetError::External(Box::new(error))))?;
        Ok(bloom::may_hold(&block, hash))
    }

    /// The rows of a row group among which a key must be: those of a page, or of some where it has many versions.
    #[allow(dead_code, reason = "lookups by page come next")]
    pub fn rows_with_key(&self, group: usize, key: &[u8]) -> Range<u32> {
        let extent = &self.groups[group];
        let fences = &extent.fences;
        if fences.is_empty() {
            return 0..extent.rows;
        }
        // Rows of the key may begin within the page before the first fence that is the key.
        let first = partition_point(fences, |fence| fence < key).saturating_sub(1) as u32;
        let last = partition_point(fences, |fence| fence <= key) as u32;
        let end = last.saturating_mul(extent.page_rows).min(extent.rows);
        (first * extent.page_rows).min(end)..end
    }

    /// The filter of a row group's keys; empty where there is none.
    pub fn filter(&self, group: usize) -> Result<Bytes> {
        let extent = &self.groups[group];
        if extent.filter_bytes == 0 {
            return Ok(Bytes::new());
        }
        let filter = self.reader.read(extent.filter_offset, extent.filter_bytes as usize);
        filter.map_err(|error| parquet_error(ParquetError::External(Box::new(error))))
    }

    /// What is wrong with what the index block says of a row, if anything: for verification. `filter` is the group's.
    pub fn misplaced(&self, group: usize, filter: &[u8], row: u32, key: &[u8]) -> Option<&'static str> {
        let extent = &self.groups[group];
        let hash = bloom::hash(key);
        let first = row.checked_rem(extent.page_rows) == Some(0);
        if key < &*extent.min_key || key > &*extent.max_key {
            Some("has a key outside of what its row group says")
        } else if first && extent.fences.get((row / extent.page_rows) as usize) != key {
            Some("has another key than its page says")
        } else if !filter.is_empty()
            && !bloom::offset_of(hash, filter.len())
                .and_then(|at| filter.get(at..at + bloom::BLOCK_BYTES))
                .is_some_and(|block| bloom::may_hold(block, hash))
        {
            Some("has a key that the filter of its row group denies")
        } else {
            None
        }
    }

    /// The row groups that may hold a key.
    pub fn groups_with_key<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let may_hold = move |group: &&GroupExtent| &*group.min_key <= key && key <= &*group.max_key;
        self.groups.iter().enumerate().filter(move |(_, group)| may_hold(group)).map(|(index, _)| index)
    }

    fn read_group(&self, ids: &[u32], rows: &GroupRows) -> Result<ParquetRecordBatchReader> {
        let roots =
            self.columns.iter().enumerate().filter(|(_, column)| ids.contains(&column.id)).map(|(i, _)| i);
        let mask = ProjectionMask::roots(self.metadata.metadata().file_metadata().schema_descr(), roots);
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone())
                .with_projection(mask)
                .with_row_groups(vec![rows.0])
                .with_batch_size(BATCH_ROWS);
        if let Some(positions) = &rows.1 {
            builder = builder.with_row_selection(selection_of(positions));
        }
        builder.build().map_err(|error| parquet_error(error).at(&self.name))
    }

    /// Whether the file has a column of the user's.
    pub fn has_column(&self, id: u32) -> bool {
        self.columns.iter().any(|column| column.id == id)
    }

    /// The first rows of the pages of each column of a row group.
    #[cfg(test)]
    pub fn page_starts(&self, group: usize) -> Vec<Vec<i64>> {
        let offsets = &self.metadata.metadata().offset_index().expect("the page index is read")[group];
        let starts = |column: &parquet::file::page_index::offset_index::OffsetIndexMetaData| {
            column.page_locations().iter().map(|page| page.first_row_index).collect()
        };
        offsets.iter().map(starts).collect()
    }

    /// Reads the whole file: every block, then the digest of all.
    pub fn verify_blocks(&self) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        while offset < self.record.bytes {
            let limit =
                if offset < self.record.tail_offset { self.record.tail_offset } else { self.record.bytes };
            let length = (limit - offset).min(VERIFY_BYTES);
            let bytes = self.reader.read(offset, length as usize);
            hasher.update(&bytes.map_err(|error| parquet_error(ParquetError::External(Box::new(error))))?);
            offset += length;
        }
        let found = *hasher.finalize().as_bytes();
        if found != self.record.digest {
            return Err(Error::corrupt(format!(
                "{} is another file than the manifest names: expected digest {}, found {}",
                self.name,
                hex(&self.record.digest),
                hex(&found)
            )));
        }
        Ok(())
    }

    /// The keys of a row group, in order.
    pub fn group_keys(&self, group: usize, key: &[Column]) -> Result<Keys> {
        let ids: Vec<u32> =
            if key.is_empty() { vec![ROW_ID_FIELD_ID] } else { key.iter().map(|column| column.id).collect() };
        let mut keys = Keys::with_capacity(self.groups[group].rows as usize);
        for batch in self.read_group(&ids, &(group, None))? {
            let batch = batch.map_err(|error| reader_error(error).at(&self.name))?;
            self.counts.add_rows_decoded(batch.num_rows() as u64);
            self.keys_of(&batch, key)?.iter().for_each(|key| keys.push(key));
        }
        Ok(keys)
    }

    fn column_of<'a>(&self, batch: &'a RecordBatch, id: u32) -> Result<&'a ArrayRef> {
        let schema = batch.schema();
        let index = schema.fields().iter().position(|field| {
            field.metadata().get(PARQUET_FIELD_ID_META_KEY).is_some_and(|text| text.parse() == Ok(id))
        });
        let column = index.map(|index| batch.column(index));
        column.ok_or_else(|| Error::corrupt(format!("{} has no column with id {id}", self.name)))
    }

    fn keys_of(&self, batch: &RecordBatch, key: &[Column]) -> Result<Keys> {
        if key.is_empty() {
            let ids = self.numbers_of(batch, ROW_ID_FIELD_ID)?;
            return Ok(Keys::of_row_ids(ids.into_iter()));
        }
        let arrays = key.iter().map(|column| Ok((column.name.as_str(), self.column_of(batch, column.id)?)));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Keys::of_columns(&arrays, batch.num_rows())
            .map_err(|error| Error::corrupt(format!("{}: {error}", self.name)))
    }

    fn numbers_of(&self, batch: &RecordBatch, id: u32) -> Result<Vec<u64>> {
        let array = self.column_of(batch, id)?;
        match array.as_primitive_opt::<UInt64Type>() {
            Some(numbers) if !has_null(array) => Ok(numbers.values().to_vec()),
            _ => Err(Error::corrupt(format!("{}: the column with id {id} is not numbers", self.name))),
        }
    }

    /// Row versions of the given row groups that `life` wants, in order. `dead` are rows that died after the file was
    /// written: (position in the file, end), ascending.
    pub fn scan(
        self: &Arc<DataFile>,
        wanted: Wanted,
        groups: Vec<GroupRows>,
        dead: Arc<Vec<(u32, Version)>>,
        life: LifeFilter,
    ) -> Chunks {
        let file = self.clone();
        let mut groups = groups.into_iter();
        let mut current: Option<GroupScan> = None;
        let mut failed = false;
        Box::new(std::iter::from_fn(move || {
            while !failed {
                if let Some(scan) = &mut current {
                    match scan.next_chunk(&file, &wanted, &dead, &life) {
                        Ok(Some(chunk)) if chunk.is_empty() => continue,
                        Ok(Some(chunk)) => return Some(Ok(chunk)),
                        Ok(None) => current = None,
                        Err(error) => {
                            failed = true;
                            return Some(Err(error));
                        }
                    }
                }
                let rows = groups.next()?;
                match GroupScan::new(&file, &wanted, rows) {
                    Ok(scan) => current = Some(scan),
                    Err(error) => {
                        failed = true;
                        return Some(Err(error));
                    }
                }
            }
            None
        }))
    }
}

/// The first key of which `before` does not hold; it holds of those before.
#[allow(dead_code, reason = "lookups by page come next")]
fn partition_point(keys: &Keys, before: impl Fn(&[u8]) -> bool) -> usize {
    let (mut low, mut high) = (0, keys.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if before(keys.get(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn selection_of(positions: &[u32]) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for &position in positions {
        if position > next {
            selectors.push(RowSelector::skip((position - next) as usize));
        }
        match selectors.last_mut() {
            Some(last) if !last.skip => last.row_count += 1,
            _ => selectors.push(RowSelector::select(1)),
        }
        next = position + 1;
    }
    selectors.into()
}

struct GroupScan {
    reader: ParquetRecordBatchReader,
    start: u32,
    positions: Option<Vec<u32>>,
    done: usize,
}

impl GroupScan {
    fn new(file: &DataFile, wanted: &Wanted, rows: GroupRows) -> Result<GroupScan> {
        let mut ids: Vec<u32> =
            wanted.columns.iter().chain(wanted.key.iter()).map(|column| column.id).collect();
        ids.extend([BEGIN_FIELD_ID, END_FIELD_ID]);
        if wanted.key.is_empty() {
            ids.push(ROW_ID_FIELD_ID);
        }
        let reader = file.read_group(&ids, &rows)?;
        Ok(GroupScan { reader, start: file.group_start(rows.0), positions: rows.1, done: 0 })
    }

    fn next_chunk(
        &mut self,
        file: &DataFile,
        wanted: &Wanted,
        dead: &[(u32, Version)],
        life: &LifeFilter,
    ) -> Result<Option<Chunk>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|error| reader_error(error).at(&file.name))?;
        let rows = batch.num_rows();
        file.counts.add_rows_decoded(rows as u64);
        let positions: Vec<u32> = match &self.positions {
            Some(positions) => positions
                .get(self.done..self.done + rows)
                .ok_or_else(|| {
                    Error::corrupt(format!("{}: a row group has more rows than it says", file.name))
                })?
                .iter()
                .map(|position| self.start + position)
                .collect(),
            None => (self.start + self.done as u32..).take(rows).collect(),
        };
        self.done += rows;
        let begins: Vec<Version> = match file.record.loaded_at {
            Some(version) => vec![Version(version); rows],
            None => file.numbers_of(&batch, BEGIN_FIELD_ID)?.into_iter().map(Version).collect(),
        };
        let mut ends: Vec<Version> = match file.record.history {
            true => file.numbers_of(&batch, END_FIELD_ID)?.into_iter().map(Version).collect(),
            false => vec![Version::FOREVER; rows],
        };
        let mut next_dead = dead.partition_point(|(position, _)| Some(position) < positions.first());
        for (end, position) in ends.iter_mut().zip(&positions) {
            while dead.get(next_dead).is_some_and(|(dead, _)| dead < position) {
                next_dead += 1;
            }
            if let Some(&(dead, version)) = dead.get(next_dead)
                && dead == *position
            {
                *end = (*end).min(version);
            }
        }
        let chosen: Vec<bool> = begins.iter().zip(&ends).map(|(&begin, &end)| life(begin, end)).collect();
        let keys = file.keys_of(&batch, &wanted.key)?;
        // Rows that are not wanted go first: under an older schema their values may not fit a narrower type.
        let mut chunk = Chunk { rows: batch, keys, begins, ends, positions };
        if chosen.contains(&false) {
            chunk = filter_chunk(chunk, &chosen)?;
        }
        let from: Vec<Column> = chunk
            .rows
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let id = field
                    .metadata()
                    .get(PARQUET_FIELD_ID_META_KEY)
                    .and_then(|id| id.parse().ok())
                    .unwrap_or(0);
                Column { id, ..Column::new(field.name().clone(), ColumnType::Boolean) }
            })
            .collect();
        chunk.rows =
            adapt(&chunk.rows, &from, &wanted.columns, &wanted.schema).map_err(|e| e.at(&file.name))?;
        Ok(Some(chunk))
    }
}

/// The chosen rows of a chunk.
pub fn filter_chunk(chunk: Chunk, chosen: &[bool]) -> Result<Chunk> {
    let mask = BooleanArray::from(chosen.to_vec());
    let count = mask.true_count();
    let rows = match chunk.rows.num_columns() {
        0 => batch_of(chunk.rows.schema(), Vec::new(), count)?,
        _ => filter_record_batch(&chunk.rows, &mask)?,
    };
    let mut filtered = Chunk {
        rows,
        keys: Keys::with_capacity(count),
        begins: Vec::with_capacity(count),
        ends: Vec::with_capacity(count),
        positions: Vec::new(),
    };
    for row in (0..chosen.len()).filter(|&row| chosen[row]) {
        filtered.keys.push(chunk.keys.get(row));
        filtered.begins.push(chunk.begins[row]);
        filtered.ends.push(chunk.ends[row]);
        if let Some(position) = chunk.positions.get(row) {
            filtered.positions.push(*position);
        }
    }
    Ok(filtered)
}
