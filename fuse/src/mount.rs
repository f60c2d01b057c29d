//! A mount: from an empty directory to a served tree and back.
//!
//! Invariants:
//! - What is unmounted is ours: found by its device in the mount table, on top at its path. After someone else's
//!   `umount`, nothing is touched.
//! - A mount in use is taken out of the tree all the same; what is open in it is served as long as this process lives.
//! - However the session ends, [`Mount::wait`] returns.

use crate::adapter::Adapter;
use crate::attach::{self, AttachOptions};
use crate::attributes::Permissions;
use crate::error::{Error, Result};
use crate::mount_point::{self, Place};
use crate::mount_table::{self, MountEntry};
use crate::nodes::LaidNames;
use crate::passthrough::Passthrough;
use crate::pool::Pool;
use crate::requests::Requests;
use crate::view::{FileSystem, FileSystemOptions};
use asof_engine::view::Format;
use asof_engine::{AsOf, Database, Version};
use fuser::{INodeNo, Notifier, Session, SessionACL};
use parking_lot::{Condvar, Mutex};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Event loops unless said otherwise.
pub const THREADS_DEFAULT: usize = 4;
/// Threads for rendering.
pub const WORK_THREADS: usize = 4;
/// The forms that listings show unless said otherwise.
pub const FORMATS_DEFAULT: [Format; 2] = [Format::Parquet, Format::Csv];
/// How long a session may take to end after a clean unmount. It takes longer only where the mount also exists
/// elsewhere (in another mount namespace, say), and then it is served on.
const END_WAIT: Duration = Duration::from_secs(3);

/// How often a mount looks for what other processes committed, and whether data files have another layout: so long a
/// Parquet file's name may lead to what it was before.
pub const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// An as-of expression: show this state alone, at the root. It is resolved when mounting and stays.
    pub at: Option<String>,
    /// Let other users in, as far as the database's directory lets them.
    pub allow_other: bool,
    /// Owner of everything, instead of the mounter.
    pub uid: Option<u32>,
    /// Group of everything, instead of the mounter's (with `allow_other`: the database directory's).
    pub gid: Option<u32>,
    /// Permission bits, of which those for reading count; instead of 0400 (with `allow_other`: the database
    /// directory's).
    pub mode: Option<u16>,
    /// The forms that listings show; all can be opened by name.
    pub formats: Vec<Format>,
    /// Event loops.
    pub threads: usize,
    /// What the mount table shows as the source; `asof:` and the database's path otherwise.
    pub fs_name: Option<String>,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            at: None,
            allow_other: false,
            uid: None,
            gid: None,
            mode: None,
            formats: FORMATS_DEFAULT.to_vec(),
            threads: THREADS_DEFAULT,
            fs_name: None,
        }
    }
}

/// What a mount is doing, to tell people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountStatus {
    /// The newest version it shows.
    pub newest: Version,
    /// Files and directories that are open.
    pub open: usize,
    /// Requests that the kernel's caches did not answer.
    pub requests: Requests,
}

/// How a mount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing of it is left.
    Unmounted,
    /// It was in use and has been taken out of the tree. What is open in it is served as long as this process lives.
    Detached,
}

/// A served mount. Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    shared: Arc<Shared>,
    view: Arc<FileSystem>,
    passthrough: Arc<Passthrough>,
}

/// A handle to end a mount from any thread.
#[derive(Clone, Debug)]
pub struct Unmounter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    entry: MountEntry,
    /// Until the mount has left the tree.
    place: Mutex<Option<Arc<Place>>>,
    phase: Mutex<Phase>,
    changed: Condvar,
    /// Held while unmounting, so that two who do it at once do it one after the other.
    unmounting: Mutex<()>,
}

#[derive(Debug)]
enum Phase {
    Serving,
    Detached,
    Ended(Option<String>),
}

/// Mounts a database at an empty directory and serves it until it is unmounted.
pub fn mount(database: Database, directory: impl AsRef<Path>, options: MountOptions) -> Result<Mount> {
    let place = Place::take(directory.as_ref(), database.path(), false)?;
    mount_at_place(database, Arc::new(place), options)
}

/// Like [`mount()`], at a place that is already held, and that a holder may hold beyond the mount's end.
pub fn mount_at_place(database: Database, place: Arc<Place>, options: MountOptions) -> Result<Mount> {
    let source = source_name(&options, database.path());
    let allow_other = options.allow_other;
    let threads = options.threads.max(1);
    let view = FileSystem::new(database.clone(), file_system_options(&database, options)?)?;
    let sweeper = view.clone();
    let pool = Pool::new(WORK_THREADS, move || sweeper.sweep())
        .map_err(|error| Error::system("starting threads for rendering", error))?;
    let attached = attach::attach(place.path(), &AttachOptions { source, allow_other })?;
    let entry = attached.entry;
    let adapter = Adapter::new(view.clone(), pool);
    let passthrough = adapter.passthrough();
    let served = serve(adapter, attached.device, allow_other, threads, entry.clone(), place, view.clone());
    match served {
        Ok(shared) => {
            attach::raise_readahead(&entry);
            Ok(Mount { shared, view, passthrough })
        }
        Err(error) => {
            if let Err(left) = attach::detach(&entry, true) {
                log::warn!("{left}");
            }
            Err(error)
        }
    }
}

