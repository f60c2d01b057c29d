//! Scans of a plan that read different things get different names.
//!
//! To DataFusion two scans are the same where name, schema and filters are, whatever they read: it would compute
//! `(SELECT sum(n) FROM t VERSION AS OF 2) = (SELECT sum(n) FROM t)` as true. Invariant: in what leaves here, scans of
//! one name read the same rows.

use crate::error::Result;
use crate::table::Table;
use asof_engine::Version;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableScan, TableSource};
use std::collections::HashMap;
use std::sync::Arc;

/// What a scan of a name reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// The table of the name at a version.
    Version(Version),
    /// The table of the name as the transaction changed it.
    Transaction,
    /// What is at an address.
    Other(usize),
}

fn read(source: &Arc<dyn TableSource>) -> Read {
    let Ok(provider) = source_as_provider(source) else { return Read::Other(address(source)) };
    match provider.downcast_ref::<Table>() {
        Some(table) => table.version().map_or(Read::Transaction, Read::Version),
        None => Read::Other(address::<dyn TableProvider>(&provider)),
    }
}

fn address<T: ?Sized>(shared: &Arc<T>) -> usize {
    Arc::as_ptr(shared).cast::<()>() as usize
}

/// The plan with scans of the same name told apart; columns keep their relations.
pub(crate) fn tell_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut names: HashMap<TableReference, Read> = HashMap::new();
    let told = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
        let read = read(&scan.source);
        let is_free =
            |names: &HashMap<_, _>, name: &TableReference| names.get(name).is_none_or(|other| *other == read);
        if is_free(&names, &scan.table_name) {
            names.insert(scan.table_name.clone(), read);
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        }
        let label = match read {
            Read::Version(version) => format!("{}@{version}", scan.table_name),
            Read::Transaction | Read::Other(_) => format!("{} again", scan.table_name),
        };
        let numbered = (2u64..).map(|number| TableReference::bare(format!("{label} ({number})")));
        let name = std::iter::once(TableReference::bare(label.as_str()))
            .chain(numbered)
            .find(|name| is_free(&names, name))
            .expect("numbers do not end");
        names.insert(name.clone(), read);
        renamed(scan, name).map(Transformed::yes)
    })?;
    Ok(told.data)
}

fn renamed(scan: TableScan, name: TableReference) -> Result<LogicalPlan, DataFusionError> {
    let TableScan { table_name, source, projection, .. } = scan;
    LogicalPlanBuilder::scan(name, source, projection)?.alias(table_name)?.build()
}
