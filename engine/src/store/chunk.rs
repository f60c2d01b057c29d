//! Chunks of row versions, and merging ordered streams of them.

use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::{Keys, Version};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Row versions in order of key, then begin.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The rows.
    pub rows: RecordBatch,
    /// Their keys.
    pub keys: Keys,
    /// When each begins.
    pub begins: Vec<Version>,
    /// When each ends; [`Version::FOREVER`] while alive.
    pub ends: Vec<Version>,
    /// In chunks of a data file: each row's position in it.
    pub positions: Vec<u32>,
}

impl Chunk {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// An ordered stream of chunks.
pub type Chunks = Box<dyn Iterator<Item = Result<Chunk>> + Send>;

/// Rows of a merged chunk.
const MERGED_ROWS: usize = 8_192;

/// Merges ordered streams into one. Positions are lost.
pub fn merge(mut sources: Vec<Chunks>) -> Chunks {
    match sources.len() {
        0 => Box::new(std::iter::empty()),
        1 => sources.pop().expect("there is one"),
        _ => Box::new(Merge {
            sources,
            cursors: Vec::new(),
            heap: BinaryHeap::new(),
            started: false,
            failed: false,
        }),
    }
}

struct Merge {
    sources: Vec<Chunks>,
    /// The current chunk of each source, and the next row in it.
    cursors: Vec<Option<(Chunk, usize)>>,
    heap: BinaryHeap<Head>,
    started: bool,
    failed: bool,
}

/// The next row of a source; the heap's greatest is the one to come first.
struct Head {
    key: Box<[u8]>,
    begin: Version,
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        (&other.key, other.begin, other.source).cmp(&(&self.key, self.begin, self.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Merge {
    /// Puts a source's next row into the heap; loads its next chunk where the current one is used up.
    fn push_head(&mut self, source: usize) -> Result<()> {
        loop {
            if let Some((chunk, row)) = &self.cursors[source]
                && *row < chunk.len()
            {
                let (key, begin) = (chunk.keys.get(*row).into(), chunk.begins[*row]);
                self.heap.push(Head { key, begin, source });
                return Ok(());
            }
            match self.sources[source].next() {
                Some(chunk) => self.cursors[source] = Some((chunk?, 0)),
                None => {
                    self.cursors[source] = None;
                    return Ok(());
                }
            }
        }
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if !self.started {
            self.started = true;
            self.cursors = self.sources.iter().map(|_| None).collect();
            for source in 0..self.sources.len() {
                self.push_head(source)?;
            }
        }
        let mut used: Vec<RecordBatch> = Vec::new();
        // Which of `used` the current chunk of a source is.
        let mut slots: Vec<Option<usize>> = vec![None; self.sources.len()];
        let mut picks = Vec::with_capacity(MERGED_ROWS);
        let mut keys = Keys::with_capacity(MERGED_ROWS);
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        while picks.len() < MERGED_ROWS
            && let Some(head) = self.heap.pop()
        {
            let source = head.source;
            let (chunk, row) = self.cursors[source].as_mut().expect("a head comes from a chunk");
            let slot = *slots[source].get_or_insert_with(|| {
                used.push(chunk.rows.clone());
                used.len() - 1
            });
            picks.push((slot, *row));
            keys.push(&head.key);
            begins.push(chunk.begins[*row]);
            ends.push(chunk.ends[*row]);
            *row += 1;
            if *row == chunk.len() {
                slots[source] = None;
            }
            self.push_head(source)?;
        }
        if picks.is_empty() {
            return Ok(None);
        }
        let rows = if used[0].num_columns() == 0 {
            crate::adapt::batch_of(used[0].schema(), Vec::new(), picks.len())?
        } else {
            interleave_record_batch(&used.iter().collect::<Vec<_>>(), &picks)?
        };
        Ok(Some(Chunk { rows, keys, begins, ends, positions: Vec::new() }))
    }
}

impl Iterator for Merge {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Result<Chunk>> {
        if self.failed {
            return None;
        }
        let next = self.next_chunk();
        // An iterator that failed stays failed.
        self.failed = next.is_err();
        next.transpose()
    }
}
