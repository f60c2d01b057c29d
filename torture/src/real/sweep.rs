//! kill -9 at **every** call of a process that plays a scenario: the same scenario again and again from nothing, killed
//! one call later each time, until it is through.
//!
//! The process has two handles on the database, which take turns as two processes do, and does all that scenarios do:
//! commits of every kind, changes of schemas, races, tags, checkpoints, retention. It says what it was told; the parent plays the
//! same scenario against the model up to there.

use super::child::{ChildProgram, Part, WAIT};
use super::killer::{KillAt, Moment};
use super::{Outcome, chance_of, failed};
use crate::{Action, Done, Model, Scenario, Shape, Step, check};
use asof_engine::{CommitOptions, Database, Options};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Scenarios whose every call was met.
    pub scenarios: u64,
    /// Processes that died by SIGKILL within a call.
    pub kills: u64,
    /// Versions that were acknowledged before, in all.
    pub acknowledged: u64,
    /// Versions that were in flight and are there, whole.
    pub in_flight_kept: u64,
}

/// The scenario of a seed.
pub(super) fn scenario(seed: u64) -> Scenario {
    Scenario::new(seed, Shape { processes: 2, ..Shape::default() })
}

/// Kills at the calls of scenarios of so many steps, below `dir`, until `more` says enough. One call in `stride` is met,
/// beginning with one that the seed says.
pub fn run(
    child: &ChildProgram,
    dir: &Path,
    seed: u64,
    steps: u64,
    stride: u64,
    mut more: impl FnMut(&Sweep) -> bool,
) -> Outcome<Sweep> {
    let mut sweep = Sweep::default();
    while more(&sweep) {
        let seed = seed.wrapping_add(sweep.scenarios);
        let mut call = 1 + chance_of(&[seed]).below(stride);
        loop {
            if !more(&sweep) {
                return Ok(sweep);
            }
            let moment = Moment::ALL[(call % 3) as usize];
            let through = one(child, &dir.join("sweep"), seed, steps, KillAt { call, moment }, &mut sweep)?;
            if through {
                break;
            }
            call += stride.max(1);
        }
        sweep.scenarios += 1;
    }
    Ok(sweep)
}

/// Gives whether the process was through before the call.
fn one(
    child: &ChildProgram,
    path: &Path,
    seed: u64,
    steps: u64,
    kill: KillAt,
    sweep: &mut Sweep,
) -> Outcome<bool> {
    let fail = |what: String| {
        failed(path, seed, format!("{what}; killed {} call {}", kill.moment.word(), kill.call))
    };
    let part = Part::Play { seed, steps, kill };
    let (said, status) = child.listen(path, &part).map_err(fail)?;
    let killed = status.signal() == Some(9);
    if !killed && !status.success() {
        return Err(fail(format!("the process ended with {status}: {said}")));
    }
    let (mut model, mut scenario) = (Model::default(), scenario(seed));
    let mut played = 0;
    for line in said.lines() {
        let step = scenario.step(&model);
        let done: Done =
            serde_json::from_str(line).map_err(|error| fail(format!("it said {line}: {error}")))?;
        model.accept(&step.action, &done).map_err(fail)?;
        played += 1;
    }
    sweep.acknowledged += model.newest();
    let in_flight: Option<Step> = (played < steps).then(|| scenario.step(&model));
    settle(path, &mut model, in_flight, sweep).map_err(fail)?;
    sweep.kills += u64::from(killed);
    std::fs::remove_dir_all(path).map_err(|error| fail(error.to_string()))?;
    Ok(!killed)
}

/// Compares what is there with the model; what was in flight is there whole or not at all.
fn settle(path: &Path, model: &mut Model, in_flight: Option<Step>, sweep: &mut Sweep) -> Result<(), String> {
    let text = |doing: &'static str| move |error: asof_engine::Error| format!("{doing}: {error}");
    let options = || Options { wait: WAIT, ..Options::default() };
    if model.newest() > 0 {
        let reader = Database::open_read_only(path, options()).map_err(text("opening to read"))?;
        let seen = reader.refresh().map_err(text("following"))?;
        if seen.0 < model.newest() {
            return Err(format!("lost: version {} was acknowledged, a reader finds {seen}", model.newest()));
        }
    }
    let database = Database::open_or_create(path, options()).map_err(text("opening"))?;
    let repaired = database.begin().and_then(|transaction| transaction.commit(CommitOptions::default()));
    repaired.map_err(text("taking the log over"))?;
    let newest = database.refresh().map_err(text("following"))?;
    if let Some(step) = &in_flight {
        if newest.0 == model.newest() + 1
            && let Some(tables) = model.outcome(&step.action)
        {
            // Its time was told to nobody.
            let time = database.commit_time(newest).map_err(text("a time"))?;
            model.push(tables, time.0);
            sweep.in_flight_kept += 1;
            if let Action::Commit { id: Some(id), .. } = &step.action {
                model.ids.insert(id.clone(), newest.0);
            }
        }
        settle_tag(&database, model, &step.action)?;
        if let Action::Retain { .. } = &step.action {
            let gone = crate::perform::gone(&database).map_err(text("what is gone"))?;
            if gone != model.gone {
                model.accept(&step.action, &Done::Retained { gone })?;
            }
        }
    }
    check::everything(&database, model)?;
    check::verified(&database)?;
    // And it goes on.
    let mut next = Scenario::new(newest.0, Shape::default());
    let mut action = next.commit(model.tables());
    if let Action::Commit { id, .. } = &mut action {
        // Another scenario's id may have been given before.
        *id = None;
    }
    let done = crate::perform(&database, None, &action).map_err(text("going on"))?;
    model.accept(&action, &done)?;
    database.checkpoint().map_err(text("a checkpoint"))?;
    check::heads(&database, model)?;
    check::version_equals(&database, model, model.newest())
}

/// A tag that was being set or removed is as before, or as it was to be.
fn settle_tag(database: &Database, model: &mut Model, action: &Action) -> Result<(), String> {
    let (name, after) = match action {
        Action::Tag { name, version } => (name, Some(*version)),
        Action::Untag { name } => (name, None),
        _ => return Ok(()),
    };
    let tags = database.tags().map_err(|error| error.to_string())?;
    let found = tags.iter().find(|tag| tag.name == *name).map(|tag| tag.version.0);
    if found != after {
        return Ok(());
    }
    match after {
        Some(version) => drop(model.tags.insert(name.clone(), version)),
        None => drop(model.tags.remove(name)),
    }
    Ok(())
}
