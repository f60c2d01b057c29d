//! What opening, reading, sizing and checkpointing cost, counted in reads and bytes, never timed.
//!
//! The history has the shape of a real one: a table of reference data, of which a commit changes a few rows in a
//! thousand. Every bound holds for a table of ten times the rows as well, with the same changes.

use crate::support::{DB, TestClock, options};
use asof_engine::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use asof_engine::view::Format;
use asof_engine::{
    Blamed, Column, ColumnType, CommitOptions, Comparison, Counters, Database, DiffKind, FileCounters,
    Filter, Options, PastQuestion, ScanOptions, Version, VersionRange, text,
};
use asof_wal::sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

const ROWS: i64 = 30_000;
/// Changes come in rounds of commits, each ended by a checkpoint.
const ROUNDS: i64 = 4;
const COMMITS_OF_ROUND: i64 = 10;
const UPDATED: i64 = 40;
const INSERTED: i64 = 8;
const DELETED: i64 = 4;

const TABLE: &str = "frequencies";

fn batch(ids: impl Iterator<Item = i64>, edition: i64) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let text = |name: fn(i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(ids.iter().map(|id| name(*id))))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("airport", text(|id| format!("{:04X}", id * 7919 % 65_536))),
        ("type", text(|id| ["TWR", "ATIS", "GND", "APP", "CTAF"][id as usize % 5].to_string())),
        (
            "description",
            Arc::new(StringArray::from_iter(ids.iter().map(|id| match id % 3 {
                0 => None,
                _ => Some(format!("description {} of edition {edition}", id * 31 % 1009)),
            }))),
        ),
        (
            "mhz",
            Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| 118.0 + (id % 760) as f64 / 40.0))),
        ),
    ];
    RecordBatch::try_from_iter(columns).expect("columns are of one length")
}

/// A database with a loaded table, its first checkpoint done.
fn loaded(disk: &SimDisk, clock: &Arc<TestClock>, rows: i64) -> Database {
    let database = open(disk, clock);
    let mut txn = database.begin().expect("a transaction begins");
    let columns = [
        ("id", ColumnType::Int64),
        ("airport", ColumnType::Text),
        ("type", ColumnType::Text),
        ("description", ColumnType::Text),
        ("mhz", ColumnType::Float64),
    ];
    let columns = columns.into_iter().map(|(name, column_type)| Column::new(name, column_type)).collect();
    txn.create_table(TABLE, columns, &["id".to_string()]).expect("the table is made");
    txn.insert(TABLE, &batch(0..rows, 0)).expect("the rows are taken");
    txn.commit(CommitOptions::default()).expect("the load commits");
    assert!(database.checkpoint().expect("the checkpoint is made").done);
    database
}

fn open(disk: &SimDisk, clock: &Arc<TestClock>) -> Database {
    let options = Options { clock: clock.clone(), ..options(disk) };
    Database::open_or_create(Path::new(DB), options).expect("the database opens")
}

/// One commit, spread over the whole table whatever its size.
fn change(database: &Database, rows: i64, number: i64) {
    let step = rows / (UPDATED + DELETED);
    let place = |nth: i64| nth * step + number * 13 % step;
    let mut txn = database.begin().expect("a transaction begins");
    txn.upsert(TABLE, &batch((0..UPDATED).map(place), number)).expect("updates are taken");
    let new = rows + number * INSERTED;
    txn.insert(TABLE, &batch(new..new + INSERTED, number)).expect("inserts are taken");
    // Every commit deletes others: those of the last rows that no update reaches.
    let ids = (0..DELETED).map(|nth| (UPDATED + nth) * step + number);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    let keys = RecordBatch::try_from_iter([("id", ids)]).expect("one column");
    txn.delete(TABLE, &keys).expect("deletes are taken");
    let counts = txn.commit(CommitOptions::default()).expect("the change commits").tables[TABLE];
    let counts = (counts.inserted as i64, counts.updated as i64, counts.deleted as i64);
    assert_eq!(counts, (INSERTED, UPDATED, DELETED));
}

const CHANGED_OF_ROUND: i64 = COMMITS_OF_ROUND * (UPDATED + INSERTED + DELETED);

