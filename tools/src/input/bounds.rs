//! Reads parts of a file whose places and lengths the file itself tells, none of which is believed.
//!
//! Invariant: no more memory is asked for than the file has bytes, and what is to be unpacked is at most
//! [`BoundedFile::unpacked_bytes_max`].

use asof_engine::arrow::buffer::MutableBuffer;
use asof_engine::{Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes that any file may unpack to at a time, however small it is.
const UNPACKED_BYTES: u64 = 256 << 20;
/// How often its own length a file may unpack to at a time, beyond that.
const UNPACKED_RATIO: u64 = 64;

/// A file and its length.
pub struct BoundedFile {
    name: String,
    file: File,
    length: u64,
}

impl BoundedFile {
    /// A file, under a name for messages.
    pub fn new(name: &str, file: File) -> Result<BoundedFile> {
        let length = file.metadata()?.len();
        Ok(BoundedFile { name: name.to_string(), file, length })
    }

    /// Its bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes what is needed at a time may unpack to.
    pub fn unpacked_bytes_max(&self) -> u64 {
        self.length.saturating_mul(UNPACKED_RATIO).saturating_add(UNPACKED_BYTES)
    }

    /// An error if so many bytes are too many to unpack at a time.
    pub fn check_unpacked(&self, offset: u64, what: &str, bytes: u64) -> Result<()> {
        if bytes <= self.unpacked_bytes_max() {
            return Ok(());
        }
        let max = self.unpacked_bytes_max();
        let length = self.length;
        Err(self.error(
            offset,
            format_args!(
                "{what} needs {bytes} bytes of memory, and a file of {length} bytes may need {max}; write it again \
                 with fewer rows at a time"
            ),
        ))
    }

    /// The bytes of a part of the file, aligned as arrays want them.
    pub fn read(&self, offset: u64, length: i64, what: &str) -> Result<MutableBuffer> {
        let mut bytes = MutableBuffer::from_len_zeroed(self.part(offset, length, what)?);
        self.fill(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// The bytes of a part of the file.
    pub fn read_vec(&self, offset: u64, length: i64, what: &str) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.part(offset, length, what)?];
        self.fill(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Some bytes from an offset on, none only at the end.
    pub fn read_some(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    /// The length of a part of the file, if there is such a part.
    fn part(&self, offset: u64, length: i64, what: &str) -> Result<usize> {
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if end.is_none_or(|end| end > self.length) {
            let file = self.length;
            return Err(self.damaged(
                offset,
                format_args!("{what} of {length} bytes goes beyond the end of the file, which has {file}"),
            ));
        }
        Ok(length as usize)
    }

    fn fill(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(|error| Error::from(error).at(format_args!("{}: at byte {offset}", self.name)))
    }

    /// An error of what a library made of the file.
    pub fn failed(&self, error: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{}: {error}", self.name))
    }

    /// An error of bytes that make no sense.
    pub fn damaged(&self, offset: u64, message: impl std::fmt::Display) -> Error {
        self.error(offset, format_args!("{message}; the file is damaged or cut off: write or fetch it again"))
    }

    fn error(&self, offset: u64, message: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{}: at byte {offset}: {message}", self.name))
    }
}
