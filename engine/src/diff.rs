//! What changed between two versions, from begins and ends.

mod feed;
mod lines;
mod reversed;
mod table_life;

pub(crate) use feed::{FeedColumn, feed_columns, feed_rows};

use crate::adapt::{batch_of, cast_or_null};
use crate::api::{ChangeType, DiffKind};
use crate::copies::touched_row_versions;
use crate::database::Database;
use crate::equal::unmark_distinct;
use crate::error::{Error, Result};
use crate::gone::{check_all_readable, check_readable};
use crate::scan::Life;
use crate::snapshot::{all_columns, unknown_table};
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks};
use arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use asof_mvcc::{Column, Table, TableSchema, Version};
use feed::FeedStream;
use lines::{Event, Line, Lines, MergedLines};
use reversed::reversed;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Rows of a batch that a diff gives.
const BATCH_ROWS: usize = 8_192;

/// The changes of one table between two versions. Batches have the columns `_change_type` (text), `_commit_version`
/// (uint64), `_commit_timestamp` (timestamp us UTC), then the table's: for a net diff those of the later version (of
/// the earlier one where the table is gone), matched by name, and the key columns of tables that had its name before;
/// for a feed all that the table had, dropped ones included, null in images of versions that did not have them. In a net
/// diff, version and time are those of the commit that made or ended the row last.
pub struct Diff {
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

impl Diff {
    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Iterator for Diff {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.batches.next()
    }
}

impl Database {
    /// Changes of one table in (from, to]. Net ones also backwards: where `from` is after `to`, what it takes to come from
    /// the later version to the earlier one, with the commits that did the opposite.
    pub fn diff(&self, from: Version, to: Version, table: &str, kind: DiffKind) -> Result<Diff> {
        let (state, concerned) = self.concerned(from, to, table, kind)?;
        if kind == DiffKind::Feed {
            let feed = FeedStream::new(state, concerned, from, to)?;
            return Ok(Diff { schema: feed.schema(), batches: Box::new(feed) });
        }
        let columns = net_columns(&concerned, from, to);
        let net = net(state, &concerned, columns, from.min(to), from.max(to))?;
        Ok(if from > to { reversed(net) } else { net })
    }

    /// The schema of the batches that [`Database::diff`] would give.
    pub fn diff_schema(&self, from: Version, to: Version, table: &str, kind: DiffKind) -> Result<SchemaRef> {
        let (_, concerned) = self.concerned(from, to, table, kind)?;
        let columns = match kind {
            DiffKind::Feed => {
                feed_columns(&concerned, from, to).into_iter().map(|feed| feed.column).collect()
            }
            DiffKind::Net => net_columns(&concerned, from, to),
        };
        Ok(diff_schema(&columns))
    }

    /// Refuses a diff of versions that are gone.
    pub(crate) fn check_diff(&self, from: Version, to: Version, table: &str, kind: DiffKind) -> Result<()> {
        self.concerned(from, to, table, kind).map(drop)
    }

