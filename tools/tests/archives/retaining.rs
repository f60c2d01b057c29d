//! `retain --archive-to`: what is let go is in an archive first, and stays readable there.

use super::Destination;
use crate::cli::support::*;
use serde_json::{Value, json};

/// So many commits to two tables, of which one is dropped on the way, after those that are there.
fn commit(scratch: &Scratch, commits: std::ops::Range<u64>) {
    let mut lines = String::new();
    for number in commits {
        let rows: Vec<Value> =
            (0..20).map(|id| json!({"id": id, "name": format!("{id} of {number}")})).collect();
        let upsert = |table: &str| json!({"op": "upsert", "table": table, "rows": rows, "key": ["id"]});
        let ops = match number % 10 {
            3 => vec![upsert("t"), upsert("brief")],
            5 => vec![upsert("t"), json!({"op": "drop_table", "table": "brief"})],
            _ => vec![upsert("t")],
        };
        lines += &(json!({ "ops": ops }).to_string() + "\n");
    }
    scratch.apply(&lines);
}

/// A table as it was at a version, as the database or an archive tells.
fn read(there: &Destination, scratch: &Scratch, place: &str, table: &str, version: u64) -> Option<String> {
    let ran = there.run(scratch, &["cat", place, table, "--as-of", &version.to_string()]);
    assert!(ran.status == 0 || ran.status == 3, "{}", ran.stderr);
    (ran.status == 0).then(|| ran.text().to_string())
}

fn read_all(
    there: &Destination,
    scratch: &Scratch,
    place: &str,
    versions: std::ops::RangeInclusive<u64>,
) -> Vec<[Option<String>; 2]> {
    versions.map(|version| ["t", "brief"].map(|table| read(there, scratch, place, table, version))).collect()
}

#[test]
fn an_archive_keeps_what_retention_lets_go() {
    for there in Destination::all() {
        let (scratch, name) = (Scratch::new(), there.name.as_str());
        commit(&scratch, 1..31);
        let before = read_all(&there, &scratch, "db", 1..=30);
        let plan = there.ok(&scratch, &["retain", "db", "--keep-last", "3", "--archive-to", name]);
        assert!(plan.contains(&format!("{name} is made first, with everything up to version 30")), "{plan}");
        assert_eq!(there.run(&scratch, &["log", name]).status, 3, "a plan makes nothing");

        let words = ["retain", "db", "--keep-last", "3", "--archive-to", name, "--execute", "--json"];
        let done: Value = serde_json::from_str(&there.ok(&scratch, &words)).unwrap();
        assert_eq!((&done["archive"]["shipment"], &done["archive"]["version"]), (&json!(1), &json!(30)));
        assert_eq!((&done["executed"], &done["stopped"]), (&json!(true), &json!(false)));
        assert!(done["states"].as_u64().unwrap() >= 27, "{done}");
        let left = read_all(&there, &scratch, "db", 1..=30);
        assert_eq!(left.iter().filter(|tables| tables[0].is_some()).count(), 3);
        assert_eq!(read_all(&there, &scratch, name, 1..=30), before);

        // What comes later is shipped alone, with the word that the rest is gone: it is there all the same.
        commit(&scratch, 31..41);
        let plan = ["retain", "db", "--keep-last", "3", "--archive-to", name, "--json"];
        let plan: Value = serde_json::from_str(&there.ok(&scratch, &plan)).unwrap();
        assert_eq!(
            (&plan["archive"]["version"], &plan["archive"]["behind"]["versions"]),
            (&json!(30), &json!(10))
        );
        let before: Vec<_> = before.into_iter().chain(read_all(&there, &scratch, "db", 31..=40)).collect();
        let first = done["archive"]["bytes"].as_u64().unwrap();
        let done: Value = serde_json::from_str(&there.ok(&scratch, &words)).unwrap();
        assert_eq!((&done["archive"]["shipment"], &done["archive"]["version"]), (&json!(2), &json!(40)));
        assert!(done["archive"]["bytes"].as_u64().unwrap() < first, "{done} after {first}");
        let left = read_all(&there, &scratch, "db", 28..=37);
        assert!(left.iter().all(|tables| tables[0].is_none()), "{left:?}");
        assert_eq!(read_all(&there, &scratch, name, 1..=40), before);
        // A later shipment by hand, and nothing to be shipped at all.
        there.ok(&scratch, &["archive", "db", name]);
        let done: Value = serde_json::from_str(&there.ok(&scratch, &words)).unwrap();
        assert_eq!((&done["archive"]["shipment"], &done["archive"]["version"]), (&Value::Null, &json!(40)));
        assert_eq!(read_all(&there, &scratch, name, 1..=40), before);
        assert!(there.ok(&scratch, &["schema", name, "t", "--as-of", "2"]).contains("name"));
        for target in [2, 17, 30, 33, 40] {
            let _ = std::fs::remove_dir_all(scratch.path("new"));
            there.ok(&scratch, &["recover", name, "new", "--to", &target.to_string()]);
            assert_eq!(read(&there, &scratch, "new", "t", target), before[target as usize - 1][0]);
        }
        assert_eq!(scratch.json(&["verify", "db"])["findings"], json!([]));
        let rehearsed = there.ok(&scratch, &["recover", name, "--verify", "3"]);
        assert!(rehearsed.ends_with("no difference\n"), "{rehearsed}");
    }
}

