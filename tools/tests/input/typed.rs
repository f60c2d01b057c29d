//! Parquet and Arrow, and typed columns as a table's types.

use crate::cli::support::Scratch;
use asof_engine::ColumnType;
use asof_engine::arrow::array::*;
use asof_engine::arrow::compute::cast;
use asof_engine::arrow::datatypes::*;
use asof_engine::arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use asof_engine::arrow::ipc::{CompressionType, root_as_message};
use asof_engine::parquet::arrow::ArrowWriter;
use asof_engine::parquet::file::properties::WriterProperties;
use asof_engine::text::format_cell;
use asof_tools::input::cast::fit;
use asof_tools::input::format::InputFormat;
use asof_tools::input::reader::{Input, InputOptions};
use asof_tools::input::source::Source;
use std::sync::Arc;

fn batch(rows: i64) -> RecordBatch {
    let dictionary: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("k{}", row % 3))));
    let dictionary =
        cast(&dictionary, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)))
            .unwrap();
    let views: ArrayRef = Arc::new(StringViewArray::from_iter(
        (0..rows).map(|row| (row % 4 > 0).then(|| format!("view {row}"))),
    ));
    let large: ArrayRef = Arc::new(LargeStringArray::from_iter_values((0..rows).map(|row| row.to_string())));
    let dates: ArrayRef = Arc::new(Date64Array::from_iter_values((0..rows).map(|row| row * 86_400_000)));
    let nulls: ArrayRef = Arc::new(NullArray::new(rows as usize));
    let mut lists = LargeListBuilder::new(Int32Builder::new());
    (0..rows).for_each(|row| lists.append_value([Some(row as i32), None]));
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef),
        ("dictionary", dictionary),
        ("view", views),
        ("large", large),
        ("day", dates),
        ("nothing", nulls),
        ("list", Arc::new(lists.finish()) as ArrayRef),
    ])
    .unwrap()
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn arrow_file(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn arrow_stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

type Rows = Vec<Vec<Option<String>>>;

fn rows_of(bytes: Vec<u8>) -> asof_engine::Result<(Vec<String>, Rows)> {
    rows_of_format(bytes, None)
}

fn rows_of_format(bytes: Vec<u8>, format: Option<InputFormat>) -> asof_engine::Result<(Vec<String>, Rows)> {
    let options = InputOptions { format, ..InputOptions::default() };
    let input = Input::new(Source::memory("data", bytes), options)?;
    let mut reader = input.open()?;
    let columns = reader.columns().unwrap();
    let types: Vec<ColumnType> =
        columns.iter().map(|(_, column_type)| column_type.clone().unwrap_or(ColumnType::Text)).collect();
    let mut rows = Vec::new();
    while let Some(chunk) = reader.next_chunk(&mut |row| Err(row.to_error("data")))? {
        let arrays: Vec<ArrayRef> = types
            .iter()
            .enumerate()
            .map(|(index, column_type)| chunk.column(index, column_type).unwrap())
            .collect();
        for row in 0..chunk.rows() {
            rows.push(
                types
                    .iter()
                    .zip(&arrays)
                    .map(|(column_type, array)| format_cell(column_type, array, row))
                    .collect(),
            );
        }
    }
    let columns =
        columns.iter().zip(&types).map(|((name, _), column_type)| format!("{name} {column_type}")).collect();
    Ok((columns, rows))
}

#[test]
fn parquet_and_arrow_give_canonical_types_and_all_rows() {
    let batch = batch(20_000);
    for (what, bytes) in
        [("parquet", parquet(&batch)), ("file", arrow_file(&batch)), ("stream", arrow_stream(&batch))]
    {
        for bytes in [zstd::bulk::compress(&bytes, 1).unwrap(), bytes] {
            let (columns, rows) = rows_of(bytes).unwrap();
            assert_eq!(columns[0], "id int64", "{what}");
            assert_eq!(columns[1..4], ["dictionary text", "view text", "large text"], "{what}");
            assert_eq!(columns[6], "list list(int32)", "{what}");
            assert_eq!(rows.len(), 20_000, "{what}");
            let text = |text: &str| Some(text.to_string());
            let last = &rows[19_999];
            assert_eq!(last[..4], [text("19999"), text("k1"), text("view 19999"), text("19999")], "{what}");
            assert!(last[4].as_ref().unwrap().starts_with("2024-10-03"), "{what}: {:?}", last[4]);
            assert_eq!(last[5..], [None, text("[19999,null]")], "{what}");
            assert_eq!(rows[8][2], None, "{what}");
        }
    }
}

#[test]
fn unsupported_types_are_refused_by_column() {
    let months: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("span", months)]).unwrap();
    let error = rows_of(arrow_file(&batch)).unwrap_err();
    assert_eq!(error.kind(), asof_engine::ErrorKind::Unsupported);
    assert!(error.to_string().starts_with("data: column 'span': columns of type Interval"), "{error}");
}

