//! Inputs become changes of an open transaction: the table is made or altered as the inputs ask, then their rows are
//! inserted, upserted or put in place of what was there.
//!
//! Invariant: everything is decided before the first change that depends on it, and nothing is committed here: where
//! this fails, the caller drops the transaction and nothing has happened.

use super::bad_rows::{BadRow, BadRows};
use super::chunk::Chunk;
use super::duplicates::{Duplicates, OnDuplicate};
use super::reader::Input;
use super::survey::Survey;
use super::types::Types;
use asof_engine::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use asof_engine::arrow::datatypes::{Field, Schema};
use asof_engine::column_type::quote_name;
use asof_engine::{
    Alteration, Column, ColumnType, Error, ErrorKind, Result, Snapshot, TableSchema, Transaction, Unit,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What rows do to those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Insert rows, replace those whose key is there (default with a key)
    Upsert,
    /// Insert rows; a key that is there fails
    Insert,
    /// Add rows to a table without key
    Append,
    /// The files are the whole new table
    Replace,
}

impl Mode {
    /// Its name, as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Upsert => "upsert",
            Mode::Insert => "insert",
            Mode::Append => "append",
            Mode::Replace => "replace",
        }
    }
}

/// What to do with the inputs.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `upsert` for a table with a key where not given.
    pub mode: Option<Mode>,
    /// The key of a new table, or another key for one that is replaced.
    pub key: Option<Vec<String>>,
    /// The types of new columns.
    pub types: Types,
    /// Types of new columns that were found elsewhere: they win over inference, and need not be in the inputs.
    pub known_types: HashMap<String, ColumnType>,
    /// Columns to rename before anything else, from old to new.
    pub rename: Vec<(String, String)>,
    /// Whether columns may be added and widened.
    pub evolve: bool,
    /// What to do with rows of the same key.
    pub on_duplicate: OnDuplicate,
}

impl LoadOptions {
    /// The type of a new column that needs no inference.
    fn named_type(&self, name: &str) -> Option<&ColumnType> {
        self.types.of(name).or_else(|| self.known_types.get(name))
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The mode that was used.
    pub mode: Option<Mode>,
    /// Whether the table was made.
    pub created: bool,
    /// Whether the table got another key.
    pub rekeyed: bool,
    /// Names of columns that are new; those of a new table are not listed.
    pub columns_added: Vec<String>,
    /// Names of columns that are gone.
    pub columns_dropped: Vec<String>,
    /// Old and new names.
    pub columns_renamed: Vec<(String, String)>,
    /// Names and new types.
    pub columns_widened: Vec<(String, String)>,
    /// Rows taken from the inputs.
    pub rows: u64,
    /// Rows left out for another of the same key.
    pub duplicates: u64,
}

/// Takes inputs into a table, as changes of a transaction.
pub fn load(
    transaction: &mut Transaction,
    table: &str,
    inputs: &[Input],
    options: &LoadOptions,
    bad_rows: &mut BadRows,
) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let mode;
    if transaction.has_table(table) {
        rename(transaction, table, options, &mut loaded)?;
        let schema = transaction.schema(table)?;
        let key = other_key(table, &schema, options)?;
        mode = mode_of(table, key.is_some() || schema.has_key(), options)?;
        let inputs = named_inputs(inputs, Some(&schema));
        alter(transaction, table, &schema, key, mode, &inputs, options, bad_rows, &mut loaded)?;
        load_rows(transaction, table, mode, &inputs, options, bad_rows, &mut loaded)?;
    } else {
        if let Some((old, _)) = options.rename.first() {
            return Err(Error::not_found(format!(
                "column '{old}' cannot be renamed: there is no table '{table}'"
            )));
        }
        mode = mode_of(table, options.key.is_some(), options)?;
        create(transaction, table, inputs, options, bad_rows)?;
        loaded.created = true;
        load_rows(transaction, table, mode, inputs, options, bad_rows, &mut loaded)?;
    }
    loaded.mode = Some(mode);
    Ok(loaded)
}

fn invalid(table: &str, message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("table '{table}': {message}"))
}

fn rename(
    transaction: &mut Transaction,
    table: &str,
    options: &LoadOptions,
    loaded: &mut Loaded,
) -> Result<()> {
    for (from, to) in &options.rename {
        transaction
            .alter_table(table, Alteration::RenameColumn { from: from.clone(), to: to.clone() })
            .map_err(|error| error.at(format_args!("table '{table}'")))?;
        loaded.columns_renamed.push((from.clone(), to.clone()));
    }
    Ok(())
}

