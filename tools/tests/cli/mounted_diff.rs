//! The diffs of a mount are those of the command line, and a mount says why a name is not there.

use super::support::*;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

/// A small generator of numbers (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }
}

const COMMITS: u64 = 30;
/// 2025-01-01 in seconds.
const FIRST_COMMIT: i64 = 1_735_689_600;

/// Commits of upserts, deletes, schema changes, drops and new tables, among three tables; the keys of one are text, and
/// one has no key.
fn random_history(scratch: &Scratch, seed: u64, commits: u64) {
    let mut chance = Chance(seed);
    let tables = [
        ("orders", "id int64, item text, price decimal(8,2), primary key (id)"),
        ("gold.parts", "kind text, number int64, at timestamp(us), primary key (kind, number)"),
        ("events", "what text, weight float64"),
    ];
    let mut exists = [false; 3];
    let mut orders = std::collections::BTreeSet::new();
    let mut lines = String::new();
    for commit in 0..commits {
        let mut ops = Vec::new();
        let which = chance.below(3) as usize;
        let (name, schema) = tables[which];
        if !exists[which] {
            ops.push(json!({"op": "create_table", "table": name, "schema": schema}));
            exists[which] = true;
        } else if chance.below(8) == 0 {
            ops.push(json!({"op": "drop_table", "table": name}));
            exists[which] = false;
            if which == 0 {
                orders.clear();
            }
        }
        if exists[which] {
            let text = |chance: &mut Chance| ["a", "", "x, \"y\"\n", "ü", "NULL"][chance.below(5) as usize];
            let rows: Vec<Value> = (0..1 + chance.below(6))
                .map(|_| {
                    let (number, word) = (chance.below(12), text(&mut chance));
                    let optional = |value: Value| if number % 3 == 0 { Value::Null } else { value };
                    match which {
                        0 => json!({"id": number, "item": optional(word.into()), "price": chance.below(3)}),
                        1 => json!({"kind": word, "number": number, "at": optional("2025-01-01T00:00:00".into())}),
                        _ => json!({"what": optional(word.into()), "weight": chance.below(3) as f64 / 2.0}),
                    }
                })
                .collect();
            // A key may come up once in a batch.
            let mut seen = std::collections::BTreeSet::new();
            let key = |row: &Value| match which {
                0 => row["id"].to_string(),
                1 => format!("{} {}", row["kind"], row["number"]),
                _ => row.to_string(),
            };
            let rows: Vec<Value> = rows.into_iter().filter(|row| seen.insert(key(row))).collect();
            let known: Vec<Value> = rows
                .iter()
                .filter(|row| which == 0 && orders.contains(&row["id"].to_string()))
                .map(|row| json!({"id": row["id"]}))
                .collect();
            match which {
                0 if !known.is_empty() && chance.below(3) == 0 => {
                    for row in &known {
                        orders.remove(&row["id"].to_string());
                    }
                    ops.push(json!({"op": "delete", "table": name, "keys": known}));
                }
                2 => ops.push(json!({"op": "insert", "table": name, "rows": rows})),
                _ => {
                    orders.extend(rows.iter().filter(|_| which == 0).map(|row| row["id"].to_string()));
                    ops.push(json!({"op": "upsert", "table": name, "rows": rows}));
                }
            }
        }
        let time = format!("2025-01-{:02}T{:02}:00:00Z", 1 + commit / 24, commit % 24);
        lines.push_str(&format!("{}\n", json!({"time": time, "ops": ops})));
    }
    scratch.apply(&lines);
}

