//! A commit, for people: in full, or as one line.

use crate::print::{Paint, counts_text, time_or_start};
use crate::{Context, Result};
use asof_engine::text::hex;
use asof_engine::{CommitInfo, Counts, Database, Version};
use std::collections::BTreeMap;
use std::io::Write;

/// How commits are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One JSON document a line.
    Json,
    /// One line.
    Line,
    /// Several lines.
    Full,
}

/// Shows commits, with the tags that name them.
pub struct CommitPrinter<'a> {
    context: &'a Context,
    database: &'a Database,
    style: Style,
    tags: BTreeMap<Version, Vec<String>>,
    printed: bool,
}

impl<'a> CommitPrinter<'a> {
    /// Shows commits of a database.
    pub fn new(context: &'a Context, database: &'a Database, style: Style) -> Result<CommitPrinter<'a>> {
        let mut printer = CommitPrinter { context, database, style, tags: BTreeMap::new(), printed: false };
        printer.reload_tags()?;
        Ok(printer)
    }

    /// Looks again which tags there are.
    pub fn reload_tags(&mut self) -> Result<()> {
        self.tags.clear();
        let tags = match self.database.tags() {
            // Behind damage of the log nobody knows what became of them; commits are shown all the same.
            Err(error) if error.kind() == asof_engine::ErrorKind::Corrupt => Vec::new(),
            tags => tags?,
        };
        for tag in tags {
            self.tags.entry(tag.version).or_default().push(tag.name);
        }
        Ok(())
    }

    /// Shows one commit.
    pub fn print(&mut self, out: &mut dyn Write, info: &CommitInfo) -> Result<()> {
        let tags = self.tags.get(&info.version).map(Vec::as_slice).unwrap_or_default();
        match self.style {
            Style::Json => {
                let snapshot = self.database.snapshot(info.version);
                let readable = snapshot.is_ok_and(|snapshot| snapshot.gone_tables().is_empty());
                let value = asof_engine::json::commit_info_to_json(info, tags, readable);
                serde_json::to_writer(&mut *out, &value)?;
                writeln!(out)?;
            }
            Style::Line => self.print_line(out, info, tags)?,
            Style::Full => {
                if self.printed {
                    writeln!(out)?;
                }
                self.print_full(out, info, tags)?;
            }
        }
        self.printed = true;
        Ok(())
    }

    fn print_line(&self, out: &mut dyn Write, info: &CommitInfo, tags: &[String]) -> Result<()> {
        let paint = Paint::new(self.context.colors_stdout());
        let version = paint.yellow(&info.version.to_string());
        write!(out, "{version} {}", time_or_start(info.time))?;
        if !tags.is_empty() {
            let tags = format!("({})", self.context.shown(&tags.join(", ")));
            write!(out, " {}", paint.green(&tags))?;
        }
        let first_line = info.message.as_deref().unwrap_or("").lines().next().unwrap_or("");
        let what = if first_line.is_empty() { describe(info) } else { first_line.to_string() };
        write!(out, " {}", self.context.shown(&what))?;
        for (table, counts) in &info.tables {
            let schema_alone = *counts == Counts::default()
                && first_line.is_empty()
                && info.schema_changes.iter().any(|(changed, _)| changed == table);
            if schema_alone {
                continue;
            }
            write!(out, " [{} {}]", self.context.shown(table), counts_text(counts))?;
        }
        Ok(writeln!(out)?)
    }

    fn print_full(&self, out: &mut dyn Write, info: &CommitInfo, tags: &[String]) -> Result<()> {
        let shown = |text: &str| self.context.shown(text).into_owned();
        let paint = Paint::new(self.context.colors_stdout());
        write!(out, "{}", paint.yellow(&format!("version {}", info.version)))?;
        if !tags.is_empty() {
            write!(out, " {}", paint.green(&format!("({})", shown(&tags.join(", ")))))?;
        }
        writeln!(out)?;
        writeln!(out, "Time:      {}", time_or_start(info.time))?;
        if info.wall_time != info.time {
            writeln!(out, "Made:      {}", time_or_start(info.wall_time))?;
        }
        let user = format!("{}@{}", info.os_user, info.host);
        let author = info.author.as_ref().map_or(user.clone(), |author| format!("{author} ({user})"));
        writeln!(out, "Author:    {}", shown(&author))?;
        let parameters: Vec<String> =
            info.parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
        writeln!(
            out,
            "Operation: {}",
            shown(format!("{} {}", info.operation, parameters.join(" ")).trim_end())
        )?;
        for (key, value) in &info.meta {
            writeln!(out, "Meta:      {}", shown(&format!("{key}={value}")))?;
        }
        for (table, counts) in &info.tables {
            writeln!(out, "Table:     {} {}", paint.cyan(&shown(table)), counts_text(counts))?;
        }
        for (table, change) in &info.schema_changes {
            writeln!(out, "Schema:    {} {}", paint.cyan(&shown(table)), shown(change))?;
        }
        if let Some(message) = &info.message {
            writeln!(out)?;
            for line in message.lines() {
                writeln!(out, "    {}", shown(line))?;
            }
        }
        Ok(())
    }

    /// What only `show` tells: ids and digests.
    pub fn print_ids(&self, out: &mut dyn Write, info: &CommitInfo) -> Result<()> {
        writeln!(out)?;
        writeln!(out, "Commit id:      {}", info.id)?;
        if let Some(id) = &info.client_id {
            writeln!(out, "Id given:       {}", self.context.shown(id))?;
        }
        let blind = if info.blind_append { ", blind append" } else { "" };
        writeln!(out, "Read version:   {} ({}{blind})", info.read_version, info.isolation)?;
        writeln!(out, "Content digest: {}", hex(&info.content_digest))?;
        Ok(writeln!(out, "Chain digest:   {}", hex(&info.chain_digest))?)
    }
}

/// What a commit did, on one line: when, who, and why.
pub fn headline(info: &CommitInfo, what: &str) -> String {
    let (time, who, why) = (time_or_start(info.time), info.who(), info.why());
    format!("version {} {time} {what} by {who}: {why}", info.version)
}

/// What a commit without message did: the operation with the files it took in, and the schemas it changed.
fn describe(info: &CommitInfo) -> String {
    let mut what = info.operation.clone();
    if let Some(files) = info.parameters.get("files").or_else(|| info.parameters.get("file")) {
        what.push_str(&format!(" {files}"));
    }
    let mut table_before = None;
    for (table, change) in &info.schema_changes {
        let part = match table_before {
            Some(before) if before == table => format!(", {change}"),
            Some(_) => format!("; {table}: {change}"),
            None => format!(" {table}: {change}"),
        };
        what.push_str(&part);
        table_before = Some(table);
    }
    what
}
