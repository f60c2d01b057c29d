//! The text forms of values: the cells of CSV and JSON Lines, frozen for ever.
//!
//! The bytes of both depend on rows and schema alone; `docs/text-forms.md` lists them type by type
//! and a test holds them there. Sizes are computed without rendering ([`cell_bytes`],
//! [`file_size_csv`], [`file_size_jsonl`]) and are exact, so that sums kept per column give the
//! size of a file. This writer is ours because NULL and the empty string must differ.

mod cells;
mod civil;
mod number;
mod parse;
#[cfg(test)]
mod tests;

pub use cells::hex;
pub(crate) use cells::{Cells, write_hex};
pub(crate) use civil::{civil_of_days, days_of_civil, write_timestamp};
pub(crate) use parse::show;
pub use parse::{CellError, json_to_column, parse_column, parse_scalar};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use asof_mvcc::{Column, ColumnType, TableSchema};

/// Writes the header line of a CSV file: the columns' names.
pub fn write_csv_header(schema: &TableSchema, out: &mut Vec<u8>) {
    for (index, column) in schema.columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        cells::write_csv_text(column.name.as_bytes(), schema.columns.len() == 1, out);
    }
    out.push(b'\n');
}

/// Writes rows as CSV. The batch has the schema's columns in their order.
pub fn write_csv_rows(schema: &TableSchema, batch: &RecordBatch, out: &mut Vec<u8>) {
    let writer = CsvRows::new(schema, batch);
    (0..batch.num_rows()).for_each(|row| writer.write(row, out));
}

/// Writes rows as JSON Lines: one compact object a line, every column always there. The batch has the schema's columns
/// in their order.
pub fn write_jsonl_rows(schema: &TableSchema, batch: &RecordBatch, out: &mut Vec<u8>) {
    let writer = JsonRows::new(schema, batch);
    (0..batch.num_rows()).for_each(|row| writer.write(row, out));
}

/// Writes single rows of a batch as CSV.
pub(crate) struct CsvRows<'a>(Vec<Cells<'a>>);

impl<'a> CsvRows<'a> {
    /// The rows of a batch that has the schema's columns.
    pub(crate) fn new(schema: &TableSchema, batch: &'a RecordBatch) -> CsvRows<'a> {
        assert_eq!(schema.columns.len(), batch.num_columns(), "a batch has its schema's columns");
        CsvRows(batch.columns().iter().map(Cells::of).collect())
    }

    /// Writes a line.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        let one_column = self.0.len() == 1;
        for (index, cells) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            cells.write_csv(row, one_column, out);
        }
        out.push(b'\n');
    }
}

/// Writes single rows of a batch as JSON Lines.
pub(crate) struct JsonRows<'a>(Vec<(Vec<u8>, Cells<'a>)>);

impl<'a> JsonRows<'a> {
    /// The rows of a batch that has the schema's columns.
    pub(crate) fn new(schema: &TableSchema, batch: &'a RecordBatch) -> JsonRows<'a> {
        assert_eq!(schema.columns.len(), batch.num_columns(), "a batch has its schema's columns");
        let named =
            |(column, array): (&Column, &'a ArrayRef)| (cells::json_name(&column.name), Cells::of(array));
        JsonRows(schema.columns.iter().zip(batch.columns()).map(named).collect())
    }

    /// Writes a line.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, cells)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            cells.write_json(row, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Bytes of the header line of a CSV file.
pub fn header_bytes(schema: &TableSchema) -> u64 {
    let mut header = Vec::new();
    write_csv_header(schema, &mut header);
    header.len() as u64
}

/// Bytes of all cells of a column: as CSV and as JSON, NULLs included, commas, names and line ends left out.
/// `one_column` says whether the table has this column alone: its NULLs are then a word.
pub fn cell_bytes(column: &Column, array: &ArrayRef, one_column: bool) -> (u64, u64) {
    sum_cells(column, array, one_column, 0..array.len())
}

/// Bytes of the cells of a column in some rows, as [`cell_bytes`] counts them.
pub fn cell_bytes_of_rows(column: &Column, array: &ArrayRef, one_column: bool, rows: &[u32]) -> (u64, u64) {
    sum_cells(column, array, one_column, rows.iter().map(|&row| row as usize))
}

fn sum_cells(
    column: &Column,
    array: &ArrayRef,
    one_column: bool,
    rows: impl Iterator<Item = usize>,
) -> (u64, u64) {
    debug_assert!(
        array.data_type().equals_datatype(&column.column_type.to_arrow()),
        "column '{}'",
        column.name
    );
    let (cells, mut scratch) = (Cells::of(array), Vec::new());
    rows.fold((0, 0), |(csv, json), row| {
        let (csv_cell, json_cell) = cells.bytes(row, one_column, &mut scratch);
        (csv + csv_cell as u64, json + json_cell as u64)
    })
}

/// The exact size of a table as a CSV file, from its rows and each column's sum of CSV bytes.
pub fn file_size_csv(schema: &TableSchema, rows: u64, column_bytes: &[u64]) -> u64 {
    // Each row has a comma between cells and a line end: one byte a column.
    let bytes = column_bytes.iter().fold(header_bytes(schema), |sum, bytes| sum.saturating_add(*bytes));
    bytes.saturating_add(rows.saturating_mul(schema.columns.len() as u64))
}

/// The exact size of a table as a JSON Lines file, from its rows and each column's sum of JSON bytes.
pub fn file_size_jsonl(schema: &TableSchema, rows: u64, column_bytes: &[u64]) -> u64 {
    // Two braces and a line end, less one comma than columns.
    let names: usize = schema.columns.iter().map(|column| cells::json_name(&column.name).len() + 1).sum();
    let bytes = column_bytes.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    bytes.saturating_add(rows.saturating_mul(names as u64 + 2))
}

/// The key of a row as people write it.
pub fn format_key(schema: &TableSchema, rows: &RecordBatch, row: usize) -> String {
    let cells = schema.key_indexes().into_iter().map(|index| {
        format_cell(&schema.columns[index].column_type, rows.column(index), row).unwrap_or_default()
    });
    cells.collect::<Vec<_>>().join(",")
}

/// The text of a cell as people type it, without any quoting; `None` for NULL. Lists and structs are compact JSON.
pub fn format_cell(column_type: &ColumnType, array: &ArrayRef, row: usize) -> Option<String> {
    debug_assert!(array.data_type().equals_datatype(&column_type.to_arrow()), "{column_type}");
    let cells = Cells::of(array);
    if cells.is_null(row) {
        return None;
    }
    let mut out = Vec::new();
    cells.write_text(row, &mut out);
    Some(String::from_utf8(out).expect("text columns hold UTF-8 and every other form is ASCII or such text"))
}

/// A default as typed: numbers and truth values bare, everything else in single quotes.
pub fn default_text(column: &Column) -> Option<String> {
    let value = format_cell(&column.column_type, column.default.as_ref()?, 0)?;
    let bare =
        !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let quoted = matches!(column.column_type, ColumnType::Text) || !bare;
    Some(if quoted { format!("'{}'", value.replace('\'', "''")) } else { value })
}

/// A table schema for batches that are not a table's: a projection, a diff. It has no key.
pub fn schema_of_arrow(schema: &Schema) -> crate::Result<TableSchema> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = Column::new(field.name(), ColumnType::from_arrow(field.data_type())?);
            Ok(Column { nullable: field.is_nullable(), ..column })
        })
        .collect::<crate::Result<Vec<_>>>()?;
    let none: [&str; 0] = [];
    Ok(TableSchema::new(columns, &none)?)
}
