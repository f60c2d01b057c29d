//! Room in a slot: how long the pages of a leaf are at most, and how many values they have, of what is known of it
//! without a value being read. Invariant: what a slot is filled with has room there.

use super::encode::Encoded;
use super::group::Group;
use super::page::{
    HEADER_BYTES_MAX, PADDING_BYTES_MIN, bits_of, nested_bytes_max, packed_bytes_max, plain_bytes_max,
    value_bytes_max,
};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use parquet::basic::Type;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescPtr;

/// Room for a leaf of a column in a slot.
pub(super) struct Room {
    pub(super) leaf: ColumnDescPtr,
    pub(super) bytes: u64,
    /// Values, nulls and empty lists among them.
    pub(super) values: Count,
}

/// How many values a leaf has.
#[derive(Clone, Copy)]
pub(super) enum Count {
    PerRow(u64),
    AtMost(u64),
}

impl Room {
    /// Room for pages of so many bytes, and for what may have to follow them.
    pub(super) fn new(leaf: ColumnDescPtr, pages: u64, values: Count) -> Room {
        let bytes = pages.saturating_add(2 * PADDING_BYTES_MIN + HEADER_BYTES_MAX);
        Room { leaf, bytes, values }
    }

    /// Room for the values of a leaf of a nested column of which a row group's chunk tells how many it has, each row at least
    /// one; none where that is not known.
    pub(super) fn of_lists(leaf: ColumnDescPtr, source: &ColumnChunkMetaData, group: &Group) -> Option<Room> {
        let all = u64::try_from(source.num_values()).ok()?;
        let hidden = (group.rows() - group.rows_max) as u64;
        let entries = all.checked_sub(hidden)?;
        let histogram = source.definition_level_histogram();
        let valid = histogram
            .and_then(|levels| levels.get(usize::try_from(source.column_descr().max_def_level()).ok()?));
        let values =
            valid.and_then(|valid| u64::try_from(valid).ok()).map_or(entries, |valid| valid.min(entries));
        let pages = nested_bytes_max(&leaf, entries, values)?.checked_add(text_bytes_max(&leaf, source)?)?;
        let count = count_of(&leaf, entries);
        Some(Room::new(leaf, pages, count))
    }

    /// Room for these values, which are in no data file; none where there cannot be so much.
    pub(super) fn of_values(leaf: ColumnDescPtr, sums: LeafSums, data_type: &DataType) -> Option<Room> {
        let LeafSums { entries, text_bytes } = sums;
        let (bytes, values) = match data_type.is_nested() {
            true => (nested_bytes_max(&leaf, entries, entries)?, count_of(&leaf, entries)),
            false => (plain_bytes_max(&leaf, entries)?, Count::PerRow(1)),
        };
        Some(Room::new(leaf, bytes.checked_add(text_bytes)?, values))
    }

    /// Room for a default in at most so many rows, of which one is encoded already; nulls alone where so said.
    pub(super) fn of_default(leaf: ColumnDescPtr, one: &Encoded, rows: u64, all_null: bool) -> Room {
        let values = u64::try_from(one.chunk.num_values()).unwrap_or(0);
        let most = values.saturating_mul(rows);
        let bytes = default_bytes_max(&leaf, one, most, all_null);
        let values = if leaf.max_rep_level() == 0 { Count::PerRow(values) } else { Count::AtMost(most) };
        Room::new(leaf, bytes, values)
    }
}

/// How many values a leaf has, at most so many: without lists one for each row.
fn count_of(leaf: &ColumnDescPtr, entries: u64) -> Count {
    match leaf.max_rep_level() {
        0 => Count::PerRow(1),
        _ => Count::AtMost(entries),
    }
}

/// How long a chunk of so many values is at most that are again and again those of another one, nulls alone where so said.
/// Types that have no dictionary are of a fixed width.
fn default_bytes_max(leaf: &ColumnDescPtr, one: &Encoded, values: u64, all_null: bool) -> u64 {
    let distinct = u64::try_from(one.chunk.num_values()).unwrap_or(0);
    let packed = |bits: u64| packed_bytes_max(values, bits).unwrap_or(u64::MAX);
    let levels = [leaf.max_rep_level(), leaf.max_def_level()].map(|max| packed(bits_of(max as u64)));
    let indexes = match one.chunk.dictionary_page_offset() {
        _ if all_null => 0,
        Some(_) => packed(bits_of(distinct)),
        None => value_bytes_max(leaf, values).unwrap_or(u64::MAX),
    };
    levels.into_iter().chain([indexes]).fold(one.bytes.len() as u64, u64::saturating_add)
}

/// What is known of the values of a leaf without encoding them.
#[derive(Clone, Copy, Default)]
pub(super) struct LeafSums {
    /// Values, nulls and empty lists, at most.
    entries: u64,
    text_bytes: u64,
}

impl LeafSums {
    /// Those of each leaf of some arrays.
    pub(super) fn of(arrays: &[ArrayRef], leaves: usize) -> Vec<LeafSums> {
        let mut sums = vec![LeafSums::default(); leaves];
        arrays.iter().for_each(|array| add_leaves(array, array.len() as u64, &mut sums.iter_mut()));
        sums
    }
}

/// Adds what the leaves of an array have, which lies in as many nulls, empty lists and values.
fn add_leaves<'a>(array: &ArrayRef, entries: u64, sums: &mut impl Iterator<Item = &'a mut LeafSums>) {
    match array.data_type() {
        DataType::Struct(_) => {
            array.as_struct().columns().iter().for_each(|member| add_leaves(member, entries, sums));
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.offsets()[0] as usize, list.offsets()[list.len()] as usize);
            let elements = list.values().slice(first, last - first);
            add_leaves(&elements, entries + elements.len() as u64, sums);
        }
        _ => {
            if let Some(leaf) = sums.next() {
                leaf.entries += entries;
                leaf.text_bytes += text_bytes(array);
            }
        }
    }
}

/// How many bytes texts and binaries of a chunk take together; 0 of other types, none where that is not known.
pub(super) fn text_bytes_max(leaf: &ColumnDescPtr, chunk: &ColumnChunkMetaData) -> Option<u64> {
    match (leaf.physical_type(), chunk.column_type()) {
        (Type::BYTE_ARRAY, Type::BYTE_ARRAY) => u64::try_from(chunk.unencoded_byte_array_data_bytes()?).ok(),
        (Type::BYTE_ARRAY, _) => None,
        _ => Some(0),
    }
}

/// The same of an array.
fn text_bytes(array: &ArrayRef) -> u64 {
    let length = |offsets: &[i32]| (offsets[array.len()] - offsets[0]) as u64;
    match array.data_type() {
        DataType::Utf8 => length(array.as_string::<i32>().value_offsets()),
        DataType::Binary => length(array.as_binary::<i32>().value_offsets()),
        _ => 0,
    }
}
