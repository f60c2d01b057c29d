//! What was typed: the options of every command, as clap sees them.
//!
//! Where a command begins with DB, it may be left out if `$ASOF_DB` is set: see [`crate::database_argument`].

use asof_engine::CommitOptions;
use asof_engine::options::MEMORY_BYTES_MIN;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::time::Duration;

/// A table store that never forgets.
#[derive(Debug, Parser)]
#[command(
    name = "asof",
    version,
    about,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "DB is a directory; it may be left out where $ASOF_DB names one. TABLE is a name or namespace.name.\n\
        EXPR names a version: 42, latest, latest~3, tag:NAME, 2025-08-26, 2025-08-26T10:00, eod:2025-08-26,\n\
        yesterday, 2d-ago, -1h, @1756202400, before:EXPR, commit:ID.\n\
        Exit status: 0 done, 1 failed, 2 wrong usage, 3 nothing there, 4 damage found, 5 locked, 10 differs."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in pipes and files
    Always,
    /// Never
    Never,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Report as JSON; errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell bytes, pages and syncs at the end
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Zone of times typed without an offset
    #[arg(long, global = true, env = "ASOF_TZ", hide_env_values = true, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true, value_parser = parse_zone)]
    pub tz: TimeZone,
    /// How long to wait for another writer's turn
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub wait: Duration,
    /// Memory for rows: changes, caches, sorts, compaction; at least 16MiB, 512MiB where not given
    #[arg(long, global = true, env = "ASOF_MEMORY", hide_env_values = true, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try it: a database from bundled real data, mounted, with things to try
    Demo(DemoArgs),
    /// Make an empty database
    Init(InitArgs),
    /// Tell what this machine can do, and what to do about the rest
    Doctor(DoctorArgs),
    /// Make a table
    CreateTable(CreateTableArgs),
    /// Change a table's columns
    AlterTable(AlterTableArgs),
    /// Drop a table; earlier versions keep it
    DropTable(DropTableArgs),
    /// Commit files as rows of a table
    Import(crate::cmd::import::ImportArgs),
    /// Commit many versions of many tables in time order
    ImportHistory(crate::cmd::import_history::ImportHistoryArgs),
    /// Commit transactions from JSON Lines
    Apply(crate::cmd::apply::ApplyArgs),
    /// A table as it was
    Cat(CatArgs),
    /// Tables at one version as a directory of files, with a manifest and digests
    Export(crate::cmd::export::ExportArgs),
    /// One row as it was
    Get(RowArgs),
    /// What an expression names
    Resolve(ResolveArgs),
    /// The tables there are
    Tables(TablesArgs),
    /// A table's schema, as create-table takes it
    Schema(SchemaArgs),
    /// One commit
    Show(ShowArgs),
    /// Commits, newest first
    Log(LogArgs),
    /// Every version of a row, or of a table
    History(HistoryArgs),
    /// For each column of a row, the commit that last set it
    Blame(RowArgs),
    /// In which versions a condition held for some row of a table
    Find(crate::cmd::find::FindArgs),
    /// Every table, row, column and version in which a value occurs
    Trace(crate::cmd::trace::TraceArgs),
    /// What changed between two versions
    Diff(DiffArgs),
    /// Ask and change in SQL, over every version; a shell where no statement is given
    #[cfg(feature = "sql")]
    Sql(SqlArgs),
    /// Names for versions
    Tag(TagArgs),
    /// Tables, or rows of them, as they were at a version, in a new commit
    Restore(crate::cmd::restore::RestoreArgs),
    /// Take one commit back, where nobody changed the same since
    Undo(crate::cmd::undo::UndoArgs),
    /// A dropped table as it was
    Undrop(crate::cmd::undrop::UndropArgs),
    /// Show the past as read-only directories, until Ctrl-C or umount; --background returns at once
    Mount(MountArgs),
    /// End a mount
    Umount(UmountArgs),
    /// Turn the log into Parquet now; commits do it by themselves every 64 MiB of log
    Checkpoint(CheckpointArgs),
    /// Part dead row versions from living ones, so that any version reads fast; prints the plan unless --execute
    Compact(CompactArgs),
    /// Let versions go that no policy keeps; prints the plan, with reasons, unless --execute
    Retain(crate::cmd::retain::RetainArgs),
    /// Settings that are kept in the database: retention policies
    Config(crate::cmd::config::ConfigArgs),
    /// What takes the room, by table, tag and month
    Du(crate::cmd::du::DuArgs),
    /// Ship what is new to a directory or an object store, once or continuously
    #[cfg(feature = "archive")]
    Archive(crate::cmd::archive::ArchiveArgs),
    /// Make a database of an archive, at any version or time
    #[cfg(feature = "archive")]
    Recover(crate::cmd::recover::RecoverArgs),
    /// Copy a live database into a new directory
    #[cfg(feature = "archive")]
    Backup(crate::cmd::backup::BackupArgs),
    /// Check every checksum and invariant
    Verify(VerifyArgs),
    /// A digest of what tables hold, the same everywhere
    Checksum(crate::cmd::checksum::ChecksumArgs),
    /// Sizes, settings, leases
    Info(InfoArgs),
    /// Kill writers, cut the power and flip bits on this disk, and see whether anything is lost
    Torture(TortureArgs),
    /// Completion script for a shell
    Completions(CompletionsArgs),
}

