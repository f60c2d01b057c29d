//! Repair: what the new holder of the lock does where the last one did not leave cleanly, or where there is no
//! durable head to say how far the log is synced.
//!
//! The records whose sync nobody vouches for are copied, under a new epoch, into a new segment that gets its name
//! when it is synced; what lies behind them is fenced by that segment's first sequence. Until then nothing has
//! changed, and afterwards all has: a crash in between, at any depth, is repaired by doing it again.

use crate::disk::OpenMode;
use crate::error::Error;
use crate::log::{Log, LogOptions};
use crate::planted::{Bug, planted};
use crate::position::Position;
use crate::reader::{KnownEnd, Records};
use crate::record;
use crate::segment::{self, OpenSegment, SegmentHeader, UnfinishedSegment};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Repairs the log's tail. `durable` is what a durable head of this boot vouches for. Returns the segment to write
/// on in, and where.
pub(crate) fn repair(log: &Log, durable: Option<Position>) -> Result<(OpenSegment, Position), Error> {
    let (disk, dir) = (&*log.source.disk, log.path());
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    remove_unfinished(log)?;
    let (mut tail, end) = find_tail(log, durable.unwrap_or(log.floor()))?;
    if planted(Bug::TailNotRewritten) {
        tail = end.map_or(tail, |end| end.position);
    }
    if durable.is_none() {
        sync_segments(log)?;
    }
    copy_tail(log, tail, end)
}

