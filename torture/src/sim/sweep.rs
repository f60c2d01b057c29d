//! One fault at each call to the disk: once, and from then on.
//!
//! A scenario is played again for every call and fault. What fails may be there or not; what was acknowledged stays,
//! on the same handle too; nothing panics, nothing reads wrong. Then the database is closed, killed, or the power is
//! cut, the disk is healed, and it works again. A reader is attached all the time.

use super::explore::{Next, parallel};
use super::machine::{DB, Machine};
use super::recovery::{Recovered, Thorough, recover};
use super::story::{Heads, Stage};
use crate::chance::Chance;
use crate::check;
use crate::crew::{Crew, Trouble};
use crate::model::Model;
use crate::perform;
use crate::scenario::{Scenario, Shape};
use crate::step::{Action, Step};
use asof_engine::{CommitOptions, Database};
use asof_wal::sim::{Cut, Fault, Operation, SimDisk};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// What is played.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Of the scenario.
    pub seed: u64,
    /// Its steps.
    pub steps: u64,
    /// One call in so many is failed.
    pub one_in: u64,
    /// Threads.
    pub threads: usize,
    /// Whether the first finding is enough.
    pub first_only: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Calls of the scenario.
    pub calls: u64,
    /// Runs, each with another fault.
    pub runs: u64,
    /// Runs in which some step failed.
    pub failed: u64,
    /// Failed syncs among them, after which the power was cut.
    pub cut_after_sync: u64,
    /// Failed syncs with a reader attached, who lived on while another writer repaired.
    pub sync_with_reader: u64,
    /// What was wrong, with how to repeat it.
    pub wrong: Vec<String>,
}

/// Faults that are tried.
pub const FAULTS: [Fault; 5] = [
    Fault::Error(ErrorKind::Other),
    Fault::Full,
    Fault::ShortWrite,
    Fault::Error(ErrorKind::Interrupted),
    Fault::ReadOnly,
];

/// Fails every call in turn.
pub fn sweep(sweep: &Sweep) -> Swept {
    let calls = {
        let machine = Machine::new(sweep.seed);
        let mut player = Player::new(machine, sweep);
        let played = player.play_up_to(sweep.steps);
        if let Err(failed) = played {
            let wrong = vec![format!("sweep of seed {} without a fault: {}", sweep.seed, failed.1)];
            return Swept { wrong, ..Swept::default() };
        }
        player.machine.disk.calls()
    };
    let runs: Vec<(u64, Fault, bool)> = (0..calls)
        .filter(|call| (call + sweep.seed).is_multiple_of(sweep.one_in.max(1)))
        .flat_map(|call| {
            FAULTS.into_iter().flat_map(move |fault| [(call, fault, false), (call, fault, true)])
        })
        .collect();
    let mut swept =
        parallel(sweep.threads, &runs, |(call, fault, lasting): &(u64, Fault, bool), swept: &mut Swept| {
            let place = format!("sweep of seed {}, call {call}, {fault:?}, lasting {lasting}", sweep.seed);
            swept.runs += 1;
            let run = || one(sweep, *call, *fault, *lasting, swept);
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                Ok(Ok(())) => {}
                Ok(Err(wrong)) => swept.wrong.push(format!("{place}: {wrong}")),
                Err(_) => swept.wrong.push(format!("{place}: it panics")),
            }
            Next::after(sweep.first_only, &swept.wrong)
        });
    swept.calls = calls;
    swept
}

impl Swept {
    /// Adds what another sweep found.
    pub fn add(&mut self, other: Swept) {
        self.calls += other.calls;
        self.runs += other.runs;
        self.failed += other.failed;
        self.cut_after_sync += other.cut_after_sync;
        self.sync_with_reader += other.sync_with_reader;
        self.wrong.extend(other.wrong);
    }
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, other: Swept) {
        self.add(other);
    }
}

struct Player {
    machine: Machine,
    crew: Crew,
    scenario: Scenario,
    model: Model,
    steps: u64,
    /// The process of the reader, and its handle once it could open the database.
    reading: SimDisk,
    reader: Option<Database>,
    /// The newest version that the reader saw.
    seen: u64,
}

impl Player {
    fn new(machine: Machine, sweep: &Sweep) -> Player {
        let shape = Shape { processes: 2, checkpoint_in: 4, reopen_in: 6, ..Shape::default() };
        let crew = machine.crew(shape.processes);
        let reading = machine.disk.process();
        let scenario = Scenario::new(sweep.seed, shape);
        Player { machine, crew, scenario, model: Model::default(), steps: 0, reading, reader: None, seen: 0 }
    }

