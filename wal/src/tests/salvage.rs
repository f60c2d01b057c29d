//! Cutting a damaged log before its damage.

use super::*;
use crate::sim::Fault;

/// A log of six records in several segments, the third one damaged.
fn damaged(restarted: bool, seed: u64) -> (SimDisk, Vec<Vec<u8>>) {
    let disk = new_disk(seed);
    let log = open(&disk, Access::ReadWrite);
    let written: Vec<Vec<u8>> = (0..6).map(|number| vec![number; 7000]).collect();
    let positions: Vec<_> = written.iter().map(|payload| append(&log, payload).unwrap()).collect();
    drop(log);
    let path = segment_path(positions[2].segment);
    let mut bytes = disk.read(&path).unwrap();
    bytes[positions[2].offset as usize + 99] ^= 4;
    disk.overwrite(&path, &bytes).unwrap();
    if restarted {
        disk.crash();
    }
    (disk.process(), written)
}

fn check_salvaged(disk: &SimDisk, written: &[Vec<u8>]) {
    let log = open(disk, Access::ReadWrite);
    let mut expected = written[..2].to_vec();
    append(&log, b"after").unwrap();
    expected.push(b"after".to_vec());
    assert_eq!(payloads(&log), expected);
    drop(log);
    disk.crash();
    assert_eq!(payloads(&open(&disk.process(), Access::ReadOnly)), expected);
}

#[test]
fn a_damaged_log_is_cut_before_its_damage_and_can_be_written_again() {
    for restarted in [false, true] {
        let (disk, written) = damaged(restarted, 1);
        let log = open(&disk, Access::ReadWrite);
        let salvaged = log.salvage(WAIT).unwrap().unwrap();
        assert_eq!(salvaged.end.sequence, 3);
        assert!(matches!(salvaged.damage, Error::Corrupt { .. }));
        drop(log);
        check_salvaged(&disk, &written);
        let names: Vec<_> = disk.process().list(Path::new(DIR)).unwrap();
        assert!(names.iter().any(|entry| entry.name.contains(".cut")), "the rest is kept aside");
        let damaged = segment_path(salvaged.end.segment);
        let kept = disk.read(&damaged.with_extension("wal.cut0")).unwrap();
        assert_eq!(kept, disk.read(&damaged).unwrap(), "and so is a copy of the segment with the damage");
    }
}

#[test]
fn a_whole_log_is_left_as_it_is() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"one").unwrap();
    assert!(log.salvage(WAIT).unwrap().is_none());
    assert_eq!(payloads(&log), [b"one"]);
    assert_eq!(log.segments().len(), 1);
}

#[test]
fn a_crash_at_any_operation_of_a_salvage_is_salvaged_again() {
    for restarted in [false, true] {
        let (disk, _) = damaged(restarted, 1);
        let from = disk.operations();
        open(&disk, Access::ReadWrite).salvage(WAIT).unwrap();
        for operation in from..disk.operations() {
            let (disk, written) = damaged(restarted, operation);
            disk.plan(operation, Fault::Kill);
            let _ = open(&disk, Access::ReadWrite).salvage(WAIT);
            disk.kill();
            if operation % 2 == 0 {
                disk.crash();
            }
            let disk = disk.process();
            open(&disk, Access::ReadWrite).salvage(WAIT).unwrap();
            check_salvaged(&disk, &written);
        }
    }
}
