use super::*;
use crate::codec::columns::{decode_columns, encode_columns};
use crate::error::{Error, ErrorKind};
use crate::test_rows::{arbitrary_batch, batch_of_json, schema_of};
use crate::text::cell_bytes;
use crate::variable_bits::variable_bits;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use asof_mvcc::{Column, ColumnType, Version};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const FORMATS: [Format; 4] = [Format::Parquet, Format::Csv, Format::JsonLines, Format::Arrow];

fn rendered(format: Format, schema: &TableSchema, batches: &[RecordBatch]) -> Vec<u8> {
    let mut out = Vec::new();
    let bytes = render(format, schema, batches.iter().cloned().map(Ok), &mut out).unwrap();
    assert_eq!(bytes, out.len() as u64);
    out
}

fn read_arrow(bytes: Vec<u8>) -> Vec<RecordBatch> {
    let reader = arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
    reader.collect::<std::result::Result<_, _>>().unwrap()
}

fn read_parquet(bytes: Vec<u8>) -> Vec<RecordBatch> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    reader.collect::<std::result::Result<_, _>>().unwrap()
}

fn numbers(rows: usize) -> RecordBatch {
    let json: String = (0..rows).map(|row| format!("[{row},\"name {}\"] ", row % 97)).collect();
    batch_of_json(&["int64", "text"], &json)
}

#[test]
fn files_do_not_show_how_rows_came_in_batches() {
    let whole = numbers(20_000);
    let schema = schema_of(&whole);
    let pieces: Vec<RecordBatch> = [(0, 1), (1, 0), (1, 8191), (8192, 11_000), (19_192, 808)]
        .iter()
        .map(|&(from, rows)| whole.slice(from, rows))
        .collect();
    for format in FORMATS {
        assert!(
            rendered(format, &schema, std::slice::from_ref(&whole)) == rendered(format, &schema, &pieces),
            "{format:?}"
        );
    }
}

/// The rows as an Arrow file of the size that is told by how many there are and the bits of their values.
fn sized_arrow(schema: &TableSchema, batches: &[RecordBatch]) -> Vec<u8> {
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let columns = batches.iter().flat_map(|batch| batch.columns());
    let bits = columns.map(|column| variable_bits(column, 0..column.len())).sum();
    let told = Told { rows, values: ToldValues::Bits(bits) };
    let size = ArrowSizes::default().size(schema, told).unwrap();
    let mut out = Vec::new();
    let batches = batches.iter().cloned().map(Ok);
    assert_eq!(render_arrow(schema, batches, (told, size), &mut out).unwrap(), size);
    assert_eq!(out.len() as u64, size);
    out
}

#[test]
fn the_size_of_an_arrow_file_is_told_by_its_rows_and_its_values_whatever_batches_they_make() {
    for rows in [0, 1, 7, 8191, 8192, 8193, 50_000] {
        let batch = numbers(rows);
        let (schema, batches) = (schema_of(&batch), [batch]);
        let sized = sized_arrow(&schema, &batches);
        let without = rendered(Format::Arrow, &schema, &batches).len();
        let filler = sized.len() - without;
        // Two bitmaps of nulls that no column has, and texts that do not fill their last 64 bytes.
        let most = rows.div_ceil(8192) * (2 * 1024 + 64) + 64;
        assert!(filler <= most, "{filler} bytes of filler behind {rows} rows");
        assert_eq!(read_arrow(sized).iter().map(RecordBatch::num_rows).sum::<usize>(), rows);
    }
}

