//! A database, a session, and results as text.

use asof_engine::{Database, Options};
use asof_sql::{Error, Outcome, Session, SessionOptions};
use tempfile::TempDir;

/// A database in a temporary directory with a session on it.
pub struct Bench {
    pub session: Session,
    pub database: Database,
    pub dir: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(SessionOptions::default())
    }

    pub fn with(options: SessionOptions) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(dir.path().join("db"), Options::default()).unwrap();
        let session = Session::new(database.clone(), options).unwrap();
        Bench { session, database, dir }
    }

    /// Another session on the same database.
    pub fn other(&self, options: SessionOptions) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let session = Session::new(self.database.clone(), options).unwrap();
        Bench { session, database: self.database.clone(), dir }
    }

    /// Runs statements; the rows of the last one, a line each, cells apart by `|`.
    pub fn try_run(&mut self, sql: &str) -> Result<Vec<String>, Error> {
        let mut last = Vec::new();
        self.session.run(sql, |outcome| {
            last = match outcome {
                Outcome::Rows(rows) => lines(rows)?,
                Outcome::Committed(committed) => vec![format!("version {}", committed.version)],
                Outcome::Changed(counts) => {
                    vec![format!("+{} ~{} -{}", counts.inserted, counts.updated, counts.deleted)]
                }
                Outcome::Done(what) => vec![what],
            };
            Ok(())
        })?;
        Ok(last)
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

    pub fn fails(&mut self, sql: &str) -> String {
        match self.try_run(sql) {
            Ok(lines) => panic!("{sql} gave {lines:?}"),
            Err(error) => error.to_string(),
        }
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
