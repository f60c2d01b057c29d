//! Several processes on one database at once: writers take turns, and a follower sees one history.

use super::{csv, open};
use crate::cli::support::{Guard, Scratch, interrupt, lines_of_json};
use asof_engine::Version;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

const COMMITS: u64 = 1_000;

/// The lines of one writer: new rows of its own, and a row that both writers write again and again.
fn lines(writer: u64) -> String {
    let line = |nth: u64| {
        let rows = json!([
            {"id": nth * 2 + writer + 1, "note": format!("writer {writer} line {nth}")},
            {"id": 0, "note": format!("writer {writer}")},
        ]);
        let ops = json!([{"op": "upsert", "table": "t", "rows": rows}]);
        json!({"ops": ops, "author": format!("writer {writer}")}).to_string() + "\n"
    };
    (0..COMMITS).map(line).collect()
}

#[test]
fn two_writers_and_a_follower_agree_on_one_history_without_holes() {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    let mut follow = scratch.command(&["log", "db", "--follow", "--json", "--since", "1"]);
    let mut follower = Guard(Some(follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
    let mut followed = BufReader::new(follower.get().stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&followed.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["version"], 1);

    // Conflicts over the shared row are met by beginning again, for as long as it takes.
    let mut writers: Vec<_> =
        (0..2).map(|_| scratch.spawn_piped(&["apply", "db", "--wait", "60s"])).collect();
    let feeders: Vec<_> = (0u64..)
        .zip(&mut writers)
        .map(|(writer, child)| {
            let mut stdin = child.stdin.take().unwrap();
            std::thread::spawn(move || stdin.write_all(lines(writer).as_bytes()).unwrap())
        })
        .collect();
    let readers: Vec<_> = writers
        .into_iter()
        .map(|child| std::thread::spawn(move || child.wait_with_output().unwrap()))
        .collect();
    feeders.into_iter().for_each(|feeder| feeder.join().unwrap());

    // version -> (writer, line), as acknowledged
    let mut history = BTreeMap::new();
    for (writer, reader) in (0u64..).zip(readers) {
        let output = reader.join().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
        let mut last = 1;
        for (nth, answer) in (0u64..).zip(lines_of_json(&text)) {
            let version = answer["version"].as_u64().unwrap();
            assert!(version > last, "writer {writer}: version {version} after {last}");
            last = version;
            assert_eq!(history.insert(version, (writer, nth)), None, "version {version} was given twice");
        }
    }
    let newest = 1 + 2 * COMMITS;
    assert!(history.keys().copied().eq(2..=newest), "a hole in {:?}", history.keys());

    // The follower saw them all, in order, as they came.
    let mut previous = first;
    for version in 2..=newest {
        let line: Value = serde_json::from_str(&followed.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["version"], version);
        assert_eq!(line["parent"], version - 1);
        assert!(line["time"].as_str() > previous["time"].as_str(), "{line} after {previous}");
        assert_eq!(line["author"], format!("writer {}", history[&version].0));
        previous = line;
    }
    interrupt(follower.get());
    drop(followed);
    assert_eq!(follower.finish().status, 0);

    // And every version holds what was acknowledged up to it.
    let database = open(&scratch.path("db"));
    assert_eq!(database.latest().unwrap(), Version(newest));
    let mut rows: BTreeMap<u64, String> = BTreeMap::new();
    for version in 2..=newest {
        let (writer, nth) = history[&version];
        rows.insert(nth * 2 + writer + 1, format!("writer {writer} line {nth}"));
        rows.insert(0, format!("writer {writer}"));
        let found = database.snapshot(Version(version)).unwrap().table("t").unwrap().rows;
        assert_eq!(found, rows.len() as u64, "version {version}");
        if version % 199 == 0 || version == newest {
            let expected: String = rows.iter().map(|(id, note)| format!("{id},{note}\n")).collect();
            assert_eq!(csv(&database, version, "t"), format!("id,note\n{expected}"), "version {version}");
        }
    }
    scratch.ok(&["verify", "db"]);
}
