//! The oracle: every version as a plain map, and which answers of the engine agree with it.
//!
//! It knows nothing of the engine: tables are ordered maps of values, and their texts and digests are its own.

use crate::gone::Gone;
use crate::perform::Done;
use crate::step::{Action, Change, ColumnOf, Columns, Kind, Row, Value};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// A table at some version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Its columns.
    pub columns: Columns,
    /// Rows of a table with a key.
    pub keyed: BTreeMap<Vec<Value>, Vec<Value>>,
    /// Rows of a table without one, in order of insertion.
    pub unkeyed: Vec<Vec<Value>>,
    /// Which incarnation of the name this is: a table that was dropped and made again is another one.
    pub made_at: u64,
}

/// All tables at some version.
pub type Tables = BTreeMap<String, Arc<Table>>;

/// A version.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its tables.
    pub tables: Tables,
    /// The text of each table; equal texts are equal schemas and rows.
    pub texts: BTreeMap<String, Arc<str>>,
    /// Its commit time in microseconds; 0 where it was not told.
    pub time: i64,
}

/// Everything that was acknowledged.
#[derive(Clone, Debug)]
pub struct Model {
    /// Every version from 0 on.
    pub versions: Vec<Version>,
    /// Names of versions.
    pub tags: BTreeMap<String, u64>,
    /// Versions by idempotency id.
    pub ids: BTreeMap<String, u64>,
    /// Versions that retention has let go.
    pub gone: Gone,
}

impl Default for Model {
    fn default() -> Model {
        let empty = Version { tables: Tables::new(), texts: BTreeMap::new(), time: 0 };
        Model { versions: vec![empty], tags: BTreeMap::new(), ids: BTreeMap::new(), gone: Gone::new() }
    }
}

impl Table {
    /// Rows in the table's order.
    pub fn rows(&self) -> impl Iterator<Item = (&[Value], &[Value])> {
        let keyed = self.keyed.iter().map(|(key, cells)| (key.as_slice(), cells.as_slice()));
        keyed.chain(self.unkeyed.iter().map(|cells| (&[] as &[Value], cells.as_slice())))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.keyed.len() + self.unkeyed.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has a key.
    pub fn has_key(&self) -> bool {
        !self.columns.key.is_empty()
    }

    /// Schema and rows as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        header(&self.columns, &mut out);
        self.rows().for_each(|(key, cells)| line(key.iter().chain(cells), &mut out));
        out
    }

    fn all_cells(&mut self) -> impl Iterator<Item = &mut Vec<Value>> {
        self.keyed.values_mut().chain(&mut self.unkeyed)
    }

    fn put(&mut self, rows: &[Row]) {
        for (key, cells) in rows {
            match self.has_key() {
                true => drop(self.keyed.insert(key.clone(), cells.clone())),
                false => self.unkeyed.push(cells.clone()),
            }
        }
    }

    fn column(&self, name: &str) -> usize {
        let found = self.columns.rest.iter().position(|column| column.name == name);
        found.expect("scenarios change columns that are there")
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(_) | Change::Drop => unreachable!("these are changes of the catalog"),
            Change::Insert(_, rows) | Change::Upsert(_, rows) => self.put(rows),
            Change::Load(_, batches) => batches.iter().for_each(|rows| self.put(rows)),
            Change::Update(columns, rows) => {
                let places: Vec<usize> = columns.rest.iter().map(|given| self.column(&given.name)).collect();
                for (key, cells) in rows {
                    let row = self.keyed.get_mut(key).expect("scenarios update rows that are there");
                    places.iter().zip(cells).for_each(|(place, cell)| row[*place] = cell.clone());
                }
            }
            Change::Delete(_, rows) => rows.iter().for_each(|(key, _)| drop(self.keyed.remove(key))),
            Change::Truncate => {
                self.keyed.clear();
                self.unkeyed.clear();
            }
            Change::Replace(_, rows) if self.has_key() => {
                self.keyed.clear();
                self.put(rows);
            }
            Change::Replace(_, rows) => {
                // What stays keeps its place; what is new comes behind it.
                let mut left: Vec<Vec<Value>> = rows.iter().map(|(_, cells)| cells.clone()).collect();
                self.unkeyed.retain(|cells| match left.iter().position(|other| other == cells) {
                    Some(index) => {
                        left.remove(index);
                        true
                    }
                    None => false,
                });
                self.unkeyed.extend(left);
            }
            Change::AddColumn(column, default) => {
                self.columns.rest.push(column.clone());
                self.all_cells().for_each(|cells| cells.push(default.clone()));
            }
            Change::DropColumn(name) => {
                let index = self.column(name);
                self.columns.rest.remove(index);
                self.all_cells().for_each(|cells| drop(cells.remove(index)));
            }
            Change::RenameColumn(from, to) => {
                let index = self.column(from);
                self.columns.rest[index].name = to.clone();
            }
            Change::WidenColumn(name) => {
                let index = self.column(name);
                self.columns.rest[index].kind = Kind::Int64;
            }
        }
    }
}

/// The first line of a table's text.
pub fn header(columns: &Columns, out: &mut String) {
    let mut name = |column: &ColumnOf, key: &str| write!(out, "{:?} {:?}{key}|", column.name, column.kind);
    let key = columns.key.iter().try_for_each(|column| name(column, " key"));
    let rest = columns.rest.iter().try_for_each(|column| name(column, ""));
    key.and(rest).expect("a text takes all that is written");
    out.push('\n');
}

