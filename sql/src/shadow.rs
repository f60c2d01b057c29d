//! Clauses where they mean nothing: on a name that a WITH takes away from a table, or on what is no table.
//!
//! Invariant: after the check every clause of a statement stands on a relation that is read.

use crate::clause::{Marked, mark_of, misplaced};
use crate::error::{Error, Result};
use crate::names::normal;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{Query, Statement, TableFactor, Visit, Visitor};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Refuses clauses that stand where they mean nothing. `first` is the number of the statement's first mark.
pub(crate) fn check(parsed: &Parsed, marked: &[Marked], first: usize) -> Result<()> {
    let statement: &Statement = match parsed {
        Parsed::Statement(statement) => statement,
        Parsed::Explain(explain) => return check(&explain.statement, marked, first),
        _ => return Ok(()),
    };
    let mut shadows = Shadows { marked, open: Vec::new(), found: HashSet::new() };
    if let ControlFlow::Break(error) = statement.visit(&mut shadows) {
        return Err(error);
    }
    let astray = (first..marked.len()).find(|number| !shadows.found.contains(number));
    match astray.and_then(|number| marked.get(number)) {
        Some(marked) => Err(misplaced(marked.location)),
        None => Ok(()),
    }
}

/// A name of a WITH: whose query it is, and whether it is seen where the visitor stands.
struct Named {
    name: String,
    query: *const Query,
    seen: bool,
}

struct Shadows<'a> {
    marked: &'a [Marked],
    /// The names of each query that the visitor is in.
    open: Vec<Vec<Named>>,
    /// The marks that are relations.
    found: HashSet<usize>,
}

impl Visitor for Shadows<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        let with = query.with.as_ref();
        let named = with.into_iter().flat_map(|with| {
            with.cte_tables.iter().map(|table| Named {
                name: normal(&table.alias.name),
                query: &*table.query,
                // A recursive one sees itself.
                seen: with.recursive,
            })
        });
        self.open.push(named.collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        self.open.pop();
        let outer = self.open.last_mut().into_iter().flatten();
        outer.filter(|named| std::ptr::eq(named.query, query)).for_each(|named| named.seen = true);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        let number = mark_of(factor);
        self.found.extend(number);
        let Some(marked) = number.and_then(|number| self.marked.get(number)) else {
            return ControlFlow::Continue(());
        };
        let [name] = &marked.name.0[..] else { return ControlFlow::Continue(()) };
        let name = name.as_ident().map(normal);
        let shadowed =
            self.open.iter().flatten().any(|named| named.seen && Some(&named.name) == name.as_ref());
        match (shadowed, name) {
            (true, Some(name)) => ControlFlow::Break(
                Error::new(format!(
                    "'{name}' is a name of the WITH here, not a table: put the time-travel clause inside its query"
                ))
                .at(marked.location),
            ),
            _ => ControlFlow::Continue(()),
        }
    }
}
