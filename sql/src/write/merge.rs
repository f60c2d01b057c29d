//! MERGE: the rows of a join, each with what is to be done with it.

use super::rows::columns;
use super::update::{Assigned, Changes, Once, is_default};
use super::{Done, Target, Writer, named, number_literal};
use crate::clause::{Marked, mark_of};
use crate::error::{Error, Result};
use asof_engine::Counts;
use asof_engine::arrow::array::{AsArray, BooleanArray};
use asof_engine::arrow::compute::{cast, filter_record_batch};
use asof_engine::arrow::datatypes::{DataType, Int64Type};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Join, JoinConstraint, JoinOperator, Merge, MergeAction,
    MergeClause, MergeClauseKind, MergeInsertKind, ObjectName, Query, SelectItem, Spanned, TableAlias,
    TableFactor, TableWithJoins, Value,
};

/// The columns that tell on which side of the join a row is.
const IN_TARGET: &str = "__in_target";
const IN_SOURCE: &str = "__in_source";

/// What a clause does.
enum Action {
    Update { values: Vec<Expr>, defaults: Vec<usize> },
    Delete,
    Insert { values: Vec<Option<Expr>> },
}

/// A clause, and what must hold for it.
struct When {
    condition: Expr,
    action: Action,
}

impl Writer<'_> {
    pub(super) fn merge(&self, merge: Merge) -> Result<Done> {
        if let Some(output) = &merge.output {
            return Err(Error::new("MERGE gives no rows: leave OUTPUT out").at(output.span().start));
        }
        self.merge_parts(&merge.table, merge.source, *merge.on, merge.clauses)
    }

    /// MERGE, and what is the same in other words.
    pub(super) fn merge_parts(
        &self,
        table: &TableFactor,
        source: TableFactor,
        on: Expr,
        clauses: Vec<MergeClause>,
    ) -> Result<Done> {
        let place = table.span().start;
        let target = self.target(table)?;
        let source_alias = alias_of(&source, &self.names.known.marked)?;
        let whens =
            clauses.iter().map(|clause| when(&target, &source_alias, clause)).collect::<Result<Vec<_>>>()?;
        let keeps =
            |kinds: &[MergeClauseKind]| clauses.iter().any(|clause| kinds.contains(&clause.clause_kind));
        let inserts = keeps(&[MergeClauseKind::NotMatched, MergeClauseKind::NotMatchedByTarget]);
        let by_source = keeps(&[MergeClauseKind::NotMatchedBySource]);
        let on = JoinConstraint::On(on);
        let operator = match (by_source, inserts) {
            (true, true) => JoinOperator::FullOuter(on),
            (true, false) => JoinOperator::Left(on),
            (false, true) => JoinOperator::Right(on),
            (false, false) => JoinOperator::Inner(on),
        };
        let from = TableWithJoins {
            relation: flagged(target.factor.clone(), &target.alias, IN_TARGET),
            joins: vec![Join {
                relation: flagged(source, &source_alias, IN_SOURCE),
                global: false,
                join_operator: operator,
            }],
        };
        let identity = target.identity();
        let case = |value: &dyn Fn(usize, &When) -> Expr| Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: whens
                .iter()
                .enumerate()
                .map(|(index, when)| CaseWhen {
                    condition: when.condition.clone(),
                    result: value(index, when),
                })
                .collect(),
            else_result: None,
        };
        let null = || Expr::value(Value::Null);
        let action = case(&|index, _| number_literal(index));
        let mut projection: Vec<SelectItem> = vec![named(action.clone(), "__action")];
        for (index, name) in identity.iter().enumerate() {
            projection.push(named(target.column(name), format!("__old_{index}")));
        }
        for index in 0..target.schema.columns.len() {
            let value = case(&|_, when| match &when.action {
                Action::Update { values, .. } => values[index].clone(),
                Action::Insert { values } => values[index].clone().unwrap_or_else(null),
                Action::Delete => null(),
            });
            projection.push(named(value, format!("__new_{index}")));
        }
        let query = super::select(projection, vec![from], Some(Expr::IsNotNull(Box::new(action))), false);
        let rows = self.query(&target.names, query)?;
        let (mut once, mut changes) = (Once::new(), Changes::new(self, &target));
        let mut done = Counts::default();
        for batch in rows {
            let batch = batch?;
            let actions = cast(batch.column(0), &DataType::Int64)?;
            let actions = actions.as_primitive::<Int64Type>();
            for (number, when) in whens.iter().enumerate() {
                let mine: BooleanArray =
                    actions.iter().map(|action| Some(action == Some(number as i64))).collect();
                let count = mine.true_count();
                if count == 0 {
                    continue;
                }
                let mine = filter_record_batch(&batch, &mine)?;
                let old: Vec<usize> = (1..=identity.len()).collect();
                let old = mine.project(&old)?;
                let new = &mine.columns()[1 + identity.len()..];
                if !matches!(when.action, Action::Insert { .. }) && !once.are_new(old.columns())? {
                    return Err(Error::new(
                        "a row of the table is matched by more than one row of the source: what it becomes is not certain",
                    )
                    .at(place));
                }
                let count = count as u64;
                match &when.action {
                    Action::Delete => {
                        done.deleted += count;
                        changes.delete(&old)?;
                    }
                    Action::Update { defaults, .. } => {
                        done.updated += count;
                        let new = changes.rows(new, defaults)?;
                        changes.update(&old, new)?;
                    }
                    Action::Insert { values } => {
                        done.inserted += count;
                        let defaults: Vec<usize> = values
                            .iter()
                            .enumerate()
                            .filter(|(_, value)| value.is_none())
                            .map(|(index, _)| index)
                            .collect();
                        let rows = changes.rows(new, &defaults)?;
                        changes.insert(rows);
                    }
                }
            }
        }
        changes.finish()?;
        Ok(done)
    }
}

