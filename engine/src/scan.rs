//! From data files and memtable to streams of rows: which row groups hold anything of what is asked, in
//! which order they have to be merged, if at all, and what of them is read.

mod filter;
pub mod parts;
pub(crate) mod ranges;
pub(crate) mod within;

use crate::adapt::{adapt, batch_of, loose_schema};
use crate::api::{Filter, ScanOptions};
use crate::error::{ErrorKind, Result};
use crate::pool;
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks, merge};
use crate::store::data_file::{DataFile, Wanted};
use crate::store::group_scan::{
    BATCH_ROWS, Choice, DeadRows, Deaths, Detail, GroupTask, LifeFilter, mask_of, within_mask,
};
use crate::store::read::as_wanted;
use crate::table_ends::{DeadCount, TableEnds};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use asof_mvcc::{Column, FileId, Keys, Memtable, Selection, Table, TableSchema, Version};
use parking_lot::RwLock;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Rows that the sources of a merge hold in memory, about, where there are many of them.
const MERGE_ROWS: usize = 65_536;
/// Rows of a source that are decoded at once, at least.
const BATCH_ROWS_MIN: usize = 1_024;
/// Sources that are read ahead of being merged, at most: each holds some chunks in memory.
const AHEAD_SOURCES_MAX: usize = 64;

/// Sources whose merging is worth a thread, at least.
const MERGED_AHEAD_SOURCES_MIN: usize = 8;

/// Which row versions to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Those alive at a version.
    VisibleAt(Version),
    /// Those that began or ended in (after, up_to].
    Touched {
        /// Exclusive.
        after: Version,
        /// Inclusive.
        up_to: Version,
    },
    /// Of those, the ones alive at one of the two versions: what came and went between them is not.
    AliveAtOneOf {
        /// The earlier version.
        after: Version,
        /// The later version.
        up_to: Version,
    },
    /// Those alive at some version from the first to the last, both inclusive. Of their ends those up to the last are
    /// told.
    Within {
        /// The first version.
        first: Version,
        /// The last version.
        last: Version,
    },
}

impl Life {
    /// Tells whether a row version is wanted: the one place that says what is visible.
    pub(crate) fn filter(self) -> LifeFilter {
        match self {
            Life::VisibleAt(version) => Arc::new(move |begin, end| begin <= version && version < end),
            Life::Touched { after, up_to } => Arc::new(move |begin, end| {
                let within = |version: Version| after < version && version <= up_to;
                within(begin) || within(end)
            }),
            Life::AliveAtOneOf { after, up_to } => {
                let alive = |at: Version, begin, end| begin <= at && at < end;
                Arc::new(move |begin, end| alive(after, begin, end) != alive(up_to, begin, end))
            }
            Life::Within { first, last } => Arc::new(move |begin, end| begin <= last && first < end),
        }
    }

    /// The newest version that the question is about.
    pub(crate) fn newest(self) -> Version {
        match self {
            Life::VisibleAt(version)
            | Life::Touched { up_to: version, .. }
            | Life::AliveAtOneOf { up_to: version, .. }
            | Life::Within { last: version, .. } => version,
        }
    }

    /// The versions (after, up_to] where the question is what happened in them.
    pub(crate) fn touched(self) -> Option<(Version, Version)> {
        match self {
            Life::VisibleAt(_) | Life::Within { .. } => None,
            Life::Touched { after, up_to } | Life::AliveAtOneOf { after, up_to } => Some((after, up_to)),
        }
    }

    /// Whether row versions within these begins and ends may be wanted. Rows that died since the file was written are
    /// not accounted for.
    fn may_want(self, begins: (u64, u64), ends: (u64, u64)) -> bool {
        match self {
            Life::VisibleAt(version) => begins.0 <= version.0 && version.0 < ends.1,
            Life::Touched { after, up_to } | Life::AliveAtOneOf { after, up_to } => {
                let overlap = |range: (u64, u64)| range.1 > after.0 && range.0 <= up_to.0;
                overlap(begins) || overlap(ends)
            }
            Life::Within { first, last } => begins.0 <= last.0 && first.0 < ends.1,
        }
    }
}

