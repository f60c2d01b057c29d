//! Primary keys as bytes whose order is the key's order.
//!
//! The encoding is part of what the store promises (the order of rows in a view follows from it)
//! and does not depend on an integer's width, so that a widened key column keeps its keys:
//!
//! | value | bytes |
//! |---|---|
//! | integer, decimal, date, time, timestamp >= 0 | `80+n`, then the n bytes of its magnitude, big endian, no leading zeros |
//! | the same < 0 | `7F-n`, then the n bytes of the one's complement of `-1 - value`'s magnitude, big endian |
//! | boolean | `00` or `01` |
//! | text, binary, fixed binary | its bytes with `00` as `00 FF`, then `00 00` |
//!
//! A key of several columns is their encodings one after the other. A table without a key uses its
//! hidden row id, encoded as an integer.

use crate::schema::TableSchema;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::*;

/// One encoded key.
pub type KeyBytes = Box<[u8]>;

/// The encoded keys of a batch, row by row, in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A key that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Null in a key column.
    #[error("key column '{column}' is null in row {row}")]
    Null {
        /// The column.
        column: String,
        /// The row, from 0.
        row: usize,
    },
    /// A type that cannot be a key.
    #[error("a column of type {0} cannot be part of a key")]
    NotAKeyType(DataType),
}

impl Keys {
    /// Room for `rows` keys.
    pub fn with_capacity(rows: usize) -> Keys {
        Keys { bytes: Vec::with_capacity(rows * 9), ends: Vec::with_capacity(rows) }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key of a row. Panics where `row` is not below [`Keys::len`].
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }

    /// The key of the last row.
    pub fn last(&self) -> Option<&[u8]> {
        self.len().checked_sub(1).map(|row| self.get(row))
    }

    /// All keys in row order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Appends one encoded key.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// Encodes the key columns of `batch`, which has the schema's columns in the schema's order.
    pub fn of_batch(schema: &TableSchema, batch: &RecordBatch) -> Result<Keys, KeyError> {
        // Most keys have one column, and most commits few rows.
        if let [id] = schema.key[..]
            && let Some(index) = schema.columns.iter().position(|column| column.id == id)
        {
            return Keys::of_column(&schema.columns[index].name, batch.column(index));
        }
        let columns: Vec<(&str, &ArrayRef)> = schema
            .key_indexes()
            .into_iter()
            .map(|index| (schema.columns[index].name.as_str(), batch.column(index)))
            .collect();
        Keys::of_columns(&columns, batch.num_rows())
    }

    /// Encodes rows of the only key column, with the name that errors use.
    fn of_column(name: &str, array: &ArrayRef) -> Result<Keys, KeyError> {
        check_no_nulls(name, array)?;
        let rows = array.len();
        let mut keys = Keys::with_capacity(rows);
        macro_rules! integers {
            ($type:ty) => {
                for value in array.as_primitive::<$type>().values() {
                    encode_integer(*value as i128, &mut keys.bytes);
                    keys.ends.push(keys.bytes.len());
                }
            };
        }
        match array.data_type() {
            DataType::Int64 => integers!(Int64Type),
            DataType::Int32 => integers!(Int32Type),
            DataType::UInt64 => integers!(UInt64Type),
            DataType::UInt32 => integers!(UInt32Type),
            _ => {
                let encoder = ColumnEncoder::new(array)?;
                for row in 0..rows {
                    encoder.encode(row, &mut keys.bytes);
                    keys.ends.push(keys.bytes.len());
                }
            }
        }
        Ok(keys)
    }

