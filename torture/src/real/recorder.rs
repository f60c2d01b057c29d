//! Records every call that changes something on disk, with its data, and what was acknowledged in between; and
//! rebuilds what a power cut at any point of the record could leave.
//!
//! A write is safe when a sync of its file that began after it has ended, a name when a sync of its directory has.
//! Of the rest any subset may be there, in any order, torn at 512 bytes; a lost write may leave the file as long as it
//! would have been, with zeros or old bytes in its place.

use super::call::{Call, Watcher, plain};
use crate::Chance;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Disks write whole sectors.
const SECTOR: usize = 512;

/// One entry of the record.
#[derive(Clone, Debug)]
enum Event {
    CreateFile(PathBuf, u64),
    CreateDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Write(u64, u64, Vec<u8>),
    SetLen(u64, u64),
    /// What was recorded before the other event is safe.
    Synced(u64, usize),
    SyncedDir(PathBuf, usize),
    Acknowledged(u64),
}

/// The record of everything done below a directory by the processes that share it.
#[derive(Debug, Default)]
pub struct Recorder {
    root: PathBuf,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    events: Vec<Event>,
    /// Files by the name they have now.
    names: BTreeMap<PathBuf, u64>,
    files: u64,
    /// What was there before anything was recorded: durable.
    base: Image,
}

/// A directory's content: directories, names and files by number.
#[derive(Clone, Debug, Default)]
struct Image {
    dirs: Vec<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, Vec<u8>>,
}

impl Recorder {
    /// Records what is done below a directory; what is there already is taken for durable.
    pub fn new(root: &Path) -> io::Result<Recorder> {
        let mut base = Image::default();
        read_image(root, &mut base)?;
        let record =
            Record { events: Vec::new(), names: base.names.clone(), files: base.files.len() as u64, base };
        Ok(Recorder { root: plain(root), record: Mutex::new(record) })
    }

    /// Something was acknowledged to a user, who may rely on it from here on.
    pub fn acknowledge(&self, what: u64) {
        self.record.lock().events.push(Event::Acknowledged(what));
    }

    /// Entries so far: a power cut may come before each of them, and behind the last.
    pub fn len(&self) -> usize {
        self.record.lock().events.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was acknowledged before an entry.
    pub fn acknowledged(&self, entry: usize) -> Vec<u64> {
        let record = self.record.lock();
        let before = record.events[..entry].iter();
        before
            .filter_map(|event| if let Event::Acknowledged(what) = event { Some(*what) } else { None })
            .collect()
    }

    /// Makes a directory as a power cut before an entry could leave it. Gives a digest of what is in it.
    pub fn rebuild(&self, entry: usize, chance: &mut Chance, target: &Path) -> io::Result<[u8; 32]> {
        let image = {
            let record = self.record.lock();
            let mut cut = Cut::new(record.base.clone());
            record.events[..entry].iter().enumerate().for_each(|(number, event)| cut.apply(number, event));
            cut.lose(chance)
        };
        image.write(&self.root, target)
    }
}

fn read_image(dir: &Path, image: &mut Image) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = plain(&entry.path());
        if entry.file_type()?.is_dir() {
            image.dirs.push(path.clone());
            read_image(&path, image)?;
        } else {
            let number = image.files.len() as u64 + 1;
            image.files.insert(number, std::fs::read(&path)?);
            image.names.insert(path, number);
        }
    }
    Ok(())
}

