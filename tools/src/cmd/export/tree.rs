//! The directory that an export makes: written beside its place, synced, renamed.

use crate::{Error, Result};
use asof_engine::text::hex;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;
/// Digests of all files, as `sha256sum` reads them.
const SUMS: &str = "SHA256SUMS";
/// Where rows wait until all of a partition are there.
const SPOOL: &str = ".rows";

/// A file that was written.
#[derive(Clone, Debug)]
pub struct ExportedFile {
    /// Its path in the directory.
    pub path: String,
    /// How many rows it has.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// Its digest, in hexadecimal digits.
    pub sha256: String,
    /// The values that all its rows have, if it is part of a partition.
    pub partition: Option<Vec<(String, Option<String>)>>,
}

/// An export while it is written.
pub struct Tree {
    directory: tempfile::TempDir,
    files: RefCell<Vec<ExportedFile>>,
}

/// The directory that one is in.
fn parent_of(directory: &Path) -> PathBuf {
    match directory.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Refuses a place where something is.
fn check_free(directory: &Path) -> Result<()> {
    let taken = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => true,
        Err(error) => return Err(Error::from(error).at(directory.display())),
    };
    match taken {
        true => Err(Error::failed(format!(
            "{} is not empty: name a directory that is not there yet, or an empty one",
            directory.display()
        ))),
        false => Ok(()),
    }
}

impl Tree {
    /// Begins beside a directory that is missing or empty.
    pub fn begin(directory: &Path) -> Result<Tree> {
        check_free(directory)?;
        let parent = parent_of(directory);
        if !parent.is_dir() {
            return Err(Error::failed(format!("there is no directory {}; make it first", parent.display())));
        }
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        let beside =
            tempfile::Builder::new().prefix(".asof-export-").permissions(permissions).tempdir_in(&parent);
        let directory = beside.map_err(|error| Error::from(error).at(parent.display()))?;
        Ok(Tree { directory, files: RefCell::default() })
    }

    /// A directory for what is gone at the end.
    pub fn spool(&self) -> Result<PathBuf> {
        let spool = self.directory.path().join(SPOOL);
        fs::create_dir_all(&spool)?;
        Ok(spool)
    }

    /// Writes a file; `write` gives how many rows it has.
    pub fn write(
        &self,
        path: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<u64>,
    ) -> Result<ExportedFile> {
        let file = self.write_file(path, write).map_err(|error| error.at(path))?;
        self.files.borrow_mut().push(file.clone());
        Ok(file)
    }

    fn write_file(
        &self,
        path: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<u64>,
    ) -> Result<ExportedFile> {
        let place = self.directory.path().join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&place)?;
        let mut out =
            Hashed { out: BufWriter::with_capacity(BUFFER_BYTES, file), hasher: Sha256::new(), bytes: 0 };
        let rows = write(&mut out)?;
        let file = out.out.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        let sha256 = hex(&out.hasher.finalize());
        Ok(ExportedFile { path: path.to_string(), rows, bytes: out.bytes, sha256, partition: None })
    }

    /// Gives it its name, with the digests of all files in it.
    pub fn finish(self, directory: &Path) -> Result<()> {
        let spool = self.directory.path().join(SPOOL);
        if spool.exists() {
            fs::remove_dir_all(&spool)?;
        }
        let mut files = self.files.borrow().clone();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let lines: String = files.iter().map(|file| sum_line(&file.sha256, &file.path)).collect();
        self.write_file(SUMS, |out| Ok(out.write_all(lines.as_bytes()).map(|()| 0)?))?;
        let mut directories: BTreeSet<PathBuf> = BTreeSet::from([PathBuf::new()]);
        for file in &files {
            directories.extend(Path::new(&file.path).ancestors().skip(1).map(Path::to_path_buf));
        }
        for inner in directories {
            File::open(self.directory.path().join(inner))?.sync_all()?;
        }
        check_free(directory)?;
        fs::rename(self.directory.path(), directory)
            .map_err(|error| Error::from(error).at(directory.display()))?;
        // There is nothing under the first name any more.
        let _ = self.directory.keep();
        Ok(File::open(parent_of(directory))?.sync_all()?)
    }
}

/// A line of `SHA256SUMS`; a name with a backslash or a line end is written as `sha256sum` writes it.
fn sum_line(sha256: &str, path: &str) -> String {
    let escaped = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mark = if escaped == path { "" } else { "\\" };
    format!("{mark}{sha256}  {escaped}\n")
}

/// Where a table's file lies, without its extension: `name`, or `namespace/name`.
pub fn table_path(name: &str) -> String {
    let part = |part: &str| part.replace('%', "%25").replace('/', "%2F");
    name.split('.').map(part).collect::<Vec<_>>().join("/")
}

/// What is written is hashed and counted.
struct Hashed<W> {
    out: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_written_as_sha256sum_reads_them() {
        assert_eq!(sum_line("00", "a b.csv"), "00  a b.csv\n");
        assert_eq!(sum_line("00", "a\\b\nc.csv"), "\\00  a\\\\b\\nc.csv\n");
    }

    #[test]
    fn tables_have_one_place_each() {
        assert_eq!(table_path("gold.customers"), "gold/customers");
        assert_eq!(table_path("a/b%"), "a%2Fb%25");
    }
}
