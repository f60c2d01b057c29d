//! `export`: several tables at one version as a directory of files, with a manifest and digests.
//!
//! Invariants. The directory has its name once everything in it is whole and on disk; whatever ends an export before
//! leaves nothing under that name. Memory is bounded, whatever the size of tables.

mod partitions;
mod tree;

use crate::interrupt::{self, Interrupted};
use crate::output::check_outside;
use crate::print::{Progress, bytes_text, count_text, time_or_start};
use crate::schema_text::write_definition;
use crate::{Context, Error, Result, Status, print};
use asof_engine::arrow::array::RecordBatch;
use asof_engine::text::hex;
use asof_engine::view::{Format, render};
use asof_engine::{ErrorKind, ScanOptions, Snapshot, TableSchema};
use clap::{Args, ValueEnum};
use partitions::Partitioner;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use tree::{ExportedFile, Tree};

/// The version of the manifest's form.
const MANIFEST_FORMAT: u64 = 1;
/// The name of the manifest.
const MANIFEST: &str = "MANIFEST.json";
/// What is said of an export that was ended.
const INTERRUPTED: &str = "interrupted; nothing was exported";

/// `export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Directory to make; it must be missing or empty
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// These tables alone; all where none is named
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// The version to export
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub as_of: Option<String>,
    /// Form of the files
    #[arg(short, long, value_enum, default_value_t)]
    pub format: ExportFormat,
    /// A directory COL=VALUE for each value of these columns, as Hive and Spark have them; the files leave the columns out
    #[arg(long, value_name = "COLS", value_parser = crate::cmd::import::parse_names)]
    pub partition_by: Option<crate::cmd::import::Names>,
}

/// The form of exported files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values, in the bytes of the mount
    Csv,
    /// One JSON object a line, in the bytes of the mount
    Jsonl,
    /// Apache Parquet
    #[default]
    Parquet,
    /// Arrow IPC file
    Arrow,
}

impl ExportFormat {
    fn format(self) -> Format {
        match self {
            ExportFormat::Csv => Format::Csv,
            ExportFormat::Jsonl => Format::JsonLines,
            ExportFormat::Parquet => Format::Parquet,
            ExportFormat::Arrow => Format::Arrow,
        }
    }
}

/// Exports tables.
pub fn run(args: ExportArgs, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let snapshot = context.snapshot(&database, args.as_of.as_deref())?;
    let mut names = match args.tables.is_empty() {
        true => snapshot.all_table_names()?,
        false => args.tables.clone(),
    };
    names.sort();
    names.dedup();
    let mut partitioners = Vec::new();
    for name in &names {
        let schema = snapshot.schema(name)?;
        let columns = args.partition_by.as_ref().map(|columns| Partitioner::new(&schema, &columns.0));
        partitioners.push(columns.transpose().map_err(|error| error.at(format!("table {name}")))?);
    }
    check_outside(&args.directory, &args.database)?;
    let interrupted = interrupt::flag()?;
    let tree = Tree::begin(&args.directory)?;
    // Rows are read for the files, for the digest, and those that are parted once more in between.
    let times = if args.partition_by.is_some() { 3 } else { 2 };
    let rows = || names.iter().map(|name| times * snapshot.table(name).map_or(0, |table| table.rows)).sum();
    let progress = Progress::rows(context, "exported", rows);
    let mut tables = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for (name, partitioner) in names.iter().zip(partitioners) {
        let export = Export {
            snapshot: &snapshot,
            tree: &tree,
            format: args.format.format(),
            interrupted: &interrupted,
            progress: &progress,
        };
        let written = export.table(name, partitioner)?;
        files += written.len() as u64;
        bytes += written.iter().map(|file| file.bytes).sum::<u64>();
        tables.push(export.entry(name, &written)?);
    }
    let manifest = json!({
        "format": MANIFEST_FORMAT,
        "database": uuid_text(&database.id()),
        "version": snapshot.version().0,
        "time": print::time_json(snapshot.time()),
        "files": args.format.format().extension(),
        "partition_by": args.partition_by.as_ref().map(|columns| &columns.0),
        "tables": tables,
    });
    let mut text = serde_json::to_string_pretty(&manifest)?;
    text.push('\n');
    tree.write(MANIFEST, |out| Ok(out.write_all(text.as_bytes()).map(|()| 0)?))?;
    tree.finish(&args.directory)?;
    drop(progress);
    if context.json {
        let mut summary = manifest;
        summary["directory"] = args.directory.display().to_string().into();
        context.print_json(&summary)?;
    } else {
        context.say(format_args!(
            "{} at version {} ({}) in {}: {}, {}",
            count_text(names.len() as u64, "table"),
            snapshot.version(),
            time_or_start(snapshot.time()),
            args.directory.display(),
            count_text(files, "file"),
            bytes_text(bytes)
        ))?;
    }
    Ok(Status::Done)
}

