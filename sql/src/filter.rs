//! From DataFusion's expressions to the engine's filters.
//!
//! Invariant: a filter is translated whole or not at all, and what it lets pass is what SQL says.

use asof_engine::{Comparison, Filter, TableSchema};
use datafusion::arrow::array::ArrayRef;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

/// Values of a list that are compared one by one, at most.
const LIST_MAX: usize = 32;

/// The engine's filter for an expression, if there is one.
pub(crate) fn translate(expression: &Expr, schema: &TableSchema) -> Option<Filter> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => binary(left, *op, right, schema),
        Expr::Between(Between { expr, negated, low, high }) => {
            let within = Filter::And(
                Box::new(compare(expr, Comparison::GreaterOrEqual, low, schema)?),
                Box::new(compare(expr, Comparison::LessOrEqual, high, schema)?),
            );
            Some(if *negated { Filter::Not(Box::new(within)) } else { within })
        }
        Expr::InList(InList { expr, list, negated }) if (1..=LIST_MAX).contains(&list.len()) => {
            let equals = list.iter().map(|value| compare(expr, Comparison::Equal, value, schema));
            let equals = equals.collect::<Option<Vec<Filter>>>()?;
            let any = equals.into_iter().reduce(|a, b| Filter::Or(Box::new(a), Box::new(b)))?;
            Some(if *negated { Filter::Not(Box::new(any)) } else { any })
        }
        Expr::IsNull(inner) => Some(Filter::IsNull(column(inner, schema)?.0)),
        Expr::IsNotNull(inner) => Some(Filter::Not(Box::new(Filter::IsNull(column(inner, schema)?.0)))),
        Expr::Not(inner) => Some(Filter::Not(Box::new(translate(inner, schema)?))),
        Expr::Column(_) => {
            let (name, index) = column(expression, schema)?;
            let is_boolean = schema.columns[index].column_type == asof_engine::ColumnType::Boolean;
            let value = ScalarValue::Boolean(Some(true)).to_array().ok()?;
            is_boolean.then_some(Filter::Compare { column: name, comparison: Comparison::Equal, value })
        }
        _ => None,
    }
}

fn binary(left: &Expr, op: Operator, right: &Expr, schema: &TableSchema) -> Option<Filter> {
    let both = |left: &Expr, right: &Expr| {
        Some((Box::new(translate(left, schema)?), Box::new(translate(right, schema)?)))
    };
    match op {
        Operator::And => both(left, right).map(|(a, b)| Filter::And(a, b)),
        Operator::Or => both(left, right).map(|(a, b)| Filter::Or(a, b)),
        _ => {
            let comparison = comparison(op)?;
            match left {
                Expr::Literal(..) => compare(right, swapped(comparison), left, schema),
                _ => compare(left, comparison, right, schema),
            }
        }
    }
}

fn comparison(op: Operator) -> Option<Comparison> {
    Some(match op {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn swapped(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

fn compare(left: &Expr, comparison: Comparison, right: &Expr, schema: &TableSchema) -> Option<Filter> {
    let (column, index) = column(left, schema)?;
    let column_type = &schema.columns[index].column_type;
    // Lists and structs have no order.
    if matches!(column_type, asof_engine::ColumnType::List(_) | asof_engine::ColumnType::Struct(_)) {
        return None;
    }
    let value = literal(right, &column_type.to_arrow())?;
    Some(Filter::Compare { column, comparison, value })
}

fn column(expression: &Expr, schema: &TableSchema) -> Option<(String, usize)> {
    let Expr::Column(Column { name, .. }) = expression else { return None };
    schema.index_of(name).ok().map(|index| (name.clone(), index))
}

/// A literal as one value of a column's type, if it is exactly that.
fn literal(expression: &Expr, to: &datafusion::arrow::datatypes::DataType) -> Option<ArrayRef> {
    let Expr::Literal(value, _) = expression else { return None };
    if value.is_null() {
        return None;
    }
    let from = value.data_type();
    let cast = value.cast_to(to).ok().filter(|cast| !cast.is_null())?;
    if from != *to && cast.cast_to(&from).ok().as_ref() != Some(value) {
        return None;
    }
    cast.to_array().ok()
}

/// The keys that filters, all of which must hold, leave: for each key column the values it may have, where there are
/// few. In key order.
pub(crate) fn key_values(filters: &[Expr], schema: &TableSchema) -> Option<Vec<Vec<ArrayRef>>> {
    if !schema.has_key() {
        return None;
    }
    let mut conjuncts = Vec::new();
    filters.iter().for_each(|filter| split(filter, &mut conjuncts));
    let values = schema.key_columns().map(|key| {
        let to = key.column_type.to_arrow();
        conjuncts.iter().find_map(|conjunct| {
            let of_key =
                |expression: &Expr| column(expression, schema).is_some_and(|(name, _)| name == key.name);
            match conjunct {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                    match (of_key(left), of_key(right)) {
                        (true, _) => Some(vec![literal(right, &to)?]),
                        (_, true) => Some(vec![literal(left, &to)?]),
                        _ => None,
                    }
                }
                Expr::InList(InList { expr, list, negated: false }) if of_key(expr) => {
                    list.iter().map(|value| literal(value, &to)).collect()
                }
                _ => None,
            }
        })
    });
    values.collect()
}

fn split<'a>(expression: &'a Expr, conjuncts: &mut Vec<&'a Expr>) {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            split(left, conjuncts);
            split(right, conjuncts);
        }
        other => conjuncts.push(other),
    }
}
