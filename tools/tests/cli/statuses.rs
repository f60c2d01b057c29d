//! Exit statuses and the shape of errors.

use super::support::*;
use serde_json::{Value, json};

#[test]
fn wrong_usage_is_two() {
    let shop = shop();
    for words in [
        &[][..],
        &["nonsense"],
        &["cat"],
        &["cat", "db", "customers", "--nonsense"],
        &["cat", "db", "customers", "--format", "xls"],
        &["log", "db", "--follow", "--until", "3"],
        &["cat", "db", "customers", "--wait", "soon"],
        &["mount", "db", "mnt", "--mode", "777"],
        &["completions", "nonsense"],
    ] {
        assert_eq!(shop.run(words).status, 2, "{words:?}");
    }
    // Commands that are not there yet.
    for command in ["archive", "recover", "restore"] {
        shop.fails(2, &[command, "db"]);
    }
    let error = shop.fails(2, &["cat", "--format", "csv"]);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("<DB> <TABLE>") && error.contains("usage: asof cat"), "{error}");
}

#[test]
fn nothing_there_is_three_with_what_is_there_instead() {
    let shop = shop();
    shop.ok(&["tag", "db", "audit", "2", "-q"]);
    let error = |words: &[&str]| -> Value {
        let ran = shop.run(&[words, &["--json"]].concat());
        assert_eq!((ran.status, ran.text()), (3, ""), "{words:?}: {}", ran.stderr);
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["error"]["code"], "not_found");
        assert!(error["error"]["message"].is_string());
        error["error"]["nearest"].clone()
    };
    let has = |nearest: Value, name: &str| {
        let found = nearest
            .as_array()
            .unwrap()
            .iter()
            .any(|near| near.as_str().is_some_and(|near| near.contains(name)));
        assert!(found, "{name}: {nearest}");
    };
    has(error(&["cat", "db", "customer"]), "customers");
    has(error(&["resolve", "db", "99"]), "4");
    has(error(&["resolve", "db", "audits"]), "audit");
    error(&["resolve", "db", "2999-01-01"]);
    error(&["get", "db", "customers", "77"]);
    error(&["cat", "db", "customers", "--as-of", "0"]);
    let plain = shop.fails(3, &["cat", "db", "customer"]);
    assert!(plain.contains("customers") && plain.lines().count() == 1, "{plain}");
    shop.fails(3, &["cat", "no-such-db", "t"]);
}

#[test]
fn a_failure_is_one() {
    let shop = shop();
    let ran = shop.run(&["create-table", "db", "customers", "id int64", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.status, &error["error"]["code"]), (1, &json!("exists")));
    shop.fails(1, &["resolve", "db", "eod:nonsense"]);
}

#[test]
fn usage_errors_are_json_too() {
    let ran = Scratch::new().run(&["cat", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(
        (ran.status, &error["error"]["code"], &error["error"]["nearest"]),
        (2, &json!("usage"), &json!([]))
    );
}

#[test]
fn help_and_version_are_data() {
    let scratch = Scratch::new();
    for words in [&["--help"][..], &["help"], &["cat", "--help"], &["--version"], &["completions", "bash"]] {
        let ran = scratch.run(words);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{words:?}");
        assert!(ran.text().contains("asof"), "{words:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.ok(&["completions", shell]);
        assert!(script.contains("create-table") && script.contains("as-of"), "{shell}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_loses_nothing() {
    let shop = shop();
    let rows: String = (100..60_000).map(|id| format!("{id},name {id}\n")).collect();
    shop.write("many.csv", format!("id,name\n{rows}"));
    let before = shop.ok(&["cat", "db", "customers"]);
    let asof = shop.command(&["import", "db", "more", "many.csv", "--key", "id"]);
    let words: Vec<&std::ffi::OsStr> = std::iter::once(asof.get_program()).chain(asof.get_args()).collect();
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""]).args(words).current_dir(shop.path("."));
    let ran: Ran = limited.output().unwrap().into();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("asof: cannot ") && ran.stderr.contains("too large"), "{}", ran.stderr);
    assert_eq!(shop.ok(&["cat", "db", "customers"]), before);
    shop.fails(3, &["cat", "db", "more"]);
    shop.ok(&["import", "db", "more", "many.csv", "--key", "id"]);
    shop.ok(&["verify", "db"]);
}

#[test]
fn a_line_that_is_no_transaction_is_told_what_one_is() {
    let shop = shop();
    for (line, what) in
        [("7", "a transaction, as {\"ops\": [..]}"), ("{\"ops\": [7]}", "an operation, as {\"op\"")]
    {
        let ran = shop.run_with_input(&["apply", "db"], line);
        assert!(
            ran.stderr.contains(what) || ran.text().contains(&what.replace('"', "\\\"")),
            "{} {}",
            ran.text(),
            ran.stderr
        );
    }
}
