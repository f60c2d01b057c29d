//! Group commit, growth and rotation.

use super::*;
use crate::OpenMode;
use crate::sim::Fault;

#[test]
fn one_committer_pays_one_write_and_one_sync() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"one").unwrap();
    let syncs = disk.syncs();
    append(&log, b"two").unwrap();
    assert_eq!(disk.syncs(), syncs + 1);
}

#[test]
fn a_batch_is_synced_once() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"one").unwrap();
    let syncs = disk.syncs();
    append_batch(&log, &[b"two", b"three", b"four"]).unwrap();
    assert_eq!(disk.syncs(), syncs + 1);
    assert_eq!(payloads(&log).len(), 4);
}

#[test]
fn eight_threads_share_syncs_and_leave_no_holes() {
    const EACH: u64 = 200;
    let temp = tempfile::tempdir().unwrap();
    let log = Log::create(Arc::new(crate::RealDisk), &temp.path().join("wal"), ID, small()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..EACH {
                    let payload = [thread.to_le_bytes(), number.to_le_bytes()].concat();
                    append(log, &payload).unwrap();
                    assert!(log.durable().unwrap().sequence > number);
                }
            });
        }
    });
    let found = payloads(&log);
    assert_eq!(found.len() as u64, 8 * EACH);
    for thread in 0..8_u64 {
        let own: Vec<_> = found.iter().filter(|payload| payload[..8] == thread.to_le_bytes()).collect();
        assert!(
            own.iter().map(|payload| payload[8..].to_vec()).eq((0..EACH).map(|n| n.to_le_bytes().to_vec()))
        );
    }
}

#[test]
fn threads_that_append_during_a_sync_are_one_batch() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"first").unwrap();
    let syncs = disk.syncs();
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut turn = log.take_turn(WAIT).unwrap();
                let ticket = turn.append(1, b"payload").unwrap();
                drop(turn);
                barrier.wait();
                log.wait(ticket).unwrap();
            });
        }
    });
    assert_eq!(disk.syncs(), syncs + 1);
}

#[test]
fn a_log_grows_by_doubling_and_rotates() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    let sizes = |log: &Log| log.segments().iter().map(|segment| segment.allocated_bytes).collect::<Vec<_>>();
    assert_eq!(sizes(&log), [8 << 10]);
    append(&log, &[1; 6000]).unwrap();
    assert_eq!(sizes(&log), [16 << 10]);
    append(&log, &[2; 6000]).unwrap();
    assert_eq!(sizes(&log), [16 << 10]);
    append(&log, &[3; 200]).unwrap();
    assert_eq!(sizes(&log), [16 << 10, 8 << 10]);
    let (records, _) = read_all(&log);
    assert_eq!(records.iter().map(|record| record.position.segment).collect::<Vec<_>>(), [1, 1, 2]);
}

/// A log whose first segment is more than half full, and the next one made.
fn with_next_segment(disk: &SimDisk) -> Log {
    let log = open(disk, Access::ReadWrite);
    assert!(!log.wants_next_segment());
    append(&log, &[1; 9000]).unwrap();
    assert!(log.wants_next_segment());
    log.make_next_segment(|| true).unwrap();
    assert!(!log.wants_next_segment(), "it is made once");
    assert_eq!(disk.read(&unfinished(2)).unwrap(), vec![0; small().max_segment_bytes as usize]);
    log
}

fn unfinished(number: u64) -> std::path::PathBuf {
    Path::new(DIR).join(format!("{}.tmp", crate::segment::file_name(number)))
}

#[test]
fn a_segment_made_ahead_is_begun_without_writing_zeros() {
    let disk = new_disk(1);
    let log = with_next_segment(&disk);
    let syncs = disk.syncs();
    append(&log, &[2; 9000]).unwrap();
    // The header and the batch; the sync of the directory is not counted.
    assert_eq!(disk.syncs(), syncs + 2);
    let sizes: Vec<_> = log.segments().iter().map(|segment| segment.allocated_bytes).collect();
    assert_eq!(sizes, [16 << 10, 16 << 10]);
    assert!(disk.read(&unfinished(2)).is_err());
    // Nothing of the zeros and the names depends on what was not synced.
    drop(log);
    disk.crash();
    let log = open(&disk.process(), Access::ReadWrite);
    assert_eq!(payloads(&log), [vec![1; 9000], vec![2; 9000]]);
}

