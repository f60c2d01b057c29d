//! The bytes shown in FORMAT.md are what is written and read; and no bytes make a decoder panic.

use crate::allocations::largest_during;
use crate::api::{CommitInfo, Counts, Tag};
use crate::codec::columns::decode_columns;
use crate::codec::records::{
    CatalogChange, CommitContent, CommitHeader, CommitPayload, SchemaRecord, TableChange, TableRecord,
    TagRecord, Target, encode_commit, encode_rows,
};
use crate::codec::{decode, encode};
use crate::database::SettingRecord;
use crate::history::changes::{ChangeEntry, ChangesFile};
use crate::history::commit_log::CommitLog;
use crate::history::ids::{encode_run, hash_id, read_run};
use crate::layout::{HISTORY_DIR, IDS_DIR, Layout};
use crate::manifest::{
    CopiesRecord, DataFileRecord, EndsFileRecord, FileMeasures, GoneRecord, Manifest, SumsRecord,
    VariableRecord,
};
use crate::store::bloom;
use crate::store::details::{self, GroupDetails, PageZone};
use crate::store::directory::{self, Directory};
use crate::store::ends;
use crate::store::index_block::{GroupExtent, IndexBlock};
use crate::test_rows::arbitrary_batch;
use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use asof_mvcc::{Column, ColumnType, CommitTime, Keys, Table, TableSchema, Version};
use asof_wal::sim::SimDisk;
use asof_wal::{Disk, OpenMode, Position};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const DATABASE: [u8; 16] = *b"database-of-test";

/// The bytes of the block in FORMAT.md that begins with this word: lines of an offset and bytes in hex.
fn shown(name: &str) -> Vec<u8> {
    let page = include_str!("../FORMAT.md");
    let (_, rest) = page.split_once(&format!("```hex {name}\n")).expect("the block is shown");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let mut bytes = Vec::new();
    for line in block.lines() {
        let (offset, line) = line.split_once("  ").expect("an offset, two spaces, bytes");
        assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()), "offsets of {name}");
        bytes.extend(line.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")));
    }
    bytes
}

/// As in FORMAT.md.
fn to_hex(bytes: &[u8]) -> String {
    let line = |(line, chunk): (usize, &[u8])| {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", line * 16, hex.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

/// What is written is what is shown; gives what is shown, to be read back.
fn check(name: &str, written: &[u8]) -> Vec<u8> {
    let bytes = shown(name);
    assert_eq!(to_hex(written), to_hex(&bytes), "FORMAT.md shows another {name}");
    bytes
}

fn people() -> TableSchema {
    let mut name = Column::new("name", ColumnType::Text);
    name.default = Some(Arc::new(StringArray::from(vec!["?"])));
    TableSchema::new(vec![Column::new("id", ColumnType::Int64), name], &["id"]).unwrap()
}

fn people_rows() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![-1, 300]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("Ada"), None]));
    RecordBatch::try_new(people().to_arrow(), vec![ids, names]).unwrap()
}

