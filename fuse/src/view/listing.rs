//! What a directory holds, name by name.
//!
//! Most directories are listed at once when their reading begins, and an offset is a place in that list. `version/`
//! and `asof/` are as long as history: there an offset is a version or a day, and the next is found by search.

use super::{FileSystem, Listed, Opened};
use crate::days;
use crate::error::Refusal;
use crate::handles::{Handle, OpenDirectory};
use crate::names;
use crate::nodes::Inode;
use crate::requests::RequestCounters;
use crate::tree::{self, Door, Kind, Node, TableFile};
use asof_engine::Version;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries `.` and `..`, then the first of a streamed listing.
const FIRST_STREAMED: u64 = 2;
/// Added to a day's number to make it an offset in a listing; days of four-digit years stay positive with it.
const DAY_BIAS: i64 = 1 << 30;

impl FileSystem {
    /// Opens a directory.
    pub fn open_directory(&self, inode: u64) -> Result<Opened, Refusal> {
        let inode = self.inode(inode)?;
        if inode.node.kind() != Kind::Directory {
            return Err(Refusal::NotDirectory);
        }
        let keep_cache = matches!(
            inode.node,
            Node::State { .. } | Node::Namespace { .. } | Node::Diff { .. } | Node::DiffNamespace { .. }
        );
        let directory = OpenDirectory {
            inode,
            newest: Mutex::new(self.database.readable()?.0),
            entries: Mutex::default(),
        };
        Ok(Opened { handle: self.handles.add(Handle::Directory(directory)), keep_cache, direct: false })
    }

    /// Gives entries from an offset on until `full` says so. Renders nothing; a listing as long as history is made
    /// piece by piece.
    pub fn read_directory(
        &self,
        handle: u64,
        offset: u64,
        full: &mut dyn FnMut(&Listed) -> bool,
    ) -> Result<(), Refusal> {
        RequestCounters::count(&self.requests.listings);
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
            *directory.newest.lock() = self.database.readable()?.0;
        }
        let newest = *directory.newest.lock();
        let inode = &directory.inode;
        let dots = [(".", inode.number), ("..", tree::ROOT_INODE)];
        for (index, (name, number)) in (0..FIRST_STREAMED).zip(dots).skip(offset.min(FIRST_STREAMED) as usize)
        {
            let listed =
                Listed { name: name.to_string(), kind: Kind::Directory, inode: number, next: index + 1 };
            if full(&listed) {
                return Ok(());
            }
        }
        let position = offset.max(FIRST_STREAMED) - FIRST_STREAMED;
        if inode.node == Node::Versions {
            let mut listed = Version(position);
            while listed <= newest {
                // Those of which every table is gone are passed over.
                let version = self.database.next_listed(listed)?;
                if version > newest {
                    break;
                }
                listed = version.next();
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
                list.add("diff", Kind::Directory, Node::Diffs.inode());
                list.add("latest", Kind::Link, Node::Latest.inode());
                let version = self.database.readable()?.0;
                for format in &self.options.formats {
                    let node = match self.logs.of(*format) {
                        Some(_) => Node::GrowingLog { format: *format },
                        None => Node::Log { format: *format, version },
                    };
                    list.add(&format!("log.{}", format.extension()), Kind::File, node.inode());
                }
                list.add("tag", Kind::Directory, Node::Tags.inode());
                list.add("version", Kind::Directory, Node::Versions.inode());
            }
            Node::Tags => {
                for tag in self.database.tags()? {
                    let node =
                        Node::State { door: Door::Tag(tag.name.as_str().into()), version: tag.version };
                    list.add(&names::encode(&tag.name), Kind::Directory, node.inode());
                }
            }
            // Any two versions have a diff: there is no end of them.
            Node::Diffs => {}
            Node::Diff { name, span } => {
                list.add(tree::STAT_FILE, Kind::File, Node::DiffStat { span: *span }.inode());
                self.list_diff(&mut list, name, *span, None)?;
            }
            Node::DiffNamespace { name, span, namespace } => {
                self.list_diff(&mut list, name, *span, Some(namespace))?;
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
        let mut namespaces = BTreeSet::new();
        for full in snapshot.table_names()? {
            let (namespace, name) = names::split_table_name(&full);
            if namespace == inside {
                let info = snapshot.table(&full)?;
                let rows = self.options.formats.iter().map(|format| TableFile::Rows(*format));
                for file in rows.chain([TableFile::Schema]) {
                    list.add(&tree::table_file_name(name, file), Kind::File, file.node(&info).inode());
                }
            } else if let (Some(namespace), None) = (namespace, inside)
                && namespaces.insert(namespace.to_string())
            {
                let node = Node::Namespace { door: door.clone(), version, namespace: namespace.into() };
                list.add(&names::encode(namespace), Kind::Directory, node.inode());
            }
        }
        Ok(())
    }
}

/// A listing while it is made.
#[derive(Default)]
pub(super) struct Listing {
    entries: Vec<Listed>,
}

impl Listing {
    pub(super) fn add(&mut self, name: &str, kind: Kind, inode: u64) {
        let next = self.entries.len() as u64 + 1;
        self.entries.push(Listed { name: name.to_string(), kind, inode, next });
    }
}

fn parent_inode(node: &Node) -> u64 {
    match node {
        Node::State { door: Door::Version, .. } => Node::Versions.inode(),
        Node::State { door: Door::AsOf(_), .. } => Node::AsOfs.inode(),
        Node::State { door: Door::Tag(_), .. } => Node::Tags.inode(),
        Node::Namespace { door, version, .. } => {
            Node::State { door: door.clone(), version: *version }.inode()
        }
        Node::Diff { .. } => Node::Diffs.inode(),
        Node::DiffNamespace { name, span, .. } => Node::Diff { name: name.clone(), span: *span }.inode(),
        _ => tree::ROOT_INODE,
    }
}
