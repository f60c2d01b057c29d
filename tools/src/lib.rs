//! The command line of asof: one module per command, each turning what was typed into calls of the
//! engine.
//!
//! Four parts cooperate. [`args`] is what was typed, [`context::Context`] the global options and the
//! ways in and out, `cmd` has one file per command, and [`print`] says things to people. Data goes to
//! standard output, everything else to standard error. [`error::Status`] lists the exit statuses.
//!
//! Invariant of absence: only this crate knows clap.

pub mod args;
pub mod bundled;
pub mod cmd;
pub mod context;
pub mod error;
pub mod input;
pub mod print;

pub use context::Context;
pub use error::{Error, Result, Status};

use args::{Cli, Command};
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs a command line, `asof` itself being its first word.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let json = words.iter().any(|word| word == "--json");
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            if json {
                context::report(&Error::usage(error.to_string().trim_end()), true);
            } else {
                let _ = error.print();
            }
            return ExitCode::from(Status::Usage.code());
        }
    };
    let context = Context::new(&cli.globals);
    let status = dispatch(cli.command, &context).unwrap_or_else(|error| {
        context.report(&error);
        error.status()
    });
    if let Some(database) = context.take_opened() {
        print::counters(&database.counters());
    }
    ExitCode::from(status.code())
}

fn dispatch(command: Command, context: &Context) -> Result {
    match command {
        Command::Init(args) => cmd::init::run(args, context),
        Command::Import(args) => cmd::import::run(args, context),
        Command::ImportHistory(args) => cmd::import_history::run(args, context),
        Command::Apply(args) => cmd::apply::run(args, context),
    }
}
