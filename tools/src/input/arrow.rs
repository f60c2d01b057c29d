//! Reads the messages of Arrow IPC, as a stream and as a file, and lets the library make arrays of each.
//!
//! Invariant: every length that a message tells (of its metadata, its body, its buffers, and of what these unpack to) is
//! checked against the file before the library sees it, since that asks for as much memory as it is told.

use super::bounds::BoundedFile;
use asof_engine::arrow::array::{ArrayRef, RecordBatch};
use asof_engine::arrow::buffer::{Buffer, MutableBuffer};
use asof_engine::arrow::datatypes::SchemaRef;
use asof_engine::arrow::ipc::convert::fb_to_schema;
use asof_engine::arrow::ipc::reader::{RecordBatchDecoder, read_dictionary};
use asof_engine::arrow::ipc::{self, Block, MessageHeader, root_as_footer, root_as_message};
use asof_engine::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What a file, and no stream, begins and ends with.
pub const FILE_MAGIC: &[u8; 6] = b"ARROW1";
/// Stands before the length of a message's metadata.
const CONTINUATION: [u8; 4] = [0xFF; 4];
/// Length of the footer, and the magic.
const TRAILER_BYTES: u64 = 10;
/// Says of a buffer of a compressed body how long it is unpacked; -1 if it is not compressed.
const PREFIX_BYTES: usize = 8;

/// The batches of a file or a stream.
pub struct ArrowReader {
    file: BoundedFile,
    schema: SchemaRef,
    messages: Messages,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Bytes of memory that each dictionary needs.
    dictionary_bytes: HashMap<i64, u64>,
}

/// The messages to come.
enum Messages {
    /// One after the other, from an offset.
    Stream(u64),
    /// Where the footer says.
    File(VecDeque<Block>),
}

/// A message and where it stands.
struct Framed {
    offset: u64,
    metadata: MutableBuffer,
    /// Where the metadata begins, behind its length.
    start: usize,
    body: Option<(u64, i64)>,
}

impl ArrowReader {
    /// Begins to read a stream.
    pub fn stream(file: BoundedFile) -> Result<ArrowReader> {
        let Some((first, next)) = streamed(&file, 0)? else {
            return Err(file.damaged(0, "there is no schema"));
        };
        let message = first.message(&file)?;
        let Some(schema) = message.header_as_schema() else {
            return Err(file.damaged(0, "the first message is no schema"));
        };
        let schema = checked_schema(&file, 0, schema)?;
        let next = next.checked_add_signed(message.bodyLength()).unwrap_or(u64::MAX);
        Ok(ArrowReader::new(file, schema, Messages::Stream(next)))
    }

    /// Begins to read a file.
    pub fn file(file: BoundedFile) -> Result<ArrowReader> {
        let trailer_offset = file.length().saturating_sub(TRAILER_BYTES);
        let trailer = file.read(trailer_offset, TRAILER_BYTES as i64, "the end of the footer")?;
        let (length, magic) = trailer.split_at(4);
        if magic != FILE_MAGIC {
            return Err(file.damaged(trailer_offset, "there is no footer"));
        }
        let length = i64::from(le_i32(length));
        let Some(offset) = u64::try_from(length).ok().and_then(|length| trailer_offset.checked_sub(length))
        else {
            return Err(file.damaged(
                trailer_offset,
                format_args!("a footer of {length} bytes is longer than the file"),
            ));
        };
        let bytes = file.read(offset, length, "a footer")?;
        let footer = root_as_footer(&bytes)
            .map_err(|error| file.damaged(offset, format_args!("the footer: {error}")))?;
        let Some(schema) = footer.schema() else {
            return Err(file.damaged(offset, "there is no schema in the footer"));
        };
        let schema = checked_schema(&file, offset, schema)?;
        let blocks = footer.dictionaries().into_iter().chain(footer.recordBatches()).flatten().copied();
        let messages = Messages::File(blocks.collect());
        Ok(ArrowReader::new(file, schema, messages))
    }

    fn new(file: BoundedFile, schema: SchemaRef, messages: Messages) -> ArrowReader {
        let (dictionaries, dictionary_bytes) = Default::default();
        ArrowReader { file, schema, messages, dictionaries, dictionary_bytes }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(framed) = self.next_message()? {
            let message = framed.message(&self.file)?;
            let (offset, length) = framed.body.unwrap_or((framed.end(), message.bodyLength()));
            let body = self.file.read(offset, length, "the body of a message")?;
            if let Messages::Stream(next) = &mut self.messages {
                *next = offset + body.len() as u64;
            }
            let damaged = |error: &dyn std::fmt::Display| self.file.damaged(framed.offset, error);
            match message.header_type() {
                MessageHeader::RecordBatch => {
                    let batch = message.header_as_record_batch().ok_or_else(|| damaged(&"no batch"))?;
                    let bytes = self.memory(&batch, offset, &body)?;
                    self.file.check_unpacked(framed.offset, "a batch", bytes)?;
                    let batch = RecordBatchDecoder::try_new(
                        &Buffer::from(body),
                        batch,
                        self.schema.clone(),
                        &self.dictionaries,
                        &message.version(),
                    )
                    .and_then(RecordBatchDecoder::read_record_batch)
                    .map_err(|error| damaged(&error))?;
                    return Ok(Some(batch));
                }
                MessageHeader::DictionaryBatch => {
                    let dictionary =
                        message.header_as_dictionary_batch().ok_or_else(|| damaged(&"no dictionary"))?;
                    let batch = dictionary.data().ok_or_else(|| damaged(&"a dictionary without values"))?;
                    let before = match dictionary.isDelta() {
                        true => self.dictionary_bytes.get(&dictionary.id()).copied().unwrap_or(0),
                        false => 0,
                    };
                    let bytes = before.saturating_add(self.memory(&batch, offset, &body)?);
                    self.dictionary_bytes.insert(dictionary.id(), bytes);
                    let all =
                        self.dictionary_bytes.values().fold(0, |all: u64, &bytes| all.saturating_add(bytes));
                    self.file.check_unpacked(framed.offset, "all dictionaries so far", all)?;
                    read_dictionary(
                        &Buffer::from(body),
                        dictionary,
                        &self.schema,
                        &mut self.dictionaries,
                        &message.version(),
                    )
                    .map_err(|error| self.file.damaged(framed.offset, error))?;
                }
                MessageHeader::NONE if matches!(self.messages, Messages::File(_)) => {}
                other => return Err(damaged(&format_args!("an unexpected message: {other:?}"))),
            }
        }
        Ok(None)
    }

