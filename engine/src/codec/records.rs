//! The structures inside log payloads, manifests and the commit log, and their way to and from the
//! types of the engine. FORMAT.md describes each field.

use super::columns::{decode_columns, decode_kept_columns, encode_columns};
use super::{BYTES_MAX, borrow_decode, decode, decompress, encode, encode_onto, put_varint, take_varint};
use crate::api::{CommitInfo, Counts, Tag};
use crate::error::{Error, Result};
use crate::manifest::DataFileRecord;
use crate::text::hex;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Schema};
use asof_mvcc::{Check, Column, ColumnType, CommitTime, FileId, Keys, Table, TableId, TableSchema, Version};
use bincode::{BorrowDecode, Decode, Encode};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kinds of log records.
pub mod kind {
    /// A commit: [`super::encode_commit`].
    pub const COMMIT: u8 = 1;
    /// A tag was made or moved: [`super::TagRecord`].
    pub const TAG: u8 = 2;
    /// A tag was removed: its name.
    pub const TAG_REMOVED: u8 = 3;
    /// A checkpoint is installed: the manifest's number, u64.
    pub const CHECKPOINT: u8 = 4;
    /// A setting was made, changed or, without a value, removed: its name, and its value if it has one.
    pub const SETTING: u8 = 5;
    /// Kinds from here on, of a newer release, may be left aside by one that does not know them; those below may not.
    pub const OPTIONAL: u8 = 128;
}

/// A column on disk.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ColumnRecord {
    id: u32,
    name: String,
    column_type: String,
    nullable: bool,
    /// A column block of one row and one column.
    default: Option<Vec<u8>>,
}

/// The type of what is not a column but a check: its name, and as its default the condition. A release that knows no
/// checks refuses a schema with a type that it does not know.
const CHECK_TYPE: &str = "check";

/// A schema on disk.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SchemaRecord {
    columns: Vec<ColumnRecord>,
    key: Vec<u32>,
}

impl SchemaRecord {
    /// A schema as it goes to disk.
    pub fn of(schema: &TableSchema) -> SchemaRecord {
        let columns = schema.columns.iter().map(|column| ColumnRecord {
            id: column.id,
            name: column.name.clone(),
            column_type: column.column_type.to_string(),
            nullable: column.nullable,
            default: column.default.as_ref().map(|value| {
                let field = Field::new("default", value.data_type().clone(), true);
                let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![value.clone()]);
                encode_columns(&batch.expect("one array of one value is a batch"))
            }),
        });
        let checks = schema.checks.iter().map(|check| ColumnRecord {
            id: 0,
            name: check.name.clone(),
            column_type: CHECK_TYPE.to_string(),
            nullable: true,
            default: Some(check.expression.clone().into_bytes()),
        });
        SchemaRecord { columns: columns.chain(checks).collect(), key: schema.key.clone() }
    }

    /// The checks among the columns.
    fn checks(&self) -> Result<Vec<Check>> {
        let checks = self.columns.iter().filter(|record| record.column_type == CHECK_TYPE).map(|record| {
            let expression = String::from_utf8(record.default.clone().unwrap_or_default());
            let expression = expression.map_err(|_| Error::corrupt("a check on disk is no text"))?;
            Ok(Check { name: record.name.clone(), expression })
        });
        checks.collect()
    }

    /// The schema, checked.
    pub fn to_schema(&self) -> Result<TableSchema> {
        let columns = self
            .columns
            .iter()
            .filter(|record| record.column_type != CHECK_TYPE)
            .map(|record| {
                let column_type = ColumnType::parse(&record.column_type)
                    .map_err(|error| Error::corrupt(format!("a schema on disk is damaged: {error}")))?;
                let default = match &record.default {
                    Some(bytes) => {
                        let field = Field::new("default", column_type.to_arrow(), true);
                        Some(decode_columns(bytes, &Arc::new(Schema::new(vec![field])), 1)?.column(0).clone())
                    }
                    None => None,
                };
                if default.as_ref().is_some_and(|value| value.len() != 1) {
                    return Err(Error::corrupt("a default on disk has no value"));
                }
                Ok(Column {
                    id: record.id,
                    name: record.name.clone(),
                    column_type,
                    nullable: record.nullable,
                    default,
                })
            })
            .collect::<Result<_>>()?;
        let mut schema = TableSchema::of(columns, self.key.clone());
        schema.checks = self.checks()?;
        schema.validate().map_err(|error| Error::corrupt(format!("a schema on disk is damaged: {error}")))?;
        if schema.key.iter().any(|id| schema.column(*id).is_none()) {
            return Err(Error::corrupt("a schema on disk names a key column that it does not have"));
        }
        Ok(schema)
    }
}

