//! Opening an archive as a database.

use crate::archive::{Archive, IDENTITY};
use crate::disk::ArchiveDisk;
use crate::store::Place;
use asof_engine::{Database, Options, Result};
use std::path::Path;
use std::sync::Arc;

/// Whether a path that was typed names an archive: a URL does.
pub fn is_archive(place: &Path) -> bool {
    match Place::parse(place) {
        Ok(Place::Directory(path)) => path.join(IDENTITY).is_file(),
        // What is wrong with a URL is told by who opens it.
        Ok(Place::Bucket { .. }) | Err(_) => true,
    }
}

/// Opens an archive as a database, for reading.
pub fn open_database(place: &Path, options: Options) -> Result<Database> {
    let disk = ArchiveDisk::new(Archive::open(place)?)?;
    open_with(disk, options)
}

/// The same of a disk that is there.
pub(crate) fn open_with(disk: ArchiveDisk, options: Options) -> Result<Database> {
    let root = disk.root().to_path_buf();
    Database::open_read_only(root, Options { disk: Arc::new(disk), ..options })
}
