//! The one door to files. Everything the log and the store do to a disk passes here, so that a test may put a
//! disk in memory in its place and replay any crash from a seed.

mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub use real::RealDisk;

use crate::planted::{Bug, planted};
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened. All descriptors are close-on-exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
    /// For reading and writing; made empty where it is missing, kept as it is where not.
    Create,
}

/// The two kinds of advisory lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Any number of holders.
    Shared,
    /// One holder, and no shared one.
    Exclusive,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The file's name. Names that are not UTF-8 are not listed: the store makes none.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes.
    pub len: u64,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// What tells one file from every other, copies included: device, inode and time of birth (0 where unknown).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileId {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
    /// Nanoseconds since 1970 at birth: inode numbers are used again, this is not.
    pub born: u64,
}

/// A disk: directories and names.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes one directory; its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Lists a directory, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Renames a file, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name; who has it open keeps it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Length and kind of a path.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Maps the first `len` bytes of an existing file (at least that long, `len` a multiple of 8) as words that
    /// all processes share.
    fn shared_map(&self, path: &Path, len: usize, write: bool) -> io::Result<Arc<dyn SharedWords>>;
    /// What changes with every start of the machine; all zeros where that is not known.
    fn boot_id(&self) -> [u8; 16];
    /// The number of the calling process.
    fn process_id(&self) -> u32;

    /// Whether it shows copies of files that lie elsewhere, and not those that are superseded.
    fn is_selection(&self) -> bool {
        false
    }

    /// Whether a path exists.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Reads at an offset; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at an offset; may write less than asked.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the data, and what is needed to read it, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes data and metadata durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Takes the advisory lock of this open file, without waiting. It dies with the process.
    fn try_lock(&self, kind: LockKind) -> io::Result<bool>;
    /// Gives the lock back.
    fn unlock(&self) -> io::Result<()>;
    /// Whether the file still has a name.
    fn is_linked(&self) -> io::Result<bool>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads as much as there is, up to the whole buffer.
    fn read_up_to_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Fills the buffer or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_up_to_at(buf, offset)? < buf.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Writes the whole buffer.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.write_at(&buf[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) if planted(Bug::ShortWriteIgnored) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A small file as 64-bit words in memory that all processes share.
pub trait SharedWords: Send + Sync + Debug {
    /// Reads a word (acquire).
    fn load(&self, index: usize) -> u64;
    /// Writes a word (release). Only for maps opened for writing.
    fn store(&self, index: usize, value: u64);
    /// Which file is mapped.
    fn identity(&self) -> FileId;
}