/// A table with its history on disk.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct TableRecord {
    id: u32,
    name: String,
    lives: Vec<(u64, Option<u64>)>,
    schemas: Vec<(u64, SchemaRecord)>,
    next_column_id: u32,
}

impl TableRecord {
    /// A table as it goes to disk.
    pub fn of(table: &Table) -> TableRecord {
        TableRecord {
            id: table.id,
            name: table.name.clone(),
            lives: table.lives.iter().map(|(from, to)| (from.0, to.map(|to| to.0))).collect(),
            schemas: table.schemas.iter().map(|(from, schema)| (from.0, SchemaRecord::of(schema))).collect(),
            next_column_id: table.next_column_id,
        }
    }

    /// The table, checked.
    pub fn to_table(&self) -> Result<Table> {
        let schemas = self
            .schemas
            .iter()
            .map(|(from, schema)| Ok((Version(*from), Arc::new(schema.to_schema()?))))
            .collect::<Result<Vec<_>>>()?;
        if schemas.is_empty() || !schemas.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(Error::corrupt(format!("table {} has no ascending list of schemas", self.name)));
        }
        Ok(Table {
            id: self.id,
            name: self.name.clone(),
            lives: self.lives.iter().map(|&(from, to)| (Version(from), to.map(Version))).collect(),
            schemas,
            next_column_id: self.next_column_id,
        })
    }
}

/// A change of the catalog in a commit.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum CatalogChange {
    /// A new table.
    Create {
        /// Its number.
        table: TableId,
        /// Its full name.
        name: String,
        /// Its first schema.
        schema: SchemaRecord,
    },
    /// The end of a table.
    Drop {
        /// Its number.
        table: TableId,
    },
    /// Another schema.
    Alter {
        /// The table.
        table: TableId,
        /// The schema in force from this version on.
        schema: SchemaRecord,
    },
    /// A table that was dropped is there again, with the rows it had.
    Revive {
        /// Its number.
        table: TableId,
    },
}

/// Where a row that dies lies, as far as the writer knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// There is none: the row is new.
    None,
    /// Not in a data file yet: found by key. (What was logged before there was [`Target::Born`].)
    Memory,
    /// Not in a data file yet: the nth row of this table that a version made.
    Born(Version, u32),
    /// In a data file.
    File(FileId, u32),
}

