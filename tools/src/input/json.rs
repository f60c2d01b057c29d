//! Reads JSON: one object a line, or an array of objects, or objects one after the other.
//!
//! Invariants: one object is in memory at a time beside the chunk, bounded like a record of CSV; an object that names a
//! member twice is a bad row, since one of the two values would be lost. An object that makes no sense is reported and
//! reading goes on behind it; what lies between the objects of an array must be right.

use super::bad_rows::BadRow;
use super::chunk::{CHUNK_ROWS_MAX, CHUNK_TEXT_BYTES, Place};
use super::source::{Bytes, read_error};
use super::window::{RECORD_BYTES_MAX, Window};
use asof_engine::arrow::array::{Array, ArrayRef};
use asof_engine::arrow::compute::interleave;
use asof_engine::text::CellError;
use asof_engine::{Error, Result};
use memchr::memchr;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;

/// An object whose members have different names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Row, D::Error> {
        struct RowVisitor;
        impl<'de> Visitor<'de> for RowVisitor {
            type Value = Row;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Row, A::Error> {
                let mut row = Map::new();
                while let Some(name) = members.next_key::<String>()? {
                    if row.contains_key(&name) {
                        return Err(serde::de::Error::custom(format_args!(
                            "the object names '{name}' twice"
                        )));
                    }
                    let value = members.next_value()?;
                    row.insert(name, value);
                }
                Ok(Row(row))
            }
        }
        deserializer.deserialize_map(RowVisitor)
    }
}

/// Some objects.
#[derive(Clone, Debug, Default)]
pub struct JsonRows {
    rows: Vec<(Map<String, Value>, Place)>,
    names: Vec<String>,
    known: HashSet<String>,
}

impl JsonRows {
    /// Adds an object.
    pub fn push(&mut self, row: Map<String, Value>, place: Place) {
        for name in row.keys() {
            if !self.known.contains(name) {
                self.known.insert(name.clone());
                self.names.push(name.clone());
            }
        }
        self.rows.push((row, place));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The names of members that any of them has, in the order of their first appearance.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Where an object stood.
    pub fn place(&self, row: usize) -> Place {
        self.rows[row].1
    }

    /// An object as text.
    pub fn record(&self, row: usize) -> String {
        serde_json::to_string(&self.rows[row].0).unwrap_or_default()
    }

    /// An object.
    pub fn object(&self, row: usize) -> &Map<String, Value> {
        &self.rows[row].0
    }

    /// A member of an object; `None` where it has none of the name.
    pub fn get(&self, row: usize, name: &str) -> Option<&Value> {
        self.rows[row].0.get(name)
    }

    /// The members of a name.
    pub fn column(&self, name: &str) -> Vec<Option<&Value>> {
        self.rows.iter().map(|(row, _)| row.get(name)).collect()
    }

    /// `values` with the one value of `default` where the object has no member of the name.
    pub fn fill_absent(
        &self,
        name: &str,
        values: ArrayRef,
        default: &ArrayRef,
    ) -> std::result::Result<ArrayRef, CellError> {
        if self.rows.iter().all(|(row, _)| row.contains_key(name)) {
            return Ok(values);
        }
        let indices: Vec<(usize, usize)> = (self.rows.iter().enumerate())
            .map(|(index, (row, _))| if row.contains_key(name) { (0, index) } else { (1, 0) })
            .collect();
        let arrays: [&dyn Array; 2] = [&values, default];
        interleave(&arrays, &indices).map_err(|error| CellError { row: 0, message: error.to_string() })
    }

    /// Those objects that are to stay.
    pub fn retain(&self, keep: &[bool]) -> JsonRows {
        let mut kept = JsonRows::default();
        for ((row, place), _) in self.rows.iter().zip(keep).filter(|(_, keep)| **keep) {
            kept.push(row.clone(), *place);
        }
        kept
    }
}

/// What stands between objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// Line ends: each line is an object.
    Lines,
    /// Nothing yet.
    Start,
    /// White space.
    Values,
    /// In an array, before its first element or its end.
    ArrayStart,
    /// In an array, after a comma.
    ArrayNext,
    /// In an array, after an element.
    ArrayRest,
    /// Behind the array.
    End,
}

/// An input being read.
pub struct JsonReader {
    name: String,
    window: Window,
    between: Between,
}

impl JsonReader {
    /// Begins to read objects, one a line.
    pub fn lines(name: &str, bytes: Bytes) -> JsonReader {
        JsonReader { name: name.to_string(), window: Window::new(bytes), between: Between::Lines }
    }

    /// Begins to read an array of objects, or objects one after the other.
    pub fn document(name: &str, bytes: Bytes) -> JsonReader {
        JsonReader { name: name.to_string(), window: Window::new(bytes), between: Between::Start }
    }