fn sample_commit() -> (CommitHeader, CommitContent) {
    let none: [&str; 0] = [];
    let notes = TableSchema::new(vec![Column::new("text", ColumnType::Text)], &none).unwrap();
    let mut gone = Keys::default();
    gone.push(b"\x81\x07");
    let content = CommitContent {
        catalog: vec![
            CatalogChange::Create { table: 3, name: "eu.people".into(), schema: SchemaRecord::of(&people()) },
            CatalogChange::Drop { table: 1 },
            CatalogChange::Alter { table: 2, schema: SchemaRecord::of(&notes) },
        ],
        changes: vec![
            TableChange {
                table: 2,
                schema: 1,
                truncate: false,
                first_row_id: Some(8),
                rows: RecordBatch::new_empty(notes.to_arrow()),
                keys: Keys::default(),
                replaced: Vec::new(),
                deleted: gone,
                deleted_at: vec![Target::File(5, 300)],
                files: Vec::new(),
            },
            TableChange {
                table: 3,
                schema: 0,
                truncate: true,
                first_row_id: None,
                rows: people_rows(),
                keys: Keys::of_batch(&people(), &people_rows()).unwrap(),
                replaced: vec![Target::None, Target::Memory],
                deleted: Keys::default(),
                deleted_at: Vec::new(),
                files: Vec::new(),
            },
        ],
    };
    let info = CommitInfo {
        version: Version(2),
        time: CommitTime(1_700_000_000_000_000),
        wall_time: CommitTime(1_700_000_000_000_001),
        id: uuid::Uuid::from_bytes(*b"commit-id-of-it."),
        client_id: Some("load-7".into()),
        author: None,
        os_user: "ada".into(),
        host: "h".into(),
        message: Some("why".into()),
        operation: "write".into(),
        parameters: BTreeMap::from([("a".into(), "b".into())]),
        meta: BTreeMap::new(),
        read_version: Version(1),
        isolation: "snapshot",
        blind_append: false,
        tables: BTreeMap::new(),
        schema_changes: vec![("eu.people".into(), "create".into())],
        content_digest: [0; 32],
        chain_digest: [0; 32],
    };
    let counts = BTreeMap::from([
        (2, ("notes".to_string(), Counts { inserted: 0, updated: 0, deleted: 1 })),
        (3, ("eu.people".to_string(), Counts { inserted: 1, updated: 1, deleted: 0 })),
    ]);
    let mut header = CommitHeader::of(info, counts);
    header.request_digest = Some([0x11; 32]);
    (header, content)
}

fn schemas(table: u32, schema: usize) -> Option<Arc<TableSchema>> {
    let (_, content) = sample_commit();
    let found = content.changes.iter().find(|change| (change.table, change.schema) == (table, schema))?;
    Some(Arc::new(if found.table == 3 {
        people()
    } else {
        let none: [&str; 0] = [];
        TableSchema::new(vec![Column::new("text", ColumnType::Text)], &none).unwrap()
    }))
}

fn written_payload(header: &mut CommitHeader, content: &CommitContent, previous_chain: &[u8; 32]) -> Vec<u8> {
    let blocks: Vec<Vec<u8>> = content.changes.iter().map(|change| encode_rows(&change.rows)).collect();
    let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
    encode_commit(header, content, &blocks, previous_chain).unwrap()
}

/// The sample as a payload.
fn sample_payload() -> Vec<u8> {
    let (mut header, content) = sample_commit();
    written_payload(&mut header, &content, &[0x22; 32])
}

fn sample_tag() -> TagRecord {
    TagRecord::of(&Tag {
        name: "audit-q3".into(),
        version: Version(42),
        message: None,
        created: CommitTime(1_700_000_000_000_000),
        expires: Some(CommitTime(1_800_000_000_000_000)),
    })
}

fn sample_ends() -> ends::Ends {
    [(3, vec![(0, Version(7)), (5, Version(9)), (6, Version(8))]), (900, vec![(300, Version(9))])].into()
}

fn sample_manifest() -> Manifest {
    let (ends, _) = ends::encode(1, 901, sample_ends());
    let (ids, _) = encode_run(902, vec![(hash_id("load-7"), Version(2))]);
    let mut table = Table::new(1, "eu.people".into(), Arc::new(people()), Version(1));
    table.drop_at(Version(9));
    let data = DataFileRecord {
        id: 3,
        table: 1,
        valid_from: 0,
        valid_to: u64::MAX,
        history: false,
        loaded_at: None,
        rows: 7,
        bytes: 5000,
        tail_offset: 4000,
        tail_crc: 0x0403_0201,
        digest: [0x33; 32],
        min_begin: 1,
        max_begin: 6,
        min_end: u64::MAX,
        max_end: u64::MAX,
        min_key: b"\x7e\xff".to_vec(),
        max_key: b"\x82\x01\x2c".to_vec(),
    };
    Manifest {
        database_id: DATABASE,
        lineage_id: *b"lineage-of-tests",
        number: 4,
        version: 9,
        time: 1_700_000_000_000_000,
        chain_digest: [0x44; 32],
        created: 1_600_000_000_000_000,
        log_start: Position { segment: 3, offset: 4096, sequence: 42, epoch: 2 }.into(),
        next_file_id: 903,
        commit_log_bytes: 2500,
        tables: vec![TableRecord::of(&table)],
        sums: vec![SumsRecord {
            table: 1,
            changes: 5,
            rows: 3,
            columns: vec![(1, 4, 4), (2, 9, 15)],
            next_row_id: 0,
        }],
        data_files: vec![data],
        ends_files: vec![ends],
        ids_files: vec![ids],
        tags: vec![sample_tag()],
        settings: vec![("name".into(), "value".into())],
        measures: vec![FileMeasures { file: 3, runs: 1, dead: 4 }],
        copies: vec![sample_copies()],
        variable: vec![VariableRecord { table: 1, columns: vec![(1, 0), (2, 40)] }],
        gone: vec![GoneRecord { table: 1, ranges: vec![(2, 4), (5, 8)] }],
    }
}

