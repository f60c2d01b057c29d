//! What retention lets go is in an archive first, if one is named.
//!
//! Invariant. The engine settles what is in the log, then all of that is shipped, and a run lets go nothing that ended
//! after the newest version that the archive holds then: what is committed and settled meanwhile stays. Every object of the
//! archive is there by then, in its size.

use super::RetainArgs;
use crate::interrupt::Interrupted;
use crate::{Context, Result};
use asof_engine::{Database, Version};
use serde_json::Value;

/// What an archive holds now.
pub struct Archived {
    /// Its newest version.
    pub version: Version,
    /// What was shipped for it.
    pub json: Value,
}

/// An archive before anything is shipped.
pub struct Looked {
    /// What it lacks, for programs.
    pub json: Value,
    /// The same for people.
    pub text: String,
}

/// Without archives there is no option that names one.
#[cfg(not(feature = "archive"))]
pub fn ship(_: &RetainArgs, _: &Database, _: &Interrupted, _: &Context) -> Result<Option<Archived>> {
    Ok(None)
}

/// Without archives there is no option that names one.
#[cfg(not(feature = "archive"))]
pub fn look(_: &RetainArgs, _: &Database) -> Result<Option<Looked>> {
    Ok(None)
}

#[cfg(feature = "archive")]
pub use named::{look, ship};

#[cfg(feature = "archive")]
mod named {
    use super::*;
    use crate::Error;
    use crate::cmd::archive::{shipped_text, shipped_to_json};
    use crate::print::{Progress, bytes_text, count_text, time_json};
    use asof_archive::{Archiver, Behind, status};
    use asof_engine::{CommitTime, ErrorKind};
    use serde_json::json;

    /// Ships everything, so that whatever can be read now can be read there.
    pub fn ship(
        args: &RetainArgs,
        database: &Database,
        interrupted: &Interrupted,
        context: &Context,
    ) -> Result<Option<Archived>> {
        let Some(to) = &args.archive_to else { return Ok(None) };
        database.checkpoint()?;
        // A handle of its own, which has gone when files go: it keeps those that it reads by.
        let reader = Database::open_read_only(database.path(), context.options())?;
        let (mut archiver, made) = Archiver::open(to, reader.clone())?;
        if made {
            context.note(format_args!("made the archive {}", to.display()));
        }
        // Where another process follows the database, nothing is left to ship, and nobody gets into its way.
        let before = status(to, &reader)?;
        let shipped = match before.is_same && before.behind.versions == 0 && before.index.shipments > 0 {
            true => None,
            false => archiver.ship(&Progress::bytes(context, "shipped").watch(interrupted.clone()))?,
        };
        // What was shipped long ago may have been lost since.
        archiver.check_objects()?;
        let Some(shipped) = shipped else {
            let time = before.index.end().map(|end| time_json(CommitTime(end.time)));
            let version = before.index.version();
            let json = json!({"shipment": null, "version": version, "time": time});
            return Ok(Some(Archived { version: Version(version), json }));
        };
        if !context.json {
            context.say(shipped_text(&shipped))?;
        }
        Ok(Some(Archived { version: shipped.version, json: shipped_to_json(&shipped) }))
    }

    /// Looks how far an archive is behind; an error where it is that of another database.
    pub fn look(args: &RetainArgs, database: &Database) -> Result<Option<Looked>> {
        let Some(to) = &args.archive_to else { return Ok(None) };
        let place = to.display();
        let newest = database.latest()?.0;
        let found = match status(to, database) {
            Ok(found) if !found.is_same => {
                let message = format!(
                    "{place} is the archive of another database, or of one that went another way: name another place"
                );
                return Err(Error::failed(message));
            }
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let Behind { versions, bytes, .. } =
            found.as_ref().map_or(Behind { versions: newest, ..Behind::default() }, |found| found.behind);
        let text = match &found {
            None => format!("archive: {place} is made first, with everything up to version {newest}"),
            Some(_) if versions == 0 => format!("archive: {place} has everything; nothing is shipped"),
            Some(_) => format!(
                "archive: {place} is behind by {}, which are shipped first, with {} of log",
                count_text(versions, "version"),
                bytes_text(bytes)
            ),
        };
        let version = found.as_ref().and_then(|found| found.index.end()).map(|end| end.version);
        let json = json!({
            "shipment": null,
            "version": version,
            "behind": {"versions": versions, "bytes": bytes},
        });
        Ok(Some(Looked { json, text }))
    }
}
