//! Numbers as text and back: shortest doubles in a frozen layout, decimals with exactly their scale.

/// Decimal digits of a number.
pub(crate) fn digits(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Decimal digits of a wide number.
fn digits_wide(value: u128) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Bytes of a signed integer's text.
pub(crate) fn signed_bytes(value: i64) -> usize {
    usize::from(value < 0) + digits(value.unsigned_abs())
}

/// The text of a double: the shortest digits that read back as the same double (of several the nearest, of two as near
/// the one with an even last digit), plain where
/// 1e-5 <= |x| < 1e16 or zero (always with a fraction, `.0` if need be), else with an exponent
/// (`1e16`, `1.5e-7`: no plus sign, no padding, no `.0`). `NaN`, `inf`, `-inf`.
pub(crate) fn format_double(value: f64, buffer: &mut ryu::Buffer) -> &str {
    if !value.is_finite() {
        return not_finite(value);
    }
    // ryu's layout of doubles is exactly the frozen one; a test holds its edges.
    buffer.format_finite(value)
}

fn not_finite(value: f64) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "inf",
        _ => "-inf",
    }
}

/// Writes a double.
pub(crate) fn write_double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(format_double(value, &mut ryu::Buffer::new()).as_bytes());
}

/// Writes a float32: its own shortest digits, laid out as those of a double.
pub(crate) fn write_float(value: f32, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return out.extend_from_slice(not_finite(f64::from(value)).as_bytes());
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let magnitude = value.abs();
    // Between these bounds ryu lays out both widths alike; outside it has other thresholds for float32.
    if magnitude == 0.0 || (1e-5..1e12).contains(&magnitude) {
        return out.extend_from_slice(text.as_bytes());
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned.len() < text.len() {
        out.push(b'-');
    }
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().expect("ryu writes its exponent as an integer");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // value = 0.DIGITS * 10^point, DIGITS without zeros at either end.
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let leading = all.iter().take_while(|&&digit| digit == b'0').count();
    let point = whole.len() as i32 + exponent - leading as i32;
    let end = all.len() - all.iter().rev().take_while(|&&digit| digit == b'0').count();
    let digits = &all[leading..end];
    match point {
        -4..=0 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -point as usize));
            out.extend_from_slice(digits);
        }
        1..=16 if digits.len() <= point as usize => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', point as usize - digits.len()));
            out.extend_from_slice(b".0");
        }
        1..=16 => {
            out.extend_from_slice(&digits[..point as usize]);
            out.push(b'.');
            out.extend_from_slice(&digits[point as usize..]);
        }
        _ => {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.push(b'e');
            out.extend_from_slice(itoa::Buffer::new().format(point - 1).as_bytes());
        }
    }
}

/// Writes a decimal with exactly `scale` digits after the point.
pub(crate) fn write_decimal(value: i128, scale: u8, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value.unsigned_abs()).as_bytes();
    let scale = usize::from(scale);
    if scale == 0 {
        return out.extend_from_slice(text);
    }
    let whole = text.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 { b"0" } else { &text[..whole] });
    out.push(b'.');
    out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(text.len())));
    out.extend_from_slice(&text[whole..]);
}

/// Bytes that [`write_decimal`] writes.
pub(crate) fn decimal_bytes(value: i128, scale: u8) -> usize {
    let (digits, scale) = (digits_wide(value.unsigned_abs()), usize::from(scale));
    let magnitude = if scale == 0 { digits } else { digits.max(scale + 1) + 1 };
    usize::from(value < 0) + magnitude
}

/// Why a text is not a decimal of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecimalError {
    /// It is no number.
    Malformed,
    /// It has more digits after the point than the scale.
    Scale,
    /// It has more digits before the point than precision and scale leave.
    Precision,
}

/// Reads a decimal exactly: `-12.50`, `.5`, `1.25e3`. Digits beyond the scale must be zeros.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: u8) -> Result<i128, DecimalError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0
        || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return Err(DecimalError::Malformed);
    }
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
    let trailing = digits[leading..].iter().rev().take_while(|&&digit| digit == b'0').count();
    let significant = &digits[leading..digits.len() - trailing];
    if significant.is_empty() {
        return Ok(0);
    }
    // value = significant * 10^power, to be written as unscaled * 10^-scale.
    let power = exponent - fraction.len() as i64 + trailing as i64;
    let zeros = power + i64::from(scale);
    if zeros < 0 {
        return Err(DecimalError::Scale);
    }
    if significant.len() as i64 + zeros > i64::from(precision.min(38)) {
        return Err(DecimalError::Precision);
    }
    let mut value = 0i128;
    for &digit in significant {
        value = value * 10 + i128::from(digit - b'0');
    }
    for _ in 0..zeros {
        value *= 10;
    }
    Ok(if negative { -value } else { value })
}

