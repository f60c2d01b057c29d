//! Cells as people and files write them, read back into typed arrays.
//!
//! Every frozen form is read, and the usual variants beside it. A value that does not fit its type
//! exactly is an error that names it; nothing is rounded but the digits of a float beyond its
//! precision. No text and no JSON makes this panic.

use super::{civil, number};
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use asof_mvcc::{ColumnType, NestedField, Unit};
use serde_json::Value;
use std::sync::Arc;

/// A cell that is no value of its column's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: {message}")]
pub struct CellError {
    /// The row among those given, from 0.
    pub row: usize,
    /// What is wrong, with the value.
    pub message: String,
}

/// Reads a column from its cells, `None` for NULL. White space around values other than text is left out.
pub fn parse_column<'a>(
    column_type: &ColumnType,
    cells: impl Iterator<Item = Option<&'a str>>,
) -> Result<ArrayRef, CellError> {
    if let ColumnType::List(_) | ColumnType::Struct(_) = column_type {
        let mut values = Vec::new();
        for (row, cell) in cells.enumerate() {
            values.push(
                cell.map(|text| parse_json(text).map_err(|message| CellError { row, message }))
                    .transpose()?,
            );
        }
        let values: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        return json_to_column(column_type, &values);
    }
    let mut builder = ScalarBuilder::new(column_type, cells.size_hint().0);
    for (row, cell) in cells.enumerate() {
        builder.push(cell).map_err(|message| CellError { row, message })?;
    }
    Ok(builder.finish(column_type))
}

/// Reads a column from JSON values; `None` and `null` are NULL.
///
/// Numbers are read from their text, so 64-bit integers and decimals stay exact. An integer may be
/// written as `1.0` or `1e3`; every scalar may stand in a string, in the form that CSV has.
pub fn json_to_column(column_type: &ColumnType, values: &[Option<&Value>]) -> Result<ArrayRef, CellError> {
    json_array(column_type, values).map_err(|(row, message)| CellError { row, message })
}

/// Reads one value: an array of one row.
pub fn parse_scalar(column_type: &ColumnType, text: &str) -> crate::Result<ArrayRef> {
    parse_column(column_type, std::iter::once(Some(text)))
        .map_err(|error| crate::Error::invalid(error.message))
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{} is not JSON: {error}", show(text)))
}

