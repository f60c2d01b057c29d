//! Power cuts and kills on a simulated disk, at every operation.

use crate::model::seeds;
use asof_torture::sim::story::matters;
use asof_torture::sim::{Plan, Story, explore};
use asof_torture::{Action, Scenario, Shape, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_seed_replays_every_disk_operation() {
    for seed in 0..seeds(2) {
        let play = || Story::play(seed, &Shape::default(), 25, |_, _| false).expect("nothing fails");
        let (one, two) = (play(), play());
        assert_eq!((one.trace, one.operations), (two.trace, two.operations), "seed {seed}");
        let other = Story::play(seed + 1000, &Shape::default(), 25, |_, _| false).expect("nothing fails");
        assert_ne!(one.trace, other.trace);
    }
}

#[test]
fn old_records_behind_the_end_of_the_log_are_no_part_of_it() {
    for seed in 0..seeds(3) {
        let bytes = asof_torture::sim::stale(seed).expect("they are passed over");
        assert!(bytes > 0);
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_cut_at_any_operation() {
    for seed in 0..seeds(1) {
        let shape = Shape { checkpoint_in: 5, ..Shape::default() };
        let story = Story::play(seed, &shape, 12, |_, operation| matters(operation)).expect("nothing fails");
        let explored = explore(&story, &Plan { random: 1, ..Plan::default() });
        assert_eq!(explored.wrong, Vec::<String>::new(), "seed {seed}");
        println!(
            "seed {seed}: {} cuts, {} in recovery, {} states",
            explored.cuts,
            explored.in_recovery,
            explored.states.len()
        );
        assert!(explored.states.len() > 50, "only {} states", explored.states.len());
        assert!(explored.in_recovery > 10, "only {} in recoveries", explored.in_recovery);
    }
}

#[test]
fn what_is_let_go_is_there_or_gone_after_a_cut_at_any_operation_of_it() {
    /// Steps before versions are let go, and after.
    const STEPS: (u64, u64) = (16, 3);
    for seed in 0..seeds(1) {
        let begun = Arc::new(AtomicBool::new(false));
        let is_begun = begun.clone();
        let wanted = move |_, operation| matters(operation) && is_begun.load(Ordering::SeqCst);
        let mut scenario = Scenario::new(seed, Shape { checkpoint_in: 6, ..Shape::default() });
        let story = Story::play_steps(seed, 2, wanted, |index, model| {
            begun.store(index >= STEPS.0, Ordering::SeqCst);
            let process = index as usize % 2;
            match index {
                _ if index == STEPS.0 => {
                    Some(Step { process, action: Action::Retain { table: None, last: 2 } })
                }
                _ => (index <= STEPS.0 + STEPS.1).then(|| scenario.step(model)),
            }
        });
        let story = story.expect("nothing fails");
        assert!(story.model.gone_count() > 0, "seed {seed}: nothing went");
        let explored = explore(&story, &Plan { random: 1, ..Plan::default() });
        assert_eq!(explored.wrong, Vec::<String>::new(), "seed {seed}");
        println!("seed {seed}: {} cuts, {} kept", explored.cuts, explored.kept);
        assert!(explored.cuts > 100, "only {} cuts", explored.cuts);
    }
}
