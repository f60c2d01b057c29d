//! Pages of a slot: values of a flat column as plain pages, how long pages are at most, and padding behind them.
//!
//! Source of the encodings: the Parquet format's "Data Pages" and "Encodings". Headers are written in Thrift's compact
//! protocol. Invariant: a page is no longer than [`plain_bytes_max`] of its values says, one of the library's than [`nested_bytes_max`].

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use parquet::basic::Type;
use parquet::schema::types::ColumnDescPtr;

/// Bytes of a page's header, at most, where it has no statistics.
pub(super) const HEADER_BYTES_MAX: u64 = 64;
/// Bytes of the shortest padding: a page without content.
pub(super) const PADDING_BYTES_MIN: u64 = 9;

/// Headers of pages of padding, and where they lie behind the values.
pub(super) type Padding = Vec<(Vec<u8>, u64)>;

/// Which of the two kinds of data pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    /// Compressed where its chunk is.
    First,
    /// Says itself whether it is compressed: among pages of a compressed chunk.
    Second,
}

/// How many bytes the plain values of so many rows take at most, as one page, without the text and binary among them;
/// none where that is not known.
pub(super) fn plain_bytes_max(leaf: &ColumnDescPtr, rows: u64) -> Option<u64> {
    // Levels are one bit each, in runs: at most a byte of header for each byte of them.
    value_bytes_max(leaf, rows)?.checked_add(rows / 2 + HEADER_BYTES_MAX)
}

/// How many bytes so many values of a leaf take plain, without text and binary; none where that is not known.
pub(super) fn value_bytes_max(leaf: &ColumnDescPtr, values: u64) -> Option<u64> {
    let width = match leaf.physical_type() {
        Type::BOOLEAN => return Some(values.div_ceil(8)),
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(leaf.type_length()).ok()?,
    };
    values.checked_mul(width)
}

/// How many bytes the plain values of a leaf take at most as one page, where so many, in lists or without, are nulls,
/// empty lists or values, at most so many of them values; without the text and binary among them. None where that is
/// not known.
pub(super) fn nested_bytes_max(leaf: &ColumnDescPtr, entries: u64, values: u64) -> Option<u64> {
    let levels = |max: i16| packed_bytes_max(entries, bits_of(max as u64));
    plain_bytes_max(leaf, 0)?
        .checked_add(levels(leaf.max_rep_level())?)?
        .checked_add(levels(leaf.max_def_level())?)?
        .checked_add(value_bytes_max(leaf, values)?)
}

/// How many bytes so many numbers of some bits take at most as a hybrid of runs and packed bits, with their length: no run
/// is of fewer than eight, and none takes more than a byte beside what these take packed.
pub(super) fn packed_bytes_max(numbers: u64, bits: u64) -> Option<u64> {
    match bits {
        0 => Some(0),
        bits => numbers.div_ceil(8).checked_mul(1 + bits)?.checked_add(size_of::<u32>() as u64),
    }
}

/// Bits of a number.
pub(super) fn bits_of(number: u64) -> u64 {
    u64::from(number.checked_ilog2().map_or(0, |bits| bits + 1))
}

/// Whether [`append_plain`] knows values of a type.
pub(super) fn is_known(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 => true,
        Utf8 | Binary | FixedSizeBinary(_) | Date32 | Time32(TimeUnit::Millisecond) | Time64(_) => true,
        Timestamp(unit, _) => *unit != TimeUnit::Second,
        _ => false,
    }
}

