//! Bringing back what was: restore, undo and undrop, compared by checksum and by content with what was there before.

mod cases;
mod random;

use crate::support::*;
use asof_engine::restore::{Conflicts, TableRestored, Undone};
use asof_engine::{CommitOptions, Committed, Database, Transaction, Version, text};
use std::collections::BTreeMap;

/// All that a version shows: of each table its definition and its rows, sorted where there is no key.
pub fn content(database: &Database, version: Version) -> BTreeMap<String, (String, Vec<String>)> {
    let snapshot = database.snapshot(version).unwrap();
    let names = snapshot.table_names().unwrap().into_iter();
    let table = |name: String| {
        let schema = snapshot.schema(&name).unwrap();
        let defaults: Vec<Option<String>> = schema.columns.iter().map(text::default_text).collect();
        let mut lines: Vec<String> = csv(database, version, &name).lines().map(str::to_string).collect();
        if !schema.has_key() {
            lines[1..].sort();
        }
        (name, (format!("{schema} {defaults:?}"), lines))
    };
    names.map(table).collect()
}

/// Whether two versions show the same, by content and by checksum.
pub fn assert_same(database: &Database, one: Version, other: Version, what: &str) {
    assert_eq!(content(database, one), content(database, other), "{what}: versions {one} and {other}");
    let checksum = |version| database.snapshot(version).unwrap().checksum_all().unwrap();
    assert_eq!(checksum(one), checksum(other), "{what}: versions {one} and {other}");
}

pub fn commit(txn: Transaction) -> Committed {
    txn.commit(CommitOptions::default()).unwrap()
}

pub fn change(database: &Database, change: impl FnOnce(&mut Transaction)) -> Version {
    let mut txn = database.begin().unwrap();
    change(&mut txn);
    commit(txn).version
}

/// Restores and commits; gives what was told, and the version that was made, if one was.
pub fn restore(database: &Database, to: Version, tables: &[&str]) -> (Vec<TableRestored>, Option<Committed>) {
    let mut txn = database.begin().unwrap();
    let tables: Vec<String> = tables.iter().map(|name| name.to_string()).collect();
    let told = txn.restore(to, &tables, 3).unwrap();
    let counts = txn.counts().unwrap();
    let committed = commit(txn);
    assert_eq!(committed.unchanged, told.is_empty(), "{told:?}");
    if !committed.unchanged {
        let changed = |counts: &BTreeMap<String, asof_engine::Counts>| {
            let mut counts = counts.clone();
            counts.retain(|_, counts| *counts != Default::default());
            counts
        };
        assert_eq!(changed(&counts), changed(&committed.tables), "counts before and after the commit");
    }
    (told, Some(committed).filter(|committed| !committed.unchanged))
}

/// Undoes and commits.
pub fn undo(database: &Database, version: Version) -> Result<Committed, Conflicts> {
    let mut txn = database.begin().unwrap();
    match txn.undo(version, 3).unwrap() {
        Undone::Changed(_) => Ok(commit(txn)),
        Undone::Conflicts(conflicts) => {
            assert!(conflicts.count >= conflicts.first.len() as u64 && conflicts.count > 0);
            Err(conflicts)
        }
    }
}