/// Ends the mount of asof at a directory, served by whatever process, or by none any more. Returns once its server has
/// ended or, where that takes long, after a while.
pub fn umount(directory: impl AsRef<Path>) -> Result<()> {
    let directory = directory.as_ref();
    let path = mount_point::locate(directory).map_err(|error| Error::Unreachable {
        path: directory.to_path_buf(),
        reason: mount_point::reason(directory, &error),
    })?;
    match mount_table::mount_at(&path)? {
        Some(entry) if entry.is_ours() => {
            attach::detach(&entry, false)?;
            mount_point::wait_until_left(&path);
            Ok(())
        }
        Some(entry) => {
            let found = format!(": {} ({}) is mounted there", entry.source, entry.file_system);
            Err(Error::NotOurs { path, found })
        }
        None => Err(Error::NotOurs { path, found: ": nothing is mounted there".to_string() }),
    }
}

fn file_system_options(database: &Database, options: MountOptions) -> Result<FileSystemOptions> {
    let at = match &options.at {
        None => None,
        Some(expression) => {
            database.readable()?;
            Some(database.resolve(&AsOf::parse(expression, &database.options().time_zone)?)?.version)
        }
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut permissions = Permissions::of_mounter(uid, gid);
    if options.allow_other {
        permissions = match permissions.with_directory(database.path()) {
            // It lies in an object store, which has no modes.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => permissions,
            with_directory => with_directory.map_err(|error| {
                Error::system(format!("asking for the modes of {}", database.path().display()), error)
            })?,
        };
    }
    if let Some(mode) = options.mode {
        permissions = permissions.with_mode(mode);
    }
    permissions.uid = options.uid.unwrap_or(permissions.uid);
    permissions.gid = options.gid.unwrap_or(permissions.gid);
    Ok(FileSystemOptions { at, permissions, formats: options.formats })
}

/// Has the kernel forget names that may lead elsewhere.
fn tell_kernel(notifier: &Notifier, names: LaidNames) {
    for (directory, names) in names {
        for name in names {
            if let Err(error) = notifier.inval_entry(INodeNo(directory), OsStr::new(&*name)) {
                log::debug!("the kernel was not told that '{name}' may lead elsewhere: {error}");
            }
        }
    }
}

fn source_name(options: &MountOptions, database: &Path) -> String {
    let name = options.fs_name.clone().unwrap_or_else(|| format!("asof:{}", database.display()));
    name.chars().map(|character| if character.is_control() { '_' } else { character }).collect()
}

fn serve(
    adapter: Adapter,
    device: std::os::fd::OwnedFd,
    allow_other: bool,
    threads: usize,
    entry: MountEntry,
    place: Arc<Place>,
    view: Arc<FileSystem>,
) -> Result<Arc<Shared>> {
    let acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    let mut config = fuser::Config::default();
    config.acl = acl;
    config.n_threads = Some(threads);
    let session = Session::from_fd(adapter, device, acl, config)
        .map_err(|error| Error::system("greeting the kernel's FUSE", error))?;
    let shared = Arc::new(Shared {
        entry,
        place: Mutex::new(Some(place)),
        phase: Mutex::new(Phase::Serving),
        changed: Condvar::new(),
        unmounting: Mutex::new(()),
    });
    let (served, followed, notifier) = (shared.clone(), shared.clone(), session.notifier());
    let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
        let started = std::thread::Builder::new().name(name.to_string()).spawn(run);
        started.map(drop).map_err(|error| Error::system("starting a thread", error))
    };
    start("asof-mount", Box::new(move || served.ended(session.run())))?;
    start("asof-follow", Box::new(move || followed.follow(&view, &notifier)))?;
    Ok(shared)
}

