//! Pieces: what files of a database are cut into, each an object named by the digest of its bytes.
//!
//! Pieces break at every multiple of [`PIECE_BYTES`] of their file, so that a file which grows is never cut anew. Small
//! ones at its end are merged sixteen at a time, by the sixteenth power of their length: an object per commit would be
//! slow to read, and to merge at each commit would write everything again and again.

use crate::hex::{Digest, Hex};
use asof_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most bytes of a file that a new piece has.
pub const PIECE_BYTES: u64 = 4 << 20;
/// The most that one may have to be read: what other releases write may be longer.
pub const PIECE_BYTES_MAX: u64 = 64 << 20;
/// What an object may take beyond its bytes, where these do not compress.
const PACKED_EXTRA_MAX: u64 = 1 << 10;
/// So many small pieces make a larger one.
const MERGED: usize = 16;
/// How well new pieces are compressed.
const LEVEL: i32 = 3;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Piece {
    /// The offset of its first byte in the file.
    pub from: u64,
    /// The offset behind its last byte.
    pub to: u64,
    /// Of its bytes.
    pub digest: Digest,
    /// Whether the object is compressed.
    pub packed: bool,
    /// Bytes of the object.
    pub stored: u64,
}

/// As it stands in a shipment: from, to, digest, encoding, bytes of the object.
type Written = (u64, u64, Digest, String, u64);

impl From<Piece> for Written {
    fn from(piece: Piece) -> Written {
        let encoding = if piece.packed { "zstd" } else { "plain" };
        (piece.from, piece.to, piece.digest, encoding.to_string(), piece.stored)
    }
}

impl TryFrom<Written> for Piece {
    type Error = String;

    fn try_from((from, to, digest, encoding, stored): Written) -> std::result::Result<Piece, String> {
        let packed = match encoding.as_str() {
            "zstd" => true,
            "plain" => false,
            other => return Err(format!("a piece has the encoding {other}, which a newer release reads")),
        };
        if from >= to || to - from > PIECE_BYTES_MAX {
            return Err(format!("a piece from {from} to {to} cannot be"));
        }
        if stored > to - from + PACKED_EXTRA_MAX {
            return Err(format!("a piece from {from} to {to} cannot have an object of {stored} bytes"));
        }
        Ok(Piece { from, to, digest, packed, stored })
    }
}

impl Piece {
    /// A piece of these bytes, which begin at an offset, and its object.
    pub fn pack(from: u64, bytes: &[u8]) -> Result<(Piece, Vec<u8>)> {
        let to = from + bytes.len() as u64;
        let digest = Hex(*blake3::hash(bytes).as_bytes());
        let packed = zstd::bulk::compress(bytes, LEVEL).map_err(Error::from)?;
        // Data files are compressed already: what hardly gets shorter is kept as it is, for others to read.
        let pays = packed.len() < bytes.len() - bytes.len() / 16;
        let stored = if pays { packed } else { bytes.to_vec() };
        Ok((Piece { from, to, digest, packed: pays, stored: stored.len() as u64 }, stored))
    }

    /// The object's name.
    pub fn name(&self) -> String {
        let digest = self.digest.to_string();
        let extension = if self.packed { ".zst" } else { "" };
        format!("objects/{}/{digest}{extension}", &digest[..2])
    }

    /// How many bytes of the file it has.
    pub fn len(&self) -> u64 {
        self.to - self.from
    }

    /// The most bytes that the object may have.
    pub fn stored_max(&self) -> u64 {
        self.len() + PACKED_EXTRA_MAX
    }

    /// The piece's bytes from its object's, checked.
    pub fn unpack(&self, stored: Vec<u8>, archive: &str) -> Result<Vec<u8>> {
        let damaged = |found: String| {
            let expected = format!("{} bytes of digest {}", self.len(), self.digest);
            Error::corrupt(format!(
                "{archive}: object {} is damaged: expected {expected}, found {found}; \
                 put it back from a copy of the archive, or archive to a new place",
                self.name()
            ))
        };
        let bytes = match self.packed {
            false => stored,
            true => asof_engine::codec::decompress(&stored, self.len())
                .ok_or_else(|| damaged(format!("{} bytes that do not decompress to that", stored.len())))?,
        };
        if bytes.len() as u64 != self.len() {
            return Err(damaged(format!("{} bytes", bytes.len())));
        }
        let found = Hex(*blake3::hash(&bytes).as_bytes());
        if found != self.digest { Err(damaged(format!("digest {found}"))) } else { Ok(bytes) }
    }
}

/// Whether pieces follow one another from an offset on, and where they end.
pub fn end_of(pieces: &[Piece], from: u64) -> Option<u64> {
    pieces.iter().try_fold(from, |end, piece| (piece.from == end).then_some(piece.to))
}

