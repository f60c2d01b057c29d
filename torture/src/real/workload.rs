//! What the writers do, and what the tables must hold then: the oracle of the tests on real disks.
//!
//! Any number of writers, in threads or processes, write at once. Each owns its keys, so that a step's changes depend on
//! the seed and on what that writer did before, never on the others; a table without key and one shared row are
//! written by all. So the content of every version follows from the order of versions alone: [`History`] keeps it
//! without asking the engine anything. Its CSV is its own.

use super::chance_of;
use crate::Chance;
use crate::perform::EAGER;
use asof_engine::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use asof_engine::retention::{Policy, RetentionRequest};
use asof_engine::{
    Column, ColumnType, CommitOptions, Database, Error, ErrorKind, Result, ScanOptions, Snapshot, Tag,
    Version, text,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many writers there are at most: each owns the keys that leave its number when divided by this.
pub const WRITERS: u64 = 4;
/// Keys of a writer.
const KEYS: u64 = 60;
/// The table with a number as key.
const ROWS: &str = "rows";
/// The table with a text and a number as key.
const PARTS: &str = "gold.parts";
/// The table without key.
const EVENTS: &str = "events";
/// The table with one row, written by all.
const SHARED: &str = "shared";
/// Kinds of parts, by writer.
const KINDS: [&str; WRITERS as usize] = ["bolt", "nut, brass", "pin", "ring"];

/// States of each table that stay where versions are let go: more than all writers commit while one of them thinks.
const KEPT: u64 = 24;

type Note = Option<String>;

/// Rows put and keys deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<K: Ord> {
    put: BTreeMap<K, Note>,
    deleted: BTreeSet<K>,
}

impl<K: Ord> Default for Changes<K> {
    fn default() -> Changes<K> {
        Changes { put: BTreeMap::new(), deleted: BTreeSet::new() }
    }
}

/// What one transaction changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    rows: Changes<i64>,
    parts: Changes<(String, i64)>,
    events: Vec<Note>,
    shared: Option<String>,
    /// Whether `rows.put` and `events` are loaded, straight to data files.
    load: bool,
}

/// One step of a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A transaction.
    Write(Write),
    /// A name for the newest version.
    Tag(String),
    /// A checkpoint.
    Checkpoint,
    /// A checkpoint, and all the compaction that would pay if it were asked for by hand.
    Compact,
    /// All goes that neither the newest 24 states of a table nor tags keep.
    Retain,
    /// The database is closed and opened again.
    Reopen,
}

/// What a writer's own keys hold: all that its next step depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    rows: BTreeSet<i64>,
    parts: BTreeSet<(String, i64)>,
}

/// A writer's step by its number.
pub fn step(seed: u64, writer: u64, number: u64, own: &Own) -> Step {
    let mut chance = chance_of(&[seed, writer, number]);
    match chance.below(100) {
        0..=4 => Step::Checkpoint,
        5 | 6 => Step::Compact,
        7..=9 => Step::Tag(format!("tag-{writer}-{}", number % 5)),
        10..=12 => Step::Reopen,
        13 | 14 => Step::Retain,
        15..=20 => Step::Write(load(&mut chance, writer, number, own)),
        _ => Step::Write(write(&mut chance, writer, number, own)),
    }
}

fn write(chance: &mut Chance, writer: u64, number: u64, own: &Own) -> Write {
    let mut write = Write::default();
    let count = if chance.one_in(12) { 40 } else { 1 + chance.below(5) };
    for _ in 0..count {
        let key = (chance.below(KEYS) * WRITERS + writer) as i64;
        let note = note(chance, writer, number);
        change(&mut write.rows, &own.rows, key, note, chance);
    }
    if chance.one_in(3) {
        for _ in 0..1 + chance.below(3) {
            let key = (KINDS[(writer % WRITERS) as usize].to_string(), chance.below(20) as i64 - 10);
            let note = note(chance, writer, number);
            change(&mut write.parts, &own.parts, key, note, chance);
        }
    }
    if chance.one_in(4) {
        write.events = (0..1 + chance.below(3)).map(|_| note(chance, writer, number)).collect();
    }
    if chance.one_in(6) {
        write.shared = Some(format!("writer {writer} step {number}"));
    }
    // So that no transaction changes nothing.
    write.rows.put.insert(-1 - writer as i64, Some(format!("step {number}")));
    write
}

