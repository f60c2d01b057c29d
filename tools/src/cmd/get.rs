//! `get`: one row as it was.

use crate::args::RowArgs;
use crate::print::grid::Grid;
use crate::{Context, Error, Result, Status, key, output};
use asof_engine::text;

/// Prints the row of a key; status 3 where there is none.
pub fn run(args: RowArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let snapshot = context.snapshot(&database, args.as_of.as_deref())?;
    let schema = snapshot.schema(&args.table)?;
    let key = key::parse(&schema, &args.table, &args.key)?;
    let Some(row) = snapshot.get(&args.table, &key)? else {
        return Err(Error::not_found(format!(
            "table '{}' has no row with the key {} at version {}; see `asof history` for its past",
            args.table,
            args.key,
            snapshot.version()
        )));
    };
    output::write(context, None, false, |out| {
        if context.json {
            let mut line = Vec::new();
            text::write_jsonl_rows(&schema, &row, &mut line);
            return Ok(out.write_all(&line)?);
        }
        let mut grid = Grid::new(&["column", "value"]);
        for (column, array) in schema.columns.iter().zip(row.columns()) {
            let value =
                text::format_cell(&column.column_type, array, 0).unwrap_or_else(|| "NULL".to_string());
            grid.add(vec![column.name.clone(), value]);
        }
        Ok(write!(out, "{grid}")?)
    })?;
    Ok(Status::Done)
}
