//! Damaged data files, ends files, ids, running sums and commit logs behind checksums that are right: every answer of
//! the database is one, or an error.

#![no_main]

use asof_fuzz::{Base, Edit, edited, exercise, frame};
use asof_wal::sim::SimDisk;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

/// Two files with two deaths and one, as the first format of ends files has them.
const ENDS_OF_FIRST_FORMAT: [u8; 10] = [1, 2, 0, 3, 1, 4, 3, 1, 2, 5];
const BLOCK_BYTES: usize = 4 << 10;
const PIECE_BYTES: usize = 4 << 10;

// Which file, what changes in it, and where it is cut off.
fuzz_target!(|input: (u8, Vec<Edit>, Option<u16>)| {
    let (which, edits, cut) = input;
    let base = Base::get();
    let path = &base.files[usize::from(which) % base.files.len()];
    let disk = base.disk();
    let bytes = disk.read(path).expect("it is there");
    let class = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    match class {
        "data" => put_data(base, &disk, path, edited(bytes, &edits, cut)),
        "ends" if which < 128 => put_ends(base, &disk, path, edited(bytes, &edits, cut)),
        "ends" => {
            let body = edited(ENDS_OF_FIRST_FORMAT.to_vec(), &edits, cut);
            let mut packed = (body.len() as u64).to_le_bytes().to_vec();
            packed.extend(zstd::bulk::compress(&body, 1).expect("bytes in memory compress"));
            put_framed(base, &disk, path, frame(b"ASOFENDS", &packed));
        }
        "ids" => {
            put_framed(base, &disk, path, frame(b"ASOFIDS\0", &edited(bytes[56..].to_vec(), &edits, cut)))
        }
        _ => put_history(base, &disk, path, edited(bytes, &edits, cut)),
    }
    exercise(&disk);
});

/// The number in a file's name behind a minus, or all of it.
fn number(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digits = stem.rsplit('-').next().unwrap_or_default();
    u64::from_str_radix(digits, 16).expect("names are numbers")
}

/// A data file: checksums of its blocks, of its tail, of all of it.
fn put_data(base: &Base, disk: &SimDisk, path: &Path, mut bytes: Vec<u8>) {
    let mut manifest = base.manifest.clone();
    let id = number(path);
    let copies = manifest.copies.iter_mut().map(|copies| &mut copies.file);
    let record = manifest.data_files.iter_mut().chain(copies).find(|record| record.id == id);
    let Some(record) = record else { return };
    let checksum = |block: u64, bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&id.to_le_bytes());
        hasher.update(&block.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    };
    let tail = (record.tail_offset as usize).min(bytes.len());
    let checksums: Vec<u8> = (0..)
        .zip(bytes[..tail].chunks(BLOCK_BYTES))
        .flat_map(|(block, bytes)| checksum(block, bytes).to_le_bytes())
        .collect();
    let index = &mut bytes[tail..];
    let length = index.get(8..12).map_or(0, |length| number_of(length) as usize);
    // Where the directory is whole, what lies behind it gets its checksums; where not, there is no telling.
    let mut footer = index.len();
    if let Some((directory, rest)) = index.split_at_mut_checked(length).filter(|(head, _)| head.len() >= 28) {
        let held = checksums.len().min(rest.len());
        rest[..held].copy_from_slice(&checksums[..held]);
        let pieces =
            rest[..held].chunks(PIECE_BYTES).zip(0..).map(|(piece, n)| checksum((1 << 63) + n, piece));
        for (place, crc) in directory[28..].chunks_exact_mut(4).zip(pieces) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        footer = length + held + put_details(&checksum, directory, &rest[held..]);
        let crc = checksum(u64::MAX - 1, &directory[16..]);
        directory[12..16].copy_from_slice(&crc.to_le_bytes());
    }
    record.tail_crc = checksum(u64::MAX, &bytes[(tail + footer).min(bytes.len())..]);
    record.bytes = bytes.len() as u64;
    record.digest = *blake3::hash(&bytes).as_bytes();
    disk.overwrite(path, &bytes).expect("it is there");
    base.put_manifest(disk, &manifest);
}