/// As people write it.
fn uuid_text(id: &[u8; 16]) -> String {
    let digits = hex(id);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

struct Export<'a> {
    snapshot: &'a Snapshot,
    tree: &'a Tree,
    format: Format,
    interrupted: &'a Interrupted,
    progress: &'a Progress,
}

impl Export<'_> {
    /// Writes a table's files.
    fn table(&self, name: &str, partitioner: Option<Partitioner>) -> Result<Vec<ExportedFile>> {
        let path = tree::table_path(name);
        let rows =
            self.snapshot.scan(name, ScanOptions::default())?.map(|rows| self.unless_interrupted(rows));
        let Some(mut partitioner) = partitioner else {
            let schema = self.snapshot.schema(name)?;
            let file = self.file(&format!("{path}.{}", self.format.extension()), &schema, rows)?;
            return Ok(vec![file]);
        };
        let spool = self.tree.spool()?;
        for rows in rows {
            partitioner.add(&spool, &rows?)?;
        }
        let mut files = Vec::new();
        for partition in partitioner.partitions()? {
            let place = format!("{path}/{}/part-00000.{}", partition.path, self.format.extension());
            let rows = partition.rows.map(|rows| self.unless_interrupted(rows));
            let mut file = self.file(&place, &partition.schema, rows)?;
            file.partition = Some(partition.values);
            files.push(file);
        }
        Ok(files)
    }

    fn unless_interrupted(&self, rows: asof_engine::Result<RecordBatch>) -> asof_engine::Result<RecordBatch> {
        match self.interrupted.is_set() {
            true => Err(asof_engine::Error::invalid(INTERRUPTED)),
            false => rows.inspect(|rows| self.progress.add(rows.num_rows() as u64)),
        }
    }

    fn file(
        &self,
        path: &str,
        schema: &TableSchema,
        rows: impl Iterator<Item = asof_engine::Result<RecordBatch>>,
    ) -> Result<ExportedFile> {
        self.tree.write(path, |out| {
            let mut count = 0;
            let rows = rows.inspect(|rows| count += rows.as_ref().map_or(0, |rows| rows.num_rows() as u64));
            render(self.format, schema, rows, out)?;
            Ok(count)
        })
    }

    /// What the manifest says of a table.
    fn entry(&self, name: &str, files: &[ExportedFile]) -> Result<Value> {
        let pace = &mut self.progress.pace(self.interrupted);
        let checksum = self.snapshot.checksum_paced(name, pace).map_err(|error| match error.kind() {
            ErrorKind::Busy => asof_engine::Error::invalid(INTERRUPTED),
            _ => error,
        })?;
        let written: u64 = files.iter().map(|file| file.rows).sum();
        if written != checksum.rows {
            return Err(Error::failed(format!(
                "table {name} has {} rows, and {written} were written; run 'asof verify'",
                checksum.rows
            )));
        }
        let files = files.iter().map(|file| {
            let mut value =
                json!({"path": file.path, "rows": file.rows, "bytes": file.bytes, "sha256": file.sha256});
            if let Some(partition) = &file.partition {
                let values = partition.iter().map(|(name, value)| (name.clone(), json!(value)));
                value["partition"] = Value::Object(values.collect::<Map<_, _>>());
            }
            value
        });
        let files: Vec<Value> = files.collect();
        Ok(json!({
            "table": name,
            "schema": write_definition(&*self.snapshot.schema(name)?).replace(",\n", ", "),
            "rows": checksum.rows,
            "checksum": hex(&checksum.digest),
            "files": files,
        }))
    }
}
