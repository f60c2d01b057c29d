//! Data made safe for a terminal: control characters and marks that turn the direction of text are
//! written as escapes.

use std::borrow::Cow;
use std::io::{self, Write};

/// Whether a character could steer a terminal or disorder a line.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Control characters written as escapes: `\n`, `\x1b`, `\u{202e}`.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// As [`escape_controls`], leaving some characters alone.
fn escape_but(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let escapes = |c: char| steers(c) && !keeps(c);
    if !text.contains(escapes) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !escapes(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_ascii() => escaped.push_str(&format!("\\x{:02x}", c as u32)),
            c => escaped.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    Cow::Owned(escaped)
}

/// Passes text on with its control characters escaped, line feeds and tabs apart. A character may be
/// cut by the end of a write; bytes that are no UTF-8 are shown as `\x..`.
#[derive(Debug)]
pub struct EscapingWriter<W: Write> {
    out: W,
    /// The beginning of a character whose rest is still to come: at most three bytes.
    cut: Vec<u8>,
}

impl<W: Write> EscapingWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> EscapingWriter<W> {
        EscapingWriter { out, cut: Vec::new() }
    }

    fn write_bytes_as_escapes(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.iter().try_for_each(|byte| write!(self.out, "\\x{byte:02x}"))
    }
}

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut joined = std::mem::take(&mut self.cut);
        joined.extend_from_slice(buf);
        let mut rest = joined.as_slice();
        while !rest.is_empty() {
            let (text, bad_bytes, cut) = match std::str::from_utf8(rest) {
                Ok(text) => (text, 0, false),
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    let text = std::str::from_utf8(good).expect("it was just found to be valid up to there");
                    (text, error.error_len().unwrap_or(bad.len()), error.error_len().is_none())
                }
            };
            self.out.write_all(escape_but(text, |c| matches!(c, '\n' | '\t')).as_bytes())?;
            let (bad, after) = rest[text.len()..].split_at(bad_bytes);
            if cut {
                self.cut = bad.to_vec();
            } else {
                self.write_bytes_as_escapes(bad)?;
            }
            rest = after;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
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
    fn characters_cut_by_the_end_of_a_write_stay_whole() {
        let text = "ü\x1b€\u{9b}𝄞\r\n\tx".as_bytes();
        for size in 1..=text.len() {
            let mut out = Vec::new();
            let mut writer = EscapingWriter::new(&mut out);
            for chunk in text.chunks(size) {
                writer.write_all(chunk).unwrap();
            }
            assert_eq!(String::from_utf8(out).unwrap(), "ü\\x1b€\\u{9b}𝄞\\r\n\tx");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        let mut out = Vec::new();
        EscapingWriter::new(&mut out).write_all(b"a\xffb\xc3(").unwrap();
        assert_eq!(out, b"a\\xffb\\xc3(");
    }
}