fn number_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// Checksums of the details of row groups; gives how long they are together.
fn put_details(checksum: &impl Fn(u64, &[u8]) -> u32, directory: &mut [u8], details: &[u8]) -> usize {
    let skip = |directory: &[u8], at: usize, bytes: usize| {
        at.checked_add(bytes).filter(|end| end.checked_add(4).is_some_and(|end| end <= directory.len()))
    };
    let text =
        |directory: &[u8], at: usize| skip(directory, at, 4 + number_of(&directory[at..at + 4]) as usize);
    let mut done = 0usize;
    let mut walk = || -> Option<()> {
        let pieces = number_of(&directory[20..24]).div_ceil(number_of(&directory[24..28]).max(1));
        let mut at = skip(directory, 28, (pieces as usize).checked_mul(4)?)?;
        let columns = number_of(&directory[at..at + 4]);
        at = skip(directory, at, 4)?;
        for _ in 0..columns {
            at = text(directory, skip(directory, at, 5)?)?;
            at = text(directory, at)?;
        }
        let groups = number_of(&directory[at..at + 4]);
        at = skip(directory, at, 4)?;
        for group in 0..u64::from(groups) {
            at = text(directory, skip(directory, at, 36)?)?;
            at = skip(directory, text(directory, at)?, 17)?;
            let bytes = number_of(&directory[at..at + 4]) as usize;
            let crc = checksum((1 << 62) + group, details.get(done..done.checked_add(bytes)?)?);
            directory.get_mut(at + 4..at + 8)?.copy_from_slice(&crc.to_le_bytes());
            (at, done) = (at + 8, done + bytes);
            if group + 1 < u64::from(groups) {
                skip(directory, at, 0)?;
            }
        }
        Some(())
    };
    let _ = walk();
    done
}

/// An ends file: checksums of its blocks and of its directory, and how many rows it has.
fn put_ends(base: &Base, disk: &SimDisk, path: &Path, mut bytes: Vec<u8>) {
    const HEADER: usize = 24;
    const ENTRY: usize = 44;
    let mut manifest = base.manifest.clone();
    let id = number(path);
    let Some(record) = manifest.ends_files.iter_mut().find(|record| record.id == id) else { return };
    let count =
        bytes.get(16..24).map_or(0, |count| u64::from_le_bytes(count.try_into().expect("eight bytes")));
    let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY)?.checked_add(HEADER));
    if let Some(length) = length.filter(|length| *length <= bytes.len()) {
        let (directory, blocks) = bytes.split_at_mut(length);
        let (mut rows, mut offset) = (0, 0usize);
        for (block, entry) in (0u64..).zip(directory[HEADER..].chunks_exact_mut(ENTRY)) {
            let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
            rows += u64::from(number(32));
            let end = offset.saturating_add(number(36) as usize);
            let crc = crc_of(&[
                &id.to_le_bytes(),
                &block.to_le_bytes(),
                blocks.get(offset..end).unwrap_or_default(),
            ]);
            entry[40..].copy_from_slice(&crc.to_le_bytes());
            offset = end;
        }
        let crc = crc_of(&[&id.to_le_bytes(), &u64::MAX.to_le_bytes(), &directory[16..]]);
        directory[12..16].copy_from_slice(&crc.to_le_bytes());
        record.rows = rows;
    }
    record.bytes = bytes.len() as u64;
    record.digest = *blake3::hash(&bytes).as_bytes();
    disk.overwrite(path, &bytes).expect("it is there");
    base.put_manifest(disk, &manifest);
}

fn put_framed(base: &Base, disk: &SimDisk, path: &Path, bytes: Vec<u8>) {
    let mut manifest = base.manifest.clone();
    let (id, digest) = (number(path), *blake3::hash(&bytes).as_bytes());
    for record in manifest.ends_files.iter_mut().filter(|record| record.id == id) {
        (record.bytes, record.digest) = (bytes.len() as u64, digest);
    }
    for record in manifest.ids_files.iter_mut().filter(|record| record.id == id) {
        (record.bytes, record.digest) = (bytes.len() as u64, digest);
    }
    disk.overwrite(path, &bytes).expect("it is there");
    base.put_manifest(disk, &manifest);
}

/// Running sums, the commit log and its index: checksums of entries.
fn put_history(base: &Base, disk: &SimDisk, path: &Path, mut bytes: Vec<u8>) {
    let id = &base.manifest.database_id;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let index_path = path.with_file_name("commits.idx");
    if name.ends_with(".changes") {
        let table = (number(path) as u32).to_le_bytes();
        for (number, entry) in (0u64..).zip(bytes.chunks_exact_mut(48)) {
            let crc = crc_of(&[id, &table, &number.to_le_bytes(), &entry[..44]]);
            entry[44..].copy_from_slice(&crc.to_le_bytes());
        }
    } else {
        let mut index =
            if name == "commits.idx" { bytes.clone() } else { disk.read(&index_path).expect("it is there") };
        for (version, entry) in (1u64..).zip(index.chunks_exact_mut(32)) {
            let place = u64::from_le_bytes(entry[8..16].try_into().expect("eight bytes")) as usize;
            let length = u32::from_le_bytes(entry[16..20].try_into().expect("four bytes")) as usize;
            if name == "commits.log"
                && let Some(header) = bytes.get(place..place.saturating_add(length))
            {
                entry[20..24].copy_from_slice(&crc_of(&[header]).to_le_bytes());
            }
            let crc = crc_of(&[id, &version.to_le_bytes(), &entry[..28]]);
            entry[28..].copy_from_slice(&crc.to_le_bytes());
        }
        match name {
            "commits.idx" => bytes = index,
            _ => disk.overwrite(&index_path, &index).expect("it is there"),
        }
    }
    disk.overwrite(path, &bytes).expect("it is there");
}

fn crc_of(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
