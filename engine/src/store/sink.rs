//! Takes the bytes of a data file being written, and their digest and checksums on the way.

use super::index_block::block_crc;
use crate::files::io_error;
use asof_mvcc::FileId;
use asof_wal::DiskFile;
use asof_wal::planted::{Bug, planted};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const FLUSH_BYTES: usize = 1 << 20;

/// The file below a Parquet writer.
pub(super) struct Sink {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    id: FileId,
    written: u64,
    pending: Vec<u8>,
    /// Bytes under one checksum.
    pub(super) block_bytes: usize,
    blocks: Vec<u32>,
    hasher: blake3::Hasher,
    /// Where the index block begins, once it does.
    tail_offset: Option<u64>,
    /// Set once one checksum covers all that follows.
    footer: Option<crc32fast::Hasher>,
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
    pub fn new(file: Arc<dyn DiskFile>, path: PathBuf, id: FileId, block_bytes: usize) -> Sink {
        Sink {
            file,
            path,
            id,
            written: 0,
            pending: Vec::new(),
            block_bytes,
            blocks: Vec::new(),
            hasher: blake3::Hasher::new(),
            tail_offset: None,
            footer: None,
        }
    }

    /// An error that names the file: the library above does not.
    fn failed(&self, error: io::Error) -> io::Error {
        io::Error::other(io_error("write", &self.path, error))
    }

    fn write_blocks(&mut self, all: bool) -> io::Result<()> {
        let block_bytes = self.block_bytes;
        let whole = if all { self.pending.len() } else { self.pending.len() / block_bytes * block_bytes };
        if whole == 0 {
            return Ok(());
        }
        let bytes = &self.pending[..whole];
        self.file.write_all_at(bytes, self.written).map_err(|error| self.failed(error))?;
        self.hasher.update(bytes);
        if let Some(crc) = &mut self.footer {
            crc.update(bytes);
        } else if self.tail_offset.is_none() {
            for block in bytes.chunks(block_bytes) {
                self.blocks.push(block_crc(self.id, self.blocks.len() as u64, block));
            }
        }
        self.written += whole as u64;
        self.pending.drain(..whole);
        Ok(())
    }

    /// Ends the checksums by block: gives them, and where the tail begins.
    pub fn begin_tail(&mut self) -> io::Result<(u64, Vec<u32>)> {
        self.write_blocks(true)?;
        self.tail_offset = Some(self.written);
        Ok((self.written, std::mem::take(&mut self.blocks)))
    }

    /// From here on one checksum covers all.
    pub fn begin_footer(&mut self) -> io::Result<()> {
        self.write_blocks(true)?;
        #[cfg(test)]
        if self.footer.is_some() {
            return Ok(());
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.id.to_le_bytes());
        crc.update(&u64::MAX.to_le_bytes());
        self.footer = Some(crc);
        Ok(())
    }

    /// Writes what is left and syncs, as is always due.
    pub fn finish(mut self, sync: bool) -> io::Result<Written> {
        self.write_blocks(true)?;
        if sync && !planted(Bug::DataFileNotSynced) {
            self.file.sync_all().map_err(|error| self.failed(error))?;
        }
        let tail_offset = self.tail_offset.expect("the tail begins before the file ends");
        let crc = self.footer.take().expect("the footer begins before the file ends");
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
