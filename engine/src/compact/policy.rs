//! The policy: which files of a table are rewritten together, and when.
//!
//! Invariants. Live files have disjoint spans of begins, and so have the runs within one. A row version
//! is stored once: rewriting parts the dead of a file from its living and copies nothing twice (copies files
//! are no part of this). The policy sees counts alone, so that the simulator of `docs/compaction.md` and the
//! engine run this same code.

use super::cells::{Lifetime, Measure};

/// What the policy weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// A live file is rewritten when this share of its rows is dead.
    pub dead_share: f64,
    /// But not for fewer dead rows than this, where some are alive.
    pub dead_rows_min: u64,
    /// A run of living rows may have rows begun after its first version up to this share of the rows visible then.
    pub unborn_share: f64,
    /// A run of living rows that began at several versions may have this share of the rows visible at the first.
    pub run_share: f64,
    /// A cell may have this share of the rows visible while it is read.
    pub cell_share: f64,
    /// Or this many rows.
    pub cell_rows: u64,
    /// Fewer files than this are not merged.
    pub fan_in: usize,
    /// Nor are live files if together they have less than this many times the rows of the largest.
    pub growth: f64,
    /// A history file of this many times the rows visible at its time is merged no further.
    pub history_share: f64,
    /// A file of this many rows is merged no further.
    pub file_rows_max: u64,
}

/// Rows of a cell in any case.
pub const CELL_ROWS: u64 = 8_192;
/// Files of this many rows are merged no further.
pub const FILE_ROWS_MAX: u64 = 4_000_000;

impl Parameters {
    /// What runs by itself: `docs/compaction.md` says why.
    pub const AUTOMATIC: Parameters = Parameters {
        dead_share: 1.0 / 3.0,
        dead_rows_min: CELL_ROWS / 16,
        unborn_share: 0.25,
        run_share: 1.0 / 16.0,
        cell_share: 0.02,
        cell_rows: CELL_ROWS,
        fan_in: 4,
        growth: 2.0,
        history_share: 16.0,
        file_rows_max: FILE_ROWS_MAX,
    };

    /// What is asked for by hand.
    pub const BY_HAND: Parameters =
        Parameters { dead_share: 0.05, dead_rows_min: 1, fan_in: 2, growth: 1.1, ..Parameters::AUTOMATIC };

    /// Rows that a cell may have which is read while at least `visible` rows are.
    pub fn cell_rows_max(&self, visible: u64) -> u64 {
        self.cell_rows.max((visible as f64 * self.cell_share) as u64)
    }

    /// Rows that a run of several versions may have which is read while at least `visible` rows are: what a diff of two
    /// neighbours decodes of it.
    pub fn run_rows_max(&self, visible: u64) -> u64 {
        (self.cell_rows * 8).max((visible as f64 * self.run_share) as u64)
    }

    /// Rows begun later that a run of living rows may have which is read while at least `visible` rows are.
    pub fn unborn_rows_max(&self, visible: u64) -> u64 {
        (self.cell_rows / 2).max((visible as f64 * self.unborn_share) as u64)
    }
}

/// What is known of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its number.
    pub id: u64,
    /// Whether all its rows are dead and carry their ends.
    pub history: bool,
    /// Rows.
    pub rows: u64,
    /// Length.
    pub bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Rows of a live file that are dead.
    pub dead: u64,
    /// Lowest and highest begin.
    pub begins: (u64, u64),
    /// Lowest and highest end in a history file.
    pub ends: (u64, u64),
}

impl FileFacts {
    fn living(&self) -> u64 {
        self.rows - self.dead.min(self.rows)
    }
}

/// Versions that are looked at to know how many rows a table showed.
pub const VISIBLE_SAMPLES_MAX: usize = 1_024;

/// How many rows a table showed, at some of its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisibleRows {
    samples: Vec<(u64, u64)>,
}

impl VisibleRows {
    /// From (version, rows visible from it on), ascending by version.
    pub fn new(samples: Vec<(u64, u64)>) -> VisibleRows {
        debug_assert!(samples.is_sorted_by(|a, b| a.0 < b.0));
        VisibleRows { samples }
    }

