//! `apply`: transactions as JSON Lines, one line one transaction, each acknowledged when it is durable.
//!
//! Invariants: lines are done in order and one at a time; an answer is written and flushed after its commit is on disk
//! and before the next line is read; no transaction is open while input is waited for, so that other writers have their
//! turn. A line that fails changes nothing.

use crate::input::chunk::{Chunk, Place};
use crate::input::first_answer::{RequestDigest, first_answer};
use crate::input::json::{JsonRows, Row, message_of};
use crate::input::retry::Retry;
use crate::input::source::{Source, read_error};
use crate::input::survey::JsonEvidence;
use crate::{Context, Error, Result, Status, print, schema_text};
use asof_engine::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use asof_engine::arrow::datatypes::{Field, Schema};
use asof_engine::{
    AsOf, Column, ColumnType, CommitOptions, Committed, Database, ErrorKind, Isolation, TableSchema,
    Transaction, TransactionOptions, text,
};
use clap::Args;
use memchr::memchr;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a line, at most.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// What a line may be, for the help.
const EXAMPLES: &str = r#"Each line is a transaction; its answer is a line, written once the commit is on disk:
  {"ops":[{"op":"create_table","table":"t","schema":"id int64, name text, primary key (id)"}]}
  {"ops":[{"op":"upsert","table":"t","rows":[{"id":1,"name":"one"},{"id":2,"name":"two"}]}]}
  {"ops":[{"op":"update","table":"t","rows":[{"id":1,"name":"uno"}]}],"message":"in Spanish"}
  {"ops":[{"op":"delete","table":"t","keys":[2]}],"author":"me","id":"request-7"}

Operations: create_table (schema), insert, upsert, update (rows), delete (keys: values, or arrays where the key has
several columns), truncate, drop_table. A table that is not there is made by rows with "key":["id"]. Beside "ops" a line
may have: id (asked again, the first answer is given again), message, author, meta, time, isolation."#;

/// `apply`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ApplyArgs {
    /// Directory of the database; made where missing
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// JSON Lines; standard input where it is - or missing
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Keep other processes from writing until the end
    #[arg(long)]
    pub exclusive: bool,
    /// End at the first line that fails
    #[arg(long)]
    pub stop_on_error: bool,
    /// Of lines that do not say: snapshot or serializable
    #[arg(long, value_name = "LEVEL", default_value = "snapshot")]
    pub isolation: Isolation,
}

/// A transaction as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a transaction, as {\"ops\": [..]}")]
pub struct Request {
    /// What to do, in order.
    ops: Vec<Operation>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    time: Option<String>,
    #[serde(default)]
    isolation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an operation, as {\"op\": \"upsert\", \"table\": .., \"rows\": [..]}"
)]
struct Operation {
    op: Kind,
    table: String,
    #[serde(default)]
    rows: Option<Vec<Row>>,
    #[serde(default)]
    keys: Option<Vec<Value>>,
    #[serde(default)]
    key: Option<Vec<String>>,
    #[serde(default)]
    schema: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Upsert,
    Insert,
    Update,
    Delete,
    Truncate,
    CreateTable,
    DropTable,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Upsert => "upsert",
            Kind::Insert => "insert",
            Kind::Update => "update",
            Kind::Delete => "delete",
            Kind::Truncate => "truncate",
            Kind::CreateTable => "create_table",
            Kind::DropTable => "drop_table",
        }
    }

    /// The fields that an operation of the kind may have, those it must have first.
    fn fields(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Kind::Upsert | Kind::Insert => (&["rows"], &["key"]),
            Kind::Update => (&["rows"], &[]),
            Kind::Delete => (&["keys"], &[]),
            Kind::Truncate | Kind::DropTable => (&[], &[]),
            Kind::CreateTable => (&["schema"], &["key"]),
        }
    }
}

/// Reads a line. What is not understood is refused: a field that is passed over would be a change that is not made.
pub fn parse_request(line: &[u8]) -> Result<Request> {
    let request: Request = serde_json::from_slice(line).map_err(|error| {
        let not_json = if error.is_data() { "" } else { "the line is not JSON: " };
        invalid(format!("{not_json}column {}: {}", error.column(), message_of(&error)))
    })?;
    for (index, operation) in request.ops.iter().enumerate() {
        let given = [
            ("rows", operation.rows.is_some()),
            ("keys", operation.keys.is_some()),
            ("key", operation.key.is_some()),
            ("schema", operation.schema.is_some()),
        ];
        let (needed, allowed) = operation.op.fields();
        let place = place(index, operation);
        for (field, is_given) in given {
            if is_given && !needed.contains(&field) && !allowed.contains(&field) {
                return Err(invalid(format!("{place}: {} has no field '{field}'", operation.op.name())));
            }
            if !is_given && needed.contains(&field) {
                return Err(invalid(format!("{place}: {} needs the field '{field}'", operation.op.name())));
            }
        }
    }
    Ok(request)
}

