//! `verify --salvage` and `verify --sample`, on real damage.

use super::support::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A database of 31 commits with a log that is damaged about a third of the way, and a whole copy of it; gives the
/// damaged segment.
fn damaged() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    let lines: String = (0..30)
        .map(|id| {
            let note: String =
                (0..40).map(|nth| format!("{:x} ", (id * 7919 + nth * 104_729) % 65_521)).collect();
            let rows = serde_json::json!([{"id": id, "note": note}]);
            serde_json::json!({"ops": [{"op": "upsert", "table": "t", "rows": rows}]}).to_string() + "\n"
        })
        .collect();
    scratch.apply(&lines);
    let database = scratch.path("db");
    for file in files_below(&database) {
        let target = scratch.path("whole").join(file.strip_prefix(&database).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
    let used = scratch.json(&["info", "db"])["log_used_bytes"].as_u64().unwrap() as usize;
    let segment = segments(&database).pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // More than what lies between two records.
    bytes[used / 3..used / 3 + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&segment, bytes).unwrap();
    (scratch, segment)
}

/// The last version before the damage: what a message says after `up to version `.
fn kept_version(message: &str) -> u64 {
    let number = message.split("up to version ").nth(1).unwrap_or_else(|| panic!("{message}"));
    let version = number.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!((5..=20).contains(&version), "{message}");
    version
}

fn data_files(database: &Path) -> Vec<PathBuf> {
    let mut found = files_below(&database.join("data"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    found
}

fn segments(database: &Path) -> Vec<PathBuf> {
    let mut found = files_below(&database.join("wal"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    found
}

#[test]
fn a_log_damaged_in_its_middle_is_read_up_to_there_and_not_written() {
    let (scratch, segment) = damaged();
    let name = segment.file_name().unwrap().to_str().unwrap();
    for version in ["2", "4"] {
        let read = |name: &str| scratch.ok(&["cat", name, "t", "-q", "--as-of", version]);
        assert_eq!(read("db"), read("whole"));
    }
    let error = scratch.fails(4, &["create-table", "db", "other", "id int64"]);
    assert!(error.contains(name) && error.contains("at offset"), "{error}");
    let ran = scratch.run(&["verify", "db"]);
    assert_eq!(ran.status, 4);
    assert!(ran.text().contains(name) && ran.text().contains("expected"), "{}", ran.text());
    assert_eq!(segments(&scratch.path("db")), [segment], "nothing was done about it");
}

/// In place, and in a copy, whose log is searched for its end: no durable head is believed there.
#[test]
fn what_precedes_damage_of_the_log_is_listed_told_of_and_mounted() {
    let (scratch, _) = damaged();
    let copied =
        std::process::Command::new("cp").args(["-r", "db", "copy"]).current_dir(scratch.path(".")).status();
    assert!(copied.unwrap().success());
    for name in ["db", "copy"] {
        let ran = scratch.run(&["log", name, "--json"]);
        assert_eq!(ran.status, 4, "{}", ran.stderr);
        let newest = lines_of_json(ran.text())[0]["version"].as_u64().unwrap();
        assert!((3..=20).contains(&newest), "{newest}");
        assert_eq!(lines_of_json(ran.text()).len() as u64, newest);
        assert!(ran.stderr.contains(&format!("versions up to {newest} can be read")), "{}", ran.stderr);
        let ran = scratch.run(&["info", name, "--json"]);
        assert_eq!(ran.status, 4, "{}", ran.stderr);
        let info: Value = serde_json::from_str(ran.text()).unwrap();
        assert_eq!(info["version"], newest);
        assert!(info["damage"].as_str().unwrap().contains("is damaged at offset"), "{info}");
        let error = scratch.fails(4, &["cat", name, "t"]);
        assert!(error.contains(&format!("--as-of {newest}")), "{error}");

        let point = scratch.path("mnt");
        let ran = scratch.run(&["mount", name, "mnt", "--background"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let shown = std::fs::read_to_string(point.join(format!("version/{newest}/t.csv")));
        let versions = std::fs::read_dir(point.join("version")).map(Iterator::count);
        let beyond = std::fs::read(point.join(format!("version/{}/t.csv", newest + 1)));
        let latest = std::fs::read(point.join("latest/t.csv"));
        scratch.ok(&["umount", "mnt"]);
        let expected = scratch.ok(&["cat", "whole", "t", "-q", "--as-of", &newest.to_string()]);
        assert_eq!(shown.unwrap(), expected);
        assert_eq!(versions.unwrap() as u64, newest + 1);
        assert!(beyond.is_err() && latest.is_err(), "what is unknown is an error");
    }
}

#[test]
fn a_salvage_keeps_the_prefix_puts_the_rest_aside_and_lets_writers_in() {
    let (scratch, segment) = damaged();
    let before = std::fs::read(&segment).unwrap();
    let ran = scratch.run(&["verify", "db", "--salvage"]);
    assert_eq!(ran.status, 0, "{} {}", ran.text(), ran.stderr);
    assert!(ran.stderr.contains("is damaged at offset"), "{}", ran.stderr);
    let version = kept_version(&ran.stderr);
    assert!(ran.text().contains(".wal.cut0: "), "{}", ran.text());
    assert!(ran.text().contains(&format!("no damage: {version} versions")), "{}", ran.text());
    let report = scratch.json(&["verify", "db"]);
    let aside = report["aside"][0]["file"].as_str().unwrap();
    assert_eq!(std::fs::read(scratch.path("db").join(aside)).unwrap(), before, "every byte is there still");
    // It is a database like any other again.
    let kept = scratch.ok(&["cat", "db", "t", "-q"]);
    assert_eq!(kept, scratch.ok(&["cat", "whole", "t", "-q", "--as-of", &version.to_string()]));
    scratch.apply("{\"ops\":[{\"op\":\"delete\",\"table\":\"t\",\"keys\":[{\"id\":0}]}]}\n");
    scratch.ok(&["checkpoint", "db"]);
    scratch.ok(&["verify", "db"]);
    assert_eq!(scratch.ok(&["cat", "db", "t", "-q", "--as-of", &version.to_string()]), kept);
    assert_eq!(scratch.ok(&["cat", "db", "t", "-q"]).lines().count(), kept.lines().count() - 1);
    assert_eq!(scratch.json(&["info", "db"])["version"], version + 1);
}

/// What the log says behind the damage may be that files were loaded: they are not garbage.
#[test]
fn files_that_were_loaded_behind_the_damage_are_put_aside_and_those_before_it_stay() {
    let scratch = Scratch::new();
    let rows =
        |from: u32| (from..from + 60_000).fold("id\n".to_string(), |text, id| text + &format!("{id}\n"));
    for (table, from) in [("before", 0), ("behind", 1_000_000)] {
        std::fs::write(scratch.path("rows.csv"), rows(from)).unwrap();
        scratch.ok(&["import", "db", table, "rows.csv", "--key", "id"]);
        if table == "before" {
            scratch.ok(&["create-table", "db", "between", "id int64, primary key (id)"]);
        }
    }
    let database = scratch.path("db");
    let loaded = data_files(&database);
    assert_eq!(loaded.len(), 2);
    let behind =
        std::fs::read(loaded.iter().find(|path| !path.to_string_lossy().contains("/00000001-")).unwrap())
            .unwrap();
    // The record in the middle is that of the table between them.
    let segment = segments(&database).pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(7).position(|window| window == b"between").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let ran = scratch.run(&["verify", "db", "--salvage"]);
    assert_eq!(ran.status, 0, "{} {}", ran.text(), ran.stderr);
    assert!(ran.text().contains(".parquet.cut0: "), "{}", ran.text());
    scratch.ok(&["create-table", "db", "after", "id int64, primary key (id)"]);
    scratch.ok(&["checkpoint", "db"]);
    scratch.ok(&["verify", "db"]);
    assert_eq!(scratch.ok(&["cat", "db", "before", "-q"]), rows(0));
    let mut aside = files_below(&database.join("data"));
    aside.retain(|path| path.to_string_lossy().ends_with(".parquet.cut0"));
    assert_eq!(aside.len(), 1);
    assert_eq!(std::fs::read(&aside[0]).unwrap(), behind, "every byte is there still");
}

#[test]
fn a_whole_log_is_not_touched_by_a_salvage() {
    let shop = shop();
    let before = segments(&shop.path("db"));
    let ran = shop.run(&["verify", "db", "--salvage"]);
    assert_eq!(ran.status, 0);
    assert!(ran.stderr.contains("nothing to salvage"), "{}", ran.stderr);
    assert_eq!(segments(&shop.path("db")), before);
    assert_eq!(shop.json(&["verify", "db"])["aside"], Value::Array(Vec::new()));
}

#[test]
fn a_sample_reads_a_share_of_the_rows_and_finds_what_lies_in_it() {
    let shop = shop();
    shop.ok(&["checkpoint", "db"]);
    let report = shop.json(&["verify", "db", "--sample", "5%"]);
    assert_eq!((&report["ok"], &report["sampled_percent"]), (&Value::from(true), &Value::from(5.0)));
    assert!(shop.ok(&["verify", "db", "--sample", "100"]).starts_with("no damage in the sample: 4 versions"));
    assert_eq!(shop.json(&["verify", "db"])["sampled_percent"], Value::Null);
    for wrong in ["0%", "101%", "-1", "x", "NaN"] {
        shop.fails(2, &["verify", "db", &format!("--sample={wrong}")]);
    }
    // Small files have one row group, and one of each file is always read.
    for file in files_below(&shop.path("db/data")) {
        let whole = std::fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        bytes[8] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let ran = shop.run(&["verify", "db", "--sample", "1%"]);
        assert_eq!(ran.status, 4, "{}: {}", file.display(), ran.text());
        std::fs::write(&file, whole).unwrap();
    }
}
