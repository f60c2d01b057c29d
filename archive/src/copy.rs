//! A database's directory in the making: files that are whole and synced before it becomes a database, which it does when
//! its manifest gets its name.

use asof_engine::hold::{directories, manifest_path};
use asof_engine::manifest::Manifest;
use asof_engine::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// New files are for their owner; the umask may take more away.
const NEW_FILE_MODE: u32 = 0o600;

/// Names the file in an error of the system's.
pub fn fail(operation: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let place = format!("cannot {operation} {}", path.display());
    move |error| Error::from(error).at(place)
}

/// Makes a directory and those of a database in it.
pub fn make_directories(root: &Path) -> Result<()> {
    fs::create_dir_all(root).map_err(fail("make", root))?;
    for dir in directories() {
        let dir = root.join(dir);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(fail("make", &dir))?,
        }
    }
    Ok(())
}

/// Opens a file for reading and writing, and makes it where it is missing.
pub fn open_or_make(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(NEW_FILE_MODE);
    options.open(path).map_err(fail("open", path))
}

/// Writes a small file so that it is whole and durable, or not there.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut unfinished = path.as_os_str().to_os_string();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    let mut file = open_or_make(&unfinished)?;
    let written = file.set_len(0).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&unfinished, path)).map_err(fail("write", path))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names of a directory durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("sync", dir))
}

/// Makes the names of a database's files durable, that of its directory too, and then makes it one. A database keeps two
/// manifests: here they say the same.
pub fn finish(root: &Path, manifest: &Manifest) -> Result<()> {
    for dir in directories() {
        sync_dir(&root.join(dir))?;
    }
    sync_dir(root)?;
    sync_dir(root.parent().unwrap_or(Path::new(".")))?;
    for number in [manifest.number - 1, manifest.number] {
        let manifest = Manifest { number, ..manifest.clone() };
        write_file(&root.join(manifest_path(number)), &manifest.to_bytes())?;
    }
    Ok(())
}

/// The names in a directory; none where it is missing.
pub fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail("list", dir)(error)),
    };
    let name =
        |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(fail("list", dir))
}