    /// The incarnations of a table that a diff is about, none of whose versions that it needs is gone.
    fn concerned(
        &self,
        from: Version,
        to: Version,
        table: &str,
        kind: DiffKind,
    ) -> Result<(Arc<State>, Vec<Arc<Table>>)> {
        if kind == DiffKind::Feed {
            check_order(from, to)?;
        }
        let state = self.inner.state_with(from.max(to))?;
        let concerned = alive_within(&state, from.min(to), from.max(to), table)?;
        check_told(&state, &concerned, from, to, kind)?;
        Ok((state, concerned))
    }
}

/// The incarnations of a table that were there at some version from `from` to `to`.
pub(crate) fn alive_within(
    state: &State,
    from: Version,
    to: Version,
    table: &str,
) -> Result<Vec<Arc<Table>>> {
    let catalog = state.catalog();
    let lived = |entry: &&Arc<Table>| entry.lives_within(from, to).next().is_some();
    let tables: Vec<Arc<Table>> = catalog.incarnations(table).filter(lived).cloned().collect();
    if tables.is_empty() {
        return Err(unknown_table(&catalog, to, table));
    }
    Ok(tables)
}

/// The columns of a net diff: those of the table at `to`, or at `from` where it is gone by then, of the wider of their
/// types at both: what is shown of either side is what it was.
fn net_columns(concerned: &[Arc<Table>], from: Version, to: Version) -> Vec<Column> {
    let (shown, schema) = match concerned.iter().rev().find(|entry| entry.exists_at(to)) {
        Some(entry) => (entry, entry.schema_at(to)),
        None => {
            let last = concerned.iter().rev().find(|entry| entry.exists_at(from)).or(concerned.last());
            last.map(|last| (last, last.schema_at(from))).expect("there is one")
        }
    };
    let mut columns = schema.columns.clone();
    if shown.exists_at(from) {
        for column in &mut columns {
            let other = shown.schema_at(from).column(column.id).map(|other| &other.column_type);
            if let Some(wider) = other.filter(|other| column.column_type.widens_to(other)) {
                column.column_type = wider.clone();
            }
        }
    }
    // Rows of a table that had another key are told by that key.
    let others = concerned.iter().filter(|entry| entry.id != shown.id);
    for key in others.flat_map(|entry| entry.schema_at(from).key_columns()) {
        if columns.iter().all(|column| column.name != key.name) {
            columns.push(key.clone());
        }
    }
    columns
}

/// For each of the tables, the first that has the same key columns up to a version: rows of both are one where their keys
/// are. Rows without a key are of their own table alone: nothing tells which of another one's they could be.
fn key_spaces(concerned: &[Arc<Table>], to: Version) -> Vec<usize> {
    let key = |table: &Table| -> Vec<String> {
        let columns = table.schema_at(to).key_columns();
        columns.map(|column| format!("{} {}", column.name, column.column_type)).collect()
    };
    let keys: Vec<Vec<String>> = concerned.iter().map(|entry| key(entry)).collect();
    let space = |(index, key): (usize, &Vec<String>)| match key.is_empty() {
        true => index,
        false => keys.iter().position(|other| other == key).expect("it is one of them"),
    };
    keys.iter().enumerate().map(space).collect()
}

/// Of the lines of a net diff, the batches of rows as they were and as they are.
const BEFORE: usize = 0;
const AFTER: usize = 1;

/// The net changes from an earlier version to a later one.
fn net(
    state: Arc<State>,
    concerned: &[Arc<Table>],
    columns: Vec<Column>,
    from: Version,
    to: Version,
) -> Result<Diff> {
    if let [entry] = concerned
        && entry.exists_at(to)
    {
        let net = NetStream::new(state, entry, columns, from, to)?;
        return Ok(Diff { schema: net.schema.clone(), batches: Box::new(net) });
    }
    let loose = crate::adapt::loose_schema(&columns);
    let columns = Arc::new(columns);
    let mut sources = Vec::new();
    for (entry, key_space) in concerned.iter().zip(key_spaces(concerned, to)) {
        let earlier = entry.schema_at(from.max(entry.schemas[0].0)).clone();
        let later = entry.schema_at(to).clone();
        let (columns, loose) = (columns.clone(), loose.clone());
        sources.extend(lines::scans(&state, entry, (from, to), move |chunk, own, events| {
            let before = by_name(&chunk.rows, &earlier, &later, own, &columns, &loose)?;
            let after = by_name(&chunk.rows, &later, &earlier, own, &columns, &loose)?;
            let lines = net_lines(key_space, events, from, to);
            Ok(Lines { lines, batches: vec![before, after] })
        })?);
    }
    let schema = diff_schema(&columns);
    let (of_batches, mut times) = (schema.clone(), Times::default());
    let mut merged = MergedLines::new(sources);
    let batches = std::iter::from_fn(move || {
        let rendered = merged.next()?.and_then(|Lines { lines, batches }| {
            let lines = drop_equal(lines, &columns, &batches)?;
            render(&state, &mut times, &of_batches, &lines, &batches)
        });
        Some(rendered.map_or_else(|error| vec![Err(error)], |batches| batches.into_iter().map(Ok).collect()))
    });
    Ok(Diff { schema, batches: Box::new(batches.flatten()) })
}

/// Refuses a question about versions of which some are gone: a net diff needs both its ends, a feed all between.
fn check_told(
    state: &State,
    tables: &[Arc<Table>],
    from: Version,
    to: Version,
    kind: DiffKind,
) -> Result<()> {
    for table in tables {
        match kind {
            DiffKind::Feed => check_all_readable(&state.generation, table, from, to)?,
            DiffKind::Net => {
                for version in [from, to].into_iter().filter(|version| table.exists_at(*version)) {
                    check_readable(&state.generation, table, version)?;
                }
            }
        }
    }
    Ok(())
}

/// Refuses what goes backwards.
pub(crate) fn check_order(from: Version, to: Version) -> Result<()> {
    match from > to {
        true => Err(Error::invalid(format!(
            "version {from} is after version {to}: a diff goes from earlier to later"
        ))),
        false => Ok(()),
    }
}

/// Rows of one side of a net diff under the diff's columns, matched by the names of that side's schema; a column that
/// side does not have by name is found by the id it has on the other side.
fn by_name(
    rows: &RecordBatch,
    side: &TableSchema,
    other_side: &TableSchema,
    own: &[Column],
    columns: &[Column],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let id_in =
        |schema: &TableSchema, name: &str| schema.columns.iter().find(|c| c.name == name).map(|c| c.id);
    let arrays = columns
        .iter()
        .map(|column| {
            let id = id_in(side, &column.name).or_else(|| {
                let id = id_in(other_side, &column.name)?;
                side.column(id).map(|column| column.id)
            });
            let index = id.and_then(|id| own.iter().position(|other| other.id == id));
            let to = column.column_type.to_arrow();
            match index {
                Some(index) => cast_or_null(rows.column(index), &to),
                None => Ok(new_null_array(&to, rows.num_rows())),
            }
        })
        .collect::<Result<Vec<_>>>()?;
    batch_of(schema.clone(), arrays, rows.num_rows())
}

fn net_lines(key_space: usize, events: Vec<Event>, from: Version, to: Version) -> Vec<Line> {
    let line = |Event { key, begin, end, row }: Event| {
        let was = begin <= from && from < end;
        let is = begin <= to && to < end;
        let (change, version, batch) = match (was, is) {
            (true, false) => (ChangeType::Delete, end, BEFORE),
            (false, true) => (ChangeType::Insert, begin, AFTER),
            _ => return None,
        };
        Some(Line { version, key_space, key, change, row: (batch, row) })
    };
    events.into_iter().filter_map(line).collect()
}

/// Pairs a deletion and an insertion of one key to an update, and drops updates that changed nothing.
fn drop_equal(lines: Vec<Line>, columns: &[Column], batches: &[RecordBatch]) -> Result<Vec<Line>> {
    let converter = RowConverter::new(
        columns.iter().map(|column| SortField::new(column.column_type.to_arrow())).collect(),
    )?;
    let rows = batches
        .iter()
        .map(|batch| Ok(converter.convert_columns(batch.columns())?))
        .collect::<Result<Vec<_>>>()?;
    let mut net: Vec<Line> = Vec::with_capacity(lines.len());
    let mut lines = lines.into_iter().peekable();
    while let Some(mut line) = lines.next() {
        let Some(mut after) = lines.next_if(|next| line.is_updated_by(next)) else {
            net.push(line);
            continue;
        };
        if rows[line.row.0].row(line.row.1) != rows[after.row.0].row(after.row.1) {
            line.version = after.version;
            line.change = ChangeType::UpdatePreimage;
            after.change = ChangeType::UpdatePostimage;
            net.extend([line, after]);
        }
    }
    Ok(net)
}

/// The schema of a diff's batches.
fn diff_schema(columns: &[Column]) -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("_change_type", DataType::Utf8, false),
        Field::new("_commit_version", DataType::UInt64, false),
        Field::new("_commit_timestamp", utc, false),
    ];
    fields.extend(columns.iter().map(|column| column.to_field().with_nullable(true)));
    Arc::new(Schema::new(fields))
}

