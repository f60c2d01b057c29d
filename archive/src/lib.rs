//! Archives of databases: point-in-time recovery, and reading the past without recovering it. Copies of live databases
//! too, which take hold of one in the same way.
//!
//! Five parts cooperate. An [`Archive`] is a place with objects that never change: a directory, or what lies below a URL
//! of an object store. An [`Archiver`] ships to it what a database has more than it. [`ArchiveDisk`] shows it as a
//! database's files, so that the engine opens it for reading. [`recover`] makes a database of it again, at any version
//! that [`plan`] finds reachable, and [`rehearse`] tries that out. [`backup`] copies a database into another directory.
//!
//! Invariants of absence: only this crate knows object_store, and its runtime is its own. What the engine thinks of a
//! file's bytes is none of its concern, but for manifests and for where a commit ends in the log.
//!
#![doc = include_str!("../FORMAT.md")]

mod archive;
pub mod backup;
mod cache;
mod copy;
mod disk;
mod hex;
mod index;
mod open;
mod pieces;
pub mod plan;
pub mod recover;
pub mod rehearse;
mod sealed;
mod ship;
mod shipment;
mod status;
mod store;
mod workers;

pub use archive::Archive;
pub use disk::ArchiveDisk;
pub use index::Index;
pub use open::{is_archive, open_database, open_earlier};
pub use plan::Plan;
pub use ship::{Archiver, Shipped};
pub use status::{Behind, Status, status};
