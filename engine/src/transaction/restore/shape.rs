//! A schema that comes back: which columns it has, and how their values are read.
//!
//! Invariant: a column keeps its id, and with it the values of rows that nobody changed since, unless it was widened
//! meanwhile. Rows since may have values that are too wide for the narrower type, and the past must stay readable under
//! both: then it comes back as a new column, and every row is written again.

use crate::adapt::{batch_of, cast_and_compare, cast_exact, loose_schema};
use crate::error::{Error, Result};
use crate::snapshot::all_columns;
use crate::store::chunk::{Chunk, Chunks};
use arrow::array::{Array, RecordBatch};
use asof_mvcc::{Column, Table, TableSchema};
use std::sync::Arc;

/// How rows are read, and what they become.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// As they become.
    pub(super) schema: Arc<TableSchema>,
    /// As they are read: the same columns by id, each under the widest type that it ever had.
    pub(super) read: Vec<Column>,
    /// As they are shown: as they are read, under the names that they become.
    pub(super) shown: Arc<TableSchema>,
}

impl Shape {
    /// Rows of a table under a schema, whose columns are read by their own ids.
    pub(super) fn of(table: &Table, schema: Arc<TableSchema>) -> Shape {
        let ids: Vec<u32> = schema.columns.iter().map(|column| column.id).collect();
        Shape::reading(table, schema, &ids)
    }

    /// Rows of a table under a schema, whose columns are read by these ids.
    pub(super) fn reading(table: &Table, schema: Arc<TableSchema>, ids: &[u32]) -> Shape {
        let known = all_columns(table);
        let read = schema.columns.iter().zip(ids).map(|(column, id)| {
            let wide = known.iter().find(|known| known.id == *id);
            wide.cloned().unwrap_or_else(|| column.clone())
        });
        let read: Vec<Column> = read.collect();
        let shown = read.iter().zip(&schema.columns).map(|(read, column)| Column {
            name: column.name.clone(),
            nullable: true,
            default: None,
            id: column.id,
            column_type: read.column_type.clone(),
        });
        let shown = Arc::new(TableSchema::of(shown.collect(), schema.key.clone()));
        Shape { schema, read, shown }
    }

    /// A schema that a table had, with rows as they were then. `None` where a column of the key was widened since: keys
    /// cannot change their columns, so that it takes another table.
    pub(super) fn back(table: &Table, old: &TableSchema) -> Option<Shape> {
        let known = all_columns(table);
        let mut schema = old.clone();
        let mut next_id = table.next_column_id;
        for column in &mut schema.columns {
            let wide = known.iter().find(|known| known.id == column.id);
            if wide.is_none_or(|wide| wide.column_type == column.column_type) {
                continue;
            }
            if old.key.contains(&column.id) {
                return None;
            }
            // It may have come back before.
            let now = table.newest_schema().columns.iter().find(|now| {
                let is_other = old.column(now.id).is_none();
                is_other && now.name == column.name && now.column_type == column.column_type
            });
            column.id = now.map_or(next_id, |now| now.id);
            next_id += u32::from(now.is_none());
        }
        let ids: Vec<u32> = old.columns.iter().map(|column| column.id).collect();
        Some(Shape::reading(table, Arc::new(schema), &ids))
    }

    /// Whether each column is read by the id that it has: rows that nobody changed are as they were.
    pub(super) fn keeps_ids(&self) -> bool {
        self.read.iter().zip(&self.schema.columns).all(|(read, column)| read.id == column.id)
    }

    /// Whether values have to become narrower.
    fn narrows(&self, index: usize) -> bool {
        self.read[index].column_type != self.schema.columns[index].column_type
    }

    /// Rows as they were read as rows of the schema.
    pub(super) fn rows(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = rows.columns().iter().zip(&self.schema.columns);
        let columns = columns.map(|(array, column)| cast_exact(array, &column.column_type.to_arrow()));
        Ok(RecordBatch::try_new(self.schema.to_arrow(), columns.collect::<Result<_>>()?)?)
    }

