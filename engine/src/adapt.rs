//! Rows of one schema as rows of another: columns are matched by id (or, for what users hand in, by
//! name), cast between the widths of one column, and filled with defaults where they are missing.

use crate::equal::unmark_distinct;
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, nullif, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use asof_mvcc::{Column, ColumnType, TableSchema};
use std::sync::Arc;

/// Casts between types of which one widens into the other: no value changes, an impossible one is an error.
pub fn cast_exact(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    Ok(cast_with_options(array, to, &CastOptions { safe: false, ..Default::default() })?)
}

/// Casts between any types, null where that cannot be; and which values the other type holds: those that it gives back as
/// they were.
pub fn cast_and_compare(array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Vec<bool>)> {
    if array.data_type() == to {
        return Ok((array.clone(), vec![true; array.len()]));
    }
    let null_where_unfit = CastOptions { safe: true, ..Default::default() };
    let cast = |array: &ArrayRef, to: &DataType| cast_with_options(array, to, &null_where_unfit);
    let there_and_back = cast(array, to).and_then(|there| Ok((cast(&there, array.data_type())?, there)));
    let mut fits = vec![true; array.len()];
    // Not every type is cast to every other.
    let Ok((back, there)) = there_and_back else {
        let nothing = new_null_array(array.data_type(), array.len());
        unmark_distinct(array, &nothing, &mut fits)?;
        return Ok((new_null_array(to, array.len()), fits));
    };
    unmark_distinct(array, &back, &mut fits)?;
    Ok((there, fits))
}

/// Casts between any types: null where the other type cannot hold a value as it is.
pub fn cast_or_null(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let (there, fits) = cast_and_compare(array, to)?;
    match fits.contains(&false) {
        true => Ok(nullif(&there, &BooleanArray::from_iter(fits.iter().map(|fits| Some(!fits))))?),
        false => Ok(there),
    }
}

/// `rows` times the column's default, or null.
pub fn default_array(column: &Column, rows: usize) -> Result<ArrayRef> {
    match &column.default {
        Some(value) => Ok(take(value, &UInt64Array::from(vec![0; rows]), None)?),
        None => Ok(new_null_array(&column.column_type.to_arrow(), rows)),
    }
}

/// A batch of columns, also of none.
pub fn batch_of(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new_with_options(
        schema,
        columns,
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )?)
}

/// The Arrow schema of columns, all nullable: what rows of several schemas fit into.
pub fn loose_schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|column| column.to_field().with_nullable(true)).collect::<Vec<_>>(),
    ))
}

/// Rows with columns `from` as rows with columns `to`, matched by id. The result's fields are nullable as `schema` says.
pub fn adapt(batch: &RecordBatch, from: &[Column], to: &[Column], schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = to
        .iter()
        .map(|column| match from.iter().position(|other| other.id == column.id) {
            Some(index) => cast_exact(batch.column(index), &column.column_type.to_arrow()),
            None => default_array(column, rows),
        })
        .collect::<Result<Vec<_>>>()?;
    batch_of(schema.clone(), columns, rows)
}

/// Rows as a user hands them in, as rows of a table: columns by name in any order, the table's types or narrower ones,
/// missing ones by default. `required` are columns that must be given.
pub fn conform(batch: &RecordBatch, schema: &TableSchema, required: &[u32]) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    for (index, field) in batch.schema().fields().iter().enumerate() {
        schema.index_of(field.name())?;
        if batch.schema().fields()[..index].iter().any(|other| other.name() == field.name()) {
            return Err(Error::invalid(format!("column '{}' is given twice", field.name())));
        }
    }
    let columns = schema
        .columns
        .iter()
        .map(|column| match batch.column_by_name(&column.name) {
            Some(array) => conform_column(array, column),
            None if required.contains(&column.id) => {
                Err(Error::invalid(format!("column '{}' is missing", column.name)))
            }
            None => default_array(column, rows),
        })
        .collect::<Result<Vec<_>>>()?;
    for (column, array) in schema.columns.iter().zip(&columns) {
        if !column.nullable && array.null_count() > 0 {
            let row = (0..rows).find(|&row| array.is_null(row)).unwrap_or(0);
            return Err(Error::invalid(format!(
                "column '{}' is not null, but row {row} has null in it",
                column.name
            )));
        }
    }
    batch_of(schema.to_arrow(), columns, rows)
}

fn conform_column(array: &ArrayRef, column: &Column) -> Result<ArrayRef> {
    let wanted = column.column_type.to_arrow();
    if array.data_type() == &wanted {
        return Ok(array.clone());
    }
    if array.data_type() == &DataType::Null {
        return Ok(new_null_array(&wanted, array.len()));
    }
    let given = ColumnType::from_arrow(array.data_type())
        .map_err(|error| Error::invalid(format!("column '{}': {error}", column.name)))?;
    if given == column.column_type || given.widens_to(&column.column_type) {
        return cast_exact(array, &wanted).map_err(|error| error.at(format!("column '{}'", column.name)));
    }
    Err(Error::invalid(format!(
        "column '{}' is {} but values of type {given} were given",
        column.name, column.column_type
    )))
}
