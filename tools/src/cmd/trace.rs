//! `trace`: every table, row, column and span of versions in which a value occurs, in all tables that ever were.
//!
//! Tables are read one after the other, each row version once, and found spans are told as they come. A row that is
//! written again with the same value goes on with its span.

mod value;

use crate::print::Progress;
use crate::print::value::value_text;
use crate::{Context, Error, Result, Status, output, print};
use asof_engine::arrow::array::{Array, RecordBatch};
use asof_engine::json::row_to_json;
use asof_engine::{
    Column, Database, Filter, PastColumn, PastQuestion, PastRows, PastTable, Snapshot, TableSchema, Version,
    VersionRange,
};
use clap::Args;
use serde_json::{Map, json};
use std::io::Write;
use std::path::PathBuf;
use value::Sought;

/// `trace`
#[derive(Debug, Args)]
#[command(
    after_help = "The value is read as each column's type, where it can be: texts are the same to the byte, numbers and \
    times are\nequal, lists and structs are compared as the JSON they are shown as."
)]
pub struct TraceArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// The value
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// Look in this table alone; those of the name that were dropped count too
    #[arg(short, long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Look in columns that have, or had, this name alone
    #[arg(short, long, value_name = "COLUMN")]
    pub column: Option<String>,
    /// Texts, lists and structs that have the value somewhere in them
    #[arg(long)]
    pub contains: bool,
    /// At most so many spans
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// Prints where the value occurs.
pub fn run(args: TraceArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let snapshot = database.snapshot(database.latest()?)?;
    let tables = snapshot.past_tables(args.table.as_deref());
    if let (true, Some(table)) = (tables.is_empty(), &args.table) {
        // The error names the tables there are.
        snapshot.schema(table)?;
    }
    let sought: Vec<Option<SoughtTable<'_>>> =
        tables.iter().map(|table| SoughtTable::new(&args, table)).collect();
    if sought.iter().all(Option::is_none) {
        return Err(match &args.column {
            Some(column) => Error::not_found(format!(
                "no table ever had a column '{column}' that could hold '{}'",
                args.value
            )),
            None => Error::not_found(format!("no table ever had a column that could hold '{}'", args.value)),
        });
    }
    let mut found = 0;
    let rows = || database.row_versions(args.table.as_deref());
    let progress = context.writes_file(None).then(|| Progress::reading(context, &database, rows));
    output::write(context, None, false, |out| {
        let mut teller =
            Teller { context, database: &database, snapshot: &snapshot, out, told: 0, args: &args };
        for table in sought.iter().flatten() {
            if !table.tell(&mut teller)? {
                break;
            }
        }
        found = teller.told;
        Ok(())
    })?;
    drop(progress);
    match found {
        0 => Err(Error::not_found(format!(
            "'{}' occurs in no version up to {} where it was looked for",
            args.value,
            snapshot.version()
        ))),
        _ => Ok(Status::Done),
    }
}

/// A table, and which of its columns are looked at.
struct SoughtTable<'a> {
    table: &'a PastTable,
    columns: Vec<(PastColumn, Sought)>,
    /// What is read: those columns, and those that name a row.
    read: Vec<Column>,
    /// The columns that name a row: the key's. Where there is none, those that the table had when it had the row do.
    key: Option<TableSchema>,
}

