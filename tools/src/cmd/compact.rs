//! `compact`: what is to be rewritten so that any version reads fast, with reasons; `--execute` does it.

use crate::args::CompactArgs;
use crate::print::grid::Grid;
use crate::print::{Progress, bytes_text, count_text};
use crate::{Context, Error, Result, Status, interrupt};
use asof_engine::compact::policy::Reason;
use asof_engine::compact::{CompactionReport, CompactionStep, Parameters};
use asof_engine::{Database, ErrorKind};
use serde_json::{Value, json};
use std::io::Write;

/// Prints the plan, or does it.
pub fn run(args: CompactArgs, context: &Context) -> Result {
    if args.order_by.is_some() {
        let message = "--order-by is not there yet: data files are in the order of the key; leave it out";
        return Err(Error::usage(message));
    }
    let table = args.table.as_deref();
    if args.execute {
        return execute(&context.open(&args.database)?, table, context);
    }
    let database = context.open_read_only(&args.database)?;
    let steps = database.compact_plan(table, &Parameters::BY_HAND)?;
    if context.json {
        let steps: Vec<Value> = steps.iter().map(|step| step_to_json(step, None)).collect();
        context.print_json(&json!({ "executed": false, "steps": steps }))?;
        return Ok(Status::Done);
    }
    if steps.is_empty() {
        context.say(format_args!("nothing to do: no file is worth being rewritten"))?;
        return Ok(Status::Done);
    }
    let mut grid = Grid::new(&["table", "why", ">files", ">rows", ">dead", ">bytes"]);
    for CompactionStep { table, step, .. } in &steps {
        grid.add(vec![
            context.shown(table).into_owned(),
            reason_text(step.reason).to_string(),
            if step.inputs.is_empty() { String::new() } else { step.inputs.len().to_string() },
            step.rows.to_string(),
            format!("{:.0} %", step.dead as f64 * 100.0 / step.rows.max(1) as f64),
            bytes_text(step.bytes),
        ]);
    }
    let mut out = context.out();
    write!(out, "{grid}")?;
    out.flush()?;
    let bytes = bytes_text(steps.iter().map(|step| step.step.bytes).sum());
    context.say(format_args!("to read and write: about {bytes}; --execute does it"))?;
    Ok(Status::Done)
}

fn execute(database: &Database, table: Option<&str>, context: &Context) -> Result {
    // An unknown table is refused before anything is done.
    database.compact_plan(table, &Parameters::BY_HAND)?;
    let interrupted = interrupt::flag()?;
    database.checkpoint()?;
    let mut done: Vec<(CompactionStep, CompactionReport)> = Vec::new();
    let mut damaged: Vec<(String, asof_engine::Error)> = Vec::new();
    // What was rewritten may be worth merging: planned again until nothing is left.
    loop {
        let before = done.len();
        let steps = database.compact_plan(table, &Parameters::BY_HAND)?;
        // Rows are read twice: when they lived, then all of them.
        let rows = || steps.iter().map(|step| 2 * step.step.rows).sum();
        let progress = Progress::rows(context, "rewrote", rows);
        let mut pace = progress.pace(&interrupted);
        for step in steps.iter().cloned() {
            if interrupted.is_set() {
                break;
            }
            if damaged.iter().any(|(known, _)| *known == step.table) {
                continue;
            }
            let report = match database.compact_step(&step, &mut pace) {
                Ok(Some(report)) => report,
                Ok(None) => continue,
                Err(_) if interrupted.is_set() => break,
                // The other tables are compacted all the same.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    damaged.push((step.table.clone(), error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !context.json && step.step.reason == Reason::MergeEnds {
                context.say(format_args!(
                    "{}: {}: {}, now {}",
                    context.shown(&step.table),
                    reason_text(step.step.reason),
                    bytes_text(step.step.bytes),
                    bytes_text(report.bytes_written),
                ))?;
            } else if !context.json {
                context.say(format_args!(
                    "{}: {}: {} of {} in {}, now {}",
                    context.shown(&step.table),
                    reason_text(step.step.reason),
                    count_text(report.rows, "row version"),
                    bytes_text(report.bytes_read),
                    count_text(report.files_read, "file"),
                    bytes_text(report.bytes_written),
                ))?;
            }
            done.push((step, report));
        }
        if done.len() == before || interrupted.is_set() {
            break;
        }
    }
    if !done.is_empty() {
        database.release_files()?;
    }
    let stopped = interrupted.is_set();
    if context.json {
        let steps: Vec<Value> = done.iter().map(|(step, report)| step_to_json(step, Some(report))).collect();
        context.print_json(&json!({ "executed": true, "stopped": stopped, "steps": steps }))?;
    } else if done.is_empty() && damaged.is_empty() && !stopped {
        context.say(format_args!("nothing to do: no file is worth being rewritten"))?;
    }
    if let Some((name, error)) = damaged.into_iter().next() {
        return Err(error.at(format_args!("table {name} is not compacted")).into());
    }
    match stopped {
        true => Err(Error::failed("stopped; what is left is done by the next run")),
        false => Ok(Status::Done),
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Separate => "part dead rows from living ones",
        Reason::MergeLive => "merge small files of living rows",
        Reason::MergeHistory => "merge small files of dead rows",
        Reason::MergeEnds => "merge ends files",
        Reason::Gone => "drop rows that no version shows any more",
    }
}

fn step_to_json(step: &CompactionStep, report: Option<&CompactionReport>) -> Value {
    let reason = match step.step.reason {
        Reason::Separate => "separate",
        Reason::MergeLive => "merge_live",
        Reason::MergeHistory => "merge_history",
        Reason::MergeEnds => "merge_ends",
        Reason::Gone => "gone",
    };
    let mut value = json!({
        "table": step.table,
        "reason": reason,
        "files": step.step.inputs,
        "rows": step.step.rows,
        "dead_rows": step.step.dead,
        "bytes": step.step.bytes,
    });
    if let Some(report) = report {
        value["files_written"] = report.files_written.into();
        value["bytes_written"] = report.bytes_written.into();
    }
    value
}
