//! A table as a Parquet file that nobody wrote: column chunks of row groups that a version shows whole are the data
//! files' own bytes, and only the footer is new. Of row groups that it shows in part each column has a slot, as long
//! as its pages are at most, which is filled when it is first read: pages that are shown whole are the data file's own,
//! the others' values are written plain. What a slot does not need is padding, a hole.
//!
//! Size needs metadata alone; the footer, how many rows of a row group are shown, and how many values the lists of these
//! have, for which their slots are filled. Invariants: bytes never change while a stitched file is open, and two of one
//! layout have the same bytes; a slot is filled once; a table that cannot be stitched (a data file does not tell how
//! long the texts of a row group are that is shown in part) is not. Times in seconds, which Parquet does not have, are milliseconds in slots.

mod encode;
mod footer;
mod gather;
mod group;
mod holes;
mod page;
mod room;

use super::cache::{Hold, ViewCache};
use crate::error::{Error, Result};
use crate::once::Once;
use crate::pool;
use crate::state::State;
use crate::store::data_file::DataFile;
use arrow::datatypes::Field;
use asof_mvcc::{Column, Table, TableSchema, Version};
use bytes::Bytes;
use encode::{Leaf, encode, encode_default};
use footer::{Footer, Pages};
use gather::gather;
use group::{Group, Run};
use page::{PageKind, padding};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A stitched file.
pub(super) struct Stitched {
    size: u64,
    layout: u64,
    /// What lies where, in order and without gaps.
    parts: Vec<Part>,
    slots: Vec<Slot>,
    columns: Vec<(Column, Field)>,
    footer: Footer,
    footer_bytes: Once<Bytes>,
    /// Slots for which there is no memory lie here at their own offsets.
    scratch: Once<File>,
    cache: Arc<ViewCache>,
    /// Keeps the data files.
    state: Arc<State>,
}

/// What a stitched file is made of, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// Of data files, as they lie there.
    pub copied: u64,
    /// Of slots.
    pub slots: u64,
    /// Of slots that were filled.
    pub filled: u64,
    /// Of these, pages of data files, as they lie there.
    pub filled_copied: u64,
    /// Of these, padding.
    pub padding: u64,
    /// Of slots, what was written on disk for want of memory.
    pub spilled: u64,
}

struct Part {
    start: u64,
    source: Source,
}

enum Source {
    Bytes(Bytes),
    /// Bytes of a data file from an offset on.
    File(Arc<DataFile>, u64),
    Slot(usize),
    Footer,
}

/// Where a column of a row group of which not all rows are shown comes to lie.
struct Slot {
    start: u64,
    /// Bytes of its leaves, one after the other.
    rooms: Vec<u64>,
    /// Which of the columns.
    column: usize,
    filling: Filling,
    content: Once<Content>,
}

/// What a slot is filled with.
enum Filling {
    /// The values of the rows that are shown, as one page for each leaf.
    Values(Arc<Group>),
    /// Pages that are shown whole as they lie in the data file, and the values of others.
    Pages(Arc<Group>, ChunkPages),
    /// The column's default in all rows that are shown.
    Default(Arc<Group>),
    /// These values, which are in no data file.
    Rows(Vec<arrow::array::ArrayRef>),
}

/// Where the pages of a column chunk lie in its data file.
struct ChunkPages {
    dictionary: Range<u64>,
    pages: Vec<Range<u64>>,
}

/// What a slot was filled with.
struct Content {
    place: Place,
    /// Where in the slot its pages and headers of padding lie, ascending: there are zeros between them.
    written: Vec<Range<u64>>,
    /// Bytes of its pages of values, and how many of these are a data file's own.
    bytes: u64,
    copied: u64,
    /// What each leaf has.
    leaves: Vec<Pages>,
}

/// Where the content of a slot lies.
enum Place {
    /// Pages and headers of padding, and where in the slot.
    Memory { pieces: Vec<(u64, Bytes)>, _hold: Hold },
    /// The scratch file, at the slot's own offset.
    Scratch,
}

impl Slot {
    fn bytes(&self) -> u64 {
        self.rooms.iter().sum()
    }
}

impl Stitched {
    /// The file of a table at a version; none where it cannot be stitched. `rows` is how many it has.
    pub(super) fn new(
        state: &Arc<State>,
        table: &Table,
        schema: &TableSchema,
        version: Version,
        rows: u64,
        cache: Arc<ViewCache>,
    ) -> Result<Option<Stitched>> {
        let Some(gathered) = gather(state, table, schema, version, rows)? else { return Ok(None) };
        let stitched = Stitched {
            size: gathered.size,
            layout: gathered.layout,
            parts: gathered.parts,
            slots: gathered.slots,
            columns: gathered.columns,
            footer: gathered.footer,
            footer_bytes: Once::default(),
            scratch: Once::default(),
            cache,
            state: state.clone(),
        };
        if stitched.slots.is_empty() {
            stitched.footer_bytes()?;
        }
        Ok(Some(stitched))
    }

