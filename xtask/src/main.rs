//! `cargo xtask test` and `cargo xtask check`: what the project does to itself.
//!
//! `test` sets up what the tests need and runs them all. `check` is what a change must pass, and what runs in CI. Both
//! fail where something is missing, and say what to install; nothing is skipped.

mod check;
mod models;
mod run;
mod setup;

use run::Step;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  test [ARGS]   set up what the tests need, then cargo test --workspace ARGS
  check         format, house rules, lints, documentation, fuzz smoke, tests: all that CI runs
  reliability [--long] [--first-seed N] [--skip-planted] [--threads N]
                power cuts, single faults and bit rot on a simulated disk, and bugs planted to see that they are noticed
  setup         only set up what the tests need
  miri          mvcc and the codecs under miri (nightly)
  schedules     commits and publication under many schedules of their threads";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", rest @ ..] => test(rest),
        ["check"] => check::run(),
        ["reliability", rest @ ..] => reliability(rest),
        ["setup"] => setup::run(),
        ["miri"] => models::miri(),
        ["schedules"] => models::schedules(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The simulated faults, in a build of its own: bugs can be switched on in it.
pub(crate) fn reliability(arguments: &[&str]) -> run::Done {
    let run = [
        "run",
        "--quiet",
        "--package",
        "asof-torture",
        "--features",
        "planted",
        "--bin",
        "reliability",
        "--",
    ];
    let step = Step::cargo(&run).args(arguments);
    // What runs for hours is worth another build of the project's own crates, with all checks of a development build.
    let long = arguments.contains(&"--long");
    if long { step.env("CARGO_PROFILE_DEV_OPT_LEVEL", "3").run() } else { step.run() }
}

/// Everything the tests need, then all tests. What is printed last is the test runner's own.
pub(crate) fn test(arguments: &[&str]) -> run::Done {
    setup::run()?;
    Step::cargo(&["test", "--workspace"]).args(arguments).run()
}
