//! A table at a version in parts that are read independently of one another, for readers with threads of their own.
//!
//! Invariant: the parts of one scan hold each row that is shown exactly once, and a part gives the same rows however
//! often it is read.

use super::{Life, Prepared, Question, memory_batches};
use crate::api::ScanOptions;
use crate::error::Result;
use crate::snapshot::versions_of_key;
use crate::state::State;
use crate::store::group_scan::GroupTask;
use crate::transaction::overlay::{Overlay, TransactionTable};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use asof_mvcc::{Keys, Table, TableSchema, Version};
use std::sync::Arc;

/// A part of a table at a version: what one row group shows, or rows that are in no file.
pub struct Part {
    question: Arc<Question>,
    source: Source,
    /// Keeps the files.
    state: Arc<State>,
}

enum Source {
    Group(Box<GroupTask>),
    Memory(RecordBatch),
    Overlay(Overlay),
    /// The rows of these keys.
    Keys {
        table: Arc<Table>,
        keys: Keys,
        version: Version,
    },
}

impl Part {
    pub(crate) fn all(
        state: &Arc<State>,
        table: &Table,
        schema: &TableSchema,
        version: Version,
        options: ScanOptions,
    ) -> Result<Vec<Part>> {
        let Prepared { question, runs, memtable, all } =
            Prepared::new(state, table, schema, version, options)?;
        let mut sources: Vec<Source> =
            runs.into_iter().flatten().map(|task| Source::Group(Box::new(task))).collect();
        if let Some(memtable) = memtable {
            let batches = memory_batches(&memtable.read(), table, &all, Life::VisibleAt(version))?;
            sources.extend(batches.into_iter().map(Source::Memory));
        }
        let question = Arc::new(question);
        let part = |source| Part { question: question.clone(), source, state: state.clone() };
        Ok(sources.into_iter().map(part).collect())
    }

    /// A table as a transaction sees it, as a single part.
    pub(crate) fn of_overlay(
        state: &Arc<State>,
        table: &Table,
        schema: &TableSchema,
        of: &TransactionTable,
        options: ScanOptions,
    ) -> Result<Part> {
        let (question, all) = Question::new(table, schema, options)?;
        let source = Source::Overlay(Overlay::new(of, all.columns, all.schema));
        Ok(Part { question: Arc::new(question), source, state: state.clone() })
    }

    /// The rows of some keys, found one by one.
    pub(crate) fn of_keys(
        state: &Arc<State>,
        table: &Arc<Table>,
        schema: &TableSchema,
        version: Version,
        keys: Keys,
        options: ScanOptions,
    ) -> Result<Part> {
        let (question, _) = Question::new(table, schema, options)?;
        let source = Source::Keys { table: table.clone(), keys, version };
        Ok(Part { question: Arc::new(question), source, state: state.clone() })
    }

    /// The schema of the batches: the projected columns.
    pub fn schema(&self) -> SchemaRef {
        self.question.schema.clone()
    }

    /// How many rows there may be, at most, where that is known.
    pub fn rows_at_most(&self) -> Option<usize> {
        match &self.source {
            Source::Group(task) => Some(task.rows_expected()),
            Source::Memory(rows) => Some(rows.num_rows()),
            Source::Overlay(_) => None,
            Source::Keys { keys, .. } => Some(keys.len()),
        }
    }

    /// The lowest and highest value of a column, or bounds of them, an array of one value each, where the statistics of a
    /// data file tell. Rows that the version does not show count as well.
    pub fn bounds(&self, column: &str) -> Result<Option<(ArrayRef, ArrayRef)>> {
        let column = self.question.columns.iter().find(|known| known.name == column);
        match (&self.source, column) {
            (Source::Group(task), Some(column)) => task.file.bounds(task.group, column),
            _ => Ok(None),
        }
    }

    /// The rows, in the caller's thread. A limit holds for each part by itself.
    pub fn read(&self) -> Result<Batches> {
        let question = self.question.clone();
        Ok(match &self.source {
            Source::Group(task) => Box::new(question.read((**task).clone())?.into_iter().map(Ok)),
            Source::Memory(rows) => Box::new(std::iter::once(question.pass(rows.clone()))),
            Source::Overlay(overlay) => Box::new(overlay.rows()?.map(move |rows| question.pass(rows?))),
            Source::Keys { table, keys, version } => {
                let life = Life::VisibleAt(*version);
                let mut found = Vec::new();
                for key in keys.iter() {
                    let rows = versions_of_key(&self.state, table, &question.columns, key, life)?;
                    found.extend(rows.into_iter().next().map(|chunk| question.pass(chunk.rows.slice(0, 1))));
                }
                Box::new(found.into_iter())
            }
        })
    }
}

/// Batches of rows.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("rows_at_most", &self.rows_at_most()).finish_non_exhaustive()
    }
}