/// A value in a message: on one line, in quotes, not too long.
pub(crate) fn show(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut shown = String::from("'");
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_MAX {
            shown.push_str("...");
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.push('\'');
    shown
}

/// Builds an array of a scalar type from texts.
enum ScalarBuilder {
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt8(UInt8Builder),
    UInt16(UInt16Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    FixedBinary(FixedSizeBinaryBuilder, u32),
    Date(Date32Builder),
    TimeSecond(Time32SecondBuilder),
    TimeMillisecond(Time32MillisecondBuilder),
    TimeMicrosecond(Time64MicrosecondBuilder),
    TimeNanosecond(Time64NanosecondBuilder),
    Timestamp(Int64Builder, Unit, bool),
}

/// How many rows to reserve room for at most: a hint must not decide an allocation.
const RESERVED_ROWS_MAX: usize = 1 << 16;

impl ScalarBuilder {
    /// A builder for a scalar type. Lists and structs have their own way.
    fn new(column_type: &ColumnType, rows: usize) -> ScalarBuilder {
        let rows = rows.min(RESERVED_ROWS_MAX);
        match column_type {
            ColumnType::Boolean => ScalarBuilder::Boolean(BooleanBuilder::with_capacity(rows)),
            ColumnType::Int8 => ScalarBuilder::Int8(Int8Builder::with_capacity(rows)),
            ColumnType::Int16 => ScalarBuilder::Int16(Int16Builder::with_capacity(rows)),
            ColumnType::Int32 => ScalarBuilder::Int32(Int32Builder::with_capacity(rows)),
            ColumnType::Int64 => ScalarBuilder::Int64(Int64Builder::with_capacity(rows)),
            ColumnType::UInt8 => ScalarBuilder::UInt8(UInt8Builder::with_capacity(rows)),
            ColumnType::UInt16 => ScalarBuilder::UInt16(UInt16Builder::with_capacity(rows)),
            ColumnType::UInt32 => ScalarBuilder::UInt32(UInt32Builder::with_capacity(rows)),
            ColumnType::UInt64 => ScalarBuilder::UInt64(UInt64Builder::with_capacity(rows)),
            ColumnType::Float32 => ScalarBuilder::Float32(Float32Builder::with_capacity(rows)),
            ColumnType::Float64 => ScalarBuilder::Float64(Float64Builder::with_capacity(rows)),
            ColumnType::Decimal(precision, scale) => {
                let builder = Decimal128Builder::with_capacity(rows).with_data_type(column_type.to_arrow());
                ScalarBuilder::Decimal(builder, *precision, *scale)
            }
            ColumnType::Text => ScalarBuilder::Text(StringBuilder::with_capacity(rows, 0)),
            ColumnType::Binary => ScalarBuilder::Binary(BinaryBuilder::with_capacity(rows, 0)),
            ColumnType::FixedBinary(bytes) => {
                ScalarBuilder::FixedBinary(FixedSizeBinaryBuilder::with_capacity(0, *bytes as i32), *bytes)
            }
            ColumnType::Date => ScalarBuilder::Date(Date32Builder::with_capacity(rows)),
            ColumnType::Time(Unit::Second) => {
                ScalarBuilder::TimeSecond(Time32SecondBuilder::with_capacity(rows))
            }
            ColumnType::Time(Unit::Millisecond) => {
                ScalarBuilder::TimeMillisecond(Time32MillisecondBuilder::with_capacity(rows))
            }
            ColumnType::Time(Unit::Microsecond) => {
                ScalarBuilder::TimeMicrosecond(Time64MicrosecondBuilder::with_capacity(rows))
            }
            ColumnType::Time(Unit::Nanosecond) => {
                ScalarBuilder::TimeNanosecond(Time64NanosecondBuilder::with_capacity(rows))
            }
            ColumnType::Timestamp(unit, zone) => {
                ScalarBuilder::Timestamp(Int64Builder::with_capacity(rows), *unit, zone.is_some())
            }
            ColumnType::List(_) | ColumnType::Struct(_) => unreachable!("nested types are built from JSON"),
        }
    }

    /// Adds a cell.
    fn push(&mut self, cell: Option<&str>) -> Result<(), String> {
        let trimmed = cell.map(str::trim);
        macro_rules! integer {
            ($builder:expr, $native:ty) => {
                $builder.append_option(trimmed.map(parse_integer::<$native>).transpose()?)
            };
        }
        macro_rules! time {
            ($builder:expr, $unit:expr, $native:ty) => {
                $builder.append_option(
                    trimmed.map(|text| time(text, $unit)).transpose()?.map(|value| value as $native),
                )
            };
        }
        match self {
            ScalarBuilder::Boolean(builder) => builder.append_option(trimmed.map(boolean).transpose()?),
            ScalarBuilder::Int8(builder) => integer!(builder, i8),
            ScalarBuilder::Int16(builder) => integer!(builder, i16),
            ScalarBuilder::Int32(builder) => integer!(builder, i32),
            ScalarBuilder::Int64(builder) => integer!(builder, i64),
            ScalarBuilder::UInt8(builder) => integer!(builder, u8),
            ScalarBuilder::UInt16(builder) => integer!(builder, u16),
            ScalarBuilder::UInt32(builder) => integer!(builder, u32),
            ScalarBuilder::UInt64(builder) => integer!(builder, u64),
            ScalarBuilder::Float32(builder) => {
                let value = trimmed.map(|text| float(text, "float32", f32::is_infinite)).transpose()?;
                builder.append_option(value);
            }
            ScalarBuilder::Float64(builder) => {
                let value = trimmed.map(|text| float(text, "float64", f64::is_infinite)).transpose()?;
                builder.append_option(value);
            }
            ScalarBuilder::Decimal(builder, precision, scale) => {
                builder.append_option(trimmed.map(|text| decimal(text, *precision, *scale)).transpose()?);
            }
            ScalarBuilder::Text(builder) => {
                check_total(builder.values_slice().len(), cell.map_or(0, str::len))?;
                builder.append_option(cell);
            }
            ScalarBuilder::Binary(builder) => {
                let bytes = trimmed.map(binary).transpose()?;
                check_total(builder.values_slice().len(), bytes.as_ref().map_or(0, Vec::len))?;
                builder.append_option(bytes);
            }
            ScalarBuilder::FixedBinary(builder, bytes) => match trimmed {
                None => builder.append_null(),
                Some(text) => {
                    let value = fixed_binary(text, *bytes as usize)?;
                    builder.append_value(value).expect("the length was checked");
                }
            },
            ScalarBuilder::Date(builder) => builder.append_option(trimmed.map(date).transpose()?),
            ScalarBuilder::TimeSecond(builder) => time!(builder, Unit::Second, i32),
            ScalarBuilder::TimeMillisecond(builder) => time!(builder, Unit::Millisecond, i32),
            ScalarBuilder::TimeMicrosecond(builder) => time!(builder, Unit::Microsecond, i64),
            ScalarBuilder::TimeNanosecond(builder) => time!(builder, Unit::Nanosecond, i64),
            ScalarBuilder::Timestamp(builder, unit, zoned) => {
                builder.append_option(trimmed.map(|text| timestamp(text, *unit, *zoned)).transpose()?);
            }
        }
        Ok(())
    }

    fn finish(self, column_type: &ColumnType) -> ArrayRef {
        match self {
            ScalarBuilder::Boolean(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Int8(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Int16(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Int32(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Int64(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::UInt8(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::UInt16(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::UInt32(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::UInt64(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Float32(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Float64(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Decimal(mut builder, _, _) => Arc::new(builder.finish()),
            ScalarBuilder::Text(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Binary(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::FixedBinary(mut builder, _) => Arc::new(builder.finish()),
            ScalarBuilder::Date(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::TimeSecond(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::TimeMillisecond(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::TimeMicrosecond(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::TimeNanosecond(mut builder) => Arc::new(builder.finish()),
            ScalarBuilder::Timestamp(mut builder, _, _) => {
                let data = builder.finish().into_data().into_builder().data_type(column_type.to_arrow());
                make_array(data.build().expect("a timestamp is laid out as an int64"))
            }
        }
    }
}

/// Arrays of text and bytes count their bytes in 31 bits.
fn check_total(so_far: usize, more: usize) -> Result<(), String> {
    if so_far + more > i32::MAX as usize {
        return Err("the column's values exceed 2 GiB in one batch; give fewer rows at a time".into());
    }
    Ok(())
}

fn boolean(text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!("{} is not a bool (true or false)", show(text)))
    }
}

/// An integer type, by the name it has as a column type.
trait Integer: std::str::FromStr<Err = std::num::ParseIntError> + std::fmt::Display {
    const NAME: &'static str;
    const RANGE: (Self, Self);
}

macro_rules! integers {
    ($($native:ty, $name:literal;)*) => {
        $(impl Integer for $native {
            const NAME: &'static str = $name;
            const RANGE: ($native, $native) = (<$native>::MIN, <$native>::MAX);
        })*
    };
}
integers! {
    i8, "int8"; i16, "int16"; i32, "int32"; i64, "int64";
    u8, "uint8"; u16, "uint16"; u32, "uint32"; u64, "uint64";
}

fn parse_integer<T: Integer>(text: &str) -> Result<T, String> {
    text.parse::<T>().map_err(|_| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{} does not fit {} ({} to {})", show(text), T::NAME, T::RANGE.0, T::RANGE.1)
        } else {
            format!("{} is not an {}", show(text), T::NAME)
        }
    })
}

fn float<T: std::str::FromStr + Copy>(
    text: &str,
    name: &str,
    is_infinite: fn(T) -> bool,
) -> Result<T, String> {
    let value = text.parse::<T>().map_err(|_| format!("{} is not a {name}", show(text)))?;
    if is_infinite(value) && text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(format!("{} does not fit {name}", show(text)));
    }
    Ok(value)
}

fn decimal(text: &str, precision: u8, scale: u8) -> Result<i128, String> {
    number::parse_decimal(text, precision, scale).map_err(|error| match error {
        number::DecimalError::Malformed => format!("{} is not a decimal({precision},{scale})", show(text)),
        number::DecimalError::Scale => {
            format!("{} has more digits after the point than decimal({precision},{scale}) keeps", show(text))
        }
        number::DecimalError::Precision => {
            format!("{} has more digits before the point than decimal({precision},{scale}) has", show(text))
        }
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn binary(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    hex(digits).ok_or_else(|| format!("{} is not binary: pairs of hex digits are", show(text)))
}

fn fixed_binary(text: &str, bytes: usize) -> Result<Vec<u8>, String> {
    if bytes == 16 && text.len() == 36 {
        // A UUID as people write it.
        if let Ok(id) = uuid::Uuid::try_parse(text) {
            return Ok(id.into_bytes().to_vec());
        }
    }
    let value = binary(text)?;
    if value.len() != bytes {
        return Err(format!("{} has {} bytes, binary({bytes}) has {bytes}", show(text), value.len()));
    }
    Ok(value)
}

fn date(text: &str) -> Result<i32, String> {
    civil::parse_date(text).ok_or_else(|| format!("{} is not a date (2025-08-26)", show(text)))
}

fn time(text: &str, unit: Unit) -> Result<i64, String> {
    civil::parse_time(text, unit).ok_or_else(|| {
        format!(
            "{} is not a time({}) (10:00:00, at most {} decimals)",
            show(text),
            unit.name(),
            unit.digits()
        )
    })
}

fn timestamp(text: &str, unit: Unit, zoned: bool) -> Result<i64, String> {
    let (shown, name) = (show(text), unit.name());
    civil::parse_timestamp(text, unit, zoned).map_err(|error| match error {
        civil::TimestampError::Malformed => {
            let offset = if zoned { "Z" } else { "" };
            let digits = unit.digits();
            format!(
                "{shown} is not a timestamp({name}) (2025-08-26T10:00:00{offset}, at most {digits} decimals)"
            )
        }
        civil::TimestampError::Offset => {
            format!("{shown} has an offset, and a timestamp({name}) without a zone has none")
        }
        civil::TimestampError::NoOffset => {
            format!(
                "{shown} has no offset (such as Z or +02:00), and a timestamp({name}) with a zone needs one"
            )
        }
        civil::TimestampError::Range => format!("{shown} does not fit timestamp({name})"),
    })
}

/// An array of JSON values; errors name the row by its place in `values`.
fn json_array(column_type: &ColumnType, values: &[Option<&Value>]) -> Result<ArrayRef, (usize, String)> {
    match column_type {
        ColumnType::List(element) => json_list(element, values),
        ColumnType::Struct(fields) => json_struct(fields, values),
        _ => {
            let mut builder = ScalarBuilder::new(column_type, values.len());
            for (row, value) in values.iter().enumerate() {
                push_json(&mut builder, column_type, *value).map_err(|message| (row, message))?;
            }
            Ok(builder.finish(column_type))
        }
    }
}

fn push_json(
    builder: &mut ScalarBuilder,
    column_type: &ColumnType,
    value: Option<&Value>,
) -> Result<(), String> {
    let misfit = |found: &str| Err(format!("{found} is not a {column_type}"));
    match (value, column_type) {
        (None | Some(Value::Null), _) => builder.push(None),
        (Some(Value::String(text)), _) => builder.push(Some(text)),
        (Some(Value::Bool(value)), ColumnType::Boolean) => {
            builder.push(Some(if *value { "true" } else { "false" }))
        }
        (
            Some(Value::Number(number)),
            ColumnType::Float32 | ColumnType::Float64 | ColumnType::Decimal(..),
        ) => builder.push(Some(number.as_str())),
        (Some(Value::Number(number)), _) if is_integer(column_type) => {
            let text = number.as_str();
            if !text.contains(['.', 'e', 'E']) {
                return builder.push(Some(text));
            }
            // JSON has one kind of number: 1.0 and 1e3 are integers too.
            match number::parse_decimal(text, 38, 0) {
                Ok(integer) => builder.push(Some(&integer.to_string())),
                Err(_) => misfit(&show(text)),
            }
        }
        (Some(other), _) => misfit(&show(&other.to_string())),
    }
}

fn is_integer(column_type: &ColumnType) -> bool {
    use ColumnType::*;
    matches!(column_type, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64)
}

fn json_list(element: &ColumnType, values: &[Option<&Value>]) -> Result<ArrayRef, (usize, String)> {
    let (mut offsets, mut valid) = (vec![0i32], Vec::with_capacity(values.len()));
    let (mut elements, mut rows) = (Vec::new(), Vec::new());
    for (row, value) in values.iter().enumerate() {
        match value {
            None | Some(Value::Null) => valid.push(false),
            Some(Value::Array(items)) => {
                valid.push(true);
                elements.extend(items.iter().map(Some));
                rows.resize(elements.len(), row);
            }
            Some(other) => return Err((row, format!("{} is not a list", show(&other.to_string())))),
        }
        let end = i32::try_from(elements.len())
            .map_err(|_| (row, "lists of one batch have too many elements".into()))?;
        offsets.push(end);
    }
    let array = json_array(element, &elements)
        .map_err(|(at, message)| (rows.get(at).copied().unwrap_or(0), format!("in a list: {message}")))?;
    let field = Arc::new(Field::new("item", element.to_arrow(), true));
    let nulls = nulls_of(valid);
    Ok(Arc::new(ListArray::new(field, OffsetBuffer::new(offsets.into()), array, nulls)))
}

fn json_struct(fields: &[NestedField], values: &[Option<&Value>]) -> Result<ArrayRef, (usize, String)> {
    let mut valid = Vec::with_capacity(values.len());
    let mut members: Vec<Vec<Option<&Value>>> =
        fields.iter().map(|_| Vec::with_capacity(values.len())).collect();
    for (row, value) in values.iter().enumerate() {
        let object = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(other) => return Err((row, format!("{} is not a struct", show(&other.to_string())))),
        };
        if let Some(unknown) = object
            .and_then(|object| object.keys().find(|name| !fields.iter().any(|field| &field.name == *name)))
        {
            return Err((row, format!("a struct has no member {}", show(unknown))));
        }
        valid.push(object.is_some());
        for (field, member) in fields.iter().zip(&mut members) {
            member.push(object.and_then(|object| object.get(&field.name)));
        }
    }
    let mut arrays = Vec::with_capacity(fields.len());
    for (field, member) in fields.iter().zip(&members) {
        let array = json_array(&field.column_type, member)
            .map_err(|(row, message)| (row, format!("in member {}: {message}", show(&field.name))))?;
        arrays.push(array);
    }
    let arrow_fields = fields
        .iter()
        .map(|field| Field::new(&field.name, field.column_type.to_arrow(), true))
        .collect::<Fields>();
    let nulls = nulls_of(valid);
    Ok(Arc::new(
        StructArray::try_new_with_length(arrow_fields, arrays, nulls, values.len())
            .expect("members have one value a row"),
    ))
}

fn nulls_of(valid: Vec<bool>) -> Option<NullBuffer> {
    Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0)
}
