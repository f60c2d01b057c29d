//! The cache of rendered files: per user, outside every database, bounded, shared by processes.
//!
//! A file in it is served as it lies there, so its checksum stands beside it, in `NAME.sum`, or the digests of its
//! sections do. A name is made of all that the bytes depend on, so files never go stale; they go when the cache is full,
//! those opened longest ago first (their time of access is when they were last opened). `NAME.points` tells where
//! sections of a text file begin and what they are, whether the file itself is there or not. Invariants: bytes are served
//! only after they were verified in this process, the whole file by its checksum or a section by its digest, and again
//! where the file was written to or cut since; what is damaged or torn is rendered again; one key is rendered once at a
//! time; removing a file never breaks who has it open.
//!
//! Nothing here needs to survive a crash, so nothing is synced. This is the one place of the engine that uses files
//! beside [`asof_wal::Disk`]: the cache is no part of a database.

mod draft;
mod temporary;

pub(super) use draft::Draft;

use super::restart_points::{self, RestartPoint};
use super::text_file::TextFile;
use super::{Format, RENDERER_REVISION};
use crate::error::{Error, ErrorKind, Result};
use asof_mvcc::Version;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::SystemTime;
use temporary::{TEMPORARY_PREFIX, Temporary, remove_if_abandoned};

/// Writes a file's bytes and says how many; called again whenever the bytes are needed and not cached.
pub type Render = Box<dyn Fn(&mut dyn Write) -> Result<u64> + Send + Sync>;

/// All that the bytes of a rendered file depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ViewKey {
    /// The id of the database's lineage.
    pub lineage: [u8; 16],
    /// The table's number.
    pub table: u32,
    /// The version that last changed it.
    pub changed: Version,
    /// Digest of its schema ([`super::schema_digest`]).
    pub schema: [u8; 16],
    /// The form.
    pub format: Format,
    /// What else the bytes depend on: the number of the files' layout where they are stitched from it, else 0.
    pub layout: u64,
}

impl ViewKey {
    /// The name of its file.
    fn file_name(&self) -> String {
        let hex = crate::text::hex;
        format!(
            "{}-t{:08x}-v{:016x}-s{}-l{:016x}-r{RENDERER_REVISION:04x}.{}",
            hex(&self.lineage),
            self.table,
            self.changed.0,
            hex(&self.schema),
            self.layout,
            self.format.extension()
        )
    }
}

/// Whether a name is one that [`ViewKey::file_name`] makes.
fn is_view_name(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else { return false };
    let parts: Vec<&str> = stem.split('-').collect();
    let hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let tagged = |text: &str, tag, digits| text.strip_prefix(tag).is_some_and(|text| hex(text, digits));
    Format::of_extension(extension).is_some()
        && matches!(parts[..], [database, table, version, schema, layout, renderer]
            if hex(database, 32) && tagged(table, 't', 8) && tagged(version, 'v', 16) && tagged(schema, 's', 32)
                && tagged(layout, 'l', 16) && tagged(renderer, 'r', 4))
}

/// A file that was verified or rendered in this process, open for reading.
#[derive(Debug)]
pub(super) struct SealedFile {
    pub(super) file: File,
    pub(super) size: u64,
    /// What it was when its bytes were known to be right.
    stamp: OnceLock<Stamp>,
    /// Its room in memory, where it has no other.
    _held: Option<Hold>,
}

