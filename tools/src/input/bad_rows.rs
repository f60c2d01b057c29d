//! Rows that cannot be taken in: an error, or skipped, counted and written to a file of rejects.
//!
//! The file of rejects is CSV: `file,line,byte,column,error,record`, where `line` is a row's number in formats without
//! lines, and `record` is the row as it was read.

use super::cells::write_cell;
use super::chunk::Place;
use asof_engine::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A row that cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Where it stood.
    pub place: Place,
    /// The column whose value it is about.
    pub column: Option<String>,
    /// What is wrong, with the value.
    pub message: String,
    /// The row as it was read.
    pub record: String,
}

impl BadRow {
    /// The error that this row is where bad rows are not skipped.
    pub fn to_error(&self, input: &str) -> Error {
        let column = self.column.as_ref().map(|name| format!(", column '{name}'")).unwrap_or_default();
        Error::invalid(format!("{input}: {}{column}: {}", self.place, self.message))
    }
}

/// What happens to bad rows.
#[derive(Debug)]
pub struct BadRows {
    skip: bool,
    rejects: Option<Rejects>,
    count: u64,
}

#[derive(Debug)]
struct Rejects {
    path: PathBuf,
    out: BufWriter<File>,
}

impl BadRows {
    /// The first bad row is an error.
    pub fn fail() -> BadRows {
        BadRows { skip: false, rejects: None, count: 0 }
    }

    /// Bad rows are counted, and written to a file where there is one; the file is made anew.
    pub fn skip(rejects: Option<&Path>) -> Result<BadRows> {
        let rejects = rejects
            .map(|path| {
                let file = File::create(path).map_err(|error| rejects_error(path, error))?;
                let mut rejects = Rejects { path: path.to_path_buf(), out: BufWriter::new(file) };
                rejects.write("file,line,byte,column,error,record\n")?;
                Ok::<_, Error>(rejects)
            })
            .transpose()?;
        Ok(BadRows { skip: true, rejects, count: 0 })
    }

    /// Whether bad rows are skipped.
    pub fn skips(&self) -> bool {
        self.skip
    }

    /// Rows skipped so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes note of a bad row, or fails.
    pub fn report(&mut self, input: &str, row: BadRow) -> Result<()> {
        if !self.skip {
            return Err(row.to_error(input));
        }
        self.count += 1;
        let Some(rejects) = &mut self.rejects else { return Ok(()) };
        let (line, byte) = match row.place {
            Place::Line { line, offset } => (line, offset.to_string()),
            Place::Row(row) => (row, String::new()),
        };
        let mut text = String::new();
        write_cell(Some(input), &mut text);
        text.push_str(&format!(",{line},{byte},"));
        write_cell(row.column.as_deref(), &mut text);
        text.push(',');
        write_cell(Some(&row.message), &mut text);
        text.push(',');
        write_cell(Some(&row.record), &mut text);
        text.push('\n');
        rejects.write(&text)
    }

    /// Writes the file of rejects out. Gives the number of rows skipped.
    pub fn finish(&mut self) -> Result<u64> {
        if let Some(rejects) = &mut self.rejects {
            rejects.out.flush().map_err(|error| rejects_error(&rejects.path, error))?;
        }
        Ok(self.count)
    }
}

impl Rejects {
    fn write(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).map_err(|error| rejects_error(&self.path, error))
    }
}

fn rejects_error(path: &Path, error: std::io::Error) -> Error {
    Error::from(error).at(format_args!("{}: rejects cannot be written", path.display()))
}
