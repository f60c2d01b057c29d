//! Statements that change something, as transactions of the engine.
//!
//! Each becomes a query (which rows, and what they become), whose rows are written to the transaction: what a query may
//! say of the past, a change may read. Values are cast to the types of columns; what does not fit is an error, never
//! another value.

mod cast;
mod merge;
mod rows;
mod schema;
pub(crate) mod types;
mod update;

use crate::clause::{Clause, MARK, Marked, mark_name};
use crate::commands::reference;
use crate::error::{Error, Result};
use crate::outcome::Rows;
use crate::scope::{Known, Names, Scope};
use crate::session::Session;
use asof_engine::arrow::array::{ArrayRef, RecordBatch};
use asof_engine::arrow::datatypes::{Field, Schema};
use asof_engine::{Column, Counts, TableSchema, Transaction};
use cast::to_column;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FromTable, FunctionArg, FunctionArgExpr as Arg, Ident, ObjectName, Query, Statement,
    TableAlias, TableFactor, TableFunctionArgs, TableObject, TableWithJoins, Visit, Visitor,
};
use datafusion::sql::sqlparser::ast::{Spanned, Value};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Rows that a statement changed in a transaction.
pub(crate) type Done = Counts;

/// Whether a statement changes something.
pub(crate) fn is_write(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Merge(_)
            | Statement::Truncate(_)
            | Statement::CreateTable(_)
            | Statement::AlterTable(_)
            | Statement::Drop { object_type: ast::ObjectType::Table, .. }
    )
}

/// What a commit says that it did.
pub(crate) fn operation(statement: &Statement) -> &'static str {
    match statement {
        Statement::Insert(_) => "insert",
        Statement::Update(_) => "update",
        Statement::Delete(_) => "delete",
        Statement::Merge(_) => "merge",
        Statement::Truncate(_) => "truncate",
        Statement::CreateTable(_) => "create-table",
        Statement::AlterTable(_) => "alter-table",
        Statement::Drop { .. } => "drop-table",
        _ => "sql",
    }
}

/// Refuses a statement whose changed table has a time-travel clause.
pub(crate) fn check_target(statement: &Statement) -> Result<()> {
    let factors: Vec<&TableFactor> = match statement {
        Statement::Update(update) => std::iter::once(&update.table.relation).collect(),
        Statement::Delete(delete) => match &delete.from {
            FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => {
                tables.iter().map(|table| &table.relation).collect()
            }
        },
        Statement::Merge(merge) => vec![&merge.table],
        _ => Vec::new(),
    };
    let is_marked = |name: &ObjectName| {
        name.0.first().and_then(|part| part.as_ident()).is_some_and(|name| name.value == MARK)
    };
    let named = match statement {
        Statement::Insert(insert) => matches!(&insert.table, TableObject::TableName(name) if is_marked(name)),
        Statement::CreateTable(create) => is_marked(&create.name),
        Statement::Truncate(truncate) => truncate.table_names.iter().any(|table| is_marked(&table.name)),
        Statement::AlterTable(alter) => is_marked(&alter.name),
        Statement::Drop { names, .. } => names.iter().any(is_marked),
        _ => false,
    };
    let marked =
        factors.iter().any(|factor| matches!(factor, TableFactor::Table { name, .. } if is_marked(name)));
    match named || marked {
        true => Err(Error::new(
            "the past cannot be written: a time-travel clause cannot stand on a table that is changed",
        )),
        false => Ok(()),
    }
}

/// Writes statements to a transaction.
pub(crate) struct Writer<'a> {
    pub(crate) session: &'a Session,
    /// What is read.
    pub(crate) names: Arc<Names>,
    /// What is written: the tables of the transaction.
    pub(crate) targets: Arc<Names>,
    pub(crate) transaction: Arc<Mutex<Transaction>>,
    /// Whether the transaction is of this statement alone.
    pub(crate) alone: bool,
}

/// A table that is written.
struct Target {
    name: String,
    schema: Arc<TableSchema>,
    /// How the statement calls it.
    alias: Ident,
    /// As a relation of a query that gives what tells its rows apart.
    factor: TableFactor,
    names: Arc<Names>,
}

