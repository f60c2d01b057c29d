//! The part of the checks of reliability that needs nothing but memory: `reliability [--long] [--first-seed N]
//! [--threads N] [--skip-planted]`.
//!
//! Prints what was done, how often, from which seeds, and what was wrong; fails where anything was, or where a planted
//! bug was not noticed. The short form is for every change, the long one for a night; another first seed is another
//! run.

use asof_torture::Shape;
use asof_torture::planted::catch;
use asof_torture::sim::{Explored, Plan, Rot, Story, Sweep, Swept, explore, rot, soak, stale, story, sweep};
use asof_wal::planted::Bug;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

/// How much is done.
struct Amount {
    threads: usize,
    /// Seeds of scenarios without faults.
    scenarios: Range<u64>,
    /// Seeds of stories that are cut at every operation.
    every: Range<u64>,
    /// Random outcomes of each of those cuts.
    random: u64,
    /// Seeds of longer stories, cut at one operation in so many.
    sampled: (Range<u64>, u64),
    /// Seeds of sweeps, and one call in how many.
    sweeps: (Range<u64>, u64),
    /// One byte in so many is flipped.
    rot_one_in: usize,
}

const USAGE: &str = "usage: reliability [--long] [--first-seed N] [--threads N] [--skip-planted]";

fn main() -> ExitCode {
    let (mut long, mut threads, mut planted, mut first) = (false, 2, true, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--long" => long = true,
            "--skip-planted" => planted = false,
            "--threads" => match arguments.next().and_then(|count| count.parse().ok()) {
                Some(count) => threads = count,
                None => return usage(),
            },
            "--first-seed" => match arguments.next().and_then(|seed| seed.parse::<u32>().ok()) {
                Some(seed) => first = u64::from(seed),
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    let seeds = |from: u64, count: u64| first + from..first + from + count;
    let amount = if long {
        Amount {
            threads,
            scenarios: seeds(0, 200),
            every: seeds(0, 40),
            random: 6,
            sampled: (seeds(1000, 50), 6),
            sweeps: (seeds(0, 6), 1),
            rot_one_in: 1,
        }
    } else {
        Amount {
            threads,
            scenarios: seeds(0, 24),
            every: seeds(0, 6),
            random: 2,
            sampled: (seeds(1000, 16), 12),
            sweeps: (seeds(0, 3), 3),
            rot_one_in: 7,
        }
    };
    // A panic is a finding, told with the rest.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let mut wrong = Vec::new();
    wrong.extend(scenarios(&amount));
    wrong.extend(power_cuts(&amount));
    wrong.extend(faults(&amount));
    wrong.extend(bit_rot(&amount));
    if planted {
        wrong.extend(bugs(threads));
    }
    println!("\n{} wrong, after {} s", wrong.len(), began.elapsed().as_secs());
    for line in &wrong {
        println!("  {line}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tells of what is wrong as it is found: a long run is read before its end.
fn tell(wrong: &[String]) {
    wrong.iter().for_each(|what| eprintln!("wrong: {what}"));
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Steps of a scenario without faults.
const STEPS: u64 = 80;

/// Scenarios without faults, and the same seed twice.
fn scenarios(amount: &Amount) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut steps, mut versions, mut gone) = (0_u64, 0, 0);
    for seed in amount.scenarios.clone() {
        let shape = Shape { processes: 1 + seed as usize % 3, ..Shape::default() };
        steps += STEPS;
        match soak(seed, &shape, STEPS) {
            Ok(model) => (versions, gone) = (versions + model.newest(), gone + model.gone_count()),
            Err(what) => wrong.push(format!("scenario of seed {seed}: {what}")),
        }
    }
    let play =
        || Story::play(0, &Shape::default(), 40, |_, _| false).map(|story| (story.trace, story.operations));
    let (one, two) = (play(), play());
    if one.is_err() || one != two {
        wrong.push(format!("the same seed gave {one:?} and {two:?}"));
    }
    wrong.extend(stale(0).err().map(|what| format!("old records behind the log's end: {what}")));
    println!(
        "scenarios without faults   seeds {:?}: {steps} steps, {versions} versions, {gone} of tables let go; seed 0 \
         twice: the same {} disk operations",
        amount.scenarios,
        one.map_or(0, |(_, operations)| operations)
    );
    wrong
}

/// Cuts at every operation of some stories, and at random ones of others.
fn power_cuts(amount: &Amount) -> Vec<String> {
    let plan = Plan { threads: amount.threads, random: amount.random, ..Plan::default() };
    let mut all = Explored::default();
    let mut operations = 0;
    let play = |seed: u64, shape: &Shape, steps: u64, one_in: u64, all: &mut Explored| {
        let wanted =
            move |number: u64, operation| story::matters(operation) && (number + seed).is_multiple_of(one_in);
        match Story::play(seed, shape, steps, wanted) {
            Ok(story) => {
                let explored = explore(&story, &plan);
                tell(&explored.wrong);
                *all += explored;
                story.recorded.len() as u64
            }
            Err(wrong) => {
                all.wrong.push(wrong);
                0
            }
        }
    };
    let shape = Shape { checkpoint_in: 5, ..Shape::default() };
    for seed in amount.every.clone() {
        operations += play(seed, &shape, 16, 1, &mut all);
    }
    let every = all.cuts;
    let (seeds, one_in) = amount.sampled.clone();
    for seed in seeds.clone() {
        let shape = Shape { processes: 1 + seed as usize % 3, ..Shape::default() };
        operations += play(seed, &shape, 60, one_in, &mut all);
    }
    println!(
        "crashes                    {} ({} at every operation of seeds {:?}, the rest at operations of seeds {seeds:?}); \
         {operations} moments; {} crashes in a recovery; {} different disks; in flight and there: {}",
        all.cuts,
        every,
        amount.every,
        all.in_recovery,
        all.states.len(),
        all.kept
    );
    all.wrong
}

fn faults(amount: &Amount) -> Vec<String> {
    let mut all = Swept::default();
    let (seeds, one_in) = amount.sweeps.clone();
    for seed in seeds.clone() {
        let swept = sweep(&Sweep { seed, steps: 10, one_in, threads: amount.threads, first_only: false });
        tell(&swept.wrong);
        all += swept;
    }
    println!(
        "single faults              seeds {seeds:?}: {} calls, {} runs (EIO, no space, short write, interruption, read-only disk; once \
         and lasting); {} failed a step; {} failed syncs before a power cut, {} with a reader that lived on",
        all.calls, all.runs, all.failed, all.cut_after_sync, all.sync_with_reader
    );
    all.wrong
}

fn bit_rot(amount: &Amount) -> Vec<String> {
    let found = rot(&Rot { seed: 1, one_in: amount.rot_one_in, threads: amount.threads, first_only: false });
    println!(
        "bit rot                    {} files of {} bytes, in place and in a copy: {} flips, {} pages zeroed, {} \
         misdirected, {} files cut or removed; {} named by verification, {} harmless, {} an older end of a copied log",
        found.files,
        found.bytes,
        found.flips,
        found.pages,
        found.misdirected,
        found.cuts,
        found.named,
        found.harmless,
        found.older
    );
    found.wrong
}

fn bugs(threads: usize) -> Vec<String> {
    println!("planted bugs               caught by");
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let caught = catch(*bug, threads);
        println!("  {:<26} {:<24} {}", format!("{bug:?}"), caught.by.unwrap_or("NOTHING"), bug.what());
        if caught.by.is_none() {
            missed.push(format!("planted bug {bug:?} was not noticed"));
        }
    }
    missed
}
