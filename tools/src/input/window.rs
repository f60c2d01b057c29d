//! The part of an input that is in memory: a buffer that grows to hold one record, and the line and offset it is at.
//!
//! Invariant: what was not taken stays, in order, and the buffer is never much longer than the longest record, which is
//! bounded by [`RECORD_BYTES_MAX`].

use super::chunk::Place;
use super::source::Bytes;
use memchr::memchr_iter;
use std::io::Read;

/// Bytes of a record, at most.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// The part of the input that is in memory.
pub struct Window {
    bytes: Bytes,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of `start` in the input.
    offset: u64,
    /// The line that `start` is in, from 1.
    line: u64,
    /// Where the record taken last began, in the buffer.
    last: (usize, usize),
    /// Nothing comes after what is in the buffer.
    pub finished: bool,
}

impl Window {
    /// Nothing read yet.
    pub fn new(bytes: Bytes) -> Window {
        Window {
            bytes,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            line: 1,
            last: (0, 0),
            finished: false,
        }
    }

    /// What is in memory and not taken.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where that begins.
    pub fn place(&self) -> Place {
        Place::Line { line: self.line, offset: self.offset }
    }

    /// The offset where that begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes bytes off the front.
    pub fn take(&mut self, count: usize) {
        self.line += memchr_iter(b'\n', &self.buffer[self.start..self.start + count]).count() as u64;
        self.last = (self.start, self.start + count);
        self.start += count;
        self.offset += count as u64;
    }

    /// The bytes taken last, until more is read.
    pub fn last(&self) -> &[u8] {
        &self.buffer[self.last.0..self.last.1]
    }

    /// Gives the record taken last back, before anything else was read.
    pub fn give_back(&mut self) {
        let (start, end) = self.last;
        self.line -= memchr_iter(b'\n', &self.buffer[start..end]).count() as u64;
        self.offset -= (end - start) as u64;
        self.start = start;
        self.last = (start, start);
    }

    /// Reads more behind what is there; false where the buffer may not grow.
    pub fn fill(&mut self) -> std::io::Result<bool> {
        if self.start > 0 && self.start == self.end {
            (self.start, self.end, self.last) = (0, 0, (0, 0));
        } else if self.start > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end, self.last) = (0, self.end - self.start, (0, 0));
        }
        if self.end == self.buffer.len() {
            if self.end - self.start > RECORD_BYTES_MAX {
                return Ok(false);
            }
            let length = (self.buffer.len() * 2).max(BUFFER_BYTES);
            self.buffer.resize(length, 0);
        }
        while self.end < self.buffer.len() {
            match self.bytes.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.finished = true;
                    break;
                }
                Ok(count) => self.end += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
