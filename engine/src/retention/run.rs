//! Lets versions go: first a manifest says that they are gone, then the files that hold rows of them alone are removed or
//! written anew without.
//!
//! Invariants. What is gone is decided under the lock of checkpoints, and installed under the log's turn, where tags,
//! settings and the lives of tables are those that it was decided by: a tag that was made before keeps what it names, and
//! a table that came back its rows. It is gone from the moment that the manifest has its name: whoever names a version or
//! brings a table back looks for it, under the turn too, should its record not be there. Then each rewrite is a step
//! of compaction, which can be stopped or killed at any point; what is left over is done by the next run.

use super::RetentionRequest;
use super::decide::{Decision, Grounds, decide, settled_tables};
use super::plan::{rules_of, tells_of_gone};
use super::settings::Rules;
use super::survey::{Hidden, hidden_in, is_wholly_hidden};
use crate::api::LeaseInfo;
use crate::checkpoint::while_locked;
use crate::codec::records::kind;
use crate::compact::keep::{Seen, end_of};
use crate::compact::policy::{Parameters, Reason, Step};
use crate::compact::rewrite::Pace;
use crate::compact::run::{CompactionStep, deaths_told};
use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::inspect::leases;
use crate::layout::{DATA_DIR, ENDS_DIR};
use crate::manifest::{self, CopiesRecord, DataFileRecord, GoneRecord, Manifest};
use asof_wal::Disk;
use std::collections::{HashMap, HashSet};

/// Rows that stay which are rewritten together, at most.
const STEP_ROWS_MAX: u64 = 2_000_000;
/// Files that are rewritten together, at most.
const STEP_FILES_MAX: usize = 64;
/// How often a decision is made anew where tags or settings change meanwhile.
const DECISIONS_MAX: usize = 8;
/// How often files are looked at anew after they were rewritten.
const ROUNDS_MAX: usize = 8;
/// Upkeep rewrites a file from this share of rows that go on.
const SHARE_OF_UPKEEP: f64 = 0.25;

/// What a retention run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// States of tables that are gone now and were not before.
    pub states: u64,
    /// Row versions that went.
    pub rows: u64,
    /// Bytes of data and ends files on disk, before and after.
    pub bytes_before: u64,
    /// See `bytes_before`.
    pub bytes_after: u64,
    /// Files that were removed or written anew.
    pub files: u64,
    /// Who reads by a manifest still: what went stays on disk until they have ended.
    pub leases: Vec<LeaseInfo>,
}

impl Database {
    /// Settles what is in the log, lets the versions go that nothing keeps, and the rows that only they showed. `pace` is
    /// told of rows as they are read, and may sleep; where it gives `false`, what is done so far stands. What an archive
    /// must hold first, and does not, stays ([`RetentionRequest::archived`]).
    pub fn retain(
        &self,
        request: &RetentionRequest,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<RetentionReport> {
        self.refresh()?;
        // What cannot be decided is said before anything is done.
        let state = self.inner.state();
        decide(&state, &rules_of(&state, request), request.table.as_deref(), self.inner.now())?;
        drop(state);
        self.checkpoint()?;
        let bytes_before = stored_bytes(&self.inner)?;
        let mut report =
            RetentionReport { bytes_before, bytes_after: bytes_before, ..RetentionReport::default() };
        if !pace(0) {
            return Ok(report);
        }
        let wait = self.options().wait;
        let installed = while_locked(self, wait, |inner| let_go(inner, request, &mut report))?;
        if installed.is_none() {
            return Err(Error::new(
                ErrorKind::Locked,
                "another process makes a checkpoint or compacts; try again",
            ));
        }
        reclaim(self, request, 0.0, pace, &mut report)?;
        report.bytes_after = stored_bytes(&self.inner)?;
        report.leases = leases(&*self.inner.disk, &self.inner.layout);
        Ok(report)
    }
}

/// What came of applying stored policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// All that they let go is gone.
    Done,
    /// There are none.
    NoPolicy,
    /// Another process makes a checkpoint or compacts.
    Locked,
}

