//! `undrop`: a dropped table as it was before it was dropped.

use crate::cmd::restore::{Change, ChangeArgs};
use crate::{Context, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `undrop`
#[derive(Debug, Args)]
pub struct UndropArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table
    pub table: String,
    /// What is said about the commit.
    #[command(flatten)]
    pub commit: ChangeArgs,
}

/// Brings a table back.
pub fn run(args: UndropArgs, context: &Context) -> Result {
    let database = context.open(&args.database)?;
    let change = Change {
        operation: "undrop",
        what: format!("undrop table {}", args.table),
        parameters: BTreeMap::from([("table".to_string(), args.table.clone())]),
        tables: vec![args.table.clone()],
        args: &args.commit,
    };
    let samples = args.commit.samples();
    change.make(context, &database, |transaction| Ok(Ok(vec![transaction.undrop(&args.table, samples)?])))
}
