//! A file system exerciser: random reads by every call there is, on many open files at once, against the engine's own
//! rendering, while another handle commits, makes checkpoints and compacts. Then the mount must be back where it began.
//!
//! `ASOF_EXERCISE_OPERATIONS` and `ASOF_EXERCISE_SEED` make it longer and another one.

use crate::support::{Place, forget_names, is_root, orders, tag, wait_until};
use asof_engine::arrow::array::RecordBatch;
use asof_engine::arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use asof_engine::compact::Parameters;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use asof_engine::view::Format;
use asof_engine::{CommitOptions, Database, ScanOptions, Version};
use asof_fuse::MountOptions;
use parking_lot::Mutex;
use rustix::fs::{Advice, SeekFrom};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const OPERATIONS: u64 = 3_000;
const WORKERS: u64 = 3;
const ROWS: i64 = 4_000;
/// Files a worker has open at most.
const OPEN_MAX: usize = 16;
/// Renderings kept for comparison.
const MODELS_MAX: usize = 96;
/// Versions after which the writer is slowed down, so that long runs have a history that can be walked.
const VERSIONS_EAGER: u64 = 150;
const BLOCK_BYTES: u64 = 4096;
const FORMATS: [Format; 4] = [Format::Csv, Format::JsonLines, Format::Arrow, Format::Parquet];

/// Random numbers from a seed (xorshift64*).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
}

/// The whole content of a file.
type Bytes = Arc<Vec<u8>>;

/// What files must hold: the engine's rendering, taken when a file is first seen.
struct Model {
    database: Database,
    /// Forms whose bytes depend on rows alone, by the version that last changed the table.
    rendered: Mutex<HashMap<(Version, Format), Bytes>>,
    /// Parquet files that are open, by inode: stitched of data files, they have other bytes when rows come to lie
    /// elsewhere.
    stitched: Mutex<HashMap<u64, (Bytes, u64)>>,
}

impl Model {
    fn rendered(&self, version: Version, format: Format) -> Bytes {
        let snapshot = self.database.snapshot(version).unwrap();
        let key = (snapshot.table("numbers").unwrap().changed, format);
        if let Some(known) = self.rendered.lock().get(&key) {
            return known.clone();
        }
        let mut bytes = Vec::new();
        snapshot.view("numbers", format).unwrap().copy_to(&mut bytes).unwrap();
        let bytes = Arc::new(bytes);
        let mut rendered = self.rendered.lock();
        if rendered.len() >= MODELS_MAX {
            rendered.clear();
        }
        rendered.insert(key, bytes.clone());
        bytes
    }

    /// The rows of a version, as a scan gives them.
    fn rows(&self, version: Version) -> RecordBatch {
        let snapshot = self.database.snapshot(version).unwrap();
        let batches: Vec<RecordBatch> =
            snapshot.scan("numbers", ScanOptions::default()).unwrap().map(Result::unwrap).collect();
        let schema = snapshot.schema("numbers").unwrap().to_arrow();
        by_key(&concat_batches(&schema, &batches).unwrap())
    }

    /// Takes the bytes of a Parquet file that was just opened, or those that another opening of it has.
    fn stitched(&self, file: &File, version: Version) -> Bytes {
        let inode = file.metadata().unwrap().ino();
        if let Some((bytes, opens)) = self.stitched.lock().get_mut(&inode) {
            *opens += 1;
            return bytes.clone();
        }
        let mut bytes = Vec::new();
        (&*file).read_to_end(&mut bytes).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.try_clone().unwrap()).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        let read = by_key(&concat_batches(&schema, &batches).unwrap());
        assert_eq!(read.columns(), self.rows(version).columns(), "rows of version {version} as Parquet");
        let bytes = Arc::new(bytes);
        let mut stitched = self.stitched.lock();
        let (known, opens) = stitched.entry(inode).or_insert_with(|| (bytes.clone(), 0));
        assert!(*known == bytes, "one inode has one content");
        *opens += 1;
        known.clone()
    }

    fn closed(&self, inode: u64) {
        let mut stitched = self.stitched.lock();
        let (_, opens) = stitched.get_mut(&inode).expect("it was opened");
        *opens -= 1;
        if *opens == 0 {
            stitched.remove(&inode);
        }
    }
}

/// Rows in the order of their key.
fn by_key(rows: &RecordBatch) -> RecordBatch {
    take_record_batch(rows, &sort_to_indices(rows.column(0), None, None).unwrap()).unwrap()
}