/// What changes where a file is written to: its length, and when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    written: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Stamp> {
        let metadata = file.metadata()?;
        Ok(Stamp { bytes: metadata.len(), written: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

impl SealedFile {
    /// A file whose bytes are not known to be right yet.
    fn new(file: File, size: u64) -> SealedFile {
        SealedFile { file, size, stamp: OnceLock::new(), _held: None }
    }

    /// Takes note that nobody has a reason to write to it from now on.
    pub(super) fn seal(&self) -> io::Result<()> {
        let stamp = Stamp::of(&self.file)?;
        self.stamp.get_or_init(|| stamp);
        Ok(())
    }

    /// Whether nobody has written to it since it was sealed, or cut it.
    pub(super) fn is_intact(&self) -> bool {
        self.stamp.get().is_none_or(|stamp| Stamp::of(&self.file).is_ok_and(|now| now == *stamp))
    }
}

/// Where a file can be rendered, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// In the cache's directory, to be found again.
    Kept,
    /// In the directory of temporary files, without a name.
    Unnamed,
    /// In memory that is left for parts of stitched files.
    Memory,
}

/// Room taken of the memory for what is read of files, until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    all: Arc<AtomicU64>,
    all_max: u64,
    bytes: u64,
}

impl Hold {
    /// Takes room for more bytes; `false` where there is none.
    fn grow(&mut self, bytes: u64) -> bool {
        let more = |held: u64| held.checked_add(bytes).filter(|held| *held <= self.all_max);
        let taken = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The cache of one directory. Open it once a process.
#[derive(Debug)]
pub struct ViewCache {
    /// Where files are kept; without one they live unnamed, as long as they are open.
    directory: Option<PathBuf>,
    bytes_max: u64,
    /// One lock a key, and the open file if any.
    slots: Mutex<HashMap<ViewKey, Arc<Mutex<Weak<SealedFile>>>>>,
    /// Text files that are in use.
    texts: Mutex<HashMap<ViewKey, Weak<TextFile>>>,
    usage: Mutex<Usage>,
    /// Bytes of parts of stitched files, and of files that have no room elsewhere, that are held in memory.
    held: Arc<AtomicU64>,
    held_max: u64,
}

/// What the directory held at the last look, and what was added since.
#[derive(Debug, Default)]
struct Usage {
    files: usize,
    bytes: u64,
    added_since: usize,
}

/// Files added before another look is taken at what other processes added, and which part of those that are there: a
/// look takes as long as there are files.
const LOOK_AGAIN_AFTER: usize = 64;
const LOOK_AGAIN_PART: usize = 16;
/// Keys remembered before those without an open file are forgotten.
const SLOTS_MAX: usize = 1024;
const CHECKSUM_SUFFIX: &str = ".sum";
const POINTS_SUFFIX: &str = ".points";
/// Restart points of other versions that are read to find those of which most is known.
const NEAREST_LOOKED_AT: usize = 4;
/// Restart points that take more than this are not read.
const POINTS_BYTES_MAX: u64 = 64 << 20;
const CHUNK_BYTES: usize = 256 << 10;

impl ViewCache {
    /// The cache in a directory, or in the user's (`$XDG_CACHE_HOME/asof`, `~/.cache/asof`, else `asof-UID` in the
    /// directory of temporary files), of about `bytes_max`. Where no directory can be used, files are kept without a
    /// name as long as they are open. Parts of stitched files take up to `held_max` bytes of memory; what is more goes to
    /// disk.
    pub fn open(directory: Option<&Path>, bytes_max: u64, held_max: u64) -> Arc<ViewCache> {
        let candidates = match directory {
            Some(directory) => vec![directory.to_path_buf()],
            None => default_directories(),
        };
        let usable = candidates.into_iter().find(|candidate| match prepare(candidate, directory.is_none()) {
            Ok(()) => true,
            Err(error) => {
                log::warn!("{} is not used as a cache: {error}", candidate.display());
                false
            }
        });
        let cache = ViewCache {
            directory: usable,
            bytes_max,
            slots: Mutex::default(),
            texts: Mutex::default(),
            usage: Mutex::default(),
            held: Arc::default(),
            held_max,
        };
        cache.make_room(cache.bytes_max);
        Arc::new(cache)
    }

    /// Where files are kept, if anywhere.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Room in memory for so many bytes; none where there is none.
    pub(super) fn hold(&self, bytes: u64) -> Option<Hold> {
        let mut hold = Hold { all: self.held.clone(), all_max: self.held_max, bytes: 0 };
        hold.grow(bytes).then_some(hold)
    }

    /// A file without a name, of so many bytes that take no room before they are written: it goes when it is closed.
    pub(super) fn scratch(&self, bytes: u64) -> Result<File> {
        let here = self.directory.as_ref().and_then(|directory| Temporary::create(directory).ok());
        let temporary = match here {
            Some(temporary) => temporary,
            None => Temporary::create(&std::env::temp_dir())?,
        };
        temporary.file.set_len(bytes)?;
        Ok(temporary.file.try_clone()?)
    }

    /// The size of a file that is in the cache by the look of it: its bytes are verified when it is opened.
    pub(super) fn known_size(&self, key: &ViewKey) -> Option<u64> {
        let path = self.directory.as_ref()?.join(key.file_name());
        let checksum = Checksum::read(&path)?;
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() == checksum.size).then_some(checksum.size)
    }

    /// The file of a key: open already, from the cache, or rendered now. Others who want the same key wait.
    pub(super) fn get(
        &self,
        key: &ViewKey,
        expected: Option<u64>,
        render: &Render,
    ) -> Result<Arc<SealedFile>> {
        let slot = {
            let mut slots = self.slots.lock();
            if slots.len() >= SLOTS_MAX {
                slots.retain(|_, slot| {
                    Arc::strong_count(slot) > 1 || slot.try_lock().is_none_or(|open| open.strong_count() > 0)
                });
            }
            slots.entry(key.clone()).or_default().clone()
        };
        let mut open = slot.lock();
        if let Some(file) = open.upgrade().filter(|file| file.is_intact()) {
            check_size(key, expected, file.size)?;
            return Ok(file);
        }
        let file = match self.open_verified(key, expected) {
            Some(file) => file,
            None => self.render(key, expected, render)?,
        };
        let file = Arc::new(file);
        *open = Arc::downgrade(&file);
        Ok(file)
    }

    /// A file of the cache whose length and checksum are right.
    pub(super) fn open_verified(&self, key: &ViewKey, expected: Option<u64>) -> Option<SealedFile> {
        let path = self.directory.as_ref()?.join(key.file_name());
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path).ok()?;
        let verify = || {
            let checksum = Checksum::read(&path)?;
            let sealed = SealedFile::new(file, checksum.size);
            // Before it is read: what is written meanwhile may not have been.
            sealed.seal().ok()?;
            let is_expected = expected.is_none_or(|expected| checksum.size == expected);
            (is_expected && checksum.is_of(&sealed.file).unwrap_or(false)).then_some(sealed)
        };
        let Some(sealed) = verify() else {
            log::warn!("{} is damaged and is rendered again", path.display());
            return None;
        };
        note_opened(&sealed.file);
        Some(sealed)
    }