/// A row in a table's text.
pub fn line<'a>(cells: impl Iterator<Item = &'a Value>, out: &mut String) {
    for cell in cells {
        let written = match cell {
            Value::Null => write!(out, "-|"),
            Value::Number(number) => write!(out, "{number}|"),
            Value::Text(text) => write!(out, "{text:?}|"),
        };
        written.expect("a text takes all that is written");
    }
    out.push('\n');
}

/// The tables after some changes, as version `version`.
pub fn changed(tables: &Tables, changes: &[(String, Change)], version: u64) -> Tables {
    let mut tables = tables.clone();
    for (name, change) in changes {
        match change {
            Change::Create(columns) => {
                let columns = columns.clone();
                tables
                    .insert(name.clone(), Arc::new(Table { columns, made_at: version, ..Table::default() }));
            }
            Change::Drop => drop(tables.remove(name)),
            change => {
                let table = tables.get_mut(name).expect("scenarios change tables that are there");
                Arc::make_mut(table).apply(change);
            }
        }
    }
    tables
}

impl Version {
    /// A digest of all tables (FNV-1a): two versions with the same digest have the same tables.
    pub fn digest(&self) -> u64 {
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        let mut add = |text: &str| {
            for byte in text.bytes().chain([0xFF]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
            }
        };
        for (name, text) in &self.texts {
            add(name);
            add(text);
        }
        hash
    }
}

impl Model {
    /// The number of the newest version.
    pub fn newest(&self) -> u64 {
        self.versions.len() as u64 - 1
    }

    /// Tables at the newest version.
    pub fn tables(&self) -> &Tables {
        &self.versions.last().expect("version 0 is always there").tables
    }

    /// Adds a version.
    pub fn push(&mut self, tables: Tables, time: i64) {
        let before = self.versions.last().expect("version 0 is always there");
        let text = |(name, table): (&String, &Arc<Table>)| {
            let known = before.tables.get(name).filter(|old| Arc::ptr_eq(old, table));
            let text = known.map_or_else(|| table.text().into(), |_| before.texts[name].clone());
            (name.clone(), text)
        };
        let texts = tables.iter().map(text).collect();
        self.versions.push(Version { tables, texts, time });
    }

    /// What the newest version will be if the action is done; none where it makes no version.
    pub fn outcome(&self, action: &Action) -> Option<Tables> {
        match action {
            Action::Commit { changes, .. }
            | Action::Beside { changes }
            | Action::Race { first: changes, .. } => Some(changed(self.tables(), changes, self.newest() + 1)),
            _ => None,
        }
    }

    /// Takes note of what an action answered, or says why that cannot be.
    pub fn accept(&mut self, action: &Action, done: &Done) -> Result<(), String> {
        let expect = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        match (action, done) {
            (
                Action::Commit { .. } | Action::Beside { .. } | Action::Race { .. },
                Done::Committed { version, time },
            ) => {
                let newest = self.newest();
                expect(*version == newest + 1, format!("version {version} follows version {newest}"))?;
                let before = self.versions.last().map_or(0, |version| version.time);
                expect(*time > before, format!("version {version} has time {time}, after {before}"))?;
                let tables = self.outcome(action).expect("commits have an outcome");
                self.push(tables, *time);
                if let Action::Commit { id: Some(id), .. } = action {
                    self.ids.insert(id.clone(), *version);
                }
                Ok(())
            }
            (Action::Commit { .. } | Action::Beside { .. }, Done::Unchanged) => {
                let asked_for = matches!(action, Action::Commit { allow_empty: true, .. });
                expect(!asked_for, "no version was made where one was asked for".to_string())?;
                let tables = self.outcome(action).expect("commits have an outcome");
                let same = tables.len() == self.tables().len()
                    && tables.iter().zip(self.tables()).all(|((name, table), (other, before))| {
                        name == other && table.made_at == before.made_at && table.text() == before.text()
                    });
                expect(same, "a commit that changes something made no version".to_string())
            }
            (Action::Repeat { id }, Done::Repeated { version }) => {
                let first = self.ids.get(id).copied();
                expect(first == Some(*version), format!("id {id} made version {first:?}, not {version}"))
            }
            (Action::Tag { version, .. }, Done::NothingLeft) => expect(
                !self.is_listed(*version),
                format!("version {version} is readable, and was not tagged"),
            ),
            (Action::Tag { name, version }, Done::Nothing) => {
                expect(self.is_listed(*version), format!("version {version} is gone, and was tagged"))?;
                self.tags.insert(name.clone(), *version);
                Ok(())
            }
            (Action::Untag { name }, Done::Nothing) => {
                self.tags.remove(name);
                Ok(())
            }
            (
                Action::Refused { .. }
                | Action::Checkpoint
                | Action::Compact { .. }
                | Action::Hold { .. }
                | Action::Reopen,
                Done::Nothing,
            ) => Ok(()),
            (Action::Retain { table, last }, Done::Retained { gone }) => {
                self.may_let_go(table.as_deref(), *last, gone)?;
                self.gone.clone_from(gone);
                Ok(())
            }
            (Action::Read { version }, Done::Read { texts }) => {
                let expected = self.readable(*version);
                let same = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
                let same = same.eq(expected.iter().map(|(name, text)| (name.as_str(), &**text)));
                expect(same, format!("version {version} reads {texts:?}, not {expected:?}"))
            }
            (action, done) => Err(format!("{action:?} answered {done:?}")),
        }
    }
}