/// A load of rows that are not there, beside which other tables may be written as usual.
fn load(chance: &mut Chance, writer: u64, number: u64, own: &Own) -> Write {
    let mut write = Write { load: true, ..Write::default() };
    for _ in 0..chance.below(30) {
        let key = (chance.below(KEYS) * WRITERS + writer) as i64;
        if !own.rows.contains(&key) {
            write.rows.put.insert(key, note(chance, writer, number));
        }
    }
    // At least one, so that no transaction changes nothing.
    write.events = (0..1 + chance.below(20)).map(|_| note(chance, writer, number)).collect();
    if chance.one_in(4) {
        write.shared = Some(format!("writer {writer} step {number}"));
    }
    write
}

fn change<K: Ord + Clone>(
    changes: &mut Changes<K>,
    own: &BTreeSet<K>,
    key: K,
    note: Note,
    chance: &mut Chance,
) {
    if changes.put.contains_key(&key) || changes.deleted.contains(&key) {
        return;
    }
    if own.contains(&key) && chance.one_in(4) {
        changes.deleted.insert(key);
    } else {
        changes.put.insert(key, note);
    }
}

fn note(chance: &mut Chance, writer: u64, number: u64) -> Note {
    match chance.below(30) {
        0 => Some((0..5_000).map(|_| char::from(b'a' + chance.below(26) as u8)).collect()),
        1 | 2 => None,
        3 => Some(String::new()),
        4 => Some(format!("a, \"quoted\" {number}")),
        _ => Some(format!("note {writer} {number} {}", chance.below(1000))),
    }
}

impl Own {
    /// What a writer's keys hold in a database.
    pub fn read(database: &Database, writer: u64) -> Result<Own> {
        let snapshot = database.snapshot(database.refresh()?)?;
        let mut own = Own::default();
        let columns = |names: &[&str]| {
            let columns = names.iter().map(|name| name.to_string()).collect();
            ScanOptions { columns: Some(columns), ..ScanOptions::default() }
        };
        for batch in snapshot.scan(ROWS, columns(&["id"]))? {
            let batch = batch?;
            let ids = numbers(&batch, 0)?.values().iter().copied();
            own.rows.extend(ids.filter(|id| *id >= 0 && *id as u64 % WRITERS == writer));
        }
        for batch in snapshot.scan(PARTS, columns(&["kind", "number"]))? {
            let batch = batch?;
            let kinds = batch.column(0).as_any().downcast_ref::<StringArray>().ok_or_else(unexpected)?;
            let keys = kinds.iter().zip(numbers(&batch, 1)?.values());
            let keys = keys.map(|(kind, number)| (kind.unwrap_or_default().to_string(), *number));
            own.parts.extend(keys.filter(|(kind, _)| kind == KINDS[(writer % WRITERS) as usize]));
        }
        Ok(own)
    }

    /// Takes note of a write of the same writer.
    pub fn apply(&mut self, write: &Write) {
        self.rows.extend(write.rows.put.keys().filter(|id| **id >= 0));
        self.parts.extend(write.parts.put.keys().cloned());
        self.rows.retain(|key| !write.rows.deleted.contains(key));
        self.parts.retain(|key| !write.parts.deleted.contains(key));
    }
}

fn numbers(batch: &RecordBatch, column: usize) -> Result<&Int64Array> {
    batch.column(column).as_any().downcast_ref().ok_or_else(unexpected)
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Corrupt, "a column has another type than the one it was made with")
}

