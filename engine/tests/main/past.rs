//! Questions about all of history (a row's history, who set its values, feeds, row versions with their lives), compared
//! with what every version by itself shows, over random changes of rows and schemas.

use crate::support::{Chance, DB, TestClock, keys, options};
use asof_engine::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use asof_engine::arrow::datatypes::{Int64Type, UInt64Type};
use asof_engine::{
    Alteration, Blamed, Column, ColumnType, CommitOptions, Comparison, Database, DiffKind, Filter, Options,
    PastQuestion, ScanOptions, TableSchema, Version, text,
};
use asof_wal::sim::SimDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const TABLE: &str = "stock";

/// A row: what its columns show, by the columns' ids.
type Row = BTreeMap<u32, Option<String>>;

/// The table at one version, as a scan shows it.
struct Shown {
    id: u32,
    schema: Arc<TableSchema>,
    rows: BTreeMap<i64, Row>,
}

fn row_of(schema: &TableSchema, batch: &RecordBatch, row: usize) -> Row {
    let cells = schema.columns.iter().zip(batch.columns());
    cells.map(|(column, array)| (column.id, text::format_cell(&column.column_type, array, row))).collect()
}

fn shown(database: &Database, version: u64) -> Option<Shown> {
    let snapshot = database.snapshot(Version(version)).expect("the version is readable");
    let info = snapshot.table(TABLE).ok()?;
    let mut rows = BTreeMap::new();
    for batch in snapshot.scan(TABLE, ScanOptions::default()).expect("the table can be scanned") {
        let batch = batch.expect("a batch can be read");
        let ids = batch.column_by_name("id").expect("the key is there").as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            rows.insert(ids.value(row), row_of(&info.schema, &batch, row));
        }
    }
    Some(Shown { id: info.id, schema: info.schema, rows })
}

struct World {
    database: Database,
    chance: Chance,
    columns_made: usize,
}

fn open(disk: &SimDisk) -> Database {
    let options = Options { clock: Arc::new(TestClock::default()), ..options(disk) };
    Database::open_or_create(Path::new(DB), options).expect("the database opens")
}

impl World {
    fn new(disk: &SimDisk, seed: u64) -> World {
        World { database: open(disk), chance: Chance(0x9E37_79B9_7F4A_7C15 ^ seed), columns_made: 0 }
    }

    /// A name that no column had.
    fn new_name(&mut self) -> String {
        self.columns_made += 1;
        format!("c{}", self.columns_made)
    }

    /// One commit: of rows, of the schema, or of both.
    fn commit(&mut self) {
        let latest = self.database.refresh().expect("the newest version is known").0;
        let mut there: BTreeSet<i64> =
            shown(&self.database, latest).iter().flat_map(|shown| shown.rows.keys().copied()).collect();
        let mut txn = self.database.begin().expect("a transaction begins");
        if !txn.has_table(TABLE) {
            let columns = vec![Column::new("id", ColumnType::Int64), Column::new("a", ColumnType::Int64)];
            txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
        } else if self.chance.below(25) == 0 {
            txn.drop_table(TABLE).expect("it is there");
            if self.chance.below(2) == 0 {
                txn.commit(CommitOptions::default()).expect("it commits");
                return;
            }
            there.clear();
            let columns = vec![Column::new("id", ColumnType::Int64), Column::new("a", ColumnType::Int64)];
            txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
        }
        let schema = txn.schema(TABLE).expect("it is there");
        let others: Vec<String> = schema.columns[1..].iter().map(|column| column.name.clone()).collect();
        match self.chance.below(12) {
            0 => {
                let name = self.new_name();
                let mut column = Column::new(&name, ColumnType::Int32);
                if self.chance.below(2) == 0 {
                    let value = self.chance.below(3).to_string();
                    column.default = Some(text::parse_scalar(&column.column_type, &value).expect("a number"));
                }
                txn.alter_table(TABLE, Alteration::AddColumn(column)).expect("a column is added");
            }
            1 if others.len() > 1 => {
                let name = others[self.chance.below(others.len())].clone();
                txn.alter_table(TABLE, Alteration::DropColumn(name)).expect("a column is dropped");
            }
            2 if !others.is_empty() => {
                let from = others[self.chance.below(others.len())].clone();
                let to = self.new_name();
                txn.alter_table(TABLE, Alteration::RenameColumn { from, to }).expect("a column is renamed");
            }
            3 => {
                let narrow = schema.columns.iter().find(|column| column.column_type == ColumnType::Int32);
                if let Some(narrow) = narrow {
                    let (name, to) = (narrow.name.clone(), ColumnType::Int64);
                    txn.alter_table(TABLE, Alteration::WidenColumn { name, to }).expect("it is widened");
                }
            }
            _ => {}
        }
        if self.chance.below(8) > 0 {
            let schema = txn.schema(TABLE).expect("it is there");
            let ids: BTreeSet<i64> =
                (0..1 + self.chance.below(6)).map(|_| self.chance.below(12) as i64).collect();
            let columns: Vec<(String, ArrayRef)> = schema
                .columns
                .iter()
                .map(|column| {
                    let cells: Vec<Option<String>> = ids
                        .iter()
                        .map(|id| match column.name == "id" {
                            true => Some(id.to_string()),
                            false => Some(self.chance.below(4)).filter(|n| *n > 0).map(|n| n.to_string()),
                        })
                        .collect();
                    let cells =
                        text::parse_column(&column.column_type, cells.iter().map(|cell| cell.as_deref()));
                    (column.name.clone(), cells.expect("numbers"))
                })
                .collect();
            let rows = RecordBatch::try_from_iter_with_nullable(
                columns.into_iter().map(|(name, cells)| (name, cells, true)),
            );
            txn.upsert(TABLE, &rows.expect("columns are of one length")).expect("rows are taken");
            let gone: Vec<i64> = (12..14)
                .map(|_| self.chance.below(12) as i64)
                .filter(|id| there.contains(id) && !ids.contains(id))
                .collect::<BTreeSet<i64>>()
                .into_iter()
                .collect();
            txn.delete(TABLE, &keys(&gone)).expect("keys are taken");
        }
        txn.commit(CommitOptions { allow_empty: true, ..CommitOptions::default() }).expect("it commits");
    }

