//! Rows parted by the values of some columns, as Hive and Spark lay them out: `country=DE/year=2025`.
//!
//! Invariants. Names are escaped as Spark escapes them (`ExternalCatalogUtils.escapePathName`); NULL, the empty text and
//! the text `__HIVE_DEFAULT_PARTITION__` are one partition of that name. Rows of a partition keep their order. What does
//! not fit in memory waits in one file: each time all that is held goes there, by partition.

use crate::{Error, Result};
use asof_engine::arrow::array::{RecordBatch, UInt32Array};
use asof_engine::arrow::compute::{concat_batches, take_record_batch};
use asof_engine::arrow::ipc::reader::FileReader;
use asof_engine::arrow::ipc::writer::FileWriter;
use asof_engine::{ColumnType, TableSchema, text};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bytes of rows in memory, at most.
const MEMORY_BYTES: usize = 64 << 20;
/// Partitions of a table, at most.
const PARTITIONS_MAX: usize = 100_000;
/// Stands for a value that cannot be a name.
const DEFAULT: &str = "__HIVE_DEFAULT_PARTITION__";

/// The texts of a partition's values; `None` for the default partition.
type Values = Vec<Option<String>>;

/// Rows of a table while they are parted.
pub struct Partitioner {
    schema: TableSchema,
    by: Vec<usize>,
    others: Vec<usize>,
    partitions: BTreeMap<Values, Held>,
    bytes: usize,
    memory_bytes: usize,
    waiting: Option<Waiting>,
}

/// Rows of a partition.
#[derive(Default)]
struct Held {
    /// Which batches of the file hold the first rows.
    waiting: Vec<usize>,
    /// Rows behind those.
    batches: Vec<RecordBatch>,
}

/// The file of rows that wait.
struct Waiting {
    path: PathBuf,
    writer: FileWriter<BufWriter<File>>,
    batches: usize,
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
        let (partitions, memory_bytes) = (BTreeMap::new(), MEMORY_BYTES);
        Ok(Partitioner { schema, by, others, partitions, bytes: 0, memory_bytes, waiting: None })
    }

    /// Takes rows; those that do not fit in memory wait in a directory.
    pub fn add(&mut self, spool: &Path, rows: &RecordBatch) -> Result<()> {
        let mut of: BTreeMap<Values, Vec<u32>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let value = |index: &usize| {
                let column = &self.schema.columns[*index];
                let value = text::format_cell(&column.column_type, rows.column(*index), row);
                value.filter(|value| !value.is_empty() && value != DEFAULT)
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
            self.partitions.entry(values).or_default().batches.push(part);
            self.bytes += bytes;
        }
        if self.bytes > self.memory_bytes {
            self.spill(spool)?;
        }
        Ok(())
    }

    /// Lets all rows that are in memory wait in the file.
    fn spill(&mut self, spool: &Path) -> Result<()> {
        for held in self.partitions.values_mut() {
            let batches = std::mem::take(&mut held.batches);
            let Some(first) = batches.first() else { continue };
            let rows = concat_batches(&first.schema(), &batches).map_err(asof_engine::Error::from)?;
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                waiting => waiting.insert(Waiting::new(spool.join("partitions"), &rows)?),
            };
            waiting.writer.write(&rows).map_err(asof_engine::Error::from)?;
            held.waiting.push(waiting.batches);
            waiting.batches += 1;
        }
        self.bytes = 0;
        Ok(())
    }

    /// All partitions, by their values. What waits is read when it is asked for.
    pub fn partitions(self) -> Result<Vec<Partition>> {
        let Partitioner { schema, by, others, partitions, waiting, .. } = self;
        let reader = waiting.map(Waiting::read).transpose()?.map(|reader| Rc::new(RefCell::new(reader)));
        let mut rest = TableSchema::of(
            others.iter().map(|index| schema.columns[*index].clone()).collect(),
            schema.key.clone(),
        );
        if !rest.key.iter().all(|id| rest.column(*id).is_some()) {
            rest.key.clear();
        }
        let all = partitions.into_iter().map(|(values, held)| {
            let names = by.iter().map(|index| schema.columns[*index].name.clone());
            let values: Vec<(String, Option<String>)> = names.zip(values).collect();
            let parts = values.iter().map(|(name, value)| {
                format!("{}={}", escape(name), value.as_deref().map_or(DEFAULT.to_string(), escape))
            });
            let path = parts.collect::<Vec<_>>().join("/");
            let reader = reader.clone();
            let waiting = held.waiting.into_iter().zip(std::iter::repeat(reader));
            let waiting = waiting.filter_map(|(batch, reader)| Some(batch_of(&*reader?, batch)));
            Partition {
                path,
                values,
                schema: rest.clone(),
                rows: Box::new(waiting.chain(held.batches.into_iter().map(Ok))),
            }
        });
        Ok(all.collect())
    }
}

