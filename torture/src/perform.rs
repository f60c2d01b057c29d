//! Does one action on a database, and reads what it holds, through the public interface alone.

use crate::gone::Gone;
use crate::model::{header, line};
use crate::scenario::TABLES;
use crate::step::{Action, Change, ColumnOf, Columns, Kind, Row, Value};
use asof_engine::arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use asof_engine::arrow::datatypes::{DataType, Int32Type, Int64Type};
use asof_engine::compact::Parameters;
use asof_engine::retention::{Policy, RetentionRequest};
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, CommitTime, Database, Error, ErrorKind, Result,
    ScanOptions, Snapshot, Tag, Transaction, Version,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an action answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Done {
    /// A version was made.
    Committed {
        /// Its number.
        version: u64,
        /// Its time in microseconds.
        time: i64,
    },
    /// No version was made, for nothing changed.
    Unchanged,
    /// The id was known.
    Repeated {
        /// The version it made.
        version: u64,
    },
    /// The texts of all tables of a version that are not gone.
    Read {
        /// By name.
        texts: BTreeMap<String, String>,
    },
    /// Versions were let go.
    Retained {
        /// All that are gone now.
        gone: Gone,
    },
    /// Retention has let all of it go.
    NothingLeft,
    /// Success, without more to say.
    Nothing,
}

/// Does an action. `other` is a second process's handle, for races; where there is none the same process races itself.
/// [`Action::Reopen`] does nothing here: handles are the caller's.
pub fn perform(database: &Database, other: Option<&Database>, action: &Action) -> Result<Done> {
    match action {
        Action::Commit { changes, allow_empty, id } => {
            let mut txn = database.begin()?;
            stage(&mut txn, changes)?;
            let options = CommitOptions { allow_empty: *allow_empty, ..with_id(id.as_deref()) };
            let committed = txn.commit(options)?;
            if committed.unchanged {
                return Ok(Done::Unchanged);
            }
            Ok(Done::Committed { version: committed.version.0, time: committed.time.0 })
        }
        Action::Refused { changes } => {
            let mut txn = database.begin()?;
            let refused = stage(&mut txn, changes).and_then(|()| txn.commit(CommitOptions::default()));
            match refused {
                Ok(committed) => Err(wrong(format!("version {} should be refused", committed.version))),
                Err(error) if [ErrorKind::Exists, ErrorKind::NotFound].contains(&error.kind()) => {
                    Ok(Done::Nothing)
                }
                Err(error) => Err(error),
            }
        }
        Action::Race { first, second } => {
            let mut slower = database.begin()?;
            stage(&mut slower, second)?;
            let mut faster = other.unwrap_or(database).begin()?;
            stage(&mut faster, first)?;
            let committed = faster.commit(CommitOptions::default())?;
            // Whatever else may stop it: the first of them is acknowledged.
            if let Ok(lost) = slower.commit(CommitOptions::default()) {
                return Err(wrong(format!("version {} lost version {}", lost.version, committed.version)));
            }
            if committed.unchanged {
                return Ok(Done::Unchanged);
            }
            Ok(Done::Committed { version: committed.version.0, time: committed.time.0 })
        }
        Action::Beside { changes } => {
            let mut txn = database.begin()?;
            stage(&mut txn, changes)?;
            other.unwrap_or(database).checkpoint()?;
            let committed = txn.commit(CommitOptions::default())?;
            if committed.unchanged {
                return Ok(Done::Unchanged);
            }
            Ok(Done::Committed { version: committed.version.0, time: committed.time.0 })
        }
        Action::Repeat { id } => {
            let committed = database.begin()?.commit(with_id(Some(id)))?;
            match committed.repeated {
                true => Ok(Done::Repeated { version: committed.version.0 }),
                false => Ok(Done::Unchanged),
            }
        }
        Action::Tag { name, version } => {
            let (name, version, created) = (name.clone(), Version(*version), CommitTime(0));
            match database.tag(Tag { name, version, message: None, created, expires: None }, true) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Done::NothingLeft),
                tagged => tagged.map(|()| Done::Nothing),
            }
        }
        Action::Untag { name } => database.remove_tag(name).map(|()| Done::Nothing),
        Action::Checkpoint => database.checkpoint().map(|_| Done::Nothing),
        Action::Compact { by_hand } => {
            let parameters = if *by_hand { &EAGER } else { &Parameters::AUTOMATIC };
            database.compact(None, parameters).map(|_| Done::Nothing)
        }
        Action::Retain { table, last } => {
            let policy = Policy { last: (*last > 0).then_some(*last), ..Policy::default() };
            let (table, policy) = (table.clone(), Some(policy));
            database.retain(&RetentionRequest { table, policy, ..Default::default() }, &mut |_| true)?;
            Ok(Done::Retained { gone: gone(database)? })
        }
        Action::Reopen => Ok(Done::Nothing),
        Action::Read { version } | Action::Hold { version } => {
            database.refresh()?;
            let snapshot = database.snapshot(Version(*version))?;
            match action {
                Action::Hold { .. } => Ok(Done::Nothing),
                _ => Ok(Done::Read { texts: texts(&snapshot)? }),
            }
        }
    }
}

