//! `init`, `create-table`, `alter-table`, `drop-table`, `schema`.

use super::support::*;
use serde_json::json;

#[test]
fn init_makes_an_empty_database_once() {
    let scratch = Scratch::new();
    let ran = scratch.run(&["init", "db"]);
    assert_eq!((ran.status, ran.text()), (0, ""));
    assert!(ran.stderr.contains("made the database db"), "{}", ran.stderr);
    assert_eq!(scratch.json(&["resolve", "db", "latest"])["version"], 0);
    scratch.fails(1, &["init", "db"]);
    scratch.write("file", "x");
    scratch.fails(1, &["init", "file"]);
}

#[test]
fn only_commands_that_may_make_a_database_do() {
    let scratch = Scratch::new();
    for words in [
        &["cat", "db", "t"][..],
        &["log", "db"],
        &["alter-table", "db", "t", "drop a"],
        &["drop-table", "db", "t"],
        &["tag", "db", "x"],
        &["checkpoint", "db"],
        &["info", "db"],
        &["verify", "db"],
        &["create-table", "db", "t", "id int64", "--dry-run"],
    ] {
        scratch.run(words);
        assert!(!scratch.path("db").exists(), "{words:?}");
    }
    let ran = scratch.run(&["create-table", "db", "t", "id int64"]);
    assert!(ran.stderr.contains("made the database db"), "{}", ran.stderr);
    let ran = scratch.run(&["create-table", "db", "u", "id int64"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn a_printed_schema_makes_the_same_table_again() {
    let scratch = Scratch::new();
    let typed = "id int64, \"full name\" text default 'it''s, so' not null, price decimal(10,2) default 1.50, \
                 at timestamp(us,UTC), tags list(text) default '[\"a\"]', ok bool default true, n int8 default -1, \
                 primary key (id, \"full name\")";
    scratch.ok(&["create-table", "db", "first", typed]);
    let printed = scratch.ok(&["schema", "db", "first"]);
    scratch.ok(&["create-table", "db", "second", &printed]);
    assert_eq!(scratch.ok(&["schema", "db", "second"]), printed);
    let mut json = [scratch.json(&["schema", "db", "first"]), scratch.json(&["schema", "db", "second"])];
    assert_eq!(json[0]["columns"].as_array().unwrap().len(), 7);
    let columns = json.each_mut().map(|schema| schema["columns"].take());
    assert_eq!(columns[0], columns[1]);
}

#[test]
fn each_version_has_its_own_schema() {
    let shop = shop();
    let alter = "rename city to town, add age int8 default 0, drop name";
    let answer = shop.json(&[
        "alter-table",
        "db",
        "customers",
        alter,
        "--message",
        "tidy",
        "--author",
        "Eve",
        "--meta",
        "k=v",
    ]);
    assert_eq!(answer["version"], 5);
    assert_eq!(shop.ok(&["cat", "db", "customers"]), "id,town,age\n2,Rome,0\n3,\"\",0\n");
    assert_eq!(shop.ok(&["cat", "db", "customers", "--as-of", "4"]), CUSTOMERS_3);
    shop.ok(&["alter-table", "db", "customers", "widen age to int64"]);
    assert!(shop.ok(&["schema", "db", "customers"]).contains("age int64 default 0"));
    assert!(shop.ok(&["schema", "db", "customers", "--as-of", "5"]).contains("age int8 default 0"));
    let commit = &shop.json_lines(&["log", "db"])[1];
    assert_eq!(commit["operation"], "alter-table");
    assert_eq!((&commit["message"], &commit["author"]), (&json!("tidy"), &json!("Eve")));
    assert_eq!(commit["meta"], json!({"k":"v"}));
}

#[test]
fn a_dropped_table_stays_in_earlier_versions() {
    let shop = shop();
    assert!(shop.ok(&["drop-table", "db", "customers"]).starts_with("version 5 ("));
    shop.fails(3, &["cat", "db", "customers"]);
    assert_eq!(shop.ok(&["cat", "db", "customers", "--as-of", "4"]), CUSTOMERS_3);
    shop.fails(3, &["drop-table", "db", "customers"]);
}

#[test]
fn a_dry_run_checks_and_changes_nothing() {
    let shop = shop();
    assert_eq!(shop.ok(&["drop-table", "db", "customers", "--dry-run"]), "would drop table customers\n");
    assert_eq!(
        shop.ok(&["alter-table", "db", "customers", "drop city", "--dry-run"]),
        "would alter table customers: drop city\n"
    );
    assert_eq!(shop.ok(&["create-table", "db", "t", "id int64", "--dry-run"]), "would create table t\n");
    shop.fails(3, &["drop-table", "db", "nothing", "--dry-run"]);
    shop.fails(1, &["alter-table", "db", "customers", "drop nothing", "--dry-run"]);
    shop.fails(1, &["create-table", "db", "customers", "id int64", "--dry-run"]);
    assert_eq!(shop.json(&["resolve", "db", "latest"])["version"], 4);
}

#[test]
fn what_is_wrong_with_a_definition_is_named_by_its_place() {
    let scratch = Scratch::new();
    let error = scratch.fails(1, &["create-table", "db", "t", "id int64, name strange"]);
    assert!(error.contains("column 16 of the text: 'strange' is not a type"), "{error}");
    assert!(!scratch.path("db").exists());
    let error = shop().fails(1, &["alter-table", "db", "customers", "drop name, shrink id"]);
    assert!(error.contains("column 12 of the text: expected add, drop, rename or widen"), "{error}");
    shop().fails(1, &["alter-table", "db", "customers", "widen name to int64"]);
    shop().fails(1, &["create-table", "db", "customers", "id int64"]);
}
