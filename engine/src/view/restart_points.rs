//! Where reading of a file can start anew, kept beside rendered files: the first key of each of its sections, and as far
//! as they are known its length and the digest of its text.
//!
//! They depend on the rows alone, not on how these lie in data files, so they hold after checkpoints and compaction.
//! Invariant: what was not written as it stands here, for this file, is not taken for it; it is counted anew.

use asof_mvcc::KeyBytes;

/// A section of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestartPoint {
    /// The lowest key that may be in it.
    pub(super) low: KeyBytes,
    /// Its length, if it is known.
    pub(super) length: Option<u64>,
    /// The digest of its text, if it was rendered.
    pub(super) digest: Option<Digest>,
}

/// The first bytes of the BLAKE3 digest of a section's text.
pub(super) type Digest = [u8; 16];

/// The digest of a text.
pub(super) fn digest_of(text: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&blake3::hash(text).as_bytes()[..16]);
    digest
}

/// `asofpnt1`, the file's size, how many sections; for each the length of its key, its key, its length (all ones where
/// that is not known), its digest (zeros where it is not known); the BLAKE3 digest of the file's name and all of this.
const MAGIC: &[u8; 8] = b"asofpnt1";
const HASH_BYTES: usize = 32;
const UNKNOWN: u64 = u64::MAX;

/// The bytes of the restart points of a file.
pub(super) fn encode(name: &str, size: u64, points: &[RestartPoint]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(size.to_le_bytes());
    out.extend((points.len() as u64).to_le_bytes());
    for point in points {
        out.extend((point.low.len() as u64).to_le_bytes());
        out.extend(&point.low[..]);
        out.extend(point.length.unwrap_or(UNKNOWN).to_le_bytes());
        out.extend(point.digest.unwrap_or_default());
    }
    let hash = hash_of(name, &out);
    out.extend(hash.as_bytes());
    out
}

/// The size and the restart points of a file of this name; none where the bytes are not those.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Option<(u64, Vec<RestartPoint>)> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    if hash_of(name, body) != *<&[u8; HASH_BYTES]>::try_from(hash).ok()? {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let size = number(&mut rest)?;
    let count = number(&mut rest)?;
    let mut points: Vec<RestartPoint> = Vec::new();
    for _ in 0..count {
        let key_bytes = usize::try_from(number(&mut rest)?).ok()?;
        let low: KeyBytes = take(&mut rest, key_bytes)?.into();
        let length = Some(number(&mut rest)?).filter(|length| *length != UNKNOWN);
        let digest = Digest::try_from(take(&mut rest, size_of::<Digest>())?).ok()?;
        let is_above = points.last().map_or(low.is_empty(), |last| last.low < low);
        if !is_above {
            return None;
        }
        points.push(RestartPoint { low, length, digest: (digest != Digest::default()).then_some(digest) });
    }
    (rest.is_empty() && !points.is_empty()).then_some((size, points))
}

fn hash_of(name: &str, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<RestartPoint> {
        let point = |low: &[u8], length, digest| RestartPoint { low: low.into(), length, digest };
        vec![
            point(b"", Some(7), Some([1; 16])),
            point(b"a", None, None),
            point(b"a\0", Some(0), None),
            point(&[0xFF; 300], Some(93), Some([2; 16])),
        ]
    }

    #[test]
    fn points_come_back_as_they_were_and_for_their_own_file_alone() {
        let bytes = encode("x.csv", 100, &points());
        assert_eq!(decode("x.csv", &bytes), Some((100, points())));
        assert_eq!(decode("y.csv", &bytes), None);
    }

    #[test]
    fn damage_anywhere_and_every_other_length_are_noticed() {
        let bytes = encode("x.csv", 100, &points());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode("x.csv", &damaged), None, "byte {at}");
            assert_eq!(decode("x.csv", &bytes[..at]), None, "cut at {at}");
        }
        assert_eq!(decode("x.csv", &[&bytes[..], b"x"].concat()), None);
    }

    #[test]
    fn what_somebody_wrote_with_a_right_checksum_neither_panics_nor_takes_memory() {
        let with_hash = |body: Vec<u8>| {
            let hash = hash_of("x.csv", &body);
            decode("x.csv", &[&body[..], hash.as_bytes()].concat())
        };
        let header = |count: u64| [&MAGIC[..], &100u64.to_le_bytes(), &count.to_le_bytes()].concat();
        assert_eq!(with_hash(header(0)), None);
        assert_eq!(with_hash(header(u64::MAX)), None);
        assert_eq!(with_hash([header(1), u64::MAX.to_le_bytes().to_vec()].concat()), None);
        let mut unordered = points();
        unordered.swap(1, 2);
        assert_eq!(decode("x.csv", &encode("x.csv", 100, &unordered)), None);
        let first_is_not_lowest = &points()[1..];
        assert_eq!(decode("x.csv", &encode("x.csv", 100, first_is_not_lowest)), None);
    }
}
