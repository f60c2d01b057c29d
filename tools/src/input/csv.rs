//! Reads CSV and TSV: RFC 4180 with either line end, quoted line feeds, and NULL kept apart from the empty string.
//!
//! A cell is NULL where it is empty and not quoted, where it is not quoted and one of the null texts, and, in a file of
//! one column, where it is the bare word `NULL` or the whole line is empty. `""` is the empty string. Otherwise empty
//! lines are skipped. A quote has a meaning only at the beginning of a cell and inside a quoted one.
//!
//! Invariants: memory is bounded by the longest record ([`RECORD_BYTES_MAX`]) and the cells of one chunk; a record that
//! makes no sense is reported with its line and offset and reading goes on at the next line, except where a quote is
//! never closed: then nothing after it can be trusted.

use super::bad_rows::BadRow;
use super::cells::Cells;
use super::chunk::{CHUNK_ROWS_MAX, CHUNK_TEXT_BYTES, Place};
use super::source::{Bytes, read_error};
use super::window::{RECORD_BYTES_MAX, Window};
use asof_engine::{Error, Result};
use memchr::{memchr, memchr_iter, memchr2};

/// Columns of a file, at most.
pub const COLUMNS_MAX: usize = 16_384;

/// How a file is written.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// The ASCII character between cells.
    pub delimiter: u8,
    /// Whether the first record holds the names.
    pub header: bool,
    /// Lines to skip before anything else.
    pub skip: u64,
    /// Texts that mean NULL where they are not quoted, beside the empty one.
    pub nulls: Vec<String>,
    /// The names of the columns of a file without header; `column1`, `column2`, .. where not given.
    pub names: Option<Vec<String>>,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions { delimiter: b',', header: true, skip: 0, nulls: Vec::new(), names: None }
    }
}

/// A file being read.
pub struct CsvReader {
    name: String,
    options: CsvOptions,
    columns: Vec<String>,
    /// The null texts, from the first row on: a header has none.
    nulls: Vec<String>,
    window: Window,
    /// Where the cells of a record with quotes lie.
    spans: Vec<Span>,
}

/// A cell inside a record.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    quoted: bool,
    /// Whether doubled quotes stand for single ones.
    doubled: bool,
}

/// What a record is.
enum Record {
    /// Cells were added, `cells` of them, or would have been had there been room.
    Cells { count: usize },
    /// Nothing between two line ends.
    Empty,
    /// It makes no sense.
    Bad { column: Option<usize>, offset: u64, message: String, record: String },
}

impl CsvReader {
    /// Begins to read: skips lines and takes the header.
    pub fn new(name: &str, bytes: Bytes, options: CsvOptions) -> Result<CsvReader> {
        let mut reader = CsvReader {
            name: name.to_string(),
            options,
            columns: Vec::new(),
            nulls: Vec::new(),
            window: Window::new(bytes),
            spans: Vec::new(),
        };
        for _ in 0..reader.options.skip {
            reader.skip_line()?;
        }
        match reader.options.header {
            true => reader.take_header()?,
            false => reader.name_columns()?,
        }
        reader.nulls = reader.options.nulls.clone();
        Ok(reader)
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next rows; `None` at the end. `bad` hears of records that make no sense and says whether to go on.
    pub fn next_cells(&mut self, bad: &mut dyn FnMut(BadRow) -> Result<()>) -> Result<Option<Cells>> {
        let width = self.columns.len();
        let mut cells = Cells::new(width);
        while cells.rows() < CHUNK_ROWS_MAX && cells.text_bytes() < CHUNK_TEXT_BYTES {
            let place = self.window.place();
            match self.next_record(&mut cells, width)? {
                None if cells.rows() == 0 => return Ok(None),
                None => break,
                Some(Record::Empty) if width != 1 => {}
                Some(Record::Empty) => {
                    cells.push_null();
                    cells.end_row(place);
                }
                Some(Record::Cells { count }) if count == width => cells.end_row(place),
                Some(Record::Cells { count }) => {
                    cells.drop_unfinished();
                    let plural = if count == 1 { "cell" } else { "cells" };
                    bad(BadRow {
                        place,
                        column: None,
                        message: format!("{count} {plural}, where {width} belong"),
                        record: text_of(self.window.last()),
                    })?;
                }
                Some(Record::Bad { column, offset, message, record }) => {
                    cells.drop_unfinished();
                    let column = column.and_then(|index| self.columns.get(index).cloned());
                    let place = match place {
                        Place::Line { line, .. } => Place::Line { line, offset },
                        row => row,
                    };
                    bad(BadRow { place, column, message, record })?;
                }
            }
        }
        Ok(Some(cells))
    }

    fn take_header(&mut self) -> Result<()> {
        let mut cells = Cells::new(0);
        let count = loop {
            let place = self.window.place();
            match self.next_record(&mut cells, COLUMNS_MAX)? {
                None => {
                    return Err(
                        self.fail(place, "there is no header line; use --no-header where there is none")
                    );
                }
                Some(Record::Empty) => {}
                Some(Record::Bad { message, .. }) => return Err(self.fail(place, message)),
                Some(Record::Cells { count }) if count > COLUMNS_MAX => {
                    return Err(self.fail(place, format!("{count} columns are more than {COLUMNS_MAX}")));
                }
                Some(Record::Cells { count }) => break count,
            }
        };
        let mut named = Vec::with_capacity(count);
        for index in 0..count {
            // No row was ended, so that the first row goes on to the last cell.
            let text = cells.get(0, index).unwrap_or_default();
            named.push(if text.is_empty() { format!("column{}", index + 1) } else { text.to_string() });
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = named.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(Error::invalid(format!("{}: the header names column '{twice}' twice", self.name)));
        }
        self.columns = named;
        Ok(())
    }

    fn name_columns(&mut self) -> Result<()> {
        let mut cells = Cells::new(0);
        let (count, place) = loop {
            let place = self.window.place();
            match self.next_record(&mut cells, COLUMNS_MAX)? {
                None => break (self.options.names.as_ref().map_or(0, Vec::len), place),
                Some(Record::Empty) => {}
                Some(Record::Bad { message, .. }) => return Err(self.fail(place, message)),
                Some(Record::Cells { count }) => {
                    self.window.give_back();
                    break (count, place);
                }
            }
        };
        self.columns = match &self.options.names {
            Some(names) if names.len() == count => names.clone(),
            Some(names) => {
                let expected = names.len();
                return Err(
                    self.fail(place, format!("{count} cells, where the table has {expected} columns"))
                );
            }
            None if count > COLUMNS_MAX => {
                return Err(self.fail(place, format!("{count} columns are more than {COLUMNS_MAX}")));
            }
            None => (1..=count).map(|index| format!("column{index}")).collect(),
        };
        Ok(())
    }

    fn fail(&self, place: Place, message: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{}: {place}: {message}", self.name))
    }

    fn fill(&mut self) -> Result<()> {
        let place = self.window.place();
        match self.window.fill() {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.fail(
                place,
                format!("a record of more than {RECORD_BYTES_MAX} bytes; is a quote not closed?"),
            )),
            Err(error) => Err(read_error(&self.name, &error)),
        }
    }

