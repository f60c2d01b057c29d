//! Rows of a transaction with a key that take more memory than its share: runs on disk, each in key
//! order, which are folded into the files of a load when it commits.
//!
//! Invariants. What is taken at a time is a *part*, with a number; of one key, parts speak in order of
//! their numbers, and each as if nothing had been before it. So what the transaction wants of a key is
//! what the first part expects of it and what the last one leaves; a part that contradicts what is
//! before it (inserts what is there, changes what is gone) is an error when the parts are folded. Keys
//! that are gone stay in memory, as those that a commit deletes do. Runs go with the transaction.

use super::output::{Output, Part};
use super::{LoadedFiles, begin_file};
use crate::adapt::{adapt, loose_schema};
use crate::api::Counts;
use crate::codec::records::{Target, encode_rows};
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::state::State;
use crate::store::chunk::{Chunk, Chunks, merge};
use crate::store::data_file::{DataFile, Wanted};
use crate::store::data_writer::FileKind;
use crate::text::format_key;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use asof_mvcc::{Expect, KeyBytes, Keys, Table, TableSchema, TableWrites, Version};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of a chunk, and of a block of the digest.
const STEP_ROWS: usize = 16_384;
/// What a row's note is: its part's number times this, and what it expects.
const EXPECTS: u64 = 4;

/// What a part expects of a key and leaves gone.
type Gone = BTreeMap<KeyBytes, Vec<(u64, Expect)>>;

/// A part on disk.
#[derive(Debug)]
struct Run {
    number: u64,
    file: Arc<DataFile>,
}

/// The parts of a transaction's changes of one table.
#[derive(Debug)]
pub(crate) struct Spill {
    inner: Arc<Inner>,
    table: Table,
    schema: Arc<TableSchema>,
    /// Its runs.
    files: LoadedFiles,
    runs: Vec<Run>,
    gone: Gone,
    /// Parts before this one have been truncated away, and the table's rows with them.
    truncated_at: Option<u64>,
    next: u64,
}

/// What came of all parts, ready to be committed.
#[derive(Debug)]
pub(crate) struct Folded {
    /// Files with the rows put.
    pub(crate) files: LoadedFiles,
    /// Keys of the rows that they replace, or that are deleted.
    pub(crate) deleted: Keys,
    /// Where those lie.
    pub(crate) deleted_at: Vec<Target>,
    /// Rows inserted, updated and deleted; those of a truncation are not counted.
    pub(crate) counts: Counts,
    /// Whether all rows that were there go.
    pub(crate) truncated: bool,
    /// Of keys and rows: two transactions with it want the same.
    pub(crate) digest: [u8; 32],
}

/// A row, as one of a batch.
type Row = (Arc<RecordBatch>, usize);

/// Is called with each key: whether the table's rows go before, the key, what is expected of it, and the row put.
type Each<'a> = dyn FnMut(bool, &[u8], Expect, Option<&Row>) -> Result<()> + 'a;

impl Spill {
    /// Nothing yet, of a table under the number that it will most likely have.
    pub(crate) fn new(inner: Arc<Inner>, table: Table) -> Spill {
        Spill {
            files: LoadedFiles::none(inner.clone()),
            inner,
            schema: table.newest_schema().clone(),
            table,
            runs: Vec::new(),
            gone: Gone::new(),
            truncated_at: None,
            next: 1,
        }
    }

    /// Goes on with rows of another schema.
    pub(crate) fn set_schema(&mut self, schema: Arc<TableSchema>) {
        self.schema = schema;
    }

    /// Takes what was gathered in memory as the next part, and leaves nothing.
    pub(crate) fn take(&mut self, writes: &mut TableWrites) -> Result<()> {
        let writes = std::mem::take(writes);
        let number = self.note(&writes);
        let mut chunks = sorted(&self.schema, &writes, number)?.peekable();
        if chunks.peek().is_none() {
            return Ok(());
        }
        let kind = FileKind::Spilled;
        let mut writer = begin_file(&self.inner, &self.table, &self.schema, kind, &mut self.files.locks)?;
        for chunk in chunks {
            let chunk = chunk?;
            writer.write(&chunk.rows, &chunk.keys, None, &chunk.begins, &[])?;
        }
        let record = writer.finish()?;
        self.files.runs.push(record.clone());
        let counts = self.inner.disk.counts().clone();
        let file = DataFile::open(&*self.inner.disk, &self.inner.layout, &record, counts)?;
        self.runs.push(Run { number, file: Arc::new(file) });
        Ok(())
    }

