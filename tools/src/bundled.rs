//! Two real tables with their published history, compiled into the binary: what the demo shows and the tests check.
//!
//! The archives hold every version whole (254 MB unpacked) and are read as streams, one version in memory at a time.
//! [`versions`] gives the versions of both tables in the order of their real times, [`load`] commits them. See `data/`
//! in the repository for what they are and under which licences.

use crate::input::bad_rows::BadRows;
use crate::input::csv::{CsvOptions, CsvReader};
use crate::input::format::InputFormat;
use crate::input::load::{LoadOptions, Mode, load as load_inputs};
use crate::input::reader::{Input, InputOptions};
use crate::input::source::Source;
use crate::input::types::Types;
use asof_engine::{ColumnType, CommitOptions, CommitTime, Database, Error, Result};
use std::io::{Cursor, Read};

/// One table's history.
struct DataSet {
    table: &'static str,
    key: &'static str,
    author: &'static str,
    /// Columns that are not text.
    types: &'static [(&'static str, ColumnType)],
    manifest: &'static [u8],
    archive: &'static [u8],
}

const DATA_SETS: [DataSet; 2] = [
    DataSet {
        table: "airport_frequencies",
        key: "id",
        author: "OurAirports",
        types: &[
            ("id", ColumnType::Int64),
            ("airport_ref", ColumnType::Int64),
            ("frequency_mhz", ColumnType::Float64),
        ],
        manifest: include_bytes!("../../data/airport_frequencies/manifest.csv"),
        archive: include_bytes!("../../data/airport_frequencies/snapshots.tar.zst"),
    },
    DataSet {
        table: "sp500",
        key: "Symbol",
        author: "S&P 500 Companies (datahub.io)",
        // Text as published: years read `2013 (1888)` and register numbers have leading zeros in some versions.
        types: &[],
        manifest: include_bytes!("../../data/sp500/manifest.csv"),
        archive: include_bytes!("../../data/sp500/snapshots.tar.zst"),
    },
];

/// A published version of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct BundledVersion {
    /// The table.
    pub table: &'static str,
    /// Its number within the table's history, from 1.
    pub number: u32,
    /// When it was published: the commit time.
    pub time: CommitTime,
    /// The same as RFC 3339.
    pub timestamp: String,
    /// Why it was published.
    pub message: String,
    /// Who published it.
    pub author: &'static str,
    /// The table's key column.
    pub key: &'static str,
    /// The table as it was published.
    pub csv: Vec<u8>,
    /// Its rows.
    pub rows: u64,
    /// Rows that the version before did not have.
    pub inserted: u64,
    /// Rows that the version before had with other values.
    pub updated: u64,
    /// Rows that only the version before had.
    pub deleted: u64,
    /// The types of its columns.
    pub types: Types,
}

/// How many versions there are.
pub fn version_count() -> Result<usize> {
    DATA_SETS.iter().map(|data_set| Ok(data_set.manifest_lines()?.len())).sum()
}

/// All versions of all tables in the order of their times.
pub fn versions() -> Result<impl Iterator<Item = Result<BundledVersion>>> {
    let histories = DATA_SETS.iter().map(History::open).collect::<Result<Vec<_>>>()?;
    Ok(Interleaved { histories })
}

/// Commits all versions at the times they were published, 415 commits; those that an earlier call committed are left
/// alone. `progress` is told how many are done, and of how many.
pub fn load(database: &Database, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let count = version_count()?;
    for (index, version) in versions()?.enumerate() {
        progress(index, count);
        let version = version?;
        let id = format!("bundled:{}:{}", version.table, version.number);
        if database.commit_with_client_id(&id)?.is_none() {
            commit(database, version, id)?;
        }
    }
    progress(count, count);
    Ok(())
}

fn commit(database: &Database, version: BundledVersion, id: String) -> Result<()> {
    let name = format!("{}/v{:04}.csv", version.table, version.number);
    let options = InputOptions { format: Some(InputFormat::Csv), ..InputOptions::default() };
    let input = Input::new(Source::memory(name.clone(), version.csv), options)?;
    let options = LoadOptions {
        mode: Some(Mode::Replace),
        key: Some(vec![version.key.to_string()]),
        types: version.types,
        ..LoadOptions::default()
    };
    let mut transaction = database.begin()?;
    load_inputs(&mut transaction, version.table, &[input], &options, &mut BadRows::fail())?;
    let parameters = [("table", version.table), ("mode", "replace"), ("file", name.as_str())];
    transaction.commit(CommitOptions {
        operation: Some("import-history".to_string()),
        parameters: parameters.map(|(name, value)| (name.to_string(), value.to_string())).into(),
        message: Some(version.message),
        author: Some(version.author.to_string()),
        client_id: Some(id),
        time: Some(version.time),
        ..CommitOptions::default()
    })?;
    Ok(())
}

/// A line of a manifest.
struct ManifestLine {
    number: u32,
    timestamp: String,
    time: CommitTime,
    message: String,
    rows: u64,
    bytes: u64,
    inserted: u64,
    updated: u64,
    deleted: u64,
}

impl DataSet {
    fn types(&self) -> Types {
        let named = self.types.iter().map(|(name, column_type)| (name.to_string(), column_type.clone()));
        Types { all_text: true, named: named.collect() }
    }

