//! The files of `tests/slt`, in the form of sqllogictest: statements, and what each gives.
//!
//! Read here are `statement ok`, `statement count N`, `statement error TEXT` (which the error has to contain), `query
//! TYPES [rowsort] [LABEL]` with its rows behind `----`, `connection NAME` (another session on the same database) and
//! `halt`. Cells are apart by a space, NULL is `NULL`, an empty text `(empty)`, spaces within a text are `␣`. Each file
//! has a database of its own.

use crate::support::Bench;
use asof_sql::SessionOptions;
use std::collections::BTreeMap;
use std::path::Path;

/// One record of a file: where it begins, and its lines.
struct Record<'a> {
    line: usize,
    lines: Vec<&'a str>,
}

fn records(text: &str) -> Vec<Record<'_>> {
    let mut records: Vec<Record<'_>> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match line.trim_end() {
            "" => open = false,
            line if line.starts_with('#') && !open => {}
            line if open => records.last_mut().expect("a record is open").lines.push(line),
            line => {
                records.push(Record { line: number + 1, lines: vec![line] });
                open = true;
            }
        }
    }
    records
}

fn shown(line: &str) -> String {
    let cells = line.split('|').map(|cell| match cell {
        "" => "(empty)".to_string(),
        cell => cell.replace(' ', "␣").replace('\n', "⏎"),
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// What is wrong with a record, if anything.
fn run(record: &Record<'_>, bench: &mut Bench) -> Result<(), String> {
    let [head, rest @ ..] = &record.lines[..] else { return Ok(()) };
    let cut = rest.iter().position(|line| *line == "----").unwrap_or(rest.len());
    let sql = rest[..cut].join("\n");
    let words: Vec<&str> = head.split_whitespace().collect();
    let outcome = bench.try_run(&sql);
    match (&words[..], outcome) {
        (["statement", "ok"], Ok(_)) => Ok(()),
        (["statement", "count", count], Ok(lines)) => {
            let found = bench.changed;
            let expected: u64 = count.parse().map_err(|_| format!("no count: {count}"))?;
            if found == expected {
                Ok(())
            } else {
                Err(format!("changed {found}, not {expected}: {lines:?}"))
            }
        }
        (["statement", "error", ..], Err(error)) => {
            let wanted = head.trim_start_matches("statement error").trim();
            let error = error.to_string();
            if wanted.is_empty() {
                return Err(format!("say what the error tells: {error}"));
            }
            if error.contains(wanted) { Ok(()) } else { Err(format!("another error: {error}")) }
        }
        (["statement", "error", ..], Ok(lines)) => Err(format!("no error, but {lines:?}")),
        (["query", types, more @ ..], Ok(lines)) => {
            let mut found: Vec<String> = lines.iter().map(|line| shown(line)).collect();
            let mut expected: Vec<String> = rest
                .iter()
                .skip(cut + 1)
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            if more.contains(&"rowsort") {
                found.sort();
                expected.sort();
            }
            if let Some(line) = lines.first()
                && line.split('|').count() != types.len()
            {
                return Err(format!("{} columns are typed, the rows are {lines:?}", types.len()));
            }
            if found == expected { Ok(()) } else { Err(format!("gave\n{}", found.join("\n"))) }
        }
        (["statement" | "query", ..], Err(error)) => Err(format!("failed: {error}")),
        _ => Err(format!("not a record: {head}")),
    }
}

/// Runs a file; all that is wrong with it.
fn findings(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let first = Bench::new();
    let mut sessions: BTreeMap<String, Bench> = BTreeMap::new();
    let mut current = "default".to_string();
    let mut findings = Vec::new();
    let mut ran = 0;
    for record in records(&text) {
        if let Some(name) = record.lines[0].strip_prefix("connection ") {
            current = name.to_string();
            continue;
        }
        if record.lines[0] == "halt" {
            break;
        }
        let bench = sessions.entry(current.clone()).or_insert_with(|| first.other(SessionOptions::default()));
        ran += 1;
        if let Err(wrong) = run(&record, bench) {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            findings.push(format!("{file}:{}: {}\n{wrong}\n", record.line, record.lines[1..].join("\n")));
        }
    }
    assert!(ran > 0, "{} has no records", path.display());
    findings
}

#[test]
fn the_files_of_statements_give_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(files.len() >= 5, "files of statements are missing: {files:?}");
    let all: Vec<String> = files.iter().flat_map(|file| findings(file)).collect();
    assert!(all.is_empty(), "{} findings:\n{}", all.len(), all.join("\n"));
}
