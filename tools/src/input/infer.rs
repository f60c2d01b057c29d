//! Which type holds all values of a column of texts.
//!
//! | every value that is not null is | type |
//! |---|---|
//! | an integer such as `0`, `-17` | `int64`; `uint64` where one is beyond it and none below 0 |
//! | an integer, or a number such as `1.5`, `.5`, `2e-3` (also `NaN`, `inf`, `-inf` beside numbers) | `float64` |
//! | `true` or `false` | `bool` |
//! | a date such as `2025-08-26` | `date` |
//! | `2025-08-26T10:00:00`, with `T` or a blank, at most six decimals, without offset | `timestamp(us)` |
//! | the same with an offset or `Z` | `timestamp(us,UTC)` |
//! | anything else, or there are none | `text` |
//!
//! A number with a leading zero (`007`) or a plus sign is text, and with it the column: it is a name that looks like a
//! number. So are numbers whose digits would be lost: integers beyond `uint64`, and integers beyond 2^53 beside
//! fractions. White space is part of a text, so ` 12` is one. Dates are those of the calendar, from year 0001 to 9999.
//!
//! Invariant: what was inferred holds every value that was seen exactly, floats but for the digits beyond their
//! precision.

use asof_engine::{ColumnType, Unit};

const INT64: u8 = 1;
const UINT64: u8 = 1 << 1;
const FLOAT64: u8 = 1 << 2;
const BOOLEAN: u8 = 1 << 3;
const DATE: u8 = 1 << 4;
const TIMESTAMP: u8 = 1 << 5;
const TIMESTAMP_ZONED: u8 = 1 << 6;
const ANY: u8 = 0x7F;

/// What a column's texts have shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The types that hold all of them.
    possible: u8,
    /// Whether one was seen that says something; `NaN` says nothing by itself.
    seen: bool,
}

impl Default for Evidence {
    fn default() -> Evidence {
        Evidence { possible: ANY, seen: false }
    }
}

impl Evidence {
    /// Takes a text into account.
    pub fn add(&mut self, text: &str) {
        if self.possible != 0 {
            let class = classify(text);
            self.possible &= class;
            self.seen |= !is_float_word(text);
        }
    }

    /// Takes a JSON number into account; its text has the form of JSON.
    pub fn add_number(&mut self, text: &str) {
        self.possible &= classify_number(text);
        self.seen = true;
    }

    /// Takes what another part of the column has shown into account.
    pub fn merge(&mut self, other: Evidence) {
        self.possible &= other.possible;
        self.seen |= other.seen;
    }

    /// Whether nothing more can change the answer.
    pub fn is_text(self) -> bool {
        self.possible == 0
    }

    /// The type; `None` where there was no value.
    pub fn column_type(self) -> Option<ColumnType> {
        let has = |class| self.possible & class != 0;
        if !self.seen {
            return (self.possible != ANY).then_some(ColumnType::Text);
        }
        Some(if has(INT64) {
            ColumnType::Int64
        } else if has(UINT64) {
            ColumnType::UInt64
        } else if has(FLOAT64) {
            ColumnType::Float64
        } else if has(BOOLEAN) {
            ColumnType::Boolean
        } else if has(DATE) {
            ColumnType::Date
        } else if has(TIMESTAMP) {
            ColumnType::Timestamp(Unit::Microsecond, None)
        } else if has(TIMESTAMP_ZONED) {
            ColumnType::Timestamp(Unit::Microsecond, Some("UTC".into()))
        } else {
            ColumnType::Text
        })
    }
}

/// Whether a text is a double that no digits write.
pub fn is_float_word(text: &str) -> bool {
    matches!(text, "NaN" | "inf" | "-inf")
}

fn classify(text: &str) -> u8 {
    let bytes = text.as_bytes();
    match bytes {
        b"true" | b"false" => BOOLEAN,
        _ if is_float_word(text) => FLOAT64,
        [b'0'..=b'9', _, _, _, b'-', ..] => classify_time(bytes),
        [b'0'..=b'9' | b'-' | b'.', ..] if is_number(bytes) => classify_number(text),
        _ => 0,
    }
}

/// Whether a text is a number without leading zeros and plus sign.
fn is_number(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let (whole, rest) = split_digits(rest);
    if whole.len() > 1 && whole[0] == b'0' {
        return false;
    }
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => split_digits(rest),
        None => (&rest[..0], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return false;
    }
    match rest {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
            !exponent.is_empty() && split_digits(exponent).1.is_empty()
        }
        _ => false,
    }
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

/// Integers up to this one are whole in a double.
const DOUBLE_INTEGER_MAX: u64 = 1 << 53;

fn classify_number(text: &str) -> u8 {
    if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) || text == "-0" {
        let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
        return if finite { FLOAT64 } else { 0 };
    }
    match text.parse::<i64>() {
        Ok(value) => {
            let unsigned = if value >= 0 { UINT64 } else { 0 };
            let float = if value.unsigned_abs() <= DOUBLE_INTEGER_MAX { FLOAT64 } else { 0 };
            INT64 | unsigned | float
        }
        Err(_) if text.parse::<u64>().is_ok() => UINT64,
        Err(_) => 0,
    }
}

