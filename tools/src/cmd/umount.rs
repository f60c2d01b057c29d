//! `umount`: ends a mount, also one whose process is gone.

use crate::args::UmountArgs;
use crate::{Context, Result, Status};
use serde_json::json;

/// Ends a mount.
pub fn run(args: UmountArgs, context: &Context) -> Result {
    asof_fuse::umount(&args.directory)?;
    if context.json {
        context.print_json(&json!({"unmounted": args.directory}))?;
    } else {
        context.note(format_args!("unmounted {}", args.directory.display()));
    }
    Ok(Status::Done)
}
