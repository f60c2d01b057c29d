//! `init`: an empty database.

use crate::args::InitArgs;
use crate::{Context, Result, Status};

/// Makes an empty database in a directory that is missing or empty.
pub fn run(args: InitArgs, context: &Context) -> Result {
    let database = context.create(&args.database)?;
    if context.json {
        let version = database.latest()?.0;
        context.print_json(&serde_json::json!({"database": database.path(), "version": version}))?;
    }
    Ok(Status::Done)
}
