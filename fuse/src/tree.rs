//! The tree: which nodes there are, what their names are, and their inode numbers. Knows no database and no kernel.
//!
//! Invariants:
//! - A [`Node`] is an identity: what it shows never changes, except for the few fixed nodes at the top, of which the
//!   text logs grow. A name that moves (`latest`, a relative time, a tag, `log.parquet`) leads to another node once it has
//!   moved.
//! - A table file is identified by the table and the version that last changed it, so an unchanged table is the same
//!   file in every version, and the changes of a table by both versions. Directories are not shared: Linux gives a
//!   directory one name, so each door has its own.
//! - Inode numbers are derived from identities: the same after a remount and on another machine.

use crate::names;
use asof_engine::view::Format;
use asof_engine::{TableInfo, Version};
use std::sync::Arc;

/// The inode number of the root.
pub const ROOT_INODE: u64 = 1;
/// Numbers up to here belong to fixed nodes.
pub const FIXED_INODE_MAX: u64 = 0xFFFF;
/// All forms a table has, in the order in which they are listed.
pub const FORMATS: [Format; 4] = [Format::Parquet, Format::Csv, Format::JsonLines, Format::Arrow];
/// The ending of a table's schema.
pub const SCHEMA_ENDING: &str = ".schema.json";
/// The file that tells what a version's commit was.
pub const COMMIT_FILE: &str = ".commit.json";
/// The file that tells how much a diff changes of each table.
pub const STAT_FILE: &str = ".stat.json";
/// The ending of the digest of a table's file, after that file's own.
pub const SHA256_ENDING: &str = ".sha256";
/// What stands between the two versions in the name of a diff.
pub const DIFF_DOTS: &str = "..";

/// Where a state directory was entered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The mount shows one state alone, at its root.
    Root,
    /// `version/N`
    Version,
    /// `asof/EXPRESSION`
    AsOf(Arc<str>),
    /// `tag/NAME`
    Tag(Arc<str>),
}

/// Something in the tree: what it is, never what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// The root of the whole tree.
    Root,
    /// `README.md`
    Readme,
    /// `latest`, a symbolic link.
    Latest,
    /// `version/`
    Versions,
    /// `asof/`
    AsOfs,
    /// `tag/`
    Tags,
    /// `diff/`
    Diffs,
    /// `log.csv` and `log.jsonl`: text that grows.
    GrowingLog {
        /// Its form.
        format: Format,
    },
    /// `log.parquet` and its like, when `version` was the newest.
    Log {
        /// Its form.
        format: Format,
        /// The last version in it.
        version: Version,
    },
    /// The directory of a state.
    State {
        /// Where it was entered.
        door: Door,
        /// The version it shows.
        version: Version,
    },
    /// The directory of a namespace in a state.
    Namespace {
        /// Where the state was entered.
        door: Door,
        /// The version it shows.
        version: Version,
        /// The namespace.
        namespace: Arc<str>,
    },
    /// A table as a file.
    Table {
        /// Number of the table.
        table: u32,
        /// The version that last changed it.
        changed: Version,
        /// Its form.
        format: Format,
        /// How its rows lie in data files, where its bytes depend on that; else 0. No part of the inode's number: old
        /// layouts are forgotten soon, and until then have it.
        layout: u64,
    },
    /// A table's schema as a file.
    Schema {
        /// Number of the table.
        table: u32,
        /// The version that last changed the table.
        changed: Version,
    },
    /// The digest of a table as a file, as a file.
    Digest {
        /// Number of the table.
        table: u32,
        /// The version that last changed it.
        changed: Version,
        /// The form whose digest it is.
        format: Format,
    },
    /// What a version's commit was, as a file.
    Commit {
        /// The version.
        version: Version,
    },
    /// The directory of what changed between two versions.
    Diff {
        /// What it was called.
        name: Arc<str>,
        /// The versions.
        span: Span,
    },
    /// The directory of a namespace in a diff.
    DiffNamespace {
        /// What the diff was called.
        name: Arc<str>,
        /// The versions.
        span: Span,
        /// The namespace.
        namespace: Arc<str>,
    },
    /// The changes of a table, as a file.
    DiffTable {
        /// The versions.
        span: Span,
        /// Full name of the table: a table of another number may have had it.
        table: Arc<str>,
        /// Its form.
        format: Format,
    },
    /// How much a diff changes of each table, as a file.
    DiffStat {
        /// The versions.
        span: Span,
    },
}

