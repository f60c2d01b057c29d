//! When rows of one data file died: sorted runs of (row, end), each longer than the one after it, merged as they
//! grow. 8 bytes for each dead row; adding one costs a few moves, looking one up a few bisections.
//!
//! A row that is said to die again (by a damaged log: looking for it would cost more than adding it) died when it was
//! said first.

/// A row's position and its end, counted from the memtable's base.
type End = (u32, u32);

/// Unsorted ends gathered before they become a run.
const LOOSE_MAX: usize = 32;

/// Dead rows of one data file.
#[derive(Clone, Debug, Default)]
pub(super) struct FileEnds {
    runs: Vec<Vec<End>>,
    loose: Vec<End>,
}

impl FileEnds {
    /// Adds a row.
    pub fn insert(&mut self, row: u32, end: u32) {
        self.loose.push((row, end));
        if self.loose.len() < LOOSE_MAX {
            return;
        }
        let mut run = std::mem::take(&mut self.loose);
        run.sort_unstable();
        run.dedup_by_key(|(row, _)| *row);
        while let Some(last) = self.runs.pop_if(|last| last.len() <= run.len() * 2) {
            run = merge(&last, &run);
        }
        self.runs.push(run);
        self.loose = Vec::with_capacity(LOOSE_MAX);
    }

    /// When a row died.
    pub fn end_of(&self, row: u32) -> Option<u32> {
        let loose = self.loose.iter().find(|(other, _)| *other == row);
        let in_run = |run: &Vec<End>| {
            let found = run.binary_search_by_key(&row, |(other, _)| *other).ok()?;
            Some(run[found].1)
        };
        let in_runs = self.runs.iter().find_map(in_run);
        in_runs.or(loose.map(|(_, end)| *end))
    }

    /// All ends, ascending by row.
    pub fn sorted(&self) -> Vec<End> {
        let mut all = Vec::with_capacity(self.len());
        self.runs.iter().for_each(|run| all.extend_from_slice(run));
        all.extend_from_slice(&self.loose);
        // Finds the sorted runs and merges them.
        all.sort();
        all.dedup_by_key(|(row, _)| *row);
        all
    }

    /// How many rows died, at most.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Vec::len).sum::<usize>() + self.loose.len()
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let ends = self.runs.iter().map(Vec::capacity).sum::<usize>() + self.loose.capacity();
        ends * size_of::<End>() + self.runs.capacity() * size_of::<Vec<End>>()
    }
}

fn merge(a: &[End], b: &[End]) -> Vec<End> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    all.extend_from_slice(a);
    all.extend_from_slice(b);
    all.sort();
    all.dedup_by_key(|(row, _)| *row);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dead_row_is_found_and_they_come_in_order() {
        let count: u32 = if cfg!(miri) { 200 } else { 5_000 };
        let mut ends = FileEnds::default();
        let row = |nth: u32| nth.wrapping_mul(7919) % 65_536;
        let mut rows = std::collections::BTreeMap::new();
        for nth in 0..count {
            if rows.insert(row(nth), nth).is_none() {
                ends.insert(row(nth), nth);
            } else {
                panic!("7919 and 65536 have no common factor");
            }
            assert_eq!(ends.end_of(row(nth)), Some(nth));
        }
        assert_eq!(ends.sorted(), rows.into_iter().collect::<Vec<_>>());
        assert_eq!(ends.end_of(65_536), None);
        assert_eq!(ends.len(), count as usize);
        assert!(ends.memory_bytes() < count as usize * 16 + 1024, "{}", ends.memory_bytes());
    }

    #[test]
    fn a_row_that_dies_again_died_the_first_time() {
        let mut ends = FileEnds::default();
        for round in 0..5 {
            for row in 0..40 {
                ends.insert(row, round * 100 + row);
                assert_eq!(ends.end_of(row), Some(row), "round {round}");
            }
        }
        assert_eq!(ends.sorted(), (0..40).map(|row| (row, row)).collect::<Vec<_>>());
    }
}
