//! The mount of asof: every past state of a database as a read-only directory of files.
//!
//! [`view::FileSystem`] is the file system in plain Rust, without a kernel: [`tree`] says which names and inodes there
//! are, [`days`] and [`nodes`] what is behind them. [`adapter`] puts it behind fuser, and [`mount()`] makes a mount of
//! it. What a user may see is written down in `SEMANTICS.md`:
//!
#![doc = include_str!("../SEMANTICS.md")]
//!
//! Invariants of absence: nothing here writes to a database, and no other crate knows fuser.

pub mod adapter;
pub mod answer;
pub mod attach;
pub mod attributes;
pub mod days;
pub mod errno;
pub mod error;
pub mod handles;
pub mod mount;
pub mod mount_point;
pub mod mount_table;
pub mod names;
pub mod nodes;
mod passthrough;
pub mod pool;
mod recent;
pub mod requests;
mod told;
pub mod tree;
pub mod view;

pub use error::{Error, Result};
pub use mount::{Ended, Mount, MountOptions, MountStatus, Unmounter, mount, mount_at_place, umount};
pub use mount_point::Place;
