//! Statements as users write them, on real databases in temporary directories.

mod clauses;
mod duckdb;
mod hostile;
mod ranges;
mod slt;
mod support;
