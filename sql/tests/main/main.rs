//! Statements as users write them, on real databases in temporary directories.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clauses;
mod duckdb;
mod hostile;
mod ranges;
mod slt;
mod support;
