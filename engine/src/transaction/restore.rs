//! Changes that bring back what was: tables, schemas and rows of a version, or all that a dropped table had.
//!
//! Invariants. Only what differs is changed: a row that is as it was is not written. A table that was dropped comes back
//! under its own number with the rows it had, which costs nothing, and is then changed to what it was. Nothing is brought
//! back from a version that is gone. Memory is that of any transaction; of tables without a key, a digest of each different
//! row that was or is, and is not both, is held as well.

mod groups;
mod shape;
mod undo;

use super::Transaction;
use crate::api::ScanOptions;
use crate::checksum::row_digests;
use crate::copies::touched_row_versions;
use crate::error::{Error, ErrorKind, Result};
use crate::gone::check_readable;
use crate::restore::{RowCondition, Samples, TableRestored};
use crate::scan::Life;
use crate::snapshot::{Snapshot, unknown_table};
use crate::store::chunk::Chunks;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use asof_mvcc::{Column, Put, Table, TableId, TableSchema, Version};
use groups::{Block, Blocks, Pick, between, sided, was_or_is};
use shape::{Shape, describe, have_one_definition, renumbered};
use std::collections::HashMap;
use std::sync::Arc;

/// Sides of a row: how it was, how it is.
const WAS: usize = 0;
const IS: usize = 1;

/// Rows of a table as they were at a version, that come back.
struct Rows<'a> {
    /// The table that had them, and the one that gets them: the same one as a rule.
    then: &'a Table,
    table: &'a Table,
    shape: &'a Shape,
    version: Version,
    /// Which; all where there is no condition.
    condition: Option<&'a RowCondition<'a>>,
    /// Ids of columns that keep the values they have: there were none.
    kept: Vec<u32>,
}

impl Transaction {
    /// Brings tables back to what they were at a version: rows, schema, and whether they were there at all; all tables
    /// where none is named. Says what that changes, with some `samples` of each kind of change; of tables that are as they
    /// were it says nothing. It must be the first thing that a transaction does to them.
    pub fn restore(
        &mut self,
        version: Version,
        tables: &[String],
        samples: usize,
    ) -> Result<Vec<TableRestored>> {
        let old = self.readable(version)?;
        let mut names: Vec<String> = match tables.is_empty() {
            true => {
                old.check_all_tables()?;
                self.note(|reads| reads.all_names = true);
                old.table_names()?.into_iter().chain(self.table_names()).collect()
            }
            false => {
                tables.iter().try_for_each(|name| old.schema(name).map(drop))?;
                tables.to_vec()
            }
        };
        names.sort();
        names.dedup();
        let mut restored = Vec::new();
        for name in names {
            restored.extend(self.restore_table(&old, &name, samples)?);
        }
        Ok(restored)
    }

    /// Brings rows of a table back to what they were at a version: those for which a condition holds, as they were or as
    /// they are. The table keeps its schema, and columns that it did not have then keep their values.
    pub fn restore_rows(
        &mut self,
        version: Version,
        table: &str,
        condition: &RowCondition<'_>,
        samples: usize,
    ) -> Result<Option<TableRestored>> {
        let old = self.readable(version)?;
        let (then, now) = (self.base_table(table, version)?, self.table(table)?.clone());
        self.check_untouched(&now)?;
        if then.id != now.id {
            return Err(Error::invalid(format!(
                "table {table} was made again, or got another key, since version {version}: restore it as a whole"
            )));
        }
        let old_schema = old.schema(table)?;
        let schema = now.newest_schema();
        let added = schema.columns.iter().filter(|column| old_schema.column(column.id).is_none());
        let kept = added.map(|column| column.id).collect();
        let shape = Shape::of(&now, schema.clone());
        let rows = Rows { condition: Some(condition), kept, ..Rows::all(&now, &now, &shape, version) };
        let samples = self.put_back(rows, Samples::new(samples))?;
        Ok(self.told(table, self.schema_changes.len(), samples))
    }

