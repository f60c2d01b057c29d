//! Real mounts: what the kernel makes of it.

use crate::support::{Place, commit_price, is_root, shell, tag, wait_until};
use asof_engine::Version;
use asof_engine::arrow::compute::concat_batches;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use asof_engine::view::Format;
use asof_fuse::MountOptions;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

fn rendered(database: &asof_engine::Database, version: u64, table: &str, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    database.snapshot(Version(version)).unwrap().view(table, format).unwrap().copy_to(&mut bytes).unwrap();
    bytes
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.expect_err("must fail").raw_os_error().expect("an error of the system")
}

/// For calls that give -1.
fn call(returned: i32) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn c_path(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap()
}

#[test]
fn files_read_seek_and_map_like_any_other() {
    let place = Place::new();
    let database = place.numbers(50_000);
    let mount = place.mount(&database);
    for format in [Format::Csv, Format::JsonLines, Format::Parquet, Format::Arrow] {
        let path = mount.path().join(format!("latest/numbers.{}", format.extension()));
        let expected = rendered(&database, 1, "numbers", format);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), expected.len() as u64);
        assert_eq!(metadata.blocks(), metadata.len().div_ceil(512));
        assert!(expected.len() > 500_000, "worth several requests");
        assert!(fs::read(&path).unwrap() == expected, "{format:?} read");

        let mut file = File::open(&path).unwrap();
        // A fixed walk of seeks, backwards and forwards, short and long.
        let mut position = 7u64;
        for step in 0..200u64 {
            position = position.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step)
                % (expected.len() as u64 + 100);
            let mut buffer = vec![0; (step * 997 % 70_000) as usize];
            let got = file.read_at(&mut buffer, position).unwrap();
            let start = (position as usize).min(expected.len());
            assert!(
                buffer[..got] == expected[start..(start + got).min(expected.len())],
                "{format:?} at {position}"
            );
            assert!(got == buffer.len().min(expected.len() - start), "{format:?} at {position}: {got}");
        }
        file.seek(SeekFrom::End(-20)).unwrap();
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).unwrap();
        assert_eq!(tail, expected[expected.len() - 20..]);

        // SAFETY: the file is read-only and its bytes never change.
        let map = unsafe { memmap2::Mmap::map(&file).unwrap() };
        assert!(map[..] == expected[..], "{format:?} mapped");
        // A map outlives its file.
        drop(file);
        assert_eq!(map[expected.len() - 1], expected[expected.len() - 1]);
    }
    mount.unmount().unwrap();
}

#[test]
fn everything_that_would_change_something_is_refused() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let state = mount.path().join("version/2");
    let file = state.join("orders.csv");
    let before = shell(mount.path(), "ls -lR version; sha256sum version/*/*.csv");
    let new = state.join("new");

    for options in [
        File::options().write(true),
        File::options().append(true),
        File::options().read(true).write(true),
        File::options().write(true).truncate(true),
        File::options().write(true).create(true),
    ] {
        assert_eq!(errno(options.open(&file)), libc::EROFS, "{options:?}");
    }
    assert_eq!(errno(File::create(&new)), libc::EROFS);
    assert_eq!(errno(File::options().write(true).custom_flags(libc::O_TMPFILE).open(&state)), libc::EROFS);
    assert_eq!(errno(fs::create_dir(&new)), libc::EROFS);
    assert_eq!(errno(fs::remove_file(&file)), libc::EROFS);
    assert_eq!(errno(fs::remove_dir(state.join("gold"))), libc::EROFS);
    assert_eq!(errno(fs::rename(&file, &new)), libc::EROFS);
    assert_eq!(errno(fs::rename(mount.path().join("latest"), mount.path().join("first"))), libc::EROFS);
    assert_eq!(errno(fs::hard_link(&file, &new)), libc::EROFS);
    assert_eq!(errno(std::os::unix::fs::symlink("x", &new)), libc::EROFS);
    assert_eq!(errno(std::os::unix::fs::chown(&file, Some(1), Some(1))), libc::EROFS);
    assert_eq!(errno(fs::set_permissions(&file, fs::Permissions::from_mode(0o777))), libc::EROFS);
    let (c_file, c_new) = (c_path(&file), c_path(&new));
    // SAFETY (all calls below): the paths are strings with a zero byte at the end that live on, null is allowed where
    // it is given.
    unsafe {
        assert_eq!(errno(call(libc::truncate(c_file.as_ptr(), 0))), libc::EROFS);
        assert_eq!(
            errno(call(libc::utimensat(libc::AT_FDCWD, c_file.as_ptr(), std::ptr::null(), 0))),
            libc::EROFS
        );
        assert_eq!(errno(call(libc::mknod(c_new.as_ptr(), libc::S_IFREG | 0o600, 0))), libc::EROFS);
        assert_eq!(errno(call(libc::mkfifo(c_new.as_ptr(), 0o600))), libc::EROFS);
        let (name, value) = (c"user.x", b"y");
        let set = libc::setxattr(c_file.as_ptr(), name.as_ptr(), value.as_ptr().cast(), 1, 0);
        assert_eq!(errno(call(set)), libc::EROFS);
        assert_eq!(errno(call(libc::removexattr(c_file.as_ptr(), name.as_ptr()))), libc::EROFS);
        let mut buffer = [0u8; 8];
        let got = libc::getxattr(c_file.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), 8);
        assert_eq!(errno(call(got as i32)), libc::EOPNOTSUPP);
    }
    // The kernel's own errors come first.
    assert_eq!(errno(fs::create_dir(&state)), libc::EEXIST);
    assert_eq!(errno(fs::read_link(&file)), libc::EINVAL);
    assert_eq!(errno(fs::read_dir(&file)), libc::ENOTDIR);
    assert_eq!(errno(fs::metadata(file.join("x"))), libc::ENOTDIR);
    assert_eq!(errno(fs::read(&state)), libc::EISDIR);
    assert_eq!(errno(fs::metadata(state.join("x".repeat(256)))), libc::ENAMETOOLONG);

    assert_eq!(shell(mount.path(), "ls -lR version; sha256sum version/*/*.csv"), before);
    mount.unmount().unwrap();
}

