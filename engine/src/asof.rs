//! As-of expressions: what a person types to name a version.

use crate::error::Result;
use asof_mvcc::{CommitTime, Version};

/// A parsed as-of expression. Relative and civil times are turned into instants by [`AsOf::parse`]'s zone and, for
/// relative ones, by the clock when resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum AsOf {
    /// `42`
    Version(Version),
    /// `latest`, `latest~3`
    Latest {
        /// How many versions before the newest.
        back: u64,
    },
    /// `tag:NAME`, or a bare name where no other form matches
    Tag(String),
    /// An instant: RFC 3339, RFC 9557, civil date or time, `@epoch`
    Time(CommitTime),
    /// `eod:DATE`: the last commit before the end of the day (the first instant of the next day, exclusive)
    Before(CommitTime),
    /// `1h-ago`, `-1h`, `today`, `yesterday`: computed from the clock when resolved
    Relative(Relative),
    /// `before:EXPR`
    Previous(Box<AsOf>),
    /// `commit:ID`
    Commit(uuid::Uuid),
}

/// A time that depends on now.
#[derive(Clone, Debug, PartialEq)]
pub enum Relative {
    /// A span before now.
    Ago(jiff::Span),
    /// 00:00 of the day that many days before today, in the zone.
    Day {
        /// 0 is today, 1 yesterday.
        days_back: i64,
        /// Whose day.
        zone: jiff::tz::TimeZone,
    },
}

impl AsOf {
    /// Parses an expression; times without an offset are in `zone`.
    pub fn parse(text: &str, zone: &jiff::tz::TimeZone) -> Result<AsOf> {
        let _ = (text, zone);
        todo!()
    }
}
