//! Ending a database at an earlier version: what came after it is forgotten for good.
//!
//! Invariants. Until the manifest of the earlier version has its name, the database is what it was; from then on it ends
//! there, under a new lineage id, and every version up to there answers as before. A second manifest says the same before
//! anything is written behind what the first one settles: no manifest of the old lineage is there then to go back to.
//! Nobody else may have the database open: the log's turn is held for good, and every manifest is locked exclusively.

use crate::checkpoint::{install, lock, table_up_to, while_locked};
use crate::codec::records::{TableRecord, TagRecord};
use crate::compact::keep::Keep;
use crate::compact::policy::Parameters;
use crate::compact::rewrite::Rewrite;
use crate::compact::run::{measure, visible_rows};
use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{append_settled, io_error};
use crate::gone::check_readable;
use crate::history::changes::ENTRY_BYTES as CHANGE_BYTES;
use crate::history::commit_log::ENTRY_BYTES as COMMIT_BYTES;
use crate::history::ids::read_run;
use crate::layout::{HISTORY_DIR, changes_table};
use crate::manifest::{
    self, DataFileRecord, EndsFileRecord, FileMeasures, GoneRecord, Manifest, SumsRecord, VariableRecord,
};
use crate::state::State;
use crate::store::ends::{self, Ends};
use crate::store::output::Output;
use asof_mvcc::{FileId, Table, TableId, Version};
use asof_wal::{Disk, DiskFile, LockKind, OpenMode};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Database {
    /// Ends the database at a version: all that came after it is forgotten for good, with its tags and idempotency ids,
    /// and the database has a new lineage id. Every version up to there answers as it did; the next commit makes the
    /// one after it. Nobody else may have the database open, in this process or in another. Gives the database opened
    /// anew; where this fails, the database is what it was, or ends at the version, whenever it is opened next.
    pub fn cut_after(self, version: Version) -> Result<Database> {
        let (path, options) = (self.path().to_path_buf(), self.options().clone());
        self.snapshot(version)?;
        self.checkpoint()?;
        cut(self.into_inner(), version)?;
        let database = Database::open(path, options)?;
        // Manifests of the old lineage go, with what they alone name.
        let wait = database.options().wait;
        while_locked(&database, wait, |_| Ok(()))?;
        while_locked(&database, wait, |inner| forget_bytes_behind(inner))?;
        Ok(database)
    }
}

/// The error where somebody else has the database open.
fn in_use(inner: &Inner, who: &str) -> Error {
    let database = inner.layout.root().display();
    let message = format!("{database} cannot be cut while it is open elsewhere ({who}); end that first");
    Error::new(ErrorKind::Locked, message)
}

fn cut(inner: Arc<Inner>, version: Version) -> Result<()> {
    let _lock = lock(&inner, inner.options.wait)?.ok_or_else(|| in_use(&inner, "a checkpoint"))?;
    inner.log()?.hold_exclusively(inner.options.wait)?;
    inner.follow()?;
    let state = inner.state();
    let alone = Arc::strong_count(&inner) == 1 && Arc::strong_count(&state.generation) == 1;
    // The state is held by its owner and here.
    if !alone || Arc::strong_count(&state) > 2 {
        return Err(in_use(&inner, "a handle or snapshot of this process"));
    }
    let _leases = lock_manifests(&inner, &state)?;
    if state.published() > state.generation.version() {
        return Err(in_use(&inner, "a process that has just committed"));
    }
    let manifest = manifest_at(&inner, &state, version)?;
    manifest.write(&*inner.disk, &inner.layout)?;
    Manifest { number: manifest.number + 1, ..manifest }.write(&*inner.disk, &inner.layout)
}

/// Locks every manifest against everyone: nobody reads by any of them.
fn lock_manifests(inner: &Inner, state: &State) -> Result<Vec<Arc<dyn DiskFile>>> {
    let mut locks = Vec::new();
    let numbers = manifest::list(&*inner.disk, &inner.layout)?;
    let newest = state.generation.manifest().number;
    if numbers.first() != Some(&newest) {
        return Err(in_use(inner, "a process that has just made a checkpoint"));
    }
    for number in numbers {
        let path = inner.layout.manifest(number);
        let fail = |error| io_error("lock", &path, error);
        let own = state.generation.lease().filter(|_| number == newest);
        let file = match own {
            Some(lease) => lease.clone(),
            None => inner.disk.open(&path, OpenMode::Read).map_err(fail)?,
        };
        if !file.try_lock(LockKind::Exclusive).map_err(fail)? {
            return Err(in_use(inner, "a process that reads it"));
        }
        locks.push(file);
    }
    Ok(locks)
}

