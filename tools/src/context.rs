//! What every command works with: the global options, the database's door, and the ways out.
//!
//! Invariant: data goes to standard output, everything else to standard error. A reader of standard
//! output that goes away ends the command quietly, with success.

use crate::args::{Color, Globals};
use crate::error::{Error, Result};
use asof_engine::{Database, Options, Resolved, Snapshot, Version};
use jiff::tz::TimeZone;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Bytes gathered before they are written to standard output.
const BUFFER_BYTES: usize = 64 * 1024;

/// The global options and the doors of one run.
#[derive(Debug)]
pub struct Context {
    /// Report as JSON.
    pub json: bool,
    /// Say nothing but data and errors.
    pub quiet: bool,
    /// How much to tell: from 1 on, the engine's counters.
    pub verbose: u8,
    /// When to colour.
    pub color: Color,
    /// The zone of times written without an offset.
    pub tz: TimeZone,
    /// How long to wait for another writer's turn.
    pub wait: Duration,
    /// Bytes of memory that a database may take; the engine's default where not given.
    pub memory: Option<u64>,
    /// The database whose counters are told at the end.
    opened: Mutex<Option<Database>>,
}

impl Context {
    /// The context of what was typed.
    pub fn new(globals: &Globals) -> Context {
        Context {
            json: globals.json,
            quiet: globals.quiet,
            verbose: globals.verbose,
            color: globals.color,
            tz: globals.tz.clone(),
            wait: globals.wait,
            memory: globals.memory,
            opened: Mutex::new(None),
        }
    }

    /// How databases are opened.
    pub fn options(&self) -> Options {
        let default = Options::default();
        Options {
            wait: self.wait,
            time_zone: self.tz.clone(),
            memory_bytes: self.memory.unwrap_or(default.memory_bytes),
            checks: crate::condition::checks(),
            ..default
        }
    }

    /// Opens a database for reading and writing.
    pub fn open(&self, path: &Path) -> Result<Database> {
        refuse_archive(path)?;
        Ok(self.note_opened(Database::open(path, self.options())?))
    }

    /// Opens a database for reading.
    pub fn open_read_only(&self, path: &Path) -> Result<Database> {
        self.open_read_only_with(path, self.options())
    }

    /// Opens a database for reading, with options of the caller's.
    pub fn open_read_only_with(&self, path: &Path, options: Options) -> Result<Database> {
        #[cfg(feature = "archive")]
        if asof_archive::is_archive(path) {
            return Ok(self.note_opened(asof_archive::open_database(path, options)?));
        }
        Ok(self.note_opened(Database::open_read_only(path, options)?))
    }

    /// Opens a database for reading and writing, or makes it where the directory is missing or empty; says so then.
    pub fn open_or_create(&self, path: &Path) -> Result<Database> {
        self.open_or_create_with(path, self.options())
    }

    /// The same, with options of the caller's.
    pub fn open_or_create_with(&self, path: &Path, options: Options) -> Result<Database> {
        refuse_archive(path)?;
        let exists = Database::exists(path, &options)?;
        let database = self.note_opened(Database::open_or_create(path, options)?);
        if !exists {
            self.note(format_args!("made the database {}", path.display()));
        }
        Ok(database)
    }

    /// Makes a database in a directory that is missing or empty, and says so.
    pub fn create(&self, path: &Path) -> Result<Database> {
        refuse_archive(path)?;
        let database = self.note_opened(Database::create(path, self.options())?);
        self.note(format_args!("made the database {}", path.display()));
        Ok(database)
    }

    fn note_opened(&self, database: Database) -> Database {
        if self.verbose > 0 {
            let mut opened = self.opened.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *opened = Some(database.clone());
        }
        database
    }

