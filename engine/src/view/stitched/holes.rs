//! Where a stitched file is nothing but zeros: what slots do not need.
//!
//! Invariants: a hole has no other byte than zeros (headers of padding are data); nothing is filled, decoded or read to
//! tell of one. Of a slot that is not filled only that is known which rows that might have been shown, and are not, would
//! have taken: its hole grows once it is filled, and never shrinks.

use super::footer::Rows;
use super::group::Group;
use super::page::{HEADER_BYTES_MAX, PADDING_BYTES_MIN};
use super::{Filling, Slot, Source, Stitched};
use parquet::basic::Type;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// What headers of padding take at most, and the page between them.
const PADDING_HEADERS_BYTES_MAX: u64 = 32;

impl Stitched {
    /// The first hole that ends behind an offset, as far as is known.
    pub(in crate::view) fn hole_behind(&self, offset: u64) -> Option<Range<u64>> {
        let value_bytes = self.value_bytes();
        self.parts.get(self.part_at(offset)..)?.iter().find_map(|part| match part.source {
            Source::Slot(slot) => {
                self.holes_of(&self.slots[slot], &value_bytes).into_iter().find(|hole| offset < hole.end)
            }
            _ => None,
        })
    }

    /// Bytes of holes that there are at least, as metadata alone tell.
    pub(in crate::view) fn hole_bytes_min(&self) -> u64 {
        // A slot has room for one header and two of padding more than its pages take at most.
        let spare = HEADER_BYTES_MAX + 2 * PADDING_BYTES_MIN - PADDING_HEADERS_BYTES_MAX;
        let value_bytes = self.value_bytes();
        let (mut spares, mut row_bytes) = (0, HashMap::new());
        for slot in &self.slots {
            if let Some(group) = slot.group() {
                spares += spare;
                *row_bytes.entry(Arc::as_ptr(group)).or_default() += value_bytes[slot.column];
            }
        }
        // Which row groups the rows are of that are not shown, though they might be, is not known.
        let rows_max = self.footer.groups.iter().map(|group| match &group.rows {
            Rows::Known(rows) => *rows as u64,
            Rows::Of(group) => group.rows_max as u64,
        });
        let hidden = rows_max.sum::<u64>().saturating_sub(self.footer.rows);
        let bytes_of = |group: Arc<Group>| row_bytes.get(&Arc::as_ptr(&group)).copied().unwrap_or(0);
        let row_bytes_min: u64 = self.footer.groups_to_choose().map(bytes_of).min().unwrap_or(0);
        spares + hidden * row_bytes_min
    }

    /// The holes of a slot, ascending.
    fn holes_of(&self, slot: &Slot, value_bytes: &[u64]) -> Vec<Range<u64>> {
        let end = slot.start + slot.bytes();
        let Some(content) = slot.content.get() else {
            let spared = self.bytes_spared(slot, value_bytes[slot.column]);
            let start = end - spared + PADDING_HEADERS_BYTES_MAX;
            return Some(start..end).filter(|hole| !hole.is_empty()).into_iter().collect();
        };
        let ends = content.written.iter().map(|written| slot.start + written.end);
        let starts = content.written.iter().map(|written| slot.start + written.start).skip(1).chain([end]);
        ends.zip(starts).map(|(start, end)| start..end).filter(|hole| !hole.is_empty()).collect()
    }

    /// How many bytes a slot that is not filled needs less than it has, at least: those of rows that might have been shown
    /// and are not, which is known once the footer is made.
    fn bytes_spared(&self, slot: &Slot, value_bytes: u64) -> u64 {
        let chosen = self.footer_bytes.get().and(slot.group()).and_then(|group| {
            let chosen = group.chosen().ok()?;
            Some(group.rows_max.saturating_sub(chosen.count) as u64)
        });
        chosen.map_or(0, |hidden| (hidden * value_bytes).min(slot.bytes()))
    }

    /// Bytes of a plain value of each column, at least, and of texts without the text; 0 where that is not known.
    fn value_bytes(&self) -> Vec<u64> {
        let descriptor = &self.footer.descriptor;
        let mut leaves = vec![0; self.columns.len()];
        let mut bytes = vec![0; self.columns.len()];
        for leaf in 0..descriptor.num_columns() {
            let column = descriptor.get_column_root_idx(leaf);
            let leaf = descriptor.column(leaf);
            leaves[column] += 1;
            bytes[column] = match leaf.physical_type() {
                // Of lists and structs, rows that are not shown may have taken nothing.
                _ if leaves[column] > 1 || leaf.max_rep_level() > 0 || leaf.max_def_level() > 1 => 0,
                Type::BOOLEAN => 0,
                Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
                Type::INT64 | Type::DOUBLE => 8,
                Type::INT96 => 12,
                Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(leaf.type_length()).unwrap_or(0),
            };
        }
        bytes
    }
}

impl Slot {
    /// The row group of whose rows it has plain values.
    fn group(&self) -> Option<&Arc<Group>> {
        match &self.filling {
            Filling::Values(group) | Filling::Pages(group, _) => Some(group),
            Filling::Default(_) | Filling::Rows(_) => None,
        }
    }
}
