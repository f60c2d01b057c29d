//! Takes the bytes of a data file being written, and their digest and checksums on the way.

use super::index_block::{BLOCK_BYTES, block_crc};
use asof_mvcc::FileId;
use asof_wal::DiskFile;
use asof_wal::planted::{Bug, planted};
use std::io::{self, Write};
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const FLUSH_BYTES: usize = 1 << 20;

/// The file below a Parquet writer.
pub(super) struct Sink {
    file: Arc<dyn DiskFile>,
    id: FileId,
    written: u64,
    pending: Vec<u8>,
    blocks: Vec<u32>,
    hasher: blake3::Hasher,
    /// Set once the index block begins: from here one checksum covers all.
    tail: Option<(u64, crc32fast::Hasher)>,
}

/// What a finished file's record says of its bytes.
pub(super) struct Written {
    pub bytes: u64,
    pub tail_offset: u64,
    pub tail_crc: u32,
    pub digest: [u8; 32],
}

impl Sink {
    /// An empty file.
    pub fn new(file: Arc<dyn DiskFile>, id: FileId) -> Sink {
        let hasher = blake3::Hasher::new();
        Sink { file, id, written: 0, pending: Vec::new(), blocks: Vec::new(), hasher, tail: None }
    }

    fn write_blocks(&mut self, all: bool) -> io::Result<()> {
        let whole = if all { self.pending.len() } else { self.pending.len() / BLOCK_BYTES * BLOCK_BYTES };
        if whole == 0 {
            return Ok(());
        }
        let bytes = &self.pending[..whole];
        self.file.write_all_at(bytes, self.written)?;
        self.hasher.update(bytes);
        match &mut self.tail {
            Some((_, crc)) => crc.update(bytes),
            None => {
                for block in bytes.chunks(BLOCK_BYTES) {
                    self.blocks.push(block_crc(self.id, self.blocks.len() as u64, block));
                }
            }
        }
        self.written += whole as u64;
        self.pending.drain(..whole);
        Ok(())
    }

    /// Ends the checksums by block: gives them, and where the tail begins.
    pub fn begin_tail(&mut self) -> io::Result<(u64, Vec<u32>)> {
        self.write_blocks(true)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.id.to_le_bytes());
        crc.update(&u64::MAX.to_le_bytes());
        self.tail = Some((self.written, crc));
        Ok((self.written, std::mem::take(&mut self.blocks)))
    }

    /// Writes what is left and syncs, as is always due.
    pub fn finish(mut self, sync: bool) -> io::Result<Written> {
        self.write_blocks(true)?;
        if sync && !planted(Bug::DataFileNotSynced) {
            self.file.sync_all()?;
        }
        let (tail_offset, crc) = self.tail.take().expect("the tail begins before the file ends");
        let digest = *self.hasher.finalize().as_bytes();
        Ok(Written { bytes: self.written, tail_offset, tail_crc: crc.finalize(), digest })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= FLUSH_BYTES {
            self.write_blocks(false)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_blocks(false)
    }
}