/// The whole history on a disk, every round checkpointed; each checkpoint's counters.
fn history(rows: i64) -> (SimDisk, Arc<TestClock>, Vec<Counters>) {
    let disk = SimDisk::new(1);
    let clock = Arc::new(TestClock::default());
    let database = loaded(&disk, &clock, rows);
    let mut costs = Vec::new();
    for round in 0..ROUNDS {
        (0..COMMITS_OF_ROUND).for_each(|nth| change(&database, rows, round * COMMITS_OF_ROUND + nth));
        let before = database.counters();
        assert!(database.checkpoint().expect("the checkpoint is made").done);
        costs.push(since(&database.counters(), &before));
    }
    (disk, clock, costs)
}

fn since(after: &Counters, before: &Counters) -> Counters {
    let files = after.files.iter().map(|(class, after)| {
        let before = before.files[class];
        let spent = FileCounters {
            reads: after.reads - before.reads,
            bytes_read: after.bytes_read - before.bytes_read,
            writes: after.writes - before.writes,
            bytes_written: after.bytes_written - before.bytes_written,
            syncs: after.syncs - before.syncs,
        };
        (*class, spent)
    });
    Counters {
        files: files.collect(),
        rows_decoded: after.rows_decoded - before.rows_decoded,
        pages_decoded: after.pages_decoded - before.pages_decoded,
    }
}

fn last_version() -> u64 {
    1 + (ROUNDS * COMMITS_OF_ROUND) as u64
}

fn scan(database: &Database, version: u64) -> u64 {
    let snapshot = database.snapshot(Version(version)).expect("the version is readable");
    let scan = snapshot.scan(TABLE, ScanOptions::default()).expect("the table can be scanned");
    scan.map(|batch| batch.expect("a batch can be read").num_rows() as u64).sum()
}

fn rows_at(rows: i64, version: u64) -> u64 {
    (rows + (version as i64 - 1) * (INSERTED - DELETED)) as u64
}

const SIZES: [i64; 2] = [ROWS, ROWS * 10];

fn bytes_read(counters: &Counters, class: &str) -> u64 {
    counters.files[class].bytes_read
}

/// The classes that were read at all, of those that are counted.
fn classes_read(counters: &Counters) -> Vec<&'static str> {
    counters.files.iter().filter(|(_, spent)| spent.reads > 0).map(|(class, _)| *class).collect()
}

#[test]
fn opening_reads_one_manifest_and_the_tail_of_the_log() {
    let mut read_at_each_size = Vec::new();
    for rows in SIZES {
        let (disk, clock, _) = history(rows);
        // The newest manifest, and nothing else; the tail when the newest version is first asked for.
        let database = open(&disk, &clock);
        assert_eq!(classes_read(&database.counters()), ["manifest"]);
        assert_eq!(database.counters().files["manifest"].reads, 1);
        assert_eq!(database.latest().expect("the tail can be read"), Version(last_version()));
        let without_tail = database.counters();
        assert_eq!(classes_read(&without_tail), ["log", "manifest"]);

        const COMMITS: i64 = 5;
        let mut record_bytes = 0;
        for nth in 0..COMMITS {
            let before = database.counters();
            change(&database, rows, ROUNDS * COMMITS_OF_ROUND + nth);
            record_bytes += since(&database.counters(), &before).files["log"].bytes_written;
        }
        drop(database);
        let database = open(&disk, &clock);
        let latest = database.latest().expect("the tail can be read");
        assert_eq!(latest, Version(last_version() + COMMITS as u64));
        let with_tail = database.counters();
        assert_eq!(classes_read(&with_tail), ["log", "manifest"]);
        assert_eq!((with_tail.rows_decoded, with_tail.pages_decoded), (0, 0));
        // Of the log: what the commits wrote after the checkpoint, however much lies before it, and a bounded look
        // behind the end.
        let read = bytes_read(&with_tail, "log");
        let behind = bytes_read(&without_tail, "log");
        assert!(read >= record_bytes, "{rows} rows: {read} bytes of log read, {record_bytes} written");
        assert!(read <= record_bytes + behind, "{rows} rows: {read} > {record_bytes} + {behind}");
        assert!(behind <= 8192, "{rows} rows: {behind} bytes read of a log whose tail is empty");
        // The loaded rows are in the log still, before the place where the manifest says it goes on.
        let used = database.info().expect("there is information").log_used_bytes;
        assert!(rows == ROWS || used > read * 10, "{rows} rows: {used} bytes used, {read} read");
        read_at_each_size.push((bytes_read(&with_tail, "manifest"), with_tail.files["manifest"].reads));
    }
    let [(small, 1), (large, 1)] = read_at_each_size[..] else { panic!("{read_at_each_size:?}") };
    assert!(large < small + 64, "a manifest of {large} bytes for ten times the rows of one of {small}");
}

