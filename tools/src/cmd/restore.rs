//! `restore`: tables, or some of their rows, as they were at a version, in a new commit.

pub mod report;

use crate::args::CommitArgs;
use crate::cmd::import::parse_time;
use crate::condition::Condition;
use crate::input::retry::Retry;
use crate::print::Progress;
use crate::{Context, Error, Result, Status};
use asof_engine::arrow::array::RecordBatch;
use asof_engine::restore::TableRestored;
use asof_engine::{CommitOptions, CommitTime, Database, Isolation, Transaction, TransactionOptions, Version};
use clap::Args;
use report::Report;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// The version to go back to
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    pub version: String,
    /// These tables alone; all where none is named: tables made since are dropped then, dropped ones come back
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Only rows that this condition holds for, as they were or as they are; the table keeps its schema
    #[arg(long = "where", value_name = "SQL", allow_hyphen_values = true, requires = "tables")]
    pub condition: Option<String>,
    /// What is said about the commit.
    #[command(flatten)]
    pub commit: ChangeArgs,
}

/// What is said about a commit that brings something back.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// What is said about any commit.
    #[command(flatten)]
    pub commit: CommitArgs,
    /// The commit time: later than the last commit, not in the future
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub commit_time: Option<String>,
    /// With --dry-run, rows to show of each kind of change and table
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub sample: usize,
}

impl ChangeArgs {
    /// How many rows a transaction should remember for the report.
    pub fn samples(&self) -> usize {
        if self.commit.dry_run { self.sample } else { 0 }
    }

    fn time(&self, context: &Context) -> Result<Option<CommitTime>> {
        self.commit_time.as_deref().map(|text| parse_time(text, context)).transpose()
    }
}

/// What a transaction will do, or why it cannot.
pub type Planned = std::result::Result<Vec<TableRestored>, asof_engine::restore::Conflicts>;

/// Restores.
pub fn run(args: RestoreArgs, context: &Context) -> Result {
    let database = context.open(&args.database)?;
    let version = context.resolve(&database, &args.version)?.version;
    let mut parameters = BTreeMap::from([("version".to_string(), version.to_string())]);
    if !args.tables.is_empty() {
        parameters.insert("tables".to_string(), args.tables.join(", "));
    }
    if let Some(condition) = &args.condition {
        parameters.insert("where".to_string(), condition.clone());
    }
    let change = Change {
        operation: "restore",
        what: format!("restore to version {version}"),
        parameters,
        tables: args.tables.clone(),
        args: &args.commit,
    };
    let samples = args.commit.samples();
    change.make(context, &database, |transaction| match &args.condition {
        None => Ok(Ok(transaction.restore(version, &args.tables, samples)?)),
        Some(text) => restore_rows(transaction, version, &args.tables, text, samples).map(Ok),
    })
}

fn restore_rows(
    transaction: &mut Transaction,
    version: Version,
    tables: &[String],
    condition: &str,
    samples: usize,
) -> Result<Vec<TableRestored>> {
    let mut restored = Vec::new();
    for table in tables {
        let condition = Condition::parse(condition, &*transaction.schema(table)?)?;
        let holds = |rows: &RecordBatch| condition.evaluate(rows);
        restored.extend(transaction.restore_rows(version, table, &holds, samples)?);
    }
    Ok(restored)
}

/// A commit that brings something back.
pub struct Change<'a> {
    /// The operation of the commit.
    pub operation: &'a str,
    /// What is done, for people.
    pub what: String,
    /// The operation's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The tables that it is about; all where none is named.
    pub tables: Vec<String>,
    /// What was typed.
    pub args: &'a ChangeArgs,
}

impl Change<'_> {
    /// Plans it in a transaction, and commits and reports it; begins again where another writer was first.
    pub fn make(
        &self,
        context: &Context,
        database: &Database,
        plan: impl Fn(&mut Transaction) -> Result<Planned>,
    ) -> Result {
        let time = self.args.time(context)?;
        let mut retry = Retry::new(context.wait);
        loop {
            match self.attempt(context, database, time, &plan) {
                Err(error) if retry.again(&error) => {}
                done => return done,
            }
        }
    }

    fn rows_to_read(&self, database: &Database) -> u64 {
        match self.tables.is_empty() {
            true => database.row_versions(None),
            false => self.tables.iter().map(|table| database.row_versions(Some(table))).sum(),
        }
    }

    fn attempt(
        &self,
        context: &Context,
        database: &Database,
        time: Option<CommitTime>,
        plan: impl Fn(&mut Transaction) -> Result<Planned>,
    ) -> Result {
        // All that was read holds when it is committed, so that the state that comes is the one that was asked for.
        let isolation = Isolation::Serializable;
        let mut transaction = database.begin_with(TransactionOptions { isolation })?;
        let progress = Progress::reading(context, database, || self.rows_to_read(database));
        let tables = match plan(&mut transaction)? {
            Ok(tables) => tables,
            Err(conflicts) => {
                drop(progress);
                report::print_conflicts(context, &conflicts)?;
                return Err(Error::refused(format!(
                    "cannot {}: {}; nothing was changed",
                    self.what,
                    crate::print::count_text(conflicts.count, "conflict")
                )));
            }
        };
        let dry_run = self.args.commit.dry_run;
        if dry_run {
            time.map(|time| transaction.check_commit_time(time)).transpose()?;
        }
        let (committed, counts) = match dry_run || tables.is_empty() {
            true => (None, transaction.counts()?),
            false => {
                let committed = transaction.commit(CommitOptions {
                    operation: Some(self.operation.to_string()),
                    parameters: self.parameters.clone(),
                    time,
                    ..self.args.commit.said.options()
                })?;
                let counts = committed.tables.clone();
                (Some(committed), counts)
            }
        };
        drop(progress);
        Report { what: &self.what, tables: &tables, counts: &counts, committed, dry_run }.print(context)?;
        Ok(Status::Done)
    }
}
