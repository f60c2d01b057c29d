//! An open data file: its extents and runs, and where in it a key may be.

use super::bloom;
use super::data_writer::parquet_error;
use super::details::{GroupDetails, PageZone};
use super::directory::{self, Directory, Part};
use super::index_block::{GroupExtent, IndexBlock, block_crc};
use super::read::{Footer, undecodable};
use super::verified::VerifiedFile;
use crate::counting::Counts;
use crate::error::{Error, Result, damaged};
use crate::files::{io_error, open_named};
use crate::guard::guarded;
use crate::layout::Layout;
use crate::manifest::DataFileRecord;
use crate::text::hex;
use arrow::datatypes::SchemaRef;
use asof_mvcc::{Column, Keys};
use asof_wal::Disk;
use asof_wal::planted::{Bug, planted};
use bytes::Bytes;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The longest tail that is read: 1 GiB.
const TAIL_BYTES_MAX: u64 = 1 << 30;
/// Bytes that are read of an index block at first: of most files the whole directory.
const HEAD_BYTES: u64 = 8 << 10;
/// Row groups whose own metadata are read; when more are needed, those of the whole file are.
const OWN_FOOTERS_MAX: usize = 4;

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
    pub(super) footer: Mutex<Option<Arc<Footer>>>,
    /// The columns and, for each row group, where its details lie: in files of the newest version.
    columns: Vec<Column>,
    parts: Vec<Part>,
    details: Vec<OnceLock<Arc<GroupDetails>>>,
    own_footers: AtomicUsize,
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

/// More rows than this has no row group: memory is taken for them before they are read.
const GROUP_ROWS_MAX: u32 = 1 << 20;

