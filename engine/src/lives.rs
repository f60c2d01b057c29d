//! Row versions of a table with their lives: what was there when, and for how long.

use crate::adapt::loose_schema;
use crate::copies::touched_row_versions;
use crate::diff::{FeedColumn, Times, alive_within, feed_columns, feed_rows};
use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::gone::check_all_readable;
use crate::scan::{Life, unordered_row_versions};
use crate::snapshot::{Snapshot, all_columns};
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use asof_mvcc::{Column, Table, Version};
use std::sync::Arc;

/// Row versions of a table that were alive at some version of a range. Batches have the columns `_begin_version`,
/// `_begin_timestamp`, `_end_version` and `_end_timestamp` (null where a row has not ended; the end is exclusive), then
/// all columns that the table had in the range, dropped ones included, in no order.
pub struct RowLives {
    schema: SchemaRef,
    state: Arc<State>,
    /// The versions asked about, and the one at which it is told.
    from: Version,
    to: Version,
    now: Version,
    times: Times,
    sources: Vec<Source>,
    feed: Vec<FeedColumn>,
    loose: SchemaRef,
}

/// Row versions of one life of one incarnation of a table.
struct Source {
    table: Arc<Table>,
    own: Vec<Column>,
    chunks: Chunks,
    /// Rows of this scan count that began at or before this version.
    begun_by: Version,
    /// When rows began at the earliest, by the begin of the life.
    lived_from: Version,
    /// When rows ended at the latest, by the end of the life.
    dropped: Option<Version>,
}

impl Snapshot {
    /// The row versions of a table that were alive at a version in [from, to], with their ends as known at this one.
    /// Versions that are gone show none; where all of them are, that is the error.
    pub fn row_lives(&self, table: &str, from: Version, to: Version) -> Result<RowLives> {
        let now = self.version();
        let concerned = self.alive_within(table, from, to)?;
        let feed = feed_columns(&concerned, from, to);
        let schema = lives_schema(&feed);
        let mut sources = Vec::new();
        for entry in concerned {
            let own = all_columns(&entry);
            for (lived_from, end) in entry.lives_within(from, to) {
                let dropped = end.filter(|end| *end <= now);
                let last = dropped.map_or(now, |end| end.previous().expect("a table ends after version 0"));
                let mut add = |life: Life, begun_by| -> Result<()> {
                    let chunks = match life {
                        Life::VisibleAt(_) => unordered_row_versions(self.state(), &entry, &own, life)?,
                        touched => touched_row_versions(self.state(), &entry, &own, touched)?,
                    };
                    let (table, own) = (entry.clone(), own.clone());
                    sources.push(Source { table, own, chunks, begun_by, lived_from, dropped });
                    Ok(())
                };
                let after = from.max(lived_from.previous().unwrap_or(Version::ZERO));
                if after < last {
                    add(Life::Touched { after, up_to: last }, to)?;
                }
                // Those that nothing happened to since, if there are any: a table begins without rows, and comes back
                // with those it had.
                if from >= lived_from || lived_from > entry.lives[0].0 {
                    add(Life::VisibleAt(last), after)?;
                }
            }
        }
        sources.reverse();
        let columns: Vec<Column> = feed.iter().map(|feed| feed.column.clone()).collect();
        let (state, times) = (self.state().clone(), Times::default());
        let loose = loose_schema(&columns);
        Ok(RowLives { schema, state, from, to, now, times, sources, feed, loose })
    }

    /// The schema of the batches that [`Snapshot::row_lives`] would give.
    pub fn row_lives_schema(&self, table: &str, from: Version, to: Version) -> Result<SchemaRef> {
        let concerned = self.alive_within(table, from, to)?;
        Ok(lives_schema(&feed_columns(&concerned, from, to)))
    }

