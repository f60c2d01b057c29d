//! `find`: compared with what `cat` shows of every version, over a random history.

use super::support::*;
use serde_json::{Value, json};

/// A small generator of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)) % limit as u64) as usize
    }
}

/// A table of some rows that changes, loses a column and gets it again, is dropped and made again.
fn random_history(seed: u64, commits: usize) -> Scratch {
    let scratch = Scratch::new();
    let mut numbers = Numbers(seed);
    // A key that is not there is not deleted, and the run goes on.
    let apply = |lines: String| assert!(scratch.run_with_input(&["apply", "db"], &lines).status <= 1);
    let made = r#"{"op":"create_table","table":"t","schema":"id int64, n int64, s text, x int32, primary key (id)"}"#;
    scratch.apply(&format!("{{\"ops\":[{made}]}}\n"));
    let (mut has_table, mut has_x) = (true, true);
    let mut lines = String::new();
    for _ in 0..commits {
        let what = numbers.below(14);
        if what < 2 || !has_table {
            // What was gathered comes first.
            apply(std::mem::take(&mut lines));
        }
        match what {
            _ if !has_table => {
                scratch.apply(&format!("{{\"ops\":[{made}]}}\n"));
                (has_table, has_x) = (true, true);
            }
            0 => {
                let change = if has_x { "drop x" } else { "add x int32 default 1" };
                scratch.ok(&["alter-table", "db", "t", change]);
                has_x = !has_x;
            }
            1 if numbers.below(2) == 0 => {
                scratch.ok(&["drop-table", "db", "t"]);
                has_table = false;
            }
            2 => {
                let id = numbers.below(6);
                lines.push_str(&format!(
                    "{{\"ops\":[{{\"op\":\"delete\",\"table\":\"t\",\"keys\":[{{\"id\":{id}}}]}}]}}\n"
                ));
            }
            3 => lines.push_str("{\"ops\":[{\"op\":\"truncate\",\"table\":\"t\"}]}\n"),
            _ => {
                let rows: Vec<Value> = (0..1 + numbers.below(2))
                    .map(|_| {
                        let (id, n) = (numbers.below(6), numbers.below(6));
                        let s = ["a", "b", "c"].get(numbers.below(4));
                        let mut row = json!({"id": id, "n": n, "s": s});
                        if has_x && numbers.below(2) == 0 {
                            row["x"] = numbers.below(4).into();
                        }
                        row
                    })
                    .collect();
                let operation = json!({"op": "upsert", "table": "t", "rows": [rows[0]]});
                lines.push_str(&format!("{}\n", json!({"ops": [operation]})));
            }
        }
    }
    apply(lines);
    scratch
}

type Holds = fn(&Value) -> bool;

const CONDITIONS: [(&str, Holds); 6] = [
    ("n >= 4", |row| row["n"].as_i64().is_some_and(|n| n >= 4)),
    ("s = 'b'", |row| row["s"] == "b"),
    ("x > 1", |row| row["x"].as_i64().is_some_and(|x| x > 1)),
    ("x = 1", |row| row["x"] == 1),
    ("n % 2 = 1 AND s <> 'a'", |row| {
        row["n"].as_i64().is_some_and(|n| n % 2 == 1) && row["s"].as_str().is_some_and(|s| s != "a")
    }),
    ("s IS NULL OR id = 5", |row| row["s"].is_null() || row["id"] == 5),
];

/// The rows of every version; none where the table is not there.
fn every_version(scratch: &Scratch) -> Vec<Vec<Value>> {
    let latest = scratch.json(&["resolve", "db", "latest"])["version"].as_u64().unwrap();
    (0..=latest)
        .map(|version| {
            let ran = scratch.run(&["cat", "db", "t", "--as-of", &version.to_string(), "--format", "jsonl"]);
            if ran.status == 3 { Vec::new() } else { lines_of_json(ran.text()) }
        })
        .collect()
}

