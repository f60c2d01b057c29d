//! The lives of a table that a diff is about: a table that was dropped may have come back, with the rows it had.

use crate::scan::Life;
use asof_mvcc::{Table, Version};

/// A life of a table, as far as a diff is about it.
#[derive(Clone, Copy)]
pub(super) struct TableLife {
    begin: Version,
    /// When it ended, in the diff's range.
    dropped: Option<Version>,
    /// Whether the table came back in the diff's range, with rows that it had before.
    came_back: bool,
    after: Version,
    last: Version,
}

/// The lives of a table that overlap (from, to].
pub(super) fn table_lives(table: &Table, from: Version, to: Version) -> Vec<TableLife> {
    let life = |(begin, end): (Version, Option<Version>)| {
        let dropped = end.filter(|end| *end <= to);
        TableLife {
            begin,
            dropped,
            came_back: begin > from && begin > table.lives[0].0,
            after: from.max(begin.previous().unwrap_or(Version::ZERO)),
            last: dropped.map_or(to, |end| end.previous().expect("a table ends after version 0")),
        }
    };
    table.lives_within(from, to).map(life).collect()
}

impl TableLife {
    /// What to read: rows that began or ended in it, and those that it began or ended with.
    pub(super) fn scans(&self) -> impl Iterator<Item = Life> + use<> {
        let touched =
            (self.last > self.after).then_some(Life::Touched { after: self.after, up_to: self.last });
        let whole = (self.dropped.is_some() || self.came_back).then_some(Life::VisibleAt(self.last));
        touched.into_iter().chain(whole)
    }

    /// The begin and end of a row version in it, where this scan is the one to give it.
    pub(super) fn cut(&self, scan: Life, begin: Version, end: Version) -> Option<(Version, Version)> {
        let in_life = match (scan, self.dropped) {
            // Given by the other scan, as ended by the drop.
            (Life::Touched { up_to, .. }, Some(_)) if end > up_to => return None,
            (Life::VisibleAt(_), Some(dropped)) => (begin.max(self.begin), dropped),
            // Those that began in it are given by the other scan.
            (Life::VisibleAt(_), None) if begin >= self.begin => return None,
            _ => (begin.max(self.begin), end),
        };
        (in_life.0 < in_life.1).then_some(in_life)
    }
}
