//! `tag`: names for versions, made, moved, removed and listed.

use crate::args::TagArgs;
use crate::print::Progress;
use crate::print::grid::Grid;
use crate::{Context, Error, Result, Status, print};
use asof_engine::json::tag_to_json;
use asof_engine::{AsOf, CommitTime, Database, Tag};
use jiff::{Span, Timestamp};
use serde_json::json;
use std::collections::HashMap;
use std::io::Write;

/// Makes, moves, removes or lists tags.
pub fn run(args: TagArgs, context: &Context) -> Result {
    match &args.name {
        Some(name) if args.delete => delete(&args, name, context),
        Some(name) if !args.list => make(&args, name, context),
        prefix => list(&args, prefix.as_deref().unwrap_or(""), context),
    }
}

fn list(args: &TagArgs, prefix: &str, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let mut tags = database.tags()?;
    tags.retain(|tag| tag.name.starts_with(prefix));
    let costs = if args.cost { Some(costs(&database, context)?) } else { None };
    let cost_of = |tag: &Tag| costs.as_ref().map(|costs| costs.get(&tag.name).copied().flatten());
    let mut out = context.out();
    if context.json {
        for tag in &tags {
            let mut document = tag_to_json(tag);
            if let Some(bytes) = cost_of(tag) {
                document["bytes"] = bytes.into();
            }
            serde_json::to_writer(&mut out, &document)?;
            writeln!(out)?;
        }
    } else if !tags.is_empty() {
        let cost = args.cost.then_some(">only it keeps");
        let heads = ["tag", ">version", "made", "ends"].into_iter().chain(cost).chain(["message"]);
        let mut grid = Grid::new(&heads.collect::<Vec<_>>());
        for tag in &tags {
            let cost = cost_of(tag).map(|bytes| bytes.map_or("no policy".to_string(), print::bytes_text));
            let mut cells = vec![
                context.shown(&tag.name).into_owned(),
                tag.version.to_string(),
                print::time_or_start(tag.created),
                tag.expires.map_or("never".to_string(), print::time_or_start),
            ];
            cells.extend(cost);
            cells.push(context.shown(tag.message.as_deref().unwrap_or("")).into_owned());
            grid.add(cells);
        }
        write!(out, "{grid}")?;
    }
    out.flush()?;
    Ok(Status::Done)
}

/// Bytes that each tag alone keeps; none without a policy, which would let them go.
fn costs(database: &Database, context: &Context) -> Result<HashMap<String, Option<u64>>> {
    let _progress = Progress::reading(context, database, || database.row_versions(None));
    Ok(database.usage()?.tags.into_iter().map(|tag| (tag.tag, tag.bytes)).collect())
}

fn make(args: &TagArgs, name: &str, context: &Context) -> Result {
    asof_engine::asof::validate_tag_name(name)?;
    let database = context.open(&args.database)?;
    let expression = args.expression.as_deref().unwrap_or("latest");
    let resolved = context.resolve(&database, expression)?;
    let now = database.options().clock.now();
    let expires = args.expires.as_deref().map(|typed| parse_expiry(typed, now, context)).transpose()?;
    let tag = Tag {
        name: name.to_string(),
        version: resolved.version,
        message: args.message.clone(),
        created: now,
        expires,
    };
    let existing = find(&database, name)?;
    if args.dry_run {
        if existing.is_some() && !args.force {
            let text = format!("the tag '{name}' exists; move it with --force");
            return Err(Error::new(Status::Failed, asof_engine::ErrorKind::Exists.code(), text));
        }
        print::dry_run(context, &format!("tag version {} as {name}", tag.version))?;
        return Ok(Status::Done);
    }
    database.tag(tag.clone(), args.force)?;
    let gone = database.snapshot(tag.version)?.gone_tables();
    if !gone.is_empty() {
        let (version, names) = (tag.version, gone.join(", "));
        context.note(format_args!("retention has let go at version {version}: {}", context.shown(&names)));
    }
    if context.json {
        context.print_json(&tag_to_json(&tag))?;
        return Ok(Status::Done);
    }
    let before =
        existing.map(|before| format!(", which named version {}", before.version)).unwrap_or_default();
    context.say(format_args!("{} names version {}{before}", context.shown(name), tag.version))?;
    Ok(Status::Done)
}

fn delete(args: &TagArgs, name: &str, context: &Context) -> Result {
    let database = context.open(&args.database)?;
    let Some(tag) = find(&database, name)? else {
        // The engine's error names the tags there are.
        database.remove_tag(name)?;
        return Err(Error::not_found(format!("there is no tag '{name}'")));
    };
    let what = format!("remove the tag {name}, which names version {}", tag.version);
    if args.dry_run {
        print::dry_run(context, &what)?;
        return Ok(Status::Done);
    }
    database.remove_tag(name)?;
    if context.json {
        context.print_json(&json!({"removed": tag_to_json(&tag)}))?;
        return Ok(Status::Done);
    }
    context.say(format_args!("removed {}, which named version {}", context.shown(name), tag.version))?;
    Ok(Status::Done)
}

fn find(database: &Database, name: &str) -> Result<Option<Tag>> {
    Ok(database.tags()?.into_iter().find(|tag| tag.name == name))
}

/// When a tag ends: a length of time from now, or a time.
fn parse_expiry(typed: &str, now: CommitTime, context: &Context) -> Result<CommitTime> {
    let wrong = |why: String| Error::usage(format!("--expires '{typed}': {why}"));
    let expires = match typed.parse::<Span>() {
        Ok(span) => Timestamp::from_microsecond(now.0)
            .and_then(|now| now.to_zoned(context.tz.clone()).checked_add(span))
            .map(|at| CommitTime(at.timestamp().as_microsecond()))
            .map_err(|error| wrong(error.to_string()))?,
        Err(_) => match AsOf::parse(typed, &context.tz) {
            Ok(AsOf::Time(time)) => time,
            _ => return Err(wrong("is neither a length of time (30d) nor a time (2027-01-01)".to_string())),
        },
    };
    if expires <= now {
        return Err(wrong("is not in the future".to_string()));
    }
    Ok(expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    #[test]
    fn expiry_is_a_length_of_time_or_a_time() {
        let context = Context::new(&Cli::parse_from(["asof", "info", "x", "--tz", "+02:00"]).globals);
        let now = CommitTime(1_756_202_400_000_000);
        let days = |days: i64| Ok(CommitTime(now.0 + days * 86_400_000_000));
        assert_eq!(parse_expiry("30d", now, &context), days(30));
        assert_eq!(parse_expiry("2w", now, &context), days(14));
        assert_eq!(parse_expiry("2025-08-27T10:00:00Z", now, &context), days(1));
        assert_eq!(parse_expiry("2025-08-27T12:00", now, &context), days(1));
        for bad in ["", "soon", "-1d", "2020-01-01", "42", "latest", "0s"] {
            let status = parse_expiry(bad, now, &context).map_err(|error| error.status());
            assert_eq!(status, Err(Status::Usage), "{bad}");
        }
    }
}
