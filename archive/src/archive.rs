//! An archive: its identity, its shipments, its objects.
//!
//! Every so many shipments there is a summary of all before it, so that an archive of many opens fast. A summary says
//! nothing that shipments do not: one that is missing or damaged is passed over.

use crate::hex::{Digest, Hex, Id};
use crate::index::Index;
use crate::pieces::Piece;
use crate::sealed::{DOCUMENT_BYTES_MAX, seal, unseal};
use crate::shipment::{self, SHIPMENTS, Shipment, name_of, number_of};
use crate::store::{Place, Store};
use crate::workers::for_each;
use asof_engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose archive it is.
pub const IDENTITY: &str = "archive.json";
const IDENTITY_KIND: &str = "asof-archive";
const SUMMARIES: &str = "summaries";
const SUMMARY_KIND: &str = "asof-summary";
/// A summary is written after so many shipments at the earliest.
pub const SUMMARY_SHIPMENTS: u64 = 64;
/// Shipments read at a time.
const READ_AHEAD: usize = 64;

#[derive(Serialize, Deserialize)]
struct Identity {
    database: Id,
    lineage: Id,
}

/// An archive that is there.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn Store>,
    name: String,
    root: PathBuf,
    database: Id,
    lineage: Id,
}

impl Archive {
    /// Opens an archive at a directory or a URL.
    pub fn open(place: &Path) -> Result<Archive> {
        let store = Place::parse(place)?.open()?;
        let name = place.display().to_string();
        match read_identity(&*store, &name)? {
            Some(identity) => Archive::of(store, place, identity),
            None => Err(Error::not_found(format!(
                "{name} is not an archive: it has no {IDENTITY}; 'asof archive DB {name}' makes one"
            ))),
        }
    }

    /// Opens the archive of a database, or makes it where there is none.
    pub fn open_or_create(place: &Path, database: [u8; 16], lineage: [u8; 16]) -> Result<(Archive, bool)> {
        let store = Place::parse(place)?.open()?;
        let name = place.display().to_string();
        let ours = Identity { database: Hex(database), lineage: Hex(lineage) };
        let made = match read_identity(&*store, &name)? {
            Some(_) => false,
            None => {
                if let Place::Directory(path) = Place::parse(place)? {
                    check_empty(&path)?;
                }
                // One that lost its identity is whose shipments it has.
                let lost = Identity { database: ours.database, lineage: ours.lineage };
                Archive::of(store.clone(), place, lost)?.load()?;
                make_identity(&*store, &name, &ours)?
            }
        };
        let found = read_identity(&*store, &name)?.ok_or_else(|| {
            Error::corrupt(format!("{name}: {IDENTITY} is gone, a moment after it was made"))
        })?;
        if (found.database, found.lineage) != (ours.database, ours.lineage) {
            let what = match found.database == ours.database {
                true => "another lineage of this database: a copy or a recovery begins one of its own",
                false => "another database",
            };
            return Err(Error::invalid(format!(
                "{name} is the archive of {what} (database {} of lineage {}, this one is {} of {}); name another place",
                found.database, found.lineage, ours.database, ours.lineage
            )));
        }
        Ok((Archive::of(store, place, found)?, made))
    }

    fn of(store: Arc<dyn Store>, place: &Path, identity: Identity) -> Result<Archive> {
        let Identity { database, lineage } = identity;
        let root = match Place::parse(place)? {
            Place::Directory(path) => std::path::absolute(&path)?,
            // Absolute, so that nobody looks for it below the working directory.
            Place::Bucket { bucket, prefix } => PathBuf::from(format!("/s3://{bucket}/{prefix}")),
        };
        Ok(Archive { store, name: place.display().to_string(), root, database, lineage })
    }

    /// The place, as it was typed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands for the place where a path is asked for.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database's id.
    pub fn database_id(&self) -> [u8; 16] {
        self.database.0
    }

    /// Whether reading an object twice costs about what a cache does.
    pub(crate) fn is_near(&self) -> bool {
        self.store.is_near()
    }

