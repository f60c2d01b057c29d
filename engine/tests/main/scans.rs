//! Scans in order and as rows lie, of some columns, with filters and limits, on one thread and on several, all against
//! a model; lookups; what they decode.

use crate::support::{DB, TestClock, options};
use asof_engine::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use asof_engine::arrow::datatypes::Int64Type;
use asof_engine::{
    Column, ColumnType, CommitOptions, Comparison, Database, DiffKind, Filter, Options, ScanOptions,
    Snapshot, Version,
};
use asof_wal::sim::SimDisk;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub const TABLE: &str = "stock";

/// Each row: id -> (amount, note).
pub type Rows = BTreeMap<i64, (i64, Option<String>)>;

pub fn batch(rows: &Rows) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(rows.keys().copied())), false),
        ("amount", Arc::new(Int64Array::from_iter_values(rows.values().map(|row| row.0))), true),
        ("note", Arc::new(StringArray::from_iter(rows.values().map(|row| row.1.as_deref()))), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns are of one length")
}

pub fn row(id: i64, edition: i64) -> (i64, Option<String>) {
    let note = (id % 5 != 0).then(|| format!("note {} of {edition}", id % 13));
    (id * 31 % 1_009 + edition, note)
}

/// A small generator of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)) % limit as u64) as i64
    }
}

fn open(disk: &SimDisk, read_threads: usize) -> Database {
    let clock = Arc::new(TestClock::default());
    let options = Options { clock, read_threads, ..options(disk) };
    Database::open_or_create(Path::new(DB), options).expect("the database opens")
}

/// A history of a load, and commits of updates, inserts and deletes, some of them checkpointed; every version's rows.
pub fn history(disk: &SimDisk, loaded: i64, commits: i64) -> Vec<Rows> {
    let database = open(disk, 1);
    let columns = [("id", ColumnType::Int64), ("amount", ColumnType::Int64), ("note", ColumnType::Text)];
    let columns = columns.into_iter().map(|(name, column_type)| Column::new(name, column_type)).collect();
    let mut numbers = Numbers(7);
    let mut rows: Rows = (0..loaded).map(|id| (id * 3, row(id * 3, 0))).collect();
    let mut txn = database.begin().expect("a transaction begins");
    txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
    txn.insert(TABLE, &batch(&rows)).expect("rows are taken");
    txn.commit(CommitOptions::default()).expect("the load commits");
    database.checkpoint().expect("a checkpoint");
    let mut versions = vec![Rows::new(), rows.clone()];
    for edition in 1..=commits {
        let changed: Rows = (0..40)
            .map(|_| numbers.below(loaded * 3))
            .chain([loaded * 3 + edition])
            .map(|id| (id, row(id, edition)))
            .collect();
        let gone: Vec<i64> = (0..6)
            .filter_map(|_| rows.range(numbers.below(loaded * 3)..).next().map(|(id, _)| *id))
            .filter(|id| !changed.contains_key(id))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut txn = database.begin().expect("a transaction begins");
        txn.upsert(TABLE, &batch(&changed)).expect("rows are taken");
        txn.delete(TABLE, &crate::support::keys(&gone)).expect("keys are taken");
        txn.commit(CommitOptions::default()).expect("the change commits");
        rows.extend(changed);
        gone.iter().for_each(|id| drop(rows.remove(id)));
        versions.push(rows.clone());
        if edition % 4 == 0 && edition < commits {
            database.checkpoint().expect("a checkpoint");
        }
    }
    versions
}

fn scan(snapshot: &Snapshot, options: ScanOptions) -> Vec<(i64, i64, Option<String>)> {
    let mut rows = Vec::new();
    for batch in snapshot.scan(TABLE, options).expect("a scan begins") {
        let batch = batch.expect("a batch is read");
        let numbers = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
        let (ids, amounts, notes) = (numbers(0), numbers(1), batch.column(2).as_string::<i32>());
        for (row, note) in notes.iter().enumerate() {
            rows.push((ids.value(row), amounts.value(row), note.map(str::to_string)));
        }
    }
    rows
}

