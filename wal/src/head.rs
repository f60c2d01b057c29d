//! The durable head: how far the log is synced, in a small file that all processes map.
//!
//! Two slots are written in turn by whoever holds the log's lock, so that one of them is always whole. An entry
//! counts only if its checksum holds and it was written for this database, in this boot, in this very file. It is
//! a hint: without it nothing is lost, readers then find the end of the log themselves.
//! A word outside the slots says that a process waits for its turn; it is a hint as well, and under no checksum.

use crate::disk::{Disk, DiskFile, OpenMode, SharedWords};
use crate::error::Error;
use crate::position::Position;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The file's name.
pub(crate) const FILE_NAME: &str = "head";
/// The file's length.
pub(crate) const FILE_BYTES: usize = 4096;

const MAGIC: usize = 0;
const GENERATION: usize = MAGIC + 1;
const DATABASE: usize = GENERATION + 1;
const BOOT: usize = DATABASE + 2;
const DEVICE: usize = BOOT + 2;
const INODE: usize = DEVICE + 1;
const BORN: usize = INODE + 1;
const EPOCH: usize = BORN + 1;
const SEGMENT: usize = EPOCH + 1;
const OFFSET: usize = SEGMENT + 1;
const SEQUENCE: usize = OFFSET + 1;
const HOLDER: usize = SEQUENCE + 1;
const NONCE: usize = HOLDER + 1;
const CHECK: usize = NONCE + 1;
const SLOT_WORDS: usize = CHECK + 1;
const WAITING: usize = 2 * SLOT_WORDS;

const _: () = assert!(SLOT_WORDS == 16 && (WAITING + 1) * 8 <= FILE_BYTES);

/// "asofhd01", read as little endian.
pub(crate) const HEAD_MAGIC: u64 = u64::from_le_bytes(*b"asofhd01");
/// Set in the holder word when the holder left with nothing queued or in flight.
const CLEAN: u64 = 1 << 32;
/// A reader that meets two torn slots tries again this often.
const READ_ATTEMPTS: usize = 100;

/// What a valid entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub generation: u64,
    /// Everything before is synced.
    pub durable: Position,
    pub pid: u32,
    pub nonce: u64,
    /// Nothing was written behind `durable`.
    pub clean: bool,
    /// Both slots were whole and successive: there was nothing newer.
    pub intact: bool,
}

/// The mapped head of one log.
#[derive(Debug)]
pub(crate) struct Head {
    words: Arc<dyn SharedWords>,
    /// The words an entry must begin with, apart from its generation.
    lineage: [u64; EPOCH],
}

impl Head {
    /// Maps the head for reading or writing.
    pub fn map(disk: &dyn Disk, dir: &Path, database_id: &[u8; 16], write: bool) -> io::Result<Head> {
        let words = disk.shared_map(&dir.join(FILE_NAME), FILE_BYTES, write)?;
        let mut lineage = [0; EPOCH];
        lineage[MAGIC] = HEAD_MAGIC;
        lineage[DATABASE..BOOT].copy_from_slice(&words_of(database_id));
        lineage[BOOT..DEVICE].copy_from_slice(&words_of(&disk.boot_id()));
        let identity = words.identity();
        [lineage[DEVICE], lineage[INODE], lineage[BORN]] = [identity.device, identity.inode, identity.born];
        Ok(Head { words, lineage })
    }

