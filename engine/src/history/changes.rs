//! The running sums of a table: one entry of 48 bytes for each version that changed its rows or
//! schema, in one append-only file a table, searched by bisection. From it come exact sizes, row
//! counts and the version that last changed the table, for any version, without reading rows.

use crate::error::{Error, Result, damaged};
use crate::files::{append_settled, open_named, read_settled};
use crate::layout::Layout;
use asof_mvcc::{TableId, Version};
use asof_wal::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Bytes of an entry: version u64, rows u64, CSV bytes u64, JSON bytes u64, variable bits and one u64 (0 where they are
/// unknown), zero u32, CRC-32 u32 (which covers the database id, the table and the entry's number too).
pub const ENTRY_BYTES: usize = 48;

/// Entries read at once: about 4 KiB.
const PAGE_ENTRIES: u64 = 85;
/// Pages kept: about 1 MiB.
const PAGES_MAX: usize = 256;

/// A table after one version that changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeEntry {
    /// The version.
    pub version: Version,
    /// Rows alive.
    pub rows: u64,
    /// Bytes of all cells as CSV, without separators, line ends and the header.
    pub csv_bytes: u64,
    /// Bytes of all values as JSON, without names and punctuation.
    pub json_bytes: u64,
    /// Bits of all values beside what every value of their types takes ([`crate::variable_bits`]).
    pub variable_bits: u64,
}

impl ChangeEntry {
    /// In place of bytes that are unknown: rows that ended could not be read to be counted. In place of variable bits
    /// too where a release that did not count them wrote the entry.
    pub const UNKNOWN: u64 = u64::MAX;
    /// Of a table without rows.
    pub const EMPTY: ChangeEntry =
        ChangeEntry { version: Version::ZERO, rows: 0, csv_bytes: 0, json_bytes: 0, variable_bits: 0 };

    /// Whether its sums of bytes are known.
    pub fn has_bytes(&self) -> bool {
        self.csv_bytes != Self::UNKNOWN && self.json_bytes != Self::UNKNOWN
    }
}

/// The settled entries of one table.
#[derive(Debug)]
pub struct ChangesFile {
    disk: Arc<dyn Disk>,
    layout: Layout,
    database_id: [u8; 16],
    table: TableId,
    count: u64,
    file: OnceLock<Arc<dyn DiskFile>>,
    /// Bytes read before, by number of the page.
    pages: Mutex<HashMap<u64, Arc<[u8]>>>,
}

impl ChangesFile {
    /// The first `count` entries of a table. Reads nothing yet.
    pub fn new(
        disk: Arc<dyn Disk>,
        layout: Layout,
        database_id: [u8; 16],
        table: TableId,
        count: u64,
    ) -> ChangesFile {
        ChangesFile {
            disk,
            layout,
            database_id,
            table,
            count,
            file: OnceLock::new(),
            pages: Mutex::default(),
        }
    }

    /// How many entries are settled.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn crc(&self, number: u64, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.database_id);
        hasher.update(&self.table.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }

    /// An entry by number, from 0.
    pub fn entry(&self, number: u64) -> Result<ChangeEntry> {
        let path = self.layout.changes(self.table);
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let file = open_named(&*self.disk, &path)?;
                self.file.get_or_init(|| file)
            }
        };
        let offset = number * ENTRY_BYTES as u64;
        let page = self.page(&**file, &path, number / PAGE_ENTRIES)?;
        let within = (number % PAGE_ENTRIES) as usize * ENTRY_BYTES;
        let bytes = &page[within..within + ENTRY_BYTES];
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let crc = u32::from_le_bytes(bytes[44..].try_into().expect("four bytes"));
        let expected = self.crc(number, &bytes[..44]);
        if crc != expected {
            let expected = format!("checksum {expected:08x}, found {crc:08x}");
            return Err(damaged(path.display(), offset, expected));
        }
        Ok(ChangeEntry {
            version: Version(long(0)),
            rows: long(8),
            csv_bytes: long(16),
            json_bytes: long(24),
            variable_bits: long(32).checked_sub(1).unwrap_or(ChangeEntry::UNKNOWN),
        })
    }

    /// The bytes of some entries, unchecked.
    fn page(&self, file: &dyn DiskFile, path: &Path, page: u64) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.pages.lock().get(&page) {
            return Ok(bytes.clone());
        }
        let entries = (self.count - page * PAGE_ENTRIES).min(PAGE_ENTRIES);
        let mut bytes = vec![0; entries as usize * ENTRY_BYTES];
        read_settled(file, path, &mut bytes, page * PAGE_ENTRIES * ENTRY_BYTES as u64)?;
        let bytes: Arc<[u8]> = bytes.into();
        let mut pages = self.pages.lock();
        if pages.len() >= PAGES_MAX {
            pages.clear();
        }
        pages.insert(page, bytes.clone());
        Ok(bytes)
    }

    /// How many entries are at or before a version.
    pub fn count_up_to(&self, version: Version) -> Result<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.version <= version {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The last entry at or before a version.
    pub fn at(&self, version: Version) -> Result<Option<ChangeEntry>> {
        match self.count_up_to(version)? {
            0 => Ok(None),
            count => self.entry(count - 1).map(Some),
        }
    }

    /// At most so many entries, evenly over all of them, the first among them.
    pub fn sample(&self, entries_max: u64) -> Result<Vec<ChangeEntry>> {
        let stride = self.count.div_ceil(entries_max.max(1)).max(1);
        let entries = (0..self.count).step_by(stride as usize).map(|number| self.entry(number));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        // Each has its checksum; their order is checked where it is relied on.
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].version >= pair[1].version) {
            return Err(Error::corrupt(format!(
                "{} is damaged: expected versions in ascending order, found {} before {}; run 'asof verify'",
                self.layout.changes(self.table).display(),
                pair[0].version,
                pair[1].version
            )));
        }
        Ok(entries)
    }

    /// Appends entries behind the settled ones; gives the new count.
    pub fn append(&self, entries: &[ChangeEntry]) -> Result<u64> {
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        for (number, entry) in (self.count..).zip(entries) {
            let start = bytes.len();
            // One more than that of unknown ones is 0.
            let variable = entry.variable_bits.wrapping_add(1);
            for value in [entry.version.0, entry.rows, entry.csv_bytes, entry.json_bytes, variable] {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            bytes.extend_from_slice(&[0; 4]);
            let crc = self.crc(number, &bytes[start..]);
            bytes.extend_from_slice(&crc.to_le_bytes());
        }
        let settled = self.count * ENTRY_BYTES as u64;
        append_settled(&*self.disk, &self.layout.changes(self.table), settled, &bytes)?;
        Ok(self.count + entries.len() as u64)
    }
}
