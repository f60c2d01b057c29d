//! Where data goes, and what terminals are spared.

use super::support::*;
use std::io::Read;
use std::process::Stdio;

fn steering() -> Scratch {
    let scratch = Scratch::new();
    scratch.apply("{\"ops\":[{\"op\":\"upsert\",\"table\":\"t\",\"key\":[\"id\"],\"rows\":[{\"id\":1,\"x\":\"a\\u001b[31mb\"}]}]}\n");
    scratch
}

#[test]
fn escapes_in_data_reach_pipes_and_not_terminals() {
    let scratch = steering();
    assert_eq!(scratch.ok(&["cat", "db", "t"]), "id,x\n1,a\x1b[31mb\n");
    for words in [
        &["cat", "db", "t"][..],
        &["get", "db", "t", "1"],
        &["history", "db", "t", "1"],
        &["diff", "db", "0", "1"],
    ] {
        let mut command = scratch.command(words);
        command.args(["--color", "never"]);
        let (status, sent) = run_on_terminal(command);
        assert_eq!(status, 0, "{words:?}");
        assert!(!sent.contains('\x1b') && sent.contains("[31mb"), "{words:?}: {sent:?}");
    }
}

#[test]
fn binary_formats_are_kept_from_terminals() {
    let shop = shop();
    for format in ["parquet", "arrow"] {
        let (status, sent) = run_on_terminal(shop.command(&["cat", "db", "customers", "--format", format]));
        assert_eq!((status, sent.as_str()), (2, ""));
    }
}

#[test]
fn a_file_is_written_whole_and_its_name_says_the_format() {
    let shop = shop();
    shop.write("out.csv", "old");
    assert_eq!(shop.ok(&["cat", "db", "customers", "-o", "out.csv"]), "");
    assert_eq!(std::fs::read_to_string(shop.path("out.csv")).unwrap(), CUSTOMERS_3);
    shop.ok(&["cat", "db", "customers", "-o", "out.jsonl"]);
    assert!(std::fs::read_to_string(shop.path("out.jsonl")).unwrap().starts_with("{\"id\":2,"));
    shop.ok(&["cat", "db", "customers", "-o", "out.parquet"]);
    assert!(std::fs::read(shop.path("out.parquet")).unwrap().ends_with(b"PAR1"));
    shop.fails(2, &["cat", "db", "customers", "-o", "out.xls"]);
    shop.fails(3, &["cat", "db", "nothing", "-o", "out.csv"]);
    assert_eq!(std::fs::read_to_string(shop.path("out.csv")).unwrap(), CUSTOMERS_3);
    let error = shop.fails(1, &["cat", "db", "customers", "-o", "missing/out.csv"]);
    assert!(error.contains("missing/out.csv: there is no directory") && !error.contains(".asof-"), "{error}");
    let left: Vec<_> =
        std::fs::read_dir(shop.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".asof-")), "{left:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = Scratch::new();
    let rows: String = (0..20_000).map(|id| format!("{id},some text that fills pipes\n")).collect();
    scratch.write("t.csv", format!("id,x\n{rows}"));
    scratch.ok(&["import", "db", "t", "t.csv", "--key", "id"]);
    for format in ["csv", "jsonl", "json", "parquet", "table"] {
        let mut child = Guard(Some(scratch.spawn_piped(&["cat", "db", "t", "--format", format])));
        let mut first = [0; 4];
        child.get().stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        drop(child.get().stdout.take());
        let ran = child.finish();
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{format}");
    }
}

