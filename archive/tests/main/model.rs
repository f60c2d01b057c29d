//! The oracle: random histories, shipped at random moments, recovered to random versions and times, and read directly.

use crate::support::{World, go_on, open_verified, options};
use asof_archive::open_database;
use asof_archive::recover::Source;
use asof_archive::rehearse::rehearse;
use asof_engine::{AsOf, CommitTime, Database, ErrorKind, Version};

fn world(seed: u64, steps: u64, ships: u64) -> World {
    world_that(seed, steps, ships, false)
}

fn world_that(seed: u64, steps: u64, ships: u64, retains: bool) -> World {
    let mut world = World::new(seed);
    world.retains = retains;
    let mut archiver = None;
    for _ in 0..steps {
        world.step();
        if world.chance.below(ships) == 0 {
            // One that follows, or one that begins anew each time.
            match world.chance.below(3) {
                0 => archiver = None,
                _ => drop(archiver.get_or_insert_with(|| world.archiver()).ship(&go_on).unwrap()),
            }
        }
    }
    world.ship();
    assert_eq!(world.ship(), None, "nothing is new");
    world
}

#[test]
fn an_archive_reads_as_the_database_does() {
    for seed in 1..=4 {
        let world = world(seed, 60, 2 + seed * 3);
        let archived = open_database(&world.path("archive"), options()).unwrap();
        world.check(&archived, world.newest());
        let report = archived.verify().unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert_eq!(archived.tags().unwrap(), world.reader().tags().unwrap());
    }
}

#[test]
fn an_archive_that_is_open_shows_what_is_shipped_later() {
    let mut world = World::new(7);
    world.ship();
    let archived = open_database(&world.path("archive"), options()).unwrap();
    world.check(&archived, world.newest());
    for _ in 0..10 {
        world.step();
    }
    world.commit();
    world.ship();
    crate::support::wait_until("the archive shows what is new", || {
        archived.refresh().unwrap().0 == world.newest()
    });
    world.check(&archived, world.newest());
}

#[test]
fn every_version_and_time_is_recovered_as_it_was() {
    for seed in 11..=14 {
        let mut world = world(seed, 50, 2 + (seed % 4) * 4);
        let source = Source::open(&world.path("archive"), options()).unwrap();
        let mut replayed = 0;
        for _ in 0..12 {
            let target = world.chance.below(world.newest() + 1);
            let plan = source.plan(Version(target)).unwrap();
            replayed += u64::from(!plan.base.cuts);
            // Into a directory of its own, or into the one that was recovered before.
            let again = world.chance.below(2) == 0;
            let to = world.path(&if again { "again".to_string() } else { format!("at{target}") });
            let recovered = source.recover(&plan, &to, &go_on).unwrap();
            assert_eq!((recovered.version.0, recovered.time), (target, world.times[target as usize].0));
            world.check(&open_verified(&to), target);
            if !again {
                std::fs::remove_dir_all(to).unwrap();
            }
        }
        assert!(replayed > 0);
    }
}

#[test]
fn what_is_listed_is_recovered_and_what_retention_let_go_is_refused_with_the_nearest() {
    let (mut refused, mut cut) = (0, 0);
    for seed in 31..=36 {
        let mut world = world_that(seed, 60, 6 + (seed % 3) * 10, true);
        world.check(&open_database(&world.path("archive"), options()).unwrap(), world.newest());
        let source = Source::open(&world.path("archive"), options()).unwrap();
        let ranges = source.ranges().unwrap();
        assert!(ranges.windows(2).all(|pair| pair[0].last < pair[1].first));
        let listed = |version: u64| ranges.iter().any(|range| (range.first..=range.last).contains(&version));
        assert!(listed(world.newest()) && !listed(world.newest() + 1));
        for target in 0..=world.newest() {
            let plan = match source.plan(Version(target)) {
                Ok(plan) => plan,
                Err(error) => {
                    refused += 1;
                    assert!(!listed(target) && error.kind() == ErrorKind::NotFound, "{target}: {error}");
                    let nearest = error.nearest().iter().map(|near| near.parse().unwrap());
                    assert!(nearest.clone().all(listed) && nearest.count() > 0, "{error}");
                    continue;
                }
            };
            assert!(listed(target));
            cut += u64::from(plan.base.cuts);
            if (target + seed) % 3 > 0 {
                continue;
            }
            source.recover(&plan, &world.path("again"), &go_on).unwrap();
            world.check(&open_verified(&world.path("again")), target);
            if world.chance.below(4) == 0 {
                let earlier = [Version(world.chance.below(target + 1)), Version(target / 2)];
                rehearse(&source, Version(target), &earlier, &world.path("rehearsed"), &go_on).unwrap();
            }
        }
    }
    assert!(refused > 10 && cut > 10, "{refused} were refused, {cut} were cut");
}

#[test]
fn a_time_names_the_last_version_at_or_before_it() {
    let world = world(21, 40, 5);
    let source = Source::open(&world.path("archive"), options()).unwrap();
    let at = |time: i64| source.resolve(&AsOf::Time(CommitTime(time))).map(|version| version.0);
    for version in 1..=world.newest() {
        let time = world.times[version as usize].0;
        assert_eq!(at(time).unwrap(), version);
        assert_eq!(at(time - 1).unwrap(), version - 1);
    }
    // What came later is not known, nor what was under way when the archiver looked.
    let error = at(world.times[world.newest() as usize].0 + 1).unwrap_err();
    assert_eq!(error.nearest(), [world.newest().to_string()]);
    let error = at(source.index().taken + 1).unwrap_err();
    assert!(
        error.to_string().contains(&format!("the newest version there is {}", world.newest())),
        "{error}"
    );
    assert_eq!(error.nearest(), [world.newest().to_string()]);
    assert!(source.resolve(&AsOf::Version(Version(world.newest() + 1))).is_err());
}

#[test]
fn a_recovered_database_is_written_and_archived_on_its_own() {
    let mut world = world(31, 30, 4);
    let source = Source::open(&world.path("archive"), options()).unwrap();
    let target = world.newest() - 3;
    let to = world.path("recovered");
    source.recover(&source.plan(Version(target)).unwrap(), &to, &go_on).unwrap();
    let original = world.reader();
    {
        let recovered = Database::open_read_only(&to, options()).unwrap();
        assert_eq!(recovered.id(), original.id());
        assert_ne!(recovered.lineage_id(), original.lineage_id());
        let error = asof_archive::Archiver::open(&world.path("archive"), recovered).unwrap_err();
        assert!(error.to_string().contains("another lineage"), "{error}");
    }
    // It goes on from its target, whatever the original did.
    world.close();
    std::fs::rename(world.path("db"), world.path("original")).unwrap();
    std::fs::rename(&to, world.path("db")).unwrap();
    world.contents.truncate(target as usize + 1);
    world.times.truncate(target as usize + 1);
    for loads in [false, true] {
        world.open(loads);
        for _ in 0..20 {
            world.step();
        }
    }
    world.check(&open_verified(&world.path("db")), world.newest());
    // Another recovery into it would lose that.
    let written = world.path("db");
    world.close();
    let error = source.recover(&source.plan(Version(1)).unwrap(), &written, &go_on).unwrap_err();
    assert!(error.to_string().contains("was written since"), "{error}");
    world.check(&open_verified(&written), world.newest());
}
