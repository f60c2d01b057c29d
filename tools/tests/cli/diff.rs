//! `diff`: for people, for programs, as a gate.

use super::support::*;
use serde_json::{Value, json};

#[test]
fn people_see_what_came_went_and_changed() {
    let shop = shop();
    assert_eq!(
        shop.ok(&["diff", "db", "1", "3", "-q"]),
        "customers\n\
         - id=1, name=Ada, city=London\n\
         ~ id=2  city: NULL -> Rome\n\
         + id=3, name=Cy, city=\"\"\n\
         1 inserted, 1 updated, 1 deleted; 2 rows -> 2\n"
    );
    assert_eq!(shop.ok(&["diff", "db", "3", "3"]), "");
    assert_eq!(
        shop.ok(&["diff", "db", "3", "4", "-q"]),
        "gold.parts\n\
         + kind=bolt, number=-1, price=1.50\n\
         + kind=\"nut, brass\", number=2\n\
         schema: create table\n\
         2 inserted, 0 updated, 0 deleted; 0 rows -> 2\n"
    );
}

#[test]
fn programs_see_change_types_and_versions() {
    let shop = shop();
    assert_eq!(
        shop.ok(&["diff", "db", "1", "3", "customers", "--format", "csv", "-q"]),
        "_change_type,_commit_version,_commit_timestamp,id,name,city\n\
         delete,3,2025-03-01T00:00:00.000000Z,1,Ada,London\n\
         update_preimage,2,2025-02-01T00:00:00.000000Z,2,Bob,\n\
         update_postimage,2,2025-02-01T00:00:00.000000Z,2,Bob,Rome\n\
         insert,2,2025-02-01T00:00:00.000000Z,3,Cy,\"\"\n"
    );
    let lines = shop.json_lines(&["diff", "db", "1", "3", "customers", "-q"]);
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[0]["_change_type"], &lines[0]["id"]), (&json!("delete"), &json!(1)));
    assert!(lines[0].get("_table").is_none());
    let lines = shop.json_lines(&["diff", "db", "0", "4", "-q"]);
    let tables: Vec<&Value> = lines.iter().map(|line| &line["_table"]).collect();
    assert_eq!(tables, ["customers", "customers", "gold.parts", "gold.parts"]);
    let document: Value =
        serde_json::from_str(&shop.ok(&["diff", "db", "1", "3", "-q", "--format", "json"])).unwrap();
    assert_eq!((&document["from"], &document["to"]), (&json!(1), &json!(3)));
    assert_eq!(document["changes"].as_array().unwrap().len(), 4);
    let empty: Value = serde_json::from_str(&shop.ok(&["diff", "db", "3", "3", "--format", "json"])).unwrap();
    assert_eq!(empty["changes"], json!([]));
}

#[test]
fn one_file_holds_one_tables_changes() {
    let shop = shop();
    let error = shop.fails(2, &["diff", "db", "0", "4", "--format", "csv", "-q"]);
    assert!(error.contains("customers, gold.parts"), "{error}");
    shop.ok(&["diff", "db", "0", "4", "customers", "-o", "changes.parquet"]);
    assert_eq!(&std::fs::read(shop.path("changes.parquet")).unwrap()[..4], b"PAR1");
    shop.ok(&["diff", "db", "0", "4", "-o", "changes.txt"]);
    assert!(std::fs::read_to_string(shop.path("changes.txt")).unwrap().contains("gold.parts\n+ kind=bolt"));
    // Nothing differs: the header alone.
    let csv = shop.ok(&["diff", "db", "3", "4", "customers", "--format", "csv", "-q"]);
    assert_eq!(csv, "_change_type,_commit_version,_commit_timestamp,id,name,city\n");
}

#[test]
fn a_feed_has_every_commits_changes() {
    let shop = shop();
    shop.apply("{\"ops\":[{\"op\":\"upsert\",\"table\":\"customers\",\"rows\":[{\"id\":1,\"name\":\"Ada\",\"city\":\"London\"}]}]}\n");
    // Net, nothing happened to Ada.
    assert_eq!(shop.json_lines(&["diff", "db", "2", "5", "customers", "-q"]).len(), 0);
    let feed = shop.json_lines(&["diff", "db", "2", "5", "customers", "--feed", "-q"]);
    let changes: Vec<(&Value, &Value)> =
        feed.iter().map(|c| (&c["_commit_version"], &c["_change_type"])).collect();
    assert_eq!(changes, [(&json!(3), &json!("delete")), (&json!(5), &json!("insert"))]);
    let text = shop.ok(&["diff", "db", "2", "5", "customers", "--feed", "-q"]);
    assert!(
        text.contains("version 3 (2025-03-01T00:00:00.000000Z)\n- id=1, name=Ada, city=London\n"),
        "{text}"
    );
}

