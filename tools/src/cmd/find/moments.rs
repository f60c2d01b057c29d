//! The versions in which a condition held: counted from when each row version that fulfils it began and ended.
//!
//! Where the columns that a condition reads stayed the same over several schemas, row versions are read once for all of
//! them.

use crate::condition::Condition;
use crate::{Error, Result};
use asof_engine::{Column, PastQuestion, PastTable, Snapshot, TableSchema, Version, VersionRange};
use std::collections::BTreeMap;

/// Versions side by side in each of which the condition held for some row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) range: VersionRange,
    /// Rows that it held for in the first version, in the last, and most of all.
    pub(super) rows_first: u64,
    pub(super) rows_last: u64,
    pub(super) rows_most: u64,
}

/// When a condition held.
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// Ascending.
    pub(super) intervals: Vec<Interval>,
    /// Where nothing was asked.
    pub(super) unasked: Unasked,
}

/// Why nothing is told of versions that are gone.
const GONE: &str = "retention has let them go";

/// Versions in which the table was there and the condition could not be asked, and why.
type Unasked = Vec<(VersionRange, String)>;

/// Versions in which one condition is asked of the same columns of a table.
struct Stretch<'a> {
    table: &'a PastTable,
    range: VersionRange,
    columns: Vec<Column>,
    condition: Condition,
}

impl Moments {
    /// Finds them up to the version of a snapshot.
    pub(super) fn of(snapshot: &Snapshot, table: &str, condition: &str) -> Result<Moments> {
        let tables = snapshot.past_tables(Some(table));
        if tables.is_empty() {
            // The error names the tables there are.
            snapshot.schema(table)?;
        }
        let (stretches, mut unasked) = stretches(&tables, condition)?;
        let mut changes: BTreeMap<Version, i64> = BTreeMap::new();
        for stretch in stretches {
            stretch.count(snapshot, &mut changes)?;
        }
        let mut gone: Vec<VersionRange> = tables.iter().flat_map(PastTable::gone).collect();
        gone.sort();
        let intervals = intervals(changes, &gone);
        unasked.extend(gone.into_iter().map(|range| (range, GONE.to_string())));
        unasked.sort();
        Ok(Moments { intervals, unasked })
    }

    /// The versions right behind one that are gone.
    pub(super) fn gone_behind(&self, version: Version) -> Option<VersionRange> {
        let gone = self.unasked.iter().filter(|(_, why)| why == GONE).map(|(range, _)| *range);
        gone.into_iter().find(|range| range.first == version.next())
    }
}

/// What is to be asked of which versions, and of which versions nothing can be.
fn stretches<'a>(tables: &'a [PastTable], text: &str) -> Result<(Vec<Stretch<'a>>, Unasked)> {
    let mut stretches: Vec<Stretch<'a>> = Vec::new();
    let mut unasked: Unasked = Vec::new();
    let mut refused: Option<Error> = None;
    for table in tables {
        for (range, schema) in table.schemas() {
            match Condition::parse(text, &schema) {
                Ok(condition) => {
                    let columns = used(&condition, &schema);
                    match stretches.last_mut() {
                        Some(last)
                            if last.table.id() == table.id()
                                && last.range.last.next() == range.first
                                && last.columns == columns =>
                        {
                            last.range.last = range.last;
                        }
                        _ => stretches.push(Stretch { table, range, columns, condition }),
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    match unasked.last_mut() {
                        Some((last, known)) if last.last.next() == range.first && *known == why => {
                            last.last = range.last;
                        }
                        _ => unasked.push((range, why)),
                    }
                    refused = Some(error);
                }
            }
        }
    }
    match (stretches.is_empty(), refused) {
        // The newest of them tells the columns there are.
        (true, Some(error)) if unasked.len() > 1 => {
            Err(Error::new(error.status(), error.code(), format!("in no version it can be asked: {error}")))
        }
        (true, Some(error)) => Err(error),
        _ => Ok((stretches, unasked)),
    }
}

/// The columns that a condition reads.
fn used(condition: &Condition, schema: &TableSchema) -> Vec<Column> {
    let named = |column: &&Column| condition.columns().contains(&column.name);
    schema.columns.iter().filter(named).cloned().collect()
}

impl Stretch<'_> {
    /// Notes at which versions there come to be more rows that it holds for, and fewer.
    fn count(&self, snapshot: &Snapshot, changes: &mut BTreeMap<Version, i64>) -> Result<()> {
        let filter = self.condition.filter().cloned();
        let is_filtered = filter.is_some();
        let question =
            PastQuestion { range: self.range, columns: self.columns.clone(), filter, ordered: false };
        for found in snapshot.past_rows(self.table, question)? {
            let found = found?;
            let holds = if is_filtered { None } else { Some(self.condition.evaluate(&found.rows)?) };
            for (row, range) in found.ranges.iter().enumerate() {
                if holds.as_ref().is_none_or(|holds| holds.value(row)) {
                    *changes.entry(range.first).or_insert(0) += 1;
                    *changes.entry(range.last.next()).or_insert(0) -= 1;
                }
            }
        }
        Ok(())
    }
}