/// The key that was asked for, where it is not the one the table has.
fn other_key(table: &str, schema: &TableSchema, options: &LoadOptions) -> Result<Option<Vec<String>>> {
    let Some(key) = &options.key else { return Ok(None) };
    let current: Vec<&str> = schema.key_columns().map(|column| column.name.as_str()).collect();
    if current == *key {
        return Ok(None);
    }
    if options.mode != Some(Mode::Replace) {
        let has = if current.is_empty() {
            "no key".to_string()
        } else {
            format!("the key ({})", current.join(", "))
        };
        return Err(invalid(table, format_args!("it has {has}; --mode replace gives it another one")));
    }
    Ok(Some(key.clone()))
}

fn mode_of(table: &str, keyed: bool, options: &LoadOptions) -> Result<Mode> {
    match (options.mode, keyed) {
        (None, true) => Ok(Mode::Upsert),
        (None, false) => {
            let message = "it has no key: give one with --key, or say --mode append or --mode replace";
            Err(invalid(table, message))
        }
        (Some(Mode::Append), true) => {
            Err(invalid(table, "it has a key: --mode append is for tables without one; use insert or upsert"))
        }
        (Some(mode @ (Mode::Upsert | Mode::Insert)), false) => {
            let name = mode.name();
            Err(invalid(
                table,
                format_args!("it has no key, which --mode {name} needs; use append or replace"),
            ))
        }
        (Some(mode), _) => Ok(mode),
    }
}

/// Files without header get the table's names.
fn named_inputs(inputs: &[Input], schema: Option<&TableSchema>) -> Vec<Input> {
    let mut inputs = inputs.to_vec();
    if let Some(schema) = schema {
        let names: Vec<String> = schema.columns.iter().map(|column| column.name.clone()).collect();
        inputs.iter_mut().for_each(|input| input.name_columns(names.clone()));
    }
    inputs
}

/// Looks at the inputs for columns and the types of those that `wants`.
fn survey(inputs: &[Input], wants: &dyn Fn(&str) -> bool, bad_rows: &BadRows) -> Result<Survey> {
    let mut survey = Survey::default();
    for input in inputs {
        // Bad rows that are skipped are reported when the rows are taken.
        let mut bad = |row: BadRow| if bad_rows.skips() { Ok(()) } else { Err(row.to_error(input.name())) };
        survey.add(input, wants, &mut bad)?;
    }
    Ok(survey)
}

/// The types of columns that the table does not have yet.
fn new_columns(names: &[&String], survey: &Survey, options: &LoadOptions) -> Result<Vec<Column>> {
    names
        .iter()
        .map(|name| {
            let column_type = match options.named_type(name) {
                Some(column_type) => column_type.clone(),
                None if options.types.all_text => ColumnType::Text,
                None => survey.column_type(name)?,
            };
            Ok(Column::new(name.as_str(), column_type))
        })
        .collect()
}

/// Columns whose types were named must be there; text for all is for text files.
fn check_types(names: &[String], inputs: &[Input], options: &LoadOptions) -> Result<()> {
    if let Some((name, _)) = options.types.named.iter().find(|(name, _)| !names.contains(name)) {
        let names = names.join(", ");
        return Err(Error::invalid(format!(
            "--types names column '{name}', which is not there; columns are {names}"
        )));
    }
    match inputs.iter().find(|input| !input.is_csv()) {
        Some(input) if options.types.all_text => Err(Error::invalid(format!(
            "{}: --types string is for CSV and TSV, whose values are texts; name types column by column",
            input.name()
        ))),
        _ => Ok(()),
    }
}

fn create(
    transaction: &mut Transaction,
    table: &str,
    inputs: &[Input],
    options: &LoadOptions,
    bad_rows: &BadRows,
) -> Result<()> {
    let wants = |name: &str| !options.types.all_text && options.named_type(name).is_none();
    let survey = survey(inputs, &wants, bad_rows)?;
    check_types(survey.names(), inputs, options)?;
    let names: Vec<&String> = survey.names().iter().collect();
    if names.is_empty() {
        let inputs = inputs.iter().map(Input::name).collect::<Vec<_>>().join(", ");
        return Err(invalid(table, format_args!("it cannot be made from {inputs}: there are no columns")));
    }
    let columns = new_columns(&names, &survey, options)?;
    let key = options.key.as_deref().unwrap_or_default();
    transaction.create_table(table, columns, key).map_err(|error| error.at(format_args!("table '{table}'")))
}

