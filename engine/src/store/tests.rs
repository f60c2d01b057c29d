//! Data files written and read back: runs, pages, filters, loaded files.

use super::data_file::{DataFile, Wanted};
use super::data_writer::{DataWriter, FileKind, GROUP_ROWS};
use super::details::PageZone;
use super::encode::PAGE_ROWS;
use super::group_scan::{Choice, DeadRows, GroupTask};
use super::read::{Footer, check_places};
use crate::adapt::loose_schema;
use crate::counting::Counts;
use crate::layout::{DATA_DIR, Layout};
use crate::manifest::DataFileRecord;
use crate::scan::Life;
use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use asof_mvcc::{Column, ColumnType, Keys, Version};
use asof_wal::sim::SimDisk;
use asof_wal::{Disk, OpenMode};
use parquet::file::metadata::ColumnChunkMetaDataBuilder;
use std::path::Path;
use std::sync::Arc;

fn columns() -> Vec<Column> {
    let list = ColumnType::parse("list(int64)").expect("a type");
    let types =
        [("id", ColumnType::Int64), ("name", ColumnType::Text), ("few", ColumnType::Text), ("list", list)];
    let columns = types.into_iter().zip(1..);
    columns.map(|((name, column_type), id)| Column { id, ..Column::new(name, column_type) }).collect()
}

fn rows(ids: &[i64]) -> RecordBatch {
    let text = |make: fn(i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(ids.iter().map(|id| make(*id))))
    };
    let list = ids.iter().map(|id| (id % 3 != 0).then(|| (0..id % 4).map(Some)));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        text(|id| format!("name {:x}", id.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64))),
        text(|id| ["red", "green", "blue"][id as usize % 3].to_string()),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(list)),
    ];
    let schema = loose_schema(&columns());
    let arrays = arrays
        .into_iter()
        .zip(schema.fields())
        .map(|(array, field)| arrow::compute::cast(&array, field.data_type()).expect("the same type"));
    RecordBatch::try_new(schema.clone(), arrays.collect()).expect("columns of one length")
}

struct Place {
    disk: Arc<dyn Disk>,
    layout: Layout,
}

fn place() -> Place {
    let disk = SimDisk::new(1);
    for dir in ["/db", &format!("/db/{DATA_DIR}")] {
        disk.create_dir(Path::new(dir)).expect("a directory");
    }
    Place { disk: Arc::new(disk), layout: Layout::new(Path::new("/db")) }
}

/// Writes runs of ids in batches of an odd size; the begin of a row is its run's number, from 1.
fn write(place: &Place, runs: &[Vec<i64>], kind: FileKind) -> DataFileRecord {
    fill(create(place, kind), runs)
}

fn create(place: &Place, kind: FileKind) -> DataWriter {
    DataWriter::create(place.disk.clone(), &place.layout, 1, 7, &columns(), kind, &[1]).expect("a writer")
}

fn fill(writer: DataWriter, runs: &[Vec<i64>]) -> DataFileRecord {
    fill_living(writer, runs, |run, _| (run as u64 + 1, 100))
}

/// The same with lives told by run and id.
fn fill_living(
    mut writer: DataWriter,
    runs: &[Vec<i64>],
    life: impl Fn(usize, i64) -> (u64, u64),
) -> DataFileRecord {
    for (run, ids) in runs.iter().enumerate() {
        writer.begin_run().expect("a run begins");
        for ids in ids.chunks(5_000) {
            let batch = rows(ids);
            let keys = Keys::of_columns(&[("id", batch.column(0))], ids.len()).expect("keys");
            let begins: Vec<Version> = ids.iter().map(|id| Version(life(run, *id).0)).collect();
            let ends: Vec<Version> = ids.iter().map(|id| Version(life(run, *id).1)).collect();
            writer.write(&batch, &keys, None, &begins, &ends).expect("rows are written");
        }
    }
    writer.finish().expect("the file is written")
}

fn open(place: &Place, record: &DataFileRecord) -> Arc<DataFile> {
    Arc::new(DataFile::open(&*place.disk, &place.layout, record, Arc::<Counts>::default()).expect("it opens"))
}

fn key(id: i64) -> Vec<u8> {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    Keys::of_columns(&[("id", &array)], 1).expect("a key").get(0).to_vec()
}

