//! What a commit that brings something back did, would do, or cannot do.

use crate::print::value::value_text;
use crate::print::{Paint, time_or_start};
use crate::{Context, Result};
use asof_engine::arrow::array::Array;
use asof_engine::restore::{Conflicts, RowSample, TableRestored};
use asof_engine::{ChangeType, Committed, Counts, json::row_to_json};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// What was done.
pub struct Report<'a> {
    /// For people.
    pub what: &'a str,
    /// The tables that change.
    pub tables: &'a [TableRestored],
    /// Rows, by table.
    pub counts: &'a BTreeMap<String, Counts>,
    /// The commit, if one was made.
    pub committed: Option<Committed>,
    /// Whether none was to be made.
    pub dry_run: bool,
}

impl Report<'_> {
    /// Prints it: what was done to standard output unless quiet, what would be done in any case.
    pub fn print(&self, context: &Context) -> Result<()> {
        if context.json {
            return context.print_json(&self.to_json()?);
        }
        if self.tables.is_empty() {
            return context.say(format_args!("{}: nothing to change, no version was made", self.what));
        }
        match &self.committed {
            Some(committed) => {
                let time = time_or_start(committed.time);
                let tables: Vec<String> = self.tables.iter().map(|table| self.line(table)).collect();
                let line =
                    format!("version {} ({time}): {}: {}", committed.version, self.what, tables.join("; "));
                context.say(context.shown(&line))
            }
            None => self.print_plan(context),
        }
    }

    fn counts(&self, table: &TableRestored) -> Counts {
        self.counts.get(&table.name).copied().unwrap_or_default()
    }

    fn line(&self, table: &TableRestored) -> String {
        let Counts { inserted, updated, deleted } = self.counts(table);
        let mut line = format!("{}: {inserted} inserted, {updated} updated, {deleted} deleted", table.name);
        if !table.schema_changes.is_empty() {
            line.push_str(&format!(" ({})", table.schema_changes.join(", ")));
        }
        line
    }

    fn print_plan(&self, context: &Context) -> Result<()> {
        let paint = Paint::new(context.colors_stdout());
        let mut out = context.out();
        writeln!(out, "dry run: {}", context.shown(self.what))?;
        for table in self.tables {
            writeln!(out, "{}", context.shown(&self.line(table)))?;
            let mut before: Option<&RowSample> = None;
            for sample in &table.samples {
                let shown = |text: String| context.shown(&text).into_owned();
                let line = match sample.change {
                    ChangeType::Insert => paint.green(&format!("+ {}", shown(row_text(sample)))),
                    ChangeType::Delete => paint.red(&format!("- {}", shown(row_text(sample)))),
                    ChangeType::UpdatePreimage => {
                        before = Some(sample);
                        continue;
                    }
                    ChangeType::UpdatePostimage => {
                        let text = before.take().map_or_else(|| row_text(sample), |b| update_text(b, sample));
                        paint.yellow(&format!("~ {}", shown(text)))
                    }
                };
                writeln!(out, "  {line}")?;
            }
        }
        Ok(out.flush()?)
    }

    fn to_json(&self) -> Result<Value> {
        let mut total = Counts::default();
        self.counts.values().for_each(|counts| total += *counts);
        let mut tables = Map::new();
        for table in self.tables {
            let Counts { inserted, updated, deleted } = self.counts(table);
            let mut value = json!({
                "inserted": inserted,
                "updated": updated,
                "deleted": deleted,
                "schema_changes": table.schema_changes,
            });
            if self.dry_run {
                let samples = table.samples.iter().map(|sample| {
                    json!({"_change_type": sample.change.name(), "row": row_to_json(&sample.schema, &sample.row, 0)})
                });
                value["samples"] = samples.collect();
            }
            tables.insert(table.name.clone(), value);
        }
        let committed = self.committed.as_ref();
        Ok(json!({
            "version": committed.map(|committed| committed.version.0),
            "time": committed.map(|committed| time_or_start(committed.time)),
            "inserted": total.inserted,
            "updated": total.updated,
            "deleted": total.deleted,
            "tables": tables,
            "unchanged": self.tables.is_empty(),
            "dry_run": self.dry_run,
        }))
    }
}

fn pair(sample: &RowSample, index: usize) -> String {
    let column = &sample.schema.columns[index];
    format!("{}={}", column.name, value_text(&column.column_type, &sample.row, index, 0))
}

/// Positions of the key columns, then of the others.
fn places(sample: &RowSample) -> (Vec<usize>, Vec<usize>) {
    let key = sample.schema.key_indexes();
    let others = (0..sample.schema.columns.len()).filter(|index| !key.contains(index)).collect();
    (key, others)
}

fn row_text(sample: &RowSample) -> String {
    let (key, others) = places(sample);
    let there = |index: &usize| !sample.row.column(*index).is_null(0);
    let pairs: Vec<String> =
        key.into_iter().chain(others).filter(there).map(|index| pair(sample, index)).collect();
    pairs.join(", ")
}

fn update_text(before: &RowSample, after: &RowSample) -> String {
    let (key, others) = places(after);
    let key: Vec<String> = key.into_iter().map(|index| pair(after, index)).collect();
    let changed = others.into_iter().filter_map(|index| {
        let column = &after.schema.columns[index];
        let old = value_text(&column.column_type, &before.row, index, 0);
        let new = value_text(&column.column_type, &after.row, index, 0);
        (old != new).then(|| format!("{}: {old} -> {new}", column.name))
    });
    format!("{}  {}", key.join(", "), changed.collect::<Vec<_>>().join(", "))
}

/// Prints what stands against an undo.
pub fn print_conflicts(context: &Context, conflicts: &Conflicts) -> Result<()> {
    if context.json {
        let first = conflicts.first.iter().map(|conflict| {
            let since = conflict.since.iter().map(|(version, who)| json!({"version": version.0, "by": who}));
            json!({
                "table": conflict.table,
                "key": conflict.key,
                "what": conflict.what,
                "since": since.collect::<Vec<_>>(),
            })
        });
        let first: Vec<Value> = first.collect();
        return context.print_json(&json!({"version": null, "conflicts": first, "count": conflicts.count}));
    }
    let mut out = context.out();
    for conflict in &conflicts.first {
        writeln!(out, "{}", context.shown(&conflict.to_string()))?;
    }
    let more = conflicts.count - conflicts.first.len() as u64;
    if more > 0 {
        writeln!(out, "and {more} more")?;
    }
    Ok(out.flush()?)
}