/// Appends the values of arrays of one known type as one page; nothing where there are none.
pub(super) fn append_plain(arrays: &[ArrayRef], kind: PageKind, out: &mut Vec<u8>) -> Result<()> {
    let rows: usize = arrays.iter().map(|array| array.len()).sum();
    if rows == 0 {
        return Ok(());
    }
    let widened: Vec<ArrayRef>;
    let arrays = match arrays[0].data_type() {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
            let to_four_bytes = |array: &ArrayRef| Ok(cast(array, &DataType::Int32)?);
            widened = arrays.iter().map(to_four_bytes).collect::<Result<_>>()?;
            &widened[..]
        }
        _ => arrays,
    };
    let nulls: usize = arrays.iter().map(|array| array.null_count()).sum();
    let levels = levels_of(arrays, rows, nulls);
    let bits = matches!(arrays[0].data_type(), DataType::Boolean).then(|| boolean_bits(arrays));
    let values = match &bits {
        Some(bits) => bits.len(),
        None => arrays.iter().map(value_bytes).sum::<Result<usize>>()?,
    };
    let content = values
        + levels.len()
        + match kind {
            PageKind::First => size_of::<u32>(),
            PageKind::Second => 0,
        };
    if i32::try_from(content).is_err() {
        return Err(Error::invalid("the values of a row group take more than 2 GiB, which no page holds"));
    }
    append_header(kind, rows, nulls, levels.len(), content, out);
    if kind == PageKind::First {
        out.extend((levels.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(&levels);
    match bits {
        Some(bits) => out.extend(bits),
        None => append_values(arrays, out)?,
    }
    Ok(())
}

fn append_header(
    kind: PageKind,
    rows: usize,
    nulls: usize,
    levels: usize,
    content: usize,
    out: &mut Vec<u8>,
) {
    const I32: u8 = 0x15;
    const FALSE: u8 = 0x12;
    const PLAIN: u8 = 0;
    const RLE: u8 = 3 << 1;
    let mut number = |number: usize| {
        out.push(I32);
        put_varint(2 * number as u64, out);
    };
    match kind {
        PageKind::First => {
            // Type, uncompressed and compressed length; then, in field 5, rows and the encodings of values and levels.
            number(0);
            number(content);
            number(content);
            out.push(0x2c);
            out.push(I32);
            put_varint(2 * rows as u64, out);
            out.extend([I32, PLAIN, I32, RLE, I32, RLE, 0, 0]);
        }
        PageKind::Second => {
            number(3);
            number(content);
            number(content);
            // Field 8: values, nulls, rows, encoding, bytes of definition and repetition levels, not compressed.
            out.push(0x5c);
            for field in [rows, nulls, rows] {
                out.push(I32);
                put_varint(2 * field as u64, out);
            }
            out.extend([I32, PLAIN, I32]);
            put_varint(2 * levels as u64, out);
            out.extend([I32, 0, FALSE, 0, 0]);
        }
    }
}

/// Which values there are, as a hybrid of runs and packed bits: one run, or all packed.
fn levels_of(arrays: &[ArrayRef], rows: usize, nulls: usize) -> Vec<u8> {
    let mut levels = Vec::new();
    if nulls == 0 || nulls == rows {
        put_varint((rows as u64) << 1, &mut levels);
        levels.push(u8::from(nulls == 0));
        return levels;
    }
    let mut bits = BooleanBufferBuilder::new(rows);
    for array in arrays {
        match array.nulls() {
            Some(nulls) => bits.append_buffer(nulls.inner()),
            None => bits.append_n(array.len(), true),
        }
    }
    let bytes = rows.div_ceil(8);
    put_varint((bytes as u64) << 1 | 1, &mut levels);
    levels.extend_from_slice(&bits.as_slice()[..bytes]);
    levels
}

/// Stretches of an array's values that are there.
fn stretches(array: &ArrayRef) -> Box<dyn Iterator<Item = (usize, usize)> + '_> {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => Box::new(nulls.valid_slices()),
        None => Box::new(std::iter::once((0, array.len()))),
    }
}

/// The values of arrays of booleans, which go on from one array to the next.
fn boolean_bits(arrays: &[ArrayRef]) -> Vec<u8> {
    let mut bits = BooleanBufferBuilder::new(arrays.iter().map(|array| array.len()).sum());
    for array in arrays {
        for (from, to) in stretches(array) {
            bits.append_buffer(&array.as_boolean().values().slice(from, to - from));
        }
    }
    bits.as_slice()[..bits.len().div_ceil(8)].to_vec()
}

fn unknown(array: &ArrayRef) -> Error {
    Error::invalid(format!("{} is no type of plain pages here", array.data_type()))
}

/// Bytes of the plain values of an array.
fn value_bytes(array: &ArrayRef) -> Result<usize> {
    let valid = array.len() - array.null_count();
    Ok(match array.data_type() {
        DataType::Utf8 | DataType::Binary => {
            let offsets = offsets_of(array);
            let text = |(from, to): (usize, usize)| (offsets[to] - offsets[from]) as usize;
            stretches(array).map(text).sum::<usize>() + 4 * valid
        }
        DataType::FixedSizeBinary(width) => valid * *width as usize,
        other => valid * other.primitive_width().ok_or_else(|| unknown(array))?,
    })
}

fn offsets_of(array: &ArrayRef) -> &[i32] {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_offsets(),
        _ => array.as_binary::<i32>().value_offsets(),
    }
}