    #[cfg(test)]
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The same archive, by way of another store.
    #[cfg(test)]
    pub(crate) fn with_store(&self, store: Arc<dyn Store>) -> Archive {
        Archive { store, ..self.clone() }
    }

    /// What it holds now.
    pub fn load(&self) -> Result<Index> {
        let mut index = self.newest_summary()?;
        self.refresh(&mut index)?;
        Ok(index)
    }

    /// Adds shipments that have come since; tells whether there were any. After an error the index is of no use.
    pub fn refresh(&self, index: &mut Index) -> Result<bool> {
        let before = index.shipments;
        let after = if before == 0 { String::new() } else { shipment::file_name(before) };
        let mut numbers: Vec<u64> =
            self.store.list(SHIPMENTS, &after)?.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        for (expected, number) in (before + 1..).zip(&numbers) {
            if expected != *number {
                let (missing, there) = (name_of(expected), name_of(*number));
                return Err(Error::corrupt(format!(
                    "{}: {missing} is missing, {there} is there: what was shipped with it, and after it, is lost",
                    self.name
                )));
            }
        }
        for numbers in numbers.chunks(READ_AHEAD) {
            for (shipment, digest) in for_each(numbers, |number| self.shipment(*number))? {
                index.add(shipment, digest, &self.name)?;
            }
        }
        Ok(index.shipments > before)
    }

    fn shipment(&self, number: u64) -> Result<(Shipment, Digest)> {
        let name = name_of(number);
        let full = format!("{}: {name}", self.name);
        let bytes = self.store.get(&name, DOCUMENT_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("{full} is missing")))?;
        let (shipment, digest) = unseal::<Shipment>(shipment::KIND, &bytes, &full)?;
        if shipment.number != number {
            let found = shipment.number;
            return Err(Error::corrupt(format!("{full} is a duplicate of shipment {found}, or was renamed")));
        }
        Ok((shipment, digest))
    }

    /// The newest summary that is whole, or that of nothing.
    fn newest_summary(&self) -> Result<Index> {
        let mut names = self.store.list(SUMMARIES, "")?;
        while let Some(name) = names.pop() {
            let full = format!("{}: {SUMMARIES}/{name}", self.name);
            let read = self.store.get(&format!("{SUMMARIES}/{name}"), DOCUMENT_BYTES_MAX);
            let read = read.and_then(|bytes| {
                let bytes = bytes.ok_or_else(|| Error::corrupt(format!("{full} is missing")))?;
                let (index, _) = unseal::<Index>(SUMMARY_KIND, &bytes, &full)?;
                index.check().map_err(|what| Error::corrupt(format!("{full} {what}")))?;
                if (index.database, index.lineage) != (self.database, self.lineage) {
                    return Err(Error::corrupt(format!("{full} is foreign: of another database")));
                }
                Ok(index)
            });
            match read {
                Ok(index) => return Ok(index),
                // Another format may be damage too: its first line is under no digest.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                    log::warn!("{error}; going on from what is before it");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Index::empty(self.database, self.lineage))
    }

    /// Puts a shipment, with all its objects before it; `false` where another one took its number.
    pub(crate) fn put_shipment(&self, shipment: &Shipment) -> Result<Option<Digest>> {
        let (bytes, digest) = seal(shipment::KIND, shipment)?;
        Ok(self.store.put_new(&name_of(shipment.number), &bytes)?.then_some(digest))
    }

    /// Puts a summary, unless it is there.
    pub(crate) fn put_summary(&self, index: &Index) -> Result<()> {
        let (bytes, _) = seal(SUMMARY_KIND, index)?;
        self.store.put_new(&format!("{SUMMARIES}/{:016x}.summary", index.shipments), &bytes).map(drop)
    }

    /// How many shipments there are behind the newest summary.
    pub(crate) fn shipments_since_summary(&self, newest: u64) -> Result<u64> {
        let names = self.store.list(SUMMARIES, "")?;
        let number = |name: &String| u64::from_str_radix(name.strip_suffix(".summary")?, 16).ok();
        Ok(newest - names.iter().filter_map(number).filter(|number| *number <= newest).max().unwrap_or(0))
    }

    /// Puts a piece's object.
    pub(crate) fn put_piece(&self, piece: &Piece, stored: &[u8]) -> Result<()> {
        self.store.put(&piece.name(), stored)
    }

    /// Whether every object that an index names is there whole, by its size; one of another size is read.
    pub(crate) fn check_objects(&self, index: &Index) -> Result<()> {
        let sizes = self.store.sizes_below("objects")?;
        for piece in index.files.values().flat_map(|file| &file.pieces) {
            if sizes.get(&piece.name()) != Some(&piece.stored) {
                self.piece(piece)?;
            }
        }
        Ok(())
    }

    /// A piece's bytes, checked.
    pub(crate) fn piece(&self, piece: &Piece) -> Result<Vec<u8>> {
        let stored = self.store.get(&piece.name(), piece.stored_max())?.ok_or_else(|| {
            Error::corrupt(format!(
                "{}: object {} is missing; put it back from a copy of the archive, or archive to a new place",
                self.name,
                piece.name()
            ))
        })?;
        piece.unpack(stored, &self.name)
    }
}

fn read_identity(store: &dyn Store, name: &str) -> Result<Option<Identity>> {
    let bytes = store.get(IDENTITY, DOCUMENT_BYTES_MAX)?;
    bytes.map(|bytes| Ok(unseal(IDENTITY_KIND, &bytes, &format!("{name}/{IDENTITY}"))?.0)).transpose()
}

/// Puts the identity; `false` where another one was faster. Refuses a place that puts one object over another where it
/// must not: two archivers would mix what they ship there. What is left then is the identity of no database.
fn make_identity(store: &dyn Store, name: &str, ours: &Identity) -> Result<bool> {
    if !store.put_new(IDENTITY, &seal(IDENTITY_KIND, ours)?.0)? {
        return Ok(false);
    }
    let nobody = Identity { database: Hex([0; 16]), lineage: Hex([0; 16]) };
    match store.put_new(IDENTITY, &seal(IDENTITY_KIND, &nobody)?.0)? {
        false => Ok(true),
        true => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{name} does not honour If-None-Match: it has replaced an object that was there, so that two archivers \
                 could not be kept apart; name another place, and remove {IDENTITY} there"
            ),
        )),
    }
}

