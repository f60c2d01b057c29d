//! From data files and memtable to an ordered stream of record batches.

use crate::adapt::{adapt, batch_of, loose_schema};
use crate::api::{Comparison, Filter, ScanOptions};
use crate::error::{Error, Result};
use crate::generation::Dead;
use crate::manifest::DataFileRecord;
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks, merge};
use crate::store::data_file::{DataFile, GroupRows, LifeFilter, Wanted};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar};
use arrow::compute::kernels::cmp;
use arrow::compute::{
    and, and_kleene, filter_record_batch, interleave_record_batch, is_null, not, or_kleene,
};
use arrow::datatypes::SchemaRef;
use asof_mvcc::{Column, Keys, Memtable, Table, TableSchema, Version};
use parking_lot::RwLock;
use std::sync::Arc;

/// Rows of a chunk from memory.
const CHUNK_ROWS: usize = 8_192;

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
        }
    }

    /// The newest version that the question is about.
    pub(crate) fn newest(self) -> Version {
        match self {
            Life::VisibleAt(version) | Life::Touched { up_to: version, .. } => version,
        }
    }

    /// The rows of a data file's row groups that may be wanted.
    fn groups(self, file: &DataFile, dead: &Dead) -> Vec<GroupRows> {
        let groups = file.groups.iter().enumerate();
        let chosen = groups.filter_map(|(index, group)| match self {
            Life::VisibleAt(version) => {
                (group.min_begin <= version.0 && version.0 < group.max_end).then_some((index, None))
            }
            Life::Touched { after, up_to } => {
                let born = group.max_begin > after.0 && group.min_begin <= up_to.0;
                let died = file.record.history && group.max_end > after.0 && group.min_end <= up_to.0;
                if born || died {
                    return Some((index, None));
                }
                let start = file.group_start(index);
                let first = dead.partition_point(|(row, _)| *row < start);
                let positions: Vec<u32> = dead[first..]
                    .iter()
                    .take_while(|(row, _)| row - start < group.rows)
                    .filter(|(_, end)| *end > after && *end <= up_to)
                    .map(|(row, _)| row - start)
                    .collect();
                (!positions.is_empty()).then_some((index, Some(positions)))
            }
        });
        chosen.collect()
    }
}

/// What to read of a table: columns by id, as `schema` has them.
pub fn wanted(table: &Table, columns: &[Column]) -> Wanted {
    let key: Vec<Column> = table.newest_schema().key_columns().cloned().collect();
    Wanted { columns: columns.into(), schema: loose_schema(columns), key: key.into() }
}

/// Row versions of a table, in order of key, then begin.
pub fn row_versions(state: &State, table: &Table, columns: &[Column], life: Life) -> Result<Chunks> {
    let wanted = wanted(table, columns);
    let newest = life.newest();
    let memtable = if newest > state.generation.version() { state.memtable(table.id) } else { None };
    let mut sources: Vec<Chunks> = Vec::new();
    for record in state.generation.data_files(table.id, newest) {
        let touches = match life {
            Life::VisibleAt(version) => record.min_begin <= version.0 && version.0 < record.max_end,
            Life::Touched { up_to, .. } => record.min_begin <= up_to.0,
        };
        if !touches {
            continue;
        }
        let dead = dead_rows(state, memtable.as_deref(), record, newest)?;
        let file = state.generation.open(record)?;
        let mut groups = life.groups(&file, &dead).into_iter().peekable();
        // In each run keys begin anew.
        for run in file.runs() {
            let of_run: Vec<GroupRows> =
                std::iter::from_fn(|| groups.next_if(|(group, _)| run.contains(group))).collect();
            if !of_run.is_empty() {
                sources.push(file.scan(wanted.clone(), of_run, dead.clone(), life.filter()));
            }
        }
    }
    if let Some(memtable) = memtable {
        let chunks = memory_chunks(&memtable, table, &wanted, life)?;
        if !chunks.is_empty() {
            sources.push(Box::new(chunks.into_iter().map(Ok)));
        }
    }
    Ok(merge(sources))
}

/// The dead rows of a data file: those that ends files tell of, and those that died since, up to `newest`.
pub(crate) fn dead_rows(
    state: &State,
    memtable: Option<&RwLock<Memtable>>,
    record: &DataFileRecord,
    newest: Version,
) -> Result<Dead> {
    let dead = state.generation.dead(record.table, record.id)?;
    let more = memtable.map(|memtable| memtable.read().file_ends(record.id, newest)).unwrap_or_default();
    if more.is_empty() {
        return Ok(dead);
    }
    let mut all = dead.to_vec();
    all.extend(more);
    all.sort_unstable();
    Ok(Arc::new(all))
}

