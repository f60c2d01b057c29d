//! Every table there ever was, and its row versions: what questions about all of history are answered from.
//!
//! A [`PastTable`] is one incarnation of a name: dropped and made again, or given another key, it is another one. What
//! its columns were when, and under which schemas, is told here; nothing is said of why anything changed.

use crate::api::Filter;
use crate::error::{Error, Result};
use crate::gone::Gone;
use crate::scan::within::{WithinQuestion, passing, row_versions_within};
use crate::snapshot::{Snapshot, all_columns};
use crate::store::chunk::{Chunk, Chunks};
use arrow::array::{BooleanArray, RecordBatch};
use asof_mvcc::{Column, Table, TableSchema, Version};
use std::sync::Arc;

/// Versions from the first to the last, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionRange {
    /// The first.
    pub first: Version,
    /// The last, not before the first.
    pub last: Version,
}

impl VersionRange {
    /// The versions from `begin` on that are before `end`, none of them after `now`; `None` where there are none.
    pub(crate) fn of(begin: Version, end: Option<Version>, now: Version) -> Option<VersionRange> {
        let last = match end {
            Some(end) => end.previous()?.min(now),
            None => now,
        };
        (begin <= last).then_some(VersionRange { first: begin, last })
    }

    /// The versions that are in both.
    pub fn common(self, other: VersionRange) -> Option<VersionRange> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(VersionRange { first, last })
    }
}

/// A table that is there or was.
#[derive(Clone, Debug)]
pub struct PastTable {
    table: Arc<Table>,
    now: Version,
    gone: Option<Arc<Gone>>,
}

/// A column that a table has or had.
#[derive(Clone, Debug)]
pub struct PastColumn {
    /// The column under its newest type, and under its newest name, with a number behind where another has that too.
    pub column: Column,
    /// Its newest name.
    pub name: String,
    /// When the table had it.
    pub ranges: Vec<VersionRange>,
}

/// Which row versions of a table to read.
#[derive(Clone, Debug)]
pub struct PastQuestion {
    /// Those alive at some version of these.
    pub range: VersionRange,
    /// Columns to give, by id; no name stands there twice.
    pub columns: Vec<Column>,
    /// Which rows, by the names of those columns.
    pub filter: Option<Filter>,
    /// Whether rows come in order of key, then begin.
    pub ordered: bool,
}

/// Row versions, and the versions of the range asked about at which each was there.
#[derive(Clone, Debug)]
pub struct PastRows {
    /// The rows, nullable.
    pub rows: RecordBatch,
    /// When each was there.
    pub ranges: Vec<VersionRange>,
    /// Whether each has the key of the row before it, also of that in the batch before; all false where rows are not in
    /// order.
    pub same_key: Vec<bool>,
}

impl PastTable {
    /// Its full name.
    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// Its number, never given to another table.
    pub fn id(&self) -> u32 {
        self.table.id
    }

    /// The versions at which it was there and that are gone, ascending: what is told of them may be told in parts.
    pub fn gone(&self) -> Vec<VersionRange> {
        let gone = self.gone.iter().flat_map(|gone| gone.ranges());
        let gone =
            gone.filter_map(|(from, to)| VersionRange::of(Version(*from), Some(Version(*to)), self.now));
        let ranges = self.ranges();
        gone.flat_map(|gone| ranges.iter().filter_map(move |range| range.common(gone))).collect()
    }

    /// When it was there, ascending; versions that are gone included.
    pub fn ranges(&self) -> Vec<VersionRange> {
        let lives = self.table.lives.iter();
        lives.filter_map(|(begin, end)| VersionRange::of(*begin, *end, self.now)).collect()
    }

    /// Its schemas, each with when it was in force, ascending.
    pub fn schemas(&self) -> Vec<(VersionRange, Arc<TableSchema>)> {
        let schemas = &self.table.schemas;
        let mut found = Vec::new();
        for range in self.ranges() {
            for (index, (begin, schema)) in schemas.iter().enumerate() {
                // The first one is in force from the beginning.
                let begin = if index == 0 { Version::ZERO } else { *begin };
                let end = schemas.get(index + 1).map(|(end, _)| *end);
                let in_force = VersionRange::of(begin, end, self.now);
                found.extend(
                    in_force.and_then(|other| range.common(other)).map(|range| (range, schema.clone())),
                );
            }
        }
        found
    }

