//! One record: a 64-byte header, the payload, zeros up to a multiple of 8. Pure bytes, no files.
//!
//! The header's checksum covers the record's own offset too, so that the right bytes in the wrong place do not pass.

use crate::planted::{Bug, planted};
use crate::position::Position;

const LENGTH: usize = 0;
const KIND: usize = LENGTH + 4;
const RESERVED: usize = KIND + 1;
const DATABASE: usize = RESERVED + 3;
const SEGMENT: usize = DATABASE + 16;
const EPOCH: usize = SEGMENT + 8;
const SEQUENCE: usize = EPOCH + 8;
const SYNCED_THROUGH: usize = SEQUENCE + 8;
const PAYLOAD_CRC: usize = SYNCED_THROUGH + 8;
const HEADER_CRC: usize = PAYLOAD_CRC + 4;

/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = HEADER_CRC + 4;
/// Records start at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;
/// The longest payload.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = (u32::MAX - 64) as u64;

const _: () = assert!(HEADER_BYTES == 64);
const _: () = assert!((HEADER_BYTES as u64).is_multiple_of(ALIGNMENT));

/// What a record says of itself, its checksum verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub length: u32,
    pub kind: u8,
    pub database_id: [u8; 16],
    pub segment: u64,
    pub epoch: u64,
    pub sequence: u64,
    pub synced_through: u64,
    pub payload_crc: u32,
}

/// Why bytes are not the record that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub what: &'static str,
    pub expected: u64,
    pub found: u64,
}

/// Bytes a record takes in the file, padding included.
pub(crate) fn encoded_bytes(payload_bytes: u64) -> u64 {
    (HEADER_BYTES as u64 + payload_bytes).next_multiple_of(ALIGNMENT)
}

/// Appends the encoding of a record that will lie at `position`.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    database_id: &[u8; 16],
    position: Position,
    synced_through: u64,
    kind: u8,
    payload: &[u8],
) {
    let length = u32::try_from(payload.len()).expect("the caller bounds payloads below 4 GiB");
    assert!(kind != 0 && synced_through < position.sequence, "a record claims only what precedes it");
    let mut header = [0; HEADER_BYTES];
    header[LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
    header[KIND] = kind;
    header[DATABASE..][..16].copy_from_slice(database_id);
    header[SEGMENT..][..8].copy_from_slice(&position.segment.to_le_bytes());
    header[EPOCH..][..8].copy_from_slice(&position.epoch.to_le_bytes());
    header[SEQUENCE..][..8].copy_from_slice(&position.sequence.to_le_bytes());
    header[SYNCED_THROUGH..][..8].copy_from_slice(&synced_through.to_le_bytes());
    header[PAYLOAD_CRC..][..4].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let crc = header_crc(&header, position.offset);
    header[HEADER_CRC..].copy_from_slice(&crc.to_le_bytes());
    let padded = out.len() + encoded_bytes(payload.len() as u64) as usize;
    out.reserve(padded - out.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    out.resize(padded, 0);
}

/// Decodes a header that lies at `offset`: its checksum holds, reserved bytes are zero, the kind is not.
pub(crate) fn decode_header(bytes: &[u8; HEADER_BYTES], offset: u64) -> Result<Header, Mismatch> {
    let expected = header_crc(bytes, offset);
    let found = u32_at(bytes, HEADER_CRC);
    if expected != found && !planted(Bug::RecordChecksumIgnored) {
        return Err(mismatch("record header checksum", expected.into(), found.into()));
    }
    if bytes[RESERVED..DATABASE] != [0; 3] {
        return Err(mismatch("reserved bytes of a record header", 0, 1));
    }
    if bytes[KIND] == 0 {
        return Err(mismatch("kind of a record", 1, 0));
    }
    Ok(Header {
        length: u32_at(bytes, LENGTH),
        kind: bytes[KIND],
        database_id: claimed_database_id(bytes),
        segment: u64_at(bytes, SEGMENT),
        epoch: u64_at(bytes, EPOCH),
        sequence: u64_at(bytes, SEQUENCE),
        synced_through: u64_at(bytes, SYNCED_THROUGH),
        payload_crc: u32_at(bytes, PAYLOAD_CRC),
    })
}

/// The database id in a header that is not verified: a cheap filter for scans.
pub(crate) fn claimed_database_id(bytes: &[u8; HEADER_BYTES]) -> [u8; 16] {
    bytes[DATABASE..][..16].try_into().expect("sixteen bytes")
}

impl Header {
    /// Whether this is the record that belongs at `position` of this database.
    pub fn belongs_at(&self, database_id: &[u8; 16], position: Position) -> Result<(), Mismatch> {
        if planted(Bug::StaleRecordReplayed) {
            return Ok(());
        }
        if self.database_id != *database_id {
            return Err(mismatch(
                "database id of a record (first eight bytes)",
                id_word(database_id),
                id_word(&self.database_id),
            ));
        }
        if self.segment != position.segment {
            return Err(mismatch("segment number of a record", position.segment, self.segment));
        }
        if self.epoch != position.epoch {
            return Err(mismatch("epoch of a record", position.epoch, self.epoch));
        }
        if self.sequence != position.sequence {
            return Err(mismatch("sequence of a record", position.sequence, self.sequence));
        }
        if self.synced_through >= self.sequence {
            return Err(mismatch(
                "synced-through of a record, at most",
                self.sequence - 1,
                self.synced_through,
            ));
        }
        Ok(())
    }

    /// Bytes of the whole record in the file.
    pub fn encoded_bytes(&self) -> u64 {
        encoded_bytes(self.length.into())
    }

    /// Checks what follows the header: `body` is the payload and its padding.
    pub fn check_body(&self, body: &[u8]) -> Result<(), Mismatch> {
        let (payload, padding) = body.split_at(self.length as usize);
        let found = crc32fast::hash(payload);
        if found != self.payload_crc && !planted(Bug::PayloadChecksumIgnored) {
            return Err(mismatch("payload checksum", self.payload_crc.into(), found.into()));
        }
        match padding.iter().find(|byte| **byte != 0) {
            Some(byte) => Err(mismatch("padding of a record", 0, u64::from(*byte))),
            None => Ok(()),
        }
    }
}

fn header_crc(header: &[u8; HEADER_BYTES], offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..HEADER_CRC]);
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

fn mismatch(what: &'static str, expected: u64, found: u64) -> Mismatch {
    Mismatch { what, expected, found }
}

fn id_word(id: &[u8; 16]) -> u64 {
    u64::from_be_bytes(id[..8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..][..4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..][..8].try_into().expect("eight bytes"))
}
