//! Values of queries as values of columns: exactly, or an error.

use crate::error::{Error, Result};
use asof_engine::{Column, ColumnType};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, new_null_array};
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// An array as values of a column. Digits of seconds that the column does not hold are dropped; nothing else is.
pub(crate) fn to_column(array: &ArrayRef, column: &Column) -> Result<ArrayRef> {
    let to = column.column_type.to_arrow();
    if *array.data_type() == to {
        return Ok(array.clone());
    }
    if *array.data_type() == DataType::Null {
        return Ok(new_null_array(&to, array.len()));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let misfit = |row: usize| {
        let format = FormatOptions::default();
        let value = ArrayFormatter::try_new(array, &format).map(|formatter| formatter.value(row).to_string());
        let value = value.unwrap_or_default();
        Error::new(format!("column '{}' of type {} cannot hold {value:?}", column.name, column.column_type))
    };
    let cast = cast_with_options(array, &to, &options).map_err(|_| {
        Error::new(format!(
            "column '{}' of type {} cannot hold values of type {}",
            column.name,
            column.column_type,
            array.data_type()
        ))
    })?;
    if let Some(row) = (0..array.len()).find(|row| cast.is_null(*row) && !array.is_null(*row)) {
        return Err(misfit(row));
    }
    if must_be_exact(array.data_type(), &column.column_type) {
        let back = cast_with_options(&cast, array.data_type(), &options)?;
        let same: BooleanArray = not_distinct(&back, array)?;
        if let Some(row) = (0..array.len()).find(|row| !same.value(*row)) {
            return Err(misfit(row));
        }
    }
    Ok(cast)
}

/// Whether a cast could give another value without failing.
fn must_be_exact(from: &DataType, to: &ColumnType) -> bool {
    let is_integer = |column_type: &ColumnType| {
        use ColumnType::*;
        matches!(column_type, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64)
    };
    match from {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => is_integer(to),
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => is_integer(to) || matches!(to, ColumnType::Decimal(..)),
        DataType::Timestamp(..) => *to == ColumnType::Date,
        _ => false,
    }
}
