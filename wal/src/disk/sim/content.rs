//! What a simulated disk holds: files as processes see them and as they are on the platter, what lies between the two,
//! and names likewise. Copies share their bytes until one of them writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) type Names = BTreeMap<Arc<Path>, u64>;

/// Files and names.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub inodes: BTreeMap<u64, Inode>,
    pub names: Names,
    pub durable_names: Names,
    pub unsynced_names: Vec<NameChange>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub is_dir: bool,
    /// As processes see it.
    pub cache: Arc<Vec<u8>>,
    /// As it is without the page cache.
    pub durable: Arc<Vec<u8>>,
    pub unsynced: Vec<Change>,
    pub words: Option<Words>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Set(Arc<Path>, u64),
    Remove(Arc<Path>),
    Rename(Arc<Path>, Arc<Path>, u64),
}

/// The words of a shared map. A clone is another map with the same values.
#[derive(Debug)]
pub(super) struct Words(Arc<Vec<AtomicU64>>);

impl Clone for Words {
    fn clone(&self) -> Words {
        Words(Arc::new(self.0.iter().map(|word| AtomicU64::new(word.load(Ordering::Acquire))).collect()))
    }
}

impl Words {
    pub fn of(bytes: &[u8]) -> Words {
        let word = |bytes: &[u8]| AtomicU64::new(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        Words(Arc::new(bytes.chunks_exact(8).map(word).collect()))
    }

    /// The same words.
    pub fn shared(&self) -> Arc<Vec<AtomicU64>> {
        Arc::clone(&self.0)
    }
}

impl Content {
    pub fn new() -> Content {
        let root = Inode { is_dir: true, ..Inode::default() };
        let names = Names::from([(Path::new("/").into(), 1)]);
        Content {
            inodes: BTreeMap::from([(1, root)]),
            durable_names: names.clone(),
            names,
            unsynced_names: Vec::new(),
        }
    }

    pub fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    pub fn sync_dir(&mut self, dir: &Path) {
        let (synced, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsynced_names)
            .into_iter()
            .partition(|change| change.dir() == Some(dir));
        self.unsynced_names = left;
        synced.iter().for_each(|change| change.apply(&mut self.durable_names));
    }

    /// Every file's path.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.names.iter().filter(|(_, number)| !self.inodes[number].is_dir);
        files.map(|(path, _)| path.to_path_buf()).collect()
    }

    pub fn lose(&mut self, path: &Path) {
        self.names.remove(path);
        self.durable_names.remove(path);
        let concerns = |change: &NameChange| match change {
            NameChange::Set(at, _) | NameChange::Remove(at) => **at == *path,
            NameChange::Rename(from, to, _) => **from == *path || **to == *path,
        };
        self.unsynced_names.retain(|change| !concerns(change));
    }
}

impl Inode {
    pub fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.cache));
        self.unsynced.push(change);
    }

    pub fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(Arc::make_mut(&mut self.durable));
        }
    }

    pub fn overwrite(&mut self, bytes: &[u8]) {
        self.unsynced.clear();
        self.cache = Arc::new(bytes.to_vec());
        self.durable = Arc::clone(&self.cache);
        self.words = None;
    }
}

impl Change {
    pub fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => content.resize(*len, 0),
        }
    }
}

impl NameChange {
    pub fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
            NameChange::Remove(path) => drop(names.remove(path)),
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(_, path, _) => path,
        }
    }

    fn dir(&self) -> Option<&Path> {
        self.path().parent()
    }
}
