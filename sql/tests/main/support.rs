//! A database, a session, and results as text.

use asof_engine::{CommitTime, Counts, Database, Options, Tag, Version};
use asof_sql::{Error, Outcome, Session, SessionOptions};
use std::sync::Arc;
use tempfile::TempDir;

/// A database in a temporary directory with a session on it.
pub struct Bench {
    pub session: Session,
    pub database: Database,
    _dir: TempDir,
    /// What was not as expected, told together at the end.
    findings: Vec<String>,
    /// How many rows the last statement changed.
    pub changed: u64,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.findings.is_empty() {
            return;
        }
        let (count, some) = (self.findings.len(), self.findings.iter().take(40).cloned());
        let told = format!("{count} findings:\n{}", some.collect::<Vec<_>>().join("\n"));
        match std::thread::panicking() {
            true => println!("{told}"),
            false => panic!("{told}"),
        }
    }
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(SessionOptions::default())
    }

    pub fn with(options: SessionOptions) -> Bench {
        let checks = Some(Arc::new(asof_sql::Checks::default()) as Arc<dyn asof_engine::CheckRows>);
        Bench::on(Options { checks, ..Options::default() }, options)
    }

    /// A database of its own options.
    pub fn on(of_database: Options, options: SessionOptions) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(dir.path().join("db"), of_database).unwrap();
        let session = Session::new(database.clone(), options).unwrap();
        Bench { session, database, _dir: dir, findings: Vec::new(), changed: 0 }
    }

    /// Another session on the same database.
    pub fn other(&self, options: SessionOptions) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let session = Session::new(self.database.clone(), options).unwrap();
        Bench { session, database: self.database.clone(), _dir: dir, findings: Vec::new(), changed: 0 }
    }

    /// Runs statements; the rows of the last one, a line each, cells apart by `|`.
    pub fn try_run(&mut self, sql: &str) -> Result<Vec<String>, Error> {
        let mut last = Vec::new();
        let changed = &mut self.changed;
        let all = |counts: &Counts| counts.inserted + counts.updated + counts.deleted;
        self.session.run(sql, |outcome| {
            last = match outcome {
                Outcome::Rows(rows) => lines(rows)?,
                Outcome::Committed(committed) => {
                    *changed = committed.tables.values().map(all).sum();
                    vec![format!("version {}", committed.version)]
                }
                Outcome::Changed(counts) => {
                    *changed = all(&counts);
                    vec![format!("+{} ~{} -{}", counts.inserted, counts.updated, counts.deleted)]
                }
                Outcome::Done(what) => vec![what],
            };
            Ok(())
        })?;
        Ok(last)
    }

    /// The newest version.
    pub fn newest(&self) -> Version {
        self.database.refresh().unwrap()
    }

    pub fn tag(&self, name: &str, version: u64) {
        let tag = Tag {
            name: name.to_string(),
            version: Version(version),
            message: None,
            created: CommitTime(0),
            expires: None,
        };
        self.database.tag(tag, false).unwrap();
    }

    pub fn run(&mut self, sql: &str) -> Vec<String> {
        self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The rows, sorted.
    pub fn sorted(&mut self, sql: &str) -> Vec<String> {
        let mut lines = self.run(sql);
        lines.sort();
        lines
    }

    /// What statements give, or a finding.
    pub fn expect<S: AsRef<str>>(&mut self, sql: &str, expected: &(impl AsRef<[S]> + ?Sized)) {
        let expected: Vec<&str> = expected.as_ref().iter().map(AsRef::as_ref).collect();
        match self.try_run(sql) {
            Ok(lines) if lines == expected => {}
            Ok(lines) => self.findings.push(format!("{sql}\n   gave {lines:?}, not {expected:?}")),
            Err(error) => self.findings.push(format!("{sql}\n   failed, {error}; expected {expected:?}")),
        }
    }

    /// That statements are refused with a place in what was typed, or a finding.
    pub fn refused(&mut self, sql: &str) {
        match self.try_run(sql) {
            Ok(lines) => self.findings.push(format!("{sql}\n   gave {lines:?}")),
            Err(error) if error.place().is_none() || error.message().contains('\u{1}') => {
                self.findings
                    .push(format!("{sql}\n   was refused without a place, or not as typed: {error}"));
            }
            Err(_) => {}
        }
    }

    pub fn error(&mut self, sql: &str) -> Error {
        match self.try_run(sql) {
            Ok(lines) => panic!("{sql} gave {lines:?}"),
            Err(error) => error,
        }
    }

    pub fn fails(&mut self, sql: &str) -> String {
        self.error(sql).to_string()
    }
}

fn lines(rows: asof_sql::Rows) -> Result<Vec<String>, Error> {
    let schema = rows.schema().clone();
    let mut lines = Vec::new();
    for batch in rows {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let cells = schema.columns.iter().zip(batch.columns()).map(|(column, array)| {
                asof_engine::text::format_cell(&column.column_type, array, row)
                    .unwrap_or_else(|| "NULL".to_string())
            });
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines)
}
