//! CSV and JSON Lines files that are rendered section by section: their bytes, against a whole rendering, in any order
//! of reads; what is decoded and counted for them; what the cache keeps, and what damage does.

use crate::scans::{Rows, TABLE, batch, history, row};
use crate::support::{DB, TestClock, keys, options};
use asof_engine::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use asof_engine::compact::policy::Parameters;
use asof_engine::view::{Format, View, render};
use asof_engine::{
    Alteration, Column, ColumnType, CommitOptions, Database, ErrorKind, Options, ScanOptions, Snapshot,
    Transaction, Version,
};
use asof_wal::sim::SimDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sections of a page or two: some dozens in a table of tests.
const SECTION_BYTES: u64 = 16 << 10;

fn options_with(cache: &Path, read_threads: usize) -> impl Fn(&SimDisk) -> Options {
    let cache = cache.to_path_buf();
    move |disk| Options {
        clock: Arc::new(TestClock::default()),
        view_cache_dir: Some(cache.clone()),
        text_section_bytes: SECTION_BYTES,
        read_threads,
        ..options(disk)
    }
}

fn open(disk: &SimDisk, cache: &Path, read_threads: usize) -> Database {
    Database::open_or_create(Path::new(DB), options_with(cache, read_threads)(disk)).expect("it opens")
}

/// The file as one scan makes it.
fn whole(snapshot: &Snapshot, table: &str, format: Format) -> Vec<u8> {
    let schema = snapshot.schema(table).expect("a schema");
    let mut out = Vec::new();
    let rows = snapshot.scan(table, ScanOptions::default()).expect("a scan");
    render(format, &schema, rows, &mut out).expect("it is rendered");
    out
}

fn read(view: &View, offset: u64, length: usize) -> Vec<u8> {
    let mut part = vec![0; length];
    let count = view.read_at(&mut part, offset).expect("it is read");
    part.truncate(count);
    part
}

fn copy(view: &View) -> Vec<u8> {
    let mut out = Vec::new();
    view.copy_to(&mut out).expect("it is copied");
    out
}

/// A small generator of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % limit
    }
}

/// Reads parts in any order, then all of it.
fn check(view: &View, expected: &[u8], seed: u64, reads: usize, what: &str) {
    assert_eq!(view.size(), expected.len() as u64, "{what}");
    let mut numbers = Numbers(seed);
    for _ in 0..reads {
        let offset = numbers.below(expected.len() as u64 + 10);
        let length = numbers.below(40_000) as usize;
        let start = (offset as usize).min(expected.len());
        let part = &expected[start..expected.len().min(start + length)];
        assert!(read(view, offset, length) == part, "{what}: {length} bytes at {offset}");
    }
    assert!(copy(view) == expected, "{what}: all of it");
    // Another thread may be at it.
    while view.sealed_file().is_none() && !expected.is_empty() {
        std::thread::yield_now();
    }
}

const TEXTS: [Format; 2] = [Format::Csv, Format::JsonLines];

#[test]
fn parts_read_in_any_order_are_those_of_a_whole_rendering_wherever_rows_lie() {
    for (loaded, commits, reads) in [(300, 9, 20), (20_000, 13, 60)] {
        let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
        let versions = history(&disk, loaded, commits).len() as u64;
        let database = open(&disk, &cache.path().join("unused"), 1);
        let expected =
            |version: u64, format| whole(&database.snapshot(Version(version)).unwrap(), TABLE, format);
        let wanted = [1, 5, versions - 2, versions - 1];
        let bytes: Vec<_> = wanted
            .iter()
            .flat_map(|version| TEXTS.map(|format| (*version, format, expected(*version, format))))
            .collect();
        drop(database);
        let all = |database: &Database, what: &str| {
            for (version, format, expected) in &bytes {
                let view = database.snapshot(Version(*version)).unwrap().view(TABLE, *format).unwrap();
                check(&view, expected, *version, reads, &format!("{what}, version {version} as {format:?}"));
            }
        };
        // A cache of its own for each state of the files, so that all is rendered; then one that has everything.
        all(&open(&disk, &cache.path().join("tail"), 1), "with a tail of the log");
        all(&open(&disk, &cache.path().join("threads"), 3), "on three threads");
        let database = open(&disk, &cache.path().join("checkpointed"), 1);
        database.checkpoint().unwrap();
        all(&database, "after a checkpoint");
        let eager = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };
        database.compact(None, &eager).unwrap();
        drop(database);
        all(&open(&disk, &cache.path().join("compacted"), 1), "after a compaction");
        all(&open(&disk, &cache.path().join("tail"), 1), "as it was cached before");
    }
}