    /// Chunks of rows as they were read, with values of the schema's types.
    pub(super) fn narrowed(self, chunks: Chunks) -> Chunks {
        let loose = loose_schema(&self.schema.columns);
        Box::new(chunks.map(move |chunk| {
            let chunk = chunk?;
            let columns = chunk.rows.columns().iter().zip(&self.schema.columns);
            let columns = columns.map(|(array, column)| cast_exact(array, &column.column_type.to_arrow()));
            let columns = columns.collect::<Result<_>>()?;
            let rows = batch_of(loose.clone(), columns, chunk.rows.num_rows())?;
            Ok(Chunk { rows, ..chunk })
        }))
    }

    /// Which rows do not fit, and for which column; rows as they were read.
    pub(super) fn misfits(&self, rows: &RecordBatch) -> Result<Vec<(usize, String)>> {
        let mut found = Vec::new();
        for (index, column) in self.schema.columns.iter().enumerate() {
            let array = rows.column(index);
            let fits = match self.narrows(index) {
                true => cast_and_compare(array, &column.column_type.to_arrow())?.1,
                false => vec![true; rows.num_rows()],
            };
            let misfit = |row: &usize| !fits[*row] || (!column.nullable && array.is_null(*row));
            found.extend((0..rows.num_rows()).filter(misfit).map(|row| (row, column.name.clone())));
        }
        Ok(found)
    }
}

/// The column that a column becomes where its values become narrower: another one of its name.
fn narrowed<'a>(column: &Column, from: &TableSchema, to: &'a TableSchema) -> Option<&'a Column> {
    let narrow = to.columns.iter().find(|other| other.name == column.name)?;
    let is_other = to.column(column.id).is_none() && from.column(narrow.id).is_none();
    let is_narrow = narrow.column_type.widens_to(&column.column_type);
    Some(narrow).filter(|_| is_other && is_narrow)
}

/// What makes one schema another, for people. Columns are told by id, and one that comes back narrower by its name.
pub(super) fn describe(from: &TableSchema, to: &TableSchema) -> Vec<String> {
    let mut told = Vec::new();
    let mut narrow_ids = Vec::new();
    for column in &from.columns {
        match (to.column(column.id), narrowed(column, from, to)) {
            (Some(same), _) if same.name != column.name => {
                told.push(format!("rename column {} to {}", column.name, same.name));
            }
            (Some(_), _) => {}
            (None, Some(narrow)) => {
                narrow_ids.push(narrow.id);
                told.push(format!(
                    "narrow column {} from {} to {}",
                    column.name, column.column_type, narrow.column_type
                ));
            }
            (None, None) => told.push(format!("drop column {}", column.name)),
        }
    }
    let is_new = |column: &&Column| from.column(column.id).is_none() && !narrow_ids.contains(&column.id);
    told.extend(to.columns.iter().filter(is_new).map(|column| format!("add column {}", column.name)));
    let missing = |one: &TableSchema, other: &TableSchema| {
        let checks = one.checks.iter().filter(|check| !other.checks.contains(check));
        checks.map(|check| check.name.clone()).collect::<Vec<_>>()
    };
    told.extend(missing(from, to).into_iter().map(|name| format!("drop check {name}")));
    told.extend(missing(to, from).into_iter().map(|name| format!("add check {name}")));
    if told.is_empty() && from != to {
        told.push("order columns".to_string());
    }
    told
}

/// Whether two schemas have the same columns, key and checks, whatever the ids.
pub(super) fn have_one_definition(one: &TableSchema, other: &TableSchema) -> bool {
    let columns = |schema: &TableSchema| -> Vec<Column> {
        schema.columns.iter().map(|column| Column { id: 0, ..column.clone() }).collect()
    };
    let same = columns(one) == columns(other) && one.key_indexes() == other.key_indexes();
    same && one.checks == other.checks
}

/// A schema with columns of the same names under new ids from 1, for a new table.
pub(super) fn renumbered(schema: &TableSchema) -> Result<TableSchema> {
    let names: Vec<String> = schema.key_columns().map(|column| column.name.clone()).collect();
    let mut new = TableSchema::new(schema.columns.clone(), &names).map_err(Error::from)?;
    new.checks = schema.checks.clone();
    Ok(new)
}
