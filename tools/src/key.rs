//! A key as people type it: a value; for compound keys values with commas between, or a JSON array.

use crate::{Error, Result};
use asof_engine::arrow::array::RecordBatch;
use asof_engine::{TableSchema, text};
use serde_json::Value;

/// The batch of one row that names a key, with the key columns of a table.
pub fn parse(schema: &TableSchema, table: &str, typed: &str) -> Result<RecordBatch> {
    let columns: Vec<_> = schema.key_columns().collect();
    let values = match columns.len() {
        0 => return Err(Error::failed(format!("table '{table}' has no key; look at its rows with `asof cat`"))),
        // Also what looks like an array may be a value.
        1 => json(typed).and_then(|values| texts(values, 1)).unwrap_or_else(|| vec![typed.to_string()]),
        count => split(typed, count).ok_or_else(|| {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            Error::failed(format!(
                "'{typed}' is no key of table '{table}': give {count} values ({}) with commas between, or as a JSON array",
                names.join(", ")
            ))
        })?,
    };
    let arrays = columns
        .iter()
        .zip(&values)
        .map(|(column, value)| {
            text::parse_scalar(&column.column_type, value)
                .map_err(|error| Error::from(error.at(format_args!("key column '{}'", column.name))))
        })
        .collect::<Result<_>>()?;
    RecordBatch::try_new(schema.key_to_arrow(), arrays).map_err(|error| Error::failed(error.to_string()))
}

fn split(typed: &str, count: usize) -> Option<Vec<String>> {
    match json(typed) {
        Some(values) => texts(values, count),
        None => {
            let values: Vec<String> = typed.split(',').map(|value| value.trim().to_string()).collect();
            (values.len() == count).then_some(values)
        }
    }
}

fn json(typed: &str) -> Option<Vec<Value>> {
    serde_json::from_str(typed).ok()
}

/// So many values of a JSON array as people type them.
fn texts(values: Vec<Value>, count: usize) -> Option<Vec<String>> {
    let values = values.into_iter().map(|value| match value {
        Value::String(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    values.collect::<Option<Vec<String>>>().filter(|values| values.len() == count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_engine::arrow::array::AsArray;
    use asof_engine::arrow::datatypes::Int64Type;
    use asof_engine::{Column, ColumnType};

    fn schema(key: &[&str]) -> TableSchema {
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("name", ColumnType::Text)];
        TableSchema::new(columns, key).unwrap()
    }

    #[test]
    fn one_value_is_taken_whole() {
        let key = parse(&schema(&["name"]), "t", "[1,2], or so").unwrap();
        assert_eq!(key.column(0).as_string::<i32>().value(0), "[1,2], or so");
        let key = parse(&schema(&["name"]), "t", "[\"Doe, John\"]").unwrap();
        assert_eq!(key.column(0).as_string::<i32>().value(0), "Doe, John");
        let key = parse(&schema(&["id"]), "t", "-5").unwrap();
        assert_eq!(key.column(0).as_primitive::<Int64Type>().value(0), -5);
    }

    #[test]
    fn several_values_have_commas_or_are_a_json_array() {
        for typed in ["7,a b", "7, a b", "[7,\"a b\"]", "[\"7\", \"a b\"]"] {
            let key = parse(&schema(&["id", "name"]), "t", typed).unwrap();
            assert_eq!(key.column(0).as_primitive::<Int64Type>().value(0), 7, "{typed}");
            assert_eq!(key.column(1).as_string::<i32>().value(0), "a b", "{typed}");
        }
        let key = parse(&schema(&["id", "name"]), "t", "[7,\"a,b\"]").unwrap();
        assert_eq!(key.column(1).as_string::<i32>().value(0), "a,b");
    }

    #[test]
    fn what_is_no_key_is_named() {
        let message = |key: &[&str], typed: &str| parse(&schema(key), "t", typed).unwrap_err().to_string();
        assert!(message(&[], "1").contains("has no key"));
        assert!(message(&["id"], "x").starts_with("key column 'id': "));
        for typed in ["7", "1,2,3", "[1,null]", "[1,[2]]", "[7]"] {
            assert!(message(&["id", "name"], typed).contains("give 2 values (id, name)"), "{typed}");
        }
    }
}