type Change = Box<dyn Fn(&mut Transaction)>;

/// A table, and commits that change it.
fn table_of(database: &Database, columns: Vec<Column>, key: &[&str], commits: Vec<Change>) {
    let mut txn = database.begin().unwrap();
    let key: Vec<String> = key.iter().map(|name| name.to_string()).collect();
    txn.create_table(TABLE, columns, &key).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    for commit in commits {
        let mut txn = database.begin().unwrap();
        commit(&mut txn);
        txn.commit(CommitOptions::default()).unwrap();
    }
}

/// Checks every version with rows in the log, in data files, and in both.
fn check_every_version(make: impl Fn(&Database, &dyn Fn())) {
    for checkpointed in [false, true] {
        let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
        let database = open(&disk, cache.path(), 1);
        make(&database, &|| {
            if checkpointed {
                database.checkpoint().unwrap();
            }
        });
        let latest = database.latest().unwrap();
        for version in 1..=latest.0 {
            let snapshot = database.snapshot(Version(version)).unwrap();
            for format in TEXTS {
                let expected = whole(&snapshot, TABLE, format);
                let what = format!("version {version} as {format:?}, checkpointed: {checkpointed}");
                check(&snapshot.view(TABLE, format).unwrap(), &expected, version, 20, &what);
            }
        }
    }
}

#[test]
fn tables_without_key_are_in_order_of_insertion() {
    check_every_version(|database, settle| {
        let numbers = |range: std::ops::Range<i64>| -> RecordBatch {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(range.map(|n| n * 7_919 % 100_003)));
            RecordBatch::try_from_iter([("n", values)]).unwrap()
        };
        let insert = move |range: std::ops::Range<i64>| -> Change {
            Box::new(move |txn| txn.insert(TABLE, &numbers(range.clone())).unwrap())
        };
        table_of(database, vec![Column::new("n", ColumnType::Int64)], &[], vec![insert(0..9_000)]);
        settle();
        for range in [9_000..9_001, 9_001..16_000] {
            let mut txn = database.begin().unwrap();
            insert(range)(&mut txn);
            txn.commit(CommitOptions::default()).unwrap();
        }
    });
}

#[test]
fn one_column_of_texts_and_nulls_empty_tables_and_keys_that_are_texts() {
    check_every_version(|database, settle| {
        let texts = |range: std::ops::Range<i64>, edition: &str| -> RecordBatch {
            let key =
                |n: i64| format!("{}\u{0}{}", ["", "a", "\"b\"", "ü,"][n as usize % 4], n * 7_919 % 10_007);
            let keys: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(key)));
            let notes: ArrayRef = Arc::new(StringArray::from_iter(range.map(|n| match n % 5 {
                0 => None,
                1 => Some(String::new()),
                2 => Some("NULL".to_string()),
                3 => Some("line\nbreak, \"quoted\"".repeat(n as usize % 7)),
                _ => Some(format!("{edition} {n}")),
            })));
            RecordBatch::try_from_iter_with_nullable([("k", keys, false), ("note", notes, true)]).unwrap()
        };
        let columns = vec![Column::new("k", ColumnType::Text), Column::new("note", ColumnType::Text)];
        table_of(database, columns, &["k"], Vec::new());
        let commit = |change: &dyn Fn(&mut Transaction)| {
            let mut txn = database.begin().unwrap();
            change(&mut txn);
            txn.commit(CommitOptions::default()).unwrap();
        };
        commit(&|txn| txn.upsert(TABLE, &texts(0..7_000, "first")).unwrap());
        settle();
        commit(&|txn| txn.upsert(TABLE, &texts(3_000..9_000, "second")).unwrap());
        commit(&|txn| txn.alter_table(TABLE, Alteration::DropColumn("note".into())).unwrap());
        settle();
        commit(&|txn| txn.truncate(TABLE).unwrap());
        let last: ArrayRef = Arc::new(StringArray::from(vec!["NULL", ""]));
        commit(&|txn| {
            txn.upsert(TABLE, &RecordBatch::try_from_iter([("k", last.clone())]).unwrap()).unwrap()
        });
    });
}

