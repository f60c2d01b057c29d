//! Crashes at every operation, and in recovery. Checked after each: every acknowledged record is there, in order;
//! behind them only whole records that were being appended; what a reader saw stays.

use super::*;
use crate::sim::Fault;
use std::io::ErrorKind;

/// What was done to a log, to compare with what it holds.
struct Model {
    disk: SimDisk,
    /// Everything appended, in order; the acknowledged ones come first.
    appended: Vec<Vec<u8>>,
    acknowledged: usize,
    /// What readers have seen.
    seen: usize,
    serial: u32,
}

impl Model {
    fn new(seed: u64) -> Model {
        Model { disk: new_disk(seed), appended: Vec::new(), acknowledged: 0, seen: 0, serial: 0 }
    }

    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        self.serial += 1;
        let mut payload = self.serial.to_le_bytes().to_vec();
        payload.resize(bytes.max(4), self.serial as u8);
        payload
    }

    /// One batch, as a process would commit it.
    fn commit(&mut self, process: &SimDisk, log: &Log, sizes: &[usize]) -> Result<(), Error> {
        let mut turn = log.take_turn(WAIT)?;
        self.catch_up(process, log)?;
        let mut tickets = Vec::new();
        for bytes in sizes {
            let payload = self.payload(*bytes);
            tickets.push(turn.append(1, &payload)?);
            self.appended.push(payload);
        }
        drop(turn);
        for ticket in tickets {
            log.wait(ticket)?;
            // A word stored into the head is no call that could fail: what is dead acknowledges nothing.
            if process.is_dead() {
                return Err(Error::ReadOnly);
            }
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// Reads everything, and takes what is there as what was appended.
    fn catch_up(&mut self, process: &SimDisk, log: &Log) -> Result<(), Error> {
        if process.is_dead() {
            return Err(Error::ReadOnly);
        }
        let mut found = Vec::new();
        for record in log.read_from(Log::start())? {
            let record = record?;
            assert_eq!(record.position.sequence, found.len() as u64 + 1);
            found.push(record.payload);
        }
        assert!(
            found.len() >= self.acknowledged,
            "acknowledged {}, found {}",
            self.acknowledged,
            found.len()
        );
        assert!(found.len() >= self.seen, "what was read before is still there");
        assert!(self.appended.starts_with(&found), "only what was appended, in order");
        self.seen = found.len();
        if log.access == Access::ReadWrite {
            self.appended.truncate(found.len());
            self.acknowledged = found.len();
        }
        Ok(())
    }

    /// Appends, grows, rotates, goes beyond a segment, leaves and comes back.
    fn scenario(&mut self, process: &SimDisk) -> Result<(), Error> {
        let log = open(process, Access::ReadWrite);
        self.commit(process, &log, &[100])?;
        self.commit(process, &log, &[10, 2000, 30])?;
        self.commit(process, &log, &[3000])?;
        drop(log);
        let log = open(process, Access::ReadWrite);
        self.commit(process, &log, &[5000, 1, 6000, 7])?;
        self.commit(process, &log, &[20_000])?;
        self.commit(process, &log, &[64, 0])
    }

    /// Another process reads, then writes.
    fn recover(&mut self) -> Result<(), Error> {
        let process = self.disk.process();
        self.catch_up(&process, &open(&process, Access::ReadOnly))?;
        let log = open(&process, Access::ReadWrite);
        self.commit(&process, &log, &[9])?;
        self.commit(&process, &log, &[500, 8])?;
        drop(log);
        self.catch_up(&process, &open(&process, Access::ReadOnly))
    }
}

fn operations_of_scenario() -> (u64, u64) {
    let mut model = Model::new(0);
    let before = model.disk.operations();
    let process = model.disk.process();
    model.scenario(&process).unwrap();
    (before, model.disk.operations())
}

#[test]
fn power_cut_at_every_operation_loses_nothing_acknowledged() {
    let (from, to) = operations_of_scenario();
    for operation in from..to {
        for seed in [1, 2, 3] {
            let mut model = Model::new(operation * 10 + seed);
            model.disk.plan(operation, Fault::Kill);
            let process = model.disk.process();
            let _ = model.scenario(&process);
            model.disk.crash();
            model.seen = 0;
            model.recover().unwrap();
        }
    }
}

#[test]
fn kill_at_every_operation_loses_nothing_acknowledged() {
    let (from, to) = operations_of_scenario();
    for operation in from..to {
        let mut model = Model::new(operation);
        model.disk.plan(operation, Fault::Kill);
        let process = model.disk.process();
        let _ = model.scenario(&process);
        process.kill();
        model.recover().unwrap();
    }
}

#[test]
fn crash_at_every_operation_of_recovery_loses_nothing() {
    let (from, to) = operations_of_scenario();
    for operation in (from..to).step_by(29) {
        let start = |cut: bool| {
            let mut model = Model::new(operation);
            model.disk.plan(operation, Fault::Kill);
            let process = model.disk.process();
            let _ = model.scenario(&process);
            process.kill();
            if cut {
                model.disk.crash();
                model.seen = 0;
            }
            model
        };
        for cut in [false, true] {
            let mut whole = start(cut);
            let before = whole.disk.operations();
            whole.recover().unwrap();
            let after = whole.disk.operations();
            for second in (before..after).step_by(3) {
                let mut model = start(cut);
                model.disk.plan(second, Fault::Kill);
                let _ = model.recover();
                if second % 2 == 0 {
                    model.disk.crash();
                }
                model.recover().unwrap();
            }
        }
    }
}

#[test]
fn any_history_of_crashes_and_faults_keeps_what_was_acknowledged() {
    for seed in 0..400 {
        let mut model = Model::new(seed);
        let mut chance = crate::tests::Chance(seed + 1);
        for _ in 0..8 {
            let operation = model.disk.operations() + chance.below(300) as u64;
            let fault = [
                Fault::Kill,
                Fault::Kill,
                Fault::Error(ErrorKind::StorageFull),
                Fault::Error(ErrorKind::Other),
                Fault::ShortWrite,
            ][chance.below(5)];
            model.disk.plan(operation, fault);
            let process = model.disk.process();
            let log = open(&process, Access::ReadWrite);
            for _ in 0..chance.below(6) {
                let sizes: Vec<usize> =
                    (0..=chance.below(3)).map(|_| [10, 300, 4000, 9000][chance.below(4)]).collect();
                if model.commit(&process, &log, &sizes).is_err() {
                    break;
                }
            }
            match chance.below(3) {
                0 => model.disk.crash(),
                1 => process.kill(),
                _ => {}
            }
            drop(log);
            model.disk.heal();
        }
        model.recover().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn create_can_be_repeated_or_opened_after_a_crash_at_every_operation() {
    let whole = SimDisk::new(1);
    drop(Log::create(Arc::new(whole.clone()), Path::new(DIR), ID, small()).unwrap());
    for operation in 0..whole.operations() {
        let disk = SimDisk::new(operation);
        disk.plan(operation, Fault::Kill);
        let _ = Log::create(Arc::new(disk.clone()), Path::new(DIR), ID, small());
        disk.kill();
        if operation % 2 == 0 {
            disk.crash();
        }
        let disk = disk.process();
        match Log::create(Arc::new(disk.clone()), Path::new(DIR), ID, small()) {
            Ok(log) => drop(log),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{error}"),
        }
        let log = open(&disk, Access::ReadWrite);
        append(&log, b"one").unwrap();
        assert_eq!(payloads(&log), [b"one"]);
    }
}

#[test]
fn threads_killed_in_mid_batch_lose_nothing_acknowledged() {
    use std::collections::BTreeSet;
    for seed in 0..150 {
        let disk = new_disk(seed);
        let process = disk.process();
        let log = open(&process, Access::ReadWrite);
        process.plan(process.operations() + 20 + seed * 7, Fault::Kill);
        let acknowledged = parking_lot::Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let (log, process, acknowledged) = (&log, &process, &acknowledged);
                scope.spawn(move || {
                    for number in 0_u32.. {
                        let payload = [thread, number].map(u32::to_le_bytes).concat().repeat(20);
                        if append(log, &payload).is_err() || process.is_dead() {
                            break;
                        }
                        acknowledged.lock().insert(payload);
                    }
                });
            }
        });
        drop(log);
        if seed % 2 == 0 {
            disk.crash();
        }
        let log = open(&disk.process(), Access::ReadWrite);
        append(&log, b"after").unwrap();
        let found: BTreeSet<_> = payloads(&log).into_iter().collect();
        assert!(found.is_superset(&acknowledged.into_inner()), "seed {seed}");
    }
}

