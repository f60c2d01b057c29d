//! What differs between a table as it is and as it should be: by key, or as a multiset of rows.

use crate::api::Counts;
use crate::error::{Error, ErrorKind, Result};
use crate::store::chunk::Chunks;
use crate::text::format_key;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::row::{RowConverter, Rows, SortField};
use asof_mvcc::{Keys, TableSchema};
use std::collections::HashMap;

/// The least that makes one table the other.
pub struct Difference {
    /// Rows to put.
    pub put: RecordBatch,
    /// Keys (hidden row ids) to delete.
    pub deleted: Keys,
    /// How many.
    pub counts: Counts,
}

/// Rows as bytes that are equal if and only if the rows are: doubles by their bits, null unlike anything else.
fn comparable(converter: &RowConverter, rows: &RecordBatch) -> Result<Rows> {
    Ok(converter.convert_columns(rows.columns())?)
}

fn converter(schema: &TableSchema) -> Result<RowConverter> {
    let fields = schema.columns.iter().map(|column| SortField::new(column.column_type.to_arrow()));
    Ok(RowConverter::new(fields.collect())?)
}

/// The difference by key between `rows`, which should be, and `current`, which is.
pub fn difference_by_key(
    schema: &TableSchema,
    rows: &RecordBatch,
    keys: &Keys,
    current: Option<Chunks>,
) -> Result<Difference> {
    let converter = converter(schema)?;
    let wanted = comparable(&converter, rows)?;
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    order.sort_unstable_by(|a, b| keys.get(*a as usize).cmp(keys.get(*b as usize)));
    if let Some(pair) = order.windows(2).find(|pair| keys.get(pair[0] as usize) == keys.get(pair[1] as usize))
    {
        let row = pair[0].max(pair[1]) as usize;
        let key = format_key(schema, rows, row);
        return Err(Error::new(
            ErrorKind::Exists,
            format!("the key {key} is given twice, the second time in row {row}"),
        ));
    }
    let mut put: Vec<u32> = Vec::new();
    let mut deleted = Keys::default();
    let mut counts = Counts::default();
    let mut next = 0;
    for chunk in current.into_iter().flatten() {
        let chunk = chunk?;
        let present = comparable(&converter, &chunk.rows)?;
        for row in 0..chunk.len() {
            let key = chunk.keys.get(row);
            while next < order.len() && keys.get(order[next] as usize) < key {
                put.push(order[next]);
                counts.inserted += 1;
                next += 1;
            }
            if next < order.len() && keys.get(order[next] as usize) == key {
                if wanted.row(order[next] as usize) != present.row(row) {
                    put.push(order[next]);
                    counts.updated += 1;
                }
                next += 1;
            } else {
                deleted.push(key);
                counts.deleted += 1;
            }
        }
    }
    counts.inserted += (order.len() - next) as u64;
    put.extend_from_slice(&order[next..]);
    Ok(Difference { put: take_record_batch(rows, &UInt32Array::from(put))?, deleted, counts })
}

/// The difference as multisets: rows of `current` that `rows` has not as often go, the last ones first.
pub fn difference_of_rows(
    schema: &TableSchema,
    rows: &RecordBatch,
    current: Option<Chunks>,
) -> Result<Difference> {
    let converter = converter(schema)?;
    let wanted = comparable(&converter, rows)?;
    let mut left: HashMap<&[u8], Vec<u32>> = HashMap::new();
    // Popped from the end: earlier rows of the new table are matched first.
    for row in (0..rows.num_rows()).rev() {
        left.entry(wanted.row(row).data()).or_default().push(row as u32);
    }
    let mut deleted = Keys::default();
    for chunk in current.into_iter().flatten() {
        let chunk = chunk?;
        let present = comparable(&converter, &chunk.rows)?;
        for row in 0..chunk.len() {
            let matched = left.get_mut(present.row(row).data()).and_then(Vec::pop);
            if matched.is_none() {
                deleted.push(chunk.keys.get(row));
            }
        }
    }
    let mut put: Vec<u32> = left.into_values().flatten().collect();
    put.sort_unstable();
    let counts = Counts { inserted: put.len() as u64, updated: 0, deleted: deleted.len() as u64 };
    Ok(Difference { put: take_record_batch(rows, &UInt32Array::from(put))?, deleted, counts })
}
