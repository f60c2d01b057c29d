//! Every commit's changes of one table, as a stream.
//!
//! It is made window by window: versions side by side that changed so many rows together. Invariant: what is shown of a
//! version is the same whatever windows there are. A column is shown in the images of versions that had it, and is null
//! in others, as they lie in one batch with it.

use super::{BATCH_ROWS, Event, Line, Times, diff_schema, events_of, key_spaces, render};
use crate::adapt::{adapt, loose_schema};
use crate::api::ChangeType;
use crate::error::Result;
use crate::snapshot::all_columns;
use crate::state::State;
use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use asof_mvcc::{Column, Table, TableId, Version};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Images of rows that a window has, where one version does not have more.
const WINDOW_ROWS: u64 = 8 * BATCH_ROWS as u64;

/// A column of a feed, and which column it is of each incarnation of the table: (table, column id).
pub(crate) struct FeedColumn {
    pub(crate) column: Column,
    sources: Vec<(TableId, u32)>,
}

/// The columns that the incarnations had at some version from `from` to `to`, newest schemas first, each under its
/// newest name and type in that range. So a feed of past versions stays what it is, whatever changes later.
pub(crate) fn feed_columns(tables: &[Arc<Table>], from: Version, to: Version) -> Vec<FeedColumn> {
    let mut feed: Vec<FeedColumn> = Vec::new();
    for table in tables.iter().rev() {
        let in_force = table.schemas.iter().enumerate().filter(|(index, (begin, _))| {
            let end = table.schemas.get(index + 1).map(|(end, _)| *end);
            *begin <= to && end.is_none_or(|end| end > from)
        });
        for column in
            in_force.collect::<Vec<_>>().into_iter().rev().flat_map(|(_, (_, schema))| &schema.columns)
        {
            let source = (table.id, column.id);
            if feed.iter().any(|known| known.sources.contains(&source)) {
                continue;
            }
            let same = feed.iter_mut().find(|known| {
                known.column.name == column.name
                    && known.column.column_type == column.column_type
                    && known.sources.iter().all(|(other, _)| *other != table.id)
            });
            if let Some(same) = same {
                same.sources.push(source);
                continue;
            }
            let mut column = Column { default: None, ..column.clone() };
            let mut count = 1;
            while feed.iter().any(|known| known.column.name == column.name) {
                count += 1;
                let name = &table
                    .schemas
                    .iter()
                    .rev()
                    .find_map(|(_, s)| s.column(source.1))
                    .expect("it has it")
                    .name;
                column.name = format!("{name}_{count}");
            }
            feed.push(FeedColumn { column, sources: vec![source] });
        }
    }
    feed
}

/// Rows of a table under the columns of a feed.
pub(crate) fn feed_rows(
    rows: &RecordBatch,
    own: &[Column],
    table: &Table,
    feed: &[FeedColumn],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let numbered: Vec<Column> = feed
        .iter()
        .map(|feed| {
            let source = feed.sources.iter().find(|(other, _)| *other == table.id);
            Column { id: source.map_or(u32::MAX, |(_, id)| *id), ..feed.column.clone() }
        })
        .collect();
    adapt(rows, own, &numbered, schema)
}

/// The changes in (from, to].
pub(super) struct FeedStream {
    state: Arc<State>,
    tables: Vec<Arc<Table>>,
    key_spaces: Vec<usize>,
    feed: Vec<FeedColumn>,
    loose: SchemaRef,
    schema: SchemaRef,
    /// Those that are still to come.
    windows: VecDeque<(Version, Version)>,
    ready: VecDeque<RecordBatch>,
    times: Times,
}

impl FeedStream {
    pub(super) fn new(
        state: Arc<State>,
        tables: Vec<Arc<Table>>,
        from: Version,
        to: Version,
    ) -> Result<FeedStream> {
        let feed = feed_columns(&tables, from, to);
        let columns: Vec<Column> = feed.iter().map(|feed| feed.column.clone()).collect();
        Ok(FeedStream {
            windows: windows(&state, &tables, from, to)?,
            key_spaces: key_spaces(&tables),
            loose: loose_schema(&columns),
            schema: diff_schema(&columns),
            feed,
            state,
            tables,
            ready: VecDeque::new(),
            times: Times::default(),
        })
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The changes of a window, by version, then key; an image before comes before the one after.
    fn fill(&mut self, (from, to): (Version, Version)) -> Result<()> {
        let (mut lines, mut batches) = (Vec::new(), Vec::new());
        for (table, key_space) in self.tables.iter().zip(&self.key_spaces) {
            let lived =
                |(begin, end): &(Version, Option<Version>)| *begin <= to && end.is_none_or(|end| end > from);
            if !table.lives.iter().any(lived) {
                continue;
            }
            let own = all_columns(table);
            let events = events_of(&self.state, table, &own, (from, to), |chunk| {
                batches.push(feed_rows(&chunk.rows, &own, table, &self.feed, &self.loose)?);
                Ok((batches.len() - 1, batches.len() - 1))
            })?;
            let mut images = Images::new(table, &self.feed, &mut batches);
            images.add_lines(*key_space, events, (from, to), &mut lines)?;
        }
        lines.sort_by(|a: &Line, b: &Line| (a.version, a.place()).cmp(&(b.version, b.place())));
        pair(&mut lines);
        self.ready = render(&self.state, &mut self.times, &self.schema, &lines, &batches)?.into();
        Ok(())
    }
}

impl Iterator for FeedStream {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Some(Ok(batch));
            }
            let window = self.windows.pop_front()?;
            if let Err(error) = self.fill(window) {
                self.windows.clear();
                return Some(Err(error));
            }
        }
    }
}

