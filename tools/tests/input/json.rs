//! JSON and JSON Lines, object by object.

use asof_tools::input::json::{JsonReader, JsonRows};
use std::io::Cursor;

fn read(mut reader: JsonReader) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    loop {
        let next = reader.next_rows(&mut |row| {
            bad.push(row.to_error("t.json").to_string());
            Ok(())
        });
        let Some(objects) = next.map_err(|error| error.to_string())? else { return Ok((rows, bad)) };
        rows.extend((0..objects.len()).map(|row| objects.record(row)));
    }
}

fn document(text: &str) -> Result<(Vec<String>, Vec<String>), String> {
    read(JsonReader::document("t.json", Box::new(Cursor::new(text.as_bytes().to_vec()))))
}

fn lines(text: &str) -> Result<(Vec<String>, Vec<String>), String> {
    read(JsonReader::lines("t.json", Box::new(Cursor::new(text.as_bytes().to_vec()))))
}

#[test]
fn objects_come_in_an_array_or_one_after_the_other() {
    let expected = ["{\"a\":1}", "{\"a\":\"]}\\\"{\",\"b\":[{\"c\":2}]}"];
    for text in [
        "[{\"a\":1},{\"a\":\"]}\\\"{\",\"b\":[{\"c\":2}]}]",
        " [ {\"a\":1}\n,\n{\"a\" : \"]}\\\"{\",\"b\":[{\"c\":2}]} ] \n",
        "{\"a\":1}{\"a\":\"]}\\\"{\",\"b\":[{\"c\":2}]}",
        "{\n  \"a\": 1\n}\n{\"a\":\"]}\\\"{\",\n\"b\":[{\"c\":2}]}\n",
    ] {
        assert_eq!(document(text).unwrap(), (expected.map(String::from).to_vec(), vec![]), "{text}");
    }
    assert_eq!(document("[]").unwrap(), (vec![], vec![]));
    assert_eq!(document(" ").unwrap(), (vec![], vec![]));
    assert_eq!(lines("{\"a\":1}\n\n {\"a\":2}\r\n{\"a\":3}").unwrap().0.len(), 3);
}

#[test]
fn what_stands_between_objects_must_be_right() {
    for (text, message) in [
        ("1", "line 1 (byte 0): an object or an array of objects is expected here"),
        ("[1]", "line 1 (byte 1): an object is expected here"),
        ("[{\"a\":1} {\"a\":2}]", "line 1 (byte 9): a comma or the end of the array is expected here"),
        ("[{\"a\":1},]", "line 1 (byte 9): an object is expected here"),
        ("[{\"a\":1}", "line 1 (byte 8): a comma or the end of the array is expected here"),
        ("[{\"a\":1}]\n{", "line 2 (byte 10): nothing may follow the array"),
        ("{\"a\":1}\n{\"a\":\n", "line 2 (byte 8): the object that begins here is never closed"),
    ] {
        assert_eq!(document(text).unwrap_err(), format!("t.json: {message}"), "{text}");
    }
}

#[test]
fn bad_objects_are_named_and_the_others_read() {
    let (rows, bad) = lines("{\"a\":1}\n{\"a\":}\n[1]\n{\"a\":1,\"a\":2}\n{\"a\":2}\n").unwrap();
    assert_eq!(rows, ["{\"a\":1}", "{\"a\":2}"]);
    assert_eq!(bad[0], "t.json: line 2 (byte 13): expected value");
    assert!(
        bad[1].starts_with("t.json: line 3 (byte 15): invalid type: sequence, expected an object"),
        "{bad:?}"
    );
    assert!(bad[2].contains("the object names 'a' twice"), "{bad:?}");
    let (rows, bad) = document("[{\"a\":1},\n{\"b\":\n 01}, {\"a\":3}]").unwrap();
    assert_eq!(rows, ["{\"a\":1}", "{\"a\":3}"]);
    assert_eq!(bad, ["t.json: line 3 (byte 10): invalid number"]);
}

#[test]
fn numbers_keep_their_digits() {
    let text = "{\"a\":123456789012345678901234567890,\"b\":0.10000000000000000000001,\"c\":1e+400}";
    assert_eq!(lines(text).unwrap().0, [text]);
}

#[test]
fn nesting_is_bounded() {
    let text = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let (rows, bad) = lines(&text).unwrap();
    assert!(rows.is_empty());
    assert!(bad[0].contains("recursion limit"), "{bad:?}");
    assert_eq!(document(&text).unwrap().1.len(), 1);
}

#[test]
fn a_member_that_is_absent_gets_the_default_and_null_stays_null() {
    use asof_engine::ColumnType;
    use asof_engine::arrow::array::{ArrayRef, AsArray, Int64Array};
    use asof_engine::arrow::datatypes::Int64Type;
    use asof_tools::input::chunk::Place;
    use std::sync::Arc;
    let mut rows = JsonRows::default();
    for text in ["{\"a\":1}", "{\"a\":null}", "{}", "{\"b\":1}"] {
        rows.push(serde_json::from_str(text).unwrap(), Place::Row(1));
    }
    let values = asof_engine::text::json_to_column(&ColumnType::Int64, &rows.column("a")).unwrap();
    let default: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let filled = rows.fill_absent("a", values, &default).unwrap();
    let filled: Vec<Option<i64>> = filled.as_primitive::<Int64Type>().iter().collect();
    assert_eq!(filled, [Some(1), None, Some(7), Some(7)]);
}
