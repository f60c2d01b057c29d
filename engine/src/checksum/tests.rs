//! The digests that `docs/checksums.md` shows, and what they may not depend on.

use super::*;
use crate::test_rows::{arbitrary_batch, batch_of_json, schema_of};
use crate::text::write_jsonl_rows;
use arrow::array::{ArrayRef, Float32Array, Float64Array, UInt32Array};
use arrow::compute::take_record_batch;
use asof_mvcc::{Column, ColumnType};
use proptest::prelude::*;
use std::sync::Arc;

const PAGE: &str = include_str!("../../../docs/checksums.md");

/// The hex digits behind a word in the page's listing.
fn shown(name: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("\n{name}: ")).expect("it is shown");
    rest.lines().next().unwrap_or_default().split_whitespace().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sum(rows: &RecordBatch) -> RowsSum {
    let mut sum = RowsSum::default();
    sum.add_rows(rows).unwrap();
    sum
}

fn encoded(rows: &RecordBatch) -> Vec<Vec<u8>> {
    let encoder = RowEncoder::of(rows).unwrap();
    let row = |index| {
        let mut out = Vec::new();
        encoder.put(index, &mut out);
        out
    };
    (0..rows.num_rows()).map(row).collect()
}

#[test]
fn digests_are_those_of_the_page() {
    let columns = [("id", "int64"), ("name", "text"), ("notes", "list(float64)")];
    let columns = columns.map(|(name, of)| Column::new(name, ColumnType::parse(of).unwrap()));
    let schema = TableSchema::new(columns.to_vec(), &["id"]).unwrap();
    let rows =
        batch_of_json(&["int64", "text", "list(float64)"], r#"[1, "Ada", [0.5, null]] [2, null, null]"#);
    assert_eq!(hex(&encoded(&rows)[0]), shown("row 1"));
    assert_eq!(hex(&encoded(&rows)[1]), shown("row 2"));
    let digest = table_digest(&schema, &sum(&rows));
    assert_eq!(hex(&digest), shown("table"));
    assert_eq!(hex(&table_digest(&schema, &RowsSum::default())), shown("without rows"));
    let tables = BTreeMap::from([("people".to_string(), TableChecksum { digest, rows: 2 })]);
    assert_eq!(hex(&DatabaseChecksum::of(tables).digest), shown("database"));
}

#[test]
fn a_schema_counts_with_names_types_nullability_and_key_and_not_with_ids() {
    let column =
        |id: u32, name: &str, of: &str| Column { id, ..Column::new(name, ColumnType::parse(of).unwrap()) };
    let digest = |columns: Vec<Column>, key: Vec<u32>| {
        table_digest(&TableSchema::of(columns, key), &RowsSum::default())
    };
    let plain = || vec![column(1, "a", "int64"), column(2, "b", "text")];
    let first = digest(plain(), vec![1]);
    assert_eq!(digest(vec![column(7, "a", "int64"), column(3, "b", "text")], vec![7]), first);
    let mut not_null = plain();
    not_null[1].nullable = false;
    let others = [
        digest(vec![column(1, "a", "int64"), column(2, "c", "text")], vec![1]),
        digest(vec![column(1, "a", "int32"), column(2, "b", "text")], vec![1]),
        digest(vec![column(2, "b", "text"), column(1, "a", "int64")], vec![1]),
        digest(not_null, vec![1]),
        digest(plain(), vec![2]),
        digest(plain(), vec![1, 2]),
        digest(plain(), vec![2, 1]),
        digest(plain(), Vec::new()),
    ];
    let mut all = others.to_vec();
    all.push(first);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), others.len() + 1);
}

#[test]
fn rows_count_as_often_as_they_are_there() {
    let one = batch_of_json(&["int64"], "[1] [2]");
    let twice = batch_of_json(&["int64"], "[1] [2] [2]");
    let other = batch_of_json(&["int64"], "[1] [1] [2]");
    assert_ne!(sum(&one), sum(&twice));
    assert_ne!(sum(&twice), sum(&other));
    assert_eq!(sum(&twice).count, 3);
}

#[test]
fn sums_carry_over_all_limbs_and_lose_what_goes_beyond() {
    let mut sum = RowsSum { sum: [u64::MAX; 4], count: 0 };
    sum.add_limbs([2, 0, 0, 0]);
    assert_eq!(sum.sum, [1, 0, 0, 0]);
    let mut sum = RowsSum { sum: [1, u64::MAX, 5, 0], count: 0 };
    sum.add_limbs([u64::MAX, u64::MAX, 0, 1]);
    assert_eq!(sum.sum, [0, u64::MAX, 6, 1]);
}

#[test]
fn every_nan_is_one_value_and_zeros_of_two_signs_are_two() {
    let doubles = [f64::NAN, f64::from_bits(0xfff8_0000_0000_0001), 0.0, -0.0];
    let floats = [f32::NAN, f32::from_bits(0xffc0_0001), 0.0, -0.0];
    let arrays: [ArrayRef; 2] =
        [Arc::new(Float64Array::from(doubles.to_vec())), Arc::new(Float32Array::from(floats.to_vec()))];
    for array in arrays {
        let rows = encoded(&RecordBatch::try_from_iter([("x", array)]).unwrap());
        assert_eq!(rows[0], rows[1]);
        assert_ne!(rows[2], rows[3]);
        assert_ne!(rows[0], rows[2]);
    }
}

proptest! {
    #[test]
    fn rows_are_equal_as_bytes_where_they_are_as_json(rows in arbitrary_batch()) {
        let schema = schema_of(&rows);
        let mut text = Vec::new();
        write_jsonl_rows(&schema, &rows, &mut text);
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let bytes = encoded(&rows);
        for one in 0..rows.num_rows() {
            for other in 0..one {
                prop_assert_eq!(bytes[one] == bytes[other], lines[one] == lines[other]);
            }
        }
    }

    #[test]
    fn neither_order_nor_layout_nor_parts_matter(rows in arbitrary_batch(), at in any::<prop::sample::Index>()) {
        let whole = sum(&rows);
        let reversed = UInt32Array::from_iter_values((0..rows.num_rows() as u32).rev());
        prop_assert_eq!(sum(&take_record_batch(&rows, &reversed).unwrap()), whole);
        let at = at.index(rows.num_rows() + 1);
        let mut parts = sum(&rows.slice(0, at));
        parts.add(&sum(&rows.slice(at, rows.num_rows() - at))).unwrap();
        prop_assert_eq!(parts, whole);
    }
}