/// The memtable's row versions that `life` wants, in order.
fn memory_chunks(
    memtable: &RwLock<Memtable>,
    table: &Table,
    wanted: &Wanted,
    life: Life,
) -> Result<Vec<Chunk>> {
    // Locked no longer than this: commits go on while the rows are put in order.
    let selections = match life {
        Life::VisibleAt(version) => memtable.read().visible_at(version),
        Life::Touched { after, up_to } => memtable.read().touched(after, up_to),
    };
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
    let chunks = order.chunks(CHUNK_ROWS).map(|rows| {
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
            positions: Vec::new(),
        })
    });
    chunks.collect()
}

/// Rows of a table at a version, in key order (order of insertion where there is no key), as a stream of batches.
pub struct Scan {
    chunks: Chunks,
    /// Keeps the files while the scan reads them.
    _state: Arc<State>,
    filter: Option<Filter>,
    /// Positions in the chunks' batches of the columns to give.
    projection: Vec<usize>,
    schema: SchemaRef,
    left: u64,
}

impl Scan {
    pub(crate) fn new(
        state: Arc<State>,
        table: &Table,
        schema: &TableSchema,
        version: Version,
        options: ScanOptions,
    ) -> Result<Scan> {
        let mut columns: Vec<Column> = match &options.columns {
            None => schema.columns.clone(),
            Some(names) => names
                .iter()
                .map(|name| Ok(schema.columns[schema.index_of(name)?].clone()))
                .collect::<Result<Vec<_>>>()?,
        };
        let projection = (0..columns.len()).collect::<Vec<_>>();
        let output =
            Arc::new(arrow::datatypes::Schema::new(columns.iter().map(Column::to_field).collect::<Vec<_>>()));
        if let Some(filter) = &options.filter {
            let mut names = Vec::new();
            filter.columns(&mut names);
            for name in names {
                let index = schema.index_of(name)?;
                if !columns.iter().any(|column| column.name == name) {
                    columns.push(schema.columns[index].clone());
                }
            }
        }
        let chunks = row_versions(&state, table, &columns, Life::VisibleAt(version))?;
        Ok(Scan {
            chunks,
            _state: state,
            filter: options.filter,
            projection,
            schema: output,
            left: options.limit.unwrap_or(u64::MAX),
        })
    }

    /// The schema of the batches: the projected columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn give(&mut self, chunk: Chunk) -> Result<Option<RecordBatch>> {
        let mut rows = chunk.rows;
        if let Some(filter) = &self.filter {
            rows = filter_record_batch(&rows, &filter.evaluate(&rows)?)?;
        }
        if rows.num_rows() as u64 > self.left {
            rows = rows.slice(0, self.left as usize);
        }
        self.left -= rows.num_rows() as u64;
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> =
            self.projection.iter().map(|index| rows.column(*index).clone()).collect();
        batch_of(self.schema.clone(), columns, rows.num_rows()).map(Some)
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        while self.left > 0 {
            let given = match self.chunks.next()? {
                Ok(chunk) => self.give(chunk),
                Err(error) => Err(error),
            };
            match given {
                Ok(None) => {}
                Ok(Some(batch)) => return Some(Ok(batch)),
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Filter {
    fn columns<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Filter::Compare { column, .. } | Filter::IsNull(column) => names.push(column),
            Filter::And(a, b) | Filter::Or(a, b) => {
                a.columns(names);
                b.columns(names);
            }
            Filter::Not(inner) => inner.columns(names),
        }
    }

    /// Which rows of a batch pass. Null (a comparison with null) does not.
    fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let result = self.evaluate_three_valued(rows)?;
        Ok(match result.nulls() {
            Some(nulls) if nulls.null_count() > 0 => and(
                &BooleanArray::new(result.values().clone(), None),
                &BooleanArray::new(nulls.inner().clone(), None),
            )?,
            _ => result,
        })
    }

    fn evaluate_three_valued(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let column = |name: &str| {
            rows.column_by_name(name).ok_or_else(|| Error::invalid(format!("there is no column '{name}'")))
        };
        Ok(match self {
            Filter::Compare { column: name, comparison, value } => {
                let array = column(name)?;
                if value.len() != 1 || value.data_type() != array.data_type() {
                    return Err(Error::invalid(format!(
                        "column '{name}' is compared with something of another type"
                    )));
                }
                let value = Scalar::new(value.clone());
                match comparison {
                    Comparison::Equal => cmp::eq(array, &value)?,
                    Comparison::NotEqual => cmp::neq(array, &value)?,
                    Comparison::Less => cmp::lt(array, &value)?,
                    Comparison::LessOrEqual => cmp::lt_eq(array, &value)?,
                    Comparison::Greater => cmp::gt(array, &value)?,
                    Comparison::GreaterOrEqual => cmp::gt_eq(array, &value)?,
                }
            }
            Filter::IsNull(name) => is_null(column(name)?)?,
            Filter::And(a, b) => {
                and_kleene(&a.evaluate_three_valued(rows)?, &b.evaluate_three_valued(rows)?)?
            }
            Filter::Or(a, b) => or_kleene(&a.evaluate_three_valued(rows)?, &b.evaluate_three_valued(rows)?)?,
            Filter::Not(inner) => not(&inner.evaluate_three_valued(rows)?)?,
        })
    }
}
