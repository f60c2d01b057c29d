//! Running sums: after each version that changed a table, its rows, the bytes of its cells as CSV and as JSON, and the
//! variable bits of its values, which tell how long Arrow files are. Up to the manifest they lie in the changes file; for
//! later versions they are computed here when first needed, from the rows born and dead, and settled by the next
//! checkpoint. Where the manifest is of a release that did not count one of them, columns are counted anew.
//!
//! Rows that lie in a damaged file cannot be counted when they end. The sums of bytes are unknown then, until a later
//! change finds all rows of the table readable and counts them anew: damage of one table keeps nobody from settling.

use crate::adapt::default_array;
use crate::error::{ErrorKind, Result};
use crate::history::changes::ChangeEntry;
use crate::scan::{Life, unordered_row_versions};
use crate::state::State;
use crate::text::{cell_bytes, cell_bytes_of_rows};
use crate::variable_bits::{is_variable, variable_bits};
use arrow::array::{Array, ArrayRef};
use asof_mvcc::{Column, Table, TableSchema, Version};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The running sums of one table since the manifest.
#[derive(Clone, Debug)]
pub struct SumsTail {
    /// Settled up to here.
    at: Version,
    /// Rows alive.
    pub rows: u64,
    /// Those of each column; none while they are unknown.
    pub columns: Vec<ColumnSums>,
    /// One entry for each version that changed the table.
    pub entries: Vec<ChangeEntry>,
}

/// The running sums of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSums {
    /// The column's id.
    pub id: u32,
    /// What its cells take.
    pub cells: CellSums,
}

/// What cells take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellSums {
    /// Bytes as CSV.
    pub csv_bytes: u64,
    /// Bytes as JSON.
    pub json_bytes: u64,
    /// Variable bits.
    pub variable_bits: u64,
}

impl CellSums {
    /// Those of all of a column's cells; `one_column` where the table has no other.
    fn of(column: &Column, array: &ArrayRef, one_column: bool) -> CellSums {
        let (csv_bytes, json_bytes) = cell_bytes(column, array, one_column);
        CellSums { csv_bytes, json_bytes, variable_bits: variable_bits(array, 0..array.len()) }
    }

    /// Those of some rows.
    fn of_rows(column: &Column, array: &ArrayRef, one_column: bool, rows: &[u32]) -> CellSums {
        let (csv_bytes, json_bytes) = cell_bytes_of_rows(column, array, one_column, rows);
        let variable_bits = variable_bits(array, rows.iter().map(|row| *row as usize));
        CellSums { csv_bytes, json_bytes, variable_bits }
    }

    fn each(self, other: CellSums, combine: impl Fn(u64, u64) -> u64) -> CellSums {
        CellSums {
            csv_bytes: combine(self.csv_bytes, other.csv_bytes),
            json_bytes: combine(self.json_bytes, other.json_bytes),
            variable_bits: combine(self.variable_bits, other.variable_bits),
        }
    }

    fn plus(self, other: CellSums) -> CellSums {
        self.each(other, u64::wrapping_add)
    }

    fn minus(self, other: CellSums) -> CellSums {
        self.each(other, u64::wrapping_sub)
    }

    fn times(self, rows: u64) -> CellSums {
        self.each(CellSums::default(), |one, _| one * rows)
    }
}

/// What one version adds and removes: rows, and what their cells take, column by column. Sums below zero wrap around.
struct Delta {
    rows: i64,
    columns: Vec<CellSums>,
}

/// The table as the last change at or before a version left it; `None` before its first.
pub fn entry_at(state: &State, table: &Table, version: Version) -> Result<Option<ChangeEntry>> {
    let base = state.generation.version();
    if version > base {
        let tail = tail_of(state, table);
        let mut tail = tail.lock();
        settle(state, table, version, &mut tail)?;
        let count = tail.entries.partition_point(|entry| entry.version <= version);
        if count > 0 {
            return Ok(Some(tail.entries[count - 1]));
        }
    }
    state.generation.changes(table.id).at(version)
}

/// The same with its bytes, for which all rows are read where sums do not have them.
pub fn sizes_at(state: &State, table: &Table, version: Version) -> Result<ChangeEntry> {
    let entry = rows_at(state, table, version)?.unwrap_or(ChangeEntry::EMPTY);
    if entry.has_bytes() {
        return Ok(entry);
    }
    let columns = &table.schema_at(version).columns;
    let columns = count(state, table, columns, version, columns.len() == 1)?;
    Ok(entry_of(entry.version, entry.rows, &columns))
}

