//! Saying things to people: times, counters, and data made safe for a terminal.

use asof_engine::{CommitTime, Counters};
use std::borrow::Cow;
use std::io::Write;

/// A commit time as RFC 3339, UTC, microseconds; "before all commits" for version 0.
pub fn time_or_start(time: CommitTime) -> String {
    match time {
        CommitTime::MIN => "before the first commit".to_string(),
        time => time_text(time),
    }
}

/// A commit time as RFC 3339, UTC, microseconds.
pub fn time_text(time: CommitTime) -> String {
    match jiff::Timestamp::from_microsecond(time.0) {
        Ok(timestamp) => format!("{timestamp:.6}"),
        Err(_) => format!("@{}us", time.0),
    }
}

/// Whether a character could steer a terminal or disorder a line: control characters, and the marks that turn the
/// direction of text.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Control characters written as escapes.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if (c as u32) < 0x80 && steers(c) => escaped.push_str(&format!("\\x{:02x}", c as u32)),
            c if steers(c) => escaped.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Tells the engine's counters on standard error.
pub fn counters(counters: &Counters) {
    let mut text = String::new();
    for (class, files) in &counters.files {
        text.push_str(&format!(
            "{class}: {} reads of {} bytes, {} writes of {} bytes, {} syncs\n",
            files.reads, files.bytes_read, files.writes, files.bytes_written, files.syncs
        ));
    }
    text.push_str(&format!("decoded: {} rows, {} pages\n", counters.rows_decoded, counters.pages_decoded));
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_data_are_shown_and_not_obeyed() {
        assert_eq!(escape_controls("a\x1b[31mb\n\u{9b}\u{202e}"), "a\\x1b[31mb\\n\\u{9b}\\u{202e}");
        assert!(matches!(escape_controls("Zürich"), Cow::Borrowed("Zürich")));
    }

    #[test]
    fn times_have_microseconds() {
        assert_eq!(time_text(CommitTime(1_756_202_400_000_001)), "2025-08-26T10:00:00.000001Z");
        assert_eq!(time_or_start(CommitTime::MIN), "before the first commit");
    }
}
