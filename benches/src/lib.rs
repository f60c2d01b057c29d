//! What the benchmarks share: a table of reference data on real files, and changes to it; and for the programs of
//! `src/bin`, what they read, count and print.
//!
//! Nothing here measures: the benchmarks in `benches/` do, by `cargo bench --package asof-benches`, and the programs do,
//! by `benches/run`.

pub mod arguments;
pub mod data;
pub mod report;

use asof_engine::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use asof_engine::{Column, ColumnType, CommitOptions, Database, Options, Result, Version};
use std::path::Path;
use std::sync::Arc;

/// The table.
pub const TABLE: &str = "products";

/// Rows with these keys: an id, a name of some twenty bytes, a price, an edition that tells updates apart.
pub fn rows(ids: impl IntoIterator<Item = i64>, edition: i64) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let name = |id: &i64| format!("product {:012x}", id.wrapping_mul(0x9E37_79B9_7F4A));
    let price = |id: &i64| (id % 10_007) as f64 / 8.0 + edition as f64;
    let columns: [(&str, ArrayRef); 4] = [
        ("name", Arc::new(StringArray::from_iter_values(ids.iter().map(name)))),
        ("price", Arc::new(Float64Array::from_iter_values(ids.iter().map(price)))),
        ("edition", Arc::new(Int64Array::from_value(edition, ids.len()))),
        ("id", Arc::new(Int64Array::from(ids))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns are of one length")
}

/// A new database on real files, without checkpoints of its own accord, with one table of `count` rows, checkpointed.
pub fn loaded(path: &Path, count: i64) -> Result<Database> {
    let database = Database::create(path, Options { checkpoint_log_bytes: 0, ..Options::default() })?;
    let mut transaction = database.begin()?;
    let columns = [
        ("id", ColumnType::Int64),
        ("name", ColumnType::Text),
        ("price", ColumnType::Float64),
        ("edition", ColumnType::Int64),
    ];
    let columns = columns.into_iter().map(|(name, column_type)| Column::new(name, column_type)).collect();
    transaction.create_table(TABLE, columns, &["id".to_string()])?;
    if count > 0 {
        transaction.insert(TABLE, &rows(0..count, 0))?;
    }
    transaction.commit(CommitOptions::default())?;
    database.checkpoint()?;
    Ok(database)
}

/// Commits rows, new or known.
pub fn upsert(database: &Database, batch: &RecordBatch) -> Result<Version> {
    let mut transaction = database.begin()?;
    transaction.upsert(TABLE, batch)?;
    Ok(transaction.commit(CommitOptions::default())?.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_works() {
        let dir = tempfile::tempdir().unwrap();
        let database = loaded(&dir.path().join("db"), 100).unwrap();
        assert_eq!(upsert(&database, &rows([99, 100], 1)).unwrap(), Version(2));
        let rows = |version| database.snapshot(Version(version)).unwrap().table(TABLE).unwrap().rows;
        assert_eq!((rows(1), rows(2)), (100, 101));
    }
}
