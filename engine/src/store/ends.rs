//! Ends files: when rows of data files died. One immutable file per table and checkpoint.
//! FORMAT.md describes the bytes.

use crate::codec::{decompress, put_varint, take_varint};
use crate::error::{Error, Result};
use crate::files::{frame, read_named, unframe};
use crate::layout::Layout;
use crate::manifest::EndsFileRecord;
use asof_mvcc::{FileId, TableId, Version};
use asof_wal::Disk;
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"ASOFENDS";
const FORMAT: u32 = 1;
const BODY_BYTES_MAX: u64 = 4 << 30;

/// For each data file, its dead rows by position, ascending, with their ends.
pub type Ends = BTreeMap<FileId, Vec<(u32, Version)>>;

/// The bytes of an ends file and its record. Rows are sorted here.
pub fn encode(table: TableId, id: FileId, mut ends: Ends) -> (EndsFileRecord, Vec<u8>) {
    let mut body = Vec::new();
    let (mut rows, mut min_end, mut max_end) = (0, u64::MAX, 0);
    for (file, dead) in &mut ends {
        dead.sort_unstable();
        put_varint(&mut body, *file);
        put_varint(&mut body, dead.len() as u64);
        let mut previous = 0;
        for (row, end) in dead.iter() {
            put_varint(&mut body, (*row - previous) as u64);
            put_varint(&mut body, end.0);
            previous = *row;
            (min_end, max_end) = (min_end.min(end.0), max_end.max(end.0));
        }
        rows += dead.len() as u64;
    }
    let mut packed = (body.len() as u64).to_le_bytes().to_vec();
    packed.extend(zstd::bulk::compress(&body, 3).expect("bytes in memory compress"));
    let bytes = frame(MAGIC, FORMAT, &packed);
    let digest = *blake3::hash(&bytes).as_bytes();
    (EndsFileRecord { id, table, rows, bytes: bytes.len() as u64, min_end, max_end, digest }, bytes)
}

/// Reads an ends file, checking every byte.
pub fn read(disk: &dyn Disk, layout: &Layout, record: &EndsFileRecord) -> Result<Ends> {
    let path = layout.ends(record.table, record.id);
    let name = path.display().to_string();
    let bytes = read_named(disk, &path, &record.digest, |bytes, name| {
        unframe(bytes, MAGIC, FORMAT, name).map(|_| ())
    })?;
    decode(unframe(&bytes, MAGIC, FORMAT, &name)?)
        .ok_or_else(|| Error::corrupt(format!("{name} has a damaged body")))
}

/// Decodes the body of an ends file.
pub fn decode(packed: &[u8]) -> Option<Ends> {
    let (length, packed) = packed.split_at_checked(8)?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    let body = Some(length).filter(|length| *length <= BODY_BYTES_MAX).and_then(|l| decompress(packed, l))?;
    let mut input = &body[..];
    let mut ends = Ends::new();
    while !input.is_empty() {
        let file = take_varint(&mut input)?;
        let count = take_varint(&mut input)?;
        let mut dead = Vec::with_capacity((count as usize).min(input.len()));
        let mut row = 0u32;
        for index in 0..count {
            let step = u32::try_from(take_varint(&mut input)?).ok()?;
            if index > 0 && step == 0 {
                return None;
            }
            row = row.checked_add(step)?;
            dead.push((row, Version(take_varint(&mut input)?)));
        }
        if ends.insert(file, dead).is_some() {
            return None;
        }
    }
    Some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        let ends: Ends = [
            (3, vec![(0, Version(7)), (5, Version(9)), (6, Version(8))]),
            (900, vec![(u32::MAX, Version(1 << 40))]),
        ]
        .into();
        let (record, bytes) = encode(1, 4, ends.clone());
        assert_eq!((record.rows, record.min_end, record.max_end), (4, 7, 1 << 40));
        assert_eq!(decode(unframe(&bytes, MAGIC, FORMAT, "f").unwrap()), Some(ends));
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let (_, bytes) = encode(1, 4, [(3, vec![(0, Version(7)), (5, Version(9))])].into());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(unframe(&damaged, MAGIC, FORMAT, "f").is_err(), "byte {at}");
        }
    }
}
