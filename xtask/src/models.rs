//! Checks that take another build: undefined behaviour by miri, schedules of threads by shuttle.

use crate::run::{Done, Step};

/// The toolchain that has miri.
const NIGHTLY: &str = "+nightly";

/// Runs what does no I/O and no foreign code under miri: mvcc, and the codecs of the engine.
pub fn miri() -> Done {
    // Properties name their failures themselves, and may not look at the working directory.
    let flags = "-Zmiri-disable-isolation -Zmiri-permissive-provenance";
    let found = Step::new("rustup", &["run", "nightly", "cargo", "miri", "--version"]).quiet().output();
    found.map_err(|error| {
        format!("{error}\nmiri is missing: rustup component add --toolchain nightly miri rust-src")
    })?;
    let step = |arguments: &[&str]| {
        Step::new("cargo", &[NIGHTLY, "miri", "test"]).args(arguments).env("MIRIFLAGS", flags)
    };
    step(&["--package", "asof-mvcc"]).run()?;
    step(&["--package", "asof-engine", "--lib", "codec::columns"]).run()
}

/// Runs group commit, the commit queue and publication under many schedules.
pub fn schedules() -> Done {
    for (package, tests) in [("asof-wal", "tests::model"), ("asof-engine", "model_tests")] {
        Step::cargo(&["test", "--package", package, "--lib", "--features", "model", tests]).run()?;
    }
    Ok(())
}