/// What to read of a table: columns by id, as `schema` has them.
pub fn wanted(table: &Table, columns: &[Column]) -> Wanted {
    let key: Vec<Column> = table.newest_schema().key_columns().cloned().collect();
    Wanted { columns: columns.into(), schema: loose_schema(columns), key: key.into() }
}

/// When rows of a table's data files died, as far as a question depends on it.
struct TableDead {
    settled: Option<Arc<TableEnds>>,
    tail: HashMap<FileId, Vec<(u32, Version)>>,
    /// Deaths in (after, up_to].
    within: (Version, Version),
}

impl TableDead {
    fn of(state: &State, table: &Table, memtable: Option<&RwLock<Memtable>>, life: Life) -> TableDead {
        let after = life.touched().map_or(Version::ZERO, |(after, _)| after);
        let newest = life.newest();
        let mut tail: HashMap<FileId, Vec<(u32, Version)>> = HashMap::new();
        if let Some(memtable) = memtable {
            for (file, row, end) in memtable.read().file_ends_within(after, newest) {
                tail.entry(file).or_default().push((row, end));
            }
        }
        TableDead { settled: state.generation.ends(table.id).cloned(), tail, within: (after, newest) }
    }

    fn tail_in(&self, file: &DataFile, group: usize) -> Vec<(u32, Version)> {
        self.tail.get(&file.record.id).map(|dead| file.dead_in(group, dead)).unwrap_or_default()
    }
}

impl Deaths for TableDead {
    fn count(&self, file: &DataFile, group: usize) -> Result<DeadCount> {
        let settled = self.settled.as_ref();
        let count = settled.map(|ends| ends.count(file.record.id, &file.positions(group), self.within));
        let mut count = count.transpose()?.unwrap_or_default();
        let tail = self.tail_in(file, group).len() as u64;
        (count.least, count.most) = (count.least + tail, count.most + tail);
        Ok(count)
    }

    fn each(&self, file: &DataFile, group: usize, each: &mut dyn FnMut(u32, Version)) -> Result<()> {
        if let Some(ends) = &self.settled {
            ends.each_dead(file.record.id, &file.positions(group), self.within, each)?;
        }
        self.tail_in(file, group).into_iter().for_each(|(row, end)| each(row, end));
        Ok(())
    }
}

/// The dead among some rows of a row group, by position within it: for lookups, which ask for few.
pub(crate) fn dead_among(
    state: &State,
    memtable: Option<&RwLock<Memtable>>,
    file: &DataFile,
    group: usize,
    rows: Range<u32>,
    newest: Version,
) -> Result<Vec<(u32, Version)>> {
    let start = file.group_start(group);
    let mut dead = Vec::new();
    for row in rows {
        let position = start + row;
        if let Some(end) = state.generation.end_of(file.record.table, file.record.id, position)? {
            dead.push((row, end));
        } else if let Some(end) = memtable.and_then(|m| m.read().file_end(file.record.id, position))
            && end <= newest
        {
            dead.push((row, end));
        }
    }
    Ok(dead)
}

