//! `verify`: every checksum and invariant, with the damage file by file; and the salvage of a damaged log.

use crate::args::VerifyArgs;
use crate::print::{Progress, count_text};
use crate::{Context, Result, Status, print};
use asof_engine::Database;
use std::io::Write;

/// Checks everything; status 4 where there is damage.
pub fn run(args: VerifyArgs, context: &Context) -> Result {
    if args.salvage {
        salvage(&args, context)?;
    }
    let database = context.open_read_only(&args.database)?;
    let progress = Progress::reading(context, &database, || rows_to_read(&database, args.sample));
    let report = match args.sample {
        Some(percent) => database.verify_sample(percent)?,
        None => database.verify()?,
    };
    drop(progress);
    let status = if report.findings.is_empty() { Status::Done } else { Status::Damaged };
    if context.json {
        context.print_json(&asof_engine::json::verify_to_json(&report))?;
        return Ok(status);
    }
    let mut out = context.out();
    for finding in &report.findings {
        let place = finding.offset.map(|offset| format!("at offset {offset}")).unwrap_or_default();
        // Messages of damaged files say where themselves.
        let place = if finding.message.contains(&place) { String::new() } else { format!(" {place}") };
        writeln!(out, "{}{place}: {}", context.shown(&finding.file), context.shown(&finding.message))?;
    }
    for (file, bytes) in &report.aside {
        let bytes = print::bytes_text(*bytes);
        writeln!(
            out,
            "{file}: {bytes} that a salvage cut off the log; nothing reads it, and it may be removed"
        )?;
    }
    let verdict = match report.findings.len() as u64 {
        0 if report.sampled_percent.is_some() => "no damage in the sample".to_string(),
        0 => "no damage".to_string(),
        count => count_text(count, "finding"),
    };
    writeln!(
        out,
        "{verdict}: {}, {}, {}, {}, {}",
        count_text(report.versions, "version"),
        count_text(report.rows, "row version"),
        count_text(report.records, "log record"),
        count_text(report.files, "file"),
        print::bytes_text(report.bytes)
    )?;
    out.flush()?;
    Ok(status)
}

/// Every row version, or a share of them; then, where all are looked at, those once more that the newest version shows.
fn rows_to_read(database: &Database, sample: Option<f64>) -> u64 {
    let all = database.row_versions(None);
    if let Some(percent) = sample {
        return (all as f64 * percent / 100.0) as u64;
    }
    let visible = || -> asof_engine::Result<u64> {
        let snapshot = database.snapshot(database.latest()?)?;
        let names = snapshot.table_names()?;
        names.iter().map(|name| snapshot.table(name).map(|table| table.rows)).sum()
    };
    // What is damaged is told by the check.
    all + visible().unwrap_or(0)
}

/// Cuts a damaged log before its damage, and says so. What is left is verified as ever.
fn salvage(args: &VerifyArgs, context: &Context) -> Result<()> {
    let salvaged = context.open(&args.database)?.salvage()?;
    match salvaged {
        None => context.note("nothing to salvage: the log is whole"),
        Some(salvaged) => context.note(format_args!(
            "{}; kept everything up to version {}, put the rest aside",
            salvaged.damage, salvaged.version
        )),
    }
    Ok(())
}
