//! How mounts begin and end.

use crate::support::{Place, commit_price, is_root, shell, view_of, walk};
use asof_engine::Database;
use asof_fuse::attach::{AttachOptions, attach, detach};
use asof_fuse::mount_table::mount_at;
use asof_fuse::{Ended, Error, MountOptions, mount, umount};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

fn is_mounted(path: &Path) -> bool {
    mount_at(path).unwrap().is_some()
}

#[test]
fn an_unused_mount_is_unmounted_without_trace() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    assert!(is_mounted(&place.mount_point()));
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
    assert!(!is_mounted(&place.mount_point()));
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted, "a second time does nothing");
    assert_eq!(mount.wait().unwrap(), Ended::Unmounted);
    assert_eq!(fs::read_dir(place.mount_point()).unwrap().count(), 0);
}

#[test]
fn dropping_a_mount_unmounts_it() {
    let place = Place::new();
    drop(place.mount(&place.example()));
    assert!(!is_mounted(&place.mount_point()));
}

#[test]
fn another_thread_can_end_the_mount_that_one_waits_for() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let unmounter = mount.unmounter();
    let ender = std::thread::spawn(move || unmounter.unmount().unwrap());
    assert_eq!(mount.wait().unwrap(), Ended::Unmounted);
    assert_eq!(ender.join().unwrap(), Ended::Unmounted);
}

#[test]
fn an_external_umount_ends_the_mount_and_leaves_later_ones_alone() {
    let place = Place::new();
    let database = place.example();
    let mount = place.mount(&database);
    run("umount", &[&place.mount_point()]);
    assert_eq!(mount.wait().unwrap(), Ended::Unmounted);
    // Another mount takes the place: it must survive all that the old one does at its end.
    let later = place.mount(&database);
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
    drop(mount);
    assert!(shell(&place.mount_point(), "cat version/1/orders.csv").starts_with("id,"));
    assert_eq!(later.unmount().unwrap(), Ended::Unmounted);
}

#[test]
fn a_mount_covered_by_another_is_not_confused_with_it() {
    if !is_root() {
        // Only root can cover a read-only mount.
        return;
    }
    let place = Place::new();
    let mount = place.mount(&place.example());
    let at = place.mount_point();
    run("mount", &[Path::new("-t"), Path::new("tmpfs"), Path::new("none"), &at]);
    assert!(matches!(mount.unmount(), Err(Error::NotOurs { .. })));
    assert!(matches!(umount(&at), Err(Error::NotOurs { .. })));
    assert_eq!(mount_at(&at).unwrap().unwrap().file_system, "tmpfs");
    run("umount", &[&at]);
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
}

#[test]
fn a_moved_mount_is_found() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let parent = place.join("elsewhere");
    fs::create_dir(&parent).unwrap();
    // Renaming a directory above a mount point moves the mount.
    fs::create_dir(place.join("above")).unwrap();
    mount.unmount().unwrap();
    drop(mount);
    let inner = place.join("above/mnt");
    fs::create_dir(&inner).unwrap();
    let mount = asof_fuse::mount(place.open(), &inner, MountOptions::default()).unwrap();
    fs::rename(place.join("above"), parent.join("above")).unwrap();
    assert!(is_mounted(&parent.join("above/mnt")));
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
    assert!(!is_mounted(&parent.join("above/mnt")));
}

#[test]
fn a_busy_mount_is_detached_and_what_is_open_goes_on() {
    let place = Place::new();
    let database = place.numbers(30_000);
    let mount = place.mount(&database);
    let mut file = File::open(place.mount_point().join("latest/numbers.csv")).unwrap();
    let mut start = [0; 10];
    file.read_exact(&mut start).unwrap();
    assert!(matches!(umount(place.mount_point()), Err(Error::Busy { .. })));
    assert!(is_mounted(&place.mount_point()), "umount does not take away what is in use");

    assert_eq!(mount.unmount().unwrap(), Ended::Detached);
    assert!(!is_mounted(&place.mount_point()));
    assert_eq!(mount.wait().unwrap(), Ended::Detached);
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!((start.len() + rest.len()) as u64, file.metadata().unwrap().len());
    // The place is free again while the old one is still served.
    let again = place.mount(&database);
    assert_eq!(again.unmount().unwrap(), Ended::Unmounted);
}

