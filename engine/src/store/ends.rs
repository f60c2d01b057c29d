//! Ends files: when rows of data files died. One immutable file per table and checkpoint, whose blocks are
//! found by its directory, and each checked before its first use. FORMAT.md describes the bytes.

pub mod block;
mod directory;
#[cfg(test)]
pub(crate) mod tests;

use crate::codec::{decompress, take_varint};
use crate::error::{Error, ErrorKind, Result, damaged};
use crate::files::{io_error, open_named, read_file, read_named, read_settled, unframe};
use crate::layout::Layout;
use crate::manifest::EndsFileRecord;
use crate::store::index_block::block_crc;
use crate::text::hex;
use asof_mvcc::{FileId, TableId, Version};
use asof_wal::{Disk, DiskFile};
use block::{BLOCK_ROWS, Block};
use bytes::Bytes;
use directory::{Entry, HEADER_BYTES};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"ASOFENDS";
/// Frames, whose body is one compressed piece: read, and no longer written.
const FIRST_FORMAT: u32 = 1;
const FORMAT: u32 = 2;
const BODY_BYTES_MAX: u64 = 4 << 30;
/// What is read of a file at first: header and directory, and of most files all there is.
const HEAD_BYTES: u64 = 32 << 10;

/// For each data file, its dead rows by position, ascending, with their ends.
pub type Ends = BTreeMap<FileId, Vec<(u32, Version)>>;

/// The bytes of an ends file and its record. Rows are sorted here; a row dies once, where it died first.
pub fn encode(table: TableId, id: FileId, mut ends: Ends) -> (EndsFileRecord, Vec<u8>) {
    let (mut entries, mut blocks) = (Vec::new(), Vec::new());
    let (mut rows, mut min_end, mut max_end) = (0, u64::MAX, 0);
    for (file, dead) in &mut ends {
        dead.sort_unstable();
        dead.dedup_by_key(|(row, _)| *row);
        for part in dead.chunks(BLOCK_ROWS) {
            let (bounds, bytes) = block::encode(part);
            let crc = block_crc(id, entries.len() as u64, &bytes);
            entries.push(Entry { file: *file, bounds, offset: 0, bytes: bytes.len() as u32, crc });
            blocks.extend(bytes);
            (min_end, max_end) = (min_end.min(bounds.min_end), max_end.max(bounds.max_end));
        }
        rows += dead.len() as u64;
    }
    let mut bytes = directory::encode(MAGIC, FORMAT, id, &entries);
    bytes.extend(blocks);
    let digest = *blake3::hash(&bytes).as_bytes();
    (EndsFileRecord { id, table, rows, bytes: bytes.len() as u64, min_end, max_end, digest }, bytes)
}

/// Reads an ends file, checking every byte.
pub fn read(disk: &dyn Disk, layout: &Layout, record: &EndsFileRecord) -> Result<Ends> {
    let path = layout.ends(record.table, record.id);
    let bytes = read_named(disk, &path, &record.digest, |bytes, name| match format_of(bytes, name)? {
        FORMAT => decode(bytes, record, name).map(|_| ()),
        _ => unframe(bytes, MAGIC, FIRST_FORMAT, name).map(|_| ()),
    })?;
    decode(&bytes, record, &path.display().to_string())
}

/// Decodes the bytes of an ends file, of either format.
pub fn decode(bytes: &[u8], record: &EndsFileRecord, name: &str) -> Result<Ends> {
    if format_of(bytes, name)? == FIRST_FORMAT {
        return decode_first(unframe(bytes, MAGIC, FIRST_FORMAT, name)?)
            .ok_or_else(|| Error::corrupt(format!("{name} has a damaged body")));
    }
    let file = EndsFile::in_memory(bytes.to_vec().into(), record, name)?;
    let mut ends = Ends::new();
    for (entry, block) in file.entries.iter().zip(file.load(0..file.entries.len())?) {
        ends.entry(entry.file).or_default().extend(block.all());
    }
    Ok(ends)
}

/// The format that a file says it has: one that is known.
fn format_of(bytes: &[u8], name: &str) -> Result<u32> {
    if bytes.len() < HEADER_BYTES {
        let expected = format!("at least {HEADER_BYTES} bytes, found {}", bytes.len());
        return Err(damaged(name, bytes.len() as u64, expected));
    }
    if bytes[..8] != MAGIC[..] {
        return Err(damaged(name, 0, format!("{}, found {}", hex(MAGIC), hex(&bytes[..8]))));
    }
    match u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) {
        format @ (FIRST_FORMAT | FORMAT) => Ok(format),
        format => Err(Error::new(
            ErrorKind::Unsupported,
            format!("{name} has format {format}; this release reads {FORMAT}"),
        )),
    }
}

