//! Looking at a database as a whole: sizes, leases, the commit log as a file, and `verify`.

use crate::api::{CommitInfo, DataFileInfo, Finding, Info, LeaseInfo, VerifyReport};
use crate::codec::records::{CommitPayload, kind};
use crate::compact::run::debt_bytes;
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::history::changes::ChangeEntry;
use crate::history::ids::read_run;
use crate::json::{commits_schema, commits_to_batch};
use crate::layout::{CLASSES, DATA_DIR, DIRS, LOG_DIR, Layout, class_of, manifest_number};
use crate::manifest::{self, DataFileRecord, Leased, Manifest};
use crate::salvage::is_aside;
use crate::scan::{Life, row_versions};
use crate::store::data_file::DataFile;
use crate::store::ends;
use crate::sums::sizes_at;
use crate::text::cell_bytes;
use crate::text::hex;
use crate::variable_bits::variable_bits;
use crate::view::{Format, View, ViewKey, render};
use arrow::array::Array;
use asof_mvcc::{FileId, Keys, Version};
use asof_wal::{Disk, Position};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Commits rendered at a time.
const LOG_ROWS: u64 = 4_096;
/// Damaged commits that verification tells of one by one.
const COMMITS_TOLD_MAX: u64 = 20;

impl Database {
    /// The commit log as a file: one row a commit up to the newest version, oldest first.
    pub fn log_view(&self, format: Format) -> Result<Arc<View>> {
        let (latest, _) = self.readable()?;
        let schema = commits_schema();
        let key = ViewKey {
            lineage: self.inner.lineage(),
            table: 0,
            changed: latest,
            schema: crate::view::schema_digest(&schema),
            format,
            layout: 0,
        };
        let database = self.clone();
        let render = Box::new(move |out: &mut dyn std::io::Write| {
            let schema = commits_schema();
            let batches = (0..latest.0).step_by(LOG_ROWS as usize).map(|first| {
                let versions = first + 1..=(first + LOG_ROWS).min(latest.0);
                let infos: Vec<CommitInfo> =
                    versions.map(|version| database.commit_info(Version(version))).collect::<Result<_>>()?;
                commits_to_batch(&infos)
            });
            render(format, &schema, batches, out)
        });
        View::new(self.inner.views().clone(), key, None, render).map(Arc::new)
    }

    /// The data files that the newest versions, and those before them, are read from.
    pub fn data_files(&self) -> Result<Vec<DataFileInfo>> {
        self.refresh()?;
        let state = self.inner.state();
        let catalog = state.catalog();
        let info = |record: &DataFileRecord| {
            let path = self.inner.layout.data(record.table, record.id);
            let path = path.strip_prefix(self.inner.layout.root()).unwrap_or(&path);
            let end = |version: u64| Some(Version(version)).filter(|version| *version != Version::FOREVER);
            DataFileInfo {
                path: path.display().to_string(),
                table: catalog.table(record.table).map(|table| table.name.clone()).unwrap_or_default(),
                rows: record.rows,
                bytes: record.bytes,
                is_history: record.history,
                valid_from: Version(record.valid_from),
                valid_to: end(record.valid_to),
                first_begin: Version(record.min_begin),
                last_begin: Version(record.max_begin),
                first_end: end(record.min_end),
                last_end: end(record.max_end),
            }
        };
        let mut files: Vec<DataFileInfo> = state.generation.manifest().data_files.iter().map(info).collect();
        files.extend(state.memory.read().loaded.values().flatten().map(|loaded| info(&loaded.record)));
        Ok(files)
    }

    /// Sizes, settings, leases.
    pub fn info(&self) -> Result<Info> {
        let (version, damage) = self.readable()?;
        let state = self.inner.state();
        let manifest = state.generation.manifest();
        let mut files = HashMap::new();
        for dir in DIRS.iter().chain([&LOG_DIR]) {
            let dir = self.inner.layout.join(dir);
            for entry in self.inner.disk.list(&dir).unwrap_or_default() {
                let (count, bytes) = files.entry(CLASSES[class_of(&dir.join(&entry.name))]).or_insert((0, 0));
                *count += 1;
                *bytes += entry.len;
            }
        }
        let segments = self.inner.log()?.segments();
        let tags = match damage {
            // Tags may have been made and ended behind it.
            Some(_) => state.memory.read().tags.len() as u64,
            None => self.tags()?.len() as u64,
        };
        Ok(Info {
            database_id: hex(&self.id()),
            version,
            checkpoint_version: manifest.version(),
            manifest: manifest.number,
            tables: state.catalog().tables_at(version).len() as u64,
            files: files.into_iter().collect(),
            log_used_bytes: segments.iter().map(|segment| segment.used_bytes).sum(),
            log_allocated_bytes: segments.iter().map(|segment| segment.allocated_bytes).sum(),
            row_versions: self.row_versions(None),
            tags,
            compaction_debt_bytes: debt_bytes(&state)?,
            memory_bytes: state.unsettled_bytes(),
            upkeep_error: self.inner.signals.last_error(),
            damage: damage.map(|error| error.to_string()),
            leases: leases(&*self.inner.disk, &self.inner.layout),
        })
    }

