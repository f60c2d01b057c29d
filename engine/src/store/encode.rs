//! Encodes one row group to Parquet column chunks: columns side by side on all cores, pages of all
//! columns broken at the same rows, and for each column the encoding that its values ask for.
//!
//! Dictionaries are decided before a row group is written, from a sample, and never given up within it:
//! giving one up would break a page in the middle.

use super::data_writer::parquet_error;
use crate::error::Result;
use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Rows of a page: a lookup decodes one of each column, and a page costs some hundred bytes in page index and footer.
pub const PAGE_ROWS: usize = 1_024;
/// Bytes of a column's page in memory, where rows are long.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of a dictionary: a lookup decodes all of it.
const DICTIONARY_BYTES: usize = 128 << 10;
/// Rows looked at to choose an encoding.
const SAMPLE_ROWS: usize = 4_096;
/// Row groups with fewer rows are encoded by one thread.
const PARALLEL_ROWS: usize = 16_384;

/// How hard zstd tries. Level 1 takes about half the time of level 3 for some percent more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For loads, where somebody waits; compaction writes most of it again some day.
    Quick,
    /// For what is written in the background.
    Thorough,
}

/// Properties that hold for the whole file.
pub fn file_properties(effort: Effort) -> WriterPropertiesBuilder {
    let level = match effort {
        Effort::Quick => 1,
        Effort::Thorough => 3,
    };
    WriterProperties::builder()
        .set_created_by("asof".to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level).expect("it is a level of zstd")))
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Page)
        // A page ends where a slice of this many rows does, and nowhere else.
        .set_write_batch_size(1 << 30)
        .set_data_page_size_limit(usize::MAX)
        .set_dictionary_page_size_limit(usize::MAX)
}

/// Bytes of an array's values, without what a slice leaves out.
pub fn array_bytes(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// An encoded row group.
pub struct EncodedGroup {
    /// The column chunks, leaf by leaf.
    pub chunks: Vec<ArrowColumnChunk>,
    /// Rows of each page but the last.
    pub page_rows: u32,
}

/// Encodes a row group of `rows` rows: for each column its pieces, in order. The values of the column `sorted` ascend.
pub fn encode_group(
    schema: &SchemaRef,
    root: &TypePtr,
    columns: &[Vec<ArrayRef>],
    rows: usize,
    sorted: Option<usize>,
    effort: Effort,
) -> Result<EncodedGroup> {
    let widest = columns.iter().map(|column| column.iter().map(array_bytes).sum::<usize>()).max();
    let row_bytes = (widest.unwrap_or(0) / rows.max(1)).max(1);
    let page_rows = (PAGE_BYTES / row_bytes).clamp(1, PAGE_ROWS);
    let mut properties = file_properties(effort).set_data_page_row_count_limit(page_rows);
    for (index, (field, column)) in schema.fields().iter().zip(columns).enumerate() {
        let dictionary = wants_dictionary(field, column, rows)?;
        for path in leaf_paths(root, index) {
            properties = properties.set_column_dictionary_enabled(path.clone(), dictionary);
            if !dictionary && sorted == Some(index) && is_delta_type(field.data_type()) {
                properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
        }
    }
    // Column writers take their properties from a file writer: one that writes nowhere has those of this group.
    let nowhere = SerializedFileWriter::new(std::io::sink(), root.clone(), Arc::new(properties.build()))
        .map_err(parquet_error)?;
    let factory = ArrowRowGroupWriterFactory::new(&nowhere, schema.clone());
    let mut leaves = factory.create_column_writers(0).map_err(parquet_error)?.into_iter();
    let jobs: Vec<(usize, Vec<ArrowColumnWriter>)> = (0..columns.len())
        .map(|index| (index, leaves.by_ref().take(leaf_paths(root, index).len()).collect()))
        .collect();
    let encode = |(index, writers): (usize, Vec<ArrowColumnWriter>)| {
        encode_column(schema.field(index), &columns[index], rows, page_rows, writers)
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get()).min(jobs.len());
    let chunks: Vec<Vec<ArrowColumnChunk>> = if threads < 2 || rows < PARALLEL_ROWS {
        jobs.into_iter().map(encode).collect::<Result<_>>()?
    } else {
        on_threads(threads, jobs, encode)?
    };
    Ok(EncodedGroup { chunks: chunks.into_iter().flatten().collect(), page_rows: page_rows as u32 })
}

/// Does all jobs on some threads, each taking the next one there is; results in the order of jobs.
fn on_threads<J: Send, T: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    type Slot<T> = parking_lot::Mutex<Option<T>>;
    let jobs: Vec<Slot<J>> = jobs.into_iter().map(|job| Slot::new(Some(job))).collect();
    let results: Vec<Slot<Result<T>>> = jobs.iter().map(|_| Slot::new(None)).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(slot) = jobs.get(index) else { return };
            let job = slot.lock().take().expect("each number is given once");
            *results[index].lock() = Some(work(job));
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(run)));
        run();
    });
    results.into_iter().map(|slot| slot.into_inner().expect("every job was done")).collect()
}

