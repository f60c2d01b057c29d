//! `archive`: ships a database to a directory or an object store, once or continuously; tells how far behind it is.

use crate::output::check_outside;
use crate::print::{Progress, bytes_text, count_text, time_json, time_or_start};
use crate::{Context, Result, Status, interrupt};
use asof_archive::{Archiver, Shipped};
use asof_engine::CommitTime;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// `archive`
#[derive(Debug, Args)]
#[command(
    after_help = "DEST is a directory, file:///path or s3://bucket/prefix; credentials, region and endpoint come from \
    AWS_ACCESS_KEY_ID,\nAWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL. cat, diff, log, sql and mount take DEST \
    in DB's place; recover makes\na database of it."
)]
pub struct ArchiveArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Directory or URL of the archive; made where missing
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// Go on shipping what is committed, until Ctrl-C
    #[arg(short, long, conflicts_with = "status")]
    pub follow: bool,
    /// With --follow: how often, at most
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = crate::args::parse_duration)]
    pub every: Duration,
    /// Tell what the archive holds, and how far it is behind; ship nothing
    #[arg(long)]
    pub status: bool,
}

/// Ships, or tells the status.
pub fn run(args: ArchiveArgs, context: &Context) -> Result {
    if args.status {
        return status(&args, &context.open_read_only(&args.database)?, context);
    }
    let interrupted = interrupt::flag()?;
    check_outside(&args.destination, &args.database)?;
    let database = context.open_read_only(&args.database)?;
    let (mut archiver, made) = Archiver::open(&args.destination, database)?;
    if made {
        context.note(format_args!("made the archive {}", args.destination.display()));
    }
    let watch = Progress::bytes(context, "shipped").watch(interrupted);
    if args.follow {
        archiver.follow(args.every, &watch, &mut |shipped| match shipped {
            Ok(shipped) => tell(shipped, context).map_err(into_engine),
            Err(error) => {
                context.note(format_args!("{error}; trying again"));
                Ok(())
            }
        })?;
        return Ok(Status::Done);
    }
    let shipped = archiver.ship(&watch);
    drop(watch);
    match shipped? {
        Some(shipped) => tell(&shipped, context)?,
        None if context.json => context.print_json(&json!({
            "shipment": null,
            "version": archiver.index().version(),
            "time": archiver.index().end().map(|end| time_json(CommitTime(end.time))),
        }))?,
        None => {
            let version = archiver.index().version();
            context.say(format_args!("nothing to ship: everything up to version {version} is there"))?;
        }
    }
    Ok(Status::Done)
}

/// A pipe that nobody reads any more ends following as it ends everything else.
fn into_engine(error: crate::Error) -> asof_engine::Error {
    match error.is_pipe_closed() {
        true => std::io::Error::from(std::io::ErrorKind::BrokenPipe).into(),
        false => asof_engine::Error::invalid(error.to_string()),
    }
}

fn tell(shipped: &Shipped, context: &Context) -> Result<()> {
    if context.json {
        return context.print_json(&shipped_to_json(shipped));
    }
    context.say(shipped_text(shipped))
}

/// What a shipment brought, as JSON.
pub fn shipped_to_json(shipped: &Shipped) -> Value {
    json!({
        "shipment": shipped.shipment,
        "version": shipped.version.0,
        "time": time_json(CommitTime(shipped.time)),
        "files": shipped.files,
        "objects": shipped.objects,
        "bytes": shipped.bytes,
        "stored_bytes": shipped.stored,
        "continues": shipped.continues,
    })
}

/// What a shipment brought, in a line.
pub fn shipped_text(shipped: &Shipped) -> String {
    format!(
        "shipment {}: version {} ({}); {} in {}, {}",
        shipped.shipment,
        shipped.version,
        time_or_start(CommitTime(shipped.time)),
        bytes_text(shipped.bytes),
        count_text(shipped.objects, "object"),
        bytes_text(shipped.stored),
    )
}

fn status(args: &ArchiveArgs, database: &asof_engine::Database, context: &Context) -> Result {
    let status = asof_archive::status(&args.destination, database)?;
    let (index, behind) = (&status.index, &status.behind);
    let end = index.end();
    let taken = CommitTime(index.taken);
    if context.json {
        context.print_json(&json!({
            "shipments": index.shipments,
            "version": end.map(|end| end.version),
            "time": end.map(|end| time_json(CommitTime(end.time))),
            "taken": if end.is_some() { time_json(taken) } else { Value::Null },
            "files": index.files.len(),
            "bytes": index.bytes(),
            "objects": index.objects,
            "stored_bytes": index.stored,
            "manifests": index.manifests.len(),
            "same_database": status.is_same,
            "newest": status.newest.0,
            "behind": {
                "versions": behind.versions,
                "bytes": behind.bytes,
                "seconds": behind.microseconds as f64 / 1e6,
            },
        }))?;
        return Ok(Status::Done);
    }
    let mut out = context.out();
    writeln!(out, "archive    {}", context.shown(&args.destination.to_string_lossy()))?;
    match end {
        None => writeln!(out, "holds      nothing yet")?,
        Some(end) => {
            let time = time_or_start(CommitTime(end.time));
            writeln!(out, "holds      versions 0 to {} ({time})", end.version)?;
            writeln!(
                out,
                "shipped    {}, the last one {}",
                count_text(index.shipments, "time"),
                time_or_start(taken)
            )?;
            writeln!(
                out,
                "takes      {} in {} for {} of files",
                bytes_text(index.stored),
                count_text(index.objects, "object"),
                bytes_text(index.bytes())
            )?;
        }
    }
    match status.is_same {
        false => writeln!(
            out,
            "behind     not comparable: {} is another database, or went another way",
            context.shown(&args.database.to_string_lossy())
        )?,
        true if behind.versions == 0 && behind.bytes == 0 => writeln!(out, "behind     by nothing")?,
        true => writeln!(
            out,
            "behind     {}, {} of log, {:.1} s",
            count_text(behind.versions, "version"),
            bytes_text(behind.bytes),
            behind.microseconds as f64 / 1e6
        )?,
    }
    out.flush()?;
    Ok(Status::Done)
}