#[test]
fn umount_ends_a_mount_of_ours_and_nothing_else() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    umount(place.mount_point()).unwrap();
    assert_eq!(mount.wait().unwrap(), Ended::Unmounted);
    for path in [place.mount_point(), Path::new("/proc").to_path_buf(), Path::new("/").to_path_buf()] {
        let error = umount(&path).unwrap_err();
        assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    }
    assert!(is_mounted(Path::new("/proc")));
    assert!(matches!(umount(place.join("missing")), Err(Error::Unreachable { .. })));
}

#[test]
fn a_dead_mount_is_named_and_can_be_ended() {
    let place = Place::new();
    let database = place.example();
    let options = AttachOptions { source: "asof:dead".to_string(), allow_other: false };
    // A mount whose server is gone: the device is closed with the value.
    drop(attach(&place.mount_point(), &options).unwrap());
    let error = mount(database.clone(), place.mount_point(), MountOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Dead { .. }), "{error}");
    assert!(error.to_string().contains("asof umount"), "{error}");
    umount(place.mount_point()).unwrap();
    let mount = place.mount(&database);
    mount.unmount().unwrap();
}

#[test]
fn a_mount_whose_device_is_closed_is_dead_and_can_be_detached() {
    let place = Place::new();
    let options = AttachOptions { source: "asof:closed".to_string(), allow_other: false };
    let attached = attach(&place.mount_point(), &options).unwrap();
    assert_eq!(attached.entry.source, "asof:closed");
    assert_eq!(attached.entry.path, place.mount_point());
    drop(attached.device);
    let error = fs::metadata(place.mount_point()).unwrap_err();
    assert!(asof_fuse::mount_point::is_dead(&error), "{error}");
    assert_eq!(asof_fuse::mount_point::locate(&place.mount_point()).unwrap(), place.mount_point());
    detach(&attached.entry, false).unwrap();
    assert!(!is_mounted(&place.mount_point()));
    assert!(matches!(detach(&attached.entry, false), Err(Error::NotOurs { .. })));
}

#[test]
fn a_live_mount_is_not_covered() {
    let place = Place::new();
    let database = place.example();
    let first = place.mount(&database);
    let error = mount(database, place.mount_point(), MountOptions::default()).unwrap_err();
    assert!(error.to_string().contains("is mounted there already"), "{error}");
    first.unmount().unwrap();
}

#[test]
fn a_place_inside_the_database_is_refused() {
    let place = Place::new();
    let database = place.example();
    let inside = place.database_path().join("mnt");
    fs::create_dir(&inside).unwrap();
    let error = mount(database, &inside, MountOptions::default()).unwrap_err();
    assert!(error.to_string().contains("inside the database"), "{error}");
    assert!(!is_mounted(&inside));
}

#[test]
fn unmounting_while_readers_are_at_work_ends_them_with_an_error_or_the_right_bytes() {
    let place = Place::new();
    let database = place.numbers(5_000);
    let mut expected = Vec::new();
    database
        .at("1")
        .unwrap()
        .view("numbers", asof_engine::view::Format::Csv)
        .unwrap()
        .copy_to(&mut expected)
        .unwrap();
    for _ in 0..5 {
        let mount = place.mount(&database);
        let path = place.mount_point().join("version/1/numbers.csv");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Ok(bytes) = fs::read(&path) {
                        assert!(bytes == expected);
                    }
                });
            }
            scope.spawn(|| mount.unmount().unwrap());
        });
        assert!(!is_mounted(&place.mount_point()));
    }
}

#[test]
fn strange_names_of_places_are_no_trouble() {
    let place = Place::new();
    let database = place.example();
    let strange = place.join("a b\t,c\\d");
    fs::create_dir(&strange).unwrap();
    let mount =
        mount(database, &strange, MountOptions { fs_name: Some("x,y\nz".into()), ..Default::default() })
            .unwrap();
    assert!(shell(&strange, "cat version/1/orders.csv").starts_with("id,"));
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
}

#[test]
fn a_mount_that_only_sits_there_holds_nothing_back() {
    let place = Place::new();
    let database = place.example();
    let manifests = || fs::read_dir(place.database_path().join("manifest")).unwrap().count();
    let change = |price: f64| {
        commit_price(&database, price);
        database.checkpoint().unwrap();
    };
    change(1.0);
    let view = view_of(&Database::open_read_only(place.database_path(), place.options()).unwrap());
    walk(&view, "version/1/orders.csv").expect("it is there");
    (2..5).for_each(|price| change(f64::from(price)));
    assert_eq!(manifests(), 3, "what it looked at last is kept until it looks again");
    view.sweep();
    change(5.0);
    assert_eq!(manifests(), 2);
}
