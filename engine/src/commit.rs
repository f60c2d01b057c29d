//! The write path, in order: write set, turn and catch-up, conflicts, existence and counts, version and
//! time, log, publish, acknowledge.
//!
//! Invariants. What is refused is refused before anything is logged. What is logged is applied under
//! the same turn, so the next committer checks against it. Nothing is published, and nothing
//! acknowledged, before the log has synced it.

use crate::adapt::adapt;
use crate::api::{CommitInfo, CommitOptions, Committed, Counts, Isolation};
use crate::asof::format_time;
use crate::codec::records::{
    CatalogChange, CommitContent, CommitHeader, SchemaRecord, TableChange, Target, encode_commit,
    encode_rows, kind,
};
use crate::database::{Database, Follower, Inner, find_client_id};
use crate::error::{Error, ErrorKind, Result};
use crate::gone::check_readable;
use crate::load::LoadedFiles;
use crate::load::spill::Folded;
use crate::manifest::DataFileRecord;
use crate::queue::{Duty, Entered, Lead, Queue};
use crate::state::State;
use crate::text::format_key;
use crate::upkeep;
use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use asof_mvcc::{
    CommitTime, Expect, Keys, ReadSet, RecentWrites, Refusal, Table, TableId, TableSchema, TableWrites,
    Version,
};
use asof_wal::planted::{Bug, planted};
use asof_wal::{Ticket, Turn};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table's writes, ready to be checked: rows in key order under the schema the transaction ends with.
#[derive(Debug)]
pub(crate) struct PreparedTable {
    /// The table's number; provisional for tables the transaction makes.
    pub(crate) id: TableId,
    pub(crate) name: String,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) truncated: bool,
    /// Whether the table goes: only what was expected before is checked.
    pub(crate) dropped: bool,
    /// The rows put, by ascending key; rows without key in order.
    rows: RecordBatch,
    /// The rows as the log has them.
    block: Vec<u8>,
    keys: Keys,
    expects: Vec<Expect>,
    deleted: Keys,
    deleted_expects: Vec<Expect>,
    /// Rows in data files instead of those above.
    pub(crate) loaded: Option<LoadedFiles>,
    /// What those come to, and where the rows lie that they replace or that are deleted, where that is known already:
    /// nothing is looked up again, and no other commit may have changed the table.
    settled: Option<(Vec<Target>, Counts)>,
    /// Of the rows loaded, where it is known.
    pub(crate) digest: Option<[u8; 32]>,
}

/// Everything a transaction wants, ready to be checked.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Changes of the catalog; tables made have provisional numbers.
    pub(crate) catalog: Vec<PreparedCatalogChange>,
    pub(crate) tables: Vec<PreparedTable>,
    /// (table, what), for people.
    pub(crate) schema_changes: Vec<(String, String)>,
    pub(crate) read_version: Version,
    pub(crate) blind: bool,
    /// What a serializable transaction read.
    pub(crate) reads: Option<Reads>,
}

/// What a transaction read that must still be so when it commits.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Of tables that were there.
    pub(crate) rows: ReadSet,
    /// Which table had a name, if one had.
    pub(crate) names: BTreeMap<String, Option<TableId>>,
    /// Whether it asked which tables there are.
    pub(crate) all_names: bool,
}

/// A change of the catalog before the real table numbers are known.
#[derive(Debug)]
pub(crate) enum PreparedCatalogChange {
    Create {
        id: TableId,
        name: String,
        schema: Arc<TableSchema>,
    },
    /// `whole`: other transactions' row writes conflict with it.
    Drop {
        id: TableId,
        name: String,
    },
    Alter {
        id: TableId,
        name: String,
        schema: Arc<TableSchema>,
    },
    /// A dropped table comes back.
    Revive {
        id: TableId,
        name: String,
    },
}

/// Numbers from here on are provisional: the tables are made by a transaction that has not committed.
pub(crate) const PROVISIONAL: TableId = 1 << 31;

