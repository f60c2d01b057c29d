//! What takes the room of a database: bytes by table, by tag, by month.

use super::RetentionRequest;
use super::decide::{Decision, decide};
use super::plan::{rules_of, stored_bytes};
use super::survey::each_group;
use super::verdict::{Reason, TableState, month_of};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::files::io_error;
use crate::layout::{DATA_DIR, DIRS, ENDS_DIR, LOG_DIR};
use crate::state::State;
use asof_mvcc::{Table, TableId, Version};
use asof_wal::Disk;
use std::collections::{BTreeMap, HashMap};

/// What takes the room of a database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Table by table, by number.
    pub tables: Vec<TableUsage>,
    /// Tag by tag, by name.
    pub tags: Vec<TagUsage>,
    /// Month by month (UTC), in order.
    pub months: Vec<MonthUsage>,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of data and ends files that the newest manifest does not name: of the one before it, or kept by a lease.
    pub waiting_bytes: u64,
    /// Bytes of all else: manifests, commit log, running sums, ids.
    pub other_bytes: u64,
}

/// What a table takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableUsage {
    /// Its full name.
    pub table: String,
    /// Whether it is there at the newest version.
    pub exists: bool,
    /// Bytes of its data, ends and copies files.
    pub bytes: u64,
    /// Row versions in them.
    pub row_versions: u64,
    /// Rows at the newest version that is settled.
    pub rows: u64,
}

/// What a tag costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagUsage {
    /// Its name.
    pub tag: String,
    /// What it names.
    pub version: Version,
    /// Bytes that only it keeps, about: they would go with it under the policies in the settings. `None` where there are
    /// none, and everything is kept.
    pub bytes: Option<u64>,
}

/// What the row versions that began in a month take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonthUsage {
    /// `2026-01`.
    pub month: String,
    /// Bytes of data files, about.
    pub bytes: u64,
    /// Row versions.
    pub row_versions: u64,
}

impl Database {
    /// Bytes by table, by tag and by month. Reads when rows began and ended, all of them.
    pub fn usage(&self) -> Result<Usage> {
        self.refresh()?;
        let state = self.inner.state();
        let rules = rules_of(&state, &RetentionRequest::default());
        let now = self.inner.now();
        let decisions = decide(&state, &rules, None, now)?;
        let mut usage = Usage::default();
        let mut of_tag: BTreeMap<String, f64> = BTreeMap::new();
        let mut months = Months::default();
        for decision in &decisions {
            usage.tables.push(table_usage(&state, &decision.table));
            let sole = Sole::of(decision);
            survey(&state, decision, &sole, &mut of_tag, &mut months)?;
        }
        let priced = rules.has_policy();
        let tags = self.tags()?;
        usage.tags = tags
            .into_iter()
            .map(|tag| TagUsage {
                bytes: priced.then(|| of_tag.get(&tag.name).copied().unwrap_or(0.0) as u64),
                tag: tag.name,
                version: tag.version,
            })
            .collect();
        usage.months = months.told();
        self.count_files(&mut usage)?;
        Ok(usage)
    }

    fn count_files(&self, usage: &mut Usage) -> Result<()> {
        let inner = &self.inner;
        let mut stored: u64 = 0;
        for dir in DIRS.iter().chain([&LOG_DIR]) {
            let path = inner.layout.join(dir);
            let entries = inner.disk.list(&path).map_err(|error| io_error("list", &path, error))?;
            let bytes: u64 = entries.iter().map(|entry| entry.len).sum();
            match *dir {
                LOG_DIR => usage.log_bytes += bytes,
                DATA_DIR | ENDS_DIR => stored += bytes,
                _ => usage.other_bytes += bytes,
            }
        }
        let named: u64 = usage.tables.iter().map(|table| table.bytes).sum();
        usage.waiting_bytes = stored.saturating_sub(named);
        Ok(())
    }
}

fn table_usage(state: &State, table: &Table) -> TableUsage {
    let manifest = state.generation.manifest();
    TableUsage {
        table: table.name.clone(),
        exists: state.catalog().table(table.id).is_some_and(|table| table.exists_at(state.published())),
        bytes: stored_bytes(manifest, table.id),
        row_versions: rows_of(manifest, table.id),
        rows: state.generation.sums(table.id).rows,
    }
}

fn rows_of(manifest: &crate::manifest::Manifest, table: TableId) -> u64 {
    manifest.data_files.iter().filter(|file| file.table == table).map(|file| file.rows).sum()
}

/// The states of a table that stay, and the tag of those that a single tag keeps.
struct Sole {
    kept: Vec<(TableState, Option<String>)>,
}

impl Sole {
    fn of(decision: &Decision) -> Sole {
        let kept = decision.states.iter().filter(|judged| !judged.reasons.is_empty());
        let sole = kept.map(|judged| match &judged.reasons[..] {
            [Reason::Tag(tag, _)] => (judged.state, Some(tag.clone())),
            _ => (judged.state, None),
        });
        Sole { kept: sole.collect() }
    }

    /// The tag without which nobody would see a row version.
    fn tag_of(&self, begin: u64, end: u64) -> Option<&str> {
        let first = self.kept.partition_point(|(state, _)| state.to <= begin);
        let seen = self.kept[first..].iter().take_while(|(state, _)| state.from < end);
        let mut tags = seen.map(|(_, tag)| tag.as_deref());
        let tag = tags.next()??;
        tags.all(|other| other == Some(tag)).then_some(tag)
    }
}

/// Reads the lives of all rows of a table.
fn survey(
    state: &State,
    decision: &Decision,
    sole: &Sole,
    of_tag: &mut BTreeMap<String, f64>,
    months: &mut Months,
) -> Result<()> {
    let (generation, table) = (&state.generation, &decision.table);
    let mut failed: Option<Error> = None;
    for record in generation.manifest().data_files.iter().filter(|file| file.table == table.id) {
        each_group(generation, table, record, None, &mut |_| true, &mut |lives| {
            for (begin, end) in lives.begins.iter().zip(lives.ends) {
                if let Some(tag) = sole.tag_of(begin.0, end.0) {
                    *of_tag.entry(tag.to_string()).or_insert(0.0) += lives.row_bytes;
                }
                if let Err(error) = months.add(state, *begin, lives.row_bytes) {
                    failed.get_or_insert(error);
                }
            }
        })?;
    }
    failed.map_or(Ok(()), Err)
}

/// What is counted of each month.
#[derive(Default)]
struct Months {
    /// For each month: its name, from which version on, bytes, rows.
    counts: BTreeMap<i64, (String, f64, u64)>,
    /// Which month the commits of versions are of.
    of_version: HashMap<Version, i64>,
}

impl Months {
    fn add(&mut self, state: &State, begin: Version, bytes: f64) -> Result<()> {
        let next = match self.of_version.get(&begin) {
            Some(next) => *next,
            None => {
                let (month, next) = month_of(state.time(begin)?.0);
                self.of_version.insert(begin, next);
                self.counts.entry(next).or_insert((month, 0.0, 0));
                next
            }
        };
        let (_, sum, rows) =
            self.counts.get_mut(&next).expect("it was counted when its first version was met");
        (*sum, *rows) = (*sum + bytes, *rows + 1);
        Ok(())
    }

    fn told(self) -> Vec<MonthUsage> {
        let told = |(month, bytes, row_versions): (String, f64, u64)| MonthUsage {
            month,
            bytes: bytes as u64,
            row_versions,
        };
        self.counts.into_values().map(told).collect()
    }
}
