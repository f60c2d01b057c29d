//! The read-only file system in plain Rust types: no fuser, no kernel.
//!
//! Answers carry how long they may be believed. Nothing here renders inside a request: what may render comes back as
//! [`crate::answer::Answer::Later`]. No lock is held over the engine's work. Idle inodes hold no snapshot and so keep
//! no file of the database alive; what is open does.
//!
//! Invariant: a file's size, once told, is the length of what is read through it; that of a log that grows is the least
//! that is read. Where the engine disagrees later, the inode is stale and the name leads to another one.

mod absent;
mod diffs;
mod files;
mod listing;
mod logs;
mod lookup;
mod seek;

use crate::attributes::{Attributes, GROWING_TTL, IMMUTABLE_TTL, MOVING_TTL, Permissions};
use crate::error::Refusal;
use crate::handles::Handles;
use crate::nodes::{Inode, Inodes, LaidNames};
use crate::recent::{KnownLayouts, RecentViews};
use crate::requests::{RequestCounters, Requests};
use crate::told::Told;
use crate::tree::{Door, Kind, Node};
use asof_engine::view::Format;
use asof_engine::{CommitTime, Database, Version};
use logs::Logs;
use std::sync::Arc;
use std::time::Duration;

/// Data files that are opened ahead, the newest: each is an open file.
const OPENED_AHEAD_MAX: usize = 256;

/// How a mount shows a database.
#[derive(Clone, Debug)]
pub struct FileSystemOptions {
    /// One state alone, at the root.
    pub at: Option<Version>,
    /// Owner and modes.
    pub permissions: Permissions,
    /// The forms that listings show. All forms can be opened by name.
    pub formats: Vec<Format>,
}

/// The file system over one database.
#[derive(Debug)]
pub struct FileSystem {
    database: Database,
    options: FileSystemOptions,
    inodes: Inodes,
    handles: Handles,
    recent: RecentViews,
    layouts: KnownLayouts,
    requests: RequestCounters,
    logs: Logs,
    told: Told,
    /// The newest commit's time when this was made: the time of what belongs to no version.
    started: CommitTime,
}

/// What a lookup finds.
#[derive(Debug)]
pub enum Found {
    /// An inode.
    Entry(Entry),
    /// Nothing; and for how long that stays true.
    Missing(Duration),
}

/// An inode that a name leads to. The caller owes a [`FileSystem::forget`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What `stat` shows.
    pub attributes: Attributes,
    /// How long the name leads here.
    pub name_ttl: Duration,
    /// How long the attributes stay.
    pub attributes_ttl: Duration,
}

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub handle: u64,
    /// Whether the kernel may keep what it has cached of the inode: its content never changes.
    pub keep_cache: bool,
    /// Whether the kernel must cache nothing: its content grows.
    pub direct: bool,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its inode number.
    pub inode: u64,
    /// Where a listing goes on after it.
    pub next: u64,
}

impl FileSystem {
    /// The file system of a database.
    pub fn new(database: Database, options: FileSystemOptions) -> asof_engine::Result<Arc<FileSystem>> {
        let started = database.commit_time(database.readable()?.0)?;
        let root = match options.at {
            None => Inode::new(Node::Root, 0, started),
            Some(version) => {
                Inode::new(Node::State { door: Door::Root, version }, 0, database.commit_time(version)?)
            }
        };
        Ok(Arc::new(FileSystem {
            logs: Logs::new(&database),
            told: Told::default(),
            database,
            options,
            inodes: Inodes::new(root),
            handles: Handles::default(),
            recent: RecentViews::default(),
            layouts: KnownLayouts::default(),
            requests: RequestCounters::default(),
            started,
        }))
    }

    /// The database it shows.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// How many requests there were.
    pub fn requests(&self) -> Requests {
        self.requests.now()
    }

    /// How many inodes the kernel knows.
    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// How many files and directories are open.
    pub fn open_count(&self) -> usize {
        self.handles.len()
    }

    /// Lets go of what was kept for a moment, and of files that the newest state does without. To be called now and then.
    pub fn sweep(&self) {
        self.recent.sweep();
        if let Err(error) = self.database.readable() {
            log::debug!("the newest state cannot be read: {error}");
        }
    }

    /// Takes note of what was committed. Where data files have another layout than at the last call, gives the names that
    /// may lead elsewhere since then and that the kernel has to be told of; from the first call on it may believe such names
    /// until it is told. To be called every moment from then on, and not while a request is answered.
    pub fn follow(&self) -> Option<LaidNames> {
        if let Err(error) = self.database.readable() {
            log::debug!("the newest state cannot be read: {error}");
        }
        self.inodes.follow(self.database.snapshot(Version::ZERO).ok()?.layout())
    }

    /// Opens the data files of the layout ahead of who asks for sizes of Parquet files. It may take a while.
    pub fn open_ahead(&self) {
        if let Err(error) = self.database.open_ahead(OPENED_AHEAD_MAX) {
            log::debug!("not all data files were opened ahead: {error}");
        }
    }

    /// What `stat` shows of an inode, and for how long.
    pub fn attributes(&self, inode: u64) -> Result<(Attributes, Duration), Refusal> {
        RequestCounters::count(&self.requests.attributes);
        self.attributes_of(&*self.inode(inode)?)
    }

    /// Where a symbolic link leads.
    pub fn read_link(&self, inode: u64) -> Result<String, Refusal> {
        match self.inode(inode)?.node {
            Node::Latest => Ok(self.latest_target()?.1),
            _ => Err(Refusal::NotLink),
        }
    }

    fn latest_target(&self) -> Result<(Version, String), Refusal> {
        let version = self.database.refresh()?;
        Ok((version, format!("version/{version}")))
    }

    fn inode(&self, number: u64) -> Result<Arc<Inode>, Refusal> {
        self.inodes.get(number).ok_or(Refusal::Stale)
    }

    fn found(&self, inode: &Inode, name_ttl: Duration) -> Result<Found, Refusal> {
        match self.attributes_of(inode) {
            Ok((attributes, attributes_ttl)) => {
                Ok(Found::Entry(Entry { attributes, name_ttl, attributes_ttl }))
            }
            Err(refusal) => {
                // The kernel never hears of it, so it will not forget it.
                self.inodes.forget(inode.number, 1);
                Err(refusal)
            }
        }
    }

    fn attributes_of(&self, inode: &Inode) -> Result<(Attributes, Duration), Refusal> {
        let (size, time, ttl) = match inode.node {
            Node::Latest => {
                let (version, target) = self.latest_target()?;
                (target.len() as u64, self.database.commit_time(version)?, MOVING_TTL)
            }
            Node::GrowingLog { format } => {
                let extent = self.log_extent(format)?;
                (extent.size, extent.time, MOVING_TTL)
            }
            Node::Root | Node::Versions | Node::AsOfs | Node::Tags | Node::Diffs => {
                (0, self.database.commit_time(self.database.readable()?.0)?, GROWING_TTL)
            }
            _ => (inode.size, inode.time, IMMUTABLE_TTL),
        };
        let permissions = &self.options.permissions;
        let kind = inode.node.kind();
        let attributes = Attributes {
            inode: inode.number,
            kind,
            size,
            hole_bytes: inode.hole_bytes,
            time,
            mode: match kind {
                Kind::Directory => permissions.directory_mode,
                Kind::File => permissions.file_mode,
                Kind::Link => 0o777,
            },
            links: inode.node.links(),
            uid: permissions.uid,
            gid: permissions.gid,
        };
        Ok((attributes, ttl))
    }
}