/// Does what the policies in the settings ask for, as far as it pays. For upkeep, which has just made a checkpoint.
pub(crate) fn apply_stored(database: &Database, pace: &mut dyn FnMut(u64) -> bool) -> Result<Applied> {
    let request = RetentionRequest::default();
    if !rules_of(&database.inner.state(), &request).has_policy() {
        return Ok(Applied::NoPolicy);
    }
    let mut report = RetentionReport::default();
    let wait = std::time::Duration::ZERO;
    if while_locked(database, wait, |inner| let_go(inner, &request, &mut report))?.is_none() {
        return Ok(Applied::Locked);
    }
    reclaim(database, &request, SHARE_OF_UPKEEP, pace, &mut report)?;
    Ok(Applied::Done)
}

/// Bytes of data and ends files that are there, named or not.
fn stored_bytes(inner: &Inner) -> Result<u64> {
    let mut bytes = 0;
    for dir in [DATA_DIR, ENDS_DIR] {
        let dir = inner.layout.join(dir);
        let entries = inner.disk.list(&dir).map_err(|error| io_error("list", &dir, error))?;
        bytes += entries.iter().map(|entry| entry.len).sum::<u64>();
    }
    Ok(bytes)
}

/// Decides what goes, and makes the manifest that says so the newest.
fn let_go(inner: &Inner, request: &RetentionRequest, report: &mut RetentionReport) -> Result<()> {
    for _ in 0..DECISIONS_MAX {
        let state = inner.state();
        let grounds = Grounds::of(&state);
        let rules: Rules = rules_of(&state, request);
        let decisions = decide(&state, &rules, request.table.as_deref(), inner.now())?;
        let new = decisions.iter().filter(|decision| decision.is_new);
        let goes = new.flat_map(|decision| &decision.states);
        let states = goes.filter(|judged| !judged.gone && judged.reasons.is_empty()).count() as u64;
        if states == 0 {
            return Ok(());
        }
        let old = state.generation.manifest();
        let newest = manifest::list(&*inner.disk, &inner.layout)?.first().copied().unwrap_or(0);
        let manifest = manifest_without(old, &decisions, newest.max(old.number) + 1, report);
        drop(state);
        let log = inner.log()?;
        let mut turn = log.take_turn(inner.options.wait)?;
        inner.follow()?;
        if Grounds::of(&inner.state()) != grounds {
            continue;
        }
        manifest.write(&*inner.disk, &inner.layout)?;
        let ticket = turn.append(kind::CHECKPOINT, &manifest.number.to_le_bytes())?;
        log.wait(ticket)?;
        drop(turn);
        report.states = states;
        // That record is met like anybody else's: little has been logged since the checkpoint just made.
        inner.follow()?;
        return match inner.state().generation.manifest().number >= manifest.number {
            true => Ok(()),
            false => Err(Error::corrupt("the manifest just made is gone; run 'asof verify'")),
        };
    }
    Err(Error::new(ErrorKind::Busy, "tags, settings or tables change all the time; try again"))
}

/// A manifest that says what is gone, without the files that hold nothing else.
fn manifest_without(
    old: &Manifest,
    decisions: &[Decision],
    number: u64,
    report: &mut RetentionReport,
) -> Manifest {
    let decided: HashMap<u32, &Decision> =
        decisions.iter().map(|decision| (decision.table.id, decision)).collect();
    let hides = |file: &DataFileRecord| {
        decided.get(&file.table).is_some_and(|decision| {
            let dropped = end_of(&decision.table);
            is_wholly_hidden(file, &Seen { gone: decision.gone.clone(), dropped })
        })
    };
    let (hidden, kept): (Vec<&DataFileRecord>, Vec<&DataFileRecord>) =
        old.data_files.iter().partition(|file| hides(file));
    report.rows = hidden.iter().map(|file| file.rows).sum();
    report.files = hidden.len() as u64;
    let going: HashSet<u64> = hidden.iter().map(|file| file.id).collect();
    let tells = |copies: &&CopiesRecord| {
        decided.get(&copies.file.table).is_none_or(|decision| !tells_of_gone(copies, &decision.gone))
    };
    let others = old.gone.iter().filter(|gone| !decided.contains_key(&gone.table)).cloned();
    let record = |decision: &Decision| GoneRecord {
        table: decision.table.id,
        ranges: decision.gone.ranges().to_vec(),
    };
    let new = decisions.iter().filter(|decision| !decision.gone.is_empty()).map(record);
    let mut gone: Vec<GoneRecord> = others.chain(new).collect();
    gone.sort_by_key(|gone| gone.table);
    Manifest {
        number,
        data_files: kept.into_iter().cloned().collect(),
        measures: old.measures.iter().filter(|measures| !going.contains(&measures.file)).copied().collect(),
        copies: old.copies.iter().filter(tells).cloned().collect(),
        gone,
        ..old.clone()
    }
}

