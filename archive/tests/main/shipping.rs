//! What is shipped, how often, and who may not.

use crate::support::{World, content, go_on, options};
use asof_archive::recover::Source;
use asof_archive::{Archive, Archiver, open_database, status};
use asof_engine::{Database, ErrorKind, Version};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_shipment_brings_what_is_new_and_nothing_else() {
    let mut world = World::new(41);
    for _ in 0..40 {
        world.step();
    }
    world.checkpoint();
    let first = world.ship().unwrap();
    world.commit();
    let second = world.ship().unwrap();
    assert!(second.continues && second.objects == 1 && second.bytes < 10_000, "{second:?} after {first:?}");
    assert_eq!(second.version.0, world.newest());
    let status = status(&world.path("archive"), &world.reader()).unwrap();
    assert!(status.is_same && status.behind == asof_archive::Behind::default(), "{:?}", status.behind);
    world.commit();
    world.commit();
    let status = asof_archive::status(&world.path("archive"), &world.reader()).unwrap();
    assert_eq!((status.behind.versions, status.newest.0), (2, world.newest()));
    assert!(status.behind.bytes > 0 && status.behind.microseconds > 0);
}

#[test]
fn following_ships_each_commit_until_it_is_asked_to_end() {
    let mut world = World::new(43);
    let mut archiver = world.archiver();
    let asked = AtomicU64::new(0);
    let shown = std::thread::scope(|scope| {
        let goes_on = |_: u64, _: u64| asked.load(Ordering::Relaxed) == 0;
        let follower = scope.spawn(move || {
            let mut shown = Vec::new();
            let every = std::time::Duration::from_millis(1);
            let tell = &mut |shipped: Result<&asof_archive::Shipped, &asof_engine::Error>| {
                shown.push(shipped.unwrap().version.0);
                Ok(())
            };
            archiver.follow(every, &goes_on, tell).map(|()| shown)
        });
        for _ in 0..60 {
            world.step();
        }
        asked.store(1, Ordering::Relaxed);
        follower.join().unwrap().unwrap()
    });
    assert!(shown.len() > 1 && shown.is_sorted(), "{shown:?}");
    assert_eq!(shown.last(), Some(&world.newest()));
    world.check(&open_database(&world.path("archive"), options()).unwrap(), world.newest());
    // The log is there as a whole, so that every version has a base at or before it.
    let source = Source::open(&world.path("archive"), options()).unwrap();
    assert!(source.ranges().unwrap().iter().all(|range| !range.base.cuts));
}

#[test]
fn a_database_that_was_removed_or_replaced_is_not_archived_as_if_it_were_there() {
    let mut world = World::new(44);
    for _ in 0..5 {
        world.step();
    }
    let mut archiver = world.archiver();
    archiver.ship(&go_on).unwrap();
    let newest = world.newest();
    let path = world.path("db");
    std::fs::rename(&path, world.path("elsewhere")).unwrap();
    let mut refused = || archiver.ship(&go_on).expect_err("nothing is where it was");
    let removed = refused();
    assert_eq!(removed.kind(), ErrorKind::NotFound);
    assert!(removed.to_string().contains(&format!("has it up to version {newest}")), "{removed}");
    copy_dir(&world.path("elsewhere"), &path);
    assert_eq!(refused().kind(), ErrorKind::NotFound, "another directory is another database");
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(world.path("elsewhere"), &path).unwrap();
    assert!(archiver.ship(&go_on).is_ok());
}

#[test]
fn summaries_say_what_all_shipments_before_them_do() {
    let mut world = World::new(45);
    let mut archiver = world.archiver();
    for _ in 0..150 {
        world.commit();
        if world.chance.below(10) == 0 {
            world.checkpoint();
        }
        archiver.ship(&go_on).unwrap();
    }
    let archive = Archive::open(&world.path("archive")).unwrap();
    let loaded = archive.load().unwrap();
    let summaries = world.path("archive/summaries");
    assert!(std::fs::read_dir(&summaries).unwrap().count() >= 1);
    // A damaged one is passed over, wherever it is damaged, and so is one that is not there.
    let format = "asof-summary ".len();
    for place in [None, Some(0), Some(format), Some(format + 2)] {
        for entry in std::fs::read_dir(&summaries).unwrap() {
            let path = entry.unwrap().path();
            let whole = std::fs::read(&path).unwrap();
            let mut bytes = whole.clone();
            bytes[place.unwrap_or(whole.len() / 2)] ^= 3;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(archive.load().unwrap(), loaded);
            std::fs::write(&path, whole).unwrap();
        }
    }
    std::fs::remove_dir_all(&summaries).unwrap();
    assert_eq!(archive.load().unwrap(), loaded);
    assert_eq!(archiver.index(), &loaded);
}

#[test]
fn of_two_archivers_one_is_refused() {
    let mut world = World::new(47);
    let (mut one, mut other) = (world.archiver(), world.archiver());
    one.ship(&go_on).unwrap().unwrap();
    let error = other.ship(&go_on).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert!(error.to_string().contains("another archiver"), "{error}");
    world.commit();
    one.ship(&go_on).unwrap().unwrap();
    world.check(&open_database(&world.path("archive"), options()).unwrap(), world.newest());
}

