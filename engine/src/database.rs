//! Opening, following and asking a database.

use crate::api::*;
use crate::asof::AsOf;
use crate::codec::records::{TagRecord, kind};
use crate::commit::CommitQueue;
use crate::counting::CountingDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::generation::Generation;
use crate::gone::check_any_readable;
use crate::history::ids::hash_id;
use crate::layout::{CREATE_LOCK, DIRS, LOG_DIR, Layout, MANIFEST_DIR};
use crate::load::held::Share;
use crate::manifest::{self, Leased, Manifest};
use crate::open_files::OpenFiles;
use crate::options::Options;
use crate::replay::{Tail, replay};
use crate::retention::settings;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::sync::{Mutex, MutexGuard};
use crate::transaction::Transaction;
use crate::upkeep::{Guard, Signals};
use crate::view::{ArrowSizes, ViewCache};
use asof_mvcc::conflict::REMEMBERED_BYTES_DEFAULT;
use asof_mvcc::{CommitTime, RecentWrites, Version};
use asof_wal::{Access, Disk, LockKind, Log, LogOptions, OpenMode, Position, Turn};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// An open database. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
    /// Ends upkeep with the last handle; upkeep's own has none.
    _guard: Option<Arc<Guard>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    pub(crate) disk: Arc<CountingDisk>,
    pub(crate) id: [u8; 16],
    pub(crate) access: Access,
    state: RwLock<Arc<State>>,
    log: OnceLock<Log>,
    follower: Mutex<Follower>,
    /// Sequence of the first record that may not be applied and published yet: who finds nothing durable from it on need
    /// not lock the follower.
    published_sequence: AtomicU64,
    /// Commits that wait to be checked and logged.
    pub(crate) commits: CommitQueue,
    views: OnceLock<Arc<ViewCache>>,
    pub(crate) arrow_sizes: ArrowSizes,
    /// What commits and upkeep tell each other.
    pub(crate) signals: Arc<Signals>,
    /// Whether no manifest of a lineage from before a cut is left to go back to.
    pub(crate) has_left_old_lineage: AtomicBool,
    /// What open transactions hold in memory.
    pub(crate) share: Arc<Share>,
}

/// How far the log has been read. Whoever applies changes holds this.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Where the next record to apply starts.
    pub(crate) applied: Position,
    /// What recent commits wrote.
    pub(crate) recent: RecentWrites,
    /// Whether the tail was read at all.
    pub(crate) started: bool,
    /// The newest manifest that a record of the log told of.
    pub(crate) manifest_seen: u64,
}

impl Follower {
    /// Forgets what was written up to a version: transactions that read an older one are too old.
    pub(crate) fn forget_writes(&mut self, version: Version) {
        self.recent = RecentWrites::new(version, REMEMBERED_BYTES_DEFAULT);
    }
}

impl Database {
    /// Makes a database in a directory that is missing or empty.
    pub fn create(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        let database = Database::make(path.as_ref(), &options)?;
        if !database {
            let message = format!("{} is a database already", path.as_ref().display());
            return Err(Error::new(ErrorKind::Exists, message));
        }
        Database::open(path, options)
    }

