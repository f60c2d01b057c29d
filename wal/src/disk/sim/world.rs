//! What all processes of a simulated machine share: the disk's content, locks, who is dead, what will go wrong, and
//! what has been done so far.

use super::content::{Content, Inode, NameChange};
use super::cut::{Chance, Cut};
use super::image::{Image, Recorded, hash_bytes};
use crate::disk::LockKind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

/// What goes wrong at an operation or call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It fails with this kind of error and has no effect; a failed sync forgets what it had to write.
    Error(io::ErrorKind),
    /// A write does half its work; other operations are not affected.
    ShortWrite,
    /// There is no space: what needs some fails, other operations are not affected.
    Full,
    /// The quota is used up: the same, under another name.
    Quota,
    /// The disk can only be read: what changes something on it fails, other operations are not affected.
    ReadOnly,
    /// The process is killed within the operation; a write may have been done in part.
    Kill,
}

/// The kinds of operations that change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A file is made.
    Create,
    /// A directory is made.
    MakeDir,
    /// A file gets another name.
    Rename,
    /// A file or directory loses its name.
    Remove,
    /// Names are made durable.
    SyncDir,
    /// Bytes are written.
    Write,
    /// A length changes.
    SetLen,
    /// Bytes are made durable.
    Sync,
    /// A word of a shared map is written.
    Word,
}

impl Fault {
    /// The error of an operation that this fault keeps from the disk without the disk being broken.
    fn refusal(self, operation: Operation) -> Option<io::ErrorKind> {
        match self {
            Fault::Full => operation.needs_space().then_some(io::ErrorKind::StorageFull),
            Fault::Quota => operation.needs_space().then_some(io::ErrorKind::QuotaExceeded),
            Fault::ReadOnly => operation.changes_disk().then_some(io::ErrorKind::ReadOnlyFilesystem),
            Fault::Error(_) | Fault::ShortWrite | Fault::Kill => None,
        }
    }

    /// Whether it is one that only refuses some operations.
    fn refuses(self) -> bool {
        matches!(self, Fault::Full | Fault::Quota | Fault::ReadOnly)
    }
}

impl Operation {
    /// Whether it fails on a disk that can only be read: what was written before can still be synced.
    fn changes_disk(self) -> bool {
        !matches!(self, Operation::Sync | Operation::SyncDir | Operation::Word)
    }

    /// Whether it fails on a full disk.
    fn needs_space(self) -> bool {
        matches!(
            self,
            Operation::Create | Operation::MakeDir | Operation::Write | Operation::SetLen | Operation::Sync
        )
    }
}

#[derive(Debug)]
pub(super) struct Lock {
    pub inode: u64,
    pub handle: u64,
    pub process: u32,
    pub kind: LockKind,
}

#[derive(Debug)]
pub(super) struct World {
    pub content: Content,
    pub locks: Vec<Lock>,
    pub faults: BTreeMap<u64, Fault>,
    pub call_faults: BTreeMap<u64, Fault>,
    pub fault_from: Option<(u64, Fault)>,
    pub boot: u64,
    pub operations: u64,
    pub calls: u64,
    pub syncs: u64,
    pub trace: u64,
    pub mark: u64,
    /// The first operation that a planned fault hit.
    pub struck: Option<Operation>,
    pub chance: Chance,
    dead: BTreeSet<u32>,
    next_process: u32,
    next_number: u64,
    recorder: Option<Recorder>,
}

type Wanted = Box<dyn FnMut(u64, Operation) -> bool + Send>;

struct Recorder {
    wanted: Wanted,
    taken: Vec<Recorded>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({} taken)", self.taken.len())
    }
}

pub(super) fn dead() -> io::Error {
    io::Error::other("the simulated process was killed")
}

impl World {
    pub fn new(seed: u64) -> World {
        World::with(Content::new(), seed, 1, 2, 2)
    }

    pub fn from_image(image: &Image, cut: Cut) -> World {
        let mut content = image.content.clone();
        content.cut(cut);
        let boot = image.boot + u64::from(cut != Cut::Kill);
        let mut world = World::with(content, image.next_number, boot, image.next_process, image.next_number);
        world.dead.extend(0..image.next_process);
        world.dead.remove(&1);
        world
    }

    fn with(content: Content, seed: u64, boot: u64, next_process: u32, next_number: u64) -> World {
        World {
            content,
            locks: Vec::new(),
            faults: BTreeMap::new(),
            call_faults: BTreeMap::new(),
            fault_from: None,
            boot,
            operations: 0,
            calls: 0,
            syncs: 0,
            trace: 0,
            mark: 0,
            struck: None,
            chance: Chance::new(seed),
            dead: BTreeSet::new(),
            next_process,
            next_number,
            recorder: None,
        }
    }

