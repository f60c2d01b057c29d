//! Tests of the engine through its public surface, on a disk in memory and on real files.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what is not there fails, and says where")]

mod basics;
mod bitrot;
mod compaction;
mod counters;
mod cut;
mod dependency_graph;
mod diff_schemas;
mod diffs;
mod extremes;
mod faults;
mod full;
mod hostile;
mod isolation;
mod list_append;
mod load;
mod model;
mod nested_files;
mod past;
mod readers;
mod restoring;
mod retention;
mod scans;
mod spill;
mod stitched;
mod support;
mod text_files;
mod threads;
mod upkeep;
mod versions;