/// The versions at which there were any, from where there came to be more and fewer. Of versions that are gone only some
/// rows may have been counted: nothing is said of these.
fn intervals(changes: BTreeMap<Version, i64>, gone: &[VersionRange]) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    let (mut rows, mut since) = (0i64, Version::ZERO);
    for (version, change) in changes {
        let now = rows + change;
        let range = VersionRange { first: since, last: version.previous().unwrap_or(Version::ZERO) };
        let parts = if rows > 0 { readable(range, gone) } else { Vec::new() };
        for range in parts {
            let count = rows as u64;
            match intervals.last_mut() {
                Some(last) if last.range.last.next() == range.first => {
                    last.range.last = range.last;
                    last.rows_last = count;
                    last.rows_most = last.rows_most.max(count);
                }
                _ => {
                    intervals.push(Interval { range, rows_first: count, rows_last: count, rows_most: count })
                }
            }
        }
        (rows, since) = (now, version);
    }
    debug_assert_eq!(rows, 0, "every row version ends by the last version or right after it");
    intervals
}

/// The parts of a range that are not gone.
fn readable(range: VersionRange, gone: &[VersionRange]) -> Vec<VersionRange> {
    let mut parts = Vec::new();
    let mut first = range.first;
    let from = gone.partition_point(|gone| gone.last < range.first);
    for gone in gone[from..].iter().take_while(|gone| gone.first <= range.last) {
        if let Some(last) = gone.first.previous().filter(|last| first <= *last) {
            parts.push(VersionRange { first, last });
        }
        first = gone.last.next();
    }
    if first <= range.last {
        parts.push(VersionRange { first, last: range.last });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_any_row_are_put_together() {
        let changes = [(1, 2), (3, -1), (5, -1), (6, 1), (7, 4), (9, -5), (9, 0)];
        let mut counted: BTreeMap<Version, i64> = BTreeMap::new();
        changes.iter().for_each(|(version, change)| *counted.entry(Version(*version)).or_insert(0) += change);
        let found = |gone: &[(u64, u64)]| -> Vec<_> {
            let range =
                |(first, last): &(u64, u64)| VersionRange { first: Version(*first), last: Version(*last) };
            let gone: Vec<VersionRange> = gone.iter().map(range).collect();
            let told = |Interval { range, rows_first, rows_last, rows_most }| {
                (range.first.0, range.last.0, rows_first, rows_last, rows_most)
            };
            intervals(counted.clone(), &gone).into_iter().map(told).collect()
        };
        assert_eq!(found(&[]), [(1, 4, 2, 1, 2), (6, 8, 1, 5, 5)]);
        assert_eq!(found(&[(2, 2), (4, 6)]), [(1, 1, 2, 2, 2), (3, 3, 1, 1, 1), (7, 8, 5, 5, 5)]);
        assert_eq!(found(&[(0, 1), (8, 9)]), [(2, 4, 2, 1, 2), (6, 7, 1, 5, 5)]);
        assert_eq!(found(&[(0, 9)]), []);
        // A row that is replaced by another in one version leaves no gap.
        let replaced = [(1, 1), (2, 0), (3, -1)].map(|(version, change)| (Version(version), change));
        assert_eq!(intervals(replaced.into_iter().collect(), &[]).len(), 1);
    }
}