    /// Takes note of all of a part but its rows; gives the number of those.
    fn note(&mut self, writes: &TableWrites) -> u64 {
        let mut number = self.next;
        for (key, write) in &writes.keys {
            // What was expected before a truncation is expected still; what is put after it expects nothing.
            let before = writes.truncated && write.expect != Expect::Any;
            let deleted = !writes.truncated && write.row.is_none();
            if before || deleted {
                self.gone.entry(key.clone()).or_default().push((number, write.expect));
            }
        }
        if writes.truncated {
            number += 1;
            self.truncated_at = Some(number);
        }
        self.next = number + 1;
        number
    }

    /// Deletes all rows: those of parts and of memory, and those of the table.
    pub(crate) fn truncate(&mut self, writes: &mut TableWrites) {
        writes.truncate();
        self.note(&std::mem::take(writes));
    }

    /// The row that the parts leave of a key, `Some(None)` where it is gone, `None` where they say nothing.
    pub(crate) fn row_of(&self, key: &[u8]) -> Result<Option<Option<RecordBatch>>> {
        let gone = self.gone.get(key).and_then(|gone| gone.last()).map(|(number, _)| *number);
        for run in self.runs.iter().rev().take_while(|run| gone.is_none_or(|gone| gone < run.number)) {
            if self.truncated_at.is_some_and(|at| run.number < at) {
                break;
            }
            if let Some(row) = self.row_in(run, key)? {
                return Ok(Some(Some(row)));
            }
        }
        Ok((gone.is_some() || self.truncated_at.is_some()).then_some(None))
    }

