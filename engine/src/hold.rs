//! What a database consists of at one moment, for who copies it: files that never change, files of which a prefix never
//! does, the log up to where it is durable.
//!
//! Invariant. As long as a [`Held`] lives, no file that its manifest names goes, nor the log from where the manifest
//! says on. A data file that the log alone names may go once a newer manifest does without it: who misses one takes hold
//! again, and gets that manifest.

use crate::codec::records::{CommitPayload, kind};
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::history::changes::ENTRY_BYTES as CHANGE_ENTRY_BYTES;
use crate::history::commit_log::ENTRY_BYTES as COMMIT_ENTRY_BYTES;
use crate::layout::{DIRS, LOG_DIR, Layout};
use crate::manifest::{DataFileRecord, Manifest};
use crate::state::State;
use asof_mvcc::{CommitTime, Version};
use asof_wal::{Access, Disk, DiskFile, OpenMode, Position};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stays of a file as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// All of it, and its BLAKE3 is known.
    Whole([u8; 32]),
    /// The first bytes: more may follow, and what follows now may change.
    Prefix,
    /// All of it: a segment of the log that another one follows.
    FinishedSegment,
    /// The first bytes: the segment of the log that is written in.
    OpenSegment,
}

/// A file of a database that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFile {
    /// Its path below the database's directory.
    pub path: String,
    /// How many of its bytes belong to the database now.
    pub bytes: u64,
    /// What stays of it as it is.
    pub lasting: Lasting,
}

/// A database at one moment.
#[derive(Debug)]
pub struct Held {
    /// Keeps the lease.
    state: Arc<State>,
    database: Database,
    end: Position,
    version: Version,
    time: CommitTime,
}

impl Database {
    /// Takes hold of what the database consists of now, up to the newest version on disk. For handles that were opened
    /// for reading only: others may know of commits that are not on disk yet.
    pub fn hold(&self) -> Result<Held> {
        if self.inner.access != Access::ReadOnly {
            return Err(Error::invalid("a database is held by handles that were opened for reading only"));
        }
        self.inner.follow()?;
        let follower = self.inner.lock_follower();
        let state = self.inner.state();
        let (end, version) = (follower.applied, state.published());
        drop(follower);
        let time = state.time(version)?;
        Ok(Held { state, database: self.clone(), end, version, time })
    }

    /// The id of the database's lineage: another one after a recovery from an archive, and of a copy.
    pub fn lineage_id(&self) -> [u8; 16] {
        self.inner.state().generation.manifest().lineage_id
    }
}

impl Held {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        self.state.generation.manifest()
    }

    /// The newest version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its commit time.
    pub fn time(&self) -> CommitTime {
        self.time
    }

    /// Where the log ends.
    pub fn end(&self) -> Position {
        self.end
    }

    /// The manifest's path below the database's directory.
    pub fn manifest_path(&self) -> String {
        manifest_path(self.manifest().number)
    }

    /// Every file but the manifest and the log: what the manifest names, and what commits after it loaded.
    pub fn files(&self) -> Vec<HeldFile> {
        let mut files = self.manifest().files();
        let memory = self.state.memory.read();
        files.extend(memory.loaded.values().flatten().map(|file| data_file(&file.record)));
        files
    }

    /// The log's segments, from `first` on where they are all there still, else from where the manifest says: oldest
    /// first.
    pub fn segments(&self, first: u64) -> Result<Vec<HeldFile>> {
        let from = Position::from(self.manifest().log_start).segment;
        let mut oldest = from;
        while oldest > first && self.segment(oldest - 1).is_ok() {
            oldest -= 1;
        }
        // Where one is missing, those before it are of no use.
        let oldest = if first < from && oldest > first { from } else { oldest };
        (oldest..=self.end.segment).map(|number| self.segment(number)).collect()
    }

    fn segment(&self, number: u64) -> Result<HeldFile> {
        let path = self.database.inner.layout.join(&segment_path(number));
        let metadata = self.database.inner.disk.metadata(&path);
        let length = metadata.map_err(|error| io_error("look at", &path, error))?.len;
        let (bytes, lasting) = match number == self.end.segment {
            true => (self.end.offset, Lasting::OpenSegment),
            false => (length, Lasting::FinishedSegment),
        };
        Ok(HeldFile { path: segment_path(number), bytes, lasting })
    }

    /// The data files that the log names from a position on, which is durable, and the version of the commit that does.
    pub fn loaded_since(&self, from: Position) -> Result<Vec<(Version, HeldFile)>> {
        let mut files = Vec::new();
        for record in self.database.inner.log()?.read_from(from)? {
            let record = record?;
            if record.position.sequence >= self.end.sequence {
                break;
            }
            if record.kind == kind::COMMIT {
                let payload = CommitPayload::decode_unproven(record.payload)?;
                let version = Version(payload.header.version);
                let records = payload.file_records()?;
                files.extend(records.iter().map(|record| (version, data_file(record))));
            }
        }
        Ok(files)
    }

    /// Opens a file by its path below the database's directory.
    pub fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let path = self.database.inner.layout.join(path);
        self.database.inner.disk.open(&path, OpenMode::Read).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let message = format!("{} is missing; run 'asof verify'", path.display());
                Error::new(ErrorKind::Corrupt, message).with_source(error)
            }
            _ => io_error("open", &path, error),
        })
    }
}

impl Manifest {
    /// The files that it names, and how much of those that grow.
    pub fn files(&self) -> Vec<HeldFile> {
        let layout = below();
        let whole = |path: PathBuf, bytes: u64, digest: [u8; 32]| HeldFile {
            path: relative(&path),
            bytes,
            lasting: Lasting::Whole(digest),
        };
        let prefix =
            |path: PathBuf, bytes: u64| HeldFile { path: relative(&path), bytes, lasting: Lasting::Prefix };
        let data = self.data_files.iter().chain(self.copies.iter().map(|copies| &copies.file));
        let mut files: Vec<HeldFile> = data.map(data_file).collect();
        let ends = self.ends_files.iter();
        files.extend(ends.map(|file| whole(layout.ends(file.table, file.id), file.bytes, file.digest)));
        let ids = self.ids_files.iter();
        files.extend(ids.map(|file| whole(layout.ids(file.id), file.bytes, file.digest)));
        if self.version > 0 {
            files.push(prefix(layout.commits(), self.commit_log_bytes));
            files.push(prefix(layout.commit_index(), self.version.saturating_mul(COMMIT_ENTRY_BYTES as u64)));
        }
        let sums = self.sums.iter().filter(|sums| sums.changes > 0);
        let changes_bytes = |changes: u64| changes.saturating_mul(CHANGE_ENTRY_BYTES as u64);
        files.extend(sums.map(|sums| prefix(layout.changes(sums.table), changes_bytes(sums.changes))));
        files
    }
}

/// The path of a segment of the log below the database's directory.
pub fn segment_path(number: u64) -> String {
    format!("{LOG_DIR}/{number:016x}.wal")
}

/// The path of a manifest below the database's directory.
pub fn manifest_path(number: u64) -> String {
    relative(&below().manifest(number))
}

/// The directories of a database, the log's too.
pub fn directories() -> impl Iterator<Item = &'static str> {
    DIRS.into_iter().chain([LOG_DIR])
}

fn data_file(record: &DataFileRecord) -> HeldFile {
    let path = below().data(record.table, record.id);
    HeldFile { path: relative(&path), bytes: record.bytes, lasting: Lasting::Whole(record.digest) }
}

/// Paths without the database's directory.
fn below() -> Layout {
    Layout::new(Path::new(""))
}

fn relative(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
