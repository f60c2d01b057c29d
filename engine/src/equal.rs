//! Which values and rows are the same: NULL to NULL, and floats by their bits.

use crate::error::Result;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::row::{RowConverter, SortField};

/// Of the places that are marked, leaves marked those at which two columns are equal.
pub(crate) fn unmark_distinct(first: &ArrayRef, second: &ArrayRef, marked: &mut [bool]) -> Result<()> {
    if first.data_type().is_nested() {
        let converter = RowConverter::new(vec![SortField::new(first.data_type().clone())])?;
        let rows = |column| converter.convert_columns(std::slice::from_ref(column));
        let (first, second) = (rows(first)?, rows(second)?);
        marked.iter_mut().zip(first.iter().zip(&second)).for_each(|(marked, (a, b))| *marked &= a == b);
    } else {
        let same = not_distinct(first, second)?;
        marked.iter_mut().zip(same.values()).for_each(|(marked, same)| *marked &= same);
    }
    Ok(())
}

/// Whether rows at the same place of two batches are equal.
pub(crate) fn equal_rows(one: &RecordBatch, other: &RecordBatch) -> Result<Vec<bool>> {
    let mut equal = vec![true; one.num_rows()];
    for (a, b) in one.columns().iter().zip(other.columns()) {
        unmark_distinct(a, b, &mut equal)?;
    }
    Ok(equal)
}
