//! Row versions of one row group: which of its rows are wanted, told by extents first, then by the
//! positions of dead rows, then by begins and ends; only then are columns read, of those rows alone.

use super::chunk::{Chunk, Chunks};
use super::data_file::{DataFile, Wanted};
use super::data_writer::{BEGIN_FIELD_ID, END_FIELD_ID};
use super::details::PageZone;
use super::read::{GroupReader, as_wanted, key_ids};
use crate::error::{Error, Result};
use crate::scan::Life;
use crate::table_ends::{DeadCount, ascending};
use arrow::array::{Array, AsArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::UInt64Type;
use asof_mvcc::{Column, Keys, Version};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a chunk.
pub const BATCH_ROWS: usize = 8_192;

/// Which rows of a row group to read: positions within it, or all.
pub type GroupRows = (usize, Option<Vec<u32>>);

/// Tells whether a row version with this begin and end is wanted.
pub type LifeFilter = Arc<dyn Fn(Version, Version) -> bool + Send + Sync>;

/// What makes a row version wanted.
#[derive(Clone)]
pub enum Choice {
    /// Its life, as the question says.
    Life(Life),
    /// Its life, as a function says.
    Function(LifeFilter),
}

/// What is known of each row beside the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Its key.
    pub keys: bool,
    /// Its begin and end.
    pub lives: bool,
}

/// Tells which rows of row groups died after their files were written.
pub trait Deaths: Send + Sync {
    /// How many of a row group, as far as that is known without reading of which.
    fn count(&self, file: &DataFile, group: usize) -> Result<DeadCount>;

    /// Calls with the position within the row group, and the end, of each, in any order.
    fn each(&self, file: &DataFile, group: usize, each: &mut dyn FnMut(u32, Version)) -> Result<()>;

    /// The same, ascending by position.
    fn all(&self, file: &DataFile, group: usize) -> Result<Vec<(u32, Version)>> {
        ascending(|each| self.each(file, group, each))
    }
}

/// Rows of a row group that died after the file was written: (position in the row group, end), ascending.
#[derive(Clone)]
pub enum DeadRows {
    /// These.
    Known(Vec<(u32, Version)>),
    /// Those that this tells when the row group is read.
    Asked(Arc<dyn Deaths>),
}

/// A row group to be read.
#[derive(Clone)]
pub struct GroupTask {
    /// The file.
    pub file: Arc<DataFile>,
    /// Which of its row groups.
    pub group: usize,
    /// The rows asked for, all where there is none.
    pub rows: Option<Vec<u32>>,
    /// Rows that died after the file was written.
    pub dead: DeadRows,
    /// Which rows are wanted.
    pub choice: Choice,
}

/// The rows that are wanted, all where there is no mask, and their lives where asked for.
pub struct Chosen {
    /// Which rows of the row group.
    pub mask: Option<BooleanBuffer>,
    /// How many.
    pub count: usize,
    /// Rows of which a life was read, and which were counted so.
    pub counted: usize,
    /// When each of them began; empty where not asked for.
    pub begins: Vec<Version>,
    /// When each of them ended; empty where not asked for.
    pub ends: Vec<Version>,
}

impl Chosen {
    /// All rows, and no lives.
    pub fn all(rows: usize) -> Chosen {
        Chosen { mask: None, count: rows, counted: 0, begins: Vec::new(), ends: Vec::new() }
    }
}

