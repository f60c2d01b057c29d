//! What can go wrong, by what the caller should do next.

use std::fmt;

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Kinds of errors; each tells the caller what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An unknown or expired table, key, version or tag, or a time in the future. Ask for another.
    NotFound,
    /// What was given does not make sense (a value, a name, a schema, an expression). Mend it.
    Invalid,
    /// A key, table or tag exists already.
    Exists,
    /// Another transaction committed a change to the same rows first. Begin again.
    Conflict,
    /// The transaction is older than what conflict checks remember. Begin again.
    TooOld,
    /// Another process holds the write lock. Wait and try again.
    Locked,
    /// The database was opened for reading only, or lies on a medium that cannot be written.
    ReadOnly,
    /// Bytes on disk are not what was written. Run `verify`.
    Corrupt,
    /// The disk is full. Make room and try again.
    Full,
    /// The operating system failed a call.
    Io,
    /// An earlier write failed, and this handle writes no more. Open the database again.
    Poisoned,
    /// Changes come faster than they can be settled, and memory for them is used up. Wait and try again.
    Busy,
    /// asof does not do this (yet).
    Unsupported,
}

impl ErrorKind {
    /// The code of the kind in JSON errors.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "not_found",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Exists => "exists",
            ErrorKind::Conflict => "conflict",
            ErrorKind::TooOld => "too_old",
            ErrorKind::Locked => "locked",
            ErrorKind::ReadOnly => "read_only",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Full => "full",
            ErrorKind::Io => "io",
            ErrorKind::Poisoned => "poisoned",
            ErrorKind::Busy => "busy",
            ErrorKind::Unsupported => "unsupported",
        }
    }
}

/// An error: one line saying what, where, and what to do.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    nearest: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with the line that says what happened.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), nearest: Vec::new(), source: None }
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotFound, message)
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    /// Adds the names of what is there instead (versions, tables, tags), nearest first.
    pub fn with_nearest(mut self, nearest: Vec<String>) -> Error {
        self.nearest = nearest;
        self
    }

    /// Adds the error that caused this one.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// Puts "where: " before the message.
    pub fn at(mut self, place: impl fmt::Display) -> Error {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What the caller should do next.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Names of what is there instead, nearest first.
    pub fn nearest(&self) -> &[String] {
        &self.nearest
    }
}

/// The error for bytes of a file that are not as they should be; `expected` says how, and what was found.
pub(crate) fn damaged(name: impl fmt::Display, offset: u64, expected: String) -> Error {
    Error::corrupt(format!("{name} is damaged at offset {offset}: expected {expected}; run 'asof verify'"))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        // One of ours that went through a library.
        let error = match error.downcast::<Error>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                ErrorKind::ReadOnly
            }
            _ => ErrorKind::Io,
        };
        Error::new(kind, error.to_string()).with_source(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Error {
        Error::invalid(error.to_string()).with_source(error)
    }
}

impl From<asof_mvcc::SchemaError> for Error {
    fn from(error: asof_mvcc::SchemaError) -> Error {
        Error::invalid(error.to_string()).with_source(error)
    }
}

impl From<asof_mvcc::TypeError> for Error {
    fn from(error: asof_mvcc::TypeError) -> Error {
        Error::invalid(error.to_string()).with_source(error)
    }
}

impl From<asof_mvcc::KeyError> for Error {
    fn from(error: asof_mvcc::KeyError) -> Error {
        Error::invalid(error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn errors_of_the_system_are_told_by_what_to_do_about_them() {
        for (number, kind) in [
            (28, ErrorKind::Full),     // ENOSPC
            (122, ErrorKind::Full),    // EDQUOT
            (30, ErrorKind::ReadOnly), // EROFS
            (13, ErrorKind::ReadOnly), // EACCES
            (5, ErrorKind::Io),        // EIO
        ] {
            let error = Error::from(io::Error::from_raw_os_error(number));
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
