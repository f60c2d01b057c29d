//! Where the blocks of an ends file of the second format lie, and what each tells: header and directory are
//! under one checksum, each block is under its own, which is here.

use super::block::{BLOCK_ROWS, Bounds};
use crate::error::{Result, damaged};
use crate::store::index_block::block_crc;
use asof_mvcc::FileId;

/// Bytes of the header: magic 8, format u32, checksum of all behind it u32, count of blocks u64.
pub const HEADER_BYTES: usize = 24;
/// Bytes of a block's entry.
pub const ENTRY_BYTES: usize = 44;
/// The number that the checksum of the directory has in place of a block's.
const DIRECTORY: u64 = u64::MAX;

/// A block, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The data file whose rows it tells of.
    pub file: FileId,
    /// What it holds.
    pub bounds: Bounds,
    /// Where it lies in the ends file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u32,
    /// Its checksum.
    pub crc: u32,
}

/// Header and directory of a file that has these blocks, in order.
pub fn encode(magic: &[u8; 8], format: u32, id: FileId, entries: &[Entry]) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend(format.to_le_bytes());
    out.extend([0; 4]);
    out.extend((entries.len() as u64).to_le_bytes());
    for entry in entries {
        out.extend(entry.file.to_le_bytes());
        out.extend(entry.bounds.first.to_le_bytes());
        out.extend(entry.bounds.last.to_le_bytes());
        out.extend(entry.bounds.min_end.to_le_bytes());
        out.extend(entry.bounds.max_end.to_le_bytes());
        out.extend(entry.bounds.rows.to_le_bytes());
        out.extend(entry.bytes.to_le_bytes());
        out.extend(entry.crc.to_le_bytes());
    }
    let crc = block_crc(id, DIRECTORY, &out[16..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Bytes of header and directory together, told by the header of a file of this length.
pub fn length(header: &[u8], file_bytes: u64, name: &str) -> Result<usize> {
    let count = u64::from_le_bytes(take(header, 16));
    let length = count.checked_mul(ENTRY_BYTES as u64).and_then(|bytes| bytes.checked_add(24));
    match length.filter(|length| *length <= file_bytes) {
        Some(length) => Ok(length as usize),
        None => Err(damaged(name, 16, format!("no more blocks than fit, found {count}"))),
    }
}

/// Decodes header and directory, which are all of `bytes`, of the file `id`, which has `file_bytes` and `rows` rows.
pub fn decode(bytes: &[u8], id: FileId, file_bytes: u64, rows: u64, name: &str) -> Result<Vec<Entry>> {
    let (expected, found) = (u32::from_le_bytes(take(bytes, 12)), block_crc(id, DIRECTORY, &bytes[16..]));
    if expected != found {
        return Err(damaged(name, 12, format!("checksum {expected:08x}, found {found:08x}")));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity((bytes.len() - HEADER_BYTES) / ENTRY_BYTES);
    let (mut offset, mut rows_left) = (bytes.len() as u64, rows);
    let mut before: Option<(FileId, u32)> = None;
    for (nth, entry) in bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES).enumerate() {
        let number = |at: usize| u32::from_le_bytes(take(entry, at));
        let long = |at: usize| u64::from_le_bytes(take(entry, at));
        let (file, length) = (long(0), number(36));
        let bounds = Bounds {
            first: number(8),
            last: number(12),
            min_end: long(16),
            max_end: long(24),
            rows: number(32),
        };
        let holds = (1..=BLOCK_ROWS as u32).contains(&bounds.rows)
            && bounds.first <= bounds.last
            && u64::from(bounds.rows) <= u64::from(bounds.last - bounds.first) + 1
            && bounds.min_end <= bounds.max_end
            && before.is_none_or(|before| before < (file, bounds.first));
        let left = rows_left.checked_sub(u64::from(bounds.rows)).filter(|_| holds);
        let Some(left) = left else {
            let at = HEADER_BYTES + nth * ENTRY_BYTES;
            return Err(damaged(name, at as u64, "a block behind the one before it".to_string()));
        };
        entries.push(Entry { file, bounds, offset, bytes: length, crc: number(40) });
        (rows_left, before) = (left, Some((file, bounds.last)));
        offset += u64::from(length);
    }
    if (rows_left, offset) != (0, file_bytes) {
        let expected = format!("blocks of {rows} rows up to offset {file_bytes}");
        return Err(damaged(name, 16, format!("{expected}, found {} and {offset}", rows - rows_left)));
    }
    Ok(entries)
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("as many bytes as asked for")
}
