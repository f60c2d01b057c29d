//! How far an archive is behind its database, and what it holds.

use crate::archive::Archive;
use crate::index::Index;
use crate::ship::commit_id;
use asof_engine::{CommitTime, Database, Result, Version};
use std::path::Path;

/// What an archive lacks of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Versions.
    pub versions: u64,
    /// Bytes of log.
    pub bytes: u64,
    /// Microseconds since the oldest of these versions was committed.
    pub microseconds: i64,
}

/// What an archive holds.
#[derive(Clone, Debug)]
pub struct Status {
    /// Everything.
    pub index: Index,
    /// What it lacks.
    pub behind: Behind,
    /// The database's newest version.
    pub newest: Version,
    /// Whether the archive's newest version is that of the database: it is not where they went different ways.
    pub is_same: bool,
}

/// Compares an archive with its database, which was opened for reading only.
pub fn status(place: &Path, database: &Database) -> Result<Status> {
    let archive = Archive::open(place)?;
    let index = archive.load()?;
    let held = database.hold()?;
    let archived = index.version();
    let same_ids = (index.database.0, index.lineage.0) == (database.id(), database.lineage_id());
    let is_same = same_ids
        && archived <= held.version().0
        && index.end().is_none_or(|end| commit_id(database, archived).is_ok_and(|id| id == end.commit));
    let mut behind = Behind { versions: held.version().0.saturating_sub(archived), ..Behind::default() };
    if behind.versions > 0 {
        let oldest = database.commit_time(Version(archived + 1))?;
        behind.microseconds = since(database.options().clock.now(), oldest);
    }
    let shipped = index.end().map(|end| end.log.0);
    let segments = held.segments(shipped.map_or(0, |place| place.segment))?;
    let unshipped = segments.iter().map(|file| {
        let bytes = index.file(&file.path).map_or(0, |archived| archived.bytes);
        file.bytes.saturating_sub(bytes)
    });
    behind.bytes = unshipped.sum();
    Ok(Status { index, behind, newest: held.version(), is_same })
}

fn since(now: CommitTime, time: CommitTime) -> i64 {
    now.0.saturating_sub(time.0).max(0)
}
