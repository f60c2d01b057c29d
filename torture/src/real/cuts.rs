//! Power cuts on any disk, from recorded calls: writers work on real files, and what a power cut could have left at
//! some point of the record is rebuilt beside them, opened and checked. Power is cut again while that is repaired, up
//! to three deep.

use super::call::WatchedDisk;
use super::recorder::Recorder;
use super::told::Told;
use super::{Outcome, States, chance_of, failed};
use asof_engine::{CommitOptions, Database, Options};
use asof_wal::{Disk, RealDisk};
use std::path::Path;
use std::sync::Arc;

/// Steps of each writer.
const STEPS: u64 = 20;
/// How often power is cut during recovery, one cut within the other.
const DEPTH_MAX: u64 = 3;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Runs of two writers.
    pub runs: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Of them, while an earlier one was repaired.
    pub during_recovery: u64,
    /// States that differ, of those that the cuts left.
    pub states: States,
    /// Versions compared with the oracle.
    pub compared: u64,
    /// Tables of them that were gone.
    pub gone: u64,
}

/// Cuts the power of runs below `dir`, `per_run` times each, until `more` says enough.
pub fn run(dir: &Path, seed: u64, per_run: u64, more: impl FnMut(&Cuts) -> bool) -> Outcome<Cuts> {
    run_on(dir, seed, per_run, |disk| disk, more)
}

/// As [`run`], with something between the writers and the disk: a disk that lies, say.
pub fn run_on(
    dir: &Path,
    seed: u64,
    per_run: u64,
    between: impl Fn(Arc<dyn Disk>) -> Arc<dyn Disk> + Sync,
    mut more: impl FnMut(&Cuts) -> bool,
) -> Outcome<Cuts> {
    let mut cuts = Cuts::default();
    while more(&cuts) {
        let seed = seed.wrapping_add(cuts.runs);
        let place = dir.join(format!("cuts-{}", cuts.runs));
        let fail = |error: std::io::Error| failed(&place, seed, error);
        std::fs::create_dir_all(&place).map_err(fail)?;
        let recorder = Arc::new(Recorder::new(&place).map_err(fail)?);
        let path = place.join("db");
        let on = || {
            let options = options(&recorder);
            Options { disk: between(options.disk), ..options }
        };
        let told = Told::run(&path, on, seed, STEPS, |number| recorder.acknowledge(number))?;
        cuts.runs += 1;
        for number in 0..per_run {
            if !more(&cuts) {
                break;
            }
            let mut chance = chance_of(&[seed, number]);
            let entry = chance.below(recorder.len() as u64 + 1) as usize;
            let target = dir.join("cut");
            let acknowledged = recorder.acknowledged(entry);
            cut(&recorder, entry, &target, &told, &acknowledged, seed ^ number << 20, &mut cuts, 1)?;
        }
        std::fs::remove_dir_all(&place).map_err(fail)?;
    }
    Ok(cuts)
}

fn options(recorder: &Arc<Recorder>) -> Options {
    let disk = Arc::new(WatchedDisk::new(Arc::new(RealDisk), Arc::clone(recorder)));
    super::busy_options(disk)
}

/// One cut: rebuilds it, repairs it under a new record which is cut in its turn, and checks it.
#[allow(clippy::too_many_arguments, reason = "one call site, and one of its own")]
fn cut(
    recorder: &Recorder,
    entry: usize,
    target: &Path,
    told: &Told,
    acknowledged: &[u64],
    number: u64,
    cuts: &mut Cuts,
    depth: u64,
) -> Outcome<()> {
    let mut chance = chance_of(&[number, depth]);
    let fail = |error: std::io::Error| failed(target, number, error);
    cuts.states.insert(recorder.rebuild(entry, &mut chance, target).map_err(fail)?);
    cuts.cuts += 1;
    cuts.during_recovery += u64::from(depth > 1);
    let path = target.join("db");
    if depth < DEPTH_MAX && !acknowledged.is_empty() && chance.one_in(4) {
        let again = Arc::new(Recorder::new(target).map_err(fail)?);
        let repaired = Database::open(&path, options(&again)).and_then(|database| {
            database.begin()?.commit(CommitOptions::default())?;
            database.checkpoint()
        });
        repaired.map_err(|error| failed(target, number, format!("cannot be repaired: {error}")))?;
        let deeper = target.with_extension(depth.to_string());
        for nth in 0..2 {
            let entry = chance.below(again.len() as u64 + 1) as usize;
            cut(&again, entry, &deeper, told, acknowledged, number ^ (nth + 1) << 50, cuts, depth + 1)?;
        }
    }
    let checked = told.check(&path, acknowledged, Options::default(), number)?;
    cuts.compared += checked.compared;
    cuts.gone += checked.gone;
    std::fs::remove_dir_all(target).map_err(fail)
}