/// Two versions, the first not after the second: what changed after the first up to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The earlier version.
    pub from: Version,
    /// The later version.
    pub to: Version,
}

/// Kind of a node, as listings show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

impl Node {
    /// Directory, file or link.
    pub fn kind(&self) -> Kind {
        match self {
            Node::Root | Node::Versions | Node::AsOfs | Node::Tags | Node::Diffs => Kind::Directory,
            Node::State { .. } | Node::Namespace { .. } => Kind::Directory,
            Node::Diff { .. } | Node::DiffNamespace { .. } => Kind::Directory,
            Node::Latest => Kind::Link,
            Node::Readme | Node::Log { .. } | Node::GrowingLog { .. } | Node::Table { .. } => Kind::File,
            Node::Schema { .. } | Node::Digest { .. } | Node::Commit { .. } => Kind::File,
            Node::DiffTable { .. } | Node::DiffStat { .. } => Kind::File,
        }
    }

    /// Link count: what is of a table alone is shared by versions, and what is of two versions by all names of these;
    /// everything else has one name.
    pub fn links(&self) -> u32 {
        match self {
            Node::Table { .. } | Node::Schema { .. } | Node::Digest { .. } => 2,
            Node::DiffTable { .. } | Node::DiffStat { .. } => 2,
            _ => 1,
        }
    }

    /// The inode number derived from the identity. Two identities may share one, with a chance of one in 2^62.
    pub fn inode(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        match self {
            Node::Root => return ROOT_INODE,
            Node::State { door: Door::Root, .. } => return ROOT_INODE,
            Node::Readme => return 2,
            Node::Latest => return 3,
            Node::Versions => return 4,
            Node::AsOfs => return 5,
            Node::Tags => return 6,
            Node::Diffs => return 7,
            Node::GrowingLog { format: Format::Csv } => return 8,
            Node::GrowingLog { .. } => return 9,
            Node::Log { format, version } => {
                hasher.update(b"log/").update(format.extension().as_bytes()).update(&version.0.to_le_bytes());
            }
            Node::State { door, version } => {
                hasher.update(b"state/").update(&version.0.to_le_bytes());
                hash_door(&mut hasher, door);
            }
            Node::Namespace { door, version, namespace } => {
                hasher.update(b"namespace/").update(&version.0.to_le_bytes());
                hash_door(&mut hasher, door);
                hasher.update(b"/").update(namespace.as_bytes());
            }
            Node::Table { table, changed, format, layout: _ } => {
                hasher.update(b"table/").update(&table.to_le_bytes()).update(&changed.0.to_le_bytes());
                hasher.update(format.extension().as_bytes());
            }
            Node::Schema { table, changed } => {
                hasher.update(b"schema/").update(&table.to_le_bytes()).update(&changed.0.to_le_bytes());
            }
            Node::Digest { table, changed, format } => {
                hasher.update(b"sha256/").update(&table.to_le_bytes()).update(&changed.0.to_le_bytes());
                hasher.update(format.extension().as_bytes());
            }
            Node::Commit { version } => {
                hasher.update(b"commit/").update(&version.0.to_le_bytes());
            }
            Node::Diff { name, span } => {
                hash_span(hasher.update(b"diff/"), *span).update(name.as_bytes());
            }
            Node::DiffNamespace { name, span, namespace } => {
                hash_span(hasher.update(b"diff namespace/"), *span).update(name.as_bytes());
                hasher.update(b"/").update(namespace.as_bytes());
            }
            Node::DiffTable { span, table, format } => {
                hash_span(hasher.update(b"diff table/"), *span).update(format.extension().as_bytes());
                hasher.update(b"/").update(table.as_bytes());
            }
            Node::DiffStat { span } => {
                hash_span(hasher.update(b"diff stat/"), *span);
            }
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // 63 bits, for those who take inode numbers as signed; the upper one of them keeps clear of fixed nodes.
        (u64::from_le_bytes(bytes) >> 2) | 1 << 62
    }
}

fn hash_span(hasher: &mut blake3::Hasher, span: Span) -> &mut blake3::Hasher {
    hasher.update(&span.from.0.to_le_bytes()).update(&span.to.0.to_le_bytes())
}

fn hash_door(hasher: &mut blake3::Hasher, door: &Door) {
    match door {
        Door::Root => hasher.update(b"/"),
        Door::Version => hasher.update(b"/version"),
        Door::AsOf(name) => hasher.update(b"/asof/").update(name.as_bytes()),
        Door::Tag(name) => hasher.update(b"/tag/").update(name.as_bytes()),
    };
}

/// A name in the root of the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopName {
    /// `README.md`
    Readme,
    /// `latest`
    Latest,
    /// `version`
    Versions,
    /// `asof`
    AsOfs,
    /// `tag`
    Tags,
    /// `diff`
    Diffs,
    /// `log.csv` and its like
    Log(Format),
}

