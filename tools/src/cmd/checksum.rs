//! `checksum`: a digest of what tables hold, the same everywhere.

use crate::print::Progress;
use crate::{Context, Result, Status};
use asof_engine::text::hex;
use asof_engine::{DatabaseChecksum, TableChecksum};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// `checksum`
#[derive(Debug, Args)]
pub struct ChecksumArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// The table; all of them, and the database, where not given
    pub table: Option<String>,
    /// The version to read
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub as_of: Option<String>,
}

/// Prints digests.
pub fn run(args: ChecksumArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let snapshot = context.snapshot(&database, args.as_of.as_deref())?;
    let version = snapshot.version().0;
    let table_json =
        |checksum: &TableChecksum| json!({"checksum": hex(&checksum.digest), "rows": checksum.rows});
    let rows = || {
        let all = || snapshot.table_names().unwrap_or_default();
        let names = args.table.as_ref().map_or_else(all, |table| vec![table.clone()]);
        names.iter().map(|name| snapshot.table(name).map_or(0, |table| table.rows)).sum()
    };
    let progress = Progress::rows(context, "read", rows);
    let mut pace = |rows| {
        progress.add(rows);
        true
    };
    let mut out = context.out();
    if let Some(table) = &args.table {
        let checksum = snapshot.checksum_paced(table, &mut pace)?;
        drop(progress);
        if context.json {
            let mut value = table_json(&checksum);
            (value["version"], value["table"]) = (version.into(), table.as_str().into());
            writeln!(out, "{value}")?;
        } else {
            writeln!(out, "{}  {}", hex(&checksum.digest), context.shown(table))?;
        }
    } else {
        let DatabaseChecksum { digest, tables } = snapshot.checksum_all_paced(&mut pace)?;
        drop(progress);
        if context.json {
            let tables: serde_json::Map<_, _> =
                tables.iter().map(|(name, checksum)| (name.clone(), table_json(checksum))).collect();
            let value = json!({"version": version, "checksum": hex(&digest), "tables": tables});
            writeln!(out, "{value}")?;
        } else {
            for (name, checksum) in &tables {
                writeln!(out, "{}  {}", hex(&checksum.digest), context.shown(name))?;
            }
            writeln!(out, "{}  database at version {version}", hex(&digest))?;
        }
    }
    out.flush()?;
    Ok(Status::Done)
}