#[test]
fn another_database_and_another_history_are_refused() {
    let mut world = World::new(49);
    world.commit();
    world.ship();
    let refused = |database: &Path, what: &str| {
        let reader = Database::open_read_only(database, options()).unwrap();
        let error = match Archiver::open(&world.path("archive"), reader) {
            Ok((mut archiver, _)) => archiver.ship(&go_on).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(what), "{what}: {error}");
    };
    let other = World::new(50);
    refused(&other.path("db"), "another database");
    // An older copy, as of before the last shipment.
    copy_dir(&world.path("db"), &world.path("older"));
    copy_dir(&world.path("db"), &world.path("other-way"));
    let mut world = world;
    let before = world.contents.len();
    world.commit();
    while world.contents.len() == before {
        world.commit();
    }
    world.ship();
    let world = world;
    let refused = |database: &Path, what: &str| {
        let reader = Database::open_read_only(database, options()).unwrap();
        let mut archiver = Archiver::open(&world.path("archive"), reader).unwrap().0;
        let error = archiver.ship(&go_on).unwrap_err();
        assert!(error.to_string().contains(what), "{what}: {error}");
    };
    refused(&world.path("older"), "an older copy");
    let copy = Database::open(world.path("other-way"), options()).unwrap();
    for _ in 0..3 {
        let mut transaction = copy.begin().unwrap();
        let name = format!("way{}", copy.latest().unwrap());
        let columns = vec![asof_engine::Column::new("x", asof_engine::ColumnType::Int64)];
        transaction.create_table(&name, columns, &[]).unwrap();
        transaction.commit(asof_engine::CommitOptions::default()).unwrap();
    }
    refused(&world.path("other-way"), "went different ways");
    // Nothing of it was mixed in.
    world.check(&open_database(&world.path("archive"), options()).unwrap(), world.newest());
}

#[test]
fn a_directory_with_other_things_is_no_place_for_an_archive() {
    let world = World::new(51);
    std::fs::create_dir(world.path("archive")).unwrap();
    std::fs::write(world.path("archive/letters.txt"), "dear").unwrap();
    let error = Archiver::open(&world.path("archive"), world.reader()).unwrap_err();
    assert!(error.to_string().contains("letters.txt"), "{error}");
    let error = open_database(&world.path("nowhere"), options()).unwrap_err();
    assert!(error.to_string().contains("is not an archive"), "{error}");
}

#[test]
fn an_interrupted_run_leaves_nothing_that_a_later_one_cannot_use() {
    let mut world = World::new(53);
    for _ in 0..30 {
        world.step();
    }
    for after in 0..6 {
        let calls = AtomicU64::new(0);
        let ends = |_: u64, _: u64| calls.fetch_add(1, Ordering::Relaxed) < after;
        let mut archiver = world.archiver();
        if archiver.ship(&ends).is_ok() {
            break;
        }
        assert!(open_database(&world.path("archive"), options()).is_err());
    }
    world.ship();
    world.check(&open_database(&world.path("archive"), options()).unwrap(), world.newest());
    let source = Source::open(&world.path("archive"), options()).unwrap();
    let plan = source.plan(Version(world.newest())).unwrap();
    let to = world.path("to");
    let mut kept = 0;
    for after in 0.. {
        let calls = AtomicU64::new(0);
        let ends = |_: u64, _: u64| calls.fetch_add(1, Ordering::Relaxed) < after;
        match source.recover(&plan, &to, &ends) {
            Ok(recovered) => {
                kept = recovered.kept;
                break;
            }
            Err(error) => assert!(!to.exists() && error.to_string().contains("goes on"), "{error}"),
        }
    }
    assert!(kept > 0, "what was fetched before is not fetched again");
    let made = Database::open_read_only(&to, options()).unwrap();
    assert_eq!(content(&made, world.newest()), world.contents[world.newest() as usize]);
}

#[test]
fn a_recovered_directory_is_aimed_anew_by_what_differs() {
    let mut world = World::new(55);
    for _ in 0..60 {
        world.step();
    }
    world.checkpoint();
    world.ship();
    for _ in 0..5 {
        world.commit();
        world.ship();
    }
    let source = Source::open(&world.path("archive"), options()).unwrap();
    let recover =
        |target: u64| source.recover(&source.plan(Version(target)).unwrap(), &world.path("to"), &go_on);
    let first = recover(world.newest()).unwrap();
    let second = recover(world.newest() - 2).unwrap();
    assert!(first.kept == 0 && second.fetched * 4 < second.kept, "{first:?}, {second:?}");
    world.check(&crate::support::open_verified(&world.path("to")), world.newest() - 2);
    // Somebody reads it.
    let reader = Database::open_read_only(world.path("to"), options()).unwrap();
    let error = recover(world.newest()).unwrap_err();
    assert!(error.kind() == ErrorKind::Locked && error.to_string().contains("in use"), "{error}");
    drop(reader);
    let writer = Database::open(world.path("to"), options()).unwrap();
    assert_eq!(recover(world.newest()).unwrap_err().kind(), ErrorKind::Locked);
    drop(writer);
    std::os::unix::fs::symlink(world.path("to"), world.path("link")).unwrap();
    let plan = source.plan(Version(1)).unwrap();
    let error = source.recover(&plan, &world.path("link"), &go_on).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    recover(world.newest()).unwrap();
    world.check(&crate::support::open_verified(&world.path("to")), world.newest());
    // What no recovery made is left alone.
    let error = source.recover(&source.plan(Version(1)).unwrap(), &world.path("db"), &go_on).unwrap_err();
    assert!(error.to_string().contains("no recovery made it"), "{error}");
}
