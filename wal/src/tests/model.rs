//! Group commit under many schedules: `cargo test -p asof-wal --features model model::`, with `ASOF_MODEL_SCHEDULES` for
//! more than the default.
//!
//! The disk is simulated; threads change places at the log's locks, in an order that shuttle draws. A deadlock, or a
//! thread that nobody wakes, is found as one.

use super::*;
use crate::sim::{Cut, Fault};
use shuttle::thread;

const THREADS: usize = 4;
const EACH: usize = 2;

fn schedules() -> usize {
    let wanted = std::env::var("ASOF_MODEL_SCHEDULES").ok();
    wanted.map_or(2_000, |text| text.parse().expect("ASOF_MODEL_SCHEDULES is a number"))
}

/// What a power cut now would leave, at worst: everything that was not synced is lost.
fn survivors(disk: &SimDisk) -> Vec<Vec<u8>> {
    let after = SimDisk::from_image(&disk.image(), Cut::LoseAll);
    payloads(&open(&after, Access::ReadOnly))
}

#[test]
fn whoever_waited_is_on_disk_whatever_the_schedule() {
    let run = || {
        let disk = new_disk(1);
        let log = Arc::new(open(&disk, Access::ReadWrite));
        let committer = |number: usize| {
            let (log, disk) = (Arc::clone(&log), disk.clone());
            thread::spawn(move || {
                for nth in 0..EACH {
                    let payload = vec![number as u8, nth as u8];
                    append(&log, &payload).unwrap();
                    assert!(survivors(&disk).contains(&payload), "acknowledged, and lost by a power cut");
                }
            })
        };
        let threads: Vec<_> = (0..THREADS).map(committer).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(payloads(&log).len(), THREADS * EACH);
    };
    shuttle::check_random(run, schedules());
    shuttle::check_pct(run, schedules() / 4, 3);
}

#[test]
fn a_failed_sync_fails_all_that_wait_and_loses_nobody_whatever_the_schedule() {
    let run = || {
        let disk = new_disk(1);
        let log = Arc::new(open(&disk, Access::ReadWrite));
        append(&log, b"before").unwrap();
        disk.plan_calls_from(disk.calls() + 4, Fault::Error(std::io::ErrorKind::Other));
        let committer = |number: usize| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let payload = vec![number as u8; 3];
                append(&log, &payload).is_ok().then_some(payload)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(committer).collect();
        let acknowledged: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        disk.heal();
        let found = survivors(&disk);
        assert!(acknowledged.iter().all(|payload| found.contains(payload)), "acknowledged, and lost");
    };
    shuttle::check_random(run, schedules());
}
