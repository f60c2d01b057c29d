//! Statements as users write them, on real databases in temporary directories.

mod clauses;
mod hostile;
mod slt;
mod support;
