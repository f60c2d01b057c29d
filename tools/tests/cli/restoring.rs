//! `restore`, `undo`, `undrop`.

use super::support::*;
use serde_json::{Value, json};

fn checksum(scratch: &Scratch, at: &str) -> Value {
    scratch.json(&["checksum", "db", "--as-of", at])["checksum"].clone()
}

#[test]
fn a_database_comes_back_whole_and_says_what_changed() {
    let shop = shop();
    let plan = shop.json(&["restore", "db", "2025-01-15", "--dry-run"]);
    assert_eq!((&plan["version"], &plan["dry_run"]), (&Value::Null, &json!(true)));
    assert_eq!(plan["tables"]["gold.parts"]["schema_changes"], json!(["drop table"]));
    assert_eq!(plan["tables"]["customers"]["samples"].as_array().unwrap().len(), 4);
    assert_eq!(shop.json(&["resolve", "db", "latest"])["version"], 4);
    let text = shop.ok(&["restore", "db", "1", "--dry-run"]);
    let expected = concat!(
        "dry run: restore to version 1\n",
        "customers: 1 inserted, 1 updated, 1 deleted\n",
        "  + id=1, name=Ada, city=London\n",
        "  ~ id=2  city: Rome -> NULL\n",
        "  - id=3, name=Cy, city=\"\"\n",
        "gold.parts: 0 inserted, 0 updated, 2 deleted (drop table)\n",
    );
    assert_eq!(text, expected);
    let text = shop.ok(&["restore", "db", "1", "--message", "back", "--author", "Eve", "--meta", "k=v"]);
    assert!(
        text.starts_with("version 5 (") && text.contains("restore to version 1: customers: 1 inserted"),
        "{text}"
    );
    assert_eq!(checksum(&shop, "latest"), checksum(&shop, "1"));
    assert_eq!(shop.ok(&["cat", "db", "customers"]), CUSTOMERS_1);
    let commit = shop.json(&["show", "db", "5"]);
    assert_eq!((&commit["operation"], &commit["parameters"]), (&json!("restore"), &json!({"version": "1"})));
    assert_eq!((&commit["author"], &commit["message"]), (&json!("Eve"), &json!("back")));
    let again = shop.json(&["restore", "db", "1"]);
    assert_eq!((&again["unchanged"], &again["version"]), (&json!(true), &Value::Null));
    assert!(shop.ok(&["restore", "db", "1"]).contains("nothing to change"));
    shop.ok(&["undo", "db", "5"]);
    assert_eq!(checksum(&shop, "latest"), checksum(&shop, "4"));
}

#[cfg(feature = "sql")]
#[test]
fn tables_and_rows_come_back_alone() {
    let shop = shop();
    let report = shop.json(&["restore", "db", "2", "customers", "--where", "city = 'London'"]);
    assert_eq!(
        (&report["inserted"], &report["updated"], &report["deleted"]),
        (&json!(1), &json!(0), &json!(0))
    );
    assert_eq!(shop.ok(&["cat", "db", "customers"]), CUSTOMERS_2);
    shop.ok(&["restore", "db", "3", "customers"]);
    assert_eq!(shop.ok(&["cat", "db", "customers"]), CUSTOMERS_3);
    assert!(shop.fails(2, &["restore", "db", "3", "--where", "id = 1"]).contains("TABLE"));
    assert!(shop.fails(3, &["restore", "db", "3", "gold.parts"]).contains("gold.parts"));
    assert!(shop.fails(3, &["restore", "db", "77"]).contains("77"));
    shop.fails(1, &["restore", "db", "3", "customers", "--where", "nothing = 1"]);
}

