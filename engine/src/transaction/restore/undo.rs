//! Taking one commit back: each row that it changed becomes what it was before, and so do schemas, where nobody changed
//! the same since.
//!
//! Invariants. A row counts as changed since where it is not now what the commit left it: what was written again with
//! equal values, or changed to and fro, is in nobody's way. Where there is a conflict, all of them are found, nothing more
//! is written, and the transaction is not to be committed. What is taken back is taken back once: rows without key that a
//! commit deleted would come again and again, as nothing tells that they are there already.

mod reversed;

use super::groups::{Block, Blocks, Pick, between, sided, was_or_is};
use super::shape::Shape;
use super::{Samples, Transaction, samples_of};
use crate::adapt::default_array;
use crate::api::ScanOptions;
use crate::compact::keep::Seen;
use crate::equal::{equal_rows, unmark_distinct};
use crate::error::{Error, ErrorKind, Result};
use crate::restore::{Conflict, Conflicts, TableRestored, Undone, VERSIONS_TOLD_MAX};
use crate::scan::Life;
use crate::snapshot::versions_of_key;
use crate::text::{format_cell, format_key};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use asof_mvcc::{Column, Put, Table, Version};
use reversed::{Reversed, reversed};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sides of a row: as the commit ended it, as the commit made it, as the commit left it where it has ended since, as it
/// came since.
const WAS: usize = 0;
const LEFT: usize = 1;
const GONE: usize = 2;
const NOW: usize = 3;

/// One undo.
struct Undo {
    version: Version,
    previous: Version,
    conflicts: Conflicts,
    /// How many samples of each kind.
    samples: usize,
}

impl Transaction {
    /// Takes a commit back: its changes of rows and schemas. Conflicts are what others changed since; where there are any
    /// the transaction is to be dropped. It must be the first thing that a transaction does to the tables of the commit.
    ///
    /// A commit whose operation is `undo` and that has the `version` among its parameters says that it took that back: until
    /// it is undone itself, nothing takes it back again.
    pub fn undo(&mut self, version: Version, samples: usize) -> Result<Undone> {
        let previous = version
            .previous()
            .ok_or_else(|| Error::invalid("version 0 is the empty database: there is nothing to undo"))?;
        self.readable(version)?;
        let before = self.readable(previous)?;
        let mut undo = Undo { version, previous, conflicts: Conflicts::default(), samples };
        let header = self.snapshot.state().header(version)?;
        let ids = header.tables.iter().map(|record| record.table);
        let mut tables: Vec<Arc<Table>> = ids.filter_map(|id| self.base.table(id).cloned()).collect();
        if let Some(undone) = self.undone_by(version, &tables)? {
            return Err(Error::invalid(format!(
                "version {version} is undone already, by version {undone}; to have its changes again, undo version {undone}"
            )));
        }
        // What it made goes first, so that what it dropped finds its name free.
        tables.sort_by_key(|table| (table.exists_at(previous), table.exists_at(version)));
        let mut restored: Vec<TableRestored> = Vec::new();
        for table in tables {
            // Whether there is a table of the name now is part of what was read.
            self.has_table(&table.name);
            if table.exists_at(self.read_version()) {
                self.check_untouched(&table)?;
            }
            let from = self.schema_changes.len();
            let samples = match (table.exists_at(previous), table.exists_at(version)) {
                (false, _) => self.undo_making(&mut undo, &table)?,
                (true, false) => {
                    self.undo_drop(&mut undo, &table)?;
                    match self.schema_changes.len() > from {
                        true => samples_of(&before, &table.name, Samples::new(samples))?,
                        false => Samples::default(),
                    }
                }
                (true, true) => self.undo_changes(&mut undo, &table)?,
            };
            let Some(told) = self.told(&table.name, from, samples) else { continue };
            match restored.iter_mut().find(|known| known.name == told.name) {
                Some(known) => {
                    known.schema_changes.extend(told.schema_changes);
                    known.samples.extend(told.samples);
                }
                None => restored.push(told),
            }
        }
        restored.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(match undo.conflicts.count {
            0 => Undone::Changed(restored),
            _ => Undone::Conflicts(undo.conflicts),
        })
    }

