//! Rows as bytes that depend on their values alone.
//!
//! Invariant: two rows of one schema have the same bytes if and only if all their values are equal, where every NaN is
//! equal to every other and 0.0 is another value than -0.0. What is beneath a null has no bytes.

use crate::error::{Error, Result};
use arrow::array::{Array, AsArray, RecordBatch};

const NULL: u8 = 0;
const VALUE: u8 = 1;

/// Appends the value of a row, which is not null.
type Put<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// The rows of a batch.
pub(super) struct RowEncoder<'a> {
    cells: Vec<Put<'a>>,
}

impl<'a> RowEncoder<'a> {
    /// Of the rows of a batch.
    pub(super) fn of(rows: &'a RecordBatch) -> Result<RowEncoder<'a>> {
        let cells = rows.columns().iter().map(|column| cell(column.as_ref()));
        Ok(RowEncoder { cells: cells.collect::<Result<_>>()? })
    }

    /// Appends a row.
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) {
        self.cells.iter().for_each(|put| put(row, out));
    }
}

/// Whether there is a value, then the value.
fn cell<'a>(array: &'a dyn Array) -> Result<Put<'a>> {
    let value = value(array)?;
    Ok(match array.nulls() {
        None => Box::new(move |row, out| {
            out.push(VALUE);
            value(row, out);
        }),
        Some(nulls) => Box::new(move |row, out| match nulls.is_null(row) {
            true => out.push(NULL),
            false => {
                out.push(VALUE);
                value(row, out);
            }
        }),
    })
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A number as its bytes, lowest first.
trait LittleEndian: Copy {
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! little_endian {
    ($($number:ty),*) => {
        $(impl LittleEndian for $number {
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        })*
    };
}

little_endian!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl LittleEndian for f32 {
    fn put(self, out: &mut Vec<u8>) {
        let bits = if self.is_nan() { 0x7fc0_0000 } else { self.to_bits() };
        bits.put(out);
    }
}

impl LittleEndian for f64 {
    fn put(self, out: &mut Vec<u8>) {
        let bits = if self.is_nan() { 0x7ff8_0000_0000_0000 } else { self.to_bits() };
        bits.put(out);
    }
}

fn numbers<'a, T: LittleEndian>(values: &'a [T]) -> Put<'a> {
    Box::new(move |row, out| values[row].put(out))
}

fn value<'a>(array: &'a dyn Array) -> Result<Put<'a>> {
    use arrow::datatypes::*;
    macro_rules! of {
        ($primitive:ty) => {
            numbers(array.as_primitive::<$primitive>().values())
        };
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean().values();
            Box::new(move |row, out| out.push(u8::from(values.value(row))))
        }
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::UInt8 => of!(UInt8Type),
        DataType::UInt16 => of!(UInt16Type),
        DataType::UInt32 => of!(UInt32Type),
        DataType::UInt64 => of!(UInt64Type),
        DataType::Float32 => of!(Float32Type),
        DataType::Float64 => of!(Float64Type),
        DataType::Decimal128(..) => of!(Decimal128Type),
        DataType::Date32 => of!(Date32Type),
        DataType::Time32(TimeUnit::Second) => of!(Time32SecondType),
        DataType::Time32(_) => of!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => of!(Time64MicrosecondType),
        DataType::Time64(_) => of!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => of!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => of!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of!(TimestampNanosecondType),
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            Box::new(move |row, out| put_bytes(texts.value(row).as_bytes(), out))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Box::new(move |row, out| put_bytes(values.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            Box::new(move |row, out| out.extend_from_slice(values.value(row)))
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let element = cell(lists.values().as_ref())?;
            Box::new(move |row, out| {
                let (first, end) =
                    (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
                ((end - first) as u64).put(out);
                (first..end).for_each(|index| element(index, out));
            })
        }
        DataType::Struct(_) => {
            let members = array.as_struct().columns().iter().map(|member| cell(member.as_ref()));
            let members = members.collect::<Result<Vec<_>>>()?;
            Box::new(move |row, out| members.iter().for_each(|put| put(row, out)))
        }
        other => return Err(Error::invalid(format!("values of type {other} have no checksum"))),
    })
}
