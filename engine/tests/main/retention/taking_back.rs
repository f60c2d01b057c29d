//! What brings back, and what asks of all versions, needs versions that are gone: it is refused, or tells of the rest.

use super::*;
use asof_engine::restore::Undone;
use asof_engine::{Blamed, PastQuestion};

/// A table `a` of rows 1 and 2, of which version 2 changed the first and version 3 the second.
fn two_rows(disk: &SimDisk, clock: &Arc<HandClock>) -> Database {
    let database = open(disk, clock);
    commit(&database, |txn| {
        txn.create_table("a", customers(), &["id".to_string()]).unwrap();
        txn.insert("a", &rows(&[(1, Some("one")), (2, Some("two"))])).unwrap();
    });
    for id in [1, 2] {
        clock.advance(HOUR);
        commit(&database, |txn| txn.upsert("a", &rows(&[(id, Some("new"))])).unwrap());
    }
    database
}

fn of_table(table: &str, policy: &str) -> RetentionRequest {
    RetentionRequest { table: Some(table.to_string()), ..request(policy) }
}

#[test]
fn an_undo_needs_the_versions_before_and_after_the_commit() {
    let (disk, clock) = (SimDisk::new(11), HandClock::new());
    let database = two_rows(&disk, &clock);
    retain(&database, &request("last 1"));
    assert_eq!(database.gone("a").unwrap(), [(Version(1), Version(3))]);
    for version in [2, 3] {
        let error = database.begin().unwrap().undo(Version(version), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("of table 'a' is gone"), "{error}");
        assert_eq!(error.nearest(), ["3"]);
    }
    // A drop is taken back where the last version before it can be read.
    let dropped = commit(&database, |txn| txn.drop_table("a").unwrap());
    assert!(matches!(database.begin().unwrap().undo(dropped, 0).unwrap(), Undone::Changed(_)));
}

#[test]
fn everything_is_restored_to_versions_of_which_nothing_is_gone() {
    let (disk, clock) = (SimDisk::new(12), HandClock::new());
    let database = two_rows(&disk, &clock);
    let made = commit(&database, |txn| txn.create_table("b", customers(), &[]).unwrap());
    commit(&database, |txn| txn.upsert("a", &rows(&[(1, Some("newer"))])).unwrap());
    let dropped = commit(&database, |txn| txn.drop_table("a").unwrap());
    retain(&database, &of_table("a", "last 1"));
    let restore = |version: Version, tables: &[&str]| {
        let tables: Vec<String> = tables.iter().map(|name| name.to_string()).collect();
        let mut txn = database.begin().unwrap();
        txn.restore(version, &tables, 0).map(|_| txn.commit(CommitOptions::default()).unwrap().version)
    };
    for tables in [&[][..], &["a"]] {
        let error = restore(made, tables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("is gone"), "{error}");
    }
    assert_eq!(restore(made, &["b"]).unwrap(), dropped, "as it was");
    let back = restore(dropped.previous().unwrap(), &[]).unwrap();
    assert_eq!(csv(&database, back, "a"), "id,name\n1,newer\n2,new\n");
}

/// The lines of a table's rows by id, where a version has it and it can be read.
fn lines(database: &Database, version: Version, name: &str) -> Option<BTreeMap<i64, String>> {
    let snapshot = database.snapshot(version).unwrap();
    snapshot.schema(name).ok()?;
    let text = csv(database, version, name);
    let line = |line: &str| (line.split_once(',').unwrap().0.parse().unwrap(), line.to_string());
    Some(text.lines().skip(1).map(line).collect())
}

/// Checks what is told of rows, by version and over all versions, against what the versions showed.
pub(super) fn check_questions(
    database: &Database,
    before: &Told,
    kept: &Places,
    gone: &Places,
    chance: &mut Chance,
) {
    let newest = database.refresh().unwrap();
    let snapshot = database.snapshot(newest).unwrap();
    for name in ["a", "b"] {
        let mut shown: BTreeMap<u64, usize> = BTreeMap::new();
        let mut told_gone = BTreeSet::new();
        for table in snapshot.past_tables(Some(name)) {
            for range in table.gone() {
                told_gone.extend(range.first.0..=range.last.0);
            }
            let ordered = chance.below(2) == 0;
            for range in table.ranges() {
                let columns = table.columns().into_iter().map(|column| column.column).collect();
                let question = PastQuestion { range, columns, filter: None, ordered };
                for found in snapshot.past_rows(&table, question).unwrap() {
                    for range in found.unwrap().ranges {
                        let versions = range.first.0..=range.last.0;
                        assert!(versions.clone().any(|version| kept.contains(&(version, name.to_string()))));
                        versions.for_each(|version| *shown.entry(version).or_default() += 1);
                    }
                }
            }
        }
        let of = |places: &Places| -> BTreeSet<u64> {
            places.iter().filter(|(_, table)| table == name).map(|(version, _)| *version).collect()
        };
        assert_eq!(told_gone, of(gone), "{name}");
        for version in of(kept) {
            let expected = before[&(version, name.to_string())].lines().count() - 1;
            assert_eq!(shown.get(&version).copied().unwrap_or(0), expected, "{name} at {version}");
        }
    }
    let some: Vec<&(u64, String)> = kept.iter().chain(gone).filter(|_| chance.below(12) == 0).collect();
    for (version, name) in some {
        let (at, id) = (Version(*version), chance.below(25) as i64);
        let snapshot = database.snapshot(at).unwrap();
        let blamed = database.blame(name, &keys(&[id]), at);
        if gone.contains(&(*version, name.clone())) {
            assert_eq!(blamed.unwrap_err().kind(), ErrorKind::NotFound);
            assert!(snapshot.checksum(name).is_err() && snapshot.checksum_all().is_err());
            continue;
        }
        assert!(snapshot.checksum(name).is_ok());
        assert_eq!(snapshot.checksum_all().is_ok(), snapshot.gone_tables().is_empty());
        let row = lines(database, at, name).unwrap().remove(&id);
        match blamed.unwrap() {
            Blamed::Row(blame) => {
                assert!(row.is_some(), "{name} at {version}, row {id}");
                assert!(blame.columns.iter().all(|column| column.version <= at));
            }
            Blamed::Gone(end) => assert!(row.is_none() && end <= at),
            Blamed::Never => assert_eq!(row, None),
        }
    }
}