/// The row groups that may hold row versions that are wanted, file by file, run by run: each run's tasks in order. Where
/// metadata leave open whether a version shows any row, it is looked, unless that is not asked for `exactly`.
fn runs_of(
    state: &State,
    table: &Table,
    memtable: Option<&RwLock<Memtable>>,
    life: Life,
    exactly: bool,
) -> Result<Vec<Vec<GroupTask>>> {
    let newest = life.newest();
    let dead = Arc::new(TableDead::of(state, table, memtable, life));
    let mut runs = Vec::new();
    let loaded = state.loaded_files(table.id, newest);
    for record in state.generation.data_files(table.id, newest).chain(loaded.iter().map(|file| &**file)) {
        let begins = (record.min_begin, record.max_begin);
        let ends = (record.min_end, record.max_end);
        // Rows of files that are not history die without the file knowing.
        let may_die = life.touched().is_some() && !record.history;
        if record.min_begin > newest.0 || !(may_die || life.may_want(begins, ends)) {
            continue;
        }
        let file = match state.generation.open(record) {
            // Damage of a file whose rows have all ended is nobody's concern here.
            Err(error)
                if matches!(life, Life::VisibleAt(_))
                    && error.kind() == ErrorKind::Corrupt
                    && state.has_all_ended(record, newest) =>
            {
                continue;
            }
            file => file?,
        };
        for run in file.runs() {
            let mut tasks: Vec<GroupTask> = Vec::new();
            for group in run {
                let extent = &file.groups[group];
                let possible =
                    life.may_want((extent.min_begin, extent.max_begin), (extent.min_end, extent.max_end));
                if !possible && !may_die {
                    continue;
                }
                let rows = u64::from(extent.rows);
                let count = dead.count(&file, group)?;
                // Which rows died is read when the row group is, unless it decides whether that is read at all.
                let (wanted, known) = match life {
                    Life::VisibleAt(_) if !possible || count.least >= rows => (false, None),
                    Life::VisibleAt(_) if count.most < rows || !exactly => (true, None),
                    Life::VisibleAt(_) => {
                        let known = dead.all(&file, group)?;
                        ((known.len() as u64) < rows, Some(known))
                    }
                    // Which of them died before the first version is seen when they are read.
                    Life::Within { .. } => (true, None),
                    _ if possible || count.least > 0 => (true, None),
                    _ if count.most == 0 => (false, None),
                    _ => {
                        let known = dead.all(&file, group)?;
                        (!known.is_empty(), Some(known))
                    }
                };
                if wanted {
                    let dead = match known {
                        Some(known) => DeadRows::Known(known),
                        None if count.most == 0 => DeadRows::Known(Vec::new()),
                        None => DeadRows::Asked(dead.clone()),
                    };
                    let (file, choice) = (file.clone(), Choice::Life(life));
                    tasks.push(GroupTask { file, group, rows: None, dead, choice });
                }
            }
            if !tasks.is_empty() {
                runs.push(tasks);
            }
        }
    }
    Ok(runs)
}

fn memtable_for(state: &State, table: &Table, life: Life) -> Option<Arc<RwLock<Memtable>>> {
    if life.newest() > state.generation.version() { state.memtable(table.id) } else { None }
}

/// The row groups of data files of which a version may show anything, those with lower keys first.
pub(crate) fn visible_groups(state: &State, table: &Table, version: Version) -> Result<Vec<GroupTask>> {
    let life = Life::VisibleAt(version);
    let memtable = memtable_for(state, table, life);
    let mut tasks: Vec<GroupTask> =
        runs_of(state, table, memtable.as_deref(), life, false)?.into_iter().flatten().collect();
    tasks.sort_by(|a, b| a.file.groups[a.group].min_key.cmp(&b.file.groups[b.group].min_key));
    Ok(tasks)
}

/// The rows that a version shows and that are in no data file, in order.
pub(crate) fn memory_rows(
    state: &State,
    table: &Table,
    columns: &[Column],
    version: Version,
) -> Result<Vec<RecordBatch>> {
    let life = Life::VisibleAt(version);
    let Some(memtable) = memtable_for(state, table, life) else { return Ok(Vec::new()) };
    let chunks = memory_chunks(&memtable, table, &wanted(table, columns), life)?;
    Ok(chunks.into_iter().map(|chunk| chunk.rows).collect())
}

/// Row versions of a table, in order of key, then begin.
pub fn row_versions(state: &State, table: &Table, columns: &[Column], life: Life) -> Result<Chunks> {
    let wanted = wanted(table, columns);
    let memtable = memtable_for(state, table, life);
    let runs = runs_of(state, table, memtable.as_deref(), life, true)?;
    let memory = match &memtable {
        Some(memtable) => memory_chunks(memtable, table, &wanted, life)?,
        None => Vec::new(),
    };
    let threads = state.generation.open_files().threads;
    Ok(merged(runs, memory, &wanted, Detail { keys: true, lives: true }, threads))
}

