//! Which version can be reached from an archive, and how: one function decides it, and whatever recovers, lists or
//! rehearses asks that one.
//!
//! A target is reached from a *base*, a manifest: from the newest one at or before the target whose log leads on to it,
//! or, where the log between is not there, from the oldest one after it, of which the later versions are cut off. Such a
//! one reaches no version of which retention had let a table go by then; nor does any after it.

use crate::cache::Pieces;
use crate::index::{ArchivedManifest, Index};
use crate::pieces::Piece;
use crate::shipment::{End, ManifestNote};
use asof_engine::hold::{manifest_path, segment_path};
use asof_engine::manifest::Manifest;
use asof_engine::{Error, Result};
use asof_wal::Position;

/// From where a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The manifest.
    pub manifest: ManifestNote,
    /// Whether what is after the target is cut off; otherwise the log is replayed up to it.
    pub cuts: bool,
}

/// From where a version is reached, as far as manifests and the log tell; an error where it is not.
fn base_of(index: &Index, target: u64, archive: &str) -> Result<Base> {
    let newest = index.end().map_or(0, |end| end.version);
    if index.end().is_none() {
        return Err(Error::not_found(format!(
            "{archive} has no shipment yet; 'asof archive DB {archive}' makes one"
        )));
    }
    if target > newest {
        let message =
            format!("version {target} is not in {archive}: the newest that was shipped is {newest}");
        return Err(Error::not_found(message).with_nearest(vec![newest.to_string()]));
    }
    let leads = |manifest: &&ArchivedManifest| {
        manifest.note.version <= target && target <= index.stretches[manifest.stretch].version
    };
    let by_version = |manifest: &&ArchivedManifest| (manifest.note.version, manifest.note.number);
    if let Some(manifest) = index.manifests.iter().filter(leads).max_by_key(by_version) {
        return Ok(Base { manifest: manifest.note, cuts: false });
    }
    let after = index.manifests.iter().filter(|manifest| manifest.note.version > target);
    let after = after.min_by_key(by_version);
    after.map(|manifest| Base { manifest: manifest.note, cuts: true }).ok_or_else(|| {
        Error::corrupt(format!("{archive}: no manifest leads to version {target}; a shipment is lost"))
    })
}

/// The versions, each from one up to another, exclusive, that a manifest does not reach by cutting off what is later: a
/// table that was there then is gone.
fn lost_by(manifest: &Manifest) -> Result<Vec<(u64, u64)>> {
    let mut lost: Vec<(u64, u64)> = Vec::new();
    for table in &manifest.tables {
        let table = table.to_table()?;
        let gone = manifest.gone.iter().filter(|gone| gone.table == table.id).flat_map(|gone| &gone.ranges);
        for (from, to) in gone {
            let lives = table.lives.iter().map(|(begin, end)| (begin.0, end.map_or(u64::MAX, |end| end.0)));
            let lived = lives.map(|(begin, end)| (begin.max(*from), end.min(*to)));
            lost.extend(lived.filter(|(from, to)| from < to));
        }
    }
    lost.sort_unstable();
    lost.dedup_by(|next, before| {
        let joins = next.0 <= before.1;
        if joins {
            before.1 = before.1.max(next.1);
        }
        joins
    });
    Ok(lost)
}

/// From where a version is reached, with that manifest, decoded; an error, with the nearest that are, where it is not.
fn reach(pieces: &Pieces, index: &Index, target: u64) -> Result<(Base, Manifest)> {
    let archive = pieces.archive().name();
    let base = base_of(index, target, archive)?;
    let manifest = read_manifest(pieces, index, &base.manifest)?;
    if base.cuts && lost_by(&manifest)?.iter().any(|(from, to)| (*from..*to).contains(&target)) {
        let ranges = ranges(pieces, index)?;
        let before = ranges.iter().map(|range| range.last).filter(|last| *last < target).max();
        let after = ranges.iter().map(|range| range.first).filter(|first| *first > target).min();
        let mut nearest: Vec<u64> = before.into_iter().chain(after).collect();
        nearest.sort_by_key(|near| near.abs_diff(target));
        let nearest: Vec<String> = nearest.iter().map(u64::to_string).collect();
        let message = format!(
            "version {target} is gone from {archive}: retention had let it go before manifest {} was shipped, and the log \
             that leads there was not; the nearest that can be recovered: {}",
            base.manifest.number,
            nearest.join(" and ")
        );
        return Err(Error::not_found(message).with_nearest(nearest));
    }
    Ok((base, manifest))
}

/// A file to be made of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path below the database's directory.
    pub path: String,
    /// How many of its bytes are wanted.
    pub bytes: u64,
    /// The pieces that have them.
    pub pieces: Vec<Piece>,
}