/// The same without its bytes. Where the entry itself is damaged, rows are counted, and the table counts as changed by
/// the version that is asked for: nothing else tells when it was.
pub fn rows_at(state: &State, table: &Table, version: Version) -> Result<Option<ChangeEntry>> {
    match entry_at(state, table, version) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            log::error!("rows of table {} are counted: {error}", table.name);
            let chunks = unordered_row_versions(state, table, &[], Life::VisibleAt(version))?;
            let rows = chunks.map(|chunk| Ok(chunk?.len() as u64)).sum::<Result<u64>>()?;
            Ok(Some(unknown_entry(version, rows)))
        }
        entry => entry,
    }
}

/// The running sums up to a version, for the checkpoint. Readers do not wait for it.
pub fn settled(state: &State, table: &Table, version: Version) -> Result<SumsTail> {
    let shared = tail_of(state, table);
    let mut tail = shared.lock().clone();
    // Readers may have asked for later versions already; the checkpoint must not run ahead.
    if tail.at > version && tail.entries.last().is_some_and(|entry| entry.version > version) {
        tail = unsettled(state, table);
    }
    settle(state, table, version, &mut tail)?;
    let mut known = shared.lock();
    if known.at < tail.at {
        *known = tail.clone();
    }
    Ok(tail)
}

fn tail_of(state: &State, table: &Table) -> Arc<Mutex<SumsTail>> {
    let new = || Arc::new(Mutex::new(unsettled(state, table)));
    state.sums.lock().entry(table.id).or_insert_with(new).clone()
}

/// The running sums as the manifest has them.
fn unsettled(state: &State, table: &Table) -> SumsTail {
    let settled = state.generation.sums(table.id);
    let variable = state.generation.variable_bits(table.id);
    let columns = settled.columns.iter().map(|&(id, csv_bytes, json_bytes)| {
        let known = variable.iter().find(|(known, _)| *known == id);
        let variable_bits = known.map_or(ChangeEntry::UNKNOWN, |(_, bits)| *bits);
        ColumnSums { id, cells: CellSums { csv_bytes, json_bytes, variable_bits } }
    });
    SumsTail {
        at: state.generation.version(),
        rows: settled.rows,
        columns: columns.collect(),
        entries: Vec::new(),
    }
}

fn settle(state: &State, table: &Table, version: Version, tail: &mut SumsTail) -> Result<()> {
    if tail.at >= version {
        return Ok(());
    }
    let Some(memtable) = state.memtable(table.id) else {
        tail.at = version;
        return Ok(());
    };
    let changes: Vec<Version> = memtable
        .read()
        .changes()
        .iter()
        .copied()
        .filter(|&change| change > tail.at && change <= version)
        .collect();
    // An epoch is a run of changes under one schema.
    let mut next = tail.clone();
    let mut rest = &changes[..];
    while let Some(first) = rest.first() {
        let schema_index = table.schema_index_at(*first);
        let length = rest.partition_point(|change| table.schema_index_at(*change) == schema_index);
        let (epoch, later) = rest.split_at(length);
        match settle_epoch(state, table, &table.schemas[schema_index].1, epoch, &mut next) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                log::error!("sizes of table {} are unknown from version {first} on: {error}", table.name);
                settle_unknown(state, table, epoch, &mut next);
            }
            settled => settled?,
        }
        rest = later;
    }
    next.at = version;
    *tail = next;
    Ok(())
}

/// What is known where rows that ended in an epoch cannot be read.
fn settle_unknown(state: &State, table: &Table, epoch: &[Version], tail: &mut SumsTail) {
    let (memtable, settled) = (state.memtable(table.id), state.generation.sums(table.id).rows);
    tail.columns.clear();
    for version in epoch {
        let net = memtable.as_ref().and_then(|memtable| memtable.read().last_change(*version));
        tail.rows = settled.wrapping_add_signed(net.map_or(0, |(_, net)| net));
        tail.entries.push(match tail.rows {
            0 => ChangeEntry { version: *version, ..ChangeEntry::EMPTY },
            rows => unknown_entry(*version, rows),
        });
    }
}

fn entry_of(version: Version, rows: u64, columns: &[ColumnSums]) -> ChangeEntry {
    let cells = columns.iter().fold(CellSums::default(), |sum, column| sum.plus(column.cells));
    let CellSums { csv_bytes, json_bytes, variable_bits } = cells;
    ChangeEntry { version, rows, csv_bytes, json_bytes, variable_bits }
}

fn unknown_entry(version: Version, rows: u64) -> ChangeEntry {
    let unknown = ChangeEntry::UNKNOWN;
    ChangeEntry { version, rows, csv_bytes: unknown, json_bytes: unknown, variable_bits: unknown }
}

