//! A data file's bytes, each checked before its first use: blocks by their checksums, which are read and
//! checked piece by piece as they are needed, the footer by the manifest's.

use super::directory::{BLOCK_BYTES, Directory, PIECE_BLOCKS, Part, piece_crc};
use super::index_block::{FIRST_BLOCK_BYTES, block_crc};
use crate::counting::Counts;
use crate::error::{Error, Result, damaged};
use crate::files::read_settled;
use crate::manifest::DataFileRecord;
use asof_mvcc::FileId;
use asof_wal::DiskFile;
use asof_wal::planted::{Bug, planted};
use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use std::cell::Cell;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Gives verified ranges of a data file to the Parquet reader. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifiedFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: Arc<dyn DiskFile>,
    id: FileId,
    name: String,
    /// Bytes under one checksum, before `blocks_end`.
    block_bytes: u64,
    blocks_end: u64,
    /// Checksums of blocks, and how many a piece has: where they lie, and what was read of them.
    pieces: Vec<(Part, OnceLock<Vec<u32>>)>,
    piece_blocks: usize,
    /// From here on one checksum covers all: page index and footer.
    footer_offset: u64,
    footer_crc: u32,
    footer: OnceLock<Bytes>,
    bytes: u64,
    counts: Arc<Counts>,
}

impl VerifiedFile {
    /// A file whose index block has this directory.
    pub fn new(
        file: Arc<dyn DiskFile>,
        record: &DataFileRecord,
        name: String,
        directory: &Directory,
        counts: Arc<Counts>,
    ) -> VerifiedFile {
        let pieces = directory.pieces.iter().map(|piece| (*piece, OnceLock::new())).collect();
        let shared = Shared {
            file,
            id: record.id,
            name,
            block_bytes: BLOCK_BYTES as u64,
            blocks_end: record.tail_offset,
            pieces,
            piece_blocks: PIECE_BLOCKS,
            footer_offset: directory.footer_offset,
            footer_crc: record.tail_crc,
            footer: OnceLock::new(),
            bytes: record.bytes,
            counts,
        };
        VerifiedFile { shared: Arc::new(shared) }
    }

    /// A file of an older version, whose tail (index block and footer) is verified already.
    pub fn of_old_version(
        file: Arc<dyn DiskFile>,
        record: &DataFileRecord,
        name: String,
        blocks: Vec<u32>,
        tail: Bytes,
        counts: Arc<Counts>,
    ) -> VerifiedFile {
        let piece_blocks = blocks.len().max(1);
        let nowhere = Part { offset: record.tail_offset, bytes: 0, crc: 0 };
        let shared = Shared {
            file,
            id: record.id,
            name,
            block_bytes: FIRST_BLOCK_BYTES as u64,
            blocks_end: record.tail_offset,
            pieces: vec![(nowhere, OnceLock::from(blocks))],
            piece_blocks,
            footer_offset: record.tail_offset,
            footer_crc: record.tail_crc,
            footer: OnceLock::from(tail),
            bytes: record.bytes,
            counts,
        };
        VerifiedFile { shared: Arc::new(shared) }
    }

    /// Reads `length` bytes at `start`, verifying every block they touch.
    pub fn read(&self, start: u64, length: usize) -> Result<Bytes> {
        let shared = &*self.shared;
        let end = start.saturating_add(length as u64);
        let past_end = || shared.past_end(&(start..end));
        if start >= shared.footer_offset {
            let footer = self.footer()?;
            let from = (start - shared.footer_offset) as usize;
            return match footer.get(from..from.saturating_add(length)) {
                Some(_) => Ok(footer.slice(from..from + length)),
                None => Err(past_end()),
            };
        }
        if end > shared.blocks_end {
            return Err(past_end());
        }
        let block_bytes = shared.block_bytes;
        let first = start / block_bytes;
        let from = first * block_bytes;
        let to = end.next_multiple_of(block_bytes).min(shared.blocks_end);
        let mut buffer = Lent::of((to - from) as usize);
        shared.read_exact_at(&mut buffer.0, from)?;
        for (number, block) in (first..).zip(buffer.0.chunks(block_bytes as usize)) {
            let expected = self.checksum(number)?;
            let found = block_crc(shared.id, number, block);
            if expected != Some(found) && !planted(Bug::BlockChecksumIgnored) {
                let expected = expected.unwrap_or(0);
                return Err(shared.mismatch(number * block_bytes, expected, found));
            }
        }
        let skip = (start - from) as usize;
        Ok(Bytes::from_owner(buffer).slice(skip..skip + length))
    }

    /// The checksum of a block.
    fn checksum(&self, block: u64) -> Result<Option<u32>> {
        let shared = &*self.shared;
        let (number, nth) = (block as usize / shared.piece_blocks, block as usize % shared.piece_blocks);
        let Some((part, piece)) = shared.pieces.get(number) else { return Ok(None) };
        if let Some(piece) = piece.get() {
            return Ok(piece.get(nth).copied());
        }
        let bytes = self.part(part, |bytes| piece_crc(shared.id, number, bytes))?;
        let crcs = bytes.chunks_exact(4);
        let crcs = crcs.map(|crc| u32::from_le_bytes(crc.try_into().expect("four bytes"))).collect();
        Ok(piece.get_or_init(|| crcs).get(nth).copied())
    }

