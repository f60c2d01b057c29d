//! From a name in a directory to an inode.

use super::{FileSystem, Found, files};
use crate::answer::{Answer, Work};
use crate::attributes::{IMMUTABLE_TTL, MOVING_TTL};
use crate::error::Refusal;
use crate::names::{self, Decoded};
use crate::nodes::Inode;
use crate::requests::RequestCounters;
use crate::tree::{self, Door, Node, StateName, TableFile, TopName};
use asof_engine::view::Format;
use asof_engine::{AsOf, ErrorKind, Snapshot, TableInfo, Version};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

impl FileSystem {
    /// What a name in a directory leads to.
    pub fn lookup(self: &Arc<Self>, parent: u64, name: &OsStr) -> Result<Answer<Found>, Refusal> {
        RequestCounters::count(&self.requests.lookups);
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
            Node::Diffs => self.lookup_diff(name).map(Answer::Now),
            Node::State { door, version } => {
                let found = self.lookup_in_state(&parent, door, *version, None, name)?;
                Ok(self.told_if_missing(found, &parent.node, *version, None, name))
            }
            Node::Namespace { door, version, namespace } => {
                let found = self.lookup_in_state(&parent, door, *version, Some(namespace), name)?;
                Ok(self.told_if_missing(found, &parent.node, *version, Some(namespace), name))
            }
            Node::Diff { span, .. } => self.lookup_in_diff(&parent.node, *span, None, name),
            Node::DiffNamespace { span, namespace, .. } => {
                self.lookup_in_diff(&parent.node, *span, Some(namespace), name)
            }
            _ => Err(Refusal::NotDirectory),
        }
    }

    fn told_if_missing(
        &self,
        found: Answer<Found>,
        directory: &Node,
        version: Version,
        inside: Option<&str>,
        name: &str,
    ) -> Answer<Found> {
        if matches!(found, Answer::Now(Found::Missing(_))) {
            self.tell_not_in_state(directory, version, inside, name);
        }
        found
    }

    /// Takes back lookups that were answered.
    pub fn forget(&self, inode: u64, lookups: u64) {
        self.inodes.forget(inode, lookups);
    }

    fn lookup_top(self: &Arc<Self>, name: &str) -> Result<Answer<Found>, Refusal> {
        let Some(top) = TopName::parse(name) else { return Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL))) };
        let inode = match top {
            TopName::Readme => Inode::new(Node::Readme, files::README.len() as u64, self.started),
            TopName::Latest => Inode::new(Node::Latest, 0, self.started),
            TopName::Versions => Inode::new(Node::Versions, 0, self.started),
            TopName::AsOfs => Inode::new(Node::AsOfs, 0, self.started),
            TopName::Tags => Inode::new(Node::Tags, 0, self.started),
            TopName::Diffs => Inode::new(Node::Diffs, 0, self.started),
            TopName::Log(format) => return self.lookup_log(format),
        };
        let inode = self.inodes.enter(inode);
        Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?))
    }

    fn lookup_log(self: &Arc<Self>, format: Format) -> Result<Answer<Found>, Refusal> {
        if let Some(log) = self.logs.of(format) {
            return self.lookup_growing_log(format, log);
        }
        let node = Node::Log { format, version: self.database.readable()?.0 };
        if let Some(inode) = self.inodes.enter_known(&node) {
            return Ok(Answer::Now(self.found(&inode, MOVING_TTL)?));
        }
        let this = self.clone();
        Ok(Answer::Later(Work::new(node.inode(), move || {
            let mut version = this.database.readable()?.0;
            let mut view = this.database.log_view(format)?;
            // The log is asked for as it is now; where a commit came between, ask again. A view that is newer than
            // its number after all is still a true one.
            for _ in 0..8 {
                let newest = this.database.readable()?.0;
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
        let Some(version) = tree::parse_version(name) else {
            self.tell_no_version(name);
            return Ok(Found::Missing(IMMUTABLE_TTL));
        };
        if self.database.latest().map_or(true, |latest| version > latest) {
            // Where the log is damaged, versions before the damage are there, and of others nobody knows.
            let (readable, damage) = self.database.readable()?;
            if version > readable {
                let why = format!("there is no version {version}; the newest is {readable}");
                self.tell(&Node::Versions, name, why);
                return damage.map_or(Ok(Found::Missing(MOVING_TTL)), |error| Err(error.into()));
            }
        }
        self.enter_state(Door::Version, version, IMMUTABLE_TTL)
    }

    fn lookup_asof(&self, name: &str) -> Result<Found, Refusal> {
        if tree::is_crawler_name(name) {
            return Ok(Found::Missing(IMMUTABLE_TTL));
        }
        let resolved = AsOf::parse(name, &self.database.options().time_zone).and_then(|expression| {
            self.database.readable()?;
            Ok((self.database.resolve(&expression)?, expression))
        });
        match resolved {
            Ok((resolved, expression)) => {
                self.tell_if_before_all(name, &expression, &resolved);
                let ttl = if resolved.moving { MOVING_TTL } else { IMMUTABLE_TTL };
                self.enter_state(Door::AsOf(name.into()), resolved.version, ttl)
            }
            // What is no expression is nothing. Nothing is cached here: time passes, tags are made.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                self.tell_error(&Node::AsOfs, name, &error);
                Ok(Found::Missing(MOVING_TTL))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lookup_tag(&self, name: &str) -> Result<Found, Refusal> {
        let Some(decoded) = names::decode(name) else { return Ok(Found::Missing(IMMUTABLE_TTL)) };
        let tags = self.database.tags()?;
        let tag = tags.iter().find(|tag| match &decoded {
            Decoded::Name(wanted) => tag.name == *wanted,
            Decoded::Long => names::encode(&tag.name) == name,
        });
        match tag {
            Some(tag) => self.enter_state(Door::Tag(tag.name.as_str().into()), tag.version, MOVING_TTL),
            None => {
                if let Decoded::Name(wanted) = decoded
                    && !name.starts_with('.')
                    && let Err(error) = self.database.resolve(&AsOf::Tag(wanted))
                {
                    self.tell_error(&Node::Tags, name, &error);
                }
                Ok(Found::Missing(MOVING_TTL))
            }
        }
    }

    fn enter_state(&self, door: Door, version: Version, ttl: Duration) -> Result<Found, Refusal> {
        self.enter_directory(Node::State { door, version }, version, ttl)
    }

    /// The directory of a version.
    pub(super) fn enter_directory(
        &self,
        node: Node,
        version: Version,
        ttl: Duration,
    ) -> Result<Found, Refusal> {
        let inode = match self.inodes.enter_known(&node) {
            Some(inode) => inode,
            None => self.inodes.enter(Inode::new(node, 0, self.database.commit_time(version)?)),
        };
        self.found(&inode, ttl)
    }

    fn lookup_in_state(
        self: &Arc<Self>,
        parent: &Inode,
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
                let tables = self.database.snapshot(version)?.table_names()?;
                let Some(namespace) = names::find_namespace(&tables, encoded) else { return missing };
                let node = Node::Namespace { door: door.clone(), version, namespace: namespace.into() };
                Ok(Answer::Now(self.enter_directory(node, version, IMMUTABLE_TTL)?))
            }
            Some(StateName::Table(encoded, file)) => {
                let snapshot = self.database.snapshot(version)?;
                match self.table_of(&snapshot, namespace, encoded)? {
                    Some(table) if file == TableFile::Rows(Format::Parquet) => {
                        self.lookup_parquet((parent.number, name), snapshot, &table)
                    }
                    Some(table) => self.lookup_table(snapshot, table, file),
                    None => missing,
                }
            }
        }
    }

    /// The full name of a table from its encoded name, where that is a name at all.
    pub(super) fn table_of(
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
        let Some(info) = info_of(&snapshot, &table)? else {
            return Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL)));
        };
        let version = snapshot.version();
        let node = file.node(&info);
        if let Some(inode) = self.inodes.enter_known(&node) {
            inode.found_at(version);
            return Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?));
        }
        let size = match file {
            TableFile::Schema => files::schema_json(&snapshot, &table)?.len() as u64,
            TableFile::Digest(format) => files::digest_line_bytes(&table, format),
            TableFile::Rows(format) => snapshot.view_size(&table, format)?,
        };
        let inode = Inode::of_table(node, size, info.changed_time, &info.name, version);
        Ok(Answer::Now(self.found(&self.inodes.enter(inode), IMMUTABLE_TTL)?))
    }

    /// A Parquet file is stitched of data files, and another one when rows come to lie in others: its name is believed
    /// until then, or asked for each time where nobody would tell.
    fn lookup_parquet(
        self: &Arc<Self>,
        (directory, name): (u64, &str),
        snapshot: Snapshot,
        table: &str,
    ) -> Result<Answer<Found>, Refusal> {
        let Some(info) = info_of(&snapshot, table)? else {
            return Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL)));
        };
        let version = snapshot.version();
        let node = move |layout| Node::Table {
            table: info.id,
            changed: info.changed,
            format: Format::Parquet,
            layout,
        };
        let place = (info.id, version, snapshot.layout());
        if let Some(layout) = self.layouts.get(place)
            && let Some(inode) = self.inodes.enter_known(&node(layout))
        {
            inode.found_at(version);
            return Ok(Answer::Now(self.found(&inode, self.laid_ttl(directory, name, &snapshot))?));
        }
        let (this, name) = (self.clone(), name.to_string());
        Ok(Answer::Later(Work::new(node(0).inode(), move || {
            let view = snapshot.view(&info.name, Format::Parquet)?;
            this.layouts.keep(place, view.layout());
            let mut inode =
                Inode::of_table(node(view.layout()), view.size(), info.changed_time, &info.name, version);
            inode.hole_bytes = view.hole_bytes_min();
            let inode = this.inodes.enter(inode);
            inode.found_at(version);
            inode.remember_view(&view);
            this.recent.keep(&view);
            this.found(&inode, this.laid_ttl(directory, &name, &snapshot))
        })))
    }

    /// How long a name may be believed that depends on the layout of data files.
    fn laid_ttl(&self, directory: u64, name: &str, snapshot: &Snapshot) -> Duration {
        match self.inodes.believe(directory, name, snapshot.layout()) {
            true => IMMUTABLE_TTL,
            false => MOVING_TTL,
        }
    }
}

/// A table at a version, if it is there.
fn info_of(snapshot: &Snapshot, table: &str) -> Result<Option<TableInfo>, Refusal> {
    match snapshot.table(table) {
        Ok(info) => Ok(Some(info)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