fn invalid(message: impl Into<String>) -> Error {
    asof_engine::Error::invalid(message).into()
}

/// Where an operation stands in its line.
fn place(index: usize, operation: &Operation) -> String {
    format!("operation {} ({} {})", index + 1, operation.op.name(), operation.table)
}

/// Commits the lines of a file, or of standard input as they come.
pub fn run(args: ApplyArgs, context: &Context) -> Result {
    let (name, mut input) = open(args.file.as_deref())?;
    let options = asof_engine::Options { exclusive: args.exclusive, ..context.options() };
    let database = context.open_or_create_with(&args.database, options)?;
    let applier = Applier { database, isolation: args.isolation, context };
    let mut out = context.out();
    let mut line = Vec::new();
    let (mut number, mut failed) = (0u64, false);
    while read_line(&mut input, &mut line).map_err(|error| read_error(&name, &error))? {
        number += 1;
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        if is_blank {
            continue;
        }
        let answer = match line.len() > LINE_BYTES_MAX {
            true => {
                Err(invalid(format!("the line is longer than {LINE_BYTES_MAX} bytes; split the transaction")))
            }
            false => applier.apply(number, &line),
        };
        let answer = answer.unwrap_or_else(|error| {
            failed = true;
            json!({"line": number, "error": error.to_json()})
        });
        writeln!(out, "{answer}")?;
        out.flush()?;
        if failed && args.stop_on_error {
            break;
        }
        // One long line must not hold its memory for ever.
        if line.capacity() > 1 << 20 {
            line = Vec::new();
        }
    }
    Ok(if failed { Status::Failed } else { Status::Done })
}

/// Files are decompressed; pipes are read as they come.
fn open(file: Option<&Path>) -> Result<(String, Box<dyn BufRead>)> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        return Ok(("standard input".to_string(), Box::new(BufReader::new(std::io::stdin()))));
    };
    let name = path.display().to_string();
    let is_file = std::fs::metadata(path).map_err(|error| read_error(&name, &error))?.is_file();
    let bytes: Box<dyn Read> = match is_file {
        true => Source::open(path)?.read()?,
        false => Box::new(File::open(path).map_err(|error| read_error(&name, &error))?),
    };
    Ok((name, Box::new(BufReader::new(bytes))))
}

/// Reads a line without its end; false at the end of the input. Of a line that is too long only its first
/// [`LINE_BYTES_MAX`] bytes and one more are kept.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr(b'\n', available);
        let part = &available[..end.unwrap_or(available.len())];
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let taken = part.len() + usize::from(end.is_some());
        input.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Does one line after the other.
struct Applier<'a> {
    database: Database,
    isolation: Isolation,
    context: &'a Context,
}

