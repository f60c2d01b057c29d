//! kill -9 of the writer, the archiver and the recovery at random moments. Nothing that was told to be shipped is lost, and
//! what is recovered is what the database has of that version.

use super::Destination;
use crate::cli::support::Scratch;
use crate::processes::{Chance, csv, open};
use asof_engine::{Database, Options};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

fn spawn(there: &Destination, scratch: &Scratch, words: &[&str]) -> Child {
    let mut command = there.command(scratch, words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// So many transactions, some with rows enough to make checkpoints worth it.
fn lines(chance: &mut Chance, count: u64) -> String {
    let line = |chance: &mut Chance| {
        let rows: Vec<Value> = (0..1 + chance.below(20))
            .map(|_| json!({"id": chance.below(500), "note": "x".repeat(chance.below(200) as usize)}))
            .collect();
        let mut seen = std::collections::HashSet::new();
        let rows: Vec<&Value> = rows.iter().filter(|row| seen.insert(row["id"].as_u64())).collect();
        json!({"ops": [{"op": "upsert", "table": "t", "rows": rows}]}).to_string() + "\n"
    };
    (0..count).map(|_| line(chance)).collect()
}

/// One round: a writer, an archiver that follows, each killed at some moment. Gives the newest version that was shipped.
fn round(there: &Destination, scratch: &Scratch, chance: &mut Chance) -> u64 {
    let mut writer = spawn(there, scratch, &["apply", "db"]);
    let mut input = writer.stdin.take().unwrap();
    let text = lines(chance, 80);
    // The pipe breaks when the process is killed, and that is the end of it: until then there is always more to ship.
    let feeder = std::thread::spawn(move || {
        for line in text.split_inclusive('\n').cycle() {
            if input.write_all(line.as_bytes()).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut answers = writer.stdout.take().unwrap();
    let reader = std::thread::spawn(move || drop(std::io::copy(&mut answers, &mut std::io::sink())));
    let words = ["archive", "db", &there.name, "--follow", "--every", "1ms", "--json"];
    let mut archiver = spawn(there, scratch, &words);
    let mut told = BufReader::new(archiver.stdout.take().unwrap());
    let shipments = chance.below(4);
    let (mut newest, mut line) = (0, String::new());
    let mut hear = |line: &mut String| {
        line.clear();
        let whole = told.read_line(line).unwrap() > 0 && line.ends_with('\n');
        if whole {
            newest = serde_json::from_str::<Value>(line).unwrap()["version"].as_u64().unwrap();
        }
        whole
    };
    for _ in 0..shipments {
        if !hear(&mut line) {
            break;
        }
    }
    if chance.below(3) == 0 {
        let _ = scratch.run(&["checkpoint", "db"]);
    }
    std::thread::sleep(Duration::from_micros(chance.below(30_000)));
    kill(&mut archiver);
    while hear(&mut line) {}
    kill(&mut writer);
    feeder.join().unwrap();
    reader.join().unwrap();
    newest
}

fn compare(found: &Database, original: &Database, version: u64) {
    assert_eq!(csv(found, version, "t"), csv(original, version, "t"), "version {version}");
}

fn killed(there: &Destination, seed: u64, rounds: u64) {
    let scratch = Scratch::new();
    let mut chance = Chance(seed);
    scratch.ok(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    let mut shipped = 0;
    for _ in 0..rounds {
        shipped = round(there, &scratch, &mut chance).max(shipped);
        // The archive is whole, and has what was told.
        let held = there.run(&scratch, &["resolve", &there.name, "latest", "--json"]);
        if held.status == 0 {
            let held: Value = serde_json::from_str(held.text()).unwrap();
            assert!(held["version"].as_u64().unwrap() >= shipped, "{held} after {shipped} was shipped");
        } else {
            assert!(shipped == 0, "{}", held.stderr);
        }
    }
    assert!(shipped > 5, "only {shipped} versions were shipped");
    there.ok(&scratch, &["archive", "db", &there.name]);
    let original = open(&scratch.path("db"));
    let newest = original.latest().unwrap().0;
    for number in 0..6 {
        let target = if number == 0 { newest } else { 1 + chance.below(newest) };
        let words = ["recover", &there.name, "new", "--to", &target.to_string()];
        for _ in 0..2 {
            let mut recovery = spawn(there, &scratch, &words);
            std::thread::sleep(Duration::from_micros(chance.below(60_000)));
            kill(&mut recovery);
            // What is there is the one asked for, this time or before; or nothing.
            if scratch.path("new").exists() {
                let found = Database::open_read_only(scratch.path("new"), Options::default()).unwrap();
                let version = found.latest().unwrap().0;
                compare(&found, &original, version);
            }
        }
        there.ok(&scratch, &words);
        let found = Database::open_read_only(scratch.path("new"), Options::default()).unwrap();
        assert_eq!(found.latest().unwrap().0, target);
        for version in [target, target.div_ceil(2)] {
            compare(&found, &original, version);
        }
    }
    scratch.ok(&["verify", "new"]);
    scratch.ok(&["verify", "db"]);
}

#[test]
fn nothing_shipped_to_a_directory_is_lost_and_nothing_wrong_recovered() {
    killed(&Destination::directory(), 0x5EED_0A01, 24);
}

#[test]
fn nothing_shipped_to_a_bucket_is_lost_and_nothing_wrong_recovered() {
    killed(&Destination::bucket(), 0x5EED_0A02, 8);
}
