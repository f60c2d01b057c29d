//! When rows of a table's data files died, as far as ends files tell: which of their blocks may tell of what
//! is asked, and those alone are read. What is decoded is kept for whoever asks next, of any manifest.

use crate::counting::CountingDisk;
use crate::error::Result;
use crate::layout::Layout;
use crate::manifest::EndsFileRecord;
use crate::open_files::OpenFiles;
use crate::store::ends::EndsFile;
use crate::store::ends::block::Block;
use asof_mvcc::{FileId, Version};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Rows of a data file, from the first up to but not the last: positions, of which there are no more than 2^32.
pub type Positions = Range<u64>;

/// How many rows died, at least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadCount {
    /// At least.
    pub least: u64,
    /// At most.
    pub most: u64,
}

/// Dead rows that are told in any order, with their ends, ascending.
pub fn ascending(
    tell: impl FnOnce(&mut dyn FnMut(u32, Version)) -> Result<()>,
) -> Result<Vec<(u32, Version)>> {
    let mut dead: Vec<(u32, Version)> = Vec::new();
    tell(&mut |row, end| dead.push((row, end)))?;
    // Those of one ends file ascend.
    if !dead.is_sorted_by_key(|(row, _)| *row) {
        // Stable: it merges what is in order already.
        dead.sort_by_key(|(row, _)| *row);
    }
    Ok(dead)
}

/// The ends files of one table that a manifest names.
#[derive(Debug)]
pub struct TableEnds {
    files: Vec<(EndsFileRecord, OnceLock<Arc<EndsFile>>)>,
    disk: Arc<CountingDisk>,
    layout: Layout,
    open_files: Arc<OpenFiles>,
}

impl TableEnds {
    /// Nothing is read yet.
    pub fn new(disk: Arc<CountingDisk>, layout: Layout, open_files: Arc<OpenFiles>) -> TableEnds {
        TableEnds { files: Vec::new(), disk, layout, open_files }
    }

    /// Adds a file.
    pub fn push(&mut self, record: &EndsFileRecord) {
        self.files.push((record.clone(), OnceLock::new()));
    }

    /// The files that may tell of deaths in (after, up_to].
    fn within(&self, after: Version, up_to: Version) -> impl Iterator<Item = Result<&Arc<EndsFile>>> {
        let within = move |record: &EndsFileRecord| record.max_end > after.0 && record.min_end <= up_to.0;
        self.files.iter().filter(move |(record, _)| within(record)).map(|(record, opened)| {
            if let Some(file) = opened.get() {
                return Ok(file);
            }
            let file = match self.open_files.ends_file(record.id) {
                Some(file) => file,
                None => {
                    let file = EndsFile::open(&*self.disk, &self.layout, record)?;
                    self.open_files.keep_ends_file(Arc::new(file))
                }
            };
            Ok(opened.get_or_init(|| file))
        })
    }

    /// When a row died; `None` where no ends file tells.
    pub fn end_of(&self, file: FileId, row: u32) -> Result<Option<Version>> {
        for ends in self.within(Version::ZERO, Version::FOREVER) {
            let ends = ends?;
            for number in ends.blocks_of(file, row, u64::from(row) + 1) {
                let end = match self.open_files.ends_block(ends.id, number) {
                    Some(block) => block.end_of(row),
                    None => {
                        let read = self.read(ends, number..number + 1)?;
                        read.iter().find_map(|block| block.end_of(row))
                    }
                };
                if end.is_some() {
                    return Ok(end);
                }
            }
        }
        Ok(None)
    }

    /// How many rows among some of a data file died in (after, up_to]: what directories tell.
    pub fn count(
        &self,
        file: FileId,
        rows: &Positions,
        (after, up_to): (Version, Version),
    ) -> Result<DeadCount> {
        let mut count = DeadCount::default();
        let Ok(first) = u32::try_from(rows.start) else { return Ok(count) };
        for ends in self.within(after, up_to) {
            let ends = ends?;
            for number in ends.blocks_of(file, first, rows.end) {
                let bounds = ends.bounds(number);
                if bounds.within(after, up_to) {
                    count.most += u64::from(bounds.rows);
                    let inside = bounds.first >= first && u64::from(bounds.last) < rows.end;
                    if inside && bounds.min_end > after.0 && bounds.max_end <= up_to.0 {
                        count.least += u64::from(bounds.rows);
                    }
                }
            }
        }
        Ok(count)
    }

    /// The rows among some of a data file that died in (after, up_to]: position less the first that was asked for, and
    /// end, ascending.
    pub fn dead(
        &self,
        file: FileId,
        rows: &Positions,
        within: (Version, Version),
    ) -> Result<Vec<(u32, Version)>> {
        ascending(|each| self.each_dead(file, rows, within, each))
    }

    /// Calls with each of these rows, in any order.
    pub fn each_dead(
        &self,
        file: FileId,
        rows: &Positions,
        (after, up_to): (Version, Version),
        each: &mut dyn FnMut(u32, Version),
    ) -> Result<()> {
        let Ok(first) = u32::try_from(rows.start) else { return Ok(()) };
        for ends in self.within(after, up_to) {
            let ends = ends?;
            let mut missing: Option<Range<usize>> = None;
            let mut tell = |blocks: &[Arc<Block>]| {
                blocks.iter().for_each(|block| block.each_dead(first, rows.end, (after, up_to), each))
            };
            for number in ends.blocks_of(file, first, rows.end) {
                let bounds = ends.bounds(number);
                let asked = bounds.within(after, up_to);
                let kept = asked.then(|| self.open_files.ends_block(ends.id, number)).flatten();
                if asked && kept.is_none() {
                    // Blocks side by side are read at once.
                    missing = Some(missing.map_or(number, |blocks| blocks.start)..number + 1);
                    continue;
                }
                if let Some(blocks) = missing.take() {
                    tell(&self.read(ends, blocks)?);
                }
                tell(kept.as_slice());
            }
            if let Some(blocks) = missing {
                tell(&self.read(ends, blocks)?);
            }
        }
        Ok(())
    }

    fn read(&self, ends: &EndsFile, blocks: Range<usize>) -> Result<Vec<Arc<Block>>> {
        let read = ends.load(blocks.clone())?.into_iter().map(Arc::new).collect::<Vec<_>>();
        for (number, block) in blocks.zip(&read) {
            self.open_files.keep_ends_block(ends.id, number, block.clone());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
