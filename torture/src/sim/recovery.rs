//! Opens what a crash left, compares it with what must be there, and goes on working with it.

use super::machine::{DB, Machine};
use super::story::{Heads, Stage, matters};
use crate::chance::Chance;
use crate::check;
use crate::gone::Gone;
use crate::model::Model;
use crate::perform;
use crate::scenario::{Scenario, Shape};
use crate::step::{Action, Step};
use asof_engine::{CommitOptions, Database};
use asof_wal::sim::{Recorded, SimDisk};
use std::path::Path;
use std::sync::Arc;

/// How much is looked at after a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thorough {
    /// The newest version and a few others, and one commit more.
    Glance,
    /// Every version and every change; commits, a checkpoint, reopening, verification.
    Everything,
}

/// A recovery that found what must be there.
#[derive(Debug)]
pub struct Recovered {
    /// The newest version found.
    pub found: u64,
    /// Operations that it took, what came after included.
    pub operations: u64,
    /// The disk before each operation, where that was asked for.
    pub recorded: Vec<Recorded>,
    /// What was in flight, by mark.
    pub stages: Vec<Stage>,
}

fn failed(what: &'static str) -> impl Fn(asof_engine::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Recovers. `keep` says whether the disk is kept before each operation on the way.
pub fn recover(
    disk: SimDisk,
    stage: &Stage,
    thorough: Thorough,
    seed: u64,
    keep: bool,
) -> Result<Recovered, String> {
    let machine = Machine::with_disk(disk, seed);
    let mut chance = Chance::new(seed);
    if keep {
        machine.disk.record(|_, operation| matters(operation));
    }
    let mut stages = vec![stage.clone()];
    // A reader that comes first sees a version that stays.
    let reader = if chance.one_in(2) { read_first(&machine, stage)? } else { None };

    let mut crew = machine.crew(2);
    let database = crew.database(0).map_err(failed("opening after a crash"))?;
    // Whoever comes first may collect garbage before anybody has looked at what a dead writer left.
    let collects = chance.one_in(3);
    if collects {
        crew.database(1).and_then(|database| database.checkpoint()).map_err(failed("a checkpoint first"))?;
    }
    // What a dead writer left behind the durable head is served once a writer has made it durable.
    let repair = database.begin().and_then(|txn| txn.commit(CommitOptions::default()));
    if !repair.map_err(failed("taking a turn after a crash"))?.unchanged {
        return Err("an empty commit made a version".to_string());
    }
    let heads = heads_of(&database).map_err(failed("following after a crash"))?;
    let found = heads.newest;
    let mut model = stage.settle(&heads)?;
    if let Some((reader, seen)) = &reader {
        let now = reader.refresh().map_err(failed("a reader that was there before"))?.0;
        if *seen > found || now != found {
            return Err(format!("a reader saw version {seen}, then {now}; the writer found {found}"));
        }
        check::version_equals(reader, &model, *seen)?;
    }
    match thorough {
        Thorough::Everything => check::everything(&database, &model)?,
        Thorough::Glance => {
            check::heads(&database, &model)?;
            check::version_equals(&database, &model, found)?;
            for _ in 0..3 {
                check::version_equals(&database, &model, chance.below(found + 1))?;
            }
            let from = chance.below(found + 1);
            check::changes_equal(&database, &model, from, found)?;
        }
    }
    drop(database);
    let shape = Shape { processes: 2, checkpoint_in: 0, reopen_in: 0, ..Shape::default() };
    let mut scenario = Scenario::new(seed, shape).numbered_from(1_000_000 + chance.below(1 << 40));
    let checkpoint = thorough == Thorough::Everything || chance.one_in(4);
    let retain = Action::Retain { table: None, last: chance.below(4) };
    let compact = Action::Compact { by_hand: true };
    let kinds = [None, Some(Action::Checkpoint), None, Some(compact), None, Some(retain)];
    for (index, kind) in kinds.into_iter().enumerate() {
        if index > 0 && !checkpoint {
            break;
        }
        let action = kind.unwrap_or_else(|| scenario.commit(model.tables()));
        let step = Step { process: index % 2, action };
        let before = Heads::of(&model);
        machine.disk.mark(stages.len() as u64);
        crew.play(&step, &mut model).map_err(|trouble| format!("going on with {step:?}: {trouble}"))?;
        let after = Heads::of(&model);
        stages.push(Stage { model: Arc::new(model.clone()), before, after, retains: None });
    }
    finish(&machine, crew, &model, thorough)?;
    if let Some((reader, _)) = &reader {
        check::heads(reader, &model)?;
        check::version_equals(reader, &model, chance.below(model.newest() + 1))?;
    }
    let recorded = machine.disk.recorded();
    Ok(Recovered { found, operations: machine.disk.operations(), recorded, stages })
}

/// A reader before any writer: whatever version it sees is right.
fn read_first(machine: &Machine, stage: &Stage) -> Result<Option<(Database, u64)>, String> {
    let options = machine.options(&machine.disk.process());
    if !Database::exists(DB, &options).map_err(failed("looking for the database"))? {
        return Ok(None);
    }
    let reader = Database::open_read_only(Path::new(DB), options).map_err(failed("reading first"))?;
    let seen = reader.refresh().map_err(failed("reading first"))?.0;
    if seen < stage.before.newest || seen > stage.after.newest {
        let (low, high) = (stage.before.newest, stage.after.newest);
        return Err(format!("the first reader sees version {seen}: acknowledged is {low}, in flight {high}"));
    }
    // No retention lets the newest version of a table go.
    let model = Model { gone: Gone::new(), ..(*stage.model).clone() };
    check::version_equals(&reader, &model, seen)?;
    Ok(Some((reader, seen)))
}

/// What a database says of itself.
fn heads_of(database: &Database) -> asof_engine::Result<Heads> {
    let newest = database.refresh()?.0;
    let tags = database.tags()?.into_iter().map(|tag| (tag.name, tag.version.0)).collect();
    Ok(Heads { newest, tags, gone: perform::gone(database)? })
}

/// What the last process leaves is there for the next.
fn finish(machine: &Machine, mut crew: crate::Crew, model: &Model, thorough: Thorough) -> Result<(), String> {
    if thorough == Thorough::Glance {
        let database = crew.database(0).map_err(failed("the same handle"))?;
        check::heads(&database, model)?;
        return check::version_equals(&database, model, model.newest());
    }
    crew.close_all();
    let options = machine.options(&machine.disk.process());
    let database = Database::open_read_only(Path::new(DB), options).map_err(failed("opening once more"))?;
    check::everything(&database, model)?;
    check::verified(&database)
}
