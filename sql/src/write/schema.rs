//! CREATE TABLE, ALTER TABLE, DROP TABLE.

use super::cast::to_column;
use super::rows::column_of;
use super::{Done, Writer, as_columns, types};
use crate::commands::reference;
use crate::error::{Error, Result};
use crate::moment::constant;
use crate::names::{Found, normal, plain};
use crate::outcome::to_engine;
use crate::scope::Scope;
use asof_engine::arrow::array::ArrayRef;
use asof_engine::{Alteration, Check, Column, Counts, TableSchema};
use datafusion::common::DFSchema;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, ColumnOption, CreateTable, Expr,
    ObjectName, RenameTableNameKind, Spanned, TableConstraint,
};
use std::sync::Arc;

impl Writer<'_> {
    pub(super) fn create_table(&self, create: CreateTable) -> Result<Done> {
        let place = create.name.span().start;
        let refuse = |what: &str| Err(Error::new(format!("{what} is not supported")).at(place));
        if create.external {
            return refuse("an external table of this form");
        }
        if create.temporary || create.global.is_some() {
            return Err(
                Error::new("tables last: for something that ends with the session make a VIEW").at(place)
            );
        }
        if create.like.is_some() || create.clone.is_some() {
            return Err(Error::new("write CREATE TABLE t AS SELECT * FROM other WHERE false").at(place));
        }
        // Planned first: it may read what is replaced.
        let rows = create.query.map(|query| self.query(&self.names, *query)).transpose()?;
        let found = reference(&create.name)?;
        let name = match self.targets.find(&found)? {
            Found::Table(name) => {
                if create.if_not_exists {
                    return Ok(Counts::default());
                }
                if !create.or_replace {
                    return Err(Error::new(format!(
                        "there is a table '{name}' already: CREATE TABLE IF NOT EXISTS, or CREATE OR REPLACE TABLE"
                    ))
                    .at(place));
                }
                self.transaction.lock().drop_table(&name)?;
                name
            }
            Found::View(name) => {
                return Err(Error::new(format!("there is a view '{name}' already")).at(place));
            }
            _ => plain(&found),
        };
        let (mut columns, mut key, mut checks) = self.columns(&create.columns)?;
        for constraint in &create.constraints {
            match constraint {
                TableConstraint::PrimaryKey(primary) if key.is_empty() => {
                    key = primary
                        .columns
                        .iter()
                        .map(|column| match &column.column.expr {
                            Expr::Identifier(name) => Ok(normal(name)),
                            other => Err(Error::new(format!("the key is of columns, not of {other}"))
                                .at(other.span().start)),
                        })
                        .collect::<Result<Vec<_>>>()?;
                }
                TableConstraint::Check(check) => {
                    checks.push((check.name.as_ref().map(normal), check.expr.as_ref().clone()));
                }
                TableConstraint::PrimaryKey(_) => {
                    return Err(Error::new("there are two primary keys").at(constraint.span().start));
                }
                other => return Err(unsupported_constraint(other)),
            }
        }
        let Some(rows) = rows else {
            if columns.is_empty() {
                return Err(Error::new("a table needs at least one column").at(place));
            }
            self.make(&name, columns, &key, checks)?;
            return Ok(Counts::default());
        };
        if columns.is_empty() {
            columns = rows.schema().columns.iter().map(|column| Column { id: 0, ..column.clone() }).collect();
        } else if columns.len() != rows.schema().columns.len() {
            return Err(Error::new(format!(
                "the table has {} columns, the query {}",
                columns.len(),
                rows.schema().columns.len()
            ))
            .at(place));
        }
        self.make(&name, columns, &key, checks)?;
        let schema = self.schema_of(&name)?;
        self.load(&name, &schema, rows)
    }

    /// Makes a table with checks; those without a name get one.
    fn make(&self, name: &str, columns: Vec<Column>, key: &[String], checks: Vec<NamedCheck>) -> Result<()> {
        let mut transaction = self.transaction.lock();
        transaction.create_table(name, columns, key)?;
        for check in checks {
            let check = check_of(&*transaction.schema(name)?, check);
            transaction.alter_table(name, Alteration::AddCheck(check))?;
        }
        Ok(())
    }

    /// Fills a table that was just made.
    fn load(&self, name: &str, schema: &Arc<TableSchema>, rows: crate::outcome::Rows) -> Result<Done> {
        let inserted = to_engine(as_columns(&schema.columns, rows), |batches| {
            let mut transaction = self.transaction.lock();
            if self.alone {
                return transaction.load(name, batches);
            }
            // It can be read before it is committed.
            let mut count = 0;
            for batch in batches {
                let batch = batch?;
                transaction.insert(name, &batch)?;
                count += batch.num_rows() as u64;
            }
            Ok(count)
        })?;
        Ok(Counts { inserted, ..Counts::default() })
    }

    /// Columns as they are written, and the key where a column says that it is.
    fn columns(&self, definitions: &[ColumnDef]) -> Result<(Vec<Column>, Vec<String>, Vec<NamedCheck>)> {
        let (mut columns, mut key, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        for definition in definitions {
            let (column, is_key) = self.column(definition)?;
            checks.extend(column_checks(definition));
            if is_key && !key.is_empty() {
                return Err(Error::new(
                    "there are two primary keys; name all key columns in one: PRIMARY KEY (a, b)",
                )
                .at(definition.name.span.start));
            }
            if is_key {
                key.push(column.name.clone());
            }
            columns.push(column);
        }
        Ok((columns, key, checks))
    }

    fn column(&self, definition: &ColumnDef) -> Result<(Column, bool)> {
        let place = definition.name.span.start;
        let scope = Scope::new(self.names.clone());
        let column_type = types::of_sql(&definition.data_type, &scope).map_err(|error| error.at(place))?;
        let mut column = Column::new(normal(&definition.name), column_type);
        let mut is_key = false;
        for option in &definition.options {
            match &option.option {
                ColumnOption::Null => column.nullable = true,
                ColumnOption::NotNull => column.nullable = false,
                ColumnOption::PrimaryKey(_) => (column.nullable, is_key) = (false, true),
                // Its conditions are the table's.
                ColumnOption::Check(_) => {}
                ColumnOption::Default(value) => column.default = self.default_of(value, &column)?,
                ColumnOption::Comment(_) => {
                    return Err(
                        Error::new("columns have no comments: say it in the commit's, at the end").at(place)
                    );
                }
                other => return Err(Error::new(format!("{other} is not supported")).at(place)),
            }
        }
        Ok((column, is_key))
    }

    /// The default that an expression is: a constant.
    fn default_of(&self, value: &Expr, column: &Column) -> Result<Option<ArrayRef>> {
        let at = |error: Error| error.at(value.span().start);
        let scope = Scope::new(self.names.clone());
        let planner = SqlToRel::new_with_options(&scope, crate::names::parser_options(&self.names.state));
        let planned = planner.sql_to_expr(value.clone(), &DFSchema::empty(), &mut PlannerContext::new());
        let value = planned.map_err(Error::from).and_then(|planned| {
            if planned.is_volatile() {
                return Err(Error::new("a default is the same for all rows: give a constant"));
            }
            constant(planned, &self.names.state)
        });
        let value = value.map_err(at)?;
        if value.is_null() {
            return Ok(None);
        }
        let array = value.to_array()?;
        to_column(&array, column).map(Some).map_err(at)
    }

    pub(super) fn drop_tables(&self, names: &[ObjectName], if_exists: bool) -> Result<Done> {
        for name in names {
            let found = self.targets.find(&reference(name)?)?;
            match found {
                Found::Table(name) => self.transaction.lock().drop_table(&name)?,
                _ if if_exists => {}
                _ => drop(self.table_name(name)?),
            }
        }
        Ok(Counts::default())
    }

    pub(super) fn alter_table(&self, alter: AlterTable) -> Result<Done> {
        let place = alter.name.span().start;
        let table = self.table_name(&alter.name)?;
        for operation in &alter.operations {
            let alterations = self.alterations(&table, operation).map_err(|error| error.at(place))?;
            for alteration in alterations {
                self.transaction.lock().alter_table(&table, alteration)?;
            }
        }
        Ok(Counts::default())
    }

    fn alterations(&self, table: &str, operation: &AlterTableOperation) -> Result<Vec<Alteration>> {
        let schema = self.schema_of(table)?;
        let has = |name: &str| schema.index_of(name).is_ok();
        Ok(match operation {
            AlterTableOperation::AddColumn { if_not_exists, column_def, column_position: None, .. } => {
                let name = normal(&column_def.name);
                if *if_not_exists && has(&name) {
                    return Ok(Vec::new());
                }
                let (column, is_key) = self.column(column_def)?;
                if is_key {
                    return Err(Error::new("a column that is added cannot be the key"));
                }
                let mut alterations = vec![Alteration::AddColumn(column)];
                let checks = column_checks(column_def).into_iter();
                alterations.extend(checks.map(|check| Alteration::AddCheck(check_of(&schema, check))));
                alterations
            }
            AlterTableOperation::AddConstraint { constraint: TableConstraint::Check(check), .. } => {
                let check = (check.name.as_ref().map(normal), check.expr.as_ref().clone());
                vec![Alteration::AddCheck(check_of(&schema, check))]
            }
            AlterTableOperation::AddConstraint { constraint, .. } => {
                return Err(unsupported_constraint(constraint));
            }
            AlterTableOperation::DropConstraint { name, if_exists, .. } => {
                let name = normal(name);
                if *if_exists && schema.checks.iter().all(|check| check.name != name) {
                    return Ok(Vec::new());
                }
                vec![Alteration::DropCheck(name)]
            }
            AlterTableOperation::DropColumn { column_names, if_exists, .. } => {
                let names = column_names.iter().map(normal).filter(|name| !*if_exists || has(name));
                names
                    .map(|name| {
                        column_of(
                            &schema,
                            &ObjectName::from(vec![datafusion::sql::sqlparser::ast::Ident::with_quote(
                                '"', &name,
                            )]),
                        )?;
                        Ok(Alteration::DropColumn(name))
                    })
                    .collect::<Result<Vec<_>>>()?
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                let from = column_of(&schema, &ObjectName::from(vec![old_column_name.clone()]))?.name;
                vec![Alteration::RenameColumn { from, to: normal(new_column_name) }]
            }
            AlterTableOperation::AlterColumn {
                column_name,
                op: AlterColumnOperation::SetDataType { data_type, .. },
            } => {
                let name = column_of(&schema, &ObjectName::from(vec![column_name.clone()]))?.name;
                let to = types::of_sql(data_type, &Scope::new(self.names.clone()))?;
                vec![Alteration::WidenColumn { name, to }]
            }
            AlterTableOperation::RenameTable {
                table_name: RenameTableNameKind::As(name) | RenameTableNameKind::To(name),
            } => {
                return Err(Error::new(format!(
                    "a table keeps its name; CREATE TABLE {name} AS SELECT * FROM {table} copies it"
                )));
            }
            other => return Err(Error::new(format!("ALTER TABLE {other} is not supported"))),
        })
    }
}

/// A check as it is written: its name, if it has one, and its condition.
type NamedCheck = (Option<String>, Expr);

/// The checks that the definition of a column holds.
fn column_checks(definition: &ColumnDef) -> Vec<NamedCheck> {
    let checks = definition.options.iter().filter_map(|option| match &option.option {
        ColumnOption::Check(check) => {
            let name = check.name.as_ref().or(option.name.as_ref()).map(normal);
            Some((name, check.expr.as_ref().clone()))
        }
        _ => None,
    });
    checks.collect()
}

/// A check under its name, or under one that no other check of the table has.
fn check_of(schema: &TableSchema, (name, expression): NamedCheck) -> Check {
    let is_free = |name: &String| schema.checks.iter().all(|check| check.name != *name);
    let made = || (1..).map(|number| format!("check_{number}")).find(is_free).expect("numbers do not end");
    Check { name: name.unwrap_or_else(made), expression: expression.to_string() }
}

fn unsupported_constraint(constraint: &TableConstraint) -> Error {
    Error::new(format!(
        "the constraint {constraint} is not supported: there are PRIMARY KEY, NOT NULL, CHECK and DEFAULT"
    ))
    .at(constraint.span().start)
}