impl PreparedTable {
    pub(crate) fn new(table: &Table, writes: &TableWrites) -> Result<PreparedTable> {
        let schema = table.newest_schema().clone();
        let arrow_schema = schema.to_arrow();
        let adapted = |(from, rows): &(Arc<TableSchema>, RecordBatch)| match Arc::ptr_eq(from, &schema) {
            true => Ok(rows.clone()),
            false => adapt(rows, &from.columns, &schema.columns, &arrow_schema),
        };
        let batches = writes.batches.iter().map(adapted).collect::<Result<Vec<_>>>()?;
        let mut entries: Vec<_> = writes.keys.iter().collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let (mut picks, mut keys, mut expects) = (Vec::new(), Keys::default(), Vec::new());
        let (mut deleted, mut deleted_expects) = (Keys::default(), Vec::new());
        for (key, write) in entries {
            match write.row {
                Some((batch, row)) => {
                    picks.push((batch as usize, row as usize));
                    keys.push(key);
                    expects.push(write.expect);
                }
                None => {
                    deleted.push(key);
                    deleted_expects.push(write.expect);
                }
            }
        }
        let rows = if schema.has_key() {
            match &batches[..] {
                _ if picks.is_empty() => RecordBatch::new_empty(arrow_schema),
                [batch] if is_whole(batch, &picks) => batch.clone(),
                batches => interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &picks)?,
            }
        } else {
            concat_batches(&arrow_schema, writes.appended.iter().map(|index| &batches[*index]))?
        };
        Ok(PreparedTable {
            id: table.id,
            name: table.name.clone(),
            schema,
            truncated: writes.truncated,
            block: encode_rows(&rows),
            dropped: false,
            rows,
            keys,
            expects,
            deleted,
            deleted_expects,
            loaded: None,
            settled: None,
            digest: None,
        })
    }

    /// Rows of a transaction that were on disk.
    pub(crate) fn of_folded(table: &Table, folded: Folded) -> PreparedTable {
        let schema = table.newest_schema().clone();
        PreparedTable {
            id: table.id,
            name: table.name.clone(),
            rows: RecordBatch::new_empty(schema.to_arrow()),
            schema,
            truncated: folded.truncated,
            dropped: false,
            block: Vec::new(),
            keys: Keys::default(),
            expects: Vec::new(),
            deleted: folded.deleted,
            deleted_expects: Vec::new(),
            loaded: Some(folded.files),
            settled: Some((folded.deleted_at, folded.counts)),
            digest: Some(folded.digest),
        }
    }
}

/// Whether picks of rows are all rows of one batch in their order.
fn is_whole(batch: &RecordBatch, picks: &[(usize, usize)]) -> bool {
    picks.len() == batch.num_rows() && picks.iter().enumerate().all(|(row, pick)| pick.1 == row)
}

impl Prepared {
    /// A digest of what is wanted, whatever the database holds: two requests with it are the same.
    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (table, what) in &self.schema_changes {
            part(table.as_bytes());
            part(what.as_bytes());
        }
        for table in &self.tables {
            part(table.name.as_bytes());
            part(table.schema.to_string().as_bytes());
            part(&[table.truncated as u8]);
            part(&table.block);
            if let Some(digest) = &table.digest {
                part(digest);
            }
            // What was found to go is no part of what is wanted.
            if table.settled.is_none() {
                part(&(table.deleted.len() as u64).to_le_bytes());
                table.deleted.iter().for_each(&mut part);
            }
        }
        *hasher.finalize().as_bytes()
    }
}

/// Commits that wait to be checked and logged: one thread does it for all that have come.
pub(crate) type CommitQueue = Queue<Box<Request>, Answer>;