    /// Row versions in data files: of every table that has or had a name, or of all. Reads nothing.
    pub fn row_versions(&self, table: Option<&str>) -> u64 {
        let state = self.inner.state();
        let catalog = state.catalog();
        let named = |id| table.is_none_or(|name| catalog.table(id).is_some_and(|table| table.name == name));
        let memory = state.memory.read();
        let loaded = memory.loaded.values().flatten().map(|file| &*file.record);
        let files = state.generation.manifest().data_files.iter().chain(loaded);
        files.filter(|file| named(file.table)).map(|file| file.rows).sum()
    }

    /// Checks every checksum and invariant.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(None)
    }

    /// Checks manifests, the log and the commit log whole, and of the row groups of data files so many percent, picked
    /// at random anew each time, and at least one of each file: what is not picked is not read.
    pub fn verify_sample(&self, percent: f64) -> Result<VerifyReport> {
        self.verify_with(Some(percent.clamp(0.0, 100.0)))
    }

    fn verify_with(&self, sampled_percent: Option<f64>) -> Result<VerifyReport> {
        let mut verifier = Verifier {
            database: self,
            report: VerifyReport { sampled_percent, ..VerifyReport::default() },
            manifests: Vec::new(),
            checked: HashSet::new(),
            random: self.inner.options.clock.random(),
        };
        verifier.run();
        Ok(verifier.report)
    }
}

/// Who holds a lease, as far as the kernel's table of locks tells (Linux, `/proc/locks`): other processes only.
pub(crate) fn leases(disk: &dyn Disk, layout: &Layout) -> Vec<LeaseInfo> {
    use std::os::unix::fs::MetadataExt;
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut leases = Vec::new();
    for number in manifest::list(disk, layout).unwrap_or_default() {
        let Ok(metadata) = std::fs::metadata(layout.manifest(number)) else { continue };
        let inode = format!(":{}", metadata.ino());
        for line in locks.lines() {
            // "1: FLOCK  ADVISORY  READ  1234 fd:00:5678 0 EOF"
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(1) == Some(&"FLOCK") && fields.get(5).is_some_and(|file| file.ends_with(&inode)) {
                let pid = fields.get(4).and_then(|pid| pid.parse().ok());
                if pid != Some(std::process::id()) {
                    let age_seconds = pid.and_then(process_age_seconds);
                    leases.push(LeaseInfo { manifest: number, pid, age_seconds });
                }
            }
        }
    }
    leases
}

/// Seconds since a process was started (Linux, `/proc`).
fn process_age_seconds(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, and may hold anything; the start in ticks is the 22nd.
    let ticks: u64 = status.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: the call reads a number of the system's.
    let ticks_per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let running = std::fs::read_to_string("/proc/uptime").ok()?;
    let running: f64 = running.split_whitespace().next()?.parse().ok()?;
    Some((running as u64).saturating_sub(ticks / ticks_per_second.max(1)))
}

struct Verifier<'a> {
    database: &'a Database,
    report: VerifyReport,
    /// Every whole manifest: nothing that one names goes while it is checked.
    manifests: Vec<Leased>,
    /// Data, ends and ids files checked: two manifests name most of them.
    checked: HashSet<FileId>,
    /// What picks a sample.
    random: [u8; 16],
}

