//! The types a column may have, how they are written, and which may widen into which.

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use std::fmt;
use std::sync::Arc;

/// The unit of a time or timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// `s`
    Second,
    /// `ms`
    Millisecond,
    /// `us`
    Microsecond,
    /// `ns`
    Nanosecond,
}

impl Unit {
    /// Digits after the decimal point of a second.
    pub fn digits(self) -> usize {
        match self {
            Unit::Second => 0,
            Unit::Millisecond => 3,
            Unit::Microsecond => 6,
            Unit::Nanosecond => 9,
        }
    }

    /// The unit's name in a type: `s`, `ms`, `us`, `ns`.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Second => "s",
            Unit::Millisecond => "ms",
            Unit::Microsecond => "us",
            Unit::Nanosecond => "ns",
        }
    }

    fn parse(text: &str) -> Option<Unit> {
        Some(match text {
            "s" | "second" => Unit::Second,
            "ms" | "millisecond" => Unit::Millisecond,
            "us" | "microsecond" => Unit::Microsecond,
            "ns" | "nanosecond" => Unit::Nanosecond,
            _ => return None,
        })
    }

    /// The same unit in Arrow.
    pub fn to_arrow(self) -> TimeUnit {
        match self {
            Unit::Second => TimeUnit::Second,
            Unit::Millisecond => TimeUnit::Millisecond,
            Unit::Microsecond => TimeUnit::Microsecond,
            Unit::Nanosecond => TimeUnit::Nanosecond,
        }
    }

    /// The same unit from Arrow.
    pub fn from_arrow(unit: TimeUnit) -> Unit {
        match unit {
            TimeUnit::Second => Unit::Second,
            TimeUnit::Millisecond => Unit::Millisecond,
            TimeUnit::Microsecond => Unit::Microsecond,
            TimeUnit::Nanosecond => Unit::Nanosecond,
        }
    }
}

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `bool`
    Boolean,
    /// `int8`
    Int8,
    /// `int16`
    Int16,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint8`
    UInt8,
    /// `uint16`
    UInt16,
    /// `uint32`
    UInt32,
    /// `uint64`
    UInt64,
    /// `float32`
    Float32,
    /// `float64`
    Float64,
    /// `decimal(precision,scale)`: precision 1 to 38, scale 0 to precision
    Decimal(u8, u8),
    /// `text`: UTF-8
    Text,
    /// `binary`
    Binary,
    /// `binary(n)`: exactly n bytes
    FixedBinary(u32),
    /// `date`: days since 1970-01-01
    Date,
    /// `time(unit)`: time of day, unit s, ms, us or ns
    Time(Unit),
    /// `timestamp(unit)` without a zone, `timestamp(unit,Zone)` with one
    Timestamp(Unit, Option<Arc<str>>),
    /// `list(type)`, elements may be null
    List(Box<ColumnType>),
    /// `struct(name type, ..)`, members may be null
    Struct(Vec<NestedField>),
}

/// A member of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NestedField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
}

/// A type that asof does not have, or a text that names none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// An Arrow type outside the supported ones.
    #[error("columns of type {0} are not supported")]
    Unsupported(String),
    /// A text that is not a type.
    #[error(
        "'{0}' is not a type; types are bool, int8..int64, uint8..uint64, float32, float64, decimal(p,s), text, binary, \
         binary(n), date, time, timestamp, timestamptz, list(..), struct(name type, ..)"
    )]
    Unknown(String),
}

/// How deep lists and structs may nest.
pub const NESTING_MAX: usize = 16;

impl ColumnType {
    /// The Arrow type that holds columns of this type in memory.
    pub fn to_arrow(&self) -> DataType {
        match self {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Int8 => DataType::Int8,
            ColumnType::Int16 => DataType::Int16,
            ColumnType::Int32 => DataType::Int32,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::UInt8 => DataType::UInt8,
            ColumnType::UInt16 => DataType::UInt16,
            ColumnType::UInt32 => DataType::UInt32,
            ColumnType::UInt64 => DataType::UInt64,
            ColumnType::Float32 => DataType::Float32,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale as i8),
            ColumnType::Text => DataType::Utf8,
            ColumnType::Binary => DataType::Binary,
            ColumnType::FixedBinary(bytes) => DataType::FixedSizeBinary(*bytes as i32),
            ColumnType::Date => DataType::Date32,
            ColumnType::Time(unit @ (Unit::Second | Unit::Millisecond)) => DataType::Time32(unit.to_arrow()),
            ColumnType::Time(unit) => DataType::Time64(unit.to_arrow()),
            ColumnType::Timestamp(unit, zone) => DataType::Timestamp(unit.to_arrow(), zone.clone()),
            ColumnType::List(element) => {
                DataType::List(Arc::new(Field::new("item", element.to_arrow(), true)))
            }
            ColumnType::Struct(fields) => DataType::Struct(Fields::from_iter(
                fields.iter().map(|f| Field::new(&f.name, f.column_type.to_arrow(), true)),
            )),
        }
    }

    /// The column type that holds an Arrow type's values exactly. Large and view strings, binaries
    /// and lists map to the plain ones, dictionaries to their values, `Date64` to a timestamp.
    pub fn from_arrow(data_type: &DataType) -> Result<ColumnType, TypeError> {
        ColumnType::from_arrow_at(data_type, 0)
    }

    fn from_arrow_at(data_type: &DataType, depth: usize) -> Result<ColumnType, TypeError> {
        let unsupported = || Err(TypeError::Unsupported(data_type.to_string()));
        if depth > NESTING_MAX {
            return unsupported();
        }
        Ok(match data_type {
            DataType::Boolean => ColumnType::Boolean,
            DataType::Int8 => ColumnType::Int8,
            DataType::Int16 => ColumnType::Int16,
            DataType::Int32 => ColumnType::Int32,
            DataType::Int64 => ColumnType::Int64,
            DataType::UInt8 => ColumnType::UInt8,
            DataType::UInt16 => ColumnType::UInt16,
            DataType::UInt32 => ColumnType::UInt32,
            DataType::UInt64 => ColumnType::UInt64,
            DataType::Float32 => ColumnType::Float32,
            DataType::Float64 => ColumnType::Float64,
            DataType::Decimal128(precision, scale) if (0..=*precision as i16).contains(&(*scale as i16)) => {
                ColumnType::Decimal(*precision, *scale as u8)
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ColumnType::Binary,
            DataType::FixedSizeBinary(bytes) if *bytes > 0 => ColumnType::FixedBinary(*bytes as u32),
            DataType::Date32 => ColumnType::Date,
            DataType::Date64 => ColumnType::Timestamp(Unit::Millisecond, None),
            DataType::Time32(unit) | DataType::Time64(unit) => ColumnType::Time(Unit::from_arrow(*unit)),
            DataType::Timestamp(unit, zone) => ColumnType::Timestamp(Unit::from_arrow(*unit), zone.clone()),
            DataType::Dictionary(_, values) => ColumnType::from_arrow_at(values, depth)?,
            DataType::List(item) | DataType::LargeList(item) => {
                ColumnType::List(Box::new(ColumnType::from_arrow_at(item.data_type(), depth + 1)?))
            }
            DataType::Struct(fields) if !fields.is_empty() => ColumnType::Struct(
                fields
                    .iter()
                    .map(|field| {
                        Ok(NestedField {
                            name: field.name().clone(),
                            column_type: ColumnType::from_arrow_at(field.data_type(), depth + 1)?,
                        })
                    })
                    .collect::<Result<_, TypeError>>()?,
            ),
            _ => return unsupported(),
        })
    }

    /// Whether columns of this type may be part of a primary key.
    pub fn may_be_key(&self) -> bool {
        !matches!(
            self,
            ColumnType::Float32 | ColumnType::Float64 | ColumnType::List(_) | ColumnType::Struct(_)
        )
    }

    /// Whether a column of this type may become `wider` without any value changing.
    pub fn widens_to(&self, wider: &ColumnType) -> bool {
        use ColumnType::*;
        match (self, wider) {
            (Float32, Float64) | (Date, Timestamp(_, None)) => true,
            (Decimal(p, s), Decimal(wider_p, wider_s)) => wider_p > p && wider_s == s,
            _ => match (self.integer_bits(), wider.integer_bits()) {
                (Some((signed, bits)), Some((wider_signed, wider_bits))) => {
                    bits < wider_bits && (signed == wider_signed || wider_signed)
                }
                _ => false,
            },
        }
    }

    /// Signedness and width of an integer type.
    fn integer_bits(&self) -> Option<(bool, u32)> {
        Some(match self {
            ColumnType::Int8 => (true, 8),
            ColumnType::Int16 => (true, 16),
            ColumnType::Int32 => (true, 32),
            ColumnType::Int64 => (true, 64),
            ColumnType::UInt8 => (false, 8),
            ColumnType::UInt16 => (false, 16),
            ColumnType::UInt32 => (false, 32),
            ColumnType::UInt64 => (false, 64),
            _ => return None,
        })
    }

    /// Reads a type as people write it; the names of common SQL dialects are understood too.
    pub fn parse(text: &str) -> Result<ColumnType, TypeError> {
        parse_type(text, 0).ok_or_else(|| TypeError::Unknown(text.trim().to_string()))
    }
}

fn parse_type(text: &str, depth: usize) -> Option<ColumnType> {
    let text = text.trim();
    if depth > NESTING_MAX {
        return None;
    }
    let (name, arguments) = match text.find('(') {
        Some(open) => (text[..open].trim(), Some(text[open + 1..].strip_suffix(')')?.trim())),
        None => (text, None),
    };
    let name = name.to_ascii_lowercase();
    let unit_and_zone = |arguments: Option<&str>| -> Option<(Unit, Option<Arc<str>>)> {
        let Some(arguments) = arguments else { return Some((Unit::Microsecond, None)) };
        let (unit, zone) = match arguments.split_once(',') {
            Some((unit, zone)) => (unit.trim(), Some(Arc::from(zone.trim().trim_matches('\'')))),
            None => (arguments, None),
        };
        Some((Unit::parse(unit)?, zone))
    };
    Some(match (name.as_str(), arguments) {
        ("bool" | "boolean", None) => ColumnType::Boolean,
        ("int8" | "tinyint", None) => ColumnType::Int8,
        ("int16" | "smallint", None) => ColumnType::Int16,
        ("int32" | "int" | "integer", None) => ColumnType::Int32,
        ("int64" | "bigint", None) => ColumnType::Int64,
        ("uint8", None) => ColumnType::UInt8,
        ("uint16", None) => ColumnType::UInt16,
        ("uint32", None) => ColumnType::UInt32,
        ("uint64", None) => ColumnType::UInt64,
        ("float32" | "real" | "float", None) => ColumnType::Float32,
        ("float64" | "double" | "double precision", None) => ColumnType::Float64,
        ("decimal" | "numeric", Some(arguments)) => {
            let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            if !(1..=38).contains(&precision) || scale > precision {
                return None;
            }
            ColumnType::Decimal(precision, scale)
        }
        ("text" | "string" | "utf8" | "varchar", None) | ("varchar", Some(_)) => ColumnType::Text,
        ("uuid", None) => ColumnType::FixedBinary(16),
        ("binary" | "bytes" | "blob" | "bytea", None) => ColumnType::Binary,
        ("binary" | "fixed", Some(bytes)) => ColumnType::FixedBinary(
            bytes.parse().ok().filter(|&bytes| bytes > 0 && bytes <= i32::MAX as u32)?,
        ),
        ("date", None) => ColumnType::Date,
        ("time", arguments) => {
            ColumnType::Time(unit_and_zone(arguments).filter(|(_, zone)| zone.is_none())?.0)
        }
        ("timestamp" | "datetime", arguments) => {
            let (unit, zone) = unit_and_zone(arguments)?;
            ColumnType::Timestamp(unit, zone)
        }
        ("timestamptz", arguments) => {
            let (unit, zone) = unit_and_zone(arguments)?;
            ColumnType::Timestamp(unit, Some(zone.unwrap_or_else(|| Arc::from("UTC"))))
        }
        ("list", Some(element)) => ColumnType::List(Box::new(parse_type(element, depth + 1)?)),
        ("struct", Some(members)) => ColumnType::Struct(
            split_outside_parentheses(members)
                .into_iter()
                .map(|member| {
                    let (name, rest) = take_name(member)?;
                    Some(NestedField { name, column_type: parse_type(rest, depth + 1)? })
                })
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

/// Splits at commas that are neither inside parentheses nor inside double quotes.
pub fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut quoted, mut start) = (Vec::new(), 0i32, None, 0);
    for (at, c) in text.char_indices() {
        match (quoted, c) {
            (Some(quote), c) if c == quote => quoted = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quoted = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// Takes a name off the front of a text: a word, or anything in double quotes (a doubled quote
/// stands for one).
pub fn take_name(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    if let Some(quoted) = text.strip_prefix('"') {
        let (mut name, mut rest) = (String::new(), quoted);
        loop {
            let end = rest.find('"')?;
            name.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    rest = more;
                }
                None => return Some((name, rest)),
            }
        }
    }
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')')).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_string(), &text[end..]))
}

/// Writes a name as [`take_name`] reads it: in quotes where it is not a plain word.
pub fn quote_name(name: &str) -> String {
    let plain = !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Boolean => f.write_str("bool"),
            ColumnType::Int8 => f.write_str("int8"),
            ColumnType::Int16 => f.write_str("int16"),
            ColumnType::Int32 => f.write_str("int32"),
            ColumnType::Int64 => f.write_str("int64"),
            ColumnType::UInt8 => f.write_str("uint8"),
            ColumnType::UInt16 => f.write_str("uint16"),
            ColumnType::UInt32 => f.write_str("uint32"),
            ColumnType::UInt64 => f.write_str("uint64"),
            ColumnType::Float32 => f.write_str("float32"),
            ColumnType::Float64 => f.write_str("float64"),
            ColumnType::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            ColumnType::Text => f.write_str("text"),
            ColumnType::Binary => f.write_str("binary"),
            ColumnType::FixedBinary(bytes) => write!(f, "binary({bytes})"),
            ColumnType::Date => f.write_str("date"),
            ColumnType::Time(unit) => write!(f, "time({})", unit.name()),
            ColumnType::Timestamp(unit, None) => write!(f, "timestamp({})", unit.name()),
            ColumnType::Timestamp(unit, Some(zone)) => write!(f, "timestamp({},{zone})", unit.name()),
            ColumnType::List(element) => write!(f, "list({element})"),
            ColumnType::Struct(fields) => {
                f.write_str("struct(")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{} {}", quote_name(&field.name), field.column_type)?;
                }
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_as_it_is_written() {
        for text in [
            "bool",
            "int8",
            "uint64",
            "float32",
            "decimal(38,10)",
            "text",
            "binary",
            "binary(16)",
            "date",
            "time(us)",
            "timestamp(ns)",
            "timestamp(ms,Europe/Paris)",
            "list(list(int32))",
            "struct(a int64, \"b c\" list(struct(d text)))",
        ] {
            let parsed = ColumnType::parse(text).expect(text);
            assert_eq!(parsed.to_string(), text);
            assert_eq!(ColumnType::from_arrow(&parsed.to_arrow()), Ok(parsed));
        }
    }

    #[test]
    fn what_is_not_a_type_is_refused() {
        for text in
            ["", "decimal(39,1)", "decimal(2,3)", "list()", "binary(0)", "int64(", "interval", "struct(a)"]
        {
            assert!(ColumnType::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn widening_is_a_closed_list() {
        let widens =
            |a: &str, b: &str| ColumnType::parse(a).unwrap().widens_to(&ColumnType::parse(b).unwrap());
        assert!(widens("int8", "int64") && widens("uint8", "int16") && widens("uint32", "uint64"));
        assert!(
            widens("float32", "float64")
                && widens("date", "timestamp(s)")
                && widens("decimal(9,2)", "decimal(12,2)")
        );
        assert!(!widens("int64", "int32") && !widens("int8", "uint16") && !widens("uint32", "int32"));
        assert!(
            !widens("int32", "float64")
                && !widens("text", "binary")
                && !widens("decimal(9,2)", "decimal(12,3)")
        );
    }
}