#[test]
fn damaged_files_are_errors_whatever_is_damaged() {
    let batch = batch(50);
    for bytes in [parquet(&batch), arrow_file(&batch), arrow_stream(&batch)] {
        for cut in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
            let _ = rows_of(bytes[..cut].to_vec());
            let mut flipped = bytes.clone();
            flipped[cut] ^= 0x55;
            let _ = rows_of(flipped);
        }
        assert!(rows_of(bytes[..bytes.len() / 2].to_vec()).is_err());
    }
}

/// The places of some bytes.
fn places<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, window)| *window == wanted).map(|(at, _)| at)
}

fn refused(bytes: Vec<u8>, expected: &str) {
    let format = if bytes.starts_with(b"PAR1") { InputFormat::Parquet } else { InputFormat::Arrow };
    let rows = rows_of_format(bytes, Some(format));
    let error = rows.map(|(columns, rows)| (columns, rows.len())).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains(": write") || error.contains("; write"), "{error}");
}

#[test]
fn arrow_is_asked_for_no_more_than_it_holds() {
    let batch = batch(50);
    // The metadata of a stream's first message, with and without the marker before its length.
    let mut stream = arrow_stream(&batch);
    stream[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    refused(
        stream.clone(),
        "data: at byte 0: the metadata of a message of 2147483655 bytes goes beyond the end",
    );
    refused(
        stream[4..].to_vec(),
        "data: at byte 0: the metadata of a message of 2147483651 bytes goes beyond",
    );
    stream[4..8].copy_from_slice(&(-5i32).to_le_bytes());
    refused(stream, "data: at byte 0: a message of -5 bytes");
    // A stream that ends within a message.
    let stream = arrow_stream(&batch);
    refused(stream[..stream.len() - 30].to_vec(), "goes beyond the end of the file");
    refused(stream[..3].to_vec(), "data: at byte 0: the length of a message of 4 bytes goes beyond the end");
    // The footer of a file.
    let mut file = arrow_file(&batch);
    let at = file.len() - 10;
    for length in [i32::MAX, -1] {
        file[at..at + 4].copy_from_slice(&length.to_le_bytes());
        refused(
            file.clone(),
            &format!("data: at byte {at}: a footer of {length} bytes is longer than the file"),
        );
    }
    refused(b"ARROW1".to_vec(), "goes beyond the end of the file");
}

#[test]
fn bodies_of_arrow_lie_within_the_file() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values([0; 1000]));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let stream = arrow_stream(&batch);
    let length = |at: usize| i32::from_le_bytes(stream[at + 4..at + 8].try_into().unwrap()) as usize;
    let second = 8 + length(0);
    let body = root_as_message(&stream[second + 8..second + 8 + length(second)]).unwrap().bodyLength();
    for bytes in [stream.clone(), arrow_file(&batch)] {
        // It stands in the message, and in the footer of a file.
        let mut longer = bytes.clone();
        for at in places(&bytes, &body.to_le_bytes()) {
            longer[at..at + 8].copy_from_slice(&(1i64 << 40).to_le_bytes());
        }
        refused(longer, "the body of a message of 1099511627776 bytes goes beyond the end of the file");
    }
}

