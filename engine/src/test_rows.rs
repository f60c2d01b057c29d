//! Batches for tests: from JSON, and random ones of every type.

use crate::text::json_to_column;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use asof_mvcc::{Column, ColumnType, NestedField, TableSchema, Unit};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;

/// A batch with columns `c0`, `c1`, ... of the types given, from rows as JSON arrays one after the other.
pub(crate) fn batch_of_json(types: &[&str], rows: &str) -> RecordBatch {
    let rows: Vec<Value> =
        serde_json::Deserializer::from_str(rows).into_iter().collect::<Result<_, _>>().unwrap();
    let types: Vec<ColumnType> = types.iter().map(|text| ColumnType::parse(text).unwrap()).collect();
    let columns = types.iter().enumerate().map(|(index, column_type)| {
        let values: Vec<Option<&Value>> = rows.iter().map(|row| Some(&row[index])).collect();
        json_to_column(column_type, &values).unwrap()
    });
    batch_of(&types, columns.collect(), rows.len())
}

fn batch_of(types: &[ColumnType], columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let fields: Vec<Field> = types
        .iter()
        .enumerate()
        .map(|(index, column_type)| Field::new(format!("c{index}"), column_type.to_arrow(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

/// The table schema of a batch.
pub(crate) fn schema_of(batch: &RecordBatch) -> TableSchema {
    let column =
        |field: &Arc<Field>| Column::new(field.name(), ColumnType::from_arrow(field.data_type()).unwrap());
    let none: [&str; 0] = [];
    TableSchema::new(batch.schema().fields().iter().map(column).collect(), &none).unwrap()
}

fn unit() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Second), Just(Unit::Millisecond), Just(Unit::Microsecond), Just(Unit::Nanosecond)]
}

/// Any type a column may have.
pub(crate) fn column_type() -> impl Strategy<Value = ColumnType> {
    use ColumnType::*;
    let scalar = prop_oneof![
        prop_oneof![Just(Boolean), Just(Int8), Just(Int16), Just(Int32), Just(Int64)],
        prop_oneof![Just(UInt8), Just(UInt16), Just(UInt32), Just(UInt64), Just(Float32), Just(Float64)],
        (1u8..=38)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(p, s)| Decimal(p, s)),
        prop_oneof![
            Just(Text),
            Just(Binary),
            (1u32..5).prop_map(FixedBinary),
            Just(Date),
            unit().prop_map(Time)
        ],
        (unit(), any::<bool>()).prop_map(|(unit, zoned)| Timestamp(unit, zoned.then(|| Arc::from("UTC")))),
    ];
    scalar.prop_recursive(3, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|element| List(Box::new(element))),
            prop::collection::vec(inner, 1..3).prop_map(|members| {
                let names = ["a", "b \"c\"", "d"];
                Struct(
                    members
                        .into_iter()
                        .zip(names)
                        .map(|(column_type, name)| NestedField { name: name.into(), column_type })
                        .collect(),
                )
            }),
        ]
    })
}

/// A text with all that matters to CSV and JSON.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("NULL".to_string()),
        "[a-c,\"\n\r\t\\\\ é\u{0}-\u{1f}\u{7f}😀]{0,8}",
        "\\PC{0,8}",
    ]
}

