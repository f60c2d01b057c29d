//! Values of queries as values of columns: exactly, or an error.

use crate::error::{Error, Result};
use asof_engine::{Column, ColumnType};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryBuilder, new_null_array,
};
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::Arc;

/// An array as values of a column. Digits of seconds that the column does not hold are dropped, and floats are rounded to
/// decimals; nothing else changes.
pub(crate) fn to_column(array: &ArrayRef, column: &Column) -> Result<ArrayRef> {
    let to = column.column_type.to_arrow();
    if *array.data_type() == to {
        return Ok(array.clone());
    }
    // A column of NULLs alone has the type that others would have.
    if array.null_count() == array.len() || *array.data_type() == DataType::Null {
        return Ok(new_null_array(&to, array.len()));
    }
    if let (DataType::Utf8, ColumnType::FixedBinary(16)) = (array.data_type(), &column.column_type) {
        return uuids(array, column);
    }
    if is_of_another_kind(array.data_type(), &column.column_type) {
        return Err(unfit_type(array, column));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let misfit = |row: usize| {
        let format = FormatOptions::default();
        let value = ArrayFormatter::try_new(array, &format).map(|formatter| formatter.value(row).to_string());
        let value = value.unwrap_or_default();
        Error::new(format!("column '{}' of type {} cannot hold {value:?}", column.name, column.column_type))
    };
    let cast = cast_with_options(array, &to, &options).map_err(|_| unfit_type(array, column))?;
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
    if let Some(row) = infinite_row(array, &cast)?.or(longer_row(array, &column.column_type)?) {
        return Err(misfit(row));
    }
    Ok(cast)
}

fn unfit_type(array: &ArrayRef, column: &Column) -> Error {
    Error::new(format!(
        "column '{}' of type {} cannot hold values of type {}",
        column.name,
        column.column_type,
        array.data_type()
    ))
}

/// Texts as the 16 bytes that they write, with or without dashes.
fn uuids(array: &ArrayRef, column: &Column) -> Result<ArrayRef> {
    let mut bytes = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for text in array.as_string::<i32>() {
        let Some(text) = text else {
            bytes.append_null();
            continue;
        };
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let is_one = digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let value = u128::from_str_radix(&digits, 16).ok().filter(|_| is_one).ok_or_else(|| {
            Error::new(format!(
                "column '{}' of type {} cannot hold {text:?}",
                column.name, column.column_type
            ))
        })?;
        bytes.append_value(value.to_be_bytes())?;
    }
    Ok(Arc::new(bytes.finish()))
}

/// Whether values are numbers and the column is of times, or the other way round: a cast would count ticks.
fn is_of_another_kind(from: &DataType, to: &ColumnType) -> bool {
    let is_time = |data_type: &DataType| data_type.is_temporal();
    let is_number = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    let to = to.to_arrow();
    (is_time(from) && is_number(&to)) || (is_number(from) && is_time(&to))
}

/// The first row whose value became infinite.
fn infinite_row(array: &ArrayRef, cast: &ArrayRef) -> Result<Option<usize>> {
    if !cast.data_type().is_floating() {
        return Ok(None);
    }
    let options = CastOptions::default();
    let wide = |array: &ArrayRef| cast_with_options(array, &DataType::Float64, &options);
    let (before, after) = (wide(array)?, wide(cast)?);
    let (before, after) = (before.as_primitive::<Float64Type>(), after.as_primitive::<Float64Type>());
    let was_finite = |row: usize| array.is_valid(row) && !before.value(row).is_infinite();
    Ok((0..array.len()).find(|row| was_finite(*row) && after.value(*row).is_infinite()))
}

/// The first row whose text has more digits behind the point than a decimal column keeps.
fn longer_row(array: &ArrayRef, to: &ColumnType) -> Result<Option<usize>> {
    let (ColumnType::Decimal(_, scale), DataType::Utf8) = (to, array.data_type()) else { return Ok(None) };
    let texts = array.as_string::<i32>();
    let is_longer = |text: &str| {
        let digits = text.trim().split_once('.').map_or("", |(_, digits)| digits);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        // An exponent moves the point: numbers say that better.
        end < digits.len() || digits.trim_end_matches('0').len() > usize::from(*scale)
    };
    Ok((0..texts.len()).find(|row| texts.is_valid(*row) && is_longer(texts.value(*row))))
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
        DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64 => {
            matches!(to, ColumnType::Float32 | ColumnType::Float64)
        }
        DataType::Timestamp(..) => *to == ColumnType::Date,
        _ => false,
    }
}
