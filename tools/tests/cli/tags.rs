//! `tag`.

use super::support::*;
use serde_json::{Value, json};

#[test]
fn a_tag_names_a_version_until_it_is_moved_or_removed() {
    let shop = shop();
    assert_eq!(shop.ok(&["tag", "db", "q1", "2025-02-15"]), "q1 names version 2\n");
    assert_eq!(shop.ok(&["cat", "db", "customers", "--as-of", "tag:q1", "-q"]), CUSTOMERS_2);
    assert_eq!(shop.ok(&["cat", "db", "customers", "--as-of", "q1", "-q"]), CUSTOMERS_2);
    shop.fails(1, &["tag", "db", "q1", "3", "-q"]);
    assert_eq!(shop.ok(&["tag", "db", "q1", "3", "--force"]), "q1 names version 3, which named version 2\n");
    assert_eq!(shop.json(&["resolve", "db", "q1"])["version"], 3);
    assert_eq!(
        shop.ok(&["tag", "db", "q1", "--delete", "--dry-run"]),
        "would remove the tag q1, which names version 3\n"
    );
    assert_eq!(shop.ok(&["tag", "db", "q1", "--delete"]), "removed q1, which named version 3\n");
    shop.fails(3, &["tag", "db", "q1", "--delete"]);
    shop.fails(3, &["resolve", "db", "q1"]);
}

#[test]
fn tags_make_no_version() {
    let shop = shop();
    shop.ok(&["tag", "db", "mine"]);
    assert_eq!(shop.json(&["resolve", "db", "latest"])["version"], 4);
}

#[test]
fn tags_are_listed_with_what_was_said_about_them() {
    let shop = shop();
    shop.ok(&["tag", "db", "audit-1", "1", "--message", "first audit", "-q"]);
    shop.ok(&["tag", "db", "audit-2", "2", "--expires", "30d", "-q"]);
    shop.ok(&["tag", "db", "other", "-q"]);
    let tags = shop.json_lines(&["tag", "db"]);
    let names: Vec<&Value> = tags.iter().map(|tag| &tag["name"]).collect();
    assert_eq!(names, ["audit-1", "audit-2", "other"]);
    assert_eq!((&tags[0]["version"], &tags[0]["message"]), (&json!(1), &json!("first audit")));
    assert_eq!((&tags[0]["expires"], &tags[2]["version"]), (&Value::Null, &json!(4)));
    assert!(tags[1]["expires"].is_string());
    assert_eq!(shop.json_lines(&["tag", "db", "audit", "--list"]).len(), 2);
    let text = shop.ok(&["tag", "db", "--list"]);
    assert!(text.contains("first audit") && text.contains("never"), "{text}");
}

#[test]
fn names_that_mean_something_else_are_refused() {
    let shop = shop();
    for name in ["42", "latest", "2025-01-01", "a/b", "..", "a:b", "a~1", "today", "1h-ago"] {
        shop.fails(1, &["tag", "db", name, "1", "-q"]);
    }
    shop.fails(3, &["tag", "db", "x", "99", "-q"]);
    shop.fails(2, &["tag", "db", "x", "1", "--expires", "2020-01-01", "-q"]);
    shop.fails(2, &["tag", "db", "--force"]);
    assert_eq!(shop.ok(&["tag", "db"]), "");
}

#[test]
fn a_dry_run_makes_no_tag() {
    let shop = shop();
    assert_eq!(shop.ok(&["tag", "db", "x", "2", "--dry-run", "-q"]), "would tag version 2 as x\n");
    assert_eq!(shop.ok(&["tag", "db"]), "");
    shop.ok(&["tag", "db", "x", "2", "-q"]);
    shop.fails(1, &["tag", "db", "x", "3", "--dry-run", "-q"]);
    shop.ok(&["tag", "db", "x", "3", "--dry-run", "--force", "-q"]);
    assert_eq!(shop.json(&["resolve", "db", "x"])["version"], 2);
}
