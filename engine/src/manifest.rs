//! The manifest: which files make up the database at a checkpoint, and where the log goes on.
//!
//! Invariants. A manifest is written whole and synced before it has its name, and its name is durable
//! before anything that only older manifests name goes. The newest two are kept, with every file that
//! either names. A lease is a shared lock on a manifest that still has its name.

use crate::codec::records::{TableRecord, TagRecord};
use crate::codec::{decode, encode};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{frame, io_error, read_file, unframe_of, write_file};
use crate::layout::{Layout, MANIFEST_DIR, manifest_number};
use asof_mvcc::{FileId, TableId, Version};
use asof_wal::{Disk, DiskFile, LockKind, OpenMode, Position};
use bincode::{Decode, Encode};
use std::io::ErrorKind as IoErrorKind;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"ASOFMANI";
/// The first format had no measures of data files, the second no copies, the third no variable bits, the fourth no
/// versions that are gone.
const FORMAT: u32 = 5;

/// A place in the log, on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogPlace {
    segment: u64,
    offset: u64,
    sequence: u64,
    epoch: u64,
}

impl From<Position> for LogPlace {
    fn from(p: Position) -> LogPlace {
        LogPlace { segment: p.segment, offset: p.offset, sequence: p.sequence, epoch: p.epoch }
    }
}

impl From<LogPlace> for Position {
    fn from(p: LogPlace) -> Position {
        Position { segment: p.segment, offset: p.offset, sequence: p.sequence, epoch: p.epoch }
    }
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct DataFileRecord {
    /// Its number.
    pub id: FileId,
    /// Its table.
    pub table: TableId,
    /// Versions that read it: from (inclusive) and to (exclusive).
    pub valid_from: u64,
    /// See `valid_from`; `u64::MAX` for ever.
    pub valid_to: u64,
    /// Whether every row in it is dead and carries its end.
    pub history: bool,
    /// The version of all rows, where the file has no begin column (bulk loads).
    pub loaded_at: Option<u64>,
    /// Rows.
    pub rows: u64,
    /// Length.
    pub bytes: u64,
    /// Offset of the index block; from there to the end of the file one checksum.
    pub tail_offset: u64,
    /// CRC-32 of the tail.
    pub tail_crc: u32,
    /// BLAKE3 of the whole file.
    pub digest: [u8; 32],
    /// Lowest begin of a row.
    pub min_begin: u64,
    /// Highest begin of a row.
    pub max_begin: u64,
    /// Lowest end of a row in a history file; `u64::MAX` in others.
    pub min_end: u64,
    /// Highest end of a row in a history file; `u64::MAX` in others.
    pub max_end: u64,
    /// Lowest key, encoded.
    pub min_key: Vec<u8>,
    /// Highest key, encoded.
    pub max_key: Vec<u8>,
}

/// What compaction weighs of a data file: known without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FileMeasures {
    /// The data file.
    pub file: FileId,
    /// Runs of row groups in it.
    pub runs: u32,
    /// Rows of which ends files tell that they are dead.
    pub dead: u64,
}

/// A copies file: row versions that began or ended in some versions once more, in runs by which of these did so. Only
/// diffs read it, and it can go at any time.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CopiesRecord {
    /// It tells of versions after this.
    pub after: u64,
    /// The last version of each run of the file, ascending.
    pub runs: Vec<u64>,
    /// The file: one of rows with begins and ends, where ends after the last version are not known.
    pub file: DataFileRecord,
}

impl CopiesRecord {
    /// The last version that it tells of.
    pub fn up_to(&self) -> u64 {
        self.runs.last().copied().unwrap_or(self.after)
    }
}

/// An ends file.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EndsFileRecord {
    /// Its number.
    pub id: FileId,
    /// Its table.
    pub table: TableId,
    /// Deaths in it.
    pub rows: u64,
    /// Length.
    pub bytes: u64,
    /// Lowest end in it.
    pub min_end: u64,
    /// Highest end in it.
    pub max_end: u64,
    /// BLAKE3 of the whole file.
    pub digest: [u8; 32],
}

/// A run of idempotency ids.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct IdsFileRecord {
    /// Its number.
    pub id: FileId,
    /// Ids in it.
    pub count: u64,
    /// Length.
    pub bytes: u64,
    /// BLAKE3 of the whole file.
    pub digest: [u8; 32],
}

/// The running sums of a table at the checkpoint's version.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct SumsRecord {
    /// The table.
    pub table: TableId,
    /// Entries of its changes file.
    pub changes: u64,
    /// Rows alive.
    pub rows: u64,
    /// For each column id: bytes of all its cells as CSV and as JSON.
    pub columns: Vec<(u32, u64, u64)>,
    /// The hidden row id that the next row of a table without key gets.
    pub next_row_id: u64,
}

/// More of the running sums of a table at the checkpoint's version.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct VariableRecord {
    /// The table.
    pub table: TableId,
    /// For each column id: bits of all its values beside what every value of its type takes.
    pub columns: Vec<(u32, u64)>,
}

/// Versions of a table that retention has let go.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct GoneRecord {
    /// The table.
    pub table: TableId,
    /// From which version up to which, exclusive; ascending.
    pub ranges: Vec<(u64, u64)>,
}

