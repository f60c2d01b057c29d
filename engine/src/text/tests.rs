use super::*;
use crate::test_rows::{arbitrary_batch, batch_of_json, column_type, schema_of};
use arrow::array::{BinaryArray, Float64Array, StringArray, UInt64Array};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;

fn csv(batch: &RecordBatch) -> String {
    let (schema, mut out) = (schema_of(batch), Vec::new());
    write_csv_header(&schema, &mut out);
    write_csv_rows(&schema, batch, &mut out);
    String::from_utf8(out).unwrap()
}

fn jsonl(batch: &RecordBatch) -> String {
    let mut out = Vec::new();
    write_jsonl_rows(&schema_of(batch), batch, &mut out);
    String::from_utf8(out).unwrap()
}

/// The examples of the page: type, CSV, JSON.
fn examples() -> Vec<(ColumnType, String, String)> {
    let page = include_str!("../../../docs/text-forms.md");
    let control = |text: &str| text.replace('␊', "\n").replace('␍', "\r").replace('␉', "\t");
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
        .map(|line| {
            let (column_type, rest) = line.split_once("` | ").unwrap();
            let (csv, json) = rest.split_once(" | ").unwrap();
            let unquote = |text: &str| text.trim_matches('`').to_string();
            (ColumnType::parse(column_type).expect(line), control(&unquote(csv)), unquote(json))
        })
        .collect()
}

/// Takes the quotes off a CSV cell.
fn unquoted(cell: &str) -> Option<String> {
    match cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')) {
        _ if cell.is_empty() => None,
        Some(inner) => Some(inner.replace("\"\"", "\"")),
        None => Some(cell.to_string()),
    }
}

#[test]
fn every_example_of_the_page_is_written_and_read_as_it_says() {
    let examples = examples();
    assert!(examples.len() > 60, "the page lost its examples");
    for (column_type, csv_cell, json) in examples {
        let read_csv =
            parse_column(&column_type, std::iter::once(unquoted(&csv_cell).as_deref())).expect(&csv_cell);
        let value: Value = serde_json::from_str(&json).expect(&json);
        let read_json = json_to_column(&column_type, &[Some(&value)]).expect(&json);
        for array in [read_csv, read_json] {
            let (cells, mut as_csv, mut as_json) = (Cells::of(&array), Vec::new(), Vec::new());
            cells.write_csv(0, false, &mut as_csv);
            cells.write_json(0, &mut as_json);
            assert_eq!(String::from_utf8(as_csv).unwrap(), csv_cell, "{column_type}");
            assert_eq!(String::from_utf8(as_json).unwrap(), json, "{column_type}");
        }
    }
}

#[test]
fn the_page_has_an_example_of_every_type() {
    let types: Vec<String> = examples().iter().map(|(column_type, _, _)| column_type.to_string()).collect();
    for name in [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
        "decimal(",
        "text",
        "binary",
        "binary(",
        "date",
        "time(s)",
        "time(ms)",
        "time(us)",
        "time(ns)",
        "timestamp(s)",
        "timestamp(ms)",
        "timestamp(us)",
        "timestamp(ns)",
        "timestamp(us,UTC)",
        "list(",
        "struct(",
    ] {
        assert!(types.iter().any(|text| text.starts_with(name)), "{name}");
    }
}

