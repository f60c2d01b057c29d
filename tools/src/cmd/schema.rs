//! `schema`: a table's columns and key, as `create-table` takes them.

use crate::args::SchemaArgs;
use crate::{Context, Result, Status, output, schema_text};

/// Prints a table's schema.
pub fn run(args: SchemaArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let snapshot = context.snapshot(&database, args.as_of.as_deref())?;
    let info = snapshot.table(&args.table)?;
    if context.json {
        context.print_json(&asof_engine::json::schema_to_json(&info.name, &info.schema, info.changed))?;
    } else {
        let definition = schema_text::write_definition(&info.schema);
        output::write(context, None, false, |out| Ok(writeln!(out, "{definition}")?))?;
    }
    Ok(Status::Done)
}
