//! One module per group of commands.

mod blame;
mod commits;
mod demo;
mod diff;
mod feed;
#[cfg(feature = "sql")]
mod find;
mod history_page;
mod mount;
mod mounted_diff;
mod output;
mod reading;
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
