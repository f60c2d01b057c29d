//! The durable head is a hint: believed where it was made, ignored elsewhere.

use super::*;
use crate::{OpenMode, RealDisk};
use std::fs;

fn real_log() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("wal");
    drop(Log::create(Arc::new(RealDisk), &dir, ID, small()).unwrap());
    (temp, dir)
}

fn open_real(dir: &Path, access: Access) -> Log {
    open_at(Arc::new(RealDisk), dir, Log::start(), access)
}

/// Puts a whole record behind the end of the log, as a killed writer may leave it.
fn leave_tail(log: &Log, disk: &dyn Disk, payload: &[u8]) -> Position {
    let end = log.durable().unwrap();
    let mut bytes = Vec::new();
    crate::record::encode(&mut bytes, &ID, end, end.sequence - 1, 1, payload);
    let path = crate::segment::path_of(log.path(), end.segment);
    disk.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(&bytes, end.offset).unwrap();
    end
}

#[test]
fn a_reader_never_goes_beyond_the_head() {
    let (_temp, dir) = real_log();
    let log = open_real(&dir, Access::ReadWrite);
    append(&log, b"one").unwrap();
    leave_tail(&log, &RealDisk, b"two");
    assert_eq!(payloads(&open_real(&dir, Access::ReadOnly)), [b"one"]);
}

#[test]
fn a_tail_is_served_once_a_writer_has_copied_it_into_new_blocks() {
    let (_temp, dir) = real_log();
    let log = open_real(&dir, Access::ReadWrite);
    append(&log, b"one").unwrap();
    let tail = leave_tail(&log, &RealDisk, b"two");
    drop(log);
    let log = open_real(&dir, Access::ReadWrite);
    drop(log.take_turn(WAIT).unwrap());
    let (records, _) = read_all(&log);
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].payload, b"two");
    assert_eq!(records[1].position.sequence, tail.sequence);
    assert!(records[1].position.epoch > tail.epoch && records[1].position.segment > tail.segment);
}

#[test]
fn a_head_copied_with_its_directory_is_ignored() {
    let (temp, dir) = real_log();
    let log = open_real(&dir, Access::ReadWrite);
    append(&log, b"one").unwrap();
    leave_tail(&log, &RealDisk, b"two");
    let copy = temp.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let expected = [b"one", b"two"];
    assert_eq!(payloads(&open_real(&copy, Access::ReadOnly)), expected);
    let writer = open_real(&copy, Access::ReadWrite);
    append(&writer, b"six").unwrap();
    assert_eq!(payloads(&open_real(&copy, Access::ReadOnly)), [b"one", b"two", b"six"]);
    assert_eq!(payloads(&log), [b"one"], "the original is not touched");
}

#[test]
fn a_moved_directory_keeps_its_head() {
    let (temp, dir) = real_log();
    append(&open_real(&dir, Access::ReadWrite), b"one").unwrap();
    let moved = temp.path().join("moved");
    fs::rename(&dir, &moved).unwrap();
    let log = open_real(&moved, Access::ReadWrite);
    append(&log, b"two").unwrap();
    assert_eq!(log.segments().len(), 1, "no repair");
}

#[test]
fn a_missing_or_short_head_is_made_again() {
    for short in [false, true] {
        let (_temp, dir) = real_log();
        append(&open_real(&dir, Access::ReadWrite), b"one").unwrap();
        fs::remove_file(dir.join("head")).unwrap();
        if short {
            fs::write(dir.join("head"), b"x").unwrap();
        }
        let reader = open_real(&dir, Access::ReadOnly);
        assert_eq!(payloads(&reader), [b"one"]);
        assert_eq!(reader.durable().unwrap().sequence, 2);
        append(&open_real(&dir, Access::ReadWrite), b"two").unwrap();
        assert_eq!(payloads(&reader), [b"one", b"two"]);
        assert_eq!(reader.durable().unwrap().sequence, 3);
    }
}

#[test]
fn a_head_of_another_boot_is_ignored() {
    let disk = new_disk(3);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"one").unwrap();
    assert!(log.head_entry().is_some());
    disk.crash();
    let log = open(&disk.process(), Access::ReadWrite);
    assert!(log.head_entry().is_none());
    append(&log, b"two").unwrap();
    assert!(log.head_entry().is_some());
    assert_eq!(payloads(&log), [b"one", b"two"]);
}

#[test]
fn every_flipped_byte_of_the_head_loses_nothing() {
    let (_temp, dir) = real_log();
    let log = open_real(&dir, Access::ReadWrite);
    append(&log, b"one").unwrap();
    append(&log, b"two").unwrap();
    drop(log);
    let path = dir.join("head");
    let whole = fs::read(&path).unwrap();
    let mut expected = 2;
    for at in (0..264).step_by(3) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x10;
        let file = RealDisk.open(&path, OpenMode::ReadWrite).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let reader = open_real(&dir, Access::ReadOnly);
        let (records, failure) = read_all(&reader);
        assert!(failure.is_none() && records.len() <= expected);
        append(&open_real(&dir, Access::ReadWrite), &[at as u8]).unwrap();
        expected += 1;
        let (records, failure) = read_all(&reader);
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(records.len(), expected, "byte {at}");
    }
    assert_eq!(whole.len(), 4096);
}

#[test]
fn reading_needs_no_permission_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let (_temp, dir) = real_log();
    append(&open_real(&dir, Access::ReadWrite), b"one").unwrap();
    for name in ["LOCK", "NEXT"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    fs::set_permissions(dir.join("head"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).unwrap();
    let log = open_real(&dir, Access::ReadOnly);
    assert_eq!(payloads(&log), [b"one"]);
    assert!(matches!(log.take_turn(WAIT), Err(Error::ReadOnly)));
    assert!(!dir.join("LOCK").exists());
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_head_with_one_bad_slot_or_an_unclean_leave_is_followed_by_a_repair() {
    for (unclean, segments) in [(false, 1), (true, 2)] {
        let disk = new_disk(1);
        let process = disk.process();
        let log = open(&process, Access::ReadWrite);
        append(&log, b"one").unwrap();
        let turn = log.take_turn(WAIT).unwrap();
        if unclean {
            process.kill();
        }
        drop(turn);
        let log = open(&disk, Access::ReadWrite);
        append(&log, b"two").unwrap();
        assert_eq!(log.segments().len(), segments);
    }
    for slot in [0, 16] {
        let disk = new_disk(1);
        append(&open(&disk.process(), Access::ReadWrite), b"one").unwrap();
        let head = Path::new(DIR).join("head");
        disk.shared_map(&head, 4096, true).unwrap().store(slot + 12, 7);
        let log = open(&disk, Access::ReadWrite);
        append(&log, b"two").unwrap();
        assert_eq!(log.segments().len(), 2);
        assert_eq!(payloads(&log), [b"one", b"two"]);
    }
}

#[test]
fn a_reader_without_a_head_stops_where_the_first_writer_has_synced() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"one").unwrap();
    drop(log);
    disk.crash();
    let reader = open(&disk.process(), Access::ReadOnly);
    let mut records = reader.read_from(Log::start()).unwrap();
    let writer_disk = disk.process();
    let writer = open(&writer_disk, Access::ReadWrite);
    append(&writer, b"two").unwrap();
    leave_tail(&writer, &writer_disk, b"not synced");
    let found: Vec<_> = records.by_ref().map(|record| record.unwrap().payload).collect();
    assert_eq!(found, [b"one", b"two"]);
    assert_eq!(reader.durable().unwrap(), records.position());
}
