//! `import`: files become one commit of one table.
//!
//! Invariant: a gate or an error leaves the database as it was. Another writer's conflicting commit makes the import
//! begin again on the newer version, as long as `--wait` allows.

use crate::args::CommitArgs;
use crate::input::bad_rows::BadRows;
use crate::input::csv::CsvOptions;
use crate::input::duplicates::OnDuplicate;
use crate::input::encoding;
use crate::input::first_answer::{RequestDigest, first_answer};
use crate::input::format::InputFormat;
use crate::input::load::{LoadOptions, Loaded, Mode, find_existing, load};
use crate::input::reader::{Input, InputOptions};
use crate::input::retry::Retry;
use crate::input::source::Source;
use crate::input::types::Types;
use crate::schema_text::write_definition;
use crate::{Context, Error, Result, Status, print};
use asof_engine::column_type::{split_outside_parentheses, take_name};
use asof_engine::{AsOf, CommitInfo, CommitOptions, CommitTime, Counts, Database, ErrorKind, Version};
use clap::{Args, ValueEnum};
use encoding_rs::Encoding;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Percent of a table's rows that `--mode replace` may delete where `--max-deletes` says nothing.
pub const MAX_DELETES_PERCENT_DEFAULT: f64 = 50.0;

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Directory of the database; made where missing
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table, or namespace.name; made where missing
    pub table: String,
    /// Files of rows; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How the files are read.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// What rows do to those that are there; upsert for a table with a key. Rows are whole: columns that a file does not
    /// have become NULL or their default. Upsert counts a row that is equal to the one there as updated; replace commits
    /// only what differs
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Key columns of a new table; of an existing one with --mode replace
    #[arg(long, value_name = "COLS", value_parser = parse_names)]
    pub key: Option<Names>,
    /// Types of new columns: infer, string, or COL:TYPE,..
    #[arg(long, value_name = "TYPES", default_value = "infer", value_parser = parse_types)]
    pub types: Types,
    /// Add columns that the table does not have, and widen those that are too narrow
    #[arg(long)]
    pub evolve: bool,
    /// Rename a column first; may be repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_rename)]
    pub rename: Vec<(String, String)>,
    /// What to do with rows of the same key
    #[arg(long, value_enum, default_value_t)]
    pub on_duplicate: OnDuplicate,
    /// What to do with rows that cannot be read or do not fit
    #[arg(long, value_enum, default_value_t)]
    pub on_bad_row: OnBadRow,
    /// File for the rows that were skipped, as CSV
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Refuse to delete more rows, or a greater part of them [default: 50% for replace]
    #[arg(long, value_name = "N|P%", value_parser = parse_max_deletes)]
    pub max_deletes: Option<MaxDeletes>,
    /// What is said about the commit.
    #[command(flatten)]
    pub commit: CommitArgs,
    /// An id of yours: the same one again gives the first answer and commits nothing. Makes a version even if nothing
    /// changed, so that the id is remembered
    #[arg(long)]
    pub id: Option<String>,
    /// The commit time: later than the last commit, not in the future
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub commit_time: Option<String>,
    /// Make a version even if nothing changed
    #[arg(long)]
    pub allow_empty: bool,
}

/// How files are read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reading")]
pub struct ReadingArgs {
    /// Format; told by name and content where not given
    #[arg(long, value_enum)]
    pub format: Option<InputFormat>,
    /// Character between the cells of CSV; tab and \t are understood
    #[arg(long, value_name = "CHAR", value_parser = parse_delimiter, allow_hyphen_values = true)]
    pub delimiter: Option<u8>,
    /// CSV without header line
    #[arg(long)]
    pub no_header: bool,
    /// Lines of CSV to skip before the header
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: u64,
    /// Encoding of texts, such as latin1 or shift_jis; UTF-8, or UTF-16 by its mark, where not given
    #[arg(long, value_name = "NAME", value_parser = parse_encoding)]
    pub encoding: Option<&'static Encoding>,
    /// A text that means NULL where it is not quoted, beside the empty one; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub null: Vec<String>,
}

/// What to do with bad rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnBadRow {
    /// Fail
    #[default]
    Error,
    /// Leave them out and tell how many
    Skip,
}

/// Names of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// How many rows may be deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxDeletes {
    /// So many.
    Rows(u64),
    /// So many of a hundred.
    Percent(f64),
}

impl MaxDeletes {
    /// Whether so many of so many may go.
    pub fn allows(self, deleted: u64, rows: u64) -> bool {
        match self {
            MaxDeletes::Rows(most) => deleted <= most,
            MaxDeletes::Percent(percent) => deleted as f64 * 100.0 <= percent * rows as f64,
        }
    }
}

impl std::fmt::Display for MaxDeletes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MaxDeletes::Rows(most) => write!(f, "{most}"),
            MaxDeletes::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Reads `a,b` or `"a,1",b`.