/// What versions 7 to 9 changed, in two runs.
fn sample_copies() -> CopiesRecord {
    let file = DataFileRecord {
        id: 904,
        table: 1,
        valid_from: 0,
        valid_to: u64::MAX,
        history: true,
        loaded_at: None,
        rows: 5,
        bytes: 3000,
        tail_offset: 2000,
        tail_crc: 0x0807_0605,
        digest: [0x55; 32],
        min_begin: 1,
        max_begin: 9,
        min_end: 7,
        max_end: u64::MAX,
        min_key: b"\x7e\xff".to_vec(),
        max_key: b"\x81\x05".to_vec(),
    };
    CopiesRecord { after: 6, runs: vec![8, 9], file }
}

fn sample_index() -> IndexBlock {
    let mut fences = Keys::default();
    [&b"\x7e\xff"[..], b"\x81\x05", b"\x82\x01\x2c"].iter().for_each(|key| fences.push(key));
    let group = GroupExtent {
        rows: 7,
        min_begin: 1,
        max_begin: 6,
        min_end: u64::MAX,
        max_end: u64::MAX,
        min_key: b"\x7e\xff".to_vec(),
        max_key: b"\x82\x01\x2c".to_vec(),
        starts_run: true,
        page_rows: 3,
        filter_offset: 4096,
        filter_bytes: 32,
    };
    IndexBlock { blocks: vec![0x0403_0201, 0x0807_0605], groups: vec![group], fences: vec![fences] }
}

/// What the first version of an index block told of it.
fn sample_index_1() -> IndexBlock {
    let mut index = sample_index();
    let group = &mut index.groups[0];
    (group.page_rows, group.filter_offset, group.filter_bytes) = (0, 0, 0);
    index.fences[0] = Keys::default();
    index
}

/// A disk with the directories of a database.
fn disk() -> (Arc<dyn Disk>, Layout, SimDisk) {
    let disk = SimDisk::new(1);
    for dir in ["/db", &format!("/db/{HISTORY_DIR}"), &format!("/db/{IDS_DIR}")] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    (Arc::new(disk.clone()), Layout::new(Path::new("/db")), disk)
}

#[test]
fn a_commit_is_as_shown_and_reads_back() {
    let (mut header, content) = sample_commit();
    let written = written_payload(&mut header, &content, &[0x22; 32]);
    let mut payload = CommitPayload::decode(&check("commit", &written)).unwrap();
    assert_eq!(payload.header, header);
    assert_eq!(payload.header.chain_after(&[0x22; 32]), header.chain_digest);
    let changes = payload.changes(schemas).unwrap();
    let again = CommitContent { catalog: payload.catalog().to_vec(), changes };
    assert_eq!(again.catalog, content.catalog);
    assert_eq!(again.changes[0].deleted_at, content.changes[0].deleted_at);
    assert_eq!(again.changes[1].rows, people_rows());
    assert_eq!(again.changes[1].keys, content.changes[1].keys);
    assert_eq!(again.changes[1].replaced, content.changes[1].replaced);
    assert_eq!(written_payload(&mut payload.header, &again, &[0x22; 32]), written);
}

/// Version 3, which brings table 1 back.
fn reviving_commit() -> (CommitHeader, CommitContent) {
    let (header, _) = sample_commit();
    let info = CommitInfo {
        version: Version(3),
        time: CommitTime(1_700_000_000_000_002),
        wall_time: CommitTime(1_700_000_000_000_002),
        client_id: None,
        message: None,
        operation: "undrop".into(),
        parameters: BTreeMap::new(),
        read_version: Version(2),
        schema_changes: vec![("old".into(), "undrop table".into())],
        ..header.to_info()
    };
    let counts = Counts { inserted: 2, ..Counts::default() };
    let header = CommitHeader::of(info, BTreeMap::from([(1, ("old".to_string(), counts))]));
    let catalog = vec![CatalogChange::Revive { table: 1 }];
    (header, CommitContent { catalog, changes: Vec::new() })
}