#[test]
fn an_old_version_reads_without_the_log_after_a_checkpoint() {
    for rows in SIZES {
        let (disk, clock, _) = history(rows);
        for version in [1, 2, 7, 20, last_version() - 1, last_version()] {
            let database = open(&disk, &clock);
            assert_eq!(scan(&database, version), rows_at(rows, version), "version {version} of {rows} rows");
            let read = database.counters();
            assert_eq!(read.files["log"], FileCounters::default(), "version {version} of {rows} rows");
            assert!(read.files["data"].reads > 0 && read.rows_decoded >= rows_at(rows, version));
        }
    }
}

#[test]
fn a_lookup_reads_as_much_of_a_large_table_as_of_a_small_one() {
    let mut read_at_each_size = Vec::new();
    for rows in SIZES {
        let (disk, clock) = (SimDisk::new(1), Arc::new(TestClock::default()));
        drop(loaded(&disk, &clock, rows));
        let database = open(&disk, &clock);
        let snapshot = database.snapshot(Version(1)).expect("the version is readable");
        let key: ArrayRef = Arc::new(Int64Array::from(vec![rows / 2]));
        let key = RecordBatch::try_from_iter([("id", key)]).expect("one column");
        let row = snapshot.get(TABLE, &key).expect("the table can be read").expect("the row is there");
        assert_eq!(
            row,
            batch(rows / 2..rows / 2 + 1, 0).with_schema(row.schema()).expect("the same columns")
        );
        let read = database.counters();
        assert_eq!(classes_read(&read), ["data", "manifest"], "{rows} rows");
        // One page of each column, the key's once more.
        let pages = read.rows_decoded / 4_096;
        assert!(pages <= 2, "{rows} rows: {} rows decoded", read.rows_decoded);
        let data = &read.files["data"];
        assert!(data.reads <= 24, "{rows} rows: {} reads", data.reads);
        assert!(data.bytes_read <= 160 << 10, "{rows} rows: {} bytes read", data.bytes_read);
        read_at_each_size.push(data.bytes_read);
    }
    // Blocks are read whole, and pages of other rows are a little longer or shorter.
    let [small, large] = read_at_each_size[..] else { unreachable!("two sizes") };
    assert!(large <= small + small / 4 + (16 << 10), "{large} bytes for ten times the rows, {small} before");
}

#[test]
fn a_checkpoint_writes_in_proportion_to_what_changed() {
    // Bytes of a row version in Parquet, of its end, of an entry of the running sums and the commit log; what a file
    // costs that is all but empty.
    const BYTES_OF_ROW: u64 = 60;
    const BYTES_OF_COMMIT: u64 = 400;
    const BYTES_OF_FILES: u64 = 3 * 4096;
    let bound =
        CHANGED_OF_ROUND as u64 * BYTES_OF_ROW + COMMITS_OF_ROUND as u64 * BYTES_OF_COMMIT + BYTES_OF_FILES;
    let mut written_at_each_size = Vec::new();
    for rows in SIZES {
        let (_, _, costs) = history(rows);
        for (round, cost) in costs.iter().enumerate() {
            let classes = ["data", "ends", "changes", "commit_log"];
            let written: u64 = classes.iter().map(|class| cost.files[class].bytes_written).sum();
            assert!(
                written <= bound,
                "checkpoint {round} of {rows} rows wrote {written} bytes, over {bound}"
            );
            let log = cost.files["log"].bytes_written;
            assert!(log <= 256, "checkpoint {round} of {rows} rows wrote {log} bytes of log");
            written_at_each_size.push(written);
        }
    }
    let (small, large) = written_at_each_size.split_at(ROUNDS as usize);
    for (small, large) in small.iter().zip(large) {
        assert!(large * 10 <= small * 11, "{large} bytes for ten times the rows, {small} before");
    }
}

