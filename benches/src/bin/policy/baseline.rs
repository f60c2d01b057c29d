//! The baseline: a file is closed at a checkpoint once enough of its rows are dead, and its living rows are copied on;
//! files are merged while the births they span are few beside what is visible.

use crate::table::{At, Extent, FOREVER, Files, Lives, Row};
use std::collections::BTreeMap;

struct File {
    rows: Vec<Row>,
    dead: u64,
    /// Versions that read it.
    valid: (At, At),
    begins: (At, At),
}

pub struct Baseline {
    dead_share: f64,
    births_share: f64,
    files: BTreeMap<u32, File>,
    next: u32,
    written: u64,
    ends: Vec<At>,
}

impl Baseline {
    pub fn new(dead_share: f64, births_share: f64) -> Baseline {
        Baseline { dead_share, births_share, files: BTreeMap::new(), next: 0, written: 0, ends: Vec::new() }
    }

    fn write(&mut self, lives: &mut Lives, rows: Vec<Row>, valid_from: At) {
        if rows.is_empty() {
            return;
        }
        let begins = rows.iter().map(|row| lives.begins[*row as usize]);
        let begins = (begins.clone().min().unwrap_or(0), begins.max().unwrap_or(0));
        let dead = rows.iter().filter(|row| lives.ends[**row as usize] != FOREVER).count() as u64;
        rows.iter().for_each(|row| lives.files[*row as usize] = self.next);
        self.written += rows.len() as u64;
        self.files.insert(self.next, File { rows, dead, valid: (valid_from, FOREVER), begins });
        self.next += 1;
    }
}

impl Files for Baseline {
    fn died(&mut self, file: u32) {
        self.files.get_mut(&file).expect("rows are in files that are there").dead += 1;
    }

    fn checkpoint(&mut self, lives: &mut Lives, rows: Vec<Row>, version: At, compact: bool) {
        self.ends.clone_from(&lives.ends);
        let (dead, living): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| lives.ends[*row as usize] != FOREVER);
        self.write(lives, dead, 0);
        self.write(lives, living, 0);
        if !compact {
            return;
        }
        let open = |file: &File| file.valid.1 == FOREVER && file.dead < file.rows.len() as u64;
        let mut copied = Vec::new();
        for file in self.files.values_mut().filter(|file| open(file)) {
            if file.dead as f64 >= self.dead_share * file.rows.len() as f64 {
                file.valid.1 = version + 1;
                copied.extend(file.rows.iter().filter(|row| lives.ends[**row as usize] == FOREVER));
            }
        }
        self.write(lives, copied, version + 1);
        // Merge adjacent files that may be read by the same versions.
        let mut by_age: Vec<(At, (At, At), u32, u64)> = self
            .files
            .iter()
            .filter(|(_, file)| open(file))
            .map(|(id, file)| (file.valid.0, file.begins, *id, file.rows.len() as u64))
            .collect();
        by_age.sort_unstable();
        let mut first = 0;
        while first < by_age.len() {
            let mut last = first;
            let limit = self.births_share * lives.visible[by_age[first].1.0 as usize] as f64;
            let (mut total, mut largest) = (by_age[first].3, by_age[first].3);
            let mut merged = 0;
            while let Some((from, _, _, rows)) = by_age.get(last + 1)
                && *from == by_age[first].0
                && (*from > 0 || (total + rows) as f64 <= limit)
            {
                last += 1;
                (total, largest) = (total + rows, largest.max(*rows));
                if last - first >= 3 && total >= 2 * largest {
                    merged = last;
                }
            }
            if merged > 0 {
                let taken = by_age[first..=merged].iter().filter_map(|(_, _, id, _)| self.files.remove(id));
                let rows = taken.flat_map(|file| file.rows).collect();
                self.write(lives, rows, by_age[first].0);
            }
            first = merged.max(first) + 1;
        }
    }

    fn rows_stored(&self) -> u64 {
        self.files.values().map(|file| file.rows.len() as u64).sum()
    }

    fn rows_written(&self) -> u64 {
        self.written
    }

    fn extents(&self) -> Vec<Extent> {
        let files = self.files.values().enumerate().map(|(number, file)| {
            let last = file.rows.iter().map(|row| self.ends[*row as usize]).max().unwrap_or(0);
            let from = file.begins.0.max(file.valid.0);
            Extent { file: number, rows: file.rows.len() as u64, from, to: last.min(file.valid.1).max(from) }
        });
        files.collect()
    }
}
