//! `diff`: what changed between two versions, for people, for programs, and as a gate for scripts.

mod condition;
mod listing;
mod schema_changes;

pub use condition::Condition;

use crate::args::{DiffArgs, DiffFormat};
use crate::print::grid::Grid;
use crate::{Context, Error, Result, Status, output};
use asof_engine::arrow::array::{AsArray, BooleanArray, RecordBatch};
use asof_engine::arrow::compute::filter_record_batch;
use asof_engine::view::{Format, render};
use asof_engine::{Database, Diff, DiffKind, Snapshot, TableInfo, Version, text};
use listing::Listing;
use schema_changes::SchemaChange;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Write;

/// A table in a diff: how it was, how it is, and what was counted on the way.
pub(crate) struct TableDiff {
    name: String,
    before: Option<TableInfo>,
    after: Option<TableInfo>,
    inserted: u64,
    updated: u64,
    deleted: u64,
}

impl TableDiff {
    fn rows_before(&self) -> u64 {
        self.before.as_ref().map_or(0, |info| info.rows)
    }

    fn rows_after(&self) -> u64 {
        self.after.as_ref().map_or(0, |info| info.rows)
    }

    /// Whether rows or schema may differ: known without reading any row.
    fn may_differ(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => (before.id, before.changed) != (after.id, after.changed),
            _ => true,
        }
    }

    /// Whether anything does differ, once the rows are counted.
    fn differs(&self) -> bool {
        self.inserted + self.updated + self.deleted > 0 || !self.schema_changes().is_empty()
    }

    fn schema_changes(&self) -> Vec<SchemaChange> {
        schema_changes::between(self.before.as_ref(), self.after.as_ref())
    }

    fn count(&mut self, change: &str) {
        match change {
            "insert" => self.inserted += 1,
            "update_postimage" => self.updated += 1,
            "delete" => self.deleted += 1,
            _ => {}
        }
    }

    /// How many changes of a kind were counted.
    fn counted(&self, change: &str) -> u64 {
        match change {
            "insert" => self.inserted,
            // The image before comes first and stands and falls with the one after, which is the one counted.
            "update_preimage" => self.updated + 1,
            "update_postimage" => self.updated,
            _ => self.deleted,
        }
    }
}

/// What is compared and how.
struct Comparison<'a> {
    context: &'a Context,
    args: &'a DiffArgs,
    database: Database,
    from: Version,
    to: Version,
}

/// Prints what changed.
pub fn run(args: DiffArgs, context: &Context) -> Result {
    let format = format(&args, context)?;
    let database = context.open_read_only(&args.database)?;
    let from = context.resolve(&database, &args.from)?.version;
    let to = context.resolve(&database, &args.to)?.version;
    if from > to {
        return Err(Error::usage(format!(
            "FROM (version {from}) is later than TO (version {to}); change their places"
        )));
    }
    let comparison = Comparison { context, args: &args, database, from, to };
    let mut tables = comparison.tables()?;
    if args.stat {
        comparison.count_all(&mut tables)?;
        comparison.print_stat(&tables)?;
    } else if args.schema {
        if args.exit_code || !args.fail_if.is_empty() {
            comparison.count_all(&mut tables)?;
        }
        comparison.print_schema(&tables)?;
    } else {
        comparison.print_rows(&mut tables, format)?;
    }
    for condition in &args.fail_if {
        if let Some((table, why)) =
            tables.iter().find_map(|table| Some((&table.name, condition.holds(table)?)))
        {
            return Err(Error::refused(format!("table '{table}': {condition} holds: {why}")));
        }
    }
    let differs = tables.iter().any(TableDiff::differs);
    Ok(if args.exit_code && differs { Status::Differs } else { Status::Done })
}

fn format(args: &DiffArgs, context: &Context) -> Result<DiffFormat> {
    if let Some(format) = args.format {
        return Ok(format);
    }
    match (output::extension(args.output.as_deref()).as_deref(), &args.output) {
        (Some("csv"), _) => Ok(DiffFormat::Csv),
        (Some("jsonl" | "ndjson"), _) => Ok(DiffFormat::Jsonl),
        (Some("json"), _) => Ok(DiffFormat::Json),
        (Some("parquet"), _) => Ok(DiffFormat::Parquet),
        (Some("txt" | "diff"), _) => Ok(DiffFormat::Table),
        (_, Some(file)) if file.as_os_str() != "-" => Err(Error::usage(format!(
            "{}: the extension names no format; use .csv, .jsonl, .json, .parquet or .txt, or give --format",
            file.display()
        ))),
        _ => Ok(if context.json { DiffFormat::Jsonl } else { DiffFormat::Table }),
    }
}

