//! A table at a version, or as a transaction sees it, as DataFusion asks for it.

use crate::error::external;
use crate::exec::{Generator, ScanExec};
use crate::filter::{key_values, translate};
use asof_engine::{Column, Filter, Part, ScanOptions, Snapshot, TableSchema, TransactionTable};
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Constraint, Constraints, Result, ScalarValue, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Keys that are looked up one by one, at most; a scan is cheaper for more.
const KEYS_MAX: usize = 64;

/// Whose rows.
#[derive(Clone)]
pub(crate) enum Rows {
    /// A version's.
    Snapshot(Snapshot),
    /// A transaction's.
    Transaction(TransactionTable),
}

/// A table.
pub(crate) struct Table {
    name: String,
    rows: Rows,
    definition: Arc<TableSchema>,
    schema: SchemaRef,
    constraints: Constraints,
    defaults: HashMap<String, Expr>,
    /// Exact, from metadata, where it is known.
    row_count: Option<u64>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Table {
    /// A table of a version.
    pub(crate) fn of_snapshot(snapshot: &Snapshot, name: &str) -> asof_engine::Result<Table> {
        let info = snapshot.table(name)?;
        Ok(Table::new(name, Rows::Snapshot(snapshot.clone()), info.schema, Some(info.rows)))
    }

    /// A table as a transaction sees it.
    pub(crate) fn of_transaction(name: &str, table: TransactionTable) -> Table {
        let (definition, rows) = (table.schema().clone(), table.row_count());
        Table::new(name, Rows::Transaction(table), definition, rows)
    }

    fn new(name: &str, rows: Rows, definition: Arc<TableSchema>, row_count: Option<u64>) -> Table {
        let key = definition.key_indexes();
        let constraints = match key.is_empty() {
            true => Constraints::default(),
            false => Constraints::new_unverified(vec![Constraint::PrimaryKey(key)]),
        };
        let defaults = definition.columns.iter().filter_map(|column| {
            let value = ScalarValue::try_from_array(column.default.as_ref()?, 0).ok()?;
            Some((column.name.clone(), Expr::Literal(value, None)))
        });
        let defaults = defaults.collect();
        let schema = definition.to_arrow();
        Table { name: name.to_string(), rows, definition, schema, constraints, defaults, row_count }
    }

    /// Its columns and key.
    pub(crate) fn definition(&self) -> &Arc<TableSchema> {
        &self.definition
    }

    /// The version whose rows it has; none where a transaction may have changed them.
    pub(crate) fn version(&self) -> Option<asof_engine::Version> {
        match &self.rows {
            Rows::Snapshot(snapshot) => Some(snapshot.version()),
            Rows::Transaction(_) => None,
        }
    }

    /// How many rows there are, where that is known.
    pub(crate) fn row_count(&self) -> Option<u64> {
        self.row_count
    }

    fn parts(&self, filters: &[Expr], options: ScanOptions) -> asof_engine::Result<Vec<Part>> {
        match &self.rows {
            Rows::Transaction(table) => table.parts(options),
            Rows::Snapshot(snapshot) => match key_batch(filters, &self.definition) {
                Some(keys) => Ok(vec![snapshot.lookup(&self.name, &keys, options)?]),
                None => snapshot.parts(&self.name, options),
            },
        }
    }
}

/// The keys that filters leave, where these are few: a batch of the key columns.
fn key_batch(filters: &[Expr], schema: &TableSchema) -> Option<RecordBatch> {
    let values = key_values(filters, schema)?;
    let count = values.iter().try_fold(1usize, |count, values| count.checked_mul(values.len()))?;
    if count > KEYS_MAX {
        return None;
    }
    // Every combination; a value that is named twice is one key.
    let mut rows: Vec<Vec<ArrayRef>> = vec![Vec::new()];
    for mut values in values {
        let mut seen: Vec<ScalarValue> = Vec::new();
        values.retain(|value| {
            let value = ScalarValue::try_from_array(value, 0).ok();
            let is_new = value.as_ref().is_some_and(|value| !seen.contains(value));
            seen.extend(value);
            is_new
        });
        rows = rows
            .iter()
            .flat_map(|row| values.iter().map(|value| row.iter().cloned().chain([value.clone()]).collect()))
            .collect();
    }
    let key_columns: Vec<_> = schema.key_columns().collect();
    let fields: Vec<Field> = key_columns.iter().map(|column| column.to_field()).collect();
    let columns = key_columns.iter().enumerate().map(|(place, _)| {
        let values: Vec<_> = rows.iter().map(|row| row[place].as_ref()).collect();
        concat(&values).ok()
    });
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect::<Option<Vec<_>>>()?).ok()
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match translate(filter, &self.definition) {
                Some(_) => TableProviderFilterPushDown::Exact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let names = projection.iter().map(|index| self.definition.columns[*index].name.clone()).collect();
        let schema = Arc::new(self.schema.project(projection)?);
        let filter = filters.iter().filter_map(|filter| translate(filter, &self.definition));
        let filter = filter.reduce(|a, b| Filter::And(Box::new(a), Box::new(b)));
        let mut label = self.name.escape_debug().to_string();
        if let Rows::Snapshot(snapshot) = &self.rows {
            label.push_str(&format!("@{}", snapshot.version()));
        }
        if !filters.is_empty() {
            let texts: Vec<String> = filters.iter().map(|filter| filter.to_string()).collect();
            label.push_str(&format!(", filter={}", texts.join(" AND ")));
        }
        let options = ScanOptions {
            columns: Some(names),
            filter,
            limit: limit.map(|limit| limit as u64),
            ordered: false,
        };
        let parts = self.parts(filters, options).map_err(external)?;
        let mut statistics = Statistics::new_unknown(&schema);
        if let Some(rows) = self.row_count {
            let rows = rows as usize;
            statistics.num_rows = match (filters.is_empty(), limit) {
                (true, None) => Precision::Exact(rows),
                (true, Some(limit)) => Precision::Exact(rows.min(limit)),
                (false, _) => {
                    let most = parts.iter().map(|part| part.rows_at_most().unwrap_or(rows));
                    Precision::Inexact(most.sum::<usize>().min(rows))
                }
            };
            let columns =
                projection.iter().map(|index| column_statistics(&self.definition.columns[*index], &parts));
            statistics.column_statistics = columns.collect::<Result<_>>()?;
        }
        let partitions = state.config().target_partitions();
        Ok(Arc::new(ScanExec::of_parts(label, parts, schema, limit, statistics, partitions)))
    }
}