/// A commit that is wanted. What is left of it comes back with the answer: memory is given back by the thread that
/// asked for it, and not by the one that works for all.
#[derive(Debug)]
pub(crate) struct Request {
    prepared: Prepared,
    options: CommitOptions,
    /// With an idempotency id: a digest of what is wanted.
    digest: Option<[u8; 32]>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Answer {
    Done(Result<Committed>, Option<Box<Request>>),
    /// Its idempotency id made this version before.
    Known(Arc<State>, String, Version),
}

/// A commit that is in the log, and will be on disk.
struct Logged {
    ticket: Ticket,
    committed: Committed,
    request: Box<Request>,
}

/// Commits what a transaction prepared.
pub(crate) fn commit(database: &Database, prepared: Prepared, options: CommitOptions) -> Result<Committed> {
    upkeep::wait_for_room(database)?;
    // Two loads of the same rows make two files: what was asked for must be told.
    let loads = prepared.tables.iter().any(|table| table.loaded.is_some() && table.digest.is_none());
    if loads && options.client_id.is_some() && options.request_digest.is_none() {
        return Err(Error::invalid("a load with an id needs a digest of the request (request_digest)"));
    }
    let digest =
        options.client_id.is_some().then(|| options.request_digest.unwrap_or_else(|| prepared.digest()));
    let request = Box::new(Request { prepared, options, digest });
    let entered = match database.inner.commits.enter(request) {
        Entered::Leads(lead) => commit_all(database, lead),
        entered => entered,
    };
    match entered {
        Entered::Answered(Answer::Done(done, left)) => {
            drop(left);
            if done.is_ok() {
                upkeep::after_commit(database);
            }
            done
        }
        Entered::Answered(Answer::Known(state, id, version)) => {
            repeated(database, &state, &id, version, digest)
        }
        Entered::Lost | Entered::Leads(_) => Err(Error::new(
            ErrorKind::Io,
            "the thread that committed for this one panicked; open the database again",
        )),
    }
}

/// Takes the turn once for all commits that wait, checks and logs each, lets the next ones come, and waits until all of
/// them are on disk.
fn commit_all<'a>(
    database: &Database,
    mut lead: Lead<'a, Box<Request>, Answer>,
) -> Entered<'a, Box<Request>, Answer> {
    let (mut logged, mut others) = (Vec::new(), Vec::new());
    if let Err(error) = log_all(database, &lead, &mut logged, &mut others) {
        // Those who came meanwhile have waited for it as well.
        for (request, duty) in lead.take() {
            others.push((duty, Answer::Done(Err(again(&error)), Some(request))));
        }
    }
    lead.give_up();
    others.into_iter().for_each(|(duty, answer)| duty.answer(answer));
    if let Some((_, last)) = logged.last() {
        let waited = database.inner.log().and_then(|log| Ok(log.wait(last.ticket)?));
        match &waited {
            // Where a checkpoint exchanged the state meanwhile, the new one read these commits from the log before it was
            // put in use.
            Ok(()) => {
                database.inner.state().publish(last.committed.version);
                database.inner.note_published(last.ticket.next());
            }
            Err(_) => database.inner.discard_pending(),
        }
        for (duty, Logged { committed, request, .. }) in logged {
            duty.answer(Answer::Done(waited.as_ref().map(|()| committed).map_err(again), Some(request)));
        }
    }
    lead.own_answer()
}

/// The same error for another thread.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

type Duties<T> = Vec<(Duty<Box<Request>, Answer>, T)>;

fn log_all(
    database: &Database,
    lead: &Lead<Box<Request>, Answer>,
    logged: &mut Duties<Logged>,
    others: &mut Duties<Answer>,
) -> Result<()> {
    let inner = &database.inner;
    let log = inner.log()?;
    let mut turn = log.take_turn(inner.options.wait)?;
    let mut follower = inner.lock_follower();
    if !planted(Bug::CatchUpSkipped) {
        inner.catch_up(&mut follower)?;
    }
    loop {
        let requests = lead.take();
        let count = requests.len();
        for (mut request, duty) in requests {
            match log_one(inner, &mut turn, &mut follower, &mut request) {
                Ok(Outcome::Logged(ticket, committed)) => {
                    logged.push((duty, Logged { ticket, committed, request }));
                }
                Ok(Outcome::Unchanged(committed)) => {
                    others.push((duty, Answer::Done(Ok(committed), Some(request))));
                }
                Ok(Outcome::Known(state, id, version)) => {
                    others.push((duty, Answer::Known(state, id, version)));
                }
                Err(error) => others.push((duty, Answer::Done(Err(error), Some(request)))),
            }
        }
        // While a sync is in flight nothing is lost by taking on more.
        if count == 0 || !log.is_syncing() {
            return Ok(());
        }
    }
}

