//! The schema of a table at a version: its columns by stable id, and its primary key.

use crate::column_type::{ColumnType, quote_name};
use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A column. Its id is given once and never again within a table, so that a renamed column is the
/// same and a re-added name is another one.
#[derive(Clone, Debug)]
pub struct Column {
    /// Stable id, from 1.
    pub id: u32,
    /// Its name in this schema.
    pub name: String,
    /// Its type in this schema.
    pub column_type: ColumnType,
    /// Whether null is allowed. Key columns never are.
    pub nullable: bool,
    /// What rows hold that were written before the column was added, and rows that do not give it:
    /// an array of one value of the column's type. Without one: null.
    pub default: Option<ArrayRef>,
}

impl PartialEq for Column {
    fn eq(&self, other: &Column) -> bool {
        let default = match (&self.default, &other.default) {
            (Some(a), Some(b)) => a.to_data() == b.to_data(),
            (None, None) => true,
            _ => false,
        };
        default
            && (self.id, &self.name, &self.column_type, self.nullable)
                == (other.id, &other.name, &other.column_type, other.nullable)
    }
}

impl Column {
    /// A nullable column without a default. Its id is given by the table.
    pub fn new(name: impl Into<String>, column_type: ColumnType) -> Column {
        Column { id: 0, name: name.into(), column_type, nullable: true, default: None }
    }

    /// The column as an Arrow field.
    pub fn to_field(&self) -> Field {
        Field::new(&self.name, self.column_type.to_arrow(), self.nullable)
    }
}

/// A condition that every row of a table fulfils: it is not false. What it means is known to whoever evaluates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// The condition, in SQL.
    pub expression: String,
}

/// The columns and key of a table, as of one or more versions.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    /// The columns in their order.
    pub columns: Vec<Column>,
    /// Ids of the key columns in key order; empty for a table without a key.
    pub key: Vec<u32>,
    /// What rows have to fulfil.
    pub checks: Vec<Check>,
    derived: Derived,
}

/// What follows from a schema, made when it is first asked for: every commit asks. A copy begins without it, for it may
/// be changed before it is asked.
#[derive(Debug, Default)]
struct Derived {
    arrow: OnceLock<SchemaRef>,
    key_columns: OnceLock<Vec<Column>>,
}

impl Clone for Derived {
    fn clone(&self) -> Derived {
        Derived::default()
    }
}

impl PartialEq for Derived {
    fn eq(&self, _: &Derived) -> bool {
        true
    }
}

