//! The command line's one test binary: the real `asof` run as a process, and the readers of its input.

mod cli;
mod input;
