//! Parts of queries that DataFusion takes as they are not meant: those that it passes over without a word are refused,
//! and columns of one name get names of their own.

use crate::error::{Error, Result};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Ident, Query, Select, SelectItem, Spanned, Statement, Value,
    VisitMut, VisitorMut,
};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Digits that every float keeps.
const DIGITS_OF_FLOAT: usize = 15;
/// Digits of the longest decimal.
const DIGITS_OF_DECIMAL: usize = 76;

/// Refuses what would be passed over, and names columns of queries.
pub(crate) fn check(parsed: &mut Parsed) -> Result<()> {
    let statement: &mut Statement = match parsed {
        Parsed::Statement(statement) => statement,
        Parsed::Explain(explain) => return check(&mut explain.statement),
        _ => return Ok(()),
    };
    match statement.visit(&mut Parts) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Parts;

impl VisitorMut for Parts {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let parts = [
            (
                !query.locks.is_empty(),
                "FOR UPDATE (nothing is locked: the later of two commits of one row fails)",
            ),
            (query.for_clause.is_some(), "FOR XML, JSON or BROWSE"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
        ];
        let place = query.span().start;
        if let Some((_, part)) = parts.iter().find(|(is_there, _)| *is_there) {
            return ControlFlow::Break(not_supported(part).at(place));
        }
        ControlFlow::Continue(())
    }

    /// A number of more digits than a float keeps is a decimal.
    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        if let Expr::Value(value) = expression
            && let Value::Number(number, _) = &value.value
            && let Some(data_type) = decimal(number)
        {
            *expression = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::value(Value::SingleQuotedString(number.clone()))),
                data_type,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, one: &mut Select) -> ControlFlow<Error> {
        match select(one) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error.at(one.span().start)),
        }
    }
}

/// The type of a number with a point that no float holds.
fn decimal(number: &str) -> Option<DataType> {
    let (whole, fraction) = number.split_once('.')?;
    let whole = whole.trim_start_matches('0');
    let digits = whole.len() + fraction.len();
    let is_plain = whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit());
    let fits = (DIGITS_OF_FLOAT + 1..=DIGITS_OF_DECIMAL).contains(&digits);
    (is_plain && fits).then_some(DataType::Decimal(ExactNumberInfo::PrecisionAndScale(
        digits as u64,
        fraction.len() as i64,
    )))
}

fn not_supported(part: &str) -> Error {
    Error::new(format!("{part} is not supported: leave it out"))
}

fn select(select: &mut Select) -> Result<()> {
    let parts = [
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY (WITH RECURSIVE does it)"),
        (select.value_table_mode.is_some(), "SELECT AS STRUCT or VALUE"),
        (select.into.is_some(), "SELECT INTO (CREATE TABLE .. AS does it)"),
    ];
    if let Some((_, part)) = parts.iter().find(|(is_there, _)| *is_there) {
        return Err(not_supported(part));
    }
    // DataFusion refuses two columns of one name, also where nobody asks for names.
    let mut names: HashSet<String> = HashSet::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        let name = match &*expression {
            Expr::Subquery(_) => "subquery".to_string(),
            other => other.to_string(),
        };
        if names.insert(name.clone()) {
            continue;
        }
        let plain = match &*expression {
            Expr::CompoundIdentifier(parts) => parts.last().map(crate::names::normal),
            Expr::Identifier(name) => Some(crate::names::normal(name)),
            _ => None,
        };
        let name = plain.unwrap_or(name);
        let free = (2u64..).map(|number| format!("{name}_{number}")).find(|name| names.insert(name.clone()));
        *item = SelectItem::ExprWithAlias {
            expr: expression.clone(),
            alias: Ident::with_quote('"', free.expect("numbers do not end")),
        };
    }
    Ok(())
}
