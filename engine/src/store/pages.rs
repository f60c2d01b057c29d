//! Pages of column chunks for the Parquet reader, decompressed here: by one context a thread, where the
//! reader's own way makes two for every column chunk, which costs more than a small chunk's pages do.
//!
//! Invariant: a page is as long as its frame says, and asks for memory only in proportion to its bytes.

use super::verified::Fetched;
use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;
use std::cell::RefCell;
use std::io::Read;
use std::sync::Arc;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

/// No page is longer than this many times its compressed bytes: a block of zstd is at most 128 KiB and takes 4 bytes.
const EXPANSION_MAX: usize = 1 << 16;

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The pages of one row group that were fetched.
pub struct GroupPages {
    /// The file's metadata.
    pub metadata: Arc<ParquetMetaData>,
    /// Which row group.
    pub group: usize,
    /// The bytes.
    pub source: Arc<Fetched>,
}

impl RowGroups for GroupPages {
    fn num_rows(&self) -> usize {
        self.metadata.row_group(self.group).num_rows() as usize
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let group = self.metadata.row_group(self.group);
        let chunk = group.column(leaf);
        let packed = matches!(chunk.compression(), Compression::ZSTD(_));
        let chunk = match packed {
            true => chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?,
            false => chunk.clone(),
        };
        let pages =
            SerializedPageReader::new(self.source.clone(), &chunk, self.num_rows(), self.pages(leaf))?;
        Ok(Box::new(OneChunk(Some(ChunkPages { pages, packed }))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

impl GroupPages {
    /// Where a leaf's pages lie.
    fn pages(&self, leaf: usize) -> Option<Vec<PageLocation>> {
        let pages = self.metadata.offset_index()?.get(self.group)?.get(leaf)?.page_locations();
        Some(pages.clone())
    }
}

/// The one column chunk of a row group.
struct OneChunk(Option<ChunkPages>);

impl Iterator for OneChunk {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

/// Pages of a column chunk. Where they are packed, `pages` takes them for pages that are not.
struct ChunkPages {
    pages: SerializedPageReader<Fetched>,
    packed: bool,
}

impl Iterator for ChunkPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let mut page = self.pages.get_next_page()?;
        if self.packed {
            match &mut page {
                None => {}
                Some(Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. }) => {
                    *buf = unpack(buf, 0)?;
                }
                Some(Page::DataPageV2 { is_compressed: false, .. }) => {}
                Some(Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. }) => {
                    let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                    *buf = unpack(buf, usize::try_from(levels)?)?;
                }
            }
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.pages.at_record_boundary()
    }
}

/// A page's bytes with what is behind the first `plain` of them decompressed.
fn unpack(page: &Bytes, plain: usize) -> ParquetResult<Bytes> {
    let fail = |what: &str| ParquetError::General(format!("a page that {what}"));
    let (levels, packed) = page.split_at_checked(plain).ok_or_else(|| fail("is shorter than its levels"))?;
    if packed.is_empty() {
        return Ok(page.clone());
    }
    let length = match get_frame_content_size(packed) {
        Ok(Some(length)) => Some(usize::try_from(length)?),
        Ok(None) => None,
        Err(_) => return Err(fail("does not decompress")),
    };
    let most = packed.len().saturating_mul(EXPANSION_MAX);
    let Some(length) = length else {
        let mut bytes = levels.to_vec();
        let decoder = zstd::stream::read::Decoder::with_buffer(packed);
        let read = decoder.and_then(|decoder| decoder.take(most as u64).read_to_end(&mut bytes));
        return read.map(|_| bytes.into()).map_err(|_| fail("does not decompress"));
    };
    if length > most {
        return Err(fail("claims to be longer than its bytes can tell"));
    }
    let unpacked = DECOMPRESSOR.with_borrow_mut(|context| -> std::io::Result<Vec<u8>> {
        let context = match context {
            Some(context) => context,
            None => context.insert(Decompressor::new()?),
        };
        if levels.is_empty() {
            return context.decompress(packed, length);
        }
        let mut bytes = Vec::with_capacity(levels.len() + length);
        bytes.extend_from_slice(levels);
        bytes.extend(context.decompress(packed, length)?);
        Ok(bytes)
    });
    let unpacked = unpacked.map_err(|_| fail("does not decompress"))?;
    if unpacked.len() != plain + length {
        return Err(fail("is of another length than it says"));
    }
    Ok(unpacked.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_unpacked_with_its_levels_as_they_are() {
        let values = vec![7; 100_000];
        for plain in [0, 3] {
            let packed = [&vec![1; plain][..], &zstd::bulk::compress(&values, 3).unwrap()].concat();
            let unpacked = unpack(&packed.into(), plain).unwrap();
            assert_eq!(unpacked, [&vec![1; plain][..], &values].concat());
        }
        // A frame that does not tell its length.
        let streamed = zstd::stream::encode_all(&values[..], 3).unwrap();
        assert!(matches!(get_frame_content_size(&streamed), Ok(None)));
        assert_eq!(unpack(&streamed.into(), 0).unwrap(), values);
    }

    #[test]
    fn a_damaged_page_is_an_error_and_asks_for_no_memory() {
        let packed = zstd::bulk::compress(&[7; 100], 3).unwrap();
        for cut in 0..packed.len() {
            assert!(cut == 0 || unpack(&packed[..cut].to_vec().into(), 0).is_err(), "cut at {cut}");
        }
        assert!(unpack(&packed.clone().into(), packed.len() + 1).is_err());
        // A header that claims 2^62 bytes.
        let claim = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1u64 << 62).to_le_bytes(), &[1, 0, 0]].concat();
        assert!(matches!(get_frame_content_size(&claim), Ok(Some(length)) if length == 1 << 62));
        assert!(unpack(&claim.into(), 0).unwrap_err().to_string().contains("longer"));
    }
}