#[test]
fn stat_has_rows_before_and_after() {
    let shop = shop();
    let stat = shop.json(&["diff", "db", "1", "4", "--stat", "-q"]);
    let customers = &stat["tables"]["customers"];
    for (field, expected) in
        [("rows_before", 2), ("rows_after", 2), ("inserted", 1), ("updated", 1), ("deleted", 1)]
    {
        assert_eq!(customers[field], expected, "{field}");
    }
    assert_eq!(stat["tables"]["gold.parts"]["inserted"], 2);
    let text = shop.ok(&["diff", "db", "1", "4", "--stat", "-q"]);
    assert!(text.contains("rows before") && text.contains("create table"), "{text}");
    assert_eq!(shop.ok(&["diff", "db", "4", "4", "--stat"]), "");
}

#[test]
fn schema_changes_alone() {
    let shop = shop();
    shop.ok(&["alter-table", "db", "customers", "rename city to town, add age int8 default 3, drop name"]);
    assert_eq!(
        shop.ok(&["diff", "db", "4", "5", "--schema", "-q"]),
        "customers: drop name\ncustomers: rename city to town\ncustomers: add age int8 default 3\n"
    );
    let changes = shop.json(&["diff", "db", "4", "5", "--schema", "-q"]);
    assert_eq!(changes["tables"]["customers"][0], json!({"change":"drop_column","column":"name"}));
    // A schema change alone updates no row.
    assert_eq!(shop.json(&["diff", "db", "4", "5", "--stat", "-q"])["tables"]["customers"]["updated"], 0);
}

#[test]
fn a_sample_has_some_of_each_kind() {
    let shop = shop();
    let lines: String =
        (10..20).map(|id| format!("{{\"id\":{id},\"name\":\"n\",\"city\":\"c\"}},")).collect();
    let rows = lines.trim_end_matches(',');
    shop.apply(&format!("{{\"ops\":[{{\"op\":\"upsert\",\"table\":\"customers\",\"rows\":[{rows}]}},{{\"op\":\"delete\",\"table\":\"customers\",\"keys\":[{{\"id\":2}}]}}]}}\n"));
    let sample = shop.json_lines(&["diff", "db", "4", "5", "customers", "--sample", "2", "-q"]);
    let kinds: Vec<&Value> = sample.iter().map(|line| &line["_change_type"]).collect();
    assert_eq!(kinds, ["delete", "insert", "insert"]);
    let text = shop.ok(&["diff", "db", "4", "5", "--sample", "2", "-q"]);
    assert!(text.ends_with("10 inserted (2 shown), 0 updated, 1 deleted; 2 rows -> 11\n"), "{text}");
    let updates = shop.json_lines(&["diff", "db", "1", "2", "customers", "--sample", "1", "-q"]);
    assert_eq!(updates.len(), 3, "the images before and after stay together: {updates:?}");
}

#[test]
fn scripts_can_ask_whether_anything_differs() {
    let shop = shop();
    assert_eq!(shop.run(&["diff", "db", "1", "2", "--exit-code"]).status, 10);
    assert_eq!(shop.run(&["diff", "db", "1", "2", "--exit-code", "--stat"]).status, 10);
    assert_eq!(shop.run(&["diff", "db", "1", "2", "--exit-code", "--schema"]).status, 10);
    assert_eq!(shop.run(&["diff", "db", "3", "4", "customers", "--exit-code"]).status, 0);
    assert_eq!(shop.run(&["diff", "db", "4", "4", "--exit-code"]).status, 0);
}

#[test]
fn gates_refuse_with_the_reason() {
    let shop = shop();
    shop.ok(&["alter-table", "db", "customers", "drop name"]);
    for (condition, from, to, status) in [
        ("deleted>10%", "1", "3", 10),
        ("deleted>50%", "1", "3", 0),
        ("deleted>=50%", "1", "3", 10),
        ("inserted>1", "1", "3", 0),
        ("rows<3", "1", "3", 10),
        ("columns-removed", "4", "5", 10),
        ("columns-removed", "1", "4", 0),
        ("schema-changed", "4", "5", 10),
        ("inserted>5,deleted>0", "1", "3", 10),
    ] {
        let ran = shop.run(&["diff", "db", from, to, "--stat", "--fail-if", condition, "-q"]);
        assert_eq!(ran.status, status, "{condition}: {}", ran.stderr);
    }
    let ran = shop.run(&["diff", "db", "1", "3", "--fail-if", "deleted>10%", "-q"]);
    assert_eq!(ran.stderr, "asof: table 'customers': deleted>10% holds: 1, with 2 rows before\n");
    assert!(ran.text().starts_with("customers\n"), "the changes are shown all the same: {}", ran.text());
    assert_eq!(shop.run(&["diff", "db", "1", "3", "--fail-if", "nonsense"]).status, 2);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let shop = shop();
    let error = shop.fails(3, &["diff", "db", "1", "3", "customer", "-q"]);
    assert!(error.contains("customers"), "{error}");
    shop.fails(3, &["diff", "db", "1", "99", "-q"]);
}