#[test]
fn a_commit_that_brings_a_table_back_is_as_shown_and_reads_back() {
    let (mut header, content) = reviving_commit();
    let written = written_payload(&mut header, &content, &[0x22; 32]);
    let payload = CommitPayload::decode(&check("commit-2", &written)).unwrap();
    assert_eq!(payload.header, header);
    assert_eq!(payload.catalog(), content.catalog);
}

#[test]
fn a_payload_of_another_format_than_its_content_is_refused() {
    let (mut header, content) = reviving_commit();
    let mut reviving = written_payload(&mut header, &content, &[0x22; 32]);
    let mut plain = sample_payload();
    assert_eq!((plain[0], reviving[0]), (1, 2));
    (plain[0], reviving[0]) = (2, 1);
    for payload in [&plain, &reviving] {
        let error = CommitPayload::decode(payload).err().expect("it is refused");
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
    }
    plain[0] = 3;
    let error = CommitPayload::decode(&plain).err().expect("it is refused");
    assert_eq!(error.kind(), crate::ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_compressed_commit_reads_back() {
    let (mut header, mut content) = sample_commit();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|_| "the same")));
    content.changes[1].rows = RecordBatch::try_new(people().to_arrow(), vec![ids, names]).unwrap();
    content.changes[1].replaced = (0..1000).map(|nth| Target::Born(Version(1 + nth), nth as u32)).collect();
    content.changes[1].replaced[7] = Target::None;
    let written = written_payload(&mut header, &content, &[0; 32]);
    assert_eq!(written[1], 1, "it pays");
    let changes = CommitPayload::decode(&written).unwrap().changes(schemas).unwrap();
    assert_eq!(changes[1].rows, content.changes[1].rows);
    assert_eq!(changes[1].replaced, content.changes[1].replaced);
}

#[test]
fn a_setting_is_as_shown_and_reads_back() {
    let setting: SettingRecord = ("retention.database".to_string(), Some("last 30".to_string()));
    let bytes = check("setting", &encode(&setting));
    assert_eq!(decode::<SettingRecord>(&bytes, "a setting").unwrap(), setting);
}

#[test]
fn a_tag_is_as_shown_and_reads_back() {
    let bytes = check("tag", &encode(&sample_tag()));
    assert_eq!(decode::<TagRecord>(&bytes, "a tag").unwrap(), sample_tag());
}

#[test]
fn a_manifest_is_as_shown_and_reads_back() {
    let bytes = check("manifest", &sample_manifest().to_bytes());
    let manifest = Manifest::from_bytes(&bytes, "a manifest").unwrap();
    assert_eq!(manifest, sample_manifest());
    assert_eq!(TableRecord::of(&manifest.tables[0].to_table().unwrap()), manifest.tables[0]);
}

/// The files were written by releases that knew no later format.
#[test]
fn manifests_of_earlier_formats_are_read_without_what_came_later() {
    let first = include_bytes!("format_tests/manifest-1.bin");
    let second = include_bytes!("format_tests/manifest-2.bin");
    let third = include_bytes!("format_tests/manifest-3.bin");
    let fourth = include_bytes!("format_tests/manifest-4.bin");
    let of_fourth = || Manifest { gone: Vec::new(), ..sample_manifest() };
    let of_third = || Manifest { variable: Vec::new(), ..of_fourth() };
    let of_second = || Manifest { copies: Vec::new(), ..of_third() };
    let of_first = || Manifest { measures: Vec::new(), ..of_second() };
    let earlier = [
        (&first[..], of_first()),
        (&second[..], of_second()),
        (&third[..], of_third()),
        (&fourth[..], of_fourth()),
    ];
    for (bytes, expected) in earlier {
        let manifest = Manifest::from_bytes(bytes, "a manifest").unwrap();
        let ends_files = manifest.ends_files.clone();
        assert_eq!(ends_files.len(), 1);
        assert_eq!(manifest, Manifest { ends_files, ..expected });
        let again = Manifest::from_bytes(&manifest.to_bytes(), "a manifest").unwrap();
        assert_eq!(again, manifest);
    }
}

