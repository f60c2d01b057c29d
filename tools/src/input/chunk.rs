//! Some thousand rows as they were read, whatever the format, and where in the input each stood.

use super::cast;
use super::cells::Cells;
use super::json::JsonRows;
use asof_engine::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use asof_engine::arrow::compute::filter_record_batch;
use asof_engine::text::{self, CellError};
use asof_engine::{Column, ColumnType};
use std::fmt;

/// Rows in a chunk, at most.
pub const CHUNK_ROWS_MAX: usize = 8192;
/// Bytes of text after which a chunk ends.
pub const CHUNK_TEXT_BYTES: usize = 8 << 20;

/// Where a row stood in its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a text.
    Line {
        /// The line, from 1.
        line: u64,
        /// The offset of the row's first byte, in the decompressed text.
        offset: u64,
    },
    /// In a file without lines: the row, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { line, offset } => write!(f, "line {line} (byte {offset})"),
            Place::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// Rows as read.
#[derive(Debug)]
pub struct Chunk {
    /// The names of the columns, without repetition. For JSON: those that any row of the chunk has.
    pub names: Vec<String>,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Cells(Cells),
    Json(JsonRows),
    /// With the number of each row, from 1.
    Batch(RecordBatch, Vec<u64>),
}

impl Chunk {
    /// A chunk of text cells.
    pub fn of_cells(names: Vec<String>, cells: Cells) -> Chunk {
        Chunk { names, rows: Rows::Cells(cells) }
    }

    /// A chunk of JSON objects.
    pub fn of_json(rows: JsonRows) -> Chunk {
        Chunk { names: rows.names().to_vec(), rows: Rows::Json(rows) }
    }

    /// A chunk of typed columns; `first_row` counts from 1.
    pub fn of_batch(names: Vec<String>, batch: RecordBatch, first_row: u64) -> Chunk {
        let places = (first_row..).take(batch.num_rows()).collect();
        Chunk { names, rows: Rows::Batch(batch, places) }
    }

    /// Its rows.
    pub fn rows(&self) -> usize {
        match &self.rows {
            Rows::Cells(cells) => cells.rows(),
            Rows::Json(rows) => rows.len(),
            Rows::Batch(batch, _) => batch.num_rows(),
        }
    }

    /// The text cells, where it has such.
    pub fn cells(&self) -> Option<&Cells> {
        match &self.rows {
            Rows::Cells(cells) => Some(cells),
            _ => None,
        }
    }

    /// The JSON objects, where it has such.
    pub fn json(&self) -> Option<&JsonRows> {
        match &self.rows {
            Rows::Json(rows) => Some(rows),
            _ => None,
        }
    }

    /// Where a row stood.
    pub fn place(&self, row: usize) -> Place {
        match &self.rows {
            Rows::Cells(cells) => *cells.place(row),
            Rows::Json(rows) => rows.place(row),
            Rows::Batch(_, places) => Place::Row(places[row]),
        }
    }

    /// A row as text, for a file of rejects.
    pub fn record(&self, row: usize) -> String {
        match &self.rows {
            Rows::Cells(cells) => cells.record(row),
            Rows::Json(rows) => rows.record(row),
            Rows::Batch(batch, _) => cast::record(batch, row),
        }
    }

    /// The values of the column at `index` of [`Chunk::names`], as values of a type; the error names the first row
    /// whose value is none.
    pub fn column(&self, index: usize, column_type: &ColumnType) -> Result<ArrayRef, CellError> {
        match &self.rows {
            Rows::Cells(cells) => text::parse_column(column_type, cells.column(index)),
            Rows::Json(rows) => text::json_to_column(column_type, &rows.column(&self.names[index])),
            Rows::Batch(batch, _) => cast::fit(batch.column(index), column_type),
        }
    }

    /// The same for a table's column: a JSON object that lacks it gets the column's default.
    pub fn column_or_default(&self, index: usize, column: &Column) -> Result<ArrayRef, CellError> {
        let values = self.column(index, &column.column_type)?;
        match (&self.rows, &column.default) {
            (Rows::Json(rows), Some(default)) => rows.fill_absent(&self.names[index], values, default),
            _ => Ok(values),
        }
    }

    /// Whether the value at a row fits a type by itself.
    pub fn fits(&self, row: usize, index: usize, column_type: &ColumnType) -> Result<(), CellError> {
        match &self.rows {
            Rows::Cells(cells) => {
                text::parse_column(column_type, std::iter::once(cells.get(row, index))).map(drop)
            }
            Rows::Json(rows) => {
                text::json_to_column(column_type, &[rows.get(row, &self.names[index])]).map(drop)
            }
            Rows::Batch(batch, _) => cast::fit(&batch.column(index).slice(row, 1), column_type).map(drop),
        }
    }

    /// Those rows that are to stay.
    pub fn retain(&self, keep: &[bool]) -> Chunk {
        match &self.rows {
            Rows::Cells(cells) => Chunk::of_cells(self.names.clone(), cells.retain(keep)),
            Rows::Json(rows) => Chunk::of_json(rows.retain(keep)),
            Rows::Batch(batch, places) => {
                let kept: Vec<u64> =
                    places.iter().zip(keep).filter(|(_, keep)| **keep).map(|(place, _)| *place).collect();
                let batch = filter_record_batch(batch, &BooleanArray::from(keep.to_vec()))
                    .expect("there is a flag for each row");
                Chunk { names: self.names.clone(), rows: Rows::Batch(batch, kept) }
            }
        }
    }
}
