//! The archive's one test binary: histories shipped, damaged, recovered and copied, on real directories.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backups;
mod damage;
mod model;
mod shipping;
mod support;
