//! Values of columns as chunks: flat ones by pages of our own where their type is known, all others by the library.

use super::super::parquet_file::in_milliseconds;
use super::page::{PageKind, append_plain, is_known};
use crate::adapt::default_array;
use crate::error::Result;
use crate::store::data_writer::parquet_error;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use asof_mvcc::Column;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::sync::Arc;

/// A column chunk as a file of its own had it.
pub(super) struct Encoded {
    pub(super) bytes: Bytes,
    pub(super) chunk: ColumnChunkMetaData,
}

/// Values of a column as one plain page for each leaf; nothing where there are none.
pub(super) fn encode(field: &Field, values: &[ArrayRef]) -> Result<Vec<Leaf>> {
    if values.iter().all(|array| array.is_empty()) {
        return Ok(Vec::new());
    }
    if is_known(field.data_type()) {
        let mut out = Vec::new();
        append_plain(values, PageKind::First, &mut out)?;
        let rows = values.iter().map(|array| array.len() as i64).sum();
        return Ok(vec![Leaf { bytes: out.into(), values: rows }]);
    }
    Ok(encode_leaves(field, values, false)?.into_iter().map(Leaf::from).collect())
}

/// Pages of a leaf.
pub(super) struct Leaf {
    pub(super) bytes: Bytes,
    /// Values, nulls and empty lists among them.
    pub(super) values: i64,
}

impl From<Encoded> for Leaf {
    fn from(Encoded { bytes, chunk }: Encoded) -> Leaf {
        Leaf { bytes, values: chunk.num_values() }
    }
}

/// A column's default in some rows, as chunks of one page each, a chunk for each leaf.
pub(super) fn encode_default(column: &Column, field: &Field, rows: usize) -> Result<Vec<Encoded>> {
    let values = in_milliseconds(&default_array(column, rows)?, field.data_type())?;
    encode_leaves(field, &[values], true)
}

/// Values of a column as chunks of one page each, a chunk for each leaf.
fn encode_leaves(field: &Field, values: &[ArrayRef], dictionary: bool) -> Result<Vec<Encoded>> {
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(dictionary)
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
        .set_write_batch_size(1 << 30)
        .set_data_page_size_limit(usize::MAX)
        .set_dictionary_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX)
        .build();
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let mut out = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut out, schema.clone(), Some(properties)).map_err(parquet_error)?;
    for array in values {
        let batch = RecordBatch::try_new(schema.clone(), vec![array.clone()])?;
        writer.write(&batch).map_err(parquet_error)?;
    }
    let metadata = writer.close().map_err(parquet_error)?;
    let out = Bytes::from(out);
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let encoded = chunks.map(|chunk| {
        let (start, length) = chunk.byte_range();
        Encoded { bytes: out.slice(start as usize..(start + length) as usize), chunk: chunk.clone() }
    });
    Ok(encoded.collect())
}
