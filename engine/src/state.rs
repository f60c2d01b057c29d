//! What this process knows of the database: a generation of files, and in memory what the log adds.
//!
//! Changes are applied when they are validated (own commits) or read from the log (others'), under the
//! writer's turn or the follower's lock; they become visible when [`State::publish`] says so. A reader
//! asks only for published versions, so what is applied but not durable yet is never seen.

use crate::api::Tag;
use crate::codec::records::{CatalogChange, CommitContent, CommitHeader, TableChange, Target};
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::generation::Generation;
use crate::manifest::DataFileRecord;
use crate::sums::SumsTail;
use arrow::array::RecordBatch;
use asof_mvcc::{
    Catalog, Column, CommitTime, Expect, FileId, Keys, Memtable, RecentWrites, Slot, Table, TableId,
    TableSchema, Timeline, Version,
};
use asof_wal::planted::{Bug, planted};
use asof_wal::{DiskFile, Position};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A commit since the manifest.
#[derive(Clone, Debug)]
pub struct TailCommit {
    /// Its header.
    pub header: Arc<CommitHeader>,
    /// Where the log goes on after it.
    pub next: Position,
}

/// A data file that a commit since the manifest names.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    /// What the manifest will say of it.
    pub record: Arc<DataFileRecord>,
    /// Keeps it: no manifest names it yet.
    _lock: Option<Arc<dyn DiskFile>>,
}

/// What the log adds to a manifest.
#[derive(Debug)]
pub struct Memory {
    /// All tables, those of commits that are not published yet included.
    pub catalog: Arc<Catalog>,
    /// Rows since the manifest.
    pub tables: HashMap<TableId, Arc<RwLock<Memtable>>>,
    /// What each of these takes in memory, as of its last change.
    pub table_bytes: HashMap<TableId, u64>,
    /// Data files of bulk loads since the manifest, by table.
    pub loaded: HashMap<TableId, Vec<LoadedFile>>,
    /// Commits since the manifest, in order.
    pub commits: Vec<TailCommit>,
    /// About the bytes of memory that their headers take.
    pub header_bytes: usize,
    /// Their times.
    pub timeline: Timeline,
    /// Tags by name.
    pub tags: BTreeMap<String, Tag>,
    /// Settings by name.
    pub settings: BTreeMap<String, String>,
    /// The next hidden row id of tables without key.
    pub next_row_ids: HashMap<TableId, u64>,
    /// Idempotency ids since the manifest.
    pub client_ids: HashMap<String, Version>,
    /// The chain digest of the last commit applied.
    pub chain_digest: [u8; 32],
}

/// A generation and what the log adds to it.
#[derive(Debug)]
pub struct State {
    /// The files.
    pub generation: Arc<Generation>,
    /// What the log adds.
    pub memory: RwLock<Memory>,
    /// Running sums since the manifest, computed when first needed.
    pub sums: Mutex<HashMap<TableId, Arc<Mutex<SumsTail>>>>,
    published: AtomicU64,
    /// The sum of the memory's `table_bytes`.
    bytes: AtomicU64,
}

/// A row that is alive, as found by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the memtable.
    Slot(Slot),
    /// In a data file.
    File(FileId, u32),
}

/// A commit that can be applied.
pub struct ReadyCommit {
    /// Tables that come, go, or change their schema.
    whole: Vec<TableId>,
    changes: Vec<ReadyChange>,
}

/// A commit's change of one table, with all found that is needed to apply it.
struct ReadyChange {
    table: TableId,
    schema: usize,
    /// Whether the table has no key, and hidden row ids.
    keyless: bool,
    /// Whether it concerns each row.
    whole: bool,
    rows: RecordBatch,
    keys: Keys,
    /// Keys of rows that end.
    deleted: Keys,
    /// Rows that end.
    places: Vec<Place>,
    /// Files that are loaded.
    files: Vec<LoadedFile>,
    /// The first hidden row id that is free then.
    next_row_id: u64,
    /// Rows that are born, less those that end.
    net_rows: i64,
}

