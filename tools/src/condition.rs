//! Conditions in SQL, where this program was built with it: which rows a command is about, and what rows have to fulfil.

use crate::{Error, Result};
use asof_engine::arrow::array::{BooleanArray, RecordBatch};
use asof_engine::{CheckRows, Filter, TableSchema};
use std::sync::Arc;

/// A condition on the rows of a table.
#[derive(Debug)]
pub struct Condition(
    #[cfg(feature = "sql")] asof_sql::Condition,
    #[cfg(not(feature = "sql"))] std::convert::Infallible,
);

/// Who evaluates the checks of tables.
pub fn checks() -> Option<Arc<dyn CheckRows>> {
    #[cfg(feature = "sql")]
    return Some(Arc::new(asof_sql::Checks::default()));
    #[cfg(not(feature = "sql"))]
    None
}

#[cfg(feature = "sql")]
impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str, schema: &TableSchema) -> Result<Condition> {
        let parsed = asof_sql::Condition::parse(text, schema);
        parsed.map(Condition).map_err(|error| Error::from(error).at("--where"))
    }

    /// The same as a filter of scans, where it can be said as one.
    pub fn filter(&self) -> Option<&Filter> {
        self.0.filter()
    }

    /// The columns that it reads.
    pub fn columns(&self) -> &[String] {
        self.0.columns()
    }

    /// Which rows it holds for.
    pub fn evaluate(&self, rows: &RecordBatch) -> asof_engine::Result<BooleanArray> {
        self.0.evaluate(rows).map_err(|error| asof_engine::Error::invalid(error.to_string()))
    }
}

#[cfg(not(feature = "sql"))]
impl Condition {
    /// Says that there is no SQL here.
    pub fn parse(_: &str, _: &TableSchema) -> Result<Condition> {
        Err(Error::usage("--where is in SQL, without which this program was built"))
    }

    /// There is no condition.
    pub fn filter(&self) -> Option<&Filter> {
        match self.0 {}
    }

    /// There is no condition.
    pub fn columns(&self) -> &[String] {
        match self.0 {}
    }

    /// There is no condition.
    pub fn evaluate(&self, _: &RecordBatch) -> asof_engine::Result<BooleanArray> {
        match self.0 {}
    }
}
