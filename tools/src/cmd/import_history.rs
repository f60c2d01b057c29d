//! `import-history`: many versions of many tables, one commit each, at the times they were true.
//!
//! The manifest is CSV with the columns `time,table,file,message[,author,key,mode]`; files are relative to it. Types are
//! inferred over all files of a table before the first commit, so that a later file never fails for the type that an
//! earlier one suggested.
//!
//! Invariants: lines are in the order of their times, which is checked before anything is committed; a line commits
//! under an id made from what it says, so that running the same manifest again, or a longer one, commits what is missing
//! and nothing twice. What was committed before an error stays.

use crate::cmd::import::parse_time;
use crate::input::bad_rows::BadRows;
use crate::input::csv::{CsvOptions, CsvReader};
use crate::input::load::{LoadOptions, Mode, load};
use crate::input::reader::{Input, InputOptions};
use crate::input::retry::Retry;
use crate::input::source::Source;
use crate::input::survey::Survey;
use crate::{Context, Error, Result, Status, print};
use asof_engine::{ColumnType, CommitOptions, CommitTime, Committed, Database};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// `import-history`
#[derive(Debug, Args)]
pub struct ImportHistoryArgs {
    /// Directory of the database; made where missing
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// CSV with the columns time, table, file, message, and where wanted author, key, mode
    #[arg(value_name = "MANIFEST.csv")]
    pub manifest: PathBuf,
}

/// A line of the manifest.
#[derive(Clone, Debug)]
struct Line {
    number: u64,
    time: CommitTime,
    table: String,
    file: PathBuf,
    message: Option<String>,
    author: Option<String>,
    key: Option<Vec<String>>,
    mode: Mode,
    id: String,
}

