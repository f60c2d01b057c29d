//! One module per group of commands.

mod commits;
mod demo;
mod diff;
mod mount;
mod output;
mod reading;
mod schemas;
mod statuses;
pub mod support;
mod tags;
mod upkeep;