impl DataFile {
    /// Opens a file and verifies what tells of its row groups: the directory, or all of an older version's tail.
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
        let tail_bytes = found - record.tail_offset;
        let mut head = vec![0; tail_bytes.min(HEAD_BYTES) as usize];
        file.read_exact_at(&mut head, record.tail_offset).map_err(fail)?;
        let length = directory::length(&head).map_or(tail_bytes, |length| length as u64);
        if length > tail_bytes {
            let expected = format!("a directory of at most {tail_bytes} bytes, found {length}");
            return Err(damaged(&name, record.tail_offset, expected));
        }
        let known = head.len();
        head.resize(length as usize, 0);
        if let Some(rest) = head.get_mut(known..).filter(|rest| !rest.is_empty()) {
            file.read_exact_at(rest, record.tail_offset + known as u64).map_err(fail)?;
        }
        let opened = if directory::length(&head).is_some() {
            let directory = Directory::decode(&head, record.id, record.tail_offset, record.bytes, &name)?;
            let reader = VerifiedFile::new(file, record, name.clone(), &directory, counts.clone());
            let details = directory.details.iter().map(|_| OnceLock::new()).collect();
            (reader, directory.groups, directory.columns, directory.details, details)
        } else {
            let crc = block_crc(record.id, u64::MAX, &head);
            if crc != record.tail_crc && !planted(Bug::IndexChecksumIgnored) {
                let expected = format!("checksum {:08x}, found {crc:08x}", record.tail_crc);
                return Err(damaged(&name, record.tail_offset, expected));
            }
            let IndexBlock { blocks, groups, fences } = IndexBlock::decode(&head, &name)?;
            let details = |fences| OnceLock::from(Arc::new(GroupDetails::of_fences(fences)));
            let details = fences.into_iter().map(details).collect();
            let tail = Bytes::from(head);
            let reader =
                VerifiedFile::of_old_version(file, record, name.clone(), blocks, tail, counts.clone());
            (reader, groups, Vec::new(), Vec::new(), details)
        };
        let (reader, mut groups, columns, parts, details) = opened;
        if let Some(version) = record.loaded_at {
            // Written before its version was known.
            groups.iter_mut().for_each(|group| {
                (group.min_begin, group.max_begin) = (version, version);
            });
        }
        let mut next = 0u32;
        let mut group_starts = Vec::with_capacity(groups.len());
        for group in &groups {
            let filter_end = group.filter_offset.checked_add(group.filter_bytes as u64);
            if filter_end.is_none_or(|end| end > record.tail_offset) {
                return Err(Error::corrupt(format!("{name} claims a filter that lies outside of it")));
            }
            if group.rows > GROUP_ROWS_MAX {
                let message = format!("{name} claims a row group of {} rows", group.rows);
                return Err(Error::corrupt(message));
            }
            group_starts.push(next);
            next = next
                .checked_add(group.rows)
                .ok_or_else(|| Error::corrupt(format!("{name} claims more than {} rows", u32::MAX)))?;
        }
        if u64::from(next) != record.rows {
            let message = format!(
                "{name} is another file than the manifest names: expected {} rows, found {next}; run 'asof verify'",
                record.rows
            );
            return Err(Error::corrupt(message));
        }
        let probed = groups.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(DataFile {
            record: record.clone(),
            groups,
            group_starts,
            reader,
            footer: Mutex::default(),
            columns,
            parts,
            details,
            own_footers: AtomicUsize::new(0),
            probed,
            name,
            counts,
        })
    }

    /// What is known of the pages of a row group; read when first needed.
    pub fn details(&self, group: usize) -> Result<&Arc<GroupDetails>> {
        let slot = &self.details[group];
        if let Some(details) = slot.get() {
            return Ok(details);
        }
        let part = &self.parts[group];
        let bytes = self.reader.part(part, |bytes| directory::details_crc(self.record.id, group, bytes));
        let details = GroupDetails::decode(bytes?, &self.groups[group], part.offset, &self.name)?;
        Ok(slot.get_or_init(|| Arc::new(details)))
    }

    /// Parquet metadata that have a row group, and which it is there: its own where few are needed.
    pub(crate) fn footer_of(&self, group: usize) -> Result<(Arc<Footer>, usize)> {
        if let Some(footer) = &*self.footer.lock() {
            return Ok((footer.clone(), group));
        }
        if self.parts.is_empty() {
            return Ok((self.footer()?, group));
        }
        let details = self.details(group)?;
        if let Some(footer) = details.footer.get() {
            return Ok((footer.clone(), 0));
        }
        if self.own_footers.fetch_add(1, Ordering::Relaxed) >= OWN_FOOTERS_MAX {
            return Ok((self.footer()?, group));
        }
        let decode = || details.metadata(&self.groups[group]).map_err(parquet_error);
        let metadata = guarded(decode, undecodable).map_err(|error| error.at(&self.name))?;
        let metadata = metadata.ok_or_else(|| {
            damaged(&self.name, self.parts[group].offset, "metadata of the row group".to_string())
        })?;
        let footer = Footer::of_columns(metadata, &self.columns, self.record.tail_offset);
        let footer = Arc::new(footer.map_err(|error| error.at(&self.name))?);
        Ok((details.footer.get_or_init(|| footer).clone(), 0))
    }

    /// The Parquet metadata.
    pub fn footer(&self) -> Result<Arc<Footer>> {
        let mut footer = self.footer.lock();
        if let Some(footer) = &*footer {
            return Ok(footer.clone());
        }
        let rows: Vec<u32> = self.groups.iter().map(|group| group.rows).collect();
        let read = Footer::read(&self.reader, &rows, self.record.tail_offset);
        Ok(footer.insert(Arc::new(read.map_err(|error| error.at(&self.name))?)).clone())
    }

    /// The file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the file as they lie there, verified.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.reader.read(offset, length)
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
        Ok(bloom::may_hold(&block?, hash))
    }

    /// The rows of a row group among which a key must be: those of a page, or of some where it has many versions.
    pub fn rows_with_key(&self, group: usize, key: &[u8]) -> Result<Range<u32>> {
        let extent = &self.groups[group];
        let fences = &self.details(group)?.fences;
        if fences.is_empty() {
            return Ok(0..extent.rows);
        }
        // Rows of the key may begin within the page before the first fence that is the key.
        let first = partition_point(fences, |fence| fence < key).saturating_sub(1) as u32;
        let last = partition_point(fences, |fence| fence <= key) as u32;
        let end = last.saturating_mul(extent.page_rows).min(extent.rows);
        Ok((first * extent.page_rows).min(end)..end)
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
        self.reader.read(extent.filter_offset, extent.filter_bytes as usize)
    }

    /// What is wrong with what the index block says of a row, if anything: for verification. `filter` is the group's.
    pub fn misplaced(
        &self,
        group: usize,
        filter: &[u8],
        row: u32,
        (key, begin, end): (&[u8], u64, u64),
    ) -> Result<Option<&'static str>> {
        let extent = &self.groups[group];
        let details = self.details(group)?;
        let page = row.checked_div(extent.page_rows).unwrap_or(0) as usize;
        let hash = bloom::hash(key);
        let first = row.checked_rem(extent.page_rows) == Some(0);
        let outside = |zone: &PageZone| {
            let loaded = self.record.loaded_at.is_some();
            let begins = loaded || (zone.min_begin..=zone.max_begin).contains(&begin);
            !begins || !(zone.min_end..=zone.max_end).contains(&end)
        };
        Ok(if key < &*extent.min_key || key > &*extent.max_key {
            Some("has a key outside of what its row group says")
        } else if first && details.fences.get(page) != key {
            Some("has another key than its page says")
        } else if !filter.is_empty() && !bloom::allows(filter, hash) {
            Some("has a key that the filter of its row group denies")
        } else if details.zones.get(page).is_some_and(outside) {
            Some("lives at other versions than its page says")
        } else {
            None
        })
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
        let offsets = &footer.metadata.offset_index().expect("the page index is read")[group];
        let starts = |column: &parquet::file::page_index::offset_index::OffsetIndexMetaData| {
            column.page_locations().iter().map(|page| page.first_row_index).collect()
        };
        offsets.iter().map(starts).collect()
    }

    /// Reads the whole file: every block, then the digest of all.
    pub fn verify_blocks(&self) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        self.reader.read_all(|bytes| {
            hasher.update(bytes);
        })?;
        for group in 0..self.groups.len() {
            self.details(group)?;
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