/// An open file and what it must hold.
struct Open {
    file: File,
    /// With `O_DIRECT`: what is asked for lies in whole blocks, as any disk may want it.
    direct: bool,
    path: PathBuf,
    format: Format,
    inode: u64,
    expected: Bytes,
}

impl Open {
    fn check(&self, call: &str, offset: u64, asked: usize, got: &[u8]) {
        let start = (offset as usize).min(self.expected.len());
        let wanted = &self.expected[start..(start + asked).min(self.expected.len())];
        let path = self.path.display();
        assert_eq!(got.len(), wanted.len(), "{call} of {path} at {offset}: bytes of {asked}");
        assert!(got == wanted, "{call} of {path} at {offset}: {asked} bytes differ");
    }
}

struct Worker<'a> {
    chance: Chance,
    root: &'a Path,
    scratch: &'a Path,
    model: &'a Model,
    newest: &'a AtomicU64,
    open: Vec<Open>,
}

impl Worker<'_> {
    /// Old and new versions, the same ones often.
    fn version(&mut self) -> Version {
        let newest = self.newest.load(Ordering::SeqCst);
        Version(match self.chance.below(4) {
            0 => 1 + self.chance.below(newest),
            1 => 1 + self.chance.below(newest.min(6)),
            _ => newest - self.chance.below(newest.min(6)),
        })
    }

    fn path(&mut self, version: Version) -> PathBuf {
        let format = FORMATS[self.chance.below(4) as usize];
        let state = match self.chance.below(4) {
            0 => format!("asof/{version}"),
            1 if version.0 == 1 => "tag/first".to_string(),
            _ => format!("version/{version}"),
        };
        self.root.join(state).join(format!("numbers.{}", format.extension()))
    }

    fn open(&mut self) {
        let version = self.version();
        let path = self.path(version);
        let mut options = File::options();
        let direct = self.chance.below(5) == 0;
        if direct {
            options.custom_flags(libc::O_DIRECT);
        }
        let file =
            options.read(true).open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let format = Format::of_extension(path.extension().unwrap().to_str().unwrap()).unwrap();
        let expected = match format {
            Format::Parquet => self.model.stitched(&file, version),
            _ => self.model.rendered(version, format),
        };
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), expected.len() as u64, "{}", path.display());
        self.open.push(Open { file, direct, path, format, inode: metadata.ino(), expected });
    }

    fn close(&mut self) {
        let which = self.chance.below(self.open.len() as u64) as usize;
        let closed = self.open.swap_remove(which);
        if closed.format == Format::Parquet {
            self.model.closed(closed.inode);
        }
    }

    fn step(&mut self) {
        if self.open.is_empty() || (self.open.len() < OPEN_MAX && self.chance.below(8) == 0) {
            return self.open();
        }
        if self.chance.below(10) == 0 {
            return self.close();
        }
        let which = self.chance.below(self.open.len() as u64) as usize;
        let operation = self.chance.below(14);
        // Odd places, also behind the end; often the same page again.
        let length = self.open[which].expected.len() as u64;
        let offset = match self.chance.below(6) {
            0 => 0,
            1 => length.saturating_sub(self.chance.below(64)),
            2 => length + self.chance.below(9_000),
            _ => self.chance.below(length + 1),
        };
        let asked = match self.chance.below(5) {
            0 => 0,
            1 => self.chance.below(200_000),
            _ => self.chance.below(9_000),
        } as usize;
        let open = &mut self.open[which];
        if open.direct {
            return read_directly(open, offset / BLOCK_BYTES * BLOCK_BYTES, asked);
        }
        let mut buffer = vec![0; asked];
        match operation {
            0..=2 => {
                let got = open.file.read_at(&mut buffer, offset).unwrap();
                open.check("pread", offset, asked, &buffer[..got]);
            }
            3 => {
                let at = open.file.seek(std::io::SeekFrom::Start(offset)).unwrap();
                let got = open.file.read(&mut buffer).unwrap();
                open.check("read", at, asked, &buffer[..got]);
            }
            4 => {
                let back = open.expected.len() as i64 - offset as i64;
                if back >= 0 {
                    let at = open.file.seek(std::io::SeekFrom::End(-back)).unwrap();
                    assert_eq!(at, offset);
                    let got = open.file.read(&mut buffer).unwrap();
                    open.check("read from the end", at, asked, &buffer[..got]);
                }
            }
            5 => {
                let (first, second) = buffer.split_at_mut(asked / 3);
                let mut slices = [IoSliceMut::new(first), IoSliceMut::new(second)];
                let got = rustix::io::preadv(&open.file, &mut slices, offset).unwrap();
                open.check("preadv", offset, asked, &buffer[..got]);
            }
            6 => map(open, offset, asked),
            7 => {
                let mut out = fs::File::options()
                    .create(true)
                    .truncate(true)
                    .read(true)
                    .write(true)
                    .open(self.scratch)
                    .unwrap();
                let mut from = offset;
                loop {
                    let rest = asked - (from - offset) as usize;
                    if rustix::fs::sendfile(&out, &open.file, Some(&mut from), rest).unwrap() == 0 {
                        break;
                    }
                }
                out.rewind().unwrap();
                let mut got = Vec::new();
                out.read_to_end(&mut got).unwrap();
                open.check("sendfile", offset, asked, &got);
            }
            8 => copy_range(open, self.scratch, offset, asked),
            9 => splice(open, offset, asked),
            10 => {
                let advice = [Advice::DontNeed, Advice::WillNeed, Advice::Random, Advice::Sequential];
                let advice = advice[self.chance.below(4) as usize];
                let some = std::num::NonZeroU64::new(asked as u64);
                rustix::fs::fadvise(&open.file, offset, some, advice).unwrap();
            }
            11 => seek_data_and_holes(open, offset),
            12 => {
                let held = open.file.metadata().unwrap();
                assert_eq!((held.len(), held.ino()), (open.expected.len() as u64, open.inode));
                if open.format != Format::Parquet {
                    let named = fs::metadata(&open.path).unwrap();
                    assert_eq!(
                        (named.len(), named.ino()),
                        (held.len(), held.ino()),
                        "{}",
                        open.path.display()
                    );
                }
                let state = open.path.parent().unwrap();
                let names: Vec<_> =
                    fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                assert!(names.iter().any(|name| name == "numbers.csv"), "{names:?}");
            }
            _ => {
                let mut again = File::open(format!("/proc/self/fd/{}", open.file.as_raw_fd())).unwrap();
                let mut got = Vec::new();
                again.read_to_end(&mut got).unwrap();
                // Opened by its inode, which leads to the same bytes as long as it is open.
                assert_eq!(again.metadata().unwrap().ino(), open.inode);
                open.check("reading all", 0, open.expected.len(), &got);
            }
        }
    }
}

