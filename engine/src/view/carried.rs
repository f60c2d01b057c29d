//! Lengths of a file's sections carried over from another version of its table: only what came and went between the two
//! is read.
//!
//! It refuses what changed more than half of the rows: counting these anew takes no longer.

use super::Format;
use super::restart_points::RestartPoint;
use crate::copies::touched_row_versions;
use crate::error::Result;
use crate::gone::is_readable;
use crate::scan::Life;
use crate::state::State;
use crate::text::{cell_bytes_of_rows, file_size_csv, file_size_jsonl, header_bytes};
use asof_mvcc::{KeyBytes, Table, TableSchema, Version};
use std::collections::BTreeMap;

/// Another version of a file, of whose sections at least some are known.
pub(super) struct Base {
    pub(super) changed: Version,
    pub(super) points: Vec<RestartPoint>,
}

/// Bytes of lines without those of their header, from their number and the bytes of their cells.
pub(super) fn line_bytes(format: Format, schema: &TableSchema, rows: u64, (csv, json): (u64, u64)) -> u64 {
    match format {
        Format::Csv => file_size_csv(schema, rows, &[csv]) - header_bytes(schema),
        _ => file_size_jsonl(schema, rows, &[json]),
    }
}

impl Base {
    /// The lengths of sections that begin at the same keys, at another version, as far as they were known; none where too
    /// much changed. The last section's is that up to the end of the table.
    pub(super) fn lengths_at(
        &self,
        (state, table, version): (&State, &Table, Version),
        format: Format,
        rows_max: u64,
    ) -> Result<Option<Vec<Option<u64>>>> {
        let schema = table.schema_at(version);
        let (after, up_to) = (self.changed.min(version), self.changed.max(version));
        // Rows that only versions which are gone showed may be there no more.
        if up_to > state.published() || !is_readable(&state.generation, table, self.changed) {
            return Ok(None);
        }
        let lows: Vec<&KeyBytes> = self.points.iter().map(|point| &point.low).collect();
        let mut changes = vec![0i64; lows.len()];
        let mut read = 0;
        let life = Life::AliveAtOneOf { after, up_to };
        for chunk in touched_row_versions(state, table, &schema.columns, life)? {
            let chunk = chunk?;
            read += chunk.len() as u64;
            if read > rows_max {
                return Ok(None);
            }
            // Rows of each section that came, and that went.
            let mut rows_of: BTreeMap<(usize, bool), Vec<u32>> = BTreeMap::new();
            for row in 0..chunk.len() {
                let is_alive = |at: Version| chunk.begins[row] <= at && at < chunk.ends[row];
                let (before, now) = (is_alive(self.changed), is_alive(version));
                if before != now {
                    let key = chunk.keys.get(row);
                    let section = lows.partition_point(|low| low[..] <= *key) - 1;
                    rows_of.entry((section, now)).or_default().push(row as u32);
                }
            }
            for ((section, came), rows) in rows_of {
                let mut cells = (0, 0);
                for (column, array) in schema.columns.iter().zip(chunk.rows.columns()) {
                    let one_column = schema.columns.len() == 1;
                    let (csv, json) = cell_bytes_of_rows(column, array, one_column, &rows);
                    cells = (cells.0 + csv, cells.1 + json);
                }
                let bytes = line_bytes(format, schema, rows.len() as u64, cells) as i64;
                changes[section] += if came { bytes } else { -bytes };
            }
        }
        let lengths = self.points.iter().zip(changes);
        Ok(Some(lengths.map(|(point, change)| point.length?.checked_add_signed(change)).collect()))
    }
}
