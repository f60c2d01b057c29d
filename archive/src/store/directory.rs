//! Objects as files of a directory, each synced before it has its name.
//!
//! Names are synced when an object is put that must not be there yet, all at once: nothing relies on the others before.

use super::Store;
use crate::copy::fail;
use asof_engine::{Error, Result};
use parking_lot::Mutex;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempPath;

/// Where files lie until they are whole.
const UNFINISHED: &str = "tmp";
/// What was not finished for so long never will be.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory with objects.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// Directories with names that are not synced yet.
    unsynced: Mutex<BTreeSet<PathBuf>>,
    /// Directories that were made, or found, and whose names were noted to be synced.
    used: Mutex<BTreeSet<PathBuf>>,
    /// Whether what others left unfinished was looked for.
    has_cleared: AtomicBool,
}

impl Directory {
    /// The objects below a directory, which need not be there.
    pub fn new(root: &Path) -> Directory {
        Directory {
            root: root.to_path_buf(),
            unsynced: Mutex::default(),
            used: Mutex::default(),
            has_cleared: AtomicBool::new(false),
        }
    }

    /// Makes a directory and those above it that are missing. Whoever made one that is there may have been killed before
    /// its name was durable: the first time it is used here, its name and those above it are synced with the objects'.
    fn make_dir(&self, dir: &Path) -> Result<()> {
        self.make_dir_of(dir, &mut self.used.lock())
    }

    fn make_dir_of(&self, dir: &Path, used: &mut BTreeSet<PathBuf>) -> Result<()> {
        if dir.as_os_str().is_empty() || used.contains(dir) {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            self.make_dir_of(parent, used)?;
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            self.unsynced.lock().insert(parent.to_path_buf());
        }
        match fs::create_dir(dir) {
            Err(_) if dir.is_dir() => {}
            made => made.map_err(fail("make", dir))?,
        }
        used.insert(dir.to_path_buf());
        Ok(())
    }

    /// Writes a file under a name of its own, and syncs it. It goes unless it gets another name.
    fn write_unfinished(&self, bytes: &[u8]) -> Result<TempPath> {
        let dir = self.root.join(UNFINISHED);
        self.make_dir(&dir)?;
        if !self.has_cleared.swap(true, Ordering::Relaxed) {
            remove_abandoned(&dir);
        }
        // A random name: processes of several machines and containers write here, and their numbers are the same.
        let mut file =
            tempfile::Builder::new().prefix("").tempfile_in(&dir).map_err(fail("make a file in", &dir))?;
        let written = file.write_all(bytes).and_then(|()| file.as_file().sync_all());
        written.map_err(fail("write", file.path()))?;
        Ok(file.into_temp_path())
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
            // Who may not look into a directory above has not made what is in it.
            let is_above = !dir.starts_with(&self.root);
            if let Err(error) = synced.or_else(|error| ignored(error, is_above)) {
                self.unsynced.lock().extend(dirs.iter().cloned());
                return Err(fail("sync", dir)(error));
            }
        }
        Ok(())
    }
}

/// Directories of others may be closed to this user, or on a file system that cannot sync them.
fn ignored(error: io::Error, is_above: bool) -> io::Result<()> {
    let passes = matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput);
    if is_above && passes { Ok(()) } else { Err(error) }
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
        unfinished.persist(&path).map_err(|error| fail("name", &path)(error.error))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let path = self.place(name)?;
        let unfinished = self.write_unfinished(bytes)?;
        self.sync_names()?;
        match rename_new(&unfinished, &path) {
            Ok(()) => {}
            // It may be our own, of a put whose answer was lost.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = File::open(&path).and_then(|file| {
                    let mut found = Vec::new();
                    file.take(bytes.len() as u64 + 1).read_to_end(&mut found).map(|_| found)
                });
                if found.map_err(fail("read", &path))? != bytes {
                    return Ok(false);
                }
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

    fn sizes_below(&self, dir: &str) -> Result<HashMap<String, u64>> {
        let mut sizes = HashMap::new();
        for inner in self.list(dir, "")? {
            let inner = format!("{dir}/{inner}");
            for name in self.list(&inner, "")? {
                let name = format!("{inner}/{name}");
                let path = self.root.join(&name);
                let bytes = fs::metadata(&path).map_err(fail("look at", &path))?.len();
                sizes.insert(name, bytes);
            }
        }
        Ok(sizes)
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
        assert!(!store.put_new("x/2", b"other").unwrap() && !store.put_new("x/2", b"twofold").unwrap());
        assert!(store.put_new("x/2", b"two").unwrap(), "once more, for the answer may have been lost");
        store.put("x/1", b"one").unwrap();
        store.put("x/1", b"one").unwrap();
        assert_eq!(store.get("x/2", 3).unwrap().unwrap(), b"two");
        assert_eq!(store.list("x", "").unwrap(), ["1", "2"]);
        assert_eq!(store.list("x", "1").unwrap(), ["2"]);
        assert!(store.get("x/2", 2).is_err());
        assert_eq!(fs::read_dir(dir.path().join("a/b/tmp")).unwrap().count(), 0);
    }
    #[test]
    fn several_at_work_in_one_directory_leave_each_other_alone() {
        let dir = tempfile::tempdir().unwrap();
        let stores: Vec<Directory> = (0..4).map(|_| Directory::new(dir.path())).collect();
        let bytes = |number: usize| vec![number as u8; 50_000 + number];
        std::thread::scope(|scope| {
            for (at, store) in stores.iter().enumerate() {
                scope.spawn(move || {
                    for number in (at..160).step_by(4) {
                        store.put(&format!("x/{number}"), &bytes(number)).unwrap();
                    }
                });
            }
        });
        for number in 0..160 {
            assert_eq!(stores[0].get(&format!("x/{number}"), 1 << 20).unwrap().unwrap(), bytes(number));
        }
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn names_that_somebody_else_made_are_synced_too() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        fs::create_dir_all(root.join("x")).unwrap();
        let store = Directory::new(&root);
        store.put("x/1", b"one").unwrap();
        let unsynced = store.unsynced.lock().clone();
        for name in ["", "a", "a/b", "a/b/x"] {
            assert!(unsynced.contains(&dir.path().join(name)), "{name} of {unsynced:?}");
        }
        assert!(store.put_new("x/2", b"two").unwrap() && store.unsynced.lock().is_empty());
    }
}
