//! Statements as users write them, on real databases in temporary directories.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clauses;
mod hostile;
mod slt;
mod support;