#[test]
fn the_mount_is_read_only_and_runs_nothing() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let entry = asof_fuse::mount_table::mount_at(mount.path()).unwrap().unwrap();
    assert_eq!(entry.file_system, "fuse.asof");
    assert_eq!(entry.source, format!("asof:{}", place.database_path().display()));
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = table.lines().find(|line| line.contains(&*mount.path().to_string_lossy())).unwrap();
    let options: Vec<&str> = line.split(' ').nth(3).unwrap().split(',').collect();
    for option in ["ro", "nosuid", "nodev", "noexec", "default_permissions"] {
        assert!(options.contains(&option), "{line}");
    }
    mount.unmount().unwrap();
}

#[test]
fn latest_moves_with_commits_of_another_handle_while_open_files_stay() {
    let place = Place::new();
    let database = place.example();
    let mount = place.mount(&place.open());
    let latest = mount.path().join("latest/orders.csv");
    let mut file = File::open(&latest).unwrap();
    let old = fs::read(&latest).unwrap();
    let log = fs::read_to_string(mount.path().join("log.csv")).unwrap();
    let mut open_log = File::open(mount.path().join("log.csv")).unwrap();
    let tagged = fs::read(mount.path().join("tag/audit/orders.csv")).unwrap();
    let later = mount.path().join("version/4/orders.csv");
    assert_eq!(errno(fs::metadata(&later)), libc::ENOENT);

    for (commit, price) in (4..24).zip([9.5, 8.25].into_iter().cycle()) {
        assert_eq!(commit_price(&database, price), Version(commit));
        let new = fs::read_to_string(&latest).unwrap();
        assert!(new.contains(&format!("fresh\",{price:?}\n")), "{new}");
        assert_eq!(
            fs::read_link(mount.path().join("latest")).unwrap(),
            Path::new(&format!("version/{commit}"))
        );
        let log = fs::read_to_string(mount.path().join("log.csv")).unwrap();
        assert_eq!(log.lines().count() as u64, commit + 1);
    }
    assert!(fs::metadata(&later).unwrap().len() > 0);
    assert_eq!(fs::read(mount.path().join("tag/audit/orders.csv")).unwrap(), tagged);
    database.tag(tag("audit", 4), true).unwrap();
    assert_eq!(fs::read(mount.path().join("tag/audit/orders.csv")).unwrap(), fs::read(&later).unwrap());

    let mut still = Vec::new();
    file.read_to_end(&mut still).unwrap();
    assert_eq!(still, old);
    // A log that is open has all lines, those it had first.
    let mut still = String::new();
    open_log.read_to_string(&mut still).unwrap();
    assert!(still.starts_with(&log));
    assert_eq!(still, fs::read_to_string(mount.path().join("log.csv")).unwrap());
    drop((file, open_log));
    mount.unmount().unwrap();
}

#[test]
fn inodes_are_stable_across_versions_and_mounts() {
    let place = Place::new();
    let database = place.example();
    let paths = [
        "version",
        "version/1",
        "version/1/orders.csv",
        "version/2/orders.csv",
        "version/3/orders.csv",
        "log.csv",
    ];
    let numbers =
        |mount: &asof_fuse::Mount| paths.map(|path| fs::metadata(mount.path().join(path)).unwrap().ino());
    let mount = place.mount(&database);
    let first = numbers(&mount);
    assert_eq!(first[2], first[3]);
    assert_ne!(first[3], first[4]);
    mount.unmount().unwrap();
    let mount = place.mount(&place.open());
    assert_eq!(numbers(&mount), first);
    mount.unmount().unwrap();
}

