//! One version, pinned.

use crate::adapt::{adapt, conform};
use crate::api::{ScanOptions, TableInfo};
use crate::database::{Database, Inner};
use crate::error::{Error, Result};
use crate::gone::{check_readable, is_readable};
use crate::history::changes::ChangeEntry;
use crate::resolve::{did_you_mean, nearest_names};
use crate::scan::parts::Part;
use crate::scan::{Life, Scan, dead_among, row_versions, wanted};
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks};
use crate::store::group_scan::{Choice, DeadRows, Detail, GroupTask};
use crate::sums::{rows_at, sizes_at};
use crate::text;
use crate::view::{Format, Told, ToldValues, View, ViewKey, render, render_arrow};
use arrow::array::RecordBatch;
use asof_mvcc::{Catalog, Column, CommitTime, Keys, Table, TableId, TableSchema, Version};
use std::sync::Arc;

/// One version, pinned: its files stay as long as this lives.
#[derive(Clone, Debug)]
pub struct Snapshot {
    inner: Arc<Inner>,
    state: Arc<State>,
    version: Version,
}

/// The error for a table that a version does not have; it names the nearest version that has it, or else tables.
pub(crate) fn unknown_table(catalog: &Catalog, version: Version, table: &str) -> Error {
    let lives = catalog.incarnations(table).flat_map(|table| table.lives.iter().copied());
    let lives = lives.filter(|(begin, end)| end.is_none_or(|end| end > *begin));
    let edges = lives.map(|(begin, end)| match end.and_then(Version::previous) {
        Some(last) if last < version => last,
        _ => begin,
    });
    if let Some(nearest) = edges.min_by_key(|edge| edge.0.abs_diff(version.0)) {
        let message = format!("version {version} has no table '{table}'; version {nearest} has it");
        return Error::not_found(message).with_nearest(vec![nearest.to_string()]);
    }
    let names: Vec<&str> = catalog.tables_at(version).iter().map(|table| table.name.as_str()).collect();
    let nearest = nearest_names(table, names.into_iter());
    Error::not_found(format!("version {version} has no table '{table}'{}", did_you_mean(&nearest)))
        .with_nearest(nearest)
}

/// The encoded keys of a batch that has at least the key columns by name.
pub(crate) fn key_of(table: &str, schema: &TableSchema, batch: &RecordBatch) -> Result<Keys> {
    if !schema.has_key() {
        return Err(Error::invalid(format!("table {table} has no key: its rows cannot be found by one")));
    }
    let key_schema = TableSchema::of(schema.key_column_list().to_vec(), schema.key.clone());
    let only: Vec<usize> = batch
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| key_schema.index_of(field.name()).is_ok())
        .map(|(index, _)| index)
        .collect();
    let keys = conform(&batch.project(&only)?, &key_schema, &key_schema.key)
        .map_err(|e| e.at(format!("table {table}")))?;
    Ok(Keys::of_batch(&key_schema, &keys)?)
}

/// Rows of a table at a version, from metadata.
pub(crate) fn row_count(state: &State, table: &Table, version: Version) -> Result<u64> {
    let base = state.generation.version();
    if version >= base {
        let settled = state.generation.sums(table.id).rows;
        let net = state.memtable(table.id).and_then(|memtable| memtable.read().last_change(version));
        return Ok(settled.wrapping_add_signed(net.map_or(0, |(_, net)| net)));
    }
    Ok(rows_at(state, table, version)?.map_or(0, |entry| entry.rows))
}

