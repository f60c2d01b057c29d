//! One module per group of commands.

mod blame;
mod checksums;
mod commits;
mod demo;
mod diff;
mod exporting;
mod feed;
#[cfg(feature = "sql")]
mod find;
mod history_page;
mod interrupting;
mod mount;
mod mounted_diff;
mod output;
mod progress;
mod reading;
mod restoring;
mod retention;
mod salvage;
mod schemas;
#[cfg(feature = "sql")]
mod sql;
mod statuses;
pub mod support;
mod tags;
mod torture;
mod trace;
mod upkeep;
#[cfg(feature = "sql")]
mod walkthrough;
