//! kill -9 in the middle of `asof apply` and `asof checkpoint`: what was acknowledged is there, what was not is there
//! whole or not at all.
//!
//! The oracle is a map that this test keeps. A digest of its content is taken when a commit is acknowledged, and
//! compared with what is read back, at once and at the end.

use super::{Chance, csv, open};
use crate::cli::support::Scratch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

const KILLS: u64 = 100;
const SEED: u64 = 0x5EED_0001;

/// One transaction: rows put and keys deleted, no key twice.
#[derive(Clone, Debug, Default)]
struct Change {
    put: Vec<(i64, Option<String>)>,
    deleted: Vec<i64>,
}

impl Change {
    fn line(&self) -> String {
        let rows: Vec<Value> = self.put.iter().map(|(id, note)| json!({"id": id, "note": note})).collect();
        let mut ops = Vec::new();
        if !rows.is_empty() {
            ops.push(json!({"op": "upsert", "table": "t", "rows": rows}));
        }
        if !self.deleted.is_empty() {
            let keys: Vec<Value> = self.deleted.iter().map(|id| json!({"id": id})).collect();
            ops.push(json!({"op": "delete", "table": "t", "keys": keys}));
        }
        json!({"ops": ops}).to_string() + "\n"
    }
}

/// What the table holds.
#[derive(Clone, Debug, Default)]
struct Content(BTreeMap<i64, Option<String>>);

impl Content {
    fn apply(&mut self, change: &Change) {
        change.deleted.iter().for_each(|id| drop(self.0.remove(id)));
        self.0.extend(change.put.iter().cloned());
    }

    fn csv(&self) -> String {
        let cell = |note: &Option<String>| match note.as_deref() {
            None => String::new(),
            Some("") => "\"\"".to_string(),
            Some(note) => note.to_string(),
        };
        let rows = self.0.iter().map(|(id, note)| format!("{id},{}\n", cell(note)));
        "id,note\n".to_string() + &rows.collect::<String>()
    }

    fn digest(&self) -> blake3::Hash {
        blake3::hash(self.csv().as_bytes())
    }

    /// A change of a few rows, now and then of many or of long ones, so that records cross blocks and segments.
    fn random_change(&self, chance: &mut Chance) -> Change {
        let mut change = Change::default();
        let rows = if chance.below(12) == 0 { 120 } else { 1 + chance.below(6) };
        for _ in 0..rows {
            let id = chance.below(400) as i64 + 1;
            if change.put.iter().any(|(other, _)| *other == id) || change.deleted.contains(&id) {
                continue;
            }
            if self.0.contains_key(&id) && chance.below(4) == 0 {
                change.deleted.push(id);
                continue;
            }
            let length = match chance.below(20) {
                0 => 6_000,
                1 => 0,
                _ => 3 + chance.below(60),
            };
            let letter = |chance: &mut Chance| char::from(b'a' + chance.below(26) as u8);
            let note: String = (0..length).map(|_| letter(chance)).collect();
            change.put.push((id, (chance.below(9) > 0).then_some(note)));
        }
        change
    }
}

/// The content at every version so far: the next version is the length.
struct World {
    scratch: Scratch,
    chance: Chance,
    content: Content,
    digests: Vec<blake3::Hash>,
}

impl World {
    fn acknowledged(&mut self, version: &Value, change: &Change) {
        assert_eq!(version.as_u64(), Some(self.digests.len() as u64), "versions go on one by one");
        self.content.apply(change);
        self.digests.push(self.content.digest());
    }

