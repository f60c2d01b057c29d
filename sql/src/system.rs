//! What a database tells of itself, as tables: versions, tags, tables, data files, leases, upkeep.

use crate::error::Result;
use crate::exec::Batches;
use crate::scope::Names;
use crate::table::Generated;
use asof_engine::arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use asof_engine::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use asof_engine::json::{commits_schema, commits_to_batch};
use asof_engine::{CommitTime, Database, Version};
use datafusion::catalog::TableProvider;
use std::sync::Arc;

/// Commits that are read at a time.
const COMMITS: usize = 1_024;

/// A table of the schema `system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SystemTable {
    /// Commits, one for each version.
    Versions,
    /// Tags.
    Tags,
    /// Tables at the version that is read.
    Tables,
    /// Data files.
    DataFiles,
    /// Who keeps files alive.
    Leases,
    /// Sizes, and how far upkeep is.
    Upkeep,
}

impl SystemTable {
    /// All, with their names.
    pub(crate) const ALL: [(&'static str, SystemTable); 6] = [
        ("data_files", SystemTable::DataFiles),
        ("leases", SystemTable::Leases),
        ("tables", SystemTable::Tables),
        ("tags", SystemTable::Tags),
        ("upkeep", SystemTable::Upkeep),
        ("versions", SystemTable::Versions),
    ];

    /// The table of a name.
    pub(crate) fn of(name: &str) -> Option<SystemTable> {
        SystemTable::ALL.iter().find(|(other, _)| *other == name).map(|(_, table)| *table)
    }
}

/// A system table as it is read at a version.
pub(crate) fn table(names: &Names, table: SystemTable) -> Result<Arc<dyn TableProvider>> {
    let database = names.database.clone();
    let rows = |name: &str, columns: Vec<(Field, ArrayRef)>| fixed(name, columns);
    Ok(Arc::new(match table {
        SystemTable::Versions => return Ok(Arc::new(commits(names, None)?)),
        SystemTable::Tags => {
            let tags = database.tags()?;
            rows(
                "system.tags",
                vec![
                    texts("name", tags.iter().map(|tag| Some(tag.name.clone()))),
                    numbers("version", tags.iter().map(|tag| Some(tag.version.0))),
                    texts("message", tags.iter().map(|tag| tag.message.clone())),
                    times("created", tags.iter().map(|tag| Some(tag.created))),
                    times("expires", tags.iter().map(|tag| tag.expires)),
                ],
            )?
        }
        SystemTable::Tables => {
            let snapshot = &names.snapshot;
            let tables = snapshot
                .table_names()?
                .iter()
                .map(|name| snapshot.table(name))
                .collect::<asof_engine::Result<Vec<_>>>()?;
            let key = |schema: &asof_engine::TableSchema| {
                schema.key_columns().map(|column| column.name.clone()).collect::<Vec<_>>().join(",")
            };
            rows(
                "system.tables",
                vec![
                    texts("name", tables.iter().map(|table| Some(table.name.clone()))),
                    numbers("rows", tables.iter().map(|table| Some(table.rows))),
                    numbers("columns", tables.iter().map(|table| Some(table.schema.columns.len() as u64))),
                    texts(
                        "key",
                        tables.iter().map(|table| Some(key(&table.schema)).filter(|key| !key.is_empty())),
                    ),
                    numbers("changed_version", tables.iter().map(|table| Some(table.changed.0))),
                    times("changed_time", tables.iter().map(|table| Some(table.changed_time))),
                    texts("definition", tables.iter().map(|table| Some(table.schema.to_string()))),
                ],
            )?
        }
        SystemTable::DataFiles => {
            let files = database.data_files()?;
            let version = |version: Version| Some(version.0);
            rows(
                "system.data_files",
                vec![
                    texts("path", files.iter().map(|file| Some(file.path.clone()))),
                    texts("table", files.iter().map(|file| Some(file.table.clone()))),
                    numbers("rows", files.iter().map(|file| Some(file.rows))),
                    numbers("bytes", files.iter().map(|file| Some(file.bytes))),
                    flags("is_history", files.iter().map(|file| file.is_history)),
                    numbers("valid_from", files.iter().map(|file| version(file.valid_from))),
                    numbers("valid_to", files.iter().map(|file| file.valid_to.and_then(version))),
                    numbers("first_begin", files.iter().map(|file| version(file.first_begin))),
                    numbers("last_begin", files.iter().map(|file| version(file.last_begin))),
                    numbers("first_end", files.iter().map(|file| file.first_end.and_then(version))),
                    numbers("last_end", files.iter().map(|file| file.last_end.and_then(version))),
                ],
            )?
        }
        SystemTable::Leases => {
            let leases = database.info()?.leases;
            rows(
                "system.leases",
                vec![
                    numbers("manifest", leases.iter().map(|lease| Some(lease.manifest))),
                    numbers("pid", leases.iter().map(|lease| lease.pid.map(u64::from))),
                    numbers("age_seconds", leases.iter().map(|lease| lease.age_seconds)),
                ],
            )?
        }
        SystemTable::Upkeep => {
            let info = database.info()?;
            let mut lines: Vec<(String, Option<u64>, Option<String>)> = vec![
                ("version".to_string(), Some(info.version.0), None),
                ("checkpoint_version".to_string(), Some(info.checkpoint_version.0), None),
                ("row_versions".to_string(), Some(info.row_versions), None),
                ("log_used_bytes".to_string(), Some(info.log_used_bytes), None),
                ("log_allocated_bytes".to_string(), Some(info.log_allocated_bytes), None),
                ("compaction_debt_bytes".to_string(), Some(info.compaction_debt_bytes), None),
                ("memory_bytes".to_string(), Some(info.memory_bytes), None),
                ("upkeep_error".to_string(), None, info.upkeep_error),
                ("damage".to_string(), None, info.damage),
            ];
            for (class, (count, bytes)) in info.files {
                lines.push((format!("{class}_files"), Some(count), None));
                lines.push((format!("{class}_bytes"), Some(bytes), None));
            }
            rows(
                "system.upkeep",
                vec![
                    texts("name", lines.iter().map(|(name, ..)| Some(name.clone()))),
                    numbers("value", lines.iter().map(|(_, value, _)| *value)),
                    texts("text", lines.iter().map(|(.., text)| text.clone())),
                ],
            )?
        }
    }))
}

/// Commits up to the version that is read, oldest first; or those that changed a table.
pub(crate) fn commits(names: &Names, table: Option<String>) -> Result<Generated> {
    let (database, up_to) = (names.database.clone(), names.snapshot.version());
    let schema = commits_schema().to_arrow();
    Ok(match table {
        None => Generated::new("commits", schema, Some(up_to.0), move || {
            Ok(read_commits(database.clone(), (1..=up_to.0).map(Version)))
        }),
        Some(table) => {
            let versions = database.table_versions(&table, Version::ZERO, up_to)?;
            if versions.is_empty() {
                names.snapshot.table(&table)?;
            }
            let count = versions.len() as u64;
            Generated::new(format!("commits of {table}"), schema, Some(count), move || {
                Ok(read_commits(database.clone(), versions.clone().into_iter()))
            })
        }
    })
}

fn read_commits(database: Database, mut versions: impl Iterator<Item = Version> + Send + 'static) -> Batches {
    Box::new(std::iter::from_fn(move || {
        let next: Vec<Version> = versions.by_ref().take(COMMITS).collect();
        if next.is_empty() {
            return None;
        }
        let infos = next.into_iter().map(|version| database.commit_info(version));
        Some(infos.collect::<asof_engine::Result<Vec<_>>>().and_then(|infos| commits_to_batch(&infos)))
    }))
}

fn fixed(name: &str, columns: Vec<(Field, ArrayRef)>) -> Result<Generated> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    let rows = batch.num_rows() as u64;
    Ok(Generated::new(name, schema, Some(rows), move || {
        Ok(Box::new(std::iter::once(Ok(batch.clone()))) as Batches)
    }))
}

fn texts(name: &str, values: impl Iterator<Item = Option<String>>) -> (Field, ArrayRef) {
    (Field::new(name, DataType::Utf8, true), Arc::new(values.collect::<StringArray>()))
}

fn numbers(name: &str, values: impl Iterator<Item = Option<u64>>) -> (Field, ArrayRef) {
    (Field::new(name, DataType::UInt64, true), Arc::new(values.collect::<UInt64Array>()))
}

fn flags(name: &str, values: impl Iterator<Item = bool>) -> (Field, ArrayRef) {
    (Field::new(name, DataType::Boolean, true), Arc::new(values.map(Some).collect::<BooleanArray>()))
}

fn times(name: &str, values: impl Iterator<Item = Option<CommitTime>>) -> (Field, ArrayRef) {
    let array: TimestampMicrosecondArray =
        values.map(|time| time.filter(|time| *time != CommitTime::MIN).map(|time| time.0)).collect();
    let array = array.with_timezone("UTC");
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    (Field::new(name, utc, true), Arc::new(array))
}