    /// Opens a database for reading and writing.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        Database::open_with(path.as_ref(), options, Access::ReadWrite)
    }

    /// Opens a database for reading; works on read-only media.
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        Database::open_with(path.as_ref(), options, Access::ReadOnly)
    }

    /// Opens the database, or makes it where the directory is missing or empty.
    pub fn open_or_create(path: impl AsRef<Path>, options: Options) -> Result<Database> {
        if !Database::exists(&path, &options)? {
            Database::make(path.as_ref(), &options)?;
        }
        Database::open(path, options)
    }

    /// Whether a directory holds a database.
    pub fn exists(path: impl AsRef<Path>, options: &Options) -> Result<bool> {
        Ok(!manifest::list(&*options.disk, &Layout::new(path.as_ref()))?.is_empty())
    }

    /// Makes the files of an empty database; `false` where there is one. The first manifest comes last: before it there
    /// is no database, and what a crash left is made again.
    fn make(path: &Path, options: &Options) -> Result<bool> {
        let disk = &*options.disk;
        let layout = Layout::new(path);
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            move |error| io_error("create", &path, error)
        };
        match disk.metadata(path) {
            Ok(metadata) if metadata.is_dir => {}
            Ok(_) => return Err(Error::invalid(format!("{} is a file, not a directory", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match disk.create_dir(path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.map_err(fail(path))?,
            },
            Err(error) => return Err(io_error("open", path, error)),
        }
        // Also where the directory is there: who made it may have been killed before its name was durable.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match disk.sync_dir(parent) {
            // It was made by somebody with more rights.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(fail(parent))?,
        }
        let ours = |name: &str| DIRS.contains(&name) || [LOG_DIR, CREATE_LOCK].contains(&name);
        let entries = disk.list(path).map_err(fail(path))?;
        if let Some(foreign) = entries.iter().find(|entry| !ours(&entry.name)) {
            return Err(Error::invalid(format!(
                "{} is neither a database nor empty: it has {}; name another directory",
                path.display(),
                foreign.name
            )));
        }
        let lock_path = layout.join(CREATE_LOCK);
        let lock = disk.open(&lock_path, OpenMode::Create).map_err(fail(&lock_path))?;
        let deadline = Instant::now() + options.wait;
        while !lock.try_lock(LockKind::Exclusive).map_err(fail(&lock_path))? {
            if Instant::now() > deadline {
                let message = format!("another process is making a database in {}", path.display());
                return Err(Error::new(ErrorKind::Locked, message));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if !manifest::list(disk, &layout)?.is_empty() {
            return Ok(false);
        }
        // A log without a manifest was left by a crash while the database was made.
        let log_dir = layout.join(LOG_DIR);
        if disk.exists(&log_dir).map_err(fail(&log_dir))? {
            for entry in disk.list(&log_dir).map_err(fail(&log_dir))? {
                let file = log_dir.join(entry.name);
                disk.remove_file(&file).map_err(fail(&file))?;
            }
        }
        for dir in DIRS {
            let dir = layout.join(dir);
            match disk.create_dir(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.map_err(fail(&dir))?,
            }
        }
        disk.sync_dir(path).map_err(fail(path))?;
        let id = uuid::Builder::from_random_bytes(options.clock.random()).into_uuid().into_bytes();
        drop(Log::create(options.disk.clone(), &log_dir, id, log_options(options))?);
        disk.sync_dir(path).map_err(fail(path))?;
        let first = Manifest {
            database_id: id,
            lineage_id: uuid::Builder::from_random_bytes(options.clock.random()).into_uuid().into_bytes(),
            number: FIRST_MANIFEST,
            version: 0,
            time: i64::MIN,
            chain_digest: [0; 32],
            created: options.clock.now().0,
            log_start: Log::start().into(),
            next_file_id: 1,
            commit_log_bytes: 0,
            tables: Vec::new(),
            sums: Vec::new(),
            data_files: Vec::new(),
            copies: Vec::new(),
            ends_files: Vec::new(),
            ids_files: Vec::new(),
            tags: Vec::new(),
            settings: Vec::new(),
            measures: Vec::new(),
            variable: Vec::new(),
            gone: Vec::new(),
        };
        first.write(disk, &layout)?;
        Ok(true)
    }

    fn open_with(path: &Path, options: Options, access: Access) -> Result<Database> {
        let path: PathBuf = if path.is_absolute() {
            path.to_path_buf()
        } else {
            std::env::current_dir().map_err(|error| io_error("find", path, error))?.join(path)
        };
        let layout = Layout::new(&path);
        let disk = Arc::new(CountingDisk::new(options.disk.clone()));
        let leased = manifest::lease_newest(&*disk, &layout)?;
        let manifest = &leased.manifest;
        if access == Access::ReadWrite && manifest.number == FIRST_MANIFEST {
            // Who made the database may have been killed before this name was durable. Later manifests have one before
            // them, with all it names, to fall back to.
            let dir = layout.join(MANIFEST_DIR);
            disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))?;
        }
        let follower = Follower {
            applied: manifest.log_start.into(),
            recent: RecentWrites::new(manifest.version(), REMEMBERED_BYTES_DEFAULT),
            started: false,
            manifest_seen: 0,
        };
        let id = manifest.database_id;
        let mut open_files = OpenFiles::new(options.key_cache_bytes(), options.read_threads);
        open_files.reads_copies = options.copies_rows_min < u64::MAX;
        let open_files = Arc::new(open_files);
        let generation = Generation::new(disk.clone(), layout.clone(), leased, open_files)?;
        let inner = Inner {
            layout,
            options,
            disk,
            id,
            access,
            state: RwLock::new(Arc::new(State::new(Arc::new(generation)))),
            log: OnceLock::new(),
            follower: Mutex::new(follower),
            published_sequence: AtomicU64::new(0),
            commits: CommitQueue::default(),
            views: OnceLock::new(),
            arrow_sizes: ArrowSizes::default(),
            signals: Arc::default(),
            has_left_old_lineage: AtomicBool::new(false),
            share: Arc::default(),
        };
        let guard = Arc::new(Guard::new(inner.signals.clone()));
        let database = Database { inner: Arc::new(inner), _guard: Some(guard) };
        if access == Access::ReadWrite && database.options().exclusive {
            database.inner.log()?.hold_exclusively(database.options().wait)?;
        }
        Ok(database)
    }

    /// A handle that does not keep upkeep going: upkeep's own.
    pub(crate) fn without_upkeep(inner: Arc<Inner>) -> Database {
        Database { inner, _guard: None }
    }

    /// Ends the upkeep that this handle keeps going, if it is the last; gives what it is a handle of.
    pub(crate) fn into_inner(self) -> Arc<Inner> {
        self.inner
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        self.inner.layout.root()
    }

    /// The database's id.
    pub fn id(&self) -> [u8; 16] {
        self.inner.id
    }

    /// Options it was opened with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Takes note of what other processes committed; gives the newest version.
    pub fn refresh(&self) -> Result<Version> {
        self.inner.follow().map_err(|error| self.told_what_can_be_read(error))?;
        Ok(self.inner.state().published())
    }

    /// The newest version known to this handle (see [`Database::refresh`]).
    pub fn latest(&self) -> Result<Version> {
        self.inner.ensure_tail().map_err(|error| self.told_what_can_be_read(error))?;
        Ok(self.inner.state().published())
    }

    /// The newest version that can be read, and why it may not be the newest: the log is damaged behind it.
    pub fn readable(&self) -> Result<(Version, Option<Error>)> {
        match self.refresh() {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Ok((self.inner.state().published(), Some(error)))
            }
            newest => Ok((newest?, None)),
        }
    }

    /// Where the newest version is unknown, for the log is damaged before it, older ones can be read all the same.
    fn told_what_can_be_read(&self, error: Error) -> Error {
        let readable = self.inner.state().published();
        match error.kind() {
            ErrorKind::Corrupt if readable > Version::ZERO => Error::new(
                ErrorKind::Corrupt,
                format!("{error}; versions up to {readable} can be read: name one (--as-of {readable})"),
            ),
            _ => error,
        }
    }

    /// Begins a transaction that reads the newest version, at snapshot isolation.
    pub fn begin(&self) -> Result<Transaction> {
        self.begin_with(TransactionOptions::default())
    }

    /// Begins a transaction that reads the newest version.
    pub fn begin_with(&self, options: TransactionOptions) -> Result<Transaction> {
        if self.inner.access == Access::ReadOnly {
            let message = format!("{} was opened for reading only", self.path().display());
            return Err(Error::new(ErrorKind::ReadOnly, message));
        }
        let version = self.refresh()?;
        Ok(Transaction::new(self.clone(), self.snapshot(version)?, options))
    }

    /// Opens data files that are not open yet, the newest first and up to so many in all, and reads what sizes of Parquet
    /// files take: who asks for these next finds it in memory.
    pub fn open_ahead(&self, files_max: usize) -> Result<()> {
        self.inner.state().generation.open_ahead(files_max)
    }

    /// Which version an as-of expression names.
    pub fn resolve(&self, asof: &AsOf) -> Result<Resolved> {
        crate::resolve::resolve(self, asof)
    }

    /// A snapshot at an as-of expression as people type it: `42`, `latest`, `tag:q3`, `2025-08-26T10:00`, `1h-ago`.
    pub fn at(&self, expression: &str) -> Result<Snapshot> {
        self.snapshot(self.resolve(&AsOf::parse(expression, &self.options().time_zone)?)?.version)
    }

    /// A snapshot of a version.
    pub fn snapshot(&self, version: Version) -> Result<Snapshot> {
        let state = self.inner.state_with(version)?;
        Ok(Snapshot::new(self.inner.clone(), state, version))
    }

    /// What a commit was; version 0 has none.
    pub fn commit_info(&self, version: Version) -> Result<CommitInfo> {
        if version == Version::ZERO {
            return Err(Error::not_found("version 0 is the empty database; no commit made it"));
        }
        Ok(self.inner.state_with(version)?.header(version)?.to_info())
    }

    /// The commit with an idempotency id, if there is one.
    pub fn commit_with_client_id(&self, id: &str) -> Result<Option<CommitInfo>> {
        self.refresh()?;
        let state = self.inner.state();
        let version = find_client_id(&state, id)?;
        version.map(|version| Ok(state.header(version)?.to_info())).transpose()
    }

    /// The commit time of a version; [`CommitTime::MIN`] for version 0.
    pub fn commit_time(&self, version: Version) -> Result<CommitTime> {
        self.inner.state_with(version)?.time(version)
    }

    /// The last version whose commit time is at or before `time`.
    pub fn version_at(&self, time: CommitTime) -> Result<Version> {
        let state = self.inner.state();
        if state.generation.version() == Version::ZERO || time >= CommitTime(state.generation.manifest().time)
        {
            let read = self.inner.ensure_tail();
            let state = self.inner.state();
            if time >= state.time(state.published())? {
                read?;
            }
        }
        self.inner.state().version_at(time)
    }

    /// Names a version, unless all tables that it had are gone.
    pub fn tag(&self, tag: Tag, force: bool) -> Result<()> {
        crate::asof::validate_tag_name(&tag.name)?;
        self.inner.state_with(tag.version)?;
        self.inner.log_control(kind::TAG, |state| {
            check_any_readable(&state.generation, &state.catalog(), tag.version)?;
            let existing = state.memory.read().tags.get(&tag.name).cloned();
            if let Some(existing) =
                existing.filter(|existing| !force && !existing.is_expired(self.inner.now()))
            {
                return Err(Error::new(
                    ErrorKind::Exists,
                    format!("tag {} names version {} already; --force moves it", tag.name, existing.version),
                ));
            }
            Ok(crate::codec::encode(&TagRecord::of(&tag)))
        })
    }

    /// Removes a tag.
    pub fn remove_tag(&self, name: &str) -> Result<()> {
        self.inner.log_control(kind::TAG_REMOVED, |state| {
            if !state.memory.read().tags.contains_key(name) {
                return Err(crate::resolve::unknown_tag(state, name));
            }
            Ok(name.as_bytes().to_vec())
        })
    }

    /// All tags by name, expired ones left out.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        self.inner.follow()?;
        let now = self.inner.now();
        let state = self.inner.state();
        let memory = state.memory.read();
        Ok(memory.tags.values().filter(|tag| !tag.is_expired(now)).cloned().collect())
    }

    /// Settings that are kept in the database, by name.
    pub fn settings(&self) -> Result<BTreeMap<String, String>> {
        self.inner.follow()?;
        Ok(self.inner.state().memory.read().settings.clone())
    }

    /// Gives a setting a value, or none any more ([`crate::retention`] lists them); gives the value before.
    pub fn set_setting(&self, name: &str, value: Option<&str>) -> Result<Option<String>> {
        let value = value.map(|value| settings::checked(name, value)).transpose()?;
        let mut before = None;
        self.inner.log_control(kind::SETTING, |state| {
            before = state.memory.read().settings.get(name).cloned();
            if value.is_none() && before.is_none() {
                return Err(settings::not_set(name));
            }
            let record: SettingRecord = (name.to_string(), value);
            Ok(crate::codec::encode(&record))
        })?;
        Ok(before)
    }

    /// The versions of a table (by full name; all that ever had it) that retention has let go: from which up to which,
    /// exclusive, ascending.
    pub fn gone(&self, table: &str) -> Result<Vec<(Version, Version)>> {
        self.refresh()?;
        let state = self.inner.state();
        let catalog = state.catalog();
        let of_table = catalog.incarnations(table).filter_map(|table| state.generation.gone(table.id));
        let ranges = of_table.flat_map(|gone| gone.ranges().iter().copied());
        Ok(ranges.map(|(from, to)| (Version(from), Version(to))).collect())
    }

    /// Bytes and operations so far.
    pub fn counters(&self) -> Counters {
        self.inner.disk.counts().snapshot()
    }

    /// The versions at which rows or schema of a table (by full name) changed, ascending, within (after, up_to].
    pub fn table_versions(&self, table: &str, after: Version, up_to: Version) -> Result<Vec<Version>> {
        let state = self.inner.state_with(up_to)?;
        let catalog = state.catalog();
        let mut versions = Vec::new();
        for table in catalog.incarnations(table) {
            let changes = state.generation.changes(table.id);
            for number in changes.count_up_to(after)?..changes.count_up_to(up_to)? {
                versions.push(changes.entry(number)?.version);
            }
            if let Some(memtable) = state.memtable(table.id) {
                versions.extend_from_slice(memtable.read().changes());
            }
        }
        versions.retain(|version| *version > after && *version <= up_to);
        versions.sort_unstable();
        versions.dedup();
        Ok(versions)
    }
}