impl TopName {
    /// What a name in the root is; no other name will ever be there.
    pub fn parse(name: &str) -> Option<TopName> {
        match name {
            "README.md" => Some(TopName::Readme),
            "latest" => Some(TopName::Latest),
            "version" => Some(TopName::Versions),
            "asof" => Some(TopName::AsOfs),
            "tag" => Some(TopName::Tags),
            "diff" => Some(TopName::Diffs),
            _ => name.strip_prefix("log.").and_then(Format::of_extension).map(TopName::Log),
        }
    }
}

/// What a file of a state directory shows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFile {
    /// Its rows.
    Rows(Format),
    /// Its schema.
    Schema,
    /// The digest of its rows in a form.
    Digest(Format),
}

/// A name in a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName<'a> {
    /// `.commit.json`
    Commit,
    /// `<table>.csv` and its like, with the table's encoded name.
    Table(&'a str, TableFile),
    /// Anything else: a namespace's encoded name, or nothing.
    Namespace(&'a str),
}

impl StateName<'_> {
    /// What a name in a state directory can be; `None` for names that can be nothing.
    pub fn parse(name: &str) -> Option<StateName<'_>> {
        if name == COMMIT_FILE {
            return Some(StateName::Commit);
        }
        if name.starts_with('.') {
            return None;
        }
        if let Some(table) = name.strip_suffix(SCHEMA_ENDING) {
            return Some(StateName::Table(table, TableFile::Schema));
        }
        if let Some(hashed) = name.strip_suffix(SHA256_ENDING) {
            return match StateName::parse(hashed) {
                Some(StateName::Table(table, TableFile::Rows(format))) if has_lasting_bytes(format) => {
                    Some(StateName::Table(table, TableFile::Digest(format)))
                }
                _ => None,
            };
        }
        match name.rsplit_once('.') {
            Some((table, extension)) => {
                Format::of_extension(extension).map(|format| StateName::Table(table, TableFile::Rows(format)))
            }
            None => Some(StateName::Namespace(name)),
        }
    }
}

/// Whether a table's bytes in a form are the same for ever, so that a digest of them means something.
fn has_lasting_bytes(format: Format) -> bool {
    matches!(format, Format::Csv | Format::JsonLines)
}

/// A name in the directory of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffName<'a> {
    /// `.stat.json`
    Stat,
    /// `<table>.csv` and its like, with the table's encoded name.
    Table(&'a str, Format),
    /// Anything else: a namespace's encoded name, or nothing.
    Namespace(&'a str),
}

impl DiffName<'_> {
    /// What a name in the directory of a diff can be; `None` for names that can be nothing.
    pub fn parse(name: &str) -> Option<DiffName<'_>> {
        if name == STAT_FILE {
            return Some(DiffName::Stat);
        }
        match StateName::parse(name)? {
            StateName::Table(table, TableFile::Rows(format)) => Some(DiffName::Table(table, format)),
            StateName::Namespace(namespace) => Some(DiffName::Namespace(namespace)),
            StateName::Table(..) | StateName::Commit => None,
        }
    }
}

