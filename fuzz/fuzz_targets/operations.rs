//! Operations with crashes against a model that knows nothing of the engine: a scenario of a few processes, retention and
//! held snapshots among its steps, the power cut in several ways at one of its disk operations, and again while what is
//! left recovers.

#![no_main]

use asof_torture::Shape;
use asof_torture::sim::{Plan, Story, explore};
use libfuzzer_sys::fuzz_target;

// The scenario's seed and shape, and where it is cut.
fuzz_target!(|input: (u32, u8, u8, u8, u16)| {
    let (seed, steps, shape, often, at) = input;
    let shape = Shape {
        processes: 1 + usize::from(shape % 3),
        keys: 4 + u64::from(shape % 16),
        rows: 1 + u64::from(shape / 16),
        schemas: shape % 2 == 0,
        checkpoint_in: u64::from(often % 8),
        reopen_in: u64::from(often / 8 % 8),
    };
    let steps = 1 + u64::from(steps % 24);
    let operations = Story::play(seed.into(), &shape, steps, |_, _| false).expect("nothing fails").operations;
    let at = u64::from(at) % operations.max(1);
    let story =
        Story::play(seed.into(), &shape, steps, move |number, _| number == at).expect("nothing fails");
    let plan = Plan {
        random: 2,
        thorough_in: 1,
        recovery_in: 1,
        recovery_cuts: 1,
        depth: 2,
        threads: 1,
        first_only: true,
    };
    let explored = explore(&story, &plan);
    assert!(explored.wrong.is_empty(), "{:#?}", explored.wrong);
});
