//! Changes that bring back what was: tables, schemas and rows of a version, or all that a dropped table had.
//!
//! Invariants. Only what differs is changed: a row that is as it was is not written. A table that was dropped comes back
//! under its own number with the rows it had, which costs nothing, and is then changed to what it was. Memory is that of
//! any transaction; of tables without a key, digests of the rows that go are held as well.

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
use crate::scan::{Life, row_versions};
use crate::snapshot::{Snapshot, unknown_table};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use asof_mvcc::{Put, Table, TableId, TableSchema, Version};
use groups::{Block, Blocks, Pick, between, sided, was_or_is};
use shape::{Shape, describe, have_one_definition, renumbered};
use std::collections::HashMap;
use std::sync::Arc;

/// Sides of a row: how it was, how it is.
const WAS: usize = 0;
const IS: usize = 1;

/// What a row is brought back by.
struct Rows<'a> {
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
            true => old.table_names()?.into_iter().chain(self.table_names()).collect(),
            false => tables.to_vec(),
        };
        names.sort();
        names.dedup();
        if !tables.is_empty() {
            names.iter().try_for_each(|name| old.schema(name).map(drop))?;
        }
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
        let rows = Rows { condition: Some(condition), kept };
        let samples = self.put_back((&now, &now), &shape, version, rows, Samples::new(samples))?;
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
        let dropped = self.base.find_last(table, read).cloned();
        let dropped = dropped.and_then(|entry| Some((entry.dropped_before(read)?.previous()?, entry)));
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
        let now = self.catalog.find(name, self.working()).cloned();
        if let Some(now) = &now {
            self.check_untouched(now)?;
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
            let rows = Rows { condition: None, kept: Vec::new() };
            if let Some(now) = now.filter(|now| have_one_definition(now.newest_schema(), schema)) {
                // It was made again before.
                let ids: Vec<u32> = schema.columns.iter().map(|column| column.id).collect();
                let shape = Shape::reading(&then, now.newest_schema().clone(), &ids);
                let samples = self.put_back((&then, &now), &shape, version, rows, Samples::new(samples))?;
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
        let rows = Rows { condition: None, kept: Vec::new() };
        let changed = self.put_back((&then, &then), &shape, version, rows, changed)?;
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
        self.check_revivable(table)?;
        let working = self.working();
        self.table_mut(table.id).revive_at(working);
        self.revived.push((table.id, table.name.clone()));
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
        let state = self.snapshot.state().clone();
        for chunk in row_versions(&state, then, &shape.read, Life::VisibleAt(version))? {
            let rows = shape.rows(&chunk?.rows)?;
            self.put_conformed(id, &name, schema.clone(), rows, Put::Upsert)?;
        }
        Ok(())
    }

    /// Makes rows of a table what they were at a version, then in a table that may be another one.
    fn put_back(
        &mut self,
        tables: (&Table, &Table),
        shape: &Shape,
        version: Version,
        rows: Rows<'_>,
        samples: Samples,
    ) -> Result<Samples> {
        match shape.schema.has_key() {
            true => self.put_back_keyed(tables, shape, version, rows, samples),
            false => self.put_back_unkeyed(tables, shape, version, rows, samples),
        }
    }

    /// Rows of a table as they were at a version and as they are, under the schema that comes back; those that are one row
    /// version at both may be missing.
    fn was_and_is(&self, (then, table): (&Table, &Table), shape: &Shape, version: Version) -> Result<Blocks> {
        let (state, now) = (self.snapshot.state(), self.read_version());
        if then.id == table.id && shape.keeps_ids() {
            let chunks = touched_row_versions(state, table, &shape.read, between(version, now))?;
            return Ok(Blocks::of(vec![sided(chunks, was_or_is((version, WAS), (now, IS)))]));
        }
        let was = row_versions(state, then, &shape.read, Life::VisibleAt(version))?;
        let is = row_versions(state, table, &shape.schema.columns, Life::VisibleAt(now))?;
        let was = shape.clone().narrowed(was);
        Ok(Blocks::of(vec![sided(was, Box::new(|_, _| Some(WAS))), sided(is, Box::new(|_, _| Some(IS)))]))
    }

    fn put_back_keyed(
        &mut self,
        tables: (&Table, &Table),
        shape: &Shape,
        version: Version,
        rows: Rows<'_>,
        mut samples: Samples,
    ) -> Result<Samples> {
        let (id, name, schema) = (tables.1.id, tables.1.name.clone(), shape.schema.clone());
        for block in self.was_and_is(tables, shape, version)? {
            let block = block?;
            let Changes { put, gone } = rows.changes(&block, shape)?;
            let after = rows.after(&block, shape, &put)?;
            for (row, (_, is)) in put.iter().enumerate() {
                samples.add(&schema, is.map(|is| block.row(is)), Some((&after, row)));
            }
            gone.iter().for_each(|(_, is)| samples.add(&schema, Some(block.row(*is)), None));
            self.put_conformed(id, &name, schema.clone(), after, Put::Upsert)?;
            self.delete_keys(id, gone.iter().map(|(group, _)| block.keys.get(*group)));
        }
        Ok(samples)
    }

    /// Deletes rows by keys that this transaction did nothing to.
    fn delete_keys<'a>(&mut self, id: TableId, keys: impl ExactSizeIterator<Item = &'a [u8]>) {
        if keys.len() > 0 {
            let writes = self.writes.entry(id).or_default();
            keys.for_each(|key| writes.delete(key).expect("each row is deleted once"));
        }
    }

    /// Rows without key have no successors: as many equal ones are there as were, and which of them does not matter.
    fn put_back_unkeyed(
        &mut self,
        tables: (&Table, &Table),
        shape: &Shape,
        version: Version,
        rows: Rows<'_>,
        mut samples: Samples,
    ) -> Result<Samples> {
        let mut gone: HashMap<[u8; 32], Vec<Box<[u8]>>> = HashMap::new();
        for block in self.was_and_is(tables, shape, version)? {
            let block = block?;
            let is = rows.side(&block, shape, IS, WAS)?;
            let rows = block.take(&is.iter().map(|(_, pick)| *pick).collect::<Vec<_>>())?;
            for ((group, _), digest) in is.iter().zip(row_digests(&rows)?) {
                gone.entry(digest).or_default().push(block.keys.get(*group).into());
            }
        }
        let (id, schema) = (tables.1.id, shape.schema.clone());
        for block in self.was_and_is(tables, shape, version)? {
            let block = block?;
            let was = rows.side(&block, shape, WAS, IS)?;
            let was = block.take(&was.iter().map(|(_, pick)| *pick).collect::<Vec<_>>())?;
            let mut missing = Vec::with_capacity(was.num_rows());
            for digest in row_digests(&was)? {
                missing.push(gone.get_mut(&digest).and_then(Vec::pop).is_none());
            }
            let put = shape.rows(&filter_record_batch(&was, &BooleanArray::from(missing))?)?;
            (0..put.num_rows()).for_each(|row| samples.add(&schema, None, Some((&put, row))));
            self.put_conformed(id, &tables.1.name, schema.clone(), put, Put::Insert)?;
        }
        let mut keys: Vec<Box<[u8]>> = gone.into_values().flatten().collect();
        keys.sort_unstable();
        self.delete_keys(id, keys.iter().map(|key| &**key));
        if samples.wants_deleted() && !keys.is_empty() {
            for block in self.was_and_is(tables, shape, version)? {
                let block = block?;
                for (group, picks) in block.groups.iter().enumerate() {
                    if let Some(is) = picks[IS]
                        && keys.binary_search_by(|key| (**key).cmp(block.keys.get(group))).is_ok()
                    {
                        samples.add(&schema, Some(block.row(is)), None);
                    }
                }
                if !samples.wants_deleted() {
                    break;
                }
            }
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

impl Rows<'_> {
    fn changes(&self, block: &Block, shape: &Shape) -> Result<Changes> {
        let pairs = block.groups.iter().filter_map(|group| Some((group[WAS]?, group[IS]?)));
        let compared = shape.schema.columns.iter().map(|column| !self.kept.contains(&column.id));
        let compared: Vec<bool> = compared.collect();
        let mut equal = block.equal_in(&compared, &pairs.collect::<Vec<_>>())?.into_iter();
        let (mut put, mut gone) = (Vec::new(), Vec::new());
        for (index, group) in block.groups.iter().enumerate() {
            match (group[WAS], group[IS]) {
                (Some(was), Some(is)) => {
                    if !equal.next().expect("each pair was compared") {
                        put.push((was, Some(is)));
                    }
                }
                (Some(was), None) => put.push((was, None)),
                (None, Some(is)) => gone.push((index, is)),
                (None, None) => {}
            }
        }
        if self.condition.is_some() {
            let replaced: Vec<Pick> = put.iter().filter_map(|(_, is)| *is).collect();
            let was = self.hold(block, shape, &put.iter().map(|(was, _)| *was).collect::<Vec<_>>())?;
            let mut is = self.hold(block, shape, &replaced)?.into_iter();
            let mut held = was.into_iter();
            put.retain(|(_, replaced)| {
                let is = replaced.is_some() && is.next().expect("one for each row replaced");
                held.next().expect("one for each row put") || is
            });
            let mut held =
                self.hold(block, shape, &gone.iter().map(|(_, is)| *is).collect::<Vec<_>>())?.into_iter();
            gone.retain(|_| held.next().expect("one for each row that goes"));
        }
        Ok(Changes { put, gone })
    }

    /// Rows of one side that have no equal row of the same key on the other.
    fn side(&self, block: &Block, shape: &Shape, side: usize, other: usize) -> Result<Vec<(usize, Pick)>> {
        let pairs = block.groups.iter().filter_map(|group| Some((group[side]?, group[other]?)));
        let mut equal = block.equal(&pairs.collect::<Vec<_>>())?.into_iter();
        let rows = block.groups.iter().enumerate().filter_map(|(index, group)| {
            let pick = group[side]?;
            let stays = group[other].is_some() && equal.next().expect("each pair was compared");
            (!stays).then_some((index, pick))
        });
        let mut rows: Vec<(usize, Pick)> = rows.collect();
        let mut held =
            self.hold(block, shape, &rows.iter().map(|(_, pick)| *pick).collect::<Vec<_>>())?.into_iter();
        rows.retain(|_| held.next().expect("one for each row"));
        Ok(rows)
    }

    /// Which rows the condition holds for.
    fn hold(&self, block: &Block, shape: &Shape, picks: &[Pick]) -> Result<Vec<bool>> {
        let Some(condition) = self.condition.filter(|_| !picks.is_empty()) else {
            return Ok(vec![true; picks.len()]);
        };
        let holds = condition(&shape.rows(&block.take(picks)?)?)?;
        Ok(holds.iter().map(|holds| holds == Some(true)).collect())
    }

    /// The rows that are put.
    fn after(&self, block: &Block, shape: &Shape, put: &[(Pick, Option<Pick>)]) -> Result<RecordBatch> {
        let was = block.take(&put.iter().map(|(was, _)| *was).collect::<Vec<_>>())?;
        if self.kept.is_empty() || put.is_empty() {
            return shape.rows(&was);
        }
        let is = block.take(&put.iter().map(|(was, is)| is.unwrap_or(*was)).collect::<Vec<_>>())?;
        let columns = shape.schema.columns.iter().enumerate().map(|(index, column)| {
            let from = if self.kept.contains(&column.id) { &is } else { &was };
            from.column(index).clone()
        });
        shape.rows(&RecordBatch::try_new(was.schema(), columns.collect())?)
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
