//! The index block of a data file: a checksum for each block of what precedes it, and for each row group
//! its extent, whether it starts a run, its pages, and where the filter of its keys lies. It lies between
//! the last row group and the Parquet footer, where other readers never look.
//!
//! This is what all versions have in common, and how the first two are read, which one checksum in the
//! manifest covers together with the footer. [`super::directory`] is the third, which is written now.

use crate::error::{Error, Result};
use asof_mvcc::{FileId, Keys};

/// Bytes under one checksum in the first two versions.
pub const FIRST_BLOCK_BYTES: usize = 16 << 10;
/// The first version: extents alone.
const MAGIC_1: &[u8; 8] = b"ASOFIDX1";
/// The second: runs, pages and filters too.
const MAGIC_2: &[u8; 8] = b"ASOFIDX2";
/// The flag of a row group with which a run begins.
pub const STARTS_RUN: u8 = 1;

/// What a row group holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupExtent {
    /// Rows.
    pub rows: u32,
    /// Lowest begin.
    pub min_begin: u64,
    /// Highest begin.
    pub max_begin: u64,
    /// Lowest end in a history file, `u64::MAX` in others.
    pub min_end: u64,
    /// Highest end in a history file, `u64::MAX` in others.
    pub max_end: u64,
    /// Lowest key.
    pub min_key: Vec<u8>,
    /// Highest key.
    pub max_key: Vec<u8>,
    /// Whether keys start anew: else they go on from the group before.
    pub starts_run: bool,
    /// Rows of each page but the last, in every column; 0 where pages of columns differ (the first version).
    pub page_rows: u32,
    /// Where the filter of its keys lies in the file.
    pub filter_offset: u64,
    /// Bytes of the filter; 0 where there is none.
    pub filter_bytes: u32,
}

impl GroupExtent {
    /// How many pages each column has; 0 where pages of columns differ.
    pub fn pages(&self) -> u32 {
        if self.page_rows == 0 { 0 } else { self.rows.div_ceil(self.page_rows) }
    }

    /// Appends its bytes, as all versions but the first have them.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rows.to_le_bytes());
        for value in [self.min_begin, self.max_begin, self.min_end, self.max_end] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        put_bytes(out, &self.min_key);
        put_bytes(out, &self.max_key);
        out.push(if self.starts_run { STARTS_RUN } else { 0 });
        out.extend_from_slice(&self.page_rows.to_le_bytes());
        out.extend_from_slice(&self.filter_offset.to_le_bytes());
        out.extend_from_slice(&self.filter_bytes.to_le_bytes());
    }
}

/// The index block, as the first two versions have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexBlock {
    /// CRC-32 of each block.
    pub blocks: Vec<u32>,
    /// Each row group's extent.
    pub groups: Vec<GroupExtent>,
    /// For each row group the first key of each page; none where pages of columns differ.
    pub fences: Vec<Keys>,
}

