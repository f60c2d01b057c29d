//! Retention lets go what no policy keeps, and nothing else: every kept version answers as before, every other one is
//! refused with the nearest that can be read; under open snapshots, tags, crashes, and while others write.

mod taking_back;

use crate::support::{Chance, DB, csv, customers, keys, rows};
use asof_engine::clock::Clock;
use asof_engine::retention::plan::Fate;
use asof_engine::retention::{Policy, RetentionPlan, RetentionRequest, Window};
use asof_engine::{
    CommitOptions, CommitTime, Database, DiffKind, ErrorKind, Options, PastQuestion, ScanOptions, Tag,
    Transaction, Version,
};
use asof_wal::sim::{Cut, Fault, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const HOUR: i64 = 3_600_000_000;
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;

/// A clock that goes when it is told to.
#[derive(Debug)]
struct HandClock {
    now: AtomicI64,
    random: AtomicU64,
}

impl HandClock {
    fn new() -> Arc<HandClock> {
        Arc::new(HandClock { now: AtomicI64::new(START), random: AtomicU64::new(1) })
    }

    fn advance(&self, micros: i64) {
        self.now.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> CommitTime {
        CommitTime(self.now.fetch_add(1, Ordering::Relaxed))
    }

    fn random(&self) -> [u8; 16] {
        let count = self.random.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&count.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        bytes
    }
}

fn open(disk: &SimDisk, clock: &Arc<HandClock>) -> Database {
    let options =
        Options { clock: clock.clone(), upkeep: asof_engine::Upkeep::Off, ..crate::support::options(disk) };
    Database::open_or_create(Path::new(DB), options).unwrap()
}

fn commit(database: &Database, change: impl FnOnce(&mut Transaction)) -> Version {
    let mut txn = database.begin().unwrap();
    change(&mut txn);
    txn.commit(CommitOptions::default()).unwrap().version
}

fn tag(database: &Database, clock: &HandClock, name: &str, version: Version, left: Option<i64>) {
    try_tag(database, clock, name, version, left).unwrap();
}

fn try_tag(
    database: &Database,
    clock: &HandClock,
    name: &str,
    version: Version,
    left: Option<i64>,
) -> asof_engine::Result<()> {
    let now = clock.now();
    let expires = left.map(|left| CommitTime(now.0 + left));
    let tag = Tag { name: name.to_string(), version, message: None, created: now, expires };
    database.tag(tag, true)
}

/// Tags a version by chance, of which something is left.
fn tag_some(database: &Database, clock: &HandClock, chance: &mut Chance, name: &str, left: Option<i64>) {
    loop {
        let version = Version(1 + chance.below(database.latest().unwrap().0 as usize) as u64);
        let snapshot = database.snapshot(version).unwrap();
        let nothing_left = snapshot.table_names().unwrap().is_empty() && !snapshot.gone_tables().is_empty();
        match try_tag(database, clock, name, version, left) {
            Ok(()) => return assert!(!nothing_left, "version {version} is gone"),
            Err(error) => {
                assert!(nothing_left && error.kind() == ErrorKind::NotFound, "version {version}: {error}");
                assert!(error.nearest().iter().all(|near| *near != version.to_string()));
            }
        }
    }
}

/// A clock that does something else when it is asked for the time so many times.
struct HookedClock {
    clock: Arc<HandClock>,
    calls_left: AtomicU64,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for HookedClock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.calls_left)
    }
}

impl Clock for HookedClock {
    fn now(&self) -> CommitTime {
        if self.calls_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let hook = self.hook.lock().unwrap().take();
            hook.expect("it is called once")();
        }
        self.clock.now()
    }

    fn random(&self) -> [u8; 16] {
        self.clock.random()
    }
}

fn request(policy: &str) -> RetentionRequest {
    RetentionRequest { policy: Some(Policy::parse(policy).unwrap()), ..RetentionRequest::default() }
}

fn retain(database: &Database, request: &RetentionRequest) -> asof_engine::retention::RetentionReport {
    database.retain(request, &mut |_| true).unwrap()
}

/// A history by chance of two tables, of which one is dropped and made anew at times.
fn grow(database: &Database, clock: &HandClock, chance: &mut Chance, commits: usize) {
    for number in 0..commits {
        clock.advance(HOUR / 4 + chance.below(3) as i64 * HOUR / 3);
        let newest = database.latest().unwrap();
        let name = ["a", "b"][chance.below(2)];
        let there = database.snapshot(newest).unwrap().schema(name).is_ok();
        let text = format!("value {number}");
        let ids: BTreeSet<i64> = (0..1 + chance.below(9)).map(|_| chance.below(25) as i64).collect();
        let some: Vec<(i64, Option<&str>)> = ids.iter().map(|id| (*id, Some(&*text))).collect();
        match (there, chance.below(20)) {
            (false, _) => {
                commit(database, |txn| {
                    txn.create_table(name, customers(), &["id".to_string()]).unwrap();
                    txn.insert(name, &rows(&some)).unwrap();
                });
            }
            (true, 0) => drop(commit(database, |txn| txn.drop_table(name).unwrap())),
            (true, 1) => drop(commit(database, |txn| txn.truncate(name).unwrap())),
            (true, 2..=5) => {
                let text = csv(database, newest, name);
                let ids = text.lines().skip(1).filter_map(|line| line.split(',').next()?.parse().ok());
                let ids: Vec<i64> = ids.filter(|_| chance.below(3) == 0).collect();
                if !ids.is_empty() {
                    commit(database, |txn| txn.delete(name, &keys(&ids)).unwrap());
                }
            }
            _ => drop(commit(database, |txn| txn.upsert(name, &rows(&some)).unwrap())),
        }
        if chance.below(7) == 0 {
            database.checkpoint().unwrap();
        }
        if chance.below(9) == 0 {
            database.compact(None, &crate::compaction::tiny(true)).unwrap();
        }
    }
}

