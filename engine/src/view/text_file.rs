//! A table as CSV or JSON Lines: a row of sections, each the text of a range of keys, rendered when it is first read.
//!
//! The file's size is known from running sums, so a section can be placed from either end once those before or behind it
//! are: by rendering the few in between, or by counting their cells without writing them, on all threads. What was
//! counted is kept in the cache as restart points. A reader who goes on is rendered for ahead, within the memory that
//! the cache grants. When all sections are there the file is sealed, kept in the cache, and what it was made of is let
//! go. Invariants: the bytes are those of [`super::render`], wherever the table is cut; sections that together are not of
//! the size told are an error; damage of rows fails the sections that need them and no others; who waits, waits for one
//! section or for one count.

use super::Format;
use super::cache::{Draft, Hold, SealedFile, ViewCache, ViewKey};
use super::carried::{Base, line_bytes};
use super::extents::{Extents, Misfit, Place};
use super::restart_points::{Digest, RestartPoint, digest_of};
use crate::error::{Error, ErrorKind, Result};
use crate::once::Once;
use crate::pool::{self, Pending};
use crate::scan::ranges::RangedRows;
use crate::state::State;
use crate::text::{cell_bytes, header_bytes, write_csv_header, write_csv_rows, write_jsonl_rows};
use asof_mvcc::{KeyBytes, KeyRange, Table, TableSchema, Version};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// So many sections from what is placed, those in between are rendered rather than counted.
const NEAR_SECTIONS: u64 = 2;
/// Who has read so much of the first section, one part in so many, is taken to go on.
const GOES_ON_AFTER: u64 = 4;
/// A file of the cache of up to so many sections is verified as a whole when it is opened, others section by section.
const VERIFIED_AT_ONCE_MAX: u64 = 8;
/// A file of up to so many sections is sealed by who renders its last one, others by another thread.
const SEALED_AT_ONCE_MAX: u64 = 2;
/// Lengths are not carried over from another version where more rows than one in so many differ.
const CARRIED_SHARE: u64 = 2;
/// Memory taken for a section before it is rendered, at most: more comes as it grows.
const CAPACITY_MAX: u64 = 16 << 20;

/// A text file.
pub(super) struct TextFile {
    key: ViewKey,
    size: u64,
    schema: Arc<TableSchema>,
    cache: Arc<ViewCache>,
    threads: usize,
    /// Bytes of a section, about.
    section_bytes: u64,
    /// Gone as soon as the file is whole.
    source: Mutex<Option<Source>>,
    opened: OnceLock<()>,
    sealed: OnceLock<Arc<SealedFile>>,
    plan: Once<Plan>,
}

/// What a text file is rendered from.
pub(super) struct Source {
    state: Arc<State>,
    table: Arc<Table>,
    version: Version,
    /// How many rows there are.
    count: u64,
    rows: Option<Arc<RangedRows>>,
}

/// The sections of a file, and what is there of them.
struct Plan {
    sections: Vec<Section>,
    extents: Mutex<Extents>,
    /// Whether the sections do not make up the file.
    misfits: AtomicBool,
    /// Held by whoever counts: another version from which lengths can be carried over, until that was tried.
    counting: Mutex<Option<Base>>,
    /// The version from which lengths were carried over.
    carried_from: OnceLock<Version>,
    /// The file as an earlier rendering left it in the cache, if each of its sections can be verified.
    cached: Option<Arc<SealedFile>>,
    draft: Once<Draft>,
    /// What the draft's disk has no room for.
    overflow: Once<Draft>,
    filled: AtomicUsize,
}

struct Section {
    range: KeyRange,
    /// [`MISSING`], or where it lies.
    place: AtomicU8,
    /// Whether anybody has read of it.
    is_touched: AtomicBool,
    digest: OnceLock<Digest>,
    /// Held by whoever fills it.
    ahead: Mutex<Option<Ahead>>,
    /// Its text, where no disk has room for it.
    kept: OnceLock<(Vec<u8>, Hold)>,
}

