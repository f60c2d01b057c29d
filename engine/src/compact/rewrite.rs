//! Rewrites data files of a table: their living rows to live files, their dead rows to cells.
//!
//! Reads the files twice or more: first the lives alone, to know the cells, then the rows, in order of
//! keys, as many cells at a time as fit into memory. Every row version that [`Keep`] keeps goes to one new
//! file with the begin and the end that it gives it; compaction keeps all, and no answer changes.

use super::cells::{Cells, Lifetime};
use super::keep::Keep;
use super::policy::{Parameters, VersionsMeasure, VisibleRows, live_runs};
use crate::error::{Error, ErrorKind, Result};
use crate::generation::{Dead, Generation};
use crate::manifest::DataFileRecord;
use crate::store::chunk::{Chunk, Chunks, merge};
use crate::store::data_file::{DataFile, Wanted};
use crate::store::data_writer::FileKind;
use crate::store::group_scan::{Choice, DeadRows, GroupRows, GroupTask, LifeFilter};
use crate::store::output::{Output, OutputRow, RowsOutput};
use arrow::array::RecordBatch;
use asof_mvcc::{Column, Table, Version};
use asof_wal::planted::{Bug, planted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lives that are looked at to choose cells: of more rows, a sample.
const LIVES_MAX: u64 = 2_000_000;
/// What a row takes in memory beside its values.
const ROW_BYTES: u64 = 64;
/// Bytes of values for each byte of a file, about.
const EXPANSION: u64 = 8;

/// Told of rows read or written; `false` stops the work, and nothing is changed.
pub type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

/// What is rewritten, and how.
pub(crate) struct Rewrite<'a> {
    pub generation: &'a Generation,
    pub table: &'a Table,
    pub records: Vec<&'a DataFileRecord>,
    pub keep: Keep,
    pub parameters: &'a Parameters,
    pub visible: &'a VisibleRows,
    /// Bytes of rows held at a time.
    pub memory_bytes: u64,
}

struct Source {
    file: Arc<DataFile>,
    dead: Dead,
}

impl Source {
    fn has_dead(&self, group: usize) -> bool {
        let start = self.file.group_start(group);
        let first = self.dead.partition_point(|(row, _)| *row < start);
        self.dead.get(first).is_some_and(|(row, _)| row - start < self.file.groups[group].rows)
    }
}

/// The lives of the rows that are kept.
struct Lives {
    /// Those of dead rows: a sample, if there are many.
    dead: Vec<Lifetime>,
    /// How many each of the sample stands for.
    weight: u64,
    /// How many living rows began at each version.
    living: BTreeMap<u64, u64>,
    /// All that are kept.
    kept: u64,
}

/// Lives in rough: what of a row group's rows may be wanted.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    begins: (u64, u64),
    ends: (u64, u64),
}

impl Bounds {
    const ALL: Bounds = Bounds { begins: (0, u64::MAX), ends: (0, u64::MAX) };

    fn and(self, other: Bounds) -> Bounds {
        Bounds {
            begins: (self.begins.0.min(other.begins.0), self.begins.1.max(other.begins.1)),
            ends: (self.ends.0.min(other.ends.0), self.ends.1.max(other.ends.1)),
        }
    }
}

