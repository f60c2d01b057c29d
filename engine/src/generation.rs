//! A manifest and its files, opened as they are needed, kept alive as long as anyone reads them.

use crate::counting::{CountingDisk, Counts};
use crate::error::Result;
use crate::history::changes::ChangesFile;
use crate::history::commit_log::CommitLog;
use crate::history::ids::{IdEntry, read_run};
use crate::layout::Layout;
use crate::manifest::{DataFileRecord, Leased, Manifest, SumsRecord};
use crate::store::data_file::DataFile;
use crate::store::ends::{self, Ends};
use asof_mvcc::{Catalog, Column, FileId, Keys, TableId, Version};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The dead rows of one data file: (position, end), ascending.
pub type Dead = Arc<Vec<(u32, Version)>>;

/// A leased manifest with what has been opened of it.
#[derive(Debug)]
pub struct Generation {
    leased: Leased,
    /// Tables as of the manifest.
    pub catalog: Arc<Catalog>,
    /// The commit log up to the manifest.
    pub commits: CommitLog,
    data_bytes: u64,
    disk: Arc<CountingDisk>,
    layout: Layout,
    files: Mutex<HashMap<FileId, Arc<DataFile>>>,
    ends: Mutex<HashMap<TableId, Arc<HashMap<FileId, Dead>>>>,
    keys: Mutex<KeyCache>,
    ids: Mutex<Option<Arc<Vec<IdEntry>>>>,
    changes: Mutex<HashMap<TableId, Arc<ChangesFile>>>,
}

#[derive(Debug)]
struct KeyCache {
    groups: HashMap<(FileId, usize), (Arc<Keys>, u64)>,
    bytes: u64,
    bytes_max: u64,
    clock: u64,
}

impl KeyCache {
    fn get(&mut self, group: (FileId, usize)) -> Option<Arc<Keys>> {
        self.clock += 1;
        let clock = self.clock;
        self.groups.get_mut(&group).map(|(keys, used)| {
            *used = clock;
            keys.clone()
        })
    }

    fn put(&mut self, group: (FileId, usize), keys: Arc<Keys>) {
        self.clock += 1;
        self.bytes += keys.memory_bytes() as u64;
        self.groups.insert(group, (keys, self.clock));
        while self.bytes > self.bytes_max
            && self.groups.len() > 1
            && let Some(oldest) =
                self.groups.iter().min_by_key(|(_, (_, used))| *used).map(|(group, _)| *group)
            && let Some((keys, _)) = self.groups.remove(&oldest)
        {
            self.bytes -= keys.memory_bytes() as u64;
        }
    }
}