#[test]
fn files_have_a_header_and_line_feeds() {
    let batch = batch_of_json(&["int64", "text"], r#"[1,"a"] [null,""] [3,null]"#);
    assert_eq!(csv(&batch), "c0,c1\n1,a\n,\"\"\n3,\n");
    assert_eq!(jsonl(&batch), "{\"c0\":1,\"c1\":\"a\"}\n{\"c0\":null,\"c1\":\"\"}\n{\"c0\":3,\"c1\":null}\n");
}

#[test]
fn in_one_column_null_is_a_word_and_the_text_is_quoted() {
    let batch = batch_of_json(&["text"], r#"[null] ["NULL"] ["null"] [""]"#);
    assert_eq!(csv(&batch), "c0\nNULL\n\"NULL\"\nnull\n\"\"\n");
    assert_eq!(csv(&batch_of_json(&["int8"], "[null] [1]")), "c0\nNULL\n1\n");
}

#[test]
fn names_are_quoted_as_text_is() {
    let batch = batch_of_json(&["int8", "int8"], "[1,2]");
    let names = ["a,\"b\"", "line\nfeed"];
    let fields = names.map(|name| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Int8, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let batch = RecordBatch::try_new(schema, batch.columns().to_vec()).unwrap();
    assert_eq!(csv(&batch), "\"a,\"\"b\"\"\",\"line\nfeed\"\n1,2\n");
    assert_eq!(jsonl(&batch), "{\"a,\\\"b\\\"\":1,\"line\\nfeed\":2}\n");
    assert_eq!(header_bytes(&schema_of(&batch)), 22);
}

#[test]
fn controls_are_escaped_in_json_alone() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["\u{0}\u{8}\u{c}\u{1f}\u{7f}"]));
    let (cells, mut out) = (Cells::of(&array), Vec::new());
    cells.write_json(0, &mut out);
    assert_eq!(out, b"\"\\u0000\\b\\f\\u001f\x7f\"");
    out.clear();
    cells.write_csv(0, false, &mut out);
    assert_eq!(out, b"\x00\x08\x0c\x1f\x7f");
}

#[test]
fn misfits_name_row_and_value() {
    for (column_type, cell, message) in [
        ("int8", "300", "'300' does not fit int8 (-128 to 127)"),
        ("uint8", "-1", "'-1' does not fit uint8 (0 to 255)"),
        ("int32", "1.5", "'1.5' is not an int32"),
        ("int64", "", "'' is not an int64"),
        ("float64", "1e999", "'1e999' does not fit float64"),
        ("float32", "1e39", "'1e39' does not fit float32"),
        ("decimal(5,2)", "1.005", "'1.005' has more digits after the point than decimal(5,2) keeps"),
        ("decimal(5,2)", "1000", "'1000' has more digits before the point than decimal(5,2) has"),
        ("bool", "yes", "'yes' is not a bool (true or false)"),
        ("binary", "abc", "'abc' is not binary: pairs of hex digits are"),
        ("binary(2)", "abcdef", "'abcdef' has 3 bytes, binary(2) has 2"),
        ("date", "26.8.2025", "'26.8.2025' is not a date (2025-08-26)"),
        ("time(ms)", "1:00\n", "'1:00' is not a time(ms) (10:00:00, at most 3 decimals)"),
        (
            "timestamp(s)",
            "2025-08-26T10:00Z",
            "'2025-08-26T10:00Z' has an offset, and a timestamp(s) without a zone has none",
        ),
        ("timestamp(ns)", "2300-01-01", "'2300-01-01' does not fit timestamp(ns)"),
        ("list(int8)", "[1,\"x\"]", "in a list: 'x' is not an int8"),
        ("list(int8)", "{}", "'{}' is not a list"),
        ("struct(a int8)", "{\"a\":true}", "in member 'a': 'true' is not a int8"),
        ("struct(a int8)", "{\"b\":1}", "a struct has no member 'b'"),
    ] {
        let column_type = ColumnType::parse(column_type).unwrap();
        let error = parse_column(&column_type, [None, Some(cell)].into_iter()).unwrap_err();
        assert_eq!((error.row, error.message.as_str()), (1, message));
    }
    let json = |column_type: &str, json: &str| {
        let value: Value = serde_json::from_str(json).unwrap();
        json_to_column(&ColumnType::parse(column_type).unwrap(), &[None, Some(&value)])
            .map_err(|error| error.message)
    };
    assert_eq!(json("text", "5").unwrap_err(), "'5' is not a text");
    assert_eq!(json("int64", "1.5").unwrap_err(), "'1.5' is not a int64");
    assert_eq!(json("bool", "1").unwrap_err(), "'1' is not a bool");
    assert_eq!(
        json("list(list(int8))", "[[1],[300]]").unwrap_err(),
        "in a list: in a list: '300' does not fit int8 (-128 to 127)"
    );
    assert!(parse_scalar(&ColumnType::Int8, "x").is_err());
}

