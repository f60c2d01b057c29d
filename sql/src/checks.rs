//! The checks of tables, for whoever writes them through the engine: commands, and programs.

use crate::condition::Condition;
use crate::error::Result;
use asof_engine::{CheckRows, Error as EngineError, ErrorKind, TableSchema, text};
use datafusion::arrow::array::RecordBatch;
use parking_lot::Mutex;
use std::sync::Arc;

/// Schemas whose conditions are kept.
const SCHEMAS_MAX: usize = 64;

/// A schema, and for each of its checks its name and the condition that it is not fulfilled.
type Parsed = (Arc<TableSchema>, Arc<Vec<(String, Condition)>>);

/// Evaluates checks (`Options::checks`).
#[derive(Debug, Default)]
pub struct Checks {
    parsed: Mutex<Vec<Parsed>>,
}

/// The conditions under which rows do not fulfil the checks of a schema: a check that is NULL is fulfilled.
fn violations(schema: &TableSchema) -> Result<Vec<(String, Condition)>> {
    let checks = schema.checks.iter().map(|check| {
        let violation = Condition::parse(&format!("NOT ({}\n)", check.expression), schema)?;
        Ok((check.name.clone(), violation))
    });
    checks.collect()
}

fn engine_error(name: &str, message: impl std::fmt::Display) -> EngineError {
    EngineError::invalid(format!("check '{name}': {message}"))
}

impl Checks {
    fn of(&self, schema: &Arc<TableSchema>) -> asof_engine::Result<Arc<Vec<(String, Condition)>>> {
        let mut parsed = self.parsed.lock();
        if let Some((_, found)) = parsed.iter().find(|(known, _)| Arc::ptr_eq(known, schema)) {
            return Ok(found.clone());
        }
        let found = violations(schema)
            .map_err(|error| EngineError::invalid(format!("a check cannot be evaluated: {error}")))?;
        let found = Arc::new(found);
        if parsed.len() >= SCHEMAS_MAX {
            parsed.clear();
        }
        parsed.push((schema.clone(), found.clone()));
        Ok(found)
    }
}

impl CheckRows for Checks {
    fn validate(&self, schema: &TableSchema) -> asof_engine::Result<()> {
        for check in &schema.checks {
            let mut one = schema.clone();
            one.checks.retain(|other| other.name == check.name);
            violations(&one).map_err(|error| engine_error(&check.name, error))?;
        }
        Ok(())
    }

    fn check(&self, schema: &Arc<TableSchema>, rows: &RecordBatch) -> asof_engine::Result<()> {
        for (name, violation) in self.of(schema)?.iter() {
            let violated = violation.evaluate(rows).map_err(|error| engine_error(name, error))?;
            if let Some(row) = violated.iter().position(|violated| violated == Some(true)) {
                let cells = schema.columns.iter().filter_map(|column| {
                    let array = rows.column_by_name(&column.name)?;
                    let value = text::format_cell(&column.column_type, array, row)
                        .unwrap_or_else(|| "NULL".to_string());
                    Some(format!("{} = {value}", column.name))
                });
                let cells: Vec<String> = cells.collect();
                return Err(EngineError::new(
                    ErrorKind::Invalid,
                    format!("a row does not fulfil the check '{name}': {}", cells.join(", ")),
                ));
            }
        }
        Ok(())
    }
}