fn encode_targets(targets: &[Target]) -> Vec<u8> {
    if targets.iter().all(|target| *target == Target::None) {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(targets.len() * 2);
    for target in targets {
        match target {
            Target::None => out.push(0),
            Target::Memory => out.push(1),
            Target::File(file, row) => {
                out.push(2);
                put_varint(&mut out, *file);
                put_varint(&mut out, *row as u64);
            }
            Target::Born(version, nth) => {
                out.push(3);
                put_varint(&mut out, version.0);
                put_varint(&mut out, u64::from(*nth));
            }
        }
    }
    out
}

fn decode_targets(mut input: &[u8], count: usize) -> Option<Vec<Target>> {
    if input.is_empty() {
        return Some(vec![Target::None; count]);
    }
    if count > input.len() {
        return None;
    }
    let mut targets = Vec::with_capacity(count);
    for _ in 0..count {
        let (&tag, rest) = input.split_first()?;
        input = rest;
        let place = |input: &mut &[u8]| Some((take_varint(input)?, u32::try_from(take_varint(input)?).ok()?));
        targets.push(match tag {
            0 => Target::None,
            1 => Target::Memory,
            2 => place(&mut input).map(|(file, row)| Target::File(file, row))?,
            3 => place(&mut input).map(|(version, nth)| Target::Born(Version(version), nth))?,
            _ => return None,
        });
    }
    input.is_empty().then_some(targets)
}

/// Encodes keys: count, then length and bytes of each.
pub fn encode_keys(keys: &Keys) -> Vec<u8> {
    let mut out = Vec::new();
    if keys.is_empty() {
        return out;
    }
    put_varint(&mut out, keys.len() as u64);
    for key in keys.iter() {
        put_varint(&mut out, key.len() as u64);
        out.extend_from_slice(key);
    }
    out
}

/// Decodes what [`encode_keys`] wrote.
pub fn decode_keys(mut input: &[u8]) -> Option<Keys> {
    let mut keys = Keys::default();
    if input.is_empty() {
        return Some(keys);
    }
    let count = take_varint(&mut input)?;
    for _ in 0..count {
        let length = usize::try_from(take_varint(&mut input)?).ok()?;
        let (key, rest) = input.split_at_checked(length)?;
        keys.push(key);
        input = rest;
    }
    input.is_empty().then_some(keys)
}

/// What a commit changed in the rows of one table, on disk.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode)]
struct TableChangeRecord<'a> {
    table: u32,
    /// Index of the schema that the rows have.
    schema: u32,
    /// All rows alive before this commit die.
    truncate: bool,
    /// Tables without key: the hidden row id of the first row.
    first_row_id: Option<u64>,
    /// A column block: the rows born, in key order.
    rows: Cow<'a, [u8]>,
    /// For each row born, the row it replaces.
    replaced: Cow<'a, [u8]>,
    /// Keys of the rows that die without a successor.
    deleted: Cow<'a, [u8]>,
    /// Where those lie.
    deleted_at: Cow<'a, [u8]>,
    /// Data files that hold rows of this commit instead of `rows` (bulk loads).
    files: Vec<DataFileRecord>,
}

/// What a commit changed in the rows of one table.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// The table.
    pub table: TableId,
    /// Index of the schema that the rows have.
    pub schema: usize,
    /// All rows alive before this commit die.
    pub truncate: bool,
    /// Tables without key: the hidden row id of the first row.
    pub first_row_id: Option<u64>,
    /// The rows born.
    pub rows: RecordBatch,
    /// Their keys.
    pub keys: Keys,
    /// For each row born, the row it replaces.
    pub replaced: Vec<Target>,
    /// Keys of the rows that die without a successor.
    pub deleted: Keys,
    /// Where those lie.
    pub deleted_at: Vec<Target>,
    /// Data files with rows born instead of `rows`, without their version, which is the commit's (bulk loads).
    pub files: Vec<DataFileRecord>,
}

/// Everything a commit changed.
#[derive(Clone, Debug, Default)]
pub struct CommitContent {
    /// Tables made, dropped, altered.
    pub catalog: Vec<CatalogChange>,
    /// Rows, table by table.
    pub changes: Vec<TableChange>,
}

/// The content of a commit, on disk.
#[derive(Encode)]
struct ContentParts<'a> {
    catalog: &'a [CatalogChange],
    changes: Vec<TableChangeRecord<'a>>,
}

/// The same, read back.
#[derive(BorrowDecode)]
struct ContentRecord<'a> {
    catalog: Vec<CatalogChange>,
    changes: Vec<TableChangeRecord<'a>>,
}

/// Rows changed in a table, on disk.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CountsRecord {
    /// The table's number.
    pub table: u32,
    name: String,
    inserted: u64,
    updated: u64,
    deleted: u64,
}

impl CountsRecord {
    /// The counts alone.
    fn counts(&self) -> Counts {
        Counts { inserted: self.inserted, updated: self.updated, deleted: self.deleted }
    }
}

/// Everything about a commit but its content; what the commit log keeps for ever.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CommitHeader {
    /// The version it makes.
    pub version: u64,
    /// Its commit time, microseconds UTC.
    pub time: i64,
    wall_time: i64,
    id: [u8; 16],
    /// The idempotency id of the caller.
    pub client_id: Option<String>,
    author: Option<String>,
    os_user: String,
    host: String,
    message: Option<String>,
    operation: String,
    parameters: Vec<(String, String)>,
    meta: Vec<(String, String)>,
    read_version: u64,
    isolation: u8,
    blind_append: bool,
    /// Rows changed per table.
    pub tables: Vec<CountsRecord>,
    schema_changes: Vec<(String, String)>,
    /// With an idempotency id: a digest of what was asked for.
    pub request_digest: Option<[u8; 32]>,
    /// BLAKE3 of the content.
    pub content_digest: [u8; 32],
    /// BLAKE3 over the chain before, the content digest and this header.
    pub chain_digest: [u8; 32],
}

