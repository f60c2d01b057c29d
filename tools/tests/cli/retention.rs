//! `retain`, `config` and `du`: plans with reasons, settings, bytes.

use super::support::Scratch;
use serde_json::{Value, json};

/// Twelve commits to a table of thirty rows, all settled, of which the third is tagged.
fn history() -> Scratch {
    let scratch = Scratch::new();
    for number in 0..12 {
        let rows: String = (0..30).map(|id| format!("{id},value {id} of {number}\n")).collect();
        scratch.write("t.csv", format!("id,name\n{rows}"));
        scratch.ok(&["import", "db", "t", "t.csv", "--key", "id"]);
    }
    scratch.ok(&["tag", "db", "q1", "3"]);
    scratch.ok(&["checkpoint", "db"]);
    scratch
}

fn read(scratch: &Scratch, version: u64) -> String {
    scratch.ok(&["cat", "db", "t", "--as-of", &version.to_string()])
}

#[test]
fn a_plan_has_reasons_and_bytes_and_execute_does_it() {
    let scratch = history();
    let before: Vec<String> = (1..=12).map(|version| read(&scratch, version)).collect();
    let plan = scratch.json(&["retain", "db", "--keep-last", "2"]);
    assert_eq!(plan["executed"], false);
    let versions = &plan["tables"][0]["versions"];
    let fates: Vec<Value> = versions
        .as_array()
        .unwrap()
        .iter()
        .map(|stretch| json!([stretch["from"], stretch["last"], stretch["fate"], stretch["reasons"]]))
        .collect();
    let expected = json!([
        [1, 2, "goes", []],
        [3, 3, "kept", ["tag q1"]],
        [4, 10, "goes", []],
        [11, 11, "kept", ["last 2"]],
        [12, 12, "kept", ["newest", "last 2"]]
    ]);
    assert_eq!(Value::Array(fates), expected);
    let text = scratch.ok(&["retain", "db", "t", "--keep-last", "2"]);
    for part in ["last 2, tagged (given)", "tag q1", "newest", "goes", " %", "--execute lets it go"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(read(&scratch, 1), before[0], "a plan changes nothing");
    let done = scratch.json(&["retain", "db", "--keep-last", "2", "--execute"]);
    assert_eq!(
        (done["executed"].clone(), done["states"].clone(), done["rows"].clone()),
        (json!(true), json!(9), json!(270))
    );
    assert!(done["bytes_after"].as_u64() < done["bytes_before"].as_u64(), "{done}");
    for version in [3, 11, 12] {
        assert_eq!(read(&scratch, version), before[version as usize - 1]);
    }
    let refused = scratch.run(&["cat", "db", "t", "--as-of", "5", "--json"]);
    assert_eq!(refused.status, 3, "{}", refused.stderr);
    let error: Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(error["error"]["nearest"], json!(["3", "11"]));
    assert!(error["error"]["message"].as_str().unwrap().contains("is gone"), "{error}");
    assert!(scratch.fails(3, &["diff", "db", "2", "12", "t"]).contains("is gone"));
    assert!(scratch.fails(3, &["diff", "db", "2", "12"]).contains("is gone"));
    assert!(scratch.ok(&["diff", "db", "3", "12", "t"]).contains("value 7 of 11"));
    assert_eq!(scratch.ok(&["tables", "db", "--as-of", "4"]), scratch.ok(&["tables", "db", "--as-of", "0"]));
    let readable = |line: &str| {
        let commit: Value = serde_json::from_str(line).unwrap();
        commit["readable"].as_bool().unwrap().then(|| commit["version"].as_u64().unwrap())
    };
    let log = scratch.ok(&["log", "db", "--json"]);
    assert_eq!(log.lines().filter_map(readable).collect::<Vec<_>>(), [12, 11, 3]);
    assert_eq!(scratch.json(&["verify", "db"])["findings"], json!([]));
    let again = scratch.ok(&["retain", "db", "--keep-last", "2", "--execute"]);
    assert!(again.starts_with("nothing to do"), "{again}");
}

#[test]
fn what_is_in_the_log_alone_is_settled_and_then_let_go() {
    let scratch = Scratch::new();
    for number in 0..4 {
        scratch.write("t.csv", format!("id,name\n1,value {number}\n"));
        scratch.ok(&["import", "db", "t", "t.csv", "--key", "id"]);
    }
    assert_eq!(scratch.json(&["retain", "db", "--keep-last", "1", "--execute"])["states"], 3);
}

#[test]
fn settings_are_shown_made_and_removed() {
    let scratch = history();
    assert_eq!(scratch.json(&["config", "db"]), json!({}));
    assert!(scratch.fails(2, &["retain", "db", "--execute"]).contains("no policy"));
    let made = scratch.json(&["config", "db", "retention.table.t", "last 5, monthly forever"]);
    assert_eq!(made["before"], Value::Null);
    assert_eq!(scratch.ok(&["config", "db", "retention.table.t"]), "last 5, monthly forever\n");
    assert!(scratch.ok(&["config", "db"]).contains("retention.table.t"));
    assert_eq!(
        scratch.ok(&["config", "db", "retention.table.t", "compliance", "--dry-run"]).lines().count(),
        1
    );
    let plan = scratch.json(&["retain", "db"]);
    assert_eq!(plan["tables"][0]["policy"], "last 5, monthly forever, tagged");
    assert_eq!(plan["tables"][0]["policy_from"], "retention.table.t");
    let wrong = scratch.fails(2, &["config", "db", "retention.database", "last"]);
    assert!(wrong.contains("retention.database") && wrong.contains("'last N'"), "{wrong}");
    assert!(
        scratch.fails(3, &["config", "db", "retention.everything", "x"]).contains("retention.tag.PATTERN")
    );
    assert!(scratch.fails(3, &["config", "db", "retention.database"]).contains("is not set"));
    scratch.ok(&["config", "db", "retention.table.t", "--unset"]);
    assert!(scratch.fails(3, &["config", "db", "retention.table.t", "--unset"]).contains("is not set"));
    assert!(scratch.fails(2, &["retain", "db", "--keep-daily", "soon"]).contains("90d"));
    assert!(scratch.fails(2, &["retain", "db", "--tag-pattern", "x"]).contains("PATTERN=D"));
    assert!(scratch.fails(3, &["retain", "db", "nobody", "--keep-last", "1"]).contains("nobody"));
}

#[test]
fn du_tells_bytes_by_table_tag_and_month() {
    let scratch = history();
    let usage = scratch.json(&["du", "db"]);
    assert_eq!(usage["tables"][0]["row_versions"], 360);
    assert_eq!(usage["tables"][0]["rows"], 30);
    assert_eq!(usage["tags"], json!([{"tag": "q1", "version": 3, "bytes": null}]));
    assert_eq!(scratch.json(&["tag", "db", "--list", "--cost"])["bytes"], Value::Null);
    assert_eq!(
        usage["months"]
            .as_array()
            .unwrap()
            .iter()
            .map(|month| month["row_versions"].as_u64().unwrap())
            .sum::<u64>(),
        360
    );
    scratch.ok(&["config", "db", "retention.database", "last 3"]);
    let cost = scratch.json(&["du", "db"])["tags"][0]["bytes"].clone();
    assert!(cost.as_u64().unwrap() > 0);
    assert_eq!(scratch.json(&["tag", "db", "--list", "--cost"])["bytes"], cost);
    assert!(scratch.ok(&["tag", "db", "--list", "--cost"]).contains("only it keeps"));
    assert_eq!(scratch.json(&["tag", "db", "--list"]).get("bytes"), None);
    let text = scratch.ok(&["du", "db"]);
    for part in ["only it keeps", "q1", "month", "(log)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_gone_is_neither_undone_nor_restored() {
    let scratch = history();
    scratch.ok(&["retain", "db", "--keep-last", "2", "--execute"]);
    for version in ["4", "11"] {
        assert!(scratch.fails(3, &["undo", "db", version]).contains("is gone"));
    }
    assert!(scratch.fails(3, &["restore", "db", "5"]).contains("is gone"));
    assert!(scratch.fails(3, &["blame", "db", "t", "1", "--as-of", "5"]).contains("is gone"));
    assert_eq!(scratch.json(&["resolve", "db", "latest"])["version"], 12);
    scratch.ok(&["undo", "db", "12"]);
    assert_eq!(read(&scratch, 13), read(&scratch, 11));
    scratch.ok(&["restore", "db", "3"]);
    assert_eq!(read(&scratch, 14), read(&scratch, 3));
}

#[cfg(feature = "sql")]
#[test]
fn find_says_nothing_of_what_is_gone() {
    let scratch = history();
    scratch.ok(&["retain", "db", "--keep-last", "2", "--execute"]);
    let find = |condition: &str| scratch.json(&["find", "db", "t", "--where", condition]);
    let ranges = |found: &Value| -> Vec<Value> {
        let intervals = found["intervals"].as_array().unwrap().iter();
        intervals.map(|interval| json!([interval["from"], interval["to"], interval["rows"]])).collect()
    };
    let all = find("id < 5");
    assert_eq!(ranges(&all), [json!([3, 4, 5]), json!([11, null, 5])]);
    assert_eq!(all["intervals"][0]["end_commit"], Value::Null);
    let unasked: Vec<Value> =
        all["unasked"].as_array().unwrap().iter().map(|range| json!([range["from"], range["to"]])).collect();
    assert_eq!(unasked, [json!([1, 3]), json!([4, 11])]);
    let moment = |which: &str| {
        let found = scratch.json(&["find", "db", "t", "--where", "name = 'value 1 of 2'", which]);
        json!([found["version"], found["rows_version"], found["rows"]])
    };
    assert_eq!(moment("--first"), json!([3, 3, 1]));
    assert_eq!(moment("--last"), json!([3, 3, 1]));
    let ran = scratch.run(&["find", "db", "t", "--where", "name = 'value 1 of 2'", "--gone"]);
    assert_eq!(ran.status, 3, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("asof: it last held in version 3, and versions 4 to 10 are gone"),
        "{}",
        ran.stderr
    );
    let text = scratch.ok(&["find", "db", "t", "--where", "id = 1"]);
    assert!(text.contains("versions 4 to 10 are gone") && text.ends_with("it holds still\n"), "{text}");
}

#[test]
fn what_is_gone_is_told_of_a_row_as_unknown() {
    let scratch = history();
    scratch.ok(&["retain", "db", "--keep-last", "2", "--execute"]);
    let told: Vec<Value> = scratch
        .json_lines(&["history", "db", "t", "7"])
        .iter()
        .map(|line| json!([line["from"], line["to"], line["change"], line["ended_by"]]))
        .collect();
    let expected =
        json!([[3, 4, "unknown", "unknown"], [11, 12, "unknown", "update"], [12, null, "update", null]]);
    assert_eq!(Value::Array(told), expected);
    let text = scratch.ok(&["history", "db", "t", "7"]);
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("version ")).collect();
    assert!(told[0].contains("written (what was before is gone) by"), "{text}");
    assert!(told[1].contains("changed or deleted (what came then is gone) by"), "{text}");
    assert_eq!(told.len(), 4, "{text}");
}

#[test]
fn a_plan_says_what_is_not_settled() {
    let scratch = history();
    scratch.write("t.csv", "id,name\n1,new\n");
    scratch.ok(&["import", "db", "t", "t.csv"]);
    let told = scratch.run(&["retain", "db", "--keep-last", "2"]).stderr;
    assert!(told.contains("version 13 is not settled yet"), "{told}");
    let plan = scratch.json(&["retain", "db", "--keep-last", "2"]);
    assert_eq!((&plan["settled"], &plan["newest"]), (&json!(12), &json!(13)));
}
