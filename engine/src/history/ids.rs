//! Idempotency ids, remembered for ever: sorted runs of (hash of the id, version), merged as they grow.

use crate::error::{Error, Result};
use crate::files::{frame, read_named, unframe};
use crate::layout::Layout;
use crate::manifest::IdsFileRecord;
use asof_mvcc::{FileId, Version};
use asof_wal::Disk;

const MAGIC: &[u8; 8] = b"ASOFIDS\0";
const FORMAT: u32 = 1;
const ENTRY_BYTES: usize = 24;

/// An id's hash (the first half of its BLAKE3) and the version that the commit with it made.
pub type IdEntry = ([u8; 16], Version);

/// The hash of an id.
pub fn hash_id(id: &str) -> [u8; 16] {
    blake3::hash(id.as_bytes()).as_bytes()[..16].try_into().expect("half of 32 bytes")
}

/// The bytes of a run and its record; entries are sorted here.
pub fn encode_run(id: FileId, mut entries: Vec<IdEntry>) -> (IdsFileRecord, Vec<u8>) {
    entries.sort_unstable();
    let mut body = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (hash, version) in &entries {
        body.extend_from_slice(hash);
        body.extend_from_slice(&version.0.to_le_bytes());
    }
    let bytes = frame(MAGIC, FORMAT, &body);
    let digest = *blake3::hash(&bytes).as_bytes();
    (IdsFileRecord { id, count: entries.len() as u64, bytes: bytes.len() as u64, digest }, bytes)
}

/// Reads a run, checking every byte.
pub fn read_run(disk: &dyn Disk, layout: &Layout, record: &IdsFileRecord) -> Result<Vec<IdEntry>> {
    let path = layout.ids(record.id);
    let bytes = read_named(disk, &path, &record.digest, |bytes, name| {
        unframe(bytes, MAGIC, FORMAT, name).map(|_| ())
    })?;
    let body = unframe(&bytes, MAGIC, FORMAT, &path.display().to_string())?;
    if body.len() % ENTRY_BYTES != 0 {
        return Err(Error::corrupt(format!("{} is not a whole number of entries", path.display())));
    }
    let entry = |bytes: &[u8]| {
        let hash = bytes[..16].try_into().expect("sixteen bytes");
        (hash, Version(u64::from_le_bytes(bytes[16..].try_into().expect("eight bytes"))))
    };
    Ok(body.chunks_exact(ENTRY_BYTES).map(entry).collect())
}
