//! `checkpoint`: turns the log into Parquet, at once.

use crate::args::CheckpointArgs;
use crate::print::count_text;
use crate::{Context, Result, Status, print};
use serde_json::json;

/// Makes a checkpoint and reports it.
pub fn run(args: CheckpointArgs, context: &Context) -> Result {
    let report = context.open(&args.database)?.checkpoint()?;
    if context.json {
        context.print_json(&json!({
            "version": report.version.0,
            "done": report.done,
            "files": report.files,
            "bytes": report.bytes,
            "rows": report.rows,
        }))?;
        return Ok(Status::Done);
    }
    if report.done {
        let (rows, files) = (count_text(report.rows, "row version"), count_text(report.files, "file"));
        let bytes = print::bytes_text(report.bytes);
        context.say(format_args!("checkpoint at version {}: {rows} in {files}, {bytes}", report.version))?;
    } else {
        let version = report.version;
        context.say(format_args!("nothing to do: everything up to version {version} is in a checkpoint"))?;
    }
    Ok(Status::Done)
}