/// Compaction as of large tables, of tables of a few rows.
pub const EAGER: Parameters = Parameters {
    dead_share: 0.1,
    dead_rows_min: 1,
    cell_rows: 4,
    cell_share: 0.1,
    fan_in: 2,
    growth: 1.1,
    ..Parameters::AUTOMATIC
};

/// An answer that no error of the engine is: the caller takes it for a failed test.
fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{WRONG}{message}"))
}

/// How the message of an error begins that stands for a wrong answer.
pub const WRONG: &str = "wrong: ";

/// Options of a commit with an idempotency id. What is asked for is told by the id alone, so that it can be asked
/// again without the changes.
fn with_id(id: Option<&str>) -> CommitOptions {
    let digest = |id: &str| {
        let mut digest = [0; 32];
        id.bytes().zip(&mut digest).for_each(|(byte, place)| *place = byte);
        digest
    };
    CommitOptions {
        client_id: id.map(str::to_string),
        request_digest: id.map(digest),
        ..CommitOptions::default()
    }
}

/// Puts changes into a transaction.
pub fn stage(txn: &mut Transaction, changes: &[(String, Change)]) -> Result<()> {
    for (table, change) in changes {
        match change {
            Change::Create(columns) => {
                let all = columns.key.iter().chain(&columns.rest).map(engine_column).collect();
                let key: Vec<String> = columns.key.iter().map(|column| column.name.clone()).collect();
                txn.create_table(table, all, &key)?;
            }
            Change::Drop => txn.drop_table(table)?,
            Change::Insert(columns, rows) => txn.insert(table, &batch(columns, rows))?,
            Change::Load(columns, batches) => {
                let rows = batches.iter().map(|rows| Ok(batch(columns, rows)));
                let (count, given) = (txn.load(table, rows)?, batches.iter().map(Vec::len).sum::<usize>());
                if count != given as u64 {
                    return Err(wrong(format!("a load of {given} rows into {table} took {count}")));
                }
            }
            Change::Upsert(columns, rows) => txn.upsert(table, &batch(columns, rows))?,
            Change::Update(columns, rows) => txn.update(table, &batch(columns, rows))?,
            Change::Delete(columns, rows) => txn.delete(table, &batch(columns, rows))?,
            Change::Truncate => txn.truncate(table)?,
            Change::Replace(columns, rows) => drop(txn.replace(table, &[batch(columns, rows)])?),
            Change::AddColumn(column, default) => {
                let mut added = engine_column(column);
                if *default != Value::Null {
                    added.default = Some(array(column.kind, &mut [default].into_iter()));
                }
                txn.alter_table(table, Alteration::AddColumn(added))?;
            }
            Change::DropColumn(name) => txn.alter_table(table, Alteration::DropColumn(name.clone()))?,
            Change::RenameColumn(from, to) => {
                let (from, to) = (from.clone(), to.clone());
                txn.alter_table(table, Alteration::RenameColumn { from, to })?;
            }
            Change::WidenColumn(name) => {
                let (name, to) = (name.clone(), ColumnType::Int64);
                txn.alter_table(table, Alteration::WidenColumn { name, to })?;
            }
        }
    }
    Ok(())
}

