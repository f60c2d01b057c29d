//! Names of Parquet files, which the kernel believes until data files have another layout.

use crate::support::{Place, change_numbers, view_of, wait_until, walk};
use asof_engine::Database;
use asof_engine::arrow::array::{AsArray, RecordBatch};
use asof_engine::arrow::compute::concat_batches;
use asof_engine::arrow::datatypes::{Float64Type, Int64Type};
use asof_engine::compact::policy::Parameters;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use asof_fuse::attributes::{IMMUTABLE_TTL, MOVING_TTL};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const ROWS: i64 = 20_000;
const STEP: i64 = 3;

fn compact(database: &Database) {
    let eager = Parameters { dead_share: 0.001, dead_rows_min: 1, ..Parameters::AUTOMATIC };
    database.compact(None, &eager).unwrap();
}

/// What tells one state of `numbers` from another, of a whole file.
fn sums(file: Vec<u8>) -> (usize, i64, f64) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    let rows = concat_batches(&schema, &batches).unwrap();
    let ids = rows.column(0).as_primitive::<Int64Type>().values().iter().sum();
    let mut prices = rows.column(2).as_primitive::<Float64Type>().values().to_vec();
    // A sum of floating-point numbers depends on their order, and that on the layout.
    prices.sort_by(f64::total_cmp);
    (rows.num_rows(), ids, prices.iter().sum())
}

/// Reads a file by its path; its size and number by `stat` before, and once more of the open file.
fn look(path: &Path) -> ((u64, u64), (u64, u64), Vec<u8>) {
    let facts = |metadata: fs::Metadata| (metadata.ino(), metadata.len());
    let told = facts(fs::metadata(path).unwrap());
    let mut file = File::open(path).unwrap();
    let open = facts(file.metadata().unwrap());
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    (told, open, bytes)
}

#[test]
fn a_name_is_asked_for_once_until_another_process_changes_the_layout() {
    let place = Place::new();
    let writer = place.changed_numbers(ROWS, 4, STEP);
    let mount = place.mount(&place.open());
    let paths: Vec<_> =
        (1..=5).map(|version| mount.path().join(format!("version/{version}/numbers.parquet"))).collect();
    let expected: Vec<_> = paths.iter().map(|path| sums(fs::read(path).unwrap())).collect();
    let facts = |path: &Path| fs::metadata(path).map(|file| (file.ino(), file.len())).unwrap();
    let before: Vec<_> = paths.iter().map(|path| facts(path)).collect();
    // Names looked up before anybody followed are asked for once more.
    let asked = mount.requests();
    for _ in 0..100 {
        for (path, before) in paths.iter().zip(&before) {
            assert_eq!(facts(path), *before);
        }
    }
    assert_eq!(mount.requests(), asked, "the kernel answers by itself");

    let mut open = File::open(&paths[2]).unwrap();
    compact(&writer);
    wait_until("the names lead to files of the new layout", || {
        paths.iter().zip(&before).filter(|(path, before)| facts(path) != **before).count() >= 3
    });
    for (path, expected) in paths.iter().zip(&expected) {
        let (mut told, mut open, mut bytes) = look(path);
        // Names are told of one after the other.
        wait_until("stat tells of what is opened", || {
            (told, open, bytes) = look(path);
            told == open
        });
        assert_eq!(open.1, bytes.len() as u64);
        assert_eq!(sums(bytes), *expected);
    }
    // The old file is whole as long as it is open.
    assert_eq!(open.metadata().map(|file| (file.ino(), file.len())).unwrap(), before[2]);
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, before[2].1);
    assert_eq!(sums(bytes), expected[2]);
    drop(open);
    mount.unmount().unwrap();
}

#[test]
fn names_are_believed_only_where_somebody_follows() {
    let place = Place::new();
    let writer = place.changed_numbers(1_000, 2, STEP);
    let view = view_of(&place.open());
    let ttl = || walk(&view, "version/2/numbers.parquet").unwrap().name_ttl;
    assert_eq!(ttl(), MOVING_TTL);
    assert!(view.follow().unwrap().is_empty());
    assert_eq!(ttl(), IMMUTABLE_TTL);
    assert!(view.follow().is_none());
    compact(&writer);
    let directory = walk(&view, "version/2").unwrap().attributes.inode;
    let names = HashSet::from(["numbers.parquet".into()]);
    assert_eq!(view.follow(), Some(HashMap::from([(directory, names)])));
    assert_eq!(ttl(), IMMUTABLE_TTL);
}

#[test]
fn readers_get_whole_files_of_one_layout_while_layouts_come_and_go() {
    let place = Place::new();
    let writer = place.changed_numbers(ROWS, 3, STEP);
    let mount = place.mount(&place.open());
    let expected: Vec<_> = (1..=4)
        .map(|version| {
            sums(fs::read(mount.path().join(format!("version/{version}/numbers.parquet"))).unwrap())
        })
        .collect();
    let (stop, looks, moved) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let layouts = std::thread::scope(|scope| {
        for reader in 0..3 {
            let (mount, expected) = (&mount, &expected);
            let (stop, looks, moved) = (&stop, &looks, &moved);
            scope.spawn(move || {
                let mut last = None;
                let mut round = reader;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let version = round % expected.len();
                    let path = mount.path().join(format!("version/{}/numbers.parquet", version + 1));
                    let (_, open, bytes) = look(&path);
                    assert_eq!(open.1, bytes.len() as u64, "a size once told is what is read");
                    assert_eq!(sums(bytes), expected[version]);
                    looks.fetch_add(1, Ordering::Relaxed);
                    if version == 1 {
                        moved.fetch_add(
                            usize::from(last.replace(open).is_some_and(|last| last != open)),
                            Ordering::Relaxed,
                        );
                    }
                }
            });
        }
        // Each is taken up while readers are at work.
        for commit in 4..16 {
            let seen = looks.load(Ordering::Relaxed);
            change_numbers(&writer, ROWS, commit, STEP);
            writer.checkpoint().unwrap();
            if commit % 3 == 0 {
                compact(&writer);
            }
            wait_until("readers have looked", || looks.load(Ordering::Relaxed) >= seen + 6);
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        moved.load(Ordering::Relaxed)
    });
    assert!(layouts > 0, "a reader saw another layout");
    mount.unmount().unwrap();
}
