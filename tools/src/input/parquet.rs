//! Gives the Parquet library a file's bytes, after a look at the lengths in them that it would take at their word.
//!
//! Invariant: when the library has the footer, its lists are within it; when it has the header of a page, what the page
//! unpacks to is at most what the file may need.

use super::bounds::BoundedFile;
use super::thrift::{Walk, kind};
use asof_engine::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use asof_engine::parquet::errors::{ParquetError, Result as ParquetResult};
use asof_engine::parquet::file::reader::{ChunkReader, Length};
use asof_engine::{Error, Result};
use bytes::Bytes;
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in which the header of a page is looked for at first: it may hold statistics, which can be long.
const PAGE_HEADER_BYTES: u64 = 1 << 10;
/// Bytes that the header of a page has at most.
const PAGE_HEADER_BYTES_MAX: u64 = 16 << 20;
/// Bytes of memory that the library takes for a value of a dictionary, at most, beside its page.
const DICTIONARY_VALUE_BYTES: u64 = 16;

/// The batches of a file.
pub struct ParquetReader {
    checked: Checked,
    batches: ParquetRecordBatchReader,
}

impl ParquetReader {
    /// Begins to read a file, in batches of some rows.
    pub fn new(file: BoundedFile, batch_rows: usize) -> Result<ParquetReader> {
        let checked =
            Checked(Arc::new(Shared { file, has_footer: AtomicBool::new(false), refused: Mutex::new(None) }));
        let begin = || {
            let metadata = ArrowReaderMetadata::load(&checked, ArrowReaderOptions::default())?;
            checked.0.has_footer.store(true, Ordering::Relaxed);
            ParquetRecordBatchReaderBuilder::new_with_metadata(checked.clone(), metadata)
                .with_batch_size(batch_rows)
                .build()
        };
        let batches = begin().map_err(|error: ParquetError| checked.error(&error))?;
        Ok(ParquetReader { checked, batches })
    }

    /// The columns.
    pub fn schema(&self) -> asof_engine::arrow::datatypes::SchemaRef {
        asof_engine::arrow::array::RecordBatchReader::schema(&self.batches)
    }
}

impl Iterator for ParquetReader {
    type Item = Result<asof_engine::arrow::array::RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.batches.next()?.map_err(|error| self.checked.error(&error)))
    }
}

/// The file as the library reads it.
#[derive(Clone)]
struct Checked(Arc<Shared>);

struct Shared {
    file: BoundedFile,
    /// Whether the library is done with the footer and reads pages.
    has_footer: AtomicBool,
    /// Why the library got an error and no bytes.
    refused: Mutex<Option<Error>>,
}

impl Checked {
    /// An error of the library: where we gave the reason for it, that.
    fn error(&self, error: &dyn std::fmt::Display) -> Error {
        let refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.unwrap_or_else(|| self.0.file.failed(error))
    }

    fn refuse(&self, error: Error) -> io::Error {
        let message = error.to_string();
        *self.0.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::new(io::ErrorKind::InvalidData, message)
    }

    /// Looks at the header of a page.
    fn check_page(&self, offset: u64) -> Result<()> {
        let file = &self.0.file;
        let left = file.length().saturating_sub(offset).min(PAGE_HEADER_BYTES_MAX);
        let mut length = left.min(PAGE_HEADER_BYTES);
        loop {
            let bytes = file.read(offset, length as i64, "the header of a page")?;
            if let Some(page) = PageHeader::read(&bytes) {
                file.check_unpacked(offset, "a page", page.unpacked)?;
                let values = page.dictionary_values.saturating_mul(DICTIONARY_VALUE_BYTES);
                return file.check_unpacked(offset, "a dictionary", values);
            }
            if length == left {
                return Err(file.damaged(offset, "the header of a page makes no sense"));
            }
            length = left.min(length * 16);
        }
    }
}

impl Length for Checked {
    fn len(&self) -> u64 {
        self.0.file.length()
    }
}

impl ChunkReader for Checked {
    type T = BufReader<CheckedRead>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let is_page = self.0.has_footer.load(Ordering::Relaxed);
        Ok(BufReader::new(CheckedRead { from: self.clone(), offset: start, to_check: is_page }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let what = if self.0.has_footer.load(Ordering::Relaxed) { "a page" } else { "the footer" };
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let bytes = self.0.file.read_vec(start, length, what).map_err(|error| self.refuse(error))?;
        if !self.0.has_footer.load(Ordering::Relaxed) && !footer_is_sound(&bytes) {
            return Err(self.refuse(self.0.file.damaged(start, "the footer makes no sense")).into());
        }
        Ok(bytes.into())
    }
}

/// Reads from an offset on. The library asks for one at the header of a page, and where it has read that already, but
/// only at a header does it read.
struct CheckedRead {
    from: Checked,
    offset: u64,
    /// Whether a header stands here that nobody looked at.
    to_check: bool,
}

impl Read for CheckedRead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.to_check) {
            self.from.check_page(self.offset).map_err(|error| self.from.refuse(error))?;
        }
        let count = self.from.0.file.read_some(buf, self.offset)?;
        // The library takes an end for as many bytes as it skips, as often as a header tells it to.
        if count == 0 && !buf.is_empty() {
            let error = self.from.0.file.damaged(self.offset, "the header of a page makes no sense");
            return Err(self.from.refuse(error));
        }
        self.offset += count as u64;
        Ok(count)
    }
}

/// Whether every list in the footer, of which the library makes room for as many row groups as one tells, lies within.
fn footer_is_sound(bytes: &[u8]) -> bool {
    Walk::new(bytes)
        .fields(|walk, field, found| {
            let wanted = match field {
                1 => kind::I32,
                3 => kind::I64,
                2 | 4 | 5 => kind::LIST,
                6 => kind::BINARY,
                _ => found,
            };
            if found == wanted { walk.skip(found) } else { None }
        })
        .is_some()
}

/// What is looked at in the header of a page.
#[derive(Default)]
struct PageHeader {
    unpacked: u64,
    dictionary_values: u64,
}

impl PageHeader {
    fn read(bytes: &[u8]) -> Option<PageHeader> {
        let mut header = PageHeader::default();
        Walk::new(bytes).fields(|walk, field, found| match (field, found) {
            (2, kind::I32) => {
                header.unpacked = u64::try_from(walk.signed()?).ok()?;
                Some(())
            }
            (7, kind::STRUCT) => walk.fields(|walk, field, found| match (field, found) {
                (1, kind::I32) => {
                    header.dictionary_values = u64::try_from(walk.signed()?).ok()?;
                    Some(())
                }
                (1, _) => None,
                _ => walk.skip(found),
            }),
            (2 | 7, _) => None,
            _ => walk.skip(found),
        })?;
        Some(header)
    }
}
