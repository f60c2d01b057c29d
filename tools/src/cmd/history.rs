//! `history`: every version of a row, from when to when, by whom, and what changed.

use crate::args::{HistoryArgs, LogArgs};
use crate::print;
use crate::print::commit::headline;
use crate::print::value::value_text;
use crate::{Context, Error, Result, Status, key, output};
use asof_engine::arrow::array::RecordBatch;
use asof_engine::json::row_to_json;
use asof_engine::{Column, CommitInfo, Database, RowVersion, TableSchema, Version};
use serde_json::{Map, Value, json};
use std::io::Write;

/// Prints the versions of a row, or without a key the table's log.
pub fn run(args: HistoryArgs, context: &Context) -> Result {
    let Some(typed) = args.key else {
        let log = LogArgs { database: args.database, table: Some(args.table), ..LogArgs::default() };
        return super::log::run(log, context);
    };
    let database = context.open_read_only(&args.database)?;
    // A dropped table has a history too.
    let schema = database.snapshot(database.latest()?)?.last_schema(&args.table)?;
    let key = key::parse(&schema, &args.table, &typed)?;
    let versions = database.history(&args.table, &key)?;
    if versions.is_empty() {
        return Err(Error::not_found(format!("table '{}' never had a row with the key {typed}", args.table)));
    }
    let gone = database.gone(&args.table)?;
    let is_gone = |version: Version| gone.iter().any(|(from, to)| *from <= version && version < *to);
    output::write(context, None, false, |out| {
        for (index, version) in versions.iter().enumerate() {
            let before = index.checked_sub(1).map(|index| &versions[index]);
            let after = versions.get(index + 1);
            let before = before.filter(|before| before.end == Some(version.begin));
            let is_followed = after.is_some_and(|after| version.end == Some(after.begin));
            let begins_with = match before {
                Some(before) => Beginning::Update(before),
                None if version.begin.previous().is_some_and(is_gone) => Beginning::Unknown,
                None => Beginning::Insert,
            };
            let ends_with = match version.end {
                Some(_) if is_followed => Ending::Update,
                Some(end) if is_gone(end) => Ending::Unknown,
                _ => Ending::Delete,
            };
            let step = Step { database: &database, begins_with, version, ends_with };
            if context.json { step.write_json(out)? } else { step.write_text(out)? }
        }
        Ok(())
    })?;
    Ok(Status::Done)
}

/// What began a version of a row.
enum Beginning<'a> {
    /// The row was not there.
    Insert,
    /// It was this.
    Update(&'a RowVersion),
    /// What it was before is gone.
    Unknown,
}

/// What ended a version of a row, if it has ended.
enum Ending {
    /// The next version of the row.
    Update,
    /// The row was not there then.
    Delete,
    /// What became of it is gone.
    Unknown,
}

/// One version of a row.
struct Step<'a> {
    database: &'a Database,
    begins_with: Beginning<'a>,
    version: &'a RowVersion,
    ends_with: Ending,
}

impl Step<'_> {
    /// The columns whose values differ from those that the row had right before. Columns are matched by stable id, and by
    /// name where one, or the whole table, was dropped and made again.
    fn changed(&self) -> Vec<Changed> {
        let Beginning::Update(before) = self.begins_with else { return Vec::new() };
        let (old, new) = (&before.last_schema, &self.version.schema);
        let same_column = |other: &Column, column: &Column| match before.table == self.version.table {
            true => same_column(old, other, new, column),
            false => other.name == column.name,
        };
        let value = |schema: &TableSchema, row: &RecordBatch, index: usize| Cell {
            text: value_text(&schema.columns[index].column_type, row, index, 0),
            json: row_to_json(schema, row, 0).get(&schema.columns[index].name).cloned().unwrap_or_default(),
        };
        let mut changed = Vec::new();
        for (index, column) in new.columns.iter().enumerate() {
            let position = old.columns.iter().position(|other| same_column(other, column));
            let before = position.map(|position| value(old, &before.last_row, position));
            let after = value(new, &self.version.row, index);
            if before.as_ref().is_none_or(|before| before.text != after.text) {
                changed.push(Changed { name: column.name.clone(), old: before, new: Some(after) });
            }
        }
        for (index, column) in old.columns.iter().enumerate() {
            if !new.columns.iter().any(|other| same_column(column, other)) {
                let before = Some(value(old, &before.last_row, index));
                changed.push(Changed { name: column.name.clone(), old: before, new: None });
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
        let ended_by = end.as_ref().map(|_| match self.ends_with {
            Ending::Update => "update",
            Ending::Delete => "delete",
            Ending::Unknown => "unknown",
        });
        let change = match self.begins_with {
            Beginning::Update(_) => "update",
            Beginning::Insert => "insert",
            Beginning::Unknown => "unknown",
        };
        let mut changed = Map::new();
        for change in self.changed() {
            let json = |cell: Option<Cell>| cell.map_or(Value::Null, |cell| cell.json);
            changed.insert(change.name, json!([json(change.old), json(change.new)]));
        }
        let value = json!({
            "from": begin.version.0,
            "to": self.version.end.map(|end| end.0),
            "from_time": print::time_json(begin.time),
            "to_time": end.as_ref().map(|end| print::time_json(end.time)),
            "change": change,
            "ended_by": ended_by,
            "end_commit": end.as_ref().map(|end| json!({
                "author": end.author,
                "os_user": end.os_user,
                "operation": end.operation,
                "message": end.message,
            })),
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
        if matches!(self.begins_with, Beginning::Update(_)) {
            writeln!(out, "{}", headline(&begin, "updated"))?;
            let changed = self.changed();
            if changed.is_empty() {
                writeln!(out, "    (written again, equal)")?;
            }
            for Changed { name, old, new } in changed {
                let text = |cell: Option<Cell>| cell.map_or("(no such column)".to_string(), |cell| cell.text);
                writeln!(out, "    {name}: {} -> {}", text(old), text(new))?;
            }
        } else {
            let is_known = matches!(self.begins_with, Beginning::Insert);
            let what = if is_known { "inserted" } else { "written (what was before is gone)" };
            writeln!(out, "{}", headline(&begin, what))?;
            for (index, column) in self.version.schema.columns.iter().enumerate() {
                let value = value_text(&column.column_type, &self.version.row, index, 0);
                writeln!(out, "    {} = {value}", column.name)?;
            }
        }
        let what = match self.ends_with {
            Ending::Update => return Ok(()),
            Ending::Delete => "deleted",
            Ending::Unknown => "changed or deleted (what came then is gone)",
        };
        match self.end()? {
            Some(end) => Ok(writeln!(out, "{}", headline(&end, what))?),
            None => Ok(()),
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

/// A column, as it was and as it became.
struct Changed {
    name: String,
    old: Option<Cell>,
    new: Option<Cell>,
}

struct Cell {
    text: String,
    json: Value,
}
