//! A manifest and its files, opened as they are needed, kept alive as long as anyone reads them.

use crate::counting::{CountingDisk, Counts};
use crate::error::{Error, ErrorKind, Result};
use crate::files::open_named;
use crate::gone::Gone;
use crate::history::changes::ChangesFile;
use crate::history::commit_log::CommitLog;
use crate::history::ids::{IdEntry, read_run};
use crate::layout::Layout;
use crate::manifest::{CopiesRecord, DataFileRecord, Leased, Manifest, SumsRecord};
use crate::open_files::OpenFiles;
use crate::store::bloom;
use crate::store::data_file::{DataFile, partition_point};
use crate::table_ends::TableEnds;
use asof_mvcc::{Catalog, Column, FileId, TableId, Version};
use asof_wal::DiskFile;
use asof_wal::planted::{Bug, planted};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
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
    open_files: Arc<OpenFiles>,
    /// For each table its data files: places in the manifest.
    files_of: HashMap<TableId, Vec<usize>>,
    named: HashSet<FileId>,
    gone: HashMap<TableId, Arc<Gone>>,
    ends: HashMap<TableId, Arc<TableEnds>>,
    ids: Mutex<Option<Arc<Vec<IdEntry>>>>,
    changes: Mutex<HashMap<TableId, Arc<ChangesFile>>>,
}

