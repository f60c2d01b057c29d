//! `resolve`: the version and time that an expression names.

use crate::args::ResolveArgs;
use crate::{Context, Result, Status, print};
use serde_json::json;
use std::io::Write;

/// Prints the version and time.
pub fn run(args: ResolveArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let asof = asof_engine::AsOf::parse(&args.expression, &context.tz)?;
    let resolved = database.resolve(&asof)?;
    if context.json {
        context.print_json(&json!({
            "version": resolved.version.0,
            "time": print::time_json(resolved.time),
            "moving": resolved.moving,
        }))?;
    } else {
        let mut out = context.out();
        writeln!(out, "{} {}", resolved.version, print::time_or_start(resolved.time))?;
        out.flush()?;
    }
    Ok(Status::Done)
}
