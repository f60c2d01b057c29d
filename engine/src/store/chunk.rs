//! Chunks of row versions, and merging ordered streams of them.

use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::{Keys, Version};
use std::cmp::Ordering;

/// Row versions in order of key, then begin.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The rows.
    pub rows: RecordBatch,
    /// Their keys; empty where they were not asked for.
    pub keys: Keys,
    /// When each begins; empty where lives were not asked for, as the ends are.
    pub begins: Vec<Version>,
    /// When each ends; [`Version::FOREVER`] while alive.
    pub ends: Vec<Version>,
}

impl Chunk {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are none.
    #[allow(dead_code, reason = "goes with the length")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An ordered stream of chunks.
pub type Chunks = Box<dyn Iterator<Item = Result<Chunk>> + Send>;

/// Rows of a merged chunk.
const MERGED_ROWS: usize = 8_192;

/// Merges ordered streams into one.
pub fn merge(mut sources: Vec<Chunks>) -> Chunks {
    match sources.len() {
        0 => Box::new(std::iter::empty()),
        1 => sources.pop().expect("there is one"),
        _ => {
            Box::new(Merge { sources, cursors: Vec::new(), order: Vec::new(), started: false, failed: false })
        }
    }
}

/// Copies stretches of rows rather than rows: from the source whose next row comes first, all rows up to the next row
/// of any other.
struct Merge {
    sources: Vec<Chunks>,
    /// The current chunk of each source, and the next row in it.
    cursors: Vec<Option<(Chunk, usize)>>,
    /// Sources with rows left: a binary heap, the one whose row comes first on top.
    order: Vec<Head>,
    started: bool,
    failed: bool,
}

/// A source in order, and the first bytes of its next row's key: most comparisons need no more.
#[derive(Clone, Copy)]
struct Head {
    prefix: u128,
    source: usize,
}

/// The first bytes of a key, as a number that is ordered as they are; zeros behind its end.
fn prefix_of(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    match key.first_chunk() {
        Some(first) => bytes = *first,
        None => bytes[..key.len()].copy_from_slice(key),
    }
    u128::from_be_bytes(bytes)
}

/// What rows are ordered by. Begins tell only where they are known.
type Place<'a> = (&'a [u8], Option<&'a Version>);

fn place(chunk: &Chunk, row: usize) -> Place<'_> {
    (chunk.keys.get(row), chunk.begins.get(row))
}

/// The first row at or after `from` that is not before `limit`, whose key has this prefix, looked for in growing steps.
fn gallop(chunk: &Chunk, from: usize, (prefix, limit): (u128, Place<'_>)) -> usize {
    let is_before = |row: usize| match prefix_of(chunk.keys.get(row)).cmp(&prefix) {
        Ordering::Equal => place(chunk, row) < limit,
        order => order.is_lt(),
    };
    let (mut low, mut step) = (from, 1);
    while low + step < chunk.len() && is_before(low + step) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(chunk.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

impl Merge {
    fn next_place(&self, source: usize) -> Place<'_> {
        let (chunk, row) = self.cursors[source].as_ref().expect("a source in order has a row");
        place(chunk, *row)
    }

    /// Of equal rows, that of the source that was given first comes first.
    fn is_before(&self, a: Head, b: Head) -> bool {
        match a.prefix.cmp(&b.prefix) {
            Ordering::Equal => (self.next_place(a.source), a.source) < (self.next_place(b.source), b.source),
            order => order.is_lt(),
        }
    }

    /// Restores the order below a place of the heap.
    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.order.len() && self.is_before(self.order[child], self.order[least]) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.order.swap(at, least);
            at = least;
        }
    }

    /// A source's next row, from its next chunk where the current one is used up; none at its end.
    fn load(&mut self, source: usize) -> Result<Option<Head>> {
        loop {
            if let Some((chunk, row)) =
                self.cursors[source].as_ref().filter(|(chunk, row)| *row < chunk.len())
            {
                return Ok(Some(Head { prefix: prefix_of(chunk.keys.get(*row)), source }));
            }
            match self.sources[source].next() {
                Some(chunk) => self.cursors[source] = Some((chunk?, 0)),
                None => {
                    self.cursors[source] = None;
                    return Ok(None);
                }
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        self.cursors = self.sources.iter().map(|_| None).collect();
        for source in 0..self.sources.len() {
            let head = self.load(source)?;
            self.order.extend(head);
        }
        for at in (0..self.order.len() / 2).rev() {
            self.sift_down(at);
        }
        Ok(())
    }

    /// The end of the rows from one on that come before another source's next. At a tie the source that comes first gives
    /// one row.
    fn stretch(&self, chunk: &Chunk, row: usize, other: Head) -> usize {
        gallop(chunk, row, (other.prefix, self.next_place(other.source))).max(row + 1)
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if !std::mem::replace(&mut self.started, true) {
            self.start()?;
        }
        let mut used: Vec<RecordBatch> = Vec::new();
        // Which of `used` the current chunk of a source is.
        let mut slots: Vec<Option<usize>> = vec![None; self.sources.len()];
        let mut stretches: Vec<(usize, usize, usize)> = Vec::new();
        let (mut keys, mut begins, mut ends) = (Keys::with_capacity(MERGED_ROWS), Vec::new(), Vec::new());
        while keys.len() < MERGED_ROWS
            && let Some(&Head { source, .. }) = self.order.first()
        {
            let (chunk, row) = self.cursors[source].as_ref().expect("a source in order has a row");
            let until = match self.order[1..] {
                [] => chunk.len(),
                [one] => self.stretch(chunk, *row, one),
                [one, other, ..] => {
                    self.stretch(chunk, *row, if self.is_before(other, one) { other } else { one })
                }
            };
            let until = until.min(row + MERGED_ROWS - keys.len());
            let slot = *slots[source].get_or_insert_with(|| {
                used.push(chunk.rows.clone());
                used.len() - 1
            });
            stretches.push((slot, *row, until - row));
            (*row..until).for_each(|row| keys.push(chunk.keys.get(row)));
            if !chunk.begins.is_empty() {
                begins.extend_from_slice(&chunk.begins[*row..until]);
                ends.extend_from_slice(&chunk.ends[*row..until]);
            }
            let whole = until == chunk.len();
            self.cursors[source].as_mut().expect("it has one").1 = until;
            if whole {
                slots[source] = None;
            }
            match self.load(source)? {
                Some(head) => self.order[0] = head,
                None => drop(self.order.swap_remove(0)),
            }
            self.sift_down(0);
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let rows = match &stretches[..] {
            [(slot, first, count)] => used[*slot].slice(*first, *count),
            _ if used[0].num_columns() == 0 => {
                crate::adapt::batch_of(used[0].schema(), Vec::new(), keys.len())?
            }
            _ => {
                let picks: Vec<(usize, usize)> = stretches
                    .iter()
                    .flat_map(|(slot, first, count)| (*first..first + count).map(|row| (*slot, row)))
                    .collect();
                interleave_record_batch(&used.iter().collect::<Vec<_>>(), &picks)?
            }
        };
        Ok(Some(Chunk { rows, keys, begins, ends }))
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
