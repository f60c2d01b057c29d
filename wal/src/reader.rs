//! Reading forward. Reads only, repairs nothing; once it has failed or ended it stays so.
//!
//! Segment n holds the sequences from its own first up to, not including, the first of segment n+1: what else lies
//! in its bytes is a tail that a repair copied on, and is never read.

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::Error;
use crate::planted::{Bug, planted};
use crate::position::Position;
use crate::record::{self, Mismatch};
use crate::segment::{self, SegmentHeader};
use crate::watch::Watch;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes read at once when nothing says how many are needed.
const WINDOW_BYTES: u64 = 256 << 10;
/// Longer records are read straight into their payload, but for what the window has of them.
const WINDOW_RECORD_BYTES_MAX: u64 = 32 << 10;
/// Bytes read at once behind such a record: one like it is likely to follow, of which only the header is needed.
const WINDOW_BYTES_AMID_LONG: u64 = 4 << 10;

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it starts.
    pub position: Position,
    /// Where the one after it starts.
    pub next: Position,
    /// The caller's kind, never 0.
    pub kind: u8,
    /// The caller's bytes.
    pub payload: Vec<u8>,
    pub(crate) synced_through: u64,
}

/// Which log is read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub database_id: [u8; 16],
}

/// An end of the log that was looked for before: while the file keeps its length, nothing is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownEnd {
    pub position: Position,
    pub file_bytes: u64,
}

/// The records of a log from some position on, in order.
#[derive(Debug)]
pub struct Records {
    source: Source,
    position: Position,
    /// Records before this sequence are passed over: a repair copied them to where they are met again.
    wanted: u64,
    /// Everything before it is synced; without it the log is read up to its end.
    limit: Option<Position>,
    /// Where there is no limit yet, a writer may come and set one.
    watch: Option<Arc<Watch>>,
    /// Bytes were read since the watch was looked at.
    unwatched: bool,
    known_end: Option<KnownEnd>,
    segment: Option<ReadSegment>,
    window: Vec<u8>,
    window_start: u64,
    /// The last record was a long one.
    amid_long: bool,
    finished: bool,
}

#[derive(Debug)]
struct ReadSegment {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    header: SegmentHeader,
    next: Successor,
}

/// What follows a segment.
#[derive(Debug)]
enum Successor {
    None,
    Segment(SegmentHeader),
    /// It is there but cannot be read: an error once its predecessor is used up.
    Broken(Error),
}

/// Why a record is not there.
enum Missing {
    Bytes { needed: u64, left: u64 },
    Mismatch(Mismatch),
}