    /// Brings a dropped table back as it was before it was dropped.
    pub fn undrop(&mut self, table: &str, samples: usize) -> Result<TableRestored> {
        if self.has_table(table) {
            return Err(Error::new(
                ErrorKind::Exists,
                format!("table {table} is there; to bring back an earlier state, restore it to a version"),
            ));
        }
        let read = self.read_version();
        let by_this = self.dropped.iter().find(|(_, name)| name == table);
        let dropped = match by_this.and_then(|(id, _)| self.base.table(*id)) {
            Some(entry) => Some((read, entry.clone())),
            None => {
                let entry = self.base.find_last(table, read).cloned();
                entry.and_then(|entry| Some((entry.dropped_before(read)?.previous()?, entry)))
            }
        };
        let (last, entry) = dropped.ok_or_else(|| unknown_table(&self.base, read, table))?;
        let before = self.schema_changes.len();
        let old = self.readable(last)?;
        self.revive(&entry)?;
        let samples = samples_of(&old, table, Samples::new(samples))?;
        Ok(self.told(table, before, samples).expect("it is there again"))
    }

    /// A version that can be read, and is not after the one that this transaction reads.
    fn readable(&self, version: Version) -> Result<Snapshot> {
        let snapshot = self.database.snapshot(version)?;
        self.has_read.set(true);
        match version > self.read_version() {
            true => Err(Error::new(
                ErrorKind::Conflict,
                format!("version {version} was made after this transaction began; begin again"),
            )),
            false => Ok(snapshot),
        }
    }

    /// Row versions of a table in order of key, then begin. A version that is asked about and is gone is refused: what it
    /// showed may be there in parts.
    fn row_versions(&self, table: &Table, columns: &[Column], life: Life) -> Result<Chunks> {
        let state = self.snapshot.state();
        let asked = [life.touched().map(|(after, _)| after), Some(life.newest())];
        for version in asked.into_iter().flatten().filter(|version| table.exists_at(*version)) {
            check_readable(&state.generation, table, version)?;
        }
        touched_row_versions(state, table, columns, life)
    }

    /// The table of a name at a version.
    fn base_table(&self, table: &str, version: Version) -> Result<Arc<Table>> {
        let found = self.base.find(table, version).cloned();
        found.ok_or_else(|| unknown_table(&self.base, version, table))
    }

    /// Refuses a table that this transaction has changed.
    fn check_untouched(&self, table: &Table) -> Result<()> {
        let is_new = self.base.table(table.id).is_none_or(|base| **base != *table);
        match is_new || self.loads.contains_key(&table.id) || !self.is_untouched(table.id) {
            true => Err(Error::invalid(format!(
                "table {} has changes already; restoring it must come first in a transaction",
                table.name
            ))),
            false => {
                self.note(|reads| reads.rows.whole(table.id));
                Ok(())
            }
        }
    }

    /// What was done with a table, if anything was.
    fn told(&self, table: &str, from: usize, samples: Samples) -> Option<TableRestored> {
        let changes = self.schema_changes[from..].iter().filter(|(name, _)| name == table);
        let schema_changes: Vec<String> = changes.map(|(_, what)| what.clone()).collect();
        let touched =
            self.catalog.find(table, self.working()).is_some_and(|table| !self.is_untouched(table.id));
        let restored = TableRestored { name: table.to_string(), schema_changes, samples: samples.rows };
        (touched || !restored.schema_changes.is_empty()).then_some(restored)
    }

