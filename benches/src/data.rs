//! The data sets that `benches/peers/datasets.py` writes: Parquet files of a history with what its answers must be,
//! and Arrow files to load.

use asof_engine::arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use asof_engine::arrow::compute::{concat_batches, take_record_batch};
use asof_engine::arrow::ipc::reader::FileReader;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use asof_engine::{Column, ColumnType};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a program ends with where something is not as it must be.
pub type Failure = Box<dyn std::error::Error>;

/// A history: a table, then commits to it.
pub struct History {
    dir: PathBuf,
    expected: Value,
}

/// One commit.
pub struct Operations {
    /// Rows that are new or replace the ones with their keys.
    pub upserts: RecordBatch,
    /// Keys of rows that go.
    pub deletes: RecordBatch,
}

impl History {
    /// Opens a data set.
    pub fn open(dir: PathBuf) -> Result<History, Failure> {
        let path = dir.join("expected.json");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(History { dir, expected: serde_json::from_str(&text)? })
    }

    /// Commits after the first.
    pub fn versions(&self) -> u64 {
        self.expected["versions"].as_u64().expect("data sets say it")
    }

    /// The key columns.
    pub fn key(&self) -> Vec<String> {
        let names = self.expected["key"].as_array().expect("data sets say it");
        names.iter().map(|name| name.as_str().expect("names are texts").to_string()).collect()
    }

    /// The table after its first commit.
    pub fn base(&self) -> Result<RecordBatch, Failure> {
        parquet_rows(&self.dir.join("base.parquet"))
    }

    /// What a commit does, from the first after the base.
    pub fn operations(&self, version: u64) -> Result<Operations, Failure> {
        let rows = parquet_rows(&self.dir.join(format!("v{version:05}.parquet")))?;
        let what = rows.column(0).as_any().downcast_ref::<StringArray>().ok_or("op is a text")?;
        let pick = |delete| -> Result<RecordBatch, Failure> {
            let chosen: UInt32Array = (0..rows.num_rows() as u32)
                .filter(|row| (what.value(*row as usize) == "D") == delete)
                .collect();
            Ok(take_record_batch(&rows, &chosen)?)
        };
        let all: Vec<usize> = (1..rows.num_columns()).collect();
        let upserts = pick(false)?.project(&all)?;
        let deletes = pick(true)?.project(&all[..self.key().len()])?;
        Ok(Operations { upserts, deletes })
    }

    /// Rows and sum of prices at a version.
    pub fn at(&self, version: u64) -> (u64, f64) {
        let at = &self.expected["at"][version as usize];
        (at["rows"].as_u64().expect("data sets say it"), at["sum_price"].as_f64().expect("data sets say it"))
    }

    /// Keys to look up at a version, with their prices. Versions without any give those of version 0, without prices.
    pub fn probes(&self, version: u64) -> Result<Vec<(RecordBatch, Option<f64>)>, Failure> {
        let known = &self.expected["probes"][version.to_string()];
        let probes = if known.is_null() { &self.expected["probes"]["0"] } else { known };
        let one = |probe: &Value| {
            let columns = self.key().into_iter().map(|name| {
                let array: ArrayRef = match &probe["key"][&name] {
                    Value::String(text) => Arc::new(StringArray::from(vec![text.as_str()])),
                    number => Arc::new(Int64Array::from(vec![number.as_i64()])),
                };
                (name, array)
            });
            let price = probe["price"].as_f64().filter(|_| !known.is_null());
            Ok((RecordBatch::try_from_iter(columns)?, price))
        };
        probes.as_array().ok_or("data sets have probes")?.iter().map(one).collect()
    }

    /// What a net diff gives: rows and sum of prices before, then after.
    pub fn diff(&self, from: u64, to: u64) -> Option<[(u64, f64); 2]> {
        let diff = &self.expected["diffs"][format!("{from}-{to}")];
        let part = |name: &str| Some((diff[name][0].as_u64()?, diff[name][1].as_f64()?));
        Some([part("before")?, part("after")?])
    }
}

/// Whether two sums are the same but for the order of addition.
pub fn same_sum(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-6 * one.abs().max(other.abs()) + 1e-3
}

/// Sum of a column of prices.
pub fn sum(batch: &RecordBatch, name: &str) -> f64 {
    let column = batch.column_by_name(name).expect("the column was asked for");
    let column = column.as_any().downcast_ref::<Float64Array>().expect("prices are float64");
    asof_engine::arrow::compute::sum(column).unwrap_or(0.0)
}

/// All rows of a Parquet file as one batch.
pub fn parquet_rows(path: &Path) -> Result<RecordBatch, Failure> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(1 << 16).build()?;
    let batches: Vec<_> = reader.collect::<Result<_, _>>()?;
    let schema = batches.first().ok_or("a file of no rows")?.schema();
    Ok(concat_batches(&schema, &batches)?)
}

/// All batches of an Arrow file.
pub fn arrow_batches(path: &Path) -> Result<Vec<RecordBatch>, Failure> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(FileReader::try_new(file, None)?.collect::<Result<_, _>>()?)
}

/// The columns a table needs for these batches.
pub fn columns(batch: &RecordBatch) -> Result<Vec<Column>, Failure> {
    let schema = batch.schema();
    let column = |field: &Arc<asof_engine::arrow::datatypes::Field>| {
        Ok(Column::new(field.name(), ColumnType::from_arrow(field.data_type())?))
    };
    schema.fields().iter().map(column).collect()
}
