//! kill -9 at the N-th call of a real process on real files, hundreds of times, on a database that goes on.
//!
//! Two writing processes take turns while a third follows; one or both are killed within a call that changes
//! something: a write, a sync, a rename, a lock, a change of the shared head. Then: what was acknowledged is there
//! before anything is repaired; what was in flight is there whole or not at all; every version equals the oracle; and
//! the next round goes on with the same database, so that what a dead process left is repaired by a process that may
//! die of it too. Among what writers do is to let old versions go: the newest stay and those that tags name, what is gone
//! stays gone, and a snapshot that is held meanwhile shows what it did.

use super::child::{ChildProgram, Guard, Part};
use super::killer::{KillAt, Moment};
use super::workload::{self, Gone, History, Shown, Step};
use super::{Failure, Outcome, chance_of, failed};
use asof_engine::{CommitOptions, Database, Options, Snapshot, Version};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

/// Steps of each writer in a round.
const STEPS: u64 = 8;
/// Rounds on one database.
const ROUNDS: u64 = 40;
/// Calls of a round's writer, about: where a random kill is aimed.
const CALLS: u64 = 400;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kills {
    /// Rounds of two writers and a follower.
    pub rounds: u64,
    /// Processes that died by SIGKILL within a call.
    pub kills: u64,
    /// Of them, while they repaired what an earlier kill had left.
    pub during_repair: u64,
    /// Versions that were acknowledged.
    pub acknowledged: u64,
    /// Versions that were in flight at a kill and are there, whole.
    pub in_flight_kept: u64,
    /// Versions compared with the oracle.
    pub compared: u64,
    /// Tables of them that were gone.
    pub gone: u64,
    /// Times that a snapshot of an earlier round was read again.
    pub held: u64,
    /// Versions that followers saw while they were made.
    pub followed: u64,
}

/// Kills processes in directories below `dir` until `more` says enough; it is asked before each round with the kills so
/// far.
pub fn run(
    child: &ChildProgram,
    dir: &Path,
    seed: u64,
    mut more: impl FnMut(&Kills) -> bool,
) -> Outcome<Kills> {
    let mut kills = Kills::default();
    let mut epoch = 0;
    while more(&kills) {
        epoch += 1;
        let path = dir.join(format!("kills-{epoch}"));
        let mut database = Killed::create(child, &path, seed, epoch)?;
        for round in 0..ROUNDS {
            if !more(&kills) {
                break;
            }
            database.round(round, &mut kills)?;
        }
        database.finish(&mut kills)?;
        std::fs::remove_dir_all(&path)
            .map_err(|error| failed(&path, seed, format!("cannot be removed: {error}")))?;
    }
    Ok(kills)
}

/// A database whose writers are killed.
struct Killed<'a> {
    child: &'a ChildProgram,
    path: PathBuf,
    seed: u64,
    epoch: u64,
    history: History,
    tags: BTreeMap<String, Version>,
    gone: Gone,
    /// A snapshot that this process keeps for some rounds, and what it shows.
    held: Option<(Snapshot, Shown)>,
    /// The next step of each writer.
    next: [u64; 2],
}

/// What a writer said.
#[derive(Debug, Default)]
struct Said {
    committed: BTreeMap<Version, u64>,
    tagged: Vec<(u64, Version)>,
    /// The step that was not answered; none where all were.
    in_flight: Option<u64>,
    killed: bool,
}