#[test]
fn long_and_wild_values_are_shortened_in_messages() {
    let error = parse_column(&ColumnType::Int8, std::iter::once(Some("x\u{1b}[31m\ny".repeat(100).as_str())))
        .unwrap_err();
    assert!(!error.message.contains(char::is_control) && error.message.len() < 300, "{}", error.message);
}

#[test]
fn large_numbers_stay_exact_through_json() {
    let value: Value = serde_json::from_str(r#"[18446744073709551615, 1e3, 5.0, "7"]"#).unwrap();
    let values: Vec<Option<&Value>> = value.as_array().unwrap().iter().map(Some).collect();
    let array = json_to_column(&ColumnType::UInt64, &values).unwrap();
    assert_eq!(array.to_data(), UInt64Array::from(vec![u64::MAX, 1000, 5, 7]).to_data());
    let value: Value = serde_json::from_str("12345678901234567890123456.789012345678").unwrap();
    let array = json_to_column(&ColumnType::Decimal(38, 12), &[Some(&value)]).unwrap();
    assert_eq!(
        format_cell(&ColumnType::Decimal(38, 12), &array, 0).unwrap(),
        "12345678901234567890123456.789012345678"
    );
}

#[test]
fn usual_variants_are_read() {
    let read = |column_type: &str, text: &str| {
        let column_type = ColumnType::parse(column_type).unwrap();
        format_cell(&column_type, &parse_scalar(&column_type, text).expect(text), 0).unwrap()
    };
    for (column_type, text, form) in [
        ("bool", "TRUE", "true"),
        ("int32", " +042 ", "42"),
        ("float64", "Infinity", "inf"),
        ("float64", "-nan", "NaN"),
        ("float64", ".5", "0.5"),
        ("binary", "0xABcd", "abcd"),
        ("binary(16)", "0198e5d2-7c00-7000-8000-000000000001", "0198e5d27c0070008000000000000001"),
        ("timestamp(ms,UTC)", "2025-08-26 12:00:00+02:00", "2025-08-26T10:00:00.000Z"),
        ("timestamp(us)", "2025-08-26", "2025-08-26T00:00:00.000000"),
        ("struct(a int8, b text)", " {\"b\": \"x\"} ", "{\"a\":null,\"b\":\"x\"}"),
        ("text", " as it is ", " as it is "),
    ] {
        assert_eq!(read(column_type, text), form);
    }
}

#[test]
fn a_diff_or_projection_has_a_schema_too() {
    let batch = batch_of_json(&["int64", "list(text)"], "");
    assert_eq!(schema_of_arrow(&batch.schema()).unwrap(), schema_of(&batch));
}

#[test]
fn numbers_that_are_not_survive_as_text() {
    let array: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, -f64::NAN, f64::NEG_INFINITY]));
    let column = Column::new("a", ColumnType::Float64);
    assert_eq!(cell_bytes(&column, &array, false), (10, 16));
    let empty: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b""]));
    assert_eq!(cell_bytes(&Column::new("b", ColumnType::Binary), &empty, false), (2, 2));
}

