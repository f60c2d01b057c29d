//! From names in statements to tables: namespaces are schemas, and everything is in one catalog.

use crate::error::{Error, Result};
use crate::scope::Known;
use crate::system::SystemTable;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::planner::ParserOptions;
use datafusion::sql::sqlparser::ast::Ident;
use std::sync::Arc;

/// The name of the one catalog.
pub(crate) const CATALOG: &str = "asof";
/// The schema of tables without a namespace.
pub(crate) const MAIN: &str = "main";
/// The schema of what the database tells of itself.
pub(crate) const SYSTEM: &str = "system";
/// The schema of the standard's tables about tables.
pub(crate) const INFORMATION: &str = "information_schema";

/// What a name means.
pub(crate) enum Found {
    /// A table of the database.
    Table(String),
    /// A view of the session.
    View(String),
    /// A table over files.
    External(Arc<dyn TableProvider>),
    /// What the database tells of itself.
    System(SystemTable),
    /// A table of the information schema.
    Information(String),
    /// `"t@EXPR"`: a table and an as-of expression.
    At(String, String),
    /// Nothing.
    Nothing,
}

/// How statements are parsed into plans.
pub(crate) fn parser_options(state: &SessionState) -> ParserOptions {
    ParserOptions::from(&state.config_options().sql_parser)
}

/// A name as it is meant: lowercase, unless it is quoted.
pub(crate) fn normal(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

/// The name of a table in the database that a reference most likely means.
pub(crate) fn plain(reference: &TableReference) -> String {
    match reference.schema() {
        None | Some(MAIN) => reference.table().to_string(),
        Some(namespace) => format!("{namespace}.{}", reference.table()),
    }
}

/// Finds what a reference means; `has` tells which tables there are.
pub(crate) fn find(reference: &TableReference, known: &Known, has: impl Fn(&str) -> bool) -> Result<Found> {
    if let Some(catalog) = reference.catalog()
        && catalog != CATALOG
    {
        return Err(Error::new(format!(
            "there is no catalog '{catalog}': a table is NAME or NAMESPACE.NAME"
        )));
    }
    let table = reference.table();
    let full = match reference.schema() {
        None => table.to_string(),
        Some(schema) => format!("{schema}.{table}"),
    };
    if has(&full) {
        return Ok(Found::Table(full));
    }
    let schema = reference.schema().unwrap_or(MAIN);
    if schema == MAIN {
        if has(table) {
            return Ok(Found::Table(table.to_string()));
        }
        if known.views.contains_key(table) {
            return Ok(Found::View(table.to_string()));
        }
        if let Some(external) = known.external.get(table) {
            return Ok(Found::External(external.clone()));
        }
    }
    if schema == SYSTEM
        && let Some(table) = SystemTable::of(table)
    {
        return Ok(Found::System(table));
    }
    if schema == INFORMATION {
        return Ok(Found::Information(table.to_string()));
    }
    // An expression may hold further at signs; so may the name.
    let full = if reference.schema() == Some(MAIN) { table } else { &full };
    let at = full.match_indices('@').find(|(at, _)| *at > 0 && at + 1 < full.len() && has(&full[..*at]));
    let at = at.or_else(|| full.match_indices('@').find(|(at, _)| *at > 0 && at + 1 < full.len()));
    Ok(match at {
        Some((at, _)) => Found::At(full[..at].to_string(), full[at + 1..].to_string()),
        None => Found::Nothing,
    })
}
