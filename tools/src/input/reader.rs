//! One input: a source, its format, and the reader that fits.

use super::bad_rows::BadRow;
use super::chunk::Chunk;
use super::csv::{CsvOptions, CsvReader};
use super::encoding;
use super::format::InputFormat;
use super::json::JsonReader;
use super::source::Source;
use super::typed::TypedReader;
use asof_engine::{ColumnType, Result};
use encoding_rs::Encoding;

/// How inputs are to be read.
#[derive(Clone, Debug, Default)]
pub struct InputOptions {
    /// The format; told by name and content where not given.
    pub format: Option<InputFormat>,
    /// The encoding of texts; UTF-8, or UTF-16 by its mark, where not given.
    pub encoding: Option<&'static Encoding>,
    /// How CSV and TSV are written; the delimiter is the format's where `None`.
    pub csv: CsvOptions,
    /// The delimiter of CSV and TSV.
    pub delimiter: Option<u8>,
}

/// Something to read rows from, as often as needed.
#[derive(Clone, Debug)]
pub struct Input {
    source: Source,
    format: InputFormat,
    options: InputOptions,
}

impl Input {
    /// An input whose format is told by the options, its name or its content.
    pub fn new(source: Source, options: InputOptions) -> Result<Input> {
        let format = match options.format {
            Some(format) => format,
            None => InputFormat::of_source(&source)?,
        };
        Ok(Input { source, format, options })
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// Where its bytes come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Its format.
    pub fn format(&self) -> InputFormat {
        self.format
    }

    /// Whether its columns are known only when all of it was read.
    pub fn is_json(&self) -> bool {
        matches!(self.format, InputFormat::Json | InputFormat::Jsonl)
    }

    /// Whether it is made of text cells.
    pub fn is_csv(&self) -> bool {
        matches!(self.format, InputFormat::Csv | InputFormat::Tsv)
    }

    /// Names the columns of CSV without header.
    pub fn name_columns(&mut self, names: Vec<String>) {
        self.options.csv.names = Some(names);
    }

    /// Reads from the beginning.
    pub fn open(&self) -> Result<Reader> {
        let text = || {
            encoding::decode(self.source.read()?, self.options.encoding)
                .map_err(|error| self.source.error(&error))
        };
        Ok(match self.format {
            InputFormat::Csv | InputFormat::Tsv => {
                let usual = if self.format == InputFormat::Tsv { b'\t' } else { b',' };
                let mut options = self.options.csv.clone();
                options.delimiter = self.options.delimiter.unwrap_or(usual);
                Reader::Csv(CsvReader::new(self.name(), text()?, options)?)
            }
            InputFormat::Json => Reader::Json(JsonReader::document(self.name(), text()?)),
            InputFormat::Jsonl => Reader::Json(JsonReader::lines(self.name(), text()?)),
            InputFormat::Parquet => Reader::Typed(TypedReader::parquet(&self.source)?),
            InputFormat::Arrow => Reader::Typed(TypedReader::arrow(&self.source)?),
        })
    }
}

/// An input being read.
pub enum Reader {
    /// CSV or TSV.
    Csv(CsvReader),
    /// JSON or JSON Lines.
    Json(JsonReader),
    /// Parquet or Arrow.
    Typed(TypedReader),
}

impl Reader {
    /// The columns, with their types where the format has such; `None` where only the rows tell.
    pub fn columns(&self) -> Option<Vec<(String, Option<ColumnType>)>> {
        match self {
            Reader::Csv(reader) => Some(reader.columns().iter().map(|name| (name.clone(), None)).collect()),
            Reader::Json(_) => None,
            Reader::Typed(reader) => Some(reader.columns().to_vec()),
        }
    }

    /// The next rows; `None` at the end. `bad` hears of rows that make no sense and says whether to go on.
    pub fn next_chunk(&mut self, bad: &mut dyn FnMut(BadRow) -> Result<()>) -> Result<Option<Chunk>> {
        Ok(match self {
            Reader::Csv(reader) => {
                let cells = reader.next_cells(bad)?;
                cells.map(|cells| Chunk::of_cells(reader.columns().to_vec(), cells))
            }
            Reader::Json(reader) => reader.next_rows(bad)?.map(Chunk::of_json),
            Reader::Typed(reader) => {
                let next = reader.next_batch()?;
                next.map(|(batch, first)| {
                    let names = reader.columns().iter().map(|(name, _)| name.clone()).collect();
                    Chunk::of_batch(names, batch, first)
                })
            }
        })
    }
}