impl GroupTask {
    /// Finds the rows that are wanted, reading begins and ends only where extents leave it open.
    pub fn choose(&self, lives: bool) -> Result<Chosen> {
        let extent = &self.file.groups[self.group];
        let rows = extent.rows as usize;
        if let (Choice::Life(Life::VisibleAt(version)), None, false) = (&self.choice, &self.rows, lives) {
            return self.visible(*version);
        }
        let asked;
        let dead = match &self.dead {
            DeadRows::Known(dead) => dead,
            DeadRows::Asked(deaths) => {
                asked = deaths.all(&self.file, self.group)?;
                &asked
            }
        };
        let (mut prior, mut read_begins, mut read_ends) = (None, true, true);
        if let Choice::Life(life) = self.choice {
            match life {
                Life::VisibleAt(version) => {
                    read_begins = extent.max_begin > version.0;
                    read_ends = extent.min_end <= version.0;
                }
                Life::Within { .. } => {}
                Life::Touched { after, up_to } | Life::AliveAtOneOf { after, up_to } => {
                    let all_born = extent.min_begin > after.0 && extent.max_begin <= up_to.0;
                    let none_born = extent.max_begin <= after.0 || extent.min_begin > up_to.0;
                    let all_died = extent.min_end > after.0 && extent.max_end <= up_to.0;
                    let none_died = extent.max_end <= after.0 || extent.min_end > up_to.0;
                    (read_begins, read_ends) = (!none_born, !none_died);
                    let each_is_asked = matches!(life, Life::AliveAtOneOf { .. });
                    if (all_born || all_died) && !each_is_asked {
                        (read_begins, read_ends) = (false, false);
                    } else if none_born && none_died {
                        // Those alone that died since.
                        let within = |end: Version| after < end && end <= up_to;
                        let died = dead.iter().filter(|(_, end)| within(*end));
                        prior = Some(mask_of(rows, died.map(|(row, _)| *row)));
                    } else if each_is_asked {
                        (read_begins, read_ends) = (true, true);
                    }
                }
            }
        }
        if let Some(positions) = &self.rows {
            if !matches!(self.choice, Choice::Life(Life::VisibleAt(_))) {
                (read_begins, read_ends) = (true, true);
            }
            prior = Some(mask_of(rows, positions.iter().copied()));
        }
        let (load_begins, load_ends) = (read_begins || lives, read_ends || lives);
        let count = prior.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
        let mut counted = 0;
        let begins = match load_begins {
            true if extent.min_begin == extent.max_begin => vec![Version(extent.min_begin); count],
            true => self.numbers(BEGIN_FIELD_ID, prior.as_ref(), &mut counted)?,
            false => Vec::new(),
        };
        let mut ends = match load_ends {
            true if extent.min_end == extent.max_end => vec![Version(extent.min_end); count],
            true => self.numbers(END_FIELD_ID, prior.as_ref(), &mut counted)?,
            false => Vec::new(),
        };
        if load_ends {
            each_dead(dead, prior.as_ref(), |nth, end| ends[nth] = ends[nth].min(end));
        }
        let wanted: Option<Vec<bool>> = match &self.choice {
            Choice::Life(life @ Life::VisibleAt(version)) => {
                let late = |end: &Version| end <= version;
                if !read_begins && !read_ends && !dead.iter().any(|(_, end)| late(end)) {
                    None
                } else if load_begins && load_ends {
                    let wants = life.filter();
                    Some(begins.iter().zip(&ends).map(|(begin, end)| wants(*begin, *end)).collect())
                } else {
                    let mut wanted = match (load_begins, load_ends) {
                        (true, _) => begins.iter().map(|begin| begin <= version).collect(),
                        (_, true) => ends.iter().map(|end| version < end).collect(),
                        _ => vec![true; count],
                    };
                    if !load_ends {
                        each_dead(dead, prior.as_ref(), |nth, end| wanted[nth] &= *version < end);
                    }
                    Some(wanted)
                }
            }
            Choice::Life(life @ Life::AliveAtOneOf { .. }) if load_begins && load_ends => {
                let wants = life.filter();
                Some(begins.iter().zip(&ends).map(|(begin, end)| wants(*begin, *end)).collect())
            }
            Choice::Life(Life::Touched { after, up_to } | Life::AliveAtOneOf { after, up_to }) => {
                let within = |version: Version| *after < version && version <= *up_to;
                if !read_begins && !read_ends {
                    // All were, or those that the mask has.
                    None
                } else {
                    let mut wanted = vec![false; count];
                    if load_begins {
                        wanted.iter_mut().zip(&begins).for_each(|(wanted, begin)| *wanted |= within(*begin));
                    }
                    if load_ends {
                        wanted.iter_mut().zip(&ends).for_each(|(wanted, end)| *wanted |= within(*end));
                    } else {
                        each_dead(dead, prior.as_ref(), |nth, end| wanted[nth] |= within(end));
                    }
                    Some(wanted)
                }
            }
            Choice::Life(life @ Life::Within { .. }) => {
                let wants = life.filter();
                Some(begins.iter().zip(&ends).map(|(begin, end)| wants(*begin, *end)).collect())
            }
            Choice::Function(wants) => {
                Some(begins.iter().zip(&ends).map(|(begin, end)| wants(*begin, *end)).collect())
            }
        };
        let (mut begins, mut ends) = if lives { (begins, ends) } else { (Vec::new(), Vec::new()) };
        let (mut mask, mut left) = (prior, count);
        if let Some(wanted) = wanted.filter(|wanted| wanted.contains(&false)) {
            for versions in [&mut begins, &mut ends] {
                let mut flags = wanted.iter();
                versions.retain(|_| *flags.next().expect("one for each row"));
            }
            left = wanted.iter().filter(|wanted| **wanted).count();
            mask = Some(within_mask(rows, mask.as_ref(), &wanted));
        }
        Ok(Chosen { mask, count: left, counted, begins, ends })
    }