/// What is said about commits.
#[derive(Clone, Debug, Default, Args)]
pub struct Said {
    /// Why
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Who
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// A free key and value, kept with the commit; may be repeated
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub meta: Vec<(String, String)>,
}

impl Said {
    /// A commit of which that is said.
    pub fn options(&self) -> CommitOptions {
        CommitOptions {
            message: self.message.clone(),
            author: self.author.clone(),
            meta: self.meta.iter().cloned().collect(),
            ..CommitOptions::default()
        }
    }
}

/// A commit that is to be made, or to be tried.
#[derive(Clone, Debug, Default, Args)]
pub struct CommitArgs {
    /// What is said about it.
    #[command(flatten)]
    pub said: Said,
    /// Check, and tell what would be done, but do not do it
    #[arg(long)]
    pub dry_run: bool,
}

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Directory to keep it in; without one it is removed at the end
    pub directory: Option<PathBuf>,
}

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Directory, missing or empty
    #[arg(value_name = "DB")]
    pub database: PathBuf,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A database, or the directory that shall hold one
    #[arg(value_name = "DB")]
    pub database: Option<PathBuf>,
}

/// `create-table`
#[derive(Debug, Args)]
pub struct CreateTableArgs {
    /// Directory of the database; made where missing
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table, or namespace.name
    pub table: String,
    /// 'col type [not null] [default VALUE], .., primary key (col, ..)'
    pub definition: String,
    /// What is said about the commit.
    #[command(flatten)]
    pub commit: CommitArgs,
}

/// `alter-table`
#[derive(Debug, Args)]
pub struct AlterTableArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table
    pub table: String,
    /// 'add col type [not null] [default VALUE] | drop col | rename col to col | widen col to type', several with commas
    pub alterations: String,
    /// What is said about the commit.
    #[command(flatten)]
    pub commit: CommitArgs,
}

/// `drop-table`
#[derive(Debug, Args)]
pub struct DropTableArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table
    pub table: String,
    /// What is said about the commit.
    #[command(flatten)]
    pub commit: CommitArgs,
}

/// The forms `cat` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CatFormat {
    /// Comma-separated values; NULL is an empty cell, the empty string is ""
    Csv,
    /// One JSON object a line
    Jsonl,
    /// One JSON array
    Json,
    /// Apache Parquet
    Parquet,
    /// Arrow IPC file
    Arrow,
    /// A table for people
    Table,
}

/// `cat`
#[derive(Debug, Args)]
pub struct CatArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table
    pub table: String,
    /// The version or time to show; the newest without it
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub as_of: Option<String>,
    /// Form of the output; csv without it
    #[arg(short, long, value_enum)]
    pub format: Option<CatFormat>,
    /// Columns to show, in this order
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Option<Vec<String>>,
    /// Rows to show, as a condition in SQL
    #[arg(long = "where", value_name = "SQL", allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// At most this many rows
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u64>,
    /// Put ' before cells that a spreadsheet would take for a formula
    #[arg(long)]
    pub csv_safe: bool,
    /// Write to a file, whose extension names the format
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `sql`
#[cfg(feature = "sql")]
#[derive(Debug, Args)]
#[command(
    after_help = "The past: SELECT .. FROM t VERSION AS OF 3, t TIMESTAMP AS OF '2025-08-26', t AS OF 'yesterday',\n\
    t FOR SYSTEM_TIME ALL, \"t@3\"; functions asof('t', WHEN), history('t'), changes('t', FROM, TO), diff('t', FROM, TO),\n\
    commits(). A statement that changes something is one commit, or BEGIN; ..; COMMIT are one together."
)]
pub struct SqlArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Statements, apart by semicolons; standard input or a shell without them
    #[arg(value_name = "SQL", allow_hyphen_values = true)]
    pub statement: Option<String>,
    /// Read statements from a file
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The version or time that queries read; the newest without it
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub as_of: Option<String>,
    /// Form of results; a table on a terminal, csv otherwise
    #[arg(long, value_enum)]
    pub format: Option<CatFormat>,
    /// Write the result to a file, whose extension names the format
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Let statements reach files: CREATE EXTERNAL TABLE, COPY
    #[arg(long)]
    pub allow_files: bool,
    /// Tell how long each statement took
    #[arg(long)]
    pub timing: bool,
    /// What is said about commits whose statement does not end with COMMENT '..'.
    #[command(flatten)]
    pub said: Said,
}

