//! The command line's one test binary: the real `asof` run as a process, and the readers of its input.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod input;
mod mounts;
mod processes;
