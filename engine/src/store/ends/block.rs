//! A block of an ends file: dead rows of one data file, ascending, and their ends, both packed to as many
//! bits as the block needs. Rows are unpacked once, ends when asked for.

use crate::codec::decompress;
use asof_mvcc::Version;

/// Rows of a block, at most.
pub const BLOCK_ROWS: usize = 4096;

/// Zeros behind packed numbers, so that eight bytes can be read wherever one begins.
const PADDING: usize = 8;
/// Widths up to here are packed; wider numbers take 64 bits.
const WIDTH_MAX: u8 = 56;
/// Set in a block's first byte where what follows the widths is compressed.
const COMPRESSED: u8 = 0x80;
/// Packed bytes from which on compression is tried.
const COMPRESS_BYTES_MIN: usize = 64;

/// What the directory says of a block's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many.
    pub rows: u32,
    /// The first of them.
    pub first: u32,
    /// The last of them.
    pub last: u32,
    /// The lowest end.
    pub min_end: u64,
    /// The highest end.
    pub max_end: u64,
}

impl Bounds {
    /// Whether it may tell of deaths in (after, up_to].
    pub fn within(&self, after: Version, up_to: Version) -> bool {
        self.max_end > after.0 && self.min_end <= up_to.0
    }
}

/// A block, decoded.
#[derive(Debug)]
pub struct Block {
    rows: Box<[u32]>,
    /// Each end less the lowest.
    ends: Box<[u8]>,
    width: u8,
    min_end: u64,
}

/// Encodes 1 to [`BLOCK_ROWS`] rows, which ascend.
pub fn encode(dead: &[(u32, Version)]) -> (Bounds, Vec<u8>) {
    let ends = || dead.iter().map(|(_, end)| end.0);
    let bounds = Bounds {
        rows: dead.len() as u32,
        first: dead[0].0,
        last: dead[dead.len() - 1].0,
        min_end: ends().min().expect("a block has rows"),
        max_end: ends().max().expect("a block has rows"),
    };
    let steps = || dead.windows(2).map(|pair| u64::from(pair[1].0 - pair[0].0 - 1));
    let row_width = width(steps().max().unwrap_or(0));
    let end_width = width(bounds.max_end - bounds.min_end);
    let mut packed = Vec::new();
    pack(&mut packed, steps(), row_width);
    pack(&mut packed, ends().map(|end| end - bounds.min_end), end_width);
    let mut bytes = vec![row_width, end_width];
    if packed.len() >= COMPRESS_BYTES_MIN {
        let compressed = zstd::bulk::compress(&packed, 3).expect("bytes in memory compress");
        if compressed.len() <= packed.len() / 4 * 3 {
            bytes[0] |= COMPRESSED;
            packed = compressed;
        }
    }
    bytes.extend(packed);
    (bounds, bytes)
}

impl Block {
    /// Decodes a block whose checksum holds; `None` where it is not what the directory says. Bounds have at least one
    /// row and at most [`BLOCK_ROWS`].
    pub fn decode(bounds: &Bounds, bytes: &[u8]) -> Option<Block> {
        let count = bounds.rows as usize;
        let (&[row_width, end_width], packed) = bytes.split_first_chunk::<2>()?;
        let (compressed, row_width) = (row_width & COMPRESSED != 0, row_width & !COMPRESSED);
        let wide = |width: u8| width > WIDTH_MAX && width != 64;
        if row_width > 32 || wide(end_width) || end_width > 64 {
            return None;
        }
        let row_bytes = packed_bytes(count - 1, row_width);
        let length = row_bytes + packed_bytes(count, end_width);
        let mut body = match compressed {
            true => decompress(packed, length as u64)?,
            false => packed.to_vec(),
        };
        if body.len() != length {
            return None;
        }
        body.resize(length + PADDING, 0);
        let mut rows = Vec::with_capacity(count);
        let mut row = u64::from(bounds.first);
        rows.push(bounds.first);
        for nth in 0..count - 1 {
            row += unpack(&body, nth, row_width) + 1;
            rows.push(row as u32);
        }
        let ends: Box<[u8]> = body[row_bytes..].into();
        let (mut least, mut most) = (u64::MAX, 0);
        for nth in 0..count {
            let offset = unpack(&ends, nth, end_width);
            (least, most) = (least.min(offset), most.max(offset));
        }
        // Rows ascend, so that none before the last was cut off where the last was not.
        let holds = row == u64::from(bounds.last) && least == 0 && most == bounds.max_end - bounds.min_end;
        let rows = rows.into();
        holds.then_some(Block { rows, ends, width: end_width, min_end: bounds.min_end })
    }

    /// When a row died, if the block has it.
    pub fn end_of(&self, row: u32) -> Option<Version> {
        self.rows.binary_search(&row).ok().map(|nth| self.end(nth))
    }

    /// Calls with the rows from `first` up to but not `past` that died in (after, up_to], less `first`, and their ends.
    pub fn each_dead(
        &self,
        first: u32,
        past: u64,
        (after, up_to): (Version, Version),
        each: &mut dyn FnMut(u32, Version),
    ) {
        let from = self.rows.partition_point(|row| *row < first);
        let to = self.rows.partition_point(|row| u64::from(*row) < past);
        for nth in from..to {
            let end = self.end(nth);
            if after < end && end <= up_to {
                each(self.rows[nth] - first, end);
            }
        }
    }

    /// Every row with its end.
    pub fn all(&self) -> impl Iterator<Item = (u32, Version)> {
        self.rows.iter().enumerate().map(|(nth, row)| (*row, self.end(nth)))
    }

    /// What it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Block>() + self.rows.len() * size_of::<u32>() + self.ends.len()
    }

    fn end(&self, nth: usize) -> Version {
        Version(self.min_end + unpack(&self.ends, nth, self.width))
    }
}

/// Bits that a number needs.
fn width(most: u64) -> u8 {
    match (64 - most.leading_zeros()) as u8 {
        width if width > WIDTH_MAX => 64,
        width => width,
    }
}

fn packed_bytes(count: usize, width: u8) -> usize {
    (count * usize::from(width)).div_ceil(8)
}

fn pack(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: u8) {
    let (mut word, mut filled) = (0u128, 0u32);
    for number in numbers {
        word |= u128::from(number) << filled;
        filled += u32::from(width);
        while filled >= 8 {
            out.push(word as u8);
            (word, filled) = (word >> 8, filled - 8);
        }
    }
    if filled > 0 {
        out.push(word as u8);
    }
}

/// The nth number; eight bytes lie behind wherever it begins.
fn unpack(packed: &[u8], nth: usize, width: u8) -> u64 {
    let bit = nth * usize::from(width);
    let bytes = packed[bit / 8..bit / 8 + 8].try_into().expect("eight bytes");
    let mask = u64::MAX.checked_shr(64 - u32::from(width)).unwrap_or(0);
    (u64::from_le_bytes(bytes) >> (bit % 8)) & mask
}
