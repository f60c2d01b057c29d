//! One row through all versions: what it was when, and which commit last set each of its values.
//!
//! Rows are found by key, as a lookup finds them: what other rows were is not read. A table that was dropped and made
//! again with the same key columns goes on with the history of its name.

use crate::adapt::adapt;
use crate::api::RowVersion;
use crate::compact::keep::Seen;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::gone;
use crate::past::VersionRange;
use crate::scan::Life;
use crate::snapshot::{all_columns, key_of, unknown_table, versions_of_key};
use crate::state::State;
use arrow::array::{Array, RecordBatch};
use asof_mvcc::{Column, Table, TableSchema, Version};
use std::sync::Arc;

/// Who set the values of a row, as they are at a version.
#[derive(Clone, Debug)]
pub struct Blame {
    /// The table's schema at that version.
    pub schema: Arc<TableSchema>,
    /// One row.
    pub row: RecordBatch,
    /// Of each column, what gave it its value.
    pub columns: Vec<BlamedColumn>,
}

/// What gave a column of a row its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlamedColumn {
    /// The commit.
    pub version: Version,
    /// Whether it added the column to rows that were there, rather than write the row.
    pub by_schema: bool,
}

/// What is known of a row at a version.
#[derive(Clone, Debug)]
pub enum Blamed {
    /// It is there.
    Row(Blame),
    /// It was there until this version.
    Gone(Version),
    /// It was not there before either.
    Never,
}

/// A row version with every column that its table had.
struct Lived {
    begin: Version,
    end: Version,
    row: RecordBatch,
}

/// The versions of a row up to one, oldest first.
fn lived(state: &State, table: &Table, columns: &[Column], key: &[u8], up_to: Version) -> Result<Vec<Lived>> {
    let everything = Life::Touched { after: Version::ZERO, up_to };
    let mut found = Vec::new();
    let seen = Seen::of(&state.generation, table);
    for chunk in versions_of_key(state, table, columns, key, everything)? {
        for row in 0..chunk.len() {
            if seen.as_ref().is_some_and(|seen| seen.hides(chunk.begins[row], chunk.ends[row])) {
                continue;
            }
            found.push(Lived {
                begin: chunk.begins[row],
                end: chunk.ends[row],
                row: chunk.rows.slice(row, 1),
            });
        }
    }
    found.sort_by_key(|lived| lived.begin);
    Ok(found)
}

/// The one key of a batch of one row.
fn one_key(table: &str, schema: &TableSchema, key: &RecordBatch) -> Result<Vec<u8>> {
    let keys = key_of(table, schema, key)?;
    match keys.len() {
        1 => Ok(keys.get(0).to_vec()),
        count => Err(Error::invalid(format!("one key is looked up at a time, but {count} were given"))),
    }
}

impl Database {
    /// Every version of one row that a version which is not gone shows ([`Database::gone`]), oldest first. `key` is a batch
    /// of one row with the key columns that the table has, or had when it was dropped.
    pub fn history(&self, table: &str, key: &RecordBatch) -> Result<Vec<RowVersion>> {
        let latest = self.refresh()?;
        let state = self.inner.state();
        row_versions_by_name(&state, table, key, latest)
    }

    /// Which commit gave each column of a row the value it has at a version: the last that changed it, or that added
    /// the column with its default. `key` is a batch of one row with the table's key columns at that version.
    pub fn blame(&self, table: &str, key: &RecordBatch, at: Version) -> Result<Blamed> {
        let state = self.inner.state_with(at)?;
        let catalog = state.catalog().up_to(at);
        let entry = catalog.find(table, at).ok_or_else(|| unknown_table(&catalog, at, table))?;
        gone::check_readable(&state.generation, entry, at)?;
        let schema = entry.schema_at(at).clone();
        let wanted = one_key(table, &schema, key)?;
        let own = all_columns(entry);
        let versions = lived(&state, entry, &own, &wanted, at)?;
        let Some(current) = versions.iter().position(|lived| lived.begin <= at && at < lived.end) else {
            let before = row_versions_by_name(&state, table, key, at)?;
            let gone = before.iter().filter_map(|version| version.end).max();
            return Ok(gone.map_or(Blamed::Never, Blamed::Gone));
        };
        let columns = schema.columns.iter().map(|column| {
            let place = own.iter().position(|other| other.id == column.id);
            let place = place.expect("a column of a schema is one of all of them");
            let added = added_at(entry, column.id, at);
            let value = |lived: &Lived| lived.row.column(place).to_data();
            let mut set = current;
            while let Some(before) = set.checked_sub(1) {
                let (before, after) = (&versions[before], &versions[set]);
                let goes_on = before.end == after.begin && before.end > added;
                if !goes_on || value(before) != value(after) {
                    break;
                }
                set -= 1;
            }
            let begin = versions[set].begin;
            BlamedColumn { version: begin.max(added), by_schema: begin < added }
        });
        let columns = columns.collect();
        let row = adapt(&versions[current].row, &own, &schema.columns, &schema.to_arrow())?;
        Ok(Blamed::Row(Blame { schema, row, columns }))
    }
}

/// The versions of a row in all tables of a name that a version up to one shows, oldest first.
fn row_versions_by_name(
    state: &State,
    table: &str,
    key: &RecordBatch,
    up_to: Version,
) -> Result<Vec<RowVersion>> {
    let catalog = state.catalog().up_to(up_to);
    // The highest number is not always that of the newest: a table that was dropped may be back.
    let newest = catalog.find_last(table, up_to);
    let newest = newest.ok_or_else(|| unknown_table(&catalog, up_to, table))?.id;
    let mut versions = Vec::new();
    for entry in catalog.incarnations(table) {
        let wanted = match one_key(table, entry.newest_schema(), key) {
            Ok(wanted) => wanted,
            Err(error) if entry.id == newest => return Err(error),
            // It had another key: its rows are others.
            Err(_) => continue,
        };
        // Every column the table ever had, so that each version shows the row under its own schema.
        let columns = all_columns(entry);
        for Lived { begin, end, row } in lived(state, entry, &columns, &wanted, up_to)? {
            let alive = VersionRange::of(begin, Some(end), up_to);
            for (from, to) in &entry.lives {
                let range = VersionRange::of(*from, *to, up_to);
                let both = alive.and_then(|alive| range.and_then(|range| alive.common(range)));
                let Some(shown) = both.filter(|both| gone::shows_any(&state.generation, entry, *both)) else {
                    continue;
                };
                let VersionRange { first: begin, last } = shown;
                let under = |schema: &TableSchema| adapt(&row, &columns, &schema.columns, &schema.to_arrow());
                let (schema, last_schema) = (entry.schema_at(begin), entry.schema_at(last));
                versions.push(RowVersion {
                    table: entry.id,
                    begin,
                    end: (last < up_to).then(|| last.next()),
                    schema: schema.clone(),
                    row: under(schema)?,
                    last_schema: last_schema.clone(),
                    last_row: under(last_schema)?,
                });
            }
        }
    }
    versions.sort_by_key(|version| version.begin);
    Ok(versions)
}

/// The version that gave a table a column which it has at a version.
fn added_at(table: &Table, column: u32, at: Version) -> Version {
    let schemas = &table.schemas[..=table.schema_index_at(at)];
    let with_it = schemas.iter().rev().take_while(|(_, schema)| schema.column(column).is_some());
    with_it.last().map_or(at, |(version, _)| *version)
}