    /// The version that took a commit back, where nothing has taken that back since.
    fn undone_by(&self, version: Version, tables: &[Arc<Table>]) -> Result<Option<Version>> {
        let now = self.read_version();
        let mut since: BTreeSet<Version> = BTreeSet::new();
        for table in tables {
            since.extend(self.database.table_versions(&table.name, version, now)?);
            let edges = table.lives.iter().flat_map(|(begin, end)| [Some(*begin), *end]).flatten();
            since.extend(edges.filter(|edge| *edge > version && *edge <= now));
        }
        let mut undone: BTreeSet<Version> = BTreeSet::new();
        // Versions after this one are those of a state that was left.
        let mut left_after = Version::FOREVER;
        for later in since.into_iter().rev() {
            if later > left_after || undone.contains(&later) {
                continue;
            }
            let info = self.snapshot.state().header(later)?.to_info();
            let of = info.parameters.get("version").and_then(|of| of.parse().ok());
            let Some(of) = of.map(Version) else { continue };
            let is_whole = !info.parameters.contains_key("tables");
            match info.operation.as_str() {
                "undo" if of == version => return Ok(Some(later)),
                "undo" => drop(undone.insert(of)),
                "restore" if is_whole => left_after = of,
                _ => {}
            }
        }
        Ok(None)
    }

    /// A table that the commit made, or brought back, goes again.
    fn undo_making(&mut self, undo: &mut Undo, table: &Table) -> Result<Samples> {
        let now = self.read_version();
        if table.exists_at(now) {
            let last = self.snapshot.state().last_change(table.id)?;
            if last.is_some_and(|last| last > undo.version) {
                let version = undo.version;
                let since = || self.database.table_versions(&table.name, version, now);
                self.refuse(undo, table, None, "which the commit made, was changed since", since)?;
            } else {
                self.drop_table(&table.name)?;
            }
        }
        Ok(Samples::default())
    }

    /// A table that the commit dropped comes back.
    fn undo_drop(&mut self, undo: &mut Undo, table: &Table) -> Result<()> {
        let now = self.read_version();
        if table.exists_at(now) {
            return Ok(());
        }
        let other = self.table(&table.name).ok();
        let since = match (other, table.dropped_before(now)) {
            (Some(other), _) => other.lives.last().map(|(begin, _)| *begin),
            (None, dropped) => dropped.filter(|dropped| *dropped != undo.version),
        };
        match since {
            None => self.revive(table)?,
            Some(since) => {
                let what = "which the commit dropped, was made or brought back since";
                self.refuse(undo, table, None, what, || Ok(vec![since]))?;
            }
        }
        Ok(())
    }

    /// Takes note of a conflict with what versions did, which is asked where it is told.
    fn refuse(
        &self,
        undo: &mut Undo,
        table: &Table,
        key: Option<String>,
        what: impl Into<String>,
        since: impl FnOnce() -> Result<Vec<Version>>,
    ) -> Result<()> {
        undo.conflicts.add(|| {
            let mut since = since()?;
            since.drain(..since.len().saturating_sub(VERSIONS_TOLD_MAX));
            let who = |version: Version| {
                let info = self.snapshot.state().header(version)?.to_info();
                Ok((version, info.who().to_string()))
            };
            let since = since.into_iter().map(who).collect::<Result<_>>()?;
            Ok(Conflict { table: table.name.clone(), key, what: what.into(), since })
        })
    }

