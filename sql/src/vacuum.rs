//! `VACUUM t [RETAIN n HOURS] [DRY RUN]`: retention of one table.
//!
//! With hours every version of so many hours is kept, and what tags name; without, what the policy in the settings keeps.
//! A dry run gives the plan as rows.

use crate::error::{Error, Result};
use crate::outcome::Rows;
use crate::script::{is_word, starts_with};
use asof_engine::Database;
use asof_engine::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use asof_engine::retention::plan::Fate;
use asof_engine::retention::{Policy, RetentionRequest, Window};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use std::sync::Arc;

const HOUR_MICROS: i64 = 3_600_000_000;

/// What is kept, and whether that is told alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vacuum {
    hours: Option<u32>,
    dry_run: bool,
}

/// What follows the name of the table.
pub(crate) fn parse(mut tokens: &[TokenWithSpan]) -> Result<Vacuum> {
    let mut vacuum = Vacuum::default();
    if starts_with(tokens, &["retain"]) {
        let hours = match tokens.get(1).map(|token| &token.token) {
            Some(Token::Number(digits, _)) => digits.parse().ok(),
            _ => None,
        };
        let unit = tokens.get(2).filter(|token| is_word(token, "hours") || is_word(token, "hour"));
        if hours.is_none() || unit.is_none() {
            return Err(
                Error::new("RETAIN takes a whole number of hours: RETAIN 168 HOURS").at(tokens[0].span.start)
            );
        }
        vacuum.hours = hours;
        tokens = &tokens[3..];
    }
    if starts_with(tokens, &["dry", "run"]) {
        vacuum.dry_run = true;
        tokens = &tokens[2..];
    }
    match tokens.first() {
        Some(more) => {
            Err(Error::new("VACUUM t takes RETAIN n HOURS and DRY RUN, in this order").at(more.span.start))
        }
        None => Ok(vacuum),
    }
}

impl Vacuum {
    fn request(&self, table: &str) -> RetentionRequest {
        let within = self.hours.map(|hours| Window::Micros(i64::from(hours) * HOUR_MICROS));
        let policy = within.map(|within| Policy { within: Some(within), ..Policy::default() });
        RetentionRequest { table: Some(table.to_string()), policy, ..RetentionRequest::default() }
    }

    /// Whether it changes nothing.
    pub fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// The plan as rows.
    pub fn plan(
        &self,
        database: &Database,
        table: &str,
        runtime: Arc<tokio::runtime::Runtime>,
    ) -> Result<Rows> {
        let plan = database.retention_plan(&self.request(table))?;
        let stretches = || plan.tables.iter().flat_map(|table| &table.stretches);
        let fate = |fate: Fate| match fate {
            Fate::Kept => "kept",
            Fate::Goes => "goes",
            Fate::Gone => "gone",
        };
        // Arrays of text are made of what knows its length.
        let fates: Vec<&str> = stretches().map(|stretch| fate(stretch.fate)).collect();
        let reasons: Vec<String> = stretches()
            .map(|stretch| {
                let reasons: Vec<String> = stretch.reasons.iter().map(ToString::to_string).collect();
                reasons.join(", ")
            })
            .collect();
        let first: Vec<u64> = stretches().map(|stretch| stretch.from.0).collect();
        let last: Vec<u64> = stretches().map(|stretch| stretch.last.0).collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("first_version", Arc::new(UInt64Array::from(first))),
            ("last_version", Arc::new(UInt64Array::from(last))),
            ("fate", Arc::new(StringArray::from(fates))),
            ("reasons", Arc::new(StringArray::from(reasons))),
        ];
        Ok(Rows::of_batch(runtime, RecordBatch::try_from_iter(columns)?))
    }

    /// Lets go what nothing keeps; tells what went.
    pub fn execute(&self, database: &Database, table: &str) -> Result<String> {
        let request = self.request(table);
        let plan = database.retention_plan(&request)?;
        // A table that is not settled yet is in no plan: it is settled first.
        let is_policy = |name: &String| name.starts_with("retention.") && !name.starts_with("retention.tag.");
        let may_have_one = plan.tables.is_empty() && database.settings()?.keys().any(is_policy);
        let has_one = self.hours.is_some() || plan.tables.iter().any(|table| table.policy.is_some());
        if !has_one && !may_have_one {
            return Err(Error::new(format!(
                "no policy says what of {table} may go: VACUUM {table} RETAIN 168 HOURS, or set one with asof config"
            )));
        }
        let report = database.retain(&request, &mut |_| true)?;
        Ok(match (report.states, report.files) {
            (0, 0) => "nothing to do: every version is kept, or gone already".to_string(),
            (states, _) => format!(
                "let go {states} states and {} row versions: {} bytes on disk, {} before",
                report.rows, report.bytes_after, report.bytes_before
            ),
        })
    }
}
