//! What one transaction wants to change in one table: for each key what must be there when it
//! commits, and what is there afterwards.

use crate::key::{KeyBytes, Keys};
use crate::schema::TableSchema;
use arrow::array::RecordBatch;
use std::collections::HashMap;
use std::sync::Arc;

/// What must be true of a key when the transaction commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// It must not exist.
    Absent,
    /// It must exist.
    Present,
}

/// How rows are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The key must not exist.
    Insert,
    /// The key may exist.
    Upsert,
    /// The key must exist.
    Update,
}

/// What a transaction does to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyWrite {
    /// What must be true of the key before.
    pub expect: Expect,
    /// The row afterwards: a batch of [`TableWrites::batches`] and a row in it; `None` where the key is gone.
    pub row: Option<(u32, u32)>,
}

/// A write that cannot be, whatever others commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The key exists already, by this transaction's own writes.
    Exists,
    /// The key does not exist any more, by this transaction's own writes.
    Missing,
}

/// The changes of one table.
#[derive(Clone, Debug, Default)]
pub struct TableWrites {
    /// Rows that were put, with the schema they have.
    pub batches: Vec<(Arc<TableSchema>, RecordBatch)>,
    /// Batches of rows without key, in order; indexes into `batches`.
    pub appended: Vec<usize>,
    /// What happens to each key.
    pub keys: HashMap<KeyBytes, KeyWrite>,
    /// Whether all rows that were there before go first.
    pub truncated: bool,
}

