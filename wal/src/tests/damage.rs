//! Damaged logs: a prefix, or an error that says where; never another state, never a panic.

use super::*;
use crate::record;
use crate::segment::HEADER_BYTES;

/// A log of four records, each synced, seen without its durable head as after a restart of the machine.
fn four_records() -> (SimDisk, Vec<Vec<u8>>) {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    let written: Vec<Vec<u8>> =
        [5_usize, 64, 0, 131].iter().map(|bytes| vec![*bytes as u8; *bytes]).collect();
    for payload in &written {
        append(&log, payload).unwrap();
    }
    drop(log);
    disk.crash();
    (disk.process(), written)
}

/// What is in the log is a prefix of what was written; returns how long and the error that ended it.
fn prefix(disk: &SimDisk, written: &[Vec<u8>]) -> (usize, Option<Error>) {
    let (records, failure) = read_all(&open(disk, Access::ReadOnly));
    for (record, payload) in records.iter().zip(written) {
        assert_eq!(&record.payload, payload);
    }
    assert!(records.len() <= written.len());
    (records.len(), failure)
}

#[test]
fn log_cut_at_every_byte_opens_with_the_records_before_the_cut() {
    let (disk, written) = four_records();
    let path = segment_path(1);
    let whole = disk.read(&path).unwrap();
    let mut ends = vec![HEADER_BYTES];
    ends.extend(written.iter().map(|payload| record::encoded_bytes(payload.len() as u64)));
    (1..ends.len()).for_each(|index| ends[index] += ends[index - 1]);
    for cut in 0..*ends.last().unwrap() + 9 {
        disk.overwrite(&path, &whole[..cut as usize]).unwrap();
        let (count, failure) = prefix(&disk, &written);
        if cut < HEADER_BYTES {
            assert!(matches!(failure, Some(Error::Corrupt { .. })), "cut at {cut}: {failure:?}");
            continue;
        }
        assert!(failure.is_none(), "cut at {cut}: {failure:?}");
        assert_eq!(count, ends.iter().filter(|end| **end <= cut).count() - 1, "cut at {cut}");
    }
}

#[test]
fn log_cut_at_any_byte_is_written_on_behind_its_last_whole_record() {
    for cut in (HEADER_BYTES as usize..HEADER_BYTES as usize + 500).step_by(13) {
        let (disk, written) = four_records();
        let whole = disk.read(&segment_path(1)).unwrap();
        disk.overwrite(&segment_path(1), &whole[..cut]).unwrap();
        let (count, _) = prefix(&disk, &written);
        let log = open(&disk, Access::ReadWrite);
        append(&log, b"after").unwrap();
        let mut expected = written[..count].to_vec();
        expected.push(b"after".to_vec());
        assert_eq!(payloads(&log), expected);
    }
}

#[test]
fn every_flipped_byte_gives_a_prefix_or_an_error() {
    let (disk, written) = four_records();
    let path = segment_path(1);
    let whole = disk.read(&path).unwrap();
    let end = open(&disk, Access::ReadOnly).durable().unwrap().offset as usize;
    let last = end - record::encoded_bytes(131) as usize;
    for at in 0..end + 100 {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            disk.overwrite(&path, &bytes).unwrap();
            let (count, failure) = prefix(&disk, &written);
            match failure {
                None if at >= end => assert_eq!(count, 4),
                None => {
                    assert!(at >= last && count == 3, "byte {at}: what a later record vouches for is damage")
                }
                Some(Error::Corrupt { offset, .. }) => assert!(offset <= at as u64 && at < last),
                Some(error) => panic!("byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn damage_before_the_durable_head_is_an_error_even_in_the_last_record() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"one").unwrap();
    let at = append(&log, b"two").unwrap();
    let mut bytes = disk.read(&segment_path(1)).unwrap();
    bytes[at.offset as usize + 64] ^= 1;
    disk.overwrite(&segment_path(1), &bytes).unwrap();
    let (records, failure) = read_all(&open(&disk, Access::ReadOnly));
    assert_eq!(records.len(), 1);
    let Some(Error::Corrupt { file, offset, .. }) = failure else { panic!("{failure:?}") };
    assert_eq!((file, offset), (segment_path(1), at.offset));
}

#[test]
fn nothing_is_appended_behind_damage() {
    let (disk, _) = four_records();
    let mut bytes = disk.read(&segment_path(1)).unwrap();
    bytes[HEADER_BYTES as usize + 64] ^= 1;
    disk.overwrite(&segment_path(1), &bytes).unwrap();
    let log = open(&disk, Access::ReadWrite);
    assert!(matches!(log.take_turn(WAIT), Err(Error::Corrupt { offset: HEADER_BYTES, .. })));
    assert!(matches!(log.durable(), Err(Error::Corrupt { .. })));
    assert_eq!(crate::segment::list(&disk, Path::new(DIR)).unwrap().len(), 1);
}

#[test]
fn an_iterator_that_failed_stays_ended() {
    let (disk, _) = four_records();
    let mut bytes = disk.read(&segment_path(1)).unwrap();
    bytes[HEADER_BYTES as usize] ^= 1;
    disk.overwrite(&segment_path(1), &bytes).unwrap();
    let mut records = open(&disk, Access::ReadOnly).read_from(Log::start()).unwrap();
    assert!(records.next().unwrap().is_err());
    assert!(records.next().is_none());
}

#[test]
fn a_missing_segment_is_named() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    for _ in 0..4 {
        append(&log, &[1; 9000]).unwrap();
    }
    drop(log);
    disk.crash();
    let disk = disk.process();
    disk.remove_file(&segment_path(2)).unwrap();
    let (records, failure) = read_all(&open(&disk, Access::ReadOnly));
    assert_eq!(records.len(), 1);
    assert!(matches!(failure, Some(Error::Missing { file, .. }) if file == segment_path(2)));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, _) = four_records();
    let mut bytes = disk.read(&segment_path(1)).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    disk.overwrite(&segment_path(1), &bytes).unwrap();
    let (_, failure) = read_all(&open(&disk, Access::ReadOnly));
    assert!(matches!(failure, Some(Error::Unsupported { found: 2, supported: 1, .. })));
}

#[test]
fn another_databases_segment_is_refused() {
    let (disk, _) = four_records();
    let log =
        Log::open(Arc::new(disk.clone()), Path::new(DIR), [9; 16], Log::start(), small(), Access::ReadOnly)
            .unwrap();
    assert!(matches!(log.durable(), Err(Error::Corrupt { offset: 16, .. })));
}

#[test]
fn a_length_beyond_the_file_is_not_allocated() {
    let disk = new_disk(1);
    let mut bytes = disk.read(&segment_path(1)).unwrap();
    let mut record = Vec::new();
    record::encode(&mut record, &ID, Log::start(), 0, 1, &[]);
    record[..4].copy_from_slice(&0xFFFF_FF00_u32.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..60]);
    hasher.update(&HEADER_BYTES.to_le_bytes());
    record[60..64].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes[4096..4160].copy_from_slice(&record);
    disk.overwrite(&segment_path(1), &bytes).unwrap();
    disk.crash();
    let (records, failure) = read_all(&open(&disk.process(), Access::ReadOnly));
    assert!(records.is_empty() && failure.is_none());
}

