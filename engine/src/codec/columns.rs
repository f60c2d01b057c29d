//! The column block: rows of one table in the log's payload, column by column, without their schema.
//! FORMAT.md describes the bytes.
//!
//! Equal rows give equal bytes, however their arrays are sliced and whatever lies under their nulls: what is null has
//! no bytes. Nothing is allocated that the input's length or the caller's bound on rows does not justify.

use crate::error::{Error, Result};
use arrow::array::*;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use std::sync::Arc;

/// A block of more rows has at least a bit for each in its first column: a few bytes cannot ask for much memory.
const ROWS_WITHOUT_BITS_MAX: usize = 1 << 16;

const ALL_VALID: u8 = 0;
const ALL_NULL: u8 = 1;
const BITMAP: u8 = 2;

/// Encodes the rows of a batch whose columns have types that tables may have.
pub fn encode_columns(batch: &RecordBatch) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.get_array_memory_size() / 2);
    write_varint(batch.num_rows() as u64, &mut out);
    for (index, column) in batch.columns().iter().enumerate() {
        encode_column(column, column.logical_nulls(), has_bits(index, batch.num_rows()), &mut out);
    }
    out
}

/// Decodes a block that fills `bytes` exactly into rows of `schema`, of at most `rows_max`.
pub fn decode_columns(bytes: &[u8], schema: &SchemaRef, rows_max: usize) -> Result<RecordBatch> {
    decode_block(Reader { bytes, at: 0, kept: None }, schema, rows_max)
}

/// As [`decode_columns`]; long texts and binaries are not copied, but keep the buffer that they lie in.
pub fn decode_kept_columns(block: &Buffer, schema: &SchemaRef, rows_max: usize) -> Result<RecordBatch> {
    decode_block(Reader { bytes: block.as_slice(), at: 0, kept: Some(block) }, schema, rows_max)
}

fn decode_block(mut reader: Reader, schema: &SchemaRef, rows_max: usize) -> Result<RecordBatch> {
    let rows = reader.varint()?;
    let rows = usize::try_from(rows)
        .ok()
        .filter(|&rows| rows <= rows_max)
        .ok_or_else(|| reader.damaged(format!("{rows} rows where at most {rows_max} can be")))?;
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            decode_column(field.data_type(), rows, has_bits(index, rows), &mut reader)
                .map_err(|error| error.at(format_args!("column '{}'", field.name())))
        })
        .collect::<Result<Vec<_>>>()?;
    if reader.left() > 0 {
        return Err(reader.damaged(format!("{} bytes after the last column", reader.left())));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| reader.damaged(error.to_string()))
}

/// Whether a column of a block has at least a bit for each of its rows, as columns in lists do.
fn has_bits(index: usize, rows: usize) -> bool {
    index == 0 && rows > ROWS_WITHOUT_BITS_MAX
}

/// Writes 7 bits a byte, lowest first.
fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes bits, the first in the lowest bit of the first byte.
fn write_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    for (index, bit) in bits.enumerate() {
        if index % 8 == 0 {
            out.push(0);
        }
        if bit {
            *out.last_mut().expect("a byte was just begun") |= 1 << (index % 8);
        }
    }
}

/// Rows of an array that are not null.
fn valid_rows(rows: usize, nulls: Option<&NullBuffer>) -> impl Iterator<Item = usize> {
    (0..rows).filter(move |&row| nulls.is_none_or(|nulls| nulls.is_valid(row)))
}

