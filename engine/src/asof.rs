//! As-of expressions: what a person types to name a version.
//!
//! One parser for every door. The forms are tried in a fixed order, and a bare name is a tag only
//! where no other form matches; [`validate_tag_name`] refuses names that another form reads, so
//! that an expression never changes its meaning when a tag is made. Nothing here knows versions or
//! commits: the database turns an [`AsOf`] into a version.
//!
//! | form | names |
//! |---|---|
//! | `42` | version 42 |
//! | `latest`, `latest~3` | the newest version, three before it |
//! | `tag:NAME`, `NAME` | a tag |
//! | `2025-08-26T10:00:30.123456Z`, `..+02:00`, `..[Europe/Paris]` | the last commit at or before an instant |
//! | `2025-08-26T10:00`, `2025-08-26 10:00:30`, `2025-08-26`, `2025-08` | the same in the zone given; a date is its first instant, a month its first day |
//! | `eod:2025-08-26` | the last commit of that day |
//! | `@1756202400`, `@1756202400123ms`, `..us` | an instant since 1970 |
//! | `now`, `today`, `yesterday`, `1h-ago`, `90m ago`, `-1h` | an instant that depends on the clock; days are those of the zone |
//! | `before:EXPR` | the version before the one EXPR names |
//! | `commit:ID` | the version of a commit id |
//!
//! In names of files `-` may stand for each `:` of a time or offset (`T10-00-30+02-00`), and `,` for `/` in a zone.
//! `T10-00-30` has seconds; `T10-00-05-00` has an offset of five hours and no seconds.
//! Where a clock was put back and a civil time came twice, it is the earlier instant; where it was put forward over
//! it, the time is moved on by the gap. Digits beyond microseconds are dropped, which changes no answer: commit times
//! have none.

mod civil;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::text::{show, write_timestamp};
use asof_mvcc::{CommitTime, Unit, Version};
use jiff::tz::TimeZone;
use jiff::{SpanFieldwise, Timestamp, ToSpan};
use std::fmt;

/// The longest expression that is looked at.
const TEXT_BYTES_MAX: usize = 1024;
/// The longest name of a tag, in bytes: that of a file.
pub const TAG_BYTES_MAX: usize = 255;

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
    Ago {
        /// How long, not negative.
        span: SpanFieldwise,
        /// Whose days and months, where the span has such.
        zone: TimeZone,
    },
    /// 00:00 of the day that many days before today, in the zone.
    Day {
        /// 0 is today, 1 yesterday.
        days_back: i64,
        /// Whose day.
        zone: TimeZone,
    },
}

impl AsOf {
    /// Parses an expression; times without an offset are in `zone`.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<AsOf> {
        let mut rest = text.trim();
        if rest.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!("an as-of expression has at most {TEXT_BYTES_MAX} bytes")));
        }
        let mut previous = 0;
        while let Some(inner) = rest.strip_prefix("before:") {
            rest = inner.trim_start();
            previous += 1;
        }
        let innermost = parse_plain(rest, zone)?;
        Ok((0..previous).fold(innermost, |inner, _| AsOf::Previous(Box::new(inner))))
    }

    /// Whether the expression's answer can never change once there is one: a version, a commit id, or an instant at or
    /// before the last commit's time (that part is the caller's to check: a later instant may move).
    pub fn is_immutable_form(&self) -> bool {
        match self {
            AsOf::Version(_) | AsOf::Time(_) | AsOf::Before(_) | AsOf::Commit(_) => true,
            AsOf::Latest { .. } | AsOf::Tag(_) | AsOf::Relative(_) => false,
            AsOf::Previous(inner) => inner.is_immutable_form(),
        }
    }
}

impl Relative {
    /// The instant it is at `now`; [`CommitTime::MIN`] where that is before all time.
    pub fn instant(&self, now: CommitTime) -> CommitTime {
        let instant = Timestamp::from_microsecond(now.0).and_then(|now| match self {
            Relative::Ago { span, zone } => Ok(now.to_zoned(zone.clone()).checked_sub(span.0)?.timestamp()),
            Relative::Day { days_back, zone } => {
                let today = now.to_zoned(zone.clone()).date();
                let day = today.checked_sub(jiff::Span::new().try_days(*days_back)?)?;
                Ok(day.to_zoned(zone.clone())?.timestamp())
            }
        });
        instant.map_or(CommitTime::MIN, micros_rounded_down)
    }
}