/// Alters a table so that the inputs fit in.
#[allow(clippy::too_many_arguments, reason = "one step of `load`, which has all of these at hand")]
fn alter(
    transaction: &mut Transaction,
    table: &str,
    schema: &TableSchema,
    key: Option<Vec<String>>,
    mode: Mode,
    inputs: &[Input],
    options: &LoadOptions,
    bad_rows: &BadRows,
    loaded: &mut Loaded,
) -> Result<()> {
    let has = |name: &str| schema.columns.iter().any(|column| column.name == name);
    if let Some((name, column_type)) = options.types.named.iter().find(|(name, column_type)| {
        schema.columns.iter().any(|column| column.name == *name && column.column_type != *column_type)
    }) {
        return Err(invalid(
            table,
            format_args!(
                "column '{name}' is there, and not {column_type}: --types is for new columns{}",
                other_type(table, name, column_type)
            ),
        ));
    }
    let may_add = mode == Mode::Replace || options.evolve;
    if !may_add {
        // What the table does not have is an error that each reader or row reports.
        return check_known(table, schema, inputs);
    }
    let wants = |name: &str| !has(name) && !options.types.all_text && options.named_type(name).is_none();
    let survey = survey(inputs, &wants, bad_rows)?;
    check_types_known(table, &survey, schema, options)?;
    let added: Vec<&String> = survey.names().iter().filter(|name| !has(name)).collect();
    let added = new_columns(&added, &survey, options)?;
    // Objects without members tell nothing about columns.
    let told = !survey.names().is_empty();
    let dropped: Vec<&Column> = schema
        .columns
        .iter()
        .filter(|column| mode == Mode::Replace && told && !survey.names().contains(&column.name))
        .collect();
    loaded.columns_added = added.iter().map(|column| column.name.clone()).collect();
    loaded.columns_dropped = dropped.iter().map(|column| column.name.clone()).collect();
    let at = |error: Error| error.at(format_args!("table '{table}'"));
    if let Some(key) = key {
        let stay =
            schema.columns.iter().filter(|column| !dropped.iter().any(|other| other.name == column.name));
        let columns = stay.cloned().chain(added).collect();
        loaded.rekeyed = true;
        return transaction.rekey_table(table, columns, &key).map_err(at);
    }
    if let Some(column) = dropped.iter().find(|column| schema.key.contains(&column.id)) {
        return Err(invalid(
            table,
            format_args!("the key column '{}' is not in the input; name another key with --key", column.name),
        ));
    }
    // First what is added: a table is never without columns.
    for column in added {
        transaction.alter_table(table, Alteration::AddColumn(column)).map_err(at)?;
    }
    for column in dropped {
        transaction.alter_table(table, Alteration::DropColumn(column.name.clone())).map_err(at)?;
    }
    if options.evolve {
        for (name, to) in widenings(schema, inputs)? {
            loaded.columns_widened.push((name.clone(), to.to_string()));
            transaction.alter_table(table, Alteration::WidenColumn { name, to }).map_err(at)?;
        }
    }
    Ok(())
}

fn check_types_known(
    table: &str,
    survey: &Survey,
    schema: &TableSchema,
    options: &LoadOptions,
) -> Result<()> {
    let unknown = options.types.named.iter().find(|(name, _)| {
        !survey.names().contains(name) && !schema.columns.iter().any(|column| column.name == *name)
    });
    match unknown {
        Some((name, _)) => Err(invalid(
            table,
            format_args!("--types names column '{name}', which neither table nor input has"),
        )),
        None => Ok(()),
    }
}

/// Columns of files that tell their columns at once must be the table's.
fn check_known(table: &str, schema: &TableSchema, inputs: &[Input]) -> Result<()> {
    for input in inputs.iter().filter(|input| !input.is_json()) {
        let columns = input.open()?.columns().unwrap_or_default();
        if let Some((name, _)) = columns.iter().find(|(name, _)| schema.index_of(name).is_err()) {
            return Err(unknown_column(table, schema, name).at(input.name()));
        }
    }
    Ok(())
}

fn unknown_column(table: &str, schema: &TableSchema, name: &str) -> Error {
    let available: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
    invalid(
        table,
        format_args!("it has no column '{name}' (it has {}); --evolve adds it", available.join(", ")),
    )
}

