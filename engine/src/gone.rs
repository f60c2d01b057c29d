//! Versions of tables that retention has let go: which they are, and what is said to who asks for one.
//!
//! Whether a version can be read is a property of (table, version). A version is gone whether or not rows that it alone
//! showed are on disk still: nothing is told of it, so that answers do not depend on when files are rewritten. Invariant:
//! ranges are half open, ascend, and none touches another; they begin and end where the table changed or ended, so that
//! every version that shows what a readable one shows is readable too.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::past::VersionRange;
use asof_mvcc::{Catalog, Table, Version};
use std::sync::Arc;

/// So many versions are named in place of one that is gone.
const NEAREST_MAX: usize = 2;

/// Versions of one table that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    ranges: Vec<(u64, u64)>,
}

impl Gone {
    /// Ranges from disk; `None` where they are not as they should be.
    pub fn new(ranges: Vec<(u64, u64)>) -> Option<Gone> {
        let whole = ranges.iter().all(|(from, to)| from < to && *to < u64::MAX);
        (whole && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0)).then_some(Gone { ranges })
    }

    /// Adds a range that begins at or after all that are there; one that touches the last makes it longer.
    pub fn push(&mut self, from: u64, to: u64) {
        match self.ranges.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => self.ranges.push((from, to)),
        }
    }

    /// The ranges.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// Whether nothing is gone.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The range that a version is gone with.
    pub fn range_of(&self, version: u64) -> Option<(u64, u64)> {
        self.range_around(version, version.checked_add(1)?)
    }

    /// Whether every version from `begin` up to `end`, exclusive, is gone: nobody sees what lived so long.
    pub fn hides(&self, begin: u64, end: u64) -> bool {
        self.range_around(begin, end).is_some()
    }

    /// The range that has all versions from `begin` up to `end`, exclusive.
    fn range_around(&self, begin: u64, end: u64) -> Option<(u64, u64)> {
        let index = self.ranges.partition_point(|(from, _)| *from <= begin).checked_sub(1)?;
        Some(self.ranges[index]).filter(|(_, to)| begin < *to && end <= *to)
    }

    /// The first range that has a version from `from` to `to`.
    pub fn first_within(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let index = self.ranges.partition_point(|(_, end)| *end <= from);
        self.ranges.get(index).copied().filter(|(begin, _)| *begin <= to)
    }

    /// Whether some of what lived in [begin, end) may be hidden: for who knows bounds alone.
    pub fn may_hide(&self, begins: (u64, u64), ends: (u64, u64)) -> bool {
        let index = self.ranges.partition_point(|(_, to)| *to < ends.0.min(u64::MAX - 1).max(begins.0 + 1));
        self.ranges.get(index).is_some_and(|(from, _)| *from <= begins.1)
    }
}

/// The versions of a table that are gone, of which there is at least one.
pub(crate) fn of<'a>(generation: &'a Generation, table: &Table) -> Option<&'a Gone> {
    generation.gone(table.id).map(|gone| &**gone)
}

/// Whether a table can be read at a version at which it exists.
pub(crate) fn is_readable(generation: &Generation, table: &Table, version: Version) -> bool {
    of(generation, table).is_none_or(|gone| gone.range_of(version.0).is_none())
}

/// Whether a version of a range can be read of a table.
pub(crate) fn shows_any(generation: &Generation, table: &Table, range: VersionRange) -> bool {
    of(generation, table).is_none_or(|gone| !gone.hides(range.first.0, range.last.next().0))
}

/// Refuses a version of a table that is gone.
pub(crate) fn check_readable(generation: &Generation, table: &Table, version: Version) -> Result<()> {
    check_all_readable(generation, table, version, version)
}

/// Refuses where any version from `from` to `to` at which the table exists is gone.
pub(crate) fn check_all_readable(
    generation: &Generation,
    table: &Table,
    from: Version,
    to: Version,
) -> Result<()> {
    let found = of(generation, table).and_then(|gone| gone.first_within(from.0, to.0));
    let Some((begin, end)) = found else { return Ok(()) };
    let version = from.0.max(begin);
    let exists = |version: &u64| table.exists_at(Version(*version));
    let mut nearest: Vec<u64> = begin.checked_sub(1).into_iter().chain([end]).filter(exists).collect();
    nearest.sort_by_key(|near| near.abs_diff(version));
    let nearest: Vec<String> = nearest.iter().map(u64::to_string).collect();
    let message = format!(
        "version {version} of table '{}' is gone: retention has let it go{}",
        table.name,
        match &nearest[..] {
            [] => ", as all others of that table near it".to_string(),
            near => format!("; the nearest that can be read: {}", near.join(" and ")),
        }
    );
    Err(Error::not_found(message).with_nearest(nearest))
}