#[test]
fn many_readers_at_once_get_the_right_bytes() {
    let place = Place::new();
    let database = place.numbers(20_000);
    for round in 0..5 {
        let mut transaction = database.begin().unwrap();
        transaction.upsert("numbers", &crate::support::orders(&[(1, Some("x"), f64::from(round))])).unwrap();
        transaction.commit(asof_engine::CommitOptions::default()).unwrap();
    }
    let formats = [Format::Csv, Format::Parquet, Format::JsonLines];
    let expected: Vec<Vec<Vec<u8>>> = (1..=6)
        .map(|version| formats.map(|format| rendered(&database, version, "numbers", format)).to_vec())
        .collect();
    let mount = place.mount(&database);
    std::thread::scope(|scope| {
        for reader in 0..16usize {
            let (mount, expected) = (&mount, &expected);
            scope.spawn(move || {
                for step in 0..12 {
                    let (version, format) = ((reader + step) % 6, (reader / 2 + step) % 3);
                    let name = format!("version/{}/numbers.{}", version + 1, formats[format].extension());
                    let bytes = fs::read(mount.path().join(&name)).unwrap();
                    assert!(bytes == expected[version][format], "{name}");
                }
            });
        }
    });
    mount.unmount().unwrap();
}

#[test]
fn what_crawlers_ask_for_is_not_there() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    for directory in
        ["", "version", "version/2", "version/2/gold", "asof", "asof/latest", "tag", "diff", "diff/1..2"]
    {
        for name in [
            ".git",
            ".Trash",
            ".Trash-1000",
            ".DS_Store",
            ".hidden",
            "desktop.ini",
            "autorun.inf",
            "Thumbs.db",
        ] {
            for _ in 0..2 {
                assert_eq!(errno(fs::metadata(mount.path().join(directory).join(name))), libc::ENOENT);
            }
        }
    }
    mount.unmount().unwrap();
}

#[test]
fn owner_and_modes_are_as_told() {
    let place = Place::new();
    let database = place.example();
    // An ordinary user would lock itself out with another owner.
    let (uid, gid) = match is_root() {
        true => (12, 34),
        false => (rustix::process::geteuid().as_raw(), 34),
    };
    let options =
        MountOptions { uid: Some(uid), gid: Some(gid), mode: Some(0o640), ..MountOptions::default() };
    let mount = place.mount_with(&database, options);
    let file = fs::metadata(mount.path().join("latest/orders.csv")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (uid, gid, 0o440));
    let directory = fs::metadata(mount.path().join("version")).unwrap();
    assert_eq!((directory.uid(), directory.gid(), directory.mode() & 0o7777), (uid, gid, 0o550));
    mount.unmount().unwrap();

    if !is_root() {
        // Letting others in takes user_allow_other in /etc/fuse.conf.
        return;
    }
    fs::set_permissions(place.database_path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mount = place.mount_with(&database, MountOptions { allow_other: true, ..MountOptions::default() });
    let file = fs::metadata(mount.path().join("latest/orders.csv")).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o444);
    mount.unmount().unwrap();
}

