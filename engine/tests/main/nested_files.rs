//! Parquet and Arrow files of tables with lists and structs, and of Arrow files of any: their sizes are told by metadata,
//! and what they hold is what a model has, at versions that show a part of a row group too.

use crate::support::{DB, TestClock, keys, options};
use asof_engine::arrow::array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray,
};
use asof_engine::arrow::buffer::{NullBuffer, OffsetBuffer};
use asof_engine::arrow::compute::SortColumn;
use asof_engine::arrow::compute::{concat_batches, lexsort_to_indices, take_record_batch};
use asof_engine::arrow::datatypes::{DataType, Field};
use asof_engine::arrow::ipc::reader::FileReader;
use asof_engine::compact::policy::Parameters;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use asof_engine::view::{Format, View};
use asof_engine::{Alteration, Column, ColumnType, CommitOptions, Database, Options, Snapshot, Version};
use asof_wal::sim::SimDisk;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

const TABLE: &str = "orders";

/// Rows by key; the number is what their values come from.
type Rows = BTreeMap<i64, u64>;

/// A small generator of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)) % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// Elements of lists, one list after the other.
#[derive(Default)]
struct Lists {
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Lists {
    /// Begins a list, a null one among seven: how many elements it has.
    fn begin(&mut self, numbers: &mut Numbers) -> usize {
        let valid = !numbers.one_in(7);
        let length = if valid { numbers.below(5) as usize } else { 0 };
        self.lengths.push(length);
        self.valid.push(valid);
        length
    }

    fn of(self, elements: ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new("item", elements.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Arc::new(ListArray::new(field, offsets, elements, Some(NullBuffer::from(self.valid))))
    }
}

fn types() -> Vec<(&'static str, &'static str)> {
    vec![
        ("id", "int64"),
        ("note", "text"),
        ("items", "list(struct(amount int64, name text))"),
        ("more", "struct(paid bool, words list(list(text)), size struct(width int32))"),
        ("prices", "list(float64)"),
        ("flags", "list(bool)"),
    ]
}

fn structs(column_type: &str, members: Vec<ArrayRef>, valid: Vec<bool>) -> ArrayRef {
    let DataType::Struct(fields) = ColumnType::parse(column_type).expect("a type").to_arrow() else {
        panic!("{column_type} is a struct")
    };
    Arc::new(StructArray::new(fields, members, Some(NullBuffer::from(valid))))
}

/// The rows with values at every level that are null, empty, short or long.
fn batch(rows: &Rows) -> RecordBatch {
    let (mut items, mut words, mut inner, mut prices, mut flags) =
        (Lists::default(), Lists::default(), Lists::default(), Lists::default(), Lists::default());
    let (mut amounts, mut names, mut item_valid) = (Vec::new(), Vec::new(), Vec::new());
    let (mut texts, mut paid, mut widths) = (Vec::new(), Vec::new(), Vec::new());
    let (mut more_valid, mut size_valid, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut price_values, mut flag_values) = (Vec::new(), Vec::new());
    for (id, edition) in rows {
        let mut numbers = Numbers((*id as u64) << 20 | edition);
        let text = |numbers: &mut Numbers| {
            let length = if numbers.one_in(50) { numbers.below(3_000) } else { numbers.below(12) };
            (!numbers.one_in(6)).then(|| "é".repeat(length as usize))
        };
        notes.push(text(&mut numbers));
        for _ in 0..items.begin(&mut numbers) {
            let valid = !numbers.one_in(5);
            item_valid.push(valid);
            let amount = numbers.below(1_000) as i64;
            amounts.push((valid && !numbers.one_in(4)).then_some(amount));
            names.push(text(&mut numbers).filter(|_| valid));
        }
        let valid = !numbers.one_in(6);
        more_valid.push(valid);
        paid.push((valid && !numbers.one_in(3)).then_some(edition % 2 == 0));
        size_valid.push(valid && !numbers.one_in(3));
        widths.push((size_valid.ends_with(&[true]) && !numbers.one_in(3)).then_some(*id as i32));
        if valid {
            for _ in 0..words.begin(&mut numbers) {
                for _ in 0..inner.begin(&mut numbers) {
                    texts.push(text(&mut numbers));
                }
            }
        } else {
            words.lengths.push(0);
            words.valid.push(false);
        }
        for _ in 0..prices.begin(&mut numbers) {
            price_values.push((!numbers.one_in(9)).then_some(numbers.below(100) as f64 / 8.0));
        }
        for _ in 0..flags.begin(&mut numbers) {
            flag_values.push((!numbers.one_in(9)).then_some(numbers.one_in(2)));
        }
    }
    let amounts: ArrayRef = Arc::new(Int64Array::from(amounts));
    let members = vec![amounts, Arc::new(StringArray::from(names)) as ArrayRef];
    let items = items.of(structs("struct(amount int64, name text)", members, item_valid));
    let words = words.of(inner.of(Arc::new(StringArray::from(texts))));
    let size =
        structs("struct(width int32)", vec![Arc::new(Int32Array::from(widths)) as ArrayRef], size_valid);
    let members = vec![Arc::new(BooleanArray::from(paid)) as ArrayRef, words, size];
    let more = structs(types()[3].1, members, more_valid);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(rows.keys().copied())), false),
        ("note", Arc::new(StringArray::from(notes)), true),
        ("items", items, true),
        ("more", more, true),
        ("prices", prices.of(Arc::new(Float64Array::from(price_values))), true),
        ("flags", flags.of(Arc::new(BooleanArray::from(flag_values))), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns are of one length")
}

fn open(disk: &SimDisk, cache: &Path) -> Database {
    let clock = Arc::new(TestClock::default());
    let view_cache_dir = Some(cache.to_path_buf());
    // Little memory: of larger files a part goes to disk.
    let options = Options { clock, view_cache_dir, memory_bytes: 16 << 20, ..options(disk) };
    Database::open_or_create(Path::new(DB), options).expect("the database opens")
}

/// Loads rows, checkpointed, and commits changes of some of them; every version's rows.
fn history(database: &Database, loaded: i64, commits: u64) -> Vec<Rows> {
    let columns = types()
        .into_iter()
        .map(|(name, column_type)| Column::new(name, ColumnType::parse(column_type).expect("a type")));
    let mut rows: Rows = (0..loaded).map(|id| (id * 2, 0)).collect();
    let mut txn = database.begin().expect("a transaction");
    txn.create_table(TABLE, columns.collect(), &["id".to_string()]).expect("the table is made");
    txn.insert(TABLE, &batch(&rows)).expect("rows are taken");
    txn.commit(CommitOptions::default()).expect("a commit");
    database.checkpoint().expect("a checkpoint");
    let mut versions = vec![Rows::new(), rows.clone()];
    let mut numbers = Numbers(11);
    for edition in 1..=commits {
        let changed: Rows = (0..30).map(|_| (numbers.below(loaded as u64 * 2) as i64, edition)).collect();
        let gone: Vec<i64> =
            rows.keys().copied().filter(|id| !changed.contains_key(id) && numbers.one_in(400)).collect();
        let mut txn = database.begin().expect("a transaction");
        txn.upsert(TABLE, &batch(&changed)).expect("rows are taken");
        if !gone.is_empty() {
            txn.delete(TABLE, &keys(&gone)).expect("keys are taken");
        }
        txn.commit(CommitOptions::default()).expect("a commit");
        rows.extend(changed);
        rows.retain(|id, _| !gone.contains(id));
        versions.push(rows.clone());
        if edition % 3 == 0 && edition < commits {
            database.checkpoint().expect("a checkpoint");
        }
    }
    versions
}

fn bytes(view: &View) -> Bytes {
    let mut out = Vec::new();
    view.copy_to(&mut out).expect("the file is read");
    assert_eq!(out.len() as u64, view.size());
    out.into()
}

/// The rows of a file, by key.
fn read(format: Format, bytes: Bytes) -> RecordBatch {
    let batches: Vec<RecordBatch> = match format {
        Format::Parquet => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("a Parquet file");
            reader.build().expect("a reader").collect::<Result<_, _>>().expect("rows are read")
        }
        _ => {
            let reader = FileReader::try_new(Cursor::new(bytes), None).expect("an Arrow file");
            reader.collect::<Result<_, _>>().expect("rows are read")
        }
    };
    let rows = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let by_id = SortColumn { values: rows.column(0).clone(), options: None };
    let order = lexsort_to_indices(&[by_id], None).expect("keys are sorted");
    take_record_batch(&rows, &order).expect("rows are taken")
}