    /// Its columns, those it has now first, each with when it was there.
    pub fn columns(&self) -> Vec<PastColumn> {
        let schemas = self.schemas();
        let mut columns: Vec<PastColumn> = Vec::new();
        for mut column in all_columns(&self.table) {
            let mut ranges: Vec<VersionRange> = Vec::new();
            for (range, _) in schemas.iter().filter(|(_, schema)| schema.column(column.id).is_some()) {
                match ranges.last_mut() {
                    Some(last) if last.last.next() == range.first => last.last = range.last,
                    _ => ranges.push(*range),
                }
            }
            let name = column.name.clone();
            let mut count = 1;
            while columns.iter().any(|other| other.column.name == column.name) {
                count += 1;
                column.name = format!("{name}_{count}");
            }
            columns.push(PastColumn { column, name, ranges });
        }
        columns
    }

    /// The ids of its key columns, in the key's order; none where it has no key.
    pub fn key(&self) -> Vec<u32> {
        self.table.newest_schema().key.clone()
    }
}

impl Snapshot {
    /// Every table that is there or was, up to this version, in the order in which they were made; those of one name
    /// where one is given.
    pub fn past_tables(&self, name: Option<&str>) -> Vec<PastTable> {
        let (catalog, now) = (self.catalog().up_to(self.version()), self.version());
        let named = catalog.all().filter(|table| name.is_none_or(|name| table.name == name));
        let tables = named.map(|table| {
            let gone = self.state().generation.gone(table.id).cloned();
            PastTable { table: table.clone(), now, gone }
        });
        tables.filter(|table| !table.ranges().is_empty()).collect()
    }

    /// Row versions of a table that [`Snapshot::past_tables`] gave, and that a version of the range shows which can be
    /// read; each is read once.
    pub fn past_rows(
        &self,
        table: &PastTable,
        question: PastQuestion,
    ) -> Result<impl Iterator<Item = Result<PastRows>> + Send + use<>> {
        let PastQuestion { range, columns, filter, ordered } = question;
        if range.last > self.version() || range.first > range.last {
            return Err(Error::invalid(format!(
                "versions {} to {} cannot be told of at version {}",
                range.first,
                range.last,
                self.version()
            )));
        }
        let asked = WithinQuestion { range: (range.first, range.last), columns: &columns, filter, ordered };
        let chunks = row_versions_within(self.state(), &table.table, asked)?;
        let gone = table.gone.clone();
        Ok(PastScan { chunks, range, gone, last_key: None, ordered, _snapshot: self.clone() })
    }
}

struct PastScan {
    chunks: Chunks,
    range: VersionRange,
    gone: Option<Arc<Gone>>,
    last_key: Option<Vec<u8>>,
    ordered: bool,
    /// Keeps the files.
    _snapshot: Snapshot,
}

impl PastScan {
    /// Without what only versions of the range show that are gone: others may show it.
    fn shown(&self, chunk: Chunk) -> Result<Chunk> {
        let Some(gone) = &self.gone else { return Ok(chunk) };
        let (first, after) = (self.range.first.0, self.range.last.next().0);
        let lives = chunk.begins.iter().zip(&chunk.ends);
        let shown = lives.map(|(begin, end)| Some(!gone.hides(begin.0.max(first), end.0.min(after))));
        let shown: BooleanArray = shown.collect();
        passing(chunk, &shown)
    }

