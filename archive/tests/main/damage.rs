//! An archive that lost or changed something says what, and gives no wrong row.

use crate::support::{Content, World, content, go_on, options};
use asof_archive::open_database;
use asof_archive::recover::Source;
use asof_engine::{Error, Version};
use std::path::{Path, PathBuf};

fn world() -> World {
    let mut world = World::new(61);
    for _ in 0..4 {
        for _ in 0..12 {
            world.step();
        }
        world.commit();
        world.ship().unwrap();
    }
    world
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Everything that can be asked of the archive at some versions: by reading it, and by recovering it.
fn ask(world: &World, versions: &[u64]) -> Result<Vec<Content>, Error> {
    let source = Source::open(&world.path("archive"), options())?;
    let to = world.path("asked");
    let mut contents = Vec::new();
    for version in versions {
        let _ = std::fs::remove_dir_all(&to);
        let _ = std::fs::remove_dir_all(world.path("asked.recovering"));
        let recovered = source.recover(&source.plan(Version(*version))?, &to, &go_on)?;
        assert_eq!(recovered.version.0, *version);
        let database = asof_engine::Database::open_read_only(&to, options())?;
        contents.push(content(&database, *version));
    }
    Ok(contents)
}

#[test]
fn every_object_that_changed_or_is_gone_is_named() {
    let world = world();
    let newest = world.newest();
    let expected = vec![world.contents[newest as usize].clone()];
    assert_eq!(ask(&world, &[newest]).unwrap(), expected);
    let mut noticed = 0;
    for path in files(&world.path("archive")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        let at = whole.len() * 2 / 3;
        changed[at] ^= 0x10;
        let mut damages = vec![None, Some(changed), Some(whole[..whole.len() - 1].to_vec())];
        if whole.starts_with(b"asof-") {
            // The line with kind, format and digest.
            let format = whole.iter().position(|byte| *byte == b' ').unwrap() + 1;
            damages.extend([0, format, format + 2].map(|at| {
                let mut changed = whole.clone();
                changed[at] ^= 0x03;
                Some(changed)
            }));
        }
        for damage in damages {
            match damage {
                None => std::fs::remove_file(&path).unwrap(),
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            }
            match ask(&world, &[newest]) {
                // It has to do with other versions alone.
                Ok(found) => assert!(found == expected, "{name}"),
                Err(error) => {
                    noticed += 1;
                    let text = error.to_string();
                    // The last shipment and the identity are missed by what is said instead.
                    assert!(text.contains(&name) || text.contains("archive"), "{name}: {text}");
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
    assert!(noticed > 30, "only {noticed} times");
    assert_eq!(ask(&world, &[newest]).unwrap(), expected);
}

fn shipment(world: &World, number: u64) -> PathBuf {
    world.path(&format!("archive/shipments/{number:016x}.shipment"))
}

fn refused(world: &World, what: &[&str]) {
    let error = Source::open(&world.path("archive"), options()).unwrap_err().to_string();
    assert!(what.iter().all(|what| error.contains(what)), "{what:?}: {error}");
    let error = open_database(&world.path("archive"), options()).unwrap_err().to_string();
    assert!(what.iter().all(|what| error.contains(what)), "{what:?}: {error}");
}

#[test]
fn a_gap_a_duplicate_and_a_foreign_shipment_are_refused_by_name() {
    let world = world();
    let other = self::world();
    let second = std::fs::read(shipment(&world, 2)).unwrap();
    std::fs::remove_file(shipment(&world, 2)).unwrap();
    refused(&world, &["0000000000000002.shipment is missing", "0000000000000003.shipment"]);
    std::fs::copy(shipment(&world, 3), shipment(&world, 2)).unwrap();
    refused(&world, &["0000000000000002.shipment", "duplicate of shipment 3"]);
    std::fs::copy(shipment(&other, 2), shipment(&world, 2)).unwrap();
    refused(&world, &["0000000000000002.shipment", "foreign"]);
    std::fs::write(shipment(&world, 2), &second).unwrap();
    std::fs::copy(shipment(&world, 4), shipment(&world, 5)).unwrap();
    refused(&world, &["0000000000000005.shipment", "duplicate of shipment 4"]);
    std::fs::remove_file(shipment(&world, 5)).unwrap();
    world.check(&open_database(&world.path("archive"), options()).unwrap(), world.newest());
}

#[test]
fn a_damaged_file_of_the_database_is_not_shipped() {
    let mut world = World::new(63);
    for _ in 0..20 {
        world.commit();
    }
    world.checkpoint();
    let data = files(&world.path("db/data")).pop().unwrap();
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    let error = world.archiver().ship(&go_on).unwrap_err().to_string();
    let name = data.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name) && error.contains("nothing was shipped"), "{error}");
    assert!(!shipment(&world, 1).exists());
    bytes[100] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    world.ship().unwrap();
    world.check(&open_database(&world.path("archive"), options()).unwrap(), world.newest());
}