#[test]
fn an_arrow_file_of_other_rows_than_were_told_or_without_room_for_them_is_an_error() {
    let batch = numbers(10);
    let schema = schema_of(&batch);
    let bits = variable_bits(batch.column(1), 0..10);
    let json = (0..2).map(|at| cell_bytes(&schema.columns[at], batch.column(at), false).1).sum();
    let sizes = ArrowSizes::default();
    let write = |told, size| {
        let mut out = Vec::new();
        render_arrow(&schema, [Ok(batch.clone())].into_iter(), (told, size), &mut out)
    };
    for right in [ToldValues::Bits(bits), ToldValues::JsonBytes(json)] {
        let right = Told { rows: 10, values: right };
        let size = sizes.size(&schema, right).unwrap();
        assert_eq!(write(right, size).unwrap(), size);
        let error = write(right, size / 2).unwrap_err();
        assert!(error.to_string().contains("room for"), "{error}");
    }
    let most = u64::MAX - 1;
    for (rows, values) in [
        (10, ToldValues::Bits(bits + 8)),
        (10, ToldValues::Bits(most)),
        (most, ToldValues::Bits(most)),
        (10, ToldValues::JsonBytes(json + 1)),
        (10, ToldValues::JsonBytes(most)),
        (11, ToldValues::Bits(bits)),
    ] {
        let wrong = Told { rows, values };
        let error = write(wrong, sizes.size(&schema, wrong).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{wrong}: {error}");
        assert!(error.to_string().contains("sums tell"), "{error}");
    }
}

#[test]
fn tables_without_rows_are_files_too() {
    let batch = numbers(0);
    let schema = schema_of(&batch);
    assert_eq!(rendered(Format::Csv, &schema, &[]), b"c0,c1\n");
    assert_eq!(rendered(Format::JsonLines, &schema, &[batch]), b"");
    assert!(read_parquet(rendered(Format::Parquet, &schema, &[])).is_empty());
    assert!(read_arrow(rendered(Format::Arrow, &schema, &[])).is_empty());
}

#[test]
fn large_tables_are_several_row_groups() {
    let batch = numbers(130_000);
    let bytes = rendered(Format::Parquet, &schema_of(&batch), std::slice::from_ref(&batch));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [122_880, 7_120]);
    let read: Vec<RecordBatch> = reader.build().unwrap().collect::<std::result::Result<_, _>>().unwrap();
    let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
    assert_eq!(read.columns(), batch.columns());
}

#[test]
fn parquet_has_field_ids_required_keys_and_no_seconds() {
    let types = ["int64", "timestamp(s,UTC)", "list(time(s))", "struct(a timestamp(s))"];
    let rows =
        r#"[1,"2025-08-26T10:00:00Z",["10:00:00",null],{"a":"1969-12-31T23:59:59"}] [2,null,null,null]"#;
    let batch = batch_of_json(&types, rows);
    let columns: Vec<Column> = schema_of(&batch).columns;
    let mut schema = TableSchema::new(columns, &["c0"]).unwrap();
    schema.columns[1].id = 7;
    let bytes = rendered(Format::Parquet, &schema, &[batch]);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes.clone())).unwrap();
    let file = reader.metadata().file_metadata();
    assert_eq!(file.created_by(), Some("asof"));
    let fields = file.schema_descr().root_schema().get_fields();
    let ids: Vec<i32> = fields.iter().map(|field| field.get_basic_info().id()).collect();
    assert_eq!(ids, [1, 7, 3, 4]);
    assert!(!fields[0].is_optional() && fields[1].is_optional());
    let read = &read_parquet(bytes)[0];
    let utc = Some("UTC".into());
    assert_eq!(*read.column(1).data_type(), DataType::Timestamp(TimeUnit::Millisecond, utc));
    let mut out = Vec::new();
    crate::text::write_jsonl_rows(&schema_of(read), read, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap().lines().next().unwrap(),
        r#"{"c0":1,"c1":"2025-08-26T10:00:00.000Z","c2":["10:00:00.000",null],"c3":{"a":"1969-12-31T23:59:59.000"}}"#
    );
}

