//! An archive as a disk that the engine opens a database from, for reading.
//!
//! What it shows is a database's directory: the newest manifests, the log from where they say, and every other file. It
//! never changes under a reader, so that locks are always to be had and hold nothing. New shipments are looked for when
//! the log is opened again, as followers do.
//!
//! Of an earlier state it shows the manifest that leads to it, and the log as far as that is needed: for versions that
//! the newest manifest says are gone.

use crate::archive::Archive;
use crate::cache::Pieces;
use crate::index::{ArchivedFile, Index};
use crate::plan::Plan;
use asof_engine::Result;
use asof_engine::hold::{manifest_path, segment_path};
use asof_wal::{DirEntry, Disk, DiskFile, LockKind, Metadata, OpenMode, SharedWords};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often new shipments are looked for, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Manifests shown: the newest, and one to fall back to.
const MANIFESTS: usize = 2;
const MANIFEST_DIR: &str = "manifest/";
const LOG_DIR: &str = "wal/";

/// An archive as a disk.
#[derive(Debug)]
pub struct ArchiveDisk {
    pieces: Arc<Pieces>,
    shown: RwLock<Arc<Shown>>,
    /// When new shipments were looked for; none where they are not.
    looked: Mutex<Option<Instant>>,
}

/// The files there are.
#[derive(Debug)]
struct Shown {
    index: Index,
    files: BTreeMap<String, Arc<ArchivedFile>>,
}

impl Shown {
    fn of(index: Index) -> Shown {
        let newest = index.stretches.len().saturating_sub(1);
        let usable = index.manifests.iter().rev().filter(|manifest| manifest.stretch == newest);
        let manifests: Vec<_> = usable.take(MANIFESTS).map(|manifest| manifest.note).collect();
        let first_segment = manifests.iter().map(|note| note.log.0.segment).min().unwrap_or(u64::MAX);
        let names: Vec<String> = manifests.iter().map(|note| manifest_path(note.number)).collect();
        let first_log_file = segment_path(first_segment);
        let is_shown = |path: &String| match path {
            path if path.starts_with(MANIFEST_DIR) => names.contains(path),
            path if path.starts_with(LOG_DIR) => *path >= first_log_file,
            _ => true,
        };
        let files = index.files.iter().filter(|(path, _)| is_shown(path));
        let files = files.map(|(path, file)| (path.clone(), Arc::new(file.clone()))).collect();
        Shown { index, files }
    }

    /// Of an earlier state: what leads to a version.
    fn at(index: Index, plan: &Plan) -> Shown {
        let manifest = manifest_path(plan.base.manifest.number);
        let is_shown = |path: &String| match path {
            path if path.starts_with(MANIFEST_DIR) => *path == manifest,
            path => !path.starts_with(LOG_DIR),
        };
        let files = index.files.iter().filter(|(path, _)| is_shown(path));
        let mut files: BTreeMap<String, Arc<ArchivedFile>> =
            files.map(|(path, file)| (path.clone(), Arc::new(file.clone()))).collect();
        // What another stretch of the log goes on with does not follow from this one.
        let of_base = index.manifests.iter().find(|known| known.note.number == plan.base.manifest.number);
        let end = of_base.map(|manifest| index.stretches[manifest.stretch].log.0);
        let last = |path: &str| end.filter(|end| segment_path(end.segment) == path);
        for file in plan.files.iter().filter(|file| file.path.starts_with(LOG_DIR)) {
            let bytes = last(&file.path).map_or(file.bytes, |end| file.bytes.min(end.offset));
            let shown = ArchivedFile { bytes, pieces: file.pieces.clone() };
            files.insert(file.path.clone(), Arc::new(shown));
        }
        Shown { index, files }
    }
}

impl ArchiveDisk {
    /// Shows what an archive holds.
    pub fn new(archive: Archive) -> Result<ArchiveDisk> {
        let index = archive.load()?;
        Ok(ArchiveDisk::with(Arc::new(Pieces::new(archive)), index))
    }

