//! A disk in memory that behaves as badly as a real one may, from a seed.
//!
//! What was not synced may be lost, torn at any byte or reordered by a power cut ([`SimDisk::crash`]); names may be
//! lost where the directory was not synced. A killed process ([`SimDisk::kill`]) loses its locks, but what it wrote
//! stays in the page cache. Faults are planned for the n-th operation that changes anything. A failed sync marks
//! pages clean that may never have reached the disk, as Linux does.

use super::{DirEntry, Disk, DiskFile, FileId, LockKind, Metadata, OpenMode, SharedWords};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with this kind of error and has no effect; a failed sync forgets what it had to write.
    Error(io::ErrorKind),
    /// A write does half its work; other operations are not affected.
    ShortWrite,
    /// The process is killed within the operation; a write may have been done in part.
    Kill,
}

/// One process's view of a simulated disk. Clones are the same process.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    process: u32,
}

#[derive(Debug)]
struct World {
    chance: u64,
    boot: u64,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    locks: Vec<Lock>,
    dead: BTreeSet<u32>,
    faults: BTreeMap<u64, Fault>,
    operations: u64,
    syncs: u64,
    next_process: u32,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Inode {
    is_dir: bool,
    cache: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    words: Option<Arc<Vec<AtomicU64>>>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Debug)]
struct Lock {
    inode: u64,
    handle: u64,
    process: u32,
    kind: LockKind,
}

impl SimDisk {
    /// An empty disk with the directory `/`.
    pub fn new(seed: u64) -> SimDisk {
        let root = Inode { is_dir: true, ..Inode::default() };
        let names = BTreeMap::from([(PathBuf::from("/"), 1)]);
        let world = World {
            chance: seed.wrapping_mul(2).wrapping_add(1),
            boot: 1,
            inodes: BTreeMap::from([(1, root)]),
            durable_names: names.clone(),
            names,
            unsynced_names: Vec::new(),
            locks: Vec::new(),
            dead: BTreeSet::new(),
            faults: BTreeMap::new(),
            operations: 0,
            syncs: 0,
            next_process: 2,
            next_number: 2,
        };
        SimDisk { world: Arc::new(Mutex::new(world)), process: 1 }
    }

    /// Another process on the same machine.
    pub fn process(&self) -> SimDisk {
        let mut world = self.world.lock();
        let process = world.next_process;
        world.next_process += 1;
        SimDisk { world: Arc::clone(&self.world), process }
    }

    /// Kills this process: its locks are free, everything it does from now on fails and has no effect.
    pub fn kill(&self) {
        self.world.lock().kill(self.process);
    }

    /// Whether this process has been killed.
    pub fn is_dead(&self) -> bool {
        self.world.lock().dead.contains(&self.process)
    }

    /// Cuts the power: all processes die, unsynced writes and names are lost, torn or kept by chance.
    pub fn crash(&self) {
        self.world.lock().crash();
    }

    /// Plans a fault for the operation with this number; see [`SimDisk::operations`].
    pub fn plan(&self, operation: u64, fault: Fault) {
        self.world.lock().faults.insert(operation, fault);
    }

    /// Forgets all planned faults.
    pub fn heal(&self) {
        self.world.lock().faults.clear();
    }

    /// How many operations that change anything there were: the next one has this number.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.world.lock().syncs
    }

    /// The bytes of a file as processes see them.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world.lock();
        let inode = world.find(path)?;
        Ok(world.inodes[&inode].cache.clone())
    }

    /// Replaces the bytes of a file, durably and without any process: damage.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world.lock();
        let number = world.find(path)?;
        let inode = world.inodes.get_mut(&number).expect("named inodes exist");
        inode.unsynced.clear();
        inode.cache = bytes.to_vec();
        inode.durable = bytes.to_vec();
        Ok(())
    }

    /// Counts an operation and says what goes wrong with it.
    fn begin(&self) -> io::Result<(MutexGuard<'_, World>, Option<Fault>)> {
        let mut world = self.world.lock();
        world.check_alive(self.process)?;
        let number = world.operations;
        world.operations += 1;
        let fault = world.faults.get(&number).copied();
        Ok((world, fault))
    }

    /// As [`SimDisk::begin`], for operations that are done wholly or not at all.
    fn begin_whole(&self) -> io::Result<MutexGuard<'_, World>> {
        let (mut world, fault) = self.begin()?;
        match fault {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Kill) => {
                world.kill(self.process);
                Err(dead())
            }
            Some(Fault::ShortWrite) | None => Ok(world),
        }
    }
}