impl Comparison<'_> {
    /// The tables to compare: the one named, or all that either version has.
    fn tables(&self) -> Result<Vec<TableDiff>> {
        let before = self.database.snapshot(self.from)?;
        let after = self.database.snapshot(self.to)?;
        let (before_names, after_names) = (before.table_names()?, after.table_names()?);
        let names: BTreeSet<String> = match &self.args.table {
            Some(table) if before_names.contains(table) || after_names.contains(table) => {
                [table.clone()].into()
            }
            Some(table) => {
                return Err(after.table(table).err().map_or_else(|| self.unknown(table), Error::from));
            }
            None => before_names.iter().chain(&after_names).cloned().collect(),
        };
        let info = |snapshot: &Snapshot, names: &[String], name: &String| -> Result<Option<TableInfo>> {
            Ok(names.contains(name).then(|| snapshot.table(name)).transpose()?)
        };
        names
            .into_iter()
            .map(|name| {
                Ok(TableDiff {
                    before: info(&before, &before_names, &name)?,
                    after: info(&after, &after_names, &name)?,
                    name,
                    inserted: 0,
                    updated: 0,
                    deleted: 0,
                })
            })
            .collect()
    }

    fn unknown(&self, table: &str) -> Error {
        Error::not_found(format!("there is no table '{table}' at version {} or {}", self.from, self.to))
    }

    fn diff(&self, table: &TableDiff, kind: DiffKind) -> Result<Diff> {
        Ok(self.database.diff(self.from, self.to, &table.name, kind)?)
    }

    /// Counts the net changes of all tables that may differ.
    fn count_all(&self, tables: &mut [TableDiff]) -> Result<()> {
        for table in tables.iter_mut().filter(|table| table.may_differ()) {
            for batch in self.diff(table, DiffKind::Net)? {
                let batch = batch?;
                change_types(&batch).for_each(|change| table.count(change));
            }
        }
        Ok(())
    }

    fn print_stat(&self, tables: &[TableDiff]) -> Result<()> {
        let changed = || tables.iter().filter(|table| table.differs());
        if self.context.json {
            let tables: Map<String, Value> =
                changed().map(|table| (table.name.clone(), stat_json(table))).collect();
            return self.context.print_json(&json!({"from": self.from.0, "to": self.to.0, "tables": tables}));
        }
        let mut grid = Grid::new(&[
            "table",
            ">rows before",
            ">rows after",
            ">inserted",
            ">updated",
            ">deleted",
            "schema",
        ]);
        for table in changed() {
            let schema: Vec<String> = table.schema_changes().iter().map(ToString::to_string).collect();
            grid.add(vec![
                self.context.shown(&table.name).into_owned(),
                table.rows_before().to_string(),
                table.rows_after().to_string(),
                table.inserted.to_string(),
                table.updated.to_string(),
                table.deleted.to_string(),
                self.context.shown(&schema.join(", ")).into_owned(),
            ]);
        }
        if changed().next().is_none() {
            self.context.note("nothing differs");
            return Ok(());
        }
        let mut out = self.context.out();
        write!(out, "{grid}")?;
        Ok(out.flush()?)
    }

    fn print_schema(&self, tables: &[TableDiff]) -> Result<()> {
        let mut out = self.context.out();
        let mut document = Map::new();
        for table in tables {
            let changes = table.schema_changes();
            if changes.is_empty() {
                continue;
            }
            if self.context.json {
                document.insert(table.name.clone(), changes.iter().map(SchemaChange::to_json).collect());
            } else {
                for change in changes {
                    writeln!(
                        out,
                        "{}: {}",
                        self.context.shown(&table.name),
                        self.context.shown(&change.to_string())
                    )?;
                }
            }
        }
        out.flush()?;
        drop(out);
        if self.context.json {
            let document = json!({"from": self.from.0, "to": self.to.0, "tables": document});
            self.context.print_json(&document)?;
        }
        Ok(())
    }

    /// Prints changed rows, counting on the way.
    fn print_rows(&self, tables: &mut [TableDiff], format: DiffFormat) -> Result<()> {
        let kind = if self.args.feed { DiffKind::Feed } else { DiffKind::Net };
        let file = self.args.output.as_deref();
        let mut changed: Vec<&mut TableDiff> = tables.iter_mut().filter(|table| table.may_differ()).collect();
        let columnar = matches!(format, DiffFormat::Csv | DiffFormat::Parquet);
        if columnar && changed.len() != 1 {
            let names: Vec<&str> = changed.iter().map(|table| table.name.as_str()).collect();
            if self.args.table.is_none() {
                return Err(Error::usage(format!(
                    "this format holds one table and {} differ{}: name one",
                    names.len(),
                    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) },
                )));
            }
            changed = tables.iter_mut().collect();
        }
        match format {
            DiffFormat::Table if file.is_none() => {
                let mut out = self.context.out();
                self.print_listing(&mut changed, kind, &mut out, true)?;
                Ok(out.flush()?)
            }
            DiffFormat::Table => output::write(self.context, file, false, |out| {
                self.print_listing(&mut changed, kind, out, false)
            }),
            DiffFormat::Csv | DiffFormat::Parquet => {
                let binary = format == DiffFormat::Parquet;
                let format = if binary { Format::Parquet } else { Format::Csv };
                output::write(self.context, file, binary, |out| {
                    for table in &mut changed {
                        let diff = self.diff(table, kind)?;
                        let schema = text::schema_of_arrow(&diff.schema())?;
                        let batches = diff.map(|batch| self.take(table, batch?));
                        render(format, &schema, batches, out)?;
                    }
                    Ok(())
                })
            }
            DiffFormat::Jsonl => output::write(self.context, file, false, |out| {
                self.for_each_line(&mut changed, kind, |line| {
                    out.write_all(line)?;
                    Ok(out.write_all(b"\n")?)
                })
            }),
            DiffFormat::Json => output::write(self.context, file, false, |out| {
                write!(out, "{{\"from\":{},\"to\":{},\"changes\":[", self.from, self.to)?;
                let mut before: &[u8] = b"\n";
                self.for_each_line(&mut changed, kind, |line| {
                    out.write_all(before)?;
                    before = b",\n";
                    Ok(out.write_all(line)?)
                })?;
                Ok(out.write_all(b"\n]}\n")?)
            }),
        }
    }

    fn print_listing(
        &self,
        tables: &mut [&mut TableDiff],
        kind: DiffKind,
        out: &mut dyn Write,
        for_terminal: bool,
    ) -> Result<()> {
        for table in tables {
            let diff = self.diff(table, kind)?;
            let mut listing = Listing::new(self.context, table, &diff.schema(), kind, for_terminal)?;
            for batch in diff {
                let batch = self.take(table, batch?)?;
                listing.print(out, &batch)?;
            }
            listing.finish(out, table, self.args.sample)?;
        }
        Ok(())
    }

    /// Every change as a line of JSON, with the table's name before it where no table was named.
    fn for_each_line(
        &self,
        tables: &mut [&mut TableDiff],
        kind: DiffKind,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (mut lines, mut joined) = (Vec::new(), Vec::new());
        for table in tables {
            let diff = self.diff(table, kind)?;
            let schema = text::schema_of_arrow(&diff.schema())?;
            let prefix = match &self.args.table {
                Some(_) => "{".to_string(),
                None => format!("{{\"_table\":{},", Value::from(table.name.as_str())),
            };
            for batch in diff {
                let batch = self.take(table, batch?)?;
                lines.clear();
                text::write_jsonl_rows(&schema, &batch, &mut lines);
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    joined.clear();
                    joined.extend_from_slice(prefix.as_bytes());
                    joined.extend_from_slice(line.strip_prefix(b"{").unwrap_or(line));
                    each(&joined)?;
                }
            }
        }
        Ok(())
    }

    /// Counts the changes of a batch, and leaves those that `--sample` lets through.
    fn take(&self, table: &mut TableDiff, batch: RecordBatch) -> asof_engine::Result<RecordBatch> {
        let limit = self.args.sample.unwrap_or(u64::MAX);
        let shown: BooleanArray = change_types(&batch)
            .map(|change| {
                table.count(change);
                Some(table.counted(change) <= limit)
            })
            .collect();
        if shown.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        Ok(filter_record_batch(&batch, &shown)?)
    }
}

/// The names of the changes in a diff's batch.
fn change_types(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    let column = batch.column_by_name("_change_type").expect("every batch of a diff has it");
    column.as_string::<i32>().iter().map(|name| name.unwrap_or_default())
}

fn stat_json(table: &TableDiff) -> Value {
    json!({
        "rows_before": table.rows_before(),
        "rows_after": table.rows_after(),
        "inserted": table.inserted,
        "updated": table.updated,
        "deleted": table.deleted,
        "schema_changes": table.schema_changes().iter().map(SchemaChange::to_json).collect::<Vec<_>>(),
    })
}
