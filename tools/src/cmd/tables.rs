//! `tables`: what tables there are at a version.

use crate::args::TablesArgs;
use crate::print::grid::Grid;
use crate::{Context, Result, Status, print};
use asof_engine::json::table_info_to_json;
use std::io::Write;

/// Lists tables.
pub fn run(args: TablesArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let snapshot = context.snapshot(&database, args.as_of.as_deref())?;
    let mut out = context.out();
    let mut grid = Grid::new(&["table", ">rows", ">columns", "key", ">changed in", "at"]);
    let mut any = false;
    for name in snapshot.table_names()? {
        let info = snapshot.table(&name)?;
        if context.json {
            serde_json::to_writer(&mut out, &table_info_to_json(&info))?;
            writeln!(out)?;
            continue;
        }
        any = true;
        let key: Vec<&str> = info.schema.key_columns().map(|column| column.name.as_str()).collect();
        grid.add(vec![
            context.shown(&info.name).into_owned(),
            info.rows.to_string(),
            info.schema.columns.len().to_string(),
            context.shown(&key.join(", ")).into_owned(),
            info.changed.to_string(),
            print::time_or_start(info.changed_time),
        ]);
    }
    if any {
        write!(out, "{grid}")?;
    }
    out.flush()?;
    if !any && !context.json {
        context.note(format_args!("there are no tables at version {}", snapshot.version()));
    }
    Ok(Status::Done)
}