proptest! {
    #[test]
    fn sizes_from_sums_are_those_of_the_files(batch in arbitrary_batch()) {
        let schema = schema_of(&batch);
        let one_column = schema.columns.len() == 1;
        let sums: Vec<(u64, u64)> = schema
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| cell_bytes(column, array, one_column))
            .collect();
        let (csv_sums, json_sums): (Vec<u64>, Vec<u64>) = sums.iter().copied().unzip();
        let rows = batch.num_rows() as u64;
        prop_assert_eq!(file_size_csv(&schema, rows, &csv_sums), csv(&batch).len() as u64);
        prop_assert_eq!(file_size_jsonl(&schema, rows, &json_sums), jsonl(&batch).len() as u64);
        for ((column, array), (csv, json)) in schema.columns.iter().zip(batch.columns()).zip(sums) {
            let (even, odd): (Vec<u32>, Vec<u32>) = (0..batch.num_rows() as u32).partition(|row| row % 2 == 0);
            let even = cell_bytes_of_rows(column, array, one_column, &even);
            let odd = cell_bytes_of_rows(column, array, one_column, &odd);
            prop_assert_eq!((even.0 + odd.0, even.1 + odd.1), (csv, json));
        }
    }

    #[test]
    fn slices_are_written_as_their_rows_are(batch in arbitrary_batch(), from in 0usize..20) {
        let from = from.min(batch.num_rows());
        let whole: String = csv(&batch.slice(0, from)) + csv(&batch.slice(from, batch.num_rows() - from)).split_once('\n').unwrap().1;
        let header = csv(&batch.slice(0, 0));
        // Cells may hold line feeds, but the header does not.
        prop_assert!(whole.starts_with(&header));
        prop_assert_eq!(whole, csv(&batch));
    }

    #[test]
    fn what_is_written_reads_back_the_same(batch in arbitrary_batch()) {
        for (index, array) in batch.columns().iter().enumerate() {
            let column_type = &schema_of(&batch).columns[index].column_type;
            let texts: Vec<Option<String>> = (0..array.len()).map(|row| format_cell(column_type, array, row)).collect();
            let again = parse_column(column_type, texts.iter().map(Option::as_deref)).unwrap();
            prop_assert_eq!(jsonl_column(&again), jsonl_column(array));
        }
        let lines: Vec<Value> = jsonl(&batch).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (index, array) in batch.columns().iter().enumerate() {
            let values: Vec<Option<&Value>> = lines.iter().map(|line| line.get(format!("c{index}"))).collect();
            let again = json_to_column(&schema_of(&batch).columns[index].column_type, &values).unwrap();
            prop_assert_eq!(jsonl_column(&again), jsonl_column(array));
        }
    }

    #[test]
    fn json_lines_are_json_to_another_parser(batch in arbitrary_batch()) {
        for line in jsonl(&batch).lines() {
            // serde_json writes compactly, escapes as little, and keeps the order of members and the text of numbers,
            // but for a plus before exponents.
            let value: Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(value.to_string().replace("e+", "e"), line.replace("e+", "e"));
        }
    }

    #[test]
    fn no_cell_makes_the_reader_panic(column_type in column_type(), cell in "\\PC{0,30}") {
        let _ = parse_column(&column_type, [Some(cell.as_str()), None].into_iter());
        let _ = parse_column(&column_type, std::iter::once(Some("[{\"a\":1e99999999999,\"d\":[[null]]},{}]")));
    }

    #[test]
    fn no_near_miss_makes_the_reader_panic(column_type in column_type(), cell in "[-+0-9.eETZ:xa ]{0,24}") {
        if let Ok(array) = parse_column(&column_type, std::iter::once(Some(cell.as_str()))) {
            let text = format_cell(&column_type, &array, 0).unwrap();
            let again = parse_scalar(&column_type, &text).unwrap();
            prop_assert_eq!(format_cell(&column_type, &again, 0).unwrap(), text);
        }
    }
}

fn jsonl_column(array: &ArrayRef) -> Vec<String> {
    let cells = Cells::of(array);
    let json = |row| {
        let mut out = Vec::new();
        cells.write_json(row, &mut out);
        String::from_utf8(out).unwrap()
    };
    (0..array.len()).map(json).collect()
}
