//! The only place that knows bincode: records of the log's payload, the manifest and the commit log.
//!
//! The configuration is fixed for ever: little endian, fixed-width integers, `u64` lengths, `u32`
//! enum tags. Decoding is bounded by the input's length: a length field that claims more than the
//! input can hold is an error before anything is allocated. FORMAT.md defines the bytes.

pub mod columns;
pub mod records;

use crate::error::{Error, Result};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};

/// The longest encoded structure: 1 GiB.
const BYTES_MAX: usize = 1 << 30;

type Fixed<const LIMIT: usize> = Configuration<LittleEndian, Fixint, Limit<LIMIT>>;

fn fixed<const LIMIT: usize>() -> Fixed<LIMIT> {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// Encodes a structure.
pub fn encode(value: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, fixed::<BYTES_MAX>()).expect("structures in memory encode")
}

/// Decodes a structure that fills `bytes` exactly. `what` names it in errors.
pub fn decode<T: Decode<()>>(bytes: &[u8], what: &str) -> Result<T> {
    // The limit must be known at compile time: the nearest step above the input's length.
    let decoded = match bytes.len() {
        ..=0x400 => bincode::decode_from_slice(bytes, fixed::<0x1000>()),
        0x401..=0x1_0000 => bincode::decode_from_slice(bytes, fixed::<0x4_0000>()),
        0x1_0001..=0x40_0000 => bincode::decode_from_slice(bytes, fixed::<0x100_0000>()),
        0x40_0001..=0x400_0000 => bincode::decode_from_slice(bytes, fixed::<0x1000_0000>()),
        0x400_0001..=BYTES_MAX => bincode::decode_from_slice(bytes, fixed::<BYTES_MAX>()),
        _ => return Err(Error::corrupt(format!("{what} is longer than {BYTES_MAX} bytes"))),
    };
    match decoded {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => {
            Err(Error::corrupt(format!("{what} ends at byte {used} but {} bytes were given", bytes.len())))
        }
        Err(error) => Err(Error::corrupt(format!("{what} cannot be decoded: {error}"))),
    }
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
