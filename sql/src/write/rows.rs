//! INSERT, DELETE and TRUNCATE.

use super::cast::to_column;
use super::{Done, Writer, as_columns, named, relation, says_default, select};
use crate::error::{Error, Result};
use crate::names::normal;
use crate::outcome::to_engine;
use asof_engine::arrow::array::RecordBatch;
use asof_engine::arrow::datatypes::{Field, Schema};
use asof_engine::{Column, Counts, TableSchema};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Delete, Expr, FromTable, Ident, Insert, MergeAction, MergeClause, MergeClauseKind, MergeInsertExpr,
    MergeInsertKind, MergeUpdateExpr, ObjectName, OnConflictAction, OnInsert, Parens, Query, SelectItem,
    Spanned, SqliteOnConflict, TableAlias, TableAliasColumnDef, TableFactor, TableObject, TableWithJoins,
    Truncate, Values,
};
use std::sync::Arc;

/// How rows are added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Insert,
    Upsert,
    Overwrite,
}

impl Writer<'_> {
    pub(super) fn insert(&self, insert: Insert) -> Result<Done> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(Error::new("rows are inserted into a table, by its name"));
        };
        let place = name.span().start;
        let unsupported = insert.partitioned.is_some()
            || !insert.after_columns.is_empty()
            || insert.returning.is_some()
            || insert.output.is_some()
            || insert.insert_alias.is_some()
            || insert.settings.is_some()
            || insert.format_clause.is_some()
            || insert.ignore;
        if unsupported {
            return Err(Error::new("INSERT takes columns, VALUES or a query, and ON CONFLICT; not the rest")
                .at(place));
        }
        if !insert.assignments.is_empty() {
            return Err(Error::new("INSERT .. SET is not supported: give columns and VALUES").at(place));
        }
        let table = self.table_name(name)?;
        let schema = self.schema_of(&table)?;
        let columns = columns(&schema, &insert.columns)?;
        let Some(source) = insert.source else {
            return Err(Error::new("INSERT takes VALUES or a query").at(place));
        };
        if says_default(&source) {
            return Err(Error::new(
                "DEFAULT is what a column has that is left out: leave it out of the columns",
            )
            .at(place));
        }
        let how = match (insert.overwrite, insert.replace_into, insert.or) {
            (true, ..) => How::Overwrite,
            (_, true, _) | (.., Some(SqliteOnConflict::Replace)) => How::Upsert,
            (_, _, None) => How::Insert,
            (_, _, Some(SqliteOnConflict::Abort | SqliteOnConflict::Fail | SqliteOnConflict::Rollback)) => {
                How::Insert
            }
            (_, _, Some(SqliteOnConflict::Ignore)) => {
                return self.insert_or(name, &schema, &columns, *source, None);
            }
        };
        match insert.on {
            None => self.insert_rows(&table, &schema, &columns, *source, how),
            Some(OnInsert::OnConflict(conflict)) => {
                if let Some(target) = &conflict.conflict_target {
                    check_conflict_target(&schema, target).map_err(|error| error.at(place))?;
                }
                match conflict.action {
                    OnConflictAction::DoNothing => self.insert_or(name, &schema, &columns, *source, None),
                    OnConflictAction::DoUpdate(update) => {
                        self.insert_or(name, &schema, &columns, *source, Some(update))
                    }
                }
            }
            Some(_) => {
                Err(Error::new("ON DUPLICATE KEY UPDATE is not supported: use ON CONFLICT DO UPDATE")
                    .at(place))
            }
        }
    }

    fn insert_rows(
        &self,
        table: &str,
        schema: &Arc<TableSchema>,
        columns: &[Column],
        source: Query,
        how: How,
    ) -> Result<Done> {
        let place = source.span().start;
        let rows = self.query(&self.names, source)?;
        let count = rows.schema().columns.len();
        if count != columns.len() {
            return Err(Error::new(format!(
                "{} columns are to be filled, but there are {count} values in a row",
                columns.len()
            ))
            .at(place));
        }
        let batches = as_columns(columns, rows);
        let mut done = Counts::default();
        match how {
            How::Overwrite => {
                let rows = batches.collect::<Result<Vec<_>>>()?;
                return Ok(self.transaction.lock().replace(table, &rows)?);
            }
            How::Insert if self.alone && self.transaction.lock().can_load(table)? => {
                // Into an empty table: straight to data files.
                done.inserted = to_engine(batches, |batches| self.transaction.lock().load(table, batches))?;
            }
            How::Insert => {
                for batch in batches {
                    let batch = batch?;
                    done.inserted += batch.num_rows() as u64;
                    self.transaction.lock().insert(table, &batch)?;
                }
            }
            How::Upsert => {
                if !schema.has_key() {
                    return Err(Error::new(format!("table {table} has no key: there is nothing to replace")));
                }
                for batch in batches {
                    let batch = batch?;
                    done.inserted += batch.num_rows() as u64;
                    self.transaction.lock().upsert(table, &batch)?;
                }
            }
        }
        Ok(done)
    }

    /// Rows whose key is not there are inserted; of others nothing is done, or what is said.
    fn insert_or(
        &self,
        name: &ObjectName,
        schema: &TableSchema,
        columns: &[Column],
        source: Query,
        update: Option<datafusion::sql::sqlparser::ast::DoUpdate>,
    ) -> Result<Done> {
        let place = name.span().start;
        if !schema.has_key() {
            return Err(Error::new("the table has no key: rows do not conflict").at(place));
        }
        let excluded = Ident::new("excluded");
        let aliases = columns.iter().map(|column| TableAliasColumnDef {
            name: Ident::with_quote('"', &column.name),
            data_type: None,
        });
        let source = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(source),
            alias: Some(TableAlias {
                explicit: true,
                name: excluded.clone(),
                columns: aliases.collect(),
                at: None,
            }),
            sample: None,
        };
        let target = relation(name.clone(), None, None);
        let last = name.0.last().and_then(|part| part.as_ident()).cloned();
        let own = last.ok_or_else(|| Error::new("expected the name of a table"))?;
        let of = |relation: &Ident, column: &str| {
            Expr::CompoundIdentifier(vec![relation.clone(), Ident::with_quote('"', column)])
        };
        let mut on: Option<Expr> = None;
        for key in schema.key_columns() {
            if columns.iter().all(|column| column.id != key.id) {
                return Err(
                    Error::new(format!("rows are told by the key: give its column {}", key.name)).at(place)
                );
            }
            let equal = Expr::BinaryOp {
                left: Box::new(of(&own, &key.name)),
                op: datafusion::sql::sqlparser::ast::BinaryOperator::Eq,
                right: Box::new(of(&excluded, &key.name)),
            };
            on = Some(match on {
                None => equal,
                Some(before) => Expr::BinaryOp {
                    left: Box::new(before),
                    op: datafusion::sql::sqlparser::ast::BinaryOperator::And,
                    right: Box::new(equal),
                },
            });
        }
        let mut clauses = Vec::new();
        if let Some(mut update) = update {
            let names: Vec<String> = schema.columns.iter().map(|column| column.name.clone()).collect();
            // A column by itself is the table's.
            update.assignments.iter_mut().for_each(|assignment| qualify(&mut assignment.value, &own, &names));
            if let Some(selection) = &mut update.selection {
                qualify(selection, &own, &names);
            }
            clauses.push(MergeClause {
                when_token: AttachedToken::empty(),
                clause_kind: MergeClauseKind::Matched,
                predicate: update.selection,
                action: MergeAction::Update(MergeUpdateExpr {
                    update_token: AttachedToken::empty(),
                    assignments: update.assignments,
                    update_predicate: None,
                    delete_predicate: None,
                }),
            });
        }
        let values = columns.iter().map(|column| of(&excluded, &column.name)).collect();
        clauses.push(MergeClause {
            when_token: AttachedToken::empty(),
            clause_kind: MergeClauseKind::NotMatched,
            predicate: None,
            action: MergeAction::Insert(MergeInsertExpr {
                insert_token: AttachedToken::empty(),
                columns: columns
                    .iter()
                    .map(|column| ObjectName::from(vec![Ident::with_quote('"', &column.name)]))
                    .collect(),
                kind_token: AttachedToken::empty(),
                kind: MergeInsertKind::Values(Values {
                    explicit_row: false,
                    value_keyword: false,
                    rows: vec![Parens::with_empty_span(values)],
                }),
                insert_predicate: None,
            }),
        });
        self.merge_parts(&target, source, on.expect("a key has columns"), clauses)
    }

    pub(super) fn delete(&self, delete: Delete) -> Result<Done> {
        let tables = match &delete.from {
            FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => tables,
        };
        let [table] = &tables[..] else {
            return Err(Error::new("rows are deleted from one table at a time"));
        };
        let place = table.relation.span().start;
        let unsupported = !delete.tables.is_empty()
            || delete.returning.is_some()
            || delete.output.is_some()
            || !delete.order_by.is_empty()
            || delete.limit.is_some()
            || !table.joins.is_empty();
        if unsupported {
            return Err(Error::new("DELETE takes FROM, USING and WHERE; not the rest").at(place));
        }
        let target = self.target(&table.relation)?;
        let mut from = vec![TableWithJoins { relation: target.factor.clone(), joins: Vec::new() }];
        from.extend(delete.using.clone().unwrap_or_default());
        let identity = target.identity();
        let projection: Vec<SelectItem> =
            identity.iter().map(|name| named(target.column(name), name.clone())).collect();
        let query = select(projection, from, delete.selection.clone(), true);
        // Rows are found before any is deleted.
        let found = self.query(&target.names, query)?.collect::<Result<Vec<_>>>()?;
        let mut done = Counts::default();
        for batch in &found {
            done.deleted += batch.num_rows() as u64;
            self.delete_rows(&target, batch)?;
        }
        Ok(done)
    }

    /// Deletes the rows whose identities a batch begins with.
    pub(super) fn delete_rows(&self, target: &super::Target, batch: &RecordBatch) -> Result<()> {
        let mut transaction = self.transaction.lock();
        if !target.schema.has_key() {
            return Ok(transaction.delete_rows(&target.name, batch.column(0))?);
        }
        let key: Vec<&Column> = target.schema.key_columns().collect();
        let fields: Vec<Field> = key.iter().map(|column| column.to_field()).collect();
        let arrays = batch.columns().iter().zip(&key).map(|(array, column)| to_column(array, column));
        let keys = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect::<Result<Vec<_>>>()?)?;
        Ok(transaction.delete(&target.name, &keys)?)
    }

    pub(super) fn truncate(&self, truncate: Truncate) -> Result<Done> {
        let names = truncate
            .table_names
            .iter()
            .map(|table| self.table_name(&table.name))
            .collect::<Result<Vec<_>>>()?;
        let mut done = Counts::default();
        for name in names {
            let rows = self.targets.table(&name)?.row_count().unwrap_or(0);
            self.transaction.lock().truncate(&name)?;
            done.deleted += rows;
        }
        Ok(done)
    }
}

