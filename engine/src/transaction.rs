//! A transaction: writes against a snapshot, gathered until it commits.

pub(crate) mod overlay;
mod restore;

use crate::adapt::{adapt, conform};
use crate::api::{Alteration, CommitOptions, Committed, Counts, Isolation, ScanOptions, TransactionOptions};
use crate::codec::records::encode_rows;
use crate::commit::{
    PROVISIONAL, Prepared, PreparedCatalogChange, PreparedTable, Reads, commit, commit_time,
};
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::key_range::key_range;
use crate::load::held::Held;
use crate::load::spill::Spill;
use crate::load::{LoadedFiles, Loader};
use crate::options::CheckRows;
use crate::replace::{difference_by_key, difference_of_rows};
use crate::snapshot::Snapshot;
use crate::store::encode::array_bytes;
use crate::text::format_key;
use arrow::array::{Array, RecordBatch};
use asof_mvcc::{
    Catalog, Column, CommitTime, Expect, Keys, Put, Table, TableId, TableSchema, TableWrites, Version,
    WriteError,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes to several tables that become one version, or nothing.
pub struct Transaction {
    database: Database,
    snapshot: Snapshot,
    /// The catalog at the version it reads. (The snapshot's own goes on with others' commits.)
    base: Arc<Catalog>,
    /// The catalog as this transaction leaves it; tables it makes have provisional numbers.
    catalog: Arc<Catalog>,
    writes: BTreeMap<TableId, Box<TableWrites>>,
    /// Tables into which rows were loaded.
    loads: BTreeMap<TableId, LoadedFiles>,
    /// Rows that took too much memory; what is in `writes` came after them.
    spilled: BTreeMap<TableId, Spilled>,
    held: Held,
    schema_changes: Vec<(String, String)>,
    dropped: Vec<(TableId, String)>,
    /// Tables that were dropped, and come back.
    revived: Vec<(TableId, String)>,
    next_provisional: TableId,
    has_read: Cell<bool>,
    /// What a serializable transaction read; `None` at snapshot isolation.
    reads: Option<RefCell<Reads>>,
}

/// Rows that a transaction holds on disk.
enum Spilled {
    /// Of a table with a key.
    Keyed(Box<Spill>),
    /// Of a table without one: nothing but added rows; with a digest of them.
    Appended(Box<Loader>, Box<blake3::Hasher>),
}

impl Transaction {
    pub(crate) fn new(database: Database, snapshot: Snapshot, options: TransactionOptions) -> Transaction {
        let reads = match options.isolation {
            Isolation::Snapshot => None,
            Isolation::Serializable => Some(RefCell::default()),
        };
        let base = snapshot.catalog().up_to(snapshot.version());
        let inner = &database.inner;
        Transaction {
            held: Held::new(inner.share.clone(), inner.options.transaction_bytes()),
            database,
            snapshot,
            catalog: base.clone(),
            base,
            writes: BTreeMap::new(),
            loads: BTreeMap::new(),
            spilled: BTreeMap::new(),
            schema_changes: Vec::new(),
            dropped: Vec::new(),
            revived: Vec::new(),
            next_provisional: PROVISIONAL,
            has_read: Cell::new(false),
            reads,
        }
    }

    /// What it may see of others.
    pub fn isolation(&self) -> Isolation {
        if self.reads.is_some() { Isolation::Serializable } else { Isolation::Snapshot }
    }

    /// Notes what a serializable transaction reads.
    fn note(&self, note: impl FnOnce(&mut Reads)) {
        if let Some(reads) = &self.reads {
            note(&mut reads.borrow_mut());
        }
    }

    /// The version it reads.
    pub fn read_version(&self) -> Version {
        self.snapshot.version()
    }

    /// The version that this transaction's own changes of the catalog have in its working copy.
    fn working(&self) -> Version {
        self.snapshot.version().next()
    }

    fn table(&self, table: &str) -> Result<&Arc<Table>> {
        self.note(|reads| {
            let id = self.base.find(table, self.snapshot.version()).map(|table| table.id);
            if let Some(id) = id {
                reads.rows.schema(id);
            }
            reads.names.insert(table.to_string(), id);
        });
        let found = self.catalog.find(table, self.working());
        found.ok_or_else(|| crate::snapshot::unknown_table(&self.catalog, self.working(), table))
    }

    /// A table of the working copy, which was just found, to change.
    fn table_mut(&mut self, id: TableId) -> &mut Table {
        Arc::make_mut(&mut self.catalog).table_mut(id).expect("it was just found")
    }

    /// The schema of a table as this transaction sees it, its own changes included.
    pub fn schema(&self, table: &str) -> Result<Arc<TableSchema>> {
        Ok(self.table(table)?.newest_schema().clone())
    }

    /// Whether this transaction sees a table.
    pub fn has_table(&self, table: &str) -> bool {
        self.table(table).is_ok()
    }

    /// Makes a table. `key` names the key columns, empty for a table without a key.
    pub fn create_table(&mut self, table: &str, columns: Vec<Column>, key: &[String]) -> Result<()> {
        validate_table_name(table)?;
        if self.has_table(table) {
            return Err(Error::new(ErrorKind::Exists, format!("table {table} exists already")));
        }
        let schema = TableSchema::new(columns, key)?;
        check_defaults(&schema)?;
        self.schema_changes.push((table.to_string(), "create table".to_string()));
        let id = self.next_provisional;
        self.next_provisional += 1;
        let made = Table::new(id, table.to_string(), Arc::new(schema), self.working());
        Arc::make_mut(&mut self.catalog).put(made);
        self.writes.insert(id, Box::default());
        Ok(())
    }

    /// Drops a table; earlier versions keep it.
    pub fn drop_table(&mut self, table: &str) -> Result<()> {
        let id = self.table(table)?.id;
        let working = self.working();
        let writes = self.writes.remove(&id);
        self.loads.remove(&id);
        self.held.release(id);
        self.schema_changes.push((table.to_string(), "drop table".to_string()));
        if self.revived.iter().any(|(revived, _)| *revived == id) {
            // It is as it was: gone.
            self.spilled.remove(&id);
            self.revived.retain(|(revived, _)| *revived != id);
            let base = self.base.table(id).expect("it was there before");
            Arc::make_mut(&mut self.catalog).put(Table::clone(base));
        } else if id < PROVISIONAL {
            // What was expected of its keys is expected still.
            if let Some(Spilled::Keyed(spill)) = self.spilled.get_mut(&id) {
                spill.truncate(&mut writes.unwrap_or_default());
            } else if let Some(mut writes) = writes {
                self.spilled.remove(&id);
                writes.truncate();
                self.writes.insert(id, writes);
            }
            self.table_mut(id).drop_at(working);
            self.dropped.push((id, table.to_string()));
        } else {
            // Made by this transaction: it never was.
            self.spilled.remove(&id);
            let others = self.catalog.all().filter(|table| table.id != id);
            self.catalog = Arc::new(Catalog::new(others.map(|table| (**table).clone())));
        }
        Ok(())
    }

    /// Whether this transaction drops the table.
    fn is_dropped(&self, id: TableId) -> bool {
        self.dropped.iter().any(|(dropped, _)| *dropped == id)
    }

    /// Who evaluates the checks of tables.
    fn checks(&self, table: &str) -> Result<Arc<dyn CheckRows>> {
        self.database.inner.options.checks.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "table {table} has checks, which are in SQL: write it with asof, or open the database with what \
                     evaluates them (Options::checks)"
                ),
            )
        })
    }

    /// Refuses rows that do not fulfil the table's checks.
    fn check_rows(&self, table: &str, schema: &Arc<TableSchema>, rows: &RecordBatch) -> Result<()> {
        match schema.checks.is_empty() || rows.num_rows() == 0 {
            true => Ok(()),
            false => {
                self.checks(table)?.check(schema, rows).map_err(|error| error.at(format!("table {table}")))
            }
        }
    }

    /// Changes a table's schema.
    pub fn alter_table(&mut self, table: &str, alteration: Alteration) -> Result<()> {
        let entry = self.table(table)?;
        let (id, next_column_id) = (entry.id, entry.next_column_id);
        let adds_check = matches!(alteration, Alteration::AddCheck(_));
        let (schema, what) = altered(entry.newest_schema(), alteration, next_column_id)?;
        check_defaults(&schema)?;
        let (schema, working) = (Arc::new(schema), self.working());
        if !schema.checks.is_empty() {
            let checks = self.checks(table)?;
            checks.validate(&schema)?;
            if adds_check {
                for part in self.table_as_changed(table)?.parts(ScanOptions::default())? {
                    part.read()?.try_for_each(|rows| checks.check(&schema, &rows?))?;
                }
            }
        }
        match self.spilled.get_mut(&id) {
            Some(Spilled::Keyed(spill)) => spill.set_schema(schema.clone()),
            Some(Spilled::Appended(loader, digest)) => {
                // What is in memory still has the schema before.
                append(loader, digest, self.writes.entry(id).or_default())?;
                self.held.release(id);
                loader.set_schema(schema.clone())?;
            }
            None => {}
        }
        self.table_mut(id).set_schema(schema, working);
        self.schema_changes.push((table.to_string(), what));
        Ok(())
    }

    /// Gives the table another key (and columns): in one commit every old row is deleted, and every row that this
    /// transaction adds afterwards is inserted.
    pub fn rekey_table(&mut self, table: &str, columns: Vec<Column>, key: &[String]) -> Result<()> {
        let before = self.schema_changes.len();
        self.drop_table(table)?;
        self.create_table(table, columns, key)?;
        self.schema_changes.truncate(before);
        self.schema_changes.push((table.to_string(), format!("set key ({})", key.join(", "))));
        Ok(())
    }

    /// Adds rows; a key that exists is an error ([`ErrorKind::Exists`]). Batches have columns by name, in any order;
    /// columns that are missing get their default or null; a column the table does not have is an error. Column types
    /// must be the table's or narrower.
    pub fn insert(&mut self, table: &str, rows: &RecordBatch) -> Result<()> {
        self.put(table, rows, Put::Insert)
    }

    /// Adds rows, replacing those whose key exists.
    pub fn upsert(&mut self, table: &str, rows: &RecordBatch) -> Result<()> {
        if !self.schema(table)?.has_key() {
            return Err(Error::invalid(format!(
                "table {table} has no key: rows can be inserted, not upserted"
            )));
        }
        self.put(table, rows, Put::Upsert)
    }

    /// Adds many rows at once, as [`Transaction::insert`] does; gives how many. They go straight to data files, and memory
    /// for them is bounded, however many they are; rows in key order are neither sorted nor written twice. It is all that
    /// the transaction may do to the rows of the table; they are seen once it has committed, and a commit of others to the
    /// table in between is a conflict.
    pub fn load(&mut self, table: &str, rows: impl IntoIterator<Item = Result<RecordBatch>>) -> Result<u64> {
        let entry = self.table(table)?.clone();
        let schema = entry.newest_schema().clone();
        self.check_not_loaded(entry.id, table)?;
        if !self.is_untouched(entry.id) {
            return Err(Error::invalid(format!(
                "table {table} has changes already: load its rows in a transaction of its own"
            )));
        }
        let mut loader = self.loader(&entry)?;
        for batch in rows {
            let batch =
                conform(&batch?, &schema, &schema.key).map_err(|error| error.at(format!("table {table}")))?;
            self.check_rows(table, &schema, &batch)?;
            loader.push(&batch)?;
        }
        let files = loader.finish()?;
        let count = files.rows();
        if count > 0 {
            self.loads.insert(entry.id, files);
        }
        Ok(count)
    }

    /// Whether a table has no rows, and this transaction has changed none, so that a load is all there is to check.
    pub fn can_load(&self, table: &str) -> Result<bool> {
        let entry = self.table(table)?;
        let untouched = self.is_untouched(entry.id);
        let is_empty = entry.id >= PROVISIONAL || self.snapshot.rows_of(entry)? == 0;
        Ok(untouched && is_empty && !self.loads.contains_key(&entry.id))
    }

    /// Whether this transaction has done nothing to rows of a table but loads.
    fn is_untouched(&self, id: TableId) -> bool {
        !self.spilled.contains_key(&id) && self.writes.get(&id).is_none_or(|writes| writes.is_empty())
    }

    fn loader(&self, table: &Table) -> Result<Loader> {
        let rows = if table.id < PROVISIONAL { self.snapshot.rows_of(table)? } else { 0 };
        let (inner, state) = (self.database.inner.clone(), self.snapshot.state().clone());
        Ok(Loader::new(inner, state, self.snapshot.version(), self.numbered(table), rows))
    }

    /// A table with the number that it gets where no other transaction makes a table first.
    fn numbered(&self, table: &Table) -> Table {
        let mut table = table.clone();
        if table.id >= PROVISIONAL {
            let before = self.catalog.all().filter(|other| (PROVISIONAL..table.id).contains(&other.id));
            table.id = self.snapshot.catalog().next_table_id() + before.count() as TableId;
        }
        table
    }

    /// Lets rows go to disk where transactions hold more than their share of memory.
    fn spill(&mut self) -> Result<()> {
        while let Some(id) = self.held.too_much() {
            let table = self.catalog.table(id).expect("writes are to tables of the catalog");
            if !self.spilled.contains_key(&id) {
                let spilled = match table.newest_schema().has_key() {
                    true => Spilled::Keyed(Box::new(Spill::new(
                        self.database.inner.clone(),
                        self.numbered(table),
                    ))),
                    false => Spilled::Appended(Box::new(self.loader(table)?), Box::default()),
                };
                self.spilled.insert(id, spilled);
            }
            let writes = self.writes.entry(id).or_default();
            match self.spilled.get_mut(&id) {
                Some(Spilled::Keyed(spill)) => spill.take(writes)?,
                Some(Spilled::Appended(loader, digest)) => append(loader, digest, writes)?,
                None => unreachable!("it was just put there"),
            }
            self.held.release(id);
        }
        Ok(())
    }

    /// Refuses to do anything else to rows of a table that were loaded.
    fn check_not_loaded(&self, id: TableId, table: &str) -> Result<()> {
        match self.loads.contains_key(&id) {
            true => Err(Error::invalid(format!(
                "rows were loaded into table {table}: commit them before anything else is done to it"
            ))),
            false => Ok(()),
        }
    }

    fn put(&mut self, table: &str, rows: &RecordBatch, put: Put) -> Result<()> {
        let entry = self.table(table)?;
        let (id, schema) = (entry.id, entry.newest_schema().clone());
        let rows = conform(rows, &schema, &schema.key).map_err(|error| error.at(format!("table {table}")))?;
        self.put_conformed(id, table, schema, rows, put)
    }

    fn put_conformed(
        &mut self,
        id: TableId,
        table: &str,
        schema: Arc<TableSchema>,
        rows: RecordBatch,
        put: Put,
    ) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.check_not_loaded(id, table)?;
        self.check_rows(table, &schema, &rows)?;
        let mut bytes = rows.columns().iter().map(array_bytes).sum::<usize>();
        let writes = self.writes.entry(id).or_default();
        if !schema.has_key() {
            writes.append(schema, rows);
            self.held.add(id, bytes as u64);
            return self.spill();
        }
        let keys = Keys::of_batch(&schema, &rows)
            .map_err(|error| Error::from(error).at(format!("table {table}")))?;
        bytes += keys.memory_bytes() + keys.len() * KEY_WRITE_BYTES;
        writes.put(schema.clone(), rows.clone(), &keys, put).map_err(|(row, error)| {
            let key = format_key(&schema, &rows, row);
            match error {
                WriteError::Exists => Error::new(
                    ErrorKind::Exists,
                    format!("table {table}: the key {key} is given twice in this transaction"),
                ),
                WriteError::Missing => {
                    Error::not_found(format!("table {table} has no row with the key {key}"))
                }
            }
        })?;
        self.held.add(id, bytes as u64);
        self.spill()
    }

    /// Changes the given columns of rows whose keys exist; a key that does not is an error. `rows` has the key columns
    /// and those to change.
    pub fn update(&mut self, table: &str, rows: &RecordBatch) -> Result<()> {
        let entry = self.table(table)?;
        let (id, schema) = (entry.id, entry.newest_schema().clone());
        if !schema.has_key() {
            return Err(Error::invalid(format!("table {table} has no key: its rows cannot be updated")));
        }
        for index in 0..rows.num_rows() {
            let given = rows.slice(index, 1);
            let key = self.key_of(table, &schema, &given)?;
            let current = self.get_by_key(id, &schema, key.get(0))?.ok_or_else(|| {
                let cells = schema.key_columns().map(|column| {
                    let array = given.column_by_name(&column.name).expect("keys were read from it");
                    crate::text::format_cell(&column.column_type, array, 0).unwrap_or_default()
                });
                let key = cells.collect::<Vec<_>>().join(",");
                Error::not_found(format!("table {table} has no row with the key {key}"))
            })?;
            let merged =
                merge_row(&schema, &current, &given).map_err(|error| error.at(format!("table {table}")))?;
            self.put_conformed(id, table, schema.clone(), merged, Put::Update)?;
        }
        Ok(())
    }

    /// Deletes rows by key; a key that does not exist is an error. `keys` has the key columns by name.
    pub fn delete(&mut self, table: &str, keys: &RecordBatch) -> Result<()> {
        let entry = self.table(table)?;
        let (id, schema) = (entry.id, entry.newest_schema().clone());
        if !schema.has_key() {
            return Err(Error::invalid(format!(
                "table {table} has no key: its rows cannot be deleted one by one"
            )));
        }
        self.check_not_loaded(id, table)?;
        let keys = self.key_of(table, &schema, keys)?;
        self.delete_each(id, keys.iter())
            .map_err(|_| Error::not_found(format!("table {table}: a key to delete is gone already")))
    }

    /// Deletes rows by their keys, up to the first that is gone already.
    fn delete_each<'a>(
        &mut self,
        table: TableId,
        mut keys: impl Iterator<Item = &'a [u8]>,
    ) -> std::result::Result<(), WriteError> {
        let writes = self.writes.entry(table).or_default();
        keys.try_for_each(|key| writes.delete(key))
    }

    /// Deletes all rows, those that this transaction added included. What it expected before is expected still: where it
    /// inserted a key that exists, it fails when it commits.
    pub fn truncate(&mut self, table: &str) -> Result<()> {
        let id = self.table(table)?.id;
        self.check_not_loaded(id, table)?;
        let writes = self.writes.entry(id).or_default();
        match self.spilled.get_mut(&id) {
            Some(Spilled::Keyed(spill)) => spill.truncate(writes),
            _ => {
                self.spilled.remove(&id);
                writes.truncate();
            }
        }
        self.held.release(id);
        Ok(())
    }

    /// Makes `rows` the whole table: what differs by key (as a multiset, where there is no key) is inserted, updated
    /// and deleted; what is equal is left alone. Gives the counts.
    pub fn replace(&mut self, table: &str, rows: &[RecordBatch]) -> Result<Counts> {
        let entry = self.table(table)?;
        let (id, schema) = (entry.id, entry.newest_schema().clone());
        self.check_not_loaded(id, table)?;
        self.has_read.set(true);
        self.note(|reads| {
            if id < PROVISIONAL {
                reads.rows.whole(id);
            }
        });
        let rows = rows
            .iter()
            .map(|batch| {
                conform(batch, &schema, &schema.key).map_err(|error| error.at(format!("table {table}")))
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = arrow::compute::concat_batches(&schema.to_arrow(), &rows)?;
        if !self.is_untouched(id) {
            return Err(Error::invalid(format!(
                "table {table} has changes already; replace must come first"
            )));
        }
        let current = if id < PROVISIONAL { Some(self.snapshot.chunks(id, &schema)?) } else { None };
        if schema.has_key() {
            let keys = Keys::of_batch(&schema, &rows)
                .map_err(|error| Error::from(error).at(format!("table {table}")))?;
            let difference = difference_by_key(&schema, &rows, &keys, current)
                .map_err(|error| error.at(format!("table {table}")))?;
            let counts = difference.counts;
            self.put_conformed(id, table, schema.clone(), difference.put, Put::Upsert)?;
            let writes = self.writes.entry(id).or_default();
            for key in difference.deleted.iter() {
                writes.delete(key).expect("keys to delete are not among those put");
            }
            Ok(counts)
        } else {
            let difference = difference_of_rows(&schema, &rows, current)?;
            let counts = difference.counts;
            self.check_rows(table, &schema, &difference.put)?;
            let writes = self.writes.entry(id).or_default();
            if difference.put.num_rows() > 0 {
                writes.append(schema, difference.put);
            }
            for key in difference.deleted.iter() {
                writes.delete(key).expect("hidden row ids are deleted once");
            }
            Ok(counts)
        }
    }

    fn key_of(&self, table: &str, schema: &TableSchema, batch: &RecordBatch) -> Result<Keys> {
        crate::snapshot::key_of(table, schema, batch)
    }

    fn get_by_key(&self, id: TableId, schema: &Arc<TableSchema>, key: &[u8]) -> Result<Option<RecordBatch>> {
        if let Some(own) = self.writes.get(&id).and_then(|writes| writes.row(key)) {
            let Some((from, row)) = own else { return Ok(None) };
            return adapt(&row, &from.columns, &schema.columns, &schema.to_arrow()).map(Some);
        }
        if let Some(Spilled::Keyed(spill)) = self.spilled.get(&id)
            && let Some(own) = spill.row_of(key)?
        {
            return Ok(own);
        }
        self.has_read.set(true);
        if id >= PROVISIONAL {
            return Ok(None);
        }
        self.note(|reads| reads.rows.key(id, key));
        self.snapshot.get_by_key(id, schema, key)
    }

    /// One row as this transaction sees it, its own changes included. `key` has the key columns and one row.
    pub fn get(&self, table: &str, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        let entry = self.table(table)?;
        let schema = entry.newest_schema().clone();
        self.check_not_loaded(entry.id, table)?;
        let key = self.key_of(table, &schema, key)?;
        if key.len() != 1 {
            return Err(Error::invalid(format!(
                "one key is looked up at a time, but {} were given",
                key.len()
            )));
        }
        self.get_by_key(entry.id, &schema, key.get(0))
    }

    /// The rows of a table at the version that this transaction reads, without its own changes. At serializable isolation
    /// the keys that the filter leaves must not have changed when it commits, or the whole table where the filter says
    /// nothing of them.
    pub fn scan(&self, table: &str, options: ScanOptions) -> Result<crate::scan::Scan> {
        self.has_read.set(true);
        self.note_scan(table, &options);
        self.snapshot.scan(table, options)
    }

    fn note_scan(&self, table: &str, options: &ScanOptions) {
        let found = self.base.find(table, self.snapshot.version());
        self.note(|reads| {
            reads.names.insert(table.to_string(), found.map(|table| table.id));
            let Some(table) = found else { return };
            let schema = table.schema_at(self.snapshot.version());
            match options.filter.as_ref().and_then(|filter| key_range(filter, schema)) {
                Some(range) => reads.rows.range(table.id, range),
                None => reads.rows.whole(table.id),
            }
        });
    }

    /// Rows that would be inserted, updated and deleted, per table: what `commit` would answer now.
    pub fn counts(&self) -> Result<BTreeMap<String, Counts>> {
        let mut all: BTreeMap<TableId, Counts> = BTreeMap::new();
        let state = self.database.inner.state();
        for (id, _) in &self.dropped {
            let rows = self.base.table(*id).map_or(Ok(0), |table| self.snapshot.rows_of(table))?;
            all.entry(*id).or_default().deleted += rows;
        }
        for (id, files) in &self.loads {
            all.entry(*id).or_default().inserted += files.rows();
        }
        let none = Box::default();
        for (id, spilled) in self.spilled.iter().filter(|(id, _)| !self.is_dropped(**id)) {
            let table = self.catalog.table(*id).expect("writes are to tables of the catalog");
            let counts = all.entry(*id).or_default();
            match spilled {
                Spilled::Keyed(spill) => {
                    if spill.is_truncated() && *id < PROVISIONAL {
                        counts.deleted += self.snapshot.rows_of(table)?;
                    }
                    let there = Some(&**table).filter(|_| *id < PROVISIONAL);
                    *counts += spill.counts(self.writes.get(id).unwrap_or(&none), &state, there)?;
                }
                Spilled::Appended(loader, _) => counts.inserted += loader.rows_appended(),
            }
        }
        let in_memory =
            |id: &TableId| !self.is_dropped(*id) && !matches!(self.spilled.get(id), Some(Spilled::Keyed(_)));
        for (id, writes) in self.writes.iter().filter(|(id, _)| in_memory(id)) {
            let table = self.catalog.table(*id).expect("writes are to tables of the catalog");
            let counts = all.entry(*id).or_default();
            let key_columns = table.newest_schema().key_column_list();
            let exists = |key: &[u8]| -> Result<bool> {
                Ok(*id < PROVISIONAL && state.find_alive(table, key_columns, key)?.is_some())
            };
            if writes.truncated && *id < PROVISIONAL {
                counts.deleted += self.snapshot.rows_of(table)?;
            }
            counts.inserted +=
                writes.appended.iter().map(|i| writes.batches[*i].1.num_rows() as u64).sum::<u64>();
            for (key, write) in &writes.keys {
                let there = !writes.truncated
                    && (write.expect == Expect::Present || (write.expect == Expect::Any && exists(key)?));
                match (write.row.is_some(), there) {
                    (true, false) => counts.inserted += 1,
                    (true, true) => counts.updated += 1,
                    (false, true) => counts.deleted += 1,
                    (false, false) => {}
                }
            }
        }
        for (id, _) in &self.revived {
            let rows = self.base.table(*id).map_or(Ok(0), |table| self.snapshot.rows_of(table))?;
            let counts = all.entry(*id).or_default();
            *counts = counts.of_revived(rows);
        }
        let mut by_name: BTreeMap<String, Counts> = BTreeMap::new();
        for (id, counts) in all {
            let table = self.catalog.table(id).expect("writes are to tables of the catalog");
            *by_name.entry(table.name.clone()).or_default() += counts;
        }
        Ok(by_name)
    }

    /// Refuses a commit time that a commit which is made now could not have.
    pub fn check_commit_time(&self, time: CommitTime) -> Result<()> {
        let state = self.database.inner.state();
        commit_time(Some(time), state.time(state.applied())?, self.database.inner.now()).map(drop)
    }

    /// Makes the changes durable as the next version. On return they are on disk.
    pub fn commit(mut self, options: CommitOptions) -> Result<Committed> {
        let mut catalog: Vec<PreparedCatalogChange> = self
            .dropped
            .iter()
            .map(|(id, name)| PreparedCatalogChange::Drop { id: *id, name: name.clone() })
            .collect();
        let revived = self.revived.iter();
        catalog
            .extend(revived.map(|(id, name)| PreparedCatalogChange::Revive { id: *id, name: name.clone() }));
        // Who changes no table has the catalog that it began with.
        let changed = !Arc::ptr_eq(&self.catalog, &self.base);
        for table in self.catalog.all().filter(|_| changed) {
            let (id, name, schema) = (table.id, table.name.clone(), table.newest_schema().clone());
            if id >= PROVISIONAL {
                catalog.push(PreparedCatalogChange::Create { id, name, schema });
            } else if !self.dropped.iter().any(|(dropped, _)| *dropped == id)
                && self.base.table(id).is_some_and(|old| *old.newest_schema() != schema)
            {
                catalog.push(PreparedCatalogChange::Alter { id, name, schema });
            }
        }
        let mut tables = Vec::new();
        // A request that is made again gets the first answer, whatever became of its rows since.
        let known = match (&options.client_id, self.spilled.is_empty()) {
            (Some(client), false) => self.database.commit_with_client_id(client)?.is_some(),
            _ => false,
        };
        for (id, spilled) in std::mem::take(&mut self.spilled) {
            let writes = self.writes.remove(&id).unwrap_or_default();
            tables.push(self.settle(id, spilled, *writes, known)?);
        }
        let in_memory = self
            .writes
            .iter()
            .filter(|(_, writes)| !writes.is_empty())
            .map(|(id, writes)| {
                let table = self.catalog.table(*id).expect("writes are to tables of the catalog");
                let mut prepared = PreparedTable::new(table, writes)?;
                prepared.dropped = self.is_dropped(*id);
                Ok(prepared)
            })
            .collect::<Result<Vec<_>>>()?;
        tables.extend(in_memory);
        for (id, files) in std::mem::take(&mut self.loads) {
            let table = self.catalog.table(id).expect("loads are to tables of the catalog");
            let mut prepared = PreparedTable::new(table, &TableWrites::default())?;
            prepared.loaded = Some(files);
            tables.push(prepared);
        }
        let blind = !self.has_read.get();
        let prepared = Prepared {
            catalog,
            tables,
            schema_changes: self.schema_changes,
            read_version: self.snapshot.version(),
            blind,
            reads: self.reads.map(RefCell::into_inner),
        };
        commit(&self.database, prepared, options)
    }

    /// Rows on disk, and those that came after them, as files of a load.
    fn settle(
        &self,
        id: TableId,
        spilled: Spilled,
        mut writes: TableWrites,
        known: bool,
    ) -> Result<PreparedTable> {
        let table = self.catalog.table(id).expect("writes are to tables of the catalog");
        let mut prepared = match spilled {
            Spilled::Keyed(spill) => {
                let there = id < PROVISIONAL && self.snapshot.rows_of(table)? > 0;
                let folded =
                    spill.finish(&writes, self.snapshot.state(), Some(&**table).filter(|_| there), known)?;
                PreparedTable::of_folded(table, folded)
            }
            Spilled::Appended(mut loader, mut digest) => {
                append(&mut loader, &mut digest, &mut writes)?;
                let mut prepared = PreparedTable::new(table, &writes)?;
                prepared.loaded = Some(loader.finish()?);
                prepared.digest = Some(*digest.finalize().as_bytes());
                prepared
            }
        };
        prepared.dropped = self.is_dropped(id);
        Ok(prepared)
    }
}

/// About the bytes that a key takes in a map of what is done to it, beside its own.
const KEY_WRITE_BYTES: usize = 64;

/// Moves rows without key to a load, each under the schema it was written under.
fn append(loader: &mut Loader, digest: &mut blake3::Hasher, writes: &mut TableWrites) -> Result<()> {
    writes.appended.clear();
    for (schema, rows) in std::mem::take(&mut writes.batches) {
        digest.update(&encode_rows(&rows));
        // The table may have been altered since.
        loader.set_schema(schema)?;
        loader.push(&rows)?;
    }
    Ok(())
}

/// A row with some columns replaced by given ones.
fn merge_row(schema: &TableSchema, current: &RecordBatch, given: &RecordBatch) -> Result<RecordBatch> {
    for field in given.schema().fields() {
        schema.index_of(field.name())?;
    }
    let columns: Vec<(&str, arrow::array::ArrayRef)> = schema
        .columns
        .iter()
        .zip(current.columns())
        .map(|(column, old)| {
            (column.name.as_str(), given.column_by_name(&column.name).unwrap_or(old).clone())
        })
        .collect();
    conform(
        &RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))?,
        schema,
        &[],
    )
}

