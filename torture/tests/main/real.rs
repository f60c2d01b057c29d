//! Kills, power cuts and rotten bits on real files. What needs root (block devices, full disks) is run by the program
//! `real` of this crate; `ASOF_REAL` is how many times as many faults as by default.

use asof_torture::real::child::ChildProgram;
use asof_torture::real::forgetful::Forgetful;
use asof_torture::real::{cuts, flips, kills, sweep};
use std::path::PathBuf;

fn times(count: u64) -> u64 {
    std::env::var("ASOF_REAL").ok().and_then(|times| times.parse().ok()).unwrap_or(1) * count
}

fn child() -> ChildProgram {
    ChildProgram {
        program: PathBuf::from(env!("CARGO_BIN_EXE_real")),
        arguments: vec!["--child".to_string()],
    }
}

#[test]
fn writers_killed_at_random_calls_lose_nothing_and_harm_no_reader() {
    let dir = tempfile::tempdir().unwrap();
    let done = kills::run(&child(), dir.path(), 1, |done| done.kills < times(14)).unwrap();
    assert!(done.acknowledged > 0 && done.in_flight_kept > 0 && done.followed > 0, "{done:?}");
    assert!(done.during_repair > 0, "{done:?}");
}

#[test]
fn a_process_killed_at_any_call_of_a_scenario_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let done = sweep::run(&child(), dir.path(), 1, 30, 31, |done| done.kills < times(14)).unwrap();
    assert!(done.acknowledged > 0, "{done:?}");
}

#[test]
fn a_child_that_claims_what_it_has_not_committed_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo committed 0 2; kill -9 $$";
    let arguments = ["-c", script, "sh"].map(str::to_string).to_vec();
    let liar = ChildProgram { program: PathBuf::from("sh"), arguments };
    let failure = kills::run(&liar, dir.path(), 1, |done| done.kills < 25).unwrap_err();
    assert!(failure.what.starts_with("lost: version 2 was acknowledged"), "{failure}");
}

#[test]
fn power_cuts_rebuilt_from_recorded_calls_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let done = cuts::run(dir.path(), 1, 40, |done| done.cuts < times(40)).unwrap();
    assert!(done.during_recovery > 4 && done.states.count() as u64 > done.cuts / 2, "{done:?}");
}

#[test]
fn a_disk_that_does_not_sync_is_found_out_by_power_cuts() {
    for forgetful in [Forgetful::Files, Forgetful::Directories] {
        let dir = tempfile::tempdir().unwrap();
        let between = |disk| forgetful.over(disk);
        let done = cuts::run_on(dir.path(), 1, 100, between, |done| done.cuts < 200);
        assert!(done.is_err(), "{forgetful:?}: {done:?}");
    }
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let done = flips::run(dir.path(), 1, |done| done.flips < times(12)).unwrap();
    assert!(done.found > 3 && done.right > 0, "{done:?}");
}