/// The columns that rows have values for: those named, or all.
pub(super) fn columns(schema: &TableSchema, names: &[ObjectName]) -> Result<Vec<Column>> {
    if names.is_empty() {
        return Ok(schema.columns.clone());
    }
    let mut columns: Vec<Column> = Vec::new();
    for name in names {
        let place = name.span().start;
        let column = column_of(schema, name)?;
        if columns.iter().any(|other| other.id == column.id) {
            return Err(Error::new(format!("column '{}' is named twice", column.name)).at(place));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The column that a name means.
pub(super) fn column_of(schema: &TableSchema, name: &ObjectName) -> Result<Column> {
    let place = name.span().start;
    let last = name.0.last().and_then(|part| part.as_ident());
    let name = last.map(normal).ok_or_else(|| Error::new("expected a column").at(place))?;
    match schema.index_of(&name) {
        Ok(index) => Ok(schema.columns[index].clone()),
        Err(error) => {
            let other = schema.columns.iter().find(|column| column.name.eq_ignore_ascii_case(&name));
            let message = match other {
                Some(other) => format!(
                    "there is no column '{name}'; did you mean \"{}\"? names with capitals need quotes",
                    other.name
                ),
                None => error.to_string(),
            };
            Err(Error::new(message).at(place))
        }
    }
}

fn check_conflict_target(
    schema: &TableSchema,
    target: &datafusion::sql::sqlparser::ast::ConflictTarget,
) -> Result<()> {
    use datafusion::sql::sqlparser::ast::ConflictTarget;
    let ConflictTarget::Columns(columns) = target else {
        return Err(Error::new("ON CONFLICT takes the columns of the key"));
    };
    let mut named: Vec<String> = columns.iter().map(normal).collect();
    let mut key: Vec<String> = schema.key_columns().map(|column| column.name.clone()).collect();
    named.sort_unstable();
    key.sort_unstable();
    match named == key {
        true => Ok(()),
        false => Err(Error::new(format!("ON CONFLICT takes the columns of the key: ({})", key.join(", ")))),
    }
}

/// Puts the relation before columns that stand by themselves.
fn qualify(expression: &mut Expr, relation: &Ident, columns: &[String]) {
    use datafusion::sql::sqlparser::ast::visit_expressions_mut;
    let _ = visit_expressions_mut(expression, |expression| {
        if let Expr::Identifier(name) = expression
            && columns.contains(&normal(name))
        {
            *expression = Expr::CompoundIdentifier(vec![relation.clone(), name.clone()]);
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}
