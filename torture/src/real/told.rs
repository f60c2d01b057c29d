//! Writers at work in threads of this process, each with its own handle as if it were a process of its own; what they
//! were told; and whether a database that a power cut left agrees with what they had been told by then.

use super::child::WAIT;
use super::workload::{self, History, Shown, Step};
use super::writer::{Done, Writer};
use super::{Failure, Outcome, chance_of, failed, verified};
use asof_engine::{CommitOptions, Database, Options, Version};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;

/// The writer that goes on after a power cut.
const SUCCESSOR: u64 = 3;

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Acknowledged {
    Committed(Version, u64, u64),
    Tagged(String, Version),
}

/// Everything that was acknowledged in a run, and what every version holds.
#[derive(Clone, Debug)]
pub struct Told {
    history: History,
    acknowledged: Vec<Acknowledged>,
    seed: u64,
}

/// What a check did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Versions compared with the oracle.
    pub compared: u64,
    /// Tables of them that were gone.
    pub gone: u64,
    /// The newest version that was there.
    pub newest: u64,
}

impl Told {
    /// Makes a database and lets two writers work at it. `acknowledge` is told the number of each acknowledgement as
    /// soon as a writer has it.
    pub fn run(
        path: &Path,
        options: impl Fn() -> Options + Sync,
        seed: u64,
        steps: u64,
        acknowledge: impl Fn(u64) + Sync,
    ) -> Outcome<Told> {
        let fail = |error: asof_engine::Error| failed(path, seed, error);
        let database = Database::create(path, options()).map_err(fail)?;
        workload::create_tables(&database).map_err(fail)?;
        let all = Mutex::new(Vec::new());
        let tell = |what: Acknowledged| {
            let mut all = all.lock();
            acknowledge(all.len() as u64);
            all.push(what);
        };
        tell(Acknowledged::Committed(Version(1), 0, 0));
        let work = |index: u64| {
            let mut writer = Writer::open(path, options(), seed, index)?;
            for number in 0..steps {
                match writer.step(number)? {
                    Done::Committed(version) => tell(Acknowledged::Committed(version, index, number)),
                    Done::Tagged(version) => {
                        if let Step::Tag(name) = workload::step(seed, index, number, &Default::default()) {
                            tell(Acknowledged::Tagged(name, version));
                        }
                    }
                    Done::Other => {}
                }
            }
            Ok(())
        };
        let results: Vec<asof_engine::Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|index| scope.spawn(move || work(index))).collect();
            threads.into_iter().map(|thread| thread.join().expect("writers do not panic")).collect()
        });
        results.into_iter().collect::<asof_engine::Result<()>>().map_err(fail)?;
        drop(database);
        Told::new(path, seed, all.into_inner())
    }

    fn new(path: &Path, seed: u64, acknowledged: Vec<Acknowledged>) -> Outcome<Told> {
        let mut history = History::default();
        let commits = acknowledged.iter().filter_map(|what| match what {
            Acknowledged::Committed(version, writer, step) => Some((*version, (*writer, *step))),
            Acknowledged::Tagged(..) => None,
        });
        let commits: BTreeMap<Version, (u64, u64)> = commits.collect();
        for (version, (writer, number)) in commits.into_iter().skip(1) {
            let Step::Write(write) = history.step(seed, writer, number) else {
                return Err(failed(
                    path,
                    seed,
                    format!("version {version} was made by a step that writes nothing"),
                ));
            };
            history.apply(writer, &write);
            if history.newest() != version {
                return Err(failed(path, seed, format!("version {} is missing", history.newest())));
            }
        }
        Ok(Told { history, acknowledged, seed })
    }

    /// The newest version.
    pub fn newest(&self) -> Version {
        self.history.newest()
    }

    /// Whether a version holds what was committed.
    pub fn is_right(&self, database: &Database, version: u64) -> asof_engine::Result<bool> {
        let shown = Shown::read(database, Version(version))?;
        Ok(self.history.allows(Version(version), &shown))
    }

    /// Checks what a power cut left, when so many acknowledgements (by number) had been given; then goes on with it.
    pub fn check(
        &self,
        path: &Path,
        acknowledged: &[u64],
        options: Options,
        chance: u64,
    ) -> Outcome<Checked> {
        let mut chance = chance_of(&[self.seed, chance]);
        let fail = |what: String| failed(path, self.seed, what);
        let error = |doing: &'static str| move |error: asof_engine::Error| fail(format!("{doing}: {error}"));
        let acknowledged: Vec<&Acknowledged> =
            acknowledged.iter().filter_map(|number| self.acknowledged.get(*number as usize)).collect();
        let newest_told = acknowledged.iter().filter_map(|what| match what {
            Acknowledged::Committed(version, ..) => Some(*version),
            Acknowledged::Tagged(..) => None,
        });
        let options = Options { wait: WAIT, ..options };
        let Some(newest_told) = newest_told.max() else {
            // Nobody was told that there is a database: one can be made now.
            let database = Database::open_or_create(path, options).map_err(error("cannot be made again"))?;
            return workload::create_tables_again(&database)
                .map_err(error("cannot be used"))
                .map(|()| Checked::default());
        };
        let mut checked = Checked::default();
        // As somebody who may only read finds it, before any repair.
        let reader =
            Database::open_read_only(path, options.clone()).map_err(error("cannot be opened to be read"))?;
        let seen = reader.refresh().map_err(error("cannot be followed"))?;
        if seen < newest_told {
            return Err(fail(format!("lost: version {newest_told} was acknowledged, a reader finds {seen}")));
        }
        self.compare(&reader, seen, path, &mut checked)?;
        drop(reader);
        let database = Database::open(path, options).map_err(error("cannot be opened"))?;
        let repaired = database.begin().and_then(|transaction| transaction.commit(CommitOptions::default()));
        repaired.map_err(error("its log cannot be taken over"))?;
        let newest = database.refresh().map_err(error("cannot be followed"))?;
        checked.newest = newest.0;
        if newest < newest_told {
            return Err(fail(format!(
                "lost: version {newest_told} was acknowledged, a writer finds {newest}"
            )));
        }
        if newest < seen {
            return Err(fail(format!("a reader saw version {seen}, after the repair there is {newest}")));
        }
        let every = chance.one_in(4);
        for version in 0..=newest.0 {
            if every || version + 3 > newest.0 || chance.one_in(6) {
                self.compare(&database, Version(version), path, &mut checked)?;
            }
        }
        self.check_tags(&database, &acknowledged).map_err(fail)?;
        // And it goes on.
        let steps = (0..).map(|number| workload::step(self.seed, SUCCESSOR, number, &Default::default()));
        let write =
            steps.filter_map(|step| if let Step::Write(write) = step { Some(write) } else { None }).next();
        let write = write.expect("most steps write");
        let next = workload::commit(&database, SUCCESSOR, 0, &write).map_err(error("cannot be written"))?;
        if next.0 != newest.0 + 1 {
            return Err(fail(format!("version {next} follows version {newest}")));
        }
        if chance.one_in(2) {
            workload::compact(&database).map_err(error("checkpoint and compaction fail"))?;
            self.compare(&database, newest, path, &mut checked)?;
        }
        if chance.one_in(4) {
            verified(&database, path, self.seed)?;
        }
        Ok(checked)
    }

    fn compare(
        &self,
        database: &Database,
        version: Version,
        path: &Path,
        checked: &mut Checked,
    ) -> Outcome<()> {
        let fail = |what: String| -> Failure { failed(path, self.seed, what) };
        let shown = Shown::read(database, version);
        let shown = shown.map_err(|error| fail(format!("version {version} cannot be read: {error}")))?;
        checked.compared += 1;
        checked.gone += shown.gone.len() as u64;
        if self.history.allows(version, &shown) {
            return Ok(());
        }
        Err(fail(format!("wrong: version {version} does not hold what was committed")))
    }

    /// Each tag is as it was acknowledged last, or as it was set later.
    fn check_tags(&self, database: &Database, acknowledged: &[&Acknowledged]) -> Result<(), String> {
        let found = database.tags().map_err(|error| error.to_string())?;
        let found: BTreeMap<String, Version> = found.into_iter().map(|tag| (tag.name, tag.version)).collect();
        let settings = |name: &str, of: &mut dyn Iterator<Item = &Acknowledged>| -> Vec<Version> {
            of.filter_map(|what| match what {
                Acknowledged::Tagged(other, version) if other == name => Some(*version),
                _ => None,
            })
            .collect()
        };
        let gone = workload::tags_without_version(database).map_err(|error| error.to_string())?;
        if !gone.is_empty() {
            return Err(format!("lost: what {gone:?} name is gone"));
        }
        for what in acknowledged {
            let Acknowledged::Tagged(name, _) = what else { continue };
            let told = settings(name, &mut acknowledged.iter().copied()).len();
            let all = settings(name, &mut self.acknowledged.iter());
            match found.get(name) {
                None => return Err(format!("lost: tag {name}")),
                Some(version) if all[told - 1..].contains(version) => {}
                Some(version) => return Err(format!("wrong: tag {name} names version {version}")),
            }
        }
        Ok(())
    }
}
