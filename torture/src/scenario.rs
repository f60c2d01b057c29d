//! Steps from a seed, against what the model holds: commits of all kinds on three tables, tags, checkpoints, retention,
//! snapshots that are held, reopens, by several processes in turns.
//!
//! Invariant: the same seed, shape and answers make the same steps.

use crate::chance::Chance;
use crate::model::{Model, Table, Tables, changed};
use crate::step::{Action, Change, ColumnOf, Columns, Kind, Row, Step, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What scenarios are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Processes that take turns.
    pub processes: usize,
    /// Different keys in a table with a key of one column.
    pub keys: u64,
    /// Most rows in one change.
    pub rows: u64,
    /// Whether schemas change, and tables are dropped.
    pub schemas: bool,
    /// One step in so many is a checkpoint, or compaction, or lets versions go; 0 for none.
    pub checkpoint_in: u64,
    /// One step in so many opens the process's database anew; 0 for never.
    pub reopen_in: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { processes: 2, keys: 12, rows: 5, schemas: true, checkpoint_in: 8, reopen_in: 12 }
    }
}

/// Names of the tables.
pub const TABLES: [&str; 3] = ["eu.parts", "events", "orders"];

/// Columns that a table begins with.
pub fn first_columns(table: &str) -> Columns {
    let column = |name: &str, kind| ColumnOf { name: name.to_string(), kind };
    let key = match table {
        "orders" => vec![column("id", Kind::Int64)],
        "eu.parts" => vec![column("area", Kind::Text), column("no", Kind::Int64)],
        _ => Vec::new(),
    };
    Columns { key, rest: vec![column("a", Kind::Text), column("n", Kind::Int32)] }
}

/// What a transaction did to a table before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing.
    First,
    /// Nothing to its rows.
    RowsUntouched,
    /// Something to its rows.
    Later,
}

/// Whether a change is one of the table's schema alone.
fn changes_no_rows(change: &Change) -> bool {
    matches!(
        change,
        Change::Create(_)
            | Change::AddColumn(..)
            | Change::DropColumn(_)
            | Change::RenameColumn(..)
            | Change::WidenColumn(_)
    )
}

/// Makes steps.
#[derive(Clone, Debug)]
pub struct Scenario {
    chance: Chance,
    shape: Shape,
    serial: u64,
}

impl Scenario {
    /// From a seed.
    pub fn new(seed: u64, shape: Shape) -> Scenario {
        Scenario { chance: Chance::new(seed), shape, serial: 0 }
    }

    /// The same with other numbers in names and ids, to go on where another scenario was.
    pub fn numbered_from(self, serial: u64) -> Scenario {
        Scenario { serial, ..self }
    }

    /// The next step, given everything acknowledged so far.
    pub fn step(&mut self, model: &Model) -> Step {
        let process = self.chance.below(self.shape.processes as u64) as usize;
        Step { process, action: self.action(model) }
    }

    fn action(&mut self, model: &Model) -> Action {
        let one_in = |chance: &mut Chance, count| count > 0 && chance.one_in(count);
        if one_in(&mut self.chance, self.shape.checkpoint_in) {
            // What has no dead rows yet has nothing to compact: checkpoints are more.
            return match self.chance.below(6) {
                0 => Action::Compact { by_hand: false },
                1 => Action::Compact { by_hand: true },
                2 => self.retain(model),
                _ => Action::Checkpoint,
            };
        }
        if one_in(&mut self.chance, self.shape.reopen_in) {
            return Action::Reopen;
        }
        match self.chance.below(28) {
            0 => {
                let name = format!("tag-{}", self.chance.below(3));
                Action::Tag { name, version: self.chance.below(model.versions.len() as u64) }
            }
            1 => {
                let names: Vec<&String> = model.tags.keys().collect();
                match self.chance.pick(&names) {
                    Some(name) => Action::Untag { name: name.to_string() },
                    None => Action::Checkpoint,
                }
            }
            2 => Action::Read { version: self.chance.below(model.versions.len() as u64) },
            3 => Action::Hold { version: self.chance.below(model.versions.len() as u64) },
            4 => self.race(model.tables()).unwrap_or(Action::Reopen),
            5 | 6 => self.refused(model.tables()).unwrap_or(Action::Reopen),
            7 => {
                let ids: Vec<&String> = model.ids.keys().collect();
                match self.chance.pick(&ids) {
                    Some(id) => Action::Repeat { id: id.to_string() },
                    None => self.commit(model.tables()),
                }
            }
            8 | 9 => self.beside(model.tables()).unwrap_or(Action::Checkpoint),
            _ => self.commit(model.tables()),
        }
    }

    /// Lets versions go: of all tables, more often than of one.
    fn retain(&mut self, model: &Model) -> Action {
        let names: Vec<&String> = model.tables().keys().collect();
        let one = if self.chance.one_in(3) { self.chance.pick(&names) } else { None };
        Action::Retain { table: one.map(|name| name.to_string()), last: self.chance.below(8) }
    }