impl CommitHeader {
    /// The header of a commit; digests are filled in by [`encode_commit`]. `counts` has one entry for each table by
    /// number: two tables may have one name, where a commit replaces one by another.
    pub fn of(info: CommitInfo, counts: BTreeMap<TableId, (String, Counts)>) -> CommitHeader {
        let pairs = |map: BTreeMap<String, String>| map.into_iter().collect();
        CommitHeader {
            version: info.version.0,
            time: info.time.0,
            wall_time: info.wall_time.0,
            id: *info.id.as_bytes(),
            client_id: info.client_id,
            author: info.author,
            os_user: info.os_user,
            host: info.host,
            message: info.message,
            operation: info.operation,
            parameters: pairs(info.parameters),
            meta: pairs(info.meta),
            read_version: info.read_version.0,
            isolation: (info.isolation == "serializable") as u8,
            blind_append: info.blind_append,
            tables: counts
                .into_iter()
                .map(|(table, (name, counts))| CountsRecord {
                    table,
                    name,
                    inserted: counts.inserted,
                    updated: counts.updated,
                    deleted: counts.deleted,
                })
                .collect(),
            schema_changes: info.schema_changes,
            request_digest: None,
            content_digest: info.content_digest,
            chain_digest: info.chain_digest,
        }
    }

    /// What the API shows of it.
    pub fn to_info(&self) -> CommitInfo {
        let mut tables: BTreeMap<String, Counts> = BTreeMap::new();
        for record in &self.tables {
            *tables.entry(record.name.clone()).or_default() += record.counts();
        }
        CommitInfo {
            version: Version(self.version),
            time: CommitTime(self.time),
            wall_time: CommitTime(self.wall_time),
            id: uuid::Uuid::from_bytes(self.id),
            client_id: self.client_id.clone(),
            author: self.author.clone(),
            os_user: self.os_user.clone(),
            host: self.host.clone(),
            message: self.message.clone(),
            operation: self.operation.clone(),
            parameters: self.parameters.iter().cloned().collect(),
            meta: self.meta.iter().cloned().collect(),
            read_version: Version(self.read_version),
            isolation: if self.isolation == 1 { "serializable" } else { "snapshot" },
            blind_append: self.blind_append,
            tables,
            schema_changes: self.schema_changes.clone(),
            content_digest: self.content_digest,
            chain_digest: self.chain_digest,
        }
    }

    /// About the bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let texts = [&self.client_id, &self.author, &self.message];
        let texts = texts.into_iter().flatten().chain([&self.os_user, &self.host, &self.operation]);
        let pairs = self.parameters.iter().chain(&self.meta).chain(&self.schema_changes);
        let tables = self.tables.iter().map(|record| size_of::<CountsRecord>() + record.name.capacity());
        size_of::<CommitHeader>()
            + texts.map(String::capacity).sum::<usize>()
            + pairs.map(|(a, b)| size_of::<(String, String)>() + a.capacity() + b.capacity()).sum::<usize>()
            + tables.sum::<usize>()
    }

    /// How many images of rows a feed has of what the commit did to some tables, about.
    pub fn images_of(&self, tables: &[TableId]) -> u64 {
        let counts = self.tables.iter().filter(|record| tables.contains(&record.table));
        counts.map(|record| record.counts().images()).fold(0, u64::saturating_add)
    }

    /// The digest that chains this header and its content to all commits before it.
    pub fn chain_after(&self, previous: &[u8; 32]) -> [u8; 32] {
        let mut encoded = encode(self);
        let place = encoded.len() - DIGEST_BYTES;
        encoded[place..].fill(0);
        chain(previous, &self.content_digest, &encoded)
    }
}