    fn versions(&self) -> Vec<Option<Shown>> {
        let latest = self.database.refresh().expect("the newest version is known").0;
        (0..=latest).map(|version| shown(&self.database, version)).collect()
    }

    fn check(&mut self, when: &str) {
        let versions = self.versions();
        for id in 0..12 {
            self.check_history(&versions, id, when);
            for at in 1..versions.len() {
                if (at + id as usize).is_multiple_of(3) {
                    self.check_blame(&versions, id, at, when);
                }
            }
        }
        for _ in 0..8 {
            let to = 1 + self.chance.below(versions.len() - 1);
            let from = self.chance.below(to + 1);
            self.check_feed(&versions, from, to, when);
        }
        self.check_lives(&versions, when);
    }

    /// A row's versions are the stretches of versions that show it, and what they show.
    fn check_history(&self, versions: &[Option<Shown>], id: i64, when: &str) {
        let mut told = BTreeSet::new();
        if versions.iter().all(Option::is_none) {
            return;
        }
        for version in self.database.history(TABLE, &keys(&[id])).expect("a history") {
            let end = version.end.map_or(versions.len(), |end| end.0 as usize);
            assert!((version.begin.0 as usize) < end, "{version:?} {when}");
            for (at, there) in versions.iter().enumerate().take(end).skip(version.begin.0 as usize) {
                let there = there.as_ref().filter(|shown| shown.id == version.table);
                let row = there.and_then(|shown| shown.rows.get(&id));
                let row = row.unwrap_or_else(|| panic!("version {at} has no row {id}: {version:?} {when}"));
                assert!(told.insert(at), "version {at} of row {id} is told twice {when}");
                if at == version.begin.0 as usize {
                    assert_eq!(*row, row_of(&version.schema, &version.row, 0), "row {id} at {at} {when}");
                }
                if at + 1 == end {
                    assert_eq!(
                        *row,
                        row_of(&version.last_schema, &version.last_row, 0),
                        "row {id} at {at} {when}"
                    );
                }
            }
        }
        let expected = (0..versions.len())
            .filter(|at| versions[*at].as_ref().is_some_and(|shown| shown.rows.contains_key(&id)));
        assert_eq!(told, expected.collect(), "row {id} {when}");
    }