    /// Its exact size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What its bytes depend on beside the rows: never 0.
    pub(super) fn layout(&self) -> u64 {
        self.layout
    }

    /// What it is made of.
    pub(super) fn composition(&self) -> Composition {
        let mut composition = Composition::default();
        for (index, part) in self.parts.iter().enumerate() {
            if let Source::File(..) = part.source {
                composition.copied += self.end_of(index) - part.start;
            }
        }
        for slot in &self.slots {
            composition.slots += slot.bytes();
            let Some(content) = slot.content.get() else { continue };
            if let Place::Scratch = content.place {
                composition.spilled += content.bytes;
            }
            composition.filled += slot.bytes();
            composition.filled_copied += content.copied;
            composition.padding += slot.bytes() - content.bytes;
        }
        composition
    }

    /// Finds out which rows are shown, on several threads, and makes the footer.
    pub(super) fn prepare(&self) -> Result<()> {
        self.footer_bytes().map(drop)
    }

    fn end_of(&self, part: usize) -> u64 {
        self.parts.get(part + 1).map_or(self.size, |next| next.start)
    }

    /// The parts that a range touches.
    fn parts_within(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.part_at(range.start);
        first..self.parts.partition_point(|part| part.start < range.end).max(first)
    }

    /// Which part a byte lies in.
    pub(super) fn part_at(&self, offset: u64) -> usize {
        self.parts.partition_point(|part| part.start <= offset).saturating_sub(1)
    }

    /// Whether a range can be read without filling a slot; an empty one, whether the footer is made.
    pub(super) fn is_ready(&self, range: Range<u64>) -> bool {
        if range.is_empty() {
            return self.footer_bytes.get().is_some();
        }
        self.parts[self.parts_within(&range)].iter().all(|part| match part.source {
            Source::Slot(slot) => self.slots[slot].content.get().is_some(),
            Source::Footer => self.footer_bytes.get().is_some(),
            _ => true,
        })
    }