    /// The rows that a version shows, of all. Begins and ends are looked at page by page, and only in pages of which
    /// their lowest and highest do not tell.
    fn visible(&self, version: Version) -> Result<Chosen> {
        let extent = &self.file.groups[self.group];
        let rows = extent.rows as usize;
        let one = [PageZone::of_group(extent)];
        let (zones, page_rows) = match one[0].shown_at(version) {
            Some(_) => (&one[..], rows),
            None => match &self.file.details(self.group)?.zones[..] {
                [] => (&one[..], rows),
                zones => (zones, extent.page_rows as usize),
            },
        };
        let shown: Vec<Option<bool>> = zones.iter().map(|zone| zone.shown_at(version)).collect();
        let mut mask = BooleanBufferBuilder::new(rows);
        for (page, shown) in shown.iter().enumerate() {
            mask.append_n(page_rows.min(rows - page * page_rows), shown.unwrap_or(true));
        }
        let mut counted = 0;
        if shown.contains(&None) {
            let pages = shown.iter().enumerate().filter(|(_, shown)| shown.is_none());
            let pages: Vec<Range<usize>> =
                pages.map(|(page, _)| page * page_rows..rows.min((page + 1) * page_rows)).collect();
            let asked = shown
                .iter()
                .any(Option::is_some)
                .then(|| mask_of(rows, pages.iter().cloned().flatten().map(|row| row as u32)));
            if extent.max_begin > version.0 {
                let late = |begin: u64| begin > version.0;
                self.clear(BEGIN_FIELD_ID, asked.as_ref(), &pages, late, &mut counted, &mut mask)?;
            }
            if extent.min_end <= version.0 {
                let early = |end: u64| end <= version.0;
                self.clear(END_FIELD_ID, asked.as_ref(), &pages, early, &mut counted, &mut mask)?;
            }
        }
        let mut hide = |row: u32, end| {
            if end <= version {
                mask.set_bit(row as usize, false);
            }
        };
        match &self.dead {
            DeadRows::Known(dead) => dead.iter().for_each(|(row, end)| hide(*row, *end)),
            DeadRows::Asked(deaths) => deaths.each(&self.file, self.group, &mut hide)?,
        }
        let mask = mask.finish();
        let count = mask.count_set_bits();
        let mask = (count < rows).then_some(mask);
        Ok(Chosen { mask, count, counted, begins: Vec::new(), ends: Vec::new() })
    }