/// Types that a column may widen to, narrowest first.
fn wider_types(column_type: &ColumnType) -> Vec<ColumnType> {
    use ColumnType::*;
    let mut candidates = vec![Int16, Int32, Int64, UInt16, UInt32, UInt64, Float64];
    candidates.push(Timestamp(Unit::Microsecond, None));
    if let Decimal(precision, scale) = column_type {
        candidates.extend((precision + 1..=38).map(|precision| Decimal(precision, *scale)));
    }
    candidates.retain(|candidate| column_type.widens_to(candidate));
    candidates.sort_by_key(|candidate| matches!(candidate, Int16 | Int32 | Int64));
    // Signed types hold what unsigned ones do not only if they are wider: among equals the unsigned comes first.
    candidates.sort_by_key(|candidate| match candidate {
        Int16 | UInt16 => 16,
        Int32 | UInt32 => 32,
        Int64 | UInt64 => 64,
        Decimal(precision, _) => u32::from(*precision),
        _ => 0,
    });
    candidates
}

/// Columns that must widen to hold the inputs, with their new types.
fn widenings(schema: &TableSchema, inputs: &[Input]) -> Result<Vec<(String, ColumnType)>> {
    let mut types: Vec<(&Column, ColumnType)> =
        schema.columns.iter().map(|column| (column, column.column_type.clone())).collect();
    for input in inputs {
        let mut reader = input.open()?;
        // What makes no sense is reported when the rows are taken.
        while let Some(chunk) = reader.next_chunk(&mut |_| Ok(()))? {
            for (index, name) in chunk.names.iter().enumerate() {
                let Some((_, current)) = types.iter_mut().find(|(column, _)| column.name == *name) else {
                    continue;
                };
                if chunk.column(index, current).is_ok() {
                    continue;
                }
                let wider = wider_types(current).into_iter().find(|wider| chunk.column(index, wider).is_ok());
                if let Some(wider) = wider {
                    *current = wider;
                }
            }
        }
    }
    let widened = types.into_iter().filter(|(column, found)| column.column_type != *found);
    Ok(widened.map(|(column, found)| (column.name.clone(), found)).collect())
}

/// Rows below which a load is a commit like any other: its rows go to the log, and with others to a data file later.
const BULK_ROWS: u64 = 50_000;