fn view(snapshot: &Snapshot, format: Format) -> Arc<View> {
    let view = snapshot.view(TABLE, format).expect("a view");
    assert_eq!(view.layout() != 0, format == Format::Parquet, "Parquet is stitched");
    view
}

const FORMATS: [Format; 2] = [Format::Parquet, Format::Arrow];

#[test]
fn lists_and_structs_are_what_they_were_in_files_of_every_version_wherever_rows_lie() {
    for (loaded, commits) in [(40, 8), (9_000, 11)] {
        let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
        let database = open(&disk, cache.path());
        let versions = history(&database, loaded, commits);
        let check = |what: &str| {
            for (version, rows) in versions.iter().enumerate().skip(1) {
                let snapshot = database.snapshot(Version(version as u64)).expect("a version");
                let expected = batch(rows);
                for format in FORMATS {
                    let found = read(format, bytes(&view(&snapshot, format)));
                    assert!(found.columns() == expected.columns(), "{format:?} {what}, version {version}");
                }
            }
        };
        check("with a tail of the log");
        database.checkpoint().expect("a checkpoint");
        check("after a checkpoint");
        let eager = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };
        database.compact(None, &eager).expect("a compaction");
        check("after a compaction");
    }
}

#[test]
fn sizes_are_told_without_a_row_or_a_page_being_read_or_a_byte_rendered() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let versions = history(&open(&disk, cache.path()), 9_000, 8);
    let database = open(&disk, cache.path());
    database.checkpoint().expect("a checkpoint");
    drop(database);
    let database = open(&disk, cache.path());
    for (version, rows) in versions.iter().enumerate().skip(1) {
        let snapshot = database.snapshot(Version(version as u64)).expect("a version");
        for format in FORMATS {
            assert!(snapshot.view_size(TABLE, format).expect("a size") > rows.len() as u64);
            let is_ready = view(&snapshot, format).is_ready(0, u64::MAX);
            // What was loaded is row groups as they lie.
            assert_eq!(
                is_ready,
                (version, format) == (1, Format::Parquet),
                "{format:?} at version {version}"
            );
        }
    }
    let counters = database.counters();
    assert_eq!((counters.rows_decoded, counters.pages_decoded), (0, 0));
    assert_eq!(std::fs::read_dir(cache.path()).expect("it is there").count(), 0);
}

