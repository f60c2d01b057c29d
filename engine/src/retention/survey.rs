//! Reads the lives of a table's rows, row group by row group, to count what goes and what it takes.
//!
//! Begins and ends alone are read, and only where the bounds of a row group leave it open. What a row takes is told by
//! its pages: bytes of all their columns, shared evenly among their rows.

use crate::compact::keep::{Seen, end_of};
use crate::compact::rewrite::Pace;
use crate::error::{Error, ErrorKind, Result};
use crate::generation::Generation;
use crate::gone::Gone;
use crate::manifest::DataFileRecord;
use crate::store::group_scan::{Choice, DeadRows, GroupTask};
use asof_mvcc::{FileId, Table, Version};
use std::sync::Arc;

/// What goes of a data file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hidden {
    pub file: FileId,
    pub history: bool,
    /// All its rows, and those that go.
    pub rows: u64,
    pub hidden: u64,
    /// All its bytes, and those that go, about.
    pub bytes: u64,
    pub hidden_bytes: u64,
}

/// The lives of the rows of one row group.
pub(super) struct Lives<'a> {
    pub begins: &'a [Version],
    /// Cut to the life of the table.
    pub ends: &'a [Version],
    /// Bytes of one of them.
    pub row_bytes: f64,
}

/// What goes of the data files of a table where these versions are gone; files of which nothing goes are left out. `pace`
/// is asked before each row group whether to go on.
pub(crate) fn hidden_in(
    generation: &Generation,
    table: &Table,
    gone: &Arc<Gone>,
    pace: &mut Pace<'_>,
) -> Result<Vec<Hidden>> {
    let seen = Seen { gone: gone.clone(), dropped: end_of(table) };
    let manifest = generation.manifest();
    let mut found = Vec::new();
    for record in manifest.data_files.iter().filter(|file| file.table == table.id) {
        let dropped = seen.dropped.map_or(u64::MAX, |dropped| dropped.0);
        let dead = manifest.measures.iter().find(|measures| measures.file == record.id);
        let may_end =
            record.history || seen.dropped.is_some() || dead.is_none_or(|measures| measures.dead > 0);
        let ends = match record.history {
            true => (record.min_end.min(dropped), record.max_end.min(dropped)),
            false => (record.min_begin + 1, dropped),
        };
        if !may_end || !gone.may_hide((record.min_begin, record.max_begin), ends) {
            continue;
        }
        let mut hidden = Hidden {
            file: record.id,
            history: record.history,
            rows: record.rows,
            hidden: 0,
            bytes: record.bytes,
            hidden_bytes: 0,
        };
        if is_wholly_hidden(record, &seen) {
            (hidden.hidden, hidden.hidden_bytes) = (record.rows, record.bytes);
            found.push(hidden);
            continue;
        }
        let mut bytes = 0.0;
        each_group(generation, table, record, Some(gone), pace, &mut |lives| {
            let goes = |(begin, end): &(&Version, &Version)| gone.hides(begin.0, end.0);
            let count = lives.begins.iter().zip(lives.ends).filter(goes).count();
            hidden.hidden += count as u64;
            bytes += count as f64 * lives.row_bytes;
        })?;
        if hidden.hidden > 0 {
            hidden.hidden_bytes = match hidden.hidden == hidden.rows {
                true => record.bytes,
                false => (bytes as u64).min(record.bytes),
            };
            found.push(hidden);
        }
    }
    Ok(found)
}

/// Whether every row of a file is hidden, as its bounds tell.
pub(super) fn is_wholly_hidden(record: &DataFileRecord, seen: &Seen) -> bool {
    seen.hides(Version(record.min_begin), Version(record.max_end))
}

/// Calls with the lives of each row group of a file; where versions are given that are gone, only with those of which
/// rows may be hidden.
pub(super) fn each_group(
    generation: &Generation,
    table: &Table,
    record: &DataFileRecord,
    gone: Option<&Gone>,
    pace: &mut Pace<'_>,
    each: &mut dyn FnMut(Lives<'_>),
) -> Result<()> {
    let dropped = end_of(table).unwrap_or(Version::FOREVER);
    let file = generation.open(record)?;
    let dead = generation.dead(table.id, record.id)?;
    let row_bytes = record.bytes as f64 / record.rows.max(1) as f64;
    for group in 0..file.groups.len() {
        let extent = &file.groups[group];
        let dead_rows = file.dead_in(group, &dead);
        if let Some(gone) = gone {
            let least = dead_rows.iter().map(|(_, end)| end.0).min().unwrap_or(u64::MAX);
            let ends = (extent.min_end.min(least).min(dropped.0), u64::MAX);
            if !gone.may_hide((extent.min_begin, extent.max_begin), ends) {
                continue;
            }
        }
        if !pace(0) {
            return Err(Error::new(ErrorKind::Busy, "a survey of rows was stopped; nothing has changed"));
        }
        let choice = Choice::Function(Arc::new(|_, _| true));
        let dead = DeadRows::Known(dead_rows);
        let chosen = GroupTask { file: file.clone(), group, rows: None, dead, choice }.choose(true)?;
        let ends: Vec<Version> = chosen.ends.iter().map(|end| (*end).min(dropped)).collect();
        each(Lives { begins: &chosen.begins, ends: &ends, row_bytes });
    }
    Ok(())
}