    fn next_message(&mut self) -> Result<Option<Framed>> {
        match &mut self.messages {
            Messages::Stream(offset) => Ok(streamed(&self.file, *offset)?.map(|(framed, _)| framed)),
            Messages::File(blocks) => blocks.pop_front().map(|block| blocked(&self.file, &block)).transpose(),
        }
    }

    /// Bytes of memory that the buffers of a batch need, each of which lies within the body.
    fn memory(&self, batch: &ipc::RecordBatch<'_>, at: u64, body: &[u8]) -> Result<u64> {
        if batch.length() < 0 {
            return Err(self.file.damaged(at, format_args!("a batch of {} rows", batch.length())));
        }
        let mut all = 0u64;
        for buffer in batch.buffers().into_iter().flatten() {
            let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
            let bytes = range.and_then(|(start, length)| body.get(start..start.checked_add(length)?));
            let Some(bytes) = bytes else {
                return Err(self.file.damaged(
                    at,
                    format_args!(
                        "a buffer of {} bytes at byte {} of a body of {}",
                        buffer.length(),
                        buffer.offset(),
                        body.len()
                    ),
                ));
            };
            let mut needed = bytes.len() as u64;
            if batch.compression().is_some() && needed > 0 {
                let buffer_at = at.saturating_add_signed(buffer.offset());
                let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
                    return Err(self.file.damaged(buffer_at, "a compressed buffer without its length"));
                };
                match i64::from_le_bytes(*prefix) {
                    -1 => {}
                    unpacked => {
                        needed = u64::try_from(unpacked).map_err(|_| {
                            self.file
                                .damaged(buffer_at, format_args!("a buffer that unpacks to {unpacked} bytes"))
                        })?;
                    }
                }
            }
            all = all.saturating_add(needed);
        }
        Ok(all)
    }
}

impl Iterator for ArrowReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.next_batch().transpose()
    }
}

impl Framed {
    fn message(&self, file: &BoundedFile) -> Result<ipc::Message<'_>> {
        root_as_message(&self.metadata[self.start..])
            .map_err(|error| file.damaged(self.offset, format_args!("a message: {error}")))
    }

    /// Where the metadata ends, and in a stream the body begins.
    fn end(&self) -> u64 {
        self.offset + self.metadata.len() as u64
    }
}

/// The message at an offset of a stream, if there is one, and where its body begins.
fn streamed(file: &BoundedFile, offset: u64) -> Result<Option<(Framed, u64)>> {
    if offset == file.length() {
        return Ok(None);
    }
    let what = "the length of a message";
    let mut start = 4;
    let mut length = file.read(offset, 4, what)?;
    if length[..] == CONTINUATION {
        length = file.read(offset + 4, 4, what)?;
        start = 8;
    }
    let length = le_i32(&length);
    if length == 0 {
        return Ok(None);
    }
    if length < 0 {
        return Err(file.damaged(offset, format_args!("a message of {length} bytes")));
    }
    let metadata = file.read(offset, i64::from(length) + start as i64, "the metadata of a message")?;
    let framed = Framed { offset, metadata, start, body: None };
    let end = framed.end();
    Ok(Some((framed, end)))
}

/// The message that a block of a file's footer tells of.
fn blocked(file: &BoundedFile, block: &Block) -> Result<Framed> {
    let metadata_length = i64::from(block.metaDataLength());
    let Ok(offset) = u64::try_from(block.offset()) else {
        return Err(file.damaged(0, format_args!("a message at byte {}", block.offset())));
    };
    let metadata = file.read(offset, metadata_length, "the metadata of a message")?;
    let start = if metadata.starts_with(&CONTINUATION) { 8 } else { 4 };
    if metadata.len() < start {
        return Err(file.damaged(offset, format_args!("a message of {metadata_length} bytes")));
    }
    let body = Some((offset + metadata.len() as u64, block.bodyLength()));
    Ok(Framed { offset, metadata, start, body })
}

fn checked_schema(file: &BoundedFile, offset: u64, schema: ipc::Schema<'_>) -> Result<SchemaRef> {
    if !schema.endianness().equals_to_target_endianness() {
        return Err(Error::new(
            asof_engine::ErrorKind::Unsupported,
            file.damaged(offset, "the numbers are big-endian").to_string(),
        ));
    }
    Ok(Arc::new(fb_to_schema(schema)))
}

fn le_i32(bytes: &[u8]) -> i32 {
    bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes))
}