#[test]
fn columns_that_come_go_and_widen_between_versions() {
    check_every_version(|database, settle| {
        let columns = [("id", ColumnType::Int64), ("small", ColumnType::Int32), ("gone", ColumnType::Text)];
        let columns = columns.into_iter().map(|(name, of)| Column::new(name, of)).collect();
        let first = |txn: &mut Transaction| {
            let columns: Vec<(&str, ArrayRef)> = vec![
                ("id", Arc::new(Int64Array::from_iter_values(0..6_000))),
                ("small", Arc::new(Int32Array::from_iter_values((0..6_000).map(|n| n * 31 % 977 - 400)))),
                (
                    "gone",
                    Arc::new(StringArray::from_iter((0..6_000).map(|n| (n % 3 > 0).then(|| n.to_string())))),
                ),
            ];
            txn.insert(TABLE, &RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        };
        table_of(database, columns, &["id"], vec![Box::new(first)]);
        settle();
        let default: ArrayRef = Arc::new(StringArray::from(vec!["a \"default\""]));
        let added = Column { default: Some(default), ..Column::new("added", ColumnType::Text) };
        let changes = [
            Alteration::WidenColumn { name: "small".into(), to: ColumnType::Int64 },
            Alteration::DropColumn("gone".into()),
            Alteration::AddColumn(added),
            Alteration::RenameColumn { from: "small".into(), to: "wide".into() },
        ];
        for (nth, change) in changes.into_iter().enumerate() {
            let mut txn = database.begin().unwrap();
            txn.alter_table(TABLE, change).unwrap();
            txn.delete(TABLE, &keys(&[5, 700, 5_999].map(|id| id - nth as i64))).unwrap();
            txn.commit(CommitOptions::default()).unwrap();
        }
    });
}

#[test]
fn readers_in_any_order_at_once_get_the_same_bytes() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    let versions = history(&disk, 20_000, 9).len() as u64;
    let database = open(&disk, cache.path(), 3);
    let snapshot = database.snapshot(Version(versions - 1)).unwrap();
    for format in TEXTS {
        let expected = whole(&snapshot, TABLE, format);
        let view = snapshot.view(TABLE, format).unwrap();
        std::thread::scope(|scope| {
            for seed in 0..6 {
                // Some share the view, some have one of their own of the same file.
                let view = if seed % 2 == 0 { view.clone() } else { snapshot.view(TABLE, format).unwrap() };
                let expected = &expected;
                scope.spawn(move || {
                    let mut numbers = Numbers(seed);
                    for _ in 0..60 {
                        let offset = numbers.below(expected.len() as u64);
                        let length = numbers.below(60_000) as usize;
                        let end = expected.len().min(offset as usize + length);
                        assert!(read(&view, offset, length) == expected[offset as usize..end]);
                    }
                    assert!(copy(&view) == *expected);
                });
            }
        });
    }
}

/// A table of many sections in data files.
fn large(disk: &SimDisk, cache: &Path) -> Database {
    history(disk, 60_000, 5);
    let database = open(disk, cache, 1);
    database.checkpoint().unwrap();
    database
}

#[test]
fn a_read_renders_its_own_section_and_none_far_away() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    drop(large(&disk, cache.path()));
    for (offset, rows_max) in [(0, 20_000), (u64::MAX, 20_000)] {
        let database = open(&disk, cache.path(), 1);
        let snapshot = database.snapshot(Version(3)).unwrap();
        let view = snapshot.view(TABLE, Format::Csv).unwrap();
        let offset = offset.min(view.size() - 100);
        assert!(!view.is_ready(offset, 100));
        read(&view, offset, 100);
        assert!(view.is_ready(offset, 100));
        assert!(!view.is_ready(view.size() / 2, 1));
        assert!(view.sealed_file().is_none());
        let decoded = database.counters().rows_decoded;
        assert!(decoded < rows_max, "{decoded} rows decoded for a part at {offset}");
    }
}

