//! What goes wrong in a statement: what, where in the text, and what to do.

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::Location;
use std::fmt;

/// The result of anything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a statement: one line.
#[derive(Debug)]
pub struct Error {
    message: String,
    place: Option<Place>,
    engine: Option<Box<asof_engine::Error>>,
}

/// Where in the text of the statements, counted from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

impl From<Location> for Place {
    fn from(location: Location) -> Place {
        Place { line: location.line, column: location.column }
    }
}

impl Error {
    /// An error with its line.
    pub fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), place: None, engine: None }
    }

    /// The same, with the place where it is, unless it has one.
    pub fn at(mut self, location: impl Into<Place>) -> Error {
        let place = location.into();
        // Tokens that were put there have none.
        if place.line > 0 {
            self.place.get_or_insert(place);
        }
        self
    }

    /// The same at another place: where it points to is not what was typed.
    pub(crate) fn moved_to(self, location: impl Into<Place>) -> Error {
        Error { place: None, ..self }.at(location)
    }

    /// Where in the text it is, where that is known.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// What happened, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The engine's error, where it comes from there.
    pub fn engine(&self) -> Option<&asof_engine::Error> {
        self.engine.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place { line, column }) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<asof_engine::Error> for Error {
    fn from(error: asof_engine::Error) -> Error {
        Error { message: error.to_string(), place: None, engine: Some(Box::new(error)) }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> DataFusionError {
        DataFusionError::External(Box::new(error))
    }
}

/// An error of the engine as DataFusion passes it on.
pub(crate) fn external(error: asof_engine::Error) -> DataFusionError {
    DataFusionError::External(Box::new(Error::from(error)))
}

impl From<datafusion::arrow::error::ArrowError> for Error {
    fn from(error: datafusion::arrow::error::ArrowError) -> Error {
        DataFusionError::from(error).into()
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Error {
        let place = place_of(&error);
        let error = match own(error) {
            Ok(own) => return Error { place: own.place.or(place), ..own },
            Err(other) => other,
        };
        let message = message_of(&error);
        let found = Error { message: one_line(&message), place, engine: None };
        match place_in_message(&found.message) {
            Some((message, place)) => Error { message, ..found }.at(place),
            None => found,
        }
    }
}

/// The error of ours that DataFusion passed on.
fn own(error: DataFusionError) -> std::result::Result<Error, DataFusionError> {
    match error {
        DataFusionError::External(inner) => {
            inner.downcast::<Error>().map(|own| *own).map_err(DataFusionError::External)
        }
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => own(*inner),
        DataFusionError::ArrowError(inner, backtrace) => match *inner {
            datafusion::arrow::error::ArrowError::ExternalError(inner) => {
                inner.downcast::<Error>().map(|own| *own).map_err(DataFusionError::External)
            }
            other => Err(DataFusionError::ArrowError(Box::new(other), backtrace)),
        },
        DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
            Ok(inner) => own(inner),
            Err(shared) => Err(DataFusionError::Shared(shared)),
        },
        other => Err(other),
    }
}

/// Where a diagnostic of DataFusion points to.
fn place_of(error: &DataFusionError) -> Option<Place> {
    let span = error.diagnostic()?.span?;
    Some(Place { line: span.start.line, column: span.start.column }).filter(|place| place.line > 0)
}

/// What DataFusion says, without the names of its own parts, and what it suggests.
fn message_of(error: &DataFusionError) -> String {
    let root = error.find_root();
    let message = match root {
        DataFusionError::SchemaError(schema, _) => schema_message(schema),
        _ => root.strip_backtrace(),
    };
    let mut message = message.as_str();
    for part in [
        "Error during planning: ",
        "SQL error: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "External error: ",
        "This feature is not implemented: ",
        "Invalid argument error: ",
    ] {
        message = message.strip_prefix(part).unwrap_or(message);
    }
    let message =
        message.strip_prefix("ParserError(\"").and_then(|rest| rest.strip_suffix("\")")).unwrap_or(message);
    let mut message = message.replace("\\\"", "\"");
    if let Some(diagnostic) = error.diagnostic() {
        for help in &diagnostic.helps {
            if !message.contains(&help.message) {
                message.push_str("; ");
                message.push_str(&help.message);
            }
        }
    }
    message
}

fn schema_message(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = error else { return error.to_string() };
    let other_case = valid_fields
        .iter()
        .find(|valid| valid.name != field.name && valid.name.eq_ignore_ascii_case(&field.name));
    match other_case {
        // Names without quotes are taken as lowercase.
        Some(valid) => format!(
            "there is no column {}; did you mean \"{}\"? names with capitals need quotes",
            field.name, valid.name
        ),
        None => error.to_string(),
    }
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `... at Line: 1, Column: 15` of the parser.
fn place_in_message(message: &str) -> Option<(String, Place)> {
    let (before, rest) = message.rsplit_once(" at Line: ")?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let place = Place { line: line.parse().ok()?, column: digits.parse().ok()? };
    Some((format!("{before}{}", &rest[digits.len()..]), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_that_the_parser_tells_is_taken_out_of_its_message() {
        let error = DataFusionError::SQL(
            Box::new(datafusion::sql::sqlparser::parser::ParserError::ParserError(
                "Expected: end of statement, found: x at Line: 2, Column: 7".to_string(),
            )),
            None,
        );
        let error = Error::from(error);
        assert_eq!(error.place(), Some(Place { line: 2, column: 7 }));
        assert_eq!(error.to_string(), "line 2, column 7: Expected: end of statement, found: x");
    }

    #[test]
    fn an_error_of_the_engine_stays_one_through_datafusion() {
        let engine = asof_engine::Error::not_found("version 9 is not there");
        let error = Error::from(DataFusionError::Context("scan".to_string(), Box::new(external(engine))));
        assert_eq!(error.engine().map(asof_engine::Error::kind), Some(asof_engine::ErrorKind::NotFound));
        assert_eq!(error.to_string(), "version 9 is not there");
    }
}
