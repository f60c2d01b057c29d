//! Every commit's changes of one table, as a stream.
//!
//! It is made window by window: versions side by side that changed so many rows together, or one version however many it
//! changed, whose lines are given as they are read. Invariant: what is shown of a version is the same whatever windows
//! there are. A column is shown in the images of versions that had it, and is null
//! in others, as they lie in one batch with it.

use super::lines::{Event, Line, LineStream, Lines, MergedLines, scans};
use super::{BATCH_ROWS, Times, diff_schema, key_spaces, render};
use crate::adapt::{adapt, loose_schema};
use crate::api::ChangeType;
use crate::error::Result;
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
            let name = column.name.clone();
            let mut count = 1;
            while feed.iter().any(|known| known.column.name == column.name) {
                count += 1;
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

/// Versions that are read together: those in (after, last] that changed anything.
struct Window {
    after: Version,
    last: Version,
    /// How many.
    versions: u64,
}

/// The changes in (from, to].
pub(super) struct FeedStream {
    state: Arc<State>,
    tables: Vec<Arc<Table>>,
    key_spaces: Vec<usize>,
    feed: Arc<[FeedColumn]>,
    loose: SchemaRef,
    schema: SchemaRef,
    /// Those that are still to come.
    windows: VecDeque<Window>,
    /// What is still to come of the window at hand, which is of one version.
    current: Option<MergedLines>,
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
            key_spaces: key_spaces(&tables, to),
            loose: loose_schema(&columns),
            schema: diff_schema(&columns),
            feed: feed.into(),
            state,
            tables,
            current: None,
            ready: VecDeque::new(),
            times: Times::default(),
        })
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What the tables' scans give of a window.
    fn sources(&self, window: (Version, Version)) -> Result<Vec<LineStream>> {
        let mut sources = Vec::new();
        for (table, key_space) in self.tables.iter().zip(&self.key_spaces) {
            let (of, feed, loose, key_space) =
                (table.clone(), self.feed.clone(), self.loose.clone(), *key_space);
            sources.extend(scans(&self.state, table, window, move |chunk, own, events| {
                let rows = feed_rows(&chunk.rows, own, &of, &feed, &loose)?;
                Images::new(&of, &feed, rows).lines(key_space, events, window)
            })?);
        }
        Ok(sources)
    }

    /// Begins with a window; all of it, by version, then key, where it is of several.
    fn begin(&mut self, window: Window) -> Result<()> {
        let sources = self.sources((window.after, window.last))?;
        if window.versions == 1 {
            self.current = Some(MergedLines::new(sources));
            return Ok(());
        }
        let mut all = Lines::default();
        sources.into_iter().flatten().try_for_each(|lines| lines.map(|lines| all.append(lines)))?;
        all.lines.sort_by(|a: &Line, b: &Line| (a.version, a.place()).cmp(&(b.version, b.place())));
        self.give(all)
    }

    /// Gives lines; an image before comes before the one after.
    fn give(&mut self, Lines { mut lines, batches }: Lines) -> Result<()> {
        pair(&mut lines);
        self.ready = render(&self.state, &mut self.times, &self.schema, &lines, &batches)?.into();
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            match self.current.as_mut().and_then(MergedLines::next) {
                Some(lines) => self.give(lines?)?,
                None => {
                    let Some(window) = self.windows.pop_front() else { return Ok(None) };
                    self.begin(window)?;
                }
            }
        }
    }
}

impl Iterator for FeedStream {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = self.next_batch();
        if next.is_err() {
            self.windows.clear();
            self.current = None;
        }
        next.transpose()
    }
}

/// The versions in (from, to] that changed any of the tables, side by side in windows. What lies behind the last of them
/// changed nothing.
fn windows(state: &State, tables: &[Arc<Table>], from: Version, to: Version) -> Result<VecDeque<Window>> {
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
    let mut window = Window { after: from, last: from, versions: 0 };
    let mut rows = 0u64;
    for version in changed {
        let of_version = state.header(version)?.images_of(&ids);
        if window.versions > 0 && rows.saturating_add(of_version) > WINDOW_ROWS {
            let next = Window { after: window.last, last: window.last, versions: 0 };
            windows.push_back(std::mem::replace(&mut window, next));
            rows = 0;
        }
        (window.last, window.versions) = (version, window.versions + 1);
        rows = rows.saturating_add(of_version);
    }
    if window.versions > 0 {
        windows.push_back(window);
    }
    Ok(windows)
}

/// Rows of a chunk as versions have them: without the columns that were not there.
struct Images<'a> {
    table: &'a Table,
    feed: &'a [FeedColumn],
    /// The rows, and copies of them under schemas that do not have all columns.
    batches: Vec<RecordBatch>,
    /// For each schema that was asked for, which of the batches has its rows.
    of_schema: HashMap<usize, usize>,
}

impl<'a> Images<'a> {
    fn new(table: &'a Table, feed: &'a [FeedColumn], rows: RecordBatch) -> Images<'a> {
        Images { table, feed, batches: vec![rows], of_schema: HashMap::new() }
    }

    /// The columns of the feed that the table had, and a schema of it has not.
    fn absent(&self, schema: usize) -> Vec<usize> {
        let own = self.feed.iter().enumerate().filter_map(|(index, feed)| {
            let source = feed.sources.iter().find(|(other, _)| *other == self.table.id);
            source.map(|(_, id)| (index, *id))
        });
        let schema = &self.table.schemas[schema].1;
        own.filter(|(_, id)| schema.column(*id).is_none()).map(|(index, _)| index).collect()
    }

    /// The batch of the rows as a version has them.
    fn batch(&mut self, version: Version) -> Result<usize> {
        let schema = self.table.schema_index_at(version);
        if let Some(batch) = self.of_schema.get(&schema) {
            return Ok(*batch);
        }
        let absent = self.absent(schema);
        let batch = if absent.is_empty() { 0 } else { self.batches.len() };
        if batch > 0 {
            let rows = &self.batches[0];
            let mut columns = rows.columns().to_vec();
            for index in absent {
                columns[index] = new_null_array(columns[index].data_type(), rows.num_rows());
            }
            self.batches.push(RecordBatch::try_new(rows.schema(), columns)?);
        }
        self.of_schema.insert(schema, batch);
        Ok(batch)
    }

    /// A line for each begin and each end in (from, to].
    fn lines(
        mut self,
        key_space: usize,
        events: Vec<Event>,
        (from, to): (Version, Version),
    ) -> Result<Lines> {
        let mut lines = Vec::with_capacity(events.len());
        let within = |version: Version| from < version && version <= to;
        for Event { key, begin, end, row } in events {
            if within(end) {
                let last = end.previous().expect("it is after another version");
                let (key, row) = (key.clone(), (self.batch(last)?, row));
                lines.push(Line { version: end, key_space, key, change: ChangeType::Delete, row });
            }
            if within(begin) {
                let row = (self.batch(begin)?, row);
                lines.push(Line { version: begin, key_space, key, change: ChangeType::Insert, row });
            }
        }
        Ok(Lines { lines, batches: self.batches })
    }
}

/// Makes a deletion and an insertion of one key by one version an update, also where the table was made again.
fn pair(lines: &mut [Line]) {
    for index in 1..lines.len() {
        let (before, after) = lines.split_at_mut(index);
        let (before, after) = (&mut before[index - 1], &mut after[0]);
        if before.version == after.version && before.is_updated_by(after) {
            before.change = ChangeType::UpdatePreimage;
            after.change = ChangeType::UpdatePostimage;
        }
    }
}
