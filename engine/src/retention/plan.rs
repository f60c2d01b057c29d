//! What a retention run would do: every version kept or gone, with the reason, and the bytes that go.

use super::RetentionRequest;
use super::decide::{Decision, Grounds, decide};
use super::policy::Policy;
use super::settings::Rules;
use super::survey::{Hidden, hidden_in};
use super::verdict::Reason;
use crate::api::LeaseInfo;
use crate::compact::run::deaths_told;
use crate::database::Database;
use crate::error::Result;
use crate::gone::Gone;
use crate::inspect::leases;
use crate::manifest::Manifest;
use crate::state::State;
use asof_mvcc::{CommitTime, TableId, Version};
use std::sync::Arc;

/// What a retention run would do.
#[derive(Clone, Debug)]
pub struct RetentionPlan {
    /// The version up to which everything is in data files: what is newer stays.
    pub settled: Version,
    /// The time that windows count back from.
    pub now: CommitTime,
    /// Table by table, by number.
    pub tables: Vec<TablePlan>,
    /// Who reads by a manifest: what goes stays on disk until they have ended.
    pub leases: Vec<LeaseInfo>,
}

/// What becomes of a table.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its full name.
    pub table: String,
    /// The setting that its policy is from, or `given`, and the policy; `None` where everything is kept.
    pub policy: Option<(String, Policy)>,
    /// Its versions, in order, none left out.
    pub stretches: Vec<Stretch>,
    /// Bytes of its data, ends and copies files.
    pub bytes: u64,
    /// Those of them that go, about.
    pub freed_bytes: u64,
    /// Row versions.
    pub rows: u64,
    /// Those of them that go.
    pub freed_rows: u64,
    /// Row versions of the files that are written anew for that.
    pub rewritten_rows: u64,
}

/// Versions that follow one another and share one fate for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// The first.
    pub from: Version,
    /// The last; the newest there is, where that is in it.
    pub last: Version,
    /// The commit time of the first.
    pub time: CommitTime,
    /// States of the table in it: what it was between two changes.
    pub states: u64,
    /// What becomes of them.
    pub fate: Fate,
    /// Why they are kept.
    pub reasons: Vec<Reason>,
}

/// What becomes of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It can be read, and stays so.
    Kept,
    /// It can be read, and goes.
    Goes,
    /// It is gone already.
    Gone,
}

impl RetentionPlan {
    /// Bytes of all tables planned for.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }

    /// Those of them that go, about.
    pub fn freed_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.freed_bytes).sum()
    }
}

impl Database {
    /// What [`Database::retain`] would do now. Changes nothing.
    pub fn retention_plan(&self, request: &RetentionRequest) -> Result<RetentionPlan> {
        self.refresh()?;
        let state = self.inner.state();
        let rules = rules_of(&state, request);
        let now = self.inner.now();
        let decisions = decide(&state, &rules, request.table.as_deref(), now)?;
        let newest = state.published();
        let tables = decisions.into_iter().map(|decision| table_plan(&state, decision, newest));
        Ok(RetentionPlan {
            settled: state.generation.version(),
            now,
            tables: tables.collect::<Result<_>>()?,
            leases: leases(&*self.inner.disk, &self.inner.layout),
        })
    }
}

/// What a request goes by.
pub(super) fn rules_of(state: &State, request: &RetentionRequest) -> Rules {
    let settings = Grounds::of(state).settings;
    Rules::new(settings, request.policy.clone(), request.tag_patterns.clone()).up_to(request.archived)
}

fn table_plan(state: &State, decision: Decision, newest: Version) -> Result<TablePlan> {
    let (generation, id) = (&state.generation, decision.table.id);
    let manifest = generation.manifest();
    let hidden = match decision.gone.is_empty() {
        true => Vec::new(),
        false => hidden_in(generation, &decision.table, &decision.gone, &mut |_| true)?,
    };
    let of_table = || manifest.data_files.iter().filter(|file| file.table == id);
    Ok(TablePlan {
        table: decision.table.name.clone(),
        stretches: stretches(&decision, newest),
        bytes: stored_bytes(manifest, id),
        freed_bytes: freed_bytes(manifest, id, &hidden, &decision.gone),
        rows: of_table().map(|file| file.rows).sum(),
        freed_rows: hidden.iter().map(|hidden| hidden.hidden).sum(),
        rewritten_rows: hidden.iter().filter(|one| one.hidden < one.rows).map(|one| one.rows).sum(),
        policy: decision.policy,
    })
}

fn stretches(decision: &Decision, newest: Version) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for judged in &decision.states {
        let last = if judged.state.to == u64::MAX { newest } else { Version(judged.state.to - 1) };
        let fate = match (judged.gone, judged.reasons.is_empty()) {
            (true, _) => Fate::Gone,
            (false, true) => Fate::Goes,
            (false, false) => Fate::Kept,
        };
        match stretches.last_mut() {
            Some(stretch)
                if (stretch.fate, &stretch.reasons) == (fate, &judged.reasons)
                    && stretch.last.next().0 == judged.state.from =>
            {
                stretch.last = last;
                stretch.states += 1;
            }
            _ => stretches.push(Stretch {
                from: Version(judged.state.from),
                last,
                time: CommitTime(judged.state.time),
                states: 1,
                fate,
                reasons: judged.reasons.clone(),
            }),
        }
    }
    stretches
}

/// Bytes of the data, ends and copies files of a table.
pub(super) fn stored_bytes(manifest: &Manifest, table: TableId) -> u64 {
    let data = manifest.data_files.iter().filter(|file| file.table == table).map(|file| file.bytes);
    let ends = manifest.ends_files.iter().filter(|file| file.table == table).map(|file| file.bytes);
    let copies = manifest.copies.iter().map(|copies| &copies.file).filter(|file| file.table == table);
    data.chain(ends).chain(copies.map(|file| file.bytes)).sum()
}

/// Whether copies of changes tell of versions that are gone.
pub(super) fn tells_of_gone(copies: &crate::manifest::CopiesRecord, gone: &Gone) -> bool {
    gone.first_within(copies.after + 1, copies.up_to()).is_some()
}

/// Bytes that go, about: shares of data files, copies of versions that are gone, what ends files tell of rows of files
/// that are rewritten.
fn freed_bytes(manifest: &Manifest, table: TableId, hidden: &[Hidden], gone: &Arc<Gone>) -> u64 {
    let of_table = manifest.copies.iter().filter(|copies| copies.file.table == table);
    let copies: u64 =
        of_table.filter(|copies| tells_of_gone(copies, gone)).map(|copies| copies.file.bytes).sum();
    let (told, _) = deaths_told(manifest, table);
    let rewritten = hidden.iter().filter(|hidden| !hidden.history);
    let deaths: u64 = rewritten
        .filter_map(|hidden| manifest.measures.iter().find(|measures| measures.file == hidden.file))
        .map(|measures| measures.dead)
        .sum();
    let ends: u64 =
        manifest.ends_files.iter().filter(|file| file.table == table).map(|file| file.bytes).sum();
    let data: u64 = hidden.iter().map(|hidden| hidden.hidden_bytes).sum();
    data + copies + (ends as f64 * deaths as f64 / told.max(1) as f64) as u64
}