    /// Renders into the cache, also after making room there; where that has no room or cannot be written, elsewhere.
    fn render(&self, key: &ViewKey, expected: Option<u64>, render: &Render) -> Result<SealedFile> {
        let place = |error: Error| error.at(format_args!("rendering {}", key.format.extension()));
        let mut result = self.render_in(Room::Kept, key, expected, render);
        if matches!(&result, Ok(Err(error)) if error.kind() == ErrorKind::Full) {
            self.make_room(0);
            result = self.render_in(Room::Kept, key, expected, render);
        }
        for room in [Room::Unnamed, Room::Memory] {
            let why = match &result {
                Ok(Err(error)) if error.kind() != ErrorKind::Full => break,
                Ok(Ok(_)) => break,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            if self.directory.is_some() || room == Room::Memory {
                log::warn!("a file is rendered to go when it is closed, for it cannot be kept: {why}");
            }
            result = self.render_in(room, key, expected, render);
        }
        result.unwrap_or_else(|error| Err(error.into())).map_err(place)
    }

    /// A file to write, and whether it lies where it may get a name.
    fn temporary(&self) -> Result<(Temporary, bool)> {
        if let Some(directory) = &self.directory {
            match Temporary::create(directory) {
                Ok(temporary) => return Ok((temporary, true)),
                Err(error) => log::warn!("{} cannot be written: {error}", directory.display()),
            }
        }
        Ok((Temporary::create(&std::env::temp_dir())?, false))
    }

    /// The outer error means that nothing can be written there.
    fn render_in(
        &self,
        room: Room,
        key: &ViewKey,
        expected: Option<u64>,
        render: &Render,
    ) -> io::Result<Result<SealedFile>> {
        let mut held = None;
        let mut temporary = match (room, &self.directory) {
            (Room::Kept, None) => return Err(io::Error::new(io::ErrorKind::NotFound, "there is no cache")),
            (Room::Kept, Some(directory)) => Temporary::create(directory)?,
            (Room::Unnamed, _) => Temporary::create(&std::env::temp_dir())?,
            (Room::Memory, _) => {
                held = self.hold(0);
                Temporary::in_memory()?
            }
        };
        let sealed = temporary.reader()?;
        let rendered = (|| {
            let out = Bounded { file: &temporary.file, held: held.as_mut() };
            let mut out = HashingWriter { out: BufWriter::new(out), hasher: blake3::Hasher::new(), bytes: 0 };
            let told = render(&mut out)?;
            out.out.flush()?;
            if told != out.bytes {
                let what =
                    format!("the renderer told {told} bytes and wrote {}; this is a bug in asof", out.bytes);
                return Err(Error::corrupt(what));
            }
            check_size(key, expected, out.bytes)?;
            Ok((out.bytes, out.hasher.finalize()))
        })();
        let (size, hash) = match rendered {
            Ok(rendered) => rendered,
            Err(error) => return Ok(Err(error)),
        };
        let sealed = SealedFile { _held: held, ..SealedFile::new(sealed, size) };
        sealed.seal()?;
        if room == Room::Kept && size <= self.bytes_max {
            self.publish(key, &mut temporary, size, Some(&Checksum { size, hash }));
        }
        Ok(Ok(sealed))
    }

    /// Gives a rendered file its name. Where that fails it is served all the same.
    fn publish(&self, key: &ViewKey, temporary: &mut Temporary, size: u64, checksum: Option<&Checksum>) {
        let Some(directory) = &self.directory else { return };
        let path = directory.join(key.file_name());
        let published = temporary.rename(&path).and_then(|()| {
            let Some(checksum) = checksum else { return Ok(()) };
            let mut sum = Temporary::create(directory)?;
            sum.file.write_all(checksum.to_line().as_bytes())?;
            sum.rename(&with_suffix(&path, CHECKSUM_SUFFIX))
        });
        if let Err(error) = published {
            log::warn!("{} cannot be kept: {error}", path.display());
            return;
        }
        self.added(size);
    }

    /// Takes note of a file that was added, and makes room where there are many.
    fn added(&self, bytes: u64) {
        let full = {
            let mut usage = self.usage.lock();
            usage.bytes += bytes;
            usage.added_since += 1;
            let enough = LOOK_AGAIN_AFTER.max(usage.files / LOOK_AGAIN_PART);
            usage.bytes > self.bytes_max || usage.added_since >= enough
        };
        if full {
            self.make_room(self.bytes_max);
        }
    }

    /// The text file of a key that is in use, or a new one.
    pub(super) fn text(&self, key: &ViewKey, size: u64, new: impl FnOnce() -> TextFile) -> Arc<TextFile> {
        let mut texts = self.texts.lock();
        let known = texts.get(key).and_then(Weak::upgrade);
        let known = known.filter(|text| text.size() == size && text.is_intact());
        known.unwrap_or_else(|| {
            if texts.len() >= SLOTS_MAX {
                texts.retain(|_, text| text.strong_count() > 0);
            }
            let text = Arc::new(new());
            texts.insert(key.clone(), Arc::downgrade(&text));
            text
        })
    }

    /// A file of the cache that has the right length. Its bytes are still to be verified.
    pub(super) fn open_unverified(&self, key: &ViewKey, size: u64) -> Option<SealedFile> {
        let path = self.directory.as_ref()?.join(key.file_name());
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path).ok()?;
        let metadata = file.metadata().ok()?;
        note_opened(&file);
        let sealed = SealedFile::new(file, size);
        sealed.seal().ok()?;
        (metadata.is_file() && metadata.len() == size).then_some(sealed)
    }

