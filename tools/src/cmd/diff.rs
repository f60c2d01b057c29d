//! `diff`: what changed between two versions, for people, for programs, and as a gate for scripts.

mod condition;
mod follow;
mod listing;

pub use condition::Condition;

use crate::args::{DiffArgs, DiffFormat};
use crate::print::Progress;
use crate::print::grid::Grid;
use crate::{Context, Error, Result, Status, output};
use asof_engine::arrow::array::{BooleanArray, RecordBatch};
use asof_engine::arrow::compute::filter_record_batch;
use asof_engine::compare::{SchemaChange, TableDiff, change_types};
use asof_engine::view::{Format, render_diff};
use asof_engine::{Database, Diff, DiffKind, Version, json, text};
use listing::Listing;
use serde_json::{Map, Value, json};
use std::io::Write;

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
    if args.follow {
        return follow::run(&args, context);
    }
    let format = format(&args, context)?;
    let database = context.open_read_only(&args.database)?;
    let from = context.resolve(&database, &args.from)?.version;
    let to = context.resolve(&database, &args.to)?.version;
    if args.feed && from > to {
        return Err(Error::usage(format!(
            "FROM (version {from}) is later than TO (version {to}), and a feed goes forward: change their places, or leave \
             --feed out for what it takes to come back"
        )));
    }
    let comparison = Comparison { context, args: &args, database, from, to };
    let mut tables = comparison.tables()?;
    if args.stat {
        comparison.count(&mut tables)?;
        comparison.print_stat(&tables)?;
    } else if args.schema {
        if args.exit_code || !args.fail_if.is_empty() {
            comparison.count(&mut tables)?;
        }
        comparison.print_schema(&tables)?;
    } else {
        let is_awaited = context.writes_file(args.output.as_deref());
        let _progress = is_awaited.then(|| comparison.progress(&tables));
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
    /// The tables to compare: the one named, or all that either version has; for a feed those too that were made and
    /// dropped in between.
    fn tables(&self) -> Result<Vec<TableDiff>> {
        let wanted = self.args.table.as_deref();
        let tables = match self.args.feed {
            true => self.database.tables_within(self.from, self.to, wanted)?,
            false => self.database.tables_between(self.from, self.to, wanted)?,
        };
        match wanted {
            Some(wanted) if tables.is_empty() => {
                let after = self.database.snapshot(self.to)?.table(wanted);
                Err(after.err().map_or_else(|| self.unknown(wanted), Error::from))
            }
            _ => Ok(tables),
        }
    }

    fn unknown(&self, table: &str) -> Error {
        Error::not_found(format!("there is no table '{table}' at version {} or {}", self.from, self.to))
    }

    /// Tells of the rows that are read, which are those of both versions at most; for a feed any may be.
    fn progress(&self, tables: &[TableDiff]) -> Progress {
        let rows = || {
            let tables = tables.iter().filter(|table| self.args.feed || table.may_differ());
            let rows = |table: &TableDiff| match self.database.row_versions(Some(&table.name)) {
                all if self.args.feed => all,
                all => all.min(table.rows_before() + table.rows_after()),
            };
            tables.map(rows).sum()
        };
        Progress::reading(self.context, &self.database, rows)
    }

    /// Counts changes that are not shown.
    fn count(&self, tables: &mut [TableDiff]) -> Result<()> {
        let _progress = self.progress(tables);
        Ok(self.database.count_changes(self.from, self.to, tables)?)
    }

    fn diff(&self, table: &TableDiff, kind: DiffKind) -> Result<Diff> {
        Ok(self.database.diff(self.from, self.to, &table.name, kind)?)
    }

    fn print_stat(&self, tables: &[TableDiff]) -> Result<()> {
        let changed = || tables.iter().filter(|table| table.differs());
        if self.context.json {
            return self.context.print_json(&json::diff_stat_to_json(self.from, self.to, tables));
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
                table.counts.inserted.to_string(),
                table.counts.updated.to_string(),
                table.counts.deleted.to_string(),
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
            DiffFormat::Csv => self.print_file(&mut changed, kind, Format::Csv),
            DiffFormat::Parquet => self.print_file(&mut changed, kind, Format::Parquet),
            DiffFormat::Jsonl if self.args.table.is_some() => {
                self.print_file(&mut changed, kind, Format::JsonLines)
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

    /// Prints the changes of one table as a file, in the bytes of the mount.
    fn print_file(&self, tables: &mut [&mut TableDiff], kind: DiffKind, format: Format) -> Result<()> {
        let binary = format == Format::Parquet;
        output::write(self.context, self.args.output.as_deref(), binary, |out| {
            for table in tables {
                let diff = self.diff(table, kind)?;
                let schema = diff.schema();
                render_diff(format, &schema, diff.map(|batch| self.take(table, batch?)), out)?;
            }
            Ok(())
        })
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
                Some(counted(table, change) <= limit)
            })
            .collect();
        if shown.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        Ok(filter_record_batch(&batch, &shown)?)
    }
}

/// How many changes of a kind were counted of a table.
fn counted(table: &TableDiff, change: &str) -> u64 {
    match change {
        "insert" => table.counts.inserted,
        // The image before comes first and stands and falls with the one after, which is the one counted.
        "update_preimage" => table.counts.updated + 1,
        "update_postimage" => table.counts.updated,
        _ => table.counts.deleted,
    }
}