    /// Reads and verifies something with a checksum of its own.
    pub fn part(&self, part: &Part, crc: impl Fn(&[u8]) -> u32) -> Result<Bytes> {
        let shared = &*self.shared;
        let mut bytes = vec![0; part.bytes as usize];
        shared.read_exact_at(&mut bytes, part.offset)?;
        let found = crc(&bytes);
        if found != part.crc && !planted(Bug::IndexChecksumIgnored) {
            return Err(shared.mismatch(part.offset, part.crc, found));
        }
        Ok(bytes.into())
    }

    /// Page index and footer, verified when first needed.
    fn footer(&self) -> Result<&Bytes> {
        let shared = &*self.shared;
        if let Some(footer) = shared.footer.get() {
            return Ok(footer);
        }
        let mut bytes = vec![0; (shared.bytes - shared.footer_offset) as usize];
        shared.read_exact_at(&mut bytes, shared.footer_offset)?;
        let found = block_crc(shared.id, u64::MAX, &bytes);
        if found != shared.footer_crc && !planted(Bug::IndexChecksumIgnored) {
            return Err(shared.mismatch(shared.footer_offset, shared.footer_crc, found));
        }
        Ok(shared.footer.get_or_init(|| bytes.into()))
    }

    /// Verifies every byte of the file, which `seen` is shown in order.
    pub fn read_all(&self, mut seen: impl FnMut(&[u8])) -> Result<()> {
        const STEP: u64 = 1 << 20;
        let shared = &*self.shared;
        let mut offset = 0;
        while offset < shared.blocks_end {
            let length = (shared.blocks_end - offset).min(STEP);
            seen(&self.read(offset, length as usize)?);
            offset += length;
        }
        // Directory, checksums and details are verified as they are used.
        let mut index = vec![0; (shared.footer_offset - offset) as usize];
        shared.read_exact_at(&mut index, offset)?;
        seen(&index);
        seen(self.footer()?);
        Ok(())
    }
}

impl Shared {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        read_settled(&*self.file, Path::new(&self.name), bytes, offset)
    }

    fn mismatch(&self, offset: u64, expected: u32, found: u32) -> Error {
        damaged(&self.name, offset, format!("checksum {expected:08x}, found {found:08x}"))
    }

    fn past_end(&self, range: &Range<u64>) -> Error {
        Error::corrupt(format!("{} has no bytes {} to {}", self.name, range.start, range.end))
    }
}

impl Length for VerifiedFile {
    fn len(&self) -> u64 {
        self.shared.bytes
    }
}

impl ChunkReader for VerifiedFile {
    type T = VerifiedRead;

    fn get_read(&self, start: u64) -> ParquetResult<VerifiedRead> {
        Ok(VerifiedRead { file: self.clone(), offset: start, buffer: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start < self.shared.blocks_end {
            self.shared.counts.add_pages_decoded(1);
        }
        self.read(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

thread_local! {
    /// A buffer that was read into before: what is given back to the system is cleared again page by page.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The longest buffer that a thread keeps.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Bytes in a buffer that the thread that drops them reads into next.
struct Lent(Vec<u8>);

impl Lent {
    fn of(length: usize) -> Lent {
        let mut buffer = SPARE.take();
        buffer.resize(length, 0);
        Lent(buffer)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.capacity() <= SPARE_BYTES_MAX {
            // A thread that ends keeps nothing.
            let _ = SPARE.try_with(|spare| {
                let kept = spare.take();
                spare.set(if kept.capacity() > buffer.capacity() { kept } else { buffer });
            });
        }
    }
}

/// Reads a verified file from an offset on.
#[derive(Debug)]
pub struct VerifiedRead {
    file: VerifiedFile,
    offset: u64,
    buffer: Bytes,
}

const READ_AHEAD_BYTES: u64 = 64 << 10;

impl Read for VerifiedRead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            let shared = &self.file.shared;
            let limit = if self.offset < shared.blocks_end { shared.blocks_end } else { self.file.len() };
            let length = limit.saturating_sub(self.offset).min(READ_AHEAD_BYTES);
            self.buffer = self.file.read(self.offset, length as usize).map_err(io::Error::other)?;
            self.offset += length;
        }
        let count = out.len().min(self.buffer.len());
        out[..count].copy_from_slice(&self.buffer.split_to(count));
        Ok(count)
    }
}

/// Ranges of a verified file, read at once.
#[derive(Clone, Debug)]
pub struct Fetched {
    file: VerifiedFile,
    /// Where each range begins, ascending, and its bytes.
    ranges: Arc<[(u64, Bytes)]>,
}

impl Fetched {
    /// Reads ranges that ascend and do not overlap.
    pub fn read(file: &VerifiedFile, ranges: Vec<Range<u64>>) -> Result<Fetched> {
        let read = |range: Range<u64>| {
            let limit = file.shared.blocks_end;
            if range.start > range.end || range.end > limit {
                return Err(file.shared.past_end(&range));
            }
            Ok((range.start, file.read(range.start, (range.end - range.start) as usize)?))
        };
        Ok(Fetched { file: file.clone(), ranges: ranges.into_iter().map(read).collect::<Result<_>>()? })
    }

    fn find(&self, start: u64, length: usize) -> Option<Bytes> {
        let index = self.ranges.partition_point(|(first, _)| *first <= start).checked_sub(1)?;
        let (first, bytes) = &self.ranges[index];
        let from = (start - first) as usize;
        let to = from.checked_add(length)?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Fetched {
    type T = VerifiedRead;

    fn get_read(&self, start: u64) -> ParquetResult<VerifiedRead> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self.find(start, length) {
            Some(bytes) => {
                self.file.shared.counts.add_pages_decoded(1);
                Ok(bytes)
            }
            None => self.file.get_bytes(start, length),
        }
    }
}