impl<'a> Killed<'a> {
    fn create(child: &'a ChildProgram, path: &Path, seed: u64, epoch: u64) -> Outcome<Killed<'a>> {
        let killed = Killed {
            child,
            path: path.to_path_buf(),
            seed,
            epoch,
            history: History::default(),
            tags: BTreeMap::new(),
            gone: Gone::new(),
            held: None,
            next: [0; 2],
        };
        let database = Database::create(path, Options::default());
        let database = database.map_err(|error| killed.failure(error))?;
        workload::create_tables(&database).map_err(|error| killed.failure(error))?;
        Ok(killed)
    }

    fn failure(&self, what: impl std::fmt::Display) -> Failure {
        failed(&self.path, self.seed, what)
    }

    fn steps_seed(&self) -> u64 {
        self.seed ^ (self.epoch << 32)
    }

    fn round(&mut self, round: u64, kills: &mut Kills) -> Outcome<()> {
        let mut chance = chance_of(&[self.seed, self.epoch, round]);
        let mut kill = || {
            // Early calls are the opening, and the repair of what the last kill left.
            let reach = if chance.one_in(3) { 30 } else { CALLS };
            KillAt { call: 1 + chance.below(reach), moment: Moment::ALL[chance.below(3) as usize] }
        };
        let first = kill();
        let second = if round.is_multiple_of(3) { kill() } else { KillAt::NEVER };
        let parts = [first, second].into_iter().zip(0u64..).map(|(kill, writer)| Part::Write {
            seed: self.steps_seed(),
            writer,
            first: self.next[writer as usize],
            count: STEPS,
            kill,
        });
        let mut follower = if round.is_multiple_of(4) { Some(self.spawn(&Part::Follow)?) } else { None };
        let mut children = Vec::new();
        for part in parts {
            children.push(self.spawn(&part)?);
        }
        let mut said = Vec::new();
        for (writer, child) in children.into_iter().enumerate() {
            let text = self.listen(child)?;
            said.push(self.parse(writer, text)?);
        }
        kills.rounds += 1;
        kills.kills += said.iter().filter(|said| said.killed).count() as u64;
        kills.acknowledged += said.iter().map(|said| said.committed.len() as u64).sum::<u64>();
        let first_new = self.history.newest().0 + 1;
        self.settle(&said, kills)?;
        if let Some(mut child) = follower.take() {
            drop(child.0.stdin.take());
            let (text, status) = self.listen(child)?;
            if !status.success() {
                return Err(self.failure(format!("the follower ended with {status}: {text}")));
            }
            self.check_followed(&text, first_new, kills)?;
        }
        Ok(())
    }

    fn spawn(&self, part: &Part) -> Outcome<Guard> {
        self.child.spawn(&self.path, part).map_err(|what| self.failure(what))
    }

    fn listen(&self, child: Guard) -> Outcome<(String, std::process::ExitStatus)> {
        child.listen().map_err(|what| self.failure(what))
    }

    fn parse(&mut self, writer: usize, (text, status): (String, std::process::ExitStatus)) -> Outcome<Said> {
        let mut said = Said { killed: status.signal() == Some(9), ..Said::default() };
        if !said.killed && !status.success() {
            return Err(self.failure(format!("writer {writer} ended with {status}: {text}")));
        }
        let first = self.next[writer];
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let numbers: Option<Vec<u64>> = words.iter().skip(1).map(|word| word.parse().ok()).collect();
            match (words[0], numbers.as_deref()) {
                ("committed", Some([step, version])) => drop(said.committed.insert(Version(*version), *step)),
                ("tagged", Some([step, version])) => said.tagged.push((*step, Version(*version))),
                ("done", Some([_, _])) => {}
                ("calls", Some(_)) => continue,
                _ => return Err(self.failure(format!("writer {writer} said: {line}"))),
            }
            self.next[writer] += 1;
        }
        if self.next[writer] < first + STEPS {
            said.in_flight = Some(self.next[writer]);
            self.next[writer] += 1;
        }
        Ok(said)
    }

    /// Compares what is there with what was said.
    fn settle(&mut self, said: &[Said], kills: &mut Kills) -> Outcome<()> {
        let fail = |what: String| failed(&self.path, self.seed, what);
        let newest_said = said.iter().filter_map(|said| said.committed.keys().last()).max().copied();
        let newest_said = newest_said.unwrap_or(Version(0)).max(self.history.newest());
        // Before anything is repaired.
        let reader = Database::open_read_only(&self.path, Options::default());
        let reader = reader.map_err(|error| fail(format!("it cannot be opened for reading: {error}")))?;
        let seen = reader.refresh().map_err(|error| fail(format!("a reader cannot follow: {error}")))?;
        if seen < newest_said {
            return Err(fail(format!("lost: version {newest_said} was acknowledged, a reader finds {seen}")));
        }
        drop(reader);
        if said.iter().any(|said| said.killed) {
            self.kill_repairs(kills)?;
        }
        let database = Database::open(&self.path, Options { wait: super::child::WAIT, ..Options::default() });
        let database = database.map_err(|error| fail(format!("it cannot be opened: {error}")))?;
        let repaired = database.begin().and_then(|transaction| transaction.commit(CommitOptions::default()));
        repaired.map_err(|error| fail(format!("its log cannot be taken over: {error}")))?;
        let newest = database.refresh().map_err(|error| fail(error.to_string()))?;
        for number in self.history.newest().0 + 1..=newest.0 {
            let version = Version(number);
            let maker = workload::maker(&database, version).map_err(|error| fail(error.to_string()))?;
            let (writer, step) =
                maker.ok_or_else(|| fail(format!("version {version} was made by nobody")))?;
            let said_so = said
                .iter()
                .zip(0u64..)
                .find_map(|(said, by)| said.committed.get(&version).map(|step| (by, *step)));
            let in_flight = said.get(writer as usize).is_some_and(|said| said.in_flight == Some(step));
            match said_so {
                Some(acknowledged) if acknowledged == (writer, step) => {}
                None if in_flight => kills.in_flight_kept += 1,
                _ => {
                    return Err(fail(format!(
                        "version {version} is step {step} of writer {writer}; acknowledged was {said_so:?}"
                    )));
                }
            }
            let Step::Write(write) = self.history.step(self.steps_seed(), writer, step) else {
                return Err(fail(format!(
                    "version {version}: step {step} of writer {writer} writes nothing"
                )));
            };
            self.history.apply(writer, &write);
            self.compare(&database, version, kills)?;
        }
        if let Some(missing) =
            said.iter().flat_map(|said| said.committed.keys()).find(|version| **version > newest)
        {
            return Err(fail(format!("lost: version {missing} was acknowledged, the newest is {newest}")));
        }
        for past in [newest.0 / 2, newest.0 / 3] {
            self.compare(&database, Version(past), kills)?;
        }
        self.settle_tags(&database, said)?;
        self.settle_gone(&database, kills)
    }