fn append_values(arrays: &[ArrayRef], out: &mut Vec<u8>) -> Result<()> {
    for array in arrays {
        match array.data_type() {
            DataType::Utf8 | DataType::Binary => {
                let bytes = match array.data_type() {
                    DataType::Utf8 => array.as_string::<i32>().value_data(),
                    _ => array.as_binary::<i32>().value_data(),
                };
                let offsets = offsets_of(array);
                for (from, to) in stretches(array) {
                    for ends in offsets[from..=to].windows(2) {
                        out.extend(((ends[1] - ends[0]) as u32).to_le_bytes());
                        out.extend_from_slice(&bytes[ends[0] as usize..ends[1] as usize]);
                    }
                }
            }
            other => {
                let data = array.to_data();
                let width = match other {
                    DataType::FixedSizeBinary(width) => *width as usize,
                    other => other.primitive_width().ok_or_else(|| unknown(array))?,
                };
                let bytes = data.buffers()[0].as_slice();
                for (from, to) in stretches(array) {
                    let place = |row: usize| (data.offset() + row) * width;
                    out.extend_from_slice(&bytes[place(from)..place(to)]);
                }
            }
        }
    }
    Ok(())
}

/// Pages that readers skip, so many bytes together: their headers, and where these lie. What follows a header are zeros.
/// None where there is no room for one.
pub(super) fn padding(bytes: u64) -> Option<Padding> {
    if let Some(header) = padding_page(bytes) {
        return Some(vec![(header, 0)]);
    }
    // There are lengths at which a longer number takes the room that it tells of.
    let rest = padding_page(bytes.checked_sub(PADDING_BYTES_MIN)?)?;
    Some(vec![(padding_page(PADDING_BYTES_MIN)?, 0), (rest, PADDING_BYTES_MIN)])
}

