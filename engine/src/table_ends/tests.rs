//! What several ends files tell together is what a plain map tells.

use super::*;
use crate::counting::CountingDisk;
use crate::layout::ENDS_DIR;
use crate::store::ends::{self, Ends};
use asof_wal::sim::SimDisk;
use asof_wal::{Disk, OpenMode};
use std::collections::BTreeMap;
use std::path::Path;

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

struct Place {
    disk: Arc<CountingDisk>,
    layout: Layout,
}

fn place() -> Place {
    let disk = SimDisk::new(1);
    for dir in ["/db", &format!("/db/{ENDS_DIR}")] {
        disk.create_dir(Path::new(dir)).expect("a directory");
    }
    let disk = Arc::new(CountingDisk::new(Arc::new(disk)));
    Place { disk, layout: Layout::new(Path::new("/db")) }
}

impl Place {
    fn put(&self, record: &EndsFileRecord, bytes: &[u8]) {
        let path = self.layout.ends(record.table, record.id);
        let file = self.disk.open(&path, OpenMode::Create).expect("a file");
        file.write_all_at(bytes, 0).expect("it is written");
    }

    fn ends(&self, records: &[EndsFileRecord], cache_bytes: u64) -> TableEnds {
        let open_files = Arc::new(OpenFiles::new(cache_bytes, 1));
        let mut ends = TableEnds::new(self.disk.clone(), self.layout.clone(), open_files);
        records.iter().for_each(|record| ends.push(record));
        ends
    }
}

const ROWS: u64 = 150_000;

#[test]
fn ends_files_of_both_formats_tell_what_a_map_tells() {
    let (place, mut numbers) = (place(), Numbers(7));
    let mut truth: BTreeMap<(FileId, u32), Version> = BTreeMap::new();
    let mut records = Vec::new();
    for id in 100..105u64 {
        let mut dead = Ends::new();
        let died = if id == 103 { 300 } else { 25_000 };
        for _ in 0..died {
            let (file, row) = (1 + numbers.below(2), numbers.below(ROWS) as u32);
            let end = Version((id - 100) * 50 + 1 + numbers.below(60));
            if let std::collections::btree_map::Entry::Vacant(entry) = truth.entry((file, row)) {
                entry.insert(end);
                dead.entry(file).or_default().push((row, end));
            }
        }
        dead.values_mut().for_each(|dead| dead.sort_unstable());
        let (record, bytes) = match id {
            101 => ends::tests::encode_first(1, id, &dead),
            _ => ends::encode(1, id, dead),
        };
        place.put(&record, &bytes);
        records.push(record);
    }
    for cache_bytes in [0, 100_000, 100 << 20] {
        let ends = place.ends(&records, cache_bytes);
        for _ in 0..300 {
            let (file, row) = (1 + numbers.below(3), numbers.below(ROWS) as u32);
            assert_eq!(ends.end_of(file, row).unwrap(), truth.get(&(file, row)).copied());
        }
        for _ in 0..60 {
            let file = 1 + numbers.below(3);
            let first = numbers.below(ROWS);
            let rows = first..first + [1, 5_000, 65_536, 1 << 31][numbers.below(4) as usize];
            let after = Version([0, numbers.below(300)][numbers.below(2) as usize]);
            let up_to =
                Version([after.0, after.0 + 3, numbers.below(300), u64::MAX][numbers.below(4) as usize]);
            let expected: Vec<(u32, Version)> = truth
                .range((file, rows.start as u32)..(file, rows.end.min(1 << 31) as u32))
                .filter(|(_, end)| after < **end && **end <= up_to)
                .map(|((_, row), end)| (row - rows.start as u32, *end))
                .collect();
            assert_eq!(ends.dead(file, &rows, (after, up_to)).unwrap(), expected, "{file} {rows:?}");
            let count = ends.count(file, &rows, (after, up_to)).unwrap();
            let within = count.least <= expected.len() as u64 && expected.len() as u64 <= count.most;
            assert!(within, "{count:?}, {} died", expected.len());
        }
        let all = ends.count(1, &(0..1 << 32), (Version::ZERO, Version::FOREVER)).unwrap();
        let of_file = truth.range((1, 0)..(2, 0)).count() as u64;
        assert_eq!(all, DeadCount { least: of_file, most: of_file });
    }
}

#[test]
fn a_row_asks_for_one_block_and_a_question_for_blocks_with_its_ends() {
    let place = place();
    let mut numbers = Numbers(8);
    // Ends ascend with rows, a version a thousand rows.
    let dead: Ends =
        [(1, (0..400_000).map(|row| (row * 3, Version(1 + numbers.below(99) + u64::from(row)))).collect())]
            .into();
    let (record, bytes) = ends::encode(1, 100, dead);
    place.put(&record, &bytes);
    let ends = place.ends(std::slice::from_ref(&record), 100 << 20);
    let read = || place.disk.counts().snapshot().files["ends"].bytes_read;
    // Nothing can have died there: the file is not opened.
    let before = read();
    assert!(ends.dead(1, &(0..1 << 32), (Version(record.max_end), Version::FOREVER)).unwrap().is_empty());
    assert_eq!(read(), before);
    assert!(ends.end_of(1, 600_000).unwrap().is_some());
    let opened = read() - before;
    assert!(opened < 60_000 && record.bytes > 200_000, "{opened} of {} bytes", record.bytes);
    assert!(ends.end_of(1, 600_003).unwrap().is_some());
    assert_eq!(read() - before, opened);
    assert_eq!(ends.dead(1, &(0..1 << 32), (Version(1), Version(3_000))).unwrap().len() / 100, 29);
    assert!(read() - before < opened + 10_000);
}

#[test]
fn damage_is_told_once_it_is_met_with_file_and_place() {
    let place = place();
    let dead: Ends =
        [(1, (0..40_000).map(|row| (row * 3, Version(1 + u64::from(row % 77)))).collect())].into();
    let (record, mut bytes) = ends::encode(1, 100, dead);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    place.put(&record, &bytes);
    let ends = place.ends(std::slice::from_ref(&record), 100 << 20);
    assert_eq!(ends.end_of(1, 3).unwrap(), Some(Version(2)));
    let error = ends.end_of(1, 39_999 * 3).unwrap_err().to_string();
    assert!(error.contains("/db/ends/00000001-0000000000000064.ends is damaged at offset "), "{error}");
    assert!(ends.dead(1, &(0..1 << 32), (Version::ZERO, Version::FOREVER)).is_err());
    // Shorter than named, or not there.
    place.put(&EndsFileRecord { id: 101, ..record.clone() }, &bytes[..last]);
    for id in [101, 102] {
        let ends = place.ends(&[EndsFileRecord { id, ..record.clone() }], 0);
        assert!(ends.end_of(1, 3).is_err());
    }
}
