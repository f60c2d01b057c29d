//! Rows in the forms that commands write them.

use super::grid::Grid;
use crate::args::CatFormat;
use crate::{Error, Result, output, print};
use asof_engine::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use asof_engine::view::{Format, render};
use asof_engine::{ColumnType, TableSchema, text};
use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Rows that `--format table` measures together: each such table has its own heading, so that memory stays bounded.
const GRID_ROWS: usize = 2000;

/// Rows, a batch at a time.
pub type Batches<'a> = &'a mut dyn Iterator<Item = asof_engine::Result<RecordBatch>>;

/// The format asked for, or that of the file's extension; JSON Lines with `--json`, or else what is given.
pub fn format(
    asked: Option<CatFormat>,
    file: Option<&Path>,
    json: bool,
    otherwise: CatFormat,
) -> Result<CatFormat> {
    if let Some(format) = asked {
        return Ok(format);
    }
    match (output::extension(file).as_deref(), file) {
        (Some("csv"), _) => Ok(CatFormat::Csv),
        (Some("jsonl" | "ndjson"), _) => Ok(CatFormat::Jsonl),
        (Some("json"), _) => Ok(CatFormat::Json),
        (Some("parquet"), _) => Ok(CatFormat::Parquet),
        (Some("arrow"), _) => Ok(CatFormat::Arrow),
        (_, Some(file)) if file != Path::new("-") => Err(Error::usage(format!(
            "{}: the extension names no format; use .csv, .jsonl, .json, .parquet or .arrow, or give --format",
            file.display()
        ))),
        _ => Ok(if json { CatFormat::Jsonl } else { otherwise }),
    }
}

/// Whether a format is kept from terminals.
pub fn is_binary(format: CatFormat) -> bool {
    matches!(format, CatFormat::Parquet | CatFormat::Arrow)
}

/// Writes rows of a schema; gives how many.
pub fn write(
    format: CatFormat,
    schema: &TableSchema,
    batches: Batches<'_>,
    out: &mut dyn Write,
) -> Result<u64> {
    let mut rows = 0;
    let counted =
        &mut batches.inspect(|batch| rows += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64));
    match format {
        CatFormat::Csv => render(Format::Csv, schema, counted, out).map(|_| ())?,
        CatFormat::Jsonl => render(Format::JsonLines, schema, counted, out).map(|_| ())?,
        CatFormat::Parquet => render(Format::Parquet, schema, counted, out).map(|_| ())?,
        CatFormat::Arrow => render(Format::Arrow, schema, counted, out).map(|_| ())?,
        CatFormat::Json => write_json(schema, counted, out)?,
        CatFormat::Table => write_grids(schema, counted, out)?,
    }
    Ok(rows)
}

fn write_json(schema: &TableSchema, batches: Batches<'_>, out: &mut dyn Write) -> Result<()> {
    let mut lines = Vec::new();
    let mut before: &[u8] = b"[\n";
    for batch in batches {
        lines.clear();
        text::write_jsonl_rows(schema, &batch?, &mut lines);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            out.write_all(before)?;
            out.write_all(line.strip_suffix(b"\n").unwrap_or(line))?;
            before = b",\n";
        }
    }
    out.write_all(if before.starts_with(b"[") { b"[]\n" } else { b"\n]\n" })?;
    Ok(())
}

/// CSV in which no cell is taken for a formula.
pub fn write_csv_safe(schema: &TableSchema, batches: Batches<'_>, out: &mut dyn Write) -> Result<()> {
    let mut safe = schema.clone();
    for column in &mut safe.columns {
        column.name = defuse(&column.name).into_owned();
    }
    let mut bytes = Vec::new();
    text::write_csv_header(&safe, &mut bytes);
    for batch in batches {
        text::write_csv_rows(schema, &defuse_batch(schema, &batch?)?, &mut bytes);
        out.write_all(&bytes)?;
        bytes.clear();
    }
    Ok(out.write_all(&bytes)?)
}

/// A text that no spreadsheet takes for a formula.
fn defuse(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}").into() } else { text.into() }
}

/// Text columns without formulas; numbers keep their signs.
fn defuse_batch(schema: &TableSchema, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns =
        schema.columns.iter().zip(batch.columns()).map(|(column, array)| match column.column_type {
            ColumnType::Text => {
                let cells = array.as_string::<i32>().iter().map(|cell| cell.map(defuse));
                Arc::new(cells.collect::<StringArray>()) as ArrayRef
            }
            _ => array.clone(),
        });
    RecordBatch::try_new(batch.schema(), columns.collect())
        .map_err(|error| asof_engine::Error::from(error).into())
}

fn write_grids(schema: &TableSchema, batches: Batches<'_>, out: &mut dyn Write) -> Result<()> {
    let new_grid =
        || Grid::boxed(schema.columns.iter().map(|c| (shown(&c.name), is_number(&c.column_type))).collect());
    let (mut grid, mut rows) = (new_grid(), 0);
    for batch in batches {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let cells = schema.columns.iter().zip(batch.columns());
            grid.add(cells.map(|(column, array)| cell_text(&column.column_type, array, row)).collect());
            rows += 1;
            if rows % GRID_ROWS == 0 {
                write!(out, "{grid}")?;
                grid = new_grid();
            }
        }
    }
    if rows == 0 || rows % GRID_ROWS != 0 {
        write!(out, "{grid}")?;
    }
    Ok(writeln!(out, "{}", print::count_text(rows as u64, "row"))?)
}

/// A cell keeps its line in a table for people: line feeds and other control characters are shown as escapes.
fn cell_text(column_type: &ColumnType, array: &ArrayRef, row: usize) -> String {
    text::format_cell(column_type, array, row).map_or("NULL".to_string(), |text| shown(&text))
}

fn shown(text: &str) -> String {
    print::escape_controls(text).into_owned()
}

fn is_number(column_type: &ColumnType) -> bool {
    use ColumnType::*;
    matches!(
        column_type,
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Decimal(..)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_defused_and_nothing_else_is() {
        for text in ["=1+1", "+x", "-x", "@x", "\tx", "\rx"] {
            assert_eq!(defuse(text), format!("'{text}"));
        }
        for text in ["", "a=1", "'=1", " =1", "1-2"] {
            assert_eq!(defuse(text), text);
        }
    }

    #[test]
    fn the_extension_names_the_format_unless_one_is_asked_for() {
        let of = |asked, file: &str, json| {
            format(asked, Some(Path::new(file)), json, CatFormat::Csv).map_err(|e| e.status().code())
        };
        assert_eq!(of(None, "a.parquet", true), Ok(CatFormat::Parquet));
        assert_eq!(of(None, "a.CSV", false), Ok(CatFormat::Csv));
        assert_eq!(of(Some(CatFormat::Json), "a.csv", false), Ok(CatFormat::Json));
        assert_eq!(of(None, "a", false), Err(2));
        assert_eq!(of(None, "a.xls", false), Err(2));
        assert_eq!(of(None, "-", false), Ok(CatFormat::Csv));
        assert_eq!(format(None, None, true, CatFormat::Table).unwrap(), CatFormat::Jsonl);
    }
}
