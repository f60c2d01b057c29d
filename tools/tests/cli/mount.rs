//! `mount`, `umount`: real mounts, ended by real signals.

use super::support::*;
use asof_engine::arrow::array::{ArrayRef, RecordBatch};
use asof_engine::arrow::compute::concat_batches;
use asof_engine::arrow::util::display::array_value_to_string;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Starts a mount in the foreground and waits until it is ready.
fn mount(scratch: &Scratch, words: &[&str]) -> (Guard, MountGuard) {
    let place = MountGuard(scratch.path("mnt"));
    let mut child = Guard(Some(scratch.spawn_piped(&[&["mount", "db", "mnt", "--json"], words].concat())));
    let mut line = String::new();
    BufReader::new(child.get().stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        panic!("no mount: {}", child.finish().stderr);
    }
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["mounted"], place.0.to_str().unwrap());
    assert!(place.is_mounted());
    (child, place)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref())
        .unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

fn parquet_rows(file: Vec<u8>) -> Vec<ArrayRef> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap().columns().to_vec()
}

fn arrow_rows(file: Vec<u8>) -> Vec<asof_engine::arrow::array::RecordBatch> {
    let reader =
        asof_engine::arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(file), None).unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

#[test]
fn the_mount_has_the_bytes_of_cat_until_a_signal_ends_it() {
    let shop = shop();
    for signal_number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let (mut child, place) = mount(&shop, &[]);
        assert_eq!(read(place.0.join("version/2/customers.csv")), CUSTOMERS_2);
        assert_eq!(read(place.0.join("asof/2025-01-15/customers.csv")), CUSTOMERS_1);
        for (format, extension) in
            [("csv", "csv"), ("jsonl", "jsonl"), ("parquet", "parquet"), ("arrow", "arrow")]
        {
            let cat = shop.run(&["cat", "db", "customers", "--format", format]).stdout;
            let file = std::fs::read(place.0.join(format!("latest/customers.{extension}"))).unwrap();
            match format {
                // What is written to a file is written at once; in a mount it is stitched of what is there.
                "parquet" => assert_eq!(parquet_rows(file), parquet_rows(cat)),
                // There its size is told before it is rendered: it may end in some zeros more.
                "arrow" => assert_eq!(arrow_rows(file), arrow_rows(cat)),
                _ => assert!(file == cat, "{format}"),
            }
        }
        signal(child.get().id(), signal_number);
        let ran = child.finish();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert!(!place.is_mounted());
        // It was made, so it is removed.
        assert!(!place.0.exists());
    }
}

#[test]
fn parquet_files_are_as_long_as_told_while_other_processes_lay_out_data_files_anew() {
    use std::os::unix::fs::MetadataExt;
    let shop = shop();
    let (mut child, place) = mount(&shop, &[]);
    let paths: Vec<_> =
        (1..=3).map(|version| place.0.join(format!("version/{version}/customers.parquet"))).collect();
    let facts = |metadata: std::fs::Metadata| (metadata.ino(), metadata.len());
    let told = || paths.iter().map(|path| facts(std::fs::metadata(path).unwrap())).collect::<Vec<_>>();
    // Row groups may come in another order.
    let rows_of = |path: &std::path::PathBuf| {
        let columns = parquet_rows(std::fs::read(path).unwrap());
        let row = |row| {
            columns.iter().map(|column| array_value_to_string(column, row).unwrap()).collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = (0..columns[0].len()).map(row).collect();
        rows.sort();
        rows
    };
    let rows = || paths.iter().map(rows_of).collect::<Vec<_>>();
    let (expected, mut before) = (rows(), told());
    for words in [&["checkpoint", "db"][..], &["compact", "db", "--execute"]] {
        // The kernel knows all names by now, and answers by itself.
        assert_eq!(told(), before);
        shop.ok(words);
        assert_eq!(rows(), expected, "{words:?}");
        wait_until("stat tells of the file that is opened, which has as many bytes", || {
            let opened = paths.iter().map(|path| {
                let file = std::fs::File::open(path).unwrap();
                let open = facts(file.metadata().unwrap());
                assert_eq!(std::io::copy(&mut &file, &mut std::io::sink()).unwrap(), open.1);
                open
            });
            let (opened, told) = (opened.collect::<Vec<_>>(), told());
            let is_settled = opened == told;
            before = told;
            is_settled
        });
        assert_eq!(rows(), expected, "{words:?}");
    }
    interrupt(child.get());
    assert_eq!(child.finish().status, 0);
}

#[test]
fn umount_ends_a_mount_from_elsewhere() {
    let shop = shop();
    std::fs::create_dir(shop.path("mnt")).unwrap();
    let (child, place) = mount(&shop, &[]);
    assert_eq!(shop.run(&["umount", "mnt"]).status, 0);
    let ran = child.finish();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(!place.is_mounted());
    assert!(place.0.is_dir(), "it was there before");
    shop.fails(3, &["umount", "mnt"]);
}

#[test]
fn one_state_can_be_mounted_alone() {
    let shop = shop();
    let (mut child, place) = mount(&shop, &["--at", "2025-01-15", "--formats", "csv,jsonl"]);
    assert_eq!(read(place.0.join("customers.csv")), CUSTOMERS_1);
    assert!(read(place.0.join("customers.jsonl")).starts_with("{\"id\":1,"));
    interrupt(child.get());
    assert_eq!(child.finish().status, 0);
}

#[test]
fn owner_and_mode_are_as_asked_for() {
    use std::os::unix::fs::MetadataExt;
    let shop = shop();
    let (mut child, place) = mount(&shop, &["--uid", "1234", "--gid", "4321", "--mode", "444"]);
    let file = std::fs::metadata(place.0.join("version/1/customers.csv")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (1234, 4321, 0o444));
    let directory = std::fs::metadata(place.0.join("version/1")).unwrap();
    assert_eq!((directory.uid(), directory.mode() & 0o7777), (1234, 0o555));
    interrupt(child.get());
    assert_eq!(child.finish().status, 0);
}

#[test]
fn a_mount_in_the_background_is_ready_when_the_command_returns() {
    let shop = shop();
    let place = MountGuard(shop.path("mnt"));
    let told = shop.json(&["mount", "db", "mnt", "--background"]);
    assert!(place.is_mounted());
    assert_eq!(read(place.0.join("latest/customers.csv")), CUSTOMERS_3);
    let pid = told["pid"].as_u64().unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    shop.ok(&["umount", "mnt"]);
    assert!(!place.is_mounted());
    wait_until("the server has ended", || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    });
}

