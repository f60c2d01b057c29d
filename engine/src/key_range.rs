//! Which keys a filter can let pass: the range that its comparisons with the leading key columns leave.
//!
//! The range may hold more keys than pass, never fewer. It follows from the order of encoded keys alone.

use crate::api::{Comparison, Filter};
use arrow::array::{Array, ArrayRef};
use asof_mvcc::read_set::after_prefix;
use asof_mvcc::{Column, KeyBytes, KeyRange, Keys, TableSchema};

/// The keys of rows that can pass a filter; `None` where the filter says nothing of the key.
pub fn key_range(filter: &Filter, schema: &TableSchema) -> Option<KeyRange> {
    let mut comparisons = Vec::new();
    conjuncts(filter, &mut comparisons);
    let mut prefix: Vec<u8> = Vec::new();
    for column in schema.key_columns() {
        let bounds: Vec<(Comparison, KeyBytes)> = comparisons
            .iter()
            .filter(|(name, ..)| *name == column.name)
            .filter_map(|(_, comparison, value)| Some((*comparison, encode(column, value)?)))
            .collect();
        match bounds.iter().find(|(comparison, _)| *comparison == Comparison::Equal) {
            Some((_, value)) => prefix.extend_from_slice(value),
            None => return between(&prefix, &bounds),
        }
    }
    (!prefix.is_empty()).then(|| KeyRange::of_prefix(&prefix))
}

/// The comparisons that all must hold.
fn conjuncts<'a>(filter: &'a Filter, all: &mut Vec<(&'a str, Comparison, &'a ArrayRef)>) {
    match filter {
        Filter::Compare { column, comparison, value } => all.push((column, *comparison, value)),
        Filter::And(a, b) => {
            conjuncts(a, all);
            conjuncts(b, all);
        }
        Filter::IsNull(_) | Filter::Or(..) | Filter::Not(_) => {}
    }
}

/// One value as it stands in a key.
fn encode(column: &Column, value: &ArrayRef) -> Option<KeyBytes> {
    let is_one = value.len() == 1 && *value.data_type() == column.column_type.to_arrow();
    let keys = if is_one { Keys::of_columns(&[(&column.name, value)], 1).ok()? } else { return None };
    Some(keys.get(0).into())
}

/// The keys that begin with `prefix` and whose next column is within bounds.
fn between(prefix: &[u8], bounds: &[(Comparison, KeyBytes)]) -> Option<KeyRange> {
    let KeyRange { mut low, mut high } = KeyRange::of_prefix(prefix);
    for (comparison, value) in bounds {
        let value = [prefix, value].concat();
        match comparison {
            Comparison::Greater => low = low.max(after_prefix(&value)?),
            Comparison::GreaterOrEqual => low = low.max(value.into()),
            Comparison::Less => high = Some(lower(high, value.into())),
            Comparison::LessOrEqual => {
                if let Some(after) = after_prefix(&value) {
                    high = Some(lower(high, after));
                }
            }
            Comparison::Equal | Comparison::NotEqual => {}
        }
    }
    (!low.is_empty() || high.is_some()).then_some(KeyRange { low, high })
}

fn lower(high: Option<KeyBytes>, other: KeyBytes) -> KeyBytes {
    match high {
        Some(high) => high.min(other),
        None => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use asof_mvcc::ColumnType;
    use std::sync::Arc;

    fn schema() -> TableSchema {
        let columns = vec![
            Column::new("town", ColumnType::Text),
            Column::new("number", ColumnType::Int64),
            Column::new("note", ColumnType::Text),
        ];
        TableSchema::new(columns, &["town", "number"]).unwrap()
    }

    fn key(town: &str, number: i64) -> Vec<u8> {
        let town: ArrayRef = Arc::new(StringArray::from(vec![town]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        Keys::of_columns(&[("town", &town), ("number", &number)], 1).unwrap().get(0).to_vec()
    }

    fn town(comparison: Comparison, value: &str) -> Filter {
        Filter::Compare { column: "town".into(), comparison, value: Arc::new(StringArray::from(vec![value])) }
    }

    fn number(comparison: Comparison, value: i64) -> Filter {
        Filter::Compare {
            column: "number".into(),
            comparison,
            value: Arc::new(Int64Array::from(vec![value])),
        }
    }

    fn and(a: Filter, b: Filter) -> Filter {
        Filter::And(Box::new(a), Box::new(b))
    }

    /// Whatever the comparisons: what passes is in the range, and what is in the range passes those of the leading
    /// columns up to the first that is not an equality.
    #[test]
    fn the_range_holds_what_passes() {
        use Comparison::*;
        let towns = ["", "\0", "a", "a\0", "aa", "b", "\u{10FFFF}"];
        let numbers = [i64::MIN, -300, -1, 0, 1, 255, 256, i64::MAX];
        let holds = |comparison, order: std::cmp::Ordering| match comparison {
            Equal => order.is_eq(),
            NotEqual => order.is_ne(),
            Less => order.is_lt(),
            LessOrEqual => order.is_le(),
            Greater => order.is_gt(),
            GreaterOrEqual => order.is_ge(),
        };
        let all = [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual];
        for (first, second) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
            for (t, n) in towns.iter().flat_map(|t| numbers.iter().map(move |n| (*t, *n))) {
                let filter = and(town(first, t), number(second, n));
                let range = key_range(&filter, &schema()).unwrap_or_default();
                for (row_t, row_n) in towns.iter().flat_map(|t| numbers.iter().map(move |n| (*t, *n))) {
                    let town_passes = holds(first, row_t.cmp(t));
                    let number_passes = holds(second, row_n.cmp(&n));
                    let is_in = range.contains(&key(row_t, row_n));
                    assert!(is_in || !(town_passes && number_passes), "{filter:?} {row_t:?} {row_n}");
                    if first == Equal && second != NotEqual {
                        assert_eq!(is_in, town_passes && number_passes, "{filter:?} {row_t:?} {row_n}");
                    } else if first != NotEqual {
                        assert_eq!(is_in, town_passes, "{filter:?} {row_t:?} {row_n}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_says_nothing_of_the_leading_column_gives_no_range() {
        let note = Filter::Compare {
            column: "note".into(),
            comparison: Comparison::Equal,
            value: Arc::new(StringArray::from(vec!["x"])),
        };
        let or = Filter::Or(Box::new(town(Comparison::Equal, "a")), Box::new(town(Comparison::Equal, "b")));
        let other_type = Filter::Compare {
            column: "town".into(),
            comparison: Comparison::Equal,
            value: Arc::new(Int64Array::from(vec![1])),
        };
        let not = Filter::Not(Box::new(town(Comparison::Equal, "a")));
        for filter in
            [note, number(Comparison::Equal, 1), or, other_type, not, town(Comparison::NotEqual, "a")]
        {
            assert_eq!(key_range(&filter, &schema()), None, "{filter:?}");
        }
    }
}