/// Stretches of versions with any row: (first, end, rows at first, rows at most).
fn stretches(counts: &[u64]) -> Vec<(u64, Option<u64>, u64, u64)> {
    let mut found: Vec<(u64, Option<u64>, u64, u64)> = Vec::new();
    for (version, count) in counts.iter().enumerate() {
        let version = version as u64;
        match found.last_mut().filter(|(_, end, ..)| end.is_none()) {
            Some((_, end, _, most)) => {
                if *count == 0 {
                    *end = Some(version)
                } else {
                    *most = (*most).max(*count)
                }
            }
            None if *count > 0 => found.push((version, None, *count, *count)),
            None => {}
        }
    }
    found
}

#[test]
fn what_is_found_is_what_every_version_shows() {
    for (seed, upkeep) in [(1, false), (2, true), (3, true)] {
        let scratch = random_history(seed, 40);
        let versions = every_version(&scratch);
        if upkeep {
            scratch.ok(&["checkpoint", "db"]);
        }
        for (condition, holds) in CONDITIONS {
            let what = format!("{condition} of seed {seed}");
            let counts: Vec<u64> =
                versions.iter().map(|rows| rows.iter().filter(|row| holds(row)).count() as u64).collect();
            let expected = stretches(&counts);
            let find = |words: &[&str]| {
                scratch.run(&[&["find", "db", "t", "--where", condition, "--json"], words].concat())
            };
            let document = |ran: Ran| -> Value {
                assert_eq!(ran.status, 0, "{what}: {}", ran.stderr);
                serde_json::from_str(ran.text()).unwrap()
            };
            let Some((first, ..)) = expected.first() else {
                assert_eq!(find(&[]).status, 3, "{what}");
                continue;
            };
            let found = document(find(&[]));
            let found: Vec<_> = found["intervals"]
                .as_array()
                .unwrap()
                .iter()
                .map(|interval| {
                    let number = |field: &str| interval[field].as_u64();
                    assert_eq!(number("before"), number("from").map(|from| from - 1), "{what}");
                    (
                        number("from").unwrap(),
                        number("to"),
                        number("rows").unwrap(),
                        number("rows_most").unwrap(),
                    )
                })
                .collect();
            assert_eq!(found, expected, "{what}");
            let rows_at = |version: u64| -> Vec<&Value> {
                versions[version as usize].iter().filter(|row| holds(row)).collect()
            };
            let of = document(find(&["--first", "-n", "100"]));
            assert_eq!(
                (of["version"].as_u64(), of["before"].as_u64()),
                (Some(*first), Some(first - 1)),
                "{what}"
            );
            assert_eq!(
                of["sample"].as_array().unwrap().iter().collect::<Vec<_>>(),
                rows_at(*first),
                "{what}"
            );
            let (_, end, ..) = expected.last().unwrap();
            let last = end.unwrap_or(versions.len() as u64) - 1;
            let of = document(find(&["--last", "-n", "100"]));
            assert_eq!((of["version"].as_u64(), of["held_to"].as_u64()), (Some(last), *end), "{what}");
            assert_eq!(of["sample"].as_array().unwrap().iter().collect::<Vec<_>>(), rows_at(last), "{what}");
            assert_eq!(of["rows"].as_u64(), Some(rows_at(last).len() as u64), "{what}");
            let of = find(&["--gone", "-n", "100"]);
            match end {
                Some(end) => {
                    let of = document(of);
                    assert_eq!(
                        (of["version"].as_u64(), of["before"].as_u64()),
                        (Some(*end), Some(last)),
                        "{what}"
                    );
                    assert_eq!(
                        of["sample"].as_array().unwrap().iter().collect::<Vec<_>>(),
                        rows_at(last),
                        "{what}"
                    );
                }
                None => assert_eq!(of.status, 3, "{what}"),
            }
        }
    }
}

