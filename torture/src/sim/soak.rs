//! A scenario without faults, with readers that stay: each keeps the version it opened at, whatever is settled,
//! compacted and removed meanwhile.

use super::machine::{DB, Machine};
use crate::check;
use crate::model::Model;
use crate::scenario::{Scenario, Shape};
use asof_engine::Database;

/// One step in so many opens a reader.
const READER_IN: u64 = 8;

/// Plays so many steps, and checks all handles, all readers, and the database opened once more.
pub fn soak(seed: u64, shape: &Shape, steps: u64) -> Result<Model, String> {
    let machine = Machine::new(seed);
    let mut crew = machine.crew(shape.processes);
    let mut scenario = Scenario::new(seed, shape.clone());
    let mut model = Model::default();
    let mut readers: Vec<(Database, u64)> = Vec::new();
    for number in 0..steps {
        let step = scenario.step(&model);
        crew.play(&step, &mut model).map_err(|trouble| format!("seed {seed}, {step:?}: {trouble}"))?;
        if number % READER_IN == READER_IN - 1 {
            let options = machine.options(&machine.disk.process());
            let reader = Database::open_read_only(DB, options).map_err(|error| error.to_string())?;
            readers.push((reader, model.newest()));
        }
    }
    // What a reader has in its manifest it reads by that, without looking further.
    for (reader, opened_at) in &readers {
        let settled = reader.info().map_err(|error| error.to_string())?.checkpoint_version.0;
        for version in [settled, settled / 2] {
            check::version_equals(reader, &model, version.min(*opened_at))?;
        }
    }
    for process in 0..shape.processes {
        let database = crew.database(process).map_err(|error| error.to_string())?;
        check::everything(&database, &model).map_err(|wrong| format!("seed {seed}: {wrong}"))?;
    }
    for (reader, _) in &readers {
        check::heads(reader, &model).map_err(|wrong| format!("seed {seed}: a reader: {wrong}"))?;
    }
    crew.close_all();
    let database = crew.database(0).map_err(|error| error.to_string())?;
    check::everything(&database, &model)?;
    check::verified(&database)?;
    Ok(model)
}