/// The exponent's value, cut off where no number of ours could still be meant.
fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::Malformed);
    }
    const BEYOND: i64 = 1 << 40;
    let magnitude = digits.parse::<i64>().unwrap_or(BEYOND).min(BEYOND);
    Ok(if text.starts_with('-') { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn float(value: f32) -> String {
        let mut out = Vec::new();
        write_float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn decimal(value: i128, scale: u8) -> String {
        let mut out = Vec::new();
        write_decimal(value, scale, &mut out);
        assert_eq!(out.len(), decimal_bytes(value, scale));
        String::from_utf8(out).unwrap()
    }

    /// The frozen layout applied to the standard library's shortest digits.
    fn laid_out(scientific: String) -> String {
        let (sign, unsigned) = match scientific.strip_prefix('-') {
            Some(rest) => ("-", rest.to_string()),
            None => ("", scientific),
        };
        let (mantissa, exponent) = unsigned.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        let digits = mantissa.replace('.', "");
        if digits == "0" {
            return format!("{sign}0.0");
        }
        if !(-5..16).contains(&exponent) {
            return format!("{sign}{mantissa}e{exponent}");
        }
        if exponent < 0 {
            return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
        }
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            return format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()));
        }
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    }

    #[test]
    fn edges_of_the_layout_are_frozen() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (9007199254740993.0, "9007199254740992.0"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e16, "1e16"),
            (-1.25e20, "-1.25e20"),
            (0.00001, "0.00001"),
            (0.000012345, "0.000012345"),
            (0.000001, "1e-6"),
            (1.5e-7, "1.5e-7"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(double(value), text);
        }
        for (value, text) in [
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (16777216.0, "16777216.0"),
            (3.4028235e38, "3.4028235e38"),
            (1e15, "1000000000000000.0"),
            (1.2345678e13, "12345678000000.0"),
            (1e16, "1e16"),
            (1e-5, "0.00001"),
            (1.5e-6, "1.5e-6"),
            (1e-45, "1e-45"),
            (f32::NAN, "NaN"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn decimals_have_exactly_their_scale() {
        for (value, scale, text) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (150, 2, "1.50"),
            (-12345, 3, "-12.345"),
            (42, 0, "42"),
            (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
        ] {
            assert_eq!(decimal(value, scale), text);
        }
    }

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        for (text, value) in [
            ("1.5", 150),
            ("-1.50", -150),
            ("+1.5000", 150),
            (".05", 5),
            ("5.", 500),
            ("1.5e1", 1500),
            ("150E-2", 150),
            ("0e999999999999", 0),
            ("000999", 99900),
        ] {
            assert_eq!(parse_decimal(text, 9, 2), Ok(value), "{text}");
        }
        for text in ["", "-", ".", "e5", "1e", "1e+", "1.2.3", "0x10", "1_000", "NaN", "١"] {
            assert_eq!(parse_decimal(text, 9, 2), Err(DecimalError::Malformed), "{text}");
        }
        for text in ["1.005", "1e-3", "1e-99999999999999999999"] {
            assert_eq!(parse_decimal(text, 9, 2), Err(DecimalError::Scale), "{text}");
        }
        for text in ["12345678", "1e8", "1e99999999999999999999"] {
            assert_eq!(parse_decimal(text, 9, 2), Err(DecimalError::Precision), "{text}");
        }
    }

    /// Whether two texts are of the same shortest digits: the standard library rounds halves up, the frozen form to even.
    fn same_but_for_halves(ours: &str, theirs: &str) -> bool {
        let differing: Vec<(u8, u8)> = ours.bytes().zip(theirs.bytes()).filter(|(a, b)| a != b).collect();
        match differing[..] {
            [] => ours.len() == theirs.len(),
            [(our, their)] => ours.len() == theirs.len() && our % 2 == 0 && our.abs_diff(their) == 1,
            _ => false,
        }
    }

    #[test]
    fn halves_have_an_even_last_digit() {
        // Exactly -7270.03125: as near to -7270.0312 as to -7270.0313.
        assert_eq!(float(f32::from_bits(3320000576)), "-7270.0312");
    }

    proptest! {
        #[test]
        fn doubles_have_the_shortest_digits_in_the_frozen_layout(bits: u64) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                prop_assert!(same_but_for_halves(&double(value), &laid_out(format!("{value:e}"))), "{}", value);
                prop_assert_eq!(double(value).parse::<f64>().unwrap().to_bits(), bits);
            }
        }

        #[test]
        fn doubles_near_one_are_laid_out_likewise(mantissa in -1_000_000_000i64..1_000_000_000, exponent in -20i32..20) {
            let value = mantissa as f64 * 10f64.powi(exponent);
            prop_assert!(same_but_for_halves(&double(value), &laid_out(format!("{value:e}"))), "{}", value);
        }

        #[test]
        fn floats_have_their_own_shortest_digits(bits: u32, mantissa in -1_000_000i32..1_000_000, exponent in -20i32..20) {
            for value in [f32::from_bits(bits), mantissa as f32 * 10f32.powi(exponent)] {
                if value.is_finite() {
                    prop_assert!(same_but_for_halves(&float(value), &laid_out(format!("{value:e}"))), "{}", value);
                    prop_assert_eq!(float(value).parse::<f32>().unwrap().to_bits(), value.to_bits());
                }
            }
        }

        #[test]
        fn decimals_read_back(value in -(10i128.pow(38) - 1)..10i128.pow(38), scale in 0u8..=38) {
            prop_assert_eq!(parse_decimal(&decimal(value, scale), 38, scale), Ok(value));
        }
    }
}