/// What a database consists of at a checkpoint.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Manifest {
    /// The database's id.
    pub database_id: [u8; 16],
    /// The lineage's id: another one after the database was cut.
    pub lineage_id: [u8; 16],
    /// The manifest's number, from 1.
    pub number: u64,
    /// The checkpoint's version: every version up to it reads without the log.
    pub version: u64,
    /// That version's commit time.
    pub time: i64,
    /// The chain digest of that version.
    pub chain_digest: [u8; 32],
    /// When the database was made, microseconds UTC.
    pub created: i64,
    /// Where the log goes on.
    pub log_start: LogPlace,
    /// The next number of a data, ends or ids file.
    pub next_file_id: FileId,
    /// Settled bytes of the commit log.
    pub commit_log_bytes: u64,
    /// Every table that ever was.
    pub tables: Vec<TableRecord>,
    /// Running sums of every table.
    pub sums: Vec<SumsRecord>,
    /// Data files.
    pub data_files: Vec<DataFileRecord>,
    /// Ends files.
    pub ends_files: Vec<EndsFileRecord>,
    /// Runs of idempotency ids.
    pub ids_files: Vec<IdsFileRecord>,
    /// Tags.
    pub tags: Vec<TagRecord>,
    /// Settings by name: policies, holds and what else is kept in the database.
    pub settings: Vec<(String, String)>,
    /// Measures of data files; of those that a release without them wrote there are none.
    pub measures: Vec<FileMeasures>,
    /// Copies files.
    pub copies: Vec<CopiesRecord>,
    /// Variable bits of tables; of those that a release which did not count them settled last there are none.
    pub variable: Vec<VariableRecord>,
    /// Versions that are gone, of tables of which any is.
    pub gone: Vec<GoneRecord>,
}

impl Manifest {
    /// The bytes of the manifest's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        frame(MAGIC, FORMAT, &encode(self))
    }

    /// Reads a manifest's file, checking every byte.
    pub fn from_bytes(bytes: &[u8], file: &str) -> Result<Manifest> {
        match unframe_of(bytes, MAGIC, 1..=FORMAT, file)? {
            // The same without the lists at the end: an empty one is a count of zero.
            (1, body) => decode(&[body, &[0; 32]].concat(), file),
            (2, body) => decode(&[body, &[0; 24]].concat(), file),
            (3, body) => decode(&[body, &[0; 16]].concat(), file),
            (4, body) => decode(&[body, &[0; 8]].concat(), file),
            (_, body) => decode(body, file),
        }
    }

    /// Reads the manifest of a number.
    pub fn read(disk: &dyn Disk, layout: &Layout, number: u64) -> Result<Manifest> {
        let path = layout.manifest(number);
        Manifest::from_bytes(&read_file(disk, &path)?, &path.display().to_string())
    }

    /// Writes the manifest so that it is durable under its name.
    pub fn write(&self, disk: &dyn Disk, layout: &Layout) -> Result<()> {
        write_file(disk, &layout.manifest(self.number), &self.to_bytes(), true)
    }

    /// The version up to which everything reads without the log.
    pub fn version(&self) -> Version {
        Version(self.version)
    }
}

/// A manifest that is kept, with every file it names, as long as this lives.
#[derive(Debug)]
pub struct Leased {
    /// The manifest.
    pub manifest: Manifest,
    /// The locked file; `None` on media without locks.
    pub(crate) lease: Option<Arc<dyn DiskFile>>,
}

/// The numbers of the manifests there are, newest first.
pub fn list(disk: &dyn Disk, layout: &Layout) -> Result<Vec<u64>> {
    let dir = layout.join(MANIFEST_DIR);
    let entries = match disk.list(&dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), IoErrorKind::NotFound | IoErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(io_error("list", &dir, error)),
    };
    let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| manifest_number(&entry.name)).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

/// Takes a lease on the newest manifest that is whole. A damaged one is passed over, loudly, for the one before it.
pub fn lease_newest(disk: &dyn Disk, layout: &Layout) -> Result<Leased> {
    // A manifest may go between the listing and the lock: then there is a newer one.
    for _ in 0..100 {
        let numbers = list(disk, layout)?;
        if numbers.is_empty() {
            return Err(Error::not_found(format!(
                "{} is not a database: it has no manifest; 'asof init' makes one",
                layout.root().display()
            )));
        }
        let mut damage = None;
        for number in numbers {
            match lease(disk, layout, number) {
                Ok(Some(leased)) => {
                    if let Some(error) = &damage {
                        log::error!("{error}; going on from the manifest before it");
                    }
                    return Ok(leased);
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => damage = damage.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = damage {
            return Err(error);
        }
    }
    Err(Error::new(
        ErrorKind::Locked,
        format!("manifests of {} change too fast to read one", layout.root().display()),
    ))
}

/// Takes a lease on one manifest; `None` where it is gone.
pub fn lease(disk: &dyn Disk, layout: &Layout, number: u64) -> Result<Option<Leased>> {
    let path = layout.manifest(number);
    let fail = |error| io_error("read", &path, error);
    let file = match disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let lease = match file.try_lock(LockKind::Shared) {
        Ok(true) => Some(file.clone()),
        // Someone removes it right now.
        Ok(false) => return Ok(None),
        Err(error) => {
            log::warn!(
                "{} cannot be locked ({error}): files read from it are not kept alive",
                path.display()
            );
            None
        }
    };
    if !file.is_linked().map_err(fail)? {
        return Ok(None);
    }
    let manifest = Manifest::read(disk, layout, number)?;
    if manifest.number != number {
        return Err(Error::corrupt(format!(
            "{} is damaged: expected manifest {number}, found manifest {}",
            path.display(),
            manifest.number
        )));
    }
    Ok(Some(Leased { manifest, lease }))
}