    /// Where sections of a file of this size begin, if that was kept.
    pub(super) fn restart_points(&self, key: &ViewKey, size: u64) -> Option<Vec<RestartPoint>> {
        let (kept, points) = self.points_of(&key.file_name())?;
        (kept == size).then_some(points)
    }

    /// The same of another version of a table, under the same schema and in the same form, with its size: of the nearest
    /// ones that of which most is known.
    pub(super) fn nearest_points(&self, key: &ViewKey) -> Option<(Version, u64, Vec<RestartPoint>)> {
        let name = key.file_name();
        let version_at = name.find("-v")? + 2;
        let (before, after) = (&name[..version_at], &name[version_at + 16..]);
        let entries = std::fs::read_dir(self.directory.as_ref()?).ok()?;
        let mut versions: Vec<u64> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let name = name.to_str()?.strip_suffix(POINTS_SUFFIX)?;
                let digits = name.strip_prefix(before)?.strip_suffix(after)?;
                u64::from_str_radix(digits, 16).ok()
            })
            .collect();
        versions.sort_by_key(|version| version.abs_diff(key.changed.0));
        let found = versions.into_iter().take(NEAREST_LOOKED_AT).filter_map(|version| {
            let changed = Version(version);
            let (size, points) = self.points_of(&ViewKey { changed, ..key.clone() }.file_name())?;
            Some((changed, size, points))
        });
        // Of those of which as much is known, the nearest.
        let known = |points: &[RestartPoint]| points.iter().filter(|point| point.length.is_some()).count();
        found.min_by_key(|(_, _, points)| Reverse(known(points)))
    }

    fn points_of(&self, name: &str) -> Option<(u64, Vec<RestartPoint>)> {
        let path = with_suffix(&self.directory.as_ref()?.join(name), POINTS_SUFFIX);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path).ok()?;
        let mut bytes = Vec::new();
        (&file).take(POINTS_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let points = restart_points::decode(name, &bytes);
        match points {
            Some(_) => note_opened(&file),
            None => log::warn!("{} is damaged and is made again", path.display()),
        }
        points
    }

    /// Keeps where sections of a file begin.
    pub(super) fn keep_restart_points(&self, key: &ViewKey, size: u64, points: &[RestartPoint]) {
        let Some(directory) = &self.directory else { return };
        let name = key.file_name();
        let path = with_suffix(&directory.join(&name), POINTS_SUFFIX);
        let bytes = restart_points::encode(&name, size, points);
        let kept = Temporary::create(directory).and_then(|mut temporary| {
            temporary.file.write_all(&bytes)?;
            temporary.rename(&path)
        });
        match kept {
            Ok(()) => self.added(bytes.len() as u64),
            Err(error) => log::warn!("{} cannot be kept: {error}", path.display()),
        }
    }

    /// Removes what tells where sections of a file begin: it was wrong.
    pub(super) fn forget_restart_points(&self, key: &ViewKey) {
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_file(with_suffix(&directory.join(key.file_name()), POINTS_SUFFIX));
        }
    }

    /// Looks what the directory holds, removes what dead processes left, and where it is more than `bytes_max` removes
    /// the files opened longest ago until a tenth is free.
    fn make_room(&self, bytes_max: u64) {
        let Some(directory) = &self.directory else { return };
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        let (mut files, mut sums) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY_PREFIX) {
                remove_if_abandoned(&entry.path());
            } else if let Some(of) = name.strip_suffix(CHECKSUM_SUFFIX).filter(|of| is_view_name(of)) {
                sums.push(of.to_string());
            } else if is_view_name(name.strip_suffix(POINTS_SUFFIX).unwrap_or(&name))
                && let Ok(metadata) = entry.metadata()
            {
                files.push((metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), name));
            }
        }
        let mut bytes: u64 = files.iter().map(|(_, len, _)| len).sum();
        if bytes > bytes_max {
            files.sort();
            let target = bytes_max - bytes_max / 10;
            let mut removed = 0;
            while removed < files.len() && bytes > target {
                let (_, len, name) = &files[removed];
                if std::fs::remove_file(directory.join(name)).is_ok() {
                    bytes -= len;
                }
                removed += 1;
            }
            files.drain(..removed);
        }
        let names: HashSet<&str> = files.iter().map(|(_, _, name)| &**name).collect();
        for orphan in sums.iter().filter(|of| !names.contains(&***of)) {
            let _ = std::fs::remove_file(with_suffix(&directory.join(orphan), CHECKSUM_SUFFIX));
        }
        *self.usage.lock() = Usage { files: files.len(), bytes, added_since: 0 };
    }
}

