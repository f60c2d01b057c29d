//! `log`, `show`, `history`.

use super::support::*;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

fn versions(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["version"].as_u64().unwrap()).collect()
}

#[test]
fn the_log_is_newest_first_and_can_be_narrowed() {
    let shop = shop();
    let log = |words: &[&str]| versions(&shop.json_lines(&[&["log", "db"], words].concat()));
    assert_eq!(log(&[]), [4, 3, 2, 1]);
    assert_eq!(log(&["-n", "2"]), [4, 3]);
    assert_eq!(log(&["--table", "customers"]), [3, 2, 1]);
    assert_eq!(log(&["--table", "gold.parts"]), [4]);
    assert_eq!(log(&["--table", "customers", "-n", "1"]), [3]);
    assert_eq!(log(&["--since", "3"]), [4, 3]);
    assert_eq!(log(&["--since", "2025-02-01"]), [4, 3, 2]);
    assert_eq!(log(&["--since", "2025-02-02"]), [4, 3]);
    assert_eq!(log(&["--since", "2024-01-01"]), [4, 3, 2, 1]);
    assert_eq!(log(&["--since", "-1h"]), [] as [u64; 0]);
    assert_eq!(log(&["--until", "2"]), [2, 1]);
    assert_eq!(log(&["--since", "2", "--until", "2025-03-15", "--table", "customers"]), [3, 2]);
    assert_eq!(log(&["--author", "dor"]), [2]);
    assert_eq!(log(&["--operation", "apply"]), [4, 3, 2, 1]);
    assert_eq!(log(&["--operation", "import"]), [] as [u64; 0]);
    assert_eq!(log(&["--grep", "ARY"]), [2, 1]);
    let error = shop.fails(3, &["log", "db", "--table", "customer"]);
    assert!(error.contains("customers"), "{error}");
}

#[test]
fn the_log_has_schema_changes_whatever_made_them() {
    let shop = shop();
    shop.ok(&["alter-table", "db", "customers", "add age int8, rename city to town", "--meta", "ticket=8"]);
    shop.write("new.csv", "id,name,town,age,mail\n2,Bob,Rome,31,b@x\n3,Cy,,,\n");
    shop.ok(&["import", "db", "customers", "new.csv", "--evolve", "--author", "Dora Maar"]);
    shop.ok(&["drop-table", "db", "gold.parts", "--author", "Eve"]);
    let log = |words: &[&str]| versions(&shop.json_lines(&[&["log", "db"], words].concat()));
    for (operation, expected) in [
        ("add-column", &[6, 5][..]),
        ("rename-column", &[5]),
        ("alter-table", &[5]),
        ("import", &[6]),
        ("create-table", &[4, 1]),
        ("CREATE_TABLE", &[4, 1]),
        ("drop-table", &[7]),
        ("drop-column", &[]),
    ] {
        assert_eq!(log(&["--operation", operation]), expected, "{operation}");
    }
    assert_eq!(log(&["--operation", "create-table", "--table", "customers"]), [1]);
    // Several together, and times right at their edges.
    assert_eq!(log(&["--operation", "add-column", "--author", "dora"]), [6]);
    assert_eq!(log(&["--operation", "create-table", "--until", "2025-04-01"]), [4, 1]);
    assert_eq!(log(&["--operation", "create-table", "--until", "2025-03-31T23:59:59.999999"]), [1]);
    assert_eq!(log(&["--operation", "create-table", "--since", "2025-01-01T00:00:00.000001"]), [4]);
    assert_eq!(log(&["--table", "customers", "--since", "2025-02-01", "--until", "2025-03-01"]), [3, 2]);
    assert_eq!(log(&["--author", "dora", "--since", "3"]), [6]);
    assert_eq!(log(&["--meta", "ticket=7"]), [2]);
    assert_eq!(log(&["--meta", "ticket=8", "--operation", "add-column"]), [5]);
    assert_eq!(log(&["--meta", "ticket=7", "--author", "Eve"]), [] as [u64; 0]);
    assert_eq!(shop.run(&["log", "db", "--meta", "ticket"]).status, 2);
}

#[test]
fn a_commit_has_all_its_fields() {
    let shop = shop();
    shop.ok(&["tag", "db", "feb", "2"]);
    let commit = &shop.json_lines(&["log", "db", "--until", "2", "-n", "1"])[0];
    for field in [
        "version",
        "parent",
        "id",
        "time",
        "wall_time",
        "author",
        "host",
        "message",
        "operation",
        "parameters",
        "read_version",
        "isolation",
        "blind_append",
        "meta",
        "tables",
        "tags",
        "readable",
    ] {
        assert!(commit.get(field).is_some(), "{field}: {commit}");
    }
    assert_eq!(commit["version"], 2);
    assert_eq!(commit["parent"], 1);
    assert_eq!(commit["time"], "2025-02-01T00:00:00.000000Z");
    assert_eq!(commit["author"], "Dora");
    assert_eq!(commit["message"], "February");
    assert_eq!(commit["meta"], json!({"ticket":"7"}));
    assert_eq!(commit["tables"], json!({"customers":{"inserted":1,"updated":1,"deleted":0}}));
    assert_eq!(commit["tags"], json!(["feb"]));
    assert_eq!(commit["readable"], true);
    assert_eq!(&shop.json(&["show", "db", "2"]), commit);
}

