//! `apply`: transactions as JSON Lines.

use crate::cli::support::{Guard, Scratch, lines_of_json, shop};
use asof_tools::cmd::apply::parse_request;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};

fn apply(scratch: &Scratch, lines: &[&str]) -> (i32, Vec<Value>) {
    let ran = scratch.run_with_input(&["apply", "db"], &(lines.join("\n") + "\n"));
    (ran.status, lines_of_json(ran.text()))
}

fn error_of(scratch: &Scratch, line: &str) -> String {
    let (status, answers) = apply(scratch, &[line]);
    assert_eq!(status, 1, "{line}: {answers:?}");
    answers[0]["error"]["message"].as_str().unwrap_or_else(|| panic!("{line}: {answers:?}")).to_string()
}

#[test]
fn a_table_is_made_from_its_first_rows() {
    let scratch = Scratch::new();
    let (status, answers) = apply(
        &scratch,
        &[
            r#"{"ops":[{"op":"upsert","table":"t","key":["id"],"rows":[{"id":1,"day":"2024-01-01"},{"id":2,"n":1.5,"ok":true,"l":[1]}]}]}"#,
            r#"{"ops":[{"op":"insert","table":"log","rows":[{"a":1},{"a":1}]}]}"#,
        ],
    );
    assert_eq!(status, 0, "{answers:?}");
    assert_eq!((&answers[0]["line"], &answers[0]["version"]), (&json!(1), &json!(1)));
    assert_eq!(answers[1]["version"], json!(2));
    let schema = scratch.ok(&["schema", "db", "t"]);
    for column in
        ["id int64 not null", "day text", "n float64", "ok bool", "l list(int64)", "primary key (id)"]
    {
        assert!(schema.contains(column), "{schema}");
    }
    assert_eq!(scratch.ok(&["cat", "db", "log"]), "a\n1\n1\n");
    let error = error_of(&scratch, r#"{"ops":[{"op":"insert","table":"none","rows":[]}]}"#);
    assert!(error.contains("there is no table 'none'"), "{error}");
    let error = error_of(&scratch, r#"{"ops":[{"op":"upsert","table":"t","key":["n"],"rows":[{"id":1}]}]}"#);
    assert!(error.contains("operation 1 (upsert t)") && error.contains("key"), "{error}");
}

#[test]
fn operations_of_a_line_are_one_commit() {
    let scratch = shop();
    let (status, answers) = apply(
        &scratch,
        &[concat!(
            r#"{"ops":[{"op":"insert","table":"customers","rows":[{"id":7,"name":"Eve","city":null}]},"#,
            r#"{"op":"update","table":"customers","rows":[{"id":2,"city":"Oslo"},{"id":3,"city":"Bern"},{"id":7,"name":"Eva"}]},"#,
            r#"{"op":"delete","table":"customers","keys":[3]},"#,
            r#"{"op":"delete","table":"gold.parts","keys":[["bolt",-1],{"number":2,"kind":"nut, brass"}]},"#,
            r#"{"op":"create_table","table":"empty","schema":"a int64 default 3, b text","key":["a"]},"#,
            r#"{"op":"upsert","table":"empty","rows":[{"a":1},{"a":2,"b":"x"}]}],"#,
            r#""message":"all at once","author":"Dora","meta":{"k":"v"}}"#
        )],
    );
    assert_eq!(status, 0, "{answers:?}");
    assert_eq!(answers[0]["version"], json!(5));
    assert_eq!(scratch.ok(&["cat", "db", "customers"]), "id,name,city\n2,Bob,Oslo\n7,Eva,\n");
    assert_eq!(scratch.ok(&["cat", "db", "gold.parts"]), "kind,number,price\n");
    assert_eq!(scratch.ok(&["cat", "db", "empty"]), "a,b\n1,\n2,x\n");
    let commit = scratch.json(&["show", "db", "5"]);
    assert_eq!(
        (&commit["message"], &commit["author"], &commit["meta"]),
        (&json!("all at once"), &json!("Dora"), &json!({"k":"v"}))
    );
    assert_eq!(commit["tables"]["customers"], json!({"inserted":1,"updated":1,"deleted":1}));
    let (status, answers) = apply(
        &scratch,
        &[r#"{"ops":[{"op":"truncate","table":"customers"},{"op":"drop_table","table":"empty"}]}"#],
    );
    assert_eq!(status, 0, "{answers:?}");
    assert_eq!(scratch.ok(&["cat", "db", "customers"]), "id,name,city\n");
}

#[test]
fn absent_members_get_defaults_and_null_stays_null() {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, n int64 default 7, primary key (id)"]);
    let (status, _) = apply(
        &scratch,
        &[r#"{"ops":[{"op":"upsert","table":"t","rows":[{"id":1},{"id":2,"n":null},{"id":3,"n":4}]}]}"#],
    );
    assert_eq!(status, 0);
    assert_eq!(scratch.ok(&["cat", "db", "t"]), "id,n\n1,7\n2,\n3,4\n");
}

#[test]
fn a_line_that_fails_changes_nothing_and_the_run_goes_on() {
    let scratch = shop();
    let lines = [
        r#"{"ops":[{"op":"upsert","table":"customers","rows":[{"id":8}]},{"op":"delete","table":"customers","keys":[99]}]}"#,
        r#"{"ops":[{"op":"upsert","table":"customers","rows":[{"id":9,"name":"Fay"}]}]}"#,
        r#"not json"#,
        "",
        r#"{"ops":[{"op":"upsert","table":"customers","rows":[{"id":"x"}]}]}"#,
    ];
    let (status, answers) = apply(&scratch, &lines);
    assert_eq!(status, 1);
    assert_eq!(answers.len(), 4);
    assert_eq!(
        (&answers[0]["line"], &answers[1]["line"], &answers[2]["line"]),
        (&json!(1), &json!(2), &json!(3))
    );
    assert_eq!(answers[3]["line"], json!(5), "an empty line counts, and has no answer");
    assert_eq!(answers[1]["version"], json!(5));
    assert_eq!(answers[2]["error"]["code"], "invalid");
    let message = answers[3]["error"]["message"].as_str().unwrap();
    assert_eq!(message, "operation 1 (upsert customers): row 1, column 'id': 'x' is not an int64");
    assert!(!scratch.ok(&["cat", "db", "customers"]).contains("\n8,"));
    let ran = scratch.run_with_input(&["apply", "db", "--stop-on-error"], &lines.join("\n"));
    assert_eq!((ran.status, lines_of_json(ran.text()).len()), (1, 1));
}

#[test]
fn what_is_not_understood_is_refused() {
    for (line, message) in [
        (r#"{"ops":[],"extra":1}"#, "unknown field `extra`"),
        (r#"{"ops":[{"op":"upsert","table":"t","rows":[],"where":"x"}]}"#, "unknown field `where`"),
        (r#"{"ops":[{"op":"merge","table":"t"}]}"#, "unknown variant `merge`"),
        (r#"{"ops":[{"op":"delete","table":"t","rows":[]}]}"#, "delete has no field 'rows'"),
        (r#"{"ops":[{"op":"delete","table":"t"}]}"#, "delete needs the field 'keys'"),
        (r#"{"ops":[{"op":"truncate","table":"t","key":["a"]}]}"#, "truncate has no field 'key'"),
        (r#"{"ops":[{"op":"upsert","table":"t","rows":[{"a":1,"a":2}]}]}"#, "names 'a' twice"),
        (r#"{"ops":[{"op":"upsert","table":"t","rows":[1]}]}"#, "expected an object"),
        (r#"{"ops":[{"table":"t"}]}"#, "missing field `op`"),
        (r#"{"ops":[],"meta":{"a":1}}"#, "expected a string"),
        (r#"{"ops":[],"ops":[]}"#, "duplicate field `ops`"),
        (r#"{}"#, "missing field `ops`"),
        (r#"{"ops":[]} {"ops":[]}"#, "column 12: trailing characters"),
        (r#"[]"#, "column"),
    ] {
        let error = parse_request(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(message), "{line}: {error}");
        assert!(!error.contains(" at line "), "{line}: {error}");
    }
    let scratch = shop();
    let error =
        error_of(&scratch, r#"{"ops":[{"op":"upsert","table":"customers","rows":[{"id":1,"town":"x"}]}]}"#);
    assert!(error.contains("town") && error.contains("city"), "{error}");
    let error = error_of(&scratch, r#"{"ops":[{"op":"delete","table":"gold.parts","keys":["bolt"]}]}"#);
    assert!(error.contains("key 1: give a value for each of kind, number"), "{error}");
    let error = error_of(&scratch, r#"{"time":"soon","ops":[]}"#);
    assert!(error.contains("'soon' is no time"), "{error}");
}

#[test]
fn ids_make_lines_idempotent() {
    let scratch = Scratch::new();
    let line = r#"{"id":"r1","ops":[{"op":"insert","table":"t","key":["k"],"rows":[{"k":1}]}]}"#;
    let (status, first) = apply(&scratch, &[line, line]);
    assert_eq!(status, 0, "{first:?}");
    assert_eq!(
        (&first[1]["version"], &first[1]["time"], &first[1]["repeated"]),
        (&first[0]["version"], &first[0]["time"], &json!(true))
    );
    let (status, _) = apply(&scratch, &[line]);
    assert_eq!(status, 0, "also in another run");
    let error = error_of(&scratch, &line.replace("\"k\":1", "\"k\":2"));
    assert!(error.contains("r1"), "{error}");
    assert_eq!(scratch.json(&["resolve", "db", "latest"])["version"], json!(1));
}

#[test]
fn times_are_taken_and_an_empty_transaction_makes_no_version() {
    let scratch = Scratch::new();
    let (status, answers) = apply(
        &scratch,
        &[
            r#"{"time":"2020-01-01T00:00:00+01:00","ops":[{"op":"insert","table":"t","key":["k"],"rows":[{"k":1}]}]}"#,
            r#"{"ops":[]}"#,
        ],
    );
    assert_eq!(status, 0, "{answers:?}");
    assert_eq!(answers[0]["time"], "2019-12-31T23:00:00.000000Z");
    assert_eq!((&answers[1]["version"], &answers[1]["unchanged"]), (&json!(1), &json!(true)));
}

#[test]
fn the_isolation_level_is_that_of_the_line_or_else_of_the_command() {
    let scratch = Scratch::new();
    let line = |field: &str| {
        format!(r#"{{{field}"ops":[{{"op":"upsert","table":"t","key":["k"],"rows":[{{"k":1}}]}}]}}"#)
    };
    let lines = format!("{}\n{}\n", line(r#""isolation":"serializable","#), line(""));
    assert_eq!(scratch.run_with_input(&["apply", "db"], &lines).status, 0);
    let lines = format!("{}\n{}\n", line(r#""isolation":"snapshot","#), line(""));
    let ran = scratch.run_with_input(&["apply", "db", "--isolation", "serializable"], &lines);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let levels = [(1, "serializable"), (2, "snapshot"), (3, "snapshot"), (4, "serializable")];
    for (version, level) in levels {
        assert_eq!(scratch.json(&["show", "db", &version.to_string()])["isolation"], level, "{version}");
    }
    let error = error_of(&scratch, &line(r#""isolation":"chaos","#));
    assert!(error.contains("'chaos' is no isolation level; give snapshot or serializable"), "{error}");
    assert_eq!(scratch.run_with_input(&["apply", "db", "--isolation", "chaos"], "").status, 2);
}

#[test]
fn answers_come_line_by_line_and_idle_input_holds_nobody_up() {
    let scratch = Scratch::new();
    let mut child = Guard(Some(scratch.spawn_piped(&["apply", "db"])));
    let mut input = child.get().stdin.take().unwrap();
    let mut output = BufReader::new(child.get().stdout.take().unwrap()).lines();
    for k in 1..=3 {
        writeln!(input, r#"{{"ops":[{{"op":"upsert","table":"t","key":["k"],"rows":[{{"k":{k}}}]}}]}}"#)
            .unwrap();
        let answer: Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["line"], json!(k));
        let other = format!(r#"{{"ops":[{{"op":"upsert","table":"t","rows":[{{"k":{}}}]}}]}}"#, k + 100);
        let (status, answers) = apply(&scratch, &[&other]);
        assert_eq!((status, &answers[0]["version"]), (0, &json!(2 * k)), "between two lines of the other");
    }
    drop(input);
    let ran = child.finish();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(scratch.ok(&["cat", "db", "t"]).lines().count(), 7);
}

#[test]
fn two_processes_take_turns_without_losing_a_line() {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "k int64, v text, primary key (k)"]);
    const LINES: u64 = 150;
    let children: Vec<_> = (0..2u64)
        .map(|writer| {
            let mut child = scratch.spawn_piped(&["apply", "db", "--wait", "60s"]);
            let mut input = child.stdin.take().unwrap();
            let feeder = std::thread::spawn(move || {
                for line in 0..LINES {
                    let own = 1_000 * (writer + 1) + line;
                    writeln!(input, r#"{{"ops":[{{"op":"upsert","table":"t","rows":[{{"k":0,"v":"{own}"}},{{"k":{own}}}]}}]}}"#).unwrap();
                }
            });
            (child, feeder)
        })
        .collect();
    let mut versions = Vec::new();
    for (child, feeder) in children {
        let ran = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
        versions.extend(
            lines_of_json(std::str::from_utf8(&ran.stdout).unwrap())
                .iter()
                .map(|a| a["version"].as_u64().unwrap()),
        );
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..2 + 2 * LINES).collect::<Vec<_>>(), "one history without holes");
    assert_eq!(scratch.ok(&["cat", "db", "t"]).lines().count() as u64, 2 + 2 * LINES);
}

#[test]
fn files_may_be_compressed_and_long_lines_are_refused() {
    let scratch = Scratch::new();
    let line = r#"{"ops":[{"op":"upsert","table":"t","key":["k"],"rows":[{"k":1}]}]}"#;
    scratch.write("t.jsonl.zst", zstd::bulk::compress(line.as_bytes(), 1).unwrap());
    assert_eq!(scratch.run(&["apply", "db", "t.jsonl.zst"]).status, 0);
    let long = format!(
        "{{\"ops\":[],\"message\":\"{}\"}}\n{line}\n",
        "x".repeat(asof_tools::cmd::apply::LINE_BYTES_MAX)
    );
    scratch.write("long.jsonl", long);
    let ran = scratch.run(&["apply", "db", "long.jsonl"]);
    assert_eq!(ran.status, 1);
    let answers = lines_of_json(ran.text());
    assert!(answers[0]["error"]["message"].as_str().unwrap().contains("longer than 67108864 bytes"));
    assert_eq!(answers[1]["line"], json!(2));
}

#[test]
fn errors_name_the_operation_the_row_and_what_to_do() {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, n int64, primary key (id)"]);
    for (line, said) in [
        ("garbage", "the line is not JSON: column 1: "),
        (
            r#"{"ops":[{"op":"upsert","table":"t","rows":[{"id":1}]},{"op":"upsert","table":"u","key":["k"],"rows":[{"k":1}]},{"op":"drop_table","table":"nothing"}]}"#,
            "operation 3 (drop_table nothing)",
        ),
        (
            r#"{"ops":[{"op":"truncate","table":"t"}, {"op":"delete","table":"u","keys":[1]}]}"#,
            "operation 2 (delete u): ",
        ),
        (
            r#"{"ops":[{"op":"delete","table":"t","keys":[{"id":77}]}]}"#,
            r#"operation 1 (delete t): key 1 ({"id":77}): "#,
        ),
        (
            r#"{"ops":[{"op":"upsert","table":"t","rows":[{"id":1},{"n":2}]}]}"#,
            "row 2, column 'id': it is not null",
        ),
        (r#"{"ops":[{"op":"upsert","table":"new","rows":[{"id":1}]}]}"#, r#"add "key":["id"]"#),
    ] {
        let ran = scratch.run_with_input(&["apply", "db"], &format!("{line}\n"));
        let answers = lines_of_json(ran.text());
        let message = answers[0]["error"]["message"].as_str().unwrap();
        assert!(ran.status == 1 && message.contains(said), "{line}: {message}");
    }
    assert_eq!(scratch.json(&["resolve", "db", "latest"])["version"], 1);
}
