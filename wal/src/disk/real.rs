//! Files of the operating system: pread, pwrite, flock, mmap.

use super::{DirEntry, Disk, DiskFile, FileId, LockKind, Metadata, OpenMode, SharedWords};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

/// The operating system's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// New files are for their owner; the umask may take more away.
const NEW_FILE_MODE: u32 = 0o600;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(NEW_FILE_MODE);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => drop(options.write(true)),
            OpenMode::CreateNew => drop(options.write(true).create_new(true)),
            OpenMode::Create => drop(options.write(true).create(true).truncate(false)),
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(metadata) => {
                    entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
                }
                // Removed between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let metadata = fs::metadata(path)?;
        Ok(Metadata { len: metadata.len(), is_dir: metadata.is_dir() })
    }

    fn shared_map(&self, path: &Path, len: usize, write: bool) -> io::Result<Arc<dyn SharedWords>> {
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() < len as u64 || !len.is_multiple_of(8) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "file is too short to be mapped"));
        }
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let identity = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: born.map_or(0, |duration| duration.as_nanos() as u64),
        };
        let mut options = memmap2::MmapOptions::new();
        options.len(len);
        let map = if write { options.map_raw(&file) } else { options.map_raw_read_only(&file) }?;
        Ok(Arc::new(RealWords { map, words: len / 8, write, identity }))
    }

    fn boot_id(&self) -> [u8; 16] {
        static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
        *BOOT_ID.get_or_init(|| {
            fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .ok()
                .and_then(|text| u128::from_str_radix(&text.trim().replace('-', ""), 16).ok())
                .map_or([0; 16], u128::to_be_bytes)
        })
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        use rustix::fs::{FlockOperation, flock};
        let operation = match kind {
            LockKind::Shared => FlockOperation::NonBlockingLockShared,
            LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            match flock(&self.0, operation) {
                Ok(()) => return Ok(true),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock)?)
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() > 0)
    }
}

#[derive(Debug)]
struct RealWords {
    map: memmap2::MmapRaw,
    words: usize,
    write: bool,
    identity: FileId,
}

impl RealWords {
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "word within the map");
        // SAFETY: the map is page-aligned, at least `words * 8` bytes long, lives as long as `self`, and this
        // process touches it through atomics alone. The file is never cut by the log.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index)) }
    }
}

impl SharedWords for RealWords {
    fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    fn store(&self, index: usize, value: u64) {
        assert!(self.write, "the map was opened for writing");
        self.word(index).store(value, Ordering::Release);
    }

    fn identity(&self) -> FileId {
        self.identity
    }
}