    /// Clears the bits of rows of some pages, which are those asked for, whose value of an internal column hides them.
    fn clear(
        &self,
        id: u32,
        asked: Option<&BooleanBuffer>,
        pages: &[Range<usize>],
        hides: impl Fn(u64) -> bool,
        counted: &mut usize,
        mask: &mut BooleanBufferBuilder,
    ) -> Result<()> {
        let mut pages = pages.iter().cloned();
        let mut page = 0..0;
        self.each_numbers(id, asked, counted, |mut numbers| {
            while !numbers.is_empty() {
                if page.is_empty() {
                    page = pages.next().expect("as many numbers as rows of these pages");
                }
                let (these, rest) = numbers.split_at(numbers.len().min(page.len()));
                for (row, number) in page.clone().zip(these) {
                    if hides(*number) {
                        mask.set_bit(row, false);
                    }
                }
                page.start += these.len();
                numbers = rest;
            }
        })
    }

    /// How many rows may be read, at most.
    pub fn rows_expected(&self) -> usize {
        self.rows.as_ref().map_or(self.file.groups[self.group].rows as usize, Vec::len)
    }

    /// An internal column of the rows asked for.
    fn numbers(&self, id: u32, rows: Option<&BooleanBuffer>, counted: &mut usize) -> Result<Vec<Version>> {
        let mut all = Vec::with_capacity(self.count_asked(rows));
        self.each_numbers(id, rows, counted, |numbers| all.extend(numbers.iter().copied().map(Version)))?;
        Ok(all)
    }

    /// How many rows a mask asks for.
    fn count_asked(&self, rows: Option<&BooleanBuffer>) -> usize {
        rows.map_or(self.file.groups[self.group].rows as usize, BooleanBuffer::count_set_bits)
    }

    /// Calls with the values of an internal column of the rows asked for, in order and in parts: as many as there are
    /// rows, or fewer and an error.
    fn each_numbers(
        &self,
        id: u32,
        rows: Option<&BooleanBuffer>,
        counted: &mut usize,
        mut each: impl FnMut(&[u64]),
    ) -> Result<()> {
        let given = self.count_asked(rows);
        let mut left = given;
        let wrong = || {
            let name = self.file.name();
            Error::corrupt(format!("{name}: the column with id {id} is not numbers of all rows"))
        };
        let mut reader = self.file.read_group(&[id], self.group, rows, *counted, BATCH_ROWS)?;
        while let Some(batch) = reader.next_batch(&self.file)? {
            let numbers = batch.columns().first().and_then(|array| array.as_primitive_opt::<UInt64Type>());
            let numbers = numbers.filter(|numbers| numbers.null_count() == 0).ok_or_else(wrong)?;
            left = left.checked_sub(numbers.len()).ok_or_else(wrong)?;
            each(numbers.values());
        }
        *counted = given;
        if left == 0 { Ok(()) } else { Err(wrong()) }
    }

    /// Reads the rows that are wanted, in order, chunk by chunk.
    pub fn chunks(self, wanted: Wanted, detail: Detail) -> GroupChunks {
        self.chunks_of(BATCH_ROWS, wanted, detail)
    }

    /// The same, in chunks of at most so many rows.
    pub fn chunks_of(self, batch_rows: usize, wanted: Wanted, detail: Detail) -> GroupChunks {
        GroupChunks { task: self, wanted, detail, batch_rows, state: None, failed: false }
    }
}

/// Calls with each dead row's place among those of a mask.
fn each_dead(dead: &[(u32, Version)], mask: Option<&BooleanBuffer>, mut each: impl FnMut(usize, Version)) {
    match mask {
        None => dead.iter().for_each(|(row, end)| each(*row as usize, *end)),
        Some(mask) => {
            let mut dead = dead.iter().peekable();
            for (nth, row) in mask.set_indices().enumerate() {
                while dead.next_if(|(dead, _)| (*dead as usize) < row).is_some() {}
                if let Some((_, end)) = dead.next_if(|(dead, _)| *dead as usize == row) {
                    each(nth, *end);
                }
            }
        }
    }
}

/// The rows of a mask (of all rows) for which a flag is set.
pub fn within_mask(rows: usize, mask: Option<&BooleanBuffer>, flags: &[bool]) -> BooleanBuffer {
    match mask {
        None => BooleanBuffer::from(flags),
        Some(mask) => {
            mask_of(rows, mask.set_indices().zip(flags).filter(|(_, flag)| **flag).map(|(row, _)| row as u32))
        }
    }
}