/// A schema that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Two columns of one name.
    #[error("column '{0}' is named twice")]
    DuplicateColumn(String),
    /// A column that is not there.
    #[error("there is no column '{name}'; columns are {available}")]
    UnknownColumn {
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// A key column of a type that cannot be one.
    #[error("column '{0}' of type {1} cannot be part of a primary key")]
    NotAKeyType(String, ColumnType),
    /// A table without columns.
    #[error("a table needs at least one column")]
    NoColumns,
    /// A name no column may have.
    #[error("'{0}' cannot be a column's name: {1}")]
    BadName(String, &'static str),
    /// Any other change that is not allowed.
    #[error("{0}")]
    NotAllowed(String),
}

impl TableSchema {
    /// A schema of columns that have their ids, and ids of key columns, unchecked.
    pub fn of(columns: Vec<Column>, key: Vec<u32>) -> TableSchema {
        TableSchema { columns, key, checks: Vec::new(), derived: Derived::default() }
    }

    /// A new table's schema: ids are given in order from 1, key columns become not null.
    pub fn new(columns: Vec<Column>, key: &[impl AsRef<str>]) -> Result<TableSchema, SchemaError> {
        let mut schema = TableSchema::of(columns, Vec::new());
        for (index, column) in schema.columns.iter_mut().enumerate() {
            column.id = index as u32 + 1;
        }
        for name in key {
            let index = schema.index_of(name.as_ref())?;
            let column = &mut schema.columns[index];
            column.nullable = false;
            if schema.key.contains(&column.id) {
                return Err(SchemaError::DuplicateColumn(column.name.clone()));
            }
            schema.key.push(column.id);
        }
        schema.validate()?;
        Ok(schema)
    }

    /// Checks names, key types and ids.
    pub fn validate(&self) -> Result<(), SchemaError> {
        if self.columns.is_empty() {
            return Err(SchemaError::NoColumns);
        }
        for (index, column) in self.columns.iter().enumerate() {
            if column.name.is_empty() {
                return Err(SchemaError::BadName(column.name.clone(), "it is empty"));
            }
            if column.name.len() > 1024 {
                return Err(SchemaError::BadName(column.name.clone(), "it is longer than 1024 bytes"));
            }
            if column.name.contains('\0') {
                return Err(SchemaError::BadName(column.name.clone(), "it contains a zero byte"));
            }
            if self.columns[..index].iter().any(|other| other.name == column.name) {
                return Err(SchemaError::DuplicateColumn(column.name.clone()));
            }
        }
        for (index, check) in self.checks.iter().enumerate() {
            if check.name.is_empty() {
                return Err(SchemaError::NotAllowed("a check has no name".to_string()));
            }
            if self.checks[..index].iter().any(|other| other.name == check.name) {
                return Err(SchemaError::NotAllowed(format!("the check '{}' is named twice", check.name)));
            }
        }
        for column in self.key_columns() {
            if !column.column_type.may_be_key() {
                return Err(SchemaError::NotAKeyType(column.name.clone(), column.column_type.clone()));
            }
        }
        Ok(())
    }

    /// Whether the table has a primary key.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The position of a column by name.
    pub fn index_of(&self, name: &str) -> Result<usize, SchemaError> {
        self.columns.iter().position(|column| column.name == name).ok_or_else(|| SchemaError::UnknownColumn {
            name: name.to_string(),
            available: self.columns.iter().map(|c| quote_name(&c.name)).collect::<Vec<_>>().join(", "),
        })
    }

    /// A column by id.
    pub fn column(&self, id: u32) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// The key columns in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|id| self.column(*id))
    }

    /// The positions of the key columns in key order.
    pub fn key_indexes(&self) -> Vec<usize> {
        self.key.iter().filter_map(|id| self.columns.iter().position(|column| column.id == *id)).collect()
    }

    /// The columns as an Arrow schema.
    pub fn to_arrow(&self) -> SchemaRef {
        let make = || Arc::new(Schema::new(self.columns.iter().map(Column::to_field).collect::<Vec<_>>()));
        let arrow = self.derived.arrow.get_or_init(make);
        debug_assert_eq!(*arrow, make(), "a schema is not changed once it was asked for this");
        arrow.clone()
    }

    /// The key columns in key order, side by side.
    pub fn key_column_list(&self) -> &[Column] {
        let make = || self.key_columns().cloned().collect::<Vec<_>>();
        let list = self.derived.key_columns.get_or_init(make);
        debug_assert_eq!(*list, make(), "a schema is not changed once it was asked for this");
        list
    }

    /// The key columns as an Arrow schema.
    pub fn key_to_arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.key_columns().map(Column::to_field).collect::<Vec<_>>()))
    }
}

/// `id int64 not null, name text, primary key (id)`: what a create-table command takes. Defaults
/// are left out: their text form belongs to the engine.
impl fmt::Display for TableSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, column) in self.columns.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let not_null = if column.nullable { "" } else { " not null" };
            write!(f, "{comma}{} {}{not_null}", quote_name(&column.name), column.column_type)?;
        }
        if self.has_key() {
            let names: Vec<String> = self.key_columns().map(|column| quote_name(&column.name)).collect();
            write!(f, ", primary key ({})", names.join(", "))?;
        }
        for check in &self.checks {
            write!(f, ", constraint {} check ({})", quote_name(&check.name), check.expression)?;
        }
        Ok(())
    }
}