#[test]
fn an_ends_file_is_as_shown_and_reads_back() {
    let (record, written) = ends::encode(1, 901, sample_ends());
    let bytes = check("ends", &written);
    let expected = EndsFileRecord {
        id: 901,
        table: 1,
        rows: 4,
        bytes: bytes.len() as u64,
        min_end: 7,
        max_end: 9,
        digest: *blake3::hash(&bytes).as_bytes(),
    };
    assert_eq!(record, expected);
    assert_eq!(ends::decode(&bytes, &record, "an ends file").unwrap(), sample_ends());
    let first = shown("ends-1");
    assert_eq!(ends::decode(&first, &record, "an ends file").unwrap(), sample_ends());
}

#[test]
fn an_entry_of_the_commit_index_is_as_shown_and_leads_to_its_header() {
    let (disk, layout, sim) = disk();
    let mut header = sample_commit().0;
    header.version = 1;
    let log = CommitLog::new(disk.clone(), layout.clone(), DATABASE, Version::ZERO, 0);
    let bytes = log.append([&header].into_iter()).unwrap();
    assert_eq!(sim.read(&layout.commits()).unwrap(), encode(&header));
    let shown = check("commit-index", &sim.read(&layout.commit_index()).unwrap());
    sim.overwrite(&layout.commit_index(), &shown).unwrap();
    let log = CommitLog::new(disk, layout, DATABASE, Version(1), bytes);
    assert_eq!(log.header(Version(1)).unwrap(), header);
    assert_eq!(log.version_at(CommitTime(header.time)).unwrap(), Version(1));
    assert_eq!(log.version_at(CommitTime(header.time - 1)).unwrap(), Version::ZERO);
}

#[test]
fn an_entry_of_changes_is_as_shown_and_reads_back() {
    let (disk, layout, sim) = disk();
    let entry =
        ChangeEntry { version: Version(9), rows: 3, csv_bytes: 13, json_bytes: 19, variable_bits: 40 };
    let changes = ChangesFile::new(disk.clone(), layout.clone(), DATABASE, 1, 0);
    assert_eq!(changes.append(&[entry]).unwrap(), 1);
    let shown = check("changes", &sim.read(&layout.changes(1)).unwrap());
    sim.overwrite(&layout.changes(1), &shown).unwrap();
    let changes = ChangesFile::new(disk, layout, DATABASE, 1, 1);
    assert_eq!(changes.at(Version(10)).unwrap(), Some(entry));
    assert_eq!(changes.at(Version(8)).unwrap(), None);
}

#[test]
fn entries_of_changes_out_of_order_are_damage_to_who_relies_on_their_order() {
    let (disk, layout, _) = disk();
    let entry = |version| ChangeEntry { version: Version(version), rows: version, ..ChangeEntry::EMPTY };
    let changes = ChangesFile::new(disk.clone(), layout.clone(), DATABASE, 1, 0);
    let entries: Vec<_> = [1, 2, 3, 9, 8, 12].map(entry).to_vec();
    assert_eq!(changes.append(&entries).unwrap(), 6);
    let changes = ChangesFile::new(disk.clone(), layout.clone(), DATABASE, 1, 4);
    assert_eq!(changes.sample(4).unwrap(), entries[..4]);
    assert_eq!(changes.sample(2).unwrap(), [entries[0], entries[2]]);
    let changes = ChangesFile::new(disk, layout, DATABASE, 1, 6);
    let error = changes.sample(6).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("found 9 before 8"), "{error}");
}

#[test]
fn a_run_of_ids_is_as_shown_and_reads_back() {
    let (disk, layout, sim) = disk();
    let entries = vec![(hash_id("load-7"), Version(2)), (hash_id("load-8"), Version(5))];
    let (record, written) = encode_run(902, entries.clone());
    let shown = check("ids", &written);
    sim.open(&layout.ids(902), OpenMode::CreateNew).unwrap();
    sim.overwrite(&layout.ids(902), &shown).unwrap();
    let mut expected = entries;
    expected.sort();
    assert_eq!(read_run(&*disk, &layout, &record).unwrap(), expected);
}