/// What became of a commit under the turn.
enum Outcome {
    /// It is in the log, and will be on disk.
    Logged(Ticket, Committed),
    /// There was nothing to commit.
    Unchanged(Committed),
    /// Its idempotency id made this version before.
    Known(Arc<State>, String, Version),
}

/// Checks one commit, and logs and applies it; or says what there is to answer.
fn log_one(
    inner: &Inner,
    turn: &mut Turn,
    follower: &mut Follower,
    request: &mut Request,
) -> Result<Outcome> {
    let Request { prepared, options, digest } = request;
    if prepared.catalog.iter().any(|change| matches!(change, PreparedCatalogChange::Revive { .. })) {
        inner.take_up_unannounced(turn, follower)?;
    }
    let state = inner.state();
    if let Some(id) = &options.client_id
        && let Some(version) = find_client_id(&state, id)?
    {
        return Ok(Outcome::Known(state, id.clone(), version));
    }
    let version = prepared.read_version;
    let unchanged = || {
        let tables = BTreeMap::new();
        let time = state.time(version)?;
        let id = uuid::Uuid::nil();
        Ok(Outcome::Unchanged(Committed { version, time, id, tables, repeated: false, unchanged: true }))
    };
    // An id is remembered by the version it made, so that one with an id is made even if nothing changed.
    let allow_empty = options.allow_empty || options.client_id.is_some();
    if prepared.catalog.is_empty() && prepared.tables.is_empty() && !allow_empty {
        return unchanged();
    }
    check_conflicts(&state, &follower.recent, prepared)?;

    let version = state.applied().next();
    let now = inner.now();
    let last = state.time(state.applied())?;
    let time = commit_time(options.time, last, now)?;

    let numbers = real_numbers(&state, prepared);
    let number = |id: TableId| numbers.get(&id).copied().unwrap_or(id);
    let mut loaded: BTreeMap<TableId, Loaded> = BTreeMap::new();
    for table in &mut prepared.tables {
        let settled =
            table.settled.take().map(|(at, counts)| (std::mem::take(&mut table.deleted), at, counts));
        if let Some(files) = &mut table.loaded {
            loaded.insert(table.id, Loaded { files: files.records_of(number(table.id))?, settled });
        }
    }
    let catalog: Vec<CatalogChange> =
        prepared.catalog.iter().map(|change| change.to_change(&number)).collect();
    // The catalog goes first: rows are looked up, and applied, under the new schemas.
    state.with_catalog_changed(version, &catalog, || {
        let (changes, blocks, counts) = resolve_rows(&state, prepared, loaded, &number)?;
        if catalog.is_empty() && changes.is_empty() && !allow_empty {
            return unchanged();
        }

        let info = CommitInfo {
            version,
            time,
            wall_time: now,
            id: uuid_v7(now, inner.options.clock.random()),
            client_id: options.client_id.take(),
            author: options.author.take(),
            os_user: os_user(),
            host: host(),
            message: options.message.take(),
            operation: options.operation.take().unwrap_or_else(|| "write".to_string()),
            parameters: std::mem::take(&mut options.parameters),
            meta: std::mem::take(&mut options.meta),
            read_version: prepared.read_version,
            isolation: match prepared.reads {
                Some(_) => Isolation::Serializable.name(),
                None => Isolation::Snapshot.name(),
            },
            blind_append: prepared.blind
                && counts.values().all(|(_, counts)| counts.updated == 0 && counts.deleted == 0),
            tables: BTreeMap::new(),
            schema_changes: std::mem::take(&mut prepared.schema_changes),
            content_digest: [0; 32],
            chain_digest: [0; 32],
        };
        let (id, tables) = (info.id, by_name(&counts));
        let mut header = CommitHeader::of(info, counts);
        header.request_digest = *digest;
        let content = CommitContent { catalog: catalog.clone(), changes };
        let previous_chain = state.memory.read().chain_digest;
        let payload = encode_commit(&mut header, &content, &blocks, &previous_chain)?;
        let ready = state.prepare(&header, content)?;
        let ticket = turn.append(kind::COMMIT, &payload)?;
        // From here on the record may be durable, and names the files; the state holds them as the transaction did.
        prepared.tables.iter_mut().filter_map(|table| table.loaded.as_mut()).for_each(LoadedFiles::keep);
        state.apply_ready(Arc::new(header), ready, ticket.next(), &mut follower.recent)?;
        follower.applied = ticket.next();
        let committed = Committed { version, time, id, tables, repeated: false, unchanged: false };
        Ok(Outcome::Logged(ticket, committed))
    })
}