    fn row_in(&self, run: &Run, key: &[u8]) -> Result<Option<RecordBatch>> {
        let file = &run.file;
        if key < &file.record.min_key[..] || key > &file.record.max_key[..] {
            return Ok(None);
        }
        let state = self.inner.state();
        let wanted = self.wanted();
        for group in file.groups_with_key(key) {
            let rows = state.generation.rows_of_key(file, group, &wanted.key, key)?;
            if rows.is_empty() {
                continue;
            }
            let groups = vec![(group, Some(rows.collect()))];
            let mut chunks = file.scan(wanted.clone(), groups, Arc::default(), Arc::new(|_, _| true));
            if let Some(chunk) = chunks.next() {
                let columns = chunk?.rows.columns().to_vec();
                return Ok(Some(RecordBatch::try_new(self.schema.to_arrow(), columns)?.slice(0, 1)));
            }
        }
        Ok(None)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            columns: self.schema.columns.clone().into(),
            schema: loose_schema(&self.schema.columns),
            key: self.schema.key_columns().cloned().collect(),
        }
    }

    /// What the parts, and what is in memory still, come to, without writing anything.
    pub(crate) fn counts(
        &self,
        writes: &TableWrites,
        state: &State,
        table: Option<&Table>,
    ) -> Result<Counts> {
        let mut whole = Spill {
            inner: self.inner.clone(),
            table: self.table.clone(),
            schema: self.schema.clone(),
            files: LoadedFiles::none(self.inner.clone()),
            runs: self.runs.iter().map(|run| Run { number: run.number, file: run.file.clone() }).collect(),
            gone: self.gone.clone(),
            truncated_at: self.truncated_at,
            next: self.next,
        };
        let mut counts = Counts::default();
        let find = Find::new(&self.schema, state, table, false);
        whole.fold(writes, &mut |truncated, key, expect, row| {
            count(&mut counts, row.is_some(), find.place(&self.table.name, truncated, key, expect, row)?);
            Ok(())
        })?;
        Ok(counts)
    }

    /// Whether all rows that the table had go.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated_at.is_some()
    }

    /// Writes the rows that the parts, and what is in memory still, leave to the files of a load. `table` is the table as
    /// the state has it; none where the transaction makes it, or where it has no rows. A request that was `known` before
    /// only needs its digest: what it expected of rows need not be so any more.
    pub(crate) fn finish(
        mut self,
        writes: &TableWrites,
        state: &State,
        table: Option<&Table>,
        known: bool,
    ) -> Result<Folded> {
        let mut files = LoadedFiles::none(self.inner.clone());
        let output = Output::new(self.inner.clone(), self.table.clone(), self.schema.clone());
        let mut rows =
            Rows { output, rows: Vec::new(), keys: Keys::default(), digest: blake3::Hasher::new() };
        let (mut deleted, mut deleted_at) = (Keys::default(), Vec::new());
        let mut counts = Counts::default();
        let (schema, name) = (self.schema.clone(), self.table.name.clone());
        let find = Find::new(&schema, state, table, known);
        let mut deletes = blake3::Hasher::new();
        self.fold(writes, &mut |truncated, key, expect, row| {
            let target = find.place(&name, truncated, key, expect, row)?;
            count(&mut counts, row.is_some(), target);
            if target != Target::None {
                deleted.push(key);
                deleted_at.push(target);
            }
            match row {
                Some(row) => rows.push(key, row, &schema, &mut files),
                None => {
                    deletes.update(&(key.len() as u64).to_le_bytes());
                    deletes.update(key);
                    Ok(())
                }
            }
        })?;
        rows.flush(&schema, &mut files)?;
        files.records = rows.output.finish()?;
        if !files.records.is_empty() {
            super::sync_data_dir(&self.inner)?;
        }
        let mut digest = rows.digest;
        digest.update(deletes.finalize().as_bytes());
        digest.update(&[u8::from(self.is_truncated())]);
        let (truncated, digest) = (self.is_truncated(), *digest.finalize().as_bytes());
        Ok(Folded { files, deleted, deleted_at, counts, truncated, digest })
    }

    /// Calls with what is wanted of each key: whether the table's rows go before, the key, what is expected of it, and
    /// the row put; none where it is deleted.
    fn fold(&mut self, writes: &TableWrites, each: &mut Each<'_>) -> Result<()> {
        let number = self.note(writes);
        let mut sources: Vec<Chunks> = Vec::with_capacity(self.runs.len() + 1);
        for Run { file, .. } in &self.runs {
            let groups = (0..file.groups.len()).map(|group| (group, None)).collect();
            sources.push(file.scan(self.wanted(), groups, Arc::default(), Arc::new(|_, _| true)));
        }
        let memory: Vec<Result<Chunk>> = sorted(&self.schema, writes, number)?.collect();
        sources.push(Box::new(memory.into_iter()));
        let mut gone = self.gone.iter().peekable();
        let mut fold = KeyFold::new(self.truncated_at, &self.table.name, &self.schema);
        for chunk in merge(sources) {
            let chunk = chunk?;
            let rows = Arc::new(chunk.rows);
            for (nth, key) in chunk.keys.iter().enumerate() {
                if fold.key != key || fold.is_empty() {
                    fold.end(each)?;
                    while let Some((other, notes)) = gone.next_if(|(other, _)| ***other < *key) {
                        fold.begin(other, notes);
                        fold.end(each)?;
                    }
                    let notes = gone.next_if(|(other, _)| ***other == *key).map(|(_, notes)| &notes[..]);
                    fold.begin(key, notes.unwrap_or_default());
                }
                let note = chunk.begins[nth].0;
                fold.put(note / EXPECTS, expect_of(note), (rows.clone(), nth))?;
            }
        }
        fold.end(each)?;
        for (key, notes) in gone {
            fold.begin(key, notes);
            fold.end(each)?;
        }
        Ok(())
    }
}

/// Rows that a load is to have, gathered until they are a block.
struct Rows {
    output: Output,
    rows: Vec<Row>,
    keys: Keys,
    digest: blake3::Hasher,
}