fn compare(column: &str, comparison: Comparison, value: i64) -> Filter {
    let value: ArrayRef = Arc::new(Int64Array::from(vec![value]));
    Filter::Compare { column: column.to_string(), comparison, value }
}

pub fn flat(rows: &Rows) -> Vec<(i64, i64, Option<String>)> {
    rows.iter().map(|(id, (amount, note))| (*id, *amount, note.clone())).collect()
}

#[test]
fn every_scan_of_every_version_gives_what_the_model_gives() {
    let disk = SimDisk::new(1);
    let versions = history(&disk, 12_000, 10);
    for threads in [1, 3] {
        let database = open(&disk, threads);
        for (version, model) in versions.iter().enumerate().skip(1) {
            let snapshot = database.snapshot(Version(version as u64)).expect("a version");
            let name = format!("version {version} on {threads} threads");
            assert!(scan(&snapshot, ScanOptions::default()) == flat(model), "in order: {name}");
            let unordered = ScanOptions { ordered: false, ..ScanOptions::default() };
            let mut rows = scan(&snapshot, unordered.clone());
            rows.sort();
            assert!(rows == flat(model), "as they lie: {name}");
            let none = ScanOptions { columns: Some(Vec::new()), ..unordered };
            let counted = snapshot.scan(TABLE, none).expect("a scan begins");
            let count: usize = counted.map(|batch| batch.expect("a batch").num_rows()).sum();
            assert_eq!(count, model.len(), "counted: {name}");
        }
    }
}

#[test]
fn filters_and_limits_give_the_rows_that_the_model_gives() {
    let disk = SimDisk::new(1);
    let versions = history(&disk, 3_000, 9);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["note 3"]));
    let text = Filter::Compare { column: "note".to_string(), comparison: Comparison::Less, value: text };
    type Passes = fn(i64, i64, Option<&str>) -> bool;
    let filters: Vec<(Filter, Passes)> = vec![
        (compare("id", Comparison::Equal, 333), |id, _, _| id == 333),
        (compare("id", Comparison::Equal, -5), |id, _, _| id == -5),
        (compare("id", Comparison::GreaterOrEqual, 8_000), |id, _, _| id >= 8_000),
        (compare("amount", Comparison::Less, 100), |_, amount, _| amount < 100),
        (compare("amount", Comparison::NotEqual, 100), |_, amount, _| amount != 100),
        (Filter::IsNull("note".to_string()), |_, _, note| note.is_none()),
        (text.clone(), |_, _, note| note.is_some_and(|note| note < "note 3")),
        (Filter::Not(Box::new(text)), |_, _, note| note.is_some_and(|note| note >= "note 3")),
        (
            Filter::And(
                Box::new(compare("id", Comparison::Less, 4_000)),
                Box::new(compare("amount", Comparison::Greater, 900)),
            ),
            |id, amount, _| id < 4_000 && amount > 900,
        ),
        (
            Filter::Or(
                Box::new(compare("id", Comparison::Less, 100)),
                Box::new(Filter::IsNull("note".to_string())),
            ),
            |id, _, note| id < 100 || note.is_none(),
        ),
    ];
    let database = open(&disk, 2);
    for version in [1, 5, 9, 10] {
        let snapshot = database.snapshot(Version(version as u64)).expect("a version");
        for (nth, (filter, passes)) in filters.iter().enumerate() {
            let expected: Vec<_> = flat(&versions[version])
                .into_iter()
                .filter(|(id, amount, note)| passes(*id, *amount, note.as_deref()))
                .collect();
            let filter = Some(filter.clone());
            let name = format!("filter {nth} at version {version}");
            let ordered = ScanOptions { filter: filter.clone(), ..ScanOptions::default() };
            assert_eq!(scan(&snapshot, ordered.clone()), expected, "{name}");
            let limited = ScanOptions { limit: Some(7), ..ordered.clone() };
            assert_eq!(scan(&snapshot, limited), expected[..expected.len().min(7)], "{name} limited");
            let mut rows = scan(&snapshot, ScanOptions { ordered: false, ..ordered });
            rows.sort();
            assert_eq!(rows, expected, "{name} as they lie");
            // The columns of the filter need not be given.
            let ids =
                ScanOptions { columns: Some(vec!["id".to_string()]), filter, ordered: false, limit: None };
            let counted = snapshot.scan(TABLE, ids).expect("a scan begins");
            let given: Vec<RecordBatch> = counted.map(|batch| batch.expect("a batch")).collect();
            assert!(given.iter().all(|batch| batch.num_columns() == 1), "{name}");
            assert_eq!(given.iter().map(RecordBatch::num_rows).sum::<usize>(), expected.len(), "{name}");
        }
        let three = ScanOptions { limit: Some(3), ..ScanOptions::default() };
        assert_eq!(scan(&snapshot, three), flat(&versions[version])[..3]);
    }
}

