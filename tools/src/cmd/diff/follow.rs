//! `diff --feed --follow`: the changes of every commit, and then of those that come.
//!
//! Invariants. What is printed of a version does not depend on when it is printed: the columns of a line are those that
//! its table had right before the commit or has by it. Output is flushed behind the last line of each commit, so that
//! who stopped goes on after the last version it has seen.

use crate::args::{DiffArgs, DiffFormat};
use crate::context::Stdout;
use crate::{Context, Error, Result, Status, interrupt};
use asof_engine::arrow::array::{ArrayRef, AsArray, RecordBatch, new_null_array};
use asof_engine::arrow::compute::cast;
use asof_engine::arrow::datatypes::UInt64Type;
use asof_engine::{AsOf, Column, CommitInfo, Database, DiffKind, TableSchema, Version, text};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::time::Duration;

/// How long it waits before it looks again.
const FOLLOW_PERIOD: Duration = Duration::from_millis(50);

/// Rows changed by versions that are read together, where one version does not have more.
const WINDOW_ROWS: u64 = 65_536;

/// Commits that are looked at before any is printed, at most.
const COMMITS_MAX: usize = 4_096;

/// Columns that every line of a feed begins with.
const CHANGE_COLUMNS: usize = 3;

/// Prints what changed after a version, and goes on.
pub(super) fn run(args: &DiffArgs, context: &Context) -> Result {
    let is_csv = match args.format {
        None | Some(DiffFormat::Jsonl) => false,
        Some(DiffFormat::Csv) => true,
        Some(_) => return Err(Error::usage("--follow writes jsonl or csv: other forms have an end")),
    };
    if AsOf::parse(&args.to, &context.tz)? != (AsOf::Latest { back: 0 }) {
        return Err(Error::usage(format!(
            "--follow goes on after the newest version: TO is latest, not '{}'",
            args.to
        )));
    }
    let database = context.open_read_only(&args.database)?;
    let from = context.resolve(&database, &args.from)?.version;
    let newest = database.refresh()?;
    if let Some(table) = &args.table
        && database.snapshot(newest)?.past_tables(Some(table)).is_empty()
    {
        // No such table ever: the error names those there are.
        database.snapshot(newest)?.table(table)?;
    }
    let header = match (is_csv, &args.table) {
        (false, _) => None,
        (true, Some(table)) => Some(header(&database, table, from, newest)?),
        (true, None) => return Err(Error::usage("a CSV file holds one table: name one, or take jsonl")),
    };
    let mut follower = Follower {
        database,
        table: args.table.clone(),
        header,
        seen: from,
        out: context.out(),
        line: Vec::new(),
    };
    let interrupted = interrupt::flag()?;
    follower.begin()?;
    while !interrupted.is_set() {
        let newest = follower.database.refresh()?;
        let (windows, up_to) = follower.windows(newest)?;
        for window in windows {
            follower.print(&window, || interrupted.is_set())?;
            if interrupted.is_set() {
                return Ok(Status::Done);
            }
        }
        follower.seen = up_to;
        let wait = if up_to < newest { Duration::ZERO } else { FOLLOW_PERIOD };
        if interrupt::stdout_closed_within(wait) {
            break;
        }
    }
    Ok(Status::Done)
}

/// The columns of a CSV file that begins after a version: those of the newest schema, then those that the table had
/// since.
fn header(database: &Database, table: &str, from: Version, newest: Version) -> Result<Vec<Column>> {
    let tables = database.snapshot(newest)?.past_tables(Some(table));
    let mut schemas = tables.iter().flat_map(|table| table.schemas()).collect::<Vec<_>>();
    // A table that is back may be older than others of its name.
    schemas.sort_by_key(|(range, _)| Reverse(range.last));
    let since = schemas.iter().filter(|(range, _)| range.last >= from).count().max(1);
    let mut columns: Vec<Column> = Vec::new();
    for (_, schema) in schemas.iter().take(since) {
        for column in &schema.columns {
            if columns.iter().all(|known| known.name != column.name) {
                columns.push(Column { nullable: true, ..column.clone() });
            }
        }
    }
    Ok(columns)
}