fn by_name(counts: &BTreeMap<TableId, (String, Counts)>) -> BTreeMap<String, Counts> {
    let mut names: BTreeMap<String, Counts> = BTreeMap::new();
    for (name, counts) in counts.values() {
        *names.entry(name.clone()).or_default() += *counts;
    }
    names
}

/// The first answer again, where the content is the same.
fn repeated(
    database: &Database,
    state: &State,
    id: &str,
    version: Version,
    request: Option<[u8; 32]>,
) -> Result<Committed> {
    let header = state.header(version)?;
    if header.request_digest != request {
        return Err(Error::new(
            ErrorKind::Exists,
            format!("id '{id}' was used for version {version} with other content; give a new id"),
        ));
    }
    // It may be another thread's commit that is not durable yet: its answer must not come before it is.
    while database.refresh()? < version {
        if database.inner.log()?.is_poisoned() {
            return Err(Error::new(ErrorKind::Poisoned, "the log refuses further work until it is reopened"));
        }
        std::thread::yield_now();
    }
    let info = header.to_info();
    Ok(Committed {
        version,
        time: info.time,
        id: info.id,
        tables: info.tables,
        repeated: true,
        unchanged: false,
    })
}

fn check_conflicts(state: &State, recent: &RecentWrites, prepared: &Prepared) -> Result<()> {
    if planted(Bug::ConflictsIgnored) {
        return Ok(());
    }
    let read = prepared.read_version;
    let refused = |name: &str| {
        let name = name.to_string();
        move |refusal| match refusal {
            Refusal::Conflict(version) => Error::new(
                ErrorKind::Conflict,
                format!(
                    "table {name} was changed by version {version} after this transaction began at version {read}; begin again"
                ),
            ),
            Refusal::TooOld(horizon) => too_old(read, horizon),
        }
    };
    for change in &prepared.catalog {
        match change {
            PreparedCatalogChange::Create { name, .. } | PreparedCatalogChange::Revive { name, .. } => {
                let replaced = prepared.catalog.iter().any(
                    |other| matches!(other, PreparedCatalogChange::Drop { name: dropped, .. } if dropped == name),
                );
                if !replaced && state.catalog().find(name, state.applied()).is_some() {
                    return Err(refused(name)(Refusal::Conflict(state.applied())));
                }
                if let PreparedCatalogChange::Revive { id, .. } = change {
                    recent.check_whole(read, *id).map_err(refused(name))?;
                    check_can_come_back(state, *id)?;
                }
            }
            PreparedCatalogChange::Drop { id, name } => {
                recent.check_whole(read, *id).map_err(refused(name))?;
            }
            PreparedCatalogChange::Alter { id, name, schema } => {
                let catalog = state.catalog();
                let old = catalog
                    .table(*id)
                    .map(|table| table.newest_schema().checks.as_slice())
                    .unwrap_or_default();
                match schema.checks.iter().all(|check| old.contains(check)) {
                    true => recent.check_keys(read, *id, std::iter::empty()).map_err(refused(name))?,
                    // Every row that there is was looked at.
                    false => recent.check_whole(read, *id).map_err(refused(name))?,
                }
            }
        }
    }
    for table in prepared.tables.iter().filter(|table| table.id < PROVISIONAL) {
        let refused = refused(&table.name);
        if table.loaded.is_some() {
            // Which keys it has nobody knows without reading it, and it may have taken longer than is remembered.
            match state.last_change(table.id)? {
                Some(version) if version > read => return Err(refused(Refusal::Conflict(version))),
                _ => {}
            }
        } else if table.truncated {
            recent.check_whole(read, table.id).map_err(refused)?;
        } else {
            recent
                .check_keys(read, table.id, table.keys.iter().chain(table.deleted.iter()))
                .map_err(refused)?;
        }
    }
    match &prepared.reads {
        Some(reads) => check_reads(state, recent, read, reads),
        None => Ok(()),
    }
}

