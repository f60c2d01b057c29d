//! Conditions of the command line (`--where`): the same expressions as in statements, on the rows of one table.

use crate::error::{Error, Result};
use crate::filter::translate;
use asof_engine::{Filter, TableSchema};
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;

/// A condition on the rows of a table under one schema.
#[derive(Debug)]
pub struct Condition {
    columns: Vec<String>,
    filter: Option<Filter>,
    test: Arc<dyn PhysicalExpr>,
    schema: Arc<Schema>,
}

impl Condition {
    /// Reads a condition. Names without quotes are taken as lowercase, as in statements.
    pub fn parse(text: &str, schema: &TableSchema) -> Result<Condition> {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.collect_spans = true;
        let context = SessionContext::new_with_config(config);
        let arrow = schema.to_arrow();
        let fields = DFSchema::try_from(arrow.as_ref().clone())?;
        let parsed = context.parse_sql_expr(text, &fields)?;
        let mut state = context.state();
        state.mark_start_execution();
        let simplify = SimplifyContext::builder()
            .with_schema(Arc::new(fields.clone()))
            .with_config_options(state.config_options().clone())
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(simplify);
        let simple = simplifier.coerce(parsed, &fields).and_then(|simple| simplifier.simplify(simple))?;
        let mut used: Vec<usize> = simple
            .column_refs()
            .into_iter()
            .map(|column| schema.index_of(&column.name).map_err(|error| Error::new(error.to_string())))
            .collect::<Result<_>>()?;
        used.sort_unstable();
        used.dedup();
        let columns: Vec<String> = used.iter().map(|index| schema.columns[*index].name.clone()).collect();
        let narrow = Arc::new(arrow.project(&used)?);
        let narrow_fields = DFSchema::try_from(narrow.as_ref().clone())?;
        let filter = translate(&simple, schema);
        let test = state.create_physical_expr(simple, &narrow_fields)?;
        let kind = test.data_type(&narrow)?;
        if !matches!(kind, DataType::Boolean | DataType::Null) {
            return Err(Error::new(format!("a condition is true or false, but this is of type {kind}")));
        }
        Ok(Condition { columns, filter, test, schema: narrow })
    }

    /// The columns that it reads, in the table's order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The same as a filter of scans, where it can be said as one.
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// Which rows it holds for; the batch has its columns at least. NULL is not true.
    pub fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let columns = self.columns.iter().map(|name| {
            let column = rows.column_by_name(name).cloned();
            column.ok_or_else(|| Error::new(format!("the rows have no column '{name}'")))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let value = self.test.evaluate(&batch)?;
        if let datafusion::logical_expr::ColumnarValue::Scalar(value) = &value {
            let holds = *value == ScalarValue::Boolean(Some(true));
            return Ok(BooleanArray::from(vec![holds; rows.num_rows()]));
        }
        let values = value.into_array(rows.num_rows())?;
        let values = as_boolean_array(&values)?;
        Ok(values.iter().map(|value| Some(value == Some(true))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_engine::{Column, ColumnType};
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    fn holds(text: &str) -> Result<Vec<bool>> {
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("Name", ColumnType::Text)];
        let schema = TableSchema::new(columns, &["id"]).unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("bc")]));
        let rows = RecordBatch::try_new(schema.to_arrow(), vec![ids, names])?;
        Ok(Condition::parse(text, &schema)?.evaluate(&rows)?.values().iter().collect())
    }

    #[test]
    fn null_is_not_true() {
        assert_eq!(holds("\"Name\" > 'a'").unwrap(), [false, false, true]);
        assert_eq!(holds("NOT \"Name\" > 'a'").unwrap(), [true, false, false]);
        assert_eq!(holds("NULL").unwrap(), [false; 3]);
        assert_eq!(holds("length(\"Name\") + id >= 2 AND true").unwrap(), [true, false, true]);
        assert_eq!(holds("1 = 1").unwrap(), [true; 3]);
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        assert!(holds("id + 1").unwrap_err().to_string().contains("true or false"));
        assert!(holds("name = 'a'").unwrap_err().to_string().contains("\"Name\""));
        assert!(holds("id = ").is_err());
        assert!(holds("sum(id) > 1").is_err());
    }

    #[test]
    fn simple_conditions_are_filters() {
        let schema = TableSchema::new(vec![Column::new("id", ColumnType::Int64)], &["id"]).unwrap();
        assert!(Condition::parse("id BETWEEN 2 AND 4 OR id = 7", &schema).unwrap().filter().is_some());
        assert!(Condition::parse("id % 2 = 0", &schema).unwrap().filter().is_none());
    }
}
