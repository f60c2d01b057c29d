//! The third version of a data file's index block: a small directory under a checksum of its own, then
//! the checksums of blocks in pieces, then for each row group its details ([`super::details`]). The
//! directory says where these lie, and has their checksums, so that a lookup reads the directory, one or
//! two pieces, and the details of the row groups that it needs. FORMAT.md describes the bytes.

use super::index_block::{GroupExtent, Input, block_crc, put_bytes};
use crate::error::{Result, damaged};
use asof_mvcc::{Column, ColumnType, FileId};
use asof_wal::planted::{Bug, planted};

/// Bytes under one checksum.
pub const BLOCK_BYTES: usize = 4 << 10;
/// Checksums of blocks in a piece.
pub const PIECE_BLOCKS: usize = 1_024;
const MAGIC: &[u8; 8] = b"ASOFIDX3";
/// Bytes of magic, length and checksum, which the checksum does not cover.
pub const HEADER_BYTES: usize = 16;
/// In place of a block's number: in the directory's checksum; in that of a piece, or of details, the first one's.
const DIRECTORY: u64 = u64::MAX - 1;
const FIRST_PIECE: u64 = 1 << 63;
const FIRST_DETAILS: u64 = 1 << 62;

/// Where something lies in the file, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its offset in the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u32,
    /// Its checksum.
    pub crc: u32,
}

/// The directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// How many blocks there are.
    pub blocks: u32,
    /// The checksums of blocks, piece by piece.
    pub pieces: Vec<Part>,
    /// The file's columns by field id, internal ones included.
    pub columns: Vec<Column>,
    /// Each row group's extent.
    pub groups: Vec<GroupExtent>,
    /// Each row group's details.
    pub details: Vec<Part>,
    /// Where page index and footer begin, which the manifest's checksum covers.
    pub footer_offset: u64,
}

/// The checksum of a piece.
pub fn piece_crc(file: FileId, piece: usize, bytes: &[u8]) -> u32 {
    block_crc(file, FIRST_PIECE + piece as u64, bytes)
}

/// The checksum of a row group's details.
pub fn details_crc(file: FileId, group: usize, bytes: &[u8]) -> u32 {
    block_crc(file, FIRST_DETAILS + group as u64, bytes)
}

