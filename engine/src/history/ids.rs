//! Idempotency ids, remembered for ever: sorted runs of (hash of the id, version), merged as they grow.

use crate::error::{Error, Result};
use crate::files::{frame, read_file, unframe};
use crate::layout::Layout;
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

/// Encodes a run; entries are sorted here.
pub fn encode_run(mut entries: Vec<IdEntry>) -> Vec<u8> {
    entries.sort_unstable();
    let mut body = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (hash, version) in &entries {
        body.extend_from_slice(hash);
        body.extend_from_slice(&version.0.to_le_bytes());
    }
    frame(MAGIC, FORMAT, &body)
}

/// Reads a run.
pub fn read_run(disk: &dyn Disk, layout: &Layout, file: FileId) -> Result<Vec<IdEntry>> {
    let path = layout.ids(file);
    let bytes = read_file(disk, &path)?;
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
