//! `trace`: every place and span of versions in which a value occurs.

use super::support::*;
use serde_json::{Value, json};

fn spans(lines: &[Value]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| json!([line["table"], line["key"], line["column"], line["from"], line["to"]]))
        .collect()
}

#[test]
fn a_value_is_followed_through_tables_rows_and_versions() {
    let shop = shop();
    let trace = |words: &[&str]| spans(&shop.json_lines(&[&["trace", "db"], words].concat()));
    assert_eq!(trace(&["Rome"]), [json!(["customers", {"id": 2}, "city", 2, null])]);
    assert_eq!(trace(&["Ada"]), [json!(["customers", {"id": 1}, "name", 1, 3])]);
    assert_eq!(
        trace(&["2"]),
        [
            json!(["customers", {"id": 2}, "id", 1, null]),
            json!(["gold.parts", {"kind": "nut, brass", "number": 2}, "number", 4, null])
        ]
    );
    assert_eq!(trace(&["2.0", "--table", "gold.parts"]).len(), 1);
    assert_eq!(trace(&["1.5"]), [json!(["gold.parts", {"kind": "bolt", "number": -1}, "price", 4, null])]);
    assert_eq!(trace(&["-1"]).len(), 1);
    assert_eq!(trace(&["2", "--column", "number"]).len(), 1);
    assert_eq!(trace(&["o", "--contains", "--table", "customers", "--limit", "2"]).len(), 2);
    assert_eq!(
        trace(&["o", "--contains", "--table", "customers"]),
        [
            json!(["customers", {"id": 1}, "city", 1, 3]),
            json!(["customers", {"id": 2}, "name", 1, null]),
            json!(["customers", {"id": 2}, "city", 2, null])
        ]
    );
    let text = shop.ok(&["trace", "db", "Ada"]);
    assert_eq!(
        text,
        "customers  id=1  name: Ada  from version 1 (2025-01-01T00:00:00.000000Z) until version 3 \
         (2025-03-01T00:00:00.000000Z)\n"
    );
    let error = shop.fails(3, &["trace", "db", "Oslo"]);
    assert!(error.contains("'Oslo' occurs in no version up to 4"), "{error}");
    shop.fails(3, &["trace", "db", "Rome", "--table", "nothing"]);
    let error = shop.fails(3, &["trace", "db", "Rome", "--column", "age"]);
    assert!(error.contains("'age'"), "{error}");
}

#[test]
fn dropped_tables_and_columns_are_looked_into_and_renamed_ones_are_one() {
    let shop = shop();
    shop.ok(&["alter-table", "db", "customers", "rename city to town"]);
    shop.ok(&["alter-table", "db", "customers", "drop name"]);
    shop.ok(&["drop-table", "db", "gold.parts"]);
    shop.apply("{\"ops\":[{\"op\":\"create_table\",\"table\":\"gold.parts\",\"schema\":\"label text\"},{\"op\":\"insert\",\"table\":\"gold.parts\",\"rows\":[{\"label\":\"bolt\"},{\"label\":\"bolt\"}]}]}\n");
    let trace = |words: &[&str]| spans(&shop.json_lines(&[&["trace", "db"], words].concat()));
    assert_eq!(trace(&["Rome"]), [json!(["customers", {"id": 2}, "town", 2, null])]);
    assert_eq!(trace(&["Rome", "--column", "city"]), trace(&["Rome", "--column", "town"]));
    assert_eq!(trace(&["Bob"]), [json!(["customers", {"id": 2}, "name", 1, 6])]);
    let bolts = shop.json_lines(&["trace", "db", "bolt"]);
    assert_eq!(spans(&bolts)[0], json!(["gold.parts", {"kind": "bolt", "number": -1}, "kind", 4, 7]));
    // A table without a key has no other name for a row than all of it.
    assert_eq!((bolts.len(), &bolts[1]["row"], &bolts[1]["from"]), (3, &json!({"label": "bolt"}), &json!(8)));
}

/// Spans are those of every version's rows put together.
#[test]
fn a_row_that_is_written_again_with_the_value_goes_on_with_its_span() {
    let scratch = Scratch::new();
    let row = |id: u64, n: u64, s: &str| {
        format!(
            "{{\"ops\":[{{\"op\":\"upsert\",\"table\":\"t\",\"key\":[\"id\"],\"rows\":[{{\"id\":{id},\"n\":{n},\"s\":\"{s}\"}}]}}]}}\n"
        )
    };
    let mut lines = String::new();
    for (id, n, s) in
        [(1, 1, "x"), (1, 2, "x"), (2, 1, "y"), (1, 3, "y"), (1, 3, "x"), (2, 1, "x"), (1, 9, "x")]
    {
        lines.push_str(&row(id, n, s));
    }
    scratch.apply(&lines);
    scratch.ok(&["checkpoint", "db"]);
    scratch.apply(&row(1, 10, "x"));
    scratch.apply("{\"ops\":[{\"op\":\"delete\",\"table\":\"t\",\"keys\":[{\"id\":2}]}]}\n");
    let found = spans(&scratch.json_lines(&["trace", "db", "x"]));
    assert_eq!(
        found,
        [
            json!(["t", {"id": 1}, "s", 1, 4]),
            json!(["t", {"id": 1}, "s", 5, null]),
            json!(["t", {"id": 2}, "s", 6, 9])
        ]
    );
}
