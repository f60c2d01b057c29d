//! `find`: in which versions a condition held for some row of a table, from the lives of its row versions.
//!
//! Every row version is looked at once, however many versions show it: what it costs does not grow with versions times
//! rows. The condition is about the columns as they were: at a version without one of them it does not hold.

mod moments;

use crate::condition::Condition;
use crate::print::Progress;
use crate::print::commit::headline;
use crate::print::value::value_text;
use crate::{Context, Error, Result, Status, output, print};
use asof_engine::arrow::array::RecordBatch;
use asof_engine::json::row_to_json;
use asof_engine::{CommitInfo, Database, ScanOptions, TableSchema, Version};
use clap::Args;
use moments::{Interval, Moments};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// `find`
#[derive(Debug, Args)]
#[command(
    after_help = "Without --first, --last or --gone all stretches of versions are listed in which the condition held."
)]
pub struct FindArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table; those of the name that were dropped count too
    pub table: String,
    /// The condition on a row, in SQL
    #[arg(long = "where", value_name = "SQL", required = true, allow_hyphen_values = true)]
    pub condition: String,
    /// The version in which it first held for some row
    #[arg(long, group = "moment")]
    pub first: bool,
    /// The version in which it last held for some row
    #[arg(long, group = "moment")]
    pub last: bool,
    /// The version in which it last ceased to hold for every row
    #[arg(long, group = "moment")]
    pub gone: bool,
    /// Show at most so many of the rows
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5)]
    pub limit: u64,
}

/// One moment that was asked for.
struct Moment {
    /// The version asked for.
    version: Version,
    /// A version in which the condition holds, and for how many rows.
    holding: (Version, u64),
    interval: Interval,
}

/// Prints when the condition held.
pub fn run(args: FindArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let newest = database.latest()?;
    let moments = {
        let _progress = Progress::reading(context, &database, || database.row_versions(Some(&args.table)));
        Moments::of(&database.snapshot(newest)?, &args.table, &args.condition)?
    };
    for (range, why) in &moments.unasked {
        context.note(format_args!("not in versions {} to {}: {why}", range.first, range.last));
    }
    let finder = Finder { args: &args, context, database: &database, moments: &moments, newest };
    let Some(moment) = finder.moment()? else {
        finder.print_all()?;
        return Ok(Status::Done);
    };
    finder.print(&moment)?;
    Ok(Status::Done)
}

struct Finder<'a> {
    args: &'a FindArgs,
    context: &'a Context,
    database: &'a Database,
    moments: &'a Moments,
    newest: Version,
}