    fn play_up_to(&mut self, steps: u64) -> Result<(), Box<(Step, Trouble)>> {
        while self.steps < steps {
            self.steps += 1;
            let step = self.scenario.step(&self.model);
            let played = self.crew.play(&step, &mut self.model);
            let read =
                if played.is_ok() { self.read(self.model.newest(), &self.model.clone()) } else { Ok(()) };
            match played.and(read.map_err(Trouble::Wrong)) {
                Ok(()) => {}
                Err(trouble) => return Err(Box::new((step, trouble))),
            }
        }
        Ok(())
    }

    /// The attached reader sees whole versions up to `newest`, never fewer than before. Where the disk fails it, it
    /// says so.
    fn read(&mut self, newest: u64, model: &Model) -> Result<(), String> {
        if self.reader.is_none() {
            let options = self.machine.options(&self.reading);
            self.reader = Database::open_read_only(Path::new(DB), options).ok();
        }
        let Some(reader) = &self.reader else { return Ok(()) };
        let Ok(seen) = reader.refresh() else { return Ok(()) };
        if seen.0 < self.seen || seen.0 > newest {
            let before = self.seen;
            return Err(format!("the reader sees version {seen} after {before}; the newest is {newest}"));
        }
        self.seen = seen.0;
        reads_right(reader, model, seen.0)
    }
}

/// A version reads as the model says, or an error tells that it cannot be read.
fn reads_right(database: &Database, model: &Model, version: u64) -> Result<(), String> {
    let texts =
        database.snapshot(asof_engine::Version(version)).and_then(|snapshot| perform::texts(&snapshot));
    let Ok(found) = texts else { return Ok(()) };
    let expected = &model.versions[version as usize].texts;
    let is_right =
        |name: &String| found.get(name).map(String::as_str) == expected.get(name).map(|text| &**text);
    if expected.keys().chain(found.keys()).all(is_right) {
        return Ok(());
    }
    Err(format!("version {version} reads {found:?}, not {expected:?}"))
}

fn one(sweep: &Sweep, call: u64, fault: Fault, lasting: bool, swept: &mut Swept) -> Result<(), String> {
    let machine = Machine::new(sweep.seed);
    match lasting {
        true => machine.disk.plan_calls_from(call, fault),
        false => machine.disk.plan_call(call, fault),
    }
    let mut player = Player::new(machine, sweep);
    let mut chance = Chance::new(call.wrapping_mul(8).wrapping_add(u64::from(lasting)) ^ sweep.seed << 32);
    let step = match player.play_up_to(sweep.steps) {
        Ok(()) => {
            // Nothing noticed it, or it was made good.
            player.machine.disk.heal();
            player.crew.close_all();
            let database = player.crew.database(0).map_err(|error| format!("opening again: {error}"))?;
            check::everything(&database, &player.model)?;
            return check::verified(&database);
        }
        Err(failed) => match *failed {
            (_, Trouble::Wrong(wrong)) => return Err(wrong),
            (step, Trouble::Failed(_)) => step,
        },
    };
    swept.failed += 1;
    let failed_sync = player.machine.disk.struck() == Some(Operation::Sync);
    let heads = Heads::of(&player.model);
    let model = Arc::new(player.model.clone());
    let mut stages = vec![Stage { before: heads.clone(), after: heads, model, retains: None }];
    in_flight(&mut stages[0], &step.action);

    // The same handle: what was acknowledged can be read unless the disk fails, and what it acknowledges now stays.
    if let Ok(database) = player.crew.database(step.process) {
        reads_right(&database, &player.model, player.model.newest())?;
        commit_on(&database, &mut stages)?;
    }
    // What a reader in another process sees is on disk.
    let (newest, model) = (stages[0].after.newest, stages[0].model.clone());
    player.read(newest, &model)?;
    for stage in &mut stages {
        stage.before.newest = stage.before.newest.max(player.seen.min(stage.after.newest));
    }
    let Player { machine, mut crew, reading, reader, .. } = player;
    machine.disk.heal();
    if chance.one_in(3) {
        crew.close_all();
    }
    let thorough = if chance.one_in(8) { Thorough::Everything } else { Thorough::Glance };
    if chance.one_in(2) {
        let cut = if chance.one_in(2) { Cut::LoseAll } else { Cut::Random(chance.number()) };
        let image = machine.disk.image();
        drop(crew);
        swept.cut_after_sync += u64::from(failed_sync);
        return recover_one_of(&stages, || SimDisk::from_image(&image, cut), thorough, chance.number())
            .map(|_| ())
            .map_err(|wrong| format!("{step:?} failed, then {cut:?}: {wrong}"));
    }
    // The writers are killed; the reader lives on.
    reading.kill_others();
    drop(crew);
    swept.sync_with_reader += u64::from(failed_sync && reader.is_some());
    let seed = chance.number();
    let disk = machine.disk.clone();
    let recovered = recover_one_of(&stages, || disk.clone(), thorough, seed)
        .map_err(|wrong| format!("{step:?} failed, then a kill: {wrong}"))?;
    let last = recovered.stages.last().expect("there is the first");
    if let Some(reader) = &reader {
        let newest = last.after.newest;
        let seen = reader.refresh().map_err(|error| format!("the reader that lived on: {error}"))?;
        if seen.0 != newest {
            return Err(format!("the reader that lived on sees version {seen}, not {newest}"));
        }
        check::version_equals(reader, &last.model, newest)?;
    }
    // Whoever repairs a tail that was never synced makes it durable before it acknowledges anything.
    let after = Stage { before: last.after.clone(), retains: None, ..last.clone() };
    let cut = SimDisk::from_image(&machine.disk.image(), Cut::LoseAll);
    recover(cut, &after, Thorough::Glance, chance.number(), false)
        .map(|_| ())
        .map_err(|wrong| format!("{step:?} failed, then a kill, then a power cut: {wrong}"))
}

