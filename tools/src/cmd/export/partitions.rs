//! Rows parted by the values of some columns, as Hive and Spark lay them out: `country=DE/year=2025`.
//!
//! Invariants. Names are escaped as Spark escapes them (`ExternalCatalogUtils.escapePathName`); NULL and the empty text
//! are `__HIVE_DEFAULT_PARTITION__`. Rows of a partition keep their order. What does not fit in memory waits in files.

use crate::{Error, Result};
use asof_engine::arrow::array::{RecordBatch, UInt32Array};
use asof_engine::arrow::compute::take_record_batch;
use asof_engine::arrow::ipc::reader::StreamReader;
use asof_engine::arrow::ipc::writer::StreamWriter;
use asof_engine::{ColumnType, TableSchema, text};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

/// Bytes of rows in memory, at most.
const MEMORY_BYTES: usize = 64 << 20;
/// Partitions of a table, at most.
const PARTITIONS_MAX: usize = 100_000;
/// Stands for a value that cannot be a name.
const DEFAULT: &str = "__HIVE_DEFAULT_PARTITION__";

/// The texts of a partition's values.
type Values = Vec<Option<String>>;

/// Rows of a table while they are parted.
pub struct Partitioner {
    schema: TableSchema,
    by: Vec<usize>,
    others: Vec<usize>,
    partitions: HashMap<Values, Held>,
    bytes: usize,
    memory_bytes: usize,
    segments: usize,
}

/// Rows of a partition.
#[derive(Default)]
struct Held {
    /// Files that hold the first rows.
    segments: Vec<PathBuf>,
    /// Rows behind those.
    batches: Vec<RecordBatch>,
    bytes: usize,
}

/// A partition with its rows.
pub struct Partition {
    /// Its directory: a part for each column.
    pub path: String,
    /// Names of columns and the texts of their values.
    pub values: Vec<(String, Option<String>)>,
    /// The schema of its rows.
    pub schema: TableSchema,
    /// Its rows.
    pub rows: Box<dyn Iterator<Item = asof_engine::Result<RecordBatch>>>,
}

impl Partitioner {
    /// Rows of a schema by some of its columns.
    pub fn new(schema: &TableSchema, columns: &[String]) -> Result<Partitioner> {
        let by = columns
            .iter()
            .map(|name| Ok(schema.index_of(name).map_err(asof_engine::Error::from)?))
            .collect::<Result<Vec<usize>>>()?;
        let nested = by.iter().map(|index| &schema.columns[*index]);
        let mut nested =
            nested.filter(|column| matches!(column.column_type, ColumnType::List(_) | ColumnType::Struct(_)));
        if let Some(column) = nested.next() {
            return Err(Error::usage(format!(
                "column {} of type {} cannot part rows",
                column.name, column.column_type
            )));
        }
        let others: Vec<usize> = (0..schema.columns.len()).filter(|index| !by.contains(index)).collect();
        if others.is_empty() || by.len() + others.len() != schema.columns.len() {
            return Err(Error::usage(
                "--partition-by must name each column once, and leave at least one for the files",
            ));
        }
        let schema = schema.clone();
        let (partitions, memory_bytes) = (HashMap::new(), MEMORY_BYTES);
        Ok(Partitioner { schema, by, others, partitions, bytes: 0, memory_bytes, segments: 0 })
    }

