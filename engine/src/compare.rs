//! What differs between two versions, table by table: how each table was, how it is, and what was counted on the way.
//!
//! Which tables may differ is known from metadata. What does differ in one of them is known once its net changes
//! ([`Database::diff`]) were counted.

mod schema_changes;

pub use schema_changes::SchemaChange;

use crate::api::{Counts, DiffKind, TableInfo};
use crate::database::Database;
use crate::error::Result;
use crate::snapshot::Snapshot;
use arrow::array::{AsArray, RecordBatch};
use asof_mvcc::Version;
use std::collections::BTreeSet;

/// A table at two versions: how it was, how it is, and what was counted of the changes between.
#[derive(Clone, Debug)]
pub struct TableDiff {
    /// Its full name.
    pub name: String,
    /// The table at the earlier version, if it was there.
    pub before: Option<TableInfo>,
    /// The table at the later version, if it is there.
    pub after: Option<TableInfo>,
    /// Changes counted so far.
    pub counts: Counts,
}

impl TableDiff {
    /// Rows at the earlier version.
    pub fn rows_before(&self) -> u64 {
        self.before.as_ref().map_or(0, |info| info.rows)
    }

    /// Rows at the later version.
    pub fn rows_after(&self) -> u64 {
        self.after.as_ref().map_or(0, |info| info.rows)
    }

    /// Whether rows or schema may differ, or did in between: known without reading any row.
    pub fn may_differ(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => (before.id, before.changed) != (after.id, after.changed),
            _ => true,
        }
    }

    /// Whether anything does differ, once the changes are counted.
    pub fn differs(&self) -> bool {
        self.counts != Counts::default() || !self.schema_changes().is_empty()
    }

    /// How the schema differs.
    pub fn schema_changes(&self) -> Vec<SchemaChange> {
        schema_changes::between(self.before.as_ref(), self.after.as_ref())
    }

    /// Counts a change by the name it has in a diff. The image before an update is not counted: the one after is.
    pub fn count(&mut self, change: &str) {
        match change {
            "insert" => self.counts.inserted += 1,
            "update_postimage" => self.counts.updated += 1,
            "delete" => self.counts.deleted += 1,
            _ => {}
        }
    }
}

impl Database {
    /// The tables that either of two versions has, by name, or the one of a name; nothing is counted. Refused where one of
    /// them is gone.
    pub fn tables_between(&self, from: Version, to: Version, table: Option<&str>) -> Result<Vec<TableDiff>> {
        let (before, after) = (self.snapshot(from)?, self.snapshot(to)?);
        let names_of = |snapshot: &Snapshot| match table {
            None => snapshot.all_table_names(),
            Some(name) => Ok(snapshot.had_table(name).then(|| name.to_string()).into_iter().collect()),
        };
        let (before_names, after_names) = (names_of(&before)?, names_of(&after)?);
        let names: BTreeSet<&String> = before_names.iter().chain(&after_names).collect();
        let info = |snapshot: &Snapshot, names: &[String], name: &String| -> Result<Option<TableInfo>> {
            names.contains(name).then(|| snapshot.table(name)).transpose()
        };
        names
            .into_iter()
            .map(|name| {
                Ok(TableDiff {
                    before: info(&before, &before_names, name)?,
                    after: info(&after, &after_names, name)?,
                    name: name.clone(),
                    counts: Counts::default(),
                })
            })
            .collect()
    }

    /// The tables that either of two versions has, and those that were made and dropped between them, by name, or the one
    /// of a name.
    pub fn tables_within(&self, from: Version, to: Version, table: Option<&str>) -> Result<Vec<TableDiff>> {
        let mut tables = self.tables_between(from, to, table)?;
        for past in self.snapshot(to)?.past_tables(table) {
            let was_there = past.ranges().iter().any(|range| range.last >= from);
            if was_there && tables.iter().all(|table| table.name != past.name()) {
                let name = past.name().to_string();
                tables.push(TableDiff { name, before: None, after: None, counts: Counts::default() });
            }
        }
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    /// Counts the net changes of those of the tables that may differ, between the versions they were asked for.
    pub fn count_changes(&self, from: Version, to: Version, tables: &mut [TableDiff]) -> Result<()> {
        for table in tables.iter_mut().filter(|table| table.may_differ()) {
            for batch in self.diff(from, to, &table.name, DiffKind::Net)? {
                change_types(&batch?).for_each(|change| table.count(change));
            }
        }
        Ok(())
    }
}

/// The names of the changes in a diff's batch.
pub fn change_types(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    let column = batch.column_by_name("_change_type").expect("every batch of a diff has it");
    column.as_string::<i32>().iter().map(|name| name.unwrap_or_default())
}
