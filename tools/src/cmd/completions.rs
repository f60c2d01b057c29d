//! `completions`: a shell's completion script.

use crate::args::{Cli, CompletionsArgs};
use crate::{Context, Result, Status};
use clap::CommandFactory;
use std::io::Write;

/// Prints the script.
pub fn run(args: CompletionsArgs, context: &Context) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "asof", &mut script);
    let mut out = context.out();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Status::Done)
}
