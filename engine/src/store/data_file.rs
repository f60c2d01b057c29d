//! An open data file: its extents and runs, and where in it a key may be.

use super::bloom;
use super::data_writer::parquet_error;
use super::index_block::{GroupExtent, IndexBlock};
use super::read::Footer;
use super::verified::VerifiedFile;
use crate::counting::Counts;
use crate::error::{Error, Result};
use crate::files::{hex, io_error, open_named};
use crate::layout::Layout;
use crate::manifest::DataFileRecord;
use arrow::datatypes::SchemaRef;
use asof_mvcc::{Column, Keys};
use asof_wal::Disk;
use bytes::Bytes;
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest tail that is read: 1 GiB.
const TAIL_BYTES_MAX: u64 = 1 << 30;
/// Bytes that verification reads at a time, a multiple of the block size.
const VERIFY_BYTES: u64 = 1 << 20;

/// An open data file. Its Parquet metadata are read when a column is first needed.
#[derive(Debug)]
pub struct DataFile {
    /// What the manifest says of it.
    pub record: DataFileRecord,
    /// Its row groups.
    pub groups: Vec<GroupExtent>,
    /// The position of each row group's first row.
    group_starts: Vec<u32>,
    reader: VerifiedFile,
    footer: Mutex<Option<Arc<Footer>>>,
    /// Row groups whose filter was asked before.
    probed: Vec<AtomicBool>,
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
        let probed = index.groups.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(DataFile {
            record: record.clone(),
            groups: index.groups,
            group_starts,
            reader,
            footer: Mutex::default(),
            probed,
            name,
            counts,
        })
    }

    /// The Parquet metadata.
    pub fn footer(&self) -> Result<Arc<Footer>> {
        let mut footer = self.footer.lock();
        if let Some(footer) = &*footer {
            return Ok(footer.clone());
        }
        let rows: Vec<u32> = self.groups.iter().map(|group| group.rows).collect();
        Ok(footer.insert(Arc::new(Footer::read(&self.reader, &rows, &self.name)?)).clone())
    }

    /// The file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn reader(&self) -> &VerifiedFile {
        &self.reader
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The position of a row group's first row.
    pub fn group_start(&self, group: usize) -> u32 {
        self.group_starts[group]
    }

    /// The positions of a row group's rows.
    pub fn positions(&self, group: usize) -> Range<u64> {
        let start = u64::from(self.group_start(group));
        start..start + u64::from(self.groups[group].rows)
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

    /// Whether this was asked of a row group before.
    pub fn probed_before(&self, group: usize) -> bool {
        self.probed[group].swap(true, Ordering::Relaxed)
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
        } else if !filter.is_empty() && !bloom::allows(filter, hash) {
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

    /// The first rows of the pages of each column of a row group.
    #[cfg(test)]
    pub fn page_starts(&self, group: usize) -> Vec<Vec<i64>> {
        let footer = self.footer().expect("there is a footer");
        let offsets = &footer.metadata.metadata().offset_index().expect("the page index is read")[group];
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
}

/// The first key of which `before` does not hold; it holds of those before.
pub fn partition_point(keys: &Keys, before: impl Fn(&[u8]) -> bool) -> usize {
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