impl Rows {
    fn push(&mut self, key: &[u8], row: &Row, schema: &TableSchema, files: &mut LoadedFiles) -> Result<()> {
        self.rows.push(row.clone());
        self.keys.push(key);
        if self.rows.len() < STEP_ROWS { Ok(()) } else { self.flush(schema, files) }
    }

    fn flush(&mut self, schema: &TableSchema, files: &mut LoadedFiles) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut places: BTreeMap<*const RecordBatch, usize> = BTreeMap::new();
        let mut picks: Vec<(usize, usize)> = Vec::with_capacity(self.rows.len());
        for (batch, row) in &self.rows {
            let place = places.entry(Arc::as_ptr(batch)).or_insert_with(|| {
                batches.push(batch);
                batches.len() - 1
            });
            picks.push((*place, *row));
        }
        let rows = interleave_record_batch(&batches, &picks)?;
        let rows = RecordBatch::try_new(schema.to_arrow(), rows.columns().to_vec())?;
        self.rows.clear();
        self.digest.update(&encode_rows(&rows));
        let keys = std::mem::take(&mut self.keys);
        self.output.write(Part { rows, keys, row_ids: None }, &mut files.locks)
    }
}

/// What the parts say of one key, one after the other.
struct KeyFold<'a> {
    truncated_at: Option<u64>,
    table: &'a str,
    schema: &'a TableSchema,
    key: Vec<u8>,
    /// What parts leave gone, those not heard yet.
    gone: &'a [(u64, Expect)],
    expect: Option<Expect>,
    left: Left,
    /// Whether the truncation has come.
    cut: bool,
}

/// What the parts so far leave of a key.
enum Left {
    /// They say nothing.
    Untouched,
    Gone,
    Row(Row),
}

impl<'a> KeyFold<'a> {
    fn new(truncated_at: Option<u64>, table: &'a str, schema: &'a TableSchema) -> KeyFold<'a> {
        KeyFold {
            truncated_at,
            table,
            schema,
            key: Vec::new(),
            gone: &[],
            expect: None,
            left: Left::Untouched,
            cut: false,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self.left, Left::Untouched) && self.gone.is_empty()
    }

    fn begin(&mut self, key: &[u8], gone: &'a [(u64, Expect)]) {
        self.key.clear();
        self.key.extend_from_slice(key);
        (self.gone, self.expect, self.left, self.cut) = (gone, None, Left::Untouched, false);
    }

    fn put(&mut self, number: u64, expect: Expect, row: Row) -> Result<()> {
        self.hear_gone(number)?;
        self.hear(number, expect, Left::Row(row))
    }

    /// Hears the parts before one that leave the key gone.
    fn hear_gone(&mut self, before: u64) -> Result<()> {
        while let Some(((number, expect), rest)) = self.gone.split_first()
            && *number < before
        {
            self.gone = rest;
            self.hear(*number, *expect, Left::Gone)?;
        }
        Ok(())
    }

    fn hear(&mut self, number: u64, expect: Expect, left: Left) -> Result<()> {
        if self.truncated_at.is_some_and(|at| number >= at) {
            self.truncate();
        }
        match (&self.left, expect) {
            (Left::Row(row), Expect::Absent) => {
                let key = format_key(self.schema, &row.0, row.1);
                let message =
                    format!("table {}: the key {key} is given twice in this transaction", self.table);
                return Err(Error::new(ErrorKind::Exists, message));
            }
            (Left::Gone, Expect::Present) => {
                let message = format!("table {}: a key to change or delete is gone already", self.table);
                return Err(Error::not_found(message));
            }
            (Left::Untouched, expect) => self.expect = Some(expect),
            _ => {}
        }
        self.left = left;
        Ok(())
    }

    /// Everything so far is gone; what was expected is expected still.
    fn truncate(&mut self) {
        if !std::mem::replace(&mut self.cut, true) {
            self.left = Left::Gone;
            self.expect = self.expect.filter(|expect| *expect != Expect::Any);
        }
    }

    /// Hears the rest, and tells.
    fn end(&mut self, each: &mut Each<'_>) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.hear_gone(u64::MAX)?;
        if self.truncated_at.is_some() {
            self.truncate();
        }
        let expect = self.expect.unwrap_or(Expect::Any);
        match std::mem::replace(&mut self.left, Left::Untouched) {
            Left::Row(row) => each(self.cut, &self.key, expect, Some(&row)),
            // Nothing was expected of it, and it goes with all others.
            Left::Gone if self.cut && expect == Expect::Any => Ok(()),
            Left::Gone => each(self.cut, &self.key, expect, None),
            Left::Untouched => Ok(()),
        }
    }
}

