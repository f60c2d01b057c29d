//! Types of columns as SQL writes them.

use crate::error::{Error, Result};
use crate::outcome::column_type;
use crate::scope::Scope;
use asof_engine::{ColumnType, Unit};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{ColumnDef, DataType, Ident, TimezoneInfo};
use std::sync::Arc;

/// The type that a column of a table has; `TIMESTAMP` is in microseconds, as in most databases.
pub(crate) fn of_sql(data_type: &DataType, scope: &Scope) -> Result<ColumnType> {
    let unit = |precision: &Option<u64>| match precision {
        None | Some(4..=6) => Some(Unit::Microsecond),
        Some(0) => Some(Unit::Second),
        Some(1..=3) => Some(Unit::Millisecond),
        Some(7..=9) => Some(Unit::Nanosecond),
        Some(_) => None,
    };
    let unknown = || Error::new(format!("{data_type} is no type of a column"));
    match data_type {
        DataType::Timestamp(precision, zone) => {
            let zoned = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
            let zone = zoned.then(|| Arc::from("UTC"));
            return Ok(ColumnType::Timestamp(unit(precision).ok_or_else(unknown)?, zone));
        }
        DataType::Datetime(precision) => {
            return Ok(ColumnType::Timestamp(unit(precision).ok_or_else(unknown)?, None));
        }
        DataType::Time(precision, _) => return Ok(ColumnType::Time(unit(precision).ok_or_else(unknown)?)),
        // Types by the names that the command line has for them.
        DataType::Custom(..) => {
            if let Ok(found) = ColumnType::parse(&data_type.to_string()) {
                return Ok(found);
            }
        }
        DataType::Uuid => return Ok(ColumnType::FixedBinary(16)),
        _ => {}
    }
    let column = ColumnDef { name: Ident::new("c"), data_type: data_type.clone(), options: Vec::new() };
    let schema = SqlToRel::new_with_options(scope, crate::names::parser_options(&scope.names.state))
        .build_schema(vec![column])?;
    Ok(column_type(schema.field(0).data_type()))
}

/// A type as `CREATE TABLE` takes it.
pub(crate) fn sql_name(column_type: &ColumnType) -> String {
    use ColumnType::*;
    let digits = |unit: &Unit| match unit {
        Unit::Second => 0,
        Unit::Millisecond => 3,
        Unit::Microsecond => 6,
        Unit::Nanosecond => 9,
    };
    match column_type {
        Boolean => "BOOLEAN".to_string(),
        Int8 => "TINYINT".to_string(),
        Int16 => "SMALLINT".to_string(),
        Int32 => "INT".to_string(),
        Int64 => "BIGINT".to_string(),
        UInt8 => "TINYINT UNSIGNED".to_string(),
        UInt16 => "SMALLINT UNSIGNED".to_string(),
        UInt32 => "INT UNSIGNED".to_string(),
        UInt64 => "BIGINT UNSIGNED".to_string(),
        Float32 => "REAL".to_string(),
        Float64 => "DOUBLE".to_string(),
        Decimal(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        Text => "TEXT".to_string(),
        Binary => "BYTEA".to_string(),
        FixedBinary(16) => "UUID".to_string(),
        FixedBinary(bytes) => format!("BINARY({bytes})"),
        Date => "DATE".to_string(),
        Time(unit) => format!("TIME({})", digits(unit)),
        Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        Timestamp(unit, Some(_)) => format!("TIMESTAMP({}) WITH TIME ZONE", digits(unit)),
        List(element) => format!("{}[]", sql_name(element)),
        Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| {
                    format!("{} {}", crate::session::quoted(&field.name), sql_name(&field.column_type))
                })
                .collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
    }
}
