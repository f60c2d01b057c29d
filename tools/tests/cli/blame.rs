//! `blame`, and what `history` tells of columns.

use super::support::*;
use serde_json::{Value, json};

fn blamed(document: &Value) -> Vec<Value> {
    let columns = document["columns"].as_array().unwrap().iter();
    columns
        .map(|column| json!([column["column"], column["value"], column["version"], column["by_schema"]]))
        .collect()
}

#[test]
fn each_column_names_the_commit_that_last_set_it() {
    let shop = shop();
    let blame = shop.json(&["blame", "db", "customers", "2"]);
    assert_eq!(
        blamed(&blame),
        [json!(["id", 2, 1, false]), json!(["name", "Bob", 1, false]), json!(["city", "Rome", 2, false])]
    );
    let city = &blame["columns"][2];
    assert_eq!((&city["author"], &city["message"]), (&json!("Dora"), &json!("February")));
    assert_eq!(city["time"], "2025-02-01T00:00:00.000000Z");
    assert_eq!(blame["version"], 4);
    let text = shop.ok(&["blame", "db", "customers", "2"]);
    let line = text.lines().find(|line| line.starts_with("city")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["city", "Rome", "2", "2025-02-01T00:00:00.000000Z", "Dora", "February"], "{text}");
    // As it was before.
    let before = shop.json(&["blame", "db", "customers", "2", "--as-of", "1"]);
    assert_eq!(blamed(&before)[2], json!(["city", null, 1, false]));
}

#[test]
fn schema_changes_are_to_blame_for_what_they_gave() {
    let shop = shop();
    shop.ok(&[
        "alter-table",
        "db",
        "customers",
        "add age int8 default 30, rename city to town",
        "--message",
        "age",
    ]);
    shop.ok(&["alter-table", "db", "customers", "widen age to int32"]);
    // The same row again sets nothing.
    shop.apply("{\"ops\":[{\"op\":\"upsert\",\"table\":\"customers\",\"rows\":[{\"id\":2,\"name\":\"Bob\",\"town\":\"Rome\",\"age\":30}]}]}\n");
    let blame = shop.json(&["blame", "db", "customers", "2"]);
    assert_eq!(blamed(&blame)[2..], [json!(["town", "Rome", 2, false]), json!(["age", 30, 5, true])]);
    let text = shop.ok(&["blame", "db", "customers", "2"]);
    assert!(text.contains("age (the column was added)"), "{text}");
    let history = shop.ok(&["history", "db", "customers", "2"]);
    assert!(history.ends_with("\n    (written again, equal)\n"), "{history}");
}

#[test]
fn a_row_that_is_gone_names_who_deleted_it() {
    let shop = shop();
    let error = shop.fails(3, &["blame", "db", "customers", "1"]);
    assert!(error.contains("deleted it in version 3") && error.contains("--as-of 2"), "{error}");
    assert_eq!(blamed(&shop.json(&["blame", "db", "customers", "1", "--as-of", "2"]))[2][2], 1);
    let error = shop.fails(3, &["blame", "db", "customers", "9"]);
    assert!(error.contains("nor had it one before"), "{error}");
    shop.ok(&["drop-table", "db", "customers"]);
    let error = shop.fails(3, &["blame", "db", "customers", "2"]);
    assert!(error.contains("version 4 has it"), "{error}");
    shop.fails(3, &["blame", "db", "nothing", "2"]);
    shop.fails(1, &["blame", "db", "gold.parts", "2"]);
}

#[test]
fn a_rows_history_tells_who_ended_it() {
    let shop = shop();
    shop.ok(&["drop-table", "db", "customers", "--author", "Eve", "--message", "not needed"]);
    let bob = shop.json_lines(&["history", "db", "customers", "2"]);
    assert_eq!(
        (&bob[0]["end_commit"]["author"], &bob[1]["end_commit"]["author"]),
        (&json!("Dora"), &json!("Eve"))
    );
    assert_eq!(bob[1]["end_commit"]["message"], "not needed");
}

#[test]
fn a_table_that_was_made_again_goes_on_with_the_history_of_its_rows() {
    let shop = shop();
    shop.ok(&["drop-table", "db", "customers"]);
    shop.apply("{\"ops\":[{\"op\":\"create_table\",\"table\":\"customers\",\"schema\":\"town text, id int64, primary key (id)\"},{\"op\":\"insert\",\"table\":\"customers\",\"rows\":[{\"id\":2,\"town\":\"Oslo\"}]}]}\n");
    let bob = shop.json_lines(&["history", "db", "customers", "2"]);
    let lives: Vec<(&Value, &Value)> = bob.iter().map(|version| (&version["from"], &version["to"])).collect();
    assert_eq!(lives, [(&json!(1), &json!(2)), (&json!(2), &json!(5)), (&json!(6), &Value::Null)]);
    assert_eq!((&bob[1]["ended_by"], &bob[2]["change"]), (&json!("delete"), &json!("insert")));
    assert_eq!(bob[2]["row"], json!({"town": "Oslo", "id": 2}));
}

#[test]
fn a_new_value_of_an_added_column_is_told_as_a_change_of_its_default() {
    let shop = shop();
    shop.ok(&["alter-table", "db", "customers", "add age int8 default 30"]);
    shop.apply("{\"ops\":[{\"op\":\"update\",\"table\":\"customers\",\"rows\":[{\"id\":2,\"age\":31}]}]}\n");
    let bob = shop.json_lines(&["history", "db", "customers", "2"]);
    assert_eq!(bob[2]["changed"], json!({"age": [30, 31]}));
}

#[test]
fn a_row_of_a_table_that_was_made_anew_was_there_before() {
    let shop = shop();
    shop.ok(&["drop-table", "db", "customers", "--author", "Eve"]);
    shop.ok(&["create-table", "db", "customers", "id int64, name text, primary key (id)"]);
    let error = shop.fails(3, &["blame", "db", "customers", "2"]);
    assert!(error.contains("Eve deleted it in version 5") && error.contains("--as-of 4"), "{error}");
    let error = shop.fails(3, &["blame", "db", "customers", "1"]);
    assert!(error.contains("deleted it in version 3"), "{error}");
    let error = shop.fails(3, &["blame", "db", "customers", "9"]);
    assert!(error.contains("nor had it one before"), "{error}");
}
