//! Bit rot: every byte of every file flipped, every page zeroed, every file cut and removed, pages and files that hold
//! what was written elsewhere.
//!
//! Each damage is named by verification, with the file, or it is harmless: then everything reads right. Whatever is
//! shown of a damaged database is right, and what is not shown is an error that says so.

use super::explore::{Next, parallel};
use super::machine::{DB, Machine};
use super::story::Story;
use crate::check;
use crate::model::Model;
use crate::perform;
use crate::scenario::Shape;
use crate::step::Action;
use asof_engine::{Database, Error, ErrorKind, Version};
use asof_wal::sim::{Cut, Image, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How much is damaged.
#[derive(Clone, Debug)]
pub struct Rot {
    /// Of the scenario that makes the database.
    pub seed: u64,
    /// One byte in so many is flipped.
    pub one_in: usize,
    /// Threads.
    pub threads: usize,
    /// Whether the first finding is enough.
    pub first_only: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotten {
    /// Files of the database.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bits flipped.
    pub flips: u64,
    /// Pages zeroed.
    pub pages: u64,
    /// Sectors exchanged with the next one, and files that hold what another one does.
    pub misdirected: u64,
    /// Files cut or removed.
    pub cuts: u64,
    /// Damages that verification named.
    pub named: u64,
    /// Damages without any effect on what is read.
    pub harmless: u64,
    /// Damages to the end of the log of a copy, which look like a torn write: an older version, wholly right.
    pub older: u64,
    /// What was wrong.
    pub wrong: Vec<String>,
}

impl std::ops::AddAssign for Rotten {
    fn add_assign(&mut self, other: Rotten) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.flips += other.flips;
        self.pages += other.pages;
        self.misdirected += other.misdirected;
        self.cuts += other.cuts;
        self.named += other.named;
        self.harmless += other.harmless;
        self.older += other.older;
        self.wrong.extend(other.wrong);
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(usize),
    Page(usize),
    /// A sector and the next one are exchanged.
    Exchanged(usize),
    /// The file holds what another one does, whole and right.
    Other(PathBuf),
    Cut(usize),
    Lost,
}

/// Bytes zeroed at once.
const PAGE: usize = 4096;
/// Bytes that are written in one piece.
const SECTOR: usize = 512;

/// Damages a database in every way.
pub fn rot(rot: &Rot) -> Rotten {
    let (model, image) = match database(rot.seed) {
        Ok(made) => made,
        Err(wrong) => return Rotten { wrong: vec![wrong], ..Rotten::default() },
    };
    let mut all = Rotten::default();
    // On the same machine the durable head is believed; in a copy, or after a restart, it is not.
    for cut in [Cut::Kill, Cut::KeepAll] {
        let disk = SimDisk::from_image(&image, cut);
        let image = disk.image();
        let files: BTreeMap<PathBuf, Vec<u8>> =
            disk.files().into_iter().map(|path| (path.clone(), disk.read(&path).expect("listed"))).collect();
        let last = files.keys().rfind(|path| path.extension().is_some_and(|name| name == "wal")).cloned();
        let mut damages = Vec::new();
        for (path, bytes) in &files {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let mut each = |damage| damages.push((path.clone(), damage));
            // Zeros ahead in the log's segments are all alike: some of them do.
            let zeros = (used..bytes.len()).step_by(97);
            (0..used).chain(zeros).step_by(rot.one_in).for_each(|at| each(Damage::Flip(at)));
            (0..used).step_by(PAGE).for_each(|at| each(Damage::Page(at)));
            let lengths: BTreeSet<usize> =
                [0, 1, used / 4, used / 2, used.saturating_sub(9), used.saturating_sub(1)].into();
            lengths.into_iter().filter(|length| *length < used).for_each(|length| each(Damage::Cut(length)));
            each(Damage::Lost);
            let exchanged = (0..used.saturating_sub(SECTOR)).step_by(SECTOR);
            exchanged.for_each(|at| each(Damage::Exchanged(at)));
            for other in files.keys().filter(|other| *other != path && other.parent() == path.parent()) {
                each(Damage::Other(other.clone()));
            }
        }
        let copied = cut != Cut::Kill;
        let one = |(path, damage): &(PathBuf, Damage), found: &mut Rotten| {
            match damage {
                Damage::Flip(_) => found.flips += 1,
                Damage::Page(_) => found.pages += 1,
                Damage::Exchanged(_) | Damage::Other(_) => found.misdirected += 1,
                Damage::Cut(_) | Damage::Lost => found.cuts += 1,
            }
            let place = format!("{} {damage:?}{}", path.display(), if copied { " in a copy" } else { "" });
            // Rot in the last batch of a copy cannot be told from a torn write; nor can a lost end.
            let may_end_early = match damage {
                _ if !copied || last.as_ref() != Some(path) => 0,
                Damage::Flip(_) => 1,
                _ => model.newest(),
            };
            let look = || examine(&image, &model, path, damage, may_end_early, found);
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)) {
                Ok(Ok(())) => {}
                Ok(Err(wrong)) => found.wrong.push(format!("{place}: {wrong}")),
                Err(_) => found.wrong.push(format!("{place}: it panics")),
            }
            Next::after(rot.first_only, &found.wrong)
        };
        all += parallel(rot.threads, &damages, one);
        if !copied {
            all.files += files.len() as u64;
            all.bytes += files.values().map(|bytes| bytes.len() as u64).sum::<u64>();
        }
    }
    all.wrong.sort();
    all
}