    /// What set a value is the first of the versions side by side that show it.
    fn check_blame(&self, versions: &[Option<Shown>], id: i64, at: usize, when: &str) {
        let Some(now) = &versions[at] else {
            assert!(self.database.blame(TABLE, &keys(&[id]), Version(at as u64)).is_err(), "{at} {when}");
            return;
        };
        let blamed =
            self.database.blame(TABLE, &keys(&[id]), Version(at as u64)).expect("somebody is to blame");
        let row_at = |version: usize| {
            let shown = versions[version].as_ref().filter(|shown| shown.id == now.id)?;
            shown.rows.get(&id)
        };
        let was_there =
            |version: usize| versions[version].as_ref().is_some_and(|shown| shown.rows.contains_key(&id));
        match (row_at(at), blamed) {
            (Some(row), Blamed::Row(blame)) => {
                assert_eq!(*row, row_of(&blame.schema, &blame.row, 0), "row {id} at {at} {when}");
                for (column, blamed) in blame.schema.columns.iter().zip(&blame.columns) {
                    let value = &row[&column.id];
                    let has_it =
                        |version: &usize| row_at(*version).and_then(|row| row.get(&column.id)) == Some(value);
                    let first = (0..=at).rev().take_while(has_it).last().expect("it has it at {at}");
                    let what = format!("{} of row {id} at {at} {when}", column.name);
                    assert_eq!(blamed.version.0 as usize, first, "{what}");
                    let had_row = row_at(first - 1).is_some();
                    let had_column = row_at(first - 1).is_some_and(|row| row.contains_key(&column.id));
                    assert!(!blamed.by_schema || (had_row && !had_column), "{what}");
                }
            }
            // Tables before of the name had the same key.
            (None, Blamed::Gone(version)) => {
                let last = (0..at).rev().find(|version| was_there(*version));
                assert_eq!(Some(version.0 as usize - 1), last, "row {id} at {at} {when}");
            }
            (None, Blamed::Never) => assert!(!(0..at).any(was_there)),
            (row, blamed) => panic!("row {id} at {at} is {row:?}, and {blamed:?} {when}"),
        }
    }

    /// Each version's lines take the rows before to the rows after, and have the columns of the one or of the other.
    fn check_feed(&self, versions: &[Option<Shown>], from: usize, to: usize, when: &str) {
        let concerned = versions[from..=to].iter().any(Option::is_some);
        let feed = self.database.diff(Version(from as u64), Version(to as u64), TABLE, DiffKind::Feed);
        if !concerned {
            assert!(feed.is_err(), "{from}..{to} {when}");
            return;
        }
        let mut rows: BTreeMap<i64, Row> =
            versions[from].as_ref().map_or_else(BTreeMap::new, |shown| shown.rows.clone());
        let mut done = from;
        let name_of = |table: u32, column: u32| {
            let of_table = versions[from..=to].iter().flatten().rev().filter(|shown| shown.id == table);
            let column = of_table.filter_map(|shown| shown.schema.column(column)).next();
            column.map(|column| column.name.clone())
        };
        for batch in feed.expect("a feed begins") {
            let batch = batch.expect("a batch is read");
            let schema = text::schema_of_arrow(&batch.schema()).expect("columns of a table");
            let ids = batch.column_by_name("id").expect("the key is there").as_primitive::<Int64Type>();
            for line in 0..batch.num_rows() {
                let version = batch.column(1).as_primitive::<UInt64Type>().value(line) as usize;
                assert!(version >= done && version <= to, "{version} after {done} {when}");
                while done < version {
                    let expected = versions[done].as_ref().map(|shown| &shown.rows);
                    assert_eq!(
                        rows.keys().collect::<Vec<_>>(),
                        expected.map_or_else(Vec::new, |rows| rows.keys().collect()),
                        "version {done} of {from}..{to} {when}"
                    );
                    done += 1;
                }
                let change = batch.column(0).as_string::<i32>().value(line);
                let is_before = matches!(change, "delete" | "update_preimage");
                let image_of = if is_before { version - 1 } else { version };
                let there = versions[image_of].as_ref().expect("the table was there");
                let id = ids.value(line);
                let what = format!("{change} of row {id} by version {version} in {from}..{to} {when}");
                let mut expected: BTreeMap<String, Option<String>> =
                    schema.columns[3..].iter().map(|column| (column.name.clone(), None)).collect();
                for (column, value) in &there.rows[&id] {
                    let name = name_of(there.id, *column).expect("the column is in the range");
                    let place = expected.get_mut(&name).unwrap_or_else(|| panic!("no column {name}: {what}"));
                    *place = value.clone();
                }
                let found: BTreeMap<String, Option<String>> = schema.columns[3..]
                    .iter()
                    .zip(&batch.columns()[3..])
                    .map(|(column, array)| {
                        (column.name.clone(), text::format_cell(&column.column_type, array, line))
                    })
                    .collect();
                assert_eq!(found, expected, "{what}");
                match change {
                    "delete" => drop(rows.remove(&id).expect("it was there")),
                    "insert" => assert!(rows.insert(id, Row::new()).is_none(), "{what}"),
                    _ => assert!(rows.contains_key(&id), "{what}"),
                }
            }
        }
        let expected = versions[to].as_ref().map_or_else(Vec::new, |shown| shown.rows.keys().collect());
        assert_eq!(rows.keys().collect::<Vec<_>>(), expected, "at the end of {from}..{to} {when}");
    }