/// A mask with these rows, ascending.
pub fn mask_of(rows: usize, chosen: impl Iterator<Item = u32>) -> BooleanBuffer {
    let mut mask = BooleanBufferBuilder::new(rows);
    mask.append_n(rows, false);
    chosen.for_each(|row| mask.set_bit(row as usize, true));
    mask.finish()
}

struct Reading {
    reader: GroupReader,
    chosen: Chosen,
    done: usize,
}

/// The row versions of a row group that are wanted.
pub struct GroupChunks {
    task: GroupTask,
    wanted: Wanted,
    detail: Detail,
    batch_rows: usize,
    state: Option<Reading>,
    failed: bool,
}

impl GroupChunks {
    fn open(&self) -> Result<Reading> {
        let chosen = self.task.choose(self.detail.lives)?;
        let mut ids: Vec<u32> = self.wanted.columns.iter().map(|column| column.id).collect();
        if self.detail.keys {
            ids.extend(key_ids(&self.wanted.key));
        }
        let group = self.task.group;
        let (mask, counted) = (chosen.mask.as_ref(), chosen.counted);
        let reader = self.task.file.read_group(&ids, group, mask, counted, self.batch_rows)?;
        Ok(Reading { reader, chosen, done: 0 })
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.state.is_none() {
            self.state = Some(self.open()?);
        }
        let state = self.state.as_mut().expect("it was opened above");
        let file = &self.task.file;
        let Some(batch) = state.reader.next_batch(file)? else { return Ok(None) };
        let range = state.done..state.done + batch.num_rows();
        state.done = range.end;
        if range.end > state.chosen.count {
            return Err(Error::corrupt(format!("{}: a row group has more rows than it says", file.name())));
        }
        let keys = match self.detail.keys {
            true => file.keys_of(&batch, state.reader.columns(), &self.wanted.key)?,
            false => Keys::default(),
        };
        let (begins, ends) = match self.detail.lives {
            true => (state.chosen.begins[range.clone()].to_vec(), state.chosen.ends[range.clone()].to_vec()),
            false => Default::default(),
        };
        let columns: &[Column] = state.reader.columns();
        let rows = as_wanted(file, &batch, columns, &self.wanted.columns, &self.wanted.schema)?;
        Ok(Some(Chunk { rows, keys, begins, ends }))
    }
}

impl Iterator for GroupChunks {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Result<Chunk>> {
        if self.failed {
            return None;
        }
        loop {
            let next = self.next_chunk();
            self.failed = next.is_err();
            match next {
                Ok(Some(chunk)) if chunk.rows.num_rows() == 0 => {}
                next => return next.transpose(),
            }
        }
    }
}

impl DataFile {
    /// Row versions of the given row groups that `life` wants, in order. `dead` are rows that died after the file was
    /// written: (position in the file, end), ascending.
    pub fn scan(
        self: &Arc<DataFile>,
        wanted: Wanted,
        groups: Vec<GroupRows>,
        dead: Arc<Vec<(u32, Version)>>,
        life: LifeFilter,
    ) -> Chunks {
        let file = self.clone();
        let detail = Detail { keys: true, lives: true };
        Box::new(groups.into_iter().flat_map(move |(group, rows)| {
            let choice = Choice::Function(life.clone());
            let dead = DeadRows::Known(file.dead_in(group, &dead));
            GroupTask { file: file.clone(), group, rows, dead, choice }.chunks(wanted.clone(), detail)
        }))
    }

    /// The dead rows of a row group, by position within it, of those of the file.
    pub fn dead_in(&self, group: usize, dead: &[(u32, Version)]) -> Vec<(u32, Version)> {
        let (start, rows) = (self.group_start(group), self.groups[group].rows);
        let first = dead.partition_point(|(row, _)| *row < start);
        let of_group = dead[first..].iter().take_while(|(row, _)| row - start < rows);
        of_group.map(|(row, end)| (row - start, *end)).collect()
    }
}
