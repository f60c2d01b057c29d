//! JSON: any bytes give objects or errors; what is inferred of an object's members reads them, or says which it does
//! not; numbers keep their digits.

#![no_main]

use asof_engine::ColumnType;
use asof_engine::text::json_to_column;
use asof_tools::input::json::{JsonReader, JsonRows};
use asof_tools::input::survey::JsonEvidence;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

// The first byte says how the rest is read.
fuzz_target!(|input: &[u8]| {
    let Some((&flags, bytes)) = input.split_first() else { return };
    let bytes = Box::new(Cursor::new(bytes.to_vec()));
    let mut reader =
        if flags & 1 == 0 { JsonReader::lines("f", bytes) } else { JsonReader::document("f", bytes) };
    while let Ok(Some(rows)) = reader.next_rows(&mut |_| Ok(())) {
        check(&rows);
    }
});

fn check(rows: &JsonRows) {
    for name in rows.names() {
        let values = rows.column(name);
        let mut evidence = JsonEvidence::default();
        values.iter().flatten().for_each(|value| evidence.add(value, 0));
        let column_type = evidence.column_type(true).unwrap_or(ColumnType::Text);
        match json_to_column(&column_type, &values) {
            Ok(array) => assert_eq!(array.len(), rows.len()),
            Err(error) => assert!(error.row < rows.len(), "{column_type}: {error}"),
        }
    }
    for row in 0..rows.len() {
        let text = rows.record(row);
        let back: serde_json::Value = serde_json::from_str(&text).expect("what is written can be read");
        assert_eq!(back.to_string(), text);
    }
}
