//! Tests of the engine through its public surface, on a disk in memory and on real files.

mod basics;
mod counters;
mod model;
mod readers;
mod support;
mod threads;
