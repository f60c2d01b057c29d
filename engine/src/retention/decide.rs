//! Decides for each table which of its states stay and which go.

use super::settings::Rules;
use super::verdict::{Held, Pin, Reason, TableState, verdicts};
use crate::api::Tag;
use crate::error::{Error, Result};
use crate::gone::Gone;
use crate::state::State;
use asof_mvcc::{CommitTime, Table, Version};
use asof_wal::planted::{Bug, planted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a decision was made by, beside the files: it holds as long as this is the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grounds {
    pub tags: BTreeMap<String, Tag>,
    pub settings: BTreeMap<String, String>,
}

impl Grounds {
    /// Those of now.
    pub fn of(state: &State) -> Grounds {
        let memory = state.memory.read();
        Grounds { tags: memory.tags.clone(), settings: memory.settings.clone() }
    }
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
    let tables = state.generation.catalog.all().filter(|one| table.is_none_or(|name| one.name == name));
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
    table: &Arc<Table>,
    pins: &[Pin],
    now: CommitTime,
) -> Result<Decision> {
    let policy = rules.policy_of(&table.name)?;
    let settled = state.generation.version().0;
    let (states, gone) = states_of(state, table)?;
    let archived = rules.archived().map_or(u64::MAX, |archived| archived.0);
    let held = Held { settled, archived };
    let reasons = verdicts(&states, policy.as_ref().map(|(_, policy)| policy), pins, now.0, held);
    let mut all = Gone::default();
    let mut is_new = false;
    let mut judged = Vec::with_capacity(states.len());
    for ((state, reasons), gone) in states.into_iter().zip(reasons).zip(gone) {
        if gone || reasons.is_empty() {
            all.push(state.from, state.to);
            is_new |= !gone;
        }
        let reasons = if gone { Vec::new() } else { reasons };
        judged.push(Judged { state, gone, reasons });
    }
    Ok(Decision { table: table.clone(), policy, states: judged, gone: Arc::new(all), is_new })
}

/// The states of a table, those after the manifest's version as one, and which of them are gone: neighbours that are gone
/// are one too.
fn states_of(state: &State, table: &Table) -> Result<(Vec<TableState>, Vec<bool>)> {
    let generation = &state.generation;
    let changes = generation.changes(table.id);
    let gone = generation.gone(table.id);
    let settled = generation.version();
    // What happened to it since ends its last settled state.
    let since = state.memtable(table.id).and_then(|memtable| memtable.read().changes().first().copied());
    let since = since.filter(|version| *version > settled);
    let (mut starts, mut ends): (Vec<(u64, bool)>, Vec<u64>) = (Vec::new(), Vec::new());
    for (begin, end) in &table.lives {
        let end = end.or(since).map_or(u64::MAX, |end| end.0);
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
        let exists = |since: &Version| {
            since.0 == end && state.catalog().table(table.id).is_some_and(|table| table.exists_at(*since))
        };
        if let Some(since) = since.filter(exists) {
            starts.push((since.0, false));
            ends.push(u64::MAX);
        }
    }
    let time = |version: u64| match version {
        u64::MAX => Ok(i64::MAX),
        version => state.time(Version(version)).map(|time| time.0),
    };
    let mut states: Vec<TableState> = Vec::with_capacity(starts.len());
    for ((from, _), to) in starts.iter().zip(ends) {
        // As a rule it begins where the one before it ends.
        let known = states.last().filter(|before| before.to == *from).map(|before| before.until);
        let time_from = known.map_or_else(|| time(*from), Ok)?;
        states.push(TableState { from: *from, to, time: time_from, until: time(to)? });
    }
    Ok((states, starts.into_iter().map(|(_, gone)| gone).collect()))
}