/// Hands many rows for an empty table to a bulk load; `false`, and nothing done, where they are few. Keys are not
/// gathered: the load finds those that come twice.
fn load_in_bulk(
    transaction: &mut Transaction,
    table: &str,
    schema: &TableSchema,
    inputs: &[Input],
    existing: Option<&LoadOptions>,
    bad_rows: &mut BadRows,
    loaded: &mut Loaded,
) -> Result<bool> {
    if !has_rows(inputs, BULK_ROWS)? {
        return Ok(false);
    }
    let mut rows = 0;
    let mut inputs_left = inputs.iter();
    let mut reader = None;
    let batches = std::iter::from_fn(|| {
        loop {
            let (input, open) = match &mut reader {
                Some(current) => current,
                none => {
                    let input = inputs_left.next()?;
                    match input.open() {
                        Ok(open) => none.insert((input, open)),
                        Err(error) => return Some(Err(error)),
                    }
                }
            };
            let next = open.next_chunk(&mut |row| bad_rows.report(input.name(), row));
            let batch = match next {
                Ok(None) => {
                    reader = None;
                    continue;
                }
                Ok(Some(chunk)) => to_batch(table, schema, input.name(), chunk, existing, bad_rows),
                Err(error) => Err(error),
            };
            match batch {
                Ok(None) => {}
                Ok(Some((batch, _))) => {
                    rows += batch.num_rows() as u64;
                    return Some(Ok(batch));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    });
    let done = transaction.load(table, batches);
    match done {
        Ok(_) => {
            loaded.rows = rows;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::Exists => {
            Err(name_duplicate(table, schema, inputs, existing)?.unwrap_or(error))
        }
        Err(error) => Err(error),
    }
}

/// Whether inputs have so many rows, as far as one need read for that.
fn has_rows(inputs: &[Input], wanted: u64) -> Result<bool> {
    let mut rows = 0;
    for input in inputs {
        let mut reader = input.open()?;
        // Bad rows are reported when the rows are taken.
        while let Some(chunk) = reader.next_chunk(&mut |_| Ok(()))? {
            rows += chunk.rows() as u64;
            if rows >= wanted {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Keys gathered to say in which lines one comes twice.
const NAMED_ROWS_MAX: u64 = 2_000_000;

/// The error for the first key that comes twice, with both lines, where it is among the first rows.
fn name_duplicate(
    table: &str,
    schema: &TableSchema,
    inputs: &[Input],
    existing: Option<&LoadOptions>,
) -> Result<Option<Error>> {
    let mut duplicates = Duplicates::new(OnDuplicate::Error, schema.key_columns().cloned().collect())?;
    let mut quiet = BadRows::skip(None)?;
    let mut rows = 0;
    for input in inputs {
        let mut reader = input.open()?;
        while let Some(chunk) = reader.next_chunk(&mut |_| Ok(()))? {
            let batch = to_batch(table, schema, input.name(), chunk, existing, &mut quiet)?;
            let Some((batch, chunk)) = batch else { continue };
            rows += batch.num_rows() as u64;
            match duplicates.check(input.name(), batch, &|row| chunk.place(row)) {
                Err(error) => return Ok(Some(error)),
                Ok(_) if rows > NAMED_ROWS_MAX => return Ok(None),
                Ok(_) => {}
            }
        }
    }
    Ok(None)
}

fn load_rows(
    transaction: &mut Transaction,
    table: &str,
    mode: Mode,
    inputs: &[Input],
    options: &LoadOptions,
    bad_rows: &mut BadRows,
    loaded: &mut Loaded,
) -> Result<()> {
    let schema = transaction.schema(table)?;
    let existing = (!loaded.created).then_some(options);
    let mut duplicates = match schema.has_key() {
        true => Some(Duplicates::new(options.on_duplicate, schema.key_columns().cloned().collect())?),
        false => None,
    };
    let may_load = options.on_duplicate == OnDuplicate::Error && transaction.can_load(table)?;
    if may_load && load_in_bulk(transaction, table, &schema, inputs, existing, bad_rows, loaded)? {
        return Ok(());
    }
    let whole = mode == Mode::Replace && !loaded.rekeyed;
    let keep_all = whole || duplicates.as_ref().is_some_and(Duplicates::needs_all);
    let mut kept = Vec::new();
    for input in inputs {
        let mut reader = input.open()?;
        while let Some(chunk) = reader.next_chunk(&mut |row| bad_rows.report(input.name(), row))? {
            let Some((batch, chunk)) = to_batch(table, &schema, input.name(), chunk, existing, bad_rows)?
            else {
                continue;
            };
            let batch = match &mut duplicates {
                Some(duplicates) => duplicates.check(input.name(), batch, &|row| chunk.place(row))?,
                None => batch,
            };
            loaded.rows += batch.num_rows() as u64;
            if keep_all {
                kept.push(batch);
            } else {
                change(transaction, table, mode, &batch).map_err(|error| error.at(input.name()))?;
            }
        }
    }
    if let Some(duplicates) = &duplicates {
        loaded.duplicates = duplicates.count();
        if duplicates.needs_all() {
            kept = duplicates.drop_earlier(kept)?;
            loaded.rows -= duplicates.count();
        }
    }
    if whole {
        transaction.replace(table, &kept)?;
    } else {
        for batch in &kept {
            change(transaction, table, mode, batch)?;
        }
    }
    Ok(())
}

fn change(transaction: &mut Transaction, table: &str, mode: Mode, batch: &RecordBatch) -> Result<()> {
    match mode {
        Mode::Upsert => transaction.upsert(table, batch),
        // A table that got another key is empty.
        Mode::Insert | Mode::Append | Mode::Replace => transaction.insert(table, batch),
    }
}

/// The first row of the inputs whose key a table has: `file: place`.
pub fn find_existing(snapshot: &Snapshot, table: &str, inputs: &[Input]) -> Result<Option<String>> {
    let schema = snapshot.table(table)?.schema;
    for input in inputs {
        let mut reader = input.open()?;
        while let Some(chunk) = reader.next_chunk(&mut |_| Ok(()))? {
            let mut columns = Vec::new();
            for column in schema.key_columns() {
                let index = chunk.names.iter().position(|name| *name == column.name);
                let array = index.map(|index| chunk.column(index, &column.column_type));
                let Some(Ok(array)) = array else { return Ok(None) };
                columns.push(array);
            }
            let keys = RecordBatch::try_new(nullable(&schema.key_to_arrow()), columns)?;
            for row in 0..keys.num_rows() {
                if snapshot.get(table, &keys.slice(row, 1))?.is_some() {
                    return Ok(Some(format!("{}: {}", input.name(), chunk.place(row))));
                }
            }
        }
    }
    Ok(None)
}

fn nullable(schema: &Schema) -> Arc<Schema> {
    Arc::new(Schema::new(
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    ))
}

/// The rows of a chunk as a batch of the table's columns, and those rows as they were read; `None` where none is left.
fn to_batch(
    table: &str,
    schema: &TableSchema,
    input: &str,
    chunk: Chunk,
    existing: Option<&LoadOptions>,
    bad_rows: &mut BadRows,
) -> Result<Option<(RecordBatch, Chunk)>> {
    let mut bad: Vec<BadRow> = Vec::new();
    let mut is_bad: HashSet<usize> = HashSet::new();
    let mut note = |row: usize, column: &str, message: String| {
        if is_bad.insert(row) {
            let column = Some(column.to_string());
            bad.push(BadRow { place: chunk.place(row), column, message, record: chunk.record(row) });
        }
    };
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (index, name) in chunk.names.iter().enumerate() {
        let Some(column) = schema.columns.iter().find(|column| column.name == *name) else {
            let with_it = (0..chunk.rows())
                .filter(|&row| chunk.json().is_none_or(|rows| rows.get(row, name).is_some()));
            with_it.for_each(|row| note(row, name, unknown_column(table, schema, name).to_string()));
            continue;
        };
        match chunk.column_or_default(index, column) {
            Ok(array) => {
                if !column.nullable && array.null_count() > 0 {
                    let what = if schema.key.contains(&column.id) { "the key column" } else { "the column" };
                    (0..array.len()).filter(|&row| array.is_null(row)).for_each(|row| {
                        note(row, name, format!("{what} is null"));
                    });
                }
                fields.push(Field::new(name, array.data_type().clone(), true));
                arrays.push(array);
            }
            Err(first) if !bad_rows.skips() => {
                let way_out = existing
                    .filter(|_| !schema.key.contains(&column.id))
                    .and_then(|options| way_out(table, column, &chunk, index, first.row, options));
                note(first.row, name, first.message + way_out.as_deref().unwrap_or(""));
            }
            Err(_) => (0..chunk.rows()).for_each(|row| {
                if let Err(error) = chunk.fits(row, index, &column.column_type) {
                    note(row, name, error.message);
                }
            }),
        }
    }
    if bad.is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        return Ok(Some((batch, chunk)));
    }
    bad.sort_by_key(|row| match row.place {
        super::chunk::Place::Line { offset, .. } => offset,
        super::chunk::Place::Row(row) => row,
    });
    for row in bad {
        bad_rows.report(input, row)?;
    }
    if is_bad.len() == chunk.rows() {
        return Ok(None);
    }
    let keep: Vec<bool> = (0..chunk.rows()).map(|row| !is_bad.contains(&row)).collect();
    let rest = chunk.retain(&keep);
    match is_bad.is_empty() {
        // Nothing was left out, and yet something does not fit: that would go on for ever.
        true => Err(Error::new(ErrorKind::Invalid, format!("{input}: rows do not fit table '{table}'"))),
        false => to_batch(table, schema, input, rest, existing, bad_rows),
    }
}

/// How a value would fit that does not fit a column: another type for it.
fn way_out(
    table: &str,
    column: &Column,
    chunk: &Chunk,
    index: usize,
    row: usize,
    options: &LoadOptions,
) -> Option<String> {
    let fits = |column_type: &ColumnType| chunk.fits(row, index, column_type).is_ok();
    if let Some(wider) = wider_types(&column.column_type).into_iter().find(fits).filter(|_| !options.evolve) {
        return Some(format!("; --evolve widens the column to {wider}"));
    }
    let other = [ColumnType::Int64, ColumnType::Float64, ColumnType::Text].into_iter().find(fits)?;
    Some(other_type(table, &column.name, &other))
}

/// How a column gets a type that it cannot widen to.
fn other_type(table: &str, column: &str, column_type: &ColumnType) -> String {
    let name = quote_name(column);
    format!(
        "; for another type: asof alter-table DB {table} 'drop {name}, add {name} {column_type}', then import \
         --mode replace"
    )
}