/// Refuses a table whose last version is gone, as it may be since the transaction began: its rows may be too.
fn check_can_come_back(state: &State, id: TableId) -> Result<()> {
    let catalog = state.catalog();
    let Some(table) = catalog.table(id) else { return Ok(()) };
    let last = table.dropped_before(state.applied().next()).and_then(Version::previous);
    last.map_or(Ok(()), |last| check_readable(&state.generation, table, last))
}

/// Whether what a serializable transaction read is still so: then it is as if it had begun now.
fn check_reads(state: &State, recent: &RecentWrites, read: Version, reads: &Reads) -> Result<()> {
    let catalog = state.catalog();
    for (name, id) in &reads.names {
        if catalog.find(name, state.applied()).map(|table| table.id) != *id {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "table {name}, looked up at version {read} by this serializable transaction, was made or dropped \
                     since; begin again"
                ),
            ));
        }
    }
    let tables_at =
        |version| -> Vec<TableId> { catalog.tables_at(version).into_iter().map(|table| table.id).collect() };
    if reads.all_names && tables_at(read) != tables_at(state.applied()) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "tables were made or dropped since version {read}, whose tables this serializable transaction listed; begin \
                 again"
            ),
        ));
    }
    recent.check_reads(read, &reads.rows).map_err(|(table, refusal)| match refusal {
        Refusal::Conflict(version) => {
            let name = catalog.table(table).map_or("", |table| &table.name);
            Error::new(
                ErrorKind::Conflict,
                format!(
                    "what this serializable transaction read of table {name} at version {read} was changed by version \
                     {version}; begin again"
                ),
            )
        }
        Refusal::TooOld(horizon) => too_old(read, horizon),
    })
}

fn too_old(read: Version, horizon: Version) -> Error {
    Error::new(
        ErrorKind::TooOld,
        format!(
            "this transaction began at version {read}, before version {horizon} from which changes are remembered; begin again"
        ),
    )
}

/// The time of a commit that is made now.
pub(crate) fn commit_time(
    given: Option<CommitTime>,
    last: CommitTime,
    now: CommitTime,
) -> Result<CommitTime> {
    let Some(time) = given else {
        return Ok(if planted(Bug::ClockTrusted) { now } else { last.after(now) });
    };
    if time <= last {
        return Err(Error::invalid(format!(
            "commit time {} is not later than the last commit's, {}",
            format_time(time),
            format_time(last)
        )));
    }
    if time > now {
        return Err(Error::invalid(format!("commit time {} is in the future", format_time(time))));
    }
    Ok(time)
}

