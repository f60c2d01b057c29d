//! Failing disks: no acknowledgement, no further work, nothing lost.

use super::*;
use crate::sim::Fault;
use std::io::ErrorKind;

/// A log with one record, and the operation that is the n-th of the next commit's appends (its write is the first
/// after the head says that the turn is held).
fn with_fault(fault: impl Fn(&SimDisk, u64)) -> (SimDisk, Log, Error) {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"one").unwrap();
    let mut turn = log.take_turn(WAIT).unwrap();
    let ticket = turn.append(1, b"two").unwrap();
    fault(&disk, disk.operations());
    drop(turn);
    let error = log.wait(ticket).unwrap_err();
    (disk, log, error)
}

#[test]
fn a_failed_sync_poisons_the_log_and_nothing_is_acknowledged_afterwards() {
    let (disk, log, error) = with_fault(|disk, next| disk.plan(next + 1, Fault::Error(ErrorKind::Other)));
    assert!(matches!(&error, Error::Poisoned { reason, full: false } if reason.contains("sync")), "{error}");
    assert!(log.is_poisoned());
    assert!(matches!(append(&log, b"three"), Err(Error::Poisoned { .. })));
    assert_eq!(payloads(&log), [b"one"], "the unsynced record is not served");
    assert_eq!(payloads(&open(&disk.process(), Access::ReadOnly)), [b"one"]);
}

#[test]
fn whoever_reopens_after_a_failed_sync_rewrites_the_tail_before_serving_it() {
    for seed in 0..20 {
        let (disk, log, _) = with_fault(|disk, next| disk.plan(next + 1, Fault::Error(ErrorKind::Other)));
        drop(log);
        let log = open(&disk, Access::ReadWrite);
        drop(log.take_turn(WAIT).unwrap());
        assert_eq!(payloads(&log), [b"one", b"two"]);
        drop(log);
        if seed % 2 == 0 {
            disk.crash();
        }
        assert_eq!(payloads(&open(&disk.process(), Access::ReadOnly)), [b"one", b"two"]);
    }
}

#[test]
fn a_full_disk_says_that_reopening_works_once_space_exists() {
    let (disk, log, error) = with_fault(|disk, next| disk.plan(next, Fault::Error(ErrorKind::StorageFull)));
    assert!(error.to_string().contains("reopening works once space exists"), "{error}");
    drop(log);
    let log = open(&disk, Access::ReadWrite);
    append(&log, b"two").unwrap();
    assert_eq!(payloads(&log), [b"one", b"two"]);
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    let (_, log, error) = with_fault(|disk, next| disk.plan(next, Fault::Error(ErrorKind::StorageFull)));
    assert!(error.is_full(), "{error}");
    let error = append(&log, b"three").unwrap_err();
    assert!(error.is_full() && error.to_string().contains("reopening works once space exists"), "{error}");
}

#[test]
fn short_writes_are_continued() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    for operation in disk.operations()..disk.operations() + 2000 {
        disk.plan(operation, Fault::ShortWrite);
    }
    append(&log, &[7; 5000]).unwrap();
    append(&log, &[8; 5000]).unwrap();
    assert_eq!(payloads(&log), [vec![7; 5000], vec![8; 5000]]);
}

#[test]
fn everything_queued_fails_with_the_batch() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    let mut turn = log.take_turn(WAIT).unwrap();
    let tickets = [turn.append(1, b"a").unwrap(), turn.append(1, b"b").unwrap()];
    disk.plan(disk.operations(), Fault::Error(ErrorKind::Other));
    drop(turn);
    for ticket in tickets {
        assert!(matches!(log.wait(ticket), Err(Error::Poisoned { .. })));
    }
    assert!(payloads(&log).is_empty());
}

#[test]
fn one_fault_at_every_operation_loses_nothing_acknowledged() {
    let run = |disk: &SimDisk, acknowledged: &mut Vec<Vec<u8>>| -> Result<(), Error> {
        let log = open(disk, Access::ReadWrite);
        for bytes in [10_usize, 3000, 6000, 9000, 20_000, 5] {
            let payload = vec![bytes as u8; bytes];
            append(&log, &payload)?;
            acknowledged.push(payload);
        }
        Ok(())
    };
    let whole = new_disk(0);
    let from = whole.operations();
    run(&whole, &mut Vec::new()).unwrap();
    let kinds = [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::Interrupted];
    for operation in from..whole.operations() {
        for kind in kinds {
            let disk = new_disk(operation);
            disk.plan(operation, Fault::Error(kind));
            let mut acknowledged = Vec::new();
            let _ = run(&disk, &mut acknowledged);
            if operation % 2 == 0 {
                disk.crash();
            }
            let disk = disk.process();
            let log = open(&disk, Access::ReadWrite);
            append(&log, b"after").unwrap();
            let found = payloads(&log);
            assert!(found.starts_with(&acknowledged), "{operation} {kind}");
            assert!(found.len() <= acknowledged.len() + 2);
            assert_eq!(found.last().unwrap(), b"after");
        }
    }
}