/// Counts what columns take in all rows that a version shows; `one_column` where the table has no other.
fn count(
    state: &State,
    table: &Table,
    columns: &[Column],
    version: Version,
    one_column: bool,
) -> Result<Vec<ColumnSums>> {
    let mut sums: Vec<_> = columns.iter().map(none_of).collect();
    for chunk in unordered_row_versions(state, table, columns, Life::VisibleAt(version))? {
        let chunk = chunk?;
        for (sum, (index, column)) in sums.iter_mut().zip(columns.iter().enumerate()) {
            sum.cells = sum.cells.plus(CellSums::of(column, chunk.rows.column(index), one_column));
        }
    }
    Ok(sums)
}

/// The sums of a column without rows.
fn none_of(column: &Column) -> ColumnSums {
    ColumnSums { id: column.id, cells: CellSums::default() }
}

fn settle_epoch(
    state: &State,
    table: &Table,
    schema: &TableSchema,
    epoch: &[Version],
    tail: &mut SumsTail,
) -> Result<()> {
    let one_column = schema.columns.len() == 1;
    let before = epoch[0].previous().expect("version 0 changes nothing");
    tail.columns = columns_under(state, table, schema, before, tail)?;
    let mut deltas: BTreeMap<Version, Delta> = BTreeMap::new();
    let up_to = *epoch.last().expect("an epoch has a change");
    for chunk in
        unordered_row_versions(state, table, &schema.columns, Life::Touched { after: before, up_to })?
    {
        let chunk = chunk?;
        for (versions, sign) in [(&chunk.begins, 1), (&chunk.ends, -1)] {
            let mut rows_of: BTreeMap<Version, Vec<u32>> = BTreeMap::new();
            for (row, version) in versions.iter().enumerate() {
                if *version > before && *version <= up_to {
                    rows_of.entry(*version).or_default().push(row as u32);
                }
            }
            for (version, rows) in rows_of {
                let empty = || Delta { rows: 0, columns: vec![CellSums::default(); schema.columns.len()] };
                let delta = deltas.entry(version).or_insert_with(empty);
                delta.rows += sign * rows.len() as i64;
                for (index, column) in schema.columns.iter().enumerate() {
                    let cells = CellSums::of_rows(column, chunk.rows.column(index), one_column, &rows);
                    let sum = &mut delta.columns[index];
                    *sum = if sign > 0 { sum.plus(cells) } else { sum.minus(cells) };
                }
            }
        }
    }
    for version in epoch {
        if let Some(delta) = deltas.get(version) {
            tail.rows = tail.rows.wrapping_add_signed(delta.rows);
            for (column, delta) in tail.columns.iter_mut().zip(&delta.columns) {
                column.cells = column.cells.plus(*delta);
            }
        }
        tail.entries.push(entry_of(*version, tail.rows, &tail.columns));
    }
    Ok(())
}

/// The sums of the rows alive at `before`, under the schema that follows: kept columns keep theirs, new ones have
/// their default in every row, and where a value's text changes, its variable bits were not counted, or a column that was
/// dropped is there again, the rows are counted again.
fn columns_under(
    state: &State,
    table: &Table,
    schema: &TableSchema,
    before: Version,
    tail: &SumsTail,
) -> Result<Vec<ColumnSums>> {
    let old = table.schema_at(before);
    let one_column = schema.columns.len() == 1;
    if tail.rows == 0 {
        return Ok(schema.columns.iter().map(none_of).collect());
    }
    if tail.columns.is_empty() {
        return count(state, table, &schema.columns, before, one_column);
    }
    let mut sums = Vec::with_capacity(schema.columns.len());
    let mut recounted: Vec<Column> = Vec::new();
    for column in &schema.columns {
        let known = tail.columns.iter().find(|known| known.id == column.id);
        let same_text = one_column == (old.columns.len() == 1)
            && old.column(column.id).is_some_and(|other| other.column_type == column.column_type);
        let known = known.map(|known| match is_variable(&column.column_type.to_arrow()) {
            true => *known,
            false => ColumnSums { cells: CellSums { variable_bits: 0, ..known.cells }, ..*known },
        });
        let earlier = table.schemas.iter().take_while(|(from, _)| *from <= before);
        let is_new = earlier.into_iter().all(|(_, schema)| schema.column(column.id).is_none());
        sums.push(match known {
            Some(known) if same_text && known.cells.variable_bits != ChangeEntry::UNKNOWN => known,
            None if is_new => {
                let one = CellSums::of(column, &default_array(column, 1)?, one_column);
                ColumnSums { id: column.id, cells: one.times(tail.rows) }
            }
            _ => {
                recounted.push(column.clone());
                none_of(column)
            }
        });
    }
    if !recounted.is_empty() {
        for counted in count(state, table, &recounted, before, one_column)? {
            let sum = sums.iter_mut().find(|known| known.id == counted.id);
            *sum.expect("it was pushed above") = counted;
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests;