#[test]
fn random_damage_gives_a_prefix_or_an_error_and_never_a_panic() {
    let whole = new_disk(1);
    let log = open(&whole, Access::ReadWrite);
    let written: Vec<Vec<u8>> = (0..12).map(|number| vec![number; 37 << (number % 8)]).collect();
    written.iter().for_each(|payload| assert!(append(&log, payload).is_ok()));
    let segments: Vec<_> = (1..=log.segments().len() as u64).map(segment_path).collect();
    drop(log);
    let contents: Vec<_> = segments.iter().map(|path| whole.read(path).unwrap()).collect();
    for seed in 0..1500 {
        let mut chance = Chance(seed);
        let disk = new_disk(seed);
        for (path, content) in segments.iter().zip(&contents) {
            disk.open(path, crate::OpenMode::Create).unwrap();
            disk.overwrite(path, content).unwrap();
        }
        disk.sync_dir(Path::new(DIR)).unwrap();
        let (path, content) = {
            let pick = chance.below(segments.len());
            (&segments[pick], &contents[pick])
        };
        let mut bytes = content.clone();
        let at = chance.below(bytes.len());
        match chance.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(0),
            2 => bytes[at] ^= 1 << chance.below(8),
            _ => bytes[at..].iter_mut().take(600).for_each(|byte| *byte = chance.below(256) as u8),
        }
        disk.overwrite(path, &bytes).unwrap();
        disk.crash();
        let disk = disk.process();
        let (count, damage) = prefix(&disk, &written);
        let log = open(&disk, Access::ReadWrite);
        let appended = append(&log, b"after");
        assert_eq!(appended.is_err(), damage.is_some(), "seed {seed}: {damage:?}, then {appended:?}");
        if damage.is_none() {
            let mut expected = written[..count].to_vec();
            expected.push(b"after".to_vec());
            assert_eq!(payloads(&log), expected);
        }
    }
}

#[test]
fn extreme_numbers_under_good_checksums_do_not_panic() {
    let reseal = |bytes: &mut [u8], offset: usize| {
        if offset == 0 {
            let crc = crc32fast::hash(&bytes[..4092]);
            bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
        } else {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&bytes[offset..offset + 60]);
            hasher.update(&(offset as u64).to_le_bytes());
            bytes[offset + 60..offset + 64].copy_from_slice(&hasher.finalize().to_le_bytes());
        }
    };
    for (block, field) in
        [0, HEADER_BYTES as usize].into_iter().flat_map(|block| (0..60).map(move |at| (block, at)))
    {
        for value in [0_u64, 1, 2, u64::MAX - 1, u64::MAX] {
            let (disk, _) = four_records();
            let mut bytes = disk.read(&segment_path(1)).unwrap();
            let end = (block + field + 8).min(block + 60);
            bytes[block + field..end].copy_from_slice(&value.to_le_bytes()[..end - block - field]);
            reseal(&mut bytes, block);
            disk.overwrite(&segment_path(1), &bytes).unwrap();
            let _ = read_all(&open(&disk, Access::ReadOnly));
            let log = open(&disk, Access::ReadWrite);
            let _ = append(&log, b"after");
            let _ = log.salvage(WAIT);
        }
    }
}