/// Reads rows that waited.
type Reader = FileReader<BufReader<File>>;

impl Waiting {
    /// A new file for such rows.
    fn new(path: PathBuf, rows: &RecordBatch) -> Result<Waiting> {
        let file = BufWriter::new(File::create_new(&path)?);
        let writer = FileWriter::try_new(file, &rows.schema()).map_err(asof_engine::Error::from)?;
        Ok(Waiting { path, writer, batches: 0 })
    }

    fn read(mut self) -> Result<Reader> {
        self.writer.finish().map_err(asof_engine::Error::from)?;
        let file = self.writer.into_inner().map_err(asof_engine::Error::from)?;
        drop(file.into_inner().map_err(|error| error.into_error())?);
        let file = BufReader::new(File::open(&self.path)?);
        Ok(FileReader::try_new(file, None).map_err(asof_engine::Error::from)?)
    }
}

/// A batch of the file.
fn batch_of(reader: &RefCell<Reader>, batch: usize) -> asof_engine::Result<RecordBatch> {
    let mut reader = reader.borrow_mut();
    reader.set_index(batch)?;
    let rows = reader.next().ok_or_else(|| asof_engine::Error::invalid("rows that waited are not there"))?;
    Ok(rows?)
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
        let names = [None, Some(""), Some("a"), Some("b"), Some(DEFAULT)];
        for first in (0..1000).step_by(50) {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + 50));
            let of: ArrayRef =
                Arc::new(StringArray::from_iter((first..first + 50).map(|id| names[id as usize % 5])));
            let rows = RecordBatch::try_new(schema.to_arrow(), vec![ids, of]).unwrap();
            partitioner.add(spool.path(), &rows).unwrap();
        }
        assert!(partitioner.waiting.as_ref().is_some_and(|waiting| waiting.batches > 4));
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 1);
        let partitions = partitioner.partitions().unwrap();
        let paths: Vec<&str> = partitions.iter().map(|partition| partition.path.as_str()).collect();
        assert_eq!(paths, ["of=__HIVE_DEFAULT_PARTITION__", "of=a", "of=b"]);
        for (partition, expected) in partitions.into_iter().zip([600, 200, 200]) {
            let ids: Vec<i64> = partition
                .rows
                .flat_map(|rows| rows.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            assert_eq!(ids.len(), expected);
            assert!(ids.is_sorted());
        }
    }

    #[test]
    fn values_that_cannot_be_names_are_one_partition_with_each_value_beside_them() {
        let columns = ["id", "a", "b"].map(|name| Column::new(name, ColumnType::Text)).to_vec();
        let schema = TableSchema::new(columns, &["id"]).unwrap();
        let spool = tempfile::tempdir().unwrap();
        let mut partitioner = Partitioner::new(&schema, &["a".to_string(), "b".to_string()]).unwrap();
        let text = |texts: [Option<&str>; 5]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        let arrays = vec![
            text([Some("1"), Some("2"), Some("3"), Some("4"), Some("5")]),
            text([None, Some(""), None, Some(""), Some(DEFAULT)]),
            text([Some("x"), Some("x"), Some("y"), Some("y"), Some("x")]),
        ];
        let rows = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
        partitioner.add(spool.path(), &rows).unwrap();
        let partitions = partitioner.partitions().unwrap().into_iter();
        let found: Vec<(String, usize)> = partitions
            .map(|partition| (partition.path, partition.rows.map(|rows| rows.unwrap().num_rows()).sum()))
            .collect();
        let path = |b: &str| format!("a={DEFAULT}/b={b}");
        assert_eq!(found, [(path("x"), 3), (path("y"), 2)]);
    }
}
