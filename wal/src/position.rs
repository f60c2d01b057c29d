//! A place in the log.

use crate::segment;

/// Where the next record starts and the sequence it gets.
///
/// Sequences alone decide what comes before what: a repair may move a record to another segment under a higher
/// epoch, but never changes its sequence or payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// The offset in the segment's file.
    pub offset: u64,
    /// The sequence of the record that starts here.
    pub sequence: u64,
    /// The epoch of the segment.
    pub epoch: u64,
}

impl Position {
    /// The first record of a new log.
    pub const START: Position = Position { segment: 1, offset: segment::HEADER_BYTES, sequence: 1, epoch: 1 };

    /// The place after a record of `bytes` (header, payload and padding) that starts here.
    pub(crate) fn after(self, bytes: u64) -> Position {
        Position { offset: self.offset + bytes, sequence: self.sequence + 1, ..self }
    }
}