/// The header of a page of padding of so many bytes with it, if there is one: an index page, which has no meaning in
/// Parquet.
fn padding_page(bytes: u64) -> Option<Vec<u8>> {
    const FIXED_BYTES: u64 = 7;
    (1..=5).find_map(|digits| {
        let content = bytes.checked_sub(FIXED_BYTES + 2 * digits)?;
        let mut length = Vec::new();
        put_varint(2 * content, &mut length);
        (length.len() as u64 == digits && i32::try_from(content).is_ok()).then(|| {
            // Type (index page), uncompressed and compressed length, an empty index page header.
            [&[0x15, 0x02, 0x15][..], &length, &[0x15], &length, &[0x3c, 0x00, 0x00]].concat()
        })
    })
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use arrow::compute::concat;
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::arrow::add_encoded_arrow_schema_to_metadata;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::{Compression, Encoding, ZstdLevel};
    use parquet::file::metadata::*;
    use parquet::file::properties::WriterProperties;
    use std::sync::Arc;

    /// What the library reads of pages of values, and padding, as a chunk of a compression.
    fn read_back(values: &[Vec<ArrayRef>], kind: PageKind, compression: Compression) -> ArrayRef {
        let field = Field::new("values", values[0][0].data_type().clone(), true);
        let schema = Schema::new(vec![field]);
        let descriptor = Arc::new(ArrowSchemaConverter::new().convert(&schema).expect("a schema"));
        let leaf = descriptor.column(0);
        assert!(is_known(values[0][0].data_type()));
        let mut file = b"PAR1".to_vec();
        for page in values {
            let rows = page.iter().map(|array| array.len() as u64).sum();
            let texts: usize = page.iter().map(text).sum();
            let before = file.len();
            append_plain(page, kind, &mut file).expect("it is encoded");
            let most = plain_bytes_max(&leaf, rows).expect("its length is known") + texts as u64;
            assert!((file.len() - before) as u64 <= most, "{} of {most} bytes", file.len() - before);
        }
        let behind = file.len();
        file.resize(behind + 100, 0);
        for (header, place) in padding(100).expect("there is room") {
            file[behind + place as usize..][..header.len()].copy_from_slice(&header);
        }
        let rows: usize = values.iter().flatten().map(|array| array.len()).sum();
        let chunk = ColumnChunkMetaData::builder(leaf)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
            .set_compression(compression)
            .set_num_values(rows as i64)
            .set_total_compressed_size(file.len() as i64 - 4)
            .set_total_uncompressed_size(file.len() as i64 - 4)
            .set_data_page_offset(4);
        let group = RowGroupMetaData::builder(descriptor.clone())
            .set_num_rows(rows as i64)
            .set_total_byte_size(file.len() as i64)
            .set_column_metadata(vec![chunk.build().expect("a chunk")]);
        let mut properties = WriterProperties::builder().build();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let remarks = properties.key_value_metadata().cloned();
        let about = FileMetaData::new(1, rows as i64, None, remarks, descriptor, None);
        let metadata = ParquetMetaData::new(about, vec![group.build().expect("a row group")]);
        ParquetMetaDataWriter::new(&mut file, &metadata).finish().expect("a footer");
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).expect("a file");
        let batches: Vec<ArrayRef> =
            reader.build().expect("a reader").map(|batch| batch.expect("rows").column(0).clone()).collect();
        concat(&batches.iter().map(|array| array.as_ref()).collect::<Vec<_>>()).expect("one type")
    }

    fn text(array: &ArrayRef) -> usize {
        match array.data_type() {
            DataType::Utf8 | DataType::Binary => {
                let offsets = offsets_of(array);
                (offsets[array.len()] - offsets[0]) as usize
            }
            _ => 0,
        }
    }

    #[test]
    fn the_library_reads_back_values_of_every_known_type() {
        let numbers: Int64Array = (0..3_001).map(|n| (n % 7 > 0).then_some(n * 31 % 100)).collect();
        let without: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_500));
        let no_value: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>; 77]));
        let bits: BooleanArray = (0..3_001).map(|n| (n % 5 > 0).then_some(n % 3 == 0)).collect();
        let texts: StringArray = (0..3_001).map(|n| (n % 3 > 0).then(|| "x".repeat(n % 40))).collect();
        let fixed = (0..500).map(|n| (n % 4 > 0).then_some([n as u8; 3]));
        let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 3).expect("one width");
        let mut all: Vec<ArrayRef> = vec![Arc::new(bits), Arc::new(fixed), without, no_value];
        let numbers: ArrayRef = Arc::new(numbers);
        use DataType::*;
        use TimeUnit::*;
        for to in [Int8, Int16, Int32, UInt8, UInt16, UInt32, UInt64, Float32, Float64] {
            all.push(cast(&numbers, &to).expect("they fit"));
        }
        for to in [Time64(Microsecond), Time64(Nanosecond), Timestamp(Millisecond, None)] {
            all.push(cast(&numbers, &to).expect("they fit"));
        }
        for to in [Timestamp(Microsecond, Some("UTC".into())), Timestamp(Nanosecond, None)] {
            all.push(cast(&numbers, &to).expect("they fit"));
        }
        for to in [Date32, Time32(Millisecond)] {
            all.push(cast(&cast(&numbers, &Int32).expect("they fit"), &to).expect("they fit"));
        }
        let texts: ArrayRef = Arc::new(texts);
        all.extend([cast(&texts, &Binary).expect("bytes"), texts, numbers]);
        for array in all {
            let parts: Vec<ArrayRef> =
                [(0, 9), (9, 1), (10, array.len() - 30)].map(|(from, rows)| array.slice(from, rows)).into();
            let expected = array.slice(0, array.len() - 20);
            for kind in [PageKind::First, PageKind::Second] {
                let one_page = [parts.clone()];
                let found = read_back(&one_page, kind, Compression::UNCOMPRESSED);
                assert_eq!(&found, &expected, "{kind:?} {}", array.data_type());
            }
            let pages: Vec<Vec<ArrayRef>> = parts.into_iter().map(|part| vec![part]).collect();
            let packed = Compression::ZSTD(ZstdLevel::default());
            let found = read_back(&pages, PageKind::Second, packed);
            assert_eq!(&found, &expected, "in a compressed chunk: {}", array.data_type());
        }
    }

    #[test]
    fn padding_has_every_length_from_the_shortest_on() {
        let near = |power: u32| (1u64 << power) - 50..(1 << power) + 50;
        for bytes in (PADDING_BYTES_MIN..20_000).chain(near(20)).chain(near(21)).chain(near(27)) {
            let pages = padding(bytes).unwrap_or_else(|| panic!("{bytes}"));
            let mut end = 0;
            for (header, at) in pages {
                assert_eq!(at, end, "{bytes}");
                let digits = header[3..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
                let length =
                    (0..digits).map(|digit| u64::from(header[3 + digit] & 0x7f) << (7 * digit)).sum::<u64>();
                end = at + header.len() as u64 + length / 2;
            }
            assert_eq!(end, bytes);
        }
        assert!(padding(PADDING_BYTES_MIN - 1).is_none());
    }
}
