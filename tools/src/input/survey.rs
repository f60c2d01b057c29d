//! Looks at whole inputs: which columns they have, and which types hold them.
//!
//! What several inputs show of one column is put together: the same type, the wider one, `float64` for integers beside
//! floats, and otherwise text. JSON is inferred by the same rules as CSV; besides, its lists and structs become such, a
//! column of integers beyond `uint64` is `decimal(38,0)`, and texts are never numbers (but `NaN`, `inf` and `-inf`
//! beside numbers). Values of different kinds in one
//! column of JSON make it text, which those that are not texts then do not fit.

use super::bad_rows::BadRow;
use super::chunk::Chunk;
use super::infer::{Evidence, is_float_word};
use super::reader::Input;
use asof_engine::{ColumnType, Error, NestedField, Result};
use serde_json::Value;
use std::collections::HashMap;

/// How deep lists and structs are looked into; what is deeper has no type.
const DEPTH_MAX: usize = 16;

/// What was seen of a column.
#[derive(Clone, Debug, Default)]
pub struct Surveyed {
    cells: Option<Evidence>,
    json: Option<JsonEvidence>,
    typed: Vec<(ColumnType, String)>,
}

/// The columns of some inputs, in the order of their first appearance.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    names: Vec<String>,
    columns: HashMap<String, Surveyed>,
}

impl Survey {
    /// Takes an input into account. Types are looked for only where `wants` a column; rows are read only if it wants
    /// any, or if only the rows tell the names. `bad` hears of rows that make no sense.
    pub fn add(
        &mut self,
        input: &Input,
        wants: &dyn Fn(&str) -> bool,
        bad: &mut dyn FnMut(BadRow) -> Result<()>,
    ) -> Result<()> {
        let mut reader = input.open()?;
        if let Some(columns) = reader.columns() {
            for (name, column_type) in &columns {
                let surveyed = self.column(name);
                if let Some(column_type) = column_type {
                    surveyed.typed.push((column_type.clone(), input.name().to_string()));
                }
            }
            if !input.is_csv() || !columns.iter().any(|(name, _)| wants(name)) {
                return Ok(());
            }
        }
        while let Some(chunk) = reader.next_chunk(bad)? {
            self.add_chunk(&chunk, wants);
        }
        Ok(())
    }

    fn column(&mut self, name: &str) -> &mut Surveyed {
        if !self.columns.contains_key(name) {
            self.names.push(name.to_string());
        }
        self.columns.entry(name.to_string()).or_default()
    }