    /// Shows what an index says, of pieces that others read too.
    pub(crate) fn with(pieces: Arc<Pieces>, index: Index) -> ArchiveDisk {
        let shown = RwLock::new(Arc::new(Shown::of(index)));
        ArchiveDisk { pieces, shown, looked: Mutex::new(Some(Instant::now())) }
    }

    /// Shows what leads to a version, and never anything else.
    pub(crate) fn at(pieces: Arc<Pieces>, index: Index, plan: &Plan) -> ArchiveDisk {
        let shown = RwLock::new(Arc::new(Shown::at(index, plan)));
        ArchiveDisk { pieces, shown, looked: Mutex::new(None) }
    }

    /// The directory that the database seems to lie in.
    pub fn root(&self) -> &Path {
        self.pieces.archive().root()
    }

    fn relative<'a>(&self, path: &'a Path) -> io::Result<&'a str> {
        let relative = path.strip_prefix(self.root()).ok().and_then(Path::to_str);
        relative.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not in the archive"))
    }

    fn file(&self, path: &Path) -> io::Result<Arc<ArchivedFile>> {
        let file = self.shown.read().files.get(self.relative(path)?).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Looks for new shipments, unless that was done a moment ago. Where they cannot be read, what is known stays: the
    /// next reader hears of it.
    fn look(&self) {
        let Some(mut guard) = self.looked.try_lock() else { return };
        let Some(looked) = guard.as_mut() else { return };
        if looked.elapsed() < LOOK_INTERVAL {
            return;
        }
        let mut index = self.shown.read().index.clone();
        match self.pieces.archive().refresh(&mut index) {
            Ok(true) => *self.shown.write() = Arc::new(Shown::of(index)),
            Ok(false) => {}
            Err(error) => log::warn!("{error}; showing what was shipped before"),
        }
        *looked = Instant::now();
    }
}

fn read_only() -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        "an archive is read-only; 'asof recover' makes a database of it",
    )
}