/// The numbers that the tables a transaction makes get.
fn real_numbers(state: &State, prepared: &Prepared) -> BTreeMap<TableId, TableId> {
    let made = prepared.catalog.iter().filter_map(|change| match change {
        PreparedCatalogChange::Create { id, .. } => Some(*id),
        _ => None,
    });
    made.zip(state.catalog().next_table_id()..).collect()
}

impl PreparedCatalogChange {
    fn to_change(&self, number: &impl Fn(TableId) -> TableId) -> CatalogChange {
        match self {
            PreparedCatalogChange::Create { id, name, schema } => CatalogChange::Create {
                table: number(*id),
                name: name.clone(),
                schema: SchemaRecord::of(schema),
            },
            PreparedCatalogChange::Drop { id, .. } => CatalogChange::Drop { table: number(*id) },
            PreparedCatalogChange::Revive { id, .. } => CatalogChange::Revive { table: *id },
            PreparedCatalogChange::Alter { id, schema, .. } => {
                CatalogChange::Alter { table: number(*id), schema: SchemaRecord::of(schema) }
            }
        }
    }
}

/// What a table's rows on disk add to a commit.
#[derive(Default)]
struct Loaded {
    files: Vec<DataFileRecord>,
    /// Keys of rows that they replace or that are deleted, where those lie, and what all comes to, where that is known.
    settled: Option<(Keys, Vec<Target>, Counts)>,
}

/// The changes, for each its rows as a column block, and what they come to.
type Rows = (Vec<TableChange>, Vec<Vec<u8>>, BTreeMap<TableId, (String, Counts)>);

