//! Where rendered files go when their place has no room or cannot be written.

use crate::support::{Place, is_root, view_of, wait_until};
use asof_engine::Database;
use asof_engine::view::Format;
use std::fs;
use std::path::Path;
use std::process::Command;

const FORMATS: [Format; 4] = [Format::Csv, Format::JsonLines, Format::Arrow, Format::Parquet];

/// A small file system of its own, until it is dropped.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn new(at: &Path) -> SmallDisk<'_> {
        fs::create_dir(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,mode=700", "none"]).arg(at).status();
        assert!(mounted.unwrap().success());
        SmallDisk(at)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn all_is_read(place: &Place, database: &Database, expected: &[Vec<u8>]) {
    let mount = place.mount(database);
    for (format, expected) in FORMATS.iter().zip(expected) {
        let path = mount.path().join(format!("version/1/numbers.{}", format.extension()));
        assert_eq!(fs::metadata(&path).unwrap().len(), expected.len() as u64, "{format:?}");
        assert!(fs::read(&path).unwrap() == *expected, "{format:?}");
    }
    assert!(fs::read_to_string(mount.path().join("log.csv")).unwrap().lines().count() == 2);
    mount.unmount().unwrap();
}

#[test]
fn files_are_there_although_the_cache_is_full_or_cannot_be_written() {
    if !is_root() {
        // It takes root to make a disk that is full.
        return;
    }
    let place = Place::new();
    let database = place.numbers(5_000);
    let expected: Vec<Vec<u8>> = FORMATS
        .iter()
        .map(|format| {
            let mut bytes = Vec::new();
            database.at("1").unwrap().view("numbers", *format).unwrap().copy_to(&mut bytes).unwrap();
            bytes
        })
        .collect();
    drop(view_of(&database));
    drop(database);

    let small = place.join("small");
    let disk = SmallDisk::new(&small);
    let open =
        |name| Database::open_read_only(place.database_path(), place.options_with_cache(name)).unwrap();
    let (on_small, on_file) = (open("small/cache"), {
        fs::write(place.join("file"), "").unwrap();
        open("file")
    });
    all_is_read(&place, &on_small, &expected);
    let is_temporary = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("tmp-");
    // What was rendered ahead goes when it is done.
    wait_until("nothing half made stays", || {
        !fs::read_dir(small.join("cache")).unwrap().any(|entry| is_temporary(entry.unwrap()))
    });
    drop(on_small);
    all_is_read(&place, &on_file, &expected);
    drop(disk);
}