#[test]
fn what_was_made_ahead_and_not_needed_goes() {
    let disk = new_disk(1);
    drop(with_next_segment(&disk));
    assert!(disk.read(&unfinished(2)).is_err(), "with the log");
    let log = open(&disk, Access::ReadWrite);
    append(&log, &[1; 10]).unwrap();
    log.make_next_segment(|| false).unwrap();
    assert!(disk.read(&unfinished(2)).is_err(), "where it was given up");
}

#[test]
fn a_segment_made_ahead_that_another_process_removed_is_made_anew() {
    let disk = new_disk(1);
    let log = with_next_segment(&disk);
    let other = open(&disk.process(), Access::ReadWrite);
    // The other one rotates; it removes the file and makes its own, and the next segment after it too.
    append(&other, &[2; 9000]).unwrap();
    append(&other, &[3; 9000]).unwrap();
    append(&log, &[4; 9000]).unwrap();
    let expected: Vec<Vec<u8>> = (1..=4).map(|byte| vec![byte; 9000]).collect();
    assert_eq!(payloads(&log), expected);
    assert_eq!(payloads(&other), expected);
}

#[test]
fn a_name_that_somebody_has_taken_is_left_alone() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, &[1; 9000]).unwrap();
    let file = disk.open(&unfinished(2), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"somebody's", 0).unwrap();
    log.make_next_segment(|| panic!("nothing is written")).unwrap();
    assert_eq!(disk.read(&unfinished(2)).unwrap(), b"somebody's");
    append(&log, &[2; 9000]).unwrap();
    assert_eq!(payloads(&log).len(), 2);
}

#[test]
fn a_failure_to_make_a_segment_ahead_fails_no_commit() {
    for step in 0..8 {
        let disk = new_disk(1);
        let log = open(&disk, Access::ReadWrite);
        append(&log, &[1; 9000]).unwrap();
        disk.plan(disk.operations() + step, Fault::Error(std::io::ErrorKind::StorageFull));
        let made = log.make_next_segment(|| true);
        disk.heal();
        append(&log, &[2; 9000]).unwrap();
        assert_eq!(payloads(&log).len(), 2, "step {step}: {made:?}");
    }
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_size() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"small").unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    append(&log, &large).unwrap();
    append(&log, b"small").unwrap();
    assert_eq!(payloads(&log), [b"small".to_vec(), large, b"small".to_vec()]);
    assert_eq!(log.segments().len(), 3);
}

#[test]
fn blocks_are_written_before_they_are_used() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    for _ in 0..40 {
        append(&log, &[5; 700]).unwrap();
    }
    let end = log.durable().unwrap();
    let last = disk.read(&segment_path(end.segment)).unwrap();
    assert!(last.len() as u64 > end.offset);
    assert!(last[end.offset as usize..].iter().all(|byte| *byte == 0));
}

#[test]
fn retiring_removes_whole_segments_before_a_position() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    let positions: Vec<_> = (0..5).map(|_| append(&log, &[1; 9000]).unwrap()).collect();
    assert_eq!(log.retire(positions[3]).unwrap(), [1, 2, 3]);
    assert!(log.retire(positions[3]).unwrap().is_empty());
    drop(log);
    disk.crash();
    let log = open_at(Arc::new(disk.process()), Path::new(DIR), positions[3], Access::ReadWrite);
    assert_eq!(read_on(&log, positions[3]).0.len(), 2);
    append(&log, b"more").unwrap();
    assert_eq!(read_on(&log, positions[3]).0.len(), 3);
    assert!(matches!(read_all(&log).1, Some(Error::Missing { .. })));
}

#[test]
fn a_follower_reads_what_is_new_and_nothing_twice() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    let follower = open(&disk.process(), Access::ReadOnly);
    let mut position = Log::start();
    for number in 0..50_u8 {
        append(&log, &vec![number; 1 + usize::from(number) * 40]).unwrap();
        let (records, failure) = read_on(&follower, position);
        assert!(failure.is_none());
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].payload[0], number);
        position = records[0].next;
        assert_eq!(follower.durable().unwrap().sequence, position.sequence);
    }
}

#[test]
fn creating_over_a_log_is_refused() {
    let disk = new_disk(1);
    let again = Log::create(Arc::new(disk.clone()), Path::new(DIR), ID, small());
    assert!(
        matches!(again, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists)
    );
    disk.open(&segment_path(1), OpenMode::Read).unwrap();
}