/// Best effort: it only tells which files were used last.
fn note_opened(file: &File) {
    let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
}

fn check_size(key: &ViewKey, expected: Option<u64>, size: u64) -> Result<()> {
    match expected {
        Some(expected) if expected != size => Err(Error::corrupt(format!(
            "table {} at version {} has {size} bytes as {} where {expected} were expected; run verify",
            key.table,
            key.changed,
            key.format.extension()
        ))),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where a user's cache may be, best first.
fn default_directories() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let temporary = std::env::temp_dir().join(format!("asof-{}", rustix::process::geteuid().as_raw()));
    home.map(|home| home.join("asof")).into_iter().chain([temporary]).collect()
}

/// Makes a directory that is the user's alone, or checks that nobody else may write it.
fn prepare(directory: &Path, is_ours_alone: bool) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(directory)?;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_string()));
    if !metadata.is_dir() {
        return refuse("it is not a directory");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user");
    }
    if is_ours_alone && metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    } else if metadata.mode() & 0o022 != 0 {
        return refuse("others may write in it");
    }
    Ok(())
}

/// A file that takes no more room in memory than there is.
struct Bounded<'a> {
    file: &'a File,
    held: Option<&'a mut Hold>,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(held) = &mut self.held
            && !held.grow(bytes.len() as u64)
        {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room on disk, and none in memory"));
        }
        let mut file = self.file;
        file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands beside a cached file.