/// What an undo of a commit makes of a table that was there before and after it, and still is: its lines; `None` where
/// others changed the same since.
fn undone(
    database: &Database,
    version: Version,
    newest: Version,
    name: &str,
) -> Option<BTreeMap<i64, String>> {
    let at = |version| lines(database, version, name).unwrap();
    let (was, left, mut now) = (at(version.previous().unwrap()), at(version), at(newest));
    let ids: BTreeSet<i64> = was.keys().chain(left.keys()).copied().collect();
    for id in ids.into_iter().filter(|id| was.get(id) != left.get(id)) {
        if now.get(&id) != left.get(&id) {
            return None;
        }
        match was.get(&id) {
            Some(line) => drop(now.insert(id, line.clone())),
            None => drop(now.remove(&id)),
        }
    }
    Some(now)
}

/// Undoes and restores at random: what comes of it is right, or it is refused.
pub(super) fn check_commits(database: &Database, chance: &mut Chance, what: &str) {
    let before = told(database);
    let gone_of = |name: &str| database.gone(name).unwrap();
    let gone: BTreeMap<&str, _> = ["a", "b"].into_iter().map(|name| (name, gone_of(name))).collect();
    let lost =
        |version: Version, name: &str| gone[name].iter().any(|(from, to)| *from <= version && version < *to);
    for _ in 0..24 {
        let newest = database.refresh().unwrap();
        let version = Version(1 + chance.below(newest.0 as usize) as u64);
        let mut txn = database.begin().unwrap();
        if chance.below(3) == 0 {
            let what = format!("{what}: restore to {version}");
            let lost_then = ["a", "b"].into_iter().any(|name| lost(version, name));
            match txn.restore(version, &[], 0) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error}");
                    assert!(error.to_string().contains("is gone"), "{what}: {error}");
                }
                Ok(_) => {
                    assert!(!lost_then, "{what}");
                    txn.commit(CommitOptions::default()).unwrap();
                    let latest = database.latest().unwrap();
                    for name in ["a", "b"] {
                        let (now, then) = (lines(database, latest, name), lines(database, version, name));
                        assert_eq!(now, then, "{what}");
                        let told =
                            before.get(&(version.0, name.to_string())).map(|text| text.lines().count() - 1);
                        assert!(told.is_none_or(|told| told == now.map_or(0, |now| now.len())), "{what}");
                    }
                }
            }
            continue;
        }
        let what = format!("{what}: undo of {version} at {newest}");
        let previous = version.previous().unwrap();
        let changed: Vec<String> = database.commit_info(version).unwrap().tables.into_keys().collect();
        let id =
            |version: Version, name: &str| Some(database.snapshot(version).unwrap().table(name).ok()?.id);
        // Where the table is there before, after and now, it is known what is to come of it.
        let known = match &changed[..] {
            [name] if !lost(version, name) && !lost(previous, name) => {
                let ids = [previous, version, newest].map(|version| id(version, name));
                (ids[0].is_some() && ids[0] == ids[1] && ids[1] == ids[2]).then_some(name)
            }
            _ => None,
        };
        let expected = known.map(|name| undone(database, version, newest, name));
        let lost_any = changed.iter().any(|name| {
            let is_there = |version: Version| lost(version, name) || id(version, name).is_some();
            let needed = is_there(previous) && is_there(version);
            needed && (lost(previous, name) || lost(version, name))
        });
        match (txn.undo(version, 0), expected) {
            (Ok(Undone::Changed(_)), expected) => {
                assert!(!lost_any, "{what}");
                txn.commit(CommitOptions::default()).unwrap();
                if let (Some(name), Some(expected)) = (known, expected) {
                    assert_eq!(lines(database, database.latest().unwrap(), name), expected, "{what}");
                }
            }
            (Ok(Undone::Conflicts(conflicts)), expected) => {
                assert!(expected.is_none_or(|expected| expected.is_none()), "{what}: {conflicts:?}");
            }
            (Err(error), expected) => {
                assert!(expected.is_none() && error.to_string().contains("is gone"), "{what}: {error}");
            }
        }
    }
}