/// A small database with everything in it: several checkpoints, versions that are gone, and a tail in the log.
fn database(seed: u64) -> Result<(Model, Image), String> {
    let shape = Shape { processes: 2, checkpoint_in: 5, reopen_in: 0, keys: 8, rows: 3, schemas: true };
    let mut scenario = crate::Scenario::new(seed, shape);
    let (mut checkpoints, mut since, mut retained) = (0, 0, false);
    let story = Story::play_steps(
        seed,
        2,
        |_, _| false,
        |_, model| {
            if checkpoints >= 3 && since >= 3 {
                return None;
            }
            let mut step = scenario.step(model);
            if checkpoints == 2 && !retained {
                step.action = Action::Retain { table: None, last: 3 };
            }
            retained |= matches!(step.action, Action::Retain { .. });
            if step.action == Action::Checkpoint {
                (checkpoints, since) = (checkpoints + 1, 0);
            } else if matches!(step.action, Action::Commit { .. }) {
                since += 1;
            }
            Some(step)
        },
    )?;
    Ok((story.model, story.last))
}

fn examine(
    image: &Image,
    model: &Model,
    path: &Path,
    damage: &Damage,
    may_end_early: u64,
    found: &mut Rotten,
) -> Result<(), String> {
    let disk = SimDisk::from_image(image, Cut::Kill);
    let mut bytes = disk.read(path).expect("the file is there");
    match damage {
        Damage::Flip(at) => bytes[*at] ^= 1 << (at % 8),
        Damage::Page(at) => {
            let end = (at + PAGE).min(bytes.len());
            bytes[*at..end].fill(0);
        }
        Damage::Exchanged(at) => {
            let end = (at + 2 * SECTOR).min(bytes.len());
            bytes[*at..end].rotate_left(SECTOR);
        }
        Damage::Other(other) => bytes = disk.read(other).expect("the other file is there"),
        Damage::Cut(length) => bytes.truncate(*length),
        Damage::Lost => {}
    }
    match damage {
        Damage::Lost => disk.lose(path).expect("the file is there"),
        _ => disk.overwrite(path, &bytes).expect("the file is there"),
    }
    let name = path.strip_prefix(DB).expect("files lie in the database").display().to_string();
    let machine = Machine::with_disk(disk, 1);
    let options = machine.options(&machine.disk.process());
    let database = match Database::open_read_only(DB, options) {
        Ok(database) => database,
        Err(error) if error.to_string().contains(&name) && error.kind() == ErrorKind::Corrupt => {
            found.named += 1;
            return Ok(());
        }
        Err(error) => return Err(format!("opening says {error}")),
    };
    let newest = shown(&database, model, may_end_early)?;
    let findings = database.verify().map_err(|error| format!("verification says {error}"))?.findings;
    if findings.iter().any(|finding| finding.file == name) {
        found.named += 1;
        return Ok(());
    }
    if let Some(other) = findings.first() {
        return Err(format!("verification names {} ({}) instead", other.file, other.message));
    }
    if newest.is_some_and(|newest| newest < model.newest()) {
        found.older += 1;
        return Ok(());
    }
    found.harmless += 1;
    check::everything(&database, model).map_err(|wrong| format!("verification finds nothing, but {wrong}"))
}

/// Everything that can be read is right; the newest version, where it is told.
fn shown(database: &Database, model: &Model, may_end_early: u64) -> Result<Option<u64>, String> {
    let corrupt = |what: &str, error: &Error| match error.kind() {
        ErrorKind::Corrupt => Ok(()),
        _ => Err(format!("{what} says {error}, which is no word of damage")),
    };
    let mut newest = None;
    match database.refresh() {
        Ok(Version(found)) if found == model.newest() => newest = Some(found),
        Ok(Version(found)) if found < model.newest() && found + may_end_early >= model.newest() => {
            newest = Some(found);
        }
        Ok(found) => return Err(format!("the newest version is {found}, not {}", model.newest())),
        Err(error) => corrupt("following", &error)?,
    }
    for version in 0..=newest.unwrap_or(model.newest()) {
        let texts = database.snapshot(Version(version)).and_then(|snapshot| {
            let names = snapshot.table_names()?;
            let texts = names.into_iter().map(|name| (perform::text(&snapshot, &name), name));
            Ok(texts.collect::<Vec<_>>())
        });
        let expected = &model.versions[version as usize].texts;
        let texts = match texts {
            Ok(texts) => texts,
            Err(error) => {
                corrupt("a version", &error)?;
                continue;
            }
        };
        let names: BTreeSet<&String> = texts.iter().map(|(_, name)| name).collect();
        // What is gone is there still by the manifest before the one that says so.
        let missing = expected.keys().any(|name| !names.contains(name) && !model.is_gone(name, version));
        if missing || names.iter().any(|name| !expected.contains_key(*name)) {
            return Err(format!("version {version} has tables {names:?}, not {:?}", expected.keys()));
        }
        for (text, name) in &texts {
            match text {
                Ok(text) if **text == *expected[name] => {}
                Ok(text) => {
                    return Err(format!(
                        "{name} at version {version} reads {text:?}, not {:?}",
                        expected[name]
                    ));
                }
                Err(error) => corrupt("a table", error)?,
            }
        }
    }
    if let Ok(tags) = database.tags()
        && newest == Some(model.newest())
    {
        let tags: BTreeMap<String, u64> = tags.into_iter().map(|tag| (tag.name, tag.version.0)).collect();
        if tags != model.tags {
            return Err(format!("tags are {tags:?}, not {:?}", model.tags));
        }
    }
    Ok(newest)
}