#[test]
fn an_index_block_is_as_shown_and_reads_back() {
    let IndexBlock { blocks, groups, fences } = sample_index();
    let zone = |end| PageZone { min_begin: 1, max_begin: 6, min_end: end, max_end: end };
    let zones = [1, 2, 3].map(|page| PageZone { max_begin: page * 2, ..zone(u64::MAX) });
    let details = details::encode_pages(&zones, &fences[0], &[vec![100, 90, 40]]);
    let columns = vec![Column { id: 1, nullable: false, ..Column::new("id", ColumnType::Int64) }];
    let written = directory::encode(3, &blocks, &columns, &groups, &[details]);
    let bytes = check("index-block", &written);
    let (offset, length) = (5_000, directory::length(&bytes).unwrap());
    let end = offset + bytes.len() as u64;
    let read = Directory::decode(&bytes[..length], 3, offset, end, "a data file").unwrap();
    assert_eq!((&read.columns, &read.groups, read.footer_offset), (&columns, &groups, end));
    let part = read.details[0];
    let bytes = Bytes::copy_from_slice(&bytes[(part.offset - offset) as usize..][..part.bytes as usize]);
    let details = GroupDetails::decode(bytes, &groups[0], part.offset, "a data file").unwrap();
    assert_eq!((&details.zones[..], &details.fences), (&zones[..], &fences[0]));
}

#[test]
fn index_blocks_of_older_versions_read_back() {
    let bytes = check("index-block-2", &sample_index().encode());
    assert_eq!(IndexBlock::decode(&bytes, "a data file").unwrap(), sample_index());
    let first_version = shown("index-block-1");
    assert_eq!(IndexBlock::decode(&first_version, "a data file").unwrap(), sample_index_1());
}

#[test]
fn a_filter_is_as_shown() {
    let keys = [&b"\x7e\xff"[..], b"\x81\x05", b"\x82\x01\x2c", b"nine bytes"];
    check("filter", &bloom::build(&keys.map(bloom::hash)));
}

#[test]
fn keys_are_as_shown() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![-257, -256, -1, 0, 1, 255, 256]));
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![false, true, false, true, false, true, false]));
    let texts: ArrayRef =
        Arc::new(BinaryArray::from_vec(vec![b"", b"a", b"a\0b", b"\xff", b"\0", b"ab", b"\0\xff"]));
    let keys = Keys::of_columns(&[("n", &numbers), ("f", &flags), ("t", &texts)], 7).unwrap();
    let written: Vec<u8> = keys.iter().flatten().copied().collect();
    check("keys", &written);
}

/// Random changes of a few bytes.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

