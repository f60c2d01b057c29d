//! Where data goes: standard output, or a file that is written beside its place and renamed.
//!
//! Invariants. A file that `-o` names holds the whole output or what it held before. What is written beside it has no name
//! where the file system knows such files, so that whatever ends this process leaves nothing.

use crate::print::EscapingWriter;
use crate::{Context, Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use tempfile::NamedTempFile;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;
/// Whom files are for, but for the umask.
const MODE: u32 = 0o666;

/// Refuses a place inside a directory of a database or an archive: nothing else may be there, and what is would be lost with
/// it.
pub fn check_outside(place: &Path, directory: &Path) -> Result<()> {
    let is_url = |path: &Path| path.to_string_lossy().contains("://");
    let Ok(directory) = directory.canonicalize() else { return Ok(()) };
    if is_url(place) || place.canonicalize().is_ok_and(|place| place == directory) {
        return Ok(());
    }
    let place = std::path::absolute(place)?;
    // As much of its path as is there.
    let there = place.ancestors().find_map(|path| path.canonicalize().ok());
    match there.is_some_and(|there| there.starts_with(&directory)) {
        false => Ok(()),
        true => Err(Error::usage(format!(
            "{} lies inside {}; name a place beside it",
            place.display(),
            directory.display()
        ))),
    }
}

/// Runs `write` with the place data goes to. `binary` output is kept from terminals, other output is made safe for
/// them.
pub fn write(
    context: &Context,
    file: Option<&Path>,
    binary: bool,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    match file {
        Some(path) if path != Path::new("-") => {
            write_file(path, write).map_err(|error| error.at(path.display()))
        }
        _ if !context.stdout_is_terminal() => {
            let mut out = context.out();
            write(&mut out)?;
            Ok(out.flush()?)
        }
        _ if binary => {
            Err(Error::usage("this format is not for terminals; give it a file with -o FILE, or a pipe"))
        }
        _ => {
            let mut out = EscapingWriter::new(context.out());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    // A device or a named pipe is written to; nothing can be renamed over it.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::options().write(true).open(path)?);
        write(&mut out)?;
        return Ok(out.flush()?);
    }
    // What a symlink points to is what is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let directory = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(Error::failed(format!("there is no directory {}; make it first", directory.display())));
    }
    let beside = Beside::make(directory)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, beside.file());
    write(&mut out)?;
    out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    Ok(beside.rename(directory, &target)?)
}

/// A file that is being written, in the directory in which it gets its name.
enum Beside {
    Unnamed(File),
    /// Where the file system knows no other files.
    Named(NamedTempFile),
}

impl Beside {
    fn make(directory: &Path) -> io::Result<Beside> {
        match unnamed_in(directory) {
            Some(file) => Ok(Beside::Unnamed(file)),
            None => {
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(MODE);
                names().permissions(permissions).tempfile_in(directory).map(Beside::Named)
            }
        }
    }

    fn file(&self) -> &File {
        match self {
            Beside::Unnamed(file) => file,
            Beside::Named(named) => named.as_file(),
        }
    }

    /// Gives it its name, in place of who has that.
    fn rename(self, directory: &Path, target: &Path) -> io::Result<()> {
        match self {
            Beside::Named(named) => named.persist(target).map(drop).map_err(|error| error.error),
            Beside::Unnamed(file) => {
                // Only a name takes the place of another: it has one of its own for a moment.
                let link = |name: &Path| {
                    rustix::fs::linkat(CWD, descriptor(&file), CWD, name, AtFlags::SYMLINK_FOLLOW)?;
                    Ok(())
                };
                names().make_in(directory, link)?.persist(target).map_err(|error| error.error)
            }
        }
    }
}

/// Names of files that are being written.
fn names() -> tempfile::Builder<'static, 'static> {
    let mut names = tempfile::Builder::new();
    names.prefix(".asof-");
    names
}

/// A file that has no name yet; none where it could not be given one.
fn unnamed_in(directory: &Path) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::from_raw_mode(MODE)).ok()?);
    Path::new(&descriptor(&file)).exists().then_some(file)
}

fn descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Which form the extension of `-o FILE` names, lowercase.
pub fn extension(file: Option<&Path>) -> Option<String> {
    Some(file?.extension()?.to_str()?.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        std::fs::write(&path, "old").unwrap();
        let error = write_file(&path, |out| {
            out.write_all(b"half")?;
            Err(Error::failed("broke off"))
        });
        assert_eq!(error.unwrap_err().to_string(), "broke off");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        write_file(&path, |out| Ok(out.write_all(b"new")?)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symlink_stays_and_its_target_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_file(&link, |out| Ok(out.write_all(b"new")?)).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }
}
