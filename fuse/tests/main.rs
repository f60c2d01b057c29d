//! The mount, tested without a kernel (`view`) and with one (everything else). Real mounts need /dev/fuse and the
//! right to mount; where these are missing the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod caches;
mod diffs;
mod digests;
mod exerciser;
mod holes;
mod kernel;
mod layouts;
mod lifecycle;
mod logs;
mod mutations;
mod semantics;
mod support;
mod tools;
mod view;