    /// A load, or any transaction, beside which a checkpoint is made.
    fn beside(&mut self, tables: &Tables) -> Option<Action> {
        let names: Vec<&String> = tables.keys().collect();
        let load = match self.chance.pick(&names) {
            Some(name) if self.chance.one_in(2) => {
                self.load(name, &tables[*name]).map(|load| vec![(name.to_string(), load)])
            }
            _ => None,
        };
        let changes = load.or_else(|| match self.commit(tables) {
            Action::Commit { changes, .. } => Some(changes),
            _ => None,
        });
        Some(Action::Beside { changes: changes? })
    }

    /// A transaction of random changes.
    pub fn commit(&mut self, tables: &Tables) -> Action {
        let mut tables = tables.clone();
        let mut changes: Vec<(String, Change)> = Vec::new();
        for _ in 0..1 + self.chance.below(3) {
            let name = TABLES[self.chance.below(3) as usize].to_string();
            let before = || changes.iter().filter(|(other, _)| *other == name).map(|(_, change)| change);
            let place = match () {
                // A load is all that is done to the rows of a table.
                () if before().any(|change| matches!(change, Change::Load(..))) => continue,
                () if before().next().is_none() => Place::First,
                () if before().all(changes_no_rows) => Place::RowsUntouched,
                () => Place::Later,
            };
            let Some(change) = self.change(&name, tables.get(&name).map(|table| &**table), place) else {
                continue;
            };
            let change = vec![(name, change)];
            tables = changed(&tables, &change, 0);
            changes.extend(change);
        }
        let allow_empty = self.chance.one_in(10);
        let id = self.chance.one_in(4).then(|| format!("id-{}", self.number()));
        Action::Commit { changes, allow_empty, id }
    }

    /// A change of one table that is possible now.
    fn change(&mut self, name: &str, table: Option<&Table>, place: Place) -> Option<Change> {
        let Some(table) = table else { return Some(Change::Create(first_columns(name))) };
        let columns = table.columns.clone();
        let rest = &columns.rest;
        // A replacement must be the first change of its table, and a drop ends what went before.
        let first = place == Place::First;
        Some(match self.chance.below(22) {
            0..=5 => {
                let rows = self.rows(name, table);
                if table.has_key() { Change::Upsert(columns, rows) } else { Change::Insert(columns, rows) }
            }
            6 if table.has_key() => {
                let mut rows = self.rows(name, table);
                rows.retain(|(key, _)| !table.keyed.contains_key(key));
                Change::Insert(columns, rows)
            }
            7..=9 if table.has_key() => {
                let given: Vec<ColumnOf> = rest.last().cloned().into_iter().collect();
                let keys = self.some_keys(table, 3);
                let rows = keys.into_iter().map(|key| (key, self.cells(&given))).collect();
                Change::Update(Columns { key: columns.key, rest: given }, rows)
            }
            10..=12 if table.has_key() => {
                let rows = self.some_keys(table, 3).into_iter().map(|key| (key, Vec::new())).collect();
                Change::Delete(Columns { key: columns.key, rest: Vec::new() }, rows)
            }
            13 if self.chance.one_in(2) => Change::Truncate,
            14 | 15 if first => {
                let mut rows: Vec<Row> =
                    table.rows().map(|(key, cells)| (key.to_vec(), cells.to_vec())).collect();
                rows.retain(|_| !self.chance.one_in(5));
                let fresh = self.rows(name, table);
                let given = |key: &Vec<Value>| fresh.iter().any(|(other, _)| other == key);
                rows.retain(|(key, _)| !table.has_key() || !given(key));
                rows.extend(fresh);
                Change::Replace(columns, rows)
            }
            16 if self.shape.schemas && rest.len() < 5 => {
                let kind = [Kind::Text, Kind::Int32][self.chance.below(2) as usize];
                let name = format!("c{}", self.number());
                let column = ColumnOf { name, kind };
                let default = if self.chance.one_in(2) { self.cell(kind) } else { Value::Null };
                Change::AddColumn(column, default)
            }
            17 if self.shape.schemas && rest.len() > 1 => {
                Change::DropColumn(self.chance.pick(rest)?.name.clone())
            }
            18 if self.shape.schemas => {
                let narrow: Vec<&ColumnOf> =
                    rest.iter().filter(|column| column.kind == Kind::Int32).collect();
                match self.chance.pick(&narrow) {
                    Some(column) if self.chance.one_in(2) => Change::WidenColumn(column.name.clone()),
                    _ => {
                        let to = format!("r{}", self.number());
                        Change::RenameColumn(self.chance.pick(rest)?.name.clone(), to)
                    }
                }
            }
            19 if self.shape.schemas && first && self.chance.one_in(3) => Change::Drop,
            20 | 21 if place != Place::Later => self.load(name, table)?,
            _ => return None,
        })
    }