/// Everything but `before:`.
fn parse_plain(text: &str, zone: &TimeZone) -> Result<AsOf> {
    if text.is_empty() {
        return Err(Error::invalid(format!("an as-of expression is empty; {FORMS}")));
    }
    if let Some(name) = text.strip_prefix("tag:") {
        check_tag_characters(name)?;
        return Ok(AsOf::Tag(name.to_string()));
    }
    if let Some(id) = text.strip_prefix("commit:") {
        let id = uuid::Uuid::try_parse(id);
        return id.map(AsOf::Commit).map_err(|_| Error::invalid(format!("{} has no commit id", show(text))));
    }
    if let Some(date) = text.strip_prefix("eod:") {
        return civil::end_of_day(date, zone).map(AsOf::Before);
    }
    if let Some(number) = text.strip_prefix('@') {
        return parse_epoch(number).map(AsOf::Time).ok_or_else(|| {
            Error::invalid(format!("{} is not a time: write @SECONDS, or @MILLISECONDSms", show(text)))
        });
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let version =
            text.parse().map_err(|_| Error::invalid(format!("{} is too large for a version", show(text))))?;
        return Ok(AsOf::Version(Version(version)));
    }
    if text == "latest" {
        return Ok(AsOf::Latest { back: 0 });
    }
    if let Some(back) = text.strip_prefix("latest~") {
        let digits = !back.is_empty() && back.bytes().all(|byte| byte.is_ascii_digit());
        return match back.parse() {
            Ok(back) if digits => Ok(AsOf::Latest { back }),
            _ => Err(Error::invalid(format!("{} is not latest~NUMBER", show(text)))),
        };
    }
    let day = |days_back| Ok(AsOf::Relative(Relative::Day { days_back, zone: zone.clone() }));
    match text {
        "today" => return day(0),
        "yesterday" => return day(1),
        "now" => {
            return Ok(AsOf::Relative(Relative::Ago { span: 0.seconds().fieldwise(), zone: zone.clone() }));
        }
        _ => {}
    }
    if civil::looks_like_time(text) {
        return civil::parse(text, zone).map(AsOf::Time);
    }
    if let Some(relative) = parse_ago(text, zone)? {
        return Ok(AsOf::Relative(relative));
    }
    check_tag_characters(text)
        .map_err(|_| Error::invalid(format!("{} is not an as-of expression; {FORMS}", show(text))))?;
    Ok(AsOf::Tag(text.to_string()))
}

const FORMS: &str = "give a version (42), latest, latest~3, a tag (tag:NAME), a time (2025-08-26T10:00), \
                     a day (2025-08-26, eod:2025-08-26, yesterday), @SECONDS, 1h-ago, before:EXPR or commit:ID";

/// `1h-ago`, `90m ago`, `-1h`: a span of time before now. `None` where the text is no span at all.
fn parse_ago(text: &str, zone: &TimeZone) -> Result<Option<Relative>> {
    let before = text.strip_suffix("-ago").or_else(|| text.strip_suffix(" ago")).map(str::trim_end);
    let unsigned = before.or_else(|| text.strip_prefix('-')).unwrap_or(text);
    let has_direction = unsigned.len() < text.len();
    let starts_as_span = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == 'P' || c == 'p');
    let span = if starts_as_span { unsigned.parse::<jiff::Span>().ok() } else { None };
    match span {
        Some(span) if has_direction && !span.is_negative() => {
            Ok(Some(Relative::Ago { span: span.fieldwise(), zone: zone.clone() }))
        }
        Some(_) => Err(Error::invalid(format!(
            "{} does not say whether it is past or future: write {unsigned}-ago",
            show(text)
        ))),
        None if has_direction => Err(Error::invalid(format!(
            "{} is not a time span before now, such as 90m-ago or -2d",
            show(text)
        ))),
        None if text.starts_with('+') => {
            Err(Error::invalid(format!("{} is not in the past; {FORMS}", show(text))))
        }
        None => Ok(None),
    }
}