fn encode_column(
    field: &Field,
    pieces: &[ArrayRef],
    rows: usize,
    page_rows: usize,
    mut writers: Vec<ArrowColumnWriter>,
) -> Result<Vec<ArrowColumnChunk>> {
    let mut pieces = pieces.iter();
    let mut current = pieces.next().expect("a row group has rows").clone();
    let mut done = 0;
    while done < rows {
        let mut missing = page_rows.min(rows - done);
        done += missing;
        let mut parts: Vec<ArrayRef> = Vec::new();
        while missing > 0 {
            if current.is_empty() {
                current = pieces.next().expect("pieces have all rows").clone();
                continue;
            }
            let count = missing.min(current.len());
            parts.push(current.slice(0, count));
            current = current.slice(count, current.len() - count);
            missing -= count;
        }
        let page = match &parts[..] {
            [one] => one.clone(),
            more => concat(&more.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?,
        };
        let leaves = compute_leaves(field, &page).map_err(parquet_error)?;
        for (leaf, writer) in leaves.iter().zip(&mut writers) {
            writer.write(leaf).map_err(parquet_error)?;
        }
    }
    writers.into_iter().map(|writer| writer.close().map_err(parquet_error)).collect()
}

/// The leaves below one of the file's columns.
fn leaf_paths(root: &TypePtr, index: usize) -> Vec<ColumnPath> {
    fn walk(node: &TypePtr, path: &mut Vec<String>, out: &mut Vec<ColumnPath>) {
        path.push(node.name().to_string());
        if node.is_group() {
            node.get_fields().iter().for_each(|child| walk(child, path, out));
        } else {
            out.push(ColumnPath::new(path.clone()));
        }
        path.pop();
    }
    let mut out = Vec::new();
    walk(&root.get_fields()[index], &mut Vec::new(), &mut out);
    out
}

fn is_delta_type(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Int8 | Int16
            | Int32
            | Int64
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Date32
            | Time32(_)
            | Time64(_)
            | Timestamp(_, _)
    )
}

/// Whether a column's values repeat enough, and are few enough, for a dictionary.
fn wants_dictionary(field: &Field, column: &[ArrayRef], rows: usize) -> Result<bool> {
    if field.data_type().is_nested() || matches!(field.data_type(), DataType::Boolean) {
        return Ok(false);
    }
    let step = rows.div_ceil(SAMPLE_ROWS).max(1);
    let (mut first, mut parts) = (0, Vec::new());
    for piece in column {
        let picks = UInt32Array::from_iter_values((first..piece.len()).step_by(step).map(|row| row as u32));
        first = (first + picks.len() * step) - piece.len();
        parts.push(take(piece, &picks, None)?);
    }
    let sample = concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?;
    if sample.is_empty() {
        return Ok(false);
    }
    let bytes = array_bytes(&sample);
    let converter = RowConverter::new(vec![SortField::new(field.data_type().clone())])?;
    let converted = converter.convert_columns(std::slice::from_ref(&sample))?;
    let mut counts: HashMap<&[u8], u32> = HashMap::new();
    for row in &converted {
        *counts.entry(row.data()).or_default() += 1;
    }
    // Chao's estimate: how many values there are, from how many were met once and twice.
    let met = |times: u32| counts.values().filter(|count| **count == times).count() as f64;
    let (once, twice) = (met(1), met(2));
    let unseen = if step == 1 { 0.0 } else { once * once / (2.0 * twice.max(1.0)) };
    let distinct = counts.len() as f64 + unseen;
    let width = bytes as f64 / sample.len() as f64;
    let index_bits = distinct.max(2.0).log2().ceil();
    let (with, without) = (distinct * width + rows as f64 * index_bits / 8.0, rows as f64 * width);
    Ok(distinct * width <= DICTIONARY_BYTES as f64 && with < without * 0.7)
}