    fn skip_line(&mut self) -> Result<()> {
        loop {
            match memchr(b'\n', self.window.rest()) {
                Some(at) => {
                    self.window.take(at + 1);
                    return Ok(());
                }
                None if self.window.finished => {
                    self.window.take(self.window.rest().len());
                    return Ok(());
                }
                None => self.fill()?,
            }
        }
    }

    /// Takes one record and pushes its cells, at most `room` of them; `None` at the end.
    fn next_record(&mut self, cells: &mut Cells, room: usize) -> Result<Option<Record>> {
        let mut searched = 0;
        let end = loop {
            let rest = self.window.rest();
            match memchr(b'\n', &rest[searched..]) {
                Some(at) => break searched + at,
                None if self.window.finished && rest.is_empty() => return Ok(None),
                None if self.window.finished => break rest.len(),
                None => {
                    searched = rest.len();
                    self.fill()?;
                }
            }
        };
        let line = &self.window.rest()[..end];
        if memchr(b'"', line).is_some() {
            return self.next_quoted_record(cells, room).map(Some);
        }
        let taken = (end + 1).min(self.window.rest().len());
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.window.take(taken);
            return Ok(Some(Record::Empty));
        }
        let offset = self.window.offset();
        let record = match std::str::from_utf8(line) {
            Ok(text) => {
                let (mut count, mut start) = (0, 0);
                let ends = memchr_iter(self.options.delimiter, line).chain(std::iter::once(line.len()));
                for end in ends {
                    if count < room {
                        push_unquoted(&text[start..end], &self.nulls, room == 1, cells);
                    }
                    count += 1;
                    start = end + 1;
                }
                Record::Cells { count }
            }
            Err(error) => {
                let at = error.valid_up_to();
                let column = memchr_iter(self.options.delimiter, &line[..at]).count();
                bad_utf8(line, at, offset, Some(column))
            }
        };
        self.window.take(taken);
        Ok(Some(record))
    }

    /// The same for a record whose first line has quotes.
    fn next_quoted_record(&mut self, cells: &mut Cells, room: usize) -> Result<Record> {
        loop {
            self.spans.clear();
            let delimiter = self.options.delimiter;
            let rest = self.window.rest();
            match scan(rest, self.window.finished, delimiter, room, &mut self.spans) {
                Scanned::More => self.fill()?,
                Scanned::Unclosed { at } => {
                    let line = memchr_iter(b'\n', &rest[..at]).count() as u64;
                    let place = match self.window.place() {
                        Place::Line { line: first, offset } => {
                            Place::Line { line: first + line, offset: offset + at as u64 }
                        }
                        row => row,
                    };
                    return Err(self.fail(place, "the quote that opens here is never closed"));
                }
                Scanned::Bad { taken, at } => {
                    let record = Record::Bad {
                        column: Some(self.spans.len().saturating_sub(1)),
                        offset: self.window.offset() + at as u64,
                        message: "text after a closing quote; a quote inside a quoted cell is doubled"
                            .to_string(),
                        record: text_of(&rest[..taken]),
                    };
                    self.window.take(taken);
                    return Ok(record);
                }
                Scanned::Record { taken, count } => {
                    let record = &rest[..taken];
                    let pushed = match std::str::from_utf8(record) {
                        Ok(text) => {
                            for span in &self.spans {
                                push_span(text, *span, &self.nulls, room == 1, cells);
                            }
                            Record::Cells { count }
                        }
                        Err(error) => {
                            let at = error.valid_up_to();
                            let column = self.spans.iter().position(|span| at < span.end);
                            bad_utf8(record, at, self.window.offset(), column)
                        }
                    };
                    self.window.take(taken);
                    return Ok(pushed);
                }
            }
        }
    }
}

