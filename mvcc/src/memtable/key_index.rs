//! Where the rows of a key are: a hash table of slots, newest first.
//!
//! Each entry is 8 bytes: 32 bits of the key's hash, and the newest slot with that hash; older slots of the same hash
//! are chained. Keys are not kept here: who looks one up compares the rows' keys. Rows are indexed when the first
//! key is looked up after they came, so that replaying a log does not pay for it.

use super::{NO_SLOT, Slot};

const EMPTY: u64 = u64::MAX;
const SIZE_MIN: usize = 64;

/// Slots by hash of their keys. No slot has the number [`NO_SLOT`], so that no entry looks empty.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    /// A power of two of entries, at most three quarters taken: hash << 32 | newest slot.
    entries: Vec<u64>,
    taken: usize,
    /// The slot before this one whose key has the same hash.
    previous: Vec<Slot>,
}

impl KeyIndex {
    /// How many slots are indexed: all below.
    pub fn indexed(&self) -> usize {
        self.previous.len()
    }

    /// Makes room for this many slots more.
    pub fn reserve(&mut self, more: usize) {
        self.previous.reserve(more);
        let wanted = self.taken + more;
        if wanted * 4 > self.entries.len() * 3 {
            self.resize((wanted * 4 / 3 + 1).next_power_of_two().max(SIZE_MIN));
        }
    }

    /// Indexes the next slot.
    pub fn push(&mut self, hash: u32) {
        if (self.taken + 1) * 4 > self.entries.len() * 3 {
            self.resize((self.entries.len() * 2).max(SIZE_MIN));
        }
        let slot = self.previous.len() as Slot;
        let place = self.place(hash);
        let previous = match self.entries[place] {
            EMPTY => {
                self.taken += 1;
                NO_SLOT
            }
            entry => entry as Slot,
        };
        self.entries[place] = u64::from(hash) << 32 | u64::from(slot);
        self.previous.push(previous);
    }

    /// The newest slot of a hash, or [`NO_SLOT`].
    pub fn newest(&self, hash: u32) -> Slot {
        if self.entries.is_empty() {
            return NO_SLOT;
        }
        match self.entries[self.place(hash)] {
            EMPTY => NO_SLOT,
            entry => entry as Slot,
        }
    }

    /// The slot before this one with the same hash, or [`NO_SLOT`].
    pub fn before(&self, slot: Slot) -> Slot {
        self.previous[slot as usize]
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<u64>() + self.previous.capacity() * size_of::<Slot>()
    }

    /// Where a hash is, or would be.
    fn place(&self, hash: u32) -> usize {
        let mask = self.entries.len() - 1;
        // The high bits spread entries where there are fewer than 2^32; multiplying brings all of them down.
        let mut place = (u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & mask;
        while self.entries[place] != EMPTY && (self.entries[place] >> 32) as u32 != hash {
            place = (place + 1) & mask;
        }
        place
    }

    fn resize(&mut self, size: usize) {
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; size]);
        for entry in old.into_iter().filter(|entry| *entry != EMPTY) {
            let place = self.place((entry >> 32) as u32);
            self.entries[place] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_a_hash_come_newest_first_however_many_hashes_there_are() {
        let count: u32 = if cfg!(miri) { 300 } else { 20_000 };
        let hash = |slot: u32| (slot % (count / 3)).wrapping_mul(0x0100_0193);
        let mut index = KeyIndex::default();
        assert_eq!(index.newest(7), NO_SLOT);
        for slot in 0..count {
            if slot == count / 2 {
                index.reserve(count as usize);
            }
            index.push(hash(slot));
        }
        for start in 0..count / 3 {
            let mut found = Vec::new();
            let mut slot = index.newest(hash(start));
            while slot != NO_SLOT {
                found.push(slot);
                slot = index.before(slot);
            }
            let expected: Vec<u32> = (0..count).rev().filter(|slot| slot % (count / 3) == start).collect();
            assert_eq!(found, expected);
            if start > 100 {
                break;
            }
        }
        assert_eq!(index.indexed(), count as usize);
    }

    #[test]
    fn the_highest_hash_is_no_empty_entry() {
        let mut index = KeyIndex::default();
        index.push(u32::MAX);
        assert_eq!(index.newest(u32::MAX), 0);
        index.push(u32::MAX);
        assert_eq!((index.newest(u32::MAX), index.before(1)), (1, 0));
    }
}
