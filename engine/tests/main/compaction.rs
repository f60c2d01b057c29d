//! Compaction never changes an answer, and with it any version costs the same (P5) and history costs what changed (P6):
//! rows decoded and bytes on disk are counted under the histories of `docs/compaction.md`, at a small scale.

use crate::support::{Chance, DB, TestClock, csv, options, rows};
use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use asof_engine::compact::Parameters;
use asof_engine::{Column, ColumnType, CommitOptions, Database, Options, ScanOptions, Version};
use asof_wal::sim::{Fault, SimDisk};
use std::path::Path;
use std::sync::Arc;

const TABLE: &str = "t";
/// The constants of the policy are divided by this, as the tables are smaller.
const SCALE: u64 = 64;

/// A policy for tables of a few rows.
pub fn tiny(eager: bool) -> Parameters {
    let dead_share = if eager { 0.01 } else { 0.3 };
    let fan_in = if eager { 2 } else { 4 };
    let growth = if eager { 1.1 } else { 2.0 };
    Parameters {
        cell_rows: 4,
        cell_share: 0.1,
        dead_share,
        dead_rows_min: 1,
        fan_in,
        growth,
        ..Parameters::AUTOMATIC
    }
}

fn scaled() -> Parameters {
    let automatic = Parameters::AUTOMATIC;
    let (cell_rows, dead_rows_min) = (automatic.cell_rows / SCALE, automatic.dead_rows_min / SCALE);
    Parameters { cell_rows, dead_rows_min, ..automatic }
}

/// A table of numbers under a history.
struct World {
    database: Database,
    chance: Chance,
    alive: Vec<i64>,
    next: i64,
    /// Rows and their sum at each version.
    versions: Vec<(u64, i64)>,
    values: std::collections::HashMap<i64, i64>,
    sum: i64,
    row_versions: u64,
}

impl World {
    fn new() -> World {
        let disk = SimDisk::new(1);
        let clock = Arc::new(TestClock::default());
        let options = Options { clock, upkeep: asof_engine::options::Upkeep::Off, ..options(&disk) };
        let database = Database::open_or_create(Path::new(DB), options).unwrap();
        let mut txn = database.begin().unwrap();
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("value", ColumnType::Int64)];
        txn.create_table(TABLE, columns, &["id".to_string()]).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        World {
            database,
            chance: Chance(0x9E37_79B9_7F4A_7C15),
            alive: Vec::new(),
            next: 0,
            versions: vec![(0, 0), (0, 0)],
            values: Default::default(),
            sum: 0,
            row_versions: 0,
        }
    }

    /// One commit: so many rows added, replaced, deleted.
    fn commit(&mut self, added: usize, replaced: usize, deleted: usize, zipf: bool) {
        let mut changed = std::collections::BTreeMap::new();
        for _ in 0..replaced {
            let index = match zipf {
                true => {
                    let share = self.chance.below(1 << 20) as f64 / (1 << 20) as f64;
                    ((self.alive.len() as f64).powf(share) as usize - 1).min(self.alive.len() - 1)
                }
                false => self.chance.below(self.alive.len()),
            };
            changed.insert(self.alive[index], self.chance.below(1 << 40) as i64);
        }
        let mut gone = std::collections::BTreeSet::new();
        for _ in 0..deleted {
            let index = self.chance.below(self.alive.len());
            if !changed.contains_key(&self.alive[index]) {
                gone.insert(self.alive.swap_remove(index));
            }
        }
        for _ in 0..added {
            changed.insert(self.next, self.chance.below(1 << 40) as i64);
            self.alive.push(self.next);
            self.next += 1;
        }
        let mut txn = self.database.begin().unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(changed.keys().copied()));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(changed.values().copied()));
        txn.upsert(TABLE, &RecordBatch::try_from_iter([("id", ids), ("value", values)]).unwrap()).unwrap();
        if !gone.is_empty() {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(gone.iter().copied()));
            txn.delete(TABLE, &RecordBatch::try_from_iter([("id", ids)]).unwrap()).unwrap();
        }
        txn.commit(CommitOptions::default()).unwrap();
        self.row_versions += changed.len() as u64;
        for (id, value) in changed {
            self.sum = self.sum.wrapping_add(value - self.values.insert(id, value).unwrap_or(0));
        }
        for id in gone {
            self.sum -= self.values.remove(&id).unwrap();
        }
        self.versions.push((self.alive.len() as u64, self.sum));
    }

    fn settle(&mut self) {
        assert!(self.database.checkpoint().unwrap().done);
        self.database.compact(None, &scaled()).unwrap();
    }

    /// P4, P5, P6 at so many versions, the first and the last among them.
    fn check(&mut self, count: usize) {
        let newest = self.versions.len() - 1;
        let mut versions: Vec<usize> = (0..count).map(|_| 1 + self.chance.below(newest)).collect();
        versions.extend([2, newest]);
        for version in versions {
            let before = self.database.counters().rows_decoded;
            let snapshot = self.database.snapshot(Version(version as u64)).unwrap();
            let options = ScanOptions { columns: Some(vec!["value".to_string()]), ..ScanOptions::default() };
            let (mut rows, mut sum) = (0, 0i64);
            for batch in snapshot.scan(TABLE, options).unwrap() {
                let batch = batch.unwrap();
                let values = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                rows += values.len() as u64;
                sum = values.values().iter().fold(sum, |sum, value| sum.wrapping_add(*value));
            }
            assert_eq!((rows, sum), self.versions[version], "version {version}");
            let decoded = self.database.counters().rows_decoded - before;
            let constant = 4 * Parameters::AUTOMATIC.cell_rows / SCALE;
            assert!(
                decoded <= 2 * rows + constant,
                "version {version} of {newest} decodes {decoded} rows for {rows}"
            );
        }
        let info = self.database.info().unwrap();
        assert_eq!(info.row_versions, self.row_versions, "each is stored once");
    }

    /// Bytes of data and ends files.
    fn bytes(&self) -> u64 {
        let info = self.database.info().unwrap();
        ["data", "ends"].iter().map(|class| info.files.get(class).map_or(0, |(_, bytes)| *bytes)).sum()
    }
}

