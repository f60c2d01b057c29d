//! The write-ahead log of asof: bytes and files. It knows no tables and no rows, has no threads of its own and
//! nothing asynchronous. Only [`Disk`] touches files.
//!
//! A commit takes the [turn](Log::take_turn), catches up with what others wrote, appends, drops the turn and
//! [waits](Log::wait):
//!
//! ```
//! use asof_wal::{Log, LogOptions, RealDisk};
//! use std::{sync::Arc, time::Duration};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("asof-wal-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&dir);
//! let log = Log::create(Arc::new(RealDisk), &dir, [7; 16], LogOptions::default())?;
//! let mut turn = log.take_turn(Duration::from_secs(5))?;
//! let mut read = Log::start();
//! for record in log.read_from(read)? {
//!     read = record?.next; // what other processes wrote
//! }
//! let ticket = turn.append(1, b"hello")?;
//! drop(turn); // others validate and append while this one syncs
//! log.wait(ticket)?; // durable
//! assert_eq!(log.read_from(Log::start())?.count(), 1);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok(())
//! # }
//! ```
#![doc = include_str!("../FORMAT.md")]

mod ahead;
mod disk;
mod error;
mod group;
mod head;
mod lock;
mod log;
pub mod planted;
mod position;
mod reader;
mod record;
mod recovery;
mod salvage;
mod segment;
mod sync;
mod turn;
mod watch;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "sim"))]
pub use disk::sim;
pub use disk::{DirEntry, Disk, DiskFile, FileId, LockKind, Metadata, OpenMode, RealDisk, SharedWords};
pub use error::Error;
pub use group::Ticket;
pub use log::{Access, Log, LogOptions, SegmentInfo};
pub use position::Position;
pub use reader::{Record, Records};
pub use salvage::Salvaged;
#[cfg(feature = "model")]
#[doc(hidden)]
pub use sync::model;
pub use turn::Turn;