    /// A load of rows that are not there, in and out of order, in several batches.
    fn load(&mut self, name: &str, table: &Table) -> Option<Change> {
        let mut rows = self.rows(name, table);
        rows.extend(self.rows(name, table));
        if table.has_key() {
            let mut given = BTreeSet::new();
            rows.retain(|(key, _)| !table.keyed.contains_key(key) && given.insert(key.clone()));
            if self.chance.one_in(2) {
                rows.sort();
            }
        }
        let mut batches: Vec<Vec<Row>> = Vec::new();
        for row in rows {
            match batches.last_mut() {
                Some(batch) if !self.chance.one_in(3) => batch.push(row),
                _ => batches.push(vec![row]),
            }
        }
        (!batches.is_empty()).then(|| Change::Load(table.columns.clone(), batches))
    }

    /// Two transactions that write the same row.
    fn race(&mut self, tables: &Tables) -> Option<Action> {
        let names: Vec<&String> =
            tables.iter().filter(|(_, table)| table.has_key()).map(|(name, _)| name).collect();
        let name = self.chance.pick(&names)?.to_string();
        let columns = tables[&name].columns.clone();
        let key = self.key(&name);
        // A row that is not there may be loaded, by the one, the other, or both.
        let missing = !tables[&name].keyed.contains_key(&key);
        let mut change = || {
            let rows = vec![(key.clone(), self.cells(&columns.rest))];
            let change = match missing && self.chance.one_in(2) {
                true => Change::Load(columns.clone(), vec![rows]),
                false => Change::Upsert(columns.clone(), rows),
            };
            vec![(name.clone(), change)]
        };
        Some(Action::Race { first: change(), second: change() })
    }

    /// A transaction that cannot be: a key inserted that is there, or one deleted that is not.
    fn refused(&mut self, tables: &Tables) -> Option<Action> {
        let names: Vec<&String> =
            tables.iter().filter(|(_, table)| table.has_key()).map(|(name, _)| name).collect();
        let name = self.chance.pick(&names)?.to_string();
        let columns = tables[&name].columns.clone();
        let (key, cells) = (self.key(&name), self.cells(&columns.rest));
        let change = match tables[&name].keyed.contains_key(&key) {
            true if self.chance.one_in(2) => Change::Insert(columns, vec![(key, cells)]),
            // A row that could be loaded comes first, so that files are begun.
            true => {
                let before: Option<Row> = self.missing(&name, &tables[&name]).map(|key| (key, cells.clone()));
                Change::Load(columns, before.into_iter().chain([(key, cells)]).map(|row| vec![row]).collect())
            }
            false => Change::Delete(Columns { key: columns.key, rest: Vec::new() }, vec![(key, Vec::new())]),
        };
        // What goes before it in the same transaction must not stay either.
        let other = ("never".to_string(), Change::Create(first_columns("never")));
        let mut changes = vec![other];
        changes.push((name, change));
        Some(Action::Refused { changes })
    }

    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn cell(&mut self, kind: Kind) -> Value {
        let number = self.number();
        match (kind, self.chance.below(8)) {
            (_, 0) => Value::Null,
            (Kind::Text, 1) => Value::Text(String::new()),
            (Kind::Text, 2) => Value::Text("NULL".to_string()),
            (Kind::Text, 3) => Value::Text(format!("a,\"{number}\"\n")),
            (Kind::Text, _) => Value::Text(format!("text {number}")),
            (_, 1) => Value::Number(i32::MIN.into()),
            (_, _) => Value::Number((number % 1_000_000_000) as i64),
        }
    }

    /// Cells of these columns.
    pub(crate) fn cells(&mut self, columns: &[ColumnOf]) -> Vec<Value> {
        columns.iter().map(|column| self.cell(column.kind)).collect()
    }

    fn key(&mut self, name: &str) -> Vec<Value> {
        let number = self.chance.below(self.shape.keys) as i64 - self.shape.keys as i64 / 3;
        match name {
            "orders" => vec![Value::Number(number)],
            "eu.parts" => {
                let area = ["", "a", "a\0b", "ä"][self.chance.below(4) as usize];
                vec![
                    Value::Text(area.to_string()),
                    Value::Number(number % (self.shape.keys as i64 / 4).max(1)),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn rows(&mut self, name: &str, table: &Table) -> Vec<Row> {
        let count = 1 + self.chance.below(self.shape.rows);
        let mut keyed: BTreeMap<Vec<Value>, Vec<Value>> = BTreeMap::new();
        let mut unkeyed = Vec::new();
        for _ in 0..count {
            let (key, cells) = (self.key(name), self.cells(&table.columns.rest));
            match table.has_key() {
                true => drop(keyed.insert(key, cells)),
                false => unkeyed.push((key, cells)),
            }
        }
        unkeyed.extend(keyed);
        unkeyed
    }

    /// A key that is not there, if one is found.
    fn missing(&mut self, name: &str, table: &Table) -> Option<Vec<Value>> {
        (0..4).map(|_| self.key(name)).find(|key| !table.keyed.contains_key(key))
    }

    fn some_keys(&mut self, table: &Table, one_in: u64) -> Vec<Vec<Value>> {
        table.keyed.keys().filter(|_| self.chance.one_in(one_in)).cloned().collect()
    }
}