#[test]
fn seconds_too_far_away_for_parquet_are_an_error() {
    let batch = batch_of_json(&["timestamp(s)"], r#"["-292277022657-01-27T08:29:52"]"#);
    let error =
        render(Format::Parquet, &schema_of(&batch), [Ok(batch)].into_iter(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn an_error_of_the_rows_or_the_destination_comes_through() {
    /// A disk that is full as it is written, or only as what was gathered goes to it.
    struct Full {
        gathers: bool,
    }
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.gathers { Ok(bytes.len()) } else { Err(no_room()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            if self.gathers { Err(no_room()) } else { Ok(()) }
        }
    }
    fn no_room() -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::StorageFull, "no room on /here")
    }
    let batch = numbers(10);
    let schema = schema_of(&batch);
    for format in FORMATS {
        let damaged = [Ok(batch.clone()), Err(Error::corrupt("page 7"))];
        let error = render(format, &schema, damaged.into_iter(), &mut Vec::new()).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Corrupt, "page 7".into()), "{format:?}");
        for gathers in [false, true] {
            let mut full = Full { gathers };
            let error = render(format, &schema, [Ok(batch.clone())].into_iter(), &mut full).unwrap_err();
            let told = (error.kind(), error.to_string());
            assert_eq!(told, (ErrorKind::Full, "no room on /here".into()), "{format:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_hold_the_rows_and_do_not_show_what_lies_under_nulls(batch in arbitrary_batch()) {
        let schema = schema_of(&batch);
        let clean = decode_columns(&encode_columns(&batch), &batch.schema(), 1000).unwrap();
        for format in FORMATS {
            let result = render(format, &schema, [Ok(batch.clone())].into_iter(), &mut Vec::new());
            match result {
                Ok(_) => prop_assert!(rendered(format, &schema, std::slice::from_ref(&batch)) == rendered(format, &schema, std::slice::from_ref(&clean))),
                Err(error) => prop_assert!(format == Format::Parquet && error.to_string().contains("milliseconds"), "{}", error),
            }
        }
        if batch.num_rows() > 0 {
            let read = read_arrow(rendered(Format::Arrow, &schema, std::slice::from_ref(&batch)));
            prop_assert_eq!(&read[0], &batch);
            let twice = [batch.clone(), batch.clone()];
            prop_assert_eq!(&read_arrow(sized_arrow(&schema, &twice))[0].slice(batch.num_rows(), batch.num_rows()), &batch);
            if !schema.columns.iter().any(|column| column.column_type.to_string().contains("(s")) {
                let read = read_parquet(rendered(Format::Parquet, &schema, std::slice::from_ref(&batch)));
                for (read, written) in read[0].columns().iter().zip(batch.columns()) {
                    prop_assert_eq!(read.data_type(), written.data_type());
                    prop_assert_eq!(read, written);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn arrow_files_of_several_record_batches_have_the_size_they_were_told(batch in arbitrary_batch()) {
        let schema = schema_of(&batch);
        let times = 17_000usize.checked_div(batch.num_rows()).unwrap_or(0);
        let read = read_arrow(sized_arrow(&schema, &vec![batch.clone(); times]));
        let mut rows = 0;
        for part in read {
            for row in [0, part.num_rows() - 1] {
                prop_assert_eq!(part.slice(row, 1), batch.slice((rows + row) % batch.num_rows(), 1));
            }
            rows += part.num_rows();
        }
        prop_assert_eq!(rows, times * batch.num_rows());
    }
}

#[test]
fn the_digest_of_a_schema_changes_with_all_that_shows() {
    let columns = vec![Column::new("a", ColumnType::Int32), Column::new("b", ColumnType::Text)];
    let schema = TableSchema::new(columns, &["a"]).unwrap();
    let mut digests = vec![schema_digest(&schema)];
    let change = |edit: fn(&mut TableSchema)| {
        let mut changed = schema.clone();
        edit(&mut changed);
        schema_digest(&changed)
    };
    digests.push(change(|schema| schema.columns[0].name = "x".into()));
    digests.push(change(|schema| schema.columns[1].nullable = false));
    digests.push(change(|schema| schema.columns[1].column_type = ColumnType::Binary));
    digests.push(change(|schema| schema.columns[1].id = 9));
    digests.push(change(|schema| schema.columns.swap(0, 1)));
    digests.push(change(|schema| schema.key.clear()));
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

/// A cache in a new directory.
fn cache(bytes_max: u64) -> (tempfile::TempDir, Arc<ViewCache>) {
    let directory = tempfile::tempdir().unwrap();
    let cache = ViewCache::open(Some(&directory.path().join("cache")), bytes_max, 0);
    assert!(cache.directory().is_some());
    (directory, cache)
}

fn key(version: u64) -> ViewKey {
    ViewKey {
        lineage: [7; 16],
        table: 3,
        changed: Version(version),
        schema: [1; 16],
        format: Format::Csv,
        layout: 0,
    }
}

/// A renderer of fixed bytes that counts its calls.
fn renderer(bytes: &'static [u8]) -> (Arc<AtomicUsize>, Render) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let render = move |out: &mut dyn std::io::Write| {
        counted.fetch_add(1, Ordering::SeqCst);
        out.write_all(bytes)?;
        Ok(bytes.len() as u64)
    };
    (calls, Box::new(render))
}

fn whole(view: &View) -> Vec<u8> {
    let mut out = Vec::new();
    view.copy_to(&mut out).unwrap();
    assert_eq!(out.len() as u64, view.size());
    out
}

/// Names in the cache's directory but for checksums.
fn names(cache: &ViewCache) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache.directory().unwrap()).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "sum"));
    paths.sort();
    paths
}

#[test]
fn a_view_of_known_size_is_rendered_when_first_read_and_once() {
    let (_directory, cache) = cache(1000);
    let (calls, render) = renderer(b"a,b\n1,2\n");
    let view = View::new(cache.clone(), key(1), Some(8), render).unwrap();
    assert_eq!((view.size(), calls.load(Ordering::SeqCst)), (8, 0));
    assert!(view.sealed_file().is_none());
    let mut buffer = [0; 4];
    assert_eq!(view.read_at(&mut buffer, 6).unwrap(), 2);
    assert_eq!(&buffer[..2], b"2\n");
    assert_eq!(view.read_at(&mut buffer, 8).unwrap(), 0);
    assert_eq!(view.read_at(&mut buffer, u64::MAX).unwrap(), 0);
    assert_eq!(whole(&view), b"a,b\n1,2\n");
    assert_eq!(view.sealed_file().unwrap().metadata().unwrap().len(), 8);
    // Another view of the same key shares it; so does another process.
    let again = View::new(cache.clone(), key(1), Some(8), renderer(b"other").1).unwrap();
    assert_eq!(whole(&again), b"a,b\n1,2\n");
    let elsewhere = ViewCache::open(cache.directory(), 1000, 0);
    let (other_calls, render) = renderer(b"a,b\n1,2\n");
    assert_eq!(whole(&View::new(elsewhere, key(1), Some(8), render).unwrap()), b"a,b\n1,2\n");
    assert_eq!((calls.load(Ordering::SeqCst), other_calls.load(Ordering::SeqCst)), (1, 0));
}

#[test]
fn a_view_of_unknown_size_is_rendered_to_know_it() {
    let (_directory, cache) = cache(1000);
    let (calls, render) = renderer(b"PAR1");
    let view = View::new(cache.clone(), key(1), None, render).unwrap();
    assert_eq!((view.size(), calls.load(Ordering::SeqCst)), (4, 1));
    drop(view);
    let (calls, render) = renderer(b"PAR1");
    let view = View::new(cache, key(1), None, render).unwrap();
    assert_eq!((view.size(), whole(&view)), (4, b"PAR1".to_vec()));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[test]
fn another_size_than_expected_is_an_error_and_not_kept() {
    let (_directory, cache) = cache(1000);
    let view = View::new(cache.clone(), key(1), Some(5), renderer(b"abc").1).unwrap();
    let error = view.read_at(&mut [0; 5], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(names(&cache).is_empty());
    let told_wrong: Render = Box::new(|out| Ok(out.write_all(b"abc").map(|()| 4)?));
    assert_eq!(View::new(cache.clone(), key(2), None, told_wrong).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(names(&cache).is_empty());
}

#[test]
fn a_failed_rendering_is_tried_again_by_the_next_read() {
    let (_directory, cache) = cache(1000);
    let calls = AtomicUsize::new(0);
    let render: Render = Box::new(move |out| {
        out.write_all(b"ab")?;
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(ErrorKind::Io, "the disk coughed"));
        }
        Ok(2)
    });
    let view = View::new(cache.clone(), key(1), Some(2), render).unwrap();
    assert_eq!(view.prepare().unwrap_err().kind(), ErrorKind::Io);
    assert!(names(&cache).is_empty());
    assert_eq!(whole(&view), b"ab");
}

#[test]
fn damage_in_the_cache_is_noticed_and_rendered_again() {
    let damages: [fn(&Path); 6] = [
        |path| rewrite(path, |bytes| bytes[0] ^= 1),
        |path| rewrite(path, |bytes| bytes.truncate(3)),
        |path| rewrite(path, |bytes| bytes.push(0)),
        |path| rewrite(&PathBuf::from(format!("{}.sum", path.display())), |bytes| bytes[15] ^= 1),
        |path| rewrite(&PathBuf::from(format!("{}.sum", path.display())), Vec::clear),
        |path| std::fs::remove_file(format!("{}.sum", path.display())).unwrap(),
    ];
    fn rewrite(path: &Path, edit: fn(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(path).unwrap();
        edit(&mut bytes);
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    for (index, damage) in damages.iter().enumerate() {
        let (_directory, cache) = cache(1000);
        whole(&View::new(cache.clone(), key(1), Some(6), renderer(b"abcdef").1).unwrap());
        damage(&names(&cache)[0]);
        let (calls, render) = renderer(b"abcdef");
        assert_eq!(
            whole(&View::new(cache.clone(), key(1), Some(6), render).unwrap()),
            b"abcdef",
            "damage {index}"
        );
        assert_eq!(calls.load(Ordering::SeqCst), 1, "damage {index}");
        assert_eq!(std::fs::read(&names(&cache)[0]).unwrap(), b"abcdef");
    }
}

#[test]
fn the_cache_stays_within_its_bytes_and_open_views_outlive_their_files() {
    let (_directory, cache) = cache(100);
    let open = View::new(cache.clone(), key(0), Some(30), renderer(&[b'x'; 30]).1).unwrap();
    open.prepare().unwrap();
    for version in 1..20 {
        whole(&View::new(cache.clone(), key(version), Some(30), renderer(&[b'y'; 30]).1).unwrap());
        let bytes: u64 = names(&cache).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(bytes <= 100, "{bytes}");
    }
    assert_eq!(names(&cache).len() * 2, std::fs::read_dir(cache.directory().unwrap()).unwrap().count());
    assert_eq!(whole(&open), [b'x'; 30]);
    // A file larger than the whole cache is served, and not kept.
    let large = View::new(cache.clone(), key(99), None, renderer(&[b'z'; 500]).1).unwrap();
    assert_eq!(whole(&large), [b'z'; 500]);
    assert!(names(&cache).iter().all(|path| path.metadata().unwrap().len() < 100));
}

#[test]
fn the_files_opened_longest_ago_go_first() {
    let (_directory, cache) = cache(100);
    for version in 0..3 {
        whole(&View::new(cache.clone(), key(version), Some(30), renderer(&[b'y'; 30]).1).unwrap());
    }
    // As if version 0 had been opened last.
    for (path, age) in names(&cache).iter().zip([1, 30, 20]) {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        let times = std::fs::FileTimes::new().set_accessed(time);
        std::fs::File::open(path).unwrap().set_times(times).unwrap();
    }
    whole(&View::new(cache.clone(), key(3), Some(30), renderer(&[b'y'; 30]).1).unwrap());
    let kept: Vec<bool> = (0..4)
        .map(|version| {
            names(&cache).iter().any(|path| path.to_string_lossy().contains(&format!("-v{version:016x}-")))
        })
        .collect();
    assert_eq!(kept, [true, false, true, true]);
}

#[test]
fn a_key_is_rendered_once_while_others_wait_for_that_key_alone() {
    let (_directory, cache) = cache(10_000);
    let calls = Arc::new(AtomicUsize::new(0));
    let (started, wait_started) = std::sync::mpsc::channel();
    let (go_on, wait_go_on) = std::sync::mpsc::channel::<()>();
    let wait_go_on = Arc::new(parking_lot::Mutex::new(wait_go_on));
    let slow = |calls: Arc<AtomicUsize>| -> Render {
        let (started, wait_go_on) = (started.clone(), wait_go_on.clone());
        Box::new(move |out| {
            calls.fetch_add(1, Ordering::SeqCst);
            started.send(()).unwrap();
            wait_go_on.lock().recv().unwrap();
            out.write_all(b"slow")?;
            Ok(4)
        })
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let view = View::new(cache.clone(), key(1), Some(4), slow(calls.clone())).unwrap();
                scope.spawn(move || whole(&view))
            })
            .collect();
        wait_started.recv().unwrap();
        // One of them renders and cannot go on; another key is served meanwhile.
        assert_eq!(whole(&View::new(cache.clone(), key(2), Some(4), renderer(b"fast").1).unwrap()), b"fast");
        go_on.send(()).unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), b"slow");
        }
    });
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn without_a_directory_files_are_served_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let cache = ViewCache::open(Some(&file), 1000, 0);
    assert!(cache.directory().is_none());
    let view = View::new(cache, key(1), None, renderer(b"abc").1).unwrap();
    assert_eq!(whole(&view), b"abc");
    assert!(view.sealed_file().is_some());
    // A directory that vanishes later is no reason to fail either.
    let gone = directory.path().join("gone");
    let cache = ViewCache::open(Some(&gone), 1000, 0);
    std::fs::remove_dir(&gone).unwrap();
    assert_eq!(whole(&View::new(cache, key(1), None, renderer(b"abc").1).unwrap()), b"abc");
}