impl Finder<'_> {
    fn never(&self) -> Error {
        Error::not_found(format!(
            "in no version up to {} has table '{}' a row where {}",
            self.newest, self.args.table, self.args.condition
        ))
    }

    /// The one moment that was asked for, if one was.
    fn moment(&self) -> Result<Option<Moment>> {
        let intervals = &self.moments.intervals;
        let (Some(first), Some(last)) = (intervals.first(), intervals.last()) else {
            return Err(self.never());
        };
        let (first, last) = (first.clone(), last.clone());
        if self.args.first {
            let holding = (first.range.first, first.rows_first);
            return Ok(Some(Moment { version: first.range.first, holding, interval: first }));
        }
        let holding = (last.range.last, last.rows_last);
        if self.args.last {
            return Ok(Some(Moment { version: last.range.last, holding, interval: last }));
        }
        if !self.args.gone {
            return Ok(None);
        }
        if last.range.last == self.newest {
            return Err(Error::not_found(format!(
                "it holds in version {}, the newest, for {}: it is not gone",
                self.newest,
                print::count_text(last.rows_last, "row")
            )));
        }
        if let Some(gone) = self.moments.gone_behind(last.range.last) {
            return Err(Error::not_found(format!(
                "it last held in version {}, and versions {} to {} are gone: in which of them it ceased to hold, or whether it \
                 did, is not known",
                last.range.last, gone.first, gone.last
            ))
            .with_nearest(vec![last.range.last.to_string()]));
        }
        Ok(Some(Moment { version: last.range.last.next(), holding, interval: last }))
    }

    /// Some rows of a version that the condition holds for.
    fn rows(&self, version: Version) -> Result<(Arc<TableSchema>, Vec<RecordBatch>)> {
        let snapshot = self.database.snapshot(version)?;
        let schema = snapshot.schema(&self.args.table)?;
        let condition = Condition::parse(&self.args.condition, &schema)?;
        let options = ScanOptions { limit: Some(self.args.limit), ..ScanOptions::default() };
        let rows = super::cat::scan(&snapshot, &self.args.table, &schema, Some(condition), options)?;
        Ok((schema, rows.collect::<std::result::Result<_, _>>()?))
    }

    fn print(&self, moment: &Moment) -> Result<()> {
        let info = self.info(moment.version)?;
        let before = moment.version.previous().unwrap_or(Version::ZERO);
        let (holding, count) = moment.holding;
        let (schema, rows) = self.rows(holding)?;
        let each = || rows.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
        let range = moment.interval.range;
        if self.context.json {
            let sample: Vec<Value> = each().map(|(batch, row)| row_to_json(&schema, batch, row)).collect();
            let mut document = Map::new();
            let is = if self.args.first {
                "first"
            } else if self.args.last {
                "last"
            } else {
                "gone"
            };
            document.insert("moment".to_string(), is.into());
            document.insert("version".to_string(), moment.version.0.into());
            document.insert("before".to_string(), before.0.into());
            commit_fields(&info, &mut document);
            document.insert("held_from".to_string(), range.first.0.into());
            let to = (range.last < self.newest).then(|| range.last.next().0);
            document.insert("held_to".to_string(), to.into());
            document.insert("rows_version".to_string(), holding.0.into());
            document.insert("rows".to_string(), count.into());
            document.insert("sample".to_string(), sample.into());
            document.insert("unasked".to_string(), self.unasked());
            return self.context.print_json(&document.into());
        }
        output::write(self.context, None, false, |out| {
            let rows = print::count_text(count, "row");
            if self.args.first {
                writeln!(out, "{}", headline(&info, "first"))?;
                writeln!(out, "    {rows}; the version before it is {before}")?;
            } else if self.args.gone {
                writeln!(out, "{}", headline(&info, "gone"))?;
                writeln!(out, "    {rows} in version {holding}, the one before")?;
            } else if range.last == self.newest {
                writeln!(out, "version {}, the newest: it holds still", moment.version)?;
                writeln!(out, "    {rows}, since version {}", range.first)?;
            } else {
                writeln!(out, "{}", headline(&info, "last"))?;
                let behind = match self.moments.gone_behind(range.last) {
                    Some(gone) => format!("versions {} to {} are gone", gone.first, gone.last),
                    None => format!("gone in version {}", range.last.next()),
                };
                writeln!(out, "    {rows}, since version {}; {behind}", range.first)?;
            }
            for (batch, row) in each() {
                let cells = schema.columns.iter().enumerate().map(|(index, column)| {
                    format!("{}={}", column.name, value_text(&column.column_type, batch, index, row))
                });
                writeln!(out, "    {}", cells.collect::<Vec<_>>().join(", "))?;
            }
            if count > self.args.limit {
                writeln!(out, "    .. and {} more", count - self.args.limit)?;
            }
            Ok(())
        })
    }

    fn print_all(&self) -> Result<()> {
        if self.context.json {
            let intervals = self.moments.intervals.iter().map(|interval| {
                let range = interval.range;
                let info = self.info(range.first)?;
                let end = (range.last < self.newest).then(|| range.last.next());
                let known = end.filter(|_| self.moments.gone_behind(range.last).is_none());
                let ended = known.map(|end| self.info(end)).transpose()?;
                let mut fields = Map::new();
                fields.insert("from".to_string(), range.first.0.into());
                fields.insert("to".to_string(), end.map(|end| end.0).into());
                fields.insert("before".to_string(), range.first.previous().map(|before| before.0).into());
                commit_fields(&info, &mut fields);
                let end = ended.map(|info| {
                    let mut fields = Map::new();
                    commit_fields(&info, &mut fields);
                    Value::from(fields)
                });
                fields.insert("end_commit".to_string(), end.into());
                fields.insert("rows".to_string(), interval.rows_first.into());
                fields.insert("rows_most".to_string(), interval.rows_most.into());
                Ok(Value::from(fields))
            });
            let intervals = intervals.collect::<Result<Vec<Value>>>()?;
            let document = json!({
                "table": self.args.table,
                "where": self.args.condition,
                "intervals": intervals,
                "unasked": self.unasked(),
            });
            return self.context.print_json(&document);
        }
        output::write(self.context, None, false, |out| {
            for interval in &self.moments.intervals {
                let range = interval.range;
                let most = match interval.rows_most == interval.rows_first {
                    true => String::new(),
                    false => format!(", {} at most", interval.rows_most),
                };
                let rows = print::count_text(interval.rows_first, "row");
                writeln!(out, "{}", headline(&self.info(range.first)?, "began"))?;
                writeln!(out, "    {rows}{most}")?;
                match self.moments.gone_behind(range.last) {
                    Some(gone) => writeln!(out, "versions {} to {} are gone", gone.first, gone.last)?,
                    None if range.last == self.newest => {
                        writeln!(out, "version {}, the newest: it holds still", range.last)?;
                    }
                    None => writeln!(out, "{}", headline(&self.info(range.last.next())?, "ended"))?,
                }
            }
            Ok(())
        })
    }

    fn info(&self, version: Version) -> Result<CommitInfo> {
        Ok(self.database.commit_info(version)?)
    }

    /// The versions of which the condition cannot be asked, and why.
    fn unasked(&self) -> Value {
        let unasked = self.moments.unasked.iter();
        unasked
            .map(|(range, why)| json!({"from": range.first.0, "to": range.last.0 + 1, "why": why}))
            .collect()
    }
}

/// Who, when and why.
fn commit_fields(info: &CommitInfo, fields: &mut Map<String, Value>) {
    fields.insert("time".to_string(), print::time_json(info.time));
    fields.insert("author".to_string(), info.author.clone().into());
    fields.insert("os_user".to_string(), info.os_user.clone().into());
    fields.insert("operation".to_string(), info.operation.clone().into());
    fields.insert("message".to_string(), info.message.clone().into());
}