/// Commit times by version: a diff has many lines of few versions.
#[derive(Default)]
pub(crate) struct Times(HashMap<Version, i64>);

impl Times {
    pub(crate) fn of(&mut self, state: &State, version: Version) -> Result<i64> {
        if let Some(time) = self.0.get(&version) {
            return Ok(*time);
        }
        let time = state.time(version)?.0;
        self.0.insert(version, time);
        Ok(time)
    }
}

/// What happened, by which version, before the columns of rows.
fn with_changes(
    state: &State,
    times: &mut Times,
    schema: &SchemaRef,
    changes: &[(ChangeType, Version)],
    rows: &RecordBatch,
) -> Result<RecordBatch> {
    let commits = changes.iter().map(|(_, version)| times.of(state, *version));
    let commits = commits.collect::<Result<Vec<i64>>>()?;
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(changes.iter().map(|(change, _)| change.name()))),
        Arc::new(UInt64Array::from_iter_values(changes.iter().map(|(_, version)| version.0))),
        Arc::new(TimestampMicrosecondArray::from(commits).with_timezone("UTC")),
    ];
    arrays.extend(rows.columns().iter().cloned());
    Ok(RecordBatch::try_new(schema.clone(), arrays)?)
}

/// Lines as batches.
fn render(
    state: &State,
    times: &mut Times,
    schema: &SchemaRef,
    lines: &[Line],
    batches: &[RecordBatch],
) -> Result<Vec<RecordBatch>> {
    let sources: Vec<&RecordBatch> = batches.iter().collect();
    let rendered = lines.chunks(BATCH_ROWS).map(|lines| {
        let picks: Vec<(usize, usize)> = lines.iter().map(|line| line.row).collect();
        let rows = interleave_record_batch(&sources, &picks)?;
        let changes: Vec<_> = lines.iter().map(|line| (line.change, line.version)).collect();
        with_changes(state, times, schema, &changes, &rows)
    });
    rendered.collect()
}

