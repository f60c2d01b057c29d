//! Compaction: parts the dead from the living, so that any version costs the same to read.
//!
//! `docs/compaction.md` tells which policy, and why. [`policy`] decides on counts alone, [`cells`] parts
//! dead rows by their lives, `keep` tells which rows stay, `rewrite` reads and writes the rows, `run` plans and installs.

pub mod cells;
pub(crate) mod keep;
pub mod policy;
pub(crate) mod rewrite;
pub(crate) mod run;

pub use policy::Parameters;
pub use run::{CompactionReport, CompactionStep};
