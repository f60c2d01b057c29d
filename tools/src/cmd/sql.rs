//! `sql`: statements over every version, from the command line, a file, standard input, or a shell.

mod shell;

use crate::args::{CatFormat, SqlArgs};
use crate::print::rows;
use crate::print::{counts_text, time_json, time_or_start};
use crate::{Context, Error, Result, Status, output};
use asof_engine::{Committed, Counts};
use asof_sql::{Outcome, Rows, Session, SessionOptions};
use serde_json::json;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs statements, or the shell where there are none.
pub fn run(args: SqlArgs, context: &Context) -> Result {
    let sql = match (&args.statement, &args.file) {
        (Some(_), Some(_)) => {
            return Err(Error::usage("give statements, or a file of them with -f; not both"));
        }
        (Some(sql), None) => Some(sql.clone()),
        (None, Some(file)) => Some(read(file)?),
        (None, None) if std::io::stdin().is_terminal() => None,
        (None, None) => Some(read(Path::new("-"))?),
    };
    // Who only asks does not need to be allowed to write.
    let database = match context.open(&args.database) {
        Err(error) if args.as_of.is_some() || error.code() == "read_only" || error.code() == "io" => {
            context.open_read_only(&args.database).map_err(|_| error)?
        }
        opened => opened?,
    };
    if let Some(expression) = &args.as_of {
        context.resolve(&database, expression)?;
    }
    let mut options = SessionOptions {
        as_of: args.as_of.clone(),
        author: args.said.author.clone(),
        message: args.said.message.clone(),
        meta: args.said.meta.iter().cloned().collect(),
        allow_files: args.allow_files,
        ..SessionOptions::default()
    };
    options.memory_bytes = context.memory;
    let mut session = Session::new(database, options)?;
    let mut printer = Printer {
        context,
        format: args.format,
        output: args.output.as_deref(),
        timing: args.timing,
        shell: false,
        results: 0,
    };
    let Some(sql) = sql else { return shell::run(&mut session, printer) };
    for statement in session.prepare(&sql)? {
        let start = Instant::now();
        let outcome = session.execute(&statement)?;
        printer.print(outcome, start)?;
    }
    if session.in_transaction() {
        return Err(Error::failed(
            "the statements end within a transaction: nothing of it was committed; end it with COMMIT",
        ));
    }
    Ok(Status::Done)
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Error::failed(format!("{}: {error}", file.display())))?;
    Ok(text)
}

/// Says what statements came to.
struct Printer<'a> {
    context: &'a Context,
    format: Option<CatFormat>,
    output: Option<&'a Path>,
    timing: bool,
    /// Whether somebody sits in front of it.
    shell: bool,
    /// Results written so far.
    results: usize,
}

impl Printer<'_> {
    fn print(&mut self, outcome: Outcome, start: Instant) -> Result<()> {
        match outcome {
            Outcome::Rows(rows) => self.rows(rows)?,
            Outcome::Committed(committed) => self.committed(&committed)?,
            Outcome::Changed(counts) => self.changed(&counts)?,
            Outcome::Done(what) if self.context.json => self.context.print_json(&json!({ "done": what }))?,
            Outcome::Done(what) => self.told(&what),
        }
        if self.timing {
            self.context.note(format_args!("{}", time_text(start.elapsed())));
        }
        Ok(())
    }

    fn rows(&mut self, mut rows: Rows) -> Result<()> {
        let otherwise =
            if self.shell || self.context.stdout_is_terminal() { CatFormat::Table } else { CatFormat::Csv };
        let format = rows::format(self.format, self.output, self.context.json, otherwise)?;
        self.results += 1;
        if self.results > 1 && (self.output.is_some() || rows::is_binary(format)) {
            return Err(Error::usage(
                "one file holds one result: give one query with -o, or one such format",
            ));
        }
        let schema = rows.schema().clone();
        let mut failed = None;
        let mut batches = std::iter::from_fn(|| match rows.next()? {
            Ok(batch) => Some(Ok(batch)),
            Err(error) => {
                let told = asof_engine::Error::invalid(error.to_string());
                failed = Some(error);
                Some(Err(told))
            }
        });
        let written = output::write(self.context, self.output, rows::is_binary(format), |out| {
            rows::write(format, &schema, &mut batches, out).map(drop)
        });
        match failed {
            Some(error) => Err(error.into()),
            None => written,
        }
    }

    fn committed(&self, committed: &Committed) -> Result<()> {
        if self.context.json {
            let total = |count: fn(&Counts) -> u64| committed.tables.values().map(count).sum::<u64>();
            return self.context.print_json(&json!({
                "version": committed.version.0,
                "time": time_json(committed.time),
                "id": (!committed.unchanged).then(|| committed.id.to_string()),
                "inserted": total(|counts| counts.inserted),
                "updated": total(|counts| counts.updated),
                "deleted": total(|counts| counts.deleted),
                "unchanged": committed.unchanged,
            }));
        }
        if committed.unchanged {
            self.told("nothing changed: no version was made");
            return Ok(());
        }
        let tables: Vec<String> = committed
            .tables
            .iter()
            .map(|(table, counts)| format!("{} {}", self.context.shown(table), counts_text(counts)))
            .collect();
        let tables = if tables.is_empty() { String::new() } else { format!(": {}", tables.join(", ")) };
        self.told(&format!("version {} ({}){tables}", committed.version, time_or_start(committed.time)));
        Ok(())
    }

    fn changed(&self, counts: &Counts) -> Result<()> {
        if self.context.json {
            return self.context.print_json(&json!({
                "inserted": counts.inserted, "updated": counts.updated, "deleted": counts.deleted, "committed": false,
            }));
        }
        self.told(&format!("{}, not committed yet", counts_text(counts)));
        Ok(())
    }

    fn told(&self, what: &str) {
        self.context.note(format_args!("{what}"));
    }

    /// Ends a heading or a table where a shell goes on.
    fn flush(&self) {
        let _ = std::io::stdout().flush();
    }
}

/// A time that something took, for people.
fn time_text(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}
