//! The storage engine of asof: an embedded table store that never forgets.
//!
//! Three types cooperate. A [`Database`] is a directory, opened by this process. A
//! [`Transaction`] gathers changes to several tables and commits them as the next [`Version`]. A
//! [`Snapshot`] is one version, pinned, whose tables are scanned as Arrow record batches or viewed
//! as files ([`view::View`]).
//!
//! Invariants of absence: there is no async here; nothing touches the database's files but through
//! [`asof_wal::Disk`] (the cache of rendered files, outside the database, uses the file system
//! directly), and no time but the clock's ([`clock::Clock`]) decides anything.
//!
#![doc = include_str!("../FORMAT.md")]

mod adapt;
#[cfg(test)]
mod allocations;
pub mod api;
pub mod asof;
mod checkpoint;
mod checksum;
pub mod clock;
pub mod codec;
mod commit;
pub mod compact;
pub mod compare;
mod copies;
mod counting;
mod cut;
mod database;
mod diff;
mod equal;
pub mod error;
mod files;
#[cfg(test)]
mod format_tests;
mod garbage;
mod generation;
mod gone;
pub mod guard;
mod history;
pub mod hold;
mod inspect;
pub mod json;
mod key_range;
mod layout;
mod lives;
mod load;
pub mod manifest;
#[cfg(all(test, feature = "model"))]
mod model_tests;
mod numbers;
mod once;
mod open_files;
pub mod options;
mod past;
mod pool;
mod queue;
mod replace;
mod replay;
mod resolve;
pub mod restore;
pub mod retention;
mod row_history;
mod salvage;
mod scan;
mod snapshot;
mod state;
mod store;
mod sums;
mod sync;
mod table_ends;
#[cfg(test)]
mod test_rows;
pub mod text;
mod transaction;
mod upkeep;
mod variable_bits;
pub mod view;

pub use api::*;
pub use asof::AsOf;
pub use asof_mvcc::column_type;
pub use asof_mvcc::{Check, Column, ColumnType, CommitTime, NestedField, TableSchema, Unit, Version};
pub use error::{Error, ErrorKind, Result};
pub use options::{CheckRows, Options, Upkeep};

/// The one arrow of the workspace.
pub use arrow;
/// The one parquet of the workspace.
pub use parquet;