#[test]
fn other_users_come_in_only_when_let_in_and_only_as_far_as_into_the_database() {
    if !is_root() {
        // It takes root to be another user.
        return;
    }
    let place = Place::new();
    let database = place.example();
    fs::set_permissions(place.join(""), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups head -n 1 mnt/version/1/orders.csv";
    let denied = "head: cannot open 'mnt/version/1/orders.csv' for reading: Permission denied\n";
    for (allow_other, mode, expected) in [
        (false, 0o755, denied),
        (true, 0o755, "id,item,price\n"),
        (true, 0o700, denied),
        (true, 0o754, denied),
    ] {
        fs::set_permissions(place.database_path(), fs::Permissions::from_mode(mode)).unwrap();
        let mount = place.mount_with(&database, MountOptions { allow_other, ..MountOptions::default() });
        assert_eq!(shell(&place.join(""), as_nobody), expected, "{allow_other} {mode:o}");
        mount.unmount().unwrap();
    }
}

#[test]
fn one_state_alone_can_be_mounted_by_any_expression() {
    let place = Place::new();
    let database = place.example();
    for (expression, version) in
        [("2", 2), ("tag:audit", 2), ("2025-08-26", 2), ("latest", 3), ("before:3", 2)]
    {
        let options = MountOptions { at: Some(expression.to_string()), ..MountOptions::default() };
        let mount = place.mount_with(&database, options);
        let csv = fs::read(mount.path().join("orders.csv")).unwrap();
        assert_eq!(csv, rendered(&database, version, "orders", Format::Csv), "{expression}");
        mount.unmount().unwrap();
    }
    let options = MountOptions { at: Some("tag:nothing".to_string()), ..MountOptions::default() };
    let error = asof_fuse::mount(database, place.mount_point(), options).unwrap_err();
    assert!(matches!(error, asof_fuse::Error::Engine(_)), "{error}");
}

#[test]
fn thousands_of_versions_are_listed_in_order() {
    let place = Place::new();
    let database = place.example();
    for version in 4..=2_000 {
        assert_eq!(commit_price(&database, version as f64), Version(version));
    }
    let mount = place.mount(&database);
    let listed: Vec<String> = fs::read_dir(mount.path().join("version"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(listed, (0..=2_000).map(|version| version.to_string()).collect::<Vec<_>>());
    mount.unmount().unwrap();
}

#[test]
fn the_kernel_asks_once_for_what_never_changes_and_each_time_for_what_moves() {
    let place = Place::new();
    let database = place.numbers(20_000);
    let mount = place.mount(&database);
    let at = |path: &str| mount.path().join(path);
    let read_all = || {
        fs::metadata(at("version/1")).unwrap();
        for name in ["numbers.csv", "numbers.arrow", "numbers.schema.json", ".commit.json"] {
            assert!(!fs::read(at("version/1").join(name)).unwrap().is_empty());
        }
        for missing in ["version/1/missing.csv", "version/1/.git", "asof/.git", "version/x", ".Trash"] {
            assert_eq!(errno(fs::metadata(at(missing))), libc::ENOENT);
        }
        let state = at("version/1");
        assert_eq!(fs::read_dir(state).unwrap().count(), 4);
    };
    // The first reading seals the files; the second finds them sealed.
    read_all();
    read_all();
    let before = mount.requests();
    read_all();
    let after = mount.requests();
    assert_eq!((after.lookups, after.reads, after.listings), (before.lookups, before.reads, before.listings));

    for moving in ["asof/latest", "asof/1h-ago", "version/2", "asof/2999-01-01", "tag/later", "log.csv"] {
        let ask = || fs::metadata(at(moving)).is_ok();
        let there = ask();
        let before = mount.requests().lookups;
        for _ in 0..3 {
            assert_eq!(ask(), there);
        }
        assert_eq!(mount.requests().lookups, before + 3, "{moving}");
    }
    mount.unmount().unwrap();
}

#[test]
fn sealed_files_are_read_without_a_request_where_that_is_allowed() {
    let place = Place::new();
    let database = place.numbers(20_000);
    let mount = place.mount(&database);
    for format in [Format::Csv, Format::Arrow] {
        let path = mount.path().join(format!("version/1/numbers.{}", format.extension()));
        // Text is sealed once all of it was read; the cache has it then.
        let expected = rendered(&database, 1, "numbers", format);
        let first = File::open(&path).unwrap();
        let second = File::open(&path).unwrap();
        for mut file in [first, second] {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert!(bytes == expected, "{format:?}");
        }
    }
    // Not where files are passed on by requests: without CAP_SYS_ADMIN, or with a cache on a stacked file system.
    assert_eq!(mount.requests().reads == 0, mount.is_passed_through());
    mount.unmount().unwrap();
}

#[test]
fn a_parquet_file_follows_its_rows_to_other_data_files_and_an_open_one_keeps_its_bytes() {
    let place = Place::new();
    let database = place.numbers(20_000);
    let mount = place.mount(&database);
    let path = mount.path().join("version/1/numbers.parquet");
    let rows = || {
        let mut file = File::open(&path).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<_> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
        concat_batches(&schema, &batches).unwrap()
    };
    let (all, before) = (rows(), fs::read(&path).unwrap());
    let mut open = File::open(&path).unwrap();
    // Its rows were in the log alone.
    database.checkpoint().unwrap();
    assert_eq!(rows(), all);
    wait_until("the name leads to another file", || fs::read(&path).unwrap() != before);
    assert_eq!(rows(), all);
    let mut kept = Vec::new();
    open.read_to_end(&mut kept).unwrap();
    assert!(kept == before);
    mount.unmount().unwrap();
}

#[test]
fn the_kernel_reads_ahead_as_far_as_one_request_goes() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let entry = asof_fuse::mount_table::mount_at(mount.path()).unwrap().unwrap();
    let setting = fs::read_to_string(format!("/sys/class/bdi/{}/read_ahead_kb", entry.device)).unwrap();
    // Only root may set it.
    assert_eq!(setting.trim(), if is_root() { "1024" } else { "128" });
    mount.unmount().unwrap();
}
