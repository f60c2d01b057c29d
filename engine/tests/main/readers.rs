//! Files of past states read back by pyarrow, DuckDB, Polars, pandas, DataFusion and ClickHouse, and compared with what was written, value by value.
//!
//! This side holds the oracle: it makes the values, writes them through the engine, keeps every version itself, and
//! writes down what each file must hold as JSON that no code of the engine has touched. `../readers/compare.py` reads the
//! files with each reader and compares; the exceptions of a reader are named there, with their reasons.

use asof_engine::arrow::array::*;
use asof_engine::arrow::buffer::{NullBuffer, OffsetBuffer};
use asof_engine::arrow::datatypes::*;
use asof_engine::view::Format;
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, Database, NestedField, Options, Transaction, Unit,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A value as the test means it.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Bool(bool),
    /// Integers; the unscaled value of a decimal; days, or ticks of a time's unit.
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Struct(Vec<Cell>),
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_string())
}

fn parse(text: &str) -> ColumnType {
    ColumnType::parse(text).unwrap()
}

/// Integers as an array of a primitive type.
fn numbers<T: ArrowPrimitiveType>(cells: &[Cell], of: impl Fn(i128) -> T::Native) -> PrimitiveArray<T> {
    cells
        .iter()
        .map(|cell| match cell {
            Cell::Null => None,
            Cell::Int(value) => Some(of(*value)),
            other => panic!("{other:?} is no integer"),
        })
        .collect()
}

macro_rules! integers {
    ($cells:expr, $type:ty) => {
        Arc::new(numbers::<$type>($cells, |value| value.try_into().unwrap()))
    };
}

fn floats<T: ArrowPrimitiveType>(cells: &[Cell], of: impl Fn(f64) -> T::Native) -> PrimitiveArray<T> {
    let float = |cell: &Cell| match cell {
        Cell::Null => None,
        Cell::Float(value) => Some(of(*value)),
        other => panic!("{other:?} is no float"),
    };
    cells.iter().map(float).collect()
}

fn bytes(cell: &Cell) -> Option<&[u8]> {
    match cell {
        Cell::Null => None,
        Cell::Bytes(value) => Some(value),
        other => panic!("{other:?} is no binary"),
    }
}

