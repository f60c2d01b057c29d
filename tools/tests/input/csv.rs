//! CSV and TSV, cell by cell.

use asof_tools::input::cells::write_cell;
use asof_tools::input::csv::{CsvOptions, CsvReader};
use proptest::prelude::*;
use std::io::{self, Read};

type Rows = Vec<Vec<Option<String>>>;

/// Gives a few bytes at a time.
struct Drops(io::Cursor<Vec<u8>>, usize);

impl Read for Drops {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = buf.len().min(self.1);
        self.0.read(&mut buf[..count])
    }
}

struct ReadBack {
    columns: Vec<String>,
    rows: Rows,
    bad: Vec<String>,
}

fn read_all(text: &[u8], step: usize, options: CsvOptions) -> Result<ReadBack, String> {
    let bytes = Box::new(Drops(io::Cursor::new(text.to_vec()), step));
    let mut reader = CsvReader::new("t.csv", bytes, options).map_err(|error| error.to_string())?;
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    loop {
        let next = reader.next_cells(&mut |row| {
            bad.push(format!("{} | {}", row.to_error("t.csv"), row.record));
            Ok(())
        });
        let Some(cells) = next.map_err(|error| error.to_string())? else { break };
        for row in 0..cells.rows() {
            let cell = |column| cells.get(row, column).map(str::to_string);
            rows.push((0..reader.columns().len()).map(cell).collect());
        }
    }
    Ok(ReadBack { columns: reader.columns().to_vec(), rows, bad })
}

fn read(text: &str) -> ReadBack {
    read_all(text.as_bytes(), usize::MAX, CsvOptions::default()).unwrap()
}

fn rows(expected: &[&[Option<&str>]]) -> Rows {
    expected.iter().map(|row| row.iter().map(|cell| cell.map(str::to_string)).collect()).collect()
}

#[test]
fn null_and_the_empty_string_are_kept_apart() {
    let back = read("a,b\n,\"\"\n\"\",\n,\n");
    assert_eq!(back.rows, rows(&[&[None, Some("")], &[Some(""), None], &[None, None]]));
}

#[test]
fn one_column_files_write_null_as_a_word() {
    let back = read("a\nNULL\n\"NULL\"\n\"\"\nx\n\ny\n");
    let expected: [&[Option<&str>]; 6] =
        [&[None], &[Some("NULL")], &[Some("")], &[Some("x")], &[None], &[Some("y")]];
    assert_eq!(back.rows, rows(&expected));
    let two = read("a,b\nNULL,NULL\n\n");
    assert_eq!(two.rows, rows(&[&[Some("NULL"), Some("NULL")]]));
}

#[test]
fn quotes_hold_delimiters_line_ends_and_quotes() {
    let back = read("a,b\n\"x,\"\"y\"\"\",\"1\n2\r\n3\"\r\n\"\"\"\",5\" pipe\n");
    assert_eq!(back.rows, rows(&[&[Some("x,\"y\""), Some("1\n2\r\n3")], &[Some("\""), Some("5\" pipe")]]));
    assert!(back.bad.is_empty(), "{:?}", back.bad);
}

#[test]
fn line_ends_may_be_either_and_the_last_may_be_missing() {
    for text in [
        "a,b\n1,2\n3,4\n",
        "a,b\r\n1,2\r\n3,4\r\n",
        "a,b\n1,2\r\n3,4",
        "a,b\r\n1,2\n3,4\r",
        "a,b\n\n1,2\n\r\n3,4\n\n",
    ] {
        assert_eq!(read(text).rows, rows(&[&[Some("1"), Some("2")], &[Some("3"), Some("4")]]), "{text:?}");
    }
    assert_eq!(read("a,b\n1,\"2\"").rows, rows(&[&[Some("1"), Some("2")]]));
    assert_eq!(read("a,b\n1,").rows, rows(&[&[Some("1"), None]]));
}

#[test]
fn ragged_rows_are_bad_and_named_with_line_and_offset() {
    let back = read("a,b,c\n1,2,3\n4,5\n\"x\ny\",2,3\n6,7,8,9\n10,11,12\n");
    assert_eq!(back.rows.len(), 3);
    assert_eq!(
        back.bad,
        [
            "t.csv: line 3 (byte 12): 2 cells, where 3 belong | 4,5",
            "t.csv: line 6 (byte 26): 4 cells, where 3 belong | 6,7,8,9",
        ]
    );
}