/// Makes the tables: version 1.
pub fn create_tables(database: &Database) -> Result<()> {
    let mut transaction = database.begin()?;
    let text = |name: &str| Column::new(name, ColumnType::Text);
    let number = |name: &str| Column::new(name, ColumnType::Int64);
    let key = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<String>>();
    transaction.create_table(ROWS, vec![number("id"), text("note")], &key(&["id"]))?;
    let columns = vec![text("kind"), number("number"), text("note")];
    transaction.create_table(PARTS, columns, &key(&["kind", "number"]))?;
    transaction.create_table(EVENTS, vec![text("note")], &[])?;
    transaction.create_table(SHARED, vec![number("id"), text("note")], &key(&["id"]))?;
    transaction.commit(CommitOptions::default()).map(drop)
}

/// Makes the tables where they are not there yet.
pub fn create_tables_again(database: &Database) -> Result<()> {
    match database.snapshot(database.refresh()?)?.table_names()?.is_empty() {
        true => create_tables(database),
        false => Ok(()),
    }
}

/// Commits a write, beginning again where another writer was first. Says who it was in the commit.
pub fn commit(database: &Database, writer: u64, number: u64, write: &Write) -> Result<Version> {
    loop {
        let mut transaction = database.begin()?;
        put_rows(&mut transaction, write)?;
        let options = CommitOptions {
            author: Some(writer.to_string()),
            message: Some(number.to_string()),
            ..CommitOptions::default()
        };
        match transaction.commit(options) {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::TooOld) => {}
            committed => return committed.map(|committed| committed.version),
        }
    }
}

fn put_rows(transaction: &mut asof_engine::Transaction, write: &Write) -> Result<()> {
    let ids = |ids: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(ids)) };
    let texts = |texts: Vec<Note>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let batch = |columns: Vec<(&str, ArrayRef)>| {
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        Ok::<_, Error>(RecordBatch::try_from_iter_with_nullable(columns)?)
    };
    let put = &write.rows.put;
    if !put.is_empty() {
        let columns = vec![
            ("id", ids(put.keys().copied().collect())),
            ("note", texts(put.values().cloned().collect())),
        ];
        match write.load {
            true => drop(transaction.load(ROWS, halves_swapped(batch(columns)?))?),
            false => transaction.upsert(ROWS, &batch(columns)?)?,
        }
    }
    if !write.rows.deleted.is_empty() {
        let keys = ids(write.rows.deleted.iter().copied().collect());
        transaction.delete(ROWS, &batch(vec![("id", keys)])?)?;
    }
    let parts = |keys: &[&(String, i64)]| {
        let kinds = texts(keys.iter().map(|(kind, _)| Some(kind.clone())).collect());
        vec![("kind", kinds), ("number", ids(keys.iter().map(|(_, number)| *number).collect()))]
    };
    let put = &write.parts.put;
    if !put.is_empty() {
        let mut columns = parts(&put.keys().collect::<Vec<_>>());
        columns.push(("note", texts(put.values().cloned().collect())));
        transaction.upsert(PARTS, &batch(columns)?)?;
    }
    if !write.parts.deleted.is_empty() {
        let keys = parts(&write.parts.deleted.iter().collect::<Vec<_>>());
        transaction.delete(PARTS, &batch(keys)?)?;
    }
    if !write.events.is_empty() {
        let events = batch(vec![("note", texts(write.events.clone()))])?;
        match write.load {
            true => drop(transaction.load(EVENTS, [Ok(events)])?),
            false => transaction.insert(EVENTS, &events)?,
        }
    }
    if let Some(note) = &write.shared {
        let columns = vec![("id", ids(vec![0])), ("note", texts(vec![Some(note.clone())]))];
        transaction.upsert(SHARED, &batch(columns)?)?;
    }
    Ok(())
}