const MISSING: u8 = 0;
const IN_DRAFT: u8 = 1;
const IN_CACHED: u8 = 2;
const IN_OVERFLOW: u8 = 3;
const IN_MEMORY: u8 = 4;

/// Makes a draft of so many bytes.
type NewDraft = fn(&ViewCache, u64) -> Result<Draft>;

/// A section that is rendered before anybody asks for it, and the memory it may take.
struct Ahead {
    text: Pending<Result<Option<Text>>>,
    hold: Hold,
}

/// A section as text.
struct Text {
    bytes: Vec<u8>,
    digest: Digest,
}

/// What the text of a range depends on.
#[derive(Clone)]
struct Renderer {
    format: Format,
    schema: Arc<TableSchema>,
    rows: Arc<RangedRows>,
}

impl Renderer {
    /// The text of a range; none where it is longer than `bytes_max`.
    fn text(&self, range: &KeyRange, expected: u64, bytes_max: u64) -> Result<Option<Text>> {
        let mut bytes = Vec::with_capacity(expected.min(CAPACITY_MAX) as usize);
        if self.format == Format::Csv && range.low.is_empty() {
            write_csv_header(&self.schema, &mut bytes);
        }
        for chunk in self.rows.chunks(range)? {
            match self.format {
                Format::Csv => write_csv_rows(&self.schema, &chunk?.rows, &mut bytes),
                _ => write_jsonl_rows(&self.schema, &chunk?.rows, &mut bytes),
            }
            if bytes.len() as u64 > bytes_max {
                return Ok(None);
            }
        }
        let digest = digest_of(&bytes);
        Ok(Some(Text { bytes, digest }))
    }

    /// How long it is.
    fn length(&self, range: &KeyRange) -> Result<u64> {
        let columns = &self.schema.columns;
        let (mut rows, mut csv, mut json) = (0, 0, 0);
        self.rows.each(range, |batch| {
            rows += batch.num_rows() as u64;
            for (column, array) in columns.iter().zip(batch.columns()) {
                let (c, j) = cell_bytes(column, array, columns.len() == 1);
                (csv, json) = (csv + c, json + j);
            }
        })?;
        let lines = line_bytes(self.format, &self.schema, rows, (csv, json));
        let has_header = self.format == Format::Csv && range.low.is_empty();
        Ok(lines + if has_header { header_bytes(&self.schema) } else { 0 })
    }
}

impl Source {
    /// A table at a version, where it has so many rows.
    pub(super) fn new(state: Arc<State>, table: Arc<Table>, version: Version, count: u64) -> Source {
        Source { state, table, version, count, rows: None }
    }
}

impl TextFile {
    /// The file of a key, of a size that is known.
    pub(super) fn new(
        cache: Arc<ViewCache>,
        key: ViewKey,
        size: u64,
        source: Source,
        section_bytes: u64,
    ) -> TextFile {
        TextFile {
            key,
            size,
            schema: source.table.schema_at(source.version).clone(),
            cache,
            threads: source.state.generation.open_files().threads,
            section_bytes: section_bytes.max(1),
            source: Mutex::new(Some(source)),
            opened: OnceLock::new(),
            sealed: OnceLock::new(),
            plan: Once::default(),
        }
    }

    /// Its exact size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Looks for it in the cache; renders nothing.
    pub(super) fn open(&self) {
        self.opened.get_or_init(|| {
            if self.is_verified_at_once()
                && let Some(file) = self.cache.open_verified(&self.key, Some(self.size))
            {
                let _ = self.sealed.set(Arc::new(file));
                *self.source.lock() = None;
            }
        });
    }

    fn is_verified_at_once(&self) -> bool {
        self.size <= self.section_bytes.saturating_mul(VERIFIED_AT_ONCE_MAX)
    }