impl Applier<'_> {
    fn apply(&self, number: u64, line: &[u8]) -> Result<Value> {
        let request = parse_request(line)?;
        let digest = RequestDigest::default().part(line.trim_ascii()).finish();
        if let Some(id) = &request.id
            && let Some(first) = first_answer(&self.database, id, digest)?
        {
            return Ok(answer(number, &first));
        }
        let options = self.commit_options(&request, digest)?;
        let isolation = match &request.isolation {
            Some(name) => name.parse()?,
            None => self.isolation,
        };
        let mut retry = Retry::new(self.context.wait);
        let committed = loop {
            match self.attempt(&request, isolation, options.clone()) {
                Err(error) if retry.again(&error) => {}
                done => break done?,
            }
        };
        Ok(answer(number, &committed))
    }

    fn commit_options(&self, request: &Request, digest: [u8; 32]) -> Result<CommitOptions> {
        let time = match &request.time {
            None => None,
            Some(text) => match AsOf::parse(text, &self.context.tz) {
                Ok(AsOf::Time(time)) => Some(time),
                _ => {
                    return Err(invalid(format!(
                        "time '{text}' is no time; give one such as 2025-08-26T10:00:00Z"
                    )));
                }
            },
        };
        Ok(CommitOptions {
            operation: Some("apply".to_string()),
            parameters: BTreeMap::new(),
            message: request.message.clone(),
            author: request.author.clone(),
            meta: request.meta.clone().unwrap_or_default(),
            client_id: request.id.clone(),
            time,
            request_digest: Some(digest),
            allow_empty: false,
        })
    }

    fn attempt(&self, request: &Request, isolation: Isolation, options: CommitOptions) -> Result<Committed> {
        let mut transaction = self.database.begin_with(TransactionOptions { isolation })?;
        for (index, operation) in request.ops.iter().enumerate() {
            perform(&mut transaction, operation).map_err(|error| error.at(place(index, operation)))?;
        }
        transaction.commit(options).map_err(|error| self.name_missing(request, error.into()))
    }

    /// Where a commit failed for a row that is not there, says which operation wanted to delete it.
    fn name_missing(&self, request: &Request, error: Error) -> Error {
        if error.code() != ErrorKind::NotFound.code() {
            return error;
        }
        for (index, operation) in request.ops.iter().enumerate() {
            // Where an operation before changed the table, what is there does not tell.
            let changed = request.ops[..index].iter().any(|before| before.table == operation.table);
            if operation.op == Kind::Delete
                && !changed
                && let Ok(Some(missing)) = self.missing_key(operation)
            {
                return error.at(format_args!("{}: {missing}", place(index, operation)));
            }
        }
        error
    }

    /// The first key of a deletion that the newest version does not have.
    fn missing_key(&self, operation: &Operation) -> Result<Option<String>> {
        let snapshot = self.database.snapshot(self.database.latest()?)?;
        let keys = operation.keys.as_deref().unwrap_or_default();
        let schema = snapshot.schema(&operation.table)?;
        let batch = keys_to_batch(&schema, keys)?;
        for (row, key) in keys.iter().enumerate() {
            if snapshot.get(&operation.table, &batch.slice(row, 1))?.is_none() {
                return Ok(Some(format!("key {} ({key})", row + 1)));
            }
        }
        Ok(None)
    }
}

/// What is said of a commit.
fn answer(line: u64, committed: &Committed) -> Value {
    let time = print::time_or_start(committed.time);
    let mut answer = json!({"line": line, "version": committed.version.0, "time": time});
    for (field, is_so) in [("repeated", committed.repeated), ("unchanged", committed.unchanged)] {
        if is_so {
            answer[field] = json!(true);
        }
    }
    answer
}

fn perform(transaction: &mut Transaction, operation: &Operation) -> Result<()> {
    let table = operation.table.as_str();
    let rows = operation.rows.as_deref().unwrap_or_default();
    match operation.op {
        Kind::Upsert | Kind::Insert => {
            if !transaction.has_table(table) {
                make_table(transaction, operation, rows)?;
            }
            let schema = transaction.schema(table)?;
            check_key(&schema, operation)?;
            if rows.is_empty() {
                return Ok(());
            }
            let batch = to_batch(&schema, rows, 0)?;
            match operation.op {
                Kind::Upsert => transaction.upsert(table, &batch)?,
                _ => transaction.insert(table, &batch)?,
            }
        }
        Kind::Update => {
            let schema = transaction.schema(table)?;
            // Rows that change the same columns go together; the order of the others is kept.
            let mut start = 0;
            for run in rows.chunk_by(has_same_members) {
                let batch = to_batch(&schema, run, start)?;
                transaction.update(table, &batch)?;
                start += run.len();
            }
        }
        Kind::Delete => {
            let schema = transaction.schema(table)?;
            let keys = operation.keys.as_deref().unwrap_or_default();
            if !keys.is_empty() {
                transaction.delete(table, &keys_to_batch(&schema, keys)?)?;
            }
        }
        Kind::Truncate => transaction.truncate(table)?,
        Kind::DropTable => transaction.drop_table(table)?,
        Kind::CreateTable => {
            let definition = schema_text::parse_definition(operation.schema.as_deref().unwrap_or_default())?;
            let key = match &operation.key {
                Some(key) if definition.key.is_empty() => key.clone(),
                Some(key) if *key != definition.key => {
                    return Err(invalid(
                        "the field 'key' and the schema's primary key differ; give one of them",
                    ));
                }
                _ => definition.key.clone(),
            };
            schema_text::Definition { key, ..definition }.create(transaction, table)?;
        }
    }
    Ok(())
}

fn has_same_members(a: &Row, b: &Row) -> bool {
    a.0.len() == b.0.len() && a.0.keys().all(|name| b.0.contains_key(name))
}