/// Writes the files anew that hold rows nobody sees, and lets the old ones go.
fn reclaim(
    database: &Database,
    request: &RetentionRequest,
    share_min: f64,
    pace: &mut dyn FnMut(u64) -> bool,
    report: &mut RetentionReport,
) -> Result<()> {
    let mut rewrote = report.files > 0 || report.states > 0;
    let mut tried: HashSet<(u32, Vec<u64>)> = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let steps = match steps(database, request, share_min, pace) {
            // It was stopped: what is done stands.
            Err(error) if error.kind() == ErrorKind::Busy => return Ok(()),
            steps => steps?,
        };
        let key = |step: &CompactionStep| (step.table_id, step.step.inputs.clone());
        let steps: Vec<_> = steps.into_iter().filter(|(step, _)| !tried.contains(&key(step))).collect();
        if steps.is_empty() {
            break;
        }
        for (step, hidden) in steps {
            tried.insert(key(&step));
            match database.compact_step(&step, pace) {
                Ok(Some(done)) => {
                    rewrote = true;
                    report.rows += hidden;
                    report.files += done.files_read;
                }
                // Another process is at it, or has been.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    log::error!("rows of table {} that nobody sees stay: {error}", step.table);
                }
                Err(error) if error.kind() == ErrorKind::Busy => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
    match rewrote {
        true => database.release_files(),
        false => Ok(()),
    }
}

/// The steps that are left, each with the rows that go by it.
fn steps(
    database: &Database,
    request: &RetentionRequest,
    share_min: f64,
    pace: &mut Pace<'_>,
) -> Result<Vec<(CompactionStep, u64)>> {
    let state = database.inner.state();
    let generation = &state.generation;
    let wanted = |name: &str| request.table.as_deref().is_none_or(|table| table == name);
    let mut steps = Vec::new();
    for table in settled_tables(&state).filter(|table| wanted(&table.name)) {
        let Some(gone) = generation.gone(table.id) else { continue };
        let step = |files: &[Hidden]| {
            let step = Step {
                inputs: files.iter().map(|hidden| hidden.file).collect(),
                reason: Reason::Gone,
                rows: files.iter().map(|hidden| hidden.rows).sum(),
                dead: files.iter().map(|hidden| hidden.hidden).sum(),
                bytes: files.iter().map(|hidden| hidden.bytes).sum(),
            };
            let hidden = step.dead;
            let name = table.name.clone();
            (
                CompactionStep { table_id: table.id, table: name, step, parameters: Parameters::AUTOMATIC },
                hidden,
            )
        };
        let found = hidden_in(generation, &table, gone, pace)?;
        let pays = |hidden: &&Hidden| hidden.hidden as f64 >= share_min * hidden.rows as f64;
        let (live, history): (Vec<Hidden>, Vec<Hidden>) =
            found.iter().filter(pays).copied().partition(|hidden| !hidden.history);
        let before = steps.len();
        steps.extend(live.iter().map(|hidden| step(std::slice::from_ref(hidden))));
        let mut together: Vec<Hidden> = Vec::new();
        for hidden in history {
            let rows: u64 = together.iter().map(|hidden| hidden.rows - hidden.hidden).sum();
            if together.len() >= STEP_FILES_MAX || rows + hidden.rows - hidden.hidden > STEP_ROWS_MAX {
                steps.push(step(&std::mem::take(&mut together)));
            }
            together.push(hidden);
        }
        if !together.is_empty() {
            steps.push(step(&together));
        }
        let (told, needed) = deaths_told(generation.manifest(), table.id);
        if steps.len() == before && told > needed {
            steps.push(step(&[]));
        }
    }
    Ok(steps)
}