/// Which parts of a file are to be packed anew where `pieces` are there and the file has `bytes`: from where on, and the
/// ends of the new pieces. Empty where all is there.
pub fn cuts(pieces: &[Piece], bytes: u64) -> (u64, Vec<u64>) {
    let mut from = pieces.last().map_or(0, |piece| piece.to);
    if from >= bytes {
        return (from, Vec::new());
    }
    let block = from - from % PIECE_BYTES;
    let mut new = bytes.min(block + PIECE_BYTES) - from;
    // The small pieces before it in the same block, the last one first.
    let before = || pieces.iter().rev().take_while(|piece| piece.from >= block && piece.to > block);
    // A block that is full is done with once and for all, if it is in more than a few pieces.
    if bytes >= block + PIECE_BYTES && before().count() >= MERGED / 2 {
        new += from - block;
        from = block;
    }
    loop {
        let tier = tier_of(new);
        let run = before().skip_while(|piece| piece.from >= from).take_while(|p| tier_of(p.len()) <= tier);
        let run: Vec<&Piece> = run.collect();
        match run.last() {
            Some(first) if run.len() + 1 >= MERGED => {
                new += from - first.from;
                from = first.from;
            }
            _ => break,
        }
    }
    let mut ends = vec![from + new];
    while ends[ends.len() - 1] < bytes {
        ends.push(bytes.min(ends[ends.len() - 1] + PIECE_BYTES));
    }
    (from, ends)
}

/// Which power of sixteen a length has.
fn tier_of(bytes: u64) -> u32 {
    bytes.max(1).ilog2() / 4
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_piece_is_read_back_and_damage_is_named() {
        for bytes in [
            vec![7; 10_000],
            (0..10_000u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..1].to_vec()).collect(),
        ] {
            let (piece, stored) = Piece::pack(4_096, &bytes).unwrap();
            assert_eq!((piece.from, piece.to), (4_096, 14_096));
            assert_eq!(piece.packed, stored.len() < 1_000);
            assert_eq!(piece.unpack(stored.clone(), "there").unwrap(), bytes);
            for at in [0, stored.len() / 2, stored.len() - 1] {
                let mut wrong = stored.clone();
                wrong[at] ^= 1;
                let error = piece.unpack(wrong, "there").unwrap_err().to_string();
                assert!(error.contains(&piece.name()) && error.contains("damaged"), "{error}");
            }
            assert!(piece.unpack(stored[1..].to_vec(), "there").is_err());
            let written = serde_json::to_string(&piece).unwrap();
            assert_eq!(serde_json::from_str::<Piece>(&written).unwrap(), piece);
        }
        let far = format!("[5,6,\"{}\",\"plain\",{}]", "0".repeat(64), u64::MAX);
        assert!(serde_json::from_str::<Piece>(&far).is_err());
        assert!(serde_json::from_str::<Piece>(&format!("[5,5,\"{}\",\"plain\",0]", "0".repeat(64))).is_err());
    }

    /// Grows a file in steps and counts what is written.
    fn grow(steps: impl Iterator<Item = u64>) -> (Vec<Piece>, u64) {
        let (mut pieces, mut bytes, mut written) = (Vec::<Piece>::new(), 0, 0);
        for step in steps {
            bytes += step;
            let (from, ends) = cuts(&pieces, bytes);
            pieces.retain(|piece| piece.to <= from);
            assert_eq!(pieces.last().map_or(0, |piece| piece.to), from, "pieces are replaced whole");
            let mut at = from;
            for end in ends {
                assert!(end - at <= PIECE_BYTES && at / PIECE_BYTES == (end - 1) / PIECE_BYTES);
                pieces.push(Piece { from: at, to: end, digest: Hex([0; 32]), packed: false, stored: 0 });
                written += end - at;
                at = end;
            }
            assert_eq!(end_of(&pieces, 0), Some(bytes));
        }
        (pieces, written)
    }

    #[test]
    fn a_file_that_grows_has_few_pieces_and_is_written_few_times() {
        for step in [1, 200, 5_000, 70_000, 3_000_000] {
            let steps = (12 * PIECE_BYTES / step).min(40_000);
            let (pieces, written) = grow((0..steps).map(|n| step + n % 3));
            let bytes = pieces.last().unwrap().to;
            assert!(written <= 8 * bytes, "steps of {step}: {written} written of {bytes}");
            let blocks = bytes / PIECE_BYTES + 1;
            assert!((pieces.len() as u64) < 9 * blocks + 100, "steps of {step}: {} pieces", pieces.len());
        }
    }

    #[test]
    fn what_is_all_there_is_left_alone() {
        let (pieces, _) = grow([10_000_000].into_iter());
        assert_eq!(pieces.len(), 3);
        assert_eq!(cuts(&pieces, 10_000_000), (10_000_000, Vec::new()));
        assert_eq!(cuts(&[], 0), (0, Vec::new()));
    }
}