#[test]
fn a_checkpoint_of_ten_times_the_changes_writes_more() {
    // The bound above means something only where the counters move with the changes.
    let disk = SimDisk::new(1);
    let clock = Arc::new(TestClock::default());
    let database = loaded(&disk, &clock, ROWS);
    let mut written = Vec::new();
    let mut number = 0;
    for commits in [1, 10] {
        (0..commits).for_each(|_| {
            change(&database, ROWS, number);
            number += 1;
        });
        let before = database.counters();
        assert!(database.checkpoint().expect("the checkpoint is made").done);
        let spent = since(&database.counters(), &before);
        written.push(["changes", "commit_log"].map(|class| spent.files[class].bytes_written));
        assert!(spent.files["data"].bytes_written > 0 && spent.files["ends"].bytes_written > 0);
    }
    let [one, ten] = written[..] else { unreachable!("two checkpoints were made") };
    assert_eq!(one.map(|bytes| bytes * 10), ten);
}

#[test]
fn the_size_of_a_csv_opens_no_data_page() {
    for rows in SIZES {
        let (disk, clock, _) = history(rows);
        let database = open(&disk, &clock);
        let snapshot = |version| database.snapshot(Version(version)).expect("the version is readable");
        let sizes: Vec<[u64; 2]> = (1..=last_version())
            .map(|version| {
                [Format::Csv, Format::JsonLines]
                    .map(|format| snapshot(version).view_size(TABLE, format).expect("it has a size"))
            })
            .collect();
        let read = database.counters();
        assert_eq!(classes_read(&read), ["changes", "manifest"], "{rows} rows");
        assert_eq!((read.rows_decoded, read.pages_decoded), (0, 0));
        // The sizes are right: those of what is written when rows are read.
        for version in [1, 2, 23, last_version()] {
            let csv = crate::support::csv(&database, Version(version), TABLE);
            assert_eq!(sizes[version as usize - 1][0], csv.len() as u64, "version {version} of {rows} rows");
        }
    }
}

/// A row of which every round made a version.
fn history_of_one_row(rows: i64) -> (SimDisk, Arc<TestClock>, i64) {
    let (disk, clock) = (SimDisk::new(1), Arc::new(TestClock::default()));
    let database = loaded(&disk, &clock, rows);
    let id = rows / 2;
    for round in 0..ROUNDS {
        (0..COMMITS_OF_ROUND).for_each(|nth| change(&database, rows, round * COMMITS_OF_ROUND + nth));
        let mut txn = database.begin().expect("a transaction begins");
        txn.upsert(TABLE, &batch(id..id + 1, 1_000 + round)).expect("a row is taken");
        txn.commit(CommitOptions::default()).expect("the change commits");
        assert!(database.checkpoint().expect("the checkpoint is made").done);
    }
    (disk, clock, id)
}

#[test]
fn a_rows_history_and_who_set_it_decode_pages_of_its_key_alone() {
    let mut decoded_at_each_size = Vec::new();
    for rows in SIZES {
        let (disk, clock, id) = history_of_one_row(rows);
        let key: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        let key = RecordBatch::try_from_iter([("id", key)]).expect("one column");
        let database = open(&disk, &clock);
        let history = database.history(TABLE, &key).expect("a history");
        assert!(history.len() > ROUNDS as usize, "{} versions", history.len());
        let told = database.counters();
        let latest = database.latest().expect("a version");
        let blamed = database.blame(TABLE, &key, latest).expect("it can be told");
        assert!(matches!(blamed, Blamed::Row(_)), "{blamed:?}");
        let blame = since(&database.counters(), &told);
        for (what, spent) in [("history", &told), ("blame", &blame)] {
            // For each version one page of each of five columns, of begins and ends, and the key's for being looked for.
            let pages = history.len() as u64 * 10;
            assert!(spent.pages_decoded <= pages, "{what} of {rows} rows: {spent:?}");
            assert!(spent.rows_decoded <= history.len() as u64 * 4_096, "{what} of {rows} rows: {spent:?}");
        }
        decoded_at_each_size.push((told.pages_decoded, blame.pages_decoded));
    }
    let [small, large] = decoded_at_each_size[..] else { unreachable!("two sizes") };
    assert!(large.0 <= small.0 + 2 && large.1 <= small.1 + 2, "{decoded_at_each_size:?}");
}