/// The checksum of a block, or of the tail (`u64::MAX` as its number): it covers which file and which block it is.
pub fn block_crc(file: FileId, block: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file.to_le_bytes());
    hasher.update(&block.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl IndexBlock {
    /// The bytes of the second version, which is read and no longer written.
    #[cfg(test)]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC_2.to_vec();
        out.extend_from_slice(&(FIRST_BLOCK_BYTES as u32).to_le_bytes());
        out.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        for crc in &self.blocks {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        out.extend_from_slice(&(self.groups.len() as u32).to_le_bytes());
        for (group, fences) in self.groups.iter().zip(&self.fences) {
            group.put(&mut out);
            // The first page's first key is the group's lowest.
            fences.iter().skip(1).for_each(|key| put_bytes(&mut out, key));
        }
        let length = out.len() as u32 + 4;
        out.extend_from_slice(&length.to_le_bytes());
        out
    }

    /// Reads the index block at the front of a data file's tail.
    pub fn decode(tail: &[u8], file: &str) -> Result<IndexBlock> {
        let mut input = Input(tail);
        input
            .index_block()
            .ok_or_else(|| Error::corrupt(format!("{file} has no index block where one should be")))
    }
}

/// Bytes that are taken from the front.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// So many bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A byte.
    pub fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// A number of four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    /// A number of eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn index_block(&mut self) -> Option<IndexBlock> {
        let whole = self.0.len();
        let has_pages = match self.take(8)? {
            magic if magic == MAGIC_2 => true,
            magic if magic == MAGIC_1 => false,
            _ => return None,
        };
        if self.u32()? != FIRST_BLOCK_BYTES as u32 {
            return None;
        }
        let count = self.u32()? as usize;
        let crcs = self.take(count.checked_mul(4)?)?;
        let blocks =
            crcs.chunks_exact(4).map(|crc| u32::from_le_bytes(crc.try_into().expect("four bytes"))).collect();
        let (mut groups, mut fences) = (Vec::new(), Vec::new());
        for index in 0..self.u32()? {
            let (group, keys) = self.group(index == 0, has_pages)?;
            groups.push(group);
            fences.push(keys);
        }
        let length = self.u32()? as usize;
        (length == whole - self.0.len()).then_some(IndexBlock { blocks, groups, fences })
    }

    /// A row group's extent; `has_pages` in all versions but the first.
    pub fn extent(&mut self, first: bool, has_pages: bool) -> Option<GroupExtent> {
        let mut group = GroupExtent {
            rows: self.u32()?,
            min_begin: self.u64()?,
            max_begin: self.u64()?,
            min_end: self.u64()?,
            max_end: self.u64()?,
            min_key: self.bytes()?.to_vec(),
            max_key: self.bytes()?.to_vec(),
            starts_run: first,
            page_rows: 0,
            filter_offset: 0,
            filter_bytes: 0,
        };
        if has_pages {
            group.starts_run = match self.u8()? {
                STARTS_RUN => true,
                0 if !first => false,
                _ => return None,
            };
            group.page_rows = self.u32().filter(|rows| *rows > 0)?;
            group.filter_offset = self.u64()?;
            group.filter_bytes = self.u32()?;
        }
        Some(group)
    }

    fn group(&mut self, first: bool, has_pages: bool) -> Option<(GroupExtent, Keys)> {
        let group = self.extent(first, has_pages)?;
        let mut fences = Keys::default();
        if has_pages && group.rows > 0 {
            fences.push(&group.min_key);
        }
        for _ in 1..group.pages() {
            fences.push(self.bytes()?);
        }
        Some((group, fences))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_refuses_every_cut() {
        let mut fences = Keys::default();
        [&b"a"[..], b"m", b"zz"].iter().for_each(|key| fences.push(key));
        let group = GroupExtent {
            rows: 7,
            min_begin: 1,
            max_begin: 9,
            min_end: 10,
            max_end: u64::MAX,
            min_key: b"a".to_vec(),
            max_key: b"zz".to_vec(),
            starts_run: true,
            page_rows: 3,
            filter_offset: 64,
            filter_bytes: 32,
        };
        let block = IndexBlock {
            blocks: vec![1, 2, 3],
            groups: vec![group.clone(), GroupExtent { starts_run: false, ..group }],
            fences: vec![fences.clone(), fences],
        };
        let bytes = block.encode();
        assert_eq!(IndexBlock::decode(&[&bytes[..], b"page index and footer"].concat(), "f").unwrap(), block);
        for cut in 0..bytes.len() {
            assert!(IndexBlock::decode(&bytes[..cut], "f").is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_claim_of_many_rows_asks_for_no_memory() {
        let group = GroupExtent {
            rows: u32::MAX,
            min_begin: 0,
            max_begin: 0,
            min_end: 0,
            max_end: 0,
            min_key: Vec::new(),
            max_key: Vec::new(),
            starts_run: true,
            page_rows: 1,
            filter_offset: 0,
            filter_bytes: 0,
        };
        let bytes =
            IndexBlock { blocks: Vec::new(), groups: vec![group], fences: vec![Keys::default()] }.encode();
        assert!(IndexBlock::decode(&bytes, "f").is_err());
    }
}
