//! A table as a transaction sees it: the rows of the version that it reads, with its own changes.
//!
//! Invariant: what is seen is what the table would hold if the transaction committed now, and nobody else had since it
//! began.

use super::Transaction;
use crate::adapt::{adapt, batch_of, loose_schema};
use crate::api::ScanOptions;
use crate::commit::PROVISIONAL;
use crate::error::{Error, Result};
use crate::scan::parts::{Batches, Part};
use crate::snapshot::Snapshot;
use crate::store::chunk::Chunk;
use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use asof_mvcc::{Column, Table, TableSchema, TableWrites};
use std::collections::HashSet;
use std::sync::Arc;

/// The column that tells rows of a table apart where they are to be deleted one by one ([`Transaction::delete_rows`]).
pub const ROW_COLUMN: &str = "_row";

/// A table as a transaction saw it when it was asked: later changes of the transaction are not seen.
#[derive(Clone)]
pub struct TransactionTable {
    snapshot: Snapshot,
    table: Arc<Table>,
    schema: Arc<TableSchema>,
    /// What the transaction did to rows; nothing where it did nothing.
    writes: Option<Arc<TableWrites>>,
    rows: Option<u64>,
}

impl std::fmt::Debug for TransactionTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionTable").field("table", &self.table.name).finish_non_exhaustive()
    }
}

impl TransactionTable {
    /// The table's schema, the transaction's own changes included.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// How many rows there are, where the transaction changed none.
    pub fn row_count(&self) -> Option<u64> {
        self.rows
    }

    fn is_new(&self) -> bool {
        self.table.id >= PROVISIONAL
    }

    /// The rows in parts that are read independently of one another, in no order.
    pub fn parts(&self, options: ScanOptions) -> Result<Vec<Part>> {
        let state = self.snapshot.state();
        if self.writes.is_none() && !self.is_new() {
            return Part::all(state, &self.table, &self.schema, self.snapshot.version(), options);
        }
        Part::of_overlay(state, &self.table, &self.schema, self, options).map(|part| vec![part])
    }

    /// All rows, each with what tells it from others in the column [`ROW_COLUMN`]: null where the transaction added
    /// it itself to a table without a key.
    pub fn rows_told_apart(&self) -> Result<Batches> {
        let fields = self.schema.columns.iter().map(|column| Arc::new(column.to_field()));
        let row = Arc::new(Field::new(ROW_COLUMN, DataType::Binary, true));
        let schema = Arc::new(Schema::new(fields.chain([row]).collect::<Vec<_>>()));
        let columns = &self.schema.columns;
        let chunks = Overlay::new(self, columns.as_slice().into(), loose_schema(columns)).chunks()?;
        Ok(Box::new(chunks.map(move |chunk| {
            let (rows, keys) = chunk?;
            let columns = rows.columns().iter().cloned().chain([keys]).collect();
            Ok(RecordBatch::try_new(schema.clone(), columns)?)
        })))
    }
}

/// Rows, and the keys of each.
type KeyedBatches = Box<dyn Iterator<Item = Result<(RecordBatch, ArrayRef)>> + Send>;

/// Some columns of a table as a transaction sees it.
#[derive(Clone)]
pub(crate) struct Overlay {
    of: TransactionTable,
    columns: Arc<[Column]>,
    schema: SchemaRef,
}

impl Overlay {
    pub(crate) fn new(of: &TransactionTable, columns: Arc<[Column]>, schema: SchemaRef) -> Overlay {
        Overlay { of: of.clone(), columns, schema }
    }

    /// The rows.
    pub(crate) fn rows(&self) -> Result<Batches> {
        Ok(Box::new(self.chunks()?.map(|chunk| Ok(chunk?.0))))
    }

    /// The rows with the keys of each.
    fn chunks(&self) -> Result<KeyedBatches> {
        let none = || Arc::new(TableWrites::default());
        let writes = self.of.writes.clone().unwrap_or_else(none);
        let own = own_rows(&writes, &self.columns, &self.schema)?;
        if writes.truncated || self.of.is_new() {
            return Ok(Box::new(own.into_iter().map(Ok)));
        }
        let schema = TableSchema::of(self.columns.to_vec(), Vec::new());
        let there = self.of.snapshot.chunks(self.of.table.id, &schema)?;
        let left = there.map(move |chunk| without_changed(chunk?, &writes));
        Ok(Box::new(left.chain(own.into_iter().map(Ok))))
    }
}

