//! Reading tables and generated rows as DataFusion's plans do: in partitions, a batch at a time.

use crate::error::external;
use asof_engine::Part;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use std::fmt;
use std::sync::Arc;

/// Rows, a batch at a time.
pub(crate) type Batches = Box<dyn Iterator<Item = asof_engine::Result<RecordBatch>> + Send>;

/// Makes rows anew each time it is asked, with some of the columns.
pub(crate) type Generator = Arc<dyn Fn(&[usize]) -> asof_engine::Result<Batches> + Send + Sync>;

/// Where rows come from.
#[derive(Clone)]
enum Source {
    /// Parts of a table, and which of them each partition reads.
    Parts(Arc<Vec<Part>>, Vec<Vec<usize>>),
    /// One partition of rows that are made.
    Generated(Generator, Vec<usize>),
}

/// A scan of a table, or of rows that are made.
#[derive(Clone)]
pub(crate) struct ScanExec {
    label: String,
    source: Source,
    schema: SchemaRef,
    limit: Option<usize>,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    /// Parts of a table, read by up to so many partitions.
    pub(crate) fn of_parts(
        label: String,
        parts: Vec<Part>,
        schema: SchemaRef,
        limit: Option<usize>,
        statistics: Statistics,
        partitions: usize,
    ) -> ScanExec {
        let assignment = assign(&parts, partitions);
        ScanExec::new(label, Source::Parts(Arc::new(parts), assignment), schema, limit, statistics)
    }

    /// Rows that are made, of which some columns are asked for.
    pub(crate) fn of_generator(
        label: String,
        generator: Generator,
        columns: Vec<usize>,
        schema: SchemaRef,
        limit: Option<usize>,
        statistics: Statistics,
    ) -> ScanExec {
        ScanExec::new(label, Source::Generated(generator, columns), schema, limit, statistics)
    }

    fn new(
        label: String,
        source: Source,
        schema: SchemaRef,
        limit: Option<usize>,
        statistics: Statistics,
    ) -> ScanExec {
        let partitions = match &source {
            Source::Parts(_, assignment) => assignment.len(),
            Source::Generated(..) => 1,
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let (metrics, statistics) = (ExecutionPlanMetricsSet::new(), Arc::new(statistics));
        ScanExec { label, source, schema, limit, statistics, properties, metrics }
    }
}

/// Deals parts out, large ones first, so that partitions have about as many rows. Fixed when the plan is made: a
/// plan may be executed again.
fn assign(parts: &[Part], partitions: usize) -> Vec<Vec<usize>> {
    let rows = |index: usize| parts[index].rows_at_most().unwrap_or(usize::MAX / 4);
    let count = partitions.clamp(1, parts.len().max(1));
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(rows(*index)));
    let mut assigned = vec![(0usize, Vec::new()); count];
    for index in order {
        let least =
            assigned.iter_mut().min_by_key(|(rows, _)| *rows).expect("there is one partition at least");
        least.0 = least.0.saturating_add(rows(index));
        least.1.push(index);
    }
    // Each reads forward.
    assigned.iter_mut().for_each(|(_, parts)| parts.sort_unstable());
    assigned.into_iter().map(|(_, parts)| parts).collect()
}

impl fmt::Debug for ScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanExec").field("label", &self.label).finish_non_exhaustive()
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsofScan: {}", self.label)?;
        if let Source::Parts(parts, assignment) = &self.source {
            write!(f, ", parts={}, partitions={}", parts.len(), assignment.len())?;
        }
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "AsofScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batch_rows = context.session_config().batch_size().max(1);
        let batches: Batches = match &self.source {
            Source::Parts(parts, assignment) => {
                let read = MetricBuilder::new(&self.metrics).counter("parts_read", partition);
                let (parts, mine) = (parts.clone(), assignment.get(partition).cloned().unwrap_or_default());
                Box::new(mine.into_iter().flat_map(move |index| -> Batches {
                    read.add(1);
                    parts[index].read().unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
                }))
            }
            Source::Generated(generate, columns) => generate(columns).map_err(external)?,
        };
        let mut left = self.limit.unwrap_or(usize::MAX);
        let schema = self.schema.clone();
        let given = schema.clone();
        let mut pieces =
            batches.flat_map(move |batch| -> Batches {
                match batch {
                    // What is joined or sorted afterwards works on batches of that size.
                    Ok(batch) if batch.num_rows() > batch_rows => {
                        let starts = (0..batch.num_rows()).step_by(batch_rows);
                        Box::new(starts.map(move |start| {
                            Ok(batch.slice(start, batch_rows.min(batch.num_rows() - start)))
                        }))
                    }
                    other => Box::new(std::iter::once(other)),
                }
            });
        let rows = std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let timer = metrics.elapsed_compute().timer();
            let next = pieces.next();
            timer.done();
            Some(match next? {
                Ok(batch) => {
                    let batch = if batch.num_rows() > left { batch.slice(0, left) } else { batch };
                    left -= batch.num_rows();
                    let batch = batch.with_schema(given.clone()).map_err(DataFusionError::from);
                    batch.map(|batch| batch.record_output(&metrics))
                }
                Err(error) => {
                    left = 0;
                    Err(external(error))
                }
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(rows))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(match args.partition() {
            None => self.statistics.clone(),
            Some(_) => Arc::new(Statistics::new_unknown(&self.schema)),
        })
    }
}