/// Files in the cache whose names end so.
fn kept(cache: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

fn overwrite(path: &Path, edit: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    edit(&mut bytes);
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_seek_counts_once_what_lies_before_it_and_damage_of_that_is_counted_anew() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    drop(large(&disk, cache.path()));
    let middle = |what: &str| -> u64 {
        let database = open(&disk, cache.path(), 1);
        let snapshot = database.snapshot(Version(3)).unwrap();
        let expected = whole(&snapshot, TABLE, Format::Csv);
        let before = database.counters().rows_decoded;
        let view = snapshot.view(TABLE, Format::Csv).unwrap();
        let offset = view.size() / 2;
        assert!(read(&view, offset, 5_000) == expected[offset as usize..][..5_000], "{what}");
        // Sections before are not rendered, one that is does not keep others from it.
        assert!(view.is_ready(offset, 5_000) && !view.is_ready(offset / 2, 1), "{what}");
        assert_ne!(view.part_at(offset), view.part_at(offset / 2));
        database.counters().rows_decoded - before
    };
    let first = middle("counted");
    assert!(first > 25_000, "half of the table: {first} rows");
    assert_eq!(kept(cache.path(), ".points").len(), 1);
    let again = middle("counted before");
    assert!(again < first / 4, "{again} rows after {first}");
    let points = kept(cache.path(), ".points").remove(0);
    let damages: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes[40] ^= 1, |bytes| bytes.truncate(60), |bytes| bytes.clear()];
    for damage in damages {
        overwrite(&points, damage);
        assert!(middle("after damage") > 25_000);
        assert!(middle("after it was counted anew") < first / 4);
    }
}

#[test]
fn what_was_counted_of_one_version_is_carried_over_to_others() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    let mut database = large(&disk, cache.path());
    // More rows behind all others, and some of those before changed, in a tail of the log.
    for edition in 100..103 {
        let mut txn = database.begin().unwrap();
        let new = (0..3_000).map(|n| 1_000_000 + edition * 3_000 + n);
        let rows: Rows = new.chain((0..200).map(|n| n * 9 * 31)).map(|id| (id, row(id, edition))).collect();
        txn.upsert(TABLE, &batch(&rows)).unwrap();
        txn.delete(TABLE, &keys(&[9 * edition + 3])).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
    }
    let expected: Vec<Vec<u8>> = (1..=9)
        .map(|version| whole(&database.snapshot(Version(version)).unwrap(), TABLE, Format::JsonLines))
        .collect();
    // First the whole of one version in the middle, then seeks in others.
    for version in [5, 6, 4, 9, 1, 7] {
        let expected = &expected[version as usize - 1];
        drop(database);
        database = open(&disk, cache.path(), 1);
        let view = database.snapshot(Version(version)).unwrap().view(TABLE, Format::JsonLines).unwrap();
        assert_eq!(view.size(), expected.len() as u64);
        if version == 5 {
            assert!(copy(&view) == *expected);
            continue;
        }
        // Begins and ends, and keys, of data files are read to know what changed: not the values of all.
        let offset = view.size() / 2;
        assert!(read(&view, offset, 5_000) == expected[offset as usize..][..5_000], "version {version}");
        let mut numbers = Numbers(version);
        for _ in 0..30 {
            let offset = numbers.below(view.size());
            let end = expected.len().min(offset as usize + 3_000);
            assert!(read(&view, offset, 3_000) == expected[offset as usize..end], "version {version}");
        }
        assert!(copy(&view) == *expected, "version {version}");
    }
}

