//! Random histories with changes of rows, schemas and keys, drops, checkpoints and compaction between.

use super::*;
use asof_engine::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use asof_engine::arrow::compute::cast;
use asof_engine::compact::Parameters;
use asof_engine::{Alteration, Column, ColumnType, Options, TableSchema};
use asof_wal::sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

fn column(name: &str, of: &str) -> Column {
    Column::new(name, ColumnType::parse(of).unwrap())
}

/// Rows of a schema; those with these ids where it has a key.
fn random_rows(chance: &mut Chance, schema: &TableSchema, ids: &[i64]) -> RecordBatch {
    let columns = schema.columns.iter().map(|column| {
        let is_key = schema.key.contains(&column.id);
        let null = |chance: &mut Chance| column.nullable && chance.below(4) == 0;
        let array: ArrayRef = match &column.column_type {
            ColumnType::Text if is_key => {
                Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("k{id}"))))
            }
            ColumnType::Text => Arc::new(StringArray::from_iter(
                ids.iter().map(|_| (!null(chance)).then(|| format!("v{}", chance.below(9)))),
            )),
            _ if is_key => Arc::new(Int64Array::from(ids.to_vec())),
            ColumnType::Float32 | ColumnType::Float64 => Arc::new(Float64Array::from_iter(
                ids.iter().map(|_| (!null(chance)).then(|| chance.below(8) as f64 / 4.0)),
            )),
            wide => {
                let most = if *wide == ColumnType::Int8 { 100 } else { 30_000 };
                Arc::new(Int64Array::from_iter(
                    ids.iter().map(|_| (!null(chance)).then(|| chance.below(most) as i64)),
                ))
            }
        };
        let array = cast(&array, &column.column_type.to_arrow()).unwrap();
        (column.name.clone(), array, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap()
}

/// Some ids, each once.
fn some_ids(chance: &mut Chance) -> Vec<i64> {
    (0..40).filter(|_| chance.below(5) == 0).collect()
}

/// The keys of some rows that are there.
fn keys_there(chance: &mut Chance, database: &Database, table: &str) -> Option<RecordBatch> {
    let snapshot = database.snapshot(database.latest().unwrap()).unwrap();
    let schema = snapshot.schema(table).unwrap();
    let columns = schema.key_columns().map(|column| column.name.clone()).collect();
    let options = asof_engine::ScanOptions { columns: Some(columns), ..Default::default() };
    let batches: Vec<_> = snapshot.scan(table, options).unwrap().map(Result::unwrap).collect();
    let keys = asof_engine::arrow::compute::concat_batches(&batches.first()?.schema(), &batches).unwrap();
    if keys.num_rows() == 0 {
        return None;
    }
    let first = chance.below(keys.num_rows());
    Some(keys.slice(first, (chance.below(4) + 1).min(keys.num_rows() - first)))
}

/// Whether a transaction did nothing to a table.
fn is_as_it_was(txn: &Transaction, database: &Database, table: &str) -> bool {
    let snapshot = database.snapshot(txn.read_version()).unwrap();
    let same = snapshot.schema(table).is_ok_and(|schema| schema == txn.schema(table).unwrap());
    same && !txn.counts().unwrap().contains_key(table)
}

const TABLES: [&str; 3] = ["keyed", "eu.other", "loose"];

fn make(chance: &mut Chance, txn: &mut Transaction, table: &str) {
    let mut text = column("t", "text");
    text.nullable = false;
    text.default = Some(Arc::new(StringArray::from(vec!["none"])));
    let columns = vec![column("id", "int32"), column("n", "int8"), text, column("x", "float32")];
    let key: Vec<String> = if table == "loose" { vec![] } else { vec!["id".to_string()] };
    txn.create_table(table, columns, &key).unwrap();
    let schema = txn.schema(table).unwrap();
    let ids = some_ids(chance);
    txn.insert(table, &random_rows(chance, &schema, &ids)).unwrap();
}

/// Changes a schema; says whether a column of the key was widened.
fn alter(chance: &mut Chance, txn: &mut Transaction, table: &str, step: usize) -> bool {
    let schema = txn.schema(table).unwrap();
    let which = &schema.columns[chance.below(schema.columns.len())];
    let is_key = schema.key.contains(&which.id);
    let alteration = match chance.below(5) {
        0 => {
            let mut added = column(
                &format!("c{step}_{}", chance.below(1 << 20)),
                ["int8", "text", "float32"][chance.below(3)],
            );
            if added.column_type == ColumnType::Int8 {
                added.nullable = chance.below(2) == 0;
                added.default = Some(Arc::new(asof_engine::arrow::array::Int8Array::from(vec![7])));
            }
            Alteration::AddColumn(added)
        }
        1 if !is_key && schema.columns.len() > 2 => Alteration::DropColumn(which.name.clone()),
        2 => Alteration::RenameColumn {
            from: which.name.clone(),
            to: format!("r{step}_{}", chance.below(1 << 20)),
        },
        _ => {
            let to = match which.column_type {
                ColumnType::Int8 => ColumnType::Int16,
                ColumnType::Int16 => ColumnType::Int32,
                ColumnType::Int32 => ColumnType::Int64,
                ColumnType::Float32 => ColumnType::Float64,
                _ => return false,
            };
            txn.alter_table(table, Alteration::WidenColumn { name: which.name.clone(), to }).unwrap();
            return is_key;
        }
    };
    txn.alter_table(table, alteration).unwrap();
    false
}

/// What an undo cannot take back, by design.
#[derive(Default)]
struct Made {
    widened_key: bool,
}

