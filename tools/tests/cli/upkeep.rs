//! `checkpoint`, `verify`, `info`, `doctor`.

use super::support::*;
use serde_json::Value;

#[test]
fn a_checkpoint_changes_no_version() {
    let shop = shop();
    let read = || -> Vec<String> {
        (1..=4)
            .map(|version| shop.ok(&["cat", "db", "customers", "-q", "--as-of", &version.to_string()]))
            .collect()
    };
    let before = read();
    let report = shop.json(&["checkpoint", "db"]);
    assert_eq!((&report["version"], &report["done"]), (&Value::from(4), &Value::from(true)));
    assert!(report["rows"].as_u64().unwrap() >= 6, "{report}");
    assert_eq!(read(), before);
    assert!(shop.ok(&["checkpoint", "db"]).starts_with("nothing to do"));
    assert_eq!(shop.json(&["info", "db"])["checkpoint_version"], 4);
}

#[test]
fn info_tells_sizes_of_everything() {
    let shop = shop();
    shop.ok(&["tag", "db", "x", "-q"]);
    let info = shop.json(&["info", "db"]);
    assert_eq!((&info["version"], &info["tables"], &info["tags"]), (&4.into(), &2.into(), &1.into()));
    assert!(info["log_used_bytes"].as_u64().unwrap() > 0);
    let text = shop.ok(&["info", "db"]);
    assert!(text.contains("version       4\n") && text.contains("of records in"), "{text}");
}

#[test]
fn an_undamaged_database_verifies() {
    let shop = shop();
    shop.ok(&["checkpoint", "db"]);
    let report = shop.json(&["verify", "db"]);
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    let text = shop.ok(&["verify", "db"]);
    assert!(text.starts_with("no damage: 4 versions"), "{text}");
}

#[test]
fn damage_is_found_and_named() {
    let shop = shop();
    shop.ok(&["checkpoint", "db"]);
    let parquet: Vec<_> = files_below(&shop.path("db"))
        .into_iter()
        .filter(|path| std::fs::read(path).unwrap().starts_with(b"PAR1"))
        .collect();
    let damaged = parquet.first().expect("a checkpoint wrote a data file");
    let mut bytes = std::fs::read(damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(damaged, bytes).unwrap();
    let name = damaged.file_name().unwrap().to_str().unwrap();
    let ran = shop.run(&["verify", "db"]);
    assert_eq!(ran.status, 4, "{} {}", ran.text(), ran.stderr);
    assert!(ran.text().contains(name) && ran.text().contains("finding"), "{}", ran.text());
    let ran = shop.run(&["verify", "db", "--json"]);
    assert_eq!(ran.status, 4);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(report["findings"][0]["file"].as_str().unwrap().contains(name), "{report}");
}

#[test]
fn another_writers_turn_is_waited_for_and_then_five() {
    let shop = shop();
    // Whoever holds the lock files exclusively is a writer in its turn.
    let locks: Vec<_> = files_below(&shop.path("db"))
        .into_iter()
        .filter(|path| path.file_name().unwrap().to_str().unwrap().eq_ignore_ascii_case("lock"))
        .map(|path| std::fs::File::open(path).unwrap())
        .collect();
    assert!(!locks.is_empty(), "there is a lock file");
    for lock in &locks {
        lock.lock().unwrap();
    }
    let words = ["create-table", "db", "t", "id int64", "--wait", "100ms"];
    let error = shop.fails(5, &words);
    assert_eq!(error.lines().count(), 1, "{error}");
    let ran = shop.run(&[&words[..], &["--json"]].concat());
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.status, &error["error"]["code"]), (5, &Value::from("locked")));
    // Readers are not kept waiting.
    assert_eq!(shop.ok(&["cat", "db", "customers"]), CUSTOMERS_3);
    drop(locks);
    shop.ok(&words);
}

#[test]
fn the_doctor_names_what_was_looked_at() {
    let shop = shop();
    let checks = shop.json_lines(&["doctor", "db"]);
    let names: Vec<&str> = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    for name in [
        "fuse device",
        "mounting",
        "--allow-other",
        "file system",
        "space",
        "writing",
        "locks",
        "sync",
        "cache",
        "database",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let last = checks.last().unwrap();
    assert_eq!(last["status"], "ok");
    assert!(last["found"].as_str().unwrap().ends_with("opens at version 4"), "{last}");
    assert!(shop.ok(&["doctor", "db"]).contains("ok   database"));
    for check in &checks {
        assert_eq!(check["status"] == "ok", check["advice"].is_null(), "{check}");
    }
}

/// A table with some history: 40 rows, each replaced a few times, settled after each round.
fn replaced() -> Scratch {
    let scratch = Scratch::new();
    for round in 0..4 {
        let rows: Vec<String> =
            (0..40 - round * 5).map(|id| format!(r#"{{"id":{id},"name":"round {round}"}}"#)).collect();
        let create = match round {
            0 => r#"{"op":"create_table","table":"t","schema":"id int64, name text, primary key (id)"},"#,
            _ => "",
        };
        let rows = rows.join(",");
        scratch.apply(&format!(
            "{{\"ops\":[{create}{{\"op\":\"upsert\",\"table\":\"t\",\"rows\":[{rows}]}}]}}\n"
        ));
        scratch.ok(&["checkpoint", "db"]);
    }
    scratch
}

#[test]
fn compact_prints_its_plan_and_changes_nothing_but_with_execute() {
    let scratch = replaced();
    let read = || -> Vec<String> {
        (1..=4)
            .map(|version| scratch.ok(&["cat", "db", "t", "-q", "--as-of", &version.to_string()]))
            .collect()
    };
    let before = read();
    let manifest = scratch.json(&["info", "db"])["manifest"].clone();
    let plan = scratch.json(&["compact", "db", "t"]);
    assert_eq!(plan["executed"], false);
    let steps = plan["steps"].as_array().unwrap();
    let dead: u64 = steps.iter().map(|step| step["dead_rows"].as_u64().unwrap()).sum();
    assert!(!steps.is_empty() && dead > 50, "{plan}");
    for field in ["table", "reason", "files", "rows", "bytes"] {
        assert!(steps.iter().all(|step| !step[field].is_null()), "{field}: {plan}");
    }
    let text = scratch.ok(&["compact", "db"]);
    assert!(text.contains("why") && text.contains("dead") && text.contains(" %"), "{text}");
    assert_eq!(scratch.json(&["info", "db"])["manifest"], manifest);
    let done = scratch.json(&["compact", "db", "t", "--execute"]);
    assert_eq!(done["executed"], true);
    assert!(done["steps"].as_array().unwrap().iter().all(|step| step["files_written"].as_u64().is_some()));
    assert_ne!(scratch.json(&["info", "db"])["manifest"], manifest);
    assert_eq!(read(), before);
    assert_eq!(scratch.json(&["compact", "db"])["steps"], Value::Array(Vec::new()));
    assert!(scratch.ok(&["compact", "db", "--execute"]).starts_with("nothing to do"));
    assert_eq!(scratch.json(&["verify", "db"])["findings"], Value::Array(Vec::new()));
}

#[test]
fn compact_refuses_what_is_not_there() {
    let scratch = replaced();
    assert!(scratch.fails(2, &["compact", "db", "--order-by", "name"]).contains("--order-by"));
    assert!(scratch.fails(3, &["compact", "db", "nobody"]).contains("nobody"));
    assert!(scratch.fails(3, &["compact", "db", "nobody", "--execute"]).contains("nobody"));
}
