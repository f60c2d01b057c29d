//! Compares a whole database with the model: every version's tables, rows, schemas, counts, sizes and times, point
//! reads, changes between versions, tags and ids. What is gone is refused, with the nearest that is not.
//!
//! A difference is told as text; so is an error of the engine, for what was acknowledged must be readable.

use crate::model::{Model, Table, line};
use crate::perform::{batch, gone, lines, texts};
use crate::step::{Columns, Value};
use asof_engine::view::Format;
use asof_engine::{CommitTime, Database, DiffKind, Error, ErrorKind, ScanOptions, Snapshot, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Nothing, or what is wrong.
pub type Checked = Result<(), String>;

fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

fn same<T: PartialEq + std::fmt::Debug>(what: impl std::fmt::Display, found: T, expected: T) -> Checked {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}"))
}

/// Everything: all versions, their order, tags, ids and changes.
pub fn everything(database: &Database, model: &Model) -> Checked {
    heads(database, model)?;
    for version in 0..=model.newest() {
        version_equals(database, model, version)?;
    }
    for version in 1..=model.newest() {
        changes_equal(database, model, version - 1, version)?;
    }
    changes_equal(database, model, 0, model.newest())
}

/// Which version is newest, tags, what is gone, and ids.
pub fn heads(database: &Database, model: &Model) -> Checked {
    let newest = database.refresh().map_err(failed("the newest version"))?;
    same("the newest version", newest.0, model.newest())?;
    let tags = database.tags().map_err(failed("tags"))?;
    let tags: BTreeMap<String, u64> = tags.into_iter().map(|tag| (tag.name, tag.version.0)).collect();
    same("tags", &tags, &model.tags)?;
    same("what is gone", &gone(database).map_err(failed("what is gone"))?, &model.gone)?;
    for (id, version) in &model.ids {
        let found = database.commit_with_client_id(id).map_err(failed(format!("id {id}")))?;
        same(format!("the version of id {id}"), found.map(|info| info.version.0), Some(*version))?;
    }
    Ok(())
}

/// One version's tables, rows, schemas, counts, sizes and time.
pub fn version_equals(database: &Database, model: &Model, version: u64) -> Checked {
    let expected = &model.versions[version as usize];
    let place = format!("version {version}");
    let snapshot = database.snapshot(Version(version)).map_err(failed(&place))?;
    let found = texts(&snapshot).map_err(failed(&place))?;
    let names = |texts: &mut dyn Iterator<Item = &String>| texts.cloned().collect::<Vec<_>>();
    let readable = model.readable(version);
    same(format!("tables of {place}"), names(&mut found.keys()), names(&mut readable.keys()))?;
    refused(&snapshot, model, version)?;
    for (name, text) in &readable {
        let place = format!("{name} at {place}");
        same(&place, found[name].as_str(), text)?;
        let table = &expected.tables[name];
        let info = snapshot.table(name).map_err(failed(&place))?;
        same(format!("rows of {place}"), info.rows, table.len() as u64)?;
        snapshot.view_size(name, Format::Csv).map_err(failed(&place))?;
        let none = ScanOptions { columns: Some(Vec::new()), ..ScanOptions::default() };
        let counted = snapshot.scan(name, none).map_err(failed(&place))?;
        let counted = counted.map(|batch| batch.map(|batch| batch.num_rows() as u64)).sum::<Result<u64, _>>();
        same(format!("rows counted of {place}"), counted.map_err(failed(&place))?, table.len() as u64)?;
        point_read(&snapshot, name, table, version)?;
    }
    if version > 0 && expected.time != 0 {
        let time = database.commit_time(Version(version)).map_err(failed(&place))?;
        same(format!("time of {place}"), time.0, expected.time)?;
        let at = database.version_at(CommitTime(expected.time)).map_err(failed(&place))?;
        same(format!("the version at the time of {place}"), at.0, version)?;
        let info = database.commit_info(Version(version)).map_err(failed(&place))?;
        same(format!("what is told of {place}"), info.version.0, version)?;
    }
    Ok(())
}

/// The tables that are gone at a version say so to who asks for them, and name the nearest.
fn refused(snapshot: &Snapshot, model: &Model, version: u64) -> Checked {
    let expected = model.gone_at(version);
    same(format!("what is gone of version {version}"), snapshot.gone_tables(), expected.clone())?;
    let next = snapshot.database().next_listed(Version(version)).map_err(failed("listing"))?;
    same(format!("the version listed from {version} on"), next.0, model.next_listed(version))?;
    for name in &expected {
        let place = format!("{name} at version {version}, which is gone");
        let scan = snapshot.scan(name, ScanOptions::default()).map(drop);
        let (table, size) = (snapshot.table(name).map(drop), snapshot.view_size(name, Format::Csv).map(drop));
        for answer in [scan, table, size] {
            says_gone(&place, answer, &model.nearest(name, version))?;
        }
    }
    Ok(())
}