#[test]
fn compressed_arrow_unpacks_to_what_its_file_may_need() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(vec![7; 5000]));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    for codec in [CompressionType::ZSTD, CompressionType::LZ4_FRAME] {
        let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let bytes = writer.into_inner().unwrap();
        assert_eq!(rows_of(bytes.clone()).unwrap().1.len(), 5000);
        let at = places(&bytes, &40_000i64.to_le_bytes()).last().unwrap();
        for (length, expected) in [
            (1i64 << 40, "a batch needs 1099511627776 bytes of memory"),
            (i64::MAX, "a batch needs "),
            (-2, "a buffer that unpacks to -2 bytes"),
            (40_001, ""),
        ] {
            let mut changed = bytes.clone();
            changed[at..at + 8].copy_from_slice(&length.to_le_bytes());
            refused(changed, expected);
        }
    }
}

/// A Thrift number, as encoded.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A Parquet file of some bytes and a footer.
fn parquet_of(start: &[u8], footer: &[u8]) -> Vec<u8> {
    [b"PAR1", start, footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn footers_of_parquet_are_asked_for_no_more_than_they_hold() {
    let mut file = parquet(&batch(50));
    let at = file.len() - 8;
    file[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(rows_of(file).is_err());
    // Version 1; a schema of an empty root; no rows; two thousand million row groups.
    let root = [&[0x48, 1, b'r', 0x15, 0, 0][..]].concat();
    let footer = [&[0x15, 2, 0x19, 0x1C][..], &root, &[0x16, 0, 0x19, 0xFC], &varint(2_000_000_000)].concat();
    let expected = "data: at byte 4: the footer makes no sense; the file is damaged or cut off: write";
    refused(parquet_of(&[], &footer), expected);
    // Text beyond the footer.
    refused(parquet_of(&[], &[&[0x68][..], &varint(1 << 40)].concat()), expected);
}

#[test]
fn pages_of_parquet_unpack_to_what_their_file_may_need() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values([7; 5000]));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let plain = WriterProperties::builder().set_dictionary_enabled(false).build();
    for properties in [plain, WriterProperties::default()] {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        assert_eq!(rows_of(bytes.clone()).unwrap().1.len(), 5000);
        // Type; bytes unpacked; the rest. Without compression, an unpacked size is not used and may be anything.
        assert_eq!((bytes[4], bytes[6]), (0x15, 0x15));
        let end = 7 + bytes[7..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let mut changed = bytes.clone();
        changed.splice(7..end, varint(i32::MAX as u64 * 2));
        refused(changed, "data: at byte 4: a page needs 2147483647 bytes of memory, and a file of ");
        let mut changed = bytes.clone();
        changed[6] = 0x16;
        refused(changed, "data: at byte 4: the header of a page makes no sense");
    }
}

/// The library takes nothing for the truths in a list, and skips numbers beyond the end of the file one by one.
#[test]
fn headers_of_parquet_end_before_the_file_does() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values([7; 5000]));
    let mut bytes = parquet(&RecordBatch::try_from_iter([("id", ids)]).unwrap());
    // Type, bytes unpacked and packed; an unknown list of seven truths, which are a map of two thousand million pairs
    // to who takes nothing for them.
    let truths = [&[0x1B][..], &varint(i32::MAX as u64), &[0x77]].concat();
    let header = [&[0x15, 0, 0x15, 2, 0x15, 2, 0x69, 0x71][..], &truths, &[0]].concat();
    bytes[4..4 + header.len()].copy_from_slice(&header);
    refused(bytes, "the header of a page makes no sense");
}

#[test]
fn dictionaries_of_parquet_have_values_that_their_file_may_need() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values([7; 5000]));
    let bytes = parquet(&RecordBatch::try_from_iter([("id", ids)]).unwrap());
    // The header of a dictionary page within that of the page: the number of its values.
    let at = places(&bytes[..40], &[0x4C, 0x15, 2]).next().unwrap() + 2;
    let mut changed = bytes.clone();
    changed.splice(at..at + 1, varint(2_000_000_000 * 2));
    refused(changed, "data: at byte 4: a dictionary needs 32000000000 bytes of memory");
}

