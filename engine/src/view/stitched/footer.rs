//! The footer of a stitched file: its length told by metadata, its bytes once it is known how many rows are shown.
//!
//! Counts are written in as few bytes as they take, so a footer of fewer rows than there may be is shorter; a remark
//! of spaces fills it up.

use super::group::Group;
use crate::error::{Error, Result};
use crate::store::data_writer::parquet_error;
use arrow::datatypes::SchemaRef;
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::SchemaDescPtr;
use std::sync::Arc;

/// The remark that fills a footer up.
const FILLER_KEY: &str = "asof.filler";
/// Spaces of the filler where all rows are shown that may be: as many as let every length be reached.
const FILLER_BYTES: usize = 16;

/// A row group of the file.
pub(super) struct FileGroup {
    pub(super) rows: Rows,
    pub(super) chunks: Vec<FileChunk>,
}

/// A column chunk of the file.
pub(super) struct FileChunk {
    pub(super) metadata: ColumnChunkMetaData,
    pub(super) values: Values,
}

/// How many values a chunk has, nulls and empty lists among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// As many as its metadata say.
    Told,
    /// So many for each row.
    PerRow(u64),
    /// What a leaf of a slot is filled with, at most as many and as long as the metadata say: lists hold as many as they
    /// will. Nothing of it is padding: there are readers (arrow-rs 59) that look for the end of the last list behind the
    /// last value, and do not skip padding there.
    Filled { slot: usize, leaf: usize },
}

/// Rows of a row group of the file.
pub(super) enum Rows {
    /// So many.
    Known(usize),
    /// Those that are shown of a row group of a data file.
    Of(Arc<Group>),
}

impl Rows {
    fn max(&self) -> usize {
        match self {
            Rows::Known(rows) => *rows,
            Rows::Of(group) => group.rows_max,
        }
    }

    fn count(&self) -> Result<usize> {
        match self {
            Rows::Known(rows) => Ok(*rows),
            Rows::Of(group) => Ok(group.chosen()?.count),
        }
    }
}

/// What a leaf of a slot was filled with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pages {
    /// Values, nulls and empty lists among them.
    pub(super) values: i64,
    pub(super) bytes: i64,
}

/// Tells what a leaf of a slot was filled with.
pub(super) type PagesOf<'a> = dyn Fn(usize, usize) -> Result<Pages> + 'a;

/// What a footer is made of.
pub(super) struct Footer {
    pub(super) groups: Vec<FileGroup>,
    pub(super) descriptor: SchemaDescPtr,
    pub(super) schema: SchemaRef,
    /// Rows of the file.
    pub(super) rows: u64,
    /// How a table and version are called where they do not fit.
    pub(super) what: String,
}

