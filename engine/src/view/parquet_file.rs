//! A table as a Parquet file for any reader: zstd, dictionaries, field ids that are the columns' ids.
//!
//! Parquet has no unit of seconds; such columns are written in milliseconds. Key columns are REQUIRED.

use super::render::{Rechunked, Sink};
use crate::error::{Error, Result};
use arrow::array::*;
use arrow::datatypes::*;
use asof_mvcc::TableSchema;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

/// Rows of a row group.
const ROW_GROUP_ROWS: usize = 122_880;
/// Encoded bytes after which a row group ends early: it is held in memory until then.
const ROW_GROUP_BYTES_MAX: usize = 256 << 20;
const ZSTD_LEVEL: i32 = 3;

/// Writes the rows.
pub(super) fn write(
    schema: &TableSchema,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    out: &mut Sink,
) -> Result<()> {
    let file_schema = file_schema(schema);
    let properties = WriterProperties::builder()
        .set_created_by("asof".into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("3 is a level of zstd")))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .build();
    // The writer must be Send, and a destination need not be: bytes stop over in a vector.
    let mut writer =
        ArrowWriter::try_new(Vec::new(), file_schema.clone(), Some(properties)).map_err(failed)?;
    for batch in Rechunked::new(batches, schema.to_arrow()) {
        let batch = batch?;
        let columns = batch.columns().iter().zip(file_schema.fields());
        let columns =
            columns.map(|(array, field)| in_milliseconds(array, field.data_type())).collect::<Result<_>>()?;
        writer.write(&RecordBatch::try_new(file_schema.clone(), columns)?).map_err(failed)?;
        out.write_all(&std::mem::take(writer.inner_mut()))?;
    }
    Ok(out.write_all(&writer.into_inner().map_err(failed)?)?)
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::invalid(format!("the rows cannot be written as Parquet: {error}")).with_source(error)
}

/// The schema as the file has it.
fn file_schema(schema: &TableSchema) -> SchemaRef {
    let fields = schema.columns.iter().map(|column| {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), column.id.to_string())]);
        let nullable = column.nullable && !schema.key.contains(&column.id);
        Field::new(&column.name, file_type(&column.column_type.to_arrow()), nullable).with_metadata(id)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The type as Parquet has it: seconds become milliseconds, at any depth.
pub(super) fn file_type(data_type: &DataType) -> DataType {
    let inner = |field: &Arc<Field>| {
        let data_type = file_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::List(field) => DataType::List(inner(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// The array in the type of the file.
pub(super) fn in_milliseconds(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let overflow = |value: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "{value} s since 1970 or midnight do not fit milliseconds, and Parquet has no seconds"
        ))
    };
    Ok(match wanted {
        DataType::Time32(_) => {
            let seconds = array.as_primitive::<Time32SecondType>();
            let millis = seconds.try_unary::<_, Time32MillisecondType, Error>(|value| {
                value.checked_mul(1000).ok_or_else(|| overflow(&value))
            });
            Arc::new(millis?)
        }
        DataType::Timestamp(_, _) => {
            let seconds = array.as_primitive::<TimestampSecondType>();
            let millis = seconds.try_unary::<_, TimestampMillisecondType, Error>(|value| {
                value.checked_mul(1000).ok_or_else(|| overflow(&value))
            });
            Arc::new(millis?.with_data_type(wanted.clone()))
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let elements = in_milliseconds(list.values(), field.data_type())?;
            Arc::new(ListArray::try_new(
                field.clone(),
                list.offsets().clone(),
                elements,
                list.nulls().cloned(),
            )?)
        }
        DataType::Struct(fields) => {
            let (members, rows) = (array.as_struct(), array.len());
            let columns = members.columns().iter().zip(fields);
            let columns = columns.map(|(member, field)| in_milliseconds(member, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                members.nulls().cloned(),
                rows,
            )?)
        }
        other => unreachable!("{other} has no seconds"),
    })
}
