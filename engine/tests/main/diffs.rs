//! Diffs of recent versions: from copies of what these changed, whatever happens to the files that the rows lie in.

use crate::support::{Chance, DB, TestClock, options};
use asof_engine::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use asof_engine::arrow::datatypes::{Int64Type, UInt64Type};
use asof_engine::{Alteration, Column, ColumnType, CommitOptions, Database, DiffKind, Options, Version};
use asof_wal::sim::{Fault, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const TABLE: &str = "stock";

/// Each row: id -> amount.
type Rows = BTreeMap<i64, i64>;

/// A line: what happened, by which version, id, amount.
type Line = (String, u64, i64, i64);

fn batch(rows: &Rows) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(rows.keys().copied()))),
        ("amount", Arc::new(Int64Array::from_iter_values(rows.values().copied()))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns are of one length")
}

fn open(disk: &SimDisk) -> Database {
    let options = Options { clock: Arc::new(TestClock::default()), ..options(disk) };
    Database::open_or_create(Path::new(DB), options).expect("the database opens")
}

/// A table, and its rows at every version.
struct World {
    database: Database,
    chance: Chance,
    versions: Vec<Rows>,
}

impl World {
    fn new(disk: &SimDisk, seed: u64, loaded: i64) -> World {
        let database = open(disk);
        let columns = ["id", "amount"].map(|name| Column::new(name, ColumnType::Int64)).to_vec();
        let rows: Rows = (0..loaded).map(|id| (id, -id)).collect();
        let mut txn = database.begin().expect("a transaction begins");
        txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
        txn.insert(TABLE, &batch(&rows)).expect("rows are taken");
        txn.commit(CommitOptions::default()).expect("the load commits");
        database.checkpoint().expect("a checkpoint");
        World { database, chance: Chance(0x9E37_79B9_7F4A_7C15 ^ seed), versions: vec![Rows::new(), rows] }
    }

    fn newest(&self) -> usize {
        self.versions.len() - 1
    }

    /// A commit of so many updates, half of them of a few rows that change often, and fewer inserts and deletes.
    fn commit(&mut self, updates: usize) {
        let mut rows = self.versions[self.newest()].clone();
        let version = self.versions.len() as i64;
        let ids: Vec<i64> = rows.keys().copied().collect();
        let next = ids.last().map_or(0, |id| id + 1);
        let mut changed = Rows::new();
        for nth in 0..updates {
            let limit = if nth % 2 == 0 { ids.len().min(9) } else { ids.len() };
            changed.insert(ids[self.chance.below(limit)], version);
        }
        changed.extend((0..updates as i64 / 4).map(|nth| (next + nth, version)));
        let gone: BTreeSet<i64> = (0..updates / 4)
            .map(|_| ids[self.chance.below(ids.len())])
            .filter(|id| !changed.contains_key(id))
            .collect();
        let mut txn = self.database.begin().expect("a transaction begins");
        txn.upsert(TABLE, &batch(&changed)).expect("rows are taken");
        let keys = gone.iter().copied().collect::<Vec<_>>();
        txn.delete(TABLE, &crate::support::keys(&keys)).expect("keys are taken");
        txn.commit(CommitOptions::default()).expect("the change commits");
        rows.extend(changed);
        rows.retain(|id, _| !gone.contains(id));
        self.versions.push(rows);
    }

    /// The lines of a diff, in order.
    fn diff(&self, from: usize, to: usize, kind: DiffKind) -> Vec<Line> {
        let mut lines = Vec::new();
        let diff = self.database.diff(Version(from as u64), Version(to as u64), TABLE, kind);
        for batch in diff.expect("a diff begins") {
            let batch = batch.expect("a batch is read");
            let numbers = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
            let column = |name| batch.schema().index_of(name).expect("the column is there");
            let (changes, versions) =
                (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<UInt64Type>());
            let (ids, amounts) = (numbers(column("id")), numbers(column("amount")));
            lines.extend((0..batch.num_rows()).map(|row| {
                (changes.value(row).to_string(), versions.value(row), ids.value(row), amounts.value(row))
            }));
        }
        lines
    }

