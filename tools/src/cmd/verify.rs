//! `verify`: every checksum and invariant, with the damage file by file.

use crate::args::VerifyArgs;
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
        let offset = finding.offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
        writeln!(out, "{}{offset}: {}", context.shown(&finding.file), context.shown(&finding.message))?;
    }
    let verdict = match report.findings.len() {
        0 => "no damage".to_string(),
        1 => "1 finding".to_string(),
        count => format!("{count} findings"),
    };
    writeln!(
        out,
        "{verdict}: {} versions, {} row versions, {} log records, {} files, {}",
        report.versions,
        report.rows,
        report.records,
        report.files,
        print::bytes_text(report.bytes)
    )?;
    out.flush()?;
    Ok(status)
}