/// What an answer about a version that is gone must be.
fn says_gone(place: &str, answer: Result<(), Error>, nearest: &[u64]) -> Checked {
    let Err(error) = answer else { return Err(format!("{place}: it is answered")) };
    let nearest: Vec<String> = nearest.iter().map(u64::to_string).collect();
    if error.kind() != ErrorKind::NotFound || !error.to_string().contains("is gone") {
        return Err(format!("{place}: it says {error}"));
    }
    same(format!("the nearest of {place}"), error.nearest(), &nearest[..])
}

/// One row that is there, and one that is not.
fn point_read(snapshot: &Snapshot, name: &str, table: &Table, version: u64) -> Checked {
    if !table.has_key() {
        return Ok(());
    }
    let columns = Columns { key: table.columns.key.clone(), rest: Vec::new() };
    let place = format!("a row of {name} at version {version}");
    let get = |key: &[Value]| {
        let found = snapshot.get(name, &batch(&columns, &[(key.to_vec(), Vec::new())]));
        let mut text = String::new();
        found.map_err(failed(&place))?.iter().for_each(|row| lines(row, &mut text));
        Ok::<String, String>(text)
    };
    let picked = table.keyed.iter().nth(version as usize % table.len().max(1));
    if let Some((key, cells)) = picked {
        let mut expected = String::new();
        line(key.iter().chain(cells), &mut expected);
        same(&place, get(key)?, expected)?;
    }
    let missing: Vec<Value> = columns
        .key
        .iter()
        .map(|column| match column.kind {
            crate::step::Kind::Text => Value::Text("nowhere".to_string()),
            _ => Value::Number(1_000_000),
        })
        .collect();
    same(format!("{place} that is not there"), get(&missing)?, String::new())
}

/// The net changes between two versions, of tables that are the same ones, under the same columns, in both. Where either
/// is gone they are refused, and a feed where any between is.
pub fn changes_equal(database: &Database, model: &Model, from: u64, to: u64) -> Checked {
    let (before, after) = (&model.versions[from as usize], &model.versions[to as usize]);
    for (name, new) in &after.tables {
        let Some(old) = before.tables.get(name) else { continue };
        if old.made_at != new.made_at || old.columns != new.columns || !new.has_key() {
            continue;
        }
        let place = format!("changes of {name} from version {from} to {to}");
        let diff = |kind| database.diff(Version(from), Version(to), name, kind);
        if model.is_gone_within(name, from, to) {
            let feed = diff(DiffKind::Feed).map(drop);
            if feed.as_ref().err().map(Error::kind) != Some(ErrorKind::NotFound) {
                return Err(format!("{place}: some of them are gone, and a feed says {feed:?}"));
            }
        }
        if let Some(end) = [from, to].into_iter().find(|end| model.is_gone(name, *end)) {
            says_gone(&place, diff(DiffKind::Net).map(drop), &model.nearest(name, end))?;
            continue;
        }
        let mut expected = BTreeSet::new();
        let text = |kind: &str, key: &[Value], cells: &[Value]| {
            let mut text = format!("{kind} ");
            line(key.iter().chain(cells), &mut text);
            text
        };
        for (key, cells) in &new.keyed {
            match old.keyed.get(key) {
                None => drop(expected.insert(text("insert", key, cells))),
                Some(other) if other != cells => {
                    expected.insert(text("update_preimage", key, other));
                    expected.insert(text("update_postimage", key, cells));
                }
                Some(_) => {}
            }
        }
        for (key, cells) in old.keyed.iter().filter(|(key, _)| !new.keyed.contains_key(*key)) {
            expected.insert(text("delete", key, cells));
        }
        let mut found = BTreeSet::new();
        for batch in diff(DiffKind::Net).map_err(failed(&place))? {
            found.extend(diff_lines(&batch.map_err(failed(&place))?, &new.columns));
        }
        same(place, found, expected)?;
    }
    Ok(())
}

/// Lines of a diff: what happened, and the row.
fn diff_lines(batch: &asof_engine::arrow::array::RecordBatch, columns: &Columns) -> Vec<String> {
    use asof_engine::arrow::array::AsArray;
    let names: Vec<&str> =
        columns.key.iter().chain(&columns.rest).map(|column| column.name.as_str()).collect();
    let schema = batch.schema();
    let indexes: Vec<usize> = names.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    let rows = batch.project(&indexes).expect("indexes are of its columns");
    let kinds =
        batch.column_by_name("_change_type").and_then(|column| column.as_string_opt::<i32>().cloned());
    (0..batch.num_rows())
        .map(|row| {
            let kind = kinds.as_ref().map_or("?", |kinds| kinds.value(row));
            let mut text = format!("{kind} ");
            lines(&rows.slice(row, 1), &mut text);
            text
        })
        .collect()
}

/// The engine's own verification finds nothing.
pub fn verified(database: &Database) -> Checked {
    let report = database.verify().map_err(failed("verification"))?;
    same("what verification finds", report.findings, Vec::new())
}
