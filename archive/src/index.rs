//! What an archive holds: the sum of its shipments.
//!
//! Invariants. Shipments are summed up in order, each by its number, its predecessor's digest and the ids of database and
//! lineage: a gap, a duplicate and a foreign one are errors that name it. Of every file the pieces follow one another
//! from its first byte to its last.

use crate::hex::{Digest, Id};
use crate::pieces::{Piece, end_of};
use crate::shipment::{End, ManifestNote, Shipment, name_of};
use asof_engine::hold::directories;
use asof_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A file of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Its length.
    pub bytes: u64,
    /// Its pieces, in order.
    pub pieces: Vec<Piece>,
}

/// A manifest, and the stretch of unbroken log that leads on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedManifest {
    /// The manifest.
    pub note: ManifestNote,
    /// Which of the stretches.
    pub stretch: usize,
}

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The database's id.
    pub database: Id,
    /// Its lineage's id.
    pub lineage: Id,
    /// The number of the last shipment; 0 before the first.
    pub shipments: u64,
    /// Its digest.
    pub digest: Option<Digest>,
    /// When the database was looked at for it, microseconds since 1970.
    pub taken: i64,
    /// Bytes of the objects of all shipments.
    pub stored: u64,
    /// Objects of all shipments.
    pub objects: u64,
    /// Manifests, by number.
    pub manifests: Vec<ArchivedManifest>,
    /// Where each unbroken stretch of the log ends.
    pub stretches: Vec<End>,
    /// Data files that commits of the log name: version and path.
    pub loads: Vec<(u64, String)>,
    /// Files by path.
    pub files: BTreeMap<String, ArchivedFile>,
}

