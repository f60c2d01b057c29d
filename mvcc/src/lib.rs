//! Versions, schemas, keys, the multi-version memtable and conflict rules of asof.
//!
//! This crate is pure state. Invariants of absence: it does no I/O, reads no clock, starts no
//! thread and knows neither the log nor files. What happened and when is told to it; it answers
//! what is visible at a [`Version`].

pub mod catalog;
pub mod column_type;
pub mod conflict;
pub mod key;
pub mod memtable;
pub mod schema;
pub mod version;

pub use catalog::{Catalog, Table, TableId};
pub use column_type::{ColumnType, NestedField, TypeError, Unit};
pub use conflict::{RecentWrites, Refusal};
pub use key::{KeyBytes, KeyError, Keys};
pub use memtable::{FileId, MemBatch, Memtable, Selection, Slot};
pub use schema::{Column, SchemaError, TableSchema};
pub use version::{CommitTime, Version};
