//! Statements as users write them, on real databases in temporary directories.

mod clauses;
mod support;
