//! How many requests reached the file system: what the kernel's caches did not answer.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests so far, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Names looked up.
    pub lookups: u64,
    /// Attributes asked for by inode.
    pub attributes: u64,
    /// Files opened.
    pub opens: u64,
    /// Pieces of files read.
    pub reads: u64,
    /// Pieces of directories listed.
    pub listings: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.lookups + self.attributes + self.opens + self.reads + self.listings
    }
}

/// Counts requests.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters {
    pub(crate) lookups: AtomicU64,
    pub(crate) attributes: AtomicU64,
    pub(crate) opens: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) listings: AtomicU64,
}

impl RequestCounters {
    /// One more.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Requests {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            lookups: get(&self.lookups),
            attributes: get(&self.attributes),
            opens: get(&self.opens),
            reads: get(&self.reads),
            listings: get(&self.listings),
        }
    }
}
