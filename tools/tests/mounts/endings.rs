//! Mounts that are ended at any moment, by anybody, in any way.

use super::mount;
use crate::cli::support::*;
use crate::processes::Chance;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ROUNDS: u64 = 24;
const READERS: u64 = 3;
const ROWS: i64 = 3_000;

/// Ways to end a mount.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Signal(i32),
    /// `umount`, again while the mount is in use.
    Umount,
    UmountLazily,
    OwnUmount,
    Kill,
}

const WAYS: [Way; 6] = [
    Way::Signal(libc::SIGINT),
    Way::Signal(libc::SIGTERM),
    Way::Umount,
    Way::UmountLazily,
    Way::OwnUmount,
    Way::Kill,
];

/// What a reader may meet once its mount is being ended.
fn is_of_the_end(error: &io::Error) -> bool {
    let of_the_end =
        [libc::ENOENT, libc::ENOTCONN, libc::ECONNABORTED, libc::EIO, libc::ENODEV, libc::ENOTDIR];
    error.raw_os_error().is_some_and(|number| of_the_end.contains(&number))
}

fn read_something(chance: &mut Chance, place: &Path, expected: &[Vec<u8>]) -> io::Result<()> {
    let version = chance.below(expected.len() as u64) as usize;
    let path = place.join(format!("version/{}/t.csv", version + 1));
    let expected = &expected[version];
    match chance.below(5) {
        0 => assert!(fs::read(&path)? == *expected, "{version}"),
        1 => assert_eq!(fs::metadata(&path)?.len(), expected.len() as u64),
        2 => {
            let file = File::open(&path)?;
            let start = chance.below(expected.len() as u64) as usize;
            let mut buffer = vec![0; chance.below(9_000) as usize];
            let got = file.read_at(&mut buffer, start as u64)?;
            assert!(buffer[..got] == expected[start..start + got], "{version} at {start}");
        }
        3 => {
            for entry in fs::read_dir(place.join("version"))? {
                entry?;
            }
        }
        _ => {
            let file = fs::read(path.with_extension("parquet"))?;
            assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"), "{version}");
        }
    }
    Ok(())
}

fn run_until_it_succeeds(mut command: impl FnMut() -> Command) {
    wait_until("the mount can be ended", || command().output().unwrap().status.success());
}

#[test]
fn a_mount_can_be_ended_at_every_moment_and_in_every_way() {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    for version in 0..3 {
        let rows: Vec<Value> =
            (0..ROWS).map(|id| json!({"id": id, "note": format!("{version} {}", id * id)})).collect();
        scratch.apply(&(json!({"ops": [{"op": "upsert", "table": "t", "rows": rows}]}).to_string() + "\n"));
        if version == 1 {
            scratch.ok(&["checkpoint", "db"]);
        }
    }
    let expected: Vec<Vec<u8>> = (1..=4)
        .map(|version: u64| {
            scratch.ok(&["cat", "db", "t", "-q", "--as-of", &version.to_string()]).into_bytes()
        })
        .collect();
    fs::create_dir(scratch.path("mnt")).unwrap();
    let mut chance = Chance(0x5eed);
    for round in 0..ROUNDS {
        let way = WAYS[(round % WAYS.len() as u64) as usize];
        let (mut child, place) = mount(&scratch, &[]);
        let (ending, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for reader in 0..READERS {
                let (ending, stop, place, expected) = (&ending, &stop, &place.0, &expected);
                scope.spawn(move || {
                    let mut chance = Chance(round * READERS + reader + 1);
                    while !stop.load(Ordering::SeqCst) {
                        let was_ending = ending.load(Ordering::SeqCst);
                        if let Err(error) = read_something(&mut chance, place, expected) {
                            let may_fail = was_ending || ending.load(Ordering::SeqCst);
                            assert!(may_fail && is_of_the_end(&error), "{way:?}: {error}");
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(chance.below(60)));
            ending.store(true, Ordering::SeqCst);
            let own = || scratch.command(&["umount", "mnt", "-q"]);
            match way {
                Way::Signal(number) => signal(child.get().id(), number),
                Way::Kill => child.get().kill().unwrap(),
                Way::Umount | Way::OwnUmount => {
                    // It may be in use now. Once nobody reads, it is not.
                    let _ = if way == Way::Umount { umount(&place.0, &[]) } else { own() }.output();
                    std::thread::sleep(Duration::from_millis(chance.below(20)));
                }
                Way::UmountLazily => run_until_it_succeeds(|| umount(&place.0, &["-l"])),
            }
            std::thread::sleep(Duration::from_millis(chance.below(20)));
            stop.store(true, Ordering::SeqCst);
            if place.is_mounted() {
                match way {
                    Way::Umount => run_until_it_succeeds(|| umount(&place.0, &[])),
                    Way::OwnUmount | Way::Kill => run_until_it_succeeds(own),
                    _ => {}
                }
            }
        });
        let ran = child.finish();
        assert_eq!(ran.status == 0, way != Way::Kill, "{way:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{way:?}: {}", ran.stderr);
        assert!(!place.is_mounted(), "{way:?}");
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0, "{way:?}");
    }
}

fn umount(place: &Path, options: &[&str]) -> Command {
    let mut command = Command::new("umount");
    command.args(options).arg(place);
    command
}

#[test]
fn a_mount_that_is_killed_with_open_files_holds_nothing_back() {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, note text, primary key (id)"]);
    let churn = |number: i64| {
        let rows: Vec<Value> =
            (0..5).map(|id| json!({"id": id, "note": format!("churn {number}")})).collect();
        scratch.apply(&(json!({"ops": [{"op": "upsert", "table": "t", "rows": rows}]}).to_string() + "\n"));
        scratch.ok(&["checkpoint", "db"]);
    };
    let manifests = || fs::read_dir(scratch.path("db/manifest")).unwrap().count();
    churn(0);
    let (mut child, place) = mount(&scratch, &[]);
    let open = File::open(place.0.join("version/2/t.parquet")).unwrap();
    (1..4).for_each(churn);
    // The mount may be about to follow, and lease one more for that long.
    assert!(manifests() >= 3, "what is open is kept");
    child.get().kill().unwrap();
    child.finish();
    let error = open.read_at(&mut [0; 8], 0).expect_err("nobody serves it");
    assert!(is_of_the_end(&error), "{error}");
    drop(open);
    churn(4);
    assert_eq!(manifests(), 2);
    assert_eq!(scratch.json(&["info", "db"])["leases"], json!([]));
    scratch.ok(&["umount", "mnt"]);
}

#[test]
fn who_unmounts_may_mount_again_at_once() {
    let shop = shop();
    for round in 0..6 {
        shop.ok(&["mount", "db", "mnt", "--background", "-q"]);
        let place = MountGuard(shop.path("mnt"));
        assert!(place.0.join("latest/customers.csv").exists());
        match round % 2 {
            0 => {
                shop.ok(&["umount", "mnt", "-q"]);
                assert!(!place.0.exists(), "the server has removed what it made");
            }
            // Who is about to leave is waited for by the next one.
            _ => run_until_it_succeeds(|| umount(&place.0, &[])),
        }
    }
    shop.ok(&["mount", "db", "mnt", "--background", "-q"]);
    shop.ok(&["umount", "mnt", "-q"]);
    assert!(!shop.path("mnt").exists());
}