impl State {
    /// The state at a manifest, before the log is read.
    pub fn new(generation: Arc<Generation>) -> State {
        let manifest = generation.manifest();
        let tags = manifest.tags.iter().map(|record| record.to_tag()).map(|tag| (tag.name.clone(), tag));
        let memory = Memory {
            catalog: generation.catalog.clone(),
            tables: HashMap::new(),
            table_bytes: HashMap::new(),
            loaded: HashMap::new(),
            commits: Vec::new(),
            header_bytes: 0,
            timeline: Timeline::new(generation.version()),
            tags: tags.collect(),
            settings: manifest.settings.iter().cloned().collect(),
            next_row_ids: manifest.sums.iter().map(|sums| (sums.table, sums.next_row_id)).collect(),
            client_ids: HashMap::new(),
            chain_digest: manifest.chain_digest,
        };
        let published = AtomicU64::new(manifest.version);
        State {
            generation,
            memory: RwLock::new(memory),
            sums: Mutex::default(),
            published,
            bytes: AtomicU64::new(0),
        }
    }

    /// The newest version that readers see.
    pub fn published(&self) -> Version {
        Version(self.published.load(Ordering::Acquire))
    }

    /// Lets readers see versions up to this one.
    pub fn publish(&self, version: Version) {
        self.published.fetch_max(version.0, Ordering::AcqRel);
    }

    /// Lets readers see the commits that are applied and lie in the log before a position, which is durable.
    pub fn publish_before(&self, durable: Position) {
        let memory = self.memory.read();
        let mut newest_first = memory.commits.iter().rev();
        let last = newest_first.find(|commit| commit.next.sequence <= durable.sequence);
        if let Some(commit) = last {
            self.publish(Version(commit.header.version));
        }
    }

    /// The newest version applied, published or not.
    pub fn applied(&self) -> Version {
        self.memory.read().timeline.last()
    }