#[test]
fn nothing_goes_where_the_archive_cannot_have_it() {
    let (scratch, there) = (Scratch::new(), Destination::directory());
    commit(&scratch, 1..6);
    let before = read_all(&there, &scratch, "db", 1..=5);
    scratch.write("file", "no directory");
    scratch.ok(&["init", "other"]);
    scratch.ok(&["archive", "other", "of-other"]);
    std::fs::create_dir(scratch.path("full")).unwrap();
    scratch.write("full/letter", "dear");
    for (to, why) in [
        ("file/archive", "file"),
        ("of-other", "archive of another database"),
        ("full", "neither an archive nor empty"),
    ] {
        let words = ["retain", "db", "--keep-last", "1", "--archive-to", to, "--execute"];
        let told = scratch.fails(1, &words);
        assert!(told.starts_with("asof: nothing was let go: ") && told.contains(why), "{to}: {told}");
        assert_eq!(read_all(&there, &scratch, "db", 1..=5), before);
    }
    let told = scratch.fails(1, &["retain", "db", "--keep-last", "1", "--archive-to", "of-other"]);
    assert!(told.contains("archive of another database"), "{told}");
}

#[test]
fn nothing_goes_that_an_archive_has_lost() {
    let (scratch, there) = (Scratch::new(), Destination::directory());
    commit(&scratch, 1..9);
    scratch.ok(&["checkpoint", "db"]);
    scratch.ok(&["archive", "db", "archive"]);
    let objects = || {
        let below =
            |path: std::path::PathBuf| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        below(scratch.path("archive/objects")).flat_map(below).collect::<Vec<_>>()
    };
    let one = objects().pop().unwrap();
    let whole = std::fs::read(&one).unwrap();
    let before = read_all(&there, &scratch, "db", 1..=8);
    let words = ["retain", "db", "--keep-last", "1", "--archive-to", "archive", "--execute"];
    for left in [None, Some(0), Some(whole.len() - 1)] {
        match left {
            None => std::fs::remove_file(&one).unwrap(),
            Some(bytes) => std::fs::write(&one, &whole[..bytes]).unwrap(),
        }
        let told = there.fails(&scratch, 4, &words);
        let name = one.file_name().unwrap().to_str().unwrap();
        assert!(told.contains("nothing was let go") && told.contains(name), "{told}");
        assert_eq!(read_all(&there, &scratch, "db", 1..=8), before);
    }
    std::fs::write(&one, &whole).unwrap();
    there.ok(&scratch, &words);
    assert_eq!(read_all(&there, &scratch, "archive", 1..=8), before);
}
