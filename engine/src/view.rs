//! A past state as a file.

use crate::error::Result;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header; NULL is an empty cell, the empty string is `""`.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// The Arrow IPC file format.
    Arrow,
}

impl Format {
    /// `parquet`, `csv`, `jsonl`, `arrow`.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
            Format::Arrow => "arrow",
        }
    }

    /// The format of a file name's extension.
    pub fn of_extension(extension: &str) -> Option<Format> {
        [Format::Parquet, Format::Csv, Format::JsonLines, Format::Arrow]
            .into_iter()
            .find(|format| format.extension() == extension)
    }
}

/// A file whose bytes never change: the sealed rendering of one table at one version.
#[derive(Debug)]
pub struct View {}

impl View {
    /// Its exact size in bytes.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// Reads at an offset; fewer bytes than asked only at the end. May render on first use.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let _ = (buf, offset);
        todo!()
    }

    /// The whole file written to `out`.
    pub fn copy_to(&self, out: &mut dyn std::io::Write) -> Result<()> {
        let _ = out;
        todo!()
    }

    /// The one sealed file behind it, where there is one and it is ready (for kernel passthrough).
    pub fn sealed_file(&self) -> Option<&std::fs::File> {
        todo!()
    }
}
