//! A disk that says that it has synced and has not: what shows that the tests of power cuts can fail.

use super::call::{Call, WatchedDisk, Watcher};
use asof_wal::Disk;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Which syncs are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgetful {
    /// Those of files.
    Files,
    /// Those of directories.
    Directories,
}

impl Forgetful {
    /// The same disk, but for the syncs that are left out.
    pub fn over(self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(WatchedDisk::new(disk, Arc::new(self)))
    }
}

impl Watcher for Forgetful {
    fn call(
        &self,
        _file: u64,
        call: Call<'_>,
        perform: &mut dyn FnMut(Option<usize>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match (self, call) {
            (Forgetful::Files, Call::Sync) | (Forgetful::Directories, Call::SyncDir(_)) => Ok(0),
            _ => perform(None),
        }
    }

    fn opened(&self, _path: &Path) -> u64 {
        0
    }
}
