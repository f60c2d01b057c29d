//! Scenarios on a simulated disk, under a simulated clock.
//!
//! A [`Story`] is a scenario played once, with the disk kept as it was before each operation. The power is cut at each
//! of them in several ways, and [`recovery`] checks what is left: everything acknowledged is there, what was in flight
//! is there whole or not at all, and the database goes on working. While it recovers the disk is kept again, so that
//! crashes during recovery are found the same way, to any depth. [`sweep()`] fails every call in turn instead, [`rot()`] damages every byte.

pub mod explore;
pub mod machine;
pub mod recovery;
pub mod rot;
pub mod soak;
pub mod stale;
pub mod story;
pub mod sweep;

pub use explore::{Explored, Plan, explore};
pub use machine::Machine;
pub use recovery::{Thorough, recover};
pub use rot::{Rot, Rotten, rot};
pub use soak::soak;
pub use stale::stale;
pub use story::{Stage, Story};
pub use sweep::{Sweep, Swept, sweep};
