//! Shows that planted bugs are caught, and by which check.
//!
//! Bugs are switched on for the whole process: nothing else may run beside this.

use crate::scenario::Shape;
use crate::sim::{Plan, Rot, Story, Sweep, explore, rot, soak, stale, story, sweep};
use asof_wal::planted::{Bug, plant};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a bug was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The bug.
    pub bug: Bug,
    /// The check that caught it first; none where nothing did.
    pub by: Option<&'static str>,
    /// What that said.
    pub finding: String,
}

/// The check to begin with: the others follow where it finds nothing.
fn likely(bug: Bug) -> &'static str {
    match bug {
        Bug::SyncErrorIgnored | Bug::PoisonIgnored | Bug::ShortWriteIgnored => FAULT,
        Bug::RecordChecksumIgnored
        | Bug::SyncedThroughIgnored
        | Bug::LogRetiredTooEarly
        | Bug::BlockChecksumIgnored
        | Bug::IndexChecksumIgnored
        | Bug::FrameDigestIgnored
        | Bug::CommitIndexChecksumIgnored => ROT,
        Bug::StaleRecordReplayed => STALE,
        Bug::EarlyAcknowledgement
        | Bug::EndsFileForgotten
        | Bug::CheckpointSettlesTooMuch
        | Bug::IdsForgotten
        | Bug::CatchUpSkipped
        | Bug::ConflictsIgnored
        | Bug::RefusedTablesKept
        | Bug::LeaseIgnored
        | Bug::ClockTrusted
        | Bug::EndsEntryForgotten
        | Bug::CopiesClaimTooMuch
        | Bug::CopiesNotKept
        | Bug::CompactionDropsRow
        | Bug::CompactionMovesEnds
        | Bug::LoadLockIgnored
        | Bug::LoadedKeysNotChecked
        | Bug::LoadedFilesForgotten
        | Bug::KeyFilterDenies
        | Bug::TagsKeepNothing
        | Bug::GoneForgotten
        | Bug::KeptRowsGo => SCENARIO,
        _ => CRASH,
    }
}

const SCENARIO: &str = "scenario without faults";
const CRASH: &str = "power cut or kill";
const FAULT: &str = "single fault";
const STALE: &str = "old records behind";
const ROT: &str = "bit rot";

type Check = fn(usize) -> Option<String>;

/// All checks.
const CHECKS: [(&str, Check); 5] =
    [(STALE, old_records), (SCENARIO, scenarios), (CRASH, power_cuts), (FAULT, faults), (ROT, damage)];

/// Switches a bug on and runs checks until one of them finds something.
pub fn catch(bug: Bug, threads: usize) -> Catch {
    plant(Some(bug));
    let mut caught = Catch { bug, by: None, finding: String::new() };
    let likely = likely(bug);
    let first = CHECKS.iter().filter(|(name, _)| *name == likely);
    for (name, check) in first.chain(CHECKS.iter().filter(|(name, _)| *name != likely)) {
        let found = catch_unwind(AssertUnwindSafe(|| check(threads)));
        let found = found.unwrap_or_else(|_| Some("it panics".to_string()));
        if let Some(finding) = found {
            (caught.by, caught.finding) = (Some(*name), finding);
            break;
        }
    }
    plant(None);
    caught
}

fn scenarios(_: usize) -> Option<String> {
    let shape = Shape { checkpoint_in: 5, ..Shape::default() };
    (0..6).find_map(|seed| soak(seed, &shape, 60).err())
}

fn old_records(_: usize) -> Option<String> {
    stale(1).err()
}

fn power_cuts(threads: usize) -> Option<String> {
    (0..4).find_map(|seed| {
        let shape = Shape { checkpoint_in: 5, ..Shape::default() };
        let played = Story::play(seed, &shape, 14, |_, operation| story::matters(operation));
        let story = match played {
            Ok(story) => story,
            Err(wrong) => return Some(wrong),
        };
        let plan =
            Plan { threads, random: 3, thorough_in: 8, recovery_in: 4, first_only: true, ..Plan::default() };
        explore(&story, &plan).wrong.into_iter().next()
    })
}

fn faults(threads: usize) -> Option<String> {
    (0..2).find_map(|seed| {
        let found = sweep(&Sweep { seed, steps: 8, one_in: 2, threads, first_only: true });
        found.wrong.into_iter().next()
    })
}

fn damage(threads: usize) -> Option<String> {
    rot(&Rot { seed: 1, one_in: 5, threads, first_only: true }).wrong.into_iter().next()
}
