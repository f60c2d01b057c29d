//! Whether a directory can be a mount point, what is wrong where it cannot, and who is at work there.
//!
//! Invariant: who serves a mount holds a lock of the directory beneath it from before the mount is there until all of it
//! is gone. The lock goes with its process, however that ends. Who unmounts, or mounts at the same place, waits for it.

use crate::error::{Error, Result};
use crate::mount_table::{self, MountEntry};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for a server that is about to end. One that is stuck, or one in another mount namespace, is not
/// waited for longer.
const LEAVING_WAIT: Duration = Duration::from_secs(5);
const LEAVING_POLL: Duration = Duration::from_millis(5);
/// The file system type of a place at which the first look mounts: looking into it before would wait for ourselves.
const MOUNTED_ON_DEMAND: &str = "autofs";

/// A directory to mount at, held for one server. Dropping it removes the directory, where it was made for the mount.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    made: bool,
    /// The directory itself, which the mount covers: locked.
    beneath: Option<File>,
}

impl Place {
    /// Takes an empty directory outside `database` as a mount point. With `make`, a directory that is missing is made,
    /// and goes again with this value. Where a server is about to leave the place, waits for it.
    pub fn take(directory: &Path, database: &Path, make: bool) -> Result<Place> {
        loop {
            let made = make && make_directory(directory)?;
            // From here on, a directory that was made goes where the place is refused.
            let mut place = Place { path: directory.to_path_buf(), made, beneath: None };
            place.path = check(directory, database)?;
            place.beneath = match is_mounted_on_demand(&place.path)? {
                true => None,
                false => open(&place.path).ok(),
            };
            let Some(beneath) = &place.beneath else { return Ok(place) };
            wait_for_lock(beneath, FlockOperation::NonBlockingLockExclusive);
            if is_at(beneath, &place.path) {
                return Ok(place);
            }
            // Meanwhile who left it removed it, or somebody mounted there.
            place.made = false;
        }
    }

    /// Its canonical path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory was made for the mount.
    pub fn is_made(&self) -> bool {
        self.made
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.made {
            // If something lies in it by now, it is not ours to remove.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// Waits until who served the mount that was at `path` has left.
pub fn wait_until_left(path: &Path) {
    if let Ok(beneath) = open(path) {
        wait_for_lock(&beneath, FlockOperation::NonBlockingLockShared);
    }
}

fn make_directory(directory: &Path) -> Result<bool> {
    match std::fs::create_dir(directory) {
        Ok(()) => Ok(true),
        // A dead mount point cannot even be looked at; `check` says what is wrong with it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::MountPoint {
            path: directory.to_path_buf(),
            reason: format!("it is not there and cannot be made: {}", reason(directory, &error)),
        }),
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path)
}

fn wait_for_lock(directory: &File, lock: FlockOperation) {
    let start = Instant::now();
    // Where a file system has no locks, nobody can be waited for.
    while rustix::fs::flock(directory, lock) == Err(rustix::io::Errno::WOULDBLOCK) {
        if start.elapsed() > LEAVING_WAIT {
            return;
        }
        std::thread::sleep(LEAVING_POLL);
    }
}

fn is_at(directory: &File, path: &Path) -> bool {
    match (directory.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

fn is_mounted_on_demand(path: &Path) -> Result<bool> {
    Ok(mount_table::mount_at(path)?.is_some_and(|entry| entry.file_system == MOUNTED_ON_DEMAND))
}

/// Checks that `directory` is an empty directory outside `database` and not a mount of asof already; gives its
/// canonical path. Into a place that is mounted on demand it does not look.
pub fn check(directory: &Path, database: &Path) -> Result<PathBuf> {
    let refuse = |reason: String| Error::MountPoint { path: directory.to_path_buf(), reason };
    let path = locate(directory).map_err(|error| refuse(reason(directory, &error)))?;
    if let Some(entry) = mount_table::mount_at(&path)?.filter(MountEntry::is_ours) {
        return Err(match std::fs::metadata(&path) {
            Err(error) if is_dead(&error) => Error::Dead { path },
            _ => refuse(format!(
                "{} is mounted there already; end it with: asof umount {}",
                entry.source,
                path.display()
            )),
        });
    }
    match database.canonicalize() {
        Ok(database) if path.starts_with(&database) => {
            return Err(refuse(format!(
                "it lies inside the database {}; choose another place",
                database.display()
            )));
        }
        Ok(database) if database.starts_with(&path) => {
            return Err(refuse(format!(
                "the mount would cover the database {}; choose another place",
                database.display()
            )));
        }
        Ok(_) => {}
        // It lies in an object store, and is covered by nothing.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Error::system(format!("finding the database {}", database.display()), error));
        }
    }
    if is_mounted_on_demand(&path)? {
        return Ok(path);
    }
    let metadata = std::fs::metadata(&path).map_err(|error| match is_dead(&error) {
        true => refuse("a dead FUSE mount is there; end it with: fusermount3 -u or umount".to_string()),
        false => refuse(reason(&path, &error)),
    })?;
    if !metadata.is_dir() {
        return Err(refuse("it is not a directory".to_string()));
    }
    match std::fs::read_dir(&path).and_then(|mut entries| entries.next().transpose()) {
        Ok(None) => Ok(path),
        Ok(Some(entry)) => Err(refuse(format!(
            "it is not empty (it holds '{}'); mount at an empty directory",
            entry.file_name().to_string_lossy().escape_debug()
        ))),
        Err(error) => Err(refuse(reason(&path, &error))),
    }
}

/// Why a directory cannot be reached, and what to do: of the uppermost place on the way to it where that is so.
pub fn reason(directory: &Path, error: &std::io::Error) -> String {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    let mut way: Vec<&Path> = absolute.ancestors().collect();
    way.reverse();
    let place = way.into_iter().find(|place| std::fs::metadata(place).is_err()).unwrap_or(&absolute);
    let shown = place.display();
    match error.kind() {
        _ if is_dead(error) => {
            format!(
                "{shown} is a dead mount: the process that served it is gone; end it with: umount {shown}"
            )
        }
        ErrorKind::NotFound if place == absolute => {
            "it does not exist; make an empty directory there".to_string()
        }
        ErrorKind::NotFound => format!("{shown} does not exist; make it, or name another directory"),
        ErrorKind::NotADirectory => "a part of its path is a file; name a directory".to_string(),
        ErrorKind::PermissionDenied => {
            "this user may not do that there; choose a directory of your own, or have its owner allow it"
                .to_string()
        }
        ErrorKind::ReadOnlyFilesystem => {
            "the file system there is read-only; choose a directory elsewhere, or make it first".to_string()
        }
        _ => format!("{error}; choose another directory"),
    }
}

/// The canonical path of a directory. The last component may be a dead mount, of which nothing can be asked.
pub fn locate(directory: &Path) -> std::io::Result<PathBuf> {
    match directory.canonicalize() {
        Err(error) if is_dead(&error) => {
            let absolute = std::path::absolute(directory)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
                _ => Err(error),
            }
        }
        located => located,
    }
}

/// Whether a call failed because the process behind a mount is gone.
pub fn is_dead(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_mount_point_is_an_empty_directory_outside_the_database() {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("database");
        let inside = database.join("inside");
        let empty = place.path().join("empty");
        let full = place.path().join("full");
        for directory in [&inside, &empty, &full] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::fs::write(full.join("letter"), "").unwrap();
        let message = |directory: &Path| check(directory, &database).unwrap_err().to_string();

        assert_eq!(check(&empty, &database).unwrap(), empty.canonicalize().unwrap());
        assert!(message(&place.path().join("missing")).contains("does not exist"));
        assert!(message(&full.join("letter")).contains("not a directory"));
        assert!(message(&full).contains("it holds 'letter'"));
        assert!(message(&inside).contains("inside the database"));
        assert!(message(&database).contains("inside the database"));
        assert!(message(place.path()).contains("would cover the database"));
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&inside, &link).unwrap();
        assert!(message(&link).contains("inside the database"));
    }

