//! A scenario played once without faults, every disk operation kept, and what must be there at each.

use super::machine::Machine;
use crate::gone::Gone;
use crate::model::Model;
use crate::scenario::{Scenario, Shape};
use crate::step::{Action, Step};
use asof_wal::sim::{Image, Operation, Recorded};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a database says of itself besides its versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heads {
    /// The newest version.
    pub newest: u64,
    /// Tags.
    pub tags: BTreeMap<String, u64>,
    /// What is gone.
    pub gone: Gone,
}

impl Heads {
    /// Those of a model.
    pub fn of(model: &Model) -> Heads {
        Heads { newest: model.newest(), tags: model.tags.clone(), gone: model.gone.clone() }
    }
}

/// What is in flight at some time: the database is as before, or as after, or in between by whole versions.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Every version up to the newest that may be there.
    pub model: Arc<Model>,
    /// Acknowledged.
    pub before: Heads,
    /// Acknowledged when what is in flight is done.
    pub after: Heads,
    /// What is in flight, where what it lets go is known to nobody.
    pub retains: Option<Action>,
}

impl Stage {
    /// The model if this is what a database says of itself; or why that cannot be.
    pub fn settle(&self, found: &Heads) -> Result<Model, String> {
        let Heads { newest: found, tags, gone } = found;
        let found = *found;
        let (low, high) = (self.before.newest, self.after.newest);
        if found < low || found > high {
            return Err(format!("the newest version is {found}: acknowledged is {low}, in flight {high}"));
        }
        if *tags != self.before.tags && *tags != self.after.tags {
            let (before, after) = (&self.before.tags, &self.after.tags);
            return Err(format!("tags are {tags:?}: acknowledged is {before:?}, in flight {after:?}"));
        }
        let mut model = (*self.model).clone();
        model.versions.truncate(found as usize + 1);
        model.ids.retain(|_, version| *version <= found);
        model.tags = tags.clone();
        model.gone.clone_from(&self.before.gone);
        if let Some(Action::Retain { table, last }) = &self.retains
            && *gone != model.gone
        {
            model.may_let_go(table.as_deref(), *last, gone)?;
        } else if *gone != self.before.gone && *gone != self.after.gone {
            let (before, after) = (&self.before.gone, &self.after.gone);
            return Err(format!("gone is {gone:?}: acknowledged is {before:?}, in flight {after:?}"));
        }
        model.gone.clone_from(gone);
        Ok(model)
    }
}

/// A scenario that was played.
#[derive(Debug)]
pub struct Story {
    /// Its seed.
    pub seed: u64,
    /// What was done.
    pub steps: Vec<Step>,
    /// What was in flight, by mark.
    pub stages: Vec<Stage>,
    /// The disk before each operation that was kept.
    pub recorded: Vec<Recorded>,
    /// The hash of all disk operations.
    pub trace: u64,
    /// How many operations there were.
    pub operations: u64,
    /// The disk at the end, everything closed.
    pub last: Image,
    /// The model at the end.
    pub model: Model,
}

/// Words of the durable head are not worth a power cut each: it does not survive one.
pub fn matters(operation: Operation) -> bool {
    operation != Operation::Word
}

impl Story {
    /// Plays so many steps of a scenario, which must not fail.
    pub fn play(
        seed: u64,
        shape: &Shape,
        steps: u64,
        wanted: impl FnMut(u64, Operation) -> bool + Send + 'static,
    ) -> Result<Story, String> {
        let mut scenario = Scenario::new(seed, shape.clone());
        Story::play_steps(seed, shape.processes, wanted, |index, model| {
            (index < steps).then(|| scenario.step(model))
        })
    }

    /// Plays steps that are asked for one by one, until there are none.
    pub fn play_steps(
        seed: u64,
        processes: usize,
        wanted: impl FnMut(u64, Operation) -> bool + Send + 'static,
        mut next: impl FnMut(u64, &Model) -> Option<Step>,
    ) -> Result<Story, String> {
        let machine = Machine::new(seed);
        let mut crew = machine.crew(processes);
        let mut model = Model::default();
        let mut heads = vec![Heads::of(&model)];
        let mut steps = Vec::new();
        machine.disk.record(wanted);
        while let Some(step) = next(steps.len() as u64, &model) {
            machine.disk.mark(steps.len() as u64);
            crew.play(&step, &mut model)
                .map_err(|trouble| format!("seed {seed}, step {}: {step:?}: {trouble}", steps.len()))?;
            heads.push(Heads::of(&model));
            steps.push(step);
        }
        crew.close_all();
        let whole = Arc::new(model.clone());
        let stage = |heads: &[Heads]| Stage {
            model: whole.clone(),
            before: heads[0].clone(),
            after: heads[1].clone(),
            retains: None,
        };
        Ok(Story {
            seed,
            stages: heads.windows(2).map(stage).collect(),
            steps,
            recorded: machine.disk.recorded(),
            trace: machine.disk.trace(),
            operations: machine.disk.operations(),
            last: machine.disk.image(),
            model,
        })
    }

    /// What was in flight when something was recorded.
    pub fn stage(&self, recorded: &Recorded) -> &Stage {
        &self.stages[recorded.mark as usize]
    }
}