fn read_directly(open: &Open, offset: u64, asked: usize) {
    let block = BLOCK_BYTES as usize;
    let asked = asked.div_ceil(block) * block;
    let mut buffer = vec![0u8; asked + block];
    let start = buffer.as_ptr().align_offset(block);
    let buffer = &mut buffer[start..start + asked];
    let got = open.file.read_at(buffer, offset).unwrap();
    open.check("direct read", offset, asked, &buffer[..got]);
}

fn map(open: &Open, offset: u64, asked: usize) {
    let start = offset.min(open.expected.len() as u64) / BLOCK_BYTES * BLOCK_BYTES;
    let length = asked.min(open.expected.len() - start as usize);
    if length == 0 {
        return;
    }
    // SAFETY: the file is read-only, and its bytes and length never change.
    let map = unsafe { memmap2::MmapOptions::new().offset(start).len(length).map(&open.file).unwrap() };
    open.check("mapping", start, length, &map);
}

fn copy_range(open: &Open, scratch: &Path, offset: u64, asked: usize) {
    let out = File::options().create(true).truncate(true).read(true).write(true).open(scratch).unwrap();
    let (mut from, mut to) = (offset, 0);
    loop {
        let rest = asked - to as usize;
        match rustix::fs::copy_file_range(&open.file, Some(&mut from), &out, Some(&mut to), rest) {
            Ok(0) => break,
            Ok(_) => {}
            // Between file systems, kernels and file systems may leave it to the caller.
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::OPNOTSUPP) => return,
            Err(error) => panic!("copy_file_range of {}: {error}", open.path.display()),
        }
    }
    open.check("copy_file_range", offset, asked, &fs::read(scratch).unwrap());
}

fn splice(open: &Open, offset: u64, asked: usize) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut got = Vec::new();
    let mut at = offset as i64;
    while got.len() < asked {
        // Less than a pipe holds, so that nobody has to read at the same time.
        let wanted = (asked - got.len()).min(16_384);
        // SAFETY: both descriptors are open and the offset is valid for the call.
        let moved = unsafe {
            libc::splice(open.file.as_raw_fd(), &mut at, writer.as_raw_fd(), std::ptr::null_mut(), wanted, 0)
        };
        assert!(moved >= 0, "splice of {}: {}", open.path.display(), std::io::Error::last_os_error());
        if moved == 0 {
            break;
        }
        let start = got.len();
        got.resize(start + moved as usize, 0);
        reader.read_exact(&mut got[start..]).unwrap();
    }
    open.check("splice", offset, asked, &got);
}

