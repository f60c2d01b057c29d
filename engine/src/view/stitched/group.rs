//! A row group of which a file may show some rows only: how many at most, told by metadata, and which, found when
//! that is first needed.

use super::super::parquet_file::in_milliseconds;
use crate::adapt::cast_exact;
use crate::error::{Error, Result};
use crate::once::Once;
use crate::store::data_file::DataFile;
use crate::store::details::PageZone;
use crate::store::group_scan::{Chosen, DeadRows, GroupTask};
use arrow::array::{Array, ArrayRef, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use asof_mvcc::{Column, Version};
use std::ops::Range;
use std::sync::Arc;

/// Rows decoded at once for a slot.
const BATCH_ROWS: usize = 8_192;
/// Where no more than one row in this many may have died, it is looked which.
const FEW_DEAD: u64 = 8;

/// What a file shows of a page of a row group, as far as metadata tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    /// This many rows at most.
    Some(u32),
    All,
}

/// A row group, and which of its rows are shown.
pub(super) struct Group {
    pub(super) task: GroupTask,
    /// What is shown of each page, of as many rows as [`Group::page_rows`] tells.
    pub(super) pages: Vec<Shown>,
    /// Rows that are shown, at most.
    pub(super) rows_max: usize,
    chosen: Once<Chosen>,
}

/// Rows of consecutive pages of a row group.
pub(super) enum Run {
    /// All of these pages are shown.
    Pages(Range<usize>),
    /// Of these pages some rows are shown: their values.
    Rows(Vec<ArrayRef>),
}

impl Group {
    /// What metadata tell of a row group at a version; none where it shows nothing.
    pub(super) fn new(task: GroupTask, version: Version) -> Result<Option<Group>> {
        let (file, group) = (&task.file, task.group);
        let extent = &file.groups[group];
        let rows = extent.rows as usize;
        let known;
        let (dead, dead_least) = match &task.dead {
            DeadRows::Known(dead) => (Some(dead), 0),
            DeadRows::Asked(deaths) => {
                let count = deaths.count(file, group)?;
                if count.most * FEW_DEAD <= u64::from(extent.rows) {
                    known = deaths.all(file, group)?;
                    (Some(&known), 0)
                } else {
                    (None, count.least as usize)
                }
            }
        };
        let whole = PageZone::of_group(extent);
        let zones = match whole.shown_at(version) {
            Some(true) => &[],
            _ => &file.details(group)?.zones[..],
        };
        let page_rows = page_rows(file, group);
        let mut pages: Vec<Shown> = (0..rows.div_ceil(page_rows))
            .map(|page| {
                let rows = page_rows.min(rows - page * page_rows) as u32;
                match zones.get(page).unwrap_or(&whole).shown_at(version) {
                    Some(false) => Shown::Nothing,
                    Some(true) if dead.is_some() => Shown::All,
                    _ => Shown::Some(rows),
                }
            })
            .collect();
        for (row, end) in dead.into_iter().flatten() {
            let page = *row as usize / page_rows;
            if *end <= version {
                let rows = page_rows.min(rows - page * page_rows) as u32;
                pages[page] = match pages[page] {
                    Shown::All if rows > 1 => Shown::Some(rows - 1),
                    Shown::Some(left) if left > 1 => Shown::Some(left - 1),
                    _ => Shown::Nothing,
                };
            }
        }
        let of_page = |(page, shown): (usize, &Shown)| match shown {
            Shown::Nothing => 0,
            Shown::Some(rows) => *rows as usize,
            Shown::All => page_rows.min(rows - page * page_rows),
        };
        let most: usize = pages.iter().enumerate().map(of_page).sum();
        let rows_max = most.min(rows - dead_least.min(rows));
        if rows_max == 0 {
            return Ok(None);
        }
        let chosen = match pages.iter().all(|shown| *shown == Shown::All) {
            true => Once::from(Chosen::all(rows)),
            false => Once::default(),
        };
        Ok(Some(Group { task, pages, rows_max, chosen }))
    }

    /// Rows of the row group, shown or not.
    pub(super) fn rows(&self) -> usize {
        self.task.file.groups[self.task.group].rows as usize
    }

    /// Rows of each page but the last.
    pub(super) fn page_rows(&self) -> usize {
        page_rows(&self.task.file, self.task.group)
    }

    /// Whether all of its rows are shown, as metadata tell.
    pub(super) fn is_whole(&self) -> bool {
        self.pages.iter().all(|shown| *shown == Shown::All)
    }

