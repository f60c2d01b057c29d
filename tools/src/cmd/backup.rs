//! `backup`: a copy of a live database that is a database of its own.

use crate::output::check_outside;
use crate::print::{Progress, bytes_text, count_text, time_json, time_or_start};
use crate::{Context, Error, Result, Status, interrupt};
use asof_archive::backup::{BackupOptions, backup};
use asof_engine::CommitTime;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// `backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Directory of the copy, missing or empty
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// Let files that never change have two names instead of two copies; what damages one then damages both
    #[arg(long)]
    pub link: bool,
}

/// Copies a database.
pub fn run(args: BackupArgs, context: &Context) -> Result {
    if asof_archive::is_archive(&args.database) {
        let message = "an archive is made a database by 'asof recover'; 'asof backup' copies databases";
        return Err(Error::usage(message));
    }
    check_outside(&args.destination, &args.database)?;
    let database = context.open_read_only(&args.database)?;
    let watch = Progress::bytes(context, "copied").watch(interrupt::flag()?);
    let made = backup(&database, &args.destination, BackupOptions { links: args.link }, &watch);
    drop(watch);
    let made = made?;
    if context.json {
        context.print_json(&json!({
            "version": made.version.0,
            "time": time_json(CommitTime(made.time)),
            "files": made.files,
            "bytes": made.bytes,
            "shared_bytes": made.shared,
        }))?;
        return Ok(Status::Done);
    }
    context.note(format_args!("made the database {}", args.destination.display()));
    let shared = match made.shared {
        0 => String::new(),
        shared => format!(", {} of them shared with the original", bytes_text(shared)),
    };
    context.say(format_args!(
        "copied version {} ({}): {} of {}{shared}",
        made.version,
        time_or_start(CommitTime(made.time)),
        bytes_text(made.bytes),
        count_text(made.files, "file"),
    ))?;
    Ok(Status::Done)
}