impl Index {
    /// Of an archive without shipments.
    pub fn empty(database: Id, lineage: Id) -> Index {
        Index {
            database,
            lineage,
            shipments: 0,
            digest: None,
            taken: i64::MIN,
            stored: 0,
            objects: 0,
            manifests: Vec::new(),
            stretches: Vec::new(),
            loads: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    /// Up to where the archive holds the database; none before the first shipment.
    pub fn end(&self) -> Option<&End> {
        self.stretches.last()
    }

    /// The newest version; 0 before the first shipment.
    pub fn version(&self) -> u64 {
        self.end().map_or(0, |end| end.version)
    }

    /// Bytes of all files, as they are in a database.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// A file by its path.
    pub fn file(&self, path: &str) -> Option<&ArchivedFile> {
        self.files.get(path)
    }

    /// Adds the next shipment. `place` names the archive in errors.
    pub fn add(&mut self, shipment: Shipment, digest: Digest, place: &str) -> Result<()> {
        let name = name_of(shipment.number);
        let wrong = |what: String| Error::corrupt(format!("{place}: {name} {what}"));
        if (shipment.database, shipment.lineage) != (self.database, self.lineage) {
            let (database, lineage) = (shipment.database, shipment.lineage);
            return Err(wrong(format!(
                "is foreign: expected database {} of lineage {}, found {database} of lineage {lineage}",
                self.database, self.lineage
            )));
        }
        if shipment.number != self.shipments + 1 {
            return Err(wrong(format!("is out of place: expected shipment {}", self.shipments + 1)));
        }
        if shipment.previous != self.digest {
            let text =
                |digest: Option<Digest>| digest.map_or("none".to_string(), |digest| digest.to_string());
            return Err(wrong(format!(
                "does not follow the shipment before it: expected digest {}, found {}; it is a duplicate, or foreign",
                text(self.digest),
                text(shipment.previous)
            )));
        }
        for note in &shipment.files {
            check_path(&note.path).map_err(wrong)?;
            let file = self.files.entry(note.path.clone()).or_default();
            let from = note.pieces.first().map_or(file.bytes, |piece| piece.from);
            let kept = file.pieces.partition_point(|piece| piece.to <= from);
            let kept_to = file.pieces[..kept].last().map_or(0, |piece| piece.to);
            if kept_to != from || end_of(&note.pieces, from) != Some(note.bytes) || note.bytes < file.bytes {
                return Err(wrong(format!(
                    "has a gap: pieces of {} from {from} do not join {kept_to} and {}",
                    note.path, note.bytes
                )));
            }
            file.pieces.truncate(kept);
            file.pieces.extend(&note.pieces);
            file.bytes = note.bytes;
            // A summary may have claimed any number.
            self.objects = self.objects.saturating_add(note.pieces.len() as u64);
            let stored = note.pieces.iter().map(|piece| piece.stored);
            self.stored = stored.fold(self.stored, u64::saturating_add);
        }
        let end = shipment.end;
        match self.stretches.last_mut() {
            Some(last) if shipment.continues => *last = end,
            _ => self.stretches.push(end),
        }
        let newest = self.manifests.last().map(|manifest| manifest.note.number);
        if newest.is_none_or(|newest| shipment.manifest.number > newest) {
            let stretch = self.stretches.len() - 1;
            self.manifests.push(ArchivedManifest { note: shipment.manifest, stretch });
        } else if !shipment.continues {
            // The log leads on from it, and no more from those before.
            let stretch = self.stretches.len() - 1;
            let last = self.manifests.last_mut().expect("there is a newest one");
            *last = ArchivedManifest { note: shipment.manifest, stretch };
        }
        self.loads.extend(shipment.loads);
        self.shipments = shipment.number;
        self.digest = Some(digest);
        self.taken = shipment.taken;
        Ok(())
    }

    /// Checks what a summary said, which is otherwise the sum of checked shipments.
    pub fn check(&self) -> std::result::Result<(), String> {
        for (path, file) in &self.files {
            check_path(path)?;
            if end_of(&file.pieces, 0) != Some(file.bytes) {
                return Err(format!("has a gap: pieces of {path} do not make {} bytes", file.bytes));
            }
        }
        if self.shipments >= 1 << 62 {
            return Err(format!("says that there were {} shipments, which cannot be", self.shipments));
        }
        let stretches = self.stretches.len();
        match self.manifests.iter().all(|manifest| manifest.stretch < stretches) {
            true => Ok(()),
            false => Err("names a stretch of the log that it does not have".to_string()),
        }
    }
}

/// Whether a path is one of a database's files: a directory of its own, and a plain name.
fn check_path(path: &str) -> std::result::Result<(), String> {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    };
    match path.split_once('/') {
        Some((dir, name)) if directories().any(|known| known == dir) && plain(name) => Ok(()),
        _ => Err(format!("names {path:?}, which is no file of a database")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::hex::Hex;
    use crate::shipment::{FileNote, LogPlace};
    use asof_wal::Position;

    fn end(version: u64) -> End {
        End { log: LogPlace(Position::START), version, time: version as i64, commit: Some(Hex([1; 16])) }
    }

    fn shipment(number: u64, previous: Option<Digest>) -> Shipment {
        Shipment {
            number,
            previous,
            database: Hex([1; 16]),
            lineage: Hex([2; 16]),
            taken: 5,
            manifest: ManifestNote { number: 1, version: 0, time: 0, log: LogPlace(Position::START) },
            continues: number > 1,
            end: end(number),
            loads: Vec::new(),
            files: Vec::new(),
        }
    }

    fn piece(from: u64, to: u64) -> Piece {
        Piece { from, to, digest: Hex([3; 32]), packed: false, stored: to - from }
    }

    fn digest(number: u8) -> Digest {
        Hex([number; 32])
    }

    fn started() -> Index {
        let mut index = Index::empty(Hex([1; 16]), Hex([2; 16]));
        let mut first = shipment(1, None);
        first.files =
            vec![FileNote { path: "wal/1.wal".into(), bytes: 20, pieces: vec![piece(0, 10), piece(10, 20)] }];
        index.add(first, digest(1), "there").unwrap();
        index
    }

    #[test]
    fn what_does_not_follow_is_refused_by_name() {
        let refused = |shipment: Shipment, what: &str| {
            let error = started().add(shipment, digest(2), "there").unwrap_err().to_string();
            assert!(error.starts_with("there: shipments/") && error.contains(what), "{what}: {error}");
        };
        refused(shipment(3, Some(digest(1))), "out of place");
        refused(shipment(1, None), "out of place");
        refused(shipment(2, Some(digest(9))), "duplicate");
        refused(Shipment { lineage: Hex([9; 16]), ..shipment(2, Some(digest(1))) }, "foreign");
        let with = |path: &str, bytes, pieces| Shipment {
            files: vec![FileNote { path: path.into(), bytes, pieces }],
            ..shipment(2, Some(digest(1)))
        };
        refused(with("wal/1.wal", 40, vec![piece(30, 40)]), "gap");
        refused(with("wal/1.wal", 40, vec![piece(15, 40)]), "gap");
        refused(with("wal/1.wal", 40, vec![piece(20, 30)]), "gap");
        refused(with("wal/1.wal", 15, vec![piece(10, 15)]), "gap");
        for path in ["wal/../x", "/etc/passwd", "wal", "other/x", "wal/.x", "wal/a/b", "wal/"] {
            refused(with(path, 10, vec![piece(0, 10)]), "no file of a database");
        }
    }

    #[test]
    fn new_pieces_take_the_place_of_small_ones() {
        let mut index = started();
        let mut second = shipment(2, Some(digest(1)));
        second.files = vec![FileNote { path: "wal/1.wal".into(), bytes: 30, pieces: vec![piece(10, 30)] }];
        index.add(second, digest(2), "there").unwrap();
        assert_eq!(index.files["wal/1.wal"].pieces, [piece(0, 10), piece(10, 30)]);
        assert_eq!((index.version(), index.stored, index.objects), (2, 40, 3));
        assert_eq!(index.check(), Ok(()));
        index.files.get_mut("wal/1.wal").unwrap().bytes = 31;
        assert!(index.check().is_err());
    }

    #[test]
    fn a_break_in_the_log_begins_another_stretch() {
        let mut index = started();
        let manifest = ManifestNote { number: 2, version: 3, ..shipment(1, None).manifest };
        index
            .add(Shipment { manifest, continues: false, ..shipment(2, Some(digest(1))) }, digest(2), "x")
            .unwrap();
        index.add(Shipment { manifest, ..shipment(3, Some(digest(2))) }, digest(3), "x").unwrap();
        let stretches: Vec<usize> = index.manifests.iter().map(|manifest| manifest.stretch).collect();
        assert_eq!((stretches, index.stretches.clone()), (vec![0, 1], vec![end(1), end(3)]));
    }
}
