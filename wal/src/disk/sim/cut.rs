//! What a power cut leaves of what was not synced.

use super::content::{Change, Content, Inode, NameChange, Names};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Not at all: every process is killed, the page cache stays as it is, and the boot is the same.
    Kill,
    /// All that was not synced is lost.
    LoseAll,
    /// All of it had reached the disk.
    KeepAll,
    /// By chance: any subset of writes in any order, torn at any byte or sector; lengths that grew before the bytes
    /// came, with zeros, old bytes or nonsense in them; any subset of names, in any order.
    Random(u64),
}

/// Sectors are written whole or not at all by most disks.
const SECTOR: usize = 512;

/// xorshift64*.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}

impl Content {
    /// Cuts the power. With [`Cut::Kill`] nothing changes.
    pub fn cut(&mut self, cut: Cut) {
        let mut chance = match cut {
            Cut::Kill => return,
            Cut::LoseAll | Cut::KeepAll => None,
            Cut::Random(seed) => Some(Chance::new(seed)),
        };
        let changes = std::mem::take(&mut self.unsynced_names);
        match &mut chance {
            None if cut == Cut::KeepAll => {
                changes.iter().for_each(|change| change.apply(&mut self.durable_names));
            }
            None => {}
            Some(chance) => self.lose_names(changes, chance),
        }
        prune(&mut self.durable_names);
        self.names = self.durable_names.clone();
        let stale = chance.as_mut().and_then(|chance| self.some_bytes(chance));
        for inode in self.inodes.values_mut() {
            match &mut chance {
                None if cut == Cut::KeepAll => inode.sync(),
                None => inode.unsynced.clear(),
                Some(chance) => inode.lose_unsynced(chance, true, stale.as_deref().map(Vec::as_slice)),
            }
            inode.keep_words(chance.as_mut(), cut == Cut::KeepAll);
            inode.cache = Arc::clone(&inode.durable);
        }
        let named: std::collections::BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| named.contains(number));
    }

    fn lose_names(&mut self, mut changes: Vec<NameChange>, chance: &mut Chance) {
        // Most file systems order their names; those that do not are worse.
        let (in_order, keep) = (chance.below(2) == 0, chance.below(4));
        while !changes.is_empty() {
            let pick = if in_order { 0 } else { chance.below(changes.len()) };
            let change = changes.remove(pick);
            if keep == 3 || chance.below(keep + 2) > 0 {
                change.apply(&mut self.durable_names);
            }
        }
    }

    /// The bytes of some file: what blocks hold that another file had before.
    fn some_bytes(&self, chance: &mut Chance) -> Option<Arc<Vec<u8>>> {
        let pick = chance.below(2 * self.inodes.len());
        let picked = self.inodes.values().nth(pick);
        // Old segments of a log are the largest files, and the most treacherous.
        let picked = picked.or_else(|| self.inodes.values().max_by_key(|inode| inode.durable.len()));
        picked.map(|inode| Arc::clone(&inode.durable))
    }
}

impl Inode {
    /// Each unsynced change reaches the disk, or not, or in part; where `shuffle` says so, in any order.
    pub fn lose_unsynced(&mut self, chance: &mut Chance, shuffle: bool, stale: Option<&[u8]>) {
        let mut changes = std::mem::take(&mut self.unsynced);
        let mood = chance.below(4);
        let sectors = chance.below(2) == 0;
        while !changes.is_empty() {
            let pick = if shuffle { chance.below(changes.len()) } else { 0 };
            let change = changes.remove(pick);
            let fate = if mood < 2 { chance.below(3) } else { mood - 2 };
            let durable = Arc::make_mut(&mut self.durable);
            match (fate, &change) {
                (0, Change::Write { offset, bytes }) => {
                    // The length may have come without the bytes.
                    let end = offset + bytes.len();
                    if durable.len() < end && chance.below(3) == 0 {
                        grow(durable, end, chance, stale);
                    }
                }
                (0, Change::SetLen(_)) => {}
                (2, Change::Write { offset, bytes }) => {
                    let (mut from, mut to) = (chance.below(bytes.len()), chance.below(bytes.len() + 1));
                    if from > to {
                        std::mem::swap(&mut from, &mut to);
                    }
                    if sectors {
                        let down = |at: usize| ((offset + at) / SECTOR * SECTOR).saturating_sub(*offset);
                        (from, to) = (down(from), if to == bytes.len() { to } else { down(to) });
                    }
                    if durable.len() < offset + from {
                        grow(durable, offset + from, chance, stale);
                    }
                    Change::Write { offset: offset + from, bytes: bytes[from..to].into() }.apply(durable);
                }
                _ => change.apply(durable),
            }
        }
    }

    /// The pages of a map may have been written back at any time, and in part.
    fn keep_words(&mut self, chance: Option<&mut Chance>, all: bool) {
        let Some(words) = self.words.take() else { return };
        let mut chance = chance;
        let durable = Arc::make_mut(&mut self.durable);
        for (place, word) in durable.chunks_exact_mut(8).zip(words.shared().iter()) {
            let keep = chance.as_mut().map_or(all, |chance| chance.below(4) > 0);
            if keep {
                place.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
            }
        }
    }
}

/// Extends a file with zeros, or with whatever the blocks held before.
fn grow(content: &mut Vec<u8>, end: usize, chance: &mut Chance, stale: Option<&[u8]>) {
    let from = content.len();
    content.resize(end, 0);
    match (chance.below(3), stale) {
        (0, _) | (1, None) => {}
        (1, Some(stale)) => {
            let old = stale.get(from..end.min(stale.len())).unwrap_or_default();
            content[from..from + old.len()].copy_from_slice(old);
        }
        _ => content[from..].iter_mut().for_each(|byte| *byte = chance.below(256) as u8),
    }
}

/// Names in directories that are not there are not there either.
fn prune(names: &mut Names) {
    let reached = |path: &Path| path.ancestors().skip(1).all(|dir| names.contains_key(dir));
    let lost: Vec<Arc<Path>> = names.keys().filter(|path| !reached(path)).cloned().collect();
    for path in lost {
        names.remove(&path);
    }
}
