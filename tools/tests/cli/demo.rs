//! `demo`: real data in, mounted past out.

use super::support::*;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn a_demo_without_a_directory_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let temporary = scratch.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = scratch.command(&["demo"]);
    command.env("TMPDIR", &temporary).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard(Some(command.spawn().unwrap()));
    let mut stdout = BufReader::new(child.get().stdout.take().unwrap());
    let mut printed = String::new();
    while !printed.contains("Ctrl-C unmounts") {
        assert!(stdout.read_line(&mut printed).unwrap() > 0, "no demo: {printed}");
    }
    let place = printed.lines().find_map(|line| line.strip_prefix("mounted at ")).unwrap();
    let place = MountGuard(place.into());
    assert!(place.0.starts_with(&temporary) && place.is_mounted(), "{printed}");
    // A file that is read is rendered into the cache.
    assert!(std::fs::read(place.0.join("version/100/sp500.parquet")).unwrap().ends_with(b"PAR1"));
    interrupt(child.get());
    let ran = child.finish();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(!place.is_mounted());
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(!scratch.path("cache").exists(), "what was rendered is gone too");
}

/// Starts the demo in `demo/` and gives what it printed until it was ready.
fn start(scratch: &Scratch) -> (Guard, MountGuard, String) {
    let place = MountGuard(scratch.path("demo/mnt"));
    let mut child = Guard(Some(scratch.spawn_piped(&["demo", "demo"])));
    let mut printed = String::new();
    let mut stdout = BufReader::new(child.get().stdout.take().unwrap());
    while !printed.contains("Ctrl-C unmounts") {
        if stdout.read_line(&mut printed).unwrap() == 0 {
            panic!("no demo: {printed} {}", child.finish().stderr);
        }
    }
    child.get().stdout = Some(stdout.into_inner());
    (child, place, printed)
}

fn shell(scratch: &Scratch, line: &str) -> (i32, String) {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).current_dir(scratch.path("")).env("XDG_CACHE_HOME", scratch.path("cache"));
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_demo_shows_real_history_and_what_it_prints_works() {
    let scratch = Scratch::new();
    let (mut child, place, printed) = start(&scratch);
    assert_eq!(scratch.json(&["resolve", "demo/db", "latest"])["version"], 415);
    let commands: Vec<&str> = {
        let mut lines = printed.lines();
        std::iter::from_fn(|| lines.find(|line| line.starts_with('#')).and_then(|_| lines.next())).collect()
    };
    assert!(commands.len() >= 6, "{printed}");
    for command in commands {
        let program = command.split(' ').next().unwrap();
        if ["duckdb", "python3"].contains(&program) {
            continue;
        }
        let (status, output) = shell(&scratch, command);
        let expected = if program == "diff" { 1 } else { 0 };
        assert_eq!((status, output.is_empty()), (expected, false), "{command}");
    }
    let (_, changes) = shell(
        &scratch,
        "diff demo/mnt/asof/2024-01-01/airport_frequencies.csv demo/mnt/asof/2024-01-15/airport_frequencies.csv",
    );
    assert!((1..200).contains(&changes.lines().count()), "only the rows that changed: {changes}");
    let (_, bank) = shell(&scratch, "grep ^FRC demo/mnt/asof/2023-05-01/sp500.csv");
    assert!(bank.contains("First Republic"), "{bank}");
    assert_eq!(shell(&scratch, "grep ^FRC demo/mnt/latest/sp500.csv").0, 1);
    interrupt(child.get());
    let ran = child.finish();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("kept"), "{}", ran.stderr);
    assert!(!place.is_mounted());
    // Once more: what is there is not loaded again.
    let before = scratch.ok(&["log", "demo/db", "--json"]);
    let (mut child, _place, _) = start(&scratch);
    assert_eq!(scratch.ok(&["log", "demo/db", "--json"]), before);
    interrupt(child.get());
    let mut rest = String::new();
    child.get().stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(child.finish().status, 0);
}
