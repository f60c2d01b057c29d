//! How much room values take beside what every value of their type takes: text and binary, and all that lies in lists.
//!
//! Measured in bits, as Arrow's arrays lay values out: a bit tells whether a value is null, 32 where a text or a list
//! begins. Sums over the rows of a table so tell how long its arrays are together, wherever batches end. Invariant: what
//! is null takes nothing, whatever lies under it.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Schema};

/// Bits that every value of a type takes, null or not.
fn fixed_bits(data_type: &DataType) -> u64 {
    1 + match data_type {
        DataType::Boolean => 1,
        DataType::Utf8 | DataType::Binary | DataType::List(_) => 32,
        DataType::FixedSizeBinary(width) => 8 * *width as u64,
        DataType::Struct(members) => members.iter().map(|member| fixed_bits(member.data_type())).sum(),
        other => 8 * other.primitive_width().unwrap_or(0) as u64,
    }
}

/// Whether values of a type take anything beside.
pub fn is_variable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::Binary | DataType::List(_) => true,
        DataType::Struct(members) => members.iter().any(|member| is_variable(member.data_type())),
        _ => false,
    }
}

/// The variable bits of an array's rows.
pub fn variable_bits(array: &ArrayRef, rows: impl Iterator<Item = usize>) -> u64 {
    match is_variable(array.data_type()) {
        true => {
            let values = Values::of(array);
            rows.map(|row| values.bits(row)).sum()
        }
        false => 0,
    }
}

/// What rows of a schema whose values take so many bytes as JSON have at most.
pub fn variable_bits_max(schema: &Schema, json_bytes: u64) -> u64 {
    let most = schema.fields().iter().map(|field| bits_of_a_json_byte(field.data_type())).max();
    json_bytes.saturating_mul(most.unwrap_or(0))
}

/// A text is no longer than its JSON, a list has no more values than bytes, and a struct's members do not share any.
fn bits_of_a_json_byte(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Utf8 | DataType::Binary => 8,
        DataType::List(element) => fixed_bits(element.data_type()) + bits_of_a_json_byte(element.data_type()),
        DataType::Struct(members) => {
            members.iter().map(|member| bits_of_a_json_byte(member.data_type())).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// An array behind its concrete type.
struct Values<'a> {
    nulls: Option<&'a NullBuffer>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Fixed,
    /// Where each text begins, and the last ends.
    Text(&'a [i32]),
    /// The same of lists; bits that each element takes at least, and the elements.
    List(&'a [i32], u64, Box<Values<'a>>),
    Struct(Vec<Values<'a>>),
}

impl<'a> Values<'a> {
    fn of(array: &'a ArrayRef) -> Values<'a> {
        let kind = match array.data_type() {
            DataType::Utf8 => Kind::Text(array.as_string::<i32>().value_offsets()),
            DataType::Binary => Kind::Text(array.as_binary::<i32>().value_offsets()),
            DataType::List(element) => {
                let list = array.as_list::<i32>();
                let elements = Box::new(Values::of(list.values()));
                Kind::List(list.value_offsets(), fixed_bits(element.data_type()), elements)
            }
            DataType::Struct(_) => Kind::Struct(array.as_struct().columns().iter().map(Values::of).collect()),
            _ => Kind::Fixed,
        };
        Values { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0), kind }
    }

    fn bits(&self, row: usize) -> u64 {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return 0;
        }
        let length = |offsets: &[i32]| (offsets[row + 1] - offsets[row]) as u64;
        match &self.kind {
            Kind::Fixed => 0,
            Kind::Text(offsets) => 8 * length(offsets),
            Kind::List(offsets, fixed, elements) => {
                let beside = match elements.kind {
                    Kind::Fixed => 0,
                    _ => {
                        (offsets[row]..offsets[row + 1]).map(|element| elements.bits(element as usize)).sum()
                    }
                };
                length(offsets) * fixed + beside
            }
            Kind::Struct(members) => members.iter().map(|member| member.bits(row)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rows::{arbitrary_batch, batch_of_json, schema_of};
    use crate::text::cell_bytes;
    use proptest::prelude::*;

    #[test]
    fn values_take_what_they_hold_and_nulls_take_nothing() {
        let check = |column_type: &str, json: &str, expected: u64| {
            let batch = batch_of_json(&[column_type], json);
            let bits = variable_bits(batch.column(0), 0..batch.num_rows());
            assert_eq!(bits, expected, "{column_type} {json}");
        };
        check("int64", "[1] [null]", 0);
        check("text", r#"["abc"] [""] [null] ["é"]"#, 8 * 5);
        check("list(int32)", "[[1,null]] [[]] [null]", 2 * 33);
        check("list(bool)", "[[true]]", 2);
        check("list(text)", r#"[["ab",null]]"#, 2 * 33 + 16);
        check("list(list(int8))", "[[[1,2],null,[]]]", 3 * 33 + 2 * 9);
        check("struct(a int64, b text)", r#"[{"a":1,"b":"xy"}] [{"a":null,"b":null}] [null]"#, 16);
        check("list(struct(a int64, b text))", r#"[[{"a":1,"b":"xy"},null]]"#, 2 * (1 + 65 + 33) + 16);
    }

    proptest! {
        #[test]
        fn json_tells_how_much_there_is_at_most(batch in arbitrary_batch()) {
            let schema = schema_of(&batch);
            let columns = || schema.columns.iter().zip(batch.columns());
            let json = columns().map(|(column, array)| cell_bytes(column, array, false).1).sum();
            let bits: u64 = columns().map(|(_, array)| variable_bits(array, 0..batch.num_rows())).sum();
            prop_assert!(bits <= variable_bits_max(&schema.to_arrow(), json));
        }
    }
}
