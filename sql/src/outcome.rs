//! What a statement comes to: rows, a commit, or a word.

use crate::error::{Error, Result};
use asof_engine::{Column, ColumnType, Committed, Counts, TableSchema};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result as PlanResult;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, channel};

/// Batches that are made before they are asked for.
const BATCHES_AHEAD: usize = 1;

/// What a statement came to.
#[derive(Debug)]
pub enum Outcome {
    /// Rows, to be read.
    Rows(Rows),
    /// A commit.
    Committed(Committed),
    /// Rows changed in the transaction that is open.
    Changed(Counts),
    /// Something else was done.
    Done(String),
}

/// The rows of a query, a batch at a time. Columns have types that tables can have, and different names.
pub struct Rows {
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    batches: Receiver<PlanResult<RecordBatch>>,
    /// Which makes the batches.
    _runtime: Arc<Runtime>,
    failed: bool,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("schema", &self.arrow).finish_non_exhaustive()
    }
}

impl Rows {
    /// Begins to run a plan.
    pub(crate) fn of_plan(runtime: Arc<Runtime>, state: &SessionState, plan: LogicalPlan) -> Result<Rows> {
        let frame = DataFrame::new(state.clone(), plan);
        let stream = runtime.block_on(frame.execute_stream())?;
        Ok(Rows::of_stream(runtime, stream))
    }

    /// Rows that are there.
    pub(crate) fn of_batch(runtime: Arc<Runtime>, batch: RecordBatch) -> Rows {
        let schema = batch.schema();
        let stream = futures::stream::iter([Ok(batch)]);
        let stream = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, stream);
        Rows::of_stream(runtime, Box::pin(stream))
    }

    fn of_stream(runtime: Arc<Runtime>, stream: SendableRecordBatchStream) -> Rows {
        let mut names = HashSet::new();
        let mut columns = Vec::new();
        for (index, field) in stream.schema().fields().iter().enumerate() {
            let mut name = field.name().clone();
            let mut count = 1;
            while !names.insert(name.clone()) {
                count += 1;
                name = format!("{}_{count}", field.name());
            }
            let column = Column::new(name, column_type(field.data_type()));
            columns.push(Column { id: index as u32 + 1, nullable: true, ..column });
        }
        let schema = Arc::new(TableSchema::of(columns, Vec::new()));
        let arrow = schema.to_arrow();
        // Run where stacks are deep; who reads has one of unknown depth.
        let (sender, batches) = channel(BATCHES_AHEAD);
        runtime.spawn(async move {
            let mut stream = stream;
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
            // Before the reader hears of the end: what it reads from may be wanted back.
            drop(stream);
            drop(sender);
        });
        Rows { schema, arrow, batches, _runtime: runtime, failed: false }
    }

    /// The columns.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    fn shaped(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.arrow.fields());
        let columns =
            columns.map(|(array, field)| shaped(array, field.data_type())).collect::<Result<Vec<_>>>()?;
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options)?)
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.failed {
            return None;
        }
        let next = self.batches.blocking_recv()?;
        let batch = next.map_err(Error::from).and_then(|batch| self.shaped(&batch));
        self.failed = batch.is_err();
        Some(batch)
    }
}

/// The type that a column of a result has as a column of a table.
pub(crate) fn column_type(from: &DataType) -> ColumnType {
    let plain = match from {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => return column_type(values),
        DataType::Date64 => DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Millisecond, None),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Float16 => DataType::Float32,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => {
            return ColumnType::List(Box::new(column_type(field.data_type())));
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| asof_engine::NestedField {
                name: field.name().clone(),
                column_type: column_type(field.data_type()),
            });
            return ColumnType::Struct(fields.collect());
        }
        other => other.clone(),
    };
    // What tables cannot hold is told as text.
    ColumnType::from_arrow(&plain).unwrap_or(ColumnType::Text)
}

/// An array in the type that [`column_type`] gave.
pub(crate) fn shaped(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    if let Ok(cast) = cast_with_options(array, to, &options) {
        return Ok(cast);
    }
    let format = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array, &format)?;
    let texts: StringArray =
        (0..array.len()).map(|row| (!array.is_null(row)).then(|| formatter.value(row).to_string())).collect();
    Ok(Arc::new(texts))
}

/// Hands rows to the engine; where making them fails, that is the error, not what the engine makes of it.
pub(crate) fn to_engine<T, R>(
    mut rows: impl Iterator<Item = Result<T>>,
    take: impl FnOnce(&mut dyn Iterator<Item = asof_engine::Result<T>>) -> asof_engine::Result<R>,
) -> Result<R> {
    let mut failed = None;
    let mut good = std::iter::from_fn(|| match rows.next()? {
        Ok(rows) => Some(Ok(rows)),
        Err(error) => {
            let told = asof_engine::Error::invalid(error.to_string());
            failed = Some(error);
            Some(Err(told))
        }
    });
    let taken = take(&mut good);
    match failed {
        Some(error) => Err(error),
        None => Ok(taken?),
    }
}