/// Refuses a version of which every table is gone.
pub(crate) fn check_any_readable(generation: &Generation, catalog: &Catalog, version: Version) -> Result<()> {
    let tables = catalog.tables_at(version);
    let Some(first) = tables.first() else { return Ok(()) };
    if tables.iter().any(|table| is_readable(generation, table, version)) {
        return Ok(());
    }
    match &tables[..] {
        [one] => check_readable(generation, one, version),
        _ => {
            let nearest = |table: &&Arc<Table>| check_readable(generation, table, version).err();
            let mut nearest: Vec<u64> = tables
                .iter()
                .filter_map(nearest)
                .flat_map(|error| error.nearest().to_vec())
                .filter_map(|near| near.parse().ok())
                .collect();
            nearest.sort_by_key(|near| near.abs_diff(version.0));
            nearest.dedup();
            nearest.truncate(NEAREST_MAX);
            let (name, others) = (&first.name, tables.len() - 1);
            let message = format!(
                "of version {version} nothing is left: retention has let go table '{name}' and the {others} others there were"
            );
            Err(Error::not_found(message).with_nearest(nearest.iter().map(u64::to_string).collect()))
        }
    }
}

impl Database {
    /// The first version from this one on of which at least one table can be read, or that has none: what listings of
    /// versions show. Versions after the newest are none.
    pub fn next_listed(&self, version: Version) -> Result<Version> {
        let state = self.inner.state_with(version)?;
        let catalog = state.catalog();
        let mut version = version;
        loop {
            let mut next: Option<u64> = None;
            for table in catalog.tables_at(version) {
                match of(&state.generation, table).and_then(|gone| gone.range_of(version.0)) {
                    Some((_, to)) => next = Some(next.map_or(to, |next| next.min(to))),
                    None => return Ok(version),
                }
            }
            let Some(next) = next else { return Ok(version) };
            // Tables that come or go before that make another difference.
            let edges = catalog.all().flat_map(|table| &table.lives);
            let edges = edges.flat_map(|(begin, end)| [Some(*begin), *end]).flatten();
            let edge = edges.filter(|edge| *edge > version).min();
            version = Version(next).min(edge.unwrap_or(Version::FOREVER));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lived_within_a_range_is_hidden_and_what_reached_out_of_it_is_not() {
        let gone = Gone::new(vec![(3, 7), (9, 12)]).unwrap();
        assert!(gone.hides(3, 7) && gone.hides(4, 5) && gone.hides(9, 12));
        assert!(!gone.hides(2, 4) && !gone.hides(6, 8) && !gone.hides(5, 10) && !gone.hides(9, u64::MAX));
        assert_eq!(gone.range_of(6), Some((3, 7)));
        assert_eq!((gone.range_of(7), gone.range_of(2), gone.range_of(u64::MAX)), (None, None, None));
        assert_eq!(gone.first_within(0, 2), None);
        assert_eq!(gone.first_within(0, 3), Some((3, 7)));
        assert_eq!(gone.first_within(7, 9), Some((9, 12)));
        assert_eq!(gone.first_within(12, 99), None);
    }

    #[test]
    fn bounds_tell_what_cannot_be_hidden() {
        let gone = Gone::new(vec![(3, 7), (9, 12)]).unwrap();
        for begins in [(1, 2), (1, 3), (4, 8), (7, 8), (8, 9), (12, 20), (0, 30)] {
            for ends in [(3, 3), (5, 8), (8, 8), (9, 9), (12, 13), (13, 20), (1, u64::MAX)] {
                let some = (begins.0..=begins.1)
                    .any(|begin| (ends.0..=ends.1.min(40)).any(|end| begin < end && gone.hides(begin, end)));
                assert!(!some || gone.may_hide(begins, ends), "{begins:?} {ends:?}");
            }
        }
        assert!(!gone.may_hide((12, 20), (13, 21)) && !gone.may_hide((1, 2), (2, 30)));
        assert!(!gone.may_hide((5, 6), (u64::MAX, u64::MAX)));
    }

    #[test]
    fn ranges_that_touch_are_one_and_others_are_no_ranges() {
        let mut gone = Gone::default();
        [(1, 3), (3, 4), (6, 8), (7, 9)].into_iter().for_each(|(from, to)| gone.push(from, to));
        assert_eq!(gone.ranges(), [(1, 4), (6, 9)]);
        for bad in
            [vec![(3, 3)], vec![(3, 2)], vec![(1, 3), (3, 4)], vec![(5, 6), (1, 2)], vec![(1, u64::MAX)]]
        {
            assert_eq!(Gone::new(bad), None);
        }
    }
}
