//! A line at the bottom of a terminal that is written anew in its place, below whatever else is said.
//!
//! Invariant: the line is drawn at the cursor's line or not at all, so that what is said goes through [`above`], which
//! takes it away and puts it back, or [`without`], which takes it away.

use crate::print::escape_controls;
use std::io::{Write, stderr};
use std::sync::{Mutex, MutexGuard};

/// Back to the beginning of the line, and nothing in it.
const ERASE: &str = "\r\x1b[2K";
/// Where the terminal does not tell.
const COLUMNS_DEFAULT: usize = 80;

/// The line that is there, if one is.
static DRAWN: Mutex<Option<String>> = Mutex::new(None);

fn drawn() -> MutexGuard<'static, Option<String>> {
    DRAWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Draws the line, instead of the one before.
pub fn draw(text: &str) {
    let mut drawn = drawn();
    let line = cut(&escape_controls(text), columns());
    if drawn.as_deref() != Some(&line) {
        // Nobody to tell it to is no reason to fail.
        let _ = stderr().write_all(format!("{ERASE}{line}").as_bytes());
        *drawn = Some(line);
    }
}

/// Takes the line away.
pub fn erase() {
    if drawn().take().is_some() {
        let _ = stderr().write_all(ERASE.as_bytes());
    }
}

/// Takes the line away, and writes where nobody draws it anew meanwhile: to standard output, which may be the same terminal.
pub fn without<T>(write: impl FnOnce() -> T) -> T {
    let mut drawn = drawn();
    if drawn.take().is_some() {
        let _ = stderr().write_all(ERASE.as_bytes());
    }
    write()
}

/// Writes whole lines to standard error, above the line where there is one.
pub fn above(lines: &str) {
    let drawn = drawn();
    let text = match drawn.as_deref() {
        None => lines.to_string(),
        Some(line) => format!("{ERASE}{lines}{line}"),
    };
    let _ = stderr().write_all(text.as_bytes());
}

/// So many characters as one line holds; one more would begin another.
fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns.saturating_sub(1)).collect()
}

fn columns() -> usize {
    let told = rustix::termios::tcgetwinsize(stderr()).map(|size| usize::from(size.ws_col));
    told.ok().filter(|columns| *columns > 0).unwrap_or(COLUMNS_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_fills_the_terminal() {
        assert_eq!(cut("version 4", 80), "version 4");
        assert_eq!(cut("version 4", 9), "version ");
        assert_eq!(cut("é€𝄞x", 3), "é€");
        assert_eq!(cut("x", 0), "");
    }
}
