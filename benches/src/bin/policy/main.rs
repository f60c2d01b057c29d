//! Simulates compaction on row counts: what each candidate policy reads, stores and writes under histories that are
//! known to be hard. Prints the tables of `docs/compaction.md`.
//!
//! `cargo run -p asof-benches --bin policy [HISTORY]` gives every candidate under every history, or those whose name
//! begins so. Deterministic. One row here stands for a hundred: the constants of the policy are divided likewise.

mod baseline;
mod cells;
mod histories;
mod table;

use asof_engine::compact::policy::Parameters;
use baseline::Baseline;
use cells::CellFiles;
use histories::HISTORIES;
use table::{Files, Profile, Table};

/// Rows that one row of the simulation stands for.
const SCALE: u64 = 100;

fn parameters() -> Parameters {
    let automatic = Parameters::AUTOMATIC;
    Parameters {
        cell_rows: automatic.cell_rows / SCALE,
        dead_rows_min: automatic.dead_rows_min / SCALE,
        file_rows_max: automatic.file_rows_max / SCALE,
        ..automatic
    }
}

fn candidates() -> Vec<(&'static str, Box<dyn Files>)> {
    let cells = |change: &dyn Fn(&mut Parameters)| -> Box<dyn Files> {
        let mut parameters = parameters();
        change(&mut parameters);
        Box::new(CellFiles::new(parameters, true))
    };
    vec![
        ("no compaction", Box::new(CellFiles::new(parameters(), false))),
        ("copy on", Box::new(Baseline::new(0.4, 0.3))),
        ("cells", cells(&|_| {})),
        ("cells, dead 1/5", cells(&|p| p.dead_share = 0.2)),
        ("cells, dead 1/2", cells(&|p| p.dead_share = 0.5)),
        ("cells, unborn 1/10", cells(&|p| p.unborn_share = 0.1)),
        ("cells, unborn 1/2", cells(&|p| p.unborn_share = 0.5)),
        ("cells of 1 %", cells(&|p| p.cell_share = 0.01)),
        ("cells of 5 %", cells(&|p| p.cell_share = 0.05)),
        ("cells, history x1", cells(&|p| p.history_share = 1.0)),
        ("cells, history x4", cells(&|p| p.history_share = 4.0)),
        ("cells, fan-in 8", cells(&|p| p.fan_in = 8)),
    ]
}

fn main() {
    let chosen = std::env::args().nth(1).unwrap_or_default();
    for (name, what, history) in HISTORIES {
        if !name.starts_with(&chosen) {
            continue;
        }
        println!("\n**{name}**: {what}\n");
        println!(
            "| policy | read: mean | p99 | max | over twice | before: max | over twice | space | written | files | runs | runs read |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        for (policy, files) in candidates() {
            let mut table = Table::new(files);
            history(&mut table);
            table.checkpoint(false);
            let before = Profile::of(&table);
            table.checkpoint(true);
            let after = Profile::of(&table);
            let (stored, versions) = (table.files.rows_stored(), table.row_versions());
            println!(
                "| {policy} | {:.2} | {:.2} | {:.2} | {} | {:.2} | {} | {:.2} | {:.1} | {} | {} | {} |",
                after.mean,
                after.p99,
                after.max,
                after.over_twice * SCALE,
                before.max,
                before.over_twice * SCALE,
                stored as f64 / versions as f64,
                table.files.rows_written() as f64 / versions as f64,
                table.files.extents().iter().map(|extent| extent.file).max().map_or(0, |last| last + 1),
                table.files.extents().len(),
                after.runs_read,
            );
        }
    }
}
