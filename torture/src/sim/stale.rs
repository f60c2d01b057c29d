//! Old records behind the end of the log, as recycled blocks have them: they are no part of it.
//!
//! Commits of one length make records whose places agree from segment to segment, so that an old segment's bytes behind
//! the end of a newer one hold whole records, right in all but their segment, epoch and sequence.

use super::machine::{DB, Machine};
use crate::check;
use crate::model::Model;
use crate::step::{Action, Step};
use asof_engine::Database;
use asof_wal::sim::{Cut, SimDisk};
use asof_wal::{Access, Log, LogOptions};
use std::path::Path;
use std::sync::Arc;

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

/// How many bytes of old records were behind the end, and passed over; or what was wrong.
pub fn stale(seed: u64) -> Result<u64, String> {
    let mut machine = Machine::new(seed);
    let mut model = Model::default();
    let commit = |machine: &Machine, model: &mut Model, count: u64| {
        let mut crew = machine.crew(1);
        for _ in 0..count {
            let action = Action::Commit { changes: Vec::new(), allow_empty: true, id: None };
            crew.play(&Step { process: 0, action }, model).map_err(failed("committing"))?;
        }
        Ok::<(), String>(())
    };
    commit(&machine, &mut model, 6)?;
    // Without a durable head the tail is copied into a new segment, and written on in there.
    machine = Machine::with_disk(SimDisk::from_image(&machine.disk.image(), Cut::KeepAll), seed + 1);
    commit(&machine, &mut model, 1)?;
    let disk = SimDisk::from_image(&machine.disk.image(), Cut::KeepAll);
    let database = Database::open_read_only(DB, machine.options(&machine.disk.process()));
    let id = database.map_err(failed("opening"))?.id();
    let dir = Path::new(DB).join("wal");
    let reading = Arc::new(disk.process());
    let log = Log::open(reading, &dir, id, Log::start(), LogOptions::default(), Access::ReadOnly);
    let end = log.and_then(|log| log.durable()).map_err(failed("the log's end"))?;
    let path = |segment: u64| dir.join(format!("{segment:016x}.wal"));
    let old = disk.read(&path(1)).map_err(failed("the old segment"))?;
    let mut new = disk.read(&path(end.segment)).map_err(failed("the new segment"))?;
    let (from, to) = (end.offset as usize, old.len().min(new.len()));
    if end.segment < 2 || old[from..to].iter().all(|byte| *byte == 0) {
        return Err("the old segment has nothing behind the end of the new one".to_string());
    }
    new[from..to].copy_from_slice(&old[from..to]);
    disk.overwrite(&path(end.segment), &new).map_err(failed("the new segment"))?;
    let machine = Machine::with_disk(disk, seed + 2);
    let mut crew = machine.crew(1);
    let database = crew.database(0).map_err(failed("opening with old records behind the end"))?;
    check::everything(&database, &model)?;
    drop(database);
    let action = Action::Commit { changes: Vec::new(), allow_empty: true, id: None };
    crew.play(&Step { process: 0, action }, &mut model)
        .map_err(failed("going on with old records behind"))?;
    let database = crew.database(0).map_err(failed("opening"))?;
    check::everything(&database, &model)?;
    Ok((to - from) as u64)
}
