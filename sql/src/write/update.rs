//! UPDATE, and what it shares with MERGE: rows that become other rows.

use super::cast::to_column;
use super::rows::column_of;
use super::{Done, Target, Writer, named, select};
use crate::error::{Error, Result};
use asof_engine::Counts;
use asof_engine::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use asof_engine::arrow::compute::kernels::cmp::not_distinct;
use asof_engine::arrow::compute::{and, filter_record_batch, not, take};
use asof_engine::arrow::datatypes::{Field, Schema};
use asof_engine::arrow::row::{RowConverter, SortField};
use datafusion::arrow::array::UInt32Array;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, SelectItem, Spanned, TableWithJoins, Update, UpdateTableFromKind,
    Value,
};
use std::collections::HashSet;
use std::sync::Arc;

/// What assignments say of each column of a table.
pub(super) struct Assigned {
    /// The value of each column: assigned, or that it has.
    pub(super) values: Vec<Expr>,
    /// Columns that get their default.
    pub(super) defaults: Vec<usize>,
}

impl Assigned {
    pub(super) fn of(target: &Target, assignments: &[Assignment]) -> Result<Assigned> {
        let columns = &target.schema.columns;
        let mut values: Vec<Option<Expr>> = vec![None; columns.len()];
        let mut defaults = Vec::new();
        for assignment in assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(Error::new("columns are set one by one").at(assignment.span().start));
            };
            let column = column_of(&target.schema, name)?;
            let index = columns.iter().position(|other| other.id == column.id).expect("it is one of them");
            if values[index].is_some() {
                return Err(
                    Error::new(format!("column '{}' is set twice", column.name)).at(name.span().start)
                );
            }
            values[index] = Some(if is_default(&assignment.value) {
                defaults.push(index);
                Expr::value(Value::Null)
            } else {
                assignment.value.clone()
            });
        }
        let values = values.into_iter().zip(columns);
        let values =
            values.map(|(value, column)| value.unwrap_or_else(|| target.column(&column.name))).collect();
        Ok(Assigned { values, defaults })
    }
}

/// Whether an expression is the word DEFAULT.
pub(super) fn is_default(expression: &Expr) -> bool {
    matches!(expression, Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default"))
}

/// The default of a column, so many times.
pub(super) fn default_of(column: &asof_engine::Column, rows: usize) -> Result<ArrayRef> {
    Ok(match &column.default {
        Some(value) => take(value, &UInt32Array::from(vec![0; rows]), None)?,
        None => new_null_array(&column.column_type.to_arrow(), rows),
    })
}

/// Tells rows that come twice.
pub(super) struct Once {
    converter: Option<RowConverter>,
    seen: HashSet<Box<[u8]>>,
}

impl Once {
    pub(super) fn new() -> Once {
        Once { converter: None, seen: HashSet::new() }
    }

    /// Notes the rows of some columns; whether all are new.
    pub(super) fn are_new(&mut self, columns: &[ArrayRef]) -> Result<bool> {
        let fields = || columns.iter().map(|array| SortField::new(array.data_type().clone())).collect();
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => none.insert(RowConverter::new(fields())?),
        };
        let rows = converter.convert_columns(columns)?;
        Ok(rows.iter().all(|row| self.seen.insert(row.data().into())))
    }
}

/// Rows that move to another key, until all that are to go are gone.
pub(super) struct Changes<'a, 'b> {
    writer: &'a Writer<'b>,
    target: &'a Target,
    moved: Vec<RecordBatch>,
}

impl<'a, 'b> Changes<'a, 'b> {
    pub(super) fn new(writer: &'a Writer<'b>, target: &'a Target) -> Changes<'a, 'b> {
        Changes { writer, target, moved: Vec::new() }
    }

