//! Simulates compaction on row counts: what each candidate policy reads, stores and writes under histories that are
//! known to be hard. Prints the tables of `docs/compaction.md`.
//!
//! `cargo run -p asof-benches --bin policy [HISTORY]` takes all histories, or those whose name begins so. Deterministic. One row here stands for a hundred: the constants of the policy are divided likewise.

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

/// Which of the candidates is the one that was chosen.
const CHOSEN: usize = 2;

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

/// What a policy came to under a history.
struct Outcome {
    before: Profile,
    after: Profile,
    space: f64,
    written: f64,
    files: usize,
    runs: usize,
}

impl Outcome {
    fn of(files: Box<dyn Files>, history: fn(&mut Table)) -> Outcome {
        let mut table = Table::new(files);
        history(&mut table);
        table.checkpoint(false);
        let before = Profile::of(&table);
        table.checkpoint(true);
        let after = Profile::of(&table);
        let versions = table.row_versions() as f64;
        let extents = table.files.extents();
        Outcome {
            before,
            after,
            space: table.files.rows_stored() as f64 / versions,
            written: table.files.rows_written() as f64 / versions,
            files: extents.iter().map(|extent| extent.file).max().map_or(0, |last| last + 1),
            runs: extents.len(),
        }
    }
}

const HEADINGS: &str =
    "read, mean | p99 | worst | rows beyond twice | space | written | files | runs | runs read |";

fn cells_of(outcome: &Outcome) -> String {
    let Outcome { before, after, space, written, files, runs } = outcome;
    let beyond = before.over_twice.max(after.over_twice) * SCALE;
    format!(
        "{:.2} | {:.2} | {:.2} | {beyond} | {space:.2} | {written:.1} | {files} | {runs} | {} |",
        after.mean, after.p99, after.max, after.runs_read
    )
}

fn main() {
    let chosen = std::env::args().nth(1).unwrap_or_default();
    println!("| history | policy | {HEADINGS}");
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut of_policy: Vec<(&'static str, Vec<Outcome>)> = Vec::new();
    for (name, what, history) in HISTORIES.iter().filter(|(name, ..)| name.starts_with(&chosen)) {
        for (index, (policy, files)) in candidates().into_iter().enumerate() {
            let outcome = Outcome::of(files, *history);
            match index {
                0 => println!("| **{name}**: {what} | {policy} | {}", cells_of(&outcome)),
                1..CHOSEN => println!("| | {policy} | {}", cells_of(&outcome)),
                CHOSEN => println!("| | **{policy}** | {}", cells_of(&outcome)),
                _ => {}
            }
            match of_policy.get_mut(index) {
                Some((_, outcomes)) => outcomes.push(outcome),
                None => of_policy.push((policy, vec![outcome])),
            }
        }
    }
    println!(
        "\n| policy, worst of all histories | read, mean | p99 | rows beyond twice | space | written | runs read |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (policy, outcomes) in &of_policy {
        let worst = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(value).fold(0.0, f64::max);
        println!(
            "| {policy} | {:.2} | {:.2} | {} | {:.2} | {:.1} | {} |",
            worst(&|outcome| outcome.after.mean),
            worst(&|outcome| outcome.after.p99),
            worst(&|outcome| outcome.before.over_twice.max(outcome.after.over_twice) as f64) as u64 * SCALE,
            worst(&|outcome| outcome.space),
            worst(&|outcome| outcome.written),
            worst(&|outcome| outcome.after.runs_read as f64),
        );
    }
}
