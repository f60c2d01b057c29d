//! Where data goes: standard output, or a file that is written beside its place and renamed.
//!
//! Invariant: a file that `-o` names holds the whole output or what it held before.

use crate::print::EscapingWriter;
use crate::{Context, Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

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
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let beside = tempfile::Builder::new().prefix(".asof-").permissions(permissions).tempfile_in(directory)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, beside);
    write(&mut out)?;
    let beside = out.into_inner().map_err(|error| error.into_error())?;
    beside.as_file().sync_all()?;
    beside.persist(&target).map_err(|error| error.error)?;
    Ok(())
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
