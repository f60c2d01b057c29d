//! Saying things to people: times, counters, colours, commits and tables.
//!
//! Invariant: what came from data is never obeyed by a terminal. Escapes are shown escaped on a
//! terminal and left untouched in pipes.

pub mod commit;
pub mod escape;
pub mod grid;
pub mod paint;
pub mod progress;
pub mod rows;
pub mod status_line;
pub mod value;

pub use escape::{EscapingWriter, escape_controls};
pub use paint::Paint;
pub use progress::Progress;

use crate::{Context, Result};
use asof_engine::{CommitTime, Committed, Counters, Counts};
use serde_json::json;
use std::io::Write;

/// A commit time as RFC 3339, UTC, microseconds; "before the first commit" for version 0.
pub fn time_or_start(time: CommitTime) -> String {
    match time {
        CommitTime::MIN => "before the first commit".to_string(),
        time => asof_engine::asof::format_time(time),
    }
}

/// A commit time as JSON: RFC 3339, UTC, microseconds; null for version 0.
pub fn time_json(time: CommitTime) -> serde_json::Value {
    match time {
        CommitTime::MIN => serde_json::Value::Null,
        time => asof_engine::asof::format_time(time).into(),
    }
}

/// `+1 ~2 -3`, without what is zero; `no rows` where all are.
pub fn counts_text(counts: &Counts) -> String {
    let parts: Vec<String> = [('+', counts.inserted), ('~', counts.updated), ('-', counts.deleted)]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(sign, count)| format!("{sign}{count}"))
        .collect();
    if parts.is_empty() { "no rows".to_string() } else { parts.join(" ") }
}

/// A number of bytes for people: `512 B`, `1.2 MB`.
pub fn bytes_text(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        // 999.95 would be written 1000.0.
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// `1 row`, `2 rows`.
pub fn count_text(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Reports a commit that changed a schema: one line, or a JSON document.
pub fn committed(context: &Context, committed: &Committed, what: &str) -> Result<()> {
    if context.json {
        return context.print_json(&json!({
            "version": committed.version.0,
            "time": time_json(committed.time),
            "id": committed.id.to_string(),
            "change": what,
        }));
    }
    let time = time_or_start(committed.time);
    context.say(format_args!("version {} ({time}): {}", committed.version, context.shown(what)))
}

/// Reports what a commit would have done.
pub fn dry_run(context: &Context, what: &str) -> Result<()> {
    if context.json {
        return context.print_json(&json!({"dry_run": true, "change": what}));
    }
    let mut out = context.out();
    writeln!(out, "would {}", context.shown(what))?;
    Ok(out.flush()?)
}

/// Tells the engine's counters on standard error.
pub fn counters(counters: &Counters, json: bool) {
    let mut text = String::new();
    if json {
        text = json!({"counters": asof_engine::json::counters_to_json(counters)}).to_string();
        text.push('\n');
    } else {
        for (class, files) in &counters.files {
            text.push_str(&format!(
                "{class}: {} reads of {} bytes, {} writes of {} bytes, {} syncs\n",
                files.reads, files.bytes_read, files.writes, files.bytes_written, files.syncs
            ));
        }
        text.push_str(&format!(
            "decoded: {} rows, {} pages\n",
            counters.rows_decoded, counters.pages_decoded
        ));
    }
    // Nobody to tell it to is no reason to fail.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds() {
        assert_eq!(time_or_start(CommitTime(1_756_202_400_000_001)), "2025-08-26T10:00:00.000001Z");
        assert_eq!(time_or_start(CommitTime::MIN), "before the first commit");
    }

    #[test]
    fn bytes_have_decimal_units() {
        assert_eq!(bytes_text(0), "0 B");
        assert_eq!(bytes_text(999), "999 B");
        assert_eq!(bytes_text(1000), "1.0 kB");
        assert_eq!(bytes_text(999_960), "1.0 MB");
        assert_eq!(bytes_text(u64::MAX), "18446744.1 TB");
    }

    #[test]
    fn counts_leave_out_zeros() {
        assert_eq!(counts_text(&Counts { inserted: 1, updated: 0, deleted: 3 }), "+1 -3");
        assert_eq!(counts_text(&Counts::default()), "no rows");
    }
}