/// The versions in (from, to] that changed any of the tables, side by side in windows. What lies behind the last of them
/// changed nothing.
fn windows(
    state: &State,
    tables: &[Arc<Table>],
    from: Version,
    to: Version,
) -> Result<VecDeque<(Version, Version)>> {
    let mut changed: BTreeSet<Version> = BTreeSet::new();
    for table in tables {
        let changes = state.generation.changes(table.id);
        for number in changes.count_up_to(from)?..changes.count_up_to(to)? {
            changed.insert(changes.entry(number)?.version);
        }
        if let Some(memtable) = state.memtable(table.id) {
            changed.extend(
                memtable.read().changes().iter().filter(|version| from < **version && **version <= to),
            );
        }
    }
    let ids: Vec<TableId> = tables.iter().map(|table| table.id).collect();
    let mut windows = VecDeque::new();
    let (mut after, mut last, mut rows) = (from, from, 0u64);
    for version in changed {
        let of_version = state.header(version)?.images_of(&ids);
        if rows > 0 && rows.saturating_add(of_version) > WINDOW_ROWS {
            windows.push_back((after, last));
            (after, rows) = (last, 0);
        }
        (last, rows) = (version, rows.saturating_add(of_version));
    }
    if last > after {
        windows.push_back((after, last));
    }
    Ok(windows)
}

/// Rows of one table as a version has them: without the columns that were not there.
struct Images<'a> {
    table: &'a Table,
    /// For each schema of the table, which columns of the feed it does not have.
    absent: Vec<Vec<usize>>,
    batches: &'a mut Vec<RecordBatch>,
    /// Batches of which copies under a schema were made.
    made: HashMap<(usize, usize), usize>,
}

impl<'a> Images<'a> {
    fn new(table: &'a Table, feed: &[FeedColumn], batches: &'a mut Vec<RecordBatch>) -> Images<'a> {
        let absent = table.schemas.iter().map(|(_, schema)| {
            let own = feed.iter().enumerate().filter_map(|(index, feed)| {
                feed.sources.iter().find(|(other, _)| *other == table.id).map(|(_, id)| (index, *id))
            });
            own.filter(|(_, id)| schema.column(*id).is_none()).map(|(index, _)| index).collect()
        });
        Images { table, absent: absent.collect(), batches, made: HashMap::new() }
    }

    /// Where a row lies as a version has it.
    fn image(&mut self, version: Version, (batch, row): (usize, usize)) -> Result<(usize, usize)> {
        let schema = self.table.schema_index_at(version);
        if self.absent[schema].is_empty() {
            return Ok((batch, row));
        }
        if let Some(made) = self.made.get(&(batch, schema)) {
            return Ok((*made, row));
        }
        let rows = &self.batches[batch];
        let mut columns = rows.columns().to_vec();
        for index in &self.absent[schema] {
            columns[*index] = new_null_array(columns[*index].data_type(), rows.num_rows());
        }
        let made = RecordBatch::try_new(rows.schema(), columns)?;
        self.batches.push(made);
        self.made.insert((batch, schema), self.batches.len() - 1);
        Ok((self.batches.len() - 1, row))
    }

    /// A line for each begin and each end.
    fn add_lines(
        &mut self,
        key_space: usize,
        events: Vec<Event>,
        (from, to): (Version, Version),
        lines: &mut Vec<Line>,
    ) -> Result<()> {
        let within = |version: Version| from < version && version <= to;
        for Event { key, begin, end, before, after } in events {
            if within(end) {
                let last = end.previous().expect("it is after another version");
                let (key, row) = (key.clone(), self.image(last, before)?);
                lines.push(Line { version: end, key_space, key, change: ChangeType::Delete, row });
            }
            if within(begin) {
                let row = self.image(begin, after)?;
                lines.push(Line { version: begin, key_space, key, change: ChangeType::Insert, row });
            }
        }
        Ok(())
    }
}

/// Makes a deletion and an insertion of one key by one version an update, also where the table was made again.
fn pair(lines: &mut [Line]) {
    for index in 1..lines.len() {
        let (before, after) = lines.split_at_mut(index);
        let (before, after) = (&mut before[index - 1], &mut after[0]);
        let pairs = before.change == ChangeType::Delete && after.change == ChangeType::Insert;
        let is_one_row =
            (before.version, before.key_space, &before.key) == (after.version, after.key_space, &after.key);
        if pairs && is_one_row {
            before.change = ChangeType::UpdatePreimage;
            after.change = ChangeType::UpdatePostimage;
        }
    }
}
