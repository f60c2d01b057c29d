//! Typed columns of files as values of a table's column types.
//!
//! Invariant: a value is taken only if nothing of it is lost: it is cast, cast back, and must be the same. Text is never
//! read as a number here, nor a number written as text: such files need their own types mended.

use super::cells::write_cell;
use asof_engine::ColumnType;
use asof_engine::arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use asof_engine::arrow::compute::kernels::cmp::distinct;
use asof_engine::arrow::compute::{CastOptions, cast_with_options};
use asof_engine::arrow::datatypes::DataType;
use asof_engine::text::{CellError, format_cell};

/// A misfit becomes null, and is found by comparing.
const LENIENT: CastOptions<'static> =
    CastOptions { safe: true, format_options: asof_engine::arrow::util::display::FormatOptions::new() };

/// The values as a column type; the error names the first row whose value is none.
pub fn fit(array: &ArrayRef, column_type: &ColumnType) -> Result<ArrayRef, CellError> {
    let target = column_type.to_arrow();
    if *array.data_type() == target {
        return Ok(array.clone());
    }
    if array.null_count() == array.len() || *array.data_type() == DataType::Null {
        return Ok(new_null_array(&target, array.len()));
    }
    let first_value = (0..array.len()).find(|&row| !array.is_null(row)).unwrap_or(0);
    let refuse = |message: String| CellError { row: first_value, message };
    let found = ColumnType::from_arrow(array.data_type()).map_err(|error| refuse(error.to_string()))?;
    let plain = cast(array, &found.to_arrow()).map_err(refuse)?;
    if found == *column_type {
        return Ok(plain);
    }
    if !may_fit(&found, column_type) {
        return Err(refuse(format!("the file's values are {found}, which cannot become {column_type}")));
    }
    let values = cast(&plain, &target).map_err(refuse)?;
    let back = cast(&values, plain.data_type()).map_err(refuse)?;
    let differs = distinct(&plain, &back).map_err(|error| refuse(error.to_string()))?;
    match (0..differs.len()).find(|&row| differs.value(row)) {
        None => Ok(values),
        Some(row) => {
            let value = format_cell(&found, &plain, row).unwrap_or_default();
            Err(CellError { row, message: format!("'{value}' ({found}) does not fit {column_type}") })
        }
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    cast_with_options(array, to, &LENIENT).map_err(|error| error.to_string())
}

/// Whether values of one type may be values of the other, if they are not too big or too fine.
fn may_fit(found: &ColumnType, wanted: &ColumnType) -> bool {
    use ColumnType::*;
    let is_number = |column_type: &ColumnType| {
        matches!(
            column_type,
            Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Decimal(..)
        )
    };
    match (found, wanted) {
        (Timestamp(_, found), Timestamp(_, wanted)) => found.is_some() == wanted.is_some(),
        (Date, Timestamp(_, None)) | (Timestamp(_, None), Date) | (Time(_), Time(_)) => true,
        (Binary | FixedBinary(_), Binary | FixedBinary(_)) => true,
        _ => is_number(found) && is_number(wanted),
    }
}

/// A row as a line of CSV.
pub fn record(batch: &RecordBatch, row: usize) -> String {
    let mut line = String::new();
    for (index, array) in batch.columns().iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let cell = ColumnType::from_arrow(array.data_type()).ok().and_then(|column_type| {
            let plain = cast(&array.slice(row, 1), &column_type.to_arrow()).ok()?;
            format_cell(&column_type, &plain, 0)
        });
        write_cell(cell.as_deref(), &mut line);
    }
    line
}