/// What is known of a column: bounds by which the planner tells how many rows a join gives. They are of data files, so
/// that they are not exact.
fn column_statistics(column: &Column, parts: &[Part]) -> Result<ColumnStatistics> {
    let mut statistics = ColumnStatistics::new_unknown();
    if !column.nullable {
        statistics.null_count = Precision::Exact(0);
    }
    let data_type = column.column_type.to_arrow();
    if !data_type.is_numeric() && !data_type.is_temporal() {
        return Ok(statistics);
    }
    for part in parts {
        // What cannot be read is an error of who reads it.
        let Ok(Some((lowest, highest))) = part.bounds(&column.name) else { continue };
        let bound = |array: &ArrayRef| ScalarValue::try_from_array(array, 0).map(Precision::Inexact);
        let (lowest, highest) = (bound(&lowest)?, bound(&highest)?);
        let known = statistics.min_value != Precision::Absent;
        statistics.min_value = if known { statistics.min_value.min(&lowest) } else { lowest };
        statistics.max_value = if known { statistics.max_value.max(&highest) } else { highest };
    }
    Ok(statistics)
}

/// Rows that are made each time they are asked for: row versions, changes, what the system tells of itself.
pub(crate) struct Generated {
    name: String,
    schema: SchemaRef,
    generator: Generator,
    row_count: Option<u64>,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Generated {
    /// Rows of a schema; the generator gives all columns.
    pub(crate) fn new(
        name: impl Into<String>,
        schema: SchemaRef,
        row_count: Option<u64>,
        generator: impl Fn() -> asof_engine::Result<crate::exec::Batches> + Send + Sync + 'static,
    ) -> Generated {
        let generator: Generator = Arc::new(move |columns: &[usize]| {
            let columns = columns.to_vec();
            let batches = generator()?;
            Ok(Box::new(batches.map(move |batch| Ok(batch?.project(&columns)?))) as crate::exec::Batches)
        });
        Generated { name: name.into(), schema, generator, row_count }
    }
}

#[async_trait]
impl TableProvider for Generated {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let mut statistics = Statistics::new_unknown(&schema);
        if let (Some(rows), None) = (self.row_count, limit) {
            statistics.num_rows = Precision::Exact(rows as usize);
        }
        let (label, generator) = (self.name.clone(), self.generator.clone());
        Ok(Arc::new(ScanExec::of_generator(label, generator, columns, schema, limit, statistics)))
    }
}