#[test]
fn people_are_told_when_by_whom_and_of_which_rows() {
    let shop = shop();
    assert_eq!(
        shop.ok(&["find", "db", "customers", "--where", "city = 'Rome'", "--first"]),
        "version 2 2025-02-01T00:00:00.000000Z first by Dora: February\n    1 row; the version before it is 1\n    \
         id=2, name=Bob, city=Rome\n"
    );
    let gone = shop.ok(&["find", "db", "customers", "--where", "name = 'Ada'", "--gone"]);
    assert!(gone.starts_with("version 3 2025-03-01T00:00:00.000000Z gone by "), "{gone}");
    assert!(
        gone.ends_with("    1 row in version 2, the one before\n    id=1, name=Ada, city=London\n"),
        "{gone}"
    );
    let last = shop.ok(&["find", "db", "customers", "--where", "city = 'Rome'", "--last"]);
    assert!(
        last.starts_with("version 4, the newest: it holds still\n    1 row, since version 2\n"),
        "{last}"
    );
    let all = shop.ok(&["find", "db", "customers", "--where", "id = 1 OR id = 3"]);
    assert!(all.contains("    1 row, 2 at most\nversion 4, the newest: it holds still\n"), "{all}");
    let few = shop.ok(&["find", "db", "customers", "--where", "true", "--first", "-n", "1"]);
    assert!(few.ends_with("    id=1, name=Ada, city=London\n    .. and 1 more\n"), "{few}");
    let error = shop.fails(3, &["find", "db", "customers", "--where", "city = 'Rome'", "--gone"]);
    assert!(error.contains("it holds in version 4, the newest"), "{error}");
    let error = shop.fails(3, &["find", "db", "customers", "--where", "city = 'Oslo'"]);
    assert!(error.contains("in no version up to 4"), "{error}");
    assert_eq!(shop.run(&["find", "db", "customers"]).status, 2);
    assert_eq!(shop.run(&["find", "db", "customers", "--where", "true", "--first", "--last"]).status, 2);
    let error = shop.fails(3, &["find", "db", "customer", "--where", "true"]);
    assert!(error.contains("customers"), "{error}");
}

#[test]
fn columns_that_were_not_there_are_told_of() {
    let shop = shop();
    shop.ok(&["alter-table", "db", "customers", "add age int8 default 30, rename city to town"]);
    let ran = shop.run(&["find", "db", "customers", "--where", "age = 30"]);
    assert!(ran.text().starts_with("version 5 "), "{}", ran.text());
    assert!(ran.stderr.starts_with("not in versions 1 to 4: "), "{}", ran.stderr);
    let found = shop.json(&["find", "db", "customers", "--where", "age = 30"]);
    assert_eq!((&found["unasked"][0]["from"], &found["unasked"][0]["to"]), (&json!(1), &json!(5)));
    // A column is called what it was called then.
    assert_eq!(shop.json(&["find", "db", "customers", "--where", "city = 'Rome'"])["intervals"][0]["to"], 5);
    assert_eq!(
        shop.json(&["find", "db", "customers", "--where", "town = 'Rome'"])["intervals"][0]["from"],
        5
    );
    let error = shop.fails(1, &["find", "db", "customers", "--where", "height = 2"]);
    assert!(error.contains("in no version") && error.contains("height"), "{error}");
}

#[test]
fn finding_something_decodes_each_row_version_about_once() {
    let scratch = Scratch::new();
    let rows: Vec<Value> = (0..2_000).map(|id| json!({"id": id, "n": id})).collect();
    let mut lines =
        format!("{}\n", json!({"ops": [{"op": "upsert", "table": "t", "key": ["id"], "rows": rows}]}));
    for nth in 0..100 {
        let row = json!({"id": nth * 7, "n": -nth});
        lines.push_str(&format!("{}\n", json!({"ops": [{"op": "upsert", "table": "t", "rows": [row]}]})));
    }
    scratch.apply(&lines);
    scratch.ok(&["checkpoint", "db"]);
    let ran = scratch.run(&["find", "db", "t", "--where", "n = -50", "--first", "--json", "-v"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let found: Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!((&found["version"], &found["sample"]), (&json!(52), &json!([{"id": 350, "n": -50}])));
    let counters: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    let decoded = counters["counters"]["rows_decoded"].as_u64().unwrap();
    // 2,100 row versions, and the rows of the version that is shown; 101 versions have 200,000.
    assert!(decoded > 0 && decoded < 3 * 2_100, "{decoded} rows decoded");
}
