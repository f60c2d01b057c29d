//! `verify`: every checksum and invariant, with the damage file by file.

use crate::args::VerifyArgs;
use crate::print::count_text;
use crate::{Context, Result, Status, print};
use std::io::Write;

/// Checks everything; status 4 where there is damage.
pub fn run(args: VerifyArgs, context: &Context) -> Result {
    let report = context.open_read_only(&args.database)?.verify()?;
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
    let verdict = match report.findings.len() as u64 {
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
