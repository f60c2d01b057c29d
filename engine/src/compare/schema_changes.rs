//! How a table's schema differs between two versions.
//!
//! Columns are matched by name, as the net changes of rows are; one that has no namesake by its stable id.

use crate::api::TableInfo;
use crate::text::default_text;
use asof_mvcc::{Column, TableSchema};
use serde_json::{Value, json};
use std::fmt;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// The table is new.
    Created,
    /// The table is gone.
    Dropped,
    /// Another table of the same name: made again, or with another key.
    Replaced,
    /// The key has other columns.
    Key {
        /// Names of the columns before.
        from: Vec<String>,
        /// Names of the columns after.
        to: Vec<String>,
    },
    /// A new column.
    Added {
        /// Its name.
        column: String,
        /// Its type and default, as typed.
        definition: String,
    },
    /// A column that is gone.
    Removed {
        /// Its name.
        column: String,
    },
    /// Another name for the same column.
    Renamed {
        /// The name before.
        from: String,
        /// The name after.
        to: String,
    },
    /// Another type of the same column.
    Retyped {
        /// Its name.
        column: String,
        /// The type before.
        from: String,
        /// The type after.
        to: String,
    },
}

impl SchemaChange {
    /// Whether a column is gone.
    pub fn removes_column(&self) -> bool {
        matches!(self, SchemaChange::Removed { .. } | SchemaChange::Dropped)
    }

    /// Whether there is a column more.
    pub fn adds_column(&self) -> bool {
        matches!(self, SchemaChange::Added { .. })
    }

    /// As JSON: the kind of change, and what of what.
    pub fn to_json(&self) -> Value {
        match self {
            SchemaChange::Created => json!({"change": "create_table"}),
            SchemaChange::Dropped => json!({"change": "drop_table"}),
            SchemaChange::Replaced => json!({"change": "replace_table"}),
            SchemaChange::Key { from, to } => json!({"change": "key", "from": from, "to": to}),
            SchemaChange::Added { column, definition } => {
                json!({"change": "add_column", "column": column, "definition": definition})
            }
            SchemaChange::Removed { column } => json!({"change": "drop_column", "column": column}),
            SchemaChange::Renamed { from, to } => json!({"change": "rename_column", "from": from, "to": to}),
            SchemaChange::Retyped { column, from, to } => {
                json!({"change": "widen_column", "column": column, "from": from, "to": to})
            }
        }
    }
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaChange::Created => write!(f, "create table"),
            SchemaChange::Dropped => write!(f, "drop table"),
            SchemaChange::Replaced => write!(f, "drop table, create table"),
            SchemaChange::Key { from, to } => write!(f, "key ({}) -> ({})", from.join(", "), to.join(", ")),
            SchemaChange::Added { column, definition } => write!(f, "add {column} {definition}"),
            SchemaChange::Removed { column } => write!(f, "drop {column}"),
            SchemaChange::Renamed { from, to } => write!(f, "rename {from} to {to}"),
            SchemaChange::Retyped { column, from, to } => write!(f, "widen {column} {from} -> {to}"),
        }
    }
}

/// The differences between a table before and after.
pub(super) fn between(before: Option<&TableInfo>, after: Option<&TableInfo>) -> Vec<SchemaChange> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, Some(_)) => return vec![SchemaChange::Created],
        (Some(_), None) => return vec![SchemaChange::Dropped],
        (None, None) => return Vec::new(),
    };
    let same_table = before.id == after.id;
    let key =
        |schema: &TableSchema| schema.key_columns().map(|column| column.name.clone()).collect::<Vec<_>>();
    let (old_key, new_key) = (key(&before.schema), key(&after.schema));
    let mut changes = Vec::new();
    if !same_table {
        changes.push(match old_key == new_key {
            true => SchemaChange::Replaced,
            false => SchemaChange::Key { from: old_key, to: new_key },
        });
    }
    for old in &before.schema.columns {
        let Some(new) = partner(old, &before.schema, &after.schema, same_table) else {
            changes.push(SchemaChange::Removed { column: old.name.clone() });
            continue;
        };
        if old.name != new.name {
            changes.push(SchemaChange::Renamed { from: old.name.clone(), to: new.name.clone() });
        }
        if old.column_type != new.column_type {
            changes.push(SchemaChange::Retyped {
                column: new.name.clone(),
                from: old.column_type.to_string(),
                to: new.column_type.to_string(),
            });
        }
    }
    for new in &after.schema.columns {
        if partner(new, &after.schema, &before.schema, same_table).is_none() {
            let not_null = if new.nullable { "" } else { " not null" };
            let default = default_text(new).map(|value| format!(" default {value}")).unwrap_or_default();
            let definition = format!("{}{not_null}{default}", new.column_type);
            changes.push(SchemaChange::Added { column: new.name.clone(), definition });
        }
    }
    changes
}

/// The column of `there` that is the same as `column` of `here`: its namesake, or else the one with its id if that has
/// no namesake either.
fn partner<'a>(
    column: &Column,
    here: &TableSchema,
    there: &'a TableSchema,
    same_table: bool,
) -> Option<&'a Column> {
    let named = |schema: &'a TableSchema, name: &str| schema.columns.iter().find(|other| other.name == name);
    named(there, &column.name).or_else(|| {
        let same = there.column(column.id).filter(|_| same_table)?;
        here.index_of(&same.name).is_err().then_some(same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_mvcc::{ColumnType, CommitTime, Version};
    use std::sync::Arc;

    fn column(name: &str, column_type: &str, id: u32) -> Column {
        Column { id, ..Column::new(name, ColumnType::parse(column_type).unwrap()) }
    }

    fn info(id: u32, columns: Vec<Column>, key: &str) -> TableInfo {
        let key = columns.iter().filter(|column| column.name == key).map(|column| column.id).collect();
        let schema = Arc::new(TableSchema::of(columns, key));
        let (changed, changed_time) = (Version(1), CommitTime(0));
        TableInfo { name: "t".to_string(), id, schema, rows: 0, changed, changed_time }
    }

    #[test]
    fn columns_are_matched_by_name_and_renamed_ones_by_id() {
        let before =
            [("a", "int64", 1), ("b", "text", 2), ("c", "int8", 3), ("d", "text", 4), ("f", "text", 6)];
        let after = [("a", "int64", 1), ("c", "int32", 3), ("e", "text", 2), ("d", "text", 5)];
        let columns = |list: &[(&str, &str, u32)]| list.iter().map(|(n, t, id)| column(n, t, *id)).collect();
        let (before, after) = (info(1, columns(&before), "a"), info(1, columns(&after), "a"));
        let changes: Vec<String> =
            between(Some(&before), Some(&after)).iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["rename b to e", "widen c int8 -> int32", "drop f"]);
    }

    #[test]
    fn another_table_is_matched_by_name() {
        let before = info(1, vec![column("a", "int64", 1), column("b", "text", 2)], "a");
        let after = info(2, vec![column("b", "text", 1), column("a", "int64", 2)], "b");
        let changes: Vec<String> =
            between(Some(&before), Some(&after)).iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["key (a) -> (b)"]);
        assert_eq!(between(Some(&before), None), [SchemaChange::Dropped]);
        assert_eq!(between(Some(&before), Some(&before)), []);
    }
}