    /// The same from many versions: as many of them as tell enough.
    pub fn of(versions: impl ExactSizeIterator<Item = (u64, u64)>) -> VisibleRows {
        let stride = versions.len().div_ceil(VISIBLE_SAMPLES_MAX).max(1);
        VisibleRows::new(versions.step_by(stride).collect())
    }

    /// The fewest rows that a version from `from` to before `to` shows; one of them at least.
    pub fn lowest(&self, from: u64, to: u64) -> u64 {
        let first = self.samples.partition_point(|(version, _)| *version <= from).saturating_sub(1);
        let last = self.samples.partition_point(|(version, _)| *version < to).max(first + 1);
        let samples = self.samples.get(first..last.min(self.samples.len())).unwrap_or_default();
        samples.iter().map(|(_, rows)| *rows).min().unwrap_or(0)
    }
}

/// Why files are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Many rows of a live file are dead: they go to cells of their own.
    Separate,
    /// Many small live files of adjacent spans.
    MergeLive,
    /// Many small history files.
    MergeHistory,
    /// Many ends files, or most of what they tell is of files that are gone.
    MergeEnds,
    /// Rows that only versions which are gone showed; without files, what ends files tell of files that went.
    Gone,
}

/// Files that are rewritten together: the living rows of all to live files, the dead of all to a history file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The files.
    pub inputs: Vec<u64>,
    /// Why.
    pub reason: Reason,
    /// Their rows.
    pub rows: u64,
    /// Those of them that are dead.
    pub dead: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Step {
    fn of(reason: Reason, files: &[FileFacts]) -> Step {
        Step {
            inputs: files.iter().map(|file| file.id).collect(),
            reason,
            rows: files.iter().map(|file| file.rows).sum(),
            dead: files.iter().map(|file| if file.history { file.rows } else { file.dead }).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
        }
    }
}

/// What is to be done to the files of a table, most useful first. No file is in two steps.
pub fn plan(files: &[FileFacts], visible: &VisibleRows, parameters: &Parameters) -> Vec<Step> {
    let mut live: Vec<FileFacts> = files.iter().filter(|file| !file.history).copied().collect();
    live.sort_unstable_by_key(|file| (file.begins, file.id));
    let mut history: Vec<FileFacts> = files.iter().filter(|file| file.history).copied().collect();
    history.sort_unstable_by_key(|file| (file.ends.1, file.id));
    let mut steps = Vec::new();
    let mut rest: Vec<FileFacts> = Vec::new();
    // What merges is parted on the way: a merge first, then what is left.
    let mut next = 0;
    while next < live.len() {
        let window = live_window(&live[next..], visible, parameters);
        if window > 0 {
            steps.push(Step::of(Reason::MergeLive, &live[next..next + window]));
            next += window;
        } else {
            rest.push(live[next]);
            next += 1;
        }
    }
    for file in rest {
        // A few dead rows are within the constant that every version may decode.
        let enough = file.dead >= parameters.dead_rows_min.max(1) || file.dead == file.rows;
        if enough && file.dead as f64 >= file.rows as f64 * parameters.dead_share {
            steps.push(Step::of(Reason::Separate, &[file]));
        }
    }
    let merging = history_windows(&history, visible, parameters);
    steps.extend(merging.iter().map(|window| Step::of(Reason::MergeHistory, window)));
    // Most dead rows for the rows written first; merges of small files cost little.
    steps.sort_by(|a, b| {
        let worth = |step: &Step| (step.reason != Reason::Separate, step.rows);
        worth(a).cmp(&worth(b))
    });
    steps
}

/// How many of the first files are worth being merged: none, or as many as stay within what a run may span, and are
/// large enough together that no row is rewritten for little.
fn live_window(files: &[FileFacts], visible: &VisibleRows, parameters: &Parameters) -> usize {
    let mut best = 0;
    let mut later = if files[0].begins.0 == files[0].begins.1 { 0 } else { files[0].living() };
    let (mut total, mut largest) = (files[0].rows, files[0].rows);
    for (index, file) in files.iter().enumerate().skip(1) {
        later += file.living();
        (total, largest) = (total + file.rows, largest.max(file.rows));
        let lowest = visible.lowest(files[0].begins.0, file.begins.1 + 1);
        if later > parameters.unborn_rows_max(lowest) || total > parameters.file_rows_max {
            break;
        }
        if index + 1 >= parameters.fan_in && total as f64 >= largest as f64 * parameters.growth {
            best = index + 1;
        }
    }
    best
}