/// Without row groups in which no row passes a filter, by their statistics.
fn pruned(
    mut runs: Vec<Vec<GroupTask>>,
    filter: Option<&Filter>,
    columns: &[Column],
) -> Result<Vec<Vec<GroupTask>>> {
    let Some(filter) = filter else { return Ok(runs) };
    for run in &mut runs {
        let mut kept = Vec::with_capacity(run.len());
        for task in run.drain(..) {
            if filter.may_pass(&task.file, task.group, columns)? {
                kept.push(task);
            }
        }
        *run = kept;
    }
    runs.retain(|run| !run.is_empty());
    Ok(runs)
}

/// The keys of a table's rows at a version, in order, at least those that are not below `first`.
pub fn keys_from(state: &State, table: &Table, version: Version, first: &[u8]) -> Result<Chunks> {
    let (wanted, life) = (wanted(table, &[]), Life::VisibleAt(version));
    let memtable = memtable_for(state, table, life);
    let mut runs = runs_of(state, table, memtable.as_deref(), life, true)?;
    runs.iter_mut().for_each(|tasks| tasks.retain(|task| *task.file.groups[task.group].max_key >= *first));
    runs.retain(|tasks| !tasks.is_empty());
    let memory = match &memtable {
        Some(memtable) => memory_chunks(memtable, table, &wanted, life)?,
        None => Vec::new(),
    };
    let threads = state.generation.open_files().threads;
    Ok(merged(runs, memory, &wanted, Detail { keys: true, lives: false }, threads))
}

/// Row versions of a table, as they lie, without their keys.
pub fn unordered_row_versions(
    state: &State,
    table: &Table,
    columns: &[Column],
    life: Life,
) -> Result<Chunks> {
    let wanted = wanted(table, columns);
    let memtable = memtable_for(state, table, life);
    let runs = runs_of(state, table, memtable.as_deref(), life, true)?;
    let memory = match &memtable {
        Some(memtable) => memory_chunks(memtable, table, &wanted, life)?,
        None => Vec::new(),
    };
    let threads = state.generation.open_files().threads;
    Ok(unordered(runs, memory, wanted, threads))
}

/// Row versions with their lives and without their keys, as they lie.
fn unordered(runs: Vec<Vec<GroupTask>>, memory: Vec<Chunk>, wanted: Wanted, threads: usize) -> Chunks {
    let detail = Detail { keys: false, lives: true };
    let read = move |task: GroupTask| task.chunks(wanted.clone(), detail).collect::<Result<Vec<Chunk>>>();
    let groups = pool::ahead(threads, runs.into_iter().flatten(), read);
    Box::new(groups.flat_map(flatten).chain(memory.into_iter().map(Ok)))
}

