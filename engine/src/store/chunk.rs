//! Chunks of row versions, and merging ordered streams of them.

use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::{Keys, Version};

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
    order: Vec<usize>,
    started: bool,
    failed: bool,
}

/// What rows are ordered by. Begins tell only where they are known.
type Place<'a> = (&'a [u8], Option<&'a Version>);

fn place(chunk: &Chunk, row: usize) -> Place<'_> {
    (chunk.keys.get(row), chunk.begins.get(row))
}

/// The first row at or after `from` that is not before `limit`, looked for in growing steps.
fn gallop(chunk: &Chunk, from: usize, limit: Place<'_>) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step < chunk.len() && place(chunk, low + step) < limit {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(chunk.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if place(chunk, middle) < limit {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

impl Merge {
    fn head(&self, source: usize) -> (Place<'_>, usize) {
        let (chunk, row) = self.cursors[source].as_ref().expect("a source in order has a row");
        (place(chunk, *row), source)
    }

    /// Restores the order below a place of the heap.
    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.order.len() && self.head(self.order[child]) < self.head(self.order[least]) {
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

    /// Makes a source's next row its head; loads its next chunk where the current one is used up.
    fn load(&mut self, source: usize) -> Result<bool> {
        loop {
            if self.cursors[source].as_ref().is_some_and(|(chunk, row)| *row < chunk.len()) {
                return Ok(true);
            }
            match self.sources[source].next() {
                Some(chunk) => self.cursors[source] = Some((chunk?, 0)),
                None => {
                    self.cursors[source] = None;
                    return Ok(false);
                }
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        self.cursors = self.sources.iter().map(|_| None).collect();
        for source in 0..self.sources.len() {
            if self.load(source)? {
                self.order.push(source);
            }
        }
        for at in (0..self.order.len() / 2).rev() {
            self.sift_down(at);
        }
        Ok(())
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
            && let Some(&source) = self.order.first()
        {
            let (chunk, row) = self.cursors[source].as_ref().expect("a source in order has a row");
            let others = [1, 2].into_iter().filter_map(|at| self.order.get(at));
            let limit = others.map(|other| self.head(*other)).min();
            let until = match limit {
                // A tie: the source that comes first gives one row.
                Some((limit, _)) => gallop(chunk, *row, limit).max(row + 1),
                None => chunk.len(),
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
            if !self.load(source)? {
                self.order.swap_remove(0);
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