/// A JSON value that is one of a type, null at any level included.
fn value(column_type: &ColumnType) -> BoxedStrategy<Value> {
    use ColumnType::*;
    let number = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let cell = |array: ArrayRef| {
        let column_type = ColumnType::from_arrow(array.data_type()).unwrap();
        Value::String(crate::text::format_cell(&column_type, &array, 0).unwrap())
    };
    fn array<T: Array + 'static>(array: T) -> ArrayRef {
        Arc::new(array)
    }
    let some = match column_type.clone() {
        Boolean => any::<bool>().prop_map(Value::Bool).boxed(),
        Int8 => any::<i8>().prop_map(Value::from).boxed(),
        Int16 => any::<i16>().prop_map(Value::from).boxed(),
        Int32 => any::<i32>().prop_map(Value::from).boxed(),
        Int64 => any::<i64>().prop_map(Value::from).boxed(),
        UInt8 => any::<u8>().prop_map(Value::from).boxed(),
        UInt16 => any::<u16>().prop_map(Value::from).boxed(),
        UInt32 => any::<u32>().prop_map(Value::from).boxed(),
        UInt64 => any::<u64>().prop_map(Value::from).boxed(),
        // Bits that are not a number are all the same NaN in text.
        Float32 => any::<u32>()
            .prop_map(move |bits| cell(array(arrow::array::Float32Array::from(vec![f32::from_bits(bits)]))))
            .boxed(),
        Float64 => any::<u64>()
            .prop_map(move |bits| cell(array(arrow::array::Float64Array::from(vec![f64::from_bits(bits)]))))
            .boxed(),
        Decimal(precision, scale) => {
            let bound = 10i128.pow(u32::from(precision)) - 1;
            (-bound..=bound)
                .prop_map(move |unscaled| {
                    let decimal = arrow::array::Decimal128Array::from(vec![unscaled]);
                    let decimal = decimal.with_precision_and_scale(precision, scale as i8).unwrap();
                    let Value::String(text) = cell(array(decimal)) else { unreachable!() };
                    number(text)
                })
                .boxed()
        }
        Text => text().prop_map(Value::String).boxed(),
        Binary => prop::collection::vec(any::<u8>(), 0..6)
            .prop_map(move |bytes| cell(array(arrow::array::BinaryArray::from_vec(vec![&bytes[..]]))))
            .boxed(),
        FixedBinary(length) => prop::collection::vec(any::<u8>(), length as usize)
            .prop_map(move |bytes| {
                let fixed = arrow::array::FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).unwrap();
                cell(array(fixed))
            })
            .boxed(),
        Date => any::<i32>()
            .prop_map(move |days| cell(array(arrow::array::Date32Array::from(vec![days]))))
            .boxed(),
        Time(unit) => (0..86_400i64 * 10i64.pow(unit.digits() as u32))
            .prop_map(move |value| cell(temporal(value, &ColumnType::Time(unit))))
            .boxed(),
        Timestamp(unit, zone) => any::<i64>()
            .prop_map(move |value| cell(temporal(value, &ColumnType::Timestamp(unit, zone.clone()))))
            .boxed(),
        List(element) => prop::collection::vec(value(&element), 0..4).prop_map(Value::Array).boxed(),
        Struct(fields) => fields
            .iter()
            .map(|field| value(&field.column_type))
            .collect::<Vec<_>>()
            .prop_map(move |values| {
                Value::Object(fields.iter().map(|field| field.name.clone()).zip(values).collect())
            })
            .boxed(),
    };
    prop_oneof![4 => some, 1 => Just(Value::Null)].boxed()
}

/// One time or timestamp.
fn temporal(value: i64, column_type: &ColumnType) -> ArrayRef {
    let data_type = column_type.to_arrow();
    let data = match data_type {
        DataType::Time32(_) => arrow::array::Int32Array::from(vec![value as i32]).into_data(),
        _ => arrow::array::Int64Array::from(vec![value]).into_data(),
    };
    arrow::array::make_array(data.into_builder().data_type(data_type).build().unwrap())
}

/// A column of a type.
fn column(column_type: ColumnType, rows: usize) -> impl Strategy<Value = ArrayRef> {
    let values = prop_oneof![
        6 => prop::collection::vec(value(&column_type), rows),
        1 => Just(vec![Value::Null; rows]),
    ];
    values.prop_map(move |values| {
        let values: Vec<Option<&Value>> = values.iter().map(Some).collect();
        json_to_column(&column_type, &values).unwrap()
    })
}

/// A batch of up to twenty rows with up to four columns of any types. Some columns have other values under their nulls.
pub(crate) fn arbitrary_batch() -> impl Strategy<Value = RecordBatch> {
    (prop::collection::vec(column_type(), 1..5), 0usize..20).prop_flat_map(|(types, rows)| {
        let columns: Vec<_> = types
            .iter()
            .map(|column_type| (column(column_type.clone(), rows), any::<bool>(), any::<u64>()))
            .collect();
        columns.prop_map(move |columns| {
            let columns =
                columns.into_iter().map(|(array, mask, seed)| if mask { masked(array, seed) } else { array });
            batch_of(&types, columns.collect(), rows)
        })
    })
}

/// The array with more nulls, under which the values stay.
fn masked(array: ArrayRef, seed: u64) -> ArrayRef {
    let more =
        NullBuffer::from((0..array.len()).map(|row| seed >> (row % 64) & 1 == 1).collect::<Vec<bool>>());
    let nulls = NullBuffer::union(array.nulls(), Some(&more));
    arrow::array::make_array(array.to_data().into_builder().nulls(nulls).build().unwrap())
}
