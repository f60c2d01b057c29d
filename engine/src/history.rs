//! Append-only files that grow with the number of commits and are searched by bisection.

pub mod changes;
pub mod commit_log;
pub mod ids;