/// Encodes an array; `nulls` are its own and those of the structs around it. `with_bits`: each row has at least a bit.
fn encode_column(array: &ArrayRef, nulls: Option<NullBuffer>, with_bits: bool, out: &mut Vec<u8>) {
    let rows = array.len();
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let fixed_binary = matches!(array.data_type(), DataType::FixedSizeBinary(_));
    match &nulls {
        None => out.push(ALL_VALID),
        Some(nulls) if nulls.null_count() == rows && !with_bits && !fixed_binary => {
            out.push(ALL_NULL);
            if !matches!(array.data_type(), DataType::Struct(_)) {
                return;
            }
        }
        Some(nulls) => {
            out.push(BITMAP);
            write_bits(nulls.iter(), out);
        }
    }
    let valid = || valid_rows(rows, nulls.as_ref());
    macro_rules! fixed {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>().values();
            valid().for_each(|row| out.extend_from_slice(&values[row].to_le_bytes()))
        }};
    }
    macro_rules! variable {
        ($array:expr) => {{
            let array = $array;
            valid().for_each(|row| write_varint(array.value_length(row) as u64, out));
            valid().for_each(|row| out.extend_from_slice(array.value(row).as_ref()));
        }};
    }
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            write_bits(valid().map(|row| array.value(row)), out);
        }
        DataType::Int8 => fixed!(Int8Type),
        DataType::Int16 => fixed!(Int16Type),
        DataType::Int32 => fixed!(Int32Type),
        DataType::Int64 => fixed!(Int64Type),
        DataType::UInt8 => fixed!(UInt8Type),
        DataType::UInt16 => fixed!(UInt16Type),
        DataType::UInt32 => fixed!(UInt32Type),
        DataType::UInt64 => fixed!(UInt64Type),
        DataType::Float32 => fixed!(Float32Type),
        DataType::Float64 => fixed!(Float64Type),
        DataType::Decimal128(_, _) => fixed!(Decimal128Type),
        DataType::Date32 => fixed!(Date32Type),
        DataType::Time32(TimeUnit::Second) => fixed!(Time32SecondType),
        DataType::Time32(_) => fixed!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Nanosecond) => fixed!(Time64NanosecondType),
        DataType::Time64(_) => fixed!(Time64MicrosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => fixed!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => fixed!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => fixed!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => fixed!(TimestampNanosecondType),
        DataType::Utf8 => variable!(array.as_string::<i32>()),
        DataType::Binary => variable!(array.as_binary::<i32>()),
        DataType::FixedSizeBinary(width) => {
            let array = array.as_fixed_size_binary();
            for row in 0..rows {
                match &nulls {
                    Some(nulls) if nulls.is_null(row) => out.resize(out.len() + *width as usize, 0),
                    _ => out.extend_from_slice(array.value(row)),
                }
            }
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            valid().for_each(|row| write_varint(list.value_length(row) as u64, out));
            let elements = elements_of(list, nulls.as_ref());
            encode_column(&elements, elements.logical_nulls(), true, out);
        }
        DataType::Struct(_) => {
            for member in array.as_struct().columns() {
                let nulls = NullBuffer::union(nulls.as_ref(), member.logical_nulls().as_ref());
                encode_column(member, nulls, with_bits, out);
            }
        }
        other => panic!("arrays of type {other} are refused where they come in"),
    }
}

/// The elements of those lists that are not null, in order.
fn elements_of(list: &ListArray, nulls: Option<&NullBuffer>) -> ArrayRef {
    let offsets = list.value_offsets();
    match nulls {
        None => list.values().slice(offsets[0] as usize, (offsets[list.len()] - offsets[0]) as usize),
        Some(_) => {
            let indices = valid_rows(list.len(), nulls).flat_map(|row| offsets[row]..offsets[row + 1]);
            let indices = Int32Array::from_iter_values(indices);
            arrow::compute::take(list.values(), &indices, None)
                .expect("offsets of a list lie within its elements")
        }
    }
}

/// What is left of a block.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What `bytes` are, where arrays may keep it.
    kept: Option<&'a Buffer>,
}

/// Values that take fewer bytes are copied, so that a short one does not keep all of a block.
const KEPT_BYTES_MIN: usize = 16 << 10;