    /// Takes the database that was opened, if its counters are wanted.
    pub(crate) fn take_opened(&self) -> Option<Database> {
        self.opened.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// Which version an expression names; echoed on standard error.
    pub fn resolve(&self, database: &Database, expression: &str) -> Result<Resolved> {
        let asof = asof_engine::AsOf::parse(expression, &self.tz)?;
        let resolved = database.resolve(&asof)?;
        self.echo_resolved(expression, &resolved);
        Ok(resolved)
    }

    /// A snapshot at an expression, or at the newest version where none was typed.
    pub fn snapshot(&self, database: &Database, expression: Option<&str>) -> Result<Snapshot> {
        let version: Version = match expression {
            Some(expression) => self.resolve(database, expression)?.version,
            None => database.latest()?,
        };
        let snapshot = database.snapshot(version)?;
        // An archive keeps what retention let go after it was shipped.
        #[cfg(feature = "archive")]
        if !snapshot.gone_tables().is_empty()
            && let Some(earlier) = asof_archive::open_earlier(database, version)?
        {
            return Ok(earlier.snapshot(version)?);
        }
        Ok(snapshot)
    }

    /// Standard output, locked and buffered: flush it at the end. A closed pipe gives an error that ends the process
    /// quietly with status 0.
    pub fn out(&self) -> BufWriter<Stdout> {
        BufWriter::with_capacity(BUFFER_BYTES, Stdout(io::stdout().lock()))
    }

    /// Writes one JSON document and a line feed to standard output.
    pub fn print_json(&self, value: &serde_json::Value) -> Result<()> {
        let mut out = self.out();
        serde_json::to_writer(&mut out, value)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// Prints a line on standard output that tells what was done, unless quiet: it is no data.
    pub fn say(&self, what: impl std::fmt::Display) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        crate::print::status_line::without(|| {
            let mut out = self.out();
            writeln!(out, "{what}")?;
            Ok(out.flush()?)
        })
    }

    /// Says something on standard error, unless quiet. With `--json`, standard error is for errors alone, so that
    /// programs can read it.
    pub fn note(&self, what: impl std::fmt::Display) {
        if !self.quiet && !self.json {
            crate::print::status_line::above(&format!("{what}\n"));
        }
    }

    /// Says on standard error what an expression became, unless quiet or a plain number of a version.
    pub fn echo_resolved(&self, expression: &str, resolved: &Resolved) {
        if expression.parse() == Ok(resolved.version.0) {
            return;
        }
        let time = crate::print::time_or_start(resolved.time);
        self.note(format_args!("{expression} is version {} ({time})", resolved.version));
    }

    /// Whether people read standard output.
    pub fn stdout_is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether progress may be drawn: people read standard error, and want to hear.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Whether data goes to a file, so that people wait for its end: they see none of it as it comes.
    pub fn writes_file(&self, file: Option<&Path>) -> bool {
        match file {
            Some(path) if path != Path::new("-") => true,
            _ => rustix::fs::fstat(io::stdout()).is_ok_and(|found| {
                rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::RegularFile
            }),
        }
    }

    /// Whether standard output is coloured.
    pub fn colors_stdout(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
                self.stdout_is_terminal() && !refused && !dumb
            }
        }
    }

    /// Text that came from data: escaped where people read standard output, untouched in pipes.
    pub fn shown<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        if self.stdout_is_terminal() { crate::print::escape_controls(text) } else { text.into() }
    }

    /// Reports an error as one line, or as a JSON document.
    pub fn report(&self, error: &Error) {
        report(error, self.json);
    }
}

/// Archives are for reading.
fn refuse_archive(path: &Path) -> Result<()> {
    #[cfg(feature = "archive")]
    if asof_archive::is_archive(path) {
        let message = format!(
            "{0} is an archive, which is read-only; 'asof recover {0} DB' makes a database of it",
            path.display()
        );
        return Err(Error::new(crate::Status::Failed, asof_engine::ErrorKind::ReadOnly.code(), message));
    }
    let _ = path;
    Ok(())
}

/// Standard output, named in its errors.
#[derive(Debug)]
pub struct Stdout(StdoutLock<'static>);

impl Stdout {
    fn named(error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot write standard output: {error}"))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(Stdout::named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(Stdout::named)
    }
}

/// Reports an error on standard error as one line, or as a JSON document.
pub fn report(error: &Error, json: bool) {
    if error.is_pipe_closed() {
        return;
    }
    let line = if json {
        serde_json::json!({"error": error.to_json()}).to_string()
    } else {
        let mut line = format!("asof: {error}");
        let missing: Vec<&str> =
            error.nearest().iter().filter(|name| !line.contains(name.as_str())).map(String::as_str).collect();
        if !missing.is_empty() {
            line.push_str(&format!("; nearest: {}", missing.join(", ")));
        }
        crate::print::escape_controls(&line).into_owned()
    };
    let _ = writeln!(io::stderr(), "{line}");
}
