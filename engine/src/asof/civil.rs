//! Dates and times as people write them in expressions and in names of files.

use super::micros_rounded_down;
use crate::error::{Error, Result};
use crate::text::show;
use asof_mvcc::CommitTime;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

/// Whether a text must be a date or time: it begins as one, and nothing that could make it a name follows.
pub(super) fn looks_like_time(text: &str) -> bool {
    let shape = |pattern: &str| {
        text.len() >= pattern.len()
            && pattern
                .bytes()
                .zip(text.bytes())
                .all(|(p, byte)| if p == b'0' { byte.is_ascii_digit() } else { p == byte })
    };
    (text.len() == 7 && shape("0000-00"))
        || (shape("0000-00-00")
            && matches!(text.as_bytes().get(10), None | Some(b'T' | b't' | b' ' | b'[' | b'Z' | b'+')))
}

/// The instant of a date, a month or a date with a time; the zone is for those without an offset or zone of their own.
pub(super) fn parse(text: &str, zone: &TimeZone) -> Result<CommitTime> {
    let malformed =
        || Error::invalid(format!("{} is not a time, such as 2025-08-26T10:00 or 2025-08-26", show(text)));
    let (unzoned, own_zone) = split_zone(text)?;
    let mut civil = Civil::parse(unzoned).ok_or_else(malformed)?;
    let date_time = civil.date_time().ok_or_else(malformed)?;
    if civil.time.is_none() && civil.offset.is_some() {
        return Err(malformed());
    }
    let out_of_range = |_| Error::invalid(format!("{} is outside the years 0000 to 9999", show(text)));
    let instant = match (civil.offset.take(), own_zone) {
        (Some(offset), own_zone) => {
            let instant = offset.zone.to_timestamp(date_time).map_err(out_of_range)?;
            if let (false, Some(zone)) = (offset.utc, own_zone)
                && zone.to_offset(instant) != offset.zone
            {
                return Err(Error::invalid(format!(
                    "{} has an offset that its zone does not have then",
                    show(text)
                )));
            }
            instant
        }
        (None, own_zone) => {
            date_time.to_zoned(own_zone.unwrap_or_else(|| zone.clone())).map_err(out_of_range)?.timestamp()
        }
    };
    Ok(micros_rounded_down(instant))
}

/// The first instant of the day after a date.
pub(super) fn end_of_day(text: &str, zone: &TimeZone) -> Result<CommitTime> {
    let malformed = || Error::invalid(format!("{} is not a day: write eod:2025-08-26", show(text)));
    let (unzoned, own_zone) = split_zone(text)?;
    let civil = Civil::parse(unzoned).filter(|civil| civil.is_day()).ok_or_else(malformed)?;
    let date = civil.date_time().ok_or_else(malformed)?.date();
    let next = date.tomorrow().map_err(|_| malformed())?;
    let zoned = next.to_zoned(own_zone.unwrap_or_else(|| zone.clone())).map_err(|_| malformed())?;
    Ok(micros_rounded_down(zoned.timestamp()))
}

/// Takes `[Europe/Paris]`, `[Europe,Paris]` or `[+02:00]` off the end.
fn split_zone(text: &str) -> Result<(&str, Option<TimeZone>)> {
    let Some((rest, name)) = text.strip_suffix(']').and_then(|text| text.split_once('[')) else {
        return Ok((text, None));
    };
    let name = name.strip_prefix('!').unwrap_or(name).replace(',', "/");
    if let Some(zone) = take_offset(&name).filter(|(_, rest)| rest.is_empty()) {
        return Ok((rest, Some(TimeZone::fixed(zone.0.zone))));
    }
    let zone = TimeZone::get(&name).map_err(|_| {
        Error::invalid(format!("{} is not a time zone this machine knows, such as Europe/Paris", show(&name)))
    })?;
    Ok((rest, Some(zone)))
}

/// The parts of a civil time as they were written.
struct Civil {
    year: i16,
    month: i8,
    day: Option<i8>,
    time: Option<(i8, i8, i8, i32)>,
    offset: Option<WrittenOffset>,
}

/// An offset, and whether it is `Z` (which is no statement about local time).
struct WrittenOffset {
    zone: Offset,
    utc: bool,
}

impl Civil {
    fn parse(text: &str) -> Option<Civil> {
        let (year, rest) = take_digits(text, 4)?;
        let (month, rest) = take_digits(rest.strip_prefix('-')?, 2)?;
        let (year, month) = (year as i16, month as i8);
        if rest.is_empty() {
            return Some(Civil { year, month, day: None, time: None, offset: None });
        }
        let (day, rest) = take_digits(rest.strip_prefix('-')?, 2)?;
        let date = Civil { year, month, day: Some(day as i8), time: None, offset: None };
        if rest.is_empty() {
            return Some(date);
        }
        let (hour, rest) = take_digits(rest.strip_prefix(['T', 't', ' '])?, 2)?;
        let separator = rest.chars().next().filter(|c| matches!(c, ':' | '-'))?;
        let (minute, mut rest) = take_digits(&rest[1..], 2)?;
        let (mut second, mut nanosecond) = (0, 0);
        // In names of files `-` separates hours, minutes, seconds and also an offset west of Greenwich, which always
        // has minutes: so an odd number of groups after the minutes begins with seconds.
        let dashes = rest.bytes().filter(|&byte| byte == b'-').count();
        let has_seconds = match separator {
            ':' => rest.starts_with(':'),
            _ => rest.starts_with('-') && (rest.contains(['+', 'Z', 'z', '.']) || dashes % 2 == 1),
        };
        if has_seconds {
            let (value, after) = take_digits(&rest[1..], 2)?;
            (second, rest) = (value, after);
            if let Some(fraction) = rest.strip_prefix('.') {
                let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
                if !(1..=9).contains(&length) {
                    return None;
                }
                nanosecond = fraction[..length].parse::<i32>().ok()? * 10i32.pow(9 - length as u32);
                rest = &fraction[length..];
            }
        }
        let mut offset = None;
        if !rest.is_empty() {
            let (value, after) = take_offset(rest)?;
            (offset, rest) = (Some(value), after);
        }
        rest.is_empty().then_some(Civil {
            time: Some((hour as i8, minute as i8, second as i8, nanosecond)),
            offset,
            ..date
        })
    }

    fn is_day(&self) -> bool {
        self.day.is_some() && self.time.is_none()
    }

    fn date_time(&self) -> Option<DateTime> {
        let date = Date::new(self.year, self.month, self.day.unwrap_or(1)).ok()?;
        let (hour, minute, second, nanosecond) = self.time.unwrap_or_default();
        Some(date.to_datetime(jiff::civil::Time::new(hour, minute, second, nanosecond).ok()?))
    }
}

/// Takes exactly `count` digits off the front.
fn take_digits(text: &str, count: usize) -> Option<(u32, &str)> {
    let digits = text.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((digits.parse().ok()?, &text[count..]))
}

/// Takes `Z`, `+02:00`, `+02-00` or `+0200` off the front.
fn take_offset(text: &str) -> Option<(WrittenOffset, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((WrittenOffset { zone: Offset::UTC, utc: true }, rest));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = take_digits(&text[1..], 2)?;
    let (minutes, rest) = take_digits(rest.strip_prefix([':', '-']).unwrap_or(rest), 2)?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let zone = Offset::from_seconds(sign * (hours * 3600 + minutes * 60) as i32).ok()?;
    Some((WrittenOffset { zone, utc: false }, rest))
}
