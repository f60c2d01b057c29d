//! Where rendered files go when their place has no room or cannot be written.

use crate::support::{Place, is_root, view_of, wait_until};
use asof_engine::Database;
use asof_engine::view::Format;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
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

/// The files of a cache with an extension.
fn cached(place: &Place, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn what_is_damaged_in_the_cache_during_a_mount_is_rendered_anew_when_it_is_opened() {
    let place = Place::new();
    let mount = place.mount(&place.numbers(30_000));
    for (extension, name) in [("csv", "numbers.csv"), ("arrow", "numbers.arrow")] {
        let path = mount.path().join("version/1").join(name);
        let expected = fs::read(&path).unwrap();
        wait_until("the file is in the cache", || !cached(&place, extension).is_empty());
        let [file] = &cached(&place, extension)[..] else { panic!("one {extension}") };
        let damages: [fn(&File); 2] =
            [|file| file.write_all_at(b"damage", 1_000).unwrap(), |file| file.set_len(1_000).unwrap()];
        for (index, damage) in damages.into_iter().enumerate() {
            let held = (index == 0).then(|| File::open(&path).unwrap());
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
            damage(&File::options().write(true).open(file).unwrap());
            assert!(fs::read(&path).unwrap() == expected, "{name}, damage {index}");
            assert!(fs::read(&path).unwrap() == expected, "{name} once more, damage {index}");
            drop(held);
        }
    }
    mount.unmount().unwrap();
}

#[test]
fn what_is_being_rendered_has_no_name() {
    let place = Place::new();
    let database = place.changed_numbers(30_000, 2, 3);
    let mount = place.mount(&database);
    let open: Vec<_> = ["csv", "jsonl", "parquet", "arrow"]
        .map(|form| File::open(mount.path().join(format!("version/2/numbers.{form}"))).unwrap())
        .into_iter()
        .collect();
    for file in &open {
        file.read_at(&mut [0; 100], 10).unwrap();
    }
    // What has no name goes with who has it open, however that ends.
    let names: Vec<_> =
        fs::read_dir(place.join("cache")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("tmp-")), "{names:?}");
    drop(open);
    mount.unmount().unwrap();
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