    /// Rows that a comparison of a column holds for, counted by their lives and version by version.
    fn check_lives(&self, versions: &[Option<Shown>], when: &str) {
        let snapshot =
            self.database.snapshot(self.database.latest().expect("a version")).expect("it is readable");
        let ids: BTreeSet<u32> =
            versions.iter().flatten().flat_map(|shown| &shown.schema.columns).map(|c| c.id).collect();
        for column in ids {
            for bound in [0, 2] {
                let mut counts = vec![0u64; versions.len()];
                for table in snapshot.past_tables(Some(TABLE)) {
                    for (range, schema) in table.schemas() {
                        let Some(known) = schema.column(column) else { continue };
                        let value =
                            text::parse_scalar(&known.column_type, &bound.to_string()).expect("a number");
                        let (column, comparison) = (known.name.clone(), Comparison::Greater);
                        let filter = Some(Filter::Compare { column, comparison, value });
                        let ordered = bound == 2;
                        let question = PastQuestion { range, columns: vec![known.clone()], filter, ordered };
                        for found in snapshot.past_rows(&table, question).expect("rows of the past") {
                            for range in found.expect("they can be read").ranges {
                                (range.first.0..=range.last.0).for_each(|at| counts[at as usize] += 1);
                            }
                        }
                    }
                }
                let number = |row: &Row| row.get(&column).and_then(|cell| cell.as_ref()?.parse::<i64>().ok());
                let expected = versions.iter().map(|shown| {
                    let rows = shown.iter().flat_map(|shown| shown.rows.values());
                    rows.filter(|row| number(row).is_some_and(|value| value > bound)).count() as u64
                });
                assert_eq!(counts, expected.collect::<Vec<_>>(), "column {column} > {bound} {when}");
            }
        }
    }
}

#[test]
fn what_is_told_of_all_of_history_is_what_every_version_shows() {
    for seed in 1..=6 {
        let disk = SimDisk::new(seed);
        let mut world = World::new(&disk, seed);
        for round in 0..4 {
            (0..6 + world.chance.below(8)).for_each(|_| world.commit());
            if world.chance.below(3) > 0 {
                world.database.checkpoint().expect("a checkpoint");
            }
            if world.chance.below(2) == 0 {
                world.database.compact(None, &crate::compaction::tiny(true)).expect("compaction");
            }
            if world.chance.below(2) == 0 {
                world.database = open(&disk);
            }
            world.check(&format!("in round {round} of seed {seed}"));
        }
    }
}

#[test]
fn an_added_columns_default_is_blamed_on_who_added_it() {
    let disk = SimDisk::new(1);
    let database = open(&disk);
    let commit = |change: &dyn Fn(&mut asof_engine::Transaction)| {
        let mut txn = database.begin().expect("a transaction begins");
        change(&mut txn);
        txn.commit(CommitOptions::default()).expect("it commits");
    };
    let row = |names: &[&str], values: &[i64]| {
        let columns = names.iter().zip(values);
        let columns =
            columns.map(|(name, value)| (*name, Arc::new(Int64Array::from(vec![*value])) as ArrayRef));
        RecordBatch::try_from_iter(columns).expect("columns are of one length")
    };
    commit(&|txn| {
        let columns = ["id", "a"].map(|name| Column::new(name, ColumnType::Int64)).to_vec();
        txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
        txn.insert(TABLE, &row(&["id", "a"], &[1, 5])).expect("a row is taken");
    });
    commit(&|txn| {
        let mut column = Column::new("b", ColumnType::Int64);
        column.default = Some(Arc::new(Int64Array::from(vec![7])));
        txn.alter_table(TABLE, Alteration::AddColumn(column)).expect("a column is added");
    });
    commit(&|txn| txn.upsert(TABLE, &row(&["id", "a", "b"], &[1, 6, 7])).expect("a row is taken"));
    commit(&|txn| {
        let renaming = Alteration::RenameColumn { from: "a".to_string(), to: "amount".to_string() };
        txn.alter_table(TABLE, renaming).expect("a column is renamed");
    });
    let blame = |at: u64| match database.blame(TABLE, &keys(&[1]), Version(at)).expect("it can be told") {
        Blamed::Row(blame) => {
            let columns = blame.schema.columns.iter().zip(&blame.columns);
            columns.map(|(column, by)| (column.name.clone(), by.version.0, by.by_schema)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let expected = |columns: &[(&str, u64, bool)]| {
        columns
            .iter()
            .map(|(name, version, schema)| (name.to_string(), *version, *schema))
            .collect::<Vec<_>>()
    };
    assert_eq!(blame(2), expected(&[("id", 1, false), ("a", 1, false), ("b", 2, true)]));
    assert_eq!(blame(3), expected(&[("id", 1, false), ("a", 3, false), ("b", 2, true)]));
    assert_eq!(blame(4), expected(&[("id", 1, false), ("amount", 3, false), ("b", 2, true)]));
}
