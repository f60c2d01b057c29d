//! CSV: any bytes give rows or errors, the same whatever the pieces they come in; what was read is written and read
//! back as the same rows; every type that is inferred reads the cells it was inferred from.

#![no_main]

use asof_engine::text::parse_column;
use asof_tools::input::cells::Cells;
use asof_tools::input::csv::{CsvOptions, CsvReader};
use asof_tools::input::infer::Evidence;
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Read};

// The first byte says how the rest is read.
fuzz_target!(|input: &[u8]| {
    let Some((&flags, bytes)) = input.split_first() else { return };
    let options = CsvOptions {
        header: flags & 1 == 0,
        delimiter: if flags & 2 == 0 { b',' } else { b'\t' },
        skip: u64::from(flags >> 2 & 3),
        nulls: if flags & 16 == 0 { Vec::new() } else { vec!["NA".to_string()] },
        names: None,
    };
    let whole = read(bytes, usize::MAX, options.clone());
    assert_eq!(whole, read(bytes, 1 + usize::from(flags >> 5), options));
    let Ok((columns, rows, _)) = whole else { return };
    check_types(&columns, &rows);
    check_written(&columns, &rows);
});

type Rows = Vec<Vec<Option<String>>>;
type Outcome = Result<(Vec<String>, Rows, Vec<String>), String>;

struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = buf.len().min(self.1);
        self.0.read(&mut buf[..count])
    }
}

fn read(bytes: &[u8], piece: usize, options: CsvOptions) -> Outcome {
    let bytes = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
    let mut reader = CsvReader::new("f", bytes, options).map_err(|error| error.to_string())?;
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    loop {
        let next = reader.next_cells(&mut |row| {
            bad.push(format!("{row:?}"));
            Ok(())
        });
        let Some(cells) = next.map_err(|error| error.to_string())? else { break };
        rows.extend((0..cells.rows()).map(|row| row_of(&cells, row, reader.columns().len())));
    }
    Ok((reader.columns().to_vec(), rows, bad))
}

fn row_of(cells: &Cells, row: usize, width: usize) -> Vec<Option<String>> {
    (0..width).map(|column| cells.get(row, column).map(str::to_string)).collect()
}

fn check_types(columns: &[String], rows: &Rows) {
    for column in 0..columns.len() {
        let cells = || rows.iter().map(|row| row[column].as_deref());
        let mut evidence = Evidence::default();
        cells().flatten().for_each(|text| evidence.add(text));
        if let Some(column_type) = evidence.column_type() {
            parse_column(&column_type, cells()).unwrap_or_else(|error| panic!("{column_type}: {error}"));
        }
    }
}

fn check_written(columns: &[String], rows: &Rows) {
    // One column has a form of its own for NULL, which the record of a reject does not have.
    if columns.len() < 2 {
        return;
    }
    let mut text = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            asof_tools::input::cells::write_cell(cell.as_deref(), &mut text);
        }
        text.push('\n');
    }
    let options = CsvOptions { header: false, names: Some(columns.to_vec()), ..CsvOptions::default() };
    let (_, back, bad) = read(text.as_bytes(), usize::MAX, options).expect("what is written can be read");
    assert_eq!(bad, Vec::<String>::new());
    assert_eq!(&back, rows);
}