    /// Reads bytes that lie within the file.
    pub(super) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = offset..offset + buf.len() as u64;
        let within = self.parts_within(&range);
        let mut buf = buf;
        let mut at = offset;
        for index in within {
            let part = &self.parts[index];
            let count = (self.end_of(index).min(range.end) - at) as usize;
            let (these, rest) = buf.split_at_mut(count);
            let skip = at - part.start;
            let within = skip as usize..skip as usize + count;
            match &part.source {
                Source::Bytes(bytes) => these.copy_from_slice(&bytes[within]),
                Source::Footer => these.copy_from_slice(&self.footer_bytes()?[within]),
                Source::File(file, start) => {
                    these.copy_from_slice(&file.bytes(start + skip, count)?);
                }
                Source::Slot(slot) => match &self.filled(&self.slots[*slot])?.place {
                    Place::Scratch => self.scratch()?.read_exact_at(these, at)?,
                    Place::Memory { pieces, .. } => {
                        these.fill(0);
                        pieces.iter().for_each(|(place, bytes)| copy_within(bytes, *place, these, skip));
                    }
                },
            }
            at += count as u64;
            buf = rest;
        }
        Ok(())
    }

    fn scratch(&self) -> Result<&File> {
        self.scratch.get_or_make(|| self.cache.scratch(self.size))
    }

    /// The footer; made once. Others who want it wait.
    fn footer_bytes(&self) -> Result<&Bytes> {
        self.footer_bytes.get_or_make(|| {
            let groups: Vec<Arc<Group>> = self.footer.groups_to_choose().collect();
            let width = self.state.generation.open_files().threads;
            for chosen in pool::ahead(width, groups.into_iter(), |group| group.chosen().map(drop)) {
                chosen??;
            }
            self.fill_counted(width)?;
            let length = self.size - self.parts.last().map_or(0, |footer| footer.start);
            Ok(self.footer.bytes(length as usize, &|slot, leaf| self.leaf(slot, leaf))?.into())
        })
    }

    /// What a slot holds; fills it, once. Others who want it wait.
    fn filled<'a>(&self, slot: &'a Slot) -> Result<&'a Content> {
        slot.content.get_or_make(|| self.fill(slot))
    }

    /// Fills slots of which nothing else tells how many values they have, on several threads.
    fn fill_counted(&self, width: usize) -> Result<()> {
        let slots = self.footer.slots_to_fill();
        let next = AtomicUsize::new(0);
        let fill = || {
            while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.filled(&self.slots[*slot])?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..width.min(slots.len())).map(|_| scope.spawn(fill)).collect();
            let own = fill();
            others.into_iter().fold(own, |all, other| match other.join() {
                Ok(filled) => all.and(filled),
                Err(_) => Err(Error::invalid("a thread that fills a Parquet file panicked")),
            })
        })
    }

    /// What a leaf of a slot has.
    fn leaf(&self, slot: usize, leaf: usize) -> Result<Pages> {
        Ok(self.filled(&self.slots[slot])?.leaves.get(leaf).copied().unwrap_or_default())
    }

    fn fill(&self, slot: &Slot) -> Result<Content> {
        let (leaves, copied) = self.pages_of(slot)?;
        let pages = |leaf: &Leaf| Pages { values: leaf.values, bytes: leaf.bytes.len() as i64 };
        let known = leaves.iter().map(pages).collect();
        let (mut pieces, mut leaves, mut at, mut bytes) = (Vec::new(), leaves.into_iter(), 0, 0);
        for room in &slot.rooms {
            let pages = leaves.next().map(|leaf| leaf.bytes).unwrap_or_default();
            let length = pages.len() as u64;
            bytes += length;
            let padding = room.checked_sub(length).and_then(padding).ok_or_else(|| {
                let column = &self.columns[slot.column].0.name;
                Error::corrupt(format!(
                    "column '{column}' takes {length} bytes where there is room for {room}; this is a bug in asof"
                ))
            })?;
            pieces.push((at, pages));
            pieces.extend(padding.into_iter().map(|(header, behind)| (at + length + behind, header.into())));
            at += room;
        }
        let written =
            pieces.iter().map(|(place, bytes): &(u64, Bytes)| *place..place + bytes.len() as u64).collect();
        let place = match self.cache.hold(bytes) {
            Some(_hold) => Place::Memory { pieces, _hold },
            None => {
                let file = self.scratch()?;
                for (place, bytes) in pieces {
                    file.write_all_at(&bytes, slot.start + place)?;
                }
                Place::Scratch
            }
        };
        Ok(Content { place, written, bytes, copied, leaves: known })
    }

    /// The pages of a slot, and how many bytes of them are a data file's own.
    fn pages_of(&self, slot: &Slot) -> Result<(Vec<Leaf>, u64)> {
        let (column, field) = &self.columns[slot.column];
        let data_type = field.data_type();
        match &slot.filling {
            Filling::Values(group) => Ok((encode(field, &group.values(column, data_type)?)?, 0)),
            Filling::Rows(values) => Ok((encode(field, values)?, 0)),
            Filling::Default(group) => {
                let leaves = encode_default(column, field, group.chosen()?.count)?;
                Ok((leaves.into_iter().map(Leaf::from).collect(), 0))
            }
            Filling::Pages(group, chunk) => {
                let file = &group.task.file;
                let mut out = Vec::with_capacity(slot.bytes() as usize);
                let mut copied = 0;
                let mut copy = |range: Range<u64>, out: &mut Vec<u8>| -> Result<()> {
                    copied += range.end - range.start;
                    out.extend_from_slice(&file.bytes(range.start, (range.end - range.start) as usize)?);
                    Ok(())
                };
                if !chunk.dictionary.is_empty() {
                    copy(chunk.dictionary.clone(), &mut out)?;
                }
                for run in group.runs(column, data_type)? {
                    match run {
                        Run::Pages(pages) => {
                            let ends = (chunk.pages.get(pages.start), chunk.pages.get(pages.end - 1));
                            if let (Some(first), Some(last)) = ends {
                                copy(first.start..last.end, &mut out)?;
                            }
                        }
                        Run::Rows(values) => page::append_plain(&values, PageKind::Second, &mut out)?,
                    }
                }
                let values = group.chosen()?.count as i64;
                Ok((vec![Leaf { bytes: out.into(), values }], copied))
            }
        }
    }
}

/// Copies what of some bytes, which lie at an offset, lies within a part of the same space.
fn copy_within(bytes: &[u8], at: u64, part: &mut [u8], part_at: u64) {
    let first = at.max(part_at);
    let end = (at + bytes.len() as u64).min(part_at + part.len() as u64);
    if first < end {
        let of = |start: u64| (first - start) as usize..(end - start) as usize;
        part[of(part_at)].copy_from_slice(&bytes[of(at)]);
    }
}