fn fitted(array: ArrayRef, column_type: &str) -> Result<Vec<Option<String>>, String> {
    let column_type = ColumnType::parse(column_type).unwrap();
    let fitted = fit(&array, &column_type).map_err(|error| format!("{}: {}", error.row, error.message))?;
    assert_eq!(*fitted.data_type(), column_type.to_arrow());
    Ok((0..fitted.len()).map(|row| format_cell(&column_type, &fitted, row)).collect())
}

#[test]
fn values_fit_another_type_only_whole() {
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(300)]));
    let text = |values: [Option<&str>; 3]| Ok(values.map(|value| value.map(str::to_string)).to_vec());
    assert_eq!(fitted(ints.clone(), "int16"), text([Some("1"), None, Some("300")]));
    assert_eq!(fitted(ints.clone(), "float64"), text([Some("1.0"), None, Some("300.0")]));
    assert_eq!(fitted(ints.clone(), "decimal(9,2)"), text([Some("1.00"), None, Some("300.00")]));
    assert_eq!(fitted(ints.clone(), "int8").unwrap_err(), "2: '300' (int64) does not fit int8");
    assert_eq!(
        fitted(ints.clone(), "decimal(4,2)").unwrap_err(),
        "2: '300' (int64) does not fit decimal(4,2)"
    );
    assert_eq!(fitted(ints, "text").unwrap_err(), "0: the file's values are int64, which cannot become text");
    let big: ArrayRef = Arc::new(Int64Array::from(vec![9_007_199_254_740_993]));
    assert!(fitted(big, "float64").is_err());
    let negative: ArrayRef = Arc::new(Int32Array::from(vec![-1]));
    assert!(fitted(negative, "uint64").is_err());
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), None]));
    assert_eq!(fitted(floats.clone(), "float32"), text([Some("1.5"), Some("NaN"), None]));
    assert!(fitted(floats, "int64").unwrap_err().starts_with("0: '1.5'"));
    let strings: ArrayRef = Arc::new(StringArray::from(vec![None, Some("1")]));
    assert_eq!(
        fitted(strings, "int64").unwrap_err(),
        "1: the file's values are text, which cannot become int64"
    );
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_500]).with_timezone("UTC"));
    assert!(fitted(nanos.clone(), "timestamp(us,UTC)").unwrap_err().starts_with("1: "));
    assert_eq!(
        fitted(nanos.slice(0, 1), "timestamp(us,UTC)").unwrap(),
        [Some("1970-01-01T00:00:00.000001Z".to_string())]
    );
    assert!(fitted(nanos, "timestamp(us)").is_err());
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"ab", b"abc"]));
    assert!(fitted(bytes.clone(), "binary(2)").is_err());
    assert_eq!(fitted(bytes.slice(0, 1), "binary(2)").unwrap(), [Some("6162".to_string())]);
    let nothing: ArrayRef = Arc::new(NullArray::new(2));
    assert_eq!(fitted(nothing, "struct(a int64)").unwrap(), [None, None]);
}

#[test]
fn readers_that_panic_give_an_error_and_no_other_words() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let bytes = arrow_stream(&RecordBatch::try_from_iter([("id", ids)]).unwrap());
    // That no integer has 63 bits is taken for granted by the library.
    let width = 64i32.to_le_bytes();
    let mut widths = places(&bytes, &width).map(|at| {
        let mut changed = bytes.clone();
        changed[at] = 63;
        changed
    });
    let damaged = "data: the file is damaged; write it again";
    let bytes = widths
        .find(|bytes| rows_of(bytes.clone()).is_err_and(|error| error.to_string() == damaged))
        .expect("one of them is the width");
    let scratch = Scratch::new();
    scratch.ok(&["init", "db"]);
    scratch.write("x.arrow", bytes);
    let error = scratch.fails(1, &["import", "db", "t", "x.arrow", "--mode", "append"]);
    assert!(error.ends_with("x.arrow: the file is damaged; write it again\n"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
