//! Ten thousand files and directories read by the programs people use, compared with what a scan of the rows gives; and
//! what the server has of it afterwards.

use super::{is_root, mount};
use crate::cli::support::*;
use crate::processes::{csv, open};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

const VERSIONS: u64 = 120;
/// Directories and files below `version/`: for each version with both tables 2 directories and 7 files.
const ENTRIES_MIN: u64 = VERSIONS * 9;
/// What the allocator may keep of a round.
const MEMORY_SLACK_KIB: u64 = 16 << 10;

/// Runs a command that must succeed and print nothing, on either output.
fn quiet(directory: &Path, command: &str) {
    assert_eq!(shell(directory, command), "", "$ {command}");
}

fn shell(directory: &Path, command: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 2>&1; {command} || echo failed")]).current_dir(directory);
    String::from_utf8(shell.env("LC_ALL", "C").env("TZ", "UTC").output().unwrap().stdout).unwrap()
}

fn is_installed(program: &str) -> bool {
    shell(Path::new("/"), &format!("command -v {program}")).starts_with('/')
}

fn history() -> Scratch {
    let scratch = Scratch::new();
    let tables = [("orders", "orders"), ("gold.parts", "parts")];
    let mut lines = String::new();
    for version in 1..=VERSIONS {
        let ops: Vec<_> = tables
            .iter()
            .filter(|_| version == 1 || version % 3 > 0)
            .map(|(table, what)| {
                let rows: Vec<_> = (0..20)
                    .map(
                        |row| json!({"id": (row * version) % 900, "note": format!("{what} {version} {row}")}),
                    )
                    .collect();
                json!({"op": "upsert", "table": table, "rows": rows, "key": ["id"]})
            })
            .collect();
        let ops = match ops.is_empty() {
            true => vec![
                json!({"op": "upsert", "table": "orders", "rows": [{"id": 1, "note": version.to_string()}]}),
            ],
            false => ops,
        };
        lines.push_str(&(json!({"ops": ops}).to_string() + "\n"));
    }
    scratch.apply(&lines);
    scratch
}

