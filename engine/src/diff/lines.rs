//! Lines of a diff as they come: each scan gives those of a chunk at a time, in order, and several scans are merged.
//!
//! Invariants. Lines are in the order of [`Line::place`], within a chunk and from chunk to chunk. Merging holds one chunk
//! of each scan, however much a version changed, and never parts a row's deletion from its insertion.

use super::table_life::{TableLife, table_lives};
use crate::api::ChangeType;
use crate::copies::touched_row_versions;
use crate::error::Result;
use crate::scan::{Life, row_versions};
use crate::snapshot::all_columns;
use crate::state::State;
use crate::store::chunk::Chunk;
use arrow::array::RecordBatch;
use asof_mvcc::{Column, KeyBytes, Table, Version};
use std::sync::Arc;

/// One line of a diff: what happened, when, and which of the gathered rows.
pub(super) struct Line {
    pub version: Version,
    /// Lines are of one row only where their tables have the same key columns: which of those they have.
    pub key_space: usize,
    pub key: KeyBytes,
    pub change: ChangeType,
    pub row: (usize, usize),
}

impl Line {
    /// The order within a version, and of a net diff; a deletion comes before the insertion of the same key.
    pub fn place(&self) -> (usize, &[u8], bool) {
        (self.key_space, &self.key, self.change == ChangeType::Insert)
    }

    /// Whether this is the deletion of a row that `next` inserts.
    pub fn is_updated_by(&self, next: &Line) -> bool {
        (self.change, next.change) == (ChangeType::Delete, ChangeType::Insert)
            && (self.key_space, &self.key) == (next.key_space, &next.key)
    }
}

/// Some lines, and the batches that their rows are in.
#[derive(Default)]
pub(super) struct Lines {
    pub lines: Vec<Line>,
    pub batches: Vec<RecordBatch>,
}

impl Lines {
    /// Adds more batches; gives what is to be added to their numbers in lines of them.
    fn add_batches(&mut self, batches: &[RecordBatch]) -> usize {
        let first = self.batches.len();
        self.batches.extend(batches.iter().cloned());
        first
    }

    /// Adds others behind these.
    pub fn append(&mut self, other: Lines) {
        let first = self.add_batches(&other.batches);
        self.lines.extend(other.lines.into_iter().map(|line| shifted(line, first)));
    }
}

fn shifted(line: Line, first: usize) -> Line {
    Line { row: (line.row.0 + first, line.row.1), ..line }
}

/// LineStream in order.
pub(super) type LineStream = Box<dyn Iterator<Item = Result<Lines>> + Send>;

/// A row version of a scanned chunk: its begin and end in the table's life, and which row it is.
pub(super) struct Event {
    pub key: KeyBytes,
    pub begin: Version,
    pub end: Version,
    pub row: usize,
}

/// What each of a table's scans gives for a diff of (from, to]: the lines that `lines_of` makes of a chunk and of the row
/// versions in it that began or ended in that range, cut to the table's lives.
pub(super) fn scans<F>(
    state: &State,
    table: &Arc<Table>,
    (from, to): (Version, Version),
    lines_of: F,
) -> Result<Vec<LineStream>>
where
    F: Fn(&Chunk, &[Column], Vec<Event>) -> Result<Lines> + Clone + Send + 'static,
{
    let own = all_columns(table);
    let lives = table_lives(table, from, to);
    let scans = lives.into_iter().flat_map(|part| part.scans().map(move |life| (part, life)));
    scans
        .map(|(part, life)| {
            let chunks = match life {
                Life::VisibleAt(_) => row_versions(state, table, &own, life)?,
                touched => touched_row_versions(state, table, &own, touched)?,
            };
            let (own, lines_of) = (own.clone(), lines_of.clone());
            let lines = chunks.map(move |chunk| {
                let chunk = chunk?;
                lines_of(&chunk, &own, events_of(&chunk, part, life))
            });
            Ok(Box::new(lines) as LineStream)
        })
        .collect()
}

fn events_of(chunk: &Chunk, part: TableLife, life: Life) -> Vec<Event> {
    let event = |row: usize| {
        let (begin, end) = part.cut(life, chunk.begins[row], chunk.ends[row])?;
        Some(Event { key: chunk.keys.get(row).into(), begin, end, row })
    };
    (0..chunk.len()).filter_map(event).collect()
}

/// A scan, and what is left of the lines it gave last.
struct Source {
    stream: LineStream,
    batches: Vec<RecordBatch>,
    lines: std::iter::Peekable<std::vec::IntoIter<Line>>,
}

/// Merges the lines of several scans.
pub(super) struct MergedLines {
    sources: Vec<Source>,
    /// A deletion whose row the next line may insert.
    held: Option<(Line, RecordBatch)>,
}

impl MergedLines {
    pub fn new(sources: Vec<LineStream>) -> MergedLines {
        let source =
            |stream| Source { stream, batches: Vec::new(), lines: Vec::new().into_iter().peekable() };
        MergedLines { sources: sources.into_iter().map(source).collect(), held: None }
    }

    /// Takes more from each source that has no lines left; those that have ended go.
    fn refill(&mut self) -> Result<()> {
        for source in &mut self.sources {
            while source.lines.peek().is_none() {
                let Some(more) = source.stream.next() else { break };
                let Lines { lines, batches } = more?;
                (source.batches, source.lines) = (batches, lines.into_iter().peekable());
            }
        }
        self.sources.retain_mut(|source| source.lines.peek().is_some());
        Ok(())
    }

    /// The lines up to where one of the sources has to be asked for more.
    fn next_lines(&mut self) -> Result<Option<Lines>> {
        self.refill()?;
        let mut merged = Lines::default();
        if let Some((line, row)) = self.held.take() {
            merged.batches.push(row);
            merged.lines.push(Line { row: (0, 0), ..line });
        }
        let firsts: Vec<usize> =
            self.sources.iter().map(|source| merged.add_batches(&source.batches)).collect();
        if self.sources.is_empty() {
            return Ok((!merged.lines.is_empty()).then_some(merged));
        }
        while let Some(first) = self.first_source() {
            let line = self.sources[first].lines.next().expect("it has the first line");
            merged.lines.push(shifted(line, firsts[first]));
        }
        if let Some(line) = merged.lines.pop_if(|line| line.change == ChangeType::Delete) {
            let row = merged.batches[line.row.0].slice(line.row.1, 1);
            self.held = Some((line, row));
        }
        Ok(Some(merged))
    }

    /// The source whose line comes first; none where one of them has to be asked first.
    fn first_source(&mut self) -> Option<usize> {
        let mut heads = Vec::with_capacity(self.sources.len());
        for source in &mut self.sources {
            heads.push(source.lines.peek()?.place());
        }
        heads.iter().enumerate().min_by(|(_, one), (_, other)| one.cmp(other)).map(|(index, _)| index)
    }
}

impl Iterator for MergedLines {
    type Item = Result<Lines>;

    fn next(&mut self) -> Option<Result<Lines>> {
        let next = self.next_lines().transpose();
        if matches!(next, Some(Err(_))) {
            (self.sources, self.held) = (Vec::new(), None);
        }
        next
    }
}
