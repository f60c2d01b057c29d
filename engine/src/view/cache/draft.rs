//! A file of the cache that is written in pieces, in any order, and gets its name once it is whole.
//!
//! Invariant: nobody sees it by a name before all of it is there; without a name it goes with who writes it, and with
//! their process.

use super::{Checksum, SealedFile, Temporary, ViewCache, ViewKey};
use crate::error::{Error, Result};
use crate::view::restart_points::{Digest, digest_of};
use parking_lot::Mutex;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// A file being written.
pub(in crate::view) struct Draft {
    temporary: Mutex<Temporary>,
    /// Whether it lies where it may get a name.
    has_place: bool,
    file: File,
    sealed: Arc<SealedFile>,
}

impl ViewCache {
    /// A file of so many bytes that take no room before they are written.
    pub(in crate::view) fn draft(&self, size: u64) -> Result<Draft> {
        let (temporary, has_place) = self.temporary()?;
        Draft::new(temporary, has_place, size)
    }

    /// The same in the directory of temporary files, for pieces that the cache's directory has no room for.
    pub(in crate::view) fn overflow(&self, size: u64) -> Result<Draft> {
        Draft::new(Temporary::create(&std::env::temp_dir())?, false, size)
    }

    /// Keeps a draft that is whole under the name of its key, if there is room for it; with a checksum unless its sections
    /// are verified one by one.
    pub(in crate::view) fn keep(&self, key: &ViewKey, draft: &Draft, with_checksum: bool) -> Result<()> {
        let size = draft.sealed.size;
        if !draft.has_place || size > self.bytes_max {
            return Ok(());
        }
        let checksum = match with_checksum {
            true => Some(Checksum { size, hash: draft.sealed.hash(key)? }),
            false => None,
        };
        self.publish(key, &mut draft.temporary.lock(), size, checksum.as_ref());
        Ok(())
    }
}

impl Draft {
    fn new(temporary: Temporary, has_place: bool, size: u64) -> Result<Draft> {
        temporary.file.set_len(size)?;
        let sealed = Arc::new(SealedFile::new(temporary.reader()?, size));
        let file = temporary.file.try_clone()?;
        Ok(Draft { temporary: Mutex::new(temporary), has_place, file, sealed })
    }

    /// Writes a piece; once more after making room where the disk was full.
    pub(in crate::view) fn write_at(&self, cache: &ViewCache, bytes: &[u8], offset: u64) -> Result<()> {
        match self.file.write_all_at(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                cache.make_room(0);
                Ok(self.file.write_all_at(bytes, offset)?)
            }
            written => Ok(written?),
        }
    }

    /// The same file, for reading alone.
    pub(in crate::view) fn sealed(&self) -> &Arc<SealedFile> {
        &self.sealed
    }
}

impl SealedFile {
    /// Reads bytes that lie within the file, which is of a view.
    pub(in crate::view) fn read_exact_at(&self, buf: &mut [u8], offset: u64, key: &ViewKey) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let format = key.format.extension();
                let table = key.table;
                Error::corrupt(format!(
                    "the cached {format} of table {table} was cut while open; open it again"
                ))
            }
            _ => error.into(),
        })
    }

    fn hash(&self, key: &ViewKey) -> Result<blake3::Hash> {
        let (mut hasher, mut at) = (blake3::Hasher::new(), 0);
        let mut buffer = vec![0; CHUNK_BYTES.min(self.size) as usize];
        while at < self.size {
            let count = CHUNK_BYTES.min(self.size - at) as usize;
            self.read_exact_at(&mut buffer[..count], at, key)?;
            hasher.update(&buffer[..count]);
            at += count as u64;
        }
        Ok(hasher.finalize())
    }

    /// What lies from one offset up to another, if it has this digest.
    pub(in crate::view) fn verified(
        &self,
        (start, end): (u64, u64),
        digest: &Digest,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut text = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut text, start)?;
        Ok((digest_of(&text) == *digest).then_some(text))
    }
}