impl World {
    /// xorshift64*.
    fn random(&mut self, below: usize) -> usize {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below.max(1)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn check_alive(&self, process: u32) -> io::Result<()> {
        if self.dead.contains(&process) { Err(dead()) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn kill(&mut self, process: u32) {
        self.dead.insert(process);
        self.locks.retain(|lock| lock.process != process);
    }

    fn crash(&mut self) {
        self.dead.extend(1..self.next_process);
        self.locks.clear();
        self.faults.clear();
        self.boot += 1;
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.random(2) == 0 {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let numbers: Vec<u64> = self.inodes.keys().copied().collect();
        for number in numbers {
            self.lose_unsynced(number, true);
            let keep: Vec<bool> = (0..64).map(|_| self.random(4) > 0).collect();
            let inode = self.inodes.get_mut(&number).expect("listed");
            inode.cache = inode.durable.clone();
            for (word, keep) in inode.words.iter().flat_map(|words| words.iter()).zip(keep) {
                if !keep {
                    word.store(0, Ordering::Release);
                }
            }
        }
    }

    /// Each unsynced change of an inode reaches the disk, or not, or in part, in any order.
    fn lose_unsynced(&mut self, number: u64, shuffle: bool) {
        let mut changes = std::mem::take(&mut self.inodes.get_mut(&number).expect("exists").unsynced);
        let mood = self.random(4);
        while !changes.is_empty() {
            let pick = if shuffle { self.random(changes.len()) } else { 0 };
            let mut change = changes.remove(pick);
            let fate = if mood < 2 { self.random(3) } else { mood - 2 };
            if fate == 0 {
                continue;
            }
            if fate == 2
                && let Change::Write { offset, bytes } = &mut change
            {
                let (from, to) = (self.random(bytes.len()), self.random(bytes.len() + 1));
                let torn = bytes[from.min(to)..from.max(to)].to_vec();
                (*offset, *bytes) = (*offset + from.min(to), torn);
            }
            change.apply(&mut self.inodes.get_mut(&number).expect("exists").durable);
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => content.resize(*len, 0),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
            NameChange::Remove(path) => drop(names.remove(path)),
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(_, path, _) => {
                path.parent()
            }
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the simulated process was killed")
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        world.check_alive(self.process)?;
        let found = world.find(path);
        let inode = match (mode, found) {
            (OpenMode::CreateNew, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Read | OpenMode::ReadWrite, Err(error)) => return Err(error),
            (_, Ok(inode)) => inode,
            (_, Err(_)) => {
                drop(world);
                world = self.begin_whole()?;
                let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
                world.find(parent)?;
                let number = world.number();
                world.inodes.insert(number, Inode::default());
                world.names.insert(path.to_path_buf(), number);
                world.unsynced_names.push(NameChange::Set(path.to_path_buf(), number));
                number
            }
        };
        let handle = world.number();
        drop(world);
        Ok(Arc::new(SimFile { disk: self.clone(), inode, handle, write: mode != OpenMode::Read }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.begin_whole()?;
        if world.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.find(path.parent().ok_or(io::ErrorKind::NotFound)?)?;
        let number = world.number();
        world.inodes.insert(number, Inode { is_dir: true, ..Inode::default() });
        world.names.insert(path.to_path_buf(), number);
        world.unsynced_names.push(NameChange::Set(path.to_path_buf(), number));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let world = self.world.lock();
        world.check_alive(self.process)?;
        world.find(dir)?;
        let inside = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, number): (&PathBuf, &u64)| {
            let inode = &world.inodes[number];
            let name = path.file_name()?.to_str()?.to_string();
            Some(DirEntry { name, is_dir: inode.is_dir, len: inode.cache.len() as u64 })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.begin_whole()?;
        let inode = world.find(from)?;
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf(), inode);
        change.apply(&mut world.names);
        world.unsynced_names.push(change);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.world.lock().find(path)?;
        let mut world = self.begin_whole()?;
        let change = NameChange::Remove(path.to_path_buf());
        change.apply(&mut world.names);
        world.unsynced_names.push(change);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.begin_whole()?;
        let (synced, left): (Vec<_>, Vec<_>) = std::mem::take(&mut world.unsynced_names)
            .into_iter()
            .partition(|change| change.dir() == Some(dir));
        world.unsynced_names = left;
        synced.iter().for_each(|change| change.apply(&mut world.durable_names));
        Ok(())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let world = self.world.lock();
        world.check_alive(self.process)?;
        let inode = &world.inodes[&world.find(path)?];
        Ok(Metadata { len: inode.cache.len() as u64, is_dir: inode.is_dir })
    }

    fn shared_map(&self, path: &Path, len: usize, write: bool) -> io::Result<Arc<dyn SharedWords>> {
        let mut world = self.world.lock();
        world.check_alive(self.process)?;
        let number = world.find(path)?;
        let inode = world.inodes.get_mut(&number).expect("named inodes exist");
        if inode.cache.len() < len {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let content = &inode.cache;
        let words = inode.words.get_or_insert_with(|| {
            let word =
                |bytes: &[u8]| AtomicU64::new(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
            Arc::new(content[..len].chunks_exact(8).map(word).collect())
        });
        let words = Arc::clone(words);
        drop(world);
        Ok(Arc::new(SimWords { disk: self.clone(), inode: number, words, write }))
    }

    fn boot_id(&self) -> [u8; 16] {
        u128::from(self.world.lock().boot).to_be_bytes()
    }

    fn process_id(&self) -> u32 {
        self.process
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    handle: u64,
    write: bool,
}

impl SimFile {
    fn change(&self, world: &mut World, change: Change) {
        let inode = world.inodes.get_mut(&self.inode).expect("open inodes exist");
        change.apply(&mut inode.cache);
        inode.unsynced.push(change);
    }

    fn sync(&self) -> io::Result<()> {
        let (mut world, fault) = self.disk.begin()?;
        world.syncs += 1;
        match fault {
            Some(Fault::Error(kind)) => {
                world.lose_unsynced(self.inode, false);
                Err(kind.into())
            }
            Some(Fault::Kill) => {
                world.kill(self.disk.process);
                Err(dead())
            }
            Some(Fault::ShortWrite) | None => {
                let inode = world.inodes.get_mut(&self.inode).expect("open inodes exist");
                for change in std::mem::take(&mut inode.unsynced) {
                    change.apply(&mut inode.durable);
                }
                Ok(())
            }
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.world.lock();
        world.check_alive(self.disk.process)?;
        let content = &world.inodes[&self.inode].cache;
        let start = content.len().min(offset as usize);
        let count = buf.len().min(content.len() - start);
        buf[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        assert!(self.write, "the file was opened for writing");
        let (mut world, fault) = self.disk.begin()?;
        let count = match fault {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::ShortWrite) => buf.len().div_ceil(2),
            Some(Fault::Kill) => world.random(buf.len() + 1),
            None => buf.len(),
        };
        self.change(&mut world, Change::Write { offset: offset as usize, bytes: buf[..count].to_vec() });
        if fault == Some(Fault::Kill) {
            world.kill(self.disk.process);
            return Err(dead());
        }
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        let world = self.disk.world.lock();
        world.check_alive(self.disk.process)?;
        Ok(world.inodes[&self.inode].cache.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.disk.begin_whole()?;
        self.change(&mut world, Change::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        let mut world = self.disk.world.lock();
        world.check_alive(self.disk.process)?;
        let others = |lock: &&Lock| lock.inode == self.inode && lock.handle != self.handle;
        let conflict = |lock: &Lock| kind == LockKind::Exclusive || lock.kind == LockKind::Exclusive;
        if world.locks.iter().filter(others).any(conflict) {
            return Ok(false);
        }
        world.locks.retain(|lock| lock.handle != self.handle);
        let (inode, handle, process) = (self.inode, self.handle, self.disk.process);
        world.locks.push(Lock { inode, handle, process, kind });
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut world = self.disk.world.lock();
        world.check_alive(self.disk.process)?;
        world.locks.retain(|lock| lock.handle != self.handle);
        Ok(())
    }

    fn is_linked(&self) -> io::Result<bool> {
        let world = self.disk.world.lock();
        world.check_alive(self.disk.process)?;
        Ok(world.names.values().any(|inode| *inode == self.inode))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.world.lock().locks.retain(|lock| lock.handle != self.handle);
    }
}

#[derive(Debug)]
struct SimWords {
    disk: SimDisk,
    inode: u64,
    words: Arc<Vec<AtomicU64>>,
    write: bool,
}

impl SharedWords for SimWords {
    fn load(&self, index: usize) -> u64 {
        self.words[index].load(Ordering::Acquire)
    }

    /// An operation too: a process may be killed between two words.
    fn store(&self, index: usize, value: u64) {
        assert!(self.write, "the map was opened for writing");
        let Ok((mut world, fault)) = self.disk.begin() else { return };
        if fault == Some(Fault::Kill) {
            world.kill(self.disk.process);
            return;
        }
        self.words[index].store(value, Ordering::Release);
    }

    fn identity(&self) -> FileId {
        FileId { device: 1, inode: self.inode, born: self.inode }
    }
}
