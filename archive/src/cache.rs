//! Pieces of an archive that were read: the newest in memory, and those of a far one in the user's cache directory too.
//!
//! Invariant. A file of the cache is checked by its digest whenever it is read: what rots there is fetched again.

use crate::archive::Archive;
use crate::hex::Digest;
use crate::pieces::Piece;
use asof_engine::Result;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Bytes of pieces in memory.
const MEMORY_BYTES: u64 = 64 << 20;
/// Bytes of pieces in the cache directory.
const DIRECTORY_BYTES: u64 = 2 << 30;

/// A piece being fetched, or fetched.
type Slot = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

#[derive(Debug, Default)]
struct Memory {
    /// By digest and length: a document may claim any length.
    slots: HashMap<(Digest, u64), Slot>,
    /// Those that are fetched, in the order of their first use.
    order: VecDeque<(Digest, u64)>,
    bytes: u64,
}

/// Pieces of an archive.
#[derive(Debug)]
pub struct Pieces {
    archive: Archive,
    memory: Mutex<Memory>,
    directory: Option<Directory>,
}

impl Pieces {
    /// Of an archive; one on this machine needs no cache directory.
    pub fn new(archive: Archive) -> Pieces {
        let directory = (!archive.is_near()).then(Directory::of_user).flatten();
        Pieces { archive, memory: Mutex::default(), directory }
    }

    /// The archive.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// A piece's bytes, checked. Who asks for one that another thread fetches waits for that.
    pub fn get(&self, piece: &Piece) -> Result<Arc<Vec<u8>>> {
        let slot = self.memory.lock().slots.entry((piece.digest, piece.len())).or_default().clone();
        let mut held = slot.lock();
        if let Some(bytes) = &*held {
            return Ok(bytes.clone());
        }
        let bytes = match self.fetch(piece) {
            Ok(bytes) => Arc::new(bytes),
            Err(error) => {
                self.memory.lock().slots.remove(&(piece.digest, piece.len()));
                return Err(error);
            }
        };
        *held = Some(bytes.clone());
        self.note(piece);
        Ok(bytes)
    }

    /// A piece's bytes, checked; kept on disk, not in memory.
    pub fn fetch(&self, piece: &Piece) -> Result<Vec<u8>> {
        let Some(directory) = &self.directory else { return self.archive.piece(piece) };
        if let Some(bytes) = directory.get(piece) {
            return Ok(bytes);
        }
        let bytes = self.archive.piece(piece)?;
        directory.put(piece, &bytes);
        Ok(bytes)
    }

    fn note(&self, piece: &Piece) {
        let mut memory = self.memory.lock();
        memory.order.push_back((piece.digest, piece.len()));
        memory.bytes += piece.len();
        while memory.bytes > MEMORY_BYTES
            && memory.order.len() > 1
            && let Some((digest, bytes)) = memory.order.pop_front()
        {
            memory.bytes -= bytes;
            memory.slots.remove(&(digest, bytes));
        }
    }
}

/// Pieces as files. Best effort: what cannot be kept is fetched again.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Bytes put since the directory was last measured; all of it before the first time.
    unmeasured: AtomicU64,
}

impl Directory {
    fn of_user() -> Option<Directory> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || variable("HOME").map(|home| home.join(".cache"));
        let path = variable("XDG_CACHE_HOME").or_else(home)?.join("asof-archive");
        Some(Directory { path, unmeasured: AtomicU64::new(DIRECTORY_BYTES) })
    }

    fn place(&self, piece: &Piece) -> PathBuf {
        self.path.join(piece.digest.to_string())
    }

    fn get(&self, piece: &Piece) -> Option<Vec<u8>> {
        let file = File::open(self.place(piece)).ok()?;
        let mut bytes = Vec::new();
        (&file).take(piece.len() + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 != piece.len() || *blake3::hash(&bytes).as_bytes() != piece.digest.0 {
            let _ = fs::remove_file(self.place(piece));
            return None;
        }
        // What was used last goes last.
        let _ = file.set_modified(SystemTime::now());
        Some(bytes)
    }

    fn put(&self, piece: &Piece, bytes: &[u8]) {
        let written = fs::create_dir_all(&self.path)
            .and_then(|()| tempfile::NamedTempFile::new_in(&self.path))
            .and_then(|mut file| file.write_all(bytes).map(|()| file));
        let kept = written.map(|file| file.persist(self.place(piece)));
        if !matches!(kept, Ok(Ok(_))) {
            log::debug!("{} keeps nothing: {kept:?}", self.path.display());
        }
        let unmeasured = self.unmeasured.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
        if unmeasured > DIRECTORY_BYTES / 16 {
            self.unmeasured.store(0, Ordering::Relaxed);
            prune(&self.path, DIRECTORY_BYTES);
        }
    }
}

/// Removes what was used longest ago, down to so many bytes.
fn prune(path: &Path, bytes_max: u64) {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()));
    }
    files.sort_unstable();
    let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, length, path) in files {
        if bytes <= bytes_max {
            return;
        }
        let _ = fs::remove_file(path);
        bytes -= length;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_rots_in_the_cache_is_not_served_and_the_oldest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Directory { path: dir.path().join("cache"), unmeasured: AtomicU64::new(0) };
        let pieces: Vec<(Piece, Vec<u8>)> = (0..4u8)
            .map(|n| {
                let bytes = vec![n; 1_000];
                (Piece::pack(0, &bytes).unwrap().0, bytes)
            })
            .collect();
        for (age, (piece, bytes)) in (1..).zip(pieces.iter().rev()) {
            cache.put(piece, bytes);
            assert_eq!(cache.get(piece).as_ref(), Some(bytes));
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age);
            File::options().write(true).open(cache.place(piece)).unwrap().set_modified(time).unwrap();
        }
        prune(&cache.path, 2_500);
        let there: Vec<bool> = pieces.iter().map(|(piece, _)| cache.place(piece).exists()).collect();
        assert_eq!(there, [true, true, false, false]);
        fs::write(cache.place(&pieces[0].0), vec![9; 1_000]).unwrap();
        assert_eq!(cache.get(&pieces[0].0), None);
        assert!(!cache.place(&pieces[0].0).exists());
    }
    #[test]
    fn a_piece_of_another_length_than_its_digest_is_refused_though_that_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let (archive, _) = Archive::open_or_create(dir.path(), [1; 16], [2; 16]).unwrap();
        let (piece, stored) = Piece::pack(0, &[7; 1_000]).unwrap();
        archive.put_piece(&piece, &stored).unwrap();
        let pieces = Pieces::new(archive);
        for to in [2_000, 1_000, 500, 1_000] {
            let bytes = pieces.get(&Piece { to, ..piece });
            assert_eq!(bytes.ok().map(|bytes| bytes.len()), (to == 1_000).then_some(1_000));
        }
    }
}
