//! Open files and shared maps of a simulated disk.

use super::content::Change;
use super::world::{Fault, Lock, Operation};
use super::{SimDisk, killed};
use crate::disk::{DiskFile, FileId, LockKind, SharedWords};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct SimFile {
    pub disk: SimDisk,
    pub inode: u64,
    pub handle: u64,
    pub write: bool,
}

impl SimFile {
    fn sync(&self) -> io::Result<()> {
        let (mut world, fault) = self.disk.begin(Operation::Sync)?;
        world.syncs += 1;
        world.trace_bytes(self.inode, 0, &[]);
        match fault {
            Some(Fault::Error(kind)) => {
                let mut chance = world.chance.clone();
                world.inode(self.inode).lose_unsynced(&mut chance, false, None);
                world.chance = chance;
                Err(kind.into())
            }
            Some(Fault::Kill) => Err(killed(world, self.disk.process)),
            Some(Fault::ShortWrite | Fault::Full | Fault::Quota | Fault::ReadOnly) | None => {
                world.inode(self.inode).sync();
                Ok(())
            }
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.look()?;
        let content = &world.content.inodes[&self.inode].cache;
        let start = content.len().min(offset as usize);
        let count = buf.len().min(content.len() - start);
        buf[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        assert!(self.write, "the file was opened for writing");
        let (mut world, fault) = self.disk.begin(Operation::Write)?;
        let count = match fault {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::ShortWrite) => buf.len().div_ceil(2),
            Some(Fault::Kill) => world.chance.below(buf.len() + 1),
            Some(Fault::Full | Fault::Quota | Fault::ReadOnly) | None => buf.len(),
        };
        let bytes: Arc<[u8]> = buf[..count].into();
        world.trace_bytes(self.inode, offset, &bytes);
        world.inode(self.inode).change(Change::Write { offset: offset as usize, bytes });
        if fault == Some(Fault::Kill) {
            return Err(killed(world, self.disk.process));
        }
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        let world = self.disk.look()?;
        Ok(world.content.inodes[&self.inode].cache.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.disk.begin_whole(Operation::SetLen)?;
        world.trace_bytes(self.inode, len, &[]);
        world.inode(self.inode).change(Change::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        let mut world = self.disk.look()?;
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
        let mut world = self.disk.look()?;
        world.locks.retain(|lock| lock.handle != self.handle);
        Ok(())
    }

    fn is_linked(&self) -> io::Result<bool> {
        let world = self.disk.look()?;
        Ok(world.content.names.values().any(|inode| *inode == self.inode))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.world.lock().locks.retain(|lock| lock.handle != self.handle);
    }
}

#[derive(Debug)]
pub(super) struct SimWords {
    pub disk: SimDisk,
    pub inode: u64,
    pub words: Arc<Vec<AtomicU64>>,
    pub write: bool,
}

impl SharedWords for SimWords {
    fn load(&self, index: usize) -> u64 {
        self.words[index].load(Ordering::Acquire)
    }

    /// An operation too: a process may be killed between two words. It cannot fail otherwise.
    fn store(&self, index: usize, value: u64) {
        assert!(self.write, "the map was opened for writing");
        let Ok((mut world, fault)) = self.disk.begin(Operation::Word) else { return };
        if fault == Some(Fault::Kill) {
            world.kill(self.disk.process);
            return;
        }
        world.trace_bytes(self.inode, index as u64, &[]);
        self.words[index].store(value, Ordering::Release);
    }

    fn identity(&self) -> FileId {
        FileId { device: 1, inode: self.inode, born: self.inode }
    }
}