/// Commits the lines of a manifest.
pub fn run(args: ImportHistoryArgs, context: &Context) -> Result {
    let lines = read_manifest(&args.manifest, context)?;
    let manifest = args.manifest.display();
    let at = |line: &Line, error: Error| error.at(format_args!("{manifest}: line {}", line.number));
    let inputs =
        lines.iter().map(|line| open(line).map_err(|error| at(line, error))).collect::<Result<Vec<_>>>()?;
    let database = context.open_or_create(&args.database)?;
    let mut pending = Vec::new();
    for (line, input) in lines.iter().zip(inputs) {
        if database.commit_with_client_id(&line.id)?.is_none() {
            pending.push((line, input));
        }
    }
    let types = survey(&pending, &database, &at)?;
    let progress = progress_bar(context, pending.len());
    let mut out = context.out();
    for (line, input) in &pending {
        progress.set_message(line.table.clone());
        let known_types = types.get(&line.table).cloned().unwrap_or_default();
        let committed =
            commit(line, input, known_types, &database, context).map_err(|error| at(line, error))?;
        if context.json {
            let counts = committed.tables.get(&line.table).copied().unwrap_or_default();
            let report = json!({
                "line": line.number,
                "table": line.table,
                "version": committed.version.0,
                "time": print::time_or_start(committed.time),
                "inserted": counts.inserted,
                "updated": counts.updated,
                "deleted": counts.deleted,
            });
            writeln!(out, "{report}")?;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if !context.json {
        let tables = lines.iter().map(|line| &line.table).collect::<HashSet<_>>().len();
        let (made, there) = (pending.len(), lines.len() - pending.len());
        let there = match there {
            0 => String::new(),
            1 => "; 1 line was there already".to_string(),
            there => format!("; {there} lines were there already"),
        };
        let (made, tables) =
            (print::count_text(made as u64, "version"), print::count_text(tables as u64, "table"));
        if !context.quiet {
            writeln!(out, "{made} of {tables} committed{there}")?;
        }
    }
    out.flush()?;
    Ok(Status::Done)
}

fn open(line: &Line) -> Result<Input> {
    Ok(Input::new(Source::open(&line.file)?, InputOptions::default())?)
}

fn progress_bar(context: &Context, count: usize) -> ProgressBar {
    if !context.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta}")
        .expect("the template is one that indicatif reads");
    ProgressBar::new(count as u64).with_style(style)
}

/// The types of columns that tables do not have yet, over all files that are to come.
fn survey(
    pending: &[(&Line, Input)],
    database: &Database,
    at: &dyn Fn(&Line, Error) -> Error,
) -> Result<HashMap<String, HashMap<String, ColumnType>>> {
    let snapshot = database.snapshot(database.latest()?)?;
    let there: HashSet<String> = snapshot.table_names()?.into_iter().collect();
    let mut surveys: HashMap<&str, (HashSet<String>, Survey)> = HashMap::new();
    for (line, input) in pending {
        if !surveys.contains_key(line.table.as_str()) {
            let columns = match there.contains(&line.table) {
                true => snapshot
                    .table(&line.table)?
                    .schema
                    .columns
                    .iter()
                    .map(|column| column.name.clone())
                    .collect(),
                false => HashSet::new(),
            };
            surveys.insert(&line.table, (columns, Survey::default()));
        }
        let (has, survey) = surveys.get_mut(line.table.as_str()).expect("it was put there");
        survey
            .add(input, &|name| !has.contains(name), &mut |row| Err(row.to_error(input.name())))
            .map_err(|error| at(line, error.into()))?;
    }
    let mut types = HashMap::new();
    for (table, (has, survey)) in surveys {
        let new = survey.names().iter().filter(|name| !has.contains(*name));
        let of_table =
            new.map(|name| Ok((name.clone(), survey.column_type(name)?))).collect::<Result<_>>()?;
        types.insert(table.to_string(), of_table);
    }
    Ok(types)
}

fn commit(
    line: &Line,
    input: &Input,
    known_types: HashMap<String, ColumnType>,
    database: &Database,
    context: &Context,
) -> Result<Committed> {
    let options =
        LoadOptions { mode: Some(line.mode), key: line.key.clone(), known_types, ..LoadOptions::default() };
    let mut retry = Retry::new(context.wait);
    loop {
        match attempt(line, input, &options, database) {
            Err(error) if retry.again(&error) => {}
            done => return done,
        }
    }
}

fn attempt(line: &Line, input: &Input, options: &LoadOptions, database: &Database) -> Result<Committed> {
    let mut transaction = database.begin()?;
    let mut options = options.clone();
    if transaction.has_table(&line.table) && line.mode != Mode::Replace {
        // The key names that of a new table; only a replacement gives another one.
        let schema = transaction.schema(&line.table)?;
        options.key = options.key.filter(|_| schema.has_key());
    }
    load(&mut transaction, &line.table, std::slice::from_ref(input), &options, &mut BadRows::fail())?;
    let file = crate::cmd::import::file_name(&line.file);
    let parameters = [("table", line.table.as_str()), ("mode", line.mode.name()), ("file", &file)];
    Ok(transaction.commit(CommitOptions {
        operation: Some("import-history".to_string()),
        parameters: parameters.map(|(name, value)| (name.to_string(), value.to_string())).into(),
        message: line.message.clone(),
        author: line.author.clone(),
        meta: BTreeMap::new(),
        client_id: Some(line.id.clone()),
        time: Some(line.time),
        // A line says that this was the table then, also where it was the same as before.
        allow_empty: true,
        ..CommitOptions::default()
    })?)
}

const COLUMNS: [&str; 7] = ["time", "table", "file", "message", "author", "key", "mode"];

fn read_manifest(path: &Path, context: &Context) -> Result<Vec<Line>> {
    let source = Source::open(path)?;
    let name = source.name().to_string();
    let mut reader = CsvReader::new(&name, source.read()?, CsvOptions::default())?;
    let columns = reader.columns().to_vec();
    if let Some(unknown) = columns.iter().find(|column| !COLUMNS.contains(&column.as_str())) {
        let known = COLUMNS.join(", ");
        return Err(Error::failed(format!(
            "{name}: line 1: column '{unknown}' is not known; columns are {known}"
        )));
    }
    if let Some(missing) = COLUMNS[..3].iter().find(|name| !columns.iter().any(|column| column == *name)) {
        return Err(Error::failed(format!("{name}: line 1: column '{missing}' is missing")));
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut lines: Vec<Line> = Vec::new();
    while let Some(cells) = reader.next_cells(&mut |row| Err(row.to_error(&name)))? {
        for row in 0..cells.rows() {
            let place = cells.place(row);
            let fail = |message: String| Error::failed(format!("{name}: {place}: {message}"));
            let cell = |column: &str| {
                columns
                    .iter()
                    .position(|name| name == column)
                    .and_then(|index| cells.get(row, index))
                    .map(str::to_string)
            };
            let needed = |column: &str| {
                cell(column)
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| fail(format!("column '{column}' is empty")))
            };
            let number = match *place {
                crate::input::chunk::Place::Line { line, .. } => line,
                crate::input::chunk::Place::Row(row) => row,
            };
            let time = parse_time(&needed("time")?, context)
                .map_err(|error| error.at(format_args!("{name}: {place}")))?;
            if let Some(before) = lines.last().filter(|before| before.time >= time) {
                let message = format!(
                    "its time is not later than that of line {}; times increase strictly from line to line: sort the \
                     lines by time, and where two are equal give the later line a time one microsecond on",
                    before.number
                );
                return Err(fail(message));
            }
            let key = cell("key")
                .map(|text| crate::cmd::import::parse_names(&text).map(|names| names.0).map_err(fail))
                .transpose()?;
            let mode = match cell("mode") {
                None => Mode::Replace,
                Some(text) => Mode::from_str(&text, true).map_err(|_| {
                    fail(format!("mode '{text}' is not known; modes are upsert, insert, append, replace"))
                })?,
            };
            lines.push(Line {
                number,
                time,
                table: needed("table")?,
                file: directory.join(needed("file")?),
                message: cell("message"),
                author: cell("author"),
                key,
                mode,
                id: line_id(time, COLUMNS[1..].iter().map(|column| cell(column))),
            });
        }
    }
    Ok(lines)
}

/// What names a line: its time and all it says.
fn line_id(time: CommitTime, cells: impl Iterator<Item = Option<String>>) -> String {
    let said: Vec<Option<String>> = cells.collect();
    let digest = blake3::hash(json!([time.0, said]).to_string().as_bytes());
    format!("import-history:{}", &digest.to_hex()[..32])
}