/// Groups of history files of about one size.
fn history_windows(
    files: &[FileFacts],
    visible: &VisibleRows,
    parameters: &Parameters,
) -> Vec<Vec<FileFacts>> {
    let mut classes: Vec<Vec<FileFacts>> = Vec::new();
    for file in files {
        let lowest = visible.lowest(file.begins.0, file.ends.1);
        let most = parameters.cell_rows_max(lowest).max((lowest as f64 * parameters.history_share) as u64);
        if file.rows >= most.min(parameters.file_rows_max) {
            continue;
        }
        let class = (file.rows / (parameters.cell_rows / 16).max(1)).max(1).ilog2() as usize / 2;
        classes.resize_with(classes.len().max(class + 1), Vec::new);
        classes[class].push(*file);
    }
    let merging = classes.into_iter().flat_map(|class| {
        let groups = class.chunks(parameters.fan_in).map(<[FileFacts]>::to_vec);
        groups.filter(|group| group.len() == parameters.fan_in).collect::<Vec<_>>()
    });
    merging.collect()
}

/// Where the runs of living rows begin: rows as (begin, count), ascending by begin.
pub fn live_runs(begins: &[(u64, u64)], visible: &VisibleRows, parameters: &Parameters) -> Vec<u64> {
    let mut runs: Vec<u64> = Vec::new();
    let (mut rows, mut later) = (0, 0);
    for (begin, count) in begins {
        (rows, later) = (rows + count, later + count);
        let within = runs.last().is_some_and(|first| {
            let visible = visible.lowest(*first, begin + 1);
            later <= parameters.unborn_rows_max(visible) && rows <= parameters.run_rows_max(visible)
        });
        if !within {
            runs.push(*begin);
            (rows, later) = (*count, 0);
        }
    }
    runs
}

/// What the versions of a table ask of its cells: little beside what each shows.
#[derive(Clone, Debug)]
pub struct VersionsMeasure<'a> {
    visible: &'a VisibleRows,
    parameters: &'a Parameters,
    /// For each sample, the costs of all versions before it.
    costs: Vec<f64>,
}

impl<'a> VersionsMeasure<'a> {
    /// What the versions ask that `visible` tells of.
    pub fn new(visible: &'a VisibleRows, parameters: &'a Parameters) -> VersionsMeasure<'a> {
        let mut measure = VersionsMeasure { visible, parameters, costs: vec![0.0] };
        for pair in visible.samples.windows(2) {
            let sum = measure.costs.last().unwrap_or(&0.0)
                + measure.rate(pair[0].1) * (pair[1].0 - pair[0].0) as f64;
            measure.costs.push(sum);
        }
        measure
    }

    /// What decoding a row costs a version that shows so many.
    fn rate(&self, visible: u64) -> f64 {
        1.0 / (visible + self.parameters.cell_rows).max(1) as f64
    }

    /// The costs of all versions before one.
    fn before(&self, version: u64) -> f64 {
        let samples = &self.visible.samples;
        let index = samples.partition_point(|(other, _)| *other <= version).saturating_sub(1);
        match samples.get(index) {
            Some((first, rows)) => {
                self.costs[index] + self.rate(*rows) * version.saturating_sub(*first) as f64
            }
            None => version as f64,
        }
    }
}

impl Measure for VersionsMeasure<'_> {
    fn rows_max(&self, from: u64, to: u64) -> u64 {
        self.parameters.cell_rows_max(self.visible.lowest(from, to))
    }

    fn cost(&self, from: u64, to: u64) -> f64 {
        self.before(to) - self.before(from)
    }
}

/// The dead rows' lives and the living rows' begins, as (begin, count).
pub fn part_lives(lives: impl Iterator<Item = (u64, Option<u64>)>) -> (Vec<Lifetime>, Vec<(u64, u64)>) {
    let mut dead = Vec::new();
    let mut living = std::collections::BTreeMap::new();
    for (begin, end) in lives {
        match end {
            Some(end) => dead.push(Lifetime { begin, end }),
            None => *living.entry(begin).or_insert(0) += 1,
        }
    }
    (dead, living.into_iter().collect())
}
