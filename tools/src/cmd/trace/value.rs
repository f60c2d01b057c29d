//! A value as somebody types it, sought in columns of one type.

use crate::Result;
use asof_engine::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Scalar};
use asof_engine::arrow::compute::kernels::cmp;
use asof_engine::{ColumnType, Comparison, Filter, text};

/// What is sought in a column.
pub(super) enum Sought {
    /// One of these values, each an array of one.
    Equal(Vec<ArrayRef>),
    /// This text, as the whole of what a cell is shown as or somewhere in it.
    Shown { column_type: ColumnType, text: String, within: bool },
}

impl Sought {
    /// The value as one of a type; `None` where it is none. Parts are sought in texts, lists and structs alone.
    pub(super) fn new(column_type: &ColumnType, value: &str, within: bool) -> Option<Sought> {
        let is_nested = matches!(column_type, ColumnType::List(_) | ColumnType::Struct(_));
        if is_nested || (within && *column_type == ColumnType::Text) {
            let (column_type, text) = (column_type.clone(), value.to_string());
            return Some(Sought::Shown { column_type, text, within });
        }
        if within {
            return None;
        }
        if *column_type == ColumnType::Text {
            return Some(Sought::Equal(vec![text::parse_scalar(column_type, value).ok()?]));
        }
        let parsed = text::parse_scalar(column_type, value).ok();
        let plain = || text::parse_scalar(column_type, &without_zeros(value)?).ok();
        let parsed = parsed.or_else(plain)?;
        let is_float = matches!(column_type, ColumnType::Float32 | ColumnType::Float64);
        let zeros = ["0", "-0"].map(|zero| text::parse_scalar(column_type, zero).ok());
        // Both zeros are the number.
        match (is_float, zeros) {
            (true, [Some(zero), Some(negative)])
                if parsed.to_data() == zero.to_data() || parsed.to_data() == negative.to_data() =>
            {
                Some(Sought::Equal(vec![zero, negative]))
            }
            _ => Some(Sought::Equal(vec![parsed])),
        }
    }

    /// Whether cells that have it are all the same.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self, Sought::Shown { within: true, .. })
    }

    /// What rows have to fulfil of a column, where that can be said as a filter.
    pub(super) fn filter(&self, column: &str) -> Option<Filter> {
        let Sought::Equal(values) = self else { return None };
        let equals = values.iter().map(|value| Filter::Compare {
            column: column.to_string(),
            comparison: Comparison::Equal,
            value: value.clone(),
        });
        equals.reduce(|a, b| Filter::Or(Box::new(a), Box::new(b)))
    }

    /// Which cells of a column have it.
    pub(super) fn matches(&self, cells: &ArrayRef) -> Result<BooleanArray> {
        match self {
            Sought::Equal(values) => {
                let mut found = vec![false; cells.len()];
                for value in values {
                    let equal =
                        cmp::eq(cells, &Scalar::new(value.clone())).map_err(asof_engine::Error::from)?;
                    for (found, equal) in found.iter_mut().zip(equal.iter()) {
                        *found |= equal == Some(true);
                    }
                }
                Ok(BooleanArray::from(found))
            }
            Sought::Shown { column_type: ColumnType::Text, text, within: true } => {
                let texts = cells.as_string::<i32>().iter();
                Ok(texts.map(|cell| Some(cell.is_some_and(|cell| cell.contains(text.as_str())))).collect())
            }
            Sought::Shown { column_type, text, within } => {
                let found = (0..cells.len()).map(|row| {
                    let shown = text::format_cell(column_type, cells, row);
                    Some(shown.is_some_and(|shown| match within {
                        true => shown.contains(text.as_str()),
                        false => shown == *text,
                    }))
                });
                Ok(found.collect())
            }
        }
    }
}

/// A number without zeros at the end of what stands behind its point: `5.00` is 5, `1.50` is 1.5.
fn without_zeros(value: &str) -> Option<String> {
    let (whole, fraction) = value.trim().split_once('.')?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    Some(if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        column_type: ColumnType,
        cells: &[Option<&str>],
        value: &str,
        within: bool,
    ) -> Option<Vec<bool>> {
        let sought = Sought::new(&column_type, value, within)?;
        let cells = text::parse_column(&column_type, cells.iter().copied()).unwrap();
        Some(sought.matches(&cells).unwrap().values().iter().collect())
    }

    #[test]
    fn a_value_is_read_as_each_type() {
        use ColumnType::*;
        let numbers = &[Some("5"), None, Some("50")][..];
        assert_eq!(found(Int64, numbers, "5.00", false), Some(vec![true, false, false]));
        assert_eq!(found(Decimal(8, 1), numbers, "5.000", false), Some(vec![true, false, false]));
        assert_eq!(found(Float32, numbers, "5", false), Some(vec![true, false, false]));
        assert_eq!(found(Int8, numbers, "5.5", false), None);
        assert_eq!(found(Int8, numbers, "500", false), None);
        assert_eq!(found(Text, numbers, "5", false), Some(vec![true, false, false]));
        assert_eq!(found(Text, numbers, "5", true), Some(vec![true, false, true]));
        assert_eq!(found(Text, numbers, "5.0", false), Some(vec![false; 3]));
        assert_eq!(found(Int64, numbers, "5", true), None);
        assert_eq!(
            found(Float64, &[Some("0"), Some("-0.0"), Some("1")], "0.0", false),
            Some(vec![true, true, false])
        );
    }

    #[test]
    fn lists_are_what_they_are_shown_as() {
        let list = ColumnType::parse("list(text)").unwrap();
        let cells = &[Some("[\"a\",\"b\"]"), None, Some("[\"a\"]")][..];
        assert_eq!(found(list.clone(), cells, "[\"a\"]", false), Some(vec![false, false, true]));
        assert_eq!(found(list, cells, "\"a\"", true), Some(vec![true, false, true]));
    }

    #[test]
    fn only_zeros_at_the_end_of_a_fraction_are_left_out() {
        assert_eq!(without_zeros("1.50"), Some("1.5".to_string()));
        assert_eq!(without_zeros("100.0"), Some("100".to_string()));
        assert_eq!(without_zeros("100"), None);
        assert_eq!(without_zeros("1.5e3"), None);
    }
}
