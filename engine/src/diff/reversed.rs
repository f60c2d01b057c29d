//! A net diff the other way round: what takes the later version back to the earlier one.

use super::Diff;
use crate::api::ChangeType;
use crate::error::Result;
use arrow::array::{AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use std::sync::Arc;

/// The opposite of each change. Versions and times stay those of the commits that made them.
pub(super) fn reversed(diff: Diff) -> Diff {
    let schema = diff.schema.clone();
    Diff { schema, batches: Box::new(Reversed { diff, held: None }) }
}

struct Reversed {
    diff: Diff,
    /// An image before, whose image after is in the next batch.
    held: Option<RecordBatch>,
}

fn change(batch: &RecordBatch, row: usize) -> &str {
    batch.column(0).as_string::<i32>().value(row)
}

impl Reversed {
    fn turn(&mut self, mut batch: RecordBatch) -> Result<RecordBatch> {
        if let Some(held) = self.held.take() {
            batch = concat_batches(&batch.schema(), [&held, &batch])?;
        }
        let last = batch.num_rows().checked_sub(1);
        if let Some(last) = last.filter(|last| change(&batch, *last) == ChangeType::UpdatePreimage.name()) {
            self.held = Some(batch.slice(last, 1));
            batch = batch.slice(0, last);
        }
        let (mut rows, mut changes) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let (from, turned) = match change(&batch, row) {
                "insert" => (row, ChangeType::Delete),
                "delete" => (row, ChangeType::Insert),
                "update_preimage" => (row + 1, ChangeType::UpdatePreimage),
                _ => (row - 1, ChangeType::UpdatePostimage),
            };
            rows.push(from as u64);
            changes.push(turned.name());
        }
        let turned = take_record_batch(&batch, &UInt64Array::from(rows))?;
        let mut columns = turned.columns().to_vec();
        columns[0] = Arc::new(StringArray::from(changes));
        Ok(RecordBatch::try_new(turned.schema(), columns)?)
    }
}

impl Iterator for Reversed {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            let batch = self.diff.next()?;
            match batch.and_then(|batch| self.turn(batch)) {
                Ok(batch) if batch.num_rows() == 0 => {}
                turned => return Some(turned),
            }
        }
    }
}