impl Tag {
    /// Whether the tag has ended.
    pub fn is_expired(&self, now: CommitTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The version that the commit with an idempotency id made.
pub(crate) fn find_client_id(state: &State, id: &str) -> Result<Option<Version>> {
    if let Some(version) = state.memory.read().client_ids.get(id) {
        return Ok(Some(*version));
    }
    for version in state.generation.version_of_id(&hash_id(id))? {
        if state.header(version)?.client_id.as_deref() == Some(id) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

fn log_options(options: &Options) -> LogOptions {
    LogOptions { turn_wait: options.wait, ..options.log.clone() }
}

impl Inner {
    /// What is known now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.read().clone()
    }

    /// Now.
    pub(crate) fn now(&self) -> CommitTime {
        self.options.clock.now()
    }

    /// What rendered files are known by: versions of one number differ between lineages.
    pub(crate) fn lineage(&self) -> [u8; 16] {
        self.state().generation.manifest().lineage_id
    }

    /// The cache of rendered files.
    pub(crate) fn views(&self) -> &Arc<ViewCache> {
        let options = &self.options;
        self.views.get_or_init(|| {
            let directory = options.view_cache_dir.as_deref();
            ViewCache::open(directory, options.view_cache_bytes, options.view_bytes())
        })
    }

    /// The log, opened when first needed.
    pub(crate) fn log(&self) -> Result<&Log> {
        if let Some(log) = self.log.get() {
            return Ok(log);
        }
        let from = self.state().generation.manifest().log_start.into();
        let dir = self.layout.join(LOG_DIR);
        let log = Log::open(self.disk.clone(), &dir, self.id, from, log_options(&self.options), self.access)?;
        Ok(self.log.get_or_init(|| log))
    }

    /// The state that knows a version, which is published.
    pub(crate) fn state_with(&self, version: Version) -> Result<Arc<State>> {
        let state = self.state();
        if version <= state.generation.version() || version <= state.published() {
            return Ok(state);
        }
        // Where the log is damaged, everything before the damage can be read all the same.
        let followed = self.follow();
        let state = self.state();
        if version > state.published() {
            followed?;
            return Err(crate::resolve::no_version(&state, version));
        }
        Ok(state)
    }

    /// Reads the log's tail if that has not been done yet.
    pub(crate) fn ensure_tail(&self) -> Result<()> {
        let mut follower = self.follower.lock();
        if follower.started { Ok(()) } else { self.catch_up(&mut follower) }
    }

    /// Applies what the log has that is not applied yet.
    pub(crate) fn follow(&self) -> Result<()> {
        let durable = self.log()?.durable();
        if durable.is_ok_and(|durable| durable.sequence <= self.published_sequence.load(Ordering::Acquire)) {
            return Ok(());
        }
        let mut follower = self.follower.lock();
        self.catch_up(&mut follower)
    }

    /// Locks out everyone else who applies changes.
    pub(crate) fn lock_follower(&self) -> MutexGuard<'_, Follower> {
        self.follower.lock()
    }

    /// Applies and publishes every durable record that is not applied yet. Own records that are queued are applied
    /// already, and lie behind what is durable; those that have become durable since are published: other handles may
    /// have told of them before the thread that waits for them does.
    pub(crate) fn catch_up(&self, follower: &mut Follower) -> Result<()> {
        let log = self.log()?;
        let durable = match log.durable() {
            Ok(durable) => durable,
            Err(error) => {
                // What precedes the damage can be read.
                let _ = self.read_tail(&self.state(), follower);
                return Err(error.into());
            }
        };
        if durable.sequence <= follower.applied.sequence {
            follower.started = true;
            let state = self.state();
            // After a repair the same sequences may be somebody else's records: this handle's own failed.
            let same = durable.epoch == follower.applied.epoch;
            if same {
                state.publish_before(durable);
            }
            if same || state.published() == state.applied() {
                self.note_published(durable);
            }
            return Ok(());
        }
        let mut reloads = 0;
        loop {
            match self.read_tail(&self.state(), follower)? {
                Tail::Read => break,
                Tail::NewManifest => drop(self.reload(follower)?),
                Tail::Missing(error) => {
                    reloads += 1;
                    if reloads > RELOADS_MAX || !self.reload(follower)? {
                        return Err(error);
                    }
                }
                Tail::MissingFile(file, error) => {
                    reloads += 1;
                    if reloads > RELOADS_MAX || !self.reload(follower)? {
                        // The rows of that load are lost, with an error to whoever asks for them. All else reads on.
                        log::error!("{error}");
                        self.state().generation.open_files().note_lost(file);
                    }
                }
            }
        }
        follower.started = true;
        self.note_published(follower.applied);
        Ok(())
    }

    /// Tells those who only want to know whether there is something new that all before a position is published.
    pub(crate) fn note_published(&self, before: Position) {
        self.published_sequence.fetch_max(before.sequence, Ordering::AcqRel);
    }

    /// Applies what is durable to a state: the one in use, or one being made to take its place.
    fn read_tail(&self, state: &State, follower: &mut Follower) -> Result<Tail> {
        replay(self.log()?, state, follower)
    }

    /// Goes on from the newest manifest: a new state, the log read again from where that manifest says. `false` where
    /// there is none newer than the one at hand. The new state takes the old one's place when it has caught up, not
    /// before: readers and transactions never see less than they saw.
    pub(crate) fn reload(&self, follower: &mut Follower) -> Result<bool> {
        let leased = manifest::lease_newest(&*self.disk, &self.layout)?;
        let number = leased.manifest.number;
        if number <= self.state().generation.manifest().number {
            return Ok(false);
        }
        let start = leased.manifest.log_start.into();
        let generation = self.generation(leased)?;
        // What lies between was never read from the log: nobody knows here what it wrote.
        if generation.version() > self.state().applied() {
            follower.recent = RecentWrites::new(generation.version(), REMEMBERED_BYTES_DEFAULT);
        }
        // A still newer manifest would be named by a record in what is read now: this one is as good to go on from.
        follower.manifest_seen = u64::MAX;
        let exchanged = self.exchange_state(generation, start, follower);
        follower.manifest_seen = number;
        if matches!(exchanged, Ok(true)) {
            self.log()?.advance(start);
        }
        exchanged
    }

    /// Makes a state of a generation and the durable log after it, and puts it in use where it knows all that was
    /// published.
    fn exchange_state(
        &self,
        generation: Arc<Generation>,
        start: Position,
        follower: &mut Follower,
    ) -> Result<bool> {
        let state = Arc::new(State::new(generation));
        let applied = std::mem::replace(&mut follower.applied, start);
        let read = self.read_tail(&state, follower);
        let exchanged = match read {
            Ok(Tail::Read) => Ok(self.put_in_use(state).is_some()),
            read => read.map(|_| false),
        };
        if !matches!(exchanged, Ok(true)) {
            follower.applied = applied;
        }
        exchanged
    }

    /// Lets a state take the place of the one in use, unless that knows more; gives the one before. To free that takes
    /// time: the caller does so when it holds no lock.
    fn put_in_use(&self, state: Arc<State>) -> Option<Arc<State>> {
        let mut current = self.state.write();
        let knows_all = state.published() >= current.published();
        knows_all.then(|| std::mem::replace(&mut *current, state))
    }

    /// Goes on from a manifest that this handle has just made. The log after it is read into a new state beside the one
    /// in use, while commits go on; only its last few records are read under the turn, behind the record that tells
    /// other processes of the manifest.
    pub(crate) fn take_up(&self, leased: Leased) -> Result<()> {
        let number = leased.manifest.number;
        let start = leased.manifest.log_start.into();
        let generation = self.generation(leased)?;
        let mut beside = Follower {
            applied: start,
            // Nobody asks it: what this handle's commits are checked against goes on being noted by its own follower.
            recent: RecentWrites::new(generation.version(), 0),
            started: true,
            manifest_seen: u64::MAX,
        };
        let state = Arc::new(State::new(generation));
        let log = self.log()?;
        for _ in 0..READS_BESIDE_MAX {
            let before = beside.applied.sequence;
            self.read_whole_tail(&state, &mut beside)?;
            if beside.applied.sequence - before < FEW_RECORDS {
                break;
            }
        }
        // What the first commits will ask for; what fails here fails there.
        if let Err(error) = state.generation.open_newest() {
            log::warn!("a file of the manifest just made cannot be opened: {error}");
        }
        let mut turn = log.take_turn(self.options.wait)?;
        let mut follower = self.lock_follower();
        self.catch_up(&mut follower)?;
        let ticket = turn.append(kind::CHECKPOINT, &number.to_le_bytes())?;
        // Waiting for the record waits for every commit before it: nothing is in flight when the rest is read.
        log.wait(ticket)?;
        if self.state().generation.manifest().number >= number {
            return Ok(());
        }
        self.read_whole_tail(&state, &mut beside)?;
        let before = self.put_in_use(state);
        if before.is_none() {
            return Err(Error::corrupt("the log ends before what was read of it; run 'asof verify'"));
        }
        follower.applied = beside.applied;
        follower.manifest_seen = follower.manifest_seen.max(number);
        log.advance(start);
        // Commits go on while memory is given back.
        drop((follower, turn));
        drop(before);
        Ok(())
    }

    fn read_whole_tail(&self, state: &State, follower: &mut Follower) -> Result<()> {
        match self.read_tail(state, follower)? {
            Tail::Missing(error) | Tail::MissingFile(_, error) => Err(error),
            Tail::Read | Tail::NewManifest => Ok(()),
        }
    }

    fn generation(&self, leased: Leased) -> Result<Arc<Generation>> {
        let (disk, layout) = (self.disk.clone(), self.layout.clone());
        let open_files = self.state().generation.open_files().clone();
        Ok(Arc::new(Generation::new(disk, layout, leased, open_files)?))
    }

    /// Forgets what was applied but could not be made durable: others may put something else in its place.
    pub(crate) fn discard_pending(&self) {
        let mut follower = self.follower.lock();
        // What others write next may have the same sequences.
        self.published_sequence.store(0, Ordering::Release);
        let generation = self.state().generation.clone();
        let start = generation.manifest().log_start.into();
        match self.exchange_state(generation, start, &mut follower) {
            Ok(true) => {}
            Ok(false) => log::error!("the log ends before what was read of it, after a failed write"),
            Err(error) => log::error!("the log cannot be read again after a failed write: {error}"),
        }
    }

    /// Goes on from the newest manifest, whoever made it: one who was killed before he told of it may have let versions
    /// go, and they are gone. For who is about to promise something of the past.
    pub(crate) fn take_up_unannounced(&self, turn: &mut Turn, follower: &mut Follower) -> Result<()> {
        let newest = manifest::list(&*self.disk, &self.layout)?.first().copied().unwrap_or(0);
        if newest <= follower.manifest_seen.max(self.state().generation.manifest().number) {
            return Ok(());
        }
        // Its name must last as long as what is said of it.
        let dir = self.layout.join(MANIFEST_DIR);
        self.disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))?;
        let ticket = turn.append(kind::CHECKPOINT, &newest.to_le_bytes())?;
        self.log()?.wait(ticket)?;
        self.catch_up(follower)
    }

