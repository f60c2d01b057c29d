//! One module per group of commands.

mod checksums;
mod commits;
mod demo;
mod diff;
mod exporting;
mod mount;
mod mounted_diff;
mod output;
mod reading;
mod restoring;
mod salvage;
mod schemas;
#[cfg(feature = "sql")]
mod sql;
mod statuses;
pub mod support;
mod tags;
mod torture;
mod upkeep;
#[cfg(feature = "sql")]
mod walkthrough;