    /// Takes rows.
    pub fn add(&mut self, spool: &Path, rows: &RecordBatch) -> Result<()> {
        let mut of: BTreeMap<Values, Vec<u32>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let value = |index: &usize| {
                text::format_cell(&self.schema.columns[*index].column_type, rows.column(*index), row)
            };
            of.entry(self.by.iter().map(value).collect()).or_default().push(row as u32);
        }
        let rows = rows.project(&self.others).map_err(asof_engine::Error::from)?;
        for (values, picks) in of {
            let part =
                take_record_batch(&rows, &UInt32Array::from(picks)).map_err(asof_engine::Error::from)?;
            let bytes = part.get_array_memory_size();
            if self.partitions.len() == PARTITIONS_MAX && !self.partitions.contains_key(&values) {
                return Err(Error::failed(format!(
                    "there are more than {PARTITIONS_MAX} partitions: part by columns of fewer values"
                )));
            }
            let held = self.partitions.entry(values).or_default();
            held.batches.push(part);
            held.bytes += bytes;
            self.bytes += bytes;
        }
        while self.bytes > self.memory_bytes {
            self.spill(spool)?;
        }
        Ok(())
    }

    /// Writes the rows of the largest partition to a file.
    fn spill(&mut self, spool: &Path) -> Result<()> {
        let Some(held) = self.partitions.values_mut().max_by_key(|held| held.bytes) else { return Ok(()) };
        let path = spool.join(self.segments.to_string());
        self.segments += 1;
        let batches = std::mem::take(&mut held.batches);
        if let Some(first) = batches.first() {
            let file = BufWriter::new(File::create_new(&path)?);
            let mut writer =
                StreamWriter::try_new(file, &first.schema()).map_err(asof_engine::Error::from)?;
            for rows in &batches {
                writer.write(rows).map_err(asof_engine::Error::from)?;
            }
            writer
                .into_inner()
                .map_err(asof_engine::Error::from)?
                .into_inner()
                .map_err(|e| e.into_error())?;
            held.segments.push(path);
        }
        self.bytes -= held.bytes;
        held.bytes = 0;
        Ok(())
    }

    /// All partitions, by their values. Files are read when their rows are.
    pub fn partitions(self, _spool: &Path) -> Result<Vec<Partition>> {
        let Partitioner { schema, by, others, partitions, .. } = self;
        let mut rest = TableSchema::of(
            others.iter().map(|index| schema.columns[*index].clone()).collect(),
            schema.key.clone(),
        );
        if !rest.key.iter().all(|id| rest.column(*id).is_some()) {
            rest.key.clear();
        }
        let mut found: Vec<(Values, Held)> = partitions.into_iter().collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let mut all: Vec<Partition> = Vec::with_capacity(found.len());
        for (values, held) in found {
            let names = by.iter().map(|index| schema.columns[*index].name.clone());
            let values: Vec<(String, Option<String>)> = names.zip(values).collect();
            let parts = values.iter().map(|(name, value)| {
                let value = value.as_deref().filter(|value| !value.is_empty());
                format!("{}={}", escape(name), value.map_or(DEFAULT.to_string(), escape))
            });
            let path = parts.collect::<Vec<_>>().join("/");
            let segments = held.segments.into_iter().flat_map(segment);
            let rows: Box<dyn Iterator<Item = asof_engine::Result<RecordBatch>>> =
                Box::new(segments.chain(held.batches.into_iter().map(Ok)));
            match all.last_mut() {
                // NULL and the empty text have one directory, and NULL comes first.
                Some(last) if last.path == path => {
                    let before = std::mem::replace(&mut last.rows, Box::new(std::iter::empty()));
                    last.rows = Box::new(before.chain(rows));
                }
                _ => all.push(Partition { path, values, schema: rest.clone(), rows }),
            }
        }
        Ok(all)
    }
}

/// The rows of a file that was written before.
fn segment(path: PathBuf) -> Box<dyn Iterator<Item = asof_engine::Result<RecordBatch>>> {
    let open = || -> asof_engine::Result<_> {
        let failed = |error| asof_engine::Error::invalid(format!("{}: {error}", path.display()));
        let file = File::open(&path).map_err(failed)?;
        Ok(StreamReader::try_new(BufReader::new(file), None)?)
    };
    match open() {
        Ok(reader) => Box::new(reader.map(|rows| Ok(rows?))),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// A name of a column, or a value, as part of a path.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let special = c.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(c);
        match special {
            true => escaped.push_str(&format!("%{:02X}", c as u32)),
            false => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_engine::Column;
    use asof_engine::arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use asof_engine::arrow::datatypes::Int64Type;
    use std::sync::Arc;

    #[test]
    fn names_are_escaped_as_spark_escapes_them() {
        assert_eq!(escape("plain-1.5_ä b"), "plain-1.5_ä b");
        assert_eq!(escape("2025-08-26T10:00:00Z"), "2025-08-26T10%3A00%3A00Z");
        assert_eq!(escape("a/b\\c=d%"), "a%2Fb%5Cc%3Dd%25");
        assert_eq!(escape("\u{1}\n\u{7f}\"#'*?{[]^"), "%01%0A%7F%22%23%27%2A%3F%7B%5B%5D%5E");
        assert_eq!(escape("}~!@$&()+,;<>| `"), "}~!@$&()+,;<>| `");
    }

    #[test]
    fn rows_that_do_not_fit_in_memory_keep_their_order() {
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("of", ColumnType::Text)];
        let schema = TableSchema::new(columns, &["id"]).unwrap();
        let spool = tempfile::tempdir().unwrap();
        let mut partitioner = Partitioner::new(&schema, &["of".to_string()]).unwrap();
        partitioner.memory_bytes = 2_000;
        let names = [None, Some(""), Some("a"), Some("b")];
        for first in (0..1000).step_by(50) {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + 50));
            let of: ArrayRef =
                Arc::new(StringArray::from_iter((first..first + 50).map(|id| names[id as usize % 4])));
            let rows = RecordBatch::try_new(schema.to_arrow(), vec![ids, of]).unwrap();
            partitioner.add(spool.path(), &rows).unwrap();
        }
        assert!(partitioner.segments > 4);
        let partitions = partitioner.partitions(spool.path()).unwrap();
        let paths: Vec<&str> = partitions.iter().map(|partition| partition.path.as_str()).collect();
        assert_eq!(paths, ["of=__HIVE_DEFAULT_PARTITION__", "of=a", "of=b"]);
        for (partition, expected) in partitions.into_iter().zip([500, 250, 250]) {
            let ids: Vec<i64> = partition
                .rows
                .flat_map(|rows| rows.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            assert_eq!(ids.len(), expected);
            assert_eq!(
                ids.windows(2).filter(|pair| pair[0] >= pair[1]).count(),
                usize::from(expected == 500)
            );
        }
    }
}
