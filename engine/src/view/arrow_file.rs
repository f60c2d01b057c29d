//! A table as an Arrow IPC file whose size is known before it is written: uncompressed, so that readers map it into
//! memory, in record batches of a fixed number of rows.
//!
//! What rows alone tell is exact: how many batches there are, and how long messages and arrays of fixed widths are.
//! Bitmaps of nulls count where there may be nulls, texts and what lies in lists by their bits in the whole table, and
//! each array that is as long as its values with what it takes at most to begin the next one at a multiple of
//! [`ALIGNMENT`]. What the batches leave of that lies behind the mark that ends them and before the footer, as zeros:
//! readers of a stream stop at the mark, and others go by the footer. Invariant: a file has exactly the size that it was
//! told to have, and its rows are those that this was told from, or it is an error.

use super::render::{BATCH_ROWS, Rechunked, Sink};
use super::schema_digest;
use crate::adapt::loose_schema;
use crate::codec::columns::{decode_columns, encode_columns};
use crate::error::{Error, Result};
use crate::text::cell_bytes;
use crate::variable_bits::{variable_bits, variable_bits_max};
use arrow::array::{Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::reader::read_footer_length;
use arrow::ipc::root_as_footer;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use asof_mvcc::TableSchema;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};

/// Arrays begin at multiples of so many bytes.
const ALIGNMENT: u64 = 64;
/// What an array takes at most to be followed by another one.
const PADDING_BYTES_MAX: u64 = ALIGNMENT - 1;
/// A record batch in the footer.
const BLOCK_BYTES: u64 = 24;
/// The mark behind the last message.
const END_BYTES: usize = 8;
/// The footer's length and a magic, behind it.
const TRAILER_BYTES: usize = 10;
const ZEROS: [u8; 4096] = [0; 4096];

fn options() -> Result<IpcWriteOptions> {
    Ok(IpcWriteOptions::try_new(ALIGNMENT as usize, false, arrow::ipc::MetadataVersion::V5)?)
}

/// What metadata tell of the rows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// How many there are.
    pub rows: u64,
    /// What their values take.
    pub values: ToldValues,
}

/// What values take, of what was counted of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldValues {
    /// Their variable bits.
    Bits(u64),
    /// Their bytes as JSON, which variable bits are no more than.
    JsonBytes(u64),
}

/// Schemas of which it is remembered what their messages take.
const SCHEMAS_MAX: usize = 4096;

/// Tells how long Arrow files are; remembers what it has found out about schemas.
#[derive(Debug, Default)]
pub struct ArrowSizes {
    known: Mutex<HashMap<[u8; 16], Messages>>,
}

/// What the schema alone tells of a file.
#[derive(Clone, Copy, Debug)]
struct Messages {
    /// Bytes of a file without rows.
    empty: u64,
    /// Bytes of a record batch's message and its place in the footer, without its arrays: rows and their values do not
    /// change these.
    batch: u64,
}

impl Told {
    /// The same of no rows.
    fn nothing(self) -> Told {
        let values = match self.values {
            ToldValues::Bits(_) => ToldValues::Bits(0),
            ToldValues::JsonBytes(_) => ToldValues::JsonBytes(0),
        };
        Told { rows: 0, values }
    }

    fn add(&mut self, schema: &TableSchema, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for (column, array) in schema.columns.iter().zip(batch.columns()) {
            match &mut self.values {
                ToldValues::Bits(bits) => *bits += variable_bits(array, 0..array.len()),
                ToldValues::JsonBytes(bytes) => *bytes += cell_bytes(column, array, false).1,
            }
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.values {
            ToldValues::Bits(bits) => write!(f, "{} rows with {bits} variable bits", self.rows),
            ToldValues::JsonBytes(bytes) => write!(f, "{} rows with {bytes} bytes as JSON", self.rows),
        }
    }
}

impl ArrowSizes {
    /// Bytes of a file of rows of which this is told: at least as many as it takes.
    pub fn size(&self, schema: &TableSchema, told: Told) -> Result<u64> {
        let (rows, batch_rows) = (told.rows, BATCH_ROWS as u64);
        let bits = match told.values {
            ToldValues::Bits(bits) => bits,
            ToldValues::JsonBytes(bytes) => variable_bits_max(&schema.to_arrow(), bytes),
        };
        let arrays = |rows: u64| {
            let mut arrays = Arrays::default();
            for field in schema.to_arrow().fields() {
                arrays.add(field.data_type(), field.is_nullable(), rows);
            }
            arrays
        };
        let last_rows = rows % batch_rows;
        let (whole, last) = (arrays(batch_rows), arrays(last_rows));
        let mut bytes = (rows / batch_rows).saturating_mul(whole.known + whole.padding_max);
        if last_rows > 0 {
            bytes = bytes.saturating_add(last.known + last.padding_max);
        }
        if rows > 0 {
            bytes = bytes.saturating_add(bits.div_ceil(8));
        }
        let Messages { empty, batch } = self.messages(schema)?;
        let batches = rows.div_ceil(batch_rows).saturating_mul(batch);
        Ok(aligned(bytes).saturating_add(batches).saturating_add(empty))
    }