/// `1756202400`, `-1.5`, `1756202400123ms`, `..us`: microseconds since 1970, rounded down.
fn parse_epoch(text: &str) -> Option<CommitTime> {
    let (number, per_unit) = match () {
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 1_000),
        _ if text.ends_with("us") => (&text[..text.len() - 2], 1),
        _ => (text.strip_suffix('s').unwrap_or(text), 1_000_000i128),
    };
    let (negative, unsigned) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let lengths = (1..=20).contains(&whole.len())
        && fraction.len() <= 18
        && (!unsigned.contains('.') || !fraction.is_empty());
    if !lengths || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10i128.pow(fraction.len() as u32);
    let value = whole.parse::<i128>().ok()? * scale
        + if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? };
    let value = if negative { -value } else { value };
    i64::try_from(value.checked_mul(per_unit)?.div_euclid(scale)).ok().map(CommitTime)
}

/// Microseconds of an instant, rounded down.
fn micros_rounded_down(instant: Timestamp) -> CommitTime {
    CommitTime(instant.as_nanosecond().div_euclid(1_000) as i64)
}

/// Refuses what no tag may be named: an empty or long name, one with `/`, `..`, `:`, `~` or control characters, one
/// that begins with a dot or a space or ends with a space.
fn check_tag_characters(name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(format!("{} cannot be a tag's name: {why}", show(name))));
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > TAG_BYTES_MAX {
        return refuse("it is longer than 255 bytes");
    }
    if let Some(bad) = ["/", "..", ":", "~"].iter().find(|bad| name.contains(**bad)) {
        return refuse(&format!("it contains '{bad}'"));
    }
    if name.chars().any(char::is_control) {
        return refuse("it contains a control character");
    }
    if name.starts_with('.') {
        return refuse("it begins with a dot");
    }
    if name.trim() != name {
        return refuse("it begins or ends with white space");
    }
    Ok(())
}

/// Checks the name of a new tag: it must not be one that another form of expression reads.
pub fn validate_tag_name(name: &str) -> Result<()> {
    check_tag_characters(name)?;
    match parse_plain(name, &TimeZone::UTC) {
        Ok(AsOf::Tag(tag)) if tag == name => Ok(()),
        _ => Err(Error::invalid(format!(
            "{} cannot be a tag's name: it reads as a version or a time; put a word before it",
            show(name)
        ))),
    }
}

/// A time as it is shown everywhere: RFC 3339, UTC, microseconds: `2025-08-26T10:00:00.000000Z`.
pub fn format_time(time: CommitTime) -> String {
    let mut out = Vec::with_capacity(27);
    write_timestamp(time.0, Unit::Microsecond, true, &mut out);
    String::from_utf8(out).expect("a timestamp is ASCII")
}

/// The expression in a form that reads back as the same question.
impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AsOf::Version(version) => version.fmt(f),
            AsOf::Latest { back: 0 } => f.write_str("latest"),
            AsOf::Latest { back } => write!(f, "latest~{back}"),
            AsOf::Tag(name) => write!(f, "tag:{name}"),
            AsOf::Time(time) => write_instant(*time, f),
            // Commit times are whole microseconds: before T is at or before the one before T.
            AsOf::Before(time) => write_instant(CommitTime(time.0.saturating_sub(1)), f),
            AsOf::Relative(Relative::Day { days_back: 0, .. }) => f.write_str("today"),
            AsOf::Relative(Relative::Day { days_back: 1, .. }) => f.write_str("yesterday"),
            AsOf::Relative(Relative::Day { days_back, .. }) => write!(f, "{days_back}d-ago"),
            AsOf::Relative(Relative::Ago { span, .. }) if span.0.is_zero() => f.write_str("now"),
            AsOf::Relative(Relative::Ago { span, .. }) => write!(f, "{:#}-ago", span.0),
            AsOf::Previous(inner) => write!(f, "before:{inner}"),
            AsOf::Commit(id) => write!(f, "commit:{id}"),
        }
    }
}

/// RFC 3339 where the year has four digits, microseconds since 1970 otherwise.
fn write_instant(time: CommitTime, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match format_time(time) {
        text if text.starts_with(['+', '-']) => write!(f, "@{}us", time.0),
        text => f.write_str(&text),
    }
}
