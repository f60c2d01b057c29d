//! `undo`: takes one commit back, where nobody changed the same since.

use crate::cmd::restore::{Change, ChangeArgs};
use crate::{Context, Result};
use asof_engine::restore::Undone;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `undo`
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// The version whose changes are taken back
    #[arg(allow_hyphen_values = true)]
    pub version: String,
    /// What is said about the commit.
    #[command(flatten)]
    pub commit: ChangeArgs,
}

/// Undoes a commit.
pub fn run(args: UndoArgs, context: &Context) -> Result {
    let database = context.open(&args.database)?;
    let version = context.resolve(&database, &args.version)?.version;
    let change = Change {
        operation: "undo",
        what: format!("undo version {version}"),
        parameters: BTreeMap::from([("version".to_string(), version.to_string())]),
        // What is wrong with the version is told by the undo.
        tables: database
            .commit_info(version)
            .map_or_else(|_| Vec::new(), |info| info.tables.into_keys().collect()),
        args: &args.commit,
    };
    let samples = args.commit.samples();
    change.make(context, &database, |transaction| {
        Ok(match transaction.undo(version, samples)? {
            Undone::Changed(tables) => Ok(tables),
            Undone::Conflicts(conflicts) => Err(conflicts),
        })
    })
}
