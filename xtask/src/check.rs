//! What a change must pass, cheap things first. The tests come last, so that what is printed ends in their summary.

use crate::run::{Done, Step, is_installed};

/// Seconds of fuzzing over all targets, two at a time.
const FUZZ_SECONDS: &str = "300";
/// The same inputs are tried each time, so that what is found is of the change and can be found again. Runs that look
/// for more (`fuzz/run.sh`) have seeds of their own.
const FUZZ_SEED: &str = "1";

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
    Step::new("fuzz/run.sh", &[FUZZ_SECONDS]).env("FUZZ_SEED", FUZZ_SEED).run()?;
    // Among the tests below too; here it says which anomalies were looked for.
    let interleavings = ["--workspace", "--quiet", "--test", "main", "fourteen_interleavings"];
    Step::cargo(&["test"]).args(&interleavings).args(&["--", "--nocapture"]).run()?;
    crate::reliability(&[])?;
    crate::test(&[])
}
