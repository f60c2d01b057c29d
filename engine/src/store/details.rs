//! What a lookup needs to know of a row group, and of none of the others: for each page its first key and
//! between which versions its rows live, where the pages of each column lie, and the Parquet metadata of
//! this row group alone, so that the footer of the whole file is not read for a few rows.

use super::index_block::{GroupExtent, Input, put_bytes};
use super::read::Footer;
use crate::error::{Result, damaged};
use asof_mvcc::{Keys, Version};
use bytes::Bytes;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{
    FileMetaData, OffsetIndexBuilder, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use std::sync::{Arc, OnceLock};

/// Bytes behind the metadata in a footer: their length, and a magic.
const FOOTER_END_BYTES: usize = 8;

/// Between which versions the rows of a page live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageZone {
    /// Lowest begin; 0 in a file loaded by one commit, whose version its record tells.
    pub min_begin: u64,
    /// Highest begin.
    pub max_begin: u64,
    /// Lowest end in a history file, `u64::MAX` in others.
    pub min_end: u64,
    /// Highest end in a history file, `u64::MAX` in others.
    pub max_end: u64,
}

impl PageZone {
    /// Of no rows.
    pub const NONE: PageZone = PageZone { min_begin: u64::MAX, max_begin: 0, min_end: u64::MAX, max_end: 0 };

    /// The same with a row.
    pub fn with(self, begin: u64, end: u64) -> PageZone {
        PageZone {
            min_begin: self.min_begin.min(begin),
            max_begin: self.max_begin.max(begin),
            min_end: self.min_end.min(end),
            max_end: self.max_end.max(end),
        }
    }
}

/// Details of a row group.
#[derive(Debug, Default)]
pub struct GroupDetails {
    /// Between which versions the rows of each page live; empty where that is not known.
    pub zones: Vec<PageZone>,
    /// The first key of each page; none where pages of columns differ.
    pub fences: Keys,
    /// For each leaf, bytes of each page.
    pages: Vec<Vec<u32>>,
    /// Parquet metadata of a file that has this row group alone.
    metadata: Bytes,
    pub(super) footer: OnceLock<Arc<Footer>>,
}

/// Bytes of the pages of column chunks that are about to be written: their headers included, dictionaries not.
pub fn page_bytes(chunks: &[ArrowColumnChunk]) -> Vec<Vec<u32>> {
    let pages = chunks.iter().map(|chunk| {
        let pages = chunk.close().offset_index.iter().flat_map(|index| index.page_locations());
        pages.map(|page| page.compressed_page_size as u32).collect()
    });
    pages.collect()
}

/// The bytes of a row group's details.
pub fn encode(
    zones: &[PageZone],
    fences: &Keys,
    pages: &[Vec<u32>],
    group: &RowGroupMetaData,
) -> ParquetResult<Vec<u8>> {
    let mut out = encode_pages(zones, fences, pages);
    let file = FileMetaData::new(1, group.num_rows(), None, None, group.schema_descr_ptr(), None);
    let metadata = ParquetMetaData::new(file, vec![group.clone()]);
    let before = out.len();
    ParquetMetaDataWriter::new(&mut out, &metadata).finish()?;
    out.truncate((out.len() - FOOTER_END_BYTES).max(before));
    Ok(out)
}

/// What they have before the metadata.
pub fn encode_pages(zones: &[PageZone], fences: &Keys, pages: &[Vec<u32>]) -> Vec<u8> {
    let mut out = Vec::new();
    for zone in zones {
        for value in [zone.min_begin, zone.max_begin, zone.min_end, zone.max_end] {
            out.extend(value.to_le_bytes());
        }
    }
    // The first page's first key is the group's lowest.
    fences.iter().skip(1).for_each(|key| put_bytes(&mut out, key));
    out.extend((pages.len() as u32).to_le_bytes());
    pages.iter().flatten().for_each(|bytes| out.extend(bytes.to_le_bytes()));
    out
}

