//! A segment: one file of the log. Its name, its header block, how it is born and how it grows.
//!
//! Invariants: a segment gets its name only when its header, its zeroed blocks and whatever was copied into it are
//! synced, and its predecessors with it; nothing is written beyond `allocated`, every block before which has been
//! written and synced.

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::Error;
use crate::planted::{Bug, planted};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: usize = 0;
const VERSION: usize = MAGIC + 8;
const BLOCK_BYTES: usize = VERSION + 4;
const DATABASE: usize = BLOCK_BYTES + 4;
const NUMBER: usize = DATABASE + 16;
const FIRST_SEQUENCE: usize = NUMBER + 8;
const EPOCH: usize = FIRST_SEQUENCE + 8;
const RESERVED: usize = EPOCH + 8;
const CRC: usize = BLOCK - 4;

const BLOCK: usize = 4096;
/// Bytes of the header block; the first record starts behind it.
pub(crate) const HEADER_BYTES: u64 = BLOCK as u64;
/// What every segment begins with.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"asof-wal";
/// The newest format this release writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Numbers, sequences and epochs stay below this, so that none of them can overflow.
const NUMBER_LIMIT: u64 = 1 << 62;

const _: () = assert!(RESERVED == 56 && RESERVED < CRC);
const _: () = assert!(HEADER_BYTES.is_multiple_of(crate::record::ALIGNMENT));

/// Zeros are written in pieces of this size.
const ZERO_CHUNK_BYTES: u64 = 1 << 20;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub database_id: [u8; 16],
    pub number: u64,
    pub first_sequence: u64,
    pub epoch: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[MAGIC..][..8].copy_from_slice(&SEGMENT_MAGIC);
        block[VERSION..][..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[BLOCK_BYTES..][..4].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        block[DATABASE..][..16].copy_from_slice(&self.database_id);
        block[NUMBER..][..8].copy_from_slice(&self.number.to_le_bytes());
        block[FIRST_SEQUENCE..][..8].copy_from_slice(&self.first_sequence.to_le_bytes());
        block[EPOCH..][..8].copy_from_slice(&self.epoch.to_le_bytes());
        let crc = crc32fast::hash(&block[..CRC]);
        block[CRC..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads and checks the header of segment `number` of this database.
    pub fn read(
        file: &dyn DiskFile,
        path: &Path,
        database_id: &[u8; 16],
        number: u64,
    ) -> Result<Self, Error> {
        let mut block = [0; BLOCK];
        let count = file.read_up_to_at(&mut block, 0).map_err(Error::io("read", path))?;
        let corrupt = |offset: usize, what: &str, expected: String, found: String| Error::Corrupt {
            file: path.to_path_buf(),
            offset: offset as u64,
            expected,
            found,
            detail: format!("{what} of a segment header, which is synced before the segment has its name"),
        };
        if count < BLOCK {
            return Err(corrupt(count, "length", BLOCK.to_string(), count.to_string()));
        }
        if block[MAGIC..][..8] != SEGMENT_MAGIC {
            let found = String::from_utf8_lossy(&block[..8]).escape_debug().to_string();
            return Err(corrupt(MAGIC, "magic", "asof-wal".into(), found));
        }
        let (expected, found) = (crc32fast::hash(&block[..CRC]), u32_at(&block, CRC));
        let version = u32_at(&block, VERSION);
        if expected == found && version > FORMAT_VERSION {
            let file = path.to_path_buf();
            return Err(Error::Unsupported { file, found: version, supported: FORMAT_VERSION });
        }
        if expected != found {
            return Err(corrupt(MAGIC, "checksum", format!("{expected:08x}"), format!("{found:08x}")));
        }
        let header = SegmentHeader {
            database_id: block[DATABASE..][..16].try_into().expect("sixteen bytes"),
            number: u64_at(&block, NUMBER),
            first_sequence: u64_at(&block, FIRST_SEQUENCE),
            epoch: u64_at(&block, EPOCH),
        };
        if header.database_id != *database_id {
            let [expected, found] =
                [*database_id, header.database_id].map(|id| format!("{:032x}", u128::from_be_bytes(id)));
            return Err(corrupt(DATABASE, "database id", expected, found));
        }
        if header.number != number {
            return Err(corrupt(NUMBER, "number", number.to_string(), header.number.to_string()));
        }
        for (at, value) in [(FIRST_SEQUENCE, header.first_sequence), (EPOCH, header.epoch)] {
            if value >= NUMBER_LIMIT {
                return Err(corrupt(at, "number", "less than 2^62".into(), value.to_string()));
            }
        }
        if version != FORMAT_VERSION
            || u32_at(&block, BLOCK_BYTES) != BLOCK as u32
            || header.first_sequence == 0
        {
            return Err(corrupt(
                VERSION,
                "version, block size or first sequence",
                "1, 4096, 1".into(),
                "others".into(),
            ));
        }
        Ok(header)
    }
}

/// The name of a segment's file.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The path of a segment's file.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(file_name(number))
}

/// The number in a segment's file name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// Whether a file is a segment that never got its name.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|stem| number_of(stem).is_some())
}

/// The numbers of the segments in a directory, ascending, with the lengths of their files.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, u64)>, Error> {
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut segments: Vec<_> =
        entries.iter().filter_map(|entry| Some((number_of(&entry.name)?, entry.len))).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// A segment that may be written to.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub number: u64,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    /// Bytes whose blocks have been written and synced.
    pub allocated: u64,
}

