//! `history`: every version of a row, from when to when, by whom, and what changed.

use crate::args::{HistoryArgs, LogArgs};
use crate::print;
use crate::print::value::value_text;
use crate::{Context, Error, Result, Status, key, output};
use asof_engine::json::row_to_json;
use asof_engine::{Column, CommitInfo, Database, RowVersion, TableSchema, Version};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::sync::Arc;

/// Prints the versions of a row, or without a key the table's log.
pub fn run(args: HistoryArgs, context: &Context) -> Result {
    let Some(typed) = args.key else {
        let log = LogArgs {
            database: args.database,
            table: Some(args.table),
            limit: None,
            since: None,
            until: None,
            author: None,
            operation: None,
            grep: None,
            oneline: false,
            follow: false,
        };
        return super::log::run(log, context);
    };
    let database = context.open_read_only(&args.database)?;
    let schema = newest_schema(&database, &args.table)?;
    let key = key::parse(&schema, &args.table, &typed)?;
    let versions = database.history(&args.table, &key)?;
    if versions.is_empty() {
        return Err(Error::not_found(format!("table '{}' never had a row with the key {typed}", args.table)));
    }
    output::write(context, None, false, |out| {
        for (index, version) in versions.iter().enumerate() {
            let before = index.checked_sub(1).map(|index| &versions[index]);
            let after = versions.get(index + 1);
            let step = Step {
                database: &database,
                before: before.filter(|before| before.end == Some(version.begin)),
                version,
                updated_later: after.is_some_and(|after| version.end == Some(after.begin)),
            };
            if context.json { step.write_json(out)? } else { step.write_text(out)? }
        }
        Ok(())
    })?;
    Ok(Status::Done)
}

/// The schema of a table at the newest version that has it: a dropped table has a history too.
fn newest_schema(database: &Database, table: &str) -> Result<Arc<TableSchema>> {
    let latest = database.latest()?;
    let missing = match database.snapshot(latest)?.table(table) {
        Ok(info) => return Ok(info.schema),
        Err(error) => error,
    };
    for version in database.table_versions(table, Version::ZERO, latest)?.into_iter().rev() {
        if let Ok(info) = database.snapshot(version)?.table(table) {
            return Ok(info.schema);
        }
    }
    Err(missing.into())
}

/// One version of a row, and the one it came from if it was updated.
struct Step<'a> {
    database: &'a Database,
    before: Option<&'a RowVersion>,
    version: &'a RowVersion,
    updated_later: bool,
}

impl Step<'_> {
    /// The columns whose values differ from the version before. Columns are matched by stable id, and by name where one
    /// was dropped and made again.
    fn changed(&self) -> Vec<Changed> {
        let Some(before) = self.before else { return Vec::new() };
        let (old, new) = (&before.schema, &self.version.schema);
        let mut changed = Vec::new();
        for (index, column) in new.columns.iter().enumerate() {
            let position = old.columns.iter().position(|other| same_column(old, other, new, column));
            if position.is_none() || cell_text(before, position) != cell_text(self.version, Some(index)) {
                changed.push(Changed { name: column.name.clone(), old: position, new: Some(index) });
            }
        }
        for (index, column) in old.columns.iter().enumerate() {
            if !new.columns.iter().any(|other| same_column(old, column, new, other)) {
                changed.push(Changed { name: column.name.clone(), old: Some(index), new: None });
            }
        }
        changed
    }

    /// The commit that ended this version of the row.
    fn end(&self) -> Result<Option<CommitInfo>> {
        Ok(self.version.end.map(|end| self.database.commit_info(end)).transpose()?)
    }

    fn write_json(&self, out: &mut dyn Write) -> Result<()> {
        let begin = self.database.commit_info(self.version.begin)?;
        let end = self.end()?;
        let ended_by = end.as_ref().map(|_| if self.updated_later { "update" } else { "delete" });
        let mut changed = Map::new();
        for change in self.changed() {
            let old = self.before.and_then(|before| cell_json(before, change.old));
            let new = cell_json(self.version, change.new);
            changed.insert(change.name, json!([old, new]));
        }
        let value = json!({
            "from": begin.version.0,
            "to": self.version.end.map(|end| end.0),
            "from_time": print::time_json(begin.time),
            "to_time": end.as_ref().map(|end| print::time_json(end.time)),
            "change": if self.before.is_some() { "update" } else { "insert" },
            "ended_by": ended_by,
            "author": begin.author,
            "os_user": begin.os_user,
            "operation": begin.operation,
            "message": begin.message,
            "changed": changed,
            "row": row_to_json(&self.version.schema, &self.version.row, 0),
        });
        serde_json::to_writer(&mut *out, &value)?;
        Ok(writeln!(out)?)
    }

    fn write_text(&self, out: &mut dyn Write) -> Result<()> {
        let begin = self.database.commit_info(self.version.begin)?;
        if self.before.is_some() {
            writeln!(out, "{}", headline(&begin, "updated"))?;
            for change in self.changed() {
                let none = || "(no such column)".to_string();
                let old = self.before.and_then(|before| cell_text(before, change.old)).unwrap_or_else(none);
                let new = cell_text(self.version, change.new).unwrap_or_else(none);
                writeln!(out, "    {}: {old} -> {new}", change.name)?;
            }
        } else {
            writeln!(out, "{}", headline(&begin, "inserted"))?;
            for (index, column) in self.version.schema.columns.iter().enumerate() {
                writeln!(
                    out,
                    "    {} = {}",
                    column.name,
                    cell_text(self.version, Some(index)).unwrap_or_default()
                )?;
            }
        }
        match self.end()? {
            Some(end) if !self.updated_later => Ok(writeln!(out, "{}", headline(&end, "deleted"))?),
            _ => Ok(()),
        }
    }
}

/// Whether a column of an older schema and one of a newer are the same.
fn same_column(old_schema: &TableSchema, old: &Column, new_schema: &TableSchema, new: &Column) -> bool {
    old.id == new.id
        || (old.name == new.name
            && new_schema.column(old.id).is_none()
            && old_schema.column(new.id).is_none())
}

struct Changed {
    name: String,
    old: Option<usize>,
    new: Option<usize>,
}

fn cell_text(version: &RowVersion, column: Option<usize>) -> Option<String> {
    let column = column?;
    Some(value_text(&version.schema.columns[column].column_type, &version.row, column, 0))
}

fn cell_json(version: &RowVersion, column: Option<usize>) -> Option<Value> {
    let name = &version.schema.columns[column?].name;
    row_to_json(&version.schema, &version.row, 0).get(name).cloned()
}

fn headline(info: &CommitInfo, what: &str) -> String {
    let who = info.author.as_deref().unwrap_or(&info.os_user);
    let why = info.message.as_deref().and_then(|message| message.lines().next()).unwrap_or(&info.operation);
    format!("version {} {} {what} by {who}: {why}", info.version, print::time_or_start(info.time))
}
