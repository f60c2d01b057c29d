//! Scenarios on a simulated disk, under a simulated clock.

pub mod machine;

pub use machine::Machine;