    /// What a diff must say, but for the versions of a net diff.
    fn expected(&self, from: usize, to: usize) -> Vec<Line> {
        let (before, after) = (&self.versions[from], &self.versions[to]);
        let ids: BTreeSet<i64> = before.keys().chain(after.keys()).copied().collect();
        let mut lines = Vec::new();
        for id in ids {
            let mut line =
                |change: &str, amount: i64| lines.push((change.to_string(), to as u64, id, amount));
            match (before.get(&id), after.get(&id)) {
                (Some(before), Some(after)) if before != after => {
                    line("update_preimage", *before);
                    line("update_postimage", *after);
                }
                (Some(before), None) => line("delete", *before),
                (None, Some(after)) => line("insert", *after),
                _ => {}
            }
        }
        lines
    }

    /// All diffs of neighbours, net and as feeds, and some of versions further apart, also from before the table was made.
    fn check(&mut self, when: &str) {
        let newest = self.newest();
        for to in 2..=newest {
            let expected = self.expected(to - 1, to);
            assert_eq!(self.diff(to - 1, to, DiffKind::Net), expected, "net, {to} {when}");
            assert_eq!(self.diff(to - 1, to, DiffKind::Feed), expected, "feed, {to} {when}");
            let from = self.chance.below(to);
            let net = self.diff(from, to, DiffKind::Net);
            let net: Vec<Line> = net.into_iter().map(|line| (line.0, to as u64, line.2, line.3)).collect();
            assert_eq!(net, self.expected(from, to), "net, {from}..{to} {when}");
            let back = self.diff(to, from, DiffKind::Net);
            let back: Vec<Line> =
                back.into_iter().map(|line| (line.0, from as u64, line.2, line.3)).collect();
            assert_eq!(back, self.expected(to, from), "net, back from {to} to {from} {when}");
            let feed: Vec<Line> = (from + 1..=to).flat_map(|to| self.expected(to - 1, to)).collect();
            assert_eq!(self.diff(from, to, DiffKind::Feed), feed, "feed, {from}..{to} {when}");
        }
        let report = self.database.verify().expect("verification runs");
        assert_eq!(report.findings, vec![], "{when}");
    }
}

#[test]
fn diffs_are_those_of_the_model_across_checkpoints_compaction_and_reopening() {
    for seed in 1..=4 {
        let disk = SimDisk::new(seed);
        let mut world = World::new(&disk, seed, 400);
        for round in 0..4 {
            for _ in 0..1 + world.chance.below(5) {
                let updates = 1 + world.chance.below(120);
                world.commit(updates);
            }
            match world.chance.below(4) {
                0 => {}
                _ => drop(world.database.checkpoint().expect("a checkpoint")),
            }
            if world.chance.below(2) == 0 {
                let tiny = crate::compaction::tiny(true);
                world.database.compact(None, &tiny).expect("compaction");
            }
            if world.chance.below(2) == 0 {
                world.database = open(&disk);
            }
            world.check(&format!("in round {round} of seed {seed}"));
        }
    }
}

/// A row version that one version began and another ended lies in the runs of both.
#[test]
fn row_versions_that_lie_in_two_runs_of_copies_are_shown_once() {
    let disk = SimDisk::new(7);
    let mut world = World::new(&disk, 7, 100_000);
    for _ in 0..4 {
        world.commit(4_000);
    }
    world.database.checkpoint().expect("a checkpoint");
    let before = world.database.counters().rows_decoded;
    let feed = world.diff(3, 5, DiffKind::Feed);
    let decoded = world.database.counters().rows_decoded - before;
    assert!(decoded < 50_000, "{decoded} rows were decoded, not only those of the copies");
    assert_eq!(feed, [world.expected(3, 4), world.expected(4, 5)].concat());
    world.check("with copies of several runs");
}

#[test]
fn a_crash_at_any_operation_of_a_checkpoint_leaves_every_diff_right() {
    let (mut at, mut crashed) = (0, 0);
    loop {
        let disk = SimDisk::new(at + 1);
        let mut world = World::new(&disk, 5, 40);
        (0..2).for_each(|_| world.commit(8));
        world.database.checkpoint().expect("a checkpoint");
        (0..2).for_each(|_| world.commit(8));
        let process = disk.process();
        world.database = open(&process);
        world.database.refresh().expect("following works");
        process.plan(process.operations() + at, Fault::Kill);
        let done = world.database.checkpoint().is_ok() && !process.is_dead();
        if !done {
            process.kill();
            if at % 2 == 0 {
                disk.crash();
            }
            crashed += 1;
        }
        disk.heal();
        world.database = open(&disk.process());
        world.check(&format!("after operation {at}"));
        world.commit(8);
        world.database.checkpoint().expect("a checkpoint");
        world.check(&format!("after the checkpoint that follows operation {at}"));
        if done {
            break;
        }
        // Every third operation, another third for each disk.
        at += 3;
    }
    assert!(crashed > 5, "{crashed} crashes");
}

