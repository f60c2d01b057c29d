//! `diff --feed`, and `--follow`.

use super::support::*;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};

/// What a line of a feed says, without its time.
fn line(value: &Value) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().remove("_commit_timestamp");
    value
}

fn upsert(row: &str) -> String {
    format!("{{\"ops\":[{{\"op\":\"upsert\",\"table\":\"customers\",\"rows\":[{row}]}}]}}\n")
}

/// After version 4: a column comes, one goes, one is renamed, and Bob is written in between.
fn changing() -> Scratch {
    let shop = shop();
    shop.ok(&["alter-table", "db", "customers", "add age int8 default 30"]);
    shop.apply(&upsert(r#"{"id":2,"name":"Bob","city":"Rome","age":31}"#));
    shop.ok(&["alter-table", "db", "customers", "drop name, rename city to town"]);
    shop.apply(&upsert(r#"{"id":2,"town":"Oslo","age":31}"#));
    shop
}

#[test]
fn columns_of_a_feed_are_shown_while_they_were_there() {
    let shop = changing();
    let feed = shop.json_lines(&["diff", "db", "4", "latest", "customers", "--feed", "-q"]);
    let feed: Vec<Value> = feed.iter().map(line).collect();
    let image = |change: &str, version: u64, name: Option<&str>, town: &str, age: Option<u64>| json!({"_change_type": change, "_commit_version": version, "id": 2, "town": town, "age": age, "name": name});
    assert_eq!(
        feed,
        [
            image("update_preimage", 6, Some("Bob"), "Rome", Some(30)),
            image("update_postimage", 6, Some("Bob"), "Rome", Some(31)),
            image("update_preimage", 8, None, "Rome", Some(31)),
            image("update_postimage", 8, None, "Oslo", Some(31)),
        ]
    );
    let feed = shop.json_lines(&["diff", "db", "0", "latest", "customers", "--feed", "-q"]);
    assert_eq!((&feed[0]["_commit_version"], &feed[0]["age"]), (&json!(1), &Value::Null), "it came later");
}

#[test]
fn a_replaced_tables_feed_has_keyed_images() {
    let shop = shop();
    shop.write("new.csv", "id,name,city\n2,Bob,Rome\n3,Cyrus,\n4,Di,Bern\n");
    shop.ok(&["import", "db", "customers", "new.csv", "--mode", "replace"]);
    let feed = shop.json_lines(&["diff", "db", "4", "5", "customers", "--feed", "-q"]);
    let kinds: Vec<(&Value, &Value)> = feed.iter().map(|line| (&line["_change_type"], &line["id"])).collect();
    assert_eq!(
        kinds,
        [
            (&json!("update_preimage"), &json!(3)),
            (&json!("update_postimage"), &json!(3)),
            (&json!("insert"), &json!(4))
        ]
    );
    // Dropped and made again by one commit: the rows that both have are updated.
    shop.apply("{\"ops\":[{\"op\":\"drop_table\",\"table\":\"customers\"},{\"op\":\"create_table\",\"table\":\"customers\",\"schema\":\"id int64, town text, primary key (id)\"},{\"op\":\"insert\",\"table\":\"customers\",\"rows\":[{\"id\":4,\"town\":\"Bern\"}]}]}\n");
    let feed = shop.json_lines(&["diff", "db", "5", "6", "customers", "--feed", "-q"]);
    let kinds: Vec<(&Value, &Value)> = feed.iter().map(|line| (&line["_change_type"], &line["id"])).collect();
    assert_eq!(
        kinds,
        [
            (&json!("delete"), &json!(2)),
            (&json!("delete"), &json!(3)),
            (&json!("update_preimage"), &json!(4)),
            (&json!("update_postimage"), &json!(4))
        ]
    );
}

#[test]
fn a_table_that_was_made_and_dropped_in_between_is_in_the_feed() {
    let shop = shop();
    shop.apply("{\"ops\":[{\"op\":\"create_table\",\"table\":\"t\",\"schema\":\"id int64, primary key (id)\"},{\"op\":\"insert\",\"table\":\"t\",\"rows\":[{\"id\":7}]}]}\n");
    shop.ok(&["drop-table", "db", "t"]);
    for words in
        [&["diff", "db", "4", "6", "--feed", "-q"][..], &["diff", "db", "4", "6", "t", "--feed", "-q"]]
    {
        let feed = shop.json_lines(words);
        let kinds: Vec<(&Value, &Value)> =
            feed.iter().map(|line| (&line["_change_type"], &line["id"])).collect();
        assert_eq!(kinds, [(&json!("insert"), &json!(7)), (&json!("delete"), &json!(7))], "{words:?}");
    }
    assert_eq!(shop.json_lines(&["diff", "db", "4", "6", "-q"]), [] as [Value; 0]);
}

#[test]
fn the_way_back_is_a_diff_too() {
    let shop = shop();
    assert_eq!(
        shop.ok(&["diff", "db", "3", "1", "-q"]),
        "customers\n\
         + id=1, name=Ada, city=London\n\
         ~ id=2  city: Rome -> NULL\n\
         - id=3, name=Cy, city=\"\"\n\
         1 inserted, 1 updated, 1 deleted; 2 rows -> 2\n"
    );
    let stat = shop.json(&["diff", "db", "4", "1", "--stat", "-q"]);
    assert_eq!(stat["tables"]["gold.parts"]["deleted"], 2);
    assert_eq!(stat["tables"]["gold.parts"]["schema_changes"], json!([{"change": "drop_table"}]));
    let ran = shop.run(&["diff", "db", "3", "1", "--stat", "--fail-if", "inserted>0", "-q"]);
    assert_eq!(ran.status, 10, "{}", ran.stderr);
    let error = shop.fails(2, &["diff", "db", "3", "1", "--feed", "-q"]);
    assert!(error.contains("FROM (version 3) is later than TO (version 1)"), "{error}");
}

/// Lines of a follower as they come.
struct Followed {
    guard: Guard,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Followed {
    fn new(scratch: &Scratch, words: &[&str]) -> Followed {
        let mut guard = Guard(Some(scratch.spawn_piped(words)));
        let lines = BufReader::new(guard.get().stdout.take().unwrap()).lines();
        Followed { guard, lines }
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn next_json(&mut self) -> Value {
        line(&serde_json::from_str(&self.next()).unwrap())
    }

    /// Asks it to end; gives what was left.
    fn end(mut self) -> (Vec<String>, Ran) {
        interrupt(self.guard.get());
        (self.lines.map(Result::unwrap).collect(), self.guard.finish())
    }
}

#[test]
fn following_goes_on_with_commits_as_they_come_and_resumes_from_a_version() {
    let shop = changing();
    let words = ["diff", "db", "4", "latest", "customers", "--feed", "--follow", "-q"];
    let mut followed = Followed::new(&shop, &words);
    let mut lines: Vec<Value> = (0..4).map(|_| followed.next_json()).collect();
    assert_eq!(
        lines[2],
        json!({"_change_type": "update_preimage", "_commit_version": 8, "id": 2, "town": "Rome", "age": 31}),
        "columns are those of the commit"
    );
    shop.ok(&["create-table", "db", "other", "id int64"]);
    shop.apply(&upsert(r#"{"id":5,"town":"Bern","age":1}"#));
    lines.push(followed.next_json());
    assert_eq!(
        lines[4],
        json!({"_change_type": "insert", "_commit_version": 10, "id": 5, "town": "Bern", "age": 1})
    );
    shop.ok(&["drop-table", "db", "customers"]);
    lines.extend((0..3).map(|_| followed.next_json()));
    assert_eq!(lines[7]["_commit_version"], 11);
    let (rest, ran) = followed.end();
    assert_eq!((rest, ran.status, ran.stderr.as_str()), (Vec::<String>::new(), 0, ""));
    // From any version on it is the same that was left out before.
    for (from, expected) in [(6, 2), (8, 4), (10, 5)] {
        let from = from.to_string();
        let mut resumed =
            Followed::new(&shop, &["diff", "db", &from, "latest", "customers", "--feed", "--follow", "-q"]);
        let again: Vec<Value> = lines[expected..].iter().map(|_| resumed.next_json()).collect();
        assert_eq!(again, lines[expected..], "from {from}");
        let (rest, ran) = resumed.end();
        assert_eq!((rest, ran.status), (Vec::<String>::new(), 0));
    }
}

#[test]
fn following_all_tables_names_them_in_the_order_of_commits() {
    let shop = changing();
    let mut followed = Followed::new(&shop, &["diff", "db", "0", "latest", "--feed", "--follow", "-q"]);
    let lines: Vec<Value> = (0..12).map(|_| followed.next_json()).collect();
    let told: Vec<(&str, u64)> = lines
        .iter()
        .map(|line| (line["_table"].as_str().unwrap(), line["_commit_version"].as_u64().unwrap()))
        .collect();
    let customers = |version| ("customers", version);
    let parts = ("gold.parts", 4);
    let expected = [1, 1, 2, 2, 2, 3]
        .map(customers)
        .into_iter()
        .chain([parts, parts])
        .chain([6, 6, 8, 8].map(customers));
    assert_eq!(told, expected.collect::<Vec<_>>());
    shop.apply(&upsert(r#"{"id":5,"town":"Bern","age":1}"#));
    assert_eq!(followed.next_json()["_table"], "customers");
    let (rest, ran) = followed.end();
    assert_eq!((rest, ran.status), (Vec::<String>::new(), 0));
}

#[test]
fn a_csv_that_follows_ends_before_a_column_that_its_header_has_not() {
    let shop = shop();
    let words = ["diff", "db", "2", "latest", "customers", "--feed", "--follow", "--format", "csv", "-q"];
    let mut followed = Followed::new(&shop, &words);
    assert_eq!(followed.next(), "_change_type,_commit_version,_commit_timestamp,id,name,city");
    assert_eq!(followed.next(), "delete,3,2025-03-01T00:00:00.000000Z,1,Ada,London");
    // A column that goes leaves its cells empty.
    shop.ok(&["alter-table", "db", "customers", "drop name"]);
    shop.apply(&upsert(r#"{"id":9,"city":"Bern"}"#));
    let line = followed.next();
    assert!(line.starts_with("insert,6,") && line.ends_with(",9,,Bern"), "{line}");
    shop.ok(&["alter-table", "db", "customers", "add age int8"]);
    shop.apply(&upsert(r#"{"id":9,"city":"Bern","age":1}"#));
    let rest: Vec<String> = followed.lines.map(Result::unwrap).collect();
    let ran = followed.guard.finish();
    assert_eq!((rest, ran.status), (Vec::<String>::new(), 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("version 7 has the column 'age'"), "{}", ran.stderr);
    assert!(ran.stderr.contains("begin another file with FROM 6"), "{}", ran.stderr);
    let words = ["diff", "db", "6", "latest", "customers", "--feed", "--follow", "--format", "csv", "-q"];
    let mut followed = Followed::new(&shop, &words);
    assert_eq!(followed.next(), "_change_type,_commit_version,_commit_timestamp,id,city,age");
    assert!(followed.next().ends_with(",9,Bern,"));
    assert!(followed.next().ends_with(",9,Bern,1"));
    assert_eq!(followed.end().1.status, 0);
}

#[test]
fn following_a_feed_ends_when_nobody_reads() {
    let shop = shop();
    let mut follower =
        Guard(Some(shop.spawn_piped(&["diff", "db", "2", "latest", "--feed", "--follow", "-q"])));
    let mut stdout = BufReader::new(follower.get().stdout.take().unwrap());
    let mut line = [0; 8];
    stdout.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"{\"_table");
    drop(stdout);
    let ran = follower.finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let shop = shop();
    let refused = |words: &[&str]| shop.run(&[&["diff", "db"], words].concat());
    for (words, said) in [
        (&["1", "3", "--feed", "--follow"][..], "TO is latest"),
        (&["1", "latest", "--follow"], "--feed"),
        (&["1", "latest", "--feed", "--follow", "--format", "parquet"], "jsonl or csv"),
        (&["1", "latest", "--feed", "--follow", "--format", "csv"], "one table"),
        (&["1", "latest", "--feed", "--follow", "--fail-if", "deleted>1"], "--fail-if"),
    ] {
        let ran = refused(words);
        assert!(ran.status == 2 && ran.stderr.contains(said), "{words:?}: {} {}", ran.status, ran.stderr);
    }
    assert_eq!(refused(&["1", "latest", "customer", "--feed", "--follow"]).status, 3);
}

#[test]
fn a_csv_that_follows_a_table_that_is_back_begins_with_the_columns_it_has() {
    let scratch = Scratch::new();
    scratch.write("old.csv", "id,name\n1,Ada\n");
    scratch.write("new.csv", "number,colour\n7,red\n");
    scratch.ok(&["import", "db", "t", "old.csv", "--key", "id"]);
    scratch.ok(&["import", "db", "t", "new.csv", "--mode", "replace", "--key", "number"]);
    scratch.ok(&["restore", "db", "1"]);
    let header = |from: &str| {
        let words = ["diff", "db", from, "latest", "t", "--feed", "--follow", "--format", "csv", "-q"];
        let mut followed = Followed::new(&scratch, &words);
        let header = followed.next();
        followed.end();
        header
    };
    assert_eq!(header("3"), "_change_type,_commit_version,_commit_timestamp,id,name");
    assert_eq!(header("2"), "_change_type,_commit_version,_commit_timestamp,id,name,number,colour");
}