#[test]
fn sections_that_do_not_make_the_size_told_are_an_error_and_are_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        crate::Options { view_cache_dir: Some(directory.path().join("unused")), ..Default::default() };
    let database = crate::Database::create(directory.path().join("db"), options).unwrap();
    let mut transaction = database.begin().unwrap();
    let batch = numbers(20_000);
    transaction.create_table("t", schema_of(&batch).columns, &["c0".to_string()]).unwrap();
    transaction.insert("t", &batch).unwrap();
    transaction.commit(Default::default()).unwrap();
    let snapshot = database.snapshot(Version(1)).unwrap();
    let table = snapshot.catalog().find("t", Version(1)).unwrap().clone();
    let size = snapshot.view_size("t", Format::Csv).unwrap();
    for (told, is_right) in [(size, true), (size + 1, false), (size - 1, false), (size / 2, false)] {
        let (_directory, cache) = cache(1 << 30);
        let source = (snapshot.state(), table.clone(), Version(1));
        let view = View::text(cache.clone(), key(1), told, source, (20_000, 16 << 10));
        let mut out = Vec::new();
        let copied = view.copy_to(&mut out);
        if is_right {
            copied.unwrap();
            while view.sealed_file().is_none() {
                std::thread::yield_now();
            }
            assert_eq!((out.len() as u64, names(&cache).len()), (size, 2));
        } else {
            assert_eq!(
                copied.unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{told} bytes were told, there are {size}"
            );
            assert!(view.sealed_file().is_none());
            drop(view);
            assert_eq!(names(&cache), Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn the_cache_is_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, cache) = cache(1000);
    whole(&View::new(cache.clone(), key(1), None, renderer(b"abc").1).unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(cache.directory().unwrap()), 0o700);
    assert_eq!(mode(&names(&cache)[0]), 0o400);
    let open_to_all = directory.path().join("open");
    std::fs::create_dir(&open_to_all).unwrap();
    std::fs::set_permissions(&open_to_all, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(ViewCache::open(Some(&open_to_all), 1000, 0).directory().is_none());
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(cache.directory().unwrap(), &link).unwrap();
    assert!(ViewCache::open(Some(&link), 1000, 0).directory().is_none());
}

#[test]
fn what_killed_processes_left_is_removed_and_nothing_else() {
    let (_directory, cache) = cache(1000);
    let directory = cache.directory().unwrap().to_path_buf();
    let abandoned = directory.join("tmp-asof-1-1");
    std::fs::write(&abandoned, b"half").unwrap();
    std::fs::write(directory.join("notes.csv"), b"not ours").unwrap();
    let orphan = directory.join(format!(
        "{}-t00000003-v0000000000000001-s{}-l0000000000000000-r0001.csv.sum",
        "07".repeat(16),
        "01".repeat(16)
    ));
    std::fs::write(&orphan, b"x").unwrap();
    let slow: Render = {
        let directory = directory.clone();
        Box::new(move |out| {
            out.write_all(b"abc")?;
            // Another process looks while this one writes: its temporary file stays.
            ViewCache::open(Some(&directory), 1000, 0);
            Ok(3)
        })
    };
    assert_eq!(whole(&View::new(cache.clone(), key(1), None, slow).unwrap()), b"abc");
    assert!(!abandoned.exists() && directory.join("notes.csv").exists());
    assert_eq!(names(&cache).len(), 2, "{:?}", names(&cache));
}

#[test]
fn small_files_live_in_memory() {
    let view = View::from_bytes(b"{}\n".to_vec());
    assert_eq!((view.size(), whole(&view)), (3, b"{}\n".to_vec()));
    assert!(view.sealed_file().is_none());
    let mut buffer = [0; 8];
    assert_eq!(view.read_at(&mut buffer, 1).unwrap(), 2);
    assert_eq!(view.read_at(&mut buffer, 3).unwrap(), 0);
}

#[test]
fn views_cross_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<View>();
    is_shared::<Arc<ViewCache>>();
}

#[test]
fn seconds_are_the_only_unit_that_parquet_changes() {
    let types = ["time(ms)", "time(us)", "time(ns)", "timestamp(ms)", "timestamp(us,UTC)", "timestamp(ns)"];
    let batch =
        batch_of_json(&types, r#"["10:00","10:00","10:00","2025-08-26","2025-08-26T10:00Z","2025-08-26"]"#);
    let read = &read_parquet(rendered(Format::Parquet, &schema_of(&batch), std::slice::from_ref(&batch)))[0];
    assert_eq!(read.columns(), batch.columns());
    assert_eq!(read.column(0).as_primitive::<arrow::datatypes::Time32MillisecondType>().len(), 1);
}