/// A net diff of a table that was there all along, or was made meanwhile, as a stream: row versions come in order of keys, so that what a key
/// was and what it is follow each other.
struct NetStream {
    state: Arc<State>,
    table: Arc<Table>,
    chunks: Chunks,
    /// Every column that the table ever had, and those of the diff.
    own: Vec<Column>,
    columns: Vec<Column>,
    loose: SchemaRef,
    schema: SchemaRef,
    from: Version,
    to: Version,
    /// When the table came back since, which it did with all its rows.
    came_back: Option<Version>,
    times: Times,
    /// A row that was, whose key may still turn out to be updated.
    was: Option<(Vec<u8>, Version, RecordBatch)>,
    /// Whether rows are shown as they were and as they are by one schema.
    same_schema: bool,
    ready: VecDeque<RecordBatch>,
    done: bool,
}

/// The batch of a row that waited for the next chunk; those before it are the chunk's, as they were and as they are.
const WAITED: usize = 2;

/// Lines of a diff while they are gathered.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    picks: Vec<(usize, usize)>,
    changes: Vec<(ChangeType, Version)>,
}

impl Gathered {
    fn add(&mut self, change: ChangeType, version: Version, row: (usize, usize)) {
        self.changes.push((change, version));
        self.picks.push(row);
    }
}

impl NetStream {
    fn new(
        state: Arc<State>,
        table: &Arc<Table>,
        columns: Vec<Column>,
        from: Version,
        to: Version,
    ) -> Result<NetStream> {
        let own = all_columns(table);
        let begin = table.lives.iter().rfind(|(begin, _)| *begin <= to).map(|(begin, _)| *begin);
        let came_back = begin.filter(|begin| !table.exists_at(from) && *begin > table.lives[0].0);
        let life = match came_back {
            Some(_) => Life::VisibleAt(to),
            None => Life::AliveAtOneOf { after: from, up_to: to },
        };
        let chunks = touched_row_versions(&state, table, &own, life)?;
        Ok(NetStream {
            chunks,
            state,
            table: table.clone(),
            own,
            loose: crate::adapt::loose_schema(&columns),
            schema: diff_schema(&columns),
            columns,
            from,
            to,
            came_back,
            times: Times::default(),
            was: None,
            same_schema: Arc::ptr_eq(table.schema_at(from), table.schema_at(to)),
            ready: VecDeque::new(),
            done: false,
        })
    }

    /// Lines of a chunk's rows. The last row that was may be updated by the first row of the next chunk: it waits.
    fn gather(&mut self, chunk: &Chunk) -> Result<Gathered> {
        let (earlier, later) = (self.table.schema_at(self.from), self.table.schema_at(self.to));
        let mut gathered = Gathered::default();
        let after = by_name(&chunk.rows, later, earlier, &self.own, &self.columns, &self.loose)?;
        let before = match self.same_schema {
            true => after.clone(),
            false => by_name(&chunk.rows, earlier, later, &self.own, &self.columns, &self.loose)?,
        };
        gathered.batches = vec![before, after];
        // The row that was last: (key, end, where).
        let mut was: Option<(Vec<u8>, Version, (usize, usize))> = None;
        if let Some((key, end, row)) = self.was.take() {
            gathered.batches.push(row);
            was = Some((key, end, (WAITED, 0)));
        }
        for row in 0..chunk.len() {
            let (key, mut begin, end) = (chunk.keys.get(row), chunk.begins[row], chunk.ends[row]);
            let existed = self.came_back.is_none() && begin <= self.from && self.from < end;
            begin = self.came_back.map_or(begin, |version| begin.max(version));
            let exists = begin <= self.to && self.to < end;
            if existed == exists {
                continue;
            }
            let known = was.take();
            if exists && known.as_ref().is_some_and(|(other, ..)| other == key) {
                let (_, _, before) = known.expect("it has this key");
                gathered.add(ChangeType::UpdatePreimage, begin, before);
                gathered.add(ChangeType::UpdatePostimage, begin, (1, row));
                continue;
            }
            if let Some((_, end, before)) = known {
                gathered.add(ChangeType::Delete, end, before);
            }
            if exists {
                gathered.add(ChangeType::Insert, begin, (1, row));
            } else {
                was = Some((key.to_vec(), end, (0, row)));
            }
        }
        self.was = was.map(|(key, end, (batch, row))| (key, end, gathered.batches[batch].slice(row, 1)));
        Ok(gathered)
    }

