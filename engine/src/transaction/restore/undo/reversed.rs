//! The schema that takes back what one commit did to it, as far as nobody built on it since.

use crate::error::{Error, Result};
use crate::snapshot::all_columns;
use asof_mvcc::{Column, Table, TableSchema, Version};
use std::sync::Arc;

/// A table's schema without what one commit did to it.
pub(super) struct Reversed {
    /// The schema; of no use where there are problems.
    pub(super) schema: Arc<TableSchema>,
    /// By which id each of its columns is read.
    pub(super) read: Vec<u32>,
    /// Columns that the commit added, and that go.
    pub(super) goes: Vec<Column>,
    /// Ids of columns that the commit dropped, and that come back.
    pub(super) comes: Vec<u32>,
    /// Whether a check comes back.
    pub(super) checks: bool,
    /// What changes since stand against.
    pub(super) problems: Vec<String>,
}

impl Reversed {
    /// Whether values become narrower, so that each row is written again.
    pub(super) fn narrows(&self) -> bool {
        self.schema.columns.iter().zip(&self.read).any(|(column, id)| column.id != *id)
    }
}

/// Takes back what `version` did to the schema of a table that was there before it, and is now.
pub(super) fn reversed(table: &Table, version: Version) -> Result<Reversed> {
    let previous = version.previous().ok_or_else(|| Error::invalid("version 0 changes nothing"))?;
    let (before, after, now) = (table.schema_at(previous), table.schema_at(version), table.newest_schema());
    let mut problems = Vec::new();
    let mut next_id = table.next_column_id;
    let is_new = |column: &&Column| before.column(column.id).is_none();
    let goes: Vec<Column> =
        after.columns.iter().filter(is_new).filter_map(|column| now.column(column.id).cloned()).collect();
    let mut columns: Vec<(Column, u32)> = now
        .columns
        .iter()
        .filter(|column| goes.iter().all(|other| other.id != column.id))
        .map(|column| (column.clone(), column.id))
        .collect();
    for then in &after.columns {
        let Some(old) = before.column(then.id) else { continue };
        let Some((column, _)) = columns.iter_mut().find(|(column, _)| column.id == then.id) else { continue };
        if old.name != then.name {
            match column.name == then.name {
                true => column.name = old.name.clone(),
                false => problems.push(format!("column {} was renamed again, to {}", then.name, column.name)),
            }
        }
        if old.column_type != then.column_type {
            if column.column_type != then.column_type {
                problems.push(format!("column {} was widened again, to {}", then.name, column.column_type));
            } else if now.key.contains(&then.id) {
                problems.push(format!(
                    "column {} of the key was widened, which only restoring the whole table takes back",
                    then.name
                ));
            } else {
                *column = Column { id: next_id, name: column.name.clone(), ..old.clone() };
                next_id += 1;
            }
        }
    }
    let mut comes = Vec::new();
    let known = all_columns(table);
    for (index, old) in before.columns.iter().enumerate() {
        let stays = after.column(old.id).is_some() || columns.iter().any(|(_, id)| *id == old.id);
        if stays {
            continue;
        }
        let place = before.columns[..index]
            .iter()
            .rev()
            .find_map(|earlier| columns.iter().position(|(_, id)| *id == earlier.id));
        comes.push(old.id);
        let is_narrow = known.iter().any(|wide| wide.id == old.id && wide.column_type != old.column_type);
        if is_narrow {
            problems.push(format!("column {} was there again since, and was widened", old.name));
        }
        columns.insert(place.map_or(0, |place| place + 1), (old.clone(), old.id));
    }
    if now == after {
        // Nobody has had a say in the order since.
        let place = |id: u32| before.columns.iter().position(|column| column.id == id);
        columns.sort_by_key(|(_, id)| place(*id).unwrap_or(usize::MAX));
    }
    for (index, (column, _)) in columns.iter().enumerate() {
        if columns[..index].iter().any(|(other, _)| other.name == column.name) {
            problems.push(format!("another column has the name {} now", column.name));
        }
    }
    let (mut checks, mut brought) = (now.checks.clone(), false);
    checks.retain(|check| !after.checks.contains(check) || before.checks.contains(check));
    for check in
        before.checks.iter().filter(|check| !after.checks.contains(check) && !now.checks.contains(check))
    {
        if checks.iter().any(|other| other.name == check.name) {
            problems.push(format!("another check has the name {} now", check.name));
        }
        checks.push(check.clone());
        brought = true;
    }
    let (columns, read): (Vec<Column>, Vec<u32>) = columns.into_iter().unzip();
    if columns.is_empty() {
        problems.push("no column would be left".to_string());
    }
    let mut schema = TableSchema::of(columns, now.key.clone());
    schema.checks = checks;
    // A schema that is as it was stays the same one.
    let schema = if schema == **now { now.clone() } else { Arc::new(schema) };
    Ok(Reversed { schema, read, goes, comes, checks: brought, problems })
}