/// How a target is reached.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The version.
    pub target: u64,
    /// From where.
    pub base: Base,
    /// The base, decoded.
    pub manifest: Manifest,
    /// The number that the base gets, above all that the log tells of.
    pub number: u64,
    /// Every file but the manifest.
    pub files: Vec<PlannedFile>,
    /// Up to where the archive holds the database.
    pub newest: End,
    /// When it was last shipped, microseconds since 1970.
    pub taken: i64,
}

impl Plan {
    /// Plans how a version is reached. Reads the base's manifest, and nothing else.
    pub fn of(pieces: &Pieces, index: &Index, target: u64) -> Result<Plan> {
        let archive = pieces.archive().name();
        let (base, manifest) = reach(pieces, index, target)?;
        let mut wanted: Vec<(String, Option<u64>)> =
            manifest.files().into_iter().map(|file| (file.path, Some(file.bytes))).collect();
        let from = base.manifest.log.0;
        if base.cuts {
            wanted.push((segment_path(from.segment), Some(from.offset)));
        } else {
            let loads = index.loads.iter();
            let loads = loads.filter(|(version, _)| base.manifest.version < *version && *version <= target);
            wanted.extend(loads.map(|(_, path)| (path.clone(), None)));
            let last = last_segment(index, &base, target);
            if last.saturating_sub(from.segment) > index.files.len() as u64 {
                let message = format!(
                    "{archive}: the log has a gap: segments {} to {last} are not there",
                    from.segment
                );
                return Err(Error::corrupt(message));
            }
            wanted.extend((from.segment..=last).map(|number| (segment_path(number), None)));
        }
        wanted.sort();
        wanted.dedup_by(|one, other| one.0 == other.0);
        let mut files = Vec::new();
        for (path, bytes) in wanted {
            let file = index.file(&path).ok_or_else(|| {
                Error::corrupt(format!("{archive}: no shipment has {path}, which version {target} needs"))
            })?;
            let bytes = bytes.unwrap_or(file.bytes);
            if bytes > file.bytes {
                let found = file.bytes;
                let message = format!("{archive}: {path} has a gap: expected {bytes} bytes, found {found}");
                return Err(Error::corrupt(message));
            }
            let pieces = file.pieces.iter().take_while(|piece| piece.from < bytes).copied().collect();
            files.push(PlannedFile { path, bytes, pieces });
        }
        // Two get numbers: no record of the log may tell of either.
        let number =
            index.manifests.iter().map(|manifest| manifest.note.number).max().unwrap_or(0).saturating_add(2);
        let newest = *index.end().expect("a target was found");
        Ok(Plan { target, base, manifest, number, files, newest, taken: index.taken })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes of the objects that have them.
    pub fn stored(&self) -> u64 {
        self.files.iter().flat_map(|file| &file.pieces).map(|piece| piece.stored).sum()
    }

    /// Bytes of the log among them.
    pub fn log_bytes(&self) -> u64 {
        self.files.iter().filter(|file| file.path.starts_with("wal/")).map(|file| file.bytes).sum()
    }
}

/// The last segment of the log that a replay up to a version may need: a later manifest's log begins there.
fn last_segment(index: &Index, base: &Base, target: u64) -> u64 {
    let of_base = index.manifests.iter().find(|manifest| manifest.note.number == base.manifest.number);
    let stretch = of_base.expect("the base is one of these").stretch;
    let same = index.manifests.iter().filter(|manifest| manifest.stretch == stretch);
    let after =
        same.filter(|manifest| manifest.note.version > target).map(|manifest| manifest.note.log.0.segment);
    after.min().unwrap_or(index.stretches[stretch].log.0.segment)
}

/// Reads a manifest of the archive, which must be what is noted of it.
fn read_manifest(pieces: &Pieces, index: &Index, note: &ManifestNote) -> Result<Manifest> {
    let path = manifest_path(note.number);
    let archive = pieces.archive().name();
    let file = index.file(&path);
    let file = file.ok_or_else(|| Error::corrupt(format!("{archive}: no shipment has {path}")))?;
    let mut bytes = Vec::new();
    for piece in &file.pieces {
        bytes.extend_from_slice(&pieces.get(piece)?);
    }
    let manifest = Manifest::from_bytes(&bytes, &format!("{archive}: {path}"))?;
    let is_noted = (manifest.number, manifest.version, Position::from(manifest.log_start))
        == (note.number, note.version, note.log.0)
        && (manifest.database_id, manifest.lineage_id) == (index.database.0, index.lineage.0);
    match is_noted {
        true => Ok(manifest),
        false => Err(Error::corrupt(format!(
            "{archive}: {path} is not the manifest that was shipped: expected number {} at version {}, found {} at {}",
            note.number, note.version, manifest.number, manifest.version
        ))),
    }
}

/// Versions that are reached in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// From where all of them are reached.
    pub base: Base,
}