impl Iterator for Records {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let step = self.step();
        self.finished = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl Records {
    pub(crate) fn new(
        source: Source,
        from: Position,
        limit: Option<Position>,
        known_end: Option<KnownEnd>,
        watch: Option<Arc<Watch>>,
    ) -> Records {
        Records {
            source,
            position: from,
            wanted: from.sequence,
            limit,
            watch,
            unwatched: false,
            known_end,
            segment: None,
            window: Vec::new(),
            window_start: 0,
            amid_long: false,
            finished: false,
        }
    }

    /// Where the next record starts; after the last one, where the log ends for this reader.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The end that was met, to spare the next reader the search behind it.
    pub(crate) fn end(&self) -> Option<KnownEnd> {
        let segment = self.segment.as_ref().filter(|_| self.limit.is_none())?;
        Some(KnownEnd { position: self.position, file_bytes: segment.file_bytes })
    }

    /// The header of the segment that was read last.
    pub(crate) fn segment_header(&self) -> Option<SegmentHeader> {
        self.segment.as_ref().map(|segment| segment.header)
    }

    fn step(&mut self) -> Result<Option<Record>, Error> {
        loop {
            if let Some(limit) = self.limit
                && self.position.sequence.max(self.wanted) >= limit.sequence
            {
                return Ok(None);
            }
            if self.segment.is_none() {
                self.enter_segment()?;
            }
            if self.go_on_if_superseded() {
                continue;
            }
            let found = self.read_record()?;
            if self.limit_has_come() {
                continue;
            }
            match found {
                Ok(record) => {
                    self.position = record.next;
                    if record.position.sequence >= self.wanted {
                        return Ok(Some(record));
                    }
                }
                Err(missing) => {
                    if self.look_for_successor()? {
                        continue;
                    }
                    return self.end_or_damage(missing);
                }
            }
        }
    }

    /// Without a durable head every valid record is served, for what can be read is on disk. That ends with the
    /// first writer, and it publishes a head before it appends: bytes that were read before the head was looked for
    /// in vain are none of its. Where it is found, they are read again, now up to there.
    fn limit_has_come(&mut self) -> bool {
        if self.limit.is_some() || !std::mem::take(&mut self.unwatched) {
            return false;
        }
        self.limit = self.watch.as_ref().and_then(|watch| watch.entry()).map(|entry| entry.durable);
        if self.limit.is_some() {
            self.segment = None;
        }
        self.limit.is_some()
    }

    fn enter_segment(&mut self) -> Result<(), Error> {
        let Position { segment: number, offset, sequence, epoch } = self.position;
        let path = segment::path_of(&self.source.dir, number);
        let file = match self.source.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing { file: path, sequence });
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let header = SegmentHeader::read(&*file, &path, &self.source.database_id, number)?;
        let aligned = offset >= segment::HEADER_BYTES && offset.is_multiple_of(record::ALIGNMENT);
        if !aligned || epoch != header.epoch || sequence < header.first_sequence {
            return Err(Error::Corrupt {
                file: path,
                offset,
                expected: format!("a record of sequence {sequence} and epoch {epoch}"),
                found: format!("a segment from sequence {} of epoch {}", header.first_sequence, header.epoch),
                detail: "the segment does not hold the position asked for".into(),
            });
        }
        let file_bytes = file.len().map_err(Error::io("measure", &path))?;
        let next = self.successor(number, &header);
        self.window.clear();
        self.unwatched = true;
        self.segment = Some(ReadSegment { path, file, file_bytes, header, next });
        Ok(())
    }