    fn messages(&self, schema: &TableSchema) -> Result<Messages> {
        let digest = schema_digest(schema);
        if let Some(messages) = self.known.lock().get(&digest) {
            return Ok(*messages);
        }
        let messages = Messages::of(schema)?;
        let mut known = self.known.lock();
        if known.len() >= SCHEMAS_MAX {
            known.clear();
        }
        known.insert(digest, messages);
        Ok(messages)
    }
}

impl Messages {
    /// Found out by writing two small files.
    fn of(schema: &TableSchema) -> Result<Messages> {
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema.to_arrow(), options()?)?;
        writer.finish()?;
        let empty = writer.get_ref().len() as u64;
        // One row, null in every column: what may be null changes no length of a record batch's message.
        let schema = loose_schema(&schema.columns);
        let arrays = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options()?)?;
        writer.write(&RecordBatch::try_new(schema, arrays)?)?;
        writer.finish()?;
        let file = writer.get_ref();
        let unknown = || Error::invalid("an Arrow file of one row has no footer; this is a bug in asof");
        let (before, trailer) = file.split_last_chunk::<TRAILER_BYTES>().ok_or_else(unknown)?;
        let footer = before.len().checked_sub(read_footer_length(*trailer)?).ok_or_else(unknown)?;
        let footer = root_as_footer(&before[footer..]).map_err(|_| unknown())?;
        let message = footer.recordBatches().and_then(|blocks| blocks.iter().next()).ok_or_else(unknown)?;
        let batch = u64::try_from(message.metaDataLength()).map_err(|_| unknown())?;
        Ok(Messages { empty, batch: batch + BLOCK_BYTES })
    }
}

fn aligned(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

/// The arrays of a record batch.
#[derive(Default)]
struct Arrays {
    /// Bytes of those of which rows tell the length.
    known: u64,
    /// Bytes that others take at most beside the bits of their values.
    padding_max: u64,
}

impl Arrays {
    /// Adds those of as many values as there are rows.
    fn add(&mut self, data_type: &DataType, nullable: bool, rows: u64) {
        self.known += if nullable { aligned(rows.div_ceil(8)) } else { 0 };
        match data_type {
            DataType::Boolean => self.known += aligned(rows.div_ceil(8)),
            DataType::Utf8 | DataType::Binary => {
                self.known += aligned(OFFSET_BYTES * (rows + 1));
                self.padding_max += PADDING_BYTES_MAX;
            }
            DataType::List(element) => {
                self.known += aligned(OFFSET_BYTES * (rows + 1));
                self.add_elements(element.data_type());
            }
            DataType::Struct(members) => {
                members.iter().for_each(|member| self.add(member.data_type(), true, rows))
            }
            DataType::FixedSizeBinary(width) => self.known += aligned(*width as u64 * rows),
            other => self.known += aligned(other.primitive_width().unwrap_or(0) as u64 * rows),
        }
    }

    /// Adds those of values in lists. Bits that do not fill their last byte take one more.
    fn add_elements(&mut self, data_type: &DataType) {
        self.padding_max += 1 + PADDING_BYTES_MAX;
        match data_type {
            DataType::Boolean => self.padding_max += 1 + PADDING_BYTES_MAX,
            DataType::Utf8 | DataType::Binary => self.padding_max += OFFSET_BYTES + 2 * PADDING_BYTES_MAX,
            DataType::List(element) => {
                self.padding_max += OFFSET_BYTES + PADDING_BYTES_MAX;
                self.add_elements(element.data_type());
            }
            DataType::Struct(members) => {
                members.iter().for_each(|member| self.add_elements(member.data_type()))
            }
            _ => self.padding_max += PADDING_BYTES_MAX,
        }
    }
}

/// Bytes of where a text or a list begins.
const OFFSET_BYTES: u64 = 4;

/// Writes the rows: those of which this is told, in so many bytes, or, where nothing is told, in as many as it takes.
pub(super) fn write(
    schema: &TableSchema,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    told: Option<(Told, u64)>,
    out: &mut Sink,
) -> Result<()> {
    let arrow_schema: SchemaRef = schema.to_arrow();
    let mut found = told.map(|(told, _)| told.nothing());
    let ending = Ending { out, held: None };
    let mut writer = FileWriter::try_new_with_options(ending, &arrow_schema, options()?)?;
    for batch in Rechunked::new(batches, arrow_schema.clone()) {
        // What lies under nulls would show in the file; a column block has nothing there.
        let batch = batch?;
        let rows = batch.num_rows();
        if let Some(found) = &mut found {
            found.add(schema, &batch);
        }
        writer.write(&decode_columns(&encode_columns(&batch), &arrow_schema, rows)?)?;
    }
    if let Some((told, found)) = told.map(|(told, _)| told).zip(found)
        && told != found
    {
        // Else a sum that is wrong would have a file filled up with zeros without bound.
        return Err(Error::corrupt(format!(
            "rows are not those that sums tell of: expected {told}, found {found}; run 'asof verify'"
        )));
    }
    writer.get_mut().held = Some(Vec::new());
    let Ending { out, held } = writer.into_inner()?;
    let ending = held.unwrap_or_default();
    let (mark, footer) = ending.split_at(END_BYTES.min(ending.len()));
    out.write_all(mark)?;
    if let Some((_, size)) = told {
        let taken = out.bytes() + footer.len() as u64;
        let mut left = size.checked_sub(taken).ok_or_else(|| {
            Error::corrupt(format!(
                "an Arrow file takes {taken} bytes where there is room for {size}; this is a bug in asof"
            ))
        })?;
        while left > 0 {
            let zeros = &ZEROS[..left.min(ZEROS.len() as u64) as usize];
            out.write_all(zeros)?;
            left -= zeros.len() as u64;
        }
    }
    Ok(out.write_all(footer)?)
}

/// Passes on what is written, or holds the end of the file back.
struct Ending<'a, 'b> {
    out: &'a mut Sink<'b>,
    held: Option<Vec<u8>>,
}

impl Write for Ending<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.held {
            Some(held) => held.write(bytes),
            None => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