#[test]
fn an_undo_that_somebody_built_on_lists_why_and_changes_nothing() {
    let shop = shop();
    let ran = shop.run(&["undo", "db", "2"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(shop.ok(&["cat", "db", "customers"]), "id,name,city\n2,Bob,\n");
    shop.apply(
        "{\"author\":\"Finn\",\"ops\":[{\"op\":\"upsert\",\"table\":\"customers\",\"rows\":[{\"id\":2,\"name\":\"Rob\",\"city\":null}]}]}\n",
    );
    let ran = shop.run(&["undo", "db", "5"]);
    assert_eq!(ran.status, 10);
    assert_eq!(ran.text(), "table customers, row 2: changed since by version 6 (Finn)\n");
    assert_eq!(ran.stderr, "asof: cannot undo version 5: 1 conflict; nothing was changed\n");
    let ran = shop.run(&["undo", "db", "5", "--json"]);
    let report: Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!((ran.status, &report["count"]), (10, &json!(1)));
    assert_eq!(report["conflicts"][0]["since"], json!([{"version": 6, "by": "Finn"}]));
    assert!(ran.stderr.contains("\"refused\""), "{}", ran.stderr);
    assert_eq!(shop.json(&["resolve", "db", "latest"])["version"], 6);
    assert!(shop.fails(1, &["undo", "db", "0"]).contains("nothing to undo"));
    shop.fails(3, &["undo", "db", "99"]);
}

#[test]
fn a_dropped_table_comes_back() {
    let shop = shop();
    shop.apply(
        "{\"time\":\"2025-05-01T00:00:00Z\",\"ops\":[{\"op\":\"drop_table\",\"table\":\"customers\"}]}\n",
    );
    shop.ok(&["checkpoint", "db"]);
    let plan = shop.ok(&["undrop", "db", "customers", "--dry-run", "--sample", "1"]);
    assert_eq!(
        plan,
        "dry run: undrop table customers\ncustomers: 2 inserted, 0 updated, 0 deleted (undrop table)\n  + id=2, name=Bob, city=Rome\n"
    );
    let report = shop.json(&["undrop", "db", "customers", "--commit-time", "2025-06-01T00:00Z"]);
    assert_eq!((&report["version"], &report["time"]), (&json!(6), &json!("2025-06-01T00:00:00.000000Z")));
    assert_eq!(checksum(&shop, "latest"), checksum(&shop, "4"));
    assert!(shop.fails(1, &["undrop", "db", "customers"]).contains("is there"));
    shop.fails(3, &["undrop", "db", "nobody"]);
    shop.ok(&["verify", "db"]);
}

#[test]
fn what_is_undone_is_not_undone_again_and_a_table_that_is_back_has_its_history() {
    let scratch = Scratch::new();
    scratch.write("t.csv", "sku,country,price\nA-1,DE,1\nA-2,FR,2\n");
    scratch.ok(&["import", "db", "t", "t.csv", "--key", "sku"]);
    scratch.ok(&["import", "db", "t", "t.csv", "--mode", "replace", "--key", "sku,country"]);
    scratch.ok(&["undo", "db", "2"]);
    let error = scratch.fails(1, &["undo", "db", "2"]);
    assert!(error.contains("version 2 is undone already, by version 3"), "{error}");
    let lives: Vec<Value> = scratch.json_lines(&["history", "db", "t", "A-1"]);
    let lives: Vec<Value> = lives.iter().map(|life| json!([life["from"], life["to"]])).collect();
    assert_eq!(lives, [json!([1, 2]), json!([3, null])]);
    assert_eq!(scratch.json(&["get", "db", "t", "A-1"])["price"], 1);
    assert_eq!(scratch.json(&["blame", "db", "t", "A-1"])["columns"][2]["version"], 1);
    scratch.fails(3, &["history", "db", "t", "A-1,DE"]);
}

#[test]
fn a_dry_run_refuses_a_commit_time_that_the_commit_could_not_have() {
    let shop = shop();
    shop.write("t.csv", "id,name,city\n9,Gus,Bonn\n");
    let commands: [&[&str]; 3] =
        [&["restore", "db", "1"], &["undo", "db", "4"], &["import", "db", "customers", "t.csv"]];
    for command in commands {
        for (time, why) in [("2025-03-01T00:00Z", "is not later"), ("2999-01-01T00:00Z", "in the future")] {
            for more in [&["--dry-run"][..], &[]] {
                let words = [command, &["--commit-time", time][..], more].concat();
                assert!(shop.fails(1, &words).contains(why), "{words:?}");
            }
        }
    }
    assert_eq!(shop.json(&["resolve", "db", "latest"])["version"], 4);
}