/// One random commit.
fn step(chance: &mut Chance, database: &Database, step: usize) -> Option<Made> {
    let mut made = Made::default();
    let mut txn = database.begin().unwrap();
    for _ in 0..chance.below(3) + 1 {
        let table = TABLES[chance.below(3)];
        if !txn.has_table(table) {
            let snapshot = database.snapshot(database.latest().unwrap()).unwrap();
            match chance.below(3) {
                0 if !snapshot.past_tables(Some(table)).is_empty() => drop(txn.undrop(table, 0).unwrap()),
                _ => make(chance, &mut txn, table),
            }
            continue;
        }
        let schema = txn.schema(table).unwrap();
        let ids = some_ids(chance);
        let rows = random_rows(chance, &schema, &ids);
        match (chance.below(12), schema.has_key()) {
            (0, _) => txn.drop_table(table).unwrap(),
            (1, true) => {
                let columns = schema.columns.iter().map(|c| Column { id: 0, ..c.clone() }).collect();
                let key = schema.columns[chance.below(schema.columns.len())].clone();
                if key.column_type.may_be_key() {
                    txn.rekey_table(table, columns, &[key.name]).unwrap();
                    let schema = txn.schema(table).unwrap();
                    let ids: Vec<i64> = ids.into_iter().map(|id| id % 100).collect();
                    txn.insert(table, &random_rows(chance, &schema, &ids)).unwrap();
                }
            }
            (2..=4, _) => made.widened_key |= alter(chance, &mut txn, table, step),
            (5, _) => txn.truncate(table).unwrap(),
            (6..=7, true) if is_as_it_was(&txn, database, table) => {
                if let Some(keys) = keys_there(chance, database, table) {
                    txn.delete(table, &keys).unwrap();
                }
            }
            (_, true) => txn.upsert(table, &rows).unwrap(),
            (6..=9, false) if is_as_it_was(&txn, database, table) => {
                txn.replace(table, &[rows]).unwrap();
            }
            (_, false) => txn.insert(table, &rows).unwrap(),
        }
    }
    let committed = commit(txn);
    (!committed.unchanged).then_some(made)
}

fn upkeep(chance: &mut Chance, database: &Database) {
    match chance.below(6) {
        0 => drop(database.checkpoint().unwrap()),
        1 => {
            database.checkpoint().unwrap();
            database.compact(None, &Parameters::BY_HAND).unwrap();
        }
        _ => {}
    }
}

fn history(seed: u64, transaction_bytes: Option<u64>) {
    let (disk, clock) = (SimDisk::new(seed), Arc::new(TestClock::default()));
    let options = Options { clock: clock.clone(), transaction_bytes, ..options(&disk) };
    let database = Database::open_or_create(Path::new(DB), options).unwrap();
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for at in 0..24 {
        let before = database.latest().unwrap();
        let Some(made) = step(&mut chance, &database, at) else { continue };
        let last = database.latest().unwrap();
        upkeep(&mut chance, &database);
        if chance.below(3) == 0 && !made.widened_key {
            // Nobody came after it: it can be undone, and the undo too.
            let what = format!("seed {seed}, undo of {last}");
            let undone = undo(&database, last).unwrap_or_else(|conflicts| panic!("{what}: {conflicts:?}"));
            let now = database.latest().unwrap();
            assert_same(&database, now, before, &what);
            upkeep(&mut chance, &database);
            if !undone.unchanged {
                undo(&database, now).unwrap_or_else(|conflicts| panic!("{what}, undone: {conflicts:?}"));
                assert_same(&database, database.latest().unwrap(), last, &format!("{what}, undone"));
            }
        }
        if chance.below(3) == 0 {
            let now = database.latest().unwrap();
            let to = Version(chance.below(now.0 as usize + 1) as u64);
            let what = format!("seed {seed}, restore of {to} at {now}");
            let (_, committed) = restore(&database, to, &[]);
            let restored = database.latest().unwrap();
            assert_same(&database, restored, to, &what);
            let (told, again) = restore(&database, to, &[]);
            assert!(again.is_none(), "{what}, again: {told:?}");
            upkeep(&mut chance, &database);
            assert_same(&database, restored, to, &format!("{what}, after upkeep"));
            if committed.is_some() && chance.below(2) == 0 {
                let (_, back) = restore(&database, now, &[]);
                assert!(back.is_some());
                assert_same(&database, database.latest().unwrap(), now, &format!("{what}, and back"));
            }
        }
        for version in (0..=before.0).filter(|_| chance.below(8) == 0).map(Version) {
            // What a diff tells is what a restore does.
            let now = database.latest().unwrap();
            let mut tables = database.tables_between(version, now, None).unwrap();
            database.count_changes(version, now, &mut tables).unwrap();
            for table in tables {
                let feed = database.diff(version, now, &table.name, asof_engine::DiffKind::Feed).unwrap();
                feed.for_each(|batch| drop(batch.unwrap()));
                let net = table.counts.inserted as i64 - table.counts.deleted as i64;
                assert_eq!(
                    net,
                    table.rows_after() as i64 - table.rows_before() as i64,
                    "seed {seed}: {table:?}"
                );
            }
        }
    }
    database.checkpoint().unwrap();
    assert_eq!(database.verify().unwrap().findings, vec![], "seed {seed}");
}

#[test]
fn every_version_comes_back_as_it_was_and_every_last_commit_can_be_undone() {
    (1..=40).for_each(|seed| history(seed, None));
}

#[test]
fn so_it_does_where_transactions_hold_no_rows_in_memory() {
    (1001..=1010).for_each(|seed| history(seed, Some(0)));
}