    /// The whole file, where all of it is there and verified.
    pub(super) fn sealed(&self) -> Option<&Arc<SealedFile>> {
        self.sealed.get()
    }

    /// Whether nobody has written to the file in the cache that it is read from.
    pub(super) fn is_intact(&self) -> bool {
        let cached = self.plan.get().and_then(|plan| plan.cached.as_ref());
        self.sealed.get().or(cached).is_none_or(|file| file.is_intact())
    }

    /// Whether a range can be read without rendering; an empty one, whether the file is open.
    pub(super) fn is_ready(&self, range: Range<u64>) -> bool {
        if self.sealed.get().is_some() {
            return true;
        }
        if range.is_empty() {
            return self.opened.get().is_some();
        }
        let Some(plan) = self.plan.get() else { return false };
        let extents = plan.extents.lock();
        let mut at = range.start;
        while at < range.end {
            match extents.find(at) {
                Place::In(section) if plan.sections[section].is_filled() => {
                    let Some((_, end)) = extents.range(section) else { return false };
                    at = end;
                }
                _ => return false,
            }
        }
        true
    }

    /// Which section a byte lies in, from 1; another number where that is not known.
    pub(super) fn part_at(&self, offset: u64) -> u64 {
        match self.plan.get().map(|plan| plan.extents.lock().find(offset)) {
            Some(Place::In(section)) => section as u64 + 1,
            _ => u64::from(u32::MAX),
        }
    }

