//! The storage engine of asof: an embedded table store that never forgets.
//!
//! Three types cooperate. A [`Database`] is a directory, opened by this process. A
//! [`Transaction`] gathers changes to several tables and commits them as the next [`Version`]. A
//! [`Snapshot`] is one version, pinned, whose tables are scanned as Arrow record batches or viewed
//! as files ([`view::View`]).
//!
//! Invariants of absence: there is no async here, and nothing touches files but through
//! [`asof_wal::Disk`]. Time comes from [`clock::Clock`] alone.

pub mod api;
pub mod asof;
pub mod clock;
/// Structures as bytes.
pub mod codec {
    pub mod columns;
}
pub mod error;
pub mod json;
pub mod options;
#[cfg(test)]
mod test_rows;
pub mod text;
pub mod view;

pub use api::*;
pub use asof::AsOf;
pub use asof_mvcc::column_type;
pub use asof_mvcc::{Column, ColumnType, CommitTime, NestedField, TableSchema, Unit, Version};
pub use error::{Error, ErrorKind, Result};
pub use options::Options;

/// The one arrow of the workspace.
pub use arrow;
/// The one parquet of the workspace.
pub use parquet;
