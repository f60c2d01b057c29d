//! Text in other encodings, as UTF-8.
//!
//! Invariant: nothing is replaced. Bytes that mean nothing in the encoding are an error with their offset.

use super::source::{Bytes, look_ahead};
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use std::io::{self, Read};

/// Bytes decoded at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// Finds an encoding by a name such as `latin1`, `windows-1252`, `utf-16le`, `shift_jis`.
pub fn by_name(name: &str) -> Option<&'static Encoding> {
    Encoding::for_label(name.trim().as_bytes())
}

/// The bytes as UTF-8 without a byte order mark. UTF-16 is known by its mark; without a mark and an encoding the bytes
/// are given as they are.
pub fn decode(bytes: Bytes, encoding: Option<&'static Encoding>) -> io::Result<Bytes> {
    let (start, mut bytes) = look_ahead(bytes, 3)?;
    let marked = Encoding::for_bom(&start);
    if let Some((_, mark_bytes)) = marked {
        io::copy(&mut bytes.by_ref().take(mark_bytes as u64), &mut io::sink())?;
    }
    let encoding = marked.map(|(encoding, _)| encoding).or(encoding).unwrap_or(UTF_8);
    if encoding == UTF_8 {
        return Ok(Box::new(bytes));
    }
    Ok(Box::new(Decoding {
        bytes: Box::new(bytes),
        decoder: encoding.new_decoder_without_bom_handling(),
        encoding,
        block: Vec::new(),
        used: 0,
        taken: 0,
        text: Vec::new(),
        given: 0,
        finished: false,
    }))
}

struct Decoding {
    bytes: Bytes,
    decoder: Decoder,
    encoding: &'static Encoding,
    /// Bytes read, of which `used` are decoded.
    block: Vec<u8>,
    used: usize,
    /// Bytes of the blocks before this one.
    taken: u64,
    /// Text decoded, of which `given` bytes are handed out.
    text: Vec<u8>,
    given: usize,
    finished: bool,
}

impl Decoding {
    fn decode_more(&mut self) -> io::Result<()> {
        if self.used == self.block.len() {
            self.taken += self.used as u64;
            self.used = 0;
            self.block.clear();
            (&mut self.bytes).take(BLOCK_BYTES as u64).read_to_end(&mut self.block)?;
        }
        let last = self.block.is_empty();
        self.text.resize(BLOCK_BYTES, 0);
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(&self.block[self.used..], &mut self.text, last);
        self.used += read;
        self.text.truncate(written);
        self.given = 0;
        match result {
            DecoderResult::InputEmpty => {
                self.finished = last;
                Ok(())
            }
            DecoderResult::OutputFull => Ok(()),
            DecoderResult::Malformed(length, after) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "byte {} is not {}; name the encoding with --encoding",
                    (self.taken + self.used as u64).saturating_sub(u64::from(length) + u64::from(after)),
                    self.encoding.name()
                ),
            )),
        }
    }
}

impl Read for Decoding {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            if self.finished {
                return Ok(0);
            }
            self.decode_more()?;
        }
        let count = buf.len().min(self.text.len() - self.given);
        buf[..count].copy_from_slice(&self.text[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}