    /// The next objects; `None` at the end. `bad` hears of objects that make no sense and says whether to go on.
    pub fn next_rows(&mut self, bad: &mut dyn FnMut(BadRow) -> Result<()>) -> Result<Option<JsonRows>> {
        let (mut rows, mut text_bytes) = (JsonRows::default(), 0);
        while rows.len() < CHUNK_ROWS_MAX && text_bytes < CHUNK_TEXT_BYTES {
            let length = match self.between {
                Between::Lines => self.next_line()?,
                _ => self.next_value()?,
            };
            let Some(length) = length else { break };
            let place = self.window.place();
            let text = &self.window.rest()[..length];
            match serde_json::from_slice::<Row>(text) {
                Ok(Row(row)) => {
                    text_bytes += length;
                    rows.push(row, place);
                }
                Err(error) => bad(BadRow {
                    place: place_of(place, &error),
                    column: None,
                    message: message_of(&error),
                    record: String::from_utf8_lossy(text.trim_ascii_end()).into_owned(),
                })?,
            }
            self.window.take(length);
        }
        Ok((!rows.is_empty()).then_some(rows))
    }

    fn fail(&self, message: impl fmt::Display) -> Error {
        Error::invalid(format!("{}: {}: {message}", self.name, self.window.place()))
    }

    fn fill(&mut self) -> Result<()> {
        match self.window.fill() {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.fail(format_args!("an object of more than {RECORD_BYTES_MAX} bytes"))),
            Err(error) => Err(read_error(&self.name, &error)),
        }
    }

    /// Skips white space; the first byte behind it, `None` at the end.
    fn skip_space(&mut self) -> Result<Option<u8>> {
        loop {
            let rest = self.window.rest();
            let space = rest.iter().take_while(|byte| is_space(**byte)).count();
            let next = rest.get(space).copied();
            self.window.take(space);
            match next {
                Some(byte) => return Ok(Some(byte)),
                None if self.window.finished => return Ok(None),
                None => self.fill()?,
            }
        }
    }

    /// The length of the next line that is not blank, its line end included.
    fn next_line(&mut self) -> Result<Option<usize>> {
        if self.skip_space()?.is_none() {
            return Ok(None);
        }
        let mut searched = 0;
        loop {
            let rest = self.window.rest();
            match memchr(b'\n', &rest[searched..]) {
                Some(at) => return Ok(Some(searched + at + 1)),
                None if self.window.finished => return Ok(Some(rest.len())),
                None => {
                    searched = rest.len();
                    self.fill()?;
                }
            }
        }
    }

    /// The length of the next object, after what stands before it was taken.
    fn next_value(&mut self) -> Result<Option<usize>> {
        loop {
            let next = self.skip_space()?;
            self.between = match (self.between, next) {
                (Between::Start, Some(b'[')) => Between::ArrayStart,
                (Between::Start | Between::Values, Some(b'{')) => {
                    self.between = Between::Values;
                    return self.object_length().map(Some);
                }
                (Between::ArrayStart | Between::ArrayNext, Some(b'{')) => {
                    self.between = Between::ArrayRest;
                    return self.object_length().map(Some);
                }
                (Between::ArrayRest, Some(b',')) => Between::ArrayNext,
                (Between::ArrayStart | Between::ArrayRest, Some(b']')) => Between::End,
                (Between::Start | Between::Values | Between::End, None) => return Ok(None),
                (between, _) => return Err(self.fail(expected(between))),
            };
            self.window.take(1);
        }
    }

    /// The length of the object that begins here: up to the brace that closes it.
    fn object_length(&mut self) -> Result<usize> {
        let (mut at, mut depth, mut in_string) = (0, 0u64, false);
        loop {
            let rest = self.window.rest();
            while let Some(&byte) = rest.get(at) {
                match byte {
                    b'"' => in_string = !in_string,
                    // What follows is part of an escape: a quote there ends nothing.
                    b'\\' if in_string => at += 1,
                    b'{' if !in_string => depth += 1,
                    b'}' if !in_string => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            if self.window.finished {
                return Err(self.fail("the object that begins here is never closed"));
            }
            self.fill()?;
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn expected(between: Between) -> &'static str {
    match between {
        Between::Start => "an object or an array of objects is expected here",
        Between::Values | Between::ArrayStart | Between::ArrayNext => "an object is expected here",
        Between::ArrayRest => "a comma or the end of the array is expected here",
        Between::Lines | Between::End => "nothing may follow the array",
    }
}

/// What the parser says, without its own place.
pub fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_string(),
        None => text,
    }
}

/// Where the parser found the error, in an object that begins at `place`.
fn place_of(place: Place, error: &serde_json::Error) -> Place {
    match place {
        Place::Line { line, offset } => {
            let lines = error.line().saturating_sub(1) as u64;
            let offset = if lines == 0 { offset + error.column().saturating_sub(1) as u64 } else { offset };
            Place::Line { line: line + lines, offset }
        }
        row => row,
    }
}
