//! Decides for each table which of its states stay and which go.

use super::settings::Rules;
use super::verdict::{Held, Pin, Reason, TableState, verdicts};
use crate::api::Tag;
use crate::error::{Error, Result};
use crate::gone::Gone;
use crate::state::State;
use asof_mvcc::{CommitTime, Table, TableId, Version};
use asof_wal::planted::{Bug, planted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a decision was made by, beside the files: it holds as long as this is the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grounds {
    pub tags: BTreeMap<String, Tag>,
    pub settings: BTreeMap<String, String>,
    /// When the tables that are settled were there: one that was dropped may come back.
    pub lives: BTreeMap<TableId, Vec<(Version, Option<Version>)>>,
}

impl Grounds {
    /// Those of now.
    pub fn of(state: &State) -> Grounds {
        let lives = settled_tables(state).map(|table| (table.id, table.lives.clone())).collect();
        let memory = state.memory.read();
        Grounds { tags: memory.tags.clone(), settings: memory.settings.clone(), lives }
    }
}

/// The tables that are settled, as they are now: what happened to them since counts.
pub(super) fn settled_tables(state: &State) -> impl Iterator<Item = Arc<Table>> {
    let catalog = state.catalog();
    let settled = state.generation.catalog.all();
    let now: Vec<Arc<Table>> = settled.filter_map(|table| catalog.table(table.id).cloned()).collect();
    now.into_iter()
}

/// A state of a table, and why it is kept.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub state: TableState,
    /// Whether it was gone before.
    pub gone: bool,
    pub reasons: Vec<Reason>,
}

/// What becomes of a table.
#[derive(Debug)]
pub(super) struct Decision {
    pub table: Arc<Table>,
    /// Where its policy is from, and what it is.
    pub policy: Option<(String, super::Policy)>,
    pub states: Vec<Judged>,
    /// All versions that are gone then.
    pub gone: Arc<Gone>,
    /// Whether any of them is not gone yet.
    pub is_new: bool,
}

/// Decides for one table, or for all: those that were settled.
pub(super) fn decide(
    state: &State,
    rules: &Rules,
    table: Option<&str>,
    now: CommitTime,
) -> Result<Vec<Decision>> {
    let tags = Grounds::of(state).tags;
    let tags = tags.values().filter(|_| !planted(Bug::TagsKeepNothing));
    let pins = rules.pins(tags, now)?;
    let tables = settled_tables(state).filter(|one| table.is_none_or(|name| one.name == name));
    let decisions: Vec<Decision> =
        tables.map(|table| decide_table(state, rules, table, &pins, now)).collect::<Result<_>>()?;
    let known = table.is_none_or(|name| state.catalog().incarnations(name).next().is_some());
    match known {
        true => Ok(decisions),
        false => Err(Error::not_found(format!("there is no table {}", table.unwrap_or_default()))),
    }
}

fn decide_table(
    state: &State,
    rules: &Rules,
    table: Arc<Table>,
    pins: &[Pin],
    now: CommitTime,
) -> Result<Decision> {
    let policy = rules.policy_of(&table.name)?;
    let settled = state.generation.version().0;
    let archived = rules.archived().map_or(u64::MAX, |archived| archived.0);
    let held = Held { settled, archived };
    let found = states_of(state, &table)?;
    // What is gone is no state any more: it counts for no rule.
    let left: Vec<TableState> = found.iter().filter(|(_, gone)| !gone).map(|(state, _)| *state).collect();
    let reasons = verdicts(&left, policy.as_ref().map(|(_, policy)| policy), pins, now.0, held);
    let mut reasons = reasons.into_iter();
    let mut all = Gone::default();
    let mut is_new = false;
    let mut judged = Vec::with_capacity(found.len());
    for (state, gone) in found {
        let mut reasons = if gone { Vec::new() } else { reasons.next().unwrap_or_default() };
        if !gone && comes_back_after(&table, state.to, settled) && !reasons.contains(&Reason::Unsettled) {
            reasons.push(Reason::Unsettled);
        }
        if reasons.is_empty() {
            all.push(state.from, state.to);
            is_new |= !gone;
        }
        judged.push(Judged { state, gone, reasons });
    }
    Ok(Decision { table, policy, states: judged, gone: Arc::new(all), is_new })
}

/// Whether a table was dropped at a version, and is there again by a commit that is not settled: that has its rows from
/// its last state.
fn comes_back_after(table: &Table, dropped: u64, settled: u64) -> bool {
    let pairs = table.lives.windows(2);
    pairs.into_iter().any(|pair| pair[0].1 == Some(Version(dropped)) && pair[1].0.0 > settled)
}

/// The states of a table, those of each life after the manifest's version as one, each with whether it is gone:
/// neighbours that are gone are one too.
fn states_of(state: &State, table: &Table) -> Result<Vec<(TableState, bool)>> {
    let generation = &state.generation;
    let changes = generation.changes(table.id);
    let gone = generation.gone(table.id);
    let settled = generation.version();
    // What happened to it since ends its last settled state.
    let since = state.memtable(table.id).and_then(|memtable| memtable.read().changes().first().copied());
    let since = since.filter(|version| *version > settled);
    let (mut starts, mut ends): (Vec<(u64, bool)>, Vec<u64>) = (Vec::new(), Vec::new());
    for (begin, end) in &table.lives {
        let last = end.map_or(u64::MAX, |end| end.0);
        let end = since.map_or(last, |since| last.min(since.0));
        let mut version = begin.0;
        let mut number = changes.count_up_to(*begin)?;
        while version < end {
            let range = gone.and_then(|gone| gone.range_of(version));
            if let Some((_, to)) = range {
                number = changes.count_up_to(Version(to))?;
                starts.push((version, true));
                ends.push(to);
                version = to;
                continue;
            }
            let next = if number < changes.count() { changes.entry(number)?.version.0.min(end) } else { end };
            number += 1;
            starts.push((version, false));
            ends.push(next);
            version = next;
        }
        if end < last {
            starts.push((end.max(begin.0), false));
            ends.push(last);
        }
    }
    let time = |version: u64| match version {
        u64::MAX => Ok(i64::MAX),
        version => state.time(Version(version)).map(|time| time.0),
    };
    let mut states: Vec<(TableState, bool)> = Vec::with_capacity(starts.len());
    for ((from, gone), to) in starts.into_iter().zip(ends) {
        // As a rule it begins where the one before it ends.
        let known = states.last().filter(|(before, _)| before.to == from).map(|(before, _)| before.until);
        let time_from = known.map_or_else(|| time(from), Ok)?;
        states.push((TableState { from, to, time: time_from, until: time(to)? }, gone));
    }
    Ok(states)
}