#[test]
fn text_behind_a_closing_quote_is_bad_and_the_next_line_is_read() {
    let back = read("a,b\n1,\"x\"y\n2,ok\n");
    assert_eq!(back.rows, rows(&[&[Some("2"), Some("ok")]]));
    assert_eq!(
        back.bad,
        [
            "t.csv: line 2 (byte 9), column 'b': text after a closing quote; a quote inside a quoted cell is doubled | 1,\"x\"y"
        ]
    );
}

#[test]
fn a_quote_that_is_never_closed_ends_the_reading() {
    let error = read_all(b"a,b\n1,2\n3,\"x\n4,5\n", 3, CsvOptions::default()).err().unwrap();
    assert_eq!(error, "t.csv: line 3 (byte 10): the quote that opens here is never closed");
    let later = read_all(b"a,b\n\"1\n1\",\"x\n4,5\n", 3, CsvOptions::default()).err().unwrap();
    assert_eq!(later, "t.csv: line 3 (byte 10): the quote that opens here is never closed");
}

#[test]
fn bytes_that_are_not_utf8_are_bad_and_named() {
    let back = read_all(b"a,b\n1,caf\xe9\n\"2\",\"\xff\"\n3,x\n", 7, CsvOptions::default()).unwrap();
    assert_eq!(back.rows, rows(&[&[Some("3"), Some("x")]]));
    assert_eq!(
        back.bad,
        [
            "t.csv: line 2 (byte 9), column 'b': byte 0xE9 is not UTF-8; name the encoding with --encoding | 1,caf\u{fffd}",
            "t.csv: line 3 (byte 16), column 'b': byte 0xFF is not UTF-8; name the encoding with --encoding | \"2\",\"\u{fffd}\"",
        ]
    );
}

#[test]
fn headers_name_columns_once() {
    assert_eq!(read("\"a,b\",\"c \"\"d\"\"\",\n1,2,3\n").columns, ["a,b", "c \"d\"", "column3"]);
    assert_eq!(read("\n\na\n1\n").columns, ["a"]);
    let twice = read_all(b"a,b,a\n1,2,3\n", 9, CsvOptions::default()).err().unwrap();
    assert_eq!(twice, "t.csv: the header names column 'a' twice");
    let none = read_all(b"", 9, CsvOptions::default()).err().unwrap();
    assert!(none.contains("there is no header line; use --no-header"), "{none}");
}

#[test]
fn files_without_header_are_named_by_position_or_by_the_table() {
    let options = CsvOptions { header: false, ..CsvOptions::default() };
    let back = read_all(b"1,2\n3,\n", 2, options.clone()).unwrap();
    assert_eq!(back.columns, ["column1", "column2"]);
    assert_eq!(back.rows, rows(&[&[Some("1"), Some("2")], &[Some("3"), None]]));
    let named = CsvOptions { names: Some(vec!["x".into(), "y".into()]), ..options.clone() };
    assert_eq!(read_all(b"1,2\n", 2, named.clone()).unwrap().columns, ["x", "y"]);
    let error = read_all(b"1,2,3\n", 2, named).err().unwrap();
    assert_eq!(error, "t.csv: line 1 (byte 0): 3 cells, where the table has 2 columns");
    let long_first = format!("\n\n{}\n", "x".repeat(600_000));
    let back = read_all(long_first.as_bytes(), 1 << 16, options).unwrap();
    assert_eq!(back.rows[0][0].as_ref().unwrap().len(), 600_000);
}

#[test]
fn lines_can_be_skipped_and_delimiters_chosen() {
    let options = CsvOptions { skip: 2, delimiter: b';', ..CsvOptions::default() };
    let back = read_all(b"# a \"comment\nmore\na;b\n1,5;2\n", 4, options).unwrap();
    assert_eq!(back.columns, ["a", "b"]);
    assert_eq!(back.rows, rows(&[&[Some("1,5"), Some("2")]]));
    let tabs = CsvOptions { delimiter: b'\t', ..CsvOptions::default() };
    assert_eq!(read_all(b"a\tb\n1,\t\n", 4, tabs).unwrap().rows, rows(&[&[Some("1,"), None]]));
    let beyond = CsvOptions { skip: 9, ..CsvOptions::default() };
    assert!(read_all(b"a\n1\n", 4, beyond).err().unwrap().contains("there is no header line"));
}