pub fn parse_names(text: &str) -> std::result::Result<Names, String> {
    let names = split_outside_parentheses(text).into_iter().map(|part| match part.starts_with('"') {
        true => take_name(part).filter(|(_, rest)| rest.trim().is_empty()).map(|(name, _)| name),
        false => Some(part.to_string()).filter(|name| !name.is_empty()),
    });
    names
        .collect::<Option<_>>()
        .map(Names)
        .ok_or_else(|| "give names of columns with commas between".to_string())
}

fn parse_types(text: &str) -> std::result::Result<Types, String> {
    Types::parse(text).map_err(|error| error.to_string())
}

fn parse_rename(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_string(), new.to_string())),
        _ => Err("give the old and the new name as OLD=NEW".to_string()),
    }
}

fn parse_delimiter(text: &str) -> std::result::Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("give one ASCII character that is neither a quote nor a line end".to_string()),
    }
}

fn parse_encoding(text: &str) -> std::result::Result<&'static Encoding, String> {
    encoding::by_name(text)
        .ok_or_else(|| "is no encoding; give one such as utf-8, latin1, windows-1252, utf-16le".into())
}

fn parse_max_deletes(text: &str) -> std::result::Result<MaxDeletes, String> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => {
            percent.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(MaxDeletes::Percent)
        }
        None => text.parse().ok().map(MaxDeletes::Rows),
    };
    parsed.ok_or_else(|| "give a number of rows, or a part of them such as 10%".to_string())
}

impl ReadingArgs {
    /// The same for the reader.
    pub fn options(&self) -> InputOptions {
        InputOptions {
            format: self.format,
            encoding: self.encoding,
            delimiter: self.delimiter,
            csv: CsvOptions {
                header: !self.no_header,
                skip: self.skip,
                nulls: self.null.clone(),
                ..CsvOptions::default()
            },
        }
    }
}

/// What came of an import.
struct Report {
    version: Option<Version>,
    time: Option<CommitTime>,
    counts: Counts,
    loaded: Loaded,
    /// That of a table that was made.
    schema: Option<String>,
    skipped: u64,
    unchanged: bool,
    repeated: bool,
}

/// Commits files as rows of a table.
pub fn run(args: ImportArgs, context: &Context) -> Result {
    if args.rejects.is_some() && args.on_bad_row == OnBadRow::Error {
        return Err(Error::usage(
            "--rejects needs --on-bad-row skip: otherwise the first bad row is an error",
        ));
    }
    let time = args.commit_time.as_deref().map(|text| parse_time(text, context)).transpose()?;
    let inputs = args
        .files
        .iter()
        .map(|path| Ok(Input::new(Source::open(path)?, args.reading.options())?))
        .collect::<Result<Vec<_>>>()?;
    // What a dry run would make is made where nobody sees it.
    let exists = Database::exists(&args.database, &context.options())?;
    let scratch = match args.commit.dry_run && !exists {
        true => Some(tempfile::tempdir()?),
        false => None,
    };
    let database = match &scratch {
        Some(directory) => Database::create(directory.path().join("database"), context.options())?,
        // A dry run opens what is there; a transaction that is not committed changes nothing.
        None => context.open_or_create(&args.database)?,
    };
    let request = args.id.as_ref().map(|_| digest(&args, &inputs)).transpose()?;
    if let (Some(id), Some(request)) = (&args.id, request)
        && let Some(first) = database.commit_with_client_id(id)?
    {
        if !args.commit.dry_run {
            // Another request under the same id is an error.
            first_answer(&database, id, request)?;
        }
        return print_report(&args, context, &repeated(&args.table, &first));
    }
    let mut retry = Retry::new(context.wait);
    let report = loop {
        match attempt(&args, &inputs, time, request, &database) {
            Err(error) if retry.again(&error) => {}
            Err(error) => {
                if !exists && scratch.is_none() && database.latest().is_ok_and(|last| last == Version::ZERO) {
                    let path = args.database.display();
                    context.note(format_args!("the database {path} is empty; the next import fills it"));
                }
                return Err(name_existing(&args, &inputs, &database, error));
            }
            Ok(report) => break report,
        }
    };
    print_report(&args, context, &report)
}

/// Where `insert` failed for a key that is there, says which row has it.
fn name_existing(args: &ImportArgs, inputs: &[Input], database: &Database, error: Error) -> Error {
    if args.mode != Some(Mode::Insert) || error.code() != ErrorKind::Exists.code() {
        return error;
    }
    let found = database
        .latest()
        .and_then(|version| find_existing(&database.snapshot(version)?, &args.table, inputs));
    match found {
        Ok(Some(place)) => error.at(place),
        _ => error,
    }
}