/// Refuses a directory with other things in it.
fn check_empty(path: &Path) -> Result<()> {
    let ours = [SHIPMENTS, SUMMARIES, "objects", "tmp"];
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::from(error).at(format!("cannot list {}", path.display()))),
    };
    for entry in entries {
        let name = entry?.file_name();
        if !ours.iter().any(|known| name == *known) {
            let (path, name) = (path.display(), name.to_string_lossy());
            return Err(Error::invalid(format!(
                "{path} is neither an archive nor empty: it has {name}; name another place"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::collections::HashMap;

    /// A bucket that takes no notice of If-None-Match.
    #[derive(Debug)]
    struct Heedless(Arc<dyn Store>);

    impl Store for Heedless {
        fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
            self.0.get(name, bytes_max)
        }

        fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
            self.0.put(name, bytes)
        }

        fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
            self.0.put(name, bytes).map(|()| true)
        }

        fn list(&self, dir: &str, after: &str) -> Result<Vec<String>> {
            self.0.list(dir, after)
        }

        fn sizes_below(&self, dir: &str) -> Result<HashMap<String, u64>> {
            self.0.sizes_below(dir)
        }

        fn is_near(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_place_that_replaces_what_is_there_is_refused_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let store = Heedless(Place::parse(dir.path()).unwrap().open().unwrap());
        let error =
            make_identity(&store, "there", &Identity { database: Hex([1; 16]), lineage: Hex([2; 16]) })
                .unwrap_err();
        assert!(error.to_string().contains("If-None-Match"), "{error}");
        let error = Archive::open_or_create(dir.path(), [1; 16], [2; 16]).unwrap_err();
        assert!(error.to_string().contains("another database"), "{error}");
        let other = tempfile::tempdir().unwrap();
        assert!(Archive::open_or_create(other.path(), [1; 16], [2; 16]).unwrap().1);
        assert!(!Archive::open_or_create(other.path(), [1; 16], [2; 16]).unwrap().1);
    }
}
