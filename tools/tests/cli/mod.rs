//! One module per group of commands.

mod commits;
mod demo;
mod diff;
mod mount;
mod mounted_diff;
mod output;
mod reading;
mod retention;
mod salvage;
mod schemas;
#[cfg(feature = "sql")]
mod sql;
mod statuses;
pub mod support;
mod tags;
mod torture;
mod upkeep;
