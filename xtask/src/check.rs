//! What a change must pass, cheap things first. The tests come last, so that what is printed ends in their summary.

use crate::run::{Done, Step, is_installed};

/// Seconds that each fuzz target runs.
const FUZZ_SECONDS: &str = "5";

/// Runs every check; ends at the first that fails.
pub fn run() -> Done {
    Step::cargo(&["fmt", "--all", "--check"]).run()?;
    Step::cargo(&["test", "--quiet", "--package", "xtask"]).run()?;
    if is_installed("cargo-deny") {
        Step::cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]).run()?;
    } else {
        eprintln!(
            "\n==> cargo deny is not installed: licences and duplicates are not checked against deny.toml"
        );
    }
    Step::cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]).run()?;
    Step::cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings").run()?;
    Step::new("fuzz/run.sh", &[FUZZ_SECONDS]).run()?;
    crate::reliability(&[])?;
    crate::test(&[])
}