impl Generation {
    /// Takes over a lease.
    pub fn new(
        disk: Arc<CountingDisk>,
        layout: Layout,
        leased: Leased,
        open_files: Arc<OpenFiles>,
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
        let mut files_of: HashMap<TableId, Vec<usize>> = HashMap::new();
        for (place, record) in manifest.data_files.iter().enumerate() {
            files_of.entry(record.table).or_default().push(place);
        }
        let named: HashSet<FileId> = manifest.data_files.iter().map(|record| record.id).collect();
        let mut kept = named.clone();
        kept.extend(manifest.ends_files.iter().map(|record| record.id));
        kept.extend(manifest.copies.iter().map(|copies| copies.file.id));
        open_files.retain(&kept);
        let mut ends: HashMap<TableId, TableEnds> = HashMap::new();
        for record in &manifest.ends_files {
            let new = || TableEnds::new(disk.clone(), layout.clone(), open_files.clone());
            ends.entry(record.table).or_insert_with(new).push(record);
        }
        let mut gone = HashMap::new();
        for record in &manifest.gone {
            let ranges = Gone::new(record.ranges.clone());
            let ranges = ranges.ok_or_else(|| {
                let path = layout.manifest(manifest.number);
                Error::corrupt(format!(
                    "{} is damaged: versions of table {} that are gone do not ascend; run 'asof verify'",
                    path.display(),
                    record.table
                ))
            })?;
            gone.insert(record.table, Arc::new(ranges));
        }
        let ends = ends.into_iter().map(|(table, ends)| (table, Arc::new(ends))).collect();
        Ok(Generation {
            data_bytes: manifest.data_files.iter().map(|file| file.bytes).sum(),
            catalog: Arc::new(Catalog::new(tables)),
            commits,
            leased,
            disk,
            layout,
            open_files,
            files_of,
            named,
            gone,
            ends,
            ids: Mutex::default(),
            changes: Mutex::default(),
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.leased.manifest
    }

    /// The locked file that keeps the manifest; none on media without locks.
    pub fn lease(&self) -> Option<&Arc<dyn DiskFile>> {
        self.leased.lease.as_ref()
    }

    /// The version up to which everything reads without the log.
    pub fn version(&self) -> Version {
        self.manifest().version()
    }

    /// The counters of the disk.
    pub fn counts(&self) -> &Arc<Counts> {
        self.disk.counts()
    }

    /// What generations share.
    pub fn open_files(&self) -> &Arc<OpenFiles> {
        &self.open_files
    }

    /// The data files of a table that a version reads.
    pub fn data_files(&self, table: TableId, version: Version) -> impl Iterator<Item = &DataFileRecord> {
        let places = self.files_of.get(&table).into_iter().flatten();
        places
            .map(|place| &self.manifest().data_files[*place])
            .filter(move |file| file.valid_from <= version.0 && version.0 < file.valid_to)
    }

    /// The copies file of a table that has all row versions which began or ended in (after, up_to], if there is one.
    pub fn copies(&self, table: TableId, after: Version, up_to: Version) -> Option<&CopiesRecord> {
        let of_table = self.manifest().copies.iter().filter(|copies| copies.file.table == table);
        let of_table = of_table.filter(|_| self.open_files.reads_copies);
        of_table.rev().find(|copies| copies.after <= after.0 && up_to.0 <= copies.up_to())
    }

    /// The versions of a table that are gone; `None` where none is.
    pub fn gone(&self, table: TableId) -> Option<&Arc<Gone>> {
        self.gone.get(&table).filter(|gone| !gone.is_empty())
    }

    /// Bytes of all data files.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Whether the manifest names a data file.
    pub fn has_file(&self, file: FileId) -> bool {
        self.named.contains(&file)
    }

    /// Whether a data file that the manifest names is of a table and has so many rows.
    pub fn has_row(&self, table: TableId, file: FileId, row: u32) -> bool {
        let record = self.manifest().data_files.iter().find(|record| record.id == file);
        record.is_some_and(|record| record.table == table && u64::from(row) < record.rows)
    }

    /// Opens a data file, or gives it again.
    pub fn open(&self, record: &DataFileRecord) -> Result<Arc<DataFile>> {
        if let Some(file) = self.open_files.file(record.id) {
            return Ok(file);
        }
        let file = Arc::new(DataFile::open(&*self.disk, &self.layout, record, self.counts().clone())?);
        Ok(self.open_files.keep(file))
    }

    /// Opens what the first lookups in this generation need: the live files that are not open yet, and when their rows
    /// died.
    pub fn open_newest(&self) -> Result<()> {
        let version = self.version().0;
        let live = |record: &&DataFileRecord| {
            !record.history && record.valid_from <= version && version < record.valid_to
        };
        for record in self.manifest().data_files.iter().filter(live) {
            if self.open_files.file(record.id).is_none() {
                self.open(record)?;
            }
            self.end_of(record.table, record.id, 0)?;
        }
        Ok(())
    }

    /// Opens data files that are not open yet, the newest first and up to so many in all, with what is known of their row
    /// groups and when their rows died. Those of which that fails are left to who needs them; gives the first error.
    pub fn open_ahead(&self, files_max: usize) -> Result<()> {
        let mut failed = None;
        for record in self.manifest().data_files.iter().rev().take(files_max) {
            let opened = self.open(record).and_then(|file| {
                for group in 0..file.groups.len() {
                    file.details(group)?;
                    file.footer_of(group)?;
                }
                self.end_of(record.table, record.id, 0).map(drop)
            });
            failed = failed.or(opened.err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// When rows of a table's data files died, as far as ends files tell; `None` where the table has none.
    pub fn ends(&self, table: TableId) -> Option<&Arc<TableEnds>> {
        self.ends.get(&table)
    }

    /// All dead rows of a data file, as far as ends files tell.
    pub fn dead(&self, table: TableId, file: FileId) -> Result<Dead> {
        let ever = (Version::ZERO, Version::FOREVER);
        let dead = self.ends(table).map(|ends| ends.dead(file, &(0..1 << 32), ever));
        Ok(Arc::new(dead.transpose()?.unwrap_or_default()))
    }

    /// How many rows of a data file died, as far as ends files tell.
    pub fn dead_count(&self, table: TableId, file: FileId) -> Result<u64> {
        let ever = (Version::ZERO, Version::FOREVER);
        let count = self.ends(table).map(|ends| ends.count(file, &(0..1 << 32), ever));
        Ok(count.transpose()?.unwrap_or_default().most)
    }

    /// When a row of a data file died; `None` where no ends file tells.
    pub fn end_of(&self, table: TableId, file: FileId, row: u32) -> Result<Option<Version>> {
        self.ends(table).map_or(Ok(None), |ends| ends.end_of(file, row))
    }

    /// Whether the filter of a row group allows a key. The first time one block of it is read; who asks again gets all
    /// of it, to be kept.
    fn filter_allows(&self, file: &DataFile, group: usize, key: &[u8]) -> Result<bool> {
        if planted(Bug::KeyFilterDenies) && bloom::hash(key).is_multiple_of(4) {
            return Ok(false);
        }
        if file.groups[group].filter_bytes == 0 || !file.probed_before(group) {
            return file.filter_allows(group, key);
        }
        let filter = match self.open_files.filter(file.record.id, group) {
            Some(filter) => filter,
            None => {
                let filter = file.filter(group)?;
                self.open_files.keep_filter(file.record.id, group, filter.clone());
                filter
            }
        };
        Ok(bloom::allows(&filter, bloom::hash(key)))
    }

    /// Where in a row group the rows of a key lie, oldest first.
    pub fn rows_of_key(
        &self,
        file: &DataFile,
        group: usize,
        key_columns: &[Column],
        key: &[u8],
    ) -> Result<Range<u32>> {
        let within = file.rows_with_key(group, key)?;
        let page_rows = match file.groups[group].page_rows {
            0 => within.len().max(1) as u32,
            rows => rows,
        };
        // Where the page's keys are at hand, the filter would tell nothing new.
        let id = |start: u32| (file.record.id, group as u32, start);
        let at_hand = self.open_files.keys(id(within.start));
        if at_hand.is_none() && !self.filter_allows(file, group, key)? {
            return Ok(0..0);
        }
        let mut at_hand = at_hand.map(|keys| (within.start, keys));
        let mut found: Option<Range<u32>> = None;
        let mut start = within.start;
        while start < within.end {
            let page = start..start.saturating_add(page_rows).min(within.end);
            start = page.end;
            let known = at_hand.take().filter(|(start, _)| *start == page.start).map(|(_, keys)| keys);
            let keys = match known.or_else(|| self.open_files.keys(id(page.start))) {
                Some(keys) => keys,
                None => {
                    let keys = Arc::new(file.keys_within(group, page.clone(), key_columns)?);
                    self.open_files.keep_keys(id(page.start), keys.clone());
                    keys
                }
            };
            let first = partition_point(&keys, |other| other < key) as u32;
            let last = partition_point(&keys, |other| other <= key) as u32;
            if first < last {
                let begin = found.map_or(page.start + first, |found| found.start);
                found = Some(begin..page.start + last);
            }
        }
        Ok(found.unwrap_or(0..0))
    }

    /// Where the row of a key lies that no ends file has ended, if there is one. A file that cannot be read is passed over
    /// where `unless` says so.
    pub fn find_alive(
        &self,
        table: TableId,
        key_columns: &[Column],
        key: &[u8],
        unless: &dyn Fn(&DataFileRecord, Error) -> Result<()>,
    ) -> Result<Option<(FileId, u32)>> {
        // The newest files first: what changes often lies there.
        let places = self.files_of.get(&table).into_iter().flatten().rev();
        let version = self.version();
        for record in places.map(|place| &self.manifest().data_files[*place]) {
            let valid = record.valid_from <= version.0 && version.0 < record.valid_to;
            if !valid || record.history || key < &record.min_key[..] || key > &record.max_key[..] {
                continue;
            }
            let found = self.find_alive_in(record, key_columns, key);
            if let Some(row) = found.or_else(|error| unless(record, error).map(|()| None))? {
                return Ok(Some((record.id, row)));
            }
        }
        Ok(None)
    }

    fn find_alive_in(
        &self,
        record: &DataFileRecord,
        key_columns: &[Column],
        key: &[u8],
    ) -> Result<Option<u32>> {
        let file = self.open(record)?;
        for group in file.groups_with_key(key) {
            let rows = self.rows_of_key(&file, group, key_columns, key)?;
            for row in rows.rev() {
                let position = file.group_start(group) + row;
                if self.end_of(record.table, record.id, position)?.is_none() {
                    return Ok(Some(position));
                }
            }
        }
        Ok(None)
    }

    /// Where the row of a key lies in a file that has each key once.
    pub fn find_in_file(
        &self,
        record: &DataFileRecord,
        key_columns: &[Column],
        key: &[u8],
    ) -> Result<Option<u32>> {
        if key < &record.min_key[..] || key > &record.max_key[..] {
            return Ok(None);
        }
        let file = self.open(record)?;
        for group in file.groups_with_key(key) {
            if let Some(row) = self.rows_of_key(&file, group, key_columns, key)?.next() {
                return Ok(Some(file.group_start(group) + row));
            }
        }
        Ok(None)
    }

    /// Keeps a data file that no manifest names yet from being removed, as long as what is given lives; an error where it
    /// is gone.
    pub fn hold(&self, record: &DataFileRecord) -> Result<Option<Arc<dyn DiskFile>>> {
        let path = self.layout.data(record.table, record.id);
        let held =
            open_named(&*self.disk, &path).and_then(|file| match crate::numbers::hold(&*file, &path)? {
                true => Ok(file),
                false => Err(Error::corrupt(format!("{} is missing; run 'asof verify'", path.display()))),
            });
        match held {
            Err(error) if error.kind() == ErrorKind::Corrupt && self.open_files.is_lost(record.id) => {
                Ok(None)
            }
            held => held.map(Some),
        }
    }

    /// The running sums of a table.
    pub fn sums(&self, table: TableId) -> SumsRecord {
        let found = self.manifest().sums.iter().find(|sums| sums.table == table).cloned();
        found.unwrap_or(SumsRecord { table, ..SumsRecord::default() })
    }

    /// The variable bits of a table's columns, by id, as far as they are settled.
    pub fn variable_bits(&self, table: TableId) -> Vec<(u32, u64)> {
        let found = self.manifest().variable.iter().find(|variable| variable.table == table);
        found.map_or_else(Vec::new, |variable| variable.columns.clone())
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