fn classify_time(bytes: &[u8]) -> u8 {
    let Some((date, rest)) = bytes.split_at_checked(10) else { return 0 };
    if !is_date(date) {
        return 0;
    }
    let Some((time, rest)) = rest.split_at_checked(9) else {
        return if rest.is_empty() { DATE } else { 0 };
    };
    if !is_time_of_day(time) {
        return 0;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(rest) => match split_digits(rest) {
            (digits, rest) if (1..=6).contains(&digits.len()) => rest,
            _ => return 0,
        },
        None => rest,
    };
    match rest {
        [] => TIMESTAMP,
        b"Z" => TIMESTAMP_ZONED,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let within = number(&[*h1, *h2]).is_some_and(|hours| hours <= 18)
                && number(&[*m1, *m2]).is_some_and(|minutes| minutes < 60);
            if within { TIMESTAMP_ZONED } else { 0 }
        }
        _ => 0,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

fn is_date(bytes: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else { return false };
    let parts = (number(&[*y1, *y2, *y3, *y4]), number(&[*m1, *m2]), number(&[*d1, *d2]));
    let (Some(year), Some(month), Some(day)) = parts else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return false,
    };
    year >= 1 && (1..=days).contains(&day)
}

/// `T10:00:00` or the same with a blank.
fn is_time_of_day(bytes: &[u8]) -> bool {
    let [b'T' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] = bytes else { return false };
    number(&[*h1, *h2]).is_some_and(|hours| hours < 24)
        && number(&[*m1, *m2]).is_some_and(|minutes| minutes < 60)
        && number(&[*s1, *s2]).is_some_and(|seconds| seconds < 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_the_type_that_holds_every_value() {
        for (values, expected) in [
            (&["0", "-17", "9223372036854775807"][..], "int64"),
            (&["0", "9223372036854775808"], "uint64"),
            (&["-1", "9223372036854775808"], "text"),
            (&["18446744073709551616"], "text"),
            (&["1", "2.5", ".5", "5.", "-1e-3", "2E+10"], "float64"),
            (&["1", "-0"], "float64"),
            (&["1.0", "NaN", "-inf"], "float64"),
            (&["NaN"], "text"),
            (&["NaN", "inf"], "text"),
            (&["9007199254740993", "0.5"], "text"),
            (&["9007199254740992", "0.5"], "float64"),
            (&["1e999"], "text"),
            (&["1", "007"], "text"),
            (&["00"], "text"),
            (&["-01"], "text"),
            (&["+1"], "text"),
            (&["01.5"], "text"),
            (&["1", " 2"], "text"),
            (&["1,5"], "text"),
            (&["1", "x"], "text"),
            (&["-"], "text"),
            (&["."], "text"),
            (&["1e"], "text"),
            (&["0x10"], "text"),
            (&["true", "false"], "bool"),
            (&["True"], "text"),
            (&["true", "1"], "text"),
            (&["2024-02-29", "0001-01-01"], "date"),
            (&["2023-02-29"], "text"),
            (&["2023-2-9"], "text"),
            (&["2023-01-01", "2023-01-01T00:00:00"], "text"),
            (&["2023-01-01T10:00:00", "2023-01-01 10:00:00.123456"], "timestamp(us)"),
            (&["2023-01-01T10:00:00.1234567"], "text"),
            (&["2023-01-01T10:00:00Z", "2023-01-01T10:00:00.5+02:00"], "timestamp(us,UTC)"),
            (&["2023-01-01T10:00:00Z", "2023-01-01T10:00:00"], "text"),
            (&["2023-01-01T24:00:00"], "text"),
            (&["2023-01-01T10:00"], "text"),
            (&["2023"], "int64"),
            (&[""], "text"),
        ] {
            let mut evidence = Evidence::default();
            values.iter().for_each(|value| evidence.add(value));
            let found = evidence.column_type().unwrap_or(ColumnType::Text);
            assert_eq!(found.to_string(), expected, "{values:?}");
        }
        assert_eq!(Evidence::default().column_type(), None);
    }

    #[test]
    fn every_inferred_type_reads_the_values_it_was_inferred_from() {
        for values in [
            &["0", "-17", "9223372036854775807"][..],
            &["0", "18446744073709551615"],
            &["1", "2.5", ".5", "5.", "-1e-3", "2E+10", "NaN", "inf", "-inf"],
            &["true", "false"],
            &["2024-02-29", "0001-01-01", "9999-12-31"],
            &["2023-01-01T10:00:00", "2023-01-01 10:00:00.123456"],
            &["2023-01-01T10:00:00Z", "2023-01-01 10:00:00.5+18:00", "0001-01-01T00:00:00-18:00"],
        ] {
            let mut evidence = Evidence::default();
            values.iter().for_each(|value| evidence.add(value));
            let column_type = evidence.column_type().unwrap();
            assert_ne!(column_type, ColumnType::Text, "{values:?}");
            asof_engine::text::parse_column(&column_type, values.iter().map(|value| Some(*value))).unwrap();
        }
    }
}
