//! SHA-256 of a table as a text file, for tools that know no other digest.
//!
//! The digest is of the bytes that a reader of the file gets. It lies in the cache beside the file's own entry, under a
//! checksum like all there, so that each file is hashed once.

use super::{Format, View, ViewKey, half, schema_digest};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::Snapshot;
use crate::text::write_hex;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// Bytes of a digest in hexadecimal digits.
pub const SHA256_HEX_BYTES: usize = 64;

impl Snapshot {
    /// SHA-256 of a table as CSV or JSON Lines, in hexadecimal digits. Other forms may be laid out anew.
    pub fn view_sha256(&self, table: &str, format: Format) -> Result<String> {
        if !matches!(format, Format::Csv | Format::JsonLines) {
            let message = format!("{} has no lasting bytes to hash; csv and jsonl have", format.extension());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let info = self.table(table)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"asof sha256 1").update(&schema_digest(&info.schema));
        let (database, schema) = (self.database(), half(&hasher));
        let key = ViewKey {
            lineage: database.inner.lineage(),
            table: info.id,
            changed: info.changed,
            schema,
            format,
            layout: 0,
        };
        let snapshot = self.clone();
        let render = Box::new(move |out: &mut dyn Write| {
            let mut hashed = Hashed(Sha256::new());
            snapshot.view(&info.name, format)?.copy_to(&mut hashed)?;
            let mut digits = Vec::with_capacity(SHA256_HEX_BYTES);
            write_hex(&hashed.0.finalize(), &mut digits);
            out.write_all(&digits)?;
            Ok(digits.len() as u64)
        });
        let size = SHA256_HEX_BYTES as u64;
        let mut digits = Vec::with_capacity(SHA256_HEX_BYTES);
        View::new(database.inner.views().clone(), key, Some(size), render)?.copy_to(&mut digits)?;
        Ok(String::from_utf8(digits).expect("hexadecimal digits were verified or written just now"))
    }
}

/// What is written is hashed.
struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