/// Reads the time of a commit.
pub fn parse_time(text: &str, context: &Context) -> Result<CommitTime> {
    match AsOf::parse(text, &context.tz) {
        Ok(AsOf::Time(time)) => Ok(time),
        _ => Err(Error::usage(format!("'{text}' is no time; give one such as 2025-08-26T10:00:00Z"))),
    }
}

/// What is asked for: the table, what shall be done, and the bytes of the files.
fn digest(args: &ImportArgs, inputs: &[Input]) -> Result<[u8; 32]> {
    let mut digest = RequestDigest::default();
    let types: Vec<(&String, String)> =
        args.types.named.iter().map(|(name, column_type)| (name, column_type.to_string())).collect();
    let options = json!({
        "mode": args.mode.map(Mode::name),
        "key": args.key.as_ref().map(|names| &names.0),
        "types": types,
        "all_text": args.types.all_text,
        "rename": args.rename,
        "evolve": args.evolve,
    });
    digest.part(args.table.as_bytes()).part(options.to_string().as_bytes());
    for input in inputs {
        digest.part_of(&mut input.source().read()?).map_err(|error| input.source().error(&error))?;
    }
    Ok(digest.finish())
}

fn attempt(
    args: &ImportArgs,
    inputs: &[Input],
    time: Option<CommitTime>,
    request: Option<[u8; 32]>,
    database: &Database,
) -> Result<Report> {
    let mut transaction = database.begin()?;
    let rows_before = match transaction.has_table(&args.table) {
        true => database.snapshot(transaction.read_version())?.table(&args.table)?.rows,
        false => 0,
    };
    let mut bad_rows = match args.on_bad_row {
        OnBadRow::Error => BadRows::fail(),
        OnBadRow::Skip => BadRows::skip(args.rejects.as_deref())?,
    };
    let options = LoadOptions {
        mode: args.mode,
        key: args.key.as_ref().map(|names| names.0.clone()),
        types: args.types.clone(),
        rename: args.rename.clone(),
        evolve: args.evolve,
        on_duplicate: args.on_duplicate,
        ..LoadOptions::default()
    };
    let loaded = load(&mut transaction, &args.table, inputs, &options, &mut bad_rows)?;
    let skipped = bad_rows.finish()?;
    let schema = match loaded.created {
        true => Some(write_definition(&*transaction.schema(&args.table)?).replace(",\n", ", ")),
        false => None,
    };
    let replaces = loaded.mode == Some(Mode::Replace);
    let counts = match replaces || args.commit.dry_run || args.max_deletes.is_some() {
        true => transaction.counts()?.get(&args.table).copied().unwrap_or_default(),
        false => Counts::default(),
    };
    let default = replaces.then_some(MaxDeletes::Percent(MAX_DELETES_PERCENT_DEFAULT));
    if let Some(gate) = args.max_deletes.or(default) {
        check_gate(args, gate, &counts, &loaded, rows_before)?;
    }
    if args.commit.dry_run {
        time.map(|time| transaction.check_commit_time(time)).transpose()?;
        let unchanged =
            counts == Counts::default() && !changes_schema(&loaded) && !args.allow_empty && args.id.is_none();
        return Ok(Report {
            version: None,
            time,
            counts,
            loaded,
            schema,
            skipped,
            unchanged,
            repeated: false,
        });
    }
    let committed = transaction.commit(CommitOptions {
        operation: Some("import".to_string()),
        parameters: parameters(args, &loaded),
        client_id: args.id.clone(),
        time,
        request_digest: request,
        allow_empty: args.allow_empty,
        ..args.commit.said.options()
    })?;
    Ok(Report {
        version: Some(committed.version),
        time: Some(committed.time),
        counts: committed.tables.get(&args.table).copied().unwrap_or_default(),
        loaded,
        schema,
        skipped,
        unchanged: committed.unchanged,
        repeated: committed.repeated,
    })
}

fn changes_schema(loaded: &Loaded) -> bool {
    loaded.created
        || loaded.rekeyed
        || !(loaded.columns_added.is_empty()
            && loaded.columns_dropped.is_empty()
            && loaded.columns_renamed.is_empty()
            && loaded.columns_widened.is_empty())
}

/// A table that gets another key has all its rows deleted and inserted: there, what counts is how many fewer they are.
fn check_gate(
    args: &ImportArgs,
    gate: MaxDeletes,
    counts: &Counts,
    loaded: &Loaded,
    rows_before: u64,
) -> Result<()> {
    let gone = if loaded.rekeyed { rows_before.saturating_sub(loaded.rows) } else { counts.deleted };
    if rows_before == 0 || gate.allows(gone, rows_before) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "table '{}': {gone} of {rows_before} rows would be gone, more than --max-deletes {gate}; nothing was changed; \
         give a greater --max-deletes if that is right",
        args.table
    )))
}

