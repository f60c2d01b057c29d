//! Statements that are not SQL's, but that people type: each does what the engine has for it, or says what to do.

use crate::clause::{Clause, Moment, rewrite};
use crate::error::{Error, Result};
use crate::names::Found;
use crate::outcome::Rows;
use crate::scope::Names;
use crate::script::{DIALECT, Statement, is_word, split, starts_with};
use crate::session::quoted;
use crate::vacuum::{self, Vacuum};
use asof_engine::arrow::array::{ArrayRef, RecordBatch, StringArray};
use asof_engine::{TableSchema, text};
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;
use std::sync::Arc;

/// What a statement asks for.
pub(crate) enum Command {
    /// The same as this query.
    Query(String),
    /// Compaction of a table, or of all.
    Optimize(Option<TableReference>),
    /// Retention of a table.
    Vacuum(TableReference, Vacuum),
    /// The statement that makes a table.
    ShowCreate {
        /// The table.
        table: TableReference,
        /// As it was then.
        moment: Option<Box<Moment>>,
    },
    /// A table as it was then, in a new commit.
    Restore {
        /// The table, which may have been dropped since.
        table: TableReference,
        /// When.
        moment: Box<Moment>,
    },
    /// A table as it was before it was dropped.
    Undrop(TableReference),
    /// Nothing; what to do instead.
    Refused(String),
}

/// The command that a statement is, if it is one.
pub(crate) fn parse(statement: &Statement) -> Result<Option<Command>> {
    let tokens = &statement.tokens[..];
    for describe in ["describe", "desc"] {
        if starts_with(tokens, &[describe, "history"]) && tokens.len() > 2 {
            return history(statement, &tokens[2..]).map(Some);
        }
        let of_query = ["select", "with", "values"].iter().any(|word| starts_with(tokens, &[describe, word]));
        if starts_with(tokens, &[describe]) && tokens.len() > 2 && !of_query {
            let rest = &tokens[if starts_with(&tokens[1..], &["table"]) { 2 } else { 1 }..];
            return Ok(clause_of(rest)?
                .map(|_| Command::Query(format!("DESCRIBE SELECT * FROM {}", statement.text_of(rest)))));
        }
    }
    if starts_with(tokens, &["show", "create", "table"]) && tokens.len() > 3 {
        let (table, rest) = table(&tokens[3..])?;
        let moment = match rest.is_empty() {
            true => None,
            false => match clause_of(&tokens[3..])? {
                Some(Clause::At(moment)) => Some(Box::new(moment)),
                _ => {
                    return Err(Error::new("SHOW CREATE TABLE t takes a clause such as AS OF '..'")
                        .at(rest[0].span.start));
                }
            },
        };
        return Ok(Some(Command::ShowCreate { table, moment }));
    }
    if starts_with(tokens, &["optimize"]) {
        if let Some(order) = tokens.iter().position(|token| is_word(token, "zorder")) {
            let error =
                "ZORDER BY is not supported: rows lie in the order of the key; leave it out to compact";
            return Err(Error::new(error).at(tokens[order].span.start));
        }
        let rest = &tokens[if starts_with(tokens, &["optimize", "table"]) { 2 } else { 1 }..];
        if rest.is_empty() {
            return Ok(Some(Command::Optimize(None)));
        }
        let (table, rest) = table(rest)?;
        if let Some(more) = rest.first() {
            return Err(Error::new("OPTIMIZE takes the name of a table alone: it compacts all of it")
                .at(more.span.start));
        }
        return Ok(Some(Command::Optimize(Some(table))));
    }
    let refused = |message: &str| Ok(Some(Command::Refused(message.to_string())));
    if starts_with(tokens, &["vacuum"]) {
        let Some(rest) = tokens.get(1..).filter(|rest| !rest.is_empty()) else {
            return refused("VACUUM takes the name of a table: VACUUM t [RETAIN n HOURS] [DRY RUN]");
        };
        let (table, rest) = table(rest)?;
        return Ok(Some(Command::Vacuum(table, vacuum::parse(rest)?)));
    }
    for (word, parse) in [("restore", restore as Parse), ("undrop", undrop)] {
        if starts_with(tokens, &[word]) {
            let rest = &tokens[if starts_with(tokens, &[word, "table"]) { 2 } else { 1 }..];
            if rest.is_empty() {
                return Err(Error::new("expected the name of a table").at(statement.start()));
            }
            return parse(rest).map(Some);
        }
    }
    Ok(None)
}

/// Reads what follows the first words of a statement.
type Parse = fn(&[TokenWithSpan]) -> Result<Command>;

/// `t TO VERSION AS OF n`, `t TO TIMESTAMP AS OF '..'`
fn restore(tokens: &[TokenWithSpan]) -> Result<Command> {
    let (name, rest) = table(tokens)?;
    let expected = || Error::new("RESTORE TABLE t takes TO VERSION AS OF n, or TO TIMESTAMP AS OF '..'");
    let Some(to) = rest.first() else { return Err(expected().at(tokens[0].span.start)) };
    if !is_word(to, "to") {
        return Err(expected().at(to.span.start));
    }
    let mut clause = tokens[..tokens.len() - rest.len()].to_vec();
    clause.extend_from_slice(&rest[1..]);
    match clause_of(&clause)? {
        Some(Clause::At(moment)) => Ok(Command::Restore { table: name, moment: Box::new(moment) }),
        _ => Err(expected().at(to.span.start)),
    }
}

fn undrop(tokens: &[TokenWithSpan]) -> Result<Command> {
    let (name, rest) = table(tokens)?;
    match rest.first() {
        None => Ok(Command::Undrop(name)),
        Some(more) => Err(Error::new(
            "UNDROP TABLE takes a name alone; RESTORE TABLE t TO VERSION AS OF n brings an earlier state back",
        )
        .at(more.span.start)),
    }
}

