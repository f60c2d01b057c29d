//! The command line's one test binary: the real `asof` run as a process, and the readers of its input.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "archive")]
mod archives;
mod cli;
mod input;
mod mounts;
mod processes;
