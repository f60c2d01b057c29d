//! A disk in memory that behaves as badly as a real one may, from a seed.
//!
//! What was not synced may be lost, torn at any byte or sector, or reordered by a power cut ([`SimDisk::crash`],
//! [`Cut`]); names may be lost where the directory was not synced. A killed process ([`SimDisk::kill`]) loses its
//! locks, but what it wrote stays in the page cache. Faults are planned for the n-th operation that changes anything,
//! or for the n-th call of any kind. A failed sync marks pages clean that may never have reached the disk, as Linux
//! does. The disk as it was before each operation can be kept ([`SimDisk::record`]), and the power cut there later, in
//! as many ways as wanted.

mod content;
mod cut;
mod file;
mod image;
mod world;

pub use cut::Cut;
pub use image::{Image, Recorded};
pub use world::{Fault, Operation};

use super::{DirEntry, Disk, DiskFile, Metadata, OpenMode, SharedWords};
use content::{Inode, NameChange, Words};
use file::{SimFile, SimWords};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use world::{World, dead};

/// One process's view of a simulated disk. Clones are the same process.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    process: u32,
}

impl SimDisk {
    /// An empty disk with the directory `/`.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk { world: Arc::new(Mutex::new(World::new(seed))), process: 1 }
    }

    /// Another process on the same machine.
    pub fn process(&self) -> SimDisk {
        let process = self.world.lock().next_process();
        SimDisk { world: Arc::clone(&self.world), process }
    }

    /// Kills this process: its locks are free, everything it does from now on fails and has no effect.
    pub fn kill(&self) {
        self.world.lock().kill(self.process);
    }

    /// Kills all other processes.
    pub fn kill_others(&self) {
        self.world.lock().kill_all_but(self.process);
    }

    /// The first operation that a planned fault hit, if any was.
    pub fn struck(&self) -> Option<Operation> {
        self.world.lock().struck
    }

    /// Whether this process has been killed.
    pub fn is_dead(&self) -> bool {
        self.world.lock().check_alive(self.process).is_err()
    }

    /// Cuts the power: all processes die, unsynced writes and names are lost, torn or kept by chance.
    pub fn crash(&self) {
        self.world.lock().crash();
    }

    /// Plans a fault for the operation with this number; see [`SimDisk::operations`].
    pub fn plan(&self, operation: u64, fault: Fault) {
        self.world.lock().faults.insert(operation, fault);
    }

    /// Plans a fault for the call with this number, reading ones included; see [`SimDisk::calls`].
    pub fn plan_call(&self, call: u64, fault: Fault) {
        self.world.lock().call_faults.insert(call, fault);
    }

    /// Plans a fault for every call from this number on. Interruptions hit every other call.
    pub fn plan_calls_from(&self, call: u64, fault: Fault) {
        self.world.lock().fault_from = Some((call, fault));
    }

    /// Forgets all planned faults.
    pub fn heal(&self) {
        self.world.lock().heal();
    }

    /// How many operations that change anything there were: the next one has this number.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// How many calls of any kind there were: the next one has this number.
    pub fn calls(&self) -> u64 {
        self.world.lock().calls
    }

    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.world.lock().syncs
    }

    /// A hash of all operations so far: which process did what to which file with which bytes. (Words of shared maps
    /// count by place: what is in them tells apart handles of one program that runs many.)
    pub fn trace(&self) -> u64 {
        self.world.lock().trace
    }

    /// From now on keeps the disk as it is before each operation that `wanted` says yes to.
    pub fn record(&self, wanted: impl FnMut(u64, Operation) -> bool + Send + 'static) {
        self.world.lock().record(Box::new(wanted));
    }

    /// A mark that what is recorded from now on carries.
    pub fn mark(&self, mark: u64) {
        self.world.lock().mark = mark;
    }

    /// What was recorded, and the end of recording.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.world.lock().recorded()
    }

    /// The disk as it is now.
    pub fn image(&self) -> Image {
        self.world.lock().image()
    }

    /// A disk on another machine: an image's, after a cut.
    pub fn from_image(image: &Image, cut: Cut) -> SimDisk {
        SimDisk { world: Arc::new(Mutex::new(World::from_image(image, cut))), process: 1 }
    }

    /// The bytes of a file as processes see them.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world.lock();
        let inode = world.find(path)?;
        Ok(world.content.inodes[&inode].cache.to_vec())
    }

    /// Replaces the bytes of a file, durably and without any process: damage.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world.lock();
        let number = world.find(path)?;
        world.inode(number).overwrite(bytes);
        Ok(())
    }

    /// Takes a file's name away, durably and without any process: damage.
    pub fn lose(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.find(path)?;
        world.content.lose(path);
        Ok(())
    }

    /// Every file there is.
    pub fn files(&self) -> Vec<PathBuf> {
        self.world.lock().content.files()
    }

    /// Counts an operation and says what goes wrong with it.
    fn begin(&self, operation: Operation) -> io::Result<(MutexGuard<'_, World>, Option<Fault>)> {
        let mut world = self.world.lock();
        let fault = world.begin(self.process, operation)?;
        Ok((world, fault))
    }

    /// As [`SimDisk::begin`], for operations that are done wholly or not at all.
    fn begin_whole(&self, operation: Operation) -> io::Result<MutexGuard<'_, World>> {
        let (mut world, fault) = self.begin(operation)?;
        world.whole(self.process, fault)?;
        Ok(world)
    }

    /// Counts a call that changes nothing.
    fn look(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world.lock();
        world.look(self.process)?;
        Ok(world)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.look()?;
        let inode = match (mode, world.find(path)) {
            (OpenMode::CreateNew, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Read | OpenMode::ReadWrite, Err(error)) => return Err(error),
            (_, Ok(inode)) => inode,
            (_, Err(_)) => {
                drop(world);
                world = self.begin_whole(Operation::Create)?;
                let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
                world.find(parent)?;
                world.make(path, Inode::default())
            }
        };
        let handle = world.number();
        drop(world);
        Ok(Arc::new(SimFile { disk: self.clone(), inode, handle, write: mode != OpenMode::Read }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.begin_whole(Operation::MakeDir)?;
        if world.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.find(path.parent().ok_or(io::ErrorKind::NotFound)?)?;
        world.make(path, Inode { is_dir: true, ..Inode::default() });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let world = self.look()?;
        world.find(dir)?;
        let names = world.content.names.iter();
        let inside = names.filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, number): (&Arc<Path>, &u64)| {
            let inode = &world.content.inodes[number];
            let name = path.file_name()?.to_str()?.to_string();
            Some(DirEntry { name, is_dir: inode.is_dir, len: inode.cache.len() as u64 })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.begin_whole(Operation::Rename)?;
        let inode = world.find(from)?;
        world.change_name(NameChange::Rename(from.into(), to.into(), inode));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.world.lock().find(path)?;
        let mut world = self.begin_whole(Operation::Remove)?;
        world.change_name(NameChange::Remove(path.into()));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.begin_whole(Operation::SyncDir)?;
        world.content.sync_dir(dir);
        world.trace_path(dir);
        Ok(())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let world = self.look()?;
        let inode = &world.content.inodes[&world.find(path)?];
        Ok(Metadata { len: inode.cache.len() as u64, is_dir: inode.is_dir })
    }

    fn shared_map(&self, path: &Path, len: usize, write: bool) -> io::Result<Arc<dyn SharedWords>> {
        let mut world = self.look()?;
        let number = world.find(path)?;
        let inode = world.inode(number);
        if inode.cache.len() < len {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let words = inode.words.get_or_insert_with(|| Words::of(&inode.cache[..len])).shared();
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

fn killed(mut world: MutexGuard<'_, World>, process: u32) -> io::Error {
    world.kill(process);
    dead()
}
