//! Commits in the log that nobody wrote so, under checksums and digests that are right: an error or a database that
//! answers, never a panic. (Found by fuzzing.)

use crate::support::*;
use asof_engine::api::Counts;
use asof_engine::codec::records::{
    CatalogChange, CommitContent, CommitHeader, SchemaRecord, TableChange, Target, encode_commit, kind,
};
use asof_engine::manifest::{DataFileRecord, Manifest};
use asof_engine::{CommitInfo, CommitOptions, CommitTime, Database, ErrorKind, Result, TableSchema, Version};
use asof_wal::sim::SimDisk;
use asof_wal::{Access, Log, LogOptions};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A database with rows 1 to 3 in a data file and row 4 in the log, and behind them a commit that deletes rows by keys
/// and places as `targets` say; what there is to read then.
fn after(targets: &[(i64, Target)]) -> Result<String> {
    after_loading(targets, Vec::new())
}

/// The same, with files that the commit says it loads.
fn after_loading(targets: &[(i64, Target)], files: Vec<DataFileRecord>) -> Result<String> {
    after_changing(&[], targets, files)
}

/// The same, with changes of the catalog.
fn after_changing(
    catalog: &[CatalogChange],
    targets: &[(i64, Target)],
    files: Vec<DataFileRecord>,
) -> Result<String> {
    let disk = SimDisk::new(3);
    let clock = Arc::new(TestClock::default());
    let database = open(&disk, &clock);
    let mut txn = database.begin().unwrap();
    txn.create_table("t", customers(), &["id".to_string()]).unwrap();
    txn.insert("t", &rows(&[(1, None), (2, None), (3, None)])).unwrap();
    txn.commit(CommitOptions::default()).unwrap();
    database.checkpoint().unwrap();
    let mut txn = database.begin().unwrap();
    txn.insert("t", &rows(&[(4, None)])).unwrap();
    let committed = txn.commit(CommitOptions::default()).unwrap();
    let last = database.commit_info(committed.version).unwrap();
    let schema = database.snapshot(last.version).unwrap().schema("t").unwrap();
    drop(database);

    let mut deleted = asof_mvcc::Keys::default();
    for (id, _) in targets {
        let ids: asof_engine::arrow::array::ArrayRef =
            Arc::new(asof_engine::arrow::array::Int64Array::from(vec![*id]));
        deleted.push(asof_mvcc::Keys::of_columns(&[("id", &ids)], 1).unwrap().get(0));
    }
    let changes = vec![TableChange {
        table: 1,
        schema: 0,
        truncate: false,
        first_row_id: None,
        rows: asof_engine::arrow::array::RecordBatch::new_empty(schema.to_arrow()),
        keys: asof_mvcc::Keys::default(),
        replaced: Vec::new(),
        deleted,
        deleted_at: targets.iter().map(|(_, target)| *target).collect(),
        files,
    }];
    let (version, time) = (last.version.next(), CommitTime(last.time.0 + 1));
    let info = CommitInfo { version, time, client_id: None, ..last.clone() };
    let count = Counts { deleted: targets.len() as u64, ..Counts::default() };
    let mut header = CommitHeader::of(info, BTreeMap::from([(1, ("t".to_string(), count))]));
    let content = CommitContent { catalog: catalog.to_vec(), changes };
    let payload = encode_commit(&mut header, &content, &[&[]], &last.chain_digest).unwrap();
    append(&disk, &payload);

    let database = Database::open(Path::new(DB), options(&disk.process()))?;
    let newest = database.latest()?;
    assert_eq!(newest, version);
    let text = csv(&database, newest, "t");
    database.checkpoint()?;
    assert_eq!(csv(&database, newest, "t"), text, "after a checkpoint");
    Ok(text)
}

fn append(disk: &SimDisk, payload: &[u8]) {
    let paths = disk.files();
    let path = paths.iter().filter(|path| path.starts_with(Path::new(DB).join("manifest"))).max().unwrap();
    let manifest = Manifest::from_bytes(&disk.read(path).unwrap(), "manifest").unwrap();
    let options = LogOptions { turn_wait: Duration::from_secs(5), ..LogOptions::default() };
    let (dir, start) = (Path::new(DB).join("wal"), manifest.log_start.into());
    let disk = Arc::new(disk.process());
    let log = Log::open(disk, &dir, manifest.database_id, start, options, Access::ReadWrite).unwrap();
    let mut turn = log.take_turn(Duration::from_secs(5)).unwrap();
    let ticket = turn.append(kind::COMMIT, payload).unwrap();
    drop(turn);
    log.wait(ticket).unwrap();
}

