//! The commit log: the header of every checkpointed commit, and the timeline.
//!
//! `commits.log` holds the encoded headers one after the other. `commits.idx` holds 32 bytes for each
//! version, from version 1: where its header lies, and its commit time. So a version is found by one
//! read and a time by bisection. Both are append-only; the manifest says how much of each is settled,
//! and what lies behind that is left over from a crash.

use crate::codec::records::{CommitHeader, PAYLOAD_FORMAT};
use crate::codec::{decode, encode};
use crate::error::{Error, ErrorKind, Result, damaged};
use crate::files::{append_settled, open_named, read_settled};
use crate::layout::Layout;
use asof_mvcc::{CommitTime, Version};
use asof_wal::planted::{Bug, planted};
use asof_wal::{Disk, DiskFile};
use std::sync::{Arc, OnceLock};

/// Bytes of an index entry: time i64, offset u64, length u32, CRC-32 of the header u32, format of the header u32,
/// CRC-32 of the entry u32 (which covers the database id and the version too, so that a misplaced entry is found out).
pub const ENTRY_BYTES: usize = 32;
const HEADER_BYTES_MAX: u32 = 1 << 30;

/// The settled part of the commit log.
#[derive(Debug)]
pub struct CommitLog {
    disk: Arc<dyn Disk>,
    layout: Layout,
    database_id: [u8; 16],
    /// The last version that is settled.
    last: Version,
    /// Settled bytes of `commits.log`.
    bytes: u64,
    files: OnceLock<Files>,
}

/// The two files, open.
#[derive(Debug)]
struct Files {
    index: Arc<dyn DiskFile>,
    log: Arc<dyn DiskFile>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    time: CommitTime,
    offset: u64,
    length: u32,
    crc: u32,
    format: u32,
}

impl Entry {
    fn encode(&self, database_id: &[u8; 16], version: Version) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..8].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.crc.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.format.to_le_bytes());
        let crc = entry_crc(&bytes[..28], database_id, version);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_BYTES], database_id: &[u8; 16], version: Version) -> Option<Entry> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let right = word(28) == entry_crc(&bytes[..28], database_id, version);
        (right || planted(Bug::CommitIndexChecksumIgnored)).then(|| Entry {
            time: CommitTime(long(0) as i64),
            offset: long(8),
            length: word(16),
            crc: word(20),
            format: word(24),
        })
    }
}

fn entry_crc(bytes: &[u8], database_id: &[u8; 16], version: Version) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(database_id);
    hasher.update(&version.0.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

impl CommitLog {
    /// The commit log up to `last`, of which `bytes` are settled. Reads nothing yet.
    pub fn new(
        disk: Arc<dyn Disk>,
        layout: Layout,
        database_id: [u8; 16],
        last: Version,
        bytes: u64,
    ) -> CommitLog {
        CommitLog { disk, layout, database_id, last, bytes, files: OnceLock::new() }
    }

    fn files(&self) -> Result<&Files> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let open = |path: std::path::PathBuf| open_named(&*self.disk, &path);
        let files = Files { index: open(self.layout.commit_index())?, log: open(self.layout.commits())? };
        Ok(self.files.get_or_init(|| files))
    }

    fn entry(&self, version: Version) -> Result<Entry> {
        debug_assert!(version >= Version(1) && version <= self.last);
        let offset = (version.0 - 1) * ENTRY_BYTES as u64;
        let mut bytes = [0; ENTRY_BYTES];
        let path = self.layout.commit_index();
        read_settled(&*self.files()?.index, &path, &mut bytes, offset)?;
        Entry::decode(&bytes, &self.database_id, version).ok_or_else(|| {
            let expected = format!("the entry of version {version}, found another checksum");
            damaged(path.display(), offset, expected)
        })
    }

    /// The commit time of a settled version.
    pub fn time(&self, version: Version) -> Result<CommitTime> {
        if version == Version::ZERO { Ok(CommitTime::MIN) } else { Ok(self.entry(version)?.time) }
    }

    /// How many bytes the headers of all versions up to a settled one take.
    pub fn end_of(&self, version: Version) -> Result<u64> {
        let entry = self.entry(version)?;
        Ok(entry.offset.saturating_add(entry.length as u64).min(self.bytes))
    }

    /// The last settled version whose commit time is at or before `time`.
    pub fn version_at(&self, time: CommitTime) -> Result<Version> {
        // Invariant: versions up to `low` are at or before `time`, those above `high` after it.
        let (mut low, mut high) = (0, self.last.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.entry(Version(middle))?.time <= time {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(Version(low))
    }

    /// The header of a settled version.
    pub fn header(&self, version: Version) -> Result<CommitHeader> {
        let entry = self.entry(version)?;
        let path = self.layout.commits();
        let damaged = |found: &str| {
            let expected = format!("the commit of version {version}, found {found}");
            damaged(path.display(), entry.offset, expected)
        };
        if entry.length > HEADER_BYTES_MAX || entry.offset.saturating_add(entry.length as u64) > self.bytes {
            return Err(damaged("an impossible length"));
        }
        if entry.format != PAYLOAD_FORMAT as u32 {
            let message = format!(
                "{} has the commit of version {version} in format {}; this release reads {PAYLOAD_FORMAT}",
                path.display(),
                entry.format
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut bytes = vec![0; entry.length as usize];
        read_settled(&*self.files()?.log, &path, &mut bytes, entry.offset)?;
        if crc32fast::hash(&bytes) != entry.crc {
            return Err(damaged("another checksum"));
        }
        let header: CommitHeader = decode(&bytes, "a commit's header")?;
        if header.version != version.0 || header.time != entry.time.0 {
            return Err(damaged(&format!("version {}", header.version)));
        }
        Ok(header)
    }

    /// Appends the headers of the versions after the settled ones; gives the new settled length of `commits.log`.
    pub fn append<'a>(&self, headers: impl Iterator<Item = &'a CommitHeader>) -> Result<u64> {
        let (mut log, mut index) = (Vec::new(), Vec::new());
        for header in headers {
            let bytes = encode(header);
            let entry = Entry {
                time: CommitTime(header.time),
                offset: self.bytes + log.len() as u64,
                length: bytes.len() as u32,
                crc: crc32fast::hash(&bytes),
                format: PAYLOAD_FORMAT as u32,
            };
            index.extend_from_slice(&entry.encode(&self.database_id, Version(header.version)));
            log.extend_from_slice(&bytes);
        }
        append_settled(&*self.disk, &self.layout.commits(), self.bytes, &log)?;
        append_settled(&*self.disk, &self.layout.commit_index(), self.last.0 * ENTRY_BYTES as u64, &index)?;
        Ok(self.bytes + log.len() as u64)
    }
}