    /// Reads bytes that lie within the file.
    pub(super) fn read_exact_at(self: &Arc<Self>, buf: &mut [u8], offset: u64) -> Result<()> {
        self.open();
        if let Some(sealed) = self.sealed.get() {
            return sealed.read_exact_at(buf, offset, &self.key);
        }
        let plan = self.plan()?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let index = self.locate(plan, at)?;
            self.touch(plan, index, at);
            self.fill(plan, index)?;
            let (_, end) = plan.range(index);
            let count = (end - at).min(rest.len() as u64) as usize;
            let (these, others) = rest.split_at_mut(count);
            plan.read_exact_at(index, these, at, &self.key)?;
            (at, rest) = (at + count as u64, others);
        }
        Ok(())
    }

    /// The rows, as long as the file is not whole.
    fn renderer(&self) -> Result<Option<Renderer>> {
        let mut source = self.source.lock();
        let Some(source) = source.as_mut() else { return Ok(None) };
        let rows = match &source.rows {
            Some(rows) => rows.clone(),
            None => {
                let rows =
                    RangedRows::new(&source.state, &source.table, &self.schema.columns, source.version)?;
                source.rows.insert(Arc::new(rows)).clone()
            }
        };
        Ok(Some(Renderer { format: self.key.format, schema: self.schema.clone(), rows }))
    }

    /// The sections: as they were cut before, or as row groups suggest.
    fn plan(&self) -> Result<&Plan> {
        self.plan.get_or_make(|| {
            let known = self.cache.restart_points(&self.key, self.size);
            let Some(mut plan) = known.and_then(|points| Plan::of(self.size, points)) else {
                return self.cut();
            };
            if plan.sections.iter().all(|section| section.digest.get().is_some()) {
                plan.cached = self.cache.open_unverified(&self.key, self.size).map(Arc::new);
            }
            Ok(plan)
        })
    }

    /// Sections where another version has them that is not very different, and behind its last one, or where there is
    /// none, where row groups or their pages begin.
    fn cut(&self) -> Result<Plan> {
        let renderer = self.renderer()?.expect("it is not whole before it is planned");
        let count = self.source.lock().as_ref().map_or(0, |source| source.count);
        let mut cuts = renderer.rows.cuts(self.section_bytes.saturating_mul(count) / self.size.max(1));
        // Of a few sections none is counted.
        let base = match cuts.len() as u64 > 2 * NEAR_SECTIONS {
            true => self.cache.nearest_points(&self.key),
            false => None,
        };
        let base = base.filter(|(_, size, _)| (*size / 2..=size.saturating_mul(2)).contains(&self.size));
        if let Some((_, _, points)) = &base {
            let lows = points.iter().map(|point| point.low.clone());
            cuts.retain(|low| points.last().is_none_or(|last| last.low < *low));
            cuts = lows.chain(cuts).collect();
        }
        let cuts = cuts.into_iter().map(|low| RestartPoint { low, length: None, digest: None });
        let plan = Plan::of(self.size, cuts.collect()).expect("no lengths are known that could misfit");
        *plan.counting.lock() = base.map(|(changed, _, points)| Base { changed, points });
        Ok(plan)
    }

    /// The section of a byte. Renders or counts those before it, or those behind, as far as their lengths are missing.
    fn locate(self: &Arc<Self>, plan: &Plan, at: u64) -> Result<usize> {
        let near = self.section_bytes.saturating_mul(NEAR_SECTIONS);
        loop {
            if plan.misfits.load(Ordering::Relaxed) {
                return Err(self.misfit());
            }
            let place = plan.extents.lock().find(at);
            let rendered = match place {
                Place::In(section) => return Ok(section),
                Place::Among { first, behind, .. } if behind < near => self.fill(plan, first),
                Place::Among { end, before, .. } if before <= near => self.fill(plan, end - 1),
                Place::Among { .. } => {
                    self.count(plan, at)?;
                    continue;
                }
            };
            if rendered.is_err() {
                // What is damaged may lie between this byte and one end of the file alone.
                self.count(plan, at)?;
            }
        }
    }

    /// Counts sections until it is known which one a byte lies in, and keeps what was counted.
    fn count(&self, plan: &Plan, at: u64) -> Result<()> {
        let mut counting = plan.counting.lock();
        let before = plan.extents.lock().known();
        let is_found = matches!(plan.extents.lock().find(at), Place::In(_));
        if !is_found && let Some(base) = counting.take() {
            self.carry(plan, &base);
        }
        let counted = self.count_up_to(plan, at);
        if plan.extents.lock().known() > before && !plan.misfits.load(Ordering::Relaxed) {
            self.cache.keep_restart_points(&self.key, self.size, &plan.points());
        }
        counted
    }

    /// Takes the lengths of sections that another version tells, but for its last one: behind that there may be more now.
    fn carry(&self, plan: &Plan, base: &Base) {
        let source = self.source.lock().as_ref().map(|source| {
            (source.state.clone(), source.table.clone(), source.version, source.count / CARRIED_SHARE)
        });
        let Some((state, table, version, rows_max)) = source else { return };
        match base.lengths_at((&state, &table, version), self.key.format, rows_max) {
            Ok(Some(lengths)) => {
                let mut extents = plan.extents.lock();
                let mut carried = extents.clone();
                let (_, lengths) = lengths.split_last().expect("a file has a section");
                let known =
                    lengths.iter().enumerate().filter_map(|(index, length)| Some((index, (*length)?)));
                match known.into_iter().try_for_each(|(index, length)| carried.set(index, length)) {
                    Ok(()) => {
                        *extents = carried;
                        let _ = plan.carried_from.set(base.changed);
                    }
                    Err(Misfit) => log::warn!("sections of table {} are counted anew", self.key.table),
                }
            }
            Ok(None) => {}
            // Counting needs less of what may be damaged.
            Err(error) => log::info!("sections of table {} are counted anew: {error}", self.key.table),
        }
    }

    /// Counts from the nearer end, and where that fails from the other.
    fn count_up_to(&self, plan: &Plan, at: u64) -> Result<()> {
        let mut failed = None;
        for attempt in 0..2 {
            let place = plan.extents.lock().find(at);
            let Place::Among { first, end, behind, before } = place else { return Ok(()) };
            let Some(renderer) = self.renderer()? else { return Ok(()) };
            let is_unknown = |section: &usize| plan.extents.lock().length(*section).is_none();
            let mut unknown: Vec<usize> = (first..end).filter(is_unknown).collect();
            if (behind > before) == (attempt == 0) {
                unknown.reverse();
            }
            let jobs: Vec<_> =
                unknown.into_iter().map(|index| (index, plan.sections[index].range.clone())).collect();
            let work = move |(index, range): (usize, KeyRange)| (index, renderer.length(&range));
            for counted in pool::ahead(self.threads, jobs.into_iter(), work) {
                let (index, length) = counted?;
                match length {
                    Ok(length) => self.take_length(plan, index, length)?,
                    Err(error) => {
                        failed.get_or_insert(error);
                        break;
                    }
                }
                if matches!(plan.extents.lock().find(at), Place::In(_)) {
                    return Ok(());
                }
            }
        }
        match plan.extents.lock().find(at) {
            Place::In(_) => Ok(()),
            Place::Among { .. } => Err(failed.unwrap_or_else(|| self.misfit())),
        }
    }

    fn take_length(&self, plan: &Plan, index: usize, length: u64) -> Result<()> {
        plan.extents.lock().set(index, length).map_err(|Misfit| self.misfits(plan))
    }

    /// What was kept of this file is not believed again.
    fn misfits(&self, plan: &Plan) -> Error {
        plan.misfits.store(true, Ordering::Relaxed);
        self.cache.forget_restart_points(&self.key);
        if let Some(changed) = plan.carried_from.get() {
            self.cache.forget_restart_points(&ViewKey { changed: *changed, ..self.key.clone() });
        }
        self.misfit()
    }

    fn misfit(&self) -> Error {
        let ViewKey { table, changed, format, .. } = &self.key;
        Error::corrupt(format!(
            "table {table} at version {changed} does not have {} bytes as {}, which were expected; run verify",
            self.size,
            format.extension()
        ))
    }

    /// Takes note of who reads; has sections that follow rendered where that looks like going on.
    fn touch(&self, plan: &Plan, index: usize, at: u64) {
        plan.sections[index].is_touched.store(true, Ordering::Relaxed);
        let goes_on = match index.checked_sub(1) {
            None => at >= self.section_bytes / GOES_ON_AFTER,
            Some(before) => plan.sections[before].is_touched.load(Ordering::Relaxed),
        };
        if !goes_on || self.threads < 2 {
            return;
        }
        let last = plan.sections.len().min(index + 2 + self.threads);
        for next in index + 1..last {
            let section = &plan.sections[next];
            if section.is_filled() || plan.cached.is_some() {
                continue;
            }
            let Some(mut ahead) = section.ahead.try_lock() else { continue };
            if ahead.is_some() || section.is_filled() {
                continue;
            }
            let expected = self.expected(plan, next);
            let bytes_max = expected.saturating_add(self.section_bytes);
            let Some(hold) = self.cache.hold(bytes_max) else { return };
            // Who needs the section meets the error itself.
            let Ok(Some(renderer)) = self.renderer() else { return };
            let range = section.range.clone();
            let text = pool::start(move || renderer.text(&range, expected, bytes_max));
            *ahead = Some(Ahead { text, hold });
        }
    }

    /// How long a section is, about.
    fn expected(&self, plan: &Plan, index: usize) -> u64 {
        let length = plan.extents.lock().length(index);
        length.unwrap_or(self.size / plan.sections.len() as u64)
    }

    /// Sees to it that a section can be read. Others who want it wait.
    fn fill(self: &Arc<Self>, plan: &Plan, index: usize) -> Result<()> {
        let section = &plan.sections[index];
        if section.is_filled() {
            return Ok(());
        }
        let mut ahead = section.ahead.lock();
        if section.is_filled() {
            return Ok(());
        }
        if self.is_in_cached(plan, index) {
            section.place.store(IN_CACHED, Ordering::Release);
        } else {
            let Some(renderer) = self.renderer()? else { return Ok(()) };
            let (early, _hold) = match ahead.take() {
                Some(Ahead { text, hold }) => (text.wait()??, Some(hold)),
                None => (None, None),
            };
            let text = match early {
                Some(text) => Some(text),
                None => renderer.text(&section.range, self.expected(plan, index), u64::MAX)?,
            };
            let Text { bytes, digest } = text.expect("there is no limit to it");
            self.take_length(plan, index, bytes.len() as u64)?;
            if *section.digest.get_or_init(|| digest) != digest {
                return Err(self.misfits(plan));
            }
            let (start, _) = plan.range(index);
            let at = |error: Error| error.at(format_args!("rendering {}", self.key.format.extension()));
            let place = self.store(plan, section, bytes, start).map_err(at)?;
            section.place.store(place, Ordering::Release);
        }
        drop(ahead);
        if plan.filled.fetch_add(1, Ordering::AcqRel) + 1 == plan.sections.len() {
            if self.threads < 2 || self.size <= self.section_bytes.saturating_mul(SEALED_AT_ONCE_MAX) {
                self.seal();
            } else {
                let this = self.clone();
                drop(pool::start(move || this.seal()));
            }
        }
        Ok(())
    }

    /// Whether the file in the cache has the right text of a section.
    fn is_in_cached(&self, plan: &Plan, index: usize) -> bool {
        let section = &plan.sections[index];
        let (Some(cached), Some(digest)) = (&plan.cached, section.digest.get()) else { return false };
        match cached.verified(plan.range(index), digest) {
            Ok(Some(_)) => true,
            Ok(None) => {
                let table = self.key.table;
                log::warn!(
                    "the cached {} of table {table} is damaged and is rendered again",
                    self.key.format.extension()
                );
                false
            }
            Err(error) => {
                log::warn!("a cached file cannot be read: {error}");
                false
            }
        }
    }

    /// Stores the text of a section in the cache's directory; where that has no room in that of temporary files, and where
    /// that has none in memory, as far as the budget goes. Gives the place.
    fn store(&self, plan: &Plan, section: &Section, bytes: Vec<u8>, start: u64) -> Result<u8> {
        let files: [(u8, &Once<Draft>, NewDraft); 2] =
            [(IN_DRAFT, &plan.draft, ViewCache::draft), (IN_OVERFLOW, &plan.overflow, ViewCache::overflow)];
        let mut full = None;
        for (place, file, new) in files {
            let stored = file
                .get_or_make(|| new(&self.cache, self.size))
                .and_then(|file| file.write_at(&self.cache, &bytes, start));
            match stored {
                Ok(()) => return Ok(place),
                Err(error) => {
                    if plan.overflow.get().is_none() {
                        let form = self.key.format.extension();
                        log::warn!("a {form} is kept elsewhere, until it is closed: the cache: {error}");
                    }
                    full = Some(error);
                }
            }
        }
        match self.cache.hold(bytes.len() as u64) {
            Some(hold) => {
                section.kept.get_or_init(|| (bytes, hold));
                Ok(IN_MEMORY)
            }
            None => Err(full.expect("no file took it")),
        }
    }

    /// Makes one sealed file of all sections, keeps it in the cache, and lets go of what it was made of.
    fn seal(&self) {
        let plan = self.plan.get().expect("sections were filled");
        let sealed = match self.sealed_of(plan) {
            Ok(sealed) => sealed,
            // What is read of it is right all the same.
            Err(error) => return log::warn!("a {} cannot be sealed: {error}", self.key.format.extension()),
        };
        let _ = self.sealed.set(sealed);
        let source = self.source.lock().take();
        drop(source);
    }

    fn sealed_of(&self, plan: &Plan) -> Result<Arc<SealedFile>> {
        let elsewhere =
            |section: &Section| matches!(section.place.load(Ordering::Acquire), IN_OVERFLOW | IN_MEMORY);
        if plan.sections.iter().any(elsewhere) {
            return Err(Error::new(ErrorKind::Full, "the cache has no room for all of it"));
        }
        let Some(draft) = plan.draft.get() else {
            return Ok(plan
                .cached
                .clone()
                .expect("sections that are not in the draft are in the cached file"));
        };
        for (index, section) in plan.sections.iter().enumerate() {
            if section.place.load(Ordering::Acquire) == IN_CACHED {
                let range = plan.range(index);
                let mut bytes = vec![0; (range.1 - range.0) as usize];
                plan.read_exact_at(index, &mut bytes, range.0, &self.key)?;
                draft.write_at(&self.cache, &bytes, range.0)?;
            }
        }
        if plan.sections.len() > 1 {
            self.cache.keep_restart_points(&self.key, self.size, &plan.points());
        }
        draft.sealed().seal()?;
        self.cache.keep(&self.key, draft, self.is_verified_at_once())?;
        Ok(draft.sealed().clone())
    }
}