impl<'a> SoughtTable<'a> {
    /// `None` where the value cannot be in the table.
    fn new(args: &TraceArgs, table: &'a PastTable) -> Option<SoughtTable<'a>> {
        let all = table.columns();
        let schemas = table.schemas();
        let is_named = |column: &PastColumn| {
            args.column.as_ref().is_none_or(|name| {
                let ever = schemas.iter().filter_map(|(_, schema)| schema.column(column.column.id));
                ever.into_iter().any(|known| known.name == *name)
            })
        };
        let columns: Vec<(PastColumn, Sought)> = all
            .iter()
            .filter(|column| is_named(column))
            .filter_map(|column| {
                let sought = Sought::new(&column.column.column_type, &args.value, args.contains)?;
                Some((column.clone(), sought))
            })
            .collect();
        if columns.is_empty() {
            return None;
        }
        let key = table.key();
        let of_key = key.iter().filter_map(|id| all.iter().find(|column| column.column.id == *id));
        let naming: Vec<Column> = match key.is_empty() {
            true => all.iter().map(|column| column.column.clone()).collect(),
            false => of_key.map(|column| column.column.clone()).collect(),
        };
        let mut read: Vec<Column> = columns.iter().map(|(column, _)| column.column.clone()).collect();
        for column in &naming {
            if read.iter().all(|known| known.id != column.id) {
                read.push(column.clone());
            }
        }
        let key = (!key.is_empty()).then(|| TableSchema::of(naming, key));
        Some(SoughtTable { table, columns, read, key })
    }

    /// What rows have to fulfil at least, where every column's value can be compared.
    fn filter(&self) -> Option<Filter> {
        let filters = self.columns.iter().map(|(column, sought)| sought.filter(&column.column.name));
        let filters = filters.collect::<Option<Vec<Filter>>>()?;
        filters.into_iter().reduce(|a, b| Filter::Or(Box::new(a), Box::new(b)))
    }

    /// Tells of what is found; `false` where that is enough.
    fn tell(&self, teller: &mut Teller<'_>) -> Result<bool> {
        for range in self.table.ranges() {
            let question =
                PastQuestion { range, columns: self.read.clone(), filter: self.filter(), ordered: true };
            let mut open: Vec<Option<Span>> = self.columns.iter().map(|_| None).collect();
            for rows in teller.snapshot.past_rows(self.table, question)? {
                if !self.tell_rows(&rows?, &mut open, teller)? {
                    return Ok(false);
                }
            }
            if !self.close(&mut open, teller)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tell_rows(
        &self,
        found: &PastRows,
        open: &mut [Option<Span>],
        teller: &mut Teller<'_>,
    ) -> Result<bool> {
        let arrays = self.columns.iter().map(|(column, sought)| {
            let index = self.read.iter().position(|read| read.id == column.column.id);
            sought.matches(found.rows.column(index.expect("every column sought is read")))
        });
        let matches = arrays.collect::<Result<Vec<_>>>()?;
        for (row, range) in found.ranges.iter().enumerate() {
            if !found.same_key[row] && !self.close(open, teller)? {
                return Ok(false);
            }
            for (place, (column, _)) in self.columns.iter().enumerate() {
                if !matches[place].value(row) {
                    continue;
                }
                for range in column.ranges.iter().filter_map(|there| range.common(*there)) {
                    let span = &mut open[place];
                    match span {
                        Some(span)
                            if span.range.last.next() == range.first
                                && self.same_value(place, &span.rows, &found.rows, row) =>
                        {
                            span.range.last = range.last;
                        }
                        _ => {
                            let rows = found.rows.slice(row, 1);
                            let ended = span.replace(Span { range, rows });
                            if let Some(ended) = ended
                                && !teller.tell(self, place, &ended)?
                            {
                                return Ok(false);
                            }
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether a row has the value that another had. Where it is compared as a whole, it has.
    fn same_value(&self, place: usize, before: &RecordBatch, rows: &RecordBatch, row: usize) -> bool {
        let (column, sought) = &self.columns[place];
        let index = self.read.iter().position(|read| read.id == column.column.id);
        sought.is_whole()
            || index.is_some_and(|index| {
                before.column(index).to_data() == rows.column(index).slice(row, 1).to_data()
            })
    }

    /// Tells of the spans of a row, which has no more versions.
    fn close(&self, open: &mut [Option<Span>], teller: &mut Teller<'_>) -> Result<bool> {
        for (place, span) in open.iter_mut().enumerate() {
            if let Some(span) = span.take()
                && !teller.tell(self, place, &span)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What names a row that was there at a version, of a batch of what was read.
    fn name(&self, rows: &RecordBatch, at: Version) -> Result<(TableSchema, RecordBatch)> {
        let mut columns: Vec<Column> = match &self.key {
            Some(key) => key.columns.clone(),
            None => {
                let mut schemas = self.table.schemas().into_iter();
                let in_force = schemas.find(|(range, _)| range.first <= at && at <= range.last);
                in_force.map(|(_, schema)| schema.columns.clone()).unwrap_or_default()
            }
        };
        let mut arrays = Vec::new();
        for column in &mut columns {
            let index = self.read.iter().position(|read| read.id == column.id);
            let index = index.expect("all that names a row is read");
            column.column_type = self.read[index].column_type.clone();
            arrays.push(rows.column(index).clone());
        }
        let columns = columns.into_iter().map(|column| Column { nullable: true, ..column }).collect();
        let schema = TableSchema::of(columns, Vec::new());
        let named = RecordBatch::try_new(schema.to_arrow(), arrays).map_err(asof_engine::Error::from)?;
        Ok((schema, named))
    }
}

/// Versions in which a column of a row has the value.
struct Span {
    range: VersionRange,
    /// The row as it was when it first had it.
    rows: RecordBatch,
}

/// Tells of spans, one line each.
struct Teller<'a> {
    context: &'a Context,
    database: &'a Database,
    snapshot: &'a Snapshot,
    out: &'a mut dyn Write,
    told: u64,
    args: &'a TraceArgs,
}

impl Teller<'_> {
    /// `false` where that was enough.
    fn tell(&mut self, table: &SoughtTable<'_>, place: usize, span: &Span) -> Result<bool> {
        if self.args.limit.is_some_and(|limit| self.told >= limit) {
            return Ok(false);
        }
        self.told += 1;
        let VersionRange { first, last } = span.range;
        let end = (last < self.snapshot.version()).then(|| last.next());
        let time = |version: Version| self.database.commit_time(version);
        let end_time = end.map(time).transpose()?;
        let column = &table.columns[place].0;
        let (naming, name) = table.name(&span.rows, first)?;
        let index = table.read.iter().position(|read| read.id == column.column.id);
        let index = index.expect("every column sought is read");
        if self.context.json {
            let row = row_to_json(&naming, &name, 0);
            let own = TableSchema::of(vec![column.column.clone()], Vec::new());
            let value = span.rows.project(&[index]).map_err(asof_engine::Error::from)?;
            let value = row_to_json(&own, &value, 0)[&column.column.name].clone();
            let mut line = Map::new();
            line.insert("table".to_string(), table.table.name().into());
            let naming = if table.key.is_some() { "key" } else { "row" };
            line.insert(naming.to_string(), row);
            let rest = json!({
                "column": column.name,
                "value": value,
                "from": first.0,
                "to": end.map(|end| end.0),
                "from_time": print::time_json(time(first)?),
                "to_time": end_time.map(print::time_json),
            });
            line.extend(rest.as_object().cloned().unwrap_or_default());
            serde_json::to_writer(&mut *self.out, &line)?;
            writeln!(self.out)?;
            return Ok(true);
        }
        let cells = naming.columns.iter().enumerate().map(|(index, column)| {
            format!("{}={}", column.name, value_text(&column.column_type, &name, index, 0))
        });
        let row = cells.collect::<Vec<_>>().join(", ");
        let value = value_text(&column.column.column_type, &span.rows, index, 0);
        let until = match (end, end_time) {
            (Some(end), Some(time)) => format!("until version {end} ({})", print::time_or_start(time)),
            _ => "until now".to_string(),
        };
        let since = print::time_or_start(time(first)?);
        let table = table.table.name();
        writeln!(
            self.out,
            "{table}  {row}  {}: {value}  from version {first} ({since}) {until}",
            column.name
        )?;
        Ok(true)
    }
}