impl Rewrite<'_> {
    /// Writes the new files; gives how many rows are kept.
    pub fn write(&self, output: &mut Output<'_>, pace: &mut Pace<'_>) -> Result<u64> {
        let mut sources = Vec::new();
        for record in &self.records {
            let dead = self.generation.dead(self.table.id, record.id)?;
            sources.push(Source { file: self.generation.open(record)?, dead });
        }
        let Lives { mut dead, weight, living, kept } = self.lives(&sources, pace)?;
        let columns = self.columns(&sources)?;
        let wanted = crate::scan::wanted(self.table, &columns);
        let runs = live_runs(&living.into_iter().collect::<Vec<_>>(), self.visible, self.parameters);
        let mut writing = output.rows(self.table, &columns, FileKind::Live);
        for (index, first) in runs.iter().enumerate() {
            let next = runs.get(index + 1).copied().unwrap_or(u64::MAX);
            let first = *first;
            let life = self.life_filter(move |begin: Version, end: Version| {
                end == Version::FOREVER && first <= begin.0 && begin.0 < next
            });
            let alive_from = self.keep.alive_from();
            let bounds = Bounds { begins: (first, next - 1), ends: (alive_from, u64::MAX) };
            writing.begin_run();
            self.stream(&sources, &wanted, bounds, life, &mut writing, pace)?;
        }
        writing.finish()?;
        if dead.is_empty() {
            return Ok(kept);
        }
        let measure = VersionsMeasure::new(self.visible, self.parameters);
        let cells = Arc::new(Cells::partition(&mut dead, weight, &measure));
        let bounds = cell_bounds(&cells, &dead, weight);
        drop(dead);
        let mut writing = output.rows(self.table, &columns, FileKind::History);
        let rows_max = self.memory_bytes / self.row_bytes();
        let mut first = 0;
        while first < cells.count() {
            let (mut last, mut rows) = (first + 1, cells.rows(first));
            while last < cells.count() && rows + cells.rows(last) <= rows_max {
                rows += cells.rows(last);
                last += 1;
            }
            let all = bounds[first..last].iter().copied().reduce(Bounds::and).unwrap_or(Bounds::ALL);
            if rows > rows_max {
                writing.begin_run();
                let life = self.of_cells(&cells, first, last);
                self.stream(&sources, &wanted, all, life, &mut writing, pace)?;
            } else {
                self.gather(&sources, &wanted, all, (&cells, first, last), &mut writing, pace)?;
            }
            first = last;
        }
        writing.finish()?;
        Ok(kept)
    }

    /// The lives of the rows that are kept.
    fn lives(&self, sources: &[Source], pace: &mut Pace<'_>) -> Result<Lives> {
        let rows: u64 = self.records.iter().map(|record| record.rows).sum();
        let weight = rows.div_ceil(LIVES_MAX).max(1);
        let mut living: BTreeMap<u64, u64> = BTreeMap::new();
        let mut dead = Vec::new();
        let (mut deaths, mut kept) = (0, 0);
        let all: LifeFilter = Arc::new(|_, _| true);
        for source in sources {
            for group in 0..source.file.groups.len() {
                let dead_rows = DeadRows::Known(source.file.dead_in(group, &source.dead));
                let (file, choice) = (source.file.clone(), Choice::Function(all.clone()));
                let task = GroupTask { file, group, rows: None, dead: dead_rows, choice };
                let chosen = task.choose(true)?;
                proceed(pace, chosen.count as u64)?;
                for (begin, end) in chosen.begins.iter().zip(&chosen.ends) {
                    let Some((begin, end)) = self.keep.life(*begin, *end) else { continue };
                    kept += 1;
                    if end == Version::FOREVER {
                        *living.entry(begin.0).or_insert(0) += 1;
                        continue;
                    }
                    if deaths % weight == 0 {
                        dead.push(Lifetime { begin: begin.0, end: end.0 });
                    }
                    deaths += 1;
                }
            }
        }
        Ok(Lives { dead, weight, living, kept })
    }

    /// Asks of rows whether they are wanted with the life that they are given.
    fn life_filter(&self, wants: impl Fn(Version, Version) -> bool + Send + Sync + 'static) -> LifeFilter {
        let keep = self.keep.clone();
        Arc::new(move |begin: Version, end: Version| {
            keep.life(begin, end).is_some_and(|(begin, end)| wants(begin, end))
        })
    }

    /// The dead rows of some cells.
    fn of_cells(&self, cells: &Arc<Cells>, first: usize, last: usize) -> LifeFilter {
        let cells = cells.clone();
        self.life_filter(move |begin: Version, end: Version| {
            end != Version::FOREVER
                && (first..last).contains(&cells.cell_of(Lifetime { begin: begin.0, end: end.0 }))
        })
    }

    /// A row on its way to a file, with the life that it is given.
    fn output_row<'c>(&self, chunk: &'c Chunk, batch: usize, row: usize) -> OutputRow<'c> {
        let kept = self.keep.life(chunk.begins[row], chunk.ends[row]);
        let (begin, mut end) = kept.expect("rows that go are not wanted");
        if planted(Bug::CompactionMovesEnds) && end != Version::FOREVER {
            end = Version(end.0 + 1);
        }
        OutputRow { key: chunk.keys.get(row), begin, end, batch, row }
    }

    /// Every column that the files have, by id, each under its newest name and type.
    fn columns(&self, sources: &[Source]) -> Result<Vec<Column>> {
        let footers = sources.iter().map(|source| source.file.footer()).collect::<Result<Vec<_>>>()?;
        let mut columns: Vec<Column> = Vec::new();
        for (_, schema) in self.table.schemas.iter().rev() {
            for column in &schema.columns {
                let known = columns.iter().any(|known| known.id == column.id);
                if !known && footers.iter().any(|footer| footer.column(column.id).is_some()) {
                    columns.push(column.clone());
                }
            }
        }
        crate::checkpoint::part_names(&mut columns);
        Ok(columns)
    }

    fn row_bytes(&self) -> u64 {
        let rows: u64 = self.records.iter().map(|record| record.rows).sum();
        let bytes: u64 = self.records.iter().map(|record| record.bytes).sum();
        ROW_BYTES + bytes * EXPANSION / rows.max(1)
    }

    /// The rows that `life` wants, in order of keys.
    fn rows(&self, sources: &[Source], wanted: &Wanted, bounds: Bounds, life: &LifeFilter) -> Chunks {
        let (mut streams, alive_from) = (Vec::new(), self.keep.alive_from());
        for source in sources {
            let within = |group: usize| {
                let extent = &source.file.groups[group];
                let may_end = match source.file.record.history {
                    true => extent.min_end <= bounds.ends.1 && bounds.ends.0 <= extent.max_end,
                    false => bounds.ends.0 >= alive_from || source.has_dead(group),
                };
                may_end && extent.min_begin <= bounds.begins.1 && bounds.begins.0 <= extent.max_begin
            };
            for run in source.file.runs() {
                let groups: Vec<GroupRows> =
                    run.filter(|group| within(*group)).map(|group| (group, None)).collect();
                if !groups.is_empty() {
                    let dead = source.dead.clone();
                    streams.push(source.file.scan(wanted.clone(), groups, dead, life.clone()));
                }
            }
        }
        merge(streams)
    }

    /// Writes the rows that `life` wants as they come.
    fn stream(
        &self,
        sources: &[Source],
        wanted: &Wanted,
        bounds: Bounds,
        life: LifeFilter,
        writing: &mut RowsOutput<'_, '_>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        for chunk in self.rows(sources, wanted, bounds, &life) {
            let chunk = chunk?;
            proceed(pace, chunk.len() as u64)?;
            let mut rows: Vec<OutputRow<'_>> =
                (0..chunk.len()).map(|row| self.output_row(&chunk, 0, row)).collect();
            if planted(Bug::CompactionDropsRow) && rows.len() > 1 {
                rows[1] = rows[0];
            }
            writing.write(&[&chunk.rows], &rows)?;
        }
        Ok(())
    }

    /// Reads the rows of some cells, then writes them cell by cell.
    fn gather(
        &self,
        sources: &[Source],
        wanted: &Wanted,
        bounds: Bounds,
        (cells, first, last): (&Arc<Cells>, usize, usize),
        writing: &mut RowsOutput<'_, '_>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        let life = self.of_cells(cells, first, last);
        let mut chunks = Vec::new();
        for chunk in self.rows(sources, wanted, bounds, &life) {
            let chunk = chunk?;
            proceed(pace, chunk.len() as u64)?;
            chunks.push(chunk);
        }
        let mut of_cell: Vec<Vec<OutputRow<'_>>> = vec![Vec::new(); last - first];
        for (index, chunk) in chunks.iter().enumerate() {
            for row in 0..chunk.len() {
                let row = self.output_row(chunk, index, row);
                let cell = cells.cell_of(Lifetime { begin: row.begin.0, end: row.end.0 });
                of_cell[cell - first].push(row);
            }
        }
        let batches: Vec<&RecordBatch> = chunks.iter().map(|chunk| &chunk.rows).collect();
        for rows in of_cell {
            writing.begin_run();
            writing.write(&batches, &rows)?;
            proceed(pace, 0)?;
        }
        Ok(())
    }
}

/// What rows of each cell begin and end within; of a sample nothing is known for sure.
fn cell_bounds(cells: &Cells, lives: &[Lifetime], weight: u64) -> Vec<Bounds> {
    if weight > 1 {
        return vec![Bounds::ALL; cells.count()];
    }
    let nothing = Bounds { begins: (u64::MAX, 0), ends: (u64::MAX, 0) };
    let mut bounds = vec![nothing; cells.count()];
    for life in lives {
        let bounds = &mut bounds[cells.cell_of(*life)];
        *bounds = bounds.and(Bounds { begins: (life.begin, life.begin), ends: (life.end, life.end) });
    }
    bounds
}

fn proceed(pace: &mut Pace<'_>, rows: u64) -> Result<()> {
    match pace(rows) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Busy, "compaction was stopped; nothing has changed")),
    }
}
