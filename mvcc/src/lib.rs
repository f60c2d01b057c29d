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
pub mod read_set;
pub mod schema;
pub mod timeline;
pub mod version;
pub mod write_set;

pub use catalog::{Catalog, Table, TableId};
pub use column_type::{ColumnType, NestedField, TypeError, Unit};
pub use conflict::{RecentWrites, Refusal};
pub use key::{KeyBytes, KeyError, Keys, decode_row_id};
pub use memtable::{FileId, MemBatch, Memtable, Selection, Slot};
pub use read_set::{KeyRange, ReadSet, TableReads};
pub use schema::{Check, Column, SchemaError, TableSchema};
pub use timeline::Timeline;
pub use version::{CommitTime, Version};
pub use write_set::{Expect, KeyWrite, Put, TableWrites, WriteError};