fn mutate(mut bytes: Vec<u8>, mutations: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (at, byte) in mutations {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}

/// The most that decoding may ask for at a time: what the input's length justifies, or 65,536 rows of nothing but null.
fn allowed(bytes: &[u8]) -> usize {
    (2 << 20) + 256 * bytes.len()
}

fn decode_all(bytes: &[u8]) {
    let largest = largest_during(|| decode_with_all(bytes));
    assert!(largest <= allowed(bytes), "{largest} bytes were asked for to decode {}", bytes.len());
}

/// Gives bytes to every decoder; what one accepts is used as its readers use it.
fn decode_with_all(bytes: &[u8]) {
    if let Ok(payload) = CommitPayload::decode(bytes) {
        let _ = payload.changes(schemas);
        let _ = payload.header.to_info();
    }
    if let Ok(header) = decode::<CommitHeader>(bytes, "a header") {
        let _ = header.to_info();
    }
    if let Ok(manifest) = decode::<Manifest>(bytes, "a manifest") {
        for table in &manifest.tables {
            let _ = table.to_table();
        }
        manifest.tags.iter().for_each(|tag| drop(tag.to_tag()));
    }
    let _ = Manifest::from_bytes(bytes, "a manifest");
    let _ = ends::decode(bytes, &ends::encode(1, 2, sample_ends()).0, "an ends file");
    let _ = ends::decode_first(bytes);
    let _ = IndexBlock::decode(bytes, "a data file");
    let _ = Directory::decode(bytes, 3, 0, 1 << 20, "a data file");
    for extent in sample_index().groups {
        let _ = GroupDetails::decode(Bytes::copy_from_slice(bytes), &extent, 0, "a data file");
    }
    if let Ok(schema) = decode::<SchemaRecord>(bytes, "a schema") {
        let _ = schema.to_schema();
    }
    let _ = decode::<TagRecord>(bytes, "a tag").map(|tag| tag.to_tag());
    let _ = decode::<SettingRecord>(bytes, "a setting");
    let _ = decode_columns(bytes, &people().to_arrow(), u32::MAX as usize);
}

/// A payload whose content is what is given, with the digest that makes it count.
fn payload_of(content: &[u8]) -> Vec<u8> {
    let (mut header, _) = sample_commit();
    header.content_digest = *blake3::hash(content).as_bytes();
    let header = encode(&header);
    let mut payload = vec![1, 0, 0, 0];
    payload.extend((header.len() as u32).to_le_bytes());
    payload.extend((content.len() as u64).to_le_bytes());
    payload.extend(header);
    payload.extend(content);
    payload
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
        decode_all(&payload_of(&bytes));
    }

    #[test]
    fn a_mutated_structure_is_refused_or_another_one_but_never_a_panic(
        which in 0usize..6, cut in any::<prop::sample::Index>(), mutations in mutations()
    ) {
        let (packed, index) = (ends::encode(1, 2, sample_ends()).1, sample_index().encode());
        let bytes = match which {
            0 => sample_payload(),
            1 => encode(&sample_manifest()),
            2 => packed,
            3 => index,
            4 => encode(&sample_tag()),
            _ => encode(&SchemaRecord::of(&people())),
        };
        let cut = cut.index(bytes.len());
        decode_all(&bytes[..cut]);
        decode_all(&mutate(bytes, &mutations));
    }

    #[test]
    fn content_with_a_true_digest_is_refused_or_read_but_never_a_panic(
        batch in arbitrary_batch(), mutations in mutations()
    ) {
        let payload = sample_payload();
        let header = u32::from_le_bytes(payload[4..8].try_into().unwrap()) as usize;
        let content = mutate(payload[16 + header..].to_vec(), &mutations);
        decode_all(&payload_of(&content));
        let block = mutate(crate::codec::columns::encode_columns(&batch), &mutations);
        let largest = largest_during(|| drop(decode_columns(&block, &batch.schema(), u32::MAX as usize)));
        prop_assert!(largest <= allowed(&block), "{} bytes were asked for", largest);
    }

    #[test]
    fn lengths_that_the_input_cannot_hold_are_refused(claimed in 1u64 << 20..u64::MAX, at in 0usize..200) {
        // A length field anywhere claims more than there is: nothing may be allocated for it.
        for bytes in [encode(&sample_manifest()), sample_payload(), sample_index().encode()] {
            let mut bytes = bytes;
            let at = at.min(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&claimed.to_le_bytes());
            decode_all(&bytes);
        }
    }
}

#[test]
fn what_claims_to_decompress_to_more_than_zstd_can_pack_is_refused() {
    let packed = zstd::bulk::compress(&[0; 1 << 20], 1).unwrap();
    assert_eq!(crate::codec::decompress(&packed, 1 << 20).map(|bytes| bytes.len()), Some(1 << 20));
    for length in [0, (1 << 20) - 1, (1 << 20) + 1, 1 << 40, u64::MAX] {
        assert_eq!(crate::codec::decompress(&packed, length), None, "{length}");
    }
}

#[test]
fn a_block_of_many_rows_in_few_bytes_is_refused() {
    let none: [&str; 0] = [];
    let schema = TableSchema::new(vec![Column::new("a", ColumnType::Int64)], &none).unwrap().to_arrow();
    // 65,536 and 65,537 rows, all null, in one byte.
    assert_eq!(decode_columns(&[0x80, 0x80, 0x04, 1], &schema, 1 << 30).unwrap().num_rows(), 65_536);
    assert!(decode_columns(&[0x81, 0x80, 0x04, 1], &schema, 1 << 30).is_err());
}