/// `get`, `blame`
#[derive(Debug, Args)]
pub struct RowArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table
    pub table: String,
    /// The key's value; several with commas, or as a JSON array
    #[arg(allow_hyphen_values = true)]
    pub key: String,
    /// The version or time at which the row is looked at; the newest without it
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub as_of: Option<String>,
}

/// `resolve`
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// The expression
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    pub expression: String,
}

/// `tables`
#[derive(Debug, Args)]
pub struct TablesArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// The version or time to show; the newest without it
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub as_of: Option<String>,
}

/// `schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table
    pub table: String,
    /// The version or time to show; the newest without it
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub as_of: Option<String>,
}

/// `show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// The version, or another expression that names it
    #[arg(value_name = "VERSION", allow_hyphen_values = true)]
    pub expression: String,
}

/// `log`
#[derive(Debug, Default, Args)]
pub struct LogArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Commits that changed this table
    #[arg(short, long, value_name = "TABLE")]
    pub table: Option<String>,
    /// At most this many commits
    #[arg(short = 'n', long = "limit", value_name = "N")]
    pub limit: Option<u64>,
    /// From this version or time on
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Up to this version or time
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Commits whose author or user has this in the name, whatever the case
    #[arg(long, value_name = "A")]
    pub author: Option<String>,
    /// Commits made by this operation (import, apply, sql, ..), or that changed a schema so, whatever they were made by:
    /// create-table, drop-table, add-column, drop-column, rename-column, widen-column, set-key, add-check, drop-check
    #[arg(long, value_name = "O")]
    pub operation: Option<String>,
    /// Commits with this key and value; may be repeated
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub meta: Vec<(String, String)>,
    /// Commits whose message has this text, whatever the case
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub grep: Option<String>,
    /// One line a commit
    #[arg(long)]
    pub oneline: bool,
    /// Wait for commits and show them as they come, oldest first; -n shows that many earlier ones first
    #[arg(long, conflicts_with = "until")]
    pub follow: bool,
}

/// `history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the table
    pub table: String,
    /// The key's value; several with commas, or as a JSON array. Without it, the table's log
    #[arg(allow_hyphen_values = true)]
    pub key: Option<String>,
}

/// The forms `diff` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// Lines for people: + inserted, - deleted, ~ updated
    Table,
    /// Comma-separated values
    Csv,
    /// One JSON object a line
    Jsonl,
    /// One JSON document
    Json,
    /// Apache Parquet
    Parquet,
}

/// `diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Changes after this version
    #[arg(allow_hyphen_values = true)]
    pub from: String,
    /// Up to and with this version; where it is before FROM, what it takes to come back to it
    #[arg(allow_hyphen_values = true)]
    pub to: String,
    /// This table alone
    pub table: Option<String>,
    /// Every commit's changes, instead of the net ones
    #[arg(long)]
    pub feed: bool,
    /// Go on with the changes of commits as they come, until Ctrl-C; TO is latest, the form is jsonl or csv
    #[arg(long, requires = "feed", conflicts_with_all = ["sample", "exit_code", "fail_if", "output"])]
    pub follow: bool,
    /// Rows before and after, inserted, updated and deleted, per table
    #[arg(long, conflicts_with_all = ["feed", "sample", "format"])]
    pub stat: bool,
    /// What changed in schemas alone
    #[arg(long, conflicts_with_all = ["feed", "stat", "sample", "format"])]
    pub schema: bool,
    /// Of each kind of change, at most this many per table
    #[arg(long, value_name = "N")]
    pub sample: Option<u64>,
    /// Form of the output
    #[arg(short, long, value_enum)]
    pub format: Option<DiffFormat>,
    /// Exit with 10 if anything differs
    #[arg(long)]
    pub exit_code: bool,
    /// Exit with 10 where a condition holds for a table: 'deleted>10%', 'inserted>=5', 'updated>0', 'rows<100',
    /// columns-removed, columns-added, schema-changed; may be repeated
    #[arg(long, value_name = "CONDITION", value_delimiter = ',', value_parser = crate::cmd::diff::Condition::parse)]
    pub fail_if: Vec<crate::cmd::diff::Condition>,
    /// Write to a file, whose extension names the format
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["stat", "schema"])]
    pub output: Option<PathBuf>,
}