/// Versions after `after` that are read together, each with the tables it changed.
#[derive(Default)]
struct Window {
    after: Version,
    versions: BTreeMap<Version, BTreeSet<String>>,
    rows: u64,
    /// Whether there is one version alone, which changed a schema.
    changes_schema: bool,
}

struct Follower {
    database: Database,
    /// The one table that is asked about.
    table: Option<String>,
    /// The columns of a CSV file, behind those of every feed.
    header: Option<Vec<Column>>,
    /// The version up to which everything was printed.
    seen: Version,
    out: BufWriter<Stdout>,
    line: Vec<u8>,
}

impl Follower {
    /// Writes what stands before all lines.
    fn begin(&mut self) -> Result<()> {
        if let Some(header) = &self.header {
            let names = ["_change_type", "_commit_version", "_commit_timestamp"].into_iter();
            let names = names.chain(header.iter().map(|column| column.name.as_str()));
            let columns = names.map(|name| Column::new(name, asof_engine::ColumnType::Text)).collect();
            text::write_csv_header(&TableSchema::of(columns, Vec::new()), &mut self.line);
            self.out.write_all(&self.line)?;
        }
        Ok(self.out.flush()?)
    }

    /// The next versions that changed what is asked about, and the version up to which there are no others. Those
    /// between are passed over, and none of their rows read.
    fn windows(&self, newest: Version) -> Result<(Vec<Window>, Version)> {
        let versions: Vec<Version> = match &self.table {
            _ if newest <= self.seen => Vec::new(),
            Some(table) => {
                let versions = self.database.table_versions(table, self.seen, newest)?;
                versions.into_iter().take(COMMITS_MAX).collect()
            }
            None => (self.seen.0 + 1..=newest.0).take(COMMITS_MAX).map(Version).collect(),
        };
        let up_to = match versions.last() {
            Some(last) if versions.len() == COMMITS_MAX => *last,
            _ => newest.max(self.seen),
        };
        let mut windows: Vec<Window> = Vec::new();
        let mut after = self.seen;
        for version in versions {
            let info = self.database.commit_info(version)?;
            let tables = self.tables_of(&info);
            if tables.is_empty() {
                continue;
            }
            let counts = info.tables.iter().filter(|(table, _)| tables.contains(*table));
            let rows = counts.map(|(_, counts)| counts.images()).fold(0, u64::saturating_add);
            let changes_schema = info.schema_changes.iter().any(|(table, _)| tables.contains(table));
            let fits = |window: &Window| {
                !changes_schema && !window.changes_schema && window.rows.saturating_add(rows) <= WINDOW_ROWS
            };
            if !windows.last().is_some_and(fits) {
                windows.push(Window { after, changes_schema, ..Window::default() });
            }
            let window = windows.last_mut().expect("one was just made where there was none");
            window.rows = window.rows.saturating_add(rows);
            window.versions.insert(version, tables);
            after = version;
        }
        Ok((windows, up_to))
    }

    /// Of the tables that a commit changed those that are asked about.
    fn tables_of(&self, info: &CommitInfo) -> BTreeSet<String> {
        let by_schema = info.schema_changes.iter().map(|(table, _)| table);
        let tables = info.tables.keys().chain(by_schema);
        tables.filter(|table| self.table.as_ref().is_none_or(|wanted| wanted == *table)).cloned().collect()
    }

