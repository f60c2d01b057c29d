//! From moments as typed to versions.

use crate::clause::{Moment, MomentKind, Period};
use crate::error::{Error, Result};
use asof_engine::{AsOf, CommitTime, Database, Version};
use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr as LogicalExpr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::planner::{ContextProvider, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{Expr, Query, Value, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Location;
use jiff::tz::TimeZone;
use std::ops::ControlFlow;

/// Turns moments of one database into versions, at one time.
pub(crate) struct Moments<'a, S: ContextProvider> {
    pub(crate) database: &'a Database,
    pub(crate) state: &'a SessionState,
    pub(crate) provider: &'a S,
}

/// What a value names, before it is looked up.
enum Named {
    Expression(AsOf),
    /// Strictly before an instant.
    Instant(CommitTime),
}

impl<S: ContextProvider> Moments<'_, S> {
    fn zone(&self) -> &TimeZone {
        &self.database.options().time_zone
    }

    /// The version that a moment names.
    pub(crate) fn version(&self, moment: &Moment) -> Result<Version> {
        let named = self.named(moment).map_err(|error| error.at(moment.location))?;
        let before = moment.before;
        let resolved = match named {
            // Commit times are whole microseconds.
            Named::Instant(time) if before => {
                self.database.resolve(&AsOf::Time(CommitTime(time.0.saturating_sub(1))))
            }
            Named::Instant(time) => self.database.resolve(&AsOf::Time(time)),
            Named::Expression(AsOf::Time(time)) if before => {
                self.database.resolve(&AsOf::Time(CommitTime(time.0.saturating_sub(1))))
            }
            Named::Expression(asof) if before => self.database.resolve(&AsOf::Previous(Box::new(asof))),
            Named::Expression(asof) => self.database.resolve(&asof),
        };
        Ok(resolved.map_err(|error| Error::from(error).at(moment.location))?.version)
    }

    fn named(&self, moment: &Moment) -> Result<Named> {
        let value = self.constant(&moment.value, moment.location)?;
        named(moment.kind, value, self.zone(), self.state)
    }

    /// The value of an expression that reads no table.
    fn constant(&self, value: &Expr, location: Location) -> Result<ScalarValue> {
        if let Expr::Value(value) = value
            && let Value::SingleQuotedString(text) = &value.value
        {
            return Ok(ScalarValue::Utf8(Some(text.clone())));
        }
        if let Expr::Identifier(name) = value {
            // LATEST, or a tag without quotes.
            return Err(Error::new(format!(
                "'{}' is a column's name here; put it in single quotes",
                name.value
            ))
            .at(location));
        }
        if value.visit(&mut NoQueries).is_break() {
            return Err(Error::new("a query cannot say when; give a constant").at(location));
        }
        let planner = SqlToRel::new(self.provider);
        let schema = DFSchema::empty();
        let expression = planner.sql_to_expr(value.clone(), &schema, &mut PlannerContext::new())?;
        constant(expression, self.state)
    }

    /// The versions that a period begins and ends with, both among those asked about, and the newest at which it is told.
    pub(crate) fn period(&self, period: &Period, now: Version) -> Result<Range> {
        let range = |from, to| Range { from, to, contained: None };
        let version = |moment: &Option<Moment>, otherwise| {
            moment.as_ref().map_or(Ok(otherwise), |moment| self.version(moment))
        };
        Ok(match period {
            Period::All => range(Version::ZERO, now),
            Period::Between(from, to) => range(version(from, Version::ZERO)?, version(to, now)?),
            Period::FromTo(from, to) => {
                let to = Moment { before: true, ..to.clone() };
                range(self.version(from)?, self.version(&to)?)
            }
            Period::ContainedIn(from, to) => {
                let (first, last) = (self.first_at_or_after(from)?, self.version(to)?);
                Range { from: first.min(last), to: last, contained: Some((first, last)) }
            }
        })
    }

    /// The first version that is not before a moment.
    fn first_at_or_after(&self, moment: &Moment) -> Result<Version> {
        let at = self.version(moment)?;
        let is_number = matches!(self.named(moment)?, Named::Expression(AsOf::Version(_)));
        if is_number {
            return Ok(at);
        }
        let before = self.version(&Moment { before: true, ..moment.clone() })?;
        // Where a commit was made at that very moment, it is the one.
        Ok(if before < at { at } else { at.next() })
    }
}

/// Which row versions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first version at which they may have been alive.
    pub(crate) from: Version,
    /// The last one.
    pub(crate) to: Version,
    /// They began at or after the first and ended at or before the second of these.
    pub(crate) contained: Option<(Version, Version)>,
}

/// The version that an argument of a table function names: a number, a text, or a time.
pub(crate) fn version_of_argument(
    argument: &LogicalExpr,
    database: &Database,
    state: &SessionState,
) -> Result<Version> {
    let value = constant(argument.clone(), state)?;
    let named = named(MomentKind::Any, value, &database.options().time_zone, state)?;
    Ok(match named {
        Named::Expression(asof) => database.resolve(&asof)?,
        Named::Instant(time) => database.resolve(&AsOf::Time(time))?,
    }
    .version)
}