    /// Logs a control record that `make` makes from what is there, and applies it.
    pub(crate) fn log_control(&self, kind: u8, make: impl FnOnce(&State) -> Result<Vec<u8>>) -> Result<()> {
        let log = self.log()?;
        let mut turn = log.take_turn(self.options.wait)?;
        let mut follower = self.lock_follower();
        self.catch_up(&mut follower)?;
        self.take_up_unannounced(&mut turn, &mut follower)?;
        let state = self.state();
        let payload = make(&state)?;
        let ticket = turn.append(kind, &payload)?;
        // Rare enough to be waited for within the turn: nobody sees it before it is durable.
        log.wait(ticket)?;
        follower.applied = ticket.next();
        state.apply_control(kind, &payload)
    }
}

/// How often the log is read beside the state in use before the rest is read under the turn.
const READS_BESIDE_MAX: usize = 8;

/// So many records can be read under the turn.
const FEW_RECORDS: u64 = 16;

/// How often a follower looks for a newer manifest where the log it reads was retired.
const RELOADS_MAX: usize = 3;
/// The number of the manifest of a new database.
const FIRST_MANIFEST: u64 = 1;

/// A setting in the log.
pub(crate) type SettingRecord = (String, Option<String>);

impl State {
    pub(crate) fn apply_control(&self, kind: u8, payload: &[u8]) -> Result<()> {
        match kind {
            kind::TAG => {
                let tag = crate::codec::decode::<TagRecord>(payload, "a tag's record")?.to_tag();
                self.memory.write().tags.insert(tag.name.clone(), tag);
            }
            kind::TAG_REMOVED => {
                let name = std::str::from_utf8(payload)
                    .map_err(|_| Error::corrupt("a removed tag's name in the log is not UTF-8"))?;
                self.memory.write().tags.remove(name);
            }
            kind::SETTING => {
                let (name, value) = crate::codec::decode::<SettingRecord>(payload, "a setting's record")?;
                let mut memory = self.memory.write();
                match value {
                    Some(value) => drop(memory.settings.insert(name, value)),
                    None => drop(memory.settings.remove(&name)),
                }
            }
            kind::OPTIONAL.. => {
                log::warn!("the log has a record of kind {kind}, which a newer release wrote")
            }
            _ => {
                let message = format!("the log has a record of kind {kind}; a newer release reads it");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        Ok(())
    }
}

impl From<asof_wal::Error> for Error {
    fn from(error: asof_wal::Error) -> Error {
        let kind = match &error {
            asof_wal::Error::Io { source, .. } => match source.get_ref().and_then(|own| own.downcast_ref()) {
                // Disks that are no file system know more.
                Some(own) => Error::kind(own),
                None => Error::from(std::io::Error::from(source.kind())).kind(),
            },
            asof_wal::Error::Corrupt { .. } | asof_wal::Error::Missing { .. } => ErrorKind::Corrupt,
            asof_wal::Error::Unsupported { .. } => ErrorKind::Unsupported,
            asof_wal::Error::Locked { .. } => ErrorKind::Locked,
            asof_wal::Error::Poisoned { .. } if error.is_full() => ErrorKind::Full,
            asof_wal::Error::Poisoned { .. } => ErrorKind::Poisoned,
            asof_wal::Error::ReadOnly => ErrorKind::ReadOnly,
            asof_wal::Error::TooLarge { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        };
        let advice = match kind {
            ErrorKind::Locked => {
                ": a writer kept its turn for longer than this one would wait; wait longer, or end it"
            }
            _ => "",
        };
        Error::new(kind, format!("{error}{advice}")).with_source(error)
    }
}