impl TableWrites {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.appended.is_empty() && !self.truncated
    }

    /// Puts rows by key: all of them, or none where one cannot be put, which is given.
    pub fn put(
        &mut self,
        schema: Arc<TableSchema>,
        rows: RecordBatch,
        keys: &Keys,
        put: Put,
    ) -> Result<(), (usize, WriteError)> {
        let batch = self.batches.len() as u32;
        let mut before: Vec<Option<KeyWrite>> = Vec::with_capacity(keys.len());
        for (row, key) in keys.iter().enumerate() {
            let known = self.keys.get(key).copied();
            let expect = match (known, put) {
                (Some(KeyWrite { row: Some(_), .. }), Put::Insert) => Err(WriteError::Exists),
                (Some(KeyWrite { row: None, .. }), Put::Update) => Err(WriteError::Missing),
                (Some(known), _) => Ok(known.expect),
                (None, Put::Update) if self.truncated => Err(WriteError::Missing),
                (None, _) if self.truncated => Ok(Expect::Any),
                (None, Put::Insert) => Ok(Expect::Absent),
                (None, Put::Upsert) => Ok(Expect::Any),
                (None, Put::Update) => Ok(Expect::Present),
            };
            match expect {
                Ok(expect) => {
                    before.push(known);
                    self.keys.insert(key.into(), KeyWrite { expect, row: Some((batch, row as u32)) });
                }
                Err(error) => {
                    self.take_back(keys, before);
                    return Err((row, error));
                }
            }
        }
        self.batches.push((schema, rows));
        Ok(())
    }

    /// Makes the first writes of some keys undone: `before` has what was known of each.
    fn take_back(&mut self, keys: &Keys, before: Vec<Option<KeyWrite>>) {
        for (row, before) in before.into_iter().enumerate().rev() {
            match before {
                Some(write) => drop(self.keys.insert(keys.get(row).into(), write)),
                None => drop(self.keys.remove(keys.get(row))),
            }
        }
    }

    /// Adds rows without key.
    pub fn append(&mut self, schema: Arc<TableSchema>, rows: RecordBatch) {
        self.appended.push(self.batches.len());
        self.batches.push((schema, rows));
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), WriteError> {
        match self.keys.get_mut(key) {
            Some(write) if write.row.is_none() => return Err(WriteError::Missing),
            Some(write) => write.row = None,
            None if self.truncated => return Err(WriteError::Missing),
            None => {
                self.keys.insert(key.into(), KeyWrite { expect: Expect::Present, row: None });
            }
        }
        Ok(())
    }

    /// Deletes all rows, those put before included. What the writes before it expected is expected still: an insert
    /// that finds its key fails, whatever comes after it.
    pub fn truncate(&mut self) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.retain(|_, write| write.expect != Expect::Any);
        keys.values_mut().for_each(|write| write.row = None);
        *self = TableWrites { keys, truncated: true, ..TableWrites::default() };
    }

    /// The row that this transaction put for a key, `Some(None)` where it deleted it.
    pub fn row(&self, key: &[u8]) -> Option<Option<(&Arc<TableSchema>, RecordBatch)>> {
        match self.keys.get(key) {
            Some(write) => Some(write.row.map(|(batch, row)| {
                let (schema, rows) = &self.batches[batch as usize];
                (schema, rows.slice(row as usize, 1))
            })),
            None => self.truncated.then_some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column_type::ColumnType;
    use crate::schema::Column;
    use arrow::array::{ArrayRef, Int64Array};

    fn put(writes: &mut TableWrites, id: i64, how: Put) -> Result<(), WriteError> {
        let schema = TableSchema::new(vec![Column::new("id", ColumnType::Int64)], &["id"]).unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        let keys = Keys::of_columns(&[("id", &ids)], 1).unwrap();
        let rows = RecordBatch::try_new(schema.to_arrow(), vec![ids]).unwrap();
        writes.put(Arc::new(schema), rows, &keys, how).map_err(|(_, error)| error)
    }

    #[test]
    fn of_rows_of_which_one_cannot_be_put_none_is() {
        let mut writes = TableWrites::default();
        put(&mut writes, 2, Put::Upsert).unwrap();
        let before = writes.keys.clone();
        for rows in [[1, 2], [3, 3]] {
            let schema = TableSchema::new(vec![Column::new("id", ColumnType::Int64)], &["id"]).unwrap();
            let ids: ArrayRef = Arc::new(Int64Array::from(rows.to_vec()));
            let keys = Keys::of_columns(&[("id", &ids)], 2).unwrap();
            let rows = RecordBatch::try_new(schema.to_arrow(), vec![ids]).unwrap();
            let refused = writes.put(Arc::new(schema), rows, &keys, Put::Insert);
            assert_eq!(refused, Err((1, WriteError::Exists)));
            assert_eq!(writes.keys, before);
            assert_eq!(writes.batches.len(), 1);
        }
    }

    fn key(id: i64) -> KeyBytes {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        Keys::of_columns(&[("id", &ids)], 1).unwrap().get(0).into()
    }

    #[test]
    fn the_first_write_of_a_key_says_what_must_be_there() {
        let mut writes = TableWrites::default();
        put(&mut writes, 1, Put::Insert).unwrap();
        put(&mut writes, 1, Put::Update).unwrap();
        put(&mut writes, 2, Put::Upsert).unwrap();
        writes.delete(&key(3)).unwrap();
        put(&mut writes, 3, Put::Insert).unwrap();
        assert_eq!(writes.keys[&key(1)].expect, Expect::Absent);
        assert_eq!(writes.keys[&key(2)].expect, Expect::Any);
        assert_eq!(writes.keys[&key(3)], KeyWrite { expect: Expect::Present, row: Some((3, 0)) });
    }

    #[test]
    fn a_truncation_forgets_rows_and_keeps_what_was_expected() {
        let mut writes = TableWrites::default();
        put(&mut writes, 1, Put::Insert).unwrap();
        put(&mut writes, 2, Put::Upsert).unwrap();
        put(&mut writes, 3, Put::Update).unwrap();
        writes.delete(&key(4)).unwrap();
        writes.truncate();
        assert!(writes.batches.is_empty() && writes.truncated);
        let gone = |expect| Some(KeyWrite { expect, row: None });
        let expected =
            [(1, gone(Expect::Absent)), (2, None), (3, gone(Expect::Present)), (4, gone(Expect::Present))];
        for (id, expected) in expected {
            assert_eq!(writes.keys.get(&key(id)).copied(), expected, "{id}");
            assert!(writes.row(&key(id)).unwrap().is_none());
            assert_eq!(writes.delete(&key(id)), Err(WriteError::Missing));
            assert_eq!(put(&mut writes, id, Put::Update), Err(WriteError::Missing));
        }
        put(&mut writes, 1, Put::Insert).unwrap();
        assert_eq!(writes.keys[&key(1)], KeyWrite { expect: Expect::Absent, row: Some((0, 0)) });
    }

    #[test]
    fn a_transaction_sees_its_own_writes() {
        let mut writes = TableWrites::default();
        put(&mut writes, 1, Put::Insert).unwrap();
        assert_eq!(put(&mut writes, 1, Put::Insert), Err(WriteError::Exists));
        writes.delete(&key(1)).unwrap();
        assert_eq!(writes.delete(&key(1)), Err(WriteError::Missing));
        assert_eq!(put(&mut writes, 1, Put::Update), Err(WriteError::Missing));
        writes.truncate();
        assert_eq!(writes.delete(&key(9)), Err(WriteError::Missing));
        put(&mut writes, 9, Put::Insert).unwrap();
        assert!(writes.row(&key(9)).unwrap().is_some());
        assert!(writes.row(&key(1)).unwrap().is_none());
    }
}
