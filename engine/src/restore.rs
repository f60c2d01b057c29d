//! Bringing back what was: what is asked for, and what came of it. [`crate::Transaction`] does it: `restore`,
//! `restore_rows`, `undrop` and `undo`, each a change like any other, that becomes one new version when it commits.

use crate::api::ChangeType;
use crate::error::Result;
use arrow::array::{BooleanArray, RecordBatch};
use asof_mvcc::{TableSchema, Version};
use std::sync::Arc;

/// Conflicts that are told of one by one, at most.
pub const CONFLICTS_TOLD_MAX: usize = 100;
/// Versions of a conflict that are told, at most: the newest.
pub const VERSIONS_TOLD_MAX: usize = 10;

/// Which rows are brought back: those that it holds for as they were or as they are.
pub type RowCondition<'a> = dyn Fn(&RecordBatch) -> Result<BooleanArray> + 'a;

/// What is done with a table.
#[derive(Clone, Debug)]
pub struct TableRestored {
    /// Its full name.
    pub name: String,
    /// What changes in its schema, for people.
    pub schema_changes: Vec<String>,
    /// Some of the rows that change, as many of each kind as were asked for.
    pub samples: Vec<RowSample>,
}

/// A row that changes.
#[derive(Clone, Debug)]
pub struct RowSample {
    /// What happens to it. The image before an update is followed by the one after.
    pub change: ChangeType,
    /// The columns shown.
    pub schema: Arc<TableSchema>,
    /// One row.
    pub row: RecordBatch,
}

/// What came of an undo.
#[derive(Clone, Debug)]
pub enum Undone {
    /// The transaction has the changes that take the commit back.
    Changed(Vec<TableRestored>),
    /// Others have changed the same since; the transaction is of no use any more.
    Conflicts(Conflicts),
}

/// What stands against an undo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// How many there are.
    pub count: u64,
    /// The first of them, [`CONFLICTS_TOLD_MAX`] at most.
    pub first: Vec<Conflict>,
}

/// One thing that a commit changed and that was changed again since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The table's full name.
    pub table: String,
    /// The key of a row, as typed; all values of a row without key; nothing where it is about the table.
    pub key: Option<String>,
    /// What is in the way.
    pub what: String,
    /// The versions that changed it since, ascending, [`VERSIONS_TOLD_MAX`] at most, and who made each.
    pub since: Vec<(Version, String)>,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "table {}", self.table)?;
        if let Some(key) = &self.key {
            write!(f, ", row {key}")?;
        }
        write!(f, ": {}", self.what)?;
        for (index, (version, who)) in self.since.iter().enumerate() {
            let before = if index == 0 { " by " } else { ", " };
            write!(f, "{before}version {version} ({who})")?;
        }
        Ok(())
    }
}

impl Conflicts {
    /// Takes note of one.
    pub(crate) fn add(&mut self, conflict: impl FnOnce() -> Result<Conflict>) -> Result<()> {
        self.count += 1;
        if self.first.len() < CONFLICTS_TOLD_MAX {
            self.first.push(conflict()?);
        }
        Ok(())
    }
}

/// Samples while they are gathered.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Of each kind, at most.
    most: usize,
    counts: [usize; 3],
    pub(crate) rows: Vec<RowSample>,
}

impl Samples {
    pub(crate) fn new(most: usize) -> Samples {
        Samples { most, ..Samples::default() }
    }

    /// How many of each kind are wanted.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether more of a kind are wanted; counts it then.
    fn wants(&mut self, kind: usize) -> bool {
        self.counts[kind] += 1;
        self.counts[kind] <= self.most
    }

    /// Takes note of a row as it is and as it will be.
    pub(crate) fn add(
        &mut self,
        schema: &Arc<TableSchema>,
        before: Option<(&RecordBatch, usize)>,
        after: Option<(&RecordBatch, usize)>,
    ) {
        let images = match (before, after) {
            (None, Some(after)) if self.wants(0) => vec![(ChangeType::Insert, after)],
            (Some(before), Some(after)) if self.wants(1) => {
                vec![(ChangeType::UpdatePreimage, before), (ChangeType::UpdatePostimage, after)]
            }
            (Some(before), None) if self.wants(2) => vec![(ChangeType::Delete, before)],
            _ => return,
        };
        let images = images.into_iter().map(|(change, (rows, row))| RowSample {
            change,
            schema: schema.clone(),
            row: rows.slice(row, 1),
        });
        self.rows.extend(images);
    }
}