/// The two expressions in the name of a diff: what is before the last two dots and what is behind them. No expression
/// has two dots side by side, and none begins with a dot; one may end with a dot, and then there are three.
pub fn split_diff_name(name: &str) -> Option<(&str, &str)> {
    let (from, to) = name.rsplit_once(DIFF_DOTS)?;
    (!from.is_empty() && !to.is_empty()).then_some((from, to))
}

impl TableFile {
    /// The node that shows this of a table.
    pub fn node(self, info: &TableInfo) -> Node {
        let (table, changed) = (info.id, info.changed);
        match self {
            TableFile::Rows(format) => Node::Table { table, changed, format, layout: 0 },
            TableFile::Schema => Node::Schema { table, changed },
            TableFile::Digest(format) => Node::Digest { table, changed, format },
        }
    }
}

/// The file name of a table's rows, schema or digest.
pub fn table_file_name(table: &str, file: TableFile) -> String {
    let mut name = names::encode(table);
    match file {
        TableFile::Rows(format) => {
            name.push('.');
            name.push_str(format.extension());
        }
        TableFile::Schema => name.push_str(SCHEMA_ENDING),
        TableFile::Digest(format) => {
            name.push('.');
            name.push_str(format.extension());
            name.push_str(SHA256_ENDING);
        }
    }
    name
}