impl Disk for ArchiveDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode != OpenMode::Read {
            return Err(read_only());
        }
        if self.relative(path)?.starts_with(LOG_DIR) {
            self.look();
        }
        Ok(Arc::new(OpenFile { file: self.file(path)?, pieces: self.pieces.clone() }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.relative(dir)?;
        let shown = self.shown.read().clone();
        let mut entries: BTreeMap<String, DirEntry> = BTreeMap::new();
        for (path, file) in &shown.files {
            let inside = match dir {
                "" => Some(path.as_str()),
                _ => path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/')),
            };
            let Some(inside) = inside else { continue };
            let (name, len) = match inside.split_once('/') {
                Some((name, _)) => (name.to_string(), None),
                None => (inside.to_string(), Some(file.bytes)),
            };
            let entry = DirEntry { name: name.clone(), is_dir: len.is_none(), len: len.unwrap_or(0) };
            entries.insert(name, entry);
        }
        Ok(entries.into_values().collect())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let relative = self.relative(path)?;
        let shown = self.shown.read().clone();
        let is_dir = || {
            relative.is_empty() || shown.files.keys().any(|path| path.starts_with(&format!("{relative}/")))
        };
        match shown.files.get(relative) {
            Some(file) => Ok(Metadata { len: file.bytes, is_dir: false }),
            None if is_dir() => Ok(Metadata { len: 0, is_dir: true }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn shared_map(&self, _: &Path, _: usize, _: bool) -> io::Result<Arc<dyn SharedWords>> {
        // There is no durable head: what was shipped is durable.
        Err(io::ErrorKind::NotFound.into())
    }

    fn boot_id(&self) -> [u8; 16] {
        [0; 16]
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    fn is_selection(&self) -> bool {
        true
    }
}

/// A file of the archive, as it was when it was opened.
#[derive(Debug)]
struct OpenFile {
    file: Arc<ArchivedFile>,
    pieces: Arc<Pieces>,
}

impl DiskFile for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.file.bytes.saturating_sub(offset);
        let at = self.file.pieces.partition_point(|piece| piece.to <= offset);
        let is_wanted = !buf.is_empty() && left > 0;
        let Some(piece) = self.file.pieces.get(at).filter(|_| is_wanted) else { return Ok(0) };
        let bytes = self.pieces.get(piece).map_err(io::Error::other)?;
        let rest = &bytes[(offset - piece.from) as usize..];
        let count = rest.len().min(buf.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(read_only())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.bytes)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_all(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn try_lock(&self, _: LockKind) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::hex::Hex;
    use crate::sealed::unseal;
    use crate::shipment::{KIND, Shipment};

    /// Numbers as a hostile hand would write them.
    const EXTREMES: [&str; 7] =
        ["0", "1", "-1", "4611686018427387904", "9223372036854775807", "18446744073709551615", "1e30"];

    /// A document with each of its numbers changed to each of the extremes, and with each of its bytes to some others, under
    /// a digest that is right.
    fn hostile_documents(kind: &str, json: &str) -> Vec<String> {
        let sealed = |changed: String| {
            let digest = Hex(*blake3::hash(changed.as_bytes()).as_bytes());
            format!("{kind} 1 {digest}\n{changed}")
        };
        let is_digit = |at: usize| json.as_bytes()[at].is_ascii_digit();
        let starts = (1..json.len()).filter(|at| is_digit(*at) && b"[,:-".contains(&json.as_bytes()[at - 1]));
        let mut documents = Vec::new();
        for start in starts {
            let end = (start..).find(|at| !is_digit(*at)).unwrap();
            for extreme in EXTREMES {
                let changed = format!("{}{extreme}{}", &json[..start], &json[end..]);
                documents.push(sealed(changed));
            }
        }
        for at in 0..json.len() {
            for byte in ["0", "9", "-", "f", ".", "/", "\"", "]", "\0"] {
                documents.push(sealed(format!("{}{byte}{}", &json[..at], &json[at + 1..])));
            }
        }
        documents
    }

    fn shown_in_format() -> &'static str {
        let page = include_str!("../FORMAT.md");
        let shown = page.split_once("```shipment\n").unwrap().1.split_once("\n```").unwrap().0;
        shown.split_once('\n').unwrap().1
    }

    #[test]
    fn a_hostile_shipment_is_refused_or_planned_with() {
        let mut planned = 0;
        for document in hostile_documents(KIND, shown_in_format()) {
            let Ok((shipment, digest)) = unseal::<Shipment>(KIND, document.as_bytes(), "it") else {
                continue;
            };
            let mut index = Index::empty(shipment.database, shipment.lineage);
            if index.add(shipment, digest, "there").is_err() {
                continue;
            }
            assert_eq!(index.check(), Ok(()));
            let bases = crate::plan::bases(&index, "there");
            planned += u64::from(bases.is_ok_and(|bases| !bases.is_empty()));
            let shown = Shown::of(index);
            assert!(shown.files.len() <= 1);
        }
        assert!(planned > 50, "only {planned} were planned with");
    }

    #[test]
    fn a_hostile_summary_is_refused_or_gone_on_with() {
        let first: Shipment = serde_json::from_str(shown_in_format()).unwrap();
        let mut index = Index::empty(first.database, first.lineage);
        index.add(first.clone(), Hex([7; 32]), "there").unwrap();
        let json = serde_json::to_string(&index).unwrap();
        let mut gone_on = 0;
        for document in hostile_documents("asof-summary", &json) {
            let Ok((mut index, _)) = unseal::<Index>("asof-summary", document.as_bytes(), "it") else {
                continue;
            };
            if index.check().is_err() {
                continue;
            }
            drop((crate::plan::bases(&index, "there"), index.bytes()));
            let number = index.shipments.wrapping_add(1);
            let mut next = Shipment { number, previous: index.digest, continues: true, ..first.clone() };
            next.files[0].path = "wal/0000000000000002.wal".to_string();
            gone_on += u64::from(index.add(next, Hex([8; 32]), "there").is_ok());
            drop(Shown::of(index));
        }
        assert!(gone_on > 50, "only {gone_on} were gone on with");
    }
}