const DIGEST_BYTES: usize = 32;
/// Rows that a loaded file has at most: they are numbered by 32 bits.
const LOADED_ROWS_MAX: u64 = 1 << 32;
/// Bytes that a loaded file has at most.
const LOADED_BYTES_MAX: u64 = 1 << 44;

/// The chain digest of a commit whose encoded header ends with zeros in its place.
fn chain(previous: &[u8; 32], content: &[u8; 32], header: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"asof commit chain 1");
    hasher.update(previous);
    hasher.update(content);
    hasher.update(blake3::hash(header).as_bytes());
    *hasher.finalize().as_bytes()
}

/// The format of headers, and of payloads that any release reads.
pub const PAYLOAD_FORMAT: u8 = 1;
/// The format of payloads that bring dropped tables back.
const PAYLOAD_FORMAT_REVIVES: u8 = 2;
const PAYLOAD_PREFIX: usize = 16;
/// About what all but the rows takes in most payloads.
const HEADER_GUESS_BYTES: usize = 640;
/// Content of at least this many bytes is compressed where that pays.
const COMPRESS_FROM: usize = 4 << 10;
/// What is compressed first, to see whether it pays.
const SAMPLE_BYTES: usize = 32 << 10;

/// The content compressed, where that halves it at least: the log is written once, and read back at the speed of the
/// disk, so that less does not pay for the time it takes.
fn compress(content: &[u8]) -> Option<Vec<u8>> {
    let halved = |plain: &[u8]| {
        let compressed = zstd::bulk::compress(plain, 1).ok()?;
        (compressed.len() <= plain.len() / 2).then_some(compressed)
    };
    match content.len() {
        ..COMPRESS_FROM => None,
        COMPRESS_FROM..=SAMPLE_BYTES => halved(content),
        // The middle is rows, not schemas, and not keys alone.
        length => {
            halved(&content[(length - SAMPLE_BYTES) / 2..][..SAMPLE_BYTES]).and_then(|_| halved(content))
        }
    }
}

/// Rows as a column block: what [`encode_commit`] takes, so that they may be encoded before a commit's turn.
pub fn encode_rows(rows: &RecordBatch) -> Vec<u8> {
    if rows.num_rows() > 0 { encode_columns(rows) } else { Vec::new() }
}

/// Encodes a commit as a log payload; fills in the header's digests. `rows` are the blocks of the content's changes, one
/// for each.
///
/// `{format u8, compressed u8, zero u16, header length u32, content length u64}`, the header, the content (zstd where
/// that is much shorter; the length is the one before). A content longer than any reader accepts is refused.
pub fn encode_commit(
    header: &mut CommitHeader,
    content: &CommitContent,
    rows: &[impl AsRef<[u8]>],
    previous_chain: &[u8; 32],
) -> Result<Vec<u8>> {
    assert_eq!(content.changes.len(), rows.len(), "each change has a block of rows");
    let format = if revives(&content.catalog) { PAYLOAD_FORMAT_REVIVES } else { PAYLOAD_FORMAT };
    let mut payload =
        Vec::with_capacity(HEADER_GUESS_BYTES + rows.iter().map(|rows| rows.as_ref().len()).sum::<usize>());
    payload.resize(PAYLOAD_PREFIX, 0);
    (header.content_digest, header.chain_digest) = ([0; DIGEST_BYTES], [0; DIGEST_BYTES]);
    encode_onto(&mut payload, header);
    let header_end = payload.len();
    let changes = content.changes.iter().zip(rows).map(|(change, rows)| TableChangeRecord {
        table: change.table,
        schema: change.schema as u32,
        truncate: change.truncate,
        first_row_id: change.first_row_id,
        rows: Cow::Borrowed(rows.as_ref()),
        replaced: encode_targets(&change.replaced).into(),
        deleted: encode_keys(&change.deleted).into(),
        deleted_at: encode_targets(&change.deleted_at).into(),
        files: change.files.clone(),
    });
    let record = ContentParts { catalog: &content.catalog, changes: changes.collect() };
    encode_onto(&mut payload, &record);
    let content_bytes = payload.len() - header_end;
    if content_bytes > BYTES_MAX {
        let found = content_bytes;
        return Err(Error::invalid(format!(
            "the changes take {found} bytes, and a commit may have {BYTES_MAX}; commit them in several parts"
        )));
    }
    // The digests are the header's last fields, of fixed width.
    let (head, content) = payload.split_at_mut(header_end);
    let header_bytes = &mut head[PAYLOAD_PREFIX..];
    let [content_at, chain_at] = [2, 1].map(|last| header_bytes.len() - last * DIGEST_BYTES);
    header.content_digest = *blake3::hash(content).as_bytes();
    header_bytes[content_at..chain_at].copy_from_slice(&header.content_digest);
    header.chain_digest = chain(previous_chain, &header.content_digest, header_bytes);
    header_bytes[chain_at..].copy_from_slice(&header.chain_digest);
    let header_length = header_bytes.len() as u32;
    let compressed = compress(content);
    payload[0] = format;
    payload[1] = compressed.is_some() as u8;
    payload[4..8].copy_from_slice(&header_length.to_le_bytes());
    payload[8..PAYLOAD_PREFIX].copy_from_slice(&(content_bytes as u64).to_le_bytes());
    if let Some(compressed) = compressed {
        payload.truncate(header_end);
        payload.extend_from_slice(&compressed);
    }
    Ok(payload)
}

