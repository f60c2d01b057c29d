//! The content of a block device, and the record of every write and flush, with what was acknowledged in between.
//!
//! [`Replay`] goes through the record and gives the image as a power cut at any point could leave it: all that was
//! flushed, and of the rest any subset, in any order, torn at 512 bytes.

use crate::Chance;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// A sparse image: blocks that are not there are zeros.
#[derive(Clone, Debug, Default)]
pub struct Blocks(BTreeMap<u64, Arc<[u8; BLOCK]>>);

#[derive(Clone, Debug)]
enum Event {
    Write(u64, Arc<[u8]>),
    Flush,
    Acknowledged(u64),
}

/// A block device in memory that remembers.
#[derive(Debug)]
pub struct Journal {
    bytes: u64,
    base: Blocks,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Blocks,
    events: Vec<Event>,
}

impl Blocks {
    /// Reads an image file.
    pub fn read_file(path: &Path) -> io::Result<(Blocks, u64)> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut blocks = Blocks::default();
        let mut at = 0;
        // Holes are passed over: images are much larger than what is in them.
        while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
            let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data))?;
            let (first, last) = (data / BLOCK as u64, end.min(bytes).div_ceil(BLOCK as u64));
            for number in first..last {
                let mut block = [0; BLOCK];
                file.read_exact_at(&mut block, number * BLOCK as u64)?;
                blocks.put(number, block);
            }
            at = end;
        }
        Ok((blocks, bytes))
    }

    /// Writes a sparse image file.
    pub fn write_file(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(bytes)?;
        for (number, block) in &self.0 {
            file.write_all_at(&block[..], number * BLOCK as u64)?;
        }
        Ok(())
    }

    fn put(&mut self, number: u64, block: [u8; BLOCK]) {
        if block.iter().all(|byte| *byte == 0) {
            self.0.remove(&number);
        } else {
            self.0.insert(number, Arc::new(block));
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, from) = (at / BLOCK as u64, at as usize % BLOCK);
            let count = (BLOCK - from).min(bytes.len() - done);
            let mut block = self.0.get(&number).map_or([0; BLOCK], |block| **block);
            block[from..from + count].copy_from_slice(&bytes[done..done + count]);
            self.put(number, block);
            done += count;
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let (number, from) = (at / BLOCK as u64, at as usize % BLOCK);
            let count = (BLOCK - from).min(out.len() - done);
            if let Some(block) = self.0.get(&number) {
                out[done..done + count].copy_from_slice(&block[from..from + count]);
            }
            done += count;
        }
    }

    /// A digest of the image.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (number, block) in &self.0 {
            hasher.update(&number.to_le_bytes());
            hasher.update(&block[..]);
        }
        hasher.finalize().into()
    }
}

impl Journal {
    /// A device that begins as an image of so many bytes, all of it durable.
    pub fn new(base: Blocks, bytes: u64) -> Journal {
        let state = State { now: base.clone(), events: Vec::new() };
        Journal { bytes, base, state: Mutex::new(state) }
    }

    /// The device's size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads, no further than the end.
    pub fn read(&self, offset: u64, count: usize) -> Vec<u8> {
        let count = (count as u64).min(self.bytes.saturating_sub(offset)) as usize;
        let mut out = vec![0; count];
        self.state.lock().now.read(offset, &mut out);
        out
    }

    /// Writes.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.now.write(offset, bytes);
        state.events.push(Event::Write(offset, bytes.into()));
    }

    /// What was written is safe from here on.
    pub fn flush(&self) {
        self.state.lock().events.push(Event::Flush);
    }

    /// Something was acknowledged to a user, who may rely on it from here on.
    pub fn acknowledge(&self, what: u64) {
        self.state.lock().events.push(Event::Acknowledged(what));
    }

    /// Entries so far.
    pub fn entries(&self) -> usize {
        self.state.lock().events.len()
    }

    /// Begins to go through the record.
    pub fn replay(&self) -> Replay {
        let events = self.state.lock().events.clone();
        Replay {
            events,
            next: 0,
            safe: self.base.clone(),
            unsafe_writes: Vec::new(),
            acknowledged: Vec::new(),
        }
    }
}

/// Goes through a record, forwards.
#[derive(Clone, Debug)]
pub struct Replay {
    events: Vec<Event>,
    next: usize,
    safe: Blocks,
    unsafe_writes: Vec<(u64, Arc<[u8]>)>,
    /// What was acknowledged so far.
    pub acknowledged: Vec<u64>,
}

impl Replay {
    /// Goes on to just before an entry.
    pub fn advance(&mut self, entry: usize) {
        while self.next < entry.min(self.events.len()) {
            match &self.events[self.next] {
                Event::Write(offset, bytes) => self.unsafe_writes.push((*offset, Arc::clone(bytes))),
                Event::Flush => {
                    for (offset, bytes) in std::mem::take(&mut self.unsafe_writes) {
                        self.safe.write(offset, &bytes);
                    }
                }
                Event::Acknowledged(what) => self.acknowledged.push(*what),
            }
            self.next += 1;
        }
    }

    /// The device as a power cut now could leave it.
    pub fn cut(&self, chance: &mut Chance) -> Blocks {
        let mut image = self.safe.clone();
        let mut writes = self.unsafe_writes.clone();
        let mood = chance.below(4);
        while !writes.is_empty() {
            let next = if mood == 0 { 0 } else { chance.below(writes.len() as u64) as usize };
            let (offset, bytes) = writes.remove(next);
            match mood {
                0 => image.write(offset, &bytes),
                1 => {}
                _ => match chance.below(3) {
                    0 => {}
                    1 => image.write(offset, &bytes),
                    _ => {
                        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                            if chance.one_in(2) {
                                image.write(offset + (number * SECTOR) as u64, sector);
                            }
                        }
                    }
                },
            }
        }
        image
    }
}
