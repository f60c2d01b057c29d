//! `blame`: for each column of a row the commit that last set it.

use crate::args::RowArgs;
use crate::print::grid::Grid;
use crate::print::value::value_text;
use crate::{Context, Error, Result, Status, key, output, print};
use asof_engine::json::row_to_json;
use asof_engine::{Blame, Blamed, CommitInfo, Database, Version};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Prints who set what.
pub fn run(args: RowArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let snapshot = context.snapshot(&database, args.as_of.as_deref())?;
    let at = snapshot.version();
    let schema = snapshot.schema(&args.table)?;
    let key = key::parse(&schema, &args.table, &args.key)?;
    let blame = match database.blame(&args.table, &key, at)? {
        Blamed::Row(blame) => blame,
        Blamed::Gone(version) => return Err(gone(&database, &args, at, version)?),
        Blamed::Never => {
            return Err(Error::not_found(format!(
                "table '{}' has no row with the key {} at version {at}, nor had it one before in any version that is not \
                 gone",
                args.table, args.key
            )));
        }
    };
    let mut commits: BTreeMap<Version, CommitInfo> = BTreeMap::new();
    for column in &blame.columns {
        if let Entry::Vacant(unknown) = commits.entry(column.version) {
            unknown.insert(database.commit_info(column.version)?);
        }
    }
    if context.json {
        context.print_json(&to_json(&args.table, at, &blame, &commits))?;
        return Ok(Status::Done);
    }
    output::write(context, None, false, |out| {
        let mut grid = Grid::new(&["column", "value", ">version", "time", "by", "why"]);
        for (index, (column, blamed)) in blame.schema.columns.iter().zip(&blame.columns).enumerate() {
            let info = &commits[&blamed.version];
            let how = if blamed.by_schema { " (the column was added)" } else { "" };
            grid.add(vec![
                column.name.clone(),
                value_text(&column.column_type, &blame.row, index, 0),
                info.version.to_string(),
                print::time_or_start(info.time),
                info.who().to_string(),
                format!("{}{how}", info.why()),
            ]);
        }
        Ok(write!(out, "{grid}")?)
    })?;
    Ok(Status::Done)
}

fn to_json(table: &str, at: Version, blame: &Blame, commits: &BTreeMap<Version, CommitInfo>) -> Value {
    let row = row_to_json(&blame.schema, &blame.row, 0);
    let columns = blame.schema.columns.iter().zip(&blame.columns).map(|(column, blamed)| {
        let info = &commits[&blamed.version];
        json!({
            "column": column.name,
            "value": row[&column.name],
            "version": info.version.0,
            "time": print::time_json(info.time),
            "author": info.author,
            "os_user": info.os_user,
            "operation": info.operation,
            "message": info.message,
            "by_schema": blamed.by_schema,
        })
    });
    let columns: Vec<Value> = columns.collect();
    json!({"table": table, "version": at.0, "row": row, "columns": columns})
}

/// The row is not there any more: by whom, and where to look.
fn gone(database: &Database, args: &RowArgs, at: Version, version: Version) -> Result<Error> {
    let before = version.previous().unwrap_or(Version::ZERO);
    let info = database.commit_info(version)?;
    let (who, why) = (info.who(), info.why());
    Ok(Error::not_found(format!(
        "table '{}' has no row with the key {} at version {at}: {who} deleted it in version {version} ({}): {why}; give \
         --as-of {before} for who set its values before",
        args.table,
        args.key,
        print::time_or_start(info.time),
    ))
    .with_nearest(vec![before.to_string()]))
}
