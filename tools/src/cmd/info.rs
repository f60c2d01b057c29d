//! `info`: sizes, settings and leases.

use crate::args::InfoArgs;
use crate::print::bytes_text;
use crate::{Context, Result, Status, print::grid::Grid};
use std::io::Write;

/// Prints what a database is.
pub fn run(args: InfoArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let info = database.info()?;
    let status = if info.damage.is_some() { Status::Damaged } else { Status::Done };
    if context.json {
        context.print_json(&asof_engine::json::info_to_json(&info))?;
        return Ok(status);
    }
    let mut out = context.out();
    writeln!(out, "database      {}", context.shown(&database.path().to_string_lossy()))?;
    writeln!(out, "id            {}", info.database_id)?;
    writeln!(out, "version       {}", info.version)?;
    writeln!(out, "checkpoint    version {}, manifest {}", info.checkpoint_version, info.manifest)?;
    writeln!(out, "tables        {}", info.tables)?;
    writeln!(out, "tags          {}", info.tags)?;
    writeln!(out, "row versions  {} in data files", info.row_versions)?;
    writeln!(out, "compaction    {} to rewrite", bytes_text(info.compaction_debt_bytes))?;
    writeln!(
        out,
        "log           {} of records in {} on disk",
        bytes_text(info.log_used_bytes),
        bytes_text(info.log_allocated_bytes)
    )?;
    if let Some(error) = &info.damage {
        writeln!(out, "damage        {}", context.shown(error))?;
    }
    if let Some(error) = &info.upkeep_error {
        writeln!(
            out,
            "upkeep        the last checkpoint failed and is tried again: {}",
            context.shown(error)
        )?;
    }
    let mut grid = Grid::new(&["files", ">count", ">bytes"]);
    for (class, (count, bytes)) in &info.files {
        grid.add(vec![class.to_string(), count.to_string(), bytes.to_string()]);
    }
    let (count, bytes) =
        info.files.values().fold((0, 0), |sum, (count, bytes)| (sum.0 + count, sum.1 + bytes));
    grid.add(vec!["all".to_string(), count.to_string(), bytes.to_string()]);
    write!(out, "\n{grid}")?;
    for lease in &info.leases {
        let holder = lease.pid.map_or("an unknown process".to_string(), |pid| format!("process {pid}"));
        let age = lease.age_seconds.map(|age| format!(", running for {age} s,")).unwrap_or_default();
        writeln!(out, "lease         {holder}{age} keeps the files of manifest {}", lease.manifest)?;
    }
    out.flush()?;
    Ok(status)
}