impl Writer<'_> {
    /// Does what a statement says.
    pub(crate) fn run(&self, statement: Statement) -> Result<Done> {
        match statement {
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Truncate(truncate) => self.truncate(truncate),
            Statement::CreateTable(create) => self.create_table(create),
            Statement::AlterTable(alter) => self.alter_table(alter),
            Statement::Drop { names, if_exists, .. } => self.drop_tables(&names, if_exists),
            other => Err(Error::new(format!("not a change: {other}"))),
        }
    }

    fn query(&self, names: &Arc<Names>, query: Query) -> Result<Rows> {
        let scope = Scope::new(names.clone());
        let plan = scope.plan_query(query)?;
        self.session.rows(&names.state, plan)
    }

    /// The table of the database that a name means.
    fn table_name(&self, name: &ObjectName) -> Result<String> {
        let found = reference(name).and_then(|reference| self.targets.database_table(&reference));
        found.map_err(|error| error.at(name.span().start))
    }

    fn schema_of(&self, table: &str) -> Result<Arc<TableSchema>> {
        Ok(self.transaction.lock().schema(table)?)
    }

    /// A table that is written, as a relation of the query that tells what is written.
    fn target(&self, factor: &TableFactor) -> Result<Target> {
        let TableFactor::Table { name, alias, .. } = factor else {
            return Err(Error::new("only a table can be changed").at(factor.span().start));
        };
        let table = self.table_name(name)?;
        let schema = self.schema_of(&table)?;
        let last = name.0.last().and_then(|part| part.as_ident()).cloned();
        let alias = match alias {
            Some(alias) if alias.columns.is_empty() => alias.name.clone(),
            Some(alias) => {
                return Err(Error::new("columns of a table that is changed keep their names")
                    .at(alias.name.span.start));
            }
            None => last.ok_or_else(|| Error::new("expected the name of a table"))?,
        };
        let mut marked = self.names.known.marked.clone();
        let number = marked.len();
        let location = name.span().start;
        marked.push(Marked { name: name.clone(), clause: Clause::Target, location });
        let known = Known { marked, ..(*self.names.known).clone() };
        let names = Arc::new(Names {
            known: Arc::new(known),
            written: Some(self.transaction.clone()),
            depth: 0,
            ..(*self.names).clone()
        });
        let argument = FunctionArg::Unnamed(Arg::Expr(number_literal(number)));
        let args = TableFunctionArgs { args: vec![argument], settings: None };
        let factor = relation(mark_name(), Some(alias.clone()), Some(args));
        Ok(Target { name: table, schema, alias, factor, names })
    }
}

impl Target {
    /// What tells its rows apart: the columns of the key, or the one that stands for it.
    fn identity(&self) -> Vec<String> {
        match self.schema.has_key() {
            true => self.schema.key_columns().map(|column| column.name.clone()).collect(),
            false => vec![asof_engine::ROW_COLUMN.to_string()],
        }
    }

    /// One of its columns.
    fn column(&self, name: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.alias.clone(), Ident::with_quote('"', name)])
    }
}

/// A relation of a query, by its name.
fn relation(name: ObjectName, alias: Option<Ident>, args: Option<TableFunctionArgs>) -> TableFactor {
    TableFactor::Table {
        name,
        alias: alias.map(|name| TableAlias { explicit: true, name, columns: Vec::new(), at: None }),
        args,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// Rows as some columns of a table have them.
fn as_columns(columns: &[Column], rows: Rows) -> impl Iterator<Item = Result<RecordBatch>> {
    let fields: Vec<Field> = columns.iter().map(|column| column.to_field().with_nullable(true)).collect();
    let (columns, given) = (columns.to_vec(), Arc::new(Schema::new(fields)));
    rows.map(move |batch| {
        let batch = batch?;
        let arrays = batch.columns().iter().zip(&columns).map(|(array, column)| to_column(array, column));
        Ok(RecordBatch::try_new(given.clone(), arrays.collect::<Result<Vec<ArrayRef>>>()?)?)
    })
}

fn number_literal(number: usize) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

/// A query of one SELECT.
fn select(
    projection: Vec<ast::SelectItem>,
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
    distinct: bool,
) -> Query {
    // Made of a text, so that what this version of the parser has beside these is as it would be.
    let mut query = blank_query();
    if let ast::SetExpr::Select(select) = &mut *query.body {
        select.projection = projection;
        select.from = from;
        select.selection = selection;
        select.distinct = distinct.then_some(ast::Distinct::Distinct);
    }
    query
}

fn blank_query() -> Query {
    let parsed = datafusion::sql::sqlparser::parser::Parser::parse_sql(&crate::script::DIALECT, "SELECT 1");
    match parsed.ok().and_then(|mut statements| statements.pop()) {
        Some(Statement::Query(query)) => *query,
        _ => unreachable!("the text above is a query"),
    }
}

/// An expression under a name.
fn named(expression: Expr, name: impl Into<String>) -> ast::SelectItem {
    ast::SelectItem::ExprWithAlias { expr: expression, alias: Ident::with_quote('"', name) }
}

/// Finds a call of a name in expressions.
struct Calls<'a>(&'a str);

impl Visitor for Calls<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Identifier(name)
                if name.quote_style.is_none() && name.value.eq_ignore_ascii_case(self.0) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a query says DEFAULT for a value.
fn says_default(query: &Query) -> bool {
    query.visit(&mut Calls("default")).is_break()
}
