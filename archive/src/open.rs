//! Opening an archive as a database.

use crate::archive::{Archive, IDENTITY};
use crate::cache::Pieces;
use crate::disk::ArchiveDisk;
use crate::plan::Plan;
use crate::store::Place;
use asof_engine::{Database, ErrorKind, Options, Result, Version};
use std::path::{Path, PathBuf};
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

/// An archive that was opened as a database, as it leads to a version: what retention has let go since it was shipped can
/// be read of that. `None` for any other database, and for versions that the archive does not lead to.
pub fn open_earlier(database: &Database, version: Version) -> Result<Option<Database>> {
    let Some(place) = place_of(database.path()) else { return Ok(None) };
    let archive = Archive::open(&place)?;
    let index = archive.load()?;
    let pieces = Arc::new(Pieces::new(archive));
    let plan = match Plan::of(&pieces, &index, version.0) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        plan => plan?,
    };
    open_with(ArchiveDisk::at(pieces, index, &plan), database.options().clone()).map(Some)
}

/// The archive whose root this is ([`Archive::root`]).
fn place_of(root: &Path) -> Option<PathBuf> {
    let text = root.to_str().unwrap_or_default();
    let place = match text.strip_prefix('/').filter(|rest| rest.starts_with("s3://")) {
        Some(url) => PathBuf::from(url),
        None => root.to_path_buf(),
    };
    is_archive(&place).then_some(place)
}

/// Opens what a disk shows.
pub(crate) fn open_with(disk: ArchiveDisk, options: Options) -> Result<Database> {
    let root = disk.root().to_path_buf();
    Database::open_read_only(root, Options { disk: Arc::new(disk), ..options })
}