#[test]
fn the_diffs_of_a_mount_are_those_of_the_command_line() {
    for seed in [7, 1234] {
        let scratch = Scratch::new();
        random_history(&scratch, seed, COMMITS);
        let place = MountGuard(scratch.path("mnt"));
        scratch.ok(&["mount", "db", "mnt", "--background", "-q"]);
        let mut chance = Chance(seed + 1);
        for round in 0..12 {
            let (a, b) = (chance.below(COMMITS + 1), chance.below(COMMITS + 1));
            let (from, to) = (a.min(b), a.max(b));
            let name = match round % 3 {
                0 => format!("{from}..{to}"),
                1 => format!("latest~{}..latest~{}", COMMITS - from, COMMITS - to),
                _ => {
                    scratch.ok(&["tag", "db", &format!("from-{round}"), &from.to_string(), "-q"]);
                    // A commit each hour.
                    format!("tag:from-{round}..@{}", FIRST_COMMIT + to as i64 * 3600 - 3600)
                }
            };
            let (from, to) = (from.to_string(), to.to_string());
            let directory = place.0.join("diff").join(&name);
            let stat: Value =
                serde_json::from_slice(&std::fs::read(directory.join(".stat.json")).unwrap()).unwrap();
            assert_eq!(stat, scratch.json(&["diff", "db", &from, &to, "--stat", "-q"]), "{name}");
            for (table, file) in [("orders", "orders"), ("gold.parts", "gold/parts"), ("events", "events")] {
                for format in ["csv", "jsonl", "parquet"] {
                    let told = scratch.run(&["diff", "db", &from, &to, table, "--format", format, "-q"]);
                    let file = directory.join(format!("{file}.{format}"));
                    match std::fs::read(&file) {
                        Ok(bytes) => assert!(
                            bytes == told.stdout && told.status == 0,
                            "{}: {} {} {}",
                            file.display(),
                            String::from_utf8_lossy(&bytes),
                            String::from_utf8_lossy(&told.stdout),
                            told.stderr
                        ),
                        Err(error) => {
                            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                            assert_eq!(told.status, 3, "{}: {}", file.display(), told.text());
                        }
                    }
                }
            }
        }
        scratch.ok(&["umount", "mnt"]);
    }
}

#[test]
fn a_mount_in_the_foreground_says_why_a_name_is_not_there() {
    let shop = shop();
    shop.ok(&["tag", "db", "audit", "2", "-q"]);
    std::fs::create_dir(shop.path("mnt")).unwrap();
    let place = MountGuard(shop.path("mnt"));
    let mut child = Guard(Some(shop.spawn_piped(&["mount", "db", "mnt"])));
    let mut lines = BufReader::new(child.get().stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("mounted "));
    for (path, told) in [
        ("version/9", "version/9: there is no version 9; the newest is 4"),
        (
            "version/tag:audit",
            "version/tag:audit: a version is a plain number; other expressions go below asof/",
        ),
        ("tag/audti", "tag/audti: there is no tag 'audti'; nearest: audit"),
        ("asof/audti", "asof/audti: there is no tag 'audti'; nearest: audit"),
        ("asof/latest~9", "asof/latest~9: there are only 4 versions: latest~9 is before version 0"),
        (
            "asof/2019-01-01",
            "asof/2019-01-01: before the first commit, version 1 of 2025-01-01T00:00:00.000000Z: the empty database",
        ),
        (
            "version/4/custmers.csv",
            "version/4/custmers.csv: version 4 has no table 'custmers'; nearest: customers, gold.parts",
        ),
        (
            "version/1/gold.parts.csv",
            "version/1/gold.parts.csv: version 1 has no table 'gold.parts'; version 4 has it",
        ),
        ("version/4/gold.parts.csv", "version/4/gold.parts.csv: it is gold/parts.csv"),
        (
            "tag/audit/customers",
            "tag/audit/customers: a table is a file: customers.parquet, customers.csv, customers.jsonl, customers.arrow",
        ),
        (
            "asof/2/customers.xlsx",
            "asof/2/customers.xlsx: the table's files are customers.parquet, customers.csv, customers.jsonl, customers.arrow, customers.schema.json",
        ),
        ("diff/3..1", "diff/3..1: version 3 is after version 1: a diff goes from earlier to later"),
        ("diff/3", "diff/3: a diff is called FROM..TO, two as-of expressions"),
        ("diff/1..audti", "diff/1..audti: there is no tag 'audti'; nearest: audit"),
        ("diff/1..2/gold", "diff/1..2/gold: neither version 1 nor version 2 has this namespace"),
    ] {
        for crawler in [".git", ".Trash", "asof/desktop.ini", "version/4/.hidden", "tag/.git"] {
            assert!(std::fs::metadata(place.0.join(crawler)).is_err());
        }
        // Asked twice, told once.
        for _ in 0..2 {
            let there = std::fs::metadata(place.0.join(path)).is_ok();
            assert_eq!(there, path == "asof/2019-01-01", "{path}");
        }
        assert_eq!(lines.next().unwrap(), format!("asof: warn: {told}"));
    }
    interrupt(child.get());
    assert!(lines.next().unwrap().starts_with("unmounted "));
    assert_eq!(child.finish().status, 0);
}