/// Writes what a manifest that ends at a version needs beside what is there; gives that manifest. Nothing is installed.
fn manifest_at(inner: &Inner, state: &State, version: Version) -> Result<Manifest> {
    let generation = &state.generation;
    let old = generation.manifest();
    let mut output = Output::new(inner, old)?;
    let catalog = state.catalog();
    let (mut tables, mut sums, mut variable) = (Vec::new(), Vec::new(), Vec::new());
    let mut files = Files::default();
    for table in catalog.all() {
        let Some(known) = table_up_to(table, version) else { continue };
        if table.exists_at(version) {
            check_readable(generation, table, version)?;
        }
        tables.push(TableRecord::of(&known));
        let (of_table, bits) = sums_at(state, table, version)?;
        sums.push(of_table);
        variable.extend(bits);
        files.cut(inner, state, &known, version, &mut output)?;
    }
    let ids_files = if old.version == version.0 {
        old.ids_files.clone()
    } else {
        let mut entries = Vec::new();
        for run in &old.ids_files {
            entries.extend(read_run(&*inner.disk, &inner.layout, run)?);
        }
        entries.retain(|(_, made)| *made <= version);
        output.ids(&[], entries)?
    };
    output.sync_dirs()?;
    let (chain_digest, commit_log_bytes) = match version {
        _ if version == generation.version() => (old.chain_digest, old.commit_log_bytes),
        Version::ZERO => ([0; 32], 0),
        _ => (generation.commits.header(version)?.chain_digest, generation.commits.end_of(version)?),
    };
    let known: HashSet<TableId> = sums.iter().map(|sums| sums.table).collect();
    let tags = old_tags(state, version);
    let settings = state.memory.read().settings.clone().into_iter().collect();
    let gone = old.gone.iter().filter(|gone| known.contains(&gone.table)).map(|gone| GoneRecord {
        table: gone.table,
        ranges: gone.ranges.iter().copied().filter(|(from, _)| *from <= version.0).collect(),
    });
    let of_known = old.copies.iter().filter(|copies| known.contains(&copies.file.table));
    let copies = of_known.filter(|copies| copies.up_to() <= version.0);
    Ok(Manifest {
        lineage_id: uuid::Builder::from_random_bytes(inner.options.clock.random()).into_uuid().into_bytes(),
        number: output.manifest_number,
        version: version.0,
        time: state.time(version)?.0,
        chain_digest,
        // The turn is held for good: nothing follows, and what precedes is settled or forgotten.
        log_start: inner.log()?.durable()?.into(),
        next_file_id: output.next_file_id,
        commit_log_bytes,
        tables,
        sums,
        data_files: files.kept.into_iter().chain(output.data_files).collect(),
        measures: files.measures.into_iter().chain(output.measures).collect(),
        ends_files: files.ends.into_iter().chain(output.ends_files).collect(),
        copies: copies.cloned().collect(),
        ids_files,
        tags,
        settings,
        variable,
        gone: gone.filter(|gone| !gone.ranges.is_empty()).collect(),
        ..old.clone()
    })
}

/// Tags of versions that stay.
fn old_tags(state: &State, version: Version) -> Vec<TagRecord> {
    let memory = state.memory.read();
    let tags = memory.tags.values().filter(|tag| tag.version <= version);
    tags.map(TagRecord::of).collect()
}

/// The running sums of a table at a version. Those of its columns are known only where nothing changed since; else they
/// are counted when they are needed.
fn sums_at(state: &State, table: &Table, version: Version) -> Result<(SumsRecord, Option<VariableRecord>)> {
    let changes = state.generation.changes(table.id);
    let newest = state.generation.sums(table.id);
    let count = changes.count_up_to(version)?;
    if count == newest.changes {
        let columns = state.generation.variable_bits(table.id);
        return Ok((newest, (!columns.is_empty()).then_some(VariableRecord { table: table.id, columns })));
    }
    let rows = match count {
        0 => 0,
        count => changes.entry(count - 1)?.rows,
    };
    Ok((SumsRecord { changes: count, rows, columns: Vec::new(), ..newest }, None))
}

/// The files that stay, of all tables.
#[derive(Default)]
struct Files {
    kept: Vec<DataFileRecord>,
    measures: Vec<FileMeasures>,
    ends: Vec<EndsFileRecord>,
}

impl Files {
    /// The files of a table that has been so up to a version: those with rows from after it, or that died after it, are
    /// written anew without.
    fn cut(
        &mut self,
        inner: &Inner,
        state: &State,
        table: &Table,
        version: Version,
        output: &mut Output<'_>,
    ) -> Result<()> {
        let generation = &state.generation;
        let old = generation.manifest();
        let of_table = old.data_files.iter().filter(|file| file.table == table.id);
        let begun = of_table.filter(|file| file.min_begin <= version.0);
        let (records, kept): (Vec<&DataFileRecord>, Vec<&DataFileRecord>) =
            begun.partition(|file| match file.history {
                true => file.max_end > version.0,
                false => file.max_begin > version.0,
            });
        if !records.is_empty() {
            let visible = visible_rows(generation, table.id)?;
            let before = output.data_files.len();
            let rewrite = Rewrite {
                generation,
                table,
                records,
                keep: Keep::UpTo(version),
                parameters: &Parameters::AUTOMATIC,
                visible: &visible,
                memory_bytes: inner.options.compaction_bytes(),
            };
            let rows = rewrite.write(output, &mut |_| true)?;
            let written: u64 = output.data_files[before..].iter().map(|file| file.rows).sum();
            if rows != written {
                return Err(Error::corrupt(format!(
                    "of table {} {rows} row versions are of version {version} or before, and {written} were written; \
                     nothing has changed; run 'asof verify'",
                    table.name
                )));
            }
        }
        let died = self.ends(inner, old, table, version, &kept, output)?;
        for file in kept {
            let known = old.measures.iter().find(|measures| measures.file == file.id).copied();
            let measures = match known {
                Some(measures) => measures,
                None => measure(generation, table.id, file.id)?,
            };
            let dead = died.as_ref().map_or(measures.dead, |died| died.get(&file.id).copied().unwrap_or(0));
            self.measures.push(FileMeasures { dead, ..measures });
            self.kept.push(file.clone());
        }
        Ok(())
    }