#[test]
fn two_crashes_in_successive_repairs_and_a_power_cut_lose_nothing() {
    let start = |seed| {
        let mut model = Model::new(seed);
        let process = model.disk.process();
        let log = open(&process, Access::ReadWrite);
        model.commit(&process, &log, &[100]).unwrap();
        model.commit(&process, &log, &[100]).unwrap();
        process.kill();
        // As if it had been killed with a turn: not clean.
        let head = model.disk.shared_map(&Path::new(DIR).join("head"), 4096, true).unwrap();
        head.store(12, 0);
        model
    };
    let whole = start(0);
    let from = whole.disk.operations();
    drop(open(&whole.disk.process(), Access::ReadWrite).take_turn(WAIT).unwrap());
    let count = whole.disk.operations() - from;
    // The second repair does a little more than the first: the same step is near.
    let near = |first: u64| (first.saturating_sub(4)..first + 5).map(move |second| (first, second));
    for ((first, second), seed) in (0..count)
        .flat_map(near)
        .zip(0..)
        .flat_map(|(pair, round)| (0..8).map(move |seed| (pair, round * 8 + seed)))
    {
        let mut model = start(seed);
        for kill in [first, second] {
            model.disk.plan(model.disk.operations() + kill, Fault::Kill);
            let process = model.disk.process();
            let _ = open(&process, Access::ReadWrite).take_turn(WAIT);
            process.kill();
        }
        model.disk.crash();
        model.recover().unwrap_or_else(|error| panic!("killed at {first} and {second}: {error}"));
    }
}

#[test]
fn a_copy_that_was_never_synced_is_synced_before_it_is_written_on() {
    for seed in 0..20 {
        let disk = new_disk(seed);
        let log = open(&disk, Access::ReadWrite);
        let written = [vec![1; 3000], vec![2; 3000], vec![3; 3000]];
        for payload in &written {
            append(&log, payload).unwrap();
        }
        let copy = Path::new("/copy");
        disk.create_dir(copy).unwrap();
        for entry in disk.list(Path::new(DIR)).unwrap() {
            let file = disk.open(&copy.join(&entry.name), crate::OpenMode::CreateNew).unwrap();
            let bytes = disk.read(&Path::new(DIR).join(&entry.name)).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
        disk.sync_dir(Path::new("/")).unwrap();
        let log = open_at(Arc::new(disk.process()), copy, Log::start(), Access::ReadWrite);
        append(&log, &[4]).unwrap();
        disk.crash();
        let log = open_at(Arc::new(disk.process()), copy, Log::start(), Access::ReadOnly);
        assert_eq!(payloads(&log), [written.to_vec(), vec![vec![4]]].concat());
    }
}
