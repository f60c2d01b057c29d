//! `log.csv` and `log.jsonl`: files that grow, without a kernel and with one.

use crate::support::{Place, commit_price, content, view_of, walk};
use asof_engine::Version;
use asof_engine::view::Format;
use asof_fuse::answer::Answer;
use asof_fuse::attributes::{IMMUTABLE_TTL, MOVING_TTL};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a test waits for something that takes no time, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn whole(database: &asof_engine::Database, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    database.log_view(format).unwrap().copy_to(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_log_is_one_file_that_grows_with_each_commit() {
    let place = Place::new();
    let database = place.example();
    let view = view_of(&place.open());
    for (name, format) in [("log.csv", Format::Csv), ("log.jsonl", Format::JsonLines)] {
        let before = walk(&view, name).unwrap();
        assert_eq!((before.name_ttl, before.attributes_ttl), (MOVING_TTL, MOVING_TTL));
        let open = view.open(before.attributes.inode, libc::O_RDONLY).and_then(Answer::wait).unwrap();
        assert!(open.direct && !open.keep_cache);
        let old = view.read(open.handle, 0, 1 << 20).and_then(Answer::wait).unwrap();
        assert_eq!(old, whole(&database, format));

        let newest = commit_price(&database, 9.75);
        let (after, ttl) = view.attributes(before.attributes.inode).unwrap();
        assert_eq!(ttl, MOVING_TTL);
        assert_eq!(after.size, whole(&database, format).len() as u64);
        assert!(after.size > before.attributes.size && after.unix_time() > before.attributes.unix_time());
        assert_eq!(walk(&view, name).unwrap().attributes, after);
        // An open one grows too: what was there stays, one line comes.
        let new = view.read(open.handle, 0, 1 << 20).and_then(Answer::wait).unwrap();
        assert_eq!(new, whole(&database, format));
        let line = new.strip_prefix(&old[..]).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(String::from_utf8_lossy(line).contains(&newest.to_string()));
        // Who only reads on finds the next one without asking for anything else.
        commit_price(&database, 1.25);
        let line = view.read(open.handle, new.len() as u64, 1 << 20).and_then(Answer::wait).unwrap();
        assert_eq!([&new[..], &line].concat(), whole(&database, format));
    }
    for name in ["log.parquet", "log.arrow"] {
        let before = walk(&view, name).unwrap();
        assert_eq!((before.name_ttl, before.attributes_ttl), (MOVING_TTL, IMMUTABLE_TTL));
        let bytes = content(&view, name);
        let open = view.open(before.attributes.inode, libc::O_RDONLY).and_then(Answer::wait).unwrap();
        commit_price(&database, 3.25);
        assert_ne!(walk(&view, name).unwrap().attributes.inode, before.attributes.inode);
        assert_eq!(view.read(open.handle, 0, 1 << 20).and_then(Answer::wait).unwrap(), bytes);
    }
}

#[test]
fn the_log_of_an_empty_database_is_its_header() {
    let place = Place::new();
    let database = asof_engine::Database::create(place.database_path(), place.options()).unwrap();
    let view = view_of(&database);
    assert_eq!(content(&view, "log.jsonl"), b"");
    assert_eq!(content(&view, "log.csv"), whole(&database, Format::Csv));
    assert_eq!(walk(&view, "log.jsonl").unwrap().attributes.unix_time(), (0, 0));
}

#[test]
fn many_commits_at_once_are_all_there_when_the_log_is_looked_up_or_read() {
    let place = Place::new();
    let database = place.example();
    let view = view_of(&place.open());
    let inode = walk(&view, "log.jsonl").unwrap().attributes.inode;
    let open = view.open(inode, libc::O_RDONLY).and_then(Answer::wait).unwrap();
    for version in 4..=1_300 {
        assert_eq!(commit_price(&database, version as f64), Version(version));
    }
    // A glance is a true one, though perhaps not of all: that would be long work in a request.
    let glance = view.attributes(inode).unwrap().0;
    let lines = view.read(open.handle, 0, glance.size as u32).and_then(Answer::wait).unwrap();
    assert_eq!(lines.last(), Some(&b'\n'));
    let read = view.read(open.handle, 0, u32::MAX).and_then(Answer::wait).unwrap();
    assert_eq!(read, whole(&database, Format::JsonLines));
    assert_eq!(walk(&view, "log.csv").unwrap().attributes.size, whole(&database, Format::Csv).len() as u64);
}

#[test]
fn an_open_log_of_a_mount_goes_on_where_its_reader_stopped() {
    let place = Place::new();
    let database = place.example();
    let mount = place.mount(&place.open());
    let path = mount.path().join("log.jsonl");
    let mut reader = BufReader::new(File::open(&path).unwrap());
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read.as_bytes(), whole(&database, Format::JsonLines));
    let number = fs::metadata(&path).unwrap().ino();
    for version in 4..60 {
        commit_price(&database, version as f64);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"version\":{version},")) && line.ends_with("}\n"), "{line}");
        read.push_str(&line);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.ino()), (read.len() as u64, number));
        // Read anew, from the start and from the end, by others who have it open and not.
        assert_eq!(fs::read_to_string(&path).unwrap(), read);
        let mut tail = File::open(&path).unwrap();
        tail.seek(SeekFrom::End(-(line.len() as i64))).unwrap();
        let mut last = String::new();
        tail.read_to_string(&mut last).unwrap();
        assert_eq!(last, line);
    }
    // Mapped, where the kernel can map what it does not cache.
    let file = File::open(&path).unwrap();
    // SAFETY: the file is read-only and the bytes it has never change.
    if let Ok(map) = unsafe { memmap2::Mmap::map(&file) } {
        assert_eq!(map[..], *read.as_bytes());
    }
    drop((reader, file));
    mount.unmount().unwrap();
}

/// A process that is killed where a test fails before it has ended.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn tail_follows_a_log() {
    let place = Place::new();
    let database = place.example();
    let mount = place.mount(&place.open());
    for (name, options) in [("log.jsonl", "-f"), ("log.csv", "-F")] {
        let before = database.latest().unwrap().0;
        let tail = Command::new("tail")
            .args([options, "-n", "1", "-s", "0.02"])
            .arg(mount.path().join(name))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut tail = Guard(tail);
        let (send, lines) = mpsc::channel();
        let output = BufReader::new(tail.0.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let is_of = |line: String, version: u64| {
            let number = line.trim_start_matches("{\"version\":").split(',').next().unwrap().to_string();
            assert_eq!(number, version.to_string(), "{line}");
        };
        is_of(lines.recv_timeout(PATIENCE).unwrap(), before);
        // One by one, and several between two looks: each line comes once, whole, in order.
        for version in before + 1..=before + 40 {
            commit_price(&database, version as f64);
            if (version - before).is_multiple_of(4) {
                for seen in version - 3..=version {
                    is_of(lines.recv_timeout(PATIENCE).unwrap(), seen);
                }
            }
        }
        assert!(lines.try_recv().is_err());
        drop(tail);
    }
    mount.unmount().unwrap();
}