/// Holes read as zeros, data ends where a hole begins, and there is a hole at the end.
fn seek_data_and_holes(open: &Open, offset: u64) {
    let length = open.expected.len() as u64;
    let data = rustix::fs::seek(&open.file, SeekFrom::Data(offset));
    let hole = rustix::fs::seek(&open.file, SeekFrom::Hole(offset));
    if offset >= length {
        assert_eq!((data, hole), (Err(rustix::io::Errno::NXIO), Err(rustix::io::Errno::NXIO)));
        return;
    }
    let hole = hole.unwrap();
    assert!(hole >= offset && hole <= length, "hole {hole} after {offset} of {length}");
    let data = match data {
        Err(rustix::io::Errno::NXIO) => length,
        data => data.unwrap(),
    };
    assert!(data >= offset && data <= length, "data {data} after {offset} of {length}");
    let skipped = &open.expected[offset as usize..data as usize];
    assert!(skipped.iter().all(|byte| *byte == 0), "{} has data in a hole", open.path.display());
}

/// Commits, checkpoints and compaction by another handle, until told to stop.
fn write(database: &Database, newest: &AtomicU64, stop: &AtomicBool, seed: u64) {
    let mut chance = Chance(seed);
    while !stop.load(Ordering::SeqCst) {
        let mut transaction = database.begin().unwrap();
        for _ in 0..=chance.below(40) {
            let id = chance.below(ROWS as u64) as i64;
            let item = format!("{:x}", chance.next());
            let item = (chance.below(5) > 0).then_some(item.as_str());
            transaction.upsert("numbers", &orders(&[(id, item, chance.below(1000) as f64 / 3.0)])).unwrap();
        }
        let version = transaction.commit(CommitOptions::default()).unwrap().version;
        newest.store(version.0, Ordering::SeqCst);
        match chance.below(12) {
            0 => drop(database.checkpoint().unwrap()),
            1 => {
                database.checkpoint().unwrap();
                database.compact(None, &Parameters::BY_HAND).unwrap();
            }
            _ => {}
        }
        let pause = if version.0 < VERSIONS_EAGER { chance.below(20) } else { 500 };
        std::thread::sleep(Duration::from_millis(pause));
    }
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")),
        Err(_) => default,
    }
}

#[test]
fn files_are_files_while_commits_checkpoints_and_compaction_run() {
    let operations = setting("ASOF_EXERCISE_OPERATIONS", OPERATIONS);
    let seed = setting("ASOF_EXERCISE_SEED", 20_250_826);
    let place = Place::new();
    let database = place.numbers(ROWS);
    database.tag(tag("first", 1), false).unwrap();
    database.checkpoint().unwrap();
    let mount = place.mount_with(
        &Database::open_read_only(place.database_path(), place.options()).unwrap(),
        MountOptions { formats: FORMATS.to_vec(), ..MountOptions::default() },
    );
    let model = Model {
        database: Database::open_read_only(place.database_path(), place.options_with_cache("model-cache"))
            .unwrap(),
        rendered: Mutex::default(),
        stitched: Mutex::default(),
    };
    let (newest, stop, done) = (AtomicU64::new(1), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&database, &newest, &stop, seed));
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (model, newest, done, mount, place) = (&model, &newest, &done, &mount, &place);
                scope.spawn(move || {
                    let scratch = place.join(&format!("scratch-{number}"));
                    let mut worker = Worker {
                        chance: Chance(seed.wrapping_add(number + 1)),
                        root: mount.path(),
                        scratch: &scratch,
                        model,
                        newest,
                        open: Vec::new(),
                    };
                    while done.fetch_add(1, Ordering::Relaxed) < operations {
                        worker.step();
                    }
                    while !worker.open.is_empty() {
                        worker.close();
                    }
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        for result in results {
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let versions = newest.load(Ordering::SeqCst);
    writeln!(std::io::stderr(), "{operations} operations on {versions} versions, seed {seed}").unwrap();
    wait_until("all files are closed", || mount.status().unwrap().open == 0);
    if is_root() {
        forget_names(mount.path());
        wait_until("the kernel has forgotten all inodes", || mount.inode_count() == 1);
    }
    mount.unmount().unwrap();
}
