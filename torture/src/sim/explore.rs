//! Cuts the power at every operation of a story, in several ways, and again while what is left recovers.

use super::machine::{DB, Machine};
use super::recovery::{Thorough, recover};
use super::story::{Stage, Story};
use crate::chance::Chance;
use asof_engine::Database;
use asof_wal::sim::{Cut, Image, Recorded, SimDisk};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is tried at each operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Random outcomes of a cut at each operation, beside the plain ones.
    pub random: u64,
    /// One in so many recoveries is looked at whole.
    pub thorough_in: u64,
    /// One in so many recoveries is cut again at some of its operations; 0 for none.
    pub recovery_in: u64,
    /// How many cuts are made in each of those.
    pub recovery_cuts: u64,
    /// Crashes deep.
    pub depth: u32,
    /// Threads.
    pub threads: usize,
    /// Whether the first finding is enough.
    pub first_only: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            random: 2,
            thorough_in: 16,
            recovery_in: 16,
            recovery_cuts: 3,
            depth: 3,
            threads: 2,
            first_only: false,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Crashes: power cuts and kills of all processes.
    pub cuts: u64,
    /// Those of them that happened during a recovery.
    pub in_recovery: u64,
    /// Those after which what was in flight was there.
    pub kept: u64,
    /// Different disks that they left.
    pub states: BTreeSet<u64>,
    /// What was wrong, with how to repeat it.
    pub wrong: Vec<String>,
}

impl Explored {
    /// Adds what another exploration found.
    pub fn add(&mut self, other: Explored) {
        self.cuts += other.cuts;
        self.in_recovery += other.in_recovery;
        self.kept += other.kept;
        self.states.extend(other.states);
        self.wrong.extend(other.wrong);
    }
}

impl std::ops::AddAssign for Explored {
    fn add_assign(&mut self, other: Explored) {
        self.add(other);
    }
}

/// Whether others of many are still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    GoOn,
    /// What was found is enough.
    Stop,
}

impl Next {
    /// Stops where the first finding is enough and there is one.
    pub fn after(first_only: bool, wrong: &[String]) -> Next {
        if first_only && !wrong.is_empty() { Next::Stop } else { Next::GoOn }
    }
}

/// Does something for each of many, on several threads, and adds up what they found.
pub fn parallel<T: Sync, F: Default + Send + std::ops::AddAssign>(
    threads: usize,
    all: &[T],
    each: impl Fn(&T, &mut F) -> Next + Sync,
) -> F {
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(F::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut found = F::default();
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if each(one, &mut found) == Next::Stop {
                        next.store(all.len(), Ordering::Relaxed);
                    }
                }
                *sum.lock() += found;
            });
        }
    });
    sum.into_inner()
}

/// Explores what was recorded of a story.
pub fn explore(story: &Story, plan: &Plan) -> Explored {
    let mut explored = parallel(plan.threads, &story.recorded, |recorded, explored: &mut Explored| {
        let seed = story.seed.wrapping_mul(1_000_003).wrapping_add(recorded.number);
        let mut chance = Chance::new(seed);
        let place = format!("seed {}, operation {}", story.seed, recorded.number);
        let mut stage = story.stage(recorded).clone();
        // What a reader in another process can see now is on disk, whatever happens next.
        match seen_now(recorded) {
            Ok(Some(seen)) if seen <= stage.after.newest => {
                stage.before.newest = stage.before.newest.max(seen);
            }
            Ok(None) => {}
            seen => explored.wrong.push(format!("{place}: a reader sees {seen:?}")),
        }
        for cut in cuts(plan.random, &mut chance) {
            let crash = Crash { place: place.clone(), stage: &stage, recorded, cut, depth: 1 };
            explored_one(crash, plan, &mut chance, explored);
            if Next::after(plan.first_only, &explored.wrong) == Next::Stop {
                return Next::Stop;
            }
        }
        Next::GoOn
    });
    explored.wrong.sort();
    explored
}

/// The newest version that another process would see at this moment; none where there is no database yet.
fn seen_now(recorded: &Recorded) -> Result<Option<u64>, String> {
    let machine = Machine::with_disk(SimDisk::from_image(&recorded.image, Cut::Kill), 0);
    let options = machine.options(&machine.disk.process());
    if !Database::exists(DB, &options).map_err(|error| error.to_string())? {
        return Ok(None);
    }
    let reader = Database::open_read_only(DB, options).map_err(|error| error.to_string())?;
    Ok(Some(reader.refresh().map_err(|error| error.to_string())?.0))
}

fn cuts(random: u64, chance: &mut Chance) -> Vec<Cut> {
    let mut cuts = vec![Cut::Kill, Cut::LoseAll, Cut::KeepAll];
    cuts.extend((0..random).map(|_| Cut::Random(chance.number())));
    cuts
}

struct Crash<'a> {
    place: String,
    stage: &'a Stage,
    recorded: &'a Recorded,
    cut: Cut,
    depth: u32,
}

fn explored_one(crash: Crash<'_>, plan: &Plan, chance: &mut Chance, explored: &mut Explored) {
    let Crash { place, stage, recorded, cut, depth } = crash;
    let place = format!("{place} ({:?}), {cut:?}", recorded.operation);
    let disk = SimDisk::from_image(&recorded.image, cut);
    let state: Image = disk.image();
    explored.cuts += 1;
    explored.in_recovery += u64::from(depth > 1);
    // The same disk, while the same is in flight, has been looked at already.
    let mut stage_number = DefaultHasher::new();
    (depth, &stage.before, &stage.after).hash(&mut stage_number);
    if !explored.states.insert(state.hash() ^ stage_number.finish()) {
        return;
    }
    let thorough = match chance.one_in(plan.thorough_in) {
        true => Thorough::Everything,
        false => Thorough::Glance,
    };
    let seed = chance.number();
    let again = depth < plan.depth && plan.recovery_in > 0 && (depth > 1 || chance.one_in(plan.recovery_in));
    let recovered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        recover(disk, stage, thorough, seed, again)
    }));
    let recovered = match recovered {
        Ok(Ok(recovered)) => recovered,
        Ok(Err(wrong)) => return explored.wrong.push(format!("{place}: {wrong}")),
        Err(_) => return explored.wrong.push(format!("{place}: it panics")),
    };
    explored.kept += u64::from(recovered.found > stage.before.newest);
    for _ in 0..if again { plan.recovery_cuts } else { 0 } {
        let Some(recorded) = chance.pick(&recovered.recorded) else { continue };
        let all = cuts(3, chance);
        let cut = *chance.pick(&all).expect("there are several");
        let stage = &recovered.stages[recorded.mark as usize];
        let place = format!("{place}, then operation {}", recorded.number);
        explored_one(Crash { place, stage, recorded, cut, depth: depth + 1 }, plan, chance, explored);
    }
}