    fn add_chunk(&mut self, chunk: &Chunk, wants: &dyn Fn(&str) -> bool) {
        for (index, name) in chunk.names.iter().enumerate() {
            let surveyed = self.column(name);
            if !wants(name) {
                continue;
            }
            if let Some(cells) = chunk.cells() {
                let evidence = surveyed.cells.get_or_insert_default();
                if !evidence.is_text() {
                    cells.column(index).flatten().for_each(|text| evidence.add(text));
                }
            }
            if let Some(rows) = chunk.json() {
                let evidence = surveyed.json.get_or_insert_default();
                rows.column(name).into_iter().flatten().for_each(|value| evidence.add(value, 0));
            }
        }
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The type of a column; text where no value was seen.
    pub fn column_type(&self, name: &str) -> Result<ColumnType> {
        let Some(surveyed) = self.columns.get(name) else { return Ok(ColumnType::Text) };
        let texts = surveyed.cells.and_then(Evidence::column_type);
        let json = surveyed.json.as_ref().and_then(|evidence| evidence.column_type(true));
        let mut found: Option<ColumnType> = None;
        for (column_type, input) in &surveyed.typed {
            found = match found {
                None => Some(column_type.clone()),
                Some(before) => Some(unify(&before, column_type).ok_or_else(|| {
                    Error::invalid(format!(
                        "{input}: column '{name}' is {column_type}, in another file {before}; name its type with --types"
                    ))
                })?),
            };
        }
        for column_type in [texts, json].into_iter().flatten() {
            found = Some(match found {
                None => column_type,
                Some(before) => unify(&before, &column_type).unwrap_or(ColumnType::Text),
            });
        }
        Ok(found.unwrap_or(ColumnType::Text))
    }
}

/// The type that holds the values of both, if there is one.
pub fn unify(a: &ColumnType, b: &ColumnType) -> Option<ColumnType> {
    let is_number = |column_type: &ColumnType| {
        use ColumnType::*;
        matches!(
            column_type,
            Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64
        )
    };
    let is_float =
        |column_type: &ColumnType| matches!(column_type, ColumnType::Float32 | ColumnType::Float64);
    if a == b || b.widens_to(a) {
        Some(a.clone())
    } else if a.widens_to(b) {
        Some(b.clone())
    } else if is_number(a) && is_number(b) {
        Some(if is_float(a) || is_float(b) { ColumnType::Float64 } else { ColumnType::Int64 })
    } else {
        None
    }
}

/// What a column's JSON values have shown so far.
#[derive(Clone, Debug, Default)]
pub struct JsonEvidence {
    booleans: bool,
    numbers: Option<NumberEvidence>,
    texts: Option<Evidence>,
    /// Texts that stand for numbers which JSON does not have.
    float_words: bool,
    elements: Option<Box<JsonEvidence>>,
    members: Option<Vec<(String, JsonEvidence)>>,
    too_deep: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct NumberEvidence {
    evidence: Evidence,
    fractions: bool,
    digits_max: usize,
}

impl JsonEvidence {
    /// Takes a value into account.
    pub fn add(&mut self, value: &Value, depth: usize) {
        if depth > DEPTH_MAX {
            self.too_deep = true;
            return;
        }
        match value {
            Value::Null => {}
            Value::Bool(_) => self.booleans = true,
            Value::Number(number) => {
                let numbers = self.numbers.get_or_insert_default();
                let text = number.as_str();
                numbers.evidence.add_number(text);
                numbers.fractions |= text.contains(['.', 'e', 'E']);
                numbers.digits_max = numbers.digits_max.max(text.len());
            }
            Value::String(text) if is_float_word(text) => self.float_words = true,
            Value::String(text) => self.texts.get_or_insert_default().add(text),
            Value::Array(values) => {
                let elements = self.elements.get_or_insert_default();
                values.iter().for_each(|value| elements.add(value, depth + 1));
            }
            Value::Object(object) => {
                let members = self.members.get_or_insert_default();
                for (name, value) in object {
                    let index = members.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
                        members.push((name.clone(), JsonEvidence::default()));
                        members.len() - 1
                    });
                    members[index].1.add(value, depth + 1);
                }
            }
        }
    }

    /// The type; `None` where there was no value. Texts are dates and times only where `times` says so.
    pub fn column_type(&self, times: bool) -> Option<ColumnType> {
        let kinds = [
            self.booleans,
            self.numbers.is_some(),
            self.texts.is_some() || (self.float_words && self.numbers.is_none()),
            self.elements.is_some(),
            self.members.is_some(),
        ];
        match kinds.iter().filter(|seen| **seen).count() {
            0 => return None,
            1 if !self.too_deep => {}
            _ => return Some(ColumnType::Text),
        }
        if let Some(numbers) = self.numbers {
            return Some(if self.float_words { ColumnType::Float64 } else { numbers.column_type() });
        }
        if self.float_words {
            return Some(ColumnType::Text);
        }
        if let Some(texts) = self.texts {
            return Some(match texts.column_type() {
                Some(found @ (ColumnType::Date | ColumnType::Timestamp(..))) if times => found,
                _ => ColumnType::Text,
            });
        }
        if let Some(elements) = &self.elements {
            return Some(ColumnType::List(Box::new(elements.column_type(times).unwrap_or(ColumnType::Text))));
        }
        if let Some(members) = &self.members {
            if members.is_empty() {
                return Some(ColumnType::Text);
            }
            let fields = members.iter().map(|(name, evidence)| NestedField {
                name: name.clone(),
                column_type: evidence.column_type(times).unwrap_or(ColumnType::Text),
            });
            return Some(ColumnType::Struct(fields.collect()));
        }
        Some(ColumnType::Boolean)
    }
}

impl NumberEvidence {
    fn column_type(self) -> ColumnType {
        match self.evidence.column_type() {
            Some(ColumnType::Text) | None if self.fractions => ColumnType::Float64,
            Some(ColumnType::Text) | None if self.digits_max <= 38 => ColumnType::Decimal(38, 0),
            Some(ColumnType::Text) | None => ColumnType::Float64,
            Some(found) => found,
        }
    }
}