#[test]
fn a_question_about_all_of_history_decodes_each_row_version_once() {
    let (disk, clock, _) = history(ROWS);
    let database = open(&disk, &clock);
    let latest = database.latest().expect("a version");
    let snapshot = database.snapshot(latest).expect("the version is readable");
    let tables = snapshot.past_tables(Some(TABLE));
    let schema = snapshot.schema(TABLE).expect("the table is there");
    let range = VersionRange { first: Version(1), last: latest };
    let asked = |column: usize, comparison: Comparison, value: &str| {
        let column = schema.columns[column].clone();
        let value = text::parse_scalar(&column.column_type, value).expect("a value");
        let filter = Some(Filter::Compare { column: column.name.clone(), comparison, value });
        let before = database.counters().rows_decoded;
        let question = PastQuestion { range, columns: vec![column], filter, ordered: false };
        let found: usize = snapshot
            .past_rows(&tables[0], question)
            .expect("rows of the past")
            .map(|rows| rows.expect("they can be read").ranges.len())
            .sum();
        (found as u64, database.counters().rows_decoded - before)
    };
    let row_versions = database.info().expect("there is information").row_versions;
    let (found, decoded) = asked(0, Comparison::GreaterOrEqual, "0");
    assert_eq!(found, row_versions);
    assert!(decoded <= row_versions, "{decoded} rows decoded of {row_versions} row versions");
    assert!(decoded < ROWS as u64 * 2, "{decoded} rows decoded for {latest} versions of {ROWS} rows");
    // Statistics tell that no row group has it.
    assert_eq!(asked(0, Comparison::Less, "0"), (0, 0));
    let (found, decoded) = asked(0, Comparison::GreaterOrEqual, &(ROWS + 50).to_string());
    assert!(found > 0 && decoded < ROWS as u64, "{decoded} rows decoded for {found}");
}

#[test]
fn a_feed_decodes_nothing_of_versions_that_changed_other_tables() {
    let (disk, clock, _) = history(ROWS);
    let database = open(&disk, &clock);
    for nth in 0..3 {
        let mut txn = database.begin().expect("a transaction begins");
        let name = format!("other{nth}");
        txn.create_table(&name, vec![Column::new("id", ColumnType::Int64)], &[]).expect("a table");
        txn.commit(CommitOptions::default()).expect("it commits");
    }
    let before = database.counters();
    let (from, to) = (Version(last_version()), Version(last_version() + 3));
    assert_eq!(database.diff(from, to, TABLE, DiffKind::Feed).expect("a feed begins").count(), 0);
    let spent = since(&database.counters(), &before);
    assert_eq!((spent.rows_decoded, spent.pages_decoded, spent.files["data"].reads), (0, 0, 0));
}

/// A commit may be larger than memory, and so may what is told of it.
#[test]
fn what_one_version_changed_is_read_as_it_is_asked_for() {
    let rows = 10 * ROWS;
    let (disk, clock) = (SimDisk::new(1), Arc::new(TestClock::default()));
    let database = loaded(&disk, &clock, rows);
    let mut txn = database.begin().expect("a transaction begins");
    txn.drop_table(TABLE).expect("the table is dropped");
    txn.commit(CommitOptions::default()).expect("it commits");
    for (from, to, kind) in [(0, 1, DiffKind::Feed), (1, 2, DiffKind::Feed), (1, 2, DiffKind::Net)] {
        let before = database.counters();
        let mut diff = database.diff(Version(from), Version(to), TABLE, kind).expect("a diff begins");
        let first = diff.next().expect("there are changes").expect("they are read");
        let decoded = since(&database.counters(), &before).rows_decoded as i64;
        assert!(decoded < rows / 2, "{decoded} rows decoded for {} of {from}..{to}", first.num_rows());
        let rest: usize = diff.map(|batch| batch.expect("changes are read").num_rows()).sum();
        assert_eq!((first.num_rows() + rest) as i64, rows);
    }
}