struct Checksum {
    size: u64,
    hash: blake3::Hash,
}

impl Checksum {
    /// `asof-view 1 SIZE BLAKE3` and a line feed.
    fn to_line(&self) -> String {
        format!("asof-view 1 {} {}\n", self.size, self.hash.to_hex())
    }

    fn parse(line: &str) -> Option<Checksum> {
        let (size, hash) = line.strip_prefix("asof-view 1 ")?.strip_suffix('\n')?.split_once(' ')?;
        Some(Checksum { size: size.parse().ok()?, hash: blake3::Hash::from_hex(hash).ok()? })
    }

    /// The checksum beside a file.
    fn read(path: &Path) -> Option<Checksum> {
        const LINE_BYTES_MAX: u64 = 128;
        let path = with_suffix(path, CHECKSUM_SUFFIX);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path).ok()?;
        let mut line = String::new();
        file.take(LINE_BYTES_MAX).read_to_string(&mut line).ok()?;
        Checksum::parse(&line)
    }

    /// Whether a file has these bytes; reads it all.
    fn is_of(&self, file: &File) -> io::Result<bool> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() != self.size {
            return Ok(false);
        }
        let (mut hasher, mut buffer, mut offset) = (blake3::Hasher::new(), vec![0; CHUNK_BYTES], 0);
        loop {
            match file.read_at(&mut buffer, offset) {
                Ok(0) => return Ok(offset == self.size && hasher.finalize() == self.hash),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Counts and hashes what is written.
struct HashingWriter<W> {
    out: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