/// `tag`
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of the tag; without it, all tags are listed
    pub name: Option<String>,
    /// The version to name; the newest without it
    #[arg(value_name = "EXPR", allow_hyphen_values = true, requires = "name")]
    pub expression: Option<String>,
    /// Why
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, requires = "name")]
    pub message: Option<String>,
    /// When it ends: a length of time from now (30d) or a time (2027-01-01)
    #[arg(long, value_name = "D", requires = "name")]
    pub expires: Option<String>,
    /// Move the tag if it exists
    #[arg(long, requires = "name")]
    pub force: bool,
    /// Remove the tag
    #[arg(long, requires = "name", conflicts_with_all = ["expression", "message", "expires", "force", "list"])]
    pub delete: bool,
    /// List tags (those that begin with NAME)
    #[arg(long, conflicts_with_all = ["expression", "message", "expires", "force"])]
    pub list: bool,
    /// With --list: bytes that each tag alone keeps, as du tells them; reads when all rows lived
    #[arg(long, requires = "list")]
    pub cost: bool,
    /// Tell what would be done, but do not do it
    #[arg(long)]
    pub dry_run: bool,
}

/// `mount`
#[derive(Debug, Args)]
pub struct MountArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Directory to mount at, empty; made where missing
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Show this version or time alone
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub at: Option<String>,
    /// Return when the mount is ready; end it with umount
    #[arg(short, long)]
    pub background: bool,
    /// Let other users in, as far as the database directory's mode does
    #[arg(long)]
    pub allow_other: bool,
    /// Whose the files are
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,
    /// Which group's the files are
    #[arg(long, value_name = "GID")]
    pub gid: Option<u32>,
    /// Who may read, as octal permission bits such as 444; directories can be entered where they can be read
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub mode: Option<u16>,
    /// Formats that directories list; all others are there by name
    #[arg(long, value_name = "FORMATS", value_delimiter = ',', value_parser = parse_file_format)]
    pub formats: Option<Vec<asof_engine::view::Format>>,
    /// Most bytes of rendered files to keep in $XDG_CACHE_HOME/asof or ~/.cache/asof: 500MB, 2GiB [default: 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub cache_size: Option<u64>,
    /// What the mount table shows as the source [default: asof:DB]
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Write warnings to the end of FILE, with their times, instead of standard error; --background has no other place
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// `umount`
#[derive(Debug, Args)]
pub struct UmountArgs {
    /// Where it is mounted
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// `checkpoint`
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
}

/// `compact`
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Table; all tables where it is not given
    #[arg(value_name = "TABLE")]
    pub table: Option<String>,
    /// Do what the plan says
    #[arg(long)]
    pub execute: bool,
    /// Not there yet: data files are in the order of the key
    #[arg(long, value_name = "COLUMNS")]
    pub order_by: Option<String>,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Read only so many percent of the rows, others each time; logs and manifests whole
    #[arg(long, value_name = "P%", value_parser = parse_percent, conflicts_with = "salvage")]
    pub sample: Option<f64>,
    /// Where the log is damaged in its middle, keep what precedes the damage and put the rest aside, so that the
    /// database can be written again; commits behind the damage are lost
    #[arg(long)]
    pub salvage: bool,
}

/// `torture`
#[derive(Debug, Args)]
pub struct TortureArgs {
    /// Directory on the disk to test; everything made lies in a new directory below it, and is removed at the end
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Do again what was done with this seed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How long, about
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub seconds: u64,
    /// A process of the tests
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    pub child: Option<Vec<String>>,
}