impl<'a> Reader<'a> {
    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("column block damaged at byte {}: {what}", self.at))
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if count > self.left() {
            return Err(self.damaged(format!("{count} bytes expected, {} left", self.left())));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// Takes bytes that an array will hold.
    fn take_buffer(&mut self, count: usize) -> Result<Buffer> {
        let start = self.at;
        let taken = self.take(count)?;
        Ok(match self.kept {
            Some(kept) if count >= KEPT_BYTES_MIN => kept.slice_with_length(start, count),
            _ => Buffer::from_vec(taken.to_vec()),
        })
    }

    fn take_values(&mut self, count: usize, width: usize) -> Result<&'a [u8]> {
        let bytes =
            count.checked_mul(width).ok_or_else(|| self.damaged("more values than memory has bytes"))?;
        self.take(bytes)
    }

    fn varint(&mut self) -> Result<u64> {
        // Most numbers are short.
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number has more than 64 bits"))
    }

    /// Lengths, and as Arrow has them: where each of `rows` values begins and ends, nulls being empty.
    fn offsets(&mut self, rows: usize, nulls: Option<&NullBuffer>) -> Result<OffsetBuffer<i32>> {
        let mut offsets = Vec::with_capacity(rows + 1);
        let mut end = 0i32;
        offsets.push(end);
        for row in 0..rows {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                let length = self.varint()?;
                end = i32::try_from(length)
                    .ok()
                    .and_then(|length| end.checked_add(length))
                    .ok_or_else(|| self.damaged("lengths sum to more than 2 GiB"))?;
            }
            offsets.push(end);
        }
        Ok(OffsetBuffer::new(offsets.into()))
    }
}

/// Places the values of rows that are not null; the others get the type's zero.
fn scatter<T: Copy + Default>(
    values: impl Iterator<Item = T>,
    rows: usize,
    nulls: Option<&NullBuffer>,
) -> Vec<T> {
    match nulls {
        None => values.collect(),
        Some(nulls) => {
            let mut all = vec![T::default(); rows];
            nulls.valid_indices().zip(values).for_each(|(row, value)| all[row] = value);
            all
        }
    }
}

fn bits(bytes: &[u8], count: usize) -> impl Iterator<Item = bool> {
    (0..count).map(|index| bytes[index / 8] & (1 << (index % 8)) != 0)
}