    /// Maps the head for writing; makes it, all zeros, where it is missing or too short.
    pub fn map_or_create(
        disk: &dyn Disk,
        dir: &Path,
        database_id: &[u8; 16],
    ) -> Result<(Head, Arc<dyn DiskFile>), Error> {
        let path = dir.join(FILE_NAME);
        let file = disk.open(&path, OpenMode::Create).map_err(Error::io("open", &path))?;
        if file.len().map_err(Error::io("measure", &path))? < FILE_BYTES as u64 {
            file.write_all_at(&[0; FILE_BYTES], 0).map_err(Error::io("write", &path))?;
            file.sync_all().map_err(Error::io("sync", &path))?;
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        let head = Head::map(disk, dir, database_id, true).map_err(Error::io("map", &path))?;
        Ok((head, file))
    }

    /// The newest valid entry; none where the head is foreign or damaged.
    pub fn read(&self) -> Option<Entry> {
        for _ in 0..READ_ATTEMPTS {
            let slots = [self.load(0), self.load(1)];
            let entries = slots.map(|slot| self.decode(&slot));
            match entries {
                [Some(first), Some(second)] => {
                    let intact = first.generation.abs_diff(second.generation) == 1;
                    let newer = if first.generation > second.generation { first } else { second };
                    return Some(Entry { intact, ..newer });
                }
                // The second slot is being written. While it was, the first may have been written over, and the second
                // have held an entry that others go by already: then this one is out of date.
                [Some(_), None] if slots[0] != self.load(0) => std::hint::spin_loop(),
                [Some(entry), None] | [None, Some(entry)] => return Some(entry),
                // A reader may be unlucky twice, but a head that nobody writes to stays as it is.
                [None, None] if slots == [self.load(0), self.load(1)] => return None,
                [None, None] => std::hint::spin_loop(),
            }
        }
        None
    }

    /// Writes an entry over the older slot. Only the holder of the lock may.
    pub fn publish(&self, entry: &Entry) {
        let mut slot = [0; SLOT_WORDS];
        slot[..EPOCH].copy_from_slice(&self.lineage);
        slot[GENERATION] = entry.generation;
        let Position { segment, offset, sequence, epoch } = entry.durable;
        [slot[EPOCH], slot[SEGMENT], slot[OFFSET], slot[SEQUENCE]] = [epoch, segment, offset, sequence];
        slot[HOLDER] = u64::from(entry.pid) | if entry.clean { CLEAN } else { 0 };
        slot[NONCE] = entry.nonce;
        slot[CHECK] = check(&slot);
        let base = (entry.generation % 2) as usize * SLOT_WORDS;
        for (index, word) in slot.into_iter().enumerate() {
            self.words.store(base + index, word);
        }
    }

    /// Whether some process waits for its turn.
    pub fn someone_waits(&self) -> bool {
        self.words.load(WAITING) != 0
    }

    /// Says who waits for its turn; 0 for nobody.
    pub fn set_waiting(&self, pid: u32) {
        self.words.store(WAITING, pid.into());
    }

    fn load(&self, slot: usize) -> [u64; SLOT_WORDS] {
        std::array::from_fn(|index| self.words.load(slot * SLOT_WORDS + index))
    }

    fn decode(&self, slot: &[u64; SLOT_WORDS]) -> Option<Entry> {
        let foreign = (0..EPOCH).any(|index| index != GENERATION && slot[index] != self.lineage[index]);
        let boot_unknown = self.lineage[BOOT..DEVICE] == [0, 0];
        if foreign || boot_unknown || slot[CHECK] != check(slot) {
            return None;
        }
        Some(Entry {
            generation: slot[GENERATION],
            durable: Position {
                segment: slot[SEGMENT],
                offset: slot[OFFSET],
                sequence: slot[SEQUENCE],
                epoch: slot[EPOCH],
            },
            pid: slot[HOLDER] as u32,
            nonce: slot[NONCE],
            clean: slot[HOLDER] & CLEAN != 0,
            intact: false,
        })
    }
}

fn check(slot: &[u64; SLOT_WORDS]) -> u64 {
    let mut bytes = [0; CHECK * 8];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(slot) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    (slot[GENERATION] << 32) | u64::from(crc32fast::hash(&bytes))
}

fn words_of(id: &[u8; 16]) -> [u64; 2] {
    [0, 8].map(|at| u64::from_le_bytes(id[at..at + 8].try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileId;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    /// Words that a writer changes while they are read.
    #[derive(Debug)]
    struct Words {
        words: Vec<AtomicU64>,
        loads: AtomicUsize,
        /// Before the n-th load all words become these.
        change: (usize, Vec<u64>),
    }

    impl SharedWords for Words {
        fn load(&self, index: usize) -> u64 {
            if self.loads.fetch_add(1, Ordering::Relaxed) == self.change.0 {
                self.change.1.iter().enumerate().for_each(|(index, word)| self.store(index, *word));
            }
            self.words[index].load(Ordering::Relaxed)
        }

        fn store(&self, index: usize, value: u64) {
            self.words[index].store(value, Ordering::Relaxed);
        }

        fn identity(&self) -> FileId {
            FileId { device: 1, inode: 1, born: 1 }
        }
    }

    fn head(words: &[u64], change: (usize, Vec<u64>)) -> (Arc<Words>, Head) {
        let words = words.iter().map(|word| AtomicU64::new(*word)).collect();
        let words = Arc::new(Words { words, loads: AtomicUsize::new(0), change });
        (Arc::clone(&words), Head { words, lineage: [1; EPOCH] })
    }

    /// All words after these generations were published, and so many words of the last one only.
    fn published(generations: &[u64], of_last: usize) -> Vec<u64> {
        let publish = |generations: &[u64]| {
            let (words, head) = head(&[0; 2 * SLOT_WORDS], (usize::MAX, Vec::new()));
            for generation in generations {
                let durable = Position { sequence: *generation, ..Position::START };
                let entry =
                    Entry { generation: *generation, durable, pid: 1, nonce: 1, clean: false, intact: true };
                head.publish(&entry);
            }
            words.words.iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<u64>>()
        };
        let (last, before) = generations.split_last().expect("there is one");
        let (mut words, after) = (publish(before), publish(generations));
        let base = (*last % 2) as usize * SLOT_WORDS;
        words[base..base + of_last].copy_from_slice(&after[base..base + of_last]);
        words
    }

    /// Whatever a writer does while the head is read: what was published before is seen.
    #[test]
    fn a_reader_that_a_writer_overtakes_sees_what_was_published_before_it_began() {
        for began in 2..6 {
            for overtaken in 0..4 {
                for of_last in 0..=SLOT_WORDS {
                    for at in 0..=3 * SLOT_WORDS {
                        let generations: Vec<u64> = (1..=began + overtaken).collect();
                        let before = published(&generations[..began as usize], SLOT_WORDS);
                        let (_, head) = head(&before, (at, published(&generations, of_last)));
                        let seen = head.read().map(|entry| entry.generation);
                        let whole =
                            if overtaken == 0 { began - u64::from(of_last < SLOT_WORDS) } else { began };
                        assert!(
                            seen >= Some(whole),
                            "{seen:?} of {whole}, {overtaken} more, {of_last} words, at {at}"
                        );
                    }
                }
            }
        }
    }
}
