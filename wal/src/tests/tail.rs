//! Where the log ends when a batch reached the disk in part, in any order.

use super::*;
use crate::record;
use crate::segment::{HEADER_BYTES, SegmentHeader};

/// A segment of records with these synced-throughs; those that are `None` are left zero.
fn segment(epoch: u64, records: &[Option<u64>]) -> Vec<u8> {
    let header = SegmentHeader { database_id: ID, number: 1, first_sequence: 1, epoch: 1 };
    let mut bytes = header.encode().to_vec();
    let mut position = Position { epoch, ..Log::start() };
    for (index, synced_through) in records.iter().enumerate() {
        let payload = [index as u8; 100];
        let next = position.after(record::encoded_bytes(100));
        match synced_through {
            Some(synced_through) => record::encode(&mut bytes, &ID, position, *synced_through, 1, &payload),
            None => bytes.resize(next.offset as usize, 0),
        }
        position = next;
    }
    bytes.resize(8192, 0);
    bytes
}

/// The log after a restart of the machine, its segment replaced.
fn log_of(bytes: &[u8]) -> SimDisk {
    let disk = new_disk(1);
    disk.overwrite(&segment_path(1), bytes).unwrap();
    disk.crash();
    disk.process()
}

#[test]
fn a_valid_record_behind_a_lost_one_of_its_batch_is_not_the_log() {
    let disk = log_of(&segment(1, &[Some(0), None, Some(1), Some(1)]));
    assert_eq!(payloads(&open(&disk, Access::ReadOnly)), [[0; 100]]);
}

#[test]
fn a_lost_record_that_a_later_one_says_was_synced_is_damage() {
    let disk = log_of(&segment(1, &[Some(0), None, Some(1), Some(2)]));
    let (records, failure) = read_all(&open(&disk, Access::ReadOnly));
    assert_eq!(records.len(), 1);
    let Some(Error::Corrupt { offset, .. }) = failure else { panic!("{failure:?}") };
    assert_eq!(offset, HEADER_BYTES + record::encoded_bytes(100));
}

#[test]
fn the_rest_behind_a_lost_record_never_replays() {
    let disk = log_of(&segment(1, &[Some(0), None, Some(1), Some(1)]));
    let log = open(&disk, Access::ReadWrite);
    // As long as the lost record, so that the old third one lies where the next would be read.
    append(&log, &[8; 100]).unwrap();
    let expected = [[0; 100], [8; 100]];
    assert_eq!(payloads(&log), expected);
    drop(log);
    for _ in 0..3 {
        disk.crash();
        assert_eq!(payloads(&open(&disk.process(), Access::ReadOnly)), expected);
    }
}

#[test]
fn records_of_another_epoch_or_segment_in_used_blocks_never_replay() {
    let mut bytes = segment(1, &[Some(0)]);
    let stale = segment(0, &[Some(0), Some(1), Some(1)]);
    bytes[4096 + 168..].copy_from_slice(&stale[4096 + 168..]);
    assert_eq!(payloads(&open(&log_of(&bytes), Access::ReadOnly)).len(), 1);
}

#[test]
fn a_record_in_the_wrong_place_does_not_pass() {
    let mut bytes = segment(1, &[Some(0), None, None]);
    let other = segment(1, &[None, None, Some(0)]);
    let bytes_of_record = record::encoded_bytes(100) as usize;
    let (_, moved) = other.split_at(4096 + 2 * bytes_of_record);
    bytes[4096 + bytes_of_record..][..bytes_of_record].copy_from_slice(&moved[..bytes_of_record]);
    assert_eq!(payloads(&open(&log_of(&bytes), Access::ReadOnly)).len(), 1);
}

#[test]
fn a_record_with_bits_in_its_padding_is_not_valid() {
    let mut bytes = segment(1, &[Some(0)]);
    bytes[4096 + 64 + 100] = 1;
    assert!(payloads(&open(&log_of(&bytes), Access::ReadOnly)).is_empty());
}

#[test]
fn a_position_in_an_old_tail_goes_on_in_the_copy() {
    let disk = log_of(&segment(1, &[Some(0), Some(0), Some(0)]));
    let before = open(&disk, Access::ReadOnly);
    let positions: Vec<_> = read_all(&before).0.iter().map(|record| record.position).collect();
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"after").unwrap();
    for (index, position) in positions.into_iter().enumerate() {
        let (records, failure) = read_on(&log, position);
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(records.len(), 4 - index);
        assert_eq!(records.last().unwrap().payload, b"after");
        assert!(records.iter().all(|record| record.position.epoch == 2));
    }
}