impl OpenSegment {
    /// Opens a segment whose every block has been written, as a clean durable head testifies.
    pub fn open(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Self, Error> {
        let path = path_of(dir, number);
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(Error::io("open", &path))?;
        let allocated = file.len().map_err(Error::io("measure", &path))?;
        Ok(OpenSegment { number, path, file, allocated })
    }

    /// Grows the segment by doubling until it holds `end` bytes; zeros are written and synced.
    pub fn grow_to(&mut self, end: u64, first_bytes: u64, most_bytes: u64) -> Result<(), Error> {
        if end <= self.allocated {
            return Ok(());
        }
        let allocated = allocation(self.allocated * 2, end, first_bytes, most_bytes);
        zero(&*self.file, &self.path, self.allocated, allocated)?;
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        self.allocated = allocated;
        Ok(())
    }
}

/// A segment without its name yet: whatever happens to it, the log is as before.
#[derive(Debug)]
pub(crate) struct UnfinishedSegment {
    number: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Where the next bytes go.
    end: u64,
    /// Up to here zeros are written and synced.
    zeroed: u64,
}

impl UnfinishedSegment {
    /// Starts a segment under a temporary name.
    pub fn create(disk: &dyn Disk, dir: &Path, header: &SegmentHeader) -> Result<Self, Error> {
        let path = dir.join(format!("{}.tmp", file_name(header.number)));
        match disk.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path)(error));
            }
            _ => {}
        }
        let file = disk.open(&path, OpenMode::CreateNew).map_err(Error::io("create", &path))?;
        file.write_all_at(&header.encode(), 0).map_err(Error::io("write", &path))?;
        Ok(UnfinishedSegment { number: header.number, path, file, end: HEADER_BYTES, zeroed: 0 })
    }

    /// Starts a segment whose header is not known yet; none where another one was started already.
    pub fn create_ahead(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Option<Self>, Error> {
        let path = dir.join(format!("{}.tmp", file_name(number)));
        match disk.open(&path, OpenMode::CreateNew) {
            Ok(file) => Ok(Some(UnfinishedSegment { number, path, file, end: HEADER_BYTES, zeroed: 0 })),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(Error::io("create", &path)(error)),
        }
    }

    /// Writes zeros up to a length, and syncs them, piece by piece; `false` where `pace` ended it before.
    pub fn zero_ahead(&mut self, bytes: u64, pace: &mut dyn FnMut() -> bool) -> Result<bool, Error> {
        while self.zeroed < bytes {
            let next = (self.zeroed + ZERO_CHUNK_BYTES).min(bytes);
            zero(&*self.file, &self.path, self.zeroed, next)?;
            self.file.sync_all().map_err(Error::io("sync", &self.path))?;
            self.zeroed = next;
            if !pace() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives a segment that was started ahead its header.
    pub fn begin(self, header: &SegmentHeader) -> Result<Self, Error> {
        self.file.write_all_at(&header.encode(), 0).map_err(Error::io("write", &self.path))?;
        Ok(self)
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether its name still leads to it.
    pub fn is_linked(&self) -> bool {
        self.file.is_linked().unwrap_or(false)
    }

    /// Removes the file, as far as that can be done.
    pub fn remove(&self, disk: &dyn Disk) {
        let _ = disk.remove_file(&self.path);
    }

    /// Adds bytes behind those already there.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.end).map_err(Error::io("write", &self.path))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Zeroes the rest of the first allocation (`bytes` at least), syncs all of it, then gives the name and syncs
    /// that.
    pub fn finish(
        self,
        disk: &dyn Disk,
        dir: &Path,
        bytes: u64,
        first_bytes: u64,
        most_bytes: u64,
    ) -> Result<OpenSegment, Error> {
        let allocated = allocation(self.zeroed, self.end.max(bytes), first_bytes, most_bytes);
        zero(&*self.file, &self.path, self.end.max(self.zeroed), allocated)?;
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        let path = path_of(dir, self.number);
        disk.rename(&self.path, &path).map_err(Error::io("rename", &self.path))?;
        if !planted(Bug::LogDirectoryNotSynced) {
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        Ok(OpenSegment { number: self.number, path, file: self.file, allocated })
    }
}

/// The size a segment gets: powers of two times `first_bytes` up to `most_bytes`, more only for one large record.
fn allocation(least: u64, end: u64, first_bytes: u64, most_bytes: u64) -> u64 {
    let mut size = least.max(first_bytes).min(most_bytes);
    while size < end && size < most_bytes {
        size = (size * 2).min(most_bytes);
    }
    size.max(end).next_multiple_of(HEADER_BYTES)
}

fn zero(file: &dyn DiskFile, path: &Path, from: u64, to: u64) -> Result<(), Error> {
    let zeros = vec![0; ZERO_CHUNK_BYTES.min(to.saturating_sub(from)) as usize];
    let mut at = from;
    while at < to {
        let count = ZERO_CHUNK_BYTES.min(to - at);
        file.write_all_at(&zeros[..count as usize], at).map_err(Error::io("write", path))?;
        at += count;
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..][..4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..][..8].try_into().expect("eight bytes"))
}