    fn alive_within(&self, table: &str, from: Version, to: Version) -> Result<Vec<Arc<Table>>> {
        let now = self.version();
        if from > to || to > now {
            return Err(Error::invalid(format!(
                "rows from version {from} to {to} cannot be told at version {now}: give the earlier one first"
            )));
        }
        let concerned = alive_within(self.state(), from, to, table)?;
        let generation = &self.state().generation;
        if concerned.iter().all(|entry| all_gone(generation, entry, from, to)) {
            check_all_readable(generation, &concerned[0], from, to)?;
        }
        Ok(concerned)
    }
}

/// Whether a table is gone at all versions of a range at which there was it.
fn all_gone(generation: &Generation, table: &Table, from: Version, to: Version) -> bool {
    let gone = |(begin, end): &(Version, Option<Version>)| {
        let last = end.map_or(to.0.saturating_add(1), |end| end.0.min(to.0.saturating_add(1)));
        let first = begin.0.max(from.0);
        first >= last || generation.gone(table.id).is_some_and(|gone| gone.hides(first, last))
    };
    table.lives.iter().all(gone)
}

fn lives_schema(columns: &[FeedColumn]) -> SchemaRef {
    let utc = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("_begin_version", DataType::UInt64, false),
        Field::new("_begin_timestamp", utc(), false),
        Field::new("_end_version", DataType::UInt64, true),
        Field::new("_end_timestamp", utc(), true),
    ];
    fields.extend(columns.iter().map(|feed| feed.column.to_field().with_nullable(true)));
    Arc::new(Schema::new(fields))
}

impl RowLives {
    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, source: &Source, chunk: &Chunk) -> Result<RecordBatch> {
        let from = self.from;
        let gone = self.state.generation.gone(source.table.id).cloned();
        let mut keep = Vec::with_capacity(chunk.len());
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        for (begin, end) in chunk.begins.iter().zip(&chunk.ends) {
            let end = source.dropped.map_or(*end, |dropped| dropped.min(*end));
            let end = Some(end).filter(|end| *end <= self.now);
            let is_counted = *begin <= source.begun_by;
            let begin = source.lived_from.max(*begin);
            let kept = is_counted && end.is_none_or(|end| end > from.max(begin));
            // Whether a version that can be read shows it.
            let last = end.map_or(u64::MAX, |end| end.0).min(self.to.0.saturating_add(1));
            let kept = kept && gone.as_ref().is_none_or(|gone| !gone.hides(begin.0.max(from.0), last));
            keep.push(kept);
            if kept {
                begins.push(begin);
                ends.push(end);
            }
        }
        let rows = feed_rows(&chunk.rows, &source.own, &source.table, &self.feed, &self.loose)?;
        let rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        let begin_times =
            begins.iter().map(|begin| self.times.of(&self.state, *begin)).collect::<Result<Vec<i64>>>()?;
        let end_times = ends.iter().map(|end| end.map(|end| self.times.of(&self.state, end)).transpose());
        let end_times = end_times.collect::<Result<Vec<Option<i64>>>>()?;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(begins.iter().map(|version| version.0))),
            Arc::new(TimestampMicrosecondArray::from(begin_times).with_timezone("UTC")),
            Arc::new(ends.iter().map(|end| end.map(|end| end.0)).collect::<UInt64Array>()),
            Arc::new(TimestampMicrosecondArray::from(end_times).with_timezone("UTC")),
        ];
        debug_assert!(arrays.iter().all(|array| array.len() == rows.num_rows()));
        arrays.extend(rows.columns().iter().cloned());
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }
}

impl Iterator for RowLives {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            let mut source = self.sources.pop()?;
            let Some(chunk) = source.chunks.next() else { continue };
            let batch = chunk.and_then(|chunk| self.batch(&source, &chunk));
            match &batch {
                Ok(rows) if rows.num_rows() == 0 => self.sources.push(source),
                Ok(_) => {
                    self.sources.push(source);
                    return Some(batch);
                }
                Err(_) => {
                    self.sources.clear();
                    return Some(batch);
                }
            }
        }
    }
}
