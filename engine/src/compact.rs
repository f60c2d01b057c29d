//! Compaction: parts the dead from the living, so that any version costs the same to read.
//!
//! `docs/compaction.md` tells which policy, and why. [`policy`] decides on counts alone, [`cells`] parts
//! dead rows by their lives.

pub mod cells;
pub mod policy;