fn array(column_type: &ColumnType, cells: &[Cell]) -> ArrayRef {
    let ticks64 = |value: i128| i64::try_from(value).unwrap();
    match column_type {
        ColumnType::Boolean => {
            let value = |cell: &Cell| match cell {
                Cell::Null => None,
                Cell::Bool(value) => Some(*value),
                other => panic!("{other:?} is no boolean"),
            };
            Arc::new(cells.iter().map(value).collect::<BooleanArray>())
        }
        ColumnType::Int8 => integers!(cells, Int8Type),
        ColumnType::Int16 => integers!(cells, Int16Type),
        ColumnType::Int32 => integers!(cells, Int32Type),
        ColumnType::Int64 => integers!(cells, Int64Type),
        ColumnType::UInt8 => integers!(cells, UInt8Type),
        ColumnType::UInt16 => integers!(cells, UInt16Type),
        ColumnType::UInt32 => integers!(cells, UInt32Type),
        ColumnType::UInt64 => integers!(cells, UInt64Type),
        ColumnType::Float32 => Arc::new(floats::<Float32Type>(cells, |value| value as f32)),
        ColumnType::Float64 => Arc::new(floats::<Float64Type>(cells, |value| value)),
        ColumnType::Decimal(..) => {
            let unscaled = numbers::<Decimal128Type>(cells, |value| value);
            Arc::new(unscaled.with_data_type(column_type.to_arrow()))
        }
        ColumnType::Text => {
            let value = |cell: &Cell| match cell {
                Cell::Null => None,
                Cell::Text(value) => Some(value.clone()),
                other => panic!("{other:?} is no text"),
            };
            Arc::new(cells.iter().map(value).collect::<StringArray>())
        }
        ColumnType::Binary => Arc::new(cells.iter().map(bytes).collect::<BinaryArray>()),
        ColumnType::FixedBinary(width) => {
            let values = cells.iter().map(bytes);
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *width as i32).unwrap())
        }
        ColumnType::Date => integers!(cells, Date32Type),
        ColumnType::Time(Unit::Second) => integers!(cells, Time32SecondType),
        ColumnType::Time(Unit::Millisecond) => integers!(cells, Time32MillisecondType),
        ColumnType::Time(Unit::Microsecond) => integers!(cells, Time64MicrosecondType),
        ColumnType::Time(Unit::Nanosecond) => integers!(cells, Time64NanosecondType),
        ColumnType::Timestamp(unit, zone) => {
            let zone = zone.clone();
            match unit {
                Unit::Second => {
                    Arc::new(numbers::<TimestampSecondType>(cells, ticks64).with_timezone_opt(zone))
                }
                Unit::Millisecond => {
                    Arc::new(numbers::<TimestampMillisecondType>(cells, ticks64).with_timezone_opt(zone))
                }
                Unit::Microsecond => {
                    Arc::new(numbers::<TimestampMicrosecondType>(cells, ticks64).with_timezone_opt(zone))
                }
                Unit::Nanosecond => {
                    Arc::new(numbers::<TimestampNanosecondType>(cells, ticks64).with_timezone_opt(zone))
                }
            }
        }
        ColumnType::List(element) => {
            let mut elements = Vec::new();
            let mut lengths = Vec::new();
            for cell in cells {
                let items: &[Cell] = match cell {
                    Cell::Null => &[],
                    Cell::List(items) => items,
                    other => panic!("{other:?} is no list"),
                };
                elements.extend_from_slice(items);
                lengths.push(items.len());
            }
            let field = Arc::new(Field::new("item", element.to_arrow(), true));
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(field, offsets, array(element, &elements), nulls(cells)))
        }
        ColumnType::Struct(members) => {
            let member = |nth: usize, cell: &Cell| match cell {
                Cell::Null => Cell::Null,
                Cell::Struct(values) => values[nth].clone(),
                other => panic!("{other:?} is no struct"),
            };
            let columns = members.iter().enumerate().map(|(nth, NestedField { column_type, .. })| {
                array(column_type, &cells.iter().map(|cell| member(nth, cell)).collect::<Vec<_>>())
            });
            let columns = columns.collect();
            let DataType::Struct(fields) = column_type.to_arrow() else { unreachable!("it is a struct") };
            Arc::new(StructArray::new(fields, columns, nulls(cells)))
        }
    }
}

fn nulls(cells: &[Cell]) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter(cells.iter().map(|cell| !matches!(cell, Cell::Null))))
}

/// The type, for the other side.
fn type_json(column_type: &ColumnType) -> Value {
    match column_type {
        ColumnType::Decimal(precision, scale) => {
            json!({"kind": "decimal", "precision": precision, "scale": scale})
        }
        ColumnType::FixedBinary(width) => json!({"kind": "fixed", "width": width}),
        ColumnType::Time(unit) => json!({"kind": "time", "unit": unit.name()}),
        ColumnType::Timestamp(unit, zone) => {
            json!({"kind": "timestamp", "unit": unit.name(), "zone": zone.as_deref()})
        }
        ColumnType::List(element) => json!({"kind": "list", "of": type_json(element)}),
        ColumnType::Struct(members) => {
            let member = |member: &NestedField| json!([member.name, type_json(&member.column_type)]);
            json!({"kind": "struct", "members": members.iter().map(member).collect::<Vec<_>>()})
        }
        scalar => json!({"kind": scalar.to_string()}),
    }
}