/// Recovers, given that the database is as one of the stages says.
fn recover_one_of(
    stages: &[Stage],
    disk: impl Fn() -> SimDisk,
    thorough: Thorough,
    seed: u64,
) -> Result<Recovered, String> {
    let mut wrong = String::new();
    for stage in stages {
        match recover(disk(), stage, thorough, seed, false) {
            Ok(recovered) => return Ok(recovered),
            Err(other) => wrong = format!("{wrong}{}{other}", if wrong.is_empty() { "" } else { "; or " }),
        }
    }
    Err(wrong)
}

/// What a failed action may have left.
fn in_flight(stage: &mut Stage, action: &Action) {
    let model = Arc::make_mut(&mut stage.model);
    if let Some(tables) = model.outcome(action) {
        model.push(tables, 0);
        if let Action::Commit { id: Some(id), .. } = action {
            let newest = model.newest();
            model.ids.insert(id.clone(), newest);
        }
        stage.after.newest = model.newest();
    }
    match action {
        Action::Tag { name, version } => drop(stage.after.tags.insert(name.clone(), *version)),
        Action::Untag { name } => drop(stage.after.tags.remove(name)),
        Action::Retain { .. } => stage.retains = Some(action.clone()),
        _ => {}
    }
}

/// One more commit, of nothing, on a handle that has seen a fault.
fn commit_on(database: &Database, stages: &mut Vec<Stage>) -> Result<(), String> {
    let empty = CommitOptions { allow_empty: true, ..CommitOptions::default() };
    let committed = database.begin().and_then(|txn| txn.commit(empty));
    let time = committed.as_ref().map_or(0, |committed| committed.time.0);
    let stage = &mut stages[0];
    let (low, high) = (stage.before.newest, stage.after.newest);
    // As if what failed is not there.
    let mut without = stage.clone();
    let model = Arc::make_mut(&mut without.model);
    model.versions.truncate(low as usize + 1);
    model.ids.retain(|_, version| *version <= low);
    model.push(model.tables().clone(), time);
    without.after.newest = low + 1;
    let model = Arc::make_mut(&mut stage.model);
    model.push(model.tables().clone(), time);
    stage.after.newest = high + 1;
    match committed {
        Ok(committed) if committed.version.0 == high + 1 => stage.before.newest = high + 1,
        Ok(committed) if committed.version.0 == low + 1 => {
            without.before.newest = low + 1;
            *stage = without;
        }
        Ok(committed) => return Err(format!("version {} follows version {low}", committed.version)),
        // It may be there too, behind what failed or in its place.
        Err(_) if high > low => stages.push(without),
        Err(_) => {}
    }
    Ok(())
}
