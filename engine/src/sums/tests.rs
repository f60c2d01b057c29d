//! Sums of a database whose last checkpoint is of a release that did not count all of them.

use crate::database::Database;
use crate::history::changes::{ChangeEntry, ChangesFile};
use crate::layout::Layout;
use crate::manifest::{self, Manifest};
use crate::options::Options;
use crate::variable_bits::variable_bits;
use crate::view::{ArrowSizes, Format, Told, ToldValues};
use crate::{CommitOptions, ScanOptions, Snapshot};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use asof_mvcc::{Column, ColumnType, TableSchema, Version};
use asof_wal::Disk;
use asof_wal::sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

const DB: &str = "/db";

fn open(disk: &SimDisk, cache: &Path) -> Database {
    let options = Options {
        disk: Arc::new(disk.clone()),
        checkpoint_log_bytes: 0,
        view_cache_dir: Some(cache.to_path_buf()),
        ..Options::default()
    };
    Database::open_or_create(Path::new(DB), options).unwrap()
}

fn commit(database: &Database, ids: std::ops::Range<i64>, what: &str) {
    let mut txn = database.begin().unwrap();
    if database.latest().unwrap() == Version::ZERO {
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("name", ColumnType::Text)];
        txn.create_table("people", columns, &["id".to_string()]).unwrap();
    }
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values(ids.clone().map(|id| format!("{what} {id}"))));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    txn.upsert("people", &RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
}

/// Leaves out of the newest manifest and of changes what an older release did not write.
fn forget_variable_bits(disk: &SimDisk) {
    let layout = Layout::new(Path::new(DB));
    for number in manifest::list(disk, &layout).unwrap() {
        let manifest = Manifest::read(disk, &layout, number).unwrap();
        let older = Manifest { variable: Vec::new(), ..manifest };
        disk.overwrite(&layout.manifest(number), &older.to_bytes()).unwrap();
        for sums in &older.sums {
            let file = |count| {
                let disk: Arc<dyn Disk> = Arc::new(disk.clone());
                ChangesFile::new(disk, layout.clone(), older.database_id, sums.table, count)
            };
            let known = file(sums.changes);
            let without =
                |number| ChangeEntry { variable_bits: ChangeEntry::UNKNOWN, ..known.entry(number).unwrap() };
            file(0).append(&(0..sums.changes).map(without).collect::<Vec<_>>()).unwrap();
        }
    }
}

fn size_of(schema: &TableSchema, rows: u64, values: ToldValues) -> u64 {
    ArrowSizes::default().size(schema, Told { rows, values }).unwrap()
}

/// The bits of the names that a version shows.
fn bits_of_names(snapshot: &Snapshot) -> u64 {
    let rows = snapshot.scan("people", ScanOptions::default()).unwrap();
    rows.map(|batch| batch.unwrap().column(1).clone())
        .map(|names| variable_bits(&names, 0..names.len()))
        .sum()
}

#[test]
fn versions_of_an_older_release_have_arrow_files_and_what_comes_later_is_counted() {
    let (disk, cache) = (SimDisk::new(1), tempfile::tempdir().unwrap());
    let open = || open(&disk, cache.path());
    let database = open();
    commit(&database, 0..1_000, "first");
    commit(&database, 500..1_200, "second");
    database.checkpoint().unwrap();
    drop(database);
    forget_variable_bits(&disk);

    let database = open();
    let schema = database.snapshot(Version(1)).unwrap().schema("people").unwrap();
    for (version, rows) in [(1, 1_000), (2, 1_200)] {
        let snapshot = database.snapshot(Version(version)).unwrap();
        let json = snapshot.view_size("people", Format::JsonLines).unwrap();
        let size = snapshot.view_size("people", Format::Arrow).unwrap();
        assert!(size >= size_of(&schema, rows, ToldValues::Bits(bits_of_names(&snapshot))));
        assert!(size <= size_of(&schema, rows, ToldValues::JsonBytes(json)));
        let mut file = Vec::new();
        snapshot.view("people", Format::Arrow).unwrap().copy_to(&mut file).unwrap();
        let reader = arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(file), None).unwrap();
        assert_eq!(reader.map(|batch| batch.unwrap().num_rows() as u64).sum::<u64>(), rows);
    }
    commit(&database, 1_100..1_300, "third");
    let check = |database: &Database| {
        let snapshot = database.snapshot(Version(3)).unwrap();
        let exact = size_of(&schema, 1_300, ToldValues::Bits(bits_of_names(&snapshot)));
        assert_eq!(snapshot.view_size("people", Format::Arrow).unwrap(), exact);
        assert_eq!(database.verify().unwrap().findings, vec![]);
    };
    check(&database);
    database.checkpoint().unwrap();
    check(&database);
    drop(database);
    let database = open();
    check(&database);
    let counted = database.inner.state().generation.variable_bits(1);
    let latest = database.snapshot(Version(3)).unwrap();
    assert_eq!(counted, [(1, 0), (2, bits_of_names(&latest))]);
}
