//! Why a name leads nowhere, told to who watches the mount. It changes no answer.

use super::FileSystem;
use crate::names::{self, Decoded};
use crate::tree::{self, Door, FORMATS, Node, StateName};
use asof_engine::{AsOf, Error, Resolved, Version, asof};
use std::fmt::Display;

impl FileSystem {
    /// Tells that a name is not in a directory, and why.
    pub(super) fn tell(&self, directory: &Node, name: &str, why: impl Display) {
        let directory = path_of(directory);
        let slash = if directory.is_empty() { "" } else { "/" };
        self.told.tell(format!("{directory}{slash}{}: {why}", name.escape_debug()));
    }

    /// Tells an error, with what is there instead.
    pub(super) fn tell_error(&self, directory: &Node, name: &str, error: &Error) {
        let message = error.to_string();
        let nearest: Vec<&str> =
            error.nearest().iter().map(String::as_str).filter(|near| !message.contains(near)).collect();
        match nearest.is_empty() {
            true => self.tell(directory, name, message),
            false => self.tell(directory, name, format_args!("{message}; nearest: {}", nearest.join(", "))),
        }
    }

    /// Tells of a time before all commits: it is there, but empty.
    pub(super) fn tell_if_before_all(&self, name: &str, expression: &AsOf, resolved: &Resolved) {
        let is_time = matches!(expression, AsOf::Time(_) | AsOf::Before(_) | AsOf::Relative(_));
        if resolved.version == Version::ZERO
            && is_time
            && let Ok(first) = self.database.commit_time(Version(1))
        {
            let first = asof::format_time(first);
            let why = format!("before the first commit, version 1 of {first}: the empty database");
            self.tell(&Node::AsOfs, name, why);
        }
    }

    /// Tells why nothing of a name is in `version/`.
    pub(super) fn tell_no_version(&self, name: &str) {
        if !name.starts_with('.') {
            let why = "a version is a plain number; other expressions go below asof/";
            self.tell(&Node::Versions, name, why);
        }
    }

    /// Tells why nothing of a name is in a state, or in a namespace there.
    pub(super) fn tell_not_in_state(
        &self,
        directory: &Node,
        version: Version,
        inside: Option<&str>,
        name: &str,
    ) {
        if name.starts_with('.') {
            return;
        }
        let Ok(snapshot) = self.database.snapshot(version) else { return };
        let full = |encoded: &str| match names::decode(encoded) {
            Some(Decoded::Name(name)) => Some(names::join_table_name(inside, &name)),
            Some(Decoded::Long) | None => None,
        };
        let is_there =
            |table: &Option<String>| table.as_ref().is_some_and(|table| snapshot.schema(table).is_ok());
        match StateName::parse(name) {
            Some(StateName::Table(encoded, file)) => {
                let Some(table) = full(encoded) else { return };
                match (snapshot.table(&table), names::split_table_name(&table)) {
                    (Ok(_), (Some(namespace), rest)) if inside.is_none() => {
                        let (directory_name, file) =
                            (names::encode(namespace), tree::table_file_name(rest, file));
                        self.tell(directory, name, format_args!("it is {directory_name}/{file}"));
                    }
                    (Ok(_), _) => {}
                    (Err(error), _) => self.tell_error(directory, name, &error),
                }
            }
            Some(StateName::Namespace(encoded)) if is_there(&full(encoded)) => {
                let files = FORMATS.map(|format| format!("{name}.{}", format.extension()));
                self.tell(directory, name, format_args!("a table is a file: {}", files.join(", ")));
            }
            Some(StateName::Namespace(_)) => {
                self.tell(directory, name, format_args!("version {version} has no namespace of this name"));
            }
            Some(StateName::Commit) => {}
            None => {
                if let Some((encoded, _)) = name.rsplit_once('.').filter(|(stem, _)| is_there(&full(stem))) {
                    let files = FORMATS.map(|format| format!("{encoded}.{}", format.extension()));
                    let schema = tree::SCHEMA_ENDING;
                    let why = format!("the table's files are {}, {encoded}{schema}", files.join(", "));
                    self.tell(directory, name, why);
                }
            }
        }
    }
}

/// What a directory is called, from the root of the mount.
fn path_of(node: &Node) -> String {
    let of_door = |door: &Door, version: &Version| match door {
        Door::Root => String::new(),
        Door::Version => format!("version/{version}"),
        Door::AsOf(name) => format!("asof/{name}"),
        Door::Tag(name) => format!("tag/{}", names::encode(name)),
    };
    let inside = |directory: String, namespace: &str| match directory.as_str() {
        "" => names::encode(namespace),
        _ => format!("{directory}/{}", names::encode(namespace)),
    };
    match node {
        Node::Versions => "version".to_string(),
        Node::AsOfs => "asof".to_string(),
        Node::Tags => "tag".to_string(),
        Node::Diffs => "diff".to_string(),
        Node::State { door, version } => of_door(door, version),
        Node::Namespace { door, version, namespace } => inside(of_door(door, version), namespace),
        Node::Diff { name, .. } => format!("diff/{name}"),
        Node::DiffNamespace { name, namespace, .. } => inside(format!("diff/{name}"), namespace),
        _ => String::new(),
    }
}
