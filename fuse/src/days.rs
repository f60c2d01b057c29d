//! The days that have commits, one after the other: what `asof/` lists.
//!
//! Nothing is held in memory: from a day, one search by time and one by version lead to the next that has commits.
//! Days are numbered from 1970-01-01 and begin and end in the time zone of the database's options, like the dates of
//! as-of expressions. Days before the year 0 and after 9999 have no short name and are not listed.

use asof_engine::{CommitTime, Database, Result, Version};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A day with commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// The date.
    pub date: Date,
    /// Days from 1970-01-01.
    pub number: i64,
    /// The last version of the day.
    pub version: Version,
}

/// The first and the last day that is listed.
const FIRST: Date = Date::constant(0, 1, 1);
const LAST: Date = Date::constant(9999, 12, 30);
const EPOCH: Date = Date::constant(1970, 1, 1);

/// The first day with commits after the given one (from the beginning without), among versions up to `newest`.
pub fn next_day(database: &Database, after: Option<i64>, newest: Version) -> Result<Option<Day>> {
    let zone = &database.options().time_zone;
    let start = match after {
        None => first_instant(FIRST, zone),
        Some(number) => match date_of(number).filter(|date| *date <= LAST) {
            Some(date) => end_of(date, zone),
            None => return Ok(None),
        },
    };
    // The first version at or after the start.
    let version = match start.0.checked_sub(1) {
        Some(before) => database.version_at(CommitTime(before))?.next(),
        None => Version::ZERO.next(),
    };
    if version > newest {
        return Ok(None);
    }
    let Ok(instant) = Timestamp::from_microsecond(database.commit_time(version)?.0) else { return Ok(None) };
    let date = instant.to_zoned(zone.clone()).date();
    if date > LAST {
        return Ok(None);
    }
    let last = database.version_at(CommitTime(end_of(date, zone).0 - 1))?.min(newest);
    Ok(Some(Day { date, number: number_of(date), version: last }))
}

/// The first instant of the day after a date.
fn end_of(date: Date, zone: &TimeZone) -> CommitTime {
    first_instant(date.tomorrow().expect("listed days end before the calendar does"), zone)
}

fn first_instant(date: Date, zone: &TimeZone) -> CommitTime {
    let zoned = date.to_zoned(zone.clone()).and_then(|zoned| zoned.start_of_day());
    match zoned {
        Ok(zoned) => CommitTime(zoned.timestamp().as_microsecond()),
        // Only at the calendar's edges, where an offset leads out of it.
        Err(_) if date < EPOCH => CommitTime(Timestamp::MIN.as_microsecond()),
        Err(_) => CommitTime(Timestamp::MAX.as_microsecond()),
    }
}

fn number_of(date: Date) -> i64 {
    i64::from((date - EPOCH).get_days())
}

fn date_of(number: i64) -> Option<Date> {
    let span = jiff::Span::new().try_days(number).ok()?;
    EPOCH.checked_add(span).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_numbers_and_back() {
        for (date, number) in
            [("1970-01-01", 0), ("1969-12-31", -1), ("2025-08-26", 20326), ("0000-01-01", -719528)]
        {
            let date: Date = date.parse().unwrap();
            assert_eq!(number_of(date), number);
            assert_eq!(date_of(number), Some(date));
        }
        assert_eq!(date_of(i64::MAX), None);
    }

    #[test]
    fn a_day_ends_where_the_next_begins_in_its_zone() {
        let zone = TimeZone::get("America/Sao_Paulo").unwrap_or(TimeZone::UTC);
        let date: Date = "2018-11-03".parse().unwrap();
        assert_eq!(end_of(date, &zone), first_instant(date.tomorrow().unwrap(), &zone));
        let day = end_of(date, &TimeZone::UTC).0 - first_instant(date, &TimeZone::UTC).0;
        assert_eq!(day, 86_400_000_000);
    }
}