fn churn(rows: usize, times: usize, zipf: bool) {
    let mut world = World::new();
    world.commit(rows, 0, 0, false);
    world.settle();
    let changes = rows / 100;
    for commit in 1..=times * rows / changes {
        world.commit(0, changes, 0, zipf);
        if commit % 8 == 0 {
            world.settle();
        }
    }
    world.settle_rest();
    world.check(20);
    // The manifest before the newest one keeps files: another checkpoint lets them go.
    world.commit(1, 0, 0, false);
    world.settle();
    world.commit(1, 0, 0, false);
    world.settle();
    // A row version here is two random numbers and two versions.
    let per_row = world.bytes() / world.row_versions;
    assert!(per_row < 64, "{per_row} bytes a row version");
    assert_eq!(world.database.verify().unwrap().findings, vec![]);
}

impl World {
    fn settle_rest(&mut self) {
        if self.database.info().unwrap().checkpoint_version < Version(self.versions.len() as u64 - 1) {
            self.settle();
        }
    }
}

#[test]
fn any_version_costs_the_same_after_uniform_churn() {
    churn(4_000, 2, false);
    churn(1_500, 20, false);
}

#[test]
fn any_version_costs_the_same_after_skewed_churn() {
    churn(4_000, 2, true);
    churn(1_500, 20, true);
}

#[test]
fn any_version_costs_the_same_while_a_table_grows_and_shrinks() {
    let mut world = World::new();
    world.commit(50, 0, 0, false);
    world.settle();
    let mut changes = 0;
    while world.alive.len() < 5_000 {
        let some = (world.alive.len() / 50).max(2);
        world.commit(some, some / 2, 0, false);
        changes += some;
        if changes * 10 > world.alive.len() {
            world.settle();
            changes = 0;
        }
    }
    while world.alive.len() > 60 {
        let some = (world.alive.len() / 50).max(2);
        world.commit(0, some / 2, some, false);
        changes += some;
        if changes * 10 > world.alive.len() {
            world.settle();
            changes = 0;
        }
    }
    world.settle_rest();
    world.check(60);
}