fn push_unquoted(text: &str, nulls: &[String], alone: bool, cells: &mut Cells) {
    if text.is_empty()
        || (alone && text == "NULL")
        || (!nulls.is_empty() && nulls.iter().any(|null| null == text))
    {
        cells.push_null();
    } else {
        cells.push_text(text);
        cells.end_text();
    }
}

fn push_span(record: &str, span: Span, nulls: &[String], alone: bool, cells: &mut Cells) {
    let text = &record[span.start..span.end];
    if !span.quoted {
        return push_unquoted(text, nulls, alone, cells);
    }
    match span.doubled {
        false => cells.push_text(text),
        true => {
            let mut rest = text;
            while let Some(at) = memchr(b'"', rest.as_bytes()) {
                cells.push_text(&rest[..=at]);
                rest = &rest[at + 2..];
            }
            cells.push_text(rest);
        }
    }
    cells.end_text();
}

fn bad_utf8(record: &[u8], at: usize, offset: u64, column: Option<usize>) -> Record {
    Record::Bad {
        column,
        offset: offset + at as u64,
        message: format!("byte {:#04X} is not UTF-8; name the encoding with --encoding", record[at]),
        record: text_of(record),
    }
}

fn text_of(record: &[u8]) -> String {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    String::from_utf8_lossy(record.strip_suffix(b"\r").unwrap_or(record)).into_owned()
}

/// Where a record with quotes ends.
enum Scanned {
    /// Bytes taken with the line end, and how many cells there are.
    Record { taken: usize, count: usize },
    /// Not in these bytes.
    More,
    /// A quoted cell that the input ends in.
    Unclosed { at: usize },
    /// Text after a closing quote; the bytes up to the line's end.
    Bad { taken: usize, at: usize },
}

/// Splits the record at the beginning of `bytes`. At most `room` cells are noted, all are counted.
fn scan(bytes: &[u8], finished: bool, delimiter: u8, room: usize, spans: &mut Vec<Span>) -> Scanned {
    let (mut at, mut count) = (0, 0);
    loop {
        count += 1;
        let (span, after) = if bytes.get(at) == Some(&b'"') {
            let mut doubled = false;
            let mut from = at + 1;
            let close = loop {
                let Some(quote) = memchr(b'"', &bytes[from..]).map(|quote| from + quote) else {
                    return if finished { Scanned::Unclosed { at } } else { Scanned::More };
                };
                match bytes.get(quote + 1) {
                    Some(b'"') => {
                        doubled = true;
                        from = quote + 2;
                    }
                    None if !finished => return Scanned::More,
                    _ => break quote,
                }
            };
            (Span { start: at + 1, end: close, quoted: true, doubled }, close + 1)
        } else {
            let end = match memchr2(delimiter, b'\n', &bytes[at..]) {
                Some(length) => at + length,
                None if finished => bytes.len(),
                None => return Scanned::More,
            };
            let ends_line = bytes.get(end) != Some(&delimiter);
            let cut = end - usize::from(ends_line && bytes[at..end].ends_with(b"\r"));
            (Span { start: at, end: cut, quoted: false, doubled: false }, end)
        };
        if spans.len() < room {
            spans.push(span);
        }
        match &bytes[after..] {
            [next, ..] if *next == delimiter => at = after + 1,
            [b'\n', ..] => return Scanned::Record { taken: after + 1, count },
            [b'\r', b'\n', ..] => return Scanned::Record { taken: after + 2, count },
            [] | [b'\r'] if !finished => return Scanned::More,
            [] | [b'\r'] => return Scanned::Record { taken: bytes.len(), count },
            rest => {
                return match memchr(b'\n', rest) {
                    Some(length) => Scanned::Bad { taken: after + length + 1, at: after },
                    None if finished => Scanned::Bad { taken: bytes.len(), at: after },
                    None => Scanned::More,
                };
            }
        }
    }
}