/// A commit's payload with its header and its changes of the catalog decoded.
pub struct CommitPayload {
    /// The header.
    pub header: CommitHeader,
    catalog: Vec<CatalogChange>,
    content: Buffer,
}

impl CommitPayload {
    /// Decodes a log payload and checks the content's digest.
    pub fn decode(payload: &[u8]) -> Result<CommitPayload> {
        let payload = CommitPayload::decode_unproven(payload.to_vec())?;
        if *blake3::hash(&payload.content).as_bytes() != payload.header.content_digest {
            return Err(Error::corrupt(format!(
                "the content of version {} does not match its digest",
                payload.header.version
            )));
        }
        Ok(payload)
    }

    /// Decodes a log payload whose bytes the log's checksum has just vouched for; the digest is for who verifies. Rows
    /// keep the payload, as far as they need not be copied.
    pub fn decode_unproven(payload: Vec<u8>) -> Result<CommitPayload> {
        let payload = Buffer::from_vec(payload);
        let short = || Error::corrupt("a commit's payload is too short");
        let (prefix, rest) = payload.split_at_checked(PAYLOAD_PREFIX).ok_or_else(short)?;
        let format = prefix[0];
        if !(PAYLOAD_FORMAT..=PAYLOAD_FORMAT_REVIVES).contains(&format) {
            return Err(Error::new(
                crate::ErrorKind::Unsupported,
                format!(
                    "a commit has payload format {format}; this release reads up to {PAYLOAD_FORMAT_REVIVES}"
                ),
            ));
        }
        if prefix[1] > 1 || prefix[2..4] != [0, 0] {
            return Err(Error::corrupt(format!("a commit's payload begins with {}", hex(&prefix[..4]))));
        }
        let header_bytes = u32::from_le_bytes(prefix[4..8].try_into().expect("four bytes")) as usize;
        let content_bytes = u64::from_le_bytes(prefix[8..16].try_into().expect("eight bytes"));
        let (header, body) = rest.split_at_checked(header_bytes).ok_or_else(short)?;
        let header: CommitHeader = decode(header, "a commit's header")?;
        let content = match prefix[1] {
            0 if body.len() as u64 == content_bytes => Some(payload.slice(PAYLOAD_PREFIX + header_bytes)),
            0 => None,
            _ if content_bytes > BYTES_MAX as u64 => None,
            _ => decompress(body, content_bytes).map(Buffer::from_vec),
        };
        let content = content.ok_or_else(|| {
            let version = header.version;
            Error::corrupt(format!(
                "the content of version {version} is not the {content_bytes} bytes it says"
            ))
        })?;
        let catalog = content_record(&content)?.catalog;
        if revives(&catalog) != (format == PAYLOAD_FORMAT_REVIVES) {
            let version = header.version;
            return Err(Error::corrupt(format!(
                "version {version} has payload format {format} and other content"
            )));
        }
        Ok(CommitPayload { header, catalog, content })
    }

    /// The changes of the catalog.
    pub fn catalog(&self) -> &[CatalogChange] {
        &self.catalog
    }