#[test]
fn people_are_shown_who_what_and_why() {
    let shop = shop();
    shop.ok(&["tag", "db", "feb", "2"]);
    let line = shop.ok(&["log", "db", "--oneline", "--until", "2", "-n", "1"]);
    assert_eq!(line, "2 2025-02-01T00:00:00.000000Z (feb) February [customers +1 ~1]\n");
    let full = shop.ok(&["log", "db", "--until", "2", "-n", "1"]);
    for shown in ["version 2 (feb)\n", "Author:    Dora (", "    February\n", "customers +1 ~1", "ticket=7"] {
        assert!(full.contains(shown), "{shown}: {full}");
    }
    let show = shop.ok(&["show", "db", "feb"]);
    assert!(show.contains("Commit id:") && show.contains("Chain digest:"), "{show}");
    shop.fails(3, &["show", "db", "0"]);
    shop.fails(3, &["show", "db", "99"]);
}

#[test]
fn colours_come_when_asked_for() {
    let shop = shop();
    assert!(shop.ok(&["log", "db", "--oneline", "--color", "always"]).contains("\x1b[33m4\x1b[0m"));
    assert!(!shop.ok(&["log", "db", "--oneline"]).contains('\x1b'));
    let (_, sent) = run_on_terminal(shop.command(&["log", "db", "--oneline"]));
    assert!(sent.contains("\x1b[33m4"), "{sent:?}");
    let mut command = shop.command(&["log", "db", "--oneline"]);
    command.env("NO_COLOR", "1");
    assert!(!run_on_terminal(command).1.contains('\x1b'));
    let (_, sent) = run_on_terminal(shop.command(&["log", "db", "--oneline", "--color", "never"]));
    assert!(!sent.contains('\x1b'), "{sent:?}");
}

#[test]
fn following_shows_commits_of_others_as_they_come() {
    let shop = shop();
    let mut follower = Guard(Some(shop.spawn_piped(&["log", "db", "--follow", "--json", "-n", "2"])));
    let mut lines = BufReader::new(follower.get().stdout.take().unwrap()).lines();
    let mut next =
        || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["version"].as_u64();
    assert_eq!((next(), next()), (Some(3), Some(4)));
    shop.ok(&["create-table", "db", "t", "id int64"]);
    assert_eq!(next(), Some(5));
    shop.ok(&["drop-table", "db", "t"]);
    assert_eq!(next(), Some(6));
    interrupt(follower.get());
    let ran = follower.finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn following_ends_when_nobody_reads() {
    let shop = shop();
    let mut follower = Guard(Some(shop.spawn_piped(&["log", "db", "--follow", "--oneline", "--since", "4"])));
    let mut stdout = BufReader::new(follower.get().stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("4 "), "{line}");
    drop(stdout);
    let ran = follower.finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn a_rows_history_tells_what_changed_and_when() {
    let shop = shop();
    let bob = shop.json_lines(&["history", "db", "customers", "2"]);
    assert_eq!(bob.len(), 2);
    assert_eq!(
        (&bob[0]["from"], &bob[0]["to"], &bob[0]["change"], &bob[0]["ended_by"]),
        (&json!(1), &json!(2), &json!("insert"), &json!("update"))
    );
    assert_eq!(bob[0]["row"], json!({"id":2,"name":"Bob","city":null}));
    assert_eq!(
        (&bob[1]["from"], &bob[1]["to"], &bob[1]["change"], &bob[1]["ended_by"]),
        (&json!(2), &Value::Null, &json!("update"), &Value::Null)
    );
    assert_eq!(bob[1]["changed"], json!({"city":[null,"Rome"]}));
    assert_eq!((&bob[1]["author"], &bob[1]["message"]), (&json!("Dora"), &json!("February")));
    let ada = shop.json_lines(&["history", "db", "customers", "1"]);
    assert_eq!((ada.len(), &ada[0]["to"], &ada[0]["ended_by"]), (1, &json!(3), &json!("delete")));
    let text = shop.ok(&["history", "db", "customers", "2"]);
    assert!(
        text.contains("updated by Dora: February") && text.contains("    city: NULL -> Rome\n"),
        "{text}"
    );
    let text = shop.ok(&["history", "db", "customers", "1"]);
    assert!(
        text.lines().last().unwrap().starts_with("version 3 2025-03-01T00:00:00.000000Z deleted by "),
        "{text}"
    );
    shop.fails(3, &["history", "db", "customers", "9"]);
    shop.fails(3, &["history", "db", "nothing", "9"]);
}

#[test]
fn a_dropped_tables_rows_keep_their_history() {
    let shop = shop();
    shop.ok(&["drop-table", "db", "customers"]);
    let bob = shop.json_lines(&["history", "db", "customers", "2"]);
    assert_eq!((bob.len(), &bob[1]["to"], &bob[1]["ended_by"]), (2, &json!(5), &json!("delete")));
}

#[test]
fn without_a_key_history_is_the_tables_log() {
    let shop = shop();
    assert_eq!(versions(&shop.json_lines(&["history", "db", "customers"])), [3, 2, 1]);
    assert_eq!(shop.ok(&["history", "db", "customers"]), shop.ok(&["log", "db", "--table", "customers"]));
}

#[test]
fn one_line_names_files_and_schema_changes_where_there_is_no_message() {
    let scratch = Scratch::new();
    scratch.write("a.csv", "id,n\n1,5\n");
    scratch.ok(&["create-table", "db", "t", "id int64, n int64, primary key (id)"]);
    scratch.ok(&["import", "db", "t", "a.csv"]);
    scratch.ok(&["alter-table", "db", "t", "drop n, add m text"]);
    let log = scratch.ok(&["log", "db", "--oneline"]);
    let lines: Vec<&str> = log.lines().map(|line| line.splitn(3, ' ').last().unwrap()).collect();
    assert_eq!(lines[1], "import a.csv [t +1]");
    assert!(lines[0].starts_with("alter-table t: ") && lines[0].contains(", "), "{log}");
    assert!(lines[2].starts_with("create-table t: "), "{log}");
    assert!(!log.contains("no rows"), "{log}");
}
