//! The keys that a table has, walked along with those of a load, which ascend too: each is looked at
//! once, of row groups that end before the load begins none, and none behind the last key of the load.

use crate::error::Result;
use crate::scan::keys_from;
use crate::state::State;
use crate::store::chunk::Chunks;
use asof_mvcc::{Keys, Table, Version};

/// The keys of a table at a version, from some key on.
pub(super) struct Existing {
    chunks: Option<Chunks>,
    keys: Keys,
    next: usize,
}

impl Existing {
    /// Looks for the keys that are not below `first`.
    pub(super) fn open(state: &State, table: &Table, version: Version, first: &[u8]) -> Result<Existing> {
        let chunks = match reaches(state, table, version, first) {
            true => Some(keys_from(state, table, version, first)?),
            false => None,
        };
        Ok(Existing { chunks, keys: Keys::default(), next: 0 })
    }

    /// The first row whose key is there. Keys ascend, from one call to the next as well.
    pub(super) fn find(&mut self, keys: &Keys) -> Result<Option<usize>> {
        for (row, key) in keys.iter().enumerate() {
            if !self.advance(key)? {
                return Ok(None);
            }
            if self.keys.get(self.next) == key {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Goes to the first key that is not below `key`; `false` where there is none.
    fn advance(&mut self, key: &[u8]) -> Result<bool> {
        loop {
            let length = self.keys.len();
            if length > 0 && self.keys.get(length - 1) >= key {
                let (mut low, mut high) = (self.next, length - 1);
                while low < high {
                    let middle = low + (high - low) / 2;
                    match self.keys.get(middle) < key {
                        true => low = middle + 1,
                        false => high = middle,
                    }
                }
                self.next = low;
                return Ok(true);
            }
            match self.chunks.as_mut().and_then(Iterator::next) {
                Some(chunk) => (self.keys, self.next) = (chunk?.keys, 0),
                None => {
                    self.chunks = None;
                    self.keys = Keys::default();
                    return Ok(false);
                }
            }
        }
    }
}

/// Whether any row of the table may have a key that is not below `first`.
fn reaches(state: &State, table: &Table, version: Version, first: &[u8]) -> bool {
    let loaded = state.loaded_files(table.id, version);
    let mut files = state.generation.data_files(table.id, version).chain(loaded.iter().map(|file| &**file));
    if files.any(|file| !file.history && &file.max_key[..] >= first) {
        return true;
    }
    let Some(memtable) = state.memtable(table.id) else { return false };
    let selections = memtable.read().visible_at(version);
    selections.iter().any(|some| some.rows.iter().any(|row| some.batch.keys.get(*row as usize) >= first))
}