/// Existence, counts, and the place of each row that dies. Takes the rows' keys and blocks.
fn resolve_rows(
    state: &State,
    prepared: &mut Prepared,
    mut loaded: BTreeMap<TableId, Loaded>,
    number: &impl Fn(TableId) -> TableId,
) -> Result<Rows> {
    let catalog = state.catalog();
    let (mut changes, mut blocks) = (Vec::new(), Vec::new());
    let mut counts: BTreeMap<TableId, (String, Counts)> = BTreeMap::new();
    for change in &prepared.catalog {
        let (PreparedCatalogChange::Create { id, name, .. }
        | PreparedCatalogChange::Drop { id, name }
        | PreparedCatalogChange::Revive { id, name }
        | PreparedCatalogChange::Alter { id, name, .. }) = change;
        let (_, counts) = counts.entry(number(*id)).or_insert_with(|| (name.clone(), Counts::default()));
        if let PreparedCatalogChange::Drop { id, .. } = change {
            // Rows of a dropped table are gone from this version on without each being ended.
            if let Some(table) = catalog.table(*id) {
                counts.deleted += crate::snapshot::row_count(state, table, state.applied())?;
            }
        }
    }
    for table in &mut prepared.tables {
        let id = number(table.id);
        let entry =
            catalog.table(id).ok_or_else(|| Error::not_found(format!("table {} is gone", table.name)))?;
        let schema = table.schema.clone();
        let (is_new, truncated) = (table.id >= PROVISIONAL, table.truncated);
        let mut count = Counts::default();
        let find = |key: &[u8], expect: Expect| -> Result<(bool, Target)> {
            match is_new {
                true => Ok((false, Target::None)),
                false => state.find_written(entry, &schema, key, expect, truncated),
            }
        };
        if table.truncated && !table.dropped && table.id < PROVISIONAL {
            count.deleted += crate::snapshot::row_count(state, entry, state.applied())?;
        }
        let mut replaced = Vec::with_capacity(table.rows.num_rows());
        if table.schema.has_key() {
            for (row, key) in table.keys.iter().enumerate() {
                let (exists, target) = find(key, table.expects[row])?;
                match (table.expects[row], exists) {
                    (Expect::Absent, true) => {
                        return Err(Error::new(
                            ErrorKind::Exists,
                            format!(
                                "table {} has the key {} already",
                                table.name,
                                format_key(&table.schema, &table.rows, row)
                            ),
                        ));
                    }
                    (Expect::Present, false) => {
                        return Err(missing(&table.name, &format_key(&table.schema, &table.rows, row)));
                    }
                    _ => {}
                }
                match target {
                    Target::None => count.inserted += 1,
                    Target::Memory | Target::Born(..) | Target::File(..) => count.updated += 1,
                }
                replaced.push(target);
            }
        } else {
            replaced.resize(table.rows.num_rows(), Target::None);
            count.inserted += table.rows.num_rows() as u64;
        }
        let (mut deleted, mut deleted_at) = (Keys::default(), Vec::new());
        let loaded = loaded.remove(&table.id).unwrap_or_default();
        if let Some((keys, places, counts)) = loaded.settled {
            (deleted, deleted_at) = (keys, places);
            count += counts;
        } else {
            count.inserted += table.loaded.as_ref().map_or(0, LoadedFiles::rows);
        }
        for (key, expect) in table.deleted.iter().zip(&table.deleted_expects) {
            let (exists, target) = find(key, *expect)?;
            match (expect, exists) {
                (Expect::Present, false) => return Err(missing(&table.name, "of a row to delete")),
                (Expect::Absent, true) => {
                    let message = format!("table {} has a key already that was to be inserted", table.name);
                    return Err(Error::new(ErrorKind::Exists, message));
                }
                _ => {}
            }
            if target != Target::None {
                count.deleted += 1;
                deleted.push(key);
                deleted_at.push(target);
            }
        }
        if table.dropped {
            continue;
        }
        let files = loaded.files;
        let (_, total) = counts.entry(id).or_insert_with(|| (table.name.clone(), Counts::default()));
        *total += count;
        let first_row_id = (!table.schema.has_key())
            .then(|| state.memory.read().next_row_ids.get(&id).copied().unwrap_or(0));
        if let Some(files) = &table.loaded
            && files.first_row_id != first_row_id
        {
            let message =
                format!("rows were added to table {} while others were loaded; begin again", table.name);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        // Nothing dies in an empty table.
        let truncate = table.truncated && count.deleted > 0;
        if table.rows.num_rows() > 0 || !deleted.is_empty() || truncate || !files.is_empty() {
            blocks.push(std::mem::take(&mut table.block));
            changes.push(TableChange {
                keys: match first_row_id {
                    Some(first) => Keys::of_row_ids((first..).take(table.rows.num_rows())),
                    None => std::mem::take(&mut table.keys),
                },
                table: id,
                schema: entry.schemas.len() - 1,
                truncate,
                first_row_id,
                rows: table.rows.clone(),
                replaced,
                deleted,
                deleted_at,
                files,
            });
        }
    }
    for change in &prepared.catalog {
        if let PreparedCatalogChange::Revive { id, .. } = change
            && let Some(table) = catalog.table(*id)
            && let Some((_, counts)) = counts.get_mut(id)
        {
            *counts = counts.of_revived(crate::snapshot::row_count(state, table, state.applied())?);
        }
    }
    Ok((changes, blocks, counts))
}

fn missing(table: &str, key: &str) -> Error {
    Error::not_found(format!("table {table} has no row with the key {key}"))
}

/// A UUIDv7 (RFC 9562): 48 bits of milliseconds, then randomness.
fn uuid_v7(now: CommitTime, random: [u8; 16]) -> uuid::Uuid {
    let milliseconds = now.0.div_euclid(1000).max(0) as u64;
    uuid::Builder::from_unix_timestamp_millis(milliseconds, random[..10].try_into().expect("ten bytes"))
        .into_uuid()
}

fn os_user() -> String {
    static USER: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    USER.get_or_init(|| {
        let id = rustix::process::getuid().as_raw();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == id.to_string()).then(|| name.to_string())
        });
        name.unwrap_or_else(|| id.to_string())
    })
    .clone()
}

fn host() -> String {
    static HOST: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HOST.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned()).clone()
}