impl Watcher for Recorder {
    fn call(
        &self,
        file: u64,
        call: Call<'_>,
        perform: &mut dyn FnMut(Option<usize>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // Syncs may overlap with other work: they cover what was recorded before they began.
        if let Call::Sync | Call::SyncDir(_) = call {
            let before = self.len();
            perform(None)?;
            let mut record = self.record.lock();
            match call {
                Call::SyncDir(dir) => record.events.push(Event::SyncedDir(plain(dir), before)),
                _ => record.events.push(Event::Synced(file, before)),
            }
            return Ok(0);
        }
        let mut record = self.record.lock();
        let done = perform(None)?;
        let event = match call {
            Call::Create(path) => {
                record.files += 1;
                let number = record.files;
                record.names.insert(plain(path), number);
                Event::CreateFile(plain(path), number)
            }
            Call::Write(offset, bytes) => Event::Write(file, offset, bytes[..done].to_vec()),
            Call::SetLen(len) => Event::SetLen(file, len),
            Call::CreateDir(path) => Event::CreateDir(plain(path)),
            Call::Rename(from, to) => {
                if let Some(number) = record.names.remove(&plain(from)) {
                    record.names.insert(plain(to), number);
                }
                Event::Rename(plain(from), plain(to))
            }
            Call::Remove(path) | Call::RemoveDir(path) => {
                record.names.remove(&plain(path));
                Event::Remove(plain(path))
            }
            // A map that is never synced is a hint: another boot does not believe it.
            Call::Open(_) | Call::Lock | Call::Unlock | Call::Store | Call::Sync | Call::SyncDir(_) => {
                return Ok(done);
            }
        };
        record.events.push(event);
        Ok(done)
    }

    fn opened(&self, path: &Path) -> u64 {
        self.record.lock().names.get(&plain(path)).copied().unwrap_or(0)
    }
}

/// What is safe, and what is not yet, while a record is replayed.
struct Cut {
    safe: Image,
    names: Vec<(usize, NameChange)>,
    changes: BTreeMap<u64, Vec<(usize, Change)>>,
}

#[derive(Clone, Debug)]
enum NameChange {
    File(PathBuf, u64),
    Dir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::File(path, _) | NameChange::Dir(path) | NameChange::Remove(path) => path.parent(),
            NameChange::Rename(_, to) => to.parent(),
        }
    }

    fn apply(self, image: &mut Image, known: &BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::File(path, number) => drop(image.names.insert(path, number)),
            NameChange::Dir(path) => image.dirs.push(path),
            NameChange::Rename(from, to) => {
                let number = image.names.remove(&from).or_else(|| known.get(&from).copied());
                if let Some(number) = number {
                    image.names.insert(to, number);
                }
            }
            NameChange::Remove(path) => {
                image.names.remove(&path);
                image.dirs.retain(|dir| *dir != path);
            }
        }
    }
}

impl Cut {
    fn new(safe: Image) -> Cut {
        Cut { safe, names: Vec::new(), changes: BTreeMap::new() }
    }

    fn apply(&mut self, entry: usize, event: &Event) {
        match event.clone() {
            Event::CreateFile(path, file) => {
                self.changes.entry(file).or_default();
                self.names.push((entry, NameChange::File(path, file)));
            }
            Event::CreateDir(path) => self.names.push((entry, NameChange::Dir(path))),
            Event::Rename(from, to) => self.names.push((entry, NameChange::Rename(from, to))),
            Event::Remove(path) => self.names.push((entry, NameChange::Remove(path))),
            Event::Write(file, offset, bytes) => {
                let change = Change::Write(offset as usize, bytes);
                self.changes.entry(file).or_default().push((entry, change));
            }
            Event::SetLen(file, len) => {
                self.changes.entry(file).or_default().push((entry, Change::SetLen(len as usize)));
            }
            Event::Synced(file, before) => {
                let changes = self.changes.entry(file).or_default();
                let covered =
                    changes.iter().position(|(number, _)| *number >= before).unwrap_or(changes.len());
                let content = self.safe.files.entry(file).or_default();
                changes.drain(..covered).for_each(|(_, change)| change.apply(content));
            }
            Event::SyncedDir(dir, before) => {
                let known = self.known_names();
                let (covered, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.names)
                    .into_iter()
                    .partition(|(number, change)| *number < before && change.dir() == Some(&dir));
                self.names = left;
                covered.into_iter().for_each(|(_, change)| change.apply(&mut self.safe, &known));
            }
            Event::Acknowledged(_) => {}
        }
    }