/// Rows out of order, in two batches.
fn halves_swapped(rows: RecordBatch) -> [Result<RecordBatch>; 2] {
    let half = rows.num_rows() / 2;
    [Ok(rows.slice(half, rows.num_rows() - half)), Ok(rows.slice(0, half))]
}

/// A checkpoint and all the compaction that pays.
pub fn compact(database: &Database) -> Result<()> {
    database.checkpoint()?;
    database.compact(None, &EAGER).map(drop)
}

/// Lets old versions go.
pub fn retain(database: &Database) -> Result<()> {
    let policy = Some(Policy { last: Some(KEPT), ..Policy::default() });
    let request = RetentionRequest { policy, ..RetentionRequest::default() };
    database.retain(&request, &mut |_| true).map(drop)
}

/// A name for the newest version, moved where it is there.
pub fn tag(database: &Database, name: &str) -> Result<Version> {
    let version = database.refresh()?;
    let created = database.commit_time(version)?;
    database.tag(Tag { name: name.to_string(), version, message: None, created, expires: None }, true)?;
    Ok(version)
}

/// Who made a version, and with which step.
pub fn maker(database: &Database, version: Version) -> Result<Option<(u64, u64)>> {
    let info = database.commit_info(version)?;
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    Ok(number(&info.author).zip(number(&info.message)))
}

/// What the engine gives of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// A digest of every row of each table.
    digests: Digests,
    /// The tables that are gone.
    pub gone: Vec<String>,
}

impl Shown {
    /// Reads a version.
    pub fn read(database: &Database, version: Version) -> Result<Shown> {
        Shown::of(&database.snapshot(version)?)
    }

    /// Reads a snapshot.
    pub fn of(snapshot: &Snapshot) -> Result<Shown> {
        let mut digests = Digests::new();
        for name in snapshot.table_names()? {
            let mut out = Vec::new();
            let schema = snapshot.schema(&name)?;
            text::write_csv_header(&schema, &mut out);
            for batch in snapshot.scan(&name, ScanOptions::default())? {
                text::write_csv_rows(&schema, &batch?, &mut out);
            }
            digests.insert(name, blake3::hash(&out).into());
        }
        Ok(Shown { digests, gone: snapshot.gone_tables() })
    }

    /// A digest of all tables.
    pub fn digest(&self) -> Digest {
        digest_of(&self.digests)
    }
}

/// A digest of what a version holds.
pub type Digest = [u8; 32];
/// Of what each of its tables does.
type Digests = BTreeMap<String, Digest>;

fn digest_of(tables: &Digests) -> Digest {
    let mut all = blake3::Hasher::new();
    for (name, digest) in tables {
        all.update(name.as_bytes()).update(digest);
    }
    all.finalize().into()
}

/// The versions of each table that are gone, as half-open ranges.
pub type Gone = BTreeMap<&'static str, Vec<(Version, Version)>>;

/// What is gone.
pub fn gone(database: &Database) -> Result<Gone> {
    [ROWS, PARTS, EVENTS, SHARED].into_iter().map(|table| Ok((table, database.gone(table)?))).collect()
}

/// Whether everything that was gone still is.
pub fn is_gone_still(before: &Gone, now: &Gone) -> bool {
    let within = |table: &str, (from, to): &(Version, Version)| {
        now.get(table).is_some_and(|now| now.iter().any(|(begin, end)| begin <= from && to <= end))
    };
    before.iter().all(|(table, ranges)| ranges.iter().all(|range| within(table, range)))
}

/// Tags whose versions are gone, of which there must be none: each is given to the newest version.
pub fn tags_without_version(database: &Database) -> Result<Vec<String>> {
    let is_gone = |tag: &Tag| Ok::<_, Error>(!database.snapshot(tag.version)?.gone_tables().is_empty());
    let named = database.tags()?.into_iter().map(|tag| Ok((is_gone(&tag)?, tag.name)));
    let named: Vec<(bool, String)> = named.collect::<Result<_>>()?;
    Ok(named.into_iter().filter(|(is_gone, _)| *is_gone).map(|(_, name)| name).collect())
}

