//! Column blocks of the log: any bytes are rows or an error, within memory that follows from their length; rows that
//! were decoded are encoded and decoded as the same rows.

#![no_main]

use asof_engine::ColumnType;
use asof_engine::arrow::datatypes::{Field, Schema};
use asof_engine::codec::columns::{decode_columns, encode_columns};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

const TYPES: [&str; 20] = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "decimal(20,3)",
    "text",
    "binary",
    "binary(3)",
    "date",
    "time(s)",
    "time(us)",
    "timestamp(ns)",
    "timestamp(us,UTC)",
    "list(text)",
    "struct(a int8, b list(bool))",
    "list(list(binary(2)))",
];
const ROWS_MAX: usize = 1 << 20;

// The first byte says how many columns there are, the next ones their types.
fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else { return };
    let Some((types, bytes)) = rest.split_at_checked(usize::from(count % 7)) else { return };
    let fields: Vec<Field> = types
        .iter()
        .enumerate()
        .map(|(index, pick)| {
            let column_type =
                ColumnType::parse(TYPES[*pick as usize % TYPES.len()]).expect("the list has types");
            Field::new(format!("c{index}"), column_type.to_arrow(), true)
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let Ok(batch) = decode_columns(bytes, &schema, ROWS_MAX) else { return };
    assert!(batch.num_rows() <= ROWS_MAX);
    let encoded = encode_columns(&batch);
    let again = decode_columns(&encoded, &schema, ROWS_MAX).expect("what is encoded can be decoded");
    // Bytes, not values: NaN is not equal to itself.
    assert_eq!(encode_columns(&again), encoded);
});
