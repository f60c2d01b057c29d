//! Table functions: the past in every dialect.
//!
//! | function | gives |
//! |---|---|
//! | `asof('t', WHEN)` | a table as it was |
//! | `history('t')` | its row versions with their lives |
//! | `changes('t', FROM, TO)` | what each commit in (FROM, TO] changed |
//! | `diff('t', FROM, TO)` | what differs between the two versions |
//! | `table_changes('t', FROM, TO)` | what each commit in [FROM, TO] changed |
//! | `commits()`, `table_history('t')` | all commits, those that changed a table |

use crate::error::{Error, Result};
use crate::exec::Batches;
use crate::moment::{Range, constant, version_of_argument};
use crate::names::{self, Found};
use crate::scope::Names;
use crate::system;
use crate::table::{Generated, Table};
use asof_engine::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use asof_engine::arrow::compute::filter_record_batch;
use asof_engine::arrow::datatypes::UInt64Type;
use asof_engine::{DiffKind, Snapshot, Version};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result as PlanResult, ScalarValue, TableReference};
use datafusion::logical_expr::Expr;
use std::sync::Arc;

/// The functions there are.
pub(crate) const NAMES: &[&str] =
    &["asof", "changes", "commits", "diff", "history", "table_changes", "table_history", "version"];

/// The table that a call gives; nothing where there is no such function.
pub(crate) fn call(
    names: &Arc<Names>,
    name: &str,
    args: &[Expr],
) -> PlanResult<Option<Arc<dyn TableProvider>>> {
    let name = name.trim_matches('"').to_ascii_lowercase();
    if !NAMES.contains(&name.as_str()) {
        return Ok(None);
    }
    let table = call_known(names, &name, args).map_err(|error| match error.engine() {
        Some(_) => error,
        None => Error::new(format!("{name}(): {}", error.message())),
    })?;
    Ok(Some(table))
}

fn call_known(names: &Arc<Names>, name: &str, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
    let wanted = |count: usize, usage: &str| match args.len() == count {
        true => Ok(()),
        false => Err(Error::new(format!("{} arguments are given; write {usage}", args.len()))),
    };
    let version = |argument: &Expr| version_of_argument(argument, &names.database, &names.state);
    Ok(match name {
        "asof" | "version" => {
            wanted(
                2,
                "asof('TABLE', WHEN), WHEN being a version, a time, or an expression such as 'yesterday'",
            )?;
            let snapshot = names.database.snapshot(version(&args[1])?)?;
            Arc::new(Table::of_snapshot(&snapshot, &table_name(names, &args[0])?)?)
        }
        "history" => {
            wanted(1, "history('TABLE')")?;
            let range = Range { from: Version::ZERO, to: names.snapshot.version(), contained: None };
            Arc::new(lives(&names.snapshot, &table_name(names, &args[0])?, range)?)
        }
        "changes" | "diff" | "table_changes" => {
            wanted(3, &format!("{name}('TABLE', FROM, TO), with versions or times"))?;
            let (mut from, to) = (version(&args[1])?, version(&args[2])?);
            if name == "table_changes" {
                // Both ends count.
                from = from.previous().unwrap_or(Version::ZERO);
            }
            let kind = if name == "diff" { DiffKind::Net } else { DiffKind::Feed };
            Arc::new(changes(names, &table_name(names, &args[0])?, from, to, kind)?)
        }
        "commits" => {
            wanted(0, "commits()")?;
            Arc::new(system::commits(names, None)?)
        }
        "table_history" => {
            wanted(1, "table_history('TABLE')")?;
            Arc::new(system::commits(names, Some(table_name(names, &args[0])?))?)
        }
        other => return Err(Error::new(format!("there is no table function '{other}'"))),
    })
}

/// The table that a text names: as it is, or as SQL would take it.
fn table_name(names: &Names, argument: &Expr) -> Result<String> {
    let value = constant(argument.clone(), &names.state)?;
    let text = match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => text,
        other => {
            return Err(Error::new(format!(
                "the first argument is a table's name in single quotes, not {other}"
            )));
        }
    };
    let reference = match text.split_once('.') {
        Some((namespace, table)) => TableReference::partial(namespace, table),
        None => TableReference::bare(text.as_str()),
    };
    Ok(match names.find(&reference)? {
        Found::Table(name) => name,
        Found::View(name) => {
            return Err(Error::new(format!("'{name}' is a view: it has no history of its own")));
        }
        _ => {
            let parsed = TableReference::parse_str(&text);
            match names.find(&parsed)? {
                Found::Table(name) => name,
                // It may be gone by now.
                _ => names::plain(&reference),
            }
        }
    })
}

/// Row versions of a table.
pub(crate) fn lives(snapshot: &Snapshot, table: &str, range: Range) -> Result<Generated> {
    let schema = snapshot.row_lives_schema(table, range.from, range.to)?;
    let (snapshot, name) = (snapshot.clone(), table.to_string());
    Ok(Generated::new(format!("history of {table}"), schema, None, move || {
        let lives = snapshot.row_lives(&name, range.from, range.to)?;
        Ok(match range.contained {
            None => Box::new(lives) as Batches,
            Some(within) => Box::new(lives.map(move |batch| contained(&batch?, within))),
        })
    }))
}

/// The row versions that began and ended within versions.
fn contained(batch: &RecordBatch, (first, last): (Version, Version)) -> asof_engine::Result<RecordBatch> {
    let begins = batch.column(0).as_primitive::<UInt64Type>();
    let ends = batch.column(2).as_primitive::<UInt64Type>();
    let keep: BooleanArray = (0..batch.num_rows())
        .map(|row| Some(begins.value(row) >= first.0 && !ends.is_null(row) && ends.value(row) <= last.0))
        .collect();
    Ok(filter_record_batch(batch, &keep)?)
}

fn changes(names: &Names, table: &str, from: Version, to: Version, kind: DiffKind) -> Result<Generated> {
    let schema = names.database.diff_schema(from, to, table, kind)?;
    let (database, name) = (names.database.clone(), table.to_string());
    Ok(Generated::new(format!("changes of {table}"), schema, None, move || {
        Ok(Box::new(database.diff(from, to, &name, kind)?) as Batches)
    }))
}
