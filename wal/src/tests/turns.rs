//! Turns of threads and of several handles; on the simulated disk each handle is a process.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn two_processes_append_a_thousand_each_without_holes() {
    let disk = new_disk(1);
    std::thread::scope(|scope| {
        for process in [disk.process(), disk.process()] {
            scope.spawn(move || {
                let log = open(&process, Access::ReadWrite);
                for number in 0..1000_u32 {
                    append(&log, &[process.process_id(), number].map(u32::to_le_bytes).concat()).unwrap();
                }
            });
        }
    });
    let log = open(&disk, Access::ReadOnly);
    let found = payloads(&log);
    assert_eq!(found.len(), 2000);
    for process in [2_u32, 3] {
        let numbers = found.iter().filter(|payload| payload[..4] == process.to_le_bytes());
        assert!(
            numbers.map(|payload| payload[4..].to_vec()).eq((0..1000_u32).map(|n| n.to_le_bytes().to_vec()))
        );
    }
    assert!(log.segments().iter().zip(1..).all(|(segment, number)| segment.number == number));
    let epochs: Vec<_> = read_all(&log).0.iter().map(|record| record.position.epoch).collect();
    assert!(epochs.iter().all(|epoch| *epoch == 1), "clean turns need no repair");
}

#[test]
fn whoever_takes_the_turn_sees_what_others_wrote() {
    let disk = new_disk(1);
    let (one, two) = (open(&disk, Access::ReadWrite), open(&disk.process(), Access::ReadWrite));
    let mut position = Log::start();
    for _ in 0..5 {
        append(&one, b"foreign").unwrap();
        let mut turn = two.take_turn(WAIT).unwrap();
        assert_eq!(turn.end(), turn.durable_end());
        let (records, _) = read_on(&two, position);
        assert_eq!(records.last().unwrap().next, turn.end());
        let ticket = turn.append(1, b"own").unwrap();
        assert_eq!(ticket.position().sequence, records.last().unwrap().next.sequence);
        assert_eq!(turn.end(), ticket.next());
        assert_ne!(turn.durable_end(), ticket.next());
        drop(turn);
        two.wait(ticket).unwrap();
        position = ticket.next();
    }
}

#[test]
fn a_turn_held_elsewhere_is_an_error_that_names_the_holder() {
    let disk = new_disk(1);
    let (one, two) = (open(&disk, Access::ReadWrite), open(&disk.process(), Access::ReadWrite));
    let turn = one.take_turn(WAIT).unwrap();
    assert!(matches!(two.take_turn(SHORT), Err(Error::Locked { pid: Some(1) })));
    assert!(matches!(one.take_turn(SHORT), Err(Error::Locked { pid: Some(1) })));
    drop(turn);
    drop(two.take_turn(SHORT).unwrap());
    let _turn = two.take_turn(WAIT).unwrap();
    assert!(matches!(one.take_turn(SHORT), Err(Error::Locked { pid: Some(2) })));
}

#[test]
fn the_lock_is_kept_while_records_are_queued() {
    let disk = new_disk(1);
    let (one, two) = (open(&disk, Access::ReadWrite), open(&disk.process(), Access::ReadWrite));
    let mut turn = one.take_turn(WAIT).unwrap();
    let ticket = turn.append(1, b"queued").unwrap();
    drop(turn);
    assert!(matches!(two.take_turn(SHORT), Err(Error::Locked { .. })));
    one.wait(ticket).unwrap();
    drop(two.take_turn(WAIT).unwrap());
}

#[test]
fn a_thread_may_append_while_another_has_not_synced_yet() {
    let disk = new_disk(1);
    let log = open(&disk, Access::ReadWrite);
    let mut tickets = Vec::new();
    for _ in 0..3 {
        tickets.push(log.take_turn(WAIT).unwrap().append(1, b"record").unwrap());
    }
    log.wait(tickets[2]).unwrap();
    log.wait(tickets[0]).unwrap();
    assert_eq!(payloads(&log).len(), 3);
}

#[test]
fn an_exclusive_holder_lets_nobody_in_until_it_leaves() {
    let disk = new_disk(1);
    let (one, two) = (open(&disk, Access::ReadWrite), open(&disk.process(), Access::ReadWrite));
    one.hold_exclusively(WAIT).unwrap();
    append(&one, b"one").unwrap();
    assert!(matches!(two.take_turn(SHORT), Err(Error::Locked { .. })));
    one.release_exclusively();
    append(&two, b"two").unwrap();
    one.hold_exclusively(WAIT).unwrap();
    drop(one);
    append(&two, b"three").unwrap();
    assert_eq!(two.segments().len(), 1, "it left cleanly");
}

#[test]
fn a_busy_process_lets_a_waiting_one_in() {
    let disk = new_disk(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = open(&disk, Access::ReadWrite);
        let (busy, done) = (Arc::new(busy), &done);
        for _ in 0..3 {
            let busy = Arc::clone(&busy);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    append(&busy, b"busy").unwrap();
                }
            });
        }
        let other = open(&disk.process(), Access::ReadWrite);
        for _ in 0..5 {
            append(&other, b"other").unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let found = payloads(&open(&disk, Access::ReadOnly));
    assert_eq!(found.iter().filter(|payload| payload.as_slice() == b"other").count(), 5);
}

#[test]
fn a_killed_holders_tail_is_repaired_by_the_next() {
    let disk = new_disk(1);
    let (killed, next) = (disk.process(), disk.process());
    let log = open(&killed, Access::ReadWrite);
    append(&log, b"one").unwrap();
    let mut turn = log.take_turn(WAIT).unwrap();
    let ticket = turn.append(1, b"two").unwrap();
    drop(turn);
    // Written, and killed before the sync.
    killed.plan(killed.operations() + 1, crate::sim::Fault::Kill);
    assert!(log.wait(ticket).is_err());
    let reader = open(&next, Access::ReadOnly);
    assert_eq!(payloads(&reader), [b"one"], "not served before it is rewritten");
    append(&open(&next, Access::ReadWrite), b"six").unwrap();
    assert_eq!(payloads(&reader), [b"one", b"two", b"six"]);
}

#[test]
fn a_process_killed_in_the_turnstile_does_not_block_the_others() {
    let disk = new_disk(1);
    let (one, two) = (open(&disk, Access::ReadWrite), open(&disk.process(), Access::ReadWrite));
    append(&one, b"one").unwrap();
    one.writer_head.get().unwrap().set_waiting(99);
    append(&two, b"two").unwrap();
    append(&one, b"one").unwrap();
    assert!(!one.writer_head.get().unwrap().someone_waits());
}

#[test]
fn a_removed_lock_or_head_stops_the_handles_that_still_have_it() {
    for name in ["LOCK", "head"] {
        let disk = new_disk(1);
        let log = open(&disk, Access::ReadWrite);
        append(&log, b"one").unwrap();
        disk.remove_file(&Path::new(DIR).join(name)).unwrap();
        assert!(matches!(append(&log, b"two"), Err(Error::Io { .. })));
        let reopened = open(&disk.process(), Access::ReadWrite);
        append(&reopened, b"two").unwrap();
        assert!(matches!(append(&log, b"three"), Err(Error::Io { .. })));
        assert_eq!(payloads(&reopened), [b"one", b"two"]);
    }
}
