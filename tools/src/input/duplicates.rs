//! Rows of one import that have the same key.
//!
//! Invariant: what goes on has each key once, or the import fails naming both lines.

use super::chunk::Place;
use asof_engine::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use asof_engine::arrow::compute::filter_record_batch;
use asof_engine::arrow::row::{RowConverter, SortField};
use asof_engine::text::format_cell;
use asof_engine::{Column, Error, ErrorKind, Result};
use std::collections::HashMap;

/// What to do with the second row of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnDuplicate {
    /// Fail
    #[default]
    Error,
    /// Take the first row of a key
    First,
    /// Take the last row of a key
    Last,
}

/// The keys seen so far.
pub struct Duplicates {
    policy: OnDuplicate,
    key: Vec<Column>,
    converter: RowConverter,
    seen: HashMap<Box<[u8]>, Seen>,
    inputs: Vec<String>,
    /// For [`OnDuplicate::Last`]: rows to leave out, per batch.
    dropped: Vec<Vec<usize>>,
    /// Rows left out so far.
    count: u64,
}

struct Seen {
    input: u32,
    place: Place,
    batch: u32,
    row: u32,
}

impl Duplicates {
    /// No keys yet.
    pub fn new(policy: OnDuplicate, key: Vec<Column>) -> Result<Duplicates> {
        let fields = key.iter().map(|column| SortField::new(column.column_type.to_arrow())).collect();
        Ok(Duplicates {
            policy,
            key,
            converter: RowConverter::new(fields)?,
            seen: HashMap::new(),
            inputs: Vec::new(),
            dropped: Vec::new(),
            count: 0,
        })
    }

    /// Whether batches must be kept until [`Duplicates::drop_earlier`].
    pub fn needs_all(&self) -> bool {
        self.policy == OnDuplicate::Last
    }

    /// Rows left out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Checks a batch that has the key columns by name; gives those of its rows that go on.
    pub fn check(
        &mut self,
        input: &str,
        batch: RecordBatch,
        place: &dyn Fn(usize) -> Place,
    ) -> Result<RecordBatch> {
        if self.inputs.last().is_none_or(|last| last != input) {
            self.inputs.push(input.to_string());
        }
        let input_index = self.inputs.len() as u32 - 1;
        let columns = self
            .key
            .iter()
            .map(|column| {
                batch.column_by_name(&column.name).cloned().ok_or_else(|| {
                    Error::invalid(format!("{input}: the key column '{}' is missing", column.name))
                })
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let rows = self.converter.convert_columns(&columns)?;
        let batch_index = self.dropped.len() as u32;
        self.dropped.push(Vec::new());
        let mut keep: Vec<bool> = Vec::new();
        for (row, key) in rows.iter().enumerate() {
            let seen = Seen { input: input_index, place: place(row), batch: batch_index, row: row as u32 };
            let key: &[u8] = key.as_ref();
            let Some(before) = self.seen.get_mut(key) else {
                self.seen.insert(key.into(), seen);
                continue;
            };
            self.count += 1;
            match self.policy {
                OnDuplicate::Error => {
                    let first_input = &self.inputs[before.input as usize];
                    let elsewhere =
                        if first_input == input { String::new() } else { format!(" of {first_input}") };
                    return Err(Error::new(
                        ErrorKind::Exists,
                        format!(
                            "{input}: {}: key {} is there already in {}{elsewhere}; take one with --on-duplicate first \
                             or last",
                            seen.place,
                            key_text(&self.key, &columns, row),
                            before.place,
                        ),
                    ));
                }
                OnDuplicate::First => {
                    keep.resize(batch.num_rows(), true);
                    keep[row] = false;
                }
                OnDuplicate::Last => {
                    self.dropped[before.batch as usize].push(before.row as usize);
                    *before = seen;
                }
            }
        }
        if keep.is_empty() {
            return Ok(batch);
        }
        Ok(filter_record_batch(&batch, &BooleanArray::from(keep))?)
    }

    /// Leaves out the rows that came before another of the same key.
    pub fn drop_earlier(&self, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let drop = |(batch, dropped): (RecordBatch, &Vec<usize>)| {
            if dropped.is_empty() {
                return Ok(batch);
            }
            let mut keep = vec![true; batch.num_rows()];
            dropped.iter().for_each(|&row| keep[row] = false);
            Ok(filter_record_batch(&batch, &BooleanArray::from(keep))?)
        };
        batches.into_iter().zip(&self.dropped).map(drop).collect()
    }
}

/// A key as people read it: `id=5`.
pub fn key_text(key: &[Column], columns: &[ArrayRef], row: usize) -> String {
    let parts = key.iter().zip(columns).map(|(column, array)| {
        let value = format_cell(&column.column_type, array, row).unwrap_or_else(|| "null".to_string());
        format!("{}={value}", column.name)
    });
    parts.collect::<Vec<_>>().join(", ")
}
