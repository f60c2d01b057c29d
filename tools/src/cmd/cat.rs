//! `cat`: a table as it was, in the bytes of the mount.

use crate::args::{CatArgs, CatFormat};
use crate::condition::Condition;
use crate::print::Progress;
use crate::print::rows::{self, Batches};
use crate::{Context, Error, Result, Status, output};
use asof_engine::arrow::array::RecordBatch;
use asof_engine::arrow::compute::filter_record_batch;
use asof_engine::{Column, ScanOptions, Snapshot, TableSchema};
use std::sync::Arc;

/// Prints a table.
pub fn run(args: CatArgs, context: &Context) -> Result {
    let format = rows::format(args.format, args.output.as_deref(), context.json, CatFormat::Csv)?;
    if args.csv_safe && format != CatFormat::Csv {
        return Err(Error::usage("--csv-safe is for --format csv"));
    }
    let database = context.open_read_only(&args.database)?;
    let snapshot = context.snapshot(&database, args.as_of.as_deref())?;
    let all = snapshot.schema(&args.table)?;
    let schema = match &args.columns {
        None => all.clone(),
        Some(columns) => Arc::new(project(&all, columns).map_err(|error| error.at(&args.table))?),
    };
    let condition = args.condition.as_deref().map(|text| Condition::parse(text, &all)).transpose()?;
    let options = ScanOptions { columns: args.columns, limit: args.limit, ..ScanOptions::default() };
    let mut batches = scan(&snapshot, &args.table, &schema, condition, options)?;
    let file = args.output.as_deref();
    let rows = || snapshot.table(&args.table).map_or(0, |table| table.rows);
    let progress = context.writes_file(file).then(|| Progress::reading(context, &database, rows));
    output::write(context, file, rows::is_binary(format), |out| {
        let batches: Batches<'_> = &mut batches;
        match args.csv_safe {
            true => rows::write_csv_safe(&schema, batches, out),
            false => rows::write(format, &schema, batches, out).map(drop),
        }
    })?;
    drop(progress);
    Ok(Status::Done)
}

/// Batches of rows.
pub(super) type Scanned = Box<dyn Iterator<Item = asof_engine::Result<RecordBatch>>>;

/// The rows that a condition holds for, in order; all where there is none.
pub(super) fn scan(
    snapshot: &Snapshot,
    table: &str,
    schema: &TableSchema,
    condition: Option<Condition>,
    mut options: ScanOptions,
) -> Result<Scanned> {
    let Some(condition) = condition else { return Ok(Box::new(snapshot.scan(table, options)?)) };
    if let Some(filter) = condition.filter() {
        options.filter = Some(filter.clone());
        return Ok(Box::new(snapshot.scan(table, options)?));
    }
    let given: Vec<String> = schema.columns.iter().map(|column| column.name.clone()).collect();
    let mut read = given.clone();
    read.extend(condition.columns().iter().filter(|name| !given.contains(name)).cloned());
    let mut left = options.limit.unwrap_or(u64::MAX);
    let scan = snapshot.scan(table, ScanOptions { columns: Some(read), limit: None, ..options })?;
    let kept: Vec<usize> = (0..given.len()).collect();
    let passed = scan.map(move |batch| {
        let batch = batch?;
        let holds = condition.evaluate(&batch)?;
        Ok(filter_record_batch(&batch.project(&kept)?, &holds)?)
    });
    Ok(Box::new(passed.map_while(move |batch: asof_engine::Result<RecordBatch>| {
        if left == 0 {
            return None;
        }
        Some(batch.map(|batch| {
            let rows = (batch.num_rows() as u64).min(left);
            left -= rows;
            batch.slice(0, rows as usize)
        }))
    })))
}

/// The schema of some of a table's columns; the key stays where all its columns do.
fn project(schema: &TableSchema, columns: &[String]) -> Result<TableSchema> {
    let mut projected = TableSchema::of(Vec::new(), schema.key.clone());
    for name in columns {
        let column: &Column = &schema.columns[schema.index_of(name).map_err(asof_engine::Error::from)?];
        projected.columns.push(column.clone());
    }
    if !projected.key.iter().all(|id| projected.column(*id).is_some()) {
        projected.key.clear();
    }
    projected.validate().map_err(asof_engine::Error::from)?;
    Ok(projected)
}
