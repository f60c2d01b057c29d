//! The bytes shown in FORMAT.md are what is written and read.

use super::*;
use crate::head::{Entry, Head};
use crate::record;
use crate::segment::{HEADER_BYTES, SegmentHeader};

/// The bytes of the block in FORMAT.md that begins with this word: lines of an offset and bytes in hex.
fn shown(name: &str, len: usize) -> Vec<u8> {
    let page = include_str!("../../FORMAT.md");
    let (_, rest) = page.split_once(&format!("```hex {name}\n")).expect("the block is shown");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let mut bytes = vec![0; len];
    for line in block.lines() {
        let mut words = line.split_whitespace();
        let offset = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        for (byte, word) in bytes[offset..].iter_mut().zip(words) {
            *byte = u8::from_str_radix(word, 16).unwrap();
        }
    }
    bytes
}

/// As in FORMAT.md, lines of zeros left out.
fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().any(|byte| *byte != 0) {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("{:04x}  {}\n", line * 16, hex.join(" "));
        }
    }
    text
}

fn check(name: &str, written: &[u8]) -> Vec<u8> {
    let bytes = shown(name, written.len());
    assert_eq!(to_hex(written), to_hex(&bytes), "FORMAT.md shows another {name}");
    bytes
}

const HEADER: SegmentHeader = SegmentHeader { database_id: ID, number: 3, first_sequence: 42, epoch: 2 };
const AT: Position = Position { segment: 3, offset: HEADER_BYTES, sequence: 42, epoch: 2 };

#[test]
fn segment_header_is_as_shown() {
    check("segment", &HEADER.encode());
}

#[test]
fn record_is_as_shown_and_reads_back() {
    let mut written = Vec::new();
    record::encode(&mut written, &ID, AT, 41, 7, b"hello");
    let bytes = check("record", &written);
    let header = record::decode_header(bytes[..64].try_into().unwrap(), AT.offset).unwrap();
    assert_eq!(header.belongs_at(&ID, AT), Ok(()));
    assert_eq!(header.check_body(&bytes[64..]), Ok(()));
    assert_eq!((header.kind, header.length, header.synced_through), (7, 5, 41));
}

#[test]
fn shown_segment_and_record_make_a_readable_log() {
    let disk = new_disk(1);
    let mut file = shown("segment", 8192);
    let record = shown("record", 72);
    file[4096..4096 + record.len()].copy_from_slice(&record);
    disk.open(&segment_path(3), crate::OpenMode::CreateNew).unwrap();
    disk.overwrite(&segment_path(3), &file).unwrap();
    let log = open_at(Arc::new(disk), Path::new(DIR), AT, Access::ReadOnly);
    let (records, failure) = read_on(&log, AT);
    assert!(failure.is_none(), "{failure:?}");
    assert_eq!((records[0].kind, records[0].payload.as_slice()), (7, b"hello".as_slice()));
}

#[test]
fn durable_head_is_as_shown() {
    let disk = SimDisk::new(1);
    disk.open(Path::new("/head"), crate::OpenMode::CreateNew).unwrap().write_all_at(&[0; 4096], 0).unwrap();
    let head = Head::map(&disk, Path::new("/"), &ID, true).unwrap();
    let entry = Entry { generation: 6, durable: AT, pid: 77, nonce: 9, clean: true, intact: false };
    head.publish(&entry);
    assert_eq!(head.read(), Some(entry));
    let words = disk.shared_map(Path::new("/head"), 4096, false).unwrap();
    let written: Vec<u8> = (0..16).flat_map(|index| words.load(index).to_le_bytes()).collect();
    check("head", &written);
}