/// Removes segments that never got their name.
fn remove_unfinished(log: &Log) -> Result<(), Error> {
    let (disk, dir) = (&*log.source.disk, log.path());
    for entry in disk.list(dir).map_err(Error::io("list", dir))? {
        if segment::is_unfinished(&entry.name) {
            let path = dir.join(&entry.name);
            disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The first record from `from` on that no later one and no segment says was synced; and where the log ends.
fn find_tail(log: &Log, from: Position) -> Result<(Position, Option<KnownEnd>), Error> {
    let mut records = Records::new(log.source.clone(), from, None, None, None);
    let mut unsynced: VecDeque<Position> = VecDeque::new();
    let mut synced_through = from.sequence - 1;
    loop {
        let record = records.next().transpose()?;
        let header = records.segment_header().expect("reading enters a segment");
        synced_through = synced_through.max(header.first_sequence - 1);
        if let Some(record) = &record {
            unsynced.push_back(record.position);
            synced_through = synced_through.max(record.synced_through);
        }
        while unsynced.front().is_some_and(|position| position.sequence <= synced_through) {
            unsynced.pop_front();
        }
        if record.is_none() {
            return Ok((unsynced.pop_front().unwrap_or(records.position()), records.end()));
        }
    }
}

/// Syncs every segment still wanted: without a durable head of this boot nobody knows that they are on disk, for the
/// directory may be a copy made a moment ago.
fn sync_segments(log: &Log) -> Result<(), Error> {
    for (number, _) in segment::list(&*log.source.disk, log.path())? {
        if number >= log.floor().segment {
            let path = segment::path_of(log.path(), number);
            let file = log.source.disk.open(&path, OpenMode::ReadWrite).map_err(Error::io("open", &path))?;
            file.sync_all().map_err(Error::io("sync", &path))?;
        }
    }
    Ok(())
}

/// Where a log ends that is damaged, and the damage; none where it is whole.
pub(crate) fn find_damage(log: &Log, limit: Option<Position>) -> Result<Option<(Position, Error)>, Error> {
    let mut records = Records::new(log.source.clone(), log.floor(), limit, None, None);
    loop {
        match records.next().transpose() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(damage @ (Error::Corrupt { .. } | Error::Missing { .. })) => {
                return Ok(Some((records.position(), damage)));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Cuts a damaged log at `end`: later segments are put aside under names that are never read, the last one first, the
/// one with the damage is copied to such a name, and a new segment fences the rest. Until that is there the log is damaged as before, or ends at `end`.
pub(crate) fn cut(log: &Log, end: Position) -> Result<(OpenSegment, Position), Error> {
    let (disk, dir, database_id) = (&*log.source.disk, log.path(), log.source.database_id);
    let mut epoch = end.epoch;
    for (number, _) in segment::list(disk, dir)?.into_iter().rev() {
        let path = segment::path_of(dir, number);
        let file = disk.open(&path, OpenMode::Read).map_err(Error::io("open", &path))?;
        match SegmentHeader::read(&*file, &path, &database_id, number) {
            Ok(header) => epoch = epoch.max(header.epoch),
            // What cannot be read cannot say its epoch either; it is put aside all the same.
            Err(Error::Corrupt { .. }) if number > end.segment => {}
            Err(error) => return Err(error),
        }
        if number > end.segment {
            put_aside(log, &path)?;
        }
    }
    copy_aside(log, end.segment)?;
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    let start = Position {
        segment: end.segment + 1,
        offset: segment::HEADER_BYTES,
        sequence: end.sequence,
        epoch: epoch + 1,
    };
    let header = SegmentHeader {
        database_id,
        number: start.segment,
        first_sequence: start.sequence,
        epoch: start.epoch,
    };
    let LogOptions { first_segment_bytes: first, max_segment_bytes: most, .. } = log.options;
    let target = UnfinishedSegment::create(disk, dir, &header)?;
    Ok((target.finish(disk, dir, 0, first, most)?, start))
}

/// Renames a file to a name that is never read.
fn put_aside(log: &Log, path: &Path) -> Result<(), Error> {
    let aside = aside(log, path)?;
    log.source.disk.rename(path, &aside).map_err(Error::io("rename", path))
}

/// Copies the segment with the damage: it stays, for what precedes the damage, until a checkpoint needs it no more.
fn copy_aside(log: &Log, number: u64) -> Result<(), Error> {
    let path = segment::path_of(log.path(), number);
    let disk = &*log.source.disk;
    if !disk.exists(&path).map_err(Error::io("look for", &path))? {
        return Ok(());
    }
    let aside = aside(log, &path)?;
    let from = disk.open(&path, OpenMode::Read).map_err(Error::io("open", &path))?;
    let to = disk.open(&aside, OpenMode::CreateNew).map_err(Error::io("create", &aside))?;
    let mut bytes = vec![0; COPY_BYTES];
    let mut offset = 0;
    loop {
        let count = from.read_up_to_at(&mut bytes, offset).map_err(Error::io("read", &path))?;
        if count == 0 {
            return to.sync_all().map_err(Error::io("sync", &aside));
        }
        to.write_all_at(&bytes[..count], offset).map_err(Error::io("write", &aside))?;
        offset += count as u64;
    }
}

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// The first free name of a file with `.cut` and a number behind it.
fn aside(log: &Log, path: &Path) -> Result<PathBuf, Error> {
    for number in 0_u32.. {
        let aside = path.with_extension(format!("wal.cut{number}"));
        if !log.source.disk.exists(&aside).map_err(Error::io("look for", &aside))? {
            return Ok(aside);
        }
    }
    unreachable!("a directory holds fewer than four billion names")
}

/// Copies the records from `tail` on into a new segment.
fn copy_tail(
    log: &Log,
    tail: Position,
    known_end: Option<KnownEnd>,
) -> Result<(OpenSegment, Position), Error> {
    let (disk, dir, database_id) = (&*log.source.disk, log.path(), log.source.database_id);
    let (last, epoch) = last_segment(log)?;
    let mut end = Position {
        segment: last + 1,
        offset: segment::HEADER_BYTES,
        sequence: tail.sequence,
        epoch: epoch.max(tail.epoch) + 1,
    };
    let header =
        SegmentHeader { database_id, number: end.segment, first_sequence: end.sequence, epoch: end.epoch };
    let mut target = UnfinishedSegment::create(disk, dir, &header)?;
    let mut bytes = Vec::new();
    for record in Records::new(log.source.clone(), tail, None, known_end, None) {
        let record = record?;
        if planted(Bug::TailDropped) {
            break;
        }
        bytes.clear();
        record::encode(&mut bytes, &database_id, end, tail.sequence - 1, record.kind, &record.payload);
        target.write(&bytes)?;
        end = end.after(bytes.len() as u64);
    }
    let LogOptions { first_segment_bytes: first, max_segment_bytes: most, .. } = log.options;
    Ok((target.finish(disk, dir, end.offset, first, most)?, end))
}

/// The number and epoch of the last segment.
fn last_segment(log: &Log) -> Result<(u64, u64), Error> {
    let (disk, dir) = (&*log.source.disk, log.path());
    let numbers = segment::list(disk, dir)?;
    let last = numbers.last().map_or(log.floor().segment, |(number, _)| *number);
    let path = segment::path_of(dir, last);
    let file = disk.open(&path, OpenMode::Read).map_err(Error::io("open", &path))?;
    let header = SegmentHeader::read(&*file, &path, &log.source.database_id, last)?;
    Ok((last, header.epoch))
}