    fn restore_table(&mut self, old: &Snapshot, name: &str, samples: usize) -> Result<Option<TableRestored>> {
        let version = old.version();
        let then = self.base.find(name, version).cloned();
        let now = self.table(name).ok().cloned();
        if let Some(now) = &now {
            self.check_untouched(now)?;
        }
        if let Some(then) = &then {
            check_readable(&self.snapshot.state().generation, then, version)?;
        }
        let before = self.schema_changes.len();
        let Some(then) = then else {
            self.drop_table(name)?;
            return Ok(self.told(name, before, Samples::default()));
        };
        let stays = now.as_ref().is_some_and(|now| now.id == then.id);
        let schema = then.schema_at(version);
        // A table of which the last version is gone has not all rows that it had: it is made again of what can be read.
        let can_stay = stays || self.check_revivable(&then).is_ok();
        let Some(shape) = Shape::back(&then, schema).filter(|_| can_stay) else {
            if let Some(now) = now.filter(|now| have_one_definition(now.newest_schema(), schema)) {
                // It was made again before.
                let ids: Vec<u32> = schema.columns.iter().map(|column| column.id).collect();
                let shape = Shape::reading(&then, now.newest_schema().clone(), &ids);
                let rows = Rows::all(&then, &now, &shape, version);
                let samples = self.put_back(rows, Samples::new(samples))?;
                return Ok(self.told(name, before, samples));
            }
            if self.has_table(name) {
                self.drop_table(name)?;
            }
            self.make_again(&then, version)?;
            let samples = samples_of(old, name, Samples::new(samples))?;
            return Ok(self.told(name, before, samples));
        };
        if !stays {
            if now.is_some() {
                self.drop_table(name)?;
            }
            self.revive(&then)?;
        }
        self.put_schema(then.id, shape.schema.clone());
        let changed = Samples::new(if stays { samples } else { 0 });
        let changed = self.put_back(Rows::all(&then, &then, &shape, version), changed)?;
        // Of a table that comes back all rows do.
        let samples = if stays { changed } else { samples_of(old, name, Samples::new(samples))? };
        Ok(self.told(name, before, samples))
    }

    /// Refuses a dropped table whose last version is gone: some of the rows that it had may be.
    fn check_revivable(&self, table: &Table) -> Result<()> {
        let last = table.dropped_before(self.read_version()).and_then(Version::previous);
        last.map_or(Ok(()), |last| check_readable(&self.snapshot.state().generation, table, last))
    }

    /// A dropped table is there again, with the rows it had.
    fn revive(&mut self, table: &Table) -> Result<()> {
        let id = table.id;
        match self.dropped.iter().position(|(dropped, _)| *dropped == id) {
            Some(place) => {
                // This transaction dropped it: it is as it was, there.
                self.dropped.remove(place);
                self.writes.remove(&id);
                self.spilled.remove(&id);
                let base = self.base.table(id).expect("it was there before");
                Arc::make_mut(&mut self.catalog).put(Table::clone(base));
                self.note(|reads| reads.rows.whole(id));
            }
            None => {
                self.check_revivable(table)?;
                let working = self.working();
                self.table_mut(id).revive_at(working);
                self.revived.push((id, table.name.clone()));
            }
        }
        self.schema_changes.push((table.name.clone(), "undrop table".to_string()));
        Ok(())
    }

    /// Another schema for a table, if it is another.
    fn put_schema(&mut self, id: TableId, schema: Arc<TableSchema>) {
        let working = self.working();
        let table = self.table_mut(id);
        let told = describe(table.newest_schema(), &schema);
        let name = table.name.clone();
        if !told.is_empty() {
            table.set_schema(schema, working);
        }
        self.schema_changes.extend(told.into_iter().map(|what| (name.clone(), what)));
    }

    /// A table as it was at a version, under another number.
    fn make_again(&mut self, then: &Table, version: Version) -> Result<()> {
        let old = then.schema_at(version);
        let schema = Arc::new(renumbered(old)?);
        let ids: Vec<u32> = old.columns.iter().map(|column| column.id).collect();
        let shape = Shape::reading(then, schema.clone(), &ids);
        let (id, name) = (self.next_provisional, then.name.clone());
        self.next_provisional += 1;
        let made = Table::new(id, name.clone(), schema.clone(), self.working());
        Arc::make_mut(&mut self.catalog).put(made);
        self.writes.insert(id, Box::default());
        self.schema_changes.push((name.clone(), "create table".to_string()));
        for chunk in self.row_versions(then, &shape.read, Life::VisibleAt(version))? {
            let rows = shape.rows(&chunk?.rows)?;
            self.put_conformed(id, &name, schema.clone(), rows, Put::Upsert)?;
        }
        Ok(())
    }

    /// Makes rows what they were.
    fn put_back(&mut self, rows: Rows<'_>, samples: Samples) -> Result<Samples> {
        match rows.shape.schema.has_key() {
            true => self.put_back_keyed(rows, samples),
            false => self.put_back_unkeyed(rows, samples),
        }
    }