/// Decodes the body of an ends file of the first format.
pub fn decode_first(packed: &[u8]) -> Option<Ends> {
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

/// An ends file whose directory is known; blocks are read as they are needed.
#[derive(Debug)]
pub struct EndsFile {
    /// The file's number, which its checksums cover.
    pub id: FileId,
    name: String,
    entries: Vec<Entry>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Disk { file: Arc<dyn DiskFile>, path: PathBuf },
    Memory(Bytes),
}

impl EndsFile {
    /// Opens a file that a manifest names. One of the first format is read whole, and held as the second has it.
    pub fn open(disk: &dyn Disk, layout: &Layout, record: &EndsFileRecord) -> Result<EndsFile> {
        let path = layout.ends(record.table, record.id);
        let name = path.display().to_string();
        let file = open_named(disk, &path)?;
        let length = file.len().map_err(|error| io_error("read", &path, error))?;
        if length != record.bytes {
            let expected = format!("{} bytes, found {length}", record.bytes);
            return Err(damaged(&name, length.min(record.bytes), expected));
        }
        let mut head = vec![0; length.min(HEAD_BYTES) as usize];
        read_settled(&*file, &path, &mut head, 0)?;
        let newer = |error: Error| match read_file(disk, &path) {
            // Only what the manifest names counts as a newer release's.
            Ok(bytes) if blake3::hash(&bytes).as_bytes() == &record.digest => error,
            Ok(_) => damaged(&name, 8, format!("format 1 or {FORMAT}, found another")),
            Err(error) => error,
        };
        let format = format_of(&head, &name).map_err(|error| match error.kind() {
            ErrorKind::Unsupported => newer(error),
            _ => error,
        })?;
        if format == FIRST_FORMAT {
            let ends = read(disk, layout, record)?;
            let (record, bytes) = encode(record.table, record.id, ends);
            return EndsFile::in_memory(bytes.into(), &record, &name);
        }
        let directory = directory::length(&head, length, &name)?;
        if head.len() as u64 == length {
            return EndsFile::in_memory(head.into(), record, &name);
        }
        let known = head.len();
        head.resize(directory, 0);
        if known < directory {
            read_settled(&*file, &path, &mut head[known..], known as u64)?;
        }
        let entries = directory::decode(&head, record.id, length, record.rows, &name)?;
        Ok(EndsFile { id: record.id, name, entries, source: Source::Disk { file, path } })
    }

    /// The same of all bytes of a file of the second format.
    fn in_memory(bytes: Bytes, record: &EndsFileRecord, name: &str) -> Result<EndsFile> {
        let length = bytes.len() as u64;
        let directory = directory::length(&bytes, length, name)?;
        let entries = directory::decode(&bytes[..directory], record.id, length, record.rows, name)?;
        Ok(EndsFile { id: record.id, name: name.to_string(), entries, source: Source::Memory(bytes) })
    }

    /// The blocks that tell of rows of a data file, of those from `first` up to but not `past`.
    pub fn blocks_of(&self, file: FileId, first: u32, past: u64) -> Range<usize> {
        let from = self.entries.partition_point(|entry| (entry.file, entry.bounds.last) < (file, first));
        let within = |entry: &Entry| entry.file == file && u64::from(entry.bounds.first) < past;
        from..from + self.entries[from..].partition_point(within)
    }

    /// What a block holds.
    pub fn bounds(&self, block: usize) -> &block::Bounds {
        &self.entries[block].bounds
    }

    /// Reads blocks side by side, checking each.
    pub fn load(&self, blocks: Range<usize>) -> Result<Vec<Block>> {
        let entries = &self.entries[blocks.clone()];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let length = (last.offset + u64::from(last.bytes) - first.offset) as usize;
        let bytes = match &self.source {
            Source::Memory(bytes) => bytes.slice(first.offset as usize..first.offset as usize + length),
            Source::Disk { file, path } => {
                let mut bytes = vec![0; length];
                read_settled(&**file, path, &mut bytes, first.offset)?;
                bytes.into()
            }
        };
        let decoded = blocks.zip(entries).map(|(number, entry)| {
            let from = (entry.offset - first.offset) as usize;
            let bytes = &bytes[from..from + entry.bytes as usize];
            let found = block_crc(self.id, number as u64, bytes);
            if found != entry.crc {
                let expected = format!("checksum {:08x}, found {found:08x}", entry.crc);
                return Err(damaged(&self.name, entry.offset, expected));
            }
            Block::decode(&entry.bounds, bytes).ok_or_else(|| {
                damaged(&self.name, entry.offset, "the rows and ends that the directory says".to_string())
            })
        });
        decoded.collect()
    }
}