fn engine_column(column: &ColumnOf) -> Column {
    let column_type = match column.kind {
        Kind::Int32 => ColumnType::Int32,
        Kind::Int64 => ColumnType::Int64,
        Kind::Text => ColumnType::Text,
    };
    Column::new(&column.name, column_type)
}

/// Rows as a batch.
pub fn batch(columns: &Columns, rows: &[Row]) -> RecordBatch {
    let key = columns.key.iter().enumerate().map(|(index, column)| {
        let values = &mut rows.iter().map(|(key, _)| &key[index]);
        (column.name.clone(), array(column.kind, values), false)
    });
    let rest = columns.rest.iter().enumerate().map(|(index, column)| {
        let values = &mut rows.iter().map(|(_, cells)| &cells[index]);
        (column.name.clone(), array(column.kind, values), true)
    });
    RecordBatch::try_from_iter_with_nullable(key.chain(rest).collect::<Vec<_>>())
        .expect("columns are of one length")
}

fn array(kind: Kind, values: &mut dyn Iterator<Item = &Value>) -> ArrayRef {
    let number = |value: &Value| match value {
        Value::Number(number) => Some(*number),
        _ => None,
    };
    match kind {
        Kind::Int32 => Arc::new(Int32Array::from_iter(values.map(|value| number(value).map(|n| n as i32)))),
        Kind::Int64 => Arc::new(Int64Array::from_iter(values.map(number))),
        Kind::Text => Arc::new(StringArray::from_iter(values.map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        }))),
    }
}

/// The versions of all tables that are gone.
pub fn gone(database: &Database) -> Result<Gone> {
    let mut gone = Gone::new();
    for table in TABLES {
        let ranges: Vec<(u64, u64)> =
            database.gone(table)?.into_iter().map(|(from, to)| (from.0, to.0)).collect();
        if !ranges.is_empty() {
            gone.insert(table.to_string(), ranges);
        }
    }
    Ok(gone)
}

/// The texts of all tables of a version that are not gone, as the model writes them.
pub fn texts(snapshot: &Snapshot) -> Result<BTreeMap<String, String>> {
    let names = snapshot.table_names()?;
    names.into_iter().map(|name| Ok((name.clone(), text(snapshot, &name)?))).collect()
}

/// The text of one table, as the model writes it.
pub fn text(snapshot: &Snapshot, table: &str) -> Result<String> {
    let schema = snapshot.schema(table)?;
    let kind = |column: &Column| match column.column_type {
        ColumnType::Int32 => Kind::Int32,
        ColumnType::Int64 => Kind::Int64,
        _ => Kind::Text,
    };
    let of = |column: &Column| ColumnOf { name: column.name.clone(), kind: kind(column) };
    let (key, rest) = schema.columns.iter().partition::<Vec<_>, _>(|column| schema.key.contains(&column.id));
    let columns =
        Columns { key: key.into_iter().map(of).collect(), rest: rest.into_iter().map(of).collect() };
    let mut out = String::new();
    header(&columns, &mut out);
    for batch in snapshot.scan(table, ScanOptions::default())? {
        lines(&batch?, &mut out);
    }
    Ok(out)
}

/// The rows of a batch, as the model writes them.
pub fn lines(batch: &RecordBatch, out: &mut String) {
    for row in 0..batch.num_rows() {
        let cells: Vec<Value> = batch.columns().iter().map(|column| value(column, row)).collect();
        line(cells.iter(), out);
    }
}

fn value(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int32 => Value::Number(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Number(column.as_primitive::<Int64Type>().value(row)),
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).to_string()),
        other => Value::Text(format!("a column of {other}, which no scenario makes")),
    }
}