/// The value of an expression without columns.
pub(crate) fn constant(expression: LogicalExpr, state: &SessionState) -> Result<ScalarValue> {
    let context = SimplifyContext::builder()
        .with_config_options(state.config_options().clone())
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let schema = DFSchema::empty();
    let simple = simplifier.coerce(expression, &schema).and_then(|value| simplifier.simplify(value))?;
    match simple {
        LogicalExpr::Literal(value, _) => Ok(value),
        other => {
            Err(Error::new(format!("'{other}' is not a constant: say when by a version, a time or a text")))
        }
    }
}

fn named(kind: MomentKind, value: ScalarValue, zone: &TimeZone, state: &SessionState) -> Result<Named> {
    if value.is_null() {
        return Err(Error::new("NULL is no moment: give a version, a time or a tag"));
    }
    let text = match &value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Some(text.as_str()),
        _ => None,
    };
    let wrong = |wanted: &str| Err(Error::new(format!("{value} is {wanted}")));
    if let Some(text) = text {
        let parse = |text: &str| Ok(Named::Expression(AsOf::parse(text, zone)?));
        return match kind {
            MomentKind::Any | MomentKind::VersionOrTimestamp => parse(text),
            MomentKind::Tag => parse(&format!("tag:{}", text.strip_prefix("tag:").unwrap_or(text))),
            MomentKind::Statement => {
                parse(&format!("commit:{}", text.strip_prefix("commit:").unwrap_or(text)))
            }
            MomentKind::Offset => wrong("no number of seconds, such as -3600"),
            MomentKind::Version => match AsOf::parse(text, zone)? {
                AsOf::Time(_) | AsOf::Before(_) | AsOf::Relative(_) => {
                    wrong("a time, not a version: use TIMESTAMP AS OF")
                }
                asof => Ok(Named::Expression(asof)),
            },
            MomentKind::Timestamp => {
                let asof = AsOf::parse(text, zone)?;
                match innermost(&asof) {
                    AsOf::Time(_) | AsOf::Before(_) | AsOf::Relative(_) => Ok(Named::Expression(asof)),
                    AsOf::Version(_) => wrong("a version, not a time: use VERSION AS OF"),
                    _ => wrong("no time; for a tag or another version use VERSION AS OF"),
                }
            }
        };
    }
    let kind_of_value = value.data_type();
    match kind {
        MomentKind::Offset => {
            let ScalarValue::Float64(Some(seconds)) = value.cast_to(&DataType::Float64)? else {
                return wrong("no number of seconds, such as -3600");
            };
            if seconds.is_nan() || seconds > 0.0 {
                return wrong("in the future: an offset is negative, in seconds");
            }
            let now = state.execution_props().query_execution_start_time;
            let now = now.map_or_else(
                || CommitTime(jiff::Timestamp::now().as_microsecond()),
                |now| CommitTime(now.timestamp_micros()),
            );
            Ok(Named::Instant(CommitTime(now.0.saturating_add((seconds * 1e6) as i64))))
        }
        MomentKind::Tag => wrong("no tag's name: give it in quotes"),
        MomentKind::Statement => wrong("no commit's id: give it in quotes, as `asof log` shows it"),
        MomentKind::Version | MomentKind::Any | MomentKind::VersionOrTimestamp
            if kind_of_value.is_integer() =>
        {
            match value.cast_to(&DataType::UInt64) {
                Ok(ScalarValue::UInt64(Some(version))) => {
                    Ok(Named::Expression(AsOf::Version(Version(version))))
                }
                _ => wrong("no version: versions are numbers from 0"),
            }
        }
        MomentKind::Version => wrong("no version: versions are whole numbers from 0"),
        MomentKind::Timestamp | MomentKind::Any | MomentKind::VersionOrTimestamp => {
            instant(&value, zone)?.map(Named::Instant).ok_or_else(|| {
                Error::new(format!("{value} is no time: write one as '2025-08-26T10:00', or '@SECONDS'"))
            })
        }
    }
}

fn innermost(asof: &AsOf) -> &AsOf {
    match asof {
        AsOf::Previous(inner) => innermost(inner),
        other => other,
    }
}

/// The instant of a date or a timestamp; those without a zone are in `zone`.
fn instant(value: &ScalarValue, zone: &TimeZone) -> Result<Option<CommitTime>> {
    let zoned = match value.data_type() {
        DataType::Timestamp(_, zoned) => zoned.is_some(),
        DataType::Date32 | DataType::Date64 => false,
        _ => return Ok(None),
    };
    let array = value.to_array()?;
    let unit = |zone: Option<std::sync::Arc<str>>| DataType::Timestamp(TimeUnit::Microsecond, zone);
    let micros = match array.data_type() {
        DataType::Timestamp(_, zone) => cast(&array, &unit(zone.clone()))?,
        _ => cast(&array, &unit(None))?,
    };
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    if micros.is_null(0) {
        return Ok(None);
    }
    let micros = micros.value(0);
    if zoned {
        return Ok(Some(CommitTime(micros)));
    }
    let civil = jiff::Timestamp::from_microsecond(micros).map(|time| time.to_zoned(TimeZone::UTC).datetime());
    let there = civil.and_then(|civil| civil.to_zoned(zone.clone()));
    let there = there.map_err(|error| Error::new(format!("{value} is no time that can be told: {error}")))?;
    Ok(Some(CommitTime(there.timestamp().as_microsecond())))
}

/// Stops at a query.
struct NoQueries;

impl Visitor for NoQueries {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}