impl Plan {
    /// Sections that begin at these points; none where their lengths are not those of a file of this size.
    fn of(size: u64, points: Vec<RestartPoint>) -> Option<Plan> {
        let mut extents = Extents::new(size, points.len());
        for (index, length) in
            points.iter().enumerate().filter_map(|(index, point)| Some((index, point.length?)))
        {
            extents.set(index, length).ok()?;
        }
        let ends: Vec<Option<KeyBytes>> =
            points.iter().skip(1).map(|point| Some(point.low.clone())).chain([None]).collect();
        let sections = points.into_iter().zip(ends).map(|(point, high)| Section {
            range: KeyRange { low: point.low, high },
            place: AtomicU8::new(MISSING),
            is_touched: AtomicBool::new(false),
            digest: point.digest.filter(|_| point.length.is_some()).map(OnceLock::from).unwrap_or_default(),
            ahead: Mutex::new(None),
            kept: OnceLock::new(),
        });
        Some(Plan {
            sections: sections.collect(),
            extents: Mutex::new(extents),
            misfits: AtomicBool::new(false),
            counting: Mutex::new(None),
            carried_from: OnceLock::new(),
            cached: None,
            draft: Once::default(),
            overflow: Once::default(),
            filled: AtomicUsize::new(0),
        })
    }

