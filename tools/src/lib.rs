//! The command line of asof: one module per command, each turning what was typed into calls of the
//! engine.
//!
//! Four parts cooperate. [`args`] is what was typed, [`context::Context`] the global options and the
//! ways in and out, `cmd` has one file per command, and [`mod@print`] says things to people. Data goes to
//! standard output, everything else to standard error. [`error::Status`] lists the exit statuses.
//!
//! Invariant of absence: only this crate knows clap.

pub mod args;
pub mod background;
pub mod bundled;
pub mod cmd;
pub mod condition;
pub mod context;
pub mod database_argument;
pub mod error;
pub mod input;
pub mod interrupt;
pub mod key;
pub mod logger;
pub mod mount_helper;
pub mod output;
pub mod print;
pub mod schema_text;
pub mod service;
pub mod session;

pub use context::Context;
pub use error::{Error, Result, Status};

use args::Command;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs a command line, `asof` itself being its first word.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    asof_engine::guard::silence();
    // A file that would get larger than this process may make one is an error of its write, and not the end.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let words: Vec<OsString> = words.into_iter().collect();
    if mount_helper::is_called(words.first()) {
        return run_mount_helper(&words[1..]);
    }
    let json = words.iter().any(|word| word == "--json");
    let database = std::env::var_os("ASOF_DB");
    let cli = match database_argument::parse(&words, database.as_deref()) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            report_usage(&error, json);
            return ExitCode::from(Status::Usage.code());
        }
    };
    ExitCode::from(run_command(cli).code())
}

/// Mounts as `mount(8)` asks for it.
fn run_mount_helper(words: &[OsString]) -> ExitCode {
    let request = mount_helper::translate(words).and_then(|request| match request.fake {
        true => mount_helper::check(&request.words).map(|_| None),
        false => Ok(Some(request.words)),
    });
    let status = match request {
        Ok(None) => Status::Done,
        Ok(Some(words)) => match database_argument::parse(&words, None) {
            Ok(cli) => run_command(cli),
            Err(error) => {
                report_usage(&error, false);
                Status::Usage
            }
        },
        Err(error) => {
            context::report(&error, false);
            error.status()
        }
    };
    ExitCode::from(mount_helper::status(status))
}

fn run_command(cli: args::Cli) -> Status {
    let context = Context::new(&cli.globals);
    logger::start(context.quiet, context.verbose);
    let status = dispatch(cli.command, &context).unwrap_or_else(|error| {
        context.report(&error);
        error.status()
    });
    if let Some(database) = context.take_opened() {
        print::counters(&database.counters(), context.json);
    }
    status
}

/// Reports wrong usage on one line; help where nothing was typed.
fn report_usage(error: &clap::Error, json: bool) {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !json {
        let _ = error.print();
        return;
    }
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> = lines.take_while(|line| !line.starts_with("For more information")).collect();
    let mut line = told.join(" ").replace(" Usage: ", "; usage: ");
    if error.kind() == clap::error::ErrorKind::MissingRequiredArgument && line.contains("<DB>") {
        line.push_str("; DB may be left out where $ASOF_DB names one");
    }
    context::report(&Error::usage(line.strip_prefix("error: ").unwrap_or(&line)), json);
}

fn dispatch(command: Command, context: &Context) -> Result {
    match command {
        Command::Demo(args) => cmd::demo::run(args, context),
        Command::Init(args) => cmd::init::run(args, context),
        Command::Doctor(args) => cmd::doctor::run(args, context),
        Command::CreateTable(args) => cmd::create_table::run(args, context),
        Command::AlterTable(args) => cmd::alter_table::run(args, context),
        Command::DropTable(args) => cmd::drop_table::run(args, context),
        Command::Import(args) => cmd::import::run(args, context),
        Command::ImportHistory(args) => cmd::import_history::run(args, context),
        Command::Apply(args) => cmd::apply::run(args, context),
        Command::Cat(args) => cmd::cat::run(args, context),
        Command::Export(args) => cmd::export::run(args, context),
        Command::Get(args) => cmd::get::run(args, context),
        Command::Resolve(args) => cmd::resolve::run(args, context),
        Command::Tables(args) => cmd::tables::run(args, context),
        Command::Schema(args) => cmd::schema::run(args, context),
        Command::Show(args) => cmd::show::run(args, context),
        Command::Log(args) => cmd::log::run(args, context),
        Command::History(args) => cmd::history::run(args, context),
        Command::Blame(args) => cmd::blame::run(args, context),
        Command::Find(args) => cmd::find::run(args, context),
        Command::Trace(args) => cmd::trace::run(args, context),
        Command::Diff(args) => cmd::diff::run(args, context),
        #[cfg(feature = "sql")]
        Command::Sql(args) => cmd::sql::run(args, context),
        Command::Tag(args) => cmd::tag::run(args, context),
        Command::Restore(args) => cmd::restore::run(args, context),
        Command::Undo(args) => cmd::undo::run(args, context),
        Command::Undrop(args) => cmd::undrop::run(args, context),
        Command::Mount(args) => cmd::mount::run(args, context),
        Command::Umount(args) => cmd::umount::run(args, context),
        Command::Checkpoint(args) => cmd::checkpoint::run(args, context),
        Command::Compact(args) => cmd::compact::run(args, context),
        Command::Retain(args) => cmd::retain::run(args, context),
        Command::Config(args) => cmd::config::run(args, context),
        Command::Du(args) => cmd::du::run(args, context),
        #[cfg(feature = "archive")]
        Command::Archive(args) => cmd::archive::run(args, context),
        #[cfg(feature = "archive")]
        Command::Recover(args) => cmd::recover::run(args, context),
        #[cfg(feature = "archive")]
        Command::Backup(args) => cmd::backup::run(args, context),
        Command::Verify(args) => cmd::verify::run(args, context),
        Command::Checksum(args) => cmd::checksum::run(args, context),
        Command::Info(args) => cmd::info::run(args, context),
        Command::Torture(args) => cmd::torture::run(args, context),
        Command::Completions(args) => cmd::completions::run(args, context),
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