impl Footer {
    /// Row groups of which it is to be found out which rows are shown.
    pub(super) fn groups_to_choose(&self) -> impl Iterator<Item = Arc<Group>> + '_ {
        self.groups.iter().filter_map(|group| match &group.rows {
            Rows::Of(group) => Some(group.clone()),
            Rows::Known(_) => None,
        })
    }

    /// Slots that have to be filled to know how many values they have, and how long.
    pub(super) fn slots_to_fill(&self) -> Vec<usize> {
        let chunks = self.groups.iter().flat_map(|group| &group.chunks);
        let mut slots: Vec<usize> = chunks
            .filter_map(|chunk| match chunk.values {
                Values::Filled { slot, .. } => Some(slot),
                _ => None,
            })
            .collect();
        slots.dedup();
        slots
    }

    /// How long it is.
    pub(super) fn length(&self) -> Result<usize> {
        Ok(self.encode(|rows| Ok(rows.max()), None, FILLER_BYTES, "")?.len())
    }

    /// Its bytes, so many. Every row group is asked which rows are shown, and `filled` about leaves of slots.
    pub(super) fn bytes(&self, length: usize, filled: &PagesOf<'_>) -> Result<Vec<u8>> {
        let found = self.groups.iter().map(|group| group.rows.count()).sum::<Result<usize>>()?;
        if found as u64 != self.rows {
            return Err(Error::corrupt(format!(
                "{} has {found} rows where {} were expected; run 'asof verify'",
                self.what, self.rows
            )));
        }
        let without = self.encode(Rows::count, Some(filled), 0, "")?.len();
        let wrong =
            || Error::corrupt("a footer does not have the length it was told to have; this is a bug in asof");
        let (spaces, suffix) = length.checked_sub(without).and_then(filler).ok_or_else(wrong)?;
        let bytes = self.encode(Rows::count, Some(filled), spaces, suffix)?;
        if bytes.len() == length { Ok(bytes) } else { Err(wrong()) }
    }

    fn encode(
        &self,
        count: impl Fn(&Rows) -> Result<usize>,
        filled: Option<&PagesOf<'_>>,
        filler_bytes: usize,
        key_suffix: &str,
    ) -> Result<Vec<u8>> {
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut rows_of_file = 0;
        for group in &self.groups {
            let rows = count(&group.rows)?;
            if rows == 0 {
                continue;
            }
            rows_of_file += rows;
            groups.push(self.row_group(group, rows, filled, groups.len())?);
        }
        let mut properties = WriterProperties::builder().build();
        add_encoded_arrow_schema_to_metadata(&self.schema, &mut properties);
        let mut remarks = properties.key_value_metadata().cloned().unwrap_or_default();
        remarks.push(KeyValue::new(format!("{FILLER_KEY}{key_suffix}"), " ".repeat(filler_bytes)));
        let (by, descriptor) = (Some("asof".to_string()), self.descriptor.clone());
        let file = FileMetaData::new(1, rows_of_file as i64, by, Some(remarks), descriptor, None);
        let mut footer = Vec::new();
        let metadata = ParquetMetaData::new(file, groups);
        ParquetMetaDataWriter::new(&mut footer, &metadata).finish().map_err(parquet_error)?;
        Ok(footer)
    }

    fn row_group(
        &self,
        group: &FileGroup,
        rows: usize,
        filled: Option<&PagesOf<'_>>,
        place: usize,
    ) -> Result<RowGroupMetaData> {
        let with_values = |FileChunk { metadata, values }: &FileChunk| {
            let chunk = metadata.clone().into_builder();
            let chunk = match (*values, filled) {
                (Values::PerRow(values), _) => {
                    chunk.set_num_values((rows as u64).saturating_mul(values) as i64)
                }
                (Values::Filled { slot, leaf }, Some(filled)) => {
                    let Pages { values, bytes } = filled(slot, leaf)?;
                    let chunk = chunk.set_total_compressed_size(bytes).set_total_uncompressed_size(bytes);
                    chunk.set_num_values(values)
                }
                _ => return Ok(metadata.clone()),
            };
            chunk.build().map_err(parquet_error)
        };
        let chunks = group.chunks.iter().map(with_values).collect::<Result<Vec<_>>>()?;
        let bytes = chunks.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
        let first = chunks.first().map(|chunk| chunk.byte_range().0 as i64);
        let mut metadata = RowGroupMetaData::builder(self.descriptor.clone())
            .set_num_rows(rows as i64)
            .set_total_byte_size(bytes)
            .set_column_metadata(chunks);
        if let Some(first) = first {
            metadata = metadata.set_file_offset(first);
        }
        if let Ok(ordinal) = i16::try_from(place) {
            metadata = metadata.set_ordinal(ordinal);
        }
        metadata.build().map_err(parquet_error)
    }
}

/// Spaces, and what the key has behind it, of a filler that takes so many bytes more than an empty one.
fn filler(room: usize) -> Option<(usize, &'static str)> {
    // Seven bits of a length are a byte of it.
    let length_bytes = |spaces: usize| (spaces.max(1).ilog2() / 7 + 1) as usize;
    // A longer number takes the room that it tells of: then a longer key makes up for it.
    ["", "."].into_iter().find_map(|suffix| {
        let left = room.checked_sub(suffix.len())?;
        let mut possible = left.saturating_sub(length_bytes(left))..=left;
        let spaces = possible.find(|spaces| spaces + length_bytes(*spaces) - 1 == left)?;
        Some((spaces, suffix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filler_takes_any_room() {
        let taken = |spaces: usize, key: usize| {
            let mut metadata = Vec::new();
            let schema =
                parquet::schema::types::Type::group_type_builder("schema").build().expect("a schema");
            let descriptor = Arc::new(parquet::schema::types::SchemaDescriptor::new(Arc::new(schema)));
            let remark = KeyValue::new(format!("{FILLER_KEY}{}", ".".repeat(key)), " ".repeat(spaces));
            let file = FileMetaData::new(1, 0, None, Some(vec![remark]), descriptor, None);
            let file = ParquetMetaData::new(file, Vec::new());
            ParquetMetaDataWriter::new(&mut metadata, &file).finish().expect("it is written");
            metadata.len()
        };
        let empty = taken(0, 0);
        for room in (0..400).chain(16_300..16_500).chain(2_097_100..2_097_200) {
            let (spaces, suffix) = filler(room).unwrap_or_else(|| panic!("{room}"));
            assert_eq!(taken(spaces, suffix.len()) - empty, room);
        }
    }
}
