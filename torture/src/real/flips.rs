//! Bits that rot: a copy of a database with one bit flipped somewhere is opened, every version read, and verified.
//!
//! Each version is right or refused as damaged; and where one is refused, `verify` says so too.

use super::child::WAIT;
use super::told::Told;
use super::{Outcome, chance_of, failed};
use asof_engine::{Database, ErrorKind, Options};
use std::path::{Path, PathBuf};

/// Steps of each writer.
const STEPS: u64 = 25;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    /// Bits flipped, one at a time.
    pub flips: u64,
    /// Of them, found by `verify`.
    pub found: u64,
    /// Of them, in bytes that nothing depends on: every version is right.
    pub harmless: u64,
    /// Versions that were right beside the damage.
    pub right: u64,
    /// Versions that were refused.
    pub refused: u64,
}

/// Makes a database below `dir` and flips bits of copies, until `more` says enough.
pub fn run(dir: &Path, seed: u64, mut more: impl FnMut(&Flips) -> bool) -> Outcome<Flips> {
    let mut flips = Flips::default();
    if !more(&flips) {
        return Ok(flips);
    }
    let (original, copy) = (dir.join("flips"), dir.join("flipped"));
    let told = Told::run(&original, || Options { wait: WAIT, ..Options::default() }, seed, STEPS, |_| {})?;
    let fail = |error: std::io::Error| failed(&copy, seed, error);
    let mut files = Vec::new();
    files_below(&original, &mut files).map_err(fail)?;
    files.retain(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0));
    while more(&flips) {
        let mut chance = chance_of(&[seed, flips.flips]);
        copy_dir(&original, &copy).map_err(fail)?;
        let file = chance.pick(&files).expect("a database has files");
        let file = copy.join(file.strip_prefix(&original).expect("it was listed below it"));
        let mut bytes = std::fs::read(&file).map_err(fail)?;
        let (at, bit) = (chance.below(bytes.len() as u64) as usize, chance.below(8));
        bytes[at] ^= 1 << bit;
        std::fs::write(&file, bytes).map_err(fail)?;
        let place = format!("bit {bit} of byte {at} of {}", file.display());
        look(&copy, &told, &mut flips).map_err(|what| failed(&copy, seed, format!("{place}: {what}")))?;
        flips.flips += 1;
        std::fs::remove_dir_all(&copy).map_err(fail)?;
    }
    std::fs::remove_dir_all(&original).map_err(|error| failed(&original, seed, error))?;
    Ok(flips)
}

fn look(path: &Path, told: &Told, flips: &mut Flips) -> Result<(), String> {
    let damaged = |error: &asof_engine::Error| {
        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
    };
    let database = match Database::open_read_only(path, Options::default()) {
        Ok(database) => database,
        Err(error) if damaged(&error) => {
            flips.refused += told.newest().0;
            flips.found += 1;
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut refused = 0;
    for version in 0..=told.newest().0 {
        match told.is_right(&database, version) {
            Ok(true) => flips.right += 1,
            Ok(false) => return Err(format!("wrong: version {version} does not hold what was committed")),
            Err(error) if damaged(&error) => refused += 1,
            Err(error) => return Err(format!("version {version}: {error}")),
        }
    }
    flips.refused += refused;
    let found = match database.verify() {
        Ok(report) => !report.findings.is_empty(),
        Err(error) if damaged(&error) => true,
        Err(error) => return Err(error.to_string()),
    };
    match (found, refused) {
        (true, _) => flips.found += 1,
        (false, 0) => flips.harmless += 1,
        (false, _) => return Err(format!("{refused} versions are refused, and verify finds nothing")),
    }
    Ok(())
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files_below(&path, files)? } else { files.push(path) }
    }
    files.sort();
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_dir(&path, &target)? } else { std::fs::copy(&path, &target).map(drop)? }
    }
    Ok(())
}
