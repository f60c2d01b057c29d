//! Ends files read back, damaged, and of both formats.

use super::block::{self, Block, Bounds};
use super::directory::ENTRY_BYTES;
use super::*;
use crate::allocations::largest_during;
use crate::files::frame;
use proptest::prelude::*;

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Deaths in two files: more than a block each, of rows and ends that are near each other and far apart.
fn deaths(rows: u64, seed: u64) -> Ends {
    let mut numbers = Numbers(seed);
    let mut ends = Ends::new();
    for (file, gap, spread) in [(3, 1, 1), (4, 20, 200), (900, 700, 1 << 30)] {
        let mut row = 0;
        let dead = (0..rows).map(|_| {
            row += 1 + numbers.below(gap) as u32;
            (row - 1, Version(1 + numbers.below(spread)))
        });
        ends.insert(file, dead.collect());
    }
    ends
}

/// The same deaths in the first format.
pub(crate) fn encode_first(table: TableId, id: FileId, ends: &Ends) -> (EndsFileRecord, Vec<u8>) {
    let mut body = Vec::new();
    for (file, dead) in ends {
        crate::codec::put_varint(&mut body, *file);
        crate::codec::put_varint(&mut body, dead.len() as u64);
        let mut previous = 0;
        for (row, end) in dead {
            crate::codec::put_varint(&mut body, u64::from(*row - previous));
            crate::codec::put_varint(&mut body, end.0);
            previous = *row;
        }
    }
    let mut packed = (body.len() as u64).to_le_bytes().to_vec();
    packed.extend(zstd::bulk::compress(&body, 3).expect("bytes in memory compress"));
    let bytes = frame(MAGIC, FIRST_FORMAT, &packed);
    let digest = *blake3::hash(&bytes).as_bytes();
    let (record, _) = encode(table, id, ends.clone());
    (EndsFileRecord { bytes: bytes.len() as u64, digest, ..record }, bytes)
}

#[test]
fn reads_back_what_it_wrote_of_either_format() {
    let mut few: Ends = [
        (3, vec![(0, Version(7)), (5, Version(9)), (6, Version(8))]),
        (900, vec![(0, Version(1)), (u32::MAX, Version(1 << 60))]),
    ]
    .into();
    for ends in [Ends::new(), few.clone(), deaths(10_000, 1)] {
        for (record, bytes) in [encode(1, 4, ends.clone()), encode_first(1, 4, &ends)] {
            assert_eq!(decode(&bytes, &record, "f").unwrap(), ends);
            assert_eq!(record.rows, ends.values().map(|dead| dead.len() as u64).sum::<u64>());
        }
    }
    let (record, _) = encode(1, 4, few.clone());
    assert_eq!((record.rows, record.min_end, record.max_end), (5, 1, 1 << 60));
    // In any order; a row dies once.
    few.get_mut(&3).unwrap().reverse();
    few.get_mut(&3).unwrap().push((5, Version(10)));
    assert_eq!(encode(1, 4, few).0, record);
}

#[test]
fn every_flipped_byte_is_found() {
    let mut ends = deaths(4_200, 2);
    ends.get_mut(&4).unwrap().truncate(100);
    ends.get_mut(&900).unwrap().truncate(100);
    let (record, bytes) = encode(1, 4, ends);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(decode(&damaged, &record, "f").is_err(), "byte {at}");
        assert!(decode(&bytes[..at], &record, "f").is_err(), "cut at {at}");
    }
}

#[test]
fn a_damaged_block_is_named_and_others_are_read() {
    let (record, mut bytes) = encode(1, 4, deaths(10_000, 3));
    let whole = EndsFile::in_memory(bytes.clone().into(), &record, "f").unwrap();
    let offset = whole.entries[1].offset;
    bytes[offset as usize] ^= 4;
    let file = EndsFile::in_memory(bytes.into(), &record, "f").unwrap();
    let error = file.load(0..2).unwrap_err().to_string();
    assert!(error.contains(&format!("f is damaged at offset {offset}: expected checksum ")), "{error}");
    assert_eq!(file.load(0..1).unwrap()[0].memory_bytes(), whole.load(0..1).unwrap()[0].memory_bytes());
    assert!(file.load(2..file.entries.len()).is_ok());
    // A block that is whole but is another file's, or lies in another place, is damage too.
    let (other, bytes) = encode(1, 5, deaths(10_000, 3));
    let error = EndsFile::in_memory(bytes.into(), &EndsFileRecord { id: 4, ..other }, "f").unwrap_err();
    assert!(error.to_string().contains("at offset 12"), "{error}");
}

