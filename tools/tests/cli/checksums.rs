//! `checksum`.

use crate::cli::support::{Scratch, shop};
use std::collections::BTreeSet;

/// The digest of a table.
fn of(scratch: &Scratch, database: &str, table: &str, at: &str) -> String {
    let value = scratch.json(&["checksum", database, table, "--as-of", at]);
    value["checksum"].as_str().unwrap().to_string()
}

#[test]
fn a_checksum_is_of_the_content_alone() {
    let shop = shop();
    let before: Vec<String> =
        ["1", "2", "3", "4"].iter().map(|at| of(&shop, "db", "customers", at)).collect();
    assert_eq!(before[2], before[3], "version 4 did not touch the table");
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3);
    shop.ok(&["checkpoint", "db"]);
    shop.ok(&["compact", "db", "--execute"]);
    let after: Vec<String> = ["1", "2", "3", "4"].iter().map(|at| of(&shop, "db", "customers", at)).collect();
    assert_eq!(after, before);
    // The same rows in another order, in another database, under other numbers of table and columns.
    shop.write("customers.csv", shop.ok(&["cat", "db", "customers", "--as-of", "2"]));
    shop.ok(&["create-table", "copy", "other", "x text"]);
    shop.ok(&["create-table", "copy", "customers", "id int64, name text, city text, primary key (id)"]);
    shop.ok(&["import", "copy", "customers", "customers.csv"]);
    assert_eq!(of(&shop, "copy", "customers", "latest"), before[1]);
}

#[test]
fn the_database_has_one_over_all_tables() {
    let shop = shop();
    let whole = shop.json(&["checksum", "db"]);
    assert_eq!(whole["version"], 4);
    assert_eq!(whole["tables"]["customers"]["checksum"], of(&shop, "db", "customers", "4"));
    assert_eq!(whole["tables"]["customers"]["rows"], 2);
    assert_ne!(shop.json(&["checksum", "db", "--as-of", "3"])["checksum"], whole["checksum"]);
    let text = shop.ok(&["checksum", "db"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("{}  customers", of(&shop, "db", "customers", "4")));
    assert_eq!(lines[2], format!("{}  database at version 4", whole["checksum"].as_str().unwrap()));
    assert_eq!(shop.json(&["checksum", "db", "--as-of", "0"])["tables"], serde_json::json!({}));
}

#[test]
fn what_is_not_there_has_none() {
    let shop = shop();
    assert!(shop.fails(3, &["checksum", "db", "nobody"]).contains("nobody"));
    assert!(shop.fails(3, &["checksum", "db", "--as-of", "99"]).contains("99"));
}