    /// Rows and schema of a table that was there before the commit and after it.
    fn undo_changes(&mut self, undo: &mut Undo, table: &Table) -> Result<Samples> {
        let now = self.read_version();
        if !table.exists_at(now) {
            let dropped = || Ok(table.dropped_before(now).into_iter().collect());
            self.refuse(undo, table, None, "which the commit changed, was dropped since", dropped)?;
            return Ok(Samples::default());
        }
        let back = reversed(table, undo.version)?;
        let before = undo.conflicts.count;
        if !back.problems.is_empty() {
            let since = schemas_since(table, undo.version);
            for problem in &back.problems {
                self.refuse(undo, table, None, problem.clone(), || Ok(since.clone()))?;
            }
        }
        self.check_unfilled(undo, table, &back.goes)?;
        if undo.conflicts.count > before {
            return Ok(Samples::default());
        }
        self.put_schema(table.id, back.schema.clone());
        let shape = Shape::reading(table, back.schema.clone(), &back.read);
        let samples = self.undo_rows(undo, table, &back, &shape)?;
        if !back.comes.is_empty() {
            self.carry_over(undo, table, &back, &shape)?;
        }
        if back.checks && undo.conflicts.count == before {
            self.check_all(undo, table, &back)?;
        }
        Ok(samples)
    }