    fn successor(&self, number: u64, header: &SegmentHeader) -> Successor {
        let path = segment::path_of(&self.source.dir, number + 1);
        let file = match self.source.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Successor::None,
            Err(error) => return Successor::Broken(Error::io("open", &path)(error)),
        };
        match SegmentHeader::read(&*file, &path, &self.source.database_id, number + 1) {
            Ok(next) if next.epoch < header.epoch || next.first_sequence < header.first_sequence => {
                Successor::Broken(Error::Corrupt {
                    file: path,
                    offset: 0,
                    expected: format!(
                        "epoch {} and sequence {} or later",
                        header.epoch, header.first_sequence
                    ),
                    found: format!("epoch {} and sequence {}", next.epoch, next.first_sequence),
                    detail: "epochs and first sequences never decrease from segment to segment".into(),
                })
            }
            Ok(next) => Successor::Segment(next),
            Err(error) => Successor::Broken(error),
        }
    }

    /// Moves to the next segment if this one holds no more of the log.
    fn go_on_if_superseded(&mut self) -> bool {
        let segment = self.segment.as_ref().expect("a segment was entered");
        match &segment.next {
            Successor::Segment(next) if self.position.sequence >= next.first_sequence => {
                self.position = Position {
                    segment: next.number,
                    offset: segment::HEADER_BYTES,
                    sequence: next.first_sequence,
                    epoch: next.epoch,
                };
                self.segment = None;
                true
            }
            _ => false,
        }
    }

    /// Where no record is: has a next segment appeared since this one was entered?
    fn look_for_successor(&mut self) -> Result<bool, Error> {
        let segment = self.segment.as_ref().expect("a segment was entered");
        let (number, header) = (segment.header.number, segment.header);
        if matches!(segment.next, Successor::None) {
            let next = self.successor(number, &header);
            self.segment.as_mut().expect("a segment was entered").next = next;
        }
        let segment = self.segment.as_mut().expect("a segment was entered");
        match std::mem::replace(&mut segment.next, Successor::None) {
            Successor::Broken(error) => Err(error),
            next => {
                segment.next = next;
                Ok(self.go_on_if_superseded())
            }
        }
    }

    fn read_record(&mut self) -> Result<Result<Record, Missing>, Error> {
        let position = self.position;
        let left = self.bytes_left();
        let header_bytes = record::HEADER_BYTES as u64;
        if left < header_bytes {
            return Ok(Err(Missing::Bytes { needed: header_bytes, left }));
        }
        let Some(bytes) = self.window(header_bytes)? else {
            return Ok(Err(Missing::Bytes { needed: header_bytes, left }));
        };
        let bytes: [u8; record::HEADER_BYTES] = bytes.try_into().expect("as long as asked for");
        let database_id = self.source.database_id;
        let header = match record::decode_header(&bytes, position.offset) {
            Ok(header) => header,
            Err(mismatch) => return Ok(Err(Missing::Mismatch(mismatch))),
        };
        if let Err(mismatch) = header.belongs_at(&database_id, position) {
            return Ok(Err(Missing::Mismatch(mismatch)));
        }
        // The file's length bounds what is allocated: a length in a header does not.
        let needed = header.encoded_bytes();
        if needed > left {
            return Ok(Err(Missing::Bytes { needed, left }));
        }
        let Some(mut body) = self.body(needed)? else {
            return Ok(Err(Missing::Bytes { needed, left }));
        };
        if let Err(mismatch) = header.check_body(&body) {
            return Ok(Err(Missing::Mismatch(mismatch)));
        }
        body.truncate(header.length as usize);
        Ok(Ok(Record {
            position,
            next: position.after(needed),
            kind: header.kind,
            payload: body,
            synced_through: header.synced_through,
        }))
    }

    /// Bytes of the segment from the position on.
    fn bytes_left(&self) -> u64 {
        let segment = self.segment.as_ref().expect("a segment was entered");
        segment.file_bytes.saturating_sub(self.position.offset)
    }

    /// What follows the header of the record of `encoded` bytes at the position.
    fn body(&mut self, encoded: u64) -> Result<Option<Vec<u8>>, Error> {
        self.amid_long = encoded > WINDOW_RECORD_BYTES_MAX;
        if !self.amid_long {
            let bytes = self.window(encoded)?;
            return Ok(bytes.map(|bytes| bytes[record::HEADER_BYTES..].to_vec()));
        }
        self.unwatched = true;
        let segment = self.segment.as_ref().expect("a segment was entered");
        let mut body = vec![0; encoded as usize - record::HEADER_BYTES];
        let offset = self.position.offset + record::HEADER_BYTES as u64;
        // The header was read through the window, so that it reaches up to here at least.
        let held = self.window.get((offset - self.window_start) as usize..).unwrap_or_default();
        let held = &held[..held.len().min(body.len())];
        body[..held.len()].copy_from_slice(held);
        let rest = segment.file.read_up_to_at(&mut body[held.len()..], offset + held.len() as u64);
        let count = held.len() + rest.map_err(Error::io("read", &segment.path))?;
        Ok((count == body.len()).then_some(body))
    }

    /// `count` bytes from the position on; none if the file ends before.
    fn window(&mut self, count: u64) -> Result<Option<&[u8]>, Error> {
        let offset = self.position.offset;
        let held = self.window_start..self.window_start + self.window.len() as u64;
        if offset < held.start || offset + count > held.end {
            let left = self.bytes_left();
            let most = if self.amid_long { WINDOW_BYTES_AMID_LONG } else { WINDOW_BYTES };
            let wanted = match self.limit {
                Some(limit) if limit.segment == self.position.segment && limit.offset > offset => {
                    (limit.offset - offset).min(most)
                }
                _ => most,
            };
            let segment = self.segment.as_ref().expect("a segment was entered");
            self.window.resize(wanted.max(count).min(left) as usize, 0);
            let read = segment.file.read_up_to_at(&mut self.window, offset);
            let read = read.map_err(Error::io("read", &segment.path))?;
            self.window.truncate(read);
            self.window_start = offset;
            self.unwatched = true;
        }
        let start = (offset - self.window_start) as usize;
        Ok(self.window.get(start..start + count as usize))
    }

    /// There is no record at the position: is that the end of the log, or damage?
    fn end_or_damage(&mut self, missing: Missing) -> Result<Option<Record>, Error> {
        let sequence = self.position.sequence;
        if let Some(limit) = self.limit {
            let detail =
                format!("the durable head says that everything before sequence {} is synced", limit.sequence);
            return Err(self.damage(missing, detail));
        }
        let segment = self.segment.as_ref().expect("a segment was entered");
        if let Successor::Segment(next) = &segment.next {
            let detail = format!(
                "segment {} was begun after everything before sequence {} was synced",
                next.number, next.first_sequence
            );
            return Err(self.damage(missing, detail));
        }
        if self.known_end == self.end() {
            return Ok(None);
        }
        if let Some(witness) = self.find_witness(sequence)? {
            let detail = format!("a later record, at offset {witness}, says that this one was synced");
            return Err(self.damage(missing, detail));
        }
        let numbers = segment::list(&*self.source.disk, &self.source.dir)?;
        if let Some((later, _)) = numbers.into_iter().find(|(number, _)| *number > self.position.segment) {
            if later == self.position.segment + 1 {
                // Made since it was looked for.
                return if self.look_for_successor()? { self.step() } else { self.end_or_damage(missing) };
            }
            let file = segment::path_of(&self.source.dir, self.position.segment + 1);
            return Err(Error::Missing { file, sequence });
        }
        Ok(None)
    }

    fn damage(&self, missing: Missing, detail: String) -> Error {
        let segment = self.segment.as_ref().expect("a segment was entered");
        let (what, expected, found) = match missing {
            Missing::Bytes { needed, left } => {
                ("length", format!("{needed} bytes"), format!("{left} bytes to the end of the file"))
            }
            Missing::Mismatch(Mismatch { what, expected, found }) => {
                (what, format!("{expected:#x}"), format!("{found:#x}"))
            }
        };
        Error::Corrupt {
            file: segment.path.clone(),
            offset: self.position.offset,
            expected,
            found,
            detail: format!("{what}, record of sequence {}; {detail}", self.position.sequence),
        }
    }

    /// Looks behind the position for a header of this segment, epoch and database that says `sequence` was synced.
    fn find_witness(&self, sequence: u64) -> Result<Option<u64>, Error> {
        if planted(Bug::SyncedThroughIgnored) {
            return Ok(None);
        }
        let segment = self.segment.as_ref().expect("a segment was entered");
        let step = record::ALIGNMENT as usize;
        let overlap = record::HEADER_BYTES - step;
        let mut window = vec![0; (WINDOW_BYTES as usize).min(self.bytes_left() as usize)];
        let mut start = self.position.offset + record::ALIGNMENT;
        loop {
            let count = segment.file.read_up_to_at(&mut window, start);
            let count = count.map_err(Error::io("read", &segment.path))?;
            for at in (0..count.saturating_sub(record::HEADER_BYTES - 1)).step_by(step) {
                let bytes: &[u8; record::HEADER_BYTES] =
                    window[at..at + record::HEADER_BYTES].try_into().expect("a header's length");
                if record::claimed_database_id(bytes) != self.source.database_id {
                    continue;
                }
                let offset = start + at as u64;
                if let Ok(header) = record::decode_header(bytes, offset)
                    && header.segment == segment.header.number
                    && header.epoch == segment.header.epoch
                    && (sequence..header.sequence).contains(&header.synced_through)
                {
                    return Ok(Some(offset));
                }
            }
            if count < window.len() || count <= overlap {
                return Ok(None);
            }
            start += (count - overlap) as u64;
        }
    }
}