    pub fn image(&self) -> Image {
        let (content, boot) = (self.content.clone(), self.boot);
        Image { content, boot, next_process: self.next_process, next_number: self.next_number }
    }

    pub fn record(&mut self, wanted: Wanted) {
        self.recorder = Some(Recorder { wanted, taken: Vec::new() });
    }

    pub fn recorded(&mut self) -> Vec<Recorded> {
        self.recorder.take().map_or_else(Vec::new, |recorder| recorder.taken)
    }

    pub fn heal(&mut self) {
        self.faults.clear();
        self.call_faults.clear();
        self.fault_from = None;
    }

    pub fn next_process(&mut self) -> u32 {
        self.next_process += 1;
        self.next_process - 1
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub fn check_alive(&self, process: u32) -> io::Result<()> {
        if self.dead.contains(&process) { Err(dead()) } else { Ok(()) }
    }

    pub fn find(&self, path: &Path) -> io::Result<u64> {
        self.content.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn inode(&mut self, number: u64) -> &mut Inode {
        self.content.inodes.get_mut(&number).expect("open and named inodes exist")
    }

    pub fn make(&mut self, path: &Path, inode: Inode) -> u64 {
        let number = self.number();
        self.content.inodes.insert(number, inode);
        self.change_name(NameChange::Set(path.into(), number));
        number
    }

    pub fn change_name(&mut self, change: NameChange) {
        self.trace_path(change.path());
        self.content.change_name(change);
    }

    pub fn kill(&mut self, process: u32) {
        self.dead.insert(process);
        self.locks.retain(|lock| lock.process != process);
    }

    pub fn kill_all_but(&mut self, process: u32) {
        for other in (0..self.next_process).filter(|other| *other != process) {
            self.kill(other);
        }
    }

    pub fn crash(&mut self) {
        self.dead.extend(1..self.next_process);
        self.locks.clear();
        self.heal();
        self.boot += 1;
        let seed = self.chance.below(usize::MAX) as u64;
        self.content.cut(Cut::Random(seed));
    }

    /// Counts an operation and says what goes wrong with it.
    pub fn begin(&mut self, process: u32, operation: Operation) -> io::Result<Option<Fault>> {
        self.check_alive(process)?;
        let number = self.operations;
        if self.recorder.as_mut().is_some_and(|recorder| (recorder.wanted)(number, operation)) {
            let (mark, image) = (self.mark, self.image());
            let recorder = self.recorder.as_mut().expect("it was just asked");
            recorder.taken.push(Recorded { number, operation, mark, image });
        }
        self.operations += 1;
        self.trace_words(&[u64::from(process), operation as u64]);
        let planned = self.call().or(self.faults.get(&number).copied());
        if planned.is_some() && self.struck.is_none() {
            self.struck = Some(operation);
        }
        Ok(match planned {
            Some(fault) if fault.refuses() => fault.refusal(operation).map(Fault::Error),
            planned => planned,
        })
    }

    /// Counts a call that changes nothing; it may fail all the same.
    pub fn look(&mut self, process: u32) -> io::Result<()> {
        self.check_alive(process)?;
        let fault = self.call().filter(|fault| !fault.refuses());
        self.whole(process, fault)
    }

    fn call(&mut self) -> Option<Fault> {
        let number = self.calls;
        self.calls += 1;
        let lasting = self.fault_from.filter(|(from, fault)| {
            let interrupts = *fault == Fault::Error(io::ErrorKind::Interrupted);
            number >= *from && (!interrupts || (number - from).is_multiple_of(2))
        });
        self.call_faults.get(&number).copied().or(lasting.map(|(_, fault)| fault))
    }

    /// What a fault means to an operation that is done wholly or not at all.
    pub fn whole(&mut self, process: u32, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Kill) => {
                self.kill(process);
                Err(dead())
            }
            Some(Fault::ShortWrite | Fault::Full | Fault::Quota | Fault::ReadOnly) | None => Ok(()),
        }
    }

    pub fn trace_path(&mut self, path: &Path) {
        let hash = hash_bytes(path.as_os_str().as_encoded_bytes());
        self.trace_words(&[hash]);
    }

    pub fn trace_bytes(&mut self, inode: u64, offset: u64, bytes: &[u8]) {
        let hash = hash_bytes(bytes);
        self.trace_words(&[inode, offset, hash]);
    }

    fn trace_words(&mut self, words: &[u64]) {
        for word in words {
            self.trace = (self.trace ^ word).wrapping_mul(0x2545_F491_4F6C_DD1D).rotate_left(23);
        }
    }
}
