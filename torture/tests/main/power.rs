//! Power cuts and kills on a simulated disk, at every operation.

use crate::model::seeds;
use asof_torture::Shape;
use asof_torture::sim::story::matters;
use asof_torture::sim::{Plan, Story, explore};

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
