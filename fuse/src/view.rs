//! The read-only file system in plain Rust types: no fuser, no kernel.
//!
//! Answers carry how long they may be believed. Nothing here renders inside a request: what may render comes back as
//! [`Answer::Later`]. No lock is held over the engine's work. Idle inodes hold no snapshot and so keep no file of the
//! database alive; what is open does.
//!
//! Invariant: a file's size, once told, is the length of what is read through it. Where the engine disagrees later,
//! the inode is stale and the name leads to another one.

use crate::answer::{Answer, Work};
use crate::attributes::{Attributes, GROWING_TTL, IMMUTABLE_TTL, MOVING_TTL, Permissions};
use crate::days;
use crate::error::Refusal;
use crate::handles::{Content, Handle, Handles, OpenDirectory, OpenFile};
use crate::names::{self, Decoded};
use crate::nodes::{Inode, Inodes};
use crate::recent::RecentViews;
use crate::tree::{self, Door, Kind, Node, StateName, TableFile, TopName};
use asof_engine::view::{Format, View};
use asof_engine::{AsOf, CommitTime, Database, ErrorKind, Snapshot, Version, json};
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What `README.md` says.
const README: &str = include_str!("mounted_readme.md");
/// Entries `.` and `..`, then the first of a streamed listing.
const FIRST_STREAMED: u64 = 2;
/// Added to a day's number to make it an offset in a listing; days of four-digit years stay positive with it.
const DAY_BIAS: i64 = 1 << 30;

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
        let started = database.commit_time(database.refresh()?)?;
        let root = match options.at {
            None => Inode::new(Node::Root, 0, started),
            Some(version) => {
                Inode::new(Node::State { door: Door::Root, version }, 0, database.commit_time(version)?)
            }
        };
        Ok(Arc::new(FileSystem {
            database,
            options,
            inodes: Inodes::new(root),
            handles: Handles::default(),
            recent: RecentViews::default(),
            started,
        }))
    }

    /// The database it shows.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// How many inodes the kernel knows.
    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// How many files and directories are open.
    pub fn open_count(&self) -> usize {
        self.handles.len()
    }

    /// Lets go of what was kept for a moment. To be called now and then.
    pub fn sweep(&self) {
        self.recent.sweep();
    }

    // ---- names

    /// What a name in a directory leads to.
    pub fn lookup(self: &Arc<Self>, parent: u64, name: &OsStr) -> Result<Answer<Found>, Refusal> {
        let parent = self.inode(parent)?;
        if name.as_bytes().len() > names::NAME_BYTES_MAX {
            return Err(Refusal::NameTooLong);
        }
        // Names that are no UTF-8 are never there.
        let Some(name) = name.to_str() else { return Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL))) };
        match &parent.node {
            Node::Root => self.lookup_top(name),
            Node::Versions => self.lookup_version(name).map(Answer::Now),
            Node::AsOfs => self.lookup_asof(name).map(Answer::Now),
            Node::Tags => self.lookup_tag(name).map(Answer::Now),
            Node::State { door, version } => self.lookup_in_state(door, *version, None, name),
            Node::Namespace { door, version, namespace } => {
                self.lookup_in_state(door, *version, Some(namespace), name)
            }
            _ => Err(Refusal::NotDirectory),
        }
    }

    /// Takes back lookups that were answered.
    pub fn forget(&self, inode: u64, lookups: u64) {
        self.inodes.forget(inode, lookups);
    }

    fn lookup_top(self: &Arc<Self>, name: &str) -> Result<Answer<Found>, Refusal> {
        let Some(top) = TopName::parse(name) else { return Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL))) };
        let inode = match top {
            TopName::Readme => Inode::new(Node::Readme, README.len() as u64, self.started),
            TopName::Latest => Inode::new(Node::Latest, 0, self.started),
            TopName::Versions => Inode::new(Node::Versions, 0, self.started),
            TopName::AsOfs => Inode::new(Node::AsOfs, 0, self.started),
            TopName::Tags => Inode::new(Node::Tags, 0, self.started),
            TopName::Log(format) => return self.lookup_log(format),
        };
        let inode = self.inodes.enter(inode);
        Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?))
    }

    fn lookup_log(self: &Arc<Self>, format: Format) -> Result<Answer<Found>, Refusal> {
        let node = Node::Log { format, version: self.database.refresh()? };
        if let Some(inode) = self.inodes.enter_known(&node) {
            return Ok(Answer::Now(self.found(&inode, MOVING_TTL)?));
        }
        let this = self.clone();
        Ok(Answer::Later(Work::new(node.inode(), move || {
            let mut version = this.database.refresh()?;
            let mut view = this.database.log_view(format)?;
            // The log is asked for as it is now; where a commit came between, ask again. A view that is newer than
            // its number after all is still a true one.
            for _ in 0..8 {
                let newest = this.database.latest()?;
                if newest == version {
                    break;
                }
                version = newest;
                view = this.database.log_view(format)?;
            }
            let time = this.database.commit_time(version)?;
            let mut inode = Inode::new(Node::Log { format, version }, view.size(), time);
            inode.log = Some(view);
            let inode = this.inodes.enter(inode);
            this.found(&inode, MOVING_TTL)
        })))
    }

    fn lookup_version(&self, name: &str) -> Result<Found, Refusal> {
        let Some(version) = tree::parse_version(name) else { return Ok(Found::Missing(IMMUTABLE_TTL)) };
        if version > self.database.latest()? && version > self.database.refresh()? {
            return Ok(Found::Missing(MOVING_TTL));
        }
        self.enter_state(Door::Version, version, IMMUTABLE_TTL)
    }

    fn lookup_asof(&self, name: &str) -> Result<Found, Refusal> {
        if tree::is_crawler_name(name) {
            return Ok(Found::Missing(IMMUTABLE_TTL));
        }
        let resolved = AsOf::parse(name, &self.database.options().time_zone).and_then(|expression| {
            self.database.refresh()?;
            self.database.resolve(&expression)
        });
        match resolved {
            Ok(resolved) => {
                let ttl = if resolved.moving { MOVING_TTL } else { IMMUTABLE_TTL };
                self.enter_state(Door::AsOf(name.into()), resolved.version, ttl)
            }
            // What is no expression is nothing. Nothing is cached here: time passes, tags are made.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                log::info!("asof/{}: {error}", name.escape_debug());
                Ok(Found::Missing(MOVING_TTL))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lookup_tag(&self, name: &str) -> Result<Found, Refusal> {
        let Some(decoded) = names::decode(name) else { return Ok(Found::Missing(IMMUTABLE_TTL)) };
        self.database.refresh()?;
        let tags = self.database.tags()?;
        let tag = tags.iter().find(|tag| match &decoded {
            Decoded::Name(wanted) => tag.name == *wanted,
            Decoded::Long => names::encode(&tag.name) == name,
        });
        match tag {
            Some(tag) => self.enter_state(Door::Tag(tag.name.as_str().into()), tag.version, MOVING_TTL),
            None => Ok(Found::Missing(MOVING_TTL)),
        }
    }

    fn enter_state(&self, door: Door, version: Version, ttl: Duration) -> Result<Found, Refusal> {
        let node = Node::State { door, version };
        let inode = match self.inodes.enter_known(&node) {
            Some(inode) => inode,
            None => self.inodes.enter(Inode::new(node, 0, self.database.commit_time(version)?)),
        };
        self.found(&inode, ttl)
    }

    fn lookup_in_state(
        self: &Arc<Self>,
        door: &Door,
        version: Version,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Answer<Found>, Refusal> {
        let missing = Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL)));
        match StateName::parse(name) {
            None => missing,
            Some(StateName::Commit) if version == Version::ZERO || namespace.is_some() => missing,
            Some(StateName::Commit) => {
                let node = Node::Commit { version };
                let inode = match self.inodes.enter_known(&node) {
                    Some(inode) => inode,
                    None => {
                        let size = self.commit_json(version)?.len() as u64;
                        self.inodes.enter(Inode::new(node, size, self.database.commit_time(version)?))
                    }
                };
                Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?))
            }
            Some(StateName::Namespace(_)) if namespace.is_some() => missing,
            Some(StateName::Namespace(encoded)) => {
                let names = self.database.snapshot(version)?.table_names()?;
                let there = names
                    .iter()
                    .filter_map(|full| names::split_table_name(full).0)
                    .find(|namespace| names::encode(namespace) == encoded);
                let Some(namespace) = there else { return missing };
                let node = Node::Namespace { door: door.clone(), version, namespace: namespace.into() };
                let inode = match self.inodes.enter_known(&node) {
                    Some(inode) => inode,
                    None => self.inodes.enter(Inode::new(node, 0, self.database.commit_time(version)?)),
                };
                Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?))
            }
            Some(StateName::Table(encoded, file)) => {
                let snapshot = self.database.snapshot(version)?;
                match self.table_of(&snapshot, namespace, encoded)? {
                    Some(table) => self.lookup_table(snapshot, table, file),
                    None => missing,
                }
            }
        }
    }

    /// The full name of a table from its encoded name, where that is a name at all.
    fn table_of(
        &self,
        snapshot: &Snapshot,
        namespace: Option<&str>,
        encoded: &str,
    ) -> Result<Option<String>, Refusal> {
        let is_here = |full: &str| names::split_table_name(full).0 == namespace;
        Ok(match names::decode(encoded) {
            Some(Decoded::Name(name)) => {
                Some(names::join_table_name(namespace, &name)).filter(|full| is_here(full))
            }
            Some(Decoded::Long) => snapshot
                .table_names()?
                .into_iter()
                .find(|full| is_here(full) && names::encode(names::split_table_name(full).1) == encoded),
            None => None,
        })
    }

    fn lookup_table(
        self: &Arc<Self>,
        snapshot: Snapshot,
        table: String,
        file: TableFile,
    ) -> Result<Answer<Found>, Refusal> {
        let info = match snapshot.table(&table) {
            Ok(info) => info,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                return Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL)));
            }
            Err(error) => return Err(error.into()),
        };
        let version = snapshot.version();
        let node = table_node(&info, file);
        if let Some(inode) = self.inodes.enter_known(&node) {
            inode.found_at(version);
            return Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?));
        }
        let enter = move |this: &FileSystem, node, size| {
            let inode = Inode::of_table(node, size, info.changed_time, &info.name, version);
            this.inodes.enter(inode)
        };
        let size = match file {
            TableFile::Schema => schema_json(&snapshot, &table)?.len() as u64,
            TableFile::Rows(format @ (Format::Csv | Format::JsonLines)) => snapshot.view_size(&table, format)?,
            TableFile::Rows(format @ (Format::Parquet | Format::Arrow)) => {
                // The size is known once it is rendered.
                let this = self.clone();
                return Ok(Answer::Later(Work::new(node.inode(), move || {
                    if let Some(inode) = this.inodes.enter_known(&node) {
                        inode.found_at(version);
                        return this.found(&inode, IMMUTABLE_TTL);
                    }
                    let view = snapshot.view(&table, format)?;
                    let inode = enter(&this, node, view.size());
                    inode.remember_view(&view);
                    this.recent.keep(view);
                    this.found(&inode, IMMUTABLE_TTL)
                })));
            }
        };
        let inode = enter(self, node, size);
        Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?))
    }

    // ---- attributes

    /// What `stat` shows of an inode, and for how long.
    pub fn attributes(&self, inode: u64) -> Result<(Attributes, Duration), Refusal> {
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
            Ok((attributes, attributes_ttl)) => Ok(Found::Entry(Entry { attributes, name_ttl, attributes_ttl })),
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
            Node::Root | Node::Versions | Node::AsOfs | Node::Tags => {
                (0, self.database.commit_time(self.database.refresh()?)?, GROWING_TTL)
            }
            _ => (inode.size, inode.time, IMMUTABLE_TTL),
        };
        let permissions = &self.options.permissions;
        let kind = inode.node.kind();
        let attributes = Attributes {
            inode: inode.number,
            kind,
            size,
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

    // ---- files

    /// Opens a file for reading; with flags that mean writing, refuses.
    pub fn open(self: &Arc<Self>, inode: u64, flags: i32) -> Result<Answer<Opened>, Refusal> {
        let inode = self.inode(inode)?;
        if inode.node.kind() == Kind::Directory {
            return Err(Refusal::IsDirectory);
        }
        if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0 {
            return Err(Refusal::ReadOnly);
        }
        let content = match &inode.node {
            Node::Readme => Content::Bytes(README.as_bytes().to_vec()),
            Node::Commit { version } => Content::Bytes(self.commit_json(*version)?),
            Node::Schema { .. } => {
                let snapshot = self.database.snapshot(inode.version())?;
                Content::Bytes(schema_json(&snapshot, table_name(&inode))?)
            }
            Node::Table { format, .. } => match inode.view() {
                Some(view) => Content::View(view),
                None if matches!(format, Format::Csv | Format::JsonLines) => Content::View(self.view_of(&inode)?),
                None => {
                    let this = self.clone();
                    return Ok(Answer::Later(Work::new(inode.number, move || {
                        let view = this.view_of(&inode)?;
                        this.opened(inode, Content::View(view))
                    })));
                }
            },
            Node::Log { .. } => Content::View(inode.view().ok_or(Refusal::Stale)?),
            _ => return Err(Refusal::NotLink),
        };
        Ok(Answer::Now(self.opened(inode, content)?))
    }

    /// The rendering of a table's file.
    fn view_of(&self, inode: &Inode) -> Result<Arc<View>, Refusal> {
        if let Some(view) = inode.view() {
            return Ok(view);
        }
        let Node::Table { format, .. } = inode.node else { return Err(Refusal::Stale) };
        let view = self.database.snapshot(inode.version())?.view(table_name(inode), format)?;
        inode.remember_view(&view);
        Ok(view)
    }

    fn opened(&self, inode: Arc<Inode>, content: Content) -> Result<Opened, Refusal> {
        let size = match &content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::View(view) => view.size(),
        };
        if size != inode.size {
            log::warn!("inode {:#x} was {} bytes long and is now {size}: it gets a new number", inode.number, inode.size);
            inode.make_stale();
            return Err(Refusal::Stale);
        }
        let file = OpenFile { inode, content, ready: AtomicBool::new(false) };
        Ok(Opened { handle: self.handles.add(Handle::File(file)), keep_cache: true })
    }

    /// Reads from an open file; fewer bytes than asked only at its end.
    pub fn read(&self, handle: u64, offset: u64, length: u32) -> Result<Answer<Vec<u8>>, Refusal> {
        let handle = self.handles.get(handle).ok_or(Refusal::NotOpen)?;
        let Handle::File(file) = &*handle else { return Err(Refusal::IsDirectory) };
        if file.is_ready() {
            return Ok(Answer::Now(file.read(offset, length)?));
        }
        let key = file.inode.number;
        Ok(Answer::Later(Work::new(key, move || match &*handle {
            Handle::File(file) => file.read(offset, length),
            Handle::Directory(_) => Err(Refusal::IsDirectory),
        })))
    }

    /// The one sealed file behind an open file, where the kernel may read that by itself.
    pub fn with_sealed_file<T>(&self, handle: u64, use_it: impl FnOnce(&std::fs::File) -> T) -> Option<T> {
        let handle = self.handles.get(handle)?;
        let Handle::File(OpenFile { content: Content::View(view), .. }) = &*handle else { return None };
        view.sealed_file().map(use_it)
    }

    /// Closes a file or directory.
    pub fn release(&self, handle: u64) -> Result<(), Refusal> {
        self.handles.remove(handle).map(drop).ok_or(Refusal::NotOpen)
    }

    fn commit_json(&self, version: Version) -> Result<Vec<u8>, Refusal> {
        let mut commit = json::commit_info_to_json(&self.database.commit_info(version)?, &[], true);
        // Tags and readability move; this file tells what the commit was, and that does not.
        if let Some(fields) = commit.as_object_mut() {
            fields.shift_remove("tags");
            fields.shift_remove("readable");
        }
        Ok(pretty(&commit))
    }

    // ---- directories

    /// Opens a directory.
    pub fn open_directory(&self, inode: u64) -> Result<Opened, Refusal> {
        let inode = self.inode(inode)?;
        if inode.node.kind() != Kind::Directory {
            return Err(Refusal::NotDirectory);
        }
        let keep_cache = matches!(inode.node, Node::State { .. } | Node::Namespace { .. });
        let directory =
            OpenDirectory { inode, newest: Mutex::new(self.database.refresh()?), entries: Mutex::default() };
        Ok(Opened { handle: self.handles.add(Handle::Directory(directory)), keep_cache })
    }

    /// Gives entries from an offset on until `full` says so. Renders nothing; a listing as long as history is made
    /// piece by piece.
    pub fn read_directory(
        &self,
        handle: u64,
        offset: u64,
        full: &mut dyn FnMut(&Listed) -> bool,
    ) -> Result<(), Refusal> {
        let handle = self.handles.get(handle).ok_or(Refusal::NotOpen)?;
        let Handle::Directory(directory) = &*handle else { return Err(Refusal::NotDirectory) };
        let node = &directory.inode.node;
        if matches!(node, Node::Versions | Node::AsOfs) {
            return self.stream(directory, offset, full);
        }
        let entries = if offset == 0 {
            let entries = Arc::new(self.list(&directory.inode)?);
            *directory.entries.lock() = entries.clone();
            entries
        } else {
            directory.entries.lock().clone()
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for listed in entries.iter().skip(start) {
            if full(listed) {
                break;
            }
        }
        Ok(())
    }

    /// `version/` and `asof/`: from one entry, the next is found by search.
    fn stream(
        &self,
        directory: &OpenDirectory,
        offset: u64,
        full: &mut dyn FnMut(&Listed) -> bool,
    ) -> Result<(), Refusal> {
        if offset == 0 {
            *directory.newest.lock() = self.database.refresh()?;
        }
        let newest = *directory.newest.lock();
        let inode = &directory.inode;
        let dots = [(".", inode.number), ("..", tree::ROOT_INODE)];
        for (index, (name, number)) in (0..FIRST_STREAMED).zip(dots).skip(offset.min(FIRST_STREAMED) as usize) {
            let listed = Listed { name: name.to_string(), kind: Kind::Directory, inode: number, next: index + 1 };
            if full(&listed) {
                return Ok(());
            }
        }
        let position = offset.max(FIRST_STREAMED) - FIRST_STREAMED;
        if inode.node == Node::Versions {
            for version in (position..=newest.0).map(Version) {
                let node = Node::State { door: Door::Version, version };
                let next = version.0 + 1 + FIRST_STREAMED;
                let name = version.to_string();
                if full(&Listed { name, kind: Kind::Directory, inode: node.inode(), next }) {
                    break;
                }
            }
            return Ok(());
        }
        // The position after a day is its number with the bias, which is positive; 0 is before all days.
        let mut after = (position != 0).then(|| i64::try_from(position).unwrap_or(i64::MAX) - DAY_BIAS);
        while let Some(day) = days::next_day(&self.database, after, newest)? {
            after = Some(day.number);
            let name = format!("eod:{}", day.date);
            let node = Node::State { door: Door::AsOf(name.as_str().into()), version: day.version };
            let next = (day.number + DAY_BIAS) as u64 + FIRST_STREAMED;
            if full(&Listed { name, kind: Kind::Directory, inode: node.inode(), next }) {
                break;
            }
        }
        Ok(())
    }

    /// All entries of a directory whose length does not grow with history.
    fn list(&self, inode: &Inode) -> Result<Vec<Listed>, Refusal> {
        let mut list = Listing::default();
        list.add(".", Kind::Directory, inode.number);
        list.add("..", Kind::Directory, parent_inode(&inode.node));
        match &inode.node {
            Node::Root => {
                list.add("README.md", Kind::File, Node::Readme.inode());
                list.add("asof", Kind::Directory, Node::AsOfs.inode());
                list.add("latest", Kind::Link, Node::Latest.inode());
                let version = self.database.refresh()?;
                for format in &self.options.formats {
                    let node = Node::Log { format: *format, version };
                    list.add(&format!("log.{}", format.extension()), Kind::File, node.inode());
                }
                list.add("tag", Kind::Directory, Node::Tags.inode());
                list.add("version", Kind::Directory, Node::Versions.inode());
            }
            Node::Tags => {
                self.database.refresh()?;
                for tag in self.database.tags()? {
                    let node = Node::State { door: Door::Tag(tag.name.as_str().into()), version: tag.version };
                    list.add(&names::encode(&tag.name), Kind::Directory, node.inode());
                }
            }
            Node::State { door, version } => {
                if *version > Version::ZERO {
                    list.add(tree::COMMIT_FILE, Kind::File, Node::Commit { version: *version }.inode());
                }
                self.list_tables(&mut list, door, *version, None)?;
            }
            Node::Namespace { door, version, namespace } => {
                self.list_tables(&mut list, door, *version, Some(namespace))?;
            }
            _ => return Err(Refusal::NotDirectory),
        }
        Ok(list.entries)
    }

    fn list_tables(
        &self,
        list: &mut Listing,
        door: &Door,
        version: Version,
        inside: Option<&str>,
    ) -> Result<(), Refusal> {
        let snapshot = self.database.snapshot(version)?;
        let mut namespaces = std::collections::BTreeSet::new();
        for full in snapshot.table_names()? {
            let (namespace, name) = names::split_table_name(&full);
            match namespace {
                Some(namespace) if inside.is_none() => {
                    if namespaces.insert(namespace.to_string()) {
                        let node = Node::Namespace { door: door.clone(), version, namespace: namespace.into() };
                        list.add(&names::encode(namespace), Kind::Directory, node.inode());
                    }
                }
                _ if namespace == inside => {
                    let info = snapshot.table(&full)?;
                    let rows = self.options.formats.iter().map(|format| TableFile::Rows(*format));
                    for file in rows.chain([TableFile::Schema]) {
                        list.add(&tree::table_file_name(name, file), Kind::File, table_node(&info, file).inode());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl OpenFile {
    /// Whether a read takes no rendering.
    fn is_ready(&self) -> bool {
        match &self.content {
            Content::Bytes(_) => true,
            Content::View(view) => self.ready.load(Ordering::Acquire) || view.sealed_file().is_some(),
        }
    }

    fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        let rest = self.inode.size.saturating_sub(offset);
        let length = rest.min(u64::from(length)) as usize;
        match &self.content {
            Content::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes[start..start + length].to_vec())
            }
            Content::View(view) => {
                let mut buffer = vec![0; length];
                let mut filled = 0;
                while filled < length {
                    let got = view.read_at(&mut buffer[filled..], offset + filled as u64)?;
                    if got == 0 {
                        // Fewer bytes than the size says would reach readers as zeros.
                        let table = self.inode.table.as_deref().unwrap_or("log");
                        return Err(asof_engine::Error::corrupt(format!(
                            "'{table}' rendered as a file ends at byte {}, before its size of {}",
                            offset + filled as u64,
                            self.inode.size
                        ))
                        .into());
                    }
                    filled += got;
                }
                self.ready.store(true, Ordering::Release);
                Ok(buffer)
            }
        }
    }
}

/// Entries of a listing with their offsets.
#[derive(Default)]
struct Listing {
    entries: Vec<Listed>,
}

impl Listing {
    fn add(&mut self, name: &str, kind: Kind, inode: u64) {
        let next = self.entries.len() as u64 + 1;
        self.entries.push(Listed { name: name.to_string(), kind, inode, next });
    }
}

fn table_node(info: &asof_engine::TableInfo, file: TableFile) -> Node {
    let (table, changed) = (info.id, info.changed);
    match file {
        TableFile::Rows(format) => Node::Table { table, changed, format },
        TableFile::Schema => Node::Schema { table, changed },
    }
}

fn table_name(inode: &Inode) -> &str {
    inode.table.as_deref().expect("inodes of tables are made with the table's name")
}

fn parent_inode(node: &Node) -> u64 {
    match node {
        Node::State { door: Door::Version, .. } => Node::Versions.inode(),
        Node::State { door: Door::AsOf(_), .. } => Node::AsOfs.inode(),
        Node::State { door: Door::Tag(_), .. } => Node::Tags.inode(),
        Node::Namespace { door, version, .. } => Node::State { door: door.clone(), version: *version }.inode(),
        _ => tree::ROOT_INODE,
    }
}

fn schema_json(snapshot: &Snapshot, table: &str) -> Result<Vec<u8>, Refusal> {
    let info = snapshot.table(table)?;
    Ok(pretty(&json::schema_to_json(&info.name, &info.schema, info.changed)))
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = format!("{value:#}").into_bytes();
    bytes.push(b'\n');
    bytes
}
