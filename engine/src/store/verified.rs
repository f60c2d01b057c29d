//! A data file's bytes, each checked before its first use.

use super::index_block::{BLOCK_BYTES, block_crc};
use crate::counting::Counts;
use asof_mvcc::FileId;
use asof_wal::DiskFile;
use asof_wal::planted::{Bug, planted};
use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

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
    /// Checksums of the blocks before the tail.
    blocks: Vec<u32>,
    /// The index block, page index and footer, already verified.
    tail: Bytes,
    tail_offset: u64,
    counts: Arc<Counts>,
}

impl VerifiedFile {
    /// A file whose tail is verified already.
    pub fn new(
        file: Arc<dyn DiskFile>,
        id: FileId,
        name: String,
        blocks: Vec<u32>,
        tail: Bytes,
        tail_offset: u64,
        counts: Arc<Counts>,
    ) -> VerifiedFile {
        VerifiedFile { shared: Arc::new(Shared { file, id, name, blocks, tail, tail_offset, counts }) }
    }

    /// Reads `length` bytes at `start`, verifying every block they touch.
    pub fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let shared = &*self.shared;
        let end = start.saturating_add(length as u64);
        let past_end = || {
            let message = format!("{} has no bytes {start} to {end}", shared.name);
            io::Error::new(io::ErrorKind::UnexpectedEof, message)
        };
        if start >= shared.tail_offset {
            let from = (start - shared.tail_offset) as usize;
            return match shared.tail.get(from..from + length) {
                Some(_) => Ok(shared.tail.slice(from..from + length)),
                None => Err(past_end()),
            };
        }
        if end > shared.tail_offset {
            return Err(past_end());
        }
        let first = start / BLOCK_BYTES as u64;
        let from = first * BLOCK_BYTES as u64;
        let to = end.next_multiple_of(BLOCK_BYTES as u64).min(shared.tail_offset);
        let mut buffer = vec![0; (to - from) as usize];
        shared.file.read_exact_at(&mut buffer, from)?;
        for (number, block) in (first..).zip(buffer.chunks(BLOCK_BYTES)) {
            let expected = shared.blocks.get(number as usize).copied();
            let found = block_crc(shared.id, number, block);
            if expected != Some(found) && !planted(Bug::BlockChecksumIgnored) {
                let message = format!(
                    "{} is damaged at offset {}: expected checksum {:08x}, found {found:08x}; run 'asof verify'",
                    shared.name,
                    number * BLOCK_BYTES as u64,
                    expected.unwrap_or(0)
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        let skip = (start - from) as usize;
        Ok(Bytes::from(buffer).slice(skip..skip + length))
    }
}

impl Length for VerifiedFile {
    fn len(&self) -> u64 {
        self.shared.tail_offset + self.shared.tail.len() as u64
    }
}

impl ChunkReader for VerifiedFile {
    type T = VerifiedRead;

    fn get_read(&self, start: u64) -> ParquetResult<VerifiedRead> {
        Ok(VerifiedRead { file: self.clone(), offset: start, buffer: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start < self.shared.tail_offset {
            self.shared.counts.add_pages_decoded(1);
        }
        self.read(start, length).map_err(|error| ParquetError::External(Box::new(error)))
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
            let limit = if self.offset < shared.tail_offset { shared.tail_offset } else { self.file.len() };
            let length = limit.saturating_sub(self.offset).min(READ_AHEAD_BYTES);
            self.buffer = self.file.read(self.offset, length as usize)?;
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
    pub fn read(file: &VerifiedFile, ranges: Vec<Range<u64>>) -> io::Result<Fetched> {
        let read = |range: Range<u64>| {
            let limit = file.shared.tail_offset;
            if range.start > range.end || range.end > limit {
                let message = format!("{} has no bytes {} to {}", file.shared.name, range.start, range.end);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            Ok((range.start, file.read(range.start, (range.end - range.start) as usize)?))
        };
        Ok(Fetched { file: file.clone(), ranges: ranges.into_iter().map(read).collect::<io::Result<_>>()? })
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