    /// Which rows are shown; found out once.
    pub(super) fn chosen(&self) -> Result<&Chosen> {
        self.chosen.get_or_make(|| {
            let chosen = self.task.choose(false)?;
            match chosen.count <= self.rows_max {
                true => Ok(chosen),
                false => Err(self.damaged("shows more rows than its metadata allow")),
            }
        })
    }

    fn damaged(&self, what: &str) -> Error {
        Error::corrupt(format!("{}: a row group {what}; run 'asof verify'", self.task.file.name()))
    }

    /// The values of a column in the rows that are shown, in the type of the file.
    pub(super) fn values(&self, column: &Column, wanted: &DataType) -> Result<Vec<ArrayRef>> {
        let Chosen { mask, count, counted, .. } = self.chosen()?;
        self.read(column, wanted, mask.as_ref(), *count, *counted)
    }

    /// The same, but not the values of pages that are shown whole, as metadata tell: in order of rows.
    pub(super) fn runs(&self, column: &Column, wanted: &DataType) -> Result<Vec<Run>> {
        let chosen = self.chosen()?;
        let (rows, page_rows) = (self.rows(), self.page_rows());
        let rows_of = |pages: &Range<usize>| pages.start * page_rows..rows.min(pages.end * page_rows);
        let shown = |range: Range<usize>| match &chosen.mask {
            Some(mask) => mask.slice(range.start, range.len()),
            None => BooleanBuffer::new_set(range.len()),
        };
        let mut mask = BooleanBufferBuilder::new(rows);
        let mut runs: Vec<(bool, Range<usize>, usize)> = Vec::new();
        let mut page = 0;
        while page < self.pages.len() {
            let whole = self.pages[page] == Shown::All;
            let same = self.pages[page..].iter().take_while(|shown| (**shown == Shown::All) == whole);
            let pages = page..page + same.count();
            page = pages.end;
            let range = rows_of(&pages);
            let mut count = 0;
            if whole {
                if shown(range.clone()).count_set_bits() < range.len() {
                    return Err(self.damaged("does not show a page that its metadata say is shown"));
                }
                mask.append_n(range.len(), false);
            } else {
                let shown = shown(range);
                count = shown.count_set_bits();
                mask.append_buffer(&shown);
            }
            runs.push((whole, pages, count));
        }
        let decoded = runs.iter().map(|(_, _, count)| count).sum();
        let mask = mask.finish();
        let values = self.read(column, wanted, Some(&mask), decoded, chosen.counted)?;
        let mut values = Cursor { arrays: values.into_iter(), rest: None };
        let parts = runs.into_iter().map(|(whole, pages, count)| match whole {
            true => Run::Pages(pages),
            false => Run::Rows(values.take(count)),
        });
        Ok(parts.collect())
    }

    fn read(
        &self,
        column: &Column,
        wanted: &DataType,
        mask: Option<&BooleanBuffer>,
        count: usize,
        counted: usize,
    ) -> Result<Vec<ArrayRef>> {
        let (file, group) = (&self.task.file, self.task.group);
        let mut reader = file.read_group(&[column.id], group, mask, counted, BATCH_ROWS)?;
        let (mut arrays, mut rows) = (Vec::new(), 0);
        while let Some(batch) = reader.next_batch(file)? {
            rows += batch.num_rows();
            if let Some(array) = batch.columns().first() {
                let values = cast_exact(array, &column.column_type.to_arrow())?;
                arrays.push(in_milliseconds(&values, wanted)?);
            }
        }
        match rows == count {
            true => Ok(arrays),
            false => Err(self.damaged("lacks rows")),
        }
    }
}

fn page_rows(file: &Arc<DataFile>, group: usize) -> usize {
    let extent = &file.groups[group];
    match extent.page_rows {
        0 => extent.rows.max(1) as usize,
        rows => rows as usize,
    }
}

/// Values that are taken from the front.
struct Cursor {
    arrays: std::vec::IntoIter<ArrayRef>,
    rest: Option<ArrayRef>,
}

impl Cursor {
    fn take(&mut self, count: usize) -> Vec<ArrayRef> {
        let (mut taken, mut left) = (Vec::new(), count);
        while left > 0 {
            let Some(array) = self.rest.take().or_else(|| self.arrays.next()) else { break };
            let length = array.len().min(left);
            left -= length;
            taken.push(array.slice(0, length));
            self.rest = (length < array.len()).then(|| array.slice(length, array.len() - length));
        }
        taken
    }
}
