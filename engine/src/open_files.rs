//! What has been opened and decoded of data and ends files, shared by all generations of a database: a
//! new manifest names most of the files that the one before named, and files never change.

use crate::store::data_file::DataFile;
use crate::store::ends::EndsFile;
use crate::store::ends::block::Block;
use asof_mvcc::{FileId, Keys};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A page of a row group: file, row group, first row.
pub type PageId = (FileId, u32, u32);

/// Open files and what was decoded of them.
#[derive(Debug)]
pub struct OpenFiles {
    files: Mutex<HashMap<FileId, Arc<DataFile>>>,
    ends_files: Mutex<HashMap<FileId, Arc<EndsFile>>>,
    keys: Mutex<KeyCache>,
    /// Files of the log's loads that are lost: not there, though no newer manifest does without them.
    lost: Mutex<HashSet<FileId>>,
    /// How many threads decode.
    pub threads: usize,
    /// Whether copies files are read.
    pub reads_copies: bool,
}

/// What is kept to find keys by.
#[derive(Clone, Debug)]
enum Kept {
    /// The keys of a page.
    Keys(Arc<Keys>),
    /// The filter of a row group.
    Filter(Bytes),
    /// A block of an ends file.
    Ends(Arc<Block>),
}

impl Kept {
    fn memory_bytes(&self) -> u64 {
        match self {
            Kept::Keys(keys) => keys.memory_bytes() as u64,
            Kept::Filter(filter) => filter.len() as u64,
            Kept::Ends(block) => block.memory_bytes() as u64,
        }
    }
}

/// In place of a page's first row: the row group's filter.
const FILTER: u32 = u32::MAX;

/// Keys, filters and ends, the least recently used go first, roughly: each has a second chance.
#[derive(Debug, Default)]
struct KeyCache {
    pages: HashMap<PageId, (Kept, bool)>,
    queue: VecDeque<PageId>,
    bytes: u64,
    bytes_max: u64,
}

impl KeyCache {
    fn get(&mut self, page: PageId) -> Option<Kept> {
        let (kept, used) = self.pages.get_mut(&page)?;
        *used = true;
        Some(kept.clone())
    }

    fn put(&mut self, page: PageId, kept: Kept) {
        self.bytes += kept.memory_bytes();
        match self.pages.insert(page, (kept, false)) {
            Some((before, _)) => self.bytes -= before.memory_bytes(),
            None => self.queue.push_back(page),
        }
        while self.bytes > self.bytes_max
            && self.queue.len() > 1
            && let Some(oldest) = self.queue.pop_front()
        {
            match self.pages.get_mut(&oldest) {
                Some((_, used)) if *used => {
                    *used = false;
                    self.queue.push_back(oldest);
                }
                _ => self.remove(&oldest),
            }
        }
    }

    fn remove(&mut self, page: &PageId) {
        if let Some((kept, _)) = self.pages.remove(page) {
            self.bytes -= kept.memory_bytes();
        }
    }
}

impl OpenFiles {
    /// Takes note that a file is lost.
    pub fn note_lost(&self, file: FileId) {
        self.lost.lock().insert(file);
    }

    /// Whether a file is known to be lost.
    pub fn is_lost(&self, file: FileId) -> bool {
        self.lost.lock().contains(&file)
    }

    /// Nothing open; at most this many bytes of keys are kept.
    pub fn new(key_cache_bytes: u64, threads: usize) -> OpenFiles {
        let keys = KeyCache { bytes_max: key_cache_bytes, ..KeyCache::default() };
        let (files, ends_files, lost) = (Mutex::default(), Mutex::default(), Mutex::default());
        OpenFiles { files, ends_files, lost, keys: Mutex::new(keys), threads, reads_copies: true }
    }

    /// An open data file.
    pub fn file(&self, id: FileId) -> Option<Arc<DataFile>> {
        self.files.lock().get(&id).cloned()
    }

    /// Keeps a data file open; gives the one that is open already, where another thread was faster.
    pub fn keep(&self, file: Arc<DataFile>) -> Arc<DataFile> {
        self.files.lock().entry(file.record.id).or_insert(file).clone()
    }

    /// The keys of a page, if they are kept.
    pub fn keys(&self, page: PageId) -> Option<Arc<Keys>> {
        match self.keys.lock().get(page)? {
            Kept::Keys(keys) => Some(keys),
            _ => None,
        }
    }

    /// The filter of a row group, if it is kept.
    pub fn filter(&self, file: FileId, group: usize) -> Option<Bytes> {
        match self.keys.lock().get((file, group as u32, FILTER))? {
            Kept::Filter(filter) => Some(filter),
            _ => None,
        }
    }

    /// Keeps the filter of a row group.
    pub fn keep_filter(&self, file: FileId, group: usize, filter: Bytes) {
        self.keys.lock().put((file, group as u32, FILTER), Kept::Filter(filter));
    }

    /// Keeps the keys of a page.
    pub fn keep_keys(&self, page: PageId, keys: Arc<Keys>) {
        self.keys.lock().put(page, Kept::Keys(keys));
    }

    /// An open ends file.
    pub fn ends_file(&self, id: FileId) -> Option<Arc<EndsFile>> {
        self.ends_files.lock().get(&id).cloned()
    }

    /// Keeps an ends file open; gives the one that is open already, where another thread was faster.
    pub fn keep_ends_file(&self, file: Arc<EndsFile>) -> Arc<EndsFile> {
        self.ends_files.lock().entry(file.id).or_insert(file).clone()
    }

    /// A block of an ends file, if it is kept.
    pub fn ends_block(&self, file: FileId, block: usize) -> Option<Arc<Block>> {
        match self.keys.lock().get((file, block as u32, 0))? {
            Kept::Ends(block) => Some(block),
            _ => None,
        }
    }

    /// Keeps a block of an ends file. Numbers of ends files are not those of data files.
    pub fn keep_ends_block(&self, file: FileId, number: usize, block: Arc<Block>) {
        self.keys.lock().put((file, number as u32, 0), Kept::Ends(block));
    }

    /// Lets go of files, data files and ends files, that a manifest does not name any more. Who still reads one has it
    /// open.
    pub fn retain(&self, named: &HashSet<FileId>) {
        self.files.lock().retain(|id, _| named.contains(id));
        self.ends_files.lock().retain(|id, _| named.contains(id));
        let mut cache = self.keys.lock();
        let gone: Vec<PageId> =
            cache.pages.keys().filter(|(file, ..)| !named.contains(file)).copied().collect();
        gone.iter().for_each(|page| cache.remove(page));
        cache.queue.retain(|(file, ..)| named.contains(file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: usize) -> Arc<Keys> {
        let mut keys = Keys::default();
        keys.push(&vec![7; bytes]);
        Arc::new(keys)
    }

    #[test]
    fn keys_stay_within_their_budget_and_those_in_use_stay_longest() {
        let open = OpenFiles::new(20_000, 1);
        for page in 0..100 {
            open.keep_keys((1, 0, page), keys(1_000));
            assert!(open.keys((1, 0, 0)).is_some(), "page {page}");
        }
        let kept = (0..100).filter(|page| open.keys((1, 0, *page)).is_some()).count();
        assert!((5..=20).contains(&kept), "{kept} pages");
        assert!(open.keys.lock().bytes <= 20_000);
        open.retain(&HashSet::new());
        let cache = open.keys.lock();
        assert_eq!((cache.bytes, cache.queue.len()), (0, 0));
    }
}