/// The number of the data file: the first that is given.
const FILE: u64 = 1;

#[test]
fn a_commit_of_the_log_that_ends_rows_is_applied() {
    let fourth = Version(2);
    for place in [Target::Memory, Target::Born(fourth, 0)] {
        assert_eq!(after(&[(2, Target::File(FILE, 1)), (4, place)]).unwrap(), "id,name\n1,\n3,\n");
    }
    // A row whose version is settled lies in a file: it is found by its key.
    assert_eq!(after(&[(2, Target::Born(Version(1), 7))]).unwrap(), "id,name\n1,\n3,\n4,\n");
}

#[test]
fn a_row_of_a_file_that_a_commit_ends_twice_is_dead() {
    let twice = [(2, Target::File(FILE, 1)), (3, Target::File(FILE, 1))];
    assert_eq!(after(&twice).unwrap(), "id,name\n1,\n3,\n4,\n");
}

#[test]
fn a_commit_that_ends_rows_that_are_none_is_damage() {
    let hostile: [&[(i64, Target)]; 7] = [
        &[(4, Target::Memory), (4, Target::Memory)],
        &[(9, Target::Memory)],
        &[(4, Target::Born(Version(2), 0)), (4, Target::Born(Version(2), 0))],
        &[(4, Target::Born(Version(2), 1))],
        &[(4, Target::Born(Version(u64::MAX), u32::MAX))],
        &[(1, Target::File(FILE, 3))],
        &[(1, Target::File(FILE, u32::MAX))],
    ];
    for targets in hostile {
        let error = after(targets).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{targets:?}: {error}");
        assert!(error.to_string().contains("version 3 ends a row"), "{error}");
    }
}

#[test]
fn a_commit_that_makes_a_table_again_or_changes_one_that_is_gone_is_damage() {
    let schema = || SchemaRecord::of(&TableSchema::new(customers(), &["id"]).unwrap());
    let create =
        |table, name: &str| CatalogChange::Create { table, name: name.to_string(), schema: schema() };
    let drop = |table| CatalogChange::Drop { table };
    let alter = |table| CatalogChange::Alter { table, schema: schema() };
    let revive = |table| CatalogChange::Revive { table };
    let hostile = [
        vec![revive(1)],
        vec![revive(2)],
        vec![drop(1), revive(1)],
        vec![create(1, "other")],
        vec![create(2, "t")],
        vec![drop(2)],
        vec![drop(1), drop(1)],
        vec![alter(2)],
        vec![drop(1), create(1, "t")],
    ];
    for catalog in hostile {
        let error = after_changing(&catalog, &[], Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{catalog:?}: {error}");
        assert!(error.to_string().starts_with("version 3 "), "{error}");
    }
    let another = [create(2, "other"), alter(2), drop(2), create(3, "other"), alter(1)];
    assert_eq!(after_changing(&another, &[], Vec::new()).unwrap(), "id,name\n1,\n2,\n3,\n4,\n");
}

#[test]
fn files_of_more_rows_or_bytes_than_a_file_has_are_damage() {
    let file = DataFileRecord {
        id: 70,
        table: 1,
        valid_from: 0,
        valid_to: u64::MAX,
        history: false,
        loaded_at: None,
        rows: 1,
        bytes: 5000,
        tail_offset: 4000,
        tail_crc: 0,
        digest: [0; 32],
        min_begin: 0,
        max_begin: 0,
        min_end: u64::MAX,
        max_end: u64::MAX,
        min_key: vec![1],
        max_key: vec![2],
    };
    for (rows, bytes) in [(1, u64::MAX), (u64::MAX / 2, 5000)] {
        let error = after_loading(&[], vec![DataFileRecord { rows, bytes, ..file.clone() }]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("files"), "{error}");
    }
}