    /// Columns that the commit added go: nobody must have given them values since.
    fn check_unfilled(&self, undo: &mut Undo, table: &Table, columns: &[Column]) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        let now = self.read_version();
        let mut filled: Vec<BTreeSet<Version>> = vec![BTreeSet::new(); columns.len()];
        for chunk in self.row_versions(table, columns, between(undo.version, now))? {
            let chunk = chunk?;
            for (index, column) in columns.iter().enumerate() {
                let mut same = vec![true; chunk.len()];
                let default = default_array(column, chunk.len())?;
                unmark_distinct(chunk.rows.column(index), &default, &mut same)?;
                let since = (0..chunk.len()).filter(|row| chunk.ends[*row] > now && !same[*row]);
                let since = since.map(|row| chunk.begins[row]);
                filled[index].extend(since.filter(|begin| *begin > undo.version));
            }
        }
        for (column, since) in columns.iter().zip(filled).filter(|(_, since)| !since.is_empty()) {
            let what = format!("column {}, which the commit added, was filled since", column.name);
            self.refuse(undo, table, None, what, || Ok(since.into_iter().collect()))?;
        }
        Ok(())
    }

    /// Rows that the commit changed, side by side with what became of them; where values become narrower, all rows.
    fn sides(&self, undo: &Undo, table: &Table, narrows: bool, shape: &Shape) -> Result<Blocks> {
        let (version, now) = (undo.version, self.read_version());
        let touched = Life::Touched { after: undo.previous, up_to: version };
        let touched = self.row_versions(table, &shape.read, touched)?;
        let side = move |begin: Version, end: Version| match (begin == version, end == version) {
            (true, _) => Some(LEFT),
            (_, true) => Some(WAS),
            _ => None,
        };
        let since = match narrows {
            true => {
                let all = self.row_versions(table, &shape.read, Life::VisibleAt(now))?;
                sided(all, Box::new(|_, _| Some(NOW)))
            }
            false => {
                let since = self.row_versions(table, &shape.read, between(version, now))?;
                sided(since, was_or_is((version, GONE), (now, NOW)))
            }
        };
        Ok(Blocks::of(vec![sided(touched, Box::new(side)), since]))
    }

    fn undo_rows(
        &mut self,
        undo: &mut Undo,
        table: &Table,
        back: &Reversed,
        shape: &Shape,
    ) -> Result<Samples> {
        let (version, narrows) = (undo.version, back.narrows());
        let mut samples = Samples::new(undo.samples);
        for block in self.sides(undo, table, narrows, shape)? {
            let block = block?;
            let changes = Changes::of(&block, narrows)?;
            for group in changes.conflicts {
                let [was, left, gone, now] = block.groups[group];
                let what = match (left.or(gone).is_some(), now.is_some()) {
                    (true, true) => "changed since",
                    (true, false) => "deleted since",
                    (false, _) => "made again since",
                };
                let (rows, row) = block.row(left.or(now).or(was).or(gone).expect("a group has a row"));
                let told = key_text(shape, rows, row);
                let since = || self.versions_since(version, table, shape, block.keys.get(group));
                self.refuse(undo, table, Some(told), what, since)?;
            }
            let put: Vec<Pick> = changes.put.iter().map(|(_, row, _)| *row).collect();
            let rows = block.take(&put)?;
            let misfits = shape.misfits(&rows)?;
            for (row, column) in &misfits {
                let what = format!("column {column} cannot hold what the row has now as it was before");
                let key = block.keys.get(changes.put[*row].0);
                let since = || self.versions_since(version, table, shape, key);
                self.refuse(undo, table, Some(key_text(shape, &rows, *row)), what, since)?;
            }
            if misfits.is_empty() {
                self.put_undone(undo, table, shape, &rows)?;
            }
            if undo.conflicts.count > 0 {
                continue;
            }
            for (row, (_, _, left)) in changes.put.iter().enumerate() {
                if let Some(replaced) = left {
                    samples.add(&shape.shown, replaced.map(|left| block.row(left)), Some((&rows, row)));
                }
            }
            changes
                .gone
                .iter()
                .filter_map(|group| Some((group, block.groups[*group][LEFT]?)))
                .for_each(|(_, left)| samples.add(&shape.shown, Some(block.row(left)), None));
            let mut gone = changes.gone;
            if !shape.schema.has_key() {
                // A row without key is not replaced: what is written again narrower goes as it is.
                gone.extend(
                    changes.put.iter().filter(|(_, _, left)| left.is_none()).map(|(group, ..)| *group),
                );
            }
            self.delete_once(table.id, gone.iter().map(|group| block.keys.get(*group)));
        }
        Ok(samples)
    }

    /// Puts rows as they were read, where there is no conflict yet; those that a check refuses are one.
    fn put_undone(
        &mut self,
        undo: &mut Undo,
        table: &Table,
        shape: &Shape,
        rows: &RecordBatch,
    ) -> Result<()> {
        let rows = shape.rows(rows)?;
        match self.check_rows(&table.name, &shape.schema, &rows) {
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let version = undo.version;
                self.refuse(undo, table, None, error.to_string(), || Ok(schemas_since(table, version)))
            }
            checked => {
                checked?;
                if undo.conflicts.count > 0 {
                    return Ok(());
                }
                self.put_conformed(table.id, &table.name, shape.schema.clone(), rows, Put::Upsert)
            }
        }
    }

    /// The versions that changed a row since, as far as versions that can be read tell.
    fn versions_since(
        &self,
        version: Version,
        table: &Table,
        shape: &Shape,
        key: &[u8],
    ) -> Result<Vec<Version>> {
        let (state, now) = (self.snapshot.state(), self.read_version());
        let seen = Seen::of(&state.generation, table);
        let mut since: BTreeSet<Version> = BTreeSet::new();
        for chunk in
            versions_of_key(state, table, &shape.read, key, Life::Touched { after: version, up_to: now })?
        {
            let lives = chunk.begins.iter().zip(&chunk.ends);
            let shown =
                lives.filter(|(begin, end)| seen.as_ref().is_none_or(|seen| !seen.hides(**begin, **end)));
            since.extend(shown.flat_map(|(begin, end)| [*begin, *end]));
        }
        since.retain(|other| *other > version && *other <= now);
        Ok(since.into_iter().collect())
    }

    /// Values of columns that come back, for rows that others have changed since: those that they had before.
    fn carry_over(&mut self, undo: &mut Undo, table: &Table, back: &Reversed, shape: &Shape) -> Result<()> {
        let now = self.read_version();
        let comes: Vec<usize> =
            (0..shape.read.len()).filter(|index| back.comes.contains(&shape.read[*index].id)).collect();
        let (version, previous) = (undo.version, undo.previous);
        // Rows that the commit changed are undone already.
        let was_or_is = was_or_is((previous, WAS), (now, NOW));
        let side = move |begin: Version, end: Version| match was_or_is(begin, end)? {
            WAS if end == version => Some(GONE),
            NOW if begin == version => None,
            side => Some(side),
        };
        let chunks = self.row_versions(table, &shape.read, between(previous, now))?;
        for block in Blocks::of(vec![sided(chunks, Box::new(side))]) {
            let block = block?;
            let pairs = block.groups.iter().filter_map(|group| Some((group[WAS]?, group[NOW]?)));
            let (was, is): (Vec<Pick>, Vec<Pick>) = pairs.unzip();
            let (was, is) = (block.take(&was)?, block.take(&is)?);
            let columns = (0..is.num_columns()).map(|index| match comes.contains(&index) {
                true => was.column(index).clone(),
                false => is.column(index).clone(),
            });
            let rows = RecordBatch::try_new(is.schema(), columns.collect())?;
            let differs: BooleanArray =
                equal_rows(&rows, &is)?.into_iter().map(|equal| Some(!equal)).collect();
            let rows = filter_record_batch(&rows, &differs)?;
            let lonely = block.groups.iter().filter(|group| group[WAS].or(group[GONE]).is_none());
            let lonely: Vec<Pick> = lonely.filter_map(|group| group[NOW]).collect();
            let made = block.take(&lonely)?;
            for (row, column) in shape.misfits(&made)? {
                let what = format!("made since, it has no value for column {column}, which is not null");
                self.refuse(undo, table, Some(key_text(shape, &made, row)), what, || Ok(Vec::new()))?;
            }
            if rows.num_rows() > 0 {
                self.put_undone(undo, table, shape, &rows)?;
            }
        }
        Ok(())
    }

    /// A check that comes back must hold for all rows.
    fn check_all(&self, undo: &mut Undo, table: &Table, back: &Reversed) -> Result<()> {
        for part in self.table_as_changed(&table.name)?.parts(ScanOptions::default())? {
            for rows in part.read()? {
                match self.check_rows(&table.name, &back.schema, &rows?) {
                    Err(error) if error.kind() == ErrorKind::Invalid => {
                        return self.refuse(undo, table, None, error.to_string(), || Ok(Vec::new()));
                    }
                    checked => checked?,
                }
            }
        }
        Ok(())
    }
}

