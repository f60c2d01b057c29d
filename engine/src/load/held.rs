//! What open transactions hold in memory, all together: when it is more than their share of the budget,
//! whoever adds to it lets rows go to disk.

use asof_mvcc::TableId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fewer bytes of a table are not worth a file.
const SPILLED_BYTES_MIN: u64 = 64 << 10;

/// What all transactions of a database hold.
#[derive(Debug, Default)]
pub(crate) struct Share {
    bytes: AtomicU64,
    /// Transactions that hold any.
    holders: AtomicU64,
}

/// What one transaction holds, by table.
#[derive(Debug)]
pub(crate) struct Held {
    share: Arc<Share>,
    most: u64,
    tables: BTreeMap<TableId, u64>,
    bytes: u64,
}

impl Held {
    /// Nothing; `most` is what all transactions may hold.
    pub(crate) fn new(share: Arc<Share>, most: u64) -> Held {
        Held { share, most, tables: BTreeMap::new(), bytes: 0 }
    }

    /// Takes note of rows of a table.
    pub(crate) fn add(&mut self, table: TableId, bytes: u64) {
        if self.bytes == 0 && bytes > 0 {
            self.share.holders.fetch_add(1, Ordering::Relaxed);
        }
        *self.tables.entry(table).or_default() += bytes;
        self.bytes += bytes;
        self.share.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes note that rows of a table are not in memory any more.
    pub(crate) fn release(&mut self, table: TableId) {
        let bytes = self.tables.remove(&table).unwrap_or(0);
        self.bytes -= bytes;
        self.share.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.bytes == 0 && bytes > 0 {
            self.share.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The table whose rows should go to disk: the largest, where all transactions hold too much and this one more than
    /// an equal part of what they may.
    pub(crate) fn too_much(&self) -> Option<TableId> {
        let equal = self.most / self.share.holders.load(Ordering::Relaxed).max(1);
        if self.share.bytes.load(Ordering::Relaxed) < self.most || self.bytes < equal {
            return None;
        }
        let (table, bytes) = self.tables.iter().max_by_key(|(_, bytes)| **bytes)?;
        (*bytes >= SPILLED_BYTES_MIN.min(self.most).max(1)).then_some(*table)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for table in self.tables.keys().copied().collect::<Vec<_>>() {
            self.release(table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_more_than_an_equal_part_of_too_much_lets_the_largest_table_go() {
        let share = Arc::new(Share::default());
        let mut large = Held::new(share.clone(), 1 << 20);
        let mut small = Held::new(share.clone(), 1 << 20);
        large.add(1, 100 << 10);
        large.add(2, 800 << 10);
        assert_eq!(large.too_much(), None);
        small.add(1, 200 << 10);
        assert_eq!((large.too_much(), small.too_much()), (Some(2), None));
        large.release(2);
        assert_eq!(large.too_much(), None);
        drop((large, small));
        assert_eq!(share.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(share.holders.load(Ordering::Relaxed), 0);
    }
}