    /// Where a section lies whose place is known.
    fn range(&self, index: usize) -> (u64, u64) {
        self.extents.lock().range(index).expect("sections are filled that are next to what is placed")
    }

    /// Reads bytes that lie within a filled section.
    fn read_exact_at(&self, index: usize, buf: &mut [u8], offset: u64, key: &ViewKey) -> Result<()> {
        let section = &self.sections[index];
        let file = match section.place.load(Ordering::Acquire) {
            IN_CACHED => self.cached.as_ref().expect("the section was found in it"),
            IN_OVERFLOW => self.overflow.get().expect("the section was written to it").sealed(),
            IN_MEMORY => {
                let (text, _) = section.kept.get().expect("the section was kept");
                let start = (offset - self.range(index).0) as usize;
                buf.copy_from_slice(&text[start..start + buf.len()]);
                return Ok(());
            }
            _ => self.draft.get().expect("the section was written to it").sealed(),
        };
        file.read_exact_at(buf, offset, key)
    }

    fn points(&self) -> Vec<RestartPoint> {
        let extents = self.extents.lock();
        let points = self.sections.iter().enumerate().map(|(index, section)| RestartPoint {
            low: section.range.low.clone(),
            length: extents.length(index),
            digest: section.digest.get().copied(),
        });
        points.collect()
    }
}

impl Section {
    fn is_filled(&self) -> bool {
        self.place.load(Ordering::Acquire) != MISSING
    }
}
