//! Values on one line, for people.

use asof_engine::arrow::record_batch::RecordBatch;
use asof_engine::{ColumnType, text};

/// A value as it stands in a listing: bare where it can be told apart, in quotes where not; NULL is bare.
pub fn value_text(column_type: &ColumnType, batch: &RecordBatch, column: usize, row: usize) -> String {
    match text::format_cell(column_type, batch.column(column), row) {
        None => "NULL".to_string(),
        Some(text) if is_bare(&text) => text,
        Some(text) => serde_json::Value::String(text).to_string(),
    }
}

/// Whether a text can stand in a listing without quotes.
fn is_bare(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(char::is_whitespace);
    text != "NULL"
        && !edge(text.chars().next())
        && !edge(text.chars().next_back())
        && !text.contains(|c: char| c.is_control() || matches!(c, '"' | ',' | '=' | '\\'))
        && !text.contains(" -> ")
}

#[cfg(test)]
mod tests {
    use super::is_bare;

    #[test]
    fn what_could_be_misread_is_quoted() {
        for bare in ["a", "two words", "Zürich", "-5", "a;b", "[1]"] {
            assert!(is_bare(bare), "{bare}");
        }
        for quoted in ["", "NULL", " a", "a ", "a,b", "a=b", "say \"x\"", "a\nb", "a -> b", "a\\nb"] {
            assert!(!is_bare(quoted), "{quoted}");
        }
    }
}
