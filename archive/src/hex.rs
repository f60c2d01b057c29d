//! Ids and digests as people read them: lowercase hexadecimal digits.

use serde::{Deserialize, Serialize};
use std::fmt;

/// So many bytes, written as twice as many digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex<const N: usize>(pub [u8; N]);

/// The id of a database, of a lineage or of a commit.
pub type Id = Hex<16>;
/// A BLAKE3 digest.
pub type Digest = Hex<32>;

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> From<Hex<N>> for String {
    fn from(hex: Hex<N>) -> String {
        hex.to_string()
    }
}

impl<const N: usize> TryFrom<String> for Hex<N> {
    type Error = String;

    fn try_from(text: String) -> Result<Hex<N>, String> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; N];
        let mut right = text.len() == 2 * N;
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            match pair {
                [high, low] => match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => *byte = high << 4 | low,
                    _ => right = false,
                },
                _ => right = false,
            }
        }
        if right { Ok(Hex(bytes)) } else { Err(format!("expected {} hexadecimal digits", 2 * N)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_back_and_others_refused() {
        let id = Hex([0x0a, 0xff]);
        assert_eq!(id.to_string(), "0aff");
        assert_eq!(Hex::try_from("0aff".to_string()), Ok(id));
        for wrong in ["", "0af", "0aff0", "0AFF", "0agf", "0å0"] {
            assert!(Hex::<2>::try_from(wrong.to_string()).is_err(), "{wrong}");
        }
    }
}
