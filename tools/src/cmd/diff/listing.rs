//! A diff for people: `+` for rows that came, `-` for rows that went, `~` for rows that changed with
//! the columns that did.

use crate::print::value::value_text;
use crate::print::{Paint, escape_controls, time_or_start};
use crate::{Context, Result};
use asof_engine::arrow::array::{Array, AsArray, RecordBatch};
use asof_engine::arrow::datatypes::{Schema, TimestampMicrosecondType, UInt64Type};
use asof_engine::compare::TableDiff;
use asof_engine::{CommitTime, DiffKind, TableSchema, Version, text};
use std::io::Write;

/// The columns that every diff begins with.
const CHANGE_COLUMNS: usize = 3;

/// Prints the changes of one table.
pub(super) struct Listing {
    heading: String,
    schema: TableSchema,
    /// Positions of the key columns in a batch, and of the others.
    key: Vec<usize>,
    others: Vec<usize>,
    paint: Paint,
    escapes: bool,
    feed: bool,
    /// The version whose changes are being printed, in a feed.
    version: Option<u64>,
    /// The row before the update whose row after comes next.
    before: Option<(RecordBatch, usize)>,
    headed: bool,
}

impl Listing {
    /// A listing of a table's changes; `for_terminal` where it goes to standard output.
    pub(super) fn new(
        context: &Context,
        table: &TableDiff,
        columns: &Schema,
        kind: DiffKind,
        for_terminal: bool,
    ) -> Result<Listing> {
        let schema = text::schema_of_arrow(columns)?;
        let key_names: Vec<&str> = match table.after.as_ref().or(table.before.as_ref()) {
            Some(info) => info.schema.key_columns().map(|column| column.name.as_str()).collect(),
            None => Vec::new(),
        };
        let key: Vec<usize> = key_names
            .iter()
            .filter_map(|name| {
                schema.columns.iter().skip(CHANGE_COLUMNS).position(|column| column.name == *name)
            })
            .map(|position| position + CHANGE_COLUMNS)
            .collect();
        let others = (CHANGE_COLUMNS..schema.columns.len()).filter(|index| !key.contains(index)).collect();
        Ok(Listing {
            heading: table.name.clone(),
            schema,
            key,
            others,
            paint: Paint::new(for_terminal && context.colors_stdout()),
            escapes: for_terminal && context.stdout_is_terminal(),
            feed: kind == DiffKind::Feed,
            version: None,
            before: None,
            headed: false,
        })
    }

    fn shown(&self, text: &str) -> String {
        if self.escapes { escape_controls(text).into_owned() } else { text.to_string() }
    }

    fn head(&mut self, out: &mut dyn Write) -> Result<()> {
        if !self.headed {
            writeln!(out, "{}", self.paint.bold(&self.shown(&self.heading)))?;
            self.headed = true;
        }
        Ok(())
    }

    /// Prints the changes of a batch.
    pub(super) fn print(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows() {
            self.head(out)?;
            if self.feed {
                self.print_version(out, batch, row)?;
            }
            match batch.column(0).as_string::<i32>().value(row) {
                "insert" => writeln!(out, "{}", self.paint.green(&format!("+ {}", self.row(batch, row))))?,
                "delete" => writeln!(out, "{}", self.paint.red(&format!("- {}", self.row(batch, row))))?,
                "update_preimage" => self.before = Some((batch.clone(), row)),
                _ => {
                    let line = match self.before.take() {
                        Some((before, before_row)) => self.update(&before, before_row, batch, row),
                        None => self.row(batch, row),
                    };
                    writeln!(out, "{}", self.paint.yellow(&format!("~ {line}")))?;
                }
            }
        }
        Ok(())
    }

    /// In a feed, a line for each version.
    fn print_version(&mut self, out: &mut dyn Write, batch: &RecordBatch, row: usize) -> Result<()> {
        let version = batch.column(1).as_primitive::<UInt64Type>().value(row);
        if self.version.replace(version) != Some(version) {
            let time = batch.column(2).as_primitive::<TimestampMicrosecondType>().value(row);
            let line = format!("version {} ({})", Version(version), time_or_start(CommitTime(time)));
            writeln!(out, "{}", self.paint.cyan(&line))?;
        }
        Ok(())
    }

    fn value(&self, batch: &RecordBatch, column: usize, row: usize) -> String {
        self.shown(&value_text(&self.schema.columns[column].column_type, batch, column, row))
    }

    fn pairs(&self, batch: &RecordBatch, columns: &[usize], row: usize) -> Vec<String> {
        columns
            .iter()
            .filter(|column| batch.column(**column).is_valid(row))
            .map(|column| {
                format!(
                    "{}={}",
                    self.shown(&self.schema.columns[*column].name),
                    self.value(batch, *column, row)
                )
            })
            .collect()
    }

    /// The key, then all columns that are not null.
    fn row(&self, batch: &RecordBatch, row: usize) -> String {
        let mut pairs = self.pairs(batch, &self.key, row);
        pairs.extend(self.pairs(batch, &self.others, row));
        pairs.join(", ")
    }

    /// The key, then the columns that changed.
    fn update(
        &self,
        before: &RecordBatch,
        before_row: usize,
        after: &RecordBatch,
        after_row: usize,
    ) -> String {
        let key = self.pairs(after, &self.key, after_row).join(", ");
        let changed: Vec<String> = self
            .others
            .iter()
            .filter_map(|column| {
                let old = self.value(before, *column, before_row);
                let new = self.value(after, *column, after_row);
                let name = self.shown(&self.schema.columns[*column].name);
                (old != new).then(|| format!("{name}: {old} -> {new}"))
            })
            .collect();
        let what = if changed.is_empty() { "(written again, equal)".to_string() } else { changed.join(", ") };
        format!("{key}  {what}")
    }

    /// Prints what changed in the schema, and how much there was.
    pub(super) fn finish(
        mut self,
        out: &mut dyn Write,
        table: &TableDiff,
        sample: Option<u64>,
    ) -> Result<()> {
        let schema: Vec<String> = table.schema_changes().iter().map(ToString::to_string).collect();
        if !self.headed && schema.is_empty() {
            return Ok(());
        }
        self.head(out)?;
        if !schema.is_empty() {
            writeln!(out, "schema: {}", self.shown(&schema.join(", ")))?;
        }
        let counts = [
            (table.counts.inserted, "inserted"),
            (table.counts.updated, "updated"),
            (table.counts.deleted, "deleted"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .map(|(count, what)| match sample {
                Some(sample) if *count > sample => format!("{count} {what} ({sample} shown)"),
                _ => format!("{count} {what}"),
            })
            .collect();
        let rows = format!("{} rows -> {}", table.rows_before(), table.rows_after());
        Ok(writeln!(out, "{}; {rows}", parts.join(", "))?)
    }
}