#[test]
fn null_texts_are_null_only_where_they_are_not_quoted() {
    let options = CsvOptions { nulls: vec!["NA".into(), "-".into()], ..CsvOptions::default() };
    let back = read_all(b"a,NA\nNA,\"NA\"\n-,\nNAN,--\n", 5, options).unwrap();
    assert_eq!(back.columns, ["a", "NA"]);
    assert_eq!(back.rows, rows(&[&[None, Some("NA")], &[None, None], &[Some("NAN"), Some("--")]]));
}

#[test]
fn lines_are_counted_over_chunks_and_quoted_line_ends() {
    let mut text = "a,b\n".to_string();
    for row in 0..20_000 {
        text.push_str(&format!("{row},\"x\ny\"\n"));
    }
    text.push_str("bad\n");
    let back = read(&text);
    assert_eq!(back.rows.len(), 20_000);
    assert_eq!(back.bad.len(), 1);
    assert!(back.bad[0].starts_with("t.csv: line 40002 "), "{:?}", back.bad);
    let offset = text.len() - 4;
    assert!(back.bad[0].contains(&format!("(byte {offset})")), "{:?}", back.bad);
}

#[test]
fn a_record_without_end_is_refused_before_memory_is() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            buf.fill(b'x');
            Ok(buf.len())
        }
    }
    let text = Box::new(io::Cursor::new(b"a,b\n1,2\n\"".to_vec()).chain(Endless));
    let mut reader = CsvReader::new("t.csv", text, CsvOptions::default()).unwrap();
    let error = reader.next_cells(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.starts_with("t.csv: line 3 (byte 8): a record of more than 67108864 bytes"), "{error}");
}

#[test]
fn a_line_of_delimiters_does_not_fill_memory_with_cells() {
    let text = format!("a,b\n{}\n1,2\n", ",".repeat(1 << 20));
    let back = read(&text);
    assert_eq!(back.rows, rows(&[&[Some("1"), Some("2")]]));
    assert!(back.bad[0].contains("1048577 cells, where 2 belong"));
    let error =
        read_all(format!("{}\n", ",".repeat(20_000)).as_bytes(), 4096, CsvOptions::default()).err().unwrap();
    assert!(error.contains("20001 columns are more than 16384"), "{error}");
}

fn cell() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(String::new())),
        1 => Just(Some("NULL".to_string())),
        6 => "[ab,\"\n\r\t é;-]{0,6}".prop_map(Some),
        2 => any::<String>().prop_map(Some),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back_whatever_the_pieces(
        width in 2usize..5,
        cells in proptest::collection::vec(cell(), 0..40),
        step in 1usize..40,
        crlf: bool,
    ) {
        let line_end = if crlf { "\r\n" } else { "\n" };
        let mut text = (0..width).map(|column| format!("c{column}")).collect::<Vec<_>>().join(",") + line_end;
        let expected: Rows = cells.chunks_exact(width).map(<[_]>::to_vec).collect();
        for row in &expected {
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    text.push(',');
                }
                write_cell(cell.as_deref(), &mut text);
            }
            text.push_str(line_end);
        }
        let back = read_all(text.as_bytes(), step, CsvOptions::default()).unwrap();
        prop_assert_eq!(back.bad, Vec::<String>::new());
        prop_assert_eq!(back.rows, expected);
    }

    #[test]
    fn no_bytes_make_it_panic_and_pieces_change_nothing(
        bytes in proptest::collection::vec(prop_oneof![4 => proptest::sample::select(b"a,\"\n\r\t".to_vec()), 1 => any::<u8>()], 0..200),
        step in 1usize..20,
        header: bool,
    ) {
        let options = CsvOptions { header, ..CsvOptions::default() };
        let whole = read_all(&bytes, usize::MAX, options.clone()).map(|back| (back.columns, back.rows, back.bad));
        let pieces = read_all(&bytes, step, options).map(|back| (back.columns, back.rows, back.bad));
        prop_assert_eq!(whole, pieces);
    }
}
