//! Conditions of `--fail-if`: what a script does not let pass.

use asof_engine::compare::{SchemaChange, TableDiff};
use std::fmt;

/// What a condition counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Inserted,
    Updated,
    Deleted,
    Changed,
    Rows,
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Count { counted: Counted, relation: Relation, bound: f64, percent: bool },
    ColumnsRemoved,
    ColumnsAdded,
    SchemaChanged,
}

/// `deleted>10%`, `rows<100`, `columns-removed`, ..: true of a table or not. Percentages are of the rows before.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    kind: Kind,
}

impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Condition, String> {
        let kind = match text.trim() {
            "columns-removed" => Some(Kind::ColumnsRemoved),
            "columns-added" => Some(Kind::ColumnsAdded),
            "schema-changed" => Some(Kind::SchemaChanged),
            text => parse_count(text),
        };
        match kind {
            Some(kind) => Ok(Condition { text: text.trim().to_string(), kind }),
            None => Err("is no condition; conditions are inserted, updated, deleted, changed or rows with >, >=, <, <= or \
                         = and a number or N%; columns-removed, columns-added, schema-changed"
                .to_string()),
        }
    }

    /// Whether it is true of a table; if so, what was found.
    pub(super) fn holds(&self, table: &TableDiff) -> Option<String> {
        let changes = |wanted: fn(&SchemaChange) -> bool| {
            let found: Vec<String> = table
                .schema_changes()
                .iter()
                .filter(|change| wanted(change))
                .map(ToString::to_string)
                .collect();
            (!found.is_empty()).then(|| found.join(", "))
        };
        match self.kind {
            Kind::ColumnsRemoved => changes(SchemaChange::removes_column),
            Kind::ColumnsAdded => changes(SchemaChange::adds_column),
            Kind::SchemaChanged => changes(|_| true),
            Kind::Count { counted, relation, bound, percent } => {
                let count = match counted {
                    Counted::Inserted => table.counts.inserted,
                    Counted::Updated => table.counts.updated,
                    Counted::Deleted => table.counts.deleted,
                    Counted::Changed => table.counts.inserted + table.counts.updated + table.counts.deleted,
                    Counted::Rows => table.rows_after(),
                };
                let before = table.rows_before();
                let value = match (percent, count) {
                    (false, _) => count as f64,
                    // Nothing of nothing is no share; something of nothing is more than any.
                    (true, 0) => 0.0,
                    (true, _) => count as f64 * 100.0 / before as f64,
                };
                let holds = match relation {
                    Relation::Greater => value > bound,
                    Relation::GreaterOrEqual => value >= bound,
                    Relation::Less => value < bound,
                    Relation::LessOrEqual => value <= bound,
                    Relation::Equal => value == bound,
                };
                holds.then(|| format!("{count}, with {before} rows before"))
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_count(text: &str) -> Option<Kind> {
    let at = text.find(['<', '>', '='])?;
    let counted = match text[..at].trim() {
        "inserted" => Counted::Inserted,
        "updated" => Counted::Updated,
        "deleted" => Counted::Deleted,
        "changed" => Counted::Changed,
        "rows" => Counted::Rows,
        _ => return None,
    };
    let relations = [
        (">=", Relation::GreaterOrEqual),
        ("<=", Relation::LessOrEqual),
        (">", Relation::Greater),
        ("<", Relation::Less),
        ("=", Relation::Equal),
    ];
    let (relation, rest) = relations
        .iter()
        .find_map(|(sign, relation)| Some((*relation, text[at..].strip_prefix(sign)?.trim())))?;
    let (number, percent) = match rest.strip_suffix('%') {
        Some(number) => (number.trim_end(), true),
        None => (rest, false),
    };
    let bound: f64 = number.parse().ok().filter(|bound: &f64| bound.is_finite() && *bound >= 0.0)?;
    Some(Kind::Count { counted, relation, bound, percent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_engine::{Column, ColumnType, CommitTime, Counts, TableInfo, TableSchema, Version};
    use std::sync::Arc;

    fn table(rows_before: u64, deleted: u64) -> TableDiff {
        let schema = TableSchema::new(vec![Column::new("id", ColumnType::Int64)], &["id"]).unwrap();
        let info = |rows| TableInfo {
            name: "t".to_string(),
            id: 1,
            schema: Arc::new(schema.clone()),
            rows,
            changed: Version(1),
            changed_time: CommitTime(0),
        };
        TableDiff {
            name: "t".to_string(),
            before: Some(info(rows_before)),
            after: Some(info(rows_before - deleted)),
            counts: Counts { deleted, ..Counts::default() },
        }
    }

    #[test]
    fn bounds_are_exact() {
        let holds = |text: &str, before, deleted| {
            Condition::parse(text).unwrap().holds(&table(before, deleted)).is_some()
        };
        assert!(!holds("deleted>10%", 100, 10) && holds("deleted>10%", 100, 11));
        assert!(holds("deleted >= 10 %", 100, 10) && !holds("deleted>=10%", 100, 9));
        assert!(holds("deleted<3", 100, 2) && !holds("deleted<3", 100, 3) && holds("deleted<=3", 100, 3));
        assert!(holds("rows<100", 100, 1) && !holds("rows<100", 100, 0) && holds("rows=99", 100, 1));
        assert!(holds("changed>0", 100, 1) && !holds("inserted>0", 100, 1));
        assert!(!holds("deleted>0%", 0, 0));
        assert!(!holds("schema-changed", 100, 1));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "",
            "deleted",
            "deleted>",
            "deleted>x",
            "deleted>-1",
            "deleted>inf",
            "dropped>1",
            "deleted=>1",
            ">1",
        ] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}