impl Snapshot {
    pub(crate) fn new(inner: Arc<Inner>, state: Arc<State>, version: Version) -> Snapshot {
        Snapshot { inner, state, version }
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its commit time; [`CommitTime::MIN`] for version 0.
    pub fn time(&self) -> CommitTime {
        // The version was found when the snapshot was made, and its entry was checked then.
        self.state.time(self.version).unwrap_or(CommitTime::MIN)
    }

    /// The database it is of.
    pub fn database(&self) -> Database {
        Database::without_upkeep(self.inner.clone())
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.state.catalog()
    }

    /// All tables that can be read, by name, without counting rows or reading sums.
    pub fn table_names(&self) -> Result<Vec<String>> {
        Ok(self.names_of(|table| is_readable(&self.state.generation, table, self.version)))
    }

    /// All tables there were, by name: for questions about all of them. Refused where one of them is gone.
    pub fn all_table_names(&self) -> Result<Vec<String>> {
        self.check_all_tables()?;
        self.table_names()
    }

    /// Whether there was a table of a name, gone or not.
    pub(crate) fn had_table(&self, table: &str) -> bool {
        self.catalog().find(table, self.version).is_some()
    }

    /// Those that there were and that are gone: retention has let them go at this version.
    pub fn gone_tables(&self) -> Vec<String> {
        self.names_of(|table| !is_readable(&self.state.generation, table, self.version))
    }

    fn names_of(&self, wanted: impl Fn(&Table) -> bool) -> Vec<String> {
        let catalog = self.catalog();
        let tables = catalog.tables_at(self.version).into_iter().filter(|table| wanted(table));
        tables.map(|table| table.name.clone()).collect()
    }

    /// Refuses where a table is gone at this version: for questions about all tables.
    pub(crate) fn check_all_tables(&self) -> Result<()> {
        let catalog = self.catalog();
        let mut tables = catalog.tables_at(self.version).into_iter();
        tables.try_for_each(|table| check_readable(&self.state.generation, table, self.version))
    }

    fn find(&self, table: &str) -> Result<Arc<Table>> {
        let catalog = self.catalog();
        let found = catalog.find(table, self.version).cloned();
        let found = found.ok_or_else(|| unknown_table(&catalog, self.version, table))?;
        check_readable(&self.state.generation, &found, self.version)?;
        Ok(found)
    }

    pub(crate) fn rows_of(&self, table: &Table) -> Result<u64> {
        row_count(&self.state, table, self.version)
    }

    /// The schema of a table.
    pub fn schema(&self, table: &str) -> Result<Arc<TableSchema>> {
        Ok(self.find(table)?.schema_at(self.version).clone())
    }

    /// The last schema of the table of a name, which may have been dropped before.
    pub fn last_schema(&self, table: &str) -> Result<Arc<TableSchema>> {
        let catalog = self.catalog().up_to(self.version);
        let found = catalog.find_last(table, self.version);
        let found = found.ok_or_else(|| unknown_table(&catalog, self.version, table))?;
        Ok(found.schema_at(self.version).clone())
    }

    /// One table. An unknown one is [`crate::ErrorKind::NotFound`] with the nearest names.
    pub fn table(&self, table: &str) -> Result<TableInfo> {
        let table = self.find(table)?;
        let in_tail =
            self.state.memtable(table.id).and_then(|memtable| memtable.read().last_change(self.version));
        let (changed, rows) = match in_tail.filter(|_| self.version > self.state.generation.version()) {
            Some((changed, _)) => (changed, self.rows_of(&table)?),
            None => {
                let entry = rows_at(&self.state, &table, self.version)?;
                entry.map_or((table.schemas[0].0, 0), |entry| (entry.version, entry.rows))
            }
        };
        Ok(TableInfo {
            name: table.name.clone(),
            id: table.id,
            schema: table.schema_at(self.version).clone(),
            rows,
            changed,
            changed_time: self.state.time(changed)?,
        })
    }

    /// Reads rows in key order.
    pub fn scan(&self, table: &str, options: ScanOptions) -> Result<Scan> {
        let table = self.find(table)?;
        let schema = table.schema_at(self.version).clone();
        Scan::new(self.state.clone(), &table, &schema, self.version, options)
    }

    /// The same rows in parts that are read independently of one another, in no order.
    pub fn parts(&self, table: &str, options: ScanOptions) -> Result<Vec<Part>> {
        let table = self.find(table)?;
        let schema = table.schema_at(self.version).clone();
        Part::all(&self.state, &table, &schema, self.version, options)
    }

    /// The rows of some keys as one part: those of them that there are. `keys` has the key columns by name.
    pub fn lookup(&self, table: &str, keys: &RecordBatch, options: ScanOptions) -> Result<Part> {
        let entry = self.find(table)?;
        let schema = entry.schema_at(self.version).clone();
        let keys = key_of(table, &schema, keys)?;
        Part::of_keys(&self.state, &entry, &schema, self.version, keys, options)
    }

    /// The rows of a table under a schema, with their keys.
    pub(crate) fn chunks(&self, table: TableId, schema: &TableSchema) -> Result<Chunks> {
        let catalog = self.catalog();
        let table = catalog.table(table).ok_or_else(|| Error::not_found("the table is gone"))?;
        row_versions(&self.state, table, &schema.columns, Life::VisibleAt(self.version))
    }

    /// One row by key. `key` has the key columns by name and one row.
    pub fn get(&self, table: &str, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        let entry = self.find(table)?;
        let schema = entry.schema_at(self.version).clone();
        let keys = key_of(table, &schema, key)?;
        if keys.len() != 1 {
            return Err(Error::invalid(format!(
                "one key is looked up at a time, but {} were given",
                keys.len()
            )));
        }
        self.get_by_key(entry.id, &schema, keys.get(0))
    }

    pub(crate) fn get_by_key(
        &self,
        table: TableId,
        schema: &Arc<TableSchema>,
        key: &[u8],
    ) -> Result<Option<RecordBatch>> {
        let catalog = self.catalog();
        let table = catalog.table(table).ok_or_else(|| Error::not_found("the table is gone"))?;
        let found = versions_of_key(&self.state, table, &schema.columns, key, Life::VisibleAt(self.version))?;
        let Some(chunk) = found.into_iter().next() else { return Ok(None) };
        Ok(Some(RecordBatch::try_new(schema.to_arrow(), chunk.rows.columns().to_vec())?.slice(0, 1)))
    }

    /// The exact size of a table as a file. From metadata alone, but for a Parquet file that cannot be stitched.
    pub fn view_size(&self, table: &str, format: Format) -> Result<u64> {
        let entry = self.find(table)?;
        match self.size_from_sums(&entry, format)? {
            Some(size) => Ok(size),
            None => Ok(self.view(table, format)?.size()),
        }
    }

    fn size_from_sums(&self, table: &Table, format: Format) -> Result<Option<u64>> {
        let schema = table.schema_at(self.version);
        let sums = || sizes_at(&self.state, table, self.version);
        Ok(match format {
            Format::Csv => {
                let sums = sums()?;
                Some(text::file_size_csv(schema, sums.rows, &[sums.csv_bytes]))
            }
            Format::JsonLines => {
                let sums = sums()?;
                Some(text::file_size_jsonl(schema, sums.rows, &[sums.json_bytes]))
            }
            Format::Arrow => Some(self.told_with_size(table)?.1),
            Format::Parquet => None,
        })
    }

    /// What running sums tell of a table's rows in Arrow files, and the size of these.
    fn told_with_size(&self, table: &Table) -> Result<(Told, u64)> {
        let sums = sizes_at(&self.state, table, self.version)?;
        let values = match sums.variable_bits {
            ChangeEntry::UNKNOWN => ToldValues::JsonBytes(sums.json_bytes),
            bits => ToldValues::Bits(bits),
        };
        let told = Told { rows: sums.rows, values };
        Ok((told, self.inner.arrow_sizes.size(table.schema_at(self.version), told)?))
    }

    /// The number of the layout of data files that the version is read from.
    pub fn layout(&self) -> u64 {
        self.state.generation.manifest().number
    }

    /// A table as a file.
    pub fn view(&self, table: &str, format: Format) -> Result<Arc<View>> {
        let entry = self.find(table)?;
        let schema = entry.schema_at(self.version).clone();
        if format == Format::Parquet {
            let (rows, cache) = (self.rows_of(&entry)?, self.inner.views().clone());
            if let Some(view) = View::stitched(&self.state, &entry, self.version, rows, cache)? {
                return Ok(Arc::new(view));
            }
        }
        let key = ViewKey {
            lineage: self.inner.lineage(),
            table: entry.id,
            changed: self.table(table)?.changed,
            schema: crate::view::schema_digest(&schema),
            format,
            layout: 0,
        };
        let told = match format {
            Format::Arrow => Some(self.told_with_size(&entry)?),
            _ => None,
        };
        let size = match told {
            Some((_, size)) => Some(size),
            None => self.size_from_sums(&entry, format)?,
        };
        if let (Some(size), Format::Csv | Format::JsonLines) = (size, format) {
            let (rows, cache) = (self.rows_of(&entry)?, self.inner.views().clone());
            let sections = (rows, self.inner.options.text_section_bytes);
            let view = View::text(cache, key, size, (&self.state, entry, self.version), sections);
            return Ok(Arc::new(view));
        }
        let snapshot = self.clone();
        let name = table.to_string();
        let render_rows = Box::new(move |out: &mut dyn std::io::Write| {
            let rows = snapshot.scan(&name, ScanOptions::default())?;
            match told {
                Some(told) => render_arrow(&schema, rows, told, out),
                None => render(format, &schema, rows, out),
            }
        });
        View::new(self.inner.views().clone(), key, size, render_rows).map(Arc::new)
    }
}

/// The row versions of one key that `life` wants, oldest first.
pub(crate) fn versions_of_key(
    state: &State,
    table: &Table,
    columns: &[Column],
    key: &[u8],
    life: Life,
) -> Result<Vec<Chunk>> {
    let wanted = wanted(table, columns);
    let newest = life.newest();
    let memtable = if newest > state.generation.version() { state.memtable(table.id) } else { None };
    let detail = Detail { keys: false, lives: true };
    let mut chunks = Vec::new();
    let loaded = state.loaded_files(table.id, newest);
    for record in state.generation.data_files(table.id, newest).chain(loaded.iter().map(|file| &**file)) {
        let alive = !matches!(life, Life::VisibleAt(version) if record.max_end <= version.0);
        let in_range = key >= &record.min_key[..] && key <= &record.max_key[..];
        if record.min_begin > newest.0 || !alive || !in_range {
            continue;
        }
        let file = state.generation.open(record)?;
        for group in file.groups_with_key(key) {
            let extent = &file.groups[group];
            if extent.min_begin > newest.0
                || matches!(life, Life::VisibleAt(version) if extent.max_end <= version.0)
            {
                continue;
            }
            let rows = state.generation.rows_of_key(&file, group, &wanted.key, key)?;
            if rows.is_empty() {
                continue;
            }
            let dead = dead_among(state, memtable.as_deref(), &file, group, rows.clone(), newest)?;
            let (rows, dead) = (Some(rows.collect()), DeadRows::Known(dead));
            let task = GroupTask { file: file.clone(), group, rows, dead, choice: Choice::Life(life) };
            for chunk in task.chunks(wanted.clone(), detail) {
                chunks.push(chunk?);
            }
        }
    }
    let life = life.filter();
    if let Some(memtable) = memtable {
        let memtable = memtable.read();
        let mut slots: Vec<_> = memtable.slots_of(key).collect();
        slots.reverse();
        for slot in slots {
            let (begin, end) = memtable.life(slot);
            if life(begin, end) {
                let (batch, row) = memtable.row(slot);
                let (_, schema) = &table.schemas[batch.schema];
                let rows =
                    adapt(&batch.rows.slice(row, 1), &schema.columns, &wanted.columns, &wanted.schema)?;
                let mut keys = Keys::default();
                keys.push(key);
                chunks.push(Chunk { rows, keys, begins: vec![begin], ends: vec![end] });
            }
        }
    }
    chunks.sort_by_key(|chunk| chunk.begins[0]);
    Ok(chunks)
}

/// Every column that a table ever had, by id, each under its newest name and type.
pub(crate) fn all_columns(table: &Table) -> Vec<Column> {
    let mut columns: Vec<Column> = table.newest_schema().columns.clone();
    for (_, schema) in table.schemas.iter().rev() {
        for column in &schema.columns {
            if !columns.iter().any(|known| known.id == column.id) {
                columns.push(column.clone());
            }
        }
    }
    columns
}