/// Finds the rows that keys name.
struct Find<'a> {
    state: &'a State,
    table: Option<&'a Table>,
    schema: &'a TableSchema,
    /// Nothing is looked up, and all is as expected.
    blind: bool,
}

impl<'a> Find<'a> {
    fn new(schema: &'a TableSchema, state: &'a State, table: Option<&'a Table>, blind: bool) -> Find<'a> {
        Find { state, table, schema, blind }
    }

    /// Where the row of a key lies that dies, if one does; an error where that is not as expected.
    fn place(
        &self,
        name: &str,
        truncated: bool,
        key: &[u8],
        expect: Expect,
        row: Option<&Row>,
    ) -> Result<Target> {
        if self.blind {
            return Ok(Target::None);
        }
        let (exists, target) = match self.table {
            Some(table) => self.state.find_written(table, self.schema, key, expect, truncated)?,
            None => (false, Target::None),
        };
        let shown = || match row {
            Some((rows, row)) => format!("the key {}", format_key(self.schema, rows, *row)),
            None => "a key that was to be deleted".to_string(),
        };
        match (expect, exists) {
            (Expect::Absent, true) => {
                Err(Error::new(ErrorKind::Exists, format!("table {name} has {} already", shown())))
            }
            (Expect::Present, false) => {
                Err(Error::not_found(format!("table {name} does not have {}", shown())))
            }
            _ => Ok(target),
        }
    }
}

fn count(counts: &mut Counts, put: bool, replaced: Target) {
    match (put, replaced != Target::None) {
        (true, false) => counts.inserted += 1,
        (true, true) => counts.updated += 1,
        (false, true) => counts.deleted += 1,
        (false, false) => {}
    }
}

fn expect_of(note: u64) -> Expect {
    match note % EXPECTS {
        1 => Expect::Absent,
        2 => Expect::Present,
        _ => Expect::Any,
    }
}

/// The rows put of a part, in key order, each with its note.
fn sorted<'a>(
    schema: &TableSchema,
    writes: &'a TableWrites,
    number: u64,
) -> Result<impl Iterator<Item = Result<Chunk>> + use<'a>> {
    let loose = loose_schema(&schema.columns);
    let batches =
        writes.batches.iter().map(|(from, rows)| adapt(rows, &from.columns, &schema.columns, &loose));
    let batches = batches.collect::<Result<Vec<_>>>()?;
    let note = |expect: Expect| {
        let expect = if writes.truncated { Expect::Any } else { expect };
        number * EXPECTS
            + match expect {
                Expect::Any => 0,
                Expect::Absent => 1,
                Expect::Present => 2,
            }
    };
    let mut entries: Vec<(&[u8], u64, (u32, u32))> = Vec::with_capacity(writes.keys.len());
    for (key, write) in &writes.keys {
        if let Some(place) = write.row {
            entries.push((key, note(write.expect), place));
        }
    }
    entries.sort_unstable();
    let mut entries = entries.into_iter().peekable();
    Ok(std::iter::from_fn(move || {
        entries.peek()?;
        let (mut keys, mut begins, mut picks) = (Keys::default(), Vec::new(), Vec::new());
        for (key, note, (batch, row)) in entries.by_ref().take(STEP_ROWS) {
            keys.push(key);
            begins.push(Version(note));
            picks.push((batch as usize, row as usize));
        }
        let ends = vec![Version::FOREVER; picks.len()];
        let rows = interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &picks);
        Some(rows.map_err(Error::from).map(|rows| Chunk { rows, keys, begins, ends }))
    }))
}
