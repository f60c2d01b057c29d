//! Files that the kernel reads by itself: the one sealed file behind a rendering, without a request to us.
//!
//! Invariant: while an inode is open, all its opens are of one kind and, passed through, of one backing file; the
//! kernel refuses a mixture. Who is not allowed to pass files through (it takes CAP_SYS_ADMIN) or whose files lie on
//! a stacked file system is found out at the first try, and everything goes on through requests.

use crate::view::{FileSystem, Opened};
use fuser::{BackingId, FileHandle, FopenFlags, ReplyOpen};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The kinds of the opens of each open inode.
#[derive(Debug, Default)]
pub struct Passthrough {
    enabled: AtomicBool,
    open: Mutex<HashMap<u64, Opens>>,
}

#[derive(Debug)]
struct Opens {
    count: u64,
    /// The backing file of all of them, or none of them has one.
    backing: Option<BackingId>,
}

impl Passthrough {
    /// The kernel knows how.
    pub fn enable(&self) {
        self.enabled.store(true, Ordering::Relaxed);
    }

    /// Whether it has worked so far.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Answers an open: by passing the file through where that is possible.
    pub fn reply(&self, view: &FileSystem, inode: u64, opened: Opened, reply: ReplyOpen) {
        let mut open = self.open.lock();
        let opens = open.entry(inode).or_insert_with(|| {
            let backing = match self.is_enabled() {
                true => view.with_sealed_file(opened.handle, |sealed| reply.open_backing(sealed)),
                false => None,
            };
            let backing = backing.and_then(|backing| {
                backing
                    .inspect_err(|error| {
                        log::info!("files are not passed through to the kernel: {error}");
                        self.enabled.store(false, Ordering::Relaxed);
                    })
                    .ok()
            });
            Opens { count: 0, backing }
        });
        opens.count += 1;
        let handle = FileHandle(opened.handle);
        match &opens.backing {
            // The kernel allows no cache flags beside a backing file, whose cache is used instead.
            Some(backing) => reply.opened_passthrough(handle, FopenFlags::empty(), backing),
            None => {
                let mut flags = FopenFlags::empty();
                flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
                flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct);
                reply.opened(handle, flags);
            }
        }
    }

    /// One open less; with the last, the backing file goes.
    pub fn release(&self, inode: u64) {
        let mut open = self.open.lock();
        if let Some(opens) = open.get_mut(&inode) {
            opens.count -= 1;
            if opens.count == 0 {
                open.remove(&inode);
            }
        }
    }
}