/// The version that a name in `version/` stands for; only the plain decimal form is one.
pub fn parse_version(name: &str) -> Option<Version> {
    let plain = name == "0" || (name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0'));
    plain.then(|| name.parse().ok().map(Version)).flatten()
}

/// Names that file managers and other crawlers ask every directory for. They are no as-of expressions here, so that
/// asking costs nothing; neither is any name that begins with a dot.
pub fn is_crawler_name(name: &str) -> bool {
    name.starts_with('.')
        || ["desktop.ini", "autorun.inf", "thumbs.db", "folder.jpg", "lost+found", "$recycle.bin"]
            .iter()
            .any(|crawler| name.eq_ignore_ascii_case(crawler))
        || name.eq_ignore_ascii_case("system volume information")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_in_a_state_directory_are_told_apart() {
        for (name, parsed) in [
            (".commit.json", Some(StateName::Commit)),
            ("orders.csv", Some(StateName::Table("orders", TableFile::Rows(Format::Csv)))),
            ("orders.parquet", Some(StateName::Table("orders", TableFile::Rows(Format::Parquet)))),
            ("orders.jsonl", Some(StateName::Table("orders", TableFile::Rows(Format::JsonLines)))),
            ("orders.arrow", Some(StateName::Table("orders", TableFile::Rows(Format::Arrow)))),
            ("a.b.csv", Some(StateName::Table("a.b", TableFile::Rows(Format::Csv)))),
            ("orders.schema.json", Some(StateName::Table("orders", TableFile::Schema))),
            ("orders.csv.sha256", Some(StateName::Table("orders", TableFile::Digest(Format::Csv)))),
            ("a.csv.jsonl.sha256", Some(StateName::Table("a.csv", TableFile::Digest(Format::JsonLines)))),
            ("gold", Some(StateName::Namespace("gold"))),
            ("orders.json", None),
            ("orders.parquet.sha256", None),
            ("orders.schema.json.sha256", None),
            ("orders.csv.sha256.sha256", None),
            ("orders.sha256", None),
            (".commit.json.sha256", None),
            ("desktop.ini", None),
            (".git", None),
            (".csv", None),
        ] {
            assert_eq!(StateName::parse(name), parsed, "{name}");
        }
    }

    #[test]
    fn only_plain_decimal_numbers_are_versions() {
        assert_eq!(parse_version("0"), Some(Version(0)));
        assert_eq!(parse_version("42"), Some(Version(42)));
        for name in ["", "042", "+1", "-1", "1.0", " 1", "１", "18446744073709551616", "latest"] {
            assert_eq!(parse_version(name), None, "{name:?}");
        }
    }

    #[test]
    fn table_file_names_parse_back() {
        for table in ["orders", "a.b", ".x", "x.schema", "%", "a/b"] {
            let others =
                [TableFile::Schema, TableFile::Digest(Format::Csv), TableFile::Digest(Format::JsonLines)];
            for file in FORMATS.map(TableFile::Rows).into_iter().chain(others) {
                let name = table_file_name(table, file);
                let encoded = names::encode(table);
                assert_eq!(StateName::parse(&name), Some(StateName::Table(&encoded, file)), "{name}");
            }
        }
    }

    #[test]
    fn names_in_a_diff_are_told_apart() {
        for (name, parsed) in [
            (".stat.json", Some(DiffName::Stat)),
            ("orders.csv", Some(DiffName::Table("orders", Format::Csv))),
            ("orders.arrow", Some(DiffName::Table("orders", Format::Arrow))),
            ("gold", Some(DiffName::Namespace("gold"))),
            (".commit.json", None),
            ("orders.schema.json", None),
            ("orders.csv.sha256", None),
            (".git", None),
        ] {
            assert_eq!(DiffName::parse(name), parsed, "{name}");
        }
    }

    #[test]
    fn the_name_of_a_diff_is_split_at_its_last_two_dots() {
        for (name, split) in [
            ("7..9", Some(("7", "9"))),
            ("latest~3..latest", Some(("latest~3", "latest"))),
            ("tag:v1.2..tag:v1.3", Some(("tag:v1.2", "tag:v1.3"))),
            ("v1...v2", Some(("v1.", "v2"))),
            ("@1.5..@2.5", Some(("@1.5", "@2.5"))),
            ("a..b..c", Some(("a..b", "c"))),
            ("7..", None),
            ("..9", None),
            ("..", None),
            ("7.9", None),
            ("", None),
        ] {
            assert_eq!(split_diff_name(name), split, "{name}");
        }
    }

    #[test]
    fn inode_numbers_follow_from_the_identity_alone() {
        let table = Node::Table { table: 1, changed: Version(7), format: Format::Csv, layout: 0 };
        assert_eq!(table.inode(), table.clone().inode());
        // Fixed for ever: backups and archives remember them.
        assert_eq!(Node::Commit { version: Version(42) }.inode(), 5812249563564921437);
        let mut numbers = HashSet::new();
        for version in (0..1000).map(Version) {
            for door in [Door::Version, Door::AsOf("x".into()), Door::AsOf("y".into()), Door::Tag("x".into())]
            {
                assert!(numbers.insert(Node::State { door: door.clone(), version }.inode()));
                assert!(numbers.insert(Node::Namespace { door, version, namespace: "n".into() }.inode()));
            }
            assert!(numbers.insert(Node::Commit { version }.inode()));
            assert!(numbers.insert(Node::Schema { table: 1, changed: version }.inode()));
            let (span, name): (Span, Arc<str>) = (Span { from: Version(0), to: version }, "x".into());
            assert!(numbers.insert(Node::DiffStat { span }.inode()));
            assert!(numbers.insert(Node::Diff { name: name.clone(), span }.inode()));
            let namespace = Node::DiffNamespace { name: name.clone(), span, namespace: "n".into() };
            assert!(numbers.insert(namespace.inode()));
            for format in FORMATS {
                let table = Node::Table { table: 1, changed: version, format, layout: 0 };
                assert!(numbers.insert(table.inode()));
                assert!(numbers.insert(Node::Log { format, version }.inode()));
                assert!(numbers.insert(Node::Digest { table: 1, changed: version, format }.inode()));
                assert!(numbers.insert(Node::DiffTable { span, table: name.clone(), format }.inode()));
            }
        }
        assert!(numbers.iter().all(|number| *number > FIXED_INODE_MAX && *number < 1 << 63));
    }
}
