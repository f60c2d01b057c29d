//! Dates and times as text and back, over the whole range of the integers that hold them.
//!
//! Calendars of other crates end at year 9999 or 262143; a column may hold any `i32` of days and
//! any `i64` of units. So the calendar here is total: every value has a text, and every text it
//! reads is checked to be exact. It knows no zones; an offset is minutes added to UTC.

use asof_mvcc::Unit;

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// Units in a second.
pub(crate) fn units_per_second(unit: Unit) -> i64 {
    match unit {
        Unit::Second => 1,
        Unit::Millisecond => 1_000,
        Unit::Microsecond => 1_000_000,
        Unit::Nanosecond => 1_000_000_000,
    }
}

/// Year, month and day of a number of days since 1970-01-01, proleptic Gregorian.
pub(crate) fn civil_of_days(days: i64) -> (i64, u32, u32) {
    // Howard Hinnant's algorithm: years begin on 1 March, eras last 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date that is checked to be one.
pub(crate) fn days_of_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn write_two(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

/// Writes a number with at least `digits` digits.
fn write_padded(value: u64, digits: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    out.extend(std::iter::repeat_n(b'0', digits.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// `2025-08-26`; years outside 0000 to 9999 have a sign and at least four digits.
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_of_days(days);
    if !(0..=9999).contains(&year) {
        out.push(if year < 0 { b'-' } else { b'+' });
    }
    write_padded(year.unsigned_abs(), 4, out);
    out.push(b'-');
    write_two(month, out);
    out.push(b'-');
    write_two(day, out);
}

/// `10:00:00.123456` with the digits of the unit. What is not within a day has a sign or more hours.
pub(crate) fn write_time(value: i64, unit: Unit, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let (magnitude, per_second) = (value.unsigned_abs(), units_per_second(unit) as u64);
    let seconds = magnitude / per_second;
    write_padded(seconds / 3600, 2, out);
    out.push(b':');
    write_two((seconds / 60 % 60) as u32, out);
    out.push(b':');
    write_two((seconds % 60) as u32, out);
    if unit != Unit::Second {
        out.push(b'.');
        write_padded(magnitude % per_second, unit.digits(), out);
    }
}

/// `2025-08-26T10:00:00.123456` with the digits of the unit, and `Z` where it is an instant.
pub(crate) fn write_timestamp(value: i64, unit: Unit, zoned: bool, out: &mut Vec<u8>) {
    let units_per_day = DAY_SECONDS * units_per_second(unit);
    write_date(value.div_euclid(units_per_day), out);
    out.push(b'T');
    write_time(value.rem_euclid(units_per_day), unit, out);
    if zoned {
        out.push(b'Z');
    }
}

/// Bytes that [`write_date`] writes.
pub(crate) fn date_bytes(days: i64) -> usize {
    // 0000-01-01 to 9999-12-31.
    if (-719_528..=2_932_896).contains(&days) {
        return 10;
    }
    let year = civil_of_days(days).0.unsigned_abs();
    7 + super::number::digits(year).max(4)
}

/// Bytes that [`write_time`] writes.
pub(crate) fn time_bytes(value: i64, unit: Unit) -> usize {
    let hours = value.unsigned_abs() / (3600 * units_per_second(unit) as u64);
    let fraction = if unit == Unit::Second { 0 } else { 1 + unit.digits() };
    usize::from(value < 0) + super::number::digits(hours).max(2) + 6 + fraction
}

/// Bytes that [`write_timestamp`] writes.
pub(crate) fn timestamp_bytes(value: i64, unit: Unit, zoned: bool) -> usize {
    let days = value.div_euclid(DAY_SECONDS * units_per_second(unit));
    date_bytes(days) + 1 + time_bytes(0, unit) + usize::from(zoned)
}

/// Takes exactly `count` digits off the front.
fn take_digits(text: &mut &str, count: usize) -> Option<u32> {
    let digits = text.get(..count)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *text = &text[count..];
    digits.parse().ok()
}

fn take(text: &mut &str, prefix: char) -> Option<()> {
    *text = text.strip_prefix(prefix)?;
    Some(())
}

/// Takes a date off the front: days since 1970-01-01.
fn take_date(text: &mut &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => 0,
    };
    let year = if sign == 0 {
        i64::from(take_digits(text, 4)?)
    } else {
        let unsigned = &text[1..];
        let length = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        if !(4..=12).contains(&length) {
            return None;
        }
        *text = &unsigned[length..];
        sign * unsigned[..length].parse::<i64>().ok()?
    };
    take(text, '-')?;
    let month = take_digits(text, 2)?;
    take(text, '-')?;
    let day = take_digits(text, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    Some(days_of_civil(year, month, day))
}

/// Takes `HH:MM[:SS[.digits]]` off the front: units since midnight. Digits beyond the unit must be zeros.
fn take_time(text: &mut &str, unit: Unit) -> Option<i64> {
    let hour = take_digits(text, 2)?;
    take(text, ':')?;
    let minute = take_digits(text, 2)?;
    let (mut second, mut fraction) = (0, 0i64);
    if take(text, ':').is_some() {
        second = take_digits(text, 2)?;
        if take(text, '.').is_some() {
            let length = text.bytes().take_while(u8::is_ascii_digit).count();
            let digits = &text[..length];
            if length == 0 || digits.bytes().skip(unit.digits()).any(|byte| byte != b'0') {
                return None;
            }
            *text = &text[length..];
            for index in 0..unit.digits() {
                let digit = digits.as_bytes().get(index).map_or(0, |byte| byte - b'0');
                fraction = fraction * 10 + i64::from(digit);
            }
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(i64::from(hour * 3600 + minute * 60 + second) * units_per_second(unit) + fraction)
}

/// Takes `Z`, `+02:00`, `+0200` or `+02` off the front: minutes east of UTC.
fn take_offset(text: &mut &str) -> Option<i64> {
    if take(text, 'Z').is_some() || take(text, 'z').is_some() {
        return Some(0);
    }
    let sign = if take(text, '+').is_some() { 1 } else { take(text, '-').map(|()| -1)? };
    let hours = take_digits(text, 2)?;
    let minutes = if text.is_empty() {
        0
    } else {
        let _ = take(text, ':');
        take_digits(text, 2)?
    };
    (hours <= 23 && minutes <= 59).then_some(sign * i64::from(hours * 60 + minutes))
}

/// Reads a date; `None` where the text is none or the days do not fit.
pub(crate) fn parse_date(mut text: &str) -> Option<i32> {
    let days = take_date(&mut text)?;
    if text.is_empty() { i32::try_from(days).ok() } else { None }
}

/// Reads a time of day; `None` where the text is none or has digits that the unit does not.
pub(crate) fn parse_time(mut text: &str, unit: Unit) -> Option<i64> {
    let value = take_time(&mut text, unit)?;
    text.is_empty().then_some(value)
}

/// Why a text is not a timestamp of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimestampError {
    /// It is none, or has digits that the unit does not.
    Malformed,
    /// It has an offset and the column no zone.
    Offset,
    /// It has no offset and the column a zone.
    NoOffset,
    /// It is outside what the unit can hold.
    Range,
}

/// Reads a timestamp: a date, optionally `T` or a space and a time, optionally an offset.
pub(crate) fn parse_timestamp(mut text: &str, unit: Unit, zoned: bool) -> Result<i64, TimestampError> {
    let days = take_date(&mut text).ok_or(TimestampError::Malformed)?;
    let mut units = 0;
    if text.starts_with(['T', 't', ' ']) {
        text = &text[1..];
        units = take_time(&mut text, unit).ok_or(TimestampError::Malformed)?;
    }
    let mut offset = None;
    if !text.is_empty() {
        offset = Some(take_offset(&mut text).ok_or(TimestampError::Malformed)?);
        if !text.is_empty() {
            return Err(TimestampError::Malformed);
        }
    }
    match (offset, zoned) {
        (Some(_), false) => return Err(TimestampError::Offset),
        (None, true) => return Err(TimestampError::NoOffset),
        _ => {}
    }
    let seconds = i128::from(days) * i128::from(DAY_SECONDS) - i128::from(offset.unwrap_or(0)) * 60;
    let value = seconds * i128::from(units_per_second(unit)) + i128::from(units);
    i64::try_from(value).map_err(|_| TimestampError::Range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(days: i64) -> String {
        let mut out = Vec::new();
        write_date(days, &mut out);
        assert_eq!(out.len(), date_bytes(days));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (20_326, "2025-08-26"),
            (11_016, "2000-02-29"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+10000-01-01"),
            (i64::from(i32::MAX), "+5881580-07-11"),
            (i64::from(i32::MIN), "-5877641-06-23"),
        ] {
            assert_eq!(date(days), text);
            assert_eq!(parse_date(text).map(i64::from), Some(days), "{text}");
        }
    }

    #[test]
    fn every_day_of_six_centuries_follows_the_one_before() {
        for days in -110_000..110_000 {
            let (year, month, day) = civil_of_days(days);
            assert_eq!(days_of_civil(year, month, day), days);
            let next = civil_of_days(days + 1);
            let expected = if day < days_in_month(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            assert_eq!(next, expected);
        }
    }

    #[test]
    fn the_ends_of_every_unit_have_texts_that_read_back() {
        for unit in [Unit::Second, Unit::Millisecond, Unit::Microsecond, Unit::Nanosecond] {
            for value in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
                for zoned in [false, true] {
                    let mut out = Vec::new();
                    write_timestamp(value, unit, zoned, &mut out);
                    assert_eq!(out.len(), timestamp_bytes(value, unit, zoned));
                    let text = String::from_utf8(out).unwrap();
                    assert_eq!(parse_timestamp(&text, unit, zoned), Ok(value), "{text}");
                }
                let mut out = Vec::new();
                write_time(value, unit, &mut out);
                assert_eq!(out.len(), time_bytes(value, unit));
            }
        }
    }

    #[test]
    fn what_is_no_date_or_time_is_refused() {
        for text in
            ["", "2025", "2025-02-29", "2025-13-01", "2025-00-10", "2025-1-1", "20250826", "2025-08-26x"]
        {
            assert_eq!(parse_date(text), None, "{text}");
        }
        for text in ["+123-01-01", "-1234567890123-01-01", "٢025-08-26", "+", "-"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        for text in ["24:00:00", "10", "10:60", "10:00:60", "10:00:00.", "10:00:00.1234", "1:00"] {
            assert_eq!(parse_time(text, Unit::Millisecond), None, "{text}");
        }
    }

    #[test]
    fn usual_variants_of_timestamps_are_read() {
        let parse = |text, zoned| parse_timestamp(text, Unit::Millisecond, zoned);
        let noon = 20_326 * 86_400_000 + 43_200_000;
        for text in [
            "2025-08-26T12:00",
            "2025-08-26 12:00:00",
            "2025-08-26t12:00:00.0",
            "2025-08-26T12:00:00.000000000",
        ] {
            assert_eq!(parse(text, false), Ok(noon), "{text}");
        }
        for text in [
            "2025-08-26T12:00Z",
            "2025-08-26 14:00:00+02:00",
            "2025-08-26T05:30:00-0630",
            "2025-08-26T13:00+01",
        ] {
            assert_eq!(parse(text, true), Ok(noon), "{text}");
        }
        assert_eq!(parse("2025-08-26", false), Ok(20_326 * 86_400_000));
        assert_eq!(parse("2025-08-26T12:00Z", false), Err(TimestampError::Offset));
        assert_eq!(parse("2025-08-26T12:00", true), Err(TimestampError::NoOffset));
        assert_eq!(parse("2025-08-26T12:00:00.0001", false), Err(TimestampError::Malformed));
        assert_eq!(parse("+999999999999-01-01", false), Err(TimestampError::Range));
    }
}
