//! Copies of a database while it is written, settled and compacted.

use crate::support::{World, content, go_on, open_verified, options};
use asof_archive::backup::{BackupOptions, backup};
use asof_engine::{CommitOptions, Database};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_copy_of_a_live_database_is_one_of_its_versions_whole() {
    for links in [false, true] {
        let mut world = World::new(71);
        for _ in 0..30 {
            world.step();
        }
        let (reader, dir) = (world.reader(), world.dir.path().to_path_buf());
        let done = AtomicBool::new(false);
        let made = std::thread::scope(|scope| {
            let (done, reader) = (&done, &reader);
            let copier = scope.spawn(move || {
                let mut made = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let to = dir.join(format!("copy{}", made.len()));
                    made.push((backup(reader, &to, BackupOptions { links }, &go_on).unwrap(), to));
                }
                made
            });
            for _ in 0..80 {
                world.step();
            }
            done.store(true, Ordering::Relaxed);
            copier.join().unwrap()
        });
        for (made, to) in &made {
            world.check(&open_verified(to), made.version.0);
        }
        assert!(!made.is_empty());
    }
}

#[test]
fn a_copy_is_written_on_its_own() {
    let mut world = World::new(73);
    for _ in 0..30 {
        world.step();
    }
    let newest = world.newest();
    let to = world.path("copy");
    let made = backup(&world.reader(), &to, BackupOptions { links: true }, &go_on).unwrap();
    assert_eq!(made.version.0, newest);
    let error = backup(&world.reader(), &to, BackupOptions::default(), &go_on).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    world.checkpoint();
    world.compact();
    world.commit();
    let copy = Database::open(&to, options()).unwrap();
    assert_eq!(copy.id(), world.database().id());
    assert_ne!(copy.lineage_id(), world.database().lineage_id());
    let mut transaction = copy.begin().unwrap();
    transaction.truncate("orders").unwrap();
    transaction.commit(CommitOptions::default()).unwrap();
    copy.checkpoint().unwrap();
    copy.compact(None, &asof_engine::compact::Parameters::BY_HAND).unwrap();
    copy.release_files().unwrap();
    drop(copy);
    let copy = open_verified(&to);
    for version in 0..=newest {
        assert_eq!(content(&copy, version), world.contents[version as usize], "version {version}");
    }
    world.check(&open_verified(&world.path("db")), world.newest());
}

#[test]
fn an_interrupted_copy_is_no_database_and_is_made_anew() {
    let mut world = World::new(75);
    for _ in 0..30 {
        world.step();
    }
    let to = world.path("copy");
    assert!(backup(&world.reader(), &to, BackupOptions::default(), &|_, _| false).is_err());
    assert!(!Database::exists(&to, &options()).unwrap());
    backup(&world.reader(), &to, BackupOptions::default(), &go_on).unwrap();
    world.check(&open_verified(&to), world.newest());
    assert!(!to.join("backup.unfinished").exists());
}

#[test]
fn a_damaged_file_is_not_copied_and_is_named() {
    let mut world = World::new(77);
    for _ in 0..20 {
        world.commit();
    }
    world.checkpoint();
    let data = std::fs::read_dir(world.path("db/data")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    let to = world.path("copy");
    for links in [false, true] {
        let error = backup(&world.reader(), &to, BackupOptions { links }, &go_on).unwrap_err();
        let name = data.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name) && error.to_string().contains("damaged"), "{error}");
        assert!(!Database::exists(&to, &options()).unwrap());
    }
    bytes[100] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    backup(&world.reader(), &to, BackupOptions::default(), &go_on).unwrap();
    world.check(&open_verified(&to), world.newest());
}
