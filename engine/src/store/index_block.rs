//! The index block of a data file: a checksum for each 16 KiB block of what precedes it, and the extent
//! of each row group. It lies between the last row group and the Parquet footer, where other readers
//! never look. From its start to the end of the file, one checksum in the manifest covers the rest
//! (page index and footer included), so that every byte of the file is covered.

use crate::error::{Error, Result};
use asof_mvcc::FileId;

/// Bytes under one checksum.
pub const BLOCK_BYTES: usize = 16 << 10;
const MAGIC: &[u8; 8] = b"ASOFIDX1";

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
}

/// The index block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexBlock {
    /// CRC-32 of each block.
    pub blocks: Vec<u32>,
    /// Each row group's extent.
    pub groups: Vec<GroupExtent>,
}

/// The checksum of a block, or of the tail (`u64::MAX` as its number): it covers which file and which block it is.
pub fn block_crc(file: FileId, block: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file.to_le_bytes());
    hasher.update(&block.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

impl IndexBlock {
    /// `{magic 8, block bytes u32, block count u32, CRC-32 u32 each, group count u32, groups, length of all this u32}`.
    /// A group is `{rows u32, min begin, max begin, min end, max end u64, min key and max key as length u32 and bytes}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(BLOCK_BYTES as u32).to_le_bytes());
        out.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        for crc in &self.blocks {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        out.extend_from_slice(&(self.groups.len() as u32).to_le_bytes());
        for group in &self.groups {
            out.extend_from_slice(&group.rows.to_le_bytes());
            for value in [group.min_begin, group.max_begin, group.min_end, group.max_end] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            for key in [&group.min_key, &group.max_key] {
                out.extend_from_slice(&(key.len() as u32).to_le_bytes());
                out.extend_from_slice(key);
            }
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

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    fn key(&mut self) -> Option<Vec<u8>> {
        let length = self.u32()? as usize;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn index_block(&mut self) -> Option<IndexBlock> {
        let whole = self.0.len();
        if self.take(8)? != MAGIC || self.u32()? != BLOCK_BYTES as u32 {
            return None;
        }
        let count = self.u32()? as usize;
        let crcs = self.take(count.checked_mul(4)?)?;
        let blocks =
            crcs.chunks_exact(4).map(|crc| u32::from_le_bytes(crc.try_into().expect("four bytes"))).collect();
        let groups = (0..self.u32()?)
            .map(|_| {
                Some(GroupExtent {
                    rows: self.u32()?,
                    min_begin: self.u64()?,
                    max_begin: self.u64()?,
                    min_end: self.u64()?,
                    max_end: self.u64()?,
                    min_key: self.key()?,
                    max_key: self.key()?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let length = self.u32()? as usize;
        (length == whole - self.0.len()).then_some(IndexBlock { blocks, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_refuses_every_cut() {
        let group = GroupExtent {
            rows: 7,
            min_begin: 1,
            max_begin: 9,
            min_end: 10,
            max_end: u64::MAX,
            min_key: b"a".to_vec(),
            max_key: b"zz".to_vec(),
        };
        let block = IndexBlock { blocks: vec![1, 2, 3], groups: vec![group.clone(), group] };
        let bytes = block.encode();
        assert_eq!(IndexBlock::decode(&[&bytes[..], b"page index and footer"].concat(), "f").unwrap(), block);
        for cut in 0..bytes.len() {
            assert!(IndexBlock::decode(&bytes[..cut], "f").is_err(), "cut at {cut}");
        }
    }
}