impl PageZone {
    /// That of all of a row group.
    pub fn of_group(extent: &GroupExtent) -> PageZone {
        let GroupExtent { min_begin, max_begin, min_end, max_end, .. } = *extent;
        PageZone { min_begin, max_begin, min_end, max_end }
    }

    /// Whether a version shows all of the rows, or none; none of the two where their lives must be looked at. Deaths in
    /// ends files are not known here.
    pub fn shown_at(&self, version: Version) -> Option<bool> {
        if self.min_begin > version.0 || self.max_end <= version.0 {
            Some(false)
        } else if self.max_begin <= version.0 && self.min_end > version.0 {
            Some(true)
        } else {
            None
        }
    }
}

impl GroupDetails {
    /// What files of older versions tell.
    pub fn of_fences(fences: Keys) -> GroupDetails {
        GroupDetails { fences, ..GroupDetails::default() }
    }

    /// Decodes the details of a row group, which lie at `offset` of the file.
    pub fn decode(bytes: Bytes, extent: &GroupExtent, offset: u64, file: &str) -> Result<GroupDetails> {
        let mut input = Input(&bytes);
        let parts = input.details(extent);
        let left = input.0.len();
        let (zones, fences, pages) =
            parts.ok_or_else(|| damaged(file, offset, "details of a row group".to_string()))?;
        let metadata = bytes.slice(bytes.len() - left..);
        Ok(GroupDetails { zones, fences, pages, metadata, footer: OnceLock::new() })
    }

    /// Bytes of each page of a leaf, where they are known.
    pub fn page_bytes_of(&self, leaf: usize) -> Option<&[u32]> {
        self.pages.get(leaf).map(Vec::as_slice)
    }

    /// The Parquet metadata of this row group as if it were the file's only one.
    pub fn metadata(&self, extent: &GroupExtent) -> ParquetResult<Option<ParquetMetaData>> {
        if self.metadata.is_empty() {
            return Ok(None);
        }
        let metadata = ParquetMetaDataReader::decode_metadata(&self.metadata)?;
        let fits = |group: &RowGroupMetaData| {
            group.num_rows() == i64::from(extent.rows) && group.num_columns() == self.pages.len()
        };
        if metadata.num_row_groups() != 1 || !fits(metadata.row_group(0)) {
            return Ok(None);
        }
        let indexes = metadata.row_group(0).columns().iter().zip(&self.pages).map(|(chunk, pages)| {
            let mut index = OffsetIndexBuilder::new();
            let (mut offset, mut row) = (chunk.data_page_offset(), 0);
            for bytes in pages {
                let rows = extent.page_rows.min(extent.rows - row);
                row += rows;
                index.append_row_count(i64::from(rows));
                index.append_offset_and_size(offset, i32::try_from(*bytes)?);
                offset = offset.saturating_add(i64::from(*bytes));
            }
            Ok(index.build())
        });
        let indexes = indexes.collect::<ParquetResult<Vec<_>>>()?;
        Ok(Some(metadata.into_builder().set_offset_index(Some(vec![indexes])).build()))
    }
}

impl Input<'_> {
    fn details(&mut self, extent: &GroupExtent) -> Option<(Vec<PageZone>, Keys, Vec<Vec<u32>>)> {
        let pages = extent.pages() as usize;
        let mut zones = Vec::with_capacity(pages.min(self.0.len()));
        for _ in 0..pages {
            let (min_begin, max_begin) = (self.u64()?, self.u64()?);
            zones.push(PageZone { min_begin, max_begin, min_end: self.u64()?, max_end: self.u64()? });
        }
        let mut fences = Keys::default();
        if pages > 0 {
            fences.push(&extent.min_key);
        }
        for _ in 1..pages {
            fences.push(self.bytes()?);
        }
        let mut leaves = Vec::new();
        for _ in 0..self.u32()? {
            let bytes = self.take(pages.checked_mul(4)?)?;
            let bytes = bytes.chunks_exact(4);
            leaves.push(bytes.map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect());
            // So that a claim of many leaves without pages asks for no memory.
            (pages > 0).then_some(())?;
        }
        Some((zones, fences, leaves))
    }
}
