use super::*;
use crate::options::Options;
use asof_mvcc::{Column, ColumnType};
use std::path::Path;

const BLOCK: u64 = 8;
const TEXT: [Format; 2] = [Format::Csv, Format::JsonLines];

fn open(path: &Path) -> Database {
    let options = Options { view_cache_dir: Some(path.join("cache")), ..Options::default() };
    Database::open_or_create(path.join("db"), options).unwrap()
}

/// Commits with messages of different lengths, one of them with a line feed in it.
fn commit(database: &Database, count: u64) {
    for _ in 0..count {
        let number = database.latest().unwrap().0;
        let mut transaction = database.begin().unwrap();
        let columns = vec![Column::new("id", ColumnType::Int64)];
        transaction.create_table(&format!("t{number}"), columns, &["id".to_string()]).unwrap();
        let message = Some(format!("commit\n{}", "x".repeat(number as usize * 7 % 50)));
        transaction.commit(crate::api::CommitOptions { message, ..Default::default() }).unwrap();
    }
}

fn whole(database: &Database, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    database.log_view(format).unwrap().copy_to(&mut bytes).unwrap();
    bytes
}

fn read(log: &LogFile, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let count = log.read_at(&mut bytes, offset).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn a_log_grows_by_whole_lines_and_keeps_the_bytes_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    let logs = TEXT.map(|format| LogFile::with_blocks(database.clone(), format, BLOCK));
    for (round, commits) in [0, 1, 6, 1, 1, 20, 3, 8].into_iter().enumerate() {
        commit(&database, commits);
        for (log, format) in logs.iter().zip(TEXT) {
            let (before, expected) = (log.extent(), whole(&database, format));
            assert_eq!(log.behind().unwrap(), commits);
            assert_eq!(log.grow(u64::MAX).unwrap().size, expected.len() as u64, "round {round}");
            assert_eq!(log.extent().version, database.latest().unwrap());
            assert_eq!(read(log, 0, expected.len() + 1), expected, "round {round}");
            assert_eq!(read(log, before.size, 1 << 16), expected[before.size as usize..]);
            // From every offset, short and long.
            for offset in (0..expected.len()).step_by(13) {
                for length in [1, 40, 700] {
                    let end = expected.len().min(offset + length);
                    assert_eq!(read(log, offset as u64, length), expected[offset..end], "at {offset}");
                }
            }
            assert_eq!(read(log, expected.len() as u64, 10), b"");
            assert_eq!(read(log, u64::MAX, 10), b"");
        }
    }
}

#[test]
fn a_log_grows_by_no_more_than_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    commit(&database, 20);
    let log = LogFile::with_blocks(database.clone(), Format::JsonLines, BLOCK);
    for up_to in [3, 6, 9, 12, 15, 18, 20, 20] {
        let extent = log.grow(3).unwrap();
        assert_eq!(extent.version, Version(up_to));
        assert_eq!(extent.time, database.commit_time(Version(up_to)).unwrap());
        assert_eq!(read(&log, 0, 1 << 20), whole(&database, Format::JsonLines)[..extent.size as usize]);
    }
}

#[test]
fn whole_blocks_are_counted_once_and_damaged_ones_are_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path());
    commit(&database, 30);
    let log = LogFile::with_blocks(database.clone(), Format::Csv, BLOCK);
    log.grow(u64::MAX).unwrap();
    let blocks = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(directory.path().join("cache")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "csv")).collect();
        paths.sort();
        paths
    };
    assert_eq!(blocks().len(), 3);
    let expected = whole(&database, Format::Csv);
    // A size that is known is not counted again: it is believed until the block is read.
    let moment = |path: &Path| std::fs::metadata(path).unwrap().accessed().unwrap();
    let before: Vec<_> = blocks().iter().map(|path| moment(path)).collect();
    let again = LogFile::with_blocks(open(directory.path()), Format::Csv, BLOCK);
    assert_eq!(again.grow(u64::MAX).unwrap().size, expected.len() as u64);
    assert_eq!(blocks().iter().map(|path| moment(path)).collect::<Vec<_>>(), before);
    drop(log);
    for path in blocks() {
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![b'?'; length]).unwrap();
    }
    assert_eq!(read(&again, 0, 1 << 20), expected);
}