    /// Prints the changes of a window, version by version.
    fn print(&mut self, window: &Window, is_interrupted: impl Fn() -> bool) -> Result<()> {
        let Some((last, _)) = window.versions.last_key_value() else { return Ok(()) };
        let last = *last;
        // The versions of a window but one that changes schemas have one schema. Before the first of them others, which
        // changed nothing here, are left out.
        let after = match window.changes_schema {
            true => last.previous().unwrap_or(Version::ZERO),
            false => window.after,
        };
        if window.changes_schema {
            self.check_header(last)?;
        }
        let tables: BTreeSet<&String> = window.versions.values().flatten().collect();
        let mut changes: BTreeMap<Version, Vec<(String, RecordBatch)>> = BTreeMap::new();
        let known = self.database.snapshot(last)?;
        for table in tables {
            let mut ranges = known.past_tables(Some(table)).into_iter().flat_map(|table| table.ranges());
            if !ranges.any(|range| range.last >= after) {
                // Made and dropped by one commit: it never was.
                continue;
            }
            for batch in self.database.diff(after, last, table, DiffKind::Feed)? {
                let batch = batch?;
                // One version may have more rows than there is memory for.
                if window.versions.len() == 1 {
                    self.write(table, &batch)?;
                    continue;
                }
                for (version, rows) in by_version(&batch) {
                    changes.entry(version).or_default().push((table.clone(), rows));
                }
            }
        }
        for version in window.versions.keys() {
            for (table, rows) in changes.remove(version).unwrap_or_default() {
                self.write(&table, &rows)?;
            }
            self.out.flush()?;
            self.seen = *version;
            if is_interrupted() {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, table: &str, rows: &RecordBatch) -> Result<()> {
        self.line.clear();
        if let Some(header) = &self.header {
            let (schema, rows) = under_header(header, rows)?;
            text::write_csv_rows(&schema, &rows, &mut self.line);
            return Ok(self.out.write_all(&self.line)?);
        }
        let schema = text::schema_of_arrow(&rows.schema())?;
        text::write_jsonl_rows(&schema, rows, &mut self.line);
        if self.table.is_some() {
            return Ok(self.out.write_all(&self.line)?);
        }
        let prefix = format!("{{\"_table\":{},", Value::from(table));
        for line in self.line.split_inclusive(|byte| *byte == b'\n') {
            self.out.write_all(prefix.as_bytes())?;
            self.out.write_all(line.strip_prefix(b"{").unwrap_or(line))?;
        }
        Ok(())
    }

    /// Ends a CSV file before a version whose columns its header does not have.
    fn check_header(&self, version: Version) -> Result<()> {
        let (Some(header), Some(table)) = (&self.header, &self.table) else { return Ok(()) };
        let Ok(schema) = self.database.snapshot(version)?.schema(table) else { return Ok(()) };
        let new = schema.columns.iter().find(|column| header.iter().all(|known| known.name != column.name));
        let Some(new) = new else { return Ok(()) };
        let before = version.previous().unwrap_or(Version::ZERO);
        Err(Error::failed(format!(
            "version {version} has the column '{}', which the header of this CSV has not; all up to version {before} is \
             written: begin another file with FROM {before}",
            new.name
        )))
    }
}

/// The rows of a feed's batch, which are in order of versions, by version.
fn by_version(batch: &RecordBatch) -> Vec<(Version, RecordBatch)> {
    let versions = batch.column(1).as_primitive::<UInt64Type>().values();
    let mut parts = Vec::new();
    let mut start = 0;
    for part in versions.chunk_by(|one, other| one == other) {
        parts.push((Version(part[0]), batch.slice(start, part.len())));
        start += part.len();
    }
    parts
}

/// Rows of a feed under the header of a CSV file: by name, empty where the commit's table has no such column.
fn under_header(header: &[Column], rows: &RecordBatch) -> Result<(TableSchema, RecordBatch)> {
    let schema = text::schema_of_arrow(&rows.schema())?;
    let mut columns: Vec<Column> = schema.columns[..CHANGE_COLUMNS].to_vec();
    let mut arrays: Vec<ArrayRef> = rows.columns()[..CHANGE_COLUMNS].to_vec();
    for wanted in header {
        let found = schema.columns.iter().position(|column| column.name == wanted.name);
        let (column_type, array) = match found
            .map(|index| (&schema.columns[index].column_type, rows.column(index)))
        {
            None => {
                let nulls = new_null_array(&wanted.column_type.to_arrow(), rows.num_rows());
                (&wanted.column_type, nulls)
            }
            // It was widened since, and is written as it is now.
            Some((narrow, array)) if narrow.widens_to(&wanted.column_type) => {
                let wide = cast(array, &wanted.column_type.to_arrow()).map_err(asof_engine::Error::from)?;
                (&wanted.column_type, wide)
            }
            Some((own, array)) => (own, array.clone()),
        };
        columns.push(Column::new(&wanted.name, column_type.clone()));
        arrays.push(array);
    }
    let schema = TableSchema::of(columns, Vec::new());
    let rows = RecordBatch::try_new(schema.to_arrow(), arrays).map_err(asof_engine::Error::from)?;
    Ok((schema, rows))
}
