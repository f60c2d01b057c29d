//! `torture`: a short run finds nothing, says what it did, and leaves nothing.

use super::support::*;

#[test]
fn a_short_run_finds_nothing_and_leaves_nothing() {
    let scratch = Scratch::new();
    let directory = scratch.path("here");
    std::fs::create_dir(&directory).unwrap();
    let report = scratch.json(&["torture", "here", "--seed", "7", "--seconds", "1"]);
    assert_eq!((&report["ok"], &report["seed"]), (&true.into(), &7.into()), "{report}");
    let parts = report["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 5, "{report}");
    for part in parts {
        assert!(part["faults"].as_u64().unwrap() >= 2 && part["failure"].is_null(), "{part}");
    }
    assert_eq!(report["repeat"], "asof torture here --seed 7 --seconds 1");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let error = Scratch::new().fails(1, &["torture", "nowhere"]);
    assert!(error.contains("nowhere"), "{error}");
}
