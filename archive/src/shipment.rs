//! What a shipment says: which pieces of which files came with it, and up to where the archive holds the database then.

use crate::hex::{Digest, Id};
use crate::pieces::Piece;
use asof_wal::Position;
use serde::{Deserialize, Serialize};

/// The directory of shipments.
pub const SHIPMENTS: &str = "shipments";
/// What a shipment's document is called in its first line.
pub const KIND: &str = "asof-shipment";

/// The name of a shipment's object.
pub fn name_of(number: u64) -> String {
    format!("{SHIPMENTS}/{}", file_name(number))
}

/// The same without its directory.
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.shipment")
}

/// The number in such a name.
pub fn number_of(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".shipment")?, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// A place in the log: segment, offset, sequence, epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
pub struct LogPlace(pub Position);

impl From<[u64; 4]> for LogPlace {
    fn from([segment, offset, sequence, epoch]: [u64; 4]) -> LogPlace {
        LogPlace(Position { segment, offset, sequence, epoch })
    }
}

impl From<LogPlace> for [u64; 4] {
    fn from(LogPlace(place): LogPlace) -> [u64; 4] {
        [place.segment, place.offset, place.sequence, place.epoch]
    }
}

/// Up to where the archive holds the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Where the log ends.
    pub log: LogPlace,
    /// The newest version.
    pub version: u64,
    /// Its commit time, microseconds since 1970.
    pub time: i64,
    /// The id of its commit; none for version 0.
    pub commit: Option<Id>,
}

/// A manifest of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestNote {
    /// Its number.
    pub number: u64,
    /// The version up to which it needs no log.
    pub version: u64,
    /// That version's commit time.
    pub time: i64,
    /// Where the log goes on.
    pub log: LogPlace,
}

/// What is known of a file after a shipment, and what is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNote {
    /// Its path below the database's directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// New pieces, one after the other up to its end: they take the place of what was there from the first one on.
    pub pieces: Vec<Piece>,
}

/// A shipment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// From 1, without gaps.
    pub number: u64,
    /// The digest of the shipment before it.
    pub previous: Option<Digest>,
    /// The database's id.
    pub database: Id,
    /// Its lineage's id.
    pub lineage: Id,
    /// When the database was looked at, microseconds since 1970.
    pub taken: i64,
    /// The manifest that was in force.
    pub manifest: ManifestNote,
    /// Whether everything between the end of the shipment before and this one's is there: the log, and every file that it
    /// names. Otherwise the log is good for reading from this shipment's manifest on alone.
    pub continues: bool,
    /// Up to where it holds the database.
    pub end: End,
    /// Data files that commits of the log's new part name: version and path.
    pub loads: Vec<(u64, String)>,
    /// Files with new bytes.
    pub files: Vec<FileNote>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::hex::Hex;
    use crate::sealed::{seal, unseal};

    fn example() -> Shipment {
        let log = |offset, sequence| LogPlace(Position { segment: 1, offset, sequence, epoch: 1 });
        let piece = Piece { from: 0, to: 4_600, digest: Hex([0x5f; 32]), packed: true, stored: 310 };
        Shipment {
            number: 1,
            previous: None,
            database: Hex(*b"database-of-test"),
            lineage: Hex([0x11; 16]),
            taken: 1_756_202_400_000_000,
            manifest: ManifestNote { number: 1, version: 0, time: i64::MIN, log: log(4_096, 1) },
            continues: false,
            end: End {
                log: log(4_600, 2),
                version: 1,
                time: 1_756_202_399_000_000,
                commit: Some(Hex([0x22; 16])),
            },
            loads: vec![(1, "data/00000001-0000000000000003.parquet".to_string())],
            files: vec![FileNote {
                path: "wal/0000000000000001.wal".to_string(),
                bytes: 4_600,
                pieces: vec![piece],
            }],
        }
    }

    #[test]
    fn a_shipment_has_the_bytes_that_the_format_page_shows() {
        let page = include_str!("../FORMAT.md");
        let shown = page.split_once("```shipment\n").unwrap().1.split_once("\n```").unwrap().0;
        let (bytes, digest) = seal(KIND, &example()).unwrap();
        assert_eq!(shown, String::from_utf8(bytes).unwrap());
        assert_eq!(unseal::<Shipment>(KIND, shown.as_bytes(), "shown").unwrap(), (example(), digest));
    }

    #[test]
    fn names_are_strict() {
        assert_eq!(name_of(0x40), "shipments/0000000000000040.shipment");
        assert_eq!(number_of("0000000000000040.shipment"), Some(0x40));
        for wrong in
            ["40.shipment", "0000000000000040", "000000000000004A.shipment", "+000000000000040.shipment"]
        {
            assert_eq!(number_of(wrong), None, "{wrong}");
        }
    }
}