/// `info`
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Reads a share: `5%` or `5`.
fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| "is no share; give a number above 0 and up to 100, such as 5%".to_string())
}

/// Reads `K=V`.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("is no KEY=VALUE".to_string()),
    }
}

/// Reads the mode of `--mode`: octal, read and execute bits only.
fn parse_mode(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8).ok().filter(|mode| mode & !0o555 == 0).ok_or_else(|| {
        "is no mode of a read-only directory; give octal digits such as 500 or 555".to_string()
    })
}

/// Reads the name of a file format: that of its extension.
fn parse_file_format(text: &str) -> Result<asof_engine::view::Format, String> {
    asof_engine::view::Format::of_extension(text)
        .ok_or_else(|| "is no format; formats are parquet, csv, jsonl, arrow".to_string())
}

/// Reads a budget of memory; one that nothing could be done with is a slip of the pen.
fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    match bytes < MEMORY_BYTES_MIN {
        true => Err(format!("is less than the {} MiB that are needed at least", MEMORY_BYTES_MIN >> 20)),
        false => Ok(bytes),
    }
}

/// Reads a number of bytes: `1000`, `500MB` (decimal), `2GiB` (binary).
fn parse_size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err(format!("has the unknown unit '{unit}'; units are kB, MB, GB, KiB, MiB, GiB")),
    };
    let count: u64 =
        digits.parse().map_err(|_| "is no number of bytes; give one such as 500MB or 2GiB".to_string())?;
    count.checked_mul(factor).ok_or_else(|| "is too large".to_string())
}

/// Reads the zone of `--tz`.
fn parse_zone(text: &str) -> Result<TimeZone, String> {
    match text {
        "local" | "system" => Ok(TimeZone::system()),
        "Z" => Ok(TimeZone::UTC),
        _ => TimeZone::get(text)
            .or_else(|_| TimeZone::posix(text))
            .or_else(|_| parse_offset(text).map(TimeZone::fixed).ok_or(()))
            .map_err(|()| "is no time zone; give one such as Europe/Paris, +02:00, UTC or local".to_string()),
    }
}

/// Reads `+02:00`, `-0330`, `+5`.
fn parse_offset(text: &str) -> Option<jiff::tz::Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() > 2 => rest.split_at_checked(rest.len() - 2)?,
        None => (rest, "0"),
    };
    let digits = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())
    };
    let (hours, minutes): (i32, i32) = (digits(hours)??, digits(minutes)??);
    if minutes >= 60 || hours >= 26 {
        return None;
    }
    jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// Reads `5s`, `500ms`, `2m`, or a bare number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "is no length of time; give one such as 5s, 500ms or 2m".to_string())?;
    Duration::try_from(parsed).map_err(|_| "must not be negative".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_unit() {
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["", "-1", "-5s", "soon", "inf"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_memory_budget_goes_to_the_engine_and_one_too_small_is_refused() {
        let options = |words: &[&str]| {
            let words = ["asof", "info", "db"].iter().chain(words);
            let globals = Cli::try_parse_from(words).map(|cli| cli.globals);
            globals.map(|globals| crate::Context::new(&globals).options().memory_bytes)
        };
        assert_eq!(options(&["--memory", "64MiB"]).unwrap(), 64 << 20);
        assert_eq!(options(&[]).unwrap(), asof_engine::options::MEMORY_BYTES_DEFAULT);
        let refused = options(&["--memory", "1MB"]).unwrap_err().to_string();
        assert!(refused.contains("16 MiB"), "{refused}");
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(parse_size("1000"), Ok(1000));
        assert_eq!(parse_size("500MB"), Ok(500_000_000));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        for bad in ["", "MB", "1XB", "99999999999TiB", "-1"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_cannot_give_write_permission() {
        assert_eq!(parse_mode("555"), Ok(0o555));
        for bad in ["755", "9", "", "-1"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let offset = |text: &str| parse_zone(text).unwrap().to_offset(jiff::Timestamp::UNIX_EPOCH).seconds();
        assert_eq!(offset("UTC"), 0);
        assert_eq!(offset("+02:00"), 7200);
        assert_eq!(offset("-0330"), -12_600);
        assert_eq!(offset("+5"), 18_000);
        for bad in ["Nowhere/Land", "", "+99", "+02:99", "+", "+a"] {
            assert!(parse_zone(bad).is_err(), "{bad}");
        }
    }
}