#[test]
fn every_row_is_found_by_its_key_and_no_other_is() {
    let disk = SimDisk::new(1);
    let versions = history(&disk, 9_000, 9);
    let database = open(&disk, 1);
    for version in [1, 4, 9, 10] {
        let snapshot = database.snapshot(Version(version as u64)).expect("a version");
        for id in (0..27_020).step_by(61) {
            let found = snapshot.get(TABLE, &crate::support::keys(&[id])).expect("a lookup");
            let expected = versions[version].get(&id).map(|row| batch(&[(id, row.clone())].into()));
            assert_eq!(found.map(|row| row.columns().to_vec()), expected.map(|row| row.columns().to_vec()));
        }
    }
}

#[test]
fn the_versions_of_a_row_are_those_of_the_model() {
    let disk = SimDisk::new(1);
    let versions = history(&disk, 300, 12);
    let database = open(&disk, 1);
    for id in 0..930 {
        let history = database.history(TABLE, &crate::support::keys(&[id])).expect("a history");
        for (version, model) in versions.iter().enumerate() {
            let version = Version(version as u64);
            let alive =
                history.iter().find(|one| one.begin <= version && one.end.is_none_or(|end| end > version));
            let expected = model.get(&id).map(|row| batch(&[(id, row.clone())].into()).columns().to_vec());
            assert_eq!(alive.map(|one| one.row.columns().to_vec()), expected, "row {id} at {version}");
        }
    }
}

#[test]
fn a_lookup_decodes_a_page_of_each_column_whatever_the_size_of_the_table() {
    let mut pages = Vec::new();
    for loaded in [30_000, 120_000] {
        let disk = SimDisk::new(1);
        history(&disk, loaded, 5);
        let database = open(&disk, 1);
        let snapshot = database.snapshot(Version(3)).expect("a version");
        let before = database.counters();
        let row = snapshot.get(TABLE, &crate::support::keys(&[3 * 7_777])).expect("a lookup");
        assert!(row.is_some());
        let after = database.counters();
        let decoded = after.pages_decoded - before.pages_decoded;
        assert!(decoded <= 12, "{decoded} pages for one of {loaded} rows");
        assert!(after.rows_decoded - before.rows_decoded <= 3 * 1_024, "rows of {loaded}");
        pages.push(decoded);
    }
    assert!(pages[1] <= pages[0] + 2, "{pages:?} pages");
}

#[test]
fn counting_wholly_visible_rows_decodes_nothing() {
    let disk = SimDisk::new(1);
    history(&disk, 5_000, 0);
    let database = open(&disk, 1);
    let snapshot = database.snapshot(Version(1)).expect("a version");
    let none = ScanOptions { columns: Some(Vec::new()), ordered: false, ..ScanOptions::default() };
    let count: usize =
        snapshot.scan(TABLE, none).expect("a scan").map(|batch| batch.expect("a batch").num_rows()).sum();
    assert_eq!(count, 5_000);
    let counters = database.counters();
    assert_eq!((counters.rows_decoded, counters.pages_decoded), (0, 0));
}

