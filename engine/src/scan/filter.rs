//! Filters: which rows pass, and which row groups can have none that do.

use crate::api::{Comparison, Filter};
use crate::error::{Error, Result};
use crate::store::data_file::DataFile;
use arrow::array::{Array, BooleanArray, RecordBatch, Scalar};
use arrow::compute::kernels::cmp;
use arrow::compute::{and, and_kleene, is_null, not, or_kleene};
use asof_mvcc::Column;

impl Filter {
    /// The columns that it reads.
    pub(super) fn columns<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Filter::Compare { column, .. } | Filter::IsNull(column) => names.push(column),
            Filter::And(a, b) | Filter::Or(a, b) => {
                a.columns(names);
                b.columns(names);
            }
            Filter::Not(inner) => inner.columns(names),
        }
    }

    /// Whether every value compared with is one of its column's type.
    pub(super) fn check(&self, columns: &[Column]) -> Result<()> {
        match self {
            Filter::Compare { column: name, value, .. } => {
                let column = columns.iter().find(|column| column.name == *name);
                let fits = column.is_some_and(|column| {
                    value.len() == 1 && *value.data_type() == column.column_type.to_arrow()
                });
                match fits {
                    true => Ok(()),
                    false => Err(other_type(name)),
                }
            }
            Filter::IsNull(_) => Ok(()),
            Filter::And(a, b) | Filter::Or(a, b) => a.check(columns).and_then(|()| b.check(columns)),
            Filter::Not(inner) => inner.check(columns),
        }
    }

    /// Which rows of a batch pass. Null (a comparison with null) does not.
    pub(super) fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray> {
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
                    return Err(other_type(name));
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

    /// Whether a row group may have a row that passes, by the statistics of its columns; `true` where they do not tell.
    pub(super) fn may_pass(&self, file: &DataFile, group: usize, columns: &[Column]) -> Result<bool> {
        Ok(match self {
            Filter::Compare { column: name, comparison, value } => {
                let column = columns.iter().find(|column| column.name == *name);
                let column = column.expect("every column of the filter is read");
                // Statistics leave out NaN, which comparisons order after all other doubles.
                if value.is_null(0) || value.data_type().is_floating() {
                    return Ok(!value.is_null(0));
                }
                let Some((lowest, highest)) = file.bounds(group, column)? else { return Ok(true) };
                let value = Scalar::new(value.clone());
                let holds = |array: BooleanArray| array.is_null(0) || array.value(0);
                match comparison {
                    Comparison::Equal => {
                        holds(cmp::lt_eq(&lowest, &value)?) && holds(cmp::gt_eq(&highest, &value)?)
                    }
                    Comparison::Less => holds(cmp::lt(&lowest, &value)?),
                    Comparison::LessOrEqual => holds(cmp::lt_eq(&lowest, &value)?),
                    Comparison::Greater => holds(cmp::gt(&highest, &value)?),
                    Comparison::GreaterOrEqual => holds(cmp::gt_eq(&highest, &value)?),
                    Comparison::NotEqual => true,
                }
            }
            Filter::And(a, b) => a.may_pass(file, group, columns)? && b.may_pass(file, group, columns)?,
            Filter::Or(a, b) => a.may_pass(file, group, columns)? || b.may_pass(file, group, columns)?,
            Filter::IsNull(_) | Filter::Not(_) => true,
        })
    }
}

fn other_type(name: &str) -> Error {
    Error::invalid(format!("column '{name}' is compared with something of another type"))
}