#[test]
fn runs_are_told_apart_and_read_back() {
    let place = place();
    let long = GROUP_ROWS as i64 + 10_000;
    let runs = [(0..long).collect::<Vec<_>>(), (0..300).map(|id| id * 7).collect(), vec![5]];
    let record = write(&place, &runs, FileKind::Live);
    let file = open(&place, &record);
    assert_eq!(file.runs().collect::<Vec<_>>(), [0..2, 2..3, 3..4]);
    assert_eq!((record.min_key, record.max_key), (key(0), key(long - 1)));
    let expected: Vec<RecordBatch> = runs.iter().map(|ids| rows(ids)).collect();
    assert_eq!(read(&file), expected);
}

/// All rows of a file, run by run.
fn read(file: &Arc<DataFile>) -> Vec<RecordBatch> {
    let columns = columns();
    let wanted = Wanted { schema: loose_schema(&columns), key: columns[..1].into(), columns: columns.into() };
    let runs = file.runs().map(|groups| {
        let groups = groups.map(|group| (group, None)).collect();
        let chunks = file.scan(wanted.clone(), groups, Arc::default(), Arc::new(|_, _| true));
        let batches: Vec<RecordBatch> = chunks.map(|chunk| chunk.expect("a chunk").rows).collect();
        arrow::compute::concat_batches(&wanted.schema, &batches).expect("one batch")
    });
    runs.collect()
}

#[test]
fn a_file_with_an_index_block_of_the_second_version_is_read() {
    let place = place();
    let long = GROUP_ROWS as i64 + 10_000;
    let runs = [(0..long).collect::<Vec<_>>(), (0..300).map(|id| id * 7).collect()];
    let mut writer = create(&place, FileKind::Live);
    writer.as_second_version();
    let record = fill(writer, &runs);
    let file = open(&place, &record);
    let of_runs = read(&file);
    assert_eq!(of_runs, runs.iter().map(|ids| rows(ids)).collect::<Vec<_>>());
    let found = file.rows_with_key(0, &key(8_192)).expect("fences");
    // The first key of a page may end the page before as well.
    assert_eq!(found, 8_192 - PAGE_ROWS as u32..8_192 + PAGE_ROWS as u32);
    assert!(file.filter_allows(0, &key(8_192)).expect("a filter"));
    assert!(file.details(0).expect("fences").zones.is_empty());
    file.verify_blocks().expect("nothing is wrong with it");
    let mut other = record.clone();
    other.tail_crc ^= 1;
    let error = DataFile::open(&*place.disk, &place.layout, &other, Arc::<Counts>::default());
    let (error, at) = (error.expect_err("another checksum").to_string(), record.tail_offset);
    assert!(error.contains(&format!("is damaged at offset {at}")), "{error}");
}

#[test]
fn pages_tell_their_lives_and_a_row_group_its_own_metadata() {
    let place = place();
    let runs = [(0..10_000).collect::<Vec<_>>(), (0..300).collect()];
    let record = write(&place, &runs, FileKind::History);
    let file = open(&place, &record);
    for (group, pages) in [(0, 10_000_usize.div_ceil(PAGE_ROWS)), (1, 1)] {
        let begin = group as u64 + 1;
        let zone = PageZone { min_begin: begin, max_begin: begin, min_end: 100, max_end: 100 };
        assert_eq!(file.details(group).expect("details").zones, vec![zone; pages]);
        let (own, place) = file.footer_of(group).expect("its own");
        let whole = file.footer().expect("all");
        assert_eq!((place, own.metadata.num_row_groups()), (0, 1));
        let ranges = |footer: &Footer, place: usize| -> Vec<_> {
            footer.metadata.row_group(place).columns().iter().map(|chunk| chunk.byte_range()).collect()
        };
        assert_eq!(ranges(&own, 0), ranges(&whole, group));
        let offsets = |footer: &Footer, place: usize| -> Vec<_> {
            let index = &footer.metadata.offset_index().expect("page locations")[place];
            index.iter().map(|leaf| leaf.page_locations().clone()).collect()
        };
        assert_eq!(offsets(&own, 0), offsets(&whole, group));
        file.footer.lock().take();
    }
}

#[test]
fn pages_of_all_columns_break_at_the_same_rows() {
    let place = place();
    let runs = [(0..20_000).collect::<Vec<_>>(), (0..9_000).collect()];
    let record = write(&place, &runs, FileKind::Live);
    let file = open(&place, &record);
    for (group, extent) in file.groups.iter().enumerate() {
        assert_eq!(extent.page_rows as usize, PAGE_ROWS);
        let pages = extent.rows.div_ceil(extent.page_rows);
        let expected: Vec<i64> = (0..pages).map(|page| (page * extent.page_rows) as i64).collect();
        for starts in file.page_starts(group) {
            assert_eq!(starts, expected, "row group {group}");
        }
    }
}

