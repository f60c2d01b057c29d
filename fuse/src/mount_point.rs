//! Whether a directory can be a mount point, and what is wrong where it cannot.

use crate::error::{Error, Result};
use crate::mount_table::{self, MountEntry};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Checks that `directory` is an empty directory outside `database` and not a mount of asof already; gives its
/// canonical path.
pub fn check(directory: &Path, database: &Path) -> Result<PathBuf> {
    let refuse = |reason: String| Error::MountPoint { path: directory.to_path_buf(), reason };
    let path = locate(directory).map_err(|error| match error.kind() {
        ErrorKind::NotFound => refuse("it does not exist; make an empty directory there".to_string()),
        _ => refuse(error.to_string()),
    })?;
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
    let metadata = std::fs::metadata(&path).map_err(|error| match is_dead(&error) {
        true => refuse("a dead FUSE mount is there; end it with: fusermount3 -u or umount".to_string()),
        false => refuse(error.to_string()),
    })?;
    if !metadata.is_dir() {
        return Err(refuse("it is not a directory".to_string()));
    }
    let database = database
        .canonicalize()
        .map_err(|error| Error::system(format!("finding the database {}", database.display()), error))?;
    if path.starts_with(&database) {
        return Err(refuse(format!(
            "it lies inside the database {}; choose another place",
            database.display()
        )));
    }
    if database.starts_with(&path) {
        return Err(refuse(format!(
            "the mount would cover the database {}; choose another place",
            database.display()
        )));
    }
    match std::fs::read_dir(&path).and_then(|mut entries| entries.next().transpose()) {
        Ok(None) => Ok(path),
        Ok(Some(entry)) => Err(refuse(format!(
            "it is not empty (it holds '{}'); mount at an empty directory",
            entry.file_name().to_string_lossy().escape_debug()
        ))),
        Err(error) => Err(refuse(error.to_string())),
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
}