    /// The ends files of a table: as they are, or written anew where they tell of deaths after the version. Gives how many
    /// rows of each file have died then.
    fn ends(
        &mut self,
        inner: &Inner,
        old: &Manifest,
        table: &Table,
        version: Version,
        kept: &[&DataFileRecord],
        output: &mut Output<'_>,
    ) -> Result<Option<HashMap<FileId, u64>>> {
        let of_table = || old.ends_files.iter().filter(|file| file.table == table.id);
        if of_table().all(|file| file.max_end <= version.0) {
            self.ends.extend(of_table().cloned());
            return Ok(None);
        }
        let live: HashSet<FileId> = kept.iter().map(|file| file.id).collect();
        let mut ends = Ends::new();
        for record in of_table() {
            for (file, mut dead) in ends::read(&*inner.disk, &inner.layout, record)? {
                dead.retain(|(_, end)| *end <= version);
                if live.contains(&file) && !dead.is_empty() {
                    ends.entry(file).or_default().extend(dead);
                }
            }
        }
        let died = ends.iter().map(|(file, dead)| (*file, dead.len() as u64)).collect();
        output.ends(table.id, ends)?;
        Ok(Some(died))
    }
}

/// Where the manifest before the newest is of another lineage, a crash has interrupted a cut: one more manifest lets it
/// go. What it settles would be overwritten otherwise, while it is there to go back to.
pub(crate) fn leave_old_lineage(inner: &Inner) -> Result<()> {
    // Nobody cuts a database that is open: once left, it stays so.
    if inner.has_left_old_lineage.load(Ordering::Relaxed) {
        return Ok(());
    }
    let state = inner.state();
    let newest = state.generation.manifest();
    let numbers = manifest::list(&*inner.disk, &inner.layout)?;
    let last = numbers.first().copied().unwrap_or(0).max(newest.number);
    let before = numbers.into_iter().find(|number| *number < newest.number);
    match before.map(|before| Manifest::read(&*inner.disk, &inner.layout, before)) {
        None => {}
        Some(Ok(manifest)) if manifest.lineage_id == newest.lineage_id => {}
        // Nobody goes back to what cannot be read.
        Some(Err(error)) if error.kind() == ErrorKind::Corrupt => {}
        Some(Err(error)) => return Err(error),
        Some(Ok(_)) => {
            let manifest = Manifest { number: last + 1, ..newest.clone() };
            drop(state);
            install(inner, &manifest)?;
        }
    }
    inner.has_left_old_lineage.store(true, Ordering::Relaxed);
    Ok(())
}

/// Cuts off what lies behind the settled bytes of commit log and changes files; of changes files of tables that are
/// forgotten nothing stays but an empty file. Nothing reads them; they would be overwritten in time.
fn forget_bytes_behind(inner: &Inner) -> Result<()> {
    let disk: &dyn Disk = &*inner.disk;
    let state = inner.state();
    let manifest = state.generation.manifest();
    for number in manifest::list(disk, &inner.layout)? {
        let same =
            |other: Manifest| other.lineage_id == manifest.lineage_id && other.version == manifest.version;
        if !Manifest::read(disk, &inner.layout, number).is_ok_and(same) {
            return Ok(());
        }
    }
    let known: HashMap<TableId, u64> = manifest.sums.iter().map(|sums| (sums.table, sums.changes)).collect();
    let dir = inner.layout.join(HISTORY_DIR);
    for entry in disk.list(&dir).map_err(|error| io_error("list", &dir, error))? {
        let path = dir.join(&entry.name);
        let settled = match changes_table(&entry.name) {
            _ if path == inner.layout.commits() => manifest.commit_log_bytes,
            _ if path == inner.layout.commit_index() => manifest.version * COMMIT_BYTES as u64,
            Some(table) => known.get(&table).copied().unwrap_or(0) * CHANGE_BYTES as u64,
            None => continue,
        };
        if entry.len > settled {
            append_settled(disk, &path, settled, &[])?;
        }
    }
    Ok(())
}