    /// Rows as they were and as they are, under the schema that comes back; those that are one row version at both may be
    /// missing.
    fn was_and_is(&self, rows: &Rows<'_>) -> Result<Blocks> {
        let Rows { then, table, shape, version, .. } = *rows;
        let now = self.read_version();
        if then.id == table.id && shape.keeps_ids() {
            let chunks = self.row_versions(table, &shape.read, between(version, now))?;
            return Ok(Blocks::of(vec![sided(chunks, was_or_is((version, WAS), (now, IS)))]));
        }
        let was = self.row_versions(then, &shape.read, Life::VisibleAt(version))?;
        let is = self.row_versions(table, &shape.schema.columns, Life::VisibleAt(now))?;
        let was = shape.clone().narrowed(was);
        Ok(Blocks::of(vec![sided(was, Box::new(|_, _| Some(WAS))), sided(is, Box::new(|_, _| Some(IS)))]))
    }

    fn put_back_keyed(&mut self, rows: Rows<'_>, mut samples: Samples) -> Result<Samples> {
        let (id, name, schema) = (rows.table.id, &rows.table.name, &rows.shape.schema);
        for block in self.was_and_is(&rows)? {
            let block = block?;
            let Changes { put, gone } = rows.changes(&block)?;
            let after = rows.after(&block, &put)?;
            for (row, (_, is)) in put.iter().enumerate() {
                samples.add(schema, is.map(|is| block.row(is)), Some((&after, row)));
            }
            gone.iter().for_each(|(_, is)| samples.add(schema, Some(block.row(*is)), None));
            self.put_conformed(id, name, schema.clone(), after, Put::Upsert)?;
            self.delete_once(id, gone.iter().map(|(group, _)| block.keys.get(*group)));
        }
        Ok(samples)
    }

    /// Deletes rows that this transaction did nothing to.
    fn delete_once<'a>(&mut self, id: TableId, keys: impl Iterator<Item = &'a [u8]>) {
        self.delete_each(id, keys).expect("each row is deleted once");
    }

    /// Rows without key have no successors: as many equal ones are there as were, and which of them does not matter.
    fn put_back_unkeyed(&mut self, rows: Rows<'_>, mut samples: Samples) -> Result<Samples> {
        let (id, name, schema) = (rows.table.id, &rows.table.name, &rows.shape.schema);
        // By digest, how many more such rows there are than there were.
        let mut surplus: HashMap<[u8; 32], i64> = HashMap::new();
        for block in self.was_and_is(&rows)? {
            let block = block?;
            for (side, other, count) in [(WAS, IS, -1), (IS, WAS, 1)] {
                for digest in row_digests(&rows.side(&block, side, other)?.1)? {
                    *surplus.entry(digest).or_default() += count;
                }
            }
        }
        surplus.retain(|_, more| *more != 0);
        let mut is_one_of = |digest: &[u8; 32], sign: i64| match surplus.get_mut(digest) {
            Some(more) if more.signum() == sign => {
                *more -= sign;
                true
            }
            _ => false,
        };
        for block in self.was_and_is(&rows)? {
            let block = block?;
            let (_, was) = rows.side(&block, WAS, IS)?;
            let missing: BooleanArray =
                row_digests(&was)?.map(|digest| Some(is_one_of(&digest, -1))).collect();
            let put = rows.shape.rows(&filter_record_batch(&was, &missing)?)?;
            (0..put.num_rows()).for_each(|row| samples.add(schema, None, Some((&put, row))));
            self.put_conformed(id, name, schema.clone(), put, Put::Insert)?;
            let (mut gone, is) = rows.side(&block, IS, WAS)?;
            let mut digests = row_digests(&is)?;
            gone.retain(|_| digests.next().is_some_and(|digest| is_one_of(&digest, 1)));
            gone.iter().for_each(|(_, is)| samples.add(schema, Some(block.row(*is)), None));
            self.delete_once(id, gone.iter().map(|(group, _)| block.keys.get(*group)));
        }
        Ok(samples)
    }
}

/// What is done to the rows of a block.
struct Changes {
    /// Rows that are put, and those that they replace.
    put: Vec<(Pick, Option<Pick>)>,
    /// Rows that go, and their groups.
    gone: Vec<(usize, Pick)>,
}

