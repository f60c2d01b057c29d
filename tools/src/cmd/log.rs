//! `log`: commits, newest first; with `--follow`, as they come.

use crate::args::LogArgs;
use crate::print::commit::{CommitPrinter, Style};
use crate::{Context, Result, Status, interrupt};
use asof_engine::{AsOf, CommitInfo, CommitTime, Database, Version};
use std::io::Write;
use std::time::Duration;

/// How long `--follow` waits before it looks again.
const FOLLOW_PERIOD: Duration = Duration::from_millis(50);

/// Prints commits.
pub fn run(args: LogArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let style = match (context.json, args.oneline) {
        (true, _) => Style::Json,
        (false, true) => Style::Line,
        (false, false) => Style::Full,
    };
    let mut printer = CommitPrinter::new(context, &database, style)?;
    let wanted = Wanted::new(&args);
    if args.follow {
        return follow(&args, context, &database, &wanted, &mut printer);
    }
    let (last, damage) = match &args.until {
        Some(expression) => (context.resolve(&database, expression)?.version, None),
        None => database.readable()?,
    };
    let mut out = context.out();
    let mut left = args.limit.unwrap_or(u64::MAX);
    for version in candidates(&args, context, &database, last)? {
        if left == 0 {
            break;
        }
        let info = database.commit_info(version)?;
        if wanted.has(&info) {
            printer.print(&mut out, &info)?;
            left -= 1;
        }
    }
    out.flush()?;
    // Told of behind what can be read.
    damage.map_or(Ok(Status::Done), |error| Err(error.into()))
}

/// The versions to look at, newest first, the table's alone where one is named.
fn candidates(
    args: &LogArgs,
    context: &Context,
    database: &Database,
    last: Version,
) -> Result<Box<dyn Iterator<Item = Version>>> {
    let first = match &args.since {
        Some(expression) => first_since(context, database, expression)?,
        None => Version(1),
    };
    let Some(table) = &args.table else {
        return Ok(Box::new((first.0..=last.0).rev().map(Version)));
    };
    let after = first.previous().unwrap_or(Version::ZERO);
    let versions = if after < last { database.table_versions(table, after, last)? } else { Vec::new() };
    if versions.is_empty() && database.table_versions(table, Version::ZERO, last)?.is_empty() {
        // No such table ever: the error names those there are.
        database.snapshot(last)?.table(table)?;
    }
    Ok(Box::new(versions.into_iter().rev()))
}

/// The first version that `--since` means: the one an expression names, or the first at or after the time it gives.
fn first_since(context: &Context, database: &Database, expression: &str) -> Result<Version> {
    let asof = AsOf::parse(expression, &context.tz)?;
    let resolved = database.resolve(&asof)?;
    context.echo_resolved(expression, &resolved);
    let time = match &asof {
        AsOf::Time(time) => *time,
        AsOf::Relative(relative) => relative.instant(database.options().clock.now()),
        AsOf::Before(_) => return Ok(resolved.version.next()),
        AsOf::Version(_) | AsOf::Latest { .. } | AsOf::Tag(_) | AsOf::Previous(_) | AsOf::Commit(_) => {
            return Ok(resolved.version.max(Version(1)));
        }
    };
    Ok(if resolved.time == time && time != CommitTime::MIN {
        resolved.version
    } else {
        resolved.version.next()
    })
}

fn follow(
    args: &LogArgs,
    context: &Context,
    database: &Database,
    wanted: &Wanted,
    printer: &mut CommitPrinter,
) -> Result {
    let interrupted = interrupt::flag()?;
    let mut seen = database.refresh()?;
    let mut out = context.out();
    let earlier: Vec<CommitInfo> = match (args.limit, &args.since) {
        (None, None) => Vec::new(),
        (limit, _) => {
            let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
            candidates(args, context, database, seen)?
                .map(|version| database.commit_info(version))
                .filter(|info| info.as_ref().map_or(true, |info| wanted.has(info)))
                .take(limit)
                .collect::<std::result::Result<_, _>>()?
        }
    };
    for info in earlier.iter().rev() {
        printer.print(&mut out, info)?;
    }
    out.flush()?;
    while !interrupted.is_set() {
        let latest = database.refresh()?;
        if latest > seen {
            printer.reload_tags()?;
        }
        while seen < latest {
            seen = seen.next();
            let info = database.commit_info(seen)?;
            if wanted.has(&info) {
                printer.print(&mut out, &info)?;
                out.flush()?;
            }
        }
        if interrupt::stdout_closed_within(FOLLOW_PERIOD) {
            break;
        }
    }
    Ok(Status::Done)
}

/// Which commits are shown: those that all that was asked for is true of.
struct Wanted {
    table: Option<String>,
    author: Option<String>,
    operation: Option<String>,
    message: Option<String>,
    meta: Vec<(String, String)>,
}

impl Wanted {
    fn new(args: &LogArgs) -> Wanted {
        let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_lowercase());
        Wanted {
            table: args.table.clone(),
            author: lower(&args.author),
            operation: args.operation.as_deref().map(joined),
            message: lower(&args.grep),
            meta: args.meta.clone(),
        }
    }

    fn has(&self, info: &CommitInfo) -> bool {
        let within = |wanted: &Option<String>, texts: &[Option<&str>]| {
            wanted.as_ref().is_none_or(|wanted| {
                texts.iter().flatten().any(|text| text.to_lowercase().contains(wanted.as_str()))
            })
        };
        self.has_table(info)
            && self.has_operation(info)
            && within(&self.author, &[info.author.as_deref(), Some(&info.os_user)])
            && within(&self.message, &[info.message.as_deref()])
            && self.meta.iter().all(|(key, value)| info.meta.get(key) == Some(value))
    }

    fn is_of_table(&self, table: &String) -> bool {
        self.table.as_ref().is_none_or(|wanted| wanted == table)
    }

    fn has_table(&self, info: &CommitInfo) -> bool {
        let changed = info.schema_changes.iter().map(|(table, _)| table);
        self.table.is_none() || info.tables.keys().chain(changed).any(|table| self.is_of_table(table))
    }

    /// Whether the commit was made by the operation, or changed a schema so, whatever it was made by: of the table alone
    /// where one is named.
    fn has_operation(&self, info: &CommitInfo) -> bool {
        let Some(wanted) = &self.operation else { return true };
        let mut changes = info.schema_changes.iter().filter(|(table, _)| self.is_of_table(table));
        joined(&info.operation) == *wanted || changes.any(|(_, change)| schema_operation(change) == *wanted)
    }
}

/// A schema change by the name of an operation: `add-column`, `drop-table`, `set-key`.
fn schema_operation(change: &str) -> String {
    change.split(' ').take(2).collect::<Vec<_>>().join("-")
}

/// The name of an operation as one lowercase word.
fn joined(operation: &str) -> String {
    operation.to_lowercase().replace([' ', '_'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_change_has_the_name_of_an_operation() {
        for (change, operation) in [
            ("add column drop table", "add-column"),
            ("rename column a to b", "rename-column"),
            ("create table", "create-table"),
            ("set key (id)", "set-key"),
        ] {
            assert_eq!(schema_operation(change), operation);
        }
        assert_eq!(joined("Create Table"), "create-table");
    }
}
