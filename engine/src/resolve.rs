//! Which version an as-of expression names, and what to say where it names none.

use crate::api::Resolved;
use crate::asof::{AsOf, format_time};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::state::State;
use asof_mvcc::{CommitTime, Version};

/// How many commits back `commit:ID` is looked for by their ids' times at each step; ids carry their time.
const NEAREST: usize = 5;

/// Resolves an expression at this moment.
pub fn resolve(database: &Database, asof: &AsOf) -> Result<Resolved> {
    let (version, moving) = match asof {
        AsOf::Version(version) => {
            database.inner.state_with(*version)?;
            (*version, false)
        }
        AsOf::Latest { back } => {
            let latest = database.refresh()?;
            let version = latest.0.checked_sub(*back).map(Version);
            let missing = || {
                Error::not_found(format!(
                    "there are only {latest} versions: latest~{back} is before version 0"
                ))
                .with_nearest(vec![Version::ZERO.to_string()])
            };
            (version.ok_or_else(missing)?, true)
        }
        AsOf::Tag(name) => {
            let tags = database.tags()?;
            let tag = tags.iter().find(|tag| tag.name == *name);
            (tag.ok_or_else(|| unknown_tag(&database.inner.state(), name))?.version, true)
        }
        AsOf::Time(time) => at_time(database, *time)?,
        AsOf::Before(time) => {
            // The day may not be over: then later commits of it count too.
            let last = CommitTime(time.0.saturating_sub(1));
            let version = database.version_at(last)?;
            let latest = database.refresh()?;
            (database.version_at(last)?.max(version), database.commit_time(latest)? <= last)
        }
        AsOf::Relative(relative) => {
            let (version, _) = at_time(database, relative.instant(database.inner.now()))?;
            (version, true)
        }
        AsOf::Previous(inner) => {
            let inner = resolve(database, inner)?;
            let missing = || {
                Error::not_found("there is no version before version 0")
                    .with_nearest(vec![Version::ZERO.to_string()])
            };
            (inner.version.previous().ok_or_else(missing)?, inner.moving)
        }
        AsOf::Commit(id) => {
            let latest = database.refresh()?;
            (find_commit(database, *id, latest)?, false)
        }
    };
    Ok(Resolved { version, time: database.commit_time(version)?, moving })
}

fn at_time(database: &Database, time: CommitTime) -> Result<(Version, bool)> {
    let state = database.inner.state();
    if state.generation.version() > Version::ZERO && time < CommitTime(state.generation.manifest().time) {
        return Ok((database.version_at(time)?, false));
    }
    // Where the log is damaged, times before the damage are known all the same.
    let refreshed = database.refresh();
    let state = database.inner.state();
    if state.published() > Version::ZERO && time < state.time(state.published())? {
        return Ok((state.version_at(time)?, false));
    }
    let latest = refreshed?;
    let last = database.commit_time(latest)?;
    if time > last.max(database.inner.now()) {
        return Err(Error::not_found(format!(
            "{} is in the future; the newest version is {latest}{}",
            format_time(time),
            if latest == Version::ZERO { String::new() } else { format!(", of {}", format_time(last)) }
        ))
        .with_nearest(vec![latest.to_string()]));
    }
    Ok((database.version_at(time)?, time > last))
}

/// Ids are UUIDv7: they carry the wall-clock time of their commit in milliseconds, which is near the commit time unless
/// that was given. Looks there first, then everywhere.
fn find_commit(database: &Database, id: uuid::Uuid, latest: Version) -> Result<Version> {
    let bytes = id.as_bytes();
    let milliseconds = bytes[..6].iter().fold(0i64, |time, &byte| time << 8 | byte as i64);
    let near = database.version_at(CommitTime(milliseconds.saturating_mul(1000)))?.0;
    let around = (0..64).flat_map(|step| [near.checked_sub(step), near.checked_add(step + 1)]).flatten();
    for version in around.chain((1..=latest.0).rev()).filter(|version| (1..=latest.0).contains(version)) {
        if database.commit_info(Version(version))?.id == id {
            return Ok(Version(version));
        }
    }
    Err(Error::not_found(format!("there is no commit {id}; by its time, version {near} is nearest"))
        .with_nearest(vec![near.to_string()]))
}

/// The error for a version that does not exist.
pub(crate) fn no_version(state: &State, version: Version) -> Error {
    let latest = state.published();
    Error::not_found(format!("there is no version {version}; the newest is {latest}"))
        .with_nearest(vec![latest.to_string()])
}

/// The error for an unknown tag.
pub(crate) fn unknown_tag(state: &State, name: &str) -> Error {
    let memory = state.memory.read();
    if let Some(expired) = memory.tags.get(name).and_then(|tag| tag.expires) {
        return Error::not_found(format!("tag '{name}' expired at {}", format_time(expired)));
    }
    if memory.tags.is_empty() {
        return Error::not_found(format!("there is no tag '{name}', nor any other"));
    }
    let nearest = nearest_names(name, memory.tags.keys().map(String::as_str));
    Error::not_found(format!("there is no tag '{name}'{}", did_you_mean(&nearest))).with_nearest(nearest)
}

/// The names nearest to one that does not exist, best first.
pub(crate) fn nearest_names<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let name = name.to_lowercase();
    let scored = names.map(|other| (distance(&name, &other.to_lowercase()), other));
    let mut scored: Vec<(usize, &str)> = scored.collect();
    scored.sort_unstable();
    scored.into_iter().take(NEAREST).map(|(_, other)| other.to_string()).collect()
}

/// "; nearest: a, b" or nothing.
pub(crate) fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; nearest: {}", nearest.join(", ")) }
}

/// How many characters to insert, remove or replace (Levenshtein), on at most 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + (x != y) as usize;
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_few_letters_are_nearest_in_whatever_case() {
        let names = ["a/b", "one", "wide", "UP", "orders"];
        assert_eq!(nearest_names("WIDE", names.into_iter())[0], "wide");
        assert_eq!(nearest_names("Order", names.into_iter())[0], "orders");
        assert_eq!(nearest_names("up", names.into_iter())[0], "UP");
    }
}
