//! Torture for asof: scenarios of many operations by several processes, run against the engine and against a
//! [model] that knows nothing of it, while disks fail, power is cut and processes die.
//!
//! A [`scenario::Scenario`] makes [`Step`]s from a seed. [`perform()`] does one on a database; what it answers goes to
//! [`Model::accept`], which says whether that can be. [`check`] compares a whole database with the model. These four
//! know nothing of the disk below: [`sim`] puts a simulated one there, [`real`] kills processes and cuts the power of
//! real ones.
//!
//! Invariant: the same seed makes the same steps, on any disk and any machine.

pub mod chance;
pub mod check;
pub mod crew;
pub mod gone;
pub mod model;
pub mod perform;
#[cfg(feature = "planted")]
pub mod planted;
pub mod real;
pub mod scenario;
pub mod sim;
pub mod step;

pub use chance::Chance;
pub use crew::{Crew, Trouble};
pub use gone::Gone;
pub use model::Model;
pub use perform::{Done, perform};
pub use scenario::{Scenario, Shape};
pub use step::{Action, Change, Step};