#[test]
fn sections_are_carried_over_by_reading_what_changed() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    // Commits that add rows behind all others.
    let database = open(&disk, cache.path(), 1);
    for edition in 0..4 {
        let mut txn = database.begin().unwrap();
        if edition == 0 {
            let columns =
                [("id", ColumnType::Int64), ("amount", ColumnType::Int64), ("note", ColumnType::Text)];
            let columns = columns.into_iter().map(|(name, of)| Column::new(name, of)).collect();
            txn.create_table(TABLE, columns, &["id".to_string()]).unwrap();
        }
        let count = if edition == 0 { 60_000 } else { 2_000 };
        let rows: Rows = (0..count).map(|n| (edition * 100_000 + n, row(n, edition))).collect();
        txn.insert(TABLE, &batch(&rows)).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        database.checkpoint().unwrap();
    }
    drop(database);
    let seek = |version: u64| -> u64 {
        let database = open(&disk, cache.path(), 1);
        let view = database.snapshot(Version(version)).unwrap().view(TABLE, Format::Csv).unwrap();
        read(&view, view.size() / 2, 100);
        database.counters().rows_decoded
    };
    let first = seek(3);
    assert!(first > 25_000, "half of the table is counted: {first} rows");
    for version in [4, 2] {
        let decoded = seek(version);
        assert!(decoded < 12_000, "what differs and one section: {decoded} rows");
    }
}

#[test]
fn a_file_read_to_its_end_is_kept_and_read_from_the_cache_afterwards() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    let database = large(&disk, cache.path());
    let snapshot = database.snapshot(Version(3)).unwrap();
    let expected = whole(&snapshot, TABLE, Format::Csv);
    let view = snapshot.view(TABLE, Format::Csv).unwrap();
    assert!(copy(&view) == expected && view.sealed_file().is_some());
    let name = kept(cache.path(), ".csv").remove(0);
    assert!(std::fs::read(&name).unwrap() == expected);
    drop((view, snapshot, database));

    // Another process verifies it section by section, and decodes nothing.
    let database = open(&disk, cache.path(), 1);
    let view = database.snapshot(Version(3)).unwrap().view(TABLE, Format::Csv).unwrap();
    view.prepare().unwrap();
    assert!(
        view.sealed_file().is_none() && !view.is_ready(0, 1),
        "it is larger than what is verified at once"
    );
    assert!(read(&view, 700_000, 5_000) == expected[700_000..705_000]);
    assert!(copy(&view) == expected && view.sealed_file().is_some());
    assert_eq!(database.counters().rows_decoded, 0);
    drop((view, database));

    // A section of it that is damaged is rendered, and the file is made anew.
    overwrite(&name, |bytes| bytes[500_000] ^= 1);
    let database = open(&disk, cache.path(), 1);
    let view = database.snapshot(Version(3)).unwrap().view(TABLE, Format::Csv).unwrap();
    assert!(copy(&view) == expected && view.sealed_file().is_some());
    let decoded = database.counters().rows_decoded;
    assert!(decoded > 0 && decoded < 10_000, "{decoded} rows of one section");
    assert!(std::fs::read(&name).unwrap() == expected);
    drop((view, database));

    // A shorter one is none.
    overwrite(&name, |bytes| bytes.truncate(500_000));
    let database = open(&disk, cache.path(), 1);
    let view = database.snapshot(Version(3)).unwrap().view(TABLE, Format::Csv).unwrap();
    assert!(copy(&view) == expected);
    assert!(std::fs::read(&name).unwrap() == expected);
}

#[test]
fn a_small_file_in_the_cache_is_verified_when_it_is_opened() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    history(&disk, 300, 3);
    let view =
        || open(&disk, cache.path(), 1).snapshot(Version(2)).unwrap().view(TABLE, Format::Csv).unwrap();
    let first = view();
    assert!(!first.is_ready(0, 0), "it has to be looked for");
    first.prepare().unwrap();
    assert!(
        first.is_ready(0, 0) && first.sealed_file().is_none() && !first.is_ready(0, 1),
        "it renders nothing"
    );
    let bytes = copy(&first);
    let second = view();
    second.prepare().unwrap();
    assert!(second.sealed_file().is_some() && second.is_ready(0, second.size()));
    assert!(copy(&second) == bytes);
    assert_eq!(kept(cache.path(), ".points"), Vec::<PathBuf>::new(), "one section needs none");
}

