//! The real `asof`, run as a process: what scripts rely on.

mod cli;