    /// Runs `apply`, kills it at a random moment, and takes note of what it acknowledged. Gives the change that was next.
    fn killed_run(&mut self) -> Change {
        let mut planned = self.content.clone();
        let mut changes = Vec::new();
        for _ in 0..120 {
            let change = planned.random_change(&mut self.chance);
            planned.apply(&change);
            changes.push(change);
        }
        let lines: String = changes.iter().map(Change::line).collect();
        let mut child = self.scratch.spawn_piped(&["apply", "db"]);
        let mut stdin = child.stdin.take().unwrap();
        // The pipe breaks when the process is killed, and that is the end of it.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(lines.as_bytes())));
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut acknowledged = 0;
        let mut line = String::new();
        let wanted = self.chance.below(30) as usize;
        while acknowledged < wanted && read_answer(&mut answers, &mut line) {
            let answer = serde_json::from_str::<Value>(&line).unwrap();
            assert_eq!(answer["error"], Value::Null, "{line}");
            self.acknowledged(&answer["version"], &changes[acknowledged]);
            acknowledged += 1;
        }
        // Before the first answer lie start, recovery and the first commit.
        let micros = if wanted == 0 { 40_000 } else { 2_000 };
        kill_after(child, Duration::from_micros(self.chance.below(micros)));
        while read_answer(&mut answers, &mut line) {
            let answer = serde_json::from_str::<Value>(&line).unwrap();
            self.acknowledged(&answer["version"], &changes[acknowledged]);
            acknowledged += 1;
        }
        feeder.join().unwrap();
        changes.get(acknowledged).cloned().unwrap_or_default()
    }

    /// The database opens and goes on without help; what was not acknowledged is there whole or not at all.
    fn go_on(&mut self, in_flight: &Change) {
        let mark = Change { put: vec![(0, Some(format!("mark{}", self.digests.len())))], deleted: vec![] };
        let ran = self.scratch.run_with_input(&["apply", "db"], &mark.line());
        assert_eq!(ran.status, 0, "{} {}", ran.text(), ran.stderr);
        let answer: Value = serde_json::from_str(ran.text()).unwrap();
        if answer["version"].as_u64() == Some(self.digests.len() as u64 + 1) {
            self.acknowledged(&json!(self.digests.len()), in_flight);
        }
        self.acknowledged(&answer["version"], &mark);
        let newest = self.digests.len() as u64 - 1;
        for version in [newest, newest - 1, 1 + self.chance.below(newest)] {
            self.compare(version..=version);
        }
    }

    fn compare(&self, versions: std::ops::RangeInclusive<u64>) {
        let database = open(&self.scratch.path("db"));
        for version in versions {
            let found = blake3::hash(csv(&database, version, "t").as_bytes());
            assert_eq!(found, self.digests[version as usize], "version {version}");
        }
    }
}

/// A whole line; false at the end. A line that was cut off was not acknowledged.
fn read_answer(answers: &mut impl BufRead, line: &mut String) -> bool {
    line.clear();
    answers.read_line(line).unwrap() > 0 && line.ends_with('\n')
}

fn kill_after(mut child: Child, wait: Duration) {
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_random_moments() {
    let scratch = Scratch::new();
    let create = scratch.run(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    assert_eq!(create.status, 0, "{}", create.stderr);
    let content = Content::default();
    let digests = vec![blake3::hash(b""), content.digest()];
    let mut world = World { scratch, chance: Chance(SEED), content, digests };
    for round in 1..=KILLS {
        let in_flight = world.killed_run();
        if round % 4 == 0 {
            // Recovery, and checkpoints, are killed too; every second one is left to finish.
            let mut checkpoint = world.scratch.command(&["checkpoint", "db"]);
            let mut child = checkpoint.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if round % 8 == 0 {
                assert!(child.wait().unwrap().success(), "the checkpoint of round {round}");
            } else {
                kill_after(child, Duration::from_micros(world.chance.below(60_000)));
            }
        }
        world.go_on(&in_flight);
    }
    let newest = world.digests.len() as u64 - 1;
    assert!(newest > KILLS * 5, "only {newest} versions: the kills came before there was anything to lose");
    world.compare(1..=newest);
    assert_eq!(open(&world.scratch.path("db")).latest().unwrap().0, newest);
    world.scratch.ok(&["verify", "db"]);
    // Another way in, and after everything was made Parquet.
    world.scratch.ok(&["checkpoint", "db"]);
    world.compare(1..=newest);
    let printed = world.scratch.ok(&["cat", "db", "t"]);
    assert_eq!(blake3::hash(printed.as_bytes()), world.digests[newest as usize]);
}