fn history(statement: &Statement, tokens: &[TokenWithSpan]) -> Result<Command> {
    let tokens = if starts_with(tokens, &["table"]) && tokens.len() > 1 { &tokens[1..] } else { tokens };
    let (table, rest) = table(tokens)?;
    let name = crate::names::plain(&table).replace('\'', "''");
    let limit = rest.iter().position(|token| is_word(token, "limit")).unwrap_or(rest.len());
    let ordered = rest.iter().any(|token| is_word(token, "order"));
    let order = if ordered { "" } else { "ORDER BY version DESC" };
    let (condition, limit) = if ordered { (rest, &rest[..0]) } else { rest.split_at(limit) };
    Ok(Command::Query(format!(
        "SELECT * FROM table_history('{name}') {} {order} {}",
        statement.text_of(condition),
        statement.text_of(limit)
    )))
}

/// The name of a table, and what follows it.
fn table(tokens: &[TokenWithSpan]) -> Result<(TableReference, &[TokenWithSpan])> {
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens.to_vec());
    let name = parser
        .parse_object_name(false)
        .map_err(|_| Error::new("expected the name of a table").at(tokens[0].span.start))?;
    Ok((reference(&name)?, &tokens[parser.index().min(tokens.len())..]))
}

/// A name as a reference.
pub(crate) fn reference(name: &ObjectName) -> Result<TableReference> {
    let parts: Option<Vec<String>> =
        name.0.iter().map(|part| part.as_ident().map(crate::names::normal)).collect();
    match parts.as_deref() {
        Some([table]) => Ok(TableReference::bare(table.as_str())),
        Some([schema, table]) => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        Some([catalog, schema, table]) => {
            Ok(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()))
        }
        _ => Err(Error::new(format!("'{name}' is no table: a table is NAME or NAMESPACE.NAME"))),
    }
}

/// The clause behind the name of a table, if there is one.
fn clause_of(tokens: &[TokenWithSpan]) -> Result<Option<Clause>> {
    let mut query = split("SELECT * FROM")?.pop().map(|statement| statement.tokens).unwrap_or_default();
    query.extend_from_slice(tokens);
    let rewritten = rewrite(&query, 0)?;
    if let Some(moment) = rewritten.whole {
        return Ok(Some(Clause::At(moment)));
    }
    Ok(rewritten.marked.into_iter().next().map(|marked| marked.clause))
}

/// The statement that makes a table as it is, or was.
pub(crate) fn show_create(
    names: &Names,
    table: &TableReference,
    runtime: Arc<tokio::runtime::Runtime>,
) -> Result<Rows> {
    let name = names.database_table(table)?;
    let schema = match names.table(&name) {
        Ok(table) => table.definition().clone(),
        Err(error) => return Err(error.into()),
    };
    let statement = create_statement(&name, &schema);
    let columns: [(&str, ArrayRef); 2] = [
        ("table", Arc::new(StringArray::from(vec![name]))),
        ("statement", Arc::new(StringArray::from(vec![statement]))),
    ];
    Ok(Rows::of_batch(runtime, RecordBatch::try_from_iter(columns)?))
}

fn create_statement(name: &str, schema: &TableSchema) -> String {
    let name = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
    let mut lines: Vec<String> = schema
        .columns
        .iter()
        .map(|column| {
            let mut line =
                format!("  {} {}", quoted(&column.name), crate::write::types::sql_name(&column.column_type));
            if !column.nullable {
                line.push_str(" NOT NULL");
            }
            if let Some(value) = text::default_text(column) {
                let number =
                    value.parse::<f64>().is_ok() && column.column_type != asof_engine::ColumnType::Text;
                let value = if number {
                    value
                } else {
                    format!("'{}'", value.trim_matches('\'').replace('\'', "''"))
                };
                line.push_str(&format!(" DEFAULT {value}"));
            }
            line
        })
        .collect();
    if schema.has_key() {
        let key: Vec<String> = schema.key_columns().map(|column| quoted(&column.name)).collect();
        lines.push(format!("  PRIMARY KEY ({})", key.join(", ")));
    }
    for check in &schema.checks {
        lines.push(format!("  CONSTRAINT {} CHECK ({})", quoted(&check.name), check.expression));
    }
    format!("CREATE TABLE {name} (\n{}\n)", lines.join(",\n"))
}

impl Names {
    /// The name of a table of the database that is there, or may have been.
    pub(crate) fn table_once(&self, reference: &TableReference) -> Result<String> {
        match self.find(reference)? {
            Found::Nothing => Ok(crate::names::plain(reference)),
            _ => self.database_table(reference),
        }
    }

    /// The table of the database that a reference names; an error that names what is nearest where there is none.
    pub(crate) fn database_table(&self, reference: &TableReference) -> Result<String> {
        match self.find(reference)? {
            Found::Table(name) => Ok(name),
            Found::View(name) => Err(Error::new(format!("'{name}' is a view, not a table"))),
            Found::System(_) | Found::Information(_) => {
                Err(Error::new(format!("'{reference}' is not a table of yours")))
            }
            Found::External(_) => Err(Error::new(format!("'{reference}' is a table over files"))),
            Found::At(name, _) => Err(Error::new(format!(
                "the past cannot be written: '{reference}' names a version of {name}; if the table itself has an @ in its name, it is not there"
            ))),
            Found::Nothing => {
                let name = crate::names::plain(reference);
                match self.table(&name) {
                    Err(error) => Err(self.with_other_case(error.into(), &name)),
                    Ok(_) => Ok(name),
                }
            }
        }
    }
}
