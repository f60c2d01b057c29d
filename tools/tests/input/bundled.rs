//! Both real histories: every published version against what the database gives for it.

use asof_engine::asof::format_time;
use asof_engine::view::Format;
use asof_engine::{Database, Options, Version};
use asof_tools::bundled;
use asof_tools::input::csv::{CsvOptions, CsvReader};
use std::io::Cursor;
use std::process::Command;

/// The rows in some order that depends on them alone: each is its cells that are not null, by the names of their
/// columns; numbers by their value.
fn rows_of(csv: Vec<u8>) -> Vec<String> {
    let mut reader = CsvReader::new("t", Box::new(Cursor::new(csv)), CsvOptions::default()).unwrap();
    let columns = reader.columns().to_vec();
    let mut by_name: Vec<usize> = (0..columns.len()).collect();
    by_name.sort_by_key(|&index| &columns[index]);
    let mut rows = Vec::new();
    while let Some(cells) = reader.next_cells(&mut |row| Err(row.to_error("t"))).unwrap() {
        for row in 0..cells.rows() {
            let mut line = String::new();
            for &index in &by_name {
                let Some(text) = cells.get(row, index) else { continue };
                line.push_str(&columns[index]);
                line.push('\x1F');
                match columns[index].as_str() {
                    "frequency_mhz" => line.push_str(&text.parse::<f64>().unwrap().to_string()),
                    _ => line.push_str(text),
                }
                line.push('\x1E');
            }
            rows.push(line);
        }
    }
    rows.sort_unstable();
    rows
}

#[test]
fn every_version_of_both_histories_is_what_was_published() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { view_cache_dir: Some(directory.path().join("cache")), ..Options::default() };
    let database = Database::create(directory.path().join("db"), options()).unwrap();
    let mut told = Vec::new();
    bundled::load(&database, &mut |done, count| told.push((done, count))).unwrap();
    assert_eq!(told.first(), Some(&(0, 415)));
    assert_eq!(told.last(), Some(&(415, 415)));
    bundled::load(&database, &mut |_, _| {}).unwrap();
    assert_eq!(database.latest().unwrap(), Version(415), "loading again adds nothing");
    check(&database, &|_, _, _| {});
    database.checkpoint().unwrap();
    drop(database);
    let path = directory.path().join("db");
    let database = Database::open_read_only(&path, options()).unwrap();
    let directory = directory.path().join("mnt");
    std::fs::create_dir(&directory).unwrap();
    let mount = asof_fuse::mount(database.clone(), &directory, asof_fuse::MountOptions::default()).unwrap();
    // Unmounts also where a check fails.
    let _unmounts = Unmounts(mount.unmounter());
    check(&database, &|table, version, csv| {
        let commit_time = format_time(database.commit_time(version).unwrap());
        for place in [format!("version/{version}"), format!("asof/{commit_time}")] {
            let file = directory.join(&place).join(format!("{table}.csv"));
            assert_eq!(
                std::fs::metadata(&file).unwrap().len(),
                csv.len() as u64,
                "size of {place} of {table}"
            );
            assert!(std::fs::read(&file).unwrap() == csv, "{place} of {table} differs through the mount");
        }
        let mut cat = Command::new(env!("CARGO_BIN_EXE_asof"));
        let cat = cat.arg("cat").arg(&path).args([table, "--as-of", &version.to_string()]).output().unwrap();
        assert!(cat.status.success() && cat.stdout == csv, "asof cat of {table} at {version} differs");
    });
}

struct Unmounts(asof_fuse::Unmounter);

impl Drop for Unmounts {
    fn drop(&mut self) {
        let _ = self.0.unmount();
    }
}

/// Compares every version with what was published, and hands its CSV on: table, version, bytes.
fn check(database: &Database, also: &dyn Fn(&str, Version, &[u8])) {
    for (index, published) in bundled::versions().unwrap().enumerate() {
        let published = published.unwrap();
        let version = Version(index as u64 + 1);
        let what = format!("{} {} is version {version}", published.table, published.number);
        let commit = database.commit_info(version).unwrap();
        assert_eq!(commit.time, published.time, "{what}");
        assert_eq!(commit.message.as_deref(), Some(published.message.as_str()), "{what}");
        assert_eq!(commit.author.as_deref(), Some(published.author), "{what}");
        let counts = commit.tables[published.table];
        assert_eq!(
            (counts.inserted, counts.updated, counts.deleted),
            (published.inserted, published.updated, published.deleted),
            "{what}"
        );
        let snapshot = database.snapshot(database.version_at(published.time).unwrap()).unwrap();
        assert_eq!(snapshot.version(), version, "{what}");
        assert_eq!(snapshot.table(published.table).unwrap().rows, published.rows, "{what}");
        let mut csv = Vec::new();
        snapshot.view(published.table, Format::Csv).unwrap().copy_to(&mut csv).unwrap();
        assert_eq!(snapshot.view_size(published.table, Format::Csv).unwrap(), csv.len() as u64, "{what}");
        also(published.table, version, &csv);
        let (found, expected) = (rows_of(csv), rows_of(published.csv));
        if found != expected {
            let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            panic!("{what}: {} rows for {}, first {differs:?}", found.len(), expected.len());
        }
    }
}
