//! Faults of the disk: one at each call; a disk that refuses to be written; reads that fail in the middle.

use crate::model::seeds;
use asof_engine::{Database, DiffKind, ErrorKind, Result, ScanOptions, Version};
use asof_torture::sim::machine::DB;
use asof_torture::sim::{Machine, Sweep, sweep};
use asof_torture::{Action, Crew, Model, Scenario, Shape, Step, Trouble, check, perform};
use asof_wal::sim::Fault;

#[test]
fn no_single_fault_loses_or_falsifies_anything() {
    for seed in 0..seeds(1) {
        let swept = sweep(&Sweep { seed, steps: 8, one_in: 16, threads: 2, first_only: false });
        println!("{swept:?}");
        assert_eq!(swept.wrong, Vec::<String>::new());
        assert!(swept.failed * 4 > swept.runs, "only {} of {} runs failed", swept.failed, swept.runs);
    }
}

/// A database of so many versions, some of them settled, with a process that has it open.
fn played(seed: u64, versions: u64) -> (Machine, Crew, Scenario, Model) {
    let machine = Machine::new(seed);
    let mut crew = machine.crew(1);
    let mut scenario = Scenario::new(seed, Shape { processes: 1, reopen_in: 0, ..Shape::default() });
    let mut model = Model::default();
    while model.newest() < versions {
        let step = scenario.step(&model);
        crew.play(&step, &mut model).expect("nothing fails");
    }
    (machine, crew, scenario, model)
}

#[test]
fn a_disk_that_refuses_to_be_written_is_read_on_and_named_by_kind() {
    for (seed, fault, kind) in [
        (4, Fault::ReadOnly, ErrorKind::ReadOnly),
        (5, Fault::ReadOnly, ErrorKind::ReadOnly),
        (4, Fault::Quota, ErrorKind::Full),
        (5, Fault::Quota, ErrorKind::Full),
    ] {
        let (machine, mut crew, mut scenario, mut model) = played(seed, 12);
        let place = format!("seed {seed}, {fault:?}");
        machine.disk.plan_calls_from(machine.disk.calls(), fault);
        let empty = Action::Commit { changes: Vec::new(), allow_empty: true, id: None };
        let step = Step { process: 0, action: empty };
        match crew.play(&step, &mut model) {
            // The log says why it works no more; who opens it anew is told the plain reason.
            Err(Trouble::Failed(error)) => {
                let poisoned = error.kind() == ErrorKind::Poisoned && error.to_string().contains("read-only");
                assert!(error.kind() == kind || poisoned, "{place}: {error}");
            }
            other => panic!("{place}: a commit answered {other:?}"),
        }
        let again = Database::open(DB, machine.options(&machine.disk.process()));
        let again = again.and_then(|database| perform(&database, None, &step.action));
        assert_eq!(again.map_err(|error| error.kind()).err(), Some(kind), "{place}: opened anew");
        let database = crew.database(0).expect("it is open");
        assert_eq!(check::everything(&database, &model), Ok(()), "{place}, the same handle");
        let reader = Database::open_read_only(DB, machine.options(&machine.disk.process()));
        let reader = reader.unwrap_or_else(|error| panic!("{place}: opening to read: {error}"));
        assert_eq!(check::everything(&reader, &model), Ok(()), "{place}, a reader");
        drop((database, reader));
        machine.disk.heal();
        crew.close_all();
        for _ in 0..4 {
            let action = scenario.commit(model.tables());
            let step = Step { process: 0, action };
            crew.play(&step, &mut model).unwrap_or_else(|trouble| panic!("{place}: healed: {trouble}"));
        }
        let database = crew.database(0).expect("it is open");
        assert_eq!(check::everything(&database, &model), Ok(()), "{place}, healed");
        assert_eq!(check::verified(&database), Ok(()), "{place}, healed");
    }
}

/// Takes all that an iterator gives; whether it met an error, and ended there.
fn drained<T>(mut items: impl Iterator<Item = Result<T>>, place: &str) -> bool {
    for item in items.by_ref() {
        if item.is_err() {
            let after: Vec<bool> = items.by_ref().take(3).map(|item| item.is_ok()).collect();
            assert_eq!(after, Vec::<bool>::new(), "{place}: it goes on after an error");
            return true;
        }
    }
    false
}

#[test]
fn what_reads_ends_with_its_first_error_and_everything_else_reads_on() {
    let (machine, crew, _, model) = played(6, 24);
    drop(crew);
    let newest = Version(model.newest());
    let names: Vec<&String> = model.tables().keys().collect();
    let mut failed = 0;
    for name in &names {
        let told = |from: &u64| !model.is_gone_within(name, *from, newest.0);
        let from = (newest.0 / 2..newest.0).find(told).expect("a table's newest versions are there");
        for call in 0.. {
            // A handle that has nothing in memory yet.
            let reader = Database::open_read_only(DB, machine.options(&machine.disk.process()));
            let reader = reader.expect("nothing fails yet");
            let snapshot = reader.snapshot(newest).expect("nothing fails yet");
            let place = format!("{name}, call {call}");
            let first = machine.disk.calls();
            machine.disk.plan_call(first + call, Fault::Error(std::io::ErrorKind::Other));
            let met = match snapshot.scan(name, ScanOptions::default()) {
                Ok(rows) => drained(rows, &place),
                Err(_) => true,
            };
            let met = met
                || match reader.diff(Version(from), newest, name, DiffKind::Feed) {
                    Ok(lines) => drained(lines, &place),
                    Err(_) => true,
                };
            failed += u64::from(met);
            let through = machine.disk.calls() <= first + call;
            machine.disk.heal();
            // The same handle reads this table and the others, now that the disk does.
            assert_eq!(check::version_equals(&reader, &model, newest.0), Ok(()), "{place}");
            if through {
                break;
            }
        }
    }
    assert!(failed > 20, "only {failed} calls failed");
}