    /// Bytes of memory that changes since the manifest took at the last commit: asked with each one.
    pub fn unsettled_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// All tables.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.memory.read().catalog.clone()
    }

    /// The memtable of a table, if anything happened to it since the manifest.
    pub fn memtable(&self, table: TableId) -> Option<Arc<RwLock<Memtable>>> {
        self.memory.read().tables.get(&table).cloned()
    }

    /// The header of a version's commit.
    pub fn header(&self, version: Version) -> Result<Arc<CommitHeader>> {
        let base = self.generation.version();
        if version <= base {
            return self.generation.commits.header(version).map(Arc::new);
        }
        let memory = self.memory.read();
        let commit = memory.commits.get((version.0 - base.0 - 1) as usize);
        commit
            .map(|commit| commit.header.clone())
            .ok_or_else(|| Error::not_found(format!("there is no version {version}")))
    }

    /// The commit time of a version.
    pub fn time(&self, version: Version) -> Result<CommitTime> {
        let manifest = self.generation.manifest();
        if version == manifest.version() && version > Version::ZERO {
            return Ok(CommitTime(manifest.time));
        }
        if version < manifest.version() {
            return self.generation.commits.time(version);
        }
        if version == Version::ZERO {
            return Ok(CommitTime::MIN);
        }
        let time = self.memory.read().timeline.time(version);
        time.ok_or_else(|| Error::not_found(format!("there is no version {version}")))
    }

    /// The last published version whose commit time is at or before `time`.
    pub fn version_at(&self, time: CommitTime) -> Result<Version> {
        let base = self.generation.version();
        if base > Version::ZERO && time < CommitTime(self.generation.manifest().time) {
            return self.generation.commits.version_at(time);
        }
        Ok(self.memory.read().timeline.version_at(time).min(self.published()))
    }

    /// Bytes of memory that the log's tail takes: rows, and headers of commits.
    pub fn memory_bytes(&self) -> usize {
        let memory = self.memory.read();
        let tables = memory.tables.values().map(|memtable| memtable.read().memory_bytes());
        tables.sum::<usize>() + memory.header_bytes + memory.commits.capacity() * size_of::<TailCommit>()
    }

    /// Where the alive row of a key is, commits not published yet included.
    pub fn find_alive(&self, table: &Table, key_columns: &[Column], key: &[u8]) -> Result<Option<Place>> {
        let memtable = self.memtable(table.id);
        if let Some(memtable) = &memtable
            && let Some(slot) = memtable.read().alive(key)
        {
            return Ok(Some(Place::Slot(slot)));
        }
        let ended =
            |file, row| memtable.as_ref().is_some_and(|memtable| memtable.read().has_file_end(file, row));
        // Damage of a file whose rows have all ended is nobody's concern here.
        let unless_ended = |record: &DataFileRecord, error: Error| match error.kind() {
            ErrorKind::Corrupt if self.has_all_ended(record, Version::FOREVER) => Ok(()),
            _ => Err(error),
        };
        for loaded in self.loaded_files(table.id, Version::FOREVER) {
            // A key may have been loaded, deleted and loaded again.
            let found = self.generation.find_in_file(&loaded, key_columns, key);
            if let Some(row) = found.or_else(|error| unless_ended(&loaded, error).map(|()| None))?
                && !ended(loaded.id, row)
            {
                return Ok(Some(Place::File(loaded.id, row)));
            }
        }
        let found = self.generation.find_alive(table.id, key_columns, key, &unless_ended)?;
        let Some((file, row)) = found else { return Ok(None) };
        Ok((!ended(file, row)).then_some(Place::File(file, row)))
    }

    /// Whether the key of a write is there, and the row that the write ends. What is truncated ends without being named.
    pub fn find_written(
        &self,
        table: &Table,
        schema: &TableSchema,
        key: &[u8],
        expect: Expect,
        truncated: bool,
    ) -> Result<(bool, Target)> {
        if truncated && expect == Expect::Any {
            return Ok((false, Target::None));
        }
        let place = self.find_alive(table, schema.key_column_list(), key)?;
        let target = match place {
            Some(place) if !truncated => self.target(table.id, place),
            _ => Target::None,
        };
        Ok((place.is_some(), target))
    }

    /// Whether each row of a file had ended by a version, commits not published yet included: nobody need read it.
    pub fn has_all_ended(&self, record: &DataFileRecord, version: Version) -> bool {
        let manifest = self.generation.manifest();
        if version < self.generation.version() {
            return false;
        }
        let settled = manifest.measures.iter().find(|measures| measures.file == record.id);
        let settled = settled.map_or(0, |measures| measures.dead);
        let memtable = self.memtable(record.table);
        let since = memtable.map_or(0, |memtable| memtable.read().file_ends(record.id, version).len());
        settled.saturating_add(since as u64) >= record.rows
    }

    /// The last version that changed a table, commits not published yet included.
    pub fn last_change(&self, table: TableId) -> Result<Option<Version>> {
        let change = self.memtable(table).and_then(|memtable| memtable.read().last_change(Version::FOREVER));
        match change {
            Some((version, _)) => Ok(Some(version)),
            None => {
                match self.generation.changes(table).at(self.generation.version()) {
                    // No later than that, and conflicts are found too often rather than too seldom.
                    Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Some(self.generation.version())),
                    settled => Ok(settled?.map(|entry| entry.version)),
                }
            }
        }
    }

    /// The data files of a table that commits since the manifest loaded, up to a version.
    pub fn loaded_files(&self, table: TableId, version: Version) -> Vec<Arc<DataFileRecord>> {
        let memory = self.memory.read();
        let loaded = memory.loaded.get(&table).into_iter().flatten();
        loaded.map(|file| &file.record).filter(|record| record.min_begin <= version.0).cloned().collect()
    }

    /// Whether the manifest or a commit after it names a data file of a table.
    fn has_file(&self, table: TableId, file: FileId) -> bool {
        let is_loaded = || {
            let memory = self.memory.read();
            memory.loaded.get(&table).is_some_and(|loaded| loaded.iter().any(|known| known.record.id == file))
        };
        self.generation.has_file(file) || is_loaded()
    }

    /// Whether such a file has a row, and is the table's.
    fn has_row(&self, table: TableId, file: FileId, row: u32) -> bool {
        let is_loaded = || {
            let memory = self.memory.read();
            let loaded = memory.loaded.get(&table).into_iter().flatten();
            loaded.into_iter().any(|known| known.record.id == file && u64::from(row) < known.record.rows)
        };
        self.generation.has_row(table, file, row) || is_loaded()
    }

    /// How the log names the place of a row of a table.
    pub fn target(&self, table: TableId, place: Place) -> Target {
        match place {
            Place::File(file, row) => Target::File(file, row),
            Place::Slot(slot) => match self.memtable(table) {
                Some(memtable) => {
                    let (version, nth) = memtable.read().birth(slot);
                    Target::Born(version, nth)
                }
                None => Target::Memory,
            },
        }
    }

    /// Applies a commit's changes of the catalog.
    pub fn change_catalog(
        catalog: &mut Arc<Catalog>,
        version: Version,
        changes: &[CatalogChange],
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        // On a copy: what is refused changes nothing.
        let mut changed = Catalog::clone(catalog);
        let impossible = |what: &str, table: TableId| {
            Error::corrupt(format!("version {version} {what} table {table}; run 'asof verify'"))
        };
        for change in changes {
            match change {
                CatalogChange::Create { table, name, schema } => {
                    if changed.table(*table).is_some() || changed.find(name, version).is_some() {
                        return Err(impossible("makes what is there already,", *table));
                    }
                    changed.put(Table::new(*table, name.clone(), Arc::new(schema.to_schema()?), version));
                }
                CatalogChange::Drop { table: id } => {
                    let table = changed.table_mut(*id).filter(|table| table.exists_at(version));
                    table.ok_or_else(|| impossible("drops what is not there,", *id))?.drop_at(version);
                }
                CatalogChange::Revive { table: id } => {
                    let gone = |table: &&Arc<Table>| {
                        !table.exists_at(version)
                            && table.dropped_before(version).is_some_and(|end| end < version)
                    };
                    let name = changed.table(*id).filter(gone).map(|table| table.name.clone());
                    let is_free = |name: &String| changed.find(name, version).is_none();
                    if !name.is_some_and(|name| is_free(&name)) {
                        return Err(impossible("brings back what is there or never was,", *id));
                    }
                    changed.table_mut(*id).expect("it was just found").revive_at(version);
                }
                CatalogChange::Alter { table: id, schema } => {
                    let schema = Arc::new(schema.to_schema()?);
                    // One that the same commit drops: earlier releases tell of both.
                    let drops = |table: &&mut Table| {
                        catalog.table(table.id).is_some_and(|table| table.exists_at(version))
                    };
                    let table =
                        changed.table_mut(*id).filter(|table| table.exists_at(version) || drops(table));
                    let table = table.ok_or_else(|| impossible("changes what is not there,", *id))?;
                    table.set_schema(schema, version);
                }
            }
        }
        *catalog = Arc::new(changed);
        Ok(())
    }

    /// Does a commit's work with its changes of the catalog in force, which are taken back where it fails.
    pub fn with_catalog_changed<T>(
        &self,
        version: Version,
        changes: &[CatalogChange],
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if changes.is_empty() {
            return work();
        }
        let before = self.catalog();
        Self::change_catalog(&mut self.memory.write().catalog, version, changes)?;
        let done = work();
        if done.is_err() && !planted(Bug::RefusedTablesKept) {
            self.memory.write().catalog = before;
        }
        done
    }

    /// Whether a data file that a commit loads is gone, as it is where a newer manifest names others in its place.
    pub fn misses_file_of(&self, changes: &[TableChange]) -> Result<Option<(FileId, Error)>> {
        for record in changes.iter().flat_map(|change| &change.files) {
            match self.generation.hold(record) {
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Some((record.id, error))),
                held => drop(held?),
            }
        }
        Ok(None)
    }

    /// Applies a commit read from the log, and tells conflict detection. Visible once published.
    pub fn apply(
        &self,
        header: Arc<CommitHeader>,
        content: CommitContent,
        next: Position,
        recent: &mut RecentWrites,
    ) -> Result<()> {
        let changes = content.catalog.clone();
        self.with_catalog_changed(Version(header.version), &changes, || {
            let ready = self.prepare(&header, content)?;
            self.apply_ready(header, ready, next, recent)
        })
    }

    /// Does all of applying a commit that may fail, and changes nothing that is read: what is applied in part would be
    /// applied twice when it is tried again, and an own commit that is logged must be applied.
    pub fn prepare(&self, header: &CommitHeader, content: CommitContent) -> Result<ReadyCommit> {
        let version = Version(header.version);
        if version != self.applied().next() {
            return Err(Error::corrupt(format!(
                "the log goes on with version {version} where {} is expected; run 'asof verify'",
                self.applied().next()
            )));
        }
        if CommitTime(header.time) <= self.time(self.applied())? {
            return Err(Error::corrupt(format!(
                "the commit time of version {version} is not later than the one before"
            )));
        }
        let whole = content.catalog.iter().map(|change| match change {
            CatalogChange::Create { table, .. }
            | CatalogChange::Drop { table }
            | CatalogChange::Revive { table }
            | CatalogChange::Alter { table, .. } => *table,
        });
        let whole = whole.collect();
        let changes = content.changes.into_iter().map(|change| self.find_rows(version, change));
        Ok(ReadyCommit { whole, changes: changes.collect::<Result<_>>()? })
    }

    /// Applies a commit, and tells conflict detection. Visible once published.
    pub fn apply_ready(
        &self,
        header: Arc<CommitHeader>,
        ready: ReadyCommit,
        next: Position,
        recent: &mut RecentWrites,
    ) -> Result<()> {
        let version = Version(header.version);
        let ReadyCommit { whole, changes } = ready;
        let mut touched = whole;
        // Rows of a table that is dropped or comes back are there all along: none begins or ends.
        let nets: HashMap<TableId, i64> =
            changes.iter().map(|change| (change.table, change.net_rows)).collect();
        touched.iter().for_each(|table| recent.wrote_whole(version, *table));
        for change in changes {
            touched.push(change.table);
            if change.whole {
                recent.wrote_whole(version, change.table);
            } else {
                recent.wrote_keys(version, change.table, change.keys.iter());
                recent.wrote_keys(version, change.table, change.deleted.iter());
            }
            self.apply_rows(version, change)?;
        }
        touched.sort_unstable();
        touched.dedup();
        let mut memory = self.memory.write();
        for table in touched {
            let net = nets.get(&table).copied().unwrap_or(0);
            let memtable = memory.tables.entry(table).or_default().clone();
            let mut memtable = memtable.write();
            memtable.note_change(version, net);
            let bytes = memtable.memory_bytes() as u64;
            let before = memory.table_bytes.insert(table, bytes).unwrap_or(0);
            self.bytes.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
        if let Some(id) = &header.client_id {
            memory.client_ids.insert(id.clone(), version);
        }
        memory.chain_digest = header.chain_digest;
        memory.timeline.push(CommitTime(header.time));
        memory.header_bytes += header.memory_bytes();
        memory.commits.push(TailCommit { header, next });
        Ok(())
    }

    /// Finds what a commit's rows of one table end, and holds the files that it loads. The catalog has the commit's
    /// changes already.
    fn find_rows(&self, version: Version, change: TableChange) -> Result<ReadyChange> {
        let catalog = self.catalog();
        let table = catalog.table(change.table);
        let table =
            table.ok_or_else(|| Error::corrupt(format!("version {version} has rows of an unknown table")))?;
        let schema = table.schemas.get(change.schema).map(|(_, schema)| schema.clone());
        let schema = schema
            .ok_or_else(|| Error::corrupt(format!("version {version} has rows of an unknown schema")))?;
        let impossible = |what: &str| {
            Error::corrupt(format!("version {version} {what} of table {}; run 'asof verify'", table.name))
        };
        let loaded_rows = change.files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.rows));
        let born = loaded_rows.and_then(|loaded| loaded.checked_add(change.rows.num_rows() as u64));
        let next_row_id = born.and_then(|born| change.first_row_id.unwrap_or(0).checked_add(born));
        let next_row_id = next_row_id.ok_or_else(|| impossible("has row ids beyond all numbers"))?;
        let keys = change.keys;
        let everything = if change.truncate { self.all_alive(table)? } else { Vec::new() };
        let mut places = Vec::new();
        let replaced = keys.iter().zip(&change.replaced).chain(change.deleted.iter().zip(&change.deleted_at));
        for (key, target) in replaced {
            let place = match target {
                // What is truncated ends without being named.
                _ if change.truncate => continue,
                Target::None => continue,
                Target::File(file, row) if self.has_file(table.id, *file) => {
                    if !self.has_row(table.id, *file, *row) {
                        return Err(impossible("ends a row of a file that is none"));
                    }
                    Place::File(*file, *row)
                }
                Target::Born(born, nth) if *born > self.generation.version() => {
                    let memtable = self.memtable(table.id);
                    let slot = memtable.and_then(|memtable| memtable.read().slot_at(*born, *nth));
                    slot.map(Place::Slot).ok_or_else(|| impossible("ends a row that no version made"))?
                }
                // Not in a file when it was logged, or in one that is gone: wherever it is now.
                _ => self.find_alive(table, schema.key_column_list(), key)?.ok_or_else(|| {
                    Error::corrupt(format!(
                        "version {version} ends a row of table {} that is not there",
                        table.name
                    ))
                })?,
            };
            places.push(place);
        }
        let files = change.files.iter().map(|record| {
            let mut record = record.clone();
            (record.loaded_at, record.min_begin, record.max_begin) = (Some(version.0), version.0, version.0);
            Ok(LoadedFile { _lock: self.generation.hold(&record)?, record: Arc::new(record) })
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        let places: Vec<Place> = everything.into_iter().chain(places).collect();
        let born = born.unwrap_or(0);
        let net_rows = born.wrapping_sub(places.len() as u64) as i64;
        Ok(ReadyChange {
            table: change.table,
            schema: change.schema,
            keyless: change.first_row_id.is_some(),
            whole: change.truncate || !files.is_empty(),
            rows: change.rows,
            keys,
            deleted: change.deleted,
            places,
            files,
            next_row_id,
            net_rows,
        })
    }

    /// Applies a commit's rows of one table.
    fn apply_rows(&self, version: Version, change: ReadyChange) -> Result<()> {
        let ReadyChange { table, schema, keyless, rows, keys, places, files, next_row_id, .. } = change;
        let mut memory = self.memory.write();
        if !files.is_empty() {
            memory.loaded.entry(table).or_default().extend(files);
        }
        if keyless {
            let known = memory.next_row_ids.entry(table).or_default();
            *known = (*known).max(next_row_id);
        }
        let memtable = memory.tables.entry(table).or_default().clone();
        drop(memory);
        let mut memtable = memtable.write();
        for place in places {
            match place {
                Place::Slot(slot) if !memtable.end_slot(slot, version) => {
                    return Err(Error::corrupt(format!(
                        "version {version} ends a row twice of table {}; run 'asof verify'",
                        self.catalog().table(table).map_or_else(String::new, |table| table.name.clone())
                    )));
                }
                Place::Slot(_) => {}
                Place::File(file, row) => memtable.end_in_file(file, row, version),
            }
        }
        memtable.insert(version, schema, rows, keys);
        Ok(())
    }

    /// Every row of a table that is alive, commits not published yet included.
    fn all_alive(&self, table: &Table) -> Result<Vec<Place>> {
        let memtable = self.memtable(table.id);
        let memtable = memtable.as_ref().map(|memtable| memtable.read());
        let mut places = Vec::new();
        let loaded = self.loaded_files(table.id, Version::FOREVER);
        let settled = self.generation.data_files(table.id, self.generation.version());
        for record in settled.chain(loaded.iter().map(|file| &**file)).filter(|record| !record.history) {
            let dead = self.generation.dead(table.id, record.id)?;
            let mut dead: Vec<u32> = dead.iter().map(|(row, _)| *row).collect();
            if let Some(memtable) = &memtable {
                dead.extend(memtable.file_ends(record.id, Version::FOREVER).into_iter().map(|(row, _)| row));
            }
            dead.sort_unstable();
            let alive = (0..record.rows as u32).filter(|row| dead.binary_search(row).is_err());
            places.extend(alive.map(|row| Place::File(record.id, row)));
        }
        if let Some(memtable) = &memtable {
            let alive = memtable.select(|_, end| end == Version::FOREVER);
            let slots = alive.iter().flat_map(|some| some.rows.iter().map(|row| some.batch.first + row));
            places.extend(slots.map(Place::Slot));
        }
        Ok(places)
    }
}

impl Database {
    /// Bytes of memory that this handle takes for what the log adds to the last checkpoint.
    pub fn memory_bytes(&self) -> usize {
        self.inner.state().memory_bytes()
    }
}
