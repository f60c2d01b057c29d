//! The rows: determined by their key, half random bytes, half text, so that compression gains what it does on
//! ordinary data.

const TEXT: &[u8] = b"the quick brown fox jumps over the lazy dog ";

/// A small generator of random numbers (xorshift64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random((seed ^ 0x9E37_79B9_7F4A_7C15).max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The value of a key.
pub fn value(key: u64, edition: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(key.wrapping_mul(0xD1B5_4A32_D192_ED03) ^ edition);
    let mut value = Vec::with_capacity(bytes + 8);
    while value.len() < bytes / 2 {
        value.extend_from_slice(&random.next().to_le_bytes());
    }
    value.truncate(bytes / 2);
    while value.len() < bytes {
        value.push(TEXT[value.len() % TEXT.len()]);
    }
    value
}
