//! The shell: statements typed one after the other, with history and completion.

use super::Printer;
use crate::args::CatFormat;
use crate::{Error, Result, Status, context};
use asof_sql::{Session, is_complete};
use clap::ValueEnum;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Editor, Helper};
use std::path::PathBuf;
use std::time::Instant;

const HELP: &str = "statements end with a semicolon; the past is read as  SELECT .. FROM t VERSION AS OF 3  or  t AS OF '1h-ago'
.tables            the tables there are
.schema TABLE      the statement that makes a table
.log [N]           the newest commits
.tags              names for versions
.format FORMAT     table, csv, jsonl, json
.timing on|off     how long statements take
.help, .quit       this; the end (also Ctrl-D)";

const KEYWORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "JOIN",
    "LEFT JOIN",
    "USING",
    "INSERT INTO",
    "VALUES",
    "UPDATE",
    "SET",
    "DELETE FROM",
    "MERGE INTO",
    "WHEN MATCHED THEN",
    "WHEN NOT MATCHED THEN",
    "CREATE TABLE",
    "CREATE VIEW",
    "ALTER TABLE",
    "DROP TABLE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "VERSION AS OF",
    "TIMESTAMP AS OF",
    "FOR SYSTEM_TIME AS OF",
    "FOR SYSTEM_TIME ALL",
    "DESCRIBE HISTORY",
    "SHOW TABLES",
    "EXPLAIN",
];

/// Completes words, and asks for more lines until a statement ends.
struct Typing {
    words: Vec<String>,
}

impl Completer for Typing {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(complete(&self.words, line, position))
    }
}

/// Where the word before the cursor begins, and what it may become.
fn complete(words: &[String], line: &str, position: usize) -> (usize, Vec<Pair>) {
    let before = &line[..position];
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || "_.\"@".contains(c)))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let typed = before[start..].to_lowercase();
    if typed.is_empty() {
        return (start, Vec::new());
    }
    let fits =
        |word: &&str| word.to_lowercase().trim_start_matches('"').starts_with(typed.trim_start_matches('"'));
    let words = words.iter().map(String::as_str).chain(KEYWORDS.iter().copied()).filter(fits);
    (start, words.map(|word| Pair { display: word.to_string(), replacement: word.to_string() }).collect())
}

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let typed = context.input().trim();
        let done = typed.is_empty() || typed.starts_with('.') || is_complete(typed);
        Ok(if done { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for Typing {
    type Hint = String;
}

impl Highlighter for Typing {}
impl Helper for Typing {}

/// Where what was typed is kept from one time to the next.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("asof").join("sql_history"))
}

/// Reads statements until there are no more.
pub(super) fn run(session: &mut Session, mut printer: Printer<'_>) -> Result {
    let failed = |error: ReadlineError| Error::failed(format!("the terminal cannot be read: {error}"));
    let mut editor: Editor<Typing, DefaultHistory> = Editor::new().map_err(failed)?;
    editor.set_helper(Some(Typing { words: session.completions() }));
    let history = history_file();
    if let Some(file) = &history {
        if let Some(directory) = file.parent() {
            let _ = std::fs::create_dir_all(directory);
        }
        // Who never was here has none.
        let _ = editor.load_history(file);
    }
    printer.shell = true;
    printer.context.note(format_args!(
        "version {} of {}; .help tells more",
        session.database().latest()?,
        session.database().path().display()
    ));
    loop {
        let prompt = if session.in_transaction() { "asof*> " } else { "asof> " };
        let typed = match editor.readline(prompt) {
            Ok(typed) => typed,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        };
        let typed = typed.trim();
        if typed.is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(typed);
        if let Some(file) = &history {
            let _ = editor.save_history(file);
        }
        if typed == ".quit" || typed == ".exit" {
            break;
        }
        printer.results = 0;
        let done = match typed.strip_prefix('.') {
            Some(command) => dot_command(command, session, &mut printer),
            None => statements(typed, session, &mut printer),
        };
        printer.flush();
        match done {
            Err(error) if error.is_pipe_closed() => return Err(error),
            Err(error) => context::report(&error, printer.context.json),
            Ok(()) => {}
        }
        // Tables, columns and tags may have come.
        if let Some(typing) = editor.helper_mut() {
            typing.words = session.completions();
        }
    }
    if session.in_transaction() {
        printer.context.note(format_args!("the transaction was not committed: rolled back"));
    }
    Ok(Status::Done)
}

fn statements(typed: &str, session: &mut Session, printer: &mut Printer<'_>) -> Result<()> {
    for statement in session.prepare(typed)? {
        let start = Instant::now();
        let outcome = session.execute(&statement).map_err(|error| pointed_at(typed, error))?;
        printer.print(outcome, start)?;
    }
    Ok(())
}

/// Shows the place of an error in what was typed.
fn pointed_at(typed: &str, error: asof_sql::Error) -> Error {
    if let Some(place) = error.place()
        && let Some(line) = typed.lines().nth(place.line as usize - 1)
    {
        eprintln!("{line}\n{}^", " ".repeat(place.column.saturating_sub(1) as usize));
    }
    Error::from(error)
}

fn dot_command(command: &str, session: &mut Session, printer: &mut Printer<'_>) -> Result<()> {
    let mut words = command.split_whitespace();
    let (name, argument) = (words.next().unwrap_or_default(), words.next());
    let query = match (name, argument) {
        ("help", _) => {
            eprintln!("{HELP}");
            return Ok(());
        }
        ("timing", Some("on" | "off")) => {
            printer.timing = argument == Some("on");
            return Ok(());
        }
        ("format", Some(format)) => {
            let format = CatFormat::from_str(format, true)
                .ok()
                .filter(|format| !crate::print::rows::is_binary(*format));
            printer.format =
                Some(format.ok_or_else(|| Error::usage("formats here are table, csv, jsonl and json"))?);
            return Ok(());
        }
        ("tables", _) => {
            "SELECT name, rows, changed_version, changed_time FROM system.tables ORDER BY name".to_string()
        }
        ("tags", _) => "SELECT name, version, message FROM system.tags ORDER BY version".to_string(),
        ("schema", Some(table)) => format!("SHOW CREATE TABLE {table}"),
        ("log", count) => {
            let count = count.map_or(Ok(10), str::parse::<u64>);
            let count = count.map_err(|_| Error::usage(".log takes a number of commits"))?;
            format!(
                "SELECT version, time, operation, author, message FROM commits() ORDER BY version DESC LIMIT {count}"
            )
        }
        _ => {
            return Err(Error::usage(format!(
                "there is no '.{}'; .help tells what there is",
                command.trim()
            )));
        }
    };
    statements(&query, session, printer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_before_the_cursor_is_completed() {
        let words = vec!["customers".to_string(), "\"Name\"".to_string(), "gold.customers".to_string()];
        let of = |line: &str| {
            let (start, pairs) = complete(&words, line, line.len());
            (start, pairs.into_iter().map(|pair| pair.replacement).collect::<Vec<_>>())
        };
        assert_eq!(of("select * from cust"), (14, vec!["customers".to_string()]));
        assert_eq!(of("select na"), (7, vec!["\"Name\"".to_string()]));
        assert_eq!(of("select (gold.c"), (8, vec!["gold.customers".to_string()]));
        assert_eq!(of("sel"), (0, vec!["SELECT".to_string()]));
        assert_eq!(of("select "), (7, vec![]));
        assert_eq!(of("select 'é"), (8, vec![]));
    }
}
