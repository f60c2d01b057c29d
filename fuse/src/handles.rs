//! Open files and directories.
//!
//! Invariant: an open file keeps its bytes (a log gets more of them). Its rendering stays referenced until it is closed,
//! whatever names move and whatever the cache drops meanwhile.

use crate::nodes::Inode;
use crate::view::Listed;
use asof_engine::Version;
use asof_engine::view::{LogFile, View};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open file or directory.
#[derive(Debug)]
pub enum Handle {
    /// A file.
    File(OpenFile),
    /// A directory.
    Directory(OpenDirectory),
}

/// An open file.
#[derive(Debug)]
pub struct OpenFile {
    /// The inode it was opened by.
    pub inode: Arc<Inode>,
    /// Its bytes.
    pub content: Content,
}

/// The bytes of an open file.
#[derive(Debug)]
pub enum Content {
    /// Small, made when the file was opened.
    Bytes(Vec<u8>),
    /// Rendered by the engine, perhaps only when it is first read.
    View(Arc<View>),
    /// A log that grows.
    Log(Arc<LogFile>),
}

/// An open directory.
#[derive(Debug)]
pub struct OpenDirectory {
    /// The inode it was opened by.
    pub inode: Arc<Inode>,
    /// The newest version when its reading began: what a streamed listing ends with.
    pub newest: Mutex<Version>,
    /// The entries of a directory that is listed at once, taken when its reading began.
    pub entries: Mutex<Arc<Vec<Listed>>>,
}

/// Everything open, by the number the kernel was told.
#[derive(Debug, Default)]
pub struct Handles {
    open: RwLock<HashMap<u64, Arc<Handle>>>,
    next: AtomicU64,
}

impl Handles {
    /// Keeps a handle; gives its number.
    pub fn add(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().insert(number, Arc::new(handle));
        number
    }

    /// The handle of a number.
    pub fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.read().get(&number).cloned()
    }

    /// Closes a handle.
    pub fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.write().remove(&number)
    }

    /// How many files and directories are open.
    pub fn len(&self) -> usize {
        self.open.read().len()
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.open.read().is_empty()
    }
}