impl Verifier<'_> {
    /// Notes damage: of the file that the message names, or else of `path`.
    fn found(&mut self, path: &Path, error: Error) {
        let message = match error.kind() {
            ErrorKind::Corrupt => error.to_string(),
            _ => format!("not checked: {error}"),
        };
        let root = format!("{}/", self.database.path().display());
        let named = message.split_once(&root).and_then(|(_, rest)| rest.split([' ', ':']).next());
        let file = match named {
            Some(file) => file.to_string(),
            None => path.strip_prefix(self.database.path()).unwrap_or(path).display().to_string(),
        };
        // Messages name "at offset N" where they know it.
        let offset = message.split_once("at offset ").and_then(|(_, rest)| {
            rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
        });
        let finding = Finding { file, offset, message };
        if !self.report.findings.contains(&finding) {
            self.report.findings.push(finding);
        }
    }

    fn check(&mut self, path: &Path, result: Result<()>) {
        if let Err(error) = result {
            self.found(path, error);
        }
    }

    fn run(&mut self) {
        let inner = self.database.inner.clone();
        let layout = inner.layout.clone();
        let numbers = manifest::list(&*inner.disk, &layout).unwrap_or_default();
        for number in &numbers {
            let path = layout.manifest(*number);
            match manifest::lease(&*inner.disk, &layout, *number) {
                Ok(Some(leased)) => {
                    let checked = self.manifest(&leased.manifest, &path);
                    self.manifests.push(leased);
                    self.check(&path, checked);
                }
                // It was removed meanwhile.
                Ok(None) => {}
                Err(error) => self.found(&path, error),
            }
        }
        // What the log's tail names, as far as it can be read: damage of the log itself is found below.
        let _ = self.database.refresh();
        let state = inner.state();
        let loaded: Vec<Arc<DataFileRecord>> =
            state.memory.read().loaded.values().flatten().map(|file| file.record.clone()).collect();
        loaded.iter().for_each(|record| self.named_data_file(record));
        let log_dir = layout.join(LOG_DIR);
        let checked = self.log();
        self.check(&log_dir, checked);
        self.commits(&layout.commits());
        for name in inner.disk.list(&layout.join(crate::layout::MANIFEST_DIR)).unwrap_or_default() {
            if manifest_number(&name.name).is_none() && !name.name.ends_with(".tmp") {
                let path = layout.join(crate::layout::MANIFEST_DIR).join(&name.name);
                self.found(&path, Error::corrupt(format!("{} is no file of a database", path.display())));
            }
        }
        self.aside();
        if self.report.sampled_percent.is_none() {
            let checked = self.tables();
            self.check(layout.root(), checked);
        }
    }

    /// What a salvage put aside: no damage, but nothing that a database has by itself.
    fn aside(&mut self) {
        let inner = &self.database.inner;
        for dir in [LOG_DIR, DATA_DIR] {
            let entries = inner.disk.list(&inner.layout.join(dir)).unwrap_or_default();
            let aside = entries.into_iter().filter(|entry| is_aside(&entry.name));
            self.report.aside.extend(aside.map(|entry| (format!("{dir}/{}", entry.name), entry.len)));
        }
        self.report.aside.sort();
    }

    /// Whether a row group is looked at. The first of a sample's file always is.
    fn is_picked(&self, file: FileId, group: usize, is_first: bool) -> bool {
        let Some(percent) = self.report.sampled_percent else { return true };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.random).update(&file.to_le_bytes()).update(&(group as u64).to_le_bytes());
        let number = u32::from_le_bytes(hasher.finalize().as_bytes()[..4].try_into().expect("four bytes"));
        is_first || f64::from(number) < percent / 100.0 * f64::from(u32::MAX)
    }

    /// A manifest, and every file that it names.
    fn manifest(&mut self, manifest: &Manifest, path: &Path) -> Result<()> {
        let inner = self.database.inner.clone();
        self.count(inner.disk.metadata(path).map_err(|error| io_error("read", path, error))?.len);
        manifest.data_files.iter().for_each(|record| self.named_data_file(record));
        manifest.copies.iter().for_each(|copies| self.named_data_file(&copies.file));
        for record in &manifest.ends_files {
            if !self.checked.insert(record.id) {
                continue;
            }
            let file = inner.layout.ends(record.table, record.id);
            let checked = ends::read(&*inner.disk, &inner.layout, record).map(|_| ());
            self.count(record.bytes);
            self.check(&file, checked);
        }
        for record in &manifest.ids_files {
            if !self.checked.insert(record.id) {
                continue;
            }
            let file = inner.layout.ids(record.id);
            let checked = read_run(&*inner.disk, &inner.layout, record).map(|_| ());
            self.count(record.bytes);
            self.check(&file, checked);
        }
        for record in &manifest.tables {
            record.to_table().map_err(|error| error.at(path.display()))?;
        }
        Ok(())
    }

    fn named_data_file(&mut self, record: &DataFileRecord) {
        if self.checked.insert(record.id) {
            let file = self.database.inner.layout.data(record.table, record.id);
            let checked = self.data_file(record);
            self.count(record.bytes);
            self.check(&file, checked);
        }
    }

    fn count(&mut self, bytes: u64) {
        self.report.files += 1;
        self.report.bytes += bytes;
    }

    /// Every block, page and row of a data file: checksums, order of keys, begins and ends within what is claimed.
    fn data_file(&mut self, record: &DataFileRecord) -> Result<()> {
        let inner = self.database.inner.clone();
        let state = inner.state();
        let path = inner.layout.data(record.table, record.id);
        let counts = inner.disk.counts().clone();
        let file = Arc::new(DataFile::open(&*inner.disk, &inner.layout, record, counts)?);
        let picks_all = self.report.sampled_percent.is_none();
        if picks_all {
            file.verify_blocks()?;
        }
        let first = self.random[0] as usize % file.groups.len().max(1);
        let catalog = state.catalog();
        let table = catalog.table(record.table);
        let table =
            table.ok_or_else(|| Error::corrupt(format!("{} is of an unknown table", path.display())))?;
        let wanted = crate::scan::wanted(table, &[]);
        let mut rows = 0;
        for run in file.runs() {
            let mut last: Option<(Vec<u8>, Version)> = None;
            for group in run {
                if !self.is_picked(record.id, group, group == first) {
                    continue;
                }
                let extent = &file.groups[group];
                let filter = file.filter(group)?;
                let mut of_group = 0;
                let all = vec![(group, None)];
                for chunk in file.scan(wanted.clone(), all, Arc::default(), Arc::new(|_, _| true)) {
                    let chunk = chunk?;
                    for row in 0..chunk.len() {
                        let this = (chunk.keys.get(row).to_vec(), chunk.begins[row]);
                        let (begin, end) = (chunk.begins[row], chunk.ends[row]);
                        let wrong = |what: String| {
                            Error::corrupt(format!("{}: row {} {what}", path.display(), rows + of_group))
                        };
                        if last.as_ref().is_some_and(|last| *last >= this) {
                            return Err(wrong("is out of order".to_string()));
                        }
                        let begins =
                            extent.min_begin.max(record.min_begin)..=extent.max_begin.min(record.max_begin);
                        let ends = extent.min_end..=extent.max_end;
                        if begin >= end || !begins.contains(&begin.0) || !ends.contains(&end.0) {
                            return Err(wrong(format!("lives from {begin} to {end}, which cannot be")));
                        }
                        let life = (&this.0[..], begin.0, end.0);
                        if let Some(what) = file.misplaced(group, &filter, of_group as u32, life)? {
                            return Err(wrong(what.to_string()));
                        }
                        last = Some(this);
                        of_group += 1;
                    }
                }
                rows += of_group;
            }
        }
        if picks_all && rows != record.rows {
            return Err(Error::corrupt(format!(
                "{} has {rows} rows, expected {}",
                path.display(),
                record.rows
            )));
        }
        self.report.rows += rows;
        Ok(())
    }

    /// Every record of the log that a manifest may still need.
    fn log(&mut self) -> Result<()> {
        let inner = &self.database.inner;
        let starts = self.manifests.iter().map(|leased| Position::from(leased.manifest.log_start));
        let from = starts.min_by_key(|start| start.sequence);
        let first = self.manifests.iter().min_by_key(|leased| leased.manifest.version);
        let mut chain = first.map(|leased| leased.manifest.chain_digest);
        let from = from.unwrap_or_else(|| inner.state().generation.manifest().log_start.into());
        let mut checkpoint = 0;
        for record in inner.log()?.read_from(from)? {
            let record = record?;
            match record.kind {
                kind::COMMIT => {
                    let header = CommitPayload::decode(&record.payload)?.header;
                    if chain.is_some_and(|chain| header.chain_after(&chain) != header.chain_digest) {
                        return Err(Error::corrupt(format!(
                            "the chain of commits breaks at version {} in the log",
                            header.version
                        )));
                    }
                    chain = Some(header.chain_digest);
                }
                kind::CHECKPOINT => {
                    let number = record.payload.as_slice().try_into().map(u64::from_le_bytes);
                    checkpoint = checkpoint.max(number.unwrap_or(0));
                }
                _ => {}
            }
            self.report.records += 1;
            self.report.bytes += record.payload.len() as u64;
        }
        let numbers = manifest::list(&*inner.disk, &inner.layout)?;
        let newest = numbers.first().copied().unwrap_or(0);
        // The newest two are always there, but before the first checkpoint.
        let expected = if checkpoint > newest { checkpoint } else { newest.saturating_sub(1) };
        if expected > 0 && !inner.disk.is_selection() && !numbers.contains(&expected) {
            let path = inner.layout.manifest(expected);
            let error = Error::corrupt(format!("{} is missing: it was made and is kept", path.display()));
            self.found(&path, error);
        }
        self.database.inner.ensure_tail()
    }

    /// The commit log: every header, times that increase, the chain of digests. Goes on behind damage, some of which is
    /// told of.
    fn commits(&mut self, place: &Path) {
        let state = self.database.inner.state();
        let (mut chain, mut last) = (Some([0; 32]), asof_mvcc::CommitTime::MIN);
        let mut damaged = 0;
        for version in (1..=state.published().0).map(Version) {
            let checked = state.header(version).and_then(|header| {
                let time = asof_mvcc::CommitTime(header.time);
                if chain.is_some_and(|chain| header.chain_after(&chain) != header.chain_digest) {
                    return Err(Error::corrupt(format!("the chain of commits breaks at version {version}")));
                }
                if time <= last || state.time(version)? != time {
                    return Err(Error::corrupt(format!(
                        "the commit time of version {version} is not later than the one before"
                    )));
                }
                Ok((header.chain_digest, time))
            });
            match checked {
                Ok((digest, time)) => {
                    (chain, last) = (Some(digest), time);
                    self.report.versions += 1;
                }
                Err(error) => {
                    chain = None;
                    damaged += 1;
                    if damaged <= COMMITS_TOLD_MAX {
                        self.found(place, error);
                    }
                }
            }
        }
    }

    /// For each table: one row a key at the newest version, and sums that agree with the rows.
    fn tables(&mut self) -> Result<()> {
        let state = self.database.inner.state();
        let catalog = state.catalog();
        let version = state.published();
        for table in catalog.all() {
            let place = self.database.inner.layout.changes(table.id);
            let checked = self.changes(&state, table);
            let whole = checked.is_ok();
            self.check(&place, checked);
            if whole && table.exists_at(version) {
                let checked = self.table(&state, table, version);
                self.check(&place, checked);
            }
        }
        Ok(())
    }

    /// The settled sums of a table.
    fn changes(&mut self, state: &crate::state::State, table: &asof_mvcc::Table) -> Result<()> {
        let changes = state.generation.changes(table.id);
        let mut before = Version::ZERO;
        for number in 0..changes.count() {
            let entry = changes.entry(number)?;
            if entry.version <= before {
                return Err(Error::corrupt(format!("changes of table {} are out of order", table.name)));
            }
            before = entry.version;
        }
        Ok(())
    }

    fn table(
        &mut self,
        state: &crate::state::State,
        table: &asof_mvcc::Table,
        version: Version,
    ) -> Result<()> {
        let schema = table.schema_at(version);
        let (mut rows, mut csv, mut json, mut bits) = (0, 0, 0, 0);
        let mut last = Keys::default();
        for chunk in row_versions(state, table, &schema.columns, Life::VisibleAt(version))? {
            let chunk = chunk?;
            for row in 0..chunk.len() {
                let key = chunk.keys.get(row);
                if last.len() == 1 && last.get(0) >= key {
                    return Err(Error::corrupt(format!(
                        "table {} shows a key twice at version {version}",
                        table.name
                    )));
                }
                last = Keys::default();
                last.push(key);
            }
            rows += chunk.len() as u64;
            for (index, column) in schema.columns.iter().enumerate() {
                let nulls = chunk.rows.column(index).null_count();
                if nulls > 0 && !column.nullable {
                    return Err(Error::corrupt(format!(
                        "table {} has {nulls} nulls in column '{}', which is not null, at version {version}",
                        table.name, column.name
                    )));
                }
                let (c, j) = cell_bytes(column, chunk.rows.column(index), schema.columns.len() == 1);
                csv += c;
                json += j;
                bits += variable_bits(chunk.rows.column(index), 0..chunk.len());
            }
        }
        let sums = sizes_at(state, table, version)?;
        if sums.variable_bits == ChangeEntry::UNKNOWN {
            bits = sums.variable_bits;
        }
        let found = (sums.rows, sums.csv_bytes, sums.json_bytes, sums.variable_bits);
        if found != (rows, csv, json, bits) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "sums of table {} at version {version}: expected {rows} rows, {csv} and {json} bytes, {bits} bits, found {}, {}, {} and {}",
                    table.name, sums.rows, sums.csv_bytes, sums.json_bytes, sums.variable_bits
                ),
            ));
        }
        Ok(())
    }
}
