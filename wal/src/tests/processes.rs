//! Real processes on real files: this test binary runs itself.

use super::*;
use crate::RealDisk;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

const DIR_VARIABLE: &str = "ASOF_WAL_TEST_DIR";
const ROLE_VARIABLE: &str = "ASOF_WAL_TEST_ROLE";
const APPENDS: u32 = 1000;

fn new_log() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("wal");
    drop(Log::create(Arc::new(RealDisk), &dir, ID, small()).unwrap());
    (temp, dir)
}

fn open_real(dir: &Path) -> Log {
    open_at(Arc::new(RealDisk), dir, Log::start(), Access::ReadWrite)
}

fn spawn(dir: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["tests::processes::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, dir)
        .env(ROLE_VARIABLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child says, line by line; the test harness says things too, and may end no line before ours.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| Some(line.split_once("child:")?.1.to_string()))
}

fn append_thousand(log: &Log, who: u32) {
    for number in 0..APPENDS {
        append(log, &[who, number].map(u32::to_le_bytes).concat()).unwrap();
    }
}

/// Not a test: what a child process does.
#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let log = open_real(Path::new(&dir));
    let say = |text: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nchild:{text}").unwrap();
        out.flush().unwrap();
    };
    match std::env::var(ROLE_VARIABLE).unwrap().as_str() {
        "thousand" => append_thousand(&log, 2),
        "hold" => {
            let _turn = log.take_turn(WAIT).unwrap();
            say("held".into());
            std::thread::sleep(Duration::from_secs(600));
        }
        "forever" => {
            let from = payloads(&log).len() as u32;
            for number in from.. {
                append(&log, &number.to_le_bytes()).unwrap();
                say(number.to_string());
            }
        }
        role => panic!("no such role: {role}"),
    }
}

#[test]
fn two_real_processes_append_a_thousand_each_without_holes() {
    let (_temp, dir) = new_log();
    let mut child = spawn(&dir, "thousand");
    let log = open_real(&dir);
    append_thousand(&log, 1);
    assert!(child.wait().unwrap().success());
    let found = payloads(&log);
    assert_eq!(found.len(), 2 * APPENDS as usize);
    for who in [1_u32, 2] {
        let numbers = found.iter().filter(|payload| payload[..4] == who.to_le_bytes());
        assert!(
            numbers.map(|payload| payload[4..].to_vec()).eq((0..APPENDS).map(|n| n.to_le_bytes().to_vec()))
        );
    }
}

#[test]
fn a_lock_held_by_a_real_process_names_it_and_dies_with_it() {
    let (_temp, dir) = new_log();
    let mut child = spawn(&dir, "hold");
    let held = said(&mut child).next();
    let log = open_real(&dir);
    let refused = log.take_turn(Duration::from_millis(30)).map(drop);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(held.as_deref(), Some("held"));
    assert!(matches!(refused, Err(Error::Locked { pid: Some(pid) }) if pid == child.id()), "{refused:?}");
    append(&log, b"after").unwrap();
    assert_eq!(payloads(&log), [b"after"]);
}

#[test]
fn a_process_killed_while_it_appends_loses_nothing_acknowledged() {
    let (_temp, dir) = new_log();
    for round in 0..12 {
        let mut child = spawn(&dir, "forever");
        let mut said = said(&mut child);
        let acknowledged: Vec<u32> =
            said.by_ref().take(1 + round * 7).map(|number| number.parse().unwrap()).collect();
        child.kill().unwrap();
        let rest: Vec<u32> = said.map(|number| number.parse().unwrap_or_default()).collect();
        child.wait().unwrap();
        let last = rest.last().or(acknowledged.last()).copied().unwrap();
        let log = open_real(&dir);
        drop(log.take_turn(WAIT).unwrap());
        let found = payloads(&log);
        assert!(found.len() > last as usize, "acknowledged {last}, found {}", found.len());
        assert!(found.iter().zip(0_u32..).all(|(payload, number)| payload[..] == number.to_le_bytes()));
    }
}
