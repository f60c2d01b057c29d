//! The fault tests on real disks from the command line, one part or all, for as long as wanted:
//! `real PART DIR [--seed N] [--count N]`.

use asof_torture::real::block::FileSystem;
use asof_torture::real::child::ChildProgram;
use asof_torture::real::{Failure, block, child, cuts, flips, full_disk, kills, sweep};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
usage: real PART DIR [--seed N] [--count N]
  PART  kills, sweep, cuts, ext4, xfs, full, flips, or all; ext4, xfs and full need root
  DIR   an empty directory on the disk to test; for ext4 and xfs one in memory is best
  N     how many kills, cuts, ... of the part";

/// The word that makes this program a child of itself.
const CHILD: &str = "--child";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == CHILD) {
        return child::main(&words[1..]).into();
    }
    let [part, dir, options @ ..] = words.as_slice() else { return usage() };
    let (mut seed, mut count) = (1, None);
    for pair in options.chunks(2) {
        match pair {
            [name, value] if name == "--seed" => seed = value.parse().unwrap_or(1),
            [name, value] if name == "--count" => count = value.parse().ok(),
            _ => return usage(),
        }
    }
    let parts: &[&str] = match part.as_str() {
        "all" => &["kills", "sweep", "cuts", "ext4", "xfs", "full", "flips"],
        _ => &[part.as_str()],
    };
    for part in parts {
        match run(part, Path::new(dir), seed, count) {
            Some(true) => {}
            Some(false) => return ExitCode::from(4),
            None => return usage(),
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Runs a part; none where there is no such part.
fn run(part: &str, dir: &Path, seed: u64, count: Option<u64>) -> Option<bool> {
    let program: PathBuf = std::env::current_exe().ok()?;
    let child = ChildProgram { program, arguments: vec![CHILD.to_string()] };
    let enough = |default: u64| count.unwrap_or(default);
    let begun = Instant::now();
    let told = match part {
        "kills" => tell(kills::run(&child, dir, seed, |done| done.kills < enough(300))),
        "sweep" => tell(sweep::run(&child, dir, seed, 60, 1, |done| done.kills < enough(300))),
        "cuts" => tell(cuts::run(dir, seed, 200, |done| done.cuts < enough(500))),
        "ext4" => tell(block::run(FileSystem::Ext4, dir, seed, 100, |done| done.cuts < enough(100))),
        "xfs" => tell(block::run(FileSystem::Xfs, dir, seed, 100, |done| done.cuts < enough(100))),
        "full" => tell(full_disk::run(dir, seed, |done| done.filled < enough(50))),
        "flips" => tell(flips::run(dir, seed, |done| done.flips < enough(300))),
        _ => return None,
    };
    println!("{part}: {} (seed {seed}, {:.1} s)", told.1, begun.elapsed().as_secs_f64());
    Some(told.0)
}

fn tell<T: Debug>(outcome: Result<T, Failure>) -> (bool, String) {
    match outcome {
        Ok(done) => (true, format!("{done:?}")),
        Err(failure) => (false, format!("FAILED: {failure}")),
    }
}
