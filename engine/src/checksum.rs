//! What a table holds, as one digest: the same on every machine, and after every checkpoint, compaction, restore and
//! recovery. `docs/checksums.md` fixes each byte that goes into it.
//!
//! Invariant: it depends on names, types, nullability and key of the columns, in their order, and on the rows as a
//! multiset; neither on numbers that a database gives (of tables, columns, hidden row ids) nor on the order of rows, nor
//! on how Arrow or a file lays them out.

mod canonical;

use crate::api::ScanOptions;
use crate::error::{Error, Result};
use crate::pool;
use crate::scan::parts::Part;
use crate::snapshot::Snapshot;
use arrow::array::RecordBatch;
use asof_mvcc::TableSchema;
use canonical::RowEncoder;
use std::collections::BTreeMap;

/// What the digest of a table begins with.
const TABLE_CONTEXT: &[u8] = b"asof table checksum 1";
/// What the digest of a database begins with.
const DATABASE_CONTEXT: &[u8] = b"asof database checksum 1";

/// The content of a table at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableChecksum {
    /// Of the schema, the number of rows, and the rows.
    pub digest: [u8; 32],
    /// How many rows there are.
    pub rows: u64,
}

/// The content of a database at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseChecksum {
    /// Of the names and digests of the tables.
    pub digest: [u8; 32],
    /// Each table, by name.
    pub tables: BTreeMap<String, TableChecksum>,
}

impl Snapshot {
    /// A digest of a table's schema and rows. All rows are read, on all threads.
    pub fn checksum(&self, table: &str) -> Result<TableChecksum> {
        let schema = self.schema(table)?;
        let parts = self.parts(table, ScanOptions { ordered: false, ..ScanOptions::default() })?;
        let threads = self.state().generation.open_files().threads;
        let mut rows = RowsSum::default();
        for part in pool::ahead(threads, parts.into_iter(), |part: Part| sum_of(&part)) {
            rows.add(&part??)?;
        }
        Ok(TableChecksum { digest: table_digest(&schema, &rows), rows: rows.count })
    }

    /// A digest of all tables.
    pub fn checksum_all(&self) -> Result<DatabaseChecksum> {
        self.check_all_tables()?;
        let names = self.table_names()?.into_iter();
        let tables = names.map(|name| self.checksum(&name).map(|checksum| (name, checksum)));
        Ok(DatabaseChecksum::of(tables.collect::<Result<_>>()?))
    }
}

impl DatabaseChecksum {
    /// That of these tables.
    pub fn of(tables: BTreeMap<String, TableChecksum>) -> DatabaseChecksum {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DATABASE_CONTEXT);
        put_length(&mut hasher, tables.len());
        for (name, table) in &tables {
            put_text(&mut hasher, name);
            hasher.update(&table.digest);
        }
        DatabaseChecksum { digest: *hasher.finalize().as_bytes(), tables }
    }
}

fn sum_of(part: &Part) -> Result<RowsSum> {
    let mut sum = RowsSum::default();
    part.read()?.try_for_each(|rows| sum.add_rows(&rows?))?;
    Ok(sum)
}

fn put_length(hasher: &mut blake3::Hasher, length: usize) {
    hasher.update(&(length as u64).to_le_bytes());
}

fn put_text(hasher: &mut blake3::Hasher, text: &str) {
    put_length(hasher, text.len());
    hasher.update(text.as_bytes());
}

fn table_digest(schema: &TableSchema, rows: &RowsSum) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(TABLE_CONTEXT);
    put_length(&mut hasher, schema.columns.len());
    for column in &schema.columns {
        put_text(&mut hasher, &column.name);
        put_text(&mut hasher, &column.column_type.to_string());
        hasher.update(&[u8::from(column.nullable)]);
    }
    let key = schema.key_indexes();
    put_length(&mut hasher, key.len());
    key.into_iter().for_each(|place| put_length(&mut hasher, place));
    hasher.update(&rows.count.to_le_bytes());
    for limb in rows.sum {
        hasher.update(&limb.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The sum of the digests of rows, as numbers of 256 bits, lowest limb first, without what goes beyond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RowsSum {
    sum: [u64; 4],
    count: u64,
}

/// The digest of each row: equal where rows are.
pub(crate) fn row_digests(rows: &RecordBatch) -> Result<impl ExactSizeIterator<Item = [u8; 32]>> {
    let encoder = RowEncoder::of(rows)?;
    let mut bytes = Vec::new();
    Ok((0..rows.num_rows()).map(move |row| {
        bytes.clear();
        encoder.put(row, &mut bytes);
        *blake3::hash(&bytes).as_bytes()
    }))
}

impl RowsSum {
    fn add_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        row_digests(rows)?.for_each(|digest| self.add_digest(&digest));
        self.add_count(rows.num_rows() as u64)
    }

    fn add_digest(&mut self, digest: &[u8; 32]) {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(digest.chunks_exact(8)) {
            *limb = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        self.add_limbs(limbs);
    }

    fn add_limbs(&mut self, limbs: [u64; 4]) {
        let mut carry = false;
        for (sum, limb) in self.sum.iter_mut().zip(limbs) {
            let (one, first) = sum.overflowing_add(limb);
            let (both, second) = one.overflowing_add(u64::from(carry));
            (*sum, carry) = (both, first || second);
        }
    }

    fn add_count(&mut self, count: u64) -> Result<()> {
        self.count =
            self.count.checked_add(count).ok_or_else(|| Error::corrupt("rows beyond all numbers"))?;
        Ok(())
    }

    fn add(&mut self, other: &RowsSum) -> Result<()> {
        self.add_limbs(other.sum);
        self.add_count(other.count)
    }
}

#[cfg(test)]
mod tests;
