//! What changed between two versions, as files: the net changes of a table, and what was counted of all tables.
//!
//! Both are rendered when they are first asked for, as a stream, and lie in the cache under both versions. Invariant:
//! the bytes are those that the command line prints.

use super::{Format, View, ViewKey, half, render, schema_digest};
use crate::api::{Diff, DiffKind};
use crate::compare::TableDiff;
use crate::database::Database;
use crate::diff::check_order;
use crate::error::Result;
use crate::json;
use crate::text::schema_of_arrow;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use asof_mvcc::Version;
use std::io::Write;
use std::sync::Arc;

/// Writes batches of a diff as a file, and gives the bytes written; `schema` is the diff's.
pub fn render_diff(
    format: Format,
    schema: &Schema,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    out: &mut dyn Write,
) -> Result<u64> {
    render(format, &schema_of_arrow(schema)?, batches, out)
}

impl Database {
    /// The net changes of a table in (from, to] as a file. [`crate::ErrorKind::NotFound`] where neither version has the
    /// table, [`crate::ErrorKind::Invalid`] where `from` is after `to`.
    pub fn diff_view(&self, from: Version, to: Version, table: &str, format: Format) -> Result<Arc<View>> {
        let (before, after) = (self.snapshot(from)?, self.snapshot(to)?);
        self.check_diff(from, to, table, DiffKind::Net)?;
        let schemas = [before.schema(table), after.schema(table)];
        if let [Err(_), Err(error)] = schemas {
            return Err(error);
        }
        check_order(from, to)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"asof diff 1").update(&from.0.to_le_bytes()).update(table.as_bytes());
        for schema in &schemas {
            hasher.update(&schema.as_ref().map_or([0; 16], |schema| schema_digest(schema)));
        }
        let id = after.table(table).or_else(|_| before.table(table))?.id;
        let key = self.key_of(id, to, hasher, format);
        let (database, table) = (self.clone(), table.to_string());
        let render = Box::new(move |out: &mut dyn Write| {
            let diff: Diff = database.diff(from, to, &table, DiffKind::Net)?;
            render_diff(format, &diff.schema(), diff, out)
        });
        View::new(self.inner.views().clone(), key, None, render).map(Arc::new)
    }

    /// What was inserted, updated and deleted in (from, to], and how schemas differ, of each table that differs: a
    /// document of JSON.
    pub fn diff_stat_view(&self, from: Version, to: Version) -> Result<Arc<View>> {
        check_order(from, to)?;
        self.snapshot(from)?.check_all_tables()?;
        self.snapshot(to)?.check_all_tables()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"asof diff stat 1").update(&from.0.to_le_bytes());
        // A document has no form of its own among those of tables.
        let key = self.key_of(0, to, hasher, Format::JsonLines);
        let database = self.clone();
        let render = Box::new(move |out: &mut dyn Write| {
            let mut tables: Vec<TableDiff> = database.tables_between(from, to, None)?;
            database.count_changes(from, to, &mut tables)?;
            let document = format!("{:#}\n", json::diff_stat_to_json(from, to, &tables));
            out.write_all(document.as_bytes())?;
            Ok(document.len() as u64)
        });
        View::new(self.inner.views().clone(), key, None, render).map(Arc::new)
    }

    fn key_of(&self, table: u32, to: Version, rest: blake3::Hasher, format: Format) -> ViewKey {
        ViewKey { lineage: self.inner.lineage(), table, changed: to, schema: half(&rest), format, layout: 0 }
    }
}