    fn manifest_lines(&self) -> Result<Vec<ManifestLine>> {
        let name = format!("{}/manifest.csv", self.table);
        let mut reader = CsvReader::new(&name, Box::new(Cursor::new(self.manifest)), CsvOptions::default())?;
        let columns: Vec<String> = reader.columns().to_vec();
        let mut lines = Vec::new();
        while let Some(cells) = reader.next_cells(&mut |row| Err(row.to_error(&name)))? {
            for row in 0..cells.rows() {
                let text = |column: &str| {
                    let index = columns.iter().position(|name| name == column);
                    index.and_then(|index| cells.get(row, index)).unwrap_or_default()
                };
                let number = |column: &str| {
                    text(column).parse::<u64>().map_err(|_| {
                        Error::corrupt(format!("{name}: {}: '{column}' is no number", cells.place(row)))
                    })
                };
                let time: jiff::Timestamp = text("timestamp")
                    .parse()
                    .map_err(|error| Error::corrupt(format!("{name}: {}: {error}", cells.place(row))))?;
                lines.push(ManifestLine {
                    number: lines.len() as u32 + 1,
                    timestamp: text("timestamp").to_string(),
                    time: CommitTime(time.as_microsecond()),
                    message: text("message").to_string(),
                    rows: number("rows")?,
                    bytes: number("bytes")?,
                    inserted: number("inserted")?,
                    updated: number("updated")?,
                    deleted: number("deleted")?,
                });
            }
        }
        Ok(lines)
    }
}

/// The versions of one table that are still to come.
struct History {
    data_set: &'static DataSet,
    lines: std::iter::Peekable<std::vec::IntoIter<ManifestLine>>,
    archive: Box<dyn Read>,
}

impl History {
    fn open(data_set: &'static DataSet) -> Result<History> {
        let archive = zstd::stream::read::Decoder::new(Cursor::new(data_set.archive))?;
        Ok(History {
            data_set,
            lines: data_set.manifest_lines()?.into_iter().peekable(),
            archive: Box::new(archive),
        })
    }

    fn next_time(&mut self) -> Option<CommitTime> {
        self.lines.peek().map(|line| line.time)
    }

    fn next(&mut self) -> Option<Result<BundledVersion>> {
        let line = self.lines.next()?;
        let csv = match next_file(&mut self.archive, &format!("v{:04}.csv", line.number), line.bytes) {
            Ok(csv) => csv,
            Err(error) => {
                return Some(Err(error.at(format_args!("{}/snapshots.tar.zst", self.data_set.table))));
            }
        };
        Some(Ok(BundledVersion {
            table: self.data_set.table,
            number: line.number,
            time: line.time,
            timestamp: line.timestamp,
            message: line.message,
            author: self.data_set.author,
            key: self.data_set.key,
            csv,
            rows: line.rows,
            inserted: line.inserted,
            updated: line.updated,
            deleted: line.deleted,
            types: self.data_set.types(),
        }))
    }
}

/// Bytes of a tar block.
const TAR_BLOCK_BYTES: usize = 512;

/// Reads the next file of a tar stream, which must be the one expected.
fn next_file(archive: &mut dyn Read, name: &str, bytes: u64) -> Result<Vec<u8>> {
    let mut header = [0; TAR_BLOCK_BYTES];
    archive.read_exact(&mut header)?;
    let found = header[..100].split(|&byte| byte == 0).next().unwrap_or_default();
    let size =
        std::str::from_utf8(&header[124..135]).ok().and_then(|text| u64::from_str_radix(text.trim(), 8).ok());
    if found != name.as_bytes() || size != Some(bytes) {
        return Err(Error::corrupt(format!("{name} of {bytes} bytes is expected next")));
    }
    let padded = bytes.next_multiple_of(TAR_BLOCK_BYTES as u64);
    let mut file = Vec::with_capacity(padded as usize);
    archive.take(padded).read_to_end(&mut file)?;
    if file.len() as u64 != padded {
        return Err(Error::corrupt(format!("{name} is cut off")));
    }
    file.truncate(bytes as usize);
    Ok(file)
}

struct Interleaved {
    histories: Vec<History>,
}

impl Iterator for Interleaved {
    type Item = Result<BundledVersion>;
    fn next(&mut self) -> Option<Result<BundledVersion>> {
        let times = self.histories.iter_mut().enumerate();
        let (_, index) = times.filter_map(|(index, history)| Some((history.next_time()?, index))).min()?;
        self.histories[index].next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_histories_are_whole_and_in_the_order_of_time() {
        let (mut count, mut last) = (0, CommitTime::MIN);
        for version in versions().unwrap() {
            let version = version.unwrap();
            assert!(version.time > last, "{} {}", version.table, version.number);
            last = version.time;
            let mut reader =
                CsvReader::new(version.table, Box::new(Cursor::new(version.csv)), CsvOptions::default())
                    .unwrap();
            let mut rows = 0;
            while let Some(cells) = reader.next_cells(&mut |row| Err(row.to_error(version.table))).unwrap() {
                rows += cells.rows() as u64;
            }
            assert_eq!(rows, version.rows, "{} {}", version.table, version.number);
            count += 1;
        }
        assert_eq!(count, 415);
        assert_eq!(version_count().unwrap(), count);
    }
}