    fn rows(&mut self, chunk: Chunk) -> Result<PastRows> {
        let chunk = self.shown(chunk)?;
        let lives = chunk.begins.iter().zip(&chunk.ends);
        let ranges = lives.map(|(begin, end)| {
            let alive = VersionRange::of(*begin, Some(*end), self.range.last);
            alive.and_then(|alive| alive.common(self.range)).ok_or_else(|| {
                Error::corrupt(format!("a row lives from version {begin} to {end}; run 'asof verify'"))
            })
        });
        let ranges = ranges.collect::<Result<_>>()?;
        let mut same_key = vec![false; chunk.len()];
        if self.ordered {
            for (row, same) in same_key.iter_mut().enumerate() {
                let before = row.checked_sub(1).map(|before| chunk.keys.get(before));
                *same = before.or(self.last_key.as_deref()) == Some(chunk.keys.get(row));
            }
            if let Some(key) = chunk.keys.last() {
                self.last_key = Some(key.to_vec());
            }
        }
        Ok(PastRows { rows: chunk.rows, ranges, same_key })
    }
}

impl Iterator for PastScan {
    type Item = Result<PastRows>;

    fn next(&mut self) -> Option<Result<PastRows>> {
        loop {
            match self.chunks.next()? {
                Ok(chunk) if chunk.rows.num_rows() == 0 => {}
                chunk => match chunk.and_then(|chunk| self.rows(chunk)) {
                    Ok(rows) if rows.ranges.is_empty() => {}
                    rows => return Some(rows),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_mvcc::ColumnType;

    fn range(first: u64, last: u64) -> VersionRange {
        VersionRange { first: Version(first), last: Version(last) }
    }

    fn schema(columns: &[(u32, &str)]) -> Arc<TableSchema> {
        let column = |(id, name): &(u32, &str)| Column { id: *id, ..Column::new(*name, ColumnType::Int64) };
        Arc::new(TableSchema::of(columns.iter().map(column).collect(), vec![1]))
    }

    #[test]
    fn a_table_that_lived_twice_tells_when_it_had_which_column() {
        let mut table = Table::new(1, "t".to_string(), schema(&[(1, "id"), (2, "a")]), Version(3));
        table.set_schema(schema(&[(1, "id")]), Version(5));
        table.drop_at(Version(8));
        table.lives.push((Version(10), None));
        table.set_schema(schema(&[(1, "id"), (3, "a")]), Version(12));
        let table = PastTable { table: Arc::new(table), now: Version(20), gone: None };
        assert_eq!(table.ranges(), [range(3, 7), range(10, 20)]);
        let schemas: Vec<VersionRange> = table.schemas().into_iter().map(|(range, _)| range).collect();
        assert_eq!(schemas, [range(3, 4), range(5, 7), range(10, 11), range(12, 20)]);
        let columns: Vec<_> = table
            .columns()
            .into_iter()
            .map(|column| (column.column.name, column.name, column.ranges))
            .collect();
        let expected = [
            ("id", "id", vec![range(3, 7), range(10, 20)]),
            ("a", "a", vec![range(12, 20)]),
            ("a_2", "a", vec![range(3, 4)]),
        ];
        assert_eq!(
            columns,
            expected.map(|(unique, name, ranges)| (unique.to_string(), name.to_string(), ranges))
        );
    }

    #[test]
    fn versions_that_are_gone_are_told_as_far_as_the_table_was_there() {
        let mut table = Table::new(1, "t".to_string(), schema(&[(1, "id")]), Version(3));
        table.drop_at(Version(8));
        table.lives.push((Version(10), None));
        let gone = Gone::new(vec![(3, 5), (7, 12)]).map(Arc::new);
        let table = PastTable { table: Arc::new(table), now: Version(20), gone };
        assert_eq!(table.gone(), [range(3, 4), range(7, 7), range(10, 11)]);
        assert_eq!(table.ranges(), [range(3, 7), range(10, 20)]);
    }

    #[test]
    fn a_table_dropped_by_the_commit_that_made_it_never_was() {
        let mut table = Table::new(1, "t".to_string(), schema(&[(1, "id")]), Version(3));
        table.drop_at(Version(3));
        assert_eq!(PastTable { table: Arc::new(table), now: Version(9), gone: None }.ranges(), []);
    }
}