/// A schema after an alteration, and what to call it.
fn altered(
    schema: &TableSchema,
    alteration: Alteration,
    next_column_id: u32,
) -> Result<(TableSchema, String)> {
    let mut schema = schema.clone();
    let what = match alteration {
        Alteration::AddColumn(mut column) => {
            if !column.nullable && column.default.is_none() {
                return Err(Error::invalid(format!(
                    "column '{}' is not null and has no default for the rows that are there; give it one",
                    column.name
                )));
            }
            column.id = next_column_id;
            let what = format!("add column {}", column.name);
            schema.columns.push(column);
            what
        }
        Alteration::DropColumn(name) => {
            let index = schema.index_of(&name)?;
            if schema.key.contains(&schema.columns[index].id) {
                return Err(Error::invalid(format!(
                    "column '{name}' is part of the key and cannot be dropped"
                )));
            }
            schema.columns.remove(index);
            format!("drop column {name}")
        }
        Alteration::RenameColumn { from, to } => {
            let index = schema.index_of(&from)?;
            schema.columns[index].name = to.clone();
            format!("rename column {from} to {to}")
        }
        Alteration::AddCheck(check) => {
            let what = format!("add check {}", check.name);
            schema.checks.push(check);
            what
        }
        Alteration::DropCheck(name) => {
            let before = schema.checks.len();
            schema.checks.retain(|check| check.name != name);
            if schema.checks.len() == before {
                return Err(Error::not_found(format!("there is no check '{name}'")));
            }
            format!("drop check {name}")
        }
        Alteration::WidenColumn { name, to } => {
            let index = schema.index_of(&name)?;
            let is_key = schema.key.contains(&schema.columns[index].id);
            let column = &mut schema.columns[index];
            // A date and a timestamp of the same moment have different keys.
            let changes_key = is_key && column.column_type == asof_mvcc::ColumnType::Date;
            if !column.column_type.widens_to(&to) || changes_key {
                return Err(Error::invalid(format!(
                    "column '{name}' of type {} cannot become {to}; integers, floats and decimals widen to larger ones, \
                     dates to timestamps outside of keys",
                    column.column_type
                )));
            }
            if let Some(default) = &column.default {
                column.default = Some(crate::adapt::cast_exact(default, &to.to_arrow())?);
            }
            let what = format!("widen column {name} from {} to {to}", column.column_type);
            column.column_type = to;
            what
        }
    };
    schema.validate()?;
    Ok((schema, what))
}

/// Defaults have one value of the column's type; an added column that is not null has one.
fn check_defaults(schema: &TableSchema) -> Result<()> {
    for column in &schema.columns {
        if let Some(default) = &column.default
            && (default.len() != 1 || *default.data_type() != column.column_type.to_arrow())
        {
            return Err(Error::invalid(format!(
                "the default of column '{}' is not one {}",
                column.name, column.column_type
            )));
        }
    }
    Ok(())
}

/// Table names: `name` or `namespace.name`, any characters but control characters, each part 1 to 255 bytes.
fn validate_table_name(table: &str) -> Result<()> {
    let bad = |why: &str| {
        Err(Error::invalid(format!("'{}' cannot be a table's name: {why}", table.escape_debug())))
    };
    let parts: Vec<&str> = table.split('.').collect();
    if parts.len() > 2 {
        return bad("it has more than one dot; a table is NAME or NAMESPACE.NAME");
    }
    for part in parts {
        if part.is_empty() {
            return bad("a part of it is empty");
        }
        if part.len() > 255 {
            return bad("a part of it is longer than 255 bytes");
        }
        if part.chars().any(char::is_control) {
            return bad("it contains a control character");
        }
    }
    Ok(())
}
