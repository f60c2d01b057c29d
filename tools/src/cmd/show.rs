//! `show`: one commit, in full.

use crate::args::ShowArgs;
use crate::print::commit::{CommitPrinter, Style};
use crate::{Context, Error, Result, Status};
use asof_engine::Version;
use std::io::Write;

/// Prints a commit.
pub fn run(args: ShowArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let asof = asof_engine::AsOf::parse(&args.expression, &context.tz)?;
    let version = database.resolve(&asof)?.version;
    if version == Version::ZERO {
        return Err(Error::not_found("version 0 is the empty database: no commit made it"));
    }
    let info = database.commit_info(version)?;
    let style = if context.json { Style::Json } else { Style::Full };
    let mut printer = CommitPrinter::new(context, &database, style)?;
    let mut out = context.out();
    printer.print(&mut out, &info)?;
    if !context.json {
        printer.print_ids(&mut out, &info)?;
    }
    out.flush()?;
    Ok(Status::Done)
}