#[test]
fn an_arrow_file_is_rendered_once_when_it_is_first_read_and_is_one_sealed_file_then() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let database = open(&disk, cache.path());
    history(&database, 500, 2);
    let snapshot = database.snapshot(Version(2)).expect("a version");
    let first = view(&snapshot, Format::Arrow);
    assert!(first.sealed_file().is_none());
    first.prepare().expect("it is rendered");
    assert_eq!(first.sealed_file().expect("one file").metadata().expect("its length").len(), first.size());
    let decoded = database.counters().rows_decoded;
    assert_eq!(bytes(&first), bytes(&view(&snapshot, Format::Arrow)));
    assert_eq!(database.counters().rows_decoded, decoded);
}

#[test]
fn reading_a_flat_column_of_a_file_with_lists_fills_no_slot_of_another_flat_one() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let database = open(&disk, cache.path());
    history(&database, 5_000, 4);
    let snapshot = database.snapshot(Version(4)).expect("a version");
    let whole = bytes(&view(&snapshot, Format::Parquet));
    let footer = ParquetRecordBatchReaderBuilder::try_new(whole).expect("a Parquet file");
    let [id, note] = [0, 1].map(|leaf| footer.metadata().row_group(0).column(leaf).byte_range());
    let again = view(&snapshot, Format::Parquet);
    again.prepare().expect("the footer is made");
    again.read_at(&mut [0; 64], id.0).expect("it is read");
    assert!(again.is_ready(id.0, id.1) && !again.is_ready(note.0, note.1));
}

#[test]
fn columns_with_defaults_of_every_kind_are_told_by_metadata_too() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().expect("a directory"));
    let database = open(&disk, cache.path());
    let versions = history(&database, 3_000, 2);
    let value_of = |name: &str| -> ArrayRef {
        let rows = (0..).map(|id| batch(&[(id, 3)].into()));
        let columns = rows.filter_map(|row| row.column_by_name(name).cloned());
        columns.filter(|column| column.is_valid(0)).nth(2).expect("some have a value")
    };
    let exact = Decimal128Array::from(vec![12_345]).with_precision_and_scale(20, 2).expect("it fits");
    let mut kinds: Vec<(&str, &str, ArrayRef)> =
        types().into_iter().skip(2).map(|(name, column_type)| (name, column_type, value_of(name))).collect();
    kinds.push(("exact", "decimal(20,2)", Arc::new(exact)));
    kinds.push(("flag", "bool", Arc::new(BooleanArray::from(vec![true]))));
    // So many that a footer which does not foresee how many values their lists have is too short.
    let defaults: Vec<(String, &str, ArrayRef)> = (1..=4)
        .flat_map(|nth| {
            kinds.iter().map(move |(name, kind, value)| (format!("{name} {nth}"), *kind, value.clone()))
        })
        .collect();
    let mut txn = database.begin().expect("a transaction");
    for (name, column_type, default) in &defaults {
        let column_type = ColumnType::parse(column_type).expect("a type");
        let with = Column::new(format!("{name} with"), column_type.clone());
        let with = Column { default: Some(default.clone()), ..with };
        txn.alter_table(TABLE, Alteration::AddColumn(with)).expect("a column is added");
        let without = Column::new(format!("{name} without"), column_type);
        txn.alter_table(TABLE, Alteration::AddColumn(without)).expect("a column is added");
    }
    txn.commit(CommitOptions::default()).expect("a commit");
    database.checkpoint().expect("a checkpoint");
    let (snapshot, rows) = (database.at("latest").expect("a version"), versions[3].len());
    for format in FORMATS {
        let before = database.counters().pages_decoded;
        let view = view(&snapshot, format);
        assert_eq!(database.counters().pages_decoded, before, "{format:?}");
        let found = read(format, bytes(&view));
        assert_eq!(found.num_rows(), rows);
        let column = |name: &str, which: &str| {
            found.column_by_name(&format!("{name} {which}")).expect("the column is there").clone()
        };
        for (name, _, default) in &defaults {
            assert_eq!(column(name, "without").null_count(), rows, "{format:?} {name}");
            for row in [0, 1, rows / 2, rows - 1] {
                assert_eq!(&column(name, "with").slice(row, 1), default, "{format:?} {name} row {row}");
            }
        }
    }
}