    #[test]
    fn what_cannot_be_reached_is_told_with_what_to_do() {
        let scratch = tempfile::tempdir().unwrap();
        let database = scratch.path().join("database");
        std::fs::create_dir(&database).unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let gone = scratch.path().join("gone");
        for (name, make, expected) in [
            ("gone", false, "it does not exist; make an empty directory there".to_string()),
            ("gone/there", true, format!("{} does not exist; make it", gone.display())),
            ("gone/there", false, format!("{} does not exist; make it", gone.display())),
            ("file/there", true, "a part of its path is a file".to_string()),
            ("file/there", false, "a part of its path is a file".to_string()),
        ] {
            let error = Place::take(&scratch.path().join(name), &database, make).unwrap_err().to_string();
            assert!(error.contains(&expected) && !error.contains("os error"), "{name}: {error}");
        }
        let error = crate::umount(&gone).unwrap_err().to_string();
        assert!(error.starts_with("cannot unmount ") && error.contains("does not exist"), "{error}");
        let dead = std::io::Error::from_raw_os_error(libc::ENOTCONN);
        assert!(reason(&gone, &dead).contains("dead mount"), "{}", reason(&gone, &dead));
    }

    #[test]
    fn a_place_is_waited_for_until_who_has_it_leaves() {
        let scratch = tempfile::tempdir().unwrap();
        let database = scratch.path().join("database");
        std::fs::create_dir(&database).unwrap();
        let at = scratch.path().join("made");
        let first = Place::take(&at, &database, true).unwrap();
        assert!(first.is_made() && at.is_dir());
        let left = std::sync::atomic::AtomicBool::new(false);
        let second = std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let second = Place::take(&at, &database, true).unwrap();
                assert!(left.load(Ordering::SeqCst), "the first is still there");
                second
            });
            // Long enough for one who does not wait to be seen.
            std::thread::sleep(Duration::from_millis(50));
            left.store(true, Ordering::SeqCst);
            drop(first);
            second.join().unwrap()
        });
        // The first took its directory with it, so the second made one of its own.
        assert!(second.is_made() && at.is_dir());
        drop(second);
        assert!(!at.exists());
        wait_until_left(&at);
    }

    #[test]
    fn a_directory_that_was_made_in_vain_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("inside");
        let error = Place::take(&at, scratch.path(), true).unwrap_err().to_string();
        assert!(error.contains("inside the database"), "{error}");
        assert!(!at.exists());
        let error = Place::take(&at, scratch.path(), false).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }
}