#[test]
fn columns_added_and_dropped_later_are_shown_in_diffs_of_before() {
    let disk = SimDisk::new(1);
    let mut world = World::new(&disk, 1, 50);
    world.commit(10);
    world.database.checkpoint().expect("a checkpoint");
    let before: Vec<_> = [DiffKind::Net, DiffKind::Feed].map(|kind| world.diff(1, 2, kind)).into();
    assert_eq!(before, vec![world.expected(1, 2); 2]);
    let mut txn = world.database.begin().expect("a transaction begins");
    let mut added = Column::new("more", ColumnType::Int64);
    added.default = Some(Arc::new(Int64Array::from(vec![7])));
    txn.alter_table(TABLE, Alteration::AddColumn(added)).expect("a column is added");
    txn.commit(CommitOptions::default()).expect("the change commits");
    let again: Vec<_> = [DiffKind::Net, DiffKind::Feed].map(|kind| world.diff(1, 2, kind)).into();
    assert_eq!(again, before);
    world.versions.push(world.versions[world.newest()].clone());
    // The rows of the newest versions have the new column, those that they ended its default.
    let mut txn = world.database.begin().expect("a transaction begins");
    let (id, amount): (ArrayRef, ArrayRef) =
        (Arc::new(Int64Array::from(vec![3])), Arc::new(Int64Array::from(vec![33])));
    let more: ArrayRef = Arc::new(Int64Array::from(vec![9]));
    let row = RecordBatch::try_from_iter([("id", id), ("amount", amount), ("more", more)]);
    txn.upsert(TABLE, &row.expect("columns are of one length")).expect("a row is taken");
    txn.commit(CommitOptions::default()).expect("the change commits");
    world.database.checkpoint().expect("a checkpoint");
    let mut diff = world.database.diff(Version(3), Version(4), TABLE, DiffKind::Net).expect("a diff begins");
    let batch = diff.next().expect("a batch").expect("it is read");
    let more = batch.column_by_name("more").expect("it is there").as_primitive::<Int64Type>();
    assert_eq!(more.values(), &[7, 9]);
}

#[test]
fn what_a_diff_of_neighbours_decodes_does_not_grow_with_the_table() {
    let decoded = [3_000, 30_000].map(|loaded| {
        let disk = SimDisk::new(1);
        let mut world = World::new(&disk, 1, loaded);
        (0..3).for_each(|_| world.commit(800));
        world.database.checkpoint().expect("a checkpoint");
        (0..3).for_each(|_| world.commit(800));
        world.database.checkpoint().expect("a checkpoint");
        world.database = open(&disk);
        let mut decoded = Vec::new();
        for to in [7, 5, 3] {
            let before = world.database.counters();
            let lines = world.diff(to - 1, to, DiffKind::Net);
            assert_eq!(lines, world.expected(to - 1, to));
            let after = world.database.counters();
            decoded
                .push((after.pages_decoded - before.pages_decoded, after.rows_decoded - before.rows_decoded));
            // Rows of a run, which one version here does not fill.
            assert!(after.rows_decoded - before.rows_decoded <= 8_192, "{decoded:?} of {loaded} rows");
        }
        decoded
    });
    let [small, large] = &decoded;
    for (small, large) in small.iter().zip(large) {
        // Rows that change often are a smaller part of a larger table: a few more rows are touched.
        assert!(large.0 <= small.0 && large.1 <= small.1 * 2, "{decoded:?}");
    }
}