/// `(SELECT *, TRUE AS flag FROM factor) AS alias`
fn flagged(factor: TableFactor, alias: &Ident, flag: &str) -> TableFactor {
    let mut query: Query = super::blank_query();
    if let datafusion::sql::sqlparser::ast::SetExpr::Select(select) = &mut *query.body {
        select.projection =
            vec![SelectItem::Wildcard(Default::default()), named(Expr::value(Value::Boolean(true)), flag)];
        select.from = vec![TableWithJoins { relation: factor, joins: Vec::new() }];
    }
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: Some(TableAlias { explicit: true, name: alias.clone(), columns: Vec::new(), at: None }),
        sample: None,
    }
}

/// How the statement calls its source.
fn alias_of(source: &TableFactor, marked: &[Marked]) -> Result<Ident> {
    let last = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).cloned();
    let (alias, name) = match source {
        TableFactor::Table { alias, name, args: None, .. } => (alias, last(name)),
        // A clause hides the name.
        TableFactor::Table { alias, .. } if mark_of(source).is_some() => {
            let marked = mark_of(source).and_then(|number| marked.get(number));
            (alias, marked.and_then(|marked| last(&marked.name)))
        }
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. } => (alias, None),
        _ => {
            return Err(
                Error::new("the source of MERGE is a table or a query with a name").at(source.span().start)
            );
        }
    };
    let alias = alias.as_ref().map(|alias| alias.name.clone());
    alias.or(name).ok_or_else(|| {
        Error::new("give the source of MERGE a name: USING (SELECT ..) AS s").at(source.span().start)
    })
}

fn both(left: Expr, right: Expr) -> Expr {
    let nested = |expression| Box::new(Expr::Nested(Box::new(expression)));
    Expr::BinaryOp { left: nested(left), op: BinaryOperator::And, right: nested(right) }
}

fn when(target: &Target, source: &Ident, clause: &MergeClause) -> Result<When> {
    let place = clause.when_token.0.span.start;
    let flag = |relation: &Ident, name: &str| {
        Box::new(Expr::CompoundIdentifier(vec![relation.clone(), Ident::with_quote('"', name)]))
    };
    let (in_target, in_source) = (flag(&target.alias, IN_TARGET), flag(source, IN_SOURCE));
    let matched = clause.clause_kind == MergeClauseKind::Matched;
    let by_source = clause.clause_kind == MergeClauseKind::NotMatchedBySource;
    let mut condition = match clause.clause_kind {
        MergeClauseKind::Matched => both(Expr::IsNotNull(in_target), Expr::IsNotNull(in_source)),
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Expr::IsNull(in_target),
        MergeClauseKind::NotMatchedBySource => Expr::IsNull(in_source),
    };
    if let Some(predicate) = &clause.predicate {
        condition = both(condition, predicate.clone());
    }
    let action = match &clause.action {
        MergeAction::Delete { .. } if matched || by_source => Action::Delete,
        MergeAction::Update(update) if matched || by_source => {
            if update.delete_predicate.is_some() {
                return Err(Error::new(
                    "write DELETE WHERE as a clause of its own: WHEN MATCHED AND .. THEN DELETE",
                )
                .at(place));
            }
            if let Some(predicate) = &update.update_predicate {
                condition = both(condition, predicate.clone());
            }
            let Assigned { values, defaults } = Assigned::of(target, &update.assignments)?;
            Action::Update { values, defaults }
        }
        MergeAction::Insert(insert) if !matched && !by_source => {
            if let Some(predicate) = &insert.insert_predicate {
                condition = both(condition, predicate.clone());
            }
            let given = columns(&target.schema, &insert.columns)?;
            let MergeInsertKind::Values(rows) = &insert.kind else {
                return Err(Error::new("MERGE inserts VALUES: INSERT ROW is not supported").at(place));
            };
            let [row] = &rows.rows[..] else {
                return Err(Error::new("MERGE inserts one row of VALUES").at(place));
            };
            if row.content.len() != given.len() {
                return Err(Error::new(format!(
                    "{} columns are to be filled, but there are {} values",
                    given.len(),
                    row.content.len()
                ))
                .at(place));
            }
            let values = target.schema.columns.iter().map(|column| {
                let index = given.iter().position(|given| given.id == column.id)?;
                Some(row.content[index].clone()).filter(|value| !is_default(value))
            });
            Action::Insert { values: values.collect() }
        }
        MergeAction::Insert(_) => {
            return Err(Error::new("rows are inserted WHEN NOT MATCHED [BY TARGET]").at(place));
        }
        _ => return Err(Error::new("rows are changed WHEN MATCHED or WHEN NOT MATCHED BY SOURCE").at(place)),
    };
    Ok(When { condition, action })
}