    /// The data files that it names: whatever becomes of it, they must be there as long as it is.
    pub fn files(&self) -> Result<Vec<FileId>> {
        let content = content_record(&self.content)?;
        Ok(content.changes.iter().flat_map(|change| &change.files).map(|file| file.id).collect())
    }

    /// What it says of these files.
    pub fn file_records(&self) -> Result<Vec<DataFileRecord>> {
        let content = content_record(&self.content)?;
        Ok(content.changes.into_iter().flat_map(|change| change.files).collect())
    }

    /// The changes of rows. `schema_of` gives the schema of a table by index.
    pub fn changes(
        &self,
        schema_of: impl Fn(TableId, usize) -> Option<Arc<TableSchema>>,
    ) -> Result<Vec<TableChange>> {
        let content = content_record(&self.content)?;
        let changes = content.changes.iter().map(|record| {
            let damaged =
                |what: &str| Error::corrupt(format!("version {} has damaged {what}", self.header.version));
            let schema =
                schema_of(record.table, record.schema as usize).ok_or_else(|| damaged("table numbers"))?;
            let arrow_schema = schema.to_arrow();
            let rows = if record.rows.is_empty() {
                RecordBatch::new_empty(arrow_schema)
            } else {
                let start = record.rows.as_ptr() as usize - self.content.as_ptr() as usize;
                let block = self.content.slice_with_length(start, record.rows.len());
                decode_kept_columns(&block, &arrow_schema, u32::MAX as usize)?
            };
            let deleted = decode_keys(&record.deleted).ok_or_else(|| damaged("keys"))?;
            // What is loaded is all that is born, and takes its version from the commit.
            let loads = !record.files.is_empty();
            let alone = record.rows.is_empty();
            let of_table = |file: &DataFileRecord| {
                let new = file.table == record.table && !file.history && file.loaded_at.is_none();
                new && file.rows <= LOADED_ROWS_MAX && file.bytes <= LOADED_BYTES_MAX
            };
            if loads && !(alone && record.files.iter().all(of_table)) {
                return Err(damaged("files"));
            }
            let loaded = record.files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.rows));
            let born = loaded.and_then(|loaded| loaded.checked_add(rows.num_rows() as u64));
            let born = born.ok_or_else(|| damaged("files"))?;
            if record.first_row_id.is_some_and(|first| first.checked_add(born).is_none()) {
                return Err(damaged("row ids"));
            }
            let keys = match record.first_row_id {
                Some(first) => Keys::of_row_ids((first..).take(rows.num_rows())),
                None => Keys::of_batch(&schema, &rows)?,
            };
            Ok(TableChange {
                keys,
                table: record.table,
                schema: record.schema as usize,
                truncate: record.truncate,
                first_row_id: record.first_row_id,
                replaced: decode_targets(&record.replaced, rows.num_rows())
                    .ok_or_else(|| damaged("positions"))?,
                deleted_at: decode_targets(&record.deleted_at, deleted.len())
                    .ok_or_else(|| damaged("positions"))?,
                rows,
                deleted,
                files: record.files.clone(),
            })
        });
        changes.collect()
    }
}

/// Whether changes of the catalog bring a table back.
fn revives(catalog: &[CatalogChange]) -> bool {
    catalog.iter().any(|change| matches!(change, CatalogChange::Revive { .. }))
}

fn content_record(content: &Buffer) -> Result<ContentRecord<'_>> {
    borrow_decode(content, "a commit's content")
}

/// A tag on disk.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct TagRecord {
    name: String,
    version: u64,
    message: Option<String>,
    created: i64,
    expires: Option<i64>,
}

impl TagRecord {
    /// A tag as it goes to disk.
    pub fn of(tag: &Tag) -> TagRecord {
        TagRecord {
            name: tag.name.clone(),
            version: tag.version.0,
            message: tag.message.clone(),
            created: tag.created.0,
            expires: tag.expires.map(|time| time.0),
        }
    }

    /// The tag.
    pub fn to_tag(&self) -> Tag {
        Tag {
            name: self.name.clone(),
            version: Version(self.version),
            message: self.message.clone(),
            created: CommitTime(self.created),
            expires: self.expires.map(CommitTime),
        }
    }
}