/// Versions of tables.
type Places = BTreeSet<(u64, String)>;
/// What every table shows at every version.
type Told = BTreeMap<(u64, String), String>;

fn told(database: &Database) -> Told {
    let mut told = Told::new();
    for version in 1..=database.refresh().unwrap().0 {
        let snapshot = database.snapshot(Version(version)).unwrap();
        for name in snapshot.table_names().unwrap() {
            let text = csv(database, Version(version), &name);
            let size = snapshot.view_size(&name, asof_engine::view::Format::Csv).unwrap();
            assert_eq!(size, text.len() as u64);
            told.insert((version, name), text);
        }
    }
    told
}

/// The versions of each table that a plan keeps, and those that go or are gone.
fn planned(plan: &RetentionPlan) -> (Places, Places) {
    let (mut kept, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for table in &plan.tables {
        for stretch in &table.stretches {
            let versions = stretch.from.0..=stretch.last.0;
            let of = |version: u64| (version, table.table.clone());
            match stretch.fate {
                Fate::Kept => {
                    assert!(!stretch.reasons.is_empty());
                    kept.extend(versions.map(of));
                }
                Fate::Goes | Fate::Gone => gone.extend(versions.map(of)),
            }
        }
    }
    (kept, gone)
}

/// Checks that a database answers as before about what is kept, and refuses the rest with the nearest.
fn check(database: &Database, before: &Told, kept: &Places, gone: &Places, what: &str) {
    for (version, name) in kept {
        let at = (*version, name.clone());
        let snapshot = database.snapshot(Version(*version)).unwrap();
        assert!(snapshot.table_names().unwrap().contains(name), "{what}: {at:?}");
        assert_eq!(csv(database, Version(*version), name), before[&at], "{what}: {at:?}");
    }
    for (version, name) in gone {
        let snapshot = database.snapshot(Version(*version)).unwrap();
        assert!(!snapshot.table_names().unwrap().contains(name), "{what}: {name} at {version}");
        assert!(snapshot.gone_tables().contains(name), "{what}: {name} at {version}");
        let error = snapshot.scan(name, ScanOptions::default()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        // Of the same incarnation: the table was there without a break.
        let at = |version: u64| (version, name.clone());
        let there = |version: &u64| kept.contains(&at(*version)) || gone.contains(&at(*version));
        let is_kept = |version: &u64| kept.contains(&at(*version));
        let down = (1..*version).rev().take_while(there).find(is_kept);
        let up = (*version + 1..).take_while(there).find(is_kept);
        let mut nearest: Vec<u64> = down.into_iter().chain(up).collect();
        nearest.sort_by_key(|near| near.abs_diff(*version));
        let nearest: Vec<String> = nearest.iter().map(u64::to_string).collect();
        assert_eq!(error.nearest(), nearest, "{what}: {error}");
        assert!(error.to_string().contains("is gone"), "{error}");
        assert!(snapshot.view(name, asof_engine::view::Format::Csv).is_err());
        assert!(snapshot.table(name).is_err());
    }
}

/// What was told before and is not among these.
fn others(before: &Told, kept: &Places) -> Places {
    before.keys().filter(|at| !kept.contains(*at)).cloned().collect()
}

/// Checks diffs, feeds, lives and histories against what the versions themselves show.
fn check_changes(database: &Database, before: &Told, kept: &Places, gone: &Places, chance: &mut Chance) {
    let newest = database.refresh().unwrap();
    for _ in 0..40 {
        let name = ["a", "b"][chance.below(2)].to_string();
        let from = chance.below(newest.0 as usize) as u64;
        let to = from + 1 + chance.below((newest.0 - from) as usize) as u64;
        let is_kept = |version: u64| kept.contains(&(version, name.clone()));
        let lost = |version: u64| gone.contains(&(version, name.clone()));
        let there = |version: u64| is_kept(version) || lost(version);
        if !(from..=to).any(there) {
            continue;
        }
        let net = database.diff(Version(from), Version(to), &name, DiffKind::Net);
        match lost(from) || lost(to) {
            true => assert_eq!(net.err().unwrap().kind(), ErrorKind::NotFound),
            false => {
                let lines = |version: u64| -> BTreeSet<String> {
                    let text = before.get(&(version, name.clone()));
                    text.into_iter().flat_map(|text| text.lines().skip(1)).map(str::to_string).collect()
                };
                let changed = lines(from).symmetric_difference(&lines(to)).count();
                let given: usize = net.unwrap().map(|batch| batch.unwrap().num_rows()).sum();
                assert_eq!(given, changed, "{name} from {from} to {to}");
            }
        }
        let feed = database.diff(Version(from), Version(to), &name, DiffKind::Feed);
        assert_eq!(feed.is_err(), (from..=to).any(lost), "{name} from {from} to {to}");
        let lives = database.snapshot(newest).unwrap().row_lives(&name, Version(from), Version(to));
        match (from..=to).any(is_kept) {
            false => assert_eq!(lives.err().unwrap().kind(), ErrorKind::NotFound),
            true => {
                let given: usize = lives.unwrap().map(|batch| batch.unwrap().num_rows()).sum();
                let seen: BTreeSet<(String, String)> = (from..=to)
                    .filter(|version| is_kept(*version))
                    .filter_map(|version| before.get(&(version, name.clone())))
                    .flat_map(|text| text.lines().skip(1))
                    .filter_map(|line| line.split_once(','))
                    .map(|(id, value)| (id.to_string(), value.to_string()))
                    .collect();
                // A row that was written anew with the same value, or whose table was made anew, is another.
                assert!(given >= seen.len(), "{name} from {from} to {to}: {given} of {}", seen.len());
            }
        }
    }
}

#[test]
fn every_kept_version_answers_as_before_and_every_other_is_refused_with_the_nearest() {
    let policies = [
        "last 3",
        "tagged",
        "within 6h",
        "hourly forever",
        "last 2, hourly 12h, daily forever",
        "weekly forever, within 2h",
        "everything",
    ];
    for seed in 0..8 {
        let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ (seed + 1));
        let disk = SimDisk::new(seed);
        let clock = HandClock::new();
        let database = open(&disk, &clock);
        grow(&database, &clock, &mut chance, 60);
        for round in 0..3 {
            let newest = database.latest().unwrap().0;
            tag_some(&database, &clock, &mut chance, &format!("kept-{round}"), None);
            tag_some(&database, &clock, &mut chance, &format!("over-{round}"), Some(1));
            tag_some(&database, &clock, &mut chance, &format!("hold-{round}"), Some(1_000 * HOUR));
            let before = told(&database);
            let policy = policies[chance.below(policies.len())];
            let what = format!("seed {seed}, round {round}, {policy}");
            let request = request(policy);
            // What is not settled stays; the run settles it first.
            database.checkpoint().unwrap();
            // Snapshots of any version go on answering, whatever goes.
            let held: Vec<_> = (0..4).map(|_| Version(1 + chance.below(newest as usize) as u64)).collect();
            let held: Vec<_> = held.into_iter().map(|version| database.snapshot(version).unwrap()).collect();
            let texts = |snapshots: &[asof_engine::Snapshot]| -> Vec<String> {
                let each = |snapshot: &asof_engine::Snapshot| {
                    let names = snapshot.table_names().unwrap();
                    let scans = names.iter().map(|name| {
                        let batches = snapshot.scan(name, ScanOptions::default()).unwrap();
                        let batches: Vec<_> = batches.map(|batch| batch.unwrap()).collect();
                        format!("{name}: {batches:?}")
                    });
                    scans.collect::<String>()
                };
                snapshots.iter().map(each).collect()
            };
            let of_held = texts(&held);
            let plan = database.retention_plan(&request).unwrap();
            let (kept, gone) = planned(&plan);
            let told_of = before.keys().all(|at| kept.contains(at) != gone.contains(at));
            assert!(told_of, "{what}: each version is kept or goes");
            assert!(plan.tables.iter().all(|table| table.freed_bytes <= table.bytes), "{what}: {plan:?}");
            assert_eq!(told(&database), before, "{what}: a plan changes nothing");
            retain(&database, &request);
            assert_eq!(texts(&held), of_held, "{what}: snapshots");
            drop(held);
            check(&database, &before, &kept, &gone, &what);
            check_changes(&database, &before, &kept, &gone, &mut chance);
            taking_back::check_questions(&database, &before, &kept, &gone, &mut chance);
            let visible: BTreeMap<_, _> = before
                .iter()
                .filter(|(at, _)| kept.contains(*at))
                .map(|(at, text)| (at.clone(), text.clone()))
                .collect();
            let again = open(&disk.process(), &clock);
            check(&again, &before, &kept, &gone, &what);
            drop(again);
            // Nothing is left that goes by the same rules, nor any file that can be written anew.
            let plan = database.retention_plan(&request).unwrap();
            assert_eq!(planned(&plan).0, kept, "{what}");
            assert_eq!((plan.freed_bytes(), retain(&database, &request).states), (0, 0), "{what}: {plan:?}");
            assert_eq!(database.verify().unwrap().findings, vec![], "{what}");
            // It goes on: compaction and later commits change no answer.
            database.compact(None, &crate::compaction::tiny(true)).unwrap();
            grow(&database, &clock, &mut chance, 15);
            let now = told(&database);
            for (at, text) in &visible {
                assert_eq!(now.get(at), Some(text), "{what}, gone on: {at:?}");
            }
            assert_eq!(now.keys().filter(|(version, _)| *version <= newest).count(), visible.len(), "{what}");
        }
        taking_back::check_commits(&database, &mut chance, &format!("seed {seed}"));
        assert_eq!(database.verify().unwrap().findings, vec![], "seed {seed}");
    }
}

#[test]
fn the_model_of_a_policy_agrees_with_what_goes() {
    let disk = SimDisk::new(1);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..50 {
        clock.advance(HOUR / 3);
        commit(&database, |txn| txn.upsert("a", &rows(&[(number % 7, Some(&number.to_string()))])).unwrap());
    }
    tag(&database, &clock, "q1", Version(8), None);
    database.checkpoint().unwrap();
    let before = told(&database);
    retain(&database, &request("last 4, hourly 8h"));
    // Version n was made at 20 (n - 1) minutes; it is 16:40 now. The hours from 8:40 on have their last version.
    let mut kept: BTreeSet<u64> = [8, 48, 49, 50, 51].into_iter().collect();
    kept.extend((8..16).map(|hour| hour * 3 + 3));
    let kept: Places = kept.into_iter().map(|version| (version, "a".to_string())).collect();
    check(&database, &before, &kept, &others(&before, &kept), "the model");
    let gone = database.gone("a").unwrap();
    assert_eq!(gone[..2], [(Version(1), Version(8)), (Version(9), Version(27))]);
    assert_eq!(database.next_listed(Version(1)).unwrap(), Version(8));
    // What is left of a row.
    let left = database.history("a", &keys(&[3])).unwrap();
    let seen = |version: &asof_engine::RowVersion| {
        let end = version.end.unwrap_or(Version::FOREVER);
        kept_versions(&gone, version.begin, end)
    };
    assert!(left.iter().all(seen) && left.len() > 1, "{left:?}");
}

/// Whether a version in [begin, end) is not gone.
fn kept_versions(gone: &[(Version, Version)], begin: Version, end: Version) -> bool {
    !gone.iter().any(|(from, to)| *from <= begin && end <= *to)
}

#[test]
fn stored_policies_hold_for_the_nearest_and_nothing_goes_without_one() {
    let disk = SimDisk::new(2);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    for name in ["a", "gold.b", "gold.c"] {
        commit(&database, |txn| txn.create_table(name, customers(), &["id".to_string()]).unwrap());
    }
    for number in 0..12 {
        clock.advance(HOUR);
        commit(&database, |txn| {
            for name in ["a", "gold.b", "gold.c"] {
                txn.upsert(name, &rows(&[(1, Some(&number.to_string()))])).unwrap();
            }
        });
    }
    let all = told(&database);
    let report = retain(&database, &RetentionRequest::default());
    assert_eq!((report.states, report.rows), (0, 0));
    assert_eq!(told(&database), all, "nothing is dropped by default");
    database.set_setting("retention.database", Some("last 2")).unwrap();
    database.set_setting("retention.namespace.gold", Some("last 5")).unwrap();
    database.set_setting("retention.table.gold.c", Some("everything")).unwrap();
    assert_eq!(
        database.set_setting("retention.namespace.gold", Some("last 4")).unwrap().as_deref(),
        Some("last 5")
    );
    // They are kept by a checkpoint, and by the log until then.
    let other = open(&disk.process(), &clock);
    assert_eq!(other.settings().unwrap(), database.settings().unwrap());
    other.checkpoint().unwrap();
    assert_eq!(open(&disk.process(), &clock).settings().unwrap().len(), 3);
    let newest = database.refresh().unwrap().0;
    retain(&database, &RetentionRequest::default());
    let left = told(&database);
    let count = |name: &str| left.keys().filter(|(_, table)| table == name).count() as u64;
    assert_eq!([count("a"), count("gold.b"), count("gold.c")], [2, 4, newest - 2]);
    // One table alone, by what is given for once.
    let mut given = request("last 1");
    given.table = Some("gold.c".to_string());
    assert_eq!(retain(&database, &given).states, 12);
    assert_eq!(told(&database).keys().filter(|(_, table)| table == "gold.b").count(), 4);
    let unknown = RetentionRequest { table: Some("x".to_string()), ..request("last 1") };
    assert_eq!(database.retain(&unknown, &mut |_| true).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(database.set_setting("retention.database", None).unwrap().as_deref(), Some("last 2"));
    assert_eq!(database.set_setting("retention.database", None).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(database.settings().unwrap().len(), 2);
}

#[test]
fn tags_whose_protection_has_ended_keep_nothing() {
    let disk = SimDisk::new(3);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..9 {
        clock.advance(HOUR);
        let version =
            commit(&database, |txn| txn.upsert("a", &rows(&[(1, Some(&number.to_string()))])).unwrap());
        tag(&database, &clock, &format!("production_{number}"), version, None);
    }
    tag(&database, &clock, "audit", Version(2), None);
    database.set_setting("retention.database", Some("tagged")).unwrap();
    database.set_setting("retention.tag.production_*", Some("150m")).unwrap();
    retain(&database, &RetentionRequest::default());
    let left: Vec<u64> = told(&database).into_keys().map(|(version, _)| version).collect();
    assert_eq!(left, [2, 8, 9, 10]);
    let given = RetentionRequest {
        tag_patterns: vec![("audit".to_string(), Window::parse("1s").unwrap())],
        ..RetentionRequest::default()
    };
    clock.advance(HOUR);
    retain(&database, &given);
    let left: Vec<u64> = told(&database).into_keys().map(|(version, _)| version).collect();
    assert_eq!(left, [9, 10]);
}

#[test]
fn a_run_killed_at_every_operation_leaves_every_kept_version_and_can_be_done_again() {
    let disk = SimDisk::new(5);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    grow(&database, &clock, &mut Chance(99), 40);
    tag(&database, &clock, "kept", Version(9), None);
    database.checkpoint().unwrap();
    let before = told(&database);
    let request = request("last 2, daily forever");
    let (kept, gone) = planned(&database.retention_plan(&request).unwrap());
    assert!(kept.len() > 5 && gone.len() > 20, "{} and {}", kept.len(), gone.len());
    drop(database);
    for at in 0.. {
        let copy = SimDisk::from_image(&disk.image(), Cut::KeepAll);
        let process = copy.process();
        // A reader that has read before reads on.
        let reader = open(&copy.process(), &clock);
        assert_eq!(told(&reader), before);
        let database = open(&process, &clock);
        copy.plan(copy.operations() + at, Fault::Kill);
        let done = database.retain(&request, &mut |_| true);
        let finished = !process.is_dead();
        assert!(finished || done.is_err() || done.is_ok());
        drop(database);
        copy.heal();
        let now = told(&reader);
        assert!(
            now == before || now.keys().cloned().collect::<BTreeSet<_>>() == kept,
            "killed at {at}: a reader"
        );
        drop(reader);
        let after = match at % 3 {
            0 => copy,
            1 => SimDisk::from_image(&copy.image(), Cut::LoseAll),
            _ => SimDisk::from_image(&copy.image(), Cut::Random(at)),
        };
        let database = open(&after.process(), &clock);
        let now = told(&database);
        for (at_version, text) in &now {
            assert_eq!(before.get(at_version), Some(text), "killed at {at}");
        }
        let found: BTreeSet<_> = now.keys().cloned().collect();
        assert!(found == kept || now == before, "killed at {at}: all that goes goes at once");
        retain(&database, &request);
        check(&database, &before, &kept, &gone, &format!("killed at {at}, done again"));
        assert_eq!(database.retention_plan(&request).unwrap().freed_bytes(), 0, "killed at {at}");
        assert_eq!(database.verify().unwrap().findings, vec![]);
        if finished {
            assert!(at > 30, "a run has more than {at} operations");
            return;
        }
    }
}

#[test]
fn a_tag_made_while_a_run_decides_keeps_what_it_names() {
    let disk = SimDisk::new(6);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..20 {
        clock.advance(HOUR);
        commit(&database, |txn| txn.upsert("a", &rows(&[(number, Some("x"))])).unwrap());
    }
    database.checkpoint().unwrap();
    let before = told(&database);
    let tagging = open(&disk.process(), &clock);
    let tagged = std::thread::scope(|scope| {
        let tagger = scope.spawn(|| {
            let tagged = |version: &u64| {
                let (name, created) = (format!("t{version}"), clock.now());
                let tag = Tag { name, version: Version(*version), message: None, created, expires: None };
                match tagging.tag(tag, false) {
                    Err(error) if error.kind() == ErrorKind::NotFound => false,
                    made => made.map(|()| true).unwrap(),
                }
            };
            (2..20).step_by(3).filter(tagged).collect::<Vec<u64>>()
        });
        retain(&database, &request("tagged"));
        tagger.join().unwrap()
    });
    // Whatever was tagged is there, the rest is told to be gone, and who came too late to tag it was told so.
    let left = told(&database);
    assert!(left.iter().all(|(at, text)| before.get(at) == Some(text)));
    for version in tagged {
        assert!(left.keys().any(|(at, _)| *at == version), "version {version} was tagged, and is gone");
    }
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn bytes_stay_as_long_as_a_reader_holds_them_and_go_then() {
    let disk = SimDisk::new(7);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..40 {
        clock.advance(HOUR);
        let some: Vec<(i64, String)> = (0..50).map(|id| (id, format!("row {id} of {number}"))).collect();
        let some: Vec<(i64, Option<&str>)> = some.iter().map(|(id, text)| (*id, Some(&**text))).collect();
        commit(&database, |txn| txn.upsert("a", &rows(&some)).unwrap());
        if number % 8 == 7 {
            database.checkpoint().unwrap();
        }
    }
    let before = told(&database);
    let reader = open(&disk.process(), &clock);
    let snapshot = reader.snapshot(Version(5)).unwrap();
    let held = retain(&database, &request("last 2"));
    assert!(held.states > 30 && held.rows > 1_500, "{held:?}");
    let batches = snapshot.scan("a", ScanOptions::default()).unwrap();
    assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 50);
    drop((snapshot, reader));
    database.release_files().unwrap();
    let left = retain(&database, &request("last 2"));
    assert_eq!((left.states, left.files), (0, 0));
    assert!(left.bytes_after * 3 < held.bytes_before, "{held:?}, {left:?}");
    let kept: Places = before.keys().filter(|(version, _)| *version > 39).cloned().collect();
    check(&database, &before, &kept, &others(&before, &kept), "a reader has ended");
}

#[test]
fn what_a_tag_costs_is_what_goes_without_it() {
    let disk = SimDisk::new(8);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..60 {
        clock.advance(24 * HOUR);
        let some: Vec<(i64, String)> = (0..400).map(|id| (id, format!("row {id} of {number}"))).collect();
        let some: Vec<(i64, Option<&str>)> = some.iter().map(|(id, text)| (*id, Some(&**text))).collect();
        commit(&database, |txn| txn.upsert("a", &rows(&some)).unwrap());
    }
    for version in [10, 20, 61] {
        tag(&database, &clock, &format!("t{version}"), Version(version), None);
    }
    database.checkpoint().unwrap();
    let costs =
        || -> Vec<Option<u64>> { database.usage().unwrap().tags.into_iter().map(|tag| tag.bytes).collect() };
    assert_eq!(costs(), [None, None, None], "without a policy nothing goes with a tag");
    database.set_setting("retention.database", Some("last 5")).unwrap();
    retain(&database, &RetentionRequest::default());
    let priced = costs();
    assert_eq!(priced[2], Some(0), "the newest is kept anyway");
    let usage = database.usage().unwrap();
    assert_eq!(usage.tables[0].row_versions, 7 * 400);
    assert_eq!(usage.months.iter().map(|month| month.row_versions).sum::<u64>(), 7 * 400);
    assert_eq!(usage.months.len(), 3, "{:?}", usage.months);
    database.remove_tag("t10").unwrap();
    let plan = database.retention_plan(&RetentionRequest::default()).unwrap();
    let (told, freed) = (priced[0].unwrap(), plan.freed_bytes());
    assert!(told > 0 && told.abs_diff(freed) * 20 <= freed, "told {told}, {freed} go");
}

/// A table `a` of which the newest version has three rows, a table `d` that was dropped with three; all settled.
fn with_a_dropped_table(disk: &SimDisk, clock: &Arc<HandClock>) -> Database {
    let database = open(disk, clock);
    for name in ["a", "d"] {
        commit(&database, |txn| txn.create_table(name, customers(), &["id".to_string()]).unwrap());
        for id in 0..3 {
            clock.advance(HOUR);
            commit(&database, |txn| txn.upsert(name, &rows(&[(id, Some("x"))])).unwrap());
        }
        database.checkpoint().unwrap();
    }
    commit(&database, |txn| txn.drop_table("d").unwrap());
    database.checkpoint().unwrap();
    clock.advance(HOUR);
    database
}

/// Of that: the last version of the table that was dropped.
const LAST_OF_DROPPED: Version = Version(8);

fn undrop(database: &Database) -> asof_engine::Result<Version> {
    let mut txn = database.begin()?;
    txn.undrop("d", 0)?;
    Ok(txn.commit(CommitOptions::default())?.version)
}

fn assert_is_gone<T: std::fmt::Debug>(result: asof_engine::Result<T>, what: &str) {
    let error = result.expect_err(what);
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("gone"), "{what}: {error}");
}

#[test]
fn a_table_that_comes_back_while_a_run_decides_has_its_rows() {
    let disk = SimDisk::new(10);
    let clock = HandClock::new();
    let database = with_a_dropped_table(&disk, &clock);
    let rows_of_dropped = csv(&database, LAST_OF_DROPPED, "d");
    drop(database);
    let mut came_back = 0;
    for call in 1.. {
        let copy = SimDisk::from_image(&disk.image(), Cut::KeepAll);
        let other = open(&copy.process(), &clock);
        let undropped = Arc::new(Mutex::new(None));
        let note = undropped.clone();
        let hooked = HookedClock {
            clock: clock.clone(),
            calls_left: AtomicU64::new(call),
            hook: Mutex::new(Some(Box::new(move || *note.lock().unwrap() = Some(undrop(&other))))),
        };
        let process = copy.process();
        let options = Options {
            clock: Arc::new(hooked),
            upkeep: asof_engine::Upkeep::Off,
            ..crate::support::options(&process)
        };
        let database = Database::open(Path::new(DB), options).unwrap();
        retain(&database, &request("within 1s"));
        let what = format!("at look {call} at the clock");
        match undropped.lock().unwrap().take() {
            None => break,
            Some(Err(error)) => assert_is_gone::<()>(Err(error), &what),
            Some(Ok(version)) => {
                came_back += 1;
                let again = open(&copy.process(), &clock);
                for database in [&database, &again] {
                    database.refresh().unwrap();
                    assert_eq!(csv(database, version, "d"), rows_of_dropped, "{what}");
                }
                retain(&again, &request("within 1s"));
                assert_eq!(csv(&again, version, "d"), rows_of_dropped, "{what}, settled");
            }
        }
        assert_eq!(database.verify().unwrap().findings, vec![], "{what}");
    }
    assert!(came_back > 1, "{came_back} times");
}

#[test]
fn a_table_whose_last_version_went_meanwhile_does_not_come_back_without_its_rows() {
    for in_another_process in [false, true] {
        let disk = SimDisk::new(11);
        let clock = HandClock::new();
        let database = with_a_dropped_table(&disk, &clock);
        let mut txn = database.begin().unwrap();
        txn.undrop("d", 0).unwrap();
        let other = if in_another_process { open(&disk.process(), &clock) } else { database.clone() };
        retain(&other, &request("tagged"));
        assert_is_gone(txn.commit(CommitOptions::default()), "a transaction begun before");
        assert_is_gone(undrop(&database), "one begun after");
        assert_eq!(database.verify().unwrap().findings, vec![]);
    }
}

#[test]
fn what_is_promised_after_a_run_was_killed_holds() {
    let disk = SimDisk::new(12);
    let clock = HandClock::new();
    let database = with_a_dropped_table(&disk, &clock);
    let (tagged, rows_of_dropped) = (csv(&database, Version(3), "a"), csv(&database, LAST_OF_DROPPED, "d"));
    drop(database);
    let (mut kept, mut refused) = (0, 0);
    for at in 0.. {
        let copy = SimDisk::from_image(&disk.image(), Cut::KeepAll);
        let process = copy.process();
        // One that has it open all along.
        let witness = open(&copy.process(), &clock);
        assert_eq!(csv(&witness, Version(3), "a"), tagged);
        let database = open(&process, &clock);
        copy.plan(copy.operations() + at, Fault::Kill);
        let _ = database.retain(&request("tagged"), &mut |_| true);
        let finished = !process.is_dead();
        drop(database);
        copy.heal();
        let what = format!("killed at {at}");
        let is_tagged = try_tag(&witness, &clock, "kept", Version(3), None);
        let undropped = undrop(&witness);
        witness.checkpoint().unwrap();
        for database in [&witness, &open(&copy.process(), &clock)] {
            database.refresh().unwrap();
            match &is_tagged {
                Ok(()) => assert_eq!(csv(database, Version(3), "a"), tagged, "{what}"),
                Err(_) => assert!(database.snapshot(Version(3)).unwrap().table_names().unwrap().is_empty()),
            }
            if let Ok(version) = &undropped {
                assert_eq!(csv(database, *version, "d"), rows_of_dropped, "{what}");
            }
            assert_eq!(database.verify().unwrap().findings, vec![], "{what}");
        }
        assert_eq!(is_tagged.is_ok(), undropped.is_ok(), "{what}");
        match is_tagged {
            Ok(()) => kept += 1,
            refusal => {
                refused += 1;
                assert_is_gone(refusal, &what);
                assert_is_gone(undropped, &what);
            }
        }
        if finished {
            break;
        }
    }
    assert!(kept > 5 && refused > 5, "kept {kept} times, refused {refused} times");
}

#[test]
fn what_is_gone_counts_for_no_rule_of_the_next_policy() {
    let disk = SimDisk::new(13);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    let left = |database: &Database| -> Vec<u64> { told(database).into_keys().map(|(at, _)| at).collect() };
    // Version n is made at 20 (n - 1) minutes, about: three to the hour.
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..11 {
        clock.advance(HOUR / 3);
        commit(&database, |txn| txn.upsert("a", &rows(&[(number, Some("x"))])).unwrap());
    }
    for version in [2, 4] {
        tag(&database, &clock, &format!("t{version}"), Version(version), None);
    }
    retain(&database, &request("last 4"));
    assert_eq!(left(&database), [2, 4, 9, 10, 11, 12]);
    database.remove_tag("t2").unwrap();
    database.remove_tag("t4").unwrap();
    retain(&database, &request("last 6"));
    assert_eq!(left(&database), [2, 4, 9, 10, 11, 12], "six are left");
    retain(&database, &request("hourly forever"));
    assert_eq!(left(&database), [2, 4, 9, 12], "of each hour the last that is left");
}

#[test]
fn a_version_of_which_nothing_is_left_cannot_be_tagged() {
    let disk = SimDisk::new(14);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    for name in ["a", "b"] {
        commit(&database, |txn| txn.create_table(name, customers(), &["id".to_string()]).unwrap());
    }
    for number in 0..4 {
        for name in ["a", "b"] {
            commit(&database, |txn| txn.upsert(name, &rows(&[(number, Some("x"))])).unwrap());
        }
    }
    let of_a = RetentionRequest { table: Some("a".to_string()), ..request("last 1") };
    retain(&database, &of_a);
    tag(&database, &clock, "half", Version(5), None);
    assert_eq!(database.snapshot(Version(5)).unwrap().gone_tables(), ["a"]);
    retain(&database, &request("last 1"));
    assert_is_gone(try_tag(&database, &clock, "none", Version(1), None), "one table");
    let error = try_tag(&database, &clock, "none", Version(7), None).unwrap_err();
    assert!(error.to_string().contains("nothing is left"), "{error}");
    assert_eq!(error.nearest(), ["9", "5"]);
    // Before the first table there is nothing to lose.
    tag(&database, &clock, "start", Version(0), None);
}

/// The policy of the issue: the plan's bytes are those that go.
#[test]
fn of_ten_thousand_commits_the_bytes_that_go_are_those_that_were_planned() {
    let disk = SimDisk::new(9);
    let clock = HandClock::new();
    let database = open(&disk, &clock);
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    let mut chance = Chance(4711);
    for number in 1..10_000 {
        clock.advance(HOUR * 3 / 4);
        let some: BTreeMap<i64, String> = (0..10)
            .map(|_| (chance.below(500) as i64, format!("{:x} of {number}", chance.below(1 << 40))))
            .collect();
        let some: Vec<(i64, Option<&str>)> = some.iter().map(|(id, text)| (*id, Some(&**text))).collect();
        commit(&database, |txn| txn.upsert("a", &rows(&some)).unwrap());
        if number % 1_000 == 0 {
            tag(&database, &clock, &format!("t{number}"), Version(number), None);
        }
        if number % 400 == 0 {
            database.checkpoint().unwrap();
            database.compact(None, &asof_engine::compact::Parameters::AUTOMATIC).unwrap();
        }
    }
    database.checkpoint().unwrap();
    database.release_files().unwrap();
    let request = request("last 30, hourly 90d, monthly forever, tagged");
    let plan = database.retention_plan(&request).unwrap();
    let stretches = &plan.tables[0].stretches;
    let kept: Vec<u64> = stretches
        .iter()
        .filter(|stretch| stretch.fate == Fate::Kept)
        .flat_map(|stretch| stretch.from.0..=stretch.last.0)
        .collect();
    assert!(kept.len() > 2_000 && kept.len() < 4_000, "{} are kept", kept.len());
    let digest = |version: u64| {
        let text = csv(&database, Version(version), "a");
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let before: Vec<u64> = kept.iter().map(|version| digest(*version)).collect();
    let report = retain(&database, &request);
    let went = report.bytes_before - report.bytes_after;
    let planned = plan.freed_bytes();
    assert!(planned.abs_diff(went) * 20 <= went, "planned {planned}, went {went} of {}", report.bytes_before);
    assert_eq!(report.rows, plan.tables[0].freed_rows);
    let after: Vec<u64> = kept.iter().map(|version| digest(*version)).collect();
    assert_eq!(after, before);
    let is_kept: BTreeSet<u64> = kept.iter().copied().collect();
    let mut refused = 0;
    for version in (1..=10_000).filter(|version| !is_kept.contains(version)) {
        let error = database.snapshot(Version(version)).unwrap().schema("a").unwrap_err();
        let down = is_kept.range(..version).next_back();
        let up = is_kept.range(version..).next();
        let mut nearest: Vec<u64> = down.into_iter().chain(up).copied().collect();
        nearest.sort_by_key(|near| near.abs_diff(version));
        assert_eq!(error.nearest(), nearest.iter().map(u64::to_string).collect::<Vec<_>>());
        refused += 1;
    }
    assert_eq!(refused + kept.len(), 10_000);
}

/// The numbers of the versions of a table that can be read.
fn readable(database: &Database, table: &str) -> Vec<u64> {
    told(database).into_keys().filter(|(_, name)| name == table).map(|(version, _)| version).collect()
}

#[test]
fn what_an_archive_does_not_hold_yet_stays() {
    let database = open(&SimDisk::new(4), &HandClock::new());
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..9 {
        commit(&database, |txn| txn.upsert("a", &rows(&[(1, Some(&number.to_string()))])).unwrap());
    }
    let mut given = request("last 2");
    given.archived = Some(Version(6));
    let report = retain(&database, &given);
    // That of version 6 ended with version 7, which the archive cannot tell.
    assert_eq!((report.states, readable(&database, "a")), (5, vec![6, 7, 8, 9, 10]));
    let plan = database.retention_plan(&given).unwrap();
    let reasons: Vec<String> =
        plan.tables[0].stretches.iter().flat_map(|one| &one.reasons).map(|r| r.to_string()).collect();
    assert_eq!(reasons, ["not yet archived", "not yet archived", "last 2", "newest", "last 2"]);
    given.archived = Some(Version(10));
    assert_eq!((retain(&database, &given).states, readable(&database, "a")), (3, vec![9, 10]));
}

#[test]
fn a_run_that_is_stopped_at_once_lets_nothing_go_and_one_stopped_later_lets_files_be() {
    let database = open(&SimDisk::new(5), &HandClock::new());
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..5 {
        commit(&database, |txn| txn.upsert("a", &rows(&[(1, Some(&number.to_string()))])).unwrap());
    }
    assert_eq!(database.retain(&request("last 2"), &mut |_| false).unwrap().states, 0);
    assert_eq!(readable(&database, "a").len(), 6);
    let mut asked = 0;
    let mut once = |_: u64| {
        asked += 1;
        asked == 1
    };
    let stopped = database.retain(&request("last 2"), &mut once).unwrap();
    assert_eq!((stopped.states, stopped.rows, readable(&database, "a")), (4, 0, vec![5, 6]));
    assert_eq!(database.row_versions(Some("a")), 5);
    assert_eq!(retain(&database, &request("last 2")).rows, 3);
    assert_eq!((database.row_versions(Some("a")), database.row_versions(Some("b"))), (2, 0));
}

#[test]
fn a_dropped_table_whose_last_version_is_gone_is_not_brought_back() {
    let clock = HandClock::new();
    let database = open(&SimDisk::new(6), &clock);
    commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
    for number in 0..4 {
        commit(&database, |txn| txn.upsert("a", &rows(&[(1, Some(&number.to_string()))])).unwrap());
    }
    tag(&database, &clock, "kept", Version(3), None);
    commit(&database, |txn| txn.drop_table("a").unwrap());
    let was = csv(&database, Version(3), "a");
    retain(&database, &request("tagged"));
    assert_eq!(readable(&database, "a"), [3]);
    let mut txn = database.begin().unwrap();
    let refused = txn.undrop("a", 0).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.nearest()),
        (ErrorKind::NotFound, &["3".to_string()][..]),
        "{refused}"
    );
    assert!(refused.to_string().contains("is gone"), "{refused}");
    assert!(!txn.has_table("a"), "nothing has changed");
    drop(txn);
    // The one that is named can be had.
    let back = commit(&database, |txn| drop(txn.restore(Version(3), &["a".to_string()], 0).unwrap()));
    assert_eq!(csv(&database, back, "a"), was);
    assert_eq!(database.verify().unwrap().findings, vec![]);
}

#[test]
fn histories_and_questions_about_the_past_leave_out_rows_that_gone_versions_alone_show() {
    let clock = HandClock::new();
    for stopped in [false, true] {
        let database = open(&SimDisk::new(7), &clock);
        commit(&database, |txn| txn.create_table("a", customers(), &["id".to_string()]).unwrap());
        for number in 2..9 {
            let text = number.to_string();
            // A row that is there from the third version to the fifth, and one that is written each time.
            commit(&database, |txn| {
                txn.upsert("a", &rows(&[(1, Some(&text))])).unwrap();
                match number {
                    3 => txn.upsert("a", &rows(&[(2, Some("brief"))])).unwrap(),
                    6 => txn.delete("a", &keys(&[2])).unwrap(),
                    _ => {}
                }
            });
        }
        tag(&database, &clock, "kept", Version(7), None);
        let lives = |id: i64| -> Vec<u64> {
            database.history("a", &keys(&[id])).unwrap().iter().map(|version| version.begin.0).collect()
        };
        let past = || -> Vec<(u64, u64)> {
            let snapshot = database.snapshot(database.latest().unwrap()).unwrap();
            let table = snapshot.past_tables(Some("a")).remove(0);
            let columns = table.columns().into_iter().map(|column| column.column).collect();
            let range = table.ranges()[0];
            let question = PastQuestion { range, columns, filter: None, ordered: true };
            let rows = snapshot.past_rows(&table, question).unwrap();
            rows.flat_map(|rows| rows.unwrap().ranges).map(|range| (range.first.0, range.last.0)).collect()
        };
        assert_eq!((lives(1), lives(2)), ((2..9).collect(), vec![3]));
        assert_eq!(past().len(), 8);
        // Whether the rows are on disk still makes no difference.
        let mut asked = 0;
        let mut pace = |_: u64| {
            asked += 1;
            !stopped || asked == 1
        };
        database.retain(&request("tagged"), &mut pace).unwrap();
        assert_eq!(database.row_versions(Some("a")), if stopped { 8 } else { 2 });
        assert_eq!(readable(&database, "a"), [7, 8]);
        assert_eq!((lives(1), lives(2)), (vec![7, 8], vec![]));
        assert_eq!(past(), [(7, 7), (8, 8)]);
    }
}
