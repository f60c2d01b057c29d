//! `import-history`: many versions of many tables.

use crate::cli::support::Scratch;
use serde_json::json;

fn history() -> Scratch {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("data")).unwrap();
    scratch.write("data/a1.csv", "id,n\n1,5\n2,6\n");
    scratch.write("data/a2.csv", "id,n,extra\n1,5,x\n3,7.5,\n");
    scratch.write("data/a3.csv", "id,n\n4,8\n");
    scratch.write("data/b1.jsonl", "{\"k\":\"x\"}\n");
    scratch.write(
        "data/m.csv",
        concat!(
            "time,table,file,message,author,key,mode\n",
            "2020-01-01T00:00:00Z,a,a1.csv,first,Ada,id,\n",
            "2020-01-02T00:00:00Z,gold.b,b1.jsonl,,,k,upsert\n",
            "2020-01-03T00:00:00Z,a,a2.csv,\"second, with more\",,id,replace\n",
        ),
    );
    scratch
}

fn versions(scratch: &Scratch) -> u64 {
    scratch.json(&["resolve", "db", "latest"])["version"].as_u64().unwrap()
}

#[test]
fn each_line_is_a_commit_at_its_time() {
    let scratch = history();
    let reports = scratch.json_lines(&["import-history", "db", "data/m.csv"]);
    let expected = [("a", 2, 0, 0), ("gold.b", 1, 0, 0), ("a", 1, 1, 1)];
    for (index, (report, (table, inserted, updated, deleted))) in reports.iter().zip(expected).enumerate() {
        assert_eq!((&report["version"], &report["line"]), (&json!(index + 1), &json!(index + 2)));
        assert_eq!(report["table"], table);
        assert_eq!(report["time"], format!("2020-01-0{}T00:00:00.000000Z", index + 1));
        assert_eq!(
            (&report["inserted"], &report["updated"], &report["deleted"]),
            (&json!(inserted), &json!(updated), &json!(deleted))
        );
    }
    assert_eq!(reports.len(), 3);
    assert_eq!(scratch.ok(&["cat", "db", "a", "--as-of", "2020-01-02"]), "id,n\n1,5.0\n2,6.0\n");
    assert_eq!(scratch.ok(&["cat", "db", "a"]), "id,n,extra\n1,5.0,x\n3,7.5,\n");
    let commit = scratch.json(&["show", "db", "1"]);
    assert_eq!((&commit["message"], &commit["author"]), (&json!("first"), &json!("Ada")));
}

#[test]
fn running_it_again_or_with_more_lines_commits_what_is_missing() {
    let scratch = history();
    scratch.ok(&["import-history", "db", "data/m.csv"]);
    let again = scratch.ok(&["import-history", "db", "data/m.csv"]);
    assert_eq!(again, "0 versions of 2 tables committed; 3 lines were there already\n");
    let mut manifest = std::fs::read_to_string(scratch.path("data/m.csv")).unwrap();
    manifest.push_str("2020-01-04T00:00:00Z,a,a3.csv,third,,id,\n");
    scratch.write("data/m.csv", manifest);
    let more = scratch.ok(&["import-history", "db", "data/m.csv"]);
    assert_eq!(more, "1 version of 2 tables committed; 3 lines were there already\n");
    assert_eq!(versions(&scratch), 4);
    assert_eq!(scratch.ok(&["cat", "db", "a"]), "id,n\n4,8.0\n");
}

#[test]
fn the_first_error_names_its_line_and_what_was_committed_stays() {
    let scratch = history();
    scratch.write("data/a2.csv", "id,n\n1,5\n1,6\n");
    scratch.ok(&["init", "db"]);
    let error = scratch.fails(1, &["import-history", "db", "data/m.csv"]);
    assert!(error.contains("data/m.csv: line 4:") && error.contains("a2.csv: line 3"), "{error}");
    assert_eq!(versions(&scratch), 2);
    scratch.write("data/a2.csv", "id,n\n1,5\n");
    scratch.ok(&["import-history", "db", "data/m.csv"]);
    assert_eq!(versions(&scratch), 3);
}

#[test]
fn what_can_be_known_before_is_refused_before_anything_is_committed() {
    for (manifest, message) in [
        ("time,table\n", "column 'file' is missing"),
        ("time,table,file,massage\n", "column 'massage' is not known"),
        (
            "time,table,file\n2020-01-01,a,a1.csv\n2020-01-01,a,a3.csv\n",
            "line 3 (byte 36): its time is not later than that of line 2; times increase strictly",
        ),
        ("time,table,file\nyesteryear,a,a1.csv\n", "'yesteryear' is no time"),
        ("time,table,file\n2020-01-01,a,missing.csv\n", "line 2: "),
        ("time,table,file\n2020-01-01,,a1.csv\n", "column 'table' is empty"),
        ("time,table,file,mode\n2020-01-01,a,a1.csv,merge\n", "mode 'merge' is not known"),
        ("time,table,file\n2020-01-01,a\n", "2 cells, where 3 belong"),
    ] {
        let scratch = history();
        scratch.write("data/m.csv", manifest);
        let ran = scratch.run(&["import-history", "db", "data/m.csv"]);
        assert_ne!(ran.status, 0, "{manifest}");
        assert!(ran.stderr.contains("m.csv") && ran.stderr.contains(message), "{manifest}: {}", ran.stderr);
        assert!(!scratch.path("db").exists(), "{manifest}");
    }
}