#[test]
fn a_full_device_is_a_failure() {
    let shop = shop();
    for words in [&["cat", "db", "customers"][..], &["log", "db"], &["tables", "db"], &["info", "db"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ran: Ran = shop.command(words).stdout(Stdio::from(full)).output().unwrap().into();
        assert_eq!(ran.status, 1, "{words:?}");
        assert!(ran.stderr.starts_with("asof: cannot write standard output: "), "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn counters_are_told_when_asked_for() {
    let shop = shop();
    let ran = shop.run(&["cat", "db", "customers", "-v"]);
    assert_eq!(ran.text(), CUSTOMERS_3);
    assert!(
        ran.stderr.contains("log: ") && ran.stderr.contains(" reads of ") && ran.stderr.contains("decoded: "),
        "{}",
        ran.stderr
    );
    let ran = shop.run(&["info", "db", "-v", "--json"]);
    let counters = lines_of_json(&ran.stderr);
    assert!(counters[0]["counters"].is_object(), "{}", ran.stderr);
    assert_eq!(shop.run(&["cat", "db", "customers"]).stderr, "");
}

#[test]
fn the_database_may_come_from_the_environment() {
    let shop = shop();
    let with_env =
        |words: &[&str]| -> Ran { shop.command(words).env("ASOF_DB", "db").output().unwrap().into() };
    assert_eq!(with_env(&["cat", "customers"]).text(), CUSTOMERS_3);
    assert_eq!(with_env(&["cat", "customers", "--as-of", "-1h"]).text(), CUSTOMERS_3);
    assert_eq!(with_env(&["cat", "db", "customers"]).text(), CUSTOMERS_3);
    assert!(with_env(&["resolve", "-1h"]).text().starts_with("4 "));
    assert_eq!(with_env(&["diff", "3", "4", "customers", "--exit-code"]).status, 0);
    assert_eq!(with_env(&["tag", "x", "2"]).text(), "x names version 2\n");
    shop.write(
        "new.jsonl",
        "{\"ops\":[{\"op\":\"delete\",\"table\":\"customers\",\"keys\":[{\"id\":2}]}]}\n",
    );
    assert_eq!(with_env(&["apply", "new.jsonl"]).status, 0);
    shop.write("t.csv", "id\n1\n");
    assert_eq!(with_env(&["import", "t", "t.csv", "--key", "id"]).status, 0);
    assert_eq!(with_env(&["cat", "t"]).text(), "id\n1\n");
    assert_eq!(shop.run(&["cat", "customers"]).status, 2);
}

#[test]
fn quiet_leaves_data_and_errors_alone() {
    let scratch = Scratch::new();
    scratch.write("t.csv", "id,n\n1,5\n");
    for words in [
        &["create-table", "db", "u", "id int64", "-q"][..],
        &["import", "db", "t", "t.csv", "--key", "id", "-q"],
        &["alter-table", "db", "t", "add x int64", "-q"],
        &["tag", "db", "a", "1", "-q"],
        &["tag", "db", "a", "--delete", "-q"],
        &["checkpoint", "db", "-q"],
        &["drop-table", "db", "u", "-q"],
    ] {
        let ran = scratch.run(words);
        assert_eq!((ran.status, ran.text(), ran.stderr.as_str()), (0, "", ""), "{words:?}");
    }
    assert_eq!(scratch.ok(&["cat", "db", "t", "-q"]), "id,n,x\n1,5,\n");
    scratch.fails(3, &["cat", "db", "u", "-q"]);
    let said = scratch.json(&["tag", "db", "b", "1", "-q"]);
    assert_eq!(said["version"], 1, "what --json asks for is data");
}

#[test]
fn only_what_is_no_plain_version_is_echoed() {
    let shop = shop();
    assert_eq!(shop.run(&["cat", "db", "customers", "--as-of", "2"]).stderr, "");
    let echoed = shop.run(&["cat", "db", "customers", "--as-of", "latest~2"]).stderr;
    assert!(echoed.starts_with("latest~2 is version 2 ("), "{echoed}");
}

#[test]
fn a_missing_database_is_asked_for_with_both_ways_to_name_it() {
    let error = Scratch::new().fails(2, &["log"]);
    assert!(error.contains("<DB>") && error.contains("$ASOF_DB"), "{error}");
}