/// Makes a table from its first rows. Texts are text, whatever they look like: one transaction is too little to tell.
fn make_table(transaction: &mut Transaction, operation: &Operation, rows: &[Row]) -> Result<()> {
    let mut names: Vec<&String> = Vec::new();
    let mut columns: BTreeMap<&String, JsonEvidence> = BTreeMap::new();
    for (name, value) in rows.iter().flat_map(|row| &row.0) {
        let evidence = columns.entry(name).or_insert_with(|| {
            names.push(name);
            JsonEvidence::default()
        });
        evidence.add(value, 0);
    }
    if names.is_empty() {
        return Err(asof_engine::Error::not_found(format!(
            "there is no table '{}', and no row to make it from",
            operation.table
        ))
        .into());
    }
    if operation.op == Kind::Upsert && operation.key.is_none() {
        return Err(asof_engine::Error::invalid(format!(
            "there is no table '{}', and an upsert makes one only with a key: add \"key\":[\"{}\"], or the columns it is",
            operation.table, names[0]
        ))
        .into());
    }
    let columns = names
        .into_iter()
        .map(|name| Column::new(name.as_str(), columns[name].column_type(false).unwrap_or(ColumnType::Text)))
        .collect();
    let key = operation.key.as_deref().unwrap_or_default();
    Ok(transaction.create_table(&operation.table, columns, key)?)
}

fn check_key(schema: &TableSchema, operation: &Operation) -> Result<()> {
    let Some(key) = &operation.key else { return Ok(()) };
    let current: Vec<&str> = schema.key_columns().map(|column| column.name.as_str()).collect();
    if current == *key {
        return Ok(());
    }
    let current = if current.is_empty() { "none".to_string() } else { current.join(", ") };
    Err(invalid(format!("the field 'key' says {}, the table's key is {current}", key.join(", "))))
}

/// Rows as a batch of the columns that any of them has. `first` is the number of rows before them, for messages.
fn to_batch(schema: &TableSchema, rows: &[Row], first: usize) -> Result<RecordBatch> {
    let mut json = JsonRows::default();
    for (index, Row(row)) in rows.iter().enumerate() {
        json.push(row.clone(), Place::Row((first + index) as u64 + 1));
    }
    let count = json.len();
    let chunk = Chunk::of_json(json);
    let mut arrays: Vec<(Field, ArrayRef)> = Vec::new();
    for (index, name) in chunk.names.iter().enumerate() {
        let column = &schema.columns[schema.index_of(name).map_err(asof_engine::Error::from)?];
        let array = chunk.column_or_default(index, column).map_err(|error| {
            invalid(format!("{}, column '{name}': {}", chunk.place(error.row), error.message))
        })?;
        if !column.nullable
            && let Some(row) = (0..count).find(|&row| array.is_null(row))
        {
            let place = chunk.place(row);
            return Err(invalid(format!("{place}, column '{name}': it is not null, and has no value here")));
        }
        arrays.push((Field::new(name, array.data_type().clone(), true), array));
    }
    batch_of(arrays, count)
}

/// Keys as a batch: each is the value itself, an array of the values in key order, or an object of them.
fn keys_to_batch(schema: &TableSchema, keys: &[Value]) -> Result<RecordBatch> {
    let columns: Vec<&Column> = schema.key_columns().collect();
    if columns.is_empty() {
        return Err(invalid("the table has no key by which rows could be named"));
    }
    let names = || columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut values: Vec<Vec<Option<&Value>>> = vec![Vec::with_capacity(keys.len()); columns.len()];
    for (index, key) in keys.iter().enumerate() {
        let wrong = || invalid(format!("key {}: give a value for each of {}", index + 1, names()));
        match key {
            Value::Object(object) => {
                if object.len() != columns.len() {
                    return Err(wrong());
                }
                for (column, values) in columns.iter().zip(&mut values) {
                    values.push(Some(object.get(&column.name).ok_or_else(wrong)?));
                }
            }
            Value::Array(array) if array.len() == columns.len() => {
                array.iter().zip(&mut values).for_each(|(value, values)| values.push(Some(value)));
            }
            Value::Array(_) => return Err(wrong()),
            value if columns.len() == 1 => values[0].push(Some(value)),
            _ => return Err(wrong()),
        }
    }
    let mut arrays = Vec::new();
    for (column, values) in columns.iter().zip(&values) {
        let array = text::json_to_column(&column.column_type, values).map_err(|error| {
            invalid(format!("key {}, column '{}': {}", error.row + 1, column.name, error.message))
        })?;
        arrays.push((Field::new(&column.name, array.data_type().clone(), true), array));
    }
    batch_of(arrays, keys.len())
}

fn batch_of(columns: Vec<(Field, ArrayRef)>, rows: usize) -> Result<RecordBatch> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(asof_engine::Error::from)?)
}
