//! Objects as files of a directory, each synced before it has its name.
//!
//! Names are synced when an object is put that must not be there yet, all at once: nothing relies on the others before.

use super::Store;
use asof_engine::{Error, Result};
use parking_lot::Mutex;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where files lie until they are whole.
const UNFINISHED: &str = "tmp";
/// What was not finished for so long never will be.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// New files are for their owner; the umask may take more away.
const NEW_FILE_MODE: u32 = 0o600;

/// A directory with objects.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// Directories with names that are not synced yet.
    unsynced: Mutex<BTreeSet<PathBuf>>,
    counter: AtomicU64,
}

fn fail(operation: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let place = format!("cannot {operation} {}", path.display());
    move |error| Error::from(error).at(place)
}

impl Directory {
    /// The objects below a directory, which need not be there.
    pub fn new(root: &Path) -> Directory {
        Directory { root: root.to_path_buf(), unsynced: Mutex::default(), counter: AtomicU64::new(0) }
    }

    /// Makes a directory and those above it that are missing; their names are synced with the objects'.
    fn make_dir(&self, dir: &Path) -> Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            self.make_dir(parent)?;
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            self.unsynced.lock().insert(parent.to_path_buf());
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(fail("make", dir)),
        }
    }

    /// Writes a file under a name of its own, and syncs it.
    fn write_unfinished(&self, bytes: &[u8]) -> Result<PathBuf> {
        let dir = self.root.join(UNFINISHED);
        self.make_dir(&dir)?;
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_abandoned(&dir);
        }
        let path = dir.join(format!("{}-{number}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(NEW_FILE_MODE)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|error| {
            let _ = fs::remove_file(&path);
            fail("write", &path)(error)
        })?;
        Ok(path)
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        let dir = path.parent().expect("an object lies below the root").to_path_buf();
        self.make_dir(&dir)?;
        self.unsynced.lock().insert(dir);
        Ok(path)
    }

    fn sync_names(&self) -> Result<()> {
        let dirs = std::mem::take(&mut *self.unsynced.lock());
        for dir in &dirs {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            if let Err(error) = synced {
                self.unsynced.lock().extend(dirs.iter().cloned());
                return Err(fail("sync", dir)(error));
            }
        }
        Ok(())
    }
}

/// Removes what processes that died left unfinished. Best effort: it takes room, and does no other harm.
fn remove_abandoned(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        if matches!(age, Ok(Ok(age)) if age > ABANDONED_AFTER) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Gives a file a name that must not be there yet.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without it have hard links.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

impl Store for Directory {
    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(fail("open", &path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(fail("read", &path))?;
        if bytes.len() as u64 > bytes_max {
            let message = format!("{} is longer than the {bytes_max} bytes it may have", path.display());
            return Err(Error::corrupt(message));
        }
        Ok(Some(bytes))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.place(name)?;
        let unfinished = self.write_unfinished(bytes)?;
        fs::rename(&unfinished, &path).map_err(fail("name", &path))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let path = self.place(name)?;
        let unfinished = self.write_unfinished(bytes)?;
        self.sync_names()?;
        match rename_new(&unfinished, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let _ = fs::remove_file(&unfinished);
                return Ok(false);
            }
            Err(error) => return Err(fail("name", &path)(error)),
        }
        self.unsynced.lock().insert(path.parent().expect("an object lies below the root").to_path_buf());
        self.sync_names()?;
        Ok(true)
    }

    fn list(&self, dir: &str, after: &str) -> Result<Vec<String>> {
        let path = self.root.join(dir);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(fail("list", &path)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(fail("list", &path))?.file_name();
            names.extend(name.into_string().ok().filter(|name| name.as_str() > after));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn is_near(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn objects_are_put_once_listed_in_order_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::new(&dir.path().join("a/b"));
        assert_eq!(store.get("x/1", 10).unwrap(), None);
        assert_eq!(store.list("x", "").unwrap(), Vec::<String>::new());
        assert!(store.put_new("x/2", b"two").unwrap());
        assert!(!store.put_new("x/2", b"other").unwrap());
        store.put("x/1", b"one").unwrap();
        store.put("x/1", b"one").unwrap();
        assert_eq!(store.get("x/2", 3).unwrap().unwrap(), b"two");
        assert_eq!(store.list("x", "").unwrap(), ["1", "2"]);
        assert_eq!(store.list("x", "1").unwrap(), ["2"]);
        assert!(store.get("x/2", 2).is_err());
        assert_eq!(fs::read_dir(dir.path().join("a/b/tmp")).unwrap().count(), 0);
    }
}