fn decode_column(
    data_type: &DataType,
    rows: usize,
    with_bits: bool,
    reader: &mut Reader,
) -> Result<ArrayRef> {
    let kind = reader.take(1)?[0];
    let nulls = match (kind, data_type) {
        (ALL_VALID, _) => None,
        (ALL_NULL, DataType::Struct(_)) if !with_bits => Some(NullBuffer::new_null(rows)),
        (ALL_NULL, other) if !with_bits && !matches!(other, DataType::FixedSizeBinary(_)) => {
            return Ok(new_null_array(data_type, rows));
        }
        (BITMAP, _) => {
            let bytes = reader.take(rows.div_ceil(8))?;
            Some(NullBuffer::new(BooleanBuffer::from_iter(bits(bytes, rows))))
        }
        (other, _) => return Err(reader.damaged(format!("{other} is no kind of {data_type} column here"))),
    };
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let valid = rows - nulls.as_ref().map_or(0, NullBuffer::null_count);
    // The bytes of all values are taken, and so known to be there, before an array is allocated.
    macro_rules! fixed {
        ($type:ty) => {{
            const WIDTH: usize = size_of::<<$type as ArrowPrimitiveType>::Native>();
            let (chunks, _) = reader.take_values(valid, WIDTH)?.as_chunks::<WIDTH>();
            let values =
                chunks.iter().map(|chunk| <$type as ArrowPrimitiveType>::Native::from_le_bytes(*chunk));
            let values = scatter(values, rows, nulls.as_ref());
            Arc::new(PrimitiveArray::<$type>::new(values.into(), nulls).with_data_type(data_type.clone()))
        }};
    }
    Ok(match data_type {
        DataType::Boolean => {
            let values = bits(reader.take(valid.div_ceil(8))?, valid);
            let values = scatter(values, rows, nulls.as_ref());
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        DataType::Int8 => fixed!(Int8Type),
        DataType::Int16 => fixed!(Int16Type),
        DataType::Int32 => fixed!(Int32Type),
        DataType::Int64 => fixed!(Int64Type),
        DataType::UInt8 => fixed!(UInt8Type),
        DataType::UInt16 => fixed!(UInt16Type),
        DataType::UInt32 => fixed!(UInt32Type),
        DataType::UInt64 => fixed!(UInt64Type),
        DataType::Float32 => fixed!(Float32Type),
        DataType::Float64 => fixed!(Float64Type),
        DataType::Decimal128(_, _) => fixed!(Decimal128Type),
        DataType::Date32 => fixed!(Date32Type),
        DataType::Time32(TimeUnit::Second) => fixed!(Time32SecondType),
        DataType::Time32(_) => fixed!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Nanosecond) => fixed!(Time64NanosecondType),
        DataType::Time64(_) => fixed!(Time64MicrosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => fixed!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => fixed!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => fixed!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => fixed!(TimestampNanosecondType),
        DataType::Utf8 | DataType::Binary => {
            if valid > reader.left() {
                return Err(reader.damaged(format!("{valid} lengths cannot be in {} bytes", reader.left())));
            }
            let offsets = reader.offsets(rows, nulls.as_ref())?;
            let bytes =
                reader.take_buffer(*offsets.last().expect("offsets have one more than rows") as usize)?;
            if *data_type == DataType::Binary {
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            } else {
                let array = StringArray::try_new(offsets, bytes, nulls);
                Arc::new(array.map_err(|error| reader.damaged(error))?)
            }
        }
        DataType::FixedSizeBinary(width) => {
            let bytes = reader.take_values(rows, *width as usize)?.to_vec();
            Arc::new(
                FixedSizeBinaryArray::try_new(*width, bytes.into(), nulls)
                    .map_err(|error| reader.damaged(error))?,
            )
        }
        DataType::List(field) => {
            if valid > reader.left() {
                return Err(reader.damaged(format!("{valid} lengths cannot be in {} bytes", reader.left())));
            }
            let offsets = reader.offsets(rows, nulls.as_ref())?;
            let elements = *offsets.last().expect("offsets have one more than rows") as usize;
            let elements = decode_column(field.data_type(), elements, true, reader)?;
            let list = ListArray::try_new(field.clone(), offsets, elements, nulls);
            Arc::new(list.map_err(|error| reader.damaged(error))?)
        }
        DataType::Struct(fields) => {
            let members =
                fields.iter().map(|field| decode_column(field.data_type(), rows, with_bits, reader));
            let members = members.collect::<Result<Vec<_>>>()?;
            let array = StructArray::try_new_with_length(fields.clone(), members, nulls, rows);
            Arc::new(array.map_err(|error| reader.damaged(error))?)
        }
        other => return Err(Error::new(crate::ErrorKind::Unsupported, format!("columns of type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rows::{arbitrary_batch, batch_of_json};
    use proptest::prelude::*;

    const ROWS_MAX: usize = 1 << 20;

    fn hex(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        crate::text::write_hex(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_bytes_of_a_block_are_frozen() {
        for (types, rows, expected) in [
            (&["int32"][..], "[1] [-2]", "02 00 01000000 feffffff"),
            (
                &["int64", "text"],
                r#"[7,"ab"] [8,null]"#,
                "02 00 0700000000000000 0800000000000000 02 01 02 6162",
            ),
            (&["bool"], "[true] [null] [true]", "03 02 05 03"),
            (&["text"], "[null] [null]", "02 01"),
            (&["decimal(5,2)"], "[-0.01]", "01 00 ffffffffffffffffffffffffffffffff"),
            (&["binary(2)"], r#"["0102"] [null]"#, "02 02 01 0102 0000"),
            (&["binary(2)"], "[null]", "01 02 00 0000"),
            (&["date"], r#"["1970-01-02"]"#, "01 00 01000000"),
            (&["timestamp(ms)"], r#"["1970-01-01T00:00:01"]"#, "01 00 e803000000000000"),
            (&["float64"], "[1.0]", "01 00 000000000000f03f"),
            (&["list(int8)"], "[[1,null]] [null] [[]]", "03 02 05 02 00 02 01 01"),
            (&["list(text)"], "[[null,null]]", "01 00 02 02 00"),
            (&["struct(a int8, b text)"], r#"[{"a":1}] [null]"#, "02 02 01 02 01 01 01"),
            (&["struct(a binary(1))"], "[null]", "01 01 02 00 00"),
            (&["int8", "list(text)"], "", "00 00 00 00"),
        ] {
            let batch = batch_of_json(types, rows);
            let bytes = encode_columns(&batch);
            assert_eq!(hex(&bytes), expected.replace(' ', ""), "{types:?} {rows}");
            assert_eq!(decode_columns(&bytes, &batch.schema(), ROWS_MAX).unwrap(), batch);
        }
    }

    #[test]
    fn a_long_text_has_a_length_of_two_bytes() {
        let batch = batch_of_json(&["text"], &format!("[\"{}\"]", "x".repeat(300)));
        let bytes = encode_columns(&batch);
        assert_eq!(hex(&bytes[..4]), "0100ac02");
        assert_eq!(bytes.len(), 304);
    }

    #[test]
    fn what_claims_more_than_it_holds_is_refused() {
        let decode =
            |types: &[&str], bytes: &[u8]| decode_columns(bytes, &batch_of_json(types, "").schema(), 1000);
        for (types, bytes) in [
            (&["int32"][..], &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1][..]),
            (&["int32"], &[0xFF; 11]),
            (&["int32"], &[2, 0, 1, 0, 0, 0]),
            (&["int32"], &[1, 3, 1, 0, 0, 0]),
            (&["int32"], &[1, 0, 1, 0, 0, 0, 0]),
            (&["text"], &[1, 0, 1, 0xFF]),
            (&["text"], &[1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x07]),
            (&["list(int8)"], &[1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x07, 2, 0]),
            (&["list(struct(a int8))"], &[1, 0, 5, 0, 1]),
            (&["binary(2000000000)"], &[1, 1]),
            (&["binary(2000000000)"], &[1, 2, 0]),
        ] {
            let error = decode(types, bytes).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{types:?} {bytes:?}");
        }
        assert_eq!(decode(&["int32"], &[0xE8, 0x07, 1]).unwrap().num_rows(), 1000);
    }

    #[test]
    fn null_where_the_schema_allows_none_is_damage() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int8, false)]));
        assert!(decode_columns(&[1, 1], &schema, 10).is_err());
    }

    proptest! {
        #[test]
        fn blocks_decode_to_the_rows_that_were_encoded(batch in arbitrary_batch()) {
            let bytes = encode_columns(&batch);
            let decoded = decode_columns(&bytes, &batch.schema(), ROWS_MAX).unwrap();
            prop_assert_eq!(&decoded, &batch);
            prop_assert_eq!(encode_columns(&decoded), bytes);
        }

        #[test]
        fn a_slice_encodes_as_its_rows_do(batch in arbitrary_batch(), from in 0usize..20, rows in 0usize..20) {
            let from = from.min(batch.num_rows());
            let slice = batch.slice(from, rows.min(batch.num_rows() - from));
            let bytes = encode_columns(&slice);
            let decoded = decode_columns(&bytes, &batch.schema(), ROWS_MAX).unwrap();
            prop_assert_eq!(&decoded, &slice);
            prop_assert_eq!(encode_columns(&decoded), bytes);
        }

        #[test]
        fn damage_is_an_error_or_other_rows_but_never_a_panic(
            batch in arbitrary_batch(), at: prop::sample::Index, flip in 1u8..=255
        ) {
            let mut bytes = encode_columns(&batch);
            let at = at.index(bytes.len());
            prop_assert!(decode_columns(&bytes[..at], &batch.schema(), ROWS_MAX).is_err());
            bytes[at] ^= flip;
            let _ = decode_columns(&bytes, &batch.schema(), ROWS_MAX);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(batch in arbitrary_batch(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_columns(&bytes, &batch.schema(), ROWS_MAX);
        }
    }
}