    /// Encodes rows of key columns given in key order, with the names that errors use.
    pub fn of_columns(columns: &[(&str, &ArrayRef)], rows: usize) -> Result<Keys, KeyError> {
        let encoders = columns
            .iter()
            .map(|(name, array)| {
                check_no_nulls(name, array)?;
                ColumnEncoder::new(array)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut keys = Keys::with_capacity(rows);
        for row in 0..rows {
            for encoder in &encoders {
                encoder.encode(row, &mut keys.bytes);
            }
            keys.ends.push(keys.bytes.len());
        }
        Ok(keys)
    }

    /// Encodes hidden row ids.
    pub fn of_row_ids(ids: impl Iterator<Item = u64>) -> Keys {
        let mut keys = Keys::default();
        for id in ids {
            encode_integer(id as i128, &mut keys.bytes);
            keys.ends.push(keys.bytes.len());
        }
        keys
    }
}

fn check_no_nulls(name: &str, array: &ArrayRef) -> Result<(), KeyError> {
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(()) };
    let row = (0..array.len()).find(|&row| nulls.is_null(row)).unwrap_or(0);
    Err(KeyError::Null { column: name.to_string(), row })
}

/// Encodes an integer so that byte order is number order.
pub fn encode_integer(value: i128, out: &mut Vec<u8>) {
    let magnitude = if value >= 0 { value } else { !value };
    let bytes = magnitude.to_be_bytes();
    let length = 16 - magnitude.leading_zeros() as usize / 8;
    if value >= 0 {
        out.push(0x80 + length as u8);
        out.extend_from_slice(&bytes[16 - length..]);
    } else {
        out.push(0x7F - length as u8);
        out.extend(bytes[16 - length..].iter().map(|byte| !byte));
    }
}

/// The hidden row id in an encoded key, where it is one.
pub fn decode_row_id(key: &[u8]) -> Option<u64> {
    let (&prefix, bytes) = key.split_first()?;
    let length = prefix.checked_sub(0x80)? as usize;
    (length == bytes.len() && length <= 8).then(|| bytes.iter().fold(0, |id, &byte| id << 8 | byte as u64))
}

fn encode_bytes(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// A key column behind its concrete type, so that the type is matched once a batch.
enum ColumnEncoder<'a> {
    Integer(Box<dyn Fn(usize) -> i128 + 'a>),
    Boolean(&'a arrow::array::BooleanArray),
    Text(&'a arrow::array::StringArray),
    Binary(&'a arrow::array::BinaryArray),
    FixedBinary(&'a arrow::array::FixedSizeBinaryArray),
}

impl<'a> ColumnEncoder<'a> {
    fn new(array: &'a ArrayRef) -> Result<ColumnEncoder<'a>, KeyError> {
        macro_rules! integer {
            ($type:ty) => {{
                let values = array.as_primitive::<$type>().values();
                ColumnEncoder::Integer(Box::new(move |row| values[row] as i128))
            }};
        }
        Ok(match array.data_type() {
            DataType::Boolean => ColumnEncoder::Boolean(array.as_boolean()),
            DataType::Int8 => integer!(Int8Type),
            DataType::Int16 => integer!(Int16Type),
            DataType::Int32 => integer!(Int32Type),
            DataType::Int64 => integer!(Int64Type),
            DataType::UInt8 => integer!(UInt8Type),
            DataType::UInt16 => integer!(UInt16Type),
            DataType::UInt32 => integer!(UInt32Type),
            DataType::UInt64 => integer!(UInt64Type),
            DataType::Decimal128(_, _) => integer!(Decimal128Type),
            DataType::Date32 => integer!(Date32Type),
            DataType::Time32(TimeUnit::Second) => integer!(Time32SecondType),
            DataType::Time32(_) => integer!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Nanosecond) => integer!(Time64NanosecondType),
            DataType::Time64(_) => integer!(Time64MicrosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => integer!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => integer!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => integer!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => integer!(TimestampNanosecondType),
            DataType::Utf8 => ColumnEncoder::Text(array.as_string()),
            DataType::Binary => ColumnEncoder::Binary(array.as_binary()),
            DataType::FixedSizeBinary(_) => ColumnEncoder::FixedBinary(array.as_fixed_size_binary()),
            other => return Err(KeyError::NotAKeyType(other.clone())),
        })
    }

    fn encode(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            ColumnEncoder::Integer(value) => encode_integer(value(row), out),
            ColumnEncoder::Boolean(array) => out.push(array.value(row) as u8),
            ColumnEncoder::Text(array) => encode_bytes(array.value(row).as_bytes(), out),
            ColumnEncoder::Binary(array) => encode_bytes(array.value(row), out),
            ColumnEncoder::FixedBinary(array) => encode_bytes(array.value(row), out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn integer(value: i128) -> Vec<u8> {
        let mut out = Vec::new();
        encode_integer(value, &mut out);
        out
    }

    #[test]
    fn byte_order_is_number_order() {
        let mut values =
            vec![i128::MIN, i64::MIN as i128, -65_537, -256, -255, -2, -1, 0, 1, 2, 255, 256, 65_536];
        values.extend([i64::MAX as i128, u64::MAX as i128, i128::MAX]);
        for pair in values.windows(2) {
            assert!(integer(pair[0]) < integer(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn a_row_id_reads_back() {
        for id in [0, 1, 255, 256, u64::MAX] {
            assert_eq!(decode_row_id(&integer(id as i128)), Some(id));
        }
        assert_eq!(decode_row_id(&integer(-1)), None);
        assert_eq!(decode_row_id(b"\x82\x01"), None);
    }

    #[test]
    fn byte_order_is_text_order_also_in_compound_keys() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["", "", "\0", "\0a", "a", "a", "a\0", "ab"]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![-5, 7, 0, 0, -1, 300, -9, -9]));
        let keys = Keys::of_columns(&[("t", &texts), ("n", &numbers)], 8).unwrap();
        for row in 1..keys.len() {
            assert!(keys.get(row - 1) < keys.get(row), "row {row}");
        }
    }

    #[test]
    fn width_does_not_change_a_key() {
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![-40_000, 5]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![-40_000, 5]));
        assert_eq!(Keys::of_columns(&[("a", &narrow)], 2), Keys::of_columns(&[("a", &wide)], 2));
    }

    #[test]
    fn null_in_a_key_is_named() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let error = Keys::of_columns(&[("id", &array)], 2).unwrap_err();
        assert_eq!(error.to_string(), "key column 'id' is null in row 1");
    }
}