    /// What was gone still is, and a snapshot that was taken before shows what it did.
    fn settle_gone(&mut self, database: &Database, kills: &mut Kills) -> Outcome<()> {
        let gone = workload::gone(database).map_err(|error| self.failure(error))?;
        if !workload::is_gone_still(&self.gone, &gone) {
            return Err(self.failure(format!("gone was {:?}, and now is {gone:?}", self.gone)));
        }
        self.gone = gone;
        let mut chance = chance_of(&[self.seed, self.epoch, kills.rounds]);
        if let Some((snapshot, shown)) = &self.held {
            let version = snapshot.version();
            let now = Shown::of(snapshot);
            let now = now.map_err(|error| self.failure(format!("held version {version}: {error}")))?;
            if now != *shown {
                return Err(self.failure(format!("wrong: held version {version} shows other rows")));
            }
            kills.held += 1;
        }
        if self.held.is_none() || chance.one_in(4) {
            let version = Version(chance.below(self.history.newest().0 + 1));
            let snapshot = database.snapshot(version).map_err(|error| self.failure(error))?;
            let shown = Shown::of(&snapshot).map_err(|error| self.failure(error))?;
            self.held = Some((snapshot, shown));
        }
        Ok(())
    }

    /// Up to three processes one after the other repair the log, and are killed while they do.
    fn kill_repairs(&self, kills: &mut Kills) -> Outcome<()> {
        let mut chance = chance_of(&[self.seed, self.epoch, kills.kills]);
        for _ in 0..chance.below(4) {
            let moment = Moment::ALL[chance.below(3) as usize];
            let child = self.spawn(&Part::Repair { kill: KillAt { call: 1 + chance.below(50), moment } })?;
            let (text, status) = self.listen(child)?;
            if status.signal() == Some(9) {
                kills.kills += 1;
                kills.during_repair += 1;
            } else if !status.success() {
                return Err(self.failure(format!("a repair ended with {status}: {text}")));
            }
        }
        Ok(())
    }

    fn compare(&self, database: &Database, version: Version, kills: &mut Kills) -> Outcome<()> {
        let shown = Shown::read(database, version);
        let shown =
            shown.map_err(|error| self.failure(format!("version {version} cannot be read: {error}")))?;
        kills.compared += 1;
        kills.gone += shown.gone.len() as u64;
        if self.history.allows(version, &shown) {
            return Ok(());
        }
        Err(self.failure(format!("wrong: version {version} does not hold what was committed")))
    }

    fn settle_tags(&mut self, database: &Database, said: &[Said]) -> Outcome<()> {
        let mut uncertain = Vec::new();
        let mut last: BTreeMap<String, Version> = BTreeMap::new();
        for (said, writer) in said.iter().zip(0u64..) {
            for (step, version) in &said.tagged {
                if let Step::Tag(name) = self.history.step(self.steps_seed(), writer, *step) {
                    last.insert(name, *version);
                }
            }
            if let Some(Step::Tag(name)) =
                said.in_flight.map(|step| self.history.step(self.steps_seed(), writer, step))
            {
                uncertain.push(name);
            }
        }
        self.tags.extend(last);
        let gone = workload::tags_without_version(database).map_err(|error| self.failure(error))?;
        if !gone.is_empty() {
            return Err(self.failure(format!("lost: what {gone:?} name is gone")));
        }
        let found = database.tags().map_err(|error| self.failure(error))?;
        let found: BTreeMap<String, Version> = found.into_iter().map(|tag| (tag.name, tag.version)).collect();
        for name in uncertain {
            match found.get(&name) {
                Some(version) => drop(self.tags.insert(name, *version)),
                None if self.tags.contains_key(&name) => {
                    return Err(self.failure(format!("lost: tag {name}")));
                }
                None => {}
            }
        }
        if found != self.tags {
            return Err(self.failure(format!("tags: expected {:?}, found {found:?}", self.tags)));
        }
        Ok(())
    }

    /// Each version that a follower saw while it was made is what it is still.
    fn check_followed(&self, text: &str, first_new: u64, kills: &mut Kills) -> Outcome<()> {
        for line in text.lines().filter_map(|line| line.strip_prefix("saw ")) {
            let (version, digest) = line.split_once(' ').unwrap_or((line, ""));
            let version = Version(version.parse().unwrap_or(u64::MAX));
            let expected = self.history.digest(version);
            let expected =
                expected.map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            if version.0 < first_new || expected.as_deref() != Some(digest) {
                return Err(self.failure(format!("wrong: a follower saw version {version} with other rows")));
            }
            kills.followed += 1;
        }
        Ok(())
    }

    /// All history, and every checksum.
    fn finish(&self, kills: &mut Kills) -> Outcome<()> {
        let database = Database::open(&self.path, Options::default()).map_err(|error| self.failure(error))?;
        for version in 0..=self.history.newest().0 {
            self.compare(&database, Version(version), kills)?;
        }
        super::verified(&database, &self.path, self.seed)
    }
}