#[test]
fn warnings_go_to_the_end_of_a_file_that_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let shop = shop();
    let log = shop.path("mount.log");
    let is_told = |times: usize| {
        wait_until("the log tells why", || {
            let lines = read(&log);
            lines.lines().filter(|line| line.contains(" warn: version/99: there is no version 99")).count()
                == times
        });
    };
    for (round, quiet) in [&[][..], &["--quiet"]].into_iter().enumerate() {
        let place = MountGuard(shop.path("mnt"));
        shop.ok(&[&["mount", "db", "mnt", "--background", "--log", "mount.log"], quiet].concat());
        assert!(!place.0.join("version/99").exists());
        is_told(round + 1);
        shop.ok(&["umount", "mnt"]);
    }
    let (mut child, place) = mount(&shop, &["--log", "mount.log"]);
    assert!(!place.0.join("version/99").exists());
    is_told(3);
    interrupt(child.get());
    let ran = child.finish();
    assert_eq!(ran.status, 0);
    assert!(!ran.stderr.contains("version 99"), "{}", ran.stderr);
    let lines = read(&log);
    assert!(lines.lines().all(|line| line.starts_with("20") && line[..26].contains('T')), "{lines}");
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    for background in [&[][..], &["--background"]] {
        let error = shop.fails(1, &[&["mount", "db", "mnt", "--log", "no/such/log"], background].concat());
        assert!(error.contains("no/such/log") && error.contains("name another file"), "{error}");
    }
}

#[test]
fn a_failure_in_the_background_is_told_in_the_foreground() {
    let shop = shop();
    let error = shop.fails(3, &["mount", "db", "mnt", "--background", "--at", "no-such-tag"]);
    assert!(error.contains("no-such-tag"), "{error}");
    shop.fails(3, &["mount", "no-such-db", "mnt", "--background"]);
    let ran = shop.run(&["mount", "no-such-db", "mnt", "--background", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.status, &error["error"]["code"]), (3, &Value::from("not_found")));
    assert!(!MountGuard(shop.path("mnt")).is_mounted());
}

#[test]
fn what_cannot_be_mounted_at_is_named() {
    let shop = shop();
    std::fs::create_dir(shop.path("full")).unwrap();
    shop.write("full/file", "x");
    let error = shop.fails(1, &["mount", "db", "full"]);
    assert!(error.contains("full"), "{error}");
    shop.fails(1, &["mount", "db", "full/file"]);
    let error = shop.fails(1, &["mount", "db", "no/such/place"]);
    assert!(error.contains("no does not exist") && !error.contains("os error"), "{error}");
    let error = shop.fails(1, &["umount", "no/such/place"]);
    assert!(error.contains("no does not exist") && !error.contains("os error"), "{error}");
    shop.fails(3, &["umount", "full"]);
}
