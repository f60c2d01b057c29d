//! Rows that came out of order: gathered up to a budget, and put in order.

use crate::error::Result;
use crate::store::chunk::{Chunk, Chunks};
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::{Keys, Version};

/// Rows of a sorted chunk.
const CHUNK_ROWS: usize = 16_384;
/// What the order of a row takes, beside its values and key.
const ORDER_BYTES: usize = 8;

/// Rows gathered.
pub(super) struct Sorter {
    batches: Vec<(RecordBatch, Keys)>,
    bytes: u64,
    bytes_max: u64,
}

impl Sorter {
    pub(super) fn new(bytes_max: u64) -> Sorter {
        Sorter { batches: Vec::new(), bytes: 0, bytes_max }
    }

    /// Takes rows; whether those gathered are as many as may be.
    pub(super) fn push(&mut self, rows: RecordBatch, keys: Keys) -> bool {
        let values: usize = rows.columns().iter().map(crate::store::encode::array_bytes).sum();
        self.bytes += (values + keys.memory_bytes() + rows.num_rows() * ORDER_BYTES) as u64;
        self.batches.push((rows, keys));
        self.bytes >= self.bytes_max
    }

    /// The rows gathered, in order. Of two of one key both are given, one behind the other.
    pub(super) fn take_sorted(&mut self) -> Chunks {
        self.bytes = 0;
        let batches = std::mem::take(&mut self.batches);
        let mut order: Vec<(u32, u32)> = Vec::new();
        for (batch, (rows, _)) in batches.iter().enumerate() {
            order.extend((0..rows.num_rows() as u32).map(|row| (batch as u32, row)));
        }
        order.sort_unstable_by(|a, b| {
            let key = |place: &(u32, u32)| batches[place.0 as usize].1.get(place.1 as usize);
            key(a).cmp(key(b))
        });
        let mut done = 0;
        Box::new(std::iter::from_fn(move || {
            let part = &order[done..order.len().min(done + CHUNK_ROWS)];
            done += part.len();
            (!part.is_empty()).then(|| chunk_of(&batches, part))
        }))
    }
}

fn chunk_of(batches: &[(RecordBatch, Keys)], order: &[(u32, u32)]) -> Result<Chunk> {
    let sources: Vec<&RecordBatch> = batches.iter().map(|(rows, _)| rows).collect();
    let picks: Vec<(usize, usize)> =
        order.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
    let mut keys = Keys::with_capacity(order.len());
    picks.iter().for_each(|(batch, row)| keys.push(batches[*batch].1.get(*row)));
    Ok(Chunk {
        rows: interleave_record_batch(&sources, &picks)?,
        keys,
        begins: vec![Version(1); order.len()],
        ends: vec![Version::FOREVER; order.len()],
    })
}