#[test]
fn long_rows_make_short_pages_and_row_groups() {
    let place = place();
    let column = Column { id: 1, ..Column::new("text", ColumnType::Text) };
    let mut writer =
        DataWriter::create(place.disk.clone(), &place.layout, 1, 7, &[column], FileKind::Live, &[1])
            .expect("a writer");
    for row in 0..40u8 {
        let text: ArrayRef = Arc::new(StringArray::from(vec![format!("{row:02}").repeat(1 << 20)]));
        let keys = Keys::of_columns(&[("text", &text)], 1).expect("keys");
        let schema = loose_schema(&[Column { id: 1, ..Column::new("text", ColumnType::Text) }]);
        let batch = RecordBatch::try_new(schema, vec![text]).expect("a batch");
        writer.write(&batch, &keys, None, &[Version(1)], &[Version::FOREVER]).expect("a row is written");
    }
    let record = writer.finish().expect("the file is written");
    let file = open(&place, &record);
    assert!(file.groups.len() > 1 && file.groups.iter().all(|group| group.page_rows == 1));
    assert_eq!(file.runs().count(), 1);
}

#[test]
fn a_key_is_found_in_its_page_and_others_are_denied() {
    let place = place();
    let even: Vec<i64> = (0..30_000).map(|id| id * 2).collect();
    let record = write(&place, &[even, vec![1, 3]], FileKind::Live);
    let file = open(&place, &record);
    let mut denied = 0;
    for id in [0, 2, 8_190, 8_192, 8_194, 59_998] {
        let rows = file.rows_with_key(0, &key(id)).expect("fences");
        assert!(rows.contains(&(id as u32 / 2)) && rows.len() <= 2 * PAGE_ROWS, "{id}: {rows:?}");
        assert!(file.filter_allows(0, &key(id)).expect("a filter"));
        denied += !file.filter_allows(0, &key(id + 1)).expect("a filter") as usize;
    }
    assert!(denied >= 4, "{denied} of 6 odd keys denied");
    assert_eq!(file.groups_with_key(&key(1)).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn many_versions_of_a_key_span_pages() {
    let place = place();
    let mut ids = vec![1; 100];
    ids.extend(vec![2; 10_000]);
    ids.extend([3, 4]);
    let record = write(&place, &[ids], FileKind::History);
    let file = open(&place, &record);
    assert_eq!(file.rows_with_key(0, &key(1)).expect("fences"), 0..PAGE_ROWS as u32);
    assert_eq!(file.rows_with_key(0, &key(2)).expect("fences"), 0..10_102);
    assert_eq!(file.rows_with_key(0, &key(4)).expect("fences"), (10_102 - 10_102 % PAGE_ROWS) as u32..10_102);
}

#[test]
fn a_loaded_file_takes_the_version_of_the_record_that_names_it() {
    let place = place();
    let mut record = write(&place, &[(0..10).collect()], FileKind::Loaded);
    (record.loaded_at, record.min_begin, record.max_begin) = (Some(42), 42, 42);
    let file = open(&place, &record);
    assert_eq!((file.groups[0].min_begin, file.groups[0].max_begin), (42, 42));
    let wanted =
        Wanted { columns: Arc::new([]), schema: loose_schema(&[]), key: columns()[..1].to_vec().into() };
    let mut chunks = file.scan(wanted, vec![(0, None)], Arc::default(), Arc::new(|_, _| true));
    let chunk = chunks.next().expect("a chunk").expect("rows");
    assert_eq!(chunk.begins, vec![Version(42); 10]);
}

#[test]
fn every_byte_of_a_file_is_checked_before_it_is_used() {
    let place = place();
    let record = write(&place, &[(0..400).collect()], FileKind::Live);
    let path = place.layout.data(1, 7);
    let file = place.disk.open(&path, OpenMode::ReadWrite).expect("it is there");
    for at in (0..record.bytes).step_by(97) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte");
        file.write_all_at(&[byte[0] ^ 4], at).expect("a byte is changed");
        let opened = DataFile::open(&*place.disk, &place.layout, &record, Arc::<Counts>::default());
        let whole = opened.and_then(|file| {
            file.filter(0)?;
            file.verify_blocks()
        });
        let error = whole.expect_err("a changed byte is noticed").to_string();
        assert!(error.contains(&format!("{} is damaged at offset", path.display())), "{at}: {error}");
        file.write_all_at(&byte, at).expect("it is changed back");
    }
}

#[test]
fn metadata_of_chunks_and_pages_outside_of_the_data_are_damage() {
    let place = place();
    let record = write(&place, &[(0..5_000).collect()], FileKind::History);
    let whole = (*open(&place, &record).footer().expect("a footer").metadata).clone();
    check_places(&whole, record.tail_offset).expect("all lie in the data");
    let with_chunk = |change: &dyn Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder| {
        let group = whole.row_group(0);
        let mut chunks = group.columns().to_vec();
        chunks[1] = change(chunks[1].clone().into_builder()).build().expect("a chunk");
        let group = group.clone().into_builder().set_column_metadata(chunks).build().expect("a row group");
        whole.clone().into_builder().set_row_groups(vec![group]).build()
    };
    let with_page = |offset, bytes| {
        let mut index = whole.offset_index().expect("page locations").clone();
        let page = &mut index[0][2].page_locations[1];
        (page.offset, page.compressed_page_size) = (offset, bytes);
        whole.clone().into_builder().set_offset_index(Some(index)).build()
    };
    let end = record.tail_offset as i64;
    for metadata in [
        with_chunk(&|chunk| chunk.set_total_compressed_size(-1)),
        with_chunk(&|chunk| chunk.set_total_compressed_size(end)),
        with_chunk(&|chunk| chunk.set_total_compressed_size(i64::MAX)),
        with_chunk(&|chunk| chunk.set_data_page_offset(-1)),
        with_chunk(&|chunk| chunk.set_dictionary_page_offset(Some(i64::MIN))),
        with_page(-1, 1),
        with_page(4, -1),
        with_page(end, 1),
        with_page(i64::MAX, i32::MAX),
    ] {
        let error = check_places(&metadata, record.tail_offset).expect_err("some lie elsewhere");
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
    }
}

/// Pages of which lowest and highest tell, all of whose rows a version shows or none, and pages that must be looked at,
/// in every mixture; with rows that died later.
#[test]
fn a_version_shows_the_rows_that_live_then_whatever_pages_tell() {
    let page = PAGE_ROWS as i64;
    let life = |_: usize, id: i64| match id / page {
        0 => (3, 50),
        1 => (3 + id as u64 % 5, 50),
        2 => (5, 20 + id as u64 % 9),
        3 => (9, 50),
        4 => (1 + id as u64 % 40, 41 + id as u64 % 10),
        _ => (7, 8),
    };
    for kind in [FileKind::Live, FileKind::History] {
        let place = place();
        let rows = page * 5 + 100;
        let record = fill_living(create(&place, kind), &[(0..rows).collect()], life);
        let file = open(&place, &record);
        let dead: Vec<(u32, Version)> =
            [(5, 4), (page as u32 + 1, 6), (page as u32 * 4 + 7, 42), (rows as u32 - 1, 7)]
                .map(|(row, end)| (row, Version(end)))
                .to_vec();
        let end_of = |id: i64| {
            let own = if kind == FileKind::History { life(0, id).1 } else { u64::MAX };
            let died = dead.iter().find(|(row, _)| i64::from(*row) == id).map_or(u64::MAX, |(_, end)| end.0);
            own.min(died)
        };
        for version in (0..53).chain([u64::MAX - 1]) {
            let task = GroupTask {
                file: file.clone(),
                group: 0,
                rows: None,
                dead: DeadRows::Known(dead.clone()),
                choice: Choice::Life(Life::VisibleAt(Version(version))),
            };
            let expected: Vec<usize> = (0..rows)
                .filter(|id| life(0, *id).0 <= version && version < end_of(*id))
                .map(|id| id as usize)
                .collect();
            // With lives they are looked at one by one.
            for lives in [false, true] {
                let chosen = task.choose(lives).expect("the file is whole");
                assert_eq!(chosen.count, expected.len(), "{kind:?} {version}");
                let shown: Vec<usize> = match &chosen.mask {
                    Some(mask) => mask.set_indices().collect(),
                    None => (0..rows as usize).collect(),
                };
                assert_eq!(shown, expected, "{kind:?} {version}");
            }
        }
    }
}