    /// The lines as batches, without updates that changed nothing.
    fn give(&mut self, gathered: Gathered) -> Result<()> {
        let Gathered { batches, picks, changes } = gathered;
        // Mostly a line is the row behind the line before it: then nothing is copied, but for a row that waited.
        let waited = picks.iter().take_while(|(batch, _)| *batch == WAITED).count();
        let is_pair =
            waited == 1 && changes.first().is_some_and(|(change, _)| *change == ChangeType::UpdatePreimage);
        let (picked, stretch) = picks.split_at(waited + usize::from(is_pair));
        let same = |one: usize, other: usize| one == other || (WAITED > one.max(other) && self.same_schema);
        let follows = |pair: &[(usize, usize)]| same(pair[0].0, pair[1].0) && pair[0].1 + 1 == pair[1].1;
        if !stretch.windows(2).all(follows) {
            return self
                .give_lines(interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &picks)?, changes);
        }
        let (of_picked, of_stretch) = changes.split_at(picked.len());
        if !picked.is_empty() {
            let rows = interleave_record_batch(&batches.iter().collect::<Vec<_>>(), picked)?;
            self.give_lines(rows, of_picked.to_vec())?;
        }
        match stretch.first() {
            Some((batch, row)) => {
                self.give_lines(batches[*batch].slice(*row, stretch.len()), of_stretch.to_vec())
            }
            None => Ok(()),
        }
    }

    /// Rows of lines as a batch to give, without updates that changed nothing.
    fn give_lines(&mut self, mut rows: RecordBatch, mut changes: Vec<(ChangeType, Version)>) -> Result<()> {
        let is_pair = |(change, _): &(ChangeType, Version)| *change == ChangeType::UpdatePreimage;
        let mut equal: Vec<bool> = changes.iter().map(is_pair).collect();
        find_equal(&rows, &mut equal)?;
        if equal.contains(&true) {
            let mut keep = vec![true; changes.len()];
            for (at, _) in equal.iter().enumerate().filter(|(_, equal)| **equal) {
                (keep[at], keep[at + 1]) = (false, false);
            }
            let mut flags = keep.iter();
            changes.retain(|_| *flags.next().expect("one for each line"));
            rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        }
        if !changes.is_empty() {
            let batch = with_changes(&self.state, &mut self.times, &self.schema, &changes, &rows)?;
            self.ready.push_back(batch);
        }
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while self.ready.is_empty() && !self.done {
            let gathered = match self.chunks.next() {
                Some(chunk) => self.gather(&chunk?)?,
                None => {
                    self.done = true;
                    let mut last = Gathered::default();
                    if let Some((_, end, row)) = self.was.take() {
                        last.batches.push(row);
                        last.add(ChangeType::Delete, end, (0, 0));
                    }
                    last
                }
            };
            self.give(gathered)?;
        }
        Ok(self.ready.pop_front())
    }
}

impl Iterator for NetStream {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = self.next_batch();
        self.done |= next.is_err();
        next.transpose()
    }
}

/// Of the rows that are marked, leaves marked those that equal the row behind them.
fn find_equal(rows: &RecordBatch, marked: &mut [bool]) -> Result<()> {
    let others = rows.num_rows().saturating_sub(1);
    for column in rows.columns() {
        // Mostly a column or two tell all of them apart.
        if !marked.contains(&true) {
            return Ok(());
        }
        unmark_distinct(&column.slice(0, others), &column.slice(1, others), marked)?;
    }
    Ok(())
}