/// The value, for the other side: exact, whatever JSON makes of numbers.
fn cell_json(column_type: &ColumnType, cell: &Cell) -> Value {
    match (column_type, cell) {
        (_, Cell::Null) => Value::Null,
        (_, Cell::Bool(value)) => json!(value),
        (_, Cell::Int(value)) => json!(value.to_string()),
        (_, Cell::Float(value)) if value.is_nan() => json!("nan"),
        (ColumnType::Float32, Cell::Float(value)) => json!(format!("{:08x}", (*value as f32).to_bits())),
        (_, Cell::Float(value)) => json!(format!("{:016x}", value.to_bits())),
        (_, Cell::Text(value)) => json!(value),
        (_, Cell::Bytes(value)) => {
            json!(value.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        (ColumnType::List(element), Cell::List(items)) => {
            items.iter().map(|item| cell_json(element, item)).collect()
        }
        (ColumnType::Struct(members), Cell::Struct(values)) => {
            members.iter().zip(values).map(|(member, value)| cell_json(&member.column_type, value)).collect()
        }
        (column_type, cell) => panic!("{cell:?} is no {column_type}"),
    }
}

/// A table as this test keeps it; the first column is the key, or there is none.
#[derive(Clone, Debug, Default)]
struct Model {
    columns: Vec<(String, ColumnType)>,
    rows: BTreeMap<i128, Vec<Cell>>,
}

impl Model {
    fn new(columns: &[(&str, &str)]) -> Model {
        let columns = columns.iter().map(|(name, kind)| (name.to_string(), parse(kind))).collect();
        Model { columns, rows: BTreeMap::new() }
    }

    fn batch(&self, rows: &[Vec<Cell>]) -> RecordBatch {
        let columns = self.columns.iter().enumerate().map(|(nth, (name, column_type))| {
            let cells: Vec<Cell> = rows.iter().map(|row| row[nth].clone()).collect();
            (name.as_str(), array(column_type, &cells), true)
        });
        RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap()
    }

    fn create(&self, txn: &mut Transaction, table: &str, keyed: bool) {
        let columns =
            self.columns.iter().map(|(name, kind)| Column::new(name.as_str(), kind.clone())).collect();
        let key: Vec<String> = if keyed { vec![self.columns[0].0.clone()] } else { Vec::new() };
        txn.create_table(table, columns, &key).unwrap();
    }

    fn upsert(&mut self, txn: &mut Transaction, table: &str, rows: Vec<Vec<Cell>>) {
        txn.upsert(table, &self.batch(&rows)).unwrap();
        for row in rows {
            let Cell::Int(key) = row[0] else { panic!("the key is an integer") };
            self.rows.insert(key, row);
        }
    }

    /// Rows of a table without key, kept in their order.
    fn append(&mut self, txn: &mut Transaction, table: &str, rows: Vec<Vec<Cell>>) {
        txn.insert(table, &self.batch(&rows)).unwrap();
        for row in rows {
            self.rows.insert(self.rows.len() as i128, row);
        }
    }

    fn json(&self) -> Value {
        let columns: Vec<Value> =
            self.columns.iter().map(|(name, kind)| json!([name, type_json(kind)])).collect();
        let row = |row: &Vec<Cell>| -> Value {
            row.iter().zip(&self.columns).map(|(cell, (_, kind))| cell_json(kind, cell)).collect()
        };
        json!({"columns": columns, "rows": self.rows.values().map(row).collect::<Vec<_>>()})
    }
}

/// A table with every type that is not nested.
fn kinds() -> Model {
    Model::new(&[
        ("id", "int32"),
        ("flag", "bool"),
        ("i8", "int8"),
        ("i16", "int16"),
        ("i64", "int64"),
        ("u8", "uint8"),
        ("u16", "uint16"),
        ("u32", "uint32"),
        ("u64", "uint64"),
        ("f32", "float32"),
        ("f64", "float64"),
        ("dec", "decimal(9,2)"),
        ("wide", "decimal(38,10)"),
        ("whole", "decimal(18,0)"),
        ("name, \"quoted\"", "text"),
        ("bytes", "binary"),
        ("fixed", "binary(4)"),
        ("day", "date"),
        ("time_s", "time(s)"),
        ("time_ms", "time(ms)"),
        ("time_us", "time(us)"),
        ("time_ns", "time(ns)"),
        ("at_s", "timestamp(s)"),
        ("at_ms", "timestamp(ms)"),
        ("at_us", "timestamp(us)"),
        ("at_ns", "timestamp(ns)"),
        ("zoned_s", "timestamp(s,UTC)"),
        ("zoned_ms", "timestamp(ms,Europe/Paris)"),
        ("zoned_us", "timestamp(us,UTC)"),
        ("zoned_ns", "timestamp(ns,America/New_York)"),
    ])
}

/// One row of `kinds`: `nth` picks the extremes.
fn kinds_row(id: i128, nth: usize) -> Vec<Cell> {
    use Cell::*;
    let pick = |values: &[i128]| Int(values[nth % values.len()]);
    let float = |values: &[f64]| Float(values[nth % values.len()]);
    let texts = [
        "plain",
        "",
        " lead and trail ",
        "comma, semicolon; tab\t",
        "say \"hi\"",
        "one\ntwo",
        "one\r\ntwo\rthree",
        "NULL",
        "null",
        "naïve é 😀 漢字 \u{200d}",
        "\\N \\\\ \\n",
        "'single'",
        "#comment",
        "0012",
        "NaN",
        "\u{1}\u{7f}\u{85}\u{2028}",
    ];
    let binaries: [&[u8]; 5] = [b"", b"\0", b"\xff\x00\x10", b"text", b"\"quoted\",\n"];
    const DAY: i128 = 86_400;
    // 0001-01-01 and 9999-12-31, as days since 1970.
    const FIRST: i128 = -719_162;
    const LAST: i128 = 2_932_896;
    let times =
        |ticks: i128| pick(&[0, DAY * ticks - 1, 12 * 3600 * ticks + ticks / 2, 3600 * ticks + ticks.min(7)]);
    let stamps = |ticks: i128| {
        pick(&[
            0,
            -1,
            1_756_202_400 * ticks + ticks / 3,
            FIRST * DAY * ticks,
            (LAST + 1) * DAY * ticks - 1,
            1,
        ])
    };
    // Nanoseconds of 64 bits reach from 1677 to 2262.
    let nanos =
        pick(&[0, -1, 1_756_202_400_123_456_789, -9_223_372_036_000_000_001, 9_223_372_036_854_775_806, 1]);
    vec![
        Int(id),
        Bool(nth.is_multiple_of(2)),
        pick(&[0, i8::MIN.into(), i8::MAX.into()]),
        pick(&[0, i16::MIN.into(), i16::MAX.into()]),
        pick(&[0, i64::MIN.into(), i64::MAX.into(), 9_007_199_254_740_993, -9_007_199_254_740_993]),
        pick(&[0, u8::MAX.into()]),
        pick(&[0, u16::MAX.into()]),
        pick(&[0, u32::MAX.into()]),
        pick(&[0, u64::MAX.into(), 9_223_372_036_854_775_808, 9_007_199_254_740_993]),
        float(&[
            0.0,
            -0.0,
            0.1f32.into(),
            f32::MAX.into(),
            f32::MIN_POSITIVE.into(),
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e-45f32.into(),
            16_777_216.0,
        ]),
        float(&[
            -0.0,
            0.1,
            1e16,
            1.5e-6,
            f64::MAX,
            5e-324,
            f64::NAN,
            f64::NEG_INFINITY,
            f64::INFINITY,
            9_007_199_254_740_993.0,
            0.30000000000000004,
            -1.0,
        ]),
        pick(&[0, 150, -5, 999_999_999, -999_999_999, 1]),
        pick(&[0, 10i128.pow(38) - 1, 1 - 10i128.pow(38), 12_345_678_901, -1]),
        pick(&[0, 10i128.pow(18) - 1, -42]),
        text(texts[nth % texts.len()]),
        Bytes(binaries[nth % binaries.len()].to_vec()),
        Bytes([[0, 0, 0, 0], [0xff, 0, 0x10, b','], *b"\"\n\r "][nth % 3].to_vec()),
        pick(&[0, -1, 20_326, FIRST, LAST]),
        times(1),
        times(1_000),
        times(1_000_000),
        times(1_000_000_000),
        stamps(1),
        stamps(1_000),
        stamps(1_000_000),
        nanos.clone(),
        stamps(1),
        stamps(1_000),
        stamps(1_000_000),
        nanos,
    ]
}

fn null_row(model: &Model, id: i128) -> Vec<Cell> {
    let mut row = vec![Cell::Null; model.columns.len()];
    row[0] = Cell::Int(id);
    row
}

fn nested() -> Model {
    Model::new(&[
        ("id", "int64"),
        ("numbers", "list(int32)"),
        ("words", "list(text)"),
        ("point", "struct(x float64, y float32, label text)"),
        ("rows", "list(struct(no int64, price decimal(9,2), days list(date)))"),
        ("deep", "struct(inner struct(flag bool, at timestamp(us,UTC)), names list(list(text)))"),
        ("moments", "list(timestamp(s))"),
    ])
}

fn nested_row(id: i128, nth: usize) -> Vec<Cell> {
    use Cell::*;
    let item = |no: i128| Struct(vec![Int(no), Int(no * 150 - 1), List(vec![Int(20_326), Null, Int(-1)])]);
    let texts = |words: &[&str]| List(words.iter().map(|word| text(word)).collect());
    let at = Int(1_756_202_400_123_456);
    let rows = [
        vec![
            List(vec![Int(1), Null, Int(-2_147_483_648)]),
            texts(&["", "NULL", "a,b", "\"", "line\nbreak", "é😀"]),
            Struct(vec![Float(-0.0), Float(0.1f32.into()), text("p, \"q\"")]),
            List(vec![item(1), Null, item(i64::MAX.into())].into_iter().take(2).collect()),
            Struct(vec![
                Struct(vec![Bool(true), at.clone()]),
                List(vec![texts(&["a", ""]), Null, List(vec![])]),
            ]),
            List(vec![Int(1_756_202_400), Null]),
        ],
        vec![
            List(vec![]),
            List(vec![]),
            Struct(vec![Null, Null, Null]),
            List(vec![Struct(vec![Null, Null, Null]), Struct(vec![Int(1), Null, List(vec![])])]),
            Struct(vec![Null, List(vec![])]),
            List(vec![]),
        ],
        vec![
            List(vec![Null]),
            List(vec![Null, text("")]),
            Struct(vec![Float(1e300), Float(f64::INFINITY), text("")]),
            List(vec![]),
            Struct(vec![Struct(vec![Null, Int(-1)]), Null]),
            List(vec![Int(-62_135_596_800)]),
        ],
    ];
    [vec![Int(id)], rows[nth % rows.len()].clone()].concat()
}

/// Writes one past state in every format, and what it must hold.
fn export(database: &Database, tables: &BTreeMap<&str, Model>, out: &Path, state: &str) {
    let snapshot = database.at("latest").unwrap();
    for (table, model) in tables {
        for format in [Format::Parquet, Format::Arrow, Format::Csv, Format::JsonLines] {
            let view = snapshot.view(table, format).unwrap();
            let path = out.join(format!("{state}.{table}.{}", format.extension()));
            view.copy_to(&mut fs::File::create(&path).unwrap()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), view.size(), "{}", path.display());
        }
        let expected = serde_json::to_string(&model.json()).unwrap();
        fs::write(out.join(format!("{state}.{table}.expected.json")), expected).unwrap();
    }
}

/// The Python that `cargo xtask setup` makes in the target directory.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let python = target.join("venv/bin/python");
    assert!(python.exists(), "{} is missing; run `cargo xtask setup` once, it makes it", python.display());
    python
}