    /// Every name that a file has had since the last sync of its directory.
    fn known_names(&self) -> BTreeMap<PathBuf, u64> {
        let mut known = self.safe.names.clone();
        for (_, change) in &self.names {
            match change {
                NameChange::File(path, number) => drop(known.insert(path.clone(), *number)),
                NameChange::Rename(from, to) => {
                    if let Some(number) = known.get(from).copied() {
                        known.insert(to.clone(), number);
                    }
                }
                NameChange::Dir(_) | NameChange::Remove(_) => {}
            }
        }
        known
    }

    /// What is left by chance: each thing that is not safe may be there, or not, or in part.
    fn lose(mut self, chance: &mut Chance) -> Image {
        let known = self.known_names();
        let mood = chance.below(4);
        for (_, change) in std::mem::take(&mut self.names) {
            let kept = match mood {
                0 => true,
                1 => false,
                _ => chance.one_in(2),
            };
            if kept {
                change.apply(&mut self.safe, &known);
            }
        }
        let mut image = self.safe;
        for (file, changes) in self.changes {
            let content = image.files.entry(file).or_default();
            let mut changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
            let mood = chance.below(4);
            while !changes.is_empty() {
                let next = if mood == 0 { 0 } else { chance.below(changes.len() as u64) as usize };
                let change = changes.remove(next);
                match mood {
                    0 => change.apply(content),
                    1 => {}
                    _ => change.apply_in_part(content, chance),
                }
            }
        }
        image
    }
}

impl Change {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Change::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[offset..end].copy_from_slice(&bytes);
            }
            Change::SetLen(len) => content.resize(len, 0),
        }
    }

    fn apply_in_part(self, content: &mut Vec<u8>, chance: &mut Chance) {
        let (offset, bytes) = match self {
            Change::Write(offset, bytes) => (offset, bytes),
            Change::SetLen(len) => {
                if chance.one_in(2) {
                    content.resize(len, 0);
                }
                return;
            }
        };
        let end = offset + bytes.len();
        match chance.below(4) {
            // Lost.
            0 => {}
            // The length is there, the bytes are not: zeros, or what the sectors held before.
            1 if content.len() < end => {
                let filler = if chance.one_in(2) { 0 } else { chance.below(256) as u8 };
                content.resize(end, filler);
            }
            // Some of its sectors.
            2 => {
                let mut at = 0;
                while at < bytes.len() {
                    let sector_end = (offset + at) / SECTOR * SECTOR + SECTOR - offset;
                    let until = sector_end.min(bytes.len());
                    if chance.one_in(2) {
                        Change::Write(offset + at, bytes[at..until].to_vec()).apply(content);
                    }
                    at = until;
                }
            }
            _ => Change::Write(offset, bytes).apply(content),
        }
    }
}

impl Image {
    /// Writes the directory elsewhere, as it was below `root`. Nothing is synced: it is for one look.
    fn write(&self, root: &Path, target: &Path) -> io::Result<[u8; 32]> {
        let place = |path: &Path| path.strip_prefix(root).map(|rest| target.join(rest)).ok();
        std::fs::create_dir_all(target)?;
        let mut dirs = self.dirs.clone();
        dirs.sort();
        let mut hasher = blake3::Hasher::new();
        for dir in dirs.iter().filter_map(|dir| place(dir)) {
            // A directory whose parent was lost is lost with it.
            if dir.parent().is_some_and(Path::exists) && !dir.exists() {
                std::fs::create_dir(&dir)?;
            }
        }
        for (name, file) in &self.names {
            let Some(path) = place(name).filter(|path| path.parent().is_some_and(Path::exists)) else {
                continue;
            };
            let content = self.files.get(file).map_or(&[][..], |content| content);
            hasher.update(name.to_string_lossy().as_bytes());
            hasher.update(&(content.len() as u64).to_le_bytes());
            hasher.update(content);
            std::fs::write(path, content)?;
        }
        Ok(hasher.finalize().into())
    }
}