/// What the tables hold.
#[derive(Clone, Debug, Default)]
struct Content {
    rows: BTreeMap<i64, Note>,
    parts: BTreeMap<(String, i64), Note>,
    events: Vec<Note>,
    shared: Option<String>,
}

impl Content {
    fn apply(&mut self, write: &Write) {
        fn put<K: Ord + Clone>(table: &mut BTreeMap<K, Note>, changes: &Changes<K>) {
            table.retain(|key, _| !changes.deleted.contains(key));
            table.extend(changes.put.clone());
        }
        put(&mut self.rows, &write.rows);
        put(&mut self.parts, &write.parts);
        self.events.extend(write.events.iter().cloned());
        self.shared = write.shared.clone().or(self.shared.take());
    }

    fn digests(&self) -> Digests {
        let cell = |note: &Note, only: bool| match note.as_deref() {
            None => if only { "NULL" } else { "" }.to_string(),
            Some(text) if text.is_empty() || text.contains([',', '"']) => {
                format!("\"{}\"", text.replace('"', "\"\""))
            }
            Some(text) => text.to_string(),
        };
        let mut digests = Digests::new();
        let mut table = |name: &str, text: String| {
            digests.insert(name.to_string(), blake3::hash(text.as_bytes()).into());
        };
        let mut out = "note\n".to_string();
        self.events.iter().for_each(|note| out += &format!("{}\n", cell(note, true)));
        table(EVENTS, out);
        let mut out = "kind,number,note\n".to_string();
        for ((kind, number), note) in &self.parts {
            out += &format!("{},{number},{}\n", cell(&Some(kind.clone()), false), cell(note, false));
        }
        table(PARTS, out);
        let mut out = "id,note\n".to_string();
        self.rows.iter().for_each(|(id, note)| out += &format!("{id},{}\n", cell(note, false)));
        table(ROWS, out);
        let mut out = "id,note\n".to_string();
        self.shared.iter().for_each(|note| out += &format!("0,{note}\n"));
        table(SHARED, out);
        digests
    }
}

/// Every version so far, as it must be.
#[derive(Clone, Debug)]
pub struct History {
    content: Content,
    digests: Vec<Digests>,
    own: BTreeMap<u64, Own>,
}

impl Default for History {
    fn default() -> History {
        let content = Content::default();
        let tables = content.digests();
        History { content, digests: vec![Digests::new(), tables], own: BTreeMap::new() }
    }
}

impl History {
    /// The newest version.
    pub fn newest(&self) -> Version {
        Version(self.digests.len() as u64 - 1)
    }

    /// What a version must hold; none where there is no such version.
    pub fn digest(&self, version: Version) -> Option<Digest> {
        self.digests.get(version.0 as usize).map(digest_of)
    }

    /// Whether the engine may show this of a version: what it must hold, without tables that are gone, which it may be
    /// that are not among the newest.
    pub fn allows(&self, version: Version, shown: &Shown) -> bool {
        let Some(expected) = self.digests.get(version.0 as usize) else { return false };
        let is_right = |(name, digest): (&String, &Digest)| match shown.digests.get(name) {
            Some(found) => found == digest,
            None => shown.gone.contains(name) && version.0 + KEPT <= self.newest().0,
        };
        expected.len() == shown.digests.len() + shown.gone.len() && expected.iter().all(is_right)
    }

    /// The step that a writer does next, if it has this number.
    pub fn step(&self, seed: u64, writer: u64, number: u64) -> Step {
        step(seed, writer, number, self.own.get(&writer).unwrap_or(&Own::default()))
    }

    /// The next version was made by a writer's write.
    pub fn apply(&mut self, writer: u64, write: &Write) {
        self.content.apply(write);
        self.own.entry(writer).or_default().apply(write);
        self.digests.push(self.content.digests());
    }
}