/// The rows of a chunk that a transaction left alone, and their keys.
fn without_changed(chunk: Chunk, writes: &TableWrites) -> Result<(RecordBatch, ArrayRef)> {
    let keys: ArrayRef = Arc::new(BinaryArray::from_iter_values(chunk.keys.iter()));
    if writes.keys.is_empty() {
        return Ok((chunk.rows, keys));
    }
    let kept: BooleanArray = chunk.keys.iter().map(|key| Some(!writes.keys.contains_key(key))).collect();
    Ok((filter_record_batch(&chunk.rows, &kept)?, arrow::compute::filter(&keys, &kept)?))
}

/// The rows that a transaction put and did not take back, and the keys of those that have one.
fn own_rows(
    writes: &TableWrites,
    columns: &[Column],
    schema: &SchemaRef,
) -> Result<Vec<(RecordBatch, ArrayRef)>> {
    let mut of_batch: Vec<Vec<(u32, &[u8])>> = vec![Vec::new(); writes.batches.len()];
    for (key, write) in &writes.keys {
        if let Some((batch, row)) = write.row {
            of_batch[batch as usize].push((row, key));
        }
    }
    let appended: HashSet<usize> = writes.appended.iter().copied().collect();
    let mut given = Vec::new();
    for (index, (from, rows)) in writes.batches.iter().enumerate() {
        let put = &mut of_batch[index];
        put.sort_unstable();
        let (rows, keys): (RecordBatch, ArrayRef) = if appended.contains(&index) {
            (rows.clone(), arrow::array::new_null_array(&DataType::Binary, rows.num_rows()))
        } else if put.is_empty() {
            continue;
        } else {
            let picks = arrow::array::UInt32Array::from_iter_values(put.iter().map(|(row, _)| *row));
            let keys = BinaryArray::from_iter_values(put.iter().map(|(_, key)| *key));
            (arrow::compute::take_record_batch(rows, &picks)?, Arc::new(keys))
        };
        let adapted = match columns.is_empty() {
            true => batch_of(schema.clone(), Vec::new(), rows.num_rows())?,
            false => adapt(&rows, &from.columns, columns, schema)?,
        };
        given.push((adapted, keys));
    }
    Ok(given)
}

impl Transaction {
    /// All tables that this transaction sees, by name.
    pub fn table_names(&self) -> Vec<String> {
        self.catalog.tables_at(self.working()).into_iter().map(|table| table.name.clone()).collect()
    }

    /// A table with this transaction's own changes. Where these take more memory than it may hold, or were loaded, they
    /// can be seen once it has committed.
    pub fn table_as_changed(&self, table: &str) -> Result<TransactionTable> {
        let entry = self.table(table)?.clone();
        let id = entry.id;
        if self.loads.contains_key(&id) || self.spilled.contains_key(&id) {
            return Err(Error::invalid(format!(
                "what this transaction wrote to table {table} is on disk already: commit before reading it, or give \
                 more memory"
            )));
        }
        self.has_read.set(true);
        if id < PROVISIONAL {
            self.note(|reads| reads.rows.whole(id));
        }
        let writes = self.writes.get(&id).filter(|writes| !writes.is_empty());
        let writes = writes.map(|writes| Arc::new((**writes).clone()));
        let rows = match (&writes, id < PROVISIONAL) {
            (None, true) => Some(self.snapshot.rows_of(&entry)?),
            (None, false) => Some(0),
            _ => None,
        };
        let schema = entry.newest_schema().clone();
        Ok(TransactionTable { snapshot: self.snapshot.clone(), table: entry, schema, writes, rows })
    }

    /// Deletes rows, named by what [`TransactionTable::rows_told_apart`] gave of them. Of tables without a key, rows that
    /// the transaction added itself cannot be named.
    pub fn delete_rows(&mut self, table: &str, rows: &dyn arrow::array::Array) -> Result<()> {
        let entry = self.table(table)?;
        let id = entry.id;
        self.check_not_loaded(id, table)?;
        let rows = rows.as_binary_opt::<i32>().ok_or_else(|| Error::invalid("rows are named by binary"))?;
        if rows.iter().any(|row| row.is_none()) {
            return Err(Error::invalid(format!(
                "table {table} has no key: rows that this transaction added are changed once it has committed"
            )));
        }
        self.delete_each(id, rows.iter().flatten())
            .map_err(|_| Error::not_found(format!("table {table}: a row to delete is gone already")))
    }
}