#[test]
fn copies_are_a_bounded_part_of_a_database() {
    let bytes = |copies_rows_min: u64| {
        let disk = SimDisk::new(1);
        let options = Options { copies_rows_min, clock: Arc::new(TestClock::default()), ..options(&disk) };
        let mut world = World::new(&disk, 1, 20_000);
        world.database = Database::open(Path::new(DB), options).expect("the database opens");
        for _ in 0..12 {
            (0..2).for_each(|_| world.commit(1_000));
            world.database.checkpoint().expect("a checkpoint");
        }
        world.database.release_files().expect("files go");
        world.database.info().expect("there is information").files["data"].1
    };
    let (without, with) = (bytes(u64::MAX), bytes(0));
    assert!(with > without, "{with} bytes with copies, {without} without");
    // A quarter, or 256 KiB where that is more; and the newest file in any case.
    assert!(with <= without + (without / 4).max(256 << 10) + (64 << 10), "{with} and {without} bytes");
}

/// Rows that were deleted with a table are told by the key that it had.
#[test]
fn rows_of_a_table_that_was_made_again_with_another_key_have_their_key() {
    let disk = SimDisk::new(3);
    let database = open(&disk);
    for (name, value) in [("a", 7), ("b", 8)] {
        let mut txn = database.begin().expect("a transaction begins");
        if txn.has_table(TABLE) {
            txn.drop_table(TABLE).expect("it is there");
        }
        txn.create_table(TABLE, vec![Column::new(name, ColumnType::Int64)], &[name.to_string()])
            .expect("a table");
        let row: ArrayRef = Arc::new(Int64Array::from(vec![value]));
        txn.insert(TABLE, &RecordBatch::try_from_iter([(name, row)]).expect("a column")).expect("a row");
        txn.commit(CommitOptions::default()).expect("it commits");
    }
    let diff = database.diff(Version(1), Version(2), TABLE, DiffKind::Net).expect("a diff begins");
    let mut lines = Vec::new();
    for batch in diff.map(|batch| batch.expect("it can be read")) {
        let text = |name: &str, row: usize| {
            let column =
                batch.column_by_name(name).expect("the diff has the column").as_primitive::<Int64Type>();
            (!column.is_null(row)).then(|| column.value(row))
        };
        let kinds = batch.column(0).as_string::<i32>();
        lines.extend(
            (0..batch.num_rows()).map(|row| (kinds.value(row).to_string(), text("a", row), text("b", row))),
        );
    }
    lines.sort();
    let expected = [("delete".to_string(), Some(7), None), ("insert".to_string(), None, Some(8))];
    assert_eq!(lines, expected);
}

#[test]
fn the_way_back_has_the_columns_of_the_earlier_version() {
    let disk = SimDisk::new(1);
    let mut world = World::new(&disk, 1, 20_000);
    let mut txn = world.database.begin().expect("a transaction begins");
    let renaming = Alteration::RenameColumn { from: "amount".to_string(), to: "count".to_string() };
    txn.alter_table(TABLE, renaming).expect("a column is renamed");
    txn.alter_table(TABLE, Alteration::AddColumn(Column::new("more", ColumnType::Int64)))
        .expect("one is added");
    let changed: Rows = (0..10_000).map(|id| (id, -id - 1)).collect();
    let rows = batch(&changed);
    let rows =
        RecordBatch::try_from_iter([("id", rows.column(0).clone()), ("count", rows.column(1).clone())]);
    txn.upsert(TABLE, &rows.expect("columns are of one length")).expect("rows are taken");
    txn.commit(CommitOptions::default()).expect("the change commits");
    world.versions.push(world.versions[1].clone());
    world.versions[2].extend(changed);
    // Pairs of images stay together, and in their order, over several batches.
    let back = world.diff(2, 1, DiffKind::Net);
    let back: Vec<Line> = back.into_iter().map(|line| (line.0, 1, line.2, line.3)).collect();
    assert_eq!(back, world.expected(2, 1));
    let error =
        world.database.diff(Version(2), Version(1), TABLE, DiffKind::Feed).err().expect("it is refused");
    assert!(error.to_string().contains("version 2 is after version 1"), "{error}");
    world
        .database
        .begin()
        .and_then(|mut txn| {
            txn.drop_table(TABLE)?;
            txn.commit(CommitOptions::default())
        })
        .expect("the table is dropped");
    let kinds = |from, to| {
        let diff =
            world.database.diff(Version(from), Version(to), TABLE, DiffKind::Net).expect("a diff begins");
        diff.map(|batch| batch.expect("a batch is read").num_rows()).sum::<usize>()
    };
    assert_eq!((kinds(2, 3), kinds(3, 2), kinds(3, 0)), (20_000, 20_000, 0));
}