/// What a job gave, item by item.
fn flatten<T>(given: Result<Result<Vec<T>>>) -> Box<dyn Iterator<Item = Result<T>> + Send>
where
    T: Send + 'static,
{
    match given.and_then(|given| given) {
        Ok(items) => Box::new(items.into_iter().map(Ok)),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// Runs and rows from memory as one ordered stream.
pub(crate) fn merged(
    runs: Vec<Vec<GroupTask>>,
    memory: Vec<Chunk>,
    wanted: &Wanted,
    detail: Detail,
    threads: usize,
) -> Chunks {
    let ahead = threads > 1 && runs.len() <= AHEAD_SOURCES_MAX;
    // The longest run is read by whole row groups on all threads, so that the others do not wait for it.
    let longest = runs.iter().map(Vec::len).max().filter(|groups| *groups > 1);
    let longest = runs.iter().position(|tasks| Some(tasks.len()) == longest);
    // Each has a chunk in memory: of many, shorter ones.
    let batch_rows = (MERGE_ROWS / runs.len().max(1)).clamp(BATCH_ROWS_MIN, BATCH_ROWS);
    let mut sources: Vec<Chunks> = Vec::with_capacity(runs.len() + 1);
    for (run, tasks) in runs.into_iter().enumerate() {
        let wanted = wanted.clone();
        // A single chunk is not worth handing to another thread.
        let short = tasks.iter().map(GroupTask::rows_expected).sum::<usize>() <= BATCH_ROWS;
        if ahead && Some(run) == longest {
            let read = move |task: GroupTask| {
                task.chunks_of(batch_rows, wanted.clone(), detail).collect::<Result<Vec<_>>>()
            };
            sources.push(Box::new(pool::ahead(threads, tasks.into_iter(), read).flat_map(flatten)));
            continue;
        }
        let chunks =
            tasks.into_iter().flat_map(move |task| task.chunks_of(batch_rows, wanted.clone(), detail));
        sources.push(if ahead && !short { Box::new(pool::one_ahead(chunks)) } else { Box::new(chunks) });
    }
    if !memory.is_empty() {
        sources.push(Box::new(memory.into_iter().map(Ok)));
    }
    // Where few rows come from each of many sources, finding which comes next takes as long as decoding them.
    let many = ahead && sources.len() >= MERGED_AHEAD_SOURCES_MIN;
    if many { Box::new(pool::merged_ahead(merge(sources))) } else { merge(sources) }
}

/// The memtable's row versions that `life` wants, batch by batch.
fn memory_selections(memtable: &Memtable, life: Life) -> Vec<Selection> {
    match life {
        Life::VisibleAt(version) => memtable.visible_at(version),
        // Who asks for those alive at one of the two passes over the others.
        Life::Touched { after, up_to } | Life::AliveAtOneOf { after, up_to } => {
            memtable.touched(after, up_to)
        }
        Life::Within { first, last } => memtable.select(|begin, end| begin <= last && first < end),
    }
}

/// The memtable's row versions that `life` wants, in order.
fn memory_chunks(
    memtable: &RwLock<Memtable>,
    table: &Table,
    wanted: &Wanted,
    life: Life,
) -> Result<Vec<Chunk>> {
    // Locked no longer than this: commits go on while the rows are put in order.
    let selections = memory_selections(&memtable.read(), life);
    let mut batches = Vec::with_capacity(selections.len());
    let mut order: Vec<(&[u8], Version, usize, usize)> = Vec::new();
    for (index, selection) in selections.iter().enumerate() {
        let (_, schema) = &table.schemas[selection.batch.schema];
        batches.push(adapt(&selection.batch.rows, &schema.columns, &wanted.columns, &wanted.schema)?);
        for (nth, row) in selection.rows.iter().enumerate() {
            order.push((selection.batch.keys.get(*row as usize), selection.begins[nth], index, nth));
        }
    }
    order.sort_unstable();
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let chunks = order.chunks(BATCH_ROWS).map(|rows| {
        let picks: Vec<(usize, usize)> =
            rows.iter().map(|(_, _, index, nth)| (*index, selections[*index].rows[*nth] as usize)).collect();
        let mut keys = Keys::with_capacity(rows.len());
        rows.iter().for_each(|(key, ..)| keys.push(key));
        Ok(Chunk {
            rows: if wanted.columns.is_empty() {
                batch_of(wanted.schema.clone(), Vec::new(), rows.len())?
            } else {
                interleave_record_batch(&batches, &picks)?
            },
            keys,
            begins: rows.iter().map(|(_, begin, ..)| *begin).collect(),
            ends: rows.iter().map(|(_, _, index, nth)| selections[*index].ends[*nth]).collect(),
        })
    });
    chunks.collect()
}

/// Rows of a table at a version as a stream of batches: in key order (order of insertion where there is no key), or as
/// they lie.
pub struct Scan {
    stages: VecDeque<Stage>,
    current: Option<Batches>,
    /// Keeps the files while the scan reads them.
    _state: Arc<State>,
    question: Arc<Question>,
    threads: usize,
    left: u64,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// What a scan asks of each row group.
struct Question {
    /// The columns to give, then those that the filter needs beside them.
    columns: Arc<[Column]>,
    given: usize,
    filter: Option<Filter>,
    /// Which of `columns` the filter reads.
    filtered: Vec<usize>,
    /// The schema of what is given, and of all columns, nullable.
    schema: SchemaRef,
    loose: SchemaRef,
    key: Arc<[Column]>,
    limit: u64,
}

/// A part of a scan.
enum Stage {
    /// Row groups one after the other.
    Groups(Vec<GroupTask>),
    /// Rows whose keys interleave.
    Merged(Vec<Vec<GroupTask>>, Vec<Chunk>),
    /// Rows from memory.
    Memory(Vec<RecordBatch>),
}

/// What a question comes to: the row groups that may hold an answer, and what is in memory.
struct Prepared {
    question: Question,
    runs: Vec<Vec<GroupTask>>,
    memtable: Option<Arc<RwLock<Memtable>>>,
    all: Wanted,
}

impl Prepared {
    fn new(
        state: &State,
        table: &Table,
        schema: &TableSchema,
        version: Version,
        options: ScanOptions,
    ) -> Result<Prepared> {
        let (question, all) = Question::new(table, schema, options)?;
        let life = Life::VisibleAt(version);
        let memtable = memtable_for(state, table, life);
        let runs = runs_of(state, table, memtable.as_deref(), life, true)?;
        let runs = pruned(runs, question.filter.as_ref(), &question.columns)?;
        Ok(Prepared { question, runs, memtable, all })
    }
}

impl Scan {
    pub(crate) fn new(
        state: Arc<State>,
        table: &Table,
        schema: &TableSchema,
        version: Version,
        options: ScanOptions,
    ) -> Result<Scan> {
        let ordered = options.ordered;
        let Prepared { question, runs, memtable, all } =
            Prepared::new(&state, table, schema, version, options)?;
        let life = Life::VisibleAt(version);
        let mut stages = VecDeque::new();
        if ordered {
            let memory = match &memtable {
                Some(memtable) => memory_chunks(memtable, table, &all, life)?,
                None => Vec::new(),
            };
            stages.extend(parts_of(runs, memory));
        } else {
            stages.push_back(Stage::Groups(runs.into_iter().flatten().collect()));
            if let Some(memtable) = &memtable {
                stages.push_back(Stage::Memory(memory_batches(&memtable.read(), table, &all, life)?));
            }
        }
        let threads = state.generation.open_files().threads;
        let left = question.limit;
        Ok(Scan { stages, current: None, _state: state, question: Arc::new(question), threads, left })
    }

    /// The schema of the batches: the projected columns.
    pub fn schema(&self) -> SchemaRef {
        self.question.schema.clone()
    }

    fn begin(&self, stage: Stage) -> Batches {
        let question = self.question.clone();
        match stage {
            Stage::Groups(tasks) => {
                let threads = if tasks.len() > 1 { self.threads } else { 1 };
                let read = move |task| question.read(task);
                Box::new(pool::ahead(threads, tasks.into_iter(), read).flat_map(flatten))
            }
            Stage::Merged(runs, memory) => {
                let (columns, schema, key) =
                    (question.columns.clone(), question.loose.clone(), question.key.clone());
                let wanted = Wanted { columns, schema, key };
                let detail = Detail { keys: true, lives: false };
                let chunks = merged(runs, memory, &wanted, detail, self.threads);
                Box::new(chunks.map(move |chunk| question.pass(chunk?.rows)))
            }
            Stage::Memory(batches) => Box::new(batches.into_iter().map(move |batch| question.pass(batch))),
        }
    }

    fn give(&mut self, batch: RecordBatch) -> RecordBatch {
        let batch =
            if batch.num_rows() as u64 > self.left { batch.slice(0, self.left as usize) } else { batch };
        self.left -= batch.num_rows() as u64;
        batch
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        while self.left > 0 {
            if self.current.is_none() {
                let stage = self.stages.pop_front()?;
                self.current = Some(self.begin(stage));
            }
            match self.current.as_mut().and_then(Iterator::next) {
                None => self.current = None,
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => return Some(Ok(self.give(batch))),
                Some(Err(error)) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
        self.current = None;
        None
    }
}

impl Question {
    /// What is asked of the rows of a table, and what has to be read for it.
    fn new(table: &Table, schema: &TableSchema, options: ScanOptions) -> Result<(Question, Wanted)> {
        let mut columns: Vec<Column> = match &options.columns {
            None => schema.columns.clone(),
            Some(names) => names
                .iter()
                .map(|name| Ok(schema.columns[schema.index_of(name)?].clone()))
                .collect::<Result<Vec<_>>>()?,
        };
        let given = columns.len();
        let output =
            Arc::new(arrow::datatypes::Schema::new(columns.iter().map(Column::to_field).collect::<Vec<_>>()));
        let mut filtered = Vec::new();
        if let Some(filter) = &options.filter {
            let mut names = Vec::new();
            filter.columns(&mut names);
            for name in names {
                let column = &schema.columns[schema.index_of(name)?];
                let place = columns.iter().position(|known| known.name == column.name);
                filtered.push(place.unwrap_or_else(|| {
                    columns.push(column.clone());
                    columns.len() - 1
                }));
            }
            filtered.sort_unstable();
            filtered.dedup();
            filter.check(&columns)?;
        }
        let all = wanted(table, &columns);
        let question = Question {
            columns: all.columns.clone(),
            given,
            filter: options.filter,
            filtered,
            schema: output,
            loose: all.schema.clone(),
            key: all.key.clone(),
            limit: options.limit.unwrap_or(u64::MAX),
        };
        Ok((question, all))
    }

    /// The columns to give of rows with all columns that pass the filter.
    fn pass(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let rows = match &self.filter {
            Some(filter) => filter_record_batch(&rows, &filter.evaluate(&rows)?)?,
            None => rows,
        };
        batch_of(self.schema.clone(), rows.columns()[..self.given].to_vec(), rows.num_rows())
    }

    /// The rows of a row group: columns that the filter reads first, others of the rows that pass alone.
    fn read(&self, task: GroupTask) -> Result<Vec<RecordBatch>> {
        let chosen = task.choose(false)?;
        let (file, group) = (&task.file, task.group);
        let of_group = file.groups[group].rows as usize;
        let (mut mask, mut count) = (chosen.mask, chosen.count);
        if count == 0 {
            return Ok(Vec::new());
        }
        let Some(filter) = &self.filter else {
            if count as u64 > self.limit {
                let rows = mask.as_ref().map(|mask| mask.set_indices().map(|row| row as u32));
                let limit = self.limit as usize;
                mask = Some(match rows {
                    Some(rows) => mask_of(of_group, rows.take(limit)),
                    None => mask_of(of_group, 0..limit as u32),
                });
                count = limit;
            }
            if self.given == 0 {
                return Ok(vec![batch_of(self.schema.clone(), Vec::new(), count)?]);
            }
            let ids: Vec<u32> = self.columns.iter().map(|column| column.id).collect();
            let mut reader = file.read_group(&ids, group, mask.as_ref(), chosen.counted, BATCH_ROWS)?;
            let mut batches = Vec::new();
            while let Some(batch) = reader.next_batch(file)? {
                let rows = as_wanted(file, &batch, reader.columns(), &self.columns, &self.loose)?;
                batches.push(batch_of(self.schema.clone(), rows.columns().to_vec(), rows.num_rows())?);
            }
            return Ok(batches);
        };
        let tested: Vec<Column> = self.filtered.iter().map(|index| self.columns[*index].clone()).collect();
        let tested_schema = loose_schema(&tested);
        let ids: Vec<u32> = tested.iter().map(|column| column.id).collect();
        let (batch, from) = file.read_whole(&ids, group, mask.as_ref(), chosen.counted)?;
        let batch = match batch.num_columns() {
            // None of them is in the file: they are all defaults.
            0 => batch_of(batch.schema(), Vec::new(), count)?,
            _ => batch,
        };
        let rows = as_wanted(file, &batch, &from, &tested, &tested_schema)?;
        let passes = filter.evaluate(&rows)?;
        let passed = passes.true_count();
        if passed == 0 {
            return Ok(Vec::new());
        }
        let rows = if passed < count { filter_record_batch(&rows, &passes)? } else { rows };
        let others: Vec<usize> = (0..self.given).filter(|index| !self.filtered.contains(index)).collect();
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; self.given];
        for (place, array) in self.filtered.iter().zip(rows.columns()) {
            if *place < self.given {
                arrays[*place] = Some(array.clone());
            }
        }
        if !others.is_empty() {
            if passed < count {
                let flags: Vec<bool> = passes.values().iter().collect();
                mask = Some(within_mask(of_group, mask.as_ref(), &flags));
            }
            let other: Vec<Column> = others.iter().map(|index| self.columns[*index].clone()).collect();
            let ids: Vec<u32> = other.iter().map(|column| column.id).collect();
            // Each of these rows was counted when the filter read it.
            let (batch, from) = file.read_whole(&ids, group, mask.as_ref(), usize::MAX)?;
            let batch = match batch.num_columns() {
                0 => batch_of(batch.schema(), Vec::new(), passed)?,
                _ => batch,
            };
            let rows = as_wanted(file, &batch, &from, &other, &loose_schema(&other))?;
            others.iter().zip(rows.columns()).for_each(|(index, array)| arrays[*index] = Some(array.clone()));
        }
        let arrays = arrays.into_iter().map(|array| array.expect("every column was read")).collect();
        Ok(vec![batch_of(self.schema.clone(), arrays, passed)?])
    }
}

/// Parts of an ordered scan: keys of one are all before those of the next. Only where keys of several runs interleave
/// is there anything to merge.
fn parts_of(runs: Vec<Vec<GroupTask>>, memory: Vec<Chunk>) -> Vec<Stage> {
    enum What {
        Group(usize, GroupTask),
        Memory,
    }
    let mut items: Vec<(Vec<u8>, Vec<u8>, What)> = Vec::new();
    let run_count = runs.len();
    for (run, tasks) in runs.into_iter().enumerate() {
        for task in tasks {
            let extent = &task.file.groups[task.group];
            items.push((extent.min_key.clone(), extent.max_key.clone(), What::Group(run, task)));
        }
    }
    if let (Some(first), Some(last)) = (memory.first(), memory.last()) {
        let (first, last) = (first.keys.get(0).to_vec(), last.keys.get(last.len() - 1).to_vec());
        items.push((first, last, What::Memory));
    }
    // Stable: row groups of a run stay in their order.
    items.sort_by(|a, b| a.0.cmp(&b.0));
    let mut memory = Some(memory);
    let mut stages: Vec<Stage> = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some((_, mut max, what)) = items.next() {
        let mut part = vec![what];
        while let Some((_, other, what)) = items.next_if(|(min, ..)| *min <= max) {
            max = max.max(other);
            part.push(what);
        }
        let mut of_runs: Vec<Vec<GroupTask>> = (0..run_count).map(|_| Vec::new()).collect();
        let mut from_memory = Vec::new();
        for what in part {
            match what {
                What::Group(run, task) => of_runs[run].push(task),
                What::Memory => from_memory = memory.take().unwrap_or_default(),
            }
        }
        of_runs.retain(|tasks| !tasks.is_empty());
        match (&mut of_runs[..], from_memory.is_empty()) {
            ([tasks], true) => match stages.last_mut() {
                Some(Stage::Groups(before)) => before.append(tasks),
                _ => stages.push(Stage::Groups(std::mem::take(tasks))),
            },
            ([], _) => stages.push(Stage::Memory(from_memory.into_iter().map(|chunk| chunk.rows).collect())),
            _ => stages.push(Stage::Merged(of_runs, from_memory)),
        }
    }
    stages
}

/// The memtable's rows that `life` wants, as they lie.
fn memory_batches(
    memtable: &Memtable,
    table: &Table,
    wanted: &Wanted,
    life: Life,
) -> Result<Vec<RecordBatch>> {
    let batches = memory_selections(memtable, life).into_iter().map(|selection| {
        let (_, schema) = &table.schemas[selection.batch.schema];
        let rows = if selection.rows.len() == selection.batch.rows.num_rows() {
            selection.batch.rows.clone()
        } else {
            take_record_batch(&selection.batch.rows, &UInt32Array::from(selection.rows))?
        };
        adapt(&rows, &schema.columns, &wanted.columns, &wanted.schema)
    });
    batches.collect()
}
