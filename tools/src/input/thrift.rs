//! Walks a structure in Thrift's compact encoding, without making anything of it.
//!
//! Invariant: nothing is allocated, and a walk that succeeds has seen that every text and list lies within the bytes.

/// Structures and lists within each other, at most.
const DEPTH_MAX: u32 = 32;

/// The type of a field, as encoded.
pub mod kind {
    /// Numbers of 32 bits.
    pub const I32: u8 = 5;
    /// Numbers of 64 bits.
    pub const I64: u8 = 6;
    /// Texts and bytes.
    pub const BINARY: u8 = 8;
    /// Lists.
    pub const LIST: u8 = 9;
    /// Structures.
    pub const STRUCT: u8 = 12;
}

/// Bytes, and how far they are read. Everything gives `None` where they make no sense or end too early.
pub struct Walk<'a> {
    bytes: &'a [u8],
}

impl<'a> Walk<'a> {
    /// At the beginning of some bytes.
    pub fn new(bytes: &'a [u8]) -> Walk<'a> {
        Walk { bytes }
    }

    /// A structure: `field` is told the number and type of each field and must read it.
    pub fn fields(&mut self, mut field: impl FnMut(&mut Self, i16, u8) -> Option<()>) -> Option<()> {
        let mut number = 0i16;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0F;
            if kind == 0 {
                return Some(());
            }
            number = match head >> 4 {
                0 => i16::try_from(self.signed()?).ok()?,
                more => number.checked_add(i16::from(more))?,
            };
            field(self, number, kind)?;
        }
    }

    /// A number.
    pub fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Whatever a field of this type is.
    pub fn skip(&mut self, kind: u8) -> Option<()> {
        // Truth is in the type of the field.
        if kind == 1 || kind == 2 { Some(()) } else { self.skip_within(kind, DEPTH_MAX) }
    }

    fn skip_within(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            1..=3 => self.byte().map(drop),
            4..=6 => self.unsigned().map(drop),
            7 => self.take(8),
            8 => {
                let length = self.unsigned()?;
                self.take(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.unsigned()?,
                    few => u64::from(few),
                };
                // Each takes a byte at least.
                if count > self.bytes.len() as u64 {
                    return None;
                }
                (0..count).try_for_each(|_| self.skip_within(head & 0x0F, depth))
            }
            11 => {
                let count = self.unsigned()?;
                if count > self.bytes.len() as u64 {
                    return None;
                }
                let kinds = if count > 0 { self.byte()? } else { 0 };
                (0..count).try_for_each(|_| {
                    self.skip_within(kinds >> 4, depth)?;
                    self.skip_within(kinds & 0x0F, depth)
                })
            }
            12 => self.fields(|walk, _, kind| match kind {
                1 | 2 => Some(()),
                _ => walk.skip_within(kind, depth),
            }),
            13 => self.take(16),
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn take(&mut self, count: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
