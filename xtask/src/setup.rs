//! What the tests need beside a Rust toolchain: a few programs, and Python environments with readers of our files and
//! with a server for archives.
//!
//! Programs come from the system's packages where this runs as root on a machine with apt-get; elsewhere the line to run
//! is named and nothing is tested. The environments lie in the target directory and are made anew when their pins change.

use crate::run::{Done, Step, is_installed, root, target_dir};
use std::fs;
use std::path::Path;

/// A program, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 11] = [
    ("python3", "python3"),
    ("fusermount3", "fuse3"),
    ("rsync", "rsync"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("findmnt", "util-linux"),
    ("strace", "strace"),
    ("git", "git"),
    ("jq", "jq"),
    ("rg", "ripgrep"),
    ("sqlite3", "sqlite3"),
];

/// The Python environments: their directories, and their pins. Not one, for what they need does not go together.
const ENVIRONMENTS: [(&str, &str); 2] = [("venv", "xtask/readers.txt"), ("venv-server", "xtask/server.txt")];

/// Sets up what is missing.
pub fn run() -> Done {
    programs()?;
    let target = target_dir()?;
    ENVIRONMENTS.iter().try_for_each(|(name, pins)| environment(&target.join(name), pins))
}

fn programs() -> Done {
    let missing = PROGRAMS.iter().filter(|(program, _)| !is_installed(program));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    install(&packages)
}

/// Installs packages, or says how.
fn install(packages: &[&str]) -> Done {
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !is_installed("apt-get") {
        return Err(format!(
            "the tests need programs that are missing; install what Debian has in: {}",
            packages.join(" ")
        ));
    }
    if !is_root() {
        return Err(format!("the tests need programs that are missing; run as root: {by_hand}"));
    }
    let apt = |arguments: &[&str]| Step::new("apt-get", arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let flags = ["install", "--yes", "--no-install-recommends"];
    // Lists of packages may be missing or old: they are fetched where the first try fails.
    if apt(&flags).args(packages).run().is_ok() {
        return Ok(());
    }
    apt(&["update"]).run()?;
    apt(&flags).args(packages).run().map_err(|error| format!("{error}; by hand: {by_hand}"))
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, file system.
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

/// Makes a Python environment, unless it is there with these pins.
fn environment(venv: &Path, pins_name: &str) -> Done {
    let fail = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let pins_file = root().join(pins_name);
    let pins = fs::read_to_string(&pins_file).map_err(fail(&pins_file))?;
    // Written last: an environment that was left half made has none.
    let stamp = venv.join(Path::new(pins_name).file_name().expect("a file's name"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == pins) {
        return Ok(());
    }
    if venv.exists() {
        fs::remove_dir_all(venv).map_err(fail(venv))?;
    }
    let place = venv.to_str().ok_or("the target directory's path is no UTF-8")?;
    // Debian's python3 comes without the module that makes environments.
    let make = || Step::new("python3", &["-m", "venv", place]).run();
    if make().is_err() {
        install(&["python3-venv"])?;
        make()?;
    }
    let python = venv.join("bin/python");
    let python = python.to_str().expect("it begins with the environment's path");
    let flags = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
    Step::new(python, &flags).args(&["--requirement", pins_name]).run().map_err(|error| {
        format!("{error}; the packages of {pins_name} need Python 3.11 or later and a package index")
    })?;
    fs::write(&stamp, pins).map_err(fail(&stamp))
}
