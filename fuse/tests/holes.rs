//! Holes of Parquet files, by real `lseek`: what slots do not need.

use crate::support::Place;
use asof_engine::view::Format;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

fn seek(file: &File, offset: i64, whence: i32) -> io::Result<u64> {
    // SAFETY: the descriptor is open; the call touches no memory.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    if found < 0 { Err(io::Error::last_os_error()) } else { Ok(found as u64) }
}

/// The holes of a file, as it tells of them from beginning to end.
fn holes(file: &File) -> Vec<Range<u64>> {
    let size = file.metadata().unwrap().len();
    let (mut holes, mut at) = (Vec::new(), 0);
    while at < size {
        let start = seek(file, at as i64, libc::SEEK_HOLE).unwrap();
        at = match seek(file, start as i64, libc::SEEK_DATA) {
            Ok(data) => data,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
                size
            }
        };
        if start < at {
            holes.push(start..at);
        }
    }
    holes
}

fn bytes_of(holes: &[Range<u64>]) -> u64 {
    holes.iter().map(|hole| hole.end - hole.start).sum()
}

/// Whether one offset is told of as a walk through the file told.
fn check_offset(file: &File, size: u64, holes: &[Range<u64>], offset: u64) {
    let next = holes.iter().find(|hole| offset < hole.end);
    let hole = next.map_or(size, |hole| hole.start.max(offset));
    assert_eq!(seek(file, offset as i64, libc::SEEK_HOLE).unwrap(), hole, "hole from {offset}");
    let data = match next {
        Some(hole) if hole.start <= offset => hole.end,
        _ => offset,
    };
    assert_eq!(seek(file, offset as i64, libc::SEEK_DATA).unwrap(), data, "data from {offset}");
}

fn copies_are_alike(from: &Path, scratch: &Path) {
    fs::create_dir(scratch).unwrap();
    let copy = scratch.join("copy.parquet");
    let copied = Command::new("cp").arg("--sparse=auto").arg(from).arg(&copy).status().unwrap();
    assert!(copied.success());
    let expected = fs::read(from).unwrap();
    assert!(fs::read(&copy).unwrap() == expected, "by cp");
    let (directory, name) = (from.parent().unwrap(), from.file_name().unwrap());
    let archived = Command::new("tar")
        .args(["-S", "-c", "-f"])
        .arg(scratch.join("copy.tar"))
        .arg("-C")
        .args([directory.as_os_str(), name])
        .status()
        .unwrap();
    assert!(archived.success());
    fs::create_dir(scratch.join("out")).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(scratch.join("copy.tar")).arg("-C").arg(scratch.join("out"));
    assert!(unpack.status().unwrap().success());
    assert!(fs::read(scratch.join("out").join(name)).unwrap() == expected, "by tar");
    let archive = fs::metadata(scratch.join("copy.tar")).unwrap().len();
    assert!(archive < expected.len() as u64, "tar left holes out: {archive} of {}", expected.len());
}

#[test]
fn what_slots_do_not_need_is_a_hole_and_nothing_else_is() {
    let place = Place::new();
    let database = place.changed_numbers(60_000, 6, 5);
    let mount = place.mount(&database);
    let mut left_out = 0;
    for version in 1..=7 {
        let path = mount.path().join(format!("version/{version}/numbers.parquet"));
        let file = File::open(&path).unwrap();
        let metadata = file.metadata().unwrap();
        let size = metadata.len();
        let before = holes(&file);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, size);
        let after = holes(&file);
        for hole in before.iter().chain(&after) {
            let hole = &bytes[hole.start as usize..hole.end as usize];
            assert!(hole.iter().all(|byte| *byte == 0), "version {version}");
        }
        for hole in &before {
            assert!(
                after.iter().any(|later| later.start <= hole.start && hole.end <= later.end),
                "version {version}: {hole:?} is no hole any more"
            );
        }
        // All of the padding but its headers, once slots are filled.
        let view = database.snapshot(asof_engine::Version(version)).unwrap();
        let view = view.view("numbers", Format::Parquet).unwrap();
        view.copy_to(&mut io::sink()).unwrap();
        let padding = view.composition().unwrap().padding;
        let found = bytes_of(&after);
        assert!(
            found <= padding && padding - found <= padding / 4,
            "version {version}: {found} of {padding}"
        );
        let blocks = metadata.blocks();
        assert!(
            blocks * 512 + 1024 >= size - found,
            "version {version}: {blocks} have room for what is data"
        );
        assert_eq!(
            blocks < size / 512,
            found > 0,
            "version {version}: tools look for holes where there are some"
        );
        left_out += found;

        let mut at = 11u64;
        for _ in 0..300 {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            check_offset(&file, size, &after, (at >> 16) % size);
        }
        for hole in &after {
            for offset in [hole.start.saturating_sub(1), hole.start, hole.end - 1, hole.end] {
                if offset < size {
                    check_offset(&file, size, &after, offset);
                }
            }
        }
        for offset in [-1, size as i64, size as i64 + 1, i64::MAX] {
            for whence in [libc::SEEK_DATA, libc::SEEK_HOLE] {
                let error = seek(&file, offset, whence).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ENXIO), "{offset}");
            }
        }
    }
    assert!(left_out > 1 << 20, "there are holes: {left_out} bytes");
    copies_are_alike(&mount.path().join("version/4/numbers.parquet"), &place.join("scratch"));
    mount.unmount().unwrap();
}

#[test]
fn files_that_are_not_stitched_are_data_to_their_end() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let state = "version/3";
    let names = ["orders.csv", "orders.jsonl", "orders.arrow", "orders.schema.json", ".commit.json"];
    let names = names.iter().map(|name| format!("{state}/{name}"));
    for name in names.chain(["README.md", "log.csv", "log.parquet"].map(String::from)) {
        let file = File::open(mount.path().join(&name)).unwrap();
        let size = file.metadata().unwrap().len();
        check_offset(&file, size, &[], 0);
        check_offset(&file, size, &[], size - 1);
        assert_eq!(seek(&file, -1, libc::SEEK_END).unwrap(), size - 1, "{name}");
        let error = seek(&file, size as i64, libc::SEEK_DATA).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO), "{name}");
    }
    mount.unmount().unwrap();
}
