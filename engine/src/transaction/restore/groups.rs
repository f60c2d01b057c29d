//! Row versions of a key side by side: how it was, how it is.
//!
//! Invariant: a group has all that the streams give of one key, and groups come in order of keys. Memory is that of a few
//! chunks.

use crate::equal::equal_rows;
use crate::error::Result;
use crate::scan::Life;
use crate::store::chunk::{Chunk, Chunks, merge};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use asof_mvcc::{Keys, Version};

/// Sides that a group may have.
pub(super) const SIDES: usize = 4;

/// The side of a row version, by its begin and end; none where it is not wanted.
pub(super) type SideOf = Box<dyn Fn(Version, Version) -> Option<usize> + Send>;

/// A row: a batch of the block, and a row in it.
pub(super) type Pick = (usize, usize);

/// Some keys with their rows.
pub(super) struct Block {
    batches: Vec<RecordBatch>,
    /// The keys.
    pub(super) keys: Keys,
    /// For each key its row on each side.
    pub(super) groups: Vec<[Option<Pick>; SIDES]>,
}

impl Block {
    /// Takes rows of another block, each a batch of its own.
    fn take_over(&mut self, rows: [Option<RecordBatch>; SIDES]) -> [Option<Pick>; SIDES] {
        rows.map(|row| {
            self.batches.push(row?);
            Some((self.batches.len() - 1, 0))
        })
    }

    /// Rows side by side.
    pub(super) fn take(&self, picks: &[Pick]) -> Result<RecordBatch> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        Ok(match (picks, batches.first()) {
            ([], Some(first)) => first.slice(0, 0),
            _ => interleave_record_batch(&batches, picks)?,
        })
    }

    /// One row.
    pub(super) fn row(&self, (batch, row): Pick) -> (&RecordBatch, usize) {
        (&self.batches[batch], row)
    }

    /// Of each group, whether its rows on two sides are equal in the columns marked (those without a mark count); `None`
    /// where it has no row on one of them.
    pub(super) fn same(&self, (one, other): (usize, usize), marked: &[bool]) -> Result<Vec<Option<bool>>> {
        let pairs = self.groups.iter().filter_map(|group| Some((group[one]?, group[other]?)));
        let (ones, others): (Vec<Pick>, Vec<Pick>) = pairs.unzip();
        let (ones, others) = (self.take(&ones)?, self.take(&others)?);
        let columns = (0..ones.num_columns()).filter(|index| marked.get(*index) != Some(&false));
        let columns: Vec<usize> = columns.collect();
        let mut equal = equal_rows(&ones.project(&columns)?, &others.project(&columns)?)?.into_iter();
        let same = |group: &[Option<Pick>; SIDES]| group[one].and(group[other]).and_then(|_| equal.next());
        Ok(self.groups.iter().map(same).collect())
    }
}

/// A stream of row versions with the side of each where their begins were.
pub(super) fn sided(chunks: Chunks, side_of: SideOf) -> Chunks {
    Box::new(chunks.map(move |chunk| {
        let chunk = chunk?;
        let sides: Vec<Option<usize>> =
            chunk.begins.iter().zip(&chunk.ends).map(|(begin, end)| side_of(*begin, *end)).collect();
        let wanted: BooleanArray = sides.iter().map(|side| Some(side.is_some())).collect();
        let mut keys = Keys::default();
        let kept = chunk.keys.iter().zip(&sides).filter(|(_, side)| side.is_some());
        kept.for_each(|(key, _)| keys.push(key));
        let begins: Vec<Version> = sides.into_iter().flatten().map(|side| Version(side as u64)).collect();
        let ends = vec![Version::FOREVER; begins.len()];
        Ok(Chunk { rows: filter_record_batch(&chunk.rows, &wanted)?, keys, begins, ends })
    }))
}

/// The sides of a row that is alive at an earlier version and not at a later one, and the other way around.
pub(super) fn was_or_is((earlier, was): (Version, usize), (later, is): (Version, usize)) -> SideOf {
    Box::new(move |begin, end| {
        let alive = |version: Version| begin <= version && version < end;
        // Streams may give others too.
        match (alive(earlier), alive(later)) {
            (true, false) => Some(was),
            (false, true) => Some(is),
            _ => None,
        }
    })
}

/// Of rows that are alive at one of two versions: those.
pub(super) fn between(after: Version, up_to: Version) -> Life {
    Life::AliveAtOneOf { after, up_to }
}

/// Blocks of the groups of streams whose rows have sides.
pub(super) struct Blocks {
    chunks: Chunks,
    /// The last key, which may go on in the next chunk: its rows by side.
    open: Option<(Vec<u8>, [Option<RecordBatch>; SIDES])>,
    done: bool,
}

impl Blocks {
    /// Of these streams.
    pub(super) fn of(streams: Vec<Chunks>) -> Blocks {
        Blocks { chunks: merge(streams), open: None, done: false }
    }

    fn gather(&mut self, chunk: Chunk) -> Block {
        let mut block = Block { batches: vec![chunk.rows], keys: Keys::default(), groups: Vec::new() };
        let open = self.open.take();
        let mut group = open.map(|(key, rows)| (key, block.take_over(rows)));
        for (row, key) in chunk.keys.iter().enumerate() {
            if group.as_ref().is_none_or(|(open, _)| open != key) {
                if let Some((key, picks)) = group.take() {
                    block.keys.push(&key);
                    block.groups.push(picks);
                }
                group = Some((key.to_vec(), [None; SIDES]));
            }
            let (_, picks) = group.as_mut().expect("it was just put there");
            picks[chunk.begins[row].0 as usize] = Some((0, row));
        }
        self.open = group.map(|(key, picks)| {
            (key, picks.map(|pick| pick.map(|(batch, row)| block.batches[batch].slice(row, 1))))
        });
        block
    }

    fn last(&mut self) -> Option<Block> {
        let (key, rows) = self.open.take()?;
        let mut block = Block { batches: Vec::new(), keys: Keys::default(), groups: Vec::new() };
        block.keys.push(&key);
        let picks = block.take_over(rows);
        block.groups.push(picks);
        Some(block)
    }
}

impl Iterator for Blocks {
    type Item = Result<Block>;

    fn next(&mut self) -> Option<Result<Block>> {
        if self.done {
            return None;
        }
        match self.chunks.next() {
            Some(Ok(chunk)) => Some(Ok(self.gather(chunk))),
            Some(Err(error)) => {
                self.done = true;
                Some(Err(error))
            }
            None => {
                self.done = true;
                self.last().map(Ok)
            }
        }
    }
}
