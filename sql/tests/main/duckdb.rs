//! Random histories and queries of random versions, the same in DuckDB: each change is made there as well, and what the
//! tables then are is kept under the name of the version.
//!
//! `ASOF_TEST_SECONDS` says how long (the default is for every run), `ASOF_TEST_SEED` where to begin.

use crate::support::Bench;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const SECONDS: u64 = 20;
/// Changes of one history, and queries after each.
const CHANGES: usize = 24;
const QUERIES: usize = 6;

/// The process that answers for DuckDB.
struct Duck {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Duck {
    fn new() -> Duck {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let python = target.join("venv/bin/python");
        assert!(
            python.exists(),
            "{} is missing; run `cargo xtask setup` once, it makes it",
            python.display()
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/duckdb/serve.py");
        let mut command = Command::new(python);
        let command = command.arg("-B").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Duck { process, input, output: BufReader::new(output) }
    }

    fn run(&mut self, sql: &str) -> Result<Vec<String>, String> {
        writeln!(self.input, "{}", Value::String(sql.to_string())).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match &answer["error"] {
            Value::String(error) => Err(error.clone()),
            _ => {
                let rows = answer["rows"].as_array().unwrap().iter();
                Ok(rows.map(|row| row.as_str().unwrap().to_string()).collect())
            }
        }
    }
}

impl Drop for Duck {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Numbers by chance (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn literal(&mut self, column: &str) -> String {
        if self.below(6) == 0 {
            return "NULL".to_string();
        }
        match column {
            "g" => self.below(5).to_string(),
            "n" => (self.below(40) as i64 - 20).to_string(),
            "s" => format!("'{}'", self.one(&["", "k1", "k2", "k 3", "Z", "ünï", "it''s"])),
            "f" => self.one(&["true", "false"]).to_string(),
            _ => format!("DATE '2024-0{}-1{}'", 1 + self.below(4), self.below(9)),
        }
    }

    fn row(&mut self, id: usize) -> String {
        let cells: Vec<String> = COLUMNS[1..].iter().map(|column| self.literal(column)).collect();
        format!("({id}, {})", cells.join(", "))
    }

    fn ids(&mut self, count: usize) -> Vec<usize> {
        let mut ids: Vec<usize> = (0..count).map(|_| self.below(60)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// A condition on columns of an alias.
    fn condition(&mut self, alias: &str, depth: usize) -> String {
        if depth > 0 && self.below(2) == 0 {
            let (a, b) = (self.condition(alias, depth - 1), self.condition(alias, depth - 1));
            return match self.below(3) {
                0 => format!("({a} AND {b})"),
                1 => format!("({a} OR {b})"),
                _ => format!("NOT ({a})"),
            };
        }
        let column = self.one(&["g", "n", "s", "d"]);
        let (one, other) = (self.literal(column), self.literal(column));
        let name = format!("{alias}.{column}");
        // Of `x IN (1, 2) AND x IN (NULL, 3)` DataFusion 55 makes false, which is NULL: beneath NOT another answer.
        let mut listed = || loop {
            let value = self.literal(column);
            if value != "NULL" {
                return value;
            }
        };
        let list = format!("{}, {}", listed(), listed());
        match self.below(9) {
            0 => format!("{name} IS NULL"),
            1 => format!("{name} IS NOT NULL"),
            2 => format!("{name} IN ({list})"),
            3 => format!("{name} BETWEEN {one} AND {other}"),
            4 => format!("{alias}.s LIKE 'k%'"),
            5 => format!("{alias}.f"),
            6 => format!("{alias}.id {} {}", self.one(&["=", "<", ">=", "<>"]), self.below(60)),
            7 => format!("{alias}.id IN ({}, {}, {})", self.below(60), self.below(60), self.below(60)),
            _ => format!("{name} {} {one}", self.one(&["=", "<", "<=", ">", ">=", "<>"])),
        }
    }
}

const COLUMNS: [&str; 6] = ["id", "g", "n", "s", "f", "d"];
const DEFINITION: &str = "(id INT PRIMARY KEY, g INT, n BIGINT, s TEXT, f BOOLEAN, d DATE)";

/// A change, in words that both know.
fn change(chance: &mut Chance) -> String {
    let (table, other) = chance.one(&[("a", "b"), ("b", "a")]);
    let columns = COLUMNS.join(", ");
    let rows = |chance: &mut Chance, count: usize| {
        let ids = chance.ids(count);
        ids.into_iter().map(|id| chance.row(id)).collect::<Vec<_>>().join(", ")
    };
    match chance.below(9) {
        0 => format!("INSERT INTO {table} VALUES {}", rows(chance, 2)),
        1 => format!(
            "INSERT INTO {table} ({columns}) VALUES {} ON CONFLICT (id) DO UPDATE SET n = excluded.n, s = excluded.s",
            rows(chance, 9)
        ),
        2 => format!("INSERT INTO {table} VALUES {} ON CONFLICT DO NOTHING", rows(chance, 9)),
        3 => format!(
            "INSERT INTO {table} SELECT id + 60, g, n, s, f, d FROM {other} x WHERE {} ON CONFLICT DO NOTHING",
            chance.condition("x", 1)
        ),
        4 => format!(
            "UPDATE {table} SET n = n + 1, s = {} WHERE {}",
            chance.literal("s"),
            chance.condition(table, 2)
        ),
        5 => format!(
            "UPDATE {table} SET g = q.m, d = {} FROM (SELECT g AS k, max(id) AS m FROM {other} GROUP BY g) q WHERE q.k = {table}.id % 5",
            chance.literal("d")
        ),
        6 => format!(
            "DELETE FROM {table} WHERE {} AND id % 3 = {}",
            chance.condition(table, 1),
            chance.below(3)
        ),
        7 => format!(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {other} x WHERE {}) AND id % 2 = 0",
            chance.condition("x", 1)
        ),
        _ => format!(
            "MERGE INTO {table} USING (SELECT * FROM {other} x WHERE {}) AS s ON {table}.id = s.id WHEN MATCHED AND s.f THEN DELETE WHEN MATCHED THEN UPDATE SET n = s.n, g = {table}.g + 1 WHEN NOT MATCHED THEN INSERT (id, n, s) VALUES (s.id, s.n, s.s)",
            chance.condition("x", 1)
        ),
    }
}

/// A table at a version under an alias, as each side says it.
fn relation(chance: &mut Chance, versions: &[u64], alias: &str) -> (String, String) {
    let (table, version) = (chance.one(&["a", "b"]), chance.one(versions));
    let newest = *versions.last().unwrap();
    let ours = match chance.below(7) {
        0 => format!("{table} VERSION AS OF {version} AS {alias}"),
        1 => format!("{table} {alias} FOR VERSION AS OF {version}"),
        2 => format!("{table} AT (VERSION => {version}) {alias}"),
        3 => format!("asof('{table}', {version}) AS {alias}"),
        4 => format!("\"{table}@{version}\" {alias}"),
        5 => format!("{table} AS OF '{version}' {alias}"),
        _ => return (format!("{table} AS {alias}"), format!("{table}_{newest} AS {alias}")),
    };
    (ours, format!("{table}_{version} AS {alias}"))
}

/// A query, as each side says it; rows are told as a multiset.
fn query(chance: &mut Chance, versions: &[u64]) -> (String, String) {
    let [x, y] = ["x", "y"].map(|alias| relation(chance, versions, alias));
    let [p, q] = ["x", "y"].map(|alias| chance.condition(alias, 2));
    let join = chance.one(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    let set = chance.one(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
    let on =
        chance.one(&["x.id = y.id", "x.g = y.g AND x.id < y.id", "x.id = y.n", "x.s = y.s AND x.f = y.f"]);
    let (limit, offset) = (chance.below(9), chance.below(4));
    let column = chance.one(&["g", "s", "f", "d"]);
    let form = match chance.below(13) {
        0 => format!("SELECT * FROM {{x}} WHERE {p}"),
        1 => format!(
            "SELECT {column}, count(*), count(n), sum(n), min(s), max(d), count(DISTINCT s) FROM {{x}} WHERE {p} GROUP BY {column} HAVING count(*) > {}",
            limit / 3
        ),
        2 => format!("SELECT x.id, x.n, y.id, y.s FROM {{x}} {join} {{y}} ON {on} WHERE {p} OR x.id IS NULL"),
        3 => format!("SELECT count(*), sum(x.n), sum(y.n) FROM {{x}} {join} {{y}} ON {on} AND {q}"),
        4 => format!("SELECT id, s FROM {{x}} WHERE x.id IN (SELECT y.id FROM {{y}} WHERE {q}) OR {p}"),
        5 => {
            format!("SELECT id FROM {{x}} WHERE NOT EXISTS (SELECT 1 FROM {{y}} WHERE {on} AND {q}) AND {p}")
        }
        6 => format!("SELECT id, n, s FROM {{x}} WHERE {p} {set} SELECT id, n, s FROM {{y}} WHERE {q}"),
        7 => format!("SELECT id, (SELECT count(*) FROM {{y}} WHERE y.g = x.g) AS c FROM {{x}} WHERE {p}"),
        8 => format!(
            "SELECT id, sum(n) OVER (PARTITION BY g ORDER BY id) AS w, row_number() OVER (ORDER BY n DESC NULLS LAST, id) AS r FROM {{x}} WHERE {p}"
        ),
        9 => format!(
            "WITH c AS (SELECT * FROM {{x}} WHERE {p}), e AS (SELECT * FROM {{y}} WHERE {q}) SELECT c.id, e.n FROM c {join} e ON c.id = e.id"
        ),
        10 => format!(
            "SELECT id, n FROM {{x}} WHERE {p} ORDER BY n DESC NULLS LAST, id LIMIT {limit} OFFSET {offset}"
        ),
        11 => "SELECT count(*) AS c, (SELECT count(*) FROM {y}) AS e, (SELECT sum(n) FROM {x}) = (SELECT sum(n) FROM {y}) AS same FROM {x}".to_string(),
        _ => format!(
            "SELECT DISTINCT {column}, n > 0 AS positive FROM {{x}} WHERE {p} AND x.id NOT IN (SELECT y.id FROM {{y}} WHERE {q})"
        ),
    };
    (form.replace("{x}", &x.0).replace("{y}", &y.0), form.replace("{x}", &x.1).replace("{y}", &y.1))
}

/// One history; how many queries were compared.
fn history(seed: u64, duck: &mut Duck) -> usize {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut bench = Bench::new();
    for table in ["a", "b"] {
        bench.run(&format!("CREATE TABLE {table} {DEFINITION}"));
        duck.run(&format!("CREATE OR REPLACE TABLE {table} {DEFINITION}")).unwrap();
    }
    let mut versions = Vec::new();
    let (mut made, mut compared) = (0, 0);
    for _ in 0..CHANGES {
        let sql = change(&mut chance);
        match (bench.try_run(&sql), duck.run(&sql)) {
            (Ok(_), Ok(_)) => made += 1,
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("seed {seed}: {sql}\n   ours: {ours:?}\n   DuckDB: {theirs:?}"),
        }
        let version = bench.newest().0;
        for table in ["a", "b"] {
            duck.run(&format!("CREATE OR REPLACE TABLE {table}_{version} AS SELECT * FROM {table}")).unwrap();
        }
        versions.push(version);
        match chance.below(12) {
            0 => drop(bench.database.checkpoint().unwrap()),
            1 => drop(bench.run("OPTIMIZE")),
            _ => {}
        }
        for _ in 0..QUERIES {
            let (ours, theirs) = query(&mut chance, &versions);
            let (mut found, mut expected) = (bench.try_run(&ours), duck.run(&theirs));
            found.iter_mut().for_each(|lines| lines.sort());
            expected.iter_mut().for_each(|lines| lines.sort());
            match (found, expected) {
                (Ok(found), Ok(expected)) if found == expected => compared += 1,
                (found, expected) => {
                    panic!("seed {seed}: {ours}\n   ours: {found:?}\n   DuckDB, {theirs}: {expected:?}")
                }
            }
        }
    }
    assert!(made * 2 > CHANGES, "seed {seed}: of {CHANGES} changes only {made} were made");
    compared
}

#[test]
fn queries_of_random_versions_give_what_duckdb_gives() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().map_or(otherwise, |value| value.parse().expect("a number"))
    };
    let (seconds, first) = (number("ASOF_TEST_SECONDS", SECONDS), number("ASOF_TEST_SEED", 1));
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut duck = Duck::new();
    let (mut compared, mut seed) = (0, first);
    while seed == first || Instant::now() < until {
        compared += history(seed, &mut duck);
        seed += 1;
    }
    println!("{} histories, {compared} queries", seed - first);
    assert!(compared > 0);
}
