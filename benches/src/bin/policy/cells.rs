//! Files of cells: the engine's own policy and partition, on row numbers.

use crate::table::{At, Extent, FOREVER, Files, Lives, Row};
use asof_engine::compact::cells::{Cells, Lifetime};
use asof_engine::compact::policy::{
    FileFacts, Parameters, VersionsMeasure, VisibleRows, live_runs, part_lives, plan,
};
use std::collections::BTreeMap;

struct File {
    facts: FileFacts,
    runs: Vec<Vec<Row>>,
    /// When the last row of each run died, of history files.
    extents: Vec<(At, At)>,
}

pub struct CellFiles {
    parameters: Parameters,
    compacts: bool,
    files: BTreeMap<u32, File>,
    next: u32,
    written: u64,
    /// The ends of all rows, as of the last checkpoint.
    ends: Vec<At>,
}

impl CellFiles {
    pub fn new(parameters: Parameters, compacts: bool) -> CellFiles {
        CellFiles { parameters, compacts, files: BTreeMap::new(), next: 0, written: 0, ends: Vec::new() }
    }

    fn visible(lives: &Lives) -> VisibleRows {
        let stride = lives.visible.len().div_ceil(4096);
        let samples = lives.visible.iter().enumerate().step_by(stride);
        VisibleRows::new(samples.map(|(version, rows)| (version as u64, *rows)).collect())
    }

    /// The living rows to a live file of runs, the dead to a history file of cells.
    fn write(&mut self, lives: &mut Lives, rows: &[Row], visible: &VisibleRows) {
        let life = |row: &Row| {
            let end = lives.ends[*row as usize];
            (u64::from(lives.begins[*row as usize]), (end != FOREVER).then_some(u64::from(end)))
        };
        let (mut dead, living) = part_lives(rows.iter().map(life));
        let starts = live_runs(&living, visible, &self.parameters);
        let measure = VersionsMeasure::new(visible, &self.parameters);
        let cells = Cells::partition(&mut dead, 1, &measure);
        let mut live_rows = vec![Vec::new(); starts.len()];
        let mut dead_rows = vec![Vec::new(); cells.count()];
        for row in rows {
            match life(row) {
                (begin, None) => live_rows[starts.partition_point(|start| *start <= begin) - 1].push(*row),
                (begin, Some(end)) => dead_rows[cells.cell_of(Lifetime { begin, end })].push(*row),
            }
        }
        for (runs, history) in [(live_rows, false), (dead_rows, true)] {
            let all: Vec<Row> = runs.iter().flatten().copied().collect();
            if all.is_empty() {
                continue;
            }
            let begins = || all.iter().map(|row| u64::from(lives.begins[*row as usize]));
            let ends = || all.iter().map(|row| u64::from(lives.ends[*row as usize]));
            let facts = FileFacts {
                id: u64::from(self.next),
                history,
                rows: all.len() as u64,
                bytes: 0,
                runs: runs.len() as u64,
                dead: 0,
                begins: (begins().min().unwrap_or(0), begins().max().unwrap_or(0)),
                ends: (ends().min().unwrap_or(0), ends().max().unwrap_or(0)),
            };
            self.written += all.len() as u64;
            all.iter().for_each(|row| lives.files[*row as usize] = self.next);
            let extents = runs
                .iter()
                .filter(|run| !run.is_empty())
                .map(|run| {
                    let from = run.iter().map(|row| lives.begins[*row as usize]).min().unwrap_or(0);
                    (from, run.iter().map(|row| lives.ends[*row as usize]).max().unwrap_or(0))
                })
                .collect();
            let runs = runs.into_iter().filter(|run| !run.is_empty()).collect();
            self.files.insert(self.next, File { facts, runs, extents });
            self.next += 1;
        }
    }
}

impl Files for CellFiles {
    fn died(&mut self, file: u32) {
        self.files.get_mut(&file).expect("rows are in files that are there").facts.dead += 1;
    }

    fn checkpoint(&mut self, lives: &mut Lives, rows: Vec<Row>, _version: At, compact: bool) {
        let visible = CellFiles::visible(lives);
        self.write(lives, &rows, &visible);
        while compact && self.compacts {
            let facts: Vec<FileFacts> = self.files.values().map(|file| file.facts).collect();
            let steps = plan(&facts, &visible, &self.parameters);
            if steps.is_empty() {
                break;
            }
            for step in steps {
                let taken = step.inputs.iter().filter_map(|id| self.files.remove(&(*id as u32)));
                let rows: Vec<Row> = taken.flat_map(|file| file.runs.into_iter().flatten()).collect();
                self.write(lives, &rows, &visible);
            }
        }
        self.ends.clone_from(&lives.ends);
    }

    fn rows_stored(&self) -> u64 {
        self.files.values().map(|file| file.facts.rows).sum()
    }

    fn rows_written(&self) -> u64 {
        self.written
    }

    fn extents(&self) -> Vec<Extent> {
        let mut extents = Vec::new();
        for (number, file) in self.files.values().enumerate() {
            for (run, (from, to)) in file.runs.iter().zip(&file.extents) {
                let to = match file.facts.history {
                    true => *to,
                    false => run.iter().map(|row| self.ends[*row as usize]).max().unwrap_or(0),
                };
                extents.push(Extent { file: number, rows: run.len() as u64, from: *from, to });
            }
        }
        extents
    }
}
