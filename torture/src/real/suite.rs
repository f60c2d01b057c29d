//! All that needs no root, on one directory's disk, within a given time: what `asof torture` runs.

use super::child::ChildProgram;
use super::{Failure, cuts, flips, kills, sweep};
use crate::sim::story::matters;
use crate::sim::{Plan, Story, explore};
use crate::{Shape, real::Outcome};
use std::path::Path;
use std::time::{Duration, Instant};

/// Power cuts for each recorded run.
const CUTS_PER_RUN: u64 = 100;
/// Steps of a scenario that is killed at its calls, and of one on the simulated disk.
const STEPS: u64 = 25;

/// What one part did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// What was done, as a sentence without its first word.
    pub done: String,
    /// How many faults.
    pub faults: u64,
    /// The first thing that went wrong, if anything did.
    pub failure: Option<Failure>,
}

/// Runs every part below `dir`, which exists, in about so much time; `tell` is told of each as it ends. Ends with the
/// first part that finds something wrong, and leaves what it found.
pub fn run(
    child: &ChildProgram,
    dir: &Path,
    seed: u64,
    time: Duration,
    mut tell: impl FnMut(&Part),
) -> Vec<Part> {
    let mut parts = Vec::new();
    let shares: [(u32, &dyn Fn(Instant) -> Part); 5] = [
        (30, &|until| kills(child, dir, seed, until)),
        (20, &|until| sweep(child, dir, seed, until)),
        (25, &|until| cuts(dir, seed, until)),
        (15, &|until| simulated(dir, seed, until)),
        (10, &|until| flips(dir, seed, until)),
    ];
    for (share, part) in shares {
        let part = part(Instant::now() + time * share / 100);
        tell(&part);
        let failed = part.failure.is_some();
        parts.push(part);
        if failed {
            break;
        }
    }
    parts
}

/// A part of an outcome. Each does something at least, however little time there is.
fn part<T: Default>(
    name: &'static str,
    outcome: Outcome<T>,
    faults: impl Fn(&T) -> u64,
    done: impl Fn(&T) -> String,
) -> Part {
    match outcome {
        Ok(report) => Part { name, done: done(&report), faults: faults(&report), failure: None },
        Err(failure) => {
            Part { name, done: "something is wrong".to_string(), faults: 0, failure: Some(failure) }
        }
    }
}

fn kills(child: &ChildProgram, dir: &Path, seed: u64, until: Instant) -> Part {
    let ran = kills::run(child, dir, seed, |report| report.kills < 2 || Instant::now() < until);
    part(
        "kills",
        ran,
        |report| report.kills,
        |report| {
            format!(
                "{} processes killed within a call while another one wrote, {} of them while they repaired what the one \
             before had left; {} commits acknowledged, {} versions compared",
                report.kills, report.during_repair, report.acknowledged, report.compared
            )
        },
    )
}

fn sweep(child: &ChildProgram, dir: &Path, seed: u64, until: Instant) -> Part {
    // A stride that has no divisor in common with the three moments of a call.
    let ran = sweep::run(child, dir, seed, STEPS, 7, |report| report.kills < 2 || Instant::now() < until);
    part(
        "sweep",
        ran,
        |report| report.kills,
        |report| {
            format!(
                "{} processes killed at one call after the other of a scenario; {} commits acknowledged",
                report.kills, report.acknowledged
            )
        },
    )
}

fn cuts(dir: &Path, seed: u64, until: Instant) -> Part {
    let ran = cuts::run(dir, seed, CUTS_PER_RUN, |report| report.cuts < 2 || Instant::now() < until);
    part(
        "power cuts",
        ran,
        |report| report.cuts,
        |report| {
            format!(
                "{} power cuts rebuilt from recorded calls, {} of them during a recovery, {} different states; \
             {} versions compared",
                report.cuts,
                report.during_recovery,
                report.states.count(),
                report.compared
            )
        },
    )
}

fn flips(dir: &Path, seed: u64, until: Instant) -> Part {
    let ran = flips::run(dir, seed, |report| report.flips < 2 || Instant::now() < until);
    part(
        "bit flips",
        ran,
        |report| report.flips,
        |report| {
            format!(
                "{} bits flipped in copies: {} found, {} in bytes that nothing depends on; {} versions right, {} refused",
                report.flips, report.found, report.harmless, report.right, report.refused
            )
        },
    )
}

fn simulated(dir: &Path, seed: u64, until: Instant) -> Part {
    let (mut faults, mut states, mut in_recovery, mut stories) = (0, 0, 0, 0);
    let fail = |what: String| Some(super::failed(dir, seed, what));
    let mut failure = None;
    while failure.is_none() && (stories == 0 || Instant::now() < until) {
        let seed = seed.wrapping_add(stories);
        stories += 1;
        // A few operations of each of many stories.
        let wanted = move |number: u64, operation| matters(operation) && number % 8 == seed % 8;
        match Story::play(seed, &Shape::default(), STEPS, wanted) {
            Ok(story) => {
                let explored = explore(&story, &Plan { random: 1, ..Plan::default() });
                faults += explored.cuts;
                states += explored.states.len();
                in_recovery += explored.in_recovery;
                failure = explored.wrong.first().and_then(|wrong| fail(wrong.clone()));
            }
            Err(wrong) => failure = fail(wrong),
        }
    }
    let done = format!(
        "{faults} power cuts of a simulated disk, {in_recovery} of them during a recovery, {states} different states"
    );
    Part { name: "simulated", done, faults, failure }
}
