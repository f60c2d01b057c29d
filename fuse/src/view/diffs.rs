//! `diff/<a>..<b>/`: what changed between two versions.
//!
//! A diff is known by its two versions, so that all names of these lead to the same files. Its files are rendered when they
//! are looked up: nothing else knows how long they are.

use super::listing::Listing;
use super::{FileSystem, Found};
use crate::answer::{Answer, Work};
use crate::attributes::{IMMUTABLE_TTL, MOVING_TTL};
use crate::error::Refusal;
use crate::names;
use crate::nodes::Inode;
use crate::tree::{self, DiffName, Kind, Node, Span, TableFile};
use asof_engine::view::View;
use asof_engine::{AsOf, ErrorKind, Resolved};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often both ends are asked for again where a commit came between.
const RESOLVE_TRIES: usize = 8;

impl FileSystem {
    pub(super) fn lookup_diff(&self, name: &str) -> Result<Found, Refusal> {
        if tree::is_crawler_name(name) {
            return Ok(Found::Missing(IMMUTABLE_TTL));
        }
        let Some((from, to)) = tree::split_diff_name(name) else {
            self.tell(&Node::Diffs, name, "a diff is called FROM..TO, two as-of expressions");
            return Ok(Found::Missing(IMMUTABLE_TTL));
        };
        let (from, to) = match self.resolve_both(from, to) {
            Ok(both) => both,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                self.tell_error(&Node::Diffs, name, &error);
                return Ok(Found::Missing(MOVING_TTL));
            }
            Err(error) => return Err(error.into()),
        };
        let span = Span { from: from.version, to: to.version };
        if span.from > span.to {
            let why = format!(
                "version {} is after version {}: a diff goes from earlier to later",
                span.from, span.to
            );
            self.tell(&Node::Diffs, name, why);
            return Ok(Found::Missing(MOVING_TTL));
        }
        let ttl = if from.moving || to.moving { MOVING_TTL } else { IMMUTABLE_TTL };
        let node = Node::Diff { name: name.into(), span };
        self.enter_directory(node, span.to, ttl)
    }

    /// Both ends at one moment, so that `latest~3..latest` are three commits whoever commits meanwhile.
    fn resolve_both(&self, from: &str, to: &str) -> asof_engine::Result<(Resolved, Resolved)> {
        let zone = &self.database.options().time_zone;
        let (from, to) = (AsOf::parse(from, zone)?, AsOf::parse(to, zone)?);
        let mut newest = self.database.readable()?.0;
        let mut tries = 0;
        loop {
            let both = (self.database.resolve(&from)?, self.database.resolve(&to)?);
            let now = self.database.readable()?.0;
            tries += 1;
            if now == newest || tries == RESOLVE_TRIES {
                return Ok(both);
            }
            newest = now;
        }
    }

    pub(super) fn lookup_in_diff(
        self: &Arc<Self>,
        directory: &Node,
        span: Span,
        inside: Option<&str>,
        name: &str,
    ) -> Result<Answer<Found>, Refusal> {
        let missing = Ok(Answer::Now(Found::Missing(IMMUTABLE_TTL)));
        let node = match DiffName::parse(name) {
            None => return missing,
            Some(DiffName::Stat | DiffName::Namespace(_)) if inside.is_some() => return missing,
            Some(DiffName::Stat) => Node::DiffStat { span },
            Some(DiffName::Namespace(encoded)) => {
                return Ok(Answer::Now(self.lookup_diff_namespace(directory, span, encoded)?));
            }
            Some(DiffName::Table(encoded, format)) => match self.table_of_diff(span, inside, encoded)? {
                Some(table) => Node::DiffTable { span, table: table.into(), format },
                None => {
                    let why = format!("neither version {} nor version {} has this table", span.from, span.to);
                    self.tell(directory, name, why);
                    return missing;
                }
            },
        };
        if let Some(inode) = self.inodes.enter_known(&node) {
            return Ok(Answer::Now(self.found(&inode, IMMUTABLE_TTL)?));
        }
        let this = self.clone();
        Ok(Answer::Later(Work::new(node.inode(), move || {
            let view = this.diff_view(&node)?;
            let time = this.database.commit_time(span.to)?;
            let inode = match &node {
                Node::DiffTable { table, .. } => {
                    Inode::of_table(node.clone(), view.size(), time, table, span.to)
                }
                _ => Inode::new(node, view.size(), time),
            };
            let inode = this.inodes.enter(inode);
            inode.remember_view(&view);
            this.recent.keep(&view);
            this.found(&inode, IMMUTABLE_TTL)
        })))
    }

    fn lookup_diff_namespace(&self, directory: &Node, span: Span, encoded: &str) -> Result<Found, Refusal> {
        let Node::Diff { name, .. } = directory else { return Err(Refusal::NotDirectory) };
        let mut tables = Vec::new();
        for version in [span.from, span.to] {
            tables.extend(self.database.snapshot(version)?.table_names()?);
        }
        let Some(namespace) = names::find_namespace(&tables, encoded) else {
            let why = format!("neither version {} nor version {} has this namespace", span.from, span.to);
            self.tell(directory, encoded, why);
            return Ok(Found::Missing(IMMUTABLE_TTL));
        };
        let node = Node::DiffNamespace { name: name.clone(), span, namespace: namespace.into() };
        self.enter_directory(node, span.to, IMMUTABLE_TTL)
    }

    /// The full name of a table that either version has.
    fn table_of_diff(
        &self,
        span: Span,
        namespace: Option<&str>,
        encoded: &str,
    ) -> Result<Option<String>, Refusal> {
        for version in [span.to, span.from] {
            let snapshot = self.database.snapshot(version)?;
            if let Some(table) = self.table_of(&snapshot, namespace, encoded)?
                && snapshot.schema(&table).is_ok()
            {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    /// What a file of a diff shows.
    pub(super) fn diff_view(&self, node: &Node) -> Result<Arc<View>, Refusal> {
        Ok(match node {
            Node::DiffTable { span, table, format } => {
                self.database.diff_view(span.from, span.to, table, *format)?
            }
            Node::DiffStat { span } => self.database.diff_stat_view(span.from, span.to)?,
            _ => return Err(Refusal::Stale),
        })
    }

    /// The tables that changed, as far as is known without reading rows.
    pub(super) fn list_diff(
        &self,
        list: &mut Listing,
        name: &Arc<str>,
        span: Span,
        inside: Option<&str>,
    ) -> Result<(), Refusal> {
        let mut namespaces = BTreeSet::new();
        let tables = self.database.tables_between(span.from, span.to, None)?;
        for table in tables.iter().filter(|table| table.may_differ()) {
            let (namespace, own_name) = names::split_table_name(&table.name);
            if namespace == inside {
                for format in &self.options.formats {
                    let node = Node::DiffTable { span, table: table.name.as_str().into(), format: *format };
                    let file = tree::table_file_name(own_name, TableFile::Rows(*format));
                    list.add(&file, Kind::File, node.inode());
                }
            } else if let (Some(namespace), None) = (namespace, inside)
                && namespaces.insert(namespace.to_string())
            {
                let node = Node::DiffNamespace { name: name.clone(), span, namespace: namespace.into() };
                list.add(&names::encode(namespace), Kind::Directory, node.inode());
            }
        }
        Ok(())
    }
}
