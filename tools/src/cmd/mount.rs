//! `mount`: the past as read-only directories, until a signal or `umount` ends it.

use crate::args::MountArgs;
use crate::{Context, Error, Result, Status, background, logger, session};
use asof_fuse::{MountOptions, Place};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Mounts a database; with `--background` another process serves the mount and this one ends once it is ready.
pub fn run(args: MountArgs, context: &Context) -> Result {
    // The process in the background stands elsewhere.
    let database = absolute(&args.database)?;
    let directory = absolute(&args.directory)?;
    let what = format!("{} at {}", database.display(), directory.display());
    let log = args.log.as_deref().map(absolute).transpose()?;
    if !args.background {
        log.as_deref().map(logger::write_to).transpose()?;
        let place = serve(&args, context, &database, &directory, || {
            context.note(format_args!(
                "mounted {what}; Ctrl-C or `asof umount {}` ends it",
                args.directory.display()
            ));
            if context.json {
                context.print_json(&json!({"mounted": directory, "pid": std::process::id()}))?;
            }
            Ok(())
        })?;
        drop(place);
        context.note(format_args!("unmounted {}", directory.display()));
        return Ok(Status::Done);
    }
    let pid = match background::start()? {
        background::Side::Child(ready) => {
            return ready.serve(|ready| {
                let log = log.as_deref().map(logger::write_to).transpose()?;
                serve(&args, context, &database, &directory, || ready.tell(log.as_ref())).map(drop)
            });
        }
        background::Side::Parent { pid } => pid,
    };
    if context.json {
        context.print_json(&json!({"mounted": directory, "pid": pid}))?;
    } else {
        context.note(format_args!("mounted {what}, served by process {pid}; `asof umount` ends it"));
    }
    Ok(Status::Done)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    // A URL stays as it is.
    if path.to_str().is_some_and(|path| path.contains("://")) {
        return Ok(path.to_path_buf());
    }
    std::path::absolute(path).map_err(|error| Error::from(error).at(path.display()))
}

fn serve(
    args: &MountArgs,
    context: &Context,
    database: &Path,
    directory: &Path,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Arc<Place>> {
    let mut options = context.options();
    if let Some(bytes) = args.cache_size {
        options.view_cache_bytes = bytes;
    }
    let database = context.open_read_only_with(database, options)?;
    let defaults = MountOptions::default();
    let options = MountOptions {
        at: args.at.clone(),
        allow_other: args.allow_other,
        uid: args.uid,
        gid: args.gid,
        mode: args.mode,
        formats: args.formats.clone().unwrap_or(defaults.formats),
        fs_name: args.source.clone(),
        ..MountOptions::default()
    };
    session::serve(context, database, directory, options, ready)
}