#[test]
fn a_filter_on_the_key_skips_row_groups_and_a_selective_one_most_pages_of_other_columns() {
    let disk = SimDisk::new(1);
    history(&disk, 250_000, 0);
    let database = open(&disk, 1);
    let snapshot = database.snapshot(Version(1)).expect("a version");
    let before = database.counters();
    let filter = Some(compare("id", Comparison::Less, 3 * 100));
    let rows = scan(&snapshot, ScanOptions { filter, ..ScanOptions::default() });
    assert_eq!(rows.len(), 100);
    let after = database.counters();
    let decoded = after.rows_decoded - before.rows_decoded;
    assert!(decoded <= 98_304 + 100, "{decoded} rows decoded: more than a row group's keys and what passes");
    let pages = after.pages_decoded - before.pages_decoded;
    assert!(pages <= 96 + 2 * 2, "{pages} pages");
}

/// The net diff of two versions: (change, id, amount, note), as the model has it.
fn net_of_models(from: &Rows, to: &Rows) -> Vec<(String, i64, i64, Option<String>)> {
    let ids: std::collections::BTreeSet<i64> = from.keys().chain(to.keys()).copied().collect();
    let mut lines = Vec::new();
    for id in ids {
        let mut line = |change: &str, row: &(i64, Option<String>)| {
            lines.push((change.to_string(), id, row.0, row.1.clone()));
        };
        match (from.get(&id), to.get(&id)) {
            (Some(before), Some(after)) if before != after => {
                line("update_preimage", before);
                line("update_postimage", after);
            }
            (Some(before), None) => line("delete", before),
            (None, Some(after)) => line("insert", after),
            _ => {}
        }
    }
    lines
}

fn net(database: &Database, from: usize, to: usize) -> Vec<(String, i64, i64, Option<String>)> {
    let (from, to) = (Version(from as u64), Version(to as u64));
    let mut lines = Vec::new();
    for batch in database.diff(from, to, TABLE, DiffKind::Net).expect("a diff begins") {
        let batch = batch.expect("a batch is read");
        let numbers = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
        let (changes, ids, amounts, notes) =
            (batch.column(0).as_string::<i32>(), numbers(3), numbers(4), batch.column(5).as_string::<i32>());
        for (row, note) in notes.iter().enumerate() {
            let change = changes.value(row).to_string();
            lines.push((change, ids.value(row), amounts.value(row), note.map(str::to_string)));
        }
    }
    lines
}

#[test]
fn the_net_diff_of_any_two_versions_is_that_of_the_model() {
    let disk = SimDisk::new(1);
    let versions = history(&disk, 11_000, 10);
    for threads in [1, 3] {
        let database = open(&disk, threads);
        for from in 1..versions.len() {
            for to in from..versions.len() {
                let expected = net_of_models(&versions[from], &versions[to]);
                assert!(net(&database, from, to) == expected, "{from}..{to} on {threads} threads");
            }
        }
    }
}

#[test]
fn pages_decoded_by_a_diff_of_neighbours_do_not_grow_with_the_table() {
    for (from, to) in [(1, 2), (4, 5), (9, 10)] {
        let mut decoded = Vec::new();
        for loaded in [20_000, 200_000] {
            let disk = SimDisk::new(1);
            let versions = history(&disk, loaded, 10);
            let database = open(&disk, 1);
            let lines = net(&database, from, to);
            assert_eq!(lines, net_of_models(&versions[from], &versions[to]));
            let counters = database.counters();
            assert!(counters.rows_decoded < 3_000, "{} rows of {loaded}", counters.rows_decoded);
            // Each line is of a page of its own at worst, in each of three columns and that of begins.
            let bound = lines.len() as u64 * 4 + 32;
            assert!(counters.pages_decoded <= bound, "{} pages of {loaded}", counters.pages_decoded);
            decoded.push(counters.rows_decoded);
        }
        assert!(decoded[1] <= decoded[0] + 100, "{from}..{to}: {decoded:?} rows");
    }
}
