//! Reads Parquet and Arrow IPC (file and stream) as batches of typed columns.
//!
//! Invariant: a file that the readers of these formats choke on gives an error, also where they panic.

use super::arrow::{ArrowReader, FILE_MAGIC};
use super::bounds::BoundedFile;
use super::chunk::CHUNK_ROWS_MAX;
use super::parquet::ParquetReader;
use super::source::Source;
use asof_engine::arrow::array::RecordBatch;
use asof_engine::arrow::datatypes::{DataType, SchemaRef};
use asof_engine::guard::guarded;
use asof_engine::{ColumnType, Error, Result};
use std::collections::HashSet;

/// What a library reads; an error that names the input if it panics.
fn library<T>(name: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    guarded(read, || Error::invalid(format!("{name}: the file is damaged; write it again")))
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>>>;

/// A file being read.
pub struct TypedReader {
    name: String,
    columns: Vec<(String, Option<ColumnType>)>,
    batches: Batches,
    batch: Option<RecordBatch>,
    rows: u64,
}

impl TypedReader {
    /// Begins to read a Parquet file.
    pub fn parquet(source: &Source) -> Result<TypedReader> {
        let file = BoundedFile::new(source.name(), source.read_anywhere()?)?;
        let reader = library(source.name(), || ParquetReader::new(file, CHUNK_ROWS_MAX))?;
        TypedReader::new(source.name(), &reader.schema(), Box::new(reader))
    }

    /// Begins to read an Arrow IPC file or stream.
    pub fn arrow(source: &Source) -> Result<TypedReader> {
        let is_file = source.start(FILE_MAGIC.len())? == FILE_MAGIC;
        let file = BoundedFile::new(source.name(), source.read_anywhere()?)?;
        let reader = library(source.name(), || match is_file {
            true => ArrowReader::file(file),
            false => ArrowReader::stream(file),
        })?;
        let schema = reader.schema().clone();
        TypedReader::new(source.name(), &schema, Box::new(reader))
    }

    fn new(name: &str, schema: &SchemaRef, batches: Batches) -> Result<TypedReader> {
        let mut columns = Vec::with_capacity(schema.fields().len());
        let mut seen = HashSet::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let column =
                if field.name().is_empty() { format!("column{}", index + 1) } else { field.name().clone() };
            if !seen.insert(column.clone()) {
                return Err(Error::invalid(format!("{name}: column '{column}' is there twice")));
            }
            let column_type = match field.data_type() {
                DataType::Null => None,
                other => Some(ColumnType::from_arrow(other).map_err(|error| {
                    Error::new(
                        asof_engine::ErrorKind::Unsupported,
                        format!("{name}: column '{column}': {error}; cast it before writing the file"),
                    )
                })?),
            };
            columns.push((column, column_type));
        }
        Ok(TypedReader { name: name.to_string(), columns, batches, batch: None, rows: 0 })
    }

    /// The columns and their types; a column that has none holds nulls alone.
    pub fn columns(&self) -> &[(String, Option<ColumnType>)] {
        &self.columns
    }

    /// The next rows and the number of the first, from 1; `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        loop {
            let batch = match self.batch.take() {
                Some(batch) => batch,
                None => {
                    let (name, batches) = (&self.name, &mut self.batches);
                    match library(name, || batches.next().transpose())? {
                        Some(batch) => batch,
                        None => return Ok(None),
                    }
                }
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let count = batch.num_rows().min(CHUNK_ROWS_MAX);
            if batch.num_rows() > count {
                self.batch = Some(batch.slice(count, batch.num_rows() - count));
            }
            let first = self.rows + 1;
            self.rows += count as u64;
            return Ok(Some((batch.slice(0, count), first)));
        }
    }
}