/// The index block of a file whose blocks have these checksums, with the details of each row group.
pub fn encode(
    file: FileId,
    blocks: &[u32],
    columns: &[Column],
    groups: &[GroupExtent],
    details: &[Vec<u8>],
) -> Vec<u8> {
    let checksums: Vec<u8> = blocks.iter().flat_map(|crc| crc.to_le_bytes()).collect();
    let mut out = MAGIC.to_vec();
    out.extend([0; HEADER_BYTES - 8]);
    let number = |out: &mut Vec<u8>, number: u32| out.extend(number.to_le_bytes());
    number(&mut out, BLOCK_BYTES as u32);
    number(&mut out, blocks.len() as u32);
    number(&mut out, PIECE_BLOCKS as u32);
    for (piece, bytes) in checksums.chunks(4 * PIECE_BLOCKS).enumerate() {
        number(&mut out, piece_crc(file, piece, bytes));
    }
    number(&mut out, columns.len() as u32);
    for column in columns {
        number(&mut out, column.id);
        out.push(u8::from(column.nullable));
        put_bytes(&mut out, column.name.as_bytes());
        put_bytes(&mut out, column.column_type.to_string().as_bytes());
    }
    number(&mut out, groups.len() as u32);
    for (index, (group, details)) in groups.iter().zip(details).enumerate() {
        group.put(&mut out);
        number(&mut out, details.len() as u32);
        number(&mut out, details_crc(file, index, details));
    }
    let length = out.len() as u32;
    out[8..12].copy_from_slice(&length.to_le_bytes());
    let crc = block_crc(file, DIRECTORY, &out[HEADER_BYTES..]);
    out[12..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    out.extend(checksums);
    details.iter().for_each(|details| out.extend(details));
    out
}

/// The length of the directory that begins with these bytes; `None` where another version's index block does.
pub fn length(head: &[u8]) -> Option<usize> {
    let mut input = Input(head);
    (input.take(8)? == MAGIC).then_some(())?;
    Some(input.u32()? as usize)
}

impl Directory {
    /// Decodes the directory, which lies at `offset` in a file of `file_bytes`.
    pub fn decode(bytes: &[u8], id: FileId, offset: u64, file_bytes: u64, file: &str) -> Result<Directory> {
        let mut header = Input(bytes);
        let expected = header.take(12).and_then(|_| header.u32());
        let found = bytes.get(HEADER_BYTES..).map(|bytes| block_crc(id, DIRECTORY, bytes));
        let (Some(expected), Some(found)) = (expected, found) else {
            return Err(damaged(file, offset, "a directory, found none".to_string()));
        };
        if expected != found && !planted(Bug::IndexChecksumIgnored) {
            return Err(damaged(file, offset, format!("checksum {expected:08x}, found {found:08x}")));
        }
        let directory = Input(&bytes[HEADER_BYTES..]).directory(offset + bytes.len() as u64, offset);
        let directory = directory.filter(|directory| directory.footer_offset <= file_bytes);
        directory.ok_or_else(|| damaged(file, offset, "a directory of what lies behind it".to_string()))
    }
}

impl Input<'_> {
    /// What the checksum covers; `next` is the offset behind it, `blocks_end` that up to which blocks go.
    fn directory(&mut self, mut next: u64, blocks_end: u64) -> Option<Directory> {
        (self.u32()? == BLOCK_BYTES as u32).then_some(())?;
        let blocks = self.u32()?;
        (u64::from(blocks) == blocks_end.div_ceil(BLOCK_BYTES as u64)).then_some(())?;
        (self.u32()? == PIECE_BLOCKS as u32).then_some(())?;
        let mut part = |bytes: u32, crc: u32| {
            let offset = next;
            next += u64::from(bytes);
            Part { offset, bytes, crc }
        };
        let mut pieces = Vec::new();
        let mut left = blocks;
        while left > 0 {
            let of_piece = left.min(PIECE_BLOCKS as u32);
            left -= of_piece;
            pieces.push(part(4 * of_piece, self.u32()?));
        }
        let mut columns = Vec::new();
        for _ in 0..self.u32()? {
            let id = self.u32()?;
            let nullable = self.u8()? != 0;
            let name = String::from_utf8(self.bytes()?.to_vec()).ok()?;
            let column_type = ColumnType::parse(std::str::from_utf8(self.bytes()?).ok()?).ok()?;
            columns.push(Column { id, nullable, ..Column::new(name, column_type) });
        }
        let (mut groups, mut details) = (Vec::new(), Vec::new());
        for index in 0..self.u32()? {
            groups.push(self.extent(index == 0, true)?);
            details.push(part(self.u32()?, self.u32()?));
        }
        self.0.is_empty().then_some(())?;
        Some(Directory { blocks, pieces, columns, groups, details, footer_offset: next })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two row groups behind two blocks.
    pub fn sample() -> (Vec<u32>, Vec<Column>, Vec<GroupExtent>, Vec<Vec<u8>>) {
        let group = GroupExtent {
            rows: 7,
            min_begin: 1,
            max_begin: 9,
            min_end: 10,
            max_end: u64::MAX,
            min_key: b"a".to_vec(),
            max_key: b"zz".to_vec(),
            starts_run: true,
            page_rows: 3,
            filter_offset: 64,
            filter_bytes: 32,
        };
        let columns = vec![Column { id: 1, ..Column::new("id", ColumnType::Int64) }];
        let second = GroupExtent { starts_run: false, ..group.clone() };
        (vec![1, 2], columns, vec![group, second], vec![b"first".to_vec(), b"second".to_vec()])
    }

    #[test]
    fn a_directory_reads_back_and_every_changed_byte_and_cut_is_found() {
        let (blocks, columns, groups, details) = sample();
        let mut bytes = encode(9, &blocks, &columns, &groups, &details);
        let offset = 2 * BLOCK_BYTES as u64 - 100;
        let (file_bytes, d) = (offset + bytes.len() as u64 + 50, length(&bytes).unwrap());
        let read = Directory::decode(&bytes[..d], 9, offset, file_bytes, "f").unwrap();
        assert_eq!((read.blocks, &read.columns, &read.groups), (2, &columns, &groups));
        assert_eq!(read.footer_offset, file_bytes - 50);
        let of = |part: &Part| &bytes[(part.offset - offset) as usize..][..part.bytes as usize];
        assert_eq!(of(&read.pieces[0]), [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(read.pieces[0].crc, piece_crc(9, 0, of(&read.pieces[0])));
        for (group, part) in read.details.iter().enumerate() {
            assert_eq!((of(part), part.crc), (&details[group][..], details_crc(9, group, &details[group])));
        }
        for cut in 0..d {
            assert!(Directory::decode(&bytes[..cut], 9, offset, file_bytes, "f").is_err(), "cut at {cut}");
        }
        assert!(Directory::decode(&bytes[..d], 9, offset, file_bytes - 51, "f").is_err());
        for at in HEADER_BYTES - 4..d {
            bytes[at] ^= 16;
            let found = Directory::decode(&bytes[..d], 9, offset, file_bytes, "f");
            assert!(found.unwrap_err().to_string().contains(&format!("f is damaged at offset {offset}")));
            bytes[at] ^= 16;
        }
    }
}