/// Everything once, by each program.
fn read_all(at: &Path, out: &Path, model: &Path) {
    fs::create_dir(out).unwrap();
    let (out_text, model) = (out.display(), model.display());
    let count = |command: &str| -> u64 { shell(at, command).trim().parse().unwrap() };
    assert!(count("find version | wc -l") > ENTRIES_MIN);
    let listed = shell(at, "ls -lR version | grep -c '^-'");
    let found = shell(at, "find version -type f ! -name '.*' | wc -l");
    assert_eq!(listed.trim(), found.trim());
    quiet(at, &format!("diff -rq -x '*.parquet' -x '*.json' version {model}"));
    quiet(at, &format!("cp -a version {out_text}/cp && diff -r version {out_text}/cp"));
    quiet(at, &format!("tar cf - version | tar xf - -C {out_text} && diff -r version {out_text}/version"));
    let copy = format!("rsync -aH --no-owner --no-group --itemize-changes version/ {out_text}/rsync/");
    assert!(shell(at, &copy).lines().count() as u64 > ENTRIES_MIN / 2);
    quiet(at, &copy);
    quiet(at, &format!("diff -r version {out_text}/rsync"));
    if is_installed("zip") {
        // Not everywhere installed, and nothing of ours: the copies above have tested the same calls.
        quiet(at, &format!("zip -qr {out_text}/all.zip version && zip -qT {out_text}/all.zip >/dev/null"));
    }
    let sums = |directory: &Path| shell(directory, "find . -name '*.csv' | sort | xargs sha256sum");
    assert_eq!(sums(&at.join("version")), sums(&out.join("cp")));
    assert_eq!(
        shell(at, "grep -rc 'orders 7 ' version --include=orders.csv | grep -v ':0' | wc -l"),
        shell(
            Path::new("/"),
            &format!("grep -rc 'orders 7 ' {model} --include=orders.csv | grep -v ':0' | wc -l")
        )
    );
    let bytes = |directory: &str| {
        count(&format!(
            "find {directory} -name '*.csv' -printf '%s\\n' | awk '{{sum += $1}} END {{print sum}}'"
        ))
    };
    assert_eq!(bytes("version"), bytes(&model.to_string()));
    assert_eq!(
        shell(at, "stat -c '%n %s' version/*/orders.csv version/*/gold/parts.csv | sort"),
        shell(out, "cd cp && stat -c 'version/%n %s' */orders.csv */gold/parts.csv | sort"),
    );
    // A file that several versions share counts once.
    assert!(
        count("du -s --apparent-size -b version | cut -f 1")
            < count("du -s --apparent-size -l -b version | cut -f 1")
    );
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn ten_thousand_files_are_read_right_by_all_programs_and_leave_nothing_open() {
    let scratch = history();
    let database = open(&scratch.path("db"));
    let model = scratch.path("model");
    for version in 0..=VERSIONS {
        let state = model.join(version.to_string());
        fs::create_dir_all(state.join(if version == 0 { "" } else { "gold" })).unwrap();
        if version > 0 {
            fs::write(state.join("orders.csv"), csv(&database, version, "orders")).unwrap();
            fs::write(state.join("gold/parts.csv"), csv(&database, version, "gold.parts")).unwrap();
        }
    }
    drop(database);
    let (mut child, place) = mount(&scratch, &[]);
    let pid = child.get().id();
    let open_files = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let memory_kib = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    // What one reading opens of the database stays open.
    read_all(&place.0, &scratch.path("out"), &model);
    let forget = || {
        if is_root() {
            // The kernel forgets all names whenever a file system is mounted again with other options.
            rustix::mount::mount_remount(&place.0, rustix::mount::MountFlags::RDONLY, "").unwrap();
        }
    };
    forget();
    let limit = memory_kib() + MEMORY_SLACK_KIB;
    read_all(&place.0, &scratch.path("out"), &model);
    forget();
    assert!(memory_kib() < limit, "{} KiB after the second round, {limit} at most", memory_kib());
    interrupt_when_idle(&mut child, open_files);
    let ran = child.finish();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    // Programs were asked for tables of version 0, which has none.
    let told = |line: &&str| !line.starts_with("asof: warn: version/0/");
    assert_eq!(ran.stderr.lines().find(told), None);
}

#[test]
fn programs_that_read_text_read_past_states() {
    let scratch = history();
    let (mut child, place) = mount(&scratch, &[]);
    let at = &place.0;
    for version in [1, 2, 60, VERSIONS] {
        let file = |form: &str| format!("version/{version}/orders.{form}");
        let (csv, jsonl) = (file("csv"), file("jsonl"));
        quiet(at, &format!("jq -c . {jsonl} | cmp - {jsonl}"));
        let count = |program: &str| shell(at, &format!("{program} -c 'orders [0-9]* 7$' {csv}"));
        assert_eq!(count("rg"), count("grep"));
        let database = scratch.path(&format!("{version}.sqlite"));
        let import = format!(
            "sqlite3 {0} '.import --csv {csv} t' && sqlite3 -csv -header {0} 'select * from t order by id + 0'",
            database.display()
        );
        // SQLite ends lines of CSV as RFC 4180 has it, and quotes what has spaces.
        let unquoted = "tr -d '\\r\"'";
        assert_eq!(shell(at, &format!("({import}) | {unquoted}")), shell(at, &format!("{unquoted} < {csv}")));
        let python = format!(
            "python3 -c \"import csv, json; rows = list(csv.DictReader(open('{csv}', newline=''))); \
             lines = [json.loads(line) for line in open('{jsonl}')]; \
             assert rows == [{{name: str(value) for name, value in line.items()}} for line in lines] and rows\""
        );
        quiet(at, &python);
        let numbers = shell(at, &format!("git diff --no-index --numstat version/1/orders.csv {csv}"));
        let changed = |sign: &str| shell(at, &format!("diff version/1/orders.csv {csv} | grep -c '^{sign}'"));
        let changed = [changed(">"), changed("<")].map(|count| count.lines().next().unwrap().to_string());
        match version {
            1 => assert_eq!(numbers, ""),
            _ => assert!(numbers.starts_with(&changed.join("\t")), "{numbers} {changed:?}"),
        }
    }
    interrupt(child.get());
    let ran = child.finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

/// Files that were open a moment ago are kept for some seconds. What stays is the database and the mount itself.
fn interrupt_when_idle(child: &mut Guard, open_files: impl Fn() -> usize) {
    const OPEN_IDLE_MAX: usize = 40;
    wait_until("rendered files are closed", || open_files() < OPEN_IDLE_MAX);
    interrupt(child.get());
}
