//! `du`: what takes the room, by table, by tag, by month.

use crate::print::grid::Grid;
use crate::print::{Progress, bytes_text};
use crate::{Context, Result, Status};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// `du`
#[derive(Debug, Args)]
pub struct DuArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
}

/// Prints what takes the room.
pub fn run(args: DuArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let usage = {
        let _progress = Progress::reading(context, &database, || database.row_versions(None));
        database.usage()?
    };
    if context.json {
        let tables = usage.tables.iter().map(|table| {
            json!({
                "table": table.table,
                "exists": table.exists,
                "bytes": table.bytes,
                "row_versions": table.row_versions,
                "rows": table.rows,
            })
        });
        let tags = usage.tags.iter();
        let tags = tags.map(|tag| json!({ "tag": tag.tag, "version": tag.version.0, "bytes": tag.bytes }));
        let months = usage.months.iter().map(
            |month| json!({ "month": month.month, "bytes": month.bytes, "row_versions": month.row_versions }),
        );
        context.print_json(&json!({
            "tables": tables.collect::<Vec<Value>>(),
            "tags": tags.collect::<Vec<Value>>(),
            "months": months.collect::<Vec<Value>>(),
            "log_bytes": usage.log_bytes,
            "waiting_bytes": usage.waiting_bytes,
            "other_bytes": usage.other_bytes,
        }))?;
        return Ok(Status::Done);
    }
    let mut out = context.out();
    let mut grid = Grid::new(&["table", ">bytes", ">rows", ">row versions", ""]);
    for table in &usage.tables {
        grid.add(vec![
            context.shown(&table.table).into_owned(),
            bytes_text(table.bytes),
            if table.exists { table.rows.to_string() } else { String::new() },
            table.row_versions.to_string(),
            if table.exists { "" } else { "dropped" }.to_string(),
        ]);
    }
    let rest = [
        ("(log)", usage.log_bytes),
        ("(files of the manifest before, or leased)", usage.waiting_bytes),
        ("(all else)", usage.other_bytes),
    ];
    for (what, bytes) in rest {
        let mut cells = vec![what.to_string(), bytes_text(bytes)];
        cells.resize(5, String::new());
        grid.add(cells);
    }
    write!(out, "{grid}")?;
    if !usage.tags.is_empty() {
        let mut grid = Grid::new(&["tag", ">version", ">only it keeps"]);
        for tag in &usage.tags {
            let bytes = tag.bytes.map_or("no policy".to_string(), bytes_text);
            grid.add(vec![context.shown(&tag.tag).into_owned(), tag.version.to_string(), bytes]);
        }
        write!(out, "\n{grid}")?;
    }
    if !usage.months.is_empty() {
        let mut grid = Grid::new(&["month", ">bytes", ">row versions"]);
        for month in &usage.months {
            grid.add(vec![month.month.clone(), bytes_text(month.bytes), month.row_versions.to_string()]);
        }
        write!(out, "\n{grid}")?;
    }
    out.flush()?;
    Ok(Status::Done)
}