#[test]
fn any_version_costs_the_same_where_rows_are_only_appended_or_all_replaced_at_once() {
    let mut world = World::new();
    for commit in 1..=100 {
        world.commit(40, 0, 0, false);
        if commit % 10 == 0 {
            world.settle();
        }
    }
    for _ in 0..4 {
        let all = world.alive.len() * 9 / 10;
        world.commit(0, 0, all, false);
        world.settle();
        world.commit(4_000, 0, 0, false);
        world.settle();
        for _ in 0..10 {
            world.commit(0, 40, 0, false);
        }
        world.settle();
    }
    world.check(60);
}

#[test]
fn any_version_costs_the_same_of_a_tiny_table_with_a_long_history() {
    let mut world = World::new();
    world.commit(10, 0, 0, false);
    for commit in 1..=1_200 {
        world.commit(0, 1, 0, false);
        if commit % 40 == 0 {
            world.settle();
        }
    }
    world.check(60);
}

#[test]
fn compaction_leaves_every_answer_of_tables_whose_schema_changed() {
    let disk = SimDisk::new(2);
    let clock = Arc::new(TestClock::default());
    let database = crate::support::open(&disk, &clock);
    let commit = |change: &dyn Fn(&mut asof_engine::Transaction)| {
        let mut txn = database.begin().unwrap();
        change(&mut txn);
        txn.commit(CommitOptions::default()).unwrap();
    };
    commit(&|txn| txn.create_table(TABLE, crate::support::customers(), &["id".to_string()]).unwrap());
    for round in 0..6i64 {
        for number in 0..4 {
            let names: Vec<String> = (0..30).map(|id| format!("{round} {number} {id}")).collect();
            let some: Vec<(i64, Option<&str>)> = (0..30)
                .filter(|id| (id + number) % 3 == 0)
                .map(|id| (id, Some(&*names[id as usize])))
                .collect();
            let column = format!("c{}", round - 1);
            commit(&|txn| {
                txn.upsert(TABLE, &rows(&some)).unwrap();
                if number == 2 && round > 2 {
                    txn.alter_table(TABLE, asof_engine::Alteration::DropColumn(column.clone())).unwrap();
                }
            });
        }
        let mut added = Column::new(format!("c{round}"), ColumnType::Text);
        added.default = Some(Arc::new(asof_engine::arrow::array::StringArray::from(vec!["?"])));
        commit(&|txn| txn.alter_table(TABLE, asof_engine::Alteration::AddColumn(added.clone())).unwrap());
        database.checkpoint().unwrap();
    }
    let newest = database.latest().unwrap();
    let read = || (1..=newest.0).map(|version| csv(&database, Version(version), TABLE)).collect::<Vec<_>>();
    let before = read();
    let done = database.compact(Some(TABLE), &tiny(true)).unwrap();
    assert!(done.rows > 0 && done.files_written > 0, "{done:?}");
    assert_eq!(read(), before);
    assert!(database.compact_plan(None, &tiny(true)).unwrap().is_empty());
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

/// A table with some history, in files and in the log's tail.
fn shop(disk: &SimDisk, clock: &Arc<TestClock>) -> Database {
    let database = crate::support::open(disk, clock);
    let commit = |change: &dyn Fn(&mut asof_engine::Transaction)| {
        let mut txn = database.begin().unwrap();
        change(&mut txn);
        txn.commit(CommitOptions::default()).unwrap();
    };
    commit(&|txn| txn.create_table(TABLE, crate::support::customers(), &["id".to_string()]).unwrap());
    for round in 0..3i64 {
        commit(&|txn| {
            let some: Vec<(i64, Option<&str>)> = (0..20).map(|id| (id + round * 5, Some("x"))).collect();
            txn.upsert(TABLE, &rows(&some)).unwrap();
        });
        commit(&|txn| txn.delete(TABLE, &crate::support::keys(&[round * 5, round * 5 + 1])).unwrap());
        database.checkpoint().unwrap();
    }
    commit(&|txn| txn.upsert(TABLE, &rows(&[(12, Some("tail")), (99, None)])).unwrap());
    commit(&|txn| txn.delete(TABLE, &crate::support::keys(&[13])).unwrap());
    database
}

fn all(database: &Database) -> Vec<String> {
    let newest = database.refresh().unwrap();
    (1..=newest.0).map(|version| csv(database, Version(version), TABLE)).collect()
}

#[test]
fn a_step_killed_at_every_operation_leaves_every_version_and_can_be_done_again() {
    for at in 0.. {
        let disk = SimDisk::new(at);
        let clock = Arc::new(TestClock::default());
        // A handle that has read the files before follows what is left of them.
        let first = disk.process();
        let database = shop(&first, &clock);
        let expected = all(&database);
        let process = disk.process();
        let compacting = crate::support::open(&process, &clock);
        let steps = compacting.compact_plan(None, &tiny(true)).unwrap();
        assert!(!steps.is_empty());
        disk.plan(disk.operations() + at, Fault::Kill);
        let done = compacting.compact_step(&steps[0], &mut |_| true);
        let finished = !process.is_dead();
        assert!(finished || done.is_err() || done.is_ok());
        drop(compacting);
        disk.heal();
        assert_eq!(all(&database), expected, "killed at {at}");
        if at % 2 == 0 {
            first.kill();
            drop(database);
            disk.crash();
        }
        let again = crate::support::open(&disk.process(), &clock);
        again.compact(None, &tiny(true)).unwrap();
        assert_eq!(all(&again), expected, "killed at {at}, compacted again");
        let mut txn = again.begin().unwrap();
        txn.upsert(TABLE, &rows(&[(12, Some("after")), (7, Some("after"))])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        again.checkpoint().unwrap();
        assert_eq!(all(&again)[..expected.len()], expected, "killed at {at}, gone on");
        assert_eq!(again.verify().unwrap().findings, vec![]);
        if finished {
            assert!(at > 20, "a step has more than {at} operations");
            return;
        }
    }
}

#[test]
fn a_stopped_step_changes_nothing() {
    let disk = SimDisk::new(3);
    let clock = Arc::new(TestClock::default());
    let database = shop(&disk, &clock);
    let steps = database.compact_plan(None, &tiny(true)).unwrap();
    let manifest = database.info().unwrap().manifest;
    let stopped = database.compact_step(&steps[0], &mut |_| false).unwrap_err();
    assert_eq!(stopped.kind(), asof_engine::ErrorKind::Busy);
    assert_eq!(database.info().unwrap().manifest, manifest);
    assert!(database.compact_step(&steps[0], &mut |_| true).unwrap().is_some());
    // Its files are gone: it is no step any more.
    assert_eq!(database.compact_step(&steps[0], &mut |_| true).unwrap(), None);
}

#[test]
fn commits_go_on_while_a_step_is_done() {
    let disk = SimDisk::new(4);
    let clock = Arc::new(TestClock::default());
    let database = shop(&disk, &clock);
    let steps = database.compact_plan(None, &tiny(true)).unwrap();
    let mut commits = 0;
    let writer = database.clone();
    let done = database.compact_step(&steps[0], &mut |_| {
        // Rows of files that are about to go.
        let mut txn = writer.begin().unwrap();
        txn.upsert(TABLE, &rows(&[(14, Some("meanwhile")), (commits, Some("meanwhile"))])).unwrap();
        txn.delete(TABLE, &crate::support::keys(&[19 - commits % 4])).unwrap_or_default();
        txn.commit(CommitOptions::default()).map(|_| commits += 1).is_ok()
    });
    assert!(done.unwrap().is_some() && commits > 2);
    let newest = database.refresh().unwrap();
    let after = all(&database);
    assert_eq!(after.len() as u64, newest.0);
    let reopened = crate::support::open(&disk.process(), &clock);
    assert_eq!(all(&reopened), after);
    assert!(after.last().unwrap().contains("14,meanwhile"));
    assert_eq!(reopened.verify().unwrap().findings, vec![]);
}