    /// A batch of rows under the table's schema, from values of queries.
    pub(super) fn rows(&self, values: &[ArrayRef], defaults: &[usize]) -> Result<RecordBatch> {
        let columns = &self.target.schema.columns;
        let arrays = columns.iter().zip(values).enumerate().map(|(index, (column, array))| {
            match defaults.contains(&index) {
                true => default_of(column, array.len()),
                false => to_column(array, column),
            }
        });
        let fields: Vec<Field> = columns.iter().map(|column| column.to_field().with_nullable(true)).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect::<Result<Vec<_>>>()?)?)
    }

    /// Rows, named by their identities, become others.
    pub(super) fn update(&mut self, identity: &RecordBatch, rows: RecordBatch) -> Result<()> {
        let schema = &self.target.schema;
        if !schema.has_key() {
            self.writer.delete_rows(self.target, identity)?;
            self.moved.push(rows);
            return Ok(());
        }
        let mut stays = BooleanArray::from(vec![true; rows.num_rows()]);
        for (old, column) in identity.columns().iter().zip(schema.key_columns()) {
            let new = rows.column_by_name(&column.name).expect("rows have all columns");
            stays = and(&stays, &not_distinct(&to_column(old, column)?, new)?)?;
        }
        if stays.true_count() == rows.num_rows() {
            return Ok(self.writer.transaction.lock().upsert(&self.target.name, &rows)?);
        }
        self.writer.transaction.lock().upsert(&self.target.name, &filter_record_batch(&rows, &stays)?)?;
        let moves = not(&stays)?;
        self.writer.delete_rows(self.target, &filter_record_batch(identity, &moves)?)?;
        self.moved.push(filter_record_batch(&rows, &moves)?);
        Ok(())
    }

    /// Rows go.
    pub(super) fn delete(&mut self, identity: &RecordBatch) -> Result<()> {
        self.writer.delete_rows(self.target, identity)
    }

    /// Rows come, once those that go are gone.
    pub(super) fn insert(&mut self, rows: RecordBatch) {
        self.moved.push(rows);
    }

    /// Adds what comes under keys that may have been others' before.
    pub(super) fn finish(self) -> Result<()> {
        for rows in self.moved {
            self.writer.transaction.lock().insert(&self.target.name, &rows)?;
        }
        Ok(())
    }
}

impl Writer<'_> {
    pub(super) fn update(&self, update: Update) -> Result<Done> {
        let place = update.table.relation.span().start;
        let unsupported = update.returning.is_some()
            || update.output.is_some()
            || update.or.is_some()
            || !update.order_by.is_empty()
            || update.limit.is_some()
            || !update.table.joins.is_empty();
        if unsupported {
            return Err(Error::new("UPDATE takes SET, FROM and WHERE; not the rest").at(place));
        }
        let target = self.target(&update.table.relation)?;
        let assigned = Assigned::of(&target, &update.assignments)?;
        let mut from = vec![TableWithJoins { relation: target.factor.clone(), joins: Vec::new() }];
        let others = match update.from {
            None => Vec::new(),
            Some(UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables)) => tables,
        };
        let joined = !others.is_empty();
        from.extend(others);
        let identity = target.identity();
        let mut projection: Vec<SelectItem> = Vec::new();
        for (index, name) in identity.iter().enumerate() {
            projection.push(named(target.column(name), format!("__old_{index}")));
        }
        for (index, value) in assigned.values.iter().enumerate() {
            projection.push(named(value.clone(), format!("__new_{index}")));
        }
        let rows = self.query(&target.names, select(projection, from, update.selection, false))?;
        let (mut once, mut changes) = (Once::new(), Changes::new(self, &target));
        let mut done = Counts::default();
        for batch in rows {
            let batch = batch?;
            let (old, new) = batch.columns().split_at(identity.len());
            if joined && !once.are_new(old)? {
                return Err(Error::new(
                    "a row is matched more than once: what it becomes is not certain; make FROM give each row once",
                )
                .at(place));
            }
            done.updated += batch.num_rows() as u64;
            let old = batch.project(&(0..old.len()).collect::<Vec<_>>())?;
            let new = changes.rows(new, &assigned.defaults)?;
            changes.update(&old, new)?;
        }
        changes.finish()?;
        Ok(done)
    }
}
