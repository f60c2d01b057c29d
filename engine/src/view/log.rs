//! The commit log as a text file that grows: a line for each commit, oldest first, CSV with a header before them (and
//! with more lines where a message has some).
//!
//! Bytes never change, there are only more of them with each commit. Every [`BLOCK_COMMITS`] lines are a block, which lies
//! in the cache and tells its size there. Of the lines behind the last whole block only the ends are known, and they are
//! written anew for whoever reads them. So neither size nor reading depends on how long the log is. Invariants: an
//! extent that was told is never taken back; lines are whole; nothing is counted while the extent is locked.

#[cfg(test)]
mod tests;

use super::{Format, View, ViewKey, half, schema_digest};
use crate::api::CommitInfo;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::json::{commits_schema, commits_to_batch};
use crate::text::{CsvRows, JsonRows, write_csv_header};
use asof_mvcc::{CommitTime, TableSchema, Version};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::Write;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Commits of a block. Blocks of other lengths lie in the cache under other names.
const BLOCK_COMMITS: u64 = 4_096;
/// Commits that are looked at together.
const BATCH_COMMITS: u64 = 256;
/// Blocks that stay open: who reads on finds the one that was verified.
const OPEN_BLOCKS_MAX: usize = 4;

/// The commit log as CSV or JSON Lines, as far as it was counted.
#[derive(Debug)]
pub struct LogFile {
    database: Database,
    format: Format,
    block_commits: u64,
    schema: TableSchema,
    header: Vec<u8>,
    counted: Mutex<Counted>,
    /// Held by who counts what came: one at a time.
    counting: Mutex<()>,
    open: Mutex<VecDeque<(usize, Arc<View>)>>,
}

/// How far a log reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogExtent {
    /// The last commit in it; version 0 where there is none.
    pub version: Version,
    /// Its commit time.
    pub time: CommitTime,
    /// Bytes up to the end of its line.
    pub size: u64,
}

#[derive(Debug)]
struct Counted {
    extent: LogExtent,
    /// Where each whole block ends.
    blocks: Vec<u64>,
    /// Where each line behind the last whole block ends.
    lines: Vec<u64>,
}

/// What is at an offset.
enum Place {
    Header,
    Block { index: usize, start: u64, end: u64 },
    Lines { versions: RangeInclusive<u64>, start: u64, end: u64 },
    End,
}

impl LogFile {
    /// The log of a database as CSV or JSON Lines, for no other form grows; nothing is counted yet.
    pub fn new(database: Database, format: Format) -> LogFile {
        LogFile::with_blocks(database, format, BLOCK_COMMITS)
    }

    fn with_blocks(database: Database, format: Format, block_commits: u64) -> LogFile {
        let schema = commits_schema();
        let mut header = Vec::new();
        match format {
            Format::Csv => write_csv_header(&schema, &mut header),
            Format::JsonLines => {}
            Format::Parquet | Format::Arrow => unreachable!("a file with an end at its end cannot grow"),
        }
        let extent = LogExtent { version: Version::ZERO, time: CommitTime::MIN, size: header.len() as u64 };
        LogFile {
            database,
            format,
            block_commits,
            schema,
            header,
            counted: Mutex::new(Counted { extent, blocks: Vec::new(), lines: Vec::new() }),
            counting: Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// How far it was counted.
    pub fn extent(&self) -> LogExtent {
        self.counted.lock().extent
    }

    /// How many commits there are that were not counted yet.
    pub fn behind(&self) -> Result<u64> {
        let newest = self.database.readable()?.0;
        Ok(newest.0.saturating_sub(self.extent().version.0))
    }

    /// Counts what came, `commits_max` commits at most. Who waits for another one that counts waits for one step of it.
    pub fn grow(&self, commits_max: u64) -> Result<LogExtent> {
        let newest = self.database.readable()?.0.0;
        let up_to = newest.min(self.extent().version.0.saturating_add(commits_max));
        while self.extent().version.0 < up_to {
            self.step(up_to)?;
        }
        Ok(self.extent())
    }

    /// Counts a block that is whole, or else some commits.
    fn step(&self, up_to: u64) -> Result<()> {
        let _turn = self.counting.lock();
        let extent = self.extent();
        let last = extent.version.0;
        if last >= up_to {
            return Ok(());
        }
        let in_block = last % self.block_commits;
        if in_block == 0 && up_to - last >= self.block_commits {
            let index = (last / self.block_commits) as usize;
            let size = extent.size + self.block(index, None)?.size();
            let version = Version(last + self.block_commits);
            let time = self.database.commit_time(version)?;
            let mut counted = self.counted.lock();
            counted.blocks.push(size);
            counted.extent = LogExtent { version, time, size };
            return Ok(());
        }
        let last_of_block = last - in_block + self.block_commits;
        let version = up_to.min(last_of_block).min(last + BATCH_COMMITS);
        let (_, ends) = self.lines(last + 1..=version)?;
        let time = self.database.commit_time(Version(version))?;
        let mut counted = self.counted.lock();
        counted.lines.extend(ends.iter().map(|end| extent.size + end));
        let size = *counted.lines.last().expect("a commit was counted");
        counted.extent = LogExtent { version: Version(version), time, size };
        if version == last_of_block {
            counted.blocks.push(size);
            counted.lines.clear();
        }
        Ok(())
    }

    /// Reads of what was counted; fewer bytes than asked only at its end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset.saturating_add(filled as u64);
            let rest = &mut buffer[filled..];
            filled += match self.place(at, rest.len() as u64) {
                Place::End => break,
                Place::Header => copy(&self.header[at as usize..], rest),
                Place::Block { index, start, end } => {
                    let block = self.open_block(index, end - start)?;
                    match block.read_at(rest, at - start)? {
                        0 => return Err(self.other_size(start, end)),
                        count => count,
                    }
                }
                Place::Lines { versions, start, end } => {
                    let (bytes, _) = self.lines(versions)?;
                    if bytes.len() as u64 != end - start {
                        return Err(self.other_size(start, end));
                    }
                    copy(&bytes[(at - start) as usize..], rest)
                }
            };
        }
        Ok(filled)
    }