#[test]
fn a_newer_format_is_not_damage() {
    let (record, mut bytes) = encode(1, 4, deaths(10, 4));
    bytes[8] = 3;
    assert_eq!(decode(&bytes, &record, "f").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn numbers_of_every_width_are_kept() {
    for bits in 0..64 {
        let top = 1u64 << bits;
        let dead: Vec<(u32, Version)> = (0..50u64)
            .map(|row| {
                (
                    (row * row * (1 << (bits / 4))) as u32,
                    Version(1 + row % 7 * (top / 8) + (top - 1) * (row % 2)),
                )
            })
            .collect();
        let (bounds, bytes) = block::encode(&dead);
        let block = Block::decode(&bounds, &bytes).unwrap();
        assert_eq!(block.all().collect::<Vec<_>>(), dead, "{bits} bits");
        assert!(dead.iter().all(|(row, end)| block.end_of(*row) == Some(*end)));
    }
}

#[test]
fn a_block_that_compresses_is_compressed() {
    let dead: Vec<(u32, Version)> =
        (0..4096).map(|row| (row, Version(1 + u64::from(row / 500) * 1000))).collect();
    let (bounds, bytes) = block::encode(&dead);
    assert!(bytes[0] & 0x80 != 0 && bytes.len() < 1000, "{} bytes", bytes.len());
    assert_eq!(Block::decode(&bounds, &bytes).unwrap().all().collect::<Vec<_>>(), dead);
    // Rows side by side that died together take next to nothing.
    let dead: Vec<(u32, Version)> = (7..4103).map(|row| (row, Version(9))).collect();
    assert_eq!(block::encode(&dead).1, [0, 0]);
}

proptest! {
    #[test]
    fn blocks_behind_right_checksums_are_refused_or_read_but_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), rows in 1u32..=4096, first: u32, steps in 0u32..9000,
        min_end: u64, ends in 0u64..300, start in prop::option::of((any::<u8>(), 0u8..70))
    ) {
        let (last, max_end) = (first.saturating_add(steps), min_end.saturating_add(ends));
        let bounds = Bounds { rows, first, last, min_end, max_end };
        let mut bytes = bytes;
        if let Some((row_width, end_width)) = start {
            bytes.splice(0..bytes.len().min(2), [row_width, end_width]);
        }
        let largest = largest_during(|| {
            if let Some(block) = Block::decode(&bounds, &bytes) {
                assert_eq!(block.all().count(), rows as usize);
                assert!(block.all().all(|(row, end)| row >= first && row <= last && end.0 <= max_end));
            }
        });
        prop_assert!(largest < 4 << 20, "{} bytes were asked for", largest);
    }

    #[test]
    fn directories_behind_a_right_checksum_are_refused_or_read_but_never_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let (record, mut bytes) = encode(1, 4, deaths(30, 5));
        let directory = HEADER_BYTES + 3 * ENTRY_BYTES;
        for (at, byte) in changes {
            bytes[16 + at.index(directory - 16)] = byte;
        }
        if let Ok(length) = super::directory::length(&bytes, bytes.len() as u64, "f") {
            let crc = block_crc(4, u64::MAX, &bytes[16..length]);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(file) = EndsFile::in_memory(bytes.into(), &record, "f") {
            let _ = file.load(0..file.entries.len());
        }
    }

    #[test]
    fn bodies_of_the_first_format_are_refused_or_read_but_never_a_panic(
        body in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut packed = (body.len() as u64).to_le_bytes().to_vec();
        packed.extend(zstd::bulk::compress(&body, 3).unwrap());
        let _ = decode_first(&packed);
        let _ = decode_first(&body);
    }
}

/// Not a test of anything: `cargo test -- --ignored --nocapture measure` tells sizes and times.
#[test]
#[ignore = "a measurement"]
fn measure_both_formats() {
    let mut numbers = Numbers(6);
    let mut row = 0;
    let dead: Vec<(u32, Version)> = (0..1_000_000)
        .map(|_| {
            row += 1 + numbers.below(20) as u32;
            (row, Version(1000 + numbers.below(200)))
        })
        .collect();
    let ends: Ends = [(3, dead)].into();
    let ((first, first_bytes), (second, second_bytes)) = (encode_first(1, 4, &ends), encode(1, 4, ends));
    let start = std::time::Instant::now();
    decode(&first_bytes, &first, "f").unwrap();
    let whole = start.elapsed();
    let start = std::time::Instant::now();
    unframe(&first_bytes, MAGIC, FIRST_FORMAT, "f").map(|body| decode_first(body).unwrap()).unwrap();
    let body = start.elapsed();
    let start = std::time::Instant::now();
    let file = EndsFile::in_memory(second_bytes.into(), &second, "f").unwrap();
    let opened = start.elapsed();
    let start = std::time::Instant::now();
    let blocks = file.load(0..file.entries.len()).unwrap();
    let loaded = start.elapsed();
    let start = std::time::Instant::now();
    let mut rows = Vec::new();
    let all = (Version::ZERO, Version::FOREVER);
    blocks.iter().for_each(|block| block.each_dead(0, 1 << 32, all, &mut |row, end| rows.push((row, end))));
    let taken = start.elapsed();
    println!("format 1: {} bytes, whole {whole:?}, again {body:?}", first.bytes);
    println!(
        "format 2: {} bytes, directory {opened:?}, blocks {loaded:?}, as tuples {taken:?}",
        second.bytes
    );
}