#[test]
fn everything_that_reads_such_files_reads_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("files");
    fs::create_dir(&out).unwrap();
    let options = Options { view_cache_dir: Some(dir.path().join("cache")), ..Options::default() };
    let database = Database::create(dir.path().join("db"), options).unwrap();
    let mut tables = BTreeMap::new();
    let mut states = 0;
    let mut commit = |txn: Transaction, tables: &BTreeMap<&str, Model>| {
        txn.commit(CommitOptions::default()).unwrap();
        states += 1;
        export(&database, tables, &out, &format!("v{states}"));
        // Once more from Parquet: every other state is checkpointed, so both kinds of rows are in the later ones.
        if states % 2 == 1 {
            database.checkpoint().unwrap();
            export(&database, tables, &out, &format!("v{states}-checkpointed"));
        }
    };

    let mut txn = database.begin().unwrap();
    for (name, model, keyed) in [
        ("kinds", kinds(), true),
        ("nested", nested(), true),
        ("single", Model::new(&[("word", "text")]), false),
        ("many", Model::new(&[("id", "int64"), ("half", "float64"), ("word", "text")]), true),
        ("empty", kinds(), true),
        ("pages", kinds(), true),
        ("lists", nested(), true),
    ] {
        model.create(&mut txn, name, keyed);
        tables.insert(name, model);
    }
    let rows = (0..24).map(|nth| kinds_row(nth as i128 * 3 - 30, nth)).collect();
    tables.get_mut("kinds").unwrap().upsert(&mut txn, "kinds", rows);
    let rows = (0..6).map(|nth| nested_row(nth as i128, nth)).collect();
    tables.get_mut("nested").unwrap().upsert(&mut txn, "nested", rows);
    let words = ["b", "", "NULL", "a", "a,b", "\"", " ", "two\nlines"];
    let mut rows: Vec<Vec<Cell>> = words.iter().map(|word| vec![text(word)]).collect();
    rows.insert(2, vec![Cell::Null]);
    tables.get_mut("single").unwrap().append(&mut txn, "single", rows);
    let row = |id: i128, edition: &str| {
        vec![Cell::Int(id), Cell::Float(id as f64 / 2.0), text(&format!("{edition} {}", id % 97))]
    };
    // More than one record batch of every writer.
    tables.get_mut("many").unwrap().upsert(
        &mut txn,
        "many",
        (0..20_000).map(|id| row(id, "first")).collect(),
    );
    // More than one page: of a version that hides few rows, whole pages are copied.
    let rows = (0..2_500).map(|id| kinds_row(id as i128, id)).collect();
    tables.get_mut("pages").unwrap().upsert(&mut txn, "pages", rows);
    let rows = (0..1_500).map(|id| nested_row(id as i128, id)).collect();
    tables.get_mut("lists").unwrap().upsert(&mut txn, "lists", rows);
    commit(txn, &tables);

    // Updates, nulls, deletes.
    let mut txn = database.begin().unwrap();
    let kinds = tables.get_mut("kinds").unwrap();
    let mut rows = vec![null_row(kinds, -30), null_row(kinds, 100)];
    rows.extend((0..8).map(|nth| kinds_row(nth as i128 * 3 - 12, nth + 9)));
    kinds.upsert(&mut txn, "kinds", rows);
    let gone = [39i128, 33];
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(gone.map(|id| id as i32)));
    txn.delete("kinds", &RecordBatch::try_from_iter([("id", ids)]).unwrap()).unwrap();
    gone.iter().for_each(|id| drop(kinds.rows.remove(id)));
    let nested = tables.get_mut("nested").unwrap();
    nested.upsert(&mut txn, "nested", vec![null_row(nested, 1), nested_row(9, 0)]);
    let rows = (0..20_000).step_by(7).map(|id| row(id, "second")).collect();
    tables.get_mut("many").unwrap().upsert(&mut txn, "many", rows);
    let pages = tables.get_mut("pages").unwrap();
    pages.upsert(&mut txn, "pages", vec![kinds_row(3, 7), null_row(pages, 5), kinds_row(2_499, 1)]);
    let lists = tables.get_mut("lists").unwrap();
    let mut rows = vec![nested_row(3, 7), null_row(lists, 5), nested_row(1_499, 1), nested_row(1_500, 0)];
    let Cell::List(words) = &mut rows[3][2] else { panic!("a list of texts") };
    words.push(text(&"long ".repeat(20_000)));
    lists.upsert(&mut txn, "lists", rows);
    commit(txn, &tables);

    // Other schemas: a column dropped, one renamed, one widened, one added.
    let mut txn = database.begin().unwrap();
    let kinds = tables.get_mut("kinds").unwrap();
    let at = |kinds: &Model, name: &str| kinds.columns.iter().position(|(column, _)| column == name).unwrap();
    let alter = |txn: &mut Transaction, alteration| txn.alter_table("kinds", alteration).unwrap();
    alter(&mut txn, Alteration::DropColumn("bytes".into()));
    let dropped = at(kinds, "bytes");
    kinds.columns.remove(dropped);
    kinds.rows.values_mut().for_each(|row| drop(row.remove(dropped)));
    alter(&mut txn, Alteration::RenameColumn { from: "flag".into(), to: "ok".into() });
    let renamed = at(kinds, "flag");
    kinds.columns[renamed].0 = "ok".into();
    for (name, wider) in [("u32", "int64"), ("f32", "float64"), ("dec", "decimal(20,2)"), ("i8", "int16")] {
        alter(&mut txn, Alteration::WidenColumn { name: name.into(), to: parse(wider) });
        let nth = at(kinds, name);
        kinds.columns[nth].1 = parse(wider);
    }
    alter(&mut txn, Alteration::WidenColumn { name: "day".into(), to: parse("timestamp(ms)") });
    let day = at(kinds, "day");
    kinds.columns[day].1 = parse("timestamp(ms)");
    for row in kinds.rows.values_mut() {
        if let Cell::Int(days) = &mut row[day] {
            *days *= 86_400_000;
        }
    }
    let mut added = Column::new("new", parse("text"));
    added.default = Some(Arc::new(StringArray::from(vec!["by default"])));
    alter(&mut txn, Alteration::AddColumn(added));
    kinds.columns.push(("new".into(), parse("text")));
    kinds.rows.values_mut().for_each(|row| row.push(text("by default")));
    commit(txn, &tables);

    let (agreed, printed) = compare(&out);
    assert!(agreed, "{printed}");
    // Every file of every state was read by every reader that it has: three states, two of them checkpointed too.
    assert_eq!(printed, format!("{} readings agree\n", tables.len() * 5 * READINGS));

    // Each of these readings would have found one value out of its place.
    let wrong = dir.path().join("wrong");
    fs::create_dir(&wrong).unwrap();
    for name in ["parquet", "arrow", "csv", "jsonl", "expected.json"].map(|end| format!("v3.single.{end}")) {
        fs::copy(out.join(&name), wrong.join(&name)).unwrap();
    }
    let expected = wrong.join("v3.single.expected.json");
    let changed = fs::read_to_string(&expected).unwrap().replacen("[\"a,b\"]", "[\"a;b\"]", 1);
    fs::write(&expected, changed).unwrap();
    let (agreed, printed) = compare(&wrong);
    assert!(!agreed && printed.ends_with(&format!("0 readings agree, {READINGS} differ\n")), "{printed}");
}

/// Readings of one state of one table: nine of Parquet, ten of Arrow, three of each other form.
const READINGS: usize = 25;

/// Reads the files of a directory with every reader; whether all agree with what was written, and what is printed.
fn compare(files: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/compare.py");
    let output = Command::new(python()).arg("-B").arg(script).arg(files).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}