impl Generation {
    /// Takes over a lease.
    pub fn new(
        disk: Arc<CountingDisk>,
        layout: Layout,
        leased: Leased,
        key_cache_bytes: u64,
    ) -> Result<Generation> {
        let manifest = &leased.manifest;
        let tables = manifest.tables.iter().map(|record| record.to_table()).collect::<Result<Vec<_>>>()?;
        let commits = CommitLog::new(
            disk.clone(),
            layout.clone(),
            manifest.database_id,
            manifest.version(),
            manifest.commit_log_bytes,
        );
        Ok(Generation {
            data_bytes: manifest.data_files.iter().map(|file| file.bytes).sum(),
            catalog: Arc::new(Catalog::new(tables)),
            commits,
            leased,
            disk,
            layout,
            files: Mutex::default(),
            ends: Mutex::default(),
            keys: Mutex::new(KeyCache {
                groups: HashMap::new(),
                bytes: 0,
                bytes_max: key_cache_bytes,
                clock: 0,
            }),
            ids: Mutex::default(),
            changes: Mutex::default(),
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.leased.manifest
    }

    /// The version up to which everything reads without the log.
    pub fn version(&self) -> Version {
        self.manifest().version()
    }

    /// The counters of the disk.
    pub fn counts(&self) -> &Arc<Counts> {
        self.disk.counts()
    }

    /// The data files of a table that a version reads.
    pub fn data_files(&self, table: TableId, version: Version) -> impl Iterator<Item = &DataFileRecord> {
        let files = self.manifest().data_files.iter();
        files.filter(move |file| {
            file.table == table && file.valid_from <= version.0 && version.0 < file.valid_to
        })
    }

    /// Bytes of all data files.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Whether the manifest names a data file.
    pub fn has_file(&self, file: FileId) -> bool {
        self.manifest().data_files.iter().any(|record| record.id == file)
    }

    /// Whether a data file that the manifest names is of a table and has so many rows.
    pub fn has_row(&self, table: TableId, file: FileId, row: u32) -> bool {
        let record = self.manifest().data_files.iter().find(|record| record.id == file);
        record.is_some_and(|record| record.table == table && u64::from(row) < record.rows)
    }

    /// Opens a data file, or gives it again.
    pub fn open(&self, record: &DataFileRecord) -> Result<Arc<DataFile>> {
        if let Some(file) = self.files.lock().get(&record.id) {
            return Ok(file.clone());
        }
        let file = Arc::new(DataFile::open(&*self.disk, &self.layout, record, self.counts().clone())?);
        Ok(self.files.lock().entry(record.id).or_insert(file).clone())
    }

    /// The dead rows of a data file, as far as ends files tell.
    pub fn dead(&self, table: TableId, file: FileId) -> Result<Dead> {
        let ends = self.ends.lock().get(&table).cloned();
        let ends = match ends {
            Some(ends) => ends,
            None => {
                let mut all: HashMap<FileId, Vec<(u32, Version)>> = HashMap::new();
                for record in self.manifest().ends_files.iter().filter(|record| record.table == table) {
                    let ends: Ends = ends::read(&*self.disk, &self.layout, record)?;
                    for (file, dead) in ends {
                        all.entry(file).or_default().extend(dead);
                    }
                }
                let sorted = all.into_iter().map(|(file, mut dead)| {
                    dead.sort_unstable();
                    (file, Arc::new(dead))
                });
                let ends = Arc::new(sorted.collect::<HashMap<_, _>>());
                self.ends.lock().entry(table).or_insert(ends).clone()
            }
        };
        Ok(ends.get(&file).cloned().unwrap_or_default())
    }

    /// The keys of a row group.
    pub fn group_keys(&self, file: &DataFile, group: usize, key: &[Column]) -> Result<Arc<Keys>> {
        if let Some(keys) = self.keys.lock().get((file.record.id, group)) {
            return Ok(keys);
        }
        let keys = Arc::new(file.group_keys(group, key)?);
        self.keys.lock().put((file.record.id, group), keys.clone());
        Ok(keys)
    }

    /// Where the row of a key lies that no ends file has ended, if there is one.
    pub fn find_alive(
        &self,
        table: TableId,
        key_columns: &[Column],
        key: &[u8],
    ) -> Result<Option<(FileId, u32)>> {
        for record in self.data_files(table, self.version()) {
            if record.history || key < &record.min_key[..] || key > &record.max_key[..] {
                continue;
            }
            let file = self.open(record)?;
            for group in file.groups_with_key(key) {
                if !file.filter_allows(group, key)? {
                    continue;
                }
                let keys = self.group_keys(&file, group, key_columns)?;
                let Some(row) = find_key(&keys, key) else { continue };
                let position = file.group_start(group) + row as u32;
                let dead = self.dead(table, record.id)?;
                if dead.binary_search_by_key(&position, |(row, _)| *row).is_err() {
                    return Ok(Some((record.id, position)));
                }
            }
        }
        Ok(None)
    }

    /// The running sums of a table.
    pub fn sums(&self, table: TableId) -> SumsRecord {
        let found = self.manifest().sums.iter().find(|sums| sums.table == table).cloned();
        found.unwrap_or(SumsRecord { table, ..SumsRecord::default() })
    }

    /// The settled changes of a table.
    pub fn changes(&self, table: TableId) -> Arc<ChangesFile> {
        let open = || {
            let (count, id) = (self.sums(table).changes, self.manifest().database_id);
            Arc::new(ChangesFile::new(self.disk.clone(), self.layout.clone(), id, table, count))
        };
        self.changes.lock().entry(table).or_insert_with(open).clone()
    }

    /// The version that a commit with this idempotency id made, as a hash of it tells: the caller compares the id.
    pub fn version_of_id(&self, hash: &[u8; 16]) -> Result<Vec<Version>> {
        let loaded = self.ids.lock().clone();
        let entries = match loaded {
            Some(entries) => entries,
            None => {
                let mut entries = Vec::new();
                for record in &self.manifest().ids_files {
                    entries.extend(read_run(&*self.disk, &self.layout, record)?);
                }
                entries.sort_unstable();
                self.ids.lock().get_or_insert(Arc::new(entries)).clone()
            }
        };
        let first = entries.partition_point(|(other, _)| other < hash);
        Ok(entries[first..]
            .iter()
            .take_while(|(other, _)| other == hash)
            .map(|(_, version)| *version)
            .collect())
    }
}

/// The first row of a key in ordered keys.
pub fn find_key(keys: &Keys, key: &[u8]) -> Option<usize> {
    let (mut low, mut high) = (0, keys.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if keys.get(middle) < key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    (low < keys.len() && keys.get(low) == key).then_some(low)
}
