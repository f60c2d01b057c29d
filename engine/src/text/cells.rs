//! A column behind its concrete type: writes and measures the cells of an array.
//!
//! The type is matched once an array, and lengths are computed without formatting where that is
//! easy, because whole tables are measured and rendered again and again. Invariant: what
//! [`Cells::csv_bytes`] and [`Cells::json_bytes`] say is exactly what the writers write.

use super::{civil, number};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use asof_mvcc::Unit;

/// An array, ready to be written cell by cell.
pub(crate) struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128], u8),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    FixedBinary(&'a FixedSizeBinaryArray),
    Date(&'a [i32]),
    Time32(&'a [i32], Unit),
    Time64(&'a [i64], Unit),
    Timestamp(&'a [i64], Unit, bool),
    List(&'a [i32], Box<Cells<'a>>),
    /// Members with their JSON names: `"name":`.
    Struct(Vec<(Vec<u8>, Cells<'a>)>),
}

/// What a byte of text costs more than itself: in JSON as an escape, in CSV as a doubled quote or by
/// making the cell quoted.
const BYTE_COSTS: [u8; 256] = byte_costs();
/// JSON's extra bytes.
const JSON_EXTRA: u8 = 0b0000_1111;
/// The byte is a quote.
const CSV_DOUBLED: u8 = 0b0001_0000;
/// The byte makes the cell quoted.
const CSV_QUOTED: u8 = 0b0010_0000;

const fn byte_costs() -> [u8; 256] {
    let mut costs = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        costs[byte] = match byte as u8 {
            b'"' => 1 | CSV_DOUBLED | CSV_QUOTED,
            b',' => CSV_QUOTED,
            b'\n' | b'\r' => 1 | CSV_QUOTED,
            b'\\' | 0x08 | 0x09 | 0x0C => 1,
            0..0x20 => 5,
            _ => 0,
        };
        byte += 1;
    }
    costs
}

impl<'a> Cells<'a> {
    /// The cells of an array. Panics where its type is none that a column may have: arrays are
    /// checked where they come in.
    pub(crate) fn of(array: &'a ArrayRef) -> Cells<'a> {
        macro_rules! primitive {
            ($type:ty) => {
                &array.as_primitive::<$type>().values()[..]
            };
        }
        let values = match array.data_type() {
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 => Values::Int8(primitive!(Int8Type)),
            DataType::Int16 => Values::Int16(primitive!(Int16Type)),
            DataType::Int32 => Values::Int32(primitive!(Int32Type)),
            DataType::Int64 => Values::Int64(primitive!(Int64Type)),
            DataType::UInt8 => Values::UInt8(primitive!(UInt8Type)),
            DataType::UInt16 => Values::UInt16(primitive!(UInt16Type)),
            DataType::UInt32 => Values::UInt32(primitive!(UInt32Type)),
            DataType::UInt64 => Values::UInt64(primitive!(UInt64Type)),
            DataType::Float32 => Values::Float32(primitive!(Float32Type)),
            DataType::Float64 => Values::Float64(primitive!(Float64Type)),
            DataType::Decimal128(_, scale) => Values::Decimal(primitive!(Decimal128Type), *scale as u8),
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::FixedSizeBinary(_) => Values::FixedBinary(array.as_fixed_size_binary()),
            DataType::Date32 => Values::Date(primitive!(Date32Type)),
            DataType::Time32(TimeUnit::Second) => Values::Time32(primitive!(Time32SecondType), Unit::Second),
            DataType::Time32(_) => Values::Time32(primitive!(Time32MillisecondType), Unit::Millisecond),
            DataType::Time64(TimeUnit::Nanosecond) => {
                Values::Time64(primitive!(Time64NanosecondType), Unit::Nanosecond)
            }
            DataType::Time64(_) => Values::Time64(primitive!(Time64MicrosecondType), Unit::Microsecond),
            DataType::Timestamp(unit, zone) => {
                let values = match unit {
                    TimeUnit::Second => primitive!(TimestampSecondType),
                    TimeUnit::Millisecond => primitive!(TimestampMillisecondType),
                    TimeUnit::Microsecond => primitive!(TimestampMicrosecondType),
                    TimeUnit::Nanosecond => primitive!(TimestampNanosecondType),
                };
                Values::Timestamp(values, Unit::from_arrow(*unit), zone.is_some())
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Values::List(list.value_offsets(), Box::new(Cells::of(list.values())))
            }
            DataType::Struct(fields) => Values::Struct(
                fields
                    .iter()
                    .zip(array.as_struct().columns())
                    .map(|(field, member)| (json_name(field.name()), Cells::of(member)))
                    .collect(),
            ),
            other => panic!("arrays of type {other} are refused where they come in"),
        };
        Cells { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0), values }
    }

    /// Whether a cell is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Writes a cell as CSV. In a one-column table NULL is the bare word and the text `NULL` quoted.
    pub(crate) fn write_csv(&self, row: usize, one_column: bool, out: &mut Vec<u8>) {
        if self.is_null(row) {
            if one_column {
                out.extend_from_slice(b"NULL");
            }
            return;
        }
        match &self.values {
            Values::Text(array) => write_csv_text(array.value(row).as_bytes(), one_column, out),
            Values::Binary(array) if array.value(row).is_empty() => out.extend_from_slice(b"\"\""),
            Values::List(..) | Values::Struct(_) => {
                let start = out.len();
                self.write_json(row, out);
                if out[start..].iter().any(|&byte| BYTE_COSTS[usize::from(byte)] & CSV_QUOTED != 0) {
                    let json = out.split_off(start);
                    write_quoted(&json, out);
                }
            }
            _ => self.write_plain(row, out),
        }
    }

    /// Writes a cell as JSON, `null` for NULL.
    pub(crate) fn write_json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match &self.values {
            Values::Text(array) => write_json_text(array.value(row), out),
            Values::List(offsets, elements) => {
                out.push(b'[');
                for (index, element) in (offsets[row]..offsets[row + 1]).enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    elements.write_json(element as usize, out);
                }
                out.push(b']');
            }
            Values::Struct(members) => {
                out.push(b'{');
                for (index, (name, cells)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name);
                    cells.write_json(row, out);
                }
                out.push(b'}');
            }
            _ if self.is_json_text(row) => {
                out.push(b'"');
                self.write_plain(row, out);
                out.push(b'"');
            }
            _ => self.write_plain(row, out),
        }
    }

    /// The text of a cell that is not NULL, without quoting: what people type.
    pub(crate) fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::List(..) | Values::Struct(_) => self.write_json(row, out),
            _ => self.write_plain(row, out),
        }
    }

    /// Whether a scalar other than text stands in quotes in JSON.
    fn is_json_text(&self, row: usize) -> bool {
        match &self.values {
            Values::Binary(_)
            | Values::FixedBinary(_)
            | Values::Date(_)
            | Values::Time32(..)
            | Values::Time64(..)
            | Values::Timestamp(..) => true,
            Values::Float32(values) => !values[row].is_finite(),
            Values::Float64(values) => !values[row].is_finite(),
            _ => false,
        }
    }

    /// Writes a scalar other than text: the form that CSV and JSON share but for quotes.
    fn write_plain(&self, row: usize, out: &mut Vec<u8>) {
        macro_rules! integer {
            ($values:expr) => {
                out.extend_from_slice(itoa::Buffer::new().format($values[row]).as_bytes())
            };
        }
        match &self.values {
            Values::Boolean(array) => {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" })
            }
            Values::Int8(values) => integer!(values),
            Values::Int16(values) => integer!(values),
            Values::Int32(values) => integer!(values),
            Values::Int64(values) => integer!(values),
            Values::UInt8(values) => integer!(values),
            Values::UInt16(values) => integer!(values),
            Values::UInt32(values) => integer!(values),
            Values::UInt64(values) => integer!(values),
            Values::Float32(values) => number::write_float(values[row], out),
            Values::Float64(values) => number::write_double(values[row], out),
            Values::Decimal(values, scale) => number::write_decimal(values[row], *scale, out),
            Values::Binary(array) => write_hex(array.value(row), out),
            Values::FixedBinary(array) => write_hex(array.value(row), out),
            Values::Date(values) => civil::write_date(i64::from(values[row]), out),
            Values::Time32(values, unit) => civil::write_time(i64::from(values[row]), *unit, out),
            Values::Time64(values, unit) => civil::write_time(values[row], *unit, out),
            Values::Timestamp(values, unit, zoned) => civil::write_timestamp(values[row], *unit, *zoned, out),
            Values::Text(_) | Values::List(..) | Values::Struct(_) => {
                unreachable!("text and nested values have writers of their own")
            }
        }
    }

    /// Bytes of a scalar other than text, as [`Cells::write_plain`] writes it.
    fn plain_bytes(&self, row: usize) -> usize {
        match &self.values {
            Values::Boolean(array) => 5 - usize::from(array.value(row)),
            Values::Int8(values) => number::signed_bytes(i64::from(values[row])),
            Values::Int16(values) => number::signed_bytes(i64::from(values[row])),
            Values::Int32(values) => number::signed_bytes(i64::from(values[row])),
            Values::Int64(values) => number::signed_bytes(values[row]),
            Values::UInt8(values) => number::digits(u64::from(values[row])),
            Values::UInt16(values) => number::digits(u64::from(values[row])),
            Values::UInt32(values) => number::digits(u64::from(values[row])),
            Values::UInt64(values) => number::digits(values[row]),
            Values::Float32(values) => {
                let mut out = Vec::with_capacity(24);
                number::write_float(values[row], &mut out);
                out.len()
            }
            Values::Float64(values) => number::format_double(values[row], &mut ryu::Buffer::new()).len(),
            Values::Decimal(values, scale) => number::decimal_bytes(values[row], *scale),
            Values::Binary(array) => 2 * array.value(row).len(),
            Values::FixedBinary(array) => 2 * array.value(row).len(),
            Values::Date(values) => civil::date_bytes(i64::from(values[row])),
            Values::Time32(values, unit) => civil::time_bytes(i64::from(values[row]), *unit),
            Values::Time64(values, unit) => civil::time_bytes(values[row], *unit),
            Values::Timestamp(values, unit, zoned) => civil::timestamp_bytes(values[row], *unit, *zoned),
            Values::Text(_) | Values::List(..) | Values::Struct(_) => {
                unreachable!("text and nested values are measured on their own")
            }
        }
    }

    /// Bytes of a cell as CSV and as JSON. `scratch` is used where measuring needs the text itself.
    pub(crate) fn bytes(&self, row: usize, one_column: bool, scratch: &mut Vec<u8>) -> (usize, usize) {
        if self.is_null(row) {
            return (if one_column { 4 } else { 0 }, 4);
        }
        match &self.values {
            Values::Text(array) => {
                let text = array.value(row).as_bytes();
                let (mut seen, mut escapes, mut doubled) = (0, 0, 0);
                for &byte in text {
                    let cost = BYTE_COSTS[usize::from(byte)];
                    seen |= cost;
                    escapes += usize::from(cost & JSON_EXTRA);
                    doubled += usize::from(cost & CSV_DOUBLED != 0);
                }
                let quoted = seen & CSV_QUOTED != 0 || text.is_empty() || (one_column && text == b"NULL");
                (text.len() + if quoted { 2 + doubled } else { 0 }, text.len() + escapes + 2)
            }
            Values::Binary(array) if array.value(row).is_empty() => (2, 2),
            Values::List(..) | Values::Struct(_) => {
                scratch.clear();
                self.write_json(row, scratch);
                let (mut seen, mut doubled) = (0, 0);
                for &byte in scratch.iter() {
                    let cost = BYTE_COSTS[usize::from(byte)];
                    seen |= cost;
                    doubled += usize::from(cost & CSV_DOUBLED != 0);
                }
                let quotes = if seen & CSV_QUOTED != 0 { 2 + doubled } else { 0 };
                (scratch.len() + quotes, scratch.len())
            }
            _ => {
                let plain = self.plain_bytes(row);
                (plain, plain + if self.is_json_text(row) { 2 } else { 0 })
            }
        }
    }
}

/// A name as a JSON object's key, with its colon.
pub(crate) fn json_name(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    write_json_text(name, &mut out);
    out.push(b':');
    out
}

/// Writes a text as a CSV cell: quoted where it must be, and only there.
pub(crate) fn write_csv_text(text: &[u8], one_column: bool, out: &mut Vec<u8>) {
    let quoted = text.is_empty()
        || (one_column && text == b"NULL")
        || text.iter().any(|&byte| BYTE_COSTS[usize::from(byte)] & CSV_QUOTED != 0);
    if quoted { write_quoted(text, out) } else { out.extend_from_slice(text) }
}

fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Writes a text as a JSON string with the fewest escapes: `\"`, `\\`, control characters.
pub(crate) fn write_json_text(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if BYTE_COSTS[usize::from(byte)] & JSON_EXTRA == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0C => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => {
                let hex = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// Bytes as lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    write_hex(bytes, &mut out);
    String::from_utf8(out).expect("hex is ASCII")
}

/// Writes bytes as lowercase hex.
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}
