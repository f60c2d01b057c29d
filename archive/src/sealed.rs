//! Documents of an archive under a checksum of their own: one line that says what it is, in which format, and the BLAKE3
//! of the rest, which is JSON.

use crate::hex::{Digest, Hex};
use asof_engine::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format of everything in an archive.
pub const FORMAT: u32 = 1;
/// The most bytes of a document.
pub const DOCUMENT_BYTES_MAX: u64 = 1 << 30;

/// A document's bytes, and the digest in its first line.
pub fn seal(kind: &str, content: &impl Serialize) -> Result<(Vec<u8>, Digest)> {
    let json = serde_json::to_vec(content).expect("documents have no maps with other keys than text");
    let digest = Hex(*blake3::hash(&json).as_bytes());
    let mut bytes = format!("{kind} {FORMAT} {digest}\n").into_bytes();
    bytes.extend_from_slice(&json);
    match bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        true => Err(Error::new(ErrorKind::Unsupported, "there are too many files to name in one document")),
        false => Ok((bytes, digest)),
    }
}

/// Reads a document and checks it; `name` names it in errors.
pub fn unseal<T: DeserializeOwned>(kind: &str, bytes: &[u8], name: &str) -> Result<(T, Digest)> {
    let damaged = |expected: String, found: String| {
        Error::corrupt(format!("{name} is damaged: expected {expected}, found {found}"))
    };
    let cut = bytes.iter().take(200).position(|byte| *byte == b'\n');
    let (line, json) = cut.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 1..]));
    let line = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let [found_kind, format, digest] = words[..] else {
        return Err(damaged(format!("a line with '{kind}', format and digest"), format!("{line:?}")));
    };
    if found_kind != kind {
        return Err(damaged(format!("'{kind}'"), format!("{found_kind:?}")));
    }
    let found = Hex(*blake3::hash(json).as_bytes());
    if digest != found.to_string() {
        return Err(damaged(format!("digest {digest}"), found.to_string()));
    }
    match format.parse::<u32>() {
        Ok(format) if (1..=FORMAT).contains(&format) => {}
        _ => {
            let message = format!("{name} has format {format}; this release reads {FORMAT}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    let content =
        serde_json::from_slice(json).map_err(|error| damaged("a known form".into(), error.to_string()))?;
    Ok((content, found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        let (bytes, digest) = seal("asof-test", &vec![1, 22, 333]).unwrap();
        assert_eq!(unseal::<Vec<u32>>("asof-test", &bytes, "x").unwrap(), (vec![1, 22, 333], digest));
        assert!(unseal::<Vec<u32>>("asof-other", &bytes, "x").is_err());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            let error = unseal::<Vec<u32>>("asof-test", &wrong, "the name").unwrap_err();
            assert!(error.to_string().starts_with("the name "), "{at}: {error}");
            assert!(unseal::<Vec<u32>>("asof-test", &bytes[..at], "x").is_err());
        }
    }
}