impl Mount {
    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.shared.entry.path
    }

    /// Waits until the mount has ended: by [`Mount::unmount`], an [`Unmounter`], someone's `umount`, or a failure.
    pub fn wait(&self) -> Result<Ended> {
        loop {
            if let Some(ended) = self.wait_for(Duration::from_secs(3600)) {
                return ended;
            }
        }
    }

    /// Like [`Mount::wait`], but not for long; `None` while the mount is served.
    pub fn wait_for(&self, limit: Duration) -> Option<Result<Ended>> {
        let mut phase = self.shared.phase.lock();
        self.shared.changed.wait_while_for(&mut phase, |phase| matches!(phase, Phase::Serving), limit);
        match &*phase {
            Phase::Serving => None,
            Phase::Detached => Some(Ok(Ended::Detached)),
            Phase::Ended(None) => Some(Ok(Ended::Unmounted)),
            Phase::Ended(Some(failure)) => Some(Err(Error::system(
                format!("serving {}", self.path().display()),
                std::io::Error::other(failure.clone()),
            ))),
        }
    }

    /// Unmounts; where the mount is in use, takes it out of the tree. Does nothing where it has ended already.
    pub fn unmount(&self) -> Result<Ended> {
        self.shared.unmount()
    }

    /// How many requests the kernel's caches did not answer.
    pub fn requests(&self) -> Requests {
        self.view.requests()
    }

    /// What it is doing.
    pub fn status(&self) -> Result<MountStatus> {
        let newest = self.view.database().readable()?.0;
        Ok(MountStatus { newest, open: self.view.open_count(), requests: self.view.requests() })
    }

    /// How many inodes the kernel knows.
    pub fn inode_count(&self) -> usize {
        self.view.inode_count()
    }

    /// Whether the kernel reads sealed files by itself, as far as is known from the opens so far.
    pub fn is_passed_through(&self) -> bool {
        self.passthrough.is_enabled()
    }

    /// A handle to end the mount from any thread, a signal handler's for example.
    pub fn unmounter(&self) -> Unmounter {
        Unmounter { shared: self.shared.clone() }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.shared.unmount() {
            log::warn!("{error}");
        }
    }
}

impl Unmounter {
    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.shared.entry.path.clone()
    }

    /// Like [`Mount::unmount`].
    pub fn unmount(&self) -> Result<Ended> {
        self.shared.unmount()
    }
}

impl Shared {
    fn unmount(&self) -> Result<Ended> {
        let _turn = self.unmounting.lock();
        match *self.phase.lock() {
            Phase::Serving => {}
            Phase::Detached => return Ok(Ended::Detached),
            Phase::Ended(_) => return Ok(Ended::Unmounted),
        }
        // The mount may have been moved, so it is looked for by what it is, not by where it was.
        let Some(entry) = self.find()? else { return Ok(self.wait_for_end()) };
        match attach::detach(&entry, false) {
            Ok(()) => Ok(self.wait_for_end()),
            Err(Error::Busy { .. }) => {
                attach::detach(&entry, true)?;
                self.change(Phase::Detached);
                Ok(Ended::Detached)
            }
            Err(error) => match self.find()? {
                // Someone else's umount came first.
                None => Ok(self.wait_for_end()),
                Some(_) => Err(error),
            },
        }
    }

    fn find(&self) -> Result<Option<MountEntry>> {
        let ours = |entry: &MountEntry| entry.id == self.entry.id && entry.device == self.entry.device;
        Ok(mount_table::mounts()?.into_iter().find(ours))
    }

    /// After the mount has left the tree: the session ends as soon as nobody uses it.
    fn wait_for_end(&self) -> Ended {
        let mut phase = self.phase.lock();
        let deadline = std::time::Instant::now() + END_WAIT;
        while matches!(*phase, Phase::Serving) && !self.changed.wait_until(&mut phase, deadline).timed_out() {
        }
        match *phase {
            Phase::Ended(_) => Ended::Unmounted,
            Phase::Serving | Phase::Detached => {
                *phase = Phase::Detached;
                self.place.lock().take();
                self.changed.notify_all();
                Ended::Detached
            }
        }
    }

    fn change(&self, next: Phase) {
        let mut phase = self.phase.lock();
        if !matches!(*phase, Phase::Ended(_)) {
            *phase = next;
        }
        self.place.lock().take();
        self.changed.notify_all();
    }

    /// Follows the database until the session has ended, tells the kernel of names that may lead elsewhere since, and has
    /// data files opened ahead. The kernel waits then for lookups in the same directory: nothing that answers requests
    /// waits for this.
    fn follow(&self, view: &Arc<FileSystem>, notifier: &Notifier) {
        let (mut is_new, mut ahead) = (false, None::<JoinHandle<()>>);
        loop {
            if let Some(names) = view.follow() {
                tell_kernel(notifier, names);
                is_new = true;
            }
            if is_new && ahead.as_ref().is_none_or(JoinHandle::is_finished) {
                let view = view.clone();
                let thread = std::thread::Builder::new().name("asof-ahead".to_string());
                ahead = thread.spawn(move || view.open_ahead()).ok();
                is_new = false;
            }
            let mut phase = self.phase.lock();
            let goes_on = |phase: &mut Phase| !matches!(phase, Phase::Ended(_));
            if !self.changed.wait_while_for(&mut phase, goes_on, FOLLOW_INTERVAL).timed_out() {
                return;
            }
        }
    }

    /// The session has ended. Where it failed, the mount may still be in the tree, dead.
    fn ended(&self, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.change(Phase::Ended(None)),
            Err(error) => {
                log::error!("serving {} failed: {error}", self.entry.path.display());
                let detached = self.find().and_then(|found| match found {
                    Some(entry) => attach::detach(&entry, true),
                    None => Ok(()),
                });
                if let Err(left) = detached {
                    log::warn!("{left}");
                }
                self.change(Phase::Ended(Some(error.to_string())));
            }
        }
    }
}