/// What an undo does to the rows of a block, by their groups.
struct Changes {
    /// Rows to put, and of those that the commit changed the row that it left, if it left one.
    put: Vec<(usize, Pick, Option<Option<Pick>>)>,
    /// Groups whose row goes.
    gone: Vec<usize>,
    /// Groups that were changed since.
    conflicts: Vec<usize>,
}

impl Changes {
    fn of(block: &Block, narrows: bool) -> Result<Changes> {
        let same = block.same((LEFT, NOW), &[])?;
        let mut changes = Changes { put: Vec::new(), gone: Vec::new(), conflicts: Vec::new() };
        for (index, ([was, left, gone, now], same)) in block.groups.iter().copied().zip(same).enumerate() {
            let same = same == Some(true);
            let touched = was.is_some() || left.is_some();
            let changed = match narrows {
                true => (left.is_some() || now.is_some()) && !same,
                false => (gone.is_some() || now.is_some()) && !same,
            };
            match (touched, was, now) {
                (false, _, Some(now)) if narrows => changes.put.push((index, now, None)),
                (false, ..) => {}
                _ if changed => changes.conflicts.push(index),
                (true, Some(was), _) => changes.put.push((index, was, Some(left))),
                (true, None, _) => changes.gone.push(index),
            }
        }
        Ok(changes)
    }
}

/// The versions that changed a table's schema since.
fn schemas_since(table: &Table, version: Version) -> Vec<Version> {
    table.schemas.iter().map(|(from, _)| *from).filter(|from| *from > version).collect()
}

/// A row's key as typed; all its values where it has none.
fn key_text(shape: &Shape, rows: &RecordBatch, row: usize) -> String {
    if shape.schema.has_key() {
        return format_key(&shape.shown, rows, row);
    }
    let cells = shape.shown.columns.iter().zip(rows.columns());
    let cells = cells.map(|(column, array)| format_cell(&column.column_type, array, row).unwrap_or_default());
    cells.collect::<Vec<_>>().join(",")
}