/// Every version that can be reached, in ranges of those with one base, ascending. Reads the manifests of which later
/// versions are cut off.
pub fn ranges(pieces: &Pieces, index: &Index) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for range in bases(index, pieces.archive().name())? {
        if !range.base.cuts {
            ranges.push(range);
            continue;
        }
        let lost = lost_by(&read_manifest(pieces, index, &range.base.manifest)?)?;
        let mut first = range.first;
        for (from, to) in lost.into_iter().filter(|(from, to)| *to > range.first && *from <= range.last) {
            if first < from {
                ranges.push(Range { first, last: from - 1, ..range });
            }
            first = to;
        }
        if first <= range.last {
            ranges.push(Range { first, ..range });
        }
    }
    Ok(ranges)
}

/// Which base all versions have, in ranges of those with the same.
pub(crate) fn bases(index: &Index, archive: &str) -> Result<Vec<Range>> {
    let newest = index.version();
    let mut ends: Vec<u64> = Vec::new();
    for manifest in &index.manifests {
        // Where another base may be better.
        ends.extend(manifest.note.version.checked_sub(1));
        ends.push(index.stretches[manifest.stretch].version);
    }
    ends.push(newest);
    ends.sort_unstable();
    ends.dedup();
    let mut ranges: Vec<Range> = Vec::new();
    let mut first = 0;
    for last in ends {
        if last < first {
            continue;
        }
        let base = base_of(index, last, archive)?;
        match ranges.last_mut() {
            Some(range) if range.base == base => range.last = last,
            _ => ranges.push(Range { first, last, base }),
        }
        first = last.saturating_add(1);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::hex::Hex;
    use crate::shipment::LogPlace;

    fn log(sequence: u64) -> LogPlace {
        LogPlace(Position { segment: sequence / 10 + 1, offset: 4_096, sequence, epoch: 1 })
    }

    fn end(version: u64) -> End {
        End { log: log(version), version, time: 0, commit: None }
    }

    /// Manifests of (number, version, stretch), stretches by their last version.
    fn index(manifests: &[(u64, u64, usize)], stretches: &[u64]) -> Index {
        let mut index = Index::empty(Hex([1; 16]), Hex([2; 16]));
        index.shipments = 1;
        index.stretches = stretches.iter().map(|version| end(*version)).collect();
        index.manifests = manifests
            .iter()
            .map(|(number, version, stretch)| ArchivedManifest {
                note: ManifestNote { number: *number, version: *version, time: 0, log: log(*version) },
                stretch: *stretch,
            })
            .collect();
        index
    }

    fn check(index: &Index, target: u64, expected: Option<(u64, bool)>) {
        let base = base_of(index, target, "there").ok();
        assert_eq!(base.map(|base| (base.manifest.number, base.cuts)), expected, "version {target}");
    }

    #[test]
    fn the_newest_base_whose_log_leads_on_is_taken_and_else_the_oldest_after() {
        let broken = index(&[(1, 0, 0), (3, 10, 0), (9, 50, 1), (12, 60, 1)], &[20, 75]);
        for (target, expected) in [
            (0, Some((1, false))),
            (9, Some((1, false))),
            (10, Some((3, false))),
            (20, Some((3, false))),
            (21, Some((9, true))),
            (49, Some((9, true))),
            (50, Some((9, false))),
            (60, Some((12, false))),
            (75, Some((12, false))),
            (76, None),
        ] {
            check(&broken, target, expected);
        }
        check(&index(&[], &[]), 0, None);
        let ranges = bases(&broken, "there").unwrap();
        let found: Vec<_> = ranges
            .iter()
            .map(|range| (range.first, range.last, range.base.manifest.number, range.base.cuts))
            .collect();
        assert_eq!(
            found,
            [
                (0, 9, 1, false),
                (10, 20, 3, false),
                (21, 49, 9, true),
                (50, 59, 9, false),
                (60, 75, 12, false)
            ]
        );
    }

    #[test]
    fn every_version_of_a_range_has_its_base() {
        let indexes = [
            index(&[(1, 0, 0)], &[7]),
            index(&[(4, 5, 0), (5, 5, 0), (6, 9, 1), (7, 9, 1)], &[5, 30]),
            index(&[(2, 3, 0), (4, 8, 1), (6, 8, 2), (8, 20, 3)], &[6, 8, 11, 20]),
        ];
        for index in indexes {
            let ranges = bases(&index, "there").unwrap();
            assert_eq!((ranges[0].first, ranges.last().unwrap().last), (0, index.version()));
            for range in ranges {
                for version in range.first..=range.last {
                    assert_eq!(base_of(&index, version, "there").unwrap(), range.base, "version {version}");
                }
            }
        }
    }
}