impl<'a> Rows<'a> {
    fn all(then: &'a Table, table: &'a Table, shape: &'a Shape, version: Version) -> Rows<'a> {
        Rows { then, table, shape, version, condition: None, kept: Vec::new() }
    }

    fn changes(&self, block: &Block) -> Result<Changes> {
        let compared = self.shape.schema.columns.iter().map(|column| !self.kept.contains(&column.id));
        let same = block.same((WAS, IS), &compared.collect::<Vec<_>>())?;
        let (mut put, mut gone) = (Vec::new(), Vec::new());
        for (index, (group, same)) in block.groups.iter().zip(same).enumerate() {
            match (group[WAS], group[IS]) {
                (Some(_), Some(_)) if same == Some(true) => {}
                (Some(was), is) => put.push((was, is)),
                (None, Some(is)) => gone.push((index, is)),
                (None, None) => {}
            }
        }
        if self.condition.is_some() {
            let replaced: Vec<Pick> = put.iter().filter_map(|(_, is)| *is).collect();
            let was = self.hold(block, &put.iter().map(|(was, _)| *was).collect::<Vec<_>>())?;
            let mut is = self.hold(block, &replaced)?.into_iter();
            let mut held = was.into_iter();
            put.retain(|(_, replaced)| {
                let is = replaced.is_some() && is.next().expect("one for each row replaced");
                held.next().expect("one for each row put") || is
            });
            let mut held = self.hold(block, &gone.iter().map(|(_, is)| *is).collect::<Vec<_>>())?.into_iter();
            gone.retain(|_| held.next().expect("one for each row that goes"));
        }
        Ok(Changes { put, gone })
    }

    /// Rows of one side that have no equal row of the same key on the other, with their groups.
    fn side(&self, block: &Block, side: usize, other: usize) -> Result<(Vec<(usize, Pick)>, RecordBatch)> {
        let same = block.same((side, other), &[])?;
        let groups = block.groups.iter().zip(same).enumerate().filter(|(_, (_, same))| *same != Some(true));
        let mut rows: Vec<(usize, Pick)> =
            groups.filter_map(|(index, (group, _))| Some((index, group[side]?))).collect();
        let picks = |rows: &[(usize, Pick)]| rows.iter().map(|(_, pick)| *pick).collect::<Vec<_>>();
        let mut held = self.hold(block, &picks(&rows))?.into_iter();
        rows.retain(|_| held.next().expect("one for each row"));
        let taken = block.take(&picks(&rows))?;
        Ok((rows, taken))
    }

    /// Which rows the condition holds for.
    fn hold(&self, block: &Block, picks: &[Pick]) -> Result<Vec<bool>> {
        let Some(condition) = self.condition.filter(|_| !picks.is_empty()) else {
            return Ok(vec![true; picks.len()]);
        };
        let holds = condition(&self.shape.rows(&block.take(picks)?)?)?;
        Ok(holds.iter().map(|holds| holds == Some(true)).collect())
    }

    /// The rows that are put.
    fn after(&self, block: &Block, put: &[(Pick, Option<Pick>)]) -> Result<RecordBatch> {
        let was = block.take(&put.iter().map(|(was, _)| *was).collect::<Vec<_>>())?;
        if self.kept.is_empty() || put.is_empty() {
            return self.shape.rows(&was);
        }
        let is = block.take(&put.iter().map(|(was, is)| is.unwrap_or(*was)).collect::<Vec<_>>())?;
        let columns = self.shape.schema.columns.iter().enumerate().map(|(index, column)| {
            let from = if self.kept.contains(&column.id) { &is } else { &was };
            from.column(index).clone()
        });
        self.shape.rows(&RecordBatch::try_new(was.schema(), columns.collect())?)
    }
}

/// Rows of a table that comes back.
fn samples_of(old: &Snapshot, table: &str, mut samples: Samples) -> Result<Samples> {
    let schema = old.schema(table)?;
    let limit = Some(samples.most() as u64).filter(|most| *most > 0);
    if limit.is_none() {
        return Ok(samples);
    }
    for rows in old.scan(table, ScanOptions { limit, ..ScanOptions::default() })? {
        let rows = rows?;
        (0..rows.num_rows()).for_each(|row| samples.add(&schema, None, Some((&rows, row))));
    }
    Ok(samples)
}