    fn other_size(&self, start: u64, end: u64) -> Error {
        Error::corrupt(format!(
            "bytes {start} to {end} of log.{} are not as many as they were; run 'asof verify'",
            self.format.extension()
        ))
    }

    fn place(&self, offset: u64, wanted: u64) -> Place {
        let counted = self.counted.lock();
        let header = self.header.len() as u64;
        if offset >= counted.extent.size {
            return Place::End;
        }
        if offset < header {
            return Place::Header;
        }
        let index = counted.blocks.partition_point(|end| *end <= offset);
        let start = match index.checked_sub(1) {
            Some(before) => counted.blocks[before],
            None => header,
        };
        if let Some(end) = counted.blocks.get(index) {
            return Place::Block { index, start, end: *end };
        }
        let lines = &counted.lines;
        let first = lines.partition_point(|end| *end <= offset);
        let beyond = lines.partition_point(|end| *end < offset.saturating_add(wanted)) + 1;
        let beyond = beyond.min(lines.len()).min(first + BATCH_COMMITS as usize);
        let before = (counted.blocks.len() as u64) * self.block_commits;
        Place::Lines {
            versions: before + first as u64 + 1..=before + beyond as u64,
            start: if first == 0 { start } else { lines[first - 1] },
            end: lines[beyond - 1],
        }
    }

    /// The lines of some commits, and where each ends.
    fn lines(&self, versions: RangeInclusive<u64>) -> Result<(Vec<u8>, Vec<u64>)> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        write_lines(&self.database, self.format, &self.schema, versions, &mut bytes, &mut ends)?;
        Ok((bytes, ends))
    }

    /// A block that is open, or is opened now.
    fn open_block(&self, index: usize, size: u64) -> Result<Arc<View>> {
        let known = self.open.lock().iter().find(|(known, _)| *known == index).map(|(_, view)| view.clone());
        if let Some(view) = known {
            return Ok(view);
        }
        let view = Arc::new(self.block(index, Some(size))?);
        let mut open = self.open.lock();
        if open.len() >= OPEN_BLOCKS_MAX {
            open.pop_front();
        }
        open.push_back((index, view.clone()));
        Ok(view)
    }

    fn block(&self, index: usize, size: Option<u64>) -> Result<View> {
        let first = index as u64 * self.block_commits + 1;
        let last = first + self.block_commits - 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"asof log block 1").update(&self.block_commits.to_le_bytes());
        hasher.update(&schema_digest(&self.schema));
        let schema = half(&hasher);
        let (database, format) = (self.database.clone(), self.format);
        let key = ViewKey {
            lineage: database.inner.lineage(),
            table: 0,
            changed: Version(last),
            schema,
            format,
            layout: 0,
        };
        let cache = database.inner.views().clone();
        let render = Box::new(move |out: &mut dyn Write| {
            let (schema, mut written) = (commits_schema(), 0);
            for first in (first..=last).step_by(BATCH_COMMITS as usize) {
                let versions = first..=last.min(first + BATCH_COMMITS - 1);
                let mut bytes = Vec::new();
                write_lines(&database, format, &schema, versions, &mut bytes, &mut Vec::new())?;
                out.write_all(&bytes)?;
                written += bytes.len() as u64;
            }
            Ok(written)
        });
        View::new(cache, key, size, render)
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}

fn write_lines(
    database: &Database,
    format: Format,
    schema: &TableSchema,
    versions: RangeInclusive<u64>,
    bytes: &mut Vec<u8>,
    ends: &mut Vec<u64>,
) -> Result<()> {
    let commits = versions.map(|version| database.commit_info(Version(version)));
    let batch = commits_to_batch(&commits.collect::<Result<Vec<CommitInfo>>>()?)?;
    let mut each = |write: &dyn Fn(usize, &mut Vec<u8>)| {
        for row in 0..batch.num_rows() {
            write(row, bytes);
            ends.push(bytes.len() as u64);
        }
    };
    match format {
        Format::Csv => {
            let rows = CsvRows::new(schema, &batch);
            each(&|row, bytes| rows.write(row, bytes));
        }
        _ => {
            let rows = JsonRows::new(schema, &batch);
            each(&|row, bytes| rows.write(row, bytes));
        }
    }
    Ok(())
}