fn parameters(args: &ImportArgs, loaded: &Loaded) -> BTreeMap<String, String> {
    let files: Vec<String> = args.files.iter().map(|path| file_name(path)).collect();
    let mut parameters = BTreeMap::from([
        ("table".to_string(), args.table.clone()),
        ("files".to_string(), files.join(", ")),
        ("mode".to_string(), loaded.mode.map_or("", Mode::name).to_string()),
    ]);
    if let Some(Names(key)) = &args.key {
        parameters.insert("key".to_string(), key.join(", "));
    }
    parameters
}

/// A file's name without its directories, which say more about a machine than about the data.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The answer that an id got when it was committed.
fn repeated(table: &str, first: &CommitInfo) -> Report {
    let named = |what: &str| {
        let changes = first.schema_changes.iter().filter(|(other, _)| other == table);
        changes.filter_map(|(_, change)| Some(change.strip_prefix(what)?.to_string())).collect::<Vec<_>>()
    };
    Report {
        version: Some(first.version),
        time: Some(first.time),
        counts: first.tables.get(table).copied().unwrap_or_default(),
        loaded: Loaded {
            columns_added: named("add column "),
            columns_dropped: named("drop column "),
            ..Loaded::default()
        },
        schema: None,
        skipped: 0,
        unchanged: false,
        repeated: true,
    }
}

fn print_report(args: &ImportArgs, context: &Context, report: &Report) -> Result {
    if context.json {
        context.print_json(&to_json(args, report))?;
        return Ok(Status::Done);
    }
    let line = to_line(args, report);
    if args.commit.dry_run {
        // What would be done is the data that was asked for.
        let mut out = context.out();
        writeln!(out, "{}", print::escape_controls(&line))?;
        out.flush()?;
    } else {
        context.say(print::escape_controls(&line))?;
    }
    if let Some(schema) = &report.schema {
        let line = format!("schema of {}: {schema}", args.table);
        context.note(print::escape_controls(&line));
    }
    if report.skipped > 0 {
        let rejects =
            args.rejects.as_ref().map(|path| format!(", see {}", path.display())).unwrap_or_default();
        let verb = if report.skipped == 1 { "was" } else { "were" };
        context
            .note(format_args!("{} {verb} skipped{rejects}", print::count_text(report.skipped, "bad row")));
    }
    Ok(Status::Done)
}

fn to_json(args: &ImportArgs, report: &Report) -> Value {
    let loaded = &report.loaded;
    let pairs = |pairs: &[(String, String)]| {
        Value::Object(pairs.iter().map(|(a, b)| (a.clone(), json!(b))).collect())
    };
    json!({
        "version": report.version.map(|version| version.0),
        "time": report.time.map(print::time_or_start),
        "inserted": report.counts.inserted,
        "updated": report.counts.updated,
        "deleted": report.counts.deleted,
        "columns_added": loaded.columns_added,
        "columns_dropped": loaded.columns_dropped,
        "columns_renamed": pairs(&loaded.columns_renamed),
        "columns_widened": pairs(&loaded.columns_widened),
        "table": args.table,
        "created": loaded.created,
        "rekeyed": loaded.rekeyed,
        "rows_skipped": report.skipped,
        "duplicates_skipped": loaded.duplicates,
        "unchanged": report.unchanged,
        "repeated": report.repeated,
        "dry_run": args.commit.dry_run,
    })
}

fn to_line(args: &ImportArgs, report: &Report) -> String {
    let Counts { inserted, updated, deleted } = report.counts;
    let loaded = &report.loaded;
    let head = match (report.version, report.time) {
        _ if report.unchanged => return format!("{}: nothing changed, no version was made", args.table),
        (Some(version), Some(time)) => format!("version {version} ({})", print::time_or_start(time)),
        _ => "dry run".to_string(),
    };
    let mut line =
        format!("{head}: {}: {inserted} inserted, {updated} updated, {deleted} deleted", args.table);
    let arrows =
        |pairs: &[(String, String)]| pairs.iter().map(|(a, b)| format!("{a} -> {b}")).collect::<Vec<_>>();
    for (what, names) in [
        ("columns added", loaded.columns_added.clone()),
        ("columns dropped", loaded.columns_dropped.clone()),
        ("columns renamed", arrows(&loaded.columns_renamed)),
        ("columns widened", arrows(&loaded.columns_widened)),
    ] {
        if !names.is_empty() {
            line.push_str(&format!("; {what}: {}", names.join(", ")));
        }
    }
    for (what, is_so) in [
        ("table made", loaded.created),
        ("new key", loaded.rekeyed),
        ("the first answer again", report.repeated),
    ] {
        if is_so {
            line.push_str(&format!("; {what}"));
        }
    }
    if loaded.duplicates > 0 {
        let rows = print::count_text(loaded.duplicates, "row");
        line.push_str(&format!("; {rows} of the same key left out"));
    }
    line
}
