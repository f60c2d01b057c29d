//! Which files a database has, by strict patterns. What fits no pattern is not ours.

use asof_mvcc::{FileId, TableId};
use std::path::{Path, PathBuf};

/// Manifests, `%016x.manifest`.
pub const MANIFEST_DIR: &str = "manifest";
/// The log: segments, durable head, locks.
pub const LOG_DIR: &str = "wal";
/// Row versions, `%08x-%016x.parquet`: table and file.
pub const DATA_DIR: &str = "data";
/// When rows died, `%08x-%016x.ends`: table and file.
pub const ENDS_DIR: &str = "ends";
/// The commit log, its index, and what each version changed in each table, `%08x.changes`.
pub const HISTORY_DIR: &str = "history";
/// Idempotency ids, `%016x.ids`.
pub const IDS_DIR: &str = "ids";
/// Locked while a database is made.
pub const CREATE_LOCK: &str = "create.lock";
/// Locked while a checkpoint is made.
pub const CHECKPOINT_LOCK: &str = "checkpoint.lock";
/// Locked while numbers of files are drawn.
pub const NUMBERS_LOCK: &str = "numbers.lock";
/// What a file is called until it is whole.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// The directories of a database, in the order they are made.
pub const DIRS: [&str; 5] = [DATA_DIR, ENDS_DIR, HISTORY_DIR, IDS_DIR, MANIFEST_DIR];

/// Where the files of one database are.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The files below a directory.
    pub fn new(root: &Path) -> Layout {
        Layout { root: root.to_path_buf() }
    }

    /// The database's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or directory right below it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A manifest.
    pub fn manifest(&self, number: u64) -> PathBuf {
        self.root.join(MANIFEST_DIR).join(format!("{number:016x}.manifest"))
    }

    /// A data file.
    pub fn data(&self, table: TableId, file: FileId) -> PathBuf {
        self.root.join(DATA_DIR).join(format!("{table:08x}-{file:016x}.parquet"))
    }

    /// An ends file.
    pub fn ends(&self, table: TableId, file: FileId) -> PathBuf {
        self.root.join(ENDS_DIR).join(format!("{table:08x}-{file:016x}.ends"))
    }

    /// The commit log.
    pub fn commits(&self) -> PathBuf {
        self.root.join(HISTORY_DIR).join("commits.log")
    }

    /// The index of the commit log: the timeline.
    pub fn commit_index(&self) -> PathBuf {
        self.root.join(HISTORY_DIR).join("commits.idx")
    }

    /// What each version changed in a table.
    pub fn changes(&self, table: TableId) -> PathBuf {
        self.root.join(HISTORY_DIR).join(format!("{table:08x}.changes"))
    }

    /// A run of idempotency ids.
    pub fn ids(&self, file: FileId) -> PathBuf {
        self.root.join(IDS_DIR).join(format!("{file:016x}.ids"))
    }
}

/// The number in a manifest's file name.
pub fn manifest_number(name: &str) -> Option<u64> {
    hex(name.strip_suffix(".manifest")?, 16)
}

/// The table and file in the name of a data file (`suffix` `.parquet`) or ends file (`.ends`).
pub fn table_and_file(name: &str, suffix: &str) -> Option<(TableId, FileId)> {
    let (table, file) = name.strip_suffix(suffix)?.split_once('-')?;
    Some((hex(table, 8)? as TableId, hex(file, 16)?))
}

/// The table in the name of a changes file.
pub fn changes_table(name: &str) -> Option<TableId> {
    hex(name.strip_suffix(".changes")?, 8).map(|table| table as TableId)
}

/// The file in the name of an ids file.
pub fn ids_file(name: &str) -> Option<FileId> {
    hex(name.strip_suffix(".ids")?, 16)
}

/// The number in the name of a data, ends or ids file.
pub fn file_id(name: &str) -> Option<FileId> {
    let file = |suffix| table_and_file(name, suffix).map(|(_, file)| file);
    file(".parquet").or_else(|| file(".ends")).or_else(|| ids_file(name))
}

fn hex(text: &str, digits: usize) -> Option<u64> {
    let strict =
        text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    strict.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// The classes that files are counted under.
pub const CLASSES: [&str; 7] = ["log", "data", "ends", "manifest", "commit_log", "changes", "other"];

/// The class of a file, by its path, as an index into [`CLASSES`].
pub fn class_of(path: &Path) -> usize {
    let name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (file, dir) = (name(path), path.parent().map(name).unwrap_or_default());
    match if CLASS_DIRS.contains(&file.as_str()) { file.as_str() } else { dir.as_str() } {
        LOG_DIR => 0,
        DATA_DIR => 1,
        ENDS_DIR => 2,
        MANIFEST_DIR => 3,
        HISTORY_DIR if file.ends_with(".changes") => 5,
        HISTORY_DIR => 4,
        _ => 6,
    }
}

const CLASS_DIRS: [&str; 5] = [LOG_DIR, DATA_DIR, ENDS_DIR, MANIFEST_DIR, HISTORY_DIR];
