//! The only place that knows bincode: records of the log's payload, the manifest and the commit log.
//!
//! The configuration is fixed for ever: little endian, fixed-width integers, `u64` lengths, `u32`
//! enum tags. Decoding is bounded by the input's length: a length field that claims more than the
//! input can hold is an error before anything is allocated. What is compressed says how long it was,
//! and is decompressed no further. FORMAT.md defines the bytes.

pub mod columns;
pub mod records;

use crate::error::{Error, Result};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};
use std::io::Read;

/// The longest encoded structure: 1 GiB.
pub const BYTES_MAX: usize = 1 << 30;

/// Memory that a decoded structure may take for each byte of input. The widest of ours is `CatalogChange`, ten times
/// as large in memory as its shortest encoding.
const MEMORY_PER_BYTE: usize = 16;

type Fixed<const LIMIT: usize> = Configuration<LittleEndian, Fixint, Limit<LIMIT>>;

fn fixed<const LIMIT: usize>() -> Fixed<LIMIT> {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// Calls a decoder with a bound on memory, if the input is not too long. The limit must be known at compile time: it is
/// the nearest step above the input's length.
macro_rules! with_limit {
    ($bytes:expr, $decode:path) => {
        match $bytes.len() {
            ..=0x400 => Some($decode($bytes, fixed::<{ 0x400 * MEMORY_PER_BYTE }>())),
            0x401..=0x1_0000 => Some($decode($bytes, fixed::<{ 0x1_0000 * MEMORY_PER_BYTE }>())),
            0x1_0001..=0x40_0000 => Some($decode($bytes, fixed::<{ 0x40_0000 * MEMORY_PER_BYTE }>())),
            0x40_0001..=BYTES_MAX => Some($decode($bytes, fixed::<{ BYTES_MAX * MEMORY_PER_BYTE }>())),
            _ => None,
        }
    };
}

/// Encodes a structure.
pub fn encode(value: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, fixed::<BYTES_MAX>()).expect("structures in memory encode")
}

/// Encodes a structure behind what is there.
pub fn encode_onto(out: &mut Vec<u8>, value: &impl Encode) {
    bincode::encode_into_std_write(value, out, fixed::<BYTES_MAX>()).expect("structures in memory encode");
}

/// Decodes a structure that fills `bytes` exactly. `what` names it in errors.
pub fn decode<T: Decode<()>>(bytes: &[u8], what: &str) -> Result<T> {
    whole(with_limit!(bytes, bincode::decode_from_slice), bytes, what)
}

/// As [`decode`], of a structure that borrows from `bytes`.
pub fn borrow_decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8], what: &str) -> Result<T> {
    whole(with_limit!(bytes, bincode::borrow_decode_from_slice), bytes, what)
}

fn whole<T>(
    decoded: Option<std::result::Result<(T, usize), DecodeError>>,
    bytes: &[u8],
    what: &str,
) -> Result<T> {
    let decoded =
        decoded.ok_or_else(|| Error::corrupt(format!("{what} is longer than {BYTES_MAX} bytes")))?;
    match decoded {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => {
            Err(Error::corrupt(format!("{what} ends at byte {used} but {} bytes were given", bytes.len())))
        }
        Err(error) => Err(Error::corrupt(format!("{what} cannot be decoded: {error}"))),
    }
}

/// The most that zstd can pack into a byte: a block of 128 KiB takes at least four.
const EXPANSION_MAX: usize = 32 << 10;

/// The largest window of a zstd frame, as a power of two: what a decoder keeps in memory.
const WINDOW_LOG_MAX: u32 = 23;

/// Decompresses what is `length` bytes long and compressed with zstd; `None` where it is not. Memory grows with what is
/// there, not with what `length` claims.
pub fn decompress(packed: &[u8], length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok().filter(|length| length / EXPANSION_MAX <= packed.len())?;
    let mut bytes = Vec::new();
    let mut reader = zstd::stream::read::Decoder::with_buffer(packed).ok()?;
    reader.window_log_max(WINDOW_LOG_MAX).ok()?;
    // One more than there should be, to see that there is no more.
    reader.take(length as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() == length).then_some(bytes)
}

/// Appends a number as LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a LEB128 number off the front.
pub fn take_varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        let bits = (byte & 0x7F) as u64;
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