#[test]
fn damage_of_a_row_group_fails_the_sections_that_need_it_and_no_others() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    // Several row groups, and nothing else.
    history(&disk, 400_000, 0);
    let database = open(&disk, cache.path(), 1);
    let expected = whole(&database.snapshot(Version(1)).unwrap(), TABLE, Format::Csv);
    drop(database);
    let data = disk.files().into_iter().filter(|file| file.starts_with(Path::new(DB).join("data")));
    let data = data.max_by_key(|file| disk.read(file).unwrap().len()).unwrap();
    let mut bytes = disk.read(&data).unwrap();
    // Within the second of four row groups.
    let damaged = bytes.len() * 30 / 100..bytes.len() * 34 / 100;
    bytes[damaged].iter_mut().step_by(100).for_each(|byte| *byte ^= 0x55);
    disk.overwrite(&data, &bytes).unwrap();
    let database = open(&disk, cache.path(), 1);
    let snapshot = database.snapshot(Version(1)).unwrap();
    let view = snapshot.view(TABLE, Format::Csv).unwrap();
    assert_eq!(view.size(), expected.len() as u64);
    let (mut good, mut bad) = (0u64, 0u64);
    let mut part = vec![0; 4_096];
    // From a seek, forwards and backwards.
    let offsets: Vec<u64> = (0..view.size()).step_by(4_096).collect();
    let late = view.size() / 4 * 3;
    for offset in std::iter::once(late).chain(offsets.iter().copied()).chain(offsets.iter().rev().copied()) {
        match view.read_at(&mut part, offset) {
            Ok(count) => {
                assert!(part[..count] == expected[offset as usize..][..count], "at {offset}");
                good += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                bad += 1;
            }
        }
    }
    assert!(bad > 0 && bad * 2 < good, "{bad} parts cannot be read, {good} can");
    assert!(view.sealed_file().is_none());
    assert!(kept(cache.path(), ".csv").is_empty());
}

#[test]
fn bytes_of_text_files_are_the_same_for_ever() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    history(&disk, 20_000, 13);
    let mut found = Vec::new();
    for (step, name) in ["tail", "checkpointed", "compacted"].into_iter().enumerate() {
        let database = open(&disk, &cache.path().join(name), 1 + step % 2);
        match name {
            "checkpointed" => drop(database.checkpoint().unwrap()),
            "compacted" => {
                let eager = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };
                database.compact(None, &eager).unwrap();
            }
            _ => {}
        }
        for (version, format) in
            [(1, Format::Csv), (9, Format::Csv), (14, Format::Csv), (14, Format::JsonLines)]
        {
            let view = database.snapshot(Version(version)).unwrap().view(TABLE, format).unwrap();
            found.push(blake3::hash(&copy(&view)).to_hex()[..16].to_string());
        }
    }
    let pinned = ["42e277d973b53f8e", "5e9b2f1512c59cb8", "d240ac2a59e62d7e", "18a943cd14fae9d6"];
    for (step, found) in found.chunks(pinned.len()).enumerate() {
        assert_eq!(found, pinned, "step {step}");
    }
}

#[test]
fn what_is_not_read_is_not_rendered_and_an_open_file_outlives_its_data_files() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    let database = large(&disk, cache.path());
    let snapshot = database.snapshot(Version(2)).unwrap();
    let expected = whole(&snapshot, TABLE, Format::JsonLines);
    let view = snapshot.view(TABLE, Format::JsonLines).unwrap();
    read(&view, 10, 10);
    drop(snapshot);
    let eager = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };
    database.compact(None, &eager).unwrap();
    for edition in 100..103 {
        let mut txn = database.begin().unwrap();
        let rows: Rows = [(3, row(3, edition))].into();
        txn.upsert(TABLE, &batch(&rows)).unwrap();
        txn.commit(CommitOptions::default()).unwrap();
        database.checkpoint().unwrap();
    }
    assert!(copy(&view) == expected);
}
